#ifndef REPLICATION_ISR_CORE_H
#define REPLICATION_ISR_CORE_H

/* The leader's view of one partition's replicas: who is in sync, and the high watermark. Pure.
 *
 * The high watermark is the least flushed log end over the maximal ISR: the ISR the controller last told
 * us, plus every member of a proposal it may already have accepted. While the ISR has fewer than
 * min(min.insync.replicas, replication factor) members it stands still (KIP-966). It never goes back.
 *
 *   become leader --> leading --(epoch changes, replaced)--> freed
 *
 * "Flushed end" is the log end itself when log.flush.before.ack=false. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct isr_replica {
    int32_t id;
    bool in_isr;
    bool in_maximal_isr;
    int64_t flushed_end_offset; /* -1: not heard of since we lead */
};

struct isr {
    int32_t self_id;
    int32_t min_isr; /* capped by the replication factor */
    int64_t high_watermark;
    size_t replica_count;
    struct isr_replica *replicas; /* owned */
};

/* What the metadata says of a partition that self_id leads. Ids are borrowed for the call. */
struct isr_membership {
    int32_t self_id;
    const int32_t *replicas;
    size_t replica_count;
    const int32_t *isr;
    size_t isr_count;
    int32_t min_insync_replicas;
};

/* Starts leading with a high watermark known from before (the checkpoint, or our days as a follower).
 * False: out of memory, nothing to free. */
bool isr_init(struct isr *s, const struct isr_membership *m, int64_t high_watermark);
void isr_free(struct isr *s);

/* The metadata changed within the epoch (replicas, ISR, min.insync.replicas). False: out of memory, the
 * state is as before. */
bool isr_set_membership(struct isr *s, const struct isr_membership *m);

/* A replica (the leader itself among them) has everything below end on its disk. True when the high
 * watermark moved. Unknown ids are ignored. */
bool isr_flushed(struct isr *s, int32_t replica_id, int64_t end);

bool isr_has_replica(const struct isr *s, int32_t replica_id);

/* Members of the ISR. */
size_t isr_size(const struct isr *s);

/* Whether an acks=all write may be taken now. */
bool isr_enough(const struct isr *s);

#endif
