/* Each command against a fake machine, and clients that mean no good. */
#include "fake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int setup(void **state)
{
    *state = fake_new();
    return 0;
}

static int teardown(void **state)
{
    fake_free(*state);
    return 0;
}

static void introduction(void **state)
{
    struct fake *f = *state;

    assert_answer(f, "qSupported:multiprocess+;swbreak+;hwbreak-;xmlRegisters=i386",
                  "PacketSize=4000;qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;"
                  "hwbreak+");
    assert_true(f->stub.swbreak);
    assert_false(f->stub.hwbreak);
    assert_answer(f, "vMustReplyEmpty", "");
    assert_answer(f, "", "");
    assert_answer(f, "!", "");
    assert_answer(f, "qTStatus", "");
    assert_answer(f, "?", "T05thread:1;");
    assert_answer(f, "qAttached", "1");
    assert_answer(f, "vCont?", "vCont;c;C;s;S;t");
}

static void threads(void **state)
{
    struct fake *f = *state;

    assert_answer(f, "qfThreadInfo", "m1,2");
    assert_answer(f, "qsThreadInfo", "l");
    assert_answer(f, "qThreadExtraInfo,2", "764350552031"); /* "vCPU 1" */
    assert_answer(f, "qC", "QC1");
    assert_answer(f, "Hg2", "OK");
    assert_answer(f, "qC", "QC2");
    assert_answer(f, "Hg0", "OK");
    assert_answer(f, "Hc-1", "OK");
    assert_answer(f, "Hg3", "E16");
    assert_answer(f, "Hx1", "E16");
    assert_answer(f, "H", "E16");
    assert_answer(f, "T2", "OK");
    assert_answer(f, "T3", "E03");
    assert_answer(f, "T-1", "E03");
}

/* The description in pieces of `step` bytes. */
static char *description(struct fake *f, unsigned step)
{
    char *text = calloc(1, GDB_XML), ask[64];

    for (unsigned at = 0;; at += step) {
        const char *answer;

        snprintf(ask, sizeof(ask), "qXfer:features:read:target.xml:%x,%x", at, step);
        answer = fake_ask(f, ask);
        assert_true(*answer == 'm' || *answer == 'l');
        strcat(text, answer + 1);
        if (*answer == 'l')
            return text;
    }
}

static void description_in_pieces(void **state)
{
    struct fake *f = *state;
    char *small = description(f, 100), *large = description(f, 4000);

    assert_string_equal(small, large);
    assert_string_equal(small, f->stub.xml);
    assert_non_null(strstr(small, "<architecture>i386:x86-64</architecture>"));
    assert_non_null(strstr(small, "<reg name=\"r15\" bitsize=\"64\" type=\"int64\"/>"));
    assert_non_null(strstr(small, "<reg name=\"ymm15h\" bitsize=\"128\""));
    assert_non_null(strstr(small, "</target>"));
    free(small);
    free(large);
    assert_answer(f, "qXfer:features:read:target.xml:ffffffffffffffff,1", "E16");
    assert_answer(f, "qXfer:features:read:target.xml:0,ffffffffffffffff",
                  fake_ask(f, "qXfer:features:read:target.xml:0,fa0"));
    assert_answer(f, "qXfer:features:read:other.xml:0,10", "E02");
    assert_answer(f, "qXfer:memory-map:read::0,10", "");
}

static void memory(void **state)
{
    struct fake *f = *state;

    assert_answer(f, "mffffffff81000010,4", "10111213");
    assert_answer(f, "mffffffff81001ffe,10", "feff"); /* as much as there is */
    assert_answer(f, "mffffffff81002000,1", "E0e");
    assert_answer(f, "m0,1", "E0e");
    assert_answer(f, "mffffffff81000010,0", "E16");
    assert_answer(f, "m10000000000000000,1", "E16");
    assert_answer(f, "mffffffff81000010", "E16");
    assert_int_equal(strlen(fake_ask(f, "mffffffff81000000,ffffffffffffffff")), GDB_PAYLOAD);
    assert_answer(f, "Mffffffff81000020,2:abcd", "OK");
    assert_answer(f, "mffffffff8100001f,4", "1fabcd22");
    assert_answer(f, "Mffffffff81000020,3:abcd", "E16");
    assert_answer(f, "Mffffffff81000020,2:abcg", "E16");
    assert_answer(f, "Mffffffff81001fff,2:abcd", "E0e");
    assert_answer(f, "Xffffffff81000000,0:", "OK");
    fake_send(f, "Xffffffff81000020,3:}$\0", 23);
    assert_string_equal(f->out, "$OK#9a");
    assert_memory_equal(f->memory + 0x20, "}$", 3);
    assert_answer(f, "Xffffffff81000020,9:a", "E16");
}

static void registers_by_number(void **state)
{
    struct fake *f = *state;

    f->state[0].gpr[RBX] = 0x1122334455667788;
    assert_answer(f, "p1", "8877665544332211");
    assert_answer(f, "P1=0100000000000000", "OK");
    assert_int_equal(f->state[0].gpr[RBX], 1);
    assert_int_equal(f->set[0], X86_GPRS);
    assert_answer(f, "P1=01000000000000", "E16");
    assert_answer(f, "P1", "E16");
    assert_answer(f, "pfff", "E16");
    assert_answer(f, "p100000001", "E16");
    assert_answer(f, "Hg2", "OK");
    assert_answer(f, "P1=0200000000000000", "OK");
    assert_int_equal(f->state[0].gpr[RBX], 1);
    assert_int_equal(f->state[1].gpr[RBX], 2);
}

static void all_registers(void **state)
{
    struct fake *f = *state;
    char all[4096];

    f->state[0].gpr[RAX] = 0x12;
    snprintf(all, sizeof(all), "G%s", fake_ask(f, "g"));
    assert_int_equal(strlen(all), 1 + 2 * (16 * 8 + 8 + 7 * 4 + 80 + 32 + 260 + 256 + 16 + 56));
    assert_memory_equal(all, "G1200000000000000", 17);
    assert_answer(f, all, "OK"); /* what is there may be written back */
    memcpy(all + 1, "34", 2);
    assert_answer(f, all, "OK");
    assert_int_equal(f->state[0].gpr[RAX], 0x34);
    all[strlen(all) - 2] = '\0';
    assert_answer(f, all, "E16");
}

static void breakpoints(void **state)
{
    struct fake *f = *state;

    assert_answer(f, "Z0,1000,1", "OK");
    assert_answer(f, "Z2,ffffffff81000000,8", "OK");
    assert_calls(f, "insert 0 1000 1;insert 2 ffffffff81000000 8;");
    assert_answer(f, "Z4,0,9", "E1c"); /* ENOSPC */
    assert_answer(f, "z3,8,4", "OK");
    assert_calls(f, "insert 4 0 9;remove 3 8 4;");
    assert_answer(f, "Z5,0,1", "");
    assert_answer(f, "Z0,1000", "E16");
    assert_answer(f, "Z0,1000,1;X1,0", "E16"); /* conditions were not offered */
    assert_calls(f, "");
}

static const char *stop(struct fake *f, struct gdb_stop s)
{
    static char out[256];

    f->out_len = 0;
    gdb_stub_stopped(&f->stub, &s);
    snprintf(out, sizeof(out), "%.*s", (int)f->out_len, f->out);
    return out;
}

static void go_on(void **state)
{
    struct fake *f = *state;

    assert_answer(f, "c", "(none)");
    assert_calls(f, "run 0;run 1;");
    assert_answer(f, "g", "(none)"); /* not while it runs */
    fake_bytes(f, "\003");
    assert_calls(f, "interrupt;");
    assert_string_equal(stop(f, (struct gdb_stop){.cpu = 1, .signal = GDB_SIGINT}),
                        "$T02thread:2;#d5");
    assert_answer(f, "qC", "QC2");
    fake_bytes(f, "\003"); /* it stands still already */
    assert_calls(f, "");
    assert_answer(f, "s", "(none)"); /* one alone, whatever Hc says */
    assert_calls(f, "step 0;");
    stop(f, (struct gdb_stop){.cpu = 1, .signal = GDB_SIGTRAP});
    assert_answer(f, "Hc2", "OK");
    assert_answer(f, "sffffffff81000000", "(none)");
    assert_calls(f, "step 1;");
    assert_int_equal(f->state[1].rip, FAKE_BASE);
    stop(f, (struct gdb_stop){.signal = GDB_SIGTRAP});
    assert_answer(f, "C05;ffffffff81000010", "(none)");
    assert_calls(f, "run 1;");
    stop(f, (struct gdb_stop){.signal = GDB_SIGTRAP});
    assert_answer(f, "c8000000000000000", "E16"); /* not canonical */
    assert_answer(f, "S", "E16");
    assert_answer(f, "Sx", "E16");
    assert_calls(f, "");
}

static void go_on_by_thread(void **state)
{
    static const struct {
        const char *packet, *calls;
    } rows[] = {
        {"vCont;c", "run 0;run 1;"},
        {"vCont;s:1;c", "step 0;run 1;"},
        {"vCont;s:2", "step 1;"},
        {"vCont;c:1;s:2", "run 0;step 1;"},
        {"vCont;C05:1", "run 0;"},
        {"vCont;S05:2;c", "run 0;step 1;"},
        {"vCont;t:1;c", "run 1;"},
        {"vCont;c:-1", "run 0;run 1;"},
        {"vCont;s:1;s:1;c:1;c", "step 0;run 1;"},
        {"vCont;c;s:1", "run 0;run 1;"},
    };
    static const char *const bad[] = {"vCont;",    "vCont;x",   "vCont;c:3", "vCont;c:",
                                      "vCont;C:1", "vCont;c;;", "vCont;c1",  "vCont;s:p1.1"};
    struct fake *f = *state;

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_answer(f, rows[i].packet, "(none)");
        assert_calls(f, rows[i].calls);
        stop(f, (struct gdb_stop){.signal = GDB_SIGTRAP});
    }
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_answer(f, bad[i], "E16");
    assert_answer(f, "vCont;t", "T05thread:1;"); /* nothing is to run */
    assert_calls(f, "");
}

static void reasons(void **state)
{
    static const struct {
        struct gdb_stop stop;
        const char *text;
    } rows[] = {
        {{0, GDB_SIGTRAP, GDB_STOP_PLAIN, 0}, "T05thread:1;"},
        {{0, GDB_SIGTRAP, GDB_STOP_SOFT, 0}, "T05thread:1;swbreak:;"},
        {{1, GDB_SIGTRAP, GDB_STOP_HARD, 0}, "T05thread:2;hwbreak:;"},
        {{0, GDB_SIGTRAP, GDB_STOP_WATCH_WRITE, FAKE_BASE}, "T05thread:1;watch:ffffffff81000000;"},
        {{0, GDB_SIGTRAP, GDB_STOP_WATCH_READ, 16}, "T05thread:1;rwatch:10;"},
        {{0, GDB_SIGTRAP, GDB_STOP_WATCH_ACCESS, 0}, "T05thread:1;awatch:0;"},
    };
    struct fake *f = *state;

    fake_ask(f, "c");
    stop(f, rows[1].stop);
    assert_answer(f, "?", "T05thread:1;"); /* a client that does not know swbreak */
    fake_ask(f, "qSupported:swbreak+;hwbreak+");
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fake_ask(f, "c");
        stop(f, rows[i].stop);
        assert_answer(f, "?", rows[i].text);
    }
    assert_string_equal(stop(f, rows[0].stop), ""); /* one for each time it ran */
}

static void ends(void **state)
{
    struct fake *f = *state;

    f->out_len = 0;
    gdb_stub_exited(&f->stub, false, 0);
    assert_int_equal(f->out_len, 0); /* the client did not wait for anything */
    fake_ask(f, "c");
    f->out_len = 0;
    gdb_stub_exited(&f->stub, false, 42);
    assert_memory_equal(f->out, "$W2a#ea", 7);
    f->out_len = 0;
    gdb_stub_exited(&f->stub, true, GDB_SIGSEGV);
    assert_memory_equal(f->out, "$X0b#ea", 7);
}

static void detach(void **state)
{
    struct fake *f = *state;

    fake_ask(f, "c");
    fake_bytes(f, "$D#44$c#63"); /* nothing counts after it */
    assert_string_equal(f->out, "$OK#9a");
    assert_int_equal(f->stub.state, GDB_DETACHED);
}

static void end_by_client(void **state)
{
    struct fake *f = *state;

    assert_answer(f, "vKill;1", "OK");
    assert_int_equal(f->stub.state, GDB_KILLED);
    f->stub.state = GDB_STOPPED;
    assert_answer(f, "k", "(none)");
    assert_int_equal(f->stub.state, GDB_KILLED);
}

static void monitor(void **state)
{
    struct fake *f = *state;
    char ask[1024] = "qRcmd,";

    assert_answer(f, "qRcmd,68656c70", "68656c70");
    assert_answer(f, "qRcmd,73696c656e74", "OK");
    assert_answer(f, "qRcmd,6", "E16");
    assert_answer(f, "qRcmd,zz", "E16");
    memset(ask + 6, '6', 512);
    assert_answer(f, ask, "E16"); /* 256 bytes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(introduction),
        TEST(threads),
        TEST(description_in_pieces),
        TEST(memory),
        TEST(registers_by_number),
        TEST(all_registers),
        TEST(breakpoints),
        TEST(go_on),
        TEST(go_on_by_thread),
        TEST(reasons),
        TEST(ends),
        TEST(detach),
        TEST(end_by_client),
        TEST(monitor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
