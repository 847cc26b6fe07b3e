#ifndef REPLICATION_PARTITION_CLEAN_H
#define REPLICATION_PARTITION_CLEAN_H

/* One compaction of a partition's log (storage/log_compaction.h) on its way through pool and loop.
 *
 *     begin ── step in the pool ──┬── (pause, so that the disk is not kept busy) ── step …
 *                                 ├── new segments adopted on the loop ── step …
 *                                 └── done
 *
 * A partition that stops, or goes offline, aborts it, and waits for the step that is under way. One
 * whose compaction failed is not tried again before it is reopened, except when the disk was
 * full. */

#include <stdbool.h>

#include "replication/partition.h"
#include "storage/log_compaction.h"

struct partition_clean_args {
    size_t map_bytes_max;
    double map_load;
    size_t buffer_bytes;
    double bytes_per_second_max; /* read and written */
    /* Once, on the loop; never from within begin. went_well: the log is cleaner now. */
    void (*done)(void *arg, bool went_well);
    void *arg;
};

/* What there is to do, when the partition can be cleaned at all. True: enough is dirty, or it has
 * waited long enough. False also when the disk has to be asked for timestamps first, which happens
 * then: look again later. */
bool partition_clean_due(struct partition *p, struct compaction_range *out);

/* False: nothing to do, done will not be called. */
bool partition_clean_begin(struct partition *p, const struct partition_clean_args *args);

/* Ends the compaction that is under way, if there is one, soon: done is called then. */
void partition_clean_abort(struct partition *p);

#endif
