#ifndef TESTS_SIM_SIM_COORDINATOR_H
#define TESTS_SIM_SIM_COORDINATOR_H

/* Who coordinates a group of a cluster. */

#include <stdint.h>

#include "protocol/base/span.h"

struct sim_world;

/* The epoch in which a node leads the group's partition, by the newest metadata that anybody has;
 * -1: it does not, though it may not know that yet. */
int32_t sim_coordinator_epoch(const struct sim_world *w, struct str group, int32_t node_id);

#endif
