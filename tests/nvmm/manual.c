/* Every function and exit of libnvmm(3), as a program meets them that was written from its page. */
#include "guest.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define PORT   0x7b
#define VECTOR 0x40

#define FAILS(call, error) CHECK((errno = 0, (call) == -1) && errno == (error))

static bool is_kvm;

/* ---- machines and vCPUs ---- */

static void test_capability(void)
{
    struct nvmm_capability cap;

    CHECK(nvmm_init() == 0);
    CHECK(nvmm_capability(&cap) == 0);
    CHECK(cap.version == NVMM_KERN_VERSION && cap.version == NVMM_USER_VERSION);
    CHECK(cap.state_size == sizeof(struct nvmm_x64_state));
    CHECK(cap.max_machines >= 16 && cap.max_vcpus >= 16 && cap.max_ram >= 1ULL << 32);
    CHECK(cap.arch.xcr0_mask & 1);
    CHECK((cap.arch.mxcsr_mask & 0xffbf) == 0xffbf);
    CHECK(cap.arch.vcpu_conf_support & NVMM_CAP_ARCH_VCPU_CONF_CPUID);
    CHECK(cap.arch.conf_cpuid_maxops >= 8);
}

static void test_life(struct guest *g)
{
    struct nvmm_machine ghost = {.machid = 100}, other;
    struct nvmm_vcpu none = {.cpuid = 7}, second;
    struct nvmm_ctl_mach_info info = {.machid = g->mach.machid};

    FAILS(nvmm_machine_destroy(&ghost), ENOENT);
    FAILS(nvmm_vcpu_create(&ghost, 0, &second), ENOENT);
    FAILS(nvmm_vcpu_create(&g->mach, 0, &second), EEXIST);
    FAILS(nvmm_vcpu_create(&g->mach, 100000, &second), EINVAL);
    FAILS(nvmm_vcpu_run(&g->mach, &none), ENOENT);
    FAILS(nvmm_vcpu_getstate(&g->mach, &none, NVMM_X64_STATE_ALL), ENOENT);
    FAILS(nvmm_machine_configure(&g->mach, NVMM_MACH_CONF_MD_BEGIN, &second), EINVAL);
    FAILS(nvmm_vcpu_configure(&g->mach, &g->vcpu, 12345, &second), EINVAL);

    CHECK(nvmm_vcpu_create(&g->mach, 1, &second) == 0);
    CHECK(second.cpuid == 1 && second.state != g->vcpu.state);
    CHECK(nvmm_ctl(NVMM_CTL_MACH_INFO, &info, sizeof(info)) == 0);
    CHECK(info.nvcpus == 2 && info.nram == RAM && info.pid == getpid());
    CHECK(nvmm_vcpu_destroy(&g->mach, &second) == 0);
    FAILS(nvmm_vcpu_destroy(&g->mach, &second), ENOENT);

    CHECK(nvmm_machine_create(&other) == 0);
    CHECK(other.machid != g->mach.machid);
    CHECK(nvmm_vcpu_create(&other, 0, &second) == 0);
    CHECK(nvmm_vcpu_getstate(&other, &second, NVMM_X64_STATE_GPRS | NVMM_X64_STATE_SEGS) == 0);
    CHECK(second.state->gprs[NVMM_X64_GPR_RIP] == 0xfff0);
    CHECK(second.state->segs[NVMM_X64_SEG_CS].base == 0xffff0000);
    CHECK(second.state->segs[NVMM_X64_SEG_CS].attrib.p == 1);
    CHECK(nvmm_machine_destroy(&other) == 0);
    FAILS(nvmm_machine_destroy(&other), ENOENT);
}

/* ---- memory ---- */

static void test_memory(struct guest *g)
{
    uintptr_t hva;
    nvmm_prot_t prot;
    gpaddr_t gpa;
    uint8_t *more = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(more != MAP_FAILED);
    FAILS(nvmm_hva_map(&g->mach, (uintptr_t)more + 1, 8192), EINVAL);
    FAILS(nvmm_gpa_map(&g->mach, (uintptr_t)more, 0x30000, 4096, PROT_READ), EINVAL);
    CHECK(nvmm_hva_map(&g->mach, (uintptr_t)more, 8192) == 0);
    FAILS(nvmm_hva_map(&g->mach, (uintptr_t)more, 4096), EEXIST);
    FAILS(nvmm_gpa_map(&g->mach, (uintptr_t)more, 0x30001, 4096, PROT_READ), EINVAL);
    FAILS(nvmm_gpa_map(&g->mach, (uintptr_t)more, 0x1000, 4096, PROT_READ), EINVAL);
    FAILS(nvmm_gpa_map(&g->mach, (uintptr_t)more, 0x30000, 4096, 0x100), EINVAL);
    CHECK(nvmm_gpa_map(&g->mach, (uintptr_t)more, 0x30000, 8192, PROT_READ | PROT_EXEC) == 0);
    CHECK(nvmm_gpa_to_hva(&g->mach, 0x31000, &hva, &prot) == 0);
    CHECK(hva == (uintptr_t)more + 4096 && prot & NVMM_PROT_READ && !(prot & NVMM_PROT_WRITE));
    FAILS(nvmm_gpa_to_hva(&g->mach, 0x31001, &hva, &prot), EINVAL);
    FAILS(nvmm_gpa_to_hva(&g->mach, 0x32000, &hva, &prot), ENOENT);
    FAILS(nvmm_gpa_unmap(&g->mach, (uintptr_t)more + 4096, 0x30000, 8192), ENOENT);
    CHECK(nvmm_gpa_unmap(&g->mach, (uintptr_t)more, 0x30000, 8192) == 0);
    FAILS(nvmm_gpa_unmap(&g->mach, (uintptr_t)more, 0x30000, 8192), ENOENT);
    FAILS(nvmm_gpa_to_hva(&g->mach, 0x31000, &hva, &prot), ENOENT);
    CHECK(nvmm_hva_unmap(&g->mach, (uintptr_t)more, 8192) == 0);
    FAILS(nvmm_hva_unmap(&g->mach, (uintptr_t)more, 8192), ENOENT);
    munmap(more, 8192);

    guest_reset(g);
    ((uint64_t *)(g->ram + PT))[0x100] = 0x5000 | 1 | 1ULL << 63;
    CHECK(nvmm_gva_to_gpa(&g->mach, &g->vcpu, 0x1000, &gpa, &prot) == 0);
    CHECK(gpa == 0x1000 && prot == NVMM_PROT_ALL);
    CHECK(nvmm_gva_to_gpa(&g->mach, &g->vcpu, 0x100000, &gpa, &prot) == 0);
    CHECK(gpa == 0x5000 && prot == NVMM_PROT_READ);
    FAILS(nvmm_gva_to_gpa(&g->mach, &g->vcpu, 0x40000000, &gpa, &prot), EFAULT);
    FAILS(nvmm_gva_to_gpa(&g->mach, &g->vcpu, 1ULL << 50, &gpa, &prot), EFAULT);
    FAILS(nvmm_gva_to_gpa(&g->mach, &g->vcpu, 0x1001, &gpa, &prot), EINVAL);
    g->vcpu.state->crs[NVMM_X64_CR_CR0] &= ~(1ULL << 31);
    CHECK(nvmm_vcpu_setstate(&g->mach, &g->vcpu, NVMM_X64_STATE_CRS) == 0);
    CHECK(nvmm_gva_to_gpa(&g->mach, &g->vcpu, 0x40000000, &gpa, &prot) == 0 && gpa == 0x40000000);
    guest_reset(g);
    guest_tables(g->ram);
}

/* ---- state ---- */

GUEST_INSNS(halt, "hlt");
GUEST_INSNS(change, "mov $0x1234, %eax\n mov %rax, %dr0\n movq %rax, %xmm7\n fld1\n"
                    "mov $0xc0000102, %ecx\n xor %edx, %edx\n wrmsr\n mov %rax, %cr2\n"
                    "mov $0x18, %ecx\n hlt");

static void test_state(struct guest *g)
{
    struct nvmm_x64_state *s = g->vcpu.state;
    struct nvmm_x64_state want;

    GUEST_CODE(g, halt);
    for (unsigned i = NVMM_X64_GPR_R8; i <= NVMM_X64_GPR_R15; i++)
        s->gprs[i] = 0x1111111111111111u * i;
    for (unsigned i = NVMM_X64_DR_DR0; i <= NVMM_X64_DR_DR3; i++)
        s->drs[i] = 0x1000 * i;
    s->msrs[NVMM_X64_MSR_STAR] = 0x0010000800000000;
    s->msrs[NVMM_X64_MSR_LSTAR] = 0x123000;
    s->msrs[NVMM_X64_MSR_CSTAR] = 0x124000;
    s->msrs[NVMM_X64_MSR_SFMASK] = 0x200;
    s->msrs[NVMM_X64_MSR_KERNELGSBASE] = 0x125000;
    s->msrs[NVMM_X64_MSR_SYSENTER_CS] = 8;
    s->msrs[NVMM_X64_MSR_SYSENTER_ESP] = 0x126000;
    s->msrs[NVMM_X64_MSR_SYSENTER_EIP] = 0x127000;
    s->segs[NVMM_X64_SEG_FS].base = 0x128000;
    s->crs[NVMM_X64_CR_CR2] = 0x129000;
    s->crs[NVMM_X64_CR_CR8] = 5;
    s->fpu.fx_cw = 0x27f;
    s->fpu.fx_mxcsr = 0x1fa0;
    s->fpu.fx_tw = 0x80;
    s->fpu.fx_87_ac[0].r.f87_mantissa = 1ULL << 63;
    s->fpu.fx_87_ac[0].r.f87_exp_sign = 0x3fff;
    for (unsigned i = 0; i < 16; i++)
        memset(s->fpu.fx_xmm[i].xmm_bytes, (int)(i + 1), 16);
    want = *s;
    CHECK(nvmm_vcpu_setstate(&g->mach, &g->vcpu, NVMM_X64_STATE_ALL) == 0);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED);
    memset(s, 0xaa, sizeof(*s)); /* what a get does not fill would show */
    CHECK(nvmm_vcpu_getstate(&g->mach, &g->vcpu, NVMM_X64_STATE_ALL) == 0);
    CHECK(s->gprs[NVMM_X64_GPR_RIP] == CODE + 1);
    s->gprs[NVMM_X64_GPR_RIP]--;
    CHECK(!memcmp(s->gprs, want.gprs, sizeof(s->gprs)));
    CHECK(!memcmp(s->drs, want.drs, 4 * sizeof(s->drs[0])));
    CHECK(!memcmp(s->msrs, want.msrs, NVMM_X64_MSR_TSC * sizeof(s->msrs[0])));
    CHECK(!memcmp(s->crs, want.crs, sizeof(s->crs)));
    CHECK(!memcmp(s->fpu.fx_xmm, want.fpu.fx_xmm, sizeof(s->fpu.fx_xmm)));
    CHECK(s->fpu.fx_cw == 0x27f && s->fpu.fx_mxcsr == 0x1fa0 && s->fpu.fx_tw == 0x80);
    CHECK(!memcmp(&s->fpu.fx_87_ac[0].r, &want.fpu.fx_87_ac[0].r, 10));
    CHECK(s->segs[NVMM_X64_SEG_FS].base == 0x128000 && s->segs[NVMM_X64_SEG_FS].attrib.p);
    CHECK(s->segs[NVMM_X64_SEG_CS].attrib.l && !s->segs[NVMM_X64_SEG_CS].attrib.def);
    CHECK(s->segs[NVMM_X64_SEG_GDT].base == GDT && s->segs[NVMM_X64_SEG_IDT].limit == 0xfff);
    CHECK(!s->segs[NVMM_X64_SEG_LDT].attrib.p);

    GUEST_CODE(g, change);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED);
    CHECK(nvmm_vcpu_getstate(&g->mach, &g->vcpu, NVMM_X64_STATE_ALL) == 0);
    CHECK(s->drs[NVMM_X64_DR_DR0] == 0x1234 && s->crs[NVMM_X64_CR_CR2] == 0x1234);
    CHECK(s->msrs[NVMM_X64_MSR_KERNELGSBASE] == 0x1234);
    CHECK(s->fpu.fx_xmm[7].xmm_bytes[0] == 0x34 && s->fpu.fx_xmm[7].xmm_bytes[1] == 0x12);
    CHECK(s->gprs[NVMM_X64_GPR_RCX] == 0x18);
    CHECK(nvmm_vcpu_dump(&g->mach, &g->vcpu) == 0);
}

/* ---- devices ---- */

static struct guest *in_callback; /* callbacks try what they may do */
static unsigned calls;
static uint64_t seen_rip, seen_data;

static void on_io(struct nvmm_io *io)
{
    calls++;
    CHECK(io->port == PORT && io->mach && io->vcpu);
    if (io->in)
        memset(io->data, 0x5a, io->size);
    else
        memcpy(&seen_data, io->data, io->size);
    if (!in_callback)
        return;
    CHECK(nvmm_vcpu_getstate(io->mach, io->vcpu, NVMM_X64_STATE_ALL) == 0);
    seen_rip = io->vcpu->state->gprs[NVMM_X64_GPR_RIP];
    io->vcpu->state->gprs[NVMM_X64_GPR_RBX] = 0x77;
    CHECK(nvmm_vcpu_setstate(io->mach, io->vcpu, NVMM_X64_STATE_GPRS) == 0);
}

static void on_memory(struct nvmm_mem *mem)
{
    calls++;
    if (!mem->write)
        memset(mem->data, 0x5a, mem->size);
    else
        memcpy(&seen_data, mem->data, mem->size);
    if (!in_callback)
        return;
    CHECK(nvmm_vcpu_getstate(mem->mach, mem->vcpu, NVMM_X64_STATE_ALL) == 0);
    seen_rip = mem->vcpu->state->gprs[NVMM_X64_GPR_RIP];
}

GUEST_INSNS(ports, "mov $0x11223344, %eax\n mov $0x7b, %edx\n in %dx, %ax\n out %eax, $0x7b\n hlt");
GUEST_INSNS(device, "mov $0x20000, %ebx\n mov (%rbx), %eax\n mov %rax, 8(%rbx)\n hlt");
GUEST_INSNS(strings, "mov $0xb000, %esi\n mov $0x7b, %edx\n mov $2, %ecx\n"
                     ".byte 0x64, 0x67, 0xf3, 0x66, 0x6f\n nop\n hlt");

static void test_io(struct guest *g)
{
    const struct nvmm_vcpu_exit *e = g->vcpu.exit;

    GUEST_CODE(g, ports);
    FAILS(nvmm_assist_io(&g->mach, &g->vcpu), EINVAL);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_IO);
    CHECK(e->u.io.in && e->u.io.port == PORT && e->u.io.operand_size == 2 && !e->u.io.str);
    CHECK(e->u.io.npc == CODE + 12 && e->u.io.seg == -1 && e->u.io.address_size == 8);
    FAILS(nvmm_assist_mem(&g->mach, &g->vcpu), EINVAL);
    CHECK(nvmm_assist_io(&g->mach, &g->vcpu) == 0);
    FAILS(nvmm_assist_io(&g->mach, &g->vcpu), EINVAL);
    CHECK(guest_gpr(g, NVMM_X64_GPR_RAX) == 0x11225a5a);
    CHECK(guest_gpr(g, NVMM_X64_GPR_RIP) == CODE + 12);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_IO);
    CHECK(!e->u.io.in && e->u.io.operand_size == 4);
    CHECK(nvmm_assist_io(&g->mach, &g->vcpu) == 0 && seen_data == 0x11225a5a);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED);

    /* By hand: what the program makes of the registers counts, and rip at the next instruction. */
    GUEST_CODE(g, ports);
    calls = 0;
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_IO);
    guest_set_gpr(g, NVMM_X64_GPR_RAX, 0xabcd);
    guest_set_gpr(g, NVMM_X64_GPR_RIP, e->u.io.npc);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_IO && !e->u.io.in);
    CHECK(guest_gpr(g, NVMM_X64_GPR_RAX) == 0xabcd);
    guest_set_gpr(g, NVMM_X64_GPR_RIP, CODE + 14);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED && calls == 0);

    /* Not at all: it happens again. */
    GUEST_CODE(g, ports);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(guest_run(g) == NVMM_VCPU_EXIT_IO);
        CHECK(e->u.io.in && guest_gpr(g, NVMM_X64_GPR_RIP) == CODE + 10);
    }

    /* Callbacks get all the state of before, and set some. */
    GUEST_CODE(g, ports);
    in_callback = g;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t rip;

        CHECK(guest_run(g) == NVMM_VCPU_EXIT_IO);
        rip = guest_gpr(g, NVMM_X64_GPR_RIP);
        CHECK(nvmm_assist_io(&g->mach, &g->vcpu) == 0 && seen_rip == rip);
        CHECK(guest_gpr(g, NVMM_X64_GPR_RBX) == 0x77);
    }
    in_callback = NULL;
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED);
    CHECK(guest_gpr(g, NVMM_X64_GPR_RAX) == 0x11225a5a);

    if (is_kvm) {
        printf("SKIP: KVM exits behind OUTS, so nothing is known of its prefixes\n");
        return;
    }
    GUEST_CODE(g, strings);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_IO);
    CHECK(e->u.io.str && e->u.io.rep && e->u.io.seg == NVMM_X64_SEG_FS);
    CHECK(e->u.io.address_size == 4 && e->u.io.operand_size == 2);
}

static void test_mem(struct guest *g)
{
    const struct nvmm_vcpu_exit *e = g->vcpu.exit;

    GUEST_CODE(g, device);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_MEMORY);
    CHECK(e->u.mem.gpa == MMIO && e->u.mem.prot == PROT_READ);
    FAILS(nvmm_assist_io(&g->mach, &g->vcpu), EINVAL);
    in_callback = g;
    CHECK(nvmm_assist_mem(&g->mach, &g->vcpu) == 0 && seen_rip == CODE + 5);
    in_callback = NULL;
    CHECK(guest_gpr(g, NVMM_X64_GPR_RAX) == 0x5a5a5a5a);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_MEMORY);
    CHECK(e->u.mem.gpa == MMIO + 8 && e->u.mem.prot == PROT_WRITE);
    CHECK(nvmm_assist_mem(&g->mach, &g->vcpu) == 0 && seen_data == 0x5a5a5a5a);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED);

    /* Memory that comes when it is wanted: the instruction is executed again. */
    GUEST_CODE(g, device);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_MEMORY);
    *(uint32_t *)(g->ram + DATA) = 0xfeedface;
    CHECK(nvmm_gpa_map(&g->mach, (uintptr_t)g->ram + DATA, MMIO, 4096, PROT_READ | PROT_WRITE) ==
          0);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED);
    CHECK(guest_gpr(g, NVMM_X64_GPR_RAX) == 0xfeedface);
    CHECK(*(uint64_t *)(g->ram + DATA + 8) == 0xfeedface);
    CHECK(nvmm_gpa_unmap(&g->mach, (uintptr_t)g->ram + DATA, MMIO, 4096) == 0);
}

/*
 * A device of the program's that changes the machine: reading its memory puts RAM in its place, its
 * port takes that away again, and both make a vCPU and end it. What they stand in stays.
 */
static struct guest *moving;
static unsigned swaps;

static void try_vcpus(struct nvmm_machine *mach, struct nvmm_vcpu *vcpu)
{
    struct nvmm_vcpu second;

    FAILS(nvmm_vcpu_destroy(mach, vcpu), EBUSY);
    FAILS(nvmm_machine_destroy(mach), EBUSY);
    CHECK(nvmm_vcpu_create(mach, 1, &second) == 0);
    CHECK(nvmm_vcpu_destroy(mach, &second) == 0);
    swaps++;
}

static void map_on_memory(struct nvmm_mem *mem)
{
    on_memory(mem);
    try_vcpus(mem->mach, mem->vcpu);
    CHECK(nvmm_gpa_map(mem->mach, (uintptr_t)moving->ram + DATA, MMIO, 4096,
                       PROT_READ | PROT_WRITE) == 0);
}

static void unmap_on_io(struct nvmm_io *io)
{
    on_io(io);
    try_vcpus(io->mach, io->vcpu);
    CHECK(nvmm_gpa_unmap(io->mach, (uintptr_t)moving->ram + DATA, MMIO, 4096) == 0);
}

GUEST_INSNS(move, "mov $0x20000, %ebx\n mov $0x7b, %edx\n"
                  "mov (%rbx), %r8d\n mov (%rbx), %r9d\n in %dx, %al\n"
                  "mov (%rbx), %r10d\n mov (%rbx), %r11d\n out %al, %dx\n"
                  "mov (%rbx), %r12d\n mov %ebx, %esi\n outsb\n"
                  "mov (%rbx), %r13d\n mov (%rbx), %r14d\n hlt");

static void test_moving(struct guest *g)
{
    struct nvmm_assist_callbacks cbs = {.io = unmap_on_io, .mem = map_on_memory};
    const struct nvmm_assist_callbacks before = g->vcpu.cbs;
    uint64_t reason;

    moving = g;
    swaps = 0;
    CHECK(nvmm_vcpu_configure(&g->mach, &g->vcpu, NVMM_VCPU_CONF_CALLBACKS, &cbs) == 0);
    memset(g->ram + DATA, 0x11, 8);
    GUEST_CODE(g, move);
    while ((reason = guest_run(g)) != NVMM_VCPU_EXIT_HALTED) {
        if (reason == NVMM_VCPU_EXIT_IO)
            CHECK(nvmm_assist_io(&g->mach, &g->vcpu) == 0);
        else if (reason == NVMM_VCPU_EXIT_MEMORY)
            CHECK(nvmm_assist_mem(&g->mach, &g->vcpu) == 0);
        else
            errx(1, "exit 0x%llx", (unsigned long long)reason);
    }
    CHECK(guest_gpr(g, NVMM_X64_GPR_R8) == 0x5a5a5a5a);
    CHECK(guest_gpr(g, NVMM_X64_GPR_R9) == 0x11111111);
    CHECK(guest_gpr(g, NVMM_X64_GPR_R10) == 0x5a5a5a5a);
    CHECK(guest_gpr(g, NVMM_X64_GPR_R11) == 0x11111111);
    CHECK(guest_gpr(g, NVMM_X64_GPR_R12) == 0x5a5a5a5a);
    CHECK(guest_gpr(g, NVMM_X64_GPR_R13) == 0x5a5a5a5a);
    CHECK(guest_gpr(g, NVMM_X64_GPR_R14) == 0x11111111);
    CHECK(swaps == 7);
    CHECK(nvmm_gpa_unmap(&g->mach, (uintptr_t)g->ram + DATA, MMIO, 4096) == 0);
    cbs = before;
    CHECK(nvmm_vcpu_configure(&g->mach, &g->vcpu, NVMM_VCPU_CONF_CALLBACKS, &cbs) == 0);
}

/* ---- MSRs, CPUID ---- */

#define MSR_NONE "mov $0x4b5a0000, %ecx\n" /* nobody's */

GUEST_INSNS(msrs, MSR_NONE "mov $0x11, %eax\n mov $0x22, %edx\n wrmsr\n rdmsr\n hlt");

static void test_msr(struct guest *g)
{
    const struct nvmm_vcpu_exit *e = g->vcpu.exit;
    uint64_t reason;

    guest_gate(g, 13, CODE + 0x800);
    g->ram[CODE + 0x800] = 0xf4;
    GUEST_CODE(g, msrs);
    reason = guest_run(g);
    if (reason == NVMM_VCPU_EXIT_HALTED) {
        printf("SKIP: MSRs do not exit on this accelerator\n");
        return;
    }
    CHECK(reason == NVMM_VCPU_EXIT_WRMSR && e->u.wrmsr.msr == 0x4b5a0000);
    CHECK(e->u.wrmsr.val == 0x2200000011 && e->u.wrmsr.npc == CODE + 17);
    guest_set_gpr(g, NVMM_X64_GPR_RIP, e->u.wrmsr.npc);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_RDMSR && e->u.rdmsr.msr == 0x4b5a0000);
    CHECK(e->u.rdmsr.npc == CODE + 19);
    guest_set_gpr(g, NVMM_X64_GPR_RAX, 0x12345);
    guest_set_gpr(g, NVMM_X64_GPR_RDX, 0x6789a);
    guest_set_gpr(g, NVMM_X64_GPR_RIP, e->u.rdmsr.npc);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED);
    CHECK(guest_gpr(g, NVMM_X64_GPR_RIP) == CODE + 20);
    CHECK(guest_gpr(g, NVMM_X64_GPR_RAX) == 0x12345);
    CHECK(guest_gpr(g, NVMM_X64_GPR_RDX) == 0x6789a);

    /* #GP instead. */
    GUEST_CODE(g, msrs);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_WRMSR);
    g->vcpu.event->type = NVMM_VCPU_EVENT_EXCP;
    g->vcpu.event->vector = 13;
    g->vcpu.event->u.excp.error = 0x50;
    CHECK(nvmm_vcpu_inject(&g->mach, &g->vcpu) == 0);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED);
    CHECK(guest_gpr(g, NVMM_X64_GPR_RIP) == CODE + 0x801);
    CHECK(*(uint64_t *)(g->ram + STACK - 48) == 0x50 &&
          guest_gpr(g, NVMM_X64_GPR_RSP) == STACK - 48);
    CHECK(*(uint64_t *)(g->ram + STACK - 40) == CODE + 15);
}

GUEST_INSNS(cpuid,
            "mov $1, %eax\n cpuid\n mov %ecx, %r8d\n mov %edx, %r9d\n mov $0x40000000, %eax\n"
            "cpuid\n hlt");

static void test_cpuid(void)
{
    struct nvmm_vcpu_conf_cpuid conf = {.mask = 1, .leaf = 1};
    struct guest g;

    guest_create(&g);
    conf.u.mask.set.edx = 1 << 7;
    conf.u.mask.del.edx = 1 << 4;
    conf.u.mask.del.ecx = 1 << 0;
    CHECK(nvmm_vcpu_configure(&g.mach, &g.vcpu, NVMM_VCPU_CONF_CPUID, &conf) == 0);
    conf.u.mask.set.ecx = 1;
    FAILS(nvmm_vcpu_configure(&g.mach, &g.vcpu, NVMM_VCPU_CONF_CPUID, &conf), EINVAL);
    conf.exit = 1;
    FAILS(nvmm_vcpu_configure(&g.mach, &g.vcpu, NVMM_VCPU_CONF_CPUID, &conf), EINVAL);
    conf.mask = 0;
    if (is_kvm)
        FAILS(nvmm_vcpu_configure(&g.mach, &g.vcpu, NVMM_VCPU_CONF_CPUID, &conf), EOPNOTSUPP);
    conf = (struct nvmm_vcpu_conf_cpuid){.mask = 1, .leaf = 0x40000000};
    conf.u.mask.set.edx = 0x80000001;
    conf.u.mask.del.edx = 0x20;
    CHECK(nvmm_vcpu_configure(&g.mach, &g.vcpu, NVMM_VCPU_CONF_CPUID, &conf) == 0);
    GUEST_CODE(&g, cpuid);
    CHECK(guest_run(&g) == NVMM_VCPU_EXIT_HALTED);
    CHECK(guest_gpr(&g, NVMM_X64_GPR_RBX) == 0x205f5f5f); /* "___ NVMM ___" */
    CHECK(guest_gpr(&g, NVMM_X64_GPR_RCX) == 0x4d4d564e);
    CHECK(guest_gpr(&g, NVMM_X64_GPR_RDX) == 0xdf5f5f01);
    if (is_kvm && guest_gpr(&g, NVMM_X64_GPR_R9) & 1 << 4) {
        printf("SKIP: this KVM does not take leaf 1 as it is told\n");
    } else {
        CHECK(guest_gpr(&g, NVMM_X64_GPR_R9) & 1 << 7);
        CHECK(!(guest_gpr(&g, NVMM_X64_GPR_R9) & 1 << 4));
        CHECK(!(guest_gpr(&g, NVMM_X64_GPR_R8) & 1));
        CHECK(guest_gpr(&g, NVMM_X64_GPR_R8) & 1U << 31);
    }
    guest_destroy(&g);
}

/* As NetBSD has it: the registers are filled in, rip is the instruction's. */
static void test_cpuid_exit(void)
{
    struct nvmm_vcpu_conf_cpuid conf = {.exit = 1, .leaf = 0x40000000};
    struct guest g;

    guest_create(&g);
    GUEST_CODE(&g, cpuid);
    if (is_kvm) {
        FAILS(nvmm_vcpu_configure(&g.mach, &g.vcpu, NVMM_VCPU_CONF_CPUID, &conf), EOPNOTSUPP);
        CHECK(guest_run(&g) == NVMM_VCPU_EXIT_HALTED);
        guest_destroy(&g);
        return;
    }
    CHECK(nvmm_vcpu_configure(&g.mach, &g.vcpu, NVMM_VCPU_CONF_CPUID, &conf) == 0);
    for (unsigned i = 0; i < 2; i++) { /* not answered: it is executed again, with what is in eax */
        CHECK(guest_run(&g) == NVMM_VCPU_EXIT_CPUID);
        CHECK(g.vcpu.exit->u.insn.npc == CODE + 20);
        CHECK(guest_gpr(&g, NVMM_X64_GPR_RIP) == CODE + 18);
        CHECK(guest_gpr(&g, NVMM_X64_GPR_RAX) == 0x40000010);
        CHECK(guest_gpr(&g, NVMM_X64_GPR_RBX) == 0x205f5f5f);
        CHECK(guest_gpr(&g, NVMM_X64_GPR_RCX) == 0x4d4d564e);
        CHECK(guest_gpr(&g, NVMM_X64_GPR_RDX) == 0x5f5f5f20);
        if (!i)
            guest_set_gpr(&g, NVMM_X64_GPR_RAX, 0x40000000);
    }
    guest_set_gpr(&g, NVMM_X64_GPR_RBX, 0x1234);
    guest_set_gpr(&g, NVMM_X64_GPR_RIP, g.vcpu.exit->u.insn.npc);
    CHECK(guest_run(&g) == NVMM_VCPU_EXIT_HALTED);
    CHECK(guest_gpr(&g, NVMM_X64_GPR_RAX) == 0x40000010);
    CHECK(guest_gpr(&g, NVMM_X64_GPR_RBX) == 0x1234);
    CHECK(guest_gpr(&g, NVMM_X64_GPR_RCX) == 0x4d4d564e);

    /* Exits may be asked for and withdrawn later, too; masks not. */
    conf.leaf = 1;
    CHECK(nvmm_vcpu_configure(&g.mach, &g.vcpu, NVMM_VCPU_CONF_CPUID, &conf) == 0);
    conf.exit = 0;
    conf.leaf = 0x40000000;
    CHECK(nvmm_vcpu_configure(&g.mach, &g.vcpu, NVMM_VCPU_CONF_CPUID, &conf) == 0);
    GUEST_CODE(&g, cpuid);
    CHECK(guest_run(&g) == NVMM_VCPU_EXIT_CPUID && g.vcpu.exit->u.insn.npc == CODE + 7);
    conf.leaf = 1;
    conf.mask = 1;
    FAILS(nvmm_vcpu_configure(&g.mach, &g.vcpu, NVMM_VCPU_CONF_CPUID, &conf), EBUSY);
    conf.mask = 0;
    CHECK(nvmm_vcpu_configure(&g.mach, &g.vcpu, NVMM_VCPU_CONF_CPUID, &conf) == 0);
    GUEST_CODE(&g, cpuid);
    CHECK(guest_run(&g) == NVMM_VCPU_EXIT_HALTED);
    CHECK(guest_gpr(&g, NVMM_X64_GPR_RBX) == 0x205f5f5f);
    guest_destroy(&g);
}

/* ---- events ---- */

/* Handlers count in r12 and r13. */
GUEST_INSNS(on_intr, "inc %r12\n iretq");
GUEST_INSNS(on_nmi, "inc %r13\n hlt\n iretq");
GUEST_INSNS(window, "nop\n sti\n nop\n nop\n hlt");
GUEST_INSNS(nops, "nop\n nop\n hlt\n nop\n hlt");

static void load_handlers(struct guest *g)
{
    extern const uint8_t on_intr_begin[], on_intr_end[], on_nmi_begin[], on_nmi_end[];

    memcpy(g->ram + CODE + 0x800, on_intr_begin, (size_t)(on_intr_end - on_intr_begin));
    memcpy(g->ram + CODE + 0x810, on_nmi_begin, (size_t)(on_nmi_end - on_nmi_begin));
    guest_gate(g, VECTOR, CODE + 0x800);
    guest_gate(g, 2, CODE + 0x810);
}

static void inject(struct guest *g, unsigned type, uint8_t vector)
{
    g->vcpu.event->type = type;
    g->vcpu.event->vector = vector;
    CHECK(nvmm_vcpu_inject(&g->mach, &g->vcpu) == 0);
}

static void test_window(struct guest *g)
{
    struct nvmm_x64_state *s = g->vcpu.state;
    const struct nvmm_vcpu_exit *e = g->vcpu.exit;
    uint64_t reason;

    GUEST_CODE(g, window);
    CHECK(nvmm_vcpu_getstate(&g->mach, &g->vcpu, NVMM_X64_STATE_INTR) == 0);
    CHECK(!s->intr.int_window_exiting && !s->intr.evt_pending);
    s->intr.int_window_exiting = 1;
    CHECK(nvmm_vcpu_setstate(&g->mach, &g->vcpu, NVMM_X64_STATE_INTR) == 0);
    reason = guest_run(g);
    if (is_kvm && reason == NVMM_VCPU_EXIT_HALTED) {
        printf("SKIP: this KVM looks for the window at its entry only\n");
        CHECK(e->exitstate.int_window_exiting);
        return;
    }
    CHECK(reason == NVMM_VCPU_EXIT_INT_READY);
    CHECK(guest_gpr(g, NVMM_X64_GPR_RIP) == CODE + 3);
    CHECK(e->exitstate.rflags & 0x200 && !e->exitstate.int_shadow);
    CHECK(!e->exitstate.int_window_exiting);
    inject(g, NVMM_VCPU_EVENT_INTR, VECTOR);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED);
    CHECK(guest_gpr(g, NVMM_X64_GPR_R12) == 1 && guest_gpr(g, NVMM_X64_GPR_RIP) == CODE + 5);
    CHECK(*(uint64_t *)(g->ram + STACK - 40) == CODE + 3);
}

static void test_events(struct guest *g)
{
    const struct nvmm_vcpu_exit *e = g->vcpu.exit;

    load_handlers(g);
    test_window(g);

    /* As soon as the state says that it can be taken. */
    GUEST_CODE(g, nops);
    guest_set_gpr(g, NVMM_X64_GPR_RFLAGS, 0x202);
    inject(g, NVMM_VCPU_EVENT_INTR, VECTOR);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED);
    CHECK(guest_gpr(g, NVMM_X64_GPR_R12) == 1 && *(uint64_t *)(g->ram + STACK - 40) == CODE);

    /* An NMI, and word of its end. */
    GUEST_CODE(g, nops);
    inject(g, NVMM_VCPU_EVENT_INTR, 2);
    if (!is_kvm) {
        CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED && e->exitstate.nmi_window_exiting);
        CHECK(guest_gpr(g, NVMM_X64_GPR_R13) == 1);
        CHECK(guest_run(g) == NVMM_VCPU_EXIT_NMI_READY);
        CHECK(guest_gpr(g, NVMM_X64_GPR_RIP) == CODE);
    } else {
        printf("SKIP: KVM keeps NMIs by itself, and is always ready for the next\n");
        CHECK(guest_run(g) == NVMM_VCPU_EXIT_NMI_READY);
        CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED && guest_gpr(g, NVMM_X64_GPR_R13) == 1);
    }
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED && guest_gpr(g, NVMM_X64_GPR_RIP) == CODE + 3);

    /* No such events; they are refused by the run. */
    GUEST_CODE(g, nops);
    inject(g, NVMM_VCPU_EVENT_EXCP, 40);
    FAILS(nvmm_vcpu_run(&g->mach, &g->vcpu), EINVAL);
    inject(g, 7, 13);
    FAILS(nvmm_vcpu_run(&g->mach, &g->vcpu), EINVAL);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED);
}

/* ---- the rest of the exits ---- */

GUEST_INSNS(forever, "1: jmp 1b");
GUEST_INSNS(tpr, "mov $8, %eax\n mov %rax, %cr8\n mov $3, %eax\n mov %rax, %cr8\n hlt");
GUEST_INSNS(triple, "ud2");
GUEST_INSNS(vmcall, "mov $1, %ecx\n vmcall\n hlt");

static void *stopper(void *vcpu)
{
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    CHECK(nvmm_vcpu_stop(vcpu) == 0);
    return NULL;
}

static void test_stop(struct guest *g)
{
    pthread_t thread;

    GUEST_CODE(g, forever);
    CHECK(!pthread_create(&thread, NULL, stopper, &g->vcpu));
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_STOPPED);
    pthread_join(thread, NULL);
    CHECK(guest_gpr(g, NVMM_X64_GPR_RIP) == CODE);
    CHECK(nvmm_vcpu_stop(&g->vcpu) == 0); /* before the run */
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_STOPPED);
    *g->vcpu.stop = 1;
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_STOPPED && *g->vcpu.stop == 0);
}

static void test_exits(struct guest *g)
{
    struct nvmm_vcpu_conf_tpr conf = {.exit_changed = 1};
    struct nvmm_capability cap;

    GUEST_CODE(g, triple);
    CHECK(nvmm_vcpu_getstate(&g->mach, &g->vcpu, NVMM_X64_STATE_SEGS) == 0);
    g->vcpu.state->segs[NVMM_X64_SEG_IDT].limit = 0;
    CHECK(nvmm_vcpu_setstate(&g->mach, &g->vcpu, NVMM_X64_STATE_SEGS) == 0);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_SHUTDOWN);

    guest_gate(g, 6, CODE + 0x820);
    g->ram[CODE + 0x820] = 0xf4;
    if (is_kvm) {
        printf("SKIP: KVM deals with VMCALL by itself\n");
    } else {
        GUEST_CODE(g, vmcall);
        CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED);
        CHECK(guest_gpr(g, NVMM_X64_GPR_RIP) == CODE + 0x821);
        CHECK(*(uint64_t *)(g->ram + STACK - 40) == CODE + 5);
    }

    GUEST_CODE(g, tpr);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED && g->vcpu.exit->exitstate.cr8 == 3);
    CHECK(nvmm_capability(&cap) == 0);
    if (!(cap.arch.vcpu_conf_support & NVMM_CAP_ARCH_VCPU_CONF_TPR)) {
        printf("SKIP: no exits for CR8\n");
        return;
    }
    CHECK(nvmm_vcpu_configure(&g->mach, &g->vcpu, NVMM_VCPU_CONF_TPR, &conf) == 0);
    GUEST_CODE(g, tpr);
    if (guest_run(g) == NVMM_VCPU_EXIT_HALTED && is_kvm) {
        printf("SKIP: this KVM does not exit for CR8\n");
        return;
    }
    CHECK(g->vcpu.exit->reason == NVMM_VCPU_EXIT_TPR_CHANGED && g->vcpu.exit->exitstate.cr8 == 3);
    CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED);
}

/* Code that the program changes while the guest stands is the new code, whoever told whom. */
GUEST_INSNS(old_code,
            "1: mov $1, %eax\n hlt\n xor %eax, %eax\n mov $1000, %ecx\n 2: add $1, %eax\n jmp 3f\n"
            ".skip 200\n 3: dec %ecx\n jnz 2b\n hlt\n jmp 1b");
#define IN_LOOP 15 /* the constant of ADD */

static void test_code(struct guest *g)
{
    GUEST_CODE(g, old_code);
    for (unsigned i = 1; i < 50; i++) {
        g->ram[CODE + 1] = (uint8_t)i;
        CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED && guest_gpr(g, NVMM_X64_GPR_RAX) == i);
        if (i % 3)
            g->ram[CODE + IN_LOOP] = (uint8_t)i;
        CHECK(guest_run(g) == NVMM_VCPU_EXIT_HALTED &&
              guest_gpr(g, NVMM_X64_GPR_RAX) == 1000u * (i % 3 ? i : i - 1));
    }
}

int main(int argc, char **argv)
{
    struct nvmm_assist_callbacks cbs = {.io = on_io, .mem = on_memory};
    struct nvmm_machine early;
    struct guest g;

    FAILS(nvmm_machine_create(&early), EBADF);
    nvmm_start(argc, argv);
    is_kvm = argc > 1 && !strcmp(argv[1], "kvm");
    test_capability();
    guest_create(&g);
    CHECK(nvmm_vcpu_configure(&g.mach, &g.vcpu, NVMM_VCPU_CONF_CALLBACKS, &cbs) == 0);
    test_life(&g);
    test_memory(&g);
    test_state(&g);
    test_io(&g);
    test_mem(&g);
    test_moving(&g);
    test_msr(&g);
    test_cpuid();
    test_cpuid_exit();
    test_events(&g);
    test_stop(&g);
    test_exits(&g);
    test_code(&g);
    guest_destroy(&g);
    return report();
}
