"""Several processors on hardware-like KVM: boots, litmus tests and clocks in one outer machine, which has
one processor itself, so that what is seen of relaxed order says nothing here."""
import re
import sys

import pytest

import machine
from machine import OFF
from nested import Nested, Unavailable
from test_litmus import LITMUS, counts
from test_smp import interrupts

sys.path.append(str(machine.TREE / "bench"))

import guest

CLOCK = machine.TREE / "build/release/guests/clock/clock"
REPORT = """
cat /proc/interrupts
echo "== nproc"; nproc
echo "== litmus"; litmus --times 2000; echo "status $?"
echo "== dmesg"; dmesg
echo "== end"
"""


@pytest.fixture(scope="module")
def nested(kernel, folder):
    files = {"/bin/clock": CLOCK,
             "/report": machine.make_initramfs(folder / "report", "--script", REPORT,
                                               "--add", LITMUS, "bin/litmus"),
             "/clock": machine.make_initramfs(folder / "clock", "--script", "clock guest",
                                              "--add", CLOCK, "bin/clock")}
    try:
        session = Nested(files, kernel)
    except Unavailable as why:
        pytest.skip(str(why))
    with session:
        yield session


def boot(initrd, cpus):
    return guest.command("nested", "/guest/vmlinuz", initrd, cpus, memory="128M")


@pytest.mark.parametrize("cpus", [1, 4])
def test_boots(nested, cpus):
    done = nested.run(boot("/report", cpus), seconds=120)
    part = machine.sections(done.out)
    assert done.status == OFF and "end" in part, done
    assert part["nproc"].split() == [str(cpus)], done
    columns, rows = interrupts(re.search(r" +CPU0(?s:.*)", part[""])[0])
    assert columns == cpus and min(rows["LOC"]) > 10 and sum(rows["ttyS0"]) > 0, rows
    if cpus > 1:
        assert sum(rows["RES"]) > 0 and min(rows["CAL"]) > 0, rows
    assert not re.search(guest.TROUBLE, part["dmesg"]), part["dmesg"]
    assert part["litmus"].endswith("went wrong\nstatus 0\n") and len(counts(part["litmus"])) >= 24, \
        part["litmus"]


def test_clock(nested):
    """How fast it goes is told by bench/clock; backwards it never goes."""
    done = nested.run(["clock", "host", "5", "0", *boot("/clock", 4)], seconds=120)
    assert done.status == 0 and done.out.count("backwards 0 times") == 4, done
