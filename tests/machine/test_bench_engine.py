"""bench/engine: that it measures, that it notices what is wrong, and what it makes of figures."""
import json
import re
import shutil
import sys

import pytest

import machine

sys.path.append(str(machine.TREE / "bench"))

import contestant
import engine_report
import engine_shares
import guest
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
    for _ in range(5):  # a busy host may spoil what is so short
        done = machine.execute([*argv, "--only", "crc,getppid,poly,idle"],
                               seconds=3 * machine.BOOT_SECONDS)
        if done.status == 1 and re.search(r"TROUBLE: .*clock|CLOCK WRONG", done.out):
            continue
        assert done.status == 0, done
        got = json.loads((tmp_path / "out").read_text())["cpus"]["1"]
        assert list(got["workloads"]) == ["crc", "poly", "getppid"]
        for row in got["workloads"].values():
            entries = row["contestants"]
            assert list(entries) == ["native", *contestants], row
            assert len({entry["checksum"] for entry in entries.values()}) == 1, row
        medians = [row["medians"] for row in got["workloads"].values()]
        # Nothing was done, or not timed, when it is far faster than the host.
        fast = [row for row in medians if not row["mote"] > row["native"] / 10 > 0]
        if not fast and got["idle"]["mote"] < 0.5:
            break
    assert done.status == 0 and not fast, done
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


class Clocked(contestant.Contestant):
    """Requests take half a second of the host's; rates: how fast the guest's clock goes in each."""

    def __init__(self, *rates):
        self.name, self.argv, self.rate = "guest", ["guest"], 1
        self.rates, self.asked = list(rates), 0
        self.host = self.guest = 1e12

    def read_clock(self):
        self.host += 2e6
        self.guest += 2e6 * self.rate
        return self.host - 2e6, self.guest, self.host

    def ask(self, request, seconds=0):
        self.asked += 1
        self.host += 5e8
        self.guest += 5e8 * self.rates.pop(0)
        return request


def test_runs_with_a_wrong_clock_are_refused():
    even = Clocked(1.01)
    assert even.measure("crc 3") == "crc 3" and even.asked == 1
    late = Clocked(0.4, 1)
    assert late.measure("crc 3") == "crc 3" and late.asked == 2
    still = Clocked(0, 0.5, 0.9, 1)
    with pytest.raises(contestant.Unsure, match="went at 0.90 of the host's"):
        still.measure("crc 3")
    fast = Clocked(1.1, 1.2, 1.3)
    with pytest.raises(contestant.Unsure, match="at 1.29"):
        fast.measure("crc 3")


def test_a_guest_without_a_clock_is_refused(monkeypatch):
    class Ticking(contestant.Contestant):
        def boot(self):
            clocks.append(1)
            return "refined-jiffies" if len(clocks) < 3 else "tsc"

        def close(self):
            pass
    clocks = []
    Ticking("tcg", ["qemu"], 1)
    assert len(clocks) == 3
    clocks = []
    monkeypatch.setattr(contestant, "BOOTS", 2)
    with pytest.raises(contestant.Unsure, match="refined-jiffies"):
        Ticking("tcg", ["qemu"], 1)
    assert re.fullmatch(r"tsc=reliable tsc_early_khz=\d{6,7}", guest.told_clock())


def test_what_is_unsure_counts_in_no_mean(capsys):
    result = {"contestants": ["mote", "tcg"], "troubles": [], "workloads": {
        "a": {"group": "cpu", "unit": "", "contestants": {
            "native": entry(1), "mote": entry(2), "tcg": {"unsure": "its clock stands still"}}}}}
    engine_report.summarize(result)
    engine_report.print_workloads(result)
    assert result["means"]["all"]["others"] == {"mote/native": 2}
    assert "tcg: CLOCK WRONG" in capsys.readouterr().out


def test_shares_of_counters(capsys):
    """Of instructions by tier, of time by part; what is above a thousandth is told by opcode."""
    stats = """accelerator soft, 3 s
instructions: 1000000
instructions interpreted from translated code: 1500
... as their checks failed: 900
instructions of blocks not translated: 500
single instructions: 0
us in translated code: 600
us in the interpreter from translated code: 100
us in blocks not translated: 100
us in decoding and translating: 200
not translated: f3 0f ae /1: 600
check failed: 8b /2: 900
"""
    got = engine_shares.analyse(engine_shares.counters(stats))
    assert got["interpreted"] == pytest.approx(0.002)
    assert got["tiers"]["checks failed"] == pytest.approx(0.0009)
    assert got["parts"]["code"] == 0.6 and got["parts"]["interpreter"] == 0.2
    assert got["by opcode"] == {"not translated": {"f3 0f ae /1": 0.0006},
                                "check failed": {"8b /2": 0.0009}}
    base = engine_shares.counters(stats.replace(": 1500", ": 1200"))
    less = engine_shares.analyse({**engine_shares.less(engine_shares.counters(stats), base),
                                  "instructions": 1000000})
    assert less["interpreted"] == pytest.approx(0.0003)
    engine_shares.print_rows({"x": {**got, "iterations": 1}, "y": {**less, "iterations": 1}}, [])
    out = capsys.readouterr().out
    assert out.count("ABOVE 0.1%") == 1 and "x: 0.200% of instructions interpreted" in out


def test_shares_of_machines(kernel, tmp_path):
    argv = [ENGINE, "--shares", "--quick", "--only", "crc", "--json", tmp_path / "out"]
    parts = "code", "interpreter", "translating", "TLB misses", "events", "exits, devices"
    for _ in range(5):  # a host that takes the processor away for seconds lengthens one part
        done = machine.execute(argv, seconds=3 * machine.BOOT_SECONDS)
        assert done.status == 0, done
        rows = json.loads((tmp_path / "out").read_text())["shares"]
        assert list(rows) == ["boot", "crc"]
        for row in rows.values():
            assert row["instructions"] > 1e7 and 0 < row["interpreted"] < 0.05, row
            assert sum(row["parts"].values()) == pytest.approx(1), row
        assert 0.1 < rows["boot"]["seconds"] < machine.BOOT_SECONDS, rows
        told = all(0.0001 < rows["boot"]["parts"][part] < 0.95 for part in parts)
        if told:
            break
    assert told, rows


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
