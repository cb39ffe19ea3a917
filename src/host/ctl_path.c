#include "host/ctl_path.h"

#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_LEN 32

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

bool ctl_name_is_good(const char *name)
{
    size_t len = strlen(name);

    if (strchr(name, '/'))
        return len < CTL_PATH_MAX;
    return len && len <= NAME_LEN && strspn(name, LETTERS) && strspn(name, LETTERS ".-") == len;
}

/* The user's own folder at the end of no symbolic link, which others cannot change. */
static int check_folder(const char *path)
{
    struct stat st;

    if (lstat(path, &st))
        return err_sys(errno, "%s", path);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
        return err_set(EPERM, "%s: expected a folder of this user's that nobody else may write to",
                       path);
    return 0;
}

static bool is_own_folder(const char *path)
{
    struct stat st;

    return path && path[0] == '/' && !stat(path, &st) && S_ISDIR(st.st_mode) &&
           st.st_uid == geteuid();
}

int ctl_folder(char path[CTL_PATH_MAX], bool make)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int len;

    if (is_own_folder(runtime))
        len = snprintf(path, CTL_PATH_MAX, "%s/mote", runtime);
    else if (!geteuid())
        len = snprintf(path, CTL_PATH_MAX, "/run/mote");
    else
        len = snprintf(path, CTL_PATH_MAX, "/tmp/mote-%u", (unsigned)geteuid());
    if (len >= (int)CTL_PATH_MAX)
        return err_set(ENAMETOOLONG, "%s: too long for the path of a socket", runtime);
    if (make && mkdir(path, 0700) && errno != EEXIST)
        return err_sys(errno, "%s", path);
    return check_folder(path);
}

int ctl_path(char path[CTL_PATH_MAX], const char *name, bool make)
{
    int err = ctl_folder(path, make);
    size_t len;

    if (err)
        return err;
    len = strlen(path);
    if ((size_t)snprintf(path + len, CTL_PATH_MAX - len, "/%s.sock", name) >= CTL_PATH_MAX - len)
        return err_set(ENAMETOOLONG, "%s: too long for the path of a socket", path);
    return 0;
}
