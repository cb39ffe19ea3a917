"""Debian's kernels with several processors on the software engine: what they find, and what they say."""
import re
import sys

import pytest

import machine
from machine import OFF

sys.path.append(str(machine.TREE / "bench"))

import guest
import intel

# What one boot tells about its processors. A processor that is switched off and on again
# starts by INIT and SIPI once more, from Linux' own code by then.
REPORT = r"""
cpus=$(nproc)
cd /sys/devices/system/cpu
echo "== nproc"; nproc
echo "== online"; cat online possible present
echo "== cpuinfo"; grep -E '^(processor|physical id|siblings|core id|cpu cores|apicid)' /proc/cpuinfo
echo "== topology"
for cpu in cpu[0-9]*; do
    for name in core_id physical_package_id core_cpus_list package_cpus_list; do
        [ ! -f $cpu/topology/$name ] || echo "$cpu $name $(cat $cpu/topology/$name)"
    done
done
echo "== pinned"
cpu=0
while [ $cpu -lt $cpus ]; do
    taskset $(printf %x $((1 << cpu))) awk '{ print $39 }' /proc/self/stat
    cpu=$((cpu + 1))
done
echo "== switched"
[ $cpus = 1 ] || { echo 0 >cpu1/online; cat online; echo 1 >cpu1/online; cat online; }
echo "== busy"
cpu=0
while [ $cpu -lt $cpus ]; do
    taskset $(printf %x $((1 << cpu))) awk 'BEGIN { while (n < 100000) n++; print n }' | cat &
    cpu=$((cpu + 1))
done
wait
echo "== interrupts"; cat /proc/interrupts
echo "== dmesg"; dmesg -r
echo "== end"
"""
BOOTS = [("cloud", 1), ("cloud", 2), ("cloud", 8), ("full", 2)]
COMPARED = [("cloud", 1), ("cloud", 2), ("full", 2)]

# Lines at level warning or worse, and any that have these words ...
NOTABLE = re.compile(r"warn|error|fail|bug|unable|unstable", re.I)
WARNING = 4
# What is said of a host that is busy, and by chance.
BUSY = re.compile(r"hrtimer: interrupt took|perf: interrupt took too long|hogged CPU for")
# ... are compared with those on QEMU's q35, as they are without times, addresses and numbers.
# These mote has alone. An entry that no boot needs fails.
EXCUSED = [
    # mote has no PCI.
    "PCI: Fatal: No config space access function found",
    "PCI: System does not support PCI",
]


@pytest.fixture(scope="module")
def kernels(kernel):
    """A function: the file of a flavour."""
    def get(flavour):
        if flavour == "cloud":
            return kernel
        got = machine.execute([machine.TREE / "tools/get-kernel", "--full"])
        if got.status:
            pytest.skip(f"Debian's full kernel cannot be fetched: {got.err.splitlines()[-1]}")
        return got.out.strip()
    return get


@pytest.fixture(scope="module")
def boot(kernels, folder):
    """A function: the sections of one boot's output; each boot is done once."""
    initrd = machine.make_script(folder / "smp", REPORT)
    done = {}

    def once(accel, flavour, cpus):
        if (accel, flavour, cpus) not in done:
            argv = guest.command(accel, kernels(flavour), initrd, cpus,
                                 extra=[] if accel == "tcg" else ["--timeout", str(machine.BOOT_SECONDS - 10)])
            got = machine.execute(argv)
            done[accel, flavour, cpus] = machine.sections(got.out)
            assert got.status == OFF and "end" in done[accel, flavour, cpus], got
        return done[accel, flavour, cpus]
    return once


@pytest.fixture(scope="module", params=BOOTS, ids=lambda boot: f"{boot[0]}-{boot[1]}")
def report(request, boot):
    return boot("soft", *request.param)


@pytest.fixture
def cpus(request):
    return request.node.callspec.params["report"][1]


def interrupts(out):
    """{name: counts} of /proc/interrupts; by device where there is one."""
    header, *lines = out.splitlines()
    columns = len(header.split())
    rows = {}
    for line in lines:
        name, _, rest = line.partition(":")
        words = rest.split()
        rows[words[-1] if name.strip().isdigit() else name.strip()] = \
            [int(word) for word in words[:columns] if word.isdigit()]
    return columns, rows


def test_all_are_online(report, cpus):
    every = "0" if cpus == 1 else f"0-{cpus - 1}"
    assert report["nproc"].split() == [str(cpus)]
    assert report["online"].split() == [every] * 3
    values = {}
    for key, value in re.findall(r"^(.*?)\s*: (\d+)$", report["cpuinfo"], re.M):
        values.setdefault(key, []).append(int(value))
    assert values["processor"] == list(range(cpus))
    assert values["apicid"] == list(range(cpus))
    assert values["siblings"] == [cpus] * cpus or set(values["siblings"]) == {1}


def test_topology(report, cpus):
    """Each is a core of its own, with no second thread."""
    found = {}
    for cpu, name, value in re.findall(r"^cpu(\d+) (\w+) (\S+)$", report["topology"], re.M):
        found.setdefault(name, {})[int(cpu)] = value
    assert found["core_cpus_list"] == {cpu: str(cpu) for cpu in range(cpus)}
    cores = {(found["physical_package_id"][cpu], found["core_id"][cpu]) for cpu in range(cpus)}
    assert len(cores) == cpus


def test_each_runs_what_is_pinned_to_it(report, cpus):
    assert report["pinned"].split() == [str(cpu) for cpu in range(cpus)]
    assert report["busy"].split() == ["100000"] * cpus


def test_one_is_switched_off_and_on(report, cpus):
    if cpus == 1:
        assert report["switched"] == ""
        return
    without = {2: "0", 8: "0,2-7"}[cpus]
    assert report["switched"].split() == [without, f"0-{cpus - 1}"]


def test_interrupts(report, cpus):
    columns, rows = interrupts(report["interrupts"])
    assert columns == cpus
    assert len(rows["LOC"]) == cpus and min(rows["LOC"]) > 10, rows
    assert sum(rows["ttyS0"]) > 10, rows
    assert sum(rows["ERR"]) == 0 and sum(rows["MIS"]) == 0, rows
    if cpus > 1:
        assert sum(rows["RES"]) > 0 and min(rows["CAL"]) > 0, rows
    else:
        assert rows["RES"] == [0], rows


def notable(dmesg):
    """{normalised: line} of what a kernel complains about."""
    lines = {}
    for level, line in re.findall(r"^<(\d+)>\[ *[\d.]+\] (.*)$", dmesg, re.M):
        if not BUSY.search(line) and (int(level) & 7 <= WARNING or NOTABLE.search(line)):
            lines[re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+", "N", line)] = line
    return lines


def test_notable():
    said = notable("<6>[    1.000000] all is well\n<4>[   12.500000] odd at 0xffffffff81000000\n"
                   "<6>[    1.000000] clock: Marking TSC Unstable\n<12>[    2.0] user's\n"
                   "<4>[    3.000000] hrtimer: interrupt took 5000000 ns\n")
    assert set(said) == {"odd at N", "clock: Marking TSC Unstable", "user's"}


def test_no_complaint_of_its_own(boot):
    """What Linux warns of on QEMU with as many processors it may warn of here."""
    machine.need("qemu-system-x86_64", "qemu-system-x86")
    needed, wrong = set(), []
    for flavour, cpus in COMPARED:
        here = notable(boot("soft", flavour, cpus)["dmesg"])
        there = notable(boot("tcg", flavour, cpus)["dmesg"])
        assert here and there
        needed |= here.keys() - there.keys()
        wrong += [f"{flavour}, {cpus} CPUs: {line}" for key, line in here.items()
                  if key not in there and key not in EXCUSED]
    assert not wrong, "\n".join(wrong)
    assert set(EXCUSED) <= needed, f"not needed: {set(EXCUSED) - needed}"


@pytest.mark.parametrize("how, cpus", [("linux-self", 1), ("pvh", 2)])
def test_full_kernel_other_ways(kernels, folder, script, how, cpus):
    """It unpacks itself (xz, which takes long), or is entered as an ELF file."""
    kernel = kernels("full")
    if how == "pvh":
        image, kernel = kernel, folder / "full-vmlinux"
        kernel.write_bytes(intel.unpack(image))
    done = machine.execute(guest.command("soft", kernel, script("nproc"), cpus, extra=[
        "--boot", how, "--timeout", str(machine.BOOT_SECONDS - 10)]))
    assert done.status == OFF and f"\n{cpus}\n" in done.out, done
