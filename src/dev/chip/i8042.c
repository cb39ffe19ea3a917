#include "dev/chip/i8042.h"

#include "base/bits.h"
#include "base/err.h"

#include <errno.h>

#define STATUS_FULL     0x01
#define STATUS_SYSTEM   0x04
#define STATUS_COMMAND  0x08
#define STATUS_UNLOCKED 0x10
#define STATUS_MOUSE    0x20
#define STATUS_TIMEOUT  0x40
#define STATUS_KEPT     0x6d

#define CTR_IRQ          0x01
#define CTR_SYSTEM       0x04
#define CTR_KEYBOARD_OFF 0x10
#define CTR_MOUSE_OFF    0x20
#define CTR_TRANSLATE    0x40

#define PORT_RUN 0x01 /* output port bit 0 low resets the processor */
#define PORT_A20 0x02

/* Commands to the controller, at port 0x64. */
enum {
    CMD_READ_RAM = 0x20,
    CMD_WRITE_RAM = 0x60,
    CMD_MOUSE_OFF = 0xa7,
    CMD_MOUSE_ON = 0xa8,
    CMD_TEST_MOUSE = 0xa9,
    CMD_TEST = 0xaa,
    CMD_TEST_KEYBOARD = 0xab,
    CMD_KEYBOARD_OFF = 0xad,
    CMD_KEYBOARD_ON = 0xae,
    CMD_READ_INPUT = 0xc0,
    CMD_READ_OUTPUT = 0xd0,
    CMD_WRITE_OUTPUT = 0xd1,
    CMD_LOOP_KEYBOARD = 0xd2,
    CMD_LOOP_MOUSE = 0xd3,
    CMD_WRITE_MOUSE = 0xd4,
    CMD_PULSE = 0xf0,
};

/* Commands to the keyboard, at port 0x60. */
enum {
    KBD_LEDS = 0xed,
    KBD_ECHO = 0xee,
    KBD_SCAN_SET = 0xf0,
    KBD_IDENTIFY = 0xf2,
    KBD_RATE = 0xf3,
    KBD_RESEND = 0xfe,
    KBD_RESET = 0xff,
    KBD_ACK = 0xfa,
    KBD_PASSED = 0xaa,
};

/* Show a byte at port 0x60; the interrupt is an edge for each. */
static void output_put(struct i8042 *k, uint8_t value, uint8_t marks)
{
    k->s.output = value;
    k->s.status &= (uint8_t) ~(STATUS_MOUSE | STATUS_TIMEOUT);
    k->s.status |= STATUS_FULL | marks;
    dev_irq_set(&k->irq, 0);
    if (!(marks & STATUS_MOUSE) && (k->s.ram[0] & CTR_IRQ))
        dev_irq_set(&k->irq, 1);
}

/* The keyboard sends its next byte when the buffer is free and its clock runs. */
static void keyboard_send(struct i8042 *k)
{
    uint8_t value = k->s.queue[0];

    if ((k->s.status & STATUS_FULL) || (k->s.ram[0] & CTR_KEYBOARD_OFF) || !k->s.queue_count)
        return;
    k->s.queue_count--;
    memmove(k->s.queue, k->s.queue + 1, k->s.queue_count);
    output_put(k, value, 0);
}

/* Bytes beyond the queue are lost, as in a keyboard. */
static void keyboard_say(struct i8042 *k, uint8_t value)
{
    if (k->s.queue_count < I8042_QUEUE)
        k->s.queue[k->s.queue_count++] = value;
}

static void keyboard_identify(struct i8042 *k)
{
    keyboard_say(k, KBD_ACK);
    keyboard_say(k, 0xab);
    /* The controller translates the second byte as if it were a scan code. */
    keyboard_say(k, k->s.ram[0] & CTR_TRANSLATE ? 0x41 : 0x83);
}

static void keyboard_parameter(struct i8042 *k, uint8_t command, uint8_t value)
{
    keyboard_say(k, KBD_ACK);
    if (command != KBD_SCAN_SET)
        return; /* lights and repeat rate: nobody sees them */
    if (value == 0)
        keyboard_say(k, k->s.scan_set);
    else if (value <= 3)
        k->s.scan_set = value;
}

static void keyboard_write(struct i8042 *k, uint8_t value)
{
    uint8_t command = k->s.keyboard_command;

    k->s.ram[0] &= (uint8_t)~CTR_KEYBOARD_OFF; /* writing to it enables it */
    k->s.keyboard_command = 0;
    if (command && value < 0x80) {
        keyboard_parameter(k, command, value);
        return;
    }
    k->s.queue_count = 0; /* a command ends what was being said */
    switch (value) {
    case KBD_LEDS:
    case KBD_SCAN_SET:
    case KBD_RATE:
        k->s.keyboard_command = value;
        keyboard_say(k, KBD_ACK);
        break;
    case KBD_ECHO: keyboard_say(k, KBD_ECHO); break;
    case KBD_IDENTIFY: keyboard_identify(k); break;
    case KBD_RESET:
        k->s.scan_set = 2;
        keyboard_say(k, KBD_ACK);
        keyboard_say(k, KBD_PASSED);
        break;
    default: /* 0xf4 to 0xfd: enable, disable, defaults, key types */
        keyboard_say(k, value >= 0xf4 && value <= 0xfd ? KBD_ACK : KBD_RESEND);
    }
}

static void ctr_write(struct i8042 *k, uint8_t value)
{
    k->s.ram[0] = value;
    k->s.status &= (uint8_t)~STATUS_SYSTEM;
    if (value & CTR_SYSTEM)
        k->s.status |= STATUS_SYSTEM;
    if (!(value & CTR_IRQ))
        dev_irq_set(&k->irq, 0);
    else if ((k->s.status & (STATUS_FULL | STATUS_MOUSE)) == STATUS_FULL)
        dev_irq_set(&k->irq, 1);
}

/* Returns whether the machine is to be reset. */
static bool command_write(struct i8042 *k, uint8_t value)
{
    k->s.command = 0;
    switch (value) {
    case CMD_READ_RAM ... CMD_READ_RAM + I8042_RAM - 1:
        output_put(k, k->s.ram[value - CMD_READ_RAM], 0);
        break;
    case CMD_WRITE_RAM ... CMD_WRITE_RAM + I8042_RAM - 1:
    case CMD_WRITE_OUTPUT:
    case CMD_LOOP_KEYBOARD:
    case CMD_LOOP_MOUSE:
    case CMD_WRITE_MOUSE: k->s.command = value; break;
    case CMD_MOUSE_OFF: k->s.ram[0] |= CTR_MOUSE_OFF; break;
    case CMD_MOUSE_ON: k->s.ram[0] &= (uint8_t)~CTR_MOUSE_OFF; break;
    case CMD_TEST_MOUSE: output_put(k, 0x01, 0); break; /* clock line stuck low */
    case CMD_TEST:
        k->s.queue_count = 0;
        ctr_write(k, k->s.ram[0] | CTR_SYSTEM);
        output_put(k, 0x55, 0);
        break;
    case CMD_TEST_KEYBOARD: output_put(k, 0x00, 0); break;
    case CMD_KEYBOARD_OFF: k->s.ram[0] |= CTR_KEYBOARD_OFF; break;
    case CMD_KEYBOARD_ON: k->s.ram[0] &= (uint8_t)~CTR_KEYBOARD_OFF; break;
    case CMD_READ_INPUT: output_put(k, 0x80, 0); break; /* not locked */
    case CMD_READ_OUTPUT: output_put(k, k->s.output_port, 0); break;
    case CMD_PULSE ... 0xff: return !(value & PORT_RUN);
    default: break;
    }
    return false;
}

static bool data_write(struct i8042 *k, uint8_t value)
{
    uint8_t command = k->s.command;

    k->s.command = 0;
    switch (command) {
    case 0: keyboard_write(k, value); break;
    case CMD_WRITE_RAM: ctr_write(k, value); break;
    case CMD_WRITE_OUTPUT: k->s.output_port = value | PORT_RUN; return !(value & PORT_RUN);
    case CMD_LOOP_KEYBOARD:
    case CMD_LOOP_MOUSE: output_put(k, value, 0); break; /* see the head of i8042.h */
    case CMD_WRITE_MOUSE: output_put(k, KBD_RESEND, STATUS_MOUSE | STATUS_TIMEOUT); break;
    default: k->s.ram[command - CMD_WRITE_RAM] = value; break;
    }
    return false;
}

static uint64_t data_read(void *dev, uint64_t offset, unsigned size)
{
    struct i8042 *k = dev;
    uint8_t value;

    pthread_mutex_lock(&k->lock);
    value = k->s.output; /* empty: what was there last */
    if (k->s.status & STATUS_FULL) {
        k->s.status &= (uint8_t) ~(STATUS_FULL | STATUS_MOUSE | STATUS_TIMEOUT);
        dev_irq_set(&k->irq, 0);
        keyboard_send(k);
    }
    pthread_mutex_unlock(&k->lock);
    return value;
}

static uint64_t status_read(void *dev, uint64_t offset, unsigned size)
{
    struct i8042 *k = dev;
    uint8_t value;

    pthread_mutex_lock(&k->lock);
    value = k->s.status | STATUS_UNLOCKED;
    pthread_mutex_unlock(&k->lock);
    return value;
}

static void port_write(struct i8042 *k, bool command, uint8_t value)
{
    bool reset;

    pthread_mutex_lock(&k->lock);
    k->s.status &= (uint8_t)~STATUS_COMMAND;
    if (command)
        k->s.status |= STATUS_COMMAND;
    reset = command ? command_write(k, value) : data_write(k, value);
    keyboard_send(k);
    pthread_mutex_unlock(&k->lock);
    if (reset)
        k->reset(k->user);
}

static void data_region_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    port_write(dev, false, (uint8_t)value);
}

static void command_region_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
    port_write(dev, true, (uint8_t)value);
}

const struct dev_region_ops i8042_data_ops = {data_read, data_region_write};
const struct dev_region_ops i8042_command_ops = {status_read, command_region_write};

void i8042_init(struct i8042 *k, const struct dev_irq *irq, void (*reset)(void *user), void *user)
{
    memset(k, 0, sizeof(*k));
    pthread_mutex_init(&k->lock, NULL);
    k->irq = *irq;
    k->reset = reset;
    k->user = user;
    k->s.ram[0] = CTR_IRQ | CTR_SYSTEM | CTR_MOUSE_OFF | CTR_TRANSLATE;
    k->s.status = STATUS_SYSTEM;
    k->s.output_port = PORT_RUN | PORT_A20;
    k->s.scan_set = 2;
}

void i8042_destroy(struct i8042 *k)
{
    pthread_mutex_destroy(&k->lock);
}

void i8042_save(struct i8042 *k, struct i8042_state *out)
{
    pthread_mutex_lock(&k->lock);
    *out = k->s;
    pthread_mutex_unlock(&k->lock);
    memset(out->queue + out->queue_count, 0, I8042_QUEUE - (size_t)out->queue_count);
}

static bool takes_byte(uint8_t command)
{
    return command == 0 || (command >= CMD_WRITE_RAM && command < CMD_WRITE_RAM + I8042_RAM) ||
           (command >= CMD_WRITE_OUTPUT && command <= CMD_WRITE_MOUSE);
}

int i8042_restore(struct i8042 *k, const struct i8042_state *in)
{
    uint8_t kc = in->keyboard_command;

    if ((in->status & ~STATUS_KEPT) || !takes_byte(in->command) ||
        (kc && kc != KBD_LEDS && kc != KBD_SCAN_SET && kc != KBD_RATE) || in->scan_set < 1 ||
        in->scan_set > 3 || in->queue_count > I8042_QUEUE)
        return err_set(EINVAL, "keyboard controller: the saved state is not one that it can have");
    pthread_mutex_lock(&k->lock);
    k->s = *in;
    k->s.pad = 0;
    pthread_mutex_unlock(&k->lock);
    return 0;
}
