#include "print.h"

#define COM1       0x3f8
#define DEBUG_EXIT 0xf4

static unsigned rows, bad;

static void put(char c)
{
    while (!(inb(COM1 + 5) & 0x20))
        ;
    outb(COM1, (uint8_t)c);
}

void print(const char *s)
{
    for (; *s; s++)
        put(*s);
}

void print_hex(uint64_t v)
{
    int shift = 60;

    while (shift && !(v >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        put("0123456789abcdef"[v >> shift & 15]);
}

void row(const char *name, unsigned n, const uint64_t *got, const uint64_t *want)
{
    unsigned differ = 0;

    rows++;
    print(name);
    print(":");
    for (unsigned i = 0; i < n; i++) {
        print(" ");
        print_hex(got[i]);
        differ |= got[i] != want[i];
    }
    print(" want");
    for (unsigned i = 0; i < n; i++) {
        print(" ");
        print_hex(want[i]);
    }
    print(differ ? " BAD\n" : "\n");
    bad += differ;
}

void finish(void)
{
    print("rows: ");
    print_hex(rows);
    print("\n");
    outb(DEBUG_EXIT, bad != 0);
    for (;;)
        __asm__ volatile("cli; hlt");
}
