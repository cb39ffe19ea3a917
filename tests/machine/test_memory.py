"""Guest memory: its map below 1 MiB, sparse guests, and what --memory SIZE,OPTION asks for."""
import os
import pathlib
import re
import subprocess

import pytest

import machine
from machine import FAILED, INPUT, USAGE

MIB = 1 << 20
END = 2 * 42 + 1  # the status of 42 at the debug exit
HUGE_2M = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")

# 42 to the debug exit, or in `bad` the number of the check that failed.
FRAME = """
    .globl _start
    .code{bits}
_start:
{body}
    mov $42, %al
end:
    mov $0xf4, %dx
    out %al, %dx
    hlt
"""

# A write to ROM vanishes, whatever the instruction; where nothing is, reads are all ones.
BELOW_1_MIB = """
    mov $1, %cl
    cmpl $0x20445352, 0xe0000       # "RSD "
    jne bad
    mov $2, %cl
    movl $0x12345678, 0xe0000
    notl 0xe0004
    mov $0xe0008, %edi
    mov $0xffffffff, %eax
    stosl
    cmpl $0x20445352, 0xe0000
    jne bad
    cmpl $0x20525450, 0xe0004       # "PTR "
    jne bad
    cmpl $0xffffffff, 0xe0008
    je bad
    mov $3, %cl
    cmpl $0, 0xc0000                # no option ROM
    jne bad
    movb $1, 0xfffff
    cmpb $0, 0xfffff
    jne bad
    mov $4, %cl
    movl $0, 0xa0000
    cmpl $0xffffffff, 0xa0000
    jne bad
    movb $0, 0xbffff
    cmpb $0xff, 0xbffff
    jne bad
    mov $5, %cl
    movl $0x5a5a5a5a, 0x9fffc       # the last of base memory, the first of high memory
    cmpl $0x5a5a5a5a, 0x9fffc
    jne bad
    movl $0x5a5a5a5a, 0xffffe       # ROM's last two bytes and two of RAM
    cmpl $0x5a5a0000, 0xffffe
    jne bad
    movl $0x5a5a5a5a, 0x9fffe       # RAM's last two bytes and two of nothing
    cmpl $0xffff5a5a, 0x9fffe
    jne bad
    mov $6, %cl
    movl $0x5a5a5a5a, {top} - 4
    cmpl $0x5a5a5a5a, {top} - 4
    jne bad
    cmpl $0xffffffff, {top}
    jne bad
    cmpl $0xffff5a5a, {top} - 2
    jne bad
    jmp good
bad:
    mov %cl, %al
    jmp end
good:
"""

# The top page, which a page directory of ours maps, is zero, is written, and is not the first page.
SPARSE = """
    .if {gib} >= 4                  # mote's tables map 4 GiB
    movabs ${large} + 0x83, %rax
    mov %rax, 0x200000 + {slot} * 8
    movq $0x200003, 0x3000 + {gib} * 8
    mov %cr3, %rax
    mov %rax, %cr3
    .endif
    movabs ${top} - 4096, %rsi
    mov %rsi, %rdi
    mov $512, %ecx
    xor %ebx, %ebx
sum:
    lodsq
    or %rax, %rbx
    loop sum
    mov $1, %al
    test %rbx, %rbx
    jnz end
    mov $2, %al
    cmpl $0, 0
    jne end
    movl $0x11111111, 4092(%rdi)
    movl $0x22222222, 0
    cmpl $0x11111111, 4092(%rdi)
    jne end
    mov $3, %al
    cmpl $0x22222222, 0
    jne end
"""


@pytest.fixture(params=["soft", "kvm"])
def accel(request):
    if request.param == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no usable /dev/kvm")
    return request.param


@pytest.fixture
def assemble(tmp_path):
    """A function that makes a flat image for 1 MiB of these instructions."""
    def make(bits, body, mode):
        source, image = tmp_path / "guest.s", tmp_path / "guest.bin"
        source.write_text(FRAME.format(bits=bits, body=body))
        machine.execute(["gcc", f"-m{bits}", "-nostdlib", "-static", "-Wl,--build-id=none",
                         "-Wl,-Ttext=0x100000", "-Wl,--oformat=binary", "-o", image, source],
                        check=True)
        return [image, "--boot", f"flat:0x100000:{mode}", "--debug-exit"]
    return make


def run(accel, args, *more):
    return machine.mote("run", "--accel", accel, "--timeout", machine.BOOT_SECONDS, "--kernel", *args, *more)


@pytest.fixture
def endless(tmp_path):
    """A function that starts a guest that loops, and ends it after the test."""
    image, running = tmp_path / "loop.bin", []
    image.write_bytes(b"\xe6\xe9\xeb\xfe")  # out %al, $0xe9; jmp .

    def start(memory):
        child = machine.start([machine.MOTE, "run", "--accel", "soft", "--kernel", image,
                               "--boot", "flat:0x1000:real", "--memory", memory, "--console",
                               "none", "--trace", "unassigned"], stderr=subprocess.PIPE)
        running.append(child)
        line = child.stderr.readline().decode()
        assert "0xe9" in line, line  # the guest runs
        return child
    yield start
    for child in running:
        child.kill()
        child.wait()
        child.stderr.close()


def guest_ram(child):
    """The largest mapping, which neighbours may have been merged into, or the largest of huge
    pages: name, flags, page size. The engine's own are below 128 MiB."""
    text = pathlib.Path(f"/proc/{child.pid}/smaps").read_text()
    parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.M)[1:]
    parts = [part for part in parts if re.search(r"^VmFlags: .*\bht\b", part, re.M)] or parts
    largest = max(parts, key=lambda part: int(re.search(r"^Size: +(\d+)", part, re.M)[1]))
    assert int(re.search(r"^Size: +(\d+)", largest, re.M)[1]) >= 62 << 10, largest
    return (re.match(r"\S+ \S+ \S+ \S+ \S+ *(.*)", largest)[1],
            re.search(r"^VmFlags: (.*)", largest, re.M)[1].split(),
            int(re.search(r"^KernelPageSize: +(\d+)", largest, re.M)[1]) << 10)


def resident(done):
    """Bytes of guest RAM that --stats tells."""
    return int(re.search(r"guest RAM (\d+) KiB", done.err)[1]) << 10


# ---- the map ----

def test_rom_and_holes(assemble, accel):
    body = BELOW_1_MIB.format(top=4 * MIB)
    done = run(accel, assemble(32, body, "protected"), "--memory", "4M")
    assert done.status == END, done


@pytest.mark.parametrize("address, size", [
    (0x9fbff, 2),        # into the extended BIOS data area
    (0xa0000, 1),        # where video memory would be
    (0xc0000, 16),       # ROM
    (0xe0000, 1),        # the ACPI tables
    (0xffff0, 32),       # ROM and RAM
    (4 * MIB - 1, 2),    # past the end
    (4 * MIB, 1),
    (0xd0000000, 1)])
def test_flat_image_that_touches_a_hole(tmp_path, address, size):
    image = tmp_path / "image"
    image.write_bytes(b"\xf4" * size)
    done = machine.run(image, "--boot", f"flat:{address:#x}:protected", "--memory", "4M")
    assert done.status == INPUT, done
    line = machine.one_line(done.err)
    assert f"0x{address:x} to 0x{address + size - 1:x}" in line and "guest's 4 MiB" in line, done


@pytest.mark.parametrize("address, mode", [
    (0x500, "real"), (0x7c00, "real"), (0x9fbf0, "real"), (0x9fbf0, "protected"),
    (0x100000, "protected"), (4 * MIB - 16, "long")])
def test_flat_image_at_every_legal_address(tmp_path, address, mode, accel):
    image = tmp_path / "image"
    image.write_bytes(b"\xb0\x2a\xe6\xf4" + b"\xf4" * 12)  # mov $42, %al; out %al, $0xf4; hlt
    done = run(accel, [image, "--boot", f"flat:{address:#x}:{mode}", "--debug-exit"],
               "--memory", "4M")
    assert done.status == END, done


# ---- sparse guests ----

def host_memory():
    text = pathlib.Path("/proc/meminfo").read_text()
    return {name: int(kib) << 10 for name, kib in re.findall(r"^(\w+): +(\d+) kB", text, re.M)}


def sparse_guest(assemble, size):
    top = size if size <= 3 << 30 else size + (1 << 30)
    large = top - 1 & -0x200000
    assert top <= 512 << 30
    return assemble(64, SPARSE.format(top=top, large=large, slot=(large >> 21) % 512,
                                      gib=large >> 30), "long")


@pytest.mark.parametrize("mib", [64, 3072, 3073, 5000])
def test_first_and_last_page(assemble, accel, mib):
    done = run(accel, sparse_guest(assemble, mib * MIB), "--memory", f"{mib}M")
    assert done.status == END, done


def test_more_memory_than_is_free(assemble, accel):
    """Untouched memory costs nothing, so there may be more of it than the host has free."""
    host = host_memory()
    free, most = host["MemAvailable"], host["MemTotal"] + host["SwapTotal"]
    mib = min((free + most) // 2 + MIB, most) // MIB
    assert mib * MIB > free
    done = run(accel, sparse_guest(assemble, mib * MIB), "--memory", f"{mib}M", "--stats")
    assert done.status == END, done
    assert resident(done) < 8 * MIB, done


# ---- options ----

@pytest.mark.parametrize("value, word", [
    ("64M,", "''"), (",64M", "',64M'"), ("prefault", "'prefault'"), ("64M,sparse", "'sparse'"),
    ("64M,hugepages=4M", "'hugepages=4M'"), ("64M,hugepages=", "'hugepages='"),
    ("64M,thp", "'thp'"), ("64M,thp=maybe", "'thp=maybe'"), ("64M,shared=on", "'shared=on'"),
    ("64M,prefault,,shared", "''"), ("5M,hugepages", "2M"), ("64M,hugepages=1G", "1024M"),
    ("64M," + "x" * 100, "x" * 31)])
def test_wrong_options(value, word):
    done = machine.run("/bin/sh", "--memory", value)
    assert done.status == USAGE, done
    line = machine.one_line(done.err)
    assert f"--memory: '{value}'" in line and word in line, done


@pytest.mark.parametrize("shared", ["", ",shared"])
def test_prefault(assemble, accel, shared):
    guest = sparse_guest(assemble, 64 * MIB)
    done = run(accel, guest, "--memory", f"64M{shared}", "--stats")
    assert done.status == END and 4096 < resident(done) < 8 * MIB, done
    done = run(accel, guest, "--memory", f"64M,prefault{shared}", "--stats")
    assert done.status == END and resident(done) == 64 * MIB, done


def test_prefault_of_more_than_is_free():
    host = host_memory()
    mib = (host["MemTotal"] + host["SwapTotal"]) // MIB
    done = machine.run("/bin/sh", "--memory", f"{mib}M,prefault")
    assert done.status == FAILED and "free" in machine.one_line(done.err), done


def test_private_or_shared(endless):
    assert guest_ram(endless("256M"))[0] == ""
    assert guest_ram(endless("256M,shared"))[0] == "/memfd:guest-ram (deleted)"


def test_transparent_huge_pages(endless):
    assert "hg" in guest_ram(endless("256M"))[1]
    assert "hg" in guest_ram(endless("256M,thp=on"))[1]
    assert "nh" in guest_ram(endless("256M,thp=off"))[1]


@pytest.fixture
def hugepages():
    """32 huge pages of 2 MiB are free; what the host had reserved is restored."""
    if not HUGE_2M.exists():
        pytest.skip("the host lacks huge pages of 2 MiB")
    pool, free = HUGE_2M / "nr_hugepages", HUGE_2M / "free_hugepages"
    before, wanted = int(pool.read_text()), 32 - int(free.read_text())
    if wanted > 0:
        if not os.access(pool, os.W_OK):
            pytest.skip("the host lacks reserved huge pages, and only root can reserve them")
        pool.write_text(str(before + wanted))
        if int(free.read_text()) < 32:
            pool.write_text(str(before))
            pytest.skip("the host lacks 64 MiB in pieces of 2 MiB")
    yield
    if wanted > 0:
        pool.write_text(str(before))


@pytest.mark.parametrize("options, kind", [
    ("hugepages", "anon_hugepage"), ("hugepages=2M", "anon_hugepage"),
    ("hugepages,shared", "memfd:guest-ram")])
def test_hugepages(hugepages, endless, options, kind):
    name, flags, page = guest_ram(endless(f"64M,{options}"))
    assert kind in name and "ht" in flags and page == 2 * MIB


def test_hugepages_boot(hugepages, assemble, accel):
    done = run(accel, sparse_guest(assemble, 64 * MIB), "--memory", "64M,hugepages,prefault",
               "--stats")
    assert done.status == END, done
    assert resident(done) == 64 * MIB, done


def test_hugepages_that_nobody_reserved():
    """1 TiB of them: no host of this test's has so many."""
    done = machine.run("/bin/sh", "--memory", "1T,hugepages")
    assert done.status == FAILED, done
    line = machine.one_line(done.err)
    if HUGE_2M.exists():
        assert "needs 524288 huge pages of 2M" in line and "/proc/sys/vm/nr_hugepages" in line, done
    done = machine.run("/bin/sh", "--memory", "1T,hugepages=1G,shared")
    assert done.status == FAILED and "1024M" in machine.one_line(done.err), done
