/* Files of a memory file system: created, written, read and removed. */
#include "bench.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FILES  8
#define SIZE   16384
#define FOLDER "/dev/shm"

static char *data, *got;

static const char *lack_tmpfs(void)
{
    struct statfs info;

    return statfs(FOLDER, &info) || info.f_type != TMPFS_MAGIC ? "a tmpfs at " FOLDER : NULL;
}

static void prepare(void)
{
    data = allocate(SIZE);
    got = allocate(SIZE);
    fill_random(data, SIZE, 18);
}

static uint64_t run_files(void)
{
    char path[64];
    uint64_t sum = 0;

    for (int i = 0; i < FILES; i++) {
        int fd;
        snprintf(path, sizeof path, FOLDER "/bench-engine.%d.%d", (int)getpid(), i);
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0)
            die(path);
        for (size_t done = 0; done < SIZE; done += 4096)
            if (write(fd, data + done, 4096) != 4096)
                die(path);
        if (lseek(fd, 0, SEEK_SET) || read(fd, got, SIZE) != SIZE || unlink(path) || close(fd))
            die(path);
        sum = mix(sum, (uint8_t)got[i * 1000]);
    }
    return sum;
}

const struct workload file_workloads[] = {
    {.name = "files",
     .group = "whole",
     .unit = "a file of 16 KiB",
     .count = FILES,
     .prepare = prepare,
     .run = run_files,
     .lack = lack_tmpfs},
    {},
};
