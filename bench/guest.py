"""Debian's kernel with a script as its first process: on mote, on QEMU's TCG to
compare with, or on mote in the hardware-like KVM of tests/nested."""
import os
import pathlib
import re
import selectors
import subprocess
import sys
import time

TREE = pathlib.Path(__file__).resolve().parents[1]
MOTE = os.environ.get("MOTE", str(TREE / "build/release/mote"))
ACCELS = ["soft", "kvm", "tcg", "nested"]
# What the kernel says when processors wait in vain for each other, or worse.
TROUBLE = (r"soft lockup|hard LOCKUP|rcu.*(stall|detected expedited)|blocked for more than"
           r"|BUG:|kernel BUG|WARNING:|Oops|general protection|Kernel panic"
           r"|not responding|invalid opcode|stack-protector|Bad page|corrupt")
# Except for this, which the emulated SVM of QEMU 7.2 makes of every guest on KVM in it, QEMU's
# own too: it does not exit at XSETBV, so KVM's CPUID does not follow XCR0.
NESTED_WARNING = "fpu__init_system_xstate"

sys.path.append(str(TREE / "tests/nested"))

from nested import die_with_parent


def output(*argv):
    return subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()


def get_kernel(*args):
    return output(TREE / "tools/get-kernel", *args)


def make_script(path, script, *args):
    """An initramfs whose init runs the script; args: further ones of tools/initramfs."""
    output(TREE / "tools/initramfs", path, "--script", script, *args)
    return str(path)


def command(accel, kernel, initrd, cpus, memory="512M", cmdline="quiet", extra=()):
    """
    The argv that boots it, its console on standard input and output. QEMU's is
    q35: on its microvm Linux with several processors hangs as it looks for a clock.
    """
    cmdline = f"console=ttyS0 panic=-1 {cmdline}".strip()
    if accel == "tcg":
        return ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max",
                "-smp", str(cpus), "-m", memory, "-nodefaults", "-no-reboot", "-nographic",
                "-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initrd),
                "-append", cmdline, *extra]
    inside = accel == "nested"
    return ["mote" if inside else MOTE, "run", "--accel", "kvm" if inside else accel,
            "--cpus", str(cpus), "--memory", memory, "--kernel", str(kernel),
            "--initrd", str(initrd), "--cmdline", cmdline, "--control", *extra]


def fastest_tcg(kernel, initrd, cpus, memory, cmdline):
    """QEMU's machine that boots soonest: microvm, but it has one processor without ACPI, and
    with ACPI and several no clock but jiffies; pc then."""
    machine = "microvm,acpi=off,isa-serial=on,rtc=on" if cpus == 1 else "pc"
    return ["qemu-system-x86_64", "-M", machine, "-accel", "tcg,thread=multi", "-cpu", "max",
            "-smp", str(cpus), "-m", memory, "-nodefaults", "-no-reboot", "-nographic",
            "-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initrd),
            "-append", cmdline]


def told_clock():
    """
    For the command line of a guest on TCG: the frequency of its TSC, which is the host's. Its kernel
    measures it with QEMU's PIT, mostly in vain when the host is busy. On the microvm there is no other
    clock than ticks then, of which most are lost while the guest waits for a processor: in the
    guest half a second is one of the host's, or two.
    """
    mhz = re.search(r"TSC (\d+)\.(\d{3}) MHz", output(MOTE, "info"))
    return f"tsc=reliable tsc_early_khz={mhz[1]}{mhz[2]}" if mhz else ""


def cpu_seconds(pid):
    """To the nanosecond: the clock that clock_getcpuclockid() names."""
    return time.clock_gettime(~pid << 3 | 2)


def waited_seconds(pid):
    """How long its threads, together, were ready to run and had no processor."""
    total = 0
    for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(stat.read_text().split()[1])
        except OSError:  # it just ended
            pass
    return total / 1e9


class Undisturbed:
    """
    How long what a process does had taken had it never waited for a processor of the host,
    from its start, or from here on. Two bounds from below, of which the higher is close: what
    it used, which lacks the time that it slept, and the time less what its threads waited,
    which subtracts twice what two of them waited at once.
    """

    def __init__(self, pid, started=None):
        self.pid = pid
        self.begin = (started, 0, 0) if started else self.now()

    def now(self):
        return time.monotonic(), cpu_seconds(self.pid), waited_seconds(self.pid)

    def seconds(self):
        """(wall, without waiting) until now."""
        wall, used, waited = (now - then for now, then in zip(self.now(), self.begin))
        return wall, min(wall, max(used, wall - waited))


def boot_once(argv, marker, limit_seconds=120):
    """Seconds until it prints the marker, of CPU time until it is killed then, and the former
    without waiting for a processor; RuntimeError when there is no marker."""
    before = os.times()
    start = time.monotonic()
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
    seen, came = b"", False
    try:
        with selectors.DefaultSelector() as ready:
            ready.register(child.stdout, selectors.EVENT_READ)
            while not came:
                left = start + limit_seconds - time.monotonic()
                chunk = os.read(child.stdout.fileno(), 65536) if ready.select(max(left, 0)) else b""
                if not chunk:
                    break
                seen += chunk
                came = marker in seen
        wall, undisturbed = Undisturbed(child.pid, start).seconds() if came else (0, 0)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    if not came:
        raise RuntimeError(f"{argv[0]} came to no marker:\n"
                           + seen[-2000:].decode("utf-8", "replace"))
    after = os.times()
    return wall, (after.children_user + after.children_system
                  - before.children_user - before.children_system), undisturbed


def nested(files):
    """The machine of tests/nested with these {path inside: file}; exits where there is none."""
    from nested import Nested, Unavailable
    try:
        return Nested(files)
    except Unavailable as why:
        sys.exit(f"not here: {why}")
