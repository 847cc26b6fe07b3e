/* Flushing: the loop says what is dirty and takes references on it, the pool syncs, the loop moves
 * the flushed end. Whatever recovery relies on below the flushed end is durable with it: the
 * segments, the indexes of sealed ones, names, leader epochs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/log_internal.h"

/* A producer snapshot is written with the first flush after so many bytes, so that a restart after
 * a kill has only so much to walk over. */
#define SNAPSHOT_DISTANCE_BYTES (4 << 20)

/* The kernel is asked to start writing this much at a time, so that a flush finds little left to
 * do. */
#define WRITE_OUT_STEP_BYTES (2 << 20)

struct flush_work {
    struct files *files;
    struct segment **segments; /* owned references */
    size_t segment_count;
    bool last_sealed; /* all before it are */
    char *directory;  /* owned */
    bool sync_directory;
    bool sync_parent;          /* and partition.metadata */
    bool epochs_alone;         /* compaction may have taken what they could be made from */
    struct bytes_mut epochs;   /* data NULL: nothing to write */
    struct bytes_mut snapshot; /* likewise */
    int64_t snapshot_offset;
    int64_t useless_snapshot; /* the one before, when that makes it so; -1: none */
    int64_t closing_snapshot; /* one that is there already and is to be synced; -1: none */
    int64_t end_offset;
    struct log_hint end_hint;
    uint32_t truncations;
};

static void flush_work_free(struct flush_work *w)
{
    for (size_t i = 0; i < w->segment_count; i++)
        segment_release(w->segments[i]);
    free(w->segments);
    free(w->directory);
    free(w->epochs.data);
    free(w->snapshot.data);
    free(w);
}

/* The last segments: those with batches past the flushed end, and one that ends right there, since
 * it may have been sealed after that flush and its indexes are not synced yet. */
static size_t unflushed_segments(const struct log *l)
{
    size_t count = 0;

    while (count < l->segment_count &&
           (count == 0 || l->segments[l->segment_count - count]->base_offset >= l->flushed_end))
        count++;
    return count;
}

static bool take_segments(struct log *l, struct flush_work *w)
{
    const size_t count = unflushed_segments(l);

    w->segments = malloc((count ? count : 1) * sizeof w->segments[0]);
    if (!w->segments)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct segment *s = l->segments[l->segment_count - count + i];

        w->segments[w->segment_count++] = segment_retain(s);
        w->sync_directory |= s->names_new;
    }
    return true;
}

static int flush_file_count(const struct flush_work *w)
{
    int count = (int)w->segment_count;

    for (size_t i = 0; i < w->segment_count; i++)
        count += i + 1 < w->segment_count ? 2 : 0;
    return count + w->sync_directory + 2 * w->sync_parent + 2 * (w->epochs.data != NULL);
}

/* A snapshot that lies at no segment's base is only of use while it is the newest. */
static bool is_of_use(const struct log *l, int64_t snapshot)
{
    return !l->segment_count ||
           l->segments[log_segment_index(l, snapshot)]->base_offset == snapshot;
}

static void take_small_files(struct log *l, struct flush_work *w)
{
    w->sync_parent = l->directory_new;
    w->sync_directory |= l->directory_new;
    l->directory_new = false;
    if (l->epochs.dirty) {
        epoch_cache_encode(&l->epochs, l->end_offset, &w->epochs);
        w->epochs_alone = l->config->cleanup_compact || l->cleaned_offset > 0;
        l->epochs.dirty =
            epoch_cache_epoch_of(&l->epochs, l->end_offset - 1) != epoch_cache_latest(&l->epochs);
    }
    if (l->snapshot_size_bytes >= SNAPSHOT_DISTANCE_BYTES && l->snapshot_offset != l->end_offset) {
        producer_snapshot_encode(&l->producers, &w->snapshot);
        w->snapshot_offset = l->end_offset;
        if (l->snapshot_offset >= 0 && !is_of_use(l, l->snapshot_offset))
            w->useless_snapshot = l->snapshot_offset;
        l->snapshot_size_bytes = 0;
    }
}

static bool flush_begin(struct log *l, struct log_flush *out, bool closing)
{
    struct segment *active = log_active_segment(l);
    struct flush_work *w;

    CHECK(!l->flushing);
    if (log_offline(l) || !active ||
        (!closing && l->flushed_end >= l->end_offset && !active->names_new))
        return false;
    w = calloc(1, sizeof *w);
    if (!w)
        return false;
    w->files = l->files;
    w->useless_snapshot = w->closing_snapshot = -1;
    w->directory = strdup(l->directory);
    if (!w->directory || !take_segments(l, w)) {
        flush_work_free(w);
        return false;
    }
    take_small_files(l, w);
    if (closing) {
        w->last_sealed = w->sync_directory = true;
        w->closing_snapshot = l->snapshot_offset;
    }
    w->end_offset = l->end_offset;
    w->end_hint = (struct log_hint){active->base_offset, l->end_offset, active->size};
    active->write_out_started_to = active->size; /* all of it is about to be written */
    w->truncations = l->truncations;
    l->flushing = true;
    *out = (struct log_flush){l->end_offset, flush_file_count(w), w};
    return true;
}

bool log_flush_begin(struct log *l, struct log_flush *out)
{
    return flush_begin(l, out, false);
}

bool log_flush_begin_closing(struct log *l, struct log_flush *out)
{
    return flush_begin(l, out, true);
}

bool log_write_out_begin(struct log *l, struct log_write_out *out)
{
    struct segment *s = log_active_segment(l);

    if (log_offline(l) || !s || s->size - s->write_out_started_to < WRITE_OUT_STEP_BYTES)
        return false;
    *out = (struct log_write_out){segment_retain(s), s->write_out_started_to,
                                  s->size - s->write_out_started_to};
    s->write_out_started_to = s->size;
    return true;
}

void log_write_out_run(struct log_write_out *w)
{
    struct files *files = w->segment->files;
    struct file *f = atomic_load(&w->segment->log_file);

    if (f)
        files->ops->sync_start(files, f, w->position, w->size);
}

void log_write_out_end(struct log_write_out *w)
{
    segment_release(w->segment);
    *w = (struct log_write_out){0};
}

static struct status join_path(char out[SEGMENT_PATH_BYTES], const char *directory,
                               const char *name)
{
    const int size = snprintf(out, SEGMENT_PATH_BYTES, "%s/%s", directory, name);

    return size < 0 || size >= SEGMENT_PATH_BYTES ? status_errno(ENAMETOOLONG, "path of a log file")
                                                  : STATUS_OK;
}

static struct status sync_path(struct files *files, const char *path)
{
    struct file *f;
    struct status st = files->ops->open(files, path, FILE_WRITE, &f);

    if (status_failed(st))
        return st.sys_errno == ENOENT ? STATUS_OK : st;
    st = files->ops->sync(files, f);
    files->ops->close(files, f);
    return st;
}

static struct status epoch_paths(const struct flush_work *w, char path[SEGMENT_PATH_BYTES],
                                 char temporary[SEGMENT_PATH_BYTES])
{
    struct status st = join_path(path, w->directory, "leader-epoch-checkpoint");

    return status_failed(st) ? st
                             : join_path(temporary, w->directory, "leader-epoch-checkpoint.tmp");
}

static struct status replace_epochs(struct flush_work *w)
{
    char path[SEGMENT_PATH_BYTES], temporary[SEGMENT_PATH_BYTES];
    struct status st;

    if (!w->epochs.data)
        return STATUS_OK;
    st = epoch_paths(w, path, temporary);
    return status_failed(st)
               ? st
               : files_replace(w->files, path, (struct bytes){w->epochs.data, w->epochs.size});
}

/* Some file systems keep a rename and lose the content when the machine crashes before it is
 * synced: epochs that batches may not tell any more wait (log_flush_place). */
static struct status write_epochs(struct flush_work *w)
{
    char path[SEGMENT_PATH_BYTES], temporary[SEGMENT_PATH_BYTES];
    struct status st;

    if (!w->epochs.data)
        return STATUS_OK;
    st = epoch_paths(w, path, temporary);
    if (!status_failed(st))
        st = log_write_file(w->files, temporary, (struct bytes){w->epochs.data, w->epochs.size});
    if (!status_failed(st) && !w->epochs_alone)
        st = w->files->ops->rename(w->files, temporary, path);
    return st;
}

static struct status write_snapshot(struct flush_work *w)
{
    char path[SEGMENT_PATH_BYTES];
    struct status st;

    if (!w->snapshot.data)
        return STATUS_OK;
    st = log_snapshot_path(w->directory, path, w->snapshot_offset, "");
    if (status_failed(st))
        return st;
    st = log_write_file(w->files, path, (struct bytes){w->snapshot.data, w->snapshot.size});
    if (!status_failed(st) && w->useless_snapshot >= 0 &&
        !status_failed(log_snapshot_path(w->directory, path, w->useless_snapshot, "")))
        (void)w->files->ops->remove(w->files, path); /* the next open removes what stays */
    return st;
}

struct status log_flush_write(struct log_flush *f)
{
    struct flush_work *w = f->impl;
    struct status st = write_epochs(w);

    return status_failed(st) ? st : write_snapshot(w);
}

struct status log_flush_place(struct log_flush *f, bool durable, bool *placed)
{
    char path[SEGMENT_PATH_BYTES], temporary[SEGMENT_PATH_BYTES];
    struct flush_work *w = f->impl;
    struct status st;

    if (!w->epochs.data || !w->epochs_alone)
        return STATUS_OK;
    *placed = true;
    st = epoch_paths(w, path, temporary);
    if (!status_failed(st) && !durable)
        st = sync_path(w->files, temporary);
    if (!status_failed(st))
        st = w->files->ops->rename(w->files, temporary, path);
    return st;
}

static struct status sync_index(struct files *files, struct index_file *x)
{
    struct file *f = atomic_load(&x->file);

    return f ? files->ops->sync(files, f) : STATUS_OK;
}

/* The indexes of a sealed segment are never rebuilt once the recovery point is past it. */
static struct status sync_segment(struct segment *s, bool sealed)
{
    struct file *f;
    struct status st = segment_log_file(s, &f);

    if (!status_failed(st))
        st = s->files->ops->sync(s->files, f);
    if (status_failed(st) || !sealed)
        return st;
    st = segment_load_indexes(s); /* after a restart they may not be open yet */
    if (!status_failed(st))
        st = sync_index(s->files, &s->offsets.file);
    if (!status_failed(st))
        st = sync_index(s->files, &s->times.file);
    if (!status_failed(st))
        st = sync_index(s->files, &s->txns.file);
    return st;
}

struct status log_sync_new_directory(struct files *files, const char *directory)
{
    char path[SEGMENT_PATH_BYTES];
    struct status st = join_path(path, directory, "partition.metadata");
    char *slash;

    if (!status_failed(st))
        st = sync_path(files, path);
    if (status_failed(st))
        return st;
    snprintf(path, sizeof path, "%s", directory);
    slash = strrchr(path, '/');
    if (slash && slash != path)
        *slash = '\0';
    return files->ops->sync_directory(files, slash ? path : ".");
}

static struct status sync_snapshot(struct flush_work *w)
{
    char path[SEGMENT_PATH_BYTES];
    struct status st;

    if (w->closing_snapshot < 0)
        return STATUS_OK;
    st = log_snapshot_path(w->directory, path, w->closing_snapshot, "");
    return status_failed(st) ? st : sync_path(w->files, path);
}

struct status log_flush_run(struct log_flush *f)
{
    struct flush_work *w = f->impl;
    struct status st = STATUS_OK;

    for (size_t i = 0; i < w->segment_count && !status_failed(st); i++)
        st = sync_segment(w->segments[i], w->last_sealed || i + 1 < w->segment_count);
    if (!status_failed(st))
        st = replace_epochs(w);
    if (!status_failed(st))
        st = sync_snapshot(w);
    if (!status_failed(st) && w->sync_directory)
        st = w->files->ops->sync_directory(w->files, w->directory);
    if (!status_failed(st) && w->sync_parent)
        st = log_sync_new_directory(w->files, w->directory);
    if (!status_failed(st))
        st = write_snapshot(w);
    return st;
}

void log_replace_snapshot(struct log *l, int64_t offset)
{
    char path[SEGMENT_PATH_BYTES];
    const int64_t old = l->snapshot_offset;

    l->snapshot_offset = offset;
    if (old < 0 || old == offset || is_of_use(l, old))
        return;
    if (!status_failed(log_snapshot_path(l->directory, path, old, "")))
        (void)l->files->ops->remove(l->files, path); /* the next open removes what stays */
}

void log_flush_end(struct log *l, struct log_flush *f, struct status result)
{
    struct flush_work *w = f->impl;

    CHECK(l->flushing);
    l->flushing = false;
    for (size_t i = 0; i < w->segment_count && !status_failed(result); i++)
        w->segments[i]->names_new = false;
    if (status_failed(result)) {
        (void)log_go_offline(l, result);
    } else if (w->truncations == l->truncations) {
        if (w->end_offset > l->flushed_end)
            l->flushed_end = w->end_offset;
        log_add_hint(l->end_hints, LOG_END_HINTS, &l->end_hint_next, w->end_hint);
        /* a roll may have written a newer one */
        if (w->snapshot.data && w->snapshot_offset > l->snapshot_offset)
            l->snapshot_offset = w->snapshot_offset;
    } else if (w->epochs.data) {
        l->epochs.dirty = true; /* it wrote those from before the cut over what the cut saved */
    }
    flush_work_free(w);
    *f = (struct log_flush){0};
}
