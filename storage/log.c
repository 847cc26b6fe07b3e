/* The log as a whole: its segments in order, what is made beside them, flushing, closing.
 * Appending: log_append.c. Reading: log_read.c, log_lookup.c. Opening: log_recovery.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/log_internal.h"

/* A producer snapshot is written with the first flush after so many bytes, so that a restart after a
 * kill has only so much to walk over. */
#define SNAPSHOT_DISTANCE_BYTES (4 << 20)

int64_t log_start_offset(const struct log *l)
{
    return l->start_offset;
}

int64_t log_end_offset(const struct log *l)
{
    return l->end_offset;
}

int64_t log_flushed_end_offset(const struct log *l)
{
    return l->flushed_end;
}

int64_t log_size_bytes(const struct log *l)
{
    return l->size_bytes;
}

bool log_offline(const struct log *l)
{
    return status_failed(l->failure);
}

struct status log_offline_reason(const struct log *l)
{
    return l->failure;
}

int32_t log_latest_epoch(const struct log *l)
{
    return epoch_cache_latest(&l->epochs);
}

int64_t log_first_unstable_offset(const struct log *l)
{
    const int64_t offset = producer_state_first_unstable_offset(&l->producers);

    return offset == PRODUCER_NO_OFFSET ? l->end_offset : offset;
}

void log_high_watermark_moved(struct log *l, int64_t high_watermark)
{
    producer_state_high_watermark(&l->producers, high_watermark);
}

int32_t log_epoch_of_offset(const struct log *l, int64_t offset)
{
    return epoch_cache_epoch_of(&l->epochs, offset);
}

void log_end_of_epoch(const struct log *l, int32_t epoch, int32_t *epoch_out, int64_t *end_offset_out)
{
    const struct epoch_entry e = epoch_cache_end_of(&l->epochs, epoch, l->end_offset);

    *epoch_out = e.epoch;
    *end_offset_out = e.start_offset;
}

struct status log_start_epoch(struct log *l, int32_t epoch)
{
    struct status st = log_check_online(l);

    if (!status_failed(st))
        epoch_cache_assign(&l->epochs, epoch, l->end_offset);
    return st;
}

void log_set_config(struct log *l, const struct log_config *config)
{
    pthread_mutex_lock(&l->lock);
    l->config = config;
    pthread_mutex_unlock(&l->lock);
}

void log_set_start_offset(struct log *l, int64_t offset)
{
    pthread_mutex_lock(&l->lock);
    l->start_offset = offset;
    pthread_mutex_unlock(&l->lock);
}

struct status log_go_offline(struct log *l, struct status reason)
{
    reason.code = KERR_KAFKA_STORAGE_ERROR;
    if (!status_failed(l->failure)) {
        pthread_mutex_lock(&l->lock);
        l->failure = reason;
        pthread_mutex_unlock(&l->lock);
        logger_event(l->logger, LOGGER_ERROR, "log_offline", "directory=\"%s\" step=\"%s\" errno=%d",
                     l->directory, reason.where ? reason.where : "", reason.sys_errno);
    }
    return reason;
}

void log_fail(struct log *l, struct status reason)
{
    (void)log_go_offline(l, reason);
}

struct status log_check_online(const struct log *l)
{
    return l->failure;
}

struct segment *log_active_segment(const struct log *l)
{
    return l->segment_count ? l->segments[l->segment_count - 1] : NULL;
}

size_t log_segment_index(const struct log *l, int64_t offset)
{
    size_t low = 0, high = l->segment_count;

    CHECK(high > 0);
    if (l->segments[high - 1]->base_offset <= offset)
        return high - 1;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;

        if (l->segments[middle]->base_offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

struct status log_add_segment(struct log *l, struct segment *s)
{
    if (l->segment_count == l->segment_capacity) {
        const size_t capacity = l->segment_capacity ? l->segment_capacity * 2 : 2;
        struct segment **segments = malloc(capacity * sizeof segments[0]);

        if (!segments)
            return status_errno(ENOMEM, "segment list");
        pthread_mutex_lock(&l->lock);
        if (l->segment_count)
            memcpy(segments, l->segments, l->segment_count * sizeof segments[0]);
        free(l->segments);
        l->segments = segments;
        l->segment_capacity = capacity;
        pthread_mutex_unlock(&l->lock);
    }
    pthread_mutex_lock(&l->lock);
    l->segments[l->segment_count++] = s;
    pthread_mutex_unlock(&l->lock);
    return STATUS_OK;
}

struct status log_path(const struct log *l, char out[SEGMENT_PATH_BYTES], const char *name)
{
    const int size = snprintf(out, SEGMENT_PATH_BYTES, "%s/%s", l->directory, name);

    if (size < 0 || size >= SEGMENT_PATH_BYTES)
        return status_errno(ENAMETOOLONG, "path of a log file");
    return STATUS_OK;
}

struct status log_snapshot_path(const char *directory, char out[SEGMENT_PATH_BYTES], int64_t offset,
                                const char *suffix)
{
    const int size = snprintf(out, SEGMENT_PATH_BYTES, "%s/%020" PRId64 ".snapshot%s", directory,
                              offset, suffix);

    if (size < 0 || size >= SEGMENT_PATH_BYTES)
        return status_errno(ENAMETOOLONG, "path of a producer snapshot");
    return STATUS_OK;
}

void log_add_hint(struct log_hint *ring, uint8_t count, uint8_t *next, struct log_hint hint)
{
    ring[*next] = hint;
    *next = (uint8_t)((*next + 1) % count);
}

const struct log_hint *log_find_hint(const struct log_hint *ring, uint8_t count, int64_t offset)
{
    for (uint8_t i = 0; i < count; i++)
        if (ring[i].offset == offset && ring[i].segment_base >= 0)
            return &ring[i];
    return NULL;
}

void log_clear_hints(struct log *l)
{
    for (size_t i = 0; i < LOG_READ_HINTS; i++)
        l->read_hints[i].segment_base = -1;
    for (size_t i = 0; i < LOG_END_HINTS; i++)
        l->end_hints[i].segment_base = -1;
}

struct status log_write_file(struct files *files, const char *path, struct bytes content)
{
    struct iovec part = {(void *)(uintptr_t)content.data, content.size};
    struct file *f;
    struct status st =
        files->ops->open(files, path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &f);

    if (status_failed(st))
        return st;
    st = files->ops->write(files, f, &part, 1, 0);
    files->ops->close(files, f);
    return st;
}

struct status log_make_directory(struct log *l)
{
    char path[SEGMENT_PATH_BYTES];
    char text[64], id[UUID_TEXT_CHARS + 1];
    struct status st;
    int size;

    if (l->directory_exists)
        return STATUS_OK;
    st = l->files->ops->make_directory(l->files, l->directory);
    if (status_failed(st) && st.sys_errno != EEXIST)
        return st;
    l->directory_exists = l->directory_new = true;
    if (uuid_is_zero(l->topic_id))
        return STATUS_OK;
    uuid_format(l->topic_id, id);
    size = snprintf(text, sizeof text, "version: 0\ntopic_id: %s", id);
    st = log_path(l, path, "partition.metadata");
    if (status_failed(st))
        return st;
    return log_write_file(l->files, path, (struct bytes){(const uint8_t *)text, (size_t)size});
}

/* ---- flushing ---- */

struct flush_work {
    struct files *files;
    struct segment **segments; /* owned references */
    size_t segment_count;
    bool last_sealed; /* all before it are */
    char *directory; /* owned */
    bool sync_directory;
    bool sync_parent; /* and partition.metadata */
    struct bytes_mut epochs;   /* data NULL: nothing to write */
    struct bytes_mut snapshot; /* likewise */
    int64_t snapshot_offset;
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

/* Segments with batches past the flushed end are the last ones. */
static size_t unflushed_segments(const struct log *l)
{
    size_t count = 0;

    while (count < l->segment_count &&
           (count == 0 || l->segments[l->segment_count - count]->base_offset > l->flushed_end))
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
        s->names_new = false;
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

static void take_small_files(struct log *l, struct flush_work *w)
{
    w->sync_parent = l->directory_new;
    w->sync_directory |= l->directory_new;
    l->directory_new = false;
    if (l->epochs.dirty) {
        epoch_cache_encode(&l->epochs, &w->epochs);
        l->epochs.dirty = false;
    }
    if (l->snapshot_size_bytes >= SNAPSHOT_DISTANCE_BYTES && l->snapshot_offset != l->end_offset) {
        producer_snapshot_encode(&l->producers, &w->snapshot);
        w->snapshot_offset = l->end_offset;
        l->snapshot_size_bytes = 0;
    }
}

bool log_flush_begin(struct log *l, struct log_flush *out)
{
    struct segment *active = log_active_segment(l);
    struct flush_work *w;

    CHECK(!l->flushing);
    if (log_offline(l) || !active || l->flushed_end >= l->end_offset)
        return false;
    w = calloc(1, sizeof *w);
    if (!w)
        return false;
    w->files = l->files;
    w->directory = strdup(l->directory);
    if (!w->directory || !take_segments(l, w)) {
        flush_work_free(w);
        return false;
    }
    take_small_files(l, w);
    w->end_offset = l->end_offset;
    w->end_hint = (struct log_hint){active->base_offset, l->end_offset, active->size};
    w->truncations = l->truncations;
    l->flushing = true;
    *out = (struct log_flush){l->end_offset, flush_file_count(w), w};
    return true;
}

static struct status join_path(char out[SEGMENT_PATH_BYTES], const char *directory, const char *name)
{
    const int size = snprintf(out, SEGMENT_PATH_BYTES, "%s/%s", directory, name);

    return size < 0 || size >= SEGMENT_PATH_BYTES ? status_errno(ENAMETOOLONG, "path of a log file")
                                                  : STATUS_OK;
}

/* With `sync` durable when it returns, else for a sync of the whole file system that follows. */
static struct status write_epochs(struct flush_work *w, bool sync)
{
    char path[SEGMENT_PATH_BYTES], temporary[SEGMENT_PATH_BYTES];
    const struct bytes text = {w->epochs.data, w->epochs.size};
    struct status st;

    if (!w->epochs.data)
        return STATUS_OK;
    st = join_path(path, w->directory, "leader-epoch-checkpoint");
    if (!status_failed(st))
        st = join_path(temporary, w->directory, "leader-epoch-checkpoint.tmp");
    if (status_failed(st))
        return st;
    if (sync)
        return files_replace(w->files, path, text);
    st = log_write_file(w->files, temporary, text);
    if (!status_failed(st))
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
    return log_write_file(w->files, path, (struct bytes){w->snapshot.data, w->snapshot.size});
}

struct status log_flush_write(struct log_flush *f)
{
    struct flush_work *w = f->impl;
    struct status st = write_epochs(w, false);

    return status_failed(st) ? st : write_snapshot(w);
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
    st = sync_index(s->files, &s->offsets.file);
    if (!status_failed(st))
        st = sync_index(s->files, &s->times.file);
    if (!status_failed(st))
        st = sync_index(s->files, &s->txns.file);
    return st;
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

static struct status sync_new_directory(struct flush_work *w)
{
    char path[SEGMENT_PATH_BYTES];
    struct status st = join_path(path, w->directory, "partition.metadata");
    char *slash;

    if (!status_failed(st))
        st = sync_path(w->files, path);
    if (status_failed(st))
        return st;
    snprintf(path, sizeof path, "%s", w->directory);
    slash = strrchr(path, '/');
    if (slash && slash != path)
        *slash = '\0';
    return w->files->ops->sync_directory(w->files, slash ? path : ".");
}

struct status log_flush_run(struct log_flush *f)
{
    struct flush_work *w = f->impl;
    struct status st = STATUS_OK;

    for (size_t i = 0; i < w->segment_count && !status_failed(st); i++)
        st = sync_segment(w->segments[i], w->last_sealed || i + 1 < w->segment_count);
    if (!status_failed(st))
        st = write_epochs(w, true);
    if (!status_failed(st) && w->sync_directory)
        st = w->files->ops->sync_directory(w->files, w->directory);
    if (!status_failed(st) && w->sync_parent)
        st = sync_new_directory(w);
    if (!status_failed(st))
        st = write_snapshot(w);
    return st;
}

/* A snapshot that lies at no segment's base is only of use while it is the newest. */
static void replace_snapshot(struct log *l, int64_t offset)
{
    char path[SEGMENT_PATH_BYTES];
    const int64_t old = l->snapshot_offset;

    l->snapshot_offset = offset;
    if (old < 0 || old == offset || !l->segment_count ||
        l->segments[log_segment_index(l, old)]->base_offset == old)
        return;
    if (!status_failed(log_snapshot_path(l->directory, path, old, "")))
        (void)l->files->ops->remove(l->files, path); /* the next open removes what stays */
}

void log_flush_end(struct log *l, struct log_flush *f, struct status result)
{
    struct flush_work *w = f->impl;

    CHECK(l->flushing);
    l->flushing = false;
    if (status_failed(result)) {
        (void)log_go_offline(l, result);
    } else if (w->truncations == l->truncations) {
        if (w->end_offset > l->flushed_end)
            l->flushed_end = w->end_offset;
        log_add_hint(l->end_hints, LOG_END_HINTS, &l->end_hint_next, w->end_hint);
        if (w->snapshot.data)
            replace_snapshot(l, w->snapshot_offset);
    }
    flush_work_free(w);
    *f = (struct log_flush){0};
}

/* ---- producer snapshots and transactions ---- */

struct status log_write_snapshot(struct log *l, int64_t offset)
{
    char path[SEGMENT_PATH_BYTES];
    struct bytes_mut snapshot;
    struct status st = log_snapshot_path(l->directory, path, offset, "");

    if (status_failed(st) || l->snapshot_offset == offset)
        return st;
    producer_snapshot_encode(&l->producers, &snapshot);
    st = log_write_file(l->files, path, (struct bytes){snapshot.data, snapshot.size});
    free(snapshot.data);
    if (status_failed(st))
        return st;
    replace_snapshot(l, offset);
    l->snapshot_size_bytes = 0;
    return STATUS_OK;
}

/* COMMIT and ABORT markers end a producer's transaction; other control batches are not for us. */
static bool marker_parse(struct bytes batch, struct producer_marker *m)
{
    struct record_iter it;
    struct record r;
    int type;

    if (status_failed(record_iter_open(&it, batch, NULL, 0)) || !record_iter_next(&it, &r))
        return false;
    type = control_record_type(&r);
    if ((type != CONTROL_ABORT && type != CONTROL_COMMIT) || r.value.size < 6)
        return false;
    *m = (struct producer_marker){
        .producer_id = record_batch_producer_id(batch.data),
        .offset = r.offset,
        .timestamp_ms = record_batch_max_timestamp(batch.data),
        .coordinator_epoch = (int32_t)load_be32(r.value.data + 2),
        .producer_epoch = record_batch_producer_epoch(batch.data),
        .abort = type == CONTROL_ABORT,
    };
    return true;
}

bool log_parse_marker(struct bytes batch, struct producer_marker *out)
{
    return record_batch_is_control(batch.data) && marker_parse(batch, out);
}

struct producer_batch log_producer_batch(const uint8_t *head)
{
    return (struct producer_batch){
        .producer_id = record_batch_producer_id(head),
        .first_offset = record_batch_base_offset(head),
        .last_offset = record_batch_last_offset(head),
        .max_timestamp_ms = record_batch_max_timestamp(head),
        .first_sequence = record_batch_base_sequence(head),
        .last_offset_delta = record_batch_last_offset_delta(head),
        .producer_epoch = record_batch_producer_epoch(head),
        .transactional = record_batch_is_transactional(head),
    };
}

static struct status note_aborted(struct segment *s, const struct producer_completed *done)
{
    const struct txn_index_entry entry = {done->producer_id, done->first_offset, done->last_offset,
                                          done->last_stable_offset};
    const uint32_t count = index_file_count(&s->txns.file);
    struct txn_index_entry last;
    struct status st;

    if (count) {
        st = txn_index_get(&s->txns, count - 1, &last);
        if (status_failed(st) || last.last_offset >= entry.last_offset)
            return st; /* there already: the batch is being walked over again */
    }
    st = txn_index_append(&s->txns, &entry);
    /* Rare, and readers in the pool look at the file only. */
    return status_failed(st) ? st : index_file_write_out(&s->txns.file);
}

struct status log_apply_batch(struct producer_state *producers, struct segment *s, struct bytes batch,
                              bool with_txn_index)
{
    struct producer_completed done = {0};
    struct producer_marker marker;
    struct producer_batch b;

    if (record_batch_producer_id(batch.data) == NO_PRODUCER_ID)
        return STATUS_OK;
    if (record_batch_is_control(batch.data)) {
        if (!marker_parse(batch, &marker))
            return STATUS_OK;
        producer_state_apply_marker(producers, &marker, &done);
        return with_txn_index && done.had_transaction && done.aborted ? note_aborted(s, &done)
                                                                      : STATUS_OK;
    }
    b = log_producer_batch(batch.data);
    producer_state_apply_batch(producers, &b);
    return STATUS_OK;
}

/* ---- closing ---- */

static void log_free(struct log *l)
{
    for (size_t i = 0; i < l->segment_count; i++)
        segment_release(l->segments[i]);
    free(l->segments);
    log_free_doomed(l);
    epoch_cache_free(&l->epochs);
    producer_state_free(&l->producers);
    pthread_mutex_destroy(&l->lock);
    free(l->directory);
    free(l);
}

/* Everything durable, and left as Apache Kafka leaves it. */
static struct status settle(struct log *l)
{
    struct segment *active = log_active_segment(l);
    struct log_flush flush = {0};
    struct status st;

    if (!active)
        return STATUS_OK;
    st = segment_seal(active);
    if (!status_failed(st))
        st = log_write_snapshot(l, l->end_offset);
    if (status_failed(st))
        return log_go_offline(l, st);
    if (log_flush_begin(l, &flush)) {
        ((struct flush_work *)flush.impl)->last_sealed = true;
        log_flush_end(l, &flush, log_flush_run(&flush));
    }
    return l->failure;
}

struct status log_close(struct log *l, bool clean)
{
    struct status st = STATUS_OK;

    CHECK(!l->flushing);
    if (clean && !log_offline(l))
        st = settle(l);
    log_free(l);
    return st;
}

struct log *log_new(const struct log_args *args)
{
    struct log *l = calloc(1, sizeof *l);

    if (!l)
        return NULL;
    l->directory = strdup(args->directory);
    if (!l->directory || pthread_mutex_init(&l->lock, NULL)) {
        free(l->directory);
        free(l);
        return NULL;
    }
    l->files = args->files;
    l->clock = args->clock;
    l->logger = args->logger;
    l->scratch = args->scratch;
    l->config = args->config;
    l->topic_id = args->topic_id;
    l->producer_id_expiration_ms = args->producer_id_expiration_ms;
    l->failure = STATUS_OK;
    l->snapshot_offset = -1;
    l->start_offset = l->end_offset = l->flushed_end = args->log_start_offset;
    log_clear_hints(l);
    return l;
}

void log_discard(struct log *l)
{
    log_free(l);
}
