# The boot sector of the disk that intel.py makes: loads what follows it on the
# disk to LOAD, by the ATA ports (command 20h, READ SECTORS), and enters the
# kernel there as PVH does: 32 bits, flat segments, no paging, EBX = start info.
# intel.py fills in the last three words.

.set LOAD, 0x1000000

.set COUNT, 0x1f2               # the primary controller's registers
.set STATUS, 0x1f7
.set BUSY, 0x80
.set REQUEST, 8

.code16
.globl _start
_start:
    cli
    xor %eax, %eax
    mov %ax, %ds
    in $0x92, %al               # A20
    or $2, %al
    out %al, $0x92
    lgdtl gdtr
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $8, $flat

.code32
flat:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    cld
    mov $LOAD, %edi
    mov $1, %ebx                # LBA
chunk:
    mov $COUNT, %edx
    xor %eax, %eax
    out %al, %dx                # 0: 256 sectors
    mov %ebx, %eax
    mov $3, %ecx
address:
    inc %edx
    out %al, %dx
    shr $8, %eax
    loop address
    inc %edx
    or $0xe0, %al               # LBA, first drive
    out %al, %dx
    inc %edx
    mov $0x20, %al
    out %al, %dx
    mov $256, %esi
sector:
    mov $STATUS, %edx
wait:
    in %dx, %al
    test $BUSY, %al
    jnz wait
    test $REQUEST, %al
    jz wait
    mov $0x1f0, %edx
    mov $128, %ecx
    rep insl
    dec %esi
    jnz sector
    add $256, %ebx
    decl chunks
    jnz chunk
    mov info, %ebx
    jmp *entry

.balign 8
gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:
    .word 23
    .long gdt

.org 498
chunks:
    .long 0                     # of 256 sectors
info:
    .long 0
entry:
    .long 0
    .word 0xaa55
