/*
 * What libmote costs: beside each figure that of a program that calls KVM itself. The guest is
 * OUT in a loop, in real mode; on soft in 64-bit mode besides, where code is translated. ioctls are
 * counted by the linker's --wrap, which takes those of libmote.a too. bench/exits-lib builds and
 * runs it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <mote/mote.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define RAM_SIZE 0x10000
#define TABLES   0x1000
#define CODE     0x5000

static const uint8_t guest[] = {0xe6, 0x80, 0xeb, 0xfc}; /* out %al, $0x80; jmp */
static unsigned long ioctls, answered;

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    void *arg;

    va_start(args, request);
    arg = va_arg(args, void *);
    va_end(args);
    ioctls++;
    return __real_ioctl(fd, request, arg);
}

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "bench/exits-lib: %s: %s\n", what, why);
    exit(1);
}

static double now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* What is measured: create, then exits, then reads, then destroy. */
struct subject {
    void (*create)(void);
    void (*exit)(void); /* run until the exit, and answer it */
    void (*read)(void); /* run until the exit, read the registers, and answer it */
    void (*destroy)(void);
};

static uint8_t *ram;

/* ---- by libmote ---- */

static const char *accel;
static bool long_mode;
static struct mote_machine *machine;
static struct mote_vcpu *vcpu;

static void must(int err, const char *what)
{
    if (err)
        fail(what, mote_error());
}

static int on_io(struct mote_vcpu *v, struct mote_access *access, void *user)
{
    answered++;
    return 0;
}

static void put_table(unsigned at, uint64_t entry)
{
    memcpy(ram + at, &entry, sizeof(entry));
}

static unsigned enter_long_mode(struct mote_state *s)
{
    put_table(TABLES, (TABLES + 0x1000) | 3);
    put_table(TABLES + 0x1000, (TABLES + 0x2000) | 3);
    put_table(TABLES + 0x2000, 0x83);
    for (unsigned i = MOTE_ES; i <= MOTE_GS; i++)
        s->seg[i] = (struct mote_seg){.limit = UINT32_MAX, .selector = 16, .attrib = 0xc093};
    s->seg[MOTE_CS].attrib = 0xa09b;
    s->cr0 = 0x80000031; /* PG, NE, ET, PE */
    s->cr3 = TABLES;
    s->cr4 = 0x220;      /* PAE, OSFXSR */
    s->msr.efer = 0x500; /* LME, LMA */
    return MOTE_SEGS | MOTE_CRS | MOTE_MSRS;
}

static void lib_create(void)
{
    const struct mote_machine_config config = {.accel = accel};
    const struct mote_callbacks callbacks = {.io = on_io};
    unsigned groups = MOTE_GPRS | MOTE_SEGS;
    struct mote_state *s;

    must(mote_machine_create(&machine, &config), "mote_machine_create");
    must(mote_machine_set_callbacks(machine, &callbacks), "mote_machine_set_callbacks");
    must(mote_hva_register(machine, ram, RAM_SIZE), "mote_hva_register");
    must(mote_gpa_map(machine, 0, ram, RAM_SIZE, MOTE_RWX), "mote_gpa_map");
    must(mote_vcpu_create(&vcpu, machine, 0), "mote_vcpu_create");
    s = mote_vcpu_state(vcpu);
    s->seg[MOTE_CS].base = s->seg[MOTE_CS].selector = 0;
    s->rip = CODE;
    if (long_mode)
        groups |= enter_long_mode(s);
    must(mote_vcpu_set(vcpu, groups), "mote_vcpu_set");
}

static void lib_run(void)
{
    struct mote_exit e;

    must(mote_vcpu_run(vcpu, &e), "mote_vcpu_run");
    if (e.reason != MOTE_EXIT_IO)
        fail("unexpected exit", mote_exit_name(e.reason));
}

static void lib_exit(void)
{
    lib_run();
    must(mote_vcpu_assist(vcpu), "mote_vcpu_assist");
}

static void lib_read(void)
{
    lib_run();
    must(mote_vcpu_get(vcpu, MOTE_GPRS), "mote_vcpu_get");
    if (mote_vcpu_state(vcpu)->rip >> 12 != CODE >> 12)
        fail("mote_vcpu_get", "rip is elsewhere");
    must(mote_vcpu_assist(vcpu), "mote_vcpu_assist");
}

static void lib_destroy(void)
{
    must(mote_machine_destroy(machine), "mote_machine_destroy");
}

static const struct subject by_lib = {lib_create, lib_exit, lib_read, lib_destroy};

/* ---- by KVM's own calls, no more than it takes ---- */

static int dev, vm, cpu;
static struct kvm_run *run;
static size_t run_size;

static int call(int fd, unsigned long request, void *arg, const char *what)
{
    int ret = ioctl(fd, request, arg);

    if (ret < 0)
        fail(what, strerror(errno));
    return ret;
}
#define CALL(fd, request, arg) call((fd), (request), (void *)(arg), #request)

static void kvm_create(void)
{
    struct kvm_userspace_memory_region region = {.memory_size = RAM_SIZE,
                                                 .userspace_addr = (uintptr_t)ram};
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = CODE, .rflags = 2};

    dev = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (dev < 0)
        fail("/dev/kvm", strerror(errno));
    CALL(dev, KVM_GET_API_VERSION, 0);
    vm = CALL(dev, KVM_CREATE_VM, 0);
    CALL(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
    CALL(vm, KVM_SET_USER_MEMORY_REGION, &region);
    cpu = CALL(vm, KVM_CREATE_VCPU, 0);
    run_size = (size_t)CALL(dev, KVM_GET_VCPU_MMAP_SIZE, 0);
    run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
    if (run == MAP_FAILED)
        fail("kvm_run", strerror(errno));
    CALL(cpu, KVM_GET_SREGS, &sregs);
    sregs.cs.base = sregs.cs.selector = 0;
    CALL(cpu, KVM_SET_SREGS, &sregs);
    CALL(cpu, KVM_SET_REGS, &regs);
    run->kvm_valid_regs = KVM_SYNC_X86_REGS;
}

static void kvm_exit(void)
{
    CALL(cpu, KVM_RUN, 0);
    if (run->exit_reason != KVM_EXIT_IO)
        fail("KVM_RUN", "unexpected exit");
    answered++;
}

static void kvm_read(void)
{
    kvm_exit();
    if (run->s.regs.regs.rip >> 12 != CODE >> 12)
        fail("KVM_RUN", "rip is elsewhere");
}

static void kvm_destroy(void)
{
    munmap(run, run_size);
    close(cpu);
    close(vm);
    close(dev);
}

static const struct subject by_hand = {kvm_create, kvm_exit, kvm_read, kvm_destroy};

/* ---- measuring ---- */

struct figure {
    double ns, ioctls;
};

/* The best of several rounds, each shorter than a turn of the scheduler's: a busy host only ever
 * makes them longer. */
#define ROUNDS 200

static void take(struct figure *f, void (*what)(void), unsigned times, unsigned rounds)
{
    f->ns = 1e18;
    for (unsigned r = 0; r < rounds; r++) {
        unsigned long before = ioctls;
        double start = now_ns(), ns;

        for (unsigned i = 0; i < times; i++)
            what();
        ns = (now_ns() - start) / times;
        f->ns = ns < f->ns ? ns : f->ns;
        f->ioctls = (double)(ioctls - before) / times;
    }
}

static void measure(const char *name, const struct subject *s, unsigned times)
{
    const unsigned each = times < ROUNDS ? 1 : times / ROUNDS;
    struct figure create = {.ns = 1e18}, exits, reads, destroy = {.ns = 1e18};
    unsigned long before;

    s->create(); /* what is done once a process */
    s->destroy();
    for (unsigned i = 0; i < 20; i++) {
        struct figure f;

        take(&f, s->create, 1, 1);
        create = f.ns < create.ns ? f : create;
        take(&f, s->destroy, 1, 1);
        destroy = f.ns < destroy.ns ? f : destroy;
    }
    s->create();
    take(&exits, s->exit, times / 10, 1); /* warm */
    before = answered;
    take(&exits, s->exit, each, ROUNDS);
    take(&reads, s->read, each, ROUNDS);
    if (answered - before < 2ul * each * ROUNDS - 1)
        fail(name, "exits were not answered");
    s->destroy();
    printf("%-10s %10.0f %7.0f %10.0f %10.1f %7.2f %10.1f %7.2f\n", name, create.ns, create.ioctls,
           destroy.ns, exits.ns, exits.ioctls, reads.ns, reads.ioctls);
}

static int usable(const char *name)
{
    struct mote_accel list[8];
    int count = mote_accel_list(list, 8);

    for (int i = 0; i < count; i++) {
        if (!strcmp(list[i].name, name)) {
            if (!list[i].usable)
                printf("%-10s not usable: %s\n", name, list[i].reason);
            return list[i].usable;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : "";
    unsigned times = argc > 2 ? (unsigned)atoi(argv[2]) : 2000000;

    ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ram == MAP_FAILED)
        fail("memory", strerror(errno));
    memcpy(ram + CODE, guest, sizeof(guest));
    printf("%-10s %10s %7s %10s %10s %7s %10s %7s\n", "", "create ns", "ioctls", "destroy ns",
           "exit ns", "ioctls", "+ read ns", "ioctls");
    if (!*only || !strcmp(only, "soft")) {
        accel = "soft";
        measure("soft", &by_lib, times);
        long_mode = true;
        measure("soft, 64", &by_lib, times);
        long_mode = false;
    }
    if ((!*only || !strcmp(only, "kvm")) && usable("kvm")) {
        measure("bare KVM", &by_hand, times / 50);
        accel = "kvm";
        measure("kvm", &by_lib, times / 50);
    }
    return 0;
}
