#ifndef BROKER_COORDINATOR_ASSIGNOR_H
#define BROKER_COORDINATOR_ASSIGNOR_H

/* Server-side assignors of consumer groups (KIP-848): who gets which partitions. Pure.
 *
 *   range    each topic's partitions in runs, in the order of the members: static ones by
 *            instance id, then the others by member id. Members with the same subscription get
 *            the same indexes of each topic, so topics with equally many partitions are
 *            co-partitioned. Sticky only in the order of static members.
 *   uniform  as even as the subscriptions allow, and moving as few partitions as possible away
 *            from who has them now.
 *
 * Both give what those of Apache Kafka 4.4 give for the same order of members and topics
 * (tests/vectors/group-4.4.txt). Like them they do not look at racks: Kafka 4 hands racks to its
 * assignors, and neither of the two uses them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"
#include "protocol/base/uuid.h"

#define ASSIGNOR_NOBODY (-1)

struct assignor_topic {
    struct uuid id;
    int32_t partition_count;
    /* By partition, an index into the members. In: whose it was until now, ASSIGNOR_NOBODY for a
     * new partition and for one whose member is gone. Out: whose it shall be; ASSIGNOR_NOBODY only
     * when nobody subscribes the topic. */
    int32_t *owners;
};

struct assignor_member {
    struct str member_id, instance_id /* null: dynamic */;
    const uint32_t *topics; /* indexes of the topics subscribed to, rising */
    size_t topic_count;
};

struct assignor_problem {
    struct assignor_topic *topics; /* ties are broken in favour of the first ones */
    size_t topic_count;
    const struct assignor_member *members; /* likewise */
    size_t member_count;                   /* at most INT32_MAX */
};

struct assignor {
    struct str name;
    /* False: scratch is spent, and the owners are undefined. */
    bool (*assign)(const struct assignor_problem *p, struct arena *scratch);
};

/* NULL: no assignor of that name. */
const struct assignor *assignor_find(struct str name);

/* What is in the table of assignor_find, for it and for tests. */
bool assignor_range(const struct assignor_problem *p, struct arena *scratch);
bool assignor_uniform(const struct assignor_problem *p, struct arena *scratch);

#endif
