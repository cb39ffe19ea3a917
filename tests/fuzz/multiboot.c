/* Multiboot 1: header, address fields, ELF32, modules. */
#include "loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_load(BOOT_MULTIBOOT, BOOT_PVH, data, size);
}
