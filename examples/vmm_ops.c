#include "vmm_ops.h"

#include <errno.h>
#include <mote/mote.h>
#include <stdbool.h>
#include <stdlib.h>

struct vm_cpu {
    struct mote_vcpu *vcpu;
    const struct vm_bus *bus; /* of the vmemulate under way */
    bool step, window;
};

struct vm {
    struct mote_machine *machine;
    int vcpus;
    struct vm_cpu cpu[MOTE_VCPUS_MAX];
};

/* A vCPU that was not created is NULL, which the library refuses. */
static struct vm_cpu *cpu_of(void *vmi, int vcpu)
{
    static struct vm_cpu none;
    struct vm *vm = vmi;

    return vcpu >= 0 && vcpu < vm->vcpus ? &vm->cpu[vcpu] : &none;
}

static int init(void)
{
    struct mote_accel list[8];
    int count = mote_accel_list(list, 8);

    for (int i = 0; i < count && i < 8; i++) {
        if (list[i].usable)
            return 0;
    }
    return ENXIO;
}

static int cleanup(void)
{
    return 0; /* the library keeps nothing */
}

/* ---- machines ---- */

/* Which vCPU's bus it is, as all of a machine share the callbacks. */
static const struct vm_bus *bus_of(struct vm *vm, struct mote_vcpu *vcpu)
{
    for (int i = 0; i < vm->vcpus; i++) {
        if (vm->cpu[i].vcpu == vcpu)
            return vm->cpu[i].bus;
    }
    return NULL;
}

static int on_io(struct mote_vcpu *vcpu, struct mote_access *a, void *user)
{
    const struct vm_bus *bus = bus_of(user, vcpu);

    if (!bus || !bus->inout)
        return -ENOTSUP;
    return -bus->inout(bus->arg, !a->write, (uint16_t)a->address, a->size, &a->data);
}

static int on_memory(struct mote_vcpu *vcpu, struct mote_access *a, void *user)
{
    const struct vm_bus *bus = bus_of(user, vcpu);

    if (!bus || !bus->mmio)
        return -ENOTSUP;
    return -bus->mmio(bus->arg, a->write, a->address, a->size, &a->data);
}

static void *vminit(int vcpus)
{
    const struct mote_machine_config config = {.accel = getenv("VMM_ACCEL"),
                                               .vcpus = (unsigned)vcpus};
    struct vm *vm = calloc(1, sizeof(*vm));
    const struct mote_callbacks devices = {on_io, on_memory, vm};

    if (!vm)
        return NULL;
    if (vcpus < 1 || mote_machine_create(&vm->machine, &config)) {
        free(vm);
        return NULL;
    }
    vm->vcpus = vcpus;
    mote_machine_set_callbacks(vm->machine, &devices);
    return vm;
}

/* As in bhyve, no vCPU runs any more. */
static void vmcleanup(void *vmi)
{
    struct vm *vm = vmi;

    mote_machine_destroy(vm->machine);
    free(vm);
}

static int vcpu_init(void *vmi, int vcpu)
{
    struct vm *vm = vmi;

    if (vcpu < 0 || vcpu >= vm->vcpus)
        return EINVAL;
    return -mote_vcpu_create(&vm->cpu[vcpu].vcpu, vm->machine, (unsigned)vcpu);
}

static int vmmmap(void *vmi, uint64_t gpa, void *hva, uint64_t len, int writable)
{
    struct vm *vm = vmi;
    int err = mote_hva_register(vm->machine, hva, len);

    if (err && err != -EEXIST) /* it may be mapped at a second place */
        return -err;
    return -mote_gpa_map(vm->machine, gpa, hva, len,
                         MOTE_READ | MOTE_EXEC | (writable ? MOTE_WRITE : 0));
}

static int vmmunmap(void *vmi, uint64_t gpa, uint64_t len)
{
    return -mote_gpa_unmap(((struct vm *)vmi)->machine, gpa, len);
}

/* ---- running ---- */

static void convert_io(struct mote_vcpu *vcpu, const struct mote_exit *exit, struct vm_exit *vme)
{
    vme->exitcode = VM_EXITCODE_INOUT;
    vme->u.inout.port = exit->u.io.port;
    vme->u.inout.bytes = exit->u.io.size;
    vme->u.inout.in = exit->u.io.in;
    vme->u.inout.string = exit->u.io.string;
    vme->u.inout.eax = (uint32_t)mote_vcpu_state(vcpu)->gpr[MOTE_RAX];
}

static int vmrun(void *vmi, int vcpu, struct vm_exit *vme)
{
    static const enum vm_exitcode code[MOTE_EXIT_COUNT] = {
        [MOTE_EXIT_NONE] = VM_EXITCODE_BOGUS,
        [MOTE_EXIT_IO] = VM_EXITCODE_INOUT,
        [MOTE_EXIT_MEMORY] = VM_EXITCODE_INST_EMUL,
        [MOTE_EXIT_RDMSR] = VM_EXITCODE_RDMSR,
        [MOTE_EXIT_WRMSR] = VM_EXITCODE_WRMSR,
        [MOTE_EXIT_HALT] = VM_EXITCODE_HLT,
        [MOTE_EXIT_SHUTDOWN] = VM_EXITCODE_SUSPENDED,
        [MOTE_EXIT_INTR_WINDOW] = VM_EXITCODE_INTR_WINDOW,
        [MOTE_EXIT_NMI_WINDOW] = VM_EXITCODE_VMX,
        [MOTE_EXIT_TPR] = VM_EXITCODE_BOGUS, /* it has no local APIC that would look at it */
        [MOTE_EXIT_HYPERCALL] = VM_EXITCODE_VMX,
        [MOTE_EXIT_DEBUG] = VM_EXITCODE_MTRAP,
        [MOTE_EXIT_FAIL] = VM_EXITCODE_VMX,
        [MOTE_EXIT_CPUID] = VM_EXITCODE_VMX, /* which it does not ask for */
    };
    struct mote_vcpu *v = cpu_of(vmi, vcpu)->vcpu;
    struct mote_exit exit;
    int err = mote_vcpu_run(v, &exit);

    if (!err)
        err = mote_vcpu_get(v, MOTE_GPRS);
    if (err)
        return -err;
    vme->exitcode = code[exit.reason];
    vme->rip = mote_vcpu_state(v)->rip;
    if (exit.reason == MOTE_EXIT_IO) {
        convert_io(v, &exit, vme);
    } else if (exit.reason == MOTE_EXIT_MEMORY) {
        vme->u.inst_emul.gpa = exit.u.memory.gpa;
    } else if (exit.reason == MOTE_EXIT_RDMSR || exit.reason == MOTE_EXIT_WRMSR) {
        vme->u.msr.code = exit.u.msr.index;
        vme->u.msr.wval = exit.u.msr.value;
    }
    return 0;
}

static int vmstop(void *vmi, int vcpu)
{
    return -mote_vcpu_stop(cpu_of(vmi, vcpu)->vcpu);
}

static int vmemulate(void *vmi, int vcpu, const struct vm_bus *bus)
{
    struct vm_cpu *cpu = cpu_of(vmi, vcpu);

    cpu->bus = bus; /* stays: some accelerators finish the instruction at the next run */
    return -mote_vcpu_assist(cpu->vcpu);
}

static int vminject(void *vmi, int vcpu, int vector)
{
    const struct mote_event event = {.kind = MOTE_EVENT_INTR, .vector = (uint8_t)vector};

    return -mote_vcpu_inject(cpu_of(vmi, vcpu)->vcpu, &event);
}

/* ---- registers ---- */

/* Where a register is in the state, and in which group; NULL: it is none, or a selector. */
static uint64_t *find_register(struct mote_state *s, int num, unsigned *group)
{
    static const uint8_t gpr[] = {
        [VM_REG_GUEST_RAX] = MOTE_RAX, [VM_REG_GUEST_RBX] = MOTE_RBX, [VM_REG_GUEST_RCX] = MOTE_RCX,
        [VM_REG_GUEST_RDX] = MOTE_RDX, [VM_REG_GUEST_RSI] = MOTE_RSI, [VM_REG_GUEST_RDI] = MOTE_RDI,
        [VM_REG_GUEST_RBP] = MOTE_RBP, [VM_REG_GUEST_R8] = MOTE_R8,   [VM_REG_GUEST_R9] = MOTE_R9,
        [VM_REG_GUEST_R10] = MOTE_R10, [VM_REG_GUEST_R11] = MOTE_R11, [VM_REG_GUEST_R12] = MOTE_R12,
        [VM_REG_GUEST_R13] = MOTE_R13, [VM_REG_GUEST_R14] = MOTE_R14, [VM_REG_GUEST_R15] = MOTE_R15,
    };

    *group = MOTE_GPRS;
    if (num >= VM_REG_GUEST_RAX && num <= VM_REG_GUEST_R15)
        return &s->gpr[gpr[num]];
    switch (num) {
    case VM_REG_GUEST_RSP: return &s->gpr[MOTE_RSP];
    case VM_REG_GUEST_RIP: return &s->rip;
    case VM_REG_GUEST_RFLAGS: return &s->rflags;
    case VM_REG_GUEST_CR0: *group = MOTE_CRS; return &s->cr0;
    case VM_REG_GUEST_CR2: *group = MOTE_CRS; return &s->cr2;
    case VM_REG_GUEST_CR3: *group = MOTE_CRS; return &s->cr3;
    case VM_REG_GUEST_CR4: *group = MOTE_CRS; return &s->cr4;
    case VM_REG_GUEST_DR7: *group = MOTE_DRS; return &s->dr[7];
    case VM_REG_GUEST_EFER: *group = MOTE_MSRS; return &s->msr.efer;
    default: return NULL;
    }
}

/* The order of both is the encoding's. */
static struct mote_seg *find_segment(struct mote_state *s, int num)
{
    return num >= VM_REG_GUEST_ES && num <= VM_REG_GUEST_TR ? &s->seg[num - VM_REG_GUEST_ES] : NULL;
}

static struct mote_table *find_table(struct mote_state *s, int num)
{
    if (num == VM_REG_GUEST_GDTR)
        return &s->gdtr;
    return num == VM_REG_GUEST_IDTR ? &s->idtr : NULL;
}

static int vmgetreg(void *vmi, int vcpu, int num, uint64_t *retval)
{
    struct mote_vcpu *v = cpu_of(vmi, vcpu)->vcpu;
    struct mote_state *s = mote_vcpu_state(v);
    unsigned group;
    uint64_t *reg = s ? find_register(s, num, &group) : NULL;
    struct mote_seg *seg = s ? find_segment(s, num) : NULL;
    int err;

    if (!reg && !seg)
        return EINVAL;
    err = mote_vcpu_get(v, seg ? MOTE_SEGS : group);
    if (!err)
        *retval = seg ? seg->selector : *reg;
    return -err;
}

static int vmsetreg(void *vmi, int vcpu, int num, uint64_t val)
{
    struct mote_vcpu *v = cpu_of(vmi, vcpu)->vcpu;
    struct mote_state *s = mote_vcpu_state(v);
    unsigned group;
    uint64_t *reg = s ? find_register(s, num, &group) : NULL;
    struct mote_seg *seg = s ? find_segment(s, num) : NULL;
    int err;

    if (!reg && !seg)
        return EINVAL;
    if (seg)
        group = MOTE_SEGS;
    err = mote_vcpu_get(v, group); /* the others of the group stay */
    if (err)
        return -err;
    if (seg)
        seg->selector = (uint16_t)val;
    else
        *reg = val;
    return -mote_vcpu_set(v, group);
}

/* A segment or else a table, got with all of its group. */
static int find_desc(void *vmi, int vcpu, int num, struct mote_seg **seg, struct mote_table **table)
{
    struct mote_vcpu *v = cpu_of(vmi, vcpu)->vcpu;
    struct mote_state *s = mote_vcpu_state(v);

    *seg = s ? find_segment(s, num) : NULL;
    *table = s ? find_table(s, num) : NULL;
    return *seg || *table ? -mote_vcpu_get(v, MOTE_SEGS) : EINVAL;
}

static int vmgetdesc(void *vmi, int vcpu, int num, struct seg_desc *desc)
{
    struct mote_seg *seg;
    struct mote_table *table;
    int err = find_desc(vmi, vcpu, num, &seg, &table);

    if (err)
        return err;
    if (seg)
        *desc = (struct seg_desc){seg->base, seg->limit, seg->attrib};
    else
        *desc = (struct seg_desc){.base = table->base, .limit = table->limit};
    return 0;
}

static int vmsetdesc(void *vmi, int vcpu, int num, const struct seg_desc *desc)
{
    struct mote_seg *seg;
    struct mote_table *table;
    int err = find_desc(vmi, vcpu, num, &seg, &table);

    if (err)
        return err;
    if (seg) {
        seg->base = desc->base;
        seg->limit = desc->limit;
        seg->attrib = desc->access;
    } else {
        table->base = desc->base;
        table->limit = (uint16_t)desc->limit;
    }
    return -mote_vcpu_set(cpu_of(vmi, vcpu)->vcpu, MOTE_SEGS);
}

/* ---- capabilities ---- */

static int vmgetcap(void *vmi, int vcpu, int num, int *retval)
{
    const struct vm_cpu *cpu = cpu_of(vmi, vcpu);

    switch (num) {
    case VM_CAP_HALT_EXIT: *retval = 1; return 0;
    case VM_CAP_MTRAP_EXIT: *retval = cpu->step; return 0;
    case VM_CAP_INTR_WINDOW: *retval = cpu->window; return 0;
    default: return ENOENT;
    }
}

static int vmsetcap(void *vmi, int vcpu, int num, int val)
{
    struct vm_cpu *cpu = cpu_of(vmi, vcpu);
    const struct mote_vcpu_debug debug = {.step = val};
    int err;

    switch (num) {
    case VM_CAP_HALT_EXIT: return val ? 0 : ENOTSUP;
    case VM_CAP_MTRAP_EXIT:
        err = mote_vcpu_set_debug(cpu->vcpu, &debug);
        if (!err)
            cpu->step = val;
        return -err;
    case VM_CAP_INTR_WINDOW:
        err = mote_vcpu_request_window(cpu->vcpu, val, false);
        if (!err)
            cpu->window = val;
        return -err;
    default: return ENOENT;
    }
}

const struct vmm_ops vmm_ops_mote = {
    init,     cleanup,   vminit,    vmcleanup, vcpu_init, vmrun,    vmstop, vmemulate, vmgetreg,
    vmsetreg, vmgetdesc, vmsetdesc, vmgetcap,  vmsetcap,  vminject, vmmmap, vmmunmap,
};
