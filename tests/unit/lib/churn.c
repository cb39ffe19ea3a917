/*
 * churn ACCEL SECONDS [SEED]: 64 machines of two vCPUs in one process. They are created, run,
 * stopped by other threads and from signal handlers, changed and destroyed at random, by threads
 * that agree on nothing but what the library's header asks for. Fails when a stop is lost, when a
 * call returns an error that it must not, or when something remains at the end; the sanitizers
 * see the rest.
 */
#include "../deadlock.h"

#include <errno.h>
#include <fcntl.h>
#include <mote/mote.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MACHINES 64
#define VCPUS    2
#define PAIRS    6 /* who runs, and who stops that */
#define CHANGERS 3

#define RAM_SIZE  0x10000u
#define TABLES    0x1000u
#define CODE      0x5000u
#define SOMETIMES 0x8000u /* pages that are taken out now and then */
#define ALIAS     0x200000u

/* Counts, changes its own code, and from time to time looks at a page and writes to a port. */
extern const uint8_t guest[], guest_end[];
__asm__(".pushsection .rodata\nguest:\n"
        "1: incq 0x4000\n"
        "movl 0x4000, %eax\n"
        "movb %al, 0x5000 + 2f + 1 - guest\n"
        "2: movb $0, %bl\n"
        "testb $0x3f, %al\njnz 1b\n"
        "movl 0x8000, %ecx\n"
        "outb %al, $0x10\n"
        "inb $0x11, %al\n"
        "jmp 1b\n"
        "guest_end:\n.popsection\n");

struct place {
    pthread_rwlock_t lock; /* read: state pages and handles stay; write: they go */
    struct mote_machine *machine;
    struct mote_vcpu *vcpu[VCPUS];
    atomic_bool taken[VCPUS];     /* by a pair */
    pthread_mutex_t state[VCPUS]; /* whose is the page of the vCPU's state, when it is outside */
    uint8_t *ram;
};

struct pair {
    pthread_t runner, stopper;
    sem_t go, done, next;
    struct mote_vcpu *vcpu;
    unsigned seed, seed2;
};

static struct place places[MACHINES];
static struct pair pairs[PAIRS];
static atomic_bool over;
static atomic_ulong created, runs, stops, exits, changes, inner_changes;
static const char *accel;

static _Noreturn void fail(const char *what, int err)
{
    fprintf(stderr, "churn: %s: %d (%s)\n", what, err, mote_error());
    exit(1);
}

/* Only these are what may come of what others do at the same time. */
static void expect(const char *what, int err, int also)
{
    if (err && err != -EBUSY && err != -EINVAL && err != also)
        fail(what, err);
}

/* ---- memory ---- */

static void remap(struct place *p, unsigned r)
{
    uint64_t page = SOMETIMES + (r & 3) * 0x1000;

    switch (r >> 4 & 7) {
    case 0: expect("unmap", mote_gpa_unmap(p->machine, page, 0x1000), -ENOENT); break;
    case 1:
    case 2:
        expect("map", mote_gpa_map(p->machine, page, p->ram + page, 0x1000, MOTE_RWX), -EEXIST);
        break;
    case 3:
        expect("map", mote_gpa_map(p->machine, ALIAS, p->ram, RAM_SIZE, MOTE_RWX), -EEXIST);
        break;
    case 4: expect("unmap", mote_gpa_unmap(p->machine, ALIAS, RAM_SIZE), -ENOENT); break;
    case 5: expect("written", mote_gpa_written(p->machine, CODE, 0x100), 0); break;
    case 6: expect("register", mote_hva_register(p->machine, p->ram, RAM_SIZE), -EEXIST); break;
    case 7: expect("unregister", mote_hva_unregister(p->machine, p->ram, 0x1000), -ENOENT); break;
    }
}

/* Devices change the map, too: what is read, and what the code is executed from. */
static int on_access(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    static _Thread_local unsigned seed;
    struct place *p = user;

    if (!access->write)
        access->data = 0x12345678;
    remap(p, (unsigned)rand_r(&seed) >> 3);
    atomic_fetch_add(&inner_changes, 1);
    return 0;
}

/* ---- machines ---- */

static void build(struct place *p)
{
    const struct mote_machine_config config = {.accel = accel, .vcpus = VCPUS};
    const struct mote_callbacks callbacks = {on_access, on_access, p};
    int err = mote_machine_create(&p->machine, &config);

    if (err)
        fail("create", err);
    err = mote_machine_set_callbacks(p->machine, &callbacks);
    if (!err)
        err = mote_hva_register(p->machine, p->ram, RAM_SIZE);
    if (!err)
        err = mote_gpa_map(p->machine, 0, p->ram, RAM_SIZE, MOTE_RWX);
    for (unsigned i = 0; i < VCPUS && !err; i++)
        err = mote_vcpu_create(&p->vcpu[i], p->machine, i);
    if (err)
        fail("build", err);
    atomic_fetch_add(&created, 1);
}

static void put_u64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof(value));
}

static void place_init(struct place *p)
{
    pthread_rwlock_init(&p->lock, NULL);
    for (unsigned i = 0; i < VCPUS; i++)
        pthread_mutex_init(&p->state[i], NULL);
    p->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->ram == MAP_FAILED)
        fail("memory", -errno);
    put_u64(p->ram + TABLES, (TABLES + 0x1000) | 3);
    put_u64(p->ram + TABLES + 0x1000, (TABLES + 0x2000) | 3);
    put_u64(p->ram + TABLES + 0x2000, 0x83);
    put_u64(p->ram + TABLES + 0x2008, ALIAS | 0x83);
    memcpy(p->ram + CODE, guest, (size_t)(guest_end - guest));
    build(p);
}

/* The vCPU starts, 64-bit, at the code or at its alias. False: it cannot now. */
static bool start(struct mote_vcpu *vcpu, uint64_t rip)
{
    const unsigned groups = MOTE_GPRS | MOTE_SEGS | MOTE_CRS | MOTE_MSRS;
    struct mote_state *s = mote_vcpu_state(vcpu);
    int err = mote_vcpu_get(vcpu, groups);

    expect("get", err, 0);
    if (err || !s)
        return false;
    for (unsigned i = MOTE_ES; i <= MOTE_GS; i++)
        s->seg[i] = (struct mote_seg){.limit = 0xffffffff, .selector = 0x10, .attrib = 0xc093};
    s->seg[MOTE_CS].attrib = 0xa09b;
    s->seg[MOTE_CS].selector = 8;
    s->cr0 = 0x80000031;
    s->cr3 = TABLES;
    s->cr4 = 0x220;
    s->msr.efer = 0x500;
    s->rip = rip;
    s->rflags = 2;
    err = mote_vcpu_set(vcpu, groups);
    expect("set", err, 0);
    return !err;
}

/* ---- who runs ---- */

static _Thread_local struct mote_vcpu *volatile mine; /* for the signal handler */

static void on_signal(int sig)
{
    if (mine)
        mote_vcpu_stop(mine);
}

static void await(sem_t *sem)
{
    while (sem_wait(sem)) /* a signal came */
        ;
}

/* Until it is stopped, or cannot go on. */
static void run(struct mote_vcpu *vcpu)
{
    struct mote_exit e;
    int err;

    for (;;) {
        err = mote_vcpu_run(vcpu, &e);
        if (err == -EBUSY)
            continue; /* somebody looks at it */
        expect("run", err, 0);
        if (err || e.reason == MOTE_EXIT_NONE)
            return;
        atomic_fetch_add(&exits, 1);
        if (e.reason != MOTE_EXIT_IO && e.reason != MOTE_EXIT_MEMORY)
            return; /* its code was taken out under it */
        do
            err = mote_vcpu_assist(vcpu);
        while (err == -EBUSY);
        expect("assist", err, -EIO);
        if (err)
            return;
    }
}

static void *runner(void *arg)
{
    struct pair *pair = arg;

    while (!atomic_load(&over)) {
        unsigned r = (unsigned)rand_r(&pair->seed), i = r / MACHINES % VCPUS;
        struct place *p = &places[r % MACHINES];
        bool ready = false;

        if (atomic_exchange(&p->taken[i], true))
            continue;
        pthread_rwlock_rdlock(&p->lock);
        pair->vcpu = p->vcpu[i];
        pthread_mutex_lock(&p->state[i]);
        if (pair->vcpu)
            ready = start(pair->vcpu, r & 0x10000 ? CODE : ALIAS + CODE);
        pthread_mutex_unlock(&p->state[i]);
        pthread_rwlock_unlock(&p->lock);
        if (ready) {
            mine = pair->vcpu;
            sem_post(&pair->go);
            run(pair->vcpu);
            sem_post(&pair->done);
            await(&pair->next); /* the stop was sent: it is no later run's */
            mine = NULL;
            atomic_fetch_add(&runs, 1);
        }
        atomic_store(&p->taken[i], false);
    }
    pair->vcpu = NULL;
    sem_post(&pair->go);
    return NULL;
}

/*
 * ThreadSanitizer calls a handler only when its thread comes back from the C library: of a signal
 * just before KVM_RUN that is after the guest's next exit. Of 80,000 that were aimed there, at a
 * guest without exits, three came so late; without ThreadSanitizer none of 600,000.
 */
#ifdef __SANITIZE_THREAD__
#define KEEPS_SIGNALS true
#else
#define KEEPS_SIGNALS false
#endif

static bool is_done(struct pair *pair)
{
    struct timespec until;
    int err;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 1;
    while ((err = sem_clockwait(&pair->done, CLOCK_MONOTONIC, &until)) && errno == EINTR)
        ;
    return !err;
}

/* One stop for each run, by this thread or by a signal to that one. */
static void *stopper(void *arg)
{
    struct pair *pair = arg;

    for (;;) {
        unsigned r = (unsigned)rand_r(&pair->seed2), seconds = 0;
        bool by_signal = !(r & 8);

        await(&pair->go);
        if (!pair->vcpu)
            return NULL;
        if (r & 7)
            usleep(r >> 8 & 0x3ff);
        if (by_signal)
            pthread_kill(pair->runner, SIGUSR1);
        else
            mote_vcpu_stop(pair->vcpu);
        while (!is_done(pair)) {
            if (++seconds == DEADLOCK_SECONDS)
                fail(by_signal ? "a stop by a signal was lost" : "a stop was lost", -ETIMEDOUT);
            if (KEEPS_SIGNALS && by_signal)
                pthread_kill(pair->runner, SIGUSR1);
        }
        atomic_fetch_add(&stops, 1);
        sem_post(&pair->next);
    }
}

/* ---- who changes ---- */

static void rebuild(struct place *p)
{
    int err;

    pthread_rwlock_wrlock(&p->lock);
    err = mote_machine_destroy(p->machine);
    if (err && err != -EBUSY)
        fail("destroy", err);
    if (!err)
        build(p);
    pthread_rwlock_unlock(&p->lock);
}

static void replace_vcpu(struct place *p, unsigned i)
{
    int err = 0;

    pthread_rwlock_wrlock(&p->lock);
    if (p->vcpu[i])
        err = mote_vcpu_destroy(p->vcpu[i]);
    if (err && err != -EBUSY)
        fail("vCPU's destroy", err);
    if (!err) {
        p->vcpu[i] = NULL;
        err = mote_vcpu_create(&p->vcpu[i], p->machine, i);
        if (err)
            fail("vCPU's create", err);
    }
    pthread_rwlock_unlock(&p->lock);
}

static void look(struct place *p, unsigned i)
{
    struct mote_capabilities caps;
    void *hva;

    expect("capabilities", mote_machine_capabilities(p->machine, &caps), 0);
    expect("look-up", mote_gpa_to_hva(p->machine, CODE, &hva, NULL), -ENOENT);
    if (p->vcpu[i]) {
        pthread_mutex_lock(&p->state[i]);
        expect("get", mote_vcpu_get(p->vcpu[i], MOTE_ALL), 0);
        expect("walk", mote_gva_to_gpa(p->vcpu[i], CODE, NULL, NULL), -EFAULT);
        pthread_mutex_unlock(&p->state[i]);
        expect("window", mote_vcpu_request_window(p->vcpu[i], false, false), 0);
    }
}

static void *changer(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;

    while (!atomic_load(&over)) {
        unsigned r = (unsigned)rand_r(&seed);
        struct place *p = &places[r % MACHINES];

        r /= MACHINES;
        if (!(r % 8)) {
            rebuild(p);
        } else if (r % 8 == 1) {
            replace_vcpu(p, r / 8 % VCPUS);
        } else {
            pthread_rwlock_rdlock(&p->lock);
            if (r % 8 == 2)
                look(p, r / 8 % VCPUS);
            else
                remap(p, r / 8);
            pthread_rwlock_unlock(&p->lock);
        }
        atomic_fetch_add(&changes, 1);
    }
    return NULL;
}

/* ---- all of it ---- */

static bool is_open[1024];

/* Which files are open now; with `left`, say which were not before, and return how many. */
static unsigned look_at_files(bool left)
{
    char name[64], target[256];
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++) {
        bool was = is_open[fd];

        snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        memset(target, 0, sizeof(target));
        is_open[fd] = fcntl(fd, F_GETFD) != -1;
        if (!left || was || !is_open[fd])
            continue;
        n++;
        if (readlink(name, target, sizeof(target) - 1) > 0)
            fprintf(stderr, "churn: left open: %d, %s\n", fd, target);
    }
    return n;
}

static bool is_usable(void)
{
    struct mote_accel list[8];
    int count = mote_accel_list(list, 8);

    for (int i = 0; i < count; i++) {
        if (strcmp(list[i].name, accel) != 0)
            continue;
        if (!list[i].usable)
            printf("skipped on %s: %s\n", accel, list[i].reason);
        return list[i].usable;
    }
    return false;
}

/* Of everything, which a busy host may get to later. */
static bool something_happened(void)
{
    return runs && exits && inner_changes && created > MACHINES;
}

static void finish(pthread_t *changers)
{
    int err;

    for (unsigned i = 0; i < CHANGERS; i++)
        pthread_join(changers[i], NULL);
    for (unsigned i = 0; i < PAIRS; i++) {
        pthread_join(pairs[i].runner, NULL);
        pthread_join(pairs[i].stopper, NULL);
    }
    for (unsigned i = 0; i < MACHINES; i++) {
        err = mote_machine_destroy(places[i].machine);
        if (err)
            fail("destroy", err);
        munmap(places[i].ram, RAM_SIZE);
    }
}

int main(int argc, char **argv)
{
    struct sigaction act = {.sa_handler = on_signal};
    unsigned seconds = argc > 2 ? (unsigned)atoi(argv[2]) : 5;
    unsigned seed = argc > 3 ? (unsigned)atoi(argv[3]) : (unsigned)time(NULL);
    pthread_t changers[CHANGERS];

    accel = argc > 1 ? argv[1] : "soft";
    if (!is_usable())
        return 77;
    printf("churn %s %u %u\n", accel, seconds, seed);
    sigaction(SIGUSR1, &act, NULL);
    look_at_files(false);
    for (unsigned i = 0; i < MACHINES; i++)
        place_init(&places[i]);
    for (unsigned i = 0; i < PAIRS; i++) {
        struct pair *pair = &pairs[i];

        pair->seed = seed + 2 * i;
        pair->seed2 = seed + 2 * i + 1;
        sem_init(&pair->go, 0, 0);
        sem_init(&pair->done, 0, 0);
        sem_init(&pair->next, 0, 0);
        pthread_create(&pair->runner, NULL, runner, pair);
        pthread_create(&pair->stopper, NULL, stopper, pair);
    }
    for (unsigned i = 0; i < CHANGERS; i++)
        pthread_create(&changers[i], NULL, changer, (void *)(uintptr_t)(seed + 1000 + i));
    sleep(seconds);
    for (unsigned i = 0; i < DEADLOCK_SECONDS && !something_happened(); i++)
        sleep(1);
    atomic_store(&over, true);
    finish(changers);
    printf("%lu machines, %lu runs, %lu stops, %lu exits, %lu changes, %lu in callbacks\n", created,
           runs, stops, exits, changes, inner_changes);
    if (!something_happened())
        fail("nothing happened", 0);
    if (look_at_files(true))
        fail("files were left open", 0);
    return 0;
}
