/* ELF files of both classes and their PVH note. */
#include "loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_load(BOOT_PVH, BOOT_MULTIBOOT, data, size);
}
