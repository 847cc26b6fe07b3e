#include "protocol/record_batch_validate.h"

#include <string.h>

#include "protocol/record_internal.h"

static struct status refuse(struct record_refusal *refusal, enum kerr code, const char *message)
{
    if (refusal)
        *refusal = (struct record_refusal){.message = message};
    return status_error(code, message);
}

/* ---- the shape of a produce request ---- */

#define PRODUCE_VERSION_ZSTD 7 /* KIP-110 */

struct status record_batch_check_produce(struct bytes records, int16_t api_version,
                                         struct record_refusal *refusal)
{
    struct record_batches it = record_batches(records);
    struct bytes batch;
    struct bytes second;
    int codec;

    if (records.size > RECORD_BATCH_AT_MAGIC &&
        record_batch_magic(records.data) != RECORD_BATCH_MAGIC)
        return refuse(refusal, KERR_INVALID_RECORD,
                      "Only record batches of magic version 2 are accepted");
    if (!record_batches_next(&it, &batch))
        return records.size == 0
                   ? refuse(refusal, KERR_INVALID_RECORD, "There is no record batch")
                   : refuse(refusal, KERR_CORRUPT_MESSAGE, "The record batch is not whole");
    if (it.rest.size > 0)
        return record_batches_next(&it, &second)
                   ? refuse(refusal, KERR_INVALID_RECORD, "There is more than one record batch")
                   : refuse(refusal, KERR_CORRUPT_MESSAGE, "Bytes follow the record batch");
    codec = record_batch_compression(batch.data);
    if (codec >= COMPRESSION_COUNT)
        return refuse(refusal, KERR_UNSUPPORTED_COMPRESSION_TYPE, "Unknown compression type");
    if (codec == COMPRESSION_ZSTD && api_version < PRODUCE_VERSION_ZSTD)
        return refuse(refusal, KERR_UNSUPPORTED_COMPRESSION_TYPE,
                      "zstd is not allowed before version 7 of the produce request");
    return STATUS_OK;
}

/* ---- the header ---- */

static struct status validate_header(const uint8_t *p, const struct record_validation *rules,
                                     struct record_refusal *refusal)
{
    int32_t count = record_batch_record_count(p);

    if (count <= 0)
        return refuse(refusal, KERR_INVALID_RECORD, "The batch has no records");
    if (record_batch_last_offset_delta(p) != count - 1)
        return refuse(refusal, KERR_INVALID_RECORD, "Offset range and record count do not agree");
    if (record_batch_compression(p) >= COMPRESSION_COUNT)
        return refuse(refusal, KERR_UNSUPPORTED_COMPRESSION_TYPE, "Unknown compression type");
    if (!rules->from_client)
        return STATUS_OK;
    if (record_batch_base_offset(p) != 0)
        return refuse(refusal, KERR_INVALID_RECORD,
                      "The base offset of a producer's batch must be 0");
    if (record_batch_is_control(p))
        return refuse(refusal, KERR_INVALID_RECORD, "Clients may not write control records");
    if (record_batch_is_log_append_time(p))
        return refuse(refusal, KERR_INVALID_TIMESTAMP, "Clients may not set LogAppendTime");
    if (record_batch_producer_id(p) < 0)
        return record_batch_is_transactional(p)
                   ? refuse(refusal, KERR_INVALID_RECORD,
                            "A transactional batch needs a producer id")
                   : STATUS_OK;
    if (record_batch_base_sequence(p) < 0)
        return refuse(refusal, KERR_INVALID_RECORD,
                      "A batch with a producer id needs a sequence number");
    if (record_batch_producer_epoch(p) < 0)
        return refuse(refusal, KERR_INVALID_RECORD,
                      "A batch with a producer id needs a producer epoch");
    return STATUS_OK;
}

/* ---- one record ---- */

struct validation {
    int64_t base_timestamp_ms;
    int64_t max_timestamp_ms;
    int64_t timestamp_min_ms; /* the window */
    int64_t timestamp_max_ms;
    bool key_required;
    int32_t count; /* records seen */
    size_t records_bytes;
    struct record_refusal refusal;
    bool bad_timestamp;
    bool refused;
};

static const char message_malformed[] = "A record is malformed";
static const char message_truncated[] = "There are fewer records than the batch says";
static const char message_trailing[] = "Bytes follow the last record";
static const char message_gap[] = "Offset deltas of records are not 0, 1, 2 and so on";

static void validation_init(struct validation *v, const uint8_t *batch,
                            const struct record_validation *rules)
{
    *v = (struct validation){
        .base_timestamp_ms = record_batch_base_timestamp(batch),
        .max_timestamp_ms = NO_TIMESTAMP,
        .timestamp_min_ms = INT64_MIN,
        .timestamp_max_ms = INT64_MAX,
        .key_required = rules->compacted && !record_batch_is_control(batch),
    };
    if (!rules->check_timestamps)
        return;
    if (__builtin_sub_overflow(rules->now_ms, rules->timestamp_before_max_ms, &v->timestamp_min_ms))
        v->timestamp_min_ms = INT64_MIN;
    if (__builtin_add_overflow(rules->now_ms, rules->timestamp_after_max_ms, &v->timestamp_max_ms))
        v->timestamp_max_ms = INT64_MAX;
}

/* Out of line: refusals are rare. */
static void __attribute__((noinline, cold))
validation_add_error(struct validation *v, const char *message)
{
    struct record_refusal *r = &v->refusal;

    v->refused = true;
    if (r->error_count < RECORD_ERRORS_MAX)
        r->errors[r->error_count++] = (struct record_error){v->count, message};
}

/* False: the offset delta is wrong, which ends the validation. */
static inline bool validation_accept(struct validation *v, const struct record_view *r)
{
    int64_t timestamp = (int64_t)((uint64_t)v->base_timestamp_ms + (uint64_t)r->timestamp_delta);

    if (__builtin_expect(r->offset_delta != v->count, 0))
        return false;
    if (__builtin_expect(v->key_required && !r->key.data, 0)) {
        validation_add_error(v, "Compacted topic cannot accept message without key");
    } else if (__builtin_expect(timestamp < v->timestamp_min_ms || timestamp > v->timestamp_max_ms,
                                0) &&
               timestamp != NO_TIMESTAMP) {
        v->bad_timestamp = true;
        validation_add_error(v, "Timestamp is out of range");
    }
    if (timestamp > v->max_timestamp_ms)
        v->max_timestamp_ms = timestamp;
    v->count++;
    return true;
}

/* ---- uncompressed records ---- */

/* NULL, or what is wrong. */
static const char *validate_plain(struct validation *v, struct bytes records, int32_t count)
{
    const uint8_t *p = records.data;
    const uint8_t *end = p + records.size;

    v->records_bytes = records.size;
    while (v->count < count) {
        struct record_view r;

        p = record_view_read(p, end, &r);
        if (__builtin_expect(!p, 0))
            return message_malformed;
        if (__builtin_expect(!validation_accept(v, &r), 0))
            return message_gap;
    }
    return p == end ? NULL : message_trailing;
}

/* ---- compressed records ----
 *
 * Records that fit the window are read in it like uncompressed ones; larger ones are walked field
 * by field, so that their size costs no memory. */

struct record_stream {
    struct decompressor decompressor;
    struct status status; /* of the decompressor */
    uint8_t *window;
    const uint8_t *next; /* unread part of the window */
    const uint8_t *end;
    size_t read_bytes;
    bool ended;
};

static size_t stream_available(const struct record_stream *s)
{
    return (size_t)(s->end - s->next);
}

/* Makes `size` bytes, at most a window, readable at s->next; false: the stream ends before, or
 * failed. */
static bool stream_ensure(struct record_stream *s, size_t size)
{
    size_t kept = stream_available(s);
    size_t room = COMPRESSION_WINDOW_BYTES - kept;
    size_t got;

    if (kept >= size)
        return true;
    if (s->ended)
        return false;
    if (kept)
        memmove(s->window, s->next, kept);
    s->next = s->window;
    s->end = s->window + kept;
    s->status = decompressor_read(&s->decompressor, s->window + kept, room, &got);
    s->ended = status_failed(s->status) || got < room;
    if (status_failed(s->status))
        return false;
    s->read_bytes += got;
    s->end += got;
    return kept + got >= size;
}

/* Where a varint at hand must end: within the next `left` bytes, and within the stream. */
static const uint8_t *stream_varint_limit(struct record_stream *s, int64_t left)
{
    stream_ensure(s, VARINT64_BYTES_MAX); /* fewer near the end is fine */
    return (int64_t)stream_available(s) > left ? s->next + left : s->end;
}

/* Goes on behind a varint, whose end p is NULL when it was none. */
static bool stream_take_varint(struct record_stream *s, int64_t *left, const uint8_t *p)
{
    if (!p)
        return false;
    *left -= p - s->next;
    s->next = p;
    return true;
}

static bool stream_read_i64(struct record_stream *s, int64_t *left, int64_t *out)
{
    const uint8_t *limit = stream_varint_limit(s, *left);

    return stream_take_varint(s, left, varint_read_i64(s->next, limit, out));
}

static bool stream_read_i32(struct record_stream *s, int64_t *left, int32_t *out)
{
    const uint8_t *limit = stream_varint_limit(s, *left);

    return stream_take_varint(s, left, varint_read_i32(s->next, limit, out));
}

static bool stream_skip(struct record_stream *s, int64_t *left, int64_t size)
{
    if (size > *left)
        return false;
    *left -= size;
    while (size > 0) {
        int64_t take;

        if (!stream_ensure(s, 1))
            return false;
        take = (int64_t)stream_available(s) < size ? (int64_t)stream_available(s) : size;
        s->next += take;
        size -= take;
    }
    return true;
}

/* A size and that many bytes; any negative size is null. */
static bool stream_skip_field(struct record_stream *s, int64_t *left, bool *is_null)
{
    int32_t size;

    if (!stream_read_i32(s, left, &size))
        return false;
    *is_null = size < 0;
    return size < 0 || stream_skip(s, left, size);
}

static bool stream_skip_headers(struct record_stream *s, int64_t *left)
{
    int32_t count;
    bool is_null;

    if (!stream_read_i32(s, left, &count) || count < 0 || count > *left)
        return false;
    for (; count > 0; count--) {
        if (!stream_skip_field(s, left, &is_null) || is_null)
            return false;
        if (!stream_skip_field(s, left, &is_null))
            return false;
    }
    return true;
}

/* A record whose `left` bytes do not fit the window. Of key and value only "is null" is told. */
static bool stream_walk_record(struct record_stream *s, int64_t left, struct record_view *r)
{
    static const uint8_t present;
    bool is_null;

    if (!stream_skip(s, &left, 1) || /* the attributes */
        !stream_read_i64(s, &left, &r->timestamp_delta) ||
        !stream_read_i32(s, &left, &r->offset_delta) || !stream_skip_field(s, &left, &is_null))
        return false;
    r->key = (struct bytes){is_null ? NULL : &present, 0};
    return stream_skip_field(s, &left, &is_null) && stream_skip_headers(s, &left) && left == 0;
}

/* NULL, or what is wrong; s->status says when it is the decompression that failed. */
static const char *stream_read_record(struct record_stream *s, struct record_view *r)
{
    const uint8_t *body;
    int32_t size;

    stream_ensure(s, VARINT32_BYTES_MAX);
    if (stream_available(s) == 0)
        return message_truncated;
    body = varint_read_i32(s->next, s->end, &size);
    if (!body || size < 1)
        return message_malformed;
    if ((size_t)size > COMPRESSION_WINDOW_BYTES - VARINT32_BYTES_MAX) {
        s->next = body;
        return stream_walk_record(s, size, r) ? NULL : message_malformed;
    }
    if (!stream_ensure(s, (size_t)(body - s->next) + (size_t)size))
        return message_malformed;
    s->next = record_view_read(s->next, s->end, r);
    return s->next ? NULL : message_malformed;
}

static const char *validate_stream(struct validation *v, struct record_stream *s, int32_t count)
{
    while (v->count < count) {
        struct record_view r;
        const char *wrong = stream_read_record(s, &r);

        if (wrong)
            return wrong;
        if (!validation_accept(v, &r))
            return message_gap;
    }
    if (stream_ensure(s, 1))
        return message_trailing;
    v->records_bytes = s->read_bytes;
    return NULL;
}

static struct status validate_compressed(struct validation *v, struct bytes records,
                                         const uint8_t *batch,
                                         const struct record_validation *rules,
                                         struct compression_scratch *scratch)
{
    struct record_stream s = {.status = STATUS_OK, .window = compression_scratch_window(scratch)};
    const char *wrong;

    if (!s.window)
        return status_error(KERR_UNKNOWN_SERVER_ERROR, "validate: no memory");
    s.next = s.end = s.window;
    s.status = decompressor_open(&s.decompressor, scratch, record_batch_compression(batch), records,
                                 rules->decompressed_max);
    if (status_failed(s.status)) {
        wrong = message_malformed;
    } else {
        wrong = validate_stream(v, &s, record_batch_record_count(batch));
        decompressor_close(&s.decompressor);
    }
    if (s.status.code == KERR_CORRUPT_MESSAGE)
        return status_error(KERR_INVALID_RECORD, "The records cannot be decompressed");
    if (s.status.code == KERR_MESSAGE_TOO_LARGE)
        return status_error(KERR_MESSAGE_TOO_LARGE, "The records are too large when decompressed");
    if (status_failed(s.status))
        return s.status;
    return wrong ? status_error(KERR_INVALID_RECORD, wrong) : STATUS_OK;
}

/* ---- the whole ---- */

struct status record_batch_validate(struct bytes batch, const struct record_validation *rules,
                                    struct compression_scratch *scratch,
                                    struct record_validated *out, struct record_refusal *refusal)
{
    struct bytes records = {batch.data + RECORD_BATCH_HEADER_BYTES,
                            batch.size - RECORD_BATCH_HEADER_BYTES};
    struct status st = validate_header(batch.data, rules, refusal);
    struct validation v;

    if (status_failed(st))
        return st;
    validation_init(&v, batch.data, rules);
    if (record_batch_compression(batch.data) == COMPRESSION_NONE) {
        const char *wrong = validate_plain(&v, records, record_batch_record_count(batch.data));

        st = wrong ? status_error(KERR_INVALID_RECORD, wrong) : STATUS_OK;
    } else {
        st = validate_compressed(&v, records, batch.data, rules, scratch);
    }
    if (status_failed(st))
        return refuse(refusal, st.code, st.where);
    if (v.refused) {
        v.refusal.message = v.bad_timestamp
                                ? "One or more records have been rejected due to invalid timestamp"
                                : "One or more records have been rejected";
        if (refusal)
            *refusal = v.refusal;
        return status_error(v.bad_timestamp ? KERR_INVALID_TIMESTAMP : KERR_INVALID_RECORD,
                            v.refusal.message);
    }
    *out = (struct record_validated){
        .max_timestamp_ms = record_batch_is_log_append_time(batch.data)
                                ? record_batch_max_timestamp(batch.data)
                                : v.max_timestamp_ms,
        .records_bytes = v.records_bytes,
    };
    return STATUS_OK;
}
