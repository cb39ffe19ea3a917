#include "boot/elf.h"

#include "base/bits.h"
#include "base/err.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>

#define XEN_ELFNOTE_PHYS32_ENTRY 18

/* A program header of either class. */
struct phdr {
    uint32_t type;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

bool elf_is(const void *data, uint64_t size)
{
    return size >= SELFMAG && !memcmp(data, ELFMAG, SELFMAG);
}

static struct phdr phdr_get(const struct elf_image *img, const uint8_t *at)
{
    if (img->is64) {
        Elf64_Phdr p;

        memcpy(&p, at, sizeof(p));
        return (struct phdr){p.p_type,   p.p_offset, p.p_vaddr, p.p_paddr,
                             p.p_filesz, p.p_memsz,  p.p_align};
    } else {
        Elf32_Phdr p;

        memcpy(&p, at, sizeof(p));
        return (struct phdr){p.p_type,   p.p_offset, p.p_vaddr, p.p_paddr,
                             p.p_filesz, p.p_memsz,  p.p_align};
    }
}

static int segment_add(struct elf_image *img, const struct phdr *p)
{
    if (!p->memsz)
        return 0;
    if (p->filesz > p->memsz || !range_in(p->paddr, p->memsz, UINT64_MAX))
        return err_set(ENOEXEC,
                       "%s: ELF segment of 0x%" PRIx64 " bytes at 0x%" PRIx64 " is invalid",
                       img->name, p->memsz, p->paddr);
    if (!range_in(p->offset, p->filesz, img->size))
        return err_set(ENOEXEC,
                       "%s: truncated: an ELF segment lies at bytes 0x%" PRIx64 " to 0x%" PRIx64
                       ", the file has 0x%" PRIx64,
                       img->name, p->offset, p->offset + p->filesz, img->size);
    if (img->count == LOADER_SEGMENTS)
        return err_set(ENOEXEC, "%s: ELF file has more than %d segments", img->name,
                       LOADER_SEGMENTS);
    img->lo = img->count ? MIN(img->lo, p->paddr) : p->paddr;
    img->hi = MAX(img->hi, p->paddr + p->memsz);
    img->seg[img->count++] =
        (struct elf_segment){p->offset, p->filesz, p->paddr, p->vaddr, p->memsz};
    return 0;
}

/*
 * Look through one PT_NOTE; a malformed one is not an error, it just ends. *room
 * is what notes before have left of the file's size: many headers that all name
 * the same bytes would else cost as many looks at them.
 */
static void notes_scan(struct elf_image *img, const struct phdr *p, uint64_t *room)
{
    uint64_t align = p->align == 8 ? 8 : 4, at = p->offset, end;

    if (!range_in(p->offset, p->filesz, img->size) || p->filesz > *room)
        return;
    *room -= p->filesz;
    end = p->offset + p->filesz;
    while (range_in(at, sizeof(Elf64_Nhdr), end)) {
        Elf64_Nhdr note; /* the same in both classes */
        uint64_t name = at + sizeof(note), desc;

        memcpy(&note, img->data + at, sizeof(note));
        desc = at + align_up(sizeof(note) + note.n_namesz, align);
        if (!range_in(name, note.n_namesz, end) || !range_in(desc, note.n_descsz, end))
            return;
        if (note.n_type == XEN_ELFNOTE_PHYS32_ENTRY && note.n_namesz == 4 &&
            !memcmp(img->data + name, "Xen", 4) && (note.n_descsz == 4 || note.n_descsz == 8)) {
            img->has_pvh = true;
            img->pvh_entry = le32_get(img->data + desc);
            return;
        }
        at += align_up(desc + note.n_descsz - at, align);
    }
}

static int phdrs_parse(struct elf_image *img, uint64_t off, unsigned count, unsigned entsize)
{
    unsigned want = img->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    uint64_t notes_room = img->size;

    if (count && (entsize != want || !range_in(off, (uint64_t)count * entsize, img->size)))
        return err_set(ENOEXEC, "%s: truncated or malformed ELF program headers", img->name);
    for (unsigned i = 0; i < count; i++) {
        struct phdr p = phdr_get(img, img->data + off + (uint64_t)i * entsize);
        int ret = p.type == PT_LOAD ? segment_add(img, &p) : 0;

        if (ret)
            return ret;
        if (p.type == PT_NOTE && !img->has_pvh)
            notes_scan(img, &p, &notes_room);
    }
    if (!img->count)
        return err_set(ENOEXEC, "%s: ELF file has nothing to load", img->name);
    return 0;
}

static int ident_check(struct elf_image *img, unsigned machine, unsigned type)
{
    unsigned want = img->is64 ? EM_X86_64 : EM_386;

    if (img->data[EI_DATA] != ELFDATA2LSB || machine != want)
        return err_set(ENOEXEC, "%s: ELF kernel for another architecture (machine %u), expected %s",
                       img->name, machine, img->is64 ? "x86-64" : "i386");
    if (type != ET_EXEC && type != ET_DYN)
        return err_set(ENOEXEC, "%s: ELF file is not an executable", img->name);
    return 0;
}

int elf_parse(struct elf_image *img, const char *name, const void *data, uint64_t size)
{
    int ret;

    memset(img, 0, sizeof(*img));
    img->name = name;
    img->data = data;
    img->size = size;
    if (!elf_is(data, size))
        return err_set(ENOEXEC, "%s: not an ELF file", name);
    img->is64 = size > EI_CLASS && img->data[EI_CLASS] == ELFCLASS64;
    if (size < (img->is64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr)))
        return err_set(ENOEXEC, "%s: truncated ELF header", name);
    if (img->is64) {
        Elf64_Ehdr h;

        memcpy(&h, data, sizeof(h));
        img->entry = h.e_entry;
        ret = ident_check(img, h.e_machine, h.e_type);
        return ret ? ret : phdrs_parse(img, h.e_phoff, h.e_phnum, h.e_phentsize);
    } else {
        Elf32_Ehdr h;

        memcpy(&h, data, sizeof(h));
        img->entry = h.e_entry;
        ret = ident_check(img, h.e_machine, h.e_type);
        return ret ? ret : phdrs_parse(img, h.e_phoff, h.e_phnum, h.e_phentsize);
    }
}

bool elf_moves_down(const struct elf_image *img, uint64_t place)
{
    uint64_t end = 0; /* of the file part before */

    for (unsigned i = 0; i < img->count; i++) {
        const struct elf_segment *s = &img->seg[i];

        if (s->offset < end || s->paddr > place + s->offset)
            return false;
        end = s->offset + s->filesz;
    }
    return true;
}

static int span_take(const struct elf_image *img, struct loader *ld)
{
    int ret = 0;

    /* Linux treats the gaps between its segments as its own, so nothing may go there. */
    if (loader_ram_at(ld, img->lo) >= img->hi - img->lo || img->count == 1)
        return loader_take(ld, img->name, "kernel", img->lo, img->hi - img->lo);
    for (unsigned i = 0; i < img->count && !ret; i++)
        ret = loader_take(ld, img->name, "kernel segment", img->seg[i].paddr, img->seg[i].memsz);
    return ret;
}

int elf_load(const struct elf_image *img, struct loader *ld)
{
    int ret = span_take(img, ld);

    if (ret)
        return ret;
    for (unsigned i = 0; i < img->count; i++) {
        const struct elf_segment *s = &img->seg[i];
        uint8_t *to = loader_at(ld, img->name, s->paddr, s->memsz);

        if (!to)
            return -ENOMEM;
        if (img->file)
            ret = file_read(img->file, s->offset, to, s->filesz);
        else if (to != img->data + s->offset)
            memmove(to, img->data + s->offset, s->filesz);
        if (ret)
            return ret;
    }
    /* Only now: the zeroed part may cover the source of a later segment. */
    for (unsigned i = 0; i < img->count; i++) {
        const struct elf_segment *s = &img->seg[i];
        uint8_t *to = loader_at(ld, img->name, s->paddr, s->memsz);

        memset(to + s->filesz, 0, s->memsz - s->filesz);
        guest_mem_written(ld->mem, GPA(s->paddr), s->memsz);
    }
    return 0;
}

bool elf_holds(const struct elf_image *img, uint64_t paddr)
{
    for (unsigned i = 0; i < img->count; i++) {
        if (paddr - img->seg[i].paddr < img->seg[i].memsz)
            return true;
    }
    return false;
}

int elf_entry(const struct elf_image *img, uint64_t *entry)
{
    if (elf_holds(img, img->entry)) {
        *entry = img->entry;
        return 0;
    }
    for (unsigned i = 0; i < img->count; i++) {
        if (img->entry - img->seg[i].vaddr < img->seg[i].memsz) {
            *entry = img->entry - img->seg[i].vaddr + img->seg[i].paddr;
            return 0;
        }
    }
    return err_set(ENOEXEC, "%s: ELF entry point 0x%" PRIx64 " is in no segment", img->name,
                   img->entry);
}
