"""System calls that fail: strace makes each one of a short life fail, one at a time.

Whatever fails, mote ends cleanly: it either copes, or says why in one line of its
own (and shows the registers, where the accelerator failed) and ends with a
documented status. It does not crash, hang, or end with 0 while output is lost.
An interrupted call changes nothing.
"""
import collections
import concurrent.futures
import os
import re

import pytest

import machine
from machine import ACCEL, FAILED, INPUT, OFF

# Waits for 16 ticks of the PIT and prints a character after each, then switches
# itself off. Real mode, at 0x1000.
TICKER = bytes.fromhex(
    "fa31c08ed88ec08ed0bc0008"                # cli; ds = es = ss = 0; sp = 0x800
    "c70680004b10a38200"                      # vector 0x20: 0:isr
    "b011e620b020e621b004e621b001e621b0fee621"  # PIC: vectors from 0x20, IRQ 0 only
    "b034e643b052e640b002e640"                # PIT: mode 2, every 0.5 ms
    "b91000" "fbf4fa" "b041baf803ee" "e2f5"   # 16 times: sti; hlt; cli; print 'A'
    "b80034ba0406eff4"                        # S5
    "50b020e62058cf")                         # isr: end of interrupt
OUTPUT = "A" * 16


def argv(tmp_path, accel, name):
    """mote and its arguments; its output goes to the file out-NAME."""
    ticker = tmp_path / "ticker"
    if not ticker.exists():
        ticker.write_bytes(TICKER)
    return [machine.MOTE, "run", "--accel", accel, "--kernel", ticker, "--boot", "flat:0x1000:real",
            "--memory", "4M", "--timeout", machine.BOOT_SECONDS, "--console", tmp_path / f"out-{name}"]


def strace(*args):
    # The leak detector of a mote built with sanitizers does not work under ptrace.
    return [machine.need("strace", "strace"), "-f", "-qq", "-E", "ASAN_OPTIONS=detect_leaks=0",
            *args]


def counts(tmp_path, accel, start="/dev/null"):
    """
    {system call: (first, last)}: the numbers of those from the line on that has
    start, by default mote's own ones and not the dynamic loader's. last is that
    of the thread that makes the most, as strace counts by thread.
    """
    log = tmp_path / "log"
    machine.execute(strace("-o", log, *argv(tmp_path, accel, "log")), check=True)
    before, seen, own = collections.Counter(), collections.Counter(), False
    for line in log.read_text().splitlines():
        found = re.match(r"(\d+) +(\w+)\(", line)
        if not found:
            continue
        own = own or start in line
        seen[found.group(2), found.group(1)] += 1
        if not own:
            before[found.group(2)] += 1
    most = collections.Counter()
    for (name, _), count in seen.items():
        most[name] = max(most[name], count)
    return {name: (before[name] + 1, count) for name, count in most.items()}


def complaint(tmp_path, accel, call, what, number, output_only=False):
    """What is wrong with mote's end when the call fails, or None."""
    name = f"{call}-{what}-{number}"
    command = argv(tmp_path, accel, name)
    where = ["-P", command[-1]] if output_only else []
    done = machine.execute(
        strace("-o", "/dev/null", *where, "-e", f"trace={call}", "-e",
               f"inject={call}:{what}:when={number}", *command))
    out = command[-1].read_text() if command[-1].exists() else ""
    lines = done.err.splitlines()
    if done.status == OFF and out == OUTPUT and not lines:
        return None
    # A signal says nothing about the machine; only opening and closing files may give up.
    interrupted = "signal" in what or (what == "error=EINTR" and call not in ("openat", "close"))
    # When the accelerator fails, what the vCPUs were doing follows.
    said = [line for line in lines if not re.match(r"vCPU \d|  ", line)]
    clean = len(said) == 1 and lines[0] == said[0] and said[0].startswith("mote: ")
    statuses = (FAILED, INPUT, ACCEL) if accel == "kvm" else (FAILED, INPUT)  # soft needs nothing
    if done.status in statuses and clean and not interrupted:
        return None
    return f"{name}: {done!r}\n--- guest\n{out}\n"


def check_all(tmp_path, accel, call, what, numbers, output_only=False):
    assert numbers
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        wrong = list(filter(None, pool.map(
            lambda number: complaint(tmp_path, accel, call, what, number, output_only), numbers)))
    assert not wrong, "\n".join(wrong)


def need_accel(accel):
    if accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no usable /dev/kvm")


# Waiting for a timer or an event cannot fail, and neither can setting one: so
# they are not here, but below.
CASES = [
    *(("soft", call, "EINTR") for call in ("read", "write", "epoll_wait", "openat", "close")),
    *(("soft", call, error) for call, error in
      [("mmap", "ENOMEM"), ("mprotect", "ENOMEM"), ("openat", "EMFILE"), ("openat", "EIO"),
       ("newfstatat", "EIO"), ("eventfd2", "EMFILE"), ("epoll_create1", "EMFILE"),
       ("epoll_ctl", "ENOSPC"), ("timerfd_create", "EMFILE"), ("signalfd4", "ENOMEM"),
       ("clone3", "EAGAIN")]),
    *(("kvm", call, error) for call, error in
      [("ioctl", "EINTR"), ("ioctl", "ENOMEM"), ("ioctl", "EIO"), ("mmap", "ENOMEM"),
       ("openat", "EMFILE"), ("epoll_ctl", "ENOSPC")]),
]


@pytest.mark.parametrize("accel,call,error", CASES)
def test_error(tmp_path, accel, call, error):
    need_accel(accel)
    if call in ("mmap", "mprotect", "clone3") and b"__asan_init" in machine.MOTE.read_bytes():
        pytest.skip("the sanitizer's own memory would fail")
    first, last = counts(tmp_path, accel)[call]
    check_all(tmp_path, accel, call, f"error={error}", range(first, last + 1))


@pytest.mark.parametrize("call,error", [("write", "ENOSPC"), ("write", "EIO"), ("close", "EIO")])
def test_error_of_the_output(tmp_path, call, error):
    numbers = range(1, 2 if call == "close" else len(OUTPUT) + 1)
    check_all(tmp_path, "soft", call, f"error={error}", numbers, output_only=True)


@pytest.mark.parametrize("call", ["futex", "epoll_wait", "read", "write", "ioctl"])
@pytest.mark.parametrize("accel", ["soft", "kvm"])
def test_signal(tmp_path, accel, call):
    """A signal whose handler does nothing arrives at any call, and then at all of them.

    At every second ioctl only: KVM_RUN does not go far with a signal pending.
    """
    need_accel(accel)
    handled = counts(tmp_path, accel, "rt_sigaction(SIGUSR2")
    if call not in handled:
        return
    first, last = handled[call]
    numbers = [*range(first, last + 1), f"{first}+2" if call == "ioctl" else f"{first}+"]
    check_all(tmp_path, accel, call, "signal=SIGUSR2", numbers)
