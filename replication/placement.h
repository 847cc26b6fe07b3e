#ifndef REPLICATION_PLACEMENT_H
#define REPLICATION_PLACEMENT_H

/* Which brokers a new partition goes to. Pure but for the random start.
 *
 * As Apache Kafka's striped placement: partitions walk round the racks, each starting one rack
 * further than the one before, and take the next broker of each rack in turn; so leaders and
 * replicas spread evenly over racks and brokers. The first replica is always an unfenced broker;
 * fenced ones serve only where a rack has no unfenced one left. Racks differ as long as there are
 * enough. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/clock.h"
#include "protocol/base/span.h"

struct placement_broker {
    int32_t id;
    struct str rack; /* NULL data: none, which counts as a rack of its own */
    bool fenced;
};

struct placement;

/* Brokers are copied, racks borrowed for the placement's life. */
struct placement *placement_create(const struct placement_broker *brokers, size_t count,
                                   struct random *random);
void placement_free(struct placement *p); /* NULL is fine */

/* Fills out with the next partition's replicas, the leader first. False when there are fewer than
 * `replica_count` brokers, or none of them is unfenced: nothing is written then. */
bool placement_next(struct placement *p, size_t replica_count, int32_t *out);

#endif
