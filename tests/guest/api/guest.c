/* The machines of the cases: layout, modes, running, and the devices that play their part. */
#include "api.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECONDS 300 /* a case that takes longer never ends */

static struct mote_vcpu *volatile watched;
static volatile sig_atomic_t late;

void api_fail(struct api *a, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(a->why, sizeof(a->why), format, args);
    va_end(args);
    longjmp(*a->abort, 1);
}

void api_must(struct api *a, int err, const char *what)
{
    if (a->why[0])
        longjmp(*a->abort, 1); /* by a device, inside the call */
    if (err)
        api_fail(a, "%s: %d (%s)", what, err, mote_error());
}

/* ---- devices ---- */

static const char *const kinds[] = {"nothing", "IN", "OUT", "a read", "a write"};

/* A callback must return: the failure is noticed behind the call. */
static int play(struct api *a, enum access_kind kind, struct mote_access *access)
{
    const struct access *want = a->next;
    uint64_t mask = access->size < 8 ? (UINT64_C(1) << 8 * access->size) - 1 : UINT64_MAX;
    int err = a->device_error;

    a->device_error = 0;
    if (err || a->why[0])
        return err ? err : -EPROTO;
    if (want->kind != kind || want->size != access->size || want->address != access->address ||
        (access->write && (want->value & mask) != (access->data & mask))) {
        snprintf(a->why, sizeof(a->why),
                 "access %d is %s of %u at 0x%llx with 0x%llx, not %s of %u at 0x%llx with 0x%llx",
                 (int)(want - (a->on_kvm && a->c->kvm_dev[0].kind ? a->c->kvm_dev : a->c->dev)),
                 kinds[kind], access->size, (unsigned long long)access->address,
                 access->write ? (unsigned long long)(access->data & mask) : 0, kinds[want->kind],
                 want->size, (unsigned long long)want->address,
                 access->write ? (unsigned long long)want->value : 0);
        return -EPROTO;
    }
    if (!access->write)
        access->data = want->value;
    a->next++;
    return 0;
}

static int on_io(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    return play(user, access->write ? OUT : IN, access);
}

static int on_memory(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    return play(user, access->write ? WR : RD, access);
}

/* ---- memory ---- */

void api_ram(struct api *a, uint64_t at, const void *bytes, size_t size)
{
    CHECK(a, at + size <= RAM_SIZE);
    memcpy(a->ram + at, bytes, size);
    MUST(a, mote_gpa_written(a->m, at, size));
}

void api_ram64(struct api *a, uint64_t at, uint64_t value)
{
    api_ram(a, at, &value, 8);
}

uint64_t api_ram_at(struct api *a, uint64_t at, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, a->ram + at, size);
    return value;
}

void api_pte(struct api *a, uint64_t gva, uint64_t entry)
{
    api_ram64(a, TABLES + 0x3000 + 8 * (gva >> 12), entry);
}

static bool has_error(unsigned vector)
{
    return (vector >= 10 && vector <= 14) || vector == 8 || vector == 17 || vector == 21;
}

/* Handlers leave the vector in SI and halt; then they return. */
static void put_handler(uint8_t *at, enum mode mode, unsigned vector)
{
    static const uint8_t end16[] = {0xf4, 0xcf}, end32[] = {0xf4, 0x83, 0xc4, 4, 0xcf},
                         end64[] = {0xf4, 0x48, 0x83, 0xc4, 8, 0x48, 0xcf};
    const uint8_t *end = mode == REAL ? end16 : mode == PROT ? end32 : end64;
    unsigned size = mode == REAL ? 2 : mode == PROT ? sizeof(end32) : sizeof(end64);
    unsigned pop = mode == REAL ? 0 : mode == PROT ? 3 : 4;

    *at++ = 0xbe; /* mov $vector, %(e)si */
    *at++ = (uint8_t)vector;
    *at++ = 0;
    if (mode != REAL) {
        *at++ = 0;
        *at++ = 0;
    }
    *at++ = *end++;
    size--;
    if (mode != REAL && !has_error(vector)) {
        end += pop;
        size -= pop;
    }
    memcpy(at, end, size);
}

static void put_vectors(uint8_t *ram, enum mode mode)
{
    for (unsigned v = 0; v < 256; v++) {
        uint64_t at = HANDLERS + 16 * v, gate[2] = {0, 0};

        put_handler(ram + at, mode, v);
        if (mode == REAL) {
            gate[0] = at;
            memcpy(ram + 4 * v, gate, 4);
            continue;
        }
        gate[0] =
            at | (uint64_t)(mode == PROT ? SEL_CODE32 : SEL_CODE64) << 16 | UINT64_C(0x8e) << 40;
        if (v == 3 || v == 4)
            gate[0] |= UINT64_C(0x60) << 40; /* INT3 and INTO of ring 3 */
        memcpy(ram + IDT + (mode == PROT ? 8 : 16) * v, gate, mode == PROT ? 8 : 16);
    }
}

static void put_tables(uint8_t *ram)
{
    static const uint64_t gdt[] = {0,
                                   UINT64_C(0x00af9b000000ffff),
                                   UINT64_C(0x00cf93000000ffff),
                                   UINT64_C(0x00cf9b000000ffff),
                                   0,
                                   UINT64_C(0x00cff3000000ffff),
                                   UINT64_C(0x00affb000000ffff),
                                   0,
                                   0x67 | (uint64_t)TSS << 16 | UINT64_C(0x8b) << 40,
                                   0};
    uint64_t *tables = (uint64_t *)(ram + TABLES);
    uint64_t ring0 = RING0;

    memcpy(ram + GDT, gdt, sizeof(gdt));
    memcpy(ram + TSS + 4, &ring0, 8);
    ram[TSS + 0x66] = 0x68; /* no map of ports */
    tables[0] = (TABLES + 0x1000) | PTE_RW;
    tables[512] = (TABLES + 0x2000) | PTE_RW;
    tables[1024] = (TABLES + 0x3000) | PTE_RW;
    for (uint64_t i = 0; i < 512; i++) {
        if (i)
            tables[1024 + i] = i << 21 | 0x80 | PTE_RW;
        tables[1536 + i] = i << 12 | PTE_RW;
    }
}

static void put_image(struct api *a, uint8_t *ram)
{
    const struct api_case *c = a->c;

    put_vectors(ram, c->mode);
    put_tables(ram);
    memcpy(ram + CODE, c->code, (size_t)(c->code_end - c->code));
    for (unsigned i = 0; i < 3 && c->ram[i].size; i++)
        memcpy(ram + c->ram[i].at, c->ram[i].data, c->ram[i].size);
}

/* ---- modes ---- */

/* type: of a segment descriptor with S; bits: 16, 32, or 64 for code. */
void api_flat(struct mote_seg *seg, unsigned selector, unsigned type, unsigned dpl, unsigned bits)
{
    *seg = (struct mote_seg){.limit = bits == 16 ? 0xffff : 0xffffffff,
                             .attrib = type | MOTE_SEG_S | MOTE_SEG_P | dpl << 5,
                             .selector = (uint16_t)selector};
    seg->attrib |= bits == 16 ? 0 : MOTE_SEG_G | (bits == 64 ? MOTE_SEG_L : MOTE_SEG_DB);
}

static void real_mode(struct mote_state *s)
{
    for (unsigned i = MOTE_ES; i <= MOTE_GS; i++)
        api_flat(&s->seg[i], 0, i == MOTE_CS ? 11 : 3, 0, 16);
    s->idtr = (struct mote_table){.limit = 0x3ff};
}

void api_mode(struct mote_state *s, enum mode mode)
{
    bool user = mode == USER, wide = mode == LONG || user;

    s->gpr[MOTE_RSP] = STACK;
    s->rip = CODE;
    s->rflags = FLAGS_R1 | (user ? FLAGS_IOPL : 0);
    if (mode == REAL) {
        real_mode(s);
        return;
    }
    for (unsigned i = MOTE_ES; i <= MOTE_GS; i++)
        api_flat(&s->seg[i], user ? SEL_USER_DATA : SEL_DATA, 3, user ? 3 : 0, 32);
    api_flat(&s->seg[MOTE_CS],
             user   ? SEL_USER_CODE64
             : wide ? SEL_CODE64
                    : SEL_CODE32,
             11, user ? 3 : 0, wide ? 64 : 32);
    s->seg[MOTE_TR] = (struct mote_seg){
        .base = TSS, .limit = 0x67, .attrib = MOTE_SEG_P | 11, .selector = SEL_TSS};
    s->seg[MOTE_LDTR] = (struct mote_seg){.attrib = MOTE_SEG_UNUSABLE};
    s->gdtr = (struct mote_table){.base = GDT, .limit = 10 * 8 - 1};
    s->idtr = (struct mote_table){.base = IDT, .limit = (mode == PROT ? 8 : 16) * 256 - 1};
    s->cr0 = 0x31;  /* PE, ET, NE */
    s->cr4 = 0x600; /* OSFXSR, OSXMMEXCPT */
    if (mode == PROT)
        return;
    s->cr0 |= 0x80000000;
    s->cr3 = TABLES;
    s->cr4 |= 0x20;      /* PAE */
    s->msr.efer = 0xd01; /* SCE, LME, LMA, NXE */
}

/* ---- life ---- */

static struct mote_state reset;

static void set_up_avx(struct mote_state *s)
{
    s->cr4 |= 0x40000; /* OSXSAVE */
    s->xcr0 = 7;
}

void api_begin(struct api *a)
{
    static uint8_t image[RAM_SIZE];

    memset(image, 0, sizeof(image));
    put_image(a, image);
    /* What is as it was may go on from what the engine made of it. */
    for (size_t at = 0; at < RAM_SIZE; at += 0x1000) {
        if (memcmp(image + at, a->ram + at, 0x1000))
            api_ram(a, at, image + at, 0x1000);
    }
    *a->s = reset;
    a->s->msr.tsc = 0;
    a->s->xsave[0] = 0x7f; /* as FNINIT leaves it, not RESET */
    a->s->xsave[1] = 3;
    a->s->xsave[512] |= 1;
    api_mode(a->s, a->c->mode);
    if (a->c->need & HAS_AVX)
        set_up_avx(a->s);
    if (a->c->init)
        a->c->init(a, a->s);
    MUST(a, mote_vcpu_set(a->v, MOTE_ALL));
    a->next = a->on_kvm && a->c->kvm_dev[0].kind ? a->c->kvm_dev : a->c->dev;
}

static void on_alarm(int sig)
{
    static const char deaf[] = "the guest does not end, and cannot be stopped\n";

    if (late)
        _exit(write(STDOUT_FILENO, deaf, sizeof(deaf) - 1) < 0 ? 2 : 1);
    late = 1;
    mote_vcpu_stop(watched);
    alarm(60);
}

void api_create(struct api *a)
{
    const struct mote_machine_config config = {.accel = a->accel, .vcpus = 2};
    struct sigaction act = {.sa_handler = on_alarm};

    a->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(a, a->ram != MAP_FAILED);
    a->extra = mmap(NULL, EXTRA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(a, a->extra != MAP_FAILED);
    for (size_t at = 0; at < EXTRA_SIZE; at += 0x1000) {
        memcpy(a->extra + at, "1234", 4);
        a->extra[at + 0xfff] = 'z';
    }
    MUST(a, mote_machine_create(&a->m, &config));
    MUST(a, mote_hva_register(a->m, a->ram, RAM_SIZE));
    MUST(a, mote_hva_register(a->m, a->extra, EXTRA_SIZE));
    MUST(a, mote_gpa_map(a->m, 0, a->ram, RAM_SIZE, MOTE_RWX));
    MUST(a, mote_machine_set_callbacks(a->m, &(struct mote_callbacks){on_io, on_memory, a}));
    MUST(a, mote_vcpu_create(&a->v, a->m, 0));
    a->s = mote_vcpu_state(a->v);
    CHECK(a, a->s);
    MUST(a, mote_vcpu_get(a->v, MOTE_ALL));
    reset = *a->s;
    late = 0;
    watched = a->v;
    sigaction(SIGALRM, &act, NULL);
    alarm(SECONDS);
    api_begin(a);
}

void api_destroy(struct api *a)
{
    alarm(0);
    watched = NULL;
    if (a->m && mote_machine_destroy(a->m) && !a->why[0])
        snprintf(a->why, sizeof(a->why), "mote_machine_destroy: %s", mote_error());
    if (a->ram)
        munmap(a->ram, RAM_SIZE);
    if (a->extra)
        munmap(a->extra, EXTRA_SIZE);
}

/* ---- running ---- */

enum mote_exit_reason api_run(struct api *a)
{
    MUST(a, mote_vcpu_run(a->v, &a->exit));
    if (late)
        api_fail(a, "the guest does not end");
    return a->exit.reason;
}

static void expect_is(struct api *a, enum mote_exit_reason reason)
{
    const struct mote_exit *e = &a->exit;
    char insn[48] = "";

    if (e->reason == reason)
        return;
    if (e->reason == MOTE_EXIT_FAIL) {
        for (unsigned i = 0; i < e->u.fail.insn_size; i++)
            snprintf(insn + 3 * i, sizeof(insn) - 3 * i, " %02x", e->u.fail.insn[i]);
        api_fail(a, "fail: %s:%s", e->u.fail.why, insn);
    }
    api_get(a, MOTE_GPRS | MOTE_CRS);
    api_fail(a, "exit %s, not %s; rip 0x%llx, rsi 0x%llx, cr2 0x%llx", mote_exit_name(e->reason),
             mote_exit_name(reason), (unsigned long long)a->s->rip,
             (unsigned long long)a->s->gpr[MOTE_RSI], (unsigned long long)a->s->cr2);
}

void api_expect(struct api *a, enum mote_exit_reason reason)
{
    do
        api_run(a);
    while (a->exit.reason == MOTE_EXIT_NONE && reason != MOTE_EXIT_NONE);
    expect_is(a, reason);
}

/* The exit is that of the next access. */
static void check_exit(struct api *a)
{
    const struct mote_exit *e = &a->exit;
    const struct access *n = a->next;

    if (e->reason == MOTE_EXIT_IO) {
        CHECK(a, n->kind == IN || n->kind == OUT);
        EQUAL(a, e->u.io.port, n->address);
        EQUAL(a, e->u.io.size, n->size);
        EQUAL(a, e->u.io.in, n->kind == IN);
    } else {
        CHECK(a, n->kind == RD || n->kind == WR);
        EQUAL(a, e->u.memory.gpa, n->address);
        EQUAL(a, e->u.memory.write, n->kind == WR);
        if (e->u.memory.size)
            EQUAL(a, e->u.memory.size, n->size);
    }
}

enum mote_exit_reason api_play(struct api *a)
{
    for (;;) {
        switch (api_run(a)) {
        case MOTE_EXIT_NONE: break;
        case MOTE_EXIT_IO:
        case MOTE_EXIT_MEMORY:
            if (a->next->kind == END)
                return a->exit.reason;
            check_exit(a);
            MUST(a, mote_vcpu_assist(a->v));
            break;
        default: return a->exit.reason;
        }
    }
}

void api_halt(struct api *a)
{
    api_play(a);
    expect_is(a, MOTE_EXIT_HALT);
}

void api_get(struct api *a, unsigned groups)
{
    MUST(a, mote_vcpu_get(a->v, groups));
}

uint64_t api_gpr(struct api *a, unsigned reg)
{
    api_get(a, MOTE_GPRS);
    return a->s->gpr[reg];
}

void api_set_rip(struct api *a, uint64_t rip)
{
    api_get(a, MOTE_GPRS);
    a->s->rip = rip;
    MUST(a, mote_vcpu_set(a->v, MOTE_GPRS));
}

/* ---- what there is at the end ---- */

static void compare_registers(struct api *a)
{
    static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                        "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    const struct api_case *c = a->c;
    bool rip = false;

    api_get(a, MOTE_GPRS);
    for (unsigned i = 0; i < 8 && c->want[i].kind; i++) {
        const struct want *w = &c->want[i];
        uint64_t got = w->kind == WANT_GPR   ? a->s->gpr[w->which]
                       : w->kind == WANT_RIP ? a->s->rip
                                             : a->s->rflags & w->which;

        rip |= w->kind == WANT_RIP;
        if (got != w->value)
            api_fail(a, "%s is 0x%llx, not 0x%llx",
                     w->kind == WANT_GPR   ? names[w->which]
                     : w->kind == WANT_RIP ? "rip"
                                           : "rflags",
                     (unsigned long long)got, (unsigned long long)w->value);
    }
    if (!rip && !c->ends)
        EQUAL(a, a->s->rip, CODE + (uint64_t)(c->code_end - c->code));
    if ((a->exit.rflags ^ a->s->rflags) & FLAGS_IF)
        api_fail(a, "the exit's rflags are 0x%llx", (unsigned long long)a->exit.rflags);
}

void api_compare(struct api *a)
{
    const struct api_case *c = a->c;

    compare_registers(a);
    if (a->next->kind)
        api_fail(a, "%s of %u at 0x%llx did not come", kinds[a->next->kind], a->next->size,
                 (unsigned long long)a->next->address);
    for (unsigned i = 0; i < 3 && c->want_ram[i].size; i++) {
        const struct bytes *w = &c->want_ram[i];

        for (uint32_t n = 0; n < w->size; n++) {
            if (a->ram[w->at + n] != (uint8_t)w->data[n])
                api_fail(a, "memory at 0x%x is 0x%02x, not 0x%02x", w->at + n, a->ram[w->at + n],
                         (uint8_t)w->data[n]);
        }
    }
}

void api_script(struct api *a)
{
    api_play(a);
    expect_is(a, a->c->ends ? a->c->ends : MOTE_EXIT_HALT);
    api_compare(a);
}
