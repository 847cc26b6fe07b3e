/* FindCoordinator: the broker that leads a key's partition of the internal topic. */

#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/find_coordinator.h"

enum key_type { KEY_GROUP = 0, KEY_TRANSACTION = 1, KEY_SHARE = 2 };

static const struct {
    const char *topic;
    int16_t since_version;
} key_types[] = {
    [KEY_GROUP] = {"__consumer_offsets", 0},
    [KEY_TRANSACTION] = {"__transaction_state", 1},
    [KEY_SHARE] = {"__share_group_state", 6},
};

#define KEY_TYPE_COUNT (sizeof key_types / sizeof key_types[0])

/* The next code point of UTF-8, leniently: a malformed byte stands for itself. */
static uint32_t next_code_point(struct str *rest)
{
    const unsigned char *at = (const unsigned char *)rest->data;
    size_t more = at[0] >= 0xf0 ? 3 : at[0] >= 0xe0 ? 2 : at[0] >= 0xc0 ? 1 : 0;
    uint32_t point = more == 3 ? at[0] & 7u : more == 2 ? at[0] & 15u : more == 1 ? at[0] & 31u : at[0];

    if (more >= rest->size)
        more = rest->size - 1;
    for (size_t i = 1; i <= more; i++)
        point = point << 6 | (at[i] & 63u);
    rest->data += more + 1;
    rest->size -= more + 1;
    return point;
}

/* Java's String.hashCode, which works on UTF-16 units, made positive as Kafka does. */
static int32_t java_hash(struct str key)
{
    uint32_t hash = 0;

    while (key.size > 0) {
        uint32_t point = next_code_point(&key);

        if (point >= 0x10000) {
            hash = hash * 31 + (0xd800 + ((point - 0x10000) >> 10));
            point = 0xdc00 + ((point - 0x10000) & 0x3ff);
        }
        hash = hash * 31 + point;
    }
    if (hash == 0x80000000u)
        return 0;
    return (int32_t)hash < 0 ? -(int32_t)hash : (int32_t)hash;
}

static void find(const struct request *rq, int8_t key_type, struct find_coordinator_response_coordinator *out)
{
    const struct metadata_image *img = rq->shard->image;
    const struct metadata_topic *topic;
    const struct metadata_broker *broker;
    const struct metadata_listener *l = NULL;

    out->node_id = -1;
    out->port = -1;
    out->error_code = KERR_INVALID_REQUEST;
    if (key_type < 0 || (size_t)key_type >= KEY_TYPE_COUNT || rq->version < key_types[key_type].since_version)
        return;
    out->error_code = KERR_COORDINATOR_NOT_AVAILABLE;
    topic = metadata_image_topic(img, str_from(key_types[key_type].topic));
    if (!topic)
        return;
    broker = metadata_image_broker(
        img, topic->partitions[(size_t)java_hash(out->key) % topic->partition_count]->leader);
    if (broker)
        l = metadata_broker_listener(broker, rq->listener);
    if (!l)
        return;
    out->error_code = KERR_NONE;
    out->node_id = broker->id;
    out->host = l->host;
    out->port = l->port;
}

void handle_find_coordinator(struct request *rq)
{
    const struct find_coordinator_request *m = rq->message;
    size_t count = rq->version >= 4 ? m->coordinator_keys_count : 1;
    struct find_coordinator_response_coordinator *found =
        arena_array(&rq->arena, struct find_coordinator_response_coordinator, count);
    struct find_coordinator_response response;

    if (!found) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        find_coordinator_response_coordinator_init(&found[i]);
        found[i].key = rq->version >= 4 ? m->coordinator_keys[i] : m->key;
        find(rq, m->key_type, &found[i]);
    }
    find_coordinator_response_init(&response);
    if (rq->version >= 4) {
        response.coordinators = found;
        response.coordinators_count = count;
    } else {
        response.error_code = found[0].error_code;
        response.node_id = found[0].node_id;
        response.host = found[0].host;
        response.port = found[0].port;
    }
    request_answer(rq, &response);
}
