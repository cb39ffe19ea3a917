# Bit tests and scans, byte swaps, multiplication and division.
#include "macros.inc"

# BT and its kin change CF only; OF, SF, AF and PF are undefined (SDM Vol. 2A BT).
.set UB, OF|SF|AF|PF
.irp op, bt, bts, btr, btc
    .irp n, 0, 7, 15, 31, 63, 255
        U UB, \op\()w $\n, %bx
        U UB, \op\()l $\n, %ebx
        U UB, \op\()q $\n, %r9
        U UB, \op\()w $\n, (%rdi)
        U UB, \op\()l $\n, (%rdi)
        U UB, \op\()q $\n, (%rdi)
    .endr
    U UB, \op\()w %cx, %bx
    U UB, \op\()l %ecx, %ebx
    U UB, \op\()q %rcx, %rbx
    # the offset in a register reaches outside the operand
    .irp n, 0, 5, 16, 31, 33, 100, 1000, -1, -17, -100, -2000
        ROW "\op\()w mem, \n", UB
        movl $\n, %ecx
        \op\()w %cx, (%rdi)
        END
        ROW "\op\()l mem, \n", UB
        movl $\n, %ecx
        \op\()l %ecx, (%rdi)
        END
        ROW "\op\()q mem, \n", UB
        movq $\n, %rcx
        \op\()q %rcx, (%rdi)
        END
    .endr
    .ifnc \op,bt
        U UB, lock \op\()w $3, (%rdi)
        U UB, lock \op\()l $3, (%rdi)
        U UB, lock \op\()q $33, (%rdi)
        ROW "lock \op\()q mem, -65", UB
        movq $-65, %rcx
        lock \op\()q %rcx, (%rdi)
        END
        ROW "lock \op\()l mem, 70", UB
        movl $70, %ecx
        lock \op\()l %ecx, (%rdi)
        lock \op\()w %cx, (%rdi)
        END
    .endif
.endr
    ROW "lock bt"
    .byte 0xf0, 0x0f, 0xa3, 0x07
    END

# BSF and BSR: only ZF; a zero source leaves the destination alone on every
# CPU known (AMD APM Vol. 3 BSF).
.irp op, bsf, bsr
    U STATUS^ZF, \op\()w %bx, %ax
    U STATUS^ZF, \op\()q %rbx, %rax
    U STATUS^ZF, \op\()w (%rdi), %r8w
    U STATUS^ZF, \op\()q (%rdi), %r8
    ROW "\op\()l, source not zero", STATUS^ZF
    orl $0x100, %ebx
    \op\()l %ebx, %eax
    orl $0x2000, (%rdi)
    \op\()l (%rdi), %r9d
    END
    ROW "\op of zero", STATUS^ZF
    xorl %ebx, %ebx
    \op\()w %bx, %cx
    \op\()q %rbx, %rdx
    END
.endr
.irp op, lzcnt, tzcnt
    .ifc \op,lzcnt
        .set need, ABM
    .else
        .set need, BMI1
    .endif
    NU need, OF|SF|PF|AF, \op\()w %bx, %ax
    NU need, OF|SF|PF|AF, \op\()l %ebx, %eax
    NU need, OF|SF|PF|AF, \op\()q %rbx, %rax
    NU need, OF|SF|PF|AF, \op\()w (%rdi), %ax
    NU need, OF|SF|PF|AF, \op\()l (%rdi), %r8d
    NU need, OF|SF|PF|AF, \op\()q (%rdi), %rax
    ROW "\op of zero", OF|SF|PF|AF, need
    xorl %ebx, %ebx
    \op\()w %bx, %cx
    \op\()l %ebx, %eax
    \op\()q %rbx, %rdx
    END
.endr
    N POPCNT, popcntw %bx, %ax
    N POPCNT, popcntl %ebx, %eax
    N POPCNT, popcntq %rbx, %rax
    N POPCNT, popcntw (%rdi), %ax
    N POPCNT, popcntl (%rdi), %r8d
    N POPCNT, popcntq (%rdi), %rax
.irp r, ax, cx, dx, bx, sp, bp, si, di
    I bswap %e\r
    I bswap %r\r
.endr
    I bswap %r9d
    I bswap %r15

# MUL, IMUL: SF, ZF, AF, PF undefined. DIV, IDIV: all six.
.set UM, SF|ZF|AF|PF
    U UM, mulb %bl
    U UM, mulb %bh
    U UM, mulb (%rdi)
    U UM, mulw %bx
    U UM, mulw (%rdi)
    U UM, mull %r9d
    U UM, mull (%rdi)
    U UM, mulq %rbx
    U UM, mulq (%rdi)
    U UM, imulb %bl
    U UM, imulb %ch
    U UM, imulb (%rdi)
    U UM, imulw %bx
    U UM, imulw (%rdi)
    U UM, imull %r9d
    U UM, imull (%rdi)
    U UM, imulq %rbx
    U UM, imulq (%rdi)
    U UM, imulw %bx, %cx
    U UM, imull %ebx, %r8d
    U UM, imulq %rbx, %rcx
    U UM, imulw (%rdi), %cx
    U UM, imull (%rdi), %r8d
    U UM, imulq (%rdi), %rcx
    U UM, imulw $-3, %bx, %cx
    U UM, imull $127, %ebx, %r8d
    U UM, imulq $-128, %rbx, %rcx
    U UM, imulw $0x1234, %bx, %cx
    U UM, imull $0x12345678, %ebx, %r8d
    U UM, imulq $-0x12345678, %rbx, %rcx
    U UM, imulw $-3, (%rdi), %cx
    U UM, imulw $0x7fff, (%rdi), %cx
    U UM, imull $100000, (%rdi), %r8d
    U UM, imulq $7, (%rdi), %rcx
    U UM, imulq $0x7fffffff, (%rdi), %rcx
.irp op, div, idiv
    U STATUS, \op\()b %bl
    U STATUS, \op\()b %dh
    U STATUS, \op\()b (%rdi)
    U STATUS, \op\()w %bx
    U STATUS, \op\()w (%rdi)
    U STATUS, \op\()l %ebx
    U STATUS, \op\()l (%rdi)
    U STATUS, \op\()q %rbx
    U STATUS, \op\()q (%rdi)
    ROW "\op of a small high half", STATUS
    orl $1, %ebx
    orl $0x10, %ecx
    movl %eax, %edx
    andl $0xf, %edx
    \op\()l %ebx
    xorl %edx, %edx
    \op\()q %rcx
    xorl %edx, %edx
    \op\()w %cx
    movzbl %al, %eax
    \op\()b %cl
    END
.endr
    ROW "idiv, dividend sign-extended", STATUS
    orl $1, %ebx
    orl $2, %ecx
    orl $3, (%rdi)
    cltd
    idivl %ebx
    cqto
    idivq %rcx
    cwtd
    idivw %cx
    cbtw
    idivb (%rdi)
    END
    ROW "idivl overflow: minimum by -1", STATUS
    movl $0x80000000, %eax
    movl $-1, %ebx
    cltd
    idivl %ebx
    END
    ROW "idivq overflow: minimum by -1", STATUS
    movabsq $0x8000000000000000, %rax
    movq $-1, %rbx
    cqto
    idivq %rbx
    END
    ROW "idivb quotient -128", STATUS
    movl $-256, %eax
    movb $2, %bl
    idivb %bl
    END
    ROW "idivb quotient 128", STATUS
    movl $256, %eax
    movb $2, %bl
    idivb %bl
    END
    ROW "divq, 128-bit dividend", STATUS
    movq %rbx, %rdx
    shrq %rdx
    orq $-0x80000000, %rbx
    divq %rbx
    END
    ROW "idivq, 128-bit dividend", STATUS
    movq %rcx, %rdx
    sarq $3, %rdx
    movabsq $0x7fffffffffffffff, %rbx
    idivq %rbx
    END

# CBW family
    I cbtw
    I cwtl
    I cltq
    I cwtd
    I cltd
    I cqto
    .section .note.GNU-stack,"",@progbits
