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


def ratio(a, b):
    return a / b if a is not None and b else None


def medians(row):
    """{contestant: median ns}, without those that are wrong."""
    return {name: statistics.median(e["ns"]) for name, e in row["contestants"].items()
            if e.get("ns") and not e.get("wrong") and "failed" not in e}


def ratios_of(result):
    """[(group, {"mote/native": ..., "tcg/mote": ...})] of workloads, and boot."""
    found = []
    for row in result["workloads"].values():
        got = medians(row)
        found.append((row["group"], {f"{a}/{b}": ratio(got.get(a), got.get(b))
                                     for a in got for b in got if a != b}))
    boot = {name: statistics.median(times["wall"])
            for name, times in result.get("boot", {}).items()}
    if boot:
        found.append(("boot", {f"{a}/{b}": ratio(boot[a], boot[b])
                               for a in boot for b in boot if a != b}))
    return found


def mean(ratios, group, which):
    """Geometric, and of how many."""
    values = [r[which] for g, r in ratios if group in (g, "all") and r.get(which)]
    return (statistics.geometric_mean(values), len(values)) if values else (None, 0)


def summarize(result):
    """Adds medians and means."""
    for row in result["workloads"].values():
        row["medians"] = medians(row)
    ratios = ratios_of(result)
    result["means"] = {}
    for title, group, which, required, aim in MEANS:
        value, count = mean(ratios, group, which)
        others = {other: mean(ratios, group, other)[0]
                  for other in ("mote/native", "tcg/native", "mote-interp/native", "tcg/mote",
                                "tcg/mote-interp")}
        result["means"][title] = {"which": which, "value": value, "count": count,
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
        got = row["medians"]
        line = f"{name:14}{row['unit']:17}{time_text(got['native']) if 'native' in got else '-':>9}"
        for a, b in pairs:
            line += f"{ratio_text(ratio(got.get(a), got.get(b))):>{len(a + b) + 3}}"
        for who, entry in row["contestants"].items():
            if "lacks" in entry:
                line += f"  {who} lacks {entry['lacks']}"
            elif "failed" in entry:
                line += f"  {who} FAILED"
            elif entry.get("wrong"):
                line += f"  {who}: WRONG CHECKSUM"
        print(line)


def print_boot(boot):
    print(f"\n{'boot to init':24}{'wall s':>9}{'minimum':>9}{'CPU s':>9}")
    for name, times in boot.items():
        print(f"{name:24}{statistics.median(times['wall']):9.2f}{min(times['wall']):9.2f}"
              f"{statistics.median(times['cpu']):9.2f}")
    if "tcg" in boot:
        for name in boot:
            if name != "tcg":
                wall, cpu = (ratio(statistics.median(boot["tcg"][k]),
                                   statistics.median(boot[name][k])) for k in ("wall", "cpu"))
                print(f"{'tcg/' + name:24}{ratio_text(wall):>9}{'':9}{ratio_text(cpu):>9}")


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
              + (f" ({more})" if more else ""))


def print_idle(result):
    if "idle" not in result:
        return
    print(f"\n{'idle guest':24}{'of one processor':>18}{'MiB beside RAM':>18}{'MiB of RAM':>14}")
    for name, share in result["idle"].items():
        memory = result["memory"][name]
        beside = memory["beside"] / 1024
        print(f"{name:24}{100 * share:17.2f}%{beside:18.1f}{memory['ram'] / 1024:14.1f}"
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
    if "load" in result:
        print(f"\nothers used {result['load']:.1f} of this host's {os.cpu_count()} processors "
              "meanwhile")
    for trouble in result["troubles"]:
        print(f"TROUBLE: {trouble}")


def print_counters(values):
    for name, value in values.items():
        print(f"  {name:40}{value:16}")
    parts = {name: value for name, value in values.items()
             if name.startswith("instructions") and ("interpreted" in name or "translated" in name)}
    total = sum(parts.values())
    if len(parts) == 2 and total > 0:
        print("  " + ", ".join(f"{name}: {100 * value / total:.2f}%"
                               for name, value in parts.items()))
