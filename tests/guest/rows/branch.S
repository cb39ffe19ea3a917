# Near branches, loops, calls, returns, the stack, flags on the stack.
#include "macros.inc"

.irp cc, o, no, b, ae, e, ne, be, a, s, ns, p, np, l, ge, le, g
    ROW "j\cc short"
    j\cc 1f
    incl %ebx
1:  incl %ecx
    END
    ROW "j\cc near"
    {disp32} j\cc 1f
    incl %ebx
1:  {disp32} j\cc 2f
    incl %ecx
2:  END
.endr
    ROW "jmp short and near"
    jmp 2f
1:  incl %eax
    {disp32} jmp 3f
2:  jmp 1b
    incl %ebx
3:  incl %ecx
    END
    ROW "jmp over a page"
    {disp32} jmp 2f
1:  incl %ecx
    jmp 3f
    .fill 5000, 1, 0x90
2:  {disp32} jmp 1b
3:  END
    ROW "jmp *reg"
    leaq 1f(%rip), %rbx
    jmp *%rbx
    incl %eax
1:  incl %ecx
    END
    ROW "jmp *mem"
    leaq 1f(%rip), %rbx
    movq %rbx, 8(%rdi)
    movl $1, %ecx
    jmp *(%rdi,%rcx,8)
    incl %eax
1:  incl %ecx
    END
    ROW "jmp to a non-canonical address"
    movabsq $0x8000000000000000, %rbx
    jmp *%rbx
    END
    ROW "jmp to data that is not executable"
    jmp *%rdi
    END
    ROW "jmp to nowhere"
    movl $ROW_NONE, %ebx
    jmp *%rbx
    END
    ROW "call to nowhere pushes first"
    movl $ROW_NONE, %ebx
    call *%rbx
    END
    ROW "call to a non-canonical address pushes nothing"
    movabsq $0x800000000000, %rbx
    call *%rbx
    END
    ROW "call *mem"
    leaq 1f(%rip), %rbx
    movq %rbx, (%rdi)
    call *(%rdi)
    incl %eax
1:  incl %ecx
    END
    ROW "call *(%rsp): the address is read before the push"
    leaq 1f(%rip), %rbx
    movq %rbx, (%rsp)
    call *(%rsp)
    incl %eax
1:  incl %ecx
    END
    ROW "call, ret"
    call 1f
    incl %ecx
    jmp 2f
1:  incl %eax
    ret
2:  END
    ROW "call, ret 0x10"
    pushq %rax
    pushq %rbx
    call 1f
    incl %ecx
    jmp 2f
1:  incl %eax
    ret $0x10
2:  END
    ROW "ret with the stack unmapped"
    movl $ROW_NONE, %esp
    ret
    END
    ROW "rep ret"
    leaq 1f(%rip), %rbx
    pushq %rbx
    rep ret
1:  END
    ROW "bnd and notrack prefixes"
    .byte 0xf2
    call 1f
    leaq 2f(%rip), %rbx
    notrack jmp *%rbx
1:  .byte 0xf2
    ret
2:  END
.irp op, loop, loope, loopne
    ROW "\op, rcx"
    movl $5, %ecx
1:  addl %eax, %ebx
    \op 1b
    END
    ROW "\op with 67: ecx"
    movabsq $0x500000002, %rcx
1:  addl %eax, %ebx
    addr32 \op 1b
    END
    ROW "\op of zero"
    movabsq $0x100000000, %rcx
    addr32 \op 2f
    incl %eax
2:  END
.endr
    ROW "loopne until zero flag"
    movl $9, %ecx
    movl $4, %eax
1:  decl %eax
    loopne 1b
    END
    ROW "jrcxz, jecxz"
    movabsq $0x100000000, %rcx
    jrcxz 1f
    incl %eax
1:  jecxz 2f
    incl %ebx
2:  xorl %ecx, %ecx
    jrcxz 3f
    incl %edx
3:  END
    ROW "branch with 66 keeps 64-bit rip"
    jmp 1f
    .fill 3, 1, 0x90
1:  END

# Stack
.irp r, %rax, %rcx, %rdx, %rbx, %rsp, %rbp, %rsi, %rdi, %r8, %r15
    I pushq \r
    I popq \r
.endr
    I pushw %ax
    I pushw %r9w
    I popw %bx
    I popw %r10w
    I pushq (%rdi)
    I pushw (%rdi)
    I popq 8(%rdi)
    I popw 8(%rdi)
    I popq (%rsp)
    I popq 8(%rsp)
    I pushq 8(%rsp)
    I pushq $-3
    I pushq $0x7fffffff
    I pushq $-0x80000000
    I pushw $-3
    I pushw $0x1234
    ROW "push and pop through ff /6 and 8f /0 with registers"
    .byte 0xff, 0xf3
    .byte 0x8f, 0xc1
    .byte 0x66, 0xff, 0xf2
    .byte 0x66, 0x8f, 0xc0
    END
    I pushq %fs
    I pushq %gs
    I pushw %fs
    ROW "pop fs and gs, null"
    pushq $0
    popq %fs
    pushq $0
    popq %gs
    pushw $0
    popw %gs
    END
    ROW "enter 0x20, 0; leave"
    enter $0x20, $0
    pushq %rbx
    movq %rbp, %rcx
    leave
    END
    I enter $0x10, $0
    I enter $0x18, $1
    I enter $8, $2
    I enter $0x100, $5
    I enter $0, $31
    I data16 enter $0x10, $0
    I data16 enter $0x10, $3
    I leave
    I leavew
    ROW "leave from an unmapped frame"
    movl $ROW_NONE, %ebp
    leave
    END
    ROW "enter into the unmapped"
    movl $0x20000004, %esp
    enter $0x10, $0
    END
    ROW "push at the stack's end"
    movl $0x30000000, %esp
    pushq %rax
    END
    ROW "push over the stack's end"
    movl $0x30000004, %esp
    pushq %rax
    END
    ROW "push with rsp not canonical"
    movabsq $0x8000000000000000, %rsp
    pushq %rax
    END
    ROW "pop with rsp not canonical"
    movabsq $0x8000000000000000, %rsp
    popq %rax
    END
    ROW "pop into the unmapped"
    popq ROW_NONE
    END
    ROW "pop into read-only"
    popq ROW_RO
    END
    ROW "call with rsp not canonical"
    movabsq $0xffff7ffffffffff8, %rsp
    call 1f
1:  END
    I pushfq
    I pushfw
    ROW "popfq from ring 3: IF and IOPL stay"
    pushq $0x3ed7
    popfq
    pushfq
    pushq $0x202
    popfq
    pushfq
    END
    ROW "popfq: everything but TF"
    pushq $0x3ffeff
    andq $~0x40000, (%rsp)        # AC would make the rest fault
    popfq
    pushfq
    pushq $0x202
    popfq
    END
    ROW "popfw"
    pushw $0x0ad7
    popfw
    pushfq
    pushw $0x4202
    popfw
    pushfw
    pushw $0x0202
    popfw
    END
    ROW "id flag"
    pushfq
    xorl $0x200000, (%rsp)
    popfq
    pushfq
    pushfq
    xorl $0x200000, (%rsp)
    popfq                         # back: sigreturn does not restore it
    END
    ROW "ac flag: misaligned load"
    pushfq
    orl $0x40000, (%rsp)
    popfq
    movl (%rdi), %eax
    movl 1(%rdi), %ebx
    END
    ROW "ac flag: misaligned store, word"
    pushfq
    orl $0x40000, (%rsp)
    popfq
    movb %al, 1(%rdi)
    movw %ax, 3(%rdi)
    END
    ROW "ac flag: enter with a stack that ends misaligned"
    pushfq
    orl $0x40000, (%rsp)
    popfq
    enter $4, $0
    END
    ROW "trap flag: one step"
    pushfq
    orl $0x100, (%rsp)
    popfq
    nop
    incl %eax
    END

# Far transfers within ring 3
    ROW "lretq to the same level"
    leaq 1f(%rip), %rbx
    pushq $0x33
    pushq %rbx
    lretq
    incl %eax
1:  END
    ROW "lretq $8"
    pushq %rax
    leaq 1f(%rip), %rbx
    pushq $0x33
    pushq %rbx
    lretq $8
    incl %eax
1:  END
    ROW "lretl"
    leaq 1f(%rip), %rbx
    movl %ebx, -8(%rsp)
    movl $0x33, -4(%rsp)
    subq $8, %rsp
    lretl
    incl %eax
1:  END
    ROW "lret to ring 0"
    pushq $0x10
    pushq $0x1000
    lretq
    END
    ROW "lret to null"
    pushq $0
    pushq $0x1000
    lretq
    END
    ROW "lret to a data segment"
    pushq $0x2b
    pushq $0x1000
    lretq
    END
    ROW "iretq to the same level"
    movq %rsp, %rcx
    leaq 1f(%rip), %rbx
    pushq $0x2b
    pushq %rcx
    pushq $0x0ad7
    pushq $0x33
    pushq %rbx
    iretq
    incl %eax
1:  END
    ROW "iretl to the same level"
    leaq 1f(%rip), %rbx
    leaq -0x40(%rsp), %rcx
    movl %ebx, (%rcx)
    movl $0x33, 4(%rcx)
    movl $0x202, 8(%rcx)
    movl %esp, 12(%rcx)
    movl $0x2b, 16(%rcx)
    movq %rcx, %rsp
    iretl
    incl %eax
1:  END
    ROW "iretq with a non-canonical rip"
    movq %rsp, %rcx
    movabsq $0x800000000000, %rbx
    pushq $0x2b
    pushq %rcx
    pushq $0x202
    pushq $0x33
    pushq %rbx
    iretq
    END
    ROW "ljmp *mem and lcall *mem, 32-bit offset"
    leaq 1f(%rip), %rbx
    movl %ebx, (%rdi)
    movw $0x33, 4(%rdi)
    ljmpl *(%rdi)
    incl %eax
1:  leaq 2f(%rip), %rbx
    movl %ebx, (%rdi)
    lcalll *(%rdi)
    jmp 3f
2:  incl %ecx
    lretl
3:  END
    ROW "ljmp *mem to a kernel segment"
    movl $0x1000, (%rdi)
    movw $0x10, 4(%rdi)
    ljmpl *(%rdi)
    END
    ROW "lcall to compatibility mode and back"
    leaq 1f(%rip), %rbx
    movl %ebx, (%rdi)
    movw $0x23, 4(%rdi)
    lcalll *(%rdi)
    jmp 2f
    .code32
1:  incl %eax
    lretl
    .code64
2:  END

# Self-modifying code
    ROW "store into the next instruction"
    leaq 1f(%rip), %rbx
    movb $0x43, 1(%rbx)           # inc %ebx instead of inc %eax: ff c0 -> ff c3
    .byte 0xeb, 0x00
    movb $0xc3, 1(%rbx)
1:  .byte 0xff, 0xc0
    END
    ROW "loop that patches its own body"
    leaq 1f(%rip), %rbx
    movl $3, %ecx
1:  movl $5, %eax
    addl %eax, %edx
    addl $1, 1(%rbx)
    decl %ecx
    jnz 1b
    END
    ROW "patch behind a page boundary"
    leaq 1f(%rip), %rbx
    movl $2, %ecx
    jmp 1f
    .balign 4096, 0x90
    .skip 4096-2, 0x90
1:  movl $5, %eax                 # crosses the page
    addl %eax, %edx
    addl $3, 1(%rbx)
    decl %ecx
    jnz 1b
    END
    ROW "stosb over code ahead"
    movq %rdi, %r8
    leaq 1f(%rip), %rdi
    movl $4, %ecx
    movb $0x90, %al
    rep stosb
1:  .byte 0x0f, 0x0b, 0x0f, 0x0b
    END
    # What is behind the jump writes OF alone, and then SF and OF are compared.
    ROW "jnl, rotate, cmovnl"
    xorl %ebx, %ebx
    movb $2, (%rdi)
    movb $0x7f, %al
    addb $0x7f, %al               # SF and OF
    movzbl 8(%rdi), %ecx
    jnl 1f
    lock cmpxchgl %edx, 16(%rdi)
1:  rorb $1, (%rdi)               # OF is 0
    cmovnl %rsp, %rbx
    cmpq %rbx, %rbp
    END
    .section .note.GNU-stack,"",@progbits
