#ifndef TOOLS_TRIVET_REASSIGN_PLAN_H
#define TOOLS_TRIVET_REASSIGN_PLAN_H

/* Where partitions are to go. Pure: from a layout to wanted replicas, with as few moves as it
 * takes.
 *
 * New replicas go to zones that the partition is not in, then to the broker with the fewest;
 * replicas that may stay stay, in their order; the leader stays the first where it can. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "tools/trivet/layout.h"

struct reassign_wish {
    struct id_list to;         /* exactly these; empty: chosen by the rest */
    size_t replication_factor; /* 0: as it is */
    struct id_list away_from;  /* brokers that are to have none of it */
};

/* What one partition is to be moved to. */
struct planned_move {
    const struct layout_partition *partition;
    struct id_list to; /* in the arena, or borrowed from the wish */
};

/* Plans the partitions chosen[0..count), in their order; those that are fine already are left out.
 * Only brokers that are alive get new replicas. False: it cannot be done; *why says it as a
 * sentence with the partition (static, or in the arena). */
bool reassign_plan(const struct layout *l, const struct layout_partition *const *chosen,
                   size_t count, const struct reassign_wish *wish, struct arena *a,
                   struct planned_move **out, size_t *out_count, const char **why);

#endif
