/* Appending: what comes in is checked first, then offsets are given out, then one write. Up to that
 * write nothing of the log has changed, so that a refused append leaves no trace. */
#include <errno.h>
#include <stdlib.h>

#include "protocol/base/check.h"
#include "protocol/record_batch_build.h"
#include "storage/log_internal.h"

/* One append on its way. */
struct append {
    struct log *l;
    struct bytes_mut records; /* whole batches */
    enum log_origin origin;
    int64_t now_ms;
    int64_t first_offset;
    int64_t last_offset;
    int64_t max_timestamp_ms;
    struct record_refusal *refusal;
};

static struct bytes bytes_const(struct bytes_mut b)
{
    return (struct bytes){b.data, b.size};
}

static struct status refuse(struct record_refusal *refusal, enum kerr code, const char *message)
{
    if (refusal)
        *refusal = (struct record_refusal){.message = message};
    return status_error(code, message);
}

/* ---- rolling ---- */

static bool index_full(const struct log *l, const struct segment *s)
{
    const int64_t bytes = l->config->segment_index_bytes;

    /* The time index keeps one entry free for when the segment is sealed. */
    return index_file_count(&s->offsets.file) >= bytes / OFFSET_INDEX_ENTRY_BYTES ||
           index_file_count(&s->times.file) + 1 >= bytes / TIME_INDEX_ENTRY_BYTES;
}

static bool segment_too_old(const struct log *l, const struct segment *s, int64_t max_timestamp_ms,
                            int64_t now_ms)
{
    const int64_t waited = s->first_timestamp_ms >= 0 ? max_timestamp_ms - s->first_timestamp_ms
                                                      : now_ms - s->created_ms;
    int64_t segment_ms = l->config->segment_ms;

    /* What must be compacted by then must not lie in the active segment. */
    if (l->config->cleanup_compact && l->config->max_compaction_lag_ms > 0 &&
        l->config->max_compaction_lag_ms < segment_ms)
        segment_ms = l->config->max_compaction_lag_ms;
    return s->size > 0 && waited > segment_ms - l->roll_jitter_ms;
}

static bool should_roll(const struct append *a, const struct segment *s)
{
    const struct log *l = a->l;

    return s->size > l->config->segment_bytes - (int64_t)a->records.size ||
           segment_too_old(l, s, a->max_timestamp_ms, a->now_ms) || index_full(l, s) ||
           a->last_offset - s->base_offset > INT32_MAX;
}

/* A crash of the machine may keep the name of a segment and lose that of the one before it, and the
 * log would begin where it has lost its beginning. Waits for the disk only where a segment was
 * filled before its first flush came through. */
static struct status keep_name(struct log *l, struct segment *s)
{
    struct status st;

    if (!s->names_new || l->page_cache_is_enough)
        return STATUS_OK;
    st = l->files->ops->sync_directory(l->files, l->directory);
    s->names_new = status_failed(st);
    return st;
}

struct status log_roll(struct log *l, int64_t base_offset)
{
    struct segment *active = log_active_segment(l);
    struct segment *s;
    struct status st = log_make_directory(l);

    if (status_failed(st))
        return st;
    CHECK(!active || active->base_offset < base_offset);
    if (active) {
        pthread_mutex_lock(&l->lock);
        st = segment_seal(active);
        pthread_mutex_unlock(&l->lock);
        if (!status_failed(st))
            st = log_write_snapshot(l, base_offset);
        if (!status_failed(st))
            st = keep_name(l, active);
    }
    if (!status_failed(st))
        st = segment_new(l->files, l->directory, base_offset, true, &s);
    if (status_failed(st))
        return st;
    s->created_ms = clock_wall_ms(l->clock);
    st = log_add_segment(l, s);
    if (status_failed(st))
        segment_release(s);
    /* Spread over partitions by their start, so that not all roll in one moment. */
    l->roll_jitter_ms = 0;
    if (l->config->segment_jitter_ms > 0)
        l->roll_jitter_ms = (int64_t)(((uint64_t)(uintptr_t)l / 64 + (uint64_t)base_offset) *
                                      0x9e3779b97f4a7c15u % (uint64_t)l->config->segment_jitter_ms);
    return st;
}

/* An empty segment that begins right here takes whatever comes: another one would have the same
 * files. (A damaged one may have bytes and no offset.) */
static bool fits_as_it_is(const struct append *a, const struct segment *s)
{
    return s->base_offset >= a->first_offset || !should_roll(a, s);
}

static struct status prepare_segment(const struct append *a)
{
    struct log *l = a->l;
    struct segment *active = log_active_segment(l);
    struct status st = active ? segment_load_first_timestamp(active) : STATUS_OK;

    if (!status_failed(st) && (!active || !fits_as_it_is(a, active)))
        st = log_roll(l, a->first_offset);
    return st;
}

/* ---- writing ---- */

/* The bytes are in the file: now the log has them. */
static struct status note_batches(const struct append *a, struct segment *s)
{
    struct log *l = a->l;
    struct record_batches it = record_batches(bytes_const(a->records));
    struct bytes batch;
    struct status st = STATUS_OK;

    pthread_mutex_lock(&l->lock);
    while (!status_failed(st) && record_batches_next(&it, &batch))
        st = segment_note_batch(s, batch.data, l->config->index_interval_bytes);
    pthread_mutex_unlock(&l->lock);
    it = record_batches(bytes_const(a->records));
    while (!status_failed(st) && record_batches_next(&it, &batch)) {
        const int32_t epoch = record_batch_leader_epoch(batch.data);

        if (epoch > epoch_cache_latest(&l->epochs))
            epoch_cache_assign(&l->epochs, epoch, record_batch_base_offset(batch.data));
        if (a->origin != LOG_ORIGIN_RAFT)
            st = log_apply_batch(&l->producers, s, batch, true);
    }
    return st;
}

static struct status write_append(const struct append *a)
{
    struct log *l = a->l;
    struct segment *s;
    struct status st = prepare_segment(a);

    if (status_failed(st))
        return log_go_offline(l, st);
    s = log_active_segment(l);
    l->unsettled = true;
    st = segment_write(s, bytes_const(a->records));
    if (!status_failed(st))
        st = note_batches(a, s);
    if (status_failed(st)) {
        struct file *f = atomic_load(&s->log_file);

        /* What part of it was written lies past the log end, where no reader looks; cut it now if
         * the disk still lets us, else the next open does. */
        if (f)
            (void)l->files->ops->truncate(l->files, f, s->size);
        return log_go_offline(l, st);
    }
    l->end_offset = a->last_offset + 1;
    l->size_bytes += (int64_t)a->records.size;
    l->snapshot_size_bytes += (int64_t)a->records.size;
    return STATUS_OK;
}

/* ---- as leader ---- */

static struct status validate_client_batch(const struct append *a, struct bytes_mut batch)
{
    const struct log_config *config = a->l->config;
    const struct record_validation rules = {
        .from_client = true,
        .compacted = config->cleanup_compact,
        .check_timestamps = !config->message_timestamp_log_append,
        .now_ms = a->now_ms,
        .timestamp_before_max_ms = config->message_timestamp_before_max_ms,
        .timestamp_after_max_ms = config->message_timestamp_after_max_ms,
        .decompressed_max = (size_t)config->max_decompressed_message_bytes,
    };
    struct record_validated validated;
    struct status st;

    if (batch.size != a->records.size)
        return refuse(a->refusal, KERR_INVALID_RECORD,
                      "more than one record batch for a partition");
    if (record_batch_base_offset(batch.data) != 0)
        return refuse(a->refusal, KERR_INVALID_RECORD, "base offset of a produced batch is not 0");
    st = record_batch_validate(bytes_const(batch), &rules, a->l->scratch, &validated, a->refusal);
    if (status_failed(st))
        return st;
    if (!config->message_timestamp_log_append &&
        validated.max_timestamp_ms != record_batch_max_timestamp(batch.data))
        record_batch_set_max_timestamp(batch, false, validated.max_timestamp_ms);
    return STATUS_OK;
}

/* Everything about the bytes that does not depend on the log's state. */
static struct status check_batches(const struct append *a)
{
    const int64_t most = a->l->config->max_message_bytes;
    struct record_batches it = record_batches(bytes_const(a->records));
    struct bytes batch;

    while (record_batches_next(&it, &batch)) {
        struct bytes_mut whole = {a->records.data + (batch.data - a->records.data), batch.size};
        struct status st;

        /* What a coordinator decided must be written: its batches are bound by the segment only. */
        if (a->origin == LOG_ORIGIN_CLIENT && (int64_t)batch.size > most)
            return refuse(a->refusal, KERR_MESSAGE_TOO_LARGE,
                          "batch is larger than max.message.bytes");
        st = record_batch_check(batch);
        if (status_failed(st))
            return st;
        if (a->origin == LOG_ORIGIN_CLIENT)
            st = validate_client_batch(a, whole);
        if (status_failed(st))
            return st;
    }
    if (status_failed(it.status))
        return it.status;
    if (it.rest.size || !a->records.size)
        return status_error(KERR_CORRUPT_MESSAGE, "records end within a batch");
    return STATUS_OK;
}

/* The topic asks for a codec of its own. */
static struct status recompress(struct append *a)
{
    const struct log_config *config = a->l->config;
    const int32_t levels[COMPRESSION_COUNT] = {
        [COMPRESSION_GZIP] = config->compression_gzip_level,
        [COMPRESSION_LZ4] = config->compression_lz4_level,
        [COMPRESSION_ZSTD] = config->compression_zstd_level,
    };
    const int8_t codec = config->compression_type;
    struct status st;

    if (a->origin != LOG_ORIGIN_CLIENT || codec == LOG_COMPRESSION_PRODUCER ||
        codec == record_batch_compression(a->records.data))
        return STATUS_OK;
    st = record_batch_recompress(bytes_const(a->records), (enum compression_type)codec,
                                 levels[codec], (size_t)config->max_decompressed_message_bytes,
                                 a->l->scratch, &a->records);
    if (status_failed(st))
        return st;
    if ((int64_t)a->records.size > config->max_message_bytes)
        return refuse(a->refusal, KERR_MESSAGE_TOO_LARGE, "batch is larger than max.message.bytes");
    return STATUS_OK;
}

static struct status check_producers(const struct append *a, struct producer_duplicate *duplicate)
{
    const enum producer_origin origin =
        a->origin == LOG_ORIGIN_CLIENT ? PRODUCER_ORIGIN_CLIENT : PRODUCER_ORIGIN_COORDINATOR;
    struct record_batches it = record_batches(bytes_const(a->records));
    struct bytes batch;

    *duplicate = (struct producer_duplicate){0};
    if (a->origin == LOG_ORIGIN_RAFT)
        return STATUS_OK;
    while (record_batches_next(&it, &batch)) {
        struct producer_marker marker;
        struct producer_batch b;
        struct status st = STATUS_OK;

        if (record_batch_producer_id(batch.data) == NO_PRODUCER_ID)
            continue;
        b = log_producer_batch(batch.data);
        if (log_parse_marker(batch, &marker))
            st = producer_state_check_marker(&a->l->producers, &marker);
        else if (!record_batch_is_control(batch.data))
            st = producer_state_check_batch(&a->l->producers, &b, origin, duplicate);
        if (status_failed(st) || duplicate->found)
            return st;
    }
    return STATUS_OK;
}

static void assign_offsets(struct append *a, int32_t leader_epoch)
{
    const bool append_time =
        a->l->config->message_timestamp_log_append && a->origin != LOG_ORIGIN_RAFT;
    struct record_batches it = record_batches(bytes_const(a->records));
    int64_t next = a->l->end_offset;
    struct bytes batch;

    a->first_offset = next;
    a->max_timestamp_ms = NO_TIMESTAMP;
    while (record_batches_next(&it, &batch)) {
        struct bytes_mut whole = {a->records.data + (batch.data - a->records.data), batch.size};

        record_batch_set_base_offset(whole.data, next);
        record_batch_set_leader_epoch(whole.data, leader_epoch);
        if (append_time)
            record_batch_set_max_timestamp(whole, true, a->now_ms);
        if (record_batch_max_timestamp(whole.data) > a->max_timestamp_ms)
            a->max_timestamp_ms = record_batch_max_timestamp(whole.data);
        next += (int64_t)record_batch_last_offset_delta(whole.data) + 1;
    }
    a->last_offset = next - 1;
}

struct status log_append_as_leader(struct log *l, struct bytes_mut records, int32_t leader_epoch,
                                   enum log_origin origin, struct log_appended *out,
                                   struct record_refusal *refusal)
{
    struct append a = {.l = l,
                       .records = records,
                       .origin = origin,
                       .now_ms = clock_wall_ms(l->clock),
                       .refusal = refusal};
    struct producer_duplicate duplicate;
    struct status st = log_check_online(l);

    if (refusal)
        *refusal = (struct record_refusal){0};
    if (!status_failed(st))
        st = check_batches(&a);
    if (!status_failed(st))
        st = recompress(&a);
    if (status_failed(st))
        return st;
    if ((int64_t)a.records.size > l->config->segment_bytes)
        return refuse(refusal, KERR_RECORD_LIST_TOO_LARGE, "records are larger than segment.bytes");
    st = check_producers(&a, &duplicate);
    if (status_failed(st))
        return st;
    if (duplicate.found) {
        *out = (struct log_appended){duplicate.first_offset, duplicate.last_offset, -1,
                                     l->start_offset, true};
        return STATUS_OK;
    }
    assign_offsets(&a, leader_epoch);
    st = write_append(&a);
    if (status_failed(st))
        return st;
    *out = (struct log_appended){
        .base_offset = a.first_offset,
        .last_offset = a.last_offset,
        .log_append_time_ms =
            l->config->message_timestamp_log_append && origin != LOG_ORIGIN_RAFT ? a.now_ms : -1,
        .log_start_offset = l->start_offset,
    };
    return STATUS_OK;
}

/* ---- as follower ---- */

bool log_starts_within(const struct log *l, struct bytes records)
{
    struct record_batches it = record_batches(records);
    struct bytes first;

    return l->start_offset == l->end_offset && record_batches_next(&it, &first) &&
           record_batch_base_offset(first.data) < l->end_offset &&
           record_batch_last_offset(first.data) >= l->end_offset;
}

/* A segment that begins with the log start cannot hold a batch that begins before it. Whoever dies
 * in here finds a log that ends before its start: nothing, then, from the start on. */
static struct status append_around_start(const struct append *a)
{
    const int64_t start = a->l->start_offset;
    struct status st = log_truncate_fully(a->l, a->first_offset);

    if (!status_failed(st))
        st = write_append(a);
    return status_failed(st) ? st : log_raise_start_offset(a->l, start);
}

/* Checks the batches, and shortens a->records to the whole ones that one segment can hold: its
 * indexes know offsets up to so far behind its base, and compaction leaves gaps of any length. */
static struct status check_replicated(struct append *a)
{
    struct record_batches it = record_batches(bytes_const(a->records));
    int64_t end = log_starts_within(a->l, bytes_const(a->records)) ? 0 : a->l->end_offset;
    struct bytes batch;

    a->first_offset = -1;
    a->max_timestamp_ms = NO_TIMESTAMP;
    while (record_batches_next(&it, &batch)) {
        struct status st = record_batch_check(batch);

        if (status_failed(st))
            return st;
        if (record_batch_last_offset_delta(batch.data) < 0)
            return status_error(KERR_CORRUPT_MESSAGE, "negative last offset delta");
        if (record_batch_base_offset(batch.data) < end ||
            record_batch_base_offset(batch.data) > LOG_OFFSET_MAX)
            return status_error(KERR_OFFSET_OUT_OF_RANGE,
                                "replicated batch does not follow the log end");
        if (a->first_offset >= 0 &&
            record_batch_last_offset(batch.data) - a->first_offset > INT32_MAX) {
            a->records.size = (size_t)(batch.data - a->records.data);
            return STATUS_OK;
        }
        if (a->first_offset < 0)
            a->first_offset = record_batch_base_offset(batch.data);
        if (record_batch_max_timestamp(batch.data) > a->max_timestamp_ms)
            a->max_timestamp_ms = record_batch_max_timestamp(batch.data);
        a->last_offset = record_batch_last_offset(batch.data);
        end = a->last_offset + 1;
    }
    a->records.size -= it.rest.size;
    return it.status;
}

struct status log_append_as_follower(struct log *l, struct bytes_mut records,
                                     enum log_origin origin, struct log_appended *out)
{
    struct append a = {
        .l = l, .records = records, .origin = origin, .now_ms = clock_wall_ms(l->clock)};
    struct status st = log_check_online(l);

    if (!status_failed(st))
        st = check_replicated(&a);
    if (status_failed(st))
        return st;
    if (a.records.size) {
        st = a.first_offset < l->start_offset ? append_around_start(&a) : write_append(&a);
        if (status_failed(st))
            return st;
    } else {
        a.first_offset = l->end_offset;
        a.last_offset = l->end_offset - 1;
    }
    *out = (struct log_appended){.base_offset = a.first_offset,
                                 .last_offset = a.last_offset,
                                 .log_append_time_ms = -1,
                                 .log_start_offset = l->start_offset};
    return STATUS_OK;
}
