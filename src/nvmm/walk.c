/* The guest's page tables (SDM Vol. 3A chapter 4), and the instruction that exited. */
#include "nvmm/layer.h"

#include <string.h>

enum {
    CR0_PE = 1,
    CR4_PSE = 1 << 4,
    CR4_PAE = 1 << 5,
    CR4_LA57 = 1 << 12,
    EFER_LMA = 1 << 10,
    EFER_NXE = 1 << 11,
    PTE_P = 1,
    PTE_RW = 2,
    PTE_US = 4,
    PTE_PS = 1 << 7,
};
#define CR0_PG    (1u << 31)
#define PTE_NX    (1ULL << 63)
#define FRAME     0x000ffffffffff000ULL
#define RFLAGS_VM (1u << 17)

static int read_entry(struct nv_vcpu *nv, uint64_t gpa, unsigned size, uint64_t *entry)
{
    void *hva;

    if (mote_gpa_to_hva(nv->machine->m, gpa, &hva, NULL))
        return -EFAULT;
    *entry = size == 8 ? *(volatile uint64_t *)hva : *(volatile uint32_t *)hva;
    return *entry & PTE_P ? 0 : -EFAULT;
}

/* Where the bits of an entry's page begin; 4-MByte pages have more of them (PSE-36). */
static uint64_t frame(uint64_t entry, unsigned size, unsigned shift)
{
    if (size == 4 && shift == 22)
        return (entry & 0xffc00000) | (entry & 0x1fe000) << 19;
    return entry & FRAME & ~((1ULL << shift) - 1);
}

static int walk(struct nv_vcpu *nv, uint64_t efer, uint64_t gva, unsigned levels, unsigned size,
                uint64_t *gpa, nvmm_prot_t *prot)
{
    const uint64_t *crs = nv->page.state.crs;
    unsigned bits = size == 8 ? 9 : 10;
    bool pse = size == 8 || crs[NVMM_X64_CR_CR4] & CR4_PSE;
    uint64_t table = crs[NVMM_X64_CR_CR3] & (levels == 3 ? 0xffffffe0 : FRAME);
    nvmm_prot_t found = NVMM_PROT_ALL;

    for (unsigned level = levels; level; level--) {
        unsigned shift = 12 + (level - 1) * bits;
        uint64_t index = gva >> shift & ((1u << bits) - 1), entry;
        int err = read_entry(nv, table + (levels == 3 && level == 3 ? index & 3 : index) * size,
                             size, &entry);

        if (err)
            return err;
        if (levels != 3 || level != 3) { /* PDPTEs of PAE have no rights */
            if (!(entry & PTE_RW))
                found &= ~(nvmm_prot_t)NVMM_PROT_WRITE;
            if (!(entry & PTE_US))
                found &= ~(nvmm_prot_t)NVMM_PROT_USER;
            if (size == 8 && efer & EFER_NXE && entry & PTE_NX)
                found &= ~(nvmm_prot_t)NVMM_PROT_EXEC;
        }
        if (level == 1 || (entry & PTE_PS && level <= (levels > 3 ? 3 : 2) && pse)) {
            *gpa = frame(entry, size, shift) | (gva & ((1ULL << shift) - 1));
            *prot = found;
            return 0;
        }
        table = entry & FRAME;
    }
    return -EFAULT;
}

int nv_walk(struct nv_vcpu *nv, uint64_t efer, uint64_t gva, uint64_t *gpa, nvmm_prot_t *prot)
{
    const uint64_t *crs = nv->page.state.crs;
    unsigned levels = crs[NVMM_X64_CR_CR4] & CR4_LA57 ? 5 : 4;
    unsigned spare = 64 - (12 + levels * 9);

    if (!(crs[NVMM_X64_CR_CR0] & CR0_PG)) {
        *gpa = (uint32_t)gva;
        *prot = NVMM_PROT_ALL;
        return 0;
    }
    if (efer & EFER_LMA) {
        if ((uint64_t)((int64_t)(gva << spare) >> spare) != gva)
            return -EFAULT;
        return walk(nv, efer, gva, levels, 8, gpa, prot);
    }
    gva = (uint32_t)gva;
    return crs[NVMM_X64_CR_CR4] & CR4_PAE ? walk(nv, efer, gva, 3, 8, gpa, prot)
                                          : walk(nv, efer, gva, 2, 4, gpa, prot);
}

int nvmm_gva_to_gpa(struct nvmm_machine *mach, struct nvmm_vcpu *vcpu, gvaddr_t gva, gpaddr_t *gpa,
                    nvmm_prot_t *prot)
{
    struct nv_vcpu *nv = nv_vcpu(mach, vcpu);
    int err;

    if (!nv)
        return -1;
    if (gva % GUEST_PAGE || !gpa || !prot)
        return nv_result(-EINVAL);
    err = nv_get(nv, NVMM_X64_STATE_CRS | NVMM_X64_STATE_MSRS);
    if (!err)
        err = nv_walk(nv, nv->page.state.msrs[NVMM_X64_MSR_EFER], gva, gpa, prot);
    return nv_result(err);
}

/* ---- the instruction ---- */

/* EFER costs a call of KVM's, and code segments tell mostly: only compatibility mode needs it. */
static int guess_efer(struct nv_vcpu *nv, uint64_t *efer)
{
    const struct nvmm_vcpu_state *s = &nv->page.state;
    int err;

    *efer = 0;
    if (!(s->crs[NVMM_X64_CR_CR0] & CR0_PG) || !(s->crs[NVMM_X64_CR_CR4] & CR4_PAE))
        return 0;
    if (s->segs[NVMM_X64_SEG_CS].attrib.l) {
        *efer = EFER_LMA;
        return 0;
    }
    err = nv_get(nv, NVMM_X64_STATE_MSRS);
    *efer = s->msrs[NVMM_X64_MSR_EFER];
    return err;
}

/* How many bytes at rip could be read. */
static unsigned fetch(struct nv_vcpu *nv, uint8_t bytes[15])
{
    const struct nvmm_vcpu_state *s = &nv->page.state;
    uint64_t efer, at = s->gprs[NVMM_X64_GPR_RIP], gpa;
    unsigned done = 0;

    if (guess_efer(nv, &efer))
        return 0;
    if (!(efer & EFER_LMA && s->segs[NVMM_X64_SEG_CS].attrib.l))
        at = (uint32_t)(at + s->segs[NVMM_X64_SEG_CS].base);
    while (done < 15) {
        unsigned room = GUEST_PAGE - (unsigned)((at + done) % GUEST_PAGE);
        nvmm_prot_t prot;
        void *hva;

        if (nv_walk(nv, efer, at + done, &gpa, &prot) ||
            mote_gpa_to_hva(nv->machine->m, gpa, &hva, NULL))
            break;
        if (room > 15 - done)
            room = 15 - done;
        memcpy(bytes + done, hva, room);
        done += room;
    }
    return done;
}

struct prefixes {
    bool operand, address, rep;
    int8_t seg;
};

/* The opcode's place, behind legacy prefixes and REX. */
static unsigned skip_prefixes(const uint8_t *b, unsigned n, bool long64, struct prefixes *p)
{
    static const struct {
        uint8_t byte;
        int8_t seg;
    } overrides[] = {{0x26, NVMM_X64_SEG_ES}, {0x2e, NVMM_X64_SEG_CS}, {0x36, NVMM_X64_SEG_SS},
                     {0x3e, NVMM_X64_SEG_DS}, {0x64, NVMM_X64_SEG_FS}, {0x65, NVMM_X64_SEG_GS}};
    unsigned i = 0;

    for (; i < n; i++) {
        bool is_override = false;

        for (unsigned o = 0; o < sizeof(overrides) / sizeof(*overrides); o++) {
            if (b[i] != overrides[o].byte)
                continue;
            is_override = true;
            p->seg = overrides[o].seg;
        }
        if (b[i] == 0x66)
            p->operand = true;
        else if (b[i] == 0x67)
            p->address = true;
        else if (b[i] == 0xf2 || b[i] == 0xf3)
            p->rep = true;
        else if (b[i] != 0xf0 && !is_override)
            break;
    }
    if (long64 && i < n && (b[i] & 0xf0) == 0x40)
        i++;
    return i;
}

static void decode_io(struct nv_insn *insn, uint8_t opcode, const struct prefixes *p, bool def32)
{
    insn->kind = NV_INSN_IO;
    insn->string = opcode < 0x70;
    insn->in = insn->string ? opcode < 0x6e : !(opcode & 2);
    insn->rep = insn->string && p->rep;
    insn->operand_size = !(opcode & 1) ? 1 : def32 != p->operand ? 4 : 2;
    if (insn->string && insn->in)
        insn->seg = NVMM_X64_SEG_ES;
    else if (insn->string)
        insn->seg = p->seg >= 0 ? p->seg : NVMM_X64_SEG_DS;
}

void nv_decode(struct nv_vcpu *nv, struct nv_insn *insn)
{
    const struct nvmm_vcpu_state *s = &nv->page.state;
    struct prefixes p = {.seg = -1};
    bool long64, def32;
    uint8_t b[15];
    unsigned n, at;

    *insn = (struct nv_insn){.seg = -1};
    if (nv_get(nv, NVMM_X64_STATE_GPRS | NVMM_X64_STATE_SEGS | NVMM_X64_STATE_CRS))
        return;
    insn->npc = s->gprs[NVMM_X64_GPR_RIP];
    n = fetch(nv, b);
    long64 = s->segs[NVMM_X64_SEG_CS].attrib.l;
    def32 = long64 || (s->segs[NVMM_X64_SEG_CS].attrib.def && s->crs[NVMM_X64_CR_CR0] & CR0_PE &&
                       !(s->gprs[NVMM_X64_GPR_RFLAGS] & RFLAGS_VM));
    at = skip_prefixes(b, n, long64, &p);
    if (at >= n)
        return;
    insn->address_size = long64 ? (p.address ? 4 : 8) : def32 != p.address ? 4 : 2;
    if ((b[at] & 0xfc) == 0x6c || (b[at] & 0xf4) == 0xe4) {
        decode_io(insn, b[at], &p, def32);
        at += (b[at] & 0xfc) == 0xe4 ? 2 : 1;
    } else if (b[at] == 0x0f && at + 1 < n && (b[at + 1] == 0x30 || b[at + 1] == 0x32)) {
        insn->kind = NV_INSN_MSR;
        insn->in = b[at + 1] == 0x32;
        at += 2;
    } else if (b[at] == 0x0f && at + 1 < n && b[at + 1] == 0xa2) {
        insn->kind = NV_INSN_CPUID;
        at += 2;
    } else {
        return;
    }
    insn->npc += at;
    if (!long64)
        insn->npc = (uint32_t)insn->npc;
}
