/*
 * bench/exits puts this into a VMM's process (LD_PRELOAD), the same for every VMM:
 * it counts how often ioctl(KVM_RUN) comes back, by what kvm_run says the exit was.
 *
 * The guest divides its life into phases by a write to MARK_PAGE, whose exit is not
 * counted. At the end of the process one line for each count goes to the file named by
 * EXITS_FILE: phase, reason (Linux's KVM_EXIT_ number; -errno when KVM_RUN failed), port
 * or guest-physical address, 1 for a write, and how many.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MARK_PAGE 0xd0000000
#define FDS       1024
#define SLOTS     4096 /* a power of two */

struct key {
    int phase, reason;
    uint64_t where;
    int write;
};

static struct {
    struct key key;
    uint64_t count; /* 0: free */
} slot[SLOTS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char is_vcpu[FDS];
static struct kvm_run *runs[FDS];
static int phase;

static int same(const struct key *a, const struct key *b)
{
    return a->phase == b->phase && a->reason == b->reason && a->where == b->where &&
           a->write == b->write;
}

static void count(struct key key)
{
    uint64_t hash = (key.where * 4 + (uint64_t)key.write * 2) * 0x9e3779b97f4a7c15u;
    unsigned i = (unsigned)(hash >> 40) + (unsigned)key.reason * 31 + (unsigned)key.phase * 97;

    for (unsigned n = 0; n < SLOTS; n++, i++) {
        if (slot[i % SLOTS].count && !same(&slot[i % SLOTS].key, &key))
            continue;
        slot[i % SLOTS].key = key;
        slot[i % SLOTS].count++;
        return;
    }
    fputs("exits-count: too many kinds of exits\n", stderr);
    abort();
}

static void returned(const struct kvm_run *run, int err)
{
    struct key key = {phase, err ? -err : (int)run->exit_reason, 0, 0};

    pthread_mutex_lock(&lock);
    key.phase = phase;
    if (!err && run->exit_reason == KVM_EXIT_IO) {
        key.where = run->io.port;
        key.write = run->io.direction == KVM_EXIT_IO_OUT;
    } else if (!err && run->exit_reason == KVM_EXIT_MMIO) {
        key.where = run->mmio.phys_addr;
        key.write = run->mmio.is_write;
    }
    if (key.reason == KVM_EXIT_MMIO && key.where == MARK_PAGE)
        phase++;
    else
        count(key);
    pthread_mutex_unlock(&lock);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    void *arg;
    int ret, err;

    va_start(args, request);
    arg = va_arg(args, void *);
    va_end(args);
    ret = (int)syscall(SYS_ioctl, fd, request, arg);
    err = ret < 0 ? errno : 0;
    if (request == KVM_CREATE_VCPU && ret >= 0 && ret < FDS)
        is_vcpu[ret] = 1;
    if (request == KVM_RUN && fd >= 0 && fd < FDS && runs[fd])
        returned(runs[fd], err);
    errno = err ? err : errno;
    return ret;
}

void *mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
    void *got = (void *)syscall(SYS_mmap, at, size, prot, flags, fd, offset);

    if (got != MAP_FAILED && fd >= 0 && fd < FDS && is_vcpu[fd] && offset == 0)
        runs[fd] = got;
    return got;
}

void *mmap64(void *at, size_t size, int prot, int flags, int fd, off64_t offset)
{
    return mmap(at, size, prot, flags, fd, offset);
}

__attribute__((destructor)) static void report(void)
{
    const char *name = getenv("EXITS_FILE");
    FILE *out = name ? fopen(name, "w") : NULL;

    if (!out)
        return;
    for (unsigned i = 0; i < SLOTS; i++) {
        const struct key *k = &slot[i].key;

        if (slot[i].count)
            fprintf(out, "%d %d 0x%llx %d %llu\n", k->phase, k->reason,
                    (unsigned long long)k->where, k->write, (unsigned long long)slot[i].count);
    }
    fclose(out);
}
