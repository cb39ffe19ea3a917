"""Control of a running machine: signals, the control socket, pauses, and what a panic ends."""
import fcntl
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time

import pytest

import machine
from machine import FAILED, OFF, PANIC, QUIT

# Real-mode code. It enables the power button's event in PM1, says R, and then ...
READY = bytes.fromhex("ba0206" "b80001" "ef" "baf803" "b052" "ee")
IGNORES = READY + bytes.fromhex("ebfe")  # loops
# ... waits for the button's status, and enters S5.
OBEYS = READY + bytes.fromhex("ba0006" "ed" "f6c401" "74fa" "ba0406" "b80034" "ef" "f4")
# ... says B when it is pressed, and goes on.
HEARS = READY + bytes.fromhex("ba0006" "ed" "f6c401" "74fa" "baf803" "b042" "ee" "ebfe")
# Without asking for the event: says R and loops.
DEAF = bytes.fromhex("baf803" "b052" "ee" "ebfe")
# Prints without end, 64 Ki turns of a loop apart.
PRINTS = bytes.fromhex("baf803" "b052" "ee" "b9ffff" "e2fe" "ebf6")
# Writes 2 (a crash kernel takes over) twice, and 1 (panicked) to pvpanic's port, if it reads 3.
PANICS = bytes.fromhex("ba0505" "ec" "3c03" "75fe" "b002" "ee" "ee" "b001" "ee" "ebfe")


@pytest.fixture
def runtime(monkeypatch):
    """A short XDG_RUNTIME_DIR, as the path of a socket must be short."""
    with tempfile.TemporaryDirectory(prefix="mote-", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield pathlib.Path(folder)


class Running:
    """A mote that runs; its output is read all the time."""

    def __init__(self, *args):
        self.out = b""
        self.child = machine.start([machine.MOTE, "run", *args], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for chunk in iter(lambda: os.read(self.child.stdout.fileno(), 65536), b""):
            self.out += chunk

    def wait_for(self, pattern):
        def came():
            assert self.child.poll() is None or not self.reader.is_alive(), self.end()
            return re.search(pattern, machine.text(self.out), re.M)
        machine.wait_until(came, lambda: f"no {pattern!r}: {self.out[-2000:]!r}")

    def send(self, sig):
        self.child.send_signal(sig)

    def end(self, seconds=machine.BOOT_SECONDS):
        """Wait for the end: status, out, err."""
        try:
            self.child.wait(seconds)
        finally:
            self.child.kill()
            self.reader.join()
        return machine.Result(self.child.wait(), machine.text(self.out),
                              machine.text(self.child.stderr.read()), 0)


@pytest.fixture
def start(runtime):
    """A function that starts mote run and waits for R, or not; what still runs is killed."""
    running = []

    def make(*args, wait="R"):
        running.append(Running(*args))
        if wait:
            running[-1].wait_for(wait)
        return running[-1]
    yield make
    for each in running:
        if each.child.poll() is None:
            each.child.kill()
            each.end()


@pytest.fixture(params=["soft", "kvm"])
def guest(request, start, flat):
    """A function that starts a few bytes of code on an accelerator."""
    if request.param == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no usable /dev/kvm")
    return lambda code, *args, **keys: start("--accel", request.param, "--kernel", *flat(code),
                                             *args, **keys)


def ctl(*args):
    return machine.mote("ctl", *args)


def obeyed(*args):
    done = ctl(*args)
    assert done.status == OFF and done.err == "", done
    return done.out


def refused(*args):
    done = ctl(*args)
    assert done.status == FAILED and done.out == "", done
    return machine.one_line(done.err)


def state(name):
    return dict(line.split() for line in obeyed(name, "status").splitlines())["state"]


# ---- signals ----

def test_bare_guest_ends_at_once(guest):
    for sig in "TERM", "INT", "HUP", "QUIT":
        run = guest(DEAF, "--grace", "1000")
        run.send(getattr(signal, "SIG" + sig))
        done = run.end()
        assert done.status == QUIT, done
        assert machine.one_line(done.err) == f"ended by SIG{sig}"


def test_guest_powers_off(guest):
    run = guest(OBEYS, "--grace", "1000")
    run.send(signal.SIGTERM)
    done = run.end()
    assert done.status == OFF and done.err == "", done


def test_guest_ignores_the_button(guest):
    run = guest(IGNORES, "--grace", "0.5")
    run.send(signal.SIGTERM)
    done = run.end()
    assert done.status == QUIT, done
    assert machine.one_line(done.err) == \
        "ended by SIGTERM (the guest did not power off within 0.5 s)"


def test_no_patience(guest):
    """A second SIGTERM, another signal after it, or no grace at all end at once."""
    for grace, signals in ("1000", "TERM TERM"), ("1000", "TERM INT"), ("1000", "HUP"), \
            ("0", "TERM"):
        run = guest(HEARS, "--grace", grace)
        for number, sig in enumerate(signals.split()):
            if number:
                run.wait_for("RB")  # two that come at once are one
            assert run.child.poll() is None
            run.send(getattr(signal, "SIG" + sig))
        done = run.end()
        assert done.status == QUIT, done
        assert machine.one_line(done.err) == f"ended by SIG{signals.split()[-1]}"


def test_paused_guest_ends_at_once(guest):
    run = guest(OBEYS, "--name", "vm", "--grace", "1000")
    obeyed("vm", "pause")
    assert "paused" in refused("vm", "poweroff")
    run.send(signal.SIGTERM)
    done = run.end()
    assert done.status == QUIT and machine.one_line(done.err) == "ended by SIGTERM", done


# ---- the socket ----

def test_status(start, flat):
    begin = time.monotonic()
    run = start("--accel", "soft", "--name", "vm", "--kernel", *flat(DEAF))
    found = dict(line.split() for line in obeyed("vm", "status").splitlines())
    assert 0 < float(found.pop("uptime")) < time.monotonic() - begin + 1
    assert found == {"state": "running", "pid": str(run.child.pid), "accel": "soft",
                     "memory": str(4 << 20), "vcpus": "1"}


def test_poweroff_and_quit(guest):
    run = guest(OBEYS, "--name", "vm")
    assert obeyed("vm", "poweroff") == ""
    assert run.end().status == OFF
    run = guest(DEAF, "--name", "vm")
    assert "nobody in the guest listens" in refused("vm", "poweroff")
    assert obeyed("vm", "quit") == ""
    done = run.end()
    assert done.status == QUIT and machine.one_line(done.err) == "ended by mote ctl", done


def test_pause_stops_the_guest(guest, tmp_path):
    out = tmp_path / "out"
    run = guest(PRINTS, "--name", "vm", "--console", out, wait=None)
    machine.wait_until(lambda: out.exists() and out.stat().st_size, "printing")
    for _ in range(3):
        assert obeyed("vm", "pause") == "" and state("vm") == "paused"
        assert obeyed("vm", "pause") == ""  # again changes nothing
        before = out.stat().st_size
        time.sleep(0.2)
        assert out.stat().st_size == before
        assert obeyed("vm", "resume") == "" and state("vm") == "running"
        assert obeyed("vm", "resume") == ""
        machine.wait_until(lambda: out.stat().st_size > before, "printing again")
    obeyed("vm", "pause")
    obeyed("vm", "quit")
    assert run.end().status == QUIT


def connect(runtime, name="vm"):
    """A client of our own; a file of lines."""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(runtime / "mote" / f"{name}.sock"))
    peer.settimeout(machine.BOOT_SECONDS)
    return peer


def test_many_pauses(guest, runtime):
    run = guest(PRINTS, "--name", "vm")
    with connect(runtime) as peer, peer.makefile("rw") as lines:
        for _ in range(200):
            for request in "pause", "resume":
                print(request, file=lines, flush=True)
                assert lines.readline() == "ok\n"
        for _ in range(5):
            print("pause\nresume\n" * 40, file=lines, end="", flush=True)
            assert [lines.readline() for _ in range(80)] == ["ok\n"] * 80
    before = len(run.out)
    run.wait_for("R{%d}" % (before + 1))


def waiting(pipe):
    """How many bytes are in it to be read."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


def test_resume_answers_who_waits_for_a_pause(start, flat, runtime):
    """A guest whose output nobody reads does not come to stand still."""
    fast = bytes.fromhex("baf803" "b052" "ee" "ebfd")
    out, into = os.pipe()
    size = fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 4096)
    child = machine.start([machine.MOTE, "run", "--accel", "soft", "--name", "vm", "--kernel",
                           *flat(fast)], stdin=subprocess.DEVNULL, stdout=into,
                          stderr=subprocess.DEVNULL)
    os.close(into)

    def read_until_paused():
        if waiting(out):  # else there is nothing more to come perhaps
            os.read(out, 65536)
        return state("vm") == "paused"
    try:
        machine.wait_until(lambda: ctl("vm", "status").status == OFF and waiting(out) >= size,
                           "full")
        with connect(runtime) as peer, peer.makefile("rw") as lines:
            print("pause", file=lines, flush=True)
            machine.wait_until(lambda: state("vm") == "pausing", "pausing")
            obeyed("vm", "resume")
            assert lines.readline() == "error resumed meanwhile\n"
            print("pause", file=lines, flush=True)
            machine.wait_until(lambda: state("vm") == "pausing", "pausing")
            machine.wait_until(read_until_paused, "paused")
            assert lines.readline() == "ok\n"
    finally:
        child.kill()
        child.communicate()
        os.close(out)


def test_names(start, flat, runtime):
    args = ["--accel", "soft", "--kernel", *flat(DEAF)]
    assert obeyed() == obeyed("--list") == ""
    assert "no such machine" in refused("one", "status")
    one, two = start(*args, "--name", "one"), start(*args, "--name", "two")
    # The list leaves out who does not answer within a second, as on a busy host.
    machine.wait_until(lambda: [line.split()[:2] for line in obeyed().splitlines()] ==
                       [["one", "state=running"], ["two", "state=running"]], obeyed)
    assert (runtime / "mote/one.sock").stat().st_mode & 0o777 == 0o600
    again = machine.mote("run", *args, "--name", "one")
    assert again.status == FAILED and "runs already" in machine.one_line(again.err), again
    obeyed("one", "quit")
    assert one.end().status == QUIT
    machine.wait_until(lambda: [line.split()[0] for line in obeyed().splitlines()] == ["two"],
                       obeyed)
    two.send(signal.SIGTERM)
    two.end()
    # What was found out about the host may stay.
    assert obeyed() == "" and set(os.listdir(runtime / "mote")) <= {"tsc"}


def test_path_as_a_name(start, flat, runtime):
    path = runtime / "my socket"
    args = ["--accel", "soft", "--kernel", *flat(DEAF), "--name", path]
    run = start(*args)
    assert state(path) == "running" and obeyed() == ""
    obeyed(path, "quit")
    assert run.end().status == QUIT and not path.exists()
    path.write_text("precious")
    done = machine.mote("run", *args)
    assert done.status == FAILED and path.read_text() == "precious", done


def test_stale_socket(start, flat, runtime):
    args = ["--accel", "soft", "--kernel", *flat(DEAF), "--name", "vm"]
    run = start(*args)
    run.send(signal.SIGKILL)
    run.end()
    assert (runtime / "mote/vm.sock").exists()
    assert obeyed() == "" and "no such machine" in refused("vm", "status")
    run = start(*args)
    assert state("vm") == "running"
    run.send(signal.SIGINT)
    run.end()
    assert not (runtime / "mote/vm.sock").exists()


def test_many_start_where_a_stale_socket_is(start, flat, runtime):
    args = ["--accel", "soft", "--kernel", *flat(DEAF), "--name", "vm"]
    run = start(*args)
    run.send(signal.SIGKILL)
    run.end()
    several = [start(*args, wait=None) for _ in range(6)]
    machine.wait_until(lambda: sum(each.child.poll() is None for each in several) <= 1, "one")
    assert state("vm") == "running"
    obeyed("vm", "quit")
    assert sorted(each.end().status for each in several) == [FAILED] * 5 + [QUIT]


def test_name_that_cannot_be(start, flat, runtime):
    """A folder that others may write to is not trusted, by neither side."""
    (runtime / "mote").mkdir()
    os.chmod(runtime / "mote", 0o777)
    done = machine.mote("run", "--accel", "soft", "--kernel", *flat(DEAF), "--name", "vm")
    assert done.status == FAILED and "nobody else" in machine.one_line(done.err), done
    assert "nobody else" in refused("vm", "status") and "nobody else" in refused("--list")


def test_hostile_clients(start, flat, runtime):
    run = start("--accel", "soft", "--name", "vm", "--kernel", *flat(DEAF))
    silent = [connect(runtime) for _ in range(20)]
    for noise in b"\0" * 500, b"x" * 100000, b"\n" * 5000, os.urandom(5000), b"quit", b"QUIT\n", \
            b"quit\0\n", b"status " + b"\xff" * 100 + b"\n":
        with connect(runtime) as peer:
            try:
                peer.sendall(noise)
            except OSError:
                pass  # cut off
    with connect(runtime) as peer:
        peer.sendall(b"frobnicate\n")
        assert peer.recv(100).startswith(b"error expected status, ")
    assert state("vm") == "running" and run.child.poll() is None
    for peer in silent:
        peer.close()
    obeyed("vm", "quit")
    assert run.end().status == QUIT


def test_client_facing_a_stranger(runtime):
    """What listens there is no mote: silence ends, noise is not passed on."""
    path = runtime / "stranger"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        for answer, words in ((b"", "ended before it answered"), (b"x" * 600, "no machine's socket"),
                              (b"hello\n", "no machine's socket"),
                              (b"error \x1b[2Jno\n", "?[2Jno")):
            def play(answer=answer):
                peer = server.accept()[0]
                with peer:
                    peer.recv(100)
                    peer.sendall(answer)
            thread = threading.Thread(target=play)
            thread.start()
            assert words in refused(path, "pause")
            thread.join()


# ---- panic ----

def test_pvpanic(guest):
    done = guest(PANICS, wait=None).end()
    assert done.status == PANIC, done
    assert done.err.splitlines() == ["mote: the guest panicked; its crash kernel takes over",
                                     "mote: the guest panicked"]


def modules(kernel, *names):
    """Arguments of tools/initramfs that add these modules of the kernel's package."""
    drivers = kernel.parent.parent / "lib/modules" / kernel.name.replace("vmlinuz-", "") / \
        "kernel/drivers"
    if not drivers.is_dir():
        pytest.skip(f"{kernel} has no modules beside it")
    return [arg for name in names
            for arg in ("--add", drivers / f"{name}.ko", f"lib/{pathlib.Path(name).name}.ko")]


def test_linux_panics(kernel, folder):
    initrd = machine.make_initramfs(
        folder / "panics", *modules(kernel, "misc/pvpanic/pvpanic", "misc/pvpanic/pvpanic-mmio"),
        "--script", "insmod /lib/pvpanic.ko; insmod /lib/pvpanic-mmio.ko\n"
        "echo == in; echo c >/proc/sysrq-trigger")
    done = machine.run_linux(kernel, initrd, cmdline="panic=0")
    assert done.status == PANIC, done
    assert machine.one_line(done.err) == "the guest panicked"
    assert "Kernel panic - not syncing: sysrq triggered crash" in done.out and "RIP:" in done.out


# ---- Linux, one boot ----

def test_kernel_in_the_middle_of_a_line():
    said = "count 1\ncou[   12.345678] hrtimer: interrupt took 5000000 ns\nnt 2\n"
    assert machine.without_kernel(said) == "count 1\ncount 2\n"



# A watchdog that barks after 8 s, which no busy host takes from it; what it says goes to the console.
LINUX = machine.BUTTON_IS_HEARD + """
echo 4 >/proc/sys/kernel/watchdog_thresh
echo == ready
n=0
while :; do n=$((n + 1)); echo count $n; [ $((n % 50)) = 0 ] && sleep 0.01; done
"""


def test_linux_is_paused_and_powers_off(kernel, folder, start, runtime):
    modules(kernel)
    initrd = machine.make_initramfs(folder / "paused", "--button", kernel, "--script", LINUX)
    run = start("--accel", "soft", "--kernel", kernel, "--initrd", initrd, "--control",
                "--cmdline", "console=ttyS0 panic=-1 quiet loglevel=7", "--name", "vm",
                "--grace", machine.BOOT_SECONDS, wait="^== ready")
    with connect(runtime) as peer, peer.makefile("rw") as lines:
        for turn in range(200):
            for request in "pause", "resume":
                print(request, file=lines, flush=True)
                assert lines.readline() == "ok\n"
            time.sleep(0.001 * (turn % 10))
    obeyed("vm", "pause")
    time.sleep(10)
    obeyed("vm", "resume")
    time.sleep(4)  # it looks every 1.6 s
    run.wait_for("^count 101$")
    run.send(signal.SIGTERM)
    done = run.end()
    assert done.status == OFF and done.err == "", done
    for word in "soft lockup", "BUG:", "stall", "Call Trace", "clocksource:":
        assert word not in done.out.partition("== ready")[2], done
    counts = [int(n) for n in re.findall(r"^count (\d+)$", machine.without_kernel(done.out), re.M)]
    assert len(counts) > 100 and counts[0] == 1
    assert all(b - a == 1 for a, b in zip(counts, counts[1:]))
