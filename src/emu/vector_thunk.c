#include "emu/vector_thunk.h"

#include "emu/thunk.h"

#include <pthread.h>
#include <stdlib.h>

/*
 * Registers inside a thunk: the operands are 1 (ModRM.reg), 2 (vvvv), 3 (rm),
 * 4 (by immediate) and 0 (implicit XMM0); general ones RAX (reg) and RCX (rm).
 * Arguments arrive as the System V ABI has them: rdi, rsi, rdx, rcx, r8, r9.
 */
enum { N_X0, N_REG, N_H, N_RM, N_IS4 };
enum { AT_RM = 1, AT_H = 2, AT_REG = 6, AT_MEM = 7, AT_X4 = 8 };

struct emitter {
    uint8_t code[THUNK_MAX];
    unsigned len;
    bool vex;
};

static void emit(struct emitter *e, const void *bytes, unsigned len)
{
    memcpy(e->code + e->len, bytes, len);
    e->len += len;
}

#define EMIT(e, ...)                                                                               \
    emit((e), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* movups/vmovups/movq between vector register n and [base]. */
static void emit_move(struct emitter *e, unsigned kind, unsigned n, unsigned base, bool store)
{
    uint8_t modrm = (uint8_t)(n << 3 | (base & 7));

    if (kind == VEC_X && e->vex)
        EMIT(e, 0xc4, base & 8 ? 0xc1 : 0xe1, 0x7c, 0x10 | store, modrm);
    else if (kind == VEC_X && base & 8)
        EMIT(e, 0x41, 0x0f, 0x10 | store, modrm);
    else if (kind == VEC_X)
        EMIT(e, 0x0f, 0x10 | store, modrm);
    else if (kind == VEC_M)
        EMIT(e, 0x0f, store ? 0x7f : 0x6f, modrm);
}

static void emit_insn(struct emitter *e, const struct vec_row *row, const struct x86_insn *i,
                      bool w)
{
    static const uint8_t prefix[] = {0, 0x66, 0xf3, 0xf2};
    const struct vec_operands *o = &vec_operands[row->form];
    bool mem = i->flags & X86_RM_MEM, l = i->flags & X86_L && !(row->flags & VEC_LIG);
    unsigned reg = row->ext != VEC_ANY ? row->ext : o->reg == VEC_G ? RAX : N_REG;
    unsigned rm = o->rm == VEC_G ? RCX : N_RM;
    unsigned h = vec_has_h(row, mem) ? N_H : 0;

    if (e->vex) {
        EMIT(e, 0xc4, 0xe0 | row->map, (uint8_t)(w << 7 | (~h & 15) << 3 | l << 2 | row->pp));
    } else {
        if (row->pp)
            EMIT(e, prefix[row->pp]);
        if (w)
            EMIT(e, 0x48);
        EMIT(e, 0x0f);
        if (row->map != X86_MAP_0F)
            EMIT(e, row->map == X86_MAP_0F38 ? 0x38 : 0x3a);
    }
    EMIT(e, row->opcode, (uint8_t)(reg << 3 | (mem ? AT_MEM : 0xc0 | rm)));
    if (i->imm_size)
        EMIT(e, (uint8_t)(row->flags & VEC_IS4 ? N_IS4 << 4 | (i->imm & 15) : i->imm));
}

static void emit_loads(struct emitter *e, const struct vec_row *row, bool mem)
{
    const struct vec_operands *o = &vec_operands[row->form];

    emit_move(e, o->reg, N_REG, AT_REG, false);
    if (e->vex && vec_has_h(row, mem))
        emit_move(e, VEC_X, N_H, AT_H, false);
    if (!mem)
        emit_move(e, o->rm, N_RM, AT_RM, false);
    if (row->flags & VEC_IS4)
        emit_move(e, VEC_X, N_IS4, AT_X4, false);
    if (row->flags & VEC_X0)
        emit_move(e, VEC_X, N_X0, AT_X4, false);
    if (o->reg == VEC_G || o->rm == VEC_G || row->flags & (VEC_EAX_EDX | VEC_ECX)) {
        EMIT(e, 0x49, 0x8b, 0x01);       /* mov (%r9), %rax */
        EMIT(e, 0x49, 0x8b, 0x49, 0x08); /* mov 8(%r9), %rcx */
        EMIT(e, 0x49, 0x8b, 0x51, 0x10); /* mov 16(%r9), %rdx */
    }
}

static void emit_stores(struct emitter *e, const struct vec_row *row, unsigned dest, bool mem)
{
    const struct vec_operands *o = &vec_operands[row->form];

    if (row->flags & VEC_EFL) {
        EMIT(e, 0x9c);                   /* pushfq */
        EMIT(e, 0x41, 0x8f, 0x41, 0x18); /* pop 24(%r9) */
    }
    if (dest == VEC_TO_REG && o->reg == VEC_G)
        EMIT(e, 0x49, 0x89, 0x01); /* mov %rax, (%r9) */
    else if (dest == VEC_TO_REG)
        emit_move(e, o->reg, N_REG, AT_REG, true);
    else if (dest == VEC_TO_RM && !mem && o->rm != VEC_G)
        emit_move(e, o->rm, N_RM, AT_RM, true);
    else if (dest == VEC_TO_VVVV)
        emit_move(e, VEC_X, N_H, AT_H, true);
    else if (dest == VEC_TO_X0)
        emit_move(e, VEC_X, N_X0, AT_X4, true);
    if ((dest == VEC_TO_RM && !mem && o->rm == VEC_G) || row->flags & VEC_ECX)
        EMIT(e, 0x49, 0x89, 0x49, 0x08); /* mov %rcx, 8(%r9) */
    if (e->vex)
        EMIT(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
    if (o->reg == VEC_M || o->rm == VEC_M)
        EMIT(e, 0x0f, 0x77); /* emms */
    EMIT(e, 0xc3);
}

/* ---- the thunks there are -------------------------------------------- */

#define TABLE_BITS 12
#define CHUNK      1024 /* thunks */
#define CHUNKS     256

static struct {
    pthread_mutex_t lock;
    uint32_t first[1u << TABLE_BITS]; /* index + 1 */
    struct vec_thunk *chunk[CHUNKS];
    uint32_t count;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct vec_thunk *table_at(uint32_t index)
{
    return &table.chunk[index / CHUNK][index % CHUNK];
}

static bool thunk_make(struct vec_thunk *t, const struct vec_row *row, const struct x86_insn *i,
                       bool w, bool code64)
{
    const struct vec_operands *o = &vec_operands[row->form];
    bool mem = i->flags & X86_RM_MEM;
    struct emitter e = {.vex = i->flags & X86_VEX};

    t->row = row;
    t->vex = e.vex;
    t->size = mem ? (uint8_t)vec_mem_size(row, i, code64) : 0;
    t->align = (e.vex ? row->flags & VEC_VA : t->size == 16 && !(row->flags & VEC_U))
                   ? (uint8_t)(t->size - 1)
                   : 0;
    t->reg_to = o->dest == VEC_TO_VVVV && !e.vex ? VEC_TO_RM : o->dest;
    emit_loads(&e, row, mem);
    emit_insn(&e, row, i, w);
    emit_stores(&e, row, t->reg_to, mem);
    t->code = (vec_code)(uintptr_t)thunk_place(e.code, e.len);
    return t->code != NULL;
}

static const struct vec_thunk *thunk_add(uint64_t key, uint32_t *first, const struct vec_row *row,
                                         const struct x86_insn *i, bool w, bool code64)
{
    struct vec_thunk **chunk = &table.chunk[table.count / CHUNK % CHUNKS], *t;

    if (table.count >= CHUNK * CHUNKS)
        return NULL;
    if (!*chunk)
        *chunk = calloc(CHUNK, sizeof(**chunk));
    if (!*chunk)
        return NULL;
    t = table_at(table.count);
    if (!thunk_make(t, row, i, w, code64))
        return NULL;
    t->key = key;
    t->next = *first;
    *first = ++table.count;
    return t;
}

const struct vec_thunk *vec_thunk_get(const struct vec_row *row, const struct x86_insn *i,
                                      bool code64)
{
    /* Without VEX, W only ever means the size of a general register. */
    bool w = i->flags & X86_W && (code64 || !(row->flags & VEC_WG)) &&
             (i->flags & X86_VEX || row->flags & VEC_WG);
    uint64_t imm = !i->imm_size ? 0 : row->flags & VEC_IS4 ? i->imm & 15 : i->imm & 255;
    uint64_t key = (uint64_t)(row - vec_rows) | imm << 16 |
                   (uint64_t)(i->flags & (X86_VEX | X86_L | X86_RM_MEM)) << 24 | (uint64_t)w << 40;
    uint32_t *first = &table.first[key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - TABLE_BITS)];
    const struct vec_thunk *t = NULL;

    pthread_mutex_lock(&table.lock);
    for (uint32_t n = *first; n && !t; n = table_at(n - 1)->next)
        if (table_at(n - 1)->key == key)
            t = table_at(n - 1);
    if (!t)
        t = thunk_add(key, first, row, i, w, code64);
    pthread_mutex_unlock(&table.lock);
    return t;
}
