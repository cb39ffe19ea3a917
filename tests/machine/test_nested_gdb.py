"""mote run --gdb on hardware-like KVM (tests/nested).

QEMU's emulation of SVM intercepts neither INT3 nor debug registers, so breakpoints
do nothing there; steps, memory, registers and Ctrl-C do.
"""
import time

import pytest

import machine
from gdb_client import Client, Mote, connect
from nested import Nested, Unavailable

# However late it is interrupted, it runs.
UNTIL_TOLD = """
until read -r line && [ "$line" = hello ]; do :; done
echo hello guest
"""

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
def nested(kernel, tmp_path):
    """The outer machine, with an init for the inner one."""
    try:
        session = Nested({"/guest/initrd": machine.make_script(tmp_path / "inner", UNTIL_TOLD)},
                         kernel)
    except Unavailable as why:
        pytest.skip(str(why))
    with session:
        yield session


def test_steps_memory_interrupt(nested, kernel, symbols, tmp_path):
    # What the software engine does is what KVM is to do.
    with Mote("--accel", "soft", "--kernel", kernel, "--gdb", f"unix:{tmp_path}/soft", "--paused"):
        client = Client(connect(f"unix:{tmp_path}/soft"))
        wanted = trace(client)
    inner = nested.start(["sh", "-c", 'mkfifo /tmp/told; exec "$@" <>/tmp/told', "sh",
                          "mote", "run", "--accel", "kvm", "--kernel", "/guest/vmlinuz",
                          "--initrd", "/guest/initrd", "--control", "--gdb", "tcp:127.0.0.1:1234",
                          "--paused", "--cmdline", "console=ttyS0 panic=-1 quiet"],
                         seconds=machine.BOOT_SECONDS)
    client = Client(connect(f"tcp:127.0.0.1:{nested.forward(1234)}"))
    assert trace(client) == wanted
    answer = "E"
    while answer.startswith("E"):  # Linux has not yet mapped it
        client.send("vCont;c")
        time.sleep(1)
        client.interrupt()
        assert client.packet().startswith("T02thread:1;")
        answer = client.ask(f"m{symbols['linux_banner']:x},d")
    assert bytes.fromhex(answer) == b"Linux version"
    at = rip(client)
    assert at >> 47 == 0x1ffff or at < 1 << 47
    trace(client)  # leads nowhere where the kernel idles
    assert client.ask("D") == "OK"
    # Linux may clear its port's buffer as it starts: it is told more than once.
    nested.run(["sh", "-c", f"while kill -0 {inner.pid}; do echo hello 1<>/tmp/told; sleep 1; done"])
    done = inner.wait()
    assert done.status == machine.OFF and "hello guest" in done.out, done
