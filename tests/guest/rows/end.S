# Where the table and the text end: linked last.
    .globl row_last, row_text_end
    .section .rowtab,"a",@progbits
row_last:
    .section .rowtext,"awx",@progbits
row_text_end:
    .balign 4096, 0xcc
    .section .note.GNU-stack,"",@progbits
