# The entry, in long mode: a stack, a GDT of the kernel's own, and off to C.
        .globl  _start
_start:
        lea     stack_top(%rip), %rsp
        lgdt    gdt_pointer(%rip)
        call    kernel_main
stay:   cli
        hlt
        jmp     stay

        .section .rodata
        .balign 8
gdt:    .quad   0
        .quad   0x00af9b000000ffff      # 0x08: 64-bit code
        .quad   0x00cf93000000ffff      # 0x10: data
gdt_end:
gdt_pointer:
        .word   gdt_end - gdt - 1
        .quad   gdt

        .bss
        .balign 16
        .skip   8192
stack_top:
        .section .note.GNU-stack, "", @progbits
