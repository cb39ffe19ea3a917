#include "cmd/outfile.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A pipe or a device cannot be replaced by a file. */
static bool is_special(const char *path)
{
    struct stat st;

    return !stat(path, &st) && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

int outfile_open(struct outfile *out, const char *path)
{
    int fd, flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY;

    *out = (struct outfile){.path = path};
    if (is_special(path))
        flags = O_WRONLY | O_CLOEXEC | O_NOCTTY;
    else if (asprintf(&out->temporary, "%s.%d.tmp", path, (int)getpid()) < 0)
        return err_set(ENOMEM, "out of memory");
    fd = open(out->temporary ? out->temporary : path, flags, 0666);
    if (fd >= 0)
        out->stream = fdopen(fd, "w");
    if (out->stream)
        return 0;
    err_sys(errno, "%s: cannot write", path);
    if (fd >= 0)
        close(fd);
    free(out->temporary);
    return -EIO;
}

int outfile_commit(struct outfile *out)
{
    int err = ferror(out->stream) ? EIO : 0;

    if (fclose(out->stream) && !err)
        err = errno;
    if (!err && out->temporary && rename(out->temporary, out->path))
        err = errno;
    if (err && out->temporary)
        unlink(out->temporary);
    free(out->temporary);
    return err ? err_sys(err, "%s: cannot write", out->path) : 0;
}
