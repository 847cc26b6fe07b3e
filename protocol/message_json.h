#ifndef PROTOCOL_MESSAGE_JSON_H
#define PROTOCOL_MESSAGE_JSON_H

/* Messages as JSON, in the shape that Apache Kafka's own tools print: camelCase names, only the
 * fields of the version, tagged ones only when they differ from their default, bytes and records as
 * base64, uuids as their text. For tools and tests; a library of its own, so that the broker needs
 * no JSON. */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/message_type.h"

/* A new reference; NULL when the heap is exhausted. Bytes of a string that are not UTF-8 become
 * '?'. */
json_t *message_to_json(const struct message_type *type, const void *m, int16_t version);

/* Fills *m (of type->size bytes). A field that is missing gets its default; a name that the message
 * does not have is a failure. Strings point into `value`, which must outlive *m; the rest comes
 * from the arena.
 *
 * False, and in *wrong (never freed) the name of the field: not of its type or out of its range,
 * null where that is not allowed, unknown to the message, or the arena's budget is spent. */
bool message_from_json(const struct message_type *type, const json_t *value, struct arena *a,
                       void *m, int16_t version, const char **wrong);

/* --- what protocol/gen/emit_json.py fills in --- */

enum message_json_kind {
    MESSAGE_JSON_BOOL,
    MESSAGE_JSON_INT8,
    MESSAGE_JSON_INT16,
    MESSAGE_JSON_UINT16,
    MESSAGE_JSON_INT32,
    MESSAGE_JSON_INT64,
    MESSAGE_JSON_FLOAT64,
    MESSAGE_JSON_UUID,
    MESSAGE_JSON_STRING,
    MESSAGE_JSON_BYTES,
    MESSAGE_JSON_RECORDS,
    MESSAGE_JSON_STRUCT,
};

enum message_json_flag {
    MESSAGE_JSON_ARRAY = 1,
    MESSAGE_JSON_TAGGED = 2,
    MESSAGE_JSON_NULL_DEFAULT = 4,
    MESSAGE_JSON_POINTER = 8, /* a nullable struct */
};

struct message_json_struct;

struct message_json_field {
    const char *name;
    enum message_json_kind kind;
    unsigned flags;
    int16_t version_min;
    int16_t version_max;
    int16_t nullable_min; /* above nullable_max: never */
    int16_t nullable_max;
    int64_t default_integer; /* of bool and integers */
    size_t offset;
    size_t count_offset;                     /* of arrays */
    const struct message_json_struct *inner; /* of structs */
};

struct message_json_struct {
    const struct message_json_field *fields;
    size_t field_count;
    size_t size;
};

/* In the order of message_types. */
extern const struct message_json_struct *const message_json_roots[];

#endif
