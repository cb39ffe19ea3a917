#ifndef MOTE_CMD_CPU_HELP_H
#define MOTE_CMD_CPU_HELP_H

/* mote run --cpu help: the models and features, and which each accelerator has here. */
void cpu_help(void);

#endif
