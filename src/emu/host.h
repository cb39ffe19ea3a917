/*
 * Guest RAM at its host address. Other vCPUs and devices change it at any time,
 * by design, so everything here is an access that the compiler leaves whole and
 * in order: aligned ones of 1 to 8 bytes are atomic, and so are aligned ones of
 * 16 bytes on a host with AVX (SDM Vol. 3A 8.1.1). Stores are in program order
 * as any of the host's, which is the order that guests expect.
 *
 * ThreadSanitizer is to see no access to guest RAM, as the guest decides what
 * is a race there: its build does them in assembly.
 */
#ifndef MOTE_EMU_HOST_H
#define MOTE_EMU_HOST_H

#include "base/bits.h"

#define EMU_INLINE static inline __attribute__((always_inline))

#if defined(__SANITIZE_THREAD__)
#define HOST_UNSEEN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HOST_UNSEEN 1
#endif
#endif

/* Accesses at any alignment that the compiler must do as one. */
typedef uint16_t __attribute__((aligned(1), may_alias)) emu_u16;
typedef uint32_t __attribute__((aligned(1), may_alias)) emu_u32;
typedef uint64_t __attribute__((aligned(1), may_alias)) emu_u64;

#ifdef HOST_UNSEEN
EMU_INLINE uint64_t host_load(const uint8_t *p, unsigned size)
{
    uint64_t v;

    switch (size) {
    case 1: __asm__ volatile("movzbl %1, %k0" : "=r"(v) : "m"(*p)); break;
    case 2: __asm__ volatile("movzwl %1, %k0" : "=r"(v) : "m"(*(const emu_u16 *)p)); break;
    case 4: __asm__ volatile("movl %1, %k0" : "=r"(v) : "m"(*(const emu_u32 *)p)); break;
    default: __asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*(const emu_u64 *)p)); break;
    }
    return v;
}

EMU_INLINE void host_store(uint8_t *p, unsigned size, uint64_t value)
{
    switch (size) {
    case 1: __asm__ volatile("movb %b1, %0" : "=m"(*p) : "q"(value)); break;
    case 2: __asm__ volatile("movw %w1, %0" : "=m"(*(emu_u16 *)p) : "r"(value)); break;
    case 4: __asm__ volatile("movl %k1, %0" : "=m"(*(emu_u32 *)p) : "r"(value)); break;
    default: __asm__ volatile("movq %1, %0" : "=m"(*(emu_u64 *)p) : "r"(value)); break;
    }
}

/* Forward: `to` may lie below an overlapping `from`. */
EMU_INLINE void host_copy(void *to, const void *from, size_t len)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
}

EMU_INLINE void host_fill(void *to, uint8_t byte, size_t len)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(len) : "a"(byte) : "memory");
}
#else
EMU_INLINE uint64_t host_load(const uint8_t *p, unsigned size)
{
    switch (size) {
    case 1: return *(const volatile uint8_t *)p;
    case 2: return *(const volatile emu_u16 *)p;
    case 4: return *(const volatile emu_u32 *)p;
    default: return *(const volatile emu_u64 *)p;
    }
}

EMU_INLINE void host_store(uint8_t *p, unsigned size, uint64_t value)
{
    switch (size) {
    case 1: *(volatile uint8_t *)p = (uint8_t)value; break;
    case 2: *(volatile emu_u16 *)p = (uint16_t)value; break;
    case 4: *(volatile emu_u32 *)p = (uint32_t)value; break;
    default: *(volatile emu_u64 *)p = value; break;
    }
}

/* Bytes in no particular order and grain. */
EMU_INLINE void host_copy(void *to, const void *from, size_t len)
{
    memmove(to, from, len);
}

EMU_INLINE void host_fill(void *to, uint8_t byte, size_t len)
{
    memset(to, byte, len);
}
#endif

/* Everything before is visible to others before anything behind is looked at. */
EMU_INLINE void host_fence(void)
{
    __asm__ volatile("mfence" : : : "memory");
}

/* 16 bytes by one host instruction each way; one side is the host's own memory. */
EMU_INLINE void host_copy16(void *to, const void *from)
{
    typedef uint8_t v16[16];

    __asm__ volatile("movups %1, %%xmm0\n\tmovups %%xmm0, %0"
                     : "=m"(*(v16 *)to)
                     : "m"(*(const v16 *)from)
                     : "xmm0");
}

/*
 * A vector operand: 16 bytes are one access. 32 are two, which is what hardware
 * promises at most. Other lengths are bytes.
 */
EMU_INLINE void host_copy_vector(void *to, const void *from, unsigned len)
{
    if (len == 16 || len == 32) {
        host_copy16(to, from);
        if (len == 32)
            host_copy16((uint8_t *)to + 16, (const uint8_t *)from + 16);
    } else if (len == 8 || len == 4) {
        host_store(to, len, host_load(from, len));
    } else {
        host_copy(to, from, len);
    }
}

/* One locked host CMPXCHG of the low `size` bytes, at any alignment: is *host what *cur
 * says? Then it becomes value, else *cur what it is. */
EMU_INLINE bool host_cas(uint8_t *host, unsigned size, uint64_t *cur, uint64_t value)
{
    bool same;

#define CAS(suffix, T, constraint)                                                                 \
    __asm__ volatile("lock cmpxchg" suffix " %[v], %[m]"                                           \
                     : [m] "+m"(*(T *)host), "+a"(*cur), "=@ccz"(same)                             \
                     : [v] constraint((T)value)                                                    \
                     : "memory")
    if (size == 1)
        CAS("b", uint8_t, "q");
    else if (size == 2)
        CAS("w", emu_u16, "r");
    else if (size == 4)
        CAS("l", emu_u32, "r");
    else
        CAS("q", emu_u64, "r");
#undef CAS
    return same;
}

/*
 * A locked instruction in its general form: compute, an expression of `cur`,
 * replaces *host unless another processor interfered, then again. Evaluates to
 * the old value; flags are those of the last, successful computation.
 */
#define LOCKED(size, host, compute)                                                                \
    ({                                                                                             \
        uint64_t cur = host_load(host, size);                                                      \
        while (!host_cas(host, size, &cur, (compute)))                                             \
            ;                                                                                      \
        cur;                                                                                       \
    })

#endif
