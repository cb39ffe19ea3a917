/*
 * The conformance suite of libmote: one table of small guests (cases/), each with what its
 * devices are to see, where it is to end and with which registers, the same on all accelerators.
 * Only <mote/mote.h> is used.
 */
#ifndef MOTE_TESTS_API_H
#define MOTE_TESTS_API_H

#include <mote/mote.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Guest-physical memory: RAM below DEV. Linear addresses are the same, up to 1 GiB. */
#define CODE     0x1000u /* up to three pages */
#define HANDLERS 0x4000u /* 16 bytes for each vector: vector into (R)SI, HLT, IRET */
#define IDT      0x5000u
#define GDT      0x6000u
#define TSS      0x6800u
#define STACK    0x8000u
#define TABLES   0xc000u /* PML4, PDPT, PD of the first GiB, PT of the first 2 MiB */
#define DATA     0x10000u
#define RING0    0x20000u /* the stack that the TSS names */
#define RAM_SIZE 0x40000u
#define DEV      0x40000u /* nothing is mapped from here on */

#define EXTRA_SIZE 0x10000u /* each page begins with "1234" and ends with "z" */

/* The GDT's selectors. */
enum {
    SEL_CODE64 = 0x08,
    SEL_DATA = 0x10,
    SEL_CODE32 = 0x18,
    SEL_USER_DATA = 0x2b,
    SEL_USER_CODE64 = 0x33,
    SEL_TSS = 0x40,
};

enum {
    FLAGS_CF = 1,
    FLAGS_R1 = 2,
    FLAGS_PF = 4,
    FLAGS_AF = 0x10,
    FLAGS_ZF = 0x40,
    FLAGS_SF = 0x80,
    FLAGS_TF = 0x100,
    FLAGS_IF = 0x200,
    FLAGS_DF = 0x400,
    FLAGS_IOPL = 0x3000,
    FLAGS_OF = 0x800,
    FLAGS_RF = 0x10000,
};

enum mode {
    REAL,
    PROT,   /* 32 bits, flat, without paging */
    COMPAT, /* 32 bits of long mode */
    LONG,
    USER, /* 64 bits in ring 3, with IOPL 3 */
};

enum access_kind { END, IN, OUT, RD, WR };

struct access { /* that a device is to see, in order */
    uint8_t kind;
    uint8_t size;
    uint64_t address;
    uint64_t value; /* that is written, or answers the read */
};

struct bytes {
    uint32_t at;
    uint32_t size;
    const char *data;
};

enum want_kind { WANT_END, WANT_GPR, WANT_RIP, WANT_FLAGS };

struct want { /* at the end */
    uint8_t kind;
    uint64_t which; /* register, or the flags' mask */
    uint64_t value;
};

struct api;

struct api_case {
    const char *name;
    enum mode mode;
    const uint8_t *code, *code_end;
    struct access dev[20];
    struct want want[8];
    struct bytes ram[3];        /* before */
    struct bytes want_ram[3];   /* at the end */
    enum mote_exit_reason ends; /* NONE: with HLT, rip behind the code */
    void (*init)(struct api *a, struct mote_state *s);
    void (*run)(struct api *a); /* instead of all that, after the code was put in place */
    unsigned arg;
    uint32_t need;        /* features of CPUID.1:ECX */
    const char *emulated; /* why it is no use on a KVM that emulates ring 0 */
    const char *qemu;     /* ditto on QEMU's SVM */
    /* Why KVM is not as it should be; what devices see there (if anything is in it). The
     * manual has it, too. */
    const char *differs;
    struct access kvm_dev[20];
};

enum {
    HAS_SSE42 = 1u << 20,
    HAS_MOVBE = 1u << 22,
    HAS_POPCNT = 1u << 23,
    HAS_AVX = 1u << 28,
};

/* What the accelerator offers its guests. */
extern uint32_t api_features;
extern bool api_has_rdtscp;

extern const struct api_case api_cases[];
extern const unsigned api_count;

struct api {
    const struct api_case *c;
    const char *accel;
    bool on_kvm;
    struct mote_machine *m;
    struct mote_vcpu *v;
    struct mote_state *s;
    uint8_t *ram;
    uint8_t *extra; /* EXTRA_SIZE bytes that are registered and not mapped */
    int thread_error;
    struct mote_exit exit;
    const struct access *next; /* that a device is to see */
    int device_error;          /* what the callback returns, once */
    jmp_buf *abort;
    char why[300];
};

/* The case has failed: to its end. */
void api_fail(struct api *a, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));

/* `ok`, or the case has failed with the condition's text, or with values. */
#define CHECK(a, ok)                                                                               \
    do {                                                                                           \
        if (!(ok))                                                                                 \
            api_fail(a, "line %d of %s: not %s", __LINE__, __FILE_NAME__, #ok);                    \
    } while (0)
#define EQUAL(a, got, want)                                                                        \
    do {                                                                                           \
        uint64_t got_ = (uint64_t)(got), want_ = (uint64_t)(want);                                 \
        if (got_ != want_)                                                                         \
            api_fail(a, "line %d of %s: %s is 0x%llx, not 0x%llx", __LINE__, __FILE_NAME__, #got,  \
                     (unsigned long long)got_, (unsigned long long)want_);                         \
    } while (0)
#define MUST(a, call) api_must(a, call, #call)
void api_must(struct api *a, int err, const char *what);

/* The machine with one vCPU, RAM and devices; the case's code in the case's mode. */
void api_create(struct api *a);
void api_destroy(struct api *a);

/* Back to where the case begins, in a machine that has run. */
void api_begin(struct api *a);

/* All segments, control registers, and so on for a mode; rip is CODE. */
void api_mode(struct mote_state *s, enum mode mode);
void api_flat(struct mote_seg *seg, unsigned selector, unsigned type, unsigned dpl, unsigned bits);
void api_ram(struct api *a, uint64_t at, const void *bytes, size_t size);
void api_ram64(struct api *a, uint64_t at, uint64_t value);
uint64_t api_ram_at(struct api *a, uint64_t at, unsigned size);

/* Page-table entry of a linear address below 2 MiB, in the table at TABLES. */
void api_pte(struct api *a, uint64_t gva, uint64_t entry);
#define PTE_RW 0x67u /* present, writable, user, accessed, dirty */

/* Run once. The case fails when that takes too long, or by an error. */
enum mote_exit_reason api_run(struct api *a);
/* ... and unless it is that exit. */
void api_expect(struct api *a, enum mote_exit_reason reason);
/* Run, devices playing their part, until another exit, in a->exit. */
enum mote_exit_reason api_play(struct api *a);
/* api_play until HLT. */
void api_halt(struct api *a);
void api_get(struct api *a, unsigned groups);
uint64_t api_gpr(struct api *a, unsigned reg);
void api_set_rip(struct api *a, uint64_t rip);

/* A case without `run`, and the end of any: devices were asked for all, registers are as wanted. */
void api_script(struct api *a);
void api_compare(struct api *a);

#define RUNS(name)  void name(struct api *a);
#define INITS(name) void name(struct api *a, struct mote_state *s);
#include "runs.h"

#endif
