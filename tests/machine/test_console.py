"""The console: at a terminal (under tmux), with pipes, and with files that fail."""
import os
import re
import signal
import subprocess
import time

import pytest

import machine
from machine import OFF, QUIT, TIMEOUT

PROMPT = r"^(~|/root) #$"


class Terminal:
    """A tmux of its own with one shell in an 80x24 window."""

    def __init__(self, folder):
        self.tmux = [machine.need("tmux", "tmux"), "-S", str(folder / "tmux"), "-f", "/dev/null"]
        self.call("new-session", "-d", "-x", "80", "-y", "24",
                  "env PS1='host>' TERM=screen bash --norc --noprofile")
        self.wait("host>$")

    def call(self, *args):
        done = machine.execute([*self.tmux, *args])
        assert done.status == 0, done
        return done.out

    def screen(self):
        return self.call("capture-pane", "-p").rstrip()

    def type(self, *keys):
        """Keys as tmux names them: 'C-c', 'Enter'; other text is typed."""
        self.call("send-keys", *keys)

    def wait(self, pattern):
        """Wait until the screen matches; returns the match."""
        return machine.wait_until(lambda: re.search(pattern, self.screen(), re.M),
                                  lambda: f"no {pattern!r} on\n{self.screen()}")

    def command(self, line, pattern):
        """Clear the screen, type a line, wait for its output."""
        self.type("clear", "Enter")
        time.sleep(0.2)
        self.type(line, "Enter")
        return self.wait(pattern)

    def modes(self):
        """The terminal's modes, asked by the host's shell."""
        self.type(" stty -a | md5sum; stty -a | grep -o -- '-*icanon'", "Enter")
        found = self.wait(r"^(\w{32})  -\n(-?icanon)\nhost>$")
        assert found.group(2) == "icanon"
        self.type("clear", "Enter")
        time.sleep(0.2)
        return found.group(1)

    def close(self):
        subprocess.run([*self.tmux, "kill-server"], check=False)


@pytest.fixture
def terminal(tmp_path):
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def command_line(kernel, initrd, *args):
    return " ".join([f"{machine.MOTE} run --accel soft --control --kernel {kernel}",
                     f"--initrd {initrd} --cmdline 'console=ttyS0 panic=-1 quiet TERM=screen'",
                     *args])


# ---- a shell at a terminal: one boot, as a person would use it ----

def check_vi(t):
    t.type("vi note", "Enter")
    t.wait(r"^note.*1/|^- note|\"?note\"? ")
    t.type("ihello from vi")
    t.wait(r"^hello from vi$")
    t.type("Escape")  # a key of its own, not the start of one
    t.wait(r"^- note")
    t.type(":wq", "Enter")
    t.wait(PROMPT)
    t.command("cat note", r"^hello from vi$")


def check_top(t):
    t.type("top", "Enter")
    t.wait(r"^Mem: +\d+K used")
    t.wait(r"PID +PPID +USER")
    t.type("q")
    t.wait(PROMPT)


def check_interrupt(t):
    t.command("echo $((6*6)) s; sleep 1000; echo status $?", r"^36 s$")
    t.type("C-c")
    t.wait(PROMPT)
    t.command("echo alive $((6*7))", r"^alive 42$")


def check_resize(t):
    t.command("stty size", r"^24 80$")
    t.call("resize-window", "-x", "101", "-y", "33")
    machine.wait_until(lambda: t.command("stty size", r"^(\d+ \d+)$")[1] == "33 101", "resized")


def test_shell_at_a_terminal(terminal, kernel, shell):
    t = terminal
    before = t.modes()
    t.type(command_line(kernel, shell), "Enter")
    t.wait(PROMPT)
    check_vi(t)
    check_top(t)
    check_interrupt(t)
    check_resize(t)
    t.type("C-a", "h")
    t.wait(r"Ctrl-A x")
    t.type("C-a", "x")
    t.wait(r"^host>$")
    t.command("stty size", r"^33 101$")
    t.call("resize-window", "-x", "80", "-y", "24")  # tmux may take its time
    machine.wait_until(lambda: t.command("stty size", r"^(\d+ \d+)$")[1] == "24 80", "resized")
    assert t.modes() == before


# ---- every way out restores the terminal ----

LOOP = bytes.fromhex("ebfe")


def endings():
    """name: (how to end it, the status the shell sees)"""
    def send(sig):
        return lambda t, pid: os.kill(pid, sig)
    return {
        "ctrl-a-x": (lambda t, pid: t.type("C-a", "x"), QUIT),
        "SIGTERM": (send(signal.SIGTERM), QUIT),
        "SIGHUP": (send(signal.SIGHUP), QUIT),
        "SIGSEGV": (send(signal.SIGSEGV), 128 + signal.SIGSEGV),
        "SIGABRT": (send(signal.SIGABRT), 128 + signal.SIGABRT),
        "timeout": (lambda t, pid: None, TIMEOUT),
    }


@pytest.mark.parametrize("name", endings())
def test_terminal_is_restored(terminal, flat, tmp_path, name):
    end, status = endings()[name]
    t = terminal
    before = t.modes()
    seconds = "3" if name == "timeout" else str(machine.BOOT_SECONDS)
    args = " ".join(str(a) for a in flat(LOOP))
    pid_file = tmp_path / "pid"
    t.type(f"(echo $BASHPID >{pid_file}; exec {machine.MOTE} run --accel soft --timeout {seconds} "
           f"--kernel {args}); echo status=$?", "Enter")
    tty = t.call("display-message", "-p", "#{pane_tty}").strip()
    # The shell has the terminal raw too, while it reads the line.
    machine.wait_until(lambda: pid_file.exists() and
                       "-icanon" in machine.execute(["stty", "-F", tty, "-a"]).out, t.screen)
    end(t, int(pid_file.read_text()))
    assert int(t.wait(r"^status=(\d+)$").group(1)) == status
    assert t.modes() == before


# ---- pipes and files ----

def test_input_from_a_pipe(kernel, shell):
    """A script piped into the guest's shell, its output and its end in a pipe."""
    done = machine.run_linux(kernel, shell,
                             stdin=b"echo sum $((40 + 2))\nexit\n")
    assert done.status == OFF and re.search("^sum 42$", done.out, re.M), done


def test_closed_input(flat):
    args = flat(LOOP)
    for keys in {"stdin": subprocess.DEVNULL}, {"preexec_fn": lambda: os.close(0)}:
        done = machine.run(*args, "--timeout", "0.3", **keys)
        assert done.status == TIMEOUT, done
        machine.one_line(done.err)


# Prints "A" a thousand times, then ends by debug-exit with 3 << 1 | 1.
PRINTER = bytes.fromhex("b9e803" "b041" "baf803" "ee" "e2fd" "b003" "e6f4" "f4")


def test_output_to_a_file(flat, tmp_path):
    out = tmp_path / "out"
    done = machine.run(*flat(PRINTER), "--debug-exit", "--console", out)
    assert done.status == 7 and done.out + done.err == "", done
    assert out.read_text() == "A" * 1000
    done = machine.run(*flat(PRINTER), "--debug-exit", "--console", "none")
    assert done.status == 7 and done.out + done.err == "", done
    done = machine.run(*flat(PRINTER), "--debug-exit")
    assert done.out == "A" * 1000 and done.status == 7, done


def test_output_that_fails(flat):
    """A full disk, a closed standard output, a pipe nobody reads: one line, not success."""
    args = [*flat(PRINTER), "--debug-exit"]
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "wb") as full, os.fdopen(writer, "wb") as broken:
        results = [machine.run(*args, "--console", "/dev/full"),
                   machine.run(*args, stdout=full),
                   machine.run(*args, stdout=broken),
                   machine.run(*args, preexec_fn=lambda: os.close(1))]
    for done in results:
        assert done.status > 0, done
        assert "output is dropped" in machine.one_line(done.err), done
