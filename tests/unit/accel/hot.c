#include "hot.h"

#include "../deadlock.h"

#include "base/bits.h"
#include "x86/state.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define GDT       HOT_TABLES
#define TSS(cpu)  (HOT_TABLES + 0x200 + (cpu)*0x80)
#define IDT       (HOT_TABLES + 0x1000)
#define STUBS     (HOT_TABLES + 0x2000)
#define IST1(c)   (HOT_TABLES + 0x4000 + (c)*0x1000) /* of the stubs: they use IST 1 */
#define VECTORS   128
#define STUB_SIZE 32

GUEST(stub, 64, "hlt\npush %rax\nmov %cr3, %rax\nmov %rax, %cr3\npop %rax\niretq")
GUEST(stub_error, 64,
      "hlt\npush %rax\nmov %cr3, %rax\nmov %rax, %cr3\npop %rax\nlea 8(%rsp), %rsp\niretq")

bool hot_has_avx(void)
{
    return __builtin_cpu_supports("avx");
}

static void put_gate(struct smp *s, unsigned vector, uint64_t handler, unsigned ist)
{
    uint64_t gate[2] = {(handler & 0xffff) | 8 << 16 | UINT64_C(0xee00) << 32 |
                            (uint64_t)ist << 32 | (handler & 0xffff0000) << 32,
                        handler >> 32};

    must(guest_mem_write(&s->m->mem, GPA(IDT + vector * 16), gate, 16), "gate");
}

void hot_gate(struct smp *s, unsigned vector, uint64_t handler)
{
    put_gate(s, vector, handler, 0);
}

static void build_tables(struct smp *s)
{
    static const uint64_t gdt[] = {
        0,
        UINT64_C(0x00af9b000000ffff), /* 0x08: 64-bit code */
        UINT64_C(0x00cf93000000ffff), /* 0x10: data */
        UINT64_C(0x00cf9b000000ffff), /* 0x18: 32-bit code */
        UINT64_C(0x00cff3000000ffff), /* 0x20: data, ring 3 */
        UINT64_C(0x00affb000000ffff), /* 0x28: 64-bit code, ring 3 */
    };

    must(guest_mem_write(&s->m->mem, GPA(GDT), gdt, sizeof(gdt)), "GDT");
    for (unsigned n = 0; n < VECTORS; n++) {
        uint32_t at = STUBS + n * STUB_SIZE;

        if (x86_exception_has_error(n))
            smp_code(s, at, g_stub_error, g_stub_error_end);
        else
            smp_code(s, at, g_stub, g_stub_end);
        put_gate(s, n, at, 1);
    }
    for (unsigned n = 0; n < s->count; n++) {
        le64_put(s->ram + TSS(n) + 4, IST1(n) + 0x800); /* RSP0 */
        le64_put(s->ram + TSS(n) + 0x24, IST1(n) + 0x1000);
    }
}

static void set_tables(struct vcpu *v)
{
    struct mote_state *st = v->state;

    must(vcpu_get(v, X86_SEGS | X86_CRS | X86_MSRS), "vcpu_get");
    st->gdtr = (struct mote_table){.base = GDT, .limit = 0x2f};
    st->idtr = (struct mote_table){.base = IDT, .limit = VECTORS * 16 - 1};
    st->seg[SEG_TR] = (struct mote_seg){
        .base = TSS(v->id), .limit = 0x67, .selector = 0x30, .attrib = SEG_P | 0xb};
    st->cr0 |= CR0_WP | CR0_MP;
    st->cr4 |= CR4_OSXMMEXCPT;
    if (hot_has_avx()) {
        st->cr4 |= CR4_OSXSAVE;
        st->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    }
    st->msr.efer |= EFER_NXE;
    must(vcpu_set(v, X86_SEGS | X86_CRS | X86_MSRS), "vcpu_set");
}

void hot_create(struct smp *s, unsigned cpus)
{
    const struct machine_config config = {.vcpus = cpus};

    hot_create_as(s, &config);
}

void hot_create_as(struct smp *s, const struct machine_config *config)
{
    alarm(DEADLOCK_SECONDS);
    smp_create_as(s, accel_find("soft"), config);
    build_tables(s);
    for (unsigned n = 0; n < s->count; n++)
        set_tables(s->v[n]);
}

void hot_at(struct smp *s, enum hot_mode mode, uint64_t linear)
{
    static const uint16_t selector[] = {
        [HOT_KERNEL] = 8, [HOT_USER] = HOT_CS_USER, [HOT_COMPAT] = HOT_CS_COMPAT};
    const uint32_t dpl = mode == HOT_USER ? SEG_DPL : 0;
    struct mote_state *st = s->v[0]->state;

    must(vcpu_get(s->v[0], X86_GPRS | X86_SEGS), "vcpu_get");
    for (unsigned n = SEG_ES; n <= SEG_GS; n++) {
        st->seg[n].attrib = (st->seg[n].attrib & ~SEG_DPL) | dpl;
        st->seg[n].selector = dpl ? HOT_SS_USER : 0x10;
    }
    st->seg[SEG_CS].attrib &= ~(SEG_L | SEG_DB);
    st->seg[SEG_CS].attrib |= mode == HOT_COMPAT ? SEG_DB : SEG_L;
    st->seg[SEG_CS].selector = selector[mode];
    st->rip = linear;
    st->rflags = FLAG_R1;
    st->gpr[RSP] = SMP_DATA;
    must(vcpu_set(s->v[0], X86_GPRS | X86_SEGS), "vcpu_set");
}

#define FRAME (IST1(0) + 0x1000 - (uint32_t)sizeof(struct hot_frame)) /* the error is below */

struct hot_trap hot_run(struct smp *s)
{
    struct fixture f = {.accel = s->v[0]->accel, .m = s->m, .v = s->v[0]};
    struct hot_trap t = {0};
    uint64_t rip;

    fixture_expect(&f, VCPU_EXIT_HALT);
    must(vcpu_get(s->v[0], X86_GPRS | X86_CRS), "vcpu_get");
    rip = s->v[0]->state->rip - 1;
    if (rip < STUBS || rip >= STUBS + VECTORS * STUB_SIZE || rip % STUB_SIZE)
        fail_msg("HLT at %#lx", (unsigned long)rip);
    t.vector = (unsigned)(rip - STUBS) / STUB_SIZE;
    if (x86_exception_has_error(t.vector))
        t.error = le32_get(s->ram + FRAME - 8);
    memcpy(&t.frame, s->ram + FRAME, sizeof(t.frame));
    t.cr2 = s->v[0]->state->cr2;
    return t;
}

uint64_t hot_end(struct smp *s)
{
    struct hot_trap t = hot_run(s);

    if (t.vector != EXC_BP)
        fail_msg("%s(%x) at %#lx, CR2 %#lx", x86_exception_name(t.vector), t.error,
                 (unsigned long)t.frame.rip, (unsigned long)t.cr2);
    return s->v[0]->state->gpr[RAX];
}

static void *kick(void *vcpu)
{
    const struct timespec while_it_runs = {.tv_nsec = 50 * 1000 * 1000};

    nanosleep(&while_it_runs, NULL);
    vcpu_kick(vcpu);
    return NULL;
}

void hot_kicked(struct smp *s)
{
    struct vcpu_exit exit;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, kick, s->v[0]), 0);
    must(vcpu_run(s->v[0], &exit), "vcpu_run");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(exit.reason, VCPU_EXIT_NONE);
    must(vcpu_get(s->v[0], X86_GPRS), "vcpu_get");
}

void hot_set_frame(struct smp *s, const struct hot_frame *frame)
{
    memcpy(s->ram + FRAME, frame, sizeof(*frame));
}

uint64_t hot_gpr(struct smp *s, unsigned reg)
{
    must(vcpu_get(s->v[0], X86_GPRS), "vcpu_get");
    return s->v[0]->state->gpr[reg];
}

void hot_set_gpr(struct smp *s, unsigned reg, uint64_t value)
{
    must(vcpu_get(s->v[0], X86_GPRS), "vcpu_get");
    s->v[0]->state->gpr[reg] = value;
    must(vcpu_set(s->v[0], X86_GPRS), "vcpu_set");
}

void hot_set_cr4(struct smp *s, uint64_t clear, uint64_t set)
{
    must(vcpu_get(s->v[0], X86_CRS), "vcpu_get");
    s->v[0]->state->cr4 = (s->v[0]->state->cr4 & ~clear) | set;
    must(vcpu_set(s->v[0], X86_CRS), "vcpu_set");
}

void hot_flush(struct smp *s)
{
    hot_set_cr4(s, 0, 0);
}
