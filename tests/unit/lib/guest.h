/* Small guests by way of libmote, for its tests. */
#ifndef MOTE_TESTS_LIB_GUEST_H
#define MOTE_TESTS_LIB_GUEST_H

#include <mote/mote.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those before it */
#include <cmocka.h>

#define RAM_SIZE 0x200000u
#define TABLES   0x1000u /* PML4, PDPT, page directory */
#define STACK    0x8000u
#define CODE     0x9000u

/* Machine code: `name` to `name`_end. */
#define GUEST_CODE(name, ...)                                                                      \
    extern const uint8_t name[], name##_end[];                                                     \
    __asm__(".pushsection .rodata\n" #name ":\n" __VA_ARGS__ "\n" #name "_end:\n.popsection");

struct guest {
    struct mote_machine *machine;
    struct mote_vcpu *vcpu;
    uint8_t *ram; /* at gpa 0, if it was mapped */
};

/* Fails the test unless err is 0. */
void must(int err, const char *what);

/* Skips the test on an accelerator that is not usable here; a guest that hangs ends it. */
const char *accel_of(void **state);

/* Rows of a test table: the test on one accelerator, and on all. */
#define ON(test, accel)                                                                            \
    {                                                                                              \
#test "_" accel, test, NULL, NULL, (void *)accel                                           \
    }
#define ON_ALL(test) ON(test, "soft"), ON(test, "kvm")

/* A machine with registered RAM_SIZE bytes of memory that are nowhere, and vCPU 0. */
void guest_create(struct guest *g, const char *accel, unsigned vcpus);
void guest_destroy(struct guest *g);

/* ... at 0, and in it page tables that map 1 GiB as it is. */
void guest_map(struct guest *g);

/* `vcpu` goes on at rip, in 64-bit mode and ring 0. */
void guest_at(struct mote_vcpu *vcpu, uint64_t rip);

/* Bytes for the guest, and where they are. */
void guest_put(struct guest *g, uint64_t at, const uint8_t *from, const uint8_t *end);

/* Run to an exit of that reason. */
struct mote_exit guest_run(struct mote_vcpu *vcpu, unsigned reason);

#endif
