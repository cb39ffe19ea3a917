"""How long the steps of a life take, lives one after the other, and what they leave behind."""
import json
import os
import re
import xml.etree.ElementTree as ET

import pytest

import machine
from machine import FAILED, INPUT, OFF, USAGE

# long mode: the byte 123 to 0xd0000000 twice, then 0 to port 0xf4
READY = bytes.fromhex("bf000000d0c6077bc6077b31c0e6f4f4")
EXIT = bytes.fromhex("31c0e6f4f4")
DEBUG_EXIT = 1

COMMON = ("process start, options, host side, guest RAM, create VM, memory slot, vCPU, CPUID, devices, "
          "ACPI tables, read kernel, load kernel, boot parameters, vCPU thread, registers, start, "
          "guest ready, guest exit, clean-up").split(", ")
KVM = ("open device, TSS and identity map, irqchip, map run page, MSRs, segment registers, "
       "FPU and other state").split(", ")


@pytest.fixture(params=["soft", "kvm"])
def accel(request):
    if request.param == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no usable /dev/kvm")
    return request.param


@pytest.fixture
def tiny(flat, accel):
    """A function that runs a few bytes of long mode code, which end by the debug port."""
    return lambda code, *args: machine.mote("run", "--accel", accel, "--debug-exit", "--kernel",
                                            *flat(code, "long"), *args)


def json_line(err):
    return json.loads(next(line for line in err.splitlines() if line.startswith("{")))


def test_json_has_every_step(tiny, accel):
    done = tiny(READY, "--boot-timer", "--timings=json")
    assert done.status == DEBUG_EXIT, done
    got = json_line(done.err)
    names = [step["name"] for step in got["steps"]]
    assert sorted(names) == sorted(COMMON + (KVM if accel == "kvm" else [])), done
    assert names[0] == "process start" and names[-3:] == COMMON[-3:], done
    assert names.index("start") == len(names) - 4
    total = 0
    for step in got["steps"]:
        assert step["ns"] >= 0 and step["rss"] > 0 and step["min_ns"] == step["ns"], step
        total += step["ns"]
        assert step["total_ns"] == total, step
    assert got["runs"] == 1
    assert got["before_start_ns"] == got["steps"][names.index("start")]["total_ns"]
    assert got["reading_ns"] == got["steps"][names.index("read kernel")]["ns"]
    assert got["cleanup_ns"] == got["steps"][-1]["ns"]


def test_text(tiny):
    done = tiny(EXIT, "--timings")
    lines = done.err.splitlines()
    assert re.match(r"step +ms +total ms +RSS KiB$", lines[0]), done
    assert re.match(r"process start +\d+\.\d{3} +\d+\.\d{3} +\d+$", lines[1]), done
    assert re.match(r"clean-up +\d", lines[-2]), done
    assert re.search(r"^before the guest's first instruction \d+\.\d+ ms, without reading files "
                     r"\d+\.\d+ ms$", lines[-1]), done
    assert "guest ready" not in done.err


def test_nothing_without_the_option(tiny):
    assert tiny(READY).err == ""


def test_boot_timer_tells_once(tiny):
    done = tiny(READY, "--boot-timer")
    assert re.fullmatch(r"mote: guest ready after \d+\.\d{3} ms\n", done.err), done


def test_linux(kernel, script):
    done = machine.run_linux(kernel, script("poweroff -f"), "--timings=json", "--stats")
    assert done.status == OFF, done
    step = {s["name"]: s for s in json_line(done.err)["steps"]}
    for name in "read kernel", "load kernel", "read initrd", "load initrd", "guest exit":
        assert name in step, done
    assert step["guest exit"]["ns"] > step["start"]["ns"], done
    hwm, now, ram, beside = map(int, re.search(
        r"^memory: at most (\d+) KiB, now (\d+) KiB, guest RAM (\d+) KiB, "
        r"at most beside it (\d+) KiB$", done.err, re.M).groups())
    assert 32 << 10 < ram < now <= hwm and beside == hwm - ram, done
    # Neither the kernel's file nor the initrd's stays: the largest is the engine's cache of code.
    assert beside < 64 << 10, done


def test_large_files_leave_no_copy(folder, tmp_path):
    """A flat image of 48 MiB is in guest RAM and nowhere else."""
    image = tmp_path / "image"
    image.write_bytes(EXIT + os.urandom(48 << 20))
    done = machine.run(image, "--boot", "flat:0x100000:long", "--memory", "128M", "--debug-exit",
                       "--stats")
    assert done.status == DEBUG_EXIT, done
    ram, beside = map(int, re.search(r"guest RAM (\d+) KiB, at most beside it (\d+)",
                                     done.err).groups())
    assert ram >= 48 << 10 and beside < 16 << 10, done


# ---- one life after the other ----

def test_repeat(tiny):
    done = tiny(EXIT, "--repeat", "20", "--timings=json")
    assert done.status == DEBUG_EXIT, done
    a, b, threads = map(int, re.search(
        r"^mote: after run 2 and run 20: resident (\d+) and (\d+) KiB, "
        r"descriptors (?:\d+) and (?:\d+), threads \d and (\d+), mappings \d+ and \d+$",
        done.err, re.M).groups())
    assert b <= a + 64, done
    assert threads <= 2, done  # the kernel counts one that was joined for a moment longer
    got = json_line(done.err)
    assert got["runs"] == 20
    assert "process start" not in [s["name"] for s in got["steps"]]
    assert all(s["min_ns"] <= s["ns"] for s in got["steps"])


def test_repeat_table_has_median_and_least(tiny):
    done = tiny(EXIT, "--repeat", "3", "--timings")
    assert "runs 2 to 3: median and least" in done.err, done
    assert re.search(r"^vCPU +\d+\.\d+ +\d+\.\d+ +\d+\.\d+ +\d+$", done.err, re.M), done


def test_repeat_stops_at_a_failure(tiny):
    done = tiny(bytes.fromhex("0f0b"), "--repeat", "50")  # UD2 without an IDT
    assert done.status == machine.TRIPLE_FAULT, done
    machine.one_line(done.err)


@pytest.mark.parametrize("value", ["0", "x", "-1", "100001", ""])
def test_repeat_refuses(value):
    done = machine.run("/dev/null", f"--repeat={value}")
    assert done.status == USAGE and "expected a number from 1" in machine.one_line(done.err), done


# ---- traces and pictures ----

@pytest.fixture
def trace(flat, tmp_path):
    path = tmp_path / "trace.json"
    done = machine.run(*flat(READY, "long"), "--debug-exit", "--boot-timer",
                       f"--timings=trace:{path}")
    assert done.status == DEBUG_EXIT, done
    assert os.listdir(tmp_path).count("trace.json") == 1 and len(os.listdir(tmp_path)) == 2
    return path


def test_trace_has_complete_events(trace):
    events = json.loads(trace.read_text())
    assert {e["ph"] for e in events} == {"X"} and len({e["pid"] for e in events}) == 1
    assert len({e["tid"] for e in events}) == 2
    assert set(COMMON) == {e["name"] for e in events}
    end = 0
    for e in events:
        assert e["ts"] >= end - 0.001 and e["dur"] >= 0, e
        end = e["ts"] + e["dur"]


def test_trace_needs_a_place(flat, tmp_path):
    done = machine.run(*flat(EXIT, "long"), "--debug-exit", f"--timings=trace:{tmp_path}/no/file")
    assert done.status == FAILED and "no/file: cannot write" in machine.one_line(done.err), done
    full = machine.run(*flat(EXIT, "long"), "--debug-exit", "--timings=trace:/dev/full")
    assert full.status == FAILED and "/dev/full: cannot write" in machine.one_line(full.err), full
    assert not os.path.isfile("/dev/full")


def test_timings_refuses_other_forms():
    done = machine.run("/dev/null", "--timings=xml")
    assert done.status == USAGE and "trace:FILE" in machine.one_line(done.err), done


def texts(svg):
    return [t.text for t in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_timeline(trace, tmp_path):
    out = tmp_path / "out.svg"
    done = machine.mote("timeline", trace, "-o", out)
    assert done.status == OFF and done.out == "" and done.err == "", done
    words = texts(out.read_text())
    for name in COMMON:
        # Before the guest, and in the whole life.
        assert words.count(name) == (2 if name not in COMMON[-3:] else 1), name
    assert machine.mote("timeline", trace).out == out.read_text()


def test_timeline_draws_to_scale(tmp_path):
    """A set-up of 90 us is not squashed by a guest of 10 s."""
    path = tmp_path / "t.json"
    path.write_text(json.dumps([
        {"name": "read", "ph": "X", "ts": 0, "dur": 60}, {"name": "ignored", "ph": "i"},
        {"name": "start", "ph": "X", "ts": 60, "dur": 30},
        {"name": "guest exit", "ph": "X", "ts": 90, "dur": 1e7}]))
    svg = ET.fromstring(machine.mote("timeline", path).out)
    bars = [(b.find("{*}title").text, float(b.get("x")), float(b.get("width")))
            for b in svg.iter("{http://www.w3.org/2000/svg}rect")]
    assert [b[0] for b in bars] == ["read: 60.0 \u00b5s", "start: 30.0 \u00b5s", "read: 60.0 \u00b5s",
                                    "start: 30.0 \u00b5s", "guest exit: 10.00 s"]
    assert bars[0][2] == pytest.approx(2 * bars[1][2], rel=0.01)
    assert bars[1][1] == pytest.approx(bars[0][1] + bars[0][2], abs=0.02)
    assert bars[2][2] == 1 and bars[4][2] > 500


def test_timeline_escapes(tmp_path):
    path = tmp_path / "t.json"
    name = "<&\">\u0001\ufffe]]>\u00fc" + "\u00e9" * 100
    path.write_text(json.dumps({"traceEvents": [{"name": name, "ph": "X", "ts": 0, "dur": 0}]}))
    done = machine.mote("timeline", path)
    assert done.status == OFF, done
    assert any(t.startswith("<&\">??]]>\u00fc\u00e9") for t in texts(done.out)), done


BAD_TRACES = [
    (b"", "t.json:1:"), (b"[", "t.json:1:"), (b"{}", "an array"), (b"3", "t.json:1:"),
    (b"[]", "no complete events"), (b"[1]", "event 0"), (b'[{"ph":"X"}]', "'name'"),
    (b'[{"ph":1}]', "'ph'"), (b'[{"ph":"i"}]', "no complete events"),
    (b'[{"ph":"X","name":"a","ts":0}]', "'dur'"),
    (b'[{"ph":"X","name":"a","ts":"0","dur":1}]', "'ts'"),
    (b'[{"ph":"X","name":"a","ts":0,"dur":-1}]', "'dur'"),
    (b'[{"ph":"X","name":"a","ts":1e300,"dur":1}]', "'ts'"),
    (b'[{"ph":"X","name":"a","ts":1e999,"dur":1}]', "t.json:1:"),
    (b'[{"ph":"X","name":"\xff","ts":0,"dur":1}]', "t.json:1:"),
    (b'[{"ph":"X","name":"a\\u0000","ts":0,"dur":1}]', "t.json:1:"),
    (b"[" * 100000, "t.json:1:"), (b"[" + b"0," * 5000 + b"0]", "at most"),
    (b" " * (17 << 20), "MiB"),
]


@pytest.mark.parametrize("text, word", BAD_TRACES, ids=range(len(BAD_TRACES)))
def test_timeline_refuses(tmp_path, text, word):
    path = tmp_path / "t.json"
    path.write_bytes(text)
    out = tmp_path / "out.svg"
    done = machine.mote("timeline", path, "-o", out)
    assert done.status == INPUT and done.out == "" and not out.exists(), done
    assert re.fullmatch(r"mote: .*\n", done.err) and word in done.err, done


def test_timeline_usage(tmp_path):
    assert machine.mote("timeline").status == USAGE
    assert machine.mote("timeline", "a", "b").status == USAGE
    assert machine.mote("timeline", "--frob").status == USAGE
    assert machine.mote("timeline", "--help").out.startswith("Usage: mote timeline")
    missing = machine.mote("timeline", tmp_path / "no")
    assert missing.status == INPUT and "cannot open a trace" in missing.err
