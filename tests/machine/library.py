"""What the tests of libmote's manual and examples share."""
import os
import shutil

import pytest

import machine

BUILD = machine.MOTE.parent
LIBRARY = BUILD / "src/lib/libmote.so"
INCLUDE = machine.TREE / "include"

ACCELS = ["soft", "kvm"]


def need_accel(accel):
    if accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no usable /dev/kvm")


def is_emulated():
    """Does KVM run on an emulator? Then debug registers of a host's do not reach it."""
    return "ring 0 is emulated" in machine.mote("info").out


def compile_program(source, target, *arguments, compiler="cc"):
    """As a stranger would, warnings being errors."""
    done = machine.execute([compiler, "-Wall", "-Wextra", "-Werror", "-O1", "-o", target, source,
                            *arguments])
    assert done.status == 0 and not done.err, done
    return target


def link(source, target):
    """Against the library in the build."""
    return compile_program(source, target, "-pthread", f"-I{INCLUDE}", LIBRARY,
                           f"-Wl,-rpath,{LIBRARY.parent}")


def has(command):
    return shutil.which(command) is not None
