#include "boot/unpack.h"

#include "base/bits.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>

/*
 * A codec returns 0, or -EBADMSG (corrupt), -ENODATA (truncated), -ENOSPC
 * (out is full) or -ENOMEM. io->out_len is set on success.
 */
struct unpack_io {
    const uint8_t *in;
    uint64_t in_len;
    uint8_t *out;
    uint64_t out_max, out_len;
};

static int copy_elf(struct unpack_io *io)
{
    if (io->in_len > io->out_max)
        return -ENOSPC;
    memcpy(io->out, io->in, io->in_len);
    io->out_len = io->in_len;
    return 0;
}

#ifdef HAVE_LZ4
#include <lz4.h>

#define LZ4_LEGACY_MAGIC 0x184c2102u
#define LZ4_LEGACY_BLOCK 0x800000 /* bytes a block unpacks to at most */

/*
 * The legacy frame: a magic, then blocks of a size and that many bytes, with no
 * end mark. Four bytes left over are Linux's unpacked size.
 */
static int unpack_lz4(struct unpack_io *io)
{
    uint64_t at = 4, done = 0;

    while (io->in_len - at > 4) {
        uint32_t len = le32_get(io->in + at);
        uint64_t room = MIN(io->out_max - done, LZ4_LEGACY_BLOCK);
        int got;

        at += 4;
        if (len == LZ4_LEGACY_MAGIC) /* frames may follow each other */
            continue;
        if (len > INT_MAX)
            return -EBADMSG;
        if (len > io->in_len - at)
            return -ENODATA;
        got = LZ4_decompress_safe((const char *)io->in + at, (char *)io->out + done, (int)len,
                                  (int)room);
        if (got < 0)
            return room < LZ4_LEGACY_BLOCK ? -ENOSPC : -EBADMSG;
        at += len;
        done += (unsigned)got;
    }
    if (io->in_len - at != 0 && io->in_len - at != 4)
        return -ENODATA;
    if (io->in_len - at == 4 && le32_get(io->in + at) != (uint32_t)done)
        return -ENODATA;
    io->out_len = done;
    return 0;
}
#else
#define unpack_lz4 NULL
#endif

#ifdef HAVE_ZSTD
#include <zstd.h>
#include <zstd_errors.h>

static int unpack_zstd(struct unpack_io *io)
{
    size_t frame = ZSTD_findFrameCompressedSize(io->in, io->in_len);
    size_t got;

    if (ZSTD_isError(frame))
        return ZSTD_getErrorCode(frame) == ZSTD_error_srcSize_wrong ? -ENODATA : -EBADMSG;
    got = ZSTD_decompress(io->out, io->out_max, io->in, frame);
    if (ZSTD_isError(got)) {
        switch (ZSTD_getErrorCode(got)) {
        case ZSTD_error_dstSize_tooSmall: return -ENOSPC;
        case ZSTD_error_memory_allocation: return -ENOMEM;
        default: return -EBADMSG;
        }
    }
    io->out_len = got;
    return 0;
}
#else
#define unpack_zstd NULL
#endif

#ifdef HAVE_ZLIB
#include <zlib.h>

static int unpack_gzip(struct unpack_io *io)
{
    z_stream s = {.next_in = (void *)io->in,
                  .avail_in = (unsigned)io->in_len,
                  .next_out = io->out,
                  .avail_out = (unsigned)io->out_max};
    int ret = inflateInit2(&s, 16 + MAX_WBITS); /* 16: a gzip header */

    if (ret != Z_OK)
        return -ENOMEM;
    ret = inflate(&s, Z_FINISH);
    inflateEnd(&s);
    io->out_len = io->out_max - s.avail_out;
    switch (ret) {
    case Z_STREAM_END: return 0;
    case Z_MEM_ERROR: return -ENOMEM;
    case Z_OK:
    case Z_BUF_ERROR: return s.avail_out ? -ENODATA : -ENOSPC;
    default: return -EBADMSG;
    }
}
#else
#define unpack_gzip NULL
#endif

#ifdef HAVE_LZMA
#include <lzma.h>

/* Enough for the 128 MiB dictionary that Linux's build asks of xz. */
#define LZMA_MEMORY (UINT64_C(256) << 20)

static int lzma_run(struct unpack_io *io, lzma_stream *s)
{
    lzma_ret ret;

    s->next_in = io->in;
    s->avail_in = io->in_len;
    s->next_out = io->out;
    s->avail_out = io->out_max;
    do
        ret = lzma_code(s, LZMA_FINISH);
    while (ret == LZMA_OK);
    io->out_len = io->out_max - s->avail_out;
    lzma_end(s);
    switch (ret) {
    case LZMA_STREAM_END: return 0;
    case LZMA_MEM_ERROR:
    case LZMA_MEMLIMIT_ERROR: return -ENOMEM;
    case LZMA_BUF_ERROR: return s->avail_out ? -ENODATA : -ENOSPC;
    default: return -EBADMSG;
    }
}

static int unpack_xz(struct unpack_io *io)
{
    lzma_stream s = LZMA_STREAM_INIT;

    return lzma_stream_decoder(&s, LZMA_MEMORY, 0) == LZMA_OK ? lzma_run(io, &s) : -ENOMEM;
}

static int unpack_lzma(struct unpack_io *io)
{
    lzma_stream s = LZMA_STREAM_INIT;

    return lzma_alone_decoder(&s, LZMA_MEMORY) == LZMA_OK ? lzma_run(io, &s) : -ENOMEM;
}
#else
#define unpack_xz   NULL
#define unpack_lzma NULL
#endif

#ifdef HAVE_BZIP2
#include <bzlib.h>

static int unpack_bzip2(struct unpack_io *io)
{
    bz_stream s = {.next_in = (void *)io->in,
                   .avail_in = (unsigned)io->in_len,
                   .next_out = (void *)io->out,
                   .avail_out = (unsigned)io->out_max};
    int ret = BZ2_bzDecompressInit(&s, 0, 0);

    if (ret != BZ_OK)
        return -ENOMEM;
    ret = BZ2_bzDecompress(&s);
    BZ2_bzDecompressEnd(&s);
    io->out_len = io->out_max - s.avail_out;
    switch (ret) {
    case BZ_STREAM_END: return 0;
    case BZ_MEM_ERROR: return -ENOMEM;
    case BZ_OK: return s.avail_out ? -ENODATA : -ENOSPC;
    default: return -EBADMSG;
    }
}
#else
#define unpack_bzip2 NULL
#endif

static const struct codec {
    const char *name, *library;
    unsigned magic_len;
    uint8_t magic[6];
    int (*run)(struct unpack_io *io); /* NULL: not built in */
} codecs[] = {
    {"an ELF file", "", 4, {0x7f, 'E', 'L', 'F'}, copy_elf},
    {"lz4-compressed", "liblz4", 4, {0x02, 0x21, 0x4c, 0x18}, unpack_lz4},
    {"zstd-compressed", "libzstd", 4, {0x28, 0xb5, 0x2f, 0xfd}, unpack_zstd},
    {"gzip-compressed", "zlib", 2, {0x1f, 0x8b}, unpack_gzip},
    {"xz-compressed", "liblzma", 6, {0xfd, '7', 'z', 'X', 'Z', 0}, unpack_xz},
    {"lzma-compressed", "liblzma", 3, {0x5d, 0, 0}, unpack_lzma},
    {"bzip2-compressed", "libbz2", 3, {'B', 'Z', 'h'}, unpack_bzip2},
};

static const struct codec *codec_find(const uint8_t *in, uint64_t len)
{
    for (unsigned i = 0; i < ARRAY_SIZE(codecs); i++) {
        if (len >= codecs[i].magic_len && !memcmp(in, codecs[i].magic, codecs[i].magic_len))
            return &codecs[i];
    }
    return NULL;
}

bool unpack_knows(const uint8_t *in, uint64_t in_len)
{
    const struct codec *codec = codec_find(in, in_len);

    return codec && codec->run;
}

int unpack(const char *name, const uint8_t *in, uint64_t in_len, uint8_t *out, uint64_t out_max,
           uint64_t *out_len)
{
    const struct codec *codec = codec_find(in, in_len);
    /* Several libraries count in 32 bits; Linux's header does, too. */
    struct unpack_io io = {in, MIN(in_len, UINT32_MAX), out, MIN(out_max, UINT32_MAX), 0};
    int ret;

    if (!codec)
        return err_set(ENOEXEC,
                       "%s: payload's format is unknown, expected lz4, zstd, gzip, xz, "
                       "lzma, bzip2 or ELF",
                       name);
    if (!codec->run)
        return err_set(EOPNOTSUPP, "%s: payload is %s, but mote was built without %s", name,
                       codec->name, codec->library);
    ret = codec->run(&io);
    *out_len = io.out_len;
    switch (ret) {
    case 0: return 0;
    case -ENOSPC:
        return err_set(ENOSPC,
                       "%s: payload is %s and unpacks to more than the %" PRIu64
                       " bytes that the header allows",
                       name, codec->name, io.out_max);
    case -ENOMEM: return err_set(ENOMEM, "%s: not enough memory to unpack the payload", name);
    case -ENODATA: return err_set(ENOEXEC, "%s: payload is %s and truncated", name, codec->name);
    default: return err_set(ENOEXEC, "%s: payload is %s and corrupt", name, codec->name);
    }
}
