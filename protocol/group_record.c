/* Records of __consumer_offsets to and from bytes: one row per type, made from the list in the
 * header. */

#include "protocol/group_record.h"

#include "protocol/base/check.h"
#include "protocol/reader.h"

#define KEY_VERSION                         0 /* every key has one; another would be another type */
#define OFFSET_COMMIT_VERSION_WITH_EXPIRY   1 /* the only one that has an expire timestamp */
#define OFFSET_COMMIT_EXPIRE_TIMESTAMP_NONE (-1)

struct row {
    const char *name; /* NULL in gaps */
    int16_t value_version;
    void (*init)(struct group_record *r);
    bool (*read_key)(struct group_record *r, struct reader *in, struct arena *a);
    bool (*read_value)(struct group_record *r, struct reader *in, struct arena *a, int16_t version);
    bool (*write_key)(const struct group_record *r, struct writer *w);
    bool (*write_value)(const struct group_record *r, struct writer *w, int16_t version);
    struct str (*group)(const struct group_record *r);
};

/* ---- the messages, behind one signature each ---- */

#define DEFINE_ACCESS(number, NAME, member, Name, group_field, version)                            \
    static void member##_init(struct group_record *r)                                              \
    {                                                                                              \
        member##_key_init(&r->key.member);                                                         \
        member##_value_init(&r->value.member);                                                     \
    }                                                                                              \
    static bool member##_read_key(struct group_record *r, struct reader *in, struct arena *a)      \
    {                                                                                              \
        return member##_key_decode(&r->key.member, in, a, KEY_VERSION);                            \
    }                                                                                              \
    static bool member##_read_value(struct group_record *r, struct reader *in, struct arena *a,    \
                                    int16_t value_version)                                         \
    {                                                                                              \
        return member##_value_decode(&r->value.member, in, a, value_version);                      \
    }                                                                                              \
    static bool member##_write_key(const struct group_record *r, struct writer *w)                 \
    {                                                                                              \
        return member##_key_encode(&r->key.member, w, KEY_VERSION);                                \
    }                                                                                              \
    static bool member##_write_value(const struct group_record *r, struct writer *w,               \
                                     int16_t value_version)                                        \
    {                                                                                              \
        return member##_value_encode(&r->value.member, w, value_version);                          \
    }                                                                                              \
    static struct str member##_group(const struct group_record *r)                                 \
    {                                                                                              \
        return r->key.member.group_field;                                                          \
    }
GROUP_RECORD_LIST(DEFINE_ACCESS)

/* The key of a legacy commit reads as that of a newer one does; its value is another message. */
static bool legacy_offset_commit_read_value(struct group_record *r, struct reader *in,
                                            struct arena *a, int16_t version)
{
    struct legacy_offset_commit_value legacy;

    if (!legacy_offset_commit_value_decode(&legacy, in, a, version))
        return false;
    offset_commit_value_init(&r->value.offset_commit);
    r->value.offset_commit.offset = legacy.offset;
    r->value.offset_commit.metadata = legacy.metadata;
    r->value.offset_commit.commit_timestamp = legacy.commit_timestamp;
    return true;
}

static bool legacy_offset_commit_write_value(const struct group_record *r, struct writer *w,
                                             int16_t version)
{
    const struct legacy_offset_commit_value legacy = {
        .offset = r->value.offset_commit.offset,
        .metadata = r->value.offset_commit.metadata,
        .commit_timestamp = r->value.offset_commit.commit_timestamp,
    };

    return legacy_offset_commit_value_encode(&legacy, w, version);
}

static const struct row rows[GROUP_RECORD_TYPE_COUNT] = {
    [GROUP_RECORD_LEGACY_OFFSET_COMMIT] = {"LegacyOffsetCommit", 0, offset_commit_init,
                                           offset_commit_read_key, legacy_offset_commit_read_value,
                                           offset_commit_write_key,
                                           legacy_offset_commit_write_value, offset_commit_group},
#define ROW(number, NAME, member, Name, group, version)                                            \
    [number] = {#Name,                                                                             \
                version,                                                                           \
                member##_init,                                                                     \
                member##_read_key,                                                                 \
                member##_read_value,                                                               \
                member##_write_key,                                                                \
                member##_write_value,                                                              \
                member##_group},
    GROUP_RECORD_LIST(ROW)};

static const struct row *row_of(int number)
{
    if (number < 0 || number >= GROUP_RECORD_TYPE_COUNT || !rows[number].name)
        return NULL;
    return &rows[number];
}

/* ---- */

bool group_record_type_known(int number)
{
    return row_of(number) != NULL;
}

const char *group_record_type_name(int number)
{
    const struct row *row = row_of(number);

    return row ? row->name : NULL;
}

void group_record_init(struct group_record *r, enum group_record_type type)
{
    const struct row *row = row_of((int)type);

    CHECK(row);
    *r = (struct group_record){.type = type, .value_version = row->value_version};
    row->init(r);
}

enum kerr group_record_decode(struct group_record *r, struct bytes key, struct bytes value,
                              struct arena *a)
{
    struct reader in = reader_of(key.data, key.data ? key.size : 0);
    int16_t number = read_int16(&in);
    const struct row *row;

    if (!reader_ok(&in))
        return KERR_CORRUPT_MESSAGE;
    row = row_of(number);
    if (!row)
        return KERR_UNSUPPORTED_VERSION;
    r->type = (enum group_record_type)number;
    r->tombstone = value.data == NULL;
    r->value_version = row->value_version;
    if (!row->read_key(r, &in, a))
        return KERR_CORRUPT_MESSAGE;
    if (r->tombstone)
        return KERR_NONE;
    in = reader_of(value.data, value.size);
    r->value_version = read_int16(&in);
    if (!reader_ok(&in) || !row->read_value(r, &in, a, r->value_version))
        return KERR_CORRUPT_MESSAGE;
    return KERR_NONE;
}

static int16_t value_version(const struct group_record *r, const struct row *row)
{
    if (r->type == GROUP_RECORD_OFFSET_COMMIT &&
        r->value.offset_commit.expire_timestamp != OFFSET_COMMIT_EXPIRE_TIMESTAMP_NONE)
        return OFFSET_COMMIT_VERSION_WITH_EXPIRY;
    return row->value_version;
}

bool group_record_encode(const struct group_record *r, struct writer *key, struct writer *value)
{
    const struct row *row = row_of((int)r->type);
    int16_t version;

    CHECK(row);
    write_int16(key, (int16_t)r->type);
    if (!row->write_key(r, key))
        return false;
    if (r->tombstone)
        return true;
    version = value_version(r, row);
    write_int16(value, version);
    return row->write_value(r, value, version);
}

struct str group_record_group(const struct group_record *r)
{
    const struct row *row = row_of((int)r->type);

    CHECK(row);
    return row->group(r);
}
