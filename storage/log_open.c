/* Opening a log: its files become segments, what a crash left half done is finished, then it is
 * recovered (log_recovery.c). Listing the directory: log_listing.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/log_internal.h"
#include "storage/log_listing.h"

/* ---- whose log it is ---- */

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

/* ---- its segments ---- */

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

/* ---- indexes of sealed segments ---- */

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

struct reindexing {
    struct log *log;
    struct segment *segment;
};

static struct status reindex_batch(void *arg, struct bytes batch, int64_t position)
{
    struct reindexing *r = arg;
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
    struct reindexing r = {l, s};
    const int64_t size = s->size;
    int64_t end;
    struct status st = log_rebuild_producers(l, files, s->base_offset);

    if (!status_failed(st))
        st = segment_reset_indexes(s);
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
            l->segments[i + 1]->base_offset >= log_flushed_before(args))
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

/* ---- what was deleted ---- */

/* Segments wholly below the log start were let go. They need not have been flushed, so that after a
 * crash of the machine there may be anything in them. */
static struct status drop_below_start(struct log *l, const struct log_args *args)
{
    size_t count = 0;
    struct status st;

    while (count + 1 < l->segment_count && l->segments[count + 1]->base_offset <= l->start_offset)
        count++;
    st = log_recover_epochs(l, args, count);
    return status_failed(st) ? st : log_drop_oldest(l, count);
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
        st = log_drop_oldest(l, count);
        if (!status_failed(st)) /* durably: what tells of the gap goes next */
            st = l->files->ops->sync_directory(l->files, l->directory);
    }
    return status_failed(st) ? st : log_listing_forget_deleted(files, l->files, l->directory);
}

/* ---- opening ---- */

/* Of a log that is gone: they would pass for the history of the one to come. */
static struct status forget_epochs(struct log *l)
{
    char path[SEGMENT_PATH_BYTES];
    struct status st = log_path(l, path, "leader-epoch-checkpoint");

    epoch_cache_clear(&l->epochs);
    l->epochs.dirty = false;
    if (!status_failed(st))
        st = l->files->ops->remove(l->files, path);
    if (st.sys_errno == ENOENT)
        return STATUS_OK;
    return status_failed(st) ? st : l->files->ops->sync_directory(l->files, l->directory);
}

/* Those of what is lost are not to be found by another start either, when batches of older epochs
 * may be there: the newest that the checkpoint names has gone, here or in recovery. What is only
 * new can wait for a flush. */
static struct status fit_epochs(struct log *l, struct epoch_entry checkpointed)
{
    epoch_cache_truncate_from_end(&l->epochs, l->end_offset);
    epoch_cache_raise_start(&l->epochs, l->start_offset);
    return epoch_cache_has(&l->epochs, checkpointed) ? STATUS_OK : log_save_epochs(l);
}

static struct status open_files(struct log *l, const struct log_args *args,
                                struct log_listing *files, struct log_recovery_report *report)
{
    struct epoch_entry checkpointed;
    struct status st = check_topic_id(l);

    if (!status_failed(st))
        st = log_listing_tidy(files, l->files, l->directory);
    if (!status_failed(st))
        st = add_segments(l, files);
    if (status_failed(st))
        return st;
    if (!l->segment_count)
        return forget_epochs(l);
    st = drop_below_start(l, args);
    checkpointed = epoch_cache_newest(&l->epochs);
    if (!status_failed(st))
        st = repair_sealed(l, args, files, report);
    if (!status_failed(st))
        st = finish_deletion(l, files);
    if (!status_failed(st) && args->log_start_offset < l->segments[0]->base_offset)
        l->start_offset = l->segments[0]->base_offset;
    if (!status_failed(st))
        st = log_recover(l, args, files, report);
    if (!status_failed(st) && l->end_offset < l->start_offset) {
        /* What the log start promises to be gone is gone, and more: nothing of it may be served. */
        st = log_cut_newest(l, l->segment_count);
        producer_state_clear(&l->producers);
        l->end_offset = l->flushed_end = l->start_offset;
        if (!status_failed(st))
            st = forget_epochs(l);
    }
    if (!status_failed(st))
        st = fit_epochs(l, checkpointed);
    if (status_failed(st))
        return st;
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
