/*
 * bzImage with host unpacking: setup header, payload, the ELF file in it.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -DMOTE_VERSION='"fuzz"' \
 *     -DHAVE_LZ4 -DHAVE_ZSTD -DHAVE_ZLIB -DHAVE_LZMA -DHAVE_BZIP2 -Isrc -Itests/fuzz \
 *     tests/fuzz/bzimage.c src/{base,mem,x86,boot}/[a-z]*.c -llz4 -lzstd -lz -llzma -lbz2
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_boot(BOOT_LINUX, data, size);
    return 0;
}
