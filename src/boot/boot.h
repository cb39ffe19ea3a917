/*
 * From kernel and initrd files to a loaded guest and the first vCPU's state.
 * Knows no accelerator and no device: it writes guest memory through
 * mem/guest_mem.h and fills a struct mote_state.
 */
#ifndef MOTE_BOOT_BOOT_H
#define MOTE_BOOT_BOOT_H

#include "boot/e820.h"
#include "mem/guest_mem.h"
#include "x86/state.h"

enum boot_protocol {
    BOOT_AUTO,       /* by content: bzImage, PVH note, multiboot header, in this order */
    BOOT_LINUX,      /* bzImage, its payload unpacked by the host */
    BOOT_LINUX_SELF, /* bzImage unpacking itself (64-bit boot protocol) */
    BOOT_PVH,
    BOOT_MULTIBOOT,
    BOOT_FLAT,
};

enum boot_mode {
    BOOT_MODE_REAL,
    BOOT_MODE_PROTECTED, /* 32-bit, paging off, flat segments */
    BOOT_MODE_LONG,      /* 64-bit, the first 4 GiB mapped to themselves */
};

#define BOOT_MODULES_MAX 32

struct boot_module {
    const char *path;
    const char *cmdline; /* NULL: the path */
};

struct boot_params {
    const char *kernel_path;
    const char *initrd_path; /* NULL: none */
    const char *cmdline;     /* NULL: empty */
    enum boot_protocol protocol;
    const struct boot_e820 *e820; /* the board's memory map, sorted by address */
    unsigned e820_count;          /* 1 to E820_MAX */
    gpa_t acpi_rsdp;              /* 0: no ACPI tables */
    gpa_t flat_addr;              /* BOOT_FLAT: where the image goes and is entered */
    enum boot_mode flat_mode;
    const struct boot_module *modules; /* BOOT_MULTIBOOT, after the initrd */
    unsigned module_count;
};

/*
 * Load the kernel and what belongs to it into *mem and set *state to the entry
 * state of its protocol. Errors leave a sentence in err_text: -ENOENT and other
 * errors of the file system, -ENOEXEC when the kernel file is malformed or for
 * another machine, -ENOMEM when something does not fit into guest memory,
 * -E2BIG for a command line that is too long, -EINVAL for bad parameters.
 * Guest memory is in no particular state then.
 */
int boot_load(const struct boot_params *params, struct guest_mem *mem, struct mote_state *state);

/* "bzimage", "pvh" and so on, for messages and options; NULL past the last. */
const char *boot_protocol_name(enum boot_protocol protocol);

#endif
