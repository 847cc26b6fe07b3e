#ifndef TESTS_SIM_SIM_REPLICAS_H
#define TESTS_SIM_SIM_REPLICAS_H

/* What the replicas of partitions may never do, looked at after each step of a shard:
 *
 * - lead one partition in one leader epoch on two nodes;
 * - let a high watermark go back within a life, or beyond the log end (one that begins to lead may
 *   go back to what it has flushed);
 * - have below it anything but what is committed: the same batches on all of them, never lost,
 * never others;
 * - lead, in the newest epoch, without all that is committed.
 *
 * Compacted topics are left out: their batches are written anew. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/uuid.h"
#include "tests/sim/sim_ledger.h"
#include "tests/sim/sim_node.h"

struct sim_machine;
struct sim_world;
struct partition;

struct sim_replicated {
    struct uuid topic_id;
    int32_t index;
    struct sim_ledger committed;
    int32_t leader_epoch; /* the newest that anybody has led in */
    unsigned leader;      /* machine */
    struct {
        uint64_t life;
        int64_t high_watermark;
        int32_t led_epoch; /* the last one that it led in */
        uint64_t look;     /* the last in which it was there, and had not been at its place */
    } seen[SIM_NET_MACHINES_MAX];
};

struct sim_hosted {
    struct uuid topic_id;
    int32_t index;
    struct sim_replicated *known; /* NULL: not looked at */
};

/* What a shard of a process hosts, in its order. */
struct sim_hosting {
    struct sim_hosted *entries;
    size_t count, capacity;
    uint64_t life;
};

struct sim_replicas {
    struct sim_world *world;
    struct sim_replicated **partitions; /* sorted by id and index */
    size_t count, capacity;
    uint64_t looks;
    struct sim_hosting last[SIM_NET_MACHINES_MAX][SIM_SHARDS_MAX]; /* as the last look found it */
    /* of this look */
    struct sim_hosting *hosting; /* of `last` */
    size_t same;                 /* so many of its first are there still */
    bool differs;
    struct sim_hosting others; /* what is there instead of those that follow */
};

void sim_replicas_init(struct sim_replicas *r, struct sim_world *w);
void sim_replicas_free(struct sim_replicas *r);

/* A shard of a process has taken a step. */
void sim_replicas_look(struct sim_replicas *r, struct sim_machine *m, size_t shard);

/* Whether every partition in the newest metadata is led, has all of its replicas in sync, and all
 * of them have the same log and know that it is committed. `why` says what is missing. All nodes
 * run. */
bool sim_replicas_are_equal(struct sim_replicas *r, char *why, size_t why_size);

/* Batches that are known to be committed, of all partitions. */
uint64_t sim_replicas_committed(const struct sim_replicas *r);

#endif
