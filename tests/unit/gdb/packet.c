/* Framing: what arrives in pieces, damaged, escaped, or without an end. */
#include "fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void packet_in_pieces(void **state)
{
    struct gdb_receiver *r = calloc(1, sizeof(*r));
    const char *bytes = "noise+$m0,1#fa";

    for (const char *c = bytes; c[1]; c++)
        assert_int_equal(gdb_receive(r, (uint8_t)*c), GDB_INPUT_NONE);
    assert_int_equal(gdb_receive(r, 'a'), GDB_INPUT_PACKET);
    assert_string_equal(r->payload, "m0,1");
    free(r);
}

static void packet_that_begins_again(void **state)
{
    struct gdb_receiver *r = calloc(1, sizeof(*r));
    enum gdb_input last = GDB_INPUT_NONE;

    for (const char *c = "$abc$g#67"; *c; c++)
        last = gdb_receive(r, (uint8_t)*c);
    assert_int_equal(last, GDB_INPUT_PACKET);
    assert_string_equal(r->payload, "g");
    free(r);
}

static void escapes_go_both_ways(void **state)
{
    struct gdb_receiver *r = calloc(1, sizeof(*r));
    struct gdb_reply *reply = calloc(1, sizeof(*reply));
    char *frame = malloc(GDB_FRAME);
    char all[256];
    enum gdb_input last = GDB_INPUT_NONE;
    size_t len;

    for (unsigned i = 0; i < sizeof(all); i++)
        all[i] = (char)i;
    gdb_put(reply, all, sizeof(all));
    len = gdb_frame(reply, frame);
    assert_int_equal(len, 1 + 256 + 4 + 3); /* $ # } * are escaped */
    for (size_t i = 0; i < len; i++)
        last = gdb_receive(r, (uint8_t)frame[i]);
    assert_int_equal(last, GDB_INPUT_PACKET);
    assert_int_equal(r->len, sizeof(all));
    assert_memory_equal(r->payload, all, sizeof(all));
    free(frame);
    free(reply);
    free(r);
}

static void a_full_reply_notes_it(void **state)
{
    struct gdb_reply *reply = calloc(1, sizeof(*reply));
    char *frame = malloc(GDB_FRAME);

    for (unsigned i = 0; i < GDB_PAYLOAD; i++)
        gdb_put(reply, "$", 1);
    assert_false(reply->overflow);
    assert_int_equal(gdb_frame(reply, frame), GDB_FRAME);
    gdb_put(reply, "$", 1);
    assert_true(reply->overflow);
    assert_int_equal(reply->len, GDB_PAYLOAD);
    free(frame);
    free(reply);
}

static void acknowledgements(void **state)
{
    struct fake *f = fake_new();

    f->stub.no_ack = false;
    fake_bytes(f, "$qC#b4");
    assert_string_equal(f->out, "+$QC1#c5");
    fake_bytes(f, "-");
    assert_string_equal(f->out, "$QC1#c5");
    fake_bytes(f, "+");
    assert_string_equal(f->out, "");
    fake_bytes(f, "$qC#b5");
    assert_string_equal(f->out, "-");
    fake_bytes(f, "$qC#zz");
    assert_string_equal(f->out, "-");
    fake_bytes(f, "$QStartNoAckMode#b0");
    assert_string_equal(f->out, "+$OK#9a");
    fake_bytes(f, "+$qC#b4");
    assert_string_equal(f->out, "$QC1#c5");
    fake_free(f);
}

static void too_long_is_an_error(void **state)
{
    struct fake *f = fake_new();
    char *bytes = malloc(GDB_PAYLOAD + 16);
    unsigned sum = ('m' * (GDB_PAYLOAD + 1u)) & 255;

    f->stub.no_ack = false;
    memset(bytes, 'm', GDB_PAYLOAD + 2);
    bytes[0] = '$';
    sprintf(bytes + GDB_PAYLOAD + 2, "#%02x", sum);
    fake_bytes(f, bytes);
    assert_string_equal(f->out, "+$E5a#db"); /* EMSGSIZE */
    fake_bytes(f, "$qC#b4");
    assert_string_equal(f->out, "+$QC1#c5");
    free(bytes);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packet_in_pieces),     cmocka_unit_test(packet_that_begins_again),
        cmocka_unit_test(escapes_go_both_ways), cmocka_unit_test(a_full_reply_notes_it),
        cmocka_unit_test(acknowledgements),     cmocka_unit_test(too_long_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
