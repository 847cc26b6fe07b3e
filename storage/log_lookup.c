/* Looking things up beside the loop: by time, and aborted transactions.
 *
 * A lookup copies what it needs to know of the segments under the log's lock, with a reference on
 * each, and then reads files only: index entries that are not written out yet cost a short walk
 * instead.
 *
 * `cold` runs through all that reads for a lookup by time: NULL waits for the disk; else *cold is
 * set, and nothing that was found so far counts, as soon as a byte is not in memory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/log_internal.h"

struct segment_view {
    struct segment *segment; /* owned reference, counted as a reader */
    int64_t size;
    int64_t end_offset;
    struct time_offset largest;
    bool largest_known;
};

struct log_view {
    struct segment_view *segments;
    size_t count;
    int64_t start_offset;
    size_t decompressed_max;
};

/* The segments from the one that holds offset `from` on; *v is to be released in any case. */
static struct status view_take(struct log *l, int64_t from, struct log_view *v)
{
    struct status st;
    size_t first;

    *v = (struct log_view){0};
    pthread_mutex_lock(&l->lock);
    st = l->failure;
    v->start_offset = l->start_offset;
    v->decompressed_max = (size_t)l->config->max_decompressed_message_bytes;
    if (!status_failed(st) && l->segment_count) {
        first = log_segment_index(l, from);
        v->segments = calloc(l->segment_count - first, sizeof v->segments[0]);
        if (!v->segments)
            st = status_errno(ENOMEM, "log lookup");
        for (size_t i = first; v->segments && i < l->segment_count; i++) {
            struct segment *s = l->segments[i];

            atomic_fetch_add(&s->readers, 1);
            v->segments[v->count++] = (struct segment_view){
                .segment = segment_retain(s),
                .size = s->size,
                .end_offset =
                    i + 1 < l->segment_count ? l->segments[i + 1]->base_offset : INT64_MAX,
                .largest = s->largest,
                .largest_known = s->largest_known,
            };
        }
    }
    pthread_mutex_unlock(&l->lock);
    return st;
}

static void view_release(struct log_view *v)
{
    for (size_t i = 0; i < v->count; i++) {
        atomic_fetch_sub(&v->segments[i].segment->readers, 1);
        segment_release(v->segments[i].segment);
    }
    free(v->segments);
}

static uint32_t entries_in_file(const struct index_file *x)
{
    return atomic_load_explicit(&x->file_entries, memory_order_acquire);
}

static bool is_cold(const bool *cold)
{
    return cold && *cold;
}

/* Opening a file may have to wait too. */
static struct status load_indexes(struct segment *s, bool *cold)
{
    if (cold && !segment_indexes_loaded(s)) {
        *cold = true;
        return STATUS_OK;
    }
    return segment_load_indexes(s);
}

/* Largest timestamp of a segment that was not asked for it since the log was opened: so it is
 * sealed. */
static struct status view_largest(struct segment_view *v, bool *cold)
{
    struct status st;

    if (v->largest_known)
        return STATUS_OK;
    st = segment_sealed_largest(v->segment, &v->largest, cold);
    v->largest_known = !status_failed(st) && !is_cold(cold);
    return st;
}

/* ---- by time ---- */

struct log_lookup {
    struct log_view view;
    struct status view_status;
    bool max_timestamp; /* of all records; else the first at or after timestamp_ms */
    int64_t timestamp_ms;
    int64_t end_offset;
};

struct time_search {
    int64_t timestamp_ms;
    int64_t from_offset;
    int64_t end_offset;
    struct compression_scratch *scratch;
    size_t decompressed_max;
    bool *cold;
    struct log_time_offset found; /* offset -1: nothing yet */
};

static struct status search_records(struct time_search *t, struct bytes batch)
{
    struct record_iter it;
    struct record r;
    struct status st;

    if (!t->scratch && record_batch_compression(batch.data) != COMPRESSION_NONE) {
        t->scratch = compression_scratch_new();
        if (!t->scratch)
            return status_errno(ENOMEM, "log lookup");
    }
    st = record_iter_open(&it, batch, t->scratch, t->decompressed_max);
    if (status_failed(st))
        return st;
    while (record_iter_next(&it, &r)) {
        if (r.timestamp_ms < t->timestamp_ms || r.offset < t->from_offset)
            continue;
        if (r.offset < t->end_offset)
            t->found = (struct log_time_offset){r.offset, r.timestamp_ms,
                                                record_batch_leader_epoch(batch.data)};
        return STATUS_OK;
    }
    return it.status;
}

static struct status search_batch(struct time_search *t, const struct segment_walk *w)
{
    struct files *files = w->segment->files;
    uint8_t *bytes = malloc((size_t)w->size);
    struct file *f;
    size_t got = 0;
    struct status st =
        bytes ? segment_log_file(w->segment, &f) : status_errno(ENOMEM, "log lookup");

    if (!status_failed(st) && t->cold)
        st = files->ops->read_nowait(files, f, bytes, (size_t)w->size, w->position, &got, t->cold);
    else if (!status_failed(st))
        st = files->ops->read(files, f, bytes, (size_t)w->size, w->position, &got);
    if (!status_failed(st) && !is_cold(t->cold) && got != (size_t)w->size)
        st = status_errno(EIO, "segment file is shorter than its log");
    if (!status_failed(st) && !is_cold(t->cold))
        st = search_records(t, (struct bytes){bytes, got});
    free(bytes);
    return st;
}

/* Where a walk for the time may start. */
static struct status search_start(struct time_search *t, struct segment *s,
                                  struct offset_position *from)
{
    struct offset_index *offsets = &s->offsets;
    struct time_index *times = &s->times;
    struct time_offset before;
    struct status st = load_indexes(s, t->cold);

    if (status_failed(st) || is_cold(t->cold))
        return st;
    /* Strictly before: an entry with the very timestamp says that the record lies at or before
     * it. */
    st = time_index_lookup(times, entries_in_file(&times->file), t->timestamp_ms - 1, &before,
                           t->cold);
    if (status_failed(st) || is_cold(t->cold))
        return st;
    if (before.offset < t->from_offset)
        before.offset = t->from_offset;
    return offset_index_lookup(offsets, entries_in_file(&offsets->file), before.offset, from,
                               t->cold);
}

/* The first record at or after the time in this segment, if there is one. */
static struct status search_segment(struct time_search *t, struct segment_view *v)
{
    struct offset_position from = {0};
    struct segment_walk w;
    struct status st = search_start(t, v->segment, &from);

    if (status_failed(st) || is_cold(t->cold))
        return st;
    st = segment_walk_begin(&w, v->segment, from.position, v->size, t->cold);
    while (!status_failed(st) && !is_cold(t->cold) && w.head && t->found.offset < 0 &&
           record_batch_base_offset(w.head) < t->end_offset) {
        if (record_batch_max_timestamp(w.head) >= t->timestamp_ms &&
            record_batch_last_offset(w.head) >= t->from_offset)
            st = search_batch(t, &w);
        if (!status_failed(st) && !is_cold(t->cold))
            st = segment_walk_next(&w);
    }
    return st;
}

static struct log_lookup *lookup_begin(struct log *l, const struct log_lookup *what)
{
    struct log_lookup *k = malloc(sizeof *k);

    if (!k)
        return NULL;
    *k = *what;
    k->view_status = view_take(l, 0, &k->view);
    return k;
}

struct log_lookup *log_lookup_time(struct log *l, int64_t timestamp_ms, int64_t end_offset)
{
    return lookup_begin(
        l, &(struct log_lookup){.timestamp_ms = timestamp_ms, .end_offset = end_offset});
}

struct log_lookup *log_lookup_max_timestamp(struct log *l)
{
    return lookup_begin(l, &(struct log_lookup){.max_timestamp = true, .end_offset = INT64_MAX});
}

void log_lookup_free(struct log_lookup *k)
{
    view_release(&k->view);
    free(k);
}

static struct status run_time(struct log_lookup *k, struct time_search *t)
{
    struct status st = STATUS_OK;

    t->timestamp_ms = k->timestamp_ms;
    for (size_t i = 0; i < k->view.count && !status_failed(st) && t->found.offset < 0; i++) {
        struct segment_view *s = &k->view.segments[i];

        if (s->segment->base_offset >= k->end_offset)
            break;
        st = view_largest(s, t->cold);
        if (!status_failed(st) && !is_cold(t->cold) && s->largest.timestamp_ms >= k->timestamp_ms)
            st = search_segment(t, s);
        if (is_cold(t->cold))
            break;
    }
    return st;
}

static struct status run_max_timestamp(struct log_lookup *k, struct time_search *t)
{
    struct segment_view *best = NULL;

    for (size_t i = 0; i < k->view.count; i++) {
        struct segment_view *s = &k->view.segments[i];
        struct status st = view_largest(s, t->cold);

        if (status_failed(st) || is_cold(t->cold))
            return st;
        if (!best || s->largest.timestamp_ms > best->largest.timestamp_ms)
            best = s;
    }
    if (!best || best->largest.timestamp_ms < 0)
        return STATUS_OK;
    t->timestamp_ms = best->largest.timestamp_ms;
    return search_segment(t, best);
}

struct status log_lookup_run(struct log_lookup *k, bool *cold, struct log_time_offset *out)
{
    struct time_search t = {.from_offset = k->view.start_offset,
                            .end_offset = k->end_offset,
                            .decompressed_max = k->view.decompressed_max,
                            .cold = cold,
                            .found = {-1, -1, -1}};
    struct status st = k->view_status;

    if (cold)
        *cold = false;
    if (!status_failed(st))
        st = k->max_timestamp ? run_max_timestamp(k, &t) : run_time(k, &t);
    if (!status_failed(st) && !is_cold(cold))
        *out = t.found;
    compression_scratch_free(t.scratch);
    return st;
}

/* ---- aborted transactions ---- */

struct aborted_list {
    struct log_aborted *items;
    size_t count;
    size_t capacity;
};

static bool aborted_add(struct aborted_list *list, const struct txn_index_entry *e)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? list->capacity * 2 : 16;
        struct log_aborted *items = realloc(list->items, capacity * sizeof items[0]);

        if (!items)
            return false;
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = (struct log_aborted){e->producer_id, e->first_offset};
    return true;
}

/* *done: no later segment can hold a marker of a transaction that starts below `to`. */
static struct status collect_aborted(struct segment *s, int64_t from, int64_t to,
                                     struct aborted_list *list, bool *done)
{
    struct status st = segment_load_indexes(s);
    const uint32_t count = status_failed(st) ? 0 : entries_in_file(&s->txns.file);

    for (uint32_t i = 0; i < count && !*done; i++) {
        struct txn_index_entry e;

        st = txn_index_get(&s->txns, i, &e);
        if (status_failed(st))
            return st;
        if (e.last_offset >= from && e.first_offset < to && !aborted_add(list, &e))
            return status_errno(ENOMEM, "aborted transactions");
        *done = e.last_stable_offset >= to;
    }
    return st;
}

struct status log_aborted_transactions(struct log *l, int64_t from, int64_t to, struct arena *a,
                                       struct log_aborted **out, size_t *count)
{
    struct aborted_list list = {0};
    struct log_view v;
    bool done = false;
    struct status st = view_take(l, from, &v);

    *out = NULL;
    *count = 0;
    for (size_t i = 0; i < v.count && !status_failed(st) && !done; i++)
        st = collect_aborted(v.segments[i].segment, from, to, &list, &done);
    view_release(&v);
    if (!status_failed(st) && list.count) {
        *out = arena_array(a, struct log_aborted, list.count);
        if (*out)
            memcpy(*out, list.items, list.count * sizeof list.items[0]);
        else
            st = status_error(KERR_UNKNOWN_SERVER_ERROR, "no memory for aborted transactions");
    }
    if (!status_failed(st))
        *count = list.count;
    free(list.items);
    return st;
}
