# Exceptions: privileged instructions in ring 3, undefined ones, page faults,
# faults that must leave registers and memory alone.
#include "macros.inc"

    I hlt
    I cli
    I sti
    I inb $0x80, %al
    I inl $0x80, %eax
    I inw %dx, %ax
    I outb %al, $0x80
    I outl %eax, $0x80
    I outw %ax, %dx
    I inb %dx, %al
    I inl %dx, %eax
    I outb %al, %dx
    I outl %eax, %dx
    I rep insb
    I rep insw
    I rep insl
    I rep outsw
    I rep outsl
    I insb
    I insl
    I outsb
    I outsw
    ROW "rep outsb, count 0, still not allowed"
    xorl %ecx, %ecx
    rep outsb
    END
    I movq %cr0, %rax
    I movq %rax, %cr0
    I movq %cr3, %rbx
    I movq %rax, %cr4
    I movq %rax, %cr8
    I movq %dr0, %rax
    I movq %rax, %dr7
    I rdmsr
    I wrmsr
    I lgdt (%rdi)
    I lidt (%rdi)
    I lldt %ax
    I ltr %ax
    I lmsw %ax
    I clts
    I invlpg (%rdi)
    I invd
    I wbinvd
    I swapgs
    I sysretq
    I sysretl
    I sysexitl
    I xsetbv
    N INVPCID, invpcid (%rdi), %rax
    N MONITOR, monitor
    N MONITOR, mwait
    N SMAP, clac
    N SMAP, stac
    ROW "mov to cr1"
    .byte 0x0f, 0x22, 0xc8
    END
    I ud2
    I ud1 %eax, %ebx
    ROW "ud0"
    .byte 0x0f, 0xff, 0xc0
    END
    I int3
    I int $3
    I int $4
    I int $0x20
    I int $0x0d
    I int $1
.irp op, 0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x9a, 0xce, 0xd4, 0xd5, 0xd6, 0xea
    ROW "\op is undefined in 64-bit mode"
    .byte \op, 0, 0, 0, 0, 0, 0
    END
.endr
    ROW "c4 and c5 are VEX in 64-bit mode"
    .byte 0xc5, 0x00, 0x00, 0x00
    END
    ROW "ff /7"
    .byte 0xff, 0xf8
    END
    ROW "fe /2"
    .byte 0xfe, 0xd0
    END
    ROW "8f /1"
    .byte 0x8f, 0xc8, 0x00
    END
    ROW "c6 /1"
    .byte 0xc6, 0xc8, 0x00
    END
    ROW "c7 /2"
    .byte 0xc7, 0xd0, 0, 0, 0, 0
    END
    ROW "0f ba /0"
    .byte 0x0f, 0xba, 0xc0, 0x01
    END
    ROW "lea of a register"
    .byte 0x8d, 0xc0
    END
    ROW "lock nop"
    .byte 0xf0, 0x90
    END
    ROW "0f 0a"
    .byte 0x0f, 0x0a
    END
    ROW "0f 04"
    .byte 0x0f, 0x04
    END
    ROW "0f 24"
    .byte 0x0f, 0x24, 0xc0
    END

# Page faults: address, error code, and nothing else changed
.irp a, 0x20004000, 0x20003fff, 0x20003ffd, 0x1fffffff, 0x1ffffffc
    ROW "load at \a"
    movl \a, %ebx
    END
    ROW "loadq at \a"
    movq \a, %rbx
    END
    ROW "add from \a"
    addq \a, %rbx
    END
    ROW "vector load at \a"
    movdqu \a, %xmm3
    END
    ROW "push from \a"
    pushq \a
    END
.endr
# (read-only begins at 0x20003000, nothing at 0x20004000)
.irp a, 0x20003000, 0x20002fff, 0x20002ffd, 0x20003ffe, 0x20004000, 0x1ffffffc
    ROW "store at \a"
    movl %ebx, \a
    END
    ROW "storeq at \a"
    movq %rbx, \a
    END
    ROW "store imm at \a"
    movq $-1, \a
    END
    ROW "add to \a"
    addq %rbx, \a
    END
    ROW "inc \a"
    incl \a
    END
    ROW "shl \a"
    shlq $3, \a
    END
    ROW "not \a"
    notl \a
    END
    ROW "lock xadd \a"
    lock xaddl %ebx, \a
    END
    ROW "xchg \a"
    xchgl %ebx, \a
    END
    ROW "cmpxchg \a"
    cmpxchgl %ebx, \a
    END
    ROW "cmpxchg8b \a"
    cmpxchg8b \a
    END
    ROW "bts \a"
    btsl $1, \a
    END
    ROW "sete \a"
    sete \a
    END
    ROW "vector store at \a"
    movdqu %xmm3, \a
    END
    ROW "fst at \a"
    fldpi
    fstpl \a
    END
    ROW "stosq at \a"
    movl $\a, %edi
    stosq
    END
.endr
    ROW "cmp with read-only is a load"
    cmpl $5, ROW_RO
    testl %eax, ROW_RO+8
    btl $3, ROW_RO
    movl ROW_RO+12, %eax
    END
    ROW "cmpxchg of read-only, not equal, writes all the same"
    movl $0x12345678, %eax
    cmpxchgl %ebx, ROW_RO
    END
    ROW "xchg of read-only leaves the register"
    xchgq %rbx, ROW_RO
    END
.irp r, %rbx, %r12
    ROW "non-canonical load by \r"
    movabsq $0x8000000000000000, \r
    movl (\r), %eax
    END
    ROW "non-canonical store by \r"
    movabsq $0xffff7fffffffffff, \r
    movq %rax, (\r)
    END
.endr
    ROW "load across the canonical hole"
    movabsq $0x7ffffffffffd, %rbx
    movq 0x10(%rbx), %rax
    END
    ROW "non-canonical by rsp: #SS"
    movabsq $0x1000000000000000, %rsp
    movl (%rsp), %eax
    END
    ROW "non-canonical by rbp: #SS"
    movabsq $0x1000000000000000, %rbp
    movl 8(%rbp), %eax
    END
    ROW "non-canonical by rbp with fs: #GP"
    movabsq $0x1000000000000000, %rbp
    movl %fs:8(%rbp), %eax
    END
    ROW "misaligned everything"
    movw 1(%rdi), %ax
    movl 3(%rdi), %ebx
    movq 5(%rdi), %rcx
    movw %ax, 0x11(%rdi)
    movl %ebx, 0x15(%rdi)
    movq %rcx, 0x1b(%rdi)
    lock addq %rcx, 0x23(%rdi)
    END
    ROW "over a page"
    movl $ROW_DATA+0x1000-3, %ebx
    movl (%rbx), %eax
    movq (%rbx), %rcx
    addl $5, (%rbx)
    movq %rcx, -1(%rbx)
    lock incq (%rbx)
    movw 2(%rbx), %dx
    movw %dx, 2(%rbx)
    pushq -2(%rbx)
    popq -4(%rbx)
    END
    ROW "movaps misaligned: #GP"
    movaps 8(%rdi), %xmm0
    END
    ROW "cmpxchg16b misaligned: #GP", 0, CX16
    cmpxchg16b 8(%rdi)
    END
    ROW "int 0x80 has no place in the table; rdpmc in ring 3"
    xorl %ecx, %ecx
    movl $0x7fffff00, %ecx
    rdpmc
    END
    .section .note.GNU-stack,"",@progbits
