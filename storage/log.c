/* The log as a whole: its segments in order, what is made beside them, closing. Appending:
 * log_append.c. Flushing: log_flush.c. Reading: log_read.c, log_lookup.c. Opening:
 * log_open.c, log_recovery.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/log_internal.h"

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

int64_t log_cleaned_offset(const struct log *l)
{
    return l->cleaned_offset;
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

void log_end_of_epoch(const struct log *l, int32_t epoch, int32_t *epoch_out,
                      int64_t *end_offset_out)
{
    (void)log_end_of_past_epoch(l, epoch, epoch_out, end_offset_out);
    if (*epoch_out >= 0 && *end_offset_out <= l->start_offset) {
        *epoch_out = epoch;
        *end_offset_out = l->start_offset;
    }
}

bool log_end_of_past_epoch(const struct log *l, int32_t epoch, int32_t *epoch_out,
                           int64_t *end_offset_out)
{
    const struct epoch_entry e = epoch_cache_end_of(&l->epochs, epoch, l->end_offset);

    *epoch_out = e.epoch;
    *end_offset_out = e.start_offset;
    return epoch >= epoch_cache_earliest(&l->epochs);
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
        logger_event(l->logger, LOGGER_ERROR, "log_offline",
                     "directory=\"%s\" step=\"%s\" errno=%d", l->directory,
                     reason.where ? reason.where : "", reason.sys_errno);
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

struct status log_save_epochs(struct log *l)
{
    char path[SEGMENT_PATH_BYTES];
    struct status st = log_path(l, path, "leader-epoch-checkpoint");

    if (status_failed(st) || !l->directory_exists || !l->epochs.dirty)
        return st;
    return epoch_cache_save(&l->epochs, l->files, path);
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
    struct status st = files->ops->open(files, path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &f);

    if (status_failed(st))
        return st;
    st = files->ops->write(files, f, &part, 1, 0);
    files->ops->close(files, f);
    return st;
}

void log_metadata_text(struct uuid topic_id, char text[64])
{
    char id[UUID_TEXT_CHARS + 1];

    uuid_format(topic_id, id);
    snprintf(text, 64, "version: 0\ntopic_id: %s", id);
}

struct status log_write_metadata(struct log *l)
{
    char path[SEGMENT_PATH_BYTES];
    char text[64];
    struct status st;

    if (uuid_is_zero(l->topic_id))
        return STATUS_OK;
    log_metadata_text(l->topic_id, text);
    l->directory_new = true;
    st = log_path(l, path, "partition.metadata");
    if (status_failed(st))
        return st;
    return log_write_file(l->files, path, (struct bytes){(const uint8_t *)text, strlen(text)});
}

struct status log_make_directory(struct log *l)
{
    struct status st;

    if (l->directory_exists)
        return STATUS_OK;
    st = l->files->ops->make_directory(l->files, l->directory);
    if (status_failed(st) && st.sys_errno != EEXIST)
        return st;
    l->directory_exists = l->directory_new = true;
    return log_write_metadata(l);
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
    log_replace_snapshot(l, offset);
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

struct status log_apply_batch(struct producer_state *producers, struct segment *s,
                              struct bytes batch, bool with_txn_index)
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
    CHECK(!l->compaction);
    for (size_t i = 0; i < l->segment_count; i++)
        segment_release(l->segments[i]);
    free(l->segments);
    log_free_doomed(l);
    epoch_cache_free(&l->epochs);
    producer_state_free(&l->producers);
    pthread_mutex_destroy(&l->lock);
    pthread_mutex_destroy(&l->names);
    free(l->directory);
    free(l);
}

static struct status flush_unsynced(struct log_flush *f)
{
    bool placed;
    struct status st = log_flush_write(f);

    return status_failed(st) ? st : log_flush_place(f, false, &placed);
}

/* Leaves the files as Apache Kafka leaves them; `sync`: durable. */
static struct status settle(struct log *l, bool sync)
{
    struct segment *active = log_active_segment(l);
    struct log_flush flush = {0};
    struct status st;

    if (!active || !l->unsettled)
        return STATUS_OK;
    st = segment_seal(active);
    if (!status_failed(st))
        st = log_write_snapshot(l, l->end_offset);
    if (status_failed(st))
        return log_go_offline(l, st);
    if (log_flush_begin_closing(l, &flush))
        log_flush_end(l, &flush, sync ? log_flush_run(&flush) : flush_unsynced(&flush));
    l->unsettled = status_failed(l->failure);
    return l->failure;
}

bool log_settled(const struct log *l)
{
    return !l->segment_count || !l->unsettled;
}

struct status log_settle(struct log *l)
{
    const struct status st = log_check_online(l);

    CHECK(!l->flushing);
    return status_failed(st) ? st : settle(l, false);
}

struct status log_close(struct log *l, bool clean)
{
    struct status st = STATUS_OK;

    CHECK(!l->flushing);
    if (clean && !log_offline(l))
        st = settle(l, true);
    log_free(l);
    return st;
}

struct log *log_new(const struct log_args *args)
{
    struct log *l = calloc(1, sizeof *l);

    if (!l)
        return NULL;
    l->directory = strdup(args->directory);
    if (!l->directory || pthread_mutex_init(&l->lock, NULL) ||
        pthread_mutex_init(&l->names, NULL)) {
        free(l->directory); /* a mutex of the default kind holds no resources */
        free(l);
        return NULL;
    }
    l->files = args->files;
    l->clock = args->clock;
    l->logger = args->logger;
    l->scratch = args->scratch;
    l->page_cache_is_enough = args->page_cache_is_enough;
    l->config = args->config;
    l->topic_id = args->topic_id;
    l->producer_id_expiration_ms = args->producer_id_expiration_ms;
    l->failure = STATUS_OK;
    l->snapshot_offset = -1;
    l->cleaned_offset = args->cleaned_offset;
    l->start_offset = l->end_offset = l->flushed_end = args->log_start_offset;
    log_clear_hints(l);
    return l;
}

void log_discard(struct log *l)
{
    log_free(l);
}
