#ifndef BROKER_COORDINATOR_STATE_HOME_H
#define BROKER_COORDINATOR_STATE_HOME_H

/* The node's state store: opened when the first replica of an internal topic appears, flushed now
 * and then so that a restart replays little, made anew when it is damaged, closed at the end.
 *
 *   closed --(want)--> opening --> open <--> resetting
 *                         ^          |
 *                         +-(failed, tried again: after a second, then after longer and longer)
 *
 * Lives on the control loop; what is marked [any] may be called from any thread. */

#include <stddef.h>
#include <stdint.h>

#include "storage/state_store.h"

struct node;
struct state_home;

/* The real opening, on RocksDB; struct node_env may name another. */
struct status state_home_open_rocksdb(struct node *n, const char *dir,
                                      struct state_store_report *report, struct state_store **out);

/* NULL: out of memory. */
struct state_home *state_home_create(struct node *n);
void state_home_free(struct state_home *h); /* closes it when that did not happen yet; NULL is
                                             * fine */

/* [any] A shard hosts an internal partition. Once it is open, and after each reset,
 * coordinators_store_ready is called on each shard's loop. */
void state_home_want(struct state_home *h);

/* [any] A call to the store of that generation failed: it is reset, which may take several
 * tries. */
void state_home_failed(struct state_home *h, uint64_t generation);

/* [any] So many bytes more would have to be replayed. */
void state_home_applied(struct state_home *h, size_t size);

/* The end: flushes and closes. No shard uses the store any more. stopped() runs on the control
 * loop. */
void state_home_stop(struct state_home *h, void (*stopped)(void *arg), void *arg);

#endif
