/*
 * Lines for people, on standard error, each "mote: ..." and written with one
 * write(2) (in raw terminal mode a line ends in CR LF).
 */
#ifndef MOTE_BASE_LOG_H
#define MOTE_BASE_LOG_H

#include <stdbool.h>

/* What `--trace TOPIC[,TOPIC...]` may name. */
#define TRACE_TOPICS(X)                                                                            \
    X(UNASSIGNED, "unassigned", "ports and addresses where nothing lives")                         \
    X(EXITS, "exits", "every exit of a vCPU")                                                      \
    X(MSR, "msr", "model-specific registers that nothing implements")                              \
    X(RESCUE, "rescue", "instructions that mote executed because KVM could not")                   \
    X(IRQ, "irq", "interrupts delivered")                                                          \
    X(BOOT, "boot", "what was loaded where")

enum trace_topic {
#define X(id, name, help) TRACE_##id,
    TRACE_TOPICS(X)
#undef X
        TRACE_COUNT
};

struct trace_info {
    const char *name;
    const char *help;
};
extern const struct trace_info trace_info[TRACE_COUNT];
extern unsigned trace_mask; /* BIT(topic) set: the topic is printed */

void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Set while the terminal is raw, so that lines begin at its left edge. */
void log_set_raw(bool raw);

/* -EINVAL: a topic in the comma-separated list is unknown (err_text names it). */
int trace_enable(const char *topics);

void trace_print(enum trace_topic topic, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#define trace(topic, ...)                                                                          \
    do {                                                                                           \
        if (__builtin_expect(trace_mask & (1u << (topic)), 0))                                     \
            trace_print((topic), __VA_ARGS__);                                                     \
    } while (0)

#endif
