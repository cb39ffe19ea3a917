/* mote run --memory SIZE[,OPTION...] */
#ifndef MOTE_CMD_MEMORY_OPTION_H
#define MOTE_CMD_MEMORY_OPTION_H

#include "board/ram.h"

#define MEMORY_DEFAULT (UINT64_C(256) << 20)

/* STATUS_OK, or STATUS_USAGE with a printed error; *ram is changed only by the former. */
int memory_option_parse(struct ram_config *ram, const char *text);

#endif
