/* A fault in the engine on purpose: does the test notice? */
#ifndef MOTE_GUEST_SEQUENCE_INJECT_H
#define MOTE_GUEST_SEQUENCE_INJECT_H

/* From now on SHRD of registers by CL leaves ZF the other way round. */
void inject_wrong_flag(void);

#endif
