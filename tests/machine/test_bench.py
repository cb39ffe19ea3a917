"""What the benchmarks make of recordings; nothing is measured."""
import json
import os
import re
import subprocess

import pytest

import machine

STEPS = machine.TREE / "bench/steps"


def recording(scale):
    """Steps of 1, 2, 3 ... times scale us."""
    names = ["process start", "read kernel", "load kernel", "read initrd", "start", "guest ready",
             "guest exit", "clean-up"]
    ns = [(i + 1) * 1000 * scale for i in range(len(names))]
    return json.dumps({"runs": 1, "steps": [
        {"name": name, "ns": ns[i], "rss": 1024 * (i + 1) * scale}
        for i, name in enumerate(names)]})


def test_steps_from_a_file(tmp_path):
    """Medians of three; between the recordings may be anything."""
    path = tmp_path / "saved"
    path.write_text(f"{{not json}}\n{recording(1)} noise {recording(9)}\n{recording(2)}\n")
    done = machine.execute([STEPS, "--from", path], check=True)
    table = {line[:32].strip(): line[32:].split() for line in done.out.splitlines()}
    assert table["load kernel"] == ["6.0", "12.0", "6"], done
    assert table["before the guest is entered"] == ["30.0"], done
    assert table["the same without reading files"] == ["18.0"], done
    assert table["guest, entered to ready"] == ["12.0"], done
    assert table["guest, ready to its end"] == ["14.0"], done
    assert table["clean-up"] == ["16.0"], done


def test_steps_from_a_file_without_any(tmp_path):
    path = tmp_path / "saved"
    path.write_text('{"other": 1}\n')
    done = machine.execute([STEPS, "--from", path])
    assert done.status == 1 and "no recording" in done.err, done


def test_exits_are_counted(tmp_path):
    """What bench/exits puts into a VMM counts what mote's own --stats count."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no usable /dev/kvm")
    library, counts = tmp_path / "count.so", tmp_path / "counts"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library,
                    machine.TREE / "bench/exits-count.c"], check=True)
    done = machine.execute(
        ["env", f"LD_PRELOAD={library}", f"EXITS_FILE={counts}", machine.MOTE, "run", "--accel",
         "kvm", "--debug-exit", "--stats", "--timeout", machine.BOOT_SECONDS, "--kernel",
         machine.TREE / "build/release/guests/first-byte/first-byte-exit"])
    if "ERROR: ld.so" in done.err or "AddressSanitizer" in done.err:
        pytest.skip("a sanitizer's library must come first")
    lines = [line.split() for line in counts.read_text().splitlines()]
    io = sorted((where, write, count) for _, reason, where, write, count in lines
                if reason == "2")
    assert io == [("0x3f8", "1", "1"), ("0xf4", "1", "1")], (done, lines)
    assert re.search(r"^exits io +2$", done.err, re.M), done
