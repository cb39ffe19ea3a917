"""What the bare guest images print, and where it is known to depart from the manual.

Every line is 'name: values want values', the wanted ones being the manual's. The
last one is 'rows: N', in hexadecimal.
"""

# Where QEMU 7.2's TCG departs from the manual. Every entry must still be needed.
QEMU_WRONG = {
    "cr0: NW without CD": "SDM Vol. 3A 2.5: #GP",
    "cr0: upper half": "SDM Vol. 2B MOV to CR: #GP for bits 63:32",
    "cr8: reserved bit": "SDM Vol. 2B MOV to CR: #GP for bits 63:4",
    "lstar, not canonical": "SDM Vol. 2D WRMSR: #GP",
    "gs base, not canonical": "SDM Vol. 2D WRMSR: #GP",
    "pat, reserved type": "SDM Vol. 3A 12.12.2: #GP",
    "efer: reserved bit": "SDM Vol. 2D WRMSR: #GP",
    "rdmsr of nothing": "SDM Vol. 2B RDMSR: #GP",
    "wrmsr of nothing": "SDM Vol. 2D WRMSR: #GP",
    "wrfsbase, not canonical": "SDM Vol. 2D WRFSBASE: #GP",
    "nx bit without nxe is reserved": "SDM Vol. 3A 4.7: P is set with RSVD",
    "2M page, reserved bit": "SDM Vol. 3A 4.7: P is set with RSVD",
    "1G page, reserved bit": "SDM Vol. 3A 4.7: P is set with RSVD",
    "PML4 entry with PS": "SDM Vol. 3A 4.7: P is set with RSVD",
    "load by rbp, not canonical": "SDM Vol. 1 3.3.7.1: #SS for RSP and RBP",
    "int 0x20 through a DPL 0 gate": "SDM Vol. 3A 6.13: the index is the vector",
    "push with rsp not canonical": "SDM Vol. 1 3.3.7.1: #SS",
    "iretq, rip not canonical": "SDM Vol. 2A IRET: #GP before anything changes",
    "dr7.GD: mov from dr0": "SDM Vol. 3B 18.2.4: #DB",
    "... dr6.BD": "SDM Vol. 3B 18.2.3",
    "limit: over": "SDM Vol. 3A 5.3: TCG checks no limits and no types",
    "expand down: below": "SDM Vol. 3A 5.3",
    "null selector: load is fine, use is not": "SDM Vol. 3A 5.4.1",
    "store to read-only": "SDM Vol. 3A 5.5",
    "store to code": "SDM Vol. 3A 5.5",
    "real: limit": "SDM Vol. 3A 5.3",
    "int1": "SDM Vol. 2A INT1: #DB",
    "... rip is behind it": "SDM Vol. 2A INT1: a trap",
}

# What of this is right under KVM on TCG, since KVM judges it and not TCG's SVM.
KVM_RIGHT = {"cr0: NW without CD", "pat, reserved type", "efer: reserved bit", "rdmsr of nothing",
             "wrmsr of nothing"}


def parse(out):
    """{row: (values, wanted values)}; raises ValueError when rows are missing."""
    found, count = {}, None
    for line in out.splitlines():
        left, mark, want = line.strip().rpartition(" want ")
        row, _, got = (left or line.strip()).rpartition(": ")
        if mark:
            if row in found:
                raise ValueError("two rows are named '%s'" % row)
            found[row] = (got, want.replace(" BAD", ""))
        elif row == "rows":
            count = int(got, 16)
    if count != len(found):
        raise ValueError("%d rows seen, %s run" % (len(found), count))
    return found
