/* Flat images in each mode, anywhere. */
#include "loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_load(BOOT_FLAT, BOOT_FLAT, data, size);
}
