"""Fixtures: the kernel and what is made of it, once for all tests."""
import pathlib
import re
import struct
import sys

import pytest

import machine

sys.path += [str(machine.TREE / "tests" / folder) for folder in ("nested", "guest/system")]


def pytest_collection_modifyitems(items):
    """memtest86+ mostly waits: it starts before all others and is looked at last."""
    order = {"test_memtest_starts": 0, "test_memtest_passes": 2}
    items.sort(key=lambda item: order.get(item.name, 1))


@pytest.fixture(scope="session")
def kernel():
    """Debian's cloud kernel, or MOTE_KERNEL."""
    got = machine.execute([machine.TREE / "tools/get-kernel"], seconds=300)
    assert got.status == 0, got
    return pathlib.Path(got.out.strip())


@pytest.fixture(scope="session")
def tiny_kernel():
    """The bzImage of the tiny kernel; nothing may need it."""
    got = machine.execute([machine.TREE / "guests/kernel/build", "--find"])
    if got.status:
        pytest.skip(got.err.strip())
    return pathlib.Path(got.out.strip(), "bzImage")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("machine")


@pytest.fixture(scope="session")
def vmlinux(kernel, folder):
    """The ELF file inside the bzImage, taken out as its setup header describes."""
    image = kernel.read_bytes()
    setup = (image[0x1F1] or 4) + 1
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = setup * 512 + offset
    payload = image[start:start + length]
    tools = {b"\x02\x21\x4c\x18": ("lz4", "lz4"), b"\x28\xb5\x2f\xfd": ("zstd", "zstd"),
             b"\xfd7zX": ("xz", "xz-utils"), b"\x1f\x8b\x08\x00": ("gzip", "gzip")}
    assert payload[:4] in tools, f"the payload begins with {payload[:4].hex()}"
    # The last 4 bytes are the unpacked length, appended by the kernel's build.
    size = struct.unpack("<I", payload[-4:])[0]
    path = folder / "vmlinux"
    with open(path, "wb") as out:
        command = machine.need(*tools[payload[:4]])
        machine.execute([command, "-dc"], stdin=payload[:-4], stdout=out)
    assert path.stat().st_size == size
    return path


@pytest.fixture(scope="session")
def symbols(kernel, folder):
    """{name: address} of some; a kernel that mote unpacks is where it was linked to be."""
    names = {"start_kernel", "linux_banner", "jiffies_64", "run_init_process", "do_syscall_64"}
    script = f"grep -E ' ({'|'.join(names)})$' /proc/kallsyms"
    done = machine.run_linux(kernel, machine.make_script(folder / "kallsyms", script))
    assert done.status == machine.OFF, done
    found = {name: int(address, 16) for address, name in
             re.findall(r"^([0-9a-f]{16}) \w (\w+)$", done.out, re.M)}
    assert set(found) == names, done
    return found


@pytest.fixture(scope="session")
def shell(folder):
    """An initramfs that ends in an interactive shell."""
    return machine.make_initramfs(folder / "shell")


@pytest.fixture
def script(tmp_path):
    """A function that makes an initramfs of a script."""
    return lambda body: machine.make_script(tmp_path / "script", body)


@pytest.fixture
def flat(tmp_path):
    """A function that makes the arguments of `mote run` for a few bytes of code."""
    return lambda code, mode="real": machine.make_flat(tmp_path / "flat.bin", code, mode)
