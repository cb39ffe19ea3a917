"""Steal time: two busy processors that share one of the host's see that each gets half."""
import os

import machine
from machine import OFF

# Linux counts in its ticks: user nice system idle iowait irq softirq steal.
SCRIPT = """
read -r _ before </proc/stat
for n in 1 2; do while :; do :; done & done
sleep 4
read -r _ after </proc/stat
echo "== before"; echo $before
echo "== after"; echo $after
echo "== end"
"""
STEAL = 7


def test_busy_processors(kernel, script):
    cpu = min(os.sched_getaffinity(0))
    done = machine.run_linux(kernel, script(SCRIPT), "--cpus", "2",
                             preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
    assert done.status == OFF, done
    told = machine.sections(done.out)
    before, after = ([int(n) for n in told[name].split()] for name in ("before", "after"))
    spent = [b - a for a, b in zip(before, after)]
    assert spent[STEAL] > sum(spent) * 0.3, done
