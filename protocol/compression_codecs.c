/* The codecs themselves: each reads a stream in steps and compresses a whole buffer. The libraries'
 * contexts live in the scratch. */

#include <snappy-c.h>
#include <string.h>
#include <zstd_errors.h>

#include "protocol/base/byteorder.h"
#include "protocol/compression_internal.h"

static struct status corrupt(const char *where)
{
    return status_error(KERR_CORRUPT_MESSAGE, where);
}

static struct status no_memory(const char *where)
{
    return status_error(KERR_UNKNOWN_SERVER_ERROR, where);
}

/* ---- gzip ---- */

#define GZIP_WINDOW_BITS                                                                           \
    (15 + 16)               /* the largest window; + 16: gzip's head and tail, nothing else */
#define GZIP_MEMORY_LEVEL 8 /* zlib's default */

static struct status gzip_open(struct decompressor *d)
{
    struct compression_scratch *s = d->scratch;

    if (s->inflate_ready) {
        inflateReset(&s->inflate);
        return STATUS_OK;
    }
    s->inflate = (z_stream){0};
    if (inflateInit2(&s->inflate, GZIP_WINDOW_BITS) != Z_OK)
        return no_memory("gzip: no memory");
    s->inflate_ready = true;
    return STATUS_OK;
}

/* Members may follow each other, as in any gzip file. */
static struct status gzip_read(struct decompressor *d, uint8_t *out, size_t size, size_t *got)
{
    z_stream *z = &d->scratch->inflate;

    *got = 0;
    while (*got < size && !d->ended) {
        uInt room = (uInt)(size - *got);
        uInt input = (uInt)d->in.size;
        int result;

        z->next_in = d->in.data;
        z->avail_in = input;
        z->next_out = out + *got;
        z->avail_out = room;
        result = inflate(z, Z_NO_FLUSH);
        d->in.data += input - z->avail_in;
        d->in.size = z->avail_in;
        *got += room - z->avail_out;
        if (result == Z_STREAM_END) {
            d->ended = d->in.size == 0;
            inflateReset(z);
        } else if (result == Z_MEM_ERROR) {
            return no_memory("gzip: no memory");
        } else if (result != Z_OK) { /* Z_BUF_ERROR: the input is cut short */
            return corrupt("gzip stream");
        }
    }
    return STATUS_OK;
}

static struct status gzip_writer_prepare(struct compression_scratch *s, int level)
{
    if (s->deflate_ready && s->deflate_level == level) {
        deflateReset(&s->deflate);
        return STATUS_OK;
    }
    if (s->deflate_ready)
        deflateEnd(&s->deflate);
    s->deflate_ready = false;
    s->deflate = (z_stream){0};
    if (deflateInit2(&s->deflate, level, Z_DEFLATED, GZIP_WINDOW_BITS, GZIP_MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return no_memory("gzip: no memory");
    s->deflate_ready = true;
    s->deflate_level = level;
    return STATUS_OK;
}

static size_t gzip_bound(size_t size)
{
    /* deflateBound's most cautious formula, with gzip's 18 bytes: it holds for any level. */
    return size + ((size + 7) >> 3) + ((size + 63) >> 6) + 5 + 18;
}

static struct status gzip_compress(struct compression_scratch *s, int level, struct bytes in,
                                   uint8_t *out, size_t capacity, size_t *size)
{
    struct status st = gzip_writer_prepare(s, level);

    if (status_failed(st))
        return st;
    s->deflate.next_in = in.data;
    s->deflate.avail_in = (uInt)in.size;
    s->deflate.next_out = out;
    s->deflate.avail_out = (uInt)capacity;
    if (deflate(&s->deflate, Z_FINISH) != Z_STREAM_END)
        return no_memory("gzip: compression failed");
    *size = capacity - s->deflate.avail_out;
    return STATUS_OK;
}

/* ---- snappy ----
 *
 * Raw: one block. snappy-java: a head of 16 bytes, then blocks behind an int32 length each. */

#define SNAPPY_BLOCK_BYTES_MAX                                                                     \
    ((size_t)64 << 20)          /* of a decoded block: what a hostile one may cost */
#define SNAPPY_EXPANSION_MAX 22 /* three bytes can copy 64 */
#define SNAPPY_JAVA_BLOCK    ((size_t)32 * 1024)
#define SNAPPY_JAVA_HEAD     16

/* Magic, version 1, readable by version 1. */
static const uint8_t snappy_java_head[SNAPPY_JAVA_HEAD] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0,
                                                           0,    0,   0,   1,   0,   0,   0,   1};
#define SNAPPY_JAVA_MAGIC_BYTES 8

static bool snappy_at_java_head(struct bytes in)
{
    return in.size >= SNAPPY_JAVA_HEAD &&
           memcmp(in.data, snappy_java_head, SNAPPY_JAVA_MAGIC_BYTES) == 0;
}

static struct status snappy_skip_java_head(struct decompressor *d)
{
    if (load_be32(d->in.data + 12) > 1) /* the oldest version that can read it */
        return corrupt("snappy: framing of a later version");
    d->in.data += SNAPPY_JAVA_HEAD;
    d->in.size -= SNAPPY_JAVA_HEAD;
    return STATUS_OK;
}

static struct status snappy_open(struct decompressor *d)
{
    if (d->in.size == 0)
        return corrupt("snappy: empty");
    d->framed = snappy_at_java_head(d->in);
    return d->framed ? snappy_skip_java_head(d) : STATUS_OK;
}

/* Decodes the next `size` bytes of input as one block. */
static struct status snappy_decode_block(struct decompressor *d, size_t size)
{
    struct compression_buffer *buffer = &d->scratch->block;
    const char *in = (const char *)d->in.data;
    size_t decoded;

    if (snappy_uncompressed_length(in, size, &decoded) != SNAPPY_OK)
        return corrupt("snappy block");
    if (decoded / SNAPPY_EXPANSION_MAX > size) /* before it sizes anything */
        return corrupt("snappy: impossible length");
    if (decoded > SNAPPY_BLOCK_BYTES_MAX || decoded > d->budget)
        return status_error(KERR_MESSAGE_TOO_LARGE, "snappy: block too large");
    if (!compression_buffer_reserve(buffer, decoded))
        return no_memory("snappy: no memory");
    if (snappy_uncompress(in, size, (char *)buffer->data, &decoded) != SNAPPY_OK)
        return corrupt("snappy block");
    d->block = (struct bytes){buffer->data, decoded};
    d->in.data += size;
    d->in.size -= size;
    return STATUS_OK;
}

static struct status snappy_next_block(struct decompressor *d)
{
    uint32_t size;

    if (!d->framed)
        return snappy_decode_block(d, d->in.size);
    if (snappy_at_java_head(d->in)) /* streams of snappy-java may follow each other */
        return snappy_skip_java_head(d);
    if (d->in.size < 4)
        return corrupt("snappy: cut short");
    size = load_be32(d->in.data);
    if (size > d->in.size - 4)
        return corrupt("snappy: block past the end");
    d->in.data += 4;
    d->in.size -= 4;
    return snappy_decode_block(d, size);
}

static struct status snappy_read(struct decompressor *d, uint8_t *out, size_t size, size_t *got)
{
    *got = 0;
    for (;;) {
        size_t take = size - *got < d->block.size ? size - *got : d->block.size;
        struct status st;

        if (take) {
            memcpy(out + *got, d->block.data, take);
            d->block.data += take;
            d->block.size -= take;
            *got += take;
        }
        if (d->block.size == 0 && d->in.size == 0)
            d->ended = true;
        if (*got == size || d->ended)
            return STATUS_OK;
        st = snappy_next_block(d);
        if (status_failed(st))
            return st;
    }
}

static size_t snappy_bound(size_t size)
{
    size_t blocks = size / SNAPPY_JAVA_BLOCK + 1;

    return SNAPPY_JAVA_HEAD + blocks * (4 + snappy_max_compressed_length(SNAPPY_JAVA_BLOCK));
}

static struct status snappy_compress_java(struct compression_scratch *s, int level, struct bytes in,
                                          uint8_t *out, size_t capacity, size_t *size)
{
    uint8_t *p = out + SNAPPY_JAVA_HEAD;

    (void)s;
    (void)level;
    memcpy(out, snappy_java_head, SNAPPY_JAVA_HEAD);
    while (in.size > 0) {
        size_t take = in.size < SNAPPY_JAVA_BLOCK ? in.size : SNAPPY_JAVA_BLOCK;
        size_t block = capacity - (size_t)(p - out) - 4;

        if (snappy_compress((const char *)in.data, take, (char *)p + 4, &block) != SNAPPY_OK)
            return no_memory("snappy: compression failed");
        store_be32(p, (uint32_t)block);
        p += 4 + block;
        in.data += take;
        in.size -= take;
    }
    *size = (size_t)(p - out);
    return STATUS_OK;
}

/* ---- lz4 ---- */

#define LZ4_FLG_MUST_MASK                                                                          \
    0xe3                  /* version, independent blocks, and the two bits Kafka calls reserved */
#define LZ4_FLG_MUST 0x60 /* version 1, independent blocks, no dictionary */

static const uint8_t lz4_magic[4] = {0x04, 0x22, 0x4d, 0x18};

static struct status lz4_open(struct decompressor *d)
{
    struct compression_scratch *s = d->scratch;

    if (d->in.size < LZ4F_HEADER_SIZE_MIN || memcmp(d->in.data, lz4_magic, sizeof lz4_magic) != 0)
        return corrupt("lz4: no frame");
    if ((d->in.data[4] & LZ4_FLG_MUST_MASK) != LZ4_FLG_MUST)
        return corrupt("lz4: frame with linked blocks, a dictionary or another version");
    if (s->lz4_reader) {
        LZ4F_resetDecompressionContext(s->lz4_reader);
        return STATUS_OK;
    }
    if (LZ4F_isError(LZ4F_createDecompressionContext(&s->lz4_reader, LZ4F_VERSION))) {
        s->lz4_reader = NULL;
        return no_memory("lz4: no memory");
    }
    return STATUS_OK;
}

static struct status lz4_read(struct decompressor *d, uint8_t *out, size_t size, size_t *got)
{
    *got = 0;
    while (*got < size && !d->ended) {
        size_t room = size - *got;
        size_t input = d->in.size;
        size_t hint =
            LZ4F_decompress(d->scratch->lz4_reader, out + *got, &room, d->in.data, &input, NULL);

        if (LZ4F_isError(hint))
            return corrupt("lz4 frame");
        d->in.data += input;
        d->in.size -= input;
        *got += room;
        if (hint == 0) {
            if (d->in.size > 0)
                return corrupt("lz4: bytes behind the frame");
            d->ended = true;
        } else if (input == 0 && room == 0) {
            return corrupt("lz4: cut short");
        }
    }
    return STATUS_OK;
}

/* What Kafka's producers write: independent blocks of 64 KiB without checksums. */
static LZ4F_preferences_t lz4_preferences(int level)
{
    LZ4F_preferences_t p = {0};

    p.frameInfo.blockSizeID = LZ4F_max64KB;
    p.frameInfo.blockMode = LZ4F_blockIndependent;
    /* Kafka's default level means the fast compressor; lz4 knows HC from level 3 on. */
    p.compressionLevel = level == compression_codecs[COMPRESSION_LZ4].levels.initial ? 0
                         : level < 3                                                 ? 3
                                                                                     : level;
    return p;
}

static size_t lz4_bound(size_t size)
{
    LZ4F_preferences_t p = lz4_preferences(0);

    return LZ4F_compressFrameBound(size, &p);
}

static struct status lz4_compress(struct compression_scratch *s, int level, struct bytes in,
                                  uint8_t *out, size_t capacity, size_t *size)
{
    LZ4F_preferences_t p = lz4_preferences(level);

    (void)s;
    *size = LZ4F_compressFrame(out, capacity, in.data, in.size, &p);
    return LZ4F_isError(*size) ? no_memory("lz4: compression failed") : STATUS_OK;
}

/* ---- zstd ---- */

#define ZSTD_WINDOW_LOG_MAX 27 /* 128 MiB: the library's own limit, and that of Kafka's clients */

static struct status zstd_open(struct decompressor *d)
{
    struct compression_scratch *s = d->scratch;

    if (!s->zstd_reader) {
        s->zstd_reader = ZSTD_createDCtx();
        if (!s->zstd_reader)
            return no_memory("zstd: no memory");
        ZSTD_DCtx_setParameter(s->zstd_reader, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    }
    ZSTD_DCtx_reset(s->zstd_reader, ZSTD_reset_session_only);
    return STATUS_OK;
}

static struct status zstd_error(size_t result)
{
    switch (ZSTD_getErrorCode(result)) {
    case ZSTD_error_memory_allocation:
        return no_memory("zstd: no memory");
    case ZSTD_error_frameParameter_windowTooLarge:
        return status_error(KERR_MESSAGE_TOO_LARGE, "zstd: window too large");
    default:
        return corrupt("zstd frame");
    }
}

static struct status zstd_read(struct decompressor *d, uint8_t *out, size_t size, size_t *got)
{
    *got = 0;
    while (*got < size && !d->ended) {
        ZSTD_outBuffer to = {out, size, *got};
        ZSTD_inBuffer from = {d->in.data, d->in.size, 0};
        size_t result = ZSTD_decompressStream(d->scratch->zstd_reader, &to, &from);
        bool stuck = to.pos == *got && from.pos == 0;

        if (ZSTD_isError(result))
            return zstd_error(result);
        *got = to.pos;
        d->in.data += from.pos;
        d->in.size -= from.pos;
        if (result == 0 && d->in.size == 0 && !stuck)
            d->ended = true;
        else if (stuck)
            return corrupt("zstd: cut short");
    }
    return STATUS_OK;
}

static size_t zstd_bound(size_t size)
{
    return ZSTD_compressBound(size);
}

static struct status zstd_compress(struct compression_scratch *s, int level, struct bytes in,
                                   uint8_t *out, size_t capacity, size_t *size)
{
    if (!s->zstd_writer)
        s->zstd_writer = ZSTD_createCCtx();
    if (!s->zstd_writer)
        return no_memory("zstd: no memory");
    ZSTD_CCtx_setParameter(s->zstd_writer, ZSTD_c_compressionLevel, level);
    *size = ZSTD_compress2(s->zstd_writer, out, capacity, in.data, in.size);
    return ZSTD_isError(*size) ? no_memory("zstd: compression failed") : STATUS_OK;
}

/* ---- the table ---- */

const struct codec compression_codecs[COMPRESSION_COUNT] = {
    [COMPRESSION_NONE] = {"none", {0, 0, 0}, NULL, NULL, NULL, NULL},
    [COMPRESSION_GZIP] = {"gzip", {1, 9, -1}, gzip_open, gzip_read, gzip_bound, gzip_compress},
    [COMPRESSION_SNAPPY] =
        {"snappy", {0, 0, 0}, snappy_open, snappy_read, snappy_bound, snappy_compress_java},
    [COMPRESSION_LZ4] = {"lz4", {1, 17, 9}, lz4_open, lz4_read, lz4_bound, lz4_compress},
    [COMPRESSION_ZSTD] =
        {"zstd", {-131072, 22, 3}, zstd_open, zstd_read, zstd_bound, zstd_compress},
};
