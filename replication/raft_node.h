#ifndef REPLICATION_RAFT_NODE_H
#define REPLICATION_RAFT_NODE_H

/* The replicated metadata log `__cluster_metadata-0` of one node: drives raft_core (who leads, what
 * is committed), owns the log, the quorum-state file and the snapshots, and hands committed records
 * up.
 *
 * Effects of one core step are carried out in this order:
 *   1. truncation of the log
 *   2. epoch and vote to quorum-state   (fsync in the pool)
 *   3. entries to the log               (page cache now, fsync in the pool; may overlap with 2)
 *   4. messages out, and "flushed" fed back to the core: only when 2 is durable
 *   5. committed records, then leadership, to the listener
 *
 * Nothing cuts the log, or begins it anew, while a flush of it is under way: both write the leader
 * epochs, and what the flush knows of them is from before. As the core asks for nothing before all
 * it has is flushed, and no longer listens to who answers to another role, such a flush is one that
 * began with the node, for names of an empty log that may not be durable. An answer that asks for a
 * cut counts as none until it has ended, and a snapshot that was fetched whole waits for it.
 *
 * Everything runs on the control loop, except what is marked [blocks]. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/clock.h"
#include "protocol/base/logger.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "protocol/base/uuid.h"
#include "replication/raft_types.h"
#include "replication/transport.h"
#include "replication/voter_set.h"
#include "storage/executor.h"
#include "storage/files.h"
#include "storage/log.h"

struct raft_node;

/* Committed data records of one batch. Borrowed for the call. */
struct raft_commit {
    int64_t base_offset;
    int64_t last_offset;
    int32_t epoch;
    int64_t append_timestamp_ms;
    const struct bytes *values; /* record values: frames of metadata records; value i has offset
                                 * base_offset + i */
    size_t count;
};

/* What the owner of the state machine (controller, image loader) hears, all on the loop, never from
 * within a call into the node, always in log order.
 *
 *   (snapshot_begin snapshot_records* snapshot_end)? (commit | leader_change | snapshot…)*
 *
 * A later snapshot (a follower too far behind) replaces all state before it. */
struct raft_listener {
    void *arg;
    /* Forget everything; the state at id follows. Also comes first for the 0-0 snapshot of a fresh
     * node. */
    void (*snapshot_begin)(void *arg, struct raft_snapshot_id id,
                           int64_t last_contained_timestamp_ms);
    void (*snapshot_records)(void *arg, const struct bytes *values, size_t count);
    void (*snapshot_end)(void *arg);
    /* Control batches are not delivered: offsets may skip. */
    void (*commit)(void *arg, const struct raft_commit *commit);
    /* One round of deliveries is over: everything below next_offset has been delivered; a place to
     * publish. */
    void (*caught_up)(void *arg, int64_t next_offset);
    /* leader_id -1: unknown. With we_lead, every record below our epoch's first one has been
     * delivered, its leader change is committed, and raft_node_append works from within this call
     * on. Losing leadership is told at once: appends of ours that were not committed may or may not
     * come back as commits. */
    void (*leader_change)(void *arg, int32_t epoch, int32_t leader_id, bool we_lead);
    /* The log, quorum-state or a snapshot is not usable any more: the node must stop. Told once. */
    void (*failed)(void *arg, struct status why);
};

struct raft_node_args {
    struct loop *loop;
    struct pool *pool;
    struct files *files;
    struct random *random;
    struct logger *logger;       /* may be NULL */
    struct transport *transport; /* to the other voters; may be NULL */
    const char *directory;       /* "<metadata log dir>/__cluster_metadata-0"; copied */
    struct raft_replica_key self;
    struct str cluster_id; /* copied */
    /* controller.quorum.voters: who votes while neither log nor snapshot holds voters
     * (kraft.version 0), by ids without directories. Copied; NULL: not given. */
    const struct voter_set *static_voters;
    /* Where this node's controller listeners are; a leader whose entry in the voter set differs
     * writes the new one. Deep-copied. Empty: leave the voter set alone. */
    const struct raft_endpoint *endpoints;
    size_t endpoint_count;
    /* controller.quorum.bootstrap.servers: whom a node that does not vote asks who leads. Ids are
     * not read; copied. */
    const struct transport_node *bootstrap;
    size_t bootstrap_count;
    bool auto_join; /* controller.quorum.auto.join.enable: become a voter as soon as the log is
                     * there */
    enum log_trust trust;
    int64_t recovery_point; /* of the log, from the log directory's checkpoint; 0: unknown */
    struct raft_timeouts timeouts;
    /* 0 for Kafka's default; retention -1: unlimited. */
    int32_t segment_bytes;   /* metadata.log.segment.bytes: 1 GiB */
    int64_t segment_ms;      /* metadata.log.segment.ms: 7 days */
    int64_t retention_bytes; /* metadata.max.retention.bytes: 100 MiB */
    int64_t retention_ms;    /* metadata.max.retention.ms: 7 days */
    struct raft_listener listener;
};

/* [blocks] Opens the log, reads quorum-state and the newest snapshot's head. Nothing runs until
 * raft_node_start; call it on the loop's thread, or before the loop runs.
 *
 * KAFKA_STORAGE_ERROR   I/O (sys_errno), or a log that cannot be opened.
 * CORRUPT_MESSAGE       quorum-state or a snapshot is damaged; `where` says which and why.
 * UNSUPPORTED_VERSION   data_version, kraft.version or a control record newer than we know.
 * INCONSISTENT_VOTER_SET  no voter set: the directory was never formatted, and neither static
 *                         voters nor bootstrap servers are given.
 * Nothing stays open then. */
struct status raft_node_open(const struct raft_node_args *args, struct raft_node **out,
                             struct log_recovery_report *report);

/* Begins: hands up the snapshot and takes part in elections. A quorum of one elects itself here,
 * without waiting for a timer. */
void raft_node_start(struct raft_node *n);

/* Stops all activity; `stopped` runs on the loop once no job or request is under way: then close
 * it. The listener hears nothing any more. Not needed for a node that was never started. */
void raft_node_stop(struct raft_node *n, void (*stopped)(void *arg), void *arg);

/* [blocks] Closes the log of a stopped or never started node, after a last flush when clean, and
 * frees the node. */
struct status raft_node_close(struct raft_node *n, bool clean);

/* Appends metadata records as the leader of `epoch`; they are durable and replicated when they come
 * back as commits.
 *
 * values      Record frames (metadata_record.h); borrowed for the call.
 * atomically  All in one batch, or none; else they may be spread over several batches.
 * last_offset The last record's offset. Written only on success.
 *
 * NOT_CONTROLLER        We do not lead, or lead another epoch.   Nothing appended.
 * RECORD_LIST_TOO_LARGE A record, or the whole when atomically, passes RAFT_BATCH_BYTES_MAX.
 * Nothing appended.
 * KAFKA_STORAGE_ERROR   The log is offline; failed() follows. */
struct status raft_node_append(struct raft_node *n, int32_t epoch, const struct bytes *values,
                               size_t count, bool atomically, int64_t *last_offset);

#define RAFT_BATCH_BYTES_MAX (8 * 1024 * 1024) /* as Kafka's Raft client */

/* Exclusive: everything below is committed. 0 until known. */
int64_t raft_node_high_watermark(const struct raft_node *n);
int64_t raft_node_end_offset(const struct raft_node *n);
int64_t raft_node_start_offset(const struct raft_node *n);
int32_t raft_node_epoch(const struct raft_node *n);
int32_t raft_node_leader_id(const struct raft_node *n); /* -1: unknown */
bool raft_node_leads(const struct raft_node *n);        /* and leader_change said so */
/* The latest voters, committed or not. Borrowed until the loop runs on. */
const struct voter_set *raft_node_voters(const struct raft_node *n);

/* The leader that answered us last when we followed, and when (monotonic); id -1: we never did. */
void raft_node_last_followed(const struct raft_node *n, int32_t *id, int64_t *last_contact_ms);

/* ---- requests of other nodes ---- */

enum raft_request_type {
    RAFT_ASKED_VOTE,
    RAFT_ASKED_BEGIN,
    RAFT_ASKED_END,
    RAFT_ASKED_FETCH,
    RAFT_ASKED_SNAPSHOT,
    RAFT_ASKED_QUORUM, /* DescribeQuorum */
    RAFT_ASKED_ADD_VOTER,
    RAFT_ASKED_REMOVE_VOTER,
    RAFT_ASKED_UPDATE_VOTER,
    RAFT_ASKED_UPGRADE, /* kraft.version 1: the voters of the settings are written into the log */
    RAFT_REQUEST_TYPES,
};

/* What DescribeQuorum tells of a voter. */
struct raft_replica_view {
    struct raft_replica_key key;
    bool voter;            /* else an observer */
    int64_t end_offset;    /* -1: unknown */
    int64_t last_fetch_ms; /* wall time; -1 unknown, or the leader itself */
    int64_t last_caught_up_ms;
};

/* One request of another node. Its sender keeps it, and what it points to, until done() ran. */
struct raft_request {
    enum raft_request_type type;
    struct str cluster_id;          /* null: not said */
    struct raft_replica_key sender; /* candidate, leader or fetching replica */
    struct raft_replica_key voter;  /* VOTE, BEGIN: whom it means; id -1: does not say */
    int32_t epoch;
    bool pre_vote;          /* VOTE */
    int32_t last_epoch;     /* VOTE, FETCH */
    int64_t offset;         /* VOTE: log end of the candidate; FETCH: where from */
    int64_t high_watermark; /* FETCH: what the replica knows of it; INT64_MAX: does not say */
    int64_t wait_us;        /* FETCH: how long it may wait for news */
    const struct raft_replica_key *candidates; /* END: best first */
    size_t candidate_count;
    const struct raft_endpoint *endpoints; /* ADD, UPDATE: the voter's; BEGIN: the leader's */
    size_t endpoint_count;
    int16_t kraft_version_min, kraft_version_max; /* UPDATE: what the voter supports */
    bool ack_when_committed;                      /* ADD: else when it is in the leader's log */
    bool validate_only;                           /* UPGRADE */
    int64_t timeout_us;                           /* ADD, REMOVE */
    struct raft_snapshot_id snapshot;             /* SNAPSHOT: which, and from where */
    int64_t position;
    size_t max_bytes; /* FETCH (a single batch may be larger), SNAPSHOT */

    /* The answer. */
    enum kerr whole_error; /* INCONSISTENT_CLUSTER_ID; of the whole request */
    enum kerr error;
    int32_t leader_epoch;
    int32_t leader_id;
    struct str leader_host; /* of the leader named; in leader_host_bytes. Null: unknown */
    uint16_t leader_port;
    char leader_host_bytes[256];
    bool granted;       /* VOTE */
    bool diverging;     /* FETCH: at is where the logs part */
    bool want_snapshot; /* FETCH: at is the snapshot to fetch */
    struct raft_snapshot_id at;
    int64_t leader_high_watermark; /* FETCH, QUORUM */
    int64_t log_start_offset;
    uint8_t *records; /* FETCH, SNAPSHOT: malloc'd, the receiver's to free. NULL: none */
    size_t record_bytes;
    int64_t snapshot_size;
    struct raft_replica_view *replicas; /* QUORUM: malloc'd, the receiver's to free */
    size_t replica_count;

    /* On the loop, once; maybe within raft_node_request. */
    void (*done)(struct raft_request *r);

    /* The node's. */
    struct raft_request *prev, *next;
    struct raft_node *node;
    struct job job;
    struct log_slice slice;
    struct status result;
    int64_t give_up_us;
};

/* Answers a request: a vote when it is durable, a fetch when there are records, a newer high
 * watermark or its time is over. A node that stops answers everything with NOT_LEADER_OR_FOLLOWER.
 * A node of kraft.version 0 answers as well. */
void raft_node_request(struct raft_node *n, struct raft_request *r);

/* Where the leader of the present epoch listens, as it says or the voter set does. False: unknown.
 * Borrowed until the loop runs on. */
bool raft_node_leader_address(const struct raft_node *n, struct transport_node *out);
/* kraft.version of the newest voter set. */
int16_t raft_node_kraft_version(const struct raft_node *n);

/* Gives up leadership of `epoch`; no-op when we do not lead it. A quorum of one elects itself
 * again. */
void raft_node_resign(struct raft_node *n, int32_t epoch);

/* Where snapshot records come from. next() runs on a pool thread, one call at a time: what it walks
 * must be immutable. */
struct raft_snapshot_source {
    void *arg;
    /* The next records (values borrowed until the following call); a count of 0 ends it. */
    struct status (*next)(void *arg, const struct bytes **values, size_t *count);
    /* On the loop, once: the snapshot is in place, or why it is not (the old ones still are). */
    void (*done)(void *arg, struct status result);
};

/* Writes the snapshot of everything below end_offset, then drops log segments and older snapshots
 * that metadata.max.retention allows to go. end_offset must be <= what was delivered;
 * last_timestamp_ms that of the last record in it.
 * INVALID_REQUEST   beyond what was delivered, not above the newest snapshot, or one is being
 *                   written: source unused. */
struct status raft_node_take_snapshot(struct raft_node *n, int64_t end_offset,
                                      int64_t last_timestamp_ms,
                                      const struct raft_snapshot_source *source);
/* The newest complete one. */
struct raft_snapshot_id raft_node_latest_snapshot(const struct raft_node *n);

/* What a fresh metadata directory starts from. Borrowed for the call. */
struct raft_format_args {
    struct files *files;
    struct clock *clock;
    const char *directory;           /* "…/__cluster_metadata-0"; made when missing */
    const struct raft_voter *voters; /* none: kraft.version 0, they are in the settings */
    size_t voter_count;
    const struct bytes *values; /* FeatureLevelRecord frames, and what else the cluster begins
                                 * with */
    size_t count;
};

/* [blocks] Formats an empty metadata directory: the 0-0 checkpoint with kraft.version 1, the voters
 * and the bootstrap records, byte for byte as Apache Kafka's storage tool. Durable when it returns.
 * INVALID_REQUEST       voters that cannot be a set.
 * KAFKA_STORAGE_ERROR   EEXIST when there is a checkpoint or quorum-state already; nothing changed.
 *                       Else I/O. */
struct status raft_node_format(const struct raft_format_args *args);

#endif
