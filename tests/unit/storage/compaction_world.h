#ifndef TESTS_UNIT_STORAGE_COMPACTION_WORLD_H
#define TESTS_UNIT_STORAGE_COMPACTION_WORLD_H

/* A compacted topic's log, and a memory of every record that was ever in it: what is left after
 * compactions, crashes and both is held against it. */

#include <stdbool.h>
#include <stdint.h>

#include "storage/log_compaction.h"
#include "tests/unit/storage/log_world.h"

#define WORLD_KEYS 24

/* A record as it was written; key -1: of a marker. */
struct memory_record {
    int key;
    int64_t timestamp_ms;
    uint32_t value;   /* 0: none, a tombstone */
    int16_t producer; /* of its transaction; -1: none */
    bool aborted;     /* its transaction was, */
    int64_t marker;   /* by the marker at this offset; -1: not decided yet */
};

struct memory {
    struct memory_record *records; /* by offset; whatever lies past the log's end is forgotten
                                    * there */
    int64_t count;
    int64_t capacity;
};

/* One record to be written. */
struct keyed {
    int key;
    uint32_t value; /* 0: a tombstone */
};

struct compaction_world {
    struct log_world w;
    struct memory memory;
    struct log_compaction_args args;
    int64_t step_bytes;
    struct log_compaction_stats stats; /* of the last compaction */
    uint32_t next_value;
};

void compaction_begin(struct compaction_world *c);
void compaction_end(struct compaction_world *c);

/* Appends one batch of keyed records; fails quietly when the log does. */
struct status keyed_append(struct compaction_world *c, const struct keyed *records, int count,
                           const struct record_batch_head *head);
void keyed_put(struct compaction_world *c, int key, uint32_t value);
/* The records of the producer's open transaction are decided by it. */
struct status marker_append(struct compaction_world *c, int64_t producer_id, int16_t epoch,
                            bool abort);
/* Starts a new segment at the log end; it gets one record of the key so that it is not empty. */
void keyed_roll(struct compaction_world *c, int key);

/* Runs one compaction to its end, or to where a call fails. False: there was nothing to clean. */
bool compact(struct compaction_world *c, struct status *result);
void compact_all(struct compaction_world *c); /* asserts that it went well */

/* Every record in the log is as it was written, offsets rise, and of each key the last committed
 * value is the one that was written last, below the log end. */
void check_log(struct compaction_world *c);
/* What was written from `from` on and is not in the log was lost with the machine: it never was,
 * and what a lost marker decided is open again. (A crash may lose the end of a segment and keep the
 * next one: see NOTES-recovery.md.) */
void forget_lost(struct compaction_world *c, int64_t from);
/* Whether a transaction of the producer is open, as the memory has it. */
bool transaction_open(const struct compaction_world *c, int64_t producer_id);
/* Records of the log with the key, tombstones too. */
int count_key(struct compaction_world *c, int key);
/* Value of the record at offset: -1 there is none. */
int64_t value_at(struct compaction_world *c, int64_t offset);
/* The batch that holds or follows offset, whole; free() it. */
struct bytes_mut batch_at(struct compaction_world *c, int64_t offset);

#endif
