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
echo "== litmus"; litmus --times 500; echo "status $?"
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


# Four processors on an emulated one wait for tens of seconds where the host is busy: what is lost
# for good is told all the same, by a watchdog or as the boot does not end.
CMDLINE = "quiet watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=300"


def boot(initrd, cpus):
    return guest.command("nested", "/guest/vmlinuz", initrd, cpus, memory="128M", cmdline=CMDLINE)


@pytest.mark.parametrize("cpus", [1, 4])
def test_boots(nested, cpus):
    done = nested.run(boot("/report", cpus))
    part = machine.sections(done.out)
    assert done.status == OFF and "end" in part, done
    assert part["nproc"].split() == [str(cpus)], done
    columns, rows = interrupts(re.search(r" +CPU0(?s:.*)", part[""])[0])
    assert columns == cpus and min(rows["LOC"]) > 10 and sum(rows["ttyS0"]) > 0, rows
    if cpus > 1:
        assert sum(rows["RES"]) > 0 and min(rows["CAL"]) > 0, rows
    trouble = [line for line in part["dmesg"].splitlines()
               if re.search(guest.TROUBLE, line) and "rcu_cpu_stall_timeout" not in line]
    assert all(guest.NESTED_WARNING in line for line in trouble), "\n".join(trouble)
    assert part["litmus"].endswith("went wrong\nstatus 0\n") and len(counts(part["litmus"])) >= 24, \
        part["litmus"]


def test_clock(nested):
    """
    Linux' clocks never go backwards. The TSCs of KVM's processors need not agree where
    the outer kernel has found its own unstable, and rates are those of an emulator:
    bench/clock tells both.
    """
    done = nested.run(["clock", "host", "4", "0", *boot("/clock", 4)])
    back = dict(re.findall(r"^(\w+) +backwards (\d+) times.* on 4 processors$", done.out, re.M))
    assert {back.get(name) for name in ("MONOTONIC", "REALTIME", "RAW")} == {"0"}, done
