/*
 * Executable memory for generated host code: the only place that makes any.
 * W^X: code is written through one view and executed through another; where
 * the host forbids that, every thunk gets a page that is writable first and
 * executable afterwards.
 */
#ifndef MOTE_EMU_THUNK_H
#define MOTE_EMU_THUNK_H

#include <stddef.h>
#include <stdint.h>

/* Longest code that thunk_place takes. */
#define THUNK_MAX 128

/*
 * Copy `len` bytes of position-independent code into executable memory and
 * return the address to call. It stays there until the process ends. NULL:
 * the host gives no executable memory, or the bound of 8 MiB is reached. Any
 * thread may call.
 */
const void *thunk_place(const uint8_t *code, size_t len);

#endif
