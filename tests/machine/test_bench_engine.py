"""bench/engine: that it measures, that it notices what is wrong, and what it makes of figures."""
import json
import shutil
import sys

import pytest

import machine

sys.path.append(str(machine.TREE / "bench"))

import engine_report
import memory

ENGINE = machine.TREE / "bench/engine"
PROGRAM = machine.TREE / "build/release/guests/bench/bench-engine"


@pytest.fixture(scope="module", autouse=True)
def program():
    if not PROGRAM.exists():
        pytest.skip(f"no {PROGRAM}")


def names():
    return [line.split()[0] for line in machine.execute([PROGRAM, "list"], check=True)
            .out.splitlines()]


def test_every_iteration_is_alike():
    """So that runs of different length can be compared; this host lacks nothing but a compiler."""
    for name in names():
        one, two = (machine.execute([PROGRAM, name, count], check=True).out.split()
                    for count in (1, 2))
        if one[1] == "lacks":
            assert one == two and (name == "compile" or one[2].startswith("avx")), one
        else:
            assert [one[0], one[2]] == [two[0], two[2]] and int(one[1]) > 0, (one, two)
            falsified = machine.execute([PROGRAM, name, 1, "wrong"], check=True).out.split()
            assert falsified[2] != one[2], name


def test_engine_measures_and_compares(kernel, tmp_path):
    contestants = ["mote"] + ["tcg"] * bool(shutil.which("qemu-system-x86_64"))
    argv = [ENGINE, "--quick", "--contestants", ",".join(contestants), "--json", tmp_path / "out"]
    done = machine.execute([*argv, "--only", "crc,getppid,poly,idle"],
                           seconds=3 * machine.BOOT_SECONDS)
    assert done.status == 0, done
    got = json.loads((tmp_path / "out").read_text())["cpus"]["1"]
    assert list(got["workloads"]) == ["crc", "poly", "getppid"]
    for row in got["workloads"].values():
        entries = row["contestants"]
        assert list(entries) == ["native", *contestants], row
        assert len({entry["checksum"] for entry in entries.values()}) == 1, row
        # Nothing was done, or not timed, when it is far faster than the host.
        assert row["medians"]["mote"] > row["medians"]["native"] / 10 > 0, row
    assert got["memory"]["mote"]["ram"] > 20 and got["memory"]["mote"]["beside"] > 1, got
    assert 0 <= got["idle"]["mote"] < 0.5, got

    done = machine.execute([*argv, "--only", "crc,poly", "--fail", "poly"],
                           seconds=3 * machine.BOOT_SECONDS)
    assert done.status == 1, done
    for contestant in contestants:
        assert f"TROUBLE: poly: the checksum of {contestant} is" in done.out, done
    assert "TROUBLE: crc" not in done.out, done
    got = json.loads((tmp_path / "out").read_text())["cpus"]["1"]
    assert list(got["workloads"]["poly"]["medians"]) == ["native"], got
    assert got["means"]["FP and SIMD"]["count"] == 0, got


def entry(*ns, **more):
    return {"ns": list(ns), **more}


def test_means():
    """Of runs that followed each other, geometric, without what is wrong or missing."""
    def row(group, **contestants):
        return {"group": group, "unit": "", "contestants": contestants}
    result = {"contestants": ["mote", "tcg"], "workloads": {
        # The host was three times as slow in the second run.
        "a": row("cpu", native=entry(1, 3, 1), mote=entry(2, 6, 2), tcg=entry(4, 12, 5)),
        "b": row("cpu", native=entry(1), mote=entry(8), tcg=entry(8)),
        "c": row("cpu", native=entry(1), mote=entry(500, wrong=True), tcg=entry(8)),
        "d": row("fp", native=entry(1), mote={"lacks": "avx2"}, tcg=entry(8)),
        "e": row("system", native=entry(1), mote=entry(3), tcg=entry(6)),
    }, "boot": {"mote": entry(2e9), "tcg": entry(8e9)}}
    engine_report.summarize(result)
    means = {title: (mean["value"] and round(mean["value"], 6), mean["count"])
             for title, mean in result["means"].items()}
    assert means == {
        "integer, branches, indirect, memory": (4, 2), "FP and SIMD": (None, 0),
        "system calls, fork, exec, faults, pipes": (2, 1), "boot": (4, 1),
        "all": (2, 4)}, means
    assert engine_report.verdict(2, 2.2, 1.5, False) == "required met"
    assert engine_report.verdict(2.3, 2.2, 1.5, False) == "not met"
    assert engine_report.verdict(5, 2.5, 5, True) == "aim met"


def mapping(start_mib, mib, resident=0, file=""):
    made = memory.Mapping(f"{start_mib << 20:x}", f"{start_mib + mib << 20:x}", "rw-p", file)
    made.resident = resident
    return made


def test_ram_is_told_from_its_neighbours():
    """The first MiB may be an allocation's before it, which the kernel merged into it."""
    head, ram = mapping(1000, 2), mapping(1002, 254)
    other = [mapping(100, 600, file="/memfd:x"), mapping(990, 5), mapping(1256, 2)]
    assert memory.find_ram([*other[:2], head, ram, other[2]], 256) == [head, ram]
    merged = mapping(950, 52)
    assert memory.find_ram([other[0], merged, ram, other[2]], 256) == [merged, ram]
    with pytest.raises(RuntimeError):
        memory.find_ram([head, mapping(1003, 254)], 256)
