#ifndef STORAGE_LOG_COMPACTION_FILTER_H
#define STORAGE_LOG_COMPACTION_FILTER_H

/* What compaction keeps of each batch, by the rules of Apache Kafka's cleaner. Batches come in the
 * order of the log.
 *
 *  - of a key the record with the newest offset; records past what the map covers all;
 *  - a record without a value (a tombstone) until delete.retention.ms after a compaction first met
 *    it: until then its batch has no horizon, from then on the batch's base timestamp says when it
 *    may go (KIP-534);
 *  - markers of transactions until none of their batches is left, and then until the same horizon;
 *  - no data of aborted transactions, and no records without a key;
 *  - of each active producer the batch with its last offset, if need be without records, because a
 *    restart takes its sequence and epoch from there;
 *  - the last batch of what is cleaned, likewise, so that it is known how far the log went.
 *
 * Offsets never change. Pure: bytes in, bytes out. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "protocol/record_batch_rewrite.h"
#include "storage/log_compaction_map.h"
#include "storage/log_compaction_txns.h"

/* A producer that the log knows. */
struct compaction_producer {
    int64_t producer_id;
    int64_t last_offset; /* of its last data batch; -1: none, its last batch is a marker */
    int16_t producer_epoch;
};

struct compaction_rules {
    struct compaction_map *map;
    int64_t map_end_offset;   /* exclusive: the map knows the newest offset of each key below it */
    int64_t round_end_offset; /* exclusive: what is cleaned ends here */
    int64_t now_ms;
    int64_t delete_retention_ms;
    const struct compaction_producer *producers; /* ascending by id; borrowed */
    size_t producer_count;
    size_t decompressed_max; /* of a batch */
};

struct compaction_filter {
    struct compaction_rules rules;
    struct compaction_txns txns;
    struct compression_scratch *scratch; /* borrowed */
    struct record_batch_rewrite rewrite;
    uint8_t empty[RECORD_BATCH_HEADER_BYTES];
    int64_t records_met;
    int64_t records_kept;
};

struct compaction_kept {
    struct bytes batch; /* size 0: nothing stays. In the filter, the scratch or the given batch
                         * until the next call */
    bool has_aborted;   /* the transaction index of the new segment gets the entry */
    struct txn_index_entry aborted;
};

/* Offers one batch of an append to the map: a record with a key. *full: the map took what it may
 * (count_max keys) and stopped within the batch; *end_offset is behind the last record that it
 * knows. Data of aborted transactions are not put. CORRUPT_MESSAGE, MESSAGE_TOO_LARGE,
 * UNKNOWN_SERVER_ERROR: the batch cannot be read. */
struct status compaction_map_batch(struct compaction_filter *f, struct bytes batch,
                                   int64_t from_offset, size_t count_max, bool *full,
                                   int64_t *end_offset);

/* last: nothing of the new segment follows, so the batch stays, if need be without records. Errors
 * as above; the filter cannot go on. */
struct status compaction_filter_batch(struct compaction_filter *f, struct bytes batch, bool last,
                                      struct compaction_kept *out);

#endif
