"""x86's memory order: guests/litmus on the bare host, and in a guest with four processors."""
import itertools
import os
import re

import pytest

import machine
from machine import OFF

LITMUS = machine.TREE / "build/release/guests/litmus/litmus"
HOST_CPUS = len(os.sched_getaffinity(0))

# Chance decides on a host with more to do than processors.
SEEN_SECONDS = 3 * machine.BOOT_SECONDS

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


def until_seen(seen, *args):
    """Those not yet seen again: on a busy host two processors seldom run at once."""
    def again():
        names = [name for name, count in seen.items() if not count]
        if names:
            seen.update(counts(machine.execute([LITMUS, *args, *names]).out))
        return all(seen.values())
    machine.wait_until(again, lambda: f"not seen: {seen}", SEEN_SECONDS)


@pytest.fixture(scope="module")
def boot(kernel, folder):
    """A function that runs a script in a guest that has litmus."""
    def run(script):
        initrd = machine.make_initramfs(folder / "litmus", "--script", script,
                                        "--add", LITMUS, "bin/litmus")
        return machine.run_linux(kernel, initrd, "--cpus", "4", "--memory", "256M")
    return run


@pytest.fixture(scope="module")
def guest(boot):
    return boot(SCRIPT)


def test_bare_host():
    """Nothing forbidden; and what is allowed is seen, or meeting were left to chance."""
    done = machine.execute([LITMUS])
    assert done.status == 0 and len(counts(done.out)) >= 24, done
    if HOST_CPUS > 1:
        until_seen({"SB": counts(done.out)["SB"]})


@pytest.mark.skipif(HOST_CPUS < 2, reason="host lacks a second processor")
def test_broken_code_is_noticed():
    """Missing fences, missing locks, exchanged and divided accesses."""
    args = "--broken", "--times", "300000"
    done = machine.execute([LITMUS, *args])
    assert done.status in (0, 1) and "litmus: " in done.out, done
    seen = counts(done.out)
    assert len(seen) + done.out.count("to notice\n") + done.out.count("not promised") == 23, done
    until_seen(seen, *args)  # every test that had enough processors


def test_in_a_guest(guest):
    part = machine.sections(guest.out)
    assert guest.status == OFF and "end" in part, guest
    assert "on 4 processors" in part["right"], guest
    assert part["right"].endswith("went wrong\nstatus 0\n") and len(counts(part["right"])) >= 24, \
        part["right"]


def test_broken_code_is_noticed_in_a_guest(guest, boot):
    """Of each kind at least one test: on a busy host the guest's processors seldom run at once."""
    seen = counts(machine.sections(guest.out)[""])
    assert len(seen) >= 22, guest

    def missing():
        return [kind for kind in (r"SB|R\+|MP|LB|S$|2\+2W|CoRR", "whole-", "sum-")
                if not any(count for name, count in seen.items() if re.match(kind, name))]

    def again():
        if missing():
            names = [name for name in seen if any(re.match(kind, name) for kind in missing())]
            seen.update(counts(boot(f"litmus --broken --times {next(times)} {' '.join(names)}").out))
        return not missing()
    times = (min(100000 << turn, 1000000) for turn in itertools.count())
    machine.wait_until(again, lambda: f"none of {missing()} in {seen}", SEEN_SECONDS)
