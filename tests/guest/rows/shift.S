# Shifts and rotates (C0, C1, D0-D3, 0F A4/A5/AC/AD).
#
# With a masked count of zero no flag changes; OF is defined for a count of one
# only; AF is undefined after a shift; CF of SHL and SHR is undefined when the
# count reaches the operand's size (SDM Vol. 2B SAL/SAR/SHL/SHR).
#include "macros.inc"

.macro SHIFT op, size, regs, count, undef
    U \undef, \op\size $\count, \regs
    ROW "\op\size %cl=\count, \regs", \undef
    movl $\count, %ecx
    \op\size %cl, \regs
    END
.endm

.macro SHIFTS op, count, undef, wide
    SHIFT \op, b, %bl, \count, \undef|\wide
    SHIFT \op, b, %dh, \count, \undef|\wide
    SHIFT \op, b, (%rdi), \count, \undef|\wide
    SHIFT \op, w, %bx, \count, \undef|\wide
    SHIFT \op, w, 2(%rdi), \count, \undef|\wide
    SHIFT \op, l, %r9d, \count, \undef
    SHIFT \op, l, 4(%rdi), \count, \undef
    SHIFT \op, q, %rbx, \count, \undef
    SHIFT \op, q, 8(%rdi), \count, \undef
.endm

# count, what a 5-bit count and a 6-bit count leave undefined is the same for
# these: 0, 32, 64 are zero for all but q
.irp op, shl, shr, sar
    SHIFTS \op, 0, 0, 0
    SHIFTS \op, 1, AF, 0
    SHIFTS \op, 4, AF|OF, 0
    SHIFTS \op, 7, AF|OF, 0
    SHIFTS \op, 8, AF|OF, CF
    SHIFTS \op, 15, AF|OF, CF
    SHIFTS \op, 16, AF|OF, CF
    SHIFTS \op, 31, AF|OF, CF
    SHIFTS \op, 33, AF|OF, 0
    SHIFTS \op, 63, AF|OF, CF
    SHIFTS \op, 255, AF|OF, CF
    SHIFTS \op, 64, 0, 0
.endr
.irp op, rol, ror, rcl, rcr
    SHIFTS \op, 0, 0, 0
    SHIFTS \op, 1, 0, 0
    SHIFTS \op, 4, OF, 0
    SHIFTS \op, 7, OF, 0
    SHIFTS \op, 8, OF, 0
    SHIFTS \op, 9, OF, 0
    SHIFTS \op, 16, OF, 0
    SHIFTS \op, 17, OF, 0
    SHIFTS \op, 31, OF, 0
    SHIFTS \op, 33, OF, 0
    SHIFTS \op, 63, OF, 0
    SHIFTS \op, 255, OF, 0
    SHIFTS \op, 64, 0, 0
.endr
# a count of 32: nothing for b, w, l; half the register for q
.irp op, shl, shr, sar
    SHIFT \op, b, %bl, 32, 0
    SHIFT \op, w, %bx, 32, 0
    SHIFT \op, l, %ebx, 32, 0
    SHIFT \op, q, %rbx, 32, AF|OF
.endr
.irp op, rol, ror, rcl, rcr
    SHIFT \op, b, %bl, 32, 0
    SHIFT \op, w, %bx, 32, 0
    SHIFT \op, l, %ebx, 32, 0
    SHIFT \op, q, %rbx, 32, OF
.endr
# D0 and D1, the one-bit opcodes, and D0 /6, SHL's other code point
.irp op, shl, shr, sar
    U AF, \op\()b %al
    U AF, \op\()b (%rdi)
    U AF, \op\()w %ax
    U AF, \op\()w (%rdi)
    U AF, \op\()l %eax
    U AF, \op\()l (%rdi)
    U AF, \op\()q %r8
    U AF, \op\()q (%rdi)
.endr
.irp op, rol, ror, rcl, rcr
    I \op\()b %al
    I \op\()b (%rdi)
    I \op\()w %ax
    I \op\()w (%rdi)
    I \op\()l %eax
    I \op\()l (%rdi)
    I \op\()q %r8
    I \op\()q (%rdi)
.endr
    ROW "sal d1/6", AF
    .byte 0xd1, 0xf3
    END
    ROW "sal c0/6 7", AF|OF
    .byte 0xc0, 0xf3, 0x07
    END

# SHLD, SHRD: counts past a 16-bit operand leave everything undefined, so none
.irp op, shld, shrd
    .irp n, 0, 1, 4, 15, 31, 33, 63
        .if \n == 0
            .set u, 0
        .elseif \n == 1
            .set u, AF
        .else
            .set u, AF|OF
        .endif
        .if \n == 33
            .set ul, AF
        .else
            .set ul, u
        .endif
        .if \n < 16
            U u, \op\()w $\n, %ax, %bx
            U u, \op\()w $\n, %ax, 2(%rdi)
        .endif
        U ul, \op\()l $\n, %eax, %r9d
        U ul, \op\()l $\n, %eax, (%rdi)
        U u, \op\()q $\n, %rax, %rbx
        U u, \op\()q $\n, %r8, (%rdi)
        ROW "\op\()l %cl=\n", ul
        movl $\n, %ecx
        \op\()l %cl, %eax, %ebx
        END
        ROW "\op\()l %cl=\n, mem", ul
        movl $\n, %ecx
        \op\()l %cl, %eax, 4(%rdi)
        END
        ROW "\op\()q %cl=\n", u
        movl $\n, %ecx
        \op\()q %cl, %r10, %rbx
        END
        ROW "\op\()q %cl=\n, mem", u
        movl $\n, %ecx
        \op\()q %cl, %r10, (%rdi)
        END
    .endr
    ROW "\op\()w %cl=9", AF|OF
    movl $9, %ecx
    \op\()w %cl, %ax, %bx
    \op\()w %cl, %dx, (%rdi)
    END
.endr
    .section .note.GNU-stack,"",@progbits
