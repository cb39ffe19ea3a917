/*
 * The toy's kernel: waits for ticks of the timer, takes one that had to wait for an interrupt
 * window, and answers typed lines until "quit". It prints by the port what it has to say itself,
 * and by memory what was typed.
 */
#include "../toy.h"

#include <stddef.h>
#include <stdint.h>

struct gate { /* of the IDT (SDM Vol. 3A 6.14.1) */
    uint16_t low, selector, kind, middle;
    uint32_t high, zero;
};

struct frame; /* what an interrupt pushed */

static struct gate idt[64];
static volatile uint64_t ticks;
static char line[64];
static volatile unsigned length; /* of `line` */
static volatile int complete;    /* it was ended */
static volatile int no_more;     /* keys */

static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

/* ---- text ---- */

static void print(const char *text)
{
    while (*text)
        out8(TOY_TEXT, (uint8_t)*text++);
}

static void print_number(uint64_t n)
{
    char text[21] = {0}, *p = &text[20];

    do
        *--p = (char)('0' + n % 10);
    while (n /= 10);
    print(p);
}

/* The same by memory, 8 bytes at a time: one exit each. */
static void show(const char *text)
{
    volatile uint64_t *reg = (uint64_t *)(TOY_PAGE + TOY_PAGE_TEXT);

    while (*text) {
        uint64_t part = 0;

        for (unsigned i = 0; i < 64 && *text; i += 8)
            part |= (uint64_t)(uint8_t)*text++ << i;
        *reg = part;
    }
}

/* ---- interrupts: handlers that the compiler ends by IRETQ, with all registers kept ---- */

__attribute__((interrupt)) static void on_timer(struct frame *frame)
{
    (void)frame;
    ticks++;
}

static void take_key(uint8_t key)
{
    if (key == TOY_KEY_END)
        no_more = 1;
    if (key == TOY_KEY_END || key == '\n' || key == '\r')
        complete = 1;
    else if (length < sizeof(line) - 1)
        line[length++] = (char)key;
}

/* A line that nobody has read yet keeps its keys waiting in the keyboard. */
static void take_keys(void)
{
    uint8_t key;

    while (!complete && (key = in8(TOY_KEY)))
        take_key(key);
}

__attribute__((interrupt)) static void on_key(struct frame *frame)
{
    (void)frame;
    take_keys();
}

static void set_gate(unsigned vector, void (*handler)(struct frame *))
{
    uint64_t at = (uint64_t)handler;

    idt[vector] = (struct gate){.low = (uint16_t)at,
                                .selector = 8,
                                .kind = 0x8e00, /* present, interrupt gate */
                                .middle = (uint16_t)(at >> 16),
                                .high = (uint32_t)(at >> 32)};
}

static void set_up_interrupts(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } pointer = {sizeof(idt) - 1, (uint64_t)idt};

    set_gate(TOY_TIMER_VECTOR, on_timer);
    set_gate(TOY_KEY_VECTOR, on_key);
    __asm__ volatile("lidt %0" : : "m"(pointer));
    out32(TOY_PERIOD, 20000);
}

static void enable(void)
{
    __asm__ volatile("sti" : : : "memory");
}

static void disable(void)
{
    __asm__ volatile("cli" : : : "memory");
}

/* STI lets interrupts in behind the next instruction, so none comes before the HLT. */
static void wait(void)
{
    __asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
}

/* ---- what it does; interrupts are disabled but for wait and enable ---- */

static void count_ticks(void)
{
    for (uint64_t n = 1; n <= 3; n++) {
        while (ticks < n)
            wait();
        print("tick ");
        print_number(n);
        print("\n");
    }
}

/* The timer says by a register that it ticked, while interrupts are disabled. */
static void let_one_wait(void)
{
    volatile uint64_t *reg = (uint64_t *)(TOY_PAGE + TOY_PAGE_TICKS);
    uint64_t before, reached = *reg + 2;

    while (*reg < reached)
        __asm__ volatile("pause");
    before = ticks;
    enable();
    while (ticks == before)
        __asm__ volatile("pause");
    disable();
    print("a tick waited for STI\n");
}

static int is_quit(void)
{
    return length == 4 && line[0] == 'q' && line[1] == 'u' && line[2] == 'i' && line[3] == 't';
}

static void answer_lines(void)
{
    for (;;) {
        print("> ");
        while (!complete)
            wait();
        line[length] = 0;
        if (is_quit() || no_more)
            return;
        show("you typed: ");
        show(line);
        show("\n");
        complete = 0;
        length = 0;
        take_keys(); /* their interrupt came while the line was not read yet */
    }
}

void kernel_main(void);
void kernel_main(void)
{
    set_up_interrupts();
    print("toy kernel\n");
    count_ticks();
    let_one_wait();
    answer_lines();
    print("bye after ");
    print_number(ticks);
    print(" ticks\n");
    out8(TOY_OFF, 0);
}
