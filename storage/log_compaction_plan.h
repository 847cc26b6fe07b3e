#ifndef STORAGE_LOG_COMPACTION_PLAN_H
#define STORAGE_LOG_COMPACTION_PLAN_H

/* Which part of a log a compaction works on, and which segments become one: numbers in, numbers
 * out. The rules of Apache Kafka 4.4.
 *
 *      |---- clean ----|-------- dirty, cleanable --------|---- not yet ----| active |
 *      ^ log start     ^ first dirty                      ^ first uncleanable        ^ log end
 *
 * Only whole segments are cleaned; the clean ones are read again with them, to drop what the dirty
 * ones made old. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One segment, as far as a plan needs it. */
struct compaction_segment {
    int64_t base_offset;
    int64_t size;
    int64_t largest_timestamp_ms; /* with min_lag_ms > 0 */
    int64_t first_timestamp_ms;   /* of its first batch; with a max_lag_ms that can have passed */
    int64_t index_bytes;          /* the last two: for groups only */
    int64_t time_index_bytes;
};

struct compaction_range_args {
    const struct compaction_segment *segments; /* ascending, the active one last */
    size_t count;
    int64_t checkpoint; /* end of what the last compaction cleaned */
    int64_t log_start_offset;
    int64_t log_end_offset;
    int64_t stable_end_offset; /* the last stable offset */
    int64_t flushed_end_offset;
    int64_t now_ms;
    int64_t min_lag_ms; /* min.compaction.lag.ms */
    int64_t max_lag_ms; /* max.compaction.lag.ms */
};

struct compaction_range {
    int64_t first_dirty_offset;
    int64_t first_uncleanable_offset; /* where a segment begins; not below first_dirty_offset */
    int64_t clean_bytes;
    int64_t cleanable_bytes; /* of dirty segments that may be cleaned */
    bool overdue;            /* some of it has waited for max.compaction.lag.ms */
    bool times_unknown; /* the disk was not asked for some timestamps: what depends on them waits */
};

/* Whether the plan looks at timestamps at all: they may have to be read. */
bool compaction_needs_timestamps(const struct compaction_range_args *a);

void compaction_find_range(const struct compaction_range_args *a, struct compaction_range *out);

/* The dirty part's share of what would be read: what logs are compared by. 0 when there is nothing
 * to do. */
double compaction_dirty_ratio(const struct compaction_range *r);

/* Enough of it is dirty, or some of it has waited too long. */
bool compaction_is_due(const struct compaction_range *r, double min_dirty_ratio);

/* segments that become one: names of so many files change in one go */
#define COMPACTION_GROUP_MAX 32

struct compaction_group_limits {
    int64_t segment_bytes;
    int64_t index_bytes;
    int64_t end_offset; /* exclusive, of what is cleaned */
};

/* How many of the segments, from the first on, become one: at least 1. */
size_t compaction_group(const struct compaction_segment *segments, size_t count,
                        const struct compaction_group_limits *limits);

#endif
