#ifndef PROTOCOL_BASE_UUID_H
#define PROTOCOL_BASE_UUID_H

/* 128-bit ids as Kafka uses them for topics and directories: 16 bytes on the wire, as text 22
 * characters of URL-safe base64 without padding. */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "protocol/base/span.h"

struct uuid {
    uint8_t bytes[16];
};

#define UUID_ZERO       ((struct uuid){{0}})
#define UUID_TEXT_CHARS 22

static inline bool uuid_equal(struct uuid a, struct uuid b)
{
    return memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
}

static inline bool uuid_is_zero(struct uuid id)
{
    return uuid_equal(id, UUID_ZERO);
}

/* The first 100 values are reserved (0 unassigned, 1 lost or the metadata topic, 2 migrating). */
bool uuid_is_reserved(struct uuid id);

/* A small number as an id: the reserved values. */
struct uuid uuid_from_number(uint8_t number);

/* A random version-4 id from 16 random bytes, as Kafka makes them. A caller asks again with other
 * bytes when uuid_is_unsafe: reserved, or starting with '-' as text (trouble on command lines). */
struct uuid uuid_from_random(const uint8_t random[16]);
bool uuid_is_unsafe(struct uuid id);

/* Writes 22 characters and a NUL. */
void uuid_format(struct uuid id, char text[UUID_TEXT_CHARS + 1]);

/* False, *out untouched, when text is not 22 characters of that base64 alphabet. Bits past the
 * 128th are ignored, as Kafka does. */
bool uuid_parse(struct str text, struct uuid *out);

#endif
