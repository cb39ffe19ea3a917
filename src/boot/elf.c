#include "boot/elf.h"

#include "base/bits.h"
#include "base/err.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>

#define XEN_ELFNOTE_PHYS32_ENTRY 18

#define NOTES_MAX   0x10000u /* bytes of notes that are looked at; a kernel has some hundred */
#define PHDRS_PIECE 64u      /* program headers that are read at a time */

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
                       img->file->path, p->memsz, p->paddr);
    if (!range_in(p->offset, p->filesz, img->file->size))
        return err_set(ENOEXEC,
                       "%s: truncated: an ELF segment lies at bytes 0x%" PRIx64 " to 0x%" PRIx64
                       ", the file has 0x%" PRIx64,
                       img->file->path, p->offset, p->offset + p->filesz, img->file->size);
    if (img->count == LOADER_SEGMENTS)
        return err_set(ENOEXEC, "%s: ELF file has more than %d segments", img->file->path,
                       LOADER_SEGMENTS);
    img->lo = img->count ? MIN(img->lo, p->paddr) : p->paddr;
    img->hi = MAX(img->hi, p->paddr + p->memsz);
    img->seg[img->count++] =
        (struct elf_segment){p->offset, p->filesz, p->paddr, p->vaddr, p->memsz};
    return 0;
}

/* Look through the notes in at[0..end); a malformed one is not an error, it just ends. */
static void notes_scan(struct elf_image *img, const uint8_t *notes, uint64_t end, uint64_t align)
{
    uint64_t at = 0;

    while (range_in(at, sizeof(Elf64_Nhdr), end)) {
        Elf64_Nhdr note; /* the same in both classes */
        uint64_t name = at + sizeof(note), desc;

        memcpy(&note, notes + at, sizeof(note));
        desc = at + align_up(sizeof(note) + note.n_namesz, align);
        if (!range_in(name, note.n_namesz, end) || !range_in(desc, note.n_descsz, end))
            return;
        if (note.n_type == XEN_ELFNOTE_PHYS32_ENTRY && note.n_namesz == 4 &&
            !memcmp(notes + name, "Xen", 4) && (note.n_descsz == 4 || note.n_descsz == 8)) {
            img->has_pvh = true;
            img->pvh_entry = le32_get(notes + desc);
            return;
        }
        at += align_up(desc + note.n_descsz - at, align);
    }
}

/*
 * One PT_NOTE. *room is what those before it have left of NOTES_MAX: many headers
 * that all name the same bytes would else cost as many looks at them.
 */
static int notes_parse(struct elf_image *img, const struct phdr *p, uint64_t *room)
{
    uint8_t notes[NOTES_MAX];
    int ret;

    if (!range_in(p->offset, p->filesz, img->file->size) || p->filesz > *room)
        return 0;
    *room -= p->filesz;
    ret = file_peek(img->file, p->offset, notes, p->filesz);
    if (!ret)
        notes_scan(img, notes, p->filesz, p->align == 8 ? 8 : 4);
    return ret;
}

static int phdr_parse(struct elf_image *img, const struct phdr *p, uint64_t *notes_room)
{
    if (p->type == PT_LOAD)
        return segment_add(img, p);
    if (p->type == PT_NOTE && !img->has_pvh)
        return notes_parse(img, p, notes_room);
    return 0;
}

static int phdrs_parse(struct elf_image *img, uint64_t off, unsigned count, unsigned entsize)
{
    unsigned want = img->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    uint8_t table[PHDRS_PIECE * sizeof(Elf64_Phdr)];
    uint64_t notes_room = NOTES_MAX;
    int ret = 0;

    if (count && (entsize != want || !range_in(off, (uint64_t)count * entsize, img->file->size)))
        return err_set(ENOEXEC, "%s: truncated or malformed ELF program headers", img->file->path);
    for (unsigned i = 0; i < count && !ret; i++) {
        unsigned n = i % PHDRS_PIECE;

        if (!n)
            ret = file_peek(img->file, off + (uint64_t)i * want, table,
                            MIN(count - i, PHDRS_PIECE) * want);
        if (!ret) {
            struct phdr p = phdr_get(img, table + n * want);

            ret = phdr_parse(img, &p, &notes_room);
        }
    }
    if (!ret && !img->count)
        ret = err_set(ENOEXEC, "%s: ELF file has nothing to load", img->file->path);
    return ret;
}

static int ident_check(struct elf_image *img, unsigned data, unsigned machine, unsigned type)
{
    unsigned want = img->is64 ? EM_X86_64 : EM_386;

    if (data != ELFDATA2LSB || machine != want)
        return err_set(ENOEXEC, "%s: ELF kernel for another architecture (machine %u), expected %s",
                       img->file->path, machine, img->is64 ? "x86-64" : "i386");
    if (type != ET_EXEC && type != ET_DYN)
        return err_set(ENOEXEC, "%s: ELF file is not an executable", img->file->path);
    return 0;
}

int elf_parse(struct elf_image *img, const struct file *file)
{
    union {
        Elf64_Ehdr h64;
        Elf32_Ehdr h32;
        uint8_t ident[EI_NIDENT]; /* of both */
    } head = {0};
    uint64_t len = MIN(file->size, sizeof(head));
    int ret;

    memset(img, 0, sizeof(*img));
    img->file = file;
    ret = file_peek(file, 0, &head, len);
    if (ret)
        return ret;
    if (!elf_is(&head, len))
        return err_set(ENOEXEC, "%s: not an ELF file", file->path);
    img->is64 = head.ident[EI_CLASS] == ELFCLASS64;
    if (len < (img->is64 ? sizeof(head.h64) : sizeof(head.h32)))
        return err_set(ENOEXEC, "%s: truncated ELF header", file->path);
    if (img->is64) {
        const Elf64_Ehdr *h = &head.h64;

        img->entry = h->e_entry;
        ret = ident_check(img, head.ident[EI_DATA], h->e_machine, h->e_type);
        return ret ? ret : phdrs_parse(img, h->e_phoff, h->e_phnum, h->e_phentsize);
    } else {
        const Elf32_Ehdr *h = &head.h32;

        img->entry = h->e_entry;
        ret = ident_check(img, head.ident[EI_DATA], h->e_machine, h->e_type);
        return ret ? ret : phdrs_parse(img, h->e_phoff, h->e_phnum, h->e_phentsize);
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
        return loader_take(ld, img->file->path, "kernel", img->lo, img->hi - img->lo);
    for (unsigned i = 0; i < img->count && !ret; i++)
        ret = loader_take(ld, img->file->path, "kernel segment", img->seg[i].paddr,
                          img->seg[i].memsz);
    return ret;
}

int elf_load(const struct elf_image *img, struct loader *ld)
{
    int ret = span_take(img, ld);

    if (ret)
        return ret;
    for (unsigned i = 0; i < img->count; i++) {
        const struct elf_segment *s = &img->seg[i];
        uint8_t *to = loader_at(ld, img->file->path, s->paddr, s->memsz);

        if (!to)
            return -ENOMEM;
        ret = file_read(img->file, s->offset, to, s->filesz);
        if (ret)
            return ret;
    }
    /* Only now: the zeroed part may cover the source of a later segment. */
    for (unsigned i = 0; i < img->count; i++) {
        const struct elf_segment *s = &img->seg[i];
        uint8_t *to = loader_at(ld, img->file->path, s->paddr, s->memsz);

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
    return err_set(ENOEXEC, "%s: ELF entry point 0x%" PRIx64 " is in no segment", img->file->path,
                   img->entry);
}
