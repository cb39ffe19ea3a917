/*
 * The test program of "Using the KVM API" (LWN, 2015) over the library: 12 bytes of real mode
 * that add AL and BL and write the sum to a serial port as a digit (guests/likex/likex.s).
 *
 *     likex IMAGE [ACCELERATOR]
 *
 * It asks the library for one thing at a time and names what fails, as a program that is used
 * would; smallest.c is shorter.
 */
#include <mote/mote.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MEMORY 0x10000
#define ENTRY  0x1000
#define COM1   0x3f8

static void need(int err, const char *what)
{
    if (!err)
        return;
    fprintf(stderr, "likex: %s: %s (%s)\n", what, mote_error(), strerror(-err));
    exit(1);
}

/* Guest memory is this process's: what is written here is what the guest finds at `ENTRY`. */
static void load(unsigned char *memory, const char *name)
{
    FILE *file = fopen(name, "rb");

    if (!file || !fread(memory + ENTRY, 1, MEMORY - ENTRY, file)) {
        perror(name);
        exit(1);
    }
    fclose(file);
}

static int on_port(struct mote_vcpu *vcpu, struct mote_access *access, void *user)
{
    (void)vcpu;
    (void)user;
    if (!access->write)
        access->data = 0xff; /* as a bus without a device has it */
    else if (access->address == COM1)
        putchar((int)access->data);
    return 0;
}

/* LWN's entry: cs:ip = 0:0x1000, 2 and 2 to be added, and bit 1 of RFLAGS, which is always set. */
static void enter(struct mote_vcpu *vcpu)
{
    struct mote_state *state = mote_vcpu_state(vcpu);

    need(mote_vcpu_get(vcpu, MOTE_GPRS | MOTE_SEGS), "get");
    state->seg[MOTE_CS].base = 0;
    state->seg[MOTE_CS].selector = 0;
    state->rip = ENTRY;
    state->rflags = 2;
    state->gpr[MOTE_RAX] = 2;
    state->gpr[MOTE_RBX] = 2;
    need(mote_vcpu_set(vcpu, MOTE_GPRS | MOTE_SEGS), "set");
}

int main(int argc, char **argv)
{
    struct mote_machine_config config = {.accel = argc > 2 ? argv[2] : NULL};
    const struct mote_callbacks devices = {.io = on_port};
    struct mote_machine *machine;
    struct mote_vcpu *vcpu;
    struct mote_exit exit;
    unsigned char *memory =
        mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (argc < 2 || memory == MAP_FAILED) {
        fprintf(stderr, "usage: likex IMAGE [ACCELERATOR]\n");
        return 2;
    }
    load(memory, argv[1]);
    need(mote_machine_create(&machine, &config), "machine");
    need(mote_machine_set_callbacks(machine, &devices), "callbacks");
    need(mote_hva_register(machine, memory, MEMORY), "host memory");
    need(mote_gpa_map(machine, 0, memory, MEMORY, MOTE_RWX), "guest memory");
    need(mote_vcpu_create(&vcpu, machine, 0), "vCPU");
    enter(vcpu);
    do {
        need(mote_vcpu_run(vcpu, &exit), "run");
        if (exit.reason == MOTE_EXIT_IO)
            need(mote_vcpu_assist(vcpu), "assist");
    } while (exit.reason == MOTE_EXIT_IO || exit.reason == MOTE_EXIT_NONE);
    need(mote_machine_destroy(machine), "destroy");
    munmap(memory, MEMORY);
    if (exit.reason == MOTE_EXIT_HALT)
        return 0;
    fprintf(stderr, "likex: unexpected exit: %s\n", mote_exit_name(exit.reason));
    return 1;
}
