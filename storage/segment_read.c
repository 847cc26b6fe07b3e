/* Walking over the batches of a segment, and finding ranges of them. */
#include <errno.h>

#include "protocol/base/check.h"
#include "storage/segment.h"

/* Makes the head at w->position visible in the block. */
static struct status walk_fill(struct segment_walk *w)
{
    struct files *files = w->segment->files;
    const int64_t left = w->limit - w->position;
    const size_t want = left < SEGMENT_WALK_BLOCK_BYTES ? (size_t)left : SEGMENT_WALK_BLOCK_BYTES;
    struct file *f;
    struct status st;

    if (w->position >= w->block_at &&
        w->position + RECORD_BATCH_HEADER_BYTES <= w->block_at + (int64_t)w->block_size)
        return STATUS_OK;
    if (w->cold && !atomic_load_explicit(&w->segment->log_file, memory_order_acquire)) {
        *w->cold = true; /* opening it may have to wait */
        return STATUS_OK;
    }
    st = segment_log_file(w->segment, &f);
    if (status_failed(st))
        return st;
    if (w->cold)
        st =
            files->ops->read_nowait(files, f, w->block, want, w->position, &w->block_size, w->cold);
    else
        st = files->ops->read(files, f, w->block, want, w->position, &w->block_size);
    w->block_at = w->position;
    if (status_failed(st) || (w->cold && *w->cold))
        w->block_size = 0;
    return st;
}

static struct status walk_read_head(struct segment_walk *w)
{
    struct status st;

    w->head = NULL;
    w->size = 0;
    if (w->position >= w->limit)
        return STATUS_OK;
    if (w->limit - w->position < RECORD_BATCH_HEADER_BYTES)
        return status_error(KERR_CORRUPT_MESSAGE,
                            "less than a batch header at the end of a segment");
    st = walk_fill(w);
    if (status_failed(st) || (w->cold && *w->cold))
        return st;
    if (w->position + RECORD_BATCH_HEADER_BYTES > w->block_at + (int64_t)w->block_size)
        return status_error(KERR_CORRUPT_MESSAGE, "segment file is shorter than its log");
    w->head = w->block + (w->position - w->block_at);
    w->size = record_batch_size_bytes(w->head);
    if (w->size < RECORD_BATCH_HEADER_BYTES || w->size > w->limit - w->position ||
        !segment_may_hold(w->segment, w->head)) {
        w->head = NULL;
        return status_error(KERR_CORRUPT_MESSAGE, "no record batch where one should start");
    }
    return STATUS_OK;
}

struct status segment_walk_begin(struct segment_walk *w, struct segment *s, int64_t position,
                                 int64_t limit, bool *cold)
{
    w->segment = s;
    w->position = position;
    w->limit = limit;
    w->cold = cold;
    w->block_at = 0;
    w->block_size = 0;
    if (cold)
        *cold = false;
    return walk_read_head(w);
}

struct status segment_walk_next(struct segment_walk *w)
{
    CHECK(w->head);
    w->position += w->size;
    return walk_read_head(w);
}

/* Starts where an index entry points. An entry that points at no batch, or at another one than it
 * names, is not of this file: the walk then starts at the beginning, which is slow but right. */
static struct status walk_from_entry(struct segment_walk *w, struct segment *s,
                                     struct offset_position entry, int64_t limit, bool *cold)
{
    struct status st = segment_walk_begin(w, s, entry.position, limit, cold);

    if (entry.position == 0 || (cold && *cold) ||
        (status_failed(st) && st.code != KERR_CORRUPT_MESSAGE) ||
        (w->head && record_batch_last_offset(w->head) == entry.offset))
        return st;
    return segment_walk_begin(w, s, 0, limit, cold);
}

/* Moves on to the first batch for which `past` is true. */
static struct status walk_until(struct segment_walk *w,
                                bool (*past)(const struct segment_walk *w, int64_t limit),
                                int64_t limit)
{
    while (w->head && !past(w, limit)) {
        struct status st = segment_walk_next(w);

        if (status_failed(st))
            return st;
    }
    return STATUS_OK;
}

static bool reaches_offset(const struct segment_walk *w, int64_t offset)
{
    return record_batch_last_offset(w->head) >= offset;
}

static bool ends_past_position(const struct segment_walk *w, int64_t position)
{
    return w->position + w->size > position;
}

static bool is_cold(const bool *cold)
{
    return cold && *cold;
}

static struct status find_start(struct segment *s, struct segment_range *r, struct segment_walk *w,
                                bool *cold)
{
    struct offset_position from;
    struct status st;

    r->position = r->start_position;
    r->base_offset = r->wanted_offset;
    if (r->start_position >= 0)
        return STATUS_OK;
    st = offset_index_lookup(&s->offsets, r->index_entries, r->wanted_offset, &from, cold);
    if (status_failed(st) || is_cold(cold))
        return st;
    st = walk_from_entry(w, s, from, r->limit, cold);
    if (!status_failed(st) && !is_cold(cold))
        st = walk_until(w, reaches_offset, r->wanted_offset);
    if (status_failed(st) || is_cold(cold))
        return st;
    r->position = w->position;
    r->base_offset = w->head ? record_batch_base_offset(w->head) : r->limit_offset;
    return STATUS_OK;
}

/* Where the last batch ends that lies wholly below end_offset. */
static struct status find_end(struct segment *s, struct segment_range *r, struct segment_walk *w,
                              int64_t *end, bool *cold)
{
    struct offset_position from;
    struct status st;

    *end = r->limit;
    r->next_offset = r->limit_offset;
    if (r->end_offset >= r->limit_offset)
        return STATUS_OK;
    r->next_offset = r->end_offset;
    *end = r->end_position;
    if (r->end_position >= 0)
        return STATUS_OK;
    st = offset_index_lookup(&s->offsets, r->index_entries, r->end_offset, &from, cold);
    if (status_failed(st) || is_cold(cold))
        return st;
    if (from.position > r->position)
        st = walk_from_entry(w, s, from, r->limit, cold);
    else
        st = segment_walk_begin(w, s, r->position, r->limit, cold);
    if (!status_failed(st) && !is_cold(cold))
        st = walk_until(w, reaches_offset, r->end_offset);
    if (status_failed(st) || is_cold(cold))
        return st;
    *end = w->position;
    r->next_offset = w->head ? record_batch_base_offset(w->head) : r->limit_offset;
    return STATUS_OK;
}

/* The last batch end within max_bytes; past the first batch with min_one. */
static struct status limit_size(struct segment *s, struct segment_range *r, struct segment_walk *w,
                                int64_t end, bool *cold)
{
    const int64_t most = r->position + r->max_bytes;
    struct offset_position from;
    struct status st =
        offset_index_lookup_position(&s->offsets, r->index_entries, most, &from, cold);

    if (status_failed(st) || is_cold(cold))
        return st;
    if (from.position > r->position && from.position < end)
        st = walk_from_entry(w, s, from, end, cold);
    else
        st = segment_walk_begin(w, s, r->position, end, cold);
    if (!status_failed(st) && !is_cold(cold))
        st = walk_until(w, ends_past_position, most);
    if (!status_failed(st) && !is_cold(cold) && w->position == r->position && w->head && r->min_one)
        st = segment_walk_next(w);
    if (status_failed(st) || is_cold(cold))
        return st;
    r->size = w->position - r->position;
    if (w->head)
        r->next_offset = record_batch_base_offset(w->head);
    return STATUS_OK;
}

struct status segment_find_range(struct segment *s, struct segment_range *r, bool *cold)
{
    struct segment_walk w;
    int64_t end = 0;
    struct status st;

    r->size = 0;
    r->next_offset = -1;
    if (cold)
        *cold = false;
    st = find_start(s, r, &w, cold);
    if (status_failed(st) || is_cold(cold) || r->position >= r->limit)
        return st;
    st = find_end(s, r, &w, &end, cold);
    if (status_failed(st) || is_cold(cold) || end <= r->position)
        return st;
    r->size = end - r->position;
    if (r->size <= r->max_bytes)
        return STATUS_OK;
    return limit_size(s, r, &w, end, cold);
}
