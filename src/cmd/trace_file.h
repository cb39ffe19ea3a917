/* A file of Chrome trace events, as far as a time line needs it. Nothing in it is believed. */
#ifndef MOTE_CMD_TRACE_FILE_H
#define MOTE_CMD_TRACE_FILE_H

#include <stddef.h>

#define TRACE_FILE_MAX   (16u << 20) /* bytes */
#define TRACE_EVENTS_MAX 4096
#define TRACE_NAME_MAX   64 /* bytes with the NUL; what is longer is cut */

struct trace_event {
    char name[TRACE_NAME_MAX]; /* UTF-8 */
    double at, dur;            /* microseconds, finite; dur is 0 or more */
};

struct trace_file {
    unsigned count; /* at least 1 */
    struct trace_event *event;
};

/*
 * Parse the complete events ("ph":"X") of a JSON array, or of the object that has
 * it as "traceEvents"; others are skipped. name is of the file, for the sentence.
 * -EINVAL: no JSON, an event that is malformed, none, or too many; -ENOMEM.
 */
int trace_file_parse(struct trace_file *trace, const char *name, const char *text, size_t len);

/* The same from a file; -errno if it cannot be read, -EFBIG: over TRACE_FILE_MAX. */
int trace_file_load(struct trace_file *trace, const char *path);

void trace_file_free(struct trace_file *trace);

#endif
