#ifndef PROTOCOL_RECORD_BATCH_BUILD_H
#define PROTOCOL_RECORD_BATCH_BUILD_H

/* Makes record batches: a node's own records, control batches, what tools and tests write.
 *
 *     record_batch_builder_init(&b);                               once
 *     record_batch_builder_begin(&b, &head);                       for each batch
 *     record_batch_builder_append(&b, &(struct record_content){…});
 *     st = record_batch_builder_finish(&b, scratch, &batch);
 *     record_batch_builder_free(&b);
 *
 * The builder owns its buffer and uses it again. It remembers its first failure, so only finish
 * needs to be checked. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/record_batch.h"

struct record_batch_head {
    int64_t base_offset;
    int32_t leader_epoch;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    uint16_t attributes; /* enum record_batch_attributes, without the codec */
    enum compression_type compression;
    int compression_level; /* used as it is, when there is a codec: see compression_levels */
};

/* A plain uncompressed batch at offset 0: no producer, no leader epoch. */
#define RECORD_BATCH_HEAD_PLAIN                                                                    \
    ((struct record_batch_head){.leader_epoch = NO_LEADER_EPOCH,                                   \
                                .producer_id = NO_PRODUCER_ID,                                     \
                                .producer_epoch = -1,                                              \
                                .base_sequence = NO_SEQUENCE})

/* Borrowed for the call. */
struct record_content {
    int64_t timestamp_ms;
    struct bytes key;   /* data NULL: null */
    struct bytes value; /* data NULL: null */
    const struct record_header *headers;
    size_t header_count;
};

struct record_batch_builder {
    struct record_batch_head head;
    uint8_t *data; /* owned */
    size_t size;
    size_t capacity;
    int32_t count;
    int64_t base_timestamp_ms; /* of the first record */
    int64_t max_timestamp_ms;
    struct status status;
};

void record_batch_builder_init(struct record_batch_builder *b);
void record_batch_builder_free(struct record_batch_builder *b);

/* Drops what was there and starts a batch. */
void record_batch_builder_begin(struct record_batch_builder *b,
                                const struct record_batch_head *head);

/* Adds a record with the next offset. */
void record_batch_builder_append(struct record_batch_builder *b, const struct record_content *r);

/* Adds a control record; the head's attributes have RECORD_BATCH_CONTROL. value: as encoded by the
 * caller. */
void record_batch_builder_append_control(struct record_batch_builder *b, enum control_type type,
                                         int64_t timestamp_ms, struct bytes value);

/* Size that the batch has now, uncompressed; with one more record: record_size_bytes more at most.
 */
size_t record_batch_builder_size(const struct record_batch_builder *b);
size_t record_size_bytes_max(const struct record_content *r);

/* Finishes the batch. *out lives in the builder (compressed: in the scratch, which may be NULL
 * otherwise) until its next use; writable, so that offsets can be set in place.
 *
 * INVALID_RECORD        No records.
 * MESSAGE_TOO_LARGE     Larger than a batch can be (2 GiB).
 * UNKNOWN_SERVER_ERROR  The heap is exhausted. */
struct status record_batch_builder_finish(struct record_batch_builder *b,
                                          struct compression_scratch *scratch,
                                          struct bytes_mut *out);

/* The same records under another codec: header fields, offsets, record bytes stay, length, codec
 * bits and CRC change. For a batch that passed record_batch_validate. *out lives in the scratch
 * until its next use. Errors as compression_decompress, and MESSAGE_TOO_LARGE. */
struct status record_batch_recompress(struct bytes batch, enum compression_type to, int level,
                                      size_t decompressed_max, struct compression_scratch *scratch,
                                      struct bytes_mut *out);

#endif
