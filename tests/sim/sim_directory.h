#ifndef TESTS_SIM_SIM_DIRECTORY_H
#define TESTS_SIM_SIM_DIRECTORY_H

/* Who leads what in a cluster, as its clients know it: the metadata of some node, some time ago.
 * Clients of real life keep one each; here all share one. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/executor.h"
#include "tests/sim/sim_checker.h"
#include "tests/sim/sim_connection.h"
#include "tests/sim/sim_random.h"

struct sim_world;

struct sim_directory {
    struct sim_world *world;
    struct sim_random random;
    struct timer timer;
    struct sim_connection *connection;
    bool waiting;
    int64_t asked_us;
    int32_t (*leaders)[SIM_PARTITIONS_MAX]; /* by the checker's topics; node ids, -1: none known */
    size_t topic_count;
};

void sim_directory_init(struct sim_directory *d, struct sim_world *w);
void sim_directory_free(struct sim_directory *d);

/* A connection to where the partition is led, as far as is known. NULL: nowhere, or nobody is
 * there. */
struct sim_connection *sim_directory_connect(struct sim_directory *d, size_t topic,
                                             int32_t partition, struct sim_random *random);

#endif
