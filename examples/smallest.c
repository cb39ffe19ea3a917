/* The smallest program: it prints what a guest writes to a port. */
#include <mote/mote.h>
#include <stdio.h>

static _Alignas(4096) unsigned char memory[4096] = /* all that the guest has: 16-bit code */
    "\xbe\x0e\x00"                                 /* mov $message, %si */
    "\xb9\x0e\x00"                                 /* mov $14, %cx */
    "\xba\xe9\x00"                                 /* mov $0xe9, %dx */
    "\xf3\x6e"                                     /* rep outsb */
    "\xf4\x90\x90" /* hlt, and two bytes so that the message is at 14 */
    "Hello, guest!\n";

static int on_port(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    (void)vcpu;
    if (access->write && access->address == 0xe9)
        fputc((int)access->data, (FILE *)user);
    return 0;
}

int main(int argc, char **argv)
{
    const struct mote_machine_config config = {.accel = argc > 1 ? argv[1] : NULL};
    const struct mote_callbacks devices = {.io = on_port, .user = stdout};
    struct mote_machine *machine;
    struct mote_vcpu *vcpu;
    struct mote_exit exit = {0};

    if (mote_machine_create(&machine, &config) || /* what it is */
        mote_machine_set_callbacks(machine, &devices) ||
        mote_hva_register(machine, memory, sizeof(memory)) ||
        mote_gpa_map(machine, 0, memory, sizeof(memory), MOTE_RWX) ||
        mote_vcpu_create(&vcpu, machine, 0) || mote_vcpu_get(vcpu, MOTE_GPRS | MOTE_SEGS))
        return fprintf(stderr, "smallest: %s\n", mote_error()), 1;
    mote_vcpu_state(vcpu)->rip = 0; /* from RESET's f000:fff0 to 0000:0000 */
    mote_vcpu_state(vcpu)->seg[MOTE_CS].base = 0;
    mote_vcpu_state(vcpu)->seg[MOTE_CS].selector = 0;
    mote_vcpu_set(vcpu, MOTE_GPRS | MOTE_SEGS);

    while (!mote_vcpu_run(vcpu, &exit) && exit.reason == MOTE_EXIT_IO && !mote_vcpu_assist(vcpu))
        ; /* on_port was called */
    mote_machine_destroy(machine);
    return exit.reason != MOTE_EXIT_HALT;
}
