#ifndef STORAGE_INDEX_FILE_H
#define STORAGE_INDEX_FILE_H

/* What the three indexes of a segment share: a file of fixed-size big-endian entries that only
 * grows, and the newest entries in memory until they are written out in one go.
 *
 *      entries in the file [0, file_entries)      | tail in memory [file_entries, count)
 *
 * The file is as long as its entries: nothing is preallocated or mapped. One that Apache Kafka left
 * preallocated (after a crash) is read up to its zero padding, and cut there before the first
 * append.
 *
 * Threads: one owner appends, writes out and truncates. Any thread may load and search the part in
 * the file, up to a count it took from the owner; the tail is the owner's (or guarded by the
 * caller). */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/status.h"
#include "storage/files.h"

#define INDEX_ENTRY_BYTES_MAX 34 /* of the transaction index */

/* What an index is searched by. */
typedef int64_t index_key(const uint8_t *entry);

struct index_file {
    struct files *files;
    const char *path;   /* of the segment, without suffix; borrowed for the life of the index */
    const char *suffix; /* static, ".index" and so on */
    _Atomic(struct file *) file; /* opened at first need */
    atomic_uint_least32_t file_entries;
    atomic_bool loaded;
    atomic_bool padded; /* zeros behind the entries, to be cut before an append */
    uint8_t *tail;
    uint32_t tail_count;
    uint32_t tail_capacity;
    uint8_t entry_bytes;
};

/* An index that knows nothing yet; no file is touched. fresh: the segment is new, so there is no
 * file. */
void index_file_init(struct index_file *x, struct files *files, const char *path,
                     const char *suffix, uint8_t entry_bytes, bool fresh);

/* Frees memory and closes the file; the tail is lost unless it was written out. */
void index_file_close(struct index_file *x);

/* Opens the file (a missing one counts as empty) and counts its entries. Any thread; may wait for
 * the disk the first time, free afterwards. CORRUPT_MESSAGE when its size is not whole entries. */
struct status index_file_load(struct index_file *x);

/* Entries in file and tail. Owner; loaded. */
uint32_t index_file_count(const struct index_file *x);

/* Copies entry `slot` to entry[entry_bytes]. cold NULL: waits for the disk; else *cold says that
 * nothing was read because it would have had to. Owner; loaded. */
struct status index_file_entry(struct index_file *x, uint32_t slot, uint8_t *entry, bool *cold);

/* The last of the first `limit` entries whose key is at most target; *slot = -1 when there is none.
 * Keys must not fall. limit at most file_entries unless called by the owner. cold as above. */
struct status index_file_floor(struct index_file *x, uint32_t limit, index_key *key, int64_t target,
                               int64_t *slot, uint8_t *entry, bool *cold);

/* Adds one entry to the tail; writes the tail out when it is full. Owner; loaded. */
struct status index_file_append(struct index_file *x, const uint8_t *entry);

/* Writes the tail to the file (which is made when missing). Not synced. Owner; loaded. */
struct status index_file_write_out(struct index_file *x);

/* Keeps the first `count` entries. Owner; loaded. */
struct status index_file_truncate(struct index_file *x, uint32_t count);

#endif
