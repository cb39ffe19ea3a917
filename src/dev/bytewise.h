/*
 * Chips with byte-wide registers: an access of more bytes is, as on an 8-bit
 * bus, one byte access after another at rising addresses.
 */
#ifndef MOTE_DEV_BYTEWISE_H
#define MOTE_DEV_BYTEWISE_H

#include <stdint.h>

static inline uint64_t bytewise_read(uint8_t (*read)(void *dev, unsigned reg), void *dev,
                                     uint64_t offset, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size && i < 8; i++)
        value |= (uint64_t)read(dev, (unsigned)offset + i) << (8 * i);
    return value;
}

static inline void bytewise_write(void (*write)(void *dev, unsigned reg, uint8_t value), void *dev,
                                  uint64_t offset, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size && i < 8; i++)
        write(dev, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}

#endif
