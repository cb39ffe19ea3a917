/* bzImage: every packing, the zero page, the entry state, initrd placement, hostile headers. */
#include "cases.h"

#include "base/bits.h"
#include "boot/layout.h"
#include "boot/unpack.h"

#include <errno.h>
#include <sys/mman.h>
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

static void assert_long_mode(const struct machine *m, uint64_t rip)
{
    const struct mote_state *s = &m->state;
    const uint8_t *gdt = m->ram + s->gdtr.base;

    assert_int_equal(s->rip, rip);
    assert_int_equal(s->rflags, FLAG_R1);
    assert_int_equal(s->cr0 & (CR0_PE | CR0_PG | CR0_NW | CR0_CD), CR0_PE | CR0_PG);
    assert_int_equal(s->cr4, CR4_PAE);
    assert_int_equal(s->msr.efer, EFER_LME | EFER_LMA);
    assert_int_equal(s->seg[SEG_CS].selector, 0x10);
    assert_int_equal(s->seg[SEG_CS].attrib & (SEG_L | SEG_DB | SEG_P | SEG_TYPE),
                     SEG_L | SEG_P | 11);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        if (i != SEG_CS)
            assert_int_equal(s->seg[i].selector, 0x18);
        assert_int_equal(s->seg[i].base, 0);
        assert_int_equal(s->seg[i].limit, UINT32_MAX);
    }
    /* What the descriptors say is what the segments hold. */
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        uint64_t desc = le64_get(gdt + s->seg[i].selector);

        assert_int_equal((desc >> 40) & 0xf0ff, s->seg[i].attrib);
    }
    assert_int_equal(le64_get(gdt + s->seg[SEG_TR].selector) >> 40 & 0xff, 0x8b);
}

/* Walk the tables as the processor would, 2 MiB pages. */
static void assert_identity_4g(const struct machine *m)
{
    for (uint64_t va = 0; va < BIT(32); va += 0x1ff000) {
        uint64_t pml4e = le64_get(m->ram + m->state.cr3 + ((va >> 39) & 511) * 8);
        uint64_t pdpte = le64_get(m->ram + (pml4e & ~PAGE_MASK) + ((va >> 30) & 511) * 8);
        uint64_t pde = le64_get(m->ram + (pdpte & ~PAGE_MASK) + ((va >> 21) & 511) * 8);

        assert_int_equal(pml4e & 0xfff, 3);
        assert_int_equal(pdpte & 0xfff, 3);
        assert_int_equal(pde & 0xfff, 0x83);
        assert_int_equal(pde & ~UINT64_C(0x1fffff), va & ~UINT64_C(0x1fffff));
    }
}

static void unpacks_every_format(void **state)
{
    struct machine *m = *state;

    for (enum packing p = 0; p < PACK_COUNT; p++) {
        struct image img;

        if (!pack_available(p)) {
            print_message("packing %d: its library is missing, not tested\n", p);
            continue;
        }
        memset(m->ram, 0xcc, RAM_SIZE);
        image_bzimage(&img, p);
        assert_int_equal(machine_boot(m, &img.file, NULL), 0);
        assert_filled(m->ram + KERNEL_ADDR, 0, TEXT_LEN);
        assert_filled(m->ram + DATA_ADDR, 0, DATA_LEN);
        assert_zeroed(m->ram + DATA_ADDR + DATA_LEN, DATA_MEMSZ - DATA_LEN);
        assert_int_equal(m->ram[DATA_ADDR + DATA_MEMSZ], 0xcc);
        assert_long_mode(m, KERNEL_ADDR);
        assert_identity_4g(m);
        assert_int_equal(m->state.gpr[RSI], BOOT_INFO);
        image_free(&img);
    }
}

static void loads_by_copy_when_memory_is_short(void **state)
{
    struct machine small;
    struct image img;

    /* The unpacked file needs up to pref + init_size; its segments end at 18 MiB. */
    machine_init(&small, 19 << 20);
    image_bzimage(&img, PACK_ELF);
    assert_int_equal(machine_boot(&small, &img.file, NULL), 0);
    assert_filled(small.ram + KERNEL_ADDR, 0, TEXT_LEN);
    assert_zeroed(small.ram + DATA_ADDR + DATA_LEN, DATA_MEMSZ - DATA_LEN);
    small.params.protocol = BOOT_LINUX_SELF;
    assert_refused(&small, &img, NULL, ENOMEM, "in the guest\'s 19 MiB");
    machine_free(&small);
    machine_init(&small, 18 << 20);
    assert_refused(&small, &img, NULL, ENOMEM, "in the guest\'s 18 MiB");
    machine_free(&small);
    image_free(&img);
}

static void self_unpacking_enters_startup_64(void **state)
{
    struct machine *m = *state;
    struct image img;

    image_bzimage(&img, PACK_ELF);
    m->params.protocol = BOOT_LINUX_SELF;
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_memory_equal(m->ram + KERNEL_ADDR, img.bytes + 1024, img.file.size - 1024);
    assert_long_mode(m, KERNEL_ADDR + 0x200);
    assert_identity_4g(m);
    assert_int_equal(m->state.gpr[RSI], BOOT_INFO);
    image_free(&img);
}

static void fills_the_zero_page(void **state)
{
    struct machine *m = *state;
    const uint8_t *zp = m->ram + BOOT_INFO;
    uint8_t initrd[5000];
    struct file rd = {.path = "initrd", .data = initrd, .size = sizeof(initrd)};
    struct image img;
    uint64_t at, seed;

    memset(initrd, 0x5a, sizeof(initrd));
    image_bzimage(&img, PACK_ELF);
    assert_int_equal(machine_boot(m, &img.file, &rd), 0);
    assert_int_equal(zp[0x1ef], 0); /* sentinel */
    assert_int_equal(zp[0x210], 0xff);
    assert_memory_equal(zp + 0x202, "HdrS", 4);
    assert_int_equal(le16_get(zp + 0x206), 0x20f);
    assert_int_equal(le64_get(zp + 0x258), KERNEL_ADDR);
    assert_int_equal(le64_get(zp + 0x070), 0xe0000);
    assert_string_equal((char *)m->ram + le32_get(zp + 0x228), "console=ttyS0");
    assert_int_equal(zp[0x1e8], 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(le64_get(zp + 0x2d0 + i * 20), m->e820[i].base);
        assert_int_equal(le64_get(zp + 0x2d8 + i * 20), m->e820[i].size);
        assert_int_equal(le32_get(zp + 0x2e0 + i * 20), m->e820[i].type);
    }
    assert_zeroed(zp, 0x70); /* screen_info and what follows */
    at = le32_get(zp + 0x218);
    assert_int_equal(le32_get(zp + 0x0c0), 0);
    assert_int_equal(le32_get(zp + 0x21c), sizeof(initrd));
    assert_int_equal(at, RAM_SIZE - 8192);
    assert_memory_equal(m->ram + at, initrd, sizeof(initrd));
    seed = le64_get(zp + 0x250);
    assert_int_equal(le64_get(m->ram + seed), 0);
    assert_int_equal(le32_get(m->ram + seed + 8), 9);
    assert_int_equal(le32_get(m->ram + seed + 12), 32);
    image_free(&img);
}

static void places_an_initrd_of_any_size_that_fits(void **state)
{
    struct machine *m = *state;
    /* Above the kernel and below it: all of RAM but the kernel's span. */
    uint64_t above = RAM_SIZE - align_up(DATA_ADDR + DATA_MEMSZ, PAGE_SIZE);
    uint64_t sizes[] = {1, 4096, 4097, 20 << 20, above, above + 1, 0x1000000 - 0x100000};
    uint8_t *data = calloc(1, RAM_SIZE);
    struct image img;

    image_bzimage(&img, PACK_ELF);
    memset(data, 0xa5, RAM_SIZE);
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct file rd = {.path = "initrd", .data = data, .size = sizes[i]};
        uint64_t at;

        if (sizes[i] == above + 1) {
            assert_refused(m, &img, &rd, ENOMEM, "does not fit beside the kernel in 64 MiB");
            continue;
        }
        assert_int_equal(machine_boot(m, &img.file, &rd), 0);
        at = le32_get(m->ram + BOOT_INFO + 0x218);
        assert_int_equal(at & PAGE_MASK, 0);
        assert_true(range_in(at, sizes[i], RAM_SIZE));
        assert_true(at >= DATA_ADDR + DATA_MEMSZ || at + sizes[i] <= KERNEL_ADDR);
        assert_memory_equal(m->ram + at, data, sizes[i]);
        assert_filled(m->ram + KERNEL_ADDR, 0, TEXT_LEN);
    }
    /* A kernel that wants its initrd low gets it there, or an error. */
    le16_put(img.bytes + 0x236, 1);
    le32_put(img.bytes + 0x22c, 0x17fffff);
    assert_int_equal(
        machine_boot(m, &img.file, &(struct file){.path = "initrd", .data = data, .size = 4096}),
        0);
    assert_int_equal(le32_get(m->ram + BOOT_INFO + 0x218), 0x17ff000);
    assert_refused(m, &img, &(struct file){.path = "initrd", .data = data, .size = 16 << 20},
                   ENOMEM, "does not fit");
    free(data);
    image_free(&img);
}

static void places_a_large_initrd_above_4g(void **state)
{
    enum { HIGH = 48 << 20 };
    struct machine *m = *state;
    uint8_t *data = calloc(1, HIGH), *high = aligned_alloc(4096, HIGH);
    struct boot_e820 e820[4] = {m->e820[0], m->e820[1], m->e820[2], {BIT(32), HIGH, E820_RAM}};
    const uint8_t *zp = m->ram + BOOT_INFO;
    struct file rd = {.path = "initrd", .data = data, .size = 4096};
    struct image img;

    m->params.e820 = e820;
    m->params.e820_count = 4;
    assert_int_equal(guest_mem_map(&m->mem, GPA(BIT(32)), HIGH, high, MEM_RWX), 0);
    image_bzimage(&img, PACK_ELF);
    assert_int_equal(machine_boot(m, &img.file, &rd), 0); /* a small one stays low */
    assert_int_equal(le32_get(zp + 0x0c0), 0);
    assert_int_equal(le32_get(zp + 0x218), RAM_SIZE - 4096);
    rd.size = HIGH;
    memset(data, 0x3c, HIGH);
    assert_int_equal(machine_boot(m, &img.file, &rd), 0);
    assert_int_equal(le32_get(zp + 0x0c0), 1);
    assert_int_equal(le32_get(zp + 0x218), 0);
    assert_int_equal(le32_get(zp + 0x21c), HIGH);
    assert_memory_equal(high, data, HIGH);
    le16_put(img.bytes + 0x236, 1); /* a kernel that cannot */
    assert_refused(m, &img, &rd, ENOMEM, "initrd of 50331648 bytes does not fit");
    free(data);
    free(high);
    image_free(&img);
}

static void limits_the_command_line(void **state)
{
    struct machine *m = *state;
    char cmdline[2049];
    struct image img;

    image_bzimage(&img, PACK_ELF);
    memset(cmdline, 'x', sizeof(cmdline));
    cmdline[2047] = 0;
    m->params.cmdline = cmdline;
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_string_equal((char *)m->ram + BOOT_CMDLINE, cmdline);
    cmdline[2047] = 'x';
    cmdline[2048] = 0;
    assert_refused(m, &img, NULL, E2BIG, "at most 2047");
    m->params.cmdline = NULL;
    assert_int_equal(machine_boot(m, &img.file, NULL), 0);
    assert_int_equal(m->ram[BOOT_CMDLINE], 0);
    image_free(&img);
}

static void refuses_truncated_files(void **state)
{
    struct machine *m = *state;

    for (enum packing p = 0; p < PACK_COUNT; p++) {
        struct image img;

        if (!pack_available(p))
            continue;
        image_bzimage(&img, p);
        m->params.protocol = BOOT_LINUX;
        for (unsigned i = 0; i < 16; i++)
            assert_refused_cut(m, &img, img.file.size * i / 16);
        for (uint64_t size = 0x1e0; size < 0x280; size++)
            assert_refused_cut(m, &img, size);
        image_free(&img);
    }
}

/* A file in memory, until the next. */
static const struct file *memory(const uint8_t *data, uint64_t size)
{
    static struct file file;

    file = (struct file){.path = "kernel", .data = data, .size = size};
    return &file;
}

static void refuses_truncated_payloads(void **state)
{
    struct image elf;
    uint8_t *out = malloc(4 << 20), *packed = malloc(4 << 20);

    image_elf64(&elf, false);
    for (enum packing p = PACK_LZ4; p < PACK_COUNT; p++) {
        uint64_t len, got;

        if (!pack_available(p))
            continue;
        len = pack(p, elf.bytes, elf.file.size, packed, 4 << 20);
        assert_int_equal(unpack(memory(packed, len), 0, len, out, 4 << 20, &got), 0);
        assert_int_equal(got, elf.file.size);
        assert_memory_equal(out, elf.bytes, got);
        for (unsigned i = 0; i < 16; i++) {
            uint8_t *cut = malloc(len * i / 16 + 1);

            memcpy(cut, packed, len * i / 16);
            assert_int_equal(unpack(memory(cut, len * i / 16), 0, len * i / 16, out, 4 << 20, &got),
                             -ENOEXEC);
            free(cut);
        }
    }
    free(out);
    free(packed);
    image_free(&elf);
}

static void stops_a_payload_bomb(void **state)
{
    enum { LIMIT = 1 << 20 };
    uint8_t *zeros = calloc(1, 32 << 20), *packed = malloc(33 << 20), *out = malloc(LIMIT + 16);

    for (enum packing p = 0; p < PACK_COUNT; p++) {
        uint64_t len, got;

        if (!pack_available(p))
            continue;
        memcpy(zeros, "\177ELF", 4);
        len = pack(p, zeros, 32 << 20, packed, 33 << 20);
        memset(out, 0xee, LIMIT + 16);
        assert_int_equal(unpack(memory(packed, len), 0, len, out, LIMIT, &got), -ENOSPC);
        assert_non_null(strstr(err_text(), "1048576 bytes"));
        for (unsigned i = 0; i < 16; i++)
            assert_int_equal(out[LIMIT + i], 0xee);
    }
    free(zeros);
    free(packed);
    free(out);
}

/* An ELF file in name only, half of it random and half not. */
static uint8_t *mixed(uint64_t size)
{
    uint8_t *data = malloc(size);
    unsigned seed = 1;

    for (uint64_t i = 0; i < size; i++)
        data[i] = i & 0x8000 ? (uint8_t)(rand_r(&seed) >> 8) : image_byte(i);
    memcpy(data, "\177ELF", 4);
    return data;
}

/* Payloads of several pieces and LZ4 blocks, from a file; with room behind them and without. */
static void unpacks_piece_by_piece(void **state)
{
    enum { SIZE = 18 << 20, PACKED = 1 << 20, OFFSET = 999 };
    uint8_t *data = mixed(SIZE), *packed = malloc(SIZE + (2 << 20)), *out = malloc(2 * SIZE);

    for (enum packing p = PACK_LZ4; p < PACK_COUNT; p++) {
        char path[] = "/tmp/mote-bzimage-XXXXXX";
        uint64_t size = p == PACK_LZ4 ? SIZE : PACKED, len, got;
        struct file file = {0};
        int fd = mkstemp(path);

        assert_true(fd >= 0);
        unlink(path);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (!pack_available(p)) {
            close(fd);
            continue;
        }
        len = pack(p, data, size, packed, SIZE + (2 << 20));
        assert_true(len > 300 << 10);
        assert_int_equal(pwrite(fd, packed, len, OFFSET), len);
        assert_int_equal(file_open(&file, path, "a kernel image"), 0);
        for (unsigned room = 0; room < 3; room++) {
            uint64_t max = size + room * len / 2;

            memset(out, 0xee, 2 * SIZE);
            assert_int_equal(unpack(&file, OFFSET, len, out, max, &got), 0);
            assert_int_equal(got, size);
            assert_memory_equal(out, data, size);
            assert_int_equal(out[max], 0xee);
        }
        assert_int_equal(unpack(&file, OFFSET, len, out, size - 1, &got), -ENOSPC);
        assert_int_equal(ftruncate(fd, (off_t)(OFFSET + len / 2)), 0);
        assert_int_equal(unpack(&file, OFFSET, len, out, 2 * SIZE, &got), -EIO);
        assert_non_null(strstr(err_text(), "while it was read"));
        file_close(&file);
        close(fd);
    }
    free(data);
    free(packed);
    free(out);
}

/* A header may announce nearly 4 GiB: what is more than the guest's RAM is not unpacked. */
static void unpacks_no_more_than_guest_ram(void **state)
{
    enum { SIZE = 72 << 20 };
    struct machine *m = *state;
    uint8_t *zeros = calloc(1, SIZE);
    struct image img;

    if (!pack_available(PACK_GZIP))
        skip();
    memcpy(zeros, "\177ELF", 4);
    image_bzimage(&img, PACK_ELF);
    le32_put(img.bytes + 0x24c,
             (uint32_t)pack(PACK_GZIP, zeros, SIZE, img.bytes + 1024 + 0x400, 1 << 20));
    le32_put(img.bytes + 0x260, 0xe0000000);
    assert_refused(m, &img, NULL, ENOMEM,
                   "kernel unpacks to more than the guest's 64 MiB of memory");
    free(zeros);
    image_free(&img);
}

static void survives_corrupt_payloads(void **state)
{
    struct image elf;
    uint8_t *out = malloc(4 << 20), *packed = malloc(4 << 20);
    unsigned seed = 1;

    image_elf64(&elf, false);
    for (enum packing p = PACK_LZ4; p < PACK_COUNT; p++) {
        uint64_t len, got;

        if (!pack_available(p))
            continue;
        len = pack(p, elf.bytes, elf.file.size, packed, 4 << 20);
        for (unsigned i = 0; i < 64; i++) {
            uint8_t *copy = malloc(len);
            int ret;

            memcpy(copy, packed, len);
            for (unsigned j = 0; j < 4; j++)
                copy[8 + (unsigned)rand_r(&seed) % (len - 8)] ^= 1 + (unsigned)rand_r(&seed) % 255;
            ret = unpack(memory(copy, len), 0, len, out, 4 << 20, &got);
            assert_true(ret == 0 || ret == -ENOEXEC || ret == -ENOSPC || ret == -ENOMEM);
            free(copy);
        }
    }
    free(out);
    free(packed);
    image_free(&elf);
}

static const struct {
    unsigned at, bytes;
    uint64_t value;
    int err;
    const char *text;
} bad_headers[] = {
    {0x1fe, 2, 0, ENOEXEC, "0xaa55"},
    {0x202, 1, 'X', ENOEXEC, "not a bzImage"},
    {0x206, 2, 0x20b, ENOEXEC, "2.11 is too old"},
    {0x211, 1, 0, ENOEXEC, "zImage"},
    {0x236, 2, 2, ENOEXEC, "32-bit kernel"},
    {0x201, 1, 0x10, ENOEXEC, "malformed"},
    {0x201, 1, 0xff, ENOEXEC, "malformed"},
    {0x1f1, 1, 255, ENOEXEC, "truncated"}, /* more setup than there is file */
    {0x1f4, 4, 0x7fffffff, ENOEXEC, "truncated"},
    {0x1f4, 4, 0xffffffff, ENOEXEC, "truncated"},
    {0x1f4, 4, 0, ENOEXEC, "without a kernel"},
    {0x248, 4, 0xffffffff, ENOEXEC, "payload lies outside"},
    {0x24c, 4, 0xffffffff, ENOEXEC, "payload lies outside"},
    {0x24c, 4, 0, ENOEXEC, "without a payload"},
    {0x258, 8, 0, ENOEXEC, "below 4 GiB"},
    {0x258, 8, 0xffffffff, ENOEXEC, "below 4 GiB"},
    {0x258, 8, UINT64_MAX, ENOEXEC, "below 4 GiB"},
    {0x258, 8, UINT64_MAX - INIT_SIZE, ENOEXEC, "below 4 GiB"},
    {0x260, 4, 0, ENOEXEC, "below 4 GiB"},
    {0x260, 4, 0xffffffff, ENOEXEC, "below 4 GiB"},
};

static void refuses_bad_headers(void **state)
{
    struct machine *m = *state;

    m->params.protocol = BOOT_LINUX;
    for (unsigned i = 0; i < ARRAY_SIZE(bad_headers); i++) {
        struct image img;

        image_bzimage(&img, PACK_ELF);
        memcpy(img.bytes + bad_headers[i].at, &bad_headers[i].value, bad_headers[i].bytes);
        assert_refused(m, &img, NULL, bad_headers[i].err, bad_headers[i].text);
        image_free(&img);
    }
}

static void refuses_other_payloads(void **state)
{
    struct machine *m = *state;
    struct image img;

    m->params.protocol = BOOT_LINUX;
    image_bzimage(&img, PACK_ELF);
    memset(img.bytes + 1024 + 0x400, 0x42, 4096);
    assert_refused(m, &img, NULL, ENOEXEC, "format is unknown");
    image_free(&img);
    image_bzimage(&img, PACK_ELF);
    le16_put(img.bytes + 1024 + 0x400 + 18, 183);
    assert_refused(m, &img, NULL, ENOEXEC, "another architecture (machine 183)");
    image_free(&img);
}

/* By itself mote unpacks what it can, and lets the kernel do the rest; memtest86+ has
 * no payload, and a last paragraph that the file does not fill. */
static void leaves_what_it_cannot_unpack_to_the_kernel(void **state)
{
    struct machine *m = *state;
    struct image img;

    for (unsigned none = 0; none < 2; none++) {
        struct file file;

        image_bzimage(&img, PACK_ELF);
        if (none)
            le32_put(img.bytes + 0x24c, 0);
        else
            memset(img.bytes + 1024 + 0x400, 0x42, 4096); /* LZO, say */
        file = img.file;
        file.size = 1024 + (uint64_t)le32_get(img.bytes + 0x1f4) * 16 - 8;
        m->params.protocol = BOOT_AUTO;
        assert_int_equal(machine_boot(m, &file, NULL), 0);
        assert_int_equal(m->state.rip, le64_get(img.bytes + 0x258) + 0x200);
        file.size -= 8;
        assert_int_equal(machine_boot(m, &file, NULL), -ENOEXEC);
        image_free(&img);
    }
}

static void loads_the_real_kernel(void **state)
{
    const char *path = getenv("MOTE_KERNEL");
    struct machine *m = *state;
    static const uint8_t zero[4096];

    if (!path || !*path) {
        print_message("MOTE_KERNEL names no kernel\n");
        skip();
    }
    for (unsigned self = 0; self < 2; self++) {
        m->params.kernel_path = path;
        m->params.protocol = self ? BOOT_LINUX_SELF : BOOT_LINUX;
        machine_free(m);
        m->ram = mmap(NULL, 256u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(m->ram, MAP_FAILED);
        guest_mem_init(&m->mem);
        assert_int_equal(guest_mem_map(&m->mem, GPA(0), 256u << 20, m->ram, MEM_RWX), 0);
        m->e820[2].size = 255u << 20;
        assert_int_equal(boot_load(&m->params, &m->mem, &m->state), 0);
        assert_true(m->state.rip >= 0x100000 && m->state.rip < 256u << 20);
        assert_memory_not_equal(m->ram + m->state.rip, zero, 64);
        munmap(m->ram + RAM_SIZE, (256u << 20) - RAM_SIZE);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(unpacks_every_format),
        T(loads_by_copy_when_memory_is_short),
        T(self_unpacking_enters_startup_64),
        T(fills_the_zero_page),
        T(places_an_initrd_of_any_size_that_fits),
        T(places_a_large_initrd_above_4g),
        T(limits_the_command_line),
        T(refuses_truncated_files),
        T(refuses_truncated_payloads),
        T(stops_a_payload_bomb),
        T(unpacks_piece_by_piece),
        T(unpacks_no_more_than_guest_ram),
        T(survives_corrupt_payloads),
        T(refuses_bad_headers),
        T(refuses_other_payloads),
        T(leaves_what_it_cannot_unpack_to_the_kernel),
        T(loads_the_real_kernel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
