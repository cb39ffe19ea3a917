/*
 * What a machine's life is made of, and how long each step takes. Recording is
 * process-wide, like trace, and costs a test of one flag while it is off.
 *
 * A mark ends a step: the time since the mark before belongs to it, so nothing
 * is counted twice or lost, and a step that is marked several times adds up. What
 * a mark itself takes (it reads the process's memory) belongs to no step.
 */
#ifndef MOTE_BASE_STEPS_H
#define MOTE_BASE_STEPS_H

#include <stdbool.h>
#include <stdint.h>

/* In the order in which they are expected; accelerators lack some. */
#define STEPS(X)                                                                                   \
    X(PROCESS, "process start")                                                                    \
    X(OPTIONS, "options")                                                                          \
    X(HOST, "host side")                                                                           \
    X(RAM, "guest RAM")                                                                            \
    X(CHOOSE, "choose accelerator")                                                                \
    X(OPEN, "open device")                                                                         \
    X(VM, "create VM")                                                                             \
    X(TSS, "TSS and identity map")                                                                 \
    X(IRQCHIP, "irqchip")                                                                          \
    X(SLOT, "memory slot")                                                                         \
    X(VCPU, "vCPU")                                                                                \
    X(RUN_PAGE, "map run page")                                                                    \
    X(MSRS, "MSRs")                                                                                \
    X(CPUID, "CPUID")                                                                              \
    X(DEVICES, "devices")                                                                          \
    X(ACPI, "ACPI tables")                                                                         \
    X(READ_KERNEL, "read kernel")                                                                  \
    X(LOAD_KERNEL, "load kernel")                                                                  \
    X(READ_INITRD, "read initrd")                                                                  \
    X(LOAD_INITRD, "load initrd")                                                                  \
    X(BOOT_PARAMS, "boot parameters")                                                              \
    X(THREAD, "vCPU thread")                                                                       \
    X(SEGMENTS, "segment registers")                                                               \
    X(REGISTERS, "registers")                                                                      \
    X(FPU, "FPU and other state")                                                                  \
    X(START, "start")                                                                              \
    X(READY, "guest ready")                                                                        \
    X(EXIT, "guest exit")                                                                          \
    X(CLEANUP, "clean-up")

enum step {
#define X(id, name) STEP_##id,
    STEPS(X)
#undef X
        STEP_COUNT
};

extern const char *const step_name[STEP_COUNT];

extern bool steps_on; /* changes only while no other thread marks */

void steps_mark(enum step step);

/*
 * What was done since the mark before was `step`. From STEP_START on, which is
 * the guest's first entry, only STEP_READY, STEP_EXIT and STEP_CLEANUP count:
 * what sets a machine up runs later, too. Any thread, one after the other.
 */
static inline void step_end(enum step step)
{
    if (__builtin_expect(steps_on, 0))
        steps_mark(step);
}

/* The calling thread's marks do not count: of several that do the same, one stands for all. */
void steps_leave_out(void);

/* step_end, with the result of what was done passed on. */
static inline int step_done(enum step step, int result)
{
    step_end(step);
    return result;
}

/*
 * main's entry. The life of the first machine begins at the process's start:
 * exec to here is the CPU time that the process has had.
 */
void steps_main(void);

/* Record from now on; STEP_PROCESS is the first row. */
void steps_record(void);

/* Another life in the same process begins now; what was recorded is forgotten. */
void steps_restart(void);

/* The present life's age in ns, recording or not. */
uint64_t steps_age(void);

struct step_row {
    enum step step;
    uint64_t ns;
    uint64_t total; /* ns, with the rows before */
    uint64_t rss;   /* bytes resident at the step's end; 0 unknown */
};

/* The steps that happened, in the order in which they first did; how many. */
unsigned steps_rows(struct step_row rows[STEP_COUNT]);

/* One mark, for a time line: at and ns tell what came before it. */
struct step_event {
    enum step step;
    int tid;
    uint64_t at, ns; /* the beginning, as an age; the time taken */
    uint64_t rss;
};

#define STEPS_EVENTS 128 /* further marks are in the rows only */

unsigned steps_events(struct step_event events[STEPS_EVENTS]);

/* Where time (ns) and resident bytes come from; for tests. NULL: the host's again. */
struct steps_source {
    uint64_t (*now)(void);
    uint64_t (*rss)(void);
};
void steps_use(const struct steps_source *source);

#endif
