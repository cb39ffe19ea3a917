#include "board/report.h"

#include "base/bits.h"
#include "base/err.h"

#include <inttypes.h>

#define CODE_BEFORE 16
#define CODE_BYTES  48

static void print_gprs(FILE *out, const struct mote_state *s)
{
    static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

    fprintf(out, "  rip %016" PRIx64 "  rflags %08" PRIx64 "\n", s->rip, s->rflags);
    for (unsigned i = 0; i < 16; i++)
        fprintf(out, "  %-3s %016" PRIx64 "%s", names[i], s->gpr[i], i % 4 == 3 ? "\n" : "");
}

static void print_segments(FILE *out, const struct mote_state *s)
{
    static const char *const names[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};

    for (unsigned i = 0; i < SEG_COUNT; i++)
        fprintf(out,
                "  %-4s %04x  base %016" PRIx64 "  limit %08" PRIx32 "  attrib %05" PRIx32 "\n",
                names[i], s->seg[i].selector, s->seg[i].base, s->seg[i].limit, s->seg[i].attrib);
    fprintf(out, "  gdtr       base %016" PRIx64 "  limit %04x\n", s->gdtr.base, s->gdtr.limit);
    fprintf(out, "  idtr       base %016" PRIx64 "  limit %04x\n", s->idtr.base, s->idtr.limit);
}

static void print_controls(FILE *out, const struct mote_state *s)
{
    fprintf(out,
            "  cr0 %016" PRIx64 "  cr2 %016" PRIx64 "  cr3 %016" PRIx64 "  cr4 %016" PRIx64 "\n",
            s->cr0, s->cr2, s->cr3, s->cr4);
    fprintf(out, "  efer %04" PRIx64 "  cr8 %" PRIx64 "\n", s->msr.efer, s->cr8);
    if (s->intr.pending.kind)
        fprintf(out, "  event pending: %s, vector 0x%02x, error 0x%" PRIx32 "\n",
                s->intr.pending.kind == X86_EVENT_EXCEPTION
                    ? x86_exception_name(s->intr.pending.vector)
                    : "interrupt",
                s->intr.pending.vector, s->intr.pending.error);
}

/* Bytes around cs:rip as far as they are mapped; the one at rip in <>. */
static void print_code(FILE *out, struct vcpu *vcpu)
{
    uint64_t at = x86_linear_rip(vcpu->state) - CODE_BEFORE;

    fprintf(out, "  code");
    for (unsigned i = 0; i < CODE_BYTES; i++, at++) {
        uint8_t byte;
        gpa_t gpa;
        bool mapped =
            !vcpu_translate(vcpu, at, &gpa) && !guest_mem_read(&vcpu->machine->mem, gpa, &byte, 1);

        if (!mapped)
            fprintf(out, i == CODE_BEFORE ? " <..>" : " ..");
        else
            fprintf(out, i == CODE_BEFORE ? " <%02x>" : " %02x", byte);
    }
    fputc('\n', out);
}

/* KVM on AMD's processors: what is left of a vCPU that shut down is its reset state. */
static bool was_reset(const struct mote_state *s, const struct vcpu_exit *exit)
{
    return exit->reason == VCPU_EXIT_SHUTDOWN && s->rip == 0xfff0 &&
           s->seg[SEG_CS].selector == 0xf000 && !(s->cr0 & CR0_PE);
}

void report_print(FILE *out, struct vcpu *vcpu, const struct vcpu_exit *exit)
{
    fprintf(out, "vCPU %u, last exit '%s'\n", vcpu->id, vcpu_exit_name(exit->reason));
    if (exit->reason == VCPU_EXIT_FAIL)
        fprintf(out, "  %s (0x%" PRIx64 ", 0x%" PRIx64 ")\n", exit->fail.why, exit->fail.detail[0],
                exit->fail.detail[1]);
    if (vcpu_get(vcpu, X86_GPRS | X86_SEGS | X86_CRS | X86_MSRS | X86_INTR)) {
        fprintf(out, "  the accelerator does not give its state: %s\n", err_text());
        return;
    }
    if (was_reset(vcpu->state, exit))
        fprintf(out, "  the processor does not tell its state before it shut down, only after:\n");
    print_gprs(out, vcpu->state);
    print_segments(out, vcpu->state);
    print_controls(out, vcpu->state);
    print_code(out, vcpu);
}
