"""
Debian's kernel on two processors of the software engine, held and let go all the time
that it boots. ./check runs this a second time with ThreadSanitizer watching mote.
"""
import re
import subprocess
import tempfile
import time

import machine
from machine import OFF

# Both processors at work: they wake each other, and interrupts wake them.
SCRIPT = """
nproc
for i in 1 2 3; do (head -c 4000 /dev/urandom | md5sum; sleep 0.1; echo "worker $i") & done
wait
poweroff -f
"""


def pause_until_end(child, name):
    """How often it was held."""
    times = 0
    while child.poll() is None:
        time.sleep(0.3 * machine.PATIENCE)
        paused = machine.mote("ctl", name, "pause").status == OFF
        times += machine.mote("ctl", name, "resume").status == OFF and paused
    return times


def test_two_processors_with_pauses(kernel, script, monkeypatch):
    initrd = script(SCRIPT)
    for _ in range(20):  # a host may be too busy with the guest to hold it
        with tempfile.TemporaryDirectory(prefix="mote-", dir="/tmp") as folder, \
                tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
            child = machine.start(
                [machine.MOTE, "run", "--accel", "soft", "--cpus", 2, "--name", "two",
                 "--kernel", kernel, "--initrd", initrd, "--control",
                 "--cmdline", "console=ttyS0 panic=-1 quiet", "--timeout", machine.BOOT_SECONDS],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            times = pause_until_end(child, "two")
            out.seek(0)
            err.seek(0)
            done = machine.Result(child.wait(), machine.text(out.read()), machine.text(err.read()),
                                  0)
        assert done.status == OFF and done.err == "", done
        assert re.search(r"^2$", done.out, re.M), done
        assert len(re.findall(r"^worker \d$", done.out, re.M)) == 3, done
        if times > 1:
            return
    raise AssertionError("it was not held")
