/*
 * One block being translated: what the parts of the translator share.
 *
 * Registers. Guest RAX to RDI without RSP, R8 and R12 to R15 are the host's of
 * the same name; guest RSP is in host R9. Guest R9, R10 and R11 are in emu_cpu.r.
 * Host R10 and R11 are scratch, S0 and S1: S0 has the address of the memory
 * operand once it is checked, S1 is free after that. Host RSP is the host's stack,
 * 8 below a multiple of 16. GS is the struct soft_vcpu. Status flags are the
 * host's, DF is clear there, other flags are in emu_cpu.rflags.
 */
#ifndef MOTE_ACCEL_SOFT_TRANSLATE_TR_H
#define MOTE_ACCEL_SOFT_TRANSLATE_TR_H

#include "accel/soft/soft.h"
#include "accel/soft/translate/asm.h"

#include <stddef.h>

#define S0      R10
#define S1      R11
#define HOST_SP R9 /* holds the guest's RSP */

/* Offsets from GS. */
#define GS_CPU(field) ((int32_t)offsetof(struct soft_vcpu, cpu.field))
#define GS_TR(field)  ((int32_t)offsetof(struct soft_vcpu, tr.field))
#define GS_REG(n)     (GS_CPU(r) + 8 * (int32_t)(n))

/* A set of general registers. */
#define REG(n) (1u << (n))

/* Beside FLAG_*, in sets of flags that are needed: SF differs from OF, and no more of the two. */
#define TR_FLAG_LT 0x8000u

/* What one instruction does to status flags (FLAG_*). */
struct tr_effects {
    uint16_t reads;
    uint16_t kills; /* writes in any case */
};

/* Who made the status flags that are in the host's, when they can be had from registers again. */
struct tr_flags_by {
    const struct emu_op *op; /* NULL: nobody that would do */
    uint32_t reads;          /* registers that are still as they were */
    uint16_t gives;          /* the flags that come out right */
    bool again; /* by the same instruction, else by TEST of register `test` with itself */
    uint8_t test;
};

/* Where status flags are while a check destroys the host's. */
struct tr_saved {
    enum { TR_IN_HOST, TR_IN_AX, TR_IN_BYTE, TR_BY_AGAIN } how; /* both IN_ are flags_ax */
    int8_t with;                                                /* IN_BYTE: to compare with */
    struct tr_flags_by by;                                      /* BY_AGAIN */
};

/* A memory operand: r[base] + (r[index] << scale) + disp, from the page's start if base is RIP. */
struct tr_access {
    uint8_t base, index, scale, seg;
    uint8_t size, access;
    uint8_t align; /* mask of address bits that must be 0 */
    int64_t disp;
};

/* What an instruction is in a group of accesses that share a check (group.c). */
struct tr_group {
    bool member;    /* of an earlier one's, `at` bytes behind S0 */
    uint8_t last;   /* of a leader: number of the last member; itself, or less: there is none */
    uint8_t access; /* ditto: what to check for */
    uint8_t align;  /* ditto: of the first byte of the group, a mask */
    int16_t at;
    int16_t low;   /* of a leader: from its operand to the first byte of the group */
    uint16_t span; /* ditto: bytes */
};

/* Code out of line, emitted behind the block. */
struct tr_cold {
    enum {
        COLD_INTERPRET, /* one call of the interpreter, then back to `resume` */
        COLD_GROUP,     /* the group that op leads one by one, then back to `resume` */
        COLD_SLOT,      /* look into the TLB, then back to `resume`; the next one when that fails */
        COLD_MISS,      /* ditto, but guest RCX is in tmp_rcx */
        COLD_LINK,      /* `from` leads to offset `target` of the page */
        COLD_EXIT,      /* ditto, and more is to be done on the way; another page's, too */
        COLD_LEAVE,     /* leave for offset `target`: somebody wants attention */
        COLD_LEAVE_S1,  /* ditto, and guest RCX is in S1 */
        COLD_VECTORS,   /* load vector registers, then back to `resume` */
        COLD_RUN,       /* rounds without checks, else the block again */
    } kind;
    struct tr_saved saved; /* of the status flags there */
    bool vectors;          /* vector registers are loaded */
    bool uncounted;        /* a way out, or an op that ends, before that was counted */
    uint8_t shadow;        /* tr.shadow there */
    uint8_t mmu;           /* that the code there is for */
    uint8_t *from;         /* jumps here: where its displacement ends */
    uint8_t *also;         /* COLD_GROUP: so does this, or NULL */
    uint8_t *resume;
    const struct emu_op *op;
    int64_t target;
    uint8_t *check; /* done again, with S0 the address, when the TLB has the page; NULL: never.
                       Of a COLD_MISS: goes on there with the jump cache's entry at S0 */
    uint32_t slot;  /* of a COLD_SLOT: offset from GS */
    uint16_t size;  /* of a COLD_SLOT, and with `check`: what to check for */
    uint8_t access, align;
};

#define TR_COLDS (8 * BLOCK_MAX_INSNS)

struct tr {
    struct soft_vcpu *s;
    struct translator *t;
    struct host_asm a;
    struct block *b;
    const uint8_t *page;                /* the block's page, as it was compared */
    const struct emu_op *op;            /* being translated */
    unsigned mmu;                       /* at tr->op: STAC and CLAC change it */
    uint16_t live[BLOCK_MAX_INSNS + 1]; /* flags needed before instruction n */
    struct tr_saved saved;
    struct tr_flags_by flags_by;
    struct tr_group group[BLOCK_MAX_INSNS];
    struct tr_run run;
    uint32_t kept[BLOCK_MAX_INSNS]; /* copies of instructions that code refers to: block_keep */
    bool alone;                     /* accesses are not in groups */
    int shift;                      /* added to the operand's displacement */
    bool vectors;                   /* vector registers are known to be loaded */
    const uint8_t *again;           /* the block's start with vector registers loaded */
    unsigned shadow;                /* 1: tr->op is in STI's shadow; 2: the next one will be */
    bool counted;                   /* tr->op is, in code emitted so far */
    bool ended;                     /* nothing gets behind what was emitted last */
    unsigned colds;
    unsigned leader;     /* the cold code of the last group */
    unsigned first_cold; /* of the instruction being translated */
    /* A COLD_SLOT sets the one behind it; the last takes what is too much. Last: it is large, and
     * not cleared. */
    struct tr_cold cold[TR_COLDS + 1];
};

/* ---- registers (registers.c) ------------------------------------------------- */

/* The host register that guest register n is in; HOST_NONE: it is in memory. */
uint8_t tr_host(unsigned n);

/* Host register to read guest register n from: its own, or `scratch`, loaded. */
uint8_t tr_get(struct tr *tr, unsigned n, uint8_t scratch);
/* Host register to compute guest register n in, not loaded; tr_put afterwards. */
uint8_t tr_to(unsigned n, uint8_t scratch);
/* `from` has the new value of guest register n, all 64 bits. */
void tr_put(struct tr *tr, unsigned n, uint8_t from);

/* ---- flags ---------------------------------------------------------------------- */

/* What insn does to flags; an instruction that is not known reads and keeps all. (effects.c) */
struct tr_effects tr_effects(const struct emu_op *op);
/* Its part for what tr_vector knows; false: that does not know op. */
bool tr_vector_effects(const struct emu_op *op, struct tr_effects *e);
uint16_t tr_undefined(const struct x86_insn *i); /* flags that it leaves undefined */
bool tr_is_jcc(const struct x86_insn *i);
bool tr_vector_writes(const struct emu_op *op, uint32_t *writes);

/* Does it keep all status flags, and which general registers may it write? (writes.c) */
bool tr_keeps_flags(const struct emu_op *op);
uint32_t tr_writes(const struct emu_op *op);

/* Fill live[]. (liveness.c) */
void tr_liveness(struct tr *tr);

/* The flags in the host's that a check within tr->op would destroy: FLAG_*, TR_FLAG_LT. */
unsigned tr_flags_needed(const struct tr *tr);

/* The flags that are needed at offset `target` of the page, as far as that can be seen. */
unsigned tr_flags_at(struct tr *tr, int64_t target);

/* Before and after a check: those that are needed are the same. They use S1. (flags.c) */
void tr_flags_save(struct tr *tr);
void tr_flags_restore(struct tr *tr);
/* tr->op has been translated. */
void tr_flags_track(struct tr *tr);

/* ---- vector registers (vector_state.c) --------------------------------------------- */

/*
 * Before anything else is emitted for an instruction that uses vector registers
 * or MXCSR: they are the host's from here on. What never uses them, as most of a
 * kernel, neither loads nor saves them. No flags; uses S1.
 */
void tr_vector_begin(struct tr *tr);

/* ---- memory (memory.c) ------------------------------------------------------------ */

/*
 * The host address, for the next instruction emitted, of the `size` bytes of
 * tr->op's memory operand, checked for `access`; align: mask of address bits
 * that must be 0. It is at S0, which stays as it is for others of a group. Uses
 * S1; destroys status flags but those that are needed, which are in the host's
 * again. When the check fails the interpreter does the instruction: emit nothing
 * before it.
 */
#define TR_RESULT __attribute__((warn_unused_result))
TR_RESULT struct host_mem tr_address(struct tr *tr, enum emu_access access, unsigned size,
                                     unsigned align);
/* ... of 8 bytes at the guest's RSP + delta. */
TR_RESULT struct host_mem tr_stack_address(struct tr *tr, enum emu_access access, int delta);

/* The parts of it, for instructions with other operands: flags saved by the caller, S0 is the
 * operand's address. */
struct host_mem tr_operand(struct tr *tr); /* for a LEA; S0 and S1 may be in it; no flags */
void tr_linear(struct tr *tr);             /* S0 = its linear address; no flags */
void tr_check(struct tr *tr, enum emu_access access, unsigned size, unsigned align);

/* Find the groups of the block. */
void tr_groups(struct tr *tr);
/* The group that tr->op leads; NULL: none. */
struct tr_group *tr_group_led(struct tr *tr);

/* The operand of an instruction that group.c knows and that is no push or pop; false: there is
 * none. */
bool tr_plain_access(const struct tr *tr, const struct emu_op *op, struct tr_access *a);
/* Does op move general register n by a constant, that is, add it to all of its 64 bits? */
bool tr_moves(const struct emu_op *op, unsigned n, int64_t *by);
/* Nothing but registers, and S0 stays? */
bool tr_is_quiet(const struct tr *tr, const struct emu_op *op);

/* Is the block a loop for page runs? */
void tr_run_find(struct tr *tr);
/* tr->op's operand in one. */
TR_RESULT struct host_mem tr_run_address(struct tr *tr);
/* Page runs, begun behind a look at the attention word. Where pages are not as it takes, to
 * `again`; when the loop ends, to `behind`. Attention is wanted in what follows. False: nothing
 * was emitted, it cannot be done. */
bool tr_run(struct tr *tr, const uint8_t *again, const uint8_t *behind);

/* ---- code out of line (cold.c) ------------------------------------------------------- */

/* More of it: where the jump to `from` leads, as things are at tr->op. Its kind is the caller's. */
struct tr_cold *tr_cold_new(struct tr *tr, uint8_t *from);

/* The code that jumped to `from` is to be done by the interpreter as tr->op. */
void tr_cold_interpret(struct tr *tr, uint8_t *from);
/* ... is to be done as the group that tr->op leads. */
void tr_cold_group(struct tr *tr, uint8_t *from);
/* ... as the last one said. */
void tr_cold_also(struct tr *tr, uint8_t *from);
/* ... of the last one is first to look the page up, and to go on at `check` with S0 the address. */
void tr_cold_fill(struct tr *tr, uint8_t *check, enum emu_access access, unsigned size,
                  unsigned align);
/* ... found another page in its slot; the next piece of cold code is for when there is none. The
 * code behind goes on with S0 the offset in the page that the slot has then. */
void tr_cold_slot(struct tr *tr, uint8_t *from, uint32_t slot, enum emu_access access,
                  unsigned size, unsigned align);

/* ... is to have vector registers loaded; it goes on behind the jump. */
void tr_cold_vectors(struct tr *tr, uint8_t *from);

/* ---- leaving (exit.c) ------------------------------------------------------------------ */

/* Are instructions counted, at ways out of a block? */
static inline bool tr_counting(const struct translator *t)
{
    return t->counts || t->lockstep;
}

/* Where instructions are counted: those done since the block's start, up to and with op. Uses S0.
 */
void tr_count(struct tr *tr, const struct emu_op *op);

/* Go on at the page's offset `target`, which may lie in another page: if the condition holds, or
 * in any case. */
void tr_exit_if(struct tr *tr, unsigned cc, int64_t target);
void tr_exit(struct tr *tr, int64_t target);

/* Leave for `target` if somebody wants attention. No flags. counted: tr->op has been. */
void tr_poll(struct tr *tr, int64_t target, bool counted);

/* Leave translated code, rip at the page's offset `target`; by which link, 0: by none. */
void tr_leave(struct tr *tr, int64_t target, uint32_t link);

/* Code out of line, emitted: a link to `target`, which the displacement in front of `from` is; and
 * what c's kind says. */
void link_here(struct tr *tr, uint8_t *from, int64_t target);
void cold_exit(struct tr *tr, const struct tr_cold *c);
void cold_run(struct tr *tr, const struct tr_cold *c);
void cold_leave(struct tr *tr, const struct tr_cold *c);

/*
 * Jumps to the linear address in S1. tr_find looks it up and destroys S1; when it is not known, or
 * somebody wants attention, what is found leaves translated code. When it is no canonical one the
 * interpreter does the instruction, and nothing may be changed before. Then either tr_go_found,
 * with nothing between but what leaves S0 alone; or tr_keep_found, any checks and changes,
 * tr_go_kept. No flags.
 */
void tr_find(struct tr *tr);
void tr_go_found(struct tr *tr);
void tr_keep_found(struct tr *tr);
void tr_go_kept(struct tr *tr);

/* Go to the offset `target` in another page, remembered here; false: it is to be looked up. No
 * flags. (far.c) */
bool tr_far(struct tr *tr, int64_t target);

/* S1 = linear address of the page's offset `target`; no flags. */
void tr_rip(struct tr *tr, uint8_t to, int64_t target);

/* Offset in the page of the instruction behind tr->op. */
static inline unsigned tr_next(const struct tr *tr)
{
    return tr->op->next;
}

/* Offset in code memory of what is being written at p. */
static inline uint32_t tr_offset(const struct tr *tr, const uint8_t *p)
{
    return (uint32_t)(p - tr->t->code.rw);
}

/* ---- links (links.c) -------------------------------------------------------------------- */

/* One more; it is number link_count then. False: there is no room. */
bool link_new(struct translator *t, const struct translate_link *l);
/* Code was left by link number n, for b: from now on it goes there at once. */
void link_to(struct soft_vcpu *s, uint32_t n, struct block *b, unsigned mmu);

/* ---- the jump cache (jumps.c) ----------------------------------------------------------- */

/* Where linear's entry is, whosever it is now. */
struct translate_jump *jump_of(struct translator *t, unsigned mmu, uint64_t linear);
void jump_fill(struct translator *t, unsigned mmu, uint64_t linear, const uint8_t *code);
/* Nothing is known, in memory that is zero. */
void jumps_empty(struct translator *t);

/* ---- instructions: true when translated. Nothing was emitted when not. --------------- */

bool tr_integer(struct tr *tr);
/* Has the host what they need? Vectors apart, that is x86-64-v3. */
bool tr_host_suffices(void);
/* The operand that tr_integer accesses; false: none, or not so simple. */
bool tr_integer_access(const struct emu_op *op, struct tr_access *a);
/* tr_integer does it with registers only, and not with S0. */
bool tr_integer_quiet(const struct emu_op *op);
bool tr_stack(struct tr *tr);
bool tr_branch(struct tr *tr);
bool tr_is_branch(const struct emu_op *op); /* that tr_branch may translate */
bool tr_system(struct tr *tr);
bool tr_jumps(const struct emu_op *op); /* it is a JMP or Jcc with a displacement */
bool tr_vector(struct tr *tr);
/* Like tr_integer_access and tr_integer_quiet. */
bool tr_vector_access(const struct tr *tr, const struct emu_op *op, struct tr_access *a);
/* Does tr_vector do it, in vector registers or MXCSR? */
bool tr_vector_uses(const struct tr *tr, const struct emu_op *op);
bool tr_vector_quiet(const struct tr *tr, const struct emu_op *op);

/* Of those of tr_system: does it, however it is done, leave status flags alone? */
bool tr_system_keeps_flags(const struct emu_op *op);
/* The interrupt shadow is over. No flags. */
void tr_shadow_end(struct tr *tr);

/* ---- stubs (stubs.c) ------------------------------------------------------------------- */

int tr_stubs(struct soft_vcpu *s);

/* Where code at rx is written, and so what code that is being written jumps to. */
static inline uint8_t *tr_rw(const struct tr *tr, const uint8_t *rx)
{
    return tr->t->code.rw + (rx - tr->t->code.rx);
}

/* Called when S0, a linear address XORed with the tag of the slot at offset S1, is not in its page,
 * with what tr_fill_push pushes: S0 = offset in the page that the slot has now, or something
 * greater. (slots.c) */
void slots_stub(struct tr *tr, enum emu_access access, bool keep);

/*
 * Looking a page up from translated code (fill.c). Flags are not the guest's there; other
 * registers are kept, but not S1; vector registers only if `keep`, else they may be absent after.
 */
void fill_stubs(struct tr *tr);
/* S0: the address; pushed: as for the stubs; S1: tr_fill_how. NE: the TLB has the page. */
void tr_fill_call(struct tr *tr, bool keep);
uint32_t tr_fill_how(unsigned mmu, enum emu_access access);
/* Push what is accessed, for one of the stubs that takes it off. */
void tr_fill_push(struct tr *tr, unsigned size, unsigned align);
/* c's check failed: jump back to it once the page was looked up. */
void tr_fill(struct tr *tr, const struct tr_cold *c);
/* INVLPG of S0, by the same means: flags are lost, and S1. */
void tr_invalidate(struct tr *tr);

/* The place fars.filling leads from rip_page to what the jump cache has at `page` and `code`. Uses
 * S1 and RCX; no flags. (far.c) */
void far_fill(struct tr *tr, struct host_mem page, struct host_mem code);

/* Called by the interpret stubs (enter.c): do op; true: leave translated code. */
bool tr_interpret(struct soft_vcpu *s, uint32_t kept);
/* ... op, which ends its block: where to go on, NULL: leave. */
const uint8_t *tr_interpret_end(struct soft_vcpu *s, uint32_t kept);

/*
 * SYSCALL and SYSRET (system_call.c), which need next to nothing of the guest's state: a stub that
 * is jumped to like interpret_end, and calls for the instruction with RAX, RCX and flags in
 * emu_cpu.
 */
bool tr_is_system_call(const struct emu_op *op);
void system_call_stub(struct tr *tr);
/* Where to go on; NULL: leave for emu_cpu's rip; TR_REFUSED: nothing is done, the interpreter is to
 * do it. (enter.c) */
const uint8_t *tr_system_call(struct soft_vcpu *s, uint32_t kept);
#define TR_REFUSED ((const uint8_t *)1)

#endif
