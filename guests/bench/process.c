/* Processes: fork, exec, and a compiler. */
#include "bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t wait_for(pid_t child)
{
    int status;

    if (child < 0)
        die("fork");
    if (waitpid(child, &status, 0) != child)
        die("waitpid");
    return (uint64_t)status;
}

static uint64_t run_fork(void)
{
    pid_t child = fork();

    if (!child)
        _exit(NOTHING_STATUS);
    return wait_for(child);
}

static uint64_t run_exec(void)
{
    pid_t child = fork();

    if (!child) {
        execl("/proc/self/exe", "bench-engine", "nothing", (char *)NULL);
        _exit(127);
    }
    return wait_for(child);
}

/*
 * BENCH_FILES names a folder with tcc, its loader and libraries, and program.c: the same
 * files for all that are compared.
 */
#define OUTPUT "/dev/shm/bench-engine.o"

static const char *folder(void)
{
    const char *got = getenv("BENCH_FILES");

    return got ? got : "/bench";
}

static const char *lack_compiler(void)
{
    char path[256];

    snprintf(path, sizeof path, "%s/tcc", folder());
    return access(path, X_OK) ? "tcc" : NULL;
}

static uint64_t run_compile(void)
{
    char output[64];
    pid_t child;
    struct stat info;
    uint64_t sum;
    void *data;
    int fd;

    /* Others may do the same here. */
    snprintf(output, sizeof output, "%s.%d", OUTPUT, (int)getpid());
    child = fork();
    if (!child) {
        if (!chdir(folder()))
            execl("ld-linux-x86-64.so.2", "ld-linux-x86-64.so.2", "--library-path", ".", "./tcc",
                  "-nostdinc", "-w", "-c", "program.c", "-o", output, (char *)NULL);
        _exit(127);
    }
    if (wait_for(child))
        die("tcc");
    fd = open(output, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) || !info.st_size)
        die(output);
    data = malloc((size_t)info.st_size);
    if (!data || read(fd, data, (size_t)info.st_size) != info.st_size)
        die(output);
    close(fd);
    unlink(output);
    sum = checksum(data, (size_t)info.st_size);
    free(data);
    return sum;
}

const struct workload process_workloads[] = {
    {.name = "fork", .group = "system", .unit = "a process", .count = 1, .run = run_fork},
    {.name = "exec", .group = "system", .unit = "a program", .count = 1, .run = run_exec},
    {.name = "compile",
     .group = "whole",
     .unit = "a program by tcc",
     .count = 1,
     .run = run_compile,
     .lack = lack_compiler},
    {},
};
