/*
 * What the library hands out for an object: the address of a word that says whether the object
 * is there, who uses it, and where it is. The words are never unmapped, and one is given to
 * another object only after all others were, so a call with what was destroyed is noticed, and
 * so is one with another kind of pointer. No lock is taken, as mote_vcpu_stop is called from
 * signal handlers.
 *
 * An owner that is inside the accelerator says so in the same word, and so does who wants it out:
 * taking a vCPU and entering with it is one locked operation, and one that nobody holds needs no
 * look at anything else.
 */
#ifndef MOTE_LIB_HANDLE_H
#define MOTE_LIB_HANDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum handle_kind {
    HANDLE_NONE,
    HANDLE_MACHINE,
    HANDLE_VCPU,
};

struct handle {
    atomic_uint state; /* HANDLE_* below, and how often it is pinned above them */
    _Atomic uint32_t kind;
    void *object;
};

enum {
    HANDLE_LIVE = 1,
    HANDLE_OWNED = 2,
    HANDLE_INSIDE = 4, /* its owner is in the accelerator */
    HANDLE_HELD = 8,   /* it may not enter */
    HANDLE_PIN = 16,
};

/* Make one for `object`. -ENOMEM: HANDLES objects are there. */
int handle_create(struct handle **out, enum handle_kind kind, void *object);

/*
 * Take the object for oneself: `what` is HANDLE_OWNED, and HANDLE_INSIDE if that is to be said at
 * the same time. *object is it. -EINVAL: `p` is none of this kind, or was destroyed; -EBUSY:
 * somebody has it. Who is to be inside waits while it is held. handle_release gives back the same.
 */
int handle_own(const void *p, enum handle_kind kind, unsigned what, void **object);
void handle_release(struct handle *h, unsigned what);

/* Its owner enters, when nobody holds it, and leaves. */
void handle_enter(struct handle *h);
void handle_leave(struct handle *h);

/* Nobody enters until handle_go. True: somebody is inside; handle_await waits until it has left. */
bool handle_hold(struct handle *h);
void handle_await(struct handle *h);
void handle_go(struct handle *h);

/* Keep the object from being destroyed, whoever owns it. -EINVAL as above. Async-signal-safe. */
int handle_pin(const void *p, enum handle_kind kind, void **object);
void handle_unpin(struct handle *h);

/* By its owner: nobody gets it any more, and when it returns nobody has it. */
void handle_destroy(struct handle *h);

#endif
