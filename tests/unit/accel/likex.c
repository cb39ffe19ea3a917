/* LiKeX's 12 bytes on every accelerator: '4', a newline, HLT, in that order. */
#include "fixture.h"

#include "base/bits.h"

#include <stdio.h>

static uint8_t image[64];
static size_t image_size;

static int take_byte(void *user, uint16_t port, unsigned size, bool write, uint64_t *data)
{
    assert_int_equal(port, 0x3f8);
    assert_int_equal(size, 1);
    assert_true(write);
    *(char *)user = (char)*data;
    return 0;
}

static void expect_byte(struct fixture *f, char byte)
{
    char got = 0;
    const struct accel_bus_ops ops = {.io = take_byte, .user = &got};
    struct vcpu_exit exit = fixture_expect(f, VCPU_EXIT_IO);

    assert_int_equal(exit.io.port, 0x3f8);
    assert_int_equal(exit.io.size, 1);
    assert_false(exit.io.in);
    assert_int_equal(vcpu_assist(f->v, &ops), 0);
    assert_int_equal(got, byte);
}

static void prints_4(void **state)
{
    const struct accel *accel = *state;
    struct fixture f;

    fixture_require(accel);
    assert_int_equal(image_size, 12);
    fixture_create(&f, accel);
    fixture_real(&f, image, image_size);
    f.v->state->gpr[RAX] = 2;
    f.v->state->gpr[RBX] = 2;
    expect_byte(&f, '4');
    expect_byte(&f, '\n');
    fixture_expect(&f, VCPU_EXIT_HALT);
    assert_int_equal(vcpu_get(f.v, X86_GPRS), 0);
    assert_int_equal(f.v->state->rip, CODE + 12);
    fixture_destroy(&f);
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    const struct CMUnitTest tests[] = {cmocka_unit_test(prints_4)};

    if (!file) {
        fprintf(stderr, "usage: test-likex IMAGE\n");
        return 2;
    }
    image_size = fread(image, 1, sizeof(image), file);
    fclose(file);
    return fixture_run_all("likex", tests, ARRAY_SIZE(tests));
}
