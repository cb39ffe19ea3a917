/* Guest memory as the library has it: aliases, changes while vCPUs run, rights, the last page. */
#include "guest.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALIAS  0x400000u /* RAM once more */
#define ROUNDS 2000

/* ---- the same memory at two addresses -------------------------------------------------- */

/* R12 is where the immediate is written; each round has another one. HLT: all was right. */
GUEST_CODE(patching, "1: movl %ebx, (%r12)\n"
                     "movq %rax, %cr2\n" /* serialises */
                     "jmp patch_me\n"
                     "patch_me: movl $0, %eax\n"
                     "cmpl %ebx, %eax\njne 9f\n"
                     "incl %ebx\ncmpl $2000, %ebx\njb 1b\n"
                     "hlt\n9: outb %al, $0x99")
extern const uint8_t patch_me[];

/* Executed at `run`, its bytes written at `write`. */
static void patch_run(struct guest *g, uint64_t run, uint64_t write)
{
    struct mote_state *s = mote_vcpu_state(g->vcpu);

    guest_put(g, CODE, patching, patching_end);
    guest_at(g->vcpu, run + CODE);
    s->gpr[MOTE_RBX] = 1;
    s->gpr[MOTE_R12] = write + CODE + (uint64_t)(patch_me + 1 - patching);
    guest_run(g->vcpu, MOTE_EXIT_HALT);
    must(mote_vcpu_get(g->vcpu, MOTE_GPRS), "mote_vcpu_get");
    assert_int_equal(s->gpr[MOTE_RBX], ROUNDS);
}

static void test_alias_written(void **state)
{
    struct guest g;

    guest_create(&g, accel_of(state), 1);
    guest_map(&g);
    must(mote_gpa_map(g.machine, ALIAS, g.ram, RAM_SIZE, MOTE_RWX), "mote_gpa_map");
    patch_run(&g, 0, ALIAS);
    patch_run(&g, ALIAS, 0);
    patch_run(&g, ALIAS, ALIAS);
    /* One of them, a page off: other pages of the slots have the same memory. */
    must(mote_gpa_unmap(g.machine, ALIAS, RAM_SIZE), "mote_gpa_unmap");
    must(mote_gpa_map(g.machine, ALIAS - 0x1000, g.ram, RAM_SIZE, MOTE_RWX), "mote_gpa_map");
    patch_run(&g, 0, ALIAS - 0x1000);
    patch_run(&g, ALIAS - 0x1000, 0);
    guest_destroy(&g);
}

/* Each of two vCPUs in turn changes what the other executes. */
GUEST_CODE(answering, "1: movl (%rdi), %eax\ncmpl %eax, %ebp\nje 1b\nmovl %eax, %ebp\n"
                      "movq %rax, %cr2\n"
                      "jmp answer_me\n"
                      "answer_me: movl $0, %edx\ncmpl %edx, %eax\njne 9f\n"
                      "movl %eax, (%rsi)\ncmpl $2000, %eax\njb 1b\nhlt\n9: outb %al, $0x99")
GUEST_CODE(asking, "1: movl %ebx, (%r12)\nmovl %ebx, (%rdi)\n"
                   "2: cmpl %ebx, (%rsi)\njne 2b\n"
                   "incl %ebx\ncmpl $2000, %ebx\njbe 1b\nhlt")
extern const uint8_t answer_me[];

static void *run_to_halt(void *vcpu)
{
    guest_run(vcpu, MOTE_EXIT_HALT);
    return NULL;
}

static void test_alias_two_vcpus(void **state)
{
    const uint64_t answer_at = CODE + 0x1000, flags = CODE + 0x3000;
    struct mote_vcpu *other;
    struct mote_state *s;
    struct guest g;
    pthread_t thread;

    guest_create(&g, accel_of(state), 2);
    guest_map(&g);
    must(mote_gpa_map(g.machine, ALIAS, g.ram, RAM_SIZE, MOTE_RWX), "mote_gpa_map");
    must(mote_vcpu_create(&other, g.machine, 1), "mote_vcpu_create");
    guest_put(&g, CODE, asking, asking_end);
    guest_put(&g, answer_at, answering, answering_end);
    guest_at(g.vcpu, CODE);
    s = mote_vcpu_state(g.vcpu);
    s->gpr[MOTE_RBX] = 1;
    s->gpr[MOTE_R12] = ALIAS + answer_at + (uint64_t)(answer_me + 1 - answering);
    s->gpr[MOTE_RDI] = flags;
    s->gpr[MOTE_RSI] = flags + 64;
    guest_at(other, answer_at);
    s = mote_vcpu_state(other);
    s->gpr[MOTE_RBP] = 0;
    s->gpr[MOTE_RDI] = ALIAS + flags;
    s->gpr[MOTE_RSI] = flags + 64;
    pthread_create(&thread, NULL, run_to_halt, other);
    guest_run(g.vcpu, MOTE_EXIT_HALT);
    pthread_join(thread, NULL);
    guest_destroy(&g);
}

/* The host writes, and says so by the address that the code is not executed at. */
GUEST_CODE(constant, "1: movl $0x11111111, %eax\nhlt\njmp 1b")

static void test_alias_host_wrote(void **state)
{
    struct mote_state *s;
    struct guest g;

    guest_create(&g, accel_of(state), 1);
    guest_map(&g);
    must(mote_gpa_map(g.machine, ALIAS, g.ram, RAM_SIZE, MOTE_RWX), "mote_gpa_map");
    guest_put(&g, CODE, constant, constant_end);
    guest_at(g.vcpu, CODE);
    s = mote_vcpu_state(g.vcpu);
    for (uint32_t i = 1; i < 100; i++) {
        memcpy(g.ram + CODE + 1, &i, sizeof(i));
        must(mote_gpa_written(g.machine, ALIAS + CODE + 1, 4), "mote_gpa_written");
        guest_run(g.vcpu, MOTE_EXIT_HALT);
        must(mote_vcpu_get(g.vcpu, MOTE_GPRS), "mote_vcpu_get");
        assert_int_equal(s->gpr[MOTE_RAX], i);
    }
    guest_destroy(&g);
}

/* ---- changes while vCPUs run --------------------------------------------------------------- */

/* Counts in RAM for ever, and reads R8. */
GUEST_CODE(spinning, "1: incq (%rdi)\nmovq (%r8), %rax\njmp 1b")

struct spinner {
    struct mote_vcpu *vcpu;
    struct mote_exit exit;
    int err;
    atomic_bool done;
};

static void *spin(void *arg)
{
    struct spinner *s = arg;

    s->err = mote_vcpu_run(s->vcpu, &s->exit);
    atomic_store(&s->done, true);
    return NULL;
}

static void spin_start(struct guest *g, struct spinner *s, pthread_t *thread, uint64_t code)
{
    struct mote_state *st = mote_vcpu_state(g->vcpu);

    guest_put(g, code, spinning, spinning_end);
    guest_at(g->vcpu, code);
    st->gpr[MOTE_RDI] = CODE + 0x1000;
    st->gpr[MOTE_R8] = 0x100000;
    *s = (struct spinner){.vcpu = g->vcpu};
    pthread_create(thread, NULL, spin, s);
    while (!*(volatile uint64_t *)(g->ram + CODE + 0x1000))
        usleep(100);
}

/* What is mapped and unmapped beside it disturbs nobody; a run under way goes on. */
static void test_change_while_running(void **state)
{
    struct spinner s;
    struct guest g;
    pthread_t thread;

    guest_create(&g, accel_of(state), 1);
    guest_map(&g);
    spin_start(&g, &s, &thread, CODE);
    for (unsigned i = 0; i < 200; i++) {
        must(mote_gpa_map(g.machine, ALIAS, g.ram, RAM_SIZE, MOTE_RWX), "mote_gpa_map");
        must(mote_gpa_unmap(g.machine, ALIAS, RAM_SIZE), "mote_gpa_unmap");
    }
    assert_false(atomic_load(&s.done));
    must(mote_vcpu_stop(g.vcpu), "mote_vcpu_stop");
    pthread_join(thread, NULL);
    must(s.err, "mote_vcpu_run");
    assert_int_equal(s.exit.reason, MOTE_EXIT_NONE);
    guest_destroy(&g);
}

/* A part in the middle is taken out: the access there exits, what is around it stays. */
static void test_unmap_part(void **state)
{
    struct spinner s;
    struct guest g;
    pthread_t thread;
    volatile uint64_t *counter;
    uint64_t before;
    void *hva;
    unsigned rights;

    guest_create(&g, accel_of(state), 1);
    guest_map(&g);
    counter = (volatile uint64_t *)(g.ram + CODE + 0x1000);
    spin_start(&g, &s, &thread, CODE);
    must(mote_gpa_unmap(g.machine, 0x100000, 0x1000), "mote_gpa_unmap");
    pthread_join(thread, NULL);
    must(s.err, "mote_vcpu_run");
    assert_int_equal(s.exit.reason, MOTE_EXIT_MEMORY);
    assert_int_equal(s.exit.u.memory.gpa, 0x100000);
    assert_false(s.exit.u.memory.write);
    assert_int_equal(mote_gpa_to_hva(g.machine, 0x100000, &hva, &rights), -ENOENT);
    must(mote_gpa_to_hva(g.machine, 0xfffff, &hva, &rights), "mote_gpa_to_hva");
    assert_ptr_equal(hva, g.ram + 0xfffff);
    must(mote_gpa_to_hva(g.machine, 0x101000, &hva, &rights), "mote_gpa_to_hva");
    assert_ptr_equal(hva, g.ram + 0x101000);
    assert_int_equal(rights, MOTE_RWX);
    /* And back, with another page's memory. */
    must(mote_gpa_map(g.machine, 0x100000, g.ram + 0x180000, 0x1000, MOTE_RWX), "mote_gpa_map");
    memset(g.ram + 0x180000, 0x5a, 8);
    before = *counter;
    pthread_create(&thread, NULL, spin, &s);
    while (*counter < before + 2) /* so it has read in between */
        usleep(100);
    must(mote_vcpu_stop(g.vcpu), "mote_vcpu_stop");
    pthread_join(thread, NULL);
    must(mote_vcpu_get(g.vcpu, MOTE_GPRS), "mote_vcpu_get");
    assert_int_equal(mote_vcpu_state(g.vcpu)->gpr[MOTE_RAX], 0x5a5a5a5a5a5a5a5a);
    guest_destroy(&g);
}

/* The page that is executed goes away: an exit, or an end of the run, but no crash. */
static void test_unmap_code(void **state)
{
    struct spinner s;
    struct guest g;
    pthread_t thread;

    guest_create(&g, accel_of(state), 1);
    guest_map(&g);
    spin_start(&g, &s, &thread, 0x80000);
    must(mote_gpa_unmap(g.machine, 0x80000, 0x1000), "mote_gpa_unmap");
    pthread_join(thread, NULL);
    must(s.err, "mote_vcpu_run");
    if (s.exit.reason != MOTE_EXIT_SHUTDOWN) /* of a #UD without an IDT */
        assert_int_equal(s.exit.reason, MOTE_EXIT_FAIL);
    guest_destroy(&g);
}

/* ---- rights, and the end of the address space ----------------------------------------------- */

GUEST_CODE(writing, "movl $0x31337, 0x100000\nmovl 0x100000, %eax\nhlt")
GUEST_CODE(calling, "movl $0x100000, %eax\ncall *%rax\nhlt")

static int swallow(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    *(struct mote_access *)user = *access;
    return 0;
}

static void test_rights(void **state)
{
    struct mote_capabilities caps;
    struct mote_access access = {0};
    const struct mote_callbacks callbacks = {.memory = swallow, .user = &access};
    struct mote_exit e;
    struct guest g;

    guest_create(&g, accel_of(state), 1);
    must(mote_machine_capabilities(g.machine, &caps), "mote_machine_capabilities");
    guest_map(&g);
    must(mote_machine_set_callbacks(g.machine, &callbacks), "mote_machine_set_callbacks");
    must(mote_gpa_unmap(g.machine, 0x100000, 0x1000), "mote_gpa_unmap");
    for (unsigned rights = 1; rights <= MOTE_RWX; rights++) {
        bool possible = !(~rights & MOTE_RWX & ~caps.rights);
        int err = mote_gpa_map(g.machine, 0x100000, g.ram + 0x100000, 0x1000, rights);

        assert_int_equal(err, possible ? 0 : -ENOTSUP);
        if (!possible)
            continue;
        memset(g.ram + 0x100000, 0xc3, 16); /* RET */
        guest_put(&g, CODE, writing, writing_end);
        guest_at(g.vcpu, CODE);
        if (!(rights & MOTE_WRITE)) {
            e = guest_run(g.vcpu, MOTE_EXIT_MEMORY);
            assert_int_equal(e.u.memory.gpa, 0x100000);
            assert_true(e.u.memory.write);
            must(mote_vcpu_assist(g.vcpu), "mote_vcpu_assist");
            assert_int_equal(access.data, 0x31337);
        }
        guest_run(g.vcpu, MOTE_EXIT_HALT);
        must(mote_vcpu_get(g.vcpu, MOTE_GPRS), "mote_vcpu_get");
        assert_int_equal(mote_vcpu_state(g.vcpu)->gpr[MOTE_RAX],
                         rights & MOTE_WRITE ? 0x31337 : 0xc3c3c3c3);
        memset(g.ram + 0x100000, 0xc3, 16);
        guest_put(&g, CODE, calling, calling_end);
        guest_at(g.vcpu, CODE);
        e = guest_run(g.vcpu, rights & MOTE_EXEC ? MOTE_EXIT_HALT : MOTE_EXIT_MEMORY);
        if (!(rights & MOTE_EXEC)) {
            assert_int_equal(e.u.memory.gpa, 0x100000);
            assert_int_equal(mote_vcpu_assist(g.vcpu), -EINVAL);
        }
        must(mote_gpa_unmap(g.machine, 0x100000, 0x1000), "mote_gpa_unmap");
    }
    guest_destroy(&g);
}

GUEST_CODE(far_away, "movl $0x1234, (%rdi)\nmovl 0xffc(%rdi), %eax\nhlt")

static void test_last_page(void **state)
{
    const uint64_t linear = 0x40000000; /* the second entry of the PDPT */
    struct mote_capabilities caps;
    struct mote_state *s;
    uint64_t last, entry, gpa;
    uint32_t word = 0xabcdef;
    struct guest g;

    guest_create(&g, accel_of(state), 1);
    guest_map(&g);
    must(mote_machine_capabilities(g.machine, &caps), "mote_machine_capabilities");
    last = (UINT64_C(1) << caps.gpa_bits) - 0x1000;
    assert_int_equal(mote_gpa_map(g.machine, last, g.ram, 0x2000, MOTE_RWX), -EINVAL);
    assert_int_equal(mote_gpa_map(g.machine, last + 0x1000, g.ram, 0x1000, MOTE_RWX), -EINVAL);
    must(mote_gpa_map(g.machine, last, g.ram + 0x100000, 0x1000, MOTE_RWX), "mote_gpa_map");
    entry = TABLES + 0x3003;
    memcpy(g.ram + TABLES + 0x1000 + 8, &entry, 8); /* PDPT to another directory, */
    entry = TABLES + 0x4003;
    memcpy(g.ram + TABLES + 0x3000, &entry, 8); /* that to a table, */
    entry = last | 3;
    memcpy(g.ram + TABLES + 0x4000, &entry, 8); /* that to the page */
    memcpy(g.ram + 0x100ffc, &word, 4);
    guest_put(&g, CODE, far_away, far_away_end);
    guest_at(g.vcpu, CODE);
    s = mote_vcpu_state(g.vcpu);
    s->gpr[MOTE_RDI] = linear;
    must(mote_gva_to_gpa(g.vcpu, linear + 5, &gpa, NULL), "mote_gva_to_gpa");
    assert_int_equal(gpa, last + 5);
    guest_run(g.vcpu, MOTE_EXIT_HALT);
    must(mote_vcpu_get(g.vcpu, MOTE_GPRS), "mote_vcpu_get");
    assert_int_equal(s->gpr[MOTE_RAX], word);
    assert_int_equal(g.ram[0x100000], 0x34);
    must(mote_gpa_unmap(g.machine, last, 0x1000), "mote_gpa_unmap");
    guest_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(test_alias_written),    ON_ALL(test_alias_two_vcpus),
        ON_ALL(test_alias_host_wrote), ON_ALL(test_change_while_running),
        ON_ALL(test_unmap_part),       ON_ALL(test_unmap_code),
        ON_ALL(test_rights),           ON_ALL(test_last_page),
    };

    return cmocka_run_group_tests_name("lib memory", tests, NULL, NULL);
}
