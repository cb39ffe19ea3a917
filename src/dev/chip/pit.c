#include "dev/chip/pit.h"

#include "base/bits.h"
#include "base/err.h"
#include "dev/bytewise.h"

#include <errno.h>

#define NS_PER_S 1000000000u

/* A shorter period is stretched to it, so that a guest cannot bury the host in timers. */
#define PERIOD_MIN_NS 20000

/* Where a 16-bit transfer stands: in the sequence of reads, writes or a latched count. */
enum { RW_NONE, RW_LOW, RW_HIGH, RW_WORD_LOW, RW_WORD_HIGH };

#define CONTROL_READ_BACK 3
#define STATUS_OUT        0x80
#define STATUS_NULL       0x40

#define SPEAKER_GATE    0x01
#define SPEAKER_BITS    0x03
#define SPEAKER_REFRESH 0x10
#define SPEAKER_OUT     0x20
#define REFRESH_NS      15085

static uint64_t ticks_of(uint64_t ns)
{
    return (uint64_t)((unsigned __int128)ns * PIT_HZ / NS_PER_S);
}

/* Rounded up, so that at that time ticks_of has reached `ticks`. */
static uint64_t ns_of(uint64_t ticks)
{
    return (uint64_t)(((unsigned __int128)ticks * NS_PER_S + PIT_HZ - 1) / PIT_HZ);
}

static bool gate_pauses(const struct pit_channel_state *c)
{
    return c->mode == 0 || c->mode == 4;
}

static bool is_periodic(const struct pit_channel_state *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* Clock ticks since the count was loaded. */
static uint64_t elapsed(const struct pit_channel_state *c, uint64_t now)
{
    if (c->loaded_ns == PIT_IDLE)
        return 0;
    if (!c->gate && gate_pauses(c))
        return ticks_of(c->loaded_ns);
    return ticks_of(now - c->loaded_ns);
}

/* Is the counter waiting, with its output as after the control word? */
static bool is_idle(const struct pit_channel_state *c)
{
    return c->loaded_ns == PIT_IDLE || (is_periodic(c) && !c->gate);
}

static uint32_t to_register(const struct pit_channel_state *c, uint32_t count)
{
    if (!c->bcd)
        return count & 0xffff;
    count %= 10000;
    return count / 1000 << 12 | count / 100 % 10 << 8 | count / 10 % 10 << 4 | count % 10;
}

static uint32_t from_register(const struct pit_channel_state *c, uint32_t value)
{
    if (!c->bcd)
        return value ? value : 0x10000;
    value =
        (value >> 12 & 15) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 + (value & 15);
    value %= 10000; /* digits above nine */
    return value ? value : 10000;
}

/* The counting element as a read shows it. */
static uint16_t current_count(const struct pit_channel_state *c, uint64_t now)
{
    uint64_t ticks = elapsed(c, now), left;
    uint32_t wrap = c->bcd ? 10000 : 0x10000;

    if (is_idle(c))
        left = c->count;
    else if (c->mode == 2)
        left = c->count - ticks % c->count;
    else if (c->mode == 3) /* counts by two, twice a period */
        left = (c->count & ~1u) - 2 * (ticks % ((c->count + 1) / 2));
    else
        left = c->count + wrap - ticks % wrap;
    return (uint16_t)to_register(c, (uint32_t)(left % wrap));
}

static bool output(const struct pit_channel_state *c, uint64_t now)
{
    uint64_t ticks = elapsed(c, now);

    if (is_idle(c))
        return c->mode != 0;
    switch (c->mode) {
    case 0:
    case 1: return ticks >= c->count;
    case 2: return ticks % c->count != c->count - 1u || c->count == 1;
    case 3: return ticks % c->count < (c->count + 1) / 2;
    default: return ticks != c->count; /* one tick low at the end */
    }
}

/* When does counter 0's output rise after `now`? Its gate is always high. */
static uint64_t next_edge(const struct pit_channel_state *c, uint64_t now)
{
    uint64_t ticks = elapsed(c, now), at;

    if (c->loaded_ns == PIT_IDLE)
        return DEV_TIMER_OFF;
    if (is_periodic(c))
        at = (ticks / c->count + 1) * c->count;
    else
        at = c->count + (c->mode >= 4);
    if (at <= ticks)
        return DEV_TIMER_OFF;
    return c->loaded_ns + ns_of(at);
}

static void timer_update(struct pit *pit, uint64_t now, uint64_t not_before)
{
    pit->edge = next_edge(&pit->s.channel[0], now);
    if (pit->edge != DEV_TIMER_OFF)
        pit->edge = MAX(pit->edge, not_before);
    pit->timer->arm(pit->timer, pit->edge);
}

static void pit_fire(void *dev)
{
    struct pit *pit = dev;
    uint64_t now;

    pthread_mutex_lock(&pit->lock);
    now = dev_clock_now(&pit->clock);
    if (now < pit->edge) { /* programmed anew meanwhile */
        pit->timer->arm(pit->timer, pit->edge);
    } else {
        dev_irq_set(&pit->irq, 0);
        dev_irq_set(&pit->irq, 1);
        timer_update(pit, dev_clock_now(&pit->clock), now + PERIOD_MIN_NS);
    }
    pthread_mutex_unlock(&pit->lock);
}

/*
 * Counter 0 was programmed at `now`: its output then, and when it rises next. By a
 * later reading of the clock a short count could be over, and its edge lost.
 */
static void counter0_update(struct pit *pit, uint64_t now)
{
    dev_irq_set(&pit->irq, output(&pit->s.channel[0], now));
    timer_update(pit, now, 0);
}

static void count_load(struct pit_channel_state *c, uint32_t value, uint64_t now)
{
    c->count = from_register(c, value);
    if (c->mode == 1 || c->mode == 5) /* these start at a rising gate */
        return;
    c->loaded_ns = !c->gate && gate_pauses(c) ? 0 : now;
}

static void count_write(struct pit *pit, unsigned n, uint8_t value)
{
    struct pit_channel_state *c = &pit->s.channel[n];
    uint64_t now = dev_clock_now(&pit->clock);

    switch (c->write_state) {
    case RW_LOW: count_load(c, value, now); break;
    case RW_HIGH: count_load(c, (uint32_t)value << 8, now); break;
    case RW_WORD_LOW:
        c->write_latch = value;
        c->write_state = RW_WORD_HIGH;
        if (c->mode == 0)
            c->loaded_ns = PIT_IDLE; /* the first byte stops the counting */
        break;
    case RW_WORD_HIGH:
        c->write_state = RW_WORD_LOW;
        count_load(c, c->write_latch | (uint32_t)value << 8, now);
        break;
    default: return; /* no control word yet */
    }
    if (n == 0)
        counter0_update(pit, now);
}

static void count_latch(struct pit_channel_state *c, uint64_t now)
{
    if (c->count_latched) /* stays until it is read */
        return;
    c->latched_count = current_count(c, now);
    c->count_latched = c->rw_mode;
}

static void status_latch(struct pit_channel_state *c, uint64_t now)
{
    if (c->status_latched)
        return;
    c->status = (uint8_t)(c->rw_mode << 4 | c->mode << 1 | c->bcd);
    if (output(c, now))
        c->status |= STATUS_OUT;
    if (c->loaded_ns == PIT_IDLE)
        c->status |= STATUS_NULL;
    c->status_latched = 1;
}

static void control_write(struct pit *pit, uint8_t value)
{
    unsigned n = value >> 6, rw = value >> 4 & 3, mode = value >> 1 & 7;
    uint64_t now = dev_clock_now(&pit->clock);
    struct pit_channel_state *c;

    if (n == CONTROL_READ_BACK) {
        for (n = 0; n < 3; n++) {
            if (!(value & 2u << n))
                continue;
            if (!(value & 0x20))
                count_latch(&pit->s.channel[n], now);
            if (!(value & 0x10))
                status_latch(&pit->s.channel[n], now);
        }
        return;
    }
    c = &pit->s.channel[n];
    if (rw == 0) {
        count_latch(c, now);
        return;
    }
    c->rw_mode = c->read_state = c->write_state = (uint8_t)rw;
    c->mode = (uint8_t)(mode > 5 ? mode - 4 : mode); /* 6 and 7 are 2 and 3 */
    c->bcd = value & 1;
    c->count_latched = c->status_latched = 0;
    c->count = from_register(c, 0);
    c->loaded_ns = PIT_IDLE;
    if (n == 0)
        counter0_update(pit, now);
}

/* One byte of `count` by *state, which moves on where two belong together. */
static uint8_t count_byte(uint16_t count, uint8_t *state)
{
    switch (*state) {
    case RW_HIGH: return (uint8_t)(count >> 8);
    case RW_WORD_LOW: *state = RW_WORD_HIGH; return (uint8_t)count;
    case RW_WORD_HIGH: *state = RW_WORD_LOW; return (uint8_t)(count >> 8);
    default: return (uint8_t)count;
    }
}

static uint8_t count_read(struct pit_channel_state *c, uint64_t now)
{
    uint8_t value;

    if (c->status_latched) {
        c->status_latched = 0;
        return c->status;
    }
    if (!c->count_latched)
        return count_byte(current_count(c, now), &c->read_state);
    value = count_byte(c->latched_count, &c->count_latched);
    if (c->count_latched != RW_WORD_HIGH) /* all of it was read */
        c->count_latched = 0;
    return value;
}

static uint8_t pit_read(void *dev, unsigned reg)
{
    struct pit *pit = dev;
    uint8_t value;

    reg &= 3;
    if (reg == 3)
        return 0xff; /* the control word is write-only */
    pthread_mutex_lock(&pit->lock);
    value = count_read(&pit->s.channel[reg], dev_clock_now(&pit->clock));
    pthread_mutex_unlock(&pit->lock);
    return value;
}

static void pit_write(void *dev, unsigned reg, uint8_t value)
{
    struct pit *pit = dev;

    reg &= 3;
    pthread_mutex_lock(&pit->lock);
    if (reg == 3)
        control_write(pit, value);
    else
        count_write(pit, reg, value);
    pthread_mutex_unlock(&pit->lock);
}

/* What a gate does differs by mode (table "Gate pin operations"). */
static void gate_set(struct pit_channel_state *c, uint8_t gate, uint64_t now)
{
    bool armed = c->loaded_ns != PIT_IDLE;

    if (c->gate == gate)
        return;
    c->gate = gate;
    if (gate_pauses(c)) {
        if (armed)
            c->loaded_ns = now - c->loaded_ns; /* a time into an age, and back */
    } else if (gate && (armed || c->mode == 1 || c->mode == 5)) {
        c->loaded_ns = now;
    }
}

static uint8_t speaker_read(void *dev, unsigned reg)
{
    struct pit *pit = dev;
    uint64_t now;
    uint8_t value;

    pthread_mutex_lock(&pit->lock);
    now = dev_clock_now(&pit->clock);
    value = pit->s.speaker;
    if (now / REFRESH_NS & 1)
        value |= SPEAKER_REFRESH;
    if (output(&pit->s.channel[2], now))
        value |= SPEAKER_OUT;
    pthread_mutex_unlock(&pit->lock);
    return value;
}

static void speaker_write(void *dev, unsigned reg, uint8_t value)
{
    struct pit *pit = dev;

    pthread_mutex_lock(&pit->lock);
    pit->s.speaker = value & SPEAKER_BITS;
    gate_set(&pit->s.channel[2], value & SPEAKER_GATE, dev_clock_now(&pit->clock));
    pthread_mutex_unlock(&pit->lock);
}

static uint64_t pit_region_read(void *dev, uint64_t offset, unsigned size)
{
    return bytewise_read(pit_read, dev, offset, size);
}

static void pit_region_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    bytewise_write(pit_write, dev, offset, size, value);
}

static uint64_t speaker_region_read(void *dev, uint64_t offset, unsigned size)
{
    return bytewise_read(speaker_read, dev, offset, size);
}

static void speaker_region_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    speaker_write(dev, 0, (uint8_t)value);
}

const struct dev_region_ops pit_ops = {pit_region_read, pit_region_write};
const struct dev_region_ops pit_speaker_ops = {speaker_region_read, speaker_region_write};

void pit_init(struct pit *pit, const struct dev_irq *irq, const struct dev_clock *clock,
              struct dev_timer *timer)
{
    memset(pit, 0, sizeof(*pit));
    pthread_mutex_init(&pit->lock, NULL);
    pit->irq = *irq;
    pit->clock = *clock;
    pit->timer = timer;
    timer->fire = pit_fire;
    timer->dev = pit;
    pit->edge = DEV_TIMER_OFF;
    for (unsigned i = 0; i < 3; i++) {
        pit->s.channel[i].count = 0x10000;
        pit->s.channel[i].gate = i < 2;
        pit->s.channel[i].mode = 3;
        pit->s.channel[i].loaded_ns = PIT_IDLE;
    }
}

void pit_destroy(struct pit *pit)
{
    pthread_mutex_destroy(&pit->lock);
}

void pit_save(struct pit *pit, struct pit_state *out)
{
    pthread_mutex_lock(&pit->lock);
    *out = pit->s;
    pthread_mutex_unlock(&pit->lock);
}

static bool channel_valid(const struct pit_channel_state *c, unsigned n, uint64_t now)
{
    return c->count >= 1 && c->count <= (c->bcd ? 10000 : 0x10000) && c->mode <= 5 && c->bcd < 2 &&
           c->gate < 2 && (n == 2 || c->gate) && c->rw_mode <= 3 && c->read_state <= RW_WORD_HIGH &&
           c->write_state <= RW_WORD_HIGH && c->count_latched <= RW_WORD_HIGH &&
           c->status_latched < 2 && (c->loaded_ns == PIT_IDLE || c->loaded_ns <= now);
}

int pit_restore(struct pit *pit, const struct pit_state *in)
{
    uint64_t now = dev_clock_now(&pit->clock);

    for (unsigned n = 0; n < 3; n++) {
        if (!channel_valid(&in->channel[n], n, now))
            return err_set(EINVAL, "timer counter %u: the saved state is not one that it can have",
                           n);
    }
    pthread_mutex_lock(&pit->lock);
    pit->s = *in;
    pit->s.speaker &= SPEAKER_BITS;
    memset(pit->s.pad, 0, sizeof(pit->s.pad));
    timer_update(pit, now, 0);
    pthread_mutex_unlock(&pit->lock);
    return 0;
}
