/* mote run --timings: what base/steps.h recorded, as a table, JSON or a trace. */
#ifndef MOTE_CMD_TIMINGS_H
#define MOTE_CMD_TIMINGS_H

#include "base/steps.h"

enum timings_form {
    TIMINGS_OFF,
    TIMINGS_TEXT,
    TIMINGS_JSON,
    TIMINGS_TRACE, /* Chrome's trace events, of the last run */
};

struct timings {
    enum timings_form form;
    const char *trace_path;
    unsigned room, runs;
    uint64_t (*ns)[STEP_COUNT]; /* of each run; UINT64_MAX: did not happen */
};

/*
 * Room for so many runs, taken at once so that it does not grow with them; with
 * TIMINGS_OFF nothing. -ENOMEM.
 */
int timings_init(struct timings *t, unsigned runs);
void timings_free(struct timings *t);

/* Keep the steps of the run that ended. */
void timings_add(struct timings *t);

/*
 * Table and JSON go to standard error. Of several runs they show, for each step,
 * the median and the least of the second to the last. -errno with a sentence.
 */
int timings_print(const struct timings *t);

#endif
