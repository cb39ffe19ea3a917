#include "boot/segments.h"

#include "base/bits.h"
#include "boot/layout.h"

/* Descriptors (SDM Vol. 3A 3.4.5): present, DPL 0, accessed or busy. */
#define GDT_CODE32 UINT64_C(0x00cf9b000000ffff)
#define GDT_CODE64 UINT64_C(0x00af9b000000ffff)
#define GDT_DATA   UINT64_C(0x00cf93000000ffff)
#define GDT_TSS    (UINT64_C(0x00008b0000000000) | (uint64_t)BOOT_TSS << 16 | TSS_LIMIT)
#define TSS_LIMIT  0x67
#define GDT_SLOTS  6 /* the TSS takes two in long mode */

/* Paging entries (SDM Vol. 3A 4.5) */
#define PTE_P  UINT64_C(0x001)
#define PTE_RW UINT64_C(0x002)
#define PTE_PS UINT64_C(0x080)

#define ATTRIB_DATA   (SEG_P | SEG_S | SEG_TYPE_RW | SEG_TYPE_A | SEG_DB | SEG_G)
#define ATTRIB_CODE32 (ATTRIB_DATA | SEG_TYPE_CODE)
#define ATTRIB_CODE64 ((ATTRIB_CODE32 & ~SEG_DB) | SEG_L)
#define ATTRIB_TSS    (SEG_P | 11)

static void state_start(struct mote_state *s)
{
    x86_state_reset(s);
    memset(s->gpr, 0, sizeof(s->gpr));
    s->cr0 = CR0_ET;
}

void segments_set_real(struct mote_state *s, uint32_t addr)
{
    struct mote_seg *cs = &s->seg[SEG_CS];

    state_start(s);
    cs->selector = addr < 0x10000 ? 0 : (uint16_t)(addr >> 4);
    cs->base = (uint64_t)cs->selector << 4;
    s->rip = addr - cs->base;
    s->gpr[RSP] = BOOT_REAL_STACK;
    s->idtr.limit = 0x3ff;
}

/* Flat segments with `code` as the code segment's attributes; GDT and TSS. */
static int set_flat(struct loader *ld, uint64_t gdt_code, uint32_t code)
{
    struct mote_state *s = ld->state;
    uint8_t page[BOOT_PAGE_TABLES - BOOT_GDT] = {0};
    uint8_t *tss = page + (BOOT_TSS - BOOT_GDT);

    state_start(s);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        s->seg[i] = (struct mote_seg){0, UINT32_MAX, ATTRIB_DATA, BOOT_DS, {0}};
    s->seg[SEG_CS] = (struct mote_seg){0, UINT32_MAX, code, BOOT_CS, {0}};
    s->seg[SEG_TR] = (struct mote_seg){BOOT_TSS, TSS_LIMIT, ATTRIB_TSS, BOOT_TR, {0}};
    s->gdtr = (struct mote_table){BOOT_GDT, GDT_SLOTS * 8 - 1, {0}};
    s->idtr = (struct mote_table){0, 0, {0}};
    s->cr0 |= CR0_PE;
    s->gpr[RSP] = BOOT_STACK_TOP;
    le64_put(page + BOOT_CS, gdt_code);
    le64_put(page + BOOT_DS, GDT_DATA);
    le64_put(page + BOOT_TR, GDT_TSS);
    le16_put(tss + 102, TSS_LIMIT + 1); /* I/O map base past the limit: no map */
    return loader_put(ld, BOOT_GDT, page, sizeof(page));
}

int segments_set_protected(struct loader *ld, uint32_t rip)
{
    int ret = set_flat(ld, GDT_CODE32, ATTRIB_CODE32);

    ld->state->rip = rip;
    return ret;
}

/* PML4, PDPT and four page directories: 4 GiB in 2 MiB pages, which every
 * 64-bit processor has (1 GiB pages are optional). */
static int put_page_tables(struct loader *ld)
{
    static const unsigned dirs = 4;
    uint64_t page[512] = {BOOT_PAGE_TABLES + PAGE_SIZE + (PTE_P | PTE_RW)};
    int ret = loader_put(ld, BOOT_PAGE_TABLES, page, sizeof(page));

    for (unsigned i = 0; i < dirs; i++)
        page[i] = (BOOT_PAGE_TABLES + (2 + i) * PAGE_SIZE) | PTE_P | PTE_RW;
    if (!ret)
        ret = loader_put(ld, BOOT_PAGE_TABLES + PAGE_SIZE, page, sizeof(page));
    for (unsigned i = 0; i < dirs && !ret; i++) {
        for (unsigned j = 0; j < 512; j++)
            page[j] = ((uint64_t)(i * 512 + j) << 21) | PTE_P | PTE_RW | PTE_PS;
        ret = loader_put(ld, BOOT_PAGE_TABLES + (2 + i) * PAGE_SIZE, page, sizeof(page));
    }
    return ret;
}

int segments_set_long(struct loader *ld, uint64_t rip)
{
    struct mote_state *s = ld->state;
    int ret = set_flat(ld, GDT_CODE64, ATTRIB_CODE64);

    s->rip = rip;
    s->cr0 |= CR0_PG;
    s->cr3 = BOOT_PAGE_TABLES;
    s->cr4 = CR4_PAE;
    s->msr.efer = EFER_LME | EFER_LMA;
    return ret ? ret : put_page_tables(ld);
}
