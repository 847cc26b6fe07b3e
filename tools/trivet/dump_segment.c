/* Batches of a segment or of a metadata snapshot, and their records. */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/crc32c.h"
#include "tools/trivet/dump.h"

#define BATCH_BYTES_MAX        ((size_t)64 << 20) /* larger ones are checked, but not looked into */
#define DECOMPRESSED_BYTES_MAX ((size_t)1 << 30)

struct segment_dump {
    struct dump *d;
    const struct dump_input *in;
    struct compression_scratch *scratch;
    uint8_t *buffer; /* the batch at hand, grown as needed */
    size_t capacity;
    int64_t next_offset; /* after the last record, with deep; -1: none so far */
};

static const char *timestamp_type(const uint8_t *head)
{
    return record_batch_is_log_append_time(head) ? "LogAppendTime" : "CreateTime";
}

/* ---- records ---- */

static json_t *header_keys(const struct record *r)
{
    json_t *keys = json_array();
    struct bytes rest = r->headers;
    struct record_header h;

    while (record_headers_next(&rest, &h)) {
        json_t *key = json_stringn(h.key.data, h.key.size);

        json_array_append_new(keys, key ? key : json_string("(not UTF-8)"));
    }
    return keys;
}

static json_t *headers_with_values(const struct record *r)
{
    json_t *headers = json_array();
    struct bytes rest = r->headers;
    struct record_header h;

    while (record_headers_next(&rest, &h)) {
        struct bytes key = {(const uint8_t *)h.key.data, h.key.size};

        json_array_append_new(
            headers, json_pack("{soso}", "key", dump_bytes(key), "value", dump_bytes(h.value)));
    }
    return headers;
}

static json_int_t field_size(struct bytes field)
{
    return field.data ? (json_int_t)field.size : -1;
}

static void add_offsets(struct segment_dump *s, json_t *line, const struct record *r)
{
    if (dump_offsets_record(line, r))
        return;
    json_object_set_new(line, "key", dump_bytes(r->key));
    json_object_set_new(line, "payload", dump_bytes(r->value));
    dump_problem(s->d, "%s: the record at offset %" PRId64 " is none of a group coordinator",
                 s->in->path, r->offset);
}

static void add_payload(struct segment_dump *s, json_t *line, const struct record *r)
{
    json_t *decoded = s->d->metadata ? dump_metadata_record(r->value) : NULL;

    if (s->d->metadata && !decoded)
        dump_problem(s->d, "%s: the value at offset %" PRId64 " is no metadata record", s->in->path,
                     r->offset);
    json_object_set_new(line, "key", dump_bytes(r->key));
    json_object_set_new(line, "payload", decoded ? decoded : dump_bytes(r->value));
}

static void add_control(struct segment_dump *s, json_t *line, const struct record *r)
{
    if (dump_control_record(line, r))
        return;
    json_object_set_new(line, "controlType", json_integer(control_record_type(r)));
    json_object_set_new(line, "key", dump_bytes(r->key));
    json_object_set_new(line, "payload", dump_bytes(r->value));
    dump_problem(s->d, "%s: the control record at offset %" PRId64 " cannot be read", s->in->path,
                 r->offset);
}

static void dump_record(struct segment_dump *s, const uint8_t *head, const struct record *r)
{
    json_t *line = json_object();

    json_object_set_new(line, "offset", json_integer(r->offset));
    json_object_set_new(line, timestamp_type(head), json_integer(r->timestamp_ms));
    json_object_set_new(line, "keySize", json_integer(field_size(r->key)));
    json_object_set_new(line, "valueSize", json_integer(field_size(r->value)));
    json_object_set_new(line, "sequence", json_integer(r->sequence));
    json_object_set_new(line, "headerKeys", header_keys(r));
    if (s->d->json && r->header_count > 0)
        json_object_set_new(line, "headers", headers_with_values(r));
    if (record_batch_is_control(head))
        add_control(s, line, r);
    else if (s->d->offsets)
        add_offsets(s, line, r);
    else
        add_payload(s, line, r);
    dump_line(s->d, "record", "| ", line);
}

static void dump_records(struct segment_dump *s, struct bytes batch, int64_t position)
{
    struct record_iter it;
    struct record r;

    record_iter_open(&it, batch, s->scratch, DECOMPRESSED_BYTES_MAX);
    while (record_iter_next(&it, &r)) {
        /* __consumer_offsets is compacted: its offsets have gaps. */
        if (s->next_offset >= 0 && r.offset != s->next_offset && !s->d->offsets)
            dump_problem(s->d, "%s: offset %" PRId64 " is followed by %" PRId64, s->in->path,
                         s->next_offset - 1, r.offset);
        s->next_offset = r.offset + 1;
        dump_record(s, batch.data, &r);
    }
    if (status_failed(it.status))
        dump_problem(s->d, "%s: the records of the batch at position %" PRId64 " are corrupt: %s",
                     s->in->path, position, it.status.where);
    compression_scratch_trim(s->scratch);
}

/* ---- batches ---- */

static void dump_batch(struct segment_dump *s, const uint8_t *head, int64_t position, bool valid)
{
    json_t *line = json_object();
    uint16_t attributes = record_batch_attributes(head);
    json_t *horizon = attributes & RECORD_BATCH_DELETE_HORIZON
                          ? json_integer(record_batch_base_timestamp(head))
                          : json_null();

    json_object_set_new(line, "baseOffset", json_integer(record_batch_base_offset(head)));
    json_object_set_new(line, "lastOffset", json_integer(record_batch_last_offset(head)));
    json_object_set_new(line, "count", json_integer(record_batch_record_count(head)));
    json_object_set_new(line, "baseSequence", json_integer(record_batch_base_sequence(head)));
    json_object_set_new(line, "lastSequence", json_integer(record_batch_last_sequence(head)));
    json_object_set_new(line, "producerId", json_integer(record_batch_producer_id(head)));
    json_object_set_new(line, "producerEpoch", json_integer(record_batch_producer_epoch(head)));
    json_object_set_new(line, "partitionLeaderEpoch",
                        json_integer(record_batch_leader_epoch(head)));
    json_object_set_new(line, "isTransactional", json_boolean(record_batch_is_transactional(head)));
    json_object_set_new(line, "isControl", json_boolean(record_batch_is_control(head)));
    json_object_set_new(line, "deleteHorizonMs", horizon);
    json_object_set_new(line, "position", json_integer(position));
    json_object_set_new(line, timestamp_type(head), json_integer(record_batch_max_timestamp(head)));
    json_object_set_new(line, "size", json_integer(record_batch_size_bytes(head)));
    json_object_set_new(line, "magic", json_integer(record_batch_magic(head)));
    json_object_set_new(line, "compresscodec",
                        json_string(compression_name(record_batch_compression(head))));
    json_object_set_new(line, "crc", json_integer(record_batch_crc(head)));
    json_object_set_new(line, "isvalid", json_boolean(valid));
    dump_line(s->d, "batch", "", line);
}

static bool reserve(struct segment_dump *s, size_t size)
{
    uint8_t *buffer;

    if (size <= s->capacity)
        return true;
    buffer = realloc(s->buffer, size);
    if (!buffer) {
        dump_problem(s->d, "%s: no memory for a batch of %zu bytes", s->in->path, size);
        return false;
    }
    s->buffer = buffer;
    s->capacity = size;
    return true;
}

/* The CRC of a batch too large to be loaded. False: it could not be read. */
static bool checksum_of_large(struct segment_dump *s, int64_t position, int64_t size, uint32_t *crc)
{
    int64_t at = position + RECORD_BATCH_AT_ATTRIBUTES;
    int64_t end = position + size;

    *crc = 0;
    while (at < end) {
        size_t take = end - at < (int64_t)s->capacity ? (size_t)(end - at) : s->capacity;

        if (!dump_input_read(s->d, s->in, s->buffer, take, at))
            return false;
        *crc = crc32c_extend(*crc, s->buffer, take);
        at += (int64_t)take;
    }
    return true;
}

static bool dump_large_batch(struct segment_dump *s, const uint8_t *head, int64_t position,
                             int64_t size)
{
    uint32_t crc;

    if (!reserve(s, (size_t)1 << 20) || !checksum_of_large(s, position, size, &crc))
        return false;
    dump_batch(s, head, position, crc == record_batch_crc(head));
    if (crc != record_batch_crc(head) || s->d->deep)
        dump_problem(s->d, "%s: the batch at position %" PRId64 " has %" PRId64 " bytes%s",
                     s->in->path, position, size,
                     crc == record_batch_crc(head) ? "" : ", and a wrong CRC");
    return true;
}

static bool dump_whole_batch(struct segment_dump *s, int64_t position, int64_t size)
{
    struct status st;

    if (!reserve(s, (size_t)size) ||
        !dump_input_read(s->d, s->in, s->buffer, (size_t)size, position))
        return false;
    st = record_batch_check((struct bytes){s->buffer, (size_t)size});
    dump_batch(s, s->buffer, position, !status_failed(st));
    if (status_failed(st)) {
        dump_problem(s->d, "%s: the batch at position %" PRId64 " is corrupt: %s", s->in->path,
                     position, st.where);
        return record_batch_magic(s->buffer) == RECORD_BATCH_MAGIC;
    }
    if (s->d->deep)
        dump_records(s, (struct bytes){s->buffer, (size_t)size}, position);
    return true;
}

/* The batch at `position`; *size is its size. False: no whole batch there, or it could not be read.
 */
static bool dump_batch_at(struct segment_dump *s, int64_t position, int64_t *size)
{
    uint8_t head[RECORD_BATCH_HEADER_BYTES];
    int64_t left = s->in->size - position;

    if (left < RECORD_BATCH_HEADER_BYTES ||
        !dump_input_read(s->d, s->in, head, sizeof head, position))
        return false;
    *size = record_batch_size_bytes(head);
    if (*size < RECORD_BATCH_HEADER_BYTES || *size > left ||
        record_batch_magic(head) != RECORD_BATCH_MAGIC)
        return false;
    return *size > (int64_t)BATCH_BYTES_MAX ? dump_large_batch(s, head, position, *size)
                                            : dump_whole_batch(s, position, *size);
}

void dump_segment(struct dump *d, const struct dump_input *in)
{
    struct segment_dump s = {.d = d, .in = in, .next_offset = -1};
    int64_t position = 0;
    int64_t size;

    s.scratch = compression_scratch_new();
    if (!s.scratch) {
        dump_problem(d, "%s: no memory", in->path);
        return;
    }
    for (; dump_batch_at(&s, position, &size); position += size)
        ;
    if (position < in->size) {
        json_t *line = json_pack("{sIsI}", "position", (json_int_t)position, "invalidBytes",
                                 (json_int_t)(in->size - position));

        dump_text(d, "Found %" PRId64 " invalid bytes at the end of %s", in->size - position,
                  in->name);
        if (d->json)
            dump_line(d, "trailing", "", line);
        else
            json_decref(line);
        d->failed = true;
    }
    compression_scratch_free(s.scratch);
    free(s.buffer);
}
