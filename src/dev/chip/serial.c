#include "dev/chip/serial.h"

#include "base/bits.h"
#include "base/err.h"
#include "dev/bytewise.h"

#include <errno.h>

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RDA  0x01
#define IER_THRE 0x02
#define IER_RLS  0x04
#define IER_MSI  0x08

#define IIR_NONE    0x01
#define IIR_MSI     0x00
#define IIR_THRE    0x02
#define IIR_RDA     0x04
#define IIR_RLS     0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFOS   0xc0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_KEPT     0xc9

#define LCR_DLAB 0x80

#define MCR_DTR  0x01
#define MCR_RTS  0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10

#define LSR_DR   0x01
#define LSR_OE   0x02
#define LSR_THRE 0x20
#define LSR_TEMT 0x40

#define MSR_DELTAS 0x0f
#define MSR_TERI   0x04
#define MSR_CTS    0x10
#define MSR_DSR    0x20
#define MSR_RI     0x40
#define MSR_DCD    0x80

static unsigned rx_capacity(const struct serial_state *s)
{
    return s->fcr & FCR_ENABLE ? SERIAL_FIFO : 1;
}

static unsigned rx_trigger(const struct serial_state *s)
{
    static const uint8_t level[4] = {1, 4, 8, 14};

    return s->fcr & FCR_ENABLE ? level[s->fcr >> 6] : 1;
}

/* The pending interrupt of the highest priority (8.5 table IV). */
static uint8_t iir_source(const struct serial_state *s)
{
    if ((s->ier & IER_RLS) && (s->lsr & LSR_OE))
        return IIR_RLS;
    if ((s->ier & IER_RDA) && s->rx_count)
        return s->rx_count >= rx_trigger(s) ? IIR_RDA : IIR_TIMEOUT;
    if ((s->ier & IER_THRE) && s->thre_pending)
        return IIR_THRE;
    if ((s->ier & IER_MSI) && (s->msr & MSR_DELTAS))
        return IIR_MSI;
    return IIR_NONE;
}

/*
 * A PC connects the interrupt to the bus through OUT2, which the loopback mode
 * takes off the pin (8.6).
 */
static void irq_update(struct serial *s)
{
    bool gate = (s->s.mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
    int level = gate && iir_source(&s->s) != IIR_NONE;

    if (level != s->irq_level) {
        s->irq_level = level;
        dev_irq_set(&s->irq, level);
    }
}

/* The modem's four lines as MSR shows them: the real ones, or MCR's in loopback. */
static uint8_t modem_lines(uint8_t mcr)
{
    uint8_t lines = 0;

    if (!(mcr & MCR_LOOP))
        return MSR_DCD | MSR_DSR | MSR_CTS;
    if (mcr & MCR_RTS)
        lines |= MSR_CTS;
    if (mcr & MCR_DTR)
        lines |= MSR_DSR;
    if (mcr & MCR_OUT1)
        lines |= MSR_RI;
    if (mcr & MCR_OUT2)
        lines |= MSR_DCD;
    return lines;
}

static void mcr_write(struct serial_state *s, uint8_t value)
{
    uint8_t old = s->msr & 0xf0, lines, deltas;

    s->mcr = value & 0x1f;
    lines = modem_lines(s->mcr);
    deltas = (uint8_t)((old ^ lines) >> 4);
    if (lines & MSR_RI)
        deltas &= (uint8_t)~MSR_TERI; /* trailing edge only */
    s->msr = (uint8_t)(lines | (s->msr & MSR_DELTAS) | deltas);
}

static void fcr_write(struct serial_state *s, uint8_t value)
{
    /* Switching the FIFOs on or off empties them; other bits need bit 0 (8.4). */
    if (((s->fcr ^ value) & FCR_ENABLE) || (value & FCR_CLEAR_RX))
        s->rx_count = 0;
    s->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

static void rx_put(struct serial_state *s, uint8_t value)
{
    if (s->rx_count < rx_capacity(s)) {
        s->rx[s->rx_count++] = value;
        return;
    }
    /* A full FIFO keeps its content; a lone receiver buffer is overwritten (8.3). */
    s->lsr |= LSR_OE;
    if (!(s->fcr & FCR_ENABLE))
        s->rx[0] = value;
}

static uint8_t rx_get(struct serial_state *s)
{
    uint8_t value = s->rx[0];

    if (s->rx_count == 0)
        return 0;
    s->rx_count--;
    memmove(s->rx, s->rx + 1, s->rx_count);
    return value;
}

static void thr_write(struct serial *s, uint8_t value)
{
    if (s->s.mcr & MCR_LOOP)
        rx_put(&s->s, value);
    else
        s->backend.write(s->backend.user, &value, 1);
    s->s.thre_pending = 1;
}

static uint8_t iir_read(struct serial_state *s)
{
    uint8_t source = iir_source(s);

    if (source == IIR_THRE)
        s->thre_pending = 0;
    return source | (s->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t lsr_read(struct serial_state *s)
{
    uint8_t value = s->lsr | LSR_THRE | LSR_TEMT | (s->rx_count ? LSR_DR : 0);

    s->lsr = 0;
    return value;
}

static uint8_t reg_get(struct serial_state *s, unsigned reg)
{
    bool dlab = s->lcr & LCR_DLAB;
    uint8_t value;

    switch (reg) {
    case REG_DATA: return dlab ? (uint8_t)s->divisor : rx_get(s);
    case REG_IER: return dlab ? (uint8_t)(s->divisor >> 8) : s->ier;
    case REG_IIR_FCR: return iir_read(s);
    case REG_LCR: return s->lcr;
    case REG_MCR: return s->mcr;
    case REG_LSR: return lsr_read(s);
    case REG_MSR:
        value = s->msr;
        s->msr &= (uint8_t)~MSR_DELTAS;
        return value;
    default: return s->scr;
    }
}

static void ier_write(struct serial_state *s, uint8_t value)
{
    /* Enabling the interrupt while the transmitter is empty raises it. */
    if ((value & IER_THRE) && !(s->ier & IER_THRE))
        s->thre_pending = 1;
    s->ier = value & 0x0f;
}

static void reg_put(struct serial *s, unsigned reg, uint8_t value)
{
    struct serial_state *st = &s->s;
    bool dlab = st->lcr & LCR_DLAB;

    switch (reg) {
    case REG_DATA:
        if (dlab)
            st->divisor = (uint16_t)((st->divisor & 0xff00) | value);
        else
            thr_write(s, value);
        break;
    case REG_IER:
        if (dlab)
            st->divisor = (uint16_t)((st->divisor & 0x00ff) | value << 8);
        else
            ier_write(st, value);
        break;
    case REG_IIR_FCR: fcr_write(st, value); break;
    case REG_LCR: st->lcr = value; break;
    case REG_MCR: mcr_write(st, value); break;
    case REG_SCR: st->scr = value; break;
    default: break; /* LSR and MSR: writing is for factory tests only */
    }
}

/*
 * A sender that obeys RTS: what comes before the guest's driver listens would
 * be lost when it clears or switches on the FIFOs. A driver that takes receive
 * interrupts out of the FIFO listens too, even if it leaves RTS alone; and so does
 * a guest that does nothing but look whether something came.
 */
#define POLLS_LISTEN 4

static bool listens(const struct serial *s)
{
    bool takes_interrupts = (s->s.ier & IER_RDA) && (s->s.fcr & FCR_ENABLE);
    bool wants = (s->s.mcr & MCR_RTS) || takes_interrupts || s->polls >= POLLS_LISTEN;

    return wants && !(s->s.mcr & MCR_LOOP);
}

/* Was someone told to wait, and is all the room there? Then tell, outside the lock. */
static bool starved_take(struct serial *s)
{
    bool tell = s->starved && s->s.rx_count == 0 && listens(s);

    if (tell)
        s->starved = false;
    return tell && s->backend.rx_ready;
}

static uint8_t serial_read(void *dev, unsigned reg)
{
    struct serial *s = dev;
    uint8_t value;
    bool tell;

    pthread_mutex_lock(&s->lock);
    if ((reg & 7) != REG_LSR || s->s.rx_count)
        s->polls = 0;
    else if (s->polls < POLLS_LISTEN)
        s->polls++;
    value = reg_get(&s->s, reg & 7);
    irq_update(s);
    tell = starved_take(s);
    pthread_mutex_unlock(&s->lock);
    if (tell)
        s->backend.rx_ready(s->backend.user);
    return value;
}

static void serial_write(void *dev, unsigned reg, uint8_t value)
{
    struct serial *s = dev;
    bool tell;

    pthread_mutex_lock(&s->lock);
    s->polls = 0;
    reg_put(s, reg & 7, value);
    irq_update(s);
    tell = starved_take(s);
    pthread_mutex_unlock(&s->lock);
    if (tell)
        s->backend.rx_ready(s->backend.user);
}

static uint64_t serial_region_read(void *dev, uint64_t offset, unsigned size)
{
    return bytewise_read(serial_read, dev, offset, size);
}

static void serial_region_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    bytewise_write(serial_write, dev, offset, size, value);
}

const struct dev_region_ops serial_ops = {serial_region_read, serial_region_write};

void serial_init(struct serial *s, const struct dev_irq *irq, const struct serial_backend *backend)
{
    memset(s, 0, sizeof(*s));
    pthread_mutex_init(&s->lock, NULL);
    s->irq = *irq;
    s->backend = *backend;
    s->s.msr = modem_lines(0);
    s->s.divisor = 12; /* 9600 baud from 1.8432 MHz */
}

void serial_destroy(struct serial *s)
{
    pthread_mutex_destroy(&s->lock);
}

size_t serial_receive(struct serial *s, const uint8_t *buf, size_t len)
{
    size_t n = 0;

    pthread_mutex_lock(&s->lock);
    if (listens(s)) {
        while (n < len && s->s.rx_count < rx_capacity(&s->s))
            rx_put(&s->s, buf[n++]);
    }
    s->starved = n < len;
    irq_update(s);
    pthread_mutex_unlock(&s->lock);
    return n;
}

void serial_save(struct serial *s, struct serial_state *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->s;
    pthread_mutex_unlock(&s->lock);
    memset(out->rx + out->rx_count, 0, SERIAL_FIFO - out->rx_count);
}

int serial_restore(struct serial *s, const struct serial_state *in)
{
    bool fcr_ok = in->fcr & FCR_ENABLE ? !(in->fcr & ~FCR_KEPT) : in->fcr == 0, tell;

    if (!fcr_ok || in->ier > 0x0f || in->mcr > 0x1f || (in->lsr & ~LSR_OE) ||
        (in->msr & 0xf0) != modem_lines(in->mcr) || in->thre_pending > 1 ||
        in->rx_count > rx_capacity(in))
        return err_set(EINVAL, "serial port: the saved state is not one that it can have");
    pthread_mutex_lock(&s->lock);
    s->s = *in;
    memset(s->s.pad, 0, sizeof(s->s.pad));
    s->irq_level = (in->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2 && iir_source(&s->s) != IIR_NONE;
    tell = starved_take(s); /* the back end still waits to be told */
    pthread_mutex_unlock(&s->lock);
    if (tell)
        s->backend.rx_ready(s->backend.user);
    return 0;
}
