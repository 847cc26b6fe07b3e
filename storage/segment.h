#ifndef STORAGE_SEGMENT_H
#define STORAGE_SEGMENT_H

/* One segment of a log: a .log file of record batches back to back, and its three indexes.
 *
 * The files are named by the base offset in 20 digits. A segment is reference counted: whoever
 * reads it keeps its bytes readable, also when the log has deleted or truncated it in the meantime.
 *
 * Threads: the log's loop (the owner) appends and changes; any thread may read below a size that it
 * got from the owner, retain and release. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "protocol/record_batch.h"
#include "storage/files.h"
#include "storage/offset_index.h"
#include "storage/time_index.h"
#include "storage/txn_index.h"

/* longest path of a file in a partition's directory, with its NUL */
#define SEGMENT_PATH_BYTES       1024
#define SEGMENT_NAME_DIGITS      20
#define SEGMENT_TIMESTAMP_UNREAD INT64_MIN
#define SEGMENT_BYTES_MAX        INT32_MAX /* positions are int32 in the offset index */

struct segment {
    atomic_int references;
    atomic_int readers; /* slices; while there are any, the files are not cut short in place */
    struct files *files;
    int64_t base_offset;
    _Atomic(struct file *) log_file; /* opened at first need */
    int64_t size;                    /* bytes of whole, valid batches: where the next one goes */
    struct offset_index offsets;
    struct time_index times;
    struct txn_index txns;
    /* Largest timestamp so far and the last offset of the first batch that has it. -1: none. */
    struct time_offset largest;
    bool largest_known;
    int64_t first_timestamp_ms; /* largest timestamp of the first batch, for segment.ms; -1:
                                 * none; SEGMENT_TIMESTAMP_UNREAD: see
                                 * segment_load_first_timestamp */
    int64_t created_ms;
    int64_t last_indexed_position; /* where the batch of the newest index entry starts; 0 at
                                    * first */
    int64_t index_written_to; /* entries of batches before this position are in the index files */
    int64_t write_out_started_to; /* for sync_start hints */
    int64_t mtime_ms;             /* when the .log file was last written, as of when it had … */
    int64_t mtime_size;           /* … this size; -1: not known */
    bool names_new;               /* directory entries not yet synced */
    atomic_bool pinned;           /* descriptors held open although the names are gone */
    char path[];                  /* of the files, without suffix */
};

/* out = path + suffix; ENAMETOOLONG when it does not fit. */
struct status segment_path(char out[SEGMENT_PATH_BYTES], const char *path, const char *suffix);

/* A segment with one reference. fresh: it has no files yet; they are made by the first append.
 * ENOMEM, ENAMETOOLONG: nothing made. */
struct status segment_new(struct files *files, const char *directory, int64_t base_offset,
                          bool fresh, struct segment **out);

/* As a fresh one, but its files are there, empty, and called .log.cleaned and so on: what
 * compaction writes. Left-overs of these names are replaced. For writing only; who renames the
 * files makes another object for reading. */
struct status segment_new_cleaned(struct files *files, const char *directory, int64_t base_offset,
                                  struct segment **out);

/* Removes the .cleaned files of a segment. */
struct status segment_remove_cleaned(struct segment *s);

/* Any thread. Release closes the files of the last reference. */
struct segment *segment_retain(struct segment *s);
void segment_release(struct segment *s);

/* Whether anybody holds more than the `known` references that the caller knows of: a flush, a
 * lookup, a reader. Nobody takes one anew of a segment that is no longer among its log's. */
bool segment_is_held_by_others(const struct segment *s, int known);

/* Whether a batch of whole size can be one of this segment, by its header: magic, and offsets that
 * its indexes can name. */
static inline bool segment_may_hold(const struct segment *s, const uint8_t *head)
{
    const int64_t base = record_batch_base_offset(head);
    const int64_t delta = record_batch_last_offset_delta(head);

    return record_batch_magic(head) == RECORD_BATCH_MAGIC && delta >= 0 && base >= s->base_offset &&
           base - s->base_offset <= INT32_MAX - delta;
}

/* The .log file, opened when it is not. Any thread; may wait for the disk the first time. */
struct status segment_log_file(struct segment *s, struct file **out);

/* Loads the three indexes. Any thread; free when done before. */
struct status segment_load_indexes(struct segment *s);
bool segment_indexes_loaded(const struct segment *s);

/* Writes whole batches at the end with one write. Size and indexes are moved on by
 * segment_note_batch, once for each of them. Nothing counts as written after a failure: the next
 * open cuts what is there. Owner. */
struct status segment_write(struct segment *s, struct bytes batches);

/* Counts one batch that lies at s->size: largest timestamp, index entries, size. `head` is its
 * header. Owner. */
struct status segment_note_batch(struct segment *s, const uint8_t *head, int64_t interval_bytes);

/* Writes the tails of the indexes to their files. Owner. */
struct status segment_write_out_indexes(struct segment *s);

/* No more appends: the last time index entry is added, tails written out and empty index files
 * made, as Apache Kafka wants to find them. Owner. */
struct status segment_seal(struct segment *s);

/* Fills `largest` from the time index and the batches behind its last entry. Owner; may wait. */
struct status segment_load_largest(struct segment *s);

/* The largest timestamp of a sealed segment, from the last entry of its time index. Any thread;
 * with `cold` it never waits, see index_file.h. */
struct status segment_sealed_largest(struct segment *s, struct time_offset *out, bool *cold);

/* Fills first_timestamp_ms from the first batch, once. Owner; may wait. */
struct status segment_load_first_timestamp(struct segment *s);

/* Makes offset and time index anew from all heads of the segment; a bad one ends them early.
 * Owner. */
struct status segment_rebuild_indexes(struct segment *s, int64_t interval_bytes);

/* Empties one of the three indexes, on the disk too. Owner; before the segment is walked from its
 * start. */
struct status segment_reset_index(struct segment *s, struct index_file *x);
/* All three, as segment_reset_index: the segment is to be walked from its start. */
struct status segment_reset_indexes(struct segment *s);

/* Cuts the segment in front of the first batch that holds `offset` or a later one; the owner has
 * made sure that there are no readers. May wait. */
struct status segment_truncate(struct segment *s, int64_t offset);

/* Holds the descriptors of all open files until the last release, since their names are about to
 * go. */
void segment_pin(struct segment *s);

/* Lets them go again: nobody reads the segment, or will. Owner. */
void segment_unpin(struct segment *s);

/* ---- walking over batches ---- */

#define SEGMENT_WALK_BLOCK_BYTES 8192

/* Visits the heads of batches in [position, limit). */
struct segment_walk {
    struct segment *segment;
    int64_t position; /* of the batch that `head` is of; after the end: limit */
    int64_t limit;
    const uint8_t *head; /* RECORD_BATCH_HEADER_BYTES bytes; NULL at the end */
    int64_t size;        /* of that batch */
    bool *cold;          /* NULL: wait for the disk */
    int64_t block_at;
    size_t block_size;
    uint8_t block[SEGMENT_WALK_BLOCK_BYTES];
};

/* Starts at `position`, where a batch starts, and reads its head.
 * CORRUPT_MESSAGE when what is there cannot be a batch of this segment that ends by limit. */
struct status segment_walk_begin(struct segment_walk *w, struct segment *s, int64_t position,
                                 int64_t limit, bool *cold);
struct status segment_walk_next(struct segment_walk *w);

/* ---- finding a range ---- */

struct segment_range {
    /* in */
    int64_t wanted_offset;
    int64_t end_offset; /* exclusive */
    int64_t max_bytes;
    bool min_one;
    int64_t limit;          /* size of the segment, from the owner */
    int64_t limit_offset;   /* the offset that follows its last batch */
    uint32_t index_entries; /* of the offset index that may be searched */
    int64_t start_position; /* of the batch with wanted_offset if known, else -1 */
    int64_t end_position;   /* of end_offset if known, else -1 */
    /* out */
    int64_t position;
    int64_t size;        /* 0: nothing below end_offset */
    int64_t base_offset; /* of the first batch */
    int64_t next_offset; /* what follows the range; -1: not known */
};

/* Whole batches from the one that holds wanted_offset up to end_offset and max_bytes. With `cold`,
 * *cold says that the answer would have had to wait for the disk. Any thread, within what
 * index_entries says. */
struct status segment_find_range(struct segment *s, struct segment_range *r, bool *cold);

#endif
