/*
 * The measuring guest: 64 KiB of memory, long mode on an identity map, no
 * interrupts. A loop of five plain instructions gives the speed; then one
 * cmpxchg16b, which every x86-64 kernel uses and a KVM without hardware
 * support cannot emulate and leaves to mote's interpreter.
 */
#include "accel/measure.h"

#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#define GUEST_SIZE  0x10000u
#define GUEST_PML4  0x1000u
#define GUEST_CODE  0x8000u
#define GUEST_CAS   0x8800u
#define GUEST_DATA  0x9000u
#define GUEST_STACK 0xf000u

#define LOOP_INSNS 5
#define LOOP_COUNT 4000000u
#define LIMIT_MS   100  /* for each of the two runs */
#define ENOUGH_MS  50   /* of processor time; where others left less than this... */
#define PATIENT_MS 1000 /* ...it goes on for so long, */
#define LEAST_RUNS 2    /* and at least until so many kicks: the first may end a long absence */

/* Below this no processor runs the guest itself. */
#define EMULATED_MIPS 20.0

static const uint8_t loop_code[] = {
    0x48, 0x01, 0xd0,             /* add    rax, rdx */
    0x48, 0x89, 0x07,             /* mov    [rdi], rax */
    0x48, 0x8d, 0x54, 0x08, 0x03, /* lea    rdx, [rax+rcx+3] */
    0x48, 0xff, 0xc9,             /* dec    rcx */
    0x75, 0xf0,                   /* jnz    to the start */
    0xf4,                         /* hlt */
};

static const uint8_t cas_code[] = {
    0x48, 0x0f, 0xc7, 0x0f, /* cmpxchg16b [rdi] */
    0xf4,                   /* hlt */
};

struct guest {
    struct machine *m;
    struct vcpu *v;
    uint8_t *ram;
};

/* A thread that kicks the vCPU every LIMIT_MS. */
struct limit {
    struct vcpu *v;
    sem_t done;
    pthread_t thread;
};

static double seconds(clockid_t clock)
{
    return (double)clock_ns(clock) * 1e-9;
}

/* The guest's time too, with KVM. What other processes take does not count. */
static double cpu_seconds(void)
{
    return seconds(CLOCK_THREAD_CPUTIME_ID);
}

static void *limit_wait(void *arg)
{
    struct limit *limit = arg;
    struct timespec end;
    int err;

    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_nsec += LIMIT_MS * 1000000L;
        end.tv_sec += end.tv_nsec / 1000000000L;
        end.tv_nsec %= 1000000000L;
        do
            err = sem_clockwait(&limit->done, CLOCK_MONOTONIC, &end);
        while (err && errno == EINTR);
        if (!err)
            return NULL;
        vcpu_kick(limit->v);
    }
}

/* Enter ring 0 of long mode at rip with RCX = LOOP_COUNT, RDI = GUEST_DATA and the rest 0. */
static int guest_enter(struct guest *g, uint64_t rip)
{
    const unsigned groups = X86_GPRS | X86_SEGS | X86_CRS | X86_MSRS;
    const uint32_t flat = SEG_P | SEG_S | SEG_TYPE_RW | SEG_TYPE_A | SEG_G;
    struct mote_state *s = g->v->state;
    int err = vcpu_get(g->v, groups);

    if (err)
        return err;
    memset(s->gpr, 0, sizeof(s->gpr));
    s->gpr[RCX] = LOOP_COUNT;
    s->gpr[RDI] = GUEST_DATA;
    s->gpr[RSP] = GUEST_STACK;
    s->rip = rip;
    s->rflags = FLAG_R1;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        s->seg[i] =
            (struct mote_seg){.limit = 0xffffffff, .selector = 0x10, .attrib = flat | SEG_DB};
    }
    s->seg[SEG_CS].selector = 8;
    s->seg[SEG_CS].attrib = flat | SEG_TYPE_CODE | SEG_L;
    s->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    s->cr3 = GUEST_PML4;
    s->cr4 = CR4_PAE;
    s->msr.efer = EFER_LME | EFER_LMA;
    return vcpu_set(g->v, groups);
}

static bool time_is_over(double start, double cpu_start)
{
    double wall = (seconds(CLOCK_MONOTONIC) - start) * 1e3;

    return (wall >= LIMIT_MS && (cpu_seconds() - cpu_start) * 1e3 >= ENOUGH_MS) ||
           wall >= PATIENT_MS;
}

/* Run until HLT or the limit. 0 and *halted, or -errno with the reason recorded. */
static int guest_run(struct guest *g, bool *halted)
{
    double start = seconds(CLOCK_MONOTONIC), cpu_start = cpu_seconds();
    struct limit limit = {.v = g->v};
    struct vcpu_exit exit;
    unsigned runs = 0;
    int err;

    sem_init(&limit.done, 0, 0);
    err = pthread_create(&limit.thread, NULL, limit_wait, &limit);
    if (err) {
        sem_destroy(&limit.done);
        return err_sys(err, "starting a thread");
    }
    do
        err = vcpu_run(g->v, &exit);
    while (!err && exit.reason == VCPU_EXIT_NONE &&
           (++runs < LEAST_RUNS || !time_is_over(start, cpu_start)));
    sem_post(&limit.done);
    pthread_join(limit.thread, NULL);
    sem_destroy(&limit.done);
    if (err)
        return err;
    *halted = exit.reason == VCPU_EXIT_HALT;
    if (*halted || exit.reason == VCPU_EXIT_NONE)
        return 0;
    return err_set(EIO, "%s",
                   exit.reason == VCPU_EXIT_FAIL ? exit.fail.why : vcpu_exit_name(exit.reason));
}

static void guest_destroy(struct guest *g)
{
    vcpu_destroy(g->v);
    machine_destroy(g->m);
    if (g->ram != MAP_FAILED)
        munmap(g->ram, GUEST_SIZE);
}

static int guest_create(struct guest *g, const struct accel *accel)
{
    const struct machine_config config = {.vcpus = 1};
    const struct x86_cpuid_topology topology = {.vcpus = 1};
    struct x86_cpuid cpuid;
    int err;

    memset(g, 0, sizeof(*g));
    g->ram = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->ram == MAP_FAILED)
        return err_sys(errno, "guest memory");
    le64_put(g->ram + GUEST_PML4, (GUEST_PML4 + 0x1000) | 3);
    le64_put(g->ram + GUEST_PML4 + 0x1000, (GUEST_PML4 + 0x2000) | 3);
    le64_put(g->ram + GUEST_PML4 + 0x2000, 0x83); /* 2 MiB page at 0 */
    memcpy(g->ram + GUEST_CODE, loop_code, sizeof(loop_code));
    memcpy(g->ram + GUEST_CAS, cas_code, sizeof(cas_code));
    err = machine_create(&g->m, accel, &config);
    if (!err)
        err = machine_map(g->m, GPA(0), GUEST_SIZE, g->ram, MEM_RWX);
    if (!err)
        err = vcpu_create(&g->v, g->m, 0);
    if (!err)
        err = machine_default_cpuid(g->m, &topology, &cpuid);
    return err ? err : vcpu_set_cpuid(g->v, &cpuid);
}

static int measure_loop(struct guest *g, double *mips)
{
    double took, start;
    bool halted;
    int err = guest_enter(g, GUEST_CODE);

    start = cpu_seconds();
    if (!err)
        err = guest_run(g, &halted);
    took = cpu_seconds() - start;
    if (!err)
        err = vcpu_get(g->v, X86_GPRS);
    if (!err && took > 0)
        *mips = (double)(LOOP_COUNT - g->v->state->gpr[RCX]) * LOOP_INSNS / took / 1e6;
    return err;
}

/* RDX:RAX and the 16 bytes are 0, so RCX:RBX is stored: LOOP_COUNT in the upper half. */
static int check_cas(struct guest *g)
{
    bool halted;
    int err;

    memset(g->ram + GUEST_DATA, 0, 16);
    guest_mem_written(&g->m->mem, GPA(GUEST_DATA), 16);
    err = guest_enter(g, GUEST_CAS);
    if (!err)
        err = guest_run(g, &halted);
    if (err)
        return err;
    if (!halted)
        return err_set(ETIME, "it does not end");
    if (le64_get(g->ram + GUEST_DATA) != 0 || le64_get(g->ram + GUEST_DATA + 8) != LOOP_COUNT)
        return err_set(EIO, "it stores a wrong value");
    return 0;
}

/* The clause for an accelerator that can do both. */
static void say_usable(const struct guest *g, struct accel_info *info)
{
    const char *rescued = g->v->rescued ? "cmpxchg16b is left to mote's interpreter" : "";
    bool emulated = info->device[0] && info->mips < EMULATED_MIPS; /* soft always is */
    int at;

    info->usable = true;
    if (emulated)
        at = snprintf(info->reason, sizeof(info->reason),
                      "usable, but ring 0 is emulated (%.1f million instructions/s)", info->mips);
    else
        at = snprintf(info->reason, sizeof(info->reason), "usable, %.0f million instructions/s",
                      info->mips);
    if (*rescued)
        snprintf(info->reason + at, sizeof(info->reason) - (size_t)at, "%s %s",
                 emulated ? " and" : ", but", rescued);
}

void accel_measure(const struct accel *accel, struct accel_info *info)
{
    struct guest g;
    int err = guest_create(&g, accel);

    if (err || measure_loop(&g, &info->mips)) {
        info->usable = false;
        snprintf(info->reason, sizeof(info->reason), "%s: %s",
                 err ? "no guest can be made" : "64-bit ring-0 code fails", err_text());
        guest_destroy(&g);
        return;
    }
    if (check_cas(&g)) {
        info->usable = false;
        snprintf(info->reason, sizeof(info->reason),
                 "%.1f million instructions/s in ring 0, and cmpxchg16b fails there: %s",
                 info->mips, err_text());
    } else {
        say_usable(&g, info);
    }
    guest_destroy(&g);
}
