#include "dev/chip/pic.h"

#include "base/bits.h"
#include "base/err.h"
#include "dev/bytewise.h"

#include <errno.h>

#define CASCADE 2

#define ICW1        0x10
#define ICW1_ICW4   0x01
#define ICW1_SINGLE 0x02
#define ICW4_AEOI   0x02
#define ICW4_SFNM   0x10
#define OCW3        0x08
#define POLL_FOUND  0x80

/* The next of the initialisation command words; 0: initialised. */
enum { INIT_DONE, INIT_ICW2, INIT_ICW3, INIT_ICW4 };

/* The first input of `mask` in the present order of priority, as a distance; 8: none. */
static unsigned first_in(const struct pic_state *c, uint8_t mask)
{
    unsigned distance = 0;

    while (distance < 8 && !(mask & 1u << ((distance + c->priority_add) & 7)))
        distance++;
    return distance;
}

/* The input to report, or -1: the first request above everything in service. */
static int chip_request(const struct pic_state *c, bool master)
{
    unsigned request = first_in(c, c->irr & (uint8_t)~c->imr);
    uint8_t serving = c->isr;

    if (request == 8)
        return -1;
    if (c->special_mask)
        serving &= (uint8_t)~c->imr;
    /* Specially fully nested: the slave may interrupt itself through the master. */
    if (c->special_fully_nested && master)
        serving &= (uint8_t) ~(1u << CASCADE);
    if (request >= first_in(c, serving))
        return -1;
    return (int)((request + c->priority_add) & 7);
}

/* The master's input 2 follows the slave's output; INTR is the master's. */
static void output_update(struct pic *pic)
{
    int level;

    pic->chip[0].irr &= (uint8_t) ~(1u << CASCADE);
    if (chip_request(&pic->chip[1], false) >= 0)
        pic->chip[0].irr |= 1u << CASCADE;
    level = chip_request(&pic->chip[0], true) >= 0;
    if (level != pic->output) {
        pic->output = level;
        dev_irq_set(&pic->intr, level);
    }
}

static void chip_set_input(struct pic_state *c, uint8_t bit, int level)
{
    if (c->elcr & bit) {
        c->irr = level ? c->irr | bit : c->irr & (uint8_t)~bit;
    } else if (level && !(c->last_irr & bit)) {
        c->irr |= bit; /* an edge stays until it is acknowledged */
    }
    c->last_irr = level ? c->last_irr | bit : c->last_irr & (uint8_t)~bit;
}

void pic_set_irq(struct pic *pic, unsigned irq, int level)
{
    if (irq > 15 || irq == CASCADE)
        return;
    pthread_mutex_lock(&pic->lock);
    chip_set_input(&pic->chip[irq / 8], (uint8_t)(1u << (irq & 7)), level);
    output_update(pic);
    pthread_mutex_unlock(&pic->lock);
}

bool pic_pending(struct pic *pic)
{
    bool pending;

    pthread_mutex_lock(&pic->lock);
    pending = pic->output;
    pthread_mutex_unlock(&pic->lock);
    return pending;
}

static void chip_accept(struct pic_state *c, unsigned input)
{
    uint8_t bit = (uint8_t)(1u << input);

    if (!c->auto_eoi)
        c->isr |= bit;
    else if (c->rotate_on_auto_eoi)
        c->priority_add = (input + 1) & 7;
    if (!(c->elcr & bit))
        c->irr &= (uint8_t)~bit;
}

/* Inputs of chip n that went out of service or, with automatic EOI, never got into it. */
static void tell_ended(struct pic *pic, unsigned n, uint8_t inputs)
{
    if (!pic->ended || !inputs)
        return;
    pthread_mutex_unlock(&pic->lock);
    for (unsigned i = 0; i < 8; i++) {
        if (inputs & 1u << i)
            pic->ended(pic->ended_user, 8 * n + i);
    }
    pthread_mutex_lock(&pic->lock);
}

static uint8_t ended_at_once(const struct pic_state *c, int input)
{
    return c->auto_eoi && input >= 0 ? (uint8_t)(1u << input) : 0;
}

uint8_t pic_acknowledge(struct pic *pic)
{
    struct pic_state *master = &pic->chip[0], *slave = &pic->chip[1];
    int input, slave_input = -1;
    uint8_t vector;

    pthread_mutex_lock(&pic->lock);
    input = chip_request(master, true);
    if (input == CASCADE) {
        slave_input = chip_request(slave, false); /* there is one: output_update */
        chip_accept(slave, (unsigned)slave_input);
        chip_accept(master, CASCADE);
        vector = slave->irq_base + (uint8_t)slave_input;
    } else if (input >= 0) {
        chip_accept(master, (unsigned)input);
        vector = master->irq_base + (uint8_t)input;
    } else {
        vector = master->irq_base + 7; /* spurious: nothing gets into service */
    }
    tell_ended(pic, 0, ended_at_once(master, input));
    tell_ended(pic, 1, ended_at_once(slave, slave_input));
    output_update(pic);
    pthread_mutex_unlock(&pic->lock);
    return vector;
}

static void icw1_write(struct pic_state *c, uint8_t value)
{
    c->init_state = INIT_ICW2;
    c->init4 = value & (ICW1_ICW4 | ICW1_SINGLE);
    c->irr &= c->elcr; /* edges need a new transition; levels are still there */
    c->imr = c->isr = 0;
    c->priority_add = c->special_mask = c->read_isr = c->poll = 0;
    if (!(value & ICW1_ICW4))
        c->auto_eoi = c->special_fully_nested = 0;
    c->rotate_on_auto_eoi = 0;
}

/* End of interrupt and rotation (figure 8). */
static void ocw2_write(struct pic_state *c, uint8_t value)
{
    unsigned level = value & 7, first;
    uint8_t serving = c->isr;

    if (c->special_mask)
        serving &= (uint8_t)~c->imr;
    switch (value >> 5) {
    case 0: /* rotate in automatic EOI mode: clear, set */
    case 4: c->rotate_on_auto_eoi = value >> 7; break;
    case 1: /* non-specific EOI, with 5: and rotate */
    case 5:
        first = first_in(c, serving);
        if (first == 8)
            break;
        level = (first + c->priority_add) & 7;
        c->isr &= (uint8_t) ~(1u << level);
        if (value & 0x80)
            c->priority_add = (level + 1) & 7;
        break;
    case 3: c->isr &= (uint8_t) ~(1u << level); break;
    case 7: c->isr &= (uint8_t) ~(1u << level); /* fall through */
    case 6: c->priority_add = (level + 1) & 7; break;
    default: break; /* 2: no operation */
    }
}

static void ocw3_write(struct pic_state *c, uint8_t value)
{
    if (value & 0x40)
        c->special_mask = value >> 5 & 1;
    c->poll = value >> 2 & 1;
    if ((value & 0x02) && !c->poll)
        c->read_isr = value & 1;
}

static void data_write(struct pic_state *c, uint8_t value)
{
    switch (c->init_state) {
    case INIT_ICW2:
        c->irq_base = value & 0xf8;
        if (!(c->init4 & ICW1_SINGLE))
            c->init_state = INIT_ICW3;
        else
            c->init_state = c->init4 & ICW1_ICW4 ? INIT_ICW4 : INIT_DONE;
        break;
    case INIT_ICW3: /* how the chips are wired is fixed */
        c->init_state = c->init4 & ICW1_ICW4 ? INIT_ICW4 : INIT_DONE;
        break;
    case INIT_ICW4:
        c->special_fully_nested = !!(value & ICW4_SFNM);
        c->auto_eoi = !!(value & ICW4_AEOI);
        c->init_state = INIT_DONE;
        break;
    default: c->imr = value; break;
    }
}

static void chip_write(struct pic *pic, unsigned n, unsigned reg, uint8_t value)
{
    struct pic_state *c = &pic->chip[n];
    uint8_t serving;

    pthread_mutex_lock(&pic->lock);
    serving = c->isr;
    if (reg & 1)
        data_write(c, value);
    else if (value & ICW1)
        icw1_write(c, value);
    else if (value & OCW3)
        ocw3_write(c, value);
    else
        ocw2_write(c, value);
    tell_ended(pic, n, serving & (uint8_t)~c->isr);
    output_update(pic);
    pthread_mutex_unlock(&pic->lock);
}

/* After a poll command the next read acknowledges (data sheet, "Poll command"). */
static uint8_t poll_read(struct pic_state *c, bool master)
{
    int input = chip_request(c, master);

    c->poll = 0;
    if (input < 0)
        return 0;
    chip_accept(c, (unsigned)input);
    return POLL_FOUND | (uint8_t)input;
}

static uint8_t chip_read(struct pic *pic, unsigned n, unsigned reg)
{
    struct pic_state *c = &pic->chip[n];
    uint8_t value;

    pthread_mutex_lock(&pic->lock);
    if (c->poll)
        value = poll_read(c, n == 0);
    else if (reg & 1)
        value = c->imr;
    else
        value = c->read_isr ? c->isr : c->irr;
    output_update(pic);
    pthread_mutex_unlock(&pic->lock);
    return value;
}

static uint8_t master_read(void *dev, unsigned reg)
{
    return chip_read(dev, 0, reg);
}

static void master_write(void *dev, unsigned reg, uint8_t value)
{
    chip_write(dev, 0, reg, value);
}

static uint8_t slave_read(void *dev, unsigned reg)
{
    return chip_read(dev, 1, reg);
}

static void slave_write(void *dev, unsigned reg, uint8_t value)
{
    chip_write(dev, 1, reg, value);
}

static uint8_t elcr_read(void *dev, unsigned reg)
{
    struct pic *pic = dev;
    uint8_t value;

    pthread_mutex_lock(&pic->lock);
    value = pic->chip[reg & 1].elcr;
    pthread_mutex_unlock(&pic->lock);
    return value;
}

/* An input made a level follows its line from now on; made an edge, it waits for one. */
static void elcr_write(void *dev, unsigned reg, uint8_t value)
{
    struct pic *pic = dev;
    struct pic_state *c = &pic->chip[reg & 1];
    uint8_t changed;

    pthread_mutex_lock(&pic->lock);
    value &= c->elcr_mask;
    changed = c->elcr ^ value;
    c->elcr = value;
    c->irr = (uint8_t)((c->irr & ~changed) | (c->last_irr & changed & value));
    output_update(pic);
    pthread_mutex_unlock(&pic->lock);
}

#define DEFINE_REGION(name)                                                                        \
    static uint64_t name##_region_read(void *dev, uint64_t offset, unsigned size)                  \
    {                                                                                              \
        return bytewise_read(name##_read, dev, offset, size);                                      \
    }                                                                                              \
    static void name##_region_write(void *dev, uint64_t offset, unsigned size, uint64_t value)     \
    {                                                                                              \
        bytewise_write(name##_write, dev, offset, size, value);                                    \
    }                                                                                              \
    const struct dev_region_ops pic_##name##_ops = {name##_region_read, name##_region_write};
DEFINE_REGION(master)
DEFINE_REGION(slave)
DEFINE_REGION(elcr)
#undef DEFINE_REGION

/* The timer, keyboard and cascade, and the RTC and coprocessor, are always edges. */
static const uint8_t elcr_masks[2] = {0xf8, 0xde};

void pic_init(struct pic *pic, const struct dev_irq *intr)
{
    memset(pic, 0, sizeof(*pic));
    pthread_mutex_init(&pic->lock, NULL);
    pic->intr = *intr;
    for (unsigned i = 0; i < 2; i++)
        pic->chip[i].elcr_mask = elcr_masks[i];
}

void pic_on_ended(struct pic *pic, void (*ended)(void *user, unsigned irq), void *user)
{
    pic->ended = ended;
    pic->ended_user = user;
}

void pic_destroy(struct pic *pic)
{
    pthread_mutex_destroy(&pic->lock);
}

void pic_save(struct pic *pic, struct pic_state out[2])
{
    pthread_mutex_lock(&pic->lock);
    memcpy(out, pic->chip, sizeof(pic->chip));
    pthread_mutex_unlock(&pic->lock);
}

static bool chip_state_valid(const struct pic_state *in, uint8_t elcr_mask)
{
    return !(in->irq_base & 7) && in->priority_add < 8 && in->read_isr < 2 && in->poll < 2 &&
           in->special_mask < 2 && in->auto_eoi < 2 && in->rotate_on_auto_eoi < 2 &&
           in->special_fully_nested < 2 && in->init_state <= INIT_ICW4 && in->init4 < 4 &&
           !(in->elcr & ~elcr_mask);
}

int pic_restore(struct pic *pic, const struct pic_state in[2])
{
    for (unsigned i = 0; i < 2; i++) {
        if (!chip_state_valid(&in[i], elcr_masks[i]))
            return err_set(EINVAL,
                           "interrupt controller %u: the saved state is not one that it "
                           "can have",
                           i);
    }
    pthread_mutex_lock(&pic->lock);
    memcpy(pic->chip, in, sizeof(pic->chip));
    for (unsigned i = 0; i < 2; i++)
        pic->chip[i].elcr_mask = elcr_masks[i];
    output_update(pic);
    /* The receiver may have been replaced too: say it even when nothing changed. */
    dev_irq_set(&pic->intr, pic->output);
    pthread_mutex_unlock(&pic->lock);
    return 0;
}
