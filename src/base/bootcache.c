#include "base/bootcache.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_MAX 1024

static bool is_ours(int fd, mode_t type)
{
    struct stat st;

    return !fstat(fd, &st) && (st.st_mode & S_IFMT) == type && st.st_uid == geteuid() &&
           !(st.st_mode & (S_IWGRP | S_IWOTH));
}

/* base/below (below may be ""), then mote in it. fd or -1. */
static int open_below(const char *base, const char *below)
{
    char path[PATH_MAX];
    int fd;

    if (!base || base[0] != '/') /* the XDG specification has relative ones ignored */
        return -1;
    if ((size_t)snprintf(path, sizeof(path), "%s%s", base, below) >= sizeof(path) - 5)
        return -1;
    mkdir(path, 0700);
    strcat(path, "/mote");
    mkdir(path, 0700);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && !is_ours(fd, S_IFDIR)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int open_folder(void)
{
    int fd = open_below(getenv("XDG_RUNTIME_DIR"), "");

    if (fd < 0)
        fd = open_below(getenv("XDG_CACHE_HOME"), "");
    if (fd < 0)
        fd = open_below(getenv("HOME"), "/.cache");
    return fd;
}

static int read_all(int fd, char *buf, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, buf + len, size - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0) {
            buf[len] = '\0';
            return 0;
        }
        len += (size_t)n;
    }
    return -EFBIG;
}

static int read_file(const char *name, char *buf, size_t size)
{
    int fd, err = -ENOENT, folder = open_folder();

    if (folder < 0)
        return -ENOENT;
    fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        if (is_ours(fd, S_IFREG))
            err = read_all(fd, buf, size);
        close(fd);
    }
    close(folder);
    return err;
}

/* The line before the text. false: the host does not tell its boots apart. */
static bool make_head(const char *key, char *head, size_t size)
{
    char boot_id[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && !read_all(fd, boot_id, sizeof(boot_id));

    if (fd >= 0)
        close(fd);
    if (!ok)
        return false;
    boot_id[strcspn(boot_id, "\n")] = '\0';
    return boot_id[0] && (size_t)snprintf(head, size, "mote-" MOTE_VERSION " %s %u %s\n", boot_id,
                                          (unsigned)geteuid(), key) < size;
}

int bootcache_read(const char *name, const char *key, char *buf, size_t size)
{
    char head[HEAD_MAX];
    size_t len;
    int err = read_file(name, buf, size);

    if (err)
        return err;
    if (!make_head(key, head, sizeof(head)))
        return -ENOENT;
    len = strlen(head);
    if (strncmp(buf, head, len))
        return -ENOENT;
    memmove(buf, buf + len, strlen(buf + len) + 1);
    return 0;
}

static int write_all(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = write(fd, text, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text += n;
        len -= (size_t)n;
    }
    return 0;
}

static int write_texts(int fd, const char *head, const char *text)
{
    int err = write_all(fd, head, strlen(head));

    return err ? err : write_all(fd, text, strlen(text));
}

int bootcache_write(const char *name, const char *key, const char *text)
{
    char temp[NAME_MAX], head[HEAD_MAX];
    int fd, err, folder;

    if (!make_head(key, head, sizeof(head)))
        return -ENOENT;
    folder = open_folder();
    if (folder < 0)
        return -ENOENT;
    snprintf(temp, sizeof(temp), "%s.%ld", name, (long)getpid());
    unlinkat(folder, temp, 0); /* left by a crash long ago */
    fd = openat(folder, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    err = fd < 0 ? -errno : write_texts(fd, head, text);
    if (fd >= 0 && close(fd) && !err)
        err = -errno;
    if (!err && renameat(folder, temp, folder, name))
        err = -errno;
    if (err && fd >= 0)
        unlinkat(folder, temp, 0);
    close(folder);
    return err;
}
