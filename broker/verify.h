#ifndef BROKER_VERIFY_H
#define BROKER_VERIFY_H

/* Checks in the background what a quick start left unchecked: the batches of a shard's logs between
 * the recovery point and the newest ones (DESIGN: recovery; storage/NOTES-recovery.md).
 *
 *     waiting --(the directory's turn)--> stepping --(pause)--> stepping … --> checked, or offline
 *
 * One log at a time in each log directory, over all shards; a few MiB a step, in the pool; after
 * each step a pause that grows with the time the step took, so that clients have the disk and the
 * pool most of the time. A damaged batch takes its partition offline, with a logged reason; its
 * directory and its neighbours go on.
 *
 * Runs on the shard's loop. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "storage/executor.h"

struct partition;
struct verify;

/* One partition. Embedded in its owner; zeroed. */
struct verify_entry {
    struct verify_entry *prev, *next;
    struct partition *partition;
    bool listed;
};

struct verify_args {
    struct loop *loop;
    struct pool *pool;
    _Atomic bool *turns; /* one a log directory, of the node: somebody is checking there.
                          * Borrowed */
    size_t dir_count;
    /* No step is under way any more, see verify_idle. Called after each step. */
    void (*idled)(void *arg);
    void *arg;
};

/* NULL: no memory. */
struct verify *verify_create(const struct verify_args *args);
/* No entry is left. A step that never came back is let go: its pool must have ended. */
void verify_free(struct verify *v);

/* The log of p was opened. Does nothing when all of it is checked. */
void verify_add(struct verify *v, struct verify_entry *e, struct partition *p);
/* The partition is about to go; fine for one that was never added. */
void verify_remove(struct verify *v, struct verify_entry *e);
/* No step is under way. */
bool verify_idle(const struct verify *v);

#endif
