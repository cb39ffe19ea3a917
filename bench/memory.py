"""What memory a process has, by /proc, and which of it is a guest's RAM."""
import pathlib
import re
import struct

PAGE_KIB = 4


class Mapping:
    """What one line of /proc/PID/maps has, and what is resident of it, in KiB."""

    def __init__(self, start, end, rights, file):
        self.start, self.end, self.file = int(start, 16), int(end, 16), file
        self.name = f"{rights} {file or '[anonymous]'}"
        self.resident = 0

    @property
    def kib(self):
        return (self.end - self.start) // 1024


def mappings(pid):
    """Of memfds the proportional share, so that what is mapped twice counts once."""
    found = []
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
        if head:
            found.append(Mapping(*head.groups()))
        elif line.startswith("Pss:" if "/memfd:" in found[-1].file else "Rss:"):
            found[-1].resident = int(line.split()[1])
    return found


def resident_at(pid, start, end):
    """KiB of an anonymous range."""
    with open(f"/proc/{pid}/pagemap", "rb") as pagemap:
        pagemap.seek(start // 1024 // PAGE_KIB * 8)
        data = pagemap.read((end - start) // 1024 // PAGE_KIB * 8)
    return sum(entry >> 63 for entry, in struct.iter_unpack("Q", data)) * PAGE_KIB


def find_ram(maps, guest_mib):
    """
    The neighbours that are the guest's RAM: of the one allocation, the mappings that differ in
    rights or in transparent huge pages, RAM up to the end of the last. Before it the kernel
    may have merged another allocation into the first.
    """
    best = None
    for i, last in enumerate(maps):
        run, size = [], 0
        if last.kib < guest_mib * 512:
            continue  # most of RAM is alike
        for m in reversed(maps[:i + 1]):
            if run and (m.end != run[0].start or m.file != last.file):
                break
            run.insert(0, m)
            size += m.kib
            if size >= guest_mib * 1024:
                if not best or (size, len(run)) < best[:2]:
                    best = size, len(run), run
                break
    # A neighbour of the size of a small guest's RAM cannot be told from it.
    if not best or best[0] > guest_mib * 1024 * 1.5:
        raise RuntimeError(f"no mapping of the guest's {guest_mib} MiB")
    return best[2]


def split(pid, guest_mib):
    """KiB resident of the guest's RAM, and what else is mapped; other mappings of a memfd that
    has the RAM are RAM."""
    maps = mappings(pid)
    run = find_ram(maps, guest_mib)
    first, begin = run[0], run[-1].end - (guest_mib << 20)
    if first.start < begin:
        inside = resident_at(pid, begin, first.end)
        before = Mapping(f"{first.start:x}", f"{begin:x}", "", "")
        before.name, before.resident = first.name, max(0, first.resident - inside)
        first.resident -= before.resident
        maps.append(before)
    rams = [m for m in maps if m in run or ("/memfd:" in first.file and m.file == first.file)]
    return sum(m.resident for m in rams), [m for m in maps if m not in rams]


def status_kib(pid, field):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M)[1])
