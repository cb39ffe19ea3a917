/* Multiboot 1: ELF32 and address fields, the information, modules, hostile headers. */
#include "cases.h"

#include "base/bits.h"
#include "boot/layout.h"

#include <errno.h>
#include <unistd.h>

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

/* A flat file that says itself where it goes: header at byte 16. */
static void image_kludge(struct image *img)
{
    static const uint32_t header[] = {
        0x1badb002, 0x10003,  -(0x1badb002u + 0x10003), /* magic, flags, checksum */
        0x200010,   0x200000, 0x200800,                 /* header, load, load end */
        0x201000,   0x200020,                           /* bss end, entry */
    };

    image_init(img, "kernel.bin", 0x1000);
    for (unsigned i = 0; i < img->file.size; i++)
        img->bytes[i] = image_byte(i);
    memcpy(img->bytes + 16, header, sizeof(header));
}

static void assert_multiboot_state(const struct machine *m, uint64_t entry)
{
    const struct mote_state *s = &m->state;

    assert_int_equal(s->rip, entry);
    assert_int_equal(s->gpr[RAX], 0x2badb002);
    assert_int_equal(s->gpr[RBX], BOOT_INFO);
    assert_int_equal(s->rflags & (FLAG_VM | FLAG_IF), 0);
    assert_int_equal(s->cr0 & (CR0_PE | CR0_PG), CR0_PE);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        assert_int_equal(s->seg[i].base, 0);
        assert_int_equal(s->seg[i].limit, UINT32_MAX);
        assert_int_equal(s->seg[i].attrib & (SEG_DB | SEG_L), SEG_DB);
        assert_int_equal(s->seg[i].attrib & SEG_TYPE, i == SEG_CS ? 11 : 3);
    }
}

static void loads_elf32(void **state)
{
    struct machine *m = *state;
    struct image img;

    image_elf32(&img, true, false);
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_multiboot_state(m, ELF32_ADDR + 0x10);
    assert_filled(m->ram + ELF32_ADDR + 12, 12, 0x2000 - 12);
    assert_zeroed(m->ram + ELF32_ADDR + 0x2000, 0x1000);
    image_free(&img);
}

static void loads_by_address_fields(void **state)
{
    struct machine *m = *state;
    struct image img;

    image_kludge(&img);
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_multiboot_state(m, 0x200020);
    assert_memory_equal(m->ram + 0x200000, img.bytes, 0x800);
    assert_zeroed(m->ram + 0x200800, 0x800);
    assert_int_equal(m->ram[0x201000], 0xcc);
    /* No load end: the whole file; no bss end: none. */
    le32_put(img.bytes + 16 + 20, 0);
    le32_put(img.bytes + 16 + 24, 0);
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_memory_equal(m->ram + 0x200000, img.bytes, 0x1000);
    /* The load may start at the header. */
    le32_put(img.bytes + 16 + 16, 0x200010);
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_memory_equal(m->ram + 0x200010, img.bytes + 16, 0xff0);
    image_free(&img);
}

static void fills_the_information(void **state)
{
    struct machine *m = *state;
    const uint8_t *info = m->ram + BOOT_INFO, *map;
    struct image img;

    image_elf32(&img, true, false);
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_int_equal(le32_get(info), 0x245);
    assert_int_equal(le32_get(info + 4), 639);
    assert_int_equal(le32_get(info + 8), 63 * 1024);
    assert_string_equal((char *)m->ram + le32_get(info + 16), "console=ttyS0");
    assert_int_equal(le32_get(info + 20), 0);
    assert_int_equal(le32_get(info + 44), 3 * 24);
    map = m->ram + le32_get(info + 48);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(le32_get(map + i * 24), 20);
        assert_int_equal(le64_get(map + i * 24 + 4), m->e820[i].base);
        assert_int_equal(le64_get(map + i * 24 + 12), m->e820[i].size);
        assert_int_equal(le32_get(map + i * 24 + 20), m->e820[i].type);
    }
    assert_memory_equal(m->ram + le32_get(info + 64), "mote ", 5);
    image_free(&img);
}

static void loads_modules(void **state)
{
    struct machine *m = *state;
    const uint8_t *info = m->ram + BOOT_INFO, *list;
    char path[] = "/tmp/mote-module-XXXXXX";
    int fd = mkstemp(path);
    struct boot_module mods[BOOT_MODULES_MAX];
    struct file rd = {.path = "initrd", .data = (const uint8_t *)"ramdisk", .size = 7};
    struct image img;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "module!", 7), 7);
    close(fd);
    for (unsigned i = 0; i < BOOT_MODULES_MAX; i++)
        mods[i] = (struct boot_module){path, i ? "mod arg" : NULL};
    m->params.modules = mods;
    m->params.module_count = BOOT_MODULES_MAX;
    image_elf32(&img, true, false);
    assert_int_equal(machine_boot(m, &img.file, &rd), 0);
    assert_int_equal(le32_get(info) & 8, 8);
    assert_int_equal(le32_get(info + 20), BOOT_MODULES_MAX + 1);
    list = m->ram + le32_get(info + 24);
    for (unsigned i = 0; i <= BOOT_MODULES_MAX; i++) {
        uint32_t start = le32_get(list + i * 16);

        assert_int_equal(start & PAGE_MASK, 0);
        assert_int_equal(le32_get(list + i * 16 + 4), start + 7);
        assert_memory_equal(m->ram + start, i ? "module!" : "ramdisk", 7);
        assert_string_equal((char *)m->ram + le32_get(list + i * 16 + 8), i == 0   ? "initrd"
                                                                          : i == 1 ? path
                                                                                   : "mod arg");
    }
    m->params.module_count = BOOT_MODULES_MAX + 1;
    assert_refused(m, &img, &rd, EINVAL, "33 modules");
    m->params.module_count = 1;
    mods[0].path = "/nonexistent/module";
    assert_refused(m, &img, NULL, ENOENT, "/nonexistent/module: cannot open a module");
    image_free(&img);
    image_elf64(&img, true);
    assert_refused(m, &img, NULL, EINVAL, "modules need a multiboot kernel");
    unlink(path);
    image_free(&img);
}

static void refuses_elf64(void **state)
{
    struct machine *m = *state;
    struct image img;

    image_elf64(&img, false);
    le32_put(img.bytes + 0x1000, 0x1badb002);
    le32_put(img.bytes + 0x1004, 0);
    le32_put(img.bytes + 0x1008, -0x1badb002u);
    assert_refused(m, &img, NULL, ENOEXEC, "64-bit ELF");
    image_free(&img);
}

static const struct {
    unsigned at; /* in the header of image_kludge */
    uint32_t value;
    int err;
    const char *text;
} bad[] = {
    {8, 0, ENOEXEC, "not a kernel"},
    {12, 0x1ffff0, ENOEXEC, "does not fit header address"},
    {12, 0x200011, ENOEXEC, "does not fit header address"},
    {16, 0x1ffff0, ENOEXEC, "does not fit header address"},
    {16, 0xffffffff, ENOEXEC, "does not fit header address"},
    {20, 0x201001, ENOEXEC, "the file has less"},
    {20, 0x1000, ENOEXEC, "the file has less"},
    {20, 0xffffffff, ENOEXEC, "the file has less"},
    {24, 0x200001, ENOEXEC, "before the data"},
    {24, 0xffffffff, ENOMEM, "in the guest\'s 64 MiB"},
    {28, 0x1fffff, ENOEXEC, "entry 0x1fffff lies outside"},
    {28, 0x200800, ENOEXEC, "lies outside"},
};

static void refuses_bad_headers(void **state)
{
    struct machine *m = *state;
    struct image img;

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        image_kludge(&img);
        le32_put(img.bytes + 16 + bad[i].at, bad[i].value);
        assert_refused(m, &img, NULL, bad[i].err, bad[i].text);
        image_free(&img);
    }
    image_kludge(&img);
    le32_put(img.bytes + 16 + 4, 0x10008);
    le32_put(img.bytes + 16 + 8, -(0x1badb002u + 0x10008));
    assert_refused(m, &img, NULL, ENOEXEC, "unknown features");
    image_free(&img);
}

static void refuses_truncated_files(void **state)
{
    struct machine *m = *state;
    struct image img;

    image_elf32(&img, true, false);
    for (unsigned i = 0; i < 16; i++)
        assert_refused_cut(m, &img, img.file.size * i / 16);
    image_free(&img);
    image_kludge(&img);
    for (unsigned i = 0; i < 8; i++) /* the second half is not loaded */
        assert_refused_cut(m, &img, img.file.size * i / 16);
    for (unsigned i = 0; i < 60; i++)
        assert_refused_cut(m, &img, i);
    image_free(&img);
}

static void reports_tiny_memory(void **state)
{
    struct machine *m = *state;
    struct image img;

    m->e820[0].size = 1024;
    m->params.e820_count = 1;
    image_elf32(&img, true, false);
    assert_refused(m, &img, NULL, ENOMEM, "in the guest's 1 KiB");
    image_free(&img);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(loads_elf32),
        T(loads_by_address_fields),
        T(fills_the_information),
        T(loads_modules),
        T(refuses_elf64),
        T(refuses_bad_headers),
        T(refuses_truncated_files),
        T(reports_tiny_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
