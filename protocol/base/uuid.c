#include "protocol/base/uuid.h"

static const char uuid_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool uuid_is_reserved(struct uuid id)
{
    struct uuid number = uuid_from_number(id.bytes[15]);

    return id.bytes[15] < 100 && uuid_equal(id, number);
}

struct uuid uuid_from_number(uint8_t number)
{
    struct uuid id = UUID_ZERO;

    id.bytes[15] = number;
    return id;
}

struct uuid uuid_from_random(const uint8_t random[16])
{
    struct uuid id;

    memcpy(id.bytes, random, sizeof id.bytes);
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    return id;
}

bool uuid_is_unsafe(struct uuid id)
{
    return uuid_is_reserved(id) || (id.bytes[0] >> 2) == 62; /* 62 is '-' */
}

void uuid_format(struct uuid id, char text[UUID_TEXT_CHARS + 1])
{
    uint32_t bits = 0;
    int have = 0;
    size_t at = 0;

    for (size_t i = 0; i < sizeof id.bytes; i++) {
        bits = bits << 8 | id.bytes[i];
        have += 8;
        while (have >= 6) {
            have -= 6;
            text[at++] = uuid_alphabet[bits >> have & 63];
        }
    }
    text[at++] = uuid_alphabet[bits << (6 - have) & 63];
    text[at] = '\0';
}

bool uuid_parse(struct str text, struct uuid *out)
{
    struct uuid id = UUID_ZERO;
    uint32_t bits = 0;
    int have = 0;
    size_t at = 0;

    if (text.size != UUID_TEXT_CHARS)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        const char *found = text.data[i] ? strchr(uuid_alphabet, text.data[i]) : NULL;

        if (!found)
            return false;
        bits = bits << 6 | (uint32_t)(found - uuid_alphabet);
        have += 6;
        if (have >= 8 && at < sizeof id.bytes) {
            have -= 8;
            id.bytes[at++] = (uint8_t)(bits >> have);
        }
    }
    *out = id;
    return true;
}
