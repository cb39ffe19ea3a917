/*
 * What the loaders' fuzz targets share: the bytes are loaded as a kernel into a
 * small machine. The end of the input is not the kernel's but says the rest:
 *
 *   command line, flat load address (4 bytes), length of the command line (2), flags (1)
 *
 * The machine is small, so that what a header asks for costs no time: 16 MiB of
 * RAM, or with HOLE as much in two parts. A long command line is its text and then x.
 */
#ifndef MOTE_FUZZ_LOADER_H
#define MOTE_FUZZ_LOADER_H

#include "base/bits.h"
#include "boot/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM_SIZE (16u << 20)
#define HOLE_AT  (2u << 20)
#define TAIL     7
#define TEXT_MAX 255 /* bytes of the input that are command line */

enum {
    FLAG_AUTO = 1,  /* find out what it is */
    FLAG_OTHER = 2, /* the target's second protocol */
    FLAG_INITRD = 4,
    FLAG_HOLE = 8,
    FLAG_MODULES = 0x30, /* how many */
    FLAG_MODE = 0xc0,    /* of flat */
};

/* A file for modules, which are named by path. */
static inline void module_file(char path[32])
{
    int fd = memfd_create("module", 0);

    if (fd < 0 || ftruncate(fd, 5000))
        abort();
    snprintf(path, 32, "/proc/self/fd/%d", fd);
}

static inline void load(const struct boot_params *params, const uint8_t *kernel_bytes, size_t size,
                        uint8_t flags)
{
    static uint8_t *ram;
    static const uint8_t initrd_bytes[5000];
    static const struct file initrd = {
        .path = "initrd", .data = initrd_bytes, .size = sizeof(initrd_bytes)};
    const struct file kernel = {.path = "kernel", .data = kernel_bytes, .size = size};
    uint64_t low = flags & FLAG_HOLE ? HOLE_AT : RAM_SIZE;
    struct mote_state state;
    struct guest_mem mem;

    if (!ram && !(ram = aligned_alloc(4096, RAM_SIZE)))
        abort();
    guest_mem_init(&mem);
    if (guest_mem_map(&mem, GPA(0), low, ram, MEM_RWX))
        abort();
    if (low < RAM_SIZE && guest_mem_map(&mem, GPA(2 * low), RAM_SIZE - low, ram + low, MEM_RWX))
        abort();
    boot_load_files(params, &kernel, flags & FLAG_INITRD ? &initrd : NULL, &mem, &state);
}

/* Load the input, by one of two protocols. */
static inline int fuzz_load(enum boot_protocol first, enum boot_protocol second,
                            const uint8_t *data, size_t size)
{
    static const struct boot_e820 whole[] = {
        {0, 0x9fc00, E820_RAM},
        {0x9fc00, 0x60400, E820_RESERVED},
        {0x100000, RAM_SIZE - 0x100000, E820_RAM},
    };
    static const struct boot_e820 parts[] = {
        {0, 0x9fc00, E820_RAM},
        {0x100000, HOLE_AT - 0x100000, E820_RAM},
        {2 * HOLE_AT, RAM_SIZE - HOLE_AT, E820_RAM},
    };
    static char module_path[32], cmdline[65536];
    static const struct boot_module modules[] = {
        {module_path, NULL}, {module_path, cmdline}, {"/", "a directory"}};
    struct boot_params params = {.kernel_path = "kernel", .cmdline = cmdline, .modules = modules};
    const uint8_t *tail = data + size - TAIL;
    size_t len, text;
    uint8_t flags;

    if (size <= TAIL)
        return -1;
    if (!*module_path)
        module_file(module_path);
    flags = tail[6];
    len = le16_get(tail + 4);
    text = MIN(len, MIN(size - TAIL - 1, TEXT_MAX));
    memcpy(cmdline, tail - text, text);
    memset(cmdline + text, 'x', len - text);
    cmdline[len] = '\0';
    params.protocol = flags & FLAG_AUTO ? BOOT_AUTO : flags & FLAG_OTHER ? second : first;
    params.e820 = flags & FLAG_HOLE ? parts : whole;
    params.e820_count = 3;
    params.flat_addr = GPA(le32_get(tail));
    params.flat_mode = (flags & FLAG_MODE) >> 6;
    params.module_count = (flags & FLAG_MODULES) >> 4;
    load(&params, data, size - TAIL - text, flags);
    return 0;
}

#endif
