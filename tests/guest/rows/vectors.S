# Room for the instructions that guest-vectors makes.
    .globl row_room_start, row_room_end
    .section .rowtext,"awx",@progbits
row_room_start:
    .skip 0xa0000, 0xcc
row_room_end:
    .section .note.GNU-stack,"",@progbits
