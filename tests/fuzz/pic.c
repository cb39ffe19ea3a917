/* The pair of 8259A. */
#include "dev/chip/pic.h"

#include "chip.h"

static struct pic pic;
static int intr;

static void set_intr(void *user, unsigned line, int level)
{
    line_set(user, line, level);
    intr = level;
}

static void start(void)
{
    pic_init(&pic, &(struct dev_irq){set_intr, NULL, 0});
    intr = 0;
    region(PIC_MASTER_PORT, 2, &pic_master_ops, &pic);
    region(PIC_SLAVE_PORT, 2, &pic_slave_ops, &pic);
    region(PIC_ELCR_PORT, 2, &pic_elcr_ops, &pic);
}

static void stop(void)
{
    pic_destroy(&pic);
}

static void event(void)
{
    uint8_t what = (uint8_t)take(1);

    if (what & 0x40)
        pic_acknowledge(&pic);
    else
        pic_set_irq(&pic, what & 0x1f, what >> 7);
    check(pic_pending(&pic) == intr);
}

static void save(void *state)
{
    pic_save(&pic, state);
}

static int restore(const void *state)
{
    return pic_restore(&pic, state);
}

static const struct chip chip = {
    .start = start,
    .stop = stop,
    .event = event,
    .state_size = 2 * sizeof(struct pic_state),
    .save = save,
    .restore = restore,
};
