"""stress-ng on four processors: bench/smp-stress for a quarter of a minute, and paused all the time."""
import pytest

import machine

BENCH = machine.TREE / "bench/smp-stress"


@pytest.fixture(scope="module", autouse=True)
def package():
    got = machine.execute([machine.TREE / "tools/get-package", "--libraries", "stress-ng"],
                          seconds=machine.BOOT_SECONDS)
    if got.status:
        pytest.skip(f"stress-ng cannot be fetched: {got.err.splitlines()[-1]}")


def stress(*args):
    return machine.execute([BENCH, "--accel", "soft", *args], seconds=2 * machine.BOOT_SECONDS)


def test_stress_and_pauses():
    done = stress("--cpus", "4", "--seconds", "15", "--pauses", "2000", "--patience", "300")
    assert done.status == 0 and "2000 pauses" in done.out, done
    assert "4 processors, soft: stress-ng found no error" in done.out, done


@pytest.mark.parametrize("kind, patience, why", [("stress", 300, "stress-ng failed"),
                                                 ("warn", 300, "the kernel complains"),
                                                 ("hang", 20, "no '")])
def test_failure_is_noticed(kind, patience, why):
    done = stress("--cpus", "1", "--seconds", "4", "--fail", kind, "--patience", patience)
    assert done.status == 1 and why in done.err, done
