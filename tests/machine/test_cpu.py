"""--cpu: Debian's kernel on mote's own engine sees the processor that it was promised."""
import re

import pytest

import machine
from machine import OFF

# A signal that the shell reports as 128 + SIGILL: the instruction was no instruction.
SIGILL = 132

AVX = """
int main(int argc, char **argv)
{
    __asm__ volatile("vxorps %%ymm1, %%ymm1, %%ymm1" ::: "xmm1");
    return 0;
}
"""

REPORT = """
echo "== cpuinfo"; cat /proc/cpuinfo
echo "== avx"; avx; echo $?
echo "== topology"
cd /sys/devices/system/cpu/cpu0
cat topology/physical_package_id topology/core_id topology/thread_siblings_list \
    topology/core_siblings_list cache/index*/shared_cpu_list
echo "== dmesg"; dmesg
echo "== end"
poweroff -f
"""

V2 = set("cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3".split())
V3 = set("avx avx2 bmi1 bmi2 f16c fma abm movbe xsave".split())


@pytest.fixture(scope="module")
def initrd(folder):
    source, program = folder / "avx.c", folder / "avx"
    source.write_text(AVX)
    machine.execute(["gcc", "-O1", "-static", "-o", program, source], check=True)
    return machine.make_initramfs(folder / "cpu", "--script", REPORT, "--add", program, "bin/avx")


def boot(kernel, initrd, cpu):
    done = machine.run(kernel, "--initrd", initrd, "--cpu", cpu, "--cmdline",
                       "console=ttyS0 panic=-1 quiet", "--timeout", machine.BOOT_SECONDS - 10)
    part = machine.sections(done.out)
    if done.status == machine.ACCEL and " lacks " in done.err:
        pytest.skip(machine.one_line(done.err))
    assert done.status == OFF and "end" in part, done
    for word in "WARNING:", "BUG:", "Call Trace", "unchecked MSR":
        assert word not in part["dmesg"], word
    info = dict(re.findall(r"^(.*\S)\s*: ?(.*)$", part["cpuinfo"], re.M))
    return set(info["flags"].split()), info, part


def test_v2_has_no_avx(kernel, initrd):
    flags, info, part = boot(kernel, initrd, "x86-64-v2")
    assert V2 <= flags and not V3 & flags, flags
    assert info["vendor_id"] == "GenuineIntel" and info["model name"] == "mote x86-64 baseline"
    assert int(part["avx"].split()[-1]) == SIGILL
    # one package, one core of one thread; four caches of its own
    assert part["topology"].split() == ["0"] * 8


def test_v3_has_avx(kernel, initrd):
    flags, _, part = boot(kernel, initrd, "x86-64-v3")
    assert V2 | V3 <= flags and "avx512f" not in flags and "aes" not in flags, flags
    assert int(part["avx"].split()[-1]) == 0


def test_masked(kernel, initrd):
    flags, info, part = boot(kernel, initrd, "host,-avx,-smap")
    assert not {"avx", "avx2", "fma", "f16c", "smap"} & flags, flags
    assert {"xsave", "smep", "lm"} <= flags and info["vendor_id"] == "AuthenticAMD"
    assert int(part["avx"].split()[-1]) == SIGILL
