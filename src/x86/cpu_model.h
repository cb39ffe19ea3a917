/*
 * The processor that a guest sees: "host", all that its accelerator can honour, or
 * a baseline, the same on every host, for guests that move between hosts. Features
 * are added to either and taken away by name.
 */
#ifndef MOTE_X86_CPU_MODEL_H
#define MOTE_X86_CPU_MODEL_H

#include "x86/cpu_features.h"

struct x86_cpu_model {
    const char *name;
    const char *help; /* for people */
    uint8_t level;    /* X86_FEATURE_V2 to V4: a level of the x86-64 psABI; 0: host */
};

/* NULL-terminated by name; the first is "host". */
extern const struct x86_cpu_model x86_cpu_models[];

/* All zero: "host". */
struct x86_cpu {
    unsigned model; /* in x86_cpu_models */
    struct x86_features plus, minus;
};

/*
 * MODEL[,+FEATURE][,-FEATURE]...: what a + names brings what it needs along, what a -
 * names takes along what needs it. -EINVAL, and *cpu is not to be used: the sentence
 * says what about the text is wrong.
 */
int x86_cpu_parse(struct x86_cpu *cpu, const char *text);

/*
 * From *offer, what the accelerator called `by` can honour, to the guest's *table, but
 * for x86_cpuid_place. A baseline's table depends on the offer in three things only:
 * the TSC's frequency, whether it has what X86_FEATURE_MACHINE says, and with AVX-512
 * where the processor puts its parts into an XSAVE area.
 * -ENOTSUP: something asked for is not offered; the sentence names all of it.
 */
int x86_cpu_apply(const struct x86_cpu *cpu, const char *by, const struct x86_cpuid *offer,
                  struct x86_cpuid *table);

/* Is something asked for that is not offered? *missing is all of that. */
bool x86_cpu_lacks(const struct x86_cpu *cpu, const struct x86_cpuid *offer,
                   struct x86_features *missing);

/* What the model has without regard to an offer; empty for host. */
void x86_cpu_features(const struct x86_cpu *cpu, struct x86_features *set);

/* "fpu, de, ..." as far as there is room, with "..." at the end where there is not. */
void x86_features_print(const struct x86_features *set, char *text, size_t size);

#endif
