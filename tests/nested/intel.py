"""Run commands where /dev/kvm is that of Intel's processors: Bochs emulates one
with VMX and EPT, Debian's kernel on it loads kvm_intel.

Bochs is slow, but unlike QEMU's TCG it has all of what a hypervisor can ask for,
such as exits for INT3 and a DR7 of the guest's own. What the machine shall run is
put in beforehand; a serial port is all there is to talk to it by while it runs.

    results = intel.run(kernel, {"info": ["mote", "info"]}, {"/flat/loop": "loop.bin"})
    print(results["info"].out)
"""
import pathlib
import shlex
import shutil
import struct
import subprocess
import tempfile
import time

from nested import HERE, MOTE, TREE, Result, Stuck, Unavailable, die_with_parent, libraries

MODULES = "virt/lib/irqbypass", "arch/x86/kvm/kvm", "arch/x86/kvm/kvm-intel"

# A newer processor's AVX-512 state has a size that Linux does not believe.
MODEL = "broadwell_ult"
MEMORY = 512 << 20
# What the BIOS keeps at the top, its ACPI tables.
RESERVED = 256 << 10
# Bochs' TSC counts instructions, and this many are a second to its other clocks.
FREQUENCY = 100_000_000

# Bochs executes 20 to 50 million instructions a second, and a boot with all
# that Debian's kernel does takes a minute. Without devices, checks of its own
# code and keys, and tables of trace events, it takes seconds.
CMDLINE = ("console=ttyS0,115200 loglevel=2 panic=-1 nokaslr mitigations=off tsc=reliable "
           f"tsc_early_khz={FREQUENCY // 1000} no_timer_check hpet=disable acpi=off pci=off "
           "8250.nr_uarts=2 i8042.noaux lsm= audit=0 cryptomgr.notests rcupdate.rcu_expedited=1 "
           "initcall_blacklist=trace_eval_init,load_system_certificate_list,blacklist_init,"
           "init_evm,hugetlb_init,pci_subsys_init,pci_apply_final_quirks")

CONFIG = """\
cpu: model={model}, count=1, ips={frequency}, reset_on_triple_fault=1, ignore_bad_msrs=1
megs: {megs}
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
display_library: rfb, options="timeout=0"
boot: disk
ata0-master: type=disk, path={folder}/disk, mode=flat, cylinders=0, heads=16, spt=63
com1: enabled=1, mode=file, dev={folder}/console
log: {folder}/log
panic: action=fatal
clock: sync=none, time0=utc
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
"""

# boot.s: where it loads, how much at a time, its words to be filled in.
LOAD = 0x1000000
CHUNK = 256 * 512
WORDS = 498

UNPACK = {b"\x02\x21\x4c\x18": ("lz4", "lz4"), b"\x28\xb5\x2f\xfd": ("zstd", "zstd"),
          b"\xfd7zX": ("xz", "xz-utils"), b"\x1f\x8b\x08\x00": ("gzip", "gzip")}


def need(command, package):
    found = shutil.which(command)
    if not found:
        raise Unavailable(f"{command} is not installed (package {package})")
    return found


def unpack(kernel):
    """The ELF file inside a bzImage, taken out as its setup header describes."""
    image = pathlib.Path(kernel).read_bytes()
    setup = (image[0x1F1] or 4) + 1
    offset, length = struct.unpack_from("<II", image, 0x248)
    payload = image[setup * 512 + offset:][:length]
    if payload[:4] not in UNPACK:
        raise Unavailable(f"{kernel}: its payload begins with {payload[:4].hex()}")
    # The last 4 bytes are the unpacked length, appended by the kernel's build.
    done = subprocess.run([need(*UNPACK[payload[:4]]), "-dc"], input=payload[:-4],
                          stdout=subprocess.PIPE, check=True)
    assert len(done.stdout) == struct.unpack("<I", payload[-4:])[0]
    return done.stdout


def place(elf):
    """(memory from LOAD on, entry) of an ELF kernel with Xen's PVH note."""
    memory, entry = bytearray(), None
    table, = struct.unpack_from("<Q", elf, 0x20)
    size, count = struct.unpack_from("<HH", elf, 0x36)
    for at in range(table, table + count * size, size):
        kind, _, offset, _, address, length, bytes_there = struct.unpack_from("<IIQQQQQ", elf, at)
        if kind == 1:  # PT_LOAD
            start = address - LOAD
            memory.extend(bytes(max(0, start + bytes_there - len(memory))))
            memory[start:start + length] = elf[offset:offset + length]
        elif kind == 4:  # PT_NOTE
            end = offset + length
            while offset < end:
                name, desc, note = struct.unpack_from("<III", elf, offset)
                owner = offset + 12
                data = owner + (name + 3 & ~3)
                if note == 18 and elf[owner:owner + name] == b"Xen\0":  # PHYS32_ENTRY
                    entry, = struct.unpack_from("<I", elf, data)
                offset = data + (desc + 3 & ~3)
    if entry is None:
        raise Unavailable("the kernel has no PVH entry")
    return memory, entry


def make_disk(path, folder, elf, initramfs):
    """A boot sector, and what it loads: the kernel and its hvm_start_info."""
    memory, entry = place(elf)

    def add(data):
        memory.extend(bytes(-len(memory) % 4096))
        memory.extend(data)
        return LOAD + len(memory) - len(data)

    usable, reserved, acpi = 1, 2, 3
    ranges = [(0, 0x9f000, usable), (0x9f000, 0x100000, reserved),
              (0x100000, MEMORY - RESERVED, usable), (MEMORY - RESERVED, MEMORY, acpi)]
    module = add(struct.pack("<QQQQ", add(initramfs), len(initramfs), 0, 0))
    cmdline = add(CMDLINE.encode() + b"\0")
    memmap = add(b"".join(struct.pack("<QQII", start, end - start, kind, 0)
                          for start, end, kind in ranges))
    info = add(struct.pack("<IIIIQQQQII", 0x336ec578, 1, 0, 1, module, cmdline, 0, memmap,
                           len(ranges), 0))
    memory.extend(bytes(-len(memory) % CHUNK))
    subprocess.run([need("as", "binutils"), "--32", "-o", folder / "boot.o", HERE / "boot.s"],
                   check=True)
    subprocess.run(["ld", "-m", "elf_i386", "--oformat", "binary", "-Ttext", "0x7c00",
                    "-o", folder / "boot", folder / "boot.o"], check=True)
    boot = bytearray((folder / "boot").read_bytes())
    struct.pack_into("<III", boot, WORDS, len(memory) // CHUNK, info, entry)
    with open(path, "wb") as disk:
        disk.write(boot + memory)
        cylinder = 16 * 63 * 512
        disk.truncate(-(-disk.tell() // cylinder) * cylinder)


def make_initramfs(path, folder, kernel, commands, files):
    modules = kernel.resolve().parent.parent / "lib/modules" / kernel.name.partition("-")[2]
    inside = {"/bin/mote": MOTE, "/guest/vmlinuz": kernel, **files}
    for number, name in enumerate(MODULES):
        module = modules / f"kernel/{name}.ko"
        if not module.exists():
            raise Unavailable(f"no {module}: {kernel} is not in its unpacked package")
        # The signature's key is in none of the keyrings, and hashing takes seconds.
        stripped = folder / f"{number}.ko"
        stripped.write_bytes(module.read_bytes().rpartition(b"~Module signature appended~")[0]
                             or module.read_bytes())
        subprocess.run([need("objcopy", "binutils"), "--strip-debug", stripped], check=True)
        inside[f"/modules/{number}-{module.name}"] = stripped
    for program in list(inside.values()):
        inside.update((name, name) for name in libraries(program))
    for name, argv in commands.items():
        inside[f"/commands/{name}"] = folder / f"command-{name}"
        inside[f"/commands/{name}"].write_text(shlex.join(map(str, argv)) + "\n")
    args = [arg for name, file in inside.items() for arg in ("--add", file, name)]
    subprocess.run([TREE / "tools/initramfs", path, "--init", HERE / "intel-init", *args],
                   check=True)


def parse(console):
    """({name: Result} of the commands that ended, whether these are all)."""
    results, at = {}, console.find(b"ended ")
    while 0 <= at < len(console):
        line, newline, _ = console[at:].partition(b"\n")
        words = line.decode("utf-8", "replace").split()
        if words[1:] == ["all"]:
            return results, True
        if not newline or len(words) != 6 or words[0] != "ended":
            break
        out = at + len(line) + 1
        err = out + int(words[4])
        at = err + int(words[5])
        if at > len(console):
            break
        results[words[1]] = Result(int(words[2]), console[out:err], console[err:at],
                                   float(words[3]))
    return results, False


class Intel:
    """
    The machine, to be used with `with`: it runs commands, {name: argv}, in alphabetical
    order. kernel: a bzImage in its unpacked package; files: {path inside: host file},
    their libraries come along, mote is at /bin/mote and the kernel at /guest/vmlinuz;
    port: of localhost, where somebody listens, for the machine's ttyS1. Raises
    Unavailable.
    """

    def __init__(self, kernel, commands, files=None, port=None):
        bochs = need("bochs", "bochs")
        kernel = pathlib.Path(kernel).absolute()
        self.process = None
        self.scratch = tempfile.TemporaryDirectory(prefix="intel-")
        try:
            self.launch(bochs, kernel, commands, files or {}, port)
        except BaseException:
            self.close()
            raise

    def launch(self, bochs, kernel, commands, files, port):
        folder = self.folder = pathlib.Path(self.scratch.name)
        make_initramfs(folder / "initramfs", folder, kernel, commands, files)
        make_disk(folder / "disk", folder, unpack(kernel), (folder / "initramfs").read_bytes())
        config = CONFIG.format(model=MODEL, frequency=FREQUENCY, megs=MEMORY >> 20, folder=folder)
        if port:
            config += f"com2: enabled=1, mode=socket-client, dev=127.0.0.1:{port}\n"
        (folder / "config").write_text(config)
        (folder / "input").write_text("c\n")  # to Bochs' debugger: continue
        self.console = folder / "console"
        self.console.touch()
        with open(folder / "input", "rb") as stdin, open(folder / "said", "wb") as said:
            self.process = subprocess.Popen([bochs, "-q", "-f", folder / "config"], stdin=stdin,
                                            stdout=said, stderr=said, preexec_fn=die_with_parent)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.scratch.cleanup()

    def wait(self, seconds):
        """{name: Result}. Seconds are the host's, in a Result the machine's. Raises Stuck."""
        until = time.monotonic() + seconds
        while True:
            ended = self.process.poll() is not None or time.monotonic() > until
            results, complete = parse(self.console.read_bytes())
            if complete:
                return results
            if ended:
                why = f"no end in {seconds} s" if self.process.returncode is None else "Bochs ended"
                raise Stuck(f"{why}; done: {' '.join(results)}\n--- console\n"
                            f"{self.console.read_text(errors='replace')[-2000:]}\n--- Bochs\n"
                            f"{(self.folder / 'said').read_text(errors='replace')[-1000:]}")
            time.sleep(0.1)


def run(kernel, commands, files=None, seconds=3000):
    """{name: Result} of what Intel's arguments say, if nobody talks to it meanwhile."""
    with Intel(kernel, commands, files) as machine:
        return machine.wait(seconds)
