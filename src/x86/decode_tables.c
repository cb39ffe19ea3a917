/* Opcode maps as attributes, from the tables in SDM Vol. 2D appendix A. */
#include "x86/decode_tables.h"

#include "x86/decode.h"

#define M A_MODRM
#define V A_VEX
#define I A_IMM

/* An arithmetic row's eight opcodes; the last two are not here. */
#define ALU(row) [(row)...(row) + 3] = M, [(row) + 4] = I(IMM_SB), [(row) + 5] = I(IMM_Z)

const uint16_t x86_attr[4][256] =
    {
        [X86_MAP_1B] =
            {
                ALU(0x00),
                [0x06 ... 0x07] = A_NO64, /* PUSH, POP ES */
                ALU(0x08),
                [0x0e] = A_NO64, /* PUSH CS */
                [0x0f] = A_ESC,
                ALU(0x10),
                [0x16 ... 0x17] = A_NO64, /* PUSH, POP SS */
                ALU(0x18),
                [0x1e ... 0x1f] = A_NO64, /* PUSH, POP DS */
                ALU(0x20),
                [0x26] = A_PREFIX | A_GRP(SEG_ES),
                [0x27] = A_NO64, /* DAA */
                ALU(0x28),
                [0x2e] = A_PREFIX | A_GRP(SEG_CS),
                [0x2f] = A_NO64, /* DAS */
                ALU(0x30),
                [0x36] = A_PREFIX | A_GRP(SEG_SS),
                [0x37] = A_NO64, /* AAA */
                ALU(0x38),
                [0x3e] = A_PREFIX | A_GRP(SEG_DS),
                [0x3f] = A_NO64,                      /* AAS */
                [0x40 ... 0x4f] = A_PREFIX,           /* REX; INC, DEC */
                [0x50 ... 0x5f] = A_D64,              /* PUSH, POP */
                [0x60 ... 0x61] = A_NO64,             /* PUSHA, POPA */
                [0x62] = M | A_NO64 | A_GRP(GRP_MEM), /* BOUND; EVEX */
                [0x63] = M,                           /* ARPL; MOVSXD */
                [0x64] = A_PREFIX | A_GRP(SEG_FS),
                [0x65] = A_PREFIX | A_GRP(SEG_GS),
                [0x66] = A_PREFIX | A_GRP(6),
                [0x67] = A_PREFIX | A_GRP(7),
                [0x68] = I(IMM_Z) | A_D64,
                [0x69] = M | I(IMM_Z),
                [0x6a] = I(IMM_SB) | A_D64,
                [0x6b] = M | I(IMM_SB),
                [0x70 ... 0x7f] = I(IMM_SB) | A_F64, /* Jcc */
                [0x80] = M | I(IMM_SB),
                [0x81] = M | I(IMM_Z),
                [0x82] = M | I(IMM_SB) | A_NO64,
                [0x83] = M | I(IMM_SB),
                [0x84 ... 0x8b] = M,
                [0x8c] = M | A_GRP(GRP_SREG),
                [0x8d] = M | A_GRP(GRP_MEM), /* LEA */
                [0x8e] = M | A_GRP(GRP_LDSEG),
                [0x8f] = M | A_D64 | A_GRP(GRP_0),
                [0x9a] = I(IMM_FAR) | A_NO64,
                [0x9c ... 0x9d] = A_D64, /* PUSHF, POPF */
                [0xa0 ... 0xa3] = I(IMM_MOFFS),
                [0xa8] = I(IMM_SB),
                [0xa9] = I(IMM_Z),
                [0xb0 ... 0xb7] = I(IMM_SB),
                [0xb8 ... 0xbf] = I(IMM_V),
                [0xc0 ... 0xc1] = M | I(IMM_UB),
                [0xc2] = I(IMM_UW) | A_F64,
                [0xc3] = A_F64,
                [0xc4 ... 0xc5] = M | A_ESC | A_GRP(GRP_MEM), /* LES, LDS; VEX */
                [0xc6] = M | I(IMM_SB) | A_GRP(GRP_0),
                [0xc7] = M | I(IMM_Z) | A_GRP(GRP_0),
                [0xc8] = I(IMM_ENTER) | A_D64,
                [0xc9] = A_D64,
                [0xca] = I(IMM_UW),
                [0xcd] = I(IMM_UB),
                [0xce] = A_NO64, /* INTO */
                [0xd0 ... 0xd3] = M,
                [0xd4 ... 0xd5] = I(IMM_UB) | A_NO64, /* AAM, AAD */
                [0xd6] = A_NO64,                      /* SALC */
                [0xd8 ... 0xdf] = M,
                [0xe0 ... 0xe3] = I(IMM_SB) | A_F64, /* LOOP, JCXZ */
                [0xe4 ... 0xe7] = I(IMM_UB),         /* IN, OUT */
                [0xe8 ... 0xe9] = I(IMM_Z) | A_F64,
                [0xea] = I(IMM_FAR) | A_NO64,
                [0xeb] = I(IMM_SB) | A_F64,
                [0xf0] = A_PREFIX | A_GRP(8),
                [0xf2] = A_PREFIX | A_GRP(9),
                [0xf3] = A_PREFIX | A_GRP(10),
                [0xf6] = M | I(IMM_TEST_B),
                [0xf7] = M | I(IMM_TEST_Z),
                [0xfe] = M | A_GRP(GRP_4),
                [0xff] = M | A_GRP(GRP_5),
            },
        [X86_MAP_0F] =
            {
                [0x00] = M,
                [0x01] = M | A_GRP(GRP_7),
                [0x02 ... 0x03] = M,
                [0x04] = A_UD,
                [0x0a] = A_UD,
                [0x0c] = A_UD,
                [0x0d] = M,             /* PREFETCHW */
                [0x0e ... 0x0f] = A_UD, /* 3DNow! */
                [0x10 ... 0x17] = M | V,
                [0x18 ... 0x1f] = M,          /* hints */
                [0x20 ... 0x23] = M | A_REGS, /* MOV CR, DR */
                [0x24 ... 0x27] = A_UD,
                [0x28 ... 0x2f] = M | V,
                [0x36] = A_UD,
                [0x38 ... 0x3f] = A_UD, /* 38 and 3A never get here */
                [0x40 ... 0x4f] = M,
                [0x50 ... 0x6f] = M | V,
                [0x70 ... 0x73] = M | V | I(IMM_UB),
                [0x74 ... 0x76] = M | V,
                [0x77] = V,
                [0x78] = M | I(IMM_SSE4A) | A_F64, /* VMREAD */
                [0x79] = M | A_F64,                /* VMWRITE */
                [0x7a ... 0x7b] = A_UD,
                [0x7c ... 0x7f] = M | V,
                [0x80 ... 0x8f] = I(IMM_Z) | A_F64, /* Jcc */
                [0x90 ... 0x9f] = M,
                [0xa0 ... 0xa1] = A_D64, /* PUSH, POP FS */
                [0xa3] = M,
                [0xa4] = M | I(IMM_UB),
                [0xa5] = M,
                [0xa6 ... 0xa7] = A_UD,
                [0xa8 ... 0xa9] = A_D64, /* PUSH, POP GS */
                [0xab] = M,
                [0xac] = M | I(IMM_UB),
                [0xad] = M,
                [0xae] = M | V,
                [0xaf ... 0xb1] = M,
                [0xb2] = M | A_GRP(GRP_MEM), /* LSS */
                [0xb3] = M,
                [0xb4 ... 0xb5] = M | A_GRP(GRP_MEM), /* LFS, LGS */
                [0xb6 ... 0xb9] = M,
                [0xba] = M | I(IMM_UB) | A_GRP(GRP_8),
                [0xbb ... 0xc1] = M,
                [0xc2] = M | V | I(IMM_UB),
                [0xc3] = M | A_GRP(GRP_MEM), /* MOVNTI */
                [0xc4 ... 0xc6] = M | V | I(IMM_UB),
                [0xc7] = M,
                [0xd0 ... 0xfe] = M | V,
                [0xff] = M, /* UD0 */
            },
        [X86_MAP_0F38] =
            {
                [0x00 ... 0x7f] = M | V,
                [0x80 ... 0x82] = M | A_F64, /* INVEPT, INVVPID, INVPCID */
                [0x83 ... 0x8f] = M | V,
                [0x90 ... 0x93] = M | V | A_VSIB,
                [0x94 ... 0xff] = M | V,
            },
        [X86_MAP_0F3A] = {[0x00 ... 0xff] = M | V | I(IMM_UB)},
};

const struct x86_group x86_groups[GRP_COUNT] = {
    [GRP_NONE] = {.mem = 0xff, .reg = 0xff},
    [GRP_MEM] = {.mem = 0xff, .reg = 0x00},
    [GRP_0] = {.mem = 0x01, .reg = 0x01},
    [GRP_4] = {.mem = 0x03, .reg = 0x03},
    [GRP_5] = {.mem = 0x7f, .reg = 0x57, .d64 = 0x40, .f64 = 0x14},
    [GRP_7] = {.mem = 0xff, .reg = 0xff, .f64 = 0x0f},
    [GRP_8] = {.mem = 0xf0, .reg = 0xf0},
    [GRP_SREG] = {.mem = 0x3f, .reg = 0x3f},
    [GRP_LDSEG] = {.mem = 0x3d, .reg = 0x3d},
};

const struct x86_prefix x86_prefixes[11] = {
    [SEG_ES] = {.set = X86_SEGOVR, .seg = SEG_ES},
    [SEG_CS] = {.set = X86_SEGOVR, .seg = SEG_CS},
    [SEG_SS] = {.set = X86_SEGOVR, .seg = SEG_SS},
    [SEG_DS] = {.set = X86_SEGOVR, .seg = SEG_DS},
    [SEG_FS] = {.set = X86_SEGOVR, .seg = SEG_FS},
    [SEG_GS] = {.set = X86_SEGOVR, .seg = SEG_GS},
    [6] = {.set = X86_OPSIZE, .seg = SEG_COUNT},
    [7] = {.set = X86_ADSIZE, .seg = SEG_COUNT},
    [8] = {.set = X86_LOCK, .seg = SEG_COUNT},
    [9] = {.set = X86_REPNE, .clear = X86_REP, .seg = SEG_COUNT},
    [10] = {.set = X86_REP, .clear = X86_REPNE, .seg = SEG_COUNT},
};

const uint8_t x86_imm_size[IMM_MOFFS][3] = {
    [IMM_NONE] = {0, 0, 0}, [IMM_UB] = {1, 1, 1}, [IMM_UW] = {2, 2, 2},
    [IMM_SB] = {1, 1, 1},   [IMM_Z] = {2, 4, 4},  [IMM_V] = {2, 4, 8},
};

const uint8_t x86_address_size[3][2] = {{2, 4}, {4, 2}, {8, 4}};
