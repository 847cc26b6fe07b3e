#ifndef PROTOCOL_COMPRESSION_H
#define PROTOCOL_COMPRESSION_H

/* The four codecs of record batches behind one table: gzip (zlib), snappy, lz4 frames, zstd.
 *
 * Snappy is read in both framings that clients use (a raw block, or the blocks of snappy-java) and
 * written in that of snappy-java, as Kafka does. lz4 frames with linked blocks are refused: Kafka's
 * clients cannot read them.
 *
 * All state lives in a scratch that its owner (a shard, a tool) passes in, so that codec contexts
 * and buffers are used again. One scratch, one thread, one stream in each direction at a time. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/status.h"

enum compression_type {
    COMPRESSION_NONE = 0,
    COMPRESSION_GZIP = 1,
    COMPRESSION_SNAPPY = 2,
    COMPRESSION_LZ4 = 3,
    COMPRESSION_ZSTD = 4,
    COMPRESSION_COUNT
};

/* compression.type's word for it ("none", "gzip", "snappy", "lz4", "zstd"); "unknown" for others.
 */
const char *compression_name(int type);

/* False, *out untouched, for a word that is none of these. ("producer" is the topic's business.) */
bool compression_from_name(struct str name, enum compression_type *out);

/* Kafka's limits and default of compression.<type>.level; {0, 0, 0} for codecs without levels. */
struct compression_levels {
    int min;
    int max;
    int initial;
};
struct compression_levels compression_levels(enum compression_type type);

struct compression_scratch;

/* NULL when the heap is exhausted. Contexts and buffers are made at their first use, and kept. */
struct compression_scratch *compression_scratch_new(void);
void compression_scratch_free(struct compression_scratch *s); /* NULL is fine */

/* Gives back buffers that one large batch left larger than a few MiB, with what lived in them.
 * Cheap: to be called after each batch by whoever lives long. */
void compression_scratch_trim(struct compression_scratch *s);

/* A buffer of COMPRESSION_WINDOW_BYTES for whoever reads a stream; NULL when the heap is exhausted.
 */
#define COMPRESSION_WINDOW_BYTES ((size_t)64 * 1024)
uint8_t *compression_scratch_window(struct compression_scratch *s);

/* ---- decompression as a stream, for what only needs to be looked at ----
 *
 * Memory: a window (zstd: at most 128 MiB, as its frame asks; lz4: a block; snappy: a block, at
 * most 64 MiB), whatever the size of the output. Time: proportional to the bytes given out. */

struct decompressor {
    struct compression_scratch *scratch;
    const struct codec *codec;
    struct bytes in;    /* not yet consumed; borrowed until close */
    size_t budget;      /* bytes that may still come out */
    struct bytes block; /* snappy: decoded, not yet given out */
    bool framed;        /* snappy: blocks of snappy-java */
    bool ended;
};

/* Starts reading `in`. At most out_max bytes will come out.
 *
 * UNSUPPORTED_COMPRESSION_TYPE  No such codec (COMPRESSION_NONE included).
 * CORRUPT_MESSAGE               The first bytes are not of this codec.
 * UNKNOWN_SERVER_ERROR          The heap is exhausted.
 * After a failure there is nothing to close. */
struct status decompressor_open(struct decompressor *d, struct compression_scratch *s, int type,
                                struct bytes in, size_t out_max);

/* Fills out with up to size bytes; *got < size only at the end of the stream.
 *
 * CORRUPT_MESSAGE    Not a stream of this codec, cut short, or bytes behind its end.
 * MESSAGE_TOO_LARGE  More than out_max bytes would come out, or one block needs too much memory.
 * After a failure only close may follow. */
struct status decompressor_read(struct decompressor *d, uint8_t *out, size_t size, size_t *got);

void decompressor_close(struct decompressor *d);

/* ---- whole buffers ---- */

/* Decompresses all of `in` (COMPRESSION_NONE: *out is `in`). *out lives in the scratch until its
 * next compression_decompress or free. Errors as above. */
struct status compression_decompress(struct compression_scratch *s, int type, struct bytes in,
                                     size_t out_max, struct bytes *out);

/* Compresses all of `in`, which must not lie in the scratch's output buffer. head_bytes are left
 * free in front of the compressed bytes for a header that the caller will write; *out covers both.
 * *out lives in the scratch until its next compression_compress or free. `level` must lie within
 * compression_levels (lz4 at its initial level is the fast compressor, as in Kafka; others are
 * those of lz4 HC). UNKNOWN_SERVER_ERROR when the heap is exhausted. */
struct status compression_compress(struct compression_scratch *s, enum compression_type type,
                                   int level, size_t head_bytes, struct bytes in,
                                   struct bytes_mut *out);

#endif
