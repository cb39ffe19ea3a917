/* Kernels made for the tests: no real code in them, but every header right. */
#ifndef MOTE_TEST_IMAGES_H
#define MOTE_TEST_IMAGES_H

#include "boot/load.h"

#include <stdbool.h>

#define RAM_SIZE (64u << 20)

/* 64 MiB of guest RAM with the usual hole below 1 MiB. */
struct machine {
    struct guest_mem mem;
    uint8_t *ram;
    struct boot_e820 e820[3];
    struct boot_params params;
    struct mote_state state;
};

/* RAM starts filled with 0xcc, so that what should be zeroed shows. ram_size is
 * above 1 MiB and at most RAM_SIZE. */
void machine_init(struct machine *m, uint64_t ram_size);
void machine_free(struct machine *m);

/* boot_load_files with the machine's parameters. */
int machine_boot(struct machine *m, const struct file *kernel, const struct file *initrd);

/* A growing file. */
struct image {
    struct file file;
    uint8_t *bytes; /* file.data, writable */
};
void image_init(struct image *img, const char *name, uint64_t size);
void image_free(struct image *img);

enum packing {
    PACK_ELF,
    PACK_LZ4,
    PACK_ZSTD,
    PACK_GZIP,
    PACK_XZ,
    PACK_LZMA,
    PACK_BZIP2,
    PACK_COUNT
};
bool pack_available(enum packing packing);

/* Compress in[0..len) as Linux's build does, the size appended; returns the length. */
uint64_t pack(enum packing packing, const uint8_t *in, uint64_t len, uint8_t *out, uint64_t max);

/* ELF64 with two segments: text of TEXT_LEN bytes at KERNEL_ADDR, file offset
 * 2 MiB, and data with a bss; optionally a PVH note. */
#define KERNEL_ADDR 0x1000000u
#define TEXT_LEN    0x3000u
#define DATA_ADDR   0x1200000u
#define DATA_LEN    0x1000u
#define DATA_MEMSZ  0x5000u
#define PVH_ENTRY   (KERNEL_ADDR + 0x40)
void image_elf64(struct image *img, bool pvh);

/* ELF32 with one segment at 1 MiB, and a multiboot header or a PVH note. */
#define ELF32_ADDR 0x100000u
void image_elf32(struct image *img, bool multiboot, bool pvh);

/* bzImage whose payload is image_elf64 packed. */
#define INIT_SIZE 0x800000u
void image_bzimage(struct image *img, enum packing packing);

/* The byte that the test kernels' text and data have at offset i. */
static inline uint8_t image_byte(uint64_t i)
{
    return (uint8_t)(i * 7 + (i >> 8));
}

#endif
