"""mote run --gdb and --paused, with Debian's gdb."""
import os
import re
import signal
import subprocess

import pytest

import machine
from gdb_client import Client, Gdb, Mote, connect, free_port
from machine import OFF, QUIT, TIMEOUT

# In real mode at 0x1000: counts in memory, runs into an INT3 of its own, whose
# handler loads AL, and ends with AL.
PROGRAM = bytes.fromhex(
    "b90500"        # 1000: mov $5, %cx
    "ff060030"      # 1003: incw 0x3000
    "e2fa"          # 1007: loop 0x1003
    "c7060c001910"  # 1009: movw $0x1019, 0xc   (the vector of #BP)
    "c7060e000000"  # 100f: movw $0, 0xe
    "cc"            # 1015: int3
    "e6f4"          # 1016: out %al, $0xf4
    "f4"            # 1018: hlt
    "b015"          # 1019: mov $0x15, %al
    "cf")           # 101b: iret
STATUS = 0x15 * 2 + 1

# Linux goes on, with system calls, until it is told to say hello, however late a debugger is.
UNTIL_TOLD = """
echo ready
until read -r -t 1 line && [ "$line" = hello ]; do :; done
echo hello guest
"""


@pytest.fixture
def where(tmp_path):
    return f"unix:{tmp_path}/gdb"


@pytest.fixture(params=["soft", "kvm"])
def program(request, flat, where):
    """The arguments of a mote that waits for a debugger of PROGRAM."""
    if request.param == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no usable /dev/kvm")
    return ["--accel", request.param, "--debug-exit", "--paused", "--gdb", where, "--timeout", machine.BOOT_SECONDS,
            "--kernel", *flat(PROGRAM)]


@pytest.fixture
def linux(kernel, script, where):
    """The arguments of a Linux that waits for a hello, says hello guest and powers off."""
    return ["--accel", "soft", "--kernel", kernel,
            "--initrd", script(UNTIL_TOLD),
            "--control", "--cmdline", "console=ttyS0 panic=-1 quiet", "--timeout",
            machine.BOOT_SECONDS - 10, "--gdb", where]


def test_program(program, where):
    """Registers, memory, a step, breakpoints, the guest's own INT3, the end."""
    with Mote(*program) as mote:
        gdb = Gdb(where)
        assert gdb.value("$rip") == 0x1000 and gdb.value("$cr0") & 1 == 0
        assert gdb.value("*(unsigned short *)0x1007") == 0xfae2
        gdb.ask("stepi")
        assert (gdb.value("$rip"), gdb.value("$rcx")) == (0x1003, 5)
        gdb.ask("set var *(short *)0x3000 = 0x10", "set $rdx = 0x123456789")
        assert gdb.value("$rdx") == 0x123456789
        out = gdb.ask("break *0x1007", "continue")
        assert "Breakpoint 1, 0x0000000000001007" in out, out
        assert gdb.value("*(short *)0x3000") == 0x11
        out = gdb.ask("continue")
        assert "Breakpoint 1, " in out and gdb.value("$rcx") == 4, out
        # More than the processor's debug registers hold: the rest are INT3s.
        gdb.ask("delete", *(f"break *{0x2000 + i}" for i in range(4)), "break *0x1009")
        out = gdb.ask("break *0x1016", "continue")
        assert "0x0000000000001009" in out, out
        assert gdb.value("*(short *)0x3000") == 0x15
        assert gdb.value("*(unsigned char *)0x1009") == 0xc7  # no INT3 is to be seen
        out = gdb.ask("continue")
        assert "0x0000000000001016" in out, out
        assert gdb.value("$al") == 0x15
        out = gdb.ask("continue")
        assert f"exited with code {STATUS:03o}" in out, out
        gdb.close()
        assert mote.end().status == STATUS


def test_watch(program, where):
    if "kvm" in program and not re.search(r"\b(vmx|svm)\b", open("/proc/cpuinfo").read()):
        pytest.skip("this /dev/kvm runs the guest on an emulator that watches no data")
    with Mote(*program) as mote:
        gdb = Gdb(where)
        out = gdb.ask("watch *(short *)0x3000", "continue")
        assert re.search(r"Old value = 0\nNew value = 1\n0x0*1007 ", out), out
        out = gdb.ask("continue 2")
        assert re.search(r"Old value = 2\nNew value = 3\n0x0*1007 ", out), out
        out = gdb.ask("delete", "rwatch *(char *)0x1016", "awatch *(char *)0xe", "continue")
        assert re.search(r"access.*\n\nValue = 0 .*\n0x0*1015 ", out), out
        out = gdb.ask("delete", "continue")
        assert f"exited with code {STATUS:03o}" in out, out
        gdb.close()
        assert mote.end().status == STATUS


def test_kill(program, where):
    with Mote(*program) as mote:
        gdb = Gdb(where)
        gdb.ask("kill")
        gdb.close()
        done = mote.end()
    assert done.status == QUIT and machine.one_line(done.err) == "ended by the debugger", done


def test_second_client(program, where):
    """One at a time; a new one comes in when the first is gone."""
    with Mote(*program) as mote:
        first = Client(connect(where))
        second = connect(where)
        assert second.recv(1) == b""
        second.close()
        assert first.ask("p10") == "0010000000000000"
        first.close()
        # It runs on, ends, and there was nobody to be told.
        assert mote.end().status == STATUS


def test_tcp(program):
    where = f"tcp:127.0.0.1:{free_port()}"
    with Mote(*program, "--gdb", where) as mote:
        client = Client(connect(where))
        assert client.ask("?") == "T05thread:1;"
        assert client.ask("vCont;c") == f"W{STATUS:02x}"
        assert client.packet() is None
        assert mote.end().status == STATUS


def test_client_that_does_not_read(flat, where):
    """It is dropped when too much waits for it; the guest goes on."""
    args = flat(PROGRAM)
    with Mote("--accel", "soft", "--debug-exit", "--paused", "--gdb", where, "--kernel",
              *args) as mote:
        client = Client(connect(where))
        try:
            for _ in range(1000):
                client.stream.sendall(b"$g#67" * 100)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert mote.end().status == STATUS


def test_hlt(flat, where):
    """A step over HLT ends behind it; Ctrl-C stops a halted machine."""
    with Mote("--accel", "soft", "--paused", "--gdb", where, "--timeout", machine.BOOT_SECONDS, "--kernel",
              *flat(b"\xf4\xf4")) as mote:
        client = Client(connect(where))
        assert client.ask("vCont;s:1").startswith("T05")
        assert client.ask("p10") == "0110000000000000"
        client.send("vCont;c")
        client.interrupt()
        assert client.packet().startswith("T02")
        assert client.ask("p10") == "0110000000000000"
        client.send("vCont;c")
        mote.process.send_signal(signal.SIGTERM)
        assert client.packet() == "X0f"
        assert mote.end().status == QUIT


def test_paused_without_debugger(flat):
    args = ["--accel", "soft", "--debug-exit", "--paused", "--kernel", *flat(PROGRAM)]
    done = machine.mote("run", *args, "--timeout", "0.3", "--stats")
    assert done.status == TIMEOUT and "exits io" not in done.err, done
    with Mote(*args) as mote:
        machine.wait_until(lambda: machine.listens(mote.process, signal.SIGTERM), "listening")
        mote.process.send_signal(signal.SIGTERM)
        assert mote.end().status == QUIT


def test_linux(linux, symbols, where):
    """From the first instruction on: start_kernel, a watch, Ctrl-C, and on its own to the end."""
    with Mote(*linux, "--paused", stdin=subprocess.PIPE) as mote:
        gdb = Gdb(where)
        out = gdb.ask(f"break *{symbols['start_kernel']:#x}", "continue")
        assert f"Breakpoint 1, {symbols['start_kernel']:#x}" in out, out
        before = gdb.value("$rip")
        gdb.ask("stepi", "stepi")
        assert gdb.value("$rip") != before
        out = gdb.ask(f"x/s {symbols['linux_banner']:#x}")
        assert '"Linux version ' in out, out
        out = gdb.ask("info registers cr0 efer")
        assert re.search(r"^cr0 .*\bPG\b", out, re.M) and re.search(r"^efer .*\bLMA\b", out, re.M)
        out = gdb.ask(f"monitor translate {symbols['linux_banner']:#x}")
        assert re.search(r"is guest-physical 0x\w+", out), out
        assert "gdtr " in gdb.ask("monitor registers")
        out = gdb.ask("delete", f"watch *(long *){symbols['jiffies_64']:#x}", "continue")
        old, new = map(int, re.findall(r"(?:Old|New) value = (\d+)", out))
        assert new > old, out
        # Linux patches its functions' first bytes as it starts: the breakpoint is from before.
        out = gdb.ask("delete", f"break *{symbols['run_init_process']:#x}", "continue")
        assert f"{symbols['run_init_process']:#x}" in out, out
        gdb.send("delete", "continue")
        gdb.interrupt()
        out = gdb.answer()
        assert "SIGINT" in out, out
        gdb.ask("detach")
        gdb.close()
        mote.wait_for(b"ready")
        done = mote.end(stdin=b"hello\n")
    assert done.status == OFF and "hello guest\n" in done.out, done


def test_debugger_dies(linux, symbols, where):
    """Killed while it holds the guest at a breakpoint that is hit all the time."""
    with Mote(*linux, stdin=subprocess.PIPE) as mote:
        gdb = Gdb(where)
        gdb.ask("set breakpoint always-inserted on")
        for name in ("run_init_process", "do_syscall_64"):
            gdb.ask(f"break *{symbols[name]:#x}")
        out = gdb.ask("continue", "continue")
        assert f"{symbols['do_syscall_64']:#x}" in out, out
        gdb.send("continue 100000")
        gdb.kill()
        mote.wait_for(b"ready")
        done = mote.end(stdin=b"hello\n")
    assert done.status == OFF and "hello guest\n" in done.out, done
