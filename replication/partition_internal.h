#ifndef REPLICATION_PARTITION_INTERNAL_H
#define REPLICATION_PARTITION_INTERNAL_H

/* What the files of the partition share: partition.c, partition_lead.c, partition_follow.c,
 * partition_clean.c. */

#include "replication/partition.h"

/* A flush, a compaction or a truncation is over: what stopping or truncating waited for. */
void partition_settled(struct partition *p);

/* ---- partition.c ---- */

int64_t partition_watermark(const struct partition *p);
void partition_wake_watchers(struct partition *p);
void partition_wake_end_watchers(struct partition *p);
void partition_fail_waiters(struct partition *p, enum kerr code);
void partition_went_offline(struct partition *p, struct status why);
/* Nobody asks the disk for the age of its segments any more. */
void partition_leave_ages(struct partition *p);

/* ---- partition_lead.c ---- */

/* A new leader epoch of ours. Not while leading. */
void partition_start_leading(struct partition *p, const struct partition_assignment *a);
/* Members changed within the epoch. */
void partition_set_membership(struct partition *p, const struct isr_membership *m);
/* Also when it did not lead. Waiters stay. */
void partition_leave_leading(struct partition *p, enum partition_state state);
/* More of the log is flushed. */
void partition_own_end_moved(struct partition *p);

/* ---- partition_follow.c ---- */

/* Goes on with the truncation once nobody uses the log any more. */
void partition_truncation_step(struct partition *p);
/* While truncating: offline after that. */
void partition_truncation_fail(struct partition *p, struct status why);
/* As partition_offsets, while truncating. */
struct partition_offsets partition_truncation_offsets(const struct partition *p);

#endif
