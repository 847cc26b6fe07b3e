#ifndef PROTOCOL_COMPRESSION_INTERNAL_H
#define PROTOCOL_COMPRESSION_INTERNAL_H

/* What compression.c and the codecs share. */

#define ZLIB_CONST /* makes its input pointers const */
#include <lz4frame.h>
#include <zlib.h>
#include <zstd.h>

#include "protocol/compression.h"

struct compression_buffer {
    uint8_t *data; /* owned */
    size_t capacity;
};

struct compression_scratch {
    z_stream inflate;
    bool inflate_ready;
    z_stream deflate;
    bool deflate_ready;
    int deflate_level;
    LZ4F_dctx *lz4_reader;
    ZSTD_DCtx *zstd_reader;
    ZSTD_CCtx *zstd_writer;
    uint8_t *window;
    struct compression_buffer block;        /* snappy, read or written */
    struct compression_buffer decompressed; /* of compression_decompress */
    struct compression_buffer compressed;   /* of compression_compress */
};

struct codec {
    const char *name;
    struct compression_levels levels;
    /* Gets the reading context ready; d->in is set. */
    struct status (*open)(struct decompressor *d);
    /* Consumes d->in and fills out until it is full or the stream ends, then sets d->ended. */
    struct status (*read)(struct decompressor *d, uint8_t *out, size_t size, size_t *got);
    /* Most bytes that compressing `size` bytes can give. */
    size_t (*bound)(size_t size);
    /* Writes at most `capacity` = bound(in.size) bytes to out. */
    struct status (*compress)(struct compression_scratch *s, int level, struct bytes in,
                              uint8_t *out, size_t capacity, size_t *size);
};

extern const struct codec compression_codecs[COMPRESSION_COUNT];

/* At least size bytes, or false: the heap is exhausted, what was there stays. Content up to the old
 * capacity is kept. */
bool compression_buffer_reserve(struct compression_buffer *b, size_t size);

#endif
