/* What the loaders' fuzz targets share: a small machine to load into. */
#ifndef MOTE_FUZZ_H
#define MOTE_FUZZ_H

#include "boot/load.h"

#include <stddef.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_RAM (32u << 20)

/* Load the bytes as a kernel of the protocol into 32 MiB of RAM. */
static inline void fuzz_boot(enum boot_protocol protocol, const uint8_t *data, size_t size)
{
    static uint8_t *ram;
    static const struct boot_e820 e820[] = {
        {0, 0x9fc00, E820_RAM},
        {0x100000, FUZZ_RAM - 0x100000, E820_RAM},
    };
    static const uint8_t initrd_bytes[5000];
    static struct x86_state state;
    struct file kernel = {.path = "kernel", .data = data, .size = size};
    struct file initrd = {.path = "initrd", .data = initrd_bytes, .size = sizeof(initrd_bytes)};
    struct boot_params params = {
        .kernel_path = "kernel",
        .cmdline = "quiet",
        .protocol = protocol,
        .e820 = e820,
        .e820_count = 2,
    };
    struct guest_mem mem;

    if (!ram && !(ram = aligned_alloc(4096, FUZZ_RAM)))
        abort();
    guest_mem_init(&mem);
    if (guest_mem_map(&mem, GPA(0), FUZZ_RAM, ram, MEM_RWX))
        abort();
    boot_load_files(&params, &kernel, protocol == BOOT_FLAT ? NULL : &initrd, &mem, &state);
}

#endif
