#include "gdb/stub.h"

#include "base/bits.h"
#include "gdb/regs.h"
#include "gdb/stub_internal.h"

#include <errno.h>

#define READ_MAX (GDB_PAYLOAD / 2)

/* ---- replies ---- */

void stub_ok(struct gdb_stub *s)
{
    gdb_puts(&s->reply, "OK");
}

void stub_error(struct gdb_stub *s, int err)
{
    const uint8_t number = (uint8_t)(err < 0 ? -err : err);

    s->reply.len = 0;
    gdb_puts(&s->reply, "E");
    gdb_put_hex(&s->reply, &number, 1);
}

static void answer(struct gdb_stub *s, int err)
{
    if (err)
        stub_error(s, err);
    else
        stub_ok(s);
}

void stub_send(struct gdb_stub *s)
{
    if (s->reply.overflow)
        stub_error(s, EMSGSIZE);
    s->frame_len = gdb_frame(&s->reply, s->frame);
    s->target->send(s->target->user, s->frame, s->frame_len);
}

static void begin_reply(struct gdb_stub *s)
{
    s->reply.len = 0;
    s->reply.overflow = false;
}

bool stub_take_thread(struct gdb_stub *s, struct gdb_text *t, unsigned *cpu, bool *all)
{
    uint64_t id;

    *cpu = 0;
    *all = gdb_take(t, "-1");
    if (*all)
        return true;
    if (!gdb_take_number(t, &id) || id > s->target->cpus)
        return false;
    if (id)
        *cpu = (unsigned)id - 1;
    return true;
}

/* ---- stops ---- */

static void put_reason(struct gdb_stub *s)
{
    static const char *const watches[] = {
        [GDB_STOP_WATCH_WRITE] = "watch:",
        [GDB_STOP_WATCH_READ] = "rwatch:",
        [GDB_STOP_WATCH_ACCESS] = "awatch:",
    };

    switch (s->stop.kind) {
    case GDB_STOP_PLAIN: return;
    case GDB_STOP_SOFT:
        if (s->swbreak)
            gdb_puts(&s->reply, "swbreak:;");
        return;
    case GDB_STOP_HARD:
        if (s->hwbreak)
            gdb_puts(&s->reply, "hwbreak:;");
        return;
    default:
        gdb_puts(&s->reply, watches[s->stop.kind]);
        gdb_put_number(&s->reply, s->stop.gva);
        gdb_puts(&s->reply, ";");
    }
}

void stub_put_stop(struct gdb_stub *s)
{
    const uint8_t number = (uint8_t)s->stop.signal;

    gdb_puts(&s->reply, "T");
    gdb_put_hex(&s->reply, &number, 1);
    gdb_puts(&s->reply, "thread:");
    gdb_put_number(&s->reply, s->stop.cpu + 1);
    gdb_puts(&s->reply, ";");
    put_reason(s);
}

void gdb_stub_stopped(struct gdb_stub *s, const struct gdb_stop *stop)
{
    s->stop = *stop;
    if (s->state != GDB_RUNNING)
        return;
    s->state = GDB_STOPPED;
    s->cpu = stop->cpu;
    begin_reply(s);
    stub_put_stop(s);
    stub_send(s);
}

void gdb_stub_exited(struct gdb_stub *s, bool by_signal, unsigned value)
{
    const uint8_t number = (uint8_t)value;

    if (s->state != GDB_RUNNING)
        return; /* what comes unasked for would be taken for an answer */
    begin_reply(s);
    gdb_puts(&s->reply, by_signal ? "X" : "W");
    gdb_put_hex(&s->reply, &number, 1);
    stub_send(s);
}

/* ---- registers ---- */

static void read_all(struct gdb_stub *s)
{
    struct mote_state *state =
        s->target->get(s->target->user, s->cpu, X86_GPRS | X86_SEGS | X86_CRS | X86_MSRS | X86_FPU);
    uint8_t value[GDB_REG_SIZE];
    struct gdb_reg reg;

    if (!state) {
        stub_error(s, EIO);
        return;
    }
    for (unsigned n = 0; gdb_reg_find(n, s->target->avx, &reg); n++) {
        gdb_reg_read(&reg, state, value);
        gdb_put_hex(&s->reply, value, reg.size);
    }
}

static int write_one(struct gdb_stub *s, const struct gdb_reg *reg, const uint8_t *value)
{
    struct mote_state *state = s->target->get(s->target->user, s->cpu, reg->groups);
    int err = state ? gdb_reg_write(reg, state, value) : -EIO;

    return err ? err : s->target->set(s->target->user, s->cpu, reg->groups);
}

static int write_all(struct gdb_stub *s, struct gdb_text *t)
{
    uint8_t value[GDB_REG_SIZE];
    struct gdb_reg reg;
    int err = 0;

    for (unsigned n = 0; !err && gdb_reg_find(n, s->target->avx, &reg); n++)
        err = gdb_take_hex(t, value, reg.size) ? write_one(s, &reg, value) : -EINVAL;
    return err;
}

static void read_one(struct gdb_stub *s, struct gdb_text *t)
{
    uint8_t value[GDB_REG_SIZE];
    struct mote_state *state;
    struct gdb_reg reg;
    uint64_t n;

    if (!gdb_take_number(t, &n) || n > UINT32_MAX ||
        !gdb_reg_find((unsigned)n, s->target->avx, &reg)) {
        stub_error(s, EINVAL);
        return;
    }
    state = s->target->get(s->target->user, s->cpu, reg.groups);
    if (!state) {
        stub_error(s, EIO);
        return;
    }
    gdb_reg_read(&reg, state, value);
    gdb_put_hex(&s->reply, value, reg.size);
}

static int write_number(struct gdb_stub *s, struct gdb_text *t)
{
    uint8_t value[GDB_REG_SIZE];
    struct gdb_reg reg;
    uint64_t n;

    if (!gdb_take_number(t, &n) || n > UINT32_MAX || !gdb_take(t, "=") ||
        !gdb_reg_find((unsigned)n, s->target->avx, &reg) || !gdb_take_hex(t, value, reg.size))
        return -EINVAL;
    return write_one(s, &reg, value);
}

/* ---- memory ---- */

/* "ADDRESS,LENGTH" */
static bool take_range(struct gdb_text *t, uint64_t *gva, uint64_t *len)
{
    return gdb_take_number(t, gva) && gdb_take(t, ",") && gdb_take_number(t, len);
}

static void read_memory(struct gdb_stub *s, struct gdb_text *t)
{
    uint8_t bytes[READ_MAX];
    uint64_t gva, len;
    size_t n;

    if (!take_range(t, &gva, &len) || gdb_left(t) || !len) {
        stub_error(s, EINVAL);
        return;
    }
    n = s->target->read(s->target->user, s->cpu, gva, bytes, MIN(len, sizeof(bytes)));
    if (n)
        gdb_put_hex(&s->reply, bytes, n);
    else
        stub_error(s, EFAULT);
}

static int write_memory(struct gdb_stub *s, struct gdb_text *t, bool binary)
{
    uint8_t bytes[READ_MAX];
    const void *data = bytes;
    uint64_t gva, len;

    if (!take_range(t, &gva, &len) || !gdb_take(t, ":"))
        return -EINVAL;
    if (binary) {
        data = t->at;
        if (len != gdb_left(t))
            return -EINVAL;
    } else if (len > sizeof(bytes) || gdb_left(t) != 2 * len || !gdb_take_hex(t, bytes, len)) {
        return -EINVAL;
    }
    return len ? s->target->write(s->target->user, s->cpu, gva, data, len) : 0;
}

/* ---- breakpoints ---- */

static int change_break(struct gdb_stub *s, struct gdb_text *t, bool insert)
{
    const struct gdb_target *target = s->target;
    uint64_t kind, gva, size;

    if (!gdb_take_number(t, &kind) || !gdb_take(t, ",") || !take_range(t, &gva, &size) ||
        gdb_left(t))
        return -EINVAL;
    if (kind >= GDB_BREAK_KINDS)
        return -ENOTSUP;
    return (insert ? target->insert : target->remove)(target->user, s->cpu, (enum gdb_break)kind,
                                                      gva, size);
}

static void obey_break(struct gdb_stub *s, struct gdb_text *t, bool insert)
{
    int err = change_break(s, t, insert);

    if (err != -ENOTSUP) /* an empty reply: there is no such kind */
        answer(s, err);
}

/* ---- commands ---- */

static void choose_thread(struct gdb_stub *s, struct gdb_text *t)
{
    bool all, forward = gdb_take(t, "c");
    unsigned cpu;

    if ((!forward && !gdb_take(t, "g")) || !stub_take_thread(s, t, &cpu, &all)) {
        stub_error(s, EINVAL);
        return;
    }
    if (forward) {
        s->resume_cpu = cpu;
        s->resume_all = all;
    } else {
        s->cpu = cpu;
    }
    stub_ok(s);
}

static void is_alive(struct gdb_stub *s, struct gdb_text *t)
{
    unsigned cpu;
    bool all;

    answer(s, stub_take_thread(s, t, &cpu, &all) && !all ? 0 : -ESRCH);
}

static bool obey_v(struct gdb_stub *s, struct gdb_text *t)
{
    if (gdb_take(t, "Cont?")) {
        gdb_puts(&s->reply, "vCont;c;C;s;S;t");
    } else if (gdb_take(t, "Cont;")) {
        return stub_vcont(s, t);
    } else if (gdb_take(t, "Kill;")) {
        s->state = GDB_KILLED;
        stub_ok(s);
    }
    return true;
}

/* false: there is no reply, or not yet. */
static bool obey(struct gdb_stub *s, struct gdb_text *t)
{
    char letter = *t->at;

    if (letter == 'c' || letter == 'C' || letter == 's' || letter == 'S')
        return stub_resume(s, t);
    t->at++;
    switch (letter) {
    case '?': stub_put_stop(s); break;
    case 'g': read_all(s); break;
    case 'G': answer(s, write_all(s, t)); break;
    case 'p': read_one(s, t); break;
    case 'P': answer(s, write_number(s, t)); break;
    case 'm': read_memory(s, t); break;
    case 'M': answer(s, write_memory(s, t, false)); break;
    case 'X': answer(s, write_memory(s, t, true)); break;
    case 'Z': obey_break(s, t, true); break;
    case 'z': obey_break(s, t, false); break;
    case 'H': choose_thread(s, t); break;
    case 'T': is_alive(s, t); break;
    case 'v': return obey_v(s, t);
    case 'q':
    case 'Q':
        t->at--;
        stub_query(s, t);
        break;
    case 'D':
        s->state = GDB_DETACHED;
        stub_ok(s);
        break;
    case 'k': s->state = GDB_KILLED; return false;
    default: break;
    }
    return true;
}

/* While the guest runs only an end is heeded: a reply would be taken for a stop. */
static bool may_obey(const struct gdb_stub *s)
{
    const char *text = s->in.payload;

    return s->in.len && (s->state == GDB_STOPPED || *text == 'D' || *text == 'k');
}

static void packet(struct gdb_stub *s)
{
    struct gdb_text t = {s->in.payload, s->in.payload + s->in.len};

    if (s->in.len && !may_obey(s))
        return;
    begin_reply(s);
    if (!s->in.len || obey(s, &t))
        stub_send(s);
}

static void acknowledge(struct gdb_stub *s, const char *sign)
{
    if (!s->no_ack)
        s->target->send(s->target->user, sign, 1);
}

static void take(struct gdb_stub *s, enum gdb_input input)
{
    switch (input) {
    case GDB_INPUT_NONE: break;
    case GDB_INPUT_BAD: acknowledge(s, "-"); break;
    case GDB_INPUT_NAK:
        if (!s->no_ack && s->frame_len)
            s->target->send(s->target->user, s->frame, s->frame_len);
        break;
    case GDB_INPUT_INTERRUPT:
        if (s->state == GDB_RUNNING)
            s->target->interrupt(s->target->user);
        break;
    case GDB_INPUT_TOO_LONG:
        acknowledge(s, "+");
        if (s->state != GDB_STOPPED)
            break;
        begin_reply(s);
        stub_error(s, EMSGSIZE);
        stub_send(s);
        break;
    case GDB_INPUT_PACKET:
        acknowledge(s, "+");
        packet(s);
        break;
    }
}

void gdb_stub_feed(struct gdb_stub *s, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len && s->state != GDB_DETACHED && s->state != GDB_KILLED; i++)
        take(s, gdb_receive(&s->in, buf[i]));
}

void gdb_stub_init(struct gdb_stub *s, const struct gdb_target *target)
{
    memset(s, 0, sizeof(*s));
    s->target = target;
    s->stop.signal = GDB_SIGTRAP;
    s->resume_all = true;
    gdb_regs_describe(target->avx, s->xml, sizeof(s->xml));
}
