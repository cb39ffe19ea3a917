#include "boot/linux_params.h"

#include "base/bits.h"
#include "base/err.h"
#include "boot/bzimage.h"
#include "boot/layout.h"

#include <errno.h>
#include <sys/random.h>

/* Offsets in the zero page */
#define ZP_ACPI_RSDP       0x070
#define ZP_EXT_RAMDISK     0x0c0
#define ZP_EXT_RAMDISK_LEN 0x0c4
#define ZP_E820_ENTRIES    0x1e8
#define ZP_TYPE_OF_LOADER  0x210
#define ZP_LOADFLAGS       0x211
#define ZP_CODE32_START    0x214
#define ZP_RAMDISK         0x218
#define ZP_RAMDISK_LEN     0x21c
#define ZP_CMDLINE         0x228
#define ZP_SETUP_DATA      0x250
#define ZP_E820            0x2d0

#define LOADER_UNDEFINED 0xff
#define LOADED_HIGH      0x01
#define E820_ENTRY       20 /* bytes: base, size, type */
#define SETUP_RNG_SEED   9
#define SEED_LEN         32
#define SETUP_DATA_HEAD  16 /* next, type, length */

static int put_seed(struct loader *ld, uint8_t *page)
{
    uint8_t data[SETUP_DATA_HEAD + SEED_LEN] = {0};

    le32_put(data + 8, SETUP_RNG_SEED);
    le32_put(data + 12, SEED_LEN);
    if (getrandom(data + SETUP_DATA_HEAD, SEED_LEN, 0) != SEED_LEN)
        return 0; /* the kernel does without */
    le64_put(page + ZP_SETUP_DATA, BOOT_SETUP_DATA);
    return loader_put(ld, BOOT_SETUP_DATA, data, sizeof(data));
}

static void fill_e820(const struct boot_params *params, uint8_t *page)
{
    page[ZP_E820_ENTRIES] = (uint8_t)params->e820_count;
    for (unsigned i = 0; i < params->e820_count; i++) {
        uint8_t *entry = page + ZP_E820 + i * E820_ENTRY;

        le64_put(entry, params->e820[i].base);
        le64_put(entry + 8, params->e820[i].size);
        le32_put(entry + 16, params->e820[i].type);
    }
}

int linux_params_put(struct loader *ld, const struct linux_params *lp)
{
    uint8_t page[PAGE_SIZE] = {0};
    int ret;

    memcpy(page + BZIMAGE_HEADER, lp->header, lp->header_len);
    page[ZP_TYPE_OF_LOADER] = LOADER_UNDEFINED;
    page[ZP_LOADFLAGS] = LOADED_HIGH;
    le32_put(page + ZP_CODE32_START, (uint32_t)lp->kernel);
    le32_put(page + ZP_RAMDISK, (uint32_t)lp->initrd);
    le32_put(page + ZP_EXT_RAMDISK, (uint32_t)(lp->initrd >> 32));
    le32_put(page + ZP_RAMDISK_LEN, (uint32_t)lp->initrd_size);
    le32_put(page + ZP_EXT_RAMDISK_LEN, (uint32_t)(lp->initrd_size >> 32));
    le32_put(page + ZP_CMDLINE, BOOT_CMDLINE);
    le64_put(page + ZP_SETUP_DATA, 0);
    le64_put(page + ZP_ACPI_RSDP, ld->params->acpi_rsdp.v);
    fill_e820(ld->params, page);
    ret = put_seed(ld, page);
    return ret ? ret : loader_put(ld, BOOT_INFO, page, sizeof(page));
}
