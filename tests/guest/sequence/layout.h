/*
 * Where a sequence and what drives it lie, for C and the assembler. All is part of the text
 * that tests/guest/engine.c maps for the guest at the address it has in this process; code and
 * what the driver writes are on pages of their own.
 */
#ifndef MOTE_GUEST_SEQUENCE_LAYOUT_H
#define MOTE_GUEST_SEQUENCE_LAYOUT_H

#include "../row.h"

#define SEQ_CODE_OFF    0x1000 /* two pages and room for an overlong sequence */
#define SEQ_CODE_SIZE   0x3000
#define SEQ_CONTROL_OFF 0x4000
#define SEQ_IN_OFF      0x5000
#define SEQ_OUT_OFF     0x8000
#define SEQ_TEXT_SIZE   0xb000

#define SEQ_CODE    (ROW_CODE + SEQ_CODE_OFF)
#define SEQ_CONTROL (ROW_CODE + SEQ_CONTROL_OFF)
#define SEQ_IN      (ROW_CODE + SEQ_IN_OFF)
#define SEQ_OUT     (ROW_CODE + SEQ_OUT_OFF)

/* The control page, eight bytes each */
#define SEQ_CTL_IN    (SEQ_CONTROL + 0x00) /* address of the iteration's input record */
#define SEQ_CTL_OUT   (SEQ_CONTROL + 0x08) /* of RSP in its output record */
#define SEQ_CTL_LEFT  (SEQ_CONTROL + 0x10) /* iterations, this one included */
#define SEQ_CTL_START (SEQ_CONTROL + 0x18) /* address of the sequence */
#define SEQ_CTL_RSP   (SEQ_CONTROL + 0x20) /* the driver's */

/*
 * A record, input or output: 19 quadwords in the order in which the driver pops them. RFLAGS,
 * then RAX, RCX, RDX, RBX, RBP, RSI, RDI, R8 to R15, RSP, MXCSR.
 */
#define SEQ_RECORD       19
#define SEQ_RECORD_SIZE  (8 * SEQ_RECORD)
#define SEQ_RECORD_RSP   16
#define SEQ_RECORD_MXCSR 17
#define SEQ_ITERATIONS   64 /* at most */

#endif
