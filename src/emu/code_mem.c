#include "emu/code_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif

int code_mem_init(struct code_mem *m, size_t size)
{
    int fd = memfd_create("mote-code", MFD_CLOEXEC | MFD_EXEC), err = 0;
    void *rw, *rx;

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("mote-code", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size)) {
        err = -errno;
        close(fd);
        return err;
    }
    rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    rx = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    if (rw == MAP_FAILED || rx == MAP_FAILED)
        err = -errno;
    close(fd);
    if (err) {
        if (rw != MAP_FAILED)
            munmap(rw, size);
        if (rx != MAP_FAILED)
            munmap(rx, size);
        return err;
    }
    *m = (struct code_mem){rw, rx, size, 0, 0};
    return 0;
}

void code_mem_free(struct code_mem *m)
{
    if (!m->rw)
        return;
    munmap(m->rw, m->size);
    munmap((void *)m->rx, m->size);
    *m = (struct code_mem){0};
}

void code_mem_reset(struct code_mem *m, size_t keep)
{
    size_t from = align_up(keep, PAGE_SIZE);

    if (m->used > from)
        madvise(m->rw + from, m->size - from, MADV_REMOVE);
    m->used = keep;
    m->ahead = 0;
}
