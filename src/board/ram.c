#include "board/ram.h"

#include "base/ahead.h"
#include "base/bits.h"
#include "base/err.h"
#include "host/hostinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define HUGE_2M UINT64_C(0x200000)

static unsigned long long mib(uint64_t bytes)
{
    return bytes >> 20;
}

/* ---- is there enough? ---- */

/*
 * Memory that is taken as the guest touches it may be more than is free now. More than
 * there can ever be is refused as the kernel does with ordinary memory: unless the
 * host's administrator said that everything is granted.
 */
static int check_size(const struct ram_config *cfg)
{
    struct host_memory host;
    uint64_t limit;

    if (cfg->hugepages)
        return 0; /* the kernel counts these itself */
    host_memory(&host);
    limit = host.total + host.swap;
    if (host.total && cfg->size > limit && !host.overcommit)
        return err_set(ENOMEM,
                       "--memory: %lluM is more than the host has (%lluM with swap), and "
                       "/proc/sys/vm/overcommit_memory does not allow it",
                       mib(cfg->size), mib(limit));
    limit = host.available + host.swap;
    if (host.available && cfg->prefault && cfg->size > limit)
        return err_set(ENOMEM, "--memory: %lluM at once is more than the host has free (%lluM)",
                       mib(cfg->size), mib(limit));
    return 0;
}

static int out_of_hugepages(const struct ram_config *cfg)
{
    unsigned long long kib = cfg->hugepages >> 10, have = 0;
    char free_pages[80], reserve[80] = "/proc/sys/vm/nr_hugepages";
    FILE *f;

    snprintf(free_pages, sizeof(free_pages),
             "/sys/kernel/mm/hugepages/hugepages-%llukB/free_hugepages", kib);
    if (cfg->hugepages != HUGE_2M)
        snprintf(reserve, sizeof(reserve), "/sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages",
                 kib);
    f = fopen(free_pages, "re");
    if (!f)
        return err_set(ENOMEM, "--memory: the host has no huge pages of %lluM", kib >> 10);
    if (fscanf(f, "%llu", &have) != 1)
        have = 0;
    fclose(f);
    return err_set(ENOMEM,
                   "--memory: needs %llu huge pages of %lluM, of which the host has %llu free; "
                   "%s reserves them",
                   mib(cfg->size) / (kib >> 10), kib >> 10, have, reserve);
}

/* ---- getting it ---- */

static unsigned huge_flag(const struct ram_config *cfg, unsigned flag)
{
    unsigned log = (unsigned)__builtin_ctzll(cfg->hugepages | BIT(63));

    return cfg->hugepages ? flag | log << MAP_HUGE_SHIFT : 0;
}

/* A memfd of the RAM's size, which whoever it is handed to cannot change. */
static int open_memfd(const struct ram_config *cfg)
{
    int err, fd = memfd_create("guest-ram",
                               MFD_CLOEXEC | MFD_ALLOW_SEALING | huge_flag(cfg, MFD_HUGETLB));

    if (fd < 0)
        return -errno;
    if (!ftruncate(fd, (off_t)cfg->size) &&
        !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        return fd;
    err = -errno;
    close(fd);
    return err;
}

static void *map(const struct ram *ram, const struct ram_config *cfg, void *at, int fixed)
{
    int kind = ram->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;

    /* Huge pages that were not set aside now would be missed by a fault: SIGBUS. */
    if (cfg->hugepages)
        kind |= (int)huge_flag(cfg, MAP_HUGETLB);
    else
        kind |= MAP_NORESERVE;
    return mmap(at, cfg->size, PROT_READ | PROT_WRITE, kind | fixed, ram->fd, 0);
}

/* At a multiple of 2 MiB, since only so can the host back guest memory by large pages. */
static int map_aligned(struct ram *ram, const struct ram_config *cfg)
{
    uint64_t room = cfg->size + HUGE_2M, before;
    uint8_t *p = map(ram, cfg, NULL, 0);

    if (p != MAP_FAILED && (uintptr_t)p % HUGE_2M && cfg->size >= HUGE_2M) {
        munmap(p, cfg->size);
        p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return -errno;
        before = -(uintptr_t)p % HUGE_2M;
        if (before)
            munmap(p, before);
        munmap(p + before + cfg->size, HUGE_2M - before);
        ram->hva = p + before;
        p = map(ram, cfg, ram->hva, MAP_FIXED);
    }
    if (p == MAP_FAILED)
        return -errno;
    ram->hva = p;
    return 0;
}

/*
 * Fewer faults and TLB misses; where refused, no harm. Tables, command line and
 * small guests are at the bottom, and would pay for zeroing 2 MiB.
 */
static void advise(const struct ram *ram, const struct ram_config *cfg)
{
    if (cfg->no_thp)
        madvise(ram->hva, ram->size, MADV_NOHUGEPAGE);
    else if (!cfg->hugepages && ram->size > HUGE_2M)
        madvise(ram->hva + HUGE_2M, ram->size - HUGE_2M, MADV_HUGEPAGE);
}

/* ---- taking it at once ---- */

struct part {
    pthread_t thread;
    uint8_t *hva;
    uint64_t size;
    int err;
};

static void *populate(void *user)
{
    struct part *part = user;
    int ret;

    do
        ret = madvise(part->hva, part->size, MADV_POPULATE_WRITE);
    while (ret && (errno == EINTR || errno == EAGAIN));
    part->err = ret ? -errno : 0;
    if (part->err != -EINVAL)
        return NULL;
    for (uint64_t at = 0; at < part->size; at += PAGE_SIZE) /* before Linux 5.14 */
        *(volatile uint8_t *)(part->hva + at) = 0;
    part->err = 0;
    return NULL;
}

/* The pages have to be zeroed, so a thread for each of the host's processors. */
static int populate_all(const struct ram *ram)
{
    struct part part[8];
    unsigned n = (unsigned)MIN((uint64_t)MAX(get_nprocs(), 1), ARRAY_SIZE(part)), i;
    uint64_t each = align_up(ram->size / n + 1, HUGE_2M);
    int err = 0;

    for (i = 0; i < n && i * each < ram->size; i++) {
        part[i] =
            (struct part){.hva = ram->hva + i * each, .size = MIN(each, ram->size - i * each)};
        if (pthread_create(&part[i].thread, NULL, populate, &part[i])) {
            part[i].thread = pthread_self();
            populate(&part[i]);
        }
    }
    while (i-- > 0) {
        if (!pthread_equal(part[i].thread, pthread_self()))
            pthread_join(part[i].thread, NULL);
        err = err ? err : part[i].err;
    }
    return err;
}

int ram_alloc(struct ram *ram, const struct ram_config *cfg)
{
    int err = check_size(cfg);

    *ram = (struct ram){.size = cfg->size, .fd = -1};
    if (err)
        return err;
    if (cfg->shared)
        ram->fd = err = open_memfd(cfg);
    if (err >= 0)
        err = map_aligned(ram, cfg);
    if (!err) {
        advise(ram, cfg);
        err = cfg->prefault ? populate_all(ram) : 0;
    }
    if (!err)
        return 0;
    ram_free(ram);
    if (cfg->hugepages)
        return out_of_hugepages(cfg);
    return err_sys(-err, "--memory: cannot get %lluM from the host", mib(cfg->size));
}

uint64_t ram_resident(const struct ram *ram)
{
    unsigned char page[4096]; /* of as many pages, 16 MiB */
    uint64_t bytes = 0;

    for (uint64_t at = 0; at < ram->size; at += sizeof(page) * PAGE_SIZE) {
        uint64_t len = MIN(ram->size - at, sizeof(page) * PAGE_SIZE);

        if (mincore(ram->hva + at, len, page))
            return 0;
        for (uint64_t i = 0; i < len / PAGE_SIZE; i++)
            bytes += (page[i] & 1) * PAGE_SIZE;
    }
    return bytes;
}

void ram_free(struct ram *ram)
{
    if (ram->hva)
        munmap(ram->hva, ram->size);
    if (ram->size && ram->fd >= 0)
        close(ram->fd);
    *ram = (struct ram){.fd = -1};
}
