/* Exits one by one. */
#include "api.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

/* ---- stop ---- */

void stop_before_run(struct api *a)
{
    MUST(a, mote_vcpu_stop(a->v));
    EQUAL(a, api_run(a), MOTE_EXIT_NONE);
    MUST(a, mote_vcpu_stop(a->v));
    MUST(a, mote_vcpu_stop(a->v));
    EQUAL(a, api_run(a), MOTE_EXIT_NONE);
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, CODE);
}

static void *stop_soon(void *vcpu)
{
    usleep(20000);
    mote_vcpu_stop(vcpu);
    return NULL;
}

void stop_while_running(struct api *a)
{
    pthread_t thread;

    for (unsigned i = 0; i < 3; i++) {
        CHECK(a, !pthread_create(&thread, NULL, stop_soon, a->v));
        api_run(a);
        pthread_join(thread, NULL);
        EQUAL(a, a->exit.reason, MOTE_EXIT_NONE);
    }
}

static int stops(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    access->data = 7;
    return mote_vcpu_stop(vcpu);
}

void stop_in_callback(struct api *a)
{
    MUST(a, mote_machine_set_callbacks(a->m, &(struct mote_callbacks){stops, NULL, NULL}));
    EQUAL(a, api_run(a), MOTE_EXIT_IO);
    MUST(a, mote_vcpu_assist(a->v));
    EQUAL(a, api_run(a), MOTE_EXIT_NONE);
    EQUAL(a, api_gpr(a, MOTE_RAX) & 0xff, 7);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

/* A stop is one exit, and the next run goes on. */
void stop_keeps_other_exits(struct api *a)
{
    MUST(a, mote_vcpu_stop(a->v));
    EQUAL(a, api_run(a), MOTE_EXIT_NONE);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

void exit_names(struct api *a)
{
    for (unsigned i = 0; i < MOTE_EXIT_COUNT; i++) {
        CHECK(a, strcmp(mote_exit_name(i), "?") != 0);
        for (unsigned k = 0; k < i; k++)
            CHECK(a, strcmp(mote_exit_name(i), mote_exit_name(k)) != 0);
    }
    CHECK(a, !strcmp(mote_exit_name(MOTE_EXIT_COUNT), "?"));
    CHECK(a, !strcmp(mote_exit_name(-1u), "?"));
    CHECK(a, !strcmp(mote_exit_name(MOTE_EXIT_IO), "io"));
}

/* ---- accesses ---- */

void exit_io(struct api *a)
{
    const struct mote_exit *e = &a->exit;

    EQUAL(a, api_run(a), MOTE_EXIT_IO);
    CHECK(a, e->u.io.port == 0x80 && e->u.io.size == 2 && !e->u.io.in && !e->u.io.string);
    EQUAL(a, api_run(a), MOTE_EXIT_IO);
    CHECK(a, e->u.io.port == 0x81 && e->u.io.size == 4 && e->u.io.in && !e->u.io.string);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

void exit_io_string(struct api *a)
{
    const struct mote_exit *e = &a->exit;

    EQUAL(a, api_run(a), MOTE_EXIT_IO);
    CHECK(a, e->u.io.port == 0x80 && e->u.io.size == 1 && e->u.io.in);
    EQUAL(a, e->u.io.string, !(a->on_kvm && a->c->differs));
}

void exit_memory(struct api *a)
{
    const struct mote_exit *e = &a->exit;

    EQUAL(a, api_run(a), MOTE_EXIT_MEMORY);
    CHECK(a, e->u.memory.gpa == DEV + 2 && !e->u.memory.write);
    CHECK(a, e->u.memory.size <= 1);
    EQUAL(a, api_run(a), MOTE_EXIT_MEMORY);
    CHECK(a, e->u.memory.gpa == DEV + 8 && e->u.memory.write);
    CHECK(a, e->u.memory.size == 8 || !e->u.memory.size);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

/* An exit says flags and TPR; registers can be changed before the answer. */
void exit_state(struct api *a)
{
    a->s->cr8 = 6;
    a->s->rflags |= FLAGS_IF;
    MUST(a, mote_vcpu_set(a->v, MOTE_CRS | MOTE_GPRS));
    EQUAL(a, api_run(a), MOTE_EXIT_IO);
    EQUAL(a, a->exit.cr8, 6);
    CHECK(a, a->exit.rflags & FLAGS_IF);
    api_get(a, MOTE_GPRS | MOTE_CRS);
    EQUAL(a, a->s->gpr[MOTE_RBX], 5);
    EQUAL(a, a->s->cr8, 6);
}

void exit_rip_answered(struct api *a)
{
    static const struct access seven[] = {{IN, 1, 0x80, 7}, {0}};

    a->next = seven;
    EQUAL(a, api_run(a), MOTE_EXIT_IO);
    MUST(a, mote_vcpu_assist(a->v));
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, CODE + 2);
    EQUAL(a, a->s->gpr[MOTE_RAX], 7);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

void assist_without_exit(struct api *a)
{
    EQUAL(a, mote_vcpu_assist(a->v), -EINVAL);
    CHECK(a, mote_error()[0]);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, mote_vcpu_assist(a->v), -EINVAL);
    EQUAL(a, mote_vcpu_complete_msr(a->v, 0, false), -EINVAL);
}

void assist_twice(struct api *a)
{
    static const struct access seven[] = {{IN, 1, 0x80, 7}, {0}};

    a->next = seven;
    EQUAL(a, api_run(a), MOTE_EXIT_IO);
    EQUAL(a, mote_vcpu_complete_msr(a->v, 0, false), -EINVAL);
    MUST(a, mote_vcpu_assist(a->v));
    EQUAL(a, mote_vcpu_assist(a->v), -EINVAL);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 7);
}

/* ---- MSRs ---- */

#define MSR 0x4d4f5445 /* nobody's */

static void expect_msr(struct api *a, bool write, uint64_t value)
{
    EQUAL(a, api_run(a), write ? MOTE_EXIT_WRMSR : MOTE_EXIT_RDMSR);
    EQUAL(a, a->exit.u.msr.index, MSR);
    if (write)
        EQUAL(a, a->exit.u.msr.value, value);
}

void rdmsr_answered(struct api *a)
{
    expect_msr(a, false, 0);
    MUST(a, mote_vcpu_complete_msr(a->v, UINT64_C(0x1122334455667788), false));
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 0x55667788);
    EQUAL(a, api_gpr(a, MOTE_RDX), 0x11223344);
}

void wrmsr_answered(struct api *a)
{
    expect_msr(a, true, UINT64_C(0x5566778811223344));
    MUST(a, mote_vcpu_complete_msr(a->v, 0, false));
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 0x11223344);
    EQUAL(a, a->s->rip, CODE + (uint64_t)(a->c->code_end - a->c->code));
}

static void expect_gp(struct api *a)
{
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RSI), 13);
    EQUAL(a, api_ram_at(a, a->s->gpr[MOTE_RSP], 8), 0); /* the error code, and rip */
    EQUAL(a, api_ram_at(a, a->s->gpr[MOTE_RSP] + 8, 8), CODE + 5);
}

void msr_faults(struct api *a)
{
    CHECK(a, api_run(a) == MOTE_EXIT_RDMSR || a->exit.reason == MOTE_EXIT_WRMSR);
    MUST(a, mote_vcpu_complete_msr(a->v, 0, true));
    expect_gp(a);
}

/* "Unanswered reads as all ones": of an MSR that is #GP on hardware and here. */
void msr_unanswered(struct api *a)
{
    CHECK(a, api_run(a) == MOTE_EXIT_RDMSR || a->exit.reason == MOTE_EXIT_WRMSR);
    expect_gp(a);
}

void msr_twice(struct api *a)
{
    expect_msr(a, false, 0);
    EQUAL(a, mote_vcpu_assist(a->v), -EINVAL);
    MUST(a, mote_vcpu_complete_msr(a->v, 1, false));
    EQUAL(a, mote_vcpu_complete_msr(a->v, 2, false), -EINVAL);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 1);
}

/* ---- ends ---- */

void halts_twice(struct api *a)
{
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, CODE + 1);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RBX), 1);
}

/* The vCPU can be given a new state after it. */
void shuts_down(struct api *a)
{
    static const uint8_t hlt = 0xf4;

    EQUAL(a, api_run(a), MOTE_EXIT_SHUTDOWN);
    api_begin(a);
    api_ram(a, CODE, &hlt, 1);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, CODE + 1);
}

/* What is left of an instruction faults three times: an exit, once the access was answered or not.
 */
void shuts_down_assisted(struct api *a)
{
    static const struct access seven[] = {{RD, 1, DEV, 7}, {0}};

    for (unsigned answered = 0; answered < 2; answered++) {
        a->next = seven;
        EQUAL(a, api_run(a), MOTE_EXIT_MEMORY);
        if (answered)
            MUST(a, mote_vcpu_assist(a->v));
        EQUAL(a, api_run(a), MOTE_EXIT_SHUTDOWN);
        api_begin(a);
        api_get(a, MOTE_SEGS);
        a->s->idtr.limit = 0;
        MUST(a, mote_vcpu_set(a->v, MOTE_SEGS));
    }
    /* Or not at all, where the program makes the guest go on elsewhere. */
    a->next = seven;
    EQUAL(a, api_run(a), MOTE_EXIT_MEMORY);
    MUST(a, mote_vcpu_assist(a->v));
    api_set_rip(a, CODE + (uint64_t)(a->c->code_end - a->c->code) - 1);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

/* ---- windows ---- */

void intr_window(struct api *a)
{
    MUST(a, mote_vcpu_request_window(a->v, true, false));
    EQUAL(a, api_run(a), MOTE_EXIT_INTR_WINDOW);
    CHECK(a, a->exit.intr_ready);
    CHECK(a, a->exit.rflags & FLAGS_IF);
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, CODE + 2);        /* the instruction behind STI was executed */
    EQUAL(a, api_run(a), MOTE_EXIT_HALT); /* once */
}

void intr_window_later(struct api *a)
{
    MUST(a, mote_vcpu_request_window(a->v, true, false));
    EQUAL(a, api_run(a), MOTE_EXIT_INTR_WINDOW);
    EQUAL(a, api_gpr(a, MOTE_RCX), 0);
    EQUAL(a, api_gpr(a, MOTE_RBX), 0);
    CHECK(a, a->exit.intr_ready);
}

void intr_window_open(struct api *a)
{
    MUST(a, mote_vcpu_request_window(a->v, true, false));
    EQUAL(a, api_run(a), MOTE_EXIT_INTR_WINDOW);
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, CODE);
    MUST(a, mote_vcpu_stop(a->v));
    EQUAL(a, api_run(a), MOTE_EXIT_NONE);
}

void intr_window_withdrawn(struct api *a)
{
    MUST(a, mote_vcpu_request_window(a->v, true, false));
    MUST(a, mote_vcpu_request_window(a->v, false, false));
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

void nmi_window(struct api *a)
{
    MUST(a, mote_vcpu_request_window(a->v, false, true));
    EQUAL(a, api_run(a), MOTE_EXIT_NMI_WINDOW);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

void nmi_window_masked(struct api *a)
{
    a->s->intr.nmi_masked = 1;
    MUST(a, mote_vcpu_set(a->v, MOTE_INTR));
    MUST(a, mote_vcpu_request_window(a->v, false, true));
    EQUAL(a, api_run(a), a->on_kvm ? MOTE_EXIT_NMI_WINDOW : MOTE_EXIT_HALT);
}

/* ---- others ---- */

void tpr_lowered(struct api *a)
{
    EQUAL(a, api_run(a), MOTE_EXIT_TPR);
    EQUAL(a, a->exit.cr8, 2);
    api_get(a, MOTE_CRS | MOTE_GPRS);
    EQUAL(a, a->s->cr8, 2);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

void tpr_raised(struct api *a)
{
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, a->exit.cr8, 9);
    EQUAL(a, api_gpr(a, MOTE_RBX), 9);
}

void hypercall(struct api *a)
{
    a->s->gpr[MOTE_RAX] = 100; /* none of KVM's */
    MUST(a, mote_vcpu_set(a->v, MOTE_GPRS));
    if (!a->on_kvm) {
        EQUAL(a, api_run(a), MOTE_EXIT_HYPERCALL);
        api_get(a, MOTE_GPRS);
        EQUAL(a, a->s->rip, CODE + 3);
        EQUAL(a, a->s->gpr[MOTE_RAX], 100);
        a->s->gpr[MOTE_RAX] = (uint64_t)-1000;
        MUST(a, mote_vcpu_set(a->v, MOTE_GPRS));
    }
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), (uint64_t)-1000);
    EQUAL(a, a->s->rip, CODE + 4);
}

void hypercall_user(struct api *a)
{
    if (!a->on_kvm)
        EQUAL(a, api_run(a), MOTE_EXIT_HYPERCALL);
    if (api_run(a) == MOTE_EXIT_IO)
        return;
    CHECK(a, a->on_kvm); /* on AMD's processors, which have VMMCALL */
    EQUAL(a, a->exit.reason, MOTE_EXIT_HALT);
    CHECK(a, api_gpr(a, MOTE_RSI) == 6 || a->s->gpr[MOTE_RSI] == 13);
    EQUAL(a, api_ram_at(a, a->s->gpr[MOTE_RSP] + (a->s->gpr[MOTE_RSI] == 13) * 8, 8), CODE);
}

/* Instructions cannot be fetched from a device: #UD, or the accelerator gives up. */
void fetch_from_device(struct api *a)
{
    if (api_run(a) == MOTE_EXIT_HALT) {
        EQUAL(a, api_gpr(a, MOTE_RSI), 6);
        EQUAL(a, api_ram_at(a, a->s->gpr[MOTE_RSP], 8), DEV);
        return;
    }
    EQUAL(a, a->exit.reason, MOTE_EXIT_FAIL);
    CHECK(a, a->exit.u.fail.why[0]);
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, DEV);
}

/* SGDT, which KVM does not get out of. */
void stores_table(struct api *a)
{
    pthread_t thread;

    if (!a->on_kvm) {
        api_script(a);
        return;
    }
    CHECK(a, !pthread_create(&thread, NULL, stop_soon, a->v));
    api_run(a);
    pthread_join(thread, NULL);
    EQUAL(a, a->exit.reason, MOTE_EXIT_NONE);
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, CODE);
}

/* ---- CPUID ---- */

static unsigned get_table(struct api *a, struct mote_cpuid *table)
{
    unsigned count = MOTE_CPUID_MAX;

    MUST(a, mote_vcpu_get_cpuid(a->v, table, &count));
    CHECK(a, count > 10 && count <= MOTE_CPUID_MAX);
    return count;
}

static struct mote_cpuid *find(struct api *a, struct mote_cpuid *table, unsigned count,
                               uint32_t leaf, uint32_t subleaf)
{
    for (unsigned i = 0; i < count; i++) {
        if (table[i].leaf == leaf && (!table[i].indexed || table[i].subleaf == subleaf))
            return &table[i];
    }
    api_fail(a, "no leaf 0x%x.%u", leaf, subleaf);
}

void cpuid_override(struct api *a)
{
    struct mote_cpuid table[MOTE_CPUID_MAX];
    unsigned count = get_table(a, table);

    *find(a, table, count, 0x40000000, 0) =
        (struct mote_cpuid){0x40000000, 0, 0, 0x40000000, 0x11111111, 0x22222222, 0x33333333};
    MUST(a, mote_vcpu_set_cpuid(a->v, table, count));
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 0x40000000);
    EQUAL(a, api_gpr(a, MOTE_RBX), 0x11111111);
    EQUAL(a, api_gpr(a, MOTE_RCX), 0x22222222);
    EQUAL(a, api_gpr(a, MOTE_RDX), 0x33333333);
}

void cpuid_indexed(struct api *a)
{
    struct mote_cpuid table[MOTE_CPUID_MAX];
    unsigned count = get_table(a, table), kept = 0;

    for (unsigned i = 0; i < count; i++) {
        if (table[i].leaf != 4)
            table[kept++] = table[i];
    }
    CHECK(a, kept + 2 <= MOTE_CPUID_MAX);
    table[kept++] = (struct mote_cpuid){4, 0, 1, 0x100, 1, 2, 3};
    table[kept++] = (struct mote_cpuid){4, 1, 1, 0x200, 4, 5, 6};
    find(a, table, kept, 0, 0)->eax = 7;
    MUST(a, mote_vcpu_set_cpuid(a->v, table, kept));
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_R8), 0x200);
    EQUAL(a, api_gpr(a, MOTE_RAX), 0x100);
    EQUAL(a, api_gpr(a, MOTE_RDX), 3);
}

void cpuid_table(struct api *a)
{
    struct mote_cpuid table[MOTE_CPUID_MAX], again[MOTE_CPUID_MAX];
    unsigned count = get_table(a, table), none = 0, few = 2;

    EQUAL(a, mote_vcpu_get_cpuid(a->v, NULL, &none), -E2BIG);
    EQUAL(a, none, count);
    EQUAL(a, mote_vcpu_get_cpuid(a->v, again, &few), -E2BIG);
    EQUAL(a, few, count);
    EQUAL(a, mote_vcpu_set_cpuid(a->v, table, MOTE_CPUID_MAX + 1), -EINVAL);
    EQUAL(a, mote_vcpu_set_cpuid(a->v, NULL, 1), -EINVAL);
    MUST(a, mote_vcpu_set_cpuid(a->v, table, count));
    EQUAL(a, get_table(a, again), count);
    CHECK(a, !memcmp(table, again, count * sizeof(*table)));
    CHECK(a, find(a, table, count, 1, 0)->ecx >> 31);    /* a hypervisor is present */
    EQUAL(a, find(a, table, count, 1, 0)->ebx >> 24, 0); /* the APIC ID */
}

void cpuid_after_run(struct api *a)
{
    struct mote_cpuid table[MOTE_CPUID_MAX];
    unsigned count = get_table(a, table);

    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, mote_vcpu_set_cpuid(a->v, table, count), -EBUSY);
}

void cpuid_feature_gone(struct api *a)
{
    struct mote_cpuid table[MOTE_CPUID_MAX];
    unsigned count = get_table(a, table);

    find(a, table, count, 1, 0)->ecx &= ~(1u << 22); /* MOVBE */
    MUST(a, mote_vcpu_set_cpuid(a->v, table, count));
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    if (!a->on_kvm)
        EQUAL(a, api_gpr(a, MOTE_RSI), 6);
}

/* False: there are no such exits here, and the guest notices nothing. */
static bool exit_leaves(struct api *a, const uint32_t *leaves, unsigned count)
{
    struct mote_capabilities caps;
    int err = mote_vcpu_exit_cpuid(a->v, leaves, count);

    MUST(a, mote_machine_capabilities(a->m, &caps));
    EQUAL(a, caps.exits >> MOTE_EXIT_CPUID & 1, !a->on_kvm);
    EQUAL(a, err, a->on_kvm ? -ENOTSUP : 0);
    if (!a->on_kvm)
        return true;
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    return false;
}

static void expect_leaf(struct api *a, uint32_t leaf, uint32_t subleaf)
{
    struct mote_cpuid table[MOTE_CPUID_MAX];
    const struct mote_cpuid *want = find(a, table, get_table(a, table), leaf, subleaf);
    const struct mote_cpuid *got = &a->exit.u.cpuid;

    EQUAL(a, api_run(a), MOTE_EXIT_CPUID);
    EQUAL(a, got->leaf, leaf);
    EQUAL(a, got->subleaf, subleaf);
    EQUAL(a, got->indexed, want->indexed);
    CHECK(a, got->eax == want->eax && got->ebx == want->ebx);
    CHECK(a, got->ecx == want->ecx && got->edx == want->edx);
}

/* Nothing of it has happened at the exit. */
void cpuid_exit(struct api *a)
{
    const uint32_t leaves[] = {0x80000002, 0xd};
    struct mote_cpuid answer = {0xd, 0, 0, 0x11111111, 0x22222222, 0xf3333333, 0x44444444};

    if (!exit_leaves(a, leaves, 2))
        return;
    EQUAL(a, api_run(a), MOTE_EXIT_CPUID);
    EQUAL(a, a->exit.u.cpuid.leaf, 0xd);
    EQUAL(a, a->exit.u.cpuid.subleaf, 0);
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, CODE + 10);
    EQUAL(a, a->s->gpr[MOTE_RAX], 0x1234567800000000 | 0xd);
    EQUAL(a, mote_vcpu_assist(a->v), -EINVAL);
    EQUAL(a, mote_vcpu_complete_msr(a->v, 0, false), -EINVAL);
    EQUAL(a, mote_vcpu_complete_cpuid(a->v, NULL), -EINVAL);
    MUST(a, mote_vcpu_complete_cpuid(a->v, &answer));
    EQUAL(a, mote_vcpu_complete_cpuid(a->v, &answer), -EINVAL);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 0x11111111);
    EQUAL(a, api_gpr(a, MOTE_RBX), 0x22222222);
    EQUAL(a, api_gpr(a, MOTE_RCX), 0xf3333333);
    EQUAL(a, api_gpr(a, MOTE_RDX), 0x44444444);
    EQUAL(a, a->s->rip, CODE + (uint64_t)(a->c->code_end - a->c->code));
}

void cpuid_exit_unanswered(struct api *a)
{
    const uint32_t leaf = 0x80000002;
    uint32_t regs[4];

    if (!exit_leaves(a, &leaf, 1))
        return;
    expect_leaf(a, leaf, 0);
    memcpy(regs, &a->exit.u.cpuid.eax, sizeof(regs));
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), regs[0]);
    EQUAL(a, api_gpr(a, MOTE_RBX), regs[1]);
    EQUAL(a, api_gpr(a, MOTE_RCX), regs[2]);
    EQUAL(a, api_gpr(a, MOTE_RDX), regs[3]);
}

/* The program's registers count, and rip behind the instruction. */
void cpuid_exit_by_hand(struct api *a)
{
    const uint32_t leaf = 0x80000002;

    if (!exit_leaves(a, &leaf, 1))
        return;
    expect_leaf(a, leaf, 0);
    api_get(a, MOTE_GPRS);
    a->s->gpr[MOTE_RAX] = 5;
    a->s->rip += 2;
    MUST(a, mote_vcpu_set(a->v, MOTE_GPRS));
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 5);
    EQUAL(a, api_gpr(a, MOTE_RBX), 0);
    /* Or it is executed again. */
    api_set_rip(a, CODE);
    expect_leaf(a, leaf, 0);
    MUST(a, mote_vcpu_set(a->v, MOTE_GPRS));
    expect_leaf(a, leaf, 0);
}

/* Asked for and withdrawn between runs. */
void cpuid_exit_changed(struct api *a)
{
    const uint32_t first = 0x80000002, second = 0x80000003;
    uint32_t many[MOTE_CPUID_MAX + 1] = {0};

    EQUAL(a, mote_vcpu_exit_cpuid(a->v, NULL, 1), -EINVAL);
    EQUAL(a, mote_vcpu_exit_cpuid(a->v, many, MOTE_CPUID_MAX + 1), -EINVAL);
    EQUAL(a, mote_vcpu_exit_cpuid(NULL, many, 1), -EINVAL);
    EQUAL(a, mote_vcpu_complete_cpuid(a->v, &a->exit.u.cpuid), -EINVAL);
    if (!exit_leaves(a, many, MOTE_CPUID_MAX))
        return;
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    MUST(a, mote_vcpu_exit_cpuid(a->v, &first, 1));
    api_set_rip(a, CODE);
    expect_leaf(a, first, 0);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    MUST(a, mote_vcpu_exit_cpuid(a->v, &second, 1));
    api_set_rip(a, CODE);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    MUST(a, mote_vcpu_exit_cpuid(a->v, &first, 1));
    MUST(a, mote_vcpu_exit_cpuid(a->v, NULL, 0));
    api_set_rip(a, CODE);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    CHECK(a, api_gpr(a, MOTE_RAX) != first);
}

/* Each answer is the round's number; every second is left to the table. */
void cpuid_exit_hot(struct api *a)
{
    const uint32_t leaf = 0x40000000;
    struct mote_cpuid answer;

    if (!exit_leaves(a, &leaf, 1))
        return;
    for (uint32_t i = 0; i < 200; i++) {
        EQUAL(a, api_run(a), MOTE_EXIT_CPUID);
        answer = a->exit.u.cpuid;
        EQUAL(a, answer.subleaf, i);
        if (i & 1) {
            answer.ebx = i;
            MUST(a, mote_vcpu_complete_cpuid(a->v, &answer));
            EQUAL(a, api_gpr(a, MOTE_RBX), i);
        }
    }
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_R8), 100);
}

/* In ring 3, where HLT is #GP. */
void cpuid_exit_user(struct api *a)
{
    const uint32_t leaf = 0x80000002;

    if (exit_leaves(a, &leaf, 1)) {
        expect_leaf(a, leaf, 0);
        a->exit.u.cpuid.eax = 0x77;
        MUST(a, mote_vcpu_complete_cpuid(a->v, &a->exit.u.cpuid));
        EQUAL(a, api_run(a), MOTE_EXIT_HALT);
        EQUAL(a, api_gpr(a, MOTE_RAX), 0x77);
    }
    EQUAL(a, api_gpr(a, MOTE_RSI), 13);
    EQUAL(a, api_ram_at(a, a->s->gpr[MOTE_RSP] + 8, 8), CODE + 7);
}
