/*
 * The guest of bench/exits: the first process of a Linux kernel. It writes to the
 * console in phases, each ended by a write to MARK_PAGE, which exits-count.c sees, and
 * switches the machine off, or resets it where the command line has "end=reset". The
 * phases print as many bytes as the command line's "bytes=N" says, and twice as many.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#define MARK_PAGE 0xd0000000 /* nothing is there */
#define LINE      100

#define SYSLOG_ACTION_CONSOLE_LEVEL 8

static void fail(const char *what)
{
    perror(what);
    sleep(1000);
}

static volatile unsigned char *marks;

static void mark_init(void)
{
    int fd;

    mount("dev", "/dev", "devtmpfs", 0, NULL);
    fd = open("/dev/mem", O_RDWR | O_SYNC);
    marks = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, MARK_PAGE);
    if (marks == MAP_FAILED)
        fail("/dev/mem");
}

static void mark(void)
{
    *marks = 0;
}

/* Through the tty's driver, which waits for the UART's interrupts. */
static void by_tty(int fd, unsigned bytes)
{
    char line[LINE];

    memset(line, 't', LINE);
    line[LINE - 1] = '\n';
    for (unsigned n = 0; n < bytes; n += LINE) {
        if (write(fd, line, LINE) != LINE)
            fail("tty");
    }
    if (tcdrain(fd))
        fail("tcdrain");
    usleep(200000); /* the driver's last interrupt comes after that */
    mark();
}

/* Through printk, whose console polls the UART; the kernel adds a CR to each line. */
static void by_printk(int fd, unsigned bytes)
{
    char line[LINE - 1];

    memset(line, 'k', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (unsigned n = 0; n < bytes; n += LINE) {
        if (write(fd, line, sizeof(line)) != sizeof(line))
            fail("kmsg");
    }
    usleep(200000);
    mark();
}

static char text[2048]; /* the command line */

static void read_cmdline(void)
{
    int fd;

    mount("proc", "/proc", "proc", 0, NULL);
    fd = open("/proc/cmdline", O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
        fail("/proc/cmdline");
    close(fd);
}

static unsigned number(const char *name)
{
    const char *at = strstr(text, name);

    return at ? (unsigned)strtoul(at + strlen(name), NULL, 10) : 0;
}

int main(void)
{
    unsigned bytes;
    struct termios t;
    int tty, kmsg;

    mark_init();
    mark(); /* booted */
    read_cmdline();
    bytes = number("bytes=");
    tty = open("/dev/ttyS0", O_WRONLY);
    kmsg = open("/dev/kmsg", O_WRONLY);
    if (tty < 0 || kmsg < 0 || tcgetattr(tty, &t))
        fail("/dev/ttyS0 or /dev/kmsg");
    t.c_oflag &= ~(tcflag_t)OPOST; /* a byte is a byte */
    tcsetattr(tty, TCSADRAIN, &t);
    mark();
    by_tty(tty, bytes);
    by_tty(tty, 2 * bytes);
    klogctl(SYSLOG_ACTION_CONSOLE_LEVEL, NULL, 8);
    mark();
    by_printk(kmsg, bytes);
    by_printk(kmsg, 2 * bytes);
    klogctl(SYSLOG_ACTION_CONSOLE_LEVEL, NULL, 1);
    mark();
    reboot(strstr(text, "end=reset") ? RB_AUTOBOOT : RB_POWER_OFF);
    fail("reboot");
}
