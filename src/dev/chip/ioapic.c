#include "dev/chip/ioapic.h"

#include "base/bits.h"
#include "base/err.h"

#include <errno.h>

#define REG_SELECT 0x00
#define REG_WINDOW 0x10
#define REG_EOI    0x40

#define INDEX_ID      0x00
#define INDEX_VERSION 0x01
#define INDEX_ARB     0x02
#define INDEX_REDIR   0x10

#define VERSION_VALUE (0x20u | (IOAPIC_PINS - 1) << 16)

#define REDIR_LOGICAL    BIT(11)
#define REDIR_STATUS     BIT(12) /* read-only, always idle here */
#define REDIR_REMOTE_IRR BIT(14) /* read-only */
#define REDIR_LEVEL      BIT(15)
#define REDIR_MASKED     BIT(16)
#define REDIR_DEST_SHIFT 56
#define REDIR_BITS       (UINT64_C(0xff) << REDIR_DEST_SHIFT | 0x1ffff)

static struct apic_msg message(uint64_t redir)
{
    return (struct apic_msg){
        .dest = (uint8_t)(redir >> REDIR_DEST_SHIFT),
        .logical = redir & REDIR_LOGICAL,
        .level = redir & REDIR_LEVEL,
        .delivery_mode = redir >> 8 & 7,
        .vector = (uint8_t)redir,
    };
}

/* Send the pin's interrupt, unless it is masked or, as a level, under way already. */
static void pin_deliver(struct ioapic *io, unsigned pin)
{
    uint64_t *redir = &io->s.redir[pin];
    struct apic_msg msg;

    if (*redir & REDIR_MASKED)
        return;
    if (*redir & REDIR_LEVEL) {
        if (*redir & REDIR_REMOTE_IRR)
            return;
        *redir |= REDIR_REMOTE_IRR;
    }
    msg = message(*redir);
    io->ops.deliver(io->ops.user, &msg);
}

static uint32_t window_read(const struct ioapic *io)
{
    unsigned index = io->s.ioregsel, pin = (index - INDEX_REDIR) / 2;

    if (index == INDEX_ID || index == INDEX_ARB)
        return io->s.id << 24;
    if (index == INDEX_VERSION)
        return VERSION_VALUE;
    if (index < INDEX_REDIR || pin >= IOAPIC_PINS)
        return UINT32_MAX;
    return (uint32_t)(io->s.redir[pin] >> (index & 1 ? 32 : 0));
}

/* With the lock held, after every change: the page says what a read would. */
static void show(struct ioapic *io)
{
    if (!io->page)
        return;
    __atomic_store_n(&io->page[REG_SELECT / 4], io->s.ioregsel, __ATOMIC_RELAXED);
    __atomic_store_n(&io->page[REG_WINDOW / 4], window_read(io), __ATOMIC_RELEASE);
}

void ioapic_show(struct ioapic *io, uint32_t *page)
{
    pthread_mutex_lock(&io->lock);
    io->page = page;
    show(io);
    pthread_mutex_unlock(&io->lock);
}

void ioapic_set_pin(struct ioapic *io, unsigned pin, int level)
{
    uint32_t bit;

    if (pin >= IOAPIC_PINS)
        return;
    bit = 1u << pin;
    pthread_mutex_lock(&io->lock);
    if (!level) {
        io->s.irr &= ~bit;
    } else if (!(io->s.irr & bit)) {
        /* An edge on a masked pin is lost (82093AA, 3.2.4, interrupt mask). */
        io->s.irr |= bit;
        pin_deliver(io, pin);
    }
    show(io);
    pthread_mutex_unlock(&io->lock);
}

static bool is_ended(const struct ioapic *io, unsigned pin, uint8_t vector)
{
    return (uint8_t)io->s.redir[pin] == vector && (io->s.redir[pin] & REDIR_REMOTE_IRR);
}

static void tell_ended(struct ioapic *io, uint8_t vector)
{
    uint32_t pins = 0;

    pthread_mutex_lock(&io->lock);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        pins |= (uint32_t)is_ended(io, pin, vector) << pin;
    pthread_mutex_unlock(&io->lock);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        if (pins & 1u << pin)
            io->ops.ended(io->ops.user, pin);
    }
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
    if (io->ops.ended)
        tell_ended(io, vector);
    pthread_mutex_lock(&io->lock);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t *redir = &io->s.redir[pin];

        if (!is_ended(io, pin, vector))
            continue;
        *redir &= ~REDIR_REMOTE_IRR;
        if (io->s.irr & 1u << pin)
            pin_deliver(io, pin);
    }
    show(io);
    pthread_mutex_unlock(&io->lock);
}

static void tell(struct ioapic *io, unsigned pin)
{
    const struct apic_msg msg = message(io->s.redir[pin]);

    if (io->ops.written)
        io->ops.written(io->ops.user, pin, &msg);
}

static void redir_write(struct ioapic *io, unsigned pin, bool high, uint32_t value)
{
    const uint64_t kept = REDIR_STATUS | REDIR_REMOTE_IRR;
    uint64_t old = io->s.redir[pin], new;

    if (high)
        new = (old & UINT32_MAX) | (uint64_t)value << 32;
    else
        new = (old & ~(uint64_t)UINT32_MAX) | value;
    new = (new &REDIR_BITS & ~kept) | (old & kept);
    /* An edge has no remote IRR; drivers clear it by going through edge mode. */
    if (!(new &REDIR_LEVEL))
        new &= ~REDIR_REMOTE_IRR;
    io->s.redir[pin] = new;
    tell(io, pin);
    if ((new &REDIR_LEVEL) && (io->s.irr & 1u << pin))
        pin_deliver(io, pin);
}

static void window_write(struct ioapic *io, uint32_t value)
{
    unsigned index = io->s.ioregsel, pin = (index - INDEX_REDIR) / 2;

    if (index == INDEX_ID)
        io->s.id = value >> 24 & 0xf;
    else if (index >= INDEX_REDIR && pin < IOAPIC_PINS)
        redir_write(io, pin, index & 1, value);
}

static uint64_t mmio_read(void *dev, uint64_t offset, unsigned size)
{
    struct ioapic *io = dev;
    uint64_t value = 0;

    pthread_mutex_lock(&io->lock);
    if (offset == REG_SELECT)
        value = io->s.ioregsel;
    else if (offset == REG_WINDOW)
        value = window_read(io);
    pthread_mutex_unlock(&io->lock);
    return value & mask_bytes(size);
}

/* The window is 32 bits wide; narrower writes to it do nothing. */
static void mmio_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct ioapic *io = dev;

    if (offset == REG_EOI) {
        ioapic_eoi(io, (uint8_t)value);
        return;
    }
    pthread_mutex_lock(&io->lock);
    if (offset == REG_SELECT)
        io->s.ioregsel = (uint8_t)value;
    else if (offset == REG_WINDOW && size >= 4)
        window_write(io, (uint32_t)value);
    show(io);
    pthread_mutex_unlock(&io->lock);
}

const struct dev_region_ops ioapic_mmio_ops = {mmio_read, mmio_write};

void ioapic_init(struct ioapic *io, uint8_t id, const struct ioapic_ops *ops)
{
    memset(io, 0, sizeof(*io));
    pthread_mutex_init(&io->lock, NULL);
    io->ops = *ops;
    io->s.id = id & 0xf;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        io->s.redir[pin] = REDIR_MASKED;
}

void ioapic_destroy(struct ioapic *io)
{
    pthread_mutex_destroy(&io->lock);
}

void ioapic_save(struct ioapic *io, struct ioapic_state *out)
{
    pthread_mutex_lock(&io->lock);
    *out = io->s;
    pthread_mutex_unlock(&io->lock);
}

int ioapic_restore(struct ioapic *io, const struct ioapic_state *in)
{
    bool ok = in->irr < BIT(IOAPIC_PINS) && in->id <= 0xf && in->ioregsel <= 0xff;

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t r = in->redir[pin];

        if ((r & ~REDIR_BITS) || (r & REDIR_STATUS) ||
            ((r & REDIR_REMOTE_IRR) && !(r & REDIR_LEVEL)))
            ok = false;
    }
    if (!ok)
        return err_set(EINVAL, "I/O APIC: the saved state is not one that it can have");
    pthread_mutex_lock(&io->lock);
    io->s = *in;
    io->s.pad = 0;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        tell(io, pin);
    show(io);
    pthread_mutex_unlock(&io->lock);
    return 0;
}
