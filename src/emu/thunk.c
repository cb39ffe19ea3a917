#include "emu/thunk.h"

#include "base/bits.h"
#include "emu/code_mem.h"

#include <pthread.h>
#include <sys/mman.h>

/* Room for every vector instruction with every immediate, mostly never touched. */
#define ARENA_SIZE  (UINT64_C(8) << 20)
#define THUNK_ALIGN 32

static struct {
    pthread_mutex_t lock;
    bool tried;
    struct code_mem mem; /* rw NULL: no second view, a page a thunk */
} arena = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A page of its own: writable, then executable, never both. */
static const void *page_place(const uint8_t *code, size_t len)
{
    void *page;

    if (arena.mem.used + PAGE_SIZE > ARENA_SIZE)
        return NULL;
    page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    memcpy(page, code, len);
    if (mprotect(page, PAGE_SIZE, PROT_READ | PROT_EXEC) != 0) {
        munmap(page, PAGE_SIZE);
        return NULL;
    }
    arena.mem.used += PAGE_SIZE;
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
        code_mem_init(&arena.mem, ARENA_SIZE); /* else rw stays NULL */
    }
    if (!arena.mem.rw) {
        at = page_place(code, len);
    } else if (arena.mem.used + len <= ARENA_SIZE) {
        memcpy(arena.mem.rw + arena.mem.used, code, len);
        at = arena.mem.rx + arena.mem.used;
        arena.mem.used = align_up(arena.mem.used + len, THUNK_ALIGN);
    }
    pthread_mutex_unlock(&arena.lock);
    return at;
}
