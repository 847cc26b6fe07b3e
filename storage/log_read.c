/* Reading by offset: finding ranges of bytes, and the slices that keep them readable. */
#include <errno.h>

#include "protocol/base/check.h"
#include "storage/log_internal.h"

#define PROBE_STEP_BYTES (128 * 1024) /* read-ahead brings in at least so much at a time */

static void hint_position(const struct log_hint *ring, uint8_t count, int64_t segment_base,
                          int64_t offset, int64_t *position)
{
    const struct log_hint *h = log_find_hint(ring, count, offset);

    if (h && h->segment_base == segment_base)
        *position = h->position;
}

static struct segment_range range_of(const struct log *l, size_t index, int64_t wanted,
                                     const struct log_read_args *args)
{
    const struct segment *s = l->segments[index];
    const bool active = index + 1 == l->segment_count;
    struct segment_range r = {
        .wanted_offset = wanted,
        .end_offset = args->end_offset < l->end_offset ? args->end_offset : l->end_offset,
        .max_bytes = args->max_bytes > INT32_MAX ? INT32_MAX : (int64_t)args->max_bytes,
        .min_one = args->min_one,
        .limit = s->size,
        .limit_offset = active ? l->end_offset : l->segments[index + 1]->base_offset,
        .index_entries = index_file_count(&s->offsets.file),
        .start_position = -1,
        .end_position = -1,
    };

    hint_position(l->read_hints, LOG_READ_HINTS, s->base_offset, wanted, &r.start_position);
    hint_position(l->end_hints, LOG_END_HINTS, s->base_offset, r.end_offset, &r.end_position);
    if (wanted == s->base_offset)
        r.start_position = 0;
    return r;
}

static void remember(struct log *l, const struct segment *s, const struct segment_range *r)
{
    if (r->next_offset >= 0 && !log_find_hint(l->read_hints, LOG_READ_HINTS, r->next_offset))
        log_add_hint(l->read_hints, LOG_READ_HINTS, &l->read_hint_next,
                     (struct log_hint){s->base_offset, r->next_offset, r->position + r->size});
}

static void fill_slice(struct log_slice *out, struct segment *s, const struct segment_range *r,
                       bool cold)
{
    out->segment = segment_retain(s);
    atomic_fetch_add(&s->readers, 1);
    out->position = r->position;
    out->size = cold ? 0 : (size_t)r->size;
    out->base_offset = r->base_offset;
    out->cold = cold;
    out->wanted_offset = r->wanted_offset;
    out->end_offset = r->end_offset;
    out->max_bytes = (size_t)r->max_bytes;
    out->min_one = r->min_one;
    out->limit = r->limit;
    out->limit_offset = r->limit_offset;
    out->index_entries = atomic_load(&s->offsets.file.file_entries);
}

struct status log_read(struct log *l, const struct log_read_args *args, struct log_slice *out)
{
    struct status st = log_check_online(l);
    int64_t wanted = args->offset;
    size_t index;

    if (status_failed(st))
        return st;
    if (wanted < l->start_offset || wanted > l->end_offset)
        return status_error(KERR_OFFSET_OUT_OF_RANGE, "offset is not in the log");
    *out = (struct log_slice){.log_start_offset = l->start_offset};
    if (wanted >= args->end_offset || wanted == l->end_offset || !l->segment_count)
        return STATUS_OK;
    for (index = log_segment_index(l, wanted); index < l->segment_count; index++) {
        struct segment *s = l->segments[index];
        struct segment_range r;
        bool cold = !segment_indexes_loaded(s);

        if (s->base_offset >= args->end_offset)
            break;
        if (wanted < s->base_offset)
            wanted = s->base_offset; /* compaction left a gap between the segments */
        r = range_of(l, index, wanted, args);
        if (!cold || r.start_position >= 0)
            st = segment_find_range(s, &r, &cold);
        if (status_failed(st))
            return st;
        if (cold || r.size) {
            fill_slice(out, s, &r, cold);
            if (!cold)
                remember(l, s, &r);
            return STATUS_OK;
        }
        if (r.position < r.limit)
            break; /* something is there, but it may not be given out */
    }
    return STATUS_OK;
}

struct status log_slice_locate(struct log_slice *s)
{
    struct segment_range r = {
        .wanted_offset = s->wanted_offset,
        .end_offset = s->end_offset,
        .max_bytes = (int64_t)s->max_bytes,
        .min_one = s->min_one,
        .limit = s->limit,
        .limit_offset = s->limit_offset,
        .index_entries = s->index_entries,
        .start_position = -1,
        .end_position = -1,
    };
    struct status st;

    CHECK(s->segment);
    if (!segment_indexes_loaded(s->segment)) {
        /* Only a sealed segment comes without: all its entries are in the file. An index that
         * cannot be used costs a longer walk. */
        st = segment_load_indexes(s->segment);
        if (status_failed(st) && st.code != KERR_CORRUPT_MESSAGE)
            return st;
        r.index_entries = atomic_load(&s->segment->offsets.file.file_entries);
    }
    st = segment_find_range(s->segment, &r, NULL);
    if (status_failed(st))
        return st;
    s->position = r.position;
    s->size = (size_t)r.size;
    s->base_offset = r.base_offset;
    s->cold = false;
    return STATUS_OK;
}

struct status log_slice_read(const struct log_slice *s, size_t at, void *buffer, size_t size,
                             bool *cold_out)
{
    struct files *files = s->segment->files;
    struct file *f;
    size_t got = 0;
    struct status st;

    CHECK(at <= s->size);
    CHECK(size <= s->size - at);
    if (cold_out) {
        *cold_out = !atomic_load(&s->segment->log_file);
        if (*cold_out)
            return STATUS_OK;
    }
    st = segment_log_file(s->segment, &f);
    if (status_failed(st))
        return st;
    if (cold_out)
        st = files->ops->read_nowait(files, f, buffer, size, s->position + (int64_t)at, &got,
                                     cold_out);
    else
        st = files->ops->read(files, f, buffer, size, s->position + (int64_t)at, &got);
    if (status_failed(st) || (cold_out && *cold_out))
        return st;
    return got == size ? STATUS_OK : status_errno(EIO, "segment file is shorter than its log");
}

bool log_slice_is_warm(const struct log_slice *s)
{
    struct file *f = atomic_load(&s->segment->log_file);
    int64_t end = s->position + (int64_t)s->size;

    if (!f)
        return false;
    for (int64_t at = s->position; at < end; at += PROBE_STEP_BYTES) {
        const int64_t last = end - 1 - at < PROBE_STEP_BYTES ? end - 1 : at;
        uint8_t byte;
        size_t got;
        bool cold = false;

        if (status_failed(s->segment->files->ops->read_nowait(s->segment->files, f, &byte, 1, at,
                                                              &got, &cold)) ||
            cold)
            return false;
        if (last != at && (status_failed(s->segment->files->ops->read_nowait(
                               s->segment->files, f, &byte, 1, last, &got, &cold)) ||
                           cold))
            return false;
    }
    return true;
}

int log_slice_pin(const struct log_slice *s)
{
    struct file *f;

    if (status_failed(segment_log_file(s->segment, &f)))
        return -1;
    return s->segment->files->ops->pin(s->segment->files, f);
}

void log_slice_unpin(const struct log_slice *s)
{
    s->segment->files->ops->unpin(s->segment->files, atomic_load(&s->segment->log_file));
}

void log_slice_release(struct log_slice *s)
{
    if (!s->segment)
        return;
    atomic_fetch_sub(&s->segment->readers, 1);
    segment_release(s->segment);
    *s = (struct log_slice){0};
}
