#include "dev/chip/rtc.h"

#include "base/bits.h"
#include "base/err.h"
#include "dev/bytewise.h"

#include <errno.h>
#include <time.h>

#define NS_PER_S   1000000000
#define DAY        86400
#define NEVER      INT64_MAX
#define CRYSTAL_HZ 32768

enum {
    SECOND = 0x00,
    SECOND_ALARM = 0x01,
    MINUTE = 0x02,
    MINUTE_ALARM = 0x03,
    HOUR = 0x04,
    HOUR_ALARM = 0x05,
    WEEKDAY = 0x06,
    DAY_OF_MONTH = 0x07,
    MONTH = 0x08,
    YEAR = 0x09,
    REG_A = 0x0a,
    REG_B = 0x0b,
    REG_C = 0x0c,
    REG_D = 0x0d,
    CENTURY = 0x32,
};

#define A_UIP    0x80
#define A_RATE   0x0f
#define B_SET    0x80
#define B_PIE    0x40
#define B_AIE    0x20
#define B_UIE    0x10
#define B_BINARY 0x04
#define B_24H    0x02
#define C_IRQ    0x80
#define C_FLAGS  0x70 /* in the same places as B's enables */
#define C_PF     0x40
#define C_AF     0x20
#define C_UF     0x10
#define D_VALID  0x80

#define HOUR_PM        0x80
#define ALARM_ANY      0xc0 /* both high bits: any value matches */
#define UIP_NS         244000
#define ALARM_CHECK_NS (UINT64_C(60) * NS_PER_S) /* the wall clock may be set */

/* A time of the guest's. */
struct moment {
    int64_t s;
    uint32_t ns;
};

static struct moment wall_moment(const struct rtc *rtc)
{
    int64_t wall = rtc->wall.now(rtc->wall.user), s = wall / NS_PER_S, ns = wall % NS_PER_S;

    if (ns < 0) {
        ns += NS_PER_S;
        s--;
    }
    return (struct moment){s, (uint32_t)ns};
}

static struct moment guest_moment(const struct rtc *rtc)
{
    struct moment m = wall_moment(rtc);

    m.s += rtc->s.offset_s;
    m.ns += rtc->s.offset_ns;
    if (m.ns >= NS_PER_S) {
        m.ns -= NS_PER_S;
        m.s++;
    }
    return m;
}

/* Let the guest's second `s` begin now. */
static void guest_set(struct rtc *rtc, int64_t s)
{
    struct moment wall = wall_moment(rtc);

    rtc->s.offset_s = s - wall.s - (wall.ns != 0);
    rtc->s.offset_ns = wall.ns ? NS_PER_S - wall.ns : 0;
    rtc->s.last_second = s;
}

static bool is_set_mode(const struct rtc *rtc)
{
    return rtc->s.cmos[REG_B] & B_SET;
}

static unsigned decode(const struct rtc *rtc, uint8_t value)
{
    return rtc->s.cmos[REG_B] & B_BINARY ? value : (value >> 4) * 10u + (value & 15u);
}

static uint8_t encode(const struct rtc *rtc, unsigned value)
{
    return (uint8_t)(rtc->s.cmos[REG_B] & B_BINARY ? value : value / 10 << 4 | value % 10);
}

static unsigned decode_hour(const struct rtc *rtc, uint8_t value)
{
    if (rtc->s.cmos[REG_B] & B_24H)
        return decode(rtc, value);
    return decode(rtc, value & 0x7f) % 12 + (value & HOUR_PM ? 12 : 0);
}

static uint8_t encode_hour(const struct rtc *rtc, unsigned hour)
{
    if (rtc->s.cmos[REG_B] & B_24H)
        return encode(rtc, hour);
    return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

/* Write the guest's time into its registers. */
static void time_show(struct rtc *rtc, int64_t s)
{
    uint8_t *cmos = rtc->s.cmos;
    time_t when = (time_t)s;
    struct tm tm;
    unsigned year;

    gmtime_r(&when, &tm);
    year = (unsigned)(((tm.tm_year + 1900L) % 10000 + 10000) % 10000);
    cmos[SECOND] = encode(rtc, (unsigned)tm.tm_sec);
    cmos[MINUTE] = encode(rtc, (unsigned)tm.tm_min);
    cmos[HOUR] = encode_hour(rtc, (unsigned)tm.tm_hour);
    cmos[WEEKDAY] = encode(rtc, (unsigned)tm.tm_wday + 1);
    cmos[DAY_OF_MONTH] = encode(rtc, (unsigned)tm.tm_mday);
    cmos[MONTH] = encode(rtc, (unsigned)tm.tm_mon + 1);
    cmos[YEAR] = encode(rtc, year % 100);
    cmos[CENTURY] = encode(rtc, year / 100);
}

/* The time in the registers; fields out of range carry over. */
static int64_t time_read(const struct rtc *rtc)
{
    const uint8_t *cmos = rtc->s.cmos;
    struct tm tm = {
        .tm_sec = (int)decode(rtc, cmos[SECOND]),
        .tm_min = (int)decode(rtc, cmos[MINUTE]),
        .tm_hour = (int)decode_hour(rtc, cmos[HOUR]),
        .tm_mday = (int)decode(rtc, cmos[DAY_OF_MONTH]),
        .tm_mon = (int)decode(rtc, cmos[MONTH]) - 1,
        .tm_year = (int)(decode(rtc, cmos[CENTURY]) * 100 + decode(rtc, cmos[YEAR])) - 1900,
    };

    return timegm(&tm);
}

/* The first second after `after` that the alarm matches. */
static int64_t alarm_next(const struct rtc *rtc, int64_t after)
{
    const uint8_t *cmos = rtc->s.cmos;
    uint8_t hour = cmos[HOUR_ALARM], minute = cmos[MINUTE_ALARM], second = cmos[SECOND_ALARM];
    int64_t s = after + 1;

    /* Each step skips an hour, a minute or a second that does not match. */
    for (unsigned step = 0; step < 24 + 60 + 60 + 3; step++) {
        unsigned of_day = (unsigned)((s % DAY + DAY) % DAY);

        if (hour < ALARM_ANY && decode_hour(rtc, hour) != of_day / 3600)
            s += 3600 - of_day % 3600;
        else if (minute < ALARM_ANY && decode(rtc, minute) != of_day / 60 % 60)
            s += 60 - of_day % 60;
        else if (second < ALARM_ANY && decode(rtc, second) != of_day % 60)
            s++;
        else
            return s;
    }
    return NEVER;
}

/* Register A's rate as crystal ticks, log2 (table 5); 0: off. */
static unsigned rate_shift(const struct rtc *rtc)
{
    unsigned rate = rtc->s.cmos[REG_A] & A_RATE;

    if (rate == 0)
        return 0;
    return rate <= 2 ? rate + 6 : rate - 1;
}

static uint64_t crystal_ticks(const struct rtc *rtc)
{
    return (uint64_t)((unsigned __int128)dev_clock_now(&rtc->clock) * CRYSTAL_HZ / NS_PER_S);
}

static void flags_update(struct rtc *rtc, const struct moment *now)
{
    unsigned shift = rate_shift(rtc);
    uint64_t period = crystal_ticks(rtc) >> shift;
    uint8_t *c = &rtc->s.cmos[REG_C];

    if (shift && period != rtc->period)
        *c |= C_PF;
    rtc->period = period;
    if (is_set_mode(rtc))
        return; /* updates are held */
    if (now->s > rtc->s.last_second) {
        *c |= C_UF;
        if (alarm_next(rtc, rtc->s.last_second) <= now->s)
            *c |= C_AF;
    }
    rtc->s.last_second = now->s;
}

/* When does something happen that the guest asked to be told and has not been told? */
static uint64_t next_event(const struct rtc *rtc, const struct moment *m)
{
    uint8_t wanted = rtc->s.cmos[REG_B] & (uint8_t)~rtc->s.cmos[REG_C] & C_FLAGS;
    uint64_t now = dev_clock_now(&rtc->clock), deadline = DEV_TIMER_OFF, at;
    unsigned shift = rate_shift(rtc);

    if ((wanted & B_PIE) && shift) {
        unsigned __int128 ticks = (unsigned __int128)(rtc->period + 1) << shift;

        deadline = (uint64_t)((ticks * NS_PER_S + CRYSTAL_HZ - 1) / CRYSTAL_HZ);
    }
    if (is_set_mode(rtc))
        return deadline;
    if (wanted & B_UIE)
        deadline = MIN(deadline, now + NS_PER_S - m->ns);
    if (wanted & B_AIE) {
        int64_t alarm = alarm_next(rtc, m->s);

        at = now + ALARM_CHECK_NS;
        if (alarm <= m->s + 60)
            at = now + (uint64_t)(alarm - m->s) * NS_PER_S - m->ns;
        deadline = MIN(deadline, at);
    }
    return deadline;
}

/* Bring flags, line and timer up to date. */
static void rtc_update(struct rtc *rtc)
{
    struct moment now = guest_moment(rtc);
    uint8_t *c = &rtc->s.cmos[REG_C];

    flags_update(rtc, &now);
    *c &= C_FLAGS;
    if (*c & rtc->s.cmos[REG_B])
        *c |= C_IRQ;
    dev_irq_set(&rtc->irq, *c & C_IRQ ? 1 : 0);
    rtc->timer->arm(rtc->timer, next_event(rtc, &now));
}

static void rtc_fire(void *dev)
{
    struct rtc *rtc = dev;

    pthread_mutex_lock(&rtc->lock);
    rtc_update(rtc);
    pthread_mutex_unlock(&rtc->lock);
}

static bool is_time(unsigned index)
{
    return index == CENTURY ||
           (index <= YEAR && index != SECOND_ALARM && index != MINUTE_ALARM && index != HOUR_ALARM);
}

static uint8_t cmos_read(struct rtc *rtc, unsigned index)
{
    struct moment now;
    uint8_t value;

    if (index == REG_C) {
        rtc_update(rtc);
        value = rtc->s.cmos[REG_C];
        rtc->s.cmos[REG_C] = 0;
        dev_irq_set(&rtc->irq, 0); /* an edge, if the next event is due already */
        rtc_update(rtc);
        return value;
    }
    now = guest_moment(rtc);
    if (is_time(index) && !is_set_mode(rtc))
        time_show(rtc, now.s);
    value = rtc->s.cmos[index];
    if (index == REG_A && !is_set_mode(rtc) && now.ns >= NS_PER_S - UIP_NS)
        value |= A_UIP; /* an update is near (figure 16) */
    return value;
}

static void b_write(struct rtc *rtc, uint8_t value)
{
    bool was_set = is_set_mode(rtc);

    if (!was_set && (value & B_SET))
        time_show(rtc, guest_moment(rtc).s);
    if (value & B_SET)
        value &= (uint8_t)~B_UIE;
    rtc->s.cmos[REG_B] = value;
    if (was_set && !(value & B_SET))
        guest_set(rtc, time_read(rtc));
}

static void cmos_write(struct rtc *rtc, unsigned index, uint8_t value)
{
    switch (index) {
    case REG_A:
        rtc->s.cmos[REG_A] = value & (uint8_t)~A_UIP;
        rtc->period = crystal_ticks(rtc) >> rate_shift(rtc);
        break;
    case REG_B: b_write(rtc, value); break;
    case REG_C:
    case REG_D: return; /* read-only */
    default:
        if (is_time(index) && !is_set_mode(rtc)) {
            time_show(rtc, guest_moment(rtc).s);
            rtc->s.cmos[index] = value;
            guest_set(rtc, time_read(rtc));
        }
        rtc->s.cmos[index] = value;
    }
}

static uint8_t rtc_read(void *dev, unsigned reg)
{
    struct rtc *rtc = dev;
    uint8_t value;

    if (!(reg & 1))
        return 0xff; /* the index is write-only */
    pthread_mutex_lock(&rtc->lock);
    value = cmos_read(rtc, rtc->s.index);
    pthread_mutex_unlock(&rtc->lock);
    return value;
}

static void rtc_write(void *dev, unsigned reg, uint8_t value)
{
    struct rtc *rtc = dev;

    pthread_mutex_lock(&rtc->lock);
    if (reg & 1) {
        rtc_update(rtc); /* what was due before the change */
        cmos_write(rtc, rtc->s.index, value);
        rtc_update(rtc);
    } else {
        rtc->s.index = value & (RTC_CMOS - 1);
    }
    pthread_mutex_unlock(&rtc->lock);
}

static uint64_t rtc_region_read(void *dev, uint64_t offset, unsigned size)
{
    return bytewise_read(rtc_read, dev, offset, size);
}

static void rtc_region_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    bytewise_write(rtc_write, dev, offset, size, value);
}

const struct dev_region_ops rtc_ops = {rtc_region_read, rtc_region_write};

void rtc_init(struct rtc *rtc, const struct dev_irq *irq, const struct dev_clock *clock,
              struct dev_timer *timer, const struct rtc_wall *wall)
{
    memset(rtc, 0, sizeof(*rtc));
    pthread_mutex_init(&rtc->lock, NULL);
    rtc->irq = *irq;
    rtc->clock = *clock;
    rtc->timer = timer;
    rtc->wall = *wall;
    timer->fire = rtc_fire;
    timer->dev = rtc;
    rtc->s.cmos[REG_A] = 0x26; /* 32768 Hz, 1024 Hz */
    rtc->s.cmos[REG_B] = B_24H;
    rtc->s.cmos[REG_D] = D_VALID;
    rtc->s.last_second = guest_moment(rtc).s;
    rtc->period = crystal_ticks(rtc) >> rate_shift(rtc);
}

void rtc_destroy(struct rtc *rtc)
{
    pthread_mutex_destroy(&rtc->lock);
}

void rtc_save(struct rtc *rtc, struct rtc_state *out)
{
    pthread_mutex_lock(&rtc->lock);
    rtc_update(rtc);
    if (!is_set_mode(rtc))
        time_show(rtc, guest_moment(rtc).s);
    *out = rtc->s;
    pthread_mutex_unlock(&rtc->lock);
}

int rtc_restore(struct rtc *rtc, const struct rtc_state *in)
{
    const int64_t limit = INT64_C(1) << 40;

    if (in->index >= RTC_CMOS || in->offset_ns >= NS_PER_S || in->offset_s <= -limit ||
        in->offset_s >= limit || in->last_second <= -2 * limit || in->last_second >= 2 * limit ||
        (in->cmos[REG_A] & A_UIP) || (in->cmos[REG_C] & ~(C_FLAGS | C_IRQ)) ||
        in->cmos[REG_D] != D_VALID)
        return err_set(EINVAL, "real-time clock: the saved state is not one that it can have");
    pthread_mutex_lock(&rtc->lock);
    rtc->s = *in;
    memset(rtc->s.pad, 0, sizeof(rtc->s.pad));
    rtc->period = crystal_ticks(rtc) >> rate_shift(rtc);
    rtc->timer->arm(rtc->timer,
                    in->cmos[REG_B] & C_FLAGS ? dev_clock_now(&rtc->clock) : DEV_TIMER_OFF);
    pthread_mutex_unlock(&rtc->lock);
    return 0;
}
