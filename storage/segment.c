/* One segment: appending to it, and keeping its indexes. Walking and searching: segment_read.c. */
#include "storage/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"

/* Index entries in memory cover at most this much of the .log file, so that after a crash only so
 * much must be walked to get them back. */
#define INDEX_WRITE_OUT_BYTES (1 << 20)

struct status segment_path(char out[SEGMENT_PATH_BYTES], const char *path, const char *suffix)
{
    const int size = snprintf(out, SEGMENT_PATH_BYTES, "%s%s", path, suffix);

    if (size < 0 || size >= SEGMENT_PATH_BYTES)
        return status_errno(ENAMETOOLONG, "path of a segment file");
    return STATUS_OK;
}

struct status segment_new(struct files *files, const char *directory, int64_t base_offset,
                          bool fresh, struct segment **out)
{
    const size_t path_bytes = strlen(directory) + 1 + SEGMENT_NAME_DIGITS + 1;
    struct segment *s;

    if (path_bytes > SEGMENT_PATH_BYTES - 32) /* room for each suffix */
        return status_errno(ENAMETOOLONG, "path of a segment file");
    s = calloc(1, sizeof *s + path_bytes);
    if (!s)
        return status_errno(ENOMEM, "segment");
    snprintf(s->path, path_bytes, "%s/%020" PRId64, directory, base_offset);
    atomic_init(&s->references, 1);
    atomic_init(&s->readers, 0);
    atomic_init(&s->log_file, NULL);
    atomic_init(&s->pinned, false);
    s->files = files;
    s->base_offset = base_offset;
    s->largest = (struct time_offset){-1, base_offset};
    s->largest_known = fresh;
    s->first_timestamp_ms = -1;
    s->mtime_size = -1;
    s->names_new = fresh;
    offset_index_init(&s->offsets, files, s->path, base_offset, fresh);
    time_index_init(&s->times, files, s->path, base_offset, fresh);
    txn_index_init(&s->txns, files, s->path, fresh);
    *out = s;
    return STATUS_OK;
}

struct status segment_new_cleaned(struct files *files, const char *directory, int64_t base_offset,
                                  struct segment **out)
{
    char path[SEGMENT_PATH_BYTES];
    struct segment *s;
    struct file *f;
    struct status st = segment_new(files, directory, base_offset, true, &s);

    if (status_failed(st))
        return st;
    s->offsets.file.suffix = ".index.cleaned";
    s->times.file.suffix = ".timeindex.cleaned";
    s->txns.file.suffix = ".txnindex.cleaned";
    st = segment_remove_cleaned(s);
    if (!status_failed(st))
        st = segment_path(path, s->path, ".log.cleaned");
    if (!status_failed(st))
        st = files->ops->open(files, path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &f);
    if (status_failed(st)) {
        segment_release(s);
        return st;
    }
    atomic_store(&s->log_file, f);
    *out = s;
    return STATUS_OK;
}

struct status segment_remove_cleaned(struct segment *s)
{
    static const char *const suffixes[] = {".log.cleaned", ".index.cleaned", ".timeindex.cleaned",
                                           ".txnindex.cleaned"};
    struct status result = STATUS_OK;

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char path[SEGMENT_PATH_BYTES];
        struct status st = segment_path(path, s->path, suffixes[i]);

        if (!status_failed(st))
            st = s->files->ops->remove(s->files, path);
        if (status_failed(st) && st.sys_errno != ENOENT)
            result = st;
    }
    return result;
}

struct segment *segment_retain(struct segment *s)
{
    atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
    return s;
}

bool segment_is_held_by_others(const struct segment *s, int known)
{
    return atomic_load(&s->references) > known;
}

static void for_each_open_file(struct segment *s, void (*act)(struct files *fs, struct file *f))
{
    struct file *open[] = {
        atomic_load(&s->log_file),
        atomic_load(&s->offsets.file.file),
        atomic_load(&s->times.file.file),
        atomic_load(&s->txns.file.file),
    };

    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++)
        if (open[i])
            act(s->files, open[i]);
}

static void pin_file(struct files *fs, struct file *f)
{
    (void)fs->ops->pin(fs, f);
}

static void unpin_file(struct files *fs, struct file *f)
{
    fs->ops->unpin(fs, f);
}

void segment_pin(struct segment *s)
{
    struct file *f;

    if (atomic_load(&s->pinned))
        return;
    /* Open what a reader may still want; what cannot be opened fails its reader later. */
    (void)segment_log_file(s, &f);
    (void)segment_load_indexes(s);
    for_each_open_file(s, pin_file);
    atomic_store(&s->pinned, true);
}

void segment_unpin(struct segment *s)
{
    if (!atomic_load(&s->pinned))
        return;
    for_each_open_file(s, unpin_file);
    atomic_store(&s->pinned, false);
}

void segment_release(struct segment *s)
{
    struct file *log_file;

    if (atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) != 1)
        return;
    segment_unpin(s);
    index_file_close(&s->offsets.file);
    index_file_close(&s->times.file);
    index_file_close(&s->txns.file);
    log_file = atomic_load(&s->log_file);
    if (log_file)
        s->files->ops->close(s->files, log_file);
    free(s);
}

static struct status open_log_file(struct segment *s, int flags, struct file **out)
{
    char path[SEGMENT_PATH_BYTES];
    struct file *f = atomic_load_explicit(&s->log_file, memory_order_acquire);
    struct file *none = NULL;
    struct status st;

    if (f) {
        *out = f;
        return STATUS_OK;
    }
    st = segment_path(path, s->path, ".log");
    if (!status_failed(st))
        st = s->files->ops->open(s->files, path, flags, &f);
    if (status_failed(st))
        return st;
    if (!atomic_compare_exchange_strong(&s->log_file, &none, f)) {
        s->files->ops->close(s->files, f); /* another thread was first */
        f = none;
    }
    *out = f;
    return STATUS_OK;
}

struct status segment_log_file(struct segment *s, struct file **out)
{
    return open_log_file(s, FILE_WRITE, out);
}

bool segment_indexes_loaded(const struct segment *s)
{
    return atomic_load(&s->offsets.file.loaded) && atomic_load(&s->times.file.loaded) &&
           atomic_load(&s->txns.file.loaded);
}

struct status segment_load_indexes(struct segment *s)
{
    struct status st = index_file_load(&s->offsets.file);

    if (!status_failed(st))
        st = index_file_load(&s->times.file);
    if (!status_failed(st))
        st = index_file_load(&s->txns.file);
    return st;
}

struct status segment_write(struct segment *s, struct bytes batches)
{
    struct iovec part = {(void *)(uintptr_t)batches.data, batches.size};
    struct file *f;
    struct status st = open_log_file(s, FILE_WRITE | FILE_CREATE, &f);

    if (status_failed(st))
        return st;
    return s->files->ops->write(s->files, f, &part, 1, s->size);
}

struct status segment_note_batch(struct segment *s, const uint8_t *head, int64_t interval_bytes)
{
    const int64_t last_offset = record_batch_last_offset(head);
    const int64_t max_timestamp_ms = record_batch_max_timestamp(head);
    struct status st = STATUS_OK;

    if (s->size == 0)
        s->first_timestamp_ms = max_timestamp_ms;
    if (max_timestamp_ms > s->largest.timestamp_ms)
        s->largest = (struct time_offset){max_timestamp_ms, last_offset};
    if (s->size - s->last_indexed_position > interval_bytes) {
        st = offset_index_append(&s->offsets, (struct offset_position){last_offset, s->size});
        if (!status_failed(st))
            st = time_index_maybe_append(&s->times, s->largest);
        s->last_indexed_position = s->size;
    }
    s->size += record_batch_size_bytes(head);
    if (!status_failed(st) && s->size - s->index_written_to > INDEX_WRITE_OUT_BYTES)
        st = segment_write_out_indexes(s);
    return st;
}

struct status segment_write_out_indexes(struct segment *s)
{
    /* Times first: after a crash in between the time index is ahead, and what is ahead is found
     * again by the walk from the last offset entry. */
    struct status st = index_file_write_out(&s->times.file);

    if (!status_failed(st))
        st = index_file_write_out(&s->offsets.file);
    if (!status_failed(st))
        st = index_file_write_out(&s->txns.file);
    if (!status_failed(st))
        s->index_written_to = s->size;
    return st;
}

/* Makes the file of an index that has no entry, and cuts padding off one that was loaded with
 * it. */
static struct status index_settle(struct index_file *x)
{
    char path[SEGMENT_PATH_BYTES];
    struct file *f;
    struct status st;

    if (atomic_load(&x->padded))
        return index_file_truncate(x, index_file_count(x));
    if (atomic_load(&x->file))
        return STATUS_OK;
    st = segment_path(path, x->path, x->suffix);
    if (!status_failed(st))
        st = x->files->ops->open(x->files, path, FILE_WRITE | FILE_CREATE, &f);
    if (!status_failed(st))
        x->files->ops->close(x->files, f);
    return st;
}

struct status segment_seal(struct segment *s)
{
    struct time_offset last;
    struct status st = segment_load_indexes(s);

    if (!status_failed(st))
        st = segment_load_largest(s);
    if (!status_failed(st))
        st = time_index_last(&s->times, &last, NULL);
    if (!status_failed(st))
        st = time_index_maybe_append(&s->times, s->largest);
    if (!status_failed(st))
        st = segment_write_out_indexes(s);
    if (!status_failed(st))
        st = index_settle(&s->offsets.file);
    if (!status_failed(st))
        st = index_settle(&s->times.file);
    return st;
}

struct status segment_load_largest(struct segment *s)
{
    struct segment_walk w;
    struct offset_position from;
    struct time_offset largest;
    struct status st;

    if (s->largest_known)
        return STATUS_OK;
    st = segment_load_indexes(s);
    if (!status_failed(st))
        st = time_index_last(&s->times, &largest, NULL);
    if (!status_failed(st))
        st = offset_index_last(&s->offsets, &from, NULL); /* the time index covers what is before */
    if (!status_failed(st))
        st = segment_walk_begin(&w, s, from.position, s->size, NULL);
    while (!status_failed(st) && w.head) {
        if (record_batch_max_timestamp(w.head) > largest.timestamp_ms)
            largest = (struct time_offset){record_batch_max_timestamp(w.head),
                                           record_batch_last_offset(w.head)};
        st = segment_walk_next(&w);
    }
    if (status_failed(st))
        return st;
    s->largest = largest;
    s->largest_known = true;
    return STATUS_OK;
}

struct status segment_sealed_largest(struct segment *s, struct time_offset *out, bool *cold)
{
    struct status st;

    if (cold && !segment_indexes_loaded(s)) {
        *cold = true; /* opening a file may have to wait too */
        return STATUS_OK;
    }
    st = segment_load_indexes(s);
    if (status_failed(st))
        return st;
    return time_index_lookup(
        &s->times, atomic_load_explicit(&s->times.file.file_entries, memory_order_acquire),
        INT64_MAX, out, cold);
}

struct status segment_load_first_timestamp(struct segment *s)
{
    struct segment_walk w;
    struct status st;

    if (s->first_timestamp_ms != SEGMENT_TIMESTAMP_UNREAD)
        return STATUS_OK;
    st = segment_walk_begin(&w, s, 0, s->size, NULL);
    if (!status_failed(st))
        s->first_timestamp_ms = w.head ? record_batch_max_timestamp(w.head) : -1;
    return st;
}

struct status segment_reset_index(struct segment *s, struct index_file *x)
{
    char path[SEGMENT_PATH_BYTES];
    struct file *f = NULL;
    struct status st = segment_path(path, s->path, x->suffix);

    index_file_close(x);
    if (!status_failed(st))
        st = s->files->ops->open(s->files, path, FILE_WRITE | FILE_TRUNCATE, &f);
    if (st.sys_errno == ENOENT)
        st = STATUS_OK;
    index_file_init(x, s->files, s->path, x->suffix, x->entry_bytes, true);
    /* the next flush syncs that it is empty */
    atomic_store(&x->file, status_failed(st) ? NULL : f);
    s->times.last_timestamp_ms = -1;
    s->largest = (struct time_offset){-1, s->base_offset};
    s->largest_known = true;
    s->last_indexed_position = 0;
    s->index_written_to = 0;
    return st;
}

struct status segment_reset_indexes(struct segment *s)
{
    struct status st = segment_reset_index(s, &s->offsets.file);

    if (!status_failed(st))
        st = segment_reset_index(s, &s->times.file);
    if (!status_failed(st))
        st = segment_reset_index(s, &s->txns.file);
    return st;
}

struct status segment_rebuild_indexes(struct segment *s, int64_t interval_bytes)
{
    const int64_t size = s->size;
    struct segment_walk w;
    struct status st = segment_reset_index(s, &s->offsets.file);

    if (!status_failed(st))
        st = segment_reset_index(s, &s->times.file);
    if (!status_failed(st))
        st = segment_walk_begin(&w, s, 0, size, NULL);
    s->size = 0;
    while (!status_failed(st) && w.head) {
        st = segment_note_batch(s, w.head, interval_bytes);
        if (!status_failed(st))
            st = segment_walk_next(&w);
    }
    s->size = size;
    if (status_failed(st) && st.code != KERR_CORRUPT_MESSAGE)
        return st;
    return segment_seal(s);
}

struct status segment_truncate(struct segment *s, int64_t offset)
{
    struct segment_range r = {.wanted_offset = offset,
                              .end_offset = INT64_MAX,
                              .min_one = true,
                              .limit = s->size,
                              .limit_offset = INT64_MAX,
                              .start_position = -1,
                              .end_position = -1};
    struct offset_position last;
    struct file *f;
    struct status st = segment_load_indexes(s);

    if (!status_failed(st)) {
        r.index_entries = index_file_count(&s->offsets.file);
        st = segment_find_range(s, &r, NULL);
    }
    if (!status_failed(st))
        st = segment_log_file(s, &f);
    if (status_failed(st))
        return st;
    /* Indexes first: after a crash in between they are short of entries, not wrong. */
    st = offset_index_truncate(&s->offsets, offset);
    if (!status_failed(st))
        st = time_index_truncate(&s->times, offset);
    if (!status_failed(st))
        st = txn_index_truncate(&s->txns, offset);
    if (!status_failed(st) && r.size)
        st = s->files->ops->truncate(s->files, f, r.position);
    if (!status_failed(st))
        st = offset_index_last(&s->offsets, &last, NULL);
    if (status_failed(st))
        return st;
    if (r.size)
        s->size = r.position;
    s->last_indexed_position = last.position;
    s->index_written_to = s->size;
    s->write_out_started_to = s->size;
    if (s->size == 0)
        s->first_timestamp_ms = -1;
    s->largest_known = false;
    return segment_load_largest(s);
}
