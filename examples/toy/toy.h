/* The toy machine, as its kernel and its emulator know it. */
#ifndef TOY_H
#define TOY_H

#define TOY_MEMORY 0x400000 /* bytes of RAM, from 0; the kernel is linked to be at 1 MiB */

/* Ports. */
#define TOY_TEXT   0x10 /* write, 1 byte: text */
#define TOY_KEY    0x11 /* read, 1 byte: the next key; 0: none; TOY_KEY_END */
#define TOY_PERIOD 0x14 /* write, 4 bytes: microseconds from one tick to the next */
#define TOY_OFF    0x18 /* write, 1 byte: switch off, with this status */

#define TOY_KEY_END 4 /* Ctrl-D: no more keys will come */

/* A page of registers in memory. */
#define TOY_PAGE       0x30000000
#define TOY_PAGE_TEXT  0 /* write, 1, 2, 4 or 8 bytes: text, zeros are skipped */
#define TOY_PAGE_TICKS 8 /* read, 8 bytes: how often the timer ticked */

/* Interrupts, by vector. The timer's come first. */
#define TOY_TIMER_VECTOR 32
#define TOY_KEY_VECTOR   33

#endif
