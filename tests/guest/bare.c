/*
 * The bare CPU as an engine: a signal handler swaps the whole user state in
 * (by changing the frame that sigreturn loads) and, when the row ends in an
 * exception, out again. No code of ours runs between the two.
 */
#include "row.h"

#include "x86/cpuid.h"
#include "x86/regs.h"

#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <ucontext.h>

#define FRAME_SW_BYTES 464 /* struct _fpx_sw_bytes in the FXSAVE area */
#define XSAVE_HEADER   512
#define XSAVE_YMMH     576
#define FRAME_MAX      16384

static const struct row_cpu *swap_in; /* not NULL: the next signal starts the row */
static struct row_cpu *swap_out;
static uint64_t host_fs;
static gregset_t host_gregs;
static uint8_t host_fpu[FRAME_MAX];

/* gregs' index of general register n */
static const uint8_t greg_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                    REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                    REG_R12, REG_R13, REG_R14, REG_R15};

/* sigaction() of ThreadSanitizer calls a handler by one of its own, which has thread-local data. */
int __sigaction(int sig, const struct sigaction *action, struct sigaction *old);

static uint32_t frame_fpu_size(const uint8_t *fpu)
{
    uint32_t size;

    memcpy(&size, fpu + FRAME_SW_BYTES + 16, 4); /* xstate_size */
    return size && size <= FRAME_MAX ? size : 512;
}

static void state_load(ucontext_t *uc, const struct row_cpu *in)
{
    uint8_t *fpu = (uint8_t *)uc->uc_mcontext.fpregs;
    greg_t *g = uc->uc_mcontext.gregs;
    uint64_t bv;

    memcpy(host_gregs, g, sizeof(host_gregs));
    memcpy(host_fpu, fpu, frame_fpu_size(fpu));
    for (unsigned i = 0; i < 16; i++)
        g[greg_of[i]] = (greg_t)in->gpr[i];
    g[REG_RIP] = (greg_t)in->rip;
    g[REG_EFL] = (greg_t)in->rflags;
    memcpy(fpu, in->x87, 24);
    memcpy(fpu + 24, &in->mxcsr, 4);
    memcpy(fpu + 32, in->x87 + 32, 128);
    memcpy(&bv, fpu + XSAVE_HEADER, 8);
    bv |= XCR0_X87 | XCR0_SSE | XCR0_AVX;
    memcpy(fpu + XSAVE_HEADER, &bv, 8);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(fpu + 160 + 16 * i, in->ymm[i], 16);
        memcpy(fpu + XSAVE_YMMH + 16 * i, in->ymm[i] + 16, 16);
    }
}

static void state_save(ucontext_t *uc, struct row_cpu *out)
{
    uint8_t *fpu = (uint8_t *)uc->uc_mcontext.fpregs;
    greg_t *g = uc->uc_mcontext.gregs;
    uint64_t bv;

    for (unsigned i = 0; i < 16; i++)
        out->gpr[i] = (uint64_t)g[greg_of[i]];
    out->rip = (uint64_t)g[REG_RIP];
    out->rflags = (uint64_t)g[REG_EFL];
    out->cs = (uint16_t)g[REG_CSGSFS];
    out->ss = (uint16_t)(g[REG_CSGSFS] >> 48);
    out->vector = (uint32_t)g[REG_TRAPNO];
    out->error = (uint32_t)g[REG_ERR];
    out->cr2 = (uint64_t)g[REG_CR2];
    memcpy(out->x87, fpu, 160);
    memset(out->x87 + 24, 0, 8);
    memcpy(&out->mxcsr, fpu + 24, 4);
    memcpy(&bv, fpu + XSAVE_HEADER, 8);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(out->ymm[i], fpu + 160 + 16 * i, 16);
        if (bv & XCR0_AVX)
            memcpy(out->ymm[i] + 16, fpu + XSAVE_YMMH + 16 * i, 16);
        else
            memset(out->ymm[i] + 16, 0, 16);
    }
    memcpy(g, host_gregs, sizeof(host_gregs));
    memcpy(fpu, host_fpu, frame_fpu_size(host_fpu));
}

/*
 * FS belongs to the C library before and after, to the row in between; so this
 * function must touch no thread-local data before the first wrfsbase or after
 * the last. RFLAGS.AC may still be on from the row.
 */
__attribute__((no_stack_protector, no_sanitize("address", "undefined", "thread"))) static void
handler(int sig, siginfo_t *info, void *context)
{
    uint64_t fs, gs;

    (void)sig;
    (void)info;
    __asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" ::: "memory", "cc");
    __asm__ volatile("rdfsbase %0; rdgsbase %1" : "=r"(fs), "=r"(gs));
    __asm__ volatile("wrfsbase %0" ::"r"(host_fs) : "memory");
    if (swap_in) {
        state_load(context, swap_in);
        fs = swap_in->fs_base;
        gs = swap_in->gs_base;
        swap_in = NULL;
        __asm__ volatile("wrgsbase %1; wrfsbase %0" ::"r"(fs), "r"(gs) : "memory");
        return;
    }
    swap_out->fs_base = fs;
    swap_out->gs_base = gs;
    state_save(context, swap_out);
}

int bare_init(void)
{
    static uint8_t stack[131072] __attribute__((aligned(64)));
    static const int signals[] = {SIGUSR1, SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    if (!(getauxval(AT_HWCAP2) & 2)) /* FSGSBASE in user mode */
        return -ENODEV;
    if (!__builtin_cpu_supports("avx2"))
        return -ENODEV;
    __asm__ volatile("rdfsbase %0" : "=r"(host_fs));
    if (sigaltstack(&ss, NULL))
        return -errno;
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (__sigaction(signals[i], &sa, NULL))
            return -errno;
    return 0;
}

void bare_run(const struct row_cpu *in, struct row_cpu *out)
{
    swap_out = out;
    swap_in = in;
    raise(SIGUSR1); /* returns when the row has ended */
}

bool bare_has(uint32_t need)
{
    uint32_t regs[4];

    if (!need)
        return true;
    if (!__get_cpuid_count((need & 0x80000000) | (need >> 16 & 0xff), need >> 25 & 1, &regs[0],
                           &regs[1], &regs[2], &regs[3]))
        return false;
    return regs[need >> 8 & 3] >> (need & 31) & 1;
}
