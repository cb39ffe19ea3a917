"""
How the software engine runs code: interpreted, translated, and both compared block by block. A
guest's busybox computes the same on each.
"""
import machine

# The checked engine takes some fifty times as long as the translator.
CHECK_SECONDS = 2 * machine.BOOT_SECONDS

WORK = """
cd /tmp
echo "== work"
sum=0 n=0
while [ $n -lt 150 ]; do sum=$(((sum * 31 + n) & 0xffffff)); n=$((n + 1)); done; echo "sum $sum"
seq 1 400 >numbers
sha256sum numbers; md5sum numbers
gzip -c numbers | gzip -dc | cmp - numbers && echo gzip
bzip2 -c numbers | bzip2 -dc | cmp - numbers && echo bzip2
awk '{ s += $1 * $1; t += $1 / 7 } END { printf "%d %.9f\\n", s, t }' numbers
sort -r numbers | sort -n | uniq | md5sum
for word in one two three; do echo $word | sed s/e/x/ | tr x y; done
sh -c 'sh -c "echo deep"'
echo "== end"
poweroff -f
"""
EXPECTED = ["sum ", "gzip\n", "bzip2\n", "21413400 ", "ony\n", "deep\n"]


def work(kernel, folder, *args, seconds=machine.BOOT_SECONDS):
    """What the script prints."""
    initramfs = machine.make_script(folder / "engine.cpio", WORK)
    done = machine.run(kernel, "--initrd", initramfs, "--control", "--memory", "192M",
                       "--cmdline", "console=ttyS0 panic=-1 quiet",
                       "--timeout", seconds - 10, *args, seconds=seconds)
    parts = machine.sections(done.out)
    assert done.status == machine.OFF and "end" in parts, done
    for line in EXPECTED:
        assert line in parts["work"], done
    return parts["work"]


def test_the_engines_compute_the_same(kernel, tmp_path):
    interpreted = work(kernel, tmp_path, "--engine", "interp")
    assert work(kernel, tmp_path, "--engine", "translate") == interpreted
    assert work(kernel, tmp_path) == interpreted


def test_the_interpreter_agrees_with_each_block(kernel, tmp_path):
    work(kernel, tmp_path, "--engine-check", seconds=CHECK_SECONDS)


def test_an_engine_that_is_none(kernel):
    done = machine.run(kernel, "--engine", "nonsense")
    assert done.status == machine.USAGE, done
    assert machine.one_line(done.err).startswith("--engine: 'nonsense', expected translate or interp")


def test_one_processor_is_checked(kernel):
    done = machine.run(kernel, "--engine-check", "--cpus", 2)
    assert done.status != machine.OFF, done
    assert "expected 1 where engines are compared" in machine.one_line(done.err)


def test_kvm_has_no_engines(kernel):
    done = machine.mote("run", "--accel", "kvm", "--engine", "interp", "--kernel", kernel)
    assert done.status == machine.ACCEL, done
    assert "there is no engine to choose" in machine.one_line(done.err)
