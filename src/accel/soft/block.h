/*
 * Decoded code. A block is a run of bound instructions from one page of guest-
 * physical memory; it holds no guest-virtual and no host address, so it stays
 * good across address spaces. A block ends with an instruction that always
 * leaves (emu_op.ends), at the page's end, or when it is long. An instruction that
 * goes on in the next page is a block of its own, found by its linear address only,
 * since which page is next is the address space's to say.
 *
 * Memory: decoded instructions lie in a ring, of which the oldest segment is
 * emptied when there is no room. A block that was not translated goes with its
 * instructions; of a translated one there remain its head and those that its code
 * calls the interpreter for (block_keep), in the arena; who needs the others
 * has them decoded again (block_ready). The arena only grows, and when it is full
 * everything is dropped.
 *
 * Validity: the code map knows that this vCPU caches code from a page, so every
 * store there, whosever, comes back here as block_written. Who tells of none, but says that
 * anything may have been written (block_doubt), has bytes compared: each page has a copy of what
 * its blocks were made of then, and a block is found only after the lines that it depends on
 * were looked at.
 */
#ifndef MOTE_ACCEL_SOFT_BLOCK_H
#define MOTE_ACCEL_SOFT_BLOCK_H

#include "accel/soft/code_map.h"
#include "emu/cpu.h"

/* What a block's binding depends on beside its bytes. */
#define BLOCK_DEAD UINT32_MAX /* key of a block whose bytes changed */

struct block {
    /* What is looked at again and again comes first, in one line of the host's cache or two. */
    uint64_t gpa; /* of its first byte */
    uint32_t key;
    uint16_t count; /* instructions */
    uint16_t bytes;
    struct block *hash_next;
    struct emu_op *op; /* NULL: the ring has others in their place, see block_ready */
    /* Offsets in the page: what it depends on, its bytes and those behind its ways out that a
     * translation looked at. */
    uint16_t look_begin, look_end;
    uint16_t heat;                   /* how often it was interpreted */
    uint16_t rounds;                 /* ... and followed itself */
    struct block *page_next;         /* other blocks of the same page */
    uint32_t code[EMU_MMU_USER + 1]; /* translations: offsets in code memory, 0: none */
    uint16_t jump;                   /* index + 1 of its entry in the jump cache, or BLOCK_JUMPS */
    bool crosses;                    /* into the next page */
    bool kept;                       /* it stays without its instructions: code was made of it */
    uint32_t gone[EMU_MMU_USER + 1]; /* of code[], where one leads to when the block is dropped */
    uint32_t links;                  /* to it, index + 1 of the first */
    uint64_t no_slot;                /* BIT(op): its accesses are better off without (slots.h) */
    uint64_t gpa2;                   /* of its bytes in the next page, if it crosses */
    struct block *guards; /* it stands in the next page for one that crosses; no instructions */
};

#define BLOCK_JUMPS UINT16_MAX /* of a block that has had several entries in the jump cache */

/* A block's instructions in the ring. */
struct block_ops {
    struct block *owner;
    size_t bytes; /* to the next one */
    struct emu_op op[];
};

/* Direct-mapped: linear address of a block's start -> block. Valid in one
 * generation of its half of linear memory, which ends when translations are dropped. */
struct block_jump {
    uint64_t linear;
    uint64_t generation;
    struct block *block;
};

#define BLOCK_JUMP_BITS    13
#define BLOCK_HASH_BITS    15
#define BLOCK_HEAT_BITS    15
#define BLOCK_PAGE_BITS    12
#define BLOCK_MAX_INSNS    64
#define BLOCK_LINEAR_PAGES 4096         /* bits of a filter */
#define BLOCK_ARENA        (24u << 20)  /* bytes of what stays; full: start anew */
#define BLOCK_COPIES       (32u << 20)  /* bytes of pages' copies; full: start anew */
#define BLOCK_SEGMENT      (256u << 10) /* bytes of the ring, which has so many of them ... */
#define BLOCK_SEGMENTS     24           /* ... when hot blocks are translated ... */
#define BLOCK_SEGMENTS_MAX 32           /* ... and come back soon ... */
#define BLOCK_SEGMENTS_ALL 192          /* ... or run from there */

/* What remains of a block that is evicted before it is hot: one that runs seldom would never be
 * translated. */
struct block_heat {
    uint8_t tag, heat;
};

struct block_page {
    uint64_t page; /* guest-physical page number */
    struct code_watch watch;
    uint64_t covered; /* lines of 64 bytes that blocks depend on: at least them */
    struct block *blocks;
    struct block_page *next;
    uint8_t *copy; /* of the bytes that blocks are made of; NULL: of those at `host` */
    const uint8_t *host;
    uint64_t doubt; /* `seen` is of this one ... */
    uint64_t seen;  /* ... and says which lines that blocks depend on were compared since */
};

struct block_stats {
    uint64_t built, again, evicted, flushes, dropped, uncached, waited;
    uint64_t arena; /* bytes of it that were in use at most */
    uint64_t ring;  /* ditto */
};

struct block_cache {
    struct block_jump jump[1 << BLOCK_JUMP_BITS];
    uint64_t generation[EMU_HALVES];
    /* By page number: pages with an entry of this generation, and some. */
    uint64_t linear_pages[EMU_HALVES][BLOCK_LINEAR_PAGES / 64];
    bool local;                /* the upper half has entries that a local flush drops */
    struct block **hash;       /* by (gpa, key) */
    struct block_page **pages; /* by page number */
    uint8_t *arena;
    size_t used, arena_ahead;
    uint64_t doubts; /* how many; 0: pages have no copies */
    uint8_t *copies;
    size_t copied, copies_ahead;
    struct block *free; /* heads, by hash_next */
    uint8_t *ring;
    unsigned segments; /* of the ring, at most BLOCK_SEGMENTS_ALL */
    unsigned segment;  /* being filled */
    size_t ring_ahead;
    uint32_t filled[BLOCK_SEGMENTS_ALL]; /* bytes of each that are in use */
    unsigned turn_built, turn_back;      /* in this turn of the ring; of them, evicted before */
    struct block_heat heat[1 << BLOCK_HEAT_BITS]; /* of blocks that were evicted, by (gpa, key) */
    struct code_peer *peer;
    struct block_stats stats;
    /* Of who made something of blocks; NULL: nobody did. */
    void (*dropped)(struct block_cache *b, struct block *block);
    void (*flushed)(struct block_cache *b);
};

int block_cache_init(struct block_cache *b, struct code_peer *peer); /* -ENOMEM */
void block_cache_free(struct block_cache *b);

/*
 * In the key of 64-bit code: a direct branch to another page may lead to an address that is not
 * canonical.
 */
#define BLOCK_NEAR_HOLE 0x200u

static inline uint32_t block_near_hole(const struct emu_cpu *c)
{
    uint64_t from = c->r[X86_RIP_SLOT] - (BIT(47) - BIT(32));

    return c->code64 && from << 16 < BIT(33) << 16 ? BLOCK_NEAR_HOLE : 0;
}

/* Translations look at CR4.SMAP, too. */
static inline uint32_t block_key(const struct emu_cpu *c)
{
    return emu_bind_key(c) | (uint32_t) !!(c->cr4 & CR4_SMAP) << 8 | block_near_hole(c);
}

/* The jump cache's entry for a linear address. */
static inline struct block_jump *block_jump(struct block_cache *b, uint64_t linear)
{
    return &b->jump[(linear ^ linear >> BLOCK_JUMP_BITS) & ((1u << BLOCK_JUMP_BITS) - 1)];
}

/* The rest of block_find: the jump cache does not know. */
struct block *block_find_slow(struct block_cache *b, struct emu_cpu *c, uint64_t linear,
                              uint32_t key);

/*
 * The block at cs:rip, looked up or built. NULL: the instruction there cannot
 * be cached (it crosses a page, lies outside RAM, other vCPUs may still write
 * there unnoticed, ...): do it with emu_one.
 * Unwinds when the fetch faults. Never call with a block under way.
 */
static inline struct block *block_find(struct block_cache *b, struct emu_cpu *c)
{
    uint64_t linear = (c->seg_base[SEG_CS] + c->r[X86_RIP_SLOT]) & c->lin_mask;
    const struct block_jump *j = block_jump(b, linear);
    uint32_t key = block_key(c);

    if (likely(j->linear == linear && j->generation == b->generation[emu_half(linear)] &&
               j->block->key == key))
        return j->block;
    return block_find_slow(b, c, linear, key);
}

bool block_refill(struct block_cache *b, struct emu_cpu *c, struct block *block);

/*
 * Before anything looks at a block's instructions: are they there, or there again? They stay
 * until the next call of this or of block_find. False: the bytes are others now, and the
 * block is dropped. Never call with a block under way.
 */
static inline bool block_ready(struct block_cache *b, struct emu_cpu *c, struct block *block)
{
    return likely(block->op != NULL) || block_refill(b, c, block);
}

/* A copy of an instruction that stays until everything is dropped: its place, 0: no room. */
uint32_t block_keep(struct block_cache *b, const struct emu_op *op);

static inline const struct emu_op *block_kept(const struct block_cache *b, uint32_t place)
{
    return (const struct emu_op *)(b->arena + place);
}

/* The TLB was flushed. In which halves of linear memory addresses say nothing any more: bits;
 * 0 when no code of the page was known. */
unsigned block_forget(struct block_cache *b, enum emu_flush what, uint64_t linear);

/* [gpa, gpa+len), within one page, was written: drop the blocks it overlaps. The block
 * under way stays in memory; c->end = NULL makes the CPU leave it after this instruction. */
void block_written(struct block_cache *b, struct emu_cpu *c, uint64_t gpa, uint64_t len);

/* A translation has widened what the block depends on. */
void block_looked(struct block_cache *b, const struct block *block);

/*
 * Any byte of memory may be another one now: nothing is found before its bytes were compared. Drops
 * everything the first time, when there are no copies to compare with. What was derived from
 * addresses is void, as with block_forget. False: there was nothing to doubt. Never call with a
 * block under way.
 */
bool block_doubt(struct block_cache *b);

/* The page that the block begins in, for a translation to be made of: compared, if it was in doubt.
 */
const uint8_t *block_page_bytes(struct block_cache *b, struct emu_cpu *c,
                                const struct block *block);

/* Drop everything. */
void block_flush(struct block_cache *b);

#endif
