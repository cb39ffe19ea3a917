/* Only by syscall(2), so that it also works without a C library. */
#include <fcntl.h>
#include <linux/reboot.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "machine.h"

#define READY_ADDRESS 0xd0000000UL
#define READY_BYTE    123

#define PORT_PM1_CNT 0x604               /* mote's, as its FADT says */
#define S5_NOW       (1 << 13 | 5 << 10) /* SLP_EN, and SLP_TYP of mote's _S5; ACPI 4.8.3.2.1 */

#define DEV_MEM 0x101UL /* character device 1:1 */

int machine_ready(void)
{
    static const char node[] = "/mem"; /* in the initramfs, whatever is mounted or not */

    syscall(SYS_mknod, node, S_IFCHR | 0600, DEV_MEM);
    int fd = (int)syscall(SYS_open, node, O_RDWR | O_SYNC, 0);
    if (fd < 0)
        return -1;
    uintptr_t at =
        (uintptr_t)syscall(SYS_mmap, NULL, 4096UL, PROT_WRITE, MAP_SHARED, fd, READY_ADDRESS);
    syscall(SYS_close, fd);
    if (at > -(uintptr_t)4096) /* -1, or -errno */
        return -1;
    *(volatile uint8_t *)at = READY_BYTE;
    return 0;
}

static void drain_console(void)
{
    syscall(SYS_ioctl, STDOUT_FILENO, TCSBRK, 1);
}

static void reboot_by(unsigned command)
{
    syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, command, NULL);
}

void machine_power_off(void)
{
    drain_console();
    if (syscall(SYS_ioperm, PORT_PM1_CNT, 2, 1) >= 0)
        __asm__ volatile("outw %w0, %w1" : : "a"(S5_NOW), "d"(PORT_PM1_CNT));
    reboot_by(LINUX_REBOOT_CMD_POWER_OFF);
    machine_reset();
}

void machine_reset(void)
{
    drain_console();
    reboot_by(LINUX_REBOOT_CMD_RESTART);
}
