#include "images.h"

#include "base/bits.h"

#include <elf.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef HAVE_LZ4
#include <lz4hc.h>
#endif
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif
#ifdef HAVE_LZMA
#include <lzma.h>
#endif
#ifdef HAVE_BZIP2
#include <bzlib.h>
#endif

void machine_init(struct machine *m, uint64_t ram_size)
{
    memset(m, 0, sizeof(*m));
    m->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->ram == MAP_FAILED)
        abort();
    memset(m->ram, 0xcc, ram_size);
    guest_mem_init(&m->mem);
    if (guest_mem_map(&m->mem, GPA(0), ram_size, m->ram, MEM_RWX))
        abort();
    m->e820[0] = (struct boot_e820){0, 0x9fc00, E820_RAM};
    m->e820[1] = (struct boot_e820){0x9fc00, 0x60400, E820_RESERVED};
    m->e820[2] = (struct boot_e820){0x100000, ram_size - 0x100000, E820_RAM};
    m->params.e820 = m->e820;
    m->params.e820_count = 3;
    m->params.cmdline = "console=ttyS0";
    m->params.kernel_path = "kernel";
    m->params.acpi_rsdp = GPA(0xe0000);
}

void machine_free(struct machine *m)
{
    munmap(m->ram, RAM_SIZE);
}

int machine_boot(struct machine *m, const struct file *kernel, const struct file *initrd)
{
    m->mem.written = NULL;
    return boot_load_files(&m->params, kernel, initrd, &m->mem, &m->state);
}

void image_init(struct image *img, const char *name, uint64_t size)
{
    img->bytes = calloc(1, size);
    if (!img->bytes)
        abort();
    img->file = (struct file){.path = name, .data = img->bytes, .size = size};
}

void image_free(struct image *img)
{
    free(img->bytes);
    img->bytes = NULL;
}

bool pack_available(enum packing packing)
{
    switch (packing) {
    case PACK_ELF: return true;
#ifdef HAVE_LZ4
    case PACK_LZ4: return true;
#endif
#ifdef HAVE_ZSTD
    case PACK_ZSTD: return true;
#endif
#ifdef HAVE_ZLIB
    case PACK_GZIP: return true;
#endif
#ifdef HAVE_LZMA
    case PACK_XZ:
    case PACK_LZMA: return true;
#endif
#ifdef HAVE_BZIP2
    case PACK_BZIP2: return true;
#endif
    default: return false;
    }
}

#ifdef HAVE_ZLIB
static uint64_t pack_gzip(const uint8_t *in, uint64_t len, uint8_t *out, uint64_t max)
{
    z_stream s = {.next_in = (void *)in, .avail_in = len, .next_out = out, .avail_out = max};

    if (deflateInit2(&s, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, 0) || deflate(&s, Z_FINISH) != 1)
        abort();
    deflateEnd(&s);
    return max - s.avail_out;
}
#endif

#ifdef HAVE_LZ4
static uint64_t pack_lz4(const uint8_t *in, uint64_t len, uint8_t *out, uint64_t max)
{
    uint64_t done = 4;

    le32_put(out, 0x184c2102);
    for (uint64_t at = 0; at < len;) {
        uint64_t part = MIN(len - at, 8u << 20);
        int got = LZ4_compress_HC((const char *)in + at, (char *)out + done + 4, (int)part,
                                  (int)(max - done - 4), 3);

        if (got <= 0)
            abort();
        le32_put(out + done, (uint32_t)got);
        done += 4 + (unsigned)got;
        at += part;
    }
    return done;
}
#endif

#ifdef HAVE_LZMA
static uint64_t pack_lzma(bool xz, const uint8_t *in, uint64_t len, uint8_t *out, uint64_t max)
{
    lzma_stream s = LZMA_STREAM_INIT;
    lzma_options_lzma opt;
    lzma_filter filters[] = {
        {LZMA_FILTER_X86, NULL}, {LZMA_FILTER_LZMA2, &opt}, {LZMA_VLI_UNKNOWN, NULL}};

    if (lzma_lzma_preset(&opt, 6))
        abort();
    if (xz ? lzma_stream_encoder(&s, filters, LZMA_CHECK_CRC32) : lzma_alone_encoder(&s, &opt))
        abort();
    s.next_in = in;
    s.avail_in = len;
    s.next_out = out;
    s.avail_out = max;
    if (lzma_code(&s, LZMA_FINISH) != LZMA_STREAM_END)
        abort();
    lzma_end(&s);
    return max - s.avail_out;
}
#endif

uint64_t pack(enum packing packing, const uint8_t *in, uint64_t len, uint8_t *out, uint64_t max)
{
    uint64_t got = 0;

    switch (packing) {
#ifdef HAVE_LZ4
    case PACK_LZ4: got = pack_lz4(in, len, out, max); break;
#endif
#ifdef HAVE_ZSTD
    case PACK_ZSTD: got = ZSTD_compress(out, max, in, len, 3); break;
#endif
#ifdef HAVE_ZLIB
    case PACK_GZIP: return pack_gzip(in, len, out, max); /* ends in its size by itself */
#endif
#ifdef HAVE_LZMA
    case PACK_XZ: got = pack_lzma(true, in, len, out, max); break;
    case PACK_LZMA: got = pack_lzma(false, in, len, out, max); break;
#endif
#ifdef HAVE_BZIP2
    case PACK_BZIP2: {
        unsigned n = (unsigned)max;

        if (BZ2_bzBuffToBuffCompress((char *)out, &n, (char *)in, (unsigned)len, 9, 0, 0))
            abort();
        got = n;
        break;
    }
#endif
    default: memcpy(out, in, len); got = len;
    }
    le32_put(out + got, (uint32_t)len);
    return got + 4;
}

static void fill(uint8_t *at, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        at[i] = image_byte(i);
}

#define NOTE_LEN 24

/* A note of another owner's would be skipped; this is Xen's, type 18, 4-byte value. */
static void put_pvh_note(uint8_t *at, uint32_t entry)
{
    le32_put(at, 4);
    le32_put(at + 4, 4);
    le32_put(at + 8, 18);
    memcpy(at + 12, "Xen", 4);
    le32_put(at + 16, entry);
}

void image_elf64(struct image *img, bool pvh)
{
    uint64_t text = 0x200000, data = text + TEXT_LEN;
    Elf64_Ehdr h = {.e_type = ET_EXEC,
                    .e_machine = EM_X86_64,
                    .e_version = 1,
                    .e_entry = KERNEL_ADDR,
                    .e_phoff = sizeof(h),
                    .e_ehsize = sizeof(h),
                    .e_phentsize = sizeof(Elf64_Phdr),
                    .e_phnum = pvh ? 3 : 2};
    Elf64_Phdr p[3] = {
        {PT_LOAD, 5, text, 0xffffffff81000000, KERNEL_ADDR, TEXT_LEN, TEXT_LEN, 0x200000},
        {PT_LOAD, 6, data, 0xffffffff81200000, DATA_ADDR, DATA_LEN, DATA_MEMSZ, 0x1000},
        {PT_NOTE, 4, 0x1000, 0, 0, NOTE_LEN, NOTE_LEN, 4},
    };

    image_init(img, "vmlinux", data + DATA_LEN);
    memcpy(h.e_ident, "\177ELF\2\1\1", 7);
    memcpy(img->bytes, &h, sizeof(h));
    memcpy(img->bytes + sizeof(h), p, sizeof(p));
    put_pvh_note(img->bytes + 0x1000, PVH_ENTRY);
    fill(img->bytes + text, TEXT_LEN);
    fill(img->bytes + data, DATA_LEN);
}

void image_elf32(struct image *img, bool multiboot, bool pvh)
{
    Elf32_Ehdr h = {.e_type = ET_EXEC,
                    .e_machine = EM_386,
                    .e_version = 1,
                    .e_entry = ELF32_ADDR + 0x10,
                    .e_phoff = sizeof(h),
                    .e_ehsize = sizeof(h),
                    .e_phentsize = sizeof(Elf32_Phdr),
                    .e_phnum = pvh ? 2 : 1};
    Elf32_Phdr p[2] = {
        {PT_LOAD, 0x1000, ELF32_ADDR, ELF32_ADDR, 0x2000, 0x3000, 7, 0x1000},
        {PT_NOTE, 0x200, 0, 0, NOTE_LEN, NOTE_LEN, 4, 4},
    };

    image_init(img, "kernel.elf", 0x3000);
    memcpy(h.e_ident, "\177ELF\1\1\1", 7);
    memcpy(img->bytes, &h, sizeof(h));
    memcpy(img->bytes + sizeof(h), p, sizeof(p));
    put_pvh_note(img->bytes + 0x200, ELF32_ADDR + 0x20);
    fill(img->bytes + 0x1000, 0x2000);
    if (multiboot) {
        le32_put(img->bytes + 0x1000, 0x1badb002);
        le32_put(img->bytes + 0x1004, 3);
        le32_put(img->bytes + 0x1008, -(0x1badb002u + 3));
    }
}

void image_bzimage(struct image *img, enum packing packing)
{
    enum { SETUP = 2 * 512, PAYLOAD = 0x400 };
    struct image elf;
    uint64_t len, kernel;
    uint8_t *b;

    image_elf64(&elf, false);
    image_init(img, "bzImage", SETUP + PAYLOAD + elf.file.size + 65536);
    b = img->bytes;
    len = pack(packing, elf.bytes, elf.file.size, b + SETUP + PAYLOAD, elf.file.size + 65536);
    image_free(&elf);
    kernel = align_up(PAYLOAD + len, 16);
    b[0x1f1] = 1;
    le32_put(b + 0x1f4, (uint32_t)(kernel / 16));
    le16_put(b + 0x1fe, 0xaa55);
    b[0x201] = 0x6a;
    memcpy(b + 0x202, "HdrS", 4);
    le16_put(b + 0x206, 0x20f);
    b[0x211] = 1;
    le32_put(b + 0x22c, 0x7fffffff);
    le16_put(b + 0x236, 3);
    le32_put(b + 0x238, 2047);
    le32_put(b + 0x248, PAYLOAD);
    le32_put(b + 0x24c, (uint32_t)len);
    le64_put(b + 0x258, KERNEL_ADDR);
    le32_put(b + 0x260, INIT_SIZE);
    fill(b + SETUP, PAYLOAD);
    img->file.size = SETUP + kernel;
}
