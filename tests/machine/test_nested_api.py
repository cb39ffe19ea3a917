"""The conformance suite of libmote (tests/guest/api) on hardware-like KVM: tests/nested/nested.py."""
import pytest

import machine
from nested import Nested, Unavailable

BUILD = machine.TREE / "build/release"


@pytest.fixture(scope="module")
def done(kernel):
    try:
        session = Nested({"/tests/guest-api": BUILD / "tests/guest/api/guest-api",
                          "/tests/libmote.so.0": BUILD / "src/lib/libmote.so.0"}, kernel)
    except Unavailable as why:
        pytest.skip(str(why))
    with session:
        yield session.run(["env", "LD_LIBRARY_PATH=/tests", "/tests/guest-api", "kvm"], seconds=1500)


def cases(done, verdict):
    return [line.split()[-1] for line in done.out.splitlines()
            if line.startswith("[") and line.split("]")[0].strip("[ ") == verdict]


def test_all_cases(done):
    lines = done.out.splitlines()
    wrong = [line for i, line in enumerate(lines) if "FAILED" in "".join(lines[i:i + 2])]
    assert not wrong and done.status == 0, "\n".join(wrong) or done
    assert len(cases(done, "OK")) > 380, done


def test_nothing_is_left_out_but_what_qemu_lacks(done):
    """Its SVM intercepts neither INT3 nor debug registers."""
    lines = done.out.splitlines()
    reasons = {lines[i - 1] for i, line in enumerate(lines) if "SKIPPED" in line}
    assert all("runs on QEMU's SVM" in reason for reason in reasons), reasons
