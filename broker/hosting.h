#ifndef BROKER_HOSTING_H
#define BROKER_HOSTING_H

/* The partitions a shard hosts: makes them when the metadata says so, opens their logs, tells them
 * who leads, lets them go, and keeps them up (retention, checkpoints).
 *
 * A partition whose folder exists is opened in the pool, many in one job; a new one at once: there
 * is nothing to read. Runs on the shard. */

#include "broker/shard.h"
#include "storage/log_dir.h"

/* Fills the shard's partition_env. */
void hosting_init(struct shard *s);

/* Follows the metadata. The shard's image is the newer one already. */
void hosting_image_changed(struct shard *s, const struct metadata_delta *delta);

/* Every partition of the shard, the removed and the opening ones too. */
void hosting_each(struct shard *s, void (*visit)(struct partition *p));

/* What could not be done with partitions of that topic for want of memory, or of a folder's name
 * that is still taken, is tried again soon. */
void hosting_look_again(struct shard *s, struct uuid topic_id);

/* The shard is about to be freed, its loop has ended. */
void hosting_free(struct shard *s);

/* Rolls, retires and deletes segments of every log. */
void hosting_maintain(struct shard *s);

/* Adds every partition's offsets to the maps of its directory: maps[directory][enum
 * log_dir_checkpoint]. */
void hosting_checkpoint(struct shard *s, struct offset_map (*maps)[LOG_DIR_CHECKPOINT_COUNT]);

/* The partition whose log has the largest dirty part, of those that are due for a compaction; NULL:
 * none is. */
struct partition *hosting_dirtiest(struct shard *s, double *ratio);

/* A log directory failed: all of its partitions here go offline. */
void hosting_fail_dir(struct shard *s, size_t dir, struct status why);

/* The shard's part of the end may be over: to be called when anything that it waits for is done. */
void hosting_maybe_emptied(struct shard *s);

/* The end: stops all partitions and closes their logs in the pool; s->emptied is called when all
 * are, or, of a clean end with many dirty logs, handed to the node's `closing`. */
void hosting_close_all(struct shard *s, bool clean);

#endif
