# Two-operand arithmetic and logic (00-3B, 80-83, 84/85, A8/A9, F6/F7, FE/FF).
#include "macros.inc"

.macro EACH_ALU macro, undef
    .irp op, add, or, adc, sbb, and, sub, xor, cmp
        .ifc \op,or
            \macro or, AF
        .else
        .ifc \op,and
            \macro and, AF
        .else
        .ifc \op,xor
            \macro xor, AF
        .else
            \macro \op, 0
        .endif
        .endif
        .endif
    .endr
.endm

# All forms of one operation: AF is undefined after AND, OR, XOR (SDM Vol. 2).
.macro ALU op, undef
    U \undef, \op\()b %bl, %al
    U \undef, \op\()b %ah, %bl
    U \undef, \op\()b %bpl, %r9b
    U \undef, \op\()b %dl, (%rdi)
    U \undef, \op\()b (%rdi), %r8b
    U \undef, \op\()b $0x7f, %al
    U \undef, \op\()b $-128, %ch
    U \undef, \op\()b $-1, 3(%rsi)
    U \undef, \op\()w %bx, %ax
    U \undef, \op\()w %r10w, 6(%rdi)
    U \undef, \op\()w 8(%rdi), %dx
    U \undef, \op\()w $0x8001, %ax
    U \undef, \op\()w $0x7fff, %r15w
    U \undef, \op\()w $-1, %cx
    U \undef, \op\()w $0x1234, 2(%rdi)
    U \undef, \op\()w $-128, 2(%rdi)
    U \undef, \op\()l %ebx, %eax
    U \undef, \op\()l %r11d, 12(%rdi)
    U \undef, \op\()l 16(%rdi), %r14d
    U \undef, \op\()l $0x80000001, %eax
    U \undef, \op\()l $0x7fffffff, %ebx
    U \undef, \op\()l $-1, %r13d
    U \undef, \op\()l $0x12345678, 4(%rdi)
    U \undef, \op\()l $127, 4(%rdi)
    U \undef, \op\()q %rbx, %rax
    U \undef, \op\()q %r12, 24(%rdi)
    U \undef, \op\()q 32(%rdi), %rdx
    U \undef, \op\()q $-0x80000000, %rax
    U \undef, \op\()q $0x7fffffff, %r9
    U \undef, \op\()q $-1, %rbx
    U \undef, \op\()q $0x12345678, 8(%rdi)
    U \undef, \op\()q $-2, 8(%rdi)
    U \undef, {load} \op\()b %cl, %dl
    U \undef, {load} \op\()w %cx, %dx
    U \undef, {load} \op\()l %ecx, %r8d
    U \undef, {load} \op\()q %rcx, %r8
    U \undef, \op\()q %rax, %rax
    U \undef, \op\()l %fs:0x10, %eax
    U \undef, \op\()l %ecx, %gs:-8
    U \undef, addr32 \op\()l %ecx, 4(%edi)
.endm
EACH_ALU ALU

.macro LOCKED op, undef
    U \undef, lock \op\()b %bl, (%rdi)
    U \undef, lock \op\()w %bx, 2(%rdi)
    U \undef, lock \op\()l %ebx, 4(%rdi)
    U \undef, lock \op\()q %rbx, 8(%rdi)
    U \undef, lock \op\()b $5, (%rdi)
    U \undef, lock \op\()w $0x1234, 2(%rdi)
    U \undef, lock \op\()l $0x12345678, 4(%rdi)
    U \undef, lock \op\()q $-3, 8(%rdi)
    U \undef, lock \op\()l $1, 0xffe(%rsi)
.endm
    LOCKED add, 0
    LOCKED or, AF
    LOCKED adc, 0
    LOCKED sbb, 0
    LOCKED and, AF
    LOCKED sub, 0
    LOCKED xor, AF

# TEST
    U AF, testb %bl, %al
    U AF, testb %ah, %dh
    U AF, testb %r8b, (%rdi)
    U AF, testb $0x81, %al
    U AF, testb $0x80, %r9b
    U AF, testb $0x55, 5(%rdi)
    U AF, testw %bx, %ax
    U AF, testw %dx, (%rdi)
    U AF, testw $0x8000, %ax
    U AF, testw $0x8001, %cx
    U AF, testw $0xff, (%rdi)
    U AF, testl %ebx, %r10d
    U AF, testl %ebx, 4(%rdi)
    U AF, testl $0x80000000, %eax
    U AF, testl $0x10101010, %r12d
    U AF, testl $0xf0f0f0f0, (%rdi)
    U AF, testq %rbx, %rax
    U AF, testq %rbx, (%rdi)
    U AF, testq $-0x80000000, %rax
    U AF, testq $-2, %rbx
    U AF, testq $0x7fffffff, (%rdi)
# F6 /1 and F7 /1, TEST's other code points
    ROW "test f6/1", AF
    .byte 0xf6, 0xc8, 0x81
    END
    ROW "test f7/1", AF
    .byte 0xf7, 0xcb, 0x78, 0x56, 0x34, 0x12
    END

.irp op, inc, dec, neg, not
    I \op\()b %al
    I \op\()b %bh
    I \op\()b %sil
    I \op\()b (%rdi)
    I \op\()w %ax
    I \op\()w 2(%rdi)
    I \op\()l %r9d
    I \op\()l 4(%rdi)
    I \op\()q %rbx
    I \op\()q 8(%rdi)
    I lock \op\()b (%rdi)
    I lock \op\()w (%rdi)
    I lock \op\()l (%rdi)
    I lock \op\()q (%rdi)
.endr

# Every addressing form
.irp ea, "(%rax, %rdi)", "8(%rdi, %rcx)", "-4(%rsi, %rcx, 2)", "0x40(%rdi, %rcx, 4)", "0x100(%rdi, %rcx, 8)", "0x20001010", "0x20001000(, %rcx, 8)", "0x20000000(%rcx)", "-0x20(%rbp)", "(%rbp, %rcx)", "16(%rsp)", "(%rsp, %rcx, 8)", "-0x100(%rsp)", "0x80(%r13, %rcx)", "(%r12)", "8(%r12)", "(%r13)", "0x1000(%r12, %r14)"
    ROW "ea: leaq \ea, %rbx"
    movl $0x18, %ecx
    movl $-8, %eax
    cltq
    movq %rdi, %r12
    movq %rdi, %r13
    movq $-0x20, %r14
    leaq \ea, %rbx
    END
    ROW "ea: addl \ea, %ebx"
    movl $0x18, %ecx
    movl $-8, %eax
    cltq
    movq %rdi, %r12
    movq %rdi, %r13
    movq $-0x20, %r14
    addl \ea, %ebx
    addb %bl, \ea
    END
.endr
.irp ea, "(%eax, %edi)", "8(%edi, %ecx)", "-4(%esi, %ecx, 2)", "0x40(%edi, %ecx, 4)", "0x20001000(, %ecx, 8)", "(%ebp)", "16(%esp)", "(%r12d)", "row_data(%eip)"
    ROW "ea32: leaq \ea, %rbx"
    movl $0x18, %ecx
    movq $0xfffffff800000000, %rax
    subq $8, %rax
    movq %rdi, %r12
    leaq \ea, %rbx
    END
.endr
.irp ea, "(%eax, %edi)", "8(%edi, %ecx)", "-4(%esi, %ecx, 2)", "0x40(%edi, %ecx, 4)", "0x20001000(, %ecx, 8)", "(%ebp)", "16(%esp)", "(%r12d)"
    ROW "ea32: xorw \ea, %dx", AF
    movl $0x18, %ecx
    movq $0xfffffff800000000, %rax
    subq $8, %rax
    movq %rdi, %r12
    xorw \ea, %dx
    END
.endr
    I leal 0x7fffffff(%rdi,%rdi,8), %eax
    I leaw 0x7f(%rdi,%rsi,2), %ax
    ROW "lea ignores the segment"
    .byte 0x64
    leaq 4(%rbx,%rcx,4), %rax
    END
    I addr32 leaq 0x7fffffff(%ebx,%ecx,4), %rax
    I addr32 leal (%eax,%edx), %r11d
    I addr32 leaw (%eax,%edx), %r11w
    I leaq -16(%rip), %rcx
    ROW "rip-relative data", SF|ZF|AF|PF
    movl row_data+8(%rip), %eax
    movl row_data+0x20(%rip), %ecx
    addl $0x12345, row_data+0x24(%rip)
    cmpb $7, row_data+0x28(%rip)
    imulq $3, row_data+0x30(%rip), %r8
    END
    ROW "fs with 32-bit address"
    movl $-8, %ecx
    movl %fs:8(%ecx), %eax
    movl %eax, %gs:0x10(%ecx)
    END
    ROW "fs base plus negative"
    movq $-0x20, %rcx
    movl %fs:(%rcx), %eax
    movq %gs:-0x10(%rcx), %rdx
    END
# ES, CS, SS and DS overrides do nothing in 64-bit mode (SDM Vol. 1 3.3.4)
.irp p, 0x26, 0x2e, 0x36, 0x3e
    ROW "prefix \p"
    .byte \p
    addl (%rdi), %eax
    .byte \p, 0x64                 # a dead one before FS
    movl 0x20, %ebx
    END
.endr
    ROW "rex is dead before a legacy prefix"
    .byte 0x48, 0x66, 0x01, 0xc3  # add %ax,%bx
    END
    ROW "two rex"
    .byte 0x48, 0x41, 0x01, 0xc3  # add %eax,%r11d
    END
    ROW "66 and rex.w"
    .byte 0x66, 0x48, 0x01, 0xc3
    END
    ROW "15 bytes"
    .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x01, 0xc3
    END
    ROW "16 bytes"
    .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x01, 0xc3
    END
    ROW "82 is undefined in 64-bit mode"
    .byte 0x82, 0xc0, 0x01
    END
    ROW "lock on a register"
    .byte 0xf0, 0x01, 0xc3
    END
    ROW "lock cmp"
    .byte 0xf0, 0x39, 0x07
    END
    ROW "lock mov"
    .byte 0xf0, 0x89, 0x07
    END

# BMI1, BMI2, ADX, MOVBE
.irp r, "%ebx,%ecx,%eax", "%r9d,%r10d,%r11d"
    NU BMI1, AF|PF, andn \r
.endr
    NU BMI1, AF|PF, andnq (%rdi), %rbx, %rcx
    NU BMI1, AF|PF, andnl 4(%rdi), %r8d, %ecx
    NU BMI1, AF|PF, andnq %rax, %rbx, %r15
    NU BMI1, AF|PF|SF, bextrl %ebx, %ecx, %eax
    NU BMI1, AF|PF|SF, bextrq %rbx, %rcx, %rax
    NU BMI1, AF|PF|SF, bextrq %rbx, (%rdi), %rax
.irp n, 0x0000, 0x0804, 0x2000, 0x4000, 0x2020, 0x0140, 0xff00, 0x1f1f, 0x203f
    ROW "bextr control \n", AF|PF|SF, BMI1
    movl $\n, %ebx
    bextrl %ebx, %ecx, %eax
    END
    ROW "bextrq control \n", AF|PF|SF, BMI1
    movl $\n, %ebx
    bextrq %rbx, 8(%rdi), %rax
    END
    ROW "bzhi \n", AF|PF, BMI2
    movl $\n, %ebx
    bzhil %ebx, %ecx, %eax
    END
    ROW "bzhiq \n", AF|PF, BMI2
    movl $\n>>8, %ebx
    bzhiq %rbx, (%rdi), %rax
    END
.endr
.irp op, blsi, blsr, blsmsk
    NU BMI1, AF|PF, \op\()l %ebx, %ecx
    NU BMI1, AF|PF, \op\()q %rbx, %r9
    NU BMI1, AF|PF, \op\()l (%rdi), %ecx
    NU BMI1, AF|PF, \op\()q 8(%rdi), %rcx
.endr
.irp op, sarx, shlx, shrx
    N BMI2, \op\()l %ebx, %ecx, %eax
    N BMI2, \op\()q %rbx, %rcx, %rax
    N BMI2, \op\()l %ebx, (%rdi), %eax
    N BMI2, \op\()q %r8, (%rdi), %r9
.endr
.irp n, 0, 1, 7, 31, 32, 63
    N BMI2, rorxl $\n, %ebx, %eax
    N BMI2, rorxq $\n, %rbx, %rax
.endr
    N BMI2, rorxl $3, (%rdi), %eax
    N BMI2, rorxq $60, (%rdi), %r8
.irp op, pdep, pext
    N BMI2, \op\()l %ebx, %ecx, %eax
    N BMI2, \op\()q %rbx, %rcx, %rax
    N BMI2, \op\()l (%rdi), %r8d, %eax
    N BMI2, \op\()q (%rdi), %r8, %rax
.endr
    N BMI2, mulxl %ebx, %ecx, %eax
    N BMI2, mulxq %rbx, %rcx, %rax
    N BMI2, mulxl (%rdi), %ecx, %r8d
    N BMI2, mulxq (%rdi), %r8, %r9
    N BMI2, mulxq %rdx, %rax, %rax
.irp op, adcx, adox
    N ADX, \op\()l %ebx, %ecx
    N ADX, \op\()q %rbx, %rcx
    N ADX, \op\()l (%rdi), %r8d
    N ADX, \op\()q (%rdi), %r8
.endr
.irp s, w, l, q
    .ifc \s,w
        .set reg, 0
        N MOVBE, movbew (%rdi), %bx
        N MOVBE, movbew %bx, 3(%rdi)
    .endif
    .ifc \s,l
        N MOVBE, movbel (%rdi), %r8d
        N MOVBE, movbel %ebx, 3(%rdi)
    .endif
    .ifc \s,q
        N MOVBE, movbeq (%rdi), %rbx
        N MOVBE, movbeq %r9, 3(%rdi)
    .endif
.endr
# CRC32
    N SSE42, crc32b %bl, %eax
    N SSE42, crc32b %bh, %eax
    N SSE42, crc32b (%rdi), %eax
    N SSE42, crc32b %bl, %rax
    N SSE42, crc32w %bx, %eax
    N SSE42, crc32w (%rdi), %r9d
    N SSE42, crc32l %ebx, %eax
    N SSE42, crc32l (%rdi), %eax
    N SSE42, crc32q %rbx, %rax
    N SSE42, crc32q (%rdi), %r8
    .section .note.GNU-stack,"",@progbits
