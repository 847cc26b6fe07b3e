#ifndef REPLICATION_PARTITION_CHANGE_H
#define REPLICATION_PARTITION_CHANGE_H

/* The rules by which a partition changes: who leads, who is in sync, who could lead (KIP-966).
 * Pure.
 *
 * A leader is elected from the ISR; from the ELR when the ISR is empty; the last known leader when
 * both are; and only with unclean elections from any replica alive. Replicas that leave an ISR that
 * is below the minimum go to the ELR: they have everything below the high watermark, which stands
 * still from then on.
 *
 * A change that puts the last wanted replica in sync completes the reassignment under way
 * (reassignment.h). */

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "replication/metadata_image.h"
#include "replication/metadata_record.h"
#include "replication/reassignment.h"

enum partition_election {
    ELECTION_ONLINE,    /* keep the leader if it may lead, else the next one that may */
    ELECTION_PREFERRED, /* the first replica, if it may */
    ELECTION_UNCLEAN,   /* as online, but rather lose data than have no leader */
};

struct partition_change {
    /* in */
    struct uuid topic_id;
    int32_t index;
    const struct metadata_partition *before;
    int16_t metadata_version;
    bool elr_enabled;
    int32_t min_isr; /* min.insync.replicas, no more than there are replicas */
    enum partition_election election;
    bool (*may_lead)(void *arg, int32_t id); /* where the change leaves it */
    void *arg;
    int32_t unclean_id; /* its shutdown lost data: neither in ISR nor in ELR any more; NO_LEADER:
                         * none */
    /* in: what is wanted; partition_change_init takes it from `before` */
    struct id_list isr;
    int8_t leader_recovery_state;
    struct reassignment assignment;
    const struct uuid *directories; /* one for each of assignment.replicas */
};

/* Everything as it is. The caller then fills in the rest and changes what it wants. */
void partition_change_init(struct partition_change *c, const struct metadata_partition *before);

/* The record that brings the partition there, if anything changes. Lists are in the arena, or
 * borrowed from `c`. */
bool partition_change_record(const struct partition_change *c, struct arena *a,
                             struct metadata_record *out);

#endif
