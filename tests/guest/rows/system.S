# What differs from run to run or from engine to engine: the row keeps of it
# what does not.
#include "macros.inc"

    ROW "rdtsc clears the upper halves"
    rdtsc
    shrq $32, %rax
    shrq $32, %rdx
    END
    ROW "rdtscp clears the upper halves", 0, RDTSCP
    rdtscp
    shrq $32, %rax
    shrq $32, %rdx
    shrq $32, %rcx
    END
    ROW "rdtsc rises", 0
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    movq %rax, %rbx
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    cmpq %rbx, %rax
    setae %cl
    xorl %eax, %eax
    xorl %ebx, %ebx
    xorl %edx, %edx
    END
    ROW "cpuid clears the upper halves and keeps the flags"
    movq $-0x80000000, %rax
    cpuid
    shrq $32, %rax
    shrq $32, %rbx
    shrq $32, %rcx
    shrq $32, %rdx
    END
.irp r, %ax, %ebx, %rcx, %r9w, %r15
    ROW "rdrand \r", 0, RDRAND
1:  rdrand \r
    jnc 1b
    pushfq
    movq $0, %rax
    movq $0, %rbx
    movq $0, %rcx
    movq $0, %r9
    movq $0, %r15
    END
.endr
.irp r, %ax, %ebx, %rcx
    ROW "rdseed \r", 0, RDSEED
1:  rdseed \r
    jnc 1b
    pushfq
    movq $0, %rax
    movq $0, %rbx
    movq $0, %rcx
    END
.endr
    ROW "xsaveopt, xrstor", 0, XSAVEOPT
    movl $ROW_DATA+0x1400, %ebx
    movq %rdi, %r8
    movq %rbx, %rdi
    movl $256, %ecx
    xorl %eax, %eax
    rep stosq
    movl $7, %eax
    xorl %edx, %edx
    xsaveopt64 (%rbx)
    vpxor %ymm3, %ymm3, %ymm3
    pxor %xmm4, %xmm4
    xrstor64 (%rbx)
    xsaveopt (%rbx)
    movq %rbx, %rdi                # its bytes depend on what is in use
    movl $256, %ecx
    xorl %eax, %eax
    rep stosq
    END
    ROW "rdpid", 0, RDPID
    rdpid %rbx
    shrq $32, %rbx
    END
    .section .note.GNU-stack,"",@progbits
