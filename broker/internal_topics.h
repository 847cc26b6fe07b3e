#ifndef BROKER_INTERNAL_TOPICS_H
#define BROKER_INTERNAL_TOPICS_H

/* The topics that brokers keep for themselves: coordinators write them, clients may only read
 * them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"
#include "replication/config_defs.h"
#include "replication/controller_core.h"

#define TOPIC_CONSUMER_OFFSETS  STR("__consumer_offsets")
#define TOPIC_TRANSACTION_STATE STR("__transaction_state")
#define TOPIC_SHARE_STATE       STR("__share_group_state")

bool internal_topic_is(struct str name);

/* The partition that a group's (or transactional id's) name belongs to: Java's String.hashCode,
 * made positive as Kafka does. */
int32_t internal_topic_partition_of(struct str key, size_t partition_count);

/* What a topic that is made on demand is to look like: an internal one that this version has a
 * coordinator for as the settings say, any other one with the defaults. The name is borrowed.
 * False: the arena is spent. */
bool internal_topic_creation(const struct config_values *config, struct str name, struct arena *a,
                             struct create_topic *out);

#endif
