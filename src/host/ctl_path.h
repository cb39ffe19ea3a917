/* Where the sockets of running machines are (mote run --name), for both ends of them. */
#ifndef MOTE_HOST_CTL_PATH_H
#define MOTE_HOST_CTL_PATH_H

#include <stdbool.h>
#include <sys/un.h>

#define CTL_PATH_MAX   sizeof(((struct sockaddr_un *)0)->sun_path)
#define CTL_PATH_RULES "letters, digits, '.', '_' and '-' (not first), or the path of a socket"

/* Is it such a name, of at most 32 characters, or has it a slash, and is then a path? */
bool ctl_name_is_good(const char *name);

/*
 * The folder: $XDG_RUNTIME_DIR/mote where that variable names a folder of this
 * user's, else /run/mote for root and /tmp/mote-UID for others. It belongs to
 * the user and nobody else may write to it, else -EPERM; -ENOENT: it is not
 * there; with `make` it is made. -ENAMETOOLONG, and others of mkdir.
 */
int ctl_folder(char path[CTL_PATH_MAX], bool make);

/* The socket of a good name: FOLDER/NAME.sock. Errors of ctl_folder; not for paths. */
int ctl_path(char path[CTL_PATH_MAX], const char *name, bool make);

#endif
