/*
 * vCPUs are brought to stand still: src/board/cpus.c (cpus_hold, cpus_release, cpu_stand_still),
 * with `event` as in sleep.pml. Two vCPUs; the loop holds and releases ROUNDS times; a vCPU's own
 * debug exit holds, too, and is let go by the loop.
 *
 * Properties: from the moment on that a holder finds all of them there until the release that lets
 * them go, no vCPU does anything (assert !working); held() comes for every hold (assert at the end);
 * at the end all run again.
 *
 * All accesses to shared words are locked instructions or follow one; no store buffers.
 *
 * BROKEN  1  a vCPU looks for a holder, and then takes itself off those that stand still
 *         2  the last one that comes tells nobody
 *         3  a holder that finds all there tells nobody
 *         4  a release wakes nobody
 *         5  it is told only when it had no holder, and the holder's bit is set after that
 *         6  the vCPU that waits does not have the word compared
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define CPUS   2
#define ROUNDS 2

#define USER  1
#define STOP  2
#define STILL 4 /* CPU_STILL: the vCPU's own bit */

mtype = { BUSY, EVENT }
mtype event[CPUS] = BUSY;
bool kicked[CPUS], on_futex[CPUS];
byte hold[CPUS];
bool told;    /* held() was called: the loop has something to read */
bool working; /* the loop uses the vCPUs as its own */
byte stops;   /* debug exits that were not looked at */
byte done;

/* cpus_are_held */
#define THERE(n)  ((hold[n] & STILL) && (hold[n] & ~STILL))
#define ALL_THERE (THERE(0) && THERE(1))

inline wake(n, old)
{
    d_step { old = event[n]; event[n] = EVENT }
    if
    :: old == BUSY -> kicked[n] = true
    :: else
    fi
}

/* One step for each vCPU: cpus_are_held reads one word after the other. */
inline tell(it_may, all)
{
    all = THERE(0);
    all = all && THERE(1);
    if
    :: all && it_may -> told = true
    :: else
    fi;
    all = false
}

inline hold_all(who, i, old, was, all)
{
    i = 0;
    do
    :: i < CPUS ->
        if
        :: BROKEN == 5 ->
            if
            :: !(hold[i] & ~STILL) -> wake(i, old)
            :: else
            fi;
            hold[i] = hold[i] | who
        :: else ->
            d_step { was = hold[i]; hold[i] = hold[i] | who }
            if
            :: !(was & ~STILL) -> wake(i, old)
            :: else
            fi
        fi;
        i++
    :: else -> break
    od;
    tell(BROKEN != 3, all);
    i = 0; was = 0; old = BUSY
}

inline release_all(who, i, was)
{
    i = 0;
    do
    :: i < CPUS ->
        d_step { was = hold[i]; hold[i] = hold[i] & ~who }
        if
        :: !(was & ~who & ~STILL) && BROKEN != 4 -> on_futex[i] = false
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0; was = 0
}

proctype vcpu(byte n; byte exits)
{
    byte seen, i, was;
    mtype old;
    bool all;

turn:
    assert(!working);
    event[n] = BUSY;
    if
    :: hold[n] -> goto stand
    :: else
    fi;
    assert(!working);
    if /* vcpu_run */
    :: atomic { kicked[n] -> kicked[n] = false }
    :: exits -> exits--; stops++; hold_all(STOP, i, old, was, all)
    fi;
    goto turn;

stand: /* cpu_stand_still */
    assert(!working);
    hold[n] = hold[n] | STILL;
    tell(BROKEN != 2, all);
wait:
    seen = hold[n];
    if
    :: seen & ~STILL ->
        atomic {
            if
            :: hold[n] == seen || BROKEN == 6 -> on_futex[n] = true
            :: else
            fi
        }
        !on_futex[n];
        goto wait
    :: else
    fi;
    if
    :: BROKEN == 1 -> hold[n] = hold[n] & ~STILL
    :: else ->
        if
        :: atomic { hold[n] == STILL -> hold[n] = 0 }
        :: hold[n] != STILL -> goto wait
        fi
    fi;
    assert(!working); /* vcpu_paused */
    goto turn
}

/* The loop's thread: ctl.c and debugger.c */
proctype loop()
{
    byte rounds, i, was, mine;
    mtype old;
    bool all;

    do
    :: rounds < ROUNDS && !mine -> rounds++; mine = USER; hold_all(USER, i, old, was, all)
    :: atomic { told -> told = false }
        all = THERE(0);
        all = all && THERE(1);
        if
        :: all ->
            working = true;
            if
            :: stops -> stops = 0; mine = mine | STOP
            :: else
            fi;
            working = false;
            release_all(mine, i, was);
            mine = 0
        :: else
        fi
    :: rounds == ROUNDS && !mine && !stops && !told -> break
    od;
    done = 1
end:
    do
    :: atomic { told -> told = false }
        all = THERE(0);
        all = all && THERE(1);
        if
        :: all && stops -> working = true; stops = 0; working = false; release_all(STOP, i, was)
        :: else
        fi
    od
}

init {
    atomic { run vcpu(0, 1); run vcpu(1, 0); run loop() }
    timeout -> assert(done && !stops && !hold[0] && !hold[1])
}
