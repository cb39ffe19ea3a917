/* Memory: rights, places, changes, and page tables. */
#include "api.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE   0x1000u
#define ROM    (MOTE_READ | MOTE_EXEC)
#define DIGITS 0x34333231u /* what each page of a->extra begins with */

static void put(struct api *a, unsigned page, uint64_t at, unsigned pages, unsigned rights)
{
    MUST(a, mote_gpa_map(a->m, at, a->extra + page * PAGE, pages * PAGE, rights));
}

/* ---- rights ---- */

/* Reads are memory's, writes a device's. */
void rom(struct api *a)
{
    put(a, 0, DEV, 1, ROM);
    api_script(a);
    EQUAL(a, a->s->gpr[MOTE_RAX], DIGITS);
    CHECK(a, !memcmp(a->extra, "1234\0\0\0\0", 8));
}

void rom_unanswered(struct api *a)
{
    put(a, 0, DEV, 1, ROM);
    EQUAL(a, api_run(a), MOTE_EXIT_MEMORY);
    CHECK(a, a->exit.u.memory.write);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), DIGITS);
}

void rom_exec(struct api *a)
{
    a->extra[8] = 0xb3; /* mov $5,%bl; hlt */
    a->extra[9] = 5;
    a->extra[10] = 0xf4;
    put(a, 0, DEV, 1, ROM);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RBX), 5);
}

/* Rights that cannot be withheld are refused, not ignored. */
void not_exec(struct api *a)
{
    struct mote_capabilities caps;

    MUST(a, mote_machine_capabilities(a->m, &caps));
    EQUAL(a, !(caps.rights & MOTE_EXEC), a->on_kvm);
    if (!(caps.rights & MOTE_EXEC)) {
        EQUAL(a, mote_gpa_map(a->m, DEV, a->extra, PAGE, MOTE_READ | MOTE_WRITE), -ENOTSUP);
        EQUAL(a, mote_gpa_to_hva(a->m, DEV, NULL, NULL), -ENOENT);
        return;
    }
    a->extra[0] = 0xf4;
    put(a, 0, DEV, 1, MOTE_READ | MOTE_WRITE);
    api_run(a);
    CHECK(a, a->exit.reason == MOTE_EXIT_MEMORY || a->exit.reason == MOTE_EXIT_FAIL);
    api_get(a, MOTE_GPRS);
    EQUAL(a, a->s->rip, DEV);
}

/* ---- places ---- */

void two_places(struct api *a)
{
    put(a, 0, DEV, 1, MOTE_RWX);
    put(a, 0, DEV + 0x2000, 1, MOTE_RWX);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 5);
    EQUAL(a, a->s->gpr[MOTE_RBX], 6);
    EQUAL(a, a->extra[0], 6);
}

/* A store at one place changes the code that runs at the other. */
void code_at_two_places(struct api *a)
{
    static const uint8_t code[] = {0xb3, 1, 0xc3}; /* mov $1,%bl; ret */

    memcpy(a->extra, code, sizeof(code));
    put(a, 0, DEV, 1, MOTE_RWX);
    put(a, 0, DEV + 0x2000, 1, MOTE_RWX);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RBX), 2);
}

void unmap_part(struct api *a)
{
    put(a, 0, DEV, 3, MOTE_RWX);
    MUST(a, mote_gpa_unmap(a->m, DEV + PAGE, PAGE));
    EQUAL(a, mote_gpa_to_hva(a->m, DEV + PAGE, NULL, NULL), -ENOENT);
    api_script(a);
    EQUAL(a, a->s->gpr[MOTE_RAX], 0x0931);
    EQUAL(a, a->s->gpr[MOTE_RBX], 0x31);
    put(a, 7, DEV + PAGE, 1, MOTE_RWX);
}

void unmap_over_two(struct api *a)
{
    put(a, 0, DEV, 2, MOTE_RWX);
    put(a, 4, DEV + 2 * PAGE, 2, ROM);
    MUST(a, mote_gpa_unmap(a->m, DEV + PAGE, 2 * PAGE));
    api_script(a);
    EQUAL(a, a->s->gpr[MOTE_RAX], 'z');
    EQUAL(a, a->s->gpr[MOTE_RBX], 9);
    MUST(a, mote_gpa_unmap(a->m, DEV, 64 * PAGE));
    EQUAL(a, mote_gpa_to_hva(a->m, DEV, NULL, NULL), -ENOENT);
    EQUAL(a, mote_gpa_to_hva(a->m, DEV + 3 * PAGE, NULL, NULL), -ENOENT);
    MUST(a, mote_hva_unregister(a->m, a->extra, EXTRA_SIZE));
    MUST(a, mote_hva_register(a->m, a->extra, EXTRA_SIZE));
}

void remap(struct api *a)
{
    put(a, 0, DEV, 1, MOTE_RWX);
    a->extra[PAGE] = 9;
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), DIGITS);
    MUST(a, mote_gpa_unmap(a->m, DEV, PAGE));
    put(a, 1, DEV, 1, MOTE_RWX);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RBX), DIGITS - 0x31 + 9);
}

static void *swap_page(void *user)
{
    struct api *a = user;

    usleep(20000);
    a->thread_error = mote_gpa_unmap(a->m, DEV, PAGE);
    if (!a->thread_error)
        a->thread_error = mote_gpa_map(a->m, DEV, a->extra + PAGE, PAGE, MOTE_RWX);
    return NULL;
}

/* By another thread. In between a read may exit, which nobody answers. */
void remap_while_running(struct api *a)
{
    pthread_t thread;

    put(a, 0, DEV, 1, MOTE_RWX);
    a->extra[PAGE] = 9;
    CHECK(a, !pthread_create(&thread, NULL, swap_page, a));
    api_run(a);
    pthread_join(thread, NULL);
    EQUAL(a, a->thread_error, 0);
    if (a->exit.reason == MOTE_EXIT_MEMORY)
        api_run(a);
    EQUAL(a, a->exit.reason, MOTE_EXIT_HALT);
}

void map_high(struct api *a)
{
    const uint64_t at = UINT64_C(0x123456000);

    put(a, 2, at, 1, MOTE_RWX);
    api_pte(a, DATA, at | PTE_RW);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 5);
    EQUAL(a, a->extra[2 * PAGE], 5);
}

/* ---- errors ---- */

void map_errors(struct api *a)
{
    struct mote_capabilities caps;

    MUST(a, mote_machine_capabilities(a->m, &caps));
    EQUAL(a, mote_gpa_map(a->m, DEV + 1, a->extra, PAGE, MOTE_RWX), -EINVAL);
    EQUAL(a, mote_gpa_map(a->m, DEV, a->extra + 1, PAGE, MOTE_RWX), -EINVAL);
    EQUAL(a, mote_gpa_map(a->m, DEV, a->extra, PAGE + 1, MOTE_RWX), -EINVAL);
    EQUAL(a, mote_gpa_map(a->m, DEV, a->extra, 0, MOTE_RWX), -EINVAL);
    EQUAL(a, mote_gpa_map(a->m, DEV, a->extra, PAGE, 0), -EINVAL);
    EQUAL(a, mote_gpa_map(a->m, DEV, a->extra, PAGE, 15), -EINVAL);
    EQUAL(a, mote_gpa_map(a->m, 0, a->extra, PAGE, MOTE_RWX), -EEXIST);
    EQUAL(a, mote_gpa_map(a->m, RAM_SIZE - PAGE, a->extra, 2 * PAGE, MOTE_RWX), -EEXIST);
    EQUAL(a, mote_gpa_map(a->m, DEV, a->extra + EXTRA_SIZE - PAGE, 2 * PAGE, MOTE_RWX), -EFAULT);
    EQUAL(a, mote_gpa_map(a->m, DEV, NULL, PAGE, MOTE_RWX), -EFAULT);
    EQUAL(a, mote_gpa_map(a->m, UINT64_C(1) << caps.gpa_bits, a->extra, PAGE, MOTE_RWX), -EINVAL);
    EQUAL(a, mote_gpa_map(a->m, -(uint64_t)PAGE, a->extra, 2 * PAGE, MOTE_RWX), -EINVAL);
    EQUAL(a, mote_gpa_map(NULL, DEV, a->extra, PAGE, MOTE_RWX), -EINVAL);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

void unmap_errors(struct api *a)
{
    EQUAL(a, mote_gpa_unmap(a->m, DEV, PAGE), -ENOENT);
    EQUAL(a, mote_gpa_unmap(a->m, 1, PAGE), -EINVAL);
    EQUAL(a, mote_gpa_unmap(a->m, 0, 0), -EINVAL);
    EQUAL(a, mote_gpa_unmap(a->m, 0, PAGE - 1), -EINVAL);
    EQUAL(a, mote_gpa_unmap(a->m, -(uint64_t)PAGE, 2 * PAGE), -EINVAL);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

void hva_errors(struct api *a)
{
    uint8_t *gone = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(a, gone != MAP_FAILED && !munmap(gone, PAGE));
    EQUAL(a, mote_hva_register(a->m, gone, PAGE), -EFAULT);
    EQUAL(a, mote_hva_register(a->m, a->extra, PAGE), -EEXIST);
    EQUAL(a, mote_hva_register(a->m, a->extra + 1, PAGE), -EINVAL);
    EQUAL(a, mote_hva_register(a->m, a->extra, 0), -EINVAL);
    EQUAL(a, mote_hva_register(a->m, NULL, PAGE), -EINVAL);
    EQUAL(a, mote_hva_unregister(a->m, a->extra, PAGE), -ENOENT);
    EQUAL(a, mote_hva_unregister(a->m, a->ram, RAM_SIZE), -EBUSY);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

void gpa_to_hva(struct api *a)
{
    void *hva;
    unsigned rights;

    MUST(a, mote_gpa_to_hva(a->m, DATA + 5, &hva, &rights));
    CHECK(a, hva == a->ram + DATA + 5);
    EQUAL(a, rights, MOTE_RWX);
    put(a, 3, DEV, 1, ROM);
    MUST(a, mote_gpa_to_hva(a->m, DEV + 0xfff, &hva, &rights));
    CHECK(a, hva == a->extra + 3 * PAGE + 0xfff);
    EQUAL(a, rights, ROM);
    MUST(a, mote_gpa_to_hva(a->m, 0, NULL, NULL));
    EQUAL(a, mote_gpa_to_hva(a->m, DEV + PAGE, &hva, &rights), -ENOENT);
    EQUAL(a, mote_gpa_to_hva(a->m, UINT64_MAX, &hva, &rights), -ENOENT);
}

/* Code that the program changes under a guest that has run it, often enough to be translated. */
void gpa_written(struct api *a)
{
    for (unsigned i = 0; i < 60; i++) {
        uint8_t value = (uint8_t)(i / 20);

        api_set_rip(a, CODE);
        if (i % 20 == 0)
            api_ram(a, CODE + 1, &value, 1);
        EQUAL(a, api_run(a), MOTE_EXIT_HALT);
        EQUAL(a, api_gpr(a, MOTE_RAX), value);
    }
    for (unsigned i = 0; i < 60; i++) { /* nobody says where */
        uint8_t value = (uint8_t)(i / 20 * 3 + i % 3 / 2);

        api_set_rip(a, CODE);
        a->ram[CODE + 1] = value;
        MUST(a, mote_gpa_written(a->m, 0, SIZE_MAX));
        EQUAL(a, api_run(a), MOTE_EXIT_HALT);
        EQUAL(a, api_gpr(a, MOTE_RAX), value);
    }
    EQUAL(a, mote_gpa_written(a->m, UINT64_MAX, 2), -EINVAL);
    MUST(a, mote_gpa_written(a->m, DEV, 0x1000000));
}

/* ---- page tables ---- */

static void is_at(struct api *a, uint64_t gva, uint64_t gpa, unsigned rights)
{
    uint64_t at = 1;
    unsigned got = 0;
    int err = mote_gva_to_gpa(a->v, gva, &at, &got);

    if (err || at != gpa || got != rights)
        api_fail(a, "0x%llx is at 0x%llx with %u (%d), not at 0x%llx with %u",
                 (unsigned long long)gva, (unsigned long long)at, got, err, (unsigned long long)gpa,
                 rights);
}

static void is_nowhere(struct api *a, uint64_t gva)
{
    uint64_t at;
    int err = mote_gva_to_gpa(a->v, gva, &at, NULL);

    if (err != -EFAULT)
        api_fail(a, "0x%llx: %d, not -EFAULT", (unsigned long long)gva, err);
}

void gva_unpaged(struct api *a)
{
    is_at(a, 0x12345, 0x12345, MOTE_RWX);
    is_at(a, 0xfffff000, 0xfffff000, MOTE_RWX);
    is_at(a, DEV, DEV, MOTE_RWX);
    MUST(a, mote_gva_to_gpa(a->v, 0, NULL, NULL));
}

#define NX (UINT64_C(1) << 63)

void gva_long(struct api *a)
{
    is_at(a, DATA + 5, DATA + 5, MOTE_RWX);
    api_pte(a, DATA, 0x7000 | PTE_RW);
    is_at(a, DATA + 5, 0x7005, MOTE_RWX);
    api_pte(a, DATA, 0);
    is_nowhere(a, DATA);
    api_pte(a, DATA, UINT64_C(0x123456000) | PTE_RW);
    is_at(a, DATA + 0xfff, UINT64_C(0x123456fff), MOTE_RWX);
    is_at(a, 0x12345678, 0x12345678, MOTE_RWX); /* of 2 MiB */
    is_nowhere(a, 0x40000000);
    api_ram64(a, TABLES + 0x1000 + 8, UINT64_C(0x80000000) | 0x80 | PTE_RW); /* of 1 GiB */
    is_at(a, 0x52345678, 0x92345678, MOTE_RWX);
    api_ram64(a, TABLES + 8 * 256, (TABLES + 0x1000) | PTE_RW);
    is_at(a, UINT64_C(0xffff800000000000) + DATA + 1, UINT64_C(0x123456001), MOTE_RWX);
    is_nowhere(a, UINT64_C(0x0000800000000000) + DATA); /* not canonical */
    is_nowhere(a, UINT64_C(0x0001000000000000) + DATA + 1);
    is_nowhere(a, UINT64_C(0x8000000000000000) + DATA);
}

void gva_user(struct api *a)
{
    is_at(a, DATA, DATA, MOTE_RWX);
    api_pte(a, DATA, DATA | (PTE_RW & ~2u));
    is_at(a, DATA, DATA, MOTE_READ | MOTE_EXEC);
    api_pte(a, DATA, DATA | PTE_RW | NX);
    is_at(a, DATA, DATA, MOTE_READ | MOTE_WRITE);
    api_pte(a, DATA, DATA | (PTE_RW & ~4u));
    is_nowhere(a, DATA);
}

void gva_nx(struct api *a)
{
    api_pte(a, DATA, DATA | PTE_RW | NX);
    is_at(a, DATA, DATA, MOTE_READ | MOTE_WRITE);
    a->s->msr.efer &= ~UINT64_C(0x800); /* the bit is reserved then */
    a->s->msr.tsc = 0;
    MUST(a, mote_vcpu_set(a->v, MOTE_MSRS));
    is_nowhere(a, DATA);
    a->s->msr.efer |= 0x800;
    a->s->cr4 |= 1 << 20; /* SMEP: no user page is executed in ring 0 */
    MUST(a, mote_vcpu_set(a->v, MOTE_MSRS | MOTE_CRS));
    is_at(a, DATA + PAGE, DATA + PAGE, MOTE_READ | MOTE_WRITE);
    api_pte(a, DATA + PAGE, (DATA + PAGE) | (PTE_RW & ~4u));
    is_at(a, DATA + PAGE, DATA + PAGE, MOTE_RWX);
}

void gva_wp(struct api *a)
{
    api_pte(a, DATA, DATA | (PTE_RW & ~2u));
    is_at(a, DATA, DATA, MOTE_RWX);
    a->s->cr0 |= 0x10000;
    MUST(a, mote_vcpu_set(a->v, MOTE_CRS));
    is_at(a, DATA, DATA, MOTE_READ | MOTE_EXEC);
}

void gva_clean(struct api *a)
{
    api_pte(a, DATA, DATA | 7);
    is_at(a, DATA, DATA, MOTE_RWX);
    EQUAL(a, api_ram_at(a, TABLES + 0x3000 + 8 * (DATA >> 12), 8), DATA | 7);
}

static void paged(struct api *a, uint64_t cr3, uint64_t cr4)
{
    a->s->cr0 |= 0x80000000;
    a->s->cr3 = cr3;
    a->s->cr4 = cr4;
    MUST(a, mote_vcpu_set(a->v, MOTE_CRS));
}

void gva_pae(struct api *a)
{
    api_ram64(a, TABLES + 0x20, (TABLES + 0x2000) | 1); /* four directories, one is there */
    paged(a, TABLES + 0x20, 0x20);
    is_at(a, DATA + 5, DATA + 5, MOTE_RWX);
    is_at(a, 0x12345678, 0x12345678, MOTE_RWX);
    api_pte(a, DATA, UINT64_C(0x123456000) | PTE_RW);
    is_at(a, DATA + 5, UINT64_C(0x123456005), MOTE_RWX);
    api_pte(a, DATA, 0);
    is_nowhere(a, DATA);
    is_nowhere(a, 0x40000000);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

void gva_32(struct api *a)
{
    uint32_t directory[4] = {(DATA + PAGE) | 7, 0x00400000 | 0x87, 0x00800000 | 0x81, 0};
    uint32_t table[1024];

    for (uint32_t i = 0; i < 1024; i++)
        table[i] = i << 12 | 7;
    table[0x20] = 0x7000 | 1;
    table[0x21] = 0;
    api_ram(a, DATA, directory, sizeof(directory));
    api_ram(a, DATA + PAGE, table, sizeof(table));
    paged(a, DATA, 0x10);
    is_at(a, 0x12345, 0x12345, MOTE_RWX);
    is_at(a, 0x20005, 0x7005, MOTE_RWX);
    is_nowhere(a, 0x21000);
    is_at(a, 0x567890, 0x567890, MOTE_RWX); /* of 4 MiB */
    is_nowhere(a, 0xc00000);
    a->s->cr0 |= 0x10000;
    MUST(a, mote_vcpu_set(a->v, MOTE_CRS));
    is_at(a, 0x20005, 0x7005, MOTE_READ | MOTE_EXEC);
    is_at(a, 0x812345, 0x812345, MOTE_READ | MOTE_EXEC);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

void accessed_dirty(struct api *a)
{
    api_pte(a, DATA, DATA | 7);
    api_pte(a, DATA + PAGE, (DATA + PAGE) | 7);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_ram_at(a, TABLES + 0x3000 + 8 * (DATA >> 12), 8), DATA | 0x27);
    EQUAL(a, api_ram_at(a, TABLES + 0x3000 + 8 * (DATA >> 12) + 8, 8), (DATA + PAGE) | 0x67);
}

/* ---- several vCPUs, and machines ---- */

struct other {
    struct mote_vcpu *v;
    int err;
    struct mote_exit exit;
};

static void *run_other(void *user)
{
    struct other *o = user;

    o->err = mote_vcpu_run(o->v, &o->exit);
    return NULL;
}

void two_vcpus(struct api *a)
{
    struct other o = {0};
    struct mote_state *s;
    pthread_t thread;

    MUST(a, mote_vcpu_create(&o.v, a->m, 1));
    s = mote_vcpu_state(o.v);
    CHECK(a, s && s != a->s);
    MUST(a, mote_vcpu_get(o.v, MOTE_ALL));
    api_mode(s, LONG);
    s->gpr[MOTE_RAX] = 1;
    s->msr.tsc = 0;
    MUST(a, mote_vcpu_set(o.v, MOTE_ALL));
    a->s->gpr[MOTE_RAX] = 2;
    MUST(a, mote_vcpu_set(a->v, MOTE_GPRS));
    CHECK(a, !pthread_create(&thread, NULL, run_other, &o));
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    pthread_join(thread, NULL);
    EQUAL(a, o.err, 0);
    EQUAL(a, o.exit.reason, MOTE_EXIT_HALT);
    EQUAL(a, api_ram_at(a, DATA + 8, 8), 1);
    EQUAL(a, api_ram_at(a, DATA + 16, 8), 2);
    MUST(a, mote_vcpu_destroy(o.v));
    EQUAL(a, mote_vcpu_destroy(o.v), -EINVAL);
    EQUAL(a, mote_vcpu_stop(o.v), -EINVAL);
}

void vcpu_ids(struct api *a)
{
    struct mote_vcpu *v = a->v;

    EQUAL(a, mote_vcpu_create(&v, a->m, 0), -EEXIST);
    CHECK(a, !v);
    EQUAL(a, mote_vcpu_create(&v, a->m, 2), -EINVAL);
    EQUAL(a, mote_vcpu_create(NULL, a->m, 1), -EINVAL);
    EQUAL(a, mote_vcpu_create(&v, NULL, 1), -EINVAL);
    EQUAL(a, mote_vcpu_create(&v, (struct mote_machine *)a->v, 1), -EINVAL);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

/* An ID may be used again. */
void vcpu_again(struct api *a)
{
    struct mote_vcpu *v;

    for (unsigned i = 0; i < 3; i++) {
        MUST(a, mote_vcpu_create(&v, a->m, 1));
        MUST(a, mote_vcpu_destroy(v));
    }
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
}

void machine_configs(struct api *a)
{
    struct mote_machine *m;

    EQUAL(a, mote_machine_create(NULL, NULL), -EINVAL);
    EQUAL(a, mote_machine_create(&m, &(struct mote_machine_config){.accel = "none"}), -EINVAL);
    CHECK(a, !m && mote_error()[0]);
    EQUAL(
        a,
        mote_machine_create(&m, &(struct mote_machine_config){a->accel, MOTE_VCPUS_MAX + 1, NULL}),
        -EINVAL);
    EQUAL(a, mote_machine_create(&m, &(struct mote_machine_config){a->accel, 1, "nonsense"}),
          -EINVAL);
    MUST(a, mote_machine_create(&m, &(struct mote_machine_config){a->accel, 1, "host,-avx"}));
    MUST(a, mote_machine_destroy(m));
    EQUAL(a, mote_machine_destroy(m), -EINVAL);
    EQUAL(a, mote_machine_destroy(NULL), -EINVAL);
}

void capabilities(struct api *a)
{
    struct mote_capabilities caps;

    MUST(a, mote_machine_capabilities(a->m, &caps));
    CHECK(a, !strcmp(caps.accel, a->accel));
    EQUAL(a, caps.vcpus_max, 2);
    EQUAL(a, caps.ranges_max, MOTE_RANGES_MAX);
    CHECK(a, caps.rights & MOTE_WRITE);
    CHECK(a, caps.xcr0 & 1);
    EQUAL(a, caps.debug_watches, 4);
    CHECK(a, caps.gpa_bits >= 36 && caps.gpa_bits <= 52);
    CHECK(a, caps.exits & 1u << MOTE_EXIT_IO && caps.exits & 1u << MOTE_EXIT_MEMORY);
    EQUAL(a, caps.exits >> MOTE_EXIT_COUNT, 0);
    EQUAL(a, mote_machine_capabilities(a->m, NULL), -EINVAL);
}

/* Each has memory of its own at the same address. */
void two_machines(struct api *a)
{
    struct api b = {.c = a->c, .accel = a->accel, .on_kvm = a->on_kvm, .abort = a->abort};
    uint32_t mine = 5, others = 6;

    api_create(&b);
    api_ram(a, DATA, &mine, 4);
    api_ram(&b, DATA, &others, 4);
    EQUAL(a, api_run(a), MOTE_EXIT_HALT);
    EQUAL(a, api_run(&b), MOTE_EXIT_HALT);
    EQUAL(a, api_gpr(a, MOTE_RAX), 5);
    EQUAL(a, api_gpr(&b, MOTE_RAX), 6);
    api_destroy(&b);
    EQUAL(a, b.why[0], 0);
}
