#include "boot/flat.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "boot/layout.h"
#include "boot/segments.h"

#include <errno.h>
#include <inttypes.h>

int flat_load(struct loader *ld, const struct file *kernel)
{
    uint64_t addr = ld->params->flat_addr.v;
    enum boot_mode mode = ld->params->flat_mode;
    uint64_t limit = mode == BOOT_MODE_REAL ? BIT(20) : BIT(32);
    int ret = 0;

    if (addr >= limit)
        return err_set(EINVAL, "%s: load address 0x%" PRIx64 " is not below 0x%" PRIx64,
                       kernel->path, addr, limit);
    if (mode != BOOT_MODE_REAL)
        ret = loader_take(ld, kernel->path, "boot data", BOOT_GDT, BOOT_TABLES_END - BOOT_GDT);
    if (!ret)
        ret = loader_take(ld, kernel->path, "flat image", addr, kernel->size);
    if (!ret)
        ret = loader_put_file(ld, kernel, 0, addr, kernel->size);
    if (ret)
        return ret;
    switch (mode) {
    case BOOT_MODE_REAL: segments_set_real(ld->state, (uint32_t)addr); return 0;
    case BOOT_MODE_PROTECTED: return segments_set_protected(ld, (uint32_t)addr);
    case BOOT_MODE_LONG: return segments_set_long(ld, addr);
    }
    return err_set(EINVAL, "unknown start mode %d", (int)mode);
}
