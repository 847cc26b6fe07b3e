#ifndef STORAGE_EPOCH_CACHE_H
#define STORAGE_EPOCH_CACHE_H

/* The leader epochs of one log: which epoch wrote from which offset on (KIP-101, KIP-279).
 *
 * Embedded in the log that owns it, and used on its thread; zeroed is empty. Epochs and start
 * offsets both rise strictly. Nothing here touches a disk except epoch_cache_load and
 * epoch_cache_save; the log persists an epoch with the flush that makes its first batch durable,
 * and rebuilds from the batches what a crash took. On disk: leader-epoch-checkpoint, "0", a count,
 * then "epoch startOffset" lines.
 *
 * Unlike Apache Kafka's it remembers for a while what the log start has passed: a leader then knows
 * whether a replica that ends at its log start has what was committed, though its own records of
 * that time are gone. Apache Kafka drops those entries when it opens the log. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "storage/checkpoint.h"
#include "storage/files.h"

#define EPOCH_UNDEFINED        (-1)
#define EPOCH_OFFSET_UNDEFINED (-1)
/* So many epochs that ended at or below the log start are remembered. */
#define EPOCH_HISTORY_MAX 32

struct epoch_entry {
    int32_t epoch;
    int64_t start_offset;
};

struct epoch_cache {
    struct epoch_entry *entries; /* owned; ascending */
    uint32_t count;
    uint32_t capacity;
    bool dirty; /* differs from what was last loaded or encoded; the owner may clear it */
};

/* Gives the memory back; the cache is empty again. */
void epoch_cache_free(struct epoch_cache *c);

/* The leader of `epoch` writes from start_offset on. Entries that this contradicts (a later or the
 * same epoch, or a start at or above start_offset) are dropped first. Nothing happens when the
 * newest entry has this epoch and starts no later. Both values must be >= 0. True when the cache
 * changed. */
bool epoch_cache_assign(struct epoch_cache *c, int32_t epoch, int64_t start_offset);

/* The oldest, and the newest epoch; EPOCH_UNDEFINED when empty. */
int32_t epoch_cache_earliest(const struct epoch_cache *c);
int32_t epoch_cache_latest(const struct epoch_cache *c);

/* The newest entry; {-1, -1} when empty. */
struct epoch_entry epoch_cache_newest(const struct epoch_cache *c);
/* Whether the entry is still one of them; {-1, -1} always is. */
bool epoch_cache_has(const struct epoch_cache *c, struct epoch_entry entry);

/* The epoch that wrote offset: of the last entry that starts at or below it; EPOCH_UNDEFINED when
 * none. */
int32_t epoch_cache_epoch_of(const struct epoch_cache *c, int64_t offset);

/* Where an epoch ends, as OffsetForLeaderEpoch answers it:
 *   the latest epoch             {epoch, log_end_offset}
 *   below the first known        {epoch, start of the first known}: it ended there or before
 *   between                      {largest known <= epoch, start of the next known}
 *   undefined (-1) or above the latest, or an empty cache    {-1, -1} */
struct epoch_entry epoch_cache_end_of(const struct epoch_cache *c, int32_t epoch,
                                      int64_t log_end_offset);

/* Drops the entries that start at or above end_offset. True when the cache changed. */
bool epoch_cache_truncate_from_end(struct epoch_cache *c, int64_t end_offset);

/* The log starts at start_offset: of the entries that end at or below it the newest
 * EPOCH_HISTORY_MAX stay. True when the cache changed. */
bool epoch_cache_raise_start(struct epoch_cache *c, int64_t start_offset);

void epoch_cache_clear(struct epoch_cache *c);

/* The checkpoint's text, without the epochs that start at or above end_offset: they have written
 * nothing yet, and may be lost to another leader. The caller frees out->data. */
void epoch_cache_encode(const struct epoch_cache *c, int64_t end_offset, struct bytes_mut *out);

/* Fills an empty cache from a checkpoint's text; an empty text is an empty cache. Entries that do
 * not rise are sorted out as epoch_cache_assign does, as in Apache Kafka.
 * KAFKA_STORAGE_ERROR  Malformed; the cache stays empty and *error says where. error may be
 * NULL. */
struct status epoch_cache_decode(struct epoch_cache *c, struct bytes text,
                                 struct checkpoint_error *error);

/* Blocks. As epoch_cache_decode for a file; a missing file is an empty cache. Clears dirty. */
struct status epoch_cache_load(struct epoch_cache *c, struct files *fs, const char *path,
                               struct checkpoint_error *error);

/* Blocks. Replaces the file, atomically and durably, and clears dirty. */
struct status epoch_cache_save(struct epoch_cache *c, struct files *fs, const char *path);

#endif
