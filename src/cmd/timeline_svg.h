/* A trace as a picture: bars to scale, a row for each name, in two panels. */
#ifndef MOTE_CMD_TIMELINE_SVG_H
#define MOTE_CMD_TIMELINE_SVG_H

#include "cmd/trace_file.h"

#include <stdio.h>

/*
 * Write an SVG document. Above are the events up to the end of the first that is
 * called "start" (base/steps.h), so that the guest's long run does not squash
 * them; below the whole trace. Without such an event there is one panel.
 */
void timeline_svg(FILE *out, const struct trace_file *trace);

#endif
