/* The steps of a compaction: what to clean, the map of the newest records, and copying what stays.
 * How the new segments take the place of the old ones: log_compaction_swap.c. */
#include "storage/log_compaction.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/log_compaction_internal.h"

/* ---- looking ---- */

static bool times_known(const struct segment *s)
{
    return s->largest_known && s->first_timestamp_ms != SEGMENT_TIMESTAMP_UNREAD;
}

/* What is not known is too young, and has not waited too long. */
static void fill_segment(const struct log *l, size_t i, bool timestamps,
                         struct compaction_segment *out, bool *unknown)
{
    const struct segment *s = l->segments[i];

    *out = (struct compaction_segment){.base_offset = s->base_offset, .size = s->size};
    if (!timestamps || i + 1 == l->segment_count)
        return;
    if (times_known(s)) {
        out->largest_timestamp_ms = s->largest.timestamp_ms;
        out->first_timestamp_ms = s->first_timestamp_ms;
    } else {
        out->largest_timestamp_ms = INT64_MAX;
        *unknown = true;
    }
}

void log_compaction_look(struct log *l, int64_t stable_end_offset, int64_t now_ms,
                         struct compaction_range *out)
{
    struct compaction_range_args a = {
        .checkpoint = l->cleaned_offset,
        .log_start_offset = l->start_offset,
        .log_end_offset = l->end_offset,
        .stable_end_offset = stable_end_offset,
        .flushed_end_offset = l->flushed_end,
        .now_ms = now_ms,
        .min_lag_ms = l->config->min_compaction_lag_ms,
        .max_lag_ms = l->config->max_compaction_lag_ms,
    };
    struct compaction_segment *segments;
    bool unknown = false;

    *out = (struct compaction_range){0};
    /* What a quick start left unchecked must not be copied as if it were right. */
    if (log_offline(l) || l->compaction || !l->config->cleanup_compact || l->segment_count < 2 ||
        log_unverified(l))
        return;
    segments = malloc(l->segment_count * sizeof segments[0]);
    if (!segments)
        return; /* later, then */
    for (size_t i = 0; i < l->segment_count; i++)
        fill_segment(l, i, compaction_needs_timestamps(&a), &segments[i], &unknown);
    a.segments = segments;
    a.count = l->segment_count;
    compaction_find_range(&a, out);
    out->times_unknown = unknown;
    free(segments);
}

/* ---- timestamps that the disk knows ---- */

#define TIMES_MAX 256 /* segments a round */

struct segment_times {
    struct segment *segment; /* owned reference, counted as a reader */
    int64_t size;
    bool known;
    struct time_offset largest;
    int64_t first_ms;
};

struct log_times {
    size_t count;
    struct segment_times items[TIMES_MAX];
};

struct log_times *log_times_begin(struct log *l)
{
    struct log_times *t;

    if (log_offline(l))
        return NULL;
    t = calloc(1, sizeof *t);
    for (size_t i = 0; t && i + 1 < l->segment_count && t->count < TIMES_MAX; i++) {
        struct segment *s = l->segments[i];

        if (times_known(s))
            continue;
        atomic_fetch_add(&s->readers, 1);
        t->items[t->count++] =
            (struct segment_times){.segment = segment_retain(s), .size = s->size};
    }
    if (t && t->count == 0) {
        free(t);
        t = NULL;
    }
    return t;
}

struct status log_times_run(struct log_times *t)
{
    struct status st = STATUS_OK;

    for (size_t i = 0; i < t->count && !status_failed(st); i++) {
        struct segment_times *x = &t->items[i];
        struct segment_walk w;

        st = segment_sealed_largest(x->segment, &x->largest, NULL);
        if (!status_failed(st))
            st = segment_walk_begin(&w, x->segment, 0, x->size, NULL);
        if (status_failed(st))
            break;
        x->first_ms = w.head ? record_batch_max_timestamp(w.head) : -1;
        x->known = true;
    }
    return st;
}

void log_times_end(struct log *l, struct log_times *t)
{
    for (size_t i = 0; i < t->count; i++) {
        struct segment_times *x = &t->items[i];

        if (l && x->known) {
            pthread_mutex_lock(&l->lock);
            if (!x->segment->largest_known)
                x->segment->largest = x->largest;
            x->segment->largest_known = true;
            pthread_mutex_unlock(&l->lock);
            x->segment->first_timestamp_ms = x->first_ms;
        }
        atomic_fetch_sub(&x->segment->readers, 1);
        segment_release(x->segment);
    }
    free(t);
}

/* ---- beginning and ending ---- */

static void add_producer(void *arg, const struct producer_view *p)
{
    struct compaction_filter *f = arg;
    struct compaction_producer *list = (struct compaction_producer *)(uintptr_t)f->rules.producers;

    list[f->rules.producer_count++] =
        (struct compaction_producer){.producer_id = p->producer_id,
                                     .last_offset = p->last_offset,
                                     .producer_epoch = p->producer_epoch};
}

static int by_producer(const void *a, const void *b)
{
    const int64_t x = ((const struct compaction_producer *)a)->producer_id;
    const int64_t y = ((const struct compaction_producer *)b)->producer_id;

    return (x > y) - (x < y);
}

static bool take_producers(struct log_compaction *c, const struct log *l)
{
    const size_t count = producer_state_count(&l->producers);

    c->producers = malloc((count ? count : 1) * sizeof c->producers[0]);
    if (!c->producers)
        return false;
    c->filter.rules.producers = c->producers;
    producer_state_each(&l->producers, add_producer, &c->filter);
    CHECK(c->filter.rules.producer_count == count);
    if (count > 1)
        qsort(c->producers, count, sizeof c->producers[0], by_producer);
    return true;
}

static bool take_sources(struct log_compaction *c, struct log *l)
{
    c->sources = malloc(l->segment_count * sizeof c->sources[0]);
    if (!c->sources)
        return false;
    for (; c->source_count < l->segment_count; c->source_count++) {
        struct segment *s = segment_retain(l->segments[c->source_count]);

        atomic_fetch_add(&s->readers, 1);
        c->sources[c->source_count] = (struct compaction_source){s, s->size};
    }
    return true;
}

static void compaction_free(struct log_compaction *c)
{
    for (size_t i = 0; i < c->source_count; i++) {
        atomic_fetch_sub(&c->sources[i].segment->readers, 1);
        segment_release(c->sources[i].segment);
    }
    CHECK(!c->cleaned);
    compaction_map_free(c->filter.rules.map);
    compaction_txns_free(&c->filter.txns);
    record_batch_rewrite_free(&c->filter.rewrite);
    compression_scratch_free(c->scratch);
    free(c->sources);
    free(c->producers);
    free(c->aborts);
    free(c->out);
    free(c);
}

struct log_compaction *log_compaction_begin(struct log *l, const struct log_compaction_args *args)
{
    struct log_compaction *c;
    struct compaction_range range;

    log_compaction_look(l, args->stable_end_offset, args->now_ms, &range);
    if (range.cleanable_bytes == 0)
        return NULL;
    c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    if (!take_producers(c, l) || !take_sources(c, l)) {
        compaction_free(c);
        return NULL;
    }
    c->log = l;
    c->config = *l->config;
    c->range = range;
    c->now_ms = args->now_ms;
    c->map_bytes_max = args->map_bytes_max;
    c->map_load = args->map_load;
    c->buffer_bytes = args->buffer_bytes;
    c->map_end_offset = range.first_dirty_offset;
    c->stats.start_offset = c->stats.end_offset = range.first_dirty_offset;
    l->compaction = c;
    return c;
}

void log_compaction_abort(struct log_compaction *c)
{
    atomic_store(&c->aborted, true);
}

bool log_compaction_aborted(const struct log_compaction *c)
{
    return atomic_load(&c->aborted);
}

bool log_compaction_broke_log(const struct log_compaction *c)
{
    return atomic_load(&c->broke_log);
}

void log_compaction_stats(const struct log_compaction *c, struct log_compaction_stats *out)
{
    *out = c->stats;
    out->records_read = c->filter.records_met;
    out->records_written = c->filter.records_kept;
}

void log_compaction_end(struct log *l, struct log_compaction *c, struct status result)
{
    CHECK(l->compaction == c);
    CHECK(c->phase == COMPACTION_DONE);
    l->compaction = NULL;
    if (log_compaction_broke_log(c))
        (void)log_go_offline(l, result);
    else if (!status_failed(result) && !log_compaction_aborted(c))
        l->cleaned_offset = c->stats.end_offset;
    compaction_free(c);
}

/* ---- start ---- */

/* Entries of the index that are in its file: what a marker wrote is there at once. */
static struct status count_aborts(struct segment *s, uint32_t *count)
{
    struct status st = index_file_load(&s->txns.file);

    *count = atomic_load_explicit(&s->txns.file.file_entries, memory_order_acquire);
    return st;
}

static struct status add_aborts(struct log_compaction *c, struct segment *s)
{
    struct txn_index_entry *aborts;
    uint32_t count;
    struct status st = count_aborts(s, &count);

    if (status_failed(st) || count == 0)
        return st;
    aborts = realloc(c->aborts, (c->abort_count + count) * sizeof aborts[0]);
    if (!aborts)
        return status_errno(ENOMEM, "aborted transactions");
    c->aborts = aborts;
    for (uint32_t i = 0; i < count && !status_failed(st); i++) {
        st = txn_index_get(&s->txns, i, &aborts[c->abort_count]);
        if (!status_failed(st) &&
            aborts[c->abort_count].first_offset < c->range.first_uncleanable_offset)
            c->abort_count++;
    }
    return st;
}

static int by_first_offset(const void *a, const void *b)
{
    const int64_t x = ((const struct txn_index_entry *)a)->first_offset;
    const int64_t y = ((const struct txn_index_entry *)b)->first_offset;

    return (x > y) - (x < y);
}

static struct status make_map(struct log_compaction *c)
{
    const int64_t offsets = c->range.first_uncleanable_offset - c->range.first_dirty_offset;
    size_t slots = c->map_bytes_max / COMPACTION_MAP_ENTRY_BYTES;
    const double enough = (double)offsets / c->map_load + 1;

    if (slots < 1)
        slots = 1;
    if (enough < (double)slots)
        slots = (size_t)enough + 1;
    c->filter.rules.map = compaction_map_create(slots);
    if (!c->filter.rules.map)
        return status_errno(ENOMEM, "map of a compaction");
    c->map_count_max = (size_t)((double)slots * c->map_load);
    if (c->map_count_max < 1)
        c->map_count_max = 1; /* it must get on */
    if (c->map_count_max > slots)
        c->map_count_max = slots;
    return STATUS_OK;
}

static struct status step_start(struct log_compaction *c)
{
    struct status st = STATUS_OK;

    /* Of the segments behind the cleaned ones too: markers may lie there. */
    for (size_t i = 0; i < c->source_count && !status_failed(st); i++)
        st = add_aborts(c, c->sources[i].segment);
    if (!status_failed(st))
        st = make_map(c);
    if (status_failed(st))
        return st;
    if (c->abort_count > 1)
        qsort(c->aborts, c->abort_count, sizeof c->aborts[0], by_first_offset);
    c->scratch = compression_scratch_new();
    if (!c->scratch)
        return status_errno(ENOMEM, "compaction");
    c->filter.scratch = c->scratch;
    c->filter.rules.round_end_offset = c->range.first_uncleanable_offset;
    c->filter.rules.now_ms = c->now_ms;
    c->filter.rules.delete_retention_ms = c->config.delete_retention_ms;
    c->filter.rules.decompressed_max = (size_t)c->config.max_decompressed_message_bytes;
    compaction_txns_init(&c->filter.txns, c->aborts, c->abort_count);
    while (c->at + 1 < c->source_count &&
           c->sources[c->at + 1].segment->base_offset <= c->range.first_dirty_offset)
        c->at++;
    c->position = -1;
    c->phase = COMPACTION_MAP;
    return STATUS_OK;
}

/* ---- the map ---- */

/* stops a scan */
static const struct status enough = {KERR_KAFKA_STORAGE_ERROR, EAGAIN,
                                     "scan stopped by its reader"};

static bool is_enough(struct status st)
{
    return st.sys_errno == EAGAIN;
}

static struct status map_batch(void *arg, struct bytes batch, int64_t position)
{
    struct log_compaction *c = arg;
    struct status st;

    (void)position;
    if (c->budget <= 0)
        return enough;
    c->budget -= (int64_t)batch.size;
    c->stats.bytes_mapped += (int64_t)batch.size;
    if (record_batch_last_offset(batch.data) < c->range.first_dirty_offset)
        return STATUS_OK;
    st = compaction_map_batch(&c->filter, batch, c->range.first_dirty_offset, c->map_count_max,
                              &c->map_full, &c->map_end_offset);
    compression_scratch_trim(c->scratch);
    return !status_failed(st) && c->map_full ? enough : st;
}

/* Where the dirty part begins in its first segment. */
static struct status find_dirty(struct log_compaction *c)
{
    struct segment *s = c->sources[c->at].segment;
    struct offset_position from;
    struct status st = segment_load_indexes(s);

    if (!status_failed(st))
        st = offset_index_lookup(&s->offsets, index_file_count(&s->offsets.file),
                                 c->range.first_dirty_offset, &from, NULL);
    if (!status_failed(st))
        c->position = from.position;
    return st;
}

static void map_finished(struct log_compaction *c)
{
    compaction_txns_free(&c->filter.txns);
    compaction_txns_init(&c->filter.txns, c->aborts, c->abort_count);
    c->filter.rules.map_end_offset = c->map_end_offset;
    while (c->clean_count < c->source_count &&
           c->sources[c->clean_count].segment->base_offset < c->map_end_offset)
        c->clean_count++;
    c->at = 0;
    c->phase = COMPACTION_GROUP;
}

static struct status step_map(struct log_compaction *c)
{
    struct compaction_source *source = &c->sources[c->at];
    struct status st = STATUS_OK;
    int64_t end;

    if (c->position < 0)
        st = find_dirty(c);
    if (status_failed(st))
        return st;
    st = log_scan(source->segment, c->position, source->size, 0, map_batch, c, &end);
    if (status_failed(st) && !is_enough(st))
        return st;
    c->position = end;
    if (c->map_full) {
        map_finished(c);
    } else if (!status_failed(st)) {
        /* Nothing is behind its last batch, up to the next segment. */
        c->map_end_offset = c->sources[++c->at].segment->base_offset;
        c->position = 0;
        if (c->map_end_offset >= c->range.first_uncleanable_offset)
            map_finished(c);
    }
    return STATUS_OK;
}

/* ---- groups ---- */

static struct status fill_group_segment(struct log_compaction *c, size_t i,
                                        struct compaction_segment *out)
{
    struct segment *s = c->sources[i].segment;
    struct status st = segment_load_indexes(s);

    *out = (struct compaction_segment){
        .base_offset = s->base_offset,
        .size = c->sources[i].size,
        .index_bytes = (int64_t)index_file_count(&s->offsets.file) * OFFSET_INDEX_ENTRY_BYTES,
        .time_index_bytes = (int64_t)index_file_count(&s->times.file) * TIME_INDEX_ENTRY_BYTES,
    };
    return st;
}

static struct status step_group(struct log_compaction *c)
{
    struct compaction_segment segments[COMPACTION_GROUP_MAX + 1];
    const size_t left = c->clean_count - c->at;
    const size_t count = left < COMPACTION_GROUP_MAX + 1 ? left : COMPACTION_GROUP_MAX + 1;
    struct compaction_group_limits limits = {
        .segment_bytes = c->config.segment_bytes,
        .index_bytes = c->config.segment_index_bytes,
        .end_offset = c->at + count < c->source_count
                          ? c->sources[c->at + count].segment->base_offset
                          : c->range.first_uncleanable_offset,
    };
    struct segment *first = c->sources[c->at].segment;
    struct status st = STATUS_OK;

    if (left == 0) {
        c->stats.end_offset = c->map_end_offset;
        c->phase = COMPACTION_DONE;
        return STATUS_OK;
    }
    for (size_t i = 0; i < count && !status_failed(st); i++)
        st = fill_group_segment(c, c->at + i, &segments[i]);
    if (!status_failed(st))
        st = segment_new_cleaned(first->files, c->log->directory, first->base_offset, &c->cleaned);
    if (status_failed(st))
        return st;
    c->group_first = c->at;
    c->group_count = compaction_group(segments, count, &limits);
    c->group_last = c->group_first;
    for (size_t i = c->group_first; i < c->group_first + c->group_count; i++)
        if (c->sources[i].size > 0)
            c->group_last = i;
    c->cleaned_end = first->base_offset;
    c->position = 0;
    c->phase = COMPACTION_CLEAN;
    return STATUS_OK;
}

/* ---- copying ---- */

static struct status write_out(struct log_compaction *c)
{
    struct record_batches it = record_batches((struct bytes){c->out, c->out_size});
    struct segment *s = c->cleaned;
    struct bytes batch;
    struct status st;

    if (c->out_size == 0)
        return STATUS_OK;
    if (s->size + (int64_t)c->out_size > SEGMENT_BYTES_MAX)
        return status_error(KERR_RECORD_LIST_TOO_LARGE,
                            "a cleaned segment would be larger than 2 GiB");
    st = segment_write(s, (struct bytes){c->out, c->out_size});
    while (!status_failed(st) && record_batches_next(&it, &batch))
        st = segment_note_batch(s, batch.data, c->config.index_interval_bytes);
    c->stats.bytes_written += (int64_t)c->out_size;
    c->out_size = 0;
    return st;
}

static struct status keep_batch(struct log_compaction *c, struct bytes batch)
{
    struct status st = STATUS_OK;

    if (c->out_size && c->out_size + batch.size > c->buffer_bytes)
        st = write_out(c);
    if (status_failed(st))
        return st;
    if (c->out_size + batch.size > c->out_capacity) {
        const size_t capacity =
            c->out_size + batch.size > c->buffer_bytes ? c->out_size + batch.size : c->buffer_bytes;
        uint8_t *out = realloc(c->out, capacity);

        if (!out)
            return status_errno(ENOMEM, "buffer of a compaction");
        c->out = out;
        c->out_capacity = capacity;
    }
    memcpy(c->out + c->out_size, batch.data, batch.size);
    c->out_size += batch.size;
    return STATUS_OK;
}

/* Past these no index of the new segment could name the batch. */
static struct status check_place(const struct log_compaction *c, const uint8_t *head)
{
    if (record_batch_base_offset(head) < c->cleaned_end ||
        record_batch_last_offset(head) < record_batch_base_offset(head) ||
        record_batch_last_offset(head) - c->cleaned->base_offset > INT32_MAX)
        return status_error(KERR_CORRUPT_MESSAGE, "batch is out of order in its segment");
    return STATUS_OK;
}

static struct status clean_batch(void *arg, struct bytes batch, int64_t position)
{
    struct log_compaction *c = arg;
    const int64_t batch_end = position + (int64_t)batch.size;
    /* After a crash the new segment's last offset says which old ones it stands for: see
     * NOTES-compaction.md. */
    const bool last =
        c->group_count > 1 && c->at == c->group_last && batch_end == c->sources[c->at].size;
    struct compaction_kept kept;
    struct status st = check_place(c, batch.data);

    if (status_failed(st))
        return st;
    if (c->budget <= 0)
        return enough;
    c->budget -= (int64_t)batch.size;
    c->stats.bytes_read += (int64_t)batch.size;
    c->cleaned_end = record_batch_last_offset(batch.data) + 1;
    st = compaction_filter_batch(&c->filter, batch, last, &kept);
    if (!status_failed(st) && kept.has_aborted)
        st = txn_index_append(&c->cleaned->txns, &kept.aborted);
    if (!status_failed(st) && kept.batch.size)
        st = keep_batch(c, kept.batch);
    compression_scratch_trim(c->scratch);
    return st;
}

static struct status sync_index(struct files *files, struct index_file *x)
{
    struct file *f = atomic_load(&x->file);

    return f ? files->ops->sync(files, f) : STATUS_OK;
}

/* Retention goes by the time of the newest segment that went in, where batches do not say. */
static struct status copy_modified(struct log_compaction *c, const struct segment *last)
{
    struct files *files = last->files;
    char path[SEGMENT_PATH_BYTES];
    struct file_stat info;
    struct status st = segment_path(path, last->path, ".log");

    if (!status_failed(st))
        st = files->ops->stat(files, path, &info);
    if (!status_failed(st))
        st = segment_path(path, c->cleaned->path, ".log.cleaned");
    if (!status_failed(st))
        st = files->ops->set_modified(files, path, info.mtime_ms);
    if (!status_failed(st))
        c->cleaned->mtime_ms = info.mtime_ms;
    return st;
}

static struct status finish_group(struct log_compaction *c)
{
    struct segment *s = c->cleaned;
    struct file *f;
    struct status st = write_out(c);

    if (!status_failed(st))
        st = segment_seal(s);
    if (!status_failed(st))
        st = copy_modified(c, c->sources[c->group_first + c->group_count - 1].segment);
    if (!status_failed(st))
        st = segment_log_file(s, &f);
    if (!status_failed(st))
        st = s->files->ops->sync(s->files, f);
    if (!status_failed(st))
        st = sync_index(s->files, &s->offsets.file);
    if (!status_failed(st))
        st = sync_index(s->files, &s->times.file);
    if (!status_failed(st))
        st = sync_index(s->files, &s->txns.file);
    return status_failed(st) ? st : compaction_swap(c);
}

static struct status step_clean(struct log_compaction *c)
{
    struct compaction_source *source = &c->sources[c->at];
    int64_t end;
    struct status st =
        log_scan(source->segment, c->position, source->size, 0, clean_batch, c, &end);

    if (status_failed(st) && !is_enough(st))
        return st;
    c->position = end;
    if (status_failed(st))
        return STATUS_OK;
    c->position = 0;
    if (++c->at < c->group_first + c->group_count)
        return STATUS_OK;
    return finish_group(c);
}

/* ---- a step ---- */

static struct status (*const steps[])(struct log_compaction *c) = {
    [COMPACTION_START] = step_start,
    [COMPACTION_MAP] = step_map,
    [COMPACTION_GROUP] = step_group,
    [COMPACTION_CLEAN] = step_clean,
};

static enum log_compaction_next next_of(enum compaction_phase phase)
{
    if (phase == COMPACTION_DONE)
        return LOG_COMPACTION_DONE;
    return phase == COMPACTION_ADOPT ? LOG_COMPACTION_ADOPT : LOG_COMPACTION_RUN;
}

struct status log_compaction_run(struct log_compaction *c, int64_t bytes_max,
                                 enum log_compaction_next *next)
{
    struct status st = STATUS_OK;

    pthread_mutex_lock(&c->log->names);
    c->budget = bytes_max;
    if (atomic_load(&c->aborted) && c->phase != COMPACTION_ADOPT)
        c->phase = COMPACTION_DONE;
    else if (c->phase < COMPACTION_ADOPT)
        st = steps[c->phase](c);
    if (status_failed(st))
        c->phase = COMPACTION_DONE;
    if (c->phase == COMPACTION_DONE)
        compaction_discard(c);
    *next = next_of(c->phase);
    pthread_mutex_unlock(&c->log->names);
    return st;
}
