#ifndef STORAGE_OFFSET_INDEX_H
#define STORAGE_OFFSET_INDEX_H

/* The .index file of a segment: from offsets to positions in the .log file.
 *
 * Entries of 8 bytes: offset relative to the segment's base, position; both big-endian int32 and
 * both rising. Each names one batch: its last offset, and where it starts. Sparse: a batch gets an
 * entry when more than index.interval.bytes lie between its start and that of the last one with an
 * entry.
 *
 * Threads, errors and the meaning of `cold`: index_file.h. */

#include "storage/index_file.h"

#define OFFSET_INDEX_ENTRY_BYTES 8

struct offset_index {
    struct index_file file;
    int64_t base_offset;
};

struct offset_position {
    int64_t offset;   /* last offset of a batch; the base offset in front of the first entry */
    int64_t position; /* where that batch starts */
};

void offset_index_init(struct offset_index *x, struct files *files, const char *path,
                       int64_t base_offset, bool fresh);

/* Newest entry, or {base_offset, 0} of an empty index. Owner; loaded. */
struct status offset_index_last(struct offset_index *x, struct offset_position *out, bool *cold);

/* offset must be above the newest entry's and at most INT32_MAX above the base; position
 * likewise. */
struct status offset_index_append(struct offset_index *x, struct offset_position entry);

/* The last of the first `limit` entries with an offset (position) at most the one asked for;
 * without one {base_offset, 0}: from there on a reader scans batches. */
struct status offset_index_lookup(struct offset_index *x, uint32_t limit, int64_t offset,
                                  struct offset_position *out, bool *cold);
struct status offset_index_lookup_position(struct offset_index *x, uint32_t limit, int64_t position,
                                           struct offset_position *out, bool *cold);

/* Drops the entries at or above offset. Owner; loaded. */
struct status offset_index_truncate(struct offset_index *x, int64_t offset);

/* Why the entries cannot be of a .log file of log_size bytes, or NULL. Looks at the newest one. */
struct status offset_index_check(struct offset_index *x, int64_t log_size);

#endif
