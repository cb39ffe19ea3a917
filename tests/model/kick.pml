/*
 * A kick ends a run, or the next: on KVM kvm_kick, run_once, kvm_finish and interrupted in
 * src/accel/kvm/vcpu.c; with -DSOFT soft_kick and soft_request_window in src/accel/soft/vcpu.c,
 * attend in src/accel/soft/run_loop.c. Two threads post something and kick, as cpu_wake does over
 * CPU_BUSY. The vCPU looks at what was posted, enters (KVM: it may have to finish an instruction
 * first, which enters with immediate_exit), and leaves by itself EXITS times at most.
 *
 * Property: in the end all that was posted was looked at.
 *
 * Each access is a locked instruction or a system call but for soft's relaxed load, which reads
 * the word sooner or later.
 *
 * BROKEN  1  KVM: the signal is sent, or not, by a thread's id that was read before immediate_exit
 *         2  KVM: the end of an instruction clears immediate_exit and looks at kicked no more
 *         3  KVM: it looks at kicked before it clears immediate_exit
 *         4  soft: a window is asked for by a load and a store
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define EXITS 2

bool posted[2];
bool kicked, immediate, in_run, sent; /* KVM; in_run: tid is set */
bool kick, window;                      /* soft: bits of one word */

proctype kicker(byte n)
{
    bool tid;

    posted[n] = true;
#ifdef SOFT
    kick = true
#else
    kicked = true;
    if
    :: BROKEN == 1 -> tid = in_run; immediate = true
    :: else -> immediate = true; tid = in_run
    fi;
    if
    :: tid -> sent = true
    :: else
    fi
#endif
}

#define LOOK d_step { posted[0] = false; posted[1] = false }

/* KVM_RUN: KVM looks at immediate_exit once as it enters, and at signals all the time. */
inline kvm_run(interrupted)
{
    in_run = true;
    if
    :: immediate -> interrupted = true
    :: else ->
        if
        :: atomic { sent -> sent = false; interrupted = true }
        :: atomic { exits < EXITS -> exits++ }
        fi
    fi;
    in_run = false
}

/* kvm_finish */
inline finish()
{
    immediate = true;
    in_run = true;
    in_run = false;
    if
    :: BROKEN == 2 -> immediate = false
    :: BROKEN == 3 ->
        was = kicked;
        immediate = false;
        if
        :: was -> immediate = true
        :: else
        fi
    :: else ->
        immediate = false;
        if
        :: kicked -> immediate = true
        :: else
        fi
    fi
}

proctype vcpu()
{
    byte exits;
    bool interrupted, was;

    do
    :: true ->
#ifdef SOFT
        LOOK;
        if /* soft_request_window */
        :: BROKEN == 4 -> was = kick; window = true; kick = was; was = false
        :: else -> window = true
        fi;
        if /* attend */
        :: kick -> kick = false
        :: window -> if :: atomic { exits < EXITS -> exits++ } window = false :: kick fi
        fi
#else
        LOOK;
        if
        :: finish(); was = false
        :: true
        fi;
        kvm_run(interrupted);
        if
        :: interrupted -> immediate = false; kicked = false; interrupted = false
        :: else
        fi
#endif
    od
}

init {
    atomic { run vcpu(); run kicker(0); run kicker(1) }
    timeout -> assert(!posted[0] && !posted[1])
}
