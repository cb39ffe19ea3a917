/* boot_load: files of all kinds, what a file is taken for, flat images in each mode. */
#include "cases.h"

#include "base/bits.h"
#include "boot/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
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

static void assert_load_fails(struct machine *m, int err, const char *text)
{
    err_clear();
    assert_int_equal(boot_load(&m->params, &m->mem, &m->state), -err);
    if (!strstr(err_text(), text))
        fail_msg("\"%s\" does not say \"%s\"", err_text(), text);
}

static void refuses_what_is_no_file(void **state)
{
    struct machine *m = *state;
    char dir[] = "/tmp/mote-boot-XXXXXX", fifo[64], empty[64];

    assert_non_null(mkdtemp(dir));
    snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
    snprintf(empty, sizeof(empty), "%s/empty", dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(close(open(empty, O_CREAT | O_WRONLY, 0600)), 0);
    m->params.kernel_path = dir;
    assert_load_fails(m, EISDIR, ": is a directory, expected a kernel image");
    m->params.kernel_path = fifo;
    assert_load_fails(m, EINVAL, "/fifo: is not a regular file, expected a kernel image");
    m->params.kernel_path = empty;
    assert_load_fails(m, EINVAL, "/empty: is empty, expected a kernel image");
    m->params.kernel_path = "/nonexistent/kernel";
    assert_load_fails(m, ENOENT, "/nonexistent/kernel: cannot open a kernel image: No such file");
    m->params.kernel_path = "/dev/null";
    assert_load_fails(m, EINVAL, "not a regular file");
    assert_int_equal(chmod(empty, 0), 0);
    if (geteuid()) { /* root may read everything */
        m->params.kernel_path = empty;
        assert_load_fails(m, EACCES, "cannot open a kernel image");
    }
    m->params.kernel_path = "/proc/self/exe";
    m->params.initrd_path = dir;
    assert_load_fails(m, EISDIR, ": is a directory, expected an initrd");
    unlink(fifo);
    unlink(empty);
    rmdir(dir);
}

static void tells_of_a_file_that_shrinks(void **state)
{
    char path[] = "/tmp/mote-boot-XXXXXX";
    struct file file = {0};
    uint8_t buf[16];
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "0123456789abcdef", 16, 8192), 16);
    assert_int_equal(file_open(&file, path, "a kernel image"), 0);
    assert_int_equal(file.size, 8208);
    assert_int_equal(file_read(&file, 8192, buf, 16), 0);
    assert_memory_equal(buf, "0123456789abcdef", 16);
    assert_int_equal(ftruncate(fd, 8200), 0);
    err_clear();
    assert_int_equal(file_read(&file, 8192, buf, 16), -EIO);
    assert_non_null(strstr(err_text(), ": ended at byte 8200 while it was read, expected 8208"));
    file_close(&file);
    file_close(&file); /* harmless */
    close(fd);
    unlink(path);
}

static void refuses_what_is_no_kernel(void **state)
{
    struct machine *m = *state;
    struct image img;

    m->params.kernel_path = "/proc/self/exe";
    assert_load_fails(m, ENOEXEC, "neither a PVH note");
    image_init(&img, "notes.txt", 100);
    memset(img.bytes, 'a', 100);
    assert_refused(m, &img, NULL, ENOEXEC,
                   "notes.txt: not a kernel (expected bzImage, ELF with a PVH note, or multiboot)");
    image_free(&img);
}

static void prefers_pvh_to_multiboot(void **state)
{
    struct machine *m = *state;
    struct image img;

    image_elf32(&img, true, true);
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_int_equal(m->state.rip, ELF32_ADDR + 0x20);
    m->params.protocol = BOOT_MULTIBOOT;
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_int_equal(m->state.rip, ELF32_ADDR + 0x10);
    image_free(&img);
}

static void refuses_bad_parameters(void **state)
{
    struct machine *m = *state;
    struct image img;

    image_elf32(&img, true, true);
    m->params.e820_count = 0;
    assert_refused(m, &img, NULL, EINVAL, "memory map");
    m->params.e820_count = E820_MAX + 1;
    assert_refused(m, &img, NULL, EINVAL, "memory map");
    m->params.e820_count = 3;
    m->e820[1].size = UINT64_MAX;
    assert_refused(m, &img, NULL, EINVAL, "range 1 wraps");
    m->e820[1].size = 0x60400;
    m->params.protocol = 77;
    assert_refused(m, &img, NULL, EINVAL, "unknown boot protocol 77");
    assert_null(boot_protocol_name(77));
    assert_string_equal(boot_protocol_name(BOOT_LINUX_SELF), "linux-self");
    /* A map that promises memory which is not there. */
    m->params.protocol = BOOT_PVH;
    m->e820[2].base = RAM_SIZE;
    m->e820[2].size = RAM_SIZE;
    le32_put(img.bytes + 52 + 12, RAM_SIZE);
    assert_refused(m, &img, NULL, ENOMEM, "no guest memory");
    image_free(&img);
}

static void starts_flat_images(void **state)
{
    static const struct {
        uint64_t addr;
        enum boot_mode mode;
        uint16_t cs;
        uint64_t rip, cr0, efer;
    } rows[] = {
        {0x1000, BOOT_MODE_REAL, 0, 0x1000, 0, 0},
        {0x7c00, BOOT_MODE_REAL, 0, 0x7c00, 0, 0},
        {0x12345, BOOT_MODE_REAL, 0x1234, 5, 0, 0},
        {0x100000, BOOT_MODE_PROTECTED, 0x10, 0x100000, CR0_PE, 0},
        {0x8000, BOOT_MODE_LONG, 0x10, 0x8000, CR0_PE | CR0_PG, EFER_LME | EFER_LMA},
    };
    struct machine *m = *state;
    struct image img;

    image_init(&img, "flat", 4099);
    for (unsigned i = 0; i < img.file.size; i++)
        img.bytes[i] = image_byte(i);
    m->params.protocol = BOOT_FLAT;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        m->params.flat_addr = GPA(rows[i].addr);
        m->params.flat_mode = rows[i].mode;
        memset(m->ram, 0xcc, 1 << 20);
        assert_int_equal(machine_boot(m, &img.file, NULL), 0);
        assert_memory_equal(m->ram + rows[i].addr, img.bytes, img.file.size);
        assert_int_equal(m->state.seg[SEG_CS].selector, rows[i].cs);
        assert_int_equal(m->state.rip, rows[i].rip);
        assert_int_equal(m->state.seg[SEG_CS].base + m->state.rip, rows[i].addr);
        assert_int_equal(m->state.cr0 & ~CR0_ET, rows[i].cr0);
        assert_int_equal(m->state.msr.efer, rows[i].efer);
        assert_int_equal(m->state.gpr[RDX], 0);
        assert_int_equal(m->ram[BOOT_GDT + 0x10], rows[i].cr0 ? 0xff : i ? 0xcc : img.bytes[0x10]);
        if (rows[i].mode == BOOT_MODE_REAL)
            assert_int_equal(m->state.seg[SEG_CS].limit, 0xffff);
    }
    image_free(&img);
}

static void refuses_flat_images_that_cannot_be(void **state)
{
    struct machine *m = *state;
    struct image img;

    image_init(&img, "flat", 4096);
    m->params.protocol = BOOT_FLAT;
    m->params.flat_mode = BOOT_MODE_REAL;
    m->params.flat_addr = GPA(0x100000);
    assert_refused(m, &img, NULL, EINVAL, "0x100000 is not below 0x100000");
    m->params.flat_addr = GPA(0x9f000);
    assert_refused(m, &img, NULL, ENOMEM, "needs memory from 0x9f000");
    m->params.flat_mode = BOOT_MODE_LONG;
    m->params.flat_addr = GPA(UINT64_MAX);
    assert_refused(m, &img, NULL, EINVAL, "is not below 0x100000000");
    m->params.flat_addr = GPA(0x6800);
    assert_refused(m, &img, NULL, ENOMEM, "which is in use");
    m->params.flat_addr = GPA(RAM_SIZE - 4095);
    assert_refused(m, &img, NULL, ENOMEM, "in the guest\'s 64 MiB");
    m->params.flat_addr = GPA(RAM_SIZE - 4096);
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    m->params.flat_mode = 9;
    assert_refused(m, &img, NULL, EINVAL, "unknown start mode");
    assert_refused(m, &img, &img.file, EINVAL, "takes no initrd");
    image_free(&img);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(refuses_what_is_no_file),
        T(tells_of_a_file_that_shrinks),
        T(refuses_what_is_no_kernel),
        T(prefers_pvh_to_multiboot),
        T(refuses_bad_parameters),
        T(starts_flat_images),
        T(refuses_flat_images_that_cannot_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
