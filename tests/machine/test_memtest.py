"""memtest86+ of Debian's package, on the software engine, through its first pass.

Of the minutes that a pass takes, the bit fade test sleeps the most. So it starts
before all other tests and is looked at after them; conftest.py orders them.
"""
import re
import time

import pytest

import machine

SECONDS = 7200  # with 4 MiB it does not start, not under QEMU either


@pytest.fixture(scope="session")
def memtest(tmp_path_factory):
    """(process, file of its screen) of memtest86+ under way."""
    got = machine.execute([machine.TREE / "tools/get-package", "memtest86+"])
    assert got.status == 0, got
    screen = tmp_path_factory.mktemp("memtest") / "screen"
    screen.touch()
    run = machine.start(
        [machine.MOTE, "run", "--accel", "soft", "--memory", "5M", "--console", screen,
         "--kernel", f"{got.out.strip()}/boot/memtest86+x64.bin",
         "--cmdline", "console=ttyS0,115200 nosmp nobench nobigstatus"])
    yield run, screen
    run.terminate()
    try:
        run.wait(machine.BOOT_SECONDS)
    finally:
        run.kill()


def wait_for(memtest, pattern, seconds):
    """The text of the screen once it has the pattern."""
    run, screen = memtest
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # Without what moves the cursor and sets colours.
        text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", " ", screen.read_text("latin-1"))
        if re.search(pattern, text):
            return text
        assert run.poll() is None, f"it ended with {run.returncode}\n{text[-2000:]}"
        time.sleep(0.5)
    raise AssertionError(f"no {pattern} in {seconds} s\n{text[-2000:]}")


def test_memtest_starts(memtest):
    wait_for(memtest, r"Memtest86\+ v6", machine.BOOT_SECONDS)
    wait_for(memtest, r"Status: Testing", machine.BOOT_SECONDS)


def test_memtest_passes(memtest):
    text = wait_for(memtest, r"Pass: +1\b", SECONDS)
    assert set(re.findall(r"Errors: +(\d+)", text)) == {"0"}, text[-2000:]
