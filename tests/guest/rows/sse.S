# MMX and SSE to SSE4.2: a register and a memory form of each instruction. (The
# vector unit test goes through every operand; this shows the path.)
#include "macros.inc"

# {register, memory} of op in MMX or XMM registers
.macro MM op
    ROW "\op mm"
    movq (%rdi), %mm1
    movq 8(%rdi), %mm2
    \op %mm1, %mm2
    \op 16(%rdi), %mm1
    END
.endm
.macro XX op, need=0
    ROW "\op xmm", 0, \need
    \op %xmm1, %xmm2
    \op %xmm9, %xmm12
    END
    ROW "\op xmm, mem", 0, \need
    \op 0x10(%rdi), %xmm1
    END
.endm
.macro XXI op, imm, need=0
    ROW "\op $\imm xmm", 0, \need
    \op $\imm, %xmm1, %xmm2
    \op $\imm, 0x10(%rdi), %xmm9
    END
.endm

.irp op, punpcklbw, punpcklwd, punpckldq, packsswb, pcmpgtb, pcmpgtw, pcmpgtd, packuswb, punpckhbw, punpckhwd, punpckhdq, packssdw, pcmpeqb, pcmpeqw, pcmpeqd, psrlw, psrld, psrlq, pmullw, psubusb, psubusw, pminub, pand, paddusb, paddusw, pmaxub, pandn, pavgb, psraw, psrad, pavgw, pmulhuw, pmulhw, psubsb, psubsw, pminsw, por, paddsb, paddsw, pmaxsw, pxor, psllw, pslld, psllq, pmuludq, pmaddwd, psadbw, psubb, psubw, psubd, psubq, paddb, paddw, paddd, paddq
    MM \op
    XX \op
.endr
.irp op, pshufb, phaddw, phaddd, phaddsw, pmaddubsw, phsubw, phsubd, phsubsw, psignb, psignw, psignd, pmulhrsw, pabsb, pabsw, pabsd
    MM \op
    XX \op, SSSE3
.endr
    XX punpcklqdq
    XX punpckhqdq
.irp op, addps, addpd, addss, addsd, mulps, mulpd, mulss, mulsd, subps, subpd, subss, subsd, minps, minpd, minss, minsd, divps, divpd, divss, divsd, maxps, maxpd, maxss, maxsd, sqrtps, sqrtpd, sqrtss, sqrtsd, rsqrtps, rsqrtss, rcpps, rcpss, andps, andpd, andnps, andnpd, orps, orpd, xorps, xorpd, unpcklps, unpcklpd, unpckhps, unpckhpd, ucomiss, ucomisd, comiss, comisd, cvtps2pd, cvtpd2ps, cvtss2sd, cvtsd2ss, cvtdq2ps, cvtps2dq, cvttps2dq, cvttpd2dq, cvtdq2pd, cvtpd2dq
    XX \op
.endr
.irp op, haddps, haddpd, hsubps, hsubpd, addsubps, addsubpd, movsldup, movshdup, movddup
    XX \op, SSE3
.endr
.irp op, pmovsxbw, pmovsxbd, pmovsxbq, pmovsxwd, pmovsxwq, pmovsxdq, pmovzxbw, pmovzxbd, pmovzxbq, pmovzxwd, pmovzxwq, pmovzxdq, pmuldq, pcmpeqq, packusdw, pminsb, pminsd, pminuw, pminud, pmaxsb, pmaxsd, pmaxuw, pmaxud, pmulld, phminposuw, ptest, pblendvb, blendvps, blendvpd
    XX \op, SSE41
.endr
    XX pcmpgtq, SSE42
.irp op, aesenc, aesenclast, aesdec, aesdeclast, aesimc
    XX \op, AES
.endr
    XXI aeskeygenassist, 0x36, AES
.irp n, 0x00, 0x01, 0x10, 0x11
    XXI pclmulqdq, \n, PCLMUL
.endr
.irp op, sha1nexte, sha1msg1, sha1msg2, sha256rnds2, sha256msg1, sha256msg2
    XX \op, SHA
.endr
    XXI sha1rnds4, 2, SHA
    XX gf2p8mulb, GFNI
    XXI gf2p8affineqb, 0x1b, GFNI
    XXI gf2p8affineinvqb, 0x1b, GFNI
.irp op, pshufd, pshufhw, pshuflw, shufps, shufpd
    XXI \op, 0x1b
    XXI \op, 0xe4
.endr
.irp n, 0, 1, 2, 3, 4, 5, 6, 7
.irp op, cmpps, cmppd, cmpss, cmpsd
    XXI \op, \n
.endr
.endr
.irp op, roundps, roundpd, roundss, roundsd
    XXI \op, 4, SSE41
    XXI \op, 0xb, SSE41
.endr
    XXI blendps, 5, SSE41
    XXI blendpd, 2, SSE41
    XXI pblendw, 0xa5, SSE41
    XXI dpps, 0x7f, SSE41
    XXI dppd, 0x31, SSE41
    XXI mpsadbw, 5, SSE41
    XXI palignr, 3, SSSE3
    XXI palignr, 20, SSSE3
    XXI insertps, 0x9c, SSE41
.irp n, 0x00, 0x0c, 0x18, 0x44, 0x7a, 0x6d
    U 0, pcmpistri $\n, %xmm1, %xmm2
    U 0, pcmpistrm $\n, 0x10(%rdi), %xmm2
    U 0, pcmpestri $\n, %xmm1, %xmm2
    U 0, pcmpestrm $\n, 0x10(%rdi), %xmm2
.endr
.irp op, psrlw, psraw, psllw, psrld, psrad, pslld, psrlq, psllq
    ROW "\op imm"
    movq (%rdi), %mm1
    \op $3, %mm1
    \op $5, %xmm2
    \op $99, %xmm3
    END
.endr
    I psrldq $3, %xmm1
    I pslldq $5, %xmm9

# Moves
.irp op, movups, movaps, movupd, movapd, movdqu, movdqa
    I \op %xmm1, %xmm2
    I \op (%rdi), %xmm2
    I \op %xmm2, (%rdi)
    I {store} \op %xmm1, %xmm2
.endr
    I movups %xmm2, 5(%rdi)
    I movss %xmm1, %xmm2
    I movss (%rdi), %xmm2
    I movss %xmm2, (%rdi)
    I movsd %xmm1, %xmm2
    I movsd (%rdi), %xmm2
    I movsd %xmm2, (%rdi)
    I movlps (%rdi), %xmm1
    I movlps %xmm1, (%rdi)
    I movhps (%rdi), %xmm1
    I movhps %xmm1, (%rdi)
    I movlpd (%rdi), %xmm1
    I movlpd %xmm1, (%rdi)
    I movhpd (%rdi), %xmm1
    I movhpd %xmm1, (%rdi)
    I movhlps %xmm1, %xmm2
    I movlhps %xmm1, %xmm2
    I movd %ebx, %xmm1
    I movd %xmm1, %ebx
    I movd (%rdi), %xmm1
    I movd %xmm1, (%rdi)
    I movq %rbx, %xmm1
    I movq %xmm1, %rbx
    I movq (%rdi), %xmm1
    I movq %xmm1, (%rdi)
    I movq %xmm1, %xmm2
    ROW "mmx moves"
    movd %ebx, %mm1
    movq %rcx, %mm2
    movd (%rdi), %mm3
    movq 8(%rdi), %mm4
    movd %mm3, %eax
    movq %mm4, %rdx
    movd %mm1, 16(%rdi)
    movq %mm2, 24(%rdi)
    {store} movq %mm4, %mm5
    movdq2q %xmm1, %mm6
    movq2dq %mm4, %xmm5
    pmovmskb %mm4, %ebx
    movntq %mm4, 32(%rdi)
    END
    ROW "maskmovq, maskmovdqu"
    movq (%rdi), %mm1
    movq 8(%rdi), %mm2
    maskmovq %mm1, %mm2
    addq $16, %rdi
    maskmovdqu %xmm1, %xmm2
    END
    ROW "pinsrw, pextrw, pshufw mm"
    movq (%rdi), %mm1
    pinsrw $2, %ebx, %mm1
    pinsrw $1, (%rdi), %mm1
    pextrw $3, %mm1, %eax
    pshufw $0x1b, %mm1, %mm2
    pshufw $0x1b, (%rdi), %mm3
    END
    I movntps %xmm1, (%rdi)
    I movntpd %xmm1, (%rdi)
    I movntdq %xmm1, (%rdi)
    I movnti %ebx, (%rdi)
    I movnti %rbx, (%rdi)
    I movntdqa (%rdi), %xmm1
    I lddqu 3(%rdi), %xmm1
    I movmskps %xmm1, %eax
    I movmskpd %xmm1, %eax
    I pmovmskb %xmm1, %eax
    I pinsrb $3, %ebx, %xmm1
    I pinsrb $3, (%rdi), %xmm1
    I pinsrw $3, %ebx, %xmm1
    I pinsrw $3, (%rdi), %xmm1
    I pinsrd $3, %ebx, %xmm1
    I pinsrd $3, (%rdi), %xmm1
    I pinsrq $1, %rbx, %xmm1
    I pinsrq $1, (%rdi), %xmm1
    I pextrb $3, %xmm1, %eax
    I pextrb $3, %xmm1, (%rdi)
    I pextrw $3, %xmm1, %eax
    I pextrw $3, %xmm1, (%rdi)
    I pextrd $3, %xmm1, %eax
    I pextrd $3, %xmm1, (%rdi)
    I pextrq $1, %xmm1, %rax
    I pextrq $1, %xmm1, (%rdi)
    I extractps $2, %xmm1, %eax
    I extractps $2, %xmm1, (%rdi)
    I insertps $0x5a, (%rdi), %xmm1

# Conversions with general and MMX registers
.irp op, cvtsi2ss, cvtsi2sd
    I \op\()l %ebx, %xmm1
    I \op\()q %rbx, %xmm1
    I \op\()l (%rdi), %xmm1
    I \op\()q (%rdi), %xmm1
.endr
.irp op, cvtss2si, cvttss2si, cvtsd2si, cvttsd2si
    I \op %xmm1, %eax
    I \op %xmm1, %rax
    I \op (%rdi), %eax
    I \op (%rdi), %rax
.endr
    ROW "conversions with mm"
    movq (%rdi), %mm1
    cvtpi2ps %mm1, %xmm1
    cvtpi2pd 8(%rdi), %xmm2
    cvtps2pi %xmm3, %mm2
    cvttps2pi %xmm3, %mm3
    cvtpd2pi %xmm4, %mm4
    cvttpd2pi 16(%rdi), %mm5
    END
    ROW "divps unmasked: #XM"
    movl $0x1d80, (%rdi)
    ldmxcsr (%rdi)
    xorps %xmm1, %xmm1
    movl $0x3f800000, %eax
    movd %eax, %xmm2
    pshufd $0, %xmm2, %xmm2
    divps %xmm1, %xmm2
    END
    ROW "paddd misaligned: #GP"
    paddd 4(%rdi), %xmm1
    END
    N SSE4A, movntss %xmm1, (%rdi)
    N SSE4A, movntsd %xmm1, (%rdi)
    N SSE4A, extrq $3, $5, %xmm1
    N SSE4A, extrq %xmm1, %xmm2
    N SSE4A, insertq $3, $5, %xmm1, %xmm2
    N SSE4A, insertq %xmm1, %xmm2
    .section .note.GNU-stack,"",@progbits
