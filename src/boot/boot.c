#include "boot/boot.h"

#include "base/bits.h"
#include "base/err.h"
#include "boot/bzimage.h"
#include "boot/elf.h"
#include "boot/file.h"
#include "boot/flat.h"
#include "boot/load.h"
#include "boot/multiboot.h"
#include "boot/pvh.h"
#include "boot/unpack.h"

#include <errno.h>

static const char *const names[] = {
    [BOOT_AUTO] = "auto", [BOOT_LINUX] = "linux",         [BOOT_LINUX_SELF] = "linux-self",
    [BOOT_PVH] = "pvh",   [BOOT_MULTIBOOT] = "multiboot", [BOOT_FLAT] = "flat",
};

const char *boot_protocol_name(enum boot_protocol protocol)
{
    return (unsigned)protocol < ARRAY_SIZE(names) ? names[protocol] : NULL;
}

/* A bzImage unpacks itself when we cannot: no payload (memtest86+), or compressed with LZO. */
static int linux_protocol_find(const struct file *kernel, enum boot_protocol *protocol)
{
    struct bzimage bz;
    int ret = bzimage_parse(&bz, kernel);

    if (!ret)
        *protocol = bz.payload && unpack_knows(kernel, bz.payload, bz.payload_len)
                        ? BOOT_LINUX
                        : BOOT_LINUX_SELF;
    return ret;
}

/* What the file is, by its content. */
static int protocol_find(const struct file *kernel, enum boot_protocol *protocol)
{
    uint8_t head[MULTIBOOT_AREA];
    uint64_t len = MIN(kernel->size, sizeof(head));
    int ret = file_peek(kernel, 0, head, len);
    struct elf_image elf;
    bool is_elf, is_multiboot;

    if (ret)
        return ret;
    if (bzimage_is(head, len))
        return linux_protocol_find(kernel, protocol);
    is_elf = elf_is(head, len);
    is_multiboot = multiboot_is(head, len);
    if (is_elf)
        ret = elf_parse(&elf, kernel);
    if (is_elf && !ret && elf.has_pvh) {
        *protocol = BOOT_PVH;
        return 0;
    }
    if (is_multiboot) { /* says itself what is wrong with the ELF file, if it needs that */
        *protocol = BOOT_MULTIBOOT;
        return 0;
    }
    if (ret)
        return ret;
    if (is_elf)
        return err_set(ENOEXEC,
                       "%s: ELF file with neither a PVH note (Linux: CONFIG_PVH) nor a "
                       "multiboot header",
                       kernel->path);
    return err_set(ENOEXEC,
                   "%s: not a kernel (expected bzImage, ELF with a PVH note, or multiboot)",
                   kernel->path);
}

int boot_load_files(const struct boot_params *params, const struct file *kernel,
                    const struct file *initrd, struct guest_mem *mem, struct mote_state *state)
{
    enum boot_protocol protocol = params->protocol;
    struct loader ld;
    int ret = loader_init(&ld, params, mem, state);

    if (!ret && protocol == BOOT_AUTO)
        ret = protocol_find(kernel, &protocol);
    if (ret)
        return ret;
    x86_state_reset(state);
    if (params->module_count && protocol != BOOT_MULTIBOOT)
        return err_set(EINVAL, "%s: modules need a multiboot kernel", kernel->path);
    switch (protocol) {
    case BOOT_LINUX: return bzimage_load(&ld, kernel, initrd, false);
    case BOOT_LINUX_SELF: return bzimage_load(&ld, kernel, initrd, true);
    case BOOT_PVH: return pvh_load(&ld, kernel, initrd);
    case BOOT_MULTIBOOT: return multiboot_load(&ld, kernel, initrd);
    case BOOT_FLAT:
        if (initrd)
            return err_set(EINVAL, "%s: a flat image takes no initrd", kernel->path);
        return flat_load(&ld, kernel);
    default: return err_set(EINVAL, "unknown boot protocol %d", (int)protocol);
    }
}

int boot_load(const struct boot_params *params, struct guest_mem *mem, struct mote_state *state)
{
    struct file kernel = {.read = STEP_READ_KERNEL, .load = STEP_LOAD_KERNEL};
    struct file initrd = {.read = STEP_READ_INITRD, .load = STEP_LOAD_INITRD};
    int ret = step_done(kernel.read, file_open(&kernel, params->kernel_path, "a kernel image"));

    if (!ret && params->initrd_path)
        ret = step_done(initrd.read, file_open(&initrd, params->initrd_path, "an initrd"));
    if (!ret)
        ret = boot_load_files(params, &kernel, params->initrd_path ? &initrd : NULL, mem, state);
    file_close(&initrd);
    file_close(&kernel);
    return step_done(STEP_BOOT_PARAMS, ret);
}
