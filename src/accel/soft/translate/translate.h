/*
 * The translator: the second tier of the soft engine. A block that has been
 * interpreted often becomes host code by re-encoding: guest registers live in
 * host registers, status flags in the host's flags, vector registers in the
 * host's; what is not translated is one call of the interpreter's handler for
 * that instruction.
 *
 * 64-bit code only; a block is translated for one enum emu_mmu, as memory
 * accesses have the TLB set's address in them. Translated code holds no guest-
 * virtual address: what it needs of RIP it takes from rip_page.
 *
 * Between two instructions of translated code the guest's state is in host
 * registers (tr.h says where); a C function called from there finds it in
 * struct emu_cpu, complete, and may unwind.
 */
#ifndef MOTE_ACCEL_SOFT_TRANSLATE_TRANSLATE_H
#define MOTE_ACCEL_SOFT_TRANSLATE_TRANSLATE_H

#include "accel/soft/translate/counts.h"
#include "accel/soft/translate/far.h"
#include "accel/soft/translate/run.h"
#include "accel/soft/translate/slots.h"
#include "emu/code_mem.h"
#include "emu/cpu.h"

struct soft_vcpu;
struct block;

/* Executions of a block by the interpreter before it is translated. */
#define TRANSLATE_HEAT 32

#define TRANSLATE_CODE  (32u << 20) /* bytes of translated code; full: start anew */
#define TRANSLATE_LINKS (1u << 19)  /* more jumps are not linked */
#define TRANSLATE_CUTS  (1u << 14)  /* while code is doubted: nor are jumps to more blocks */
#define TRANSLATE_MMUS  3           /* EMU_MMU_USER_AC is not translated */

/* Guest-virtual address -> translated code, by the address' low 16 bits. */
#define TRANSLATE_JUMP_BITS 16
#define TRANSLATE_JUMP_LOG  8192
struct translate_jump {
    uint64_t minus; /* the address, negated */
    const uint8_t *code;
    uint64_t page; /* the address' page: rip_page of the code there */
};

/* A jump from one block to another of the same page, for the same mmu. */
struct translate_link {
    uint32_t at;     /* offset in code memory of the end of the displacement */
    uint32_t exit;   /* ... of what it leads to while it is not linked */
    uint64_t target; /* gpa of the block */
    uint32_t next;   /* index + 1 of another link to the same block; 0: none */
    uint8_t mmu;
    uint8_t taken;  /* so often the way out was, ... */
    uint16_t doubt; /* ... since this doubt: its low bits */
};

struct translate_stats {
    uint64_t translated, bytes, runs, entered, interpreted, missed, filled, flushes, links;
};

/* Of a struct soft_vcpu, whose address is the GS base in translated code. */
struct translator {
    /* What translated code uses. */
    uint64_t rip_page; /* linear address of the page of the code that runs */
    uint64_t host_rsp; /* the stack's place in translated code */
    uint64_t tmp_rcx;
    uint64_t tmp;       /* of one instruction */
    uint64_t kept_page; /* of an indirect call that is under way: where to */
    const uint8_t *kept_code;
    uint32_t flags_ax; /* status flags as LAHF; SETO AL leave them in AX */
    uint32_t host_mxcsr;
    uint32_t vectors_absent; /* the guest's vector registers and MXCSR are in emu_cpu only */
    uint32_t tmp_mxcsr;
    uint32_t missing; /* with `counts`: a check failed, the interpreter is called for that */
    uint64_t filling; /* the address that a check failed for */
    uint64_t filling_slot;
    uint32_t calling; /* the copy of a SYSCALL or SYSRET under way */
    uint32_t link;    /* by which link code was left, index + 1; 0: by none */

    /* The stubs. */
    void (*enter)(struct soft_vcpu *s, const uint8_t *code);
    const uint8_t *leave, *leave_at, *interpret, *interpret_keep, *interpret_end, *system_call;
    const uint8_t *fill[TRANSLATE_MMUS][EMU_EXEC][2]; /* by enum emu_access; 1: keep vectors */
    const uint8_t *jump_away[TRANSLATE_MMUS];
    struct translate_jump away; /* where a jump leads to that leaves: the address is in `page` */
    const uint8_t *fill_call[2], *invalidate[2]; /* 1: keep vectors */
    const uint8_t *vectors_out, *vectors_in, *jump[TRANSLATE_MMUS];
    size_t stubs; /* bytes of code memory that they take */

    struct code_mem code;
    struct translate_link *links;
    uint32_t link_count;
    /* Entries that were filled: mmu << TRANSLATE_JUMP_BITS | set. */
    uint32_t jump_log[EMU_HALVES][TRANSLATE_JUMP_LOG];
    uint32_t jump_fills[EMU_HALVES];
    struct translate_run run;
    const struct block *cold; /* the interpreter did it last; NULL: translated code ran since */
    const struct emu_op *interpreting; /* within translated code; it may unwind */
    uint8_t vectors; /* emu_cpu.vectors that code under way and the jump cache are for */
    bool on;
    bool lockstep; /* each block is left to C: no links, no jump cache, exact counts */
    struct translate_counts *counts; /* instructions are counted; NULL: they are not */
    struct translate_stats stats;

    const uint8_t *far_jump; /* like jump[EMU_MMU_USER]; fills fars.filling */
    struct translate_fars fars;
    const uint8_t *slot_miss[EMU_EXEC][2]; /* like fill[EMU_MMU_USER] */
    struct translate_slots slots;
    struct translate_jump jumps[TRANSLATE_MMUS][1u << TRANSLATE_JUMP_BITS]
        __attribute__((aligned(PAGE_SIZE))); /* for madvise */
    uint32_t cut_count;
    struct block *cuts[TRANSLATE_CUTS]; /* links lead to them, which the next doubt cuts */
};

/* Make stubs and code memory; off, with the reason in err_text, when the host cannot: -errno. */
int translate_init(struct soft_vcpu *s);
void translate_free(struct soft_vcpu *s);

/* Count instructions, which takes time. Before the first translation. */
void translate_count(struct soft_vcpu *s);
/* Counters to stats[], at most `room`: how many they are. */
unsigned translate_stats(const struct soft_vcpu *s, struct accel_stat *stats, unsigned room);

/* Drop all translations. Their blocks must not refer to them any more. Not from translated code. */
void translate_reset(struct soft_vcpu *s);

/* Linear addresses say nothing any more in those halves: BIT(emu_half()). */
void translate_forget(struct soft_vcpu *s, unsigned halves);

/* Any code may be another one now: none is entered but by translate_run. */
void translate_doubt(struct soft_vcpu *s);

/* b's bytes changed: nothing enters its code any more. It may be under way. */
void translate_drop(struct soft_vcpu *s, struct block *b);

/*
 * Translate b, whose ops are bound, for the CPU's present mmu. False: there is
 * no room, and the caller resets blocks and translations when none is under way.
 */
bool translate_block(struct soft_vcpu *s, struct block *b);

/* May the CPU, as it is now, run translated code? */
bool translate_allowed(const struct emu_cpu *c);

/* An instruction within translated code has unwound: count what was done before it. */
void translate_unwound(struct soft_vcpu *s);

/* Run b's code, which is there, and what it leads to. Unwinds as handlers do. */
void translate_run(struct soft_vcpu *s, struct block *b);

#endif
