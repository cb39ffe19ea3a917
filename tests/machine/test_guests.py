"""The example guests: they say when they are up, and end the machine as they should."""
import pytest

import machine
from machine import OFF, RESET

GUESTS = machine.TREE / "build/release/guests"
READY = "mmio write of 1 at 0xd0000000: 0x7b\n"

# What it calls goes right, and is told when it goes wrong; the last line is an error.
SCRIPT = """
function told(call) { try { call(); return "nothing" } catch (e) { return e.message } }
writeFile("/file", "one\\ntwo \\u20ac\\n");
print("read", JSON.stringify(readFile("/file")));
mount("proc", "/proc");
function uptime() { return +readFile("/proc/uptime").split(" ")[0] }
var before = uptime();
sleep(0.5);
var slept = Math.round((uptime() - before) * 100);
print("slept", slept >= 50 && slept < 6000);
print("status", readFile("/proc/self/status").length > 500);
print("missing", told(function () { readFile("/missing") }));
print("binary", told(function () { readFile("/init") }));
print("folder", told(function () { writeFile("/proc", "") }));
print("nofs", told(function () { mount("nofs", "/n") }));
print("range", told(function () { sleep(-1) }));
nonesuch();
"""
SCRIPT_OUT = f"""read "one\\ntwo \u20ac\\n"
slept true
status true
missing /missing: No such file or directory
binary /init: not text: it has a zero byte
folder /proc: Is a directory
nofs /n: No such device
range sleep: expected seconds
init-js: ReferenceError: 'nonesuch' is not defined
\tat /init.js:{SCRIPT.count(chr(10))}
"""


@pytest.fixture(params=["debian", "tiny"])
def linux(request):
    """A kernel's file: each test runs on both."""
    return request.getfixturevalue({"debian": "kernel", "tiny": "tiny_kernel"}[request.param])


def cpio(name):
    path = GUESTS / name / f"{name}.cpio"
    assert path.exists(), f"no {path}; install cpio and libmujs-dev, then meson setup --reconfigure"
    return path


def run(kernel, initrd):
    return machine.run(kernel, "--initrd", initrd, "--trace", "unassigned", "--memory", "128M",
                       "--cmdline", "console=ttyS0 panic=-1 loglevel=0",
                       "--timeout", machine.BOOT_SECONDS - 10)


def run_script(kernel, folder, script):
    source = folder / "init.js"
    source.write_text(script)
    initrd = machine.make_initramfs(folder / "js", "--bare", "--init", GUESTS / "init-js/init-js",
                                    "--add", source, "init.js")
    return run(kernel, initrd)


def test_init_c(linux):
    done = run(linux, cpio("init-c"))
    assert done.status == OFF and done.out == "", done
    assert done.err.count(READY) == 1, done


def test_init_js_example(linux):
    done = run(linux, cpio("init-js"))
    assert done.status == OFF, done
    assert done.out.startswith("Linux 6.") and done.out.endswith(" MiB\n"), done
    assert done.err.count(READY) == 1, done


def test_init_js_functions_and_error(linux, tmp_path):
    done = run_script(linux, tmp_path, SCRIPT)
    assert done.out == SCRIPT_OUT, done
    assert done.status == RESET and READY not in done.err, done


def test_init_js_syntax_error(tiny_kernel, tmp_path):
    done = run_script(tiny_kernel, tmp_path, "print('never');\nvar = 1;\n")
    assert done.out.startswith("init-js: SyntaxError: /init.js:2: "), done
    assert done.status == RESET, done


def test_init_js_ends_without_poweroff(tiny_kernel, tmp_path):
    done = run_script(tiny_kernel, tmp_path, "print('end');\n")
    assert done.status == OFF and done.out == "end\n", done


def test_tiny_kernel_ends(tiny_kernel, script):
    """Without ACPI: a panic resets by the i8042, the control line ends with a status."""
    done = machine.run(tiny_kernel, "--cmdline", "console=ttyS0 panic=-1 quiet")
    assert "Kernel panic" in done.out and done.status == RESET, done
    done = machine.run_linux(tiny_kernel, script("uname -r; exit 7\n"))
    assert done.status == 7 and done.out.endswith("-tiny\n"), done


def test_tiny_kernel_pvh(tiny_kernel):
    """The same kernel as an ELF file."""
    done = run(tiny_kernel.parent / "vmlinux", cpio("init-c"))
    assert done.status == OFF and READY in done.err, done
