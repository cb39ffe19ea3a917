/* Small arithmetic that every layer shares. Sizes and offsets are in bytes. */
#ifndef MOTE_BASE_BITS_H
#define MOTE_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BIT(n)        (UINT64_C(1) << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define PAGE_SIZE  UINT64_C(4096)
#define PAGE_MASK  (PAGE_SIZE - 1)
#define PAGE_SHIFT 12

/* align is a power of two. align_up wraps to 0 near the top: check sizes first. */
static inline uint64_t align_down(uint64_t v, uint64_t align)
{
    return v & ~(align - 1);
}

static inline uint64_t align_up(uint64_t v, uint64_t align)
{
    return (v + align - 1) & ~(align - 1);
}

/* All ones in the low `bytes` bytes, bytes 0 to 8. */
static inline uint64_t mask_bytes(unsigned bytes)
{
    return bytes >= 8 ? UINT64_MAX : (UINT64_C(1) << (bytes * 8)) - 1;
}

static inline uint64_t sign_extend(uint64_t v, unsigned bytes)
{
    unsigned shift = 64 - bytes * 8;
    return (uint64_t)((int64_t)(v << shift) >> shift);
}

/* Does [off, off+len) lie in [0, size)? Safe for any values. */
static inline bool range_in(uint64_t off, uint64_t len, uint64_t size)
{
    return off <= size && len <= size - off;
}

/* Little-endian fields of files and tables, at any alignment. */
#define DEFINE_LE(bits)                                                                            \
    static inline uint##bits##_t le##bits##_get(const void *p)                                     \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof(v));                                                                  \
        return v;                                                                                  \
    }                                                                                              \
    static inline void le##bits##_put(void *p, uint##bits##_t v)                                   \
    {                                                                                              \
        memcpy(p, &v, sizeof(v));                                                                  \
    }
DEFINE_LE(16)
DEFINE_LE(32)
DEFINE_LE(64)
#undef DEFINE_LE

#endif
