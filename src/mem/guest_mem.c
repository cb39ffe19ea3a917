#include "mem/guest_mem.h"

#include "base/bits.h"

#include <errno.h>
#include <string.h>

#define GPA_LIMIT (UINT64_C(1) << 52)

/*
 * vCPUs race with each other and with mote on guest memory, as processors do: those
 * races are the guest's, and ThreadSanitizer need not tell them.
 */
#ifdef __SANITIZE_THREAD__
void AnnotateBenignRaceSized(const char *file, int line, const volatile void *at, size_t size,
                             const char *what);
#define RACES_ARE_THE_GUESTS(at, size)                                                             \
    AnnotateBenignRaceSized(__FILE__, __LINE__, at, size, "guest memory")
#else
#define RACES_ARE_THE_GUESTS(at, size) ((void)0)
#endif

void guest_mem_init(struct guest_mem *mem)
{
    memset(mem, 0, sizeof(*mem));
}

int guest_mem_map(struct guest_mem *mem, gpa_t gpa, uint64_t size, void *hva, unsigned rights)
{
    unsigned at = 0;

    if (!size || ((gpa.v | size | (uintptr_t)hva) & PAGE_MASK) || !range_in(gpa.v, size, GPA_LIMIT))
        return -EINVAL;
    while (at < mem->count && mem->slot[at].gpa.v < gpa.v)
        at++;
    if (at < mem->count && mem->slot[at].gpa.v - gpa.v < size)
        return -EEXIST;
    if (at && gpa.v - mem->slot[at - 1].gpa.v < mem->slot[at - 1].size)
        return -EEXIST;
    if (mem->count == GUEST_MEM_SLOTS)
        return -ENOSPC;
    memmove(&mem->slot[at + 1], &mem->slot[at], (mem->count - at) * sizeof(mem->slot[0]));
    mem->slot[at] = (struct mem_slot){gpa, size, hva, rights};
    mem->count++;
    RACES_ARE_THE_GUESTS(hva, size);
    return 0;
}

int guest_mem_unmap(struct guest_mem *mem, gpa_t gpa)
{
    for (unsigned i = 0; i < mem->count; i++) {
        if (mem->slot[i].gpa.v != gpa.v)
            continue;
        mem->count--;
        memmove(&mem->slot[i], &mem->slot[i + 1], (mem->count - i) * sizeof(mem->slot[0]));
        return 0;
    }
    return -ENOENT;
}

/*
 * From the top: the slot asked for again and again is the guest's main memory, and
 * there is little above it. The first slot that does not start past gpa is the only
 * one that can hold it.
 */
const struct mem_slot *guest_mem_find(const struct guest_mem *mem, gpa_t gpa)
{
    unsigned i = mem->count;

    while (i && mem->slot[i - 1].gpa.v > gpa.v)
        i--;
    if (!i || gpa.v - mem->slot[i - 1].gpa.v >= mem->slot[i - 1].size)
        return NULL;
    return &mem->slot[i - 1];
}

void *guest_mem_at(const struct guest_mem *mem, gpa_t gpa, uint64_t len, unsigned rights)
{
    const struct mem_slot *slot = guest_mem_find(mem, gpa);

    if (!slot || (slot->rights & rights) != rights)
        return NULL;
    if (!range_in(gpa.v - slot->gpa.v, len, slot->size))
        return NULL;
    return slot->hva + (gpa.v - slot->gpa.v);
}

static int range_granted(const struct guest_mem *mem, gpa_t gpa, uint64_t len, unsigned rights)
{
    while (len) {
        const struct mem_slot *slot = guest_mem_find(mem, gpa);
        uint64_t part;

        if (!slot || (slot->rights & rights) != rights)
            return -EFAULT;
        part = MIN(len, slot->size - (gpa.v - slot->gpa.v));
        gpa = gpa_add(gpa, part);
        len -= part;
    }
    return 0;
}

int guest_mem_read(const struct guest_mem *mem, gpa_t gpa, void *buf, uint64_t len)
{
    uint8_t *out = buf;
    int err = range_granted(mem, gpa, len, MEM_READ);

    if (err)
        return err;
    while (len) {
        const struct mem_slot *slot = guest_mem_find(mem, gpa);
        uint64_t off = gpa.v - slot->gpa.v;
        uint64_t part = MIN(len, slot->size - off);

        memcpy(out, slot->hva + off, part);
        out += part;
        gpa = gpa_add(gpa, part);
        len -= part;
    }
    return 0;
}

int guest_mem_write(struct guest_mem *mem, gpa_t gpa, const void *buf, uint64_t len)
{
    const uint8_t *in = buf;
    uint64_t left = len;
    gpa_t at = gpa;
    int err = range_granted(mem, gpa, len, MEM_WRITE);

    if (err)
        return err;
    while (left) {
        const struct mem_slot *slot = guest_mem_find(mem, at);
        uint64_t off = at.v - slot->gpa.v;
        uint64_t part = MIN(left, slot->size - off);

        memcpy(slot->hva + off, in, part);
        in += part;
        at = gpa_add(at, part);
        left -= part;
    }
    guest_mem_written(mem, gpa, len);
    return 0;
}

int guest_mem_fill_rom(struct guest_mem *mem, gpa_t gpa, const void *buf, uint64_t len)
{
    uint8_t *rom = guest_mem_at(mem, gpa, len, MEM_READ);

    if (!rom)
        return -EFAULT;
    memcpy(rom, buf, len);
    guest_mem_written(mem, gpa, len);
    return 0;
}

void guest_mem_written(struct guest_mem *mem, gpa_t gpa, uint64_t len)
{
    if (mem->written)
        mem->written(mem->user, gpa, len);
}
