/* Records of the metadata log, and control records, as the JSON that Apache Kafka's tool prints. */

#include <ctype.h>
#include <string.h>

#include "protocol/message_json.h"
#include "protocol/varint.h"
#include "tools/trivet/dump.h"

#define METADATA_FRAME_VERSION 1

json_t *dump_message(const struct message_type *type, struct bytes body, int16_t version)
{
    struct reader r = reader_of(body.data, body.size);
    json_t *json = NULL;
    struct arena arena;
    void *message;

    if (version < type->version_min || version > type->version_max)
        return NULL;
    arena_init(&arena, DUMP_ARENA_BYTES_MAX);
    message = arena_zalloc(&arena, 1, type->size);
    if (message && type->decode(message, &r, &arena, version) && reader_left(&r) == 0)
        json = message_to_json(type, message, version);
    arena_free(&arena);
    return json;
}

/* ---- metadata records ---- */

/* "FeatureLevelRecord" -> "FEATURE_LEVEL_RECORD", Kafka's name of the type. */
static json_t *type_name(const char *name)
{
    char text[128];
    size_t size = 0;

    for (const char *c = name; *c && size + 2 < sizeof text; c++) {
        if (c > name && isupper((unsigned char)*c))
            text[size++] = '_';
        text[size++] = (char)toupper((unsigned char)*c);
    }
    return json_stringn(text, size);
}

json_t *dump_metadata_record(struct bytes value)
{
    const struct message_type *type;
    const uint8_t *p = value.data;
    const uint8_t *end = p + value.size;
    uint32_t frame_version;
    uint32_t version;
    uint32_t key;
    json_t *data;

    if (!p)
        return NULL;
    p = varint_read_u32(p, end, &frame_version);
    if (p)
        p = varint_read_u32(p, end, &key);
    if (p)
        p = varint_read_u32(p, end, &version);
    if (!p || frame_version != METADATA_FRAME_VERSION || key > INT16_MAX || version > INT16_MAX)
        return NULL;
    type = message_type_by_key(MESSAGE_METADATA, (int16_t)key);
    if (!type)
        return NULL;
    data = dump_message(type, (struct bytes){p, (size_t)(end - p)}, (int16_t)version);
    if (!data)
        return NULL;
    return json_pack("{sosiso}", "type", type_name(type->name), "version", (int)version, "data",
                     data);
}

/* ---- control records ---- */

#define END_TXN_MARKER_BYTES 6 /* int16 version, int32 coordinator epoch */

/* Those whose value is a message; its first field is its version. */
static const struct control_kind {
    enum control_type type;
    const char *label;
    const char *message;
} control_kinds[] = {
    {CONTROL_LEADER_CHANGE, "LeaderChange", "LeaderChangeMessage"},
    {CONTROL_SNAPSHOT_HEADER, "SnapshotHeader", "SnapshotHeaderRecord"},
    {CONTROL_SNAPSHOT_FOOTER, "SnapshotFooter", "SnapshotFooterRecord"},
    {CONTROL_KRAFT_VERSION, "KRaftVersion", "KRaftVersionRecord"},
    {CONTROL_KRAFT_VOTERS, "KRaftVoters", "VotersRecord"},
};

static bool add_control_message(json_t *line, int type, struct bytes value)
{
    if (value.size < 2)
        return false;
    for (size_t i = 0; i < sizeof control_kinds / sizeof control_kinds[0]; i++) {
        const struct control_kind *kind = &control_kinds[i];
        json_t *json;

        if ((int)kind->type != type)
            continue;
        json = dump_message(message_type_by_name(kind->message), value,
                            (int16_t)load_be16(value.data));
        return json && json_object_set_new(line, kind->label, json) == 0;
    }
    return false;
}

bool dump_control_record(json_t *line, const struct record *r)
{
    int type = control_record_type(r);

    if (type == CONTROL_ABORT || type == CONTROL_COMMIT) {
        if (r->value.size < END_TXN_MARKER_BYTES)
            return false;
        json_object_set_new(line, "endTxnMarker",
                            json_string(type == CONTROL_COMMIT ? "COMMIT" : "ABORT"));
        json_object_set_new(line, "coordinatorEpoch",
                            json_integer((int32_t)load_be32(r->value.data + 2)));
        return true;
    }
    return add_control_message(line, type, r->value);
}
