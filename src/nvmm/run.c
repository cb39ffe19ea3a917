/*
 * Running a vCPU. NVMM leaves an exit's instruction undone: the program emulates it, by an assist
 * or by hand, or runs it again. So what no assist has answered is given up at the next run,
 * which begins with the program's GPRS: libmote starts from them then.
 */
#include "nvmm/layer.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum {
    VECTOR_NMI = 2,
    VECTOR_UD = 6,
    RFLAGS_IF = 1 << 9,
    VMCALL_SIZE = 3,
};

/* Exceptions that push an error code (SDM Vol. 3A table 6-1). */
#define WITH_ERROR                                                                                 \
    (1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17 | 1u << 21 |        \
     1u << 29 | 1u << 30)

/* ---- events ---- */

int nvmm_vcpu_inject(struct nvmm_machine *mach, struct nvmm_vcpu *vcpu)
{
    struct nv_vcpu *nv = nv_vcpu(mach, vcpu);

    if (!nv)
        return -1;
    nv->page.event_commit = true;
    return 0;
}

static int convert_event(const struct nvmm_vcpu_event *in, struct mote_event *out)
{
    *out = (struct mote_event){.vector = in->vector};
    if (in->type == NVMM_VCPU_EVENT_INTR) {
        out->kind = in->vector == VECTOR_NMI ? MOTE_EVENT_NMI : MOTE_EVENT_INTR;
        return 0;
    }
    if (in->type != NVMM_VCPU_EVENT_EXCP || in->vector == VECTOR_NMI || in->vector > 31)
        return -EINVAL;
    out->kind = MOTE_EVENT_EXCEPTION;
    out->has_error = WITH_ERROR >> in->vector & 1;
    out->error = out->has_error ? (uint32_t)in->u.excp.error : 0;
    return 0;
}

/*
 * NVMM injects whether or not the guest can take it, libmote only what it can; the state's pending
 * event is delivered in any case. 1: one waits there already.
 */
static int inject(struct nv_vcpu *nv, const struct mote_event *event)
{
    int err = mote_vcpu_inject(nv->v, event);

    if (err != -EAGAIN)
        return err;
    err = mote_vcpu_get(nv->v, MOTE_INTR);
    if (err)
        return err;
    if (nv->state->intr.pending.kind != MOTE_EVENT_NONE)
        return 1;
    nv->state->intr.pending = *event;
    return mote_vcpu_set(nv->v, MOTE_INTR);
}

/* An event that finds another one waits for the next run. */
static int commit_event(struct nv_vcpu *nv)
{
    struct mote_event event;
    int err;

    if (!nv->page.event_commit)
        return 0;
    err = convert_event(&nv->page.event, &event);
    if (!err)
        err = inject(nv, &event);
    if (err == 1)
        return 0;
    nv->page.event_commit = false;
    if (err || event.kind != MOTE_EVENT_NMI)
        return err;
    nv->nmi_window = true; /* NVMM tells when the next one can come */
    return mote_vcpu_request_window(nv->v, nv->int_window, nv->nmi_window);
}

/* ---- running ---- */

int nvmm_vcpu_stop(struct nvmm_vcpu *vcpu)
{
    struct nv_vcpu *nv;

    if (!vcpu || !vcpu->stop)
        return nv_result(-EINVAL);
    nv = (struct nv_vcpu *)((char *)vcpu->stop - offsetof(struct nv_vcpu, page.stop));
    __atomic_store_n(vcpu->stop, 1, __ATOMIC_SEQ_CST);
    return nv_result(mote_vcpu_stop(nv->v));
}

/* The exit that nobody answered, what the program changed, and what it injects. */
static int enter(struct nv_vcpu *nv)
{
    bool msr = nv->open == NVMM_VCPU_EXIT_RDMSR || nv->open == NVMM_VCPU_EXIT_WRMSR;
    int err = 0;

    if (nv->open != NVMM_VCPU_EXIT_NONE) {
        err = nv_get(nv, NVMM_X64_STATE_GPRS);
        nv->page.state_commit |= NVMM_X64_STATE_GPRS;
    }
    if (!err && msr)
        err = mote_vcpu_complete_msr(nv->v, 0, false);
    nv->open = NVMM_VCPU_EXIT_NONE;
    if (!err)
        err = nv_commit(nv);
    if (!err)
        err = commit_event(nv);
    nv->page.state_cached = 0;
    /* NVMM's programs tell nobody when they write to guest memory. */
    if (!err)
        err = mote_gpa_written(nv->machine->m, 0, SIZE_MAX);
    /* A program may set the flag without a call. */
    if (!err && __atomic_load_n(&nv->page.stop, __ATOMIC_SEQ_CST))
        err = mote_vcpu_stop(nv->v);
    return err;
}

/* There is no host that answers: the instruction is not there, as NVMM says. */
static int undo_hypercall(struct nv_vcpu *nv)
{
    const struct mote_event ud = {.kind = MOTE_EVENT_EXCEPTION, .vector = VECTOR_UD};
    int err = mote_vcpu_get(nv->v, MOTE_GPRS);

    if (err)
        return err;
    nv->state->rip -= VMCALL_SIZE;
    err = mote_vcpu_set(nv->v, MOTE_GPRS);
    return err ? err : mote_vcpu_inject(nv->v, &ud);
}

static void exit_io(struct nv_vcpu *nv, const struct mote_exit *in)
{
    struct nvmm_x86_exit_io *out = &nv->exit.u.io;
    struct nv_insn insn;

    nv_decode(nv, &insn);
    nv->insn_known =
        insn.kind == NV_INSN_IO && insn.in == in->u.io.in && insn.operand_size == in->u.io.size;
    out->in = in->u.io.in;
    out->port = in->u.io.port;
    out->operand_size = in->u.io.size;
    out->str = nv->insn_known ? insn.string : in->u.io.string;
    out->seg = nv->insn_known ? insn.seg : -1;
    out->rep = nv->insn_known && insn.rep;
    out->address_size = insn.address_size;
    /* Else KVM is behind it already, as with port 0x7e. */
    out->npc = nv->insn_known ? insn.npc : nv->page.state.gprs[NVMM_X64_GPR_RIP];
}

static void exit_msr(struct nv_vcpu *nv, const struct mote_exit *in)
{
    struct nv_insn insn;

    nv_decode(nv, &insn);
    if (nv->exit.reason == NVMM_VCPU_EXIT_RDMSR) {
        nv->exit.u.rdmsr.msr = in->u.msr.index;
        nv->exit.u.rdmsr.npc = insn.npc;
    } else {
        nv->exit.u.wrmsr.msr = in->u.msr.index;
        nv->exit.u.wrmsr.val = in->u.msr.value;
        nv->exit.u.wrmsr.npc = insn.npc;
    }
}

/* NVMM has the registers filled in already, and not rip. */
static void exit_cpuid(struct nv_vcpu *nv, const struct mote_exit *in)
{
    uint64_t *gprs = nv->page.state.gprs;
    struct nv_insn insn;

    nv_decode(nv, &insn);
    nv->exit.u.insn.npc = insn.npc;
    gprs[NVMM_X64_GPR_RAX] = in->u.cpuid.eax;
    gprs[NVMM_X64_GPR_RBX] = in->u.cpuid.ebx;
    gprs[NVMM_X64_GPR_RCX] = in->u.cpuid.ecx;
    gprs[NVMM_X64_GPR_RDX] = in->u.cpuid.edx;
}

static void exit_invalid(struct nv_vcpu *nv, const struct mote_exit *in)
{
    snprintf(nv->why, sizeof(nv->why), "%s",
             in->reason == MOTE_EXIT_FAIL ? in->u.fail.why : mote_exit_name(in->reason));
    nv->exit.u.inv.hwcode = in->reason;
}

/* The details of an exit that has them; those that want an answer are open. */
static void fill(struct nv_vcpu *nv, const struct mote_exit *in)
{
    switch (nv->exit.reason) {
    case NVMM_VCPU_EXIT_IO: exit_io(nv, in); break;
    case NVMM_VCPU_EXIT_MEMORY:
        nv->exit.u.mem.prot = in->u.memory.write ? NVMM_PROT_WRITE : NVMM_PROT_READ;
        nv->exit.u.mem.gpa = in->u.memory.gpa;
        break;
    case NVMM_VCPU_EXIT_RDMSR:
    case NVMM_VCPU_EXIT_WRMSR: exit_msr(nv, in); break;
    case NVMM_VCPU_EXIT_CPUID: exit_cpuid(nv, in); break;
    case NVMM_VCPU_EXIT_INT_READY: nv->int_window = false; return;
    case NVMM_VCPU_EXIT_NMI_READY: nv->nmi_window = false; return;
    case NVMM_VCPU_EXIT_INVALID: exit_invalid(nv, in); return;
    default: return;
    }
    nv->open = nv->exit.reason;
}

static void convert_exit(struct nv_vcpu *nv, const struct mote_exit *in)
{
    static const uint64_t same[MOTE_EXIT_COUNT] = {
        [MOTE_EXIT_NONE] = NVMM_VCPU_EXIT_NONE,
        [MOTE_EXIT_IO] = NVMM_VCPU_EXIT_IO,
        [MOTE_EXIT_MEMORY] = NVMM_VCPU_EXIT_MEMORY,
        [MOTE_EXIT_RDMSR] = NVMM_VCPU_EXIT_RDMSR,
        [MOTE_EXIT_WRMSR] = NVMM_VCPU_EXIT_WRMSR,
        [MOTE_EXIT_HALT] = NVMM_VCPU_EXIT_HALTED,
        [MOTE_EXIT_SHUTDOWN] = NVMM_VCPU_EXIT_SHUTDOWN,
        [MOTE_EXIT_INTR_WINDOW] = NVMM_VCPU_EXIT_INT_READY,
        [MOTE_EXIT_NMI_WINDOW] = NVMM_VCPU_EXIT_NMI_READY,
        [MOTE_EXIT_TPR] = NVMM_VCPU_EXIT_TPR_CHANGED,
        [MOTE_EXIT_HYPERCALL] = NVMM_VCPU_EXIT_INVALID,
        [MOTE_EXIT_DEBUG] = NVMM_VCPU_EXIT_INVALID,
        [MOTE_EXIT_FAIL] = NVMM_VCPU_EXIT_INVALID,
        [MOTE_EXIT_CPUID] = NVMM_VCPU_EXIT_CPUID,
    };
    struct nvmm_vcpu_exit *out = &nv->exit;

    memset(out, 0, sizeof(*out));
    out->reason = in->reason < MOTE_EXIT_COUNT ? same[in->reason] : NVMM_VCPU_EXIT_INVALID;
    if (in->reason == MOTE_EXIT_NONE && __atomic_exchange_n(&nv->page.stop, 0, __ATOMIC_SEQ_CST))
        out->reason = NVMM_VCPU_EXIT_STOPPED;
    fill(nv, in);
    out->exitstate.rflags = in->rflags;
    out->exitstate.cr8 = in->cr8;
    out->exitstate.int_shadow = in->rflags & RFLAGS_IF && !in->intr_ready;
    out->exitstate.int_window_exiting = nv->int_window;
    out->exitstate.nmi_window_exiting = nv->nmi_window;
}

int nvmm_vcpu_run(struct nvmm_machine *mach, struct nvmm_vcpu *vcpu)
{
    struct nv_vcpu *nv = nv_vcpu(mach, vcpu);
    struct mote_exit exit;
    int err;

    if (!nv)
        return -1;
    nv->user_machine = mach;
    nv->user_vcpu = vcpu;
    nv->canned = false;
    err = enter(nv);
    while (!err) {
        err = mote_vcpu_run(nv->v, &exit);
        if (err ||
            (exit.reason != MOTE_EXIT_HYPERCALL && (exit.reason != MOTE_EXIT_TPR || nv->tpr_exit)))
            break;
        if (exit.reason == MOTE_EXIT_HYPERCALL)
            err = undo_hypercall(nv);
    }
    if (!err)
        convert_exit(nv, &exit);
    return nv_result(err);
}

/* ---- assists ---- */

static struct nv_vcpu *find(const struct nv_machine *nm, const struct mote_vcpu *v)
{
    for (unsigned i = 0; i < MOTE_VCPUS_MAX; i++) {
        if (nm->vcpu[i] && nm->vcpu[i]->v == v)
            return nm->vcpu[i];
    }
    return NULL;
}

int nv_on_io(struct mote_vcpu *v, struct mote_access *access, void *user)
{
    struct nv_vcpu *nv = find(user, v);
    struct nvmm_io io;

    if (!nv)
        return -ENOENT;
    if (nv->canned) {
        if (access->write)
            nv->data = access->data;
        else
            access->data = nv->data;
        return 0;
    }
    if (!nv->user_vcpu->cbs.io)
        return -EINVAL;
    io = (struct nvmm_io){
        .mach = nv->user_machine,
        .vcpu = nv->user_vcpu,
        .port = (uint16_t)access->address,
        .in = !access->write,
        .size = access->size,
        .data = (uint8_t *)&access->data,
    };
    nv->user_vcpu->cbs.io(&io);
    return 0;
}

int nv_on_memory(struct mote_vcpu *v, struct mote_access *access, void *user)
{
    struct nv_vcpu *nv = find(user, v);
    struct nvmm_mem mem;

    if (!nv)
        return -ENOENT;
    if (!nv->user_vcpu->cbs.mem)
        return -EINVAL;
    mem = (struct nvmm_mem){
        .mach = nv->user_machine,
        .vcpu = nv->user_vcpu,
        .gpa = access->address,
        .write = access->write,
        .size = access->size,
        .data = (uint8_t *)&access->data,
    };
    nv->user_vcpu->cbs.mem(&mem);
    return 0;
}

/*
 * libmote executes the instruction. Callbacks may get the state of before, all of which is got
 * therefore; what they set is to be committed.
 */
static int assist(struct nv_vcpu *nv)
{
    int err = nv->canned ? 0 : nv_get(nv, NVMM_X64_STATE_ALL);

    if (!err)
        err = nv_commit(nv);
    if (err)
        return err;
    nv->assisting = true;
    err = mote_vcpu_assist(nv->v);
    nv->assisting = false;
    nv->page.state_cached = nv->page.state_commit;
    if (!err)
        nv->open = NVMM_VCPU_EXIT_NONE;
    return err;
}

static void call_io(struct nv_vcpu *nv)
{
    struct nvmm_io io = {
        .mach = nv->user_machine,
        .vcpu = nv->user_vcpu,
        .port = nv->exit.u.io.port,
        .in = nv->exit.u.io.in,
        .size = nv->exit.u.io.operand_size,
        .data = (uint8_t *)&nv->data,
    };

    nv->calling = true;
    nv->user_vcpu->cbs.io(&io);
    nv->calling = false;
}

/*
 * IN and OUT call back outside of libmote's assist, where a callback may change the machine but not
 * its own vCPU: so the program may do there all that it may on NVMM with the state, and nothing has
 * to be got beforehand. GPRS that it sets meanwhile are its own; NVMM goes on from them behind the
 * instruction.
 */
static int assist_in(struct nv_vcpu *nv)
{
    const struct nvmm_x86_exit_io *exit = &nv->exit.u.io;
    uint64_t *gprs = nv->page.state.gprs;

    nv->data = 0;
    call_io(nv);
    nv->canned = true;
    if (!(nv->page.state_commit & NVMM_X64_STATE_GPRS))
        return assist(nv);
    if (exit->operand_size == 4)
        gprs[NVMM_X64_GPR_RAX] = (uint32_t)nv->data;
    else
        memcpy(&gprs[NVMM_X64_GPR_RAX], &nv->data, exit->operand_size);
    gprs[NVMM_X64_GPR_RIP] = exit->npc;
    return 0;
}

/* What is written only libmote knows for sure: an OUTS may be done already, and rip behind it. The
 * callback sees the registers of before; OUT changes no others. */
static int assist_out(struct nv_vcpu *nv)
{
    uint64_t before;
    int err = nv_get(nv, NVMM_X64_STATE_GPRS);

    nv->canned = true;
    before = nv->page.state_cached;
    if (!err)
        err = assist(nv);
    if (err)
        return err;
    nv->page.state_cached = before;
    call_io(nv);
    if (nv->page.state_commit & NVMM_X64_STATE_GPRS)
        nv->page.state.gprs[NVMM_X64_GPR_RIP] = nv->exit.u.io.npc;
    nv->page.state_cached = nv->page.state_commit;
    return 0;
}

int nvmm_assist_io(struct nvmm_machine *mach, struct nvmm_vcpu *vcpu)
{
    struct nv_vcpu *nv = nv_vcpu(mach, vcpu);

    if (!nv)
        return -1;
    if (nv->open != NVMM_VCPU_EXIT_IO || nv->assisting || !vcpu->cbs.io)
        return nv_result(-EINVAL);
    nv->user_machine = mach;
    nv->user_vcpu = vcpu;
    nv->canned = false;
    if (nv->exit.u.io.str || (nv->exit.u.io.in && !nv->insn_known))
        return nv_result(assist(nv));
    return nv_result(nv->exit.u.io.in ? assist_in(nv) : assist_out(nv));
}

int nvmm_assist_mem(struct nvmm_machine *mach, struct nvmm_vcpu *vcpu)
{
    struct nv_vcpu *nv = nv_vcpu(mach, vcpu);

    if (!nv)
        return -1;
    if (nv->open != NVMM_VCPU_EXIT_MEMORY || nv->assisting || !vcpu->cbs.mem)
        return nv_result(-EINVAL);
    nv->user_machine = mach;
    nv->user_vcpu = vcpu;
    nv->canned = false;
    return nv_result(assist(nv));
}
