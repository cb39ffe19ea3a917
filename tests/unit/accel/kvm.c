/* What is KVM's own: its device node, its CPUID table, its error paths. */
#include "fixture.h"

#include "accel/backends.h"
#include "base/bits.h"
#include "base/err.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct machine_config one = {.vcpus = 1};

static int create_on(const char *device)
{
    const struct machine_config config = {.device = device, .vcpus = 1};
    struct machine *m;
    int err = machine_create(&m, &accel_kvm, &config);

    if (err)
        assert_null(m);
    else
        machine_destroy(m);
    return err;
}

static void names_what_is_wrong_with_a_device(void **state)
{
    struct accel_info info;

    assert_int_equal(create_on("/nonexistent/kvm"), -ENOENT);
    assert_string_equal(err_text(), "/nonexistent/kvm: not there, expected the device node of a "
                                    "loaded kvm module");
    assert_int_equal(create_on("/dev/null"), -ENODEV);
    assert_string_equal(err_text(), "/dev/null: not a KVM device");
    assert_int_equal(create_on("/"), -EISDIR);
    accel_kvm.probe("/dev/null", &info);
    assert_false(info.usable);
    assert_string_equal(info.reason, "/dev/null: not a KVM device");
    assert_string_equal(info.device, "/dev/null");
}

/* As a user who may not open it; needs root to become one. */
static void names_missing_permission(void **state)
{
    char path[] = "/tmp/mote-kvm-XXXXXX";
    int status, fd = mkstemp(path);
    pid_t pid;

    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(chmod(path, 0), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        if (geteuid() == 0 && setuid(65534))
            _exit(2);
        _exit(create_on(path) == -EACCES && strstr(err_text(), "permission denied, expected "
                                                               "membership of group kvm or root")
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    unlink(path);
    assert_int_equal(status, 0);
}

static unsigned open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;

    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* The numbers of the files that will be opened next. */
static void next_files(int fd[], unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        fd[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(fd[i] >= 0);
    }
    for (unsigned i = 0; i < count; i++)
        close(fd[i]);
}

/* Each open on the way to a vCPU fails once; nothing stays open. */
static void leaves_nothing_open(void **state)
{
    struct rlimit old, limit;
    unsigned before = open_files(), failures = 0;
    struct machine *m;
    struct vcpu *v;
    int err, next[4]; /* with gaps, where whoever started this left files open */

    fixture_require(&accel_kvm);
    next_files(next, ARRAY_SIZE(next));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    for (unsigned extra = 0; extra < 4; extra++) {
        limit = old;
        limit.rlim_cur = (rlim_t)next[extra];
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        err = machine_create(&m, &accel_kvm, &one);
        if (!err) {
            err = vcpu_create(&v, m, 0);
            if (!err)
                vcpu_destroy(v);
            machine_destroy(m);
        }
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        assert_int_equal(err, extra < 3 ? -EMFILE : 0); /* device, VM, vCPU */
        failures += err != 0;
        assert_int_equal(open_files(), before);
    }
    assert_int_equal(failures, 3);
}

static void refuses_what_cannot_be(void **state)
{
    static uint8_t page[4096] __attribute__((aligned(4096)));
    const struct machine_config many = {.vcpus = 1000000};
    struct vcpu *v;
    struct machine *m;
    struct fixture f;
    struct mote_event event = {.kind = X86_EVENT_INTR, .vector = 0x20};

    fixture_require(&accel_kvm);
    assert_int_equal(machine_create(&m, &accel_kvm, &many), -EINVAL);
    fixture_create(&f, &accel_kvm);
    assert_int_equal(vcpu_create(&v, f.m, 0), -EEXIST);
    assert_null(v);
    assert_int_equal(machine_map(f.m, GPA(0x20000), 4096, page, MEM_WRITE), -ENOTSUP);
    assert_null(guest_mem_find(&f.m->mem, GPA(0x20000)));
    assert_int_equal(vcpu_inject(f.v, &event), -EAGAIN);
    f.v->state->msr.efer = EFER_LMA; /* without paging */
    assert_int_equal(vcpu_set(f.v, X86_MSRS), 0);
    assert_int_equal(vcpu_run(f.v, &(struct vcpu_exit){0}), -EINVAL);
    assert_non_null(strstr(err_text(), "KVM_SET_SREGS"));
    fixture_destroy(&f);
}

/* RDPRU: nobody offers it. */
GUEST(rdpru, 64, "lidt 0x3000; .byte 0x0f,0x01,0xfd; hlt")

/*
 * Where ring 0 is emulated and the interpreter does not know it either, the exit
 * shows the instruction, rip is at it, and it can be skipped. Else it is #UD.
 */
static void failure_shows_the_instruction(void **state)
{
    static const uint8_t insn[3] = {0x0f, 0x01, 0xfd};
    struct vcpu_exit exit;
    struct fixture f;

    fixture_require(&accel_kvm);
    fixture_create(&f, &accel_kvm);
    RUN_LONG(&f, rdpru);
    do
        assert_int_equal(vcpu_run(f.v, &exit), 0);
    while (exit.reason == VCPU_EXIT_NONE);
    if (exit.reason == VCPU_EXIT_FAIL) {
        assert_true(exit.fail.insn_len >= 3);
        assert_memory_equal(exit.fail.insn, insn, 3);
        assert_int_equal(vcpu_get(f.v, X86_GPRS), 0);
        assert_memory_equal(f.ram + f.v->state->rip, insn, 3);
        assert_int_equal(f.v->rescued, 0);
        f.v->state->rip += 3;
        assert_int_equal(vcpu_set(f.v, X86_GPRS), 0);
        fixture_expect(&f, VCPU_EXIT_HALT);
    } else {
        assert_int_equal(exit.reason, VCPU_EXIT_SHUTDOWN);
    }
    fixture_destroy(&f);
}

static void cpuid_tells_machine_and_clock(void **state)
{
    const struct x86_cpuid_topology topology = {.apic_id = 3, .vcpus = 4, .tsc_khz = 2500000};
    const struct machine_config config = {.vcpus = 4, .want = ACCEL_CAP_CLOCK};
    static struct x86_cpuid t;
    struct machine *m;
    struct x86_cpuid_leaf *l;
    uint32_t regs[4];

    fixture_require(&accel_kvm);
    assert_int_equal(machine_create(&m, &accel_kvm, &config), 0);
    assert_int_equal(machine_default_cpuid(m, &topology, &t), 0);
    l = x86_cpuid_find(&t, 1, 0);
    assert_non_null(l);
    assert_true(l->ecx & 1u << 31);    /* hypervisor */
    assert_false(l->ecx & 1u << 24);   /* TSC deadline: no APIC inside */
    assert_false(l->ecx & 1u << 5);    /* VMX */
    assert_int_equal(l->ebx >> 24, 3); /* APIC id */
    assert_int_equal(l->ebx >> 16 & 255, 4);
    assert_true(l->edx & 1u << 28); /* several */
    l = x86_cpuid_find(&t, 0x80000001, 0);
    assert_true(!l || !(l->ecx & 1u << 2)); /* SVM */
    l = x86_cpuid_find(&t, 0x80000002, 0);  /* the host's name, or the one that KVM gives */
    x86_cpuid_host(0x80000002, 0, regs);
    assert_true(l ? l->eax || !regs[0] : !regs[0]);
    l = x86_cpuid_find(&t, 0x40000000, 0);
    assert_non_null(l);
    assert_int_equal(l->eax, 0x40000010);
    assert_memory_equal(&l->ebx, "KVMKVMKVM\0\0\0", 12);
    l = x86_cpuid_find(&t, 0x40000010, 0);
    assert_non_null(l);
    assert_int_equal(l->eax, 2500000);
    l = x86_cpuid_find(&t, 0x40000001, 0);
    assert_non_null(l);
    if (m->caps & ACCEL_CAP_CLOCK)
        assert_true(l->eax & 1u << 3);
    for (unsigned i = 0; i < t.count; i++) { /* caches: 4, and AMD's */
        l = &t.leaf[i];
        if ((l->leaf == 4 || l->leaf == 0x8000001d) && (l->eax & 31))
            assert_int_equal(l->eax >> 14 & 0xfff, (l->eax >> 5 & 7) >= 3 ? 3 : 0);
    }
    l = x86_cpuid_find(&t, 0, 0);
    if (l && l->eax >= 0xb) {
        l = x86_cpuid_find(&t, 0xb, 1);
        assert_non_null(l);
        assert_int_equal(l->eax, 2);
        assert_int_equal(l->ebx, 4);
        assert_int_equal(l->edx, 3);
    }
    machine_destroy(m);
}

/* Paravirtual features need a local APIC inside where KVM's code does, and their MSRs move. */
static void paravirtual_features_move(void **state)
{
    static const enum x86_feature lapic[] = {X86_FEATURE_KVM_PV_EOI, X86_FEATURE_KVM_PV_UNHALT,
                                             X86_FEATURE_KVM_PV_IPI, X86_FEATURE_KVM_ASYNC_PF};
    static const unsigned all = ACCEL_CAP_LAPIC | ACCEL_CAP_CLOCK | ACCEL_CAP_TSC_DEADLINE;
    const struct x86_cpuid_topology topology = {.vcpus = 1};
    static struct x86_cpuid t;
    struct vcpu_exit exit;
    struct mote_msrs *msr;
    struct fixture f;

    fixture_require(&accel_kvm);
    fixture_create(&f, &accel_kvm);
    assert_int_equal(machine_default_cpuid(f.m, &topology, &t), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_false(x86_cpuid_has(&t, lapic[i]));
    fixture_destroy(&f);
    fixture_create_with(&f, &accel_kvm, all);
    assert_int_equal(machine_default_cpuid(f.m, &topology, &t), 0);
    msr = &f.v->state->msr;
    assert_int_equal(vcpu_get(f.v, X86_MSRS), 0);
    if (!(f.m->caps & ACCEL_CAP_LAPIC) || !x86_cpuid_has(&t, X86_FEATURE_KVM_POLL_CONTROL) ||
        !x86_cpuid_has(&t, X86_FEATURE_KVM_PV_EOI) ||
        !x86_cpuid_has(&t, X86_FEATURE_KVM_ASYNC_PF_INT)) {
        fixture_destroy(&f);
        skip();
    }
    assert_int_equal(msr->kvm_poll_control, 1); /* as x86_state_reset has it */
    msr->kvm_poll_control = 0;
    msr->kvm_pv_eoi = 0x3001;
    msr->kvm_async_pf_int = 0xec;
    assert_int_equal(vcpu_set(f.v, X86_MSRS), 0);
    vcpu_kick(f.v);
    assert_int_equal(vcpu_run(f.v, &exit), 0);
    memset(msr, 0xff, sizeof(*msr));
    assert_int_equal(vcpu_get(f.v, X86_MSRS), 0);
    assert_int_equal(msr->kvm_poll_control, 0);
    assert_int_equal(msr->kvm_pv_eoi, 0x3001);
    assert_int_equal(msr->kvm_async_pf_int, 0xec);
    fixture_destroy(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_what_is_wrong_with_a_device),
        cmocka_unit_test(names_missing_permission),
        cmocka_unit_test(leaves_nothing_open),
        cmocka_unit_test(refuses_what_cannot_be),
        cmocka_unit_test(failure_shows_the_instruction),
        cmocka_unit_test(cpuid_tells_machine_and_clock),
        cmocka_unit_test(paravirtual_features_move),
    };

    return cmocka_run_group_tests_name("kvm", tests, NULL, NULL);
}
