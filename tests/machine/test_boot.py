"""Debian's cloud kernel on mote's own engine: it reaches init, is sane, and ends as it should."""
import os
import pathlib
import subprocess
import threading
import time

import pytest

import machine
from machine import OFF, RESET, TRIPLE_FAULT

SOURCE = pathlib.Path(__file__).parent / "v3.c"

# What one boot tells about itself; the sleep is for test_idle_guest.
REPORT = """
echo "== uname"; uname -srm
echo "== date"; date +%s
echo "== clocks"; cat /sys/devices/system/clocksource/clocksource0/available_clocksource
echo "== v3"; v3
echo "== idle"; sleep 5
echo "== busy"; read -r line # until how busy it was is known
echo "== interrupts"; cat /proc/interrupts
echo "== random"; head -c 8 /dev/urandom | hexdump
echo "== dmesg"; dmesg
echo "== end"
poweroff -f
"""


def cpu_seconds(pid):
    """CPU time of a process so far; proc(5), fields 14 and 15 of stat."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def v3(folder):
    """The program of x86-64-v3 instructions."""
    path = folder / "v3"
    machine.execute(["gcc", "-O2", "-static", "-march=x86-64-v3", "-o", path, SOURCE], check=True)
    return path


class Report:
    """One boot, watched: the sections of its output, and what the host saw."""

    def __init__(self, argv):
        self.begin = time.time()
        self.at = {}  # section: (wall clock, CPU time of mote) when it began
        child = machine.start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        guard = threading.Timer(machine.BOOT_SECONDS, child.kill)
        guard.start()
        lines = []
        for line in child.stdout:
            lines.append(machine.text(line))
            if lines[-1].startswith("== "):
                self.at[lines[-1][3:].strip()] = time.time(), cpu_seconds(child.pid)
            if lines[-1] == "== busy\n":
                child.stdin.write(b"\n")
                child.stdin.flush()
        self.err = machine.text(child.stderr.read())
        self.status = child.wait()
        guard.cancel()
        self.part = machine.sections("".join(lines))

    def __repr__(self):
        return f"status {self.status}, {self.err!r}, {self.part}"


@pytest.fixture(scope="module")
def report(kernel, folder, v3):
    initrd = machine.make_initramfs(folder / "report", "--script", REPORT, "--add", v3, "bin/v3")
    return Report([str(a) for a in [
        machine.MOTE, "run", "--accel", "soft", "--kernel", kernel, "--initrd", initrd,
        "--cmdline", "console=ttyS0 panic=-1 quiet", "--timeout", machine.BOOT_SECONDS - 10]])


def test_reaches_init_and_powers_off(report):
    assert report.part["uname"].startswith("Linux ") and "x86_64" in report.part["uname"]
    assert "end" in report.part, report
    assert report.status == OFF and report.err == "", report


def test_wall_clock(report):
    assert report.begin - 1 <= int(report.part["date"]) <= report.at["clocks"][0] + 1


def test_kvm_clock(report):
    assert "kvm-clock" in report.part["clocks"].split()
    assert "kvm-clock: Using msrs" in report.part["dmesg"]


def test_x86_64_v3_userland(report, v3):
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    if not {"avx2", "fma", "bmi2", "f16c", "movbe", "abm"} <= set(flags):
        pytest.skip("CPU lacks x86-64-v3")
    assert len(report.part["v3"].splitlines()) == 10
    assert report.part["v3"] == machine.execute([v3]).out


def test_idle_guest_uses_no_host_cpu(report):
    (wall, cpu), (wall_end, cpu_end) = report.at["idle"], report.at["busy"]
    assert wall_end - wall > 4
    # On a slow host what little there is to do takes longer, as the boot did.
    assert cpu_end - cpu < 0.05 * max(wall_end - wall, cpu), f"{cpu_end - cpu:.3f} s of CPU time"


def test_kernel_has_no_complaint(report):
    for word in ["WARNING:", "BUG:", "Call Trace", "Oops", "BIOS Error", "unchecked MSR",
                 "soft lockup", "clocksource: Marking", "general protection"]:
        assert word not in report.part["dmesg"], word


def test_interrupts_arrive(report):
    rows = {}
    for line in report.part["interrupts"].splitlines()[1:]:
        name, _, rest = line.partition(":")
        rows[rest.split()[-1] if name.strip().isdigit() else name.strip()] = int(rest.split()[0])
    assert rows["LOC"] > 100, rows  # the LAPIC's timer
    assert rows["ttyS0"] > 10, rows
    assert rows["ERR"] == 0 and rows["MIS"] == 0, rows


# ---- protocols and ends: one boot for both ----

CASES = {
    "linux-reboot": ("linux", "reboot -f", RESET),
    "linux-self-exit": ("linux-self", "exit 3", 3),
    "pvh-panic": ("pvh", "echo c >/proc/sysrq-trigger", RESET),
}


@pytest.mark.parametrize("case", CASES)
def test_protocol_and_end(kernel, vmlinux, script, case):
    boot, end, status = CASES[case]
    initrd = script(f"echo == in; {end}\n")
    done = machine.run_linux(vmlinux if boot == "pvh" else kernel, initrd, "--boot", boot)
    assert "== in\n" in done.out, done
    assert done.status == status, done
    assert (boot == "pvh") == ("Kernel panic" in done.out), done
    if status == RESET:
        assert machine.one_line(done.err) == "the guest asked for a reset", done
    else:
        assert done.err == "", done


def test_panic_without_init(kernel):
    done = machine.run(kernel, "--cmdline", "console=ttyS0 panic=-1 quiet")
    assert "Unable to mount root fs" in done.out, done
    assert done.status == RESET, done
    machine.one_line(done.err)


def test_triple_fault_by_linux(kernel, script):
    """reboot=t loads an empty IDT and executes INT3."""
    done = machine.run_linux(kernel, script("reboot -f\n"), "--dump-on-failure",
                             cmdline="reboot=t")
    assert done.status == TRIPLE_FAULT, done
    assert done.err.startswith("mote: the guest crashed: triple fault\n") and "rip" in done.err


# ---- sizes ----

def host_mib():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


@pytest.mark.parametrize("mib", [128, 1024, 5120])
def test_memory_size(kernel, script, mib):
    if mib * 1.2 > host_mib():
        pytest.skip(f"host lacks {mib} MiB of memory")
    initrd = script("grep MemTotal /proc/meminfo; grep -i 'system ram' /proc/iomem\n")
    done = machine.run_linux(kernel, initrd, "--memory", f"{mib}M")
    assert done.status == OFF, done
    total = next(l for l in done.out.splitlines() if l.startswith("MemTotal"))
    assert 0.7 * mib < int(total.split()[1]) / 1024 < mib, done
    ranges = [l.split()[0].split("-") for l in done.out.splitlines() if "System RAM" in l]
    usable = sum(int(end, 16) + 1 - int(start, 16) for start, end in ranges)
    assert mib - 1 < usable / 2**20 <= mib, done
    assert (mib > 3500) == any(int(end, 16) >= 1 << 32 for _, end in ranges), done


def test_big_initrd(kernel, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(os.urandom(1 << 20) * 60)
    wanted = machine.execute(["md5sum", big]).out.split()[0]
    initrd = machine.make_initramfs(tmp_path / "initrd", "--add", big, "big",
                                    "--script", "md5sum /big")
    done = machine.run_linux(kernel, initrd, "--memory", "512M")
    assert done.status == OFF and wanted in done.out, done
