/* Questions and settings: packets that begin with q or Q. */
#include "base/bits.h"
#include "gdb/stub_internal.h"

#include <errno.h>
#include <stdio.h>

#define XML_CHUNK    4000 /* bytes that one answer holds at most */
#define MONITOR_LINE 256
#define MONITOR_TEXT (GDB_PAYLOAD / 2)

/* "name+;name-;name=value": is the name there with a plus? */
static bool offers(struct gdb_text t, const char *name)
{
    while (t.at < t.end) {
        const char *stop = memchr(t.at, ';', gdb_left(&t));
        struct gdb_text one = {t.at, stop ? stop : t.end};

        if (gdb_take(&one, name) && gdb_take(&one, "+") && one.at == one.end)
            return true;
        t.at = stop ? stop + 1 : t.end;
    }
    return false;
}

static void supported(struct gdb_stub *s, struct gdb_text *t)
{
    gdb_take(t, ":");
    s->swbreak = offers(*t, "swbreak");
    s->hwbreak = offers(*t, "hwbreak");
    gdb_puts(&s->reply, "PacketSize=");
    gdb_put_number(&s->reply, GDB_PAYLOAD);
    gdb_puts(&s->reply, ";qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+");
}

/* "OFFSET,LENGTH" of the target description. */
static void features(struct gdb_stub *s, struct gdb_text *t)
{
    uint64_t offset, len, size = strlen(s->xml);

    if (!gdb_take_number(t, &offset) || !gdb_take(t, ",") || !gdb_take_number(t, &len) ||
        offset > size) {
        stub_error(s, EINVAL);
        return;
    }
    len = MIN(len, XML_CHUNK);
    len = MIN(len, size - offset);
    gdb_puts(&s->reply, offset + len < size ? "m" : "l");
    gdb_put(&s->reply, s->xml + offset, len);
}

static void threads(struct gdb_stub *s)
{
    for (unsigned i = 0; i < s->target->cpus; i++) {
        gdb_puts(&s->reply, i ? "," : "m");
        gdb_put_number(&s->reply, i + 1);
    }
}

static void thread_info(struct gdb_stub *s, struct gdb_text *t)
{
    char text[32];
    unsigned cpu;
    bool all;

    if (!stub_take_thread(s, t, &cpu, &all) || all) {
        stub_error(s, ESRCH);
        return;
    }
    gdb_put_hex(&s->reply, text, (size_t)snprintf(text, sizeof(text), "vCPU %u", cpu));
}

static void monitor(struct gdb_stub *s, struct gdb_text *t)
{
    char line[MONITOR_LINE], text[MONITOR_TEXT] = "";
    size_t len = gdb_left(t) / 2;

    if (gdb_left(t) % 2 || len >= sizeof(line) || !gdb_take_hex(t, line, len)) {
        stub_error(s, EINVAL);
        return;
    }
    line[len] = '\0';
    s->target->monitor(s->target->user, s->cpu, line, text, sizeof(text));
    if (*text)
        gdb_put_hex(&s->reply, text, strnlen(text, sizeof(text)));
    else
        stub_ok(s);
}

void stub_query(struct gdb_stub *s, struct gdb_text *t)
{
    if (gdb_take(t, "qSupported")) {
        supported(s, t);
    } else if (gdb_take(t, "qXfer:features:read:target.xml:")) {
        features(s, t);
    } else if (gdb_take(t, "qXfer:features:read:")) {
        stub_error(s, ENOENT);
    } else if (gdb_take(t, "qfThreadInfo")) {
        threads(s);
    } else if (gdb_take(t, "qsThreadInfo")) {
        gdb_puts(&s->reply, "l");
    } else if (gdb_take(t, "qThreadExtraInfo,")) {
        thread_info(s, t);
    } else if (gdb_take(t, "qRcmd,")) {
        monitor(s, t);
    } else if (gdb_take(t, "qAttached")) {
        gdb_puts(&s->reply, "1"); /* the machine was there before: to quit is to detach */
    } else if (gdb_take(t, "QStartNoAckMode")) {
        s->no_ack = true;
        stub_ok(s);
    } else if (gdb_take(t, "qC") && t->at == t->end) {
        gdb_puts(&s->reply, "QC");
        gdb_put_number(&s->reply, s->cpu + 1);
    }
}
