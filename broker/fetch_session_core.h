#ifndef BROKER_FETCH_SESSION_CORE_H
#define BROKER_FETCH_SESSION_CORE_H

/* Incremental fetch sessions (KIP-227), pure: no clock, no socket.
 *
 *   request (id, epoch)          what it means
 *   id 0,  epoch 0               a full fetch that asks for a session
 *   id 0,  epoch -1              a full fetch without one
 *   id n,  epoch -1              as that, and session n ends
 *   id n,  epoch 0               as the first, and session n ends
 *   id n,  epoch e > 0           the partitions that changed; e is one more than the last time
 *
 * A session remembers, partition by partition in fetch order, what is asked and what was last told;
 * an incremental answer holds only partitions with news. Those with records go to the end of the
 * order, so that a full answer does not starve the rest.
 *
 * Sessions live in the cache of one shard. Bounds: `slots`, and `bytes_max` of what they remember:
 * whoever asks may name any number of partitions, whether there are any or not. When full a session
 * unused for eviction_ms goes, or one with fewer partitions than the new one that has lived so
 * long; else the new fetch stays without session. One that outgrows the bytes ends. A replica's
 * session yields to no consumer while it is used, and a new one takes a consumer's place at once.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/kerr.h"
#include "protocol/base/span.h"
#include "protocol/base/uuid.h"

#define FETCH_EPOCH_INITIAL 0
#define FETCH_EPOCH_FINAL   (-1)

struct fetch_sessions;
struct fetch_session;

struct fetch_sessions_args {
    size_t slots;
    size_t bytes_max;
    int64_t eviction_ms;
    /* Ids are congruent to `residue` modulo `modulus`, so that shards never give out the same. */
    int32_t modulus, residue;
};

struct fetch_sessions *fetch_sessions_create(const struct fetch_sessions_args *args);
void fetch_sessions_free(struct fetch_sessions *s);
size_t fetch_sessions_count(const struct fetch_sessions *s);
/* What all of them remember. */
size_t fetch_sessions_bytes(const struct fetch_sessions *s);

/* What is asked of one partition. */
struct fetch_ask {
    struct uuid topic_id;
    struct str topic; /* null from version 13 on; borrowed, copied by a session */
    int32_t index;
    int64_t offset;
    int32_t max_bytes;
    int32_t current_leader_epoch;
    int32_t last_fetched_epoch;
    int64_t log_start_offset;
};

struct fetch_forget {
    struct uuid topic_id;
    struct str topic;
    int32_t index;
};

struct fetch_context_args {
    int32_t session_id;
    int32_t epoch;
    bool by_topic_id; /* version 13 and up; a session does not change this */
    const struct fetch_ask *asks;
    size_t ask_count;
    const struct fetch_forget *forgets;
    size_t forget_count;
    bool replica;    /* of a replica: in a full cache it has the seat of any consumer */
    uint32_t random; /* for a new session's id */
    int64_t now_ms;
};

/* How one request is to be answered. */
struct fetch_context {
    struct fetch_session *session; /* NULL: none */
    int32_t session_id;            /* for the answer: 0 without one */
    bool incremental;
};

/* NONE, or for the whole request FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH,
 * FETCH_SESSION_TOPIC_ID_ERROR, INVALID_REQUEST (a negative or impossible epoch). Without memory
 * for a session the fetch goes on without. */
enum kerr fetch_sessions_begin(struct fetch_sessions *s, const struct fetch_context_args *args,
                               struct fetch_context *out);

/* The partitions of an incremental fetch, in order: first and next; NULL ends. */
struct fetch_cached;
struct fetch_cached *fetch_session_first(struct fetch_session *session);
struct fetch_cached *fetch_session_next(struct fetch_cached *p);
size_t fetch_session_partition_count(const struct fetch_session *session);
/* Its topic name belongs to the session. */
const struct fetch_ask *fetch_cached_ask(const struct fetch_cached *p);

/* What was last told of it; -1: nothing yet. */
int64_t fetch_cached_high_watermark(const struct fetch_cached *p);
int64_t fetch_cached_log_start(const struct fetch_cached *p);

/* What was found for one partition. */
struct fetch_news {
    bool has_records;
    bool has_diverging_epoch;
    enum kerr code;
    int64_t high_watermark;
    int64_t log_start_offset;
    int32_t preferred_replica; /* -1: none */
};

/* Whether an incremental answer must hold this partition; remembers what is told. */
bool fetch_cached_told(struct fetch_session *session, struct fetch_cached *p,
                       const struct fetch_news *news);
/* As fetch_cached_told, for a full answer that starts the session. By position in args.asks. */
void fetch_session_told_full(struct fetch_session *session, size_t position,
                             const struct fetch_news *news);

/* A session that is being answered cannot be evicted or ended; between begin and this its `busy` is
 * set. Every begin that gave a session is followed by one. */
void fetch_session_end_request(struct fetch_session *session, int64_t now_ms);

#endif
