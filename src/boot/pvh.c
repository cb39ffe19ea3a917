#include "boot/pvh.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "boot/layout.h"
#include "boot/segments.h"

#include <errno.h>

#define START_MAGIC 0x336ec578u

/* struct hvm_start_info, version 1 (Xen public/arch-x86/hvm/start_info.h) */
struct start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist, cmdline, rsdp, memmap;
    uint32_t memmap_entries, reserved;
};

struct start_module {
    uint64_t paddr, size, cmdline, reserved;
};

struct start_memmap {
    uint64_t addr, size;
    uint32_t type, reserved; /* types are those of E820 */
};

static int put_memmap(struct loader *ld)
{
    struct start_memmap map[E820_MAX] = {0};
    unsigned count = ld->params->e820_count;

    _Static_assert(sizeof(map) <= BOOT_MODLIST - BOOT_MEMMAP, "memory map outgrows its page");
    for (unsigned i = 0; i < count; i++) {
        const struct boot_e820 *e = &ld->params->e820[i];

        map[i] = (struct start_memmap){e->base, e->size, e->type, 0};
    }
    return loader_put(ld, BOOT_MEMMAP, map, count * sizeof(map[0]));
}

static int put_start_info(struct loader *ld, const struct start_module *mod)
{
    struct start_info info = {
        .magic = START_MAGIC,
        .version = 1,
        .nr_modules = mod->size ? 1 : 0,
        .modlist = mod->size ? BOOT_MODLIST : 0,
        .cmdline = BOOT_CMDLINE,
        .rsdp = ld->params->acpi_rsdp.v,
        .memmap = BOOT_MEMMAP,
        .memmap_entries = ld->params->e820_count,
    };
    int ret = put_memmap(ld);

    if (!ret)
        ret = loader_put(ld, BOOT_MODLIST, mod, sizeof(*mod));
    return ret ? ret : loader_put(ld, BOOT_INFO, &info, sizeof(info));
}

int pvh_load(struct loader *ld, const struct file *kernel, const struct file *initrd)
{
    struct start_module mod = {0};
    struct elf_image elf;
    int ret = elf_parse(&elf, kernel);

    if (!ret && !elf.has_pvh)
        ret = err_set(ENOEXEC, "%s: ELF file without a PVH note (Linux: CONFIG_PVH)", kernel->path);
    if (!ret)
        ret = loader_take(ld, kernel->path, "boot data", BOOT_DATA, BOOT_DATA_END - BOOT_DATA);
    if (!ret)
        ret = step_done(kernel->load, elf_load(&elf, ld));
    if (!ret && !elf_holds(&elf, elf.pvh_entry))
        ret = err_set(ENOEXEC, "%s: PVH entry point 0x%x is in no segment", kernel->path,
                      elf.pvh_entry);
    if (!ret && initrd) {
        /* Linux keeps the low 32 bits of a module's address only. */
        ret = loader_place_file(ld, initrd, "initrd", UINT32_MAX, &mod.paddr);
        mod.size = initrd->size;
    }
    if (!ret)
        ret = loader_put_cmdline(ld, BOOT_CMDLINE_MAX);
    if (!ret)
        ret = put_start_info(ld, &mod);
    if (!ret)
        ret = segments_set_protected(ld, elf.pvh_entry);
    ld->state->gpr[RBX] = BOOT_INFO;
    ld->state->seg[SEG_TR].base = 0; /* as the ABI has it */
    if (!ret)
        trace(TRACE_BOOT, "%s: PVH, entered at 0x%x, start_info at 0x%x", kernel->path,
              elf.pvh_entry, BOOT_INFO);
    return ret;
}
