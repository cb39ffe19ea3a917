/*
 * The table of doorbells is replaced while vCPUs look at it: src/accel/ioeventfd.c (look,
 * look_away, replace). Two vCPUs each write to the doorbell twice; another thread removes it and
 * afterwards closes the eventfd.
 *
 * Properties: nobody uses a table that was freed; nobody rings once the removal has returned.
 *
 * TSO: `rings` is cleared with release, and so goes through a store buffer, as it would with
 * BROKEN 1 when it is set.
 *
 * BROKEN  1  rings is set by a plain store
 *         2  the table is loaded before rings is set
 *         3  the writer waits first, and then publishes
 *         4  the writer does not wait
 *         5  rings is cleared before the eventfd is written to
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define VCPUS 2

byte table = 1; /* 1: the old one, with the doorbell; 0: none */
bool freed, closed;
bool rings[VCPUS];
chan buffer[VCPUS] = [2] of { bool };

proctype memory(byte n)
{
    bool value;

end:
    do
    :: atomic { buffer[n]?value -> rings[n] = value; value = false }
    od
}

inline set_rings()
{
    if
    :: BROKEN == 1 -> buffer[me]!true
    :: else -> atomic { empty(buffer[me]) -> rings[me] = true }
    fi
}

proctype vcpu(byte me)
{
    byte t, writes = 2;

    do
    :: writes ->
        writes--;
        if
        :: table -> /* relaxed: is there any? */
            if
            :: BROKEN == 2 -> t = table; set_rings()
            :: else -> set_rings(); t = table
            fi;
            if
            :: t -> /* find_match, eventfd_write */
                if
                :: BROKEN == 5 -> buffer[me]!false
                :: else
                fi;
                assert(!freed);
                assert(!closed);
                t = 0
            :: else
            fi;
            buffer[me]!false
        :: else
        fi
    :: else -> break
    od
}

inline wait_for_all()
{
    !rings[0];
    !rings[1]
}

proctype remover()
{
    if
    :: BROKEN == 3 -> wait_for_all(); table = 0
    :: BROKEN == 4 -> table = 0
    :: else -> table = 0; wait_for_all()
    fi;
    freed = true;
    closed = true
}

init {
    atomic { run memory(0); run memory(1); run vcpu(0); run vcpu(1); run remover() }
    timeout -> assert(closed)
}
