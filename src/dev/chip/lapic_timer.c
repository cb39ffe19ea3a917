/*
 * The APIC timer (10.5.4): one-shot and periodic by a 1 GHz input that DCR
 * divides, or a deadline on the time-stamp counter. The count is computed when
 * it is asked for; one dev_timer stands for the next expiry.
 */
#include "base/bits.h"
#include "dev/chip/lapic_internal.h"

/* A period shorter than this is stretched to it, so that a guest cannot bury the host in timers. */
#define PERIOD_MIN_NS 20000

#define NS_PER_MS 1000000

static uint32_t timer_mode(const struct lapic *l)
{
    return l->lvt[LAPIC_LVT_TIMER] & LVT_TIMER_MODE;
}

static uint64_t period_ns(const struct lapic_timer *t)
{
    return (uint64_t)t->initial << lapic_divide_shift(t->divide);
}

static void arm(struct lapic *l, uint64_t deadline)
{
    l->timer.deadline = deadline;
    l->dev_timer->arm(l->dev_timer, deadline);
}

static void stop(struct lapic *l)
{
    l->timer.initial = 0;
    l->timer.tsc_deadline = 0;
    arm(l, DEV_TIMER_OFF);
}

/* Arm for the TSC deadline; true when it has passed already. */
static bool arm_tsc(struct lapic *l)
{
    uint64_t tsc = l->ops.tsc_now(l->ops.user), now = dev_clock_now(&l->clock);
    unsigned __int128 ns;

    if (tsc >= l->timer.tsc_deadline)
        return true;
    ns = ((unsigned __int128)(l->timer.tsc_deadline - tsc) * NS_PER_MS + l->tsc_khz - 1) /
         l->tsc_khz;
    arm(l, ns >= DEV_TIMER_OFF - now ? DEV_TIMER_OFF - 1 : now + (uint64_t)ns);
    return false;
}

void lapic_timer_reset(struct lapic *l)
{
    pthread_mutex_lock(&l->lock);
    stop(l);
    l->timer.divide = 0;
    pthread_mutex_unlock(&l->lock);
}

void lapic_timer_set_initial(struct lapic *l, uint32_t count)
{
    pthread_mutex_lock(&l->lock);
    if (timer_mode(l) != TIMER_DEADLINE) {
        l->timer.initial = count;
        arm(l, count ? dev_clock_now(&l->clock) + period_ns(&l->timer) : DEV_TIMER_OFF);
    }
    pthread_mutex_unlock(&l->lock);
}

static uint64_t time_left(struct lapic *l)
{
    uint64_t now = dev_clock_now(&l->clock), deadline = l->timer.deadline;

    if (deadline == DEV_TIMER_OFF)
        return 0;
    return deadline > now ? deadline - now : 1; /* due, not yet fired */
}

uint32_t lapic_timer_current(struct lapic *l)
{
    uint64_t left = 0;

    pthread_mutex_lock(&l->lock);
    if (timer_mode(l) != TIMER_DEADLINE)
        left = time_left(l) >> lapic_divide_shift(l->timer.divide);
    pthread_mutex_unlock(&l->lock);
    return (uint32_t)MIN(left, (uint64_t)UINT32_MAX);
}

/* The count goes on from where it is, at the new rate. */
void lapic_timer_set_divide(struct lapic *l, uint32_t dcr)
{
    pthread_mutex_lock(&l->lock);
    if (timer_mode(l) != TIMER_DEADLINE && l->timer.deadline != DEV_TIMER_OFF) {
        uint64_t count = time_left(l) >> lapic_divide_shift(l->timer.divide);

        arm(l, dev_clock_now(&l->clock) + (count << lapic_divide_shift(dcr)));
    }
    l->timer.divide = dcr & DCR_BITS;
    pthread_mutex_unlock(&l->lock);
}

void lapic_timer_set_mode(struct lapic *l, uint32_t lvt)
{
    pthread_mutex_lock(&l->lock);
    /* Going to or from the deadline mode disarms (10.5.4.1). */
    if ((timer_mode(l) == TIMER_DEADLINE) != ((lvt & LVT_TIMER_MODE) == TIMER_DEADLINE))
        stop(l);
    l->lvt[LAPIC_LVT_TIMER] = lvt;
    pthread_mutex_unlock(&l->lock);
}

void lapic_timer_set_deadline(struct lapic *l, uint64_t tsc)
{
    pthread_mutex_lock(&l->lock);
    if (timer_mode(l) == TIMER_DEADLINE) {
        stop(l);
        l->timer.tsc_deadline = tsc;
        if (tsc && arm_tsc(l)) {
            l->timer.tsc_deadline = 0;
            lapic_lvt_deliver(l, LAPIC_LVT_TIMER);
        }
    }
    pthread_mutex_unlock(&l->lock);
}

/* After an expiry at l->timer.deadline; periods that were missed are one interrupt. */
static void arm_next_period(struct lapic *l, uint64_t now)
{
    uint64_t period = MAX(period_ns(&l->timer), (uint64_t)PERIOD_MIN_NS);
    uint64_t missed = (now - l->timer.deadline) / period;

    arm(l, l->timer.deadline + (missed + 1) * period);
}

/* Has the timer expired? A call may be early: the guest may just have set a later time. */
static bool timer_expire(struct lapic *l)
{
    uint64_t now = dev_clock_now(&l->clock);

    if (l->timer.deadline == DEV_TIMER_OFF || now < l->timer.deadline) {
        arm(l, l->timer.deadline);
        return false;
    }
    if (timer_mode(l) == TIMER_DEADLINE) {
        if (!arm_tsc(l))
            return false;
        stop(l);
    } else if (timer_mode(l) == TIMER_PERIODIC && l->timer.initial) {
        arm_next_period(l, now);
    } else {
        arm(l, DEV_TIMER_OFF);
    }
    return true;
}

void lapic_timer_fire(void *lapic)
{
    struct lapic *l = lapic;

    pthread_mutex_lock(&l->lock);
    if (timer_expire(l))
        lapic_lvt_deliver(l, LAPIC_LVT_TIMER);
    pthread_mutex_unlock(&l->lock);
}

void lapic_timer_start(struct lapic *l, uint32_t initial, uint32_t dcr, uint64_t left,
                       uint64_t tsc_deadline)
{
    pthread_mutex_lock(&l->lock);
    stop(l);
    l->timer.initial = initial;
    l->timer.divide = dcr & DCR_BITS;
    if (timer_mode(l) == TIMER_DEADLINE) {
        l->timer.tsc_deadline = tsc_deadline;
        if (tsc_deadline && arm_tsc(l))
            arm(l, dev_clock_now(&l->clock)); /* fires at once */
    } else if (left) {
        arm(l, dev_clock_now(&l->clock) + left);
    }
    pthread_mutex_unlock(&l->lock);
}

struct lapic_timer lapic_timer_get(struct lapic *l)
{
    struct lapic_timer copy;

    pthread_mutex_lock(&l->lock);
    copy = l->timer;
    pthread_mutex_unlock(&l->lock);
    return copy;
}

uint64_t lapic_timer_left(struct lapic *l)
{
    uint64_t left = 0;

    pthread_mutex_lock(&l->lock);
    if (timer_mode(l) != TIMER_DEADLINE)
        left = time_left(l);
    pthread_mutex_unlock(&l->lock);
    return left;
}
