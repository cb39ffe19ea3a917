#include "load.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool read_at(FILE *file, uint64_t at, void *to, uint64_t size)
{
    return !fseek(file, (long)at, SEEK_SET) && fread(to, 1, size, file) == size;
}

int load_elf(const char *name, unsigned char *memory, uint64_t size, uint64_t *entry)
{
    FILE *file = fopen(name, "rb");
    Elf64_Ehdr head = {0};
    Elf64_Phdr p;
    bool ok;

    if (!file)
        return -errno;
    ok = read_at(file, 0, &head, sizeof(head)) && !memcmp(head.e_ident, ELFMAG, SELFMAG) &&
         head.e_ident[EI_CLASS] == ELFCLASS64 && head.e_machine == EM_X86_64;
    for (unsigned i = 0; ok && i < head.e_phnum; i++) {
        ok = read_at(file, head.e_phoff + i * sizeof(p), &p, sizeof(p));
        if (ok && p.p_type == PT_LOAD)
            ok = p.p_filesz <= p.p_memsz && p.p_paddr <= size && p.p_memsz <= size - p.p_paddr &&
                 read_at(file, p.p_offset, memory + p.p_paddr, p.p_filesz);
    }
    fclose(file);
    *entry = head.e_entry;
    return ok ? 0 : -ENOEXEC;
}

/* One table of each level; the last maps pages of 2 MiB (SDM Vol. 3A 4.5). */
static void build_page_tables(unsigned char *memory)
{
    uint64_t *pml4 = (uint64_t *)(memory + 0x1000), *pdpt = pml4 + 512, *pd = pdpt + 512;

    pml4[0] = 0x2000 | 3; /* present, writable */
    pdpt[0] = 0x3000 | 3;
    for (uint64_t i = 0; i < 512; i++)
        pd[i] = i << 21 | 0x83;
}

int enter_long_mode(struct mote_vcpu *vcpu, unsigned char *memory, uint64_t entry)
{
    const struct mote_seg code = {.limit = 0xffffffff, .attrib = 0xa09b, .selector = 8};
    const struct mote_seg data = {.limit = 0xffffffff, .attrib = 0xc093, .selector = 16};
    const unsigned groups = MOTE_GPRS | MOTE_SEGS | MOTE_CRS | MOTE_MSRS;
    struct mote_state *s = mote_vcpu_state(vcpu);
    int err = mote_vcpu_get(vcpu, groups); /* what is not changed stays as RESET made it */

    if (err)
        return err;
    build_page_tables(memory);
    s->seg[MOTE_CS] = code;
    s->seg[MOTE_SS] = s->seg[MOTE_DS] = s->seg[MOTE_ES] = data;
    s->cr3 = 0x1000;
    s->cr4 = 0x20;       /* PAE */
    s->cr0 = 0x80000011; /* PG, ET, PE */
    s->msr.efer = 0x500; /* LMA, LME */
    s->rip = entry;
    s->rflags = 2;
    return mote_vcpu_set(vcpu, groups);
}
