/*
 * Which vCPU caches decoded code from which page of guest RAM, and how the
 * others and devices let it know of their stores there. Nobody ever waits.
 *
 * A word a page holds a bit for each vCPU that caches code from it, its
 * cachers. While there is one, no TLB is given a writable entry for the page,
 * so each store there takes the slow path and posts what it wrote to the
 * cachers. Who becomes one asks those who may still have a writable entry to
 * drop it, and does not cache before they have: code_page_watch. A "settled"
 * page needs no asking, as a cacher has done so, and caches still.
 *
 * What is asked of a vCPU lies in its inbox until it looks there: between two
 * blocks, which its attention word makes it do, or when it enters the engine.
 */
#ifndef MOTE_ACCEL_SOFT_CODE_MAP_H
#define MOTE_ACCEL_SOFT_CODE_MAP_H

#include "emu/cpu.h"

#include <pthread.h>
#include <stdatomic.h>

#define CODE_PEERS    64
#define CODE_REQUESTS 64 /* room for as many pages in an inbox */

struct code_peer;

/*
 * A machine's. Slots and peers change only while no vCPU runs. A page of host memory may be in
 * several slots; then its words are those of the first of them, its home, and that is where its
 * code is said to be. A new slot is the last, so it changes no page's home.
 */
struct code_map {
    unsigned count;
    bool aliased; /* some page is in several slots */
    struct code_map_slot {
        uint64_t gpa, size;
        const uint8_t *hva;
        _Atomic uint64_t *cachers; /* by page: BIT(vCPU) */
        _Atomic uint64_t *settled; /* a bit a page */
    } slot[GUEST_MEM_SLOTS];
    _Atomic uint64_t epoch;             /* how many times somebody has asked */
    struct code_peer *peer[CODE_PEERS]; /* by vCPU; NULL: none */
};

/* What is asked of a vCPU about one page. */
struct code_request {
    uint64_t page;       /* guest-physical address */
    uint16_t begin, end; /* bytes that were written; empty: none */
    const uint8_t *host; /* drop writable TLB entries for this host page; NULL: don't */
};

/* A vCPU's part. Other threads use inbox, seen and attention, and read cpu's filter of pages. */
struct code_peer {
    struct code_map *map;
    unsigned id;
    struct emu_cpu *cpu;
    _Atomic unsigned *attention; /* `bit` is set there when the inbox wants to be looked at */
    unsigned bit;
    _Atomic uint64_t seen; /* the last epoch whose requests were done; CODE_OUTSIDE */
    pthread_mutex_t lock;  /* of what follows */
    _Atomic unsigned count;
    _Atomic unsigned more; /* CODE_LOST, CODE_DOUBT */
    struct code_request inbox[CODE_REQUESTS];
};

#define CODE_LOST  1u /* more was asked than there is room for: drop code and writable entries */
#define CODE_DOUBT 2u /* so much was written that nobody says where: any code may be another */

/* Not in the engine: executes nothing, and looks into its inbox before it does. */
#define CODE_OUTSIDE UINT64_MAX

/* A cacher's knowledge of one page. */
struct code_watch {
    bool on;          /* the vCPU is a cacher */
    uint64_t waiting; /* BIT(vCPU): has not yet dropped its writable entries ... */
    uint64_t epoch;   /* ... as it has not seen this */
};

int code_map_add(struct code_map *map, uint64_t gpa, uint64_t size,
                 const uint8_t *hva); /* -ENOMEM */
/* Pages may have new homes: no code is cached. */
void code_map_remove(struct code_map *map, uint64_t gpa);
void code_map_free(struct code_map *map);

/* Where in its home is a byte of host memory, or what is at gpa? false, or gpa itself: no RAM. */
bool code_map_find(const struct code_map *map, const uint8_t *host, uint64_t *gpa);
uint64_t code_map_home(const struct code_map *map, uint64_t gpa);

/* Does anyone cache code from the page? */
bool code_map_test(const struct code_map *map, uint64_t gpa);

/*
 * [gpa, gpa+len) was written: tell all cachers but `by`, whom its own stores are
 * no news to; NULL: all. Of a GiB or more all peers doubt all code. To be called before anything
 * else is stored. Any thread.
 */
void code_map_written(struct code_map *map, const struct code_peer *by, uint64_t gpa, uint64_t len);

/* A peer that is outside. *p zeroed. */
void code_peer_init(struct code_peer *p, struct code_map *map, unsigned id, struct emu_cpu *cpu,
                    _Atomic unsigned *attention, unsigned bit);
void code_peer_free(struct code_peer *p);

/* Around everything that executes guest code. Look into the inbox next. */
void code_peer_enter(struct code_peer *p);
void code_peer_leave(struct code_peer *p);

/*
 * Between two instructions of the peer, by its thread: empty the inbox into
 * `out`, do what it says, then acknowledge with the epoch that take noted. *more: CODE_*.
 */
unsigned code_peer_take(struct code_peer *p, struct code_request out[CODE_REQUESTS], unsigned *more,
                        uint64_t *epoch);
void code_peer_acknowledge(struct code_peer *p, uint64_t epoch);

/*
 * The peer wants to cache code from the page, which has host memory. True: stores
 * to it are noticed from now on; read the bytes after this. False: not yet; ask
 * again later. Between two instructions, by its thread.
 */
bool code_page_watch(struct code_peer *p, struct code_watch *w, uint64_t gpa, const uint8_t *host);

/* It caches nothing from there any more. */
void code_page_unwatch(struct code_peer *p, struct code_watch *w, uint64_t gpa);

#endif
