# The loop around a sequence, at fixed addresses: layout.h. Each iteration takes all registers
# from its input record, and stores them to its output record when the sequence comes back.
#include "layout.h"

    .globl row_first, row_last, row_text_start, row_text_end, seq_driver, seq_driver_back
    .section .rowtext,"awx",@progbits
    .code64
    .balign 4096
row_text_start:
seq_driver:
    mov SEQ_CTL_IN, %rsp
    ldmxcsr 8*SEQ_RECORD_MXCSR(%rsp)
    popfq
    pop %rax
    pop %rcx
    pop %rdx
    pop %rbx
    pop %rbp
    pop %rsi
    pop %rdi
    pop %r8
    pop %r9
    pop %r10
    pop %r11
    pop %r12
    pop %r13
    pop %r14
    pop %r15
    mov (%rsp), %rsp
    jmp *SEQ_CTL_START

    .balign 64
seq_driver_back:
    mov %rsp, SEQ_CTL_RSP
    mov SEQ_CTL_OUT, %rsp
    stmxcsr 8*(SEQ_RECORD_MXCSR-SEQ_RECORD_RSP)(%rsp)
    push %r15
    push %r14
    push %r13
    push %r12
    push %r11
    push %r10
    push %r9
    push %r8
    push %rdi
    push %rsi
    push %rbp
    push %rbx
    push %rdx
    push %rcx
    push %rax
    pushfq
    cld
    mov SEQ_CTL_RSP, %rax
    mov %rax, 8*SEQ_RECORD_RSP(%rsp)
    addq $SEQ_RECORD_SIZE, SEQ_CTL_IN
    addq $SEQ_RECORD_SIZE, SEQ_CTL_OUT
    decl SEQ_CTL_LEFT
    jnz seq_driver
    int3

    .org row_text_start + SEQ_TEXT_SIZE
row_text_end:

    # No rows.
    .section .rowtab,"a",@progbits
row_first:
row_last:
    .section .note.GNU-stack,"",@progbits
