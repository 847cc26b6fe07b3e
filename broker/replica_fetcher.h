#ifndef BROKER_REPLICA_FETCHER_H
#define BROKER_REPLICA_FETCHER_H

/* Following over the network: for each broker that leads partitions which this shard follows, one
 * fetch at a time over the shard's transport. What is asked and what an answer means is
 * fetcher_core's, what happens to the log partition_follow's; here are the requests.
 *
 *   fetch ──> answer ──> append to every partition ──> one group commit ──> the next fetch, from
 *   the new ends on
 *
 * A fetch that waits at its leader is given up when there is another partition to ask for.
 *
 * Memory: one answer for each shard and leader, of replica.fetch.response.max.bytes or one batch
 * that is larger. It is appended from where it was received. The shard is busy with one for some
 * milliseconds at most.
 *
 * Runs on the shard. */

#include "broker/shard.h"

struct replica_fetchers;

/* NULL: out of memory. */
struct replica_fetchers *replica_fetchers_create(struct shard *s);
/* When the loop has ended. NULL is fine. */
void replica_fetchers_free(struct replica_fetchers *all);

/* The metadata said something of p, which it knows (partition_assign): follows its leader, or
 * nobody. */
void replica_fetcher_assign(struct shard *s, struct partition *p);
/* p is going, or cannot follow any more. */
void replica_fetcher_forget(struct shard *s, struct partition *p);
/* env->flushed and env->truncated of a partition that follows. */
void replica_fetcher_flushed(struct shard *s, struct partition *p);
void replica_fetcher_truncated(struct shard *s, struct partition *p);

/* The shard's image is the newer one: brokers may have moved, or be another process. */
void replica_fetchers_image_changed(struct shard *s, const struct metadata_delta *delta);

#endif
