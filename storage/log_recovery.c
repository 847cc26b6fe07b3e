/* Making index, producer and epoch state agree with what the segments hold. The reasoning is in
 * NOTES-recovery.md. What comes before it: log_open.c. */
#include "protocol/base/check.h"
#include "storage/log_internal.h"
#include "storage/log_listing.h"

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
        st = segment_reset_indexes(s);
    }
    producer_state_clear(&l->producers);
    log_load_snapshot(l, files, INT64_MAX, &snapshot);
    if (!status_failed(st) && snapshot < s->base_offset)
        st = log_replay_producers(l, snapshot, s->base_offset);
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
            st = segment_reset_indexes(s);
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
    return log_cut_newest(l, l->segment_count - index);
}

/* A follower cuts its log, and appends, within less time than there is between two checkpoints:
 * above the high watermark the recovery point may be that of other batches. */
int64_t log_flushed_before(const struct log_args *args)
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
        st = segment_reset_indexes(s);
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

static struct status note_epochs(struct log *l, struct segment *s)
{
    struct segment_walk w;
    struct status st = segment_walk_begin(&w, s, 0, s->size, NULL);

    while (!status_failed(st) && w.head) {
        const int32_t epoch = record_batch_leader_epoch(w.head);

        if (epoch >= 0 && epoch > epoch_cache_latest(&l->epochs))
            epoch_cache_assign(&l->epochs, epoch, record_batch_base_offset(w.head));
        st = segment_walk_next(&w);
    }
    return st;
}

/* Adds the epochs of all batches from `from` on, in order. What the cache has it keeps: compaction
 * may have taken the batches that began an epoch, or all of it. */
static struct status walk_epochs(struct log *l, int64_t from)
{
    struct status st = STATUS_OK;

    for (size_t i = log_segment_index(l, from); i < l->segment_count && !status_failed(st); i++)
        st = note_epochs(l, l->segments[i]);
    return st;
}

static struct status make_epochs(struct log *l)
{
    epoch_cache_clear(&l->epochs);
    return walk_epochs(l, l->segments[0]->base_offset);
}

/* The log start had come up to the end, so that the newest epoch was saved as if it began there;
 * but not every start knows of that log start. */
static bool knows_no_epoch(struct log *l)
{
    epoch_cache_truncate_from_end(&l->epochs, l->end_offset);
    return epoch_cache_latest(&l->epochs) < 0;
}

/* Epochs are saved by flushes. When the batch where the walk started is of an epoch that the
 * checkpoint does not know, entries may be missing before it too, and that epoch may have begun
 * there: it is noted anew. */
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
        return make_epochs(l);
    if (s->size == 0) /* it has just begun: what was not flushed is in those before */
        return recovery_point < s->base_offset ? walk_epochs(l, recovery_point) : STATUS_OK;
    st = offset_index_lookup(&s->offsets, index_file_count(&s->offsets.file), walked_from, &from,
                             NULL);
    if (!status_failed(st))
        st = segment_walk_begin(&w, s, from.position, s->size, NULL);
    /* index entries name last offsets: this one may be of a batch before that one */
    while (!status_failed(st) && w.head && record_batch_base_offset(w.head) < walked_from)
        st = segment_walk_next(&w);
    if (status_failed(st) || !w.head || record_batch_leader_epoch(w.head) <= checkpointed)
        return st;
    epoch_cache_truncate_from_end(&l->epochs, walked_from);
    return walk_epochs(l, recovery_point);
}

struct status log_recover_epochs(struct log *l, const struct log_args *args, size_t doomed)
{
    const int64_t flushed = log_flushed_before(args), kept = l->segments[doomed]->base_offset;
    bool readable = args->trust == LOG_TRUST_SAME_BOOT;
    struct status st = load_epochs(l);

    if (status_failed(st) || args->trust == LOG_TRUST_CLEAN || flushed >= kept)
        return st;
    for (size_t i = 0; i < doomed && readable && !status_failed(st); i++)
        if (l->segments[i + 1]->base_offset > flushed)
            st = note_epochs(l, l->segments[i]);
    if (st.code == KERR_CORRUPT_MESSAGE) { /* it goes all the same */
        readable = false;
        st = STATUS_OK;
    }
    if (!readable && epoch_cache_newest(&l->epochs).start_offset < kept)
        epoch_cache_clear(&l->epochs);
    return status_failed(st) ? st : log_save_epochs(l);
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

struct status log_recover(struct log *l, const struct log_args *args,
                          const struct log_listing *files, struct log_recovery_report *report)
{
    int64_t recovery_point = log_flushed_before(args);
    int64_t walked_from = 0;
    const int32_t checkpointed = epoch_cache_latest(&l->epochs);
    struct status st;

    if (recovery_point < l->segments[0]->base_offset)
        recovery_point = l->segments[0]->base_offset;
    l->verify_from = recovery_point;
    if (args->trust == LOG_TRUST_OTHER_BOOT) {
        l->verify_to = 0;
        st = recover_from(l, files, recovery_point, report);
        /* they are lost, or nothing was flushed yet */
        if (!status_failed(st) && (checkpointed < 0 || knows_no_epoch(l)))
            st = make_epochs(l);
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
