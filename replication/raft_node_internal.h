#ifndef REPLICATION_RAFT_NODE_INTERNAL_H
#define REPLICATION_RAFT_NODE_INTERNAL_H

/* What the parts of the Raft node share: raft_node.c (start, stop, the public calls),
 * raft_node_effects.c (the core's wishes carried out), raft_node_deliver.c (committed records go
 * up), raft_node_snapshot.c. */

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

#define RAFT_TOPIC    "__cluster_metadata"
#define RAFT_TOPIC_ID (uuid_from_number(1))

/* Replicas that fetch and do not vote, as DescribeQuorum shows them. More of them are served, but
 * not shown. */
#define RAFT_OBSERVERS_MAX    64
#define OBSERVER_FORGOTTEN_MS (5 * 60 * 1000) /* as Kafka */

struct raft_observer {
    struct raft_replica_key key;
    int64_t end_offset;
    int64_t last_fetch_ms;
    int64_t last_caught_up_ms; /* -1: never */
};

/* Where somebody listens. */
struct raft_place {
    struct str host; /* owned */
    uint16_t port;
};

/* As leader: one change of the voters at a time, from its request until it is committed. As voter
 * or observer: what we ask the leader to change about ourselves. raft_node_membership.c. */
struct raft_membership {
    struct raft_request *changing; /* NULL: none is under way */
    bool asking_features;          /* of the voter to be added */
    bool lagging;                  /* it has not caught up yet */
    struct transport_request features;
    int64_t offset; /* of its record; -1: not appended yet */
    int32_t epoch;
    struct timer give_up;
    struct voter_set *introduced; /* kraft.version 0: voters by their own word in this epoch,
                                   * with their disks; owned */
    int32_t introduced_epoch;
    struct timer look; /* at our own entry, now and then */
    bool asking;       /* the leader, for ourselves */
    int32_t asked_epoch;
    int32_t introduced_to_epoch; /* whose leader has taken our update; -1: none */
    struct transport_request request;
};

struct raft_call; /* raft_node_peers.c */

/* A snapshot on its way from the leader: raft_node_fetch_snapshot.c. */
struct snapshot_fetch {
    bool busy;
    struct raft_snapshot_id id;
    int32_t epoch;
    int32_t leader_id;
    struct transport_request request;
    bool asking;
    struct job job;
    struct snapshot_part *part; /* owned; the pool's while the job runs */
    int64_t position;           /* bytes written */
    int64_t size;               /* of the whole */
    struct bytes_mut piece;     /* owned */
    bool dropped;
    struct status result;
    struct snapshot_reader *opened; /* owned; what the job found whole, the pool's while it runs */
    struct snapshot_reader *reader; /* owned; all of it is there */
};

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
    struct str cluster_id;           /* owned */
    struct voter_set *static_voters; /* owned; NULL: none */
    struct voter_set *own_endpoints; /* a set of one that keeps them; NULL: leave the voters
                                      * alone */
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
    int32_t durable_epoch; /* of the newest election on the disk */
    struct status persist_result;

    /* Effect 3: the log. */
    struct job flush_job;
    bool flush_busy;
    struct log_flush flush;
    struct status flush_result;
    struct record_batch_builder builder;
    struct compression_scratch *scratch;

    /* Other nodes. */
    struct raft_message held[4 * RAFT_VOTERS_MAX]; /* wait for the election to be durable */
    size_t held_count;
    struct raft_call *calls;        /* under way */
    struct bytes_mut fetched;       /* during the step of a fetch's answer: its checked batches */
    struct raft_request *undurable; /* answered when the election is durable */
    struct raft_request *waiting;   /* fetches without news */
    struct timer wait_timer;
    struct raft_observer observers[RAFT_OBSERVERS_MAX];
    size_t observer_count;
    struct raft_place *bootstrap; /* owned */
    size_t bootstrap_count;
    int32_t leader_place_id; /* who said that it leads leader_place_epoch, */
    int32_t leader_place_epoch;
    struct raft_place leader_place; /* and where it listens */
    bool auto_join;
    struct raft_membership membership;
    struct snapshot_fetch snapshot_fetch;

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
void raft_node_submit(struct raft_node *n, struct job *j, void (*run)(struct job *),
                      void (*done)(struct task *));

/* raft_node_effects.c */
/* Answers what the core says to a _REQUEST event. */
struct raft_answer raft_node_step(struct raft_node *n, const struct raft_event *ev);
/* Appends a set and lets it count, under another kraft.version unless that is below 0. Takes over
 * voters, also when it fails. */
struct status raft_node_append_voters(struct raft_node *n, struct voter_set *voters,
                                      int16_t kraft_version);
struct status raft_node_append_batch(struct raft_node *n, struct bytes_mut batch, int32_t epoch);
void raft_node_flush(struct raft_node *n);

/* raft_node_peers.c */
/* Messages to be sent when the election is durable; then release sends them. */
void raft_node_hold(struct raft_node *n, const struct raft_message *messages, size_t count);
void raft_node_release_held(struct raft_node *n);
void raft_node_cancel_calls(struct raft_node *n);
/* Where a voter, the leader, we ourselves or a bootstrap server listens; host and port unset when
 * it is not known. Borrowed until the voters or the leader change. */
bool raft_node_address(const struct raft_node *n, int32_t id, struct transport_node *out);
/* Of somebody's endpoints, the one that the quorum uses. NULL: there are none. */
const struct raft_endpoint *raft_node_endpoint(const struct raft_node *n,
                                               const struct raft_endpoint *endpoints, size_t count);
/* The leader of an epoch has said, or somebody of it, where it listens. */
void raft_node_note_leader(struct raft_node *n, int32_t id, int32_t epoch, struct str host,
                           uint16_t port);

/* raft_node_requests.c */
void raft_node_waiting_init(struct raft_node *n);
void raft_node_answer_durable(struct raft_node *n);
/* Something that a fetch may wait for has happened. */
void raft_node_wake_fetches(struct raft_node *n);
void raft_node_refuse_requests(struct raft_node *n);
void raft_node_note_observer(struct raft_node *n, const struct raft_request *r);
/* When that replica, which does not vote, last had all of the log; -1: never, or nobody knows. */
int64_t raft_node_observer_caught_up_ms(const struct raft_node *n, struct raft_replica_key key);
/* As the core would say it, without a step. */
void raft_node_take_view(struct raft_node *n, struct raft_request *r, enum kerr error);
void raft_node_finish_durable(struct raft_node *n, struct raft_request *r);

/* raft_node_membership.c */
void raft_node_membership_start(struct raft_node *n);
void raft_node_ask_change(struct raft_node *n, struct raft_request *r);
void raft_node_ask_upgrade(struct raft_node *n, struct raft_request *r);
/* A replica that does not vote has fetched. */
void raft_node_membership_fetched(struct raft_node *n, struct raft_replica_key key);
/* Leadership or the high watermark have moved. */
void raft_node_membership_moved(struct raft_node *n);
void raft_node_membership_stop(struct raft_node *n); /* answers what waits */
void raft_node_membership_free(struct raft_node *n);

/* raft_node_fetch_snapshot.c */
void raft_node_fetch_snapshot(struct raft_node *n, struct raft_snapshot_id id);
/* All of one is there, and may be put in place, or has come in vain. */
bool raft_node_snapshot_fetched(const struct raft_node *n);
void raft_node_install_snapshot(struct raft_node *n);
void raft_node_fetch_snapshot_cancel(struct raft_node *n);
void raft_node_fetch_snapshot_free(struct raft_node *n);

/* raft_node_voters.c */
/* The core, of the newest set. */
void raft_node_tell_voters(struct raft_node *n);
/* Drops the voter sets that were written at `offset` or behind it; true when the newest one is
 * another one now. */
bool raft_node_forget_voters(struct raft_node *n, int64_t offset);
const struct voters_at *raft_node_newest_voters(const struct raft_node *n);
/* Whether we are in the set before the newest. */
bool raft_node_was_voter(const struct raft_node *n);
/* Takes over voters. The core is not told. */
void raft_node_note_voters(struct raft_node *n, int64_t offset, int16_t kraft_version,
                           struct voter_set *voters);
/* The same, and tells the core of a node that runs. */
void raft_node_add_voters(struct raft_node *n, int64_t offset, int16_t kraft_version,
                          struct voter_set *voters);
/* Checks batches that are in the log now, and reads the control records among them from
 * *next_offset on, which then is what follows them. */
struct status raft_node_note_control(struct raft_node *n, struct bytes batches,
                                     int64_t *next_offset);
/* Builds the first batch of an epoch in n->builder. *voters: a new set written in it (owned by the
 * caller), or NULL. */
struct status raft_node_build_leader_change(struct raft_node *n, struct bytes_mut *batch,
                                            struct voter_set **voters);
/* Builds a batch with just this set in n->builder, behind the kraft.version unless that is below
 * 0. */
struct status raft_node_build_voters(struct raft_node *n, const struct voter_set *voters,
                                     int16_t kraft_version, struct bytes_mut *batch);

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
/* [blocks] All but the one that the log begins anew behind, those that the list does not name among
 * them. */
struct status raft_node_keep_only_snapshot(struct raft_node *n, struct raft_snapshot_id id);

#endif
