/*
 * Changes of a machine in its callbacks: devices that move, take and give memory in the middle of
 * the instruction that reached them. What was unmapped is made inaccessible at once, so that
 * whoever still has its address faults.
 */
#include "guest.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define DEVICE 0xff000u  /* a page that is none, before ... */
#define WINDOW 0x100000u /* ... one that comes and goes */
#define BANKS  0x180000u /* memory for it */
#define ALIAS  0x400000u
#define PORT   0x42

struct visit {
    struct guest *g;
    unsigned at; /* the change is made in the call of this number, from 1 on */
    void (*change)(struct visit *v, struct mote_vcpu *vcpu);
    uint64_t answer; /* of reads */
    unsigned calls, reads, writes;
    uint64_t gpa[64], data[64]; /* of each call, what was written */
};

static int on_access(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    struct visit *v = user;
    unsigned n = v->calls++;

    if (n < 64) {
        v->gpa[n] = access->address;
        v->data[n] = access->write ? access->data : 0;
    }
    v->reads += !access->write;
    v->writes += access->write;
    if (!access->write)
        access->data = v->answer;
    if (v->calls == v->at)
        v->change(v, vcpu);
    return 0;
}

static void create(struct guest *g, void **state, struct visit *v)
{
    const struct mote_callbacks callbacks = {.io = on_access, .memory = on_access, .user = v};

    guest_create(g, accel_of(state), 2);
    guest_map(g);
    must(mote_gpa_unmap(g->machine, DEVICE, 0x1000), "mote_gpa_unmap");
    must(mote_machine_set_callbacks(g->machine, &callbacks), "mote_machine_set_callbacks");
}

/* A guest with the code at CODE, whose callbacks are v's; v->g is set. */
static void begin(struct guest *g, void **state, struct visit *v, const uint8_t *code,
                  const uint8_t *end)
{
    v->g = g;
    create(g, state, v);
    guest_put(g, CODE, code, end);
    guest_at(g->vcpu, CODE);
}

/* Run and assist to the first exit that is no access. */
static struct mote_exit run(struct guest *g)
{
    struct mote_exit e;

    for (;;) {
        must(mote_vcpu_run(g->vcpu, &e), "mote_vcpu_run");
        if (e.reason == MOTE_EXIT_IO || e.reason == MOTE_EXIT_MEMORY)
            must(mote_vcpu_assist(g->vcpu), "mote_vcpu_assist");
        else if (e.reason != MOTE_EXIT_NONE)
            return e;
    }
}

static void run_to_halt(struct guest *g)
{
    struct mote_exit e = run(g);

    if (e.reason == MOTE_EXIT_FAIL)
        fail_msg("%s", e.u.fail.why);
    assert_int_equal(e.reason, MOTE_EXIT_HALT);
    must(mote_vcpu_get(g->vcpu, MOTE_GPRS), "mote_vcpu_get");
}

static uint64_t gpr(struct guest *g, unsigned n)
{
    must(mote_vcpu_get(g->vcpu, MOTE_GPRS), "mote_vcpu_get");
    return mote_vcpu_state(g->vcpu)->gpr[n];
}

static bool is_soft(void **state)
{
    return !strcmp(*state, "soft");
}

/* Out of the guest, and out of the process's reach. */
static void take(struct guest *g, uint64_t gpa, size_t size)
{
    must(mote_gpa_unmap(g->machine, gpa, size), "mote_gpa_unmap");
    assert_int_equal(mprotect(g->ram + gpa, size, PROT_NONE), 0);
}

/* ---- what is refused, and what is not ---------------------------------------------------- */

GUEST_CODE(port, "inb $0x42, %al\nhlt")
GUEST_CODE(load, "movb 0xff000, %al\nhlt")

static void try_all(struct visit *v, struct mote_vcpu *vcpu)
{
    static _Alignas(4096) uint8_t more[0x2000];
    struct mote_machine *m = v->g->machine;
    struct mote_vcpu_debug debug = {0};
    struct mote_event event = {0};
    struct mote_cpuid cpuid = {0};
    struct mote_vcpu *other;
    unsigned count = 0;
    uint64_t gpa;
    struct mote_exit e;

    assert_int_equal(mote_vcpu_destroy(vcpu), -EBUSY);
    assert_int_equal(mote_machine_destroy(m), -EBUSY);
    assert_int_equal(mote_vcpu_run(vcpu, &e), -EBUSY);
    assert_int_equal(mote_vcpu_assist(vcpu), -EBUSY);
    assert_int_equal(mote_vcpu_complete_msr(vcpu, 0, false), -EBUSY);
    assert_int_equal(mote_vcpu_exit_cpuid(vcpu, NULL, 0), -EBUSY);
    assert_int_equal(mote_vcpu_complete_cpuid(vcpu, &cpuid), -EBUSY);
    assert_int_equal(mote_vcpu_get(vcpu, MOTE_ALL), -EBUSY);
    assert_int_equal(mote_vcpu_set(vcpu, MOTE_ALL), -EBUSY);
    assert_int_equal(mote_vcpu_get_cpuid(vcpu, NULL, &count), -EBUSY);
    assert_int_equal(mote_vcpu_set_cpuid(vcpu, NULL, 0), -EBUSY);
    event.kind = MOTE_EVENT_NMI;
    assert_int_equal(mote_vcpu_inject(vcpu, &event), -EBUSY);
    assert_int_equal(mote_vcpu_request_window(vcpu, true, true), -EBUSY);
    assert_int_equal(mote_vcpu_set_debug(vcpu, &debug), -EBUSY);
    assert_int_equal(mote_gva_to_gpa(vcpu, 0, &gpa, NULL), -EBUSY);

    must(mote_gpa_written(m, CODE, 16), "mote_gpa_written");
    must(mote_hva_register(m, more, sizeof(more)), "mote_hva_register");
    must(mote_gpa_map(m, ALIAS, more, sizeof(more), MOTE_RWX), "mote_gpa_map");
    assert_int_equal(mote_hva_unregister(m, more, sizeof(more)), -EBUSY);
    must(mote_gpa_unmap(m, ALIAS, 0x1000), "mote_gpa_unmap");
    must(mote_gpa_unmap(m, ALIAS + 0x1000, 0x1000), "mote_gpa_unmap");
    assert_int_equal(mote_gpa_unmap(m, ALIAS, 0x1000), -ENOENT);
    must(mote_hva_unregister(m, more, sizeof(more)), "mote_hva_unregister");
    must(mote_vcpu_create(&other, m, 1), "mote_vcpu_create");
    guest_at(other, CODE);
    must(mote_vcpu_destroy(other), "mote_vcpu_destroy");
    v->answer++; /* all of it was done */
}

static void test_allowed(void **state)
{
    const struct {
        const uint8_t *code, *end;
    } accesses[] = {{port, port_end}, {load, load_end}};

    for (unsigned i = 0; i < 2; i++) {
        struct visit v = {.at = 1, .change = try_all, .answer = 0x76};
        struct guest g;

        begin(&g, state, &v, accesses[i].code, accesses[i].end);
        run_to_halt(&g);
        assert_int_equal(v.calls, 1);
        assert_int_equal(v.answer, 0x77);
        assert_int_equal(gpr(&g, MOTE_RAX) & 0xff, 0x76);
        guest_destroy(&g);
    }
}

/* ---- banks --------------------------------------------------------------------------------- */

#define ROUNDS 200

/* Chooses one of four banks, reads a word of it, and calls what is in it. RBX: rounds done. */
#define BANKED(choose)                                                                             \
    "xorl %ebx, %ebx\n1: movl %ebx, %eax\nandl $3, %eax\nmovl %eax, %esi\n" choose                 \
    "\nmovl 0x100800, %ecx\ncmpl %esi, %ecx\njne 9f\n"                                             \
    "movl %esi, 0x100804\n"                                                                        \
    "movl $0x100000, %edi\ncall *%rdi\ncmpl %esi, %eax\njne 9f\n"                                  \
    "incl %ebx\ncmpl $200, %ebx\njb 1b\n9: hlt"
GUEST_CODE(banked_port, BANKED("outb %al, $0x42"))
GUEST_CODE(banked_load, BANKED("movb %al, 0xff010"))

static int on_bank(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    struct guest *g = user;

    assert_int_equal(mote_gpa_to_hva(g->machine, WINDOW, NULL, NULL), 0);
    must(mote_gpa_unmap(g->machine, WINDOW, 0x1000), "mote_gpa_unmap");
    must(mote_gpa_map(g->machine, WINDOW, g->ram + BANKS + access->data * 0x1000, 0x1000, MOTE_RWX),
         "mote_gpa_map");
    return 0;
}

static void test_banks(void **state)
{
    const struct {
        const uint8_t *code, *end;
    } kinds[] = {{banked_port, banked_port_end}, {banked_load, banked_load_end}};

    for (unsigned i = 0; i < 2; i++) {
        const struct mote_callbacks callbacks = {on_bank, on_bank, NULL};
        struct mote_callbacks mine = callbacks;
        struct visit v = {0};
        struct guest g;

        begin(&g, state, &v, kinds[i].code, kinds[i].end);
        mine.user = &g;
        must(mote_machine_set_callbacks(g.machine, &mine), "mote_machine_set_callbacks");
        for (uint32_t bank = 0; bank < 4; bank++) {
            uint8_t *at = g.ram + BANKS + bank * 0x1000;

            memcpy(at, "\xb8\0\0\0\0\xc3", 6); /* mov $bank, %eax; ret */
            memcpy(at + 1, &bank, 4);
            memcpy(at + 0x800, &bank, 4);
        }
        run_to_halt(&g);
        assert_int_equal(gpr(&g, MOTE_RBX), ROUNDS);
        for (uint32_t bank = 0; bank < 4; bank++)
            assert_memory_equal(g.ram + BANKS + bank * 0x1000 + 0x804, &bank, 4);
        guest_destroy(&g);
    }
}

/* ---- memory comes, where the device was that is just read ------------------------------------ */

static void put_ram(struct visit *v, struct mote_vcpu *vcpu)
{
    must(mote_gpa_map(v->g->machine, DEVICE, v->g->ram + BANKS, 0x1000, MOTE_RWX), "mote_gpa_map");
}

GUEST_CODE(update, "addl $5, 0xff000\nmovl 0xff000, %eax\nhlt")
GUEST_CODE(locked, "movl $9, %ecx\nlock xaddl %ecx, 0xff000\nmovl 0xff000, %eax\nhlt")
GUEST_CODE(twice, "movl 0xff000, %ecx\nmovl 0xff000, %eax\nhlt")

static void test_memory_comes(void **state)
{
    struct visit v = {.at = 1, .change = put_ram, .answer = 7}, w = v, x = v;
    struct guest g;

    begin(&g, state, &v, update, update_end);
    run_to_halt(&g);
    assert_int_equal(v.calls, 1); /* what it writes is memory's */
    assert_int_equal(gpr(&g, MOTE_RAX), 12);
    guest_destroy(&g);

    begin(&g, state, &w, locked, locked_end);
    run_to_halt(&g);
    assert_int_equal(w.reads, 1);
    if (is_soft(state)) {
        assert_int_equal(gpr(&g, MOTE_RCX), 7);
        assert_int_equal(gpr(&g, MOTE_RAX), 16);
    } else { /* KVM compares before it writes, and begins anew */
        assert_true(gpr(&g, MOTE_RAX) == gpr(&g, MOTE_RCX) + 9);
    }
    guest_destroy(&g);

    begin(&g, state, &x, twice, twice_end);
    memset(g.ram + BANKS, 0x33, 8);
    run_to_halt(&g);
    assert_int_equal(x.calls, 1);
    assert_int_equal(gpr(&g, MOTE_RCX), 7);
    assert_int_equal(gpr(&g, MOTE_RAX), 0x33333333);
    guest_destroy(&g);
}

/* ---- the other half of an access ---------------------------------------------------------------
 */

GUEST_CODE(crossing, "movq 0x0ffffc, %rax\nhlt") /* first half a device's, then RAM */
GUEST_CODE(crossing_write, "movl $0x11111111, %eax\nmovl $0x22222222, %ecx\nshlq $32, %rcx\n"
                           "orq %rcx, %rax\nmovq %rax, 0x0ffffc\nhlt")
GUEST_CODE(crossing_back, "movq 0x0feffc, %rax\nhlt") /* RAM, then a device's */

static void take_window(struct visit *v, struct mote_vcpu *vcpu)
{
    take(v->g, WINDOW, RAM_SIZE - WINDOW);
}

static void take_before(struct visit *v, struct mote_vcpu *vcpu)
{
    take(v->g, 0xfe000, 0x1000);
}

static void *take_window_thread(void *v)
{
    take_window(v, NULL);
    return NULL;
}

static void take_window_by_thread(struct visit *v, struct mote_vcpu *vcpu)
{
    pthread_t thread;

    pthread_create(&thread, NULL, take_window_thread, v);
    pthread_join(thread, NULL);
}

/* KVM has read or written the second half before. */
static void test_other_half(void **state)
{
    void (*const changes[])(struct visit *, struct mote_vcpu *) = {take_window,
                                                                   take_window_by_thread};

    for (unsigned i = 0; i < 2; i++) {
        struct visit v = {.at = 1, .change = changes[i], .answer = 0x22222222}, w = v;
        struct guest g;

        begin(&g, state, &v, crossing, crossing_end);
        run_to_halt(&g);
        assert_int_equal(v.calls, is_soft(state) ? 2 : 1);
        assert_int_equal(gpr(&g, MOTE_RAX), is_soft(state) ? 0x2222222222222222 : 0x22222222);
        guest_destroy(&g);

        begin(&g, state, &w, crossing_write, crossing_write_end);
        run_to_halt(&g);
        assert_int_equal(w.calls, is_soft(state) ? 2 : 1);
        assert_int_equal(w.data[0], 0x11111111);
        assert_int_equal(w.data[1], is_soft(state) ? 0x22222222 : 0);
        guest_destroy(&g);
    }
}

static void test_first_half(void **state)
{
    struct visit v = {.at = 1, .change = take_before, .answer = 0x22222222};
    struct guest g;

    begin(&g, state, &v, crossing_back, crossing_back_end);
    memset(g.ram + 0xfeffc, 0x44, 4);
    run_to_halt(&g);
    assert_int_equal(v.calls, 1);
    assert_int_equal(gpr(&g, MOTE_RAX), 0x2222222244444444);
    guest_destroy(&g);
}

static void put_window(struct visit *v, struct mote_vcpu *vcpu)
{
    must(mote_gpa_map(v->g->machine, WINDOW, v->g->ram + BANKS, 0x1000, MOTE_RWX), "mote_gpa_map");
}

/* Both halves are a device's, then the second is memory. KVM asked for both before. */
static void test_half_comes(void **state)
{
    struct visit v = {.at = 1, .change = put_window, .answer = 0x22222222}, w = v;
    struct guest g;

    begin(&g, state, &v, crossing, crossing_end);
    must(mote_gpa_unmap(g.machine, WINDOW, 0x1000), "mote_gpa_unmap");
    memset(g.ram + BANKS, 0x33, 8);
    run_to_halt(&g);
    assert_int_equal(v.calls, is_soft(state) ? 1 : 2);
    assert_int_equal(gpr(&g, MOTE_RAX), is_soft(state) ? 0x3333333322222222 : 0x2222222222222222);
    guest_destroy(&g);

    begin(&g, state, &w, crossing_write, crossing_write_end);
    must(mote_gpa_unmap(g.machine, WINDOW, 0x1000), "mote_gpa_unmap");
    run_to_halt(&g);
    assert_int_equal(w.calls, is_soft(state) ? 1 : 2);
    assert_int_equal(*(uint32_t *)(g.ram + BANKS), is_soft(state) ? 0x22222222 : 0);
    guest_destroy(&g);
}

/* Code at the window is run, and so decoded; then the second half of a store is put over it. */
GUEST_CODE(over_code, "movl $0x180000, %edi\n1: call *%rdi\ndecl %ebx\njnz 1b\n"
                      "movl $0x2b8, %eax\nshlq $32, %rax\nmovq %rax, 0x0ffffc\ncall *%rdi\nhlt")

static void test_half_is_code(void **state)
{
    struct visit v = {.at = 1, .change = put_window};
    struct guest g;

    begin(&g, state, &v, over_code, over_code_end);
    must(mote_gpa_unmap(g.machine, WINDOW, 0x1000), "mote_gpa_unmap");
    mote_vcpu_state(g.vcpu)->gpr[MOTE_RBX] = 1000;
    must(mote_vcpu_set(g.vcpu, MOTE_GPRS), "mote_vcpu_set");
    memcpy(g.ram + BANKS, "\xb8\1\0\0\0\xc3", 6); /* mov $1, %eax; ret */
    run_to_halt(&g);
    assert_int_equal(v.writes, is_soft(state) ? 1 : 2);
    assert_int_equal(gpr(&g, MOTE_RAX), is_soft(state) ? 2 : 1);
    guest_destroy(&g);
}

/* ---- the instruction, its stack, its page tables ------------------------------------------------
 */

GUEST_CODE(out_here, "outb %al, $0x42\nmovl $1, %eax\nhlt")
GUEST_CODE(out_there, "outb %al, $0x42\nmovl $2, %eax\nhlt")
GUEST_CODE(store_here, "movb %al, 0xff000\nmovl $1, %eax\nhlt")
GUEST_CODE(store_there, "movb %al, 0xff000\nmovl $2, %eax\nhlt")

static void replace_code(struct visit *v, struct mote_vcpu *vcpu)
{
    take(v->g, CODE, 0x1000);
    must(mote_gpa_map(v->g->machine, CODE, v->g->ram + BANKS, 0x1000, MOTE_RWX), "mote_gpa_map");
}

static void take_code(struct visit *v, struct mote_vcpu *vcpu)
{
    take(v->g, CODE, 0x1000);
}

static void test_code_goes(void **state)
{
    const struct {
        const uint8_t *here, *here_end, *there, *there_end;
    } kinds[] = {
        {out_here, out_here_end, out_there, out_there_end},
        {store_here, store_here_end, store_there, store_there_end},
    };

    for (unsigned i = 0; i < 2; i++) {
        struct visit v = {.at = 1, .change = replace_code}, w = {.at = 1, .change = take_code};
        struct mote_exit e;
        struct guest g;

        begin(&g, state, &v, kinds[i].here, kinds[i].here_end);
        guest_put(&g, BANKS, kinds[i].there, kinds[i].there_end);
        run_to_halt(&g);
        assert_int_equal(v.calls, 1);
        assert_int_equal(gpr(&g, MOTE_RAX), 2);
        guest_destroy(&g);

        begin(&g, state, &w, kinds[i].here, kinds[i].here_end);
        e = run(&g);
        assert_int_equal(w.calls, 1);
        if (e.reason != MOTE_EXIT_SHUTDOWN) /* of a #UD without an IDT */
            assert_int_equal(e.reason, MOTE_EXIT_FAIL);
        guest_destroy(&g);
    }
}

GUEST_CODE(push, "movl $0x100800, %esp\npushq 0xff000\nhlt")
GUEST_CODE(call, "movl $0x100800, %esp\ncall *0xff000\nhlt")

static void test_stack_goes(void **state)
{
    struct visit v = {.at = 1, .change = take_window, .answer = CODE + 0x800}, w = v;
    struct guest g;

    begin(&g, state, &v, push, push_end);
    run_to_halt(&g);
    assert_int_equal(v.reads, 1);
    assert_int_equal(v.writes, 1);
    assert_int_equal(v.gpa[1], 0x1007f8);
    assert_int_equal(v.data[1], CODE + 0x800);
    assert_int_equal(gpr(&g, MOTE_RSP), 0x1007f8);
    guest_destroy(&g);

    begin(&g, state, &w, call, call_end);
    g.ram[CODE + 0x800] = 0xf4;
    run_to_halt(&g);
    assert_int_equal(w.writes, 1);
    assert_int_equal(w.gpa[1], 0x1007f8);
    assert_int_equal(mote_vcpu_state(g.vcpu)->rip, CODE + 0x801);
    guest_destroy(&g);
}

/* ENTER pushes, reads a frame of the device's, and pushes again: more than KVM's own emulator can.
 */
GUEST_CODE(enter, "movl $0x100800, %esp\nmovl $0xff800, %ebp\npushq %rax\npopq %rax\n"
                  "enter $0, $3\nhlt")

static void test_enter(void **state)
{
    struct visit v = {.at = 1, .change = take_window, .answer = 0x5555};
    struct mote_exit e;
    struct guest g;

    begin(&g, state, &v, enter, enter_end);
    e = run(&g);
    if (e.reason == MOTE_EXIT_HALT) {
        /* a frame pushed, two read, of which each is pushed, and the new one; then RSP is tried */
        assert_int_equal(v.gpa[0], 0xff7f8);
        assert_int_equal(v.gpa[1], 0x1007f0);
        assert_int_equal(v.data[1], 0x5555);
        assert_int_equal(v.gpa[2], 0xff7f0);
        assert_int_equal(v.gpa[3], 0x1007e8);
        assert_int_equal(v.data[4], 0x1007f8);
        assert_int_equal(v.calls, 5);
        assert_int_equal(gpr(&g, MOTE_RBP), 0x1007f8);
    } else {
        assert_false(is_soft(state));
        print_message("skipped: ENTER ends in %s\n", mote_exit_name(e.reason));
        guest_destroy(&g);
        skip();
    }
    guest_destroy(&g);
}

/* The second push faults, and so does what follows from it. */
GUEST_CODE(enter_fault, "movl $8, %esp\nmovl $0xff800, %ebp\nenter $0, $3\nhlt")

static void test_enter_faults(void **state)
{
    struct visit v = {0};
    struct guest g;

    begin(&g, state, &v, enter_fault, enter_fault_end);
    guest_run(g.vcpu, MOTE_EXIT_MEMORY);
    must(mote_vcpu_assist(g.vcpu), "mote_vcpu_assist");
    guest_run(g.vcpu, MOTE_EXIT_SHUTDOWN);
    assert_int_equal(v.calls, 1);
    guest_put(&g, CODE, port, port_end);
    guest_at(g.vcpu, CODE);
    run_to_halt(&g);
    guest_destroy(&g);
}

static void take_tables(struct visit *v, struct mote_vcpu *vcpu)
{
    take(v->g, TABLES, 0x4000);
}

GUEST_CODE(without_tables, "addl $1, 0xff000\nmovl 0x1ff000, %eax\nhlt")

static void test_tables_go(void **state)
{
    struct visit v = {.at = 1, .change = take_tables};
    struct mote_exit e;
    struct guest g;

    begin(&g, state, &v, without_tables, without_tables_end);
    e = run(&g);
    assert_in_range(v.calls, 1, 2);
    /* #PF, for which there is no IDT either; a processor may know its tables for a while. */
    if (is_soft(state))
        assert_int_equal(e.reason, MOTE_EXIT_SHUTDOWN);
    else if (e.reason != MOTE_EXIT_HALT && e.reason != MOTE_EXIT_FAIL)
        assert_int_equal(e.reason, MOTE_EXIT_SHUTDOWN);
    guest_destroy(&g);
}

/* ---- strings ------------------------------------------------------------------------------------
 */

GUEST_CODE(rep_ins, "movl $0x42, %edx\nmovl $0x100000, %edi\nmovl $8, %ecx\nrep insb\nhlt")
GUEST_CODE(rep_outs, "movl $0x42, %edx\nmovl $0x100000, %esi\nmovl $8, %ecx\nrep outsb\nhlt")
GUEST_CODE(rep_from, "movl $0x100000, %esi\nmovl $0xff000, %edi\nmovl $8, %ecx\nrep movsb\nhlt")
GUEST_CODE(rep_to, "movl $0xff000, %esi\nmovl $0x100000, %edi\nmovl $8, %ecx\nrep movsb\nhlt")

/* The memory at the window goes with the third access of a string of 8. */
static void string(void **state, struct visit *v, const uint8_t *code, const uint8_t *end)
{
    struct guest g;

    *v = (struct visit){.at = 3, .change = take_window, .answer = 0x66};
    begin(&g, state, v, code, end);
    memset(g.ram + WINDOW, 0x44, 8);
    run_to_halt(&g);
    assert_int_equal(gpr(&g, MOTE_RCX), 0);
    guest_destroy(&g);
}

/* KVM reads ports ahead, and keeps what it read of memory for a while. */
static void test_strings(void **state)
{
    struct visit v;

    string(state, &v, rep_ins, rep_ins_end);
    if (is_soft(state)) { /* 8 of the port, and what was stored since the third */
        assert_int_equal(v.reads, 8);
        assert_int_equal(v.writes, 6);
        assert_int_equal(v.gpa[3], WINDOW + 2);
        assert_int_equal(v.data[3], 0x66);
    }
    string(state, &v, rep_outs, rep_outs_end);
    if (is_soft(state)) {
        assert_int_equal(v.writes, 8);
        assert_int_equal(v.reads, 5);
        assert_int_equal(v.data[2], 0x44);
        assert_int_equal(v.gpa[3], WINDOW + 3);
        assert_int_equal(v.data[4], 0x66);
    }
    string(state, &v, rep_from, rep_from_end);
    assert_int_equal(v.writes, 8);
    assert_int_equal(v.data[2], 0x44);
    if (is_soft(state)) {
        assert_int_equal(v.reads, 5);
        assert_int_equal(v.data[4], 0x66);
    }
    string(state, &v, rep_to, rep_to_end);
    assert_int_equal(v.reads, 8);
    if (is_soft(state)) {
        assert_int_equal(v.writes, 6);
        assert_int_equal(v.gpa[3], WINDOW + 2);
        assert_int_equal(v.data[3], 0x66);
    }
}

/* ---- the end of a vCPU --------------------------------------------------------------------------
 */

GUEST_CODE(rep_out, "movl $0x42, %edx\nmovl $0xff000, %esi\nmovl $8, %ecx\nrep outsb\nhlt")

/* What is left of its last instruction reaches no device any more. */
static void test_destroyed(void **state)
{
    struct visit v = {0};
    struct guest g;

    begin(&g, state, &v, crossing_write, crossing_write_end);
    must(mote_gpa_unmap(g.machine, WINDOW, 0x1000), "mote_gpa_unmap");
    guest_run(g.vcpu, MOTE_EXIT_MEMORY);
    must(mote_vcpu_assist(g.vcpu), "mote_vcpu_assist");
    assert_int_equal(v.calls, is_soft(state) ? 2 : 1);
    must(mote_vcpu_destroy(g.vcpu), "mote_vcpu_destroy");
    assert_int_equal(v.calls, is_soft(state) ? 2 : 1);
    must(mote_vcpu_create(&g.vcpu, g.machine, 0), "mote_vcpu_create");

    guest_put(&g, CODE, rep_out, rep_out_end);
    guest_at(g.vcpu, CODE);
    guest_run(g.vcpu, MOTE_EXIT_MEMORY);
    must(mote_vcpu_assist(g.vcpu), "mote_vcpu_assist");
    guest_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(test_allowed),      ON_ALL(test_banks),        ON_ALL(test_memory_comes),
        ON_ALL(test_other_half),   ON_ALL(test_first_half),   ON_ALL(test_half_comes),
        ON_ALL(test_half_is_code), ON_ALL(test_code_goes),    ON_ALL(test_stack_goes),
        ON_ALL(test_enter),        ON_ALL(test_enter_faults), ON_ALL(test_tables_go),
        ON_ALL(test_strings),      ON_ALL(test_destroyed),
    };

    return cmocka_run_group_tests_name("lib callback", tests, NULL, NULL);
}
