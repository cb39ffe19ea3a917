"""What mote's own counters (mote run --stats) say of each workload of bench/engine: which tier
of the engine did how many of its instructions, and what its time went to."""
import re

from contestant import Contestant, Failed, Lacks

SECONDS, QUICK_SECONDS = 3, 0.3
BASES = 3        # boots, whose median time is taken off
NOTABLE = 0.001  # of the instructions, by the interpreter
SHOWN = 6        # instructions of each kind

# Of a table: the heading, and the counters that it is the sum of.
TIERS = [
    ("from translated", ["instructions interpreted from translated code"]),
    ("checks failed", ["... as their checks failed"]),  # of the former
    ("not translated yet", ["instructions of blocks not translated"]),
    ("singly", ["single instructions"]),
]
INTERPRETED = ["from translated", "not translated yet", "singly"]
PARTS = [
    ("code", ["us in translated code"]),
    ("interpreter", ["us in the interpreter from translated code", "us in blocks not translated",
                     "us in single instructions"]),
    ("checks failed", ["us in the interpreter as checks failed"]),
    ("translating", ["us in decoding and translating"]),
    ("TLB misses", ["us in misses of the TLB"]),
    ("events", ["us in delivering events"]),
    ("between", ["us between blocks"]),
    ("exits, devices", ["us in exits and devices"]),
]


def counters(text):
    """{name: value} of the lines "name: value" that --stats prints."""
    return {name: int(value) for name, value in re.findall(r"^([a-z.][^\n]*): (\d+)$", text, re.M)}


def less(values, base):
    """Not less than none, since the base took as long as it did with other neighbours."""
    return {name: max(0, value - base.get(name, 0)) for name, value in values.items()}


def shares_of(values, columns, total):
    return {title: sum(values.get(name, 0) for name in names) / max(1, total)
            for title, names in columns}


def analyse(values):
    """{"instructions", "tiers", "interpreted", "seconds", "parts", "by opcode"}"""
    instructions = values["instructions"]
    tiers = shares_of(values, TIERS, instructions)
    interpreted = sum(tiers[title] for title in INTERPRETED)
    us = sum(values.get(name, 0) for _, names in PARTS for name in names)
    found = {kind: sorted(((value, name.split(": ", 1)[1]) for name, value in values.items()
                           if name.startswith(f"{kind}: ") and value > 0), reverse=True)[:SHOWN]
             for kind in ("not translated", "check failed")}
    return {"instructions": instructions, "tiers": tiers, "interpreted": interpreted,
            "seconds": us / 1e6, "parts": shares_of(values, PARTS, us),
            "by opcode": {kind: {name: value / max(1, instructions) for value, name in which}
                          for kind, which in found.items()}}


def run_one(argv, workload, seconds):
    """The counters of a machine that ran it, or nothing, and of how many iterations."""
    contestant = Contestant("mote", argv, 1)
    iterations = 0
    try:
        if workload:
            iterations = contestant.calibrate(workload, seconds, alone=True)
            contestant.ask(f"{workload} {iterations}")
    except BaseException:
        contestant.close()
        raise
    got = counters(contestant.end())
    if "us in translated code" not in got:
        raise Failed("mote --stats printed no counters, or none of time")
    return got, iterations


def measure(argv, workloads, quick, progress):
    """{workload, or "boot" for what comes before all: what analyse() gives}, [what failed]"""
    bases = [run_one(argv, None, 0)[0] for _ in range(1 if quick else BASES)]
    base = sorted(bases, key=lambda values: analyse(values)["seconds"])[len(bases) // 2]
    rows, troubles = {"boot": {**analyse(base), "iterations": 1}}, []
    for workload in workloads:
        try:
            got, iterations = run_one(argv, workload.name, QUICK_SECONDS if quick else SECONDS)
        except Lacks as why:
            progress(f"{workload.name}: lacks {why}")
            continue
        except Failed as why:
            troubles.append(f"{workload.name}: {why}")
            continue
        rows[workload.name] = {**analyse(less(got, base)), "iterations": iterations}
        progress(f"{workload.name:14} {100 * rows[workload.name]['interpreted']:.3f}% interpreted")
    return rows, troubles


def percent(share):
    return "-" if share < 5e-7 else f"{100 * share:.4f}" if share < 1e-3 else \
        f"{100 * share:.3f}" if share < 0.01 else f"{100 * share:.2f}"


def print_table(titles, rows, more):
    """more: {title: function of a row} in front of the columns."""
    print(f"{'workload':14}" + "".join(f"{title:>{len(title) + 3}}" for title in more)
          + "".join(f"{title:>{max(7, len(title)) + 3}}" for title in titles))
    for name, row in rows:
        print(f"{name:14}" + "".join(f"{of(row):>{len(title) + 3}}" for title, of in more.items())
              + "".join(f"{percent(row['shares'][title]):>{max(7, len(title)) + 3}}"
                        for title in titles) + row.get("note", ""))


def print_rows(rows, troubles):
    print("\ninstructions: % of them by tier; `checks failed` is part of `from translated`")
    tiers = [(name, {**row, "shares": {"translated": max(0, 1 - row["interpreted"]),
                                       **row["tiers"]},
                     "note": "  ABOVE 0.1%" if row["interpreted"] > NOTABLE else ""})
             for name, row in rows.items()]
    print_table(["translated", *(title for title, _ in TIERS)], tiers,
                {"millions": lambda row: f"{row['instructions'] / 1e6:.0f}"})
    print("\ntime of the vCPU's thread: % by part")
    print_table([title for title, _ in PARTS],
                [(name, {**row, "shares": row["parts"]}) for name, row in rows.items()],
                {"seconds": lambda row: f"{row['seconds']:.2f}"})
    for name, row in rows.items():
        if row["interpreted"] <= NOTABLE:
            continue
        print(f"\n{name}: {100 * row['interpreted']:.3f}% of instructions interpreted"
              + (", which is all right for a boot" if name == "boot" else ""))
        for kind, which in row["by opcode"].items():
            for insn, share in which.items():
                print(f"  {kind:16}{insn:16}{percent(share):>10}%")
    for trouble in troubles:
        print(f"TROUBLE: {trouble}")
