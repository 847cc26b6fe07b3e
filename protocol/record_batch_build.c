#include "protocol/record_batch_build.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/varint.h"

#define BUILDER_BYTES_FIRST 1024
#define BATCH_BYTES_MAX     ((size_t)INT32_MAX)

void record_batch_builder_init(struct record_batch_builder *b)
{
    *b = (struct record_batch_builder){.status = STATUS_OK};
}

void record_batch_builder_free(struct record_batch_builder *b)
{
    free(b->data);
    record_batch_builder_init(b);
}

static bool builder_reserve(struct record_batch_builder *b, size_t size)
{
    size_t capacity = b->capacity ? b->capacity : BUILDER_BYTES_FIRST;
    uint8_t *data;

    if (status_failed(b->status))
        return false;
    if (size > BATCH_BYTES_MAX - b->size) {
        b->status = status_error(KERR_MESSAGE_TOO_LARGE, "batch too large");
        return false;
    }
    while (capacity < b->size + size)
        capacity *= 2;
    if (capacity == b->capacity)
        return true;
    data = realloc(b->data, capacity);
    if (!data) {
        b->status = status_error(KERR_UNKNOWN_SERVER_ERROR, "batch: no memory");
        return false;
    }
    b->data = data;
    b->capacity = capacity;
    return true;
}

void record_batch_builder_begin(struct record_batch_builder *b,
                                const struct record_batch_head *head)
{
    CHECK((head->attributes & RECORD_BATCH_COMPRESSION_MASK) == 0);
    b->head = *head;
    b->size = 0;
    b->count = 0;
    b->base_timestamp_ms = NO_TIMESTAMP;
    b->max_timestamp_ms = NO_TIMESTAMP;
    b->status = STATUS_OK;
    if (builder_reserve(b, RECORD_BATCH_HEADER_BYTES))
        b->size = RECORD_BATCH_HEADER_BYTES;
}

/* ---- records ---- */

static size_t field_size(struct bytes field)
{
    return field.data ? varint_size_i32((int32_t)field.size) + field.size : 1;
}

static uint8_t *field_write(uint8_t *p, struct bytes field)
{
    p = varint_write_i32(p, field.data ? (int32_t)field.size : -1);
    if (field.size > 0)
        memcpy(p, field.data, field.size);
    return p + field.size;
}

static struct bytes header_key(const struct record_header *h)
{
    return (struct bytes){(const uint8_t *)h->key.data, h->key.size};
}

/* Key, value and headers; SIZE_MAX when one of them is larger than any batch. */
static size_t content_size(const struct record_content *r)
{
    size_t size = field_size(r->key) + field_size(r->value) + VARINT32_BYTES_MAX;

    if (r->key.size > BATCH_BYTES_MAX || r->value.size > BATCH_BYTES_MAX ||
        r->header_count > BATCH_BYTES_MAX)
        return SIZE_MAX;
    for (size_t i = 0; i < r->header_count; i++) {
        if (r->headers[i].key.size > BATCH_BYTES_MAX || r->headers[i].value.size > BATCH_BYTES_MAX)
            return SIZE_MAX;
        size += field_size(header_key(&r->headers[i])) + field_size(r->headers[i].value);
    }
    return size - VARINT32_BYTES_MAX + varint_size_i32((int32_t)r->header_count);
}

size_t record_size_bytes_max(const struct record_content *r)
{
    size_t content = content_size(r);
    size_t head = VARINT32_BYTES_MAX + 1 + VARINT64_BYTES_MAX + VARINT32_BYTES_MAX;

    return content > SIZE_MAX - head ? SIZE_MAX : content + head;
}

void record_batch_builder_append(struct record_batch_builder *b, const struct record_content *r)
{
    size_t content = content_size(r);
    int64_t timestamp_delta;
    size_t body;
    uint8_t *p;

    if (content > BATCH_BYTES_MAX - 64 && !status_failed(b->status))
        b->status = status_error(KERR_MESSAGE_TOO_LARGE, "record too large");
    if (status_failed(b->status) || !builder_reserve(b, record_size_bytes_max(r)))
        return;
    if (b->count == 0)
        b->base_timestamp_ms = r->timestamp_ms;
    if (r->timestamp_ms > b->max_timestamp_ms)
        b->max_timestamp_ms = r->timestamp_ms;
    timestamp_delta = (int64_t)((uint64_t)r->timestamp_ms - (uint64_t)b->base_timestamp_ms);
    body = 1 + varint_size_i64(timestamp_delta) + varint_size_i32(b->count) + content;
    p = varint_write_i32(b->data + b->size, (int32_t)body);
    *p++ = 0; /* attributes: none are defined */
    p = varint_write_i64(p, timestamp_delta);
    p = varint_write_i32(p, b->count);
    p = field_write(p, r->key);
    p = field_write(p, r->value);
    p = varint_write_i32(p, (int32_t)r->header_count);
    for (size_t i = 0; i < r->header_count; i++) {
        CHECK(r->headers[i].key.data != NULL);
        p = field_write(p, header_key(&r->headers[i]));
        p = field_write(p, r->headers[i].value);
    }
    b->size = (size_t)(p - b->data);
    b->count++;
}

void record_batch_builder_append_control(struct record_batch_builder *b, enum control_type type,
                                         int64_t timestamp_ms, struct bytes value)
{
    uint8_t key[4] = {0}; /* version 0, type */

    CHECK(b->head.attributes & RECORD_BATCH_CONTROL);
    store_be16(key + 2, (uint16_t)type);
    record_batch_builder_append(b, &(struct record_content){.timestamp_ms = timestamp_ms,
                                                            .key = {key, sizeof key},
                                                            .value = value});
}

size_t record_batch_builder_size(const struct record_batch_builder *b)
{
    return b->size;
}

/* ---- the header ---- */

/* Fills the header of a batch whose records are in place, then its CRC. */
static void header_write(struct bytes_mut batch, const struct record_batch_builder *b,
                         enum compression_type compression)
{
    const struct record_batch_head *head = &b->head;
    uint8_t *p = batch.data;

    store_be64(p + RECORD_BATCH_AT_BASE_OFFSET, (uint64_t)head->base_offset);
    store_be32(p + RECORD_BATCH_AT_LENGTH, (uint32_t)(batch.size - RECORD_BATCH_OVERHEAD_BYTES));
    store_be32(p + RECORD_BATCH_AT_LEADER_EPOCH, (uint32_t)head->leader_epoch);
    p[RECORD_BATCH_AT_MAGIC] = RECORD_BATCH_MAGIC;
    store_be16(p + RECORD_BATCH_AT_ATTRIBUTES, (uint16_t)(head->attributes | compression));
    store_be32(p + RECORD_BATCH_AT_LAST_OFFSET_DELTA, (uint32_t)(b->count - 1));
    store_be64(p + RECORD_BATCH_AT_BASE_TIMESTAMP, (uint64_t)b->base_timestamp_ms);
    store_be64(p + RECORD_BATCH_AT_MAX_TIMESTAMP, (uint64_t)b->max_timestamp_ms);
    store_be64(p + RECORD_BATCH_AT_PRODUCER_ID, (uint64_t)head->producer_id);
    store_be16(p + RECORD_BATCH_AT_PRODUCER_EPOCH, (uint16_t)head->producer_epoch);
    store_be32(p + RECORD_BATCH_AT_BASE_SEQUENCE, (uint32_t)head->base_sequence);
    store_be32(p + RECORD_BATCH_AT_RECORD_COUNT, (uint32_t)b->count);
    record_batch_set_crc(batch);
}

/* Compresses records behind a free header into the scratch. */
static struct status batch_compress(struct bytes records, enum compression_type type, int level,
                                    struct compression_scratch *scratch, struct bytes_mut *out)
{
    struct status st =
        compression_compress(scratch, type, level, RECORD_BATCH_HEADER_BYTES, records, out);

    if (!status_failed(st) && out->size > BATCH_BYTES_MAX)
        return status_error(KERR_MESSAGE_TOO_LARGE, "batch too large");
    return st;
}

struct status record_batch_builder_finish(struct record_batch_builder *b,
                                          struct compression_scratch *scratch,
                                          struct bytes_mut *out)
{
    struct bytes_mut batch = {b->data, b->size};
    struct status st;

    if (status_failed(b->status))
        return b->status;
    if (b->count == 0)
        return status_error(KERR_INVALID_RECORD, "batch without records");
    if (b->head.compression != COMPRESSION_NONE) {
        CHECK(scratch != NULL);
        st = batch_compress((struct bytes){b->data + RECORD_BATCH_HEADER_BYTES,
                                           b->size - RECORD_BATCH_HEADER_BYTES},
                            b->head.compression, b->head.compression_level, scratch, &batch);
        if (status_failed(st))
            return st;
    }
    header_write(batch, b, b->head.compression);
    *out = batch;
    return STATUS_OK;
}

/* ---- another codec ---- */

struct status record_batch_recompress(struct bytes batch, enum compression_type to, int level,
                                      size_t decompressed_max, struct compression_scratch *scratch,
                                      struct bytes_mut *out)
{
    struct bytes records = {batch.data + RECORD_BATCH_HEADER_BYTES,
                            batch.size - RECORD_BATCH_HEADER_BYTES};
    struct bytes_mut made;
    uint16_t attributes;
    struct status st;

    st = compression_decompress(scratch, record_batch_compression(batch.data), records,
                                decompressed_max, &records);
    if (status_failed(st))
        return st;
    st = batch_compress(records, to, level, scratch, &made);
    if (status_failed(st))
        return st;
    memcpy(made.data, batch.data, RECORD_BATCH_HEADER_BYTES);
    attributes = record_batch_attributes(made.data);
    attributes = (uint16_t)((attributes & ~RECORD_BATCH_COMPRESSION_MASK) | (int)to);
    store_be16(made.data + RECORD_BATCH_AT_ATTRIBUTES, attributes);
    store_be32(made.data + RECORD_BATCH_AT_LENGTH,
               (uint32_t)(made.size - RECORD_BATCH_OVERHEAD_BYTES));
    record_batch_set_crc(made);
    *out = made;
    return STATUS_OK;
}
