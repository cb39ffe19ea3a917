# From multiboot's 32-bit entry to long mode, and the traps' way in and out.
    .section .multiboot,"a"
    .balign 4
    .long 0x1badb002, 0, -0x1badb002

    .section .text32,"ax"
    .code32
    .globl start32
start32:
    cli
    movl $boot_stack_top, %esp
    movl $pdpt+3, pml4             # identity: four times 1 GiB of 2 MiB pages
    movl $pd, %eax
    orl $3, %eax
    movl $pdpt, %edi
    movl $4, %ecx
1:  movl %eax, (%edi)
    addl $0x1000, %eax
    addl $8, %edi
    loop 1b
    movl $0x83, %eax
    movl $pd, %edi
    movl $2048, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b
    movl $pml4, %eax
    movl %eax, %cr3
    movl $0x620, %eax              # PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax               # SCE, LME, NXE
    wrmsr
    movl $0x80010033, %eax         # PG, WP, NE, ET, MP, PE
    movl %eax, %cr0
    lgdt boot_gdtr
    ljmp $8, $start64

    .text
    .code64
start64:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl $boot_stack_top, %esp
    call long_main
1:  hlt
    jmp 1b

# int catch_trap(void (*f)(void)): the vector that ended f, or -1
    .globl catch_trap
catch_trap:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq home_rsp, %rax            # catch_trap may nest
    pushq %rax
    movq %rsp, home_rsp
    cld
    call *%rdi
    movl $-1, %eax
    movq home_rsp, %rsp
home:
    popq %rcx
    movq %rcx, home_rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

# void go_home(int vector): back out of whatever trapped
    .globl go_home
go_home:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %edi, %eax
    movq home_rsp, %rsp
    pushq $2
    popfq
    jmp home

# Entry stubs, 16 bytes each: vector and error code on the stack
    .globl stubs
    .balign 16
stubs:
    .set v, 0
    .rept 256
    .balign 16
    .if v == 8 || (v >= 10 && v <= 14) || v == 17
    .else
    pushq $0
    .endif
    pushq $v
    jmp common
    .set v, v+1
    .endr
common:
    .irp r, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
    pushq %\r
    .endr
    movq %rsp, %rdi
    cld
    movq %rsp, %rbp
    andq $-16, %rsp
    call trap
    movq %rbp, %rsp
    .irp r, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
    popq %\r
    .endr
    addq $16, %rsp
    iretq

# SYSCALL arrives here: leave what it left, go home with "vector" 0x100
    .globl syscall_entry
syscall_entry:
    movq %rcx, sys_rcx
    movq %r11, sys_r11
    movq %rsp, sys_rsp
    movl %cs, %eax
    movl %eax, sys_cs
    movl %ss, %eax
    movl %eax, sys_ss
    movq home_rsp, %rsp
    pushfq
    popq sys_rflags
    movl $0x100, %edi
    jmp go_home

    .data
    .balign 8
boot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdtr:
    .word 23
    .quad boot_gdt
    .globl home_rsp, sys_rcx, sys_r11, sys_rsp, sys_rflags, sys_cs, sys_ss
    .balign 8
home_rsp: .quad 0
sys_rcx: .quad 0
sys_r11: .quad 0
sys_rsp: .quad 0
sys_rflags: .quad 0
sys_cs: .long 0
sys_ss: .long 0

    .bss
    .balign 4096
    .globl pml4, pdpt, pd
pml4: .skip 4096
pdpt: .skip 4096
pd: .skip 4*4096
    .skip 32768
boot_stack_top:
    .section .note.GNU-stack,"",@progbits
