#ifndef REPLICATION_RAFT_NODE_INTERNAL_H
#define REPLICATION_RAFT_NODE_INTERNAL_H

/* What the parts of the Raft node share: raft_node.c (start, stop, the public calls), raft_node_effects.c
 * (the core's wishes carried out), raft_node_deliver.c (committed records go up), raft_node_snapshot.c. */

#include "protocol/compression.h"
#include "protocol/record_batch_build.h"
#include "replication/raft_core.h"
#include "replication/raft_node.h"
#include "replication/snapshot_file.h"

/* A voter set, and where in the log (or below which snapshot's end) it was written. */
struct voters_at {
    int64_t offset;
    int16_t kraft_version;
    struct voter_set *voters; /* owned */
};

/* Sets that a truncation may bring back or a snapshot may need; older ones are dropped. */
#define VOTER_HISTORY_MAX 16

struct node_snapshot {
    struct raft_snapshot_id id;
    int64_t size_bytes;
    int64_t time_ms;
};

enum raft_node_state { NODE_OPEN, NODE_RUNNING, NODE_FAILED, NODE_STOPPING };

struct raft_node {
    struct loop *loop;
    struct pool *pool;
    struct files *files;
    struct logger *logger;
    struct transport *transport;
    struct raft_listener listener;
    char *directory;
    char *quorum_state_path;
    struct raft_replica_key self;
    struct voter_set *own_endpoints; /* a set of one that keeps them; NULL: leave the voters alone */
    int64_t retention_bytes;
    int64_t retention_ms;

    struct raft_core core;
    struct log *log;
    struct log_config log_config;
    struct timer timer;
    enum raft_node_state state;
    struct status failure;
    bool failure_told;
    size_t busy; /* jobs and posted tasks under way */
    void (*stopped)(void *arg);
    void *stopped_arg;

    struct voters_at voter_history[VOTER_HISTORY_MAX]; /* oldest first; the last one counts */
    size_t voter_history_count;

    /* Effect 2: quorum-state. */
    struct job persist_job;
    bool persist_busy;
    bool persist_again; /* the election has changed since */
    struct raft_election persisting;
    struct status persist_result;

    /* Effect 3: the log. */
    struct job flush_job;
    bool flush_busy;
    struct log_flush flush;
    struct status flush_result;
    struct record_batch_builder builder;
    struct compression_scratch *scratch;

    /* Delivery. */
    struct task deliver_task;
    bool deliver_posted;
    struct job read_job; /* a snapshot's next batch, or a cold part of the log */
    bool read_busy;
    struct snapshot_reader *loading; /* owned; the snapshot being handed up */
    bool loading_begun;
    const struct bytes *loaded_values;
    size_t loaded_count;
    struct status read_result;
    struct log_slice slice;
    uint8_t *read_buffer; /* owned */
    size_t read_capacity;
    size_t read_size;
    struct bytes *values; /* owned; of the batch being delivered */
    size_t value_capacity;
    int64_t next_offset; /* to be delivered */
    int32_t told_epoch;
    int32_t told_leader;
    bool told_we_lead;

    /* Snapshots. */
    struct node_snapshot snapshots[SNAPSHOTS_MAX]; /* oldest first */
    size_t snapshot_count;
    struct job snapshot_job; /* writes one; then removes what it replaces */
    bool snapshot_busy;
    struct raft_snapshot_id snapshot_id; /* being written */
    int64_t snapshot_timestamp_ms;
    struct voter_set *snapshot_voters; /* owned; NULL under kraft.version 0 */
    struct raft_snapshot_source snapshot_source;
    struct node_snapshot snapshot_taken;
    struct status snapshot_result;
    struct raft_snapshot_id doomed[SNAPSHOTS_MAX];
    size_t doomed_count;
    struct log_garbage *garbage;
};

/* raft_node.c */
int64_t raft_node_now_ms(const struct raft_node *n);
void raft_node_fail(struct raft_node *n, struct status why);
/* One job or posted task is over; the last one lets a stopping node go. */
void raft_node_idle(struct raft_node *n);
void raft_node_submit(struct raft_node *n, struct job *j, void (*run)(struct job *), void (*done)(struct task *));

/* raft_node_effects.c */
void raft_node_step(struct raft_node *n, const struct raft_event *ev);
struct status raft_node_append_batch(struct raft_node *n, struct bytes_mut batch, int32_t epoch);
void raft_node_flush(struct raft_node *n);

/* raft_node_voters.c */
const struct voters_at *raft_node_newest_voters(const struct raft_node *n);
/* Takes over voters, also when it fails (no memory, unknown). */
void raft_node_add_voters(struct raft_node *n, int64_t offset, int16_t kraft_version, struct voter_set *voters);
/* Checks batches that are in the log now, and reads the control records among them from *next_offset on, which
 * then is what follows them. */
struct status raft_node_note_control(struct raft_node *n, struct bytes batches, int64_t *next_offset);
/* Builds the first batch of an epoch in n->builder. *voters: a new set written in it (owned by the caller), or NULL. */
struct status raft_node_build_leader_change(struct raft_node *n, struct bytes_mut *batch,
                                            struct voter_set **voters);

/* raft_node_deliver.c */
void raft_node_deliver_soon(struct raft_node *n);
void raft_node_deliver_free(struct raft_node *n);
/* [blocks] Reads a whole slice into n->read_buffer. */
struct status raft_node_read_slice(struct raft_node *n, struct log_slice *slice);

/* raft_node_snapshot.c */
struct raft_snapshot_id raft_node_oldest_snapshot(const struct raft_node *n);
struct status raft_node_find_snapshots(struct raft_node *n);
/* Those that end before the log starts: a crash came between the two steps of letting go. */
struct status raft_node_drop_stale_snapshots(struct raft_node *n);

#endif
