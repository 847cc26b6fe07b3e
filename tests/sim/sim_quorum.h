#ifndef TESTS_SIM_SIM_QUORUM_H
#define TESTS_SIM_SIM_QUORUM_H

/* What the nodes of a cluster may never do to their metadata, looked at after each step:
 *
 * - two leaders of one epoch; two votes of one voter in one epoch; a restart that forgets an epoch
 * or a vote;
 * - a committed batch that is lost or another one; a high watermark that goes back within a life;
 * - two different images at one offset;
 * - a partition with two leaders in one leader epoch, epochs that go back, an ISR beyond the
 *   replicas, a leader outside of its ISR, a partition fewer, a topic id that comes back. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/uuid.h"
#include "tests/sim/sim_ledger.h"
#include "tests/sim/sim_net.h"

struct metadata_image;
struct sim_machine;
struct sim_world;

struct sim_epoch_leader {
    int32_t epoch, leader;
};

struct sim_vote {
    int32_t voter, epoch, candidate;
};

struct sim_image_seen {
    int64_t offset;
    uint64_t hash;
};

struct sim_partition_seen {
    int32_t leader, leader_epoch, partition_epoch;
    uint64_t hash; /* of all of it but the ELR */
    uint64_t elr_hash;
};

struct sim_topic_seen {
    struct uuid id;
    bool gone;
    struct sim_partition_seen *partitions;
    size_t partition_count;
};

struct sim_quorum {
    struct sim_world *world;
    struct sim_epoch_leader *leaders;
    size_t leader_count, leader_capacity;
    struct sim_vote *votes;
    size_t vote_count, vote_capacity;
    struct sim_image_seen *images; /* rising */
    size_t image_count, image_capacity;
    struct sim_topic_seen *topics;
    size_t topic_count, topic_capacity;
    struct sim_ledger committed;
    struct {
        uint64_t life;
        uint64_t remembered; /* the life whose memory was looked at */
        int64_t high_watermark, image_offset;
    } seen[SIM_NET_MACHINES_MAX]; /* of each machine's process */
};

void sim_quorum_init(struct sim_quorum *q, struct sim_world *w);
void sim_quorum_free(struct sim_quorum *q);

/* A process has taken a step. */
void sim_quorum_look(struct sim_quorum *q, struct sim_machine *m);
/* The metadata of a process, as its shards see it. NULL: none yet, or no process. */
const struct metadata_image *sim_quorum_image(const struct sim_machine *m);

/* A partition in the newest metadata that anybody has. NULL: nothing is known of it. */
const struct sim_partition_seen *sim_quorum_partition(const struct sim_quorum *q,
                                                      struct uuid topic_id, int32_t index);

/* For the network to tell. */
void sim_quorum_sees_request(struct sim_world *w, const struct sim_message *m);
void sim_quorum_sees_answer(struct sim_world *w, const struct sim_message *m);

#endif
