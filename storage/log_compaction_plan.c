#include "storage/log_compaction_plan.h"

#include "protocol/base/check.h"

bool compaction_needs_timestamps(const struct compaction_range_args *a)
{
    return a->min_lag_ms > 0 || a->now_ms > a->max_lag_ms;
}

/* Index of the segment that holds offset; the first one when it is below all. */
static size_t segment_of(const struct compaction_range_args *a, int64_t offset)
{
    size_t i = a->count - 1;

    while (i > 0 && a->segments[i].base_offset > offset)
        i--;
    return i;
}

static int64_t first_dirty(const struct compaction_range_args *a)
{
    /* A checkpoint past the log end is of a log that was cut meanwhile: nothing is sure then. */
    if (a->checkpoint < a->log_start_offset || a->checkpoint > a->log_end_offset)
        return a->log_start_offset;
    return a->checkpoint;
}

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The first offset that may not be cleaned. */
static int64_t first_uncleanable(const struct compaction_range_args *a, size_t dirty)
{
    int64_t offset = lesser(a->stable_end_offset, a->segments[a->count - 1].base_offset);

    /* Past the flushed end a restart takes a missing batch for a lost one. A segment that ends
     * right there may be part of a flush that is under way. */
    offset = lesser(offset, a->flushed_end_offset - 1);
    for (size_t i = dirty; a->min_lag_ms > 0 && i + 1 < a->count; i++)
        if (a->segments[i].largest_timestamp_ms > a->now_ms - a->min_lag_ms)
            return lesser(offset, a->segments[i].base_offset);
    return offset;
}

static bool is_overdue(const struct compaction_range_args *a, size_t dirty)
{
    for (size_t i = dirty; a->now_ms > a->max_lag_ms && i + 1 < a->count; i++)
        if (a->segments[i].first_timestamp_ms > 0 &&
            a->segments[i].first_timestamp_ms < a->now_ms - a->max_lag_ms)
            return true;
    return false;
}

void compaction_find_range(const struct compaction_range_args *a, struct compaction_range *out)
{
    size_t dirty, uncleanable;

    *out = (struct compaction_range){.first_dirty_offset = first_dirty(a)};
    out->first_uncleanable_offset = out->first_dirty_offset;
    if (a->count == 0)
        return;
    dirty = segment_of(a, out->first_dirty_offset);
    uncleanable = segment_of(a, first_uncleanable(a, dirty));
    for (size_t i = 0; i < a->count && a->segments[i].base_offset < out->first_dirty_offset; i++)
        out->clean_bytes += a->segments[i].size;
    for (size_t i = dirty; i < uncleanable; i++)
        out->cleanable_bytes += a->segments[i].size;
    if (uncleanable > dirty)
        out->first_uncleanable_offset = a->segments[uncleanable].base_offset;
    out->overdue = is_overdue(a, dirty);
}

double compaction_dirty_ratio(const struct compaction_range *r)
{
    const int64_t total = r->clean_bytes + r->cleanable_bytes;

    return total > 0 ? (double)r->cleanable_bytes / (double)total : 0;
}

bool compaction_is_due(const struct compaction_range *r, double min_dirty_ratio)
{
    return r->cleanable_bytes > 0 && (r->overdue || compaction_dirty_ratio(r) > min_dirty_ratio);
}

size_t compaction_group(const struct compaction_segment *segments, size_t count,
                        const struct compaction_group_limits *limits)
{
    int64_t size, index_bytes, time_index_bytes;
    size_t n = 1;

    CHECK(count > 0);
    size = segments[0].size;
    index_bytes = segments[0].index_bytes;
    time_index_bytes = segments[0].time_index_bytes;
    for (; n < count && n < COMPACTION_GROUP_MAX; n++) {
        const struct compaction_segment *s = &segments[n];
        const int64_t end = n + 1 < count ? s[1].base_offset : limits->end_offset;

        size += s->size;
        index_bytes += s->index_bytes;
        time_index_bytes += s->time_index_bytes;
        if (size > limits->segment_bytes || index_bytes > limits->index_bytes ||
            time_index_bytes > limits->index_bytes)
            break;
        /* Offsets in the indexes are int32, relative to the first segment's base. */
        if (s->size > 0 && end - 1 - segments[0].base_offset > INT32_MAX)
            break;
    }
    return n;
}
