#ifndef PROTOCOL_RECORD_INTERNAL_H
#define PROTOCOL_RECORD_INTERNAL_H

/* One encoded record, as the iterator and the validation read it: inline, because a produce request
 * is mostly this loop.
 *
 *   size varint (of what follows)  attributes i8  timestamp delta varlong  offset delta varint
 *   key size varint, key           value size varint, value (size -1: null)
 *   header count varint, each: key size varint, key, value size varint, value (-1: null) */

#include <stdbool.h>

#include "protocol/base/span.h"
#include "protocol/varint.h"

struct record_view {
    int8_t attributes;
    int32_t offset_delta;
    int64_t timestamp_delta;
    int32_t header_count;
    struct bytes key;
    struct bytes value;
    struct bytes headers;
};

/* A nullable field: *out.data NULL for null. NULL when it does not end within `end`. */
static inline __attribute__((always_inline)) const uint8_t *
record_read_field(const uint8_t *p, const uint8_t *end, struct bytes *out)
{
    int32_t size;

    p = varint_read_i32(p, end, &size);
    if (__builtin_expect(!p, 0))
        return NULL;
    if (size < 0) { /* any negative size is null, as Kafka reads it */
        *out = (struct bytes){NULL, 0};
        return p;
    }
    if (__builtin_expect(size > end - p, 0))
        return NULL;
    *out = (struct bytes){p, (size_t)size};
    return p + size;
}

/* Whether `count` headers fill headers exactly. */
bool record_headers_fit(struct bytes headers, int32_t count);

/* The record at p, its size included. The byte after it, or NULL: something does not fit.
 *
 * Fields are read with the bound of the whole buffer, not of the record: that they end where the
 * record ends is checked once, and bytes enough for the short way through a varint are nearly
 * always there. */
static inline __attribute__((always_inline)) const uint8_t *
record_view_read(const uint8_t *p, const uint8_t *end, struct record_view *v)
{
    const uint8_t *record_end;
    int32_t size;

    p = varint_read_i32(p, end, &size);
    if (__builtin_expect(!p || size < 1 || size > end - p, 0))
        return NULL;
    record_end = p + size;
    v->attributes = (int8_t)*p++;
    p = varint_read_i64(p, end, &v->timestamp_delta);
    if (__builtin_expect(!p, 0))
        return NULL;
    p = varint_read_i32(p, end, &v->offset_delta);
    if (__builtin_expect(!p, 0))
        return NULL;
    p = record_read_field(p, end, &v->key);
    if (__builtin_expect(!p, 0))
        return NULL;
    p = record_read_field(p, end, &v->value);
    if (__builtin_expect(!p, 0))
        return NULL;
    p = varint_read_i32(p, end, &v->header_count);
    if (__builtin_expect(!p || p > record_end, 0))
        return NULL;
    v->headers = (struct bytes){p, (size_t)(record_end - p)};
    if (__builtin_expect((v->header_count | (record_end - p)) != 0, 0) &&
        !record_headers_fit(v->headers, v->header_count))
        return NULL;
    /* Not p, though they are equal: the next record then waits for this one's size only, not for
     * all of its fields. */
    return record_end;
}

#endif
