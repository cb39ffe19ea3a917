/* What a vCPU's exits ask for: accesses to devices, MSRs, hypercalls, ends. */
#ifndef MOTE_BOARD_CPU_EXIT_H
#define MOTE_BOARD_CPU_EXIT_H

#include "board/vcpu.h"

/* Answer cpu->exit. On the vCPU's thread. -errno: the machine cannot go on. */
int cpu_answer_exit(struct cpu *cpu);

#endif
