#ifndef REPLICATION_PARTITION_FOLLOW_H
#define REPLICATION_PARTITION_FOLLOW_H

/* Following: what a partition does with what its leader sent. fetcher_core.h decides what is asked
 * for; partition.h has the states. Runs on the shard that owns the partition. */

#include "replication/partition.h"

struct fetcher_position partition_follow_position(const struct partition *p);

/* Whether a fetch may say that all of the log is on the disk: with log.flush.before.ack it is, else
 * nobody asks. No: a flush is asked for, env->flushed follows. */
bool partition_follow_flushed(struct partition *p);

/* Appends what the leader sent to a partition that follows: whole batches, as they are. Half a
 * batch at the end is left out.
 *
 * CORRUPT_MESSAGE      A length, a CRC, an epoch beyond the leader's.        Nothing appended.
 * OFFSET_OUT_OF_RANGE  The batches do not follow our log end.                Nothing appended.
 * KAFKA_STORAGE_ERROR  The write failed; the partition is offline. */
struct status partition_follow_append(struct partition *p, struct bytes_mut records);

/* The leader's high watermark and log start offset, after its records were appended: ours go as far
 * as our log does, and never back. Wakes those who watch. A failed write takes the partition
 * offline. */
void partition_follow_offsets(struct partition *p, int64_t high_watermark, int64_t start_offset);

/* Cuts the log in the pool, as soon as no flush and no compaction uses it; env->truncated follows,
 * unless the partition is being stopped. The high watermark goes back with the end, which is
 * logged: it should not happen. False: no memory, nothing done. */
bool partition_truncate(struct partition *p, const struct fetcher_cut *cut);

#endif
