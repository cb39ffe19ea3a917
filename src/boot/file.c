#include "boot/file.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int file_check(const char *path, const char *what, const struct stat *st)
{
    if (S_ISDIR(st->st_mode))
        return err_set(EISDIR, "%s: is a directory, expected %s", path, what);
    if (!S_ISREG(st->st_mode))
        return err_set(EINVAL, "%s: is not a regular file, expected %s", path, what);
    if (!st->st_size)
        return err_set(EINVAL, "%s: is empty, expected %s", path, what);
    return 0;
}

int file_open(struct file *file, const char *path, const char *what)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int ret;

    if (fd < 0)
        return err_sys(errno, "%s: cannot open %s", path, what);
    ret = fstat(fd, &st) ? err_sys(errno, "%s", path) : file_check(path, what, &st);
    if (ret) {
        close(fd);
        return ret;
    }
    *file = (struct file){path, NULL, (uint64_t)st.st_size, true, fd, file->read, file->load};
    return 0;
}

void file_close(struct file *file)
{
    if (!file->on_disk)
        return;
    close(file->fd);
    file->on_disk = false;
}

static int read_disk(const struct file *file, uint64_t offset, uint8_t *to, uint64_t len)
{
    while (len) {
        ssize_t n = pread(file->fd, to, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(errno, "%s: cannot read", file->path);
        if (!n)
            return err_set(EIO,
                           "%s: ended at byte %" PRIu64 " while it was read, expected %" PRIu64,
                           file->path, offset, file->size);
        to += n;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

int file_peek(const struct file *file, uint64_t offset, void *to, uint64_t len)
{
    if (file->on_disk)
        return read_disk(file, offset, to, len);
    if (len && to != file->data + offset) /* where it is already, 50 MB need no moving */
        memmove(to, file->data + offset, len);
    return 0;
}

int file_read(const struct file *file, uint64_t offset, void *to, uint64_t len)
{
    if (!file->on_disk)
        return file_peek(file, offset, to, len);
    step_end(file->load);
    return step_done(file->read, file_peek(file, offset, to, len));
}
