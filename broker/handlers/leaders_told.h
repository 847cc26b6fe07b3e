#ifndef BROKER_HANDLERS_LEADERS_TOLD_H
#define BROKER_HANDLERS_LEADERS_TOLD_H

/* Who leads, beside the errors that say that this broker does not (KIP-951): clients go there
 * without asking for metadata first. */

#include <stddef.h>
#include <stdint.h>

#include "protocol/base/uuid.h"
#include "replication/metadata_image.h"

struct request;

/* A partition, and who leads it as far as its shard knows; -1: it is not hosted here. */
struct leaders_of {
    struct uuid topic_id;
    int32_t index;
    int32_t *leader_id;
    int32_t *leader_epoch;
};

/* The leaders that one answer names, each once, and where they listen for who asks. Zeroed at
 * first. */
struct leaders_told {
    struct leader_told {
        const struct metadata_broker *broker;
        const struct metadata_listener *listener;
    } * all; /* in the request's arena; NULL as long as there is none */
    size_t count;
};

/* Adds who leads the partition: leader_id with its epoch as its shard has them, or, where it is not
 * hosted here (-1), what the image says, which is then put there. A broker that the image does not
 * have, or that has no such listener, is not added; nor is anything when the arena is spent: the
 * client asks for metadata then. */
void leaders_told_add(struct leaders_told *l, struct request *rq, const struct leaders_of *of);

#endif
