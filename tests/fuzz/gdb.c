/*
 * Fuzz target: bytes of a client of the remote stub; 0xff lets what runs stop.
 * Whatever they are, what comes back is acknowledgements and whole packets, and
 * memory that the machine does not have is not touched.
 */
#include "base/bits.h"
#include "gdb/stub.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CPUS   2
#define MEMORY 300

struct machine {
    struct mote_state state[CPUS];
    uint8_t memory[MEMORY];
    bool running[CPUS];
    struct gdb_receiver out;
};

static void check(int holds)
{
    if (!holds)
        abort();
}

static void take_output(void *user, const void *data, size_t len)
{
    struct machine *m = user;
    const uint8_t *byte = data;

    for (size_t i = 0; i < len; i++) {
        enum gdb_input input = gdb_receive(&m->out, byte[i]);

        check(input == GDB_INPUT_NONE || input == GDB_INPUT_PACKET || input == GDB_INPUT_NAK);
    }
}

static bool stands_still(struct machine *m)
{
    return !m->running[0] && !m->running[1];
}

static struct mote_state *get(void *user, unsigned cpu, unsigned groups)
{
    struct machine *m = user;

    check(cpu < CPUS && stands_still(m));
    return &m->state[cpu];
}

static int set(void *user, unsigned cpu, unsigned groups)
{
    struct machine *m = user;

    check(cpu < CPUS && groups && !(groups & ~(unsigned)X86_ALL));
    check(m->state[cpu].cr8 <= 15 && m->state[cpu].rflags & FLAG_R1);
    return 0;
}

static size_t read_memory(void *user, unsigned cpu, uint64_t gva, void *buf, size_t len)
{
    struct machine *m = user;

    check(cpu < CPUS && len && stands_still(m));
    if (gva >= MEMORY)
        return 0;
    len = MIN(len, MEMORY - gva);
    memcpy(buf, m->memory + gva, len);
    return len;
}

static int write_memory(void *user, unsigned cpu, uint64_t gva, const void *buf, size_t len)
{
    struct machine *m = user;

    check(cpu < CPUS && len && stands_still(m));
    if (!range_in(gva, len, MEMORY))
        return -EFAULT;
    memcpy(m->memory + gva, buf, len);
    return 0;
}

static int change_break(void *user, unsigned cpu, enum gdb_break kind, uint64_t gva, uint64_t size)
{
    check(cpu < CPUS && kind < GDB_BREAK_KINDS && stands_still(user));
    return gva % 2 ? -EINVAL : 0;
}

static void resume(void *user, unsigned cpu, bool step)
{
    struct machine *m = user;

    check(cpu < CPUS && !m->running[cpu]);
    m->running[cpu] = true;
}

static void interrupt(void *user)
{
    check(!stands_still(user));
}

static void monitor(void *user, unsigned cpu, const char *command, char *text, size_t size)
{
    check(strlen(command) < 256);
    memset(text, 'x', size - 1);
    text[size - 1] = '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine m;
    static struct gdb_stub stub;
    const struct gdb_target target = {
        .user = &m,
        .cpus = CPUS,
        .avx = true,
        .send = take_output,
        .get = get,
        .set = set,
        .read = read_memory,
        .write = write_memory,
        .insert = change_break,
        .remove = change_break,
        .resume = resume,
        .interrupt = interrupt,
        .monitor = monitor,
    };
    const struct gdb_stop stop = {.cpu = 1, .signal = GDB_SIGTRAP, .kind = GDB_STOP_SOFT};

    memset(&m, 0, sizeof(m));
    for (unsigned i = 0; i < CPUS; i++)
        x86_state_reset(&m.state[i]);
    gdb_stub_init(&stub, &target);
    for (size_t i = 0; i < size; i++) {
        if (data[i] == 0xff && stub.state == GDB_RUNNING) {
            m.running[0] = m.running[1] = false;
            gdb_stub_stopped(&stub, &stop);
        } else {
            /* One byte at a time is the same as all at once. */
            gdb_stub_feed(&stub, data + i, 1);
        }
    }
    return 0;
}
