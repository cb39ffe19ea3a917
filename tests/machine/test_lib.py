"""libmote as other programs get it: what it exports, its headers, its pkg-config file."""
import pathlib
import re
import subprocess

import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]
BUILD = TREE / "build/release"

PROGRAM = r"""
#include <mote/mote.h>
#include <stdio.h>
#include <string.h>

int machine_create(void); /* the engine's own names are the program's to use */
int machine_create(void)
{
    return 7;
}

static unsigned char ram[4096] __attribute__((aligned(4096)));

int main(void)
{
    static const unsigned char code[] = {0xb0, 0x2a, 0xe6, 0x10, 0xf4}; /* mov, out, hlt */
    struct mote_machine_config config;
    struct mote_machine *machine;
    struct mote_vcpu *vcpu;
    struct mote_state *s;
    struct mote_exit e;

    memset(&config, 0, sizeof(config));
    config.accel = "soft";
    memcpy(ram, code, sizeof(code));
    if (mote_machine_create(&machine, &config) || mote_hva_register(machine, ram, sizeof(ram)) ||
        mote_gpa_map(machine, 0, ram, sizeof(ram), MOTE_RWX) ||
        mote_vcpu_create(&vcpu, machine, 0)) {
        printf("%s\n", mote_error());
        return 1;
    }
    s = mote_vcpu_state(vcpu);
    s->seg[MOTE_CS].base = 0;
    s->seg[MOTE_CS].selector = 0;
    s->rip = 0;
    if (mote_vcpu_set(vcpu, MOTE_GPRS | MOTE_SEGS) || mote_vcpu_run(vcpu, &e) ||
        mote_vcpu_get(vcpu, MOTE_GPRS))
        return 1;
    printf("%s %s %u %d\n", mote_version(), mote_exit_name(e.reason), (unsigned)s->gpr[MOTE_RAX],
           machine_create());
    return mote_machine_destroy(machine);
}
"""


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """What `meson install` puts into a package."""
    stage = tmp_path_factory.mktemp("stage")
    run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", stage)
    return stage


def declared():
    text = re.sub(r"/\*.*?\*/", "", (TREE / "include/mote/mote.h").read_text(), flags=re.S)
    return set(re.findall(r"\b(mote_\w+)\([^()]*\);", text))


def test_exports_are_what_the_header_declares():
    functions = declared()
    assert len(functions) > 20
    mapped = set(re.findall(r"^ +(mote_\w+);$", (TREE / "src/lib/libmote.map").read_text(), re.M))
    assert mapped == functions
    shared = run("nm", "-D", "--defined-only", BUILD / "src/lib/libmote.so").splitlines()
    names = {line.split()[-1].split("@")[0] for line in shared}
    assert names - {"MOTE_0"} == functions
    static = run("nm", "-g", "--defined-only", BUILD / "src/lib/libmote.a")
    assert {line.split()[-1] for line in static.splitlines() if " " in line} == functions


@pytest.mark.parametrize("compiler", [
    ["gcc", "-std=c99"], ["gcc", "-std=c11"], ["g++", "-std=c++11", "-xc++"],
    ["g++", "-std=c++20", "-xc++"], ["clang-14", "-std=c99"],
], ids=" ".join)
@pytest.mark.parametrize("header", ["mote/mote.h", "mote/state.h"])
def test_headers_alone(tmp_path, compiler, header):
    source = tmp_path / "header.c"
    source.write_text(f"#include <{header}>\nint unused_so_that_it_is_a_program;\n")
    run(*compiler, "-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-I", TREE / "include",
        "-fsyntax-only", source)


@pytest.mark.parametrize("how", ["shared", "static"])
def test_pkg_config(staged, tmp_path, how):
    folder = next(staged.rglob("libmote.pc")).parent
    env = {"PATH": "/usr/bin:/bin", "PKG_CONFIG_PATH": str(folder),
           "PKG_CONFIG_SYSROOT_DIR": str(staged)}
    static = ["--static"] if how == "static" else []
    flags = run("pkg-config", *static, "--cflags", "--libs", "libmote", env=env).split()
    source = tmp_path / "program.c"
    source.write_text(PROGRAM)
    run("gcc", "-std=c99", "-Wall", "-Werror", *static, "-o", tmp_path / "program", source, *flags)
    library = next(staged.rglob("libmote.so.0")).parent
    out = run(tmp_path / "program", env={"LD_LIBRARY_PATH": str(library)} if not static else {})
    version = run("pkg-config", "--modversion", "libmote", env=env).strip()
    assert out == f"{version} io 42 7\n"


def test_ioctls_are_those_of_a_bare_program():
    """Running, answering an exit and reading the registers after one."""
    rows = {}
    for line in run(TREE / "bench/exits-lib", "kvm", "20000").splitlines():
        if "not usable" in line:
            pytest.skip(f"no usable /dev/kvm: {line}")
        words = line.rsplit(maxsplit=7)
        if len(words) == 8:
            rows[words[0].strip()] = words[1:]
    exit_count, read_count = 4, 6
    for column in exit_count, read_count:
        assert rows["kvm"][column] == rows["bare KVM"][column] == "1.00"
