/* Records of __consumer_offsets, as the JSON that Apache Kafka's tool prints with
 * --offsets-decoder. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/group_record.h"
#include "tools/trivet/dump.h"

/* "OffsetCommit" and "Key": the message of that name. */
static const struct message_type *message_of(int number, const char *ending)
{
    const char *stem = group_record_type_name(number);
    char name[128];

    if (!stem)
        return NULL;
    snprintf(name, sizeof name, "%s%s", stem, ending);
    return message_type_by_name(name);
}

/* {label: "number", "data": {…}}; takes data, NULL gives NULL. */
static json_t *labelled(const char *label, int number, json_t *data)
{
    char text[16];

    if (!data)
        return NULL;
    snprintf(text, sizeof text, "%d", number);
    return json_pack("{ssso}", label, text, "data", data);
}

/* In place of the bytes under `key`, what the embedded consumer protocol says in them; they stay
 * when it says nothing. */
static void open_bytes(json_t *member, const char *key, const char *message, struct bytes b)
{
    json_t *inside;

    if (b.size < 2)
        return;
    inside = dump_message(message_type_by_name(message), (struct bytes){b.data + 2, b.size - 2},
                          (int16_t)load_be16(b.data));
    if (inside)
        json_object_set_new(member, key, inside);
}

/* Members of classic groups of consumers: their subscriptions and assignments. */
static void open_members(json_t *data, struct bytes body, int16_t version)
{
    struct group_metadata_value value;
    struct reader r = reader_of(body.data, body.size);
    json_t *members = json_object_get(data, "members");
    struct arena arena;

    arena_init(&arena, DUMP_ARENA_BYTES_MAX);
    if (group_metadata_value_decode(&value, &r, &arena, version) &&
        str_equal(value.protocol_type, STR("consumer")))
        for (size_t i = 0; i < value.members_count; i++) {
            json_t *member = json_array_get(members, i);

            open_bytes(member, "subscription", "ConsumerProtocolSubscription",
                       value.members[i].subscription);
            open_bytes(member, "assignment", "ConsumerProtocolAssignment",
                       value.members[i].assignment);
        }
    arena_free(&arena);
}

static json_t *value_of(int number, struct bytes value)
{
    const struct message_type *type = message_of(number, "Value");
    struct bytes body = {value.data + 2, value.size - 2};
    int16_t version;
    json_t *data;

    if (!value.data)
        return json_string("<DELETE>");
    if (value.size < 2)
        return NULL;
    version = (int16_t)load_be16(value.data);
    data = dump_message(type, body, version);
    if (data && number == GROUP_RECORD_GROUP_METADATA)
        open_members(data, body, version);
    return labelled("version", version, data);
}

bool dump_offsets_record(json_t *line, const struct record *r)
{
    const struct message_type *type;
    json_t *key, *value;
    char text[96];
    int number;

    if (r->key.size < 2)
        return false;
    number = (int16_t)load_be16(r->key.data);
    type = message_of(number, "Key");
    if (!type) {
        snprintf(text, sizeof text, "Unknown record type %d at offset %" PRId64 ", skipping.",
                 number, r->offset);
        json_object_set_new(line, "key", json_string(text));
        return true;
    }
    key = labelled("type", number,
                   dump_message(type, (struct bytes){r->key.data + 2, r->key.size - 2}, 0));
    value = value_of(number, r->value);
    if (!key || !value) {
        json_decref(key);
        json_decref(value);
        return false;
    }
    json_object_set_new(line, "key", key);
    json_object_set_new(line, "payload", value);
    return true;
}
