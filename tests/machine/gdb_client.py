"""gdb's side of the remote protocol: Debian's gdb driven by a test, and a small client of our own
for what gdb would not say."""
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time

import machine

SECONDS = machine.BOOT_SECONDS  # for one answer; the guest may have to boot for it


def connect(where):
    """A stream to where mote's --gdb listens: unix:PATH or tcp:ADDRESS:PORT. Waits for it."""
    kind, _, rest = where.partition(":")
    until = time.monotonic() + SECONDS
    while True:
        stream = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
        try:
            host, _, port = rest.rpartition(":")
            stream.connect(rest if kind == "unix" else (host, int(port)))
            return stream
        except (FileNotFoundError, ConnectionRefusedError):
            stream.close()
            assert time.monotonic() < until, f"nobody listens at {where}"
            time.sleep(0.05)


def wait_for_listener(where):
    """Until somebody listens there: gdb tries but once, and mote may be slower to start than gdb."""
    kind, _, rest = where.partition(":")
    if kind != "unix":
        return
    accepts = "00010000"  # __SO_ACCEPTCON, in the fourth column of unix(7)'s file

    def listens():
        return any(line[3] == accepts and line[-1] == rest for line in
                   map(str.split, pathlib.Path("/proc/net/unix").read_text().splitlines()))
    machine.wait_until(listens, lambda: f"nobody listens at {where}")


def read_until(of, mark, seconds, ended):
    """Add to of.out what of.process prints until the mark is in it; ended(): says so of the process."""
    until = time.monotonic() + seconds
    while mark not in of.out:
        left = until - time.monotonic()
        assert left > 0, f"no {mark}: {machine.text(of.out)[-2000:]}"
        if select.select([of.process.stdout], [], [], left)[0]:
            more = os.read(of.process.stdout.fileno(), 65536)
            assert more, f"{ended()}: {machine.text(of.out)[-2000:]}"
            of.out += more


def free_port():
    """One of TCP that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def frame(payload):
    data = re.sub(rb"[$#}*]", lambda m: b"}" + bytes([m[0][0] ^ 0x20]), payload)
    return b"$" + data + b"#%02x" % (sum(data) & 255)


class Client:
    """Packets over a stream with recv, sendall and settimeout, such as a socket."""

    def __init__(self, stream):
        self.stream, self.buffer = stream, b""
        stream.settimeout(SECONDS)
        assert self.ask("QStartNoAckMode") == "OK"
        self.stream.sendall(b"+")

    def packet(self):
        """The next packet's payload; None: the connection was closed."""
        while True:
            found = re.search(rb"\$([^#]*)#[0-9a-f]{2}", self.buffer)
            if found:
                self.buffer = self.buffer[found.end():]
                return found.group(1).decode("latin-1")
            try:
                more = self.stream.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                return None
            self.buffer += more

    def send(self, payload):
        self.stream.sendall(frame(payload.encode("latin-1")))

    def ask(self, payload):
        self.send(payload)
        return self.packet()

    def interrupt(self):
        self.stream.sendall(b"\x03")

    def close(self):
        self.stream.close()


class Gdb:
    """Debian's gdb with a pipe for its commands."""

    def __init__(self, where):
        kind, _, rest = where.partition(":")
        wait_for_listener(where)
        self.process = machine.start(
            [machine.need("gdb", "gdb"), "-nx", "-q"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "LC_ALL": "C"},
            start_new_session=True)  # a Ctrl-C for it is not for us
        self.count, self.out = 0, b""
        for command in ("pagination off", "confirm off", "width 0", f"remotetimeout {SECONDS}",
                        f"tcp connect-timeout {SECONDS}"):
            self.ask(f"set {command}")
        self.ask(f"target remote {rest if kind == 'unix' else where}")

    def send(self, *commands):
        """Commands, and a mark for what they print."""
        self.count += 1
        lines = [*commands, f"echo <{self.count}>\\n", ""]
        self.process.stdin.write("\n".join(lines).encode())
        self.process.stdin.flush()

    def wait_for(self, mark, seconds=SECONDS):
        """Wait until gdb has printed this, since the last answer."""
        read_until(self, mark, seconds, lambda: "gdb ended")

    def answer(self, seconds=SECONDS):
        """What gdb printed up to the last mark."""
        self.wait_for(b"<%d>" % self.count, seconds)
        out, self.out = self.out, b""
        return machine.text(out).replace("(gdb) ", "")

    def ask(self, *commands, seconds=SECONDS):
        self.send(*commands)
        return self.answer(seconds)

    def value(self, expression):
        """A number that gdb computes."""
        out = self.ask(f"output/x {expression}", "echo \\n")
        found = re.search(r"^0x([0-9a-f]+)$", out, re.M)
        assert found, out
        return int(found.group(1), 16)

    def waits(self):
        """Sleeps, which it does not while it works, nor while it wants a processor to work."""
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "S"

    def interrupt(self):
        """Ctrl-C for a guest that runs: one that comes earlier is for gdb itself."""
        self.wait_for(b"Continuing.")
        slept = 0
        while slept < 20:
            slept = slept + 1 if self.waits() else 0
            time.sleep(0.01)
        self.process.send_signal(signal.SIGINT)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=SECONDS)
        self.process.stdout.close()


class Mote:
    """A `mote run` in the background, to be used with `with`."""

    def __init__(self, *args, stdin=subprocess.DEVNULL):
        self.out = b""
        self.process = machine.start((machine.MOTE, "run", *args), stdin=stdin,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def wait_for(self, mark, seconds=machine.BOOT_SECONDS):
        """Wait until its guest has printed this."""
        read_until(self, mark, seconds, lambda: f"mote ended: {self.end()}")

    def end(self, seconds=machine.BOOT_SECONDS, stdin=None):
        """Wait for its end; stdin: what it is told first."""
        out, err = self.process.communicate(stdin, timeout=seconds)
        out = self.out + out
        return machine.Result(self.process.returncode, machine.text(out), machine.text(err), 0)
