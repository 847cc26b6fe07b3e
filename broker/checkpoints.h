#ifndef BROKER_CHECKPOINTS_H
#define BROKER_CHECKPOINTS_H

/* Writes what is kept beside the logs of each directory: high watermarks, recovery points and log
 * starts now and then, the broker epoch, and the marks of a clean end.
 *
 * There are none before the node serves: the files keep what they say of logs that are not open
 * yet. A round visits the shards one after the other, each adding its partitions' offsets, and ends
 * in the pool with the files. One round at a time. On the control loop. */

#include <stdint.h>

struct checkpoints;
struct node;

struct checkpoints *checkpoints_create(struct node *n);
/* Rounds from now on, each replica.high.watermark.checkpoint.interval.ms. */
void checkpoints_start(struct checkpoints *c);
/* No more rounds by themselves. */
void checkpoints_stop(struct checkpoints *c);

/* One more round of what the shards have, after one that is under way; done() when it is on the
 * disk, at once when the node never served. */
void checkpoints_write(struct checkpoints *c, void (*done)(void *arg), void *arg);

/* A round at once, or one more right after the one under way: a name waits for it
 * (storage_dirs_release). From any thread; nothing happens while there are no rounds. */
void checkpoints_hurry(struct checkpoints *c);

/* In the pool: the epoch to be told as previous epoch after a crash, and the boot once
 * storage_dirs_recovered. */
void checkpoints_record_epoch(struct checkpoints *c, int64_t epoch);

/* In the pool: the clean-shutdown files; done() on the control loop. */
void checkpoints_end_run(struct checkpoints *c, int64_t epoch, void (*done)(void *arg), void *arg);

/* Nothing is under way. */
void checkpoints_free(struct checkpoints *c);

#endif
