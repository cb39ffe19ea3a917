/*
 * A small 64-bit guest for the tests of libnvmm: 64 KByte of memory at 0, mapped as it is for the
 * guest's addresses below 2 MByte, so that the rest of those has no memory behind it.
 *
 * Such programs are told the accelerator as their argument; one that is not usable is skipped.
 */
#ifndef TESTS_NVMM_GUEST_H
#define TESTS_NVMM_GUEST_H

#include <err.h>
#include <nvmm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SKIPPED 77 /* for meson */

#define RAM   0x10000
#define CODE  0x2000
#define PML4  0x3000
#define PDPT  0x4000
#define PD    0x5000
#define PT    0x6000
#define IDT   0x7000
#define GDT   0x8000
#define STACK 0xa000
#define DATA  0xb000
#define MMIO  0x20000 /* nothing is there */

#define CHECK(what)                                                                                \
    do {                                                                                           \
        checks++;                                                                                  \
        if (!(what)) {                                                                             \
            failed++;                                                                              \
            printf("%s:%d: not true: %s (errno %d)\n", __FILE__, __LINE__, #what, errno);          \
        }                                                                                          \
    } while (0)

static int checks, failed;

struct guest {
    struct nvmm_machine mach;
    struct nvmm_vcpu vcpu;
    uint8_t *ram;
};

static inline void nvmm_start(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1)
        setenv("NVMM_ACCEL", argv[1], 1);
    if (nvmm_init() == -1) {
        printf("SKIP: the accelerator \"%s\" is not usable here: %s\n", argc > 1 ? argv[1] : "auto",
               strerror(errno));
        exit(SKIPPED);
    }
}

static inline int report(void)
{
    printf("%d checks, %d failed\n", checks, failed);
    return failed != 0;
}

static inline void guest_tables(uint8_t *ram)
{
    uint64_t *gdt = (uint64_t *)(ram + GDT);

    *(uint64_t *)(ram + PML4) = PDPT | 7;
    *(uint64_t *)(ram + PDPT) = PD | 7;
    *(uint64_t *)(ram + PD) = PT | 7;
    for (uint64_t i = 0; i < 512; i++)
        ((uint64_t *)(ram + PT))[i] = i << 12 | 7;
    gdt[1] = 0x00af9b000000ffff;
    gdt[2] = 0x00cf93000000ffff;
}

/* An interrupt gate. */
static inline void guest_gate(struct guest *g, unsigned vector, uint64_t handler)
{
    uint64_t *gate = (uint64_t *)(g->ram + IDT) + vector * 2;

    gate[0] = (handler & 0xffff) | 1 << 3 << 16 | 0x8eULL << 40 | (handler >> 16 & 0xffff) << 48;
    gate[1] = handler >> 32;
}

static inline void guest_segment(struct nvmm_x64_state_seg *s, unsigned selector, unsigned type)
{
    memset(s, 0, sizeof(*s));
    s->selector = (uint16_t)selector;
    s->attrib.type = type & 15;
    s->attrib.s = 1;
    s->attrib.p = 1;
    s->attrib.g = 1;
    s->attrib.l = type == 11;
    s->attrib.def = type != 11;
    s->limit = 0xffffffff;
}

/* 64-bit mode, ring 0, interrupts off, at CODE. */
static inline void guest_reset(struct guest *g)
{
    struct nvmm_x64_state *s = g->vcpu.state;

    if (nvmm_vcpu_getstate(&g->mach, &g->vcpu, NVMM_X64_STATE_ALL) == -1)
        err(1, "nvmm_vcpu_getstate");
    memset(s->gprs, 0, sizeof(s->gprs));
    s->gprs[NVMM_X64_GPR_RIP] = CODE;
    s->gprs[NVMM_X64_GPR_RSP] = STACK;
    s->gprs[NVMM_X64_GPR_RFLAGS] = 2;
    for (unsigned i = NVMM_X64_SEG_ES; i <= NVMM_X64_SEG_GS; i++)
        guest_segment(&s->segs[i], 0x10, 3);
    guest_segment(&s->segs[NVMM_X64_SEG_CS], 0x08, 11);
    memset(&s->segs[NVMM_X64_SEG_LDT], 0, sizeof(s->segs[0]));
    memset(&s->segs[NVMM_X64_SEG_TR], 0, sizeof(s->segs[0]));
    s->segs[NVMM_X64_SEG_TR].attrib.type = 11;
    s->segs[NVMM_X64_SEG_TR].attrib.p = 1;
    s->segs[NVMM_X64_SEG_TR].limit = 0x67;
    s->segs[NVMM_X64_SEG_GDT].base = GDT;
    s->segs[NVMM_X64_SEG_GDT].limit = 23;
    s->segs[NVMM_X64_SEG_IDT].base = IDT;
    s->segs[NVMM_X64_SEG_IDT].limit = 0xfff;
    s->crs[NVMM_X64_CR_CR0] = 0x80010033; /* PG, WP, NE, ET, MP, PE */
    s->crs[NVMM_X64_CR_CR3] = PML4;
    s->crs[NVMM_X64_CR_CR4] = 0x620; /* OSXMMEXCPT, OSFXSR, PAE */
    s->crs[NVMM_X64_CR_CR8] = 0;
    s->msrs[NVMM_X64_MSR_EFER] = 0xd01; /* NXE, LMA, LME, SCE */
    memset(&s->intr, 0, sizeof(s->intr));
    if (nvmm_vcpu_setstate(&g->mach, &g->vcpu, NVMM_X64_STATE_ALL) == -1)
        err(1, "nvmm_vcpu_setstate");
}

static inline void guest_create(struct guest *g)
{
    if (nvmm_machine_create(&g->mach) == -1)
        err(1, "nvmm_machine_create");
    if (nvmm_vcpu_create(&g->mach, 0, &g->vcpu) == -1)
        err(1, "nvmm_vcpu_create");
    g->ram = mmap(NULL, RAM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->ram == MAP_FAILED)
        err(1, "mmap");
    if (nvmm_hva_map(&g->mach, (uintptr_t)g->ram, RAM) == -1)
        err(1, "nvmm_hva_map");
    if (nvmm_gpa_map(&g->mach, (uintptr_t)g->ram, 0, RAM, PROT_READ | PROT_WRITE | PROT_EXEC) == -1)
        err(1, "nvmm_gpa_map");
    guest_tables(g->ram);
    guest_reset(g);
}

static inline void guest_destroy(struct guest *g)
{
    if (nvmm_machine_destroy(&g->mach) == -1)
        err(1, "nvmm_machine_destroy");
    munmap(g->ram, RAM);
}

/* Begin with these instructions. */
#define GUEST_CODE(g, name)                                                                        \
    do {                                                                                           \
        extern const uint8_t name##_begin[], name##_end[];                                         \
        guest_reset(g);                                                                            \
        memcpy((g)->ram + CODE, name##_begin, (size_t)(name##_end - name##_begin));                \
    } while (0)

/* To be written at file scope. */
#define GUEST_INSNS(name, insns)                                                                   \
    __asm__(".pushsection .rodata\n" #name "_begin:\n" insns "\n" #name "_end:\n.popsection")

/* Run until an exit that is none of NONE. */
static inline uint64_t guest_run(struct guest *g)
{
    do {
        if (nvmm_vcpu_run(&g->mach, &g->vcpu) == -1)
            err(1, "nvmm_vcpu_run");
    } while (g->vcpu.exit->reason == NVMM_VCPU_EXIT_NONE);
    return g->vcpu.exit->reason;
}

static inline uint64_t guest_gpr(struct guest *g, unsigned gpr)
{
    if (nvmm_vcpu_getstate(&g->mach, &g->vcpu, NVMM_X64_STATE_GPRS) == -1)
        err(1, "nvmm_vcpu_getstate");
    return g->vcpu.state->gprs[gpr];
}

static inline void guest_set_gpr(struct guest *g, unsigned gpr, uint64_t value)
{
    guest_gpr(g, gpr);
    g->vcpu.state->gprs[gpr] = value;
    nvmm_vcpu_setstate(&g->mach, &g->vcpu, NVMM_X64_STATE_GPRS);
}

#endif
