#include "box.h"

#include <stdlib.h>

#define DATA_RW (SEG_P | SEG_S | SEG_TYPE_RW | SEG_G | SEG_DB)
#define CODE_RX (SEG_P | SEG_S | SEG_TYPE_RW | SEG_TYPE_CODE | SEG_G)
#define DPL3    SEG_DPL

static uint64_t box_tsc(void *user)
{
    return ((struct box *)user)->tsc;
}

static const struct emu_ops ops = {.tsc = box_tsc};

void box_descriptor(struct box *b, uint32_t at, uint64_t base, uint32_t limit, unsigned attrib)
{
    uint64_t l = attrib & SEG_G ? limit >> 12 : limit;
    uint64_t raw = (l & 0xffff) | (base & 0xffffff) << 16 | (uint64_t)(attrib & 0xf0ff) << 40 |
                   (l & 0xf0000) << 32 | (base >> 24 & 0xff) << 56;

    le64_put(b->ram + at, raw);
    if (!(attrib & SEG_S))
        le64_put(b->ram + at + 8, base >> 32);
}

void box_gate(struct box *b, uint32_t at, unsigned attrib, uint16_t selector, uint64_t offset,
              unsigned low)
{
    uint64_t raw = (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)low << 32 |
                   (uint64_t)(attrib & 0xff) << 40 | (offset & 0xffff0000) << 32;

    le64_put(b->ram + at, raw);
    if (b->c->long_mode)
        le64_put(b->ram + at + 8, offset >> 32);
}

static void gdt_fill(struct box *b)
{
    box_descriptor(b, GDT + CODE0, 0, UINT32_MAX, CODE_RX | SEG_DB);
    box_descriptor(b, GDT + DATA0, 0, UINT32_MAX, DATA_RW);
    box_descriptor(b, GDT + (CODE3 & ~3), 0, UINT32_MAX, CODE_RX | SEG_DB | DPL3);
    box_descriptor(b, GDT + (DATA3 & ~3), 0, UINT32_MAX, DATA_RW | DPL3);
    box_descriptor(b, GDT + CODE64_0, 0, UINT32_MAX, CODE_RX | SEG_L);
    box_descriptor(b, GDT + (CODE64_3 & ~3), 0, UINT32_MAX, CODE_RX | SEG_L | DPL3);
    box_descriptor(b, GDT + CONFORMING, 0, UINT32_MAX, CODE_RX | SEG_DB | SEG_TYPE_EC);
    box_descriptor(b, GDT + ABSENT, 0, UINT32_MAX, DATA_RW & ~SEG_P);
    box_descriptor(b, GDT + READ_ONLY, 0, UINT32_MAX, DATA_RW & ~SEG_TYPE_RW);
    box_descriptor(b, GDT + ABSENT_CODE, 0, UINT32_MAX, (CODE_RX | SEG_DB) & ~SEG_P);
    box_descriptor(b, GDT + EXECUTE_ONLY, 0, UINT32_MAX, (CODE_RX | SEG_DB) & ~SEG_TYPE_RW);
    box_descriptor(b, GDT + TSS_SEL, TSS, 0x67, SEG_P | DESC_TSS32_BUSY);
    box_descriptor(b, GDT + TSS_B_SEL, TSS_B, 0x67, SEG_P | DESC_TSS32);
    box_descriptor(b, GDT + LDT_SEL, LDT, 0x1f, SEG_P | DESC_LDT);
}

void box_create(struct box *b)
{
    b->tsc = 1000;
    b->c = aligned_alloc(64, align_up(sizeof(*b->c), 64));
    b->ram = aligned_alloc(PAGE_SIZE, RAM_SIZE);
    assert_non_null(b->c);
    assert_non_null(b->ram);
    memset(b->c, 0, sizeof(*b->c));
    memset(b->ram, 0, RAM_SIZE);
    guest_mem_init(&b->mem);
    assert_int_equal(guest_mem_map(&b->mem, GPA(0), RAM_SIZE, b->ram, MEM_RWX), 0);
    emu_default_cpuid(&(struct x86_cpuid_topology){.vcpus = 1}, &b->cpuid);
    emu_init(b->c, &b->mem, &b->cpuid, &ops, b);
    gdt_fill(b);
    b->c->gdtr = (struct mote_table){.base = GDT, .limit = GDT_END - 1};
    b->c->idtr = (struct mote_table){.base = IDT, .limit = 0xfff};
    b->c->seg[SEG_CS].selector = 0;
    b->c->seg[SEG_CS].base = 0;
    b->c->r[X86_RIP_SLOT] = 0x8000;
    b->c->r[RSP] = 0x7000;
    emu_mode_changed(b->c);
}

void box_destroy(struct box *b)
{
    free(b->c);
    free(b->ram);
}

static void segment_set(struct box *b, unsigned seg, uint16_t selector)
{
    struct emu_desc d = {.raw = box64(b, GDT + (selector & 0xfff8))};

    b->c->seg[seg] = desc_segment(&d, selector);
}

/* Segments, stack and TSS for a mode whose control registers are set. */
static void box_enter(struct box *b, uint16_t cs, uint16_t ss, unsigned cpl)
{
    struct emu_cpu *c = b->c;

    segment_set(b, SEG_CS, cs);
    for (unsigned s = SEG_ES; s <= SEG_GS; s++) {
        if (s != SEG_CS)
            segment_set(b, s, ss);
    }
    segment_set(b, SEG_TR, TSS_SEL);
    c->seg[SEG_LDTR] = segment_null(0, 0);
    c->cpl = (uint8_t)cpl;
    c->r[X86_RIP_SLOT] = CODE;
    c->r[RSP] = STACK;
    emu_mode_changed(c);
    emu_tlb_flush(c);
}

void box_protected(struct box *b, unsigned cpl)
{
    b->c->cr0 |= CR0_PE;
    le32_put(b->ram + TSS + 4, STACK0);
    le16_put(b->ram + TSS + 8, DATA0);
    box_enter(b, cpl ? CODE3 : CODE0, cpl ? DATA3 : DATA0, cpl);
}

void box_long(struct box *b, unsigned cpl)
{
    struct emu_cpu *c = b->c;

    le64_put(b->ram + TABLES, (TABLES + 0x1000) | 7);
    le64_put(b->ram + TABLES + 0x1000, (TABLES + 0x2000) | 7);
    le64_put(b->ram + TABLES + 0x2000, 0x87); /* 2 MiB, writable, user */
    c->cr3 = TABLES;
    c->cr4 |= CR4_PAE;
    c->cr0 |= CR0_PE | CR0_PG | CR0_WP;
    c->msr.efer |= EFER_LME | EFER_LMA;
    le64_put(b->ram + TSS + 4, STACK0);
    le64_put(b->ram + TSS + 0x24, STACK_IST);
    box_enter(b, cpl ? CODE64_3 : CODE64_0, cpl ? DATA3 : DATA0, cpl);
}

static void box_place(struct box *b, const uint8_t *code, size_t len)
{
    struct emu_cpu *c = b->c;
    uint64_t at = c->seg_base[SEG_CS] + (c->r[X86_RIP_SLOT] & c->rip_mask);

    assert_true(range_in(at, len, RAM_SIZE));
    memcpy(b->ram + at, code, len);
}

int box_exec(struct box *b, const uint8_t *code, size_t len)
{
    box_place(b, code, len);
    switch (setjmp(b->c->unwind)) {
    case 0: emu_one(b->c); return DONE;
    case EMU_UNWIND_RAISE: return FAULT(b->c->event.vector, (int)b->c->event.error);
    default: return 0x2000000 | (int)b->c->exit.reason;
    }
}

int box_step(struct box *b, const uint8_t *code, size_t len)
{
    box_place(b, code, len);
    return emu_step(b->c) ? 0 : (int)b->c->exit.reason;
}
