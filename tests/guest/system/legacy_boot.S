# The 32-bit image: entry, traps, and the pieces of 16-bit and ring-3 code.
    .section .multiboot,"a"
    .balign 4
    .long 0x1badb002, 0, -0x1badb002

    .text
    .code32
    .globl start32
start32:
    cli
    movl $stack_top, %esp
    call legacy_main

# unsigned catch_trap(void (*f)(void)): vector or -1
    .globl catch_trap
catch_trap:
    pushl %ebx
    pushl %ebp
    pushl %esi
    pushl %edi
    movl %esp, home_esp
    call *20(%esp)
    movl $-1, %eax
home:
    movl home_esp, %esp
    popl %edi
    popl %esi
    popl %ebp
    popl %ebx
    ret

    .globl go_home
go_home:
    movl 4(%esp), %eax
    movl $0x10, %ecx
    movl %ecx, %ds
    movl %ecx, %es
    movl %ecx, %ss
    xorl %ecx, %ecx
    movl %ecx, %fs
    movl %ecx, %gs
    movl home_esp, %esp
    pushl $2
    popfl
    jmp home

    .globl stubs
    .balign 16
stubs:
    .set v, 0
    .rept 64
    .balign 16
    .if v == 8 || (v >= 10 && v <= 14) || v == 17
    .else
    pushl $0
    .endif
    pushl $v
    jmp common
    .set v, v+1
    .endr
common:
    pushal
    movl %ds, %ebx
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %esp, %eax
    pushl %eax
    cld
    call trap
    addl $4, %esp
    movl %ebx, %ds
    movl %ebx, %es
    popal
    addl $8, %esp
    iretl

# void ring3(eip, esp): IRET to ring 3, flat, flags in user_flags
    .globl ring3
ring3:
    movl 4(%esp), %eax
    movl 8(%esp), %ecx
    movl $0x23, %edx
    movl %edx, %ds
    movl %edx, %es
    pushl $0x23
    pushl %ecx
    pushl %ss:user_flags
    pushl $0x1b
    pushl %eax
    iretl

# void v86(void): virtual-8086 mode at 0:0x8000, stack 0:0x7ff0
    .globl v86
v86:
    pushl $0
    pushl $0x1111                  # fs
    pushl $0x2222                  # ds
    pushl $0x3333                  # es
    pushl $0                       # ss
    pushl $0x7ff0
    pushl v86_flags                # VM, IOPL 3 at first
    pushl $0
    pushl $0x8000
    iretl

# ---- ring 3 ----
    .globl u_int3, u_gate, u_out, u_out2, u_arpl, u_int20, u_lret
u_int3:
    int3
u_gate:
    pushl $0x22222222
    pushl $0x11111111
    lcall $0x43, $0
    int3
u_out:
    movb $0, %al
    outb %al, $0x80
    int3
u_out2:
    outb %al, $0x81
    int3
u_int20:
    int $0x20

# The call gate's target: two parameters were copied.
    .globl gate_entry
gate_entry:
    movl (%esp), %eax              # eip
    movl 4(%esp), %ebx             # cs
    movl 8(%esp), %ecx             # first parameter
    movl 12(%esp), %edx
    movl 16(%esp), %esi            # caller's esp
    movl 20(%esp), %edi
    lret $8

# ---- tasks ----
    .globl task_entry, task_again
task_entry:
    int3
task_iret:
    iretl                          # back by the link; the next switch goes on here
task_again:
    incl task_runs
    jmp task_iret
    .globl task_loop
task_loop:
    incl task_runs
    pushfl
    popl task_flags
    iretl
    jmp task_loop

# ---- v86 and real mode ----
    .globl v86_from, v86_to
v86_from:
    .code16
    movw $0x1234, %ax
    movw $0xfff0, %bx
    addw $0x20, %bx
    pushw %ax
    int $0x21
    hlt
v86_to:
    .code32

    .set REAL, 0x8000
    .set OUT, 0x9000
    .set at, real_from-REAL

# void real_run(void): the real-mode rows, copied to REAL, results at OUT
    .globl real_run
real_run:
    pushal
    pushfl
    movl %esp, saved_esp
    ljmp $0x30, $REAL

    .globl real_from, real_to
real_from:
    .code16
    movw $0x38, %ax                # 64 KiB data segments
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl %cr0, %eax
    andb $0xfe, %al
    movl %eax, %cr0
    ljmp $0, $(1f-at)
1:  xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw %ax, %es
    movw $0x7ff0, %sp
    lidtl (real_idt-at)
    movw $OUT, %di
    .macro OUTW reg
    movw \reg, (%di)
    addw $2, %di
    .endm
    movw $(handler-at), 0x60*4     # IVT
    movw $0, 0x60*4+2
    movw $(divide-at), 0*4
    movw $0, 0*4+2
    movw $(handler-at), 4*4
    movw $0, 4*4+2
    movw $(limit-at), 13*4
    movw $0, 13*4+2
    movw $(limit-at), 12*4
    movw $0, 12*4+2
    xorw %cx, %cx
    int $0x60
    OUTW %cx                       # 0: handler ran
    OUTW %sp                       # 1: stack balanced
    movb $0x7f, %al
    addb $1, %al
    into
    OUTW %cx                       # 2: into
    movb $0x15, %al
    addb $0x27, %al
    daa
    OUTW %ax                       # 3: al 42
    movw $0x0105, %ax
    subb $0x06, %al
    aas
    OUTW %ax                       # 4: 0009
    movw $0x004b, %ax
    aam
    OUTW %ax                       # 5: 0705
    aad
    OUTW %ax                       # 6: 004b
    movw $0x000f, %ax
    aaa
    OUTW %ax                       # 7: 0105
    movw $0x1000, %ax              # segment arithmetic: 1000:0000 is 0:10000
    movw %ax, %es
    movw $0x5aa5, %es:0x10
    movw $0x1001, %ax
    movw %ax, %es
    movw %es:0, %ax
    OUTW %ax                       # 8: 5aa5
    movw $0x1000, %ax              # offsets wrap at 64 KiB
    movw %ax, %es
    movw $0x1111, %es:0
    movw $0xfff0, %bx
    movw $0x10, %si
    movw %es:(%bx,%si), %ax
    OUTW %ax                       # 9: 1111
    lcall $0x800, $(farproc-real_from)
    OUTW %ax                       # 10: cs 0800
    movw $0x1234, %ax
    movw %sp, %bx
    pusha
    movw %sp, %dx
    popa
    OUTW %ax                       # 11: 1234
    movw $0x9abc, (0xa000)
    movw $0x1000, (0xa002)
    lds 0xa000, %si
    movw %ds, %ax
    xorw %bp, %bp
    movw %bp, %ds
    OUTW %ax                       # 12: 1000
    OUTW %si                       # 13: 9abc
    xorw %dx, %dx
    xorw %cx, %cx
    movw $5, %ax
    divw %cx                       # handler skips it
    OUTW %dx                       # 14: 0000, the fault's ip points at the divide
    movw $0xffff, %bx
    movw (%bx), %ax                # over the segment's limit: vector 13
    OUTW %cx                       # 15: 0d0d
    movl $0x12345678, %eax         # 32-bit operands and addresses
    movl $0xa010, %ebx
    movl %eax, (%ebx)
    movw 0xa012, %ax
    OUTW %ax                       # 16: 1234
    movw $3, %cx
    xorw %ax, %ax
1:  incw %ax
    loop 1b
    OUTW %ax                       # 17: 3
    movw $0xfffe, %si
    movw $0x1000, %ax
    movw %ax, %es
    movw $0xfffe, %bx
    pushf
    popw %ax
    andw $0xf000, %ax
    OUTW %ax                       # 18: 0000
    smsw %ax
    andw $1, %ax
    OUTW %ax                       # 19: 0
    movw $OUT+0x40, %bx
    enter $4, $0
    leave
    OUTW %sp                       # 20: 7ff0
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $real_back
farproc:
    movw %cs, %ax
    lret
handler:
    incw %cx
    iret
divide:
    pushw %bp
    movw %sp, %bp
    addw $2, 2(%bp)                # the divide is two bytes
    popw %bp
    iret
limit:
    movw $0x0d0d, %cx
    pushw %bp
    movw %sp, %bp
    addw $2, 2(%bp)
    popw %bp
    iret
    .balign 4
real_idt:
    .word 0x3ff
    .long 0
real_to:
    .code32
real_back:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl saved_esp, %esp
    popfl
    popal
    ret

    .data
    .balign 4
    .globl user_flags, home_esp, task_runs, task_flags
user_flags: .long 2
    .globl v86_flags
v86_flags: .long 0x23002
home_esp: .long 0
saved_esp: .long 0
task_runs: .long 0
task_flags: .long 0
    .bss
    .balign 16
    .skip 16384
stack_top:
    .section .note.GNU-stack,"",@progbits
