#ifndef BROKER_COORDINATOR_APPLIER_H
#define BROKER_COORDINATOR_APPLIER_H

/* Brings what one replica of an internal topic's partition has committed into the state store.
 *
 *   waiting for the store --> reading the mark --> following the high watermark
 *            ^                                          |
 *            +-------------(the store was reset, or a call failed)
 *
 * Leader or follower makes no difference. Each turn reads a bounded piece of [mark, high watermark)
 * from the log, and writes what it says together with the new mark: the two cannot disagree. A mark
 * that does not belong to this log (another topic's, beyond its end, off its epochs, below its
 * start) drops all that is stored of the partition, and the log is read from its start.
 *
 * Batches of transactions count once they are committed. One that is still open is left out, and
 * the mark stays below it, so that a later start reads it again.
 *
 * On the loop of the partition's shard, all of it; what would block goes to the pool, one job at a
 * time. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/compression.h"
#include "replication/partition.h"
#include "storage/executor.h"
#include "storage/state_store.h"

struct applier;

struct applier_env {
    struct loop *loop;
    struct pool *pool;
    struct logger *logger;
    struct compression_scratch *scratch; /* the loop's */
    /* applied moved, or is no longer known (-1). From a task of its own, never from within a
     * call. */
    void (*moved)(void *owner, struct applier *a);
    /* The store of that generation failed: it is to be reset, then applier_store_ready called. */
    void (*store_failed)(void *arg, uint64_t generation);
    void (*wrote)(void *arg, size_t size); /* so many bytes were committed to the store */
    /* A job is in the pool; the store and the loop must stay until it is back. */
    void (*job_started)(void *arg);
    void (*job_ended)(void *arg);
    void *arg;
};

/* Borrows env and partition; the log must be open. NULL: out of memory. */
struct applier *applier_create(const struct applier_env *env, struct partition *p,
                               enum state_topic topic, void *owner);
/* The partition is going away. Whatever is in the pool comes back to nobody. */
void applier_free(struct applier *a);

/* The store is open, or was reset. */
void applier_store_ready(struct applier *a, struct state_store *store);

/* The leader appended this batch, as it is in the log now; copied. Once the high watermark is past
 * it, it need not be read back. Best effort: what finds no room is read. */
void applier_appended(struct applier *a, struct bytes batch);

/* The high watermark or the log may have moved: looks in a later task. Cheap. */
void applier_poke(struct applier *a);

/* Everything below is in the store; -1: not known yet. */
int64_t applier_applied(const struct applier *a);

#endif
