/*
 * The interpreter's CPU: private hot state, and the primitives that every
 * instruction handler is written with.
 *
 * An instruction handler reads its operands, computes, and commits; it calls
 * emu_raise or a memory primitive that faults before it has changed any
 * register. A fault or exit unwinds with longjmp to the run loop, which puts
 * rip back to the start of the instruction; so "loads, probes and stores first,
 * registers last" is all a handler needs for precise exceptions.
 */
#ifndef MOTE_EMU_CPU_H
#define MOTE_EMU_CPU_H

#include "base/bits.h"
#include "mem/guest_mem.h"
#include "x86/cpuid.h"
#include "x86/decode.h"
#include "x86/exit.h"
#include "x86/state.h"

#include <setjmp.h>

struct emu_cpu;
struct emu_op;

typedef void (*emu_fn)(struct emu_cpu *c, const struct emu_op *op);

/* One decoded instruction bound to its handler: what blocks are made of. */
struct emu_op {
    emu_fn fn;
    struct x86_insn i;
    uint16_t next;   /* in a block: offset in the page of what follows */
    uint8_t number;  /* ... of which it is that instruction */
    bool ends;       /* last of its block: rip, mode, mappings or interrupts may change */
    const void *aux; /* what the binder wants its handler to find; NULL otherwise */
};

/*
 * The software TLB: linear page -> host page, one set for each privilege that
 * sees different rights. tag ^ linear is the offset in the page when the entry
 * is the right one; an empty tag names a page of another set index.
 */
enum emu_mmu {
    EMU_MMU_KERNEL,    /* CPL 0-2 (and implicit system accesses) with SMAP in force */
    EMU_MMU_KERNEL_AC, /* CPL 0-2 with SMAP off or suspended by RFLAGS.AC */
    EMU_MMU_USER,
    EMU_MMU_USER_AC, /* CPL 3 with alignment checks: nothing is cached, so each access is looked at
                      */
    EMU_MMU_COUNT,
};

enum emu_access {
    EMU_READ,
    EMU_WRITE,
    EMU_EXEC,
    EMU_ACCESS_COUNT,
};

/* What a flush of the TLB is of. */
enum emu_flush {
    EMU_FLUSH_ALL,
    EMU_FLUSH_LOCAL, /* all but what emu_tlb_is_kept says */
    EMU_FLUSH_PAGE,  /* the page at linear */
};

/* Of linear memory: the lower and the upper, where kernels are. */
#define EMU_HALVES 2
static inline unsigned emu_half(uint64_t linear)
{
    return linear >> 63;
}

#define EMU_TLB_BITS 11
#define EMU_TLB_SIZE (1u << EMU_TLB_BITS)
#define EMU_TLB_LOG  512

/* Bits of a filter over host pages, by page number: those of 128 MiB do not collide. */
#define EMU_WRITABLE_BITS 32768

struct emu_tlb_entry {
    uint64_t tag[EMU_ACCESS_COUNT];
    uint8_t *host; /* the page */
};

/*
 * A stretch of linear memory whose use is noticed: for the guest's debug
 * registers, then for a debugger outside the guest.
 */
struct emu_watch {
    uint64_t linear;
    uint8_t size; /* bytes */
    uint8_t on;   /* BIT(enum emu_access); 0: off */
};

#define EMU_WATCHES  8
#define EMU_DEBUGGER 4 /* the first of the debugger's */

/* emu_cpu.hit: what is to be told before the next instruction. */
enum {
    EMU_HIT_GUEST = 0x0f,    /* BIT(n): watch n; a #DB */
    EMU_HIT_TRACE = DR6_BS,  /* the guest's single step; ditto */
    EMU_HIT_DEBUGGER = 0xf0, /* BIT(n): watch n; an exit */
    EMU_HIT_STEP = 0x100,    /* the debugger's step is done; ditto */
    EMU_HIT_EXIT = 0x200,    /* emu_leave_last: the run is over */
};

/*
 * x87, SSE and AVX state in the shape the host's instructions want it:
 * x87 as the first 160 bytes of FXSAVE64's image (FCW, FSW, abridged FTW, FOP,
 * FIP, FDP, MXCSR unused, ST0-7), vector registers whole.
 */
struct emu_fpu {
    uint8_t ymm[16][32] __attribute__((aligned(32)));
    uint8_t x87[160] __attribute__((aligned(16)));
    uint32_t mxcsr;
    uint64_t xcr0;
};

/* Who answers port and MMIO accesses: 0, or -errno to give up. */
struct emu_bus {
    int (*io)(void *user, uint16_t port, unsigned size, bool write, uint64_t *data);
    int (*mmio)(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data);
    void *user;
};

/*
 * An instruction that was fetched and bound once: what its bytes are in that mode. Those that lie
 * in two pages are fetched each time.
 */
struct emu_fetched {
    uint8_t bytes[X86_INSN_MAX];
    uint32_t key; /* emu_bind_key + 1; 0: empty */
    struct emu_op op;
};

#define EMU_FETCHED 128

/* Callbacks of whoever runs the interpreter. Any may be NULL where it says so. */
struct emu_ops {
    /* Is decoded code cached from this page? NULL: never. */
    bool (*page_has_code)(void *user, gpa_t gpa);
    /* The guest stored to such a page, perhaps on into the next; done already. */
    void (*code_written)(void *user, gpa_t gpa, uint64_t len);
    /* Guest's time-stamp counter. */
    uint64_t (*tsc)(void *user);
    /* Linear addresses mean something else: drop what hangs on them. NULL: nothing does. */
    void (*tlb_flushed)(void *user, enum emu_flush what, uint64_t linear);
    /* Pages lost their right to be written to, before anything is accessed. NULL: nothing hangs on
     * it. */
    void (*writes_dropped)(void *user);
    /* PAUSE, where emu_cpu.tells_pause. */
    void (*paused)(void *user);
    /* A miss of the TLB: a page is looked up. NULL: nobody counts. Back from it `done` is called
     * with what this returned. */
    unsigned (*walk_begins)(void *user);
    void (*walk_done)(void *user, unsigned token);
};

/* emu_cpu.vectors: instructions on vector registers that raise neither #UD nor #NM. */
enum { EMU_VECTORS_SSE = 1, EMU_VECTORS_VEX = 2 };

/* Longjmp codes into the run loop. */
enum { EMU_UNWIND_RAISE = 1, EMU_UNWIND_EXIT };

struct emu_cpu {
    /* -- hot -- */
    uint64_t r[X86_GPR_SLOTS];  /* registers; [X86_RIP_SLOT]: next instruction (offset in CS) */
    uint64_t rflags;            /* always complete */
    const struct emu_op *op;    /* being executed */
    const struct emu_op *first; /* of the block under way; NULL outside of blocks */
    const struct emu_op *end;   /* the block ends here; NULL: leave after this instruction */
    uint64_t seg_base[6];       /* what to add: 0 for ES, CS, SS, DS in 64-bit mode */
    uint64_t lin_mask;          /* linear addresses wrap here: 2^64-1 or 2^32-1 */
    uint64_t sp_mask;           /* stack pointer's size: 2^64-1, 2^32-1, 2^16-1 */
    uint64_t rip_mask;          /* code size, ditto */
    uint8_t seg_flat;           /* BIT(SEG_x): no limit or type check is needed */
    uint8_t cpl;
    uint8_t mmu;         /* enum emu_mmu for ordinary accesses */
    uint8_t mode;        /* enum x86_mode: code size */
    uint8_t stack_size;  /* bytes a push takes its address size from: 2, 4, 8 */
    bool long_mode;      /* EFER.LMA */
    bool code64;         /* long_mode and CS.L */
    bool protected_mode; /* CR0.PE and not VM86 */
    bool vm86;
    uint8_t vectors;  /* EMU_VECTORS_*: CR0, CR4 and XCR0 allow them */
    bool singly;      /* no blocks: the guest has breakpoints, or a debugger steps */
    uint16_t hit;     /* EMU_HIT_* */
    bool returns;     /* whoever runs blocks looks for EMU_HIT_EXIT after each */
    bool tells_pause; /* to ops->paused; not to be changed once code was bound */

    struct emu_tlb_entry tlb[EMU_MMU_COUNT][EMU_TLB_SIZE];
    /* Entries filled since the last flush; those of global pages in the upper half are no matter
     * of a local flush. */
    uint16_t tlb_log[EMU_TLB_LOG];
    unsigned tlb_fills;
    bool tlb_globals; /* there are some */
    uint64_t tlb_global[EMU_MMU_COUNT][EMU_TLB_SIZE / 64];
    /* Entries with a tag for writing: at least them, so that a scan needs not look at all. */
    uint64_t tlb_write[EMU_MMU_COUNT][EMU_TLB_SIZE / 64];
    /* Host pages this CPU may write to without asking for cached code again: at least them.
     * Other threads read it. */
    uint64_t writable[EMU_WRITABLE_BITS / 64];
    /* Linear span of all large pages in the TLB, of each half; empty: first > last. */
    uint64_t large_first[EMU_HALVES], large_last[EMU_HALVES];

    /* -- architectural -- */
    struct mote_seg seg[SEG_COUNT];
    struct mote_table gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, cr8;
    uint64_t dr[8];
    struct mote_msrs msr; /* tsc: offset to ops->tsc, not a counter */
    struct mote_intr intr;
    struct emu_fpu fpu;
    uint64_t features; /* EMU_F_*: what the CPUID table offers */
    uint64_t msrs;     /* BIT(n): it offers x86_msr_list[n] */

    /* -- event being raised, exit being taken -- */
    struct emu_op scratch; /* the instruction that emu_one executes */
    struct emu_fetched fetched[EMU_FETCHED];
    uint64_t retired;        /* instructions completed */
    struct mote_event event; /* exception raised by emu_raise */
    int delivering;          /* vector whose delivery is under way, -1 none (for #DF) */
    struct vcpu_exit exit;
    uint8_t exit_len; /* bytes of the instruction that emu_leave undid */
    jmp_buf unwind;
    uint8_t bytes[X86_INSN_MAX + 1]; /* at the instruction fetched last */
    uint8_t bytes_len;
    uint64_t undo_rflags; /* RF and interrupt shadow before the instruction in scratch */
    uint8_t undo_shadow;

    /* -- breakpoints and debugger (debug.c) -- */
    struct emu_watch watch[EMU_WATCHES];
    uint8_t watch_exec, watch_data; /* BIT(n): watch n is on for that */
    bool debug_step;                /* leave after each instruction */
    bool debug_int3;                /* leave at INT3 */
    bool debug_told;                /* the debugger knows that rip is at debug_at */
    uint64_t debug_at;              /* linear */

    struct mote_state reset; /* room for the RESET state: too large for a stack */

    /* -- outside -- */
    struct guest_mem *mem;
    const struct x86_cpuid *cpuid;
    const uint32_t *exit_leaf; /* leaves of CPUID that leave the run */
    unsigned exit_leaves;
    const struct emu_ops *ops;
    void *user;
    const struct emu_bus *bus; /* NULL: an access ends the run with an exit, nothing changed */
};

/* What the binding of an instruction depends on beside its bytes and CPUID: binders look at nothing
 * else that changes. */
static inline uint32_t emu_bind_key(const struct emu_cpu *c)
{
    return c->mode | (uint32_t)c->long_mode << 2 | (uint32_t)c->protected_mode << 3 |
           (uint32_t)c->vm86 << 4 | (uint32_t)(c->cpl == 3) << 5 | (uint32_t)c->vectors << 6;
}

/* ---- events and exits ------------------------------------------------- */

/* Raise an exception; rip goes back to this instruction's start. */
_Noreturn void emu_raise(struct emu_cpu *c, unsigned vector);
_Noreturn void emu_raise_error(struct emu_cpu *c, unsigned vector, uint32_t error);
_Noreturn void emu_raise_pf(struct emu_cpu *c, uint64_t linear, uint32_t error);

/* Leave the run with c->exit.reason = reason (fill the union first); rip goes
 * back to this instruction's start, nothing of it has happened. */
void emu_undo(struct emu_cpu *c); /* the half of it that returns */
_Noreturn void emu_leave(struct emu_cpu *c, enum vcpu_exit_reason reason);

/* ditto, but within blocks of who knows of it this returns, and the handler does so, too: behind a
 * longjmp the processor mispredicts each return to the program. */
void emu_leave_last(struct emu_cpu *c, enum vcpu_exit_reason reason);

/* ditto, but the instruction is complete: rip stays behind it. */
_Noreturn void emu_leave_after(struct emu_cpu *c, enum vcpu_exit_reason reason);

#define emu_gp(c, error) emu_raise_error((c), EXC_GP, (error))
#define emu_ud(c)        emu_raise((c), EXC_UD)

/* ---- memory ----------------------------------------------------------- */

/*
 * Load and store `size` (1, 2, 4, 8) bytes at seg:off with the current
 * privilege: segment checks, paging, MMIO. Within a page each is one host
 * access (SDM Vol. 3A 8.1.1). They fault by unwinding.
 */
uint64_t emu_load(struct emu_cpu *c, unsigned seg, uint64_t off, unsigned size);
void emu_store(struct emu_cpu *c, unsigned seg, uint64_t off, unsigned size, uint64_t value);

/* Any length (vector operands, FXSAVE). 4, 8 and 16 bytes are one host access, 32 are two. */
void emu_load_bytes(struct emu_cpu *c, unsigned seg, uint64_t off, void *buf, unsigned len);
void emu_store_bytes(struct emu_cpu *c, unsigned seg, uint64_t off, const void *buf, unsigned len);

/* Fault now if a store of len bytes (at most a page) there would. */
void emu_probe_write(struct emu_cpu *c, unsigned seg, uint64_t off, unsigned len);

/* Implicit accesses of the processor to GDT, LDT, IDT, TSS: linear address,
 * supervisor privilege whatever the CPL. */
uint64_t emu_system_load(struct emu_cpu *c, uint64_t linear, unsigned size);
void emu_system_store(struct emu_cpu *c, uint64_t linear, unsigned size, uint64_t value);
/* One locked change of a byte: a descriptor's type. */
void emu_system_update(struct emu_cpu *c, uint64_t linear, uint8_t clear, uint8_t set);

/* seg:off -> linear address, with the checks of SDM Vol. 3A 5.3 and 5.5;
 * #GP(0), or #SS(0) for SS. len: bytes accessed. */
uint64_t emu_linear(struct emu_cpu *c, unsigned seg, uint64_t off, unsigned len, bool write);

/* Drop cached translations: all of them, or those of one page. */
void emu_tlb_flush(struct emu_cpu *c);
/* All but global pages of the upper half (SDM Vol. 3A 4.10.2.4). */
void emu_tlb_flush_local(struct emu_cpu *c);
/* Does a local flush leave the code at linear alone, which the TLB has for c->mmu? */
bool emu_tlb_is_kept(const struct emu_cpu *c, uint64_t linear);
void emu_tlb_flush_page(struct emu_cpu *c, uint64_t linear);

/* What an access to linear does first when the TLB does not know its page: A and D are set. True:
 * now it does, for this access. False: there is a fault, which the access itself is to raise, or
 * nothing but devices, or stores there are watched. */
bool emu_tlb_fill(struct emu_cpu *c, unsigned mmu, enum emu_access access, uint64_t linear);

void emu_tlb_init(struct emu_cpu *c);

/*
 * Decoded code is about to be cached from a host page, which page_has_code says
 * from before the call: stores there must be noticed. may_write, for any thread:
 * might the CPU store there without another look at page_has_code? drop_writes,
 * between two instructions: it does not any more.
 */
bool emu_tlb_may_write(const struct emu_cpu *c, const uint8_t *page);
void emu_tlb_drop_writes(struct emu_cpu *c, const uint8_t *const pages[], unsigned count);

/* Fetch, decode and bind the instruction at cs:rip (rip = r[X86_RIP_SLOT]). */
void emu_fetch(struct emu_cpu *c, struct emu_op *op);

/* SYSCALL, and SYSRET with REX.W, of 64-bit code; rip is behind it. False: nothing is done, it
 * would fault. */
bool emu_syscall64(struct emu_cpu *c);
bool emu_sysret64(struct emu_cpu *c);

/* ---- mode ------------------------------------------------------------- */

/* Derive mode, masks, flat bits, mmu from cr0, cr4, efer, rflags, seg[], cpl.
 * To be called after any of these changed. */
void emu_mode_changed(struct emu_cpu *c);
/* ... of segment registers and CPL only: quick from 64-bit code to 64-bit code. */
void emu_segments_changed(struct emu_cpu *c);

/* Derive vectors from cr0, cr4 and xcr0. To be called after any of these changed. */
void emu_vectors_changed(struct emu_cpu *c);

/* Set RFLAGS bits (reserved ones are kept legal); derives mmu when AC or VM change. */
void emu_set_rflags(struct emu_cpu *c, uint64_t rflags);

/* ---- operands --------------------------------------------------------- */

/* Effective address (offset in its segment) of the memory operand. */
static inline uint64_t emu_ea(const struct emu_cpu *c, const struct x86_insn *i)
{
    uint64_t ea = (uint64_t)(int64_t)i->disp + c->r[i->base] + (c->r[i->index] << i->scale);

    if (likely(i->asize == 8))
        return ea;
    return i->asize == 4 ? (uint32_t)ea : (uint16_t)ea;
}

/* General register n as a byte register: without REX, 4-7 are AH, CH, DH, BH. */
static inline uint8_t *emu_reg8(struct emu_cpu *c, const struct x86_insn *i, unsigned n)
{
    if (n >= 4 && n < 8 && !(i->flags & X86_REX))
        return (uint8_t *)&c->r[n - 4] + 1;
    return (uint8_t *)&c->r[n];
}

/* Write a general register the way the architecture does: 8 bytes whole,
 * 4 bytes zero-extended, 2 bytes merged. Not for byte registers. */
static inline void emu_set_reg(struct emu_cpu *c, unsigned n, unsigned size, uint64_t value)
{
    if (size == 8)
        c->r[n] = value;
    else if (size == 4)
        c->r[n] = (uint32_t)value;
    else
        c->r[n] = (c->r[n] & ~UINT64_C(0xffff)) | (uint16_t)value;
}

static inline uint64_t emu_get_reg(const struct emu_cpu *c, unsigned n, unsigned size)
{
    return c->r[n] & mask_bytes(size);
}

/* r/m operand of 2, 4 or 8 bytes, register or memory. */
static inline uint64_t emu_get_rm(struct emu_cpu *c, const struct x86_insn *i, unsigned size)
{
    if (i->flags & X86_RM_MEM)
        return emu_load(c, i->seg, emu_ea(c, i), size);
    return emu_get_reg(c, i->rm, size);
}

static inline void emu_set_rm(struct emu_cpu *c, const struct x86_insn *i, unsigned size,
                              uint64_t value)
{
    if (i->flags & X86_RM_MEM)
        emu_store(c, i->seg, emu_ea(c, i), size, value);
    else
        emu_set_reg(c, i->rm, size, value);
}

/* Byte r/m operand. */
static inline uint8_t emu_get_rm8(struct emu_cpu *c, const struct x86_insn *i)
{
    if (i->flags & X86_RM_MEM)
        return (uint8_t)emu_load(c, i->seg, emu_ea(c, i), 1);
    return *emu_reg8(c, i, i->rm);
}

/* ---- stack ------------------------------------------------------------ */

/*
 * Push and pop `size` bytes with SS and the stack's address size. Push stores
 * before it moves RSP, so a fault leaves it. A handler that pushes several
 * values, or may fault after a push or pop, works on emu_stack_at offsets and
 * sets RSP last with emu_set_sp.
 */
void emu_push(struct emu_cpu *c, unsigned size, uint64_t value);
uint64_t emu_pop(struct emu_cpu *c, unsigned size);

/* RSP+delta wrapped to the stack's size; offsets for emu_load(c, SEG_SS, ...). */
static inline uint64_t emu_stack_at(const struct emu_cpu *c, int64_t delta)
{
    return (c->r[RSP] + (uint64_t)delta) & c->sp_mask;
}

/* RSP = sp, only as many bits as the stack has. */
static inline void emu_set_sp(struct emu_cpu *c, uint64_t sp)
{
    if (c->stack_size == 4)
        c->r[RSP] = (uint32_t)sp;
    else
        c->r[RSP] = (c->r[RSP] & ~c->sp_mask) | (sp & c->sp_mask);
}

/* Near transfer of control: checks the target against CS's limit or
 * canonicality (#GP(0)), then sets rip. */
void emu_jump(struct emu_cpu *c, uint64_t target);

#endif
