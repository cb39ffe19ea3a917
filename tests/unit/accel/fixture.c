#include "fixture.h"

#include "../deadlock.h"

#include "base/bits.h"
#include "base/err.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void fixture_require(const struct accel *accel)
{
    struct accel_info info;

    accel->probe(NULL, &info);
    if (!info.usable) {
        print_message("skipped on %s: %s\n", accel->name, info.reason);
        skip();
    }
}

const struct accel *accel_of(void **state)
{
    fixture_require(*state);
    alarm(DEADLOCK_SECONDS); /* a guest that never comes back fails the test */
    return *state;
}

void *kick_later(void *v)
{
    usleep(20000);
    vcpu_kick(v);
    return NULL;
}

static int play(struct script *s, bool mmio, uint64_t address, unsigned size, bool write,
                uint64_t *data)
{
    const struct access *a = s->next++;

    assert_int_equal(a->mmio, mmio);
    assert_int_equal(a->write, write);
    assert_int_equal(a->address, address);
    assert_int_equal(a->size, size);
    if (write)
        assert_int_equal(*data, a->value);
    else
        *data = a->value;
    return 0;
}

int play_io(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    return play(user, false, port, size, write, data);
}

int play_mmio(void *user, gpa_t gpa, unsigned size, bool write, uint64_t *data)
{
    return play(user, true, gpa.v, size, write, data);
}

void must(int err, const char *what)
{
    if (err)
        fail_msg("%s: %d (%s)", what, err, err_text());
}

void fixture_create(struct fixture *f, const struct accel *accel)
{
    fixture_create_with(f, accel, 0);
}

void fixture_create_with(struct fixture *f, const struct accel *accel, unsigned want)
{
    fixture_create_cpus(f, accel, want, 1);
}

void fixture_create_cpus(struct fixture *f, const struct accel *accel, unsigned want,
                         unsigned vcpus)
{
    fixture_create_config(f, accel, &(struct machine_config){.vcpus = vcpus, .want = want});
}

void fixture_create_config(struct fixture *f, const struct accel *accel,
                           const struct machine_config *config)
{
    static struct x86_cpuid cpuid;
    const struct x86_cpuid_topology topology = {.vcpus = config->vcpus};

    f->accel = accel;
    f->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(f->ram, MAP_FAILED);
    must(machine_create(&f->m, accel, config), "machine_create");
    must(machine_map(f->m, GPA(0), RAM_SIZE, f->ram, MEM_RWX), "machine_map");
    must(vcpu_create(&f->v, f->m, 0), "vcpu_create");
    must(machine_default_cpuid(f->m, &topology, &cpuid), "machine_default_cpuid");
    must(vcpu_set_cpuid(f->v, &cpuid), "vcpu_set_cpuid");
}

void fixture_destroy(struct fixture *f)
{
    vcpu_destroy(f->v);
    machine_destroy(f->m);
    munmap(f->ram, RAM_SIZE);
}

static void put_code(struct fixture *f, const void *code, size_t size)
{
    assert_true(size <= 0x1000);
    must(guest_mem_write(&f->m->mem, GPA(CODE), code, size), "guest_mem_write");
    f->v->state->rip = CODE;
    f->v->state->rflags = FLAG_R1;
    f->v->state->gpr[RSP] = STACK;
}

void fixture_real(struct fixture *f, const void *code, size_t size)
{
    struct mote_state *s = f->v->state;

    must(vcpu_get(f->v, X86_GPRS | X86_SEGS), "vcpu_get");
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        s->seg[i].base = 0;
        s->seg[i].selector = 0;
    }
    put_code(f, code, size);
    must(vcpu_set(f->v, X86_GPRS | X86_SEGS), "vcpu_set");
}

void fixture_long_mode(struct vcpu *v, uint64_t cr3)
{
    const unsigned groups = X86_SEGS | X86_CRS | X86_MSRS;
    const uint32_t flat = SEG_P | SEG_S | SEG_TYPE_RW | SEG_TYPE_A | SEG_G;
    struct mote_state *s = v->state;

    must(vcpu_get(v, groups), "vcpu_get");
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        s->seg[i] =
            (struct mote_seg){.limit = 0xffffffff, .selector = 0x10, .attrib = flat | SEG_DB};
    }
    s->seg[SEG_CS].attrib = flat | SEG_TYPE_CODE | SEG_L;
    s->seg[SEG_CS].selector = 8;
    s->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    s->cr3 = cr3;
    s->cr4 = CR4_PAE | CR4_OSFXSR;
    s->msr.efer = EFER_LME | EFER_LMA;
    must(vcpu_set(v, groups), "vcpu_set");
}

void fixture_long(struct fixture *f, const void *code, size_t size)
{
    uint64_t table[3] = {(PAGE_DIRS + 0x1000) | 3, (PAGE_DIRS + 0x2000) | 3, 0x83};

    must(vcpu_get(f->v, X86_GPRS), "vcpu_get");
    for (unsigned i = 0; i < 3; i++)
        must(guest_mem_write(&f->m->mem, GPA(PAGE_DIRS + i * 0x1000), &table[i], 8), "tables");
    fixture_long_mode(f->v, PAGE_DIRS);
    put_code(f, code, size);
    must(vcpu_set(f->v, X86_GPRS), "vcpu_set");
}

struct vcpu_exit fixture_expect(struct fixture *f, enum vcpu_exit_reason reason)
{
    struct vcpu_exit exit;

    do
        must(vcpu_run(f->v, &exit), "vcpu_run");
    while (exit.reason == VCPU_EXIT_NONE);
    if (exit.reason == VCPU_EXIT_FAIL && reason != VCPU_EXIT_FAIL) {
        for (unsigned i = 0; i < exit.fail.insn_len; i++)
            print_message("%02x%c", exit.fail.insn[i], i + 1 < exit.fail.insn_len ? ' ' : '\n');
        fail_msg("%s: %s, detail %" PRIx64 " %" PRIx64, f->accel->name, exit.fail.why,
                 exit.fail.detail[0], exit.fail.detail[1]);
    }
    if (exit.reason != reason)
        fail_msg("%s: exit %s, expected %s", f->accel->name, vcpu_exit_name(exit.reason),
                 vcpu_exit_name(reason));
    return exit;
}

uint64_t fixture_gpr(struct fixture *f, unsigned reg)
{
    must(vcpu_get(f->v, X86_GPRS), "vcpu_get");
    return f->v->state->gpr[reg];
}

int fixture_run_all(const char *group, const struct CMUnitTest *tests, size_t count)
{
    struct CMUnitTest each[32];
    char name[64];
    int failed = 0;

    assert_true(count <= ARRAY_SIZE(each));
    for (unsigned i = 0; accel_list[i]; i++) {
        for (size_t t = 0; t < count; t++) {
            each[t] = tests[t];
            each[t].initial_state = (void *)accel_list[i];
        }
        snprintf(name, sizeof(name), "%s on %s", group, accel_list[i]->name);
        print_message("%s\n", name);
        failed += _cmocka_run_group_tests(name, each, count, NULL, NULL);
    }
    return failed;
}
