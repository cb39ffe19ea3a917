# The same instructions with their operands in every kind of place: a translator
# has some guest registers in memory, one in another register, and AH to BH where
# the host cannot name them.
#include "macros.inc"

# $text with %r10 and %r11 pointing into the data
.macro AT undef:req, need:req, text:vararg
    ROW "r10, r11: \text", \undef, \need
    leaq 0x40(%rdi), %r10
    movl $3, %r11d
    \text
    END
.endm

.macro PLACES op, undef
    U \undef, \op\()b %r9b, %r10b
    U \undef, \op\()b %al, %r9b
    U \undef, \op\()b %r11b, %cl
    U \undef, \op\()w %r9w, %r11w
    U \undef, \op\()w %r10w, %dx
    U \undef, \op\()w %dx, %r10w
    U \undef, \op\()l %r9d, %r10d
    U \undef, \op\()l %eax, %r11d
    U \undef, \op\()l %r11d, %eax
    U \undef, \op\()l %esp, %r9d
    U \undef, \op\()q %r9, %r10
    U \undef, \op\()q %r9, %r9
    U \undef, \op\()q %rbx, %r11
    U \undef, \op\()q %r11, %rbx
    U \undef, \op\()q %rsp, %r10
    AT \undef, 0, \op\()b %r9b, (%r10,%r11)
    AT \undef, 0, \op\()w %r9w, 6(%r10,%r11,2)
    AT \undef, 0, \op\()l %r11d, (%r10,%r11,4)
    AT \undef, 0, \op\()q %r10, 5(%r10,%r11,8)
    AT \undef, 0, \op\()q %rsp, (%r10)
    AT \undef, 0, \op\()l %ebx, 8(%rsp,%r11,4)
    AT \undef, 0, \op\()b %ah, 5(%rdi)
    AT \undef, 0, \op\()b %ch, 3(%rsp)
    AT \undef, 0, \op\()b %dh, 9(%rdi)
    AT \undef, 0, \op\()b %bh, 0x20(%rbp)
    U \undef, \op\()b %ah, %dl
    U \undef, \op\()b %bl, %ch
    U \undef, \op\()b %dh, %bh
    U \undef, \op\()b %ah, %al
.endm
.macro LOADS op, undef
    AT \undef, 0, \op\()b (%r10,%r11), %r9b
    AT \undef, 0, \op\()w 6(%r10,%r11,2), %r11w
    AT \undef, 0, \op\()l (%r10,%r11,4), %r10d
    AT \undef, 0, \op\()q 5(%r10,%r11,8), %r9
    AT \undef, 0, \op\()b 5(%rdi), %ah
    AT \undef, 0, \op\()b 1(%rsp), %bh
.endm
.irp op, add, adc, sub, sbb, cmp, mov
    PLACES \op, 0
    LOADS \op, 0
.endr
.irp op, and, or, xor
    PLACES \op, AF
    LOADS \op, AF
.endr
    PLACES test, AF
    PLACES xchg, 0
    PLACES xadd, 0
    PLACES cmpxchg, 0
    AT 0, 0, lock xadd %r9, (%r10)
    AT 0, 0, lock xadd %r9d, (%r10,%r11,4)
    AT 0, 0, lock xadd %ch, 0x40(%rdi)
    AT 0, 0, lock cmpxchg %r9, (%r10)
    AT 0, 0, lock cmpxchg %r11d, (%r10)
    AT 0, 0, lock cmpxchg %bh, 0x40(%rdi)
    AT 0, 0, lock addb %ch, 0x40(%rdi)
    AT 0, 0, lock orl %r9d, 4(%r10)
    U AF, lock orl $0, (%rsp)

.irp op, inc, dec, neg, not
    I \op\()b %r9b
    I \op\()b %ah
    I \op\()w %r10w
    I \op\()l %r11d
    I \op\()q %r9
    AT 0, 0, \op\()l (%r10,%r11,8)
.endr

# Moves that extend
.irp op, movzb, movsb
    I \op\()l %ah, %ecx
    I \op\()w %bh, %si
    I \op\()l %ch, %esp
    I \op\()l %r9b, %r10d
    I \op\()q %r11b, %rsp
    I \op\()w %r9b, %r11w
    AT 0, 0, \op\()q (%r10,%r11), %r9
    AT 0, 0, \op\()l (%r10,%r11), %r11d
.endr
.irp op, movzw, movsw
    I \op\()l %r9w, %r10d
    I \op\()q %r11w, %rax
    AT 0, 0, \op\()q (%r10,%r11), %r9
.endr
    I movslq %r9d, %r10
    AT 0, 0, movslq (%r10,%r11,4), %r11
.irp r, al, ah, ch, dh, bh, spl, dil, r9b, r11b, r15b
    I movb $0x5a, %\r
.endr
.irp r, cx, sp, r9w, r10w, r14w
    I movw $0xa55a, %\r
.endr
    I movl $-1, %r9d
    I movq $-1, %r10
    I movabsq $0x123456789abcdef0, %r11
    AT 0, 0, movl $-2, (%r10,%r11,4)
    AT 0, 0, movq $-2, (%r10,%r11,8)
    I bswapl %r10d
    I bswapq %r11
    I xchgq %r9, %rax
    I xchgl %r10d, %eax
    I xchgw %r11w, %ax
    I xchgw %ax, %ax
    I xchgl %esp, %eax
.irp cc, e, ne, b, l, g, p, s, o
    I cmov\cc\()l %r9d, %r10d
    I cmov\cc\()q %r11, %rax
    I cmov\cc\()w %ax, %r9w
    AT 0, 0, cmov\cc\()l (%r10,%r11,4), %r9d
    I set\cc %ah
    I set\cc %r9b
    AT 0, 0, set\cc (%r10,%r11)
.endr

# Addresses in the instruction, and by XLAT
.irp seg, "", "%fs:", "%gs:"
    .ifc \seg,
        .set where, ROW_DATA + 0x40
    .else
        .set where, 0x40
    .endif
    I movabsb \seg\()where, %al
    I movabsw \seg\()where, %ax
    I movabsl \seg\()where, %eax
    I movabsq \seg\()where, %rax
    I movabsb %al, \seg\()where
    I movabsw %ax, \seg\()where
    I movabsl %eax, \seg\()where
    I movabsq %rax, \seg\()where
.endr
    ROW "movabs of nothing"
    movabsl ROW_NONE, %eax
    END
    ROW "xlat, places"
    movq %rdi, %rbx
    xlatb
    xlatb
    END
    ROW "xlat gs:"
    movl $0x20, %ebx
    .byte 0x65
    xlatb
    END
    ROW "addr32 xlat"
    movabsq $0x700000000 + ROW_DATA, %rbx
    addr32 xlatb
    END

# Segment registers
.irp seg, cs, ss, ds, es, fs, gs
    I movw %\seg, %r9w
    I movl %\seg, %r10d
    I movq %\seg, %r11
    I movl %\seg, %ecx
    I movw %\seg, 2(%rdi)
.endr

# Shifts
.irp op, shl, shr, sar, rol, ror, rcl, rcr
    .irp r, ah, ch, r9b, r10w, r11d, r9
        U AF|OF, \op $3, %\r
        U AF|OF, \op %cl, %\r
    .endr
    AT AF|OF, 0, \op\()l $5, (%r10,%r11,4)
    AT AF|OF, 0, \op\()q %cl, (%r10)
.endr
.irp op, shld, shrd
    U AF|OF, \op\()l $9, %r9d, %r10d
    U AF|OF, \op\()q %cl, %r11, %r9
    AT AF|OF, 0, \op\()q $13, %r9, (%r10)
.endr

# Bits, at an offset in a register too
.set UB, OF|SF|AF|PF
.irp op, bt, bts, btr, btc
    U UB, \op\()l %r9d, %r10d
    U UB, \op\()q %r11, %r9
    U UB, \op\()l $7, %r9d
    .irp n, 3, 200, -70
        ROW "\op\()q by r9 at r10, \n", UB
        leaq 0x40(%rdi), %r10
        movq $\n, %r9
        \op\()q %r9, (%r10)
        END
        ROW "\op\()l by r11 at rsp, \n", UB
        movl $\n, %r11d
        \op\()l %r11d, 0x100(%rsp)
        setz %al
        setc %bl
        END
        ROW "\op\()w by r9, \n", UB
        movl $\n, %r9d
        \op\()w %r9w, (%rdi)
        END
    .endr
    ROW "\op\()q at nothing", UB
    movl $(ROW_NONE - ROW_DATA) * 8, %r9d
    \op\()q %r9, ROW_DATA
    END
    ROW "\op\()q of read-only", UB
    movl $77, %r9d
    \op\()q %r9, ROW_RO
    END
.endr

# Divisions: those that fit, and those that do not
.irp op, div, idiv
    .irp d, r9, r10, rbx, rsp
        ROW "\op\()q %\d, fits", STATUS
        cqto
        .ifc \op,div
            xorl %edx, %edx
        .endif
        orq $0x10, %\d
        \op\()q %\d
        END
    .endr
    .irp d, r9d, r11d, ebx
        ROW "\op\()l %\d, fits", STATUS
        cltd
        .ifc \op,div
            xorl %edx, %edx
        .endif
        orl $0x10, %\d
        \op\()l %\d
        END
    .endr
    ROW "\op\()w %r9w, fits", STATUS
    cwtd
    .ifc \op,div
        xorl %edx, %edx
    .endif
    orw $0x10, %r9w
    \op\()w %r9w
    END
    .irp d, r9b, bl, bh, dh
        ROW "\op\()b %\d, fits", STATUS
        cbtw
        .ifc \op,div
            movzbl %al, %eax
        .endif
        orb $0x10, %\d
        \op\()b %\d
        END
    .endr
    ROW "\op\()q at r10, fits", STATUS
    leaq 0x40(%rdi), %r10
    orq $0x10, (%r10)
    cqto
    .ifc \op,div
        xorl %edx, %edx
    .endif
    \op\()q (%r10)
    END
    ROW "\op\()q by -1", STATUS
    cqto
    movq $-1, %r9
    \op\()q %r9
    END
    ROW "\op\()l of the least by -1", STATUS
    movl $0x80000000, %eax
    cltd
    movl $-1, %ecx
    \op\()l %ecx
    END
    ROW "\op\()q of a wide dividend", STATUS
    movl $5, %edx
    movq $-7, %r9
    \op\()q %r9
    END
.endr
    U SF|ZF|AF|PF, mull %r9d
    U SF|ZF|AF|PF, mulq %r10
    U SF|ZF|AF|PF, imulq %r11
    U SF|ZF|AF|PF, imull %r9d, %r10d
    U SF|ZF|AF|PF, imulq $100, %r11, %r9
    AT SF|ZF|AF|PF, 0, mulq (%r10)
    AT SF|ZF|AF|PF, 0, imull $77, (%r10,%r11,4), %r9d

# BMI and its kin
.macro BMI need, undef, op, regs:vararg
    NU \need, \undef, \op \regs
.endm
    AT AF|PF, BMI1, andnl (%r10,%r11,4), %r9d, %r11d
    NU BMI1, AF|PF, andnq %r9, %r10, %r11
    NU BMI1, AF|PF, blsrl %r9d, %r10d
    NU BMI1, AF|PF, blsiq %r11, %r9
    NU BMI1, AF|PF, blsmskq %rsp, %r10
    AT AF|PF, BMI1, blsrq (%r10), %r9
    NU BMI1, AF|PF|SF, bextrq %r9, %r10, %r11
    NU BMI2, AF|PF, bzhil %r9d, %r10d, %r11d
    N BMI2, pdepq %r9, %r10, %r11
    AT 0, BMI2, pextq (%r10,%r11,8), %r9, %r10
    N BMI2, mulxq %r9, %r10, %r11
    N BMI2, mulxq %r9, %r11, %r11
    AT 0, BMI2, mulxl (%r10,%r11,4), %r10d, %r11d
    AT 0, BMI2, mulxq (%r10), %rax, %r9
    N BMI2, rorxl $7, %r9d, %r10d
    AT 0, BMI2, rorxq $33, (%r10), %r11
    N BMI2, shlxq %r9, %r10, %r11
    AT 0, BMI2, sarxl %r11d, (%r10,%r11,4), %r9d
    AT 0, BMI2, shrxq %rcx, (%r10), %rsp
    N ADX, adcxq %r9, %r10
    N ADX, adoxl %r11d, %r9d
    AT 0, ADX, adcxl (%r10,%r11,4), %r9d
    N SSE42, crc32b %ah, %ecx
    N SSE42, crc32b %r9b, %r10d
    N SSE42, crc32q %r11, %r9
    AT 0, SSE42, crc32w (%r10,%r11,2), %r9d
    AT 0, MOVBE, movbel (%r10,%r11,4), %r9d
    AT 0, MOVBE, movbew %r9w, (%r10,%r11,2)
    AT 0, MOVBE, movbeq %r11, (%r10)
    AT 0, 0, movntiq %r9, (%r10)
    AT 0, 0, movntil %r11d, (%r10,%r11,4)
.irp op, popcnt
    N POPCNT, \op\()l %r9d, %r10d
    N POPCNT, \op\()q %r11, %r9
    AT 0, POPCNT, \op\()l (%r10,%r11,4), %r9d
.endr

# LEA
    I leal (%r9,%r10,4), %r11d
    I leaq 5(%r11,%r9), %r10
    I leaw (%r9), %r10w
    I leaq (%rsp,%r9), %rsp
    I leaq 0x1234(,%r11,8), %r9

# The stack
    AT 0, 0, pushq (%r10)
    AT 0, 0, popq (%r10,%r11,8)
    AT 0, 0, pushq %r9
    AT 0, 0, popq %r11
    I pushq %rsp
    I popq %rsp
    I pushq -8(%rsp)
    I popq -8(%rsp)
    I popq (%rsp,%rbp)
    ROW "pushq of nothing"
    movl $ROW_NONE, %r9d
    pushq (%r9)
    END
    ROW "popq to read-only"
    movl $ROW_RO, %r9d
    popq (%r9)
    END
    ROW "pop of a register, the long encoding"
    .byte 0x8f, 0xc1
    .byte 0x41, 0x8f, 0xc1
    END
    ROW "push of a register, the long encoding"
    .byte 0xff, 0xf1
    .byte 0x41, 0xff, 0xf1
    END

# Flags across what destroys the host's in a translator: memory in between
.macro ACROSS name, text:vararg
    ACROSS_IF 0, "\name", \text
.endm
.macro ACROSS_IF feature, name, text:vararg
    ROW "flags across \name", 0, \feature
    movl $3, %ecx
    cmpq %rbx, %rax
    \text
    setc %bl
    seto %bh
    setz %dl
    sets %dh
    setl %al
    setp %ah
    END
.endm
    ACROSS movs, movsb
    ACROSS stos, stosq
    ACROSS lods, lodsl
    ACROSS "rep movs", rep movsl
    ACROSS "rep stos", rep stosw
    ACROSS cld, cld
    ACROSS push, pushq 8(%rdi)
    ACROSS pop, popq 8(%rdi)
    ACROSS bswap, bswapl %r9d
    ACROSS_IF BMI2, mulx, mulxq (%rdi), %r9, %r10
    ACROSS movabs, movabsl ROW_DATA, %eax
    ACROSS mov, movl %ecx, (%rdi)
    ACROSS loop, loop .+2
    ACROSS jrcxz, jrcxz .+2
    ACROSS "mov from a segment register", movw %ss, (%rdi)
    ROW "flags across a comparison of what changes: rdi"
    cmpq %rsi, %rdi
    movsq
    jb 1f
    incl %eax
1:  END
    ROW "flags across a comparison of what changes: rcx"
    movl $2, %ecx
    cmpq $1, %rcx
    rep stosb
    ja 1f
    incl %eax
1:  END
.irp op, movsq, stosb, lodsw, "rep stosb", "rep movsb"
    ROW "flags of rdi, rsi, rcx and rax across \op and memory"
    movl $2, %ecx
    .irp what, rdi, rsi, rcx, rax
        cmpq $ROW_DATA + 0x1004, %\what
        \op
        movq %rbp, 0x40(%rsp)
        setb %dl
        setl %dh
        setz %bl
        addq %rdx, %rbx
        movl $3, %ecx
    .endr
    END
.endr
    ROW "cld, std between status flags"
    cmpq %rbx, %rax
    std
    setl %dl
    cld
    setb %dh
    stosb
    END

# REP at the ends of pages
.irp n, 0, 1, 7, 8, 9, 512, 4096, 4097, 6000
    ROW "rep movsb of \n to a page's end", 0
    movl $\n, %ecx
    movl $ROW_DATA + 0x2000 - 8, %edi
    movl $ROW_DATA + 0x10, %esi
    rep movsb
    END
    ROW "rep stosb of \n from a page's begin", 0
    movl $\n, %ecx
    movl $ROW_DATA, %edi
    rep stosb
    END
.endr
    ROW "rep movsq of a page"
    movl $512, %ecx
    movl $ROW_DATA, %edi
    movl $ROW_DATA + 0x1000, %esi
    rep movsq
    END
    ROW "rep movsq over a page's end"
    movl $512, %ecx
    movl $ROW_DATA, %edi
    movl $ROW_DATA + 0xffc, %esi
    rep movsq
    END
    ROW "rep stosw into read-only"
    movl $40, %ecx
    movl $ROW_RO - 9, %edi
    rep stosw
    END
    ROW "rep movsb that overlaps"
    movl $90, %ecx
    leaq 3(%rsi), %rdi
    rep movsb
    END
    ROW "rep movsl of a wild count"
    movabsq $0x4000000000000001, %rcx
    movl $ROW_NONE - 8, %edi
    rep movsl
    END
    ROW "rep movsb gs:"
    movl $20, %ecx
    movl $0x40, %esi
    rep movsb %gs:(%rsi), (%rdi)
    END
    ROW "lodsl fs:"
    movl $0x40, %esi
    lodsl %fs:(%rsi)
    END

# Hints and fences
    I nopw (%rax)
    I endbr64
    I pause
    I prefetcht0 (%rax)
    I prefetchnta (%rax)
    I lfence
    I sfence
    I mfence
    .section .note.GNU-stack,"",@progbits
