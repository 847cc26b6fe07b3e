/* Shrinking from the end, and starting afresh.
 *
 * A segment without readers is cut in place. One that somebody reads keeps its bytes: what stays is
 * copied to new files that take over the names, and the reader goes on with the old ones, which
 * have lost theirs. */
#include <errno.h>
#include <stdlib.h>

#include "protocol/base/check.h"
#include "storage/log_internal.h"
#include "storage/log_listing.h"

#define COPY_BYTES (1 << 20)

static struct status copy_bytes(struct segment *from, struct files *files, struct file *to,
                                int64_t size)
{
    struct file *f;
    uint8_t *buffer = malloc(COPY_BYTES);
    struct status st =
        buffer ? segment_log_file(from, &f) : status_errno(ENOMEM, "copy of a segment");

    for (int64_t at = 0; at < size && !status_failed(st);) {
        const size_t want = size - at < COPY_BYTES ? (size_t)(size - at) : COPY_BYTES;
        struct iovec part = {buffer, want};
        size_t got = 0;

        st = files->ops->read(files, f, buffer, want, at, &got);
        if (!status_failed(st) && got != want)
            st = status_errno(EIO, "segment file is shorter than its log");
        if (!status_failed(st))
            st = files->ops->write(files, to, &part, 1, at);
        at += (int64_t)want;
    }
    if (!status_failed(st))
        st = files->ops->sync(files, to);
    free(buffer);
    return st;
}

static struct status remove_index_files(struct segment *s)
{
    static const char *const suffixes[] = {".index", ".timeindex", ".txnindex"};

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char path[SEGMENT_PATH_BYTES];
        struct status st = segment_path(path, s->path, suffixes[i]);

        if (!status_failed(st))
            st = s->files->ops->remove(s->files, path);
        if (status_failed(st) && st.sys_errno != ENOENT)
            return st;
    }
    return STATUS_OK;
}

/* The first `size` bytes of the segment as a new object with new files in place of the old ones. */
static struct status replace_segment(struct log *l, size_t index, int64_t size,
                                     struct segment **out)
{
    struct segment *old = l->segments[index], *s;
    char temporary[SEGMENT_PATH_BYTES], path[SEGMENT_PATH_BYTES];
    struct txn_index_entry entry;
    struct file *f;
    struct status st = segment_path(temporary, old->path, ".log.cleaned");

    if (!status_failed(st))
        st = segment_path(path, old->path, ".log");
    if (!status_failed(st))
        st = l->files->ops->open(l->files, temporary, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &f);
    if (status_failed(st))
        return st;
    st = copy_bytes(old, l->files, f, size);
    l->files->ops->close(l->files, f);
    segment_pin(old);
    if (!status_failed(st))
        st = remove_index_files(old);
    if (!status_failed(st))
        st = l->files->ops->rename(l->files, temporary, path);
    if (!status_failed(st))
        st = segment_new(l->files, l->directory, old->base_offset, false, &s);
    if (status_failed(st))
        return st;
    s->size = size;
    s->created_ms = old->created_ms;
    s->first_timestamp_ms = SEGMENT_TIMESTAMP_UNREAD;
    st = segment_rebuild_indexes(s, l->config->index_interval_bytes);
    for (uint32_t i = 0; !status_failed(st) && i < index_file_count(&old->txns.file); i++) {
        st = txn_index_get(&old->txns, i, &entry);
        if (!status_failed(st))
            st = txn_index_append(&s->txns, &entry);
    }
    if (status_failed(st)) {
        segment_release(s);
        return st;
    }
    *out = s;
    return STATUS_OK;
}

static struct status cut_segment(struct log *l, size_t index, int64_t offset)
{
    struct segment *s = l->segments[index], *replacement;
    struct status st;

    if (atomic_load(&s->readers) > 0) {
        st = replace_segment(l, index, s->size, &replacement);
        if (status_failed(st))
            return st;
        pthread_mutex_lock(&l->lock);
        l->segments[index] = replacement;
        pthread_mutex_unlock(&l->lock);
        segment_release(s);
        s = replacement;
    }
    pthread_mutex_lock(&l->lock);
    st = segment_truncate(s, offset);
    pthread_mutex_unlock(&l->lock);
    return st;
}

/* What is left of the log, on the disk before anything else is appended; the log's own name too,
 * of which no flush may have taken care yet. */
static struct status sync_rest(struct log *l)
{
    struct segment *active = log_active_segment(l);
    struct file *f;
    struct status st = STATUS_OK;

    if (active)
        st = segment_log_file(active, &f);
    if (active && !status_failed(st))
        st = l->files->ops->sync(l->files, f);
    if (!status_failed(st) && l->directory_exists)
        st = l->files->ops->sync_directory(l->files, l->directory);
    if (!status_failed(st) && l->directory_new)
        st = log_sync_new_directory(l->files, l->directory);
    if (!status_failed(st))
        l->directory_new = false;
    return st;
}

/* Offset behind the last batch of the newest segment. */
static struct status find_end(struct log *l, int64_t *end)
{
    struct segment *s = log_active_segment(l);
    struct offset_position from;
    struct segment_walk w;
    struct status st = offset_index_last(&s->offsets, &from, NULL);

    *end = s->base_offset;
    if (!status_failed(st))
        st = segment_walk_begin(&w, s, from.position, s->size, NULL);
    while (!status_failed(st) && w.head) {
        *end = record_batch_last_offset(w.head) + 1;
        st = segment_walk_next(&w);
    }
    return st;
}

static void measure(struct log *l)
{
    l->size_bytes = 0;
    for (size_t i = 0; i < l->segment_count; i++)
        l->size_bytes += l->segments[i]->size;
    log_clear_hints(l);
    l->truncations++;
    l->unsettled = true;
}

/* Producer state as of the new end, from the snapshots that are left. */
static struct status reload_producers(struct log *l)
{
    struct log_listing files;
    struct status st = log_listing_read(&files, l->files, l->directory);

    if (status_failed(st))
        return st;
    l->snapshot_offset = -1;
    st = log_rebuild_producers(l, &files, l->end_offset);
    if (!status_failed(st))
        log_listing_remove_stray_snapshots(&files, l->files, l->directory, l->snapshot_offset,
                                           l->end_offset);
    log_listing_free(&files);
    return st;
}

static struct status truncate_segments(struct log *l, int64_t offset)
{
    size_t index = log_segment_index(l, offset);
    struct status st = log_cut_newest(l, l->segment_count - index - 1);

    if (!status_failed(st))
        st = cut_segment(l, index, offset);
    if (!status_failed(st))
        st = find_end(l, &l->end_offset);
    return st;
}

static struct status truncate_fully(struct log *l, int64_t offset);

static struct status truncate_to(struct log *l, int64_t offset)
{
    struct status st = log_check_online(l);

    if (status_failed(st))
        return st;
    if (offset >= l->end_offset) {
        /* An epoch that was started here, and then lost to another leader before it wrote. It was
         * never saved: the batches to come may be of an older one. */
        epoch_cache_truncate_from_end(&l->epochs, l->end_offset);
        return STATUS_OK;
    }
    if (!l->segment_count || offset < l->segments[0]->base_offset)
        return truncate_fully(l, offset);
    st = truncate_segments(l, offset);
    epoch_cache_truncate_from_end(&l->epochs, l->end_offset);
    if (!status_failed(st))
        st = log_save_epochs(l);
    if (!status_failed(st))
        st = reload_producers(l);
    if (!status_failed(st))
        st = sync_rest(l);
    measure(l);
    if (l->flushed_end > l->end_offset)
        l->flushed_end = l->end_offset;
    if (l->start_offset > l->end_offset)
        log_set_start_offset(l, l->end_offset);
    return status_failed(st) ? log_go_offline(l, st) : STATUS_OK;
}

/* An empty segment says where the log starts, also after a restart. */
static struct status start_empty_segment(struct log *l, int64_t offset)
{
    struct segment *s;
    struct status st = log_roll(l, offset);

    if (status_failed(st))
        return st;
    s = log_active_segment(l);
    return segment_write(s, (struct bytes){(const uint8_t *)"", 0});
}

static struct status truncate_fully(struct log *l, int64_t offset)
{
    const bool announced = l->size_bytes > 0;
    struct status st = log_check_online(l);

    if (status_failed(st))
        return st;
    if (announced)
        st = log_listing_announce(l->files, l->directory, offset);
    if (status_failed(st))
        return log_go_offline(l, st);
    epoch_cache_clear(&l->epochs);
    st = log_save_epochs(l); /* first: they would pass for the history of the log to come */
    if (!status_failed(st))
        st = log_cut_newest(l, l->segment_count);
    producer_state_clear(&l->producers);
    l->snapshot_offset = -1;
    log_set_start_offset(l, offset);
    l->end_offset = l->flushed_end = offset;
    if (!status_failed(st))
        st = start_empty_segment(l, offset);
    if (!status_failed(st))
        st = reload_producers(l);
    if (!status_failed(st))
        st = sync_rest(l);
    if (!status_failed(st) && announced)
        st = log_listing_withdraw(l->files, l->directory, offset);
    measure(l);
    return status_failed(st) ? log_go_offline(l, st) : STATUS_OK;
}

/* Cuts under the lock that steps of a compaction hold, and takes the ground from under the one that
 * is under way. */
static struct status cut(struct log *l, int64_t offset,
                         struct status (*act)(struct log *l, int64_t offset))
{
    struct status st;

    pthread_mutex_lock(&l->names);
    st = log_compaction_interrupt(l);
    if (!status_failed(st))
        st = act(l, offset);
    if (l->cleaned_offset > l->end_offset)
        l->cleaned_offset = l->end_offset;
    pthread_mutex_unlock(&l->names);
    return st;
}

struct status log_truncate_to(struct log *l, int64_t offset)
{
    return cut(l, offset, truncate_to);
}

struct status log_truncate_fully(struct log *l, int64_t offset)
{
    return cut(l, offset, truncate_fully);
}

struct status log_raise_start_offset(struct log *l, int64_t offset)
{
    struct status st = log_check_online(l);

    if (status_failed(st) || offset <= l->start_offset)
        return st;
    if (offset > l->end_offset)
        return status_error(KERR_OFFSET_OUT_OF_RANGE, "log start above the log end");
    log_set_start_offset(l, offset);
    epoch_cache_raise_start(&l->epochs, offset);
    producer_state_raise_start(&l->producers, offset);
    return STATUS_OK;
}
