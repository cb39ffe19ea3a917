# Moves, exchanges, compare-exchange, conditional moves and sets, flags.
#include "macros.inc"

    I movb %bl, %al
    I movb %ah, %bh
    I movb %spl, %r9b
    I {load} movb %bl, %cl
    I {load} movw %bx, %cx
    I {load} movl %ebx, %ecx
    I {load} movq %rbx, %rcx
    I movb %dl, (%rdi)
    I movb 3(%rdi), %dl
    I movb $0x5a, %r12b
.irp r, al, cl, dl, bl, ah, ch, dh, bh, r13b
    I movb $0xa5, %\r
.endr
.irp r, ax, cx, dx, bx, sp, bp, si, di
    I movl $0x89abcdef, %e\r
    I movq $-0x76543211, %r\r
    I movabsq $0x123456789abcdef0, %r\r
    I xchg %eax, %e\r
    I xchg %rax, %r\r
    I xchg %ax, %\r
.endr
    I movb $0x5a, (%rdi)
    I movw %bx, %ax
    I movw %dx, 2(%rdi)
    I movw 2(%rdi), %dx
    I movw $0x1234, %cx
    I movw $0x1234, 2(%rdi)
    I movl %ebx, %eax
    I movl %eax, %eax
    I movl %r8d, 4(%rdi)
    I movl 4(%rdi), %r8d
    I movl $0x89abcdef, %ecx
    I movl $0x89abcdef, 4(%rdi)
    I movq %rbx, %rax
    I movq %rdx, 8(%rdi)
    I movq 8(%rdi), %r13
    I movq $-0x12345678, %rcx
    I movq $-0x12345678, 8(%rdi)
    I movabsq $0x123456789abcdef0, %r11
    ROW "mov c6 and c7, register forms"
    .byte 0xc6, 0xc3, 0x77
    .byte 0x66, 0xc7, 0xc1, 0x34, 0x12
    .byte 0xc7, 0xc2, 0x78, 0x56, 0x34, 0x12
    END
.irp a, 0x20001003
    I movabsb \a, %al
    I movabsw \a, %ax
    I movabsl \a, %eax
    I movabsq \a, %rax
    I movabsb %al, \a
    I movabsw %ax, \a
    I movabsl %eax, \a
    I movabsq %rax, \a
    I addr32 movb \a, %al
    I addr32 movl %eax, \a
    I movabsl %fs:0x10, %eax
    I movabsq %rax, %gs:0x18
.endr
    I movzwl %bx, %eax
    I movzbw %bl, %ax
    I movzbl %bh, %eax
    I movzbq %bl, %rax
    I movzbw (%rdi), %ax
    I movzbl (%rdi), %r8d
    I movzbq (%rdi), %rax
    I movzwq %bx, %rax
    I movzwl (%rdi), %eax
    I movzwq (%rdi), %r8
    I movsbw %bl, %ax
    I movsbl %bh, %eax
    I movsbq %r9b, %rax
    I movsbw (%rdi), %ax
    I movsbl (%rdi), %r8d
    I movsbq (%rdi), %rax
    I movswl %bx, %eax
    I movswq %bx, %rax
    I movswl (%rdi), %eax
    I movswq (%rdi), %r8
    I movslq %ebx, %rax
    I movslq (%rdi), %r8
    ROW "movzx and movsx to 16 bits from 16"
    .byte 0x66, 0x0f, 0xb7, 0xc3
    .byte 0x66, 0x0f, 0xbf, 0xcb
    .byte 0x66, 0x63, 0xd3       # movsxd, 16-bit
    .byte 0x63, 0xeb             # movsxd without REX.W: plain move
    END

    I xchgb %bl, %al
    I xchgb %bh, (%rdi)
    I xchgw %bx, %ax
    I xchgw %cx, %dx
    I xchgw %bx, (%rdi)
    I xchgl %ebx, %eax
    I xchgl %ecx, %r8d
    I xchgl %r8d, %eax
    I xchgl %ebx, (%rdi)
    I xchgq %rbx, %rax
    I xchgq %r9, %rax
    I xchgq %rbx, (%rdi)
    I lock xchgl %ebx, 5(%rdi)
    ROW "nop forms"
    nop
    .byte 0x66, 0x90
    .byte 0x48, 0x90
    .byte 0x87, 0xc0              # xchg %eax,%eax: clears the upper half
    .byte 0x41, 0x90              # xchg %eax,%r8d
    pause
    nopw 0x12345678(%rax,%rax)
    nopl (%rax)
    nopq 8(%rax)
    .byte 0x0f, 0x18, 0x20        # hint space
    .byte 0x0f, 0x19, 0xc0
    .byte 0x0f, 0x1d, 0xc0
    endbr64
    .byte 0xf3, 0x0f, 0x1e, 0xc8  # rdsspd, a hint without shadow stacks
    END
    ROW "prefetches fault never"
    prefetcht0 (%rax)
    prefetcht1 (%rbx)
    prefetcht2 (%rcx)
    prefetchnta (%rdx)
    END
    N PREFETCHW, prefetchw (%rbx)
    N PREFETCHW, prefetch (%rbx)
    I lfence
    I sfence
    I mfence
    I clflush (%rdi)
    N CLFLUSHOPT, clflushopt (%rdi)
    N CLWB, clwb (%rdi)
    I clflush 0x4000(%rdi)

.irp r, "b %bl, %cl", "b %ah, %bh", "b %bl, (%rdi)", "w %bx, %cx", "w %bx, (%rdi)", "l %ebx, %ecx", "l %ebx, (%rdi)", "q %rbx, %rcx", "q %rbx, (%rdi)"
    I xadd\r
    I cmpxchg\r
.endr
.irp r, "b %bl, (%rdi)", "w %bx, (%rdi)", "l %ebx, (%rdi)", "q %rbx, (%rdi)"
    I lock xadd\r
    I lock cmpxchg\r
.endr
    ROW "xadd of one register"
    xaddl %ebx, %ebx
    xaddq %rcx, %rcx
    END
.macro CMPXCHG_EQ s, acc
    ROW "cmpxchg\s equal"
    mov (%rdi), \acc
    cmpxchg\s
    END
.endm
    CMPXCHG_EQ "b %bl, (%rdi)", %al
    CMPXCHG_EQ "w %bx, (%rdi)", %ax
    CMPXCHG_EQ "l %ebx, (%rdi)", %eax
    CMPXCHG_EQ "q %rbx, (%rdi)", %rax
# CMPXCHG of an unequal 32-bit register clears its upper half on some makes and
# leaves it on others.
    ROW "cmpxchgl, registers not equal"
    lea 1(%rcx), %rax
    cmpxchgl %ebx, %ecx
    END
    ROW "cmpxchgl, the accumulator and itself"
    cmpxchgl %ebx, %eax
    END
    ROW "cmpxchgl, registers equal"
    movl %eax, %ecx
    bts $63, %rcx
    bts $63, %rax
    cmpxchgl %ebx, %ecx
    END
    I cmpxchg8b (%rdi)
    I lock cmpxchg8b (%rdi)
    ROW "cmpxchg8b equal"
    movl (%rdi), %eax
    movl 4(%rdi), %edx
    cmpxchg8b (%rdi)
    END
    ROW "lock cmpxchg8b equal, misaligned"
    movl 3(%rdi), %eax
    movl 7(%rdi), %edx
    lock cmpxchg8b 3(%rdi)
    END
    N CX16, cmpxchg16b (%rdi)
    N CX16, lock cmpxchg16b (%rdi)
    N CX16, lock cmpxchg16b 8(%rdi)
    ROW "lock cmpxchg16b equal", 0, CX16
    movq (%rdi), %rax
    movq 8(%rdi), %rdx
    lock cmpxchg16b (%rdi)
    END
    ROW "cmpxchg16b equal", 0, CX16
    movq (%rdi), %rax
    movq 8(%rdi), %rdx
    cmpxchg16b (%rdi)
    END
    ROW "cmpxchg8b, register form"
    .byte 0x0f, 0xc7, 0xc8
    END

.irp cc, o, no, b, ae, e, ne, be, a, s, ns, p, np, l, ge, le, g
    I set\cc %al
    I set\cc %bh
    I set\cc %r9b
    I set\cc (%rdi)
    I cmov\cc\()w %bx, %ax
    I cmov\cc\()l %ebx, %eax
    I cmov\cc\()q %rbx, %r8
    I cmov\cc\()w (%rdi), %ax
    I cmov\cc\()l (%rdi), %eax
    I cmov\cc\()q (%rdi), %r8
.endr
    ROW "cmov loads even when false"
    testl %eax, %eax
    cmpl %eax, %eax
    cmovnel ROW_NONE, %ebx
    END

    I lahf
    N LAHF64, sahf
    I clc
    I stc
    I cmc
    ROW "std, cld"
    std
    pushfq
    cld
    pushfq
    END
    I std
    ROW "xlat"
    leaq 0x40(%rdi), %rbx
    xlatb
    END
    ROW "xlat, fs and 67"
    movl $-8, %ebx
    addr32 xlatb %fs:(%ebx)
    END

# Segment registers, as far as user code goes
    I movw %cs, %ax
    I movl %cs, %ebx
    I movq %ds, %rcx
    I movw %ss, (%rdi)
    I movw %es, 2(%rdi)
    I movl %gs, %edx
    ROW "load null into ds and es"
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl $0x2b, %eax
    movl %eax, %ss
    END
    ROW "load a kernel selector"
    movl $0x18, %eax
    movl %eax, %ds
    END
    ROW "load null into ss at cpl 3"
    xorl %eax, %eax
    movl %eax, %ss
    END
    ROW "load past the gdt"
    movl $0xfff8, %eax
    movl %eax, %es
    END
    ROW "mov to cs"
    .byte 0x8e, 0xc8
    END
    ROW "mov to segment 6"
    .byte 0x8e, 0xf0
    END
    ROW "lar, lsl, verr, verw of user segments"
    movl $0x2b, %ebx
    larl %ebx, %eax
    lsll %ebx, %ecx
    verr %bx
    verw %bx
    pushfq
    movl $0x33, %ebx
    larq %rbx, %rdx
    larw %bx, %r8w
    verw %bx
    pushfq
    verr %bx
    END
    ROW "lar, lsl, verr of a kernel segment and of null"
    movl $0x18, %ebx
    larl %ebx, %eax
    pushfq
    lsll %ebx, %ecx
    pushfq
    verr %bx
    pushfq
    movw $0, (%rdi)
    larl (%rdi), %eax
    pushfq
    verw (%rdi)
    pushfq
    lslw (%rdi), %ax
    END
    N FSGSBASE, rdfsbase %rax
    N FSGSBASE, rdfsbase %eax
    N FSGSBASE, rdgsbase %r9
    N FSGSBASE, rdgsbase %eax
    ROW "wrfsbase, wrgsbase", 0, FSGSBASE
    leaq 0x300(%rdi), %rbx
    wrfsbase %rbx
    wrgsbase %ebx
    movl %fs:8, %eax
    movl %gs:16, %ecx
    END
    ROW "wrgsbase of a non-canonical address", 0, FSGSBASE
    movabsq $0x800000000000, %rbx
    wrgsbase %rbx
    END
    .section .note.GNU-stack,"",@progbits
