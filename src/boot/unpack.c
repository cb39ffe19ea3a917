#include "boot/unpack.h"

#include "base/bits.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#define PIECE (256u << 10) /* of the packed stream in memory at a time */

/*
 * A codec returns 0, or -EBADMSG (corrupt), -ENODATA (truncated), -ENOSPC
 * (out is full) or -ENOMEM. io->out_len is set on success. When reading fails,
 * read_error is set, and what the codec makes of the end does not matter.
 */
struct unpack_io {
    const struct file *file;
    uint64_t at, left; /* of the packed stream in the file */
    uint8_t *piece;    /* PIECE bytes, for those that call next_piece */
    int read_error;
    uint8_t *out;
    uint64_t out_max, out_len;
};

static int take(struct unpack_io *io, void *to, uint64_t len)
{
    io->read_error = file_read(io->file, io->at, to, len);
    io->at += len;
    io->left -= len;
    return io->read_error;
}

/* How many bytes came into io->piece; 0: it was all, or cannot be read. */
static unsigned next_piece(struct unpack_io *io)
{
    unsigned len = (unsigned)MIN(io->left, PIECE);

    return len && !take(io, io->piece, len) ? len : 0;
}

static int copy_elf(struct unpack_io *io)
{
    io->out_len = io->left;
    return io->left > io->out_max ? -ENOSPC : take(io, io->out, io->left);
}

#ifdef HAVE_LZ4
#include <lz4.h>

#define LZ4_LEGACY_MAGIC 0x184c2102u
#define LZ4_LEGACY_BLOCK 0x800000u /* bytes a block unpacks to at most */

/* What the block that comes, len bytes packed, unpacks to at most. Behind the last
 * one is the size of all. */
static uint64_t lz4_block_max(struct unpack_io *io, uint32_t len, uint64_t done)
{
    uint8_t size[4];

    if (io->left != (uint64_t)len + 4)
        return LZ4_LEGACY_BLOCK;
    io->read_error = file_peek(io->file, io->at + len, size, 4);
    if (io->read_error || le32_get(size) < done)
        return 0;
    return MIN(le32_get(size) - done, LZ4_LEGACY_BLOCK);
}

/*
 * Unpack a block to out + *done. Where there is room for it behind what it comes
 * to, it is read to the end of out, and needs no memory of its own.
 */
static int lz4_block(struct unpack_io *io, uint32_t len, uint64_t *done)
{
    uint64_t max = lz4_block_max(io, len, *done), room = MIN(io->out_max - *done, max);
    bool inside = room == max && len <= io->out_max - *done - max;
    uint8_t *packed = inside ? io->out + io->out_max - len : malloc(MAX(len, 1u));
    int got = -1;

    if (!packed)
        return -ENOMEM;
    if (!take(io, packed, len))
        got =
            LZ4_decompress_safe((const char *)packed, (char *)io->out + *done, (int)len, (int)room);
    if (!inside)
        free(packed);
    if (got < 0)
        return room < max ? -ENOSPC : -EBADMSG;
    *done += (unsigned)got;
    return 0;
}

/*
 * The legacy frame: a magic, then blocks of a size and that many bytes, with no
 * end mark. Four bytes left over are Linux's unpacked size.
 */
static int unpack_lz4(struct unpack_io *io)
{
    uint8_t word[4];
    uint64_t done = 0;
    int ret = 0;

    while (!ret && io->left > 4) {
        uint32_t len;

        if (take(io, word, 4))
            return -EIO;
        len = le32_get(word);
        if (len == LZ4_LEGACY_MAGIC) /* frames may follow each other */
            continue;
        if (len > LZ4_COMPRESSBOUND(LZ4_LEGACY_BLOCK))
            return -EBADMSG;
        if (len > io->left)
            return -ENODATA;
        ret = lz4_block(io, len, &done);
    }
    if (ret)
        return ret;
    if (io->left && (io->left != 4 || take(io, word, 4) || le32_get(word) != (uint32_t)done))
        return -ENODATA;
    io->out_len = done;
    return 0;
}
#else
#define unpack_lz4 NULL
#endif

#ifdef HAVE_ZSTD
#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_d_stableOutBuffer */
#include <zstd.h>
#include <zstd_errors.h>

static int zstd_error(size_t code)
{
    switch (ZSTD_getErrorCode(code)) {
    case ZSTD_error_dstSize_tooSmall: return -ENOSPC;
    case ZSTD_error_memory_allocation: return -ENOMEM;
    default: return -EBADMSG;
    }
}

static int zstd_run(struct unpack_io *io, ZSTD_DCtx *ctx)
{
    ZSTD_inBuffer in = {io->piece, 0, 0};
    ZSTD_outBuffer out = {io->out, io->out_max, 0};
    size_t want;

    /* What is unpacked stays in place: no copy of the last 128 MiB for looking back. */
    ZSTD_DCtx_setParameter(ctx, ZSTD_d_stableOutBuffer, 1);
    ZSTD_DCtx_setParameter(ctx, ZSTD_d_windowLogMax, ZSTD_WINDOWLOG_MAX);
    do {
        in.pos = 0;
        in.size = next_piece(io);
        if (!in.size)
            return -ENODATA;
        want = ZSTD_decompressStream(ctx, &out, &in);
        if (ZSTD_isError(want))
            return zstd_error(want);
        if (want && in.pos < in.size)
            return -ENOSPC;
    } while (want); /* 0: the end of the frame */
    io->out_len = out.pos;
    return 0;
}

static int unpack_zstd(struct unpack_io *io)
{
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    int ret = ctx ? zstd_run(io, ctx) : -ENOMEM;

    ZSTD_freeDCtx(ctx);
    return ret;
}
#else
#define unpack_zstd NULL
#endif

#ifdef HAVE_ZLIB
#include <zlib.h>

static int unpack_gzip(struct unpack_io *io)
{
    z_stream s = {.next_out = io->out, .avail_out = (unsigned)io->out_max};
    int ret = inflateInit2(&s, 16 + MAX_WBITS); /* 16: a gzip header */

    if (ret != Z_OK)
        return -ENOMEM;
    while (ret == Z_OK) { /* Z_BUF_ERROR: nothing more to read, or no room */
        if (!s.avail_in) {
            s.avail_in = next_piece(io);
            s.next_in = io->piece;
        }
        ret = inflate(&s, Z_NO_FLUSH);
    }
    inflateEnd(&s);
    io->out_len = io->out_max - s.avail_out;
    switch (ret) {
    case Z_STREAM_END: return 0;
    case Z_MEM_ERROR: return -ENOMEM;
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
    lzma_ret ret = LZMA_OK;

    s->next_out = io->out;
    s->avail_out = io->out_max;
    while (ret == LZMA_OK) { /* LZMA_BUF_ERROR: nothing more to read, or no room */
        if (!s->avail_in) {
            s->avail_in = next_piece(io);
            s->next_in = io->piece;
        }
        ret = lzma_code(s, LZMA_RUN);
    }
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
    bz_stream s = {.next_out = (void *)io->out, .avail_out = (unsigned)io->out_max};
    int ret = BZ2_bzDecompressInit(&s, 0, 0);

    if (ret != BZ_OK)
        return -ENOMEM;
    /* BZ_OK with input left: no room */
    while (ret == BZ_OK && !s.avail_in && (s.avail_in = next_piece(io))) {
        s.next_in = (void *)io->piece;
        ret = BZ2_bzDecompress(&s);
    }
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

/* The codec of the format that the payload begins like, or NULL. */
static const struct codec *codec_find(const struct file *file, uint64_t offset, uint64_t len,
                                      int *err)
{
    uint8_t magic[sizeof(codecs[0].magic)] = {0};

    len = MIN(len, sizeof(magic));
    *err = file_peek(file, offset, magic, len);
    for (unsigned i = 0; !*err && i < ARRAY_SIZE(codecs); i++) {
        if (len >= codecs[i].magic_len && !memcmp(magic, codecs[i].magic, codecs[i].magic_len))
            return &codecs[i];
    }
    return NULL;
}

bool unpack_knows(const struct file *file, uint64_t offset, uint64_t len)
{
    int err;
    const struct codec *codec = codec_find(file, offset, len, &err);

    return codec && codec->run;
}

static int say(const struct unpack_io *io, const struct codec *codec, int ret)
{
    const char *name = io->file->path;

    switch (ret) {
    case 0: return 0;
    case -ENOSPC:
        return err_set(ENOSPC, "%s: payload is %s and unpacks to more than %" PRIu64 " bytes", name,
                       codec->name, io->out_max);
    case -ENOMEM: return err_set(ENOMEM, "%s: not enough memory to unpack the payload", name);
    case -ENODATA: return err_set(ENOEXEC, "%s: payload is %s and truncated", name, codec->name);
    default: return err_set(ENOEXEC, "%s: payload is %s and corrupt", name, codec->name);
    }
}

int unpack(const struct file *file, uint64_t offset, uint64_t len, uint8_t *out, uint64_t out_max,
           uint64_t *out_len)
{
    /* Several libraries count in 32 bits; Linux's header does, too. */
    struct unpack_io io = {.file = file,
                           .at = offset,
                           .left = MIN(len, UINT32_MAX),
                           .out = out,
                           .out_max = MIN(out_max, UINT32_MAX)};
    int ret;
    const struct codec *codec = codec_find(file, offset, len, &ret);

    if (ret)
        return ret;
    if (!codec)
        return err_set(ENOEXEC,
                       "%s: payload's format is unknown, expected lz4, zstd, gzip, xz, "
                       "lzma, bzip2 or ELF",
                       file->path);
    if (!codec->run)
        return err_set(EOPNOTSUPP, "%s: payload is %s, but mote was built without %s", file->path,
                       codec->name, codec->library);
    io.piece = malloc(PIECE);
    ret = io.piece ? codec->run(&io) : -ENOMEM;
    free(io.piece);
    *out_len = io.out_len;
    return io.read_error ? io.read_error : say(&io, codec, ret);
}
