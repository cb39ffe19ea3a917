/*
 * What the chips' fuzz targets share. The input is a sequence of operations on
 * one chip that has just been made: register accesses over its whole regions
 * and across their ends, time that passes, events from outside, its state saved,
 * restored, and restored with some bytes changed. Beyond what sanitizers see:
 *
 * - an interrupt line is driven to 0 or 1;
 * - a timer that fires makes progress, and so seldom that no guest can bury the
 *   host in timers;
 * - a restored state is the saved one; one that is refused changes nothing;
 * - no lock is taken twice: a deadlock ends in libFuzzer's time-out.
 */
#ifndef MOTE_FUZZ_CHIP_H
#define MOTE_FUZZ_CHIP_H

#include "base/err.h"
#include "dev/dev.h"
#include "fake.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STATE_MAX 2048

/* What a target says of its chip. The functions may take() operands from the input. */
struct chip {
    void (*begin)(void); /* a new input: forget what was outside the chip; may be NULL */
    void (*start)(void); /* make the chip and put its regions on the bus */
    void (*stop)(void);
    void (*event)(void); /* something from outside; NULL: nothing can happen */
    size_t state_size;   /* at most STATE_MAX; 0: it has none */
    void (*save)(void *state);
    int (*restore)(const void *state);
};
static const struct chip chip;

static struct dev_bus bus;
static struct fake_timer timer;
static uint64_t now;

static struct {
    const uint8_t *at;
    size_t left;
} input;

static inline void check(bool holds)
{
    if (!holds)
        abort();
}

/* The next bytes of the input as a number, as many as are left. */
static inline uint64_t take(unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes && input.left; i++, input.left--)
        value |= (uint64_t)*input.at++ << (8 * i);
    return value;
}

static inline void line_set(void *user, unsigned line, int level)
{
    check(level == 0 || level == 1);
}

#define LINE  ((struct dev_irq){line_set, NULL, 0})
#define CLOCK FAKE_CLOCK(&now)

static inline void region(uint64_t base, uint64_t size, const struct dev_region_ops *ops, void *dev)
{
    check(!dev_bus_add(&bus, base, size, ops, dev));
}

/* For callbacks that come without the chip's lock: then its registers can be read. */
static inline void read_back(void)
{
    if (bus.count)
        dev_bus_read(&bus, bus.region[0].base, 1);
}

static inline void power_up(void)
{
    timer = FAKE_TIMER;
    dev_bus_init(&bus, "fuzz");
    chip.start();
}

/* An access of 1 to 8 bytes in or around one of the regions. */
static inline void access_registers(bool write)
{
    unsigned where = (unsigned)take(1), size = (where >> 4) % 8 + 1;
    const struct dev_region *r = &bus.region[where % 16 % bus.count];
    uint64_t addr = r->base + take(r->size > 0x80 ? 2 : 1) % (r->size + 8) - 4;

    if (write)
        dev_bus_write(&bus, addr, size, take(size));
    else
        check((dev_bus_read(&bus, addr, size) & ~mask_bytes(size)) == 0);
}

/* The shortest period that a timer may have is 20 us; at least two timers' worth is allowed. */
#ifndef TIMERS
#define TIMERS 2
#endif
#define FIRES_MAX(ns) (2 * TIMERS + TIMERS * (ns) / 20000)

/* Time passes, and the timer fires when it is due, or (late) after all of it. */
static inline void pass(uint64_t ns, bool late)
{
    uint64_t to = now + ns, fired = 0;

    if (late)
        now = to;
    while (timer.deadline <= to) {
        check(fired++ < FIRES_MAX(late ? 0 : ns));
        now = MAX(now, timer.deadline);
        timer.deadline = DEV_TIMER_OFF;
        timer.timer.fire(timer.timer.dev);
    }
    now = to;
}

static inline void check_same(const uint8_t *before, const uint8_t *after)
{
    for (size_t i = 0; i < chip.state_size; i++) {
        if (before[i] != after[i])
            fprintf(stderr, "state byte %zu: was 0x%02x, is 0x%02x\n", i, before[i], after[i]);
    }
    check(!memcmp(before, after, chip.state_size));
}

/* The timer had begun to fire when the chip set it anew. */
static inline void fire_early(void)
{
    if (timer.timer.fire)
        timer.timer.fire(timer.timer.dev);
}

/* The state goes into a new chip. */
static inline void round_trip(void)
{
    uint8_t before[STATE_MAX], after[STATE_MAX];

    chip.save(before);
    chip.stop();
    power_up();
    if (chip.restore(before)) {
        fprintf(stderr, "its own state is refused: %s\n", err_text());
        abort();
    }
    chip.save(after);
    check_same(before, after);
}

static inline void restore_changed(unsigned count)
{
    uint8_t before[STATE_MAX], changed[STATE_MAX], after[STATE_MAX];

    chip.save(before);
    memcpy(changed, before, chip.state_size);
    for (; count; count--) {
        size_t at = take(2) % chip.state_size;

        changed[at] = (uint8_t)take(1);
    }
    if (!chip.restore(changed)) {
        round_trip(); /* whatever it is now, it can be saved and restored */
        return;
    }
    chip.save(after);
    check_same(before, after);
}

static inline void operate(uint8_t op)
{
    unsigned variant = op >> 3;

    switch (op & 7) {
    case 0:
    case 1: access_registers(true); break;
    case 2: access_registers(false); break;
    case 3:
        if (variant >= 24)
            fire_early();
        pass(take(2) << variant % 6, false);
        break;
    case 4: pass(take(2) << variant, true); break;
    case 5:
        if (chip.event)
            chip.event();
        break;
    case 6:
        if (chip.state_size)
            round_trip();
        break;
    case 7:
        if (chip.state_size)
            restore_changed(1 + variant % 4);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input.at = data;
    input.left = size;
    now = take(1) << 34;
    if (chip.begin)
        chip.begin();
    power_up();
    while (input.left)
        operate((uint8_t)take(1));
    chip.stop();
    return 0;
}

#endif
