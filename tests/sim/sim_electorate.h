#ifndef TESTS_SIM_SIM_ELECTORATE_H
#define TESTS_SIM_SIM_ELECTORATE_H

/* Who changes the voters of the metadata quorum (KIP-853), in clusters that keep them in their log:
 * asks some node who votes and who only follows, then has a follower added or a voter removed, the
 * leader too. One voter always stays. */

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/uuid.h"
#include "storage/executor.h"
#include "tests/sim/sim_connection.h"
#include "tests/sim/sim_random.h"

struct sim_world;

struct sim_electorate {
    struct sim_world *world;
    struct sim_random random;
    struct timer timer;
    struct sim_connection *connection;
    bool working;
    bool waiting;
    bool chosen; /* the next request is about this one: */
    bool removal;
    int32_t id;
    struct uuid directory;
    uint64_t done; /* changes that were carried out */
};

void sim_electorate_init(struct sim_electorate *e, struct sim_world *w);
void sim_electorate_work(struct sim_electorate *e, bool working);
void sim_electorate_free(struct sim_electorate *e);

#endif
