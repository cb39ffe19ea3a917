#include "boot/file.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
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

int file_map(struct file *file, const char *path, const char *what)
{
    struct stat st;
    void *data = MAP_FAILED;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int ret;

    if (fd < 0)
        return err_sys(errno, "%s: cannot open %s", path, what);
    ret = fstat(fd, &st) ? err_sys(errno, "%s", path) : file_check(path, what, &st);
    if (!ret) {
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            ret = err_sys(errno, "%s: cannot map %s", path, what);
    }
    close(fd);
    if (!ret)
        *file = (struct file){path, data, (uint64_t)st.st_size};
    return ret;
}

void file_unmap(struct file *file)
{
    if (file->data)
        munmap((void *)file->data, file->size);
    file->data = NULL;
}
