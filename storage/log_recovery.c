/* Opening a log: what the files hold, and making index, producer and epoch state agree with it.
 * The reasoning is in NOTES-recovery.md. Listing the directory: log_listing.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/log_internal.h"
#include "storage/log_listing.h"

#define SCAN_BUFFER_BYTES  (256 * 1024) /* grows to the largest batch */
#define SNAPSHOT_BYTES_MAX (64 << 20)

/* ---- walking over whole batches ---- */

struct scan {
    struct segment *segment;
    uint8_t *buffer;
    size_t capacity;
    int64_t at; /* what the buffer holds */
    size_t size;
};

static struct status scan_fill(struct scan *s, int64_t position, size_t need, int64_t limit)
{
    struct file *f;
    size_t want;
    struct status st;

    if (position >= s->at && position + (int64_t)need <= s->at + (int64_t)s->size)
        return STATUS_OK;
    if (need > s->capacity || !s->buffer) {
        const size_t left = (size_t)(limit - position);
        const size_t most = left < SCAN_BUFFER_BYTES ? left : SCAN_BUFFER_BYTES;
        const size_t capacity = need > most ? need : most;
        uint8_t *buffer = realloc(s->buffer, capacity);

        if (!buffer)
            return status_errno(ENOMEM, "buffer to scan a segment");
        s->buffer = buffer;
        s->capacity = capacity;
    }
    want = (size_t)(limit - position) < s->capacity ? (size_t)(limit - position) : s->capacity;
    st = segment_log_file(s->segment, &f);
    if (!status_failed(st))
        st =
            s->segment->files->ops->read(s->segment->files, f, s->buffer, want, position, &s->size);
    s->at = position;
    if (status_failed(st)) {
        s->size = 0;
        return st;
    }
    return s->size < need ? status_error(KERR_CORRUPT_MESSAGE, "segment ends within a batch")
                          : STATUS_OK;
}

static struct status scan_batch(struct scan *s, int64_t position, int64_t limit, bool check_crc,
                                struct bytes *batch)
{
    int64_t size;
    struct status st;

    if (limit - position < RECORD_BATCH_HEADER_BYTES)
        return status_error(KERR_CORRUPT_MESSAGE, "segment ends within a batch");
    st = scan_fill(s, position, RECORD_BATCH_HEADER_BYTES, limit);
    if (status_failed(st))
        return st;
    size = record_batch_size_bytes(s->buffer + (position - s->at));
    if (size < RECORD_BATCH_HEADER_BYTES || size > limit - position)
        return status_error(KERR_CORRUPT_MESSAGE, "segment ends within a batch");
    st = scan_fill(s, position, (size_t)size, limit);
    if (status_failed(st))
        return st;
    *batch = (struct bytes){s->buffer + (position - s->at), (size_t)size};
    if (!segment_may_hold(s->segment, batch->data))
        return status_error(KERR_CORRUPT_MESSAGE, "no record batch where one should start");
    return check_crc ? record_batch_check(*batch) : STATUS_OK;
}

struct status log_scan(struct segment *s, int64_t position, int64_t limit, int64_t check_crc_from,
                       log_scan_visit *visit, void *arg, int64_t *end)
{
    struct scan scan = {.segment = s};
    struct status st = STATUS_OK;

    *end = position;
    while (*end < limit) {
        struct bytes batch;

        st = scan_batch(&scan, *end, limit, *end >= check_crc_from, &batch);
        if (!status_failed(st))
            st = visit(arg, batch, *end);
        if (status_failed(st))
            break;
        *end += (int64_t)batch.size;
    }
    free(scan.buffer);
    return st;
}

/* ---- producer state ---- */

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

/* Loads the newest usable snapshot at or below `end`; *from is its offset, or the log start. */
static void load_snapshot(struct log *l, const struct log_listing *files, int64_t end,
                          int64_t *from)
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

/* Applies the batches in [from, end) of the segments. */
static struct status replay_producers(struct log *l, int64_t from, int64_t end)
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
    load_snapshot(l, files, end, &from);
    return replay_producers(l, from, end);
}

/* ---- one segment ---- */

struct recovery {
    struct log *log;
    struct segment *segment;
    int64_t next_offset;    /* what the next batch may start at */
    int64_t producers_from; /* producers already know what is below */
    int64_t index_from;     /* batches that start at or below this position are in the indexes */
};

static struct status recover_batch(void *arg, struct bytes batch, int64_t position)
{
    struct recovery *r = arg;
    struct log *l = r->log;
    struct segment *s = r->segment;
    const int64_t base_offset = record_batch_base_offset(batch.data);
    const int64_t last_offset = record_batch_last_offset(batch.data);
    const int32_t epoch = record_batch_leader_epoch(batch.data);
    struct status st = STATUS_OK;

    if (base_offset < r->next_offset)
        return status_error(KERR_CORRUPT_MESSAGE, "batch is out of order in its segment");
    r->next_offset = last_offset + 1;
    if (epoch >= 0 && epoch > epoch_cache_latest(&l->epochs))
        epoch_cache_assign(&l->epochs, epoch, base_offset);
    CHECK(s->size == position);
    if (position > r->index_from)
        st = segment_note_batch(s, batch.data, l->config->index_interval_bytes);
    else
        s->size += (int64_t)batch.size;
    if (!status_failed(st) && base_offset >= r->producers_from)
        st = log_apply_batch(&l->producers, s, batch, true);
    return st;
}

/* Walks over [position, file_size) and cuts the segment behind its last valid batch. Index entries
 * of batches behind the last index entry are made again. */
static struct status recover_segment(struct log *l, struct segment *s, int64_t file_size,
                                     int64_t position, int64_t first_offset, int64_t producers_from,
                                     int64_t check_crc_from, struct log_recovery_report *report)
{
    struct recovery r = {l, s, first_offset, producers_from, s->last_indexed_position};
    struct file *f;
    int64_t end;
    struct status st;

    if (r.index_from == 0)
        r.index_from = -1; /* no entry yet: the first batch counts too */
    s->size = position;
    st = log_scan(s, position, file_size, check_crc_from, recover_batch, &r, &end);
    if (status_failed(st) && st.code != KERR_CORRUPT_MESSAGE)
        return st;
    s->size = end;
    l->end_offset = r.next_offset;
    if (end < file_size) {
        report->truncated_bytes += file_size - end;
        report->truncated_to = r.next_offset;
        logger_event(l->logger, LOGGER_WARN, "log_cut",
                     "path=\"%s.log\" position=%lld bytes=%lld end_offset=%lld reason=\"%s\"",
                     s->path, (long long)end, (long long)(file_size - end),
                     (long long)r.next_offset, st.where ? st.where : "");
        st = segment_log_file(s, &f);
        if (!status_failed(st))
            st = l->files->ops->truncate(l->files, f, end);
        if (status_failed(st))
            return st;
    }
    st = offset_index_truncate(&s->offsets, r.next_offset);
    if (!status_failed(st))
        st = time_index_truncate(&s->times, r.next_offset);
    if (!status_failed(st))
        st = txn_index_truncate(&s->txns, r.next_offset);
    s->write_out_started_to = s->size;
    return st;
}

/* Empties the indexes of a segment that is to be walked from its start. */
static struct status reset_indexes(struct segment *s)
{
    struct status st = segment_reset_index(s, &s->offsets.file);

    if (!status_failed(st))
        st = segment_reset_index(s, &s->times.file);
    if (!status_failed(st))
        st = segment_reset_index(s, &s->txns.file);
    return st;
}

/* Loads the indexes of the newest segment, and what appending needs of them. CORRUPT_MESSAGE when
 * they cannot belong to the .log file. */
static struct status load_tail_state(struct segment *s, int64_t file_size)
{
    struct offset_position last;
    struct time_offset largest = {-1, s->base_offset};
    struct status st = segment_load_indexes(s);

    if (!status_failed(st))
        st = offset_index_check(&s->offsets, file_size);
    if (!status_failed(st))
        st = time_index_check(&s->times);
    if (!status_failed(st))
        st = txn_index_check(&s->txns, s->base_offset);
    if (!status_failed(st))
        st = offset_index_last(&s->offsets, &last, NULL);
    if (!status_failed(st))
        st = time_index_last(&s->times, &largest, NULL);
    if (status_failed(st))
        return st;
    s->last_indexed_position = last.position;
    s->index_written_to = last.position;
    s->largest = largest;
    s->largest_known = true;
    return STATUS_OK;
}

/* ---- the log ---- */

/* The newest segment of a log whose earlier ones can be trusted: from its last index entry, or from
 * the newest producer snapshot if that is further back; *walked_from is the first offset of that
 * walk. CRCs are checked behind the last index entry: what is before it is left to the
 * background. */
static struct status recover_newest(struct log *l, const struct log_listing *files,
                                    int64_t *walked_from, struct log_recovery_report *report)
{
    struct segment *s = log_active_segment(l);
    const int64_t file_size = s->size;
    struct offset_position indexed = {s->base_offset, 0}, from = {s->base_offset, 0};
    int64_t snapshot, first_offset;
    struct segment_walk w;
    struct status st = load_tail_state(s, file_size);

    if (st.code == KERR_CORRUPT_MESSAGE) {
        report->indexes_rebuilt = true;
        st = reset_indexes(s);
    }
    producer_state_clear(&l->producers);
    load_snapshot(l, files, INT64_MAX, &snapshot);
    if (!status_failed(st) && snapshot < s->base_offset)
        st = replay_producers(l, snapshot, s->base_offset);
    if (!status_failed(st))
        st = offset_index_last(&s->offsets, &indexed, NULL);
    if (!status_failed(st) && snapshot > s->base_offset)
        st = offset_index_lookup(&s->offsets, index_file_count(&s->offsets.file), snapshot, &from,
                                 NULL);
    if (status_failed(st))
        return st;
    if (from.position > indexed.position)
        from = indexed;
    first_offset = s->base_offset;
    if (from.position > 0) {
        st = segment_walk_begin(&w, s, from.position, file_size, NULL);
        if (status_failed(st) && st.code != KERR_CORRUPT_MESSAGE)
            return st;
        if (status_failed(st) || record_batch_last_offset(w.head) != from.offset) {
            /* The index points between batches, or at another one: it is not of this file. */
            report->indexes_rebuilt = true;
            st = reset_indexes(s);
            if (status_failed(st))
                return st;
            from = indexed = (struct offset_position){s->base_offset, 0};
        } else {
            first_offset = record_batch_base_offset(w.head);
        }
    }
    *walked_from = first_offset;
    l->verify_to = indexed.offset;
    st = recover_segment(l, s, file_size, from.position, first_offset, snapshot, indexed.position,
                         report);
    if (!status_failed(st) && snapshot > l->end_offset)
        st = log_rebuild_producers(l, files, l->end_offset);
    return st;
}

static struct status drop_from(struct log *l, size_t index, struct log_recovery_report *report)
{
    for (size_t i = index; i < l->segment_count; i++)
        report->truncated_bytes += l->segments[i]->size;
    report->truncated_to = l->end_offset;
    return log_drop_segments(l, index, l->segment_count - index);
}

/* A follower cuts its log, and appends, within less time than there is between two checkpoints:
 * above the high watermark the recovery point may be that of other batches. */
static int64_t flushed_before(const struct log_args *args)
{
    return args->recovery_point < args->high_watermark ? args->recovery_point
                                                       : args->high_watermark;
}

/* Whether compaction may have left one in front of an offset; the topic need not be compacted any
 * more. */
static bool may_have_holes(const struct log *l, int64_t offset)
{
    return l->config->cleanup_compact || offset <= l->cleaned_offset;
}

/* Segments that may hold batches at or above the recovery point, from the first of them: everything
 * is checked and rebuilt; the first bad batch ends the log. */
static struct status recover_from(struct log *l, const struct log_listing *files,
                                  int64_t recovery_point, struct log_recovery_report *report)
{
    /* A segment that ends at the recovery point may have been sealed after it: its indexes were not
     * synced. */
    const size_t first = log_segment_index(l, recovery_point > 0 ? recovery_point - 1 : 0);
    const int64_t first_base = l->segments[first]->base_offset;
    struct status st = log_rebuild_producers(l, files, first_base);

    for (size_t i = first; i < l->segment_count && !status_failed(st); i++) {
        struct segment *s = l->segments[i];
        const int64_t file_size = s->size;
        const int64_t cut_before = report->truncated_bytes;

        if (i > first && s->base_offset < l->end_offset)
            return status_error(KERR_KAFKA_STORAGE_ERROR, "segments overlap");
        if (i > first && s->base_offset > l->end_offset && !may_have_holes(l, s->base_offset))
            return drop_from(l, i, report); /* the end of the one before is lost, at a batch's
                                             * end */
        st = reset_indexes(s);
        if (!status_failed(st))
            st = recover_segment(l, s, file_size, 0, s->base_offset, first_base, 0, report);
        report->indexes_rebuilt = true;
        if (status_failed(st))
            return st;
        if (i + 1 < l->segment_count) {
            st = segment_seal(s);
            if (report->truncated_bytes == cut_before || status_failed(st))
                continue;
            return drop_from(l, i + 1, report);
        }
    }
    if (!status_failed(st))
        st = segment_write_out_indexes(log_active_segment(l));
    return st;
}

static struct status load_epochs(struct log *l)
{
    char path[SEGMENT_PATH_BYTES];
    struct checkpoint_error error = {0};
    struct status st = log_path(l, path, "leader-epoch-checkpoint");

    if (status_failed(st))
        return st;
    st = epoch_cache_load(&l->epochs, l->files, path, &error);
    if (!status_failed(st) || st.sys_errno)
        return st;
    logger_event(l->logger, LOGGER_WARN, "epochs_rebuilt", "path=\"%s\" line=%d reason=\"%s\"",
                 path, error.line, error.message ? error.message : "");
    return STATUS_OK;
}

/* Assigns the epochs of all batches from `from` on, in order, to the cache. */
static struct status walk_epochs(struct log *l, int64_t from)
{
    struct status st = STATUS_OK;

    epoch_cache_truncate_from_end(&l->epochs, from);
    for (size_t i = log_segment_index(l, from); i < l->segment_count && !status_failed(st); i++) {
        struct segment *s = l->segments[i];
        struct segment_walk w;

        st = segment_walk_begin(&w, s, 0, s->size, NULL);
        while (!status_failed(st) && w.head) {
            const int32_t epoch = record_batch_leader_epoch(w.head);

            if (epoch >= 0 && epoch > epoch_cache_latest(&l->epochs))
                epoch_cache_assign(&l->epochs, epoch, record_batch_base_offset(w.head));
            st = segment_walk_next(&w);
        }
    }
    return st;
}

/* The log start had come up to the end, so that the newest epoch was saved as if it began there;
 * but not every start knows of that log start. */
static bool knows_no_epoch(struct log *l)
{
    epoch_cache_truncate_from_end(&l->epochs, l->end_offset);
    return epoch_cache_latest(&l->epochs) < 0;
}

/* Epochs are saved by flushes. When the batch where the walk started is of an epoch that the
 * checkpoint does not know, entries may be missing before it too. */
static struct status complete_epochs(struct log *l, int32_t checkpointed, int64_t recovery_point,
                                     int64_t walked_from)
{
    struct segment *s = log_active_segment(l);
    struct offset_position from;
    struct segment_walk w;
    struct status st;

    if (!s)
        return STATUS_OK;
    if (checkpointed < 0 || knows_no_epoch(l))
        return walk_epochs(l, l->segments[0]->base_offset);
    if (s->size == 0) /* it has just begun: what was not flushed is in those before */
        return recovery_point < s->base_offset ? walk_epochs(l, recovery_point) : STATUS_OK;
    st = offset_index_lookup(&s->offsets, index_file_count(&s->offsets.file), walked_from, &from,
                             NULL);
    if (!status_failed(st))
        st = segment_walk_begin(&w, s, from.position, s->size, NULL);
    if (status_failed(st) || !w.head || record_batch_leader_epoch(w.head) <= checkpointed)
        return st;
    return walk_epochs(l, recovery_point);
}

static struct status sync_recovered(struct log *l)
{
    struct log_flush flush = {0};

    /* Past another boot what was read back came from the disk, but cuts and rebuilt indexes did
     * not. */
    l->flushed_end =
        l->segments[0]->base_offset < l->end_offset ? l->segments[0]->base_offset : l->end_offset;
    if (log_flush_begin(l, &flush))
        log_flush_end(l, &flush, log_flush_run(&flush));
    return l->failure;
}

static struct status recover(struct log *l, const struct log_args *args,
                             const struct log_listing *files, struct log_recovery_report *report)
{
    int64_t recovery_point = flushed_before(args);
    int64_t walked_from = 0;
    int32_t checkpointed;
    struct status st = load_epochs(l);

    if (status_failed(st))
        return st;
    checkpointed = epoch_cache_latest(&l->epochs);
    if (recovery_point < l->segments[0]->base_offset)
        recovery_point = l->segments[0]->base_offset;
    l->verify_from = recovery_point;
    if (args->trust == LOG_TRUST_OTHER_BOOT) {
        l->verify_to = 0;
        st = recover_from(l, files, recovery_point, report);
        /* they are lost, or nothing was flushed yet */
        if (!status_failed(st) && (checkpointed < 0 || knows_no_epoch(l)))
            st = walk_epochs(l, l->segments[0]->base_offset);
    } else {
        st = recover_newest(l, files, &walked_from, report);
        if (!status_failed(st))
            st = complete_epochs(l, checkpointed, recovery_point, walked_from);
    }
    if (status_failed(st))
        return st;
    if (l->end_offset < args->recovery_point ||
        (args->trust == LOG_TRUST_CLEAN && report->truncated_bytes))
        report->damaged = true;
    l->flushed_end = recovery_point < l->end_offset ? recovery_point : l->end_offset;
    if (args->trust == LOG_TRUST_CLEAN && !report->truncated_bytes) {
        l->flushed_end = l->end_offset;
        l->verify_to = 0;
    }
    if (args->trust != LOG_TRUST_CLEAN) {
        /* Nobody knows what of the names was synced before. */
        l->directory_new = true;
        for (size_t i = 0; i < l->segment_count; i++)
            l->segments[i]->names_new =
                i + 1 == l->segment_count || l->segments[i]->base_offset >= l->flushed_end;
    }
    l->unsettled = args->trust != LOG_TRUST_CLEAN || report->truncated_bytes ||
                   l->snapshot_offset != l->end_offset;
    return args->trust == LOG_TRUST_OTHER_BOOT ? sync_recovered(l) : STATUS_OK;
}

/* ---- opening ---- */

/* The part of a partition.metadata that a crash before its first sync left: a beginning, or zeros
 * where the disk never got the bytes. No flush ever covered such a log, so it holds nothing that
 * was promised. */
static bool is_torn(struct bytes content, const char *whole)
{
    for (size_t i = 0; i < content.size; i++)
        if (content.data[i] && (i >= strlen(whole) || content.data[i] != (uint8_t)whole[i]))
            return false;
    return true;
}

static struct status check_topic_id(struct log *l)
{
    static const char prefix[] = "version: 0\ntopic_id: ";
    char path[SEGMENT_PATH_BYTES], whole[64];
    struct bytes_mut content;
    struct uuid id = UUID_ZERO;
    bool parsed, torn;
    struct status st = log_path(l, path, "partition.metadata");

    if (!status_failed(st))
        st = files_read_whole(l->files, path, 1024, &content);
    if (st.sys_errno == ENOENT)
        return log_write_metadata(l);
    if (status_failed(st))
        return st;
    log_metadata_text(l->topic_id, whole);
    parsed =
        content.size >= sizeof prefix - 1 + UUID_TEXT_CHARS &&
        memcmp(content.data, prefix, sizeof prefix - 1) == 0 &&
        uuid_parse((struct str){(const char *)content.data + sizeof prefix - 1, UUID_TEXT_CHARS},
                   &id);
    torn = !parsed && is_torn((struct bytes){content.data, content.size}, whole);
    free(content.data);
    if (torn)
        return log_write_metadata(l);
    if (!parsed)
        return status_error(KERR_KAFKA_STORAGE_ERROR, "partition.metadata is damaged");
    if (!uuid_is_zero(l->topic_id) && !uuid_equal(id, l->topic_id))
        return status_error(KERR_INCONSISTENT_TOPIC_ID, "partition.metadata names another topic");
    l->topic_id = id;
    return STATUS_OK;
}

static struct status add_segments(struct log *l, const struct log_listing *files)
{
    for (size_t i = 0; i < files->segment_count; i++) {
        char path[SEGMENT_PATH_BYTES];
        struct file_stat info;
        struct segment *s;
        struct status st =
            segment_new(l->files, l->directory, files->segments[i].base_offset, false, &s);

        if (status_failed(st))
            return st;
        st = segment_path(path, s->path, ".log");
        if (!status_failed(st))
            st = l->files->ops->stat(l->files, path, &info);
        if (!status_failed(st) && info.size > SEGMENT_BYTES_MAX)
            st = status_error(KERR_KAFKA_STORAGE_ERROR, "segment file is larger than 2 GiB");
        if (!status_failed(st))
            st = log_add_segment(l, s);
        if (status_failed(st)) {
            segment_release(s);
            return st;
        }
        s->size = info.size;
        s->mtime_ms = info.mtime_ms;
        s->mtime_size = info.size;
        s->created_ms = clock_wall_ms(l->clock);
        s->first_timestamp_ms = SEGMENT_TIMESTAMP_UNREAD;
        atomic_store(&s->offsets.file.loaded, !files->segments[i].has_index);
        atomic_store(&s->times.file.loaded, !files->segments[i].has_timeindex);
        atomic_store(&s->txns.file.loaded, !files->segments[i].has_txnindex);
    }
    return STATUS_OK;
}

/* Whether the index files that sealed segments need are there, and whole entries long. */
static bool indexes_look_whole(struct segment *s, const struct log_listing_segment *files)
{
    struct index_file *all[] = {&s->offsets.file, &s->times.file, &s->txns.file};
    const bool there[] = {files->has_index, files->has_timeindex, files->has_txnindex};

    for (size_t i = 0; i < 3; i++) {
        char path[SEGMENT_PATH_BYTES];
        struct file_stat info;

        if (!there[i] && all[i] != &s->txns.file)
            return false;
        if (there[i] && (status_failed(segment_path(path, s->path, all[i]->suffix)) ||
                         status_failed(s->files->ops->stat(s->files, path, &info)) ||
                         info.size % all[i]->entry_bytes))
            return false;
    }
    return true;
}

static struct status reindex_batch(void *arg, struct bytes batch, int64_t position)
{
    struct recovery *r = arg;
    struct status st =
        segment_note_batch(r->segment, batch.data, r->log->config->index_interval_bytes);

    (void)position;
    if (!status_failed(st))
        st = log_apply_batch(&r->log->producers, r->segment, batch, true);
    return st;
}

/* No flush will cover them: the segment may lie below the flushed end. */
static struct status sync_indexes(struct log *l, struct segment *s)
{
    struct index_file *all[] = {&s->offsets.file, &s->times.file, &s->txns.file};
    struct status st = STATUS_OK;

    for (size_t i = 0; i < 3 && !status_failed(st); i++)
        if (atomic_load(&all[i]->file))
            st = l->files->ops->sync(l->files, atomic_load(&all[i]->file));
    return status_failed(st) ? st : l->files->ops->sync_directory(l->files, l->directory);
}

/* Makes the indexes of a sealed segment anew, without judging its batches: a bad one ends them
 * early. */
static struct status reindex(struct log *l, const struct log_listing *files, struct segment *s)
{
    struct recovery r = {.log = l, .segment = s};
    const int64_t size = s->size;
    int64_t end;
    struct status st = log_rebuild_producers(l, files, s->base_offset);

    if (!status_failed(st))
        st = reset_indexes(s);
    if (status_failed(st))
        return st;
    s->size = 0;
    st = log_scan(s, 0, size, INT64_MAX, reindex_batch, &r, &end);
    s->size = size;
    producer_state_clear(&l->producers);
    if (status_failed(st) && st.code != KERR_CORRUPT_MESSAGE)
        return st;
    st = segment_seal(s);
    return status_failed(st) ? st : sync_indexes(l, s);
}

/* Sealed segments whose index files are missing or cut get them again. Those that are about to be
 * walked over from their start get them there. */
static struct status repair_sealed(struct log *l, const struct log_args *args,
                                   const struct log_listing *files,
                                   struct log_recovery_report *report)
{
    const struct log_listing_segment *listed =
        files->segments + (files->segment_count - l->segment_count);

    for (size_t i = 0; i + 1 < l->segment_count; i++) {
        struct segment *s = l->segments[i];
        struct status st;

        if (args->trust == LOG_TRUST_OTHER_BOOT &&
            l->segments[i + 1]->base_offset >= flushed_before(args))
            break;
        if (!listed[i].indexes_doubtful && indexes_look_whole(s, &listed[i]))
            continue;
        report->indexes_rebuilt = true;
        logger_event(l->logger, LOGGER_WARN, "indexes_rebuilt", "path=\"%s\"", s->path);
        st = reindex(l, files, s);
        if (status_failed(st))
            return st;
    }
    return STATUS_OK;
}

/* Segments wholly below the log start were let go. They need not have been flushed, so that after a
 * crash of the machine there may be anything in them. */
static struct status drop_below_start(struct log *l)
{
    size_t count = 0;

    while (count + 1 < l->segment_count && l->segments[count + 1]->base_offset <= l->start_offset)
        count++;
    return count ? log_drop_segments(l, 0, count) : STATUS_OK;
}

/* The offset behind the last batch of a segment, by its batches alone. */
static struct status find_segment_end(struct segment *s, int64_t *end)
{
    struct segment_walk w;
    struct status st = segment_walk_begin(&w, s, 0, s->size, NULL);

    *end = s->base_offset;
    while (!status_failed(st) && w.head) {
        *end = record_batch_last_offset(w.head) + 1;
        st = segment_walk_next(&w);
    }
    return st.code == KERR_CORRUPT_MESSAGE ? STATUS_OK : st;
}

/* How many of the first segments a deletion had taken that a crash of the machine undid by halves:
 * those before a gap that a deleted segment left. Segments go oldest first, so they were let go
 * before it. */
static struct status count_undone(struct log *l, const struct log_listing *files, size_t *count)
{
    int64_t offset, end;
    size_t at = 0;

    *count = 0;
    while (log_listing_deleted_amid(files, &at, &offset)) {
        const size_t i = log_segment_index(l, offset);
        struct status st;

        if (i < *count || i + 1 == l->segment_count || l->segments[i]->base_offset > offset)
            continue;
        st = find_segment_end(l->segments[i], &end);
        if (status_failed(st))
            return st;
        if (end <= offset)
            *count = i + 1;
    }
    return STATUS_OK;
}

/* Finishes such a deletion. Else recovery would take the gap for a lost end, and drop what is
 * behind it. Compaction leaves gaps too: there nothing can be told from one. */
static struct status finish_deletion(struct log *l, const struct log_listing *files)
{
    struct status st = STATUS_OK;
    size_t count = 0;

    if (!files->leftover_count)
        return STATUS_OK;
    if (!l->config->cleanup_compact)
        st = count_undone(l, files, &count);
    if (!status_failed(st) && count) {
        logger_event(l->logger, LOGGER_WARN, "deletion_finished",
                     "directory=\"%s\" segments=%zu log_start=%lld", l->directory, count,
                     (long long)l->segments[count]->base_offset);
        st = log_drop_segments(l, 0, count);
        if (!status_failed(st)) /* durably: what tells of the gap goes next */
            st = l->files->ops->sync_directory(l->files, l->directory);
    }
    return status_failed(st) ? st : log_listing_forget_deleted(files, l->files, l->directory);
}

static struct status open_files(struct log *l, const struct log_args *args,
                                struct log_listing *files, struct log_recovery_report *report)
{
    struct status st = check_topic_id(l);

    if (!status_failed(st))
        st = log_listing_tidy(files, l->files, l->directory);
    if (!status_failed(st))
        st = add_segments(l, files);
    if (status_failed(st) || !l->segment_count)
        return st;
    st = drop_below_start(l);
    if (!status_failed(st))
        st = repair_sealed(l, args, files, report);
    if (!status_failed(st))
        st = finish_deletion(l, files);
    if (!status_failed(st) && args->log_start_offset < l->segments[0]->base_offset)
        l->start_offset = l->segments[0]->base_offset;
    if (!status_failed(st))
        st = recover(l, args, files, report);
    if (!status_failed(st) && l->end_offset < l->start_offset) {
        /* What the log start promises to be gone is gone, and more: nothing of it may be served. */
        st = log_drop_segments(l, 0, l->segment_count);
        producer_state_clear(&l->producers);
        epoch_cache_clear(&l->epochs);
        l->end_offset = l->flushed_end = l->start_offset;
    }
    if (status_failed(st))
        return st;
    epoch_cache_truncate_from_end(&l->epochs, l->end_offset);
    epoch_cache_truncate_from_start(&l->epochs, l->start_offset);
    l->size_bytes = 0; /* dropping segments took theirs off a sum that was not made yet */
    for (size_t i = 0; i < l->segment_count; i++)
        l->size_bytes += l->segments[i]->size;
    log_listing_remove_stray_snapshots(files, l->files, l->directory, l->snapshot_offset,
                                       l->end_offset);
    return STATUS_OK;
}

struct status log_open(const struct log_args *args, struct log **out,
                       struct log_recovery_report *report)
{
    struct log_listing files = {0};
    struct log *l = log_new(args);
    struct status st;

    *report = (struct log_recovery_report){0};
    if (!l)
        return status_errno(ENOMEM, "log");
    st = log_listing_read(&files, l->files, l->directory);
    if (!status_failed(st)) {
        l->directory_exists = true;
        st = open_files(l, args, &files, report);
    } else if (st.sys_errno == ENOENT) {
        st = STATUS_OK;
    }
    log_listing_free(&files);
    if (status_failed(st)) {
        if (st.code == KERR_CORRUPT_MESSAGE)
            st.code = KERR_KAFKA_STORAGE_ERROR;
        log_discard(l);
        return st;
    }
    *out = l;
    return STATUS_OK;
}
