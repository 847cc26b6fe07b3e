#ifndef TOOLS_TRIVET_CLUSTER_H
#define TOOLS_TRIVET_CLUSTER_H

/* Several brokers as the commands see them: who coordinates a group, who leads a partition, and a
 * connection to each, opened when first needed. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"
#include "tools/trivet/client.h"

struct cluster;

/* Connects to one of `bootstrap`, and learns which brokers and topics there are. NULL, with a
 * sentence on stderr. */
struct cluster *cluster_open(const char *bootstrap);
void cluster_close(struct cluster *c); /* NULL is fine */

/* The connection to the broker that was found first. */
struct client *cluster_client(struct cluster *c);

/* The client of broker number `index` of cluster_broker_count; NULL, with a sentence on stderr. */
size_t cluster_broker_count(const struct cluster *c);
int32_t cluster_broker_id(const struct cluster *c, size_t index);
struct client *cluster_broker(struct cluster *c, size_t index);

/* The broker that coordinates a group; waits a while for one. NULL, with a sentence on stderr. */
struct client *cluster_coordinator(struct cluster *c, struct str group, int32_t *node_id);

/* How many partitions a topic has; 0: there is no such topic. */
size_t cluster_partition_count(const struct cluster *c, struct str topic);

/* One question to the leader of a partition: the offset that belongs to a timestamp (ListOffsets:
 * -1 latest, -2 earliest). */
struct offset_question {
    struct str topic;
    int32_t partition;
    int64_t timestamp;
    int16_t code;   /* answered: an error code */
    int64_t offset; /* -1: none */
};

/* Asks all of them, each leader once. False, with a sentence on stderr, when one cannot be
 * reached. */
bool cluster_list_offsets(struct cluster *c, struct arena *a, struct offset_question *questions,
                          size_t count);

#endif
