/* ACPI tables: reachable from the RSDP, sums right, contents as configured, and
 * accepted by ACPICA's disassembler and compiler. */
#include "boot/acpi.h"

#include "base/bits.h"
#include "base/err.h"
#include "boot/aml.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define AREA 0x20000u

static uint8_t ram[0x100000] __attribute__((aligned(4096)));
static struct guest_mem mem;

static const struct acpi_config pc = {
    .cpu_count = 4,
    .lapic_base = 0xfee00000,
    .ioapic_base = 0xfec00000,
    .ioapic_id = 4,
    .sci_irq = 9,
    .pm1_evt_port = 0x600,
    .pm1_cnt_port = 0x604,
    .pm_tmr_port = 0x608,
    .power_button = true,
    .reset_port = 0xcf9,
    .reset_value = 6,
    .s5_type = 5,
    .com1_port = 0x3f8,
    .com1_irq = 4,
    .rtc_port = 0x70,
    .rtc_irq = 8,
    .pvpanic_port = 0x505,
};

static int setup(void **state)
{
    memset(ram, 0xcc, sizeof(ram));
    guest_mem_init(&mem);
    return guest_mem_map(&mem, GPA(0), sizeof(ram), ram, MEM_READ);
}

static uint8_t sum(const uint8_t *p, uint64_t len)
{
    uint8_t s = 0;

    while (len--)
        s += *p++;
    return s;
}

/* Follow the RSDP and the XSDT to a table; all sums on the way are right. */
static const uint8_t *table_find(gpa_t rsdp, const char *signature)
{
    const uint8_t *r = ram + rsdp.v, *xsdt = ram + le64_get(r + 24), *rsdt = ram + le32_get(r + 16);
    const uint8_t *found = NULL;
    unsigned count = (le32_get(xsdt + 4) - 36) / 8;

    assert_memory_equal(r, "RSD PTR ", 8);
    assert_int_equal(rsdp.v & 15, 0);
    assert_int_equal(sum(r, 20), 0);
    assert_int_equal(sum(r, 36), 0);
    assert_memory_equal(xsdt, "XSDT", 4);
    assert_memory_equal(rsdt, "RSDT", 4);
    assert_int_equal(sum(xsdt, le32_get(xsdt + 4)), 0);
    assert_int_equal(sum(rsdt, le32_get(rsdt + 4)), 0);
    assert_int_equal((le32_get(rsdt + 4) - 36) / 4, count);
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *t = ram + le64_get(xsdt + 36 + i * 8);

        assert_int_equal(le32_get(rsdt + 36 + i * 4), le64_get(xsdt + 36 + i * 8));
        assert_int_equal(sum(t, le32_get(t + 4)), 0);
        if (!memcmp(t, signature, 4))
            found = t;
    }
    assert_non_null(found);
    return found;
}

static const uint8_t *dsdt_find(gpa_t rsdp)
{
    const uint8_t *fadt = table_find(rsdp, "FACP"), *dsdt = ram + le64_get(fadt + 140);

    assert_memory_equal(dsdt, "DSDT", 4);
    assert_int_equal(sum(dsdt, le32_get(dsdt + 4)), 0);
    return dsdt;
}

static void describes_the_fixed_hardware(void **state)
{
    const uint8_t *f, *facs;
    gpa_t rsdp;

    assert_int_equal(acpi_build(&pc, &mem, GPA(0xe0000), AREA, &rsdp), 0);
    assert_int_equal(rsdp.v, 0xe0000);
    f = table_find(rsdp, "FACP");
    assert_int_equal(le32_get(f + 4), 276);
    assert_int_equal(le32_get(f + 40), le64_get(f + 140));
    facs = ram + le32_get(f + 36);
    assert_memory_equal(facs, "FACS", 4);
    assert_int_equal(le32_get(f + 36) & 63, 0);
    assert_int_equal(le16_get(f + 46), 9);
    assert_int_equal(le32_get(f + 48), 0);
    assert_int_equal(le32_get(f + 56), 0x600);
    assert_int_equal(le32_get(f + 64), 0x604);
    assert_int_equal(le32_get(f + 76), 0x608);
    assert_int_equal(f[88], 4);
    assert_int_equal(f[89], 2);
    assert_int_equal(f[91], 4);
    assert_int_equal(le16_get(f + 109) & 0x23, 1);       /* no keyboard controller, but an RTC */
    assert_int_equal(le32_get(f + 112) & (1u << 20), 0); /* not hardware-reduced */
    assert_int_equal(le32_get(f + 112) & (1u << 10), 1u << 10);
    assert_int_equal(le32_get(f + 112) & (1u << 4), 0);
    assert_int_equal(f[116], 1); /* reset register: a port of 8 bits */
    assert_int_equal(f[117], 8);
    assert_int_equal(le64_get(f + 120), 0xcf9);
    assert_int_equal(f[128], 6);
    assert_int_equal(le64_get(f + 152), 0x600);
    assert_int_equal(le64_get(f + 176), 0x604);
    assert_int_equal(le64_get(f + 212), 0x608);
}

/* Count the MADT's entries by type; their lengths add up to the table's. */
static void madt_count(const uint8_t *m, unsigned count[16])
{
    uint32_t at = 44, len = le32_get(m + 4);

    memset(count, 0, 16 * sizeof(count[0]));
    while (at < len) {
        assert_true(m[at] < 16);
        assert_true(m[at + 1] >= 2);
        count[m[at]]++;
        at += m[at + 1];
    }
    assert_int_equal(at, len);
}

static void lists_processors_and_interrupts(void **state)
{
    struct acpi_config many = pc;
    unsigned count[16];
    const uint8_t *m;
    uint32_t ids[3] = {0, 254, 255};
    gpa_t rsdp;

    assert_int_equal(acpi_build(&pc, &mem, GPA(0xe0000), AREA, &rsdp), 0);
    m = table_find(rsdp, "APIC");
    assert_int_equal(le32_get(m + 36), 0xfee00000);
    assert_int_equal(le32_get(m + 40), 1);
    madt_count(m, count);
    assert_int_equal(count[0], 4);
    assert_int_equal(count[1], 1);
    assert_int_equal(count[2], 2);
    assert_int_equal(count[4], 1);
    assert_int_equal(count[9], 0);
    assert_int_equal(m[44 + 8 + 3], 1); /* the second processor's APIC id */
    assert_int_equal(m[44 + 32 + 2], 4);
    assert_int_equal(le32_get(m + 44 + 32 + 4), 0xfec00000);
    assert_int_equal(m[44 + 44 + 3], 0); /* interrupt 0 at input 2, edge, high */
    assert_int_equal(le32_get(m + 44 + 44 + 4), 2);
    assert_int_equal(le16_get(m + 44 + 44 + 8), 5);
    assert_int_equal(m[44 + 54 + 3], 9); /* the SCI, level, high */
    assert_int_equal(le32_get(m + 44 + 54 + 4), 9);
    assert_int_equal(le16_get(m + 44 + 54 + 8), 0xd);
    many.cpu_count = 300;
    assert_int_equal(acpi_build(&many, &mem, GPA(0xe0000), AREA, &rsdp), 0);
    madt_count(table_find(rsdp, "APIC"), count);
    assert_int_equal(count[0], 255);
    assert_int_equal(count[9], 45);
    assert_int_equal(count[10], 1);
    many.cpu_count = 3;
    many.apic_ids = ids;
    assert_int_equal(acpi_build(&many, &mem, GPA(0xe0000), AREA, &rsdp), 0);
    m = table_find(rsdp, "APIC");
    madt_count(m, count);
    assert_int_equal(count[0], 2);
    assert_int_equal(count[9], 1);
    assert_int_equal(le32_get(m + 44 + 16 + 4), 255);
}

static void refuses_what_does_not_fit(void **state)
{
    struct acpi_config c = pc;
    gpa_t rsdp;

    c.cpu_count = 0;
    assert_int_equal(acpi_build(&c, &mem, GPA(0xe0000), AREA, &rsdp), -EINVAL);
    c.cpu_count = 4097;
    assert_int_equal(acpi_build(&c, &mem, GPA(0xe0000), AREA, &rsdp), -EINVAL);
    c.cpu_count = 4096;
    assert_int_equal(acpi_build(&c, &mem, GPA(0xe0000), AREA, &rsdp), -ENOMEM);
    c.cpu_count = 1;
    assert_int_equal(acpi_build(&c, &mem, GPA(0xe0001), AREA, &rsdp), -EINVAL);
    assert_int_equal(acpi_build(&c, &mem, GPA(0x100000), AREA, &rsdp), -ENOMEM);
    for (uint64_t size = 0; size < 1024; size += 16) {
        memset(ram + 0xe0000, 0xcc, AREA);
        if (acpi_build(&c, &mem, GPA(0xe0000), size, &rsdp) == 0)
            table_find(rsdp, "APIC");
        assert_int_equal(ram[0xe0000 + size], 0xcc);
    }
    assert_int_equal(acpi_build(&c, &mem, GPA(0xe0000), 512, &rsdp), -ENOMEM);
    assert_int_equal(acpi_build(&c, &mem, GPA(0xe0000), 4096, &rsdp), 0);
}

/* Decode a PkgLength; *n is its own size. */
static uint32_t pkg_length(const uint8_t *p, unsigned *n)
{
    uint32_t len = p[0] & 63;

    *n = 1 + (p[0] >> 6);
    if (*n > 1) {
        len &= 15;
        for (unsigned i = 1; i < *n; i++)
            len |= (uint32_t)p[i] << (8 * i - 4);
    }
    return len;
}

static void encodes_lengths_of_all_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 56, 57, 58, 59, 60, 4080, 4087, 4088, 4089, 4090, 70000};
    uint8_t *buf = malloc(200000);

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct aml a;
        unsigned n;

        aml_init(&a, buf, 200000);
        aml_scope_begin(&a, "_SB_");
        for (size_t j = 0; j < sizes[i]; j++)
            aml_int(&a, 1);
        aml_end(&a);
        assert_false(a.failed);
        assert_int_equal(buf[0], 0x10);
        assert_int_equal(pkg_length(buf + 1, &n), a.len - 1);
        assert_int_equal(a.len, 1 + n + 5 + sizes[i]);
        assert_memory_equal(buf + 1 + n, "\\_SB_", 5);
    }
    free(buf);
}

static void aml_overflow_is_noticed(void **state)
{
    uint8_t buf[40];
    struct aml a;

    for (size_t size = 0; size < 31; size++) {
        memset(buf, 0xee, sizeof(buf));
        aml_init(&a, buf, size);
        aml_device_begin(&a, "COM1");
        aml_crs(&a, (struct aml_ports){0x3f8, 8}, 4);
        aml_end(&a);
        assert_true(a.failed == (size < 29));
        assert_int_equal(buf[size], 0xee);
    }
    aml_init(&a, buf, sizeof(buf));
    for (unsigned i = 0; i <= AML_DEPTH; i++)
        aml_package_begin(&a, 0);
    assert_true(a.failed);
    aml_init(&a, buf, sizeof(buf));
    aml_end(&a);
    assert_true(a.failed);
}

/* Run a command in dir and return whether its output contains text. */
static int output_has(const char *dir, const char *command, const char *text)
{
    char line[512], all[512];
    int found = 0;
    FILE *f;

    snprintf(all, sizeof(all), "cd %s && %s 2>&1", dir, command);
    f = popen(all, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        found |= strstr(line, text) != NULL;
    pclose(f);
    return found;
}

static void table_save(const char *dir, const char *name, const uint8_t *table)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(table, 1, le32_get(table + 4), f), le32_get(table + 4));
    fclose(f);
}

static void acpica_accepts_the_tables(void **state)
{
    static const char *const names[] = {"dsdt", "facp", "apic"};
    static const char *const facts[] = {"_S5, Package (0x04)",
                                        "\"PNP0501\"",
                                        "\"PNP0B00\"",
                                        "\"QEMU0001\"",
                                        "0x0505,             // Range Minimum",
                                        "Device (C12B)",
                                        "\"ACPI0007\"",
                                        "0x03F8,             // Range Minimum",
                                        "{4}"};
    char dir[] = "/tmp/mote-acpi-XXXXXX", command[128];
    struct acpi_config c = pc;
    gpa_t rsdp;

    if (system("command -v iasl >/dev/null")) {
        print_message("iasl (acpica-tools) is not installed\n");
        skip();
    }
    c.cpu_count = 300;
    assert_int_equal(acpi_build(&c, &mem, GPA(0xe0000), AREA, &rsdp), 0);
    assert_non_null(mkdtemp(dir));
    table_save(dir, "dsdt", dsdt_find(rsdp));
    table_save(dir, "facp", table_find(rsdp, "FACP"));
    table_save(dir, "apic", table_find(rsdp, "APIC"));
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(command, sizeof(command), "iasl -d %s", names[i]);
        assert_false(output_has(dir, command, "Error"));
        assert_true(output_has(dir, "ls", ".dsl"));
        snprintf(command, sizeof(command), "iasl -p out %s.dsl", names[i]);
        assert_true(output_has(dir, command, "successful"));
        assert_true(output_has(dir, command, "0 Errors"));
        assert_true(output_has(dir, command, "0 Warnings"));
    }
    for (unsigned i = 0; i < ARRAY_SIZE(facts); i++) {
        if (!output_has(dir, "cat dsdt.dsl", facts[i]))
            fail_msg("the disassembled DSDT lacks %s", facts[i]);
    }
    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        T(describes_the_fixed_hardware), T(lists_processors_and_interrupts),
        T(refuses_what_does_not_fit),    T(encodes_lengths_of_all_sizes),
        T(aml_overflow_is_noticed),      T(acpica_accepts_the_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
