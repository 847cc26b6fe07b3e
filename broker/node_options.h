#ifndef BROKER_NODE_OPTIONS_H
#define BROKER_NODE_OPTIONS_H

/* What a node is started with: the settings that its parts act on, out of the table of settings. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/coordinator/coordinator_options.h"
#include "replication/config_defs.h"

#define NODE_LISTENERS_MAX 8
#define NODE_LOG_DIRS_MAX  16

struct node_listener {
    const char *name;
    const char *host; /* what to bind; "" for every address */
    uint16_t port;
    const char *advertised_host; /* what clients are told */
    uint16_t advertised_port;
    bool controller; /* for controllers and brokers, not for clients */
};

/* One of controller.quorum.voters. */
struct node_voter {
    int32_t id;
    const char *host;
    uint16_t port;
};

#define NODE_VOTERS_MAX 64

/* Strings belong to the settings they came from and live as long as the process. */
struct node_options {
    const struct config_values *config; /* every setting, for DescribeConfigs and topic defaults */
    int32_t node_id;
    const char *rack;       /* NULL: none */
    const char *cluster_id; /* NULL: what the directories say, or a new one */
    struct node_listener listeners[NODE_LISTENERS_MAX];
    size_t listener_count;
    const char *inter_broker_listener; /* the listener of other brokers that this one talks to */
    struct node_voter voters[NODE_VOTERS_MAX]; /* controller.quorum.voters */
    size_t voter_count;
    struct node_voter bootstrap[NODE_VOTERS_MAX]; /* controller.quorum.bootstrap.servers; without
                                                   * ids */
    size_t bootstrap_count;
    bool auto_join; /* controller.quorum.auto.join.enable */
    const char *log_dirs[NODE_LOG_DIRS_MAX];
    size_t log_dir_count;
    const char *metadata_log_dir; /* one of log_dirs or of its own */
    const char *state_dir; /* of the coordinators' state; NULL: within the metadata log's folder */
    bool flush_before_ack;
    bool auto_create_topics;
    bool cleaner_enabled; /* log.cleaner.enable; the rest of its settings can change: cleaning.c */
    int32_t frame_bytes_max;    /* socket.request.max.bytes */
    int64_t request_bytes_max;  /* queued.max.request.bytes */
    int64_t idle_ms_max;        /* connections.max.idle.ms */
    int32_t fetch_bytes_max;    /* fetch.max.bytes */
    int32_t fetch_sessions_max; /* max.incremental.fetch.session.cache.slots */
    int64_t producer_id_expiration_ms;
    int64_t retention_check_ms;
    int64_t replica_lag_ms_max; /* replica.lag.time.max.ms */
    int64_t session_ms; /* the shortest silence after which a controller fences a broker that
                         * beats as we do */
    /* replica.selector.class */
    enum replica_selector { SELECT_LEADER, SELECT_BY_RACK } replica_selector;
    int64_t checkpoint_ms; /* replica.high.watermark.checkpoint.interval.ms */
    int32_t shard_count;   /* trivet.shards; 0: one a core */
    int32_t io_threads;    /* trivet.io.threads */
    struct coordinator_options coordinator;
};

#endif
