#include "boot/loader.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "boot/layout.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

int loader_init(struct loader *ld, const struct boot_params *params, struct guest_mem *mem,
                struct mote_state *state)
{
    memset(ld, 0, sizeof(*ld));
    ld->params = params;
    ld->mem = mem;
    ld->state = state;
    if (!params->e820_count || params->e820_count > E820_MAX)
        return err_set(EINVAL, "memory map has %u ranges, expected 1 to %d", params->e820_count,
                       E820_MAX);
    if (params->module_count > BOOT_MODULES_MAX)
        return err_set(EINVAL, "%u modules, expected at most %d", params->module_count,
                       BOOT_MODULES_MAX);
    for (unsigned i = 0; i < params->e820_count; i++) {
        if (!range_in(params->e820[i].base, params->e820[i].size, UINT64_MAX))
            return err_set(EINVAL, "memory map: range %u wraps", i);
    }
    return 0;
}

uint64_t loader_ram_size(const struct loader *ld)
{
    uint64_t size = 0;

    for (unsigned i = 0; i < ld->params->e820_count; i++) {
        if (ld->params->e820[i].type == E820_RAM)
            size += ld->params->e820[i].size;
    }
    return size;
}

struct loader_text loader_ram(const struct loader *ld)
{
    struct loader_text t;
    uint64_t kib = loader_ram_size(ld) >> 10;

    if (kib < 1024)
        snprintf(t.text, sizeof(t.text), "%" PRIu64 " KiB", kib);
    else
        snprintf(t.text, sizeof(t.text), "%" PRIu64 " MiB", (kib + 1023) >> 10);
    return t;
}

uint64_t loader_ram_at(const struct loader *ld, uint64_t base)
{
    for (unsigned i = 0; i < ld->params->e820_count; i++) {
        const struct boot_e820 *e = &ld->params->e820[i];

        if (e->type == E820_RAM && base - e->base < e->size)
            return e->size - (base - e->base);
    }
    return 0;
}

/* The claimed range that [base, end) overlaps, or NULL. */
static const struct loader_range *taken_find(const struct loader *ld, uint64_t base, uint64_t end)
{
    for (unsigned i = 0; i < ld->taken_count; i++) {
        if (base < ld->taken[i].end && ld->taken[i].base < end)
            return &ld->taken[i];
    }
    return NULL;
}

int loader_take(struct loader *ld, const char *name, const char *what, uint64_t base, uint64_t size)
{
    const struct loader_range *other;

    if (!size)
        return 0;
    if (loader_ram_at(ld, base) < size)
        return err_set(ENOMEM,
                       "%s: %s needs memory from 0x%" PRIx64 " to 0x%" PRIx64
                       ", not all of which is in the guest's %s",
                       name, what, base, base + size - 1, loader_ram(ld).text);
    other = taken_find(ld, base, base + size);
    if (other)
        return err_set(ENOMEM,
                       "%s: %s at 0x%" PRIx64 " to 0x%" PRIx64 " overlaps the range 0x%" PRIx64
                       " to 0x%" PRIx64 ", which is in use",
                       name, what, base, base + size - 1, other->base, other->end - 1);
    if (ld->taken_count == ARRAY_SIZE(ld->taken))
        return err_set(ENOMEM, "%s: too many ranges to load", name);
    ld->taken[ld->taken_count++] = (struct loader_range){base, base + size};
    trace(TRACE_BOOT, "%s: %s at 0x%" PRIx64 "-0x%" PRIx64, name, what, base, base + size - 1);
    return 0;
}

void *loader_at(struct loader *ld, const char *name, uint64_t base, uint64_t size)
{
    void *at = NULL;

    if (loader_ram_at(ld, base) >= size)
        at = guest_mem_at(ld->mem, GPA(base), size, MEM_WRITE);
    if (!at)
        err_set(ENOMEM, "%s: no guest memory for %" PRIu64 " bytes at 0x%" PRIx64, name, size,
                base);
    return at;
}

int loader_put_file(struct loader *ld, const struct file *file, uint64_t offset, uint64_t base,
                    uint64_t len)
{
    void *at = loader_at(ld, file->path, base, len);
    int ret = at ? file_read(file, offset, at, len) : -ENOMEM;

    if (!ret)
        guest_mem_written(ld->mem, GPA(base), len);
    return step_done(file->load, ret);
}

int loader_put(struct loader *ld, uint64_t gpa, const void *buf, uint64_t len)
{
    if (loader_ram_at(ld, gpa) < len || guest_mem_write(ld->mem, GPA(gpa), buf, len))
        return err_set(ENOMEM, "no guest memory for the boot data at 0x%" PRIx64, gpa);
    return 0;
}

/* The highest room in the range e, as loader_place. */
static bool place_in(const struct loader *ld, const struct boot_e820 *e, uint64_t size,
                     uint64_t last, uint64_t *base)
{
    uint64_t bottom = MAX(e->base, BOOT_PLACE_BOTTOM);
    uint64_t end = e->base + e->size;

    if (last < UINT64_MAX)
        end = MIN(end, last + 1);
    while (end >= bottom && end - bottom >= size) {
        uint64_t at = align_down(end - size, PAGE_SIZE);
        const struct loader_range *other;

        if (at < bottom)
            return false;
        other = taken_find(ld, at, at + size);
        if (!other) {
            *base = at;
            return true;
        }
        end = other->base;
    }
    return false;
}

bool loader_place(struct loader *ld, uint64_t size, uint64_t last, uint64_t *base)
{
    bool found = false;

    if (!size || ld->taken_count == ARRAY_SIZE(ld->taken))
        return false;
    for (unsigned i = 0; i < ld->params->e820_count; i++) {
        uint64_t at;

        if (ld->params->e820[i].type != E820_RAM)
            continue;
        if (place_in(ld, &ld->params->e820[i], size, last, &at) && (!found || at > *base)) {
            *base = at;
            found = true;
        }
    }
    if (found)
        ld->taken[ld->taken_count++] = (struct loader_range){*base, *base + size};
    return found;
}

int loader_place_file(struct loader *ld, const struct file *file, const char *what, uint64_t last,
                      uint64_t *base)
{
    if (!loader_place(ld, file->size, last, base))
        return err_set(ENOMEM,
                       "%s: %s of %" PRIu64 " bytes does not fit beside the kernel in %s of memory",
                       file->path, what, file->size, loader_ram(ld).text);
    trace(TRACE_BOOT, "%s: %s at 0x%" PRIx64 "-0x%" PRIx64, file->path, what, *base,
          *base + file->size - 1);
    return loader_put_file(ld, file, 0, *base, file->size);
}

int loader_put_cmdline(struct loader *ld, uint64_t max)
{
    const char *cmdline = ld->params->cmdline ? ld->params->cmdline : "";
    uint64_t len = strlen(cmdline);

    max = MIN(max, BOOT_CMDLINE_MAX);
    if (len > max)
        return err_set(E2BIG, "command line of %" PRIu64 " bytes: %s takes at most %" PRIu64, len,
                       ld->params->kernel_path, max);
    trace(TRACE_BOOT, "command line at 0x%x: %s", BOOT_CMDLINE, cmdline);
    return loader_put(ld, BOOT_CMDLINE, cmdline, len + 1);
}
