#include "guest.h"

#include "../deadlock.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void must(int err, const char *what)
{
    if (err)
        fail_msg("%s: %d (%s)", what, err, mote_error());
}

const char *accel_of(void **state)
{
    static struct mote_accel list[8];
    static int count;

    if (!count)
        count = mote_accel_list(list, 8);
    alarm(DEADLOCK_SECONDS);
    for (int i = 0; i < count; i++) {
        if (strcmp(list[i].name, *state) != 0)
            continue;
        if (list[i].usable)
            return list[i].name;
        print_message("skipped on %s: %s\n", list[i].name, list[i].reason);
        skip();
    }
    fail_msg("no accelerator %s", (const char *)*state);
    return NULL;
}

void guest_create(struct guest *g, const char *accel, unsigned vcpus)
{
    const struct mote_machine_config config = {.accel = accel, .vcpus = vcpus};

    g->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(g->ram, MAP_FAILED);
    must(mote_machine_create(&g->machine, &config), "mote_machine_create");
    must(mote_hva_register(g->machine, g->ram, RAM_SIZE), "mote_hva_register");
    must(mote_vcpu_create(&g->vcpu, g->machine, 0), "mote_vcpu_create");
}

void guest_destroy(struct guest *g)
{
    must(mote_machine_destroy(g->machine), "mote_machine_destroy");
    munmap(g->ram, RAM_SIZE);
}

static void entry_put(struct guest *g, uint64_t at, uint64_t entry)
{
    memcpy(g->ram + at, &entry, sizeof(entry));
}

void guest_map(struct guest *g)
{
    must(mote_gpa_map(g->machine, 0, g->ram, RAM_SIZE, MOTE_RWX), "mote_gpa_map");
    entry_put(g, TABLES, (TABLES + 0x1000) | 3);
    entry_put(g, TABLES + 0x1000, (TABLES + 0x2000) | 3);
    for (uint64_t n = 0; n < 512; n++)
        entry_put(g, TABLES + 0x2000 + 8 * n, n << 21 | 0x83); /* 2 MiB, writable */
}

void guest_at(struct mote_vcpu *vcpu, uint64_t rip)
{
    const unsigned groups = MOTE_GPRS | MOTE_SEGS | MOTE_CRS | MOTE_MSRS;
    const uint32_t flat = MOTE_SEG_P | MOTE_SEG_S | MOTE_SEG_G;
    struct mote_state *s = mote_vcpu_state(vcpu);

    assert_non_null(s);
    must(mote_vcpu_get(vcpu, groups), "mote_vcpu_get");
    for (unsigned i = MOTE_ES; i <= MOTE_GS; i++)
        s->seg[i] = (struct mote_seg){
            .limit = 0xffffffff, .selector = 0x10, .attrib = flat | MOTE_SEG_DB | 3};
    s->seg[MOTE_CS].attrib = flat | MOTE_SEG_L | 11;
    s->seg[MOTE_CS].selector = 8;
    s->cr0 = 0x80000031; /* PG, NE, ET, PE */
    s->cr3 = TABLES;
    s->cr4 = 0x220;      /* PAE, OSFXSR */
    s->msr.efer = 0x500; /* LME, LMA */
    s->gpr[MOTE_RSP] = STACK;
    s->rip = rip;
    s->rflags = 2;
    must(mote_vcpu_set(vcpu, groups), "mote_vcpu_set");
}

void guest_put(struct guest *g, uint64_t at, const uint8_t *from, const uint8_t *end)
{
    memcpy(g->ram + at, from, (size_t)(end - from));
    must(mote_gpa_written(g->machine, at, (size_t)(end - from)), "mote_gpa_written");
}

struct mote_exit guest_run(struct mote_vcpu *vcpu, unsigned reason)
{
    struct mote_exit e;

    do /* a signal, SIGSTOP's too, ends a run */
        must(mote_vcpu_run(vcpu, &e), "mote_vcpu_run");
    while (e.reason == MOTE_EXIT_NONE && reason != MOTE_EXIT_NONE);
    if (e.reason == MOTE_EXIT_FAIL && reason != e.reason)
        fail_msg("%s", e.u.fail.why);
    if (e.reason != reason)
        fail_msg("exit %s, expected %s", mote_exit_name(e.reason), mote_exit_name(reason));
    return e;
}
