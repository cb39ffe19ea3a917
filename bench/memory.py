"""What memory a process has, by /proc."""
import pathlib
import re


def mappings(pid, field="Rss"):
    """Each of /proc/PID/smaps: [length in KiB, the field in KiB, its name]; anonymous neighbours
    are one, as those that differ in transparent huge pages only are one allocation."""
    found, end = [], None
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
        if head:
            length = (int(head[2], 16) - int(head[1], 16)) // 1024
            name = f"{head[3]} {head[4] or '[anonymous]'}"
            if head[1] == end and not head[4] and found[-1][2] == name:
                found[-1][0] += length
            else:
                found.append([length, 0, name])
            end = head[2]
        elif line.startswith(f"{field}:"):
            found[-1][1] += int(line.split()[1])
    return found


def status_kib(pid, field):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M)[1])


def beside_guest(pid, guest_mib):
    """
    KiB that the process has beside the guest's RAM, and KiB of that. In proportional shares,
    so that what is mapped twice counts once; further mappings of RAM are RAM.
    """
    maps = mappings(pid, "Pss")
    ram = min((m for m in maps if m[0] >= guest_mib * 1024), default=None)
    if not ram or ram[0] > guest_mib * 1024 * 1.25:
        raise RuntimeError(f"no mapping of the guest's {guest_mib} MiB")
    guests = [m for m in maps if m is ram or ("/memfd:" in ram[2] and m[2][4:] == ram[2][4:])]
    both = sum(m[1] for m in guests)
    return sum(m[1] for m in maps) - both, both
