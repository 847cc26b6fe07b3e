/* The codecs' common part: the scratch, budgets, whole buffers. See compression_codecs.c for the
 * rest. */

#include "protocol/compression.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/compression_internal.h"

#define BUFFER_KEPT_BYTES ((size_t)4 << 20)   /* what a scratch may hold on to, each */
#define INPUT_BYTES_MAX   ((size_t)INT32_MAX) /* of a batch; fits zlib's counters */

const char *compression_name(int type)
{
    return type >= 0 && type < COMPRESSION_COUNT ? compression_codecs[type].name : "unknown";
}

bool compression_from_name(struct str name, enum compression_type *out)
{
    for (int type = 0; type < COMPRESSION_COUNT; type++) {
        if (str_equal(name, str_from(compression_codecs[type].name))) {
            *out = (enum compression_type)type;
            return true;
        }
    }
    return false;
}

struct compression_levels compression_levels(enum compression_type type)
{
    return compression_codecs[type].levels;
}

/* ---- the scratch ---- */

struct compression_scratch *compression_scratch_new(void)
{
    return calloc(1, sizeof(struct compression_scratch));
}

void compression_scratch_free(struct compression_scratch *s)
{
    if (!s)
        return;
    if (s->inflate_ready)
        inflateEnd(&s->inflate);
    if (s->deflate_ready)
        deflateEnd(&s->deflate);
    LZ4F_freeDecompressionContext(s->lz4_reader);
    ZSTD_freeDCtx(s->zstd_reader);
    ZSTD_freeCCtx(s->zstd_writer);
    free(s->window);
    free(s->block.data);
    free(s->decompressed.data);
    free(s->compressed.data);
    free(s);
}

static void buffer_trim(struct compression_buffer *b)
{
    if (b->capacity <= BUFFER_KEPT_BYTES)
        return;
    free(b->data);
    *b = (struct compression_buffer){0};
}

void compression_scratch_trim(struct compression_scratch *s)
{
    buffer_trim(&s->block);
    buffer_trim(&s->decompressed);
    buffer_trim(&s->compressed);
    if (s->zstd_reader && ZSTD_sizeof_DCtx(s->zstd_reader) > BUFFER_KEPT_BYTES) {
        ZSTD_freeDCtx(s->zstd_reader);
        s->zstd_reader = NULL;
    }
    if (s->zstd_writer && ZSTD_sizeof_CCtx(s->zstd_writer) > BUFFER_KEPT_BYTES) {
        ZSTD_freeCCtx(s->zstd_writer);
        s->zstd_writer = NULL;
    }
}

uint8_t *compression_scratch_window(struct compression_scratch *s)
{
    if (!s->window)
        s->window = malloc(COMPRESSION_WINDOW_BYTES);
    return s->window;
}

bool compression_buffer_reserve(struct compression_buffer *b, size_t size)
{
    uint8_t *data;

    if (size <= b->capacity)
        return true;
    data = realloc(b->data, size);
    if (!data)
        return false;
    *b = (struct compression_buffer){data, size};
    return true;
}

/* ---- streams ---- */

struct status decompressor_open(struct decompressor *d, struct compression_scratch *s, int type,
                                struct bytes in, size_t out_max)
{
    if (type <= COMPRESSION_NONE || type >= COMPRESSION_COUNT)
        return status_error(KERR_UNSUPPORTED_COMPRESSION_TYPE, "no such codec");
    if (in.size > INPUT_BYTES_MAX)
        return status_error(KERR_MESSAGE_TOO_LARGE, "compressed input too large");
    *d = (struct decompressor){
        .scratch = s, .codec = &compression_codecs[type], .in = in, .budget = out_max};
    return d->codec->open(d);
}

/* At the end of the budget one more byte is asked for, to tell a stream that ends there from a
 * larger one. */
static struct status decompressor_expect_end(struct decompressor *d)
{
    uint8_t extra;
    size_t got;
    struct status st = d->codec->read(d, &extra, 1, &got);

    if (status_failed(st))
        return st;
    return got == 0 ? STATUS_OK : status_error(KERR_MESSAGE_TOO_LARGE, "more bytes than allowed");
}

struct status decompressor_read(struct decompressor *d, uint8_t *out, size_t size, size_t *got)
{
    size_t take = size < d->budget ? size : d->budget;
    struct status st;

    *got = 0;
    if (take > INPUT_BYTES_MAX)
        take = INPUT_BYTES_MAX;
    if (take > 0) {
        st = d->codec->read(d, out, take, got);
        if (status_failed(st))
            return st;
        d->budget -= *got;
    }
    if (*got == size || d->ended || d->budget > 0)
        return STATUS_OK;
    return decompressor_expect_end(d);
}

void decompressor_close(struct decompressor *d)
{
    d->in = (struct bytes){0};
    d->block = (struct bytes){0};
}

/* ---- whole buffers ---- */

#define DECOMPRESS_BYTES_FIRST ((size_t)16 * 1024)

/* Room for the next read: the whole buffer doubled, within what may come out. */
static bool decompressed_grow(struct compression_buffer *b, size_t used, size_t out_max)
{
    size_t want = used < DECOMPRESS_BYTES_FIRST / 2 ? DECOMPRESS_BYTES_FIRST : used * 2;

    if (used < b->capacity)
        return true;
    if (want > out_max)
        want = out_max > used ? out_max : used + 1;
    return compression_buffer_reserve(b, want);
}

struct status compression_decompress(struct compression_scratch *s, int type, struct bytes in,
                                     size_t out_max, struct bytes *out)
{
    struct compression_buffer *buffer = &s->decompressed;
    struct decompressor d;
    struct status st;
    size_t used = 0;

    if (type == COMPRESSION_NONE) {
        *out = in;
        return STATUS_OK;
    }
    st = decompressor_open(&d, s, type, in, out_max);
    if (status_failed(st))
        return st;
    for (;;) {
        size_t room;
        size_t got;

        if (!decompressed_grow(buffer, used, out_max)) {
            st = status_error(KERR_UNKNOWN_SERVER_ERROR, "decompress: no memory");
            break;
        }
        room = buffer->capacity - used;
        st = decompressor_read(&d, buffer->data + used, room, &got);
        if (status_failed(st))
            break;
        used += got;
        if (got < room)
            break;
    }
    decompressor_close(&d);
    if (!status_failed(st))
        *out = (struct bytes){buffer->data, used};
    return st;
}

struct status compression_compress(struct compression_scratch *s, enum compression_type type,
                                   int level, size_t head_bytes, struct bytes in,
                                   struct bytes_mut *out)
{
    const struct codec *codec = &compression_codecs[type];
    struct compression_buffer *buffer = &s->compressed;
    struct status st = STATUS_OK;
    size_t bound;
    size_t size = in.size;

    CHECK(type >= COMPRESSION_NONE && type < COMPRESSION_COUNT);
    if (in.size > INPUT_BYTES_MAX)
        return status_error(KERR_MESSAGE_TOO_LARGE, "input too large to compress");
    bound = type == COMPRESSION_NONE ? in.size : codec->bound(in.size);
    if (!compression_buffer_reserve(buffer, head_bytes + bound))
        return status_error(KERR_UNKNOWN_SERVER_ERROR, "compress: no memory");
    if (type == COMPRESSION_NONE) {
        if (in.size > 0)
            memcpy(buffer->data + head_bytes, in.data, in.size);
    } else {
        st = codec->compress(s, level, in, buffer->data + head_bytes, bound, &size);
    }
    if (!status_failed(st))
        *out = (struct bytes_mut){buffer->data, head_bytes + size};
    return st;
}
