#include "protocol/message_json.h"

#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static const size_t kind_sizes[] = {
    [MESSAGE_JSON_BOOL] = sizeof(bool),
    [MESSAGE_JSON_INT8] = sizeof(int8_t),
    [MESSAGE_JSON_INT16] = sizeof(int16_t),
    [MESSAGE_JSON_UINT16] = sizeof(uint16_t),
    [MESSAGE_JSON_INT32] = sizeof(int32_t),
    [MESSAGE_JSON_INT64] = sizeof(int64_t),
    [MESSAGE_JSON_FLOAT64] = sizeof(double),
    [MESSAGE_JSON_UUID] = sizeof(struct uuid),
    [MESSAGE_JSON_STRING] = sizeof(struct str),
    [MESSAGE_JSON_BYTES] = sizeof(struct bytes),
    [MESSAGE_JSON_RECORDS] = sizeof(struct records),
};

static const struct {
    int64_t min;
    int64_t max;
} integer_ranges[] = {
    [MESSAGE_JSON_INT8] = {INT8_MIN, INT8_MAX},    [MESSAGE_JSON_INT16] = {INT16_MIN, INT16_MAX},
    [MESSAGE_JSON_UINT16] = {0, UINT16_MAX},       [MESSAGE_JSON_INT32] = {INT32_MIN, INT32_MAX},
    [MESSAGE_JSON_INT64] = {INT64_MIN, INT64_MAX},
};

static size_t element_size(const struct message_json_field *f)
{
    return f->kind == MESSAGE_JSON_STRUCT ? f->inner->size : kind_sizes[f->kind];
}

static bool field_exists(const struct message_json_field *f, int16_t version)
{
    return version >= f->version_min && version <= f->version_max;
}

static int64_t load_integer(const struct message_json_field *f, const void *p)
{
    switch (f->kind) {
    case MESSAGE_JSON_BOOL:
        return *(const bool *)p;
    case MESSAGE_JSON_INT8:
        return *(const int8_t *)p;
    case MESSAGE_JSON_INT16:
        return *(const int16_t *)p;
    case MESSAGE_JSON_UINT16:
        return *(const uint16_t *)p;
    case MESSAGE_JSON_INT32:
        return *(const int32_t *)p;
    default:
        return *(const int64_t *)p;
    }
}

static void store_integer(const struct message_json_field *f, void *p, int64_t value)
{
    switch (f->kind) {
    case MESSAGE_JSON_BOOL:
        *(bool *)p = value != 0;
        break;
    case MESSAGE_JSON_INT8:
        *(int8_t *)p = (int8_t)value;
        break;
    case MESSAGE_JSON_INT16:
        *(int16_t *)p = (int16_t)value;
        break;
    case MESSAGE_JSON_UINT16:
        *(uint16_t *)p = (uint16_t)value;
        break;
    case MESSAGE_JSON_INT32:
        *(int32_t *)p = (int32_t)value;
        break;
    default:
        *(int64_t *)p = value;
        break;
    }
}

/* --- defaults --- */

static bool struct_is_default(const struct message_json_struct *s, const uint8_t *m);

static bool value_is_default(const struct message_json_field *f, const void *p)
{
    const bool null_default = f->flags & MESSAGE_JSON_NULL_DEFAULT;
    double real;

    switch (f->kind) {
    case MESSAGE_JSON_FLOAT64:
        memcpy(&real, p, sizeof real);
        return !(real < 0 || real > 0);
    case MESSAGE_JSON_UUID:
        return uuid_is_zero(*(const struct uuid *)p);
    case MESSAGE_JSON_STRING: {
        const struct str *s = p;
        return null_default ? !s->data : s->data && s->size == 0;
    }
    case MESSAGE_JSON_BYTES: {
        const struct bytes *b = p;
        return null_default ? !b->data : b->data && b->size == 0;
    }
    case MESSAGE_JSON_RECORDS:
        return !((const struct records *)p)->data;
    case MESSAGE_JSON_STRUCT:
        if (f->flags & MESSAGE_JSON_POINTER)
            p = *(void *const *)p;
        if (null_default || !p)
            return null_default && !p;
        return struct_is_default(f->inner, p);
    default:
        return load_integer(f, p) == f->default_integer;
    }
}

static bool field_is_default(const struct message_json_field *f, const uint8_t *m)
{
    if (f->flags & MESSAGE_JSON_ARRAY) {
        const void *items = *(void *const *)(m + f->offset);
        size_t count = *(const size_t *)(m + f->count_offset);

        return f->flags & MESSAGE_JSON_NULL_DEFAULT ? !items : items && count == 0;
    }
    return value_is_default(f, m + f->offset);
}

static bool struct_is_default(const struct message_json_struct *s, const uint8_t *m)
{
    for (size_t i = 0; i < s->field_count; i++)
        if (!field_is_default(&s->fields[i], m))
            return false;
    return true;
}

/* False when the arena's budget is spent. */
static bool struct_set_defaults(const struct message_json_struct *s, struct arena *a, uint8_t *m)
{
    memset(m, 0, s->size);
    for (size_t i = 0; i < s->field_count; i++) {
        const struct message_json_field *f = &s->fields[i];
        const bool null_default = f->flags & MESSAGE_JSON_NULL_DEFAULT;
        void *p = m + f->offset;

        if (f->flags & MESSAGE_JSON_ARRAY) {
            *(void **)p = null_default ? NULL : WIRE_EMPTY_ARRAY;
            continue;
        }
        if (f->kind == MESSAGE_JSON_STRUCT) {
            if (null_default)
                continue;
            if (f->flags & MESSAGE_JSON_POINTER) {
                *(void **)p = arena_alloc(a, f->inner->size);
                p = *(void **)p;
            }
            if (!p || !struct_set_defaults(f->inner, a, p))
                return false;
        } else if (f->kind == MESSAGE_JSON_STRING && !null_default)
            *(struct str *)p = STR("");
        else if (f->kind == MESSAGE_JSON_BYTES && !null_default)
            *(struct bytes *)p = WIRE_EMPTY_BYTES;
        else if (f->kind <= MESSAGE_JSON_INT64)
            store_integer(f, p, f->default_integer);
    }
    return true;
}

/* --- to JSON --- */

static json_t *struct_to_json(const struct message_json_struct *s, const uint8_t *m,
                              int16_t version);

static json_t *string_to_json(struct str s)
{
    json_t *value;
    char *ascii;

    if (!s.data)
        return json_null();
    value = json_stringn(s.data, s.size);
    if (value)
        return value;
    ascii = malloc(s.size + 1);
    if (!ascii)
        return NULL;
    for (size_t i = 0; i < s.size; i++)
        ascii[i] = (unsigned char)s.data[i] < 0x80 ? s.data[i] : '?';
    value = json_stringn(ascii, s.size);
    free(ascii);
    return value;
}

static json_t *bytes_to_json(struct bytes b)
{
    json_t *value;
    char *text;

    if (!b.data)
        return json_null();
    if (b.size > INT_MAX / 2)
        return NULL;
    text = malloc((b.size + 2) / 3 * 4 + 1);
    if (!text)
        return NULL;
    EVP_EncodeBlock((unsigned char *)text, b.data, (int)b.size);
    value = json_string(text);
    free(text);
    return value;
}

static json_t *uuid_to_json(struct uuid id)
{
    char text[UUID_TEXT_CHARS + 1];

    uuid_format(id, text);
    return json_string(text);
}

static json_t *value_to_json(const struct message_json_field *f, const void *p, int16_t version)
{
    switch (f->kind) {
    case MESSAGE_JSON_BOOL:
        return json_boolean(*(const bool *)p);
    case MESSAGE_JSON_FLOAT64:
        return json_real(*(const double *)p);
    case MESSAGE_JSON_UUID:
        return uuid_to_json(*(const struct uuid *)p);
    case MESSAGE_JSON_STRING:
        return string_to_json(*(const struct str *)p);
    case MESSAGE_JSON_BYTES:
        return bytes_to_json(*(const struct bytes *)p);
    case MESSAGE_JSON_RECORDS:
        return bytes_to_json(
            (struct bytes){((const struct records *)p)->data, ((const struct records *)p)->size});
    case MESSAGE_JSON_STRUCT:
        return struct_to_json(f->inner, p, version);
    default:
        return json_integer(load_integer(f, p));
    }
}

static json_t *array_to_json(const struct message_json_field *f, const uint8_t *m, int16_t version)
{
    const uint8_t *items = *(uint8_t *const *)(m + f->offset);
    size_t count = *(const size_t *)(m + f->count_offset);
    json_t *array;

    if (!items)
        return json_null();
    array = json_array();
    for (size_t i = 0; array && i < count; i++)
        if (json_array_append_new(array, value_to_json(f, items + i * element_size(f), version))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *field_to_json(const struct message_json_field *f, const uint8_t *m, int16_t version)
{
    const void *p = m + f->offset;

    if (f->flags & MESSAGE_JSON_ARRAY)
        return array_to_json(f, m, version);
    if (f->flags & MESSAGE_JSON_POINTER) {
        p = *(void *const *)p;
        if (!p)
            return json_null();
    }
    return value_to_json(f, p, version);
}

static json_t *struct_to_json(const struct message_json_struct *s, const uint8_t *m,
                              int16_t version)
{
    json_t *object = json_object();

    for (size_t i = 0; object && i < s->field_count; i++) {
        const struct message_json_field *f = &s->fields[i];

        if (!field_exists(f, version))
            continue;
        if ((f->flags & MESSAGE_JSON_TAGGED) && field_is_default(f, m))
            continue;
        if (json_object_set_new(object, f->name, field_to_json(f, m, version))) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

json_t *message_to_json(const struct message_type *type, const void *m, int16_t version)
{
    return struct_to_json(message_json_roots[type - message_types], m, version);
}

/* --- from JSON --- */

struct json_source {
    struct arena *arena;
    int16_t version;
    const char *wrong;
};

static bool struct_from_json(struct json_source *j, const struct message_json_struct *s,
                             const json_t *value, uint8_t *m);

static bool integer_from_json(const struct message_json_field *f, const json_t *value, void *p)
{
    int64_t integer = json_integer_value(value);

    if (!json_is_integer(value) || integer < integer_ranges[f->kind].min ||
        integer > integer_ranges[f->kind].max)
        return false;
    store_integer(f, p, integer);
    return true;
}

static bool bytes_from_json(struct json_source *j, struct str text, struct bytes *out)
{
    uint8_t *data = arena_alloc(j->arena, text.size);
    size_t padding = 0;
    int size;

    if (!data || text.size % 4 || text.size > INT_MAX)
        return false;
    while (padding < 2 && padding < text.size && text.data[text.size - padding - 1] == '=')
        padding++;
    size = text.size ? EVP_DecodeBlock(data, (const uint8_t *)text.data, (int)text.size) : 0;
    if (size < 0)
        return false;
    *out = (struct bytes){data, (size_t)size - padding}; /* it counts the padding as zeros */
    return true;
}

/* One value that is not null. */
static bool value_from_json(struct json_source *j, const struct message_json_field *f,
                            const json_t *value, void *p)
{
    const struct str text = {json_string_value(value), json_string_length(value)};
    struct bytes raw;

    switch (f->kind) {
    case MESSAGE_JSON_BOOL:
        *(bool *)p = json_is_true(value);
        return json_is_boolean(value);
    case MESSAGE_JSON_FLOAT64:
        *(double *)p = json_number_value(value);
        return json_is_number(value);
    case MESSAGE_JSON_UUID:
        return text.data && uuid_parse(text, p);
    case MESSAGE_JSON_STRING:
        *(struct str *)p = text;
        return text.data != NULL;
    case MESSAGE_JSON_BYTES:
        return text.data && bytes_from_json(j, text, p);
    case MESSAGE_JSON_RECORDS:
        if (!text.data || !bytes_from_json(j, text, &raw))
            return false;
        *(struct records *)p = (struct records){raw.data, raw.size, NULL};
        return true;
    case MESSAGE_JSON_STRUCT:
        return struct_from_json(j, f->inner, value, p);
    default:
        return integer_from_json(f, value, p);
    }
}

static bool array_from_json(struct json_source *j, const struct message_json_field *f,
                            const json_t *value, uint8_t *m)
{
    size_t count = json_array_size(value);
    uint8_t *items;

    if (!json_is_array(value))
        return false;
    items = arena_zalloc(j->arena, count, element_size(f));
    if (!items)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!value_from_json(j, f, json_array_get(value, i), items + i * element_size(f)))
            return false;
    *(void **)(m + f->offset) = items;
    *(size_t *)(m + f->count_offset) = count;
    return true;
}

static bool null_from_json(struct json_source *j, const struct message_json_field *f, uint8_t *m)
{
    if (j->version < f->nullable_min || j->version > f->nullable_max)
        return false;
    if (f->flags & (MESSAGE_JSON_ARRAY | MESSAGE_JSON_POINTER))
        *(void **)(m + f->offset) = NULL;
    else
        memset(m + f->offset, 0, element_size(f));
    return true;
}

static bool field_from_json(struct json_source *j, const struct message_json_field *f,
                            const json_t *value, uint8_t *m)
{
    void *p = m + f->offset;

    if (json_is_null(value))
        return null_from_json(j, f, m);
    if (f->flags & MESSAGE_JSON_ARRAY)
        return array_from_json(j, f, value, m);
    if (f->flags & MESSAGE_JSON_POINTER) {
        *(void **)p = arena_alloc(j->arena, f->inner->size);
        if (!*(void **)p)
            return false;
        p = *(void **)p;
    }
    return value_from_json(j, f, value, p);
}

static const struct message_json_field *find_field(const struct message_json_struct *s,
                                                   const char *name)
{
    for (size_t i = 0; i < s->field_count; i++)
        if (strcmp(s->fields[i].name, name) == 0)
            return &s->fields[i];
    return NULL;
}

static bool struct_from_json(struct json_source *j, const struct message_json_struct *s,
                             const json_t *value, uint8_t *m)
{
    json_t *object = (json_t *)(uintptr_t)value; /* jansson's iterators want it so; only read */

    if (!json_is_object(value) || !struct_set_defaults(s, j->arena, m))
        return false;
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        const struct message_json_field *f = find_field(s, json_object_iter_key(at));

        if (f && field_from_json(j, f, json_object_iter_value(at), m))
            continue;
        if (!j->wrong) /* the innermost says most */
            j->wrong = f ? f->name : json_object_iter_key(at);
        return false;
    }
    return true;
}

bool message_from_json(const struct message_type *type, const json_t *value, struct arena *a,
                       void *m, int16_t version, const char **wrong)
{
    struct json_source j = {a, version, NULL};
    bool ok = struct_from_json(&j, message_json_roots[type - message_types], value, m);

    if (!ok)
        *wrong = j.wrong ? j.wrong : type->name;
    return ok;
}
