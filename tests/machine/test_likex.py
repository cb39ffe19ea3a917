"""The 12 bytes of LiKeX: prints 2 + 2 and halts, on each accelerator."""
import os
import re

import pytest

import machine

PROGRAM = machine.TREE / "build/release/guests/likex/likex.bin"

# Registers are zero at the entry to a flat binary: load the operands first.
OPERANDS = bytes.fromhex("b002b302")  # mov $2, %al; mov $2, %bl


def test_is_the_known_program():
    assert PROGRAM.read_bytes() == bytes.fromhex("baf80300d80430eeb00aeef4")


@pytest.mark.parametrize("accel", ["soft", "kvm"])
def test_prints_4(flat, accel):
    if accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no usable /dev/kvm")
    for seconds in 0.5, 5, 100:  # on a slow host it may not have come to its end
        done = machine.mote("run", "--accel", accel, "--timeout", seconds, "--stats",
                            "--kernel", *flat(OPERANDS + PROGRAM.read_bytes()))
        # It halts with interrupts off: nothing ends it but the time.
        assert done.status == machine.TIMEOUT
        exits = dict(re.findall(r"^exits (\S+) +(\d+)$", done.err, re.M))
        if exits.get("io") == "2" and (accel == "kvm" or "halt" in exits):
            break
    assert done.out == "4\n", done
    assert exits["io"] == "2", done
    # KVM's own interrupt controller waits inside the kernel.
    assert accel == "kvm" or exits["halt"] == "1", done
