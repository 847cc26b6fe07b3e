#ifndef REPLICATION_PARTITION_H
#define REPLICATION_PARTITION_H

/* One partition of a topic that this node hosts: its log, who leads it, its high watermark, and
 * those who wait for it to move.
 *
 *   opening --(log open)--> following <--(metadata)--> leading
 *      |                     |   ^  |                     |
 *      |               truncating   |                     |
 *      |                     |      |                     |
 *      +---------------------+------+--> offline <--------+   (a read, write or flush failed)
 *
 * Belongs to the shard that owns it; everything runs there except what is marked [pool]. */

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/logger.h"
#include "protocol/base/span.h"
#include "protocol/base/uuid.h"
#include "replication/fetcher_core.h"
#include "replication/isr_core.h"
#include "storage/executor.h"
#include "storage/flusher.h"
#include "storage/log.h"

enum partition_state {
    PARTITION_OPENING,
    PARTITION_FOLLOWING,
    PARTITION_TRUNCATING, /* the log is the pool's: partition_follow.h */
    PARTITION_LEADING,
    PARTITION_OFFLINE,
};

struct partition;
struct ages_job;
struct partition_cleaning;
struct partition_truncation;

/* Told when the high watermark is at or above `offset`, or when that can no longer be promised:
 * NONE, NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR, what partition_stop was told. While the ISR is
 * too small nobody is told anything, as in Apache Kafka since KIP-966. Embedded in its owner; once,
 * from within whatever moved it, never from within partition_wait. */
struct watermark_waiter {
    struct watermark_waiter *prev, *next;
    int64_t offset;
    void (*reached)(struct watermark_waiter *w, enum kerr code);
};

/* Told each time there may be something new to fetch, or the partition stops serving: the high
 * watermark moved, and with `log_end` (a replica's) also at each append. Stays until
 * partition_unwatch. */
struct partition_watcher {
    struct partition_watcher *prev, *next;
    struct partition *partition;
    bool log_end;
    void (*changed)(struct partition_watcher *w);
};

struct partition_env {
    struct loop *loop;
    struct pool *pool;
    struct files *files;
    struct clock *clock;
    struct logger *logger;
    int32_t node_id;
    bool flush_before_ack; /* log.flush.before.ack */
    int64_t producer_id_expiration_ms;
    int64_t replica_lag_ms_max;     /* replica.lag.time.max.ms */
    int64_t replica_silence_ms_max; /* isr_core.h */
    /* Of partitions with several replicas, while we lead: whether a broker that fetches under that
     * epoch (-1: it did not say) may be in an ISR; ask the controller for isr_proposal(&p->isr) of
     * partition epoch p->isr.partition_epoch, answered by partition_isr_answered; call
     * partition_isr_tick in about ISR_HOLD_MS. */
    bool (*replica_eligible)(void *arg, int32_t broker_id, int64_t broker_epoch);
    bool (*broker_alive)(void *arg, int32_t broker_id); /* registered and not fenced */
    void (*propose_isr)(void *arg, struct partition *p);
    void (*isr_tick_soon)(void *arg, struct partition *p);
    /* A storage error took the partition offline: told once per partition. */
    void (*storage_failed)(void *arg, struct partition *p, struct status why);
    /* partition_stop is through: no flush is under way any more, partition_free may be called. */
    void (*stopped)(void *arg, struct partition *p);
    /* All that was in the log of a partition that follows is on the disk; may be told once too
     * often. NULL: nobody asks. */
    void (*flushed)(void *arg, struct partition *p);
    /* partition_truncate is through. The metadata may have moved on meanwhile: partition_assign is
     * to follow. */
    void (*truncated)(void *arg, struct partition *p);
    void *arg;
};

/* What the metadata says of it. Borrowed for the call. */
struct partition_assignment {
    int32_t leader_id; /* -1: none */
    int32_t leader_epoch;
    int32_t partition_epoch;
    struct isr_membership membership;
    const struct log_config *config; /* borrowed until the next assignment or the end */
};

struct partition {
    struct partition_env *env;
    struct str topic; /* owned, NUL-terminated */
    struct uuid topic_id;
    int32_t index;
    enum partition_state state;
    bool stopping; /* partition_stop waits for a flush or a compaction */
    int32_t leader_id;
    int32_t leader_epoch;
    int32_t partition_epoch;
    struct isr isr;                          /* while leading */
    int64_t lead_start_offset;               /* the log end when we began to lead */
    struct partition *prev_soon, *next_soon; /* isr_tick_soon: the callee's */
    bool tick_soon;
    int64_t high_watermark;            /* while following: as the leader said, or the checkpoint */
    struct fetcher_partition fetching; /* while following: what is asked of the leader */
    struct partition_truncation *truncation; /* while truncating */
    struct log *log;                         /* NULL while opening, and when opening failed */
    struct flusher *flusher;                 /* of its log directory */
    struct flusher_entry flush_entry;
    struct watermark_waiter *waiters;
    struct watermark_waiter *low_waiters; /* for the low watermark, while leading */
    struct partition_watcher *watchers;
    struct partition_watcher *end_watchers; /* those with log_end */
    const struct log_config *config;
    struct partition_cleaning *cleaning; /* a compaction that is under way: partition_clean.h */
    bool uncleanable;                    /* one failed */
    size_t log_dir;                      /* index of its log directory */
    struct ages_job *ages;               /* retention asks the disk; NULL: not now */
};

/* A partition whose log is not open yet. name is copied. NULL: out of memory. */
struct partition *partition_create(struct partition_env *env, struct str topic,
                                   struct uuid topic_id, int32_t index);

/* The log is open (taken over), with the checkpointed high watermark; or opening failed:
 * offline. */
void partition_opened(struct partition *p, struct log *log, struct status result,
                      int64_t high_watermark, struct flusher *flusher);

/* The metadata moved on: leads, follows or changes its members. Idempotent. While truncating it is
 * put off: see env->truncated. */
void partition_assign(struct partition *p, const struct partition_assignment *a);

/* Takes everything down with `code` for those who wait; env->stopped follows, maybe at once. Keeps
 * the log open. Not while opening. */
void partition_stop(struct partition *p, enum kerr code);

/* Takes it offline for a reason found elsewhere: its log directory failed. While truncating, after
 * that. */
void partition_fail(struct partition *p, struct status why);

/* Its topic outlives the metadata's settings for as long as it takes to let go of it: config is to
 * be used instead. */
void partition_keep_config(struct partition *p, const struct log_config *config);

/* What the checkpoints of its log directory say of it. Not of one that is opening or offline. */
struct partition_offsets {
    int64_t recovery_point;
    int64_t high_watermark;
    int64_t log_start_offset;
    int64_t cleaned_offset;
};
struct partition_offsets partition_offsets(const struct partition *p);

/* Frees a stopped partition. The log is handed back to be closed or deleted; may be NULL. */
struct log *partition_free(struct partition *p);

/* Whether the partition is led here: NONE, NOT_LEADER_OR_FOLLOWER, FENCED_LEADER_EPOCH (the
 * caller's epoch is older), UNKNOWN_LEADER_EPOCH (newer), KAFKA_STORAGE_ERROR (offline). epoch -1:
 * the caller does not know. */
enum kerr partition_check_leader(const struct partition *p, int32_t epoch);

/* Whether it is led or followed here, in that epoch: as partition_check_leader, but a follower is
 * fine too. */
enum kerr partition_check_replica(const struct partition *p, int32_t epoch);

/* Appends to the partition we lead, and asks for a flush.
 *
 * As log_append_as_leader, and besides: NOT_LEADER_OR_FOLLOWER  Not ours to lead.
 * Nothing written. NOT_ENOUGH_REPLICAS     acks=all while the ISR is below the minimum.
 * Nothing written. */
struct status partition_append(struct partition *p, struct bytes_mut records, bool acks_all,
                               struct log_appended *out, struct record_refusal *refusal);

/* As partition_append with acks=all, for what a coordinator of this node writes: no batch is too
 * large for the topic that fits a segment. */
struct status partition_append_own(struct partition *p, struct bytes_mut records,
                                   struct log_appended *out);

/* A replica's fetch: all below `offset` is on its disk. */
struct replica_fetch {
    int32_t replica_id;
    int64_t broker_epoch; /* -1: not told */
    int64_t offset;       /* log start <= offset <= log end, of the leader's epoch history */
    int64_t log_start_offset;
    int64_t wait_ms; /* that it is content to wait for something new */
};

/* Whether that node is another replica of the partition that we lead. */
bool partition_has_replica(const struct partition *p, int32_t id);
/* May move the high watermark. Only of a replica. */
void partition_replica_fetched(struct partition *p, const struct replica_fetch *f);

/* What the controller said to a proposal of this leader epoch; ignored when it is not led in that
 * one any more. */
void partition_isr_answered(struct partition *p, int32_t leader_epoch, enum kerr code,
                            int32_t sent_epoch);
/* Every ISR_TICK_MS, and when asked for. */
void partition_isr_tick(struct partition *p);
/* Brokers came, went or were fenced. */
void partition_brokers_changed(struct partition *p);

/* High watermark, as clients may see it. */
int64_t partition_high_watermark(const struct partition *p);
int64_t partition_last_stable_offset(const struct partition *p);

/* Whether the high watermark has reached what was there when we began to lead: before that it may
 * be less than what an earlier leader told its clients (KIP-207). */
bool partition_caught_up(const struct partition *p);

/* Waits for the high watermark to reach w->offset. True: it has already, w is not kept. */
bool partition_wait(struct partition *p, struct watermark_waiter *w);
void partition_unwait(struct partition *p, struct watermark_waiter *w);

void partition_watch(struct partition *p, struct partition_watcher *w);
void partition_unwatch(struct partition_watcher *w);

/* DeleteRecords here: OFFSET_OUT_OF_RANGE beyond the high watermark, POLICY_VIOLATION when the
 * policy is not delete. *offset -1: the high watermark, which is written there. The replicas follow
 * with their next fetches. */
struct status partition_delete_records(struct partition *p, int64_t *offset);
/* The least log start of this and the replicas that are alive. While leading. */
int64_t partition_low_watermark(const struct partition *p);
/* As partition_wait and partition_unwait, for the low watermark. */
bool partition_wait_low(struct partition *p, struct watermark_waiter *w);
void partition_unwait_low(struct partition *p, struct watermark_waiter *w);

/* Retires segments; what has to ask the disk for that, and garbage, goes to the pool. Called now
 * and then. */
void partition_maintain(struct partition *p, int64_t now_ms);

#endif
