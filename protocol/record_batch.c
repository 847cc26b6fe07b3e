#include "protocol/record_batch.h"

#include "protocol/base/crc32c.h"
#include "protocol/record_internal.h"

/* ---- changes in place ---- */

static uint32_t record_batch_compute_crc(const uint8_t *p, size_t size)
{
    return crc32c(p + RECORD_BATCH_AT_ATTRIBUTES, size - RECORD_BATCH_AT_ATTRIBUTES);
}

void record_batch_set_crc(struct bytes_mut batch)
{
    store_be32(batch.data + RECORD_BATCH_AT_CRC, record_batch_compute_crc(batch.data, batch.size));
}

void record_batch_set_max_timestamp(struct bytes_mut batch, bool log_append_time,
                                    int64_t max_timestamp_ms)
{
    uint16_t attributes = record_batch_attributes(batch.data);
    uint16_t wanted = (uint16_t)((attributes & ~RECORD_BATCH_LOG_APPEND_TIME) |
                                 (log_append_time ? RECORD_BATCH_LOG_APPEND_TIME : 0));

    if (attributes == wanted && record_batch_max_timestamp(batch.data) == max_timestamp_ms)
        return;
    store_be16(batch.data + RECORD_BATCH_AT_ATTRIBUTES, wanted);
    store_be64(batch.data + RECORD_BATCH_AT_MAX_TIMESTAMP, (uint64_t)max_timestamp_ms);
    record_batch_set_crc(batch);
}

/* ---- batches of a buffer ---- */

bool record_batches_next(struct record_batches *it, struct bytes *batch)
{
    int64_t size;

    if (it->rest.size < RECORD_BATCH_OVERHEAD_BYTES)
        return false;
    size = record_batch_size_bytes(it->rest.data);
    if (size < RECORD_BATCH_HEADER_BYTES) {
        it->status = status_error(KERR_CORRUPT_MESSAGE, "batch length");
        return false;
    }
    if (it->rest.size > RECORD_BATCH_AT_MAGIC &&
        record_batch_magic(it->rest.data) != RECORD_BATCH_MAGIC) {
        it->status = status_error(KERR_CORRUPT_MESSAGE, "batch magic");
        return false;
    }
    if ((uint64_t)size > it->rest.size)
        return false;
    *batch = (struct bytes){it->rest.data, (size_t)size};
    it->rest.data += size;
    it->rest.size -= (size_t)size;
    return true;
}

struct status record_batch_check(struct bytes batch)
{
    if (batch.size < RECORD_BATCH_HEADER_BYTES ||
        (uint64_t)record_batch_size_bytes(batch.data) != batch.size)
        return status_error(KERR_CORRUPT_MESSAGE, "batch length");
    if (record_batch_magic(batch.data) != RECORD_BATCH_MAGIC)
        return status_error(KERR_CORRUPT_MESSAGE, "batch magic");
    if (record_batch_crc(batch.data) != record_batch_compute_crc(batch.data, batch.size))
        return status_error(KERR_CORRUPT_MESSAGE, "batch CRC");
    return STATUS_OK;
}

/* ---- records of a batch ---- */

/* Kept out of line: few records have headers. */
bool record_headers_fit(struct bytes headers, int32_t count)
{
    const uint8_t *p = headers.data;
    const uint8_t *end = p + headers.size;

    if (count < 0 || count > end - p)
        return false;
    for (int32_t i = 0; i < count; i++) {
        struct bytes field;

        p = record_read_field(p, end, &field);
        if (!p || !field.data) /* a header's key cannot be null */
            return false;
        p = record_read_field(p, end, &field);
        if (!p)
            return false;
    }
    return p == end;
}

struct status record_iter_open(struct record_iter *it, struct bytes batch,
                               struct compression_scratch *scratch, size_t decompressed_max)
{
    const uint8_t *p = batch.data;
    struct bytes records;

    *it = (struct record_iter){.status = STATUS_OK};
    if (batch.size < RECORD_BATCH_HEADER_BYTES)
        return it->status = status_error(KERR_CORRUPT_MESSAGE, "batch length");
    if (record_batch_record_count(p) < 0)
        return it->status = status_error(KERR_CORRUPT_MESSAGE, "record count");
    records = (struct bytes){p + RECORD_BATCH_HEADER_BYTES, batch.size - RECORD_BATCH_HEADER_BYTES};
    /* Compaction leaves batches without records behind; those hold no stream of any codec. */
    if (record_batch_compression(p) != COMPRESSION_NONE && record_batch_record_count(p) > 0) {
        if (!scratch)
            return it->status = status_error(KERR_UNKNOWN_SERVER_ERROR, "compressed batch");
        it->status = compression_decompress(scratch, record_batch_compression(p), records,
                                            decompressed_max, &records);
        if (status_failed(it->status))
            return it->status;
    }
    it->next = records.data;
    it->end = records.data + records.size;
    it->left = record_batch_record_count(p);
    it->base_offset = record_batch_base_offset(p);
    it->base_timestamp_ms = record_batch_base_timestamp(p);
    it->base_sequence = record_batch_base_sequence(p);
    it->log_append_time = record_batch_is_log_append_time(p);
    it->log_append_time_ms = record_batch_max_timestamp(p);
    return STATUS_OK;
}

static bool record_iter_fail(struct record_iter *it, const char *where)
{
    it->status = status_error(KERR_CORRUPT_MESSAGE, where);
    it->left = 0;
    it->next = it->end;
    return false;
}

/* Sums of what the wire gave, wrapping around instead of overflowing. */
static int64_t wrapping_add(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

bool record_iter_next(struct record_iter *it, struct record *out)
{
    const uint8_t *start = it->next;
    const uint8_t *next;
    struct record_view v;

    if (it->left == 0)
        return it->next == it->end ? false : record_iter_fail(it, "bytes behind the last record");
    next = record_view_read(start, it->end, &v);
    if (!next)
        return record_iter_fail(it, "record");
    it->left--;
    it->next = next;
    *out = (struct record){
        .offset = wrapping_add(it->base_offset, v.offset_delta),
        .timestamp_ms = it->log_append_time
                            ? it->log_append_time_ms
                            : wrapping_add(it->base_timestamp_ms, v.timestamp_delta),
        .sequence =
            it->base_sequence < 0 ? NO_SEQUENCE : sequence_add(it->base_sequence, v.offset_delta),
        .offset_delta = v.offset_delta,
        .attributes = v.attributes,
        .key = v.key,
        .value = v.value,
        .header_count = v.header_count,
        .headers = v.headers,
        .size_bytes = (size_t)(next - start),
    };
    return true;
}

bool record_headers_next(struct bytes *headers, struct record_header *out)
{
    const uint8_t *end = headers->data + headers->size;
    const uint8_t *p = headers->data;
    struct bytes key;

    if (headers->size == 0)
        return false;
    p = record_read_field(p, end, &key);
    if (p)
        p = record_read_field(p, end, &out->value);
    if (!p)
        return false;
    out->key = (struct str){(const char *)key.data, key.size};
    *headers = (struct bytes){p, (size_t)(end - p)};
    return true;
}

int control_record_type(const struct record *r)
{
    if (!r->key.data || r->key.size < 4 || (int16_t)load_be16(r->key.data) < 0)
        return -1;
    return (int16_t)load_be16(r->key.data + 2);
}
