#ifndef BROKER_COORDINATOR_GROUP_EMBEDDED_H
#define BROKER_COORDINATOR_GROUP_EMBEDDED_H

/* The bytes that consumers of the classic protocol put into JoinGroup and SyncGroup: a classic
 * group hands them on unread, but a group that becomes a consumer group, or is one with classic
 * members, has to understand them.
 *
 * They are anything until read. What is read points into them and into fx->arena. Names of topics
 * that are not in c->image have no id: they are left out of sets. */

#include "broker/coordinator/group_consumer.h"
#include "protocol/messages/client_records.h"

/* False: they are no such bytes, or of a negative version. Newer versions are read as the newest
 * known, as Kafka does. No assignment at all is an empty one. */
bool embedded_subscription(struct group_core *c, struct bytes metadata,
                           struct consumer_protocol_subscription *out);
bool embedded_assignment(struct group_core *c, struct bytes assignment,
                         struct consumer_protocol_assignment *out);

/* What a member was assigned, each partition since `epoch`; what a joining member says it has. In
 * fx->arena. False: out of memory (group_fail). */
bool embedded_assigned_set(struct group_core *c, const struct consumer_protocol_assignment *a,
                           int32_t epoch, struct held_set *out);
bool embedded_owned_set(struct group_core *c, const struct consumer_protocol_subscription *s,
                        struct held_set *out);

/* The set as a SyncGroup answer has it, in the version that the member's metadata are in; from
 * fx->arena. */
struct bytes embedded_write_assignment(struct group_core *c, const struct held_set *s,
                                       struct bytes metadata);

#endif
