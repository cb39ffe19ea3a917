/*
 * An accelerator as an engine, through the seam. The guest is one address
 * space: the rows' code, data and stack at the addresses they have in this
 * process and backed by the same host pages, and a tiny ring-0 kernel whose
 * 256 exception handlers are a HLT each.
 */
#include "row.h"

#include "accel/accel.h"
#include "accel/kvm/kvm.h"
#include "base/bits.h"
#include "base/err.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Offsets in the kernel's slot */
enum {
    K_PML4 = 0x0000,
    K_PDPT = 0x1000,
    K_PD0 = 0x2000,
    K_PD1 = 0x3000,
    K_PT_CODE = 0x4000,
    K_PT_DATA = 0x5000,
    K_PT_STACK = 0x6000,
    K_PT_KERNEL = 0x7000,
    K_IDT = 0x8000,
    K_GDT = 0x9000,
    K_TSS = 0xa000,
    K_STUBS = 0xb000, /* 16 bytes each */
    K_STACK_TOP = 0xe000,
    K_SIZE = 0x10000,
};

#define PTE_P  UINT64_C(1)
#define PTE_W  UINT64_C(2)
#define PTE_U  UINT64_C(4)
#define PTE_NX (UINT64_C(1) << 63)

static struct machine *machine;
static struct vcpu *vcpu;
static bool rescues;
static bool keep_tlb;
static atomic_bool stopped;
static struct x86_cpuid cpuid_table;
static uint8_t *kernel;

static void put(unsigned table, unsigned index, uint64_t entry)
{
    le64_put(kernel + table + 8 * index, entry);
}

static void map_pages(unsigned table, uint64_t linear, uint64_t size, uint64_t bits)
{
    for (uint64_t off = 0; off < size; off += 4096)
        put(table, (unsigned)((linear + off) >> 12 & 511), (linear + off) | PTE_P | bits);
}

static size_t text_pages(void)
{
    return ((size_t)(row_text_end - row_text_start) + 4095) & ~(size_t)4095;
}

static void build_paging(void)
{
    uint64_t link = PTE_P | PTE_W | PTE_U;

    put(K_PML4, 0, (ROW_KERNEL + K_PDPT) | link);
    put(K_PDPT, 0, (ROW_KERNEL + K_PD0) | link);
    put(K_PDPT, 1, (ROW_KERNEL + K_PD1) | link);
    put(K_PD0, ROW_CODE >> 21, (ROW_KERNEL + K_PT_CODE) | link);
    put(K_PD0, ROW_DATA >> 21, (ROW_KERNEL + K_PT_DATA) | link);
    put(K_PD0, ROW_STACK >> 21, (ROW_KERNEL + K_PT_STACK) | link);
    put(K_PD1, 0, (ROW_KERNEL + K_PT_KERNEL) | link);
    map_pages(K_PT_CODE, ROW_CODE, text_pages(), PTE_W | PTE_U);
    map_pages(K_PT_DATA, ROW_DATA, ROW_DATA_RW, PTE_W | PTE_U | PTE_NX);
    map_pages(K_PT_DATA, ROW_RO, 4096, PTE_U | PTE_NX);
    map_pages(K_PT_STACK, ROW_STACK, ROW_STACK_SIZE, PTE_W | PTE_U | PTE_NX);
    map_pages(K_PT_KERNEL, ROW_KERNEL, K_SIZE, PTE_W);
}

/* Selectors as under Linux, since LAR, LSL and far transfers show them. */
static void build_tables(void)
{
    static const uint64_t gdt[] = {
        0,
        UINT64_C(0x00cf9b000000ffff), /* 08 kernel, 32-bit code */
        UINT64_C(0x00af9b000000ffff), /* 10 kernel, 64-bit code */
        UINT64_C(0x00cf93000000ffff), /* 18 kernel, data */
        UINT64_C(0x00cffb000000ffff), /* 20 user, 32-bit code */
        UINT64_C(0x00cff3000000ffff), /* 28 user, data */
        UINT64_C(0x00affb000000ffff), /* 30 user, 64-bit code */
        0,
        /* 40 TSS, two entries */
        UINT64_C(0x40008b0000000067) | ((uint64_t)((ROW_KERNEL + K_TSS) & 0xffffff) << 16),
        0,
    };
    uint64_t stub = ROW_KERNEL + K_STUBS;

    memcpy(kernel + K_GDT, gdt, sizeof(gdt));
    le64_put(kernel + K_TSS + 4, ROW_KERNEL + K_STACK_TOP);
    le16_put(kernel + K_TSS + 102, 0x68); /* no I/O bitmap */
    for (unsigned v = 0; v < 256; v++, stub += 16) {
        uint64_t dpl = v == 3 || v == 4 ? 0x60 : 0;
        put(K_IDT, 2 * v,
            (stub & 0xffff) | 0x10 << 16 | (0x8e | dpl) << 40 | (stub >> 16 & 0xffff) << 48);
        put(K_IDT, 2 * v + 1, stub >> 32);
        kernel[K_STUBS + 16 * v] = 0xf4; /* hlt */
    }
}

static struct mote_seg seg_make(uint16_t selector, uint32_t attrib)
{
    return (struct mote_seg){.limit = 0xffffffff, .attrib = attrib, .selector = selector};
}

static void build_state(struct mote_state *s)
{
    uint32_t data = SEG_P | SEG_S | SEG_TYPE_RW | SEG_TYPE_A | SEG_DB | SEG_G | SEG_DPL;

    s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    s->cr3 = ROW_KERNEL + K_PML4;
    s->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
    s->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    s->msr.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    s->seg[SEG_CS] = seg_make(0x33, SEG_P | SEG_S | SEG_TYPE_CODE | SEG_TYPE_RW | SEG_TYPE_A |
                                        SEG_L | SEG_G | SEG_DPL);
    s->seg[SEG_SS] = seg_make(0x2b, data);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        if (i != SEG_CS && i != SEG_SS)
            s->seg[i] = (struct mote_seg){.attrib = SEG_UNUSABLE};
    s->seg[SEG_LDTR] = (struct mote_seg){.attrib = SEG_UNUSABLE | 2};
    s->seg[SEG_TR] = (struct mote_seg){
        .base = ROW_KERNEL + K_TSS, .limit = 0x67, .attrib = SEG_P | 11, .selector = 0x40};
    s->gdtr = (struct mote_table){.base = ROW_KERNEL + K_GDT, .limit = 0x4f};
    s->idtr = (struct mote_table){.base = ROW_KERNEL + K_IDT, .limit = 0xfff};
    memset(&s->intr, 0, sizeof(s->intr));
}

static void state_load(struct mote_state *s, const struct row_cpu *in)
{
    build_state(s);
    memcpy(s->gpr, in->gpr, sizeof(s->gpr));
    s->rip = in->rip;
    s->rflags = in->rflags;
    s->seg[SEG_FS].base = in->fs_base;
    s->seg[SEG_GS].base = in->gs_base;
    memset(s->xsave, 0, sizeof(s->xsave));
    memcpy(s->xsave, in->x87, 160);
    le32_put(s->xsave + 24, in->mxcsr);
    le32_put(s->xsave + 28, 0xffff);
    le64_put(s->xsave + 512, XCR0_X87 | XCR0_SSE | XCR0_AVX);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(s->xsave + 160 + 16 * i, in->ymm[i], 16);
        memcpy(s->xsave + 576 + 16 * i, in->ymm[i] + 16, 16);
    }
}

/* The row's state out of the registers and the exception frame. */
static int state_save(const struct mote_state *s, struct row_cpu *out)
{
    const uint8_t *frame;

    out->vector = (uint32_t)((s->rip - (ROW_KERNEL + K_STUBS)) / 16);
    if (out->vector > 255 || s->gpr[RSP] < ROW_KERNEL || s->gpr[RSP] >= ROW_KERNEL + K_STACK_TOP)
        return -EPROTO;
    frame = kernel + (s->gpr[RSP] - ROW_KERNEL);
    out->error = 0;
    if (x86_exception_has_error(out->vector)) {
        out->error = (uint32_t)le64_get(frame);
        frame += 8;
    }
    memcpy(out->gpr, s->gpr, sizeof(out->gpr));
    out->rip = le64_get(frame);
    out->cs = (uint16_t)le64_get(frame + 8);
    out->rflags = le64_get(frame + 16);
    out->gpr[RSP] = le64_get(frame + 24);
    out->ss = (uint16_t)le64_get(frame + 32);
    out->cr2 = s->cr2;
    out->fs_base = s->seg[SEG_FS].base;
    out->gs_base = s->seg[SEG_GS].base;
    memcpy(out->x87, s->xsave, 160);
    memset(out->x87 + 24, 0, 8);
    out->mxcsr = le32_get(s->xsave + 24);
    uint64_t bv = le64_get(s->xsave + 512);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(out->ymm[i], s->xsave + 160 + 16 * i, 16);
        if (bv & XCR0_AVX)
            memcpy(out->ymm[i] + 16, s->xsave + 576 + 16 * i, 16);
        else
            memset(out->ymm[i] + 16, 0, 16);
    }
    return 0;
}

/* One instruction after the other by the interpreter, the state of each through KVM. */
static int rescue_all(struct vcpu_exit *exit)
{
    int done;

    do
        done = kvm_rescue(kvm_vcpu(vcpu), exit);
    while (done > 0);
    return done;
}

void engine_keep_tlb(bool keep)
{
    keep_tlb = keep;
}

int engine_run(const struct row_cpu *in, struct row_cpu *out)
{
    const unsigned groups = X86_GPRS | X86_SEGS | X86_CRS | X86_FPU | X86_INTR;
    struct vcpu_exit exit;
    int err;

    stopped = false;
    state_load(vcpu->state, in);
    err = vcpu_set(vcpu, keep_tlb ? groups & ~(unsigned)X86_CRS : groups | X86_MSRS);
    do {
        if (!err)
            err = rescues ? rescue_all(&exit) : vcpu_run(vcpu, &exit);
    } while (!err && exit.reason == VCPU_EXIT_NONE && !stopped);
    if (err)
        return err;
    if (exit.reason == VCPU_EXIT_NONE)
        return -ETIMEDOUT;
    if (exit.reason != VCPU_EXIT_HALT) {
        vcpu_get(vcpu, X86_GPRS);
        printf("    exit '%s' instead of the handler's HLT, rip %#llx\n",
               vcpu_exit_name(exit.reason), (unsigned long long)vcpu->state->rip);
        return -EPROTO;
    }
    err = vcpu_get(vcpu, groups);
    return err ? err : state_save(vcpu->state, out);
}

bool engine_has(uint32_t need)
{
    uint32_t regs[4];

    if (!need)
        return true;
    x86_cpuid_query(&cpuid_table, (need & 0x80000000) | (need >> 16 & 0xff), need >> 25 & 1, regs);
    return regs[need >> 8 & 3] >> (need & 31) & 1;
}

void engine_text_written(uint32_t linear, size_t len)
{
    guest_mem_written(&machine->mem, GPA(linear), len);
}

void engine_text_restored(void)
{
    engine_text_written(ROW_CODE, text_pages());
}

void engine_kick(void)
{
    vcpu_kick(vcpu);
}

void engine_stop(void)
{
    stopped = true;
    engine_kick();
}

/*
 * Rows need SSE3 to SSE4.2 and XSETBV unasked. Ring 3 has them even if this KVM
 * does not offer them; the interpreter goes by the table.
 */
static void offer_sse(void)
{
    struct x86_cpuid *table = &kvm_vcpu(vcpu)->cpuid;

    x86_cpuid_find(table, 1, 0)->ecx |= 1u << 0 | 1u << 9 | 1u << 19 | 1u << 20 | 1u << 26;
    kvm_rescue_set_cpuid(kvm_vcpu(vcpu));
}

static int engine_start(const struct accel *accel, enum accel_engine engine)
{
    struct machine_config cfg = {.vcpus = 1, .engine = engine};
    struct x86_cpuid_topology topology = {.vcpus = 1};
    int err;

    if ((err = machine_create(&machine, accel, &cfg)) ||
        (err = machine_map(machine, GPA(ROW_CODE), text_pages(), row_text_start, MEM_RWX)) ||
        (err = machine_map(machine, GPA(ROW_DATA), ROW_DATA_SIZE, (void *)(uintptr_t)ROW_DATA,
                           MEM_RWX)) ||
        (err = machine_map(machine, GPA(ROW_STACK), ROW_STACK_SIZE, (void *)(uintptr_t)ROW_STACK,
                           MEM_RWX)) ||
        (err = machine_map(machine, GPA(ROW_KERNEL), K_SIZE, kernel, MEM_RWX)) ||
        (err = vcpu_create(&vcpu, machine, 0)) ||
        (err = machine_default_cpuid(machine, &topology, &cpuid_table)) ||
        (err = vcpu_set_cpuid(vcpu, &cpuid_table)))
        return err;
    if (rescues)
        offer_sse();
    return vcpu_get(vcpu, X86_ALL);
}

int engine_init(const char *name, char *why, size_t size)
{
    bool interprets = !strcmp(name, "interp");
    const struct accel *accel = accel_find(interprets                ? "soft"
                                           : !strcmp(name, "rescue") ? "kvm"
                                                                     : name);
    struct accel_info info = {0};

    if (!accel) {
        snprintf(why, size, "there is no accelerator '%s'", name);
        return -ENODEV;
    }
    accel->probe(NULL, &info);
    if (!info.usable) {
        snprintf(why, size, "%s: %s", name, info.reason);
        return -ENODEV;
    }
    rescues = !strcmp(name, "rescue");
    kernel = mmap(NULL, K_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (kernel == MAP_FAILED)
        return -errno;
    build_paging();
    build_tables();
    if (engine_start(accel, interprets ? ACCEL_ENGINE_INTERPRET : ACCEL_ENGINE_BEST)) {
        fprintf(stderr, "guest-table: %s: %s\n", name, err_text());
        exit(1);
    }
    return 0;
}

void engine_exit(void)
{
    vcpu_destroy(vcpu);
    machine_destroy(machine);
    munmap(kernel, K_SIZE);
}
