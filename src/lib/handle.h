/*
 * What the library hands out for an object: the address of a word that says whether the object
 * is there, who uses it, and where it is. The words are never unmapped, and one is given to
 * another object only after all others were, so a call with what was destroyed is noticed, and
 * so is one with another kind of pointer. No lock is taken, as mote_vcpu_stop is called from
 * signal handlers.
 */
#ifndef MOTE_LIB_HANDLE_H
#define MOTE_LIB_HANDLE_H

#include <stdatomic.h>
#include <stdint.h>

enum handle_kind {
    HANDLE_NONE,
    HANDLE_MACHINE,
    HANDLE_VCPU,
};

struct handle {
    _Atomic uint32_t state; /* HANDLE_* below, and how often it is pinned */
    uint32_t kind;
    void *object;
};

/* Make one for `object`. -ENOMEM: HANDLES objects are there. */
int handle_create(struct handle **out, enum handle_kind kind, void *object);

/*
 * Take the object for oneself. *object is it. -EINVAL: `p` is none of this kind, or was
 * destroyed; -EBUSY: somebody has it. handle_release gives it back.
 */
int handle_own(const void *p, enum handle_kind kind, void **object);
void handle_release(const void *p);

/* Keep the object from being destroyed, whoever owns it. -EINVAL as above. Async-signal-safe. */
int handle_pin(const void *p, enum handle_kind kind, void **object);
void handle_unpin(const void *p);

/* By its owner: nobody gets it any more, and when it returns nobody has it. */
void handle_destroy(const void *p);

#endif
