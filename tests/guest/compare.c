/* What two engines made of the same row, compared and printed. */
#include "row.h"

#include "x86/regs.h"
#include "x86/state.h"

#include <stdio.h>
#include <string.h>

const char *const row_gpr_name[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

static unsigned differ(const char *what, uint64_t in, uint64_t want, uint64_t got, bool print)
{
    if (want == got)
        return 0;
    if (print)
        printf("    %-10s in %#llx want %#llx got %#llx\n", what, (unsigned long long)in,
               (unsigned long long)want, (unsigned long long)got);
    return 1;
}

static unsigned differ_bytes(const char *what, const uint8_t *want, const uint8_t *got, size_t len,
                             bool print)
{
    if (!memcmp(want, got, len))
        return 0;
    for (size_t i = 0; print && i < len; i++)
        if (want[i] != got[i]) {
            printf("    %s+%#zx: want", what, i);
            for (size_t j = i; j < len && j < i + 16; j++)
                printf(" %02x", want[j]);
            printf(" got");
            for (size_t j = i; j < len && j < i + 16; j++)
                printf(" %02x", got[j]);
            printf("\n");
            break;
        }
    return 1;
}

static unsigned compare_fpu(const struct row_cpu *in, const struct row_cpu *a,
                            const struct row_cpu *b, bool print)
{
    static const struct {
        const char *name;
        unsigned offset, len;
    } field[] = {{"fcw", 0, 2}, {"fsw", 2, 2}, {"ftw", 4, 1}};
    char name[8];
    unsigned bad = differ("mxcsr", in->mxcsr, a->mxcsr, b->mxcsr, print);

    for (unsigned i = 0; i < 3; i++)
        bad += differ_bytes(field[i].name, a->x87 + field[i].offset, b->x87 + field[i].offset,
                            field[i].len, print);
    /* FOP, FIP, FDP are left out: whether they are saved without a pending
     * exception differs between makers (AMD APM Vol. 2 11.4.4). */
    for (unsigned i = 0; i < 8 && memcmp(a->x87, b->x87, sizeof(a->x87)) != 0; i++) {
        snprintf(name, sizeof(name), "st%u", i);
        bad += differ_bytes(name, a->x87 + 32 + 16 * i, b->x87 + 32 + 16 * i, 10, print);
    }
    for (unsigned i = 0; i < 16 && memcmp(a->ymm, b->ymm, sizeof(a->ymm)) != 0; i++) {
        snprintf(name, sizeof(name), "ymm%u", i);
        bad += differ_bytes(name, a->ymm[i], b->ymm[i], 32, print);
    }
    return bad;
}

unsigned row_compare_cpu(uint32_t undefined, const struct row_cpu *in, const struct row_cpu *a,
                         const struct row_cpu *b, bool print)
{
    uint64_t defined = ~(uint64_t)undefined;
    unsigned bad = 0;

    bad += differ("vector", 0, a->vector, b->vector, print);
    if (a->vector == b->vector && x86_exception_has_error(a->vector))
        bad += differ("error", 0, a->error, b->error, print);
    if (a->vector == EXC_PF && b->vector == EXC_PF)
        bad += differ("cr2", 0, a->cr2, b->cr2, print);
    for (unsigned i = 0; i < 16; i++)
        bad += differ(row_gpr_name[i], in->gpr[i], a->gpr[i], b->gpr[i], print);
    bad += differ("rip", in->rip, a->rip, b->rip, print);
    bad += differ("rflags", in->rflags, a->rflags & defined, b->rflags & defined, print);
    bad += differ("cs", 0, a->cs, b->cs, print);
    bad += differ("ss", 0, a->ss, b->ss, print);
    bad += differ("fs base", in->fs_base, a->fs_base, b->fs_base, print);
    bad += differ("gs base", in->gs_base, a->gs_base, b->gs_base, print);
    bad += compare_fpu(in, a, b, print);
    return bad;
}

unsigned row_compare_memory(const struct row_result *want, const struct row_result *got, bool print)
{
    unsigned bad = 0;

    bad += differ_bytes("data", want->data, got->data, sizeof(want->data), print);
    bad += differ_bytes("stack", want->stack, got->stack, sizeof(want->stack), print);
    return bad;
}

unsigned row_compare(const struct row *row, const struct row_cpu *in, const struct row_result *want,
                     const struct row_result *got, bool print)
{
    return row_compare_cpu(row->undefined, in, &want->cpu, &got->cpu, print) +
           row_compare_memory(want, got, print);
}
