/* The table of all cases. Each is CASE(name, mode, assembler text, fields of struct api_case...).
 */
#include "api.h"

/* Names of api.h for the guests. */
#define TEXT(x)     #x
#define VALUE(x)    TEXT(x)
#define BITS_REAL   "16"
#define BITS_PROT   "32"
#define BITS_COMPAT "32"
#define BITS_LONG   "64"
#define BITS_USER   "64"
__asm__("CODE = 0x1000\nHANDLERS = 0x4000\nSTACK = 0x8000\nDATA = 0x10000\nDEV = 0x40000\n");

/* First their code, in this program's read-only data. */
#define CASE(name, mode, text, ...)                                                                \
    __asm__(".pushsection .rodata\n.global g_" #name ", g_" #name "_end\ng_" #name                 \
            ":\n.code" BITS_##mode "\n" text "\ng_" #name "_end:\n.code64\n.popsection\n");        \
    extern const uint8_t g_##name[], g_##name##_end[];
#include "cases.inc"
#undef CASE

#define W(reg, value)                                                                              \
    {                                                                                              \
        WANT_GPR, MOTE_##reg, value                                                                \
    }
#define RIP(value)                                                                                 \
    {                                                                                              \
        WANT_RIP, 0, value                                                                         \
    }
#define F(mask, value)                                                                             \
    {                                                                                              \
        WANT_FLAGS, mask, value                                                                    \
    }
#define HANDLER(vector) RIP(HANDLERS + 16 * (vector) + 6)
#define STATUS          (FLAGS_CF | FLAGS_PF | FLAGS_AF | FLAGS_ZF | FLAGS_SF | FLAGS_OF)

#define CASE(name, mode, text, ...) {#name, mode, g_##name, g_##name##_end, __VA_ARGS__},
const struct api_case api_cases[] = {
#include "cases.inc"
};
const unsigned api_count = sizeof(api_cases) / sizeof(*api_cases);
