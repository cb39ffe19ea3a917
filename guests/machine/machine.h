/* What an example guest asks of its machine. The caller is the first process, or root. */
#ifndef MOTE_GUESTS_MACHINE_H
#define MOTE_GUESTS_MACHINE_H

/*
 * Say that the guest is up: write the byte 123 to guest-physical 0xd0000000, as
 * Firecracker's boot timer wants it (mote run --boot-timer). Where nothing
 * listens the write is lost. 0, or -1 without /dev/mem.
 */
int machine_ready(void);

/*
 * Switch the machine off, by mote's ACPI power management port. A kernel
 * without ACPI knows of none and would halt for ever. Elsewhere by reboot(2).
 */
void machine_power_off(void);

/* End the machine as failed: a reset, which ends mote with its status for that. */
void machine_reset(void);

#endif
