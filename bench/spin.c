/*
 * vCPUs that wait for each other by PAUSE, on fewer processors of the host. Code in long mode, a
 * word of memory for what they share; each vCPU counts its turns. bench/spin builds and runs it.
 */
#include <mote/mote.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define VCPUS    64
#define RAM_SIZE 0x200000
#define TABLES   0x1000
#define CODE     0x5000
#define SHARED   0x10000 /* RBP: next ticket, 64 bytes on the one served; RCX: how many vCPUs */
#define TURNS    0x20000 /* RDI: a vCPU's own count, in a line of its own */

/* Take a ticket, wait, work for some 2000 instructions, let go, work as much. */
extern const uint8_t ticket[], ticket_end[];
__asm__(".pushsection .rodata\n"
        "ticket: movl $1, %eax\n"
        "lock xaddl %eax, (%rbp)\n"
        "jmp 2f\n"
        "1: pause\n"
        "2: cmpl 64(%rbp), %eax\n"
        "jne 1b\n"
        "movl $1000, %edx\n"
        "3: decl %edx\n"
        "jnz 3b\n"
        "incl 64(%rbp)\n"
        "incq (%rdi)\n"
        "movl $1000, %edx\n"
        "4: decl %edx\n"
        "jnz 4b\n"
        "jmp ticket\n"
        "ticket_end:\n"
        ".popsection");

/* Say that one is there, wait for all others: as in stop_machine and as processors start. */
extern const uint8_t barrier[], barrier_end[];
__asm__(".pushsection .rodata\n"
        "barrier: movq %rcx, %rax\n"
        "5: lock incq (%rbp)\n"
        "jmp 2f\n"
        "1: pause\n"
        "2: cmpq %rax, (%rbp)\n"
        "jb 1b\n"
        "incq (%rdi)\n"
        "addq %rcx, %rax\n"
        "movl $1000, %edx\n"
        "3: decl %edx\n"
        "jnz 3b\n"
        "jmp 5b\n"
        "barrier_end:\n"
        ".popsection");

static const struct {
    const char *name;
    const uint8_t *code, *end;
} part[] = {{"ticket lock", ticket, ticket_end}, {"barrier", barrier, barrier_end}};

static uint8_t *ram;
static unsigned vcpus = 16;

static void must(int err, const char *what)
{
    if (!err)
        return;
    fprintf(stderr, "bench/spin: %s: %s\n", what, mote_error());
    exit(1);
}

static void put(unsigned at, uint64_t value)
{
    memcpy(ram + at, &value, sizeof(value));
}

static void enter_long_mode(struct mote_vcpu *v, unsigned id)
{
    struct mote_state *s = mote_vcpu_state(v);

    must(mote_vcpu_get(v, MOTE_GPRS | MOTE_SEGS | MOTE_CRS | MOTE_MSRS), "mote_vcpu_get");
    for (unsigned i = MOTE_ES; i <= MOTE_GS; i++)
        s->seg[i] = (struct mote_seg){.limit = UINT32_MAX, .selector = 16, .attrib = 0xc093};
    s->seg[MOTE_CS] = (struct mote_seg){.limit = UINT32_MAX, .selector = 8, .attrib = 0xa09b};
    s->cr0 = 0x80000031; /* PG, NE, ET, PE */
    s->cr3 = TABLES;
    s->cr4 = 0x220;      /* PAE, OSFXSR */
    s->msr.efer = 0x500; /* LME, LMA */
    s->rip = CODE;
    s->rflags = 2;
    s->gpr[MOTE_RBP] = SHARED;
    s->gpr[MOTE_RDI] = TURNS + 64 * id;
    s->gpr[MOTE_RCX] = vcpus;
    must(mote_vcpu_set(v, MOTE_GPRS | MOTE_SEGS | MOTE_CRS | MOTE_MSRS), "mote_vcpu_set");
}

static void *drive(void *vcpu)
{
    struct mote_exit e;

    must(mote_vcpu_run(vcpu, &e), "mote_vcpu_run");
    if (e.reason != MOTE_EXIT_NONE) {
        fprintf(stderr, "bench/spin: unexpected exit: %s\n", mote_exit_name(e.reason));
        exit(1);
    }
    return NULL;
}

static void sleep_ns(double ns)
{
    nanosleep(&(struct timespec){(time_t)(ns / 1e9), (long)((uint64_t)ns % 1000000000)}, NULL);
}

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint64_t turns(unsigned id)
{
    return __atomic_load_n((uint64_t *)(ram + TURNS + 64 * id), __ATOMIC_RELAXED);
}

static void measure(unsigned which, double seconds)
{
    const struct mote_machine_config config = {.accel = "soft", .vcpus = vcpus};
    struct mote_machine *machine;
    struct mote_vcpu *v[VCPUS];
    pthread_t thread[VCPUS];
    uint64_t all = 0, least = UINT64_MAX;
    double begin, took;

    memset(ram, 0, RAM_SIZE);
    put(TABLES, (TABLES + 0x1000) | 3);
    put(TABLES + 0x1000, (TABLES + 0x2000) | 3);
    put(TABLES + 0x2000, 0x83);
    memcpy(ram + CODE, part[which].code, (size_t)(part[which].end - part[which].code));
    must(mote_machine_create(&machine, &config), "mote_machine_create");
    must(mote_hva_register(machine, ram, RAM_SIZE), "mote_hva_register");
    must(mote_gpa_map(machine, 0, ram, RAM_SIZE, MOTE_RWX), "mote_gpa_map");
    for (unsigned i = 0; i < vcpus; i++) {
        must(mote_vcpu_create(&v[i], machine, i), "mote_vcpu_create");
        enter_long_mode(v[i], i);
    }
    begin = now_ns();
    for (unsigned i = 0; i < vcpus; i++)
        pthread_create(&thread[i], NULL, drive, v[i]);
    sleep_ns(seconds * 1e9);
    took = now_ns() - begin;
    for (unsigned i = 0; i < vcpus; i++) {
        all += turns(i);
        least = turns(i) < least ? turns(i) : least;
    }
    for (unsigned i = 0; i < vcpus; i++)
        must(mote_vcpu_stop(v[i]), "mote_vcpu_stop");
    for (unsigned i = 0; i < vcpus; i++)
        pthread_join(thread[i], NULL);
    for (unsigned i = 0; i < vcpus; i++)
        must(mote_vcpu_destroy(v[i]), "mote_vcpu_destroy");
    must(mote_machine_destroy(machine), "mote_machine_destroy");
    printf("%-12s %2u vCPUs: %9.1f us a turn, %8.0f turns/s, %lu of the slowest vCPU\n",
           part[which].name, vcpus, took / 1e3 / (double)(all ? all : 1), (double)all * 1e9 / took,
           (unsigned long)least);
    fflush(stdout);
}

/* Keeps a processor busy until this process ends. */
static void be_busy(unsigned cpu)
{
    cpu_set_t set;

    if (fork())
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
    for (volatile uint64_t n = 0;; n++)
        ;
}

int main(int argc, char **argv)
{
    const char *list = argc > 2 ? argv[2] : "0";
    double seconds = argc > 3 ? atof(argv[3]) : 3;
    cpu_set_t set;

    vcpus = argc > 1 ? (unsigned)atoi(argv[1]) : 16;
    if (!vcpus || vcpus > VCPUS || seconds <= 0) {
        fprintf(stderr, "bench/spin: 1 to %d vCPUs and some seconds; see bench/spin --help\n",
                VCPUS);
        return 2;
    }
    CPU_ZERO(&set);
    for (const char *at = list; *at; at += *at == ',') {
        char *end;
        unsigned long cpu = strtoul(at, &end, 10);

        if (end == at || cpu >= CPU_SETSIZE) {
            fprintf(stderr, "bench/spin: '%s', expected processors like 0,1\n", list);
            return 2;
        }
        CPU_SET(cpu, &set);
        if (argc > 4 && !strcmp(argv[4], "busy"))
            be_busy((unsigned)cpu);
        at = end;
    }
    if (sched_setaffinity(0, sizeof(set), &set)) {
        perror("bench/spin: sched_setaffinity");
        return 1;
    }
    ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ram == MAP_FAILED)
        return 1;
    for (unsigned i = 0; i < sizeof(part) / sizeof(part[0]); i++)
        measure(i, seconds);
    return 0;
}
