#ifndef PROTOCOL_WRITER_H
#define PROTOCOL_WRITER_H

/* A growing buffer with a bound: the primitives that encoders are made of.
 *
 * It remembers its first failure and ignores what is written after it; check writer_ok once, when
 * done. It owns its memory until writer_take or writer_free. One thread.
 *
 * MESSAGE_TOO_LARGE     the bound, or what a length can say, would be passed
 * UNKNOWN_SERVER_ERROR  the heap is exhausted
 * UNSUPPORTED_VERSION   a field holds something this version cannot carry
 * INVALID_REQUEST       a string is longer than WIRE_STRING_BYTES_MAX */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/byteorder.h"
#include "protocol/base/kerr.h"
#include "protocol/base/span.h"
#include "protocol/base/uuid.h"
#include "protocol/wire.h"

/* Bytes that belong into the output before data[at], but are not in the buffer. */
struct splice {
    size_t at;
    size_t size;
    const void *cookie; /* struct records' splice */
};

struct writer {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t limit;           /* `size` never passes it */
    struct splice *splices; /* in output order */
    size_t splice_count;
    size_t splice_capacity;
    size_t spliced_bytes; /* sum over splices; not part of size or limit */
    enum kerr failure;    /* KERR_NONE while all is well */
};

/* An empty writer whose buffer takes at most `limit` bytes; allocates nothing yet. */
void writer_init(struct writer *w, size_t limit);
/* Forgets what was written, and the failure; keeps the memory for the next message. */
void writer_reset(struct writer *w);
void writer_free(struct writer *w);

/* Gives the buffer (malloc'd; the caller frees it) and leaves the writer empty, its failure and its
 * splices forgotten: read writer.splices before. {NULL, 0} when nothing was written. */
struct bytes_mut writer_take(struct writer *w);

static inline bool writer_ok(const struct writer *w)
{
    return w->failure == KERR_NONE;
}

/* Remembers the first failure. Always false, for `return writer_fail(...)`. */
bool writer_fail(struct writer *w, enum kerr failure);

/* UNSUPPORTED_VERSION unless `holds`: a field that this version lacks has its default. */
static inline void write_require(struct writer *w, bool holds)
{
    if (__builtin_expect(!holds, 0))
        writer_fail(w, KERR_UNSUPPORTED_VERSION);
}

/* Room for `size` more bytes, or false and a failure. */
bool writer_grow(struct writer *w, size_t size);

/* `size` bytes of the buffer to fill at once (the next write may move them); NULL after a failure.
 */
static inline uint8_t *write_reserve(struct writer *w, size_t size)
{
    uint8_t *at;

    if (__builtin_expect(w->failure != KERR_NONE, 0))
        return NULL;
    if (__builtin_expect(size > w->capacity - w->size, 0) && !writer_grow(w, size))
        return NULL;
    at = w->data + w->size;
    w->size += size;
    return at;
}

static inline void write_int8(struct writer *w, int8_t value)
{
    uint8_t *p = write_reserve(w, 1);

    if (p)
        *p = (uint8_t)value;
}

static inline void write_bool(struct writer *w, bool value)
{
    write_int8(w, value ? 1 : 0);
}

static inline void write_uint16(struct writer *w, uint16_t value)
{
    uint8_t *p = write_reserve(w, 2);

    if (p)
        store_be16(p, value);
}

static inline void write_int16(struct writer *w, int16_t value)
{
    write_uint16(w, (uint16_t)value);
}

static inline void write_int32(struct writer *w, int32_t value)
{
    uint8_t *p = write_reserve(w, 4);

    if (p)
        store_be32(p, (uint32_t)value);
}

static inline void write_int64(struct writer *w, int64_t value)
{
    uint8_t *p = write_reserve(w, 8);

    if (p)
        store_be64(p, (uint64_t)value);
}

void write_float64(struct writer *w, double value);
void write_uuid(struct writer *w, struct uuid value);
void write_unsigned_varint(struct writer *w, uint32_t value);
void write_varint(struct writer *w, int32_t value);  /* zigzag */
void write_varlong(struct writer *w, int64_t value); /* zigzag */
void write_raw(struct writer *w, const void *data, size_t size);

/* `form` is of enum wire_form. Where null is not allowed, a NULL value is written as an empty one,
 * so that a zeroed struct is a fair start. */
void write_string(struct writer *w, unsigned form, struct str value);
void write_bytes(struct writer *w, unsigned form, struct bytes value);
void write_records(struct writer *w, unsigned form, struct records value);

/* An array's count; items == NULL is null where that is allowed. Returns how many elements to
 * write. */
size_t write_array(struct writer *w, unsigned form, const void *items, size_t count);

/* Whole arrays of primitives. */
void write_int8_array(struct writer *w, unsigned form, const int8_t *items, size_t count);
void write_int16_array(struct writer *w, unsigned form, const int16_t *items, size_t count);
void write_int32_array(struct writer *w, unsigned form, const int32_t *items, size_t count);
void write_int64_array(struct writer *w, unsigned form, const int64_t *items, size_t count);
void write_uuid_array(struct writer *w, unsigned form, const struct uuid *items, size_t count);
void write_string_array(struct writer *w, unsigned form, const struct str *items, size_t count);

/* A nullable struct's mark; returns whether its fields are to follow. */
bool write_present(struct writer *w, const void *value);
/* The same where the struct is a tagged field: its mark is an unsigned varint there. */
bool write_tagged_present(struct writer *w, const void *value);

/* Starts a tagged field and returns a mark; the field is then written in place, and
 * write_tagged_field_end puts its size before it. Records cannot be in it. */
size_t write_tagged_field(struct writer *w, uint32_t tag);
void write_tagged_field_end(struct writer *w, size_t mark);

#endif
