/* A sequence for people: address, bytes and, with Zydis, the text of each instruction. */
#include "sequence.h"

#include <stdio.h>

#ifdef HAVE_ZYDIS
#include <Zydis/Zydis.h>

static void text_of(const uint8_t *code, unsigned len, char *text, size_t size)
{
    static ZydisDecoder decoder;
    static ZydisFormatter formatter;
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecodedInstruction insn;

    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_ATT);
    if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, code, len, &insn, operand)) ||
        ZYAN_FAILED(ZydisFormatterFormatInstruction(&formatter, &insn, operand,
                                                    insn.operand_count_visible, text, size,
                                                    (uintptr_t)code, NULL)))
        snprintf(text, size, "?");
}
#else
static void text_of(const uint8_t *code, unsigned len, char *text, size_t size)
{
    snprintf(text, size, "(no Zydis when this was built)");
}
#endif

void seq_print(const struct seq *s)
{
    uint32_t at[SEQ_ITEMS + 1];
    struct seq copy = *s;
    char text[128];

    seq_assemble(&copy, at);
    for (unsigned n = 0; n < s->count; n++) {
        const uint8_t *code = (const uint8_t *)(uintptr_t)at[n];
        unsigned len = at[n + 1] - at[n];

        if (s->item[n].dropped)
            continue;
        text_of(code, len, text, sizeof(text));
        printf("    %08x ", at[n]);
        for (unsigned i = 0; i < 15; i++)
            i < len ? printf(" %02x", code[i]) : printf("   ");
        printf("  %s\n", text);
    }
}
