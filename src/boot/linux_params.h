/* The zero page (struct boot_params of Documentation/arch/x86/zero-page.rst). */
#ifndef MOTE_BOOT_LINUX_PARAMS_H
#define MOTE_BOOT_LINUX_PARAMS_H

#include "boot/loader.h"

#define LINUX_HEADER_MAX 0x290u /* the setup header in the zero page ends here at the latest */

struct linux_params {
    const uint8_t *header;        /* the file's setup header, from its offset 0x1f1 */
    uint64_t header_len;          /* at most LINUX_HEADER_MAX - 0x1f1 */
    uint64_t kernel;              /* where the protected-mode part is or would be, below 4 GiB */
    uint64_t initrd, initrd_size; /* 0, 0: none */
};

/*
 * Write the zero page to BOOT_INFO: the file's header with the loader's fields
 * filled in, the memory map, the RSDP, the command line at BOOT_CMDLINE; and a
 * random seed as setup_data (SETUP_RNG_SEED, Linux 6.0 on; older kernels skip it).
 */
int linux_params_put(struct loader *ld, const struct linux_params *lp);

#endif
