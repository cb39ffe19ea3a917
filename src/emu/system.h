/*
 * What the system part of the interpreter shares: descriptors, segments being
 * loaded, stacks being switched to, and model-specific registers.
 *
 * An error code is a selector without its RPL, plus EXT (bit 0) when the
 * processor was delivering something the program did not ask for.
 */
#ifndef MOTE_EMU_SYSTEM_H
#define MOTE_EMU_SYSTEM_H

#include "emu/bind.h"
#include "emu/event.h"
#include "emu/features.h"
#include "x86/paging.h"

/* System descriptor types (SDM Vol. 3A table 3-2). */
enum {
    DESC_TSS16 = 1,
    DESC_LDT = 2,
    DESC_TSS16_BUSY = 3,
    DESC_CALL16 = 4,
    DESC_TASK_GATE = 5,
    DESC_INT16 = 6,
    DESC_TRAP16 = 7,
    DESC_TSS32 = 9, /* 64-bit TSS in long mode; likewise below */
    DESC_TSS32_BUSY = 11,
    DESC_CALL32 = 12,
    DESC_INT32 = 14,
    DESC_TRAP32 = 15,
};
#define DESC_BUSY 2u /* set in a TSS type: in use */

struct emu_desc {
    uint64_t raw;
    uint64_t high;   /* second half of a 16-byte descriptor, else 0 */
    uint64_t linear; /* where it is */
};

/* An interrupt, trap, call or task gate. */
struct emu_gate {
    unsigned type; /* DESC_* */
    unsigned dpl;
    unsigned count; /* call gate: parameters; long mode: IST */
    bool present;
    uint16_t selector;
    uint64_t offset;
};

/* A stack that values are pushed on before anything is committed. */
struct emu_stack {
    struct mote_seg ss;
    uint64_t sp;
    uint64_t mask; /* of the stack pointer */
    bool system;   /* switched to, supervisor's; otherwise pushes go through SS as it is */
    bool flat;     /* long mode: neither base nor limit */
    unsigned ext;
};

static inline unsigned selector_error(uint16_t selector, unsigned ext)
{
    return (selector & 0xfffcu) | ext;
}

static inline bool selector_null(uint16_t selector)
{
    return !(selector & 0xfffc);
}

static inline unsigned desc_attrib(uint64_t raw)
{
    return (unsigned)(raw >> 40) & 0xf0ff;
}

static inline unsigned attrib_dpl(unsigned attrib)
{
    return (attrib & SEG_DPL) >> SEG_DPL_SHIFT;
}

/* Privilege 0 in protected mode; real mode has no other. #GP(0). */
static inline void need_cpl0(struct emu_cpu *c)
{
    if (unlikely(c->cpl))
        emu_gp(c, 0);
}

static inline unsigned iopl(const struct emu_cpu *c)
{
    return (c->rflags & FLAG_IOPL) >> 12;
}

/* ---- descriptors (segment.c) ------------------------------------------ */

/* Find and read the descriptor; false: past its table's limit, or no LDT. */
bool desc_find(struct emu_cpu *c, uint16_t selector, struct emu_desc *d);

/* Read a system descriptor's second half (long mode only); false: past the limit. */
bool desc_find_high(struct emu_cpu *c, uint16_t selector, struct emu_desc *d);

/* Like desc_find, but raises `vector` with the selector when there is none. */
void desc_fetch(struct emu_cpu *c, uint16_t selector, unsigned vector, unsigned ext,
                struct emu_desc *d);

/* The segment that a descriptor describes; 64-bit base for 16-byte ones. */
struct mote_seg desc_segment(const struct emu_desc *d, uint16_t selector);

/* Set bits in the type field, in memory and in *d. */
void desc_set_type(struct emu_cpu *c, struct emu_desc *d, unsigned bits);

/* ---- segments (segment.c) --------------------------------------------- */

/* The unusable segment that a null selector loads. */
struct mote_seg segment_null(uint16_t selector, unsigned dpl);

/* As real mode (v86: virtual-8086 mode) loads it. */
struct mote_seg segment_real(const struct emu_cpu *c, unsigned seg, uint16_t selector, bool v86);

/* Stack segment for privilege cpl; raises `vector` or #SS with the selector. */
struct mote_seg segment_stack(struct emu_cpu *c, uint16_t selector, unsigned cpl, unsigned vector,
                              unsigned ext);

/* ES, DS, FS or GS for privilege cpl; raises `vector` or #NP. Null is fine. */
struct mote_seg segment_data(struct emu_cpu *c, uint16_t selector, unsigned cpl, unsigned vector,
                             unsigned ext);

/* A code segment's descriptor: #GP for null, missing, or not code. Privilege
 * is the caller's to check, then segment_code. */
void code_fetch(struct emu_cpu *c, uint16_t selector, unsigned ext, struct emu_desc *d);

/* Code segment to run at privilege cpl: #NP, and #GP for L and D together. */
struct mote_seg segment_code(struct emu_cpu *c, struct emu_desc *d, uint16_t selector, unsigned cpl,
                             unsigned ext);

/* #GP unless `offset` can be executed in cs. */
void code_check_target(struct emu_cpu *c, const struct mote_seg *cs, uint64_t offset, unsigned ext);

/* Is this a 64-bit code segment now? */
static inline bool code_is_64(const struct emu_cpu *c, const struct mote_seg *cs)
{
    return c->long_mode && cs->attrib & SEG_L;
}

/* After a return to an outer level: null what that level may not keep. */
void segments_drop_inner(struct emu_cpu *c);

/* Base of FS or GS, without a selector load. */
void segment_set_base(struct emu_cpu *c, unsigned seg, uint64_t base);

/* ---- stacks (stack.c) ------------------------------------------------- */

/* The stack as it is. */
void stack_current(struct emu_cpu *c, unsigned ext, struct emu_stack *s);

/* The stack for privilege cpl that the TSS names; #TS, #SS. */
void stack_inner(struct emu_cpu *c, unsigned cpl, unsigned ext, struct emu_stack *s);

/* Long mode: stack at rsp, aligned to 16 bytes, in privilege cpl. */
void stack_long(struct emu_cpu *c, uint64_t rsp, unsigned cpl, unsigned ext, struct emu_stack *s);

/* RSP0-2 (index 0-2) or IST1-7 (index 4-10) of the 64-bit TSS; #TS. */
uint64_t tss_rsp(struct emu_cpu *c, unsigned index, unsigned ext);

void stack_push(struct emu_cpu *c, struct emu_stack *s, unsigned size, uint64_t value);

/* Make it the current one; emu_mode_changed is the caller's. */
void stack_commit(struct emu_cpu *c, const struct emu_stack *s);

/* ---- gates (gate.c) --------------------------------------------------- */

/* Take apart an 8-byte gate, or a 16-byte one (high) in long mode. */
struct emu_gate gate_decode(uint64_t raw, uint64_t high);

/* ---- flags (eflags.c) ------------------------------------------------- */

/* RFLAGS after POPF or IRET pops `image` of `size` bytes at this privilege. */
uint64_t flags_popped(const struct emu_cpu *c, uint64_t image, unsigned size);

/* ---- control registers and MSRs (control.c, msr.c) -------------------- */

void control_set_cr0(struct emu_cpu *c, uint64_t value);
void control_set_cr3(struct emu_cpu *c, uint64_t value);
void control_set_cr4(struct emu_cpu *c, uint64_t value);

/*
 * Read or write a model-specific register with all of its checks and effects.
 * -ENOENT: not the interpreter's, ask the board; -EINVAL: #GP(0).
 */
int emu_rdmsr(struct emu_cpu *c, uint32_t index, uint64_t *value);
int emu_wrmsr(struct emu_cpu *c, uint32_t index, uint64_t value);

/* The guest's time-stamp counter now. */
uint64_t emu_tsc(const struct emu_cpu *c);

/* CPUID's answer with the bits that follow CR4 and XCR0. */
void emu_cpuid(const struct emu_cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t regs[4]);

/* ---- binders' parts --------------------------------------------------- */

bool bind_far(const struct emu_cpu *c, struct emu_op *op);       /* far.c, iret.c */
bool bind_eflags(const struct emu_cpu *c, struct emu_op *op);    /* eflags.c */
bool bind_control(const struct emu_cpu *c, struct emu_op *op);   /* control.c, debug.c */
bool bind_table(const struct emu_cpu *c, struct emu_op *op);     /* table.c */
bool bind_selector(const struct emu_cpu *c, struct emu_op *op);  /* selector.c */
bool bind_cache(const struct emu_cpu *c, struct emu_op *op);     /* cache.c */
bool bind_fast_call(const struct emu_cpu *c, struct emu_op *op); /* syscall.c */
bool bind_query(const struct emu_cpu *c, struct emu_op *op);     /* query.c */

void op_iret(struct emu_cpu *c, const struct emu_op *op);        /* iret.c */
void op_mov_from_dr(struct emu_cpu *c, const struct emu_op *op); /* debug.c */
void op_mov_to_dr(struct emu_cpu *c, const struct emu_op *op);
void op_rdmsr(struct emu_cpu *c, const struct emu_op *op); /* msr.c */
void op_wrmsr(struct emu_cpu *c, const struct emu_op *op);

/* ModRM.reg as an opcode extension. */
static inline unsigned insn_ext(const struct x86_insn *i)
{
    return i->modrm >> 3 & 7;
}

/* Bind and say whether the block ends; for a binder to return. */
static inline bool bind_to(struct emu_op *op, emu_fn fn, bool ends)
{
    op->fn = fn;
    op->ends = ends;
    return true;
}

#endif
