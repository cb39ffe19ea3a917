"""The programs of examples/: what they print, how they end, and that they build elsewhere."""
import os
import re
import select
import shutil
import subprocess
import sys
import time

import pytest

import library
import machine

SOURCE = machine.TREE / "examples"
BUILT = library.BUILD / "examples"
LIKEX = library.BUILD / "guests/likex/likex.bin"
KERNEL = BUILT / "toy/kernel.elf"

SECONDS = machine.BOOT_SECONDS
TICK = 0.02  # seconds, of the toy


@pytest.fixture(params=library.ACCELS)
def accel(request):
    library.need_accel(request.param)
    return request.param


def run(*argv, **keys):
    done = machine.execute(argv, seconds=SECONDS, **keys)
    assert done.status == 0 and not done.err, done
    return done.out


def mote_py(*arguments, **environment):
    return machine.execute([sys.executable, SOURCE / "mote.py", *arguments],
                           env={**os.environ, "LIBMOTE": str(library.LIBRARY), **environment})


def test_smallest(accel):
    assert run(BUILT / "smallest", accel) == "Hello, guest!\n"


def test_cplusplus(accel):
    if not (BUILT / "hello").exists():
        pytest.skip("built without a C++ compiler")
    assert run(BUILT / "hello", accel) == "Hello, C++!\n"


def test_python(accel):
    done = mote_py(accel)
    assert (done.status, done.out, done.err) == (0, "Hello, Python!\n", "")


def test_likex(accel):
    assert run(BUILT / "likex", LIKEX, accel) == "4\n"


def test_vmm_ops(accel):
    out = run(BUILT / "vmm_ops", env={**os.environ, "VMM_ACCEL": accel})
    assert out.splitlines() == [
        "out port 0x3f8, 1 byte: p",
        "write 0x20004, 1 byte: q",
        "halted at 0x100c, rax 0x72",
        "one step: rip 0x100d, rbx 0x1",
        "interrupted: rcx 0x1234",
    ]


@pytest.mark.parametrize("argv", [["smallest", "none"], ["hello", "none"], ["likex", LIKEX, "none"],
                                  ["toy/toy", KERNEL, "none"]], ids=lambda argv: argv[0])
def test_errors_are_told(argv):
    if not (BUILT / argv[0]).exists():
        pytest.skip("not built")
    done = machine.execute([BUILT / argv[0], *argv[1:]], seconds=SECONDS)
    assert done.status == 1 and 'no accelerator "none"' in done.err and done.err.count("\n") == 1, done


def test_python_tells_errors():
    done = mote_py("none")
    assert (done.status, done.err) == (1, 'mote.py: no accelerator "none"\n')


# ---- the toy ----

BEGIN = "toy kernel\ntick 1\ntick 2\ntick 3\na tick waited for STI\n> "


class Toy:
    """Somebody at the toy's keyboard."""

    def __init__(self, accel):
        self.started = time.monotonic()
        self.process = machine.start([BUILT / "toy/toy", KERNEL, accel], bufsize=0,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def until(self, end):
        """What comes next; it ends so."""
        got = ""
        while not got.endswith(end):
            assert self.has_output(SECONDS), got
            byte = os.read(self.process.stdout.fileno(), 1)
            assert byte, got
            got += byte.decode()
        return got

    def has_output(self, seconds):
        return select.select([self.process.stdout], [], [], seconds)[0]

    def type(self, keys):
        self.process.stdin.write(keys.encode())

    def end(self):
        """What is left, and the status. No more keys will come."""
        out, _ = self.process.communicate(timeout=SECONDS)
        return out.decode(), self.process.returncode


@pytest.fixture
def toy(accel):
    with Toy(accel) as toy:
        yield toy


def ticks(text):
    return int(re.fullmatch(r"bye after (\d+) ticks\n", text)[1])


def test_toy_talks(toy):
    assert toy.until("> ") == BEGIN
    toy.type("hello, toy\n")
    assert toy.until("> ") == "you typed: hello, toy\n> "
    toy.type("qui")
    toy.type("te\n\n")
    assert toy.until("> ") == "you typed: quite\n> "
    assert toy.until("> ") == "you typed: \n> "
    toy.type("quit\n")
    text, status = toy.end()
    assert ticks(text) >= 4 and status == 0


def test_toy_takes_what_was_typed_ahead(toy):
    lines = [f"line {n}" for n in range(100)]  # more than its ring holds
    toy.type("\n".join(lines) + "\n")
    text, status = toy.end()
    echoed = "".join(f"you typed: {line}\n> " for line in lines)
    assert text.startswith(BEGIN + echoed) and status == 0
    assert ticks(text[len(BEGIN + echoed):]) >= 4


def test_toy_idles_and_ticks(accel):
    """Periodic interrupts go on while nobody types, and cost next to nothing."""
    for seconds in 0.5, 5, 50:  # on a busy host many come as one
        before = os.times()
        with Toy(accel) as toy:
            toy.until("> ")
            assert not toy.has_output(seconds)
            toy.type("quit\n")
            text, status = toy.end()
            lived = time.monotonic() - toy.started
        after = os.times()
        if ticks(text) >= 10:
            break
    assert status == 0 and 10 <= ticks(text) <= lived / TICK + 1, (text, lived)
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    assert spent < 0.4 * max(1, lived), (spent, lived)


def test_toy_refuses_what_is_no_kernel(tmp_path):
    for name, content in {"text": b"no ELF file", "short": KERNEL.read_bytes()[:100],
                          "cut": KERNEL.read_bytes()[:0x200]}.items():
        path = tmp_path / name
        path.write_bytes(content)
        done = machine.execute([BUILT / "toy/toy", path, "soft"], seconds=SECONDS)
        assert done.status == 1 and done.err == f"toy: {path}: Exec format error\n", done


def test_toy_is_small():
    lines = [line for path in (SOURCE / "toy").glob("*.c")
             for line in path.read_text().splitlines()]
    assert len(lines) <= 300


# ---- mote.py's structures ----

def layout(struct, name, path=""):
    """(what C calls it, offset, size) of all members, those of anonymous structures too."""
    for member, kind in struct._fields_:
        if member.startswith("_"):
            continue
        where = f"{path}{member}"
        field = getattr(struct, member)
        yield where, field.offset, field.size
        if hasattr(kind, "_fields_") and path == "" and name == "mote_exit":
            for inner, offset, size in layout(kind, name + ".", where + "."):
                yield inner, field.offset + offset, size


def test_python_has_c_layouts(tmp_path):
    sys.path.insert(0, str(SOURCE))
    try:
        import mote
    finally:
        sys.path.pop(0)
    lines, expected = [], []
    for name, struct in mote.STRUCTS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
        expected.append(f"{name} {mote.c.sizeof(struct)}")
        for member, offset, size in layout(struct, name):
            lines.append(f'printf("{name}.{member} %zu %zu\\n", offsetof(struct {name}, {member}),'
                         f' sizeof(((struct {name} *)0)->{member}));')
            expected.append(f"{name}.{member} {offset} {size}")
    source = tmp_path / "layout.c"
    source.write_text("#include <mote/mote.h>\n#include <stdio.h>\n"
                      "int main(void)\n{\n" + "\n".join(lines) + "\nreturn 0;\n}\n")
    assert run(library.link(source, tmp_path / "layout")).splitlines() == expected
    # All that the headers have: none was left out, and none of their members.
    headers = "".join((library.INCLUDE / "mote" / name).read_text() for name in ("mote.h", "state.h"))
    bodies = dict(re.findall(r"^struct (mote_\w+) \{(.*?)^\}", headers, re.M | re.S))
    assert set(mote.STRUCTS) == set(bodies)
    functions = set(re.findall(r"\bmote_(\w+)\(struct|\bmote_(\w+)\(void", headers))
    assert {a or b for a, b in functions} <= set(mote.FUNCTIONS)
    for name, struct in mote.STRUCTS.items():
        body = re.sub(r"/\*.*?\*/", "", bodies[name], flags=re.S)
        body = re.sub(r"(struct|union) \{.*\}", "", body, flags=re.S)
        for line in body.split(";"):
            for member in re.findall(r"(?:\(\*)?(\w+)(?:\)\(.*\))?(?:\[\w+\])?\s*"
                                     r"(?:__attribute__.*)?(?:,|$)", line.strip(), re.S):
                if member:
                    assert hasattr(struct, member), f"{name}.{member}"


# ---- as installed ----

@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    machine.execute(["meson", "install", "-C", library.BUILD, "--no-rebuild", "--quiet",
                     "--destdir", root], check=True)
    return root


def pkg_config(root, *options):
    """What it says of a library whose prefix was moved to below root."""
    found = list(root.rglob("libmote.pc"))
    assert len(found) == 1
    prefix = re.search(r"^prefix=(.*)$", found[0].read_text(), re.M)[1]
    done = machine.execute(["pkg-config", f"--define-variable=prefix={root}{prefix}", *options,
                            "libmote"], check=True,
                           env={**os.environ, "PKG_CONFIG_PATH": str(found[0].parent)})
    return done.out.split()


OUTSIDE = {"smallest.c": [], "likex.c": [], "hello.cc": [], "toy/toy.c": ["toy/load.c", "-pthread"],
           "vmm_ops_test.c": ["vmm_ops.c"]}


@pytest.mark.parametrize("source", OUTSIDE)
def test_builds_outside_of_the_tree(installed, source, tmp_path):
    compiler = "c++" if source.endswith(".cc") else "cc"
    if not library.has(compiler):
        pytest.skip(f"no {compiler}")
    shutil.copytree(SOURCE, tmp_path / "examples")
    more = [tmp_path / "examples" / a if a.endswith(".c") else a for a in OUTSIDE[source]]
    flags = pkg_config(installed, "--cflags", "--libs")
    program = library.compile_program(tmp_path / "examples" / source, tmp_path / "program", *more,
                                      *flags, compiler=compiler)
    folder = next(installed.rglob("libmote.so")).parent
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "VMM_ACCEL": "soft"}
    arguments = {"likex.c": [LIKEX, "soft"], "toy/toy.c": [KERNEL, "soft"],
                 "vmm_ops_test.c": []}.get(source, ["soft"])
    assert run(program, *arguments, env=environment)


def test_builds_with_the_archive(installed, tmp_path):
    flags = pkg_config(installed, "--static", "--cflags", "--libs")
    program = library.compile_program(SOURCE / "smallest.c", tmp_path / "program", "-static",
                                      *flags)
    assert run(program, "soft") == "Hello, guest!\n"


def test_pages_are_installed(installed):
    pages = {path.name for path in next(installed.rglob("man3")).iterdir()}
    sources = {path.name for path in (machine.TREE / "docs").glob("*.3")}
    assert sources <= pages and "mote_vcpu_stop.3" in pages
