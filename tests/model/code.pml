/*
 * Decoded code that is cached, and stores to it by others: src/accel/soft/code_map.c, inbox_empty
 * and attend in src/accel/soft/run_loop.c, has_code, writable_note and emu_tlb_drop_writes in
 * src/emu/tlb.c, block_written in src/accel/soft/block.c, page_watch in
 * src/accel/soft/block_build.c.
 *
 * One page of code with one block; memory holds a version of it. A writer stores a new version,
 * then a flag that says so (SDM Vol. 3A 8.1.3), each as the guest does it: unnoticed where its TLB
 * has a writable entry, else by the slow path. It leaves the engine and comes back. Two cachers
 * read the flag, look up between two blocks, and execute: out of the cache, or uncached. They drop
 * the page, and settle it for each other.
 *
 * Properties: what is executed is at least as new as the flag that was read before. At the end a
 * lone cacher, whose peer only spins in the guest, caches the page: whoever is asked answers.
 *
 * TSO: plain stores (the guest's, and those with release) go through a FIFO buffer that is written
 * back at any time; locked instructions, seq_cst stores and MFENCE empty it first. Loads are in
 * order on x86, so that attention's relaxed load needs nothing.
 *
 * BROKEN  1  ask: the epoch is taken before the requests are put
 *         2  ask: attention is set before the epoch is taken
 *         3  unwatch: settled is cleared after cachers
 *         4  code_map_written without the fence
 *         5  writable_note by a plain store
 *         6  code_peer_enter by a plain store
 *         7  attend: attention is cleared after the inbox was emptied
 *         8  take: the epoch is read after the inbox
 *         9  has_code does not look again after writable_note
 *        10  the page is settled before all have answered
 *        11  what was written is posted after the next store
 *        12  the filter's bit is cleared and the entry stays
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#ifdef ALONE /* one cacher, a writer that leaves the engine */
#define STORES 2
#define TURNS  2
#define LEAVES true
#else /* two cachers */
#define STORES 1
#define TURNS  2
#define LEAVES false
#endif
#define W        0 /* the writer; 1 and 2 are cachers */
#define OUTSIDE  255
#define BYTES    0 /* addresses in a store buffer */
#define FLAG     1
#define SEEN     2
#define FILTER   3

byte bytes, flag;       /* guest memory: the code's version, and what was announced */
byte cachers;           /* BIT(vCPU) */
bool settled;
byte epoch;
byte seen[3];
bool filter;            /* the writer's: may it write unnoticed? The cachers never write */
bool attention[3];
bool inbox[3];          /* count, under its lock: something was put */
bool drop_code[3], drop_writes[3]; /* what the request says */
bool ready[3];
chan buffer = [4] of { byte, byte }; /* the writer's stores; the others' are modelled as seq_cst */

#define FLUSHED (empty(buffer))

/* One store of the writer's leaves its buffer. */
inline commit()
{
    atomic {
        buffer?where,what;
        if
        :: where == BYTES -> bytes = what
        :: where == FLAG -> flag = what
        :: where == SEEN -> seen[W] = what
        :: where == FILTER -> filter = what
        fi;
        where = 0; what = 0
    }
}

proctype memory()
{
    byte where, what;

end:
    do
    :: commit()
    od
}

#define CODE   1
#define WRITES 2
/* put: under the inbox's lock, count with seq_cst */
inline put(to, what_of)
{
    atomic {
        if
        :: what_of == CODE -> drop_code[to] = true
        :: else -> drop_writes[to] = true
        fi;
        inbox[to] = true
    }
}

/* inbox_empty of the writer: TLB entries are its own */
inline writer_inbox()
{
    if
    :: BROKEN != 8 -> e = epoch
    :: else
    fi;
    if
    :: inbox[W] ->
        atomic { drop = drop_writes[W]; drop_writes[W] = false; inbox[W] = false }
        if
        :: drop && BROKEN != 12 -> tlb = false
        :: else
        fi;
        if
        :: drop && noted -> noted = false; buffer!FILTER,0
        :: else
        fi;
        drop = false
    :: else
    fi;
    if
    :: BROKEN == 8 -> e = epoch
    :: else
    fi;
    buffer!SEEN,e;
    e = 0
}

inline writer_attend()
{
    if
    :: attention[W] ->
        if
        :: BROKEN == 7 -> writer_inbox(); FLUSHED; attention[W] = false
        :: else -> atomic { FLUSHED -> attention[W] = false } writer_inbox()
        fi
    :: else
    fi
}

/* place_find and the store */
inline store()
{
    if
    :: tlb -> buffer!BYTES,version
    :: else ->
        who = cachers;
        if
        :: !who && !noted ->
            if
            :: BROKEN == 5 -> buffer!FILTER,1
            :: else -> atomic { FLUSHED -> filter = true }
            fi;
            noted = true;
            if
            :: BROKEN != 9 -> who = cachers
            :: else
            fi
        :: else
        fi;
        watched = who != 0;
        if
        :: !watched -> tlb = true
        :: !watched /* no entry is made, as with alignment checks */
        :: else
        fi;
        buffer!BYTES,version;
        if
        :: BROKEN == 11 -> buffer!FLAG,version
        :: else
        fi;
        if
        :: watched && BROKEN != 4 -> FLUSHED
        :: else
        fi;
        if
        :: watched ->
            who = cachers;
            if
            :: who & 2 -> FLUSHED; put(1, CODE); attention[1] = true
            :: else
            fi;
            if
            :: who & 4 -> FLUSHED; put(2, CODE); attention[2] = true
            :: else
            fi
        :: else
        fi;
        watched = false; who = 0
    fi
}

proctype writer()
{
    byte version, who, e;
    bool tlb, noted, watched, drop, left; /* noted: the filter as the writer itself sees it */

    do
    :: version < STORES ->
        writer_attend();
        version++;
        store();
        buffer!FLAG,version
    :: LEAVES && !left -> /* out of the engine, and in again */
        left = true;
        buffer!SEEN,OUTSIDE;
        if
        :: BROKEN == 6 -> buffer!SEEN,0
        :: else -> atomic { FLUSHED -> seen[W] = 0 }
        fi;
        writer_inbox()
    :: version == STORES -> break
    od;
end:
    do /* spins in the guest */
    :: attention[W] -> writer_attend()
    od
}

inline unwatch()
{
    if
    :: on ->
        if
        :: BROKEN == 3 -> cachers = cachers & ~(1 << me); settled = false
        :: else -> settled = false; cachers = cachers & ~(1 << me)
        fi
    :: else
    fi;
    on = false; waiting = false; cached = 0
}

inline cacher_attend()
{
    if
    :: attention[me] ->
        attention[me] = false;
        e = epoch;
        if
        :: inbox[me] ->
            atomic { drop = drop_code[me]; drop_code[me] = false; inbox[me] = false }
            if
            :: drop && cached -> unwatch()
            :: else
            fi;
            drop = false
        :: else
        fi;
        seen[me] = e;
        e = 0
    :: else
    fi
}

/* ask: only the writer has a bit in its filter */
inline ask()
{
    if
    :: filter ->
        if
        :: BROKEN == 1 -> atomic { epoch++; asked = epoch } put(W, WRITES); attention[W] = true
        :: BROKEN == 2 -> put(W, WRITES); attention[W] = true; atomic { epoch++; asked = epoch }
        :: else -> put(W, WRITES); atomic { epoch++; asked = epoch } attention[W] = true
        fi;
        waiting = true
    :: else
    fi
}

/* code_page_watch; leaves on && !waiting when the page may be cached */
inline watch()
{
    if
    :: !on ->
        on = true;
        cachers = cachers | (1 << me);
        if
        :: settled
        :: else ->
            if
            :: BROKEN == 10 -> settled = true
            :: else
            fi;
            ask();
            goto answered
        fi
    :: on && waiting ->
answered:
        if
        :: !waiting -> settled = true
        :: waiting && seen[W] >= asked -> waiting = false; settled = true
        :: else
        fi
    :: else
    fi
}

/* Versions are kept one too high, so that 0 says: not cached. */
inline execute()
{
    if
    :: cached -> assert(cached > announced)
    :: else ->
        watch();
        if
        :: on && !waiting -> cached = bytes + 1; assert(cached > announced)
        :: else -> assert(bytes >= announced)
        fi
    fi
}

proctype cacher(byte me; byte turns)
{
    byte announced, cached, asked, e;
    bool on, waiting, drop;

    do
    :: turns ->
        turns--;
        announced = flag;
        cacher_attend();
        execute();
        if
        :: unwatch() /* block_flush */
        :: true
        fi
    :: else -> break
    od;
    announced = 0;
#ifdef ALONE
    do /* until it is a cacher */
    :: on && !waiting -> break
    :: !(on && !waiting) && (!waiting || attention[me] || seen[W] >= asked) ->
        cacher_attend();
        watch()
    od;
#endif
    ready[me] = true;
    cached = 0;
    unwatch()
}

init {
    atomic {
        run memory(); run writer(); run cacher(1, TURNS);
#ifdef ALONE
        ready[2] = true
#else
        run cacher(2, 1)
#endif
    }
    timeout -> assert(ready[1] && ready[2])
}
