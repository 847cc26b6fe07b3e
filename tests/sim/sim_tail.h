#ifndef TESTS_SIM_SIM_TAIL_H
#define TESTS_SIM_SIM_TAIL_H

/* A consumer of a cluster: follows one partition for a while, then another; or, at the end, reads
 * each from its start to its end. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/executor.h"
#include "tests/sim/sim_connection.h"
#include "tests/sim/sim_random.h"

struct sim_world;

enum sim_tail_task {
    SIM_TAIL_REST,
    SIM_TAIL_FOLLOW,
    SIM_TAIL_READ_ALL, /* every partition, once; no loss and no election is under way */
};

struct sim_tail {
    struct sim_world *world;
    struct sim_random random;
    struct timer timer;
    struct sim_connection *connection;
    enum sim_tail_task task;
    bool waiting;
    bool used;
    int64_t asked_us;
    size_t topic;
    int32_t partition;
    int64_t start, offset, end; /* -1: not known yet */
    size_t left;                /* fetches until it turns to another one */
};

void sim_tail_init(struct sim_tail *c, struct sim_world *w, uint64_t number);
void sim_tail_set(struct sim_tail *c, enum sim_tail_task task);
bool sim_tail_done(const struct sim_tail *c); /* of SIM_TAIL_READ_ALL */
void sim_tail_free(struct sim_tail *c);

#endif
