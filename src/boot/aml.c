#include "boot/aml.h"

#include "base/bits.h"

/* Encodings (ACPI 6.4, 20.2 and 6.4.2) */
#define OP_ZERO    0x00
#define OP_ONE     0x01
#define OP_NAME    0x08
#define OP_BYTE    0x0a
#define OP_WORD    0x0b
#define OP_DWORD   0x0c
#define OP_STRING  0x0d
#define OP_QWORD   0x0e
#define OP_SCOPE   0x10
#define OP_BUFFER  0x11
#define OP_PACKAGE 0x12
#define OP_EXT     0x5b
#define EXT_DEVICE 0x82

#define RES_IRQ  0x22 /* IRQ without flags: edge-triggered, active high */
#define RES_IO   0x47
#define RES_END  0x79
#define IO_16BIT 0x01

void aml_init(struct aml *a, void *buf, size_t size)
{
    *a = (struct aml){.buf = buf, .size = size};
}

static void put(struct aml *a, const void *data, size_t len)
{
    if (a->failed || len > a->size - a->len) {
        a->failed = true;
        return;
    }
    memcpy(a->buf + a->len, data, len);
    a->len += len;
}

static void put_byte(struct aml *a, uint8_t b)
{
    put(a, &b, 1);
}

static void body_begin(struct aml *a)
{
    if (a->depth == AML_DEPTH)
        a->failed = true;
    if (!a->failed)
        a->open[a->depth++] = a->len;
}

/* Put the PkgLength, which counts itself (20.2.4), before the body. */
void aml_end(struct aml *a)
{
    uint8_t enc[4];
    size_t start, body, total, n;

    if (a->failed || !a->depth) {
        a->failed = true;
        return;
    }
    start = a->open[--a->depth];
    body = a->len - start;
    n = body + 1 < 64 ? 1 : body + 2 < 4096 ? 2 : body + 3 < 1048576 ? 3 : 4;
    total = body + n;
    enc[0] = (uint8_t)(n == 1 ? total : (n - 1) << 6 | (total & 15));
    for (size_t i = 1; i < n; i++)
        enc[i] = (uint8_t)(total >> (8 * i - 4));
    put(a, enc, n); /* makes room; then the body moves up */
    if (a->failed)
        return;
    memmove(a->buf + start + n, a->buf + start, body);
    memcpy(a->buf + start, enc, n);
}

void aml_scope_begin(struct aml *a, const char *name)
{
    put_byte(a, OP_SCOPE);
    body_begin(a);
    put_byte(a, '\\');
    put(a, name, 4);
}

void aml_device_begin(struct aml *a, const char *name)
{
    put_byte(a, OP_EXT);
    put_byte(a, EXT_DEVICE);
    body_begin(a);
    put(a, name, 4);
}

void aml_package_begin(struct aml *a, uint8_t count)
{
    put_byte(a, OP_PACKAGE);
    body_begin(a);
    put_byte(a, count);
}

void aml_name(struct aml *a, const char *name)
{
    put_byte(a, OP_NAME);
    put(a, name, 4);
}

void aml_int(struct aml *a, uint64_t value)
{
    static const uint8_t op[] = {[1] = OP_BYTE, [2] = OP_WORD, [4] = OP_DWORD, [8] = OP_QWORD};
    unsigned bytes = value <= UINT8_MAX ? 1 : value <= UINT16_MAX ? 2 : value <= UINT32_MAX ? 4 : 8;

    if (value <= 1) {
        put_byte(a, value ? OP_ONE : OP_ZERO);
        return;
    }
    put_byte(a, op[bytes]);
    put(a, &value, bytes);
}

void aml_string(struct aml *a, const char *s)
{
    put_byte(a, OP_STRING);
    put(a, s, strlen(s) + 1);
}

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

/* Three letters of 5 bits and four hexadecimal digits, big-endian (19.3.4). */
void aml_eisa_id(struct aml *a, const char *id)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < 3; i++)
        v = v << 5 | ((uint32_t)(id[i] - '@') & 31);
    for (unsigned i = 3; i < 7; i++)
        v = v << 4 | hex_digit(id[i]);
    v = __builtin_bswap32(v);
    put_byte(a, OP_DWORD);
    put(a, &v, sizeof(v));
}

static void put_io(struct aml *a, struct aml_ports ports)
{
    uint8_t io[8] = {RES_IO, IO_16BIT};

    if (!ports.len)
        return;
    le16_put(io + 2, ports.base);
    le16_put(io + 4, ports.base);
    io[6] = 1; /* alignment */
    io[7] = ports.len;
    put(a, io, sizeof(io));
}

void aml_crs(struct aml *a, struct aml_ports ports, int irq)
{
    uint8_t res_irq[3] = {RES_IRQ}, end[2] = {RES_END, 0}; /* checksum 0: not checked */
    uint64_t len = (ports.len ? 8 : 0) + (irq >= 0 ? 3 : 0) + sizeof(end);

    aml_name(a, "_CRS");
    put_byte(a, OP_BUFFER);
    body_begin(a);
    aml_int(a, len);
    put_io(a, ports);
    if (irq >= 0) {
        le16_put(res_irq + 1, (uint16_t)(1u << irq));
        put(a, res_irq, sizeof(res_irq));
    }
    put(a, end, sizeof(end));
    aml_end(a);
}
