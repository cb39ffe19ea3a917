/* A file for output that appears whole or not at all. */
#ifndef MOTE_CMD_OUTFILE_H
#define MOTE_CMD_OUTFILE_H

#include <stdio.h>

struct outfile {
    const char *path;
    char *temporary; /* beside path; NULL: path is no regular file and is written directly */
    FILE *stream;
};

/* path must outlive it. -errno with a sentence. */
int outfile_open(struct outfile *out, const char *path);

/* Close, and put the file in its place. -errno: nothing was changed there. */
int outfile_commit(struct outfile *out);

#endif
