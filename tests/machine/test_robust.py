"""Killed at any moment, and with standard streams that are closed, full or left by their reader.

A terminal is restored after every end but SIGKILL, which no process can act on:
then it stays raw, and `reset` or `stty sane` helps. Nothing half-written is left
even so, as the only file that mote keeps, its measurements, is made under
another name and renamed.
"""
import fcntl
import os
import pty
import random
import signal
import subprocess
import termios
import threading
import time

import pytest

import machine
from machine import FAILED, OFF, QUIT, TIMEOUT, USAGE


# ---- killed ----

def begin():
    """In the child. Who started the tests may ignore signals, as a shell does for what runs behind."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for sig in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(sig, signal.SIG_DFL)


class Console:
    """A process with a terminal of its own, whose output is read by a thread."""

    def __init__(self, argv, env):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.out = b""
        self.process = machine.start(
            argv, env=env, stdin=self.slave, stdout=self.slave, stderr=self.slave,
            start_new_session=True,
            preexec_fn=begin)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        try:
            while chunk := os.read(self.master, 4096):
                self.out += chunk
        except OSError:  # nobody has the terminal open any more
            pass

    def is_raw(self):
        return termios.tcgetattr(self.slave) != self.before

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.slave)
        self.reader.join(5)
        os.close(self.master)


SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGSEGV,
           signal.SIGKILL]


def seconds_to_raw(argv, env):
    """How long it takes until the guest is about to run."""
    console = Console(argv, env)
    try:
        begin = time.monotonic()
        machine.wait_until(console.is_raw, "raw")
        return time.monotonic() - begin
    finally:
        console.close()


def kill_once(argv, env, sig, delay):
    console = Console(argv, env)
    try:
        time.sleep(delay)
        was_raw = console.is_raw()
        console.process.send_signal(sig)
        status = console.process.wait(machine.BOOT_SECONDS)
        what = f"{sig.name} after {delay:.4f} s, raw {was_raw}: status {status}\n{console.out!r}"
        if sig in (signal.SIGKILL, signal.SIGSEGV):
            assert status == -sig, what
        elif was_raw:
            assert status == QUIT, what
        else:  # before mote began to listen the signal has its default action
            assert status in (QUIT, -sig), what
        assert sig == signal.SIGKILL or not console.is_raw(), what
    finally:
        console.close()
    return was_raw


def test_killed_at_any_moment(kernel, shell, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    env = {**os.environ, "XDG_RUNTIME_DIR": str(cache)}
    argv = [machine.MOTE, "run", "--kernel", kernel, "--initrd", shell, "--cmdline",
            "console=ttyS0 quiet"]
    seed = time.time_ns()
    print("seed", seed)
    chance = random.Random(seed)
    raw = 0
    seconds_to_raw(argv, env)  # the host is measured in the first life
    longest = max(1, 4 * seconds_to_raw(argv, env))
    for number in range(24):
        delay = 0.001 * (1000 * longest) ** chance.random()  # 1 ms to 1 s
        raw += kill_once(argv, env, SIGNALS[number % len(SIGNALS)], delay)
    while not raw:  # the host became slower
        longest *= 2
        assert longest < machine.BOOT_SECONDS, "no try came as far as the guest"
        raw += kill_once(argv, env, signal.SIGTERM, longest)
    done = machine.mote("info", env=env)
    assert done.status == 0 and done.err == "", done


# ---- standard output and --console ----

# Prints "A" 65535 times, then switches itself off.
LONG = bytes.fromhex("b9ffff" "b041" "baf803" "ee" "e2fd" "b80034" "ba0406" "ef" "f4")
LOOP = bytes.fromhex("ebfe")


def test_reader_leaves_in_the_middle(flat):
    """As in `mote run ... | head -c 100`: the guest goes on, and its end is mote's."""
    process = machine.start(
        [machine.MOTE, "run", "--accel", "soft", "--kernel", *flat(LONG),
         "--timeout", machine.BOOT_SECONDS],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    assert process.stdout.read(100)
    process.stdout.close()
    _, err = process.communicate(timeout=machine.BOOT_SECONDS + 10)
    # The pipe may have held all of it already.
    assert process.returncode == OFF, err
    assert not err or "nobody reads it any more" in machine.one_line(err.decode()), err


def test_full_disk(flat, tmp_path):
    """A file system of 64 KiB: what fits is written, one line, and the guest goes on."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", folder],
                             stderr=subprocess.PIPE, check=False)
    if mounted.returncode:
        pytest.skip(f"the host lacks the right to mount: {mounted.stderr.decode().strip()}")
    try:
        done = machine.run(*flat(LONG), "--console", folder / "out")
        assert done.status == FAILED and done.out == "", done
        assert "No space left on device, the guest's output is dropped" in \
            machine.one_line(done.err), done
        assert (folder / "out").read_bytes() == b"A" * 32768
    finally:
        subprocess.run(["umount", folder], check=True)


def test_output_lost_is_no_success(flat):
    """A guest that ends well, whose output was lost."""
    with open("/dev/full", "wb") as full:
        results = [machine.run(*flat(LONG), "--console", "/dev/full"),
                   machine.run(*flat(LONG), stdout=full),
                   machine.run(*flat(LONG), preexec_fn=lambda: os.close(1))]
    for done in results:
        assert done.status == FAILED and "output is dropped" in machine.one_line(done.err), done


def test_output_of_other_commands():
    for args in ["info"], ["help"], ["run", "--help"], ["version"]:
        with open("/dev/full", "wb") as full:
            results = [machine.mote(*args, stdout=full),
                       machine.mote(*args, preexec_fn=lambda: os.close(1))]
        for done in results:
            assert done.status == FAILED, (args, done)
            assert "standard output" in machine.one_line(done.err), (args, done)


def test_reader_of_the_help_leaves():
    """As in `mote help | head -n 1`: not a word, but no success either."""
    for args in ["info"], ["help"], ["run", "--help"], ["version"]:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as broken:
            done = machine.mote(*args, stdout=broken)
        assert done.status == FAILED and done.err == "", (args, done)


# ---- standard error ----

def test_errors_that_nobody_hears(flat):
    """Without standard error the status still tells."""
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "wb") as full, os.fdopen(writer, "wb") as broken:
        for keys in ({"stderr": full}, {"stderr": broken},
                     {"preexec_fn": lambda: os.close(2)}):
            done = machine.run(*flat(LOOP), "--timeout", "0.2", **keys)
            assert done.status == TIMEOUT and done.out + done.err == "", (keys, done)
            done = machine.run(*flat(LOOP), "--timeout", "0.2", "--stats", "--dump-on-failure",
                               "--trace", "exits", **keys)
            assert done.status == TIMEOUT and done.out + done.err == "", (keys, done)
            done = machine.mote("run", "--nonsense", **keys)
            assert done.status == USAGE and done.out + done.err == "", (keys, done)


def test_all_streams_closed(flat, tmp_path):
    """No file that mote opens takes the place of a stream."""
    out = tmp_path / "out"
    done = machine.run(*flat(LONG), "--console", out, preexec_fn=lambda: os.closerange(0, 3))
    assert done.status == OFF, done
    assert out.read_bytes() == b"A" * 65535
