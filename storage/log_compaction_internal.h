#ifndef STORAGE_LOG_COMPACTION_INTERNAL_H
#define STORAGE_LOG_COMPACTION_INTERNAL_H

/* What log_compaction.c (steps) and log_compaction_swap.c (names) share. */

#include <stdatomic.h>

#include "storage/log_compaction.h"
#include "storage/log_compaction_filter.h"
#include "storage/log_internal.h"

/*      START → MAP → GROUP → CLEAN → ADOPT ─┐
 *                     ↑                     │ (loop)
 *                     └─────────────────────┘→ DONE                                              */
enum compaction_phase {
    COMPACTION_START, /* read what aborted, make the map */
    COMPACTION_MAP,   /* newest offset of each key of the dirty part */
    COMPACTION_GROUP, /* choose the next segments */
    COMPACTION_CLEAN, /* copy what stays of them */
    COMPACTION_ADOPT, /* new files are in place, the log does not know yet */
    COMPACTION_DONE,
};

struct compaction_source {
    struct segment *segment; /* owned reference, counted as a reader */
    int64_t size;
};

struct log_compaction {
    struct log *log;
    /* as they were when it began */
    struct log_config config;
    struct compaction_range range;
    int64_t now_ms;
    size_t map_bytes_max;
    double map_load;
    size_t buffer_bytes;
    struct compaction_producer *producers; /* owned */
    struct compaction_source *sources;     /* owned: all segments of the log */
    size_t source_count;

    /* guarded by log->names */
    enum compaction_phase phase;
    atomic_bool aborted;
    atomic_bool broke_log;

    /* the steps' own */
    size_t at;        /* the source that is read */
    int64_t position; /* in it */
    int64_t budget;   /* bytes left in this step */
    bool map_full;
    size_t map_count_max;
    int64_t map_end_offset;
    size_t clean_count;             /* sources that are cleaned: those that begin below it */
    struct txn_index_entry *aborts; /* owned: what the transaction indexes say, ascending by
                                     * first offset */
    size_t abort_count;
    struct compaction_filter filter;
    struct compression_scratch *scratch; /* owned */

    /* of the group that is cleaned: sources [group_first, group_first + group_count) */
    size_t group_first;
    size_t group_count;
    size_t group_last;       /* the last of them that has batches */
    struct segment *cleaned; /* owned: the .cleaned files; NULL between groups */
    int64_t cleaned_end;     /* offset behind its last batch */
    uint8_t *out;            /* owned: batches to be written */
    size_t out_size;
    size_t out_capacity;
    struct segment *fresh;     /* owned while in ADOPT: the same files under their names */
    struct log_doomed *doomed; /* owned, likewise: one for each source that has no successor of
                                * its name */

    struct log_compaction_stats stats;
};

/* [pool, under names] The group's .cleaned files are written and synced: they take the place of
 * their sources. */
struct status compaction_swap(struct log_compaction *c);
/* [under names] Removes the .cleaned files, if there are any. */
void compaction_discard(struct log_compaction *c);

#endif
