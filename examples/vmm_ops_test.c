/*
 * A monitor in bhyve's manner that knows the machine by the table only: it sets a vCPU's registers
 * and descriptors one by one, and runs a guest that writes to a port and to a device's memory,
 * reads a port, and halts.
 */
#include "vmm_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MEMORY 0x10000
#define ENTRY  0x1000
#define DEVICE 0x20000

/* 16-bit code, with DS at the device. */
static const unsigned char code[] = {
    0xba, 0xf8, 0x03, /* mov $0x3f8, %dx */
    0xb0, 'p',        /* mov $'p', %al */
    0xee,             /* out %al, (%dx) */
    0xec,             /* in (%dx), %al */
    0xa2, 0x04, 0x00, /* mov %al, 4 */
    0x40,             /* inc %ax */
    0xf4,             /* hlt */
    0x43,             /* inc %bx: stepped over, and then interrupted */
    0xfb,             /* sti */
    0xeb, 0xfe,       /* jmp to itself: the interrupt ends it */
};
/* The handler of the interrupt, at ENTRY + 0x100. */
static const unsigned char handler[] = {
    0xb9, 0x34, 0x12, /* mov $0x1234, %cx */
    0xf4,             /* hlt */
};

static const struct vmm_ops *ops = &vmm_ops_mote;
static void *vm;

static void need(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "vmm_ops: %s\n", what);
    exit(1);
}

static int inout(void *arg, int in, uint16_t port, int bytes, uint64_t *val)
{
    if (in)
        *val = 'q';
    else
        printf("out port %#x, %d byte: %c\n", (unsigned)port, bytes, (int)*val);
    return *(int *)arg = 0;
}

static int mmio(void *arg, int write, uint64_t gpa, int bytes, uint64_t *val)
{
    printf("%s %#llx, %d byte: %c\n", write ? "write" : "read", (unsigned long long)gpa, bytes,
           (int)*val);
    return *(int *)arg = 0;
}

static void set(int reg, uint64_t value)
{
    uint64_t got = ~value;

    need(!ops->vmsetreg(vm, 0, reg, value) && !ops->vmgetreg(vm, 0, reg, &got) && got == value,
         "a register is not what it was set to");
}

static uint64_t get(int reg)
{
    uint64_t value = 0;

    need(!ops->vmgetreg(vm, 0, reg, &value), "a register cannot be read");
    return value;
}

static void set_segment(int seg, uint64_t base)
{
    struct seg_desc desc;

    need(!ops->vmgetdesc(vm, 0, seg, &desc), "a descriptor cannot be read");
    desc.base = base;
    need(!ops->vmsetdesc(vm, 0, seg, &desc), "a descriptor cannot be set");
    set(seg, base >> 4);
}

/* Until an exit that is no device's. */
static struct vm_exit run(void)
{
    int status = 1;
    const struct vm_bus bus = {inout, mmio, &status};
    struct vm_exit vme;

    for (;;) {
        need(!ops->vmrun(vm, 0, &vme), "vmrun failed");
        if (vme.exitcode != VM_EXITCODE_INOUT && vme.exitcode != VM_EXITCODE_INST_EMUL)
            return vme;
        need(!ops->vmemulate(vm, 0, &bus), "vmemulate failed");
    }
}

static void create(unsigned char *memory)
{
    memcpy(memory + ENTRY, code, sizeof(code));
    memcpy(memory + ENTRY + 0x100, handler, sizeof(handler));
    memory[0x20 * 4 + 1] = (ENTRY + 0x100) >> 8; /* the interrupt's vector is 0x20 */
    need(!ops->init(), "there is no accelerator");
    vm = ops->vminit(1);
    need(vm != NULL, "vminit failed");
    need(!ops->vmmmap(vm, 0, memory, MEMORY, 1), "vmmmap failed");
    need(!ops->vcpu_init(vm, 0), "vcpu_init failed");
    set_segment(VM_REG_GUEST_CS, 0);
    set_segment(VM_REG_GUEST_SS, 0);
    set_segment(VM_REG_GUEST_DS, DEVICE);
    set(VM_REG_GUEST_RSP, 0x8000);
    set(VM_REG_GUEST_RIP, ENTRY);
    set(VM_REG_GUEST_RFLAGS, 2);
}

int main(void)
{
    unsigned char *memory =
        mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct vm_exit vme;
    int on = 0;

    need(memory != MAP_FAILED, "no memory");
    create(memory);
    need(!ops->vmgetcap(vm, 0, VM_CAP_HALT_EXIT, &on) && on, "HLT does not exit");
    need(ops->vmsetcap(vm, 0, VM_CAP_PAUSE_EXIT, 1), "PAUSE exits?");
    vme = run();
    need(vme.exitcode == VM_EXITCODE_HLT, "the guest did not halt");
    printf("halted at %#llx, rax %#llx\n", (unsigned long long)vme.rip,
           (unsigned long long)get(VM_REG_GUEST_RAX));

    need(!ops->vmsetcap(vm, 0, VM_CAP_MTRAP_EXIT, 1), "no single steps");
    vme = run();
    need(vme.exitcode == VM_EXITCODE_MTRAP, "no exit after one instruction");
    printf("one step: rip %#llx, rbx %#llx\n", (unsigned long long)vme.rip,
           (unsigned long long)get(VM_REG_GUEST_RBX));
    ops->vmsetcap(vm, 0, VM_CAP_MTRAP_EXIT, 0);

    need(!ops->vmsetcap(vm, 0, VM_CAP_INTR_WINDOW, 1), "no interrupt window");
    vme = run();
    need(vme.exitcode == VM_EXITCODE_INTR_WINDOW, "no window after STI");
    need(!ops->vmsetcap(vm, 0, VM_CAP_INTR_WINDOW, 0) && !ops->vminject(vm, 0, 0x20),
         "no interrupt was accepted");
    vme = run();
    need(vme.exitcode == VM_EXITCODE_HLT, "the handler did not halt");
    printf("interrupted: rcx %#llx\n", (unsigned long long)get(VM_REG_GUEST_RCX));

    need(!ops->vmstop(vm, 0) && !ops->vmrun(vm, 0, &vme) && vme.exitcode == VM_EXITCODE_BOGUS,
         "vmstop was lost");
    need(!ops->vmmunmap(vm, 0, MEMORY), "vmmunmap failed");
    ops->vmcleanup(vm);
    ops->cleanup();
    return 0;
}
