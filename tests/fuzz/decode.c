/*
 * Fuzz target: the first byte chooses the mode, the rest is code. Whatever it
 * is, the length lies within what was given and within 15; too few bytes are
 * -EAGAIN, and once they are enough the answer does not change any more.
 */
#include "x86/decode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
    if (!holds)
        abort();
}

static void check_fields(const struct x86_insn *insn)
{
    check(insn->base < X86_GPR_SLOTS && insn->index < X86_GPR_SLOTS && insn->scale <= 3);
    check(insn->reg < 16 && insn->rm < 16 && insn->vvvv < 16 && insn->pp < 4);
    check(insn->map <= X86_MAP_0F3A && insn->seg <= SEG_GS);
    check(insn->osize == 2 || insn->osize == 4 || insn->osize == 8);
    check(insn->asize == 2 || insn->asize == 4 || insn->asize == 8);
    check(insn->imm_size < insn->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct x86_insn insn;
    int before = -EAGAIN;

    if (size == 0)
        return 0;

    enum x86_mode mode = data[0] % 3;

    for (size_t n = 0; n < size && n <= 32; n++) {
        /* A block of its own, so that a read past n bytes is seen. */
        uint8_t *code = malloc(n ? n : 1);

        check(code != NULL);
        memcpy(code, data + 1, n);

        int ret = x86_decode(code, n, mode, &insn);

        free(code);
        if (ret > 0) {
            check((size_t)ret <= n && ret <= X86_INSN_MAX && insn.len == ret);
            check_fields(&insn);
        } else {
            check(ret == -EAGAIN || ret == -E2BIG || ret == -EILSEQ);
        }
        check(ret != -EAGAIN || n < X86_INSN_MAX);
        check(before == -EAGAIN || ret == before);
        before = ret;
    }
    return 0;
}
