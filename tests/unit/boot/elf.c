/* ELF and PVH: segments, notes, start_info, the entry state, hostile headers. */
#include "cases.h"

#include "base/bits.h"
#include "boot/elf.h"
#include "boot/layout.h"

#include <elf.h>
#include <errno.h>

static int setup(void **state)
{
    struct machine *m = malloc(sizeof(*m));

    machine_init(m, RAM_SIZE);
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    machine_free(*state);
    free(*state);
    return 0;
}

static void assert_pvh_state(const struct machine *m, uint64_t entry)
{
    const struct mote_state *s = &m->state;

    assert_int_equal(s->rip, entry);
    assert_int_equal(s->gpr[RBX], BOOT_INFO);
    assert_int_equal(s->rflags, FLAG_R1);
    assert_int_equal(s->cr0 & ~CR0_ET, CR0_PE);
    assert_int_equal(s->cr4, 0);
    assert_int_equal(s->msr.efer, 0);
    for (unsigned i = SEG_ES; i <= SEG_DS; i++) {
        assert_int_equal(s->seg[i].base, 0);
        assert_int_equal(s->seg[i].limit, UINT32_MAX);
        assert_int_equal(s->seg[i].attrib & (SEG_DB | SEG_L | SEG_P | SEG_S),
                         SEG_DB | SEG_P | SEG_S);
        assert_int_equal(s->seg[i].attrib & SEG_TYPE, i == SEG_CS ? 11 : 3);
    }
    assert_int_equal(s->seg[SEG_TR].base, 0);
    assert_int_equal(s->seg[SEG_TR].limit, 0x67);
    assert_int_equal(s->seg[SEG_TR].attrib, SEG_P | 11);
}

static void loads_pvh_of_both_classes(void **state)
{
    struct machine *m = *state;
    struct image img;

    image_elf64(&img, true);
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_pvh_state(m, PVH_ENTRY);
    assert_filled(m->ram + KERNEL_ADDR, 0, TEXT_LEN);
    assert_filled(m->ram + DATA_ADDR, 0, DATA_LEN);
    assert_zeroed(m->ram + DATA_ADDR + DATA_LEN, DATA_MEMSZ - DATA_LEN);
    image_free(&img);
    image_elf32(&img, false, true);
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_pvh_state(m, ELF32_ADDR + 0x20);
    assert_filled(m->ram + ELF32_ADDR, 0, 0x2000);
    assert_zeroed(m->ram + ELF32_ADDR + 0x2000, 0x1000);
    assert_int_equal(m->ram[ELF32_ADDR + 0x3000], 0xcc);
    image_free(&img);
}

static void fills_start_info(void **state)
{
    struct machine *m = *state;
    const uint8_t *si = m->ram + BOOT_INFO, *mod, *map;
    uint8_t initrd[777];
    struct file rd = {.path = "initrd", .data = initrd, .size = sizeof(initrd)};
    struct image img;

    memset(initrd, 0x77, sizeof(initrd));
    image_elf64(&img, true);
    assert_int_equal(machine_boot(m, &img.file, &rd), 0);
    assert_int_equal(le32_get(si), 0x336ec578);
    assert_int_equal(le32_get(si + 4), 1);
    assert_int_equal(le32_get(si + 8), 0);
    assert_int_equal(le32_get(si + 12), 1);
    mod = m->ram + le64_get(si + 16);
    assert_string_equal((char *)m->ram + le64_get(si + 24), "console=ttyS0");
    assert_int_equal(le64_get(si + 32), 0xe0000);
    map = m->ram + le64_get(si + 40);
    assert_int_equal(le32_get(si + 48), 3);
    assert_int_equal(le64_get(mod + 8), sizeof(initrd));
    assert_memory_equal(m->ram + le64_get(mod), initrd, sizeof(initrd));
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(le64_get(map + i * 24), m->e820[i].base);
        assert_int_equal(le64_get(map + i * 24 + 8), m->e820[i].size);
        assert_int_equal(le32_get(map + i * 24 + 16), m->e820[i].type);
    }
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_int_equal(le32_get(si + 12), 0);
    assert_int_equal(le64_get(si + 16), 0);
    image_free(&img);
}

static void reads_notes_of_all_shapes(void **state)
{
    struct machine *m = *state;
    struct image img;
    uint8_t *note;
    uint64_t len;

    /* A value of 8 bytes, behind a note of another owner, aligned to 8. */
    image_elf64(&img, true);
    note = img.bytes + 0x1000;
    memset(note, 0, 64);
    le32_put(note, 4);
    le32_put(note + 4, 4);
    le32_put(note + 8, 18);
    memcpy(note + 12, "GNU", 4);
    le32_put(note + 24, 4);
    le32_put(note + 28, 8);
    le32_put(note + 32, 18);
    memcpy(note + 36, "Xen", 4);
    le64_put(note + 40, PVH_ENTRY + 8);
    le64_put(img.bytes + 64 + 2 * 56 + 32, 48);
    le64_put(img.bytes + 64 + 2 * 56 + 48, 8);
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_int_equal(m->state.rip, PVH_ENTRY + 8);
    /* Sizes that lead nowhere are no note. */
    le32_put(note, UINT32_MAX);
    assert_refused(m, &img, NULL, ENOEXEC, "neither a PVH note");
    le32_put(note, 4);
    le32_put(note + 4, UINT32_MAX);
    assert_refused(m, &img, NULL, ENOEXEC, "neither a PVH note");
    image_free(&img);
    /* Of notes no more than 64 KiB is read. */
    image_elf64(&img, true);
    memcpy(img.bytes + 64 + 3 * 56, img.bytes + 64 + 2 * 56, 56);
    img.bytes[56] = 4; /* e_phnum */
    len = le64_get(img.bytes + 64 + 2 * 56 + 32);
    le64_put(img.bytes + 64 + 2 * 56 + 8, 0x200);
    le64_put(img.bytes + 64 + 2 * 56 + 32, 0x10000 - len);
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    le64_put(img.bytes + 64 + 2 * 56 + 32, 0x10000 - len + 1);
    assert_refused(m, &img, NULL, ENOEXEC, "neither a PVH note");
    image_free(&img);
}

static void refuses_truncated_files(void **state)
{
    struct machine *m = *state;
    struct image img;

    for (unsigned is64 = 0; is64 < 2; is64++) {
        if (is64)
            image_elf64(&img, true);
        else
            image_elf32(&img, false, true);
        for (unsigned i = 0; i < 16; i++)
            assert_refused_cut(m, &img, img.file.size * i / 16);
        for (uint64_t size = 0; size < 300; size++)
            assert_refused_cut(m, &img, size);
        image_free(&img);
    }
}

/* Fields of the ELF64 file: headers at 0, 64 (text), 120 (data), 176 (note). */
static const struct {
    unsigned at, bytes;
    uint64_t value;
    int err;
    const char *text;
} bad[] = {
    {5, 1, 2, ENOEXEC, "another architecture"}, /* big-endian */
    {16, 2, ET_REL, ENOEXEC, "not an executable"},
    {18, 2, EM_AARCH64, ENOEXEC, "another architecture (machine 183), expected x86-64"},
    {18, 2, EM_386, ENOEXEC, "another architecture"},
    {32, 8, UINT64_MAX - 10, ENOEXEC, "program headers"},
    {54, 2, 55, ENOEXEC, "program headers"},
    {56, 2, 0xffff, ENOEXEC, "program headers"},
    {56, 2, 0, ENOEXEC, "nothing to load"},
    {64 + 8, 8, UINT64_MAX - 100, ENOEXEC, "truncated"},
    {64 + 24, 8, UINT64_MAX - 100, ENOEXEC, "invalid"},
    {64 + 24, 8, UINT64_C(1) << 50, ENOMEM, "in the guest\'s 64 MiB"},
    {64 + 24, 8, 0x9f000, ENOMEM, "needs memory"},
    {64 + 24, 8, 0x5000, ENOMEM, "which is in use"},
    {64 + 32, 8, UINT64_MAX, ENOEXEC, "invalid"},
    {64 + 40, 8, 1, ENOEXEC, "invalid"},
    {64 + 40, 8, RAM_SIZE, ENOMEM, "needs memory"},
    {0x1010, 4, 0x1000, ENOEXEC, "PVH entry point 0x1000 is in no segment"},
    {176 + 8, 8, UINT64_MAX, ENOEXEC, "neither a PVH note"},
    {176 + 32, 8, UINT64_MAX, ENOEXEC, "neither a PVH note"},
};

static void refuses_bad_headers(void **state)
{
    struct machine *m = *state;

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct image img;

        image_elf64(&img, true);
        memcpy(img.bytes + bad[i].at, &bad[i].value, bad[i].bytes);
        assert_refused(m, &img, NULL, bad[i].err, bad[i].text);
        image_free(&img);
    }
}

static void names_what_is_missing(void **state)
{
    struct machine *m = *state;
    struct image img;

    image_elf64(&img, false);
    assert_refused(m, &img, NULL, ENOEXEC,
                   "neither a PVH note (Linux: CONFIG_PVH) nor a multiboot");
    m->params.protocol = BOOT_PVH;
    assert_refused(m, &img, NULL, ENOEXEC, "without a PVH note");
    m->params.protocol = BOOT_LINUX;
    assert_refused(m, &img, NULL, ENOEXEC, "not a bzImage");
    image_free(&img);
}

static void translates_a_virtual_entry(void **state)
{
    struct elf_image elf;
    struct image img;
    uint64_t entry;

    image_elf64(&img, false);
    assert_int_equal(elf_parse(&elf, &img.file), 0);
    assert_int_equal(elf_entry(&elf, &entry), 0);
    assert_int_equal(entry, KERNEL_ADDR);
    elf.entry = 0xffffffff81200010;
    assert_int_equal(elf_entry(&elf, &entry), 0);
    assert_int_equal(entry, DATA_ADDR + 0x10);
    elf.entry = 0x1234;
    assert_int_equal(elf_entry(&elf, &entry), -ENOEXEC);
    assert_true(elf_moves_down(&elf, KERNEL_ADDR - 0x200000 + 0x200000));
    assert_false(elf_moves_down(&elf, KERNEL_ADDR - 0x200000));
    image_free(&img);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(loads_pvh_of_both_classes),  T(fills_start_info),    T(reads_notes_of_all_shapes),
        T(refuses_truncated_files),    T(refuses_bad_headers), T(names_what_is_missing),
        T(translates_a_virtual_entry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
