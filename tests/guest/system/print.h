/* Output of the bare guest images: one line a row on COM1. Freestanding. */
#ifndef MOTE_GUEST_PRINT_H
#define MOTE_GUEST_PRINT_H

#include <stdint.h>

static inline void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t v;

    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

void print(const char *s);
void print_hex(uint64_t v);

/* "name: value ... want value ..." and a BAD at the end when they differ. */
void row(const char *name, unsigned n, const uint64_t *got, const uint64_t *want);

#define ROW1(name, got, want)      row(name, 1, (uint64_t[]){got}, (uint64_t[]){want})
#define ROW2(name, g0, g1, w0, w1) row(name, 2, (uint64_t[]){g0, g1}, (uint64_t[]){w0, w1})
#define ROW3(name, g0, g1, g2, w0, w1, w2)                                                         \
    row(name, 3, (uint64_t[]){g0, g1, g2}, (uint64_t[]){w0, w1, w2})

/* Ends the run through isa-debug-exit: 0 when no row was BAD. */
_Noreturn void finish(void);

#endif
