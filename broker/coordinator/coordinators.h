#ifndef BROKER_COORDINATOR_COORDINATORS_H
#define BROKER_COORDINATOR_COORDINATORS_H

/* The group coordinators of one shard: one for each partition of __consumer_offsets that it hosts,
 * led here or not.
 *
 * All of it on the shard's loop. */

#include <stdbool.h>
#include <stdint.h>

#include "replication/partition.h"
#include "storage/state_store.h"

struct coordinator;
struct coordinators;
struct metadata_delta;
struct shard;

/* NULL: out of memory. Nothing runs before the first partition. */
struct coordinators *coordinators_create(struct shard *s);
/* The shard is ending: nothing is added any more; then coordinators_remove for each partition. */
void coordinators_stop(struct coordinators *all);
void coordinators_free(struct coordinators *all); /* NULL is fine */

/* A partition of an internal topic has its log open; from now on it is looked after (any other is
 * left alone). */
void coordinators_add(struct shard *s, struct partition *p);
/* It is about to be stopped. No-op for what was not added. */
void coordinators_remove(struct shard *s, struct partition *p);

/* The shard's image is the newer one already. */
void coordinators_image_changed(struct shard *s, const struct metadata_delta *delta);

/* The state store is open, or was reset: what was known of it no longer holds. */
void coordinators_store_ready(struct shard *s, struct state_store *store);

/* Nothing of ours is in the pool: the shard may end. */
bool coordinators_idle(const struct coordinators *all);

#endif
