/* The producer state of a log, made of its snapshot files and of the batches behind them. */
#include <stdlib.h>

#include "storage/log_internal.h"
#include "storage/log_listing.h"

#define SNAPSHOT_BYTES_MAX (64 << 20)

/* How far before a snapshot batches are looked for that may come again. */
#define NEAR_BYTES (128 << 10)
#define NEAR_HEADS 16 /* when there are fewer in it, batches are large: */
#define FAR_BYTES  (8 << 20)
#define RETRY_MS   (10 * 60 * 1000) /* a producer gives up after delivery.timeout.ms: two minutes */

struct producer_scan {
    struct producer_state *producers;
    int64_t from; /* batches below are in the snapshot */
    int64_t end;
};

static struct status apply_to_producers(void *arg, struct bytes batch, int64_t position)
{
    struct producer_scan *scan = arg;

    (void)position;
    if (record_batch_base_offset(batch.data) < scan->from ||
        record_batch_last_offset(batch.data) >= scan->end)
        return STATUS_OK;
    return log_apply_batch(scan->producers, NULL, batch, false);
}

struct snapshot_check {
    int64_t offset; /* of the snapshot: it knows what is below */
    bool beyond;
};

static void check_producer(void *arg, const struct producer_view *p)
{
    struct snapshot_check *check = arg;

    if (p->last_offset >= check->offset || p->transaction_first_offset >= check->offset)
        check->beyond = true;
}

static struct status read_producers(struct log *l, struct bytes content, int64_t offset)
{
    struct snapshot_check check = {.offset = offset};
    struct status st = producer_snapshot_visit(content, check_producer, &check);

    if (!status_failed(st) && check.beyond)
        st = status_error(KERR_KAFKA_STORAGE_ERROR, "names an offset that it cannot know");
    if (status_failed(st))
        return st;
    return producer_snapshot_load(&l->producers, content, clock_wall_ms(l->clock),
                                  l->producer_id_expiration_ms);
}

/* ---- what a snapshot does not tell ---- */

/* Whether an index entry is of this file: nobody checked those of sealed segments. */
static bool points_at_batch(struct segment *s, struct offset_position entry)
{
    struct segment_walk w;

    return entry.position == 0 ||
           (!status_failed(segment_walk_begin(&w, s, entry.position, s->size, NULL)) && w.head &&
            record_batch_last_offset(w.head) == entry.offset);
}

/* Where a walk of some `bytes` up to `end_position` begins. */
static bool find_walk(struct segment *s, int64_t end_position, int64_t bytes,
                      struct segment_walk *w)
{
    struct offset_position start;
    int64_t limit;

    if (status_failed(offset_index_lookup_position(&s->offsets, index_file_count(&s->offsets.file),
                                                   end_position > bytes ? end_position - bytes : 0,
                                                   &start, NULL)) ||
        !points_at_batch(s, start))
        return false;
    /* with a few entries in its index, or none, the rest may be long */
    limit = start.position + 2 * FAR_BYTES < s->size ? start.position + 2 * FAR_BYTES : s->size;
    return !status_failed(segment_walk_begin(w, s, start.position, limit, NULL));
}

static bool walk_is_below(const struct segment_walk *w, int64_t offset)
{
    return w->head && record_batch_base_offset(w->head) < offset;
}

static bool holds_enough(struct segment_walk w, int64_t offset)
{
    int heads = 0;

    while (heads < NEAR_HEADS && walk_is_below(&w, offset) && !status_failed(segment_walk_next(&w)))
        heads++;
    return heads == NEAR_HEADS;
}

/* A snapshot names each producer's newest batch, but a producer has up to five under way when its
 * leader stops, and sends all of them again. Those that are in the log are known again, mostly:
 * without that they would be out of order, and some producers then write them a second time under
 * another epoch. (Apache Kafka does not look; after a crash it has less to look for, since its
 * snapshots are a segment apart.) Nothing depends on what cannot be read here. */
static void remember_batches(struct log *l, int64_t offset)
{
    struct segment *s;
    struct offset_position last;
    struct segment_walk w;
    size_t i;

    if (!l->segment_count || !producer_state_count(&l->producers))
        return;
    i = log_segment_index(l, offset);
    if (i > 0 && l->segments[i]->base_offset == offset)
        i--;
    s = l->segments[i];
    if (s->mtime_size == s->size && clock_wall_ms(l->clock) - s->mtime_ms > RETRY_MS)
        return;
    if (status_failed(segment_load_indexes(s)) ||
        status_failed(offset_index_lookup(&s->offsets, index_file_count(&s->offsets.file),
                                          offset - 1, &last, NULL)))
        return;
    if (!find_walk(s, last.position, NEAR_BYTES, &w))
        return;
    if (!holds_enough(w, offset) && !find_walk(s, last.position, FAR_BYTES, &w))
        return;
    while (walk_is_below(&w, offset)) {
        if (!record_batch_is_control(w.head)) {
            const struct producer_batch b = log_producer_batch(w.head);

            producer_state_remember_batch(&l->producers, &b);
        }
        if (status_failed(segment_walk_next(&w)))
            break;
    }
}

/* ---- from snapshots and batches ---- */

void log_load_snapshot(struct log *l, const struct log_listing *files, int64_t end, int64_t *from)
{
    *from = l->start_offset;
    for (size_t i = files->snapshot_count; i-- > 0;) {
        const int64_t offset = files->snapshots[i];
        char path[SEGMENT_PATH_BYTES];
        struct bytes_mut content;
        struct status st;

        if (offset > end)
            continue;
        if (offset < l->start_offset && l->segment_count && offset < l->segments[0]->base_offset)
            break; /* batches between it and the first segment are gone */
        st = log_snapshot_path(l->directory, path, offset, "");
        if (!status_failed(st))
            st = files_read_whole(l->files, path, SNAPSHOT_BYTES_MAX, &content);
        if (status_failed(st))
            continue;
        st = read_producers(l, (struct bytes){content.data, content.size}, offset);
        free(content.data);
        if (!status_failed(st)) {
            *from = offset;
            l->snapshot_offset = offset;
            remember_batches(l, offset);
            return;
        }
        logger_event(l->logger, LOGGER_WARN, "producer_snapshot_ignored",
                     "path=\"%s\" reason=\"%s\"", path, st.where ? st.where : "");
    }
}

struct status log_replay_producers(struct log *l, int64_t from, int64_t end)
{
    struct producer_scan scan = {&l->producers, from, end};
    struct status st = STATUS_OK;

    /* What lies below was let go, flushed or not; nobody may rely on it. */
    if (from < l->start_offset)
        scan.from = from = l->start_offset;
    if (from >= end || !l->segment_count)
        return STATUS_OK;
    for (size_t i = log_segment_index(l, from); i < l->segment_count && !status_failed(st); i++) {
        struct segment *s = l->segments[i];
        struct offset_position start;
        int64_t stop;

        if (s->base_offset >= end)
            break;
        st = segment_load_indexes(s);
        if (status_failed(st))
            break;
        st = offset_index_lookup(&s->offsets, index_file_count(&s->offsets.file), from, &start,
                                 NULL);
        if (!status_failed(st) && !points_at_batch(s, start))
            start.position = 0;
        if (!status_failed(st))
            st = log_scan(s, start.position, s->size, INT64_MAX, apply_to_producers, &scan, &stop);
    }
    return st;
}

struct status log_rebuild_producers(struct log *l, const struct log_listing *files, int64_t end)
{
    int64_t from;

    producer_state_clear(&l->producers);
    log_load_snapshot(l, files, end, &from);
    return log_replay_producers(l, from, end);
}
