#ifndef PROTOCOL_READER_H
#define PROTOCOL_READER_H

/* A cursor over bytes from outside: the primitives that decoders are made of.
 *
 * It remembers its first failure and from then on stands at its end: reads give zeros, counts are
 * 0, nothing jumps. Check reader_ok once, when done. Every pointer it gives out points into the
 * bytes it reads (borrowed: they must outlive the message) or into the arena. One thread. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/byteorder.h"
#include "protocol/base/kerr.h"
#include "protocol/base/span.h"
#include "protocol/base/uuid.h"
#include "protocol/wire.h"

struct reader {
    const uint8_t *pos;
    const uint8_t *end;
    enum kerr failure; /* KERR_NONE while all is well */
};

/* `data` may be NULL when size is 0. */
static inline struct reader reader_of(const void *data, size_t size)
{
    /* Nothing may be added to NULL, not even 0. */
    const uint8_t *at = data ? data : (const void *)wire_empty;

    return (struct reader){at, at + size, KERR_NONE};
}

static inline bool reader_ok(const struct reader *r)
{
    return r->failure == KERR_NONE;
}

/* Bytes not yet read; 0 after a failure. Whether any may be left over is for the caller to say. */
static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->pos);
}

/* Remembers the first failure and moves to the end. Always false, for `return reader_fail(...)`. */
bool reader_fail(struct reader *r, enum kerr failure);

/* The next `size` bytes, or NULL and a failure when fewer are left. */
static inline const uint8_t *read_raw(struct reader *r, size_t size)
{
    const uint8_t *at = r->pos;

    if (__builtin_expect(size > reader_left(r), 0)) {
        reader_fail(r, KERR_INVALID_REQUEST);
        return NULL;
    }
    r->pos += size;
    return at;
}

static inline int8_t read_int8(struct reader *r)
{
    const uint8_t *p = read_raw(r, 1);

    return p ? (int8_t)*p : 0;
}

/* Any byte but 0 is true, as in Kafka. */
static inline bool read_bool(struct reader *r)
{
    return read_int8(r) != 0;
}

static inline uint16_t read_uint16(struct reader *r)
{
    const uint8_t *p = read_raw(r, 2);

    return p ? load_be16(p) : 0;
}

static inline int16_t read_int16(struct reader *r)
{
    return (int16_t)read_uint16(r);
}

static inline int32_t read_int32(struct reader *r)
{
    const uint8_t *p = read_raw(r, 4);

    return p ? (int32_t)load_be32(p) : 0;
}

static inline int64_t read_int64(struct reader *r)
{
    const uint8_t *p = read_raw(r, 8);

    return p ? (int64_t)load_be64(p) : 0;
}

double read_float64(struct reader *r);
struct uuid read_uuid(struct reader *r);
uint32_t read_unsigned_varint(struct reader *r);
int32_t read_varint(struct reader *r);  /* zigzag */
int64_t read_varlong(struct reader *r); /* zigzag */

/* `form` is of enum wire_form. A null that is not allowed, a negative length and one past the end
 * are failures; so is a string above WIRE_STRING_BYTES_MAX. UTF-8 is not checked. */
struct str read_string(struct reader *r, unsigned form);
struct bytes read_bytes(struct reader *r, unsigned form);
struct records read_records(struct reader *r, unsigned form);

/* An array's element: the fewest bytes it can take on the wire, and its size in memory. */
struct wire_element {
    size_t wire_bytes_min;
    size_t size;
};

/* Reads an array's count and takes room for it from the arena, uninitialised; *count is always set.
 * NULL for null (if allowed) and after a failure; an empty array is not NULL.
 *
 * A count that could not fit the bytes left at wire_bytes_min each fails before anything is
 * allocated; so does one past the arena's budget (both INVALID_REQUEST). */
void *read_array(struct reader *r, struct arena *a, unsigned form, struct wire_element element,
                 size_t *count);

/* Whole arrays of primitives; null and failure as read_array. */
int8_t *read_int8_array(struct reader *r, struct arena *a, unsigned form, size_t *count);
int16_t *read_int16_array(struct reader *r, struct arena *a, unsigned form, size_t *count);
int32_t *read_int32_array(struct reader *r, struct arena *a, unsigned form, size_t *count);
int64_t *read_int64_array(struct reader *r, struct arena *a, unsigned form, size_t *count);
struct uuid *read_uuid_array(struct reader *r, struct arena *a, unsigned form, size_t *count);
struct str *read_string_array(struct reader *r, struct arena *a, unsigned form, size_t *count);

/* A nullable struct: true when its fields follow, false for null or after a failure. */
bool read_present(struct reader *r);
/* The same with room for it, uninitialised; NULL for null and after a failure. */
void *read_struct(struct reader *r, struct arena *a, size_t size);
/* The same where the struct is a tagged field: its mark is an unsigned varint there, 0 for null. */
void *read_tagged_struct(struct reader *r, struct arena *a, size_t size);

#define READ_TAG_NONE UINT32_MAX /* no real tag: flexible versions number them from 0 */

/* One tagged field: its number, and in *field a cursor over just its bytes. After a failure
 * READ_TAG_NONE and an empty field. */
uint32_t read_tagged_field(struct reader *r, struct reader *field);
/* Ends it: a failure of the field, and bytes of it left over, are failures of r. Unknown fields are
 * simply not closed. */
void read_tagged_field_close(struct reader *r, const struct reader *field);
/* A whole tagged section, of which nothing is wanted. */
void read_skip_tagged_fields(struct reader *r);

#endif
