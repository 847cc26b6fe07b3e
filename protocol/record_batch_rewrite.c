#include "protocol/record_batch_rewrite.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/varint.h"

#define BATCH_BYTES_MAX ((size_t)INT32_MAX)

void record_batch_rewrite_free(struct record_batch_rewrite *w)
{
    free(w->data);
    free(w->shifted);
    *w = (struct record_batch_rewrite){0};
}

static bool reserve(uint8_t **data, size_t *capacity, size_t size)
{
    size_t more = *capacity ? *capacity : 4096;
    uint8_t *p;

    if (size <= *capacity)
        return true;
    while (more < size)
        more *= 2;
    p = realloc(*data, more);
    if (!p)
        return false;
    *data = p;
    *capacity = more;
    return true;
}

void record_batch_rewrite_begin(struct record_batch_rewrite *w, struct bytes batch)
{
    CHECK(batch.size >= RECORD_BATCH_HEADER_BYTES);
    w->head = batch.data;
    w->size = RECORD_BATCH_HEADER_BYTES;
    w->count = 0;
    w->max_timestamp_ms = NO_TIMESTAMP;
    w->has_tombstone = false;
    w->out_of_memory = false;
}

void record_batch_rewrite_keep(struct record_batch_rewrite *w, const struct record *r,
                               struct bytes encoded)
{
    if (w->out_of_memory || !reserve(&w->data, &w->capacity, w->size + encoded.size)) {
        w->out_of_memory = true;
        return;
    }
    memcpy(w->data + w->size, encoded.data, encoded.size);
    w->size += encoded.size;
    w->count++;
    if (r->timestamp_ms > w->max_timestamp_ms)
        w->max_timestamp_ms = r->timestamp_ms;
    if (!r->value.data)
        w->has_tombstone = true;
}

/* ---- another base timestamp ---- */

static size_t nullable_size(struct bytes field)
{
    return field.data ? varint_size_i32((int32_t)field.size) + field.size : 1;
}

static uint8_t *write_nullable(uint8_t *p, struct bytes field)
{
    p = varint_write_i32(p, field.data ? (int32_t)field.size : -1);
    if (field.size)
        memcpy(p, field.data, field.size);
    return p + field.size;
}

static uint8_t *write_record(uint8_t *p, const struct record *r, int64_t timestamp_delta)
{
    const size_t body = 1 + varint_size_i64(timestamp_delta) + varint_size_i32(r->offset_delta) +
                        nullable_size(r->key) + nullable_size(r->value) +
                        varint_size_i32(r->header_count) + r->headers.size;

    p = varint_write_i32(p, (int32_t)body);
    *p++ = (uint8_t)r->attributes;
    p = varint_write_i64(p, timestamp_delta);
    p = varint_write_i32(p, r->offset_delta);
    p = write_nullable(p, r->key);
    p = write_nullable(p, r->value);
    p = varint_write_i32(p, r->header_count);
    if (r->headers.size)
        memcpy(p, r->headers.data, r->headers.size);
    return p + r->headers.size;
}

/* Writes the kept records anew, their timestamps relative to base_ms. A record grows by the length
 * of its own delta and of its own size at most. */
static struct status shift_timestamps(struct record_batch_rewrite *w, int64_t base_ms,
                                      struct bytes *records)
{
    const size_t most = w->size + (size_t)w->count * (VARINT64_BYTES_MAX + VARINT32_BYTES_MAX);
    struct record_iter it = {
        .next = w->data + RECORD_BATCH_HEADER_BYTES,
        .end = w->data + w->size,
        .left = w->count,
        .base_offset = record_batch_base_offset(w->head),
        .base_timestamp_ms = record_batch_base_timestamp(w->head),
        .base_sequence = NO_SEQUENCE,
        .log_append_time = record_batch_is_log_append_time(w->head),
        .log_append_time_ms = record_batch_max_timestamp(w->head),
        .status = STATUS_OK,
    };
    struct record r;
    uint8_t *p;

    if (!reserve(&w->shifted, &w->shifted_capacity, most))
        return status_error(KERR_UNKNOWN_SERVER_ERROR, "rewrite of a batch: no memory");
    p = w->shifted + RECORD_BATCH_HEADER_BYTES;
    while (record_iter_next(&it, &r))
        p = write_record(p, &r, (int64_t)((uint64_t)r.timestamp_ms - (uint64_t)base_ms));
    CHECK(!status_failed(it.status));
    *records = (struct bytes){w->shifted + RECORD_BATCH_HEADER_BYTES,
                              (size_t)(p - w->shifted) - RECORD_BATCH_HEADER_BYTES};
    return STATUS_OK;
}

/* ---- the header ---- */

static void finish_header(const struct record_batch_rewrite *w, struct bytes_mut batch,
                          int64_t horizon_ms)
{
    uint8_t *p = batch.data;

    memcpy(p, w->head, RECORD_BATCH_HEADER_BYTES);
    store_be32(p + RECORD_BATCH_AT_LENGTH, (uint32_t)(batch.size - RECORD_BATCH_OVERHEAD_BYTES));
    if (horizon_ms != NO_TIMESTAMP) {
        store_be16(p + RECORD_BATCH_AT_ATTRIBUTES,
                   (uint16_t)(record_batch_attributes(p) | RECORD_BATCH_DELETE_HORIZON));
        store_be64(p + RECORD_BATCH_AT_BASE_TIMESTAMP, (uint64_t)horizon_ms);
    }
    if (!record_batch_is_log_append_time(p))
        store_be64(p + RECORD_BATCH_AT_MAX_TIMESTAMP, (uint64_t)w->max_timestamp_ms);
    store_be32(p + RECORD_BATCH_AT_RECORD_COUNT, (uint32_t)w->count);
    record_batch_set_crc(batch);
}

struct status record_batch_rewrite_finish(struct record_batch_rewrite *w, int64_t delete_horizon_ms,
                                          struct compression_scratch *scratch, struct bytes *out)
{
    const int codec = record_batch_compression(w->head);
    struct bytes_mut batch;
    struct bytes records;
    struct status st = STATUS_OK;

    if (w->out_of_memory)
        return status_error(KERR_UNKNOWN_SERVER_ERROR, "rewrite of a batch: no memory");
    CHECK(w->count > 0);
    records =
        (struct bytes){w->data + RECORD_BATCH_HEADER_BYTES, w->size - RECORD_BATCH_HEADER_BYTES};
    if (delete_horizon_ms != NO_TIMESTAMP)
        st = shift_timestamps(w, delete_horizon_ms, &records);
    if (status_failed(st))
        return st;
    /* Both buffers keep room for a header in front of the records. */
    batch = (struct bytes_mut){(uint8_t *)(uintptr_t)records.data - RECORD_BATCH_HEADER_BYTES,
                               records.size + RECORD_BATCH_HEADER_BYTES};
    if (codec != COMPRESSION_NONE)
        st = compression_compress(scratch, (enum compression_type)codec,
                                  compression_levels((enum compression_type)codec).initial,
                                  RECORD_BATCH_HEADER_BYTES, records, &batch);
    if (status_failed(st))
        return st;
    if (batch.size > BATCH_BYTES_MAX)
        return status_error(KERR_MESSAGE_TOO_LARGE, "batch too large");
    finish_header(w, batch, delete_horizon_ms);
    *out = (struct bytes){batch.data, batch.size};
    return STATUS_OK;
}

void record_batch_write_empty(const uint8_t *head, uint8_t out[RECORD_BATCH_HEADER_BYTES])
{
    const uint16_t attributes =
        record_batch_attributes(head) &
        (uint16_t) ~(RECORD_BATCH_COMPRESSION_MASK | RECORD_BATCH_DELETE_HORIZON);

    memcpy(out, head, RECORD_BATCH_HEADER_BYTES);
    store_be32(out + RECORD_BATCH_AT_LENGTH,
               RECORD_BATCH_HEADER_BYTES - RECORD_BATCH_OVERHEAD_BYTES);
    store_be16(out + RECORD_BATCH_AT_ATTRIBUTES, attributes);
    store_be64(out + RECORD_BATCH_AT_BASE_TIMESTAMP, (uint64_t)NO_TIMESTAMP);
    store_be32(out + RECORD_BATCH_AT_RECORD_COUNT, 0);
    record_batch_set_crc((struct bytes_mut){out, RECORD_BATCH_HEADER_BYTES});
}
