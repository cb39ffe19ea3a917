/*
 * A vCPU sleeps, runs and is woken: src/board/vcpu.c (cpu_wake, turn, run_once, sleep_halted) and
 * src/board/cpu_timer.c. Two threads post, as lapic_post does: first a bit, then cpu_wake. One of
 * them may be the loop's thread that rings the local APIC's timer. The guest never leaves by itself
 * but for EXITS times, so a post that the vCPU neither looks at nor is kicked for stays for ever.
 *
 * Property: when nothing can happen any more, the vCPU has looked at all that was posted.
 *
 * Each access to `event` is a locked instruction and so are the posts: interleaving is all there
 * is, no store buffer. A kick is latched (kick.pml).
 *
 * BROKEN  1  a poster wakes before it posts
 *         2  the vCPU goes to sleep by a store, not by compare-and-exchange
 *         3  it looks before it sets BUSY
 *         4  what it posts to itself before it enters the guest kicks nobody
 *         5  BUSY is not kicked
 *         6  it sleeps with the loop's timer disarmed and no deadline of its own
 *         7  it sleeps without the futex's look at the word
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define EXITS 2

mtype = { BUSY, EVENT, ASLEEP }
mtype event = BUSY;
bool kicked;    /* the accelerator's latch */
bool on_futex;  /* the kernel holds the thread */
bool posted[3]; /* request bits: two posters', the timer's */
bool rung;      /* cpu_timer.rung */
bool armed;     /* the loop's timer is set */
bool due;       /* the deadline is ahead: true until the timer has fired */

/* cpu_wake; `silent`: this thread answers an exit of the vCPU, and looks at all before it runs */
inline wake(silent, old)
{
    d_step { old = event; event = EVENT }
    if
    :: old == ASLEEP -> on_futex = false
    :: old == BUSY && !(silent) && BROKEN != 5 -> kicked = true
    :: else
    fi;
    old = BUSY
}

proctype poster(byte n)
{
    mtype old;

    if
    :: BROKEN == 1 -> wake(false, old); posted[n] = true
    :: else -> posted[n] = true; wake(false, old)
    fi
}

/* cpu_timer's ring, on the loop's thread */
proctype loop()
{
    mtype old;

end:
    do
    :: atomic { armed -> armed = false } rung = true; wake(false, old)
    od
}

/* lapic_timer_fire, on the vCPU's thread: it posts to itself */
inline fire(silent)
{
    if
    :: due -> due = false; posted[2] = true; wake(silent, mine)
    :: else
    fi
}

inline look()
{
    if
    :: rung -> rung = false; fire(BROKEN == 4)
    :: else
    fi
}

proctype vcpu()
{
    mtype mine;
    bool halted, cause;
    byte exits;

turn:
    if
    :: BROKEN == 3 -> look(); cause = posted[0] || posted[1] || posted[2]; event = BUSY
    :: else -> event = BUSY; look(); cause = posted[0] || posted[1] || posted[2]
    fi;
    if
    :: halted && !cause -> goto sleep
    :: else -> halted = false
    fi;
    /* run_once: deliver, or ask for a window */
    if
    :: BROKEN == 3
    :: else -> cause = cause || posted[0] || posted[1] || posted[2]
    fi;
    if
    :: cause -> d_step { posted[0] = false; posted[1] = false; posted[2] = false; cause = false }
    :: else
    fi;
    if /* cpu_timer_run */
    :: due && !rung -> armed = true
    :: else
    fi;
    if /* vcpu_run */
    :: atomic { kicked -> kicked = false }
    :: atomic { exits < EXITS -> exits++ };
        if
        :: halted = true
        :: wake(true, mine) /* the answer of an exit posts to the vCPU itself */
        :: true
        fi
    fi;
    goto turn;

sleep: /* sleep_halted */
    armed = false;
    if
    :: BROKEN == 2 -> event = ASLEEP
    :: else ->
        if
        :: atomic { event == BUSY -> event = ASLEEP }
        :: event != BUSY -> goto turn
        fi
    fi;
    atomic {
        if
        :: event == ASLEEP || BROKEN == 7 -> on_futex = true
        :: else
        fi
    }
    if
    :: !on_futex -> atomic { event == ASLEEP -> event = BUSY } unless { event != ASLEEP }
    :: due && BROKEN != 6 -> /* the wait's deadline */
        on_futex = false;
        atomic { event == ASLEEP -> event = BUSY } unless { event != ASLEEP };
        fire(true)
    fi;
    goto turn
}

init {
    atomic {
        if
        :: due = true
        :: due = false
        fi;
        run vcpu(); run poster(0); run poster(1); run loop()
    }
    timeout -> assert(!posted[0] && !posted[1] && !posted[2] && !due)
}
