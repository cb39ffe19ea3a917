"""mote on hardware-like KVM: tests/nested/nested.py has the outer machine."""
import os
import re
import shutil
import socket

import pytest

import machine
import printed
from machine import OFF, QUIT, RESET, TIMEOUT, TRIPLE_FAULT
from nested import Nested, Stuck, Unavailable

BUILD = machine.TREE / "build/release"
# Those of the seam, whatever there is. What finds no KVM is skipped, and that fails here.
# Those of soft alone have threads which starve each other on TCG's one processor.
UNIT_TESTS = sorted(path.name for path in (BUILD / "tests/unit/accel").glob("test-accel-*")
                    if path.is_file() and os.access(path, os.X_OK)
                    and not path.name.startswith("test-accel-soft"))

# QEMU's SVM intercepts neither INT3 nor debug registers.
SKIPPED = {"test-accel-debug": 2, "test-accel-watch": 7}
# A host that is busy makes the outer kernel's clock watchdog think so.
UNSTABLE = "skipped on kvm: this /dev/kvm is a host's that holds its TSC for unstable"

# Ring 3 of this processor is TCG's on the outside as well, so these are rows of
# what KVM and mote hand over: x87, SSE and AVX registers, FS and GS, exceptions.
TABLE_WORDS = ["fld", "save", "paddd", "vpadd", "base", "misaligned", "cr0"]

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
for try in 1 2 3 4 5 6 7 8 9; do # on a busy host it may oversleep
    read -r before _ </proc/uptime
    sleep 1
    read -r after _ </proc/uptime
    slept=$((${after%.*}${after#*.} - ${before%.*}${before#*.}))
    [ $slept -lt 150 ] && break
done
echo "slept $slept"
echo 4 >/proc/sys/kernel/watchdog_thresh # it barks after 8 s, which no busy host takes from it
echo pause me
while [ $((${after%.*} - ${before%.*})) -lt 18 ]; do
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

BUTTON = machine.BUTTON_IS_HEARD + """
echo "processors: $(grep -c ^processor /proc/cpuinfo)"
echo press me
sleep 300
echo not pressed
"""


def flat_files(folder):
    """{path inside: file} of flat programs."""
    likex = BUILD / "guests/likex/likex.bin"
    files = {}
    for name, code in [("likex", b"\xb0\x02\xb3\x02" + likex.read_bytes()),  # al = bl = 2
                       ("loop", b"\xeb\xfe"), ("ud2", b"\x0f\x0b")]:
        files[f"/flat/{name}"] = folder / name
        files[f"/flat/{name}"].write_bytes(code)
    return files


@pytest.fixture(scope="module")
def files(folder, kernel):
    """{path inside: file} of everything that the tests below run."""
    got = {f"/guest/{name}": machine.make_script(folder / name, script)
           for name, script in SCRIPTS.items()}
    got["/guest/button"] = machine.make_initramfs(folder / "button", "--button", kernel,
                                                  "--script", BUTTON)
    got.update(flat_files(folder))
    got.update({f"/tests/{name}": BUILD / "tests/unit/accel" / name for name in UNIT_TESTS})
    got["/tests/guest-table"] = BUILD / "tests/guest/guest-table"
    for name in "long", "legacy":
        got[f"/system/{name}"] = BUILD / f"tests/guest/system/guest-{name}.elf"
    return got


@pytest.fixture(scope="module")
def nested(kernel, files):
    try:
        session = Nested(files, kernel)
    except Unavailable as why:
        pytest.skip(str(why))
    with session:
        yield session


def mote(nested, *args, **keys):
    return nested.run(["mote", "run", "--accel", "kvm", *args], **keys)


def flat(nested, mode, name, *args):
    return mote(nested, "--kernel", f"/flat/{name}", "--boot", f"flat:0x100000:{mode}",
                "--memory", "4M", *args)


def boot(nested, initrd, cmdline, *args, around='"$@"', seconds=600):
    """
    Boot the kernel by the shell commands `around`. It may clear its port's buffer
    as it starts: it is told more than once.
    """
    line = f"console=ttyS0 panic=-1 quiet {cmdline}".strip()
    return nested.run(
        ["sh", "-c", f'while sleep 1; do echo "hello guest"; done | {{ {around}\n}}', "sh",
         "mote", "run", "--accel", "kvm", "--kernel", "/guest/vmlinuz",
         "--initrd", f"/guest/{initrd}", "--timeout", str(seconds), "--stats", "--cmdline", line,
         *args],
        seconds=seconds + 20)


def once(words, commands):
    """
    Runs its arguments, and the shell's commands once they printed the words. The file is
    emptied before they start: it may still have the words of the run before.
    """
    return f"""
exec 3<&0
: >/tmp/guest
"$@" <&3 >>/tmp/guest &
until grep -q '^{words}' /tmp/guest || ! kill -0 $!; do
    sleep 0.2
done
{{ {commands}; }} || kill $!
wait $!
status=$?
cat /tmp/guest
exit $status
"""


@pytest.fixture(scope="module")
def poweroff(nested):
    return boot(nested, "poweroff", "", "--control", "--name", "vm", around=once(
        "pause me", "mote ctl vm pause && mote ctl vm status && sleep 10 && mote ctl vm resume"))


@pytest.fixture(scope="module")
def reboot(nested):
    return boot(nested, "reboot", "nolapic_timer clearcpuid=arat")


@pytest.fixture(scope="module")
def pics(nested):
    return boot(nested, "pics", "nolapic", "--control", "--boot", "linux-self")


def exits(stats):
    """{reason: count} of mote run --stats."""
    return {name: int(count) for name, count in re.findall(r"^exits (\S+) +(\d+)$", stats, re.M)}


def interrupts(out):
    """{line: (count, what it is)} of /proc/interrupts with one CPU."""
    return {name: (int(count), " ".join(what.split())) for name, count, what in
            re.findall(r"^ *(\w+): +(\d+) +(.*)$", out, re.M)}


# ---- the outer machine ----

def test_hardware(nested):
    """The rest says nothing unless the processor runs the guests: SVM and nested paging."""
    done = nested.run(["sh", "-c", "dmesg; cat /sys/module/kvm_amd/parameters/npt"])
    assert "Nested Paging enabled" in done.out and done.out.endswith("\nY\n"), done


def exits_so_far(nested, command):
    """A list: KVM's count, once there is a machine of this mote's."""
    done = nested.run(["sh", "-c", f"cat /sys/kernel/debug/kvm/{command.pid}-*/exits"])
    return [int(done.out)] if done.status == 0 else []


def test_kvm_runs_the_guest(nested):
    """KVM's own counter of exits, for the machine that this mote made."""
    loop = nested.start(["mote", "run", "--accel", "kvm", "--kernel", "/flat/loop", "--boot",
                         "flat:0x1000:real", "--timeout", "600"])
    counts = []

    def three():
        counts.extend(exits_so_far(nested, loop))
        return len(set(counts)) >= 3
    machine.wait_until(three, "three counts")
    loop.signal("TERM")
    assert loop.wait().status == QUIT
    assert counts == sorted(counts), counts


def test_command_that_does_not_end(nested):
    for seconds in 1, 10, 100:  # on a slow host it may not have begun
        done = nested.run(["sh", "-c", "echo begun; sleep 1000"], seconds=seconds)
        assert done.status == 128 + 9, done
        if done.out:
            break
    assert done.out == "begun\n", done


def test_forward(nested):
    """A TCP port inside is reached from here, as by a debugger."""
    server = nested.start(["nc", "-ll", "-p", "4321", "-e", "sh", "-c",
                           "read -r line; echo \"$line indeed\""])
    port = nested.forward(4321)
    for word in b"once", b"twice":
        with socket.create_connection(("127.0.0.1", port), timeout=600) as stream:
            stream.sendall(word + b"\n")
            got = b""
            while chunk := stream.recv(100):
                got += chunk
        assert got == word + b" indeed\n"
    server.signal("KILL")
    server.wait()


def test_hang(kernel, monkeypatch):
    """An outer machine that stops or dies is reported with its last words."""
    with Nested({}, kernel) as session:
        session.run(["sh", "-c", "echo last words >/dev/console"])
        machine.wait_until(lambda: b"last words" in (session.folder / "console").read_bytes(),
                           "told")
        session.tell("stop")
        with monkeypatch.context() as patch:
            patch.setattr("nested.GRACE_SECONDS", 1)
            with pytest.raises(Stuck, match="(?s)no answer to 'start.*--- console.*last words"):
                session.run(["true"])
    with Nested({}, kernel) as session:
        with pytest.raises(Stuck, match="(?s)no answer to '.*--- console.*Trigger a crash"):
            session.run(["sh", "-c", "echo c >/proc/sysrq-trigger"])


def test_useless_saved_machine(nested, kernel, tmp_path, monkeypatch):
    """It is booted and saved again."""
    saved = nested.image.saved
    monkeypatch.setattr("nested.CACHE", tmp_path)
    shutil.copy(saved.with_suffix(".initramfs"), tmp_path)
    (tmp_path / saved.name).write_bytes(saved.read_bytes()[:1 << 20])
    with Nested({}, kernel) as session:
        assert session.restored and session.run(["true"]).status == 0
    assert (tmp_path / saved.name).stat().st_size > 1 << 20


# ---- mote on it ----

def test_auto_takes_kvm(nested):
    for _ in range(50):  # a busy host may let the 100 ms of measuring pass by
        done = nested.run(["sh", "-c", "rm -rf /root/.cache; mote info"])
        assert done.status == 0 and done.err == "", done
        usable = re.search(r"^accelerator +kvm \(Linux KVM\): usable, \d+ million", done.out, re.M)
        if usable:
            break
    assert usable, done
    assert re.search(r"^auto +kvm: ", done.out, re.M), done


@pytest.mark.parametrize("word", TABLE_WORDS)
def test_guest_table(nested, word):
    done = nested.run(["/tests/guest-table", "kvm", word])
    assert done.status == 0 and "left out" not in done.out, done


@pytest.mark.parametrize("name", ["long", "legacy"])
def test_system_rows(nested, name):
    """As the manual says, but for what this processor, QEMU's, gets wrong by itself."""
    done = mote(nested, "--kernel", f"/system/{name}", "--debug-exit", "--memory", "64M",
                "--timeout", "500")
    assert done.status in (1, 3), done
    rows = printed.parse(done.out)
    wrong = {row for row, (got, want) in rows.items() if got != want}
    assert wrong == rows.keys() & printed.QEMU_WRONG.keys() - printed.KVM_RIGHT, done


@pytest.mark.parametrize("name", UNIT_TESTS)
def test_unit(nested, name):
    done = nested.run([f"/tests/{name}"])
    assert done.status == 0, done
    assert "FAILED" not in done.out, done
    skipped = done.out.count("skipped on kvm: this /dev/kvm runs on QEMU's SVM")
    assert skipped == SKIPPED.get(name, 0), done
    assert skipped or UNSTABLE in done.out or "SKIPPED" not in done.out, done


def test_likex(nested):
    for seconds in "2", "100":  # on a slow host it may not have come to its end
        done = mote(nested, "--kernel", "/flat/likex", "--boot", "flat:0x1000:real", "--memory",
                    "4M", "--timeout", seconds, "--stats")
        if exits(done.err).get("io") == 2:
            break
    assert done.status == TIMEOUT and done.out == "4\n", done
    assert exits(done.err)["io"] == 2, done


def test_ends(nested):
    """A kick stops a loop; a triple fault is told apart."""
    done = flat(nested, "long", "loop", "--timeout", "1")
    assert done.status == TIMEOUT, done
    loop = nested.start(["mote", "run", "--accel", "kvm", "--kernel", "/flat/loop", "--boot",
                         "flat:0x1000:real", "--timeout", "600"])
    machine.wait_until(lambda: sum(exits_so_far(nested, loop)), "running")
    loop.signal("TERM")
    done = loop.wait()
    assert done.status == QUIT and "ended by SIGTERM" in done.err, done
    done = flat(nested, "long", "ud2", "--timeout", "500", "--dump-on-failure")
    assert done.status == TRIPLE_FAULT, done
    assert "the guest crashed: triple fault" in done.err, done
    # AMD's processors leave KVM no state to tell.
    assert "only after:" in done.err and " rip 000000000000fff0" in done.err, done


def test_boots_to_init_and_powers_off(poweroff):
    assert poweroff.status == OFF, poweroff
    assert re.search(r"^Linux 6\.\S+ x86_64$", poweroff.out, re.M), poweroff
    assert "Hypervisor detected: KVM" in poweroff.out, poweroff
    assert re.search(r"^kvm-clock$", poweroff.out, re.M), poweroff
    assert poweroff.err.startswith("accelerator kvm, "), poweroff


def test_hears_and_sleeps(poweroff):
    """Interrupts of the serial port, and of the local APIC's timer."""
    assert "heard hello guest" in poweroff.out, poweroff
    assert 99 <= int(re.search(r"^slept (\d+)$", poweroff.out, re.M)[1]) < 150, poweroff
    lines = interrupts(poweroff.out)
    assert lines["4"][0] > 0 and lines["4"][1] == "IO-APIC 4-edge ttyS0", poweroff
    assert lines["9"][1] == "IO-APIC 9-fasteoi acpi", poweroff
    assert lines["LOC"][0] > 100, poweroff


def test_pause_is_no_lockup(poweroff):
    """kvmclock goes on while the processor stands still for 10 s, and the watchdog is told."""
    assert re.search(r"^state +paused$", poweroff.out, re.M), poweroff
    assert re.search(r"^watchdog: 0$", poweroff.out, re.M), poweroff


def test_local_apic_is_inside(poweroff, reboot, pics):
    """No access to it or HLT leaves the outer kernel. Pins are set up once, and the PICs' interrupts
    are injected."""
    assert set(exits(poweroff.err)) <= {"io", "mmio", "none"}, poweroff
    for done in poweroff, reboot:
        assert set(exits(done.err)) <= {"io", "mmio", "none", "intr-window"}, done
        assert exits(done.err)["mmio"] < 1200, done
    assert set(exits(pics.err)) <= {"io", "none", "intr-window"}, pics


@pytest.mark.parametrize("chips, cpus", [("full", 1), ("full", 2), ("split", 2), ("none", 2)])
def test_interrupt_chips(nested, chips, cpus):
    """Wherever they are. The power button's interrupt is level-triggered: its EOI goes to the IOAPIC."""
    done = boot(nested, "button", "", "--name", "vm", "--irqchip", chips, "--cpus", str(cpus),
                around=once("press me", "mote ctl vm poweroff"))
    assert done.status == OFF and "not pressed" not in done.out, done
    assert f"processors: {cpus}\n" in done.out, done
    got = exits(done.err)
    if chips == "full":
        assert set(got) <= {"io", "none"}, done
    elif chips == "split":
        assert set(got) <= {"io", "mmio", "none", "ioapic-eoi"}, done
        assert 0 < got["ioapic-eoi"] < 100, done
    else:
        assert got["halt"] > 0 and "ioapic-eoi" not in got, done


def test_reboots(reboot):
    assert reboot.status == RESET, reboot
    assert "mote: the guest asked for a reset" in reboot.err, reboot


def test_pit_at_the_ioapic(reboot):
    """Without the local APIC's timer the PIT ticks, at pin 2 as the MADT says."""
    count, what = interrupts(reboot.out)["0"]
    assert what == "IO-APIC 2-edge timer" and count > 100, reboot


def test_pit_at_the_pics(pics):
    """Without APICs, unpacking itself, and ended by the control line."""
    assert pics.status == 42, pics
    count, what = interrupts(pics.out)["0"]
    assert what == "XT-PIC timer" and count > 100, pics
    assert interrupts(pics.out)["4"][1] == "XT-PIC ttyS0", pics
