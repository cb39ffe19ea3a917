#include "board/cpu_timer.h"

static void arm(struct dev_timer *dev, uint64_t deadline)
{
    struct cpu_timer *t = dev->host;

    t->deadline = host_clock_deadline(t->clock, deadline);
}

static void ring(void *user)
{
    struct cpu_timer *t = user;

    atomic_store(&t->rung, true);
    t->wake(t->user);
}

int cpu_timer_init(struct cpu_timer *t, struct loop *loop, struct host_clock *clock)
{
    t->dev.arm = arm;
    t->dev.host = t;
    t->clock = clock;
    t->deadline = t->set = LOOP_TIMER_OFF;
    return loop_timer_init(loop, &t->loop, ring, t);
}

void cpu_timer_destroy(struct cpu_timer *t, struct loop *loop)
{
    loop_timer_destroy(loop, &t->loop);
}

void cpu_timer_look(struct cpu_timer *t)
{
    if (!atomic_load_explicit(&t->rung, memory_order_relaxed) || !atomic_exchange(&t->rung, false))
        return;
    t->set = LOOP_TIMER_OFF;
    t->dev.fire(t->dev.dev);
}

static void set(struct cpu_timer *t, uint64_t deadline)
{
    t->set = deadline;
    loop_timer_arm(&t->loop, deadline);
}

void cpu_timer_run(struct cpu_timer *t)
{
    if (t->deadline < t->set)
        set(t, t->deadline);
}

uint64_t cpu_timer_sleep(struct cpu_timer *t)
{
    if (t->set != LOOP_TIMER_OFF)
        set(t, LOOP_TIMER_OFF);
    return t->deadline;
}

void cpu_timer_slept(struct cpu_timer *t)
{
    t->dev.fire(t->dev.dev);
}
