#ifndef STORAGE_LOG_COMPACTION_H
#define STORAGE_LOG_COMPACTION_H

/* Compaction of one log (cleanup.policy=compact): the newest record of each key stays, offsets
 * never change. What stays is said in log_compaction_filter.h, which part of the log in
 * log_compaction_plan.h, how segments are replaced in log_compaction_swap.c; the reasoning is in
 * NOTES-compaction.md.
 *
 *     begin [loop] → run [pool] → (adopt [loop] → run [pool])* → end [loop]
 *
 * Each run is one step of bounded size, so that others get a turn on the disk. One compaction at a
 * time per log. While it is under way the log is used as ever: appended to, read, flushed; only
 * retention waits. Cutting the log, also between two steps, aborts it. Deleting or closing the log:
 * abort first, then run until done, then end. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/log.h"
#include "storage/log_compaction_plan.h"

/* [loop] What there is to clean now; nothing when the topic's policy has no compact, or while a
 * compaction is under way. stable_end_offset: the last stable offset. Reads nothing: with min. or
 * max.compaction.lag.ms it may say times_unknown, and knows more after log_times_end. */
void log_compaction_look(struct log *l, int64_t stable_end_offset, int64_t now_ms,
                         struct compaction_range *out);

/* Asks the disk for timestamps of sealed segments that are not known since the start. Begin holds
 * references on them; NULL: all are known, or no memory. l NULL at the end: the log is gone
 * meanwhile. */
struct log_times;
struct log_times *log_times_begin(struct log *l);
struct status log_times_run(struct log_times *t); /* [pool] KAFKA_STORAGE_ERROR, CORRUPT_MESSAGE */
void log_times_end(struct log *l, struct log_times *t);

struct log_compaction_args {
    int64_t stable_end_offset;
    int64_t now_ms;
    size_t map_bytes_max; /* for keys; less is taken when the dirty part has fewer offsets */
    double map_load;      /* share of it that is filled */
    size_t buffer_bytes;  /* of batches to be written */
};

struct log_compaction;

/* [loop] Takes references on what it will read. NULL: nothing to clean, or no memory. */
struct log_compaction *log_compaction_begin(struct log *l, const struct log_compaction_args *args);

enum log_compaction_next {
    LOG_COMPACTION_RUN,   /* another step */
    LOG_COMPACTION_ADOPT, /* segments were replaced on the disk: the log is to be told */
    LOG_COMPACTION_DONE,  /* all of it, or it was aborted, or a step failed */
};

/* [pool] One step: reads about bytes_max bytes, or writes names. *next is written in each case.
 *
 * CORRUPT_MESSAGE, MESSAGE_TOO_LARGE, …  A batch cannot be read, or rewritten.   The log is as it
 *                                        was.
 * KAFKA_STORAGE_ERROR                    A file call failed. The log is as it was, unless
 * log_compaction_broke_log: then end takes it offline. */
struct status log_compaction_run(struct log_compaction *c, int64_t bytes_max,
                                 enum log_compaction_next *next);

/* [loop] The log goes on with the new segments; readers of the old ones keep them. */
void log_compaction_adopt(struct log_compaction *c);

/* [loop] The next run cleans up, and is the last. */
void log_compaction_abort(struct log_compaction *c);
bool log_compaction_aborted(const struct log_compaction *c);
/* The names of segments were being changed when a call failed. */
bool log_compaction_broke_log(const struct log_compaction *c);

struct log_compaction_stats {
    int64_t bytes_mapped; /* read to find the newest records */
    int64_t bytes_read;   /* once more, to sort them */
    int64_t bytes_written;
    int64_t records_read;
    int64_t records_written;
    int64_t start_offset; /* of the dirty part */
    int64_t end_offset;   /* clean up to here now; start_offset when it was not finished */
};
void log_compaction_stats(const struct log_compaction *c, struct log_compaction_stats *out);

/* [loop] After DONE: frees c; what is clean now counts as clean (log_cleaned_offset). result: the
 * last run's. */
void log_compaction_end(struct log *l, struct log_compaction *c, struct status result);

#endif
