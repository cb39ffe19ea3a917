#include "boot/multiboot.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "boot/elf.h"
#include "boot/layout.h"
#include "boot/segments.h"

#include <errno.h>
#include <inttypes.h>

#define HEADER_MAGIC 0x1badb002u
#define HEADER_LEN   12 /* magic, flags, checksum */
#define ENTRY_MAGIC  0x2badb002u

/* Header flags: below 16 those that a loader must honour or refuse. Modules are
 * page-aligned and memory information is there, asked for or not; a video mode
 * is a wish only. */
#define HEADER_KNOWN (1u | 2u | 4u)

/* Information flags */
#define INFO_MEMORY  0x001u
#define INFO_CMDLINE 0x004u
#define INFO_MODS    0x008u
#define INFO_MMAP    0x040u
#define INFO_LOADER  0x200u

struct info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
    uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
    uint32_t apm_table, vbe[4];
};

struct module {
    uint32_t start, end, string, reserved;
};

struct mmap_entry {
    uint32_t size; /* of what follows */
    uint64_t base, length;
    uint32_t type;
} __attribute__((packed));

/* Offset of the header, or UINT64_MAX. */
static uint64_t header_find(const uint8_t *data, uint64_t size)
{
    size = MIN(size, MULTIBOOT_AREA);
    for (uint64_t at = 0; at + HEADER_LEN <= size; at += 4) {
        if (le32_get(data + at) == HEADER_MAGIC &&
            HEADER_MAGIC + le32_get(data + at + 4) + le32_get(data + at + 8) == 0)
            return at;
    }
    return UINT64_MAX;
}

bool multiboot_is(const void *data, uint64_t size)
{
    return header_find(data, size) != UINT64_MAX;
}

/* The address fields (section 3.1.3). */
static int addresses_parse(struct multiboot *mb, const uint8_t *data, uint64_t len)
{
    uint64_t size = mb->file->size;
    uint32_t header_addr, load_end, load;

    if (!range_in(mb->offset, 32, len))
        return err_set(ENOEXEC, "%s: truncated multiboot header", mb->file->path);
    header_addr = le32_get(data + mb->offset + 12);
    load = mb->load_addr = le32_get(data + mb->offset + 16);
    load_end = le32_get(data + mb->offset + 20);
    mb->bss_end = le32_get(data + mb->offset + 24);
    mb->entry = le32_get(data + mb->offset + 28);
    if (header_addr < load || header_addr - load > mb->offset)
        return err_set(ENOEXEC, "%s: multiboot load address 0x%x does not fit header address 0x%x",
                       mb->file->path, load, header_addr);
    mb->file_offset = mb->offset - (header_addr - load);
    mb->size = load_end ? (uint64_t)load_end - load : size - mb->file_offset;
    if ((load_end && load_end < load) || !range_in(mb->file_offset, mb->size, size))
        return err_set(ENOEXEC, "%s: truncated: multiboot loads 0x%x to 0x%x, the file has less",
                       mb->file->path, load, load_end);
    if (mb->bss_end && mb->bss_end < load + mb->size)
        return err_set(ENOEXEC, "%s: multiboot bss ends at 0x%x, before the data", mb->file->path,
                       mb->bss_end);
    if (mb->entry < load || mb->entry >= load + mb->size)
        return err_set(ENOEXEC, "%s: multiboot entry 0x%x lies outside what is loaded",
                       mb->file->path, mb->entry);
    return 0;
}

int multiboot_parse(struct multiboot *mb, const struct file *file)
{
    uint8_t area[MULTIBOOT_AREA];
    uint64_t len = MIN(file->size, sizeof(area));
    int ret;

    memset(mb, 0, sizeof(*mb));
    mb->file = file;
    ret = file_peek(file, 0, area, len);
    if (ret)
        return ret;
    mb->offset = header_find(area, len);
    if (mb->offset == UINT64_MAX)
        return err_set(ENOEXEC, "%s: no multiboot header in the first 8 KiB", file->path);
    mb->flags = le32_get(area + mb->offset + 4);
    if (mb->flags & 0xffff & ~HEADER_KNOWN)
        return err_set(ENOEXEC, "%s: multiboot header asks for unknown features (flags 0x%x)",
                       file->path, mb->flags);
    return mb->flags & MULTIBOOT_ADDRESSES ? addresses_parse(mb, area, len) : 0;
}

static int load_addresses(struct loader *ld, const struct multiboot *mb)
{
    uint64_t total = mb->bss_end ? mb->bss_end - mb->load_addr : mb->size;
    int ret = loader_take(ld, mb->file->path, "kernel", mb->load_addr, total);
    uint8_t *to = ret ? NULL : loader_at(ld, mb->file->path, mb->load_addr, total);

    if (!to)
        return -ENOMEM;
    ret = file_read(mb->file, mb->file_offset, to, mb->size);
    if (ret)
        return ret;
    memset(to + mb->size, 0, total - mb->size);
    guest_mem_written(ld->mem, GPA(mb->load_addr), total);
    return 0;
}

static int load_elf(struct loader *ld, const struct file *kernel, uint32_t *entry)
{
    struct elf_image elf;
    uint64_t at;
    int ret = elf_parse(&elf, kernel);

    if (!ret && elf.is64)
        ret = err_set(ENOEXEC,
                      "%s: multiboot kernel is a 64-bit ELF file, expected a 32-bit one or load "
                      "addresses in the header",
                      kernel->path);
    if (!ret)
        ret = elf_entry(&elf, &at);
    if (ret)
        return ret;
    *entry = (uint32_t)at;
    return elf_load(&elf, ld);
}

/* Append a string with its NUL to the string area; its address in *at. */
static int put_string(struct loader *ld, uint32_t *next, const char *s, uint32_t *at)
{
    uint64_t len = strlen(s) + 1;

    if (len > BOOT_STRINGS_END - *next)
        return err_set(E2BIG, "module command lines are longer than %u bytes together",
                       BOOT_STRINGS_END - BOOT_STRINGS);
    *at = *next;
    *next += (uint32_t)len;
    return loader_put(ld, *at, s, len);
}

/* Load one module and append it to the list. */
static int put_module(struct loader *ld, struct info *info, uint32_t *next, const struct file *file,
                      const char *string)
{
    struct module mod = {0};
    uint64_t base;
    int ret = loader_place_file(ld, file, "module", UINT32_MAX, &base);

    if (!ret)
        ret = put_string(ld, next, string, &mod.string);
    if (ret)
        return ret;
    mod.start = (uint32_t)base;
    mod.end = (uint32_t)(base + file->size);
    info->flags |= INFO_MODS;
    info->mods_addr = BOOT_MODLIST;
    ret = loader_put(ld, BOOT_MODLIST + info->mods_count * sizeof(mod), &mod, sizeof(mod));
    info->mods_count++;
    return ret;
}

static int put_modules(struct loader *ld, struct info *info, uint32_t *next,
                       const struct file *initrd)
{
    int ret = initrd ? put_module(ld, info, next, initrd, initrd->path) : 0;

    _Static_assert((BOOT_MODULES_MAX + 1) * sizeof(struct module) <= PAGE_SIZE,
                   "module list outgrows its page");
    for (unsigned i = 0; i < ld->params->module_count && !ret; i++) {
        const struct boot_module *m = &ld->params->modules[i];
        struct file file = {.read = STEP_READ_INITRD, .load = STEP_LOAD_INITRD};

        ret = file_open(&file, m->path, "a module");
        if (ret)
            return ret;
        ret = put_module(ld, info, next, &file, m->cmdline ? m->cmdline : m->path);
        file_close(&file);
    }
    return ret;
}

/* The memory map, and the sizes in KiB of RAM from 0 and from 1 MiB to its first hole. */
static int put_memory(struct loader *ld, struct info *info)
{
    struct mmap_entry map[E820_MAX];
    unsigned count = ld->params->e820_count;

    _Static_assert(sizeof(map) <= BOOT_MODLIST - BOOT_MEMMAP, "memory map outgrows its page");
    for (unsigned i = 0; i < count; i++) {
        const struct boot_e820 *e = &ld->params->e820[i];

        map[i] = (struct mmap_entry){sizeof(map[0]) - 4, e->base, e->size, e->type};
    }
    info->flags |= INFO_MEMORY | INFO_MMAP;
    info->mem_lower = (uint32_t)MIN(loader_ram_at(ld, 0) >> 10, 640);
    info->mem_upper = (uint32_t)MIN(loader_ram_at(ld, 0x100000) >> 10, UINT32_MAX);
    info->mmap_addr = BOOT_MEMMAP;
    info->mmap_length = count * (uint32_t)sizeof(map[0]);
    return loader_put(ld, BOOT_MEMMAP, map, info->mmap_length);
}

static int put_info(struct loader *ld, const struct file *initrd)
{
    struct info info = {.flags = INFO_CMDLINE | INFO_LOADER, .cmdline = BOOT_CMDLINE};
    uint32_t next = BOOT_STRINGS;
    int ret = loader_put_cmdline(ld, BOOT_CMDLINE_MAX);

    if (!ret)
        ret = put_string(ld, &next, "mote " MOTE_VERSION, &info.boot_loader_name);
    if (!ret)
        ret = put_memory(ld, &info);
    if (!ret)
        ret = put_modules(ld, &info, &next, initrd);
    return ret ? ret : loader_put(ld, BOOT_INFO, &info, sizeof(info));
}

int multiboot_load(struct loader *ld, const struct file *kernel, const struct file *initrd)
{
    struct multiboot mb;
    uint32_t entry;
    int ret = multiboot_parse(&mb, kernel);

    if (!ret)
        ret = loader_take(ld, kernel->path, "boot data", BOOT_DATA, BOOT_DATA_END - BOOT_DATA);
    if (ret)
        return ret;
    entry = mb.entry;
    if (mb.flags & MULTIBOOT_ADDRESSES)
        ret = load_addresses(ld, &mb);
    else
        ret = load_elf(ld, kernel, &entry);
    step_end(kernel->load);
    if (!ret)
        ret = put_info(ld, initrd);
    if (!ret)
        ret = segments_set_protected(ld, entry);
    ld->state->gpr[RAX] = ENTRY_MAGIC;
    ld->state->gpr[RBX] = BOOT_INFO;
    if (!ret)
        trace(TRACE_BOOT, "%s: multiboot, entered at 0x%x, information at 0x%x", kernel->path,
              entry, BOOT_INFO);
    return ret;
}
