/* The devices of board `pc` and their wiring. */
#ifndef MOTE_BOARD_DEVICES_H
#define MOTE_BOARD_DEVICES_H

#include "accel/accel.h"
#include "board/control.h"
#include "board/intc.h"
#include "board/irq.h"
#include "board/irqfd.h"
#include "board/life.h"
#include "board/timer.h"
#include "dev/chip/acpi_pm.h"
#include "dev/chip/boot_timer.h"
#include "dev/chip/debug_exit.h"
#include "dev/chip/i8042.h"
#include "dev/chip/pit.h"
#include "dev/chip/pvpanic.h"
#include "dev/chip/rtc.h"
#include "dev/chip/serial.h"
#include "host/console.h"

#include <stdbool.h>

struct devices_config {
    struct loop *loop;
    struct host_clock *clock;
    struct life *life;
    struct console *console;
    struct machine *machine;
    bool control, debug_exit, boot_timer;
};

struct devices {
    struct loop *loop;
    struct life *life;
    struct dev_bus ports, mmio;
    struct irq_router irq;
    struct intc intc;
    struct irqfds irqfds;
    struct pit pit;
    struct board_timer pit_timer;
    struct acpi_pm pm;
    struct board_timer pm_timer;
    struct rtc rtc;
    struct board_timer rtc_timer;
    struct i8042 i8042;
    struct debug_exit debug_exit;
    struct pvpanic pvpanic;
    bool crash_noted; /* that a crash kernel takes over was said */
    struct boot_timer boot_timer;
    struct serial com1;
    struct control control; /* has_control */
    bool has_intc, has_pit, has_pm, has_rtc, has_i8042, has_com1, has_control;
};

/* On failure everything that was made is undone. */
int devices_init(struct devices *d, const struct devices_config *cfg);
void devices_destroy(struct devices *d);

#endif
