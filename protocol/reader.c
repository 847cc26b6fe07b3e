#include "protocol/reader.h"

#include "protocol/varint.h"

const uint64_t wire_empty[2] = {0, 0};

bool reader_fail(struct reader *r, enum kerr failure)
{
    if (reader_ok(r))
        r->failure = failure;
    r->pos = r->end;
    return false;
}

double read_float64(struct reader *r)
{
    uint64_t bits = (uint64_t)read_int64(r);
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

struct uuid read_uuid(struct reader *r)
{
    const uint8_t *p = read_raw(r, sizeof(struct uuid));
    struct uuid id = UUID_ZERO;

    if (p)
        memcpy(id.bytes, p, sizeof id.bytes);
    return id;
}

uint32_t read_unsigned_varint(struct reader *r)
{
    uint32_t value = 0;
    const uint8_t *next = varint_read_u32(r->pos, r->end, &value);

    if (!next)
        reader_fail(r, KERR_INVALID_REQUEST);
    else
        r->pos = next;
    return value;
}

int32_t read_varint(struct reader *r)
{
    return unzigzag32(read_unsigned_varint(r));
}

int64_t read_varlong(struct reader *r)
{
    int64_t value = 0;
    const uint8_t *next = varint_read_i64(r->pos, r->end, &value);

    if (!next)
        reader_fail(r, KERR_INVALID_REQUEST);
    else
        r->pos = next;
    return value;
}

/* A length after its wire form is undone: -1 is null. Refuses null where it is not allowed. */
static int64_t read_checked_length(struct reader *r, unsigned form, int64_t length)
{
    if (!reader_ok(r))
        return -1;
    if (length < -1 || (length == -1 && !(form & WIRE_NULLABLE))) {
        reader_fail(r, KERR_INVALID_REQUEST);
        return -1;
    }
    return length;
}

static int64_t read_string_length(struct reader *r, unsigned form)
{
    return read_checked_length(
        r, form, form & WIRE_FLEXIBLE ? (int64_t)read_unsigned_varint(r) - 1 : read_int16(r));
}

/* Of bytes, records and arrays. */
static int64_t read_length(struct reader *r, unsigned form)
{
    return read_checked_length(
        r, form, form & WIRE_FLEXIBLE ? (int64_t)read_unsigned_varint(r) - 1 : read_int32(r));
}

struct str read_string(struct reader *r, unsigned form)
{
    int64_t length = read_string_length(r, form);
    const uint8_t *at;

    if (length < 0)
        return STR_NULL;
    if (length > WIRE_STRING_BYTES_MAX) {
        reader_fail(r, KERR_INVALID_REQUEST);
        return STR_NULL;
    }
    at = read_raw(r, (size_t)length);
    return at ? (struct str){(const char *)at, (size_t)length} : STR_NULL;
}

struct bytes read_bytes(struct reader *r, unsigned form)
{
    int64_t length = read_length(r, form);
    const uint8_t *at = length < 0 ? NULL : read_raw(r, (size_t)length);

    return at ? (struct bytes){at, (size_t)length} : (struct bytes){NULL, 0};
}

struct records read_records(struct reader *r, unsigned form)
{
    struct bytes all = read_bytes(r, form);

    return (struct records){all.data, all.size, NULL};
}

void *read_array(struct reader *r, struct arena *a, unsigned form, struct wire_element element,
                 size_t *count)
{
    int64_t length = read_length(r, form);
    size_t total;
    void *room;

    *count = 0;
    if (length < 0)
        return NULL;
    if (length == 0)
        return WIRE_EMPTY_ARRAY;
    if ((uint64_t)length > reader_left(r) / element.wire_bytes_min) {
        reader_fail(r, KERR_INVALID_REQUEST);
        return NULL;
    }
    room =
        __builtin_mul_overflow((size_t)length, element.size, &total) ? NULL : arena_alloc(a, total);
    if (!room) { /* the budget is spent */
        reader_fail(r, KERR_INVALID_REQUEST);
        return NULL;
    }
    *count = (size_t)length;
    return room;
}

/* Each element of a primitive array takes as many bytes as read_array checked, so that reading them
 * cannot fail. */
#define READ_FIXED_ARRAY(name, type, read)                                                         \
    type *name(struct reader *r, struct arena *a, unsigned form, size_t *count)                    \
    {                                                                                              \
        type *items =                                                                              \
            read_array(r, a, form, (struct wire_element){sizeof(type), sizeof(type)}, count);      \
                                                                                                   \
        for (size_t i = 0; i < *count; i++)                                                        \
            items[i] = read(r);                                                                    \
        return items;                                                                              \
    }

READ_FIXED_ARRAY(read_int8_array, int8_t, read_int8)
READ_FIXED_ARRAY(read_int16_array, int16_t, read_int16)
READ_FIXED_ARRAY(read_int32_array, int32_t, read_int32)
READ_FIXED_ARRAY(read_int64_array, int64_t, read_int64)
READ_FIXED_ARRAY(read_uuid_array, struct uuid, read_uuid)

struct str *read_string_array(struct reader *r, struct arena *a, unsigned form, size_t *count)
{
    const unsigned string_form = form & WIRE_FLEXIBLE;
    const struct wire_element element = {string_form ? 1 : 2, sizeof(struct str)};
    struct str *items = read_array(r, a, form, element, count);

    for (size_t i = 0; i < *count; i++)
        items[i] = read_string(r, string_form);
    return items;
}

bool read_present(struct reader *r)
{
    return read_int8(r) >= 0 && reader_ok(r);
}

static void *struct_room(struct reader *r, struct arena *a, size_t size, bool present)
{
    void *room = present ? arena_alloc(a, size) : NULL;

    if (present && !room)
        reader_fail(r, KERR_INVALID_REQUEST);
    return room;
}

void *read_struct(struct reader *r, struct arena *a, size_t size)
{
    return struct_room(r, a, size, read_present(r));
}

void *read_tagged_struct(struct reader *r, struct arena *a, size_t size)
{
    return struct_room(r, a, size, (int32_t)read_unsigned_varint(r) > 0 && reader_ok(r));
}

uint32_t read_tagged_field(struct reader *r, struct reader *field)
{
    uint32_t tag = read_unsigned_varint(r);
    uint32_t size = read_unsigned_varint(r);
    const uint8_t *at = read_raw(r, size);

    if (!reader_ok(r) || tag == READ_TAG_NONE) {
        reader_fail(r, KERR_INVALID_REQUEST);
        *field = (struct reader){r->end, r->end, KERR_NONE};
        return READ_TAG_NONE;
    }
    *field = reader_of(at, size);
    return tag;
}

void read_tagged_field_close(struct reader *r, const struct reader *field)
{
    if (!reader_ok(field))
        reader_fail(r, field->failure);
    else if (reader_left(field))
        reader_fail(r, KERR_INVALID_REQUEST);
}

void read_skip_tagged_fields(struct reader *r)
{
    struct reader field;

    for (uint32_t n = read_unsigned_varint(r); n > 0 && reader_ok(r); n--)
        read_tagged_field(r, &field);
}
