/* The target description: which registers there are, in the order of their numbers. */
#include "gdb/reg_rows.h"
#include "gdb/regs.h"

#include "base/bits.h"

#include <stdarg.h>
#include <stdio.h>

struct writer {
    char *at;
    size_t left;
    bool full;
};

static void put(struct writer *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(struct writer *w, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(w->at, w->left, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= w->left) {
        w->full = true;
        return;
    }
    w->at += n;
    w->left -= (size_t)n;
}

/* ---- types ---- */

struct field {
    const char *name;
    uint8_t first, last; /* bits */
};

static const struct field eflags[] = {
    {"CF", 0, 0},    {"", 1, 1},     {"PF", 2, 2},   {"AF", 4, 4},   {"ZF", 6, 6},
    {"SF", 7, 7},    {"TF", 8, 8},   {"IF", 9, 9},   {"DF", 10, 10}, {"OF", 11, 11},
    {"NT", 14, 14},  {"RF", 16, 16}, {"VM", 17, 17}, {"AC", 18, 18}, {"VIF", 19, 19},
    {"VIP", 20, 20}, {"ID", 21, 21},
};
static const struct field mxcsr[] = {
    {"IE", 0, 0},   {"DE", 1, 1},   {"ZE", 2, 2},   {"OE", 3, 3},   {"UE", 4, 4},
    {"PE", 5, 5},   {"DAZ", 6, 6},  {"IM", 7, 7},   {"DM", 8, 8},   {"ZM", 9, 9},
    {"OM", 10, 10}, {"UM", 11, 11}, {"PM", 12, 12}, {"FZ", 15, 15},
};
static const struct field cr0[] = {
    {"PE", 0, 0},   {"MP", 1, 1},   {"EM", 2, 2},   {"TS", 3, 3},   {"ET", 4, 4},   {"NE", 5, 5},
    {"WP", 16, 16}, {"AM", 18, 18}, {"NW", 29, 29}, {"CD", 30, 30}, {"PG", 31, 31},
};
static const struct field cr4[] = {
    {"VME", 0, 0},    {"PVI", 1, 1},        {"TSD", 2, 2},          {"DE", 3, 3},
    {"PSE", 4, 4},    {"PAE", 5, 5},        {"MCE", 6, 6},          {"PGE", 7, 7},
    {"PCE", 8, 8},    {"OSFXSR", 9, 9},     {"OSXMMEXCPT", 10, 10}, {"UMIP", 11, 11},
    {"LA57", 12, 12}, {"FSGSBASE", 16, 16}, {"PCIDE", 17, 17},      {"OSXSAVE", 18, 18},
    {"SMEP", 20, 20}, {"SMAP", 21, 21},
};
static const struct field efer[] = {
    {"SCE", 0, 0},    {"LME", 8, 8},     {"LMA", 10, 10},      {"NXE", 11, 11},
    {"SVME", 12, 12}, {"FFXSR", 14, 14}, {"AUTOIBRS", 21, 21},
};

static void put_flags(struct writer *w, const char *id, unsigned size, const struct field *field,
                      unsigned count)
{
    put(w, "<flags id=\"%s\" size=\"%u\">", id, size);
    for (unsigned i = 0; i < count; i++)
        put(w, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", field[i].name, field[i].first,
            field[i].last);
    put(w, "</flags>");
}
#define PUT_FLAGS(w, id, size, fields) put_flags(w, id, size, fields, ARRAY_SIZE(fields))

/* The ways to look at an XMM register. */
static void put_vec128(struct writer *w)
{
    static const struct {
        const char *id, *field, *type;
        unsigned count;
    } view[] = {
        {"v4f", "v4_float", "ieee_single", 4}, {"v2d", "v2_double", "ieee_double", 2},
        {"v16i8", "v16_int8", "int8", 16},     {"v8i16", "v8_int16", "int16", 8},
        {"v4i32", "v4_int32", "int32", 4},     {"v2i64", "v2_int64", "int64", 2},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(view); i++)
        put(w, "<vector id=\"%s\" type=\"%s\" count=\"%u\"/>", view[i].id, view[i].type,
            view[i].count);
    put(w, "<union id=\"vec128\">");
    for (unsigned i = 0; i < ARRAY_SIZE(view); i++)
        put(w, "<field name=\"%s\" type=\"%s\"/>", view[i].field, view[i].id);
    put(w, "<field name=\"uint128\" type=\"uint128\"/></union>");
}

static void put_types(struct writer *w, unsigned feature)
{
    switch (feature) {
    case GDB_FEATURE_CORE: PUT_FLAGS(w, "i386_eflags", 4, eflags); break;
    case GDB_FEATURE_SSE:
        put_vec128(w);
        PUT_FLAGS(w, "i386_mxcsr", 4, mxcsr);
        break;
    case GDB_FEATURE_SYSTEM:
        PUT_FLAGS(w, "cr0_flags", 8, cr0);
        PUT_FLAGS(w, "cr4_flags", 8, cr4);
        PUT_FLAGS(w, "efer_flags", 8, efer);
        break;
    default: break;
    }
}

/* ---- registers ---- */

static void put_reg(struct writer *w, const struct gdb_reg_row *row, unsigned index)
{
    if (row->count == 1)
        put(w, "<reg name=\"%s\"", row->prefix);
    else
        put(w, "<reg name=\"%s%u%s\"", row->prefix, row->first + index, row->suffix);
    put(w, " bitsize=\"%u\" type=\"%s\"", 8 * row->size, row->type);
    if (row->group)
        put(w, " group=\"%s\"", row->group);
    put(w, "/>");
}

static void put_feature(struct writer *w, unsigned feature)
{
    static const char *const names[GDB_FEATURES] = {
        [GDB_FEATURE_CORE] = "org.gnu.gdb.i386.core",
        [GDB_FEATURE_SSE] = "org.gnu.gdb.i386.sse",
        [GDB_FEATURE_AVX] = "org.gnu.gdb.i386.avx",
        [GDB_FEATURE_SEGMENTS] = "org.gnu.gdb.i386.segments",
        [GDB_FEATURE_SYSTEM] = "mote.system",
    };

    put(w, "<feature name=\"%s\">", names[feature]);
    put_types(w, feature);
    for (unsigned i = 0; i < gdb_reg_row_count; i++) {
        for (unsigned n = 0; gdb_reg_rows[i].feature == feature && n < gdb_reg_rows[i].count; n++)
            put_reg(w, &gdb_reg_rows[i], n);
    }
    put(w, "</feature>");
}

bool gdb_regs_describe(bool avx, char *xml, size_t size)
{
    struct writer w = {xml, size, false};

    put(&w, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>"
            "<architecture>i386:x86-64</architecture>");
    for (unsigned feature = 0; feature < GDB_FEATURES; feature++) {
        if (feature != GDB_FEATURE_AVX || avx)
            put_feature(&w, feature);
    }
    put(&w, "</target>");
    return !w.full;
}
