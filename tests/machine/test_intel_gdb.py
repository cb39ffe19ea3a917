"""mote run --gdb on kvm_intel (tests/nested/intel.py), with Debian's gdb over that machine's ttyS1.

Bochs' VMX has exits for INT3, and debug registers, as processors have them; QEMU's
SVM (test_nested_gdb.py) has neither.
"""
import re
import socket
import threading

import pytest

import intel
import machine
from gdb_client import Gdb, Mote
from machine import OFF

STEPS = 8
SECONDS = 1500  # for a boot in the machine

# To open ttyS1 clears what it received: it is opened before gdb speaks.
COMMAND = """
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 115200 raw -echo
echo >&3
ifconfig lo 127.0.0.1
mote run --accel kvm --kernel /guest/vmlinuz --initrd /guest/initrd --control \
    --cmdline "console=ttyS0 panic=-1 quiet" --gdb tcp:127.0.0.1:1234 --paused &
until nc 127.0.0.1 1234 <&3 >&3 2>/dev/null; do
    sleep 0.1
done
wait $!
"""


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the test is over


def relay(listener, serial):
    """Whoever connects next talks to the serial port."""
    client, _ = listener.accept()
    for pair in ((client, serial), (serial, client)):
        threading.Thread(target=pump, args=pair, daemon=True).start()


def trace_start_kernel(gdb, symbols):
    """
    Where STEPS steps from start_kernel lead. One at whose end rip is where it was is
    not among them: Bochs traps behind an exit, such as for memory that KVM has yet to
    map, though the instruction was not executed (tests/unit/accel/debugger.h).
    """
    start = symbols["start_kernel"]
    out = gdb.ask(f"break *{start:#x}", "continue", seconds=SECONDS)
    assert f"Breakpoint 1, {start:#x}" in out, out
    got = [gdb.value("$rip")]
    assert got == [start]
    for _ in range(4 * STEPS):
        gdb.ask("stepi")
        at = gdb.value("$rip")
        if at != got[-1]:
            got.append(at)
        if len(got) > STEPS:
            break
    return got


def look_around(gdb, symbols):
    out = gdb.ask(f"x/s {symbols['linux_banner']:#x}")
    assert '"Linux version ' in out, out
    out = gdb.ask("info registers cr0 cr3 efer")
    assert re.search(r"^cr0 .*\bPG\b", out, re.M) and re.search(r"^efer .*\bLMA\b", out, re.M), out
    assert re.search(r"^cr3 +0x[0-9a-f]+000 ", out, re.M), out
    cr3 = gdb.value("$cr3")
    out = gdb.ask(f"monitor translate {symbols['linux_banner']:#x}")
    assert cr3 and re.search(r"is guest-physical 0x\w+", out), out


def watch_jiffies(gdb, symbols):
    out = gdb.ask("delete", f"watch *(long *){symbols['jiffies_64']:#x}", "continue",
                  seconds=SECONDS)
    old, new = map(int, re.findall(r"(?:Old|New) value = (\d+)", out))
    assert "Hardware watchpoint 2" in out and new == old + 1, out


def break_by_int3(gdb, symbols):
    """hbreaks, at lower addresses and so there first, take the debug registers: an INT3 is left."""
    function = symbols["run_init_process"]
    out = gdb.ask("delete", *(f"hbreak *{0xffffffff00000000 + i:#x}" for i in range(4)),
                  f"break *{function:#x}", "continue", seconds=SECONDS)
    assert re.search(fr"^Breakpoint 7, {function:#x} ", out, re.M), out
    out = gdb.ask("x/s $rdi")
    assert '"/init"' in out, out
    function = symbols["do_syscall_64"]
    gdb.ask("delete 7", f"break *{function:#x}")
    for _ in range(2):  # the second time from a step over it on
        out = gdb.ask("continue")
        assert re.search(fr"^Breakpoint 8, {function:#x} ", out, re.M), out


def test_linux(kernel, symbols, tmp_path):
    # What the software engine does is what KVM is to do.
    with Mote("--accel", "soft", "--kernel", kernel, "--gdb", f"unix:{tmp_path}/soft", "--paused"):
        gdb = Gdb(f"unix:{tmp_path}/soft")
        wanted = trace_start_kernel(gdb, symbols)
        gdb.ask("kill")
        gdb.close()
    files = {"/guest/initrd": machine.make_script(tmp_path / "initrd", "echo hello guest")}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        port = listener.getsockname()[1]
        try:
            outer = intel.Intel(kernel, {"gdb": ["sh", "-c", COMMAND]}, files, port)
        except intel.Unavailable as why:
            pytest.skip(str(why))
        with outer:
            serial, _ = listener.accept()
            serial.settimeout(SECONDS)
            assert serial.recv(1) == b"\n"
            serial.settimeout(None)
            threading.Thread(target=relay, args=(listener, serial), daemon=True).start()
            gdb = Gdb(f"tcp:127.0.0.1:{port}")
            assert trace_start_kernel(gdb, symbols) == wanted
            look_around(gdb, symbols)
            watch_jiffies(gdb, symbols)
            break_by_int3(gdb, symbols)
            out = gdb.ask("delete", "continue", seconds=SECONDS)
            assert "exited normally" in out, out
            gdb.close()
            done = outer.wait(SECONDS)["gdb"]
    assert done.status == OFF and "\nhello guest\n" in done.out, done
