#ifndef REPLICATION_TOPIC_NAME_H
#define REPLICATION_TOPIC_NAME_H

/* Which names a topic may have: Apache Kafka's rules. Pure. */

#include <stdbool.h>

#include "protocol/base/span.h"

#define TOPIC_NAME_BYTES_MAX                                                                       \
    249 /* leaves room for "-<partition>" and "-delete" in a folder's name */

/* Why a name is illegal, as a clause ("it is empty"); NULL when it is legal. Static text. */
const char *topic_name_error(struct str name);

/* Whether two names are one once '.' and '_' are the same, as they are in names of metrics. */
bool topic_names_collide(struct str a, struct str b);

#endif
