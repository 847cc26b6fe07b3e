#ifndef REPLICATION_PARTITION_INTERNAL_H
#define REPLICATION_PARTITION_INTERNAL_H

/* What the files of the partition share: partition.c, partition_lead.c, partition_clean.c. */

#include "replication/partition.h"

/* One of the things that a stopping partition waited for is over. */
void partition_maybe_stopped(struct partition *p);

/* ---- partition.c ---- */

int64_t partition_watermark(const struct partition *p);
void partition_wake_watchers(struct partition *p);
void partition_wake_end_watchers(struct partition *p);
void partition_fail_waiters(struct partition *p, enum kerr code);
void partition_went_offline(struct partition *p, struct status why);

/* ---- partition_lead.c ---- */

/* A new leader epoch of ours. Not while leading. */
void partition_start_leading(struct partition *p, const struct partition_assignment *a);
/* Members changed within the epoch. */
void partition_set_membership(struct partition *p, const struct isr_membership *m);
/* Also when it did not lead. Waiters stay. */
void partition_leave_leading(struct partition *p, enum partition_state state);
/* More of the log is flushed. */
void partition_own_end_moved(struct partition *p);

#endif
