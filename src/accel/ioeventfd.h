/*
 * The table of a machine's doorbells, which every vCPU looks at on its way. It is the same
 * on all accelerators, and the only one where an accelerator has none of its own or leaves
 * an instruction to the interpreter.
 */
#ifndef MOTE_ACCEL_IOEVENTFD_H
#define MOTE_ACCEL_IOEVENTFD_H

#include "accel/accel.h"

void ioeventfds_free(struct machine *m);

/* A vCPU of which a change of the table must know. */
void ioeventfds_join(struct vcpu *v);
void ioeventfds_leave(struct vcpu *v);

/* Most machines have none. */
static inline bool ioeventfds_there(const struct vcpu *v)
{
    return atomic_load_explicit(&v->machine->ioeventfds, memory_order_relaxed);
}

/* A write of `size` bytes: true when it was a doorbell's, which rang. The vCPU's thread. */
bool ioeventfds_ring_one(struct vcpu *v, bool mmio, uint64_t address, unsigned size, uint64_t data);
static inline bool ioeventfds_ring(struct vcpu *v, bool mmio, uint64_t address, unsigned size,
                                   uint64_t data)
{
    return ioeventfds_there(v) && ioeventfds_ring_one(v, mmio, address, size, data);
}

/* Answer an exit that is nothing but a doorbell's. false: it is somebody else's. */
bool ioeventfds_answer_exit(struct vcpu *v, const struct vcpu_exit *exit);
static inline bool ioeventfds_answer(struct vcpu *v, const struct vcpu_exit *exit)
{
    return ioeventfds_there(v) && ioeventfds_answer_exit(v, exit);
}

#endif
