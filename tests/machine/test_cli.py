"""Help, version, info, and ./try --script from the tree."""
import os
import re

import machine
from machine import OFF, USAGE


def test_version():
    done = machine.mote("--version")
    assert re.fullmatch(r"mote \d+\.\d+\.\d+\n", done.out) and done.status == OFF, done
    assert machine.mote("version").out == done.out


def test_help():
    done = machine.mote("--help")
    assert done.status == OFF and done.err == "", done
    for word in "run", "ctl", "timeline", "info", "Usage: mote":
        assert word in done.out
    assert machine.mote("help").out == done.out


def test_help_of_run_tells_every_option_and_status():
    done = machine.mote("run", "--help")
    assert done.status == OFF and done.err == "", done
    for option in ("kernel initrd cmdline memory cpus pin accel board console debug-exit timeout "
                   "dump-on-failure trace boot module control stats grace name timings repeat "
                   "boot-timer cpu help").split():
        assert f"--{option}" in done.out, option
    for status in range(10):
        assert re.search(rf"^  {status}  \S", done.out, re.M), status
    assert all(len(line) <= 100 for line in done.out.splitlines())
    assert machine.mote("help", "run").out == done.out


def test_wrong_options_are_named():
    for command in "run", "info", "ctl", "timeline":
        for option, what in (("--help=3", "option '--help=3' takes no value"),
                             ("-x", "unknown option '-x'"),
                             ("--nothing", "unknown or ambiguous option '--nothing'")):
            done = machine.mote(command, option)
            assert done.status == USAGE and done.out == "", done
            assert done.err == f"mote {command}: {what}; see 'mote {command} --help'\n", done


def test_lost_output_is_an_error():
    for args in ["--help"], ["--version"], ["info"], ["run", "--help"], ["ctl", "--help"]:
        with open("/dev/full", "wb") as full:
            done = machine.mote(*args, stdout=full)
        assert done.status == machine.FAILED, args
        machine.one_line(done.err)


def test_info_explains_the_choice():
    done = machine.mote("info")
    assert done.status == OFF and done.err == "", done
    verdict = {}
    for name, usable, reason in re.findall(
            r"^accelerator +(\w+) \(.*?\): (usable|not usable)(.*)$", done.out, re.M):
        verdict[name] = usable == "usable"
        assert usable == "usable" or len(reason) > 5, done
    assert set(verdict) == {"kvm", "soft"} and verdict["soft"], done
    chosen, why = re.search(r"^auto +(\w+): (.*)$", done.out, re.M).groups()
    assert verdict[chosen] and len(why) > 10, done
    if chosen == "soft":
        assert "not kvm: " in why, done
        if not os.path.exists("/dev/kvm"):
            assert "/dev/kvm" in why, done
    for word in "host CPU", "kernel", "memory":
        assert re.search(rf"^{word} +\S", done.out, re.M), done


def test_cpu_help_lists_models_and_what_the_accelerators_have():
    done = machine.mote("run", "--cpu", "help")
    assert done.status == OFF and done.err == "", done
    part = re.split(r"^(?=\w+ on this host:)", done.out, flags=re.M)
    assert [p.split()[0] for p in part] == ["Models:", "kvm", "soft"], done
    for name in "host", "x86-64-v2", "x86-64-v3", "x86-64-v4":
        assert re.search(rf"^  {name} +\S", part[0], re.M), name
        assert re.search(rf"^  {name} +(yes|no, lacks \w+)", part[2], re.M), name
    features = part[2].partition("  features:\n")[2].split()
    assert {"lm", "sse2", "kvmclock", "nx"} <= set(features) and "vmx" not in features
    # What soft says it lacks, it refuses by the same names.
    lacks = re.search(r"^  x86-64-v4 +no, lacks (.*)$", part[2], re.M)
    if lacks:
        refused = machine.mote("run", "--accel", "soft", "--cpu", "x86-64-v4", "--kernel",
                               machine.MOTE)
        assert refused.status == machine.ACCEL, refused
        assert machine.one_line(refused.err) == \
            f"--cpu x86-64-v4: soft on this host lacks {lacks.group(1)}"


def test_help_of_the_scripts():
    """Help, and a word about what is wrong, rather than an hour's work."""
    for script in "check", "try", ".ci/run", "tools/initramfs", "tools/fuzz":
        done = machine.execute([machine.TREE / script, "--help"])
        assert done.status == OFF and len(done.out) > 20 and done.err == "", done
        done = machine.execute([machine.TREE / script, "--frobnicate"])
        assert done.status == USAGE and done.out == "" and "--frobnicate" in done.err, done


def test_try_script(kernel):
    """MOTE_KERNEL spares a download that the fixture has made already."""
    os_env = {**os.environ, "MOTE_KERNEL": str(kernel)}
    try_ = machine.TREE / "try"
    uname = machine.execute([try_, "--script", "uname -a; poweroff -f"], env=os_env, stdin=None)
    assert uname.status == OFF, uname
    assert re.search(r"^Linux mote \d\S+ .* x86_64 ", uname.out, re.M), uname
    three = machine.execute([try_, "--script", "exit 3", "--", "--memory", "128M"], env=os_env)
    assert three.status == 3, three
    done = machine.execute([try_, "--frobnicate"], env=os_env)
    assert done.status == USAGE and "--frobnicate" in done.err, done
    done = machine.execute([try_, "--help"], env=os_env)
    assert done.status == OFF and "--script" in done.out, done
