#ifndef REPLICATION_RAFT_TYPES_H
#define REPLICATION_RAFT_TYPES_H

/* The few values that the parts of Raft share. */

#include <stdint.h>

#include "replication/voter_set.h"

/* A point of the log: end_offset is exclusive, epoch that of the last record before it. Names a
 * snapshot. */
struct raft_snapshot_id {
    int64_t end_offset;
    int32_t epoch;
};

/* What a node must never forget: the newest epoch it has seen, and whom it voted for in it. */
struct raft_election {
    int32_t epoch;
    int32_t leader_id;             /* -1: unknown. Only a hint. */
    struct raft_replica_key voted; /* id -1: nobody */
};

struct raft_timeouts {
    int64_t election_ms;      /* controller.quorum.election.timeout.ms */
    int64_t fetch_ms;         /* controller.quorum.fetch.timeout.ms */
    int64_t request_ms;       /* controller.quorum.request.timeout.ms */
    int64_t retry_backoff_ms; /* controller.quorum.retry.backoff.ms */
};

#define RAFT_NO_NODE (-1)

/* No election of ours comes near it: who names a later epoch is mistaken, or would have us count
 * beyond what an epoch can be. */
#define RAFT_EPOCH_MAX (INT32_MAX / 2)

/* Nodes of controller.quorum.bootstrap.servers, whose ids nobody knows, have ids of their own below
 * RAFT_NO_NODE, as in Kafka. */
#define RAFT_BOOTSTRAP_ID(index) ((int32_t)(-2 - (int32_t)(index)))
#define RAFT_BOOTSTRAP_INDEX(id) ((size_t)(-2 - (int64_t)(id)))
#define RAFT_IS_BOOTSTRAP(id)    ((id) <= -2)

#endif
