#!/usr/bin/env python3
"""libmote for Python, by ctypes alone; and, run as a program, the smallest guest.

    mote.py [ACCELERATOR]

The environment's LIBMOTE names another library than the one the linker finds. The structures
are those of mote/mote.h and mote/state.h, member by member; a test compares them with a C
compiler's.
"""
import ctypes as c
import mmap
import os
import sys

RWX = 7
GPRS, SEGS, CRS, DRS, MSRS, INTR, FPU, ALL = 1, 2, 4, 8, 16, 32, 64, 127
(RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI) = range(8)
(ES, CS, SS, DS, FS, GS, LDTR, TR) = range(8)
(EXIT_NONE, EXIT_IO, EXIT_MEMORY, EXIT_RDMSR, EXIT_WRMSR, EXIT_HALT, EXIT_SHUTDOWN,
 EXIT_INTR_WINDOW, EXIT_NMI_WINDOW, EXIT_TPR, EXIT_HYPERCALL, EXIT_DEBUG, EXIT_FAIL,
 EXIT_CPUID) = range(14)


class Accel(c.Structure):
    _fields_ = [("name", c.c_char * 16), ("title", c.c_char * 64), ("usable", c.c_bool),
                ("chosen", c.c_bool), ("reason", c.c_char * 256), ("mips", c.c_double)]


class MachineConfig(c.Structure):
    _fields_ = [("accel", c.c_char_p), ("vcpus", c.c_uint), ("cpu", c.c_char_p)]


class Capabilities(c.Structure):
    _fields_ = [("accel", c.c_char * 16), ("vcpus_max", c.c_uint), ("ranges_max", c.c_uint),
                ("tsc_khz", c.c_uint32), ("xcr0", c.c_uint64), ("rights", c.c_uint32),
                ("exits", c.c_uint32), ("gpa_bits", c.c_uint), ("debug_watches", c.c_uint32)]


class Access(c.Structure):
    _fields_ = [("address", c.c_uint64), ("data", c.c_uint64), ("size", c.c_uint8),
                ("write", c.c_bool)]


CALLBACK = c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(Access), c.c_void_p)


class Callbacks(c.Structure):
    _fields_ = [("io", CALLBACK), ("memory", CALLBACK), ("user", c.c_void_p)]


class Cpuid(c.Structure):
    _fields_ = [(name, c.c_uint32)
                for name in ("leaf", "subleaf", "indexed", "eax", "ebx", "ecx", "edx")]


class Seg(c.Structure):
    _fields_ = [("base", c.c_uint64), ("limit", c.c_uint32), ("attrib", c.c_uint32),
                ("selector", c.c_uint16), ("pad", c.c_uint16 * 3)]


class Table(c.Structure):
    _fields_ = [("base", c.c_uint64), ("limit", c.c_uint16), ("pad", c.c_uint16 * 3)]


class Event(c.Structure):
    _fields_ = [("kind", c.c_uint32), ("vector", c.c_uint8), ("has_error", c.c_uint8),
                ("pad", c.c_uint16), ("error", c.c_uint32)]


class Intr(c.Structure):
    _fields_ = [("shadow", c.c_uint8), ("nmi_masked", c.c_uint8), ("nmi_pending", c.c_uint8),
                ("activity", c.c_uint8), ("pending", Event)]


class Msrs(c.Structure):
    _fields_ = ([(name, c.c_uint64) for name in
                 ("efer", "star", "lstar", "cstar", "sfmask", "kernel_gs_base", "sysenter_cs",
                  "sysenter_esp", "sysenter_eip", "pat", "tsc", "tsc_aux", "tsc_adjust",
                  "spec_ctrl", "misc_enable", "mtrr_def_type")] +
                [("mtrr_fixed", c.c_uint64 * 11), ("mtrr_var", c.c_uint64 * 16)] +
                [(name, c.c_uint64) for name in
                 ("kvm_wall_clock", "kvm_system_time", "virt_spec_ctrl", "tsx_ctrl",
                  "misc_features", "xss", "tsc_deadline", "kvm_steal_time", "kvm_pv_eoi",
                  "kvm_poll_control", "kvm_async_pf_int", "kvm_async_pf")])


class State(c.Structure):
    _fields_ = ([("version", c.c_uint32), ("size", c.c_uint32), ("gpr", c.c_uint64 * 16),
                 ("rip", c.c_uint64), ("rflags", c.c_uint64), ("seg", Seg * 8), ("gdtr", Table),
                 ("idtr", Table)] +
                [(name, c.c_uint64) for name in ("cr0", "cr2", "cr3", "cr4", "cr8", "xcr0")] +
                [("dr", c.c_uint64 * 8), ("msr", Msrs), ("intr", Intr)])
    # `xsave` is aligned to 64 bytes, which ctypes has no word for.
    _fields_ += [("_align", c.c_uint8 * (-sum(c.sizeof(field[1]) for field in _fields_) % 64)),
                 ("xsave", c.c_uint8 * 4096)]


class ExitIo(c.Structure):
    _fields_ = [("port", c.c_uint16), ("size", c.c_uint8), ("in", c.c_bool),
                ("string", c.c_bool)]


class ExitMemory(c.Structure):
    _fields_ = [("gpa", c.c_uint64), ("size", c.c_uint8), ("write", c.c_bool)]


class ExitMsr(c.Structure):
    _fields_ = [("index", c.c_uint32), ("value", c.c_uint64)]


class ExitDebug(c.Structure):
    _fields_ = [("rip", c.c_uint64), ("int3", c.c_bool), ("step", c.c_bool),
                ("watches", c.c_uint8)]


class ExitFail(c.Structure):
    _fields_ = [("why", c.c_char * 104), ("insn_size", c.c_uint8), ("insn", c.c_uint8 * 15)]


class ExitDetails(c.Union):
    _fields_ = [("io", ExitIo), ("memory", ExitMemory), ("msr", ExitMsr), ("cpuid", Cpuid),
                ("debug", ExitDebug), ("fail", ExitFail)]


class Exit(c.Structure):
    _fields_ = [("reason", c.c_uint32), ("intr_ready", c.c_bool), ("rflags", c.c_uint64),
                ("cr8", c.c_uint64), ("u", ExitDetails)]


class Watch(c.Structure):
    _fields_ = [("gva", c.c_uint64), ("size", c.c_uint8), ("kind", c.c_uint8)]


class Debug(c.Structure):
    _fields_ = [("int3", c.c_bool), ("step", c.c_bool), ("watch", Watch * 4)]


# C's names, for those who compare.
STRUCTS = {"mote_accel": Accel, "mote_machine_config": MachineConfig,
           "mote_capabilities": Capabilities, "mote_access": Access,
           "mote_callbacks": Callbacks, "mote_cpuid": Cpuid, "mote_seg": Seg,
           "mote_table": Table, "mote_event": Event, "mote_intr": Intr, "mote_msrs": Msrs,
           "mote_state": State, "mote_exit": Exit, "mote_vcpu_debug": Debug}

# What functions take; all return an int but for those below. ctypes passes a plain number as a C
# int, which would cut addresses and handles.
P, U, SIZE, U64 = c.c_void_p, c.c_uint, c.c_size_t, c.c_uint64
FUNCTIONS = {
    "accel_list": [P, U], "machine_create": [P, P], "machine_destroy": [P],
    "machine_capabilities": [P, P], "machine_set_callbacks": [P, P],
    "hva_register": [P, P, SIZE], "hva_unregister": [P, P, SIZE],
    "gpa_map": [P, U64, P, SIZE, U], "gpa_unmap": [P, U64, SIZE], "gpa_to_hva": [P, U64, P, P],
    "gva_to_gpa": [P, U64, P, P], "gpa_written": [P, U64, SIZE],
    "vcpu_create": [P, P, U], "vcpu_destroy": [P], "vcpu_get_cpuid": [P, P, P],
    "vcpu_set_cpuid": [P, P, U], "vcpu_state": [P], "vcpu_get": [P, U], "vcpu_set": [P, U],
    "vcpu_inject": [P, P], "vcpu_request_window": [P, c.c_bool, c.c_bool], "vcpu_run": [P, P],
    "vcpu_stop": [P], "vcpu_assist": [P], "vcpu_complete_msr": [P, U64, c.c_bool],
    "vcpu_exit_cpuid": [P, P, U], "vcpu_complete_cpuid": [P, P], "vcpu_set_debug": [P, P], "version": [], "error": [], "exit_name": [U],
}
OTHER_RESULTS = {"version": c.c_char_p, "error": c.c_char_p, "exit_name": c.c_char_p,
                 "vcpu_state": c.POINTER(State)}


class Error(Exception):
    pass


class Library:
    """The functions, without their prefix. A negative result of theirs becomes an Error."""

    def __init__(self, name=None):
        self.library = c.CDLL(name or os.environ.get("LIBMOTE", "libmote.so.0"))
        for name, arguments in FUNCTIONS.items():
            function = getattr(self.library, "mote_" + name)
            function.argtypes = arguments
            function.restype = OTHER_RESULTS.get(name, c.c_int)
            setattr(self, name, self.checked(function))

    def checked(self, function):
        if function.restype is not c.c_int:
            return function

        def call(*arguments):
            result = function(*arguments)
            if result < 0:
                raise Error(self.library.mote_error().decode())
            return result
        return call


# 16-bit code, and what it prints.
CODE = (b"\xbe\x0e\x00"          # mov $message, %si
        b"\xb9\x0f\x00"          # mov $15, %cx
        b"\xba\xe9\x00"          # mov $0xe9, %dx
        b"\xf3\x6e\xf4\x90\x90"  # rep outsb; hlt
        b"Hello, Python!\n")


def run(lib, accel=None):
    """Run CODE; what it wrote to port 0xe9, and the reason of the last exit."""
    said = bytearray()

    @CALLBACK
    def on_port(vcpu, access, user):
        if access[0].write:
            said.append(access[0].data & 0xff)
        return 0

    # ctypes keeps nothing alive: what the machine uses lives as long as this function.
    memory = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[:len(CODE)] = CODE
    host = c.addressof(c.c_char.from_buffer(memory))
    machine, vcpu, exit = c.c_void_p(), c.c_void_p(), Exit()
    lib.machine_create(c.byref(machine), c.byref(MachineConfig(accel=accel)))
    lib.machine_set_callbacks(machine, c.byref(Callbacks(io=on_port)))
    lib.hva_register(machine, host, len(memory))
    lib.gpa_map(machine, 0, host, len(memory), RWX)
    lib.vcpu_create(c.byref(vcpu), machine, 0)
    lib.vcpu_get(vcpu, GPRS | SEGS)
    state = lib.vcpu_state(vcpu)[0]
    state.rip = 0
    state.seg[CS].base = state.seg[CS].selector = 0
    lib.vcpu_set(vcpu, GPRS | SEGS)
    lib.vcpu_run(vcpu, c.byref(exit))
    while exit.reason == EXIT_IO:
        lib.vcpu_assist(vcpu)
        lib.vcpu_run(vcpu, c.byref(exit))
    lib.machine_destroy(machine)
    return said.decode(), exit.reason


def main():
    try:
        lib = Library()
        said, reason = run(lib, sys.argv[1].encode() if len(sys.argv) > 1 else None)
    except (OSError, Error) as wrong:
        sys.exit(f"mote.py: {wrong}")
    print(said, end="")
    if reason != EXIT_HALT:
        sys.exit(f"mote.py: unexpected exit: {lib.exit_name(reason).decode()}")


if __name__ == "__main__":
    main()
