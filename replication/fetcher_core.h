#ifndef REPLICATION_FETCHER_CORE_H
#define REPLICATION_FETCHER_CORE_H

/* Followers pull: one leading broker, as one shard of a broker sees it that follows partitions of
 * it. Pure.
 *
 * Which partitions are asked for and from which offset, what the leader's fetch session (KIP-227)
 * knows of that, and what an answer means. Every fetch says that all below its offset is on our
 * disk, so nothing is sent while something that was appended is still being flushed: one group
 * commit a round, for all partitions of the round.
 *
 *   add ──> FLUSHING ──> CHANGED ──(sent)──> TOLD ──(answered: records)──> FLUSHING or CHANGED
 *                           ^                 ├──> TRUNCATING ──> FLUSHING  the logs part (KIP-595)
 *                           │                 ├──> ASKING ──> TRUNCATING, CHANGED  out of range:
 *                           │                 │              the leader's log start and end?
 *                           ├──(some time)────┼──> DELAYED   an error that may pass
 *                           └──(added anew)───┴──> PARKED    this leader epoch is over
 *
 * FLUSHING, CHANGED and TOLD are in the session; the others are taken out of it by the next fetch.
 * Partitions are embedded in their owners. All memory of the core is what is to be told of
 * partitions that are gone; when there is none for that, the session starts anew. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/kerr.h"
#include "protocol/base/uuid.h"

enum fetcher_state {
    FETCHER_NONE, /* with no fetcher */
    FETCHER_FLUSHING,
    FETCHER_CHANGED, /* the leader is to be told */
    FETCHER_TOLD,
    FETCHER_TRUNCATING,
    FETCHER_ASKING,
    FETCHER_DELAYED,
    FETCHER_PARKED,
    FETCHER_STATE_COUNT
};

/* Where a follower's log stands. */
struct fetcher_position {
    int32_t last_epoch; /* of the newest batch, or of the leader that was to write there; -1:
                         * none known */
    int64_t end_offset;
    int64_t start_offset;
};

struct fetcher;

struct fetcher_partition {
    struct fetcher_partition *prev, *next; /* among those of its state */
    struct fetcher *fetcher;
    struct uuid topic_id;
    int32_t index;
    enum fetcher_state state;
    bool in_session;
    int32_t leader_epoch;
    struct fetcher_position at;
    uint32_t failures; /* in a row */
    int64_t retry_ms;  /* DELAYED: until then */
    bool held;         /* delayed without an error: hurries no fetch */
};

struct fetcher_forgotten {
    struct uuid topic_id;
    int32_t index;
};

struct fetcher {
    int32_t leader_id;
    int64_t backoff_ms_max; /* replica.fetch.backoff.ms */
    size_t count;           /* partitions */
    struct fetcher_partition *lists[FETCHER_STATE_COUNT];
    int32_t session_id, session_epoch; /* of the next fetch; epoch 0: a full one */
    bool in_flight;
    uint32_t failures;                   /* of whole requests, in a row */
    int64_t retry_ms;                    /* no request before that */
    struct fetcher_forgotten *forgotten; /* owned */
    size_t forgotten_count, forgotten_capacity;
};

void fetcher_init(struct fetcher *f, int32_t leader_id, int64_t backoff_ms_max);
/* Takes all partitions out. */
void fetcher_free(struct fetcher *f);

/* p (its topic_id and index are set) is with no fetcher. `flushed`: nothing of its log waits for
 * the disk. */
void fetcher_add(struct fetcher *f, struct fetcher_partition *p, int32_t leader_epoch,
                 const struct fetcher_position *at, bool flushed);
/* Takes it out of its fetcher; nothing happens when it has none. */
void fetcher_remove(struct fetcher_partition *p);

/* ---- requests ---- */

/* Whether a fetch is to be sent now. No: *wake_ms says when it is time to ask again, -1: an event
 * will tell. While one is in flight, too: partitions that are due by now join the next one. */
bool fetcher_due(struct fetcher *f, int64_t now_ms, int64_t *wake_ms);
/* The fetch in flight is to be given up for another one: a partition waits that cannot wait for its
 * answer. */
bool fetcher_hurried(const struct fetcher *f);
/* The fetch in flight will not be answered. The next one is full. */
void fetcher_give_up(struct fetcher *f);

/* What the fetch holds: the partitions of lists[FETCHER_CHANGED] in order, and `forgotten`. Not
 * while in flight. */
void fetcher_prepare(struct fetcher *f);
/* One of lists[FETCHER_CHANGED] is not asked for before until_ms, though nothing is wrong with it:
 * it is throttled. */
void fetcher_hold(struct fetcher_partition *p, int64_t until_ms);
/* It is on its way. */
void fetcher_sent(struct fetcher *f);
/* It could not be sent, or failed: the connection, or an answer that makes no sense. */
void fetcher_failed(struct fetcher *f, int64_t now_ms);
/* It is answered. True: its partitions are to be looked at. False: an error, and the next fetch
 * starts a session. */
bool fetcher_answered(struct fetcher *f, enum kerr code, int32_t session_id, int64_t now_ms);
/* The leader's process is another one, or we are to it: whatever was said is void, and waits for
 * nothing. */
void fetcher_restart(struct fetcher *f);

/* ---- answers ---- */

enum fetcher_verdict {
    FETCHER_IGNORE,   /* an answer to what is no longer asked */
    FETCHER_TAKE,     /* append the records, then fetcher_appended; the leader's offsets count */
    FETCHER_TRUNCATE, /* the logs part: fetcher_truncation says where; fetcher_truncated follows */
    FETCHER_ASK,      /* ask the leader for its log's start and end: fetcher_out_of_range;
                  * fetcher_truncated follows */
    FETCHER_REFUSED,  /* an error; delayed or parked */
};

/* `diverging`: the answer says where the logs part. */
enum fetcher_verdict fetcher_partition_answered(struct fetcher_partition *p, enum kerr code,
                                                bool diverging, int64_t now_ms);

/* What was in the answer is in the log, or there was nothing; the log start may have been
 * raised. */
void fetcher_appended(struct fetcher_partition *p, const struct fetcher_position *at, bool flushed);
/* Its log is on the disk up to the end. Ignored when it does not wait for that. */
void fetcher_flushed(struct fetcher_partition *p);
/* Right after fetcher_add: its log is to be truncated before anything is asked for;
 * fetcher_truncated follows. */
void fetcher_cut_first(struct fetcher_partition *p);
/* The truncation is through. A log that is as it was before is an error, or we would go round in
 * circles. */
void fetcher_truncated(struct fetcher_partition *p, const struct fetcher_position *at, bool flushed,
                       int64_t now_ms);
/* An error of its own: damaged records, a question that was not answered. */
void fetcher_delay(struct fetcher_partition *p, int64_t now_ms);

/* ---- where to cut ---- */

struct fetcher_divergence {
    int32_t leader_epoch; /* the answer's: the largest epoch the leader knows up to our last one */
    int64_t leader_end_offset; /* where it ends in the leader's log */
    int32_t own_epoch;         /* the largest we know up to that; -1: none */
    int64_t own_epoch_end;     /* where it ends in ours */
    int64_t own_end_offset;
};

/* The new log end; -1: the answer makes no sense. When we know other epochs than the leader it may
 * take several rounds to where the logs agree. */
int64_t fetcher_truncation(const struct fetcher_divergence *d);

struct fetcher_range {
    int64_t leader_start_offset, leader_end_offset;
    int64_t own_end_offset;
};

struct fetcher_cut {
    bool fully; /* drop all, and start at offset; else offset is the new log end */
    int64_t offset;
};

/* Out of range, as Apache Kafka mends it: an end beyond the leader's is cut to it; one below the
 * leader's start starts afresh there. So does one at its start: the leader would have taken that
 * offset, but does not remember whether what we have below it is what was committed. */
struct fetcher_cut fetcher_out_of_range(const struct fetcher_range *r);

#endif
