#ifndef BROKER_CLEANING_H
#define BROKER_CLEANING_H

/* Decides which logs are compacted, and when, for all shards and log directories of a node: the
 * dirtiest first, at most log.cleaner.threads at a time, and when nothing is dirty enough a look
 * each log.cleaner.backoff.ms.
 *
 * A round visits the shards one after the other, each naming its dirtiest log; the dirtiest of all
 * is compacted by its own shard (replication/partition_clean.h), which tells when it is through.
 * The settings are read anew in each round, so that changes of them count without a restart. On the
 * control loop. */

#include <stdint.h>

struct cleaning;
struct node;

/* NULL: no memory. */
struct cleaning *cleaning_create(struct node *n);
/* Rounds from now on; none with log.cleaner.enable=false. */
void cleaning_start(struct cleaning *c);
/* No more are begun. What is under way ends with the partitions. */
void cleaning_stop(struct cleaning *c);
/* The loops have ended. */
void cleaning_free(struct cleaning *c);

#endif
