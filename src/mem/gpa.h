/* A guest-physical address is a type of its own, so that no host pointer or
 * guest-virtual address can be passed for one. */
#ifndef MOTE_MEM_GPA_H
#define MOTE_MEM_GPA_H

#include <stdint.h>

typedef struct {
    uint64_t v; /* bytes from the start of guest-physical space */
} gpa_t;

#define GPA(x) ((gpa_t){(uint64_t)(x)})

static inline gpa_t gpa_add(gpa_t gpa, uint64_t offset)
{
    return GPA(gpa.v + offset);
}

#endif
