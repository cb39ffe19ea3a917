/*
 * The soft engine against a hostile guest: the input is code (and data, and the
 * answers of devices) that runs in real, protected or long mode at ring 0 or 3,
 * until it halts, shuts down, or has had its share of time. Nothing it does may
 * trip a sanitizer, end the process, or make the seam return an error.
 *
 * Input: byte 0 is the mode, byte 1 seeds registers and what a debugger wants;
 * the rest is put at CODE. With the latter's top bit each access of a device's
 * takes a piece of memory out of the guest, and of the process, or puts it back.
 */
#include "accel/accel.h"
#include "base/bits.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define RAM_SIZE 0x40000u
#define CODE     0x10000u
#define GDT      0x1000u
#define IDT      0x2000u
#define TSS      0x3000u
#define TABLES   0x4000u /* three pages: long mode's identity map of 1 GiB, user-accessible */
#define STACK    0xf000u
#define PIECE    0x4000u /* of RAM: a slot of its own; the last two are read-only */
#define EXITS    2000    /* answered in one run */
#define SLICE_NS 1000000 /* CPU time of one run */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct machine *machine;
static struct vcpu *vcpu;
static uint8_t *ram;
static uint64_t gone = BIT(RAM_SIZE / PIECE) - 1; /* pieces that are not in the guest */
static bool moving;
static timer_t timer;

static void time_is_up(int sig)
{
    vcpu_kick(vcpu);
}

static void must(int err)
{
    if (err)
        abort();
}

static void piece_put(unsigned n, bool there)
{
    uint64_t at = n * PIECE;

    must(mprotect(ram + at, PIECE, there ? PROT_READ | PROT_WRITE : PROT_NONE));
    if (there)
        must(machine_map(machine, GPA(at), PIECE, ram + at,
                         at < RAM_SIZE - 0x8000 ? MEM_RWX : MEM_READ));
    else
        must(machine_unmap(machine, GPA(at)));
    gone ^= BIT(n);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const struct machine_config config = {.vcpus = 1};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};

    ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ram == MAP_FAILED)
        abort();
    must(machine_create(&machine, accel_find("soft"), &config));
    for (unsigned n = 0; n < RAM_SIZE / PIECE; n++)
        piece_put(n, true);
    must(vcpu_create(&vcpu, machine, 0));
    signal(SIGUSR2, time_is_up);
    must(timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer));
    return 0;
}

/* Flat code and data for ring 0 and 3 in 16, 32 and 64 bits, a TSS, gates for all vectors. */
static void tables_put(bool long_mode)
{
    static const uint64_t gdt[] = {
        0,
        UINT64_C(0x00cf9b000000ffff), /* 08: 32-bit code */
        UINT64_C(0x00cf93000000ffff), /* 10: data */
        UINT64_C(0x00af9b000000ffff), /* 18: 64-bit code */
        UINT64_C(0x00cffb000000ffff), /* 20: 32-bit code, ring 3 */
        UINT64_C(0x00cff3000000ffff), /* 28: data, ring 3 */
        UINT64_C(0x00affb000000ffff), /* 30: 64-bit code, ring 3 */
        UINT64_C(0x008f9b000000ffff), /* 38: 16-bit code */
        UINT64_C(0x0000890030000067), /* 40: TSS at 0x3000 */
        0,
    };
    uint64_t *tables = (uint64_t *)(ram + TABLES);
    uint64_t handler = CODE;

    memcpy(ram + GDT, gdt, sizeof(gdt));
    for (unsigned v = 0; v < 64; v++) {
        uint64_t cs = long_mode ? 0x18 : 0x08;
        uint64_t gate = (handler & 0xffff) | cs << 16 | (v & 1 ? UINT64_C(0xee00) : 0x8f00) << 32 |
                        (handler >> 16) << 48;

        le64_put(ram + IDT + v * (long_mode ? 16 : 8), gate);
        if (long_mode)
            le64_put(ram + IDT + v * 16 + 8, 0);
    }
    le32_put(ram + TSS + 4, STACK); /* ESP0; in long mode RSP0 */
    le32_put(ram + TSS + 8, long_mode ? 0 : 0x10);
    tables[0] = (TABLES + 0x1000) | 7;
    tables[512] = (TABLES + 0x2000) | 7;
    for (uint64_t n = 0; n < 512; n++)
        tables[1024 + n] = n << 21 | 0x87;
}

static struct mote_seg segment(uint16_t selector, uint32_t attrib)
{
    return (struct mote_seg){.selector = selector, .limit = 0xffffffff, .attrib = attrib};
}

static void state_put(uint8_t mode, uint8_t seed)
{
    struct mote_state *s = vcpu->state;
    bool long_mode = (mode & 3) == 2, user = mode & 4;
    uint32_t dpl = user ? SEG_DPL : 0;

    x86_state_reset(s);
    for (unsigned n = 0; n < 16; n++)
        s->gpr[n] = (seed & (1u << n % 8)) ? CODE + n * 0x111 : (uint64_t)n - 8;
    s->gpr[RSP] = STACK;
    s->rip = CODE;
    s->rflags = FLAG_R1 | (mode & 8 ? FLAG_IF : 0) | (mode & 16 ? FLAG_TF : 0);
    s->gdtr = (struct mote_table){.base = GDT, .limit = 79};
    s->idtr = (struct mote_table){.base = IDT, .limit = 1023};
    if (!(mode & 3)) {
        s->seg[SEG_CS] = (struct mote_seg){.selector = CODE >> 4,
                                           .base = CODE,
                                           .limit = 0xffff,
                                           .attrib = SEG_P | SEG_S | SEG_TYPE_CODE | SEG_TYPE_RW};
        s->rip = 0;
        return;
    }
    s->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_MP;
    s->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_PAE | CR4_FSGSBASE | CR4_DE;
    s->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    s->seg[SEG_CS] = segment((uint16_t)((long_mode ? 0x18 : 8) * 1 + (user ? 0x1b : 0)),
                             SEG_P | SEG_S | SEG_TYPE_CODE | SEG_TYPE_RW | SEG_TYPE_A | SEG_G |
                                 dpl | (long_mode ? SEG_L : SEG_DB));
    for (unsigned n = SEG_ES; n <= SEG_GS; n++) {
        if (n != SEG_CS)
            s->seg[n] = segment(user ? 0x2b : 0x10,
                                SEG_P | SEG_S | SEG_TYPE_RW | SEG_TYPE_A | SEG_G | SEG_DB | dpl);
    }
    s->seg[SEG_TR] =
        (struct mote_seg){.selector = 0x40, .base = TSS, .limit = 0x67, .attrib = SEG_P | 11};
    if (long_mode || (mode & 32)) {
        s->cr3 = TABLES;
        s->cr0 |= CR0_PG | CR0_WP;
    }
    if (long_mode) {
        s->msr.efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
        s->msr.lstar = CODE;
        s->msr.star = UINT64_C(0x001b001800000000);
    } else if (mode & 32) {
        s->cr4 &= ~(uint64_t)CR4_PAE; /* 32-bit paging over whatever is at TABLES */
    }
}

/* A debugger that goes on after whatever it is told. */
static void debug_put(bool on, uint8_t seed)
{
    struct vcpu_debug debug = {.breakpoints = on, .step = on && seed & 1};
    const struct vcpu_watch watch[VCPU_WATCHES] = {
        {CODE + (seed >> 5), 1, VCPU_WATCH_EXEC},
        {CODE + (seed >> 2), 1, VCPU_WATCH_EXEC},
        {STACK - 16, 8, VCPU_WATCH_WRITE},
        {CODE, 4, VCPU_WATCH_ACCESS},
    };

    if (on)
        memcpy(debug.watch, watch, sizeof(watch));
    must(vcpu_set_debug(vcpu, &debug));
}

/* Devices answer with a running number. */
static int answer_io(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    uint64_t *number = user;
    unsigned piece = (unsigned)(*number * 7 % (RAM_SIZE / PIECE));

    if (moving)
        piece_put(piece, gone & BIT(piece));
    if (!write)
        *data = *number;
    *number += !write || moving;
    return 0;
}

static int answer_mmio(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    return answer_io(user, 0, size, write, data);
}

/* Answer one exit. false: the run is over. */
static bool answer(const struct vcpu_exit *exit, uint64_t *number)
{
    const struct accel_bus_ops bus = {answer_io, answer_mmio, number};
    const struct mote_event irq = {.kind = X86_EVENT_INTR, .vector = 32};
    const struct mote_event bp = {.kind = X86_EVENT_EXCEPTION, .vector = EXC_BP};

    switch (exit->reason) {
    case VCPU_EXIT_IO:
    case VCPU_EXIT_MMIO: vcpu_assist(vcpu, &bus); return true;
    case VCPU_EXIT_RDMSR:
    case VCPU_EXIT_WRMSR: must(vcpu_complete_msr(vcpu, *number, *number & 1)); return true;
    case VCPU_EXIT_CPUID: must(vcpu_complete_cpuid(vcpu, exit->cpuid.regs)); return true;
    case VCPU_EXIT_HYPERCALL:
    case VCPU_EXIT_TPR: return true;
    case VCPU_EXIT_INTR_WINDOW: must(vcpu_inject(vcpu, &irq)); return true;
    case VCPU_EXIT_HALT:
        if (!exit->intr_ready || (*number)++ > 4)
            return false;
        must(vcpu_inject(vcpu, &irq));
        return true;
    case VCPU_EXIT_DEBUG:
        if (exit->debug.int3)
            must(vcpu_inject(vcpu, &bp));
        return true;
    case VCPU_EXIT_FAIL: abort();
    default: return false; /* NONE: time is up */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct itimerspec slice = {.it_value.tv_nsec = SLICE_NS}, off = {0};
    struct vcpu_exit exit;
    const uint32_t leaf = 1;
    uint64_t number = 0;
    gpa_t gpa;

    if (size < 3 || size > 0x8000)
        return -1;
    for (unsigned n = 0; n < RAM_SIZE / PIECE; n++) {
        if (gone & BIT(n))
            piece_put(n, true);
    }
    moving = data[1] & 128;
    must(vcpu_exit_cpuid(vcpu, &leaf, moving));
    memset(ram, 0, RAM_SIZE);
    tables_put((data[0] & 3) == 2);
    memcpy(ram + CODE, data + 2, size - 2);
    guest_mem_written(&machine->mem, GPA(0), RAM_SIZE);
    state_put(data[0], data[1]);
    must(vcpu_set(vcpu, X86_ALL));
    vcpu_request_window(vcpu, data[0] & 64, false);
    debug_put(data[0] & 128, data[1]);
    timer_settime(timer, 0, &slice, NULL);
    for (unsigned n = 0; n < EXITS; n++) {
        must(vcpu_run(vcpu, &exit));
        if (!answer(&exit, &number))
            break;
    }
    timer_settime(timer, 0, &off, NULL);
    must(vcpu_get(vcpu, X86_ALL));
    vcpu_translate(vcpu, vcpu->state->rip, &gpa);
    return 0;
}
