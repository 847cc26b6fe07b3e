#ifndef BROKER_CLOSEST_REPLICA_H
#define BROKER_CLOSEST_REPLICA_H

/* Where a consumer should read a partition that is led here (KIP-392, replica.selector.class). Runs
 * on the shard that owns the partition. */

#include <stdint.h>

#include "broker/shard.h"
#include "protocol/base/span.h"

/* A follower in the consumer's rack, in sync, alive on the consumer's listener, and with the wanted
 * offset in its log: of several the most caught up one. -1: the leader itself will do, or nobody
 * else can. */
int32_t closest_replica(const struct shard *s, const struct partition *p, int64_t offset,
                        struct str rack, struct str listener);

#endif
