/*
 * Multiboot 1: header, address fields, ELF32.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -DMOTE_VERSION='"fuzz"' \
 *     -DHAVE_LZ4 -DHAVE_ZSTD -DHAVE_ZLIB -DHAVE_LZMA -DHAVE_BZIP2 -Isrc -Itests/fuzz \
 *     tests/fuzz/multiboot.c src/{base,mem,x86,boot}/[a-z]*.c -llz4 -lzstd -lz -llzma -lbz2
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_boot(BOOT_MULTIBOOT, data, size);
    return 0;
}
