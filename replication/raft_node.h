#ifndef REPLICATION_RAFT_NODE_H
#define REPLICATION_RAFT_NODE_H

/* The replicated metadata log `__cluster_metadata-0` of one node: drives raft_core (who leads, what is
 * committed), owns the log, the quorum-state file and the snapshots, and hands committed records up.
 *
 * Effects of one core step are carried out in this order:
 *   1. truncation of the log
 *   2. epoch and vote to quorum-state   (fsync in the pool)
 *   3. entries to the log               (page cache now, fsync in the pool; may overlap with 2)
 *   4. messages out, and "flushed" fed back to the core: only when 2 is durable
 *   5. committed records, then leadership, to the listener
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
    const struct bytes *values; /* record values: frames of metadata records; value i has offset base_offset + i */
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
    /* Forget everything; the state at id follows. Also comes first for the 0-0 snapshot of a fresh node. */
    void (*snapshot_begin)(void *arg, struct raft_snapshot_id id, int64_t last_contained_timestamp_ms);
    void (*snapshot_records)(void *arg, const struct bytes *values, size_t count);
    void (*snapshot_end)(void *arg);
    /* Control batches are not delivered: offsets may skip. */
    void (*commit)(void *arg, const struct raft_commit *commit);
    /* One round of deliveries is over: everything below next_offset has been delivered; a place to publish. */
    void (*caught_up)(void *arg, int64_t next_offset);
    /* leader_id -1: unknown. With we_lead, every record below our epoch's first one has been delivered,
     * its leader change is committed, and raft_node_append works from within this call on. Losing leadership is told at
     * once: appends of ours that were not committed may or may not come back as commits. */
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
    struct str cluster_id;       /* copied */
    /* Where this node's controller listeners are; a leader whose entry in the voter set differs
     * writes the new one. Deep-copied. Empty: leave the voter set alone. */
    const struct raft_endpoint *endpoints;
    size_t endpoint_count;
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

/* [blocks] Opens the log, reads quorum-state and the newest snapshot's head. Nothing runs until raft_node_start; call
 * it on the loop's thread, or before the loop runs.
 *
 * KAFKA_STORAGE_ERROR   I/O (sys_errno), or a log that cannot be opened.
 * CORRUPT_MESSAGE       quorum-state or a snapshot is damaged; `where` says which and why.
 * UNSUPPORTED_VERSION   data_version, kraft.version or a control record newer than we know.
 * INCONSISTENT_VOTER_SET  no voter set: the directory was never formatted; or one of several voters, which this node
 *                         cannot be yet.
 * Nothing stays open then. */
struct status raft_node_open(const struct raft_node_args *args, struct raft_node **out,
                             struct log_recovery_report *report);

/* Begins: hands up the snapshot and takes part in elections. A quorum of one elects itself here,
 * without waiting for a timer. */
void raft_node_start(struct raft_node *n);

/* Stops all activity; `stopped` runs on the loop once no job or request is under way: then close it. The listener
 * hears nothing any more. Not needed for a node that was never started. */
void raft_node_stop(struct raft_node *n, void (*stopped)(void *arg), void *arg);

/* [blocks] Closes the log of a stopped or never started node, after a last flush when clean, and frees the node. */
struct status raft_node_close(struct raft_node *n, bool clean);

/* Appends metadata records as the leader of `epoch`; they are durable and replicated when they come back as commits.
 *
 * values      Record frames (metadata_record.h); borrowed for the call.
 * atomically  All in one batch, or none; else they may be spread over several batches.
 * last_offset The last record's offset. Written only on success.
 *
 * NOT_CONTROLLER        We do not lead, or lead another epoch.   Nothing appended.
 * RECORD_LIST_TOO_LARGE A record, or the whole when atomically, passes RAFT_BATCH_BYTES_MAX. Nothing appended.
 * KAFKA_STORAGE_ERROR   The log is offline; failed() follows. */
struct status raft_node_append(struct raft_node *n, int32_t epoch, const struct bytes *values, size_t count,
                               bool atomically, int64_t *last_offset);

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

/* Gives up leadership of `epoch`; no-op when we do not lead it. A quorum of one elects itself again. */
void raft_node_resign(struct raft_node *n, int32_t epoch);

/* Where snapshot records come from. next() runs on a pool thread, one call at a time: what it walks must
 * be immutable. */
struct raft_snapshot_source {
    void *arg;
    /* The next records (values borrowed until the following call); a count of 0 ends it. */
    struct status (*next)(void *arg, const struct bytes **values, size_t *count);
    /* On the loop, once: the snapshot is in place, or why it is not (the old ones still are). */
    void (*done)(void *arg, struct status result);
};

/* Writes the snapshot of everything below end_offset, then drops log segments and older snapshots that
 * metadata.max.retention allows to go. end_offset must be <= what was delivered; last_timestamp_ms that of
 * the last record in it.
 * INVALID_REQUEST   beyond what was delivered, not above the newest snapshot, or one is being written: source unused. */
struct status raft_node_take_snapshot(struct raft_node *n, int64_t end_offset, int64_t last_timestamp_ms,
                                      const struct raft_snapshot_source *source);
/* The newest complete one. */
struct raft_snapshot_id raft_node_latest_snapshot(const struct raft_node *n);

/* What a fresh metadata directory starts from. Borrowed for the call. */
struct raft_format_args {
    struct files *files;
    struct clock *clock;
    const char *directory; /* "…/__cluster_metadata-0"; made when missing */
    const struct raft_voter *voters;
    size_t voter_count;
    const struct bytes *values; /* FeatureLevelRecord frames, and what else the cluster begins with */
    size_t count;
};

/* [blocks] Formats an empty metadata directory: the 0-0 checkpoint with kraft.version 1, the voters and the
 * bootstrap records, byte for byte as Apache Kafka's storage tool. Durable when it returns.
 * INVALID_REQUEST       voters that cannot be a set.
 * KAFKA_STORAGE_ERROR   EEXIST when there is a checkpoint or quorum-state already; nothing changed. Else I/O. */
struct status raft_node_format(const struct raft_format_args *args);

#endif
