"""Run commands where /dev/kvm is that of hardware: QEMU's TCG emulates AMD's SVM
with nested paging, Debian's kernel on it loads kvm_amd.

Booting this outer machine takes long, so it is done once and the machine saved
in cache/nested/ as it waits for commands; a session starts from there in less
than a second. It is told by what is in it, so trees with the same files share one. What is to be run comes in afterwards, as a tar file on a disk
that is unpacked over the machine's root: mote at /bin/mote, and what was added.
Debian's kernel is at /guest/vmlinuz.

    with Nested({"/flat/loop": "loop.bin"}) as nested:
        result = nested.run(["mote", "run", "--kernel", "/flat/loop", ...])
"""
import base64
import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parents[1]
CACHE = TREE / "cache/nested"
MOTE = pathlib.Path(os.environ.get("MOTE", TREE / "build/release/mote")).absolute()

# In the order they are loaded; those that a kernel has built in are missing.
MODULES = ["drivers/virtio/virtio_ring", "drivers/virtio/virtio",
           "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci_modern_dev",
           "drivers/virtio/virtio_pci", "drivers/block/virtio_blk", "drivers/char/virtio_console",
           "net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net",
           "virt/lib/irqbypass", "arch/x86/kvm/kvm", "arch/x86/kvm/kvm-amd"]

# A saved machine is only restored with a disk of the same size. The file is sparse.
DISK_BYTES = 512 << 20

# Saved machines, 70 MB each: of several kernels, and of trees whose files differ.
KEPT = 4

# What takes longer hangs, on a host that is slow and busy too.
BOOT_SECONDS = 900
RESTORE_SECONDS = 300
COMMAND_SECONDS = 600
# For what comes on top of a command's own time limit.
GRACE_SECONDS = 300


class Unavailable(Exception):
    """This host lacks something; the sentence says what."""


class Stuck(Exception):
    """The outer machine does not answer; with the tail of its console."""


class Result:
    """A command that ended: status (128 + N: by signal N), out, err, seconds."""

    def __init__(self, status, out, err, seconds):
        self.status, self.seconds = status, seconds
        self.raw_out, self.raw_err = out, err
        self.out, self.err = (raw.decode("utf-8", "replace").replace("\r\n", "\n")
                              for raw in (out, err))

    def __repr__(self):
        return (f"status {self.status} after {self.seconds} s\n--- out\n{self.out[-4000:]}"
                f"\n--- err\n{self.err[-4000:]}")


def libraries(program):
    """The libraries that an ELF file is linked with; none for other files."""
    with open(program, "rb") as file:
        if file.read(4) != b"\x7fELF":
            return []
    done = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=False)
    return re.findall(r"(/\S+) \(0x", done.stdout)


def get_kernel():
    done = subprocess.run([TREE / "tools/get-kernel"], check=True, text=True,
                          stdout=subprocess.PIPE)
    return pathlib.Path(done.stdout.strip())


def die_with_parent():
    """No QEMU outlives us, however we end."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Lines:
    """A stream socket to QEMU, read with a deadline."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b""

    def send(self, line):
        self.sock.sendall(line.encode() + b"\n")

    def fill(self, until):
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(left)
        got = self.sock.recv(1 << 16)
        if not got:
            raise EOFError
        self.buffer += got

    def line(self, until):
        while b"\n" not in self.buffer:
            self.fill(until)
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode()

    def bytes(self, count, until):
        while len(self.buffer) < count:
            self.fill(until)
        got, self.buffer = self.buffer[:count], self.buffer[count:]
        return got


class Image:
    """The outer machine before anything is put in: its kernel, initramfs and saved state."""

    def __init__(self, kernel):
        self.qemu = shutil.which("qemu-system-x86_64")
        if not self.qemu:
            raise Unavailable("no qemu-system-x86_64; install qemu-system-x86")
        busybox = shutil.which("busybox")
        if not busybox:
            raise Unavailable("no busybox; install busybox-static")
        self.kernel = kernel
        modules = self.modules()
        digest = hashlib.sha256(str([self.machine(), DISK_BYTES]).encode())
        digest.update(subprocess.run([self.qemu, "--version"], check=True,
                                     stdout=subprocess.PIPE).stdout)
        for path in [kernel, busybox, HERE / "init", TREE / "tools/initramfs", *modules]:
            digest.update(pathlib.Path(path).read_bytes())
        CACHE.mkdir(parents=True, exist_ok=True)
        self.initramfs = CACHE / f"{digest.hexdigest()[:16]}.initramfs"
        self.saved = self.initramfs.with_suffix(".saved")
        with self.lock():
            if not self.initramfs.exists():
                self.make_initramfs(modules)
            self.initramfs.touch()
            self.remove_others()

    @contextlib.contextmanager
    def lock(self):
        """One process makes or removes what is in the cache; who only takes it needs no lock."""
        with open(CACHE / "lock", "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def remove_others(self):
        """Keeps the machines that were used last."""
        machines = sorted(CACHE.glob("*.initramfs"), key=lambda path: path.stat().st_mtime_ns)
        kept = {path.stem for path in machines[-KEPT:]}
        for path in CACHE.iterdir():
            if path.name.partition(".")[0] not in kept | {"lock"}:
                path.unlink()

    def modules(self):
        """Those of the kernel's package; they are beside it: ../lib/modules."""
        release = self.kernel.name.partition("-")[2]
        folder = self.kernel.resolve().parent.parent / "lib/modules" / release / "kernel"
        found = [path for path in (folder / f"{name}.ko" for name in MODULES) if path.exists()]
        if folder / "arch/x86/kvm/kvm-amd.ko" not in found:
            raise Unavailable(f"no kvm-amd.ko in {folder}: "
                              f"{self.kernel} is not in its unpacked package")
        return found

    def make_initramfs(self, modules):
        args = ["--init", HERE / "init", "--add", self.kernel, "/guest/vmlinuz"]
        for number, path in enumerate(modules):
            args += ["--add", path, f"/modules/{number:02}-{path.name}"]
        part = self.initramfs.with_suffix(".part")
        subprocess.run([TREE / "tools/initramfs", part, *args], check=True)
        part.rename(self.initramfs)

    def machine(self):
        """What a machine must have in common with the one that was saved."""
        # With more than one processor the outer kernel hangs now and then.
        return ["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1",
                "-m", "1024", "-nodefaults", "-nographic", "-no-reboot",
                "-device", "virtio-serial-pci",
                "-device", "virtserialport,chardev=agent,nr=1",
                "-device", "virtio-blk-pci,drive=disk",
                "-netdev", "user,id=net,restrict=on",
                "-device", "virtio-net-pci,netdev=net,romfile="]

    def start(self, folder, *args):
        """A QEMU with its files in the folder; returns (process, agent, monitor)."""
        agent, agent_end = socket.socketpair()
        monitor, monitor_end = socket.socketpair()
        with agent_end, monitor_end, open(folder / "errors", "wb") as errors:
            fds = agent_end.fileno(), monitor_end.fileno()
            process = subprocess.Popen(
                [self.qemu, *self.machine(),
                 "-chardev", f"socket,id=agent,fd={fds[0]}",
                 "-chardev", f"socket,id=monitor,fd={fds[1]}",
                 "-mon", "chardev=monitor,mode=control",
                 "-drive", f"if=none,id=disk,format=raw,readonly=on,file={folder}/disk",
                 "-serial", f"file:{folder}/console",
                 "-kernel", self.kernel, "-initrd", self.initramfs,
                 "-append", "console=ttyS0 panic=-1 quiet", *args],
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, pass_fds=fds,
                preexec_fn=die_with_parent)
        return process, Lines(agent), Lines(monitor)


class Command:
    """A command that was started and not yet waited for."""

    def __init__(self, nested, ident, pid, seconds):
        self.nested, self.ident, self.pid = nested, ident, pid
        self.until = time.monotonic() + seconds + GRACE_SECONDS

    def signal(self, name):
        """Send a signal, such as "TERM"."""
        assert self.nested.ask(f"signal {self.ident} {name}") == "sent 0"

    def wait(self):
        """The Result."""
        reply = self.nested.ask(f"wait {self.ident}", self.until)
        ended, status, seconds, out, err = reply.split()
        assert ended == "ended", reply
        out, err = (self.nested.read(int(count), self.until) for count in (out, err))
        return Result(int(status), out, err, float(seconds))


class Nested:
    """
    A session: an outer machine that runs commands, one after another or side by
    side. files: {path inside: host file}; the libraries that programs among them
    are linked with come along. fresh: boot the outer machine, do not take or
    make a saved one. Raises Unavailable and Stuck.
    """

    def __init__(self, files=None, kernel=None, fresh=False):
        self.image = Image(pathlib.Path(kernel or get_kernel()).absolute())
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="nested-"))
        self.process = None
        self.commands = 0
        try:
            self.restored = False
            size = self.make_disk({"/bin/mote": MOTE, **(files or {})})
            if not fresh:
                self.restored = self.restore() or self.save_and_restore()
            if not self.restored:
                self.boot()
            reply = self.ask(f"unpack {size}")
            if reply != "unpacked 0":
                raise Stuck(self.failure(f"the disk was not unpacked: {reply}"))
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- the machine ----

    def make_disk(self, files):
        """The disk; returns how many of its bytes are the tar file."""
        inside = dict(files)
        for path in files.values():
            inside.update((name, name) for name in libraries(path))
        disk = self.folder / "disk"
        with tarfile.open(disk, "w", dereference=True) as tar:
            for name, path in inside.items():
                tar.add(path, name)
        size = disk.stat().st_size
        if size > DISK_BYTES:
            raise Unavailable(f"the files need {size >> 20} MiB, the disk has {DISK_BYTES >> 20}")
        os.truncate(disk, DISK_BYTES)
        return size

    def launch(self, *args):
        self.stop()
        self.process, self.agent, self.monitor = self.image.start(self.folder, *args)
        self.tell("qmp_capabilities")

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.agent.sock.close()
            self.monitor.sock.close()
            self.process = None

    def boot(self):
        self.launch()
        self.hello(BOOT_SECONDS)

    def hello(self, seconds):
        reply = self.ask("hello", time.monotonic() + seconds)
        if reply != "hello":
            raise Stuck(self.failure(f"the outer machine said '{reply}' to 'hello'"))

    def restore(self):
        """Start the saved machine. False when there is none that works."""
        if not self.image.saved.exists():
            return False
        try:
            self.launch("-incoming", f"exec:zstd -dcq {shlex.quote(str(self.image.saved))}")
            self.hello(RESTORE_SECONDS)
        except Stuck as stuck:
            print(f"nested: the saved machine is of no use, it is booted again: {stuck}",
                  file=sys.stderr)
            self.image.saved.unlink(missing_ok=True)
            return False
        return True

    def save_and_restore(self):
        with self.image.lock():  # another process may have saved it meanwhile
            return self.restore() or (self.save() and self.restore())

    def save(self):
        """Boot and save the machine. False when QEMU could not save it."""
        self.boot()
        part = self.image.saved.with_suffix(".part")
        try:
            self.tell("migrate", uri=f"exec:zstd -1 -q >{shlex.quote(str(part))}")
            until = time.monotonic() + BOOT_SECONDS
            while time.monotonic() < until:
                status = self.tell("query-migrate").get("status")
                if status == "completed":
                    self.stop()
                    part.rename(self.image.saved)
                    return True
                if status in ("failed", "cancelled"):
                    break
                time.sleep(0.05)
            return False
        finally:
            part.unlink(missing_ok=True)

    def tell(self, command, **arguments):
        """One command of QEMU's monitor; returns its answer."""
        until = time.monotonic() + GRACE_SECONDS
        try:
            self.monitor.send(json.dumps({"execute": command, "arguments": arguments}))
            while True:
                reply = json.loads(self.monitor.line(until))
                if "error" in reply:
                    raise Stuck(self.failure(f"QEMU's monitor: {command}: {reply['error']}"))
                if "return" in reply:
                    return reply["return"]
        except (TimeoutError, EOFError, OSError) as error:
            raise Stuck(self.failure(f"QEMU's monitor does not answer to {command}")) from error

    def failure(self, what):
        """What happened, with what QEMU and the outer machine said last."""
        status = self.process and self.process.poll()
        lines = [what]
        if status is not None:
            lines.append(f"QEMU ended with status {status}")
        for name in "errors", "console":
            path = self.folder / name
            text = path.read_bytes()[-6000:].decode("utf-8", "replace") if path.exists() else ""
            lines.append(f"--- {name} of the outer machine\n" + "\n".join(text.splitlines()[-60:]))
        return "\n".join(lines)

    # ---- the agent (init) ----

    def ask(self, request, until=None):
        """Send init a line, and return the line it answers."""
        until = until or time.monotonic() + GRACE_SECONDS
        begin = time.monotonic()
        try:
            self.agent.send(request)
            return self.agent.line(until)
        except (TimeoutError, EOFError, OSError) as error:
            raise Stuck(self.failure(f"no answer to '{request[:100]}' in "
                                     f"{time.monotonic() - begin:.0f} s")) from error

    def read(self, count, until):
        try:
            return self.agent.bytes(count, until)
        except (TimeoutError, EOFError, OSError) as error:
            raise Stuck(self.failure("a command's output did not come")) from error

    # ---- for users ----

    def start(self, argv, seconds=COMMAND_SECONDS):
        """Start a command in /root, killed after so many seconds; returns a Command."""
        self.commands += 1
        words = " ".join(shlex.quote(str(word)) for word in argv)
        encoded = base64.b64encode(words.encode()).decode()
        reply = self.ask(f"start {self.commands} {seconds} {encoded}")
        started, pid = reply.split()
        assert started == "started", reply
        return Command(self, self.commands, int(pid), seconds)

    def run(self, argv, seconds=COMMAND_SECONDS):
        """Run a command and return its Result."""
        return self.start(argv, seconds).wait()

    def forward(self, port, seconds=COMMAND_SECONDS):
        """
        Make a TCP port on the inside's 127.0.0.1, which something listens at within
        so many seconds, reachable; returns the port on the host's 127.0.0.1.
        """
        door = 10000 + port
        self.start(["nc", "-ll", "-p", door, "-e", "nc", "127.0.0.1", port], seconds=3600)
        for number in port, door:
            done = self.run(["sh", "-c", f"until netstat -ltn | grep -q ':{number} '; "
                             "do usleep 20000; done"], seconds)
            if done.status:
                raise Stuck(self.failure(f"nothing listens at port {number} inside"))
        for _ in range(10):  # another process may take what was free
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                outside = free.getsockname()[1]
            said = self.tell("human-monitor-command", **{
                "command-line": f"hostfwd_add net tcp:127.0.0.1:{outside}-10.0.2.15:{door}"})
            if not said:
                return outside
        raise Stuck(self.failure(f"hostfwd_add: {said}"))
