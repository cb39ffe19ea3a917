/*
 * Host instructions into a buffer: prefixes, REX or VEX, opcode, ModRM, SIB,
 * displacement, immediate (SDM Vol. 2A chapter 2). Knows encodings, not meanings.
 */
#ifndef MOTE_ACCEL_SOFT_TRANSLATE_ASM_H
#define MOTE_ACCEL_SOFT_TRANSLATE_ASM_H

#include "base/bits.h"

#define HOST_NONE 0xff /* no base, no index */

/* base + (index << scale) + disp, in the GS segment if gs. */
struct host_mem {
    uint8_t base, index, scale;
    bool gs;
    int32_t disp;
};

struct host_insn {
    bool opsize, lock, w; /* 66, F0, REX.W or VEX.W */
    bool rex;             /* byte registers 4-7 are SPL..DIL */
    bool vex, l;
    bool is_mem;
    uint8_t rep; /* 0, F2, F3 */
    uint8_t map, opcode;
    uint8_t pp;   /* VEX only; without, it is opsize or rep */
    uint8_t vvvv; /* VEX only */
    uint8_t reg;  /* ModRM.reg */
    uint8_t rm;   /* ModRM.rm, unless is_mem */
    struct host_mem mem;
    uint8_t imm_size;
    uint64_t imm;
};

/* Code grows from p to end; in a buffer that is full, what follows is lost and `full` says so.
 * Bytes behind p may be written to. */
struct host_asm {
    uint8_t *start, *p, *end;
    bool full;
};

/* More than any instruction takes, and than is written of one. */
#define HOST_INSN_MAX 32

void asm_insn(struct host_asm *a, const struct host_insn *h);

/* Inline: mostly len is a constant. */
static inline void asm_bytes(struct host_asm *a, const void *bytes, unsigned len)
{
    if (a->end - a->p < (ptrdiff_t)len) {
        a->full = true;
        return;
    }
    memcpy(a->p, bytes, len);
    a->p += len;
}

#define ASM(a, ...)                                                                                \
    asm_bytes((a), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static inline struct host_mem mem_gs(int32_t disp)
{
    return (struct host_mem){HOST_NONE, HOST_NONE, 0, true, disp};
}

static inline struct host_mem mem_at(uint8_t base, int32_t disp)
{
    return (struct host_mem){base, HOST_NONE, 0, false, disp};
}

/* op reg, rm and op reg, mem of one-byte opcodes, 8 or 4 bytes wide. */
void asm_rr(struct host_asm *a, bool w, uint8_t opcode, uint8_t reg, uint8_t rm);
void asm_rm(struct host_asm *a, bool w, uint8_t opcode, uint8_t reg, struct host_mem mem);

void asm_mov(struct host_asm *a, uint8_t to, uint8_t from);
void asm_load(struct host_asm *a, uint8_t to, struct host_mem from); /* 8 bytes */
void asm_load32(struct host_asm *a, uint8_t to, struct host_mem from);
void asm_store(struct host_asm *a, struct host_mem to, uint8_t from);
void asm_store32(struct host_asm *a, struct host_mem to, uint8_t from);
void asm_lea(struct host_asm *a, uint8_t to, struct host_mem from);
void asm_mov_imm(struct host_asm *a, uint8_t to, uint64_t value); /* the shortest; no flags */
void asm_push(struct host_asm *a, uint8_t reg);
void asm_pop(struct host_asm *a, uint8_t reg);
/* op $imm, reg: ADD 0, OR 1, AND 4, SUB 5, XOR 6, CMP 7. */
void asm_alu_imm(struct host_asm *a, bool w, unsigned op, uint8_t reg, int32_t imm);
void asm_cmp_imm8(struct host_asm *a, struct host_mem mem, int8_t imm); /* cmpl $imm, mem */
void asm_shift_imm(struct host_asm *a, bool w, unsigned op, uint8_t reg, uint8_t count);

/*
 * Jumps. Those with a target take its address in the same view as a->p; the
 * others return where their displacement's four bytes end, for asm_land.
 */
enum host_cc { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_GE = 13 };
uint8_t *asm_jcc(struct host_asm *a, unsigned cc);
uint8_t *asm_jmp(struct host_asm *a);
uint8_t *asm_call(struct host_asm *a);
void asm_jcc_to(struct host_asm *a, unsigned cc, const uint8_t *to);
void asm_jmp_to(struct host_asm *a, const uint8_t *to);
void asm_call_to(struct host_asm *a, const uint8_t *to);
void asm_jmp_mem(struct host_asm *a, struct host_mem mem);

/* The displacement that ends at `from` leads to `to`. */
void asm_aim(uint8_t *from, const uint8_t *to);
static inline void asm_land(struct host_asm *a, uint8_t *from)
{
    if (!a->full)
        asm_aim(from, a->p);
}

/* Short jumps forward: rel8, which ends where asm_short returns. */
uint8_t *asm_jrcxz(struct host_asm *a);
void asm_land_short(struct host_asm *a, uint8_t *from);

#endif
