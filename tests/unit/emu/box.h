/*
 * A CPU in a small box: 2 MiB of RAM at 0, a GDT, an IDT and a TSS at fixed
 * places, in protected or long mode. Tests put instruction bytes at CS:RIP and
 * look at what one instruction did.
 */
#ifndef TEST_EMU_BOX_H
#define TEST_EMU_BOX_H

#include "emu/emu.h"
#include "emu/system.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define RAM_SIZE  0x200000u
#define GDT       0x1000u
#define IDT       0x2000u
#define TSS       0x3000u
#define TSS_B     0x3800u /* a second task */
#define LDT       0x4000u
#define TABLES    0x10000u /* page tables */
#define CODE      0x20000u
#define HANDLER   0x21000u
#define STACK     0x30000u /* top; grows down */
#define STACK0    0x31000u /* privilege 0, by TSS */
#define STACK_IST 0x32008u /* not aligned to 16, to see that delivery aligns */
#define DATA      0x40000u

/* Selectors of the GDT that box_create builds. */
enum {
    CODE0 = 0x08,
    DATA0 = 0x10,
    CODE3 = 0x18 | 3,
    DATA3 = 0x20 | 3,
    CODE64_0 = 0x28,
    CODE64_3 = 0x30 | 3,
    CONFORMING = 0x38,
    ABSENT = 0x40,    /* data, not present */
    READ_ONLY = 0x48, /* data */
    ABSENT_CODE = 0x50,
    EXECUTE_ONLY = 0x58,
    GATE = 0x60, /* for call and task gates; 16 bytes */
    TSS_SEL = 0x70,
    TSS_B_SEL = 0x80,
    LDT_SEL = 0x90,
    GDT_END = 0xa0,
};

/* What one instruction came to. */
#define DONE                 0
#define FAULT(vector, error) (0x1000000 | (vector) << 16 | (error))
#define EXIT(reason)         (0x2000000 | VCPU_EXIT_##reason)

struct box {
    struct emu_cpu *c;
    struct guest_mem mem;
    struct x86_cpuid cpuid;
    uint8_t *ram;
    uint64_t tsc; /* what the clock says */
};

/* In real mode, as after RESET but with cs:ip = 0:CODE16. */
void box_create(struct box *b);
void box_destroy(struct box *b);

/* Flat 32-bit protected mode without paging; privilege 0 or 3. */
void box_protected(struct box *b, unsigned cpl);

/* 64-bit mode, memory identity-mapped for everyone; privilege 0 or 3. */
void box_long(struct box *b, unsigned cpl);

/* Set a descriptor: attrib as in struct mote_seg, limit in bytes. */
void box_descriptor(struct box *b, uint32_t at, uint64_t base, uint32_t limit, unsigned attrib);

/* Set a gate (in GDT or IDT), 16 bytes long in long mode; low: count or IST. */
void box_gate(struct box *b, uint32_t at, unsigned attrib, uint16_t selector, uint64_t offset,
              unsigned low);

/* One instruction: DONE, FAULT or EXIT. An exception is not delivered. */
int box_exec(struct box *b, const uint8_t *code, size_t len);
#define EXEC(b, ...)                                                                               \
    box_exec((b), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* One instruction with the delivery of what it raises: 0, or the exit's reason. */
int box_step(struct box *b, const uint8_t *code, size_t len);
#define STEP(b, ...)                                                                               \
    box_step((b), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static inline uint32_t box32(const struct box *b, uint64_t at)
{
    return le32_get(b->ram + at);
}

static inline uint64_t box64(const struct box *b, uint64_t at)
{
    return le64_get(b->ram + at);
}

#endif
