#ifndef STORAGE_STATE_STORE_SIM_H
#define STORAGE_STATE_STORE_SIM_H

/* The state store in memory, for simulations: after a crash it is what it was after some earlier
 * whole batch that a seed chooses, but not one from before the last flush; calls that may not wait
 * are told so by chance; calls fail on demand. Same seed, same calls: same answers. Unlike a real
 * one it is for one thread at a time. */

#include "storage/state_store.h"

struct state_store_sim_options {
    uint64_t seed;
    unsigned would_block_per_mille; /* of the calls that may not wait: how many are told that
                                     * they would */
    /* state_store_close is about to forget everything, which is its flush; may be NULL. */
    void (*closing)(void *arg, struct state_store *s);
    void *arg;
};

/* NULL: out of memory. Freed by state_store_close. */
struct state_store *state_store_sim_create(const struct state_store_sim_options *options);

void state_store_sim_set_would_block(struct state_store *s, unsigned per_mille);

/* The process dies and starts again: batches that were not flushed are lost from some point on. All
 * batches made before are refused, as after a reset. Returns how many committed batches are left
 * since the last flush. */
size_t state_store_sim_crash(struct state_store *s);

/* Batches committed since the last flush: the most that a crash can lose. */
size_t state_store_sim_unflushed(struct state_store *s);

/* All that is in the store, as bytes for state_store_sim_load: what a disk keeps between two
 * processes. malloc'd, the caller frees it; {NULL, 0}: nothing is in it. */
struct bytes_mut state_store_sim_save(struct state_store *s);

/* Fills a store that is empty, as if all had been flushed before. */
void state_store_sim_load(struct state_store *s, struct bytes saved);

/* The directory is gone: everything is, as after a crash. */
void state_store_sim_lose(struct state_store *s);

/* The call after `calls` more, and all after it until a reset, fail with KAFKA_STORAGE_ERROR;
 * `damage` says whether the store is found damaged by it, so that the reset empties it. */
void state_store_sim_fail_after(struct state_store *s, uint64_t calls, bool damage);

/* Overwrites the value of a key without a batch, as a disk that lies would. False: no such key. */
bool state_store_sim_corrupt(struct state_store *s, enum state_family family, struct bytes key,
                             struct bytes value);

#endif
