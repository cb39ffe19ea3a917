"""Several vCPUs: paused, pinned, debugged and ended together; Debian's CPU hotplug and NMIs."""
import os
import re
import socket
import time

import pytest

import machine
from gdb_client import Gdb, Mote
from machine import FAILED, OFF, QUIT, RESET, TIMEOUT, USAGE
from test_ctl import Running, ctl, obeyed, refused, runtime, start, state  # noqa: F401, fixtures too

# In real mode at 0x1000. Whoever comes takes a number at 0x8000 and says V. The first sends
# INIT and a SIPI for 0x2000 to all others. All count in their own word after 0x8004.
COUNTS = bytes.fromhex(
    "66b801000000" "66f00fc1060080" "6689c3"   # 1000: mov $1, %eax; lock xadd %eax, 0x8000; mov %eax, %ebx
    "baf803" "b056" "ee"                       # 1010: the serial port
    "6685db" "7537"                            # 1016: test %ebx, %ebx; jne 0x1052
    "66b91b000000" "0f32" "660d000c0000" "0f30"  # 101b: x2APIC mode
    "6631d2" "66b90f080000" "66b8ff010000" "0f30"  # 102b: SVR, enabled
    "66b930080000" "66b800450c00" "0f30"       # 103c: ICR, INIT
    "66b802460c00" "0f30"                      # 104a: SIPI
    "66c1e302"                                 # 1052: shl $2, %ebx
    "6766ff830480" "0000" "ebf6")              # 1056: incl 0x8004(%ebx); jmp 0x1056
SMP = COUNTS.ljust(0x1000, b"\xf4") + bytes.fromhex("ea00100000")  # 2000: ljmp 0, 0x1000
LOOP = 0x1056


def all_came(count):
    return "V" * count


@pytest.fixture
def smp(start, flat):  # noqa: F811
    """A function that starts COUNTS on so many vCPUs and waits for all of them."""
    return lambda count, *args, **keys: start(
        "--accel", "soft", "--cpus", count, "--kernel", *flat(SMP), *args,
        **{"wait": all_came(count), **keys})


# ---- --pin ----

@pytest.mark.parametrize("value", ["", "x", "-1", "1-", "3-1", "0,", "0 1", "1024", "0x1"])
def test_pin_is_a_list(value):
    done = machine.mote("run", "--kernel", "/etc/hostname", "--pin", value)
    assert done.status == USAGE and f"--pin: '{value}'" in machine.one_line(done.err), done


def test_pin_names_a_cpu_that_is_not_there(flat):
    missing = next(n for n in range(1024) if n not in os.sched_getaffinity(0))
    done = machine.run(*flat(SMP), "--cpus", 2, "--pin", f"0,{missing}")
    assert done.status == FAILED and f"CPU {missing} " in machine.one_line(done.err), done


def test_pinned_threads(smp):
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        pytest.skip("one host CPU shows no order")
    order = [usable[1], usable[0]]
    run = smp(3, "--pin", ",".join(map(str, order)))
    allowed = {}
    for task in os.scandir(f"/proc/{run.child.pid}/task"):
        name = open(f"{task.path}/comm").read().strip()
        allowed[name] = re.search(r"Cpus_allowed_list:\s*(\S+)", open(f"{task.path}/status").read())[1]
    assert [allowed[f"vcpu{n}"] for n in range(3)] == [str(order[n % 2]) for n in range(3)]
    assert allowed["mote"] not in map(str, order)  # the I/O thread goes where it likes


# ---- as one ----

def test_pause_and_resume_often(smp, runtime):  # noqa: F811
    run = smp(4, "--name", "often")
    assert re.search(r"^vcpus\s+4$", obeyed("often", "status"), re.M)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(machine.BOOT_SECONDS)
        client.connect(str(next(runtime.rglob("often*"))))
        stream = client.makefile("rw")
        for _ in range(500):
            for request in "pause", "resume":
                stream.write(request + "\n")
                stream.flush()
                assert stream.readline() == "ok\n"
    obeyed("often", "quit")
    assert run.end().status == QUIT


def test_end_while_paused(smp, runtime):  # noqa: F811
    run = smp(8, "--name", "still")
    obeyed("still", "pause")
    assert state("still") == "paused"
    obeyed("still", "quit")
    assert run.end().status == QUIT


def test_many_end_soon(flat):
    """The end of 64 that spin: all are told before the first is waited for."""
    for seconds in 10, machine.BOOT_SECONDS - 10:  # on a slow host they come later
        done = machine.run(*flat(SMP), "--cpus", 64, "--timeout", seconds, "--dump-on-failure",
                           "--stats")
        if done.out == all_came(64):
            break
    assert done.status == TIMEOUT and done.out == all_came(64), done
    for n in range(64):
        assert f"vCPU {n}, last exit" in done.err
        assert re.search(rf"^vCPU {n}: \d+ exits", done.err, re.M)


def test_steps_are_the_boot_processors(flat):
    for seconds in 1, 100:  # on a slow host it may not have started
        done = machine.run(*flat(SMP), "--cpus", 8, "--timeout", seconds, "--timings")
        assert done.status == TIMEOUT
        if re.search(r"^ *start ", done.err, re.M):
            break
    for step in "vCPU thread", "start", "clean-up":
        assert len(re.findall(rf"^ *{step} ", done.err, re.M)) == 1, done


# ---- a debugger ----

def test_debugger_sees_both(flat, tmp_path):
    where = f"unix:{tmp_path}/gdb"
    with Mote("--accel", "soft", "--cpus", 2, "--paused", "--gdb", where, "--timeout", machine.BOOT_SECONDS,
              "--kernel", *flat(SMP)):
        gdb = Gdb(where)
        assert len(re.findall(r"Thread \d", gdb.ask("info threads"))) == 2
        out = gdb.ask("break *0x1000", "continue")  # where the first is, and the second comes
        assert "Thread 2" in out and "Breakpoint 1, 0x0000000000001000" in out, out
        out = gdb.ask("delete", f"break *{LOOP:#x}", "continue")
        assert "Breakpoint" in out, out
        gdb.ask("delete", "set scheduler-locking on", "thread 2", "stepi", "stepi", "stepi")
        for thread, counter in ((1, 0x8004), (2, 0x8008)):
            other = 0x8008 + 0x8004 - counter
            gdb.ask(f"thread {thread}")
            before = gdb.value(f"*(int *){counter}"), gdb.value(f"*(int *){other}")
            gdb.ask(*["stepi"] * 4)  # two turns of the loop
            after = gdb.value(f"*(int *){counter}"), gdb.value(f"*(int *){other}")
            assert after[1] == before[1] and 0 <= after[0] - before[0] <= 2, (before, after)
        gdb.kill()


# ---- Linux ----

def boot(kernel, initrd, *args, cmdline=""):
    return machine.run_linux(kernel, initrd, "--cpus", 2, *args, cmdline=cmdline)


def test_linux_takes_cpus_off_and_on(kernel, script):
    body = """cd /sys/devices/system/cpu
for i in 1 2 3; do echo 0 > cpu1/online; cat online; echo 1 > cpu1/online; cat online; done
echo l > /proc/sysrq-trigger; sleep 1
grep NMI: /proc/interrupts"""
    done = boot(kernel, script(body))
    assert done.status == OFF, done
    assert re.findall(r"^0(?:-1)?$", done.out, re.M) == ["0", "0-1"] * 3, done
    assert sum(map(int, re.search(r"NMI: +(\d+) +(\d+)", done.out).groups())) >= 1, done


@pytest.mark.parametrize("key", ["b", "c"])
def test_linux_resets_with_two_running(kernel, script, key):
    """By itself, and by a panic (panic=-1) that stops the others first."""
    done = boot(kernel, script(f"(while :; do :; done) & sleep 0.2\n"
                               f"echo {key} > /proc/sysrq-trigger; sleep 9"))
    assert done.status == RESET, done
    assert ("sysrq: Trigger a crash" in done.out) == (key == "c"), done


def test_linux_without_an_ioapic(kernel, script):
    """The PICs' interrupts come to the boot processor by virtual wire."""
    done = boot(kernel, script("nproc; grep -c XT-PIC /proc/interrupts"), cmdline="noapic")
    assert done.status == OFF and re.search(r"^[1-9]", done.out, re.M), done
