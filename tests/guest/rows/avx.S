# VEX: AVX, AVX2, FMA, F16C, in 128 and 256 bits, register and memory.
#include "macros.inc"

.macro V2 op, need=AVX
    ROW "\op", 0, \need
    \op %xmm1, %xmm2
    \op (%rdi), %xmm9
    END
    ROW "\op ymm", 0, \need
    \op %ymm1, %ymm2
    \op 3(%rdi), %ymm12
    END
.endm
.macro V3 op, need=AVX, wide=AVX
    ROW "\op", 0, \need
    \op %xmm1, %xmm2, %xmm3
    \op 5(%rdi), %xmm9, %xmm10
    END
    ROW "\op ymm", 0, \wide
    \op %ymm1, %ymm2, %ymm3
    \op 0x25(%rdi), %ymm9, %ymm10
    END
.endm
.macro VS op, need=AVX
    ROW "\op", 0, \need
    \op %xmm1, %xmm2, %xmm3
    \op 5(%rdi), %xmm9, %xmm10
    END
.endm
.macro V3I op, imm, wide=AVX
    ROW "\op $\imm", 0, AVX
    \op $\imm, %xmm1, %xmm2, %xmm3
    \op $\imm, 5(%rdi), %xmm9, %xmm10
    END
    ROW "\op $\imm ymm", 0, \wide
    \op $\imm, %ymm1, %ymm2, %ymm3
    \op $\imm, 0x25(%rdi), %ymm9, %ymm10
    END
.endm

.irp op, vaddps, vaddpd, vmulps, vmulpd, vsubps, vsubpd, vminps, vminpd, vdivps, vdivpd, vmaxps, vmaxpd, vandps, vandpd, vandnps, vandnpd, vorps, vorpd, vxorps, vxorpd, vunpcklps, vunpcklpd, vunpckhps, vunpckhpd, vhaddps, vhaddpd, vhsubps, vhsubpd, vaddsubps, vaddsubpd, vpermilps, vpermilpd
    V3 \op
.endr
.irp op, vaddss, vaddsd, vmulss, vmulsd, vsubss, vsubsd, vminss, vminsd, vdivss, vdivsd, vmaxss, vmaxsd, vsqrtss, vsqrtsd, vrsqrtss, vrcpss, vcvtss2sd, vcvtsd2ss
    VS \op
.endr
.irp op, vpunpcklbw, vpunpcklwd, vpunpckldq, vpunpcklqdq, vpacksswb, vpcmpgtb, vpcmpgtw, vpcmpgtd, vpcmpgtq, vpackuswb, vpackusdw, vpunpckhbw, vpunpckhwd, vpunpckhdq, vpunpckhqdq, vpackssdw, vpcmpeqb, vpcmpeqw, vpcmpeqd, vpcmpeqq, vpmullw, vpmulld, vpsubusb, vpsubusw, vpminub, vpminsb, vpminuw, vpminsd, vpminud, vpand, vpaddusb, vpaddusw, vpmaxub, vpmaxsb, vpmaxuw, vpmaxsd, vpmaxud, vpandn, vpavgb, vpavgw, vpmulhuw, vpmulhw, vpmulhrsw, vpmuldq, vpsubsb, vpsubsw, vpminsw, vpor, vpaddsb, vpaddsw, vpmaxsw, vpxor, vpmuludq, vpmaddwd, vpmaddubsw, vpsadbw, vpsubb, vpsubw, vpsubd, vpsubq, vpaddb, vpaddw, vpaddd, vpaddq, vpshufb, vphaddw, vphaddd, vphaddsw, vphsubw, vphsubd, vphsubsw, vpsignb, vpsignw, vpsignd, vpsllvd, vpsllvq, vpsrlvd, vpsrlvq, vpsravd
    V3 \op, AVX2, AVX2
.endr
.irp op, vpsrlw, vpsrld, vpsrlq, vpsraw, vpsrad, vpsllw, vpslld, vpsllq
    ROW "\op", 0, AVX2
    \op %xmm1, %xmm2, %xmm3
    \op (%rdi), %xmm2, %xmm9
    \op %xmm1, %ymm2, %ymm4
    \op (%rdi), %ymm2, %ymm10
    \op $3, %xmm1, %xmm5
    \op $7, %ymm1, %ymm6
    END
.endr
    N AVX2, vpsrldq $3, %ymm1, %ymm2
    N AVX2, vpslldq $3, %ymm1, %ymm2
    N AVX, vpsrldq $3, %xmm1, %xmm2
    N AVX, vpslldq $3, %xmm1, %xmm2
.irp op, vsqrtps, vsqrtpd, vrsqrtps, vrcpps, vcvtdq2ps, vcvtps2dq, vcvttps2dq, vmovsldup, vmovshdup, vmovddup, vptest, vtestps, vtestpd, vmovups, vmovupd, vmovdqu
    V2 \op
.endr
.irp op, vpabsb, vpabsw, vpabsd
    V2 \op, AVX2
.endr
.irp op, vpmovsxbw, vpmovsxbd, vpmovsxbq, vpmovsxwd, vpmovsxwq, vpmovsxdq, vpmovzxbw, vpmovzxbd, vpmovzxbq, vpmovzxwd, vpmovzxwq, vpmovzxdq, vpbroadcastb, vpbroadcastw, vpbroadcastd, vpbroadcastq, vcvtps2pd, vcvtdq2pd
    ROW "\op", 0, AVX2
    \op %xmm1, %xmm2
    \op 1(%rdi), %xmm3
    \op %xmm1, %ymm4
    \op 1(%rdi), %ymm5
    END
.endr
.irp op, vcvtpd2ps, vcvtpd2dq, vcvttpd2dq
    ROW "\op", 0, AVX
    \op\()x %xmm1, %xmm2
    \op\()x (%rdi), %xmm3
    \op\()y %ymm1, %xmm4
    \op\()y (%rdi), %xmm5
    END
.endr
.irp op, vaesenc, vaesenclast, vaesdec, vaesdeclast
    VS \op, AES
    ROW "\op ymm", 0, VAES
    \op %ymm1, %ymm2, %ymm3
    END
.endr
    N AES, vaesimc %xmm1, %xmm2
    N AES, vaeskeygenassist $3, %xmm1, %xmm2
    N PCLMUL, vpclmulqdq $0x11, %xmm1, %xmm2, %xmm3
    N VPCLMUL, vpclmulqdq $0x01, %ymm1, %ymm2, %ymm3
    V3 vgf2p8mulb, GFNI, GFNI
.irp op, vshufps, vshufpd, vcmpps, vcmppd, vblendps, vblendpd
    V3I \op, 0x1a
.endr
    V3I vdpps, 0x7f
.irp op, vpblendw, vpalignr, vmpsadbw
    V3I \op, 0x0b, AVX2
.endr
.irp op, vcmpss, vcmpsd, vroundss, vroundsd, vinsertps
    ROW "\op", 0, AVX
    \op $0x9, %xmm1, %xmm2, %xmm3
    \op $0x3, (%rdi), %xmm2, %xmm4
    END
.endr
    N AVX, vdppd $0x31, %xmm1, %xmm2, %xmm3
.irp op, vroundps, vroundpd, vpermilps, vpermilpd, vpshufd, vpshufhw, vpshuflw
    ROW "\op imm", 0, AVX2
    \op $0x9, %xmm1, %xmm2
    \op $0x3, (%rdi), %xmm3
    \op $0x2, %ymm1, %ymm4
    \op $0xb, 1(%rdi), %ymm5
    END
.endr
.irp op, vpermq, vpermpd
    ROW "\op", 0, AVX2
    \op $0x1b, %ymm1, %ymm2
    \op $0x4e, 1(%rdi), %ymm3
    END
.endr
.irp op, vpermd, vpermps
    ROW "\op", 0, AVX2
    \op %ymm1, %ymm2, %ymm3
    \op 1(%rdi), %ymm2, %ymm4
    END
.endr
.irp op, vperm2f128, vperm2i128
    ROW "\op", 0, AVX2
    \op $0x31, %ymm1, %ymm2, %ymm3
    \op $0x82, 1(%rdi), %ymm2, %ymm4
    END
.endr
.irp op, vinsertf128, vinserti128
    ROW "\op", 0, AVX2
    \op $1, %xmm1, %ymm2, %ymm3
    \op $0, 1(%rdi), %ymm2, %ymm4
    END
.endr
.irp op, vextractf128, vextracti128
    ROW "\op", 0, AVX2
    \op $1, %ymm1, %xmm2
    \op $1, %ymm3, 1(%rdi)
    END
.endr
.irp op, vblendvps, vblendvpd, vpblendvb
    ROW "\op", 0, AVX2
    \op %xmm4, %xmm1, %xmm2, %xmm3
    \op %ymm4, 1(%rdi), %ymm2, %ymm9
    END
.endr
    V3I vpblendd, 0x5a, AVX2
.irp op, vbroadcastss, vbroadcastsd, vbroadcastf128, vbroadcasti128
    N AVX2, \op 1(%rdi), %ymm1
.endr
    N AVX2, vbroadcastss %xmm1, %xmm2
    N AVX2, vbroadcastss %xmm1, %ymm2
    N AVX2, vbroadcastsd %xmm1, %ymm2
    N AVX, vbroadcastss (%rdi), %xmm2
.irp op, vmovaps, vmovapd, vmovdqa
    ROW "\op", 0, AVX
    \op %xmm1, %xmm2
    \op %ymm1, %ymm3
    \op (%rdi), %xmm4
    \op (%rsi), %ymm5
    \op %xmm1, 0x20(%rdi)
    \op %ymm2, 0x40(%rdi)
    {store} \op %ymm3, %ymm6
    END
    N AVX, \op 1(%rdi), %ymm1
.endr
.irp op, vmovups, vmovupd, vmovdqu
    N AVX, \op %ymm1, 3(%rdi)
    N AVX, \op %xmm1, 3(%rdi)
    N AVX, \op %ymm1, 0x1ff0(%rdi)
    N AVX, \op %ymm1, 0xff0(%rdi)
.endr
.irp op, vmovntps, vmovntpd, vmovntdq
    N AVX, \op %ymm1, (%rdi)
    N AVX, \op %xmm1, (%rdi)
.endr
    N AVX, vmovntdqa (%rdi), %xmm1
    N AVX2, vmovntdqa (%rdi), %ymm1
    N AVX, vlddqu 3(%rdi), %xmm1
    N AVX, vlddqu 3(%rdi), %ymm1
.irp op, vmovss, vmovsd
    N AVX, \op %xmm1, %xmm2, %xmm3
    N AVX, \op (%rdi), %xmm2
    N AVX, \op %xmm2, (%rdi)
.endr
.irp op, vmovlps, vmovhps, vmovlpd, vmovhpd
    N AVX, \op (%rdi), %xmm1, %xmm2
    N AVX, \op %xmm1, (%rdi)
.endr
    N AVX, vmovhlps %xmm1, %xmm2, %xmm3
    N AVX, vmovlhps %xmm1, %xmm2, %xmm3
    N AVX, vmovd %ebx, %xmm1
    N AVX, vmovd %xmm1, %ebx
    N AVX, vmovd (%rdi), %xmm1
    N AVX, vmovd %xmm1, (%rdi)
    N AVX, vmovq %rbx, %xmm1
    N AVX, vmovq %xmm1, %rbx
    N AVX, vmovq (%rdi), %xmm1
    N AVX, vmovq %xmm1, (%rdi)
    N AVX, vmovq %xmm1, %xmm2
.irp op, vmovmskps, vmovmskpd
    N AVX, \op %xmm1, %eax
    N AVX, \op %ymm1, %eax
.endr
    N AVX, vpmovmskb %xmm1, %eax
    N AVX2, vpmovmskb %ymm1, %eax
    N AVX, vpinsrb $3, %ebx, %xmm1, %xmm2
    N AVX, vpinsrb $3, (%rdi), %xmm1, %xmm2
    N AVX, vpinsrw $3, %ebx, %xmm1, %xmm2
    N AVX, vpinsrd $3, %ebx, %xmm1, %xmm2
    N AVX, vpinsrd $3, (%rdi), %xmm1, %xmm2
    N AVX, vpinsrq $1, %rbx, %xmm1, %xmm2
    N AVX, vpinsrq $1, (%rdi), %xmm1, %xmm2
    N AVX, vpextrb $3, %xmm1, %eax
    N AVX, vpextrb $3, %xmm1, (%rdi)
    N AVX, vpextrw $3, %xmm1, %eax
    N AVX, vpextrw $3, %xmm1, (%rdi)
    N AVX, vpextrd $3, %xmm1, %eax
    N AVX, vpextrd $3, %xmm1, (%rdi)
    N AVX, vpextrq $1, %xmm1, %rax
    N AVX, vpextrq $1, %xmm1, (%rdi)
    N AVX, vextractps $2, %xmm1, (%rdi)
    N AVX, vphminposuw %xmm1, %xmm2
.irp op, vcvtsi2ss, vcvtsi2sd
    N AVX, \op\()l %ebx, %xmm1, %xmm2
    N AVX, \op\()q %rbx, %xmm1, %xmm2
    N AVX, \op\()l (%rdi), %xmm1, %xmm2
    N AVX, \op\()q (%rdi), %xmm1, %xmm2
.endr
.irp op, vcvtss2si, vcvttss2si, vcvtsd2si, vcvttsd2si
    N AVX, \op %xmm1, %eax
    N AVX, \op %xmm1, %rax
    N AVX, \op (%rdi), %eax
    N AVX, \op (%rdi), %rax
.endr
.irp op, vucomiss, vucomisd, vcomiss, vcomisd
    N AVX, \op %xmm1, %xmm2
    N AVX, \op (%rdi), %xmm2
.endr
.irp op, vmaskmovps, vmaskmovpd
    N AVX, \op (%rdi), %ymm1, %ymm2
    N AVX, \op (%rdi), %xmm1, %xmm2
    N AVX, \op %ymm1, %ymm2, (%rdi)
    N AVX, \op %xmm1, %xmm2, (%rdi)
.endr
.irp op, vpmaskmovd, vpmaskmovq
    N AVX2, \op (%rdi), %ymm1, %ymm2
    N AVX2, \op (%rdi), %xmm1, %xmm2
    N AVX2, \op %ymm1, %ymm2, (%rdi)
    N AVX2, \op %xmm1, %xmm2, (%rdi)
.endr
    ROW "vmaskmovdqu", 0, AVX
    vmaskmovdqu %xmm1, %xmm2
    END
    ROW "masked load next to nothing", 0, AVX
    movl $ROW_NONE-16, %ebx
    vpcmpeqd %xmm2, %xmm2, %xmm2   # low half only
    vmaskmovps (%rbx), %ymm2, %ymm3
    END
    ROW "masked store next to read-only", 0, AVX
    movl $ROW_RO-16, %ebx
    vpcmpeqd %xmm2, %xmm2, %xmm2
    vmaskmovps %ymm3, %ymm2, (%rbx)
    END
    ROW "masked load of nothing: #PF", 0, AVX
    movl $ROW_NONE-12, %ebx
    vpcmpeqd %xmm2, %xmm2, %xmm2
    vmaskmovps (%rbx), %ymm2, %ymm3
    END
.macro GATHER op, index, mask, vector
    ROW "\op \vector", 0, AVX2
    movl $0x3f, %eax
    vmovd %eax, %xmm1
    vpbroadcastd %xmm1, \index
    vpand 0x40(%rdi), \index, \index
    \op \mask, (%rdi,\index,8), \vector
    END
.endm
    GATHER vpgatherdd, %xmm4, %xmm2, %xmm3
    GATHER vpgatherdd, %ymm4, %ymm2, %ymm3
    GATHER vgatherdps, %ymm4, %ymm2, %ymm3
    GATHER vpgatherdq, %xmm4, %xmm2, %xmm3
    GATHER vgatherdpd, %xmm4, %xmm2, %xmm3
    ROW "gathers by quadword", 0, AVX2
    vpsrlq $58, %ymm4, %ymm4
    vpgatherqd %xmm2, (%rdi,%xmm4,8), %xmm3
    vpgatherqq %ymm5, 8(%rdi,%ymm4,4), %ymm6
    vgatherqps %xmm7, (%rdi,%ymm4,2), %xmm8
    vgatherqpd %xmm9, (%rdi,%xmm4,1), %xmm10
    END
    ROW "gather faults in the middle", 0, AVX2
    movl $ROW_NONE-8, %ebx
    vpxor %xmm4, %xmm4, %xmm4
    movl $2, %eax
    vpinsrd $2, %eax, %xmm4, %xmm4
    vpcmpeqd %xmm2, %xmm2, %xmm2
    vpgatherdd %xmm2, (%rbx,%xmm4,4), %xmm3
    END
    N AVX, vzeroupper
    N AVX, vzeroall
.irp op, vfmadd132, vfmadd213, vfmadd231, vfmsub132, vfmsub213, vfmsub231, vfnmadd132, vfnmadd213, vfnmadd231, vfnmsub132, vfnmsub213, vfnmsub231, vfmaddsub132, vfmaddsub213, vfmaddsub231, vfmsubadd132, vfmsubadd213, vfmsubadd231
    V3 \op\()ps, FMA, FMA
    V3 \op\()pd, FMA, FMA
.endr
.irp op, vfmadd132, vfmadd213, vfmadd231, vfmsub132, vfmsub213, vfmsub231, vfnmadd132, vfnmadd213, vfnmadd231, vfnmsub132, vfnmsub213, vfnmsub231
    VS \op\()ss, FMA
    VS \op\()sd, FMA
.endr
    N F16C, vcvtph2ps %xmm1, %xmm2
    N F16C, vcvtph2ps %xmm1, %ymm2
    N F16C, vcvtph2ps (%rdi), %ymm2
    N F16C, vcvtps2ph $3, %ymm1, %xmm2
    N F16C, vcvtps2ph $4, %ymm1, (%rdi)
    N F16C, vcvtps2ph $0, %xmm1, (%rdi)
    ROW "legacy SSE keeps the upper half", 0, AVX
    addps %xmm1, %xmm2
    vaddps %xmm1, %xmm2, %xmm3
    movaps %xmm1, %xmm4
    END
    ROW "vex with lock: #UD", 0, AVX
    .byte 0xf0, 0xc5, 0xf0, 0x58, 0xc2
    END
    ROW "vex with 66: #UD", 0, AVX
    .byte 0x66, 0xc5, 0xf0, 0x58, 0xc2
    END
    ROW "vex with rex: #UD", 0, AVX
    .byte 0x40, 0xc5, 0xf0, 0x58, 0xc2
    END
    ROW "vvvv must be all ones: #UD", 0, AVX
    .byte 0xc5, 0xf0, 0x51, 0xc2
    END
    ROW "vpaddd crossing a page", 0, AVX2
    vpaddd 0xff0(%rdi), %ymm1, %ymm2
    vpaddd 0xffc(%rdi), %xmm1, %xmm3
    END
    ROW "vpaddd crossing into nothing", 0, AVX2
    vpaddd ROW_NONE-4, %ymm1, %ymm2
    END
    .section .note.GNU-stack,"",@progbits
