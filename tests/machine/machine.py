"""What the machine tests share: where things are, and how to run mote.

MOTE names another mote than build/release/mote, MOTE_KERNEL another Linux than
the one tools/get-kernel gets.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(TREE / "tests" / folder) for folder in ("nested", "guest/system")]

from nested import die_with_parent

MOTE = pathlib.Path(os.environ.get("MOTE", TREE / "build/release/mote")).absolute()

# MOTE_PATIENCE is how many times slower MOTE is (ThreadSanitizer's).
PATIENCE = int(os.environ.get("MOTE_PATIENCE", 1))

# A boot takes seconds, on a host that is slow and busy a minute. What takes longer than this
# hangs: it only ends a test that would wait for ever, whatever it waits for.
BOOT_SECONDS = 600 * PATIENCE

# The statuses of mote run --help.
OFF, FAILED, USAGE, INPUT, ACCEL, RESET, TRIPLE_FAULT, TIMEOUT, QUIT, PANIC = range(10)


def start(argv, preexec_fn=None, **keys):
    """A process in the background, which does not outlive us, however we end."""
    def before():
        die_with_parent()
        if preexec_fn:
            preexec_fn()
    return subprocess.Popen([str(a) for a in argv], preexec_fn=before, **keys)


class Result:
    """A process that ended: status (-N: by signal N), out, err, seconds."""

    def __init__(self, status, out, err, seconds):
        self.status, self.out, self.err, self.seconds = status, out, err, seconds

    def __repr__(self):
        return f"status {self.status}\n--- out\n{self.out[-4000:]}\n--- err\n{self.err[-4000:]}"


def wait_until(condition, what, seconds=BOOT_SECONDS):
    """Wait until the condition() is true, and return that; what: a word for it, or a function's."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, what() if callable(what) else f"not {what} in {seconds} s"
        time.sleep(0.01)
    return found


def listens(process, sig):
    """Whether the process has blocked or caught the signal, so that it does not just end by it."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    masks = re.findall(r"^Sig(?:Blk|Cgt):\s*(\w+)$", status, re.M)
    return any(int(mask, 16) >> (sig - 1) & 1 for mask in masks)


def text(raw):
    return raw.decode("utf-8", "replace").replace("\r\n", "\n")


def execute(argv, stdin=b"", seconds=BOOT_SECONDS, **keys):
    """
    Run argv; fails the test when it takes longer than seconds. stdin: what it
    reads from a pipe, or a file descriptor, or None for pytest's own.
    """
    begin = time.monotonic()
    argv = [str(a) for a in argv]
    check = keys.pop("check", False)
    keys["stdin"] = subprocess.PIPE if isinstance(stdin, bytes) else stdin
    keys.setdefault("stdout", subprocess.PIPE)
    keys.setdefault("stderr", subprocess.PIPE)
    with start(argv, **keys) as child:
        try:
            out, err = child.communicate(stdin if isinstance(stdin, bytes) else None, seconds)
        except subprocess.TimeoutExpired as late:
            child.kill()
            raise AssertionError(f"{argv}: no end in {seconds} s\n"
                                 f"{text(late.stdout or b'')[-4000:]}\n"
                                 f"{text(late.stderr or b'')[-2000:]}") from None
        except BaseException:
            child.kill()
            raise
    result = Result(child.returncode, text(out or b""), text(err or b""),
                    time.monotonic() - begin)
    assert not check or result.status == 0, f"{argv}: {result}"
    return result


def mote(*args, **keys):
    """Run mote with these arguments."""
    return execute([MOTE, *args], **keys)


def run(kernel, *args, **keys):
    """mote run on the software engine."""
    return mote("run", "--accel", "soft", "--kernel", kernel, *args, **keys)


def run_linux(kernel, initrd, *args, cmdline="", **keys):
    """Boot a Linux quietly; its init is tools/init or the initrd's own."""
    return run(kernel, "--initrd", initrd, "--control",
               "--cmdline", f"console=ttyS0 panic=-1 quiet {cmdline}".strip(),
               "--timeout", BOOT_SECONDS - 10, *args, **keys)


# For scripts: tools/init listens to the power button, by dd.
BUTTON_IS_HEARD = """
until ls -l "/proc/$(pidof dd)/fd" | grep -q /dev/input; do sleep 0.1; done 2>/dev/null
"""


def make_initramfs(path, *args):
    execute([TREE / "tools/initramfs", path, *args], check=True)
    return path


def make_script(path, script):
    """An initramfs whose init runs the script."""
    return make_initramfs(path, "--script", script)


def make_flat(path, code, mode="real"):
    """A flat binary of these bytes, and the arguments of `mote run` that load and enter it."""
    address = 0x1000 if mode == "real" else 0x100000
    path.write_bytes(code)
    return [path, "--boot", f"flat:{address:#x}:{mode}", "--memory", "4M"]


def without_kernel(out):
    """
    Output without what the kernel says of a busy host, such as "hrtimer: interrupt took": it
    does not wait for the end of somebody else's line.
    """
    return re.sub(r"\[ *\d+\.\d{6}\] .*\n", "", out)


def sections(out):
    """{name: text} of output with lines '== NAME'; what comes before the first is ''."""
    parts = re.split(r"^== (.*)\n", out, flags=re.M)
    return dict(zip([""] + parts[1::2], parts[0::2]))


def one_line(err):
    """Assert that err is one line of mote's, and return it without the prefix."""
    lines = err.splitlines()
    assert len(lines) == 1, f"expected one line:\n{err}"
    assert re.match(r"mote( run| info| ctl)?: \S", lines[0]), lines[0]
    return lines[0].split(": ", 1)[1]


def need(command, package):
    """The path of a command that ./check installs."""
    found = shutil.which(command)
    assert found, f"no {command}; install {package}"
    return found
