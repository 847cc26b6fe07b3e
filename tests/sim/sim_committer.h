#ifndef TESTS_SIM_SIM_COMMITTER_H
#define TESTS_SIM_SIM_COMMITTER_H

/* A consumer that commits: looks for the coordinator of its group, and commits ever higher offsets
 * for one partition with it, one at a time, wherever the coordinator moves. What it then finds
 * committed was sent, and is not below what was acknowledged: once all is well, and before already
 * when the coordinator that answers was not deposed. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/executor.h"
#include "tests/sim/sim_connection.h"
#include "tests/sim/sim_random.h"

struct sim_world;

enum sim_committer_task {
    SIM_COMMITTER_REST,
    SIM_COMMITTER_WORK,
    SIM_COMMITTER_PROVE, /* what is committed is read; no loss and no election is under way */
};

struct sim_committer {
    struct sim_world *world;
    struct sim_random random;
    struct timer timer;
    struct sim_connection *connection;
    enum sim_committer_task task;
    char group[8];
    bool used; /* it has a partition: */
    size_t topic;
    int32_t partition;
    int64_t sent, acknowledged;
    int32_t coordinator;    /* node id; -1: to be looked for */
    int32_t asked_in_epoch; /* of the coordinator, for what is committed; -1: it has none */
    bool waiting;
    int64_t not_before_us;
    bool proved;
    uint64_t commits; /* acknowledged */
};

void sim_committer_init(struct sim_committer *c, struct sim_world *w, size_t number);
void sim_committer_set(struct sim_committer *c, enum sim_committer_task task);
bool sim_committer_proved(const struct sim_committer *c);
void sim_committer_free(struct sim_committer *c);

#endif
