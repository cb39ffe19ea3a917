/* PICs, IOAPIC and PIT inside KVM, wired as the board's own are, and their state. */
#include "accel/kvm/kvm.h"

#include "base/bits.h"
#include "base/clock.h"

#define PIT_IDLE UINT64_MAX /* dev/chip/pit.h */

/* A counter that was never programmed: KVM's mode, and the one that mote's chip shows. */
#define KVM_MODE_NONE 0xff
#define MODE_NONE     3

#define SPEAKER_GATE 1
#define SPEAKER_DATA 2

/*
 * Unlike mote's, KVM's PIT makes up for ticks that the guest had no time for. To tell it not
 * to (KVM_REINJECT_CONTROL) waits for a grace period before the guest has begun.
 */
int kvm_irqchip_create(struct kvm_machine *m)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY}; /* port 0x61 */
    int err = KVM_CALL(m->vm, KVM_CREATE_IRQCHIP, 0);

    if (err >= 0)
        err = KVM_CALL(m->vm, KVM_CREATE_PIT2, &pit);
    return err < 0 ? err : kvm_routes_set(m);
}

/* ---- PICs and IOAPIC ---- */

/* X(ours, KVM's) */
/* clang-format off */
#define PIC_FIELDS(X)                                                                              \
    X(irr, irr) X(imr, imr) X(isr, isr) X(last_irr, last_irr) X(irq_base, irq_base)                \
    X(priority_add, priority_add) X(read_isr, read_reg_select) X(poll, poll)                       \
    X(special_mask, special_mask) X(auto_eoi, auto_eoi)                                            \
    X(rotate_on_auto_eoi, rotate_on_auto_eoi)                                                      \
    X(special_fully_nested, special_fully_nested_mode) X(init_state, init_state) X(init4, init4)   \
    X(elcr, elcr) X(elcr_mask, elcr_mask)
/* clang-format on */

static void pic_from(struct pic_state *out, const struct kvm_pic_state *in)
{
#define X(ours, theirs) out->ours = in->theirs;
    PIC_FIELDS(X)
#undef X
}

static void pic_to(struct kvm_pic_state *out, const struct pic_state *in)
{
#define X(ours, theirs) out->theirs = in->ours;
    PIC_FIELDS(X)
#undef X
}

static void ioapic_from(struct ioapic_state *out, const struct kvm_ioapic_state *in)
{
    *out = (struct ioapic_state){.irr = in->irr, .id = in->id, .ioregsel = in->ioregsel};
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        out->redir[pin] = in->redirtbl[pin].bits;
}

/* *out says where it is. */
static void ioapic_to(struct kvm_ioapic_state *out, const struct ioapic_state *in)
{
    out->irr = in->irr;
    out->id = in->id;
    out->ioregsel = in->ioregsel;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        out->redirtbl[pin].bits = in->redir[pin];
}

/* ---- PIT ---- */

/* Of a counter, what both have by the same name and in the same sense. */
/* clang-format off */
#define PIT_FIELDS(X)                                                                              \
    X(latched_count) X(count_latched) X(status_latched) X(status) X(read_state) X(write_state)     \
    X(write_latch) X(rw_mode) X(bcd) X(gate)
/* clang-format on */

/* A low gate holds these counters still, and mote keeps how long they have counted. */
static bool is_held(uint8_t mode, uint8_t gate)
{
    return !gate && (mode == 0 || mode == 4);
}

#define X(field) .field = in->field,
static void counter_from(struct pit_channel_state *out, const struct kvm_pit_channel_state *in,
                         uint64_t now)
{
    uint64_t age = clock_ns(CLOCK_MONOTONIC) - (uint64_t)in->count_load_time;

    *out = (struct pit_channel_state){
        .count = in->count ? in->count : 0x10000, .mode = in->mode, PIT_FIELDS(X)};
    if (in->mode == KVM_MODE_NONE) {
        out->mode = MODE_NONE;
        out->loaded_ns = PIT_IDLE;
    } else {
        age = MIN(age, now); /* the machine's clock has no time before 0 */
        out->loaded_ns = is_held(in->mode, in->gate) ? age : now - age;
    }
}

/* KVM knows no programmed counter without a count: it counts the longest one from now. */
static void counter_to(struct kvm_pit_channel_state *out, const struct pit_channel_state *in,
                       uint64_t now)
{
    uint64_t age = in->loaded_ns;

    *out = (struct kvm_pit_channel_state){
        .count = in->count,
        .mode = in->loaded_ns == PIT_IDLE && !in->rw_mode ? KVM_MODE_NONE : in->mode,
        PIT_FIELDS(X)};
    if (in->loaded_ns == PIT_IDLE)
        age = 0;
    else if (!is_held(in->mode, in->gate))
        age = now - in->loaded_ns;
    out->count_load_time = (int64_t)(clock_ns(CLOCK_MONOTONIC) - age);
}

#undef X

static void pit_from(struct pit_state *out, const struct kvm_pit_state2 *in, uint64_t now)
{
    memset(out, 0, sizeof(*out));
    for (unsigned n = 0; n < 3; n++)
        counter_from(&out->channel[n], &in->channels[n], now);
    out->speaker = (in->channels[2].gate ? SPEAKER_GATE : 0) |
                   (in->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON ? SPEAKER_DATA : 0);
}

static void pit_to(struct kvm_pit_state2 *out, const struct pit_state *in, uint64_t now)
{
    memset(out, 0, sizeof(*out));
    for (unsigned n = 0; n < 3; n++)
        counter_to(&out->channels[n], &in->channel[n], now);
    out->flags = in->speaker & SPEAKER_DATA ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0;
}

/* ---- all ---- */

static int get_chip(struct kvm_machine *m, unsigned id, struct kvm_irqchip *chip)
{
    *chip = (struct kvm_irqchip){.chip_id = id};
    return MIN(KVM_CALL(m->vm, KVM_GET_IRQCHIP, chip), 0);
}

int kvm_get_irqchip(struct machine *machine, uint64_t now, struct irqchip_state *out)
{
    struct kvm_machine *m = kvm_machine(machine);
    struct kvm_pit_state2 pit;
    struct kvm_irqchip chip;
    int err = 0;

    for (unsigned n = 0; n < 2 && !err; n++) {
        err = get_chip(m, n, &chip);
        if (!err)
            pic_from(&out->pic[n], &chip.chip.pic);
    }
    if (!err)
        err = get_chip(m, KVM_IRQCHIP_IOAPIC, &chip);
    if (err)
        return err;
    ioapic_from(&out->ioapic, &chip.chip.ioapic);
    err = KVM_CALL(m->vm, KVM_GET_PIT2, &pit);
    if (err >= 0)
        pit_from(&out->pit, &pit, now);
    return MIN(err, 0);
}

int kvm_set_irqchip(struct machine *machine, uint64_t now, const struct irqchip_state *in)
{
    struct kvm_machine *m = kvm_machine(machine);
    struct kvm_pit_state2 pit;
    struct kvm_irqchip chip;
    int err = 0;

    for (unsigned n = 0; n < 2 && err >= 0; n++) {
        memset(&chip, 0, sizeof(chip));
        chip.chip_id = n;
        pic_to(&chip.chip.pic, &in->pic[n]);
        err = KVM_CALL(m->vm, KVM_SET_IRQCHIP, &chip);
    }
    if (err >= 0)
        err = get_chip(m, KVM_IRQCHIP_IOAPIC, &chip);
    if (err < 0)
        return err;
    ioapic_to(&chip.chip.ioapic, &in->ioapic);
    err = KVM_CALL(m->vm, KVM_SET_IRQCHIP, &chip);
    pit_to(&pit, &in->pit, now);
    if (err >= 0)
        err = KVM_CALL(m->vm, KVM_SET_PIT2, &pit);
    return MIN(err, 0);
}
