#ifndef REPLICATION_ISR_CORE_H
#define REPLICATION_ISR_CORE_H

/* The leader's view of one partition's replicas: who is in sync, and the high watermark. Pure.
 *
 * The high watermark is the least flushed log end over the maximal ISR: the ISR the controller last
 * told us, plus every member of a proposal it may already have accepted. While the ISR has fewer
 * than min(min.insync.replicas, replication factor) members it stands still (KIP-966). It never
 * goes back.
 *
 *   become leader --> leading --(epoch changes, replaced)--> freed
 *
 *   ISR:  committed --(a replica caught up, or fell behind)--> proposed
 *         proposed --(refused, newer metadata)--> committed
 *
 * One proposal at a time. It stays open until the controller says that it was not carried out
 * (INELIGIBLE_REPLICA, OPERATION_NOT_ATTEMPTED) or the metadata moves on: until then it may be in
 * force.
 *
 * A replica may join once it has all below the high watermark, and all that was there when we began
 * to lead. Under load the watermark would run away from it: so when it is no more than one fetch
 * behind, the watermark waits for it, at most ISR_HOLD_MS from its last fetch. (Apache Kafka waits
 * for any replica that was caught up within replica.lag.time.max.ms, and with it for one that is
 * just back.)
 *
 * A replica falls behind in two ways. It fetches, but did not have all that we have for
 * replica.lag.time.max.ms, as in Apache Kafka. Or it is not heard of for as long as a controller
 * waits for a broker, and holds writes up: the controller may still hear it well (a cut between the
 * two of us), so nobody else would take it out. Not so
 *   - while that would leave fewer than min.insync.replicas: it would help nobody, and the replica
 *   has its worth;
 *   - right after we were away ourselves (no tick for ISR_AWAY_MS): then we did not listen;
 *   - as soon as the last time, when it is in and out again and again: each time that it falls
 *     silent as soon as it is in (ISR_SETTLE_MS) doubles our patience for the next. A cut that
 *     comes back does not: it was heard in between.
 *
 * "Flushed end" is the log end itself when log.flush.before.ack=false. Times are of a clock that
 * never goes back. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/kerr.h"

#define ISR_HOLD_MS 200 /* two fetches and a flush between them */
/* a replica heard of within this is alive: twice replica.fetch.wait.max.ms */
#define ISR_FRESH_MS 1000
#define ISR_RETRY_MS 50   /* after a refusal; the metadata that explains it is on its way */
#define ISR_TICK_MS  250  /* how often isr_tick is to be called at least */
#define ISR_AWAY_MS  1000 /* so long without a tick, and we were paused */
/* what a fetch may take, and a flush with it, beyond the wait it asks for */
#define ISR_ROUND_MS   1500
#define ISR_SETTLE_MS  250
#define ISR_PATIENT_MS 10000 /* after it joined; then it is one like the others */

struct isr_replica {
    int32_t id;
    bool in_isr;
    bool in_maximal_isr;
    bool in_proposal;           /* while one is open */
    bool eligible;              /* registered with that epoch, not fenced, not shutting down */
    int64_t flushed_end_offset; /* -1: not heard of since we lead */
    int64_t log_start_offset;   /* -1: not heard of */
    int64_t broker_epoch;       /* of its last fetch; -1: it did not say */
    int64_t fetched_ms;         /* its last fetch; meaningless before the first */
    int64_t wait_ms;            /* how long that one may wait with us, before the next can come */
    int64_t joined_ms;          /* when it came into the ISR */
    int64_t patience_ms;        /* how long it may be silent until ISR_PATIENT_MS from then */
    int64_t leader_end_offset;  /* our log end then; -1: none */
    int64_t caught_up_ms;       /* when it last had all that we had at its fetch before */
    int64_t hold_until_ms;      /* the watermark waits for it; 0: it does not */
};

struct isr {
    int32_t self_id;
    int32_t min_isr; /* capped by the replication factor */
    int32_t partition_epoch;
    int64_t high_watermark;
    int64_t epoch_start_offset; /* the log end when we began to lead */
    int64_t lag_ms_max;         /* replica.lag.time.max.ms */
    int64_t silence_ms_max;     /* how long a replica may be silent */
    int64_t ticked_ms;
    int64_t attentive_ms;    /* since when we have not been away */
    int64_t propose_from_ms; /* not earlier */
    bool proposed;
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
    int32_t partition_epoch;
};

/* What the caller does after an event, in this order. */
struct isr_effects {
    bool high_watermark_moved;
    bool propose;   /* ask the controller for isr_proposal */
    bool tick_soon; /* isr_tick, within about ISR_HOLD_MS */
};

struct isr_start {
    int64_t high_watermark; /* known from before: the checkpoint, or our days as a follower */
    int64_t end_offset;     /* log end */
    int64_t lag_ms_max;
    int64_t silence_ms_max;
    int64_t now_ms;
};

/* Starts leading. False: out of memory, nothing to free. */
bool isr_init(struct isr *s, const struct isr_membership *m, const struct isr_start *at);
void isr_free(struct isr *s);

/* The metadata changed within the epoch (replicas, ISR, min.insync.replicas). Of the partition
 * epoch that we know only the minimum counts. False: out of memory, the state is as before. */
bool isr_set_membership(struct isr *s, const struct isr_membership *m, int64_t now_ms,
                        struct isr_effects *fx);

/* The leader itself has everything below end on its disk. An older end is ignored. */
void isr_flushed(struct isr *s, int64_t end, int64_t now_ms, struct isr_effects *fx);

/* A replica fetches. */
struct isr_fetch {
    int32_t replica_id; /* unknown ones are ignored */
    int64_t offset; /* everything below is on its disk; less than the last time when it lost some */
    int64_t log_start_offset;
    int64_t leader_end_offset; /* our log end */
    int64_t broker_epoch;
    int64_t wait_ms; /* that the fetch is content to wait */
    bool eligible;
};
void isr_fetched(struct isr *s, const struct isr_fetch *f, int64_t now_ms, struct isr_effects *fx);

/* Brokers changed: whether a replica, with the epoch that it last said, may be in the ISR now. */
void isr_set_eligible(struct isr *s, int32_t replica_id, bool eligible, int64_t now_ms,
                      struct isr_effects *fx);

/* The same ahead of isr_set_membership, which then decides: metadata that takes a broker out of the
 * ISR often says in the same breath why it may not come back. */
void isr_note_eligible(struct isr *s, int32_t replica_id, bool eligible);

/* Every ISR_TICK_MS, and when asked for. */
void isr_tick(struct isr *s, int64_t leader_end_offset, int64_t now_ms, struct isr_effects *fx);

/* ---- proposals ---- */

struct isr_proposed {
    int32_t id;
    int64_t broker_epoch; /* -1: not known, and for the leader itself not ours to say */
};

/* The open proposal, to be sent with s->partition_epoch. out has room for replica_count. */
size_t isr_proposal(const struct isr *s, struct isr_proposed *out);

/* Whether asking again with the same words could give another answer. */
bool isr_answer_is_final(enum kerr code);

/* A final answer to the proposal that was sent with that partition epoch; ignored when it is not
 * open any more. What came of an accepted one the metadata tells, and not before the settings that
 * were in force then: by the answer alone a leader that has not heard of a larger
 * min.insync.replicas would commit by itself, and the replica that it took out be elected
 * (KIP-966), without what was committed. Apache Kafka 4.4 believes the answer. */
void isr_answered(struct isr *s, enum kerr code, int32_t sent_epoch, int64_t now_ms,
                  struct isr_effects *fx);

/* ---- facts ---- */

bool isr_has_replica(const struct isr *s, int32_t replica_id);
bool isr_contains(const struct isr *s, int32_t replica_id);

/* The least log start over the leader (own_start) and those replicas that are alive; -1 when one of
 * them was not heard of. What lies below it is deleted everywhere. */
int64_t isr_low_watermark(const struct isr *s, int64_t own_start,
                          bool (*alive)(void *arg, int32_t id), void *arg);

/* Members of the ISR. */
size_t isr_size(const struct isr *s);

/* Whether an acks=all write may be taken now. */
bool isr_enough(const struct isr *s);

#endif
