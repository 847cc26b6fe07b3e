#ifndef REPLICATION_REASSIGNMENT_H
#define REPLICATION_REASSIGNMENT_H

/* A partition on its way to other brokers (KIP-455). Pure.
 *
 *   begin: the wanted replicas,            all wanted ones in sync:
 *   then those to be removed      ------>  those to be removed go
 *     ^                                       |
 *     +-- revert: those being added go <------+ (not any more, once it is complete) */

#include <stdbool.h>

#include "protocol/base/arena.h"
#include "replication/metadata_image.h"

struct reassignment {
    struct id_list replicas;
    struct id_list adding;
    struct id_list removing;
};

static inline bool reassignment_under_way(const struct metadata_partition *p)
{
    return p->adding.count > 0 || p->removing.count > 0;
}

/* Towards `target`, which has no id twice, in place of a reassignment that may be under way
 * already. Lists are in the arena or borrowed from target; false: the arena is spent. */
bool reassignment_begin(const struct metadata_partition *p, struct id_list target, struct arena *a,
                        struct reassignment *out);

/* Back to where it came from. *isr: without those being added. It is empty when only they are in
 * sync: then to revert is to lose records. False: the arena is spent. */
bool reassignment_revert(const struct metadata_partition *p, struct arena *a,
                         struct reassignment *out, struct id_list *isr);

/* Whether all that is wanted is in sync. If so, *r and *isr are without the ones to be removed. The
 * arena must have room. */
bool reassignment_complete(struct reassignment *r, struct id_list *isr, struct arena *a);

/* How many replicas the partition will have. */
size_t reassignment_target_count(const struct metadata_partition *p);

/* Those of `list` that are not in `gone`, in its order; the arena must have room. */
struct id_list id_list_without(struct id_list list, struct id_list gone, struct arena *a);

#endif
