/* What is rare: RSP as a general register, code that is rewritten, and odds and ends. */
#include "generate.h"

/* RSP moved away and back, with things in between. */
static void gen_rsp(struct gen *g)
{
    unsigned form = gen_below(g, 5), by = gen_below(g, 16) * 8, keep = gen_pick(g, g->free);
    uint32_t before = g->free;
    uint8_t group = gen_new_group(g);
    struct insn in = {.modrm = true, .size = 8, .rm = RSP};

    g->group = group;
    if (form < 3) { /* by arithmetic, and by LEA */
        in.opcode = 0x83;
        in.reg = 5;
        in.imm_size = 1;
        in.imm = by;
        gen_put(g, &in);
        g->pushed += by;
    } else { /* through another register */
        in.opcode = 0x89;
        in.reg = RSP;
        in.rm = (uint8_t)keep;
        gen_put(g, &in);
        g->free &= ~(1u << keep);
        if (form == 3) /* and $-16, %rsp */
            GEN_BYTES(g, 0x48, 0x83, 0xe4, 0xf0);
        else /* and $n, %spl */
            GEN_BYTES(g, 0x40, 0x80, 0xe4, (uint8_t)(gen_below(g, 32) * 8));
        g->pushed += 256;
    }
    g->group = 0;
    gen_things(g, 1 + gen_below(g, 3));
    g->group = group;
    if (form < 3) {
        g->pushed -= by;
        if (form == 0) {
            in.opcode = 0x8d;
            in.mem = true;
            in.imm_size = 0;
            in.reg = RSP;
            in.m = (struct mem){.base = RSP, .index = X86_NONE_SLOT, .disp = (int32_t)by};
        } else {
            in.reg = 0;
        }
        gen_put(g, &in);
    } else {
        g->pushed -= 256;
        in = (struct insn){.opcode = 0x8b, .modrm = true, .reg = RSP, .rm = (uint8_t)keep};
        in.size = gen_one_in(g, 3) ? 4 : 8; /* it lies below 4 GiB */
        gen_put(g, &in);
        g->free = before;
    }
    g->group = 0;
}

/* A store to the immediate of a MOV that comes soon after it. */
static void gen_rewrite(struct gen *g)
{
    uint8_t group = gen_new_group(g);
    struct insn store = {.opcode = 0x89, .modrm = true, .mem = true, .size = 4};
    struct insn mov = {.opcode = 0xb8, .plus = true, .size = 4, .imm_size = 4};
    struct seq_item *writes, *written;

    g->group = group;
    store.m.kind = MEM_RIP;
    store.m.address = ROW_DATA;
    store.reg = (uint8_t)gen_pick(g, ANY_REGS);
    if (gen_one_in(g, 2)) {
        store.opcode = 0xc7;
        store.reg = 0;
        store.imm_size = 4;
        store.imm = gen_imm(g);
    }
    writes = gen_put(g, &store);
    g->group = 0;
    gen_things(g, gen_below(g, 3));
    g->group = group;
    mov.rm = (uint8_t)gen_pick(g, g->free);
    mov.imm = gen_imm(g);
    if (writes)
        writes->target = (uint16_t)g->s->count;
    written = gen_put(g, &mov);
    if (writes && written) {
        writes->fix = FIX_RIP_TO;
        writes->address = written->len - 4u;
        g->s->rewrites = true;
    }
    g->group = 0;
}

/* XLAT with a table in the data pages */
static void gen_xlat(struct gen *g)
{
    struct insn set = {.opcode = 0xb8, .plus = true, .size = 4, .rm = RBX, .imm_size = 4};

    if (!(g->free & 1 << RBX) || !(g->free & 1 << RAX))
        return;
    g->group = gen_new_group(g);
    set.imm = ROW_DATA + gen_below(g, 0x2000);
    gen_put(g, &set);
    GEN_BYTES(g, 0xd7);
    g->group = 0;
}

static void gen_movnti(struct gen *g)
{
    struct insn in = {.map = X86_MAP_0F, .opcode = 0xc3, .modrm = true, .mem = true};

    in.size = gen_one_in(g, 2) ? 4 : 8;
    in.m = gen_mem(g, in.size, ANY_REGS, false);
    in.reg = (uint8_t)gen_pick(g, ANY_REGS);
    gen_put(g, &in);
}

/* Fences, PREFETCH, PAUSE, ENDBR64, RDFSBASE */
static void gen_hint(struct gen *g)
{
    struct insn in = {.map = X86_MAP_0F, .opcode = 0x18, .modrm = true, .mem = true};

    switch (gen_below(g, 6)) {
    case 0: GEN_BYTES(g, 0x0f, 0xae, (uint8_t)(0xe8 + 8 * gen_below(g, 3))); break;
    case 1: GEN_BYTES(g, 0xf3, 0x90); break;
    case 2: GEN_BYTES(g, 0xf3, 0x0f, 0x1e, 0xfa); break;
    case 3:
        in = (struct insn){.map = X86_MAP_0F, .opcode = 0xae, .pp = 2, .modrm = true};
        in.reg = (uint8_t)gen_below(g, 2);
        in.rm = (uint8_t)gen_pick(g, g->free);
        in.w = gen_one_in(g, 2);
        gen_put(g, &in);
        break;
    default:
        in.m = gen_mem(g, 1, ANY_REGS, false);
        in.reg = (uint8_t)gen_below(g, 4);
        gen_put(g, &in);
        break;
    }
}

void gen_odd(struct gen *g)
{
    if (g->group || g->depth > 3)
        return;
    g->depth++;
    switch (gen_below(g, 10)) {
    case 0:
    case 1:
    case 2:
    case 3: gen_rsp(g); break;
    case 4:
        if (gen_one_in(g, 2)) /* it keeps code from becoming hot */
            gen_rewrite(g);
        break;
    case 5: gen_xlat(g); break;
    case 6: gen_movnti(g); break;
    case 7: gen_x87_state(g); break;
    default: gen_hint(g); break;
    }
    g->depth--;
}
