/*
 * KVM's hypercalls (Linux Documentation/virt/kvm/x86/hypercalls.rst), where the accelerator
 * leaves them to us: kick a halted processor, send IPIs, yield. The CPUID leaf 0x40000001 of
 * src/emu/cpuid.c offers them.
 */
#ifndef MOTE_BOARD_HYPERCALL_H
#define MOTE_BOARD_HYPERCALL_H

#include "board/vcpu.h"

/* The call's number and arguments are in the guest's registers; the result goes to RAX. */
int hypercall_answer(struct cpu *cpu);

#endif
