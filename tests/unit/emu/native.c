#include "native.h"

#include "emu/emu.h"
#include "emu/fpu.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

uint8_t native_ram[NATIVE_SIZE] __attribute__((aligned(4096)));

static struct guest_mem mem;
static struct x86_cpuid no_cpuid;
static uint8_t *page; /* executable */
static bool have_avx;
static sigjmp_buf escape;
static volatile int trapped;
static volatile uint32_t trapped_mxcsr;

/* ---- the bare CPU ----------------------------------------------------- */

/*
 * native_enter(m, code, avx): FXRSTOR, then the upper halves by way of
 * VINSERTF128, general registers, flags; call; everything back. RSP stays.
 */
void native_enter(struct machine *m, const void *code, bool avx);

#define EACH_YMM(op)                                                                               \
    op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) \
        op(15)
#define LOAD_HIGH(n)  "vinsertf128 $1, 512+16*" #n "(%rdi), %ymm" #n ", %ymm" #n "\n"
#define STORE_HIGH(n) "vextractf128 $1, %ymm" #n ", 512+16*" #n "(%rdi)\n"
#define EACH_GPR(op)                                                                               \
    op(0, rax) op(1, rcx) op(2, rdx) op(3, rbx) op(5, rbp) op(6, rsi) op(8, r8) op(9, r9)          \
        op(10, r10) op(11, r11) op(12, r12) op(13, r13) op(14, r14) op(15, r15)
#define LOAD_GPR(n, name)  "mov 768+8*" #n "(%rdi), %" #name "\n"
#define STORE_GPR(n, name) "mov %" #name ", 768+8*" #n "(%rdi)\n"

__asm__(
    ".text\n"
    ".type native_enter, @function\n"
    "native_enter:\n"
    "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "sub $24, %rsp\n"
    "stmxcsr 16(%rsp)\n"
    "mov %rdi, (%rsp)\n"
    "mov %rdx, 8(%rsp)\n"
    "mov %rsi, native_target(%rip)\n"
    "fxrstor64 (%rdi)\n"
    "test %dl, %dl\n"
    "jz 1f\n" EACH_YMM(
        LOAD_HIGH) "1:\n"
                   "push 896(%rdi)\n"
                   "popfq\n" EACH_GPR(
                       LOAD_GPR) "mov 768+56(%rdi), %rdi\n"
                                 "call *native_target(%rip)\n"
                                 "mov %rdi, native_rdi(%rip)\n"
                                 "mov (%rsp), %rdi\n"
                                 "pushfq\n"
                                 "pop 896(%rdi)\n" EACH_GPR(
                                     STORE_GPR) "mov native_rdi(%rip), %rax\n"
                                                "mov %rax, 768+56(%rdi)\n"
                                                "fxsave64 (%rdi)\n"
                                                "fninit\n"
                                                "cmpb $0, 8(%rsp)\n"
                                                "je 1f\n" EACH_YMM(
                                                    STORE_HIGH) "vzeroupper\n"
                                                                "1:\n"
                                                                "cld\n"
                                                                "ldmxcsr 16(%rsp)\n"
                                                                "add $24, %rsp\n"
                                                                "pop %r15\npop %r14\npop %r13\npop "
                                                                "%r12\npop %rbp\npop %rbx\n"
                                                                "ret\n"
                                                                ".local native_target\n.comm "
                                                                "native_target, 8, 8\n"
                                                                ".local native_rdi\n.comm "
                                                                "native_rdi, 8, 8\n");

static void on_signal(int sig, siginfo_t *info, void *context)
{
    ucontext_t *u = context;

    trapped = sig == SIGILL ? EXC_UD : sig == SIGFPE ? EXC_XM : EXC_GP;
    trapped_mxcsr = u->uc_mcontext.fpregs->mxcsr;
    siglongjmp(escape, 1);
}

/* cmocka sets its own handlers at every test. */
static void catch_signals(void)
{
    static const int signals[] = {SIGILL, SIGFPE, SIGSEGV, SIGBUS};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};

    for (unsigned n = 0; n < ARRAY_SIZE(signals); n++)
        sigaction(signals[n], &action, NULL);
}

void native_run(const uint8_t *code, unsigned len, struct machine *m)
{
    static struct machine work; /* not on the stack: a signal returns past it */
    struct machine *volatile out = m;

    work = *m;
    memset(page, 0xcc, 64);
    memcpy(page, code, len);
    page[len] = 0xc3;
    catch_signals();
    trapped = 0;
    if (sigsetjmp(escape, 1) == 0) {
        native_enter(&work, page, have_avx);
        *out = work;
        out->trap = 0;
    } else {
        __asm__ volatile("fninit");
        __builtin_ia32_ldmxcsr(MXCSR_INIT);
        out->trap = trapped;
        le32_put(out->fx + 24, trapped_mxcsr);
    }
}

/* ---- the interpreter -------------------------------------------------- */

static uint64_t host_features(void)
{
    uint64_t found = 0;
    uint32_t regs[4];

#define X(name)                                                                                    \
    x86_cpuid_host(x86_feature_info[X86_FEATURE_##name].leaf, 0, regs);                            \
    if (regs[x86_feature_info[X86_FEATURE_##name].reg] >>                                          \
            x86_feature_info[X86_FEATURE_##name].bit &                                             \
        1)                                                                                         \
        found |= EMU_F(name);
    EMU_FEATURES(X)
#undef X
    return found;
}

static uint64_t no_tsc(void *user)
{
    return 0;
}

void native_init(struct emu_cpu *c)
{
    static const struct emu_ops ops = {.tsc = no_tsc};

    guest_mem_init(&mem);
    guest_mem_map(&mem, GPA(NATIVE_GPA), NATIVE_SIZE, native_ram, MEM_RWX);
    emu_init(c, &mem, &no_cpuid, &ops, NULL);
    c->features = host_features();
    have_avx = c->features & EMU_F(AVX);
    /* 64-bit code, yet without paging: nothing here looks at CR3. */
    c->cr0 = CR0_PE | CR0_MP | CR0_NE | CR0_ET;
    c->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    c->fpu.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    emu_vectors_changed(c);
    c->mode = X86_MODE64;
    c->code64 = c->long_mode = c->protected_mode = true;
    c->lin_mask = c->rip_mask = c->sp_mask = UINT64_MAX;
    c->seg_flat = 0x3f;
    memset(c->seg_base, 0, sizeof(c->seg_base));

    page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                -1, 0);
    if (page == MAP_FAILED)
        abort();
}

int native_bind(struct emu_cpu *c, const uint8_t *code, struct emu_op *op)
{
    memset(op, 0, sizeof(*op));
    if (x86_decode(code, X86_INSN_MAX, c->mode, &op->i) < 0)
        return -EILSEQ;
    return bind_x87(c, op) || bind_xsave(c, op) || bind_vector(c, op) ? 0 : -EILSEQ;
}

static void machine_load(struct emu_cpu *c, const struct machine *m)
{
    memcpy(c->r, m->r, sizeof(m->r));
    c->r[RSP] = 0;
    c->rflags = m->flags;
    memcpy(c->fpu.x87, m->fx, X87_SIZE);
    memset(c->fpu.x87 + 24, 0, 8);
    c->fpu.mxcsr = le32_get(m->fx + 24);
    for (unsigned n = 0; n < 16; n++) {
        memcpy(c->fpu.ymm[n], m->fx + 160 + 16 * n, 16);
        memcpy(c->fpu.ymm[n] + 16, m->high[n], 16);
    }
}

static void machine_store(const struct emu_cpu *c, struct machine *m)
{
    uint64_t rsp = m->r[RSP];

    memcpy(m->r, c->r, sizeof(m->r));
    m->r[RSP] = rsp;
    m->flags = c->rflags;
    memcpy(m->fx, c->fpu.x87, 24);
    memcpy(m->fx + X87_ST, c->fpu.x87 + X87_ST, X87_SIZE - X87_ST);
    for (unsigned n = 0; n < 16; n++) {
        memcpy(m->fx + 160 + 16 * n, c->fpu.ymm[n], 16);
        memcpy(m->high[n], c->fpu.ymm[n] + 16, 16);
    }
}

void native_emulate(struct emu_cpu *c, const struct emu_op *op, struct machine *m)
{
    machine_load(c, m);
    c->op = op;
    c->r[X86_RIP_SLOT] = 0x1000 + op->i.len;
    if (setjmp(c->unwind) == 0) {
        op->fn(c, op);
        m->trap = 0;
        machine_store(c, m);
    } else {
        m->trap = c->event.vector;
    }
    le32_put(m->fx + 24, c->fpu.mxcsr);
    c->op = NULL;
}

/* ---- comparing -------------------------------------------------------- */

struct native_count native_count;

static void describe(const uint8_t *code, unsigned len, const char *what)
{
    if (native_count.failures++ > 40)
        return;
    fprintf(stderr, "%s:", what);
    for (unsigned n = 0; n < len; n++)
        fprintf(stderr, " %02x", code[n]);
    fprintf(stderr, "\n");
}

static void show(const char *name, const void *a, const void *b, unsigned len)
{
    const uint8_t *x = a, *y = b;

    if (native_count.failures > 40 || memcmp(x, y, len) == 0)
        return;
    fprintf(stderr, "  %s: interpreter ", name);
    for (unsigned n = 0; n < len; n++)
        fprintf(stderr, "%02x", x[n]);
    fprintf(stderr, ", CPU ");
    for (unsigned n = 0; n < len; n++)
        fprintf(stderr, "%02x", y[n]);
    fprintf(stderr, "\n");
}

/* A trap's masked flags may differ where the interpreter cannot see what the CPU saw before it
 * stopped: whether an overflowed or tiny result was inexact, and how far DPPS and DPPD came. */
static void forgive_flags(const uint8_t *code, unsigned len, struct machine *got,
                          const struct machine *want)
{
    uint32_t mxcsr = le32_get(want->fx + 24), diff = le32_get(got->fx + 24) ^ mxcsr;
    uint32_t trapping = ~(mxcsr >> 7) & MXCSR_FLAGS;
    bool dot = len > 3 && (code[len - 3] & 0xfe) == 0x40; /* opcode, ModRM, immediate */

    if (want->trap == EXC_XM && got->trap == EXC_XM && le32_get(got->fx + 24) & trapping &&
        (dot ? (diff & ~MXCSR_FLAGS) == 0 : diff == 0x20 && mxcsr & trapping & 0x18))
        le32_put(got->fx + 24, mxcsr);
}

/* x87 pointers are the host's own business; the rest of the image must agree. */
static void compare(const uint8_t *code, unsigned len, struct machine *got, struct machine *want,
                    const uint8_t *got_ram, const uint8_t *want_ram)
{
    memset(want->fx + 5, 0, 19);
    memset(got->fx + 5, 0, 19);
    for (unsigned n = 0; n < 8; n++) {
        memset(want->fx + 32 + 16 * n + 10, 0, 6);
        memset(got->fx + 32 + 16 * n + 10, 0, 6);
    }
    want->flags &= FLAG_STATUS;
    got->flags &= FLAG_STATUS;
    forgive_flags(code, len, got, want);
    le32_put(got->fx + 28, le32_get(want->fx + 28));
    if (memcmp(got, want, sizeof(*got)) == 0 && memcmp(got_ram, want_ram, NATIVE_SIZE) == 0)
        return;
    describe(code, len, "differs");
    show("trap", &got->trap, &want->trap, sizeof(got->trap));
    show("x87 control", got->fx, want->fx, 5);
    show("mxcsr", got->fx + 24, want->fx + 24, 4);
    show("flags", &got->flags, &want->flags, 8);
    for (unsigned n = 0; n < 16; n++) {
        char name[16];

        snprintf(name, sizeof(name), "r%u", n);
        show(name, &got->r[n], &want->r[n], 8);
        snprintf(name, sizeof(name), "xmm%u", n);
        show(name, got->fx + 160 + 16 * n, want->fx + 160 + 16 * n, 16);
        snprintf(name, sizeof(name), "ymm%u high", n);
        show(name, got->high[n], want->high[n], 16);
        snprintf(name, sizeof(name), "st%u", n & 7);
        show(name, got->fx + 32 + 16 * (n & 7), want->fx + 32 + 16 * (n & 7), 16);
    }
}

static uint8_t ram_before[NATIVE_SIZE], ram_emulated[NATIVE_SIZE];

void native_both(struct emu_cpu *cpu, const uint8_t *code, const struct emu_op *op,
                 const struct machine *m, bool rdi_address)
{
    struct machine got = *m, want = *m;
    unsigned len = op->i.len;

    native_count.runs++;
    memcpy(ram_before, native_ram, NATIVE_SIZE);
    got.r[RBX] = NATIVE_GPA + NATIVE_MIDDLE;
    want.r[RBX] = (uintptr_t)native_ram + NATIVE_MIDDLE;
    if (rdi_address) {
        got.r[RDI] = got.r[RBX];
        want.r[RDI] = want.r[RBX];
    }
    native_emulate(cpu, op, &got);
    memcpy(ram_emulated, native_ram, NATIVE_SIZE);
    memcpy(native_ram, ram_before, NATIVE_SIZE);
    native_run(code, len, &want);
    native_count.traps += want.trap != 0;
    if (got.r[RBX] == NATIVE_GPA + NATIVE_MIDDLE)
        got.r[RBX] = want.r[RBX];
    if (rdi_address && got.r[RDI] == NATIVE_GPA + NATIVE_MIDDLE)
        got.r[RDI] = want.r[RDI];
    compare(code, len, &got, &want, ram_emulated, native_ram);
}

/* ---- random values ---------------------------------------------------- */

uint64_t native_random(void)
{
    static uint64_t state = UINT64_C(0x853c49e6748fea9b);

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * UINT64_C(0x2545f4914f6cdd1d);
}

void native_random_bytes(void *p, unsigned len)
{
    static const uint32_t singles[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
                                       0xff800000, 0x7fc00000, 0x7f800001, 1,          0x807fffff,
                                       0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000, 0x3f000000};
    static const uint64_t doubles[] = {0x3ff0000000000000, 0x8000000000000000, 0x7ff0000000000000,
                                       0x7ff8000000000000, 0x7ff0000000000001, 0x0000000000000001,
                                       0x000fffffffffffff, 0x7fefffffffffffff, 0x43e0000000000000,
                                       0xc1e0000000000000, 0x0010000000000000, 0x3fe0000000000000};
    uint8_t *at = p;
    uint64_t how = native_random();

    for (unsigned n = 0; n + 8 <= len; n += 8) {
        uint64_t v = native_random();

        if (how % 4 == 1)
            v = doubles[v % ARRAY_SIZE(doubles)];
        else if (how % 4 == 2)
            v = (uint64_t)singles[(uint32_t)v % ARRAY_SIZE(singles)] << 32 |
                singles[(v >> 32) % ARRAY_SIZE(singles)];
        else if (how % 4 == 3) /* near one: sums and products stay finite */
            v = (v & UINT64_C(0x803fffff803fffff)) | UINT64_C(0x3f8000003f800000);
        memcpy(at + n, &v, 8);
    }
}

void native_random_machine(struct machine *m)
{
    memset(m, 0, sizeof(*m));
    for (unsigned n = 0; n < 16; n++) {
        native_random_bytes(m->fx + 160 + 16 * n, 16);
        if (have_avx)
            native_random_bytes(m->high[n], 16);
        m->r[n] = native_random();
    }
    le16_put(m->fx, FCW_INIT);
    le32_put(m->fx + 24, MXCSR_INIT);
    le32_put(m->fx + 28, MXCSR_VALID);
    m->flags = (native_random() & FLAG_STATUS) | FLAG_R1 | FLAG_IF;
}
