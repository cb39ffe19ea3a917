/*
 * Wrong calls: each is refused with the error that the header has for it, and nothing crashes.
 * What is refused changes nothing: after each test the machine still works.
 */
#include "guest.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char nonsense[4096] __attribute__((aligned(4096)));

/* The machine of a test, and that it is as good as before. */
GUEST_CODE(answer, "movl $42, %eax\nhlt")

static void still_works(struct guest *g)
{
    guest_put(g, CODE, answer, answer_end);
    guest_at(g->vcpu, CODE);
    guest_run(g->vcpu, MOTE_EXIT_HALT);
    must(mote_vcpu_get(g->vcpu, MOTE_GPRS), "mote_vcpu_get");
    assert_int_equal(mote_vcpu_state(g->vcpu)->gpr[MOTE_RAX], 42);
}

static void begin(struct guest *g, void **state)
{
    guest_create(g, accel_of(state), 4);
    guest_map(g);
}

static void end(struct guest *g)
{
    still_works(g);
    guest_destroy(g);
}

/* ---- what is no machine, and what is no vCPU --------------------------------------------- */

static void refuse_machine(void *wrong)
{
    const struct mote_callbacks callbacks = {.io = NULL};
    struct mote_machine *m = wrong;
    struct mote_capabilities caps;
    struct mote_vcpu *vcpu = wrong;
    unsigned rights;
    void *hva;

    assert_int_equal(mote_machine_destroy(m), -EINVAL);
    assert_int_equal(mote_machine_capabilities(m, &caps), -EINVAL);
    assert_int_equal(mote_machine_set_callbacks(m, &callbacks), -EINVAL);
    assert_int_equal(mote_hva_register(m, nonsense, sizeof(nonsense)), -EINVAL);
    assert_int_equal(mote_hva_unregister(m, nonsense, sizeof(nonsense)), -EINVAL);
    assert_int_equal(mote_gpa_map(m, 0, nonsense, sizeof(nonsense), MOTE_RWX), -EINVAL);
    assert_int_equal(mote_gpa_unmap(m, 0, 0x1000), -EINVAL);
    assert_int_equal(mote_gpa_to_hva(m, 0, &hva, &rights), -EINVAL);
    assert_int_equal(mote_gpa_written(m, 0, 1), -EINVAL);
    assert_int_equal(mote_vcpu_create(&vcpu, m, 0), -EINVAL);
    assert_null(vcpu);
    assert_true(strlen(mote_error()) > 0);
}

static void refuse_vcpu(void *wrong)
{
    struct mote_vcpu *v = wrong;
    struct mote_cpuid leaves[MOTE_CPUID_MAX];
    const struct mote_event event = {.kind = MOTE_EVENT_NMI};
    const struct mote_vcpu_debug debug = {.step = false};
    unsigned count = MOTE_CPUID_MAX, rights;
    struct mote_exit e;
    uint64_t gpa;

    assert_int_equal(mote_vcpu_destroy(v), -EINVAL);
    assert_int_equal(mote_vcpu_get_cpuid(v, leaves, &count), -EINVAL);
    assert_int_equal(mote_vcpu_set_cpuid(v, leaves, 0), -EINVAL);
    assert_null(mote_vcpu_state(v));
    assert_int_equal(mote_vcpu_get(v, MOTE_ALL), -EINVAL);
    assert_int_equal(mote_vcpu_set(v, MOTE_ALL), -EINVAL);
    assert_int_equal(mote_vcpu_inject(v, &event), -EINVAL);
    assert_int_equal(mote_vcpu_request_window(v, true, true), -EINVAL);
    assert_int_equal(mote_vcpu_run(v, &e), -EINVAL);
    assert_int_equal(mote_vcpu_stop(v), -EINVAL);
    assert_int_equal(mote_vcpu_assist(v), -EINVAL);
    assert_int_equal(mote_vcpu_complete_msr(v, 0, false), -EINVAL);
    assert_int_equal(mote_vcpu_complete_cpuid(v, leaves), -EINVAL);
    assert_int_equal(mote_vcpu_exit_cpuid(v, NULL, 0), -EINVAL);
    assert_int_equal(mote_vcpu_set_debug(v, &debug), -EINVAL);
    assert_int_equal(mote_gva_to_gpa(v, 0, &gpa, &rights), -EINVAL);
}

static void test_wild(void **state)
{
    void *heap = malloc(64);
    struct guest g;

    begin(&g, state);
    memset(nonsense, 0x41, sizeof(nonsense));
    void *const wild[] = {NULL,
                          nonsense,
                          nonsense + 1,
                          heap,
                          (void *)1,
                          (void *)0x1000,
                          (void *)0xdeadbeefdeadbeef,
                          (void *)UINTPTR_MAX,
                          &g,
                          (char *)g.machine + 1, /* inside what handles are made of */
                          (char *)g.vcpu + 8,
                          (char *)g.vcpu + 16 * 100000l,
                          (char *)g.machine - 16 * 100000l};

    for (unsigned i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
        refuse_machine(wild[i]);
        refuse_vcpu(wild[i]);
    }
    refuse_machine(g.vcpu);
    refuse_vcpu(g.machine);
    free(heap);
    end(&g);
}

static void test_destroyed(void **state)
{
    struct mote_vcpu *vcpu;
    struct guest g, h;

    begin(&g, state);
    must(mote_vcpu_create(&vcpu, g.machine, 1), "mote_vcpu_create");
    must(mote_vcpu_destroy(vcpu), "mote_vcpu_destroy");
    refuse_vcpu(vcpu);
    guest_create(&h, accel_of(state), 1);
    guest_destroy(&h);
    refuse_machine(h.machine);
    refuse_vcpu(h.vcpu); /* went with its machine */
    /* Nor is it another's that was made since. */
    guest_create(&h, accel_of(state), 1);
    assert_ptr_not_equal(vcpu, h.vcpu);
    refuse_vcpu(vcpu);
    guest_destroy(&h);
    end(&g);
}

/* ---- arguments ------------------------------------------------------------------------------ */

static void test_no_place(void **state)
{
    struct guest g;

    begin(&g, state);
    assert_int_equal(mote_machine_create(NULL, NULL), -EINVAL);
    assert_int_equal(mote_accel_list(NULL, 1), -EINVAL);
    assert_true(mote_accel_list(NULL, 0) > 0);
    assert_int_equal(mote_machine_capabilities(g.machine, NULL), -EINVAL);
    assert_int_equal(mote_machine_set_callbacks(g.machine, NULL), -EINVAL);
    assert_int_equal(mote_vcpu_create(NULL, g.machine, 1), -EINVAL);
    assert_int_equal(mote_vcpu_run(g.vcpu, NULL), -EINVAL);
    assert_int_equal(mote_vcpu_inject(g.vcpu, NULL), -EINVAL);
    assert_int_equal(mote_vcpu_set_debug(g.vcpu, NULL), -EINVAL);
    assert_int_equal(mote_vcpu_get_cpuid(g.vcpu, NULL, NULL), -EINVAL);
    assert_int_equal(mote_vcpu_set_cpuid(g.vcpu, NULL, 1), -EINVAL);
    assert_int_equal(mote_hva_register(g.machine, NULL, 0x1000), -EINVAL);
    must(mote_gpa_to_hva(g.machine, 0, NULL, NULL), "mote_gpa_to_hva");
    end(&g);
}

static void test_bad_values(void **state)
{
    const char *accel = accel_of(state);
    struct mote_machine_config config = {.accel = "vax"};
    struct mote_vcpu_debug debug = {.watch[1] = {.gva = 1, .size = 4, .kind = MOTE_WATCH_WRITE}};
    struct mote_event event = {.kind = 99};
    struct mote_machine *m = (struct mote_machine *)nonsense;
    struct mote_cpuid leaves[MOTE_CPUID_MAX + 1] = {{0}};
    struct mote_vcpu *v;
    unsigned count = 1;
    struct guest g;

    begin(&g, state);
    assert_int_equal(mote_machine_create(&m, &config), -EINVAL);
    assert_null(m);
    config = (struct mote_machine_config){.accel = accel, .vcpus = MOTE_VCPUS_MAX + 1};
    assert_int_equal(mote_machine_create(&m, &config), -EINVAL);
    config = (struct mote_machine_config){.accel = accel, .vcpus = UINT32_MAX};
    assert_int_equal(mote_machine_create(&m, &config), -EINVAL);
    config = (struct mote_machine_config){.accel = accel, .cpu = "no-such-model"};
    assert_int_equal(mote_machine_create(&m, &config), -EINVAL);
    config = (struct mote_machine_config){.accel = accel, .cpu = ",,+,-,"};
    assert_int_equal(mote_machine_create(&m, &config), -EINVAL);
    assert_int_equal(mote_vcpu_create(&v, g.machine, 4), -EINVAL);
    assert_int_equal(mote_vcpu_create(&v, g.machine, UINT32_MAX), -EINVAL);
    assert_int_equal(mote_vcpu_create(&v, g.machine, 0), -EEXIST);
    assert_int_equal(mote_vcpu_get(g.vcpu, MOTE_ALL + 1), -EINVAL);
    assert_int_equal(mote_vcpu_set(g.vcpu, UINT32_MAX), -EINVAL);
    assert_int_equal(mote_vcpu_get_cpuid(g.vcpu, leaves, &count), -E2BIG);
    assert_true(count > 1);
    assert_int_equal(mote_vcpu_set_cpuid(g.vcpu, leaves, MOTE_CPUID_MAX + 1), -EINVAL);
    assert_int_equal(mote_vcpu_set_cpuid(g.vcpu, leaves, UINT32_MAX), -EINVAL);
    assert_int_equal(mote_vcpu_inject(g.vcpu, &event), -EINVAL);
    event = (struct mote_event){.kind = MOTE_EVENT_EXCEPTION, .vector = 32};
    assert_int_equal(mote_vcpu_inject(g.vcpu, &event), -EINVAL);
    event = (struct mote_event){.kind = MOTE_EVENT_NONE};
    assert_int_equal(mote_vcpu_inject(g.vcpu, &event), -EINVAL);
    assert_int_equal(mote_vcpu_set_debug(g.vcpu, &debug), -EINVAL);
    debug.watch[1].size = 3;
    assert_int_equal(mote_vcpu_set_debug(g.vcpu, &debug), -EINVAL);
    debug.watch[1] = (typeof(debug.watch[1])){.gva = 0, .size = 1, .kind = 200};
    assert_int_equal(mote_vcpu_set_debug(g.vcpu, &debug), -EINVAL);
    assert_string_equal(mote_exit_name(UINT32_MAX), "?");
    end(&g);
}

static void test_memory(void **state)
{
    uint8_t *more = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const uint64_t far = 0x10000000;
    struct guest g;
    void *hva;

    begin(&g, state);
    /* registered memory */
    assert_int_equal(mote_hva_register(g.machine, more + 1, 0x1000), -EINVAL);
    assert_int_equal(mote_hva_register(g.machine, more, 0x1001), -EINVAL);
    assert_int_equal(mote_hva_register(g.machine, more, 0), -EINVAL);
    assert_int_equal(mote_hva_register(g.machine, more, (size_t)-0x1000), -EINVAL);
    assert_int_equal(mote_hva_register(g.machine, (void *)0x10000, 0x1000), -EFAULT);
    assert_int_equal(mote_hva_register(g.machine, g.ram, RAM_SIZE), -EEXIST);
    assert_int_equal(mote_hva_register(g.machine, g.ram + 0x1000, 0x1000), -EEXIST);
    assert_int_equal(mote_gpa_map(g.machine, far, more, 0x1000, MOTE_RWX), -EFAULT);
    must(mote_hva_register(g.machine, more, 0x4000), "mote_hva_register");
    assert_int_equal(mote_hva_unregister(g.machine, more, 0x1000), -ENOENT);
    assert_int_equal(mote_hva_unregister(g.machine, more + 0x1000, 0x3000), -ENOENT);
    assert_int_equal(mote_hva_unregister(g.machine, g.ram, RAM_SIZE), -EBUSY);
    /* maps */
    assert_int_equal(mote_gpa_map(g.machine, far + 1, more, 0x1000, MOTE_RWX), -EINVAL);
    assert_int_equal(mote_gpa_map(g.machine, far, more + 1, 0x1000, MOTE_RWX), -EINVAL);
    assert_int_equal(mote_gpa_map(g.machine, far, more, 0, MOTE_RWX), -EINVAL);
    assert_int_equal(mote_gpa_map(g.machine, far, more, 0xfff, MOTE_RWX), -EINVAL);
    assert_int_equal(mote_gpa_map(g.machine, far, more, 0x1000, 0), -EINVAL);
    assert_int_equal(mote_gpa_map(g.machine, far, more, 0x1000, 8), -EINVAL);
    assert_int_equal(mote_gpa_map(g.machine, far, more, 0x1000, MOTE_WRITE), -ENOTSUP);
    assert_int_equal(mote_gpa_map(g.machine, far, more, 0x5000, MOTE_RWX), -EFAULT);
    assert_int_equal(mote_gpa_map(g.machine, far, more + 0x4000, 0x1000, MOTE_RWX), -EFAULT);
    assert_int_equal(mote_gpa_map(g.machine, -0x1000ull, more, 0x1000, MOTE_RWX), -EINVAL);
    assert_int_equal(mote_gpa_map(g.machine, -0x1000ull, more, 0x2000, MOTE_RWX), -EINVAL);
    assert_int_equal(mote_gpa_map(g.machine, RAM_SIZE - 0x1000, more, 0x2000, MOTE_RWX), -EEXIST);
    assert_int_equal(mote_gpa_map(g.machine, 0, more, 0x1000, MOTE_RWX), -EEXIST);
    must(mote_gpa_map(g.machine, far, more, 0x4000, MOTE_RWX), "mote_gpa_map");
    assert_int_equal(mote_hva_unregister(g.machine, more, 0x4000), -EBUSY);
    /* out again */
    assert_int_equal(mote_gpa_unmap(g.machine, far + 1, 0x1000), -EINVAL);
    assert_int_equal(mote_gpa_unmap(g.machine, far, 0), -EINVAL);
    assert_int_equal(mote_gpa_unmap(g.machine, -0x1000ull, 0x2000), -EINVAL);
    assert_int_equal(mote_gpa_unmap(g.machine, far + 0x4000, 0x1000), -ENOENT);
    must(mote_gpa_unmap(g.machine, far - 0x1000, 0x3000),
         "mote_gpa_unmap"); /* more than is there */
    assert_int_equal(mote_gpa_to_hva(g.machine, far, &hva, NULL), -ENOENT);
    must(mote_gpa_to_hva(g.machine, far + 0x2fff, &hva, NULL), "mote_gpa_to_hva");
    assert_ptr_equal(hva, more + 0x2fff);
    must(mote_gpa_unmap(g.machine, far, 0x4000), "mote_gpa_unmap");
    assert_int_equal(mote_gpa_unmap(g.machine, far, 0x4000), -ENOENT);
    must(mote_hva_unregister(g.machine, more, 0x4000), "mote_hva_unregister");
    assert_int_equal(mote_hva_unregister(g.machine, more, 0x4000), -ENOENT);
    assert_int_equal(mote_gpa_written(g.machine, UINT64_MAX, 2), -EINVAL);
    must(mote_gpa_written(g.machine, UINT64_MAX, 1), "mote_gpa_written"); /* nobody's */
    must(mote_gpa_written(g.machine, 0, (size_t)1 << 40), "mote_gpa_written");
    munmap(more, 0x4000);
    end(&g);
}

static void test_too_many(void **state)
{
    const uint64_t far = 0x10000000;
    struct guest g;
    unsigned slots = 0;
    int err;

    begin(&g, state);
    while (!(err = mote_gpa_map(g.machine, far + slots * 0x2000, g.ram, 0x1000, MOTE_RWX)))
        slots++;
    assert_int_equal(err, -ENOSPC);
    assert_int_equal(slots, MOTE_RANGES_MAX - 1);
    /* A hole in the middle of one makes two of it. */
    assert_int_equal(mote_gpa_unmap(g.machine, 0x100000, 0x1000), -ENOSPC);
    must(mote_gpa_unmap(g.machine, far, slots * 0x2000), "mote_gpa_unmap");
    must(mote_gpa_unmap(g.machine, 0x100000, 0x1000), "mote_gpa_unmap");
    end(&g);
}

/* ---- order
 * --------------------------------------------------------------------------------------- */

GUEST_CODE(out_and_halt, "outb %al, $0x10\nhlt")

static int no_device(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    ++*(unsigned *)user;
    return -EXDEV;
}

static void test_order(void **state)
{
    unsigned calls = 0;
    const struct mote_callbacks refusing = {.io = no_device, .user = &calls}, none = {0};
    struct mote_cpuid leaves[MOTE_CPUID_MAX];
    unsigned count = MOTE_CPUID_MAX;
    struct guest g;

    begin(&g, state);
    assert_int_equal(mote_vcpu_assist(g.vcpu), -EINVAL); /* it never ran */
    assert_int_equal(mote_vcpu_complete_msr(g.vcpu, 0, false), -EINVAL);
    guest_put(&g, CODE, out_and_halt, out_and_halt_end);
    guest_at(g.vcpu, CODE);
    guest_run(g.vcpu, MOTE_EXIT_IO);
    assert_int_equal(mote_vcpu_complete_msr(g.vcpu, 0, false), -EINVAL);
    assert_int_equal(mote_vcpu_complete_cpuid(g.vcpu, leaves), -EINVAL);
    assert_int_equal(mote_vcpu_assist(g.vcpu), -ENOTSUP); /* there is no callback */
    must(mote_machine_set_callbacks(g.machine, &refusing), "mote_machine_set_callbacks");
    assert_int_equal(mote_vcpu_assist(g.vcpu), -EXDEV); /* its own */
    assert_int_equal(mote_vcpu_assist(g.vcpu), -EXDEV); /* and it is still open */
    assert_int_equal(calls, 2);
    must(mote_machine_set_callbacks(g.machine, &none), "mote_machine_set_callbacks");
    guest_run(g.vcpu, MOTE_EXIT_HALT); /* unanswered */
    assert_int_equal(mote_vcpu_assist(g.vcpu), -EINVAL);
    must(mote_vcpu_get_cpuid(g.vcpu, leaves, &count), "mote_vcpu_get_cpuid");
    assert_int_equal(mote_vcpu_set_cpuid(g.vcpu, leaves, count), -EBUSY);
    end(&g);
}

/* One that was destroyed in the middle of things leaves nothing to the next of its ID. */
static void test_vcpu_again(void **state)
{
    const struct mote_vcpu_debug debug = {.step = true};
    struct guest g;

    begin(&g, state);
    for (unsigned i = 0; i < 5; i++) {
        guest_put(&g, CODE, out_and_halt, out_and_halt_end);
        guest_at(g.vcpu, CODE);
        must(mote_vcpu_set_debug(g.vcpu, &debug), "mote_vcpu_set_debug");
        guest_run(g.vcpu, MOTE_EXIT_IO);
        must(mote_vcpu_stop(g.vcpu), "mote_vcpu_stop");
        must(mote_vcpu_destroy(g.vcpu), "mote_vcpu_destroy");
        must(mote_vcpu_create(&g.vcpu, g.machine, 0), "mote_vcpu_create");
        assert_int_equal(mote_vcpu_state(g.vcpu)->rip, 0xfff0);
        assert_int_equal(mote_vcpu_assist(g.vcpu), -EINVAL);
        still_works(&g);
    }
    end(&g);
}

/* ---- while it runs ---- */

GUEST_CODE(spinning, "1: incq (%rdi)\njmp 1b")

static void *spin(void *vcpu)
{
    guest_run(vcpu, MOTE_EXIT_NONE);
    return NULL;
}

static void test_while_running(void **state)
{
    volatile uint64_t *counter;
    struct mote_cpuid leaves[MOTE_CPUID_MAX];
    const struct mote_event event = {.kind = MOTE_EVENT_NMI};
    const struct mote_vcpu_debug debug = {.step = true};
    unsigned count = MOTE_CPUID_MAX;
    struct mote_vcpu *other;
    struct mote_exit e;
    pthread_t thread;
    struct guest g;

    begin(&g, state);
    counter = (volatile uint64_t *)(g.ram + 0x20000);
    guest_put(&g, CODE, spinning, spinning_end);
    guest_at(g.vcpu, CODE);
    mote_vcpu_state(g.vcpu)->gpr[MOTE_RDI] = 0x20000;
    pthread_create(&thread, NULL, spin, g.vcpu);
    while (!*counter)
        usleep(100);
    assert_int_equal(mote_machine_destroy(g.machine), -EBUSY);
    assert_int_equal(mote_vcpu_destroy(g.vcpu), -EBUSY);
    assert_int_equal(mote_vcpu_run(g.vcpu, &e), -EBUSY);
    assert_int_equal(mote_vcpu_assist(g.vcpu), -EBUSY);
    assert_int_equal(mote_vcpu_get(g.vcpu, MOTE_GPRS), -EBUSY);
    assert_int_equal(mote_vcpu_set(g.vcpu, MOTE_GPRS), -EBUSY);
    assert_int_equal(mote_vcpu_get_cpuid(g.vcpu, leaves, &count), -EBUSY);
    assert_int_equal(mote_vcpu_set_cpuid(g.vcpu, leaves, 0), -EBUSY);
    assert_int_equal(mote_vcpu_inject(g.vcpu, &event), -EBUSY);
    assert_int_equal(mote_vcpu_request_window(g.vcpu, true, false), -EBUSY);
    assert_int_equal(mote_vcpu_complete_msr(g.vcpu, 0, false), -EBUSY);
    assert_int_equal(mote_vcpu_complete_cpuid(g.vcpu, leaves), -EBUSY);
    assert_int_equal(mote_vcpu_exit_cpuid(g.vcpu, NULL, 0), -EBUSY);
    assert_int_equal(mote_vcpu_set_debug(g.vcpu, &debug), -EBUSY);
    assert_int_equal(mote_gva_to_gpa(g.vcpu, 0, NULL, NULL), -EBUSY);
    assert_non_null(mote_vcpu_state(g.vcpu));
    /* The machine, though, may be changed. */
    must(mote_vcpu_create(&other, g.machine, 3), "mote_vcpu_create");
    must(mote_vcpu_destroy(other), "mote_vcpu_destroy");
    assert_int_equal(mote_vcpu_destroy(other), -EINVAL);
    must(mote_vcpu_stop(g.vcpu), "mote_vcpu_stop");
    pthread_join(thread, NULL);
    end(&g);
}

/* The process forgot that memory was mapped: it is refused to register, and so never touched. */
static void test_unmapped_memory(void **state)
{
    uint8_t *gone = mmap(NULL, 0x3000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *read_only = mmap(NULL, 0x1000, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct guest g;

    begin(&g, state);
    munmap(gone + 0x1000, 0x1000);
    assert_int_equal(mote_hva_register(g.machine, gone, 0x3000), -EFAULT);
    assert_int_equal(mote_hva_register(g.machine, read_only, 0x1000), -EFAULT);
    munmap(gone, 0x3000);
    munmap(read_only, 0x1000);
    end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(test_wild),          ON_ALL(test_destroyed),
        ON_ALL(test_no_place),      ON_ALL(test_memory),
        ON_ALL(test_bad_values),    ON_ALL(test_too_many),
        ON_ALL(test_order),         ON_ALL(test_vcpu_again),
        ON_ALL(test_while_running), ON_ALL(test_unmapped_memory),
    };

    return cmocka_run_group_tests_name("lib misuse", tests, NULL, NULL);
}
