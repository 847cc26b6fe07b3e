#ifndef BROKER_NODE_H
#define BROKER_NODE_H

/* A whole node as one value: shards, control, log directories. It knows no socket and no thread of
 * its own: both come in through node_env, so that a test can hold five nodes in one process and the
 * simulator can run one in virtual time. server.h puts sockets and threads around it. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/dispatch.h"
#include "broker/node_options.h"
#include "broker/replica_throttle.h"
#include "protocol/base/clock.h"
#include "protocol/base/logger.h"
#include "protocol/base/status.h"
#include "protocol/base/uuid.h"
#include "storage/executor.h"
#include "storage/files.h"

struct closing;
struct control;
struct event_base;
struct forward;
struct metadata_delta;
struct metadata_image;
struct node;
struct shard;
struct state_home;
struct state_store;
struct state_store_report;
struct storage_dirs;
struct transport;

struct node_env {
    struct files *files;
    struct clock *clock;
    struct random *random;
    struct logger *logger;
    struct pool *pool;
    struct loop *control_loop;
    struct loop **shard_loops;
    struct event_base **shard_events; /* NULL: no sockets */
    size_t shard_count;
    struct transport *peers; /* to other nodes, from the control loop. NULL: this node knows none */
    struct transport **shard_peers; /* likewise, from each shard's loop, for following. NULL:
                                     * none */
    const char *boot_id; /* the kernel's; page caches survive as long as it stays the same */
    /* [pool] Opens the state store that lives in `dir`; NULL: the real one (state_home.h). */
    struct status (*open_state)(struct node *n, const char *dir, struct state_store_report *report,
                                struct state_store **out);
};

struct node {
    struct node_env env;
    const struct node_options *options; /* borrowed */
    size_t shard_count;
    struct shard **shards;
    struct control *control;
    struct closing *closing; /* logs at the clean end */
    struct storage_dirs *dirs;
    size_t dir_count;
    _Atomic bool verify_turns[NODE_LOG_DIRS_MAX]; /* a shard is checking a log in that directory:
                                                   * verify.h */
    _Atomic bool strays_wanted; /* folders that no partition took wait for the first checkpoint
                                 * round */
    _Atomic bool sweep_wanted;  /* folders of deleted partitions wait for the next checkpoint
                                * round */
    /* queued.max.request.bytes: requests in memory, their frames and what they decode to, all
     * shards */
    struct api_handler handlers[API_KEY_COUNT];
    _Atomic size_t request_bytes;
    size_t request_bytes_max;
    struct state_home *state_home;
    _Atomic int64_t consumer_heartbeats;   /* since they were counted last */
    _Atomic int32_t heartbeat_interval_ms; /* which members of consumer groups are told now:
                                            * heartbeat_pace.h */
    _Atomic size_t stalled_shards; /* how often a connection had to wait: 0 keeps the check cheap */
    struct forward *forwards; /* requests on their way to the controller; control loop, this and
                               * the next */
    bool forwards_stopped;
    _Atomic bool serving;                           /* clients are served */
    _Atomic bool leaving;                           /* it hands over and stops */
    struct replica_throttle leader_throttle;        /* leader.replication.throttled.rate */
    struct replica_throttle follower_throttle;      /* follower.replication.throttled.rate */
    _Atomic int64_t trusted_until_us;               /* node_in_doubt */
    _Atomic int64_t broker_lost_us;                 /* unsure.h; 0: never */
    void (*ready)(void *arg, struct status result); /* on the control loop: registered, unfenced,
                                                     * serving */
    void (*left)(void *arg); /* on the control loop: it stops, and answers nobody any more. May
                              * be NULL */
    void (*failed)(void *arg, struct status why); /* any loop: cannot go on, stop the process */
    void *arg;
};

/* Opens the log directories (formats empty ones) and prepares all; nothing runs before node_start.
 * Blocks. Errors name the step and leave nothing open. */
struct status node_create(const struct node_env *env, const struct node_options *options,
                          struct node **out);

/* Starts the quorum and registration; `ready` is told when clients can be served. From any
 * thread. */
void node_start(struct node *n);

/* Clean stop: leaves the cluster politely, then closes all logs and writes the clean-shutdown
 * files; `stopped` runs on the control loop. From any thread. */
void node_stop(struct node *n, void (*stopped)(void *arg), void *arg);

/* After `stopped`, or, without a clean end, when no loop runs any more. */
void node_free(struct node *n);

/* A log directory failed: it and its partitions go offline; the last one, or the metadata's, ends
 * the node. From any thread. */
void node_dir_failed(struct node *n, size_t dir, struct status why);

/* A log has lost something that was flushed: neither the controller nor the next start may take
 * this run's beginning, or its end, for one that kept everything. From any thread. */
void node_damaged(struct node *n);

/* Whether the controller may have fenced this broker without its knowing: it was paused or cut off
 * for a session, and has not been heard since. Others may lead its partitions then, with records
 * that it lacks: what looks wrong to it may be right, and a client is better sent to ask who leads
 * than told that its offset or its sequence is out of order. Records that such a leader appends are
 * never acknowledged for all, and what it shows below its high watermark stays true. From any
 * thread. */
bool node_in_doubt(const struct node *n, int64_t now_us);

/* Which shard owns a partition. In memory only: the number of shards may differ at the next
 * start. */
size_t node_shard_of(const struct node *n, struct uuid topic_id, int32_t index);

#endif
