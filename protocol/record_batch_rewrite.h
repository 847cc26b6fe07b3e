#ifndef PROTOCOL_RECORD_BATCH_REWRITE_H
#define PROTOCOL_RECORD_BATCH_REWRITE_H

/* What compaction leaves of a batch: some of its records under the same header.
 *
 *     record_batch_rewrite_begin(&w, batch); record_batch_rewrite_keep(&w, &record);            for
 *     each record that stays, in order st = record_batch_rewrite_finish(&w, …, &out);
 *
 * Offsets, sequences, producer and leader epoch stay: base offset and last offset are those of the
 * batch, also when its first and last records are gone. The codec stays. The largest timestamp
 * becomes that of the records that stay. The rewrite owns its buffers and uses them again; zeroed
 * is a fresh one. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/record_batch.h"

struct record_batch_rewrite {
    const uint8_t *head; /* of the batch; borrowed until finish */
    uint8_t *data; /* owned: room for a header, then the records that stay, as they were encoded */
    size_t size;
    size_t capacity;
    uint8_t *shifted; /* owned: the same with other timestamp deltas */
    size_t shifted_capacity;
    int32_t count;
    int64_t max_timestamp_ms;
    bool has_tombstone; /* a record that stays has no value */
    bool out_of_memory;
};

void record_batch_rewrite_free(struct record_batch_rewrite *w);

/* Drops what was there and starts on a batch whose header was checked. */
void record_batch_rewrite_begin(struct record_batch_rewrite *w, struct bytes batch);

/* Keeps a record. encoded: its bytes as the batch has them. */
void record_batch_rewrite_keep(struct record_batch_rewrite *w, const struct record *r,
                               struct bytes encoded);

/* Finishes the batch. delete_horizon_ms: becomes the base timestamp, marked as what it is
 * (KIP-534); NO_TIMESTAMP leaves base timestamp and mark as they are. *out lives in the rewrite
 * (compressed: in the scratch) until its next use. At least one record was kept.
 *
 * UNKNOWN_SERVER_ERROR  The heap is exhausted.
 * MESSAGE_TOO_LARGE     Larger than a batch can be. */
struct status record_batch_rewrite_finish(struct record_batch_rewrite *w, int64_t delete_horizon_ms,
                                          struct compression_scratch *scratch, struct bytes *out);

/* A batch without records, which says only what its producer's last offset, sequence and epoch
 * are. */
void record_batch_write_empty(const uint8_t *head, uint8_t out[RECORD_BATCH_HEADER_BYTES]);

#endif
