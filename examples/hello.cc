// The smallest program in C++: mote.h has C linkage, and these few lines of RAII are all that a
// C++ program needs around it. It prints what a guest writes to a port.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iostream>
#include <memory>
#include <mote/mote.h>
#include <stdexcept>
#include <string>

namespace
{

void check(int err)
{
    if (err)
        throw std::runtime_error(mote_error());
}

struct destroy {
    void operator()(mote_machine *machine) const
    {
        mote_machine_destroy(machine); // its vCPUs with it
    }
};
using machine_ptr = std::unique_ptr<mote_machine, destroy>;

machine_ptr make_machine(const char *accel)
{
    mote_machine_config config = {};
    mote_machine *machine;

    config.accel = accel;
    check(mote_machine_create(&machine, &config));
    return machine_ptr(machine);
}

// Callbacks are called by C code: no exception may leave them.
int on_port(mote_vcpu *, mote_access *access, void *user)
{
    if (access->write)
        static_cast<std::string *>(user)->push_back(static_cast<char>(access->data));
    return 0;
}

alignas(4096) std::uint8_t memory[4096];

const char code[] = "\xbe\x0e\x00"         // mov $message, %si
                    "\xb9\x0c\x00"         // mov $12, %cx
                    "\xba\xe9\x00"         // mov $0xe9, %dx
                    "\xf3\x6e\xf4\x90\x90" // rep outsb; hlt
                    "Hello, C++!\n";

void run(const char *accel)
{
    std::string said;
    machine_ptr machine = make_machine(accel);
    mote_callbacks devices = {};
    mote_vcpu *vcpu;
    mote_exit exit = {};

    devices.io = on_port;
    devices.user = &said;
    std::memcpy(memory, code, sizeof(code));
    check(mote_machine_set_callbacks(machine.get(), &devices));
    check(mote_hva_register(machine.get(), memory, sizeof(memory)));
    check(mote_gpa_map(machine.get(), 0, memory, sizeof(memory), MOTE_RWX));
    check(mote_vcpu_create(&vcpu, machine.get(), 0));
    check(mote_vcpu_get(vcpu, MOTE_GPRS | MOTE_SEGS));
    mote_state &state = *mote_vcpu_state(vcpu);
    state.rip = 0;
    state.seg[MOTE_CS].base = 0;
    state.seg[MOTE_CS].selector = 0;
    check(mote_vcpu_set(vcpu, MOTE_GPRS | MOTE_SEGS));
    do {
        check(mote_vcpu_run(vcpu, &exit));
        if (exit.reason == MOTE_EXIT_IO)
            check(mote_vcpu_assist(vcpu));
    } while (exit.reason == MOTE_EXIT_IO);
    if (exit.reason != MOTE_EXIT_HALT)
        throw std::runtime_error(std::string("unexpected exit: ") + mote_exit_name(exit.reason));
    std::cout << said;
}

} // namespace

int main(int argc, char **argv)
{
    try {
        run(argc > 1 ? argv[1] : nullptr);
    } catch (const std::exception &e) {
        std::cerr << "hello: " << e.what() << '\n';
        return 1;
    }
    return 0;
}
