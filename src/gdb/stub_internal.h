/* What the stub's files share; private to the layer. */
#ifndef MOTE_GDB_STUB_INTERNAL_H
#define MOTE_GDB_STUB_INTERNAL_H

#include "gdb/stub.h"

/* Errors as the client sees them: "E" and a number of errno.h's. */
void stub_ok(struct gdb_stub *s);
void stub_error(struct gdb_stub *s, int err);

/* Send s->reply. */
void stub_send(struct gdb_stub *s);

/* Reply with the last stop. */
void stub_put_stop(struct gdb_stub *s);

/*
 * A thread's number in the protocol: hex, 0 for any, -1 for all. Takes it into
 * *cpu (0 for any and all) and *all. false: malformed, or no such thread.
 */
bool stub_take_thread(struct gdb_stub *s, struct gdb_text *t, unsigned *cpu, bool *all);

/* query.c: packets that begin with q or Q. Fills s->reply; empty: unknown. */
void stub_query(struct gdb_stub *s, struct gdb_text *t);

/* resume.c: c, C, s, S with their letter; what follows "vCont". false: no reply is due yet. */
bool stub_resume(struct gdb_stub *s, struct gdb_text *t);
bool stub_vcont(struct gdb_stub *s, struct gdb_text *t);

#endif
