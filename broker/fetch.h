#ifndef BROKER_FETCH_H
#define BROKER_FETCH_H

/* A fetch on its way through the shards.
 *
 *   home: split by owning shard -> owner: find the bytes of each partition within a byte budget;
 *   when they are fewer than min.bytes, watch the partitions -> home: enough, an error, or max.wait
 *   is over: stop the watching, read what is cold in the pool, answer
 *
 * An owner is asked once: a part that watches reads again by itself when something moved, and
 * reports. Where one shard owns all that is asked for, it watches at once: the usual fetch of a
 * reader at the end costs a message each way. What is found are slices with references on their
 * segments: deletion and truncation leave them whole. All memory is in the request's arena; a part
 * belongs to its owner until it reports, and then again while it watches. */

#include <stdbool.h>
#include <stdint.h>

#include "broker/payload.h"
#include "protocol/base/uuid.h"
#include "replication/partition.h"
#include "storage/executor.h"

struct fetch_part;
struct request;
struct shard;

/* One partition of a fetch: what is asked, and what was found. */
struct fetch_entry {
    struct uuid topic_id;
    struct str topic; /* as the answer names it; may be null from version 13 on */
    int32_t index;
    int64_t offset;
    int32_t max_bytes;
    int32_t current_leader_epoch; /* -1: not checked */
    int32_t last_fetched_epoch;   /* -1: not checked */
    /* of a replica's: its own log start, and what it was told last; INT64_MAX: it is not to be told
     * of more in haste */
    int64_t replica_log_start_offset;
    int64_t known_high_watermark;
    int64_t known_log_start_offset;
    /* the answer; code != NONE from the start: not to be read */
    enum kerr code;
    int64_t high_watermark;
    int64_t last_stable_offset;
    int64_t log_start_offset;
    int32_t leader_id;
    int32_t leader_epoch;
    int32_t diverging_epoch; /* -1: none */
    int64_t diverging_end_offset;
    int32_t preferred_replica;   /* where to read instead, with no records here; -1: nowhere */
    struct log_aborted *aborted; /* read committed */
    size_t aborted_count;
    bool throttled; /* a replica's: the bytes count for the throttle */
    struct payload payload;
    /* while it is with its shard */
    struct fetch_entry *next;
    struct fetch_part *part;
    struct partition_watcher watcher;
    bool changed; /* watched, and something moved since it was read */
};

struct fetch_call {
    struct request *rq;
    struct fetch_entry *entries; /* in the order of the session */
    size_t entry_count;
    int32_t max_wait_ms;
    int32_t min_bytes;
    int32_t max_bytes;
    bool read_committed;
    int32_t replica_id; /* a replica's fetch, which may read up to the log end; -1: a consumer's */
    int64_t replica_epoch; /* its broker epoch as it knows it; -1: not told */
    bool any_replica;      /* a consumer that may read from followers, up to their high watermark
                       * (KIP-392) */
    struct str rack;       /* the consumer's; empty: unknown */
    /* At home, when every entry is answered and every payload can be sent. Answers the request,
     * after which fetch_release is called by the response. */
    void (*finished)(struct fetch_call *call);

    struct fetch_part *parts; /* one a shard */
    size_t away;              /* messages that will come back: parts, and stops */
    bool alone;     /* one shard has all of it, and may watch without asking: never changes */
    bool waiting;   /* owners watch */
    bool wait_over; /* max.wait, or an error: what is there goes */
    bool finishing;
    bool news;   /* a replica has to hear of a high watermark or log start */
    bool hasten; /* and will, soon */
    bool stepping;
    struct timer wait;
    size_t cold_left;
};

/* Prepares a shard; on its loop or before it runs. */
void fetch_init(struct shard *s);

/* Starts it; finished() may run before this returns. False: the arena's budget is spent, nothing
 * done. */
bool fetch_start(struct fetch_call *call);

/* Gives back the slices and buffers of an answered call: a response's release function. At home. */
void fetch_release(void *call);

#endif
