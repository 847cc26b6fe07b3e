#ifndef BROKER_REPLICA_THROTTLE_H
#define BROKER_REPLICA_THROTTLE_H

/* How many bytes a second go to replicas that catch up, or come here for ours that do (KIP-73,
 * leader.replication.throttled.rate, follower.replication.throttled.rate). Shared by all shards of
 * a node; any thread.
 *
 * What was sent is paid for in time: the throttle is exceeded until so many bytes at that rate
 * would be through. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"

#define REPLICA_THROTTLE_NONE INT64_MAX

struct replica_throttle {
    _Atomic int64_t bytes_per_second; /* REPLICA_THROTTLE_NONE: no limit, and nothing is counted */
    _Atomic int64_t paid_us;          /* when all that was sent is paid for */
};

void replica_throttle_init(struct replica_throttle *t);
void replica_throttle_set_rate(struct replica_throttle *t, int64_t bytes_per_second);
bool replica_throttle_is_on(const struct replica_throttle *t);
bool replica_throttle_exceeded(const struct replica_throttle *t, int64_t now_us);
/* When it is worth to look again, at exceeded. */
int64_t replica_throttle_until_us(const struct replica_throttle *t, int64_t now_us);
void replica_throttle_record(struct replica_throttle *t, size_t bytes, int64_t now_us);

/* Whether a list of partition:broker pairs, or "*", names that one. NULL data: an empty list. */
bool throttled_replicas_name(struct str list, int32_t partition, int32_t broker_id);

#endif
