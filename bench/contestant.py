"""Machines (and this one) that run guests/bench and are asked for one workload after the
other on their consoles; they idle in between."""
import os
import pathlib
import re
import selectors
import shutil
import subprocess
import time

import guest

PROGRAM = guest.TREE / "build/release/guests/bench/bench-engine"
CMDLINE = "console=ttyS0 panic=-1 quiet"
START_SECONDS = 900
REQUEST_SECONDS = 600
MOST_ITERATIONS = 10**9
BOOTS = 3               # until its kernel has found a clock
CLOCK_ATTEMPTS = 3      # at a run through which the clock went evenly
CLOCK_TOLERANCE = 0.03
FOLDER = "bench"  # of what the compiler needs, in the initramfs
SCRIPT = f"""
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
cd /
echo clocksource: $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)
BENCH_FILES=/{FOLDER} bench-engine serve
"""


class Failed(Exception):
    """A contestant died, was late, or said something else than a result."""


class Unsure(Failed):
    """Its clock does not go as it did when it was compared with the host's."""


class Lacks(Exception):
    """The machine lacks what the workload needs."""


def engine(interpreter):
    """The arguments that choose it; none when this mote has but one engine."""
    text = subprocess.run([guest.MOTE, "run", "--help"], capture_output=True, text=True,
                          check=True).stdout
    option = re.search(r"^  --engine(.*(?:\n {10}.*)*)", text, re.M)
    if not option:
        return []
    word = re.search(r"\binterp\w*" if interpreter else r"\btranslat\w*", option[1])
    if not word:
        raise Failed("mote run --help says nothing of this engine at --engine")
    return ["--engine", word[0]]


def machine(name, kernel, initrd, cpus, memory, extra=(), clock=True):
    """The argv of a contestant that is a machine; clock: it is needed, else it may be wrong."""
    if name == "tcg":
        return guest.fastest_tcg(kernel, initrd, cpus, memory,
                                 f"{CMDLINE} {guest.told_clock() if clock else ''}".strip())
    chosen = engine(interpreter=name == "mote-interp")
    if name == "mote-interp" and not chosen:
        raise Failed("this mote has no choice of engines")
    return [guest.MOTE, "run", "--accel", "soft", *chosen, "--cpus", str(cpus), "--memory", memory,
            "--kernel", str(kernel), "--initrd", str(initrd), "--cmdline", CMDLINE, *extra]


def compiler_files(to):
    """In the folder `to`: tcc, its loader and libraries, and program.c, preprocessed by it."""
    def package(*args):
        return guest.output(guest.TREE / "tools/get-package", *args)
    tcc, stb = package("tcc"), package("libstb-dev")
    for file in (f"{tcc}/usr/bin/tcc", *package("--libraries", "tcc").split()):
        shutil.copy(file, to)
    folders = [f"{tcc}/usr/lib/x86_64-linux-gnu/tcc/include", f"{stb}/usr/include/stb",
               "/usr/include", "/usr/include/x86_64-linux-gnu"]
    guest.output(to / "ld-linux-x86-64.so.2", "--library-path", to, to / "tcc", "-E", "-P",
                 "-nostdinc", *[f"-I{folder}" for folder in folders],
                 guest.TREE / "guests/bench/program.c", "-o", to / "program.c")
    return to


def make_initrd(path, files=None):
    """With bench-engine; files: a folder for BENCH_FILES."""
    added = [arg for file in sorted(files.iterdir()) for arg in ("--add", file,
                                                                f"{FOLDER}/{file.name}")
             ] if files else []
    return guest.make_script(path, SCRIPT, "--add", PROGRAM, "bin/bench-engine", *added)


class Contestant:
    """argv: the machine; None: this host, on as many processors, with these files."""

    def __init__(self, name, argv, cpus, files=None):
        self.name, self.argv, self.cpus, self.files = name, argv, cpus, files
        self.start()

    def start(self):
        """
        A kernel that found no TSC to trust may have no clock but its timer's ticks, of which a guest
        that has to wait for a processor loses many (see told_clock).
        """
        for attempt in range(BOOTS):
            clock = self.boot()
            if "jiffies" not in clock:
                return
            self.close()
        raise Unsure(f"{self.name}: its kernel found no clock but {clock}, {BOOTS} times; this "
                     "host is too busy")

    def boot(self):
        """The name of its clock."""
        environment = dict(os.environ)
        if self.files:
            environment["BENCH_FILES"] = str(self.files)
        allowed = sorted(os.sched_getaffinity(0))[-self.cpus:]

        def begin():
            guest.die_with_parent()
            if not self.argv:
                os.sched_setaffinity(0, allowed)
        self.errors, self.rate = b"", 1
        self.slowest = self.fastest = 1
        self.child = subprocess.Popen(self.argv or [str(PROGRAM), "serve"], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      env=environment, preexec_fn=begin)
        self.pending = b""
        self.selector = selectors.DefaultSelector()
        for stream in self.child.stdout, self.child.stderr:
            self.selector.register(stream, selectors.EVENT_READ)
        try:
            clock = self.wait_for(rb"clocksource: (.*)", START_SECONDS)[0] if self.argv else ""
            self.wait_for(rb"bench-engine (ready)", START_SECONDS)
        except BaseException:
            self.close()
            raise
        return clock

    def read(self, until):
        for key, _ in self.selector.select(max(until - time.monotonic(), 0)):
            got = os.read(key.fd, 1 << 16)
            if key.fileobj is self.child.stderr:
                self.errors += got
                if not got:
                    self.selector.unregister(key.fileobj)
            elif got:
                self.pending += got.replace(b"\r", b"")
            else:
                raise Failed(f"{self.name} ended:\n{self.said()}")

    def said(self):
        return (self.pending[-2000:] + self.errors[-2000:]).decode("utf-8", "replace").strip()

    def wait_for(self, pattern, seconds):
        """The groups of a line like this; one that says that something failed is an error."""
        until = time.monotonic() + seconds
        pattern = rb"^(?:%s|failed: (?P<failed>.*))$" % pattern
        while not (found := re.search(pattern, self.pending[:self.pending.rfind(b"\n") + 1],
                                      re.M)):
            if time.monotonic() > until:
                raise Failed(f"{self.name} said nothing for {seconds} s:\n{self.said()}")
            self.read(until)
        self.pending = self.pending[found.end():]
        if found["failed"]:
            raise Failed(f"{self.name}: {found['failed'].decode('utf-8', 'replace')}")
        return [text.decode() if text else None for text in found.groups()[:-1]]

    def ask(self, request, seconds=REQUEST_SECONDS):
        """(ns by its clock, checksum, ns by the host's clock and without the time in which it
        waited for a processor of the host)"""
        undisturbed = guest.Undisturbed(self.child.pid)
        try:
            self.child.stdin.write(f"{request}\n".encode())
            self.child.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"{self.name} ended:\n{self.said()}") from None
        name = re.escape(request.split()[0]).encode()
        ns, checksum, used, lack = self.wait_for(
            name + rb" (?:(\d+) ([0-9a-f]+) (\d+)|lacks (.*))", seconds)
        if lack:
            raise Lacks(lack)
        ns, used = int(ns), int(used)
        if not self.argv:  # no workload sleeps
            return ns, checksum, min(ns, used) if used else ns
        # Preparation, which is not in ns, and the rest had to wait alike.
        wall, alone = undisturbed.seconds()
        return ns, checksum, ns / self.rate * alone / wall

    def read_clock(self):
        """(host's before, guest's, host's after), ns"""
        before = time.monotonic_ns()
        there = self.ask("clock")[0]
        return before, there, time.monotonic_ns()

    def learn_rate(self, first):
        """How fast its clock goes, since then; 1 where that cannot be told from 1."""
        second = self.read_clock()
        went = second[1] - first[1]
        self.slowest, self.fastest = (went / (second[2] - first[0]),
                                      went / max(1, second[0] - first[2]))
        sure = not self.slowest <= 1 <= self.fastest
        self.rate = (self.slowest + self.fastest) / 2 if sure else 1

    def went_evenly(self, first, second):
        """
        Did the clock go between these readings as learn_rate found? If so the time of a run in
        between is its own. Short runs and late answers allow for more.
        """
        went = second[1] - first[1]
        return (went / (second[2] - first[0]) - CLOCK_TOLERANCE <= self.rate
                <= went / max(1, second[0] - first[2]) + CLOCK_TOLERANCE)

    def measure(self, request):
        """What ask() gives, of a run that the clock can be trusted about."""
        if not self.argv:
            return self.ask(request)
        for _ in range(CLOCK_ATTEMPTS):
            first = self.read_clock()
            got = self.ask(request)
            second = self.read_clock()
            if self.went_evenly(first, second):
                return got
        rate = (second[1] - first[1]) / (second[2] - first[0])
        raise Unsure(f"{self.name}: its clock went at {rate:.2f} of the host's, and before at "
                     f"{self.rate:.2f}")

    def cpu_seconds(self):
        """Of the process and those children that have ended."""
        stat = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return guest.cpu_seconds(self.child.pid) + \
            sum(int(ticks) for ticks in stat[13:15]) / os.sysconf("SC_CLK_TCK")

    def calibrate(self, workload, seconds, alone=False):
        """About how many iterations take so long; alone: not counting what it had to wait."""
        wanted, iterations = seconds * 1e9, 1
        while True:
            ns = max(self.ask(f"{workload} {iterations}")[2 if alone else 0], 1)
            if ns > wanted / 8 or iterations == MOST_ITERATIONS:
                return max(1, min(MOST_ITERATIONS, round(iterations * wanted / ns)))
            # Not more than a hundredfold: the first was cold.
            more = round(iterations * min(100, wanted / 4 / ns))
            iterations = min(MOST_ITERATIONS, max(iterations + 1, more))

    def end(self, seconds=600):
        """Let it end by itself; all that it said."""
        try:
            self.child.stdin.write(b"end\n")
            self.child.stdin.flush()
            while True:
                self.read(time.monotonic() + seconds)
        except (Failed, BrokenPipeError):
            pass
        try:
            self.errors += self.child.stderr.read() or b""
            self.child.wait(seconds)
        finally:
            self.close()
        return self.said()

    def close(self):
        self.child.kill()
        self.child.wait()
        self.selector.close()
        for stream in self.child.stdin, self.child.stdout, self.child.stderr:
            try:
                stream.close()
            except BrokenPipeError:
                pass
