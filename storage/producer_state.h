#ifndef STORAGE_PRODUCER_STATE_H
#define STORAGE_PRODUCER_STATE_H

/* What one log knows of its idempotent and transactional producers: KIP-98, with the rules of
 * Apache Kafka 4.4 (ProducerStateManager and ProducerAppendInfo there).
 *
 * Pure: bytes and numbers in, answers out; the log keeps the snapshot files. An append goes
 *
 *   producer_state_check_batch    may it be written? is it a duplicate?   (leader; changes nothing)
 *   … the log writes it …
 *   producer_state_apply_batch    it is in the log now                    (leader, follower,
 *                                 recovery)
 *
 * and likewise for the control batches that end transactions. Embedded in the log that owns it, on
 * its thread; zeroed is empty. A producer takes about 200 bytes, and memory is bounded by expiry.
 *
 * Offsets:  first unstable offset = least first offset of a transaction that is open, or whose
 *           marker is not
 * yet below the high watermark. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/status.h"

#define PRODUCER_BATCHES_KEPT 5 /* clients have at most 5 requests in flight */
#define PRODUCER_NO_ID        (-1)
#define PRODUCER_NO_EPOCH     (-1)
#define PRODUCER_NO_SEQUENCE  (-1)
#define PRODUCER_NO_OFFSET    (-1)

struct producer_entry;
struct producer_transaction;

struct producer_state {
    struct producer_entry *producers;          /* by producer id */
    struct producer_transaction *ongoing;      /* ascending by first offset */
    struct producer_transaction *unreplicated; /* ended, marker not below the high watermark;
                                                * ascending */
};

/* One data batch of a producer, as its header says. */
struct producer_batch {
    int64_t producer_id;
    int64_t first_offset; /* in this log; unknown (-1) is fine for a check */
    int64_t last_offset;  /* likewise */
    int64_t max_timestamp_ms;
    int32_t first_sequence; /* PRODUCER_NO_SEQUENCE in a coordinator's transactional batches */
    int32_t last_offset_delta;
    int16_t producer_epoch;
    bool transactional;
};

/* One control batch that ends a transaction (COMMIT or ABORT). */
struct producer_marker {
    int64_t producer_id;
    int64_t offset;
    int64_t timestamp_ms;
    int32_t coordinator_epoch;
    int16_t producer_epoch;
    int16_t transaction_version; /* the writer's (WriteTxnMarkers v2); 0 when unknown, as in
                                  * recovery */
    bool abort;
};

enum producer_origin {
    PRODUCER_ORIGIN_CLIENT,      /* epochs and sequences */
    PRODUCER_ORIGIN_COORDINATOR, /* epochs only: its batches have no sequences */
};

/* The answer to a duplicate: where the old batch lies. */
struct producer_duplicate {
    bool found;
    int64_t first_offset;
    int64_t last_offset;
    int64_t timestamp_ms;
};

/* A transaction that a marker ended. */
struct producer_completed {
    bool had_transaction; /* false: the marker ended nothing, and the transaction index needs no
                           * entry */
    int64_t producer_id;
    int64_t first_offset;
    int64_t last_offset;        /* of the marker */
    int64_t last_stable_offset; /* after it, for the transaction index */
    bool aborted;
};

/* Gives all memory back; the state is empty again. */
void producer_state_free(struct producer_state *s);

/* May a leader append this batch?
 *
 * NONE                          Yes; or duplicate->found: it is there already, answer its old
 *                               offsets.
 * INVALID_PRODUCER_EPOCH        Below the producer's newest epoch.
 * OUT_OF_ORDER_SEQUENCE_NUMBER  Does not follow the producer's last sequence (0 follows 2^31-1), or
 *                               a new epoch that does not start at 0. A producer this log does not
 *                               know (new, or expired) may start anywhere.
 * INVALID_TXN_STATE             Not transactional, but the producer has a transaction open here. */
struct status producer_state_check_batch(const struct producer_state *s,
                                         const struct producer_batch *b,
                                         enum producer_origin origin,
                                         struct producer_duplicate *duplicate);

/* The batch is in the log. Never refuses: what is in the log is true. Batches without a producer id
 * (PRODUCER_NO_ID) are ignored. */
void producer_state_apply_batch(struct producer_state *s, const struct producer_batch *b);

/* A batch that is in the log, older than what a snapshot told of its producer, is known again as
 * one that may come a second time. Of the producer's epoch, oldest first; others are ignored. */
void producer_state_remember_batch(struct producer_state *s, const struct producer_batch *b);

/* May a leader append this marker?
 *
 * INVALID_PRODUCER_EPOCH          Below the producer's newest epoch; with transaction_version >= 2,
 *                                 where each transaction ends in a new epoch, also one equal to it
 *                                 while a transaction is open (a late marker of the transaction
 *                                 before).
 * TRANSACTION_COORDINATOR_FENCED  From a coordinator older than the newest seen. */
struct status producer_state_check_marker(const struct producer_state *s,
                                          const struct producer_marker *m);

/* The marker is in the log. The transaction stays unstable until producer_state_high_watermark
 * passes it. */
void producer_state_apply_marker(struct producer_state *s, const struct producer_marker *m,
                                 struct producer_completed *out);

/* Transactions whose marker is below high_watermark no longer hold readers back. */
void producer_state_high_watermark(struct producer_state *s, int64_t high_watermark);

/* PRODUCER_NO_OFFSET when there is none. */
int64_t producer_state_first_unstable_offset(const struct producer_state *s);
/* As above, of the open transactions only; PRODUCER_NO_OFFSET when none is open. */
int64_t producer_state_first_undecided_offset(const struct producer_state *s);

/* First offset of the producer's open transaction; PRODUCER_NO_OFFSET when it has none. With
 * producer_epoch >= 0, only when the producer's epoch is this one. */
int64_t producer_state_open_transaction(const struct producer_state *s, int64_t producer_id,
                                        int16_t producer_epoch);

/* Forgets producers without an open transaction whose last batch is expiration_ms or more old. */
void producer_state_expire(struct producer_state *s, int64_t now_ms, int64_t expiration_ms);

/* Forgets everything: before a reload from a snapshot, and when a log starts afresh. */
void producer_state_clear(struct producer_state *s);

/* The log start moved up: unreplicated transactions that ended below it are forgotten. Producers
 * stay. */
void producer_state_raise_start(struct producer_state *s, int64_t log_start_offset);

size_t producer_state_count(const struct producer_state *s);

/* What DescribeProducers and dump-log show of one producer. */
struct producer_view {
    int64_t producer_id;
    int64_t last_timestamp_ms;
    int64_t last_offset;              /* of the last batch; -1 none */
    int64_t transaction_first_offset; /* -1 none */
    int32_t last_sequence;            /* -1 none */
    int32_t last_offset_delta;
    int32_t coordinator_epoch; /* -1 none */
    int16_t producer_epoch;
};

typedef void producer_visit(void *arg, const struct producer_view *p);
/* In the order in which they were first seen. */
void producer_state_each(const struct producer_state *s, producer_visit *visit, void *arg);

/* ---- snapshots: `<20-digit offset>.snapshot`, version 1 ---- */

/* The bytes of a snapshot; the caller frees out->data. */
void producer_snapshot_encode(const struct producer_state *s, struct bytes_mut *out);

/* Visits the producers of a snapshot after its version, size and CRC are checked.
 * KAFKA_STORAGE_ERROR  Not a snapshot; nothing visited. `where` says what is wrong. */
struct status producer_snapshot_visit(struct bytes snapshot, producer_visit *visit, void *arg);

/* Adds the producers of a snapshot to an empty state, except those that expired by now_ms. Their
 * open transactions are open again. KAFKA_STORAGE_ERROR: as above; the state stays empty. */
struct status producer_snapshot_load(struct producer_state *s, struct bytes snapshot,
                                     int64_t now_ms, int64_t expiration_ms);

#endif
