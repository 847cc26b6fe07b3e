#ifndef STORAGE_TXN_INDEX_H
#define STORAGE_TXN_INDEX_H

/* The .txnindex file of a segment: aborted transactions whose marker lies in the segment.
 *
 * Entries of 34 bytes: int16 version 0, int64 producer id, first offset, last offset (the
 * marker's), last stable offset when the marker was written; last offsets rise. No file when there
 * is none.
 *
 * Threads, errors and the meaning of `cold`: index_file.h. */

#include "storage/index_file.h"

#define TXN_INDEX_ENTRY_BYTES 34

struct txn_index {
    struct index_file file;
};

struct txn_index_entry {
    int64_t producer_id;
    int64_t first_offset;
    int64_t last_offset;
    int64_t last_stable_offset;
};

void txn_index_init(struct txn_index *x, struct files *files, const char *path, bool fresh);

/* entry->last_offset is above the newest one's. Owner; loaded. */
struct status txn_index_append(struct txn_index *x, const struct txn_index_entry *entry);

/* CORRUPT_MESSAGE for an entry of an unknown version. Owner, or slot in the file; loaded. */
struct status txn_index_get(struct txn_index *x, uint32_t slot, struct txn_index_entry *out);

/* Drops the entries whose marker is at or above offset. Owner; loaded. */
struct status txn_index_truncate(struct txn_index *x, int64_t offset);

/* CORRUPT_MESSAGE when an entry is of an unknown version, or not of this segment or order. */
struct status txn_index_check(struct txn_index *x, int64_t base_offset);

#endif
