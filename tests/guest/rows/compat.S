# 32-bit code in compatibility mode: what 64-bit mode does not have.
#include "macros.inc"

    .globl compat_start, compat_end
compat_start:
.irp v, 0x00, 0x05, 0x09, 0x0a, 0x0f, 0x15, 0x79, 0x99, 0x9a, 0xa0, 0xff
    .irp op, daa, das
        COMPAT "compat: \op of \v", OF
        movb $\v, %al
        \op
        END32
    .endr
    .irp op, aaa, aas
        COMPAT "compat: \op of \v", OF|SF|ZF|PF
        movb $\v, %al
        \op
        END32
    .endr
    COMPAT "compat: aam of \v", OF|AF|CF
    movb $\v, %al
    aam
    END32
    COMPAT "compat: aad of \v", OF|AF|CF
    movb $\v, %al
    aad
    END32
.endr
    C32U OF, daa
    C32U OF, das
    C32U OF|SF|ZF|PF, aaa
    C32U OF|SF|ZF|PF, aas
    C32U OF|AF|CF, aam $7
    C32U OF|AF|CF, aad $7
    COMPAT "compat: aam 0 is #DE", STATUS
    aam $0
    END32
    COMPAT "compat: salc"
    .byte 0xd6
    END32
    C32 pushal
    C32 pushaw
    COMPAT "compat: popal"
    movl $0x20001000, %esp
    popal
    movl $0x30001000, %esp
    END32
    COMPAT "compat: popaw"
    popaw
    END32
    C32 pushfl
    C32 pushfw
    C32 push %es
    C32 push %cs
    C32 push %ss
    C32 push %ds
    C32 pushw %ds
    COMPAT "compat: pop es, ds, ss"
    pushl $0
    pop %es
    push %ss
    pop %ds
    push %ss
    pop %ss
    movw %ds, %ax
    pushl $0
    pop %ds
    END32
    COMPAT "compat: into taken"
    movb $0x7f, %al
    addb $1, %al
    into
    END32
    COMPAT "compat: into not taken"
    xorl %eax, %eax
    into
    END32
    COMPAT "compat: bound inside"
    push %ss
    pop %ds
    movl $-5, (%edi)
    movl $5, 4(%edi)
    movl $5, %eax
    bound %eax, (%edi)
    movw $1, 8(%edi)
    movw $3, 10(%edi)
    movw $2, %ax
    bound %ax, 8(%edi)
    pushl $0
    pop %ds
    END32
    COMPAT "compat: null ds"
    movl (%edi), %eax
    END32
    COMPAT "compat: null ds, ss and cs work"
    movl %ss:(%edi), %eax
    movl (%esp), %ebx
    movl %cs:1b, %ecx
    END32
    COMPAT "compat: store to a code segment"
    movl %eax, %cs:(%edi)
    END32
    COMPAT "compat: les, lds"
    movl $0x12345678, %ss:(%edi)
    movw $0x2b, %ss:4(%edi)
    movw $0x2b, %ss:10(%edi)
    les %ss:(%edi), %eax
    lds %ss:8(%edi), %bx
    movw %es, %cx
    movw %ds, %dx
    pushl $0
    pop %ds
    pushl $0
    pop %es
    END32
    COMPAT "compat: lss, lfs, lgs", 0
    movl %esp, %ss:(%edi)
    movw $0x2b, %ss:4(%edi)
    lss %ss:(%edi), %esp
    END32
    COMPAT "compat: arpl"
    movw $0x10, %ax
    movw $0x13, %bx
    arpl %bx, %ax
    pushfl
    arpl %ax, %bx
    movw $0x20, %ss:(%edi)
    arpl %bx, %ss:(%edi)
    END32
    COMPAT "compat: inc, dec one-byte forms"
    inc %eax
    dec %ebx
    inc %cx
    dec %dx
    END32
    COMPAT "compat: 82 /0"
    .byte 0x82, 0xc3, 0x85
    END32
    COMPAT "compat: 16-bit addressing"
    movl $0x20000000, %ecx
    movw $0x10, %bx
    movw $0x20, %si
    movw $0x40, %di
    leaw 4(%bx,%si), %ax
    .byte 0x67
    lea (%bx), %dx
    .byte 0x67, 0x8d, 0x41, 0x7f   # lea 0x7f(%bx,%di),%eax
    .byte 0x67, 0x8d, 0x8a, 0x00, 0x80
    .byte 0x67, 0x8d, 0x16, 0x34, 0x12
    .byte 0x67, 0x8d, 0x5e, 0xff
    END32
    COMPAT "compat: lcall imm, ljmp imm"
    lcall $0x23, $2f
    jmp 3f
2:  incl %eax
    lret
3:  ljmp $0x23, $4f
    incl %ebx
4:
    END32
    COMPAT "compat: enter, leave, ret imm, call"
    enter $0x10, $0
    enter $0x8, $2
    leave
    pushl %eax
    call 2f
    jmp 3f
2:  ret $4
3:
    END32
    COMPAT "compat: loop, jecxz, jcxz"
    movl $0x10003, %ecx
2:  incl %eax
    .byte 0x67
    loop 2b
    jecxz 3f
    incl %ebx
    .byte 0x67, 0xe3, 0x00
3:
    END32
    COMPAT "compat: rep movsd wraps nothing, es null"
    movl $2, %ecx
    rep movsl %ss:(%esi), %es:(%edi)
    END32
    COMPAT "compat: moffs"
    push %ss
    pop %ds
    movb 0x20001000, %al
    movl %eax, 0x20001008
    movw 0x20001004, %ax
    pushl $0
    pop %ds
    END32
    COMPAT "compat: mul, imul, div", STATUS
    movl $3, %ebx
    mull %ebx
    imull $-7, %eax, %ecx
    xorl %edx, %edx
    divl %ebx
    cltd
    idivl %ebx
    END32
    COMPAT "compat: vex in 32-bit code"
    vpaddd %ymm1, %ymm2, %ymm3
    vzeroupper
    END32
    COMPAT "compat: bswap, cmov, setcc, shld, bt, movzx", AF|OF
    bswap %eax
    cmovc %eax, %ebx
    seto %cl
    movzwl %cx, %esi
    shldl $3, %eax, %edx
    END32
compat_end:
    .section .note.GNU-stack,"",@progbits
