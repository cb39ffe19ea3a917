# x87. Condition codes C0, C2, C3 that the manual leaves undefined are the host's
# own on every engine that runs on it, so FSW is compared whole.
#include "macros.inc"

# Two values of the data page as operands, then one operation.
.macro X87 text:vararg
    ROW "x87: \text"
    fldl 8(%rdi)
    fldl (%rdi)
    \text
    END
.endm
.irp op, fadd, fmul, fsub, fsubr, fdiv, fdivr
    X87 \op %st(1), %st
    X87 \op %st, %st(1)
    X87 \op\()p %st, %st(1)
    X87 \op\()s 16(%rdi)
    X87 \op\()l 16(%rdi)
.endr
.irp op, fiadd, fimul, fisub, fisubr, fidiv, fidivr, ficom, ficomp
    X87 \op\()s 16(%rdi)
    X87 \op\()l 16(%rdi)
.endr
.irp op, fcom, fcomp, fucom, fucomp, fcomi, fcomip, fucomi, fucomip, fxch, ffree, fld, fst, fstp
    X87 \op %st(1)
.endr
.irp op, fcmovb, fcmove, fcmovbe, fcmovu, fcmovnb, fcmovne, fcmovnbe, fcmovnu
    X87 \op %st(1), %st
.endr
.irp op, fcompp, fucompp, fchs, fabs, ftst, fxam, fld1, fldl2t, fldl2e, fldpi, fldlg2, fldln2, fldz, fprem, fprem1, frndint, fscale, fsqrt, fxtract, fdecstp, fincstp, fnop, fnclex, fninit
    X87 \op
.endr
# transcendental: exact on the same silicon
.irp op, f2xm1, fyl2x, fptan, fpatan, fsincos, fyl2xp1, fsin, fcos
    X87 \op
.endr
.irp m, flds, fldl, fldt, filds, fildl, fildll, fbld, fcoms, fcoml, fcomps, fcompl, fsts, fstl, fstps, fstpl, fstpt, fists, fistl, fistps, fistpl, fistpll, fisttps, fisttpl, fisttpll, fbstp
    X87 \m 16(%rdi)
.endr
    ROW "x87: fnstcw, fldcw, fnstsw"
    fnstcw (%rdi)
    movw $0x0f7f, 2(%rdi)
    fldcw 2(%rdi)
    fldpi
    fistl 8(%rdi)
    fnstsw %ax
    fnstsw 4(%rdi)
    END
    ROW "x87: stack overflow and underflow"
    faddp
    fnstsw %ax
    fninit
    .rept 9
    fld1
    .endr
    fnstsw (%rdi)
    END
    ROW "x87: unmasked exception: #MF at the next waiting instruction"
    movw $0x037b, (%rdi)
    fldcw (%rdi)
    fld1
    fldz
    fdivrp
    fnop
    END
    ROW "x87: fwait raises #MF"
    movw $0x037b, (%rdi)
    fldcw (%rdi)
    fld1
    fldz
    fdivrp
    fwait
    END
    ROW "x87: fnstenv, fldenv"
    fld1
    fldz
    fnstenv (%rsi)
    andl $0xffff, 12(%rsi)         # pointers: see compare.c
    movq $0, 16(%rsi)
    movl $0, 24(%rsi)
    movl $0, 12(%rsi)
    fldenv (%rsi)
    movl $0, 12(%rsi)
    END
    ROW "x87: fnsave, frstor"
    fldl (%rdi)
    fld1
    fnsave (%rsi)
    movl $0, 12(%rsi)
    movq $0, 16(%rsi)
    movl $0, 24(%rsi)
    frstor (%rsi)
    END
    ROW "x87: fxsave64, fxrstor64"
    fldl (%rdi)
    movl $ROW_DATA+0x1400, %ebx
    fxsave64 (%rbx)
    movw $0, 6(%rbx)
    movq $0, 8(%rbx)
    movq $0, 16(%rbx)
    fninit
    pxor %xmm1, %xmm1
    fxrstor64 (%rbx)
    movl $0, 28(%rbx)
    END
    ROW "x87: fxsave, fxrstor, 32-bit pointers"
    fldl (%rdi)
    movl $ROW_DATA+0x1400, %ebx
    fxsave (%rbx)
    movw $0, 6(%rbx)
    movq $0, 8(%rbx)
    movq $0, 16(%rbx)
    fninit
    fxrstor (%rbx)
    movl $0, 28(%rbx)
    END
    ROW "fxsave misaligned: #GP"
    fxsave 8(%rdi)
    END
    ROW "x87: mmx and back"
    fldl (%rdi)
    movq 8(%rdi), %mm0
    movq 16(%rdi), %mm1
    paddb %mm0, %mm1
    emms
    END
    ROW "ldmxcsr, stmxcsr"
    movl $0x9fc0, (%rdi)
    ldmxcsr (%rdi)
    stmxcsr 4(%rdi)
    END
    ROW "ldmxcsr of a reserved bit: #GP"
    movl $0x10000, (%rdi)
    ldmxcsr (%rdi)
    END
    N AVX, vstmxcsr (%rdi)
    ROW "vldmxcsr", 0, AVX
    movl $0x1fa0, (%rdi)
    vldmxcsr (%rdi)
    END
    ROW "xgetbv 0", 0, XSAVE
    xorl %ecx, %ecx
    xgetbv
    andl $7, %eax                  # XCR0 above AVX is the host's business
    END
    ROW "xsave and xrstor of x87, SSE, AVX", 0, XSAVE
    movl $ROW_DATA+0x1400, %ebx
    movq %rdi, %r8
    movq %rbx, %rdi
    movl $128, %ecx
    xorl %eax, %eax
    rep stosq
    movl $7, %eax
    xorl %edx, %edx
    xsave64 (%rbx)
    vpxor %ymm3, %ymm3, %ymm3
    pxor %xmm4, %xmm4
    xrstor64 (%rbx)
    movl $4, %eax
    xrstor (%rbx)
    xsave (%rbx)
    movl $3, %eax
    movq $0, 512(%rbx)             # initial configuration
    xrstor (%rbx)
    movw $0, 6(%rbx)
    movq $0, 8(%rbx)
    movq $0, 16(%rbx)
    movl $0, 28(%rbx)
    END
    ROW "xsave misaligned: #GP", 0, XSAVE
    xsave 0x10(%rdi)
    END
    .section .note.GNU-stack,"",@progbits
