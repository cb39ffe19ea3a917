"""mote on kvm_intel: tests/nested/intel.py has the machine, which runs all of it in one go."""
import re

import pytest

import intel
import machine
from machine import OFF, TIMEOUT

BUILD = machine.TREE / "build/release"
UNIT_TESTS = [f"test-accel-{name}" for name in
              ("access", "debug", "kvm", "probe", "state", "watch")]

# A step over what exits by itself, and #BP without an exit before.
SKIPPED = {"test-accel-debug": 5}


@pytest.fixture(scope="module")
def runs(kernel, folder):
    """{name: nested.Result}"""
    likex = folder / "intel-likex"
    likex.write_bytes(b"\xb0\x02\xb3\x02" + (BUILD / "guests/likex/likex.bin").read_bytes())
    files = {f"/tests/{name}": BUILD / "tests/unit/accel" / name for name in UNIT_TESTS}
    commands = {name: [f"/tests/{name}"] for name in UNIT_TESTS}
    commands["info"] = ["mote", "info"]
    commands["likex"] = ["mote", "run", "--accel", "kvm", "--kernel", "/flat/likex", "--memory",
                         "4M", "--boot", "flat:0x1000:real", "--timeout", "1", "--stats"]
    files["/guest/poweroff"] = machine.make_script(folder / "intel-poweroff",
                                                   "uname -srm; dmesg | grep Hypervisor")
    commands["linux"] = ["mote", "run", "--accel", "kvm", "--kernel", "/guest/vmlinuz", "--initrd",
                         "/guest/poweroff", "--timeout", "100", "--stats", "--control",
                         "--cmdline", "console=ttyS0 panic=-1 quiet"]
    try:
        return intel.run(kernel, commands, {"/flat/likex": likex, **files})
    except intel.Unavailable as why:
        pytest.skip(str(why))


def test_auto_takes_kvm(runs):
    done = runs["info"]
    assert done.status == 0 and done.err == "", done
    assert re.search(r"^host CPU +Intel", done.out, re.M), done
    assert re.search(r"^accelerator +kvm \(Linux KVM\): usable, \d+ million", done.out, re.M), done
    assert re.search(r"^auto +kvm: ", done.out, re.M), done


@pytest.mark.parametrize("name", UNIT_TESTS)
def test_unit(runs, name):
    done = runs[name]
    assert done.status == 0, done
    skipped = re.findall(r"^skipped on (.*)$", done.out, re.M)
    assert len(skipped) == SKIPPED.get(name, 0), done
    assert all(re.match("kvm: this /dev/kvm runs on (Bochs' )?VMX", why) for why in skipped), done


def test_likex(runs):
    done = runs["likex"]
    assert done.status == TIMEOUT and done.out == "4\n", done


def test_boots_to_init_and_powers_off(runs):
    done = runs["linux"]
    assert done.status == OFF, done
    assert re.search(r"^Linux 6\.\S+ x86_64$", done.out, re.M), done
    assert "Hypervisor detected: KVM" in done.out, done
    assert "\nexits io " in done.err and "\ninstructions rescued: 0\n" in done.err, done
