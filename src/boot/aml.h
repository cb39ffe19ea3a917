/*
 * A small writer of ACPI Machine Language (ACPI 6.4, chapter 20): names,
 * integers, devices, packages and resource templates, appended to a buffer. A
 * full buffer or a package opened too deep sets `failed` and later calls do
 * nothing, so one check at the end is enough.
 */
#ifndef MOTE_BOOT_AML_H
#define MOTE_BOOT_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AML_DEPTH 8

struct aml {
    uint8_t *buf;
    size_t size, len;
    bool failed;
    unsigned depth;
    size_t open[AML_DEPTH]; /* where the bodies of the open packages start */
};

void aml_init(struct aml *a, void *buf, size_t size);

/* Objects with a body: from begin to the matching aml_end. name has 4 characters. */
void aml_scope_begin(struct aml *a, const char *name);
void aml_device_begin(struct aml *a, const char *name);
void aml_package_begin(struct aml *a, uint8_t count);
void aml_end(struct aml *a);

/* Name (name, ...): the value follows, by one of the functions below. */
void aml_name(struct aml *a, const char *name);
void aml_int(struct aml *a, uint64_t value);
void aml_string(struct aml *a, const char *s);

/* A compressed EISA identifier such as "PNP0501". */
void aml_eisa_id(struct aml *a, const char *id);

/* Name (_CRS, ResourceTemplate () {IO ...; IRQNoFlags}): ports [base, base+len)
 * (len 0: none), one edge-triggered interrupt below 16 (negative: none). */
struct aml_ports {
    uint16_t base;
    uint8_t len;
};
void aml_crs(struct aml *a, struct aml_ports ports, int irq);

#endif
