#ifndef BROKER_PRODUCE_H
#define BROKER_PRODUCE_H

/* A produce request on its way through the shards.
 *
 *   home: split by owning shard -> owner: append each partition -> (acks=all: wait for the high
 *   watermark, or the deadline) -> home: all parts are back, answer
 *
 * The batches stay in the request's frame: owners validate, stamp and write the very bytes
 * received. All memory is in the request's arena; an owner touches a part only between the two
 * posts. */

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/uuid.h"
#include "replication/partition.h"
#include "storage/executor.h"

struct produce_part;
struct request;
struct shard;

/* One partition of the request: what to append, and what became of it. */
struct produce_entry {
    struct uuid topic_id;
    int32_t index;
    struct bytes_mut records;
    /* the answer */
    enum kerr code;
    struct log_appended appended;
    struct record_refusal refusal;
    int32_t leader_id;
    int32_t leader_epoch;
    /* while it is with its shard */
    struct produce_entry *next;
    struct produce_part *part;
    struct partition *waiting_on; /* the waiter is queued there */
    struct watermark_waiter waiter;
};

struct produce_call {
    struct request *rq;
    struct produce_entry *entries; /* filled by the handler; code != NONE: refused already, not
                                    * to be sent */
    size_t entry_count;
    int16_t acks;
    int32_t timeout_ms;
    void (*finished)(struct produce_call *call); /* at home; answers the request */
    struct produce_part *parts;                  /* one a shard */
    size_t parts_left;
};

/* Starts it; finished() may run before this returns. False: the arena's budget is spent, nothing
 * done. */
bool produce_start(struct produce_call *call);

/* Prepares a shard; on its loop or before it runs. */
void produce_init(struct shard *s);

/* An owner's waiting parts, when the shard ends: answers them with `code`. */
void produce_abort_all(struct shard *s, enum kerr code);

#endif
