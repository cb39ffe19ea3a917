"""Bad input: one clear line, the documented status, nothing on standard output."""
import os
import shutil
import struct
import tempfile

import pytest

import machine
from machine import ACCEL, FAILED, INPUT, OFF, TIMEOUT, TRIPLE_FAULT, USAGE

SOME_KERNEL = "/bin/sh"  # for errors that come before a kernel is looked at


def refused(status, words, *args, **keys):
    """mote with these arguments ends with the status and one line that has all the words."""
    done = machine.mote(*args, **keys)
    assert done.status == status, done
    assert done.out == "", done
    line = machine.one_line(done.err)
    for word in words.split():
        assert word in line, done
    return line


# ---- the command line ----

@pytest.mark.parametrize("args, word", [
    ([], "--help"),
    (["frobnicate"], "frobnicate"),
    (["--frobnicate"], "--frobnicate"),
    (["run"], "--kernel"),
    (["run", "--frobnicate"], "--frobnicate"),
    (["run", "-q"], "-q"),
    (["run", "--kernel"], "--kernel"),
    (["run", "--stats=3", "--kernel", SOME_KERNEL], "--stats"),
    (["run", "--help=3"], "--help"),
    (["run", SOME_KERNEL], SOME_KERNEL),
    (["ctl", "name"], "no command"),
    (["ctl", "name", "frobnicate"], "frobnicate"),
    (["ctl", "name", "pause", "now"], "now"),
    (["ctl", "--list", "name"], "name"),
    (["ctl", "--frobnicate"], "--frobnicate"),
    (["ctl", "..", "status"], ".."),
    (["ctl", "", "status"], "is no name"),
    (["info", "--frobnicate"], "--frobnicate"),
    (["info", "all"], "all"),
    (["help", "frobnicate"], "frobnicate"),
])
def test_command_line(args, word):
    refused(USAGE, word, *args)


@pytest.mark.parametrize("option, values", [
    ("--memory", ["0", "1K", "1M", "garbage", "", "-1", "12Q", "4G5", "5000000", "1P", "16E",
                  "99999999999999999999"]),
    ("--timeout", ["0", "-1", "soon", "", "inf", "nan", "1e99"]),
    ("--grace", ["-1", "soon", "", "inf", "nan", "1e99"]),
    ("--name", ["", ".", "..", ".x", "-x", "a b", "a:b", "x" * 33, "/" + "x" * 120]),
    ("--cpu", [",", "qemu64", "x86-64-v5", "host,", "host,avx", "host,+", "host,+avx,-avx",
               "host,+vmx", "x86-64-v3,-\xff"]),
    ("--cpus", ["0", "65", "many", "-1", "99999999999999999999"]),
    ("--accel", ["", "hax", "kvm:", "soft:x", "kvmkvmkvmkvmkvmkvmkvm"]),
    ("--board", ["", "q35"]),
    ("--irqchip", ["", "Full", "half"]),
    ("--boot", ["", "grub", "flat", "flat:0x1000", "flat:zz:real", "flat:0x1000:unreal",
                "flat:0x1000:real:"]),
    ("--trace", ["everything-and-more"]),
    ("--module", ["", " x"]),
])
def test_option_values(option, values):
    for value in values:
        refused(USAGE, f"{option}: {value}", "run", "--kernel", SOME_KERNEL, option, value)


@pytest.mark.parametrize("chips", ["full", "split"])
def test_chips_that_soft_does_not_have(tmp_path, chips):
    flat = machine.make_flat(tmp_path / "flat", b"\xf4")
    refused(ACCEL, f"soft '{chips}' none", "run", "--accel", "soft", "--kernel", *flat,
            "--irqchip", chips)


@pytest.mark.parametrize("size", ["1T", "64T"])
def test_more_memory_than_the_host_has(size):
    with open("/proc/sys/vm/overcommit_memory") as policy:
        if policy.read().strip() == "1":
            pytest.skip("the host lacks a limit: vm.overcommit_memory is 1")
    refused(FAILED, "--memory", "run", "--accel", "soft", "--kernel", SOME_KERNEL,
            "--memory", size)


@pytest.mark.parametrize("where", ["/nonexistent/file", "/tmp"])
def test_console_that_cannot_be_opened(where):
    refused(FAILED, f"--console {where}", "run", "--accel", "soft", "--kernel", SOME_KERNEL,
            "--console", where)


# ---- files ----

@pytest.fixture
def files(tmp_path):
    """Files that are no kernels: {name: path}."""
    named = {name: tmp_path / name for name in ("missing", "empty", "folder", "fifo", "text")}
    named["empty"].touch()
    named["folder"].mkdir()
    os.mkfifo(named["fifo"])
    named["text"].write_text("not a kernel\n" * 9999)
    named["device"] = "/dev/zero"
    return named


@pytest.mark.parametrize("kind, words", [
    ("missing", "No such file"), ("empty", "is empty"), ("folder", "is a directory"),
    ("fifo", "not a regular file"), ("device", "not a regular file"), ("text", "not a kernel")])
def test_kernel_file(files, kind, words):
    refused(INPUT, f"{files[kind]}: {words}", "run", "--accel", "soft", "--kernel", files[kind])


@pytest.mark.parametrize("kind, words", [
    ("missing", "No such file"), ("empty", "is empty"), ("folder", "is a directory"),
    ("fifo", "not a regular file"), ("device", "not a regular file")])
def test_initrd_file(files, kernel, kind, words):
    refused(INPUT, f"{files[kind]}: {words}", "run", "--accel", "soft", "--kernel", kernel,
            "--initrd", files[kind])


def test_initrd_larger_than_memory(kernel, tmp_path):
    initrd = tmp_path / "initrd"
    initrd.touch()
    for size in 250 << 20, 256 << 20, 5 << 30:
        os.truncate(initrd, size)
        refused(INPUT, f"{initrd}: {size} does not fit", "run", "--accel", "soft",
                "--kernel", kernel, "--initrd", initrd)


def run_as_ordinary_user(*arguments):
    """Run mote without root's rights: as nobody, from a copy where everybody can reach it."""
    as_user = []
    if os.geteuid() == 0:
        as_user = [machine.need("setpriv", "util-linux"), "--reuid", "65534", "--regid", "65534",
                   "--clear-groups"]
    with tempfile.TemporaryDirectory(prefix="mote-test-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        program = shutil.copy(machine.MOTE, folder)
        return machine.execute([*as_user, program, *arguments])


def test_unreadable_kernel():
    with tempfile.NamedTemporaryFile(dir="/tmp") as secret:
        os.chmod(secret.name, 0)
        done = run_as_ordinary_user("run", "--accel", "soft", "--kernel", secret.name)
    assert done.status == INPUT and done.out == "", done
    line = machine.one_line(done.err)
    assert secret.name in line and "Permission denied" in line


@pytest.mark.parametrize("boot", ["auto", "linux", "linux-self"])
@pytest.mark.parametrize("length", [1, 0x1F0, 0x1FF, 0x206, 0x230, 600, 5000, 100000, -100000])
def test_truncated_kernel(kernel, tmp_path, boot, length):
    path = tmp_path / "short"
    path.write_bytes(kernel.read_bytes()[:length])
    refused(INPUT, str(path), "run", "--accel", "soft", "--kernel", path, "--boot", boot)


@pytest.mark.parametrize("length", [4, 0x3F, 0x40, 0x100, 5000, 1000000, -(16 << 20)])
def test_truncated_vmlinux(vmlinux, tmp_path, length):
    path = tmp_path / "short"
    path.write_bytes(vmlinux.read_bytes()[:length])
    refused(INPUT, str(path), "run", "--accel", "soft", "--kernel", path)


def test_damaged_payload(kernel, tmp_path):
    image = bytearray(kernel.read_bytes())
    for at in range(len(image) // 2, len(image) // 2 + 4096):
        image[at] ^= 0xA5
    path = tmp_path / "damaged"
    path.write_bytes(image)
    refused(INPUT, str(path), "run", "--accel", "soft", "--kernel", path)


def make_elf(machine_id, bits):
    """An ELF header and nothing else; without section and program headers."""
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    addr = "Q" if bits == 64 else "I"
    return ident + struct.pack(f"<HHI{addr}{addr}{addr}IHHHHHH", 2, machine_id, 1, 0, 0, 0, 0,
                               64 if bits == 64 else 52, 0, 0, 0, 0, 0) + bytes(4096)


def make_arm64_image():
    """arm64's Documentation/arm64/booting: two branch words, sizes, and ARM\\x64 at 56."""
    return struct.pack("<IIQQQQQQII", 0x91005A4D, 0x14000000, 0, 1 << 20, 0xA, 0, 0, 0,
                       0x644D5241, 0) + bytes(1 << 16)


def make_32bit_bzimage():
    """A bzImage of protocol 2.15 that does not offer the 64-bit entry (xloadflags 0)."""
    image = bytearray(5 * 512 + 65536)
    image[0x1F1] = 4
    struct.pack_into("<I", image, 0x1F4, 65536 // 16)
    struct.pack_into("<HH4sH", image, 0x1FE, 0xAA55, 0x6AEB, b"HdrS", 0x020F)
    image[0x211] = 1
    struct.pack_into("<I", image, 0x214, 0x100000)
    struct.pack_into("<I", image, 0x238, 2047)
    struct.pack_into("<I", image, 0x260, 1 << 20)
    return bytes(image)


@pytest.mark.parametrize("name, make", [
    ("aarch64", lambda: make_elf(183, 64)), ("arm", lambda: make_elf(40, 32)),
    ("riscv", lambda: make_elf(243, 64)), ("no-note", lambda: make_elf(62, 64)),
    ("arm64-image", make_arm64_image), ("bzimage-32", make_32bit_bzimage)])
def test_kernel_of_another_kind(tmp_path, name, make):
    path = tmp_path / name
    path.write_bytes(make())
    refused(INPUT, str(path), "run", "--accel", "soft", "--kernel", path)


def test_protocol_that_the_kernel_does_not_speak(kernel):
    for boot in "pvh", "multiboot", "flat:0x1000:long", "flat:0xfffffffffffff000:real":
        refused(INPUT, str(kernel), "run", "--accel", "soft", "--kernel", kernel, "--boot", boot)


def test_kernel_larger_than_memory(kernel):
    refused(INPUT, f"{kernel} memory", "run", "--accel", "soft", "--kernel", kernel,
            "--memory", "2M")


def test_command_line_too_long_for_the_kernel(kernel):
    line = refused(INPUT, "5000", "run", "--accel", "soft", "--kernel", kernel,
                   "--cmdline", "a" * 5000)
    assert "a" * 100 not in line


# ---- KVM where there is none ----

@pytest.mark.parametrize("device", ["/nonexistent/kvm", "/dev/null", "/tmp"])
def test_kvm_device_that_is_none(device):
    refused(ACCEL, device, "run", "--accel", f"kvm:{device}", "--kernel", SOME_KERNEL)


def test_kvm_without_permission(tmp_path):
    if not os.path.exists("/dev/kvm"):
        refused(ACCEL, "/dev/kvm", "run", "--accel", "kvm", "--kernel", SOME_KERNEL)
        return
    if os.geteuid() == 0:
        if os.stat("/dev/kvm").st_mode & 0o006:
            pytest.skip("/dev/kvm is open to everybody")
    elif os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("/dev/kvm is open to this user")
    done = run_as_ordinary_user("run", "--accel", "kvm", "--kernel", SOME_KERNEL)
    assert done.status == ACCEL and done.out == "", done
    assert "/dev/kvm: permission denied" in machine.one_line(done.err)


# ---- guests that fail ----

UD2 = bytes.fromhex("0f0b")
LOOP = bytes.fromhex("ebfe")
NOWHERE = {  # a jump to where no memory is; code is fetched as all ones there
    "protected": bytes.fromhex("b80000adde ffe0"),                  # mov $0xdead0000, %eax
    "long": bytes.fromhex("48b80000000000008000 ffe0"),             # not canonical: #GP
}


@pytest.mark.parametrize("mode, code", [
    ("protected", UD2), ("long", UD2), *NOWHERE.items()])
def test_crash_without_handlers(flat, mode, code):
    args = flat(code, mode)
    refused(TRIPLE_FAULT, "triple fault --dump-on-failure", "run", "--accel", "soft",
            "--timeout", machine.BOOT_SECONDS, "--kernel", *args)
    done = machine.run(*args, "--timeout", machine.BOOT_SECONDS, "--dump-on-failure")
    assert done.status == TRIPLE_FAULT and done.out == "", done
    assert done.err.startswith("mote: the guest crashed: triple fault\n"), done
    for word in ["rip ", "rax ", "r15 ", "cr0 ", "cr3 ", "efer ", "gdtr ", "  code"]:
        assert word in done.err, done
    if code == UD2:
        assert " rip 0000000000100000" in done.err and "<0f> 0b" in done.err, done


@pytest.mark.parametrize("mode, code", [
    ("real", UD2),  # real mode: the empty vector table leads to 0000:0000, and on from there
    ("real", LOOP), ("protected", LOOP), ("long", LOOP), ("long", bytes.fromhex("f4"))])
def test_endless_guest(flat, mode, code):
    args = flat(code, mode)
    refused(TIMEOUT, "timeout 0.3", "run", "--accel", "soft", "--timeout", "0.3",
            "--kernel", *args)
    done = machine.run(*args, "--timeout", "0.3", "--dump-on-failure")
    assert done.status == TIMEOUT and "  code" in done.err, done
    if code == LOOP:
        assert "<eb> fe" in done.err, done


def test_nowhere_is_all_ones(flat):
    """Ports and addresses where nothing lives read as ones, swallow writes, and are traced."""
    code = bytes.fromhex("e4e0"            # in $0xe0, %al
                         "66baf400"        # mov $0xf4, %dx
                         "e6e1"            # out %al, $0xe1
                         "8a25000000e0"    # mov 0xe0000000, %ah
                         "8825000000e0"    # mov %ah, 0xe0000000
                         "20e0"            # and %ah, %al
                         "ee"              # out %al, %dx
                         "f4")
    done = machine.run(*flat(code, "protected"), "--timeout", machine.BOOT_SECONDS, "--debug-exit")
    assert done.status == 0xFF and done.err == "", done
    done = machine.run(*flat(code, "protected"), "--timeout", machine.BOOT_SECONDS, "--debug-exit",
                       "--trace", "unassigned")
    assert done.status == 0xFF and len(done.err.splitlines()) == 4, done
    for word in "0xe0", "0xe1", "0xe0000000":
        assert word in done.err, done


@pytest.mark.parametrize("value", [0, 1, 42, 127, 200])
def test_debug_exit(flat, value):
    code = bytes([0xB0, value, 0xE6, 0xF4, 0xF4])  # mov $value, %al; out %al, $0xf4; hlt
    done = machine.run(*flat(code), "--timeout", machine.BOOT_SECONDS, "--debug-exit")
    assert done.status == (value << 1 | 1) & 0xFF and done.out + done.err == "", done
    # Without the option the port is nobody's.
    assert machine.run(*flat(code), "--timeout", "0.2").status == TIMEOUT


def test_full_disk(flat, tmp_path):
    """Output that is lost must not pass for success."""
    power_off = bytes.fromhex("b041bafb03" "baf803ee" "b000e6f4f4")
    args = flat(power_off)
    for keys in [{"stdout": open("/dev/full", "wb")}, {}]:
        console = [] if keys else ["--console", "/dev/full"]
        done = machine.run(*args, *console, "--debug-exit", "--timeout", machine.BOOT_SECONDS, **keys)
        machine.one_line(done.err)
        assert done.status != OFF, done
