"""x86's memory order: guests/litmus on the bare host, and in a guest with four processors."""
import os
import re

import pytest

import machine
from machine import OFF

LITMUS = machine.TREE / "build/release/guests/litmus/litmus"
HOST_CPUS = len(os.sched_getaffinity(0))

# First that the tests can fail on this engine, then that they do not.
SCRIPT = """
litmus --broken --times 20000; echo "status $?"
echo "== right"
litmus --times 40000; echo "status $?"
echo "== end"
"""


def counts(out):
    """{test: how often its outcome was seen}"""
    return {name: int(count) for name, count in
            re.findall(r"^(\S+) +\d+ times, (?:allowed|forbidden|lost) (\d+)", out, re.M)}


def noticed(out):
    """Every test that had enough processors did notice that its code is broken."""
    seen = counts(out)
    assert len(seen) + out.count("to notice\n") + out.count("not promised") == 23, out
    assert all(seen.values()) and "litmus: " in out, out


@pytest.fixture(scope="module")
def guest(kernel, folder):
    initrd = machine.make_initramfs(folder / "litmus", "--script", SCRIPT,
                                    "--add", LITMUS, "bin/litmus")
    return machine.run_linux(kernel, initrd, "--cpus", "4", "--memory", "256M")


def test_bare_host():
    """Nothing forbidden; and what is allowed is seen, or meeting were left to chance."""
    done = machine.execute([LITMUS])
    assert done.status == 0 and len(counts(done.out)) >= 24, done
    if HOST_CPUS > 1:
        assert counts(done.out)["SB"] > 0, done


@pytest.mark.skipif(HOST_CPUS < 2, reason="host lacks a second processor")
def test_broken_code_is_noticed():
    """Missing fences, missing locks, exchanged and divided accesses."""
    done = machine.execute([LITMUS, "--broken", "--times", "300000"])
    assert done.status == 0, done
    noticed(done.out)


def test_in_a_guest(guest):
    part = machine.sections(guest.out)
    assert guest.status == OFF and "end" in part, guest
    assert "on 4 processors" in part["right"], guest
    assert part["right"].endswith("went wrong\nstatus 0\n") and len(counts(part["right"])) >= 24, \
        part["right"]


def test_broken_code_is_noticed_in_a_guest(guest):
    """Of each kind at least one test: on a busy host the guest's processors seldom run at once."""
    seen = counts(machine.sections(guest.out)[""])
    assert len(seen) >= 22, guest
    for kind in r"SB|R\+|MP|LB|S$|2\+2W|CoRR", "whole-", "sum-":
        assert any(count for name, count in seen.items() if re.match(kind, name)), seen
