# The test program of LiKeX, known from "Using the KVM API" (LWN, 2015): 12 bytes
# of real mode at 0x1000 that print the sum of AL and BL as a digit, and a newline.
# Entered with AL = 2 and BL = 2 it prints 4.
        .code16
        .globl  _start
_start:
        mov     $0x3f8, %dx
        add     %bl, %al
        add     $'0', %al
        out     %al, (%dx)
        mov     $'\n', %al
        out     %al, (%dx)
        hlt
