#ifndef BROKER_COORDINATOR_GROUP_CORE_H
#define BROKER_COORDINATOR_GROUP_CORE_H

/* The groups of one partition of __consumer_offsets that this node leads. Pure: no clock, file,
 * socket or thread; what is appended, answered and asked comes out as effects.
 *
 *   group:   none --(first member or commit)--> classic <--(KIP-848, both ways)--> consumer
 *            A group of type `none` has offsets only, or nothing at all.
 *   classic: empty -> preparing rebalance -> completing rebalance -> stable -> (preparing …)
 *            -> empty -> dead
 *   consumer: empty | assigning | reconciling | stable, derived from epochs (KIP-848)
 *
 * State is the newest: what is committed plus what this core asked to append (DESIGN:
 * coordinators). Each step that writes gets a write id; an answer that depends on a write names it
 * and leaves once that write is committed. When an append fails or leadership ends, the driver
 * answers all who wait with NOT_COORDINATOR and throws the core away: the next one starts from the
 * state store, group by group, when somebody asks for one.
 *
 * Every call but the ones that say otherwise is a step: it first empties `fx`, then fills it.
 * Arguments are borrowed for the call. A group must be loaded (group_core_find is not
 * GROUP_UNLOADED) before any request for it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/clock.h"
#include "protocol/base/kerr.h"
#include "protocol/base/span.h"
#include "protocol/base/uuid.h"
#include "replication/metadata_image.h"

struct group_core;
struct group_record; /* protocol/group_record.h */

/* Broker-wide settings, names as in Kafka's configuration. */
struct group_settings {
    /* group.min/max.session.timeout.ms: classic */
    int32_t min_session_timeout_ms, max_session_timeout_ms;
    int32_t initial_rebalance_delay_ms;    /* group.initial.rebalance.delay.ms */
    int32_t max_size;                      /* group.max.size */
    int32_t consumer_max_size;             /* group.consumer.max.size */
    int32_t offset_metadata_bytes_max;     /* offset.metadata.max.bytes */
    int64_t offsets_retention_ms;          /* offsets.retention.minutes */
    const char *const *consumer_assignors; /* the first is the default */
    size_t consumer_assignor_count;
    bool upgrade, downgrade;  /* group.consumer.migration.policy */
    bool classic, consumer;   /* group.coordinator.rebalance.protocols */
    int64_t regex_refresh_ms; /* group.consumer.regex.refresh.interval.ms (default 600000) */
};

/* What one group may have of its own (IncrementalAlterConfigs on a GROUP resource), defaults
 * already applied. */
struct group_config {
    int32_t consumer_session_timeout_ms;
    int32_t consumer_heartbeat_interval_ms;  /* as configured; the core is told the one to hand
                                             * out by group_core_set_heartbeat_interval */
    int32_t consumer_assignment_interval_ms; /* least time between two target assignments
                                              * (KIP-1263) */
};

struct group_core_args {
    int32_t partition; /* of __consumer_offsets */
    const struct group_settings *settings;
    struct random *random; /* member ids */
    void (*config)(void *arg, struct str group, struct group_config *out);
    void *arg;
    const struct metadata_image *image; /* a reference is taken */
};

/* NULL: out of memory. */
struct group_core *group_core_create(const struct group_core_args *args);
void group_core_free(struct group_core *c);

/* ---- who asks, and answers ---- */

enum group_call {
    GROUP_JOIN,
    GROUP_SYNC,
    GROUP_HEARTBEAT,
    GROUP_LEAVE,
    GROUP_COMMIT,
    GROUP_OFFSET_DELETE,
    GROUP_DESCRIBE,
    GROUP_DELETE,
    GROUP_CONSUMER_HEARTBEAT,
    GROUP_CONSUMER_DESCRIBE,
};

struct group_topic_partitions {
    struct uuid topic_id;
    struct str topic; /* where the answer names it: describe */
    int32_t *partitions;
    size_t partition_count;
};

struct group_assignment {
    struct group_topic_partitions *topics;
    size_t topic_count;
};

struct group_join_member {
    struct str member_id, instance_id /* may be null */;
    struct bytes metadata;
};

struct group_join_answer {
    int32_t generation;
    struct str protocol_type, protocol, leader, member_id; /* null where the answer has none */
    bool skip_assignment;
    struct group_join_member *members; /* for the leader */
    size_t member_count;
};

struct group_sync_answer {
    struct str protocol_type, protocol;
    struct bytes assignment;
};

struct group_leave_member {
    struct str member_id, instance_id;
    struct str reason; /* in the request only */
    enum kerr code;    /* in the answer only */
};

struct group_leave_answer {
    struct group_leave_member *members; /* in the order asked */
    size_t member_count;
};

struct group_consumer_heartbeat_answer {
    struct str message; /* with an error; may be null */
    struct str member_id;
    int32_t member_epoch;
    int32_t heartbeat_interval_ms;
    const struct group_assignment *assignment; /* NULL: unchanged since the last answer */
};

struct group_described_member {
    struct str member_id, instance_id, client_id, client_host;
    struct bytes metadata, assignment;
};

struct group_describe_answer {
    struct str message, state, protocol_type, protocol;
    struct group_described_member *members;
    size_t member_count;
};

struct group_consumer_described_member {
    struct str member_id, instance_id, rack_id, client_id, client_host, subscribed_regex;
    struct str *subscribed_topics;
    size_t subscribed_topic_count;
    int32_t member_epoch;
    struct group_assignment assigned, target;
    bool classic; /* member of a classic protocol in a consumer group */
};

struct group_consumer_describe_answer {
    struct str message, state, assignor;
    int32_t group_epoch, assignment_epoch;
    struct group_consumer_described_member *members;
    size_t member_count;
};

/* One request under way. The driver embeds it, fills the first part, and must keep it and its arena
 * until the core has given it back in fx->answered, exactly once. The core builds the answer in the
 * arena: no answer points into the core. A spent arena becomes the answer INVALID_REQUEST... never
 * an abort. */
struct group_caller {
    enum group_call call;
    struct arena *arena;
    struct str client_id, client_host;
    /* answered */
    enum kerr code;
    int64_t after_write; /* leaves when this write is committed; 0: at once. Never of a later
                          * step. */
    union {
        struct group_join_answer join;
        struct group_sync_answer sync;
        struct str heartbeat_message;
        struct group_leave_answer leave;
        struct group_describe_answer describe;
        struct group_consumer_heartbeat_answer consumer_heartbeat;
        struct group_consumer_describe_answer consumer_describe;
    };
    struct group_caller *next; /* the core's while it waits, then of fx->answered */
};

/* A subscription by regular expression that is to be resolved against the topics, off the shard
 * (group_regex.h). */
struct group_regex_wanted {
    struct str group, regex;
};

/* What the records of a step may take: the default max.message.bytes of __consumer_offsets, which
 * the driver's append must accept. A request that needs more is refused with UNKNOWN_SERVER_ERROR,
 * as in Kafka; only the tombstones of group_core_delete and _expire may come to more, and may be
 * split. */
enum { GROUP_BATCH_BYTES_MAX = 1048588 };

struct group_effects {
    struct arena arena; /* of what follows; emptied by the next step. The driver inits and frees
                         * it */
    /* One atomic batch, in order; to be appended before the next step's. */
    const struct group_record *records;
    size_t record_count;
    int64_t write_id; /* of these records; rising by one; 0: none */
    struct group_caller *answered;
    const struct group_regex_wanted *regexes;
    size_t regex_count;
    bool regex_too_large; /* the topics just resolved were not taken: the group has too many */
    bool overloaded; /* out of memory half-way: throw this core away as after a failed append */
};

/* ---- loading and letting go ---- */

enum group_type { GROUP_UNLOADED, GROUP_NONE, GROUP_CLASSIC, GROUP_CONSUMER };

/* Not a step. */
enum group_type group_core_find(const struct group_core *c, struct str group);

/* Replays one stored record of a group that is being loaded. Not a step. CORRUPT_MESSAGE: it cannot
 * be of this group's history; nothing changed, loading may go on (the driver logs it).
 * UNSUPPORTED_VERSION: a type of group that is not served here (share, streams). */
enum kerr group_core_load_record(struct group_core *c, const struct group_record *r);
/* All is replayed (a group without records becomes GROUP_NONE): sessions start now. has_offsets:
 * the store holds committed offsets of it. */
void group_core_loaded(struct group_core *c, struct str group, bool has_offsets, int64_t now_ms,
                       struct group_effects *fx);

/* The driver heard that all writes up to write_id are committed and in the state store. Not a
 * step. */
void group_core_committed(struct group_core *c, int64_t write_id);
/* Every write that touched this group is committed. Not a step. */
bool group_core_settled(const struct group_core *c, struct str group);
/* Forgets settled groups without members that nobody asked for since `before_ms`; they load again
 * when needed. Not a step. Groups looked at per call are bounded by `max`; goes round by itself. */
void group_core_evict(struct group_core *c, int64_t before_ms, size_t max);

/* The end: everybody who waits inside is answered with code. */
void group_core_stop(struct group_core *c, enum kerr code, struct group_effects *fx);

/* ---- time and metadata ---- */

/* When group_core_tick is wanted at the latest (ms, the clock of now_ms: monotonic); INT64_MAX:
 * never. Not a step. */
int64_t group_core_next_deadline(const struct group_core *c);
/* Handles what is due, one group a call: call again while the deadline is not in the future. */
void group_core_tick(struct group_core *c, int64_t now_ms, struct group_effects *fx);
/* What the wall clock shows when now_ms is 0: for the timestamps that records carry (since when a
 * group is empty). Before the first call they are -1, "not known". Call it when the core is made
 * and when the clock may have been set (a tick is often enough). Not a step. */
void group_core_set_wall_clock(struct group_core *c, int64_t wall_offset_ms);
/* Newer metadata: consumer groups whose topics changed get a new epoch at their next heartbeat;
 * classic ones are not concerned. A reference to image is taken. Not a step. */
void group_core_set_image(struct group_core *c, const struct metadata_image *image);
/* The interval that ConsumerGroupHeartbeat answers hand out from now on, unless the group's own is
 * set longer; set by the driver from the node's load. Not a step. */
void group_core_set_heartbeat_interval(struct group_core *c, int32_t interval_ms);
/* The topics that a regular expression matched; names are borrowed. code
 * INVALID_REGULAR_EXPRESSION: it ran past its limits, no topics. */
struct group_regex_result {
    struct str group, regex;
    const struct str *topics;
    size_t topic_count;
    int64_t image_offset; /* of the image it was matched against */
    enum kerr code;
};
void group_core_regex_resolved(struct group_core *c, const struct group_regex_result *r,
                               int64_t now_ms, struct group_effects *fx);

/* ---- classic groups ---- */

struct group_protocol {
    struct str name;
    struct bytes metadata;
};

struct group_join {
    struct str group, member_id, instance_id /* may be null */, protocol_type, reason;
    int32_t session_timeout_ms, rebalance_timeout_ms;
    const struct group_protocol *protocols; /* in the client's order of preference */
    size_t protocol_count;
    bool require_known_member_id;  /* version 4 and later: MEMBER_ID_REQUIRED first */
    bool supports_skip_assignment; /* version 9 and later (KIP-814) */
};
void group_core_join(struct group_core *c, struct group_caller *who, const struct group_join *r,
                     int64_t now_ms, struct group_effects *fx);

struct group_sync {
    struct str group, member_id, instance_id, protocol_type /* null: not checked */, protocol;
    int32_t generation;
    const struct group_sync_assignment {
        struct str member_id;
        struct bytes assignment;
    } * assignments;
    size_t assignment_count;
};
void group_core_sync(struct group_core *c, struct group_caller *who, const struct group_sync *r,
                     int64_t now_ms, struct group_effects *fx);

struct group_heartbeat {
    struct str group, member_id, instance_id;
    int32_t generation;
};
void group_core_heartbeat(struct group_core *c, struct group_caller *who,
                          const struct group_heartbeat *r, int64_t now_ms,
                          struct group_effects *fx);

struct group_leave {
    struct str group;
    const struct group_leave_member *members;
    size_t member_count;
    bool single; /* versions 0-2: an unknown member is the whole answer's error */
};
void group_core_leave(struct group_core *c, struct group_caller *who, const struct group_leave *r,
                      int64_t now_ms, struct group_effects *fx);

/* Answers at once; shows a classic group, or GROUP_ID_NOT_FOUND with state "Dead" (version 6 and
 * later; before, NONE and "Dead": the handler's business). */
void group_core_describe(struct group_core *c, struct group_caller *who, struct str group,
                         struct group_effects *fx);

/* ---- consumer groups (KIP-848) ---- */

struct group_consumer_heartbeat {
    struct str group, member_id, instance_id /* null: dynamic */,
        rack_id /* null: unchanged or none */;
    int32_t member_epoch;         /* 0 joins, -1 leaves, -2 a static member leaves for a while */
    int32_t rebalance_timeout_ms; /* -1: unchanged */
    const struct str *subscribed_topics; /* NULL: unchanged */
    size_t subscribed_topic_count;
    struct str subscribed_regex;          /* null: unchanged */
    struct str server_assignor;           /* null: unchanged */
    const struct group_assignment *owned; /* NULL: unchanged */
    int16_t version;
};
void group_core_consumer_heartbeat(struct group_core *c, struct group_caller *who,
                                   const struct group_consumer_heartbeat *r, int64_t now_ms,
                                   struct group_effects *fx);
void group_core_consumer_describe(struct group_core *c, struct group_caller *who, struct str group,
                                  struct group_effects *fx);

/* ---- offsets: the core checks and writes, the state store is read by the driver ---- */

struct group_commit_partition {
    struct str topic;
    struct uuid topic_id; /* zero: not known */
    int32_t partition;
    int64_t offset;
    int32_t leader_epoch;
    struct str metadata;
    enum kerr code; /* in: NONE, or refused by the handler already (unknown topic); out: the
                     * answer */
};
struct group_commit {
    struct str group, member_id /* "" and generation -1: not a member */, instance_id;
    int32_t generation_or_epoch;
    int64_t retention_ms;                      /* -1: offsets.retention.minutes; versions 2-4 */
    int64_t timestamp_ms;                      /* wall clock */
    struct group_commit_partition *partitions; /* codes are written; lives as long as the caller */
    size_t partition_count;
    int16_t version;      /* an API version that knows STALE_MEMBER_EPOCH: 9 and later */
    int64_t image_offset; /* of the metadata that knows the topics; it may be newer or older than
                           * the core's */
};
/* who->code set: the whole request is refused with it. */
void group_core_commit(struct group_core *c, struct group_caller *who, const struct group_commit *r,
                       int64_t now_ms, struct group_effects *fx);

/* Whether OffsetFetch may read: NONE, UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH, GROUP_ID_NOT_FOUND.
 * member_id null: anyone may. Not a step. */
enum kerr group_core_check_offset_fetch(const struct group_core *c, struct str group,
                                        struct str member_id, int32_t member_epoch);

struct group_offset_name {
    struct str topic;
    int32_t partition;
    enum kerr code; /* out: GROUP_SUBSCRIBED_TO_TOPIC */
};
/* OffsetDelete of named offsets; whether they exist does not matter. who->code: GROUP_ID_NOT_FOUND,
 * NON_EMPTY_GROUP. */
void group_core_offset_delete(struct group_core *c, struct group_caller *who, struct str group,
                              struct group_offset_name *names, size_t count,
                              struct group_effects *fx);

/* DeleteGroups. The group is settled, offsets are all the store holds of it. NON_EMPTY_GROUP,
 * GROUP_ID_NOT_FOUND. */
void group_core_delete(struct group_core *c, struct group_caller *who, struct str group,
                       const struct group_offset_name *offsets, size_t count,
                       struct group_effects *fx);

struct group_stored_offset {
    struct group_offset_name name;
    struct uuid topic_id; /* zero: not known */
    int64_t commit_timestamp_ms;
    int64_t expire_timestamp_ms; /* -1: by retention */
};
/* Drops what has expired (offsets.retention.minutes since the group became empty, or since the
 * commit when it is simple or no longer subscribes the topic), and the group itself when nothing is
 * left. The group is settled, offsets are all the store holds of it. wall_ms: wall clock. */
void group_core_expire(struct group_core *c, struct str group,
                       const struct group_stored_offset *offsets, size_t count, int64_t wall_ms,
                       struct group_effects *fx);

/* Whether the topic that an offset was committed to is deleted: none has its name, or one that was
 * made anew. id zero: it was committed without one, so that the name has to do. Not a step. */
bool group_topic_is_deleted(const struct metadata_image *image, struct str topic, struct uuid id);
/* Drops the offsets of deleted topics; the group stays. The group is settled, offsets are all the
 * store holds of it. False: nothing was done, since a commit was checked against newer metadata
 * than the core has; ask again. */
bool group_core_topics_deleted(struct group_core *c, struct str group,
                               const struct group_stored_offset *offsets, size_t count,
                               struct group_effects *fx);

/* ---- listing ---- */

struct group_listed {
    struct str group, protocol_type, state, type; /* "classic", "consumer" */
};
/* Each loaded group that exists (GROUP_NONE with offsets: type Classic, state Empty, protocol type
 * ""), until visit answers false. Not a step. */
void group_core_list(const struct group_core *c,
                     bool (*visit)(void *arg, const struct group_listed *g), void *arg);

#endif
