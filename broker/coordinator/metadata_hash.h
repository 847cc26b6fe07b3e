#ifndef BROKER_COORDINATOR_METADATA_HASH_H
#define BROKER_COORDINATOR_METADATA_HASH_H

/* The hash of what a group's assignment depends on (KIP-1101): ids, names, partition counts and
 * racks of the topics it subscribes. It stands in the group's records, so it is to the bit the one
 * of Apache Kafka 4.4: either broker takes over the other's groups without a rebalance. */

#include <stddef.h>
#include <stdint.h>

#include "replication/metadata_image.h"

/* Of one topic of the image. 0: out of memory (as likely as any other value otherwise). */
uint64_t metadata_hash_topic(const struct metadata_image *image,
                             const struct metadata_topic *topic);

/* Of a group whose topics have these hashes, in rising order of their names. 0 for none. */
uint64_t metadata_hash_group(const uint64_t *topic_hashes, size_t count);

#endif
