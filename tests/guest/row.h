/*
 * The guest-instruction table, unprivileged part: a row is a short piece of
 * ring-3 code that ends in INT3. Every engine runs the same bytes at the same
 * linear addresses from the same state as the bare CPU does, and must end with
 * the same registers, flags, memory and exception.
 *
 * Included by the rows' assembler too, so the top half is plain #defines.
 */
#ifndef MOTE_GUEST_ROW_H
#define MOTE_GUEST_ROW_H

/* Where rows live (linear; below 2 GiB, so that every addressing form reaches). */
#define ROW_CODE   0x10000000 /* .rowtext is linked here */
#define ROW_DATA   0x20000000 /* three pages read-write, */
#define ROW_RO     0x20003000 /* one page read-only, */
#define ROW_NONE   0x20004000 /* and nothing behind it */
#define ROW_STACK  0x30000000 /* two pages */
#define ROW_KERNEL 0x40000000 /* guests only: tables and handlers, supervisor */

#define ROW_DATA_RW    0x3000
#define ROW_DATA_SIZE  0x4000
#define ROW_STACK_SIZE 0x2000

/* What every input has in these registers; the others vary. */
#define ROW_RDI 0x20001000
#define ROW_RSI 0x20001800
#define ROW_RSP 0x30001800
#define ROW_RBP 0x30001a00
#define ROW_FS  0x20001100 /* FS base */
#define ROW_GS  0x20001200 /* GS base */

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One entry of .rowtab, laid down by the ROW macro. */
struct row {
    const char *name;
    const uint8_t *code;
    uint32_t undefined; /* RFLAGS bits the manual leaves undefined */
    uint32_t need;      /* CPUID feature, FEATURE in macros.inc; 0: none */
};

extern const struct row row_first[], row_last[]; /* [first, last) */
extern uint8_t row_text_start[], row_text_end[];

/* A CPU's state before and after a row. */
struct row_cpu {
    uint64_t gpr[16];
    uint64_t rip, rflags;
    uint64_t fs_base, gs_base;
    uint16_t cs, ss;
    uint8_t ymm[16][32];
    uint32_t mxcsr;
    uint8_t x87[160]; /* head of the FXSAVE image */
    uint32_t vector;  /* exception that ended the row */
    uint32_t error;   /* its error code, 0 without */
    uint64_t cr2;     /* only with vector 14 */
};

struct row_result {
    struct row_cpu cpu;
    uint8_t data[ROW_DATA_SIZE];
    uint8_t stack[ROW_STACK_SIZE];
};

/* ---- input.c ---- */

/* Map data and stack at their addresses, make the row text executable and keep
 * a copy of it. 0 or -errno. */
int row_memory_init(void);

/*
 * Fill *cpu and the memory for input number n of a row. Deterministic in
 * (row's name, n). Returns true if row text had been changed and was restored.
 */
bool row_input(const struct row *row, unsigned n, struct row_cpu *cpu);

/* Copy the memory out. */
void row_memory_save(struct row_result *r);

/* ---- bare.c ---- */

int bare_init(void);
void bare_run(const struct row_cpu *in, struct row_cpu *out);
bool bare_has(uint32_t need);

/* ---- engine.c ---- */

/* An accelerator's name, "rescue", or "interp": soft without its translator. -ENODEV and a reason
 * in `why` when it cannot be used here. */
int engine_init(const char *accel, char *why, size_t size);
int engine_run(const struct row_cpu *in, struct row_cpu *out);
bool engine_has(uint32_t need);
void engine_text_restored(void);
/* Set only what inputs vary in, so that the engine keeps what it knows of memory? */
void engine_keep_tlb(bool keep);
void engine_text_written(uint32_t linear, size_t len);
void engine_kick(void); /* any thread: leave the guest and go on */
void engine_stop(void); /* any thread: engine_run returns -ETIMEDOUT */
void engine_exit(void);

/* ---- watch.c ---- */

/* A row begins: if it does not end in minutes, or the test is told to end (SIGTERM, as meson does
 * when its time is up), the program says its name and fails. `name` stays valid. */
void row_watch(const char *name);

/* ---- known.c ---- */

/* Is the row left out on this engine? emulating: see there. */
bool row_known(const struct row *row, bool emulating);

/* Does it need AVX without saying so? */
bool row_needs_avx(const struct row *row);

/* ---- compare.c ---- */

/* Number of differences; prints them if `print`. */
unsigned row_compare(const struct row *row, const struct row_cpu *in, const struct row_result *want,
                     const struct row_result *got, bool print);

extern const char *const row_gpr_name[16];

/* Its two halves. */
unsigned row_compare_cpu(uint32_t undefined, const struct row_cpu *in, const struct row_cpu *want,
                         const struct row_cpu *got, bool print);
unsigned row_compare_memory(const struct row_result *want, const struct row_result *got,
                            bool print);

#endif
#endif
