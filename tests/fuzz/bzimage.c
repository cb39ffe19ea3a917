/* bzImage: setup header, payload, the ELF file in it; unpacked by mote or by itself. */
#include "loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_load(BOOT_LINUX, BOOT_LINUX_SELF, data, size);
}
