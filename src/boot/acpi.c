#include "boot/acpi.h"

#include "base/bits.h"
#include "base/err.h"
#include "boot/aml.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CPUS_MAX    4096 /* device names C000 to CFFF */
#define HEADER_LEN  36u
#define FADT_LEN    276u
#define FACS_LEN    64u
#define RSDP_LEN    36u
#define TABLE_ALIGN 64u

/* FADT flags (table 5-10) */
#define FADT_WBINVD         BIT(0)
#define FADT_PROC_C1        BIT(2)
#define FADT_NO_PWR_BUTTON  BIT(4)
#define FADT_NO_SLP_BUTTON  BIT(5)
#define FADT_NO_FIX_RTC     BIT(6)
#define FADT_TMR_VAL_EXT    BIT(8)
#define FADT_RESET_REG_SUP  BIT(10)
#define IAPC_LEGACY_DEVICES 0x01
#define IAPC_NO_VGA         0x04
#define IAPC_NO_CMOS_RTC    0x20
#define MADT_PCAT_COMPAT    1 /* there are two 8259 */
#define LAPIC_ENABLED       1
#define XAPIC_ID_MAX        254 /* 255 is the broadcast */
#define INTI_ACTIVE_HIGH    0x1
#define INTI_EDGE           0x4
#define INTI_LEVEL          0xc
#define GAS_IO              1

/* The tables, growing in host memory; written to the guest once all is there. */
struct tables {
    const struct acpi_config *config;
    uint64_t base, size; /* in the guest */
    uint64_t len;
    uint8_t *buf;
    bool failed;
};

/* Room for a table, zeroed. NULL when the area is full, and from then on. */
static uint8_t *table_alloc(struct tables *t, uint64_t len)
{
    uint64_t at = align_up(t->len, TABLE_ALIGN);

    if (t->failed || !range_in(at, len, t->size)) {
        t->failed = true;
        return NULL;
    }
    t->len = at + len;
    return t->buf + at;
}

static uint64_t table_gpa(const struct tables *t, const uint8_t *table)
{
    return t->base + (uint64_t)(table - t->buf);
}

static uint8_t checksum(const uint8_t *p, uint64_t len)
{
    uint8_t sum = 0;

    while (len--)
        sum += *p++;
    return (uint8_t)-sum;
}

/* The header that all but RSDP and FACS have (table 5-4), once the body is there. */
static void header_put(uint8_t *table, const char *signature, uint8_t revision, uint64_t len)
{
    memcpy(table, signature, 4);
    le32_put(table + 4, (uint32_t)len);
    table[8] = revision;
    memcpy(table + 10, "MOTE  ", 6);
    memcpy(table + 16, "MOTEPC  ", 8);
    le32_put(table + 24, 1);
    memcpy(table + 28, "MOTE", 4);
    le32_put(table + 32, 1);
    table[9] = 0;
    table[9] = checksum(table, len);
}

/* Generic Address Structure (5.2.3.2) of a port. */
static void gas_put(uint8_t *at, uint16_t port, uint8_t bytes)
{
    if (!port)
        return;
    at[0] = GAS_IO;
    at[1] = (uint8_t)(bytes * 8);
    at[3] = bytes == 1 ? 1 : bytes == 2 ? 2 : 3; /* access size */
    le64_put(at + 4, port);
}

/* id: of EISA's kind if it has 7 characters, else a string (6.1.5). */
static void dsdt_device(struct aml *a, const char *name, const char *id, struct aml_ports ports,
                        int irq)
{
    aml_device_begin(a, name);
    aml_name(a, "_HID");
    if (strlen(id) == 7)
        aml_eisa_id(a, id);
    else
        aml_string(a, id);
    aml_name(a, "_UID");
    aml_int(a, 1);
    aml_name(a, "_STA");
    aml_int(a, 0xf); /* present, enabled, shown, working */
    aml_crs(a, ports, irq);
    aml_end(a);
}

static void dsdt_body(struct aml *a, const struct acpi_config *c)
{
    aml_name(a, "_S5_");
    aml_package_begin(a, 4);
    for (unsigned i = 0; i < 4; i++)
        aml_int(a, i < 2 ? c->s5_type : 0);
    aml_end(a);
    aml_scope_begin(a, "_SB_");
    for (unsigned i = 0; i < c->cpu_count; i++) {
        char name[8];

        snprintf(name, sizeof(name), "C%03X", i & 0xfff);
        aml_device_begin(a, name);
        aml_name(a, "_HID");
        aml_string(a, "ACPI0007");
        aml_name(a, "_UID");
        aml_int(a, i);
        aml_end(a);
    }
    if (c->com1_port)
        dsdt_device(a, "COM1", "PNP0501", (struct aml_ports){c->com1_port, 8}, c->com1_irq);
    if (c->rtc_port)
        dsdt_device(a, "RTC_", "PNP0B00", (struct aml_ports){c->rtc_port, 2}, c->rtc_irq);
    if (c->pvpanic_port)
        dsdt_device(a, "PVPN", "QEMU0001", (struct aml_ports){c->pvpanic_port, 1}, -1);
    aml_end(a);
}

static uint64_t dsdt_put(struct tables *t)
{
    uint8_t *dsdt = table_alloc(t, HEADER_LEN);
    struct aml a;

    if (!dsdt)
        return 0;
    aml_init(&a, dsdt + HEADER_LEN, t->size - t->len);
    dsdt_body(&a, t->config);
    if (a.failed) {
        t->failed = true;
        return 0;
    }
    t->len += a.len;
    header_put(dsdt, "DSDT", 2, HEADER_LEN + a.len);
    return table_gpa(t, dsdt);
}

static uint64_t facs_put(struct tables *t)
{
    uint8_t *facs = table_alloc(t, FACS_LEN);

    if (!facs)
        return 0;
    memcpy(facs, "FACS", 4);
    le32_put(facs + 4, FACS_LEN);
    facs[32] = 2; /* version */
    return table_gpa(t, facs);
}

/* The FADT's fields that only say what is not there. */
static uint32_t fadt_flags(const struct acpi_config *c)
{
    uint64_t flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLP_BUTTON | FADT_NO_FIX_RTC;

    if (!c->power_button)
        flags |= FADT_NO_PWR_BUTTON;
    if (c->pm_tmr_32)
        flags |= FADT_TMR_VAL_EXT;
    if (c->reset_port)
        flags |= FADT_RESET_REG_SUP;
    return (uint32_t)flags;
}

static uint64_t fadt_put(struct tables *t, uint64_t facs, uint64_t dsdt)
{
    const struct acpi_config *c = t->config;
    uint8_t *f = table_alloc(t, FADT_LEN);

    if (!f)
        return 0;
    le32_put(f + 36, (uint32_t)facs);
    le32_put(f + 40, (uint32_t)dsdt);
    le16_put(f + 46, c->sci_irq);
    /* No SMI command port (48): the machine is in ACPI mode from the start. */
    le32_put(f + 56, c->pm1_evt_port);
    le32_put(f + 64, c->pm1_cnt_port);
    le32_put(f + 76, c->pm_tmr_port);
    f[88] = c->pm1_evt_port ? 4 : 0;
    f[89] = c->pm1_cnt_port ? 2 : 0;
    f[91] = c->pm_tmr_port ? 4 : 0;
    le16_put(f + 96, 101);           /* above 100 us: no C2 */
    le16_put(f + 98, 1001);          /* above 1000 us: no C3 */
    f[108] = c->rtc_port ? 0x32 : 0; /* CMOS index of the century */
    le16_put(f + 109, IAPC_LEGACY_DEVICES | IAPC_NO_VGA | (c->rtc_port ? 0 : IAPC_NO_CMOS_RTC));
    le32_put(f + 112, fadt_flags(c));
    gas_put(f + 116, c->reset_port, 1);
    f[128] = c->reset_value;
    f[131] = 4; /* minor version: 6.4 */
    le64_put(f + 140, dsdt);
    gas_put(f + 148, c->pm1_evt_port, 4);
    gas_put(f + 172, c->pm1_cnt_port, 2);
    gas_put(f + 208, c->pm_tmr_port, 4);
    memcpy(f + 268, "MOTE", 4); /* hypervisor vendor */
    header_put(f, "FACP", 6, FADT_LEN);
    return table_gpa(t, f);
}

/* One processor's entry; its length. Identifiers above 254 need an x2APIC. */
static unsigned madt_cpu(uint8_t *e, uint32_t uid, uint32_t id)
{
    if (id <= XAPIC_ID_MAX && uid < UINT8_MAX) {
        e[0] = 0;
        e[1] = 8;
        e[2] = (uint8_t)uid;
        e[3] = (uint8_t)id;
        le32_put(e + 4, LAPIC_ENABLED);
        return 8;
    }
    e[0] = 9;
    e[1] = 16;
    le32_put(e + 4, id);
    le32_put(e + 8, LAPIC_ENABLED);
    le32_put(e + 12, uid);
    return 16;
}

/* Interrupt source override: ISA interrupt `source` arrives at `gsi`. */
static unsigned madt_override(uint8_t *e, uint8_t source, uint32_t gsi, uint16_t flags)
{
    e[0] = 2;
    e[1] = 10;
    e[3] = source;
    le32_put(e + 4, gsi);
    le16_put(e + 8, flags);
    return 10;
}

/* NMI on LINT1 of all processors, those with xAPIC and those with x2APIC entries. */
static unsigned madt_nmi(uint8_t *e, bool x2apic)
{
    e[0] = 4;
    e[1] = 6;
    e[2] = 0xff;
    e[5] = 1;
    if (!x2apic)
        return 6;
    e[6] = 0x0a;
    e[7] = 12;
    le32_put(e + 10, UINT32_MAX);
    e[14] = 1;
    return 18;
}

static uint64_t madt_put(struct tables *t)
{
    const struct acpi_config *c = t->config;
    uint64_t max = HEADER_LEN + 8 + c->cpu_count * UINT64_C(16) + 12 + 2 * 10 + 18;
    uint8_t *m = table_alloc(t, max), *e;
    bool x2apic = false;

    if (!m)
        return 0;
    le32_put(m + 36, c->lapic_base);
    le32_put(m + 40, MADT_PCAT_COMPAT);
    e = m + 44;
    for (unsigned i = 0; i < c->cpu_count; i++) {
        unsigned len = madt_cpu(e, i, c->apic_ids ? c->apic_ids[i] : i);

        x2apic |= len == 16;
        e += len;
    }
    e[0] = 1;
    e[1] = 12;
    e[2] = c->ioapic_id;
    le32_put(e + 4, c->ioapic_base);
    e += 12;
    /* The PIT's interrupt comes in where the PICs' cascade would be. */
    e += madt_override(e, 0, 2, INTI_ACTIVE_HIGH | INTI_EDGE);
    e += madt_override(e, c->sci_irq, c->sci_irq, INTI_ACTIVE_HIGH | INTI_LEVEL);
    e += madt_nmi(e, x2apic);
    t->len -= max - (uint64_t)(e - m);
    header_put(m, "APIC", 5, (uint64_t)(e - m));
    return table_gpa(t, m);
}

/* RSDT (entries of 4 bytes) or XSDT (8 bytes). */
static uint64_t root_put(struct tables *t, const char *signature, unsigned width,
                         const uint64_t *tables, unsigned count)
{
    uint64_t len = HEADER_LEN + count * width;
    uint8_t *r = table_alloc(t, len);

    if (!r)
        return 0;
    for (unsigned i = 0; i < count; i++)
        memcpy(r + HEADER_LEN + i * width, &tables[i], width);
    header_put(r, signature, 1, len);
    return table_gpa(t, r);
}

static void rsdp_put(uint8_t *r, uint64_t rsdt, uint64_t xsdt)
{
    memcpy(r, "RSD PTR ", 8);
    memcpy(r + 9, "MOTE  ", 6);
    r[15] = 2;
    le32_put(r + 16, (uint32_t)rsdt);
    le32_put(r + 20, RSDP_LEN);
    le64_put(r + 24, xsdt);
    r[8] = checksum(r, 20); /* of the part that ACPI 1.0 knew */
    r[32] = checksum(r, RSDP_LEN);
}

static void tables_put(struct tables *t)
{
    uint8_t *rsdp = table_alloc(t, RSDP_LEN); /* the area starts with it */
    uint64_t facs = facs_put(t), dsdt = dsdt_put(t), rsdt, xsdt;
    uint64_t roots[] = {fadt_put(t, facs, dsdt), madt_put(t)};

    rsdt = root_put(t, "RSDT", 4, roots, ARRAY_SIZE(roots));
    xsdt = root_put(t, "XSDT", 8, roots, ARRAY_SIZE(roots));
    if (!t->failed)
        rsdp_put(rsdp, rsdt, xsdt);
}

int acpi_build(const struct acpi_config *config, struct guest_mem *mem, gpa_t base, uint64_t size,
               gpa_t *rsdp)
{
    struct tables t = {.config = config, .base = base.v, .size = size};
    int ret = 0;

    if (!config->cpu_count || config->cpu_count > CPUS_MAX || config->sci_irq > 15)
        return err_set(EINVAL,
                       "ACPI tables for %u processors and SCI %u, expected 1 to %d and 0 to 15",
                       config->cpu_count, config->sci_irq, CPUS_MAX);
    if (base.v % TABLE_ALIGN || !range_in(base.v, size, BIT(32)))
        return err_set(
            EINVAL, "ACPI tables at 0x%" PRIx64 ", expected a multiple of 64 below 4 GiB", base.v);
    t.buf = calloc(1, size);
    if (!t.buf)
        return err_set(ENOMEM, "no memory to build ACPI tables");
    tables_put(&t);
    if (t.failed)
        ret = err_set(ENOMEM, "ACPI tables for %u processors do not fit into %" PRIu64 " bytes",
                      config->cpu_count, size);
    else if (guest_mem_fill_rom(mem, base, t.buf, t.len))
        ret = err_set(ENOMEM, "no guest memory for ACPI tables at 0x%" PRIx64, base.v);
    free(t.buf);
    *rsdp = base;
    return ret;
}
