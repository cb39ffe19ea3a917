/* Doorbells: the accelerator's own and the seam's must be the same to the guest and to us. */
#include "fixture.h"

#include "accel/backends.h"
#include "accel/ioeventfd.h"
#include "accel/kvm/kvm.h"
#include "base/bits.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define PORT 0x510
#define CELL (HOLE + 0x10)

/* Each test's body runs with the doorbells in the accelerator, where it has any, and without. */
static const unsigned wants[] = {0, ACCEL_CAP_IOEVENTFD};

struct rig {
    struct fixture f;
    int fd[2];
};

static void rig_create(struct rig *r, void **state, unsigned want)
{
    fixture_create_with(&r->f, accel_of(state), want);
    for (unsigned i = 0; i < 2; i++) {
        r->fd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        assert_true(r->fd[i] >= 0);
    }
}

static void rig_destroy(struct rig *r)
{
    close(r->fd[0]);
    close(r->fd[1]);
    fixture_destroy(&r->f);
}

static uint64_t rung(struct rig *r, unsigned i)
{
    eventfd_t count = 0;

    eventfd_read(r->fd[i], &count);
    return count;
}

static struct machine_ioeventfd port(struct rig *r, unsigned i, uint8_t size)
{
    return (struct machine_ioeventfd){.address = PORT, .size = size, .fd = r->fd[i]};
}

static struct machine_ioeventfd cell(struct rig *r, unsigned i, uint8_t size, uint64_t address)
{
    return (struct machine_ioeventfd){
        .mmio = true, .address = address, .size = size, .fd = r->fd[i]};
}

static void add(struct rig *r, struct machine_ioeventfd e)
{
    assert_int_equal(machine_ioeventfd_add(r->f.m, &e), 0);
}

static void drop(struct rig *r, struct machine_ioeventfd e)
{
    assert_int_equal(machine_ioeventfd_remove(r->f.m, &e), 0);
}

/* The accesses up to HLT that are ours to answer. */
static void expect(struct rig *r, const struct access *accesses, unsigned count)
{
    struct script script = {accesses};
    const struct accel_bus_ops ops = PLAY(&script);

    while (script.next < accesses + count) {
        fixture_expect(&r->f, script.next->mmio ? VCPU_EXIT_MMIO : VCPU_EXIT_IO);
        assert_int_equal(vcpu_assist(r->f.v, &ops), 0);
        assert_int_equal(vcpu_get(r->f.v, X86_GPRS), 0);
    }
    assert_ptr_equal(script.next, accesses + count);
    fixture_expect(&r->f, VCPU_EXIT_HALT);
}
#define EXPECT(r, ...)                                                                             \
    expect(r, (const struct access[]){__VA_ARGS__},                                                \
           ARRAY_SIZE(((const struct access[]){__VA_ARGS__})))

GUEST(port_writes, 16,
      "mov $0x510,%dx; mov $0x44332211,%eax; out %al,%dx; out %ax,%dx; out %eax,%dx\n"
      "dec %dx; out %ax,%dx; inc %dx; in %dx,%ax; hlt")

static void sizes_of_ports(void **state)
{
    for (unsigned w = 0; w < ARRAY_SIZE(wants); w++) {
        struct rig r;

        rig_create(&r, state, wants[w]);
        add(&r, port(&r, 0, 2));
        RUN_REAL(&r.f, port_writes);
        /* Other sizes, one that reaches over it, and a read are not its. */
        EXPECT(&r, OUT(1, PORT, 0x11), OUT(4, PORT, 0x44332211), OUT(2, PORT - 1, 0x2211),
               IN(2, PORT, 0x7788));
        assert_int_equal(fixture_gpr(&r.f, RAX) & 0xffff, 0x7788);
        assert_int_equal(rung(&r, 0), 1);
        drop(&r, port(&r, 0, 2));

        add(&r, port(&r, 0, 0)); /* any size */
        RUN_REAL(&r.f, port_writes);
        EXPECT(&r, OUT(2, PORT - 1, 0x2211), IN(2, PORT, 0));
        assert_int_equal(rung(&r, 0), 3);
        rig_destroy(&r);
    }
}

GUEST(values, 16,
      "mov $0x510,%dx; mov $0xaa01,%ax; out %al,%dx; inc %ax; out %al,%dx; inc %ax; out %al,%dx\n"
      "mov $0x5502,%ax; out %al,%dx; hlt")

static void data_match(void **state)
{
    for (unsigned w = 0; w < ARRAY_SIZE(wants); w++) {
        struct machine_ioeventfd one, two;
        struct rig r;

        rig_create(&r, state, wants[w]);
        one = port(&r, 0, 1);
        two = port(&r, 1, 1);
        one.match = two.match = true;
        one.data = 1;
        two.data = 2;
        add(&r, one);
        add(&r, two);
        RUN_REAL(&r.f, values);
        EXPECT(&r, OUT(1, PORT, 3));
        assert_int_equal(rung(&r, 0), 1);
        assert_int_equal(rung(&r, 1), 2);
        drop(&r, two); /* the other stays */
        RUN_REAL(&r.f, values);
        EXPECT(&r, OUT(1, PORT, 2), OUT(1, PORT, 3), OUT(1, PORT, 2));
        assert_int_equal(rung(&r, 0), 1);
        assert_int_equal(rung(&r, 1), 0);
        rig_destroy(&r);
    }
}

GUEST(cell_writes, 16,
      "mov $0x2000,%ax; mov %ax,%ds; mov $0x44332211,%eax; mov %al,0x10; mov %ax,0x10\n"
      "mov %eax,0x10; mov %eax,0xe; mov %al,0x11; mov 0x10,%ebx; hlt")
GUEST(wide, 64, "mov $0x20010,%ebx; mov $-2,%rax; mov %rax,(%rbx); mov %eax,(%rbx); hlt")

static void sizes_of_memory(void **state)
{
    for (unsigned w = 0; w < ARRAY_SIZE(wants); w++) {
        struct rig r;

        rig_create(&r, state, wants[w]);
        add(&r, cell(&r, 0, 4, CELL));
        RUN_REAL(&r.f, cell_writes);
        EXPECT(&r, WR(1, CELL, 0x11), WR(2, CELL, 0x2211), WR(4, CELL - 2, 0x44332211),
               WR(1, CELL + 1, 0x11), RD(4, CELL, 5));
        assert_int_equal(rung(&r, 0), 1);
        drop(&r, cell(&r, 0, 4, CELL));
        add(&r, cell(&r, 0, 0, CELL));
        RUN_REAL(&r.f, cell_writes);
        EXPECT(&r, WR(4, CELL - 2, 0x44332211), WR(1, CELL + 1, 0x11), RD(4, CELL, 5));
        assert_int_equal(rung(&r, 0), 3);
        rig_destroy(&r);

        rig_create(&r, state, wants[w]);
        add(&r, cell(&r, 0, 8, CELL));
        RUN_LONG(&r.f, wide);
        EXPECT(&r, WR(4, CELL, 0xfffffffe));
        assert_int_equal(rung(&r, 0), 1);
        rig_destroy(&r);
    }
}

/* A port and an address of the same number are two things. */
static void spaces_are_apart(void **state)
{
    for (unsigned w = 0; w < ARRAY_SIZE(wants); w++) {
        struct rig r;

        rig_create(&r, state, wants[w]);
        add(&r, cell(&r, 1, 1, PORT));
        add(&r, port(&r, 0, 1));
        RUN_REAL(&r.f, values);
        expect(&r, NULL, 0);
        assert_int_equal(rung(&r, 0), 4);
        assert_int_equal(rung(&r, 1), 0);
        rig_destroy(&r);
    }
}

GUEST(halves, 16,
      "mov $0x2000,%ax; mov %ax,%ds; mov $0x44332211,%eax; mov %eax,0xffe\n"
      "mov $0x1ffe,%di; mov %eax,(%di); hlt")

/* An access that crosses a page is two, either of which may be a doorbell's. */
static void halves_of_an_access(void **state)
{
    for (unsigned w = 0; w < ARRAY_SIZE(wants); w++) {
        const struct access accesses[] = {WR(2, HOLE + 0xffe, 0x2211),
                                          WR(2, HOLE + 0x2000, 0x4433)};
        struct script script = {accesses};
        const struct accel_bus_ops ops = PLAY(&script);
        struct vcpu_exit exit;
        struct rig r;

        rig_create(&r, state, wants[w]);
        add(&r, cell(&r, 0, 2, HOLE + 0x1000));
        add(&r, cell(&r, 1, 2, HOLE + 0x1ffe));
        RUN_REAL(&r.f, halves);
        for (;;) {
            assert_int_equal(vcpu_run(r.f.v, &exit), 0);
            if (exit.reason == VCPU_EXIT_HALT)
                break;
            if (exit.reason == VCPU_EXIT_MMIO)
                assert_int_equal(vcpu_assist(r.f.v, &ops), 0);
        }
        assert_ptr_equal(script.next, accesses + 2);
        assert_int_equal(rung(&r, 0), 1);
        assert_int_equal(rung(&r, 1), 1);
        rig_destroy(&r);
    }
}

GUEST(string, 16, "mov $0x510,%dx; mov $0x7000,%si; mov $4,%cx; rep outsb; hlt")

/* KVM's own doorbells do not ask for the later elements of a string; the seam's do. */
static void elements_of_a_string(void **state)
{
    static const uint8_t bytes[4] = {1, 2, 1, 3};
    const struct access accesses[] = {OUT(1, PORT, 2), OUT(1, PORT, 3)};
    struct script script = {accesses};
    const struct accel_bus_ops ops = PLAY(&script);
    struct machine_ioeventfd one;
    struct vcpu_exit exit;
    struct rig r;

    rig_create(&r, state, 0);
    one = port(&r, 0, 1);
    one.match = true;
    one.data = 1;
    add(&r, one);
    assert_int_equal(guest_mem_write(&r.f.m->mem, GPA(0x7000), bytes, sizeof(bytes)), 0);
    RUN_REAL(&r.f, string);
    for (;;) {
        assert_int_equal(vcpu_run(r.f.v, &exit), 0);
        if (exit.reason == VCPU_EXIT_HALT)
            break;
        if (exit.reason == VCPU_EXIT_IO)
            assert_int_equal(vcpu_assist(r.f.v, &ops), 0);
    }
    assert_ptr_equal(script.next, accesses + 2);
    assert_int_equal(rung(&r, 0), 2);
    rig_destroy(&r);
}

static void refusals(void **state)
{
    for (unsigned w = 0; w < ARRAY_SIZE(wants); w++) {
        struct machine_ioeventfd e, bad[7];
        struct rig r;

        rig_create(&r, state, wants[w]);
        e = port(&r, 0, 2);
        for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
            bad[i] = e;
        bad[0].size = 3;
        bad[1].size = 8;
        bad[2].size = 16;
        bad[3].address = 0x10000;
        bad[4].address = 0xffff;
        bad[5].match = true;
        bad[5].data = 0x10000;
        bad[6].match = true;
        bad[6].size = 0;
        for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
            assert_int_equal(machine_ioeventfd_add(r.f.m, &bad[i]), -EINVAL);
        e = cell(&r, 0, 4, UINT64_MAX - 2);
        assert_int_equal(machine_ioeventfd_add(r.f.m, &e), -EINVAL);

        e = port(&r, 0, 2);
        assert_int_equal(machine_ioeventfd_remove(r.f.m, &e), -ENOENT);
        add(&r, e);
        e.fd = r.fd[1];
        assert_int_equal(machine_ioeventfd_add(r.f.m, &e), -EEXIST);
        assert_int_equal(machine_ioeventfd_remove(r.f.m, &e), -ENOENT); /* another's eventfd */
        e.match = true;
        assert_int_equal(machine_ioeventfd_add(r.f.m, &e), -EEXIST); /* any value is taken */
        e.match = false;
        e.size = 0;
        assert_int_equal(machine_ioeventfd_add(r.f.m, &e), -EEXIST); /* so would any size be */
        e.size = 4;
        add(&r, e); /* a size of its own is another thing */
        rig_destroy(&r);
    }
}

static void as_many_as_there_may_be(void **state)
{
    for (unsigned w = 0; w < ARRAY_SIZE(wants); w++) {
        struct machine_ioeventfd e;
        struct rig r;

        rig_create(&r, state, wants[w]);
        for (unsigned i = 0; i < MACHINE_IOEVENTFDS; i++)
            add(&r, cell(&r, 1, 4, HOLE + 0x4000 + 4 * (i * 7 % MACHINE_IOEVENTFDS)));
        e = cell(&r, 0, 4, CELL);
        assert_int_equal(machine_ioeventfd_add(r.f.m, &e), -ENOSPC);
        drop(&r, cell(&r, 1, 4, HOLE + 0x4000 + 40));
        add(&r, e);
        RUN_REAL(&r.f, cell_writes);
        EXPECT(&r, WR(1, CELL, 0x11), WR(2, CELL, 0x2211), WR(4, CELL - 2, 0x44332211),
               WR(1, CELL + 1, 0x11), RD(4, CELL, 5));
        assert_int_equal(rung(&r, 0), 1);
        assert_int_equal(rung(&r, 1), 0);
        rig_destroy(&r);
    }
}

GUEST(ringing, 16, "mov $0x510,%dx; 1: out %al,%dx; jmp 1b")

static void *remove_and_kick(void *arg)
{
    struct rig *r = arg;

    while (!rung(r, 0))
        usleep(100);
    for (unsigned i = 0; i < 200; i++) {
        drop(r, port(r, i & 1, 1));
        add(r, port(r, ~i & 1, 1));
    }
    drop(r, port(r, 0, 1));
    rung(r, 0);
    rung(r, 1);
    usleep(5000);
    assert_int_equal(rung(r, 0), 0); /* none after its removal */
    assert_int_equal(rung(r, 1), 0);
    eventfd_write(r->fd[0], 5);
    return NULL;
}

/* A guest that rings without end while another thread takes the doorbell away. */
static void removal_while_it_rings(void **state)
{
    for (unsigned w = 0; w < ARRAY_SIZE(wants); w++) {
        pthread_t thread;
        struct rig r;

        rig_create(&r, state, wants[w]);
        add(&r, port(&r, 0, 1));
        RUN_REAL(&r.f, ringing);
        assert_int_equal(pthread_create(&thread, NULL, remove_and_kick, &r), 0);
        do /* between two doorbells, and in the end, the write is ours */
            fixture_expect(&r.f, VCPU_EXIT_IO);
        while (pthread_tryjoin_np(thread, NULL));
        assert_int_equal(rung(&r, 0), 5);
        rig_destroy(&r);
    }
}

/* What was rung before the removal is still to be read. */
static void removal_leaves_the_count(void **state)
{
    for (unsigned w = 0; w < ARRAY_SIZE(wants); w++) {
        struct rig r;

        rig_create(&r, state, wants[w]);
        add(&r, port(&r, 0, 1));
        RUN_REAL(&r.f, values);
        expect(&r, NULL, 0);
        drop(&r, port(&r, 0, 1));
        assert_int_equal(rung(&r, 0), 4);
        rig_destroy(&r);
    }
}

static void *kick_once_it_rings(void *arg)
{
    struct rig *r = arg;

    while (!rung(r, 0))
        usleep(100);
    vcpu_kick(r->f.v);
    return NULL;
}

/* A kick reaches a vCPU that does nothing but ring. */
static void kick_while_it_rings(void **state)
{
    for (unsigned w = 0; w < ARRAY_SIZE(wants); w++) {
        struct vcpu_exit exit;
        pthread_t thread;
        struct rig r;

        rig_create(&r, state, wants[w]);
        add(&r, port(&r, 0, 1));
        RUN_REAL(&r.f, ringing);
        assert_int_equal(pthread_create(&thread, NULL, kick_once_it_rings, &r), 0);
        assert_int_equal(vcpu_run(r.f.v, &exit), 0);
        assert_int_equal(exit.reason, VCPU_EXIT_NONE);
        pthread_join(thread, NULL);
        rig_destroy(&r);
    }
}

/* What KVM leaves to the interpreter does not come by KVM's own doorbells. */
static void a_rescued_write(void **state)
{
    struct vcpu_exit exit;
    struct rig r;

    if (*state != &accel_kvm)
        return;
    rig_create(&r, state, ACCEL_CAP_IOEVENTFD);
    add(&r, port(&r, 0, 1));
    RUN_REAL(&r.f, ringing);
    r.f.v->state->gpr[RDX] = PORT;
    r.f.v->state->rip += 3; /* at OUT */
    assert_int_equal(kvm_rescue(kvm_vcpu(r.f.v), &exit), 0);
    assert_int_equal(exit.reason, VCPU_EXIT_IO);
    assert_true(ioeventfds_answer(r.f.v, &exit));
    assert_int_equal(rung(&r, 0), 1);
    assert_int_equal(vcpu_get(r.f.v, X86_GPRS), 0);
    assert_int_equal(r.f.v->state->rip, CODE + 4);
    rig_destroy(&r);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_ports),
        cmocka_unit_test(data_match),
        cmocka_unit_test(sizes_of_memory),
        cmocka_unit_test(spaces_are_apart),
        cmocka_unit_test(halves_of_an_access),
        cmocka_unit_test(elements_of_a_string),
        cmocka_unit_test(refusals),
        cmocka_unit_test(as_many_as_there_may_be),
        cmocka_unit_test(removal_while_it_rings),
        cmocka_unit_test(removal_leaves_the_count),
        cmocka_unit_test(kick_while_it_rings),
        cmocka_unit_test(a_rescued_write),
    };

    return fixture_run_all("ioeventfd", tests, ARRAY_SIZE(tests));
}
