/* The kernel's shortest paths: a system call, page faults, pipes between two processes. */
#include "bench.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLS 256

static uint64_t run_getppid(void)
{
    long parent = syscall(SYS_getppid), sum = 0;

    for (int i = 0; i < CALLS; i++)
        sum += syscall(SYS_getppid) == parent;
    return (uint64_t)sum;
}

#define PAGES 256
#define PAGE  4096

static uint64_t run_faults(void)
{
    uint64_t sum = 0;
    volatile char *at =
        mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED)
        die("mmap");
    madvise((void *)at, PAGES * PAGE, MADV_NOHUGEPAGE); /* where the kernel knows it */
    for (int i = 0; i < PAGES; i++) {
        sum += (uint64_t)at[i * PAGE];
        at[i * PAGE + 8] = (char)i;
    }
    for (int i = 0; i < PAGES; i++)
        sum = sum * 3 + (uint8_t)at[i * PAGE + 8];
    if (munmap((void *)at, PAGES * PAGE))
        die("munmap");
    return sum;
}

#define TRIPS 32
static int there[2], back[2];
static pid_t other;

static void prepare_pipes(void)
{
    uint8_t byte;

    if (pipe(there) || pipe(back))
        die("pipe");
    other = fork();
    if (other < 0)
        die("fork");
    if (!other) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1) {
            byte = (uint8_t)(byte * 5 + 1);
            if (write(back[1], &byte, 1) != 1)
                break;
        }
        _exit(0);
    }
}

static uint64_t run_pipes(void)
{
    uint8_t byte = 3;

    for (int i = 0; i < TRIPS; i++)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            die("pipe");
    return byte;
}

static void finish_pipes(void)
{
    close(there[1]);
    if (waitpid(other, NULL, 0) != other)
        die("waitpid");
}

const struct workload system_workloads[] = {
    {.name = "getppid",
     .group = "system",
     .unit = "a call",
     .count = CALLS + 1,
     .run = run_getppid},
    {.name = "faults", .group = "system", .unit = "a page", .count = PAGES, .run = run_faults},
    {.name = "pipes",
     .group = "system",
     .unit = "a round trip",
     .count = TRIPS,
     .prepare = prepare_pipes,
     .run = run_pipes,
     .finish = finish_pipes},
    {},
};
