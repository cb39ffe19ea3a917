/* The 16550A register by register, as a driver meets it. */
#include "dev/chip/serial.h"

#include "fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct fake_line lines;
static struct serial uart;
static uint8_t sent[64];
static size_t sent_len;
static unsigned ready;

static void backend_write(void *user, const uint8_t *buf, size_t len)
{
    memcpy(sent + sent_len, buf, len);
    sent_len += len;
}

static void backend_ready(void *user)
{
    ready++;
}

static uint8_t get(unsigned reg)
{
    return in8(&serial_ops, &uart, reg);
}

static void put(unsigned reg, uint8_t value)
{
    out8(&serial_ops, &uart, reg, value);
}

static int setup(void **state)
{
    struct serial_backend backend = {backend_write, backend_ready, NULL};

    memset(&lines, 0, sizeof(lines));
    sent_len = ready = 0;
    serial_init(&uart, &FAKE_IRQ(&lines, 4), &backend);
    return 0;
}

static int teardown(void **state)
{
    serial_destroy(&uart);
    return 0;
}

static void transmits_with_interrupts(void **state)
{
    assert_int_equal(get(5), 0x60);
    put(1, 2);
    assert_int_equal(lines.level[4], 0); /* OUT2 gates the line */
    put(4, 8);
    assert_int_equal(lines.level[4], 1);
    assert_int_equal(get(2), 0x02);
    assert_int_equal(lines.level[4], 0); /* reading IIR acknowledged it */
    assert_int_equal(get(2), 0x01);
    put(0, 'x');
    assert_int_equal(sent_len, 1);
    assert_int_equal(sent[0], 'x');
    assert_int_equal(lines.level[4], 1);
    put(1, 0);
    assert_int_equal(lines.level[4], 0);
    assert_int_equal(get(2), 0x01);
    put(1, 2); /* enabling again raises it again */
    assert_int_equal(get(2), 0x02);
}

static void receives_by_fifo_level(void **state)
{
    const uint8_t text[20] = "0123456789abcdefghi";

    put(2, 0x81); /* FIFOs on, trigger 8 */
    put(1, 5);
    put(4, 8);
    assert_int_equal(get(2), 0xc1);
    assert_int_equal(serial_receive(&uart, text, 3), 3);
    assert_int_equal(get(2), 0xcc); /* below the trigger: timeout */
    assert_int_equal(get(5), 0x61);
    assert_int_equal(serial_receive(&uart, text + 3, 17), 13);
    assert_int_equal(get(2), 0xc4);
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(ready, 0);
        assert_int_equal(lines.level[4], 1);
        assert_int_equal(get(0), text[i]);
    }
    assert_int_equal(ready, 1);
    assert_int_equal(lines.level[4], 0);
    assert_int_equal(get(5), 0x60);
    assert_int_equal(serial_receive(&uart, text, 4), 4);
    put(2, 0x83);
    assert_int_equal(get(5), 0x60);
}

static void holds_input_until_the_guest_listens(void **state)
{
    assert_int_equal(serial_receive(&uart, (const uint8_t *)"early", 5), 0);
    put(2, 0x07); /* a driver starts up: clears the FIFOs, */
    put(4, 0x09);
    assert_int_equal(ready, 0);
    put(4, 0x0b); /* then raises RTS */
    assert_int_equal(ready, 1);
    assert_int_equal(serial_receive(&uart, (const uint8_t *)"early", 5), 5);
    assert_int_equal(get(0), 'e');
}

/* A loop around LSR, as small kernels have it; looking between two sent bytes is none. */
static void gives_input_to_a_guest_that_polls(void **state)
{
    assert_int_equal(serial_receive(&uart, (const uint8_t *)"hi", 2), 0);
    for (unsigned i = 0; i < 20; i++) {
        get(5);
        put(0, '.');
    }
    assert_int_equal(ready, 0);
    for (unsigned i = 0; i < 10 && !ready; i++)
        get(5);
    assert_int_equal(ready, 1);
    assert_int_equal(serial_receive(&uart, (const uint8_t *)"hi", 2), 1); /* no FIFO yet */
    assert_int_equal(get(5) & 1, 1);
    assert_int_equal(get(0), 'h');
}

static void loopback_and_overrun(void **state)
{
    assert_int_equal(get(6), 0xb0);
    put(1, 0x0c);
    put(4, 0x1a);
    assert_int_equal(get(6) & 0xf0, 0x90); /* what Linux checks */
    assert_int_equal(lines.level[4], 0);
    put(0, 'a');
    assert_int_equal(sent_len, 0);
    assert_int_equal(serial_receive(&uart, (const uint8_t *)"z", 1), 0);
    put(0, 'b');
    assert_int_equal(get(2), 0x06);
    assert_int_equal(get(5), 0x63);
    assert_int_equal(get(5), 0x61); /* reading cleared the overrun */
    assert_int_equal(get(0), 'b');
    assert_int_equal(ready, 0);
    put(4, 0x14); /* OUT1: ring */
    get(6);
    put(4, 0x10);
    assert_int_equal(get(6), 0x04); /* its trailing edge */
    put(4, 0x0a);
    assert_int_equal(ready, 1);
    assert_int_equal(lines.level[4], 1); /* lines changed back: modem status */
    assert_int_equal(get(2), 0x00);
    assert_int_equal(get(6), 0xbb);
    assert_int_equal(lines.level[4], 0);
}

static void other_registers(void **state)
{
    put(3, 0x80);
    put(0, 0x34);
    put(1, 0x12);
    assert_int_equal(get(0), 0x34);
    assert_int_equal(get(1), 0x12);
    put(3, 0x03);
    assert_int_equal(get(1), 0);
    put(7, 0x5a);
    assert_int_equal(get(7), 0x5a);
    put(1, 0xff);
    assert_int_equal(get(1), 0x0f);
    put(5, 0); /* read-only */
    assert_int_equal(get(5), 0x60);
    /* Wide accesses are bytes in turn. */
    assert_int_equal(serial_ops.read(&uart, 4, 4), 0x5ab06000);
    serial_ops.write(&uart, 6, 8, UINT64_MAX);
    assert_int_equal(get(7), 0xff);
}

static void state_survives(void **state)
{
    struct serial_state a, b, bad;

    put(2, 0xc1);
    put(1, 7);
    put(4, 0x0b);
    serial_receive(&uart, (const uint8_t *)"hello", 5);
    get(0);
    serial_save(&uart, &a);
    setup(NULL);
    assert_int_equal(serial_restore(&uart, &a), 0);
    serial_save(&uart, &b);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_int_equal(get(2), 0xcc);
    assert_int_equal(get(0), 'e');
    bad = a;
    bad.rx_count = 17;
    assert_int_equal(serial_restore(&uart, &bad), -EINVAL);
    bad = a;
    bad.fcr = 0xc0;
    assert_int_equal(serial_restore(&uart, &bad), -EINVAL);
    assert_int_equal(get(0), 'l'); /* and nothing was changed */
    /* A back end that was told to wait hears when the restored chip has room. */
    serial_receive(&uart, (const uint8_t *)"0123456789abcdefgh", 18);
    assert_int_equal(ready, 0);
    assert_int_equal(serial_restore(&uart, &a), 0);
    assert_int_equal(ready, 0);
    for (unsigned i = 0; i < 4; i++)
        get(0);
    assert_int_equal(ready, 1);
    serial_receive(&uart, (const uint8_t *)"0123456789abcdefgh", 18);
    a.rx_count = 0;
    assert_int_equal(serial_restore(&uart, &a), 0);
    assert_int_equal(ready, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(transmits_with_interrupts, setup, teardown),
        cmocka_unit_test_setup_teardown(receives_by_fifo_level, setup, teardown),
        cmocka_unit_test_setup_teardown(holds_input_until_the_guest_listens, setup, teardown),
        cmocka_unit_test_setup_teardown(gives_input_to_a_guest_that_polls, setup, teardown),
        cmocka_unit_test_setup_teardown(loopback_and_overrun, setup, teardown),
        cmocka_unit_test_setup_teardown(other_registers, setup, teardown),
        cmocka_unit_test_setup_teardown(state_survives, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
