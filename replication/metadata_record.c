#include "replication/metadata_record.h"

#include <stddef.h>

#include "protocol/base/check.h"

#define FRAME_VERSION 1

struct record_type {
    const char *name;
    int16_t version_max; /* all start at 0 */
    void (*init)(struct metadata_record *r);
    bool (*decode)(struct metadata_record *r, struct reader *in, struct arena *a);
    bool (*encode)(const struct metadata_record *r, struct writer *w);
};

#define RECORD_FUNCTIONS(name, NAME)                                                               \
    static void name##_init(struct metadata_record *r)                                             \
    {                                                                                              \
        name##_record_init(&r->name);                                                              \
    }                                                                                              \
    static bool name##_decode(struct metadata_record *r, struct reader *in, struct arena *a)       \
    {                                                                                              \
        return name##_record_decode(&r->name, in, a, r->version);                                  \
    }                                                                                              \
    static bool name##_encode(const struct metadata_record *r, struct writer *w)                   \
    {                                                                                              \
        return name##_record_encode(&r->name, w, r->version);                                      \
    }
METADATA_RECORD_LIST(RECORD_FUNCTIONS)
#undef RECORD_FUNCTIONS

static const struct record_type record_types[METADATA_RECORD_TYPE_COUNT] = {
#define RECORD_ROW(name, NAME)                                                                     \
    [NAME##_RECORD_KEY] = {#name, NAME##_RECORD_VERSION_MAX, name##_init, name##_decode,           \
                           name##_encode},
    METADATA_RECORD_LIST(RECORD_ROW)
#undef RECORD_ROW
};

static const struct record_type *find_type(uint32_t type)
{
    if (type >= METADATA_RECORD_TYPE_COUNT || !record_types[type].decode)
        return NULL;
    return &record_types[type];
}

struct status metadata_record_decode(struct bytes frame, struct arena *a,
                                     struct metadata_record *out)
{
    struct reader r = reader_of(frame.data, frame.size);
    uint32_t frame_version = read_unsigned_varint(&r);
    uint32_t type = read_unsigned_varint(&r);
    uint32_t version = read_unsigned_varint(&r);
    const struct record_type *t;

    if (!reader_ok(&r))
        return status_error(KERR_CORRUPT_MESSAGE, "metadata record cut short");
    if (frame_version != FRAME_VERSION)
        return status_error(KERR_UNSUPPORTED_VERSION,
                            "metadata record of an unknown frame version");
    t = find_type(type);
    if (!t)
        return status_error(KERR_UNSUPPORTED_VERSION, "metadata record of an unknown type");
    if (version > (uint32_t)t->version_max)
        return status_error(KERR_UNSUPPORTED_VERSION, "metadata record of an unknown version");
    out->type = (int16_t)type;
    out->version = (int16_t)version;
    if (!t->decode(out, &r, a))
        return status_error(KERR_CORRUPT_MESSAGE, "metadata record with a damaged body");
    if (reader_left(&r) > 0)
        return status_error(KERR_CORRUPT_MESSAGE, "metadata record with bytes left over");
    return STATUS_OK;
}

bool metadata_record_encode(struct writer *w, const struct metadata_record *r)
{
    const struct record_type *t = find_type((uint32_t)r->type);

    if (!t)
        return writer_fail(w, KERR_UNSUPPORTED_VERSION);
    write_unsigned_varint(w, FRAME_VERSION);
    write_unsigned_varint(w, (uint32_t)r->type);
    write_unsigned_varint(w, (uint32_t)r->version);
    return t->encode(r, w);
}

void metadata_record_init(struct metadata_record *r, int16_t type, int16_t version)
{
    const struct record_type *t = find_type((uint32_t)type);

    CHECK(t);
    r->type = type;
    r->version = version;
    t->init(r);
}

const char *metadata_record_name(int16_t type)
{
    const struct record_type *t = find_type((uint32_t)type);

    return t ? t->name : NULL;
}
