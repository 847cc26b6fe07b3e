#include "protocol/writer.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/varint.h"

#define WRITER_BYTES_MIN 512 /* most answers fit; smaller ones are not worth two allocations */

void writer_init(struct writer *w, size_t limit)
{
    *w = (struct writer){.limit = limit};
}

void writer_reset(struct writer *w)
{
    w->size = 0;
    w->splice_count = 0;
    w->spliced_bytes = 0;
    w->failure = KERR_NONE;
}

void writer_free(struct writer *w)
{
    free(w->data);
    free(w->splices);
    writer_init(w, w->limit);
}

struct bytes_mut writer_take(struct writer *w)
{
    struct bytes_mut taken = {w->data, w->size};

    w->data = NULL;
    w->capacity = 0;
    writer_reset(w);
    return taken;
}

bool writer_fail(struct writer *w, enum kerr failure)
{
    if (writer_ok(w))
        w->failure = failure;
    return false;
}

bool writer_grow(struct writer *w, size_t size)
{
    size_t want = w->capacity < WRITER_BYTES_MIN ? WRITER_BYTES_MIN : w->capacity * 2;
    uint8_t *data;

    if (size > w->limit - w->size)
        return writer_fail(w, KERR_MESSAGE_TOO_LARGE);
    if (want < w->size + size)
        want = w->size + size;
    if (want > w->limit)
        want = w->limit;
    data = realloc(w->data, want);
    if (!data)
        return writer_fail(w, KERR_UNKNOWN_SERVER_ERROR);
    w->data = data;
    w->capacity = want;
    return true;
}

void write_raw(struct writer *w, const void *data, size_t size)
{
    uint8_t *p = size ? write_reserve(w, size) : NULL;

    if (p)
        memcpy(p, data, size);
}

void write_float64(struct writer *w, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    write_int64(w, (int64_t)bits);
}

void write_uuid(struct writer *w, struct uuid value)
{
    write_raw(w, value.bytes, sizeof value.bytes);
}

void write_unsigned_varint(struct writer *w, uint32_t value)
{
    uint8_t bytes[VARINT32_BYTES_MAX];

    write_raw(w, bytes, (size_t)(varint_write_u32(bytes, value) - bytes));
}

void write_varint(struct writer *w, int32_t value)
{
    write_unsigned_varint(w, zigzag32(value));
}

void write_varlong(struct writer *w, int64_t value)
{
    uint8_t bytes[VARINT64_BYTES_MAX];

    write_raw(w, bytes, (size_t)(varint_write_i64(bytes, value) - bytes));
}

/* Of bytes, records and arrays. False: it is null, nothing follows. */
static bool write_length(struct writer *w, unsigned form, const void *data, size_t size)
{
    bool null = !data && (form & WIRE_NULLABLE);

    if (size > INT32_MAX)
        return writer_fail(w, KERR_MESSAGE_TOO_LARGE);
    if (form & WIRE_FLEXIBLE)
        write_unsigned_varint(w, null ? 0 : (uint32_t)size + 1);
    else
        write_int32(w, null ? -1 : (int32_t)size);
    return !null;
}

void write_string(struct writer *w, unsigned form, struct str value)
{
    bool null = !value.data && (form & WIRE_NULLABLE);

    if (value.size > WIRE_STRING_BYTES_MAX) {
        writer_fail(w, KERR_INVALID_REQUEST);
        return;
    }
    if (form & WIRE_FLEXIBLE)
        write_unsigned_varint(w, null ? 0 : (uint32_t)value.size + 1);
    else
        write_int16(w, null ? -1 : (int16_t)value.size);
    if (value.data)
        write_raw(w, value.data, value.size);
}

void write_bytes(struct writer *w, unsigned form, struct bytes value)
{
    if (write_length(w, form, value.data, value.size))
        write_raw(w, value.data, value.size);
}

static void write_splice(struct writer *w, struct records value)
{
    if (!writer_ok(w))
        return;
    if (value.size > INT32_MAX - w->spliced_bytes) {
        writer_fail(w, KERR_MESSAGE_TOO_LARGE);
        return;
    }
    if (w->splice_count == w->splice_capacity) {
        size_t want = w->splice_capacity ? w->splice_capacity * 2 : 16;
        struct splice *splices = realloc(w->splices, want * sizeof *splices);

        if (!splices) {
            writer_fail(w, KERR_UNKNOWN_SERVER_ERROR);
            return;
        }
        w->splices = splices;
        w->splice_capacity = want;
    }
    w->splices[w->splice_count++] = (struct splice){w->size, value.size, value.splice};
    w->spliced_bytes += value.size;
}

void write_records(struct writer *w, unsigned form, struct records value)
{
    const void *present = value.splice ? value.splice : value.data;

    if (!write_length(w, form, present, value.size))
        return;
    if (value.splice)
        write_splice(w, value);
    else
        write_raw(w, value.data, value.size);
}

size_t write_array(struct writer *w, unsigned form, const void *items, size_t count)
{
    return write_length(w, form, items, count) ? count : 0;
}

#define WRITE_ARRAY(name, type, write)                                                             \
    void name(struct writer *w, unsigned form, const type *items, size_t count)                    \
    {                                                                                              \
        count = write_array(w, form, items, count);                                                \
        for (size_t i = 0; i < count && writer_ok(w); i++)                                         \
            write(w, items[i]);                                                                    \
    }

WRITE_ARRAY(write_int8_array, int8_t, write_int8)
WRITE_ARRAY(write_int16_array, int16_t, write_int16)
WRITE_ARRAY(write_int32_array, int32_t, write_int32)
WRITE_ARRAY(write_int64_array, int64_t, write_int64)
WRITE_ARRAY(write_uuid_array, struct uuid, write_uuid)

void write_string_array(struct writer *w, unsigned form, const struct str *items, size_t count)
{
    count = write_array(w, form, items, count);
    for (size_t i = 0; i < count && writer_ok(w); i++)
        write_string(w, form & WIRE_FLEXIBLE, items[i]);
}

bool write_present(struct writer *w, const void *value)
{
    write_int8(w, value ? 1 : -1);
    return value != NULL;
}

bool write_tagged_present(struct writer *w, const void *value)
{
    write_unsigned_varint(w, value ? 1 : 0);
    return value != NULL;
}

size_t write_tagged_field(struct writer *w, uint32_t tag)
{
    write_unsigned_varint(w, tag);
    write_reserve(w, 1); /* enough for the size of most */
    return w->size;
}

void write_tagged_field_end(struct writer *w, size_t mark)
{
    size_t size, extra;

    if (!writer_ok(w))
        return;
    CHECK(mark > 0 && mark <= w->size);
    size = w->size - mark;
    if (size > INT32_MAX) {
        writer_fail(w, KERR_MESSAGE_TOO_LARGE);
        return;
    }
    extra = varint_size_u32((uint32_t)size) - 1;
    if (extra) {
        if (!write_reserve(w, extra))
            return;
        memmove(w->data + mark + extra, w->data + mark, size);
    }
    varint_write_u32(w->data + mark - 1, (uint32_t)size);
}
