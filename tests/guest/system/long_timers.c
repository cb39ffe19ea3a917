/*
 * Each timer of a PC wakes a halted processor, along each way its interrupt can take: local
 * APIC timer (SDM Vol. 3A 11.5.4), PIT (8254), RTC (MC146818). Nothing here measures time:
 * a one-shot comes once, a periodic timer again and again.
 */
#include "long.h"

#define APIC(off) (*(volatile uint32_t *)(0xfee00000ull + (off)))
#define IOAPIC(r) (*(volatile uint32_t *)(0xfec00000ull + (r)))
#define VECTOR    0x60
#define PIC_BASE  0x70 /* IRQ 0 to 15 */

#define LVT_MASKED   0x10000
#define LVT_PERIODIC 0x20000
#define LVT_DEADLINE 0x40000
#define LVT_EXTINT   0x700

#define MS_OF_PIT 1193

static volatile unsigned came, woken, rtc_flags;
extern uint8_t timer_halted[];

static uint64_t rdtsc(void)
{
    uint32_t lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return lo | (uint64_t)hi << 32;
}

static uint8_t cmos(uint8_t index)
{
    outb(0x70, index);
    return inb(0x71);
}

static void set_cmos(uint8_t index, uint8_t value)
{
    outb(0x70, index);
    outb(0x71, value);
}

static int on_timer(struct frame *f)
{
    unsigned irq = (unsigned)f->vector - PIC_BASE;

    if (f->vector != VECTOR && irq >= 16)
        return 0;
    came++;
    woken += f->rip == (uint64_t)timer_halted;
    rtc_flags |= cmos(0x0c); /* else it sends no other */
    if (f->vector == VECTOR) {
        APIC(0xb0) = 0;
        return 1;
    }
    if (irq >= 8)
        outb(0xa0, 0x20);
    outb(0x20, 0x20);
    return 1;
}

/* Halt until so many interrupts came: STI lets none in before HLT. */
static __attribute__((noinline)) void halt(unsigned count)
{
    while (came < count)
        __asm__ volatile("sti; hlt; timer_halted: cli" ::: "memory");
}

/* Long enough for another period, with interrupts on. */
static void spin(void)
{
    uint64_t until = rdtsc() + 20000000;

    __asm__ volatile("sti");
    while (rdtsc() < until)
        __asm__ volatile("pause");
    __asm__ volatile("cli");
}

static void expect(unsigned count)
{
    came = 0;
    woken = 0;
    halt(count);
}

/* It comes once and no more. */
static void once(const char *name)
{
    expect(1);
    spin();
    ROW2(name, came, woken, 1, 1);
}

/* It comes again, and each time finds the processor halted. */
static void again(const char *name)
{
    expect(5);
    ROW2(name, came >= 5, came - woken, 1, 0);
}

/* ---- the local APIC's timer ---- */

static void lapic_timer(void)
{
    uint32_t eax = 1, ebx, ecx = 0, edx;

    APIC(0x3e0) = 0xb; /* divide by 1 */
    APIC(0x320) = VECTOR;
    APIC(0x380) = 100000;
    once("local APIC timer, one-shot: interrupts, in HLT");
    APIC(0x320) = VECTOR | LVT_PERIODIC;
    APIC(0x380) = 1000000;
    again("local APIC timer, periodic");
    APIC(0x380) = 0;
    spin();
    came = 0;
    spin();
    ROW1("local APIC timer, stopped by a count of 0", came, 0);
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    ROW1("TSC deadline is offered", (ecx >> 24 & 1) | (unsigned)on_tcg(), 1);
    if (ecx >> 24 & 1) {
        APIC(0x320) = VECTOR | LVT_DEADLINE;
        __asm__ volatile("mfence");
        wrmsr(0x6e0, rdtsc() + 1000000);
        once("TSC deadline");
        ROW1("... is 0 once it is past", rdmsr(0x6e0), 0);
        wrmsr(0x6e0, 1);
        once("TSC deadline in the past");
    }
    APIC(0x320) = VECTOR | LVT_MASKED;
}

/* ---- by PICs or IOAPIC ---- */

static void ioapic_pin(unsigned pin, uint32_t entry)
{
    IOAPIC(0) = 0x11 + 2 * pin;
    IOAPIC(0x10) = 0;
    IOAPIC(0) = 0x10 + 2 * pin;
    IOAPIC(0x10) = entry;
}

static void pic_init(uint16_t port, uint8_t base, uint8_t cascade)
{
    outb(port, 0x11);
    outb(port + 1, base);
    outb(port + 1, cascade);
    outb(port + 1, 1);
    outb(port + 1, 0xff); /* all masked */
}

static void pit(uint8_t mode, unsigned count)
{
    outb(0x43, 0x30 | mode << 1);
    outb(0x40, (uint8_t)count);
    outb(0x40, (uint8_t)(count >> 8));
}

static void pit_stop(void)
{
    outb(0x43, 0x30); /* mode 0 without a count */
    spin();           /* takes what is under way */
}

static uint8_t bcd_plus(uint8_t bcd, unsigned add)
{
    unsigned n = ((bcd >> 4) * 10 + (bcd & 15) + add) % 60;

    return (uint8_t)(n / 10 << 4 | n % 10);
}

static void rtc_stop(void)
{
    set_cmos(0x0b, 0x02);
    cmos(0x0c);
    spin();
}

static void rtc(const char *periodic, const char *alarm, const char *flags)
{
    set_cmos(0x0a, 0x26); /* 1024 Hz */
    set_cmos(0x0b, 0x42); /* periodic, 24 h, BCD */
    cmos(0x0c);
    again(periodic);
    rtc_stop();
    while (cmos(0x0a) & 0x80) {
    }
    set_cmos(0x01, bcd_plus(cmos(0), 2));
    set_cmos(0x03, 0xff); /* any */
    set_cmos(0x05, 0xff);
    rtc_flags = 0;
    set_cmos(0x0b, 0x22);
    once(alarm);
    ROW1(flags, rtc_flags & 0xa0, 0xa0);
    rtc_stop();
}

/* Reads need no exit where the board maps the registers as memory. */
static void ioapic_reads(void)
{
    uint32_t low;

    IOAPIC(0) = 1;
    ROW2("IOAPIC: register select, version", IOAPIC(0), IOAPIC(0x10), 1, 0x170020);
    ioapic_pin(8, LVT_MASKED | VECTOR);
    IOAPIC(0x10) = LVT_MASKED | 0x8000 | VECTOR;
    low = IOAPIC(0x10);
    IOAPIC(0) = 0x21;
    IOAPIC(0x10) = 0x05000000;
    ROW2("IOAPIC: an entry reads back", low, IOAPIC(0x10), LVT_MASKED | 0x8000 | VECTOR,
         0x05000000);
    ioapic_pin(8, LVT_MASKED);
}

static void by_ioapic(void)
{
    ioapic_pin(2, VECTOR);
    pit(0, MS_OF_PIT);
    once("PIT by IOAPIC, one-shot");
    pit(2, MS_OF_PIT);
    again("PIT by IOAPIC, rate generator");
    pit(3, MS_OF_PIT);
    again("PIT by IOAPIC, square wave");
    pit_stop();
    ioapic_pin(2, LVT_MASKED);
    ioapic_pin(8, VECTOR);
    rtc("RTC by IOAPIC, periodic", "RTC by IOAPIC, alarm", "RTC by IOAPIC, alarm: flags");
    ioapic_pin(8, LVT_MASKED);
}

static void by_pic(void)
{
    pic_init(0x20, PIC_BASE, 4); /* forgets the edges that it saw so far */
    pic_init(0xa0, PIC_BASE + 8, 2);
    APIC(0x350) = LVT_EXTINT;
    outb(0x21, 0xfe);
    pit(0, MS_OF_PIT);
    once("PIT by PIC, one-shot");
    pit(2, MS_OF_PIT);
    again("PIT by PIC, rate generator");
    pit_stop();
    outb(0x21, 0xfb); /* the cascade */
    outb(0xa1, 0xfe);
    rtc("RTC by PICs, periodic", "RTC by PICs, alarm", "RTC by PICs, alarm: flags");
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    APIC(0x350) = LVT_MASKED | LVT_EXTINT;
}

void rows_timers(void)
{
    for (uint64_t at = 0xfec00000; at <= 0xfee00000; at += 0x200000)
        pd[at >> 21] = at | P | W | PS | 0x18;
    set_cr3(cr3());
    trap_hook = on_timer;
    APIC(0xf0) = 0x1ff;
    APIC(0x350) = LVT_MASKED | LVT_EXTINT;
    pit_stop();
    lapic_timer();
    ioapic_reads();
    by_ioapic();
    by_pic();
    trap_hook = 0;
}
