"""
A compiler in a guest: Debian's tcc compiles program.c and runs it, from a file and from the
memory that it wrote the code to. What it prints is what the host's gcc makes of it.
"""
import pathlib
import subprocess

import pytest

import machine

SOURCE = pathlib.Path(__file__).parent / "program.c"
LIBRARIES = pathlib.PurePath("/usr/lib/x86_64-linux-gnu")
SEEDS = range(1, 3)

SCRIPT = """
for seed in %s; do
    echo "== file $seed"
    tcc -L/lib -L/lib64 -DSEED=$seed -o /tmp/program /program.c -lm && /tmp/program; echo "status $?"
    echo "== memory $seed"
    tcc -DSEED=$seed -lm -run /program.c; echo "status $?"
done
echo "== again"
for round in 1 2 3; do tcc -DSEED=$round -lm -run /program.c | md5sum; done
echo "== end"
poweroff -f
""" % " ".join(map(str, SEEDS))


def tcc():
    """The unpacked package."""
    for option in [], ["--libraries"]:
        got = machine.execute([machine.TREE / "tools/get-package", *option, "tcc"], seconds=300)
        if got.status:
            pytest.skip(f"tcc cannot be fetched: {got.err.splitlines()[-1]}")
        folder = folder if option else pathlib.Path(got.out.strip())
    return folder


def needed():
    """What a compiler takes from the C library's development package, for this program."""
    rules = machine.execute(["gcc", "-M", SOURCE], check=True).out
    yield from (name for name in rules.split() if name.startswith("/usr/include/"))
    for name in ["crt1.o", "crti.o", "crtn.o", "libc_nonshared.a"]:
        found = machine.execute(["gcc", f"-print-file-name={name}"], check=True).out.strip()
        yield found, LIBRARIES / name


@pytest.fixture(scope="module")
def initramfs(folder):
    args = ["--package", "tcc", "--add", SOURCE, "/program.c", "--script", SCRIPT]
    for file in needed():
        args += ["--add", *((file, file) if isinstance(file, str) else file)]
    for file in (tcc() / "usr/lib/x86_64-linux-gnu/tcc").rglob("*"):
        if file.is_file():
            args += ["--add", file, "/" + str(file.relative_to(tcc()))]
    for name, script in [("libc", f"/lib/libc.so.6 {LIBRARIES}/libc_nonshared.a"),
                         ("libm", "/lib/libm.so.6")]:
        (folder / f"{name}.so").write_text(f"GROUP ( {script} )\n")
        args += ["--add", folder / f"{name}.so", LIBRARIES / f"{name}.so"]
    return machine.make_initramfs(folder / "tcc.cpio", *args)


@pytest.fixture(scope="module")
def output(kernel, initramfs):
    done = machine.run_linux(kernel, initramfs, "--memory", "256M")
    assert done.status == machine.OFF, done
    parts = machine.sections(done.out)
    assert "end" in parts, done
    return parts


def host(folder, seed):
    """What the host's build prints, and its status."""
    program = folder / f"program-{seed}"
    machine.execute(["gcc", "-O2", f"-DSEED={seed}", "-o", program, SOURCE, "-lm"], check=True)
    done = subprocess.run([program], stdout=subprocess.PIPE, check=False)
    return done.stdout.decode(), done.returncode


@pytest.mark.parametrize("how", ["file", "memory"])
@pytest.mark.parametrize("seed", SEEDS)
def test_output_is_the_hosts(folder, output, seed, how):
    text, status = host(folder, seed)
    assert output[f"{how} {seed}"] == f"{text}status {status}\n"


def test_outputs_differ(output):
    """By seed: so they are not what some other one left."""
    assert len({output[f"file {seed}"] for seed in SEEDS}) == len(SEEDS)


def test_again_and_again(folder, output):
    wanted = []
    for seed in range(1, 4):
        done = subprocess.run(["md5sum"], input=host(folder, seed)[0].encode(),
                              stdout=subprocess.PIPE, check=True)
        wanted.append(done.stdout.decode())
    assert output["again"] == "".join(wanted)
