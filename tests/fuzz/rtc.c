/* The real-time clock, while the host's clock is set now and then. */
#include "dev/chip/rtc.h"

#include "chip.h"

static struct rtc rtc;
static int64_t wall_offset;

static int64_t wall_now(void *user)
{
    return wall_offset + (int64_t)now;
}

static void begin(void)
{
    wall_offset = 0;
}

static void start(void)
{
    rtc_init(&rtc, &LINE, &CLOCK, &timer.timer, &(struct rtc_wall){wall_now, NULL});
    region(RTC_PORT, RTC_PORTS, &rtc_ops, &rtc);
}

static void stop(void)
{
    rtc_destroy(&rtc);
}

/* Every time that the host's clock can have: 146 years before and after 1970. */
static void event(void)
{
    uint8_t scale = (uint8_t)take(1);

    wall_offset = (int64_t)(int32_t)take(4) * (INT64_C(1) << scale % 32);
}

static void save(void *state)
{
    rtc_save(&rtc, state);
}

static int restore(const void *state)
{
    return rtc_restore(&rtc, state);
}

static const struct chip chip = {
    .begin = begin,
    .start = start,
    .stop = stop,
    .event = event,
    .state_size = sizeof(struct rtc_state),
    .save = save,
    .restore = restore,
};
