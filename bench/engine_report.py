"""What bench/engine makes of its measurements: medians, ratios, means and tables."""
import os
import pathlib
import statistics
import time

# Means: what counts, whether the figure is mote/native (low is good) or TCG/mote (high is
# good), what is required and what is aimed at.
MEANS = [
    ("integer, branches, indirect, memory", "cpu", "mote/native", 2.2, 1.5),
    ("FP and SIMD", "fp", "mote/native", 2.3, 1.2),
    ("system calls, fork, exec, faults, pipes", "system", "tcg/mote", 2.5, 5),
    ("boot", "boot", "tcg/mote", 3, 5),
    ("all", "all", "tcg/mote", 4, 6),
]
IDLE_REQUIRED = 0.01            # of a processor
MEMORY_REQUIRED, MEMORY_AIM = 64, 32  # MiB


class Load:
    """How many processors others used since then."""

    def __init__(self):
        self.begin = time.monotonic(), self.busy(), self.reaped()

    @staticmethod
    def busy():
        """Seconds that all processors were not idle."""
        fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        return sum(int(x) for i, x in enumerate(fields) if i not in (3, 4)) \
            / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def reaped():
        return sum(os.times()[:4])

    def others(self, own):
        """own: seconds of children that have not been waited for."""
        wall, busy, reaped = (now - then for now, then in zip(
            (time.monotonic(), self.busy(), self.reaped()), self.begin))
        return max(0, (busy - reaped - own) / wall)


def runs_of(entries):
    """{contestant: its runs in ns}, without those that are wrong."""
    return {name: e["ns"] for name, e in entries.items()
            if e.get("ns") and not e.get("wrong") and "failed" not in e}


def ratio(a, b):
    """The median of the ratios of two contestants' runs that followed each other, since the
    host may be faster or slower in the next minute."""
    return statistics.median(x / y for x, y in zip(a, b)) if a and b else None


def ratios_of(result):
    """[(group, {"mote/native": ..., "tcg/mote": ...})] of workloads, and boot."""
    rows = [(row["group"], runs_of(row["contestants"])) for row in result["workloads"].values()]
    if "boot" in result:
        rows.append(("boot", runs_of(result["boot"])))
    return [(group, {f"{a}/{b}": ratio(runs[a], runs[b]) for a in runs for b in runs if a != b})
            for group, runs in rows]


def mean(ratios, group, which):
    """Geometric, and of how many."""
    values = [r[which] for g, r in ratios if group in (g, "all") and r.get(which)]
    return (statistics.geometric_mean(values), len(values)) if values else (None, 0)


def summarize(result, earlier=None):
    """Adds medians and means, and what was in another result."""
    for row in result["workloads"].values():
        row["medians"] = {name: statistics.median(runs)
                          for name, runs in runs_of(row["contestants"]).items()}
    ratios = ratios_of(result)
    for name, row in (earlier or {}).get("workloads", {}).items():
        if name in result["workloads"]:
            runs = runs_of(row["contestants"])
            result["workloads"][name]["was"] = ratio(runs.get("mote"), runs.get("native"))
    result["means"] = {}
    for title, group, which, required, aim in MEANS:
        value, count = mean(ratios, group, which)
        others = {other: mean(ratios, group, other)[0]
                  for other in ("mote/native", "tcg/native", "mote-interp/native", "tcg/mote",
                                "tcg/mote-interp")}
        was = (earlier or {}).get("means", {}).get(title, {}).get("value")
        result["means"][title] = {"was": was, "which": which, "value": value, "count": count,
                                  "required": required, "aim": aim,
                                  "others": {k: v for k, v in others.items() if v}}


def time_text(ns):
    for unit, size in ("s", 1e9), ("ms", 1e6), ("us", 1e3):
        if ns >= size:
            return f"{ns / size:.3g} {unit}" if ns < 1e3 * size else f"{ns / size:.0f} {unit}"
    return f"{ns:.3g} ns"


def ratio_text(value):
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def verdict(value, required, aim, high):
    if value is None:
        return ""
    met = (value >= required, value >= aim) if high else (value <= required, value <= aim)
    return "aim met" if met[1] else "required met" if met[0] else "not met"


def columns(others):
    """Pairs of contestants of which the table has the ratio."""
    return [(name, "native") for name in others] + \
        [("tcg", name) for name in others if name != "tcg" and "tcg" in others]


def print_workloads(result):
    pairs = columns(result["contestants"])
    print(f"{'workload':14}{'each time':17}{'native':>9}"
          + "".join(f"{f'{a}/{b}':>{len(a + b) + 3}}" for a, b in pairs))
    for name, row in result["workloads"].items():
        got, runs = row["medians"], runs_of(row["contestants"])
        line = f"{name:14}{row['unit']:17}{time_text(got['native']) if 'native' in got else '-':>9}"
        for a, b in pairs:
            line += f"{ratio_text(ratio(runs.get(a), runs.get(b))):>{len(a + b) + 3}}"
        if "was" in row:
            line += f"  mote/native was {ratio_text(row['was'])}"
        for who, entry in row["contestants"].items():
            if "lacks" in entry:
                line += f"  {who} lacks {entry['lacks']}"
            elif "failed" in entry:
                line += f"  {who} FAILED"
            elif "unsure" in entry:
                line += f"  {who}: CLOCK WRONG"
            elif entry.get("wrong"):
                line += f"  {who}: WRONG CHECKSUM"
        print(line)


def print_boot(boot):
    print(f"\n{'boot to init':16}{'wall s':>9}{'minimum':>9}{'CPU s':>9}{'without waiting s':>19}")
    for name, times in boot.items():
        print(f"{name:16}{statistics.median(times['wall']):9.2f}{min(times['wall']):9.2f}"
              f"{statistics.median(times['cpu']):9.2f}{statistics.median(times['ns']) / 1e9:19.2f}")
    for name in boot:
        if name != "tcg" and "tcg" in boot:
            wall, cpu, ns = (ratio(boot["tcg"][k], boot[name][k]) for k in ("wall", "cpu", "ns"))
            print(f"{'tcg/' + name:16}{ratio_text(wall):>9}{'':9}{ratio_text(cpu):>9}"
                  f"{ratio_text(ns):>19}")


def print_means(result):
    if not any(m["count"] for m in result["means"].values()):
        return
    print(f"\n{'geometric means':42}{'of':>3}  {'':12}{'':>7}{'required':>9}{'aim':>6}")
    for title, m in result["means"].items():
        if not m["count"]:
            continue
        more = ", ".join(f"{k} {ratio_text(v)}" for k, v in m["others"].items()
                         if k != m["which"])
        print(f"{title:42}{m['count']:3}  {m['which']:12}{ratio_text(m['value']):>7}"
              f"{m['required']:9}{m['aim']:6}  "
              f"{verdict(m['value'], m['required'], m['aim'], m['which'] == 'tcg/mote')}"
              + (f" ({more})" if more else "")
              + (f", was {ratio_text(m['was'])}" if m["was"] else ""))


def print_idle(result):
    if "idle" not in result:
        return
    print(f"\n{'idle guest':16}{'of one processor':>18}"
          + f"{'MiB beside RAM':>17}{'MiB of RAM':>12}" + f"{'at the end':>17}{'of RAM':>12}")
    for name, share in result["idle"].items():
        memory = result["memory"][name]
        after = result.get("memory after", {}).get(name)
        beside = memory["beside"]
        print(f"{name:16}{100 * share:17.2f}%{beside:17.1f}{memory['ram']:12.1f}"
              + (f"{after['beside']:17.1f}{after['ram']:12.1f}" if after else f"{'-':>17}{'-':>12}")
              + ("" if name == "tcg" else
                 f"  idle {'met' if share < IDLE_REQUIRED else 'not met'} (below 1%), memory "
                 f"{verdict(beside, MEMORY_REQUIRED, MEMORY_AIM, False)} "
                 f"({MEMORY_REQUIRED} MiB, aim {MEMORY_AIM})"))


def print_result(cpus, facts, result):
    print(f"\n== {cpus} processor{'s' * (cpus > 1)}: {facts['kernel']}, {facts['memory']}, "
          f"{facts['runs']} runs of {facts['seconds']} s each, interleaved, medians")
    if result["workloads"]:
        print_workloads(result)
    if "boot" in result:
        print_boot(result["boot"])
    print_means(result)
    print_idle(result)
    wrong = [f"{name} {100 * error:+.1f}%" for name, error in
             result.get("clock errors", {}).items() if abs(error) > 0.005]
    if wrong:
        print(f"\nguests' clocks are wrong, which is taken off: {', '.join(wrong)}")
    if "load" in result:
        print(f"\nothers used {result['load']:.1f} of this host's {os.cpu_count()} processors "
              "meanwhile")
    for trouble in result["troubles"]:
        print(f"TROUBLE: {trouble}")
