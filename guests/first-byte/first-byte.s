# The least guest: writes one byte to COM1 by its first instructions, and ends
# with status 3 by the debug exit (mote run --debug-exit, QEMU's isa-debug-exit).
# Assembled with STAY=1 it halts instead. An ELF file with a PVH note, which mote
# and QEMU load alike.
        .code32
        .globl  _start
_start:
        mov     $0x3f8, %dx
        mov     $'!', %al
        out     %al, (%dx)
.ifndef STAY
        mov     $1, %eax
        out     %eax, $0xf4
.endif
stay:
        cli
        hlt
        jmp     stay

        .section .note.pvh, "a", @note
        .long   4, 8, 18                # name, descriptor; XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .quad   _start
