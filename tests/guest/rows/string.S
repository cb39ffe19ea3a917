# String instructions.
#include "macros.inc"

.macro STRING op, size
    I \op\size
    ROW "std; \op\size"
    std
    \op\size
    END
    ROW "addr32 \op\size"
    addr32 \op\size
    END
    ROW "rep \op\size 9"
    movl $9, %ecx
    rep \op\size
    END
    ROW "rep \op\size 0"
    xorl %ecx, %ecx
    rep \op\size
    END
    ROW "addr32 rep \op\size"
    movabsq $0x7700000005, %rcx
    addr32 rep \op\size
    END
    # with RCX zero as a whole: makes differ on whether the upper half is cleared
    ROW "addr32 rep \op\size 0"
    xorl %ecx, %ecx
    addr32 rep \op\size
    END
    ROW "std; rep \op\size 9"
    std
    movl $9, %ecx
    rep \op\size
    END
.endm
.irp op, movs, stos, lods
    .irp size, b, w, l, q
        STRING \op, \size
        ROW "repne \op\size 3"
        movl $3, %ecx
        .byte 0xf2
        \op\size
        END
    .endr
.endr
.macro COMPARE op, size
    I \op\size
    ROW "std; \op\size"
    std
    \op\size
    END
    .irp rep, repe, repne
        ROW "\rep \op\size 12"
        movl $12, %ecx
        \rep \op\size
        END
        ROW "\rep \op\size 0"
        xorl %ecx, %ecx
        \rep \op\size
        END
        ROW "std; \rep \op\size 12"
        std
        movl $12, %ecx
        \rep \op\size
        END
        ROW "addr32 \rep \op\size"
        movabsq $0x100000006, %rcx
        addr32 \rep \op\size
        END
    .endr
.endm
.irp size, b, w, l, q
    COMPARE cmps, \size
    COMPARE scas, \size
    ROW "repe cmps\size, equal start"
    movl $100, %ecx
    movq %rdi, %rbx
    rep movsb
    subq $100, %rsi
    movq %rbx, %rdi
    movl $40, %ecx
    repe cmps\size
    END
    ROW "repe scas\size, equal start"
    xorl %eax, %eax
    movq %rdi, %rbx
    movl $40, %ecx
    rep stosb
    movq %rbx, %rdi
    movl $40, %ecx
    repe scas\size
    END
    ROW "repne scas\size finds"
    xorl %eax, %eax
    movq %rax, 24(%rdi)
    notq %rax
    movq %rdi, %rbx
    movl $3, %ecx
    rep stosq
    movq %rbx, %rdi
    xorl %eax, %eax
    movl $64, %ecx
    repne scas\size
    END
.endr
# overlapping moves: byte by byte in order
.irp size, b, w, l, q
    .irp d, 1, 2, 3, 4, 7, 8, 16, -1, -3, -8
        ROW "rep movs\size, destination \d ahead"
        leaq \d(%rsi), %rdi
        movl $20, %ecx
        rep movs\size
        END
        ROW "std; rep movs\size, destination \d ahead"
        leaq \d(%rsi), %rdi
        movl $20, %ecx
        std
        rep movs\size
        END
    .endr
    ROW "rep movs\size over a page"
    leaq 0x7f0(%rsi), %rsi
    leaq -0x4(%rdi), %rdi
    movl $12, %ecx
    rep movs\size
    END
    ROW "std; rep movs\size over a page"
    leaq 0x812(%rsi), %rsi
    leaq 0x5(%rdi), %rdi
    movl $12, %ecx
    std
    rep movs\size
    END
    ROW "rep stos\size runs into read-only"
    movl $ROW_RO-21, %edi
    movl $100, %ecx
    rep stos\size
    END
    ROW "rep movs\size runs into read-only"
    movl $ROW_RO-21, %edi
    movl $100, %ecx
    rep movs\size
    END
    ROW "rep lods\size runs into nothing"
    movl $ROW_NONE-21, %esi
    movl $100, %ecx
    rep lods\size
    END
    ROW "repe cmps\size runs into nothing"
    movl $ROW_NONE-32, %esi
    movl $ROW_NONE-64, %edi
    xorl %ecx, %ecx
    movl $64, %ecx
    repe cmps\size
    END
    ROW "std; rep stos\size runs out at the bottom"
    movl $ROW_DATA+20, %edi
    movl $100, %ecx
    std
    rep stos\size
    END
    ROW "movs\size with fs"
    movl $0x20, %esi
    movs\size %fs:(%rsi), %es:(%rdi)
    END
    ROW "rep lods\size with gs"
    movl $0x20, %esi
    movl $3, %ecx
    rep lods\size %gs:(%rsi)
    END
.endr
    ROW "rep movsb of a page"
    movl $ROW_DATA+5, %esi
    movl $ROW_DATA+0x1100, %edi
    movl $4096, %ecx
    rep movsb
    END
    ROW "rep stosq of two pages"
    movl $ROW_DATA, %edi
    movl $1024, %ecx
    rep stosq
    END
    ROW "rep movsb, rdi not canonical"
    movabsq $0x8000000000000000, %rdi
    movl $4, %ecx
    rep movsb
    END
    ROW "rep movsb, count 0, pointers bad"
    movabsq $0x8000000000000000, %rdi
    xorl %ecx, %ecx
    rep movsb
    END
    .section .note.GNU-stack,"",@progbits
