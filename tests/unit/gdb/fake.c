#include "fake.h"

#include "base/bits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void note(struct fake *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(struct fake *f, const char *fmt, ...)
{
    size_t len = strlen(f->calls);
    va_list args;

    va_start(args, fmt);
    vsnprintf(f->calls + len, sizeof(f->calls) - len, fmt, args);
    va_end(args);
}

static void fake_output(void *user, const void *data, size_t len)
{
    struct fake *f = user;

    assert_true(len < sizeof(f->out) - f->out_len);
    memcpy(f->out + f->out_len, data, len);
    f->out_len += len;
    f->out[f->out_len] = '\0';
}

static struct mote_state *fake_get(void *user, unsigned cpu, unsigned groups)
{
    struct fake *f = user;

    assert_true(cpu < FAKE_CPUS);
    return &f->state[cpu];
}

static int fake_set(void *user, unsigned cpu, unsigned groups)
{
    struct fake *f = user;

    f->set[cpu] |= groups;
    return 0;
}

static size_t fake_read(void *user, unsigned cpu, uint64_t gva, void *buf, size_t len)
{
    struct fake *f = user;
    uint64_t off = gva - FAKE_BASE;

    if (off >= FAKE_SIZE)
        return 0;
    len = MIN(len, FAKE_SIZE - off);
    memcpy(buf, f->memory + off, len);
    return len;
}

static int fake_write(void *user, unsigned cpu, uint64_t gva, const void *buf, size_t len)
{
    struct fake *f = user;

    if (!range_in(gva - FAKE_BASE, len, FAKE_SIZE))
        return -EFAULT;
    memcpy(f->memory + (gva - FAKE_BASE), buf, len);
    return 0;
}

static int fake_insert(void *user, unsigned cpu, enum gdb_break kind, uint64_t gva, uint64_t size)
{
    note(user, "insert %u %llx %llx;", kind, (unsigned long long)gva, (unsigned long long)size);
    return size > 8 ? -ENOSPC : 0;
}

static int fake_remove(void *user, unsigned cpu, enum gdb_break kind, uint64_t gva, uint64_t size)
{
    note(user, "remove %u %llx %llx;", kind, (unsigned long long)gva, (unsigned long long)size);
    return 0;
}

static void fake_resume(void *user, unsigned cpu, bool step)
{
    note(user, "%s %u;", step ? "step" : "run", cpu);
}

static void fake_interrupt(void *user)
{
    note(user, "interrupt;");
}

static void fake_monitor(void *user, unsigned cpu, const char *command, char *text, size_t size)
{
    snprintf(text, size, "%s", strcmp(command, "silent") ? command : "");
}

struct fake *fake_new(void)
{
    struct fake *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->target = (struct gdb_target){
        .user = f,
        .cpus = FAKE_CPUS,
        .avx = true,
        .send = fake_output,
        .get = fake_get,
        .set = fake_set,
        .read = fake_read,
        .write = fake_write,
        .insert = fake_insert,
        .remove = fake_remove,
        .resume = fake_resume,
        .interrupt = fake_interrupt,
        .monitor = fake_monitor,
    };
    for (unsigned i = 0; i < FAKE_CPUS; i++)
        x86_state_reset(&f->state[i]);
    for (unsigned i = 0; i < FAKE_SIZE; i++)
        f->memory[i] = (uint8_t)i;
    gdb_stub_init(&f->stub, &f->target);
    f->stub.no_ack = true;
    return f;
}

void fake_free(struct fake *f)
{
    free(f);
}

void fake_bytes(struct fake *f, const char *bytes)
{
    f->out_len = 0;
    f->out[0] = '\0';
    gdb_stub_feed(&f->stub, (const uint8_t *)bytes, strlen(bytes));
}

void fake_send(struct fake *f, const char *payload, size_t len)
{
    static struct gdb_reply packet;
    static char frame[GDB_FRAME];

    packet.len = 0;
    gdb_put(&packet, payload, len);
    f->out_len = 0;
    f->out[0] = '\0';
    gdb_stub_feed(&f->stub, (const uint8_t *)frame, gdb_frame(&packet, frame));
}

const char *fake_ask(struct fake *f, const char *payload)
{
    static struct gdb_receiver in;
    enum gdb_input input = GDB_INPUT_NONE;

    fake_send(f, payload, strlen(payload));
    if (!f->out_len)
        return "(none)";
    for (size_t i = 0; i < f->out_len; i++) {
        assert_int_equal(input, GDB_INPUT_NONE); /* one packet and nothing behind it */
        input = gdb_receive(&in, (uint8_t)f->out[i]);
    }
    assert_int_equal(input, GDB_INPUT_PACKET);
    return in.payload;
}

const char *fake_calls(struct fake *f)
{
    static char calls[sizeof(f->calls)];

    memcpy(calls, f->calls, sizeof(calls));
    f->calls[0] = '\0';
    return calls;
}
