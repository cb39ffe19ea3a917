/*
 * A toy emulator: one vCPU, a keyboard, a timer, and text output by a port and by memory.
 *
 *     toy KERNEL [ACCELERATOR]
 *
 * Two threads: the first runs the vCPU and is its devices; the second waits for keys and for the
 * timer, and stops the vCPU for an interrupt. The kernel beside it is what it is meant to run.
 */
#include "toy.h"
#include "load.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define KEYS 256

struct toy {
    struct mote_machine *machine;
    struct mote_vcpu *vcpu;
    int timer;          /* a timerfd */
    _Atomic int status; /* of the machine, when it is off; -1 before */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t event;
    uint64_t ticks;
    bool tick_waits, key_waits; /* interrupts to be injected */
    unsigned first, count;      /* keys that the guest has not read: a ring */
    char keys[KEYS];
};

static void need(int err, const char *what)
{
    if (!err)
        return;
    fprintf(stderr, "toy: %s: %s\n", what, *mote_error() ? mote_error() : strerror(-err));
    exit(1);
}

/* ---- devices: the vCPU's thread, called by mote_vcpu_assist ---- */

static void print(uint64_t text, unsigned size)
{
    for (; size; size--, text >>= 8) {
        if (text & 0xff)
            putchar((int)(text & 0xff));
    }
    fflush(stdout);
}

static void set_period(const struct toy *toy, uint64_t us)
{
    const struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000 * 1000)};
    const struct itimerspec period = {.it_interval = t, .it_value = t};

    timerfd_settime(toy->timer, 0, &period, NULL);
}

/* The lock is held. */
static char next_key(struct toy *toy)
{
    if (!toy->count)
        return 0;
    toy->count--;
    return toy->keys[toy->first++ % KEYS];
}

static int on_port(struct mote_vcpu *vcpu, struct mote_access *a, void *user)
{
    struct toy *toy = user;

    (void)vcpu;
    pthread_mutex_lock(&toy->lock);
    if (!a->write) {
        a->data = a->address == TOY_KEY ? (uint8_t)next_key(toy) : ~0ull;
    } else if (a->address == TOY_TEXT) {
        print(a->data, 1);
    } else if (a->address == TOY_PERIOD) {
        set_period(toy, a->data);
    } else if (a->address == TOY_OFF) {
        toy->status = (int)(a->data & 0xff);
    }
    pthread_mutex_unlock(&toy->lock);
    return 0;
}

static int on_memory(struct mote_vcpu *vcpu, struct mote_access *a, void *user)
{
    struct toy *toy = user;

    (void)vcpu;
    pthread_mutex_lock(&toy->lock);
    if (!a->write)
        a->data = a->address == TOY_PAGE + TOY_PAGE_TICKS ? toy->ticks : ~0ull;
    else if (a->address == TOY_PAGE + TOY_PAGE_TEXT)
        print(a->data, a->size);
    pthread_mutex_unlock(&toy->lock);
    return 0;
}

/* ---- the other thread ---- */

static void *wait_for_events(void *user)
{
    struct toy *toy = user;
    bool open = true, room = true;

    while (toy->status < 0) {
        struct pollfd fd[2] = {{.fd = toy->timer, .events = POLLIN},
                               {.fd = open && room ? STDIN_FILENO : -1, .events = POLLIN}};
        uint64_t ticks = 0;
        char key = 0;

        if (poll(fd, 2, room ? -1 : 10) < 0)
            continue;
        if (fd[0].revents && read(toy->timer, &ticks, sizeof(ticks)) < 0)
            ticks = 0;
        if (fd[1].revents && read(STDIN_FILENO, &key, 1) != 1) {
            key = TOY_KEY_END;
            open = false;
        }
        pthread_mutex_lock(&toy->lock);
        toy->ticks += ticks;
        toy->tick_waits |= ticks != 0;
        if (key) {
            toy->keys[(toy->first + toy->count++) % KEYS] = key;
            toy->key_waits = true;
        }
        room = toy->count < KEYS;
        pthread_cond_signal(&toy->event); /* if it waits in a HLT ... */
        pthread_mutex_unlock(&toy->lock);
        mote_vcpu_stop(toy->vcpu); /* ... and if it runs; never too early and never too late */
    }
    return NULL;
}

/* ---- interrupts: the vCPU's thread, before each run ---- */

/* Inject one if the guest takes it now; else ask for the exit that says that it does. */
static int offer_interrupt(struct toy *toy, bool ready)
{
    struct mote_event event = {.kind = MOTE_EVENT_INTR};
    bool tick, key;

    pthread_mutex_lock(&toy->lock);
    tick = toy->tick_waits;
    key = toy->key_waits;
    if (ready && tick)
        toy->tick_waits = false;
    else if (ready && key)
        toy->key_waits = false;
    pthread_mutex_unlock(&toy->lock);
    if (!tick && !key)
        return mote_vcpu_request_window(toy->vcpu, false, false);
    if (ready) {
        event.vector = tick ? TOY_TIMER_VECTOR : TOY_KEY_VECTOR;
        need(mote_vcpu_inject(toy->vcpu, &event), "interrupt");
    }
    return mote_vcpu_request_window(toy->vcpu, !ready || (tick && key), false);
}

static void end(struct toy *toy, const char *why)
{
    fprintf(stderr, "toy: %s\n", why);
    toy->status = 1;
}

static void halt(struct toy *toy, bool can_end)
{
    if (!can_end)
        return end(toy, "the guest halted for ever");
    pthread_mutex_lock(&toy->lock);
    while (!toy->tick_waits && !toy->key_waits)
        pthread_cond_wait(&toy->event, &toy->lock);
    pthread_mutex_unlock(&toy->lock);
}

static void answer(struct toy *toy, const struct mote_exit *exit)
{
    switch (exit->reason) {
    case MOTE_EXIT_IO:
    case MOTE_EXIT_MEMORY: need(mote_vcpu_assist(toy->vcpu), "device"); break;
    case MOTE_EXIT_RDMSR:
    case MOTE_EXIT_WRMSR: need(mote_vcpu_complete_msr(toy->vcpu, 0, true), "MSR"); break;
    case MOTE_EXIT_HALT: halt(toy, exit->intr_ready); break;
    case MOTE_EXIT_NONE:
    case MOTE_EXIT_INTR_WINDOW: break; /* there is an interrupt to be injected */
    case MOTE_EXIT_FAIL: end(toy, exit->u.fail.why); break;
    default: end(toy, mote_exit_name(exit->reason));
    }
}

int main(int argc, char **argv)
{
    struct toy toy = {
        .status = -1, .lock = PTHREAD_MUTEX_INITIALIZER, .event = PTHREAD_COND_INITIALIZER};
    struct mote_exit exit = {0};
    struct mote_machine_config config = {0};
    const struct mote_callbacks devices = {on_port, on_memory, &toy};
    unsigned char *memory =
        mmap(NULL, TOY_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t thread;
    uint64_t entry;

    toy.timer = timerfd_create(CLOCK_MONOTONIC, 0);
    if (argc < 2 || memory == MAP_FAILED || toy.timer < 0) {
        fprintf(stderr, "usage: toy KERNEL [ACCELERATOR]\n");
        return 2;
    }
    need(load_elf(argv[1], memory, TOY_MEMORY, &entry), argv[1]);
    config.accel = argv[2];
    need(mote_machine_create(&toy.machine, &config), "machine");
    need(mote_machine_set_callbacks(toy.machine, &devices), "devices");
    need(mote_hva_register(toy.machine, memory, TOY_MEMORY), "host memory");
    need(mote_gpa_map(toy.machine, 0, memory, TOY_MEMORY, MOTE_RWX), "guest memory");
    need(mote_vcpu_create(&toy.vcpu, toy.machine, 0), "vCPU");
    need(enter_long_mode(toy.vcpu, memory, entry), "long mode");
    need(-pthread_create(&thread, NULL, wait_for_events, &toy), "thread");
    while (toy.status < 0) {
        need(offer_interrupt(&toy, exit.intr_ready), "window");
        need(mote_vcpu_run(toy.vcpu, &exit), "run");
        answer(&toy, &exit);
    }
    set_period(&toy, 1); /* it wakes the other thread, which looks at the status */
    pthread_join(thread, NULL);
    need(mote_machine_destroy(toy.machine), "end");
    return toy.status;
}
