/*
 * INIT and SIPI are posted by another processor and taken by the vCPU's thread:
 * lapic_post_events and lapic_take_events in src/dev/chip/lapic.c, startup_take in
 * src/board/startup.c. The other sends INIT, SIPI 1, INIT, SIPI 2, in this order, at any moments.
 *
 * Property: in the end the vCPU runs what the last SIPI said, as if it had taken each in turn.
 *
 * The word is changed by locked instructions only; waking is sleep.pml's.
 *
 * BROKEN  1  what is pending is looked at first, and taken off the word afterwards
 *         2  INIT does not cancel a SIPI that was posted before it
 *         3  SIPI is acted on before INIT
 */
#ifndef BROKEN
#define BROKEN 0
#endif

#define INIT 1
#define SIPI 2

byte events, vector; /* one atomic word */
bool waits;          /* CPU_WAIT_SIPI */
byte runs_at;

inline post_init()
{
    atomic {
        events = events | INIT;
        if
        :: BROKEN != 2 -> events = events & ~SIPI
        :: else
        fi
    }
}

inline post_sipi(n)
{
    atomic { vector = n; events = events | SIPI }
}

proctype other()
{
    post_init();
    post_sipi(1);
    post_init();
    post_sipi(2)
}

inline act_on_init()
{
    if
    :: taken & INIT -> waits = true; runs_at = 0
    :: else
    fi
}

proctype vcpu()
{
    byte taken, page;

end:
    do
    :: events ->
        if
        :: BROKEN == 1 ->
            taken = events;
            atomic { page = vector; taken = taken & events; events = events & ~taken }
        :: else -> atomic { taken = events; page = vector; events = 0 }
        fi;
        if
        :: BROKEN != 3 -> act_on_init()
        :: else
        fi;
        if
        :: (taken & SIPI) && waits -> waits = false; runs_at = page
        :: else
        fi;
        if
        :: BROKEN == 3 -> act_on_init()
        :: else
        fi;
        taken = 0; page = 0
    od
}

init {
    atomic { run other(); run vcpu() }
    timeout -> assert(!waits && runs_at == 2)
}
