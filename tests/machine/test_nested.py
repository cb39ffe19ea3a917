"""mote on hardware-like KVM: QEMU emulates a processor with AMD's SVM, Debian's
kernel loads kvm_amd on it, and mote boots the same kernel once more inside.

nested-init is the first process of the outer machine. It runs everything in one
go and prints what happened; the tests look at that.
"""
import re
import shutil

import pytest

import machine
from machine import OFF, QUIT, RESET, TIMEOUT, TRIPLE_FAULT

MODULES = "virt/lib/irqbypass.ko", "arch/x86/kvm/kvm.ko", "arch/x86/kvm/kvm-amd.ko"
BUILD = machine.TREE / "build/release"
UNIT = BUILD / "tests/unit/accel"
UNIT_TESTS = [f"test-accel-{name}" for name in ("access", "debug", "kvm", "probe", "rescue", "run",
                                                    "state", "watch")]

# QEMU's SVM intercepts neither INT3 nor debug registers.
SKIPPED = {"test-accel-debug": 2, "test-accel-watch": 7}

# What the inner machines' inits run; stdin says "hello guest" every second.
SCRIPTS = {
    "poweroff": """
uname -srm
cat /sys/devices/system/clocksource/clocksource0/current_clocksource
cat /proc/interrupts
dmesg | grep -iE 'hypervisor|kvm'
while read -r line; do
    [ "$line" = "hello guest" ] && break
done
echo "heard $line"
read -r before _ </proc/uptime
sleep 3
read -r after _ </proc/uptime
echo "slept $((${after%.*} - ${before%.*}))"
echo 1 >/proc/sys/kernel/watchdog_thresh
echo pause me
while [ $((${after%.*} - ${before%.*})) -lt 10 ]; do
    read -r after _ </proc/uptime
done
echo "watchdog: $(dmesg | grep -ciE 'lockup|stall')"
""",
    "reboot": """
cat /proc/interrupts
reboot -f
""",
    "pics": """
cat /proc/interrupts
exit 42
"""}


def module_paths(kernel):
    """The KVM modules of a kernel's package; they are beside it: ../lib/modules."""
    release = kernel.name.partition("-")[2]
    folder = kernel.resolve().parent.parent / "lib/modules" / release / "kernel"
    return [folder / module for module in MODULES]


def libraries(program):
    """The libraries that a program is linked with."""
    linked = machine.execute(["ldd", program], check=True).out
    return re.findall(r"(/\S+) \(0x", linked)


def make_outer(kernel, folder):
    """The initramfs of the outer machine."""
    files = {"/bin/mote": machine.MOTE, "/guest/vmlinuz": kernel}
    files.update({f"/lib/{path.name}": path for path in module_paths(kernel)})
    for name, script in SCRIPTS.items():
        files[f"/guest/{name}"] = machine.make_script(folder / name, script)
    likex = BUILD / "guests/likex/likex.bin"
    for name, code in [("likex", b"\xb0\x02\xb3\x02" + likex.read_bytes()),  # al = bl = 2
                       ("loop", b"\xeb\xfe"), ("ud2", b"\x0f\x0b")]:
        files[f"/flat/{name}"] = folder / name
        files[f"/flat/{name}"].write_bytes(code)
    for name in UNIT_TESTS:
        files[f"/tests/{name}"] = UNIT / name
    for program in [machine.MOTE, *(UNIT / name for name in UNIT_TESTS)]:
        files.update((path, path) for path in libraries(program))
    args = [arg for path, file in files.items() for arg in ("--add", file, path)]
    return machine.make_initramfs(folder / "outer", "--init",
                                  machine.TREE / "tests/machine/nested-init", *args)


@pytest.fixture(scope="module")
def runs(kernel, folder):
    """{name: machine.Result} of what nested-init ran."""
    qemu = shutil.which("qemu-system-x86_64")
    if not qemu:
        pytest.skip("no qemu-system-x86_64; install qemu-system-x86")
    for path in module_paths(kernel):
        if not path.exists():
            pytest.skip(f"no {path}: MOTE_KERNEL is not in its unpacked package")
    # With more than one processor the outer kernel hangs now and then.
    done = machine.execute(
        [qemu, "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1",
         "-m", "1024", "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio",
         "-kernel", kernel, "-initrd", make_outer(kernel, folder),
         "-append", "console=ttyS0 panic=-1 quiet"], seconds=240)
    parts = machine.sections(done.out)
    got = {}
    for name in [name[:-4] for name in parts if name.endswith(" end")]:
        status, seconds = parts[f"{name} end"].split()[:2]
        got[name] = machine.Result(int(status), parts[f"{name} out"][:-1],
                                   parts[f"{name} err"][:-1], float(seconds))
    assert "pics" in got, done  # the last one
    return got


def exits(stats):
    """{reason: count} of mote run --stats."""
    return {name: int(count) for name, count in re.findall(r"^exits (\S+) +(\d+)$", stats, re.M)}


def interrupts(out):
    """{line: (count, what it is)} of /proc/interrupts with one CPU."""
    return {name: (int(count), " ".join(what.split())) for name, count, what in
            re.findall(r"^ *(\w+): +(\d+) +(.*)$", out, re.M)}


def test_hardware(runs):
    """The rest says nothing unless the processor runs the guests: SVM and nested paging."""
    done = runs["load"]
    assert done.status == 0, done
    assert "Nested Paging enabled" in done.out and done.out.rstrip().endswith("Y"), done


def test_auto_takes_kvm(runs):
    done = runs["info"]
    assert done.status == 0 and done.err == "", done
    assert re.search(r"^accelerator +kvm \(Linux KVM\): usable, \d+ million", done.out, re.M), done
    assert re.search(r"^auto +kvm: ", done.out, re.M), done


@pytest.mark.parametrize("name", UNIT_TESTS)
def test_unit(runs, name):
    done = runs[name]
    assert done.status == 0, done
    assert "FAILED" not in done.out, done
    skipped = done.out.count("skipped on kvm: this /dev/kvm runs on QEMU's SVM")
    assert skipped == SKIPPED.get(name, 0), done
    assert skipped or "SKIPPED" not in done.out, done


def test_likex(runs):
    done = runs["likex"]
    assert done.status == TIMEOUT and done.out == "4\n", done
    assert exits(done.err)["io"] == 2, done


def test_ends(runs):
    """A kick stops a loop; a triple fault is told apart."""
    assert runs["timeout"].status == TIMEOUT, runs["timeout"]
    assert runs["terminate"].status == QUIT, runs["terminate"]
    assert "ended by SIGTERM" in runs["terminate"].err, runs["terminate"]
    done = runs["crash"]
    assert done.status == TRIPLE_FAULT, done
    assert "the guest crashed: triple fault" in done.err, done
    # AMD's processors leave KVM no state to tell.
    assert "only after:" in done.err and " rip 000000000000fff0" in done.err, done


def test_boots_to_init_and_powers_off(runs):
    done = runs["poweroff"]
    assert done.status == OFF, done
    assert re.search(r"^Linux 6\.\S+ x86_64$", done.out, re.M), done
    assert "Hypervisor detected: KVM" in done.out, done
    assert re.search(r"^kvm-clock$", done.out, re.M), done
    assert done.err.startswith("accelerator kvm, "), done


def test_hears_and_sleeps(runs):
    """Interrupts of the serial port, and of the local APIC's timer."""
    done = runs["poweroff"]
    assert "heard hello guest" in done.out, done
    assert 3 <= int(re.search(r"^slept (\d+)$", done.out, re.M)[1]) <= 6, done
    lines = interrupts(done.out)
    assert lines["4"][0] > 0 and lines["4"][1] == "IO-APIC 4-edge ttyS0", done
    assert lines["9"][1] == "IO-APIC 9-fasteoi acpi", done
    assert lines["LOC"][0] > 100, done


def test_pause_is_no_lockup(runs):
    """kvmclock goes on while the processor stands still for 4 s, and the watchdog is told."""
    done = runs["poweroff"]
    assert re.search(r"^state +paused$", done.out, re.M), done
    assert re.search(r"^watchdog: 0$", done.out, re.M), done


def test_controllers_are_inside(runs):
    """No access to APIC, IOAPIC or PIT and no HLT leaves the outer kernel."""
    for name in "poweroff", "reboot", "pics":
        assert set(exits(runs[name].err)) <= {"io", "none"}, runs[name]


def test_reboots(runs):
    done = runs["reboot"]
    assert done.status == RESET, done
    assert "mote: the guest asked for a reset" in done.err, done


def test_pit_at_the_ioapic(runs):
    """Without the local APIC's timer the PIT ticks, at pin 2 as the MADT says."""
    count, what = interrupts(runs["reboot"].out)["0"]
    assert what == "IO-APIC 2-edge timer" and count > 100, runs["reboot"]


def test_pit_at_the_pics(runs):
    """Without APICs, unpacking itself, and ended by the control line."""
    done = runs["pics"]
    assert done.status == 42, done
    count, what = interrupts(done.out)["0"]
    assert what == "XT-PIC timer" and count > 100, done
    assert interrupts(done.out)["4"][1] == "XT-PIC ttyS0", done
