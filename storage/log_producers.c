/* The producer state of a log, made of its snapshot files and of the batches behind them. */
#include <stdlib.h>

#include "storage/log_internal.h"
#include "storage/log_listing.h"

#define SNAPSHOT_BYTES_MAX (64 << 20)

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
            return;
        }
        logger_event(l->logger, LOGGER_WARN, "producer_snapshot_ignored",
                     "path=\"%s\" reason=\"%s\"", path, st.where ? st.where : "");
    }
}

/* Whether an index entry is of this file: nobody checked those of sealed segments. */
static bool points_at_batch(struct segment *s, struct offset_position entry)
{
    struct segment_walk w;

    return entry.position == 0 ||
           (!status_failed(segment_walk_begin(&w, s, entry.position, s->size, NULL)) && w.head &&
            record_batch_last_offset(w.head) == entry.offset);
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
