"""Fixtures: the kernel and what is made of it, once for all tests."""
import pathlib
import re

import pytest

import machine
import intel


def pytest_addoption(parser):
    parser.addoption("--threads", action="store_true",
                     help="of tests that boot Debian's kernel, test_threads only")


def pytest_collection_modifyitems(config, items):
    """memtest86+ mostly waits: it starts before all others and is looked at last."""
    if config.getoption("--threads"):
        items[:] = [item for item in items if "kernel" not in item.fixturenames or
                    item.path.name == "test_threads.py"]
    order = {"test_memtest_starts": 0, "test_memtest_passes": 2}
    items.sort(key=lambda item: order.get(item.name, 1))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(call):
    """All that processes printed, as far as those that failed know them: of an assertion's
    message pytest itself shows 240 characters."""
    report = (yield).get_result()
    if call.excinfo and hasattr(report.longrepr, "addsection"):
        found = {id(value): (name, value) for entry in call.excinfo.traceback
                 for name, value in entry.frame.f_locals.items()
                 if hasattr(value, "status") and hasattr(value, "err")}
        for name, value in found.values():
            report.longrepr.addsection(name, repr(value))


@pytest.fixture(scope="session")
def kernel():
    """Debian's cloud kernel, or MOTE_KERNEL."""
    got = machine.execute([machine.TREE / "tools/get-kernel"])
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
    path = folder / "vmlinux"
    path.write_bytes(intel.unpack(kernel))
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
