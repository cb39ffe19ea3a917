/* A machine of two vCPUs that notes what the stub asks of it, and a client that talks to the stub.
 */
#ifndef MOTE_TEST_GDB_FAKE_H
#define MOTE_TEST_GDB_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gdb/stub.h"

#define FAKE_CPUS 2
#define FAKE_BASE UINT64_C(0xffffffff81000000)
#define FAKE_SIZE 8192

struct fake {
    struct gdb_target target;
    struct gdb_stub stub;
    struct mote_state state[FAKE_CPUS];
    unsigned set[FAKE_CPUS]; /* X86_* that were set */
    uint8_t memory[FAKE_SIZE];
    char calls[256]; /* breakpoints, resumes and the like, in words */
    char out[65536]; /* everything that was sent */
    size_t out_len;
};

/* Made with the client attached, acknowledgements off, and nothing sent. */
struct fake *fake_new(void);
void fake_free(struct fake *f);

/* Send raw bytes. */
void fake_bytes(struct fake *f, const char *bytes);

/* Send a packet with this payload, of len bytes. */
void fake_send(struct fake *f, const char *payload, size_t len);

/* Send a packet; returns the payload of the one packet that came back, or "(none)". */
const char *fake_ask(struct fake *f, const char *payload);
#define assert_answer(f, payload, answer) assert_string_equal(fake_ask(f, payload), answer)

/* What was called since the last time. */
const char *fake_calls(struct fake *f);
#define assert_calls(f, text) assert_string_equal(fake_calls(f), text)

#endif
