#ifndef PROTOCOL_RECORD_BATCH_H
#define PROTOCOL_RECORD_BATCH_H

/* Record batches, format v2: what producers send, logs hold and consumers read.
 *
 *    0 base offset i64        8 length i32 (of what follows)   12 partition leader epoch i32
 *   16 magic i8 = 2          17 CRC-32C u32 of all from 21 on  21 attributes i16
 *   23 last offset delta i32 27 base timestamp i64             35 max timestamp i64
 *   43 producer id i64       51 producer epoch i16             53 base sequence i32
 *   57 record count i32      61 the records, compressed as the attributes say
 *
 * Base offset and leader epoch lie outside the CRC: the leader sets them in place.
 *
 * Accessors read the first 61 bytes of a batch and check nothing; everything else here takes bytes
 * that may be anything. Validation of what producers send: record_batch_validate.h. Making batches:
 * record_batch_build.h. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/byteorder.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "protocol/compression.h"

#define RECORD_BATCH_HEADER_BYTES   61
#define RECORD_BATCH_OVERHEAD_BYTES 12 /* base offset and length: not counted by the length */
#define RECORD_BATCH_MAGIC          2

enum record_batch_at {
    RECORD_BATCH_AT_BASE_OFFSET = 0,
    RECORD_BATCH_AT_LENGTH = 8,
    RECORD_BATCH_AT_LEADER_EPOCH = 12,
    RECORD_BATCH_AT_MAGIC = 16,
    RECORD_BATCH_AT_CRC = 17,
    RECORD_BATCH_AT_ATTRIBUTES = 21,
    RECORD_BATCH_AT_LAST_OFFSET_DELTA = 23,
    RECORD_BATCH_AT_BASE_TIMESTAMP = 27,
    RECORD_BATCH_AT_MAX_TIMESTAMP = 35,
    RECORD_BATCH_AT_PRODUCER_ID = 43,
    RECORD_BATCH_AT_PRODUCER_EPOCH = 51,
    RECORD_BATCH_AT_BASE_SEQUENCE = 53,
    RECORD_BATCH_AT_RECORD_COUNT = 57,
};

enum record_batch_attributes {
    RECORD_BATCH_COMPRESSION_MASK = 0x07,
    RECORD_BATCH_LOG_APPEND_TIME = 0x08,
    RECORD_BATCH_TRANSACTIONAL = 0x10,
    RECORD_BATCH_CONTROL = 0x20,
    RECORD_BATCH_DELETE_HORIZON = 0x40, /* the base timestamp is the horizon (KIP-534) */
};

/* Types of control records (the second int16 of their key). */
enum control_type {
    CONTROL_ABORT = 0,
    CONTROL_COMMIT = 1,
    CONTROL_LEADER_CHANGE = 2,
    CONTROL_SNAPSHOT_HEADER = 3,
    CONTROL_SNAPSHOT_FOOTER = 4,
    CONTROL_KRAFT_VERSION = 5,
    CONTROL_KRAFT_VOTERS = 6,
};

#define NO_PRODUCER_ID  (-1) /* also of the producer epoch */
#define NO_SEQUENCE     (-1)
#define NO_TIMESTAMP    (-1)
#define NO_LEADER_EPOCH (-1)

/* ---- fields of the header; p has RECORD_BATCH_HEADER_BYTES bytes at least ---- */

static inline int64_t record_batch_base_offset(const uint8_t *p)
{
    return (int64_t)load_be64(p + RECORD_BATCH_AT_BASE_OFFSET);
}

/* Of the whole batch, the first 12 bytes included. Negative or small when the length field is
 * nonsense: compare with RECORD_BATCH_HEADER_BYTES before use. Needs the first 12 bytes only. */
static inline int64_t record_batch_size_bytes(const uint8_t *p)
{
    return (int64_t)(int32_t)load_be32(p + RECORD_BATCH_AT_LENGTH) + RECORD_BATCH_OVERHEAD_BYTES;
}

static inline int32_t record_batch_leader_epoch(const uint8_t *p)
{
    return (int32_t)load_be32(p + RECORD_BATCH_AT_LEADER_EPOCH);
}

static inline int record_batch_magic(const uint8_t *p)
{
    return (int8_t)p[RECORD_BATCH_AT_MAGIC];
}

static inline uint32_t record_batch_crc(const uint8_t *p)
{
    return load_be32(p + RECORD_BATCH_AT_CRC);
}

static inline uint16_t record_batch_attributes(const uint8_t *p)
{
    return load_be16(p + RECORD_BATCH_AT_ATTRIBUTES);
}

/* An enum compression_type, or 5 to 7. */
static inline int record_batch_compression(const uint8_t *p)
{
    return record_batch_attributes(p) & RECORD_BATCH_COMPRESSION_MASK;
}

static inline bool record_batch_is_log_append_time(const uint8_t *p)
{
    return record_batch_attributes(p) & RECORD_BATCH_LOG_APPEND_TIME;
}

static inline bool record_batch_is_transactional(const uint8_t *p)
{
    return record_batch_attributes(p) & RECORD_BATCH_TRANSACTIONAL;
}

static inline bool record_batch_is_control(const uint8_t *p)
{
    return record_batch_attributes(p) & RECORD_BATCH_CONTROL;
}

static inline int32_t record_batch_last_offset_delta(const uint8_t *p)
{
    return (int32_t)load_be32(p + RECORD_BATCH_AT_LAST_OFFSET_DELTA);
}

/* Wraps around for nonsense, instead of undefined behaviour. */
static inline int64_t record_batch_last_offset(const uint8_t *p)
{
    return (int64_t)((uint64_t)record_batch_base_offset(p) +
                     (uint64_t)(int64_t)record_batch_last_offset_delta(p));
}

static inline int64_t record_batch_base_timestamp(const uint8_t *p)
{
    return (int64_t)load_be64(p + RECORD_BATCH_AT_BASE_TIMESTAMP);
}

static inline int64_t record_batch_max_timestamp(const uint8_t *p)
{
    return (int64_t)load_be64(p + RECORD_BATCH_AT_MAX_TIMESTAMP);
}

static inline int64_t record_batch_producer_id(const uint8_t *p)
{
    return (int64_t)load_be64(p + RECORD_BATCH_AT_PRODUCER_ID);
}

static inline int16_t record_batch_producer_epoch(const uint8_t *p)
{
    return (int16_t)load_be16(p + RECORD_BATCH_AT_PRODUCER_EPOCH);
}

static inline int32_t record_batch_base_sequence(const uint8_t *p)
{
    return (int32_t)load_be32(p + RECORD_BATCH_AT_BASE_SEQUENCE);
}

static inline int32_t record_batch_record_count(const uint8_t *p)
{
    return (int32_t)load_be32(p + RECORD_BATCH_AT_RECORD_COUNT);
}

/* The sequence number `delta` (not negative) after `sequence`: they wrap from INT32_MAX to 0. */
static inline int32_t sequence_add(int32_t sequence, int32_t delta)
{
    return (int32_t)(((uint32_t)sequence + (uint32_t)delta) & INT32_MAX);
}

/* NO_SEQUENCE when the batch has none. */
static inline int32_t record_batch_last_sequence(const uint8_t *p)
{
    int32_t base = record_batch_base_sequence(p);

    return base == NO_SEQUENCE ? NO_SEQUENCE
                               : sequence_add(base, record_batch_last_offset_delta(p));
}

/* ---- changes in place ---- */

static inline void record_batch_set_base_offset(uint8_t *p, int64_t offset)
{
    store_be64(p + RECORD_BATCH_AT_BASE_OFFSET, (uint64_t)offset);
}

static inline void record_batch_set_leader_epoch(uint8_t *p, int32_t epoch)
{
    store_be32(p + RECORD_BATCH_AT_LEADER_EPOCH, (uint32_t)epoch);
}

/* Sets timestamp type and max timestamp of a whole batch, and its CRC if that changed anything. */
void record_batch_set_max_timestamp(struct bytes_mut batch, bool log_append_time,
                                    int64_t max_timestamp_ms);

/* Writes the CRC over what is there now. The batch is whole. */
void record_batch_set_crc(struct bytes_mut batch);

/* ---- batches of a buffer ---- */

/* for (it = record_batches(records); record_batches_next(&it, &batch);) … */
struct record_batches {
    struct bytes rest;    /* what follows the last batch given out */
    struct status status; /* CORRUPT_MESSAGE: a length that no batch can have; rest starts there */
};

static inline struct record_batches record_batches(struct bytes records)
{
    return (struct record_batches){.rest = records, .status = STATUS_OK};
}

/* The next whole batch; its length is at least a header's and its magic is 2, nothing else was
 * looked at. At false: rest.size is 0 at a clean end; otherwise rest is a partial batch, or bad:
 * see status. */
bool record_batches_next(struct record_batches *it, struct bytes *batch);

/* One whole batch: length, magic, CRC. CORRUPT_MESSAGE, with the step that failed. */
struct status record_batch_check(struct bytes batch);

/* ---- records of a batch ---- */

struct record {
    int64_t offset;
    int64_t timestamp_ms; /* the batch's max timestamp with LogAppendTime */
    int32_t sequence;     /* NO_SEQUENCE without idempotence */
    int32_t offset_delta;
    int8_t attributes; /* unused by Kafka so far */
    struct bytes key;  /* data NULL: null */
    struct bytes value;
    int32_t header_count;
    struct bytes headers; /* as encoded: record_headers_next */
    size_t size_bytes;    /* of the whole record as encoded */
};

struct record_header {
    struct str key;
    struct bytes value; /* data NULL: null */
};

struct record_iter {
    const uint8_t *next;
    const uint8_t *end;
    int32_t left; /* records still to come */
    int64_t base_offset;
    int64_t base_timestamp_ms;
    int64_t log_append_time_ms;
    int32_t base_sequence;
    bool log_append_time;
    struct status status;
};

/* Starts on the records of one whole batch (the CRC is not checked). Uncompressed: no copy, records
 * point into the batch. Compressed: decompressed into the scratch, at most decompressed_max bytes,
 * and records live until the scratch's next compression_decompress. `scratch` may be NULL for
 * batches that are known to be uncompressed.
 *
 * CORRUPT_MESSAGE, MESSAGE_TOO_LARGE, UNSUPPORTED_COMPRESSION_TYPE, UNKNOWN_SERVER_ERROR (no
 * memory, or no scratch for a compressed batch); *it is then an iterator at its end. */
struct status record_iter_open(struct record_iter *it, struct bytes batch,
                               struct compression_scratch *scratch, size_t decompressed_max);

/* False at the end, or at the first record that does not fit its bounds, or when bytes are left
 * behind the last record: it->status is then CORRUPT_MESSAGE. Headers are checked before the record
 * is given out. */
bool record_iter_next(struct record_iter *it, struct record *out);

/* Takes the next header off `headers`, a copy of a record's; false at the end. Cannot fail: the
 * record's headers were checked. */
bool record_headers_next(struct bytes *headers, struct record_header *out);

/* Type of a control record from its key: an enum control_type or a later one; -1 when the key is
 * none. */
int control_record_type(const struct record *r);

#endif
