/*
 * guest-vectors: every instruction of the vector table (emu/vector_table.h) that
 * is offered, with registers and with memory, on the bare CPU and by the software
 * engine: first interpreted, then translated, as each is run often enough for
 * that. The instructions are made here, into the rows' text.
 */
#include "row.h"

#include "emu/vector_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SKIP        77
#define COLD        16 /* runs until code is translated, or more */
#define HOT         10
#define SHOWN_FAILS 20

/* Room in the rows' text (rows/vectors.S). */
extern uint8_t row_room_start[], row_room_end[];

struct made {
    struct row row;
    const struct vec_row *vec;
    unsigned len;
    char name[80];
};

static struct made *made;
static unsigned made_count, made_room;
static uint8_t *text = row_room_start;
static uint64_t features, seed = 1;

static unsigned pick(unsigned below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(seed >> 33) % below;
}

/* ---- one instruction ---------------------------------------------------------------- */

/* Displacements from RSI, 800 before a page's end, 1800 before the read-only one: aligned, by 4,
 * not at all; in two pages; the second of them read-only. */
static const int32_t places[] = {0x40, 0x44, 0x83, 0x7ff, 0x17fb};

struct form {
    bool vex, l, w;
    int place;  /* -1: a register */
    bool after; /* behind a load from the four bytes before */
};

/* A register that is free to be written: not RSP, RBP, RSI and RDI if general. */
static unsigned pick_register(unsigned kind)
{
    static const uint8_t general[] = {0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15};

    return kind == VEC_G ? general[pick(sizeof(general))] : pick(kind == VEC_M ? 8 : 16);
}

/* MOV ECX from RSI + disp */
static unsigned put_load(uint8_t *out, int32_t disp)
{
    out[0] = 0x8b;
    out[1] = 0x8e;
    memcpy(out + 2, &disp, 4);
    return 6;
}

/*
 * Each run begins with an empty TLB, with which translated code leaves an access to the
 * interpreter. So there is a function that touches the pages first, for reading and writing:
 * ADDB $0 and TESTB $0 of (RSI) and 800(RSI), RET.
 */
static uint8_t *touch;

static void make_touch(void)
{
    static const uint8_t code[] = {
        0x80, 0x86, 0, 0, 0, 0, 0,    0xf6, 0x86, 0, 0, 0, 0, 0,    0x80,
        0x86, 0,    8, 0, 0, 0, 0xf6, 0x86, 0,    8, 0, 0, 0, 0xc3,
    };

    touch = text;
    memcpy(text, code, sizeof(code));
    text += sizeof(code);
}

static unsigned put_call(uint8_t *out, const uint8_t *at)
{
    int32_t by = (int32_t)(touch - (at + 5));

    out[0] = 0xe8;
    memcpy(out + 1, &by, 4);
    return 5;
}

/* Twice around, as an access has to fail once until it has a TLB entry of its own: PUSH $2, POP
 * RBP; and behind, DEC EBP, JNZ. */
static unsigned put_head(uint8_t *out)
{
    static const uint8_t code[] = {0x6a, 2, 0x5d};

    memcpy(out, code, sizeof(code));
    return sizeof(code);
}

static unsigned put_tail(uint8_t *out, unsigned back)
{
    const uint8_t code[] = {0xff, 0xcd, 0x75, (uint8_t) - (back + 4)};

    memcpy(out, code, sizeof(code));
    return sizeof(code);
}

static unsigned put_insn(uint8_t *out, const struct vec_row *row, const struct form *f)
{
    static const uint8_t prefix[] = {0, 0x66, 0xf3, 0xf2};
    const struct vec_operands *o = &vec_operands[row->form];
    unsigned reg = row->ext != VEC_ANY ? row->ext : pick_register(o->reg);
    unsigned rm = f->place >= 0 ? 6 : pick_register(o->rm);
    unsigned vvvv = vec_has_h(row, f->place >= 0) ? pick(16) : 0;
    uint8_t *p = out;

    if (f->vex) {
        *p++ = 0xc4;
        *p++ = (uint8_t)(!(reg & 8) << 7 | 1 << 6 | !(rm & 8) << 5 | row->map);
        *p++ = (uint8_t)(f->w << 7 | (~vvvv & 15) << 3 | f->l << 2 | row->pp);
    } else {
        if (row->pp)
            *p++ = prefix[row->pp];
        *p++ = (uint8_t)(0x40 | f->w << 3 | reg >> 3 << 2 | rm >> 3);
        *p++ = 0x0f;
        if (row->map != X86_MAP_0F)
            *p++ = row->map == X86_MAP_0F38 ? 0x38 : 0x3a;
    }
    *p++ = row->opcode;
    *p++ = (uint8_t)((f->place >= 0 ? 0x80 : 0xc0) | (reg & 7) << 3 | (rm & 7));
    if (f->place >= 0) {
        memcpy(p, &places[f->place], 4);
        p += 4;
    }
    *p = (uint8_t)pick(256); /* in case that there is one */
    return (unsigned)(p - out);
}

static bool offered(const struct vec_row *row, const struct x86_insn *i)
{
    return vec_find(i) == row && vec_offered(row, i, features);
}

static void make(const struct vec_row *row, const struct form *f)
{
    uint8_t code[24 + X86_INSN_MAX + 1];
    unsigned first = f->place >= 0 ? put_call(code, text) : 0, len, loop;
    struct x86_insn i;
    struct made *m;

    if (f->place >= 0)
        first += put_head(code + first);
    loop = first;
    if (f->after)
        first += put_load(code + first, places[f->place] - 4);
    len = first + put_insn(code + first, row, f);
    /* The decoder says whether there is an immediate, and the table whether this form is. */
    if (x86_decode(code + first, sizeof(code) - first, X86_MODE64, &i) < 0 || !offered(row, &i))
        return;
    len += i.imm_size;
    if (f->place >= 0)
        len += put_tail(code + len, len - loop);
    if (made_count == made_room || text + len + 1 > row_room_end) {
        fprintf(stderr, "guest-vectors: no room for all instructions\n");
        exit(1);
    }
    m = &made[made_count++];
    snprintf(m->name, sizeof(m->name), "%smap %u pp %u opcode %02x/%u%s%s %s", f->vex ? "vex " : "",
             row->map, row->pp, row->opcode, row->ext, f->l ? " L" : "", f->w ? " W" : "",
             f->place < 0 ? "reg"
             : f->after   ? "load mem"
                          : "mem");
    if (f->place >= 0)
        snprintf(m->name + strlen(m->name), 12, " %x", (unsigned)places[f->place]);
    m->vec = row;
    m->len = len;
    m->row = (struct row){.name = m->name, .code = text};
    memcpy(text, code, len);
    text[len] = 0xcc;
    text += len + 1;
}

static void make_all(void)
{
    made_room = vec_row_count * 128;
    made = calloc(made_room, sizeof(*made));
    if (!made)
        exit(1);
    make_touch();
    for (unsigned n = 0; n < vec_row_count; n++) {
        struct form f;

        for (unsigned bits = 0; bits < 8; bits++) {
            f = (struct form){.vex = bits & 1, .w = bits & 2, .l = bits & 4};
            if (f.l && !f.vex)
                continue;
            for (f.place = -1; f.place < (int)(sizeof(places) / sizeof(places[0])); f.place++) {
                f.after = false;
                make(&vec_rows[n], &f);
                f.after = true;
                if (f.place >= 0)
                    make(&vec_rows[n], &f);
            }
        }
    }
}

/* ---- running them ---------------------------------------------------------------------- */

/* AMD's processors take the operands of SHA wherever they are. */
static bool sha_unaligned(const struct made *m, const struct row_cpu *bare)
{
    return m->vec->legacy == EMU_FBIT_SHA && bare->vector == EXC_BP;
}

static int run_input(const struct made *m, unsigned n, bool print)
{
    static struct row_result want, got;
    struct row row = m->row;
    struct row_cpu in;
    int err;

    row_input(&row, n, &in);
    bare_run(&in, &want.cpu);
    row_memory_save(&want);
    row_input(&row, n, &in);
    err = engine_run(&in, &got.cpu);
    if (err) {
        printf("    the engine gave up: %s\n", strerror(-err));
        return 1;
    }
    row_memory_save(&got);
    if (got.cpu.vector == EXC_GP && sha_unaligned(m, &want.cpu))
        return 0;
    if (m->vec->flags & VEC_EFL && got.cpu.vector != EXC_BP)
        row.undefined = FLAG_STATUS; /* what it would have overwritten may be stale (effects.c) */
    return row_compare(&row, &in, &want, &got, print) != 0;
}

/* Prints the first input that differs. */
static bool made_ok(const struct made *m, bool print)
{
    for (unsigned n = 0; n < COLD + HOT; n++) {
        if (!run_input(m, n, false))
            continue;
        if (print) {
            printf("'%s', input %u, code", m->name, n);
            for (const uint8_t *p = m->row.code; p < m->row.code + m->len; p++)
                printf(" %02x", *p);
            printf(":\n");
            run_input(m, n, true);
        }
        return false;
    }
    return true;
}

static int skip(const char *why)
{
    printf("skipped: %s\n", why);
    return SKIP;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    struct x86_cpuid_topology topology = {.vcpus = 1};
    static struct x86_cpuid table;
    unsigned run = 0, failed = 0;
    char why[300];

    setvbuf(stdout, NULL, _IOLBF, 0);
    emu_default_cpuid(&topology, &table);
    features = emu_features(&table);
    make_all();
    if (row_memory_init()) {
        fprintf(stderr, "guest-vectors: cannot map the rows' memory\n");
        return 1;
    }
    if (bare_init())
        return skip("the host has no AVX2 or no FSGSBASE in user mode");
    if (engine_init("soft", why, sizeof(why)))
        return skip(why);
    for (unsigned n = 0; n < made_count; n++) {
        if (!strstr(made[n].name, word))
            continue;
        run++;
        row_watch(made[n].name);
        if (!made_ok(&made[n], failed < SHOWN_FAILS))
            failed++;
    }
    printf("%u vector instructions, each on %u inputs: %u failed\n", run, COLD + HOT, failed);
    engine_exit();
    free(made);
    return failed || !run;
}
