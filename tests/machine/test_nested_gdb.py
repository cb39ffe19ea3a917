"""mote run --gdb on hardware-like KVM: in an outer machine as in test_nested.py, whose second serial
port is the debugger's connection.

QEMU's emulation of SVM intercepts neither INT3 nor debug registers, so breakpoints
do nothing there; steps, memory, registers and Ctrl-C do.
"""
import shutil
import subprocess
import time

import pytest

import machine
from gdb_client import Client, Mote, connect
from test_nested import libraries, module_paths

STEPS = 16  # then a MOV to SS comes, behind which TF, and so a step of KVM's, skips one


def rip(client):
    return int.from_bytes(bytes.fromhex(client.ask("p10")), "little")


def trace(client):
    """Where STEPS steps from here lead."""
    got = []
    for _ in range(STEPS):
        assert client.ask("vCont;s:1").startswith("T05thread:1;")
        got.append(rip(client))
    return got


@pytest.fixture
def outer(kernel, tmp_path):
    """QEMU with mote waiting for a debugger, and where that connects."""
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("no qemu-system-x86_64; install qemu-system-x86")
    files = {"/bin/mote": machine.MOTE, "/guest/vmlinuz": kernel,
             "/guest/initrd": machine.make_script(tmp_path / "inner", "echo hello guest")}
    for path in module_paths(kernel):
        if not path.exists():
            pytest.skip(f"no {path}: MOTE_KERNEL is not in its unpacked package")
        files[f"/lib/{path.name}"] = path
    files.update((path, path) for path in libraries(machine.MOTE))
    add = [arg for path, file in files.items() for arg in ("--add", file, path)]
    initrd = machine.make_initramfs(tmp_path / "outer", "--init",
                                    machine.TREE / "tests/machine/nested-gdb-init", *add)
    qemu = subprocess.Popen(
        ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1",
         "-m", "1024", "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio",
         "-serial", f"unix:{tmp_path}/ttyS1,server=on,wait=off", "-kernel", str(kernel),
         "-initrd", str(initrd), "-append", "console=ttyS0 panic=-1 quiet"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    yield qemu, f"unix:{tmp_path}/ttyS1"
    qemu.kill()
    qemu.communicate()


def test_steps_memory_interrupt(outer, kernel, symbols, tmp_path):
    qemu, where = outer
    # What the software engine does is what KVM is to do.
    with Mote("--accel", "soft", "--kernel", kernel, "--gdb", f"unix:{tmp_path}/soft", "--paused"):
        client = Client(connect(f"unix:{tmp_path}/soft"))
        wanted = trace(client)
    lines = []
    for raw in qemu.stdout:
        lines.append(machine.text(raw).rstrip())
        if lines[-1].endswith("== ready"):  # behind what the BIOS does to the screen
            break
    assert lines[-1].endswith("== ready"), lines
    client = Client(connect(where))
    assert trace(client) == wanted
    client.send("vCont;c")
    time.sleep(1)
    client.interrupt()
    assert client.packet().startswith("T02thread:1;")
    banner = bytes.fromhex(client.ask(f"m{symbols['linux_banner']:x},d"))
    assert banner == b"Linux version"
    before = rip(client)
    assert before >> 47 == 0x1ffff or before < 1 << 47
    assert any(at != before for at in trace(client))
    assert client.ask("D") == "OK"
    out = lines + machine.text(qemu.communicate(timeout=machine.BOOT_SECONDS)[0]).splitlines()
    assert "hello guest" in out and "== status 0" in out, out
