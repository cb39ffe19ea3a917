/*
 * The debugger's breakpoints and watches on guest memory and the processor's
 * debug registers. Only while every vCPU stands still.
 *
 * A software breakpoint takes a debug register as well while one is free: that
 * works before a kernel has mapped the address, and survives a kernel that
 * patches its own code (Linux rewrites the first bytes of its functions as it
 * starts). Else it is an INT3 in guest memory, at the physical address that its
 * linear one has as it is inserted.
 */
#ifndef MOTE_BOARD_BREAKPOINTS_H
#define MOTE_BOARD_BREAKPOINTS_H

#include "accel/accel.h"
#include "gdb/target.h"

#define BREAKPOINTS_SOFT 256

struct soft_break {
    uint64_t gva;
    gpa_t gpa;
    uint8_t original; /* the byte that the INT3 is in place of */
};

/* One debug register; a watch of many bytes takes several. */
struct hard_break {
    uint64_t gva, size; /* as asked for */
    enum gdb_break kind;
    struct vcpu_watch watch; /* VCPU_WATCH_OFF: free */
};

struct breakpoints {
    struct guest_mem *mem;
    unsigned count;
    struct soft_break soft[BREAKPOINTS_SOFT];
    struct hard_break hard[VCPU_WATCHES];
};

/*
 * As struct gdb_target has them. To insert what is there, and to remove what
 * is not, is fine. v: whose page tables count. -ENOSPC: too many; -EINVAL: an
 * address that no processor has.
 */
int breakpoints_insert(struct breakpoints *b, struct vcpu *v, enum gdb_break kind, uint64_t gva,
                       uint64_t size);
void breakpoints_remove(struct breakpoints *b, enum gdb_break kind, uint64_t gva, uint64_t size);
void breakpoints_clear(struct breakpoints *b);

/* What the vCPUs are to be told; `step` stays as it is. */
void breakpoints_apply(const struct breakpoints *b, struct vcpu_debug *debug);

/* The software breakpoint at this physical address, or NULL. */
const struct soft_break *breakpoints_find(const struct breakpoints *b, gpa_t gpa);

/* Guest memory as it would be without the INT3s. -EFAULT as guest_mem_read. */
int breakpoints_read(const struct breakpoints *b, gpa_t gpa, void *buf, size_t len);
int breakpoints_write(struct breakpoints *b, gpa_t gpa, const void *buf, size_t len);

#endif
