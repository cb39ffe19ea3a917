# Where the table and the text begin: linked first.
#include "../row.h"
    .globl row_first, row_text_start
    .section .rowtab,"a",@progbits
    .balign 8
    .globl row_data
    .set row_data, ROW_DATA       # a symbol, for RIP-relative operands
row_first:
    .section .rowtext,"awx",@progbits
    .balign 4096
row_text_start:
    .section .note.GNU-stack,"",@progbits
