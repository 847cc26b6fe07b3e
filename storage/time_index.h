#ifndef STORAGE_TIME_INDEX_H
#define STORAGE_TIME_INDEX_H

/* The .timeindex file of a segment: from timestamps to offsets.
 *
 * Entries of 12 bytes: int64 timestamp, int32 offset relative to the base; timestamps rise, offsets
 * do not fall. An entry (t, o) says: no record above t lies at or below offset o of this segment,
 * and the batch that ends at o holds t. Added with an offset index entry when the largest timestamp
 * so far has grown since the last one, and once more when the segment is rolled or closed.
 *
 * Threads, errors and the meaning of `cold`: index_file.h. */

#include "storage/index_file.h"

#define TIME_INDEX_ENTRY_BYTES 12

struct time_index {
    struct index_file file;
    int64_t base_offset;
    int64_t last_timestamp_ms; /* of the newest entry; -1: none. Valid once time_index_last was
                                * called */
};

struct time_offset {
    int64_t timestamp_ms; /* -1 in front of the first entry */
    int64_t offset;
};

void time_index_init(struct time_index *x, struct files *files, const char *path,
                     int64_t base_offset, bool fresh);

/* Newest entry, or {-1, base_offset} of an empty index. Owner; loaded. */
struct status time_index_last(struct time_index *x, struct time_offset *out, bool *cold);

/* Adds the entry if its timestamp is above the newest one's. Owner; loaded, last was called. */
struct status time_index_maybe_append(struct time_index *x, struct time_offset entry);

/* The last of the first `limit` entries with a timestamp at most the one asked for, or {-1,
 * base}. */
struct status time_index_lookup(struct time_index *x, uint32_t limit, int64_t timestamp_ms,
                                struct time_offset *out, bool *cold);

/* Drops the entries at or above offset. Owner; loaded. */
struct status time_index_truncate(struct time_index *x, int64_t offset);

/* CORRUPT_MESSAGE when first and newest entry cannot both be right. */
struct status time_index_check(struct time_index *x);

#endif
