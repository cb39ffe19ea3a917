#include "emu/thunk.h"

#include "base/bits.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif

/* Room for every vector instruction with every immediate, mostly never touched. */
#define ARENA_SIZE  (UINT64_C(8) << 20)
#define THUNK_ALIGN 32

static struct {
    pthread_mutex_t lock;
    bool tried;
    uint8_t *rw; /* NULL: no second view, a page a thunk */
    uint8_t *rx;
    size_t used;
} arena = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Two views of one memfd, or rx == NULL. */
static void arena_map(void)
{
    int fd = memfd_create("mote-thunks", MFD_CLOEXEC | MFD_EXEC);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("mote-thunks", MFD_CLOEXEC);
    if (fd < 0)
        return;
    if (ftruncate(fd, ARENA_SIZE) == 0) {
        void *rw = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        void *rx = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);

        if (rw != MAP_FAILED && rx != MAP_FAILED) {
            arena.rw = rw;
            arena.rx = rx;
        } else {
            if (rw != MAP_FAILED)
                munmap(rw, ARENA_SIZE);
            if (rx != MAP_FAILED)
                munmap(rx, ARENA_SIZE);
        }
    }
    close(fd);
}

/* A page of its own: writable, then executable, never both. */
static const void *page_place(const uint8_t *code, size_t len)
{
    void *page;

    if (arena.used + PAGE_SIZE > ARENA_SIZE)
        return NULL;
    page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    memcpy(page, code, len);
    if (mprotect(page, PAGE_SIZE, PROT_READ | PROT_EXEC) != 0) {
        munmap(page, PAGE_SIZE);
        return NULL;
    }
    arena.used += PAGE_SIZE;
    return page;
}

const void *thunk_place(const uint8_t *code, size_t len)
{
    const void *at = NULL;

    if (len > THUNK_MAX)
        return NULL;
    pthread_mutex_lock(&arena.lock);
    if (!arena.tried) {
        arena.tried = true;
        arena_map();
    }
    if (!arena.rw) {
        at = page_place(code, len);
    } else if (arena.used + len <= ARENA_SIZE) {
        memcpy(arena.rw + arena.used, code, len);
        at = arena.rx + arena.used;
        arena.used = align_up(arena.used + len, THUNK_ALIGN);
    }
    pthread_mutex_unlock(&arena.lock);
    return at;
}
