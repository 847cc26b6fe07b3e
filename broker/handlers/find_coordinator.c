/* FindCoordinator: the broker that leads a key's partition of the internal topic. The groups' one
 * is made when the first group is asked for. */

#include "protocol/messages/find_coordinator.h"
#include "broker/internal_topics.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "broker/topic_creation.h"
#include "broker/unsure.h"

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

/* Whether this broker would name itself, when another one may have taken over (node_in_doubt): the
 * client then asks another. */
static bool names_itself_in_doubt(const struct request *rq, const struct metadata_topic *topic,
                                  int32_t index)
{
    return topic->partitions[index]->leader == rq->shard->node->options->node_id &&
           shard_in_doubt(rq->shard, topic->id, index);
}

static void find(const struct request *rq, int8_t key_type,
                 struct find_coordinator_response_coordinator *out)
{
    const struct metadata_image *img = rq->shard->image;
    const struct metadata_topic *topic;
    const struct metadata_broker *broker;
    const struct metadata_listener *l = NULL;
    int32_t index;

    out->node_id = -1;
    out->port = -1;
    out->error_code = KERR_INVALID_REQUEST;
    if (key_type < 0 || (size_t)key_type >= KEY_TYPE_COUNT ||
        rq->version < key_types[key_type].since_version)
        return;
    out->error_code = KERR_COORDINATOR_NOT_AVAILABLE;
    topic = metadata_image_topic(img, str_from(key_types[key_type].topic));
    if (!topic)
        return;
    index = internal_topic_partition_of(out->key, topic->partition_count);
    broker = metadata_image_broker(img, topic->partitions[index]->leader);
    if (broker && !broker->fenced && !names_itself_in_doubt(rq, topic, index))
        l = metadata_broker_listener(broker, rq->listener);
    if (!l)
        return;
    out->error_code = KERR_NONE;
    out->node_id = broker->id;
    out->host = l->host;
    out->port = l->port;
}

static void find_all(struct request *rq)
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

/* ---- making the topic ---- */

static void topic_created(struct topic_creation *t)
{
    /* The client only learns that there is no coordinator, and asks again for ever. */
    if (t->code != KERR_NONE)
        logger_event(t->rq->shard->logger, LOGGER_WARN, "internal_topic_not_created",
                     "topic=\"%.*s\" reason=%s", STR_ARG(t->topics->name), kerr_name(t->code));
    /* While its partitions have no leader yet the clients ask again. */
    find_all(t->rq);
}

static bool create_offsets_topic(struct request *rq)
{
    struct topic_creation *t = arena_array(&rq->arena, struct topic_creation, 1);
    struct create_topic *topic = arena_array(&rq->arena, struct create_topic, 1);

    if (!t || !topic ||
        !internal_topic_creation(rq->shard->node->options->config, TOPIC_CONSUMER_OFFSETS,
                                 &rq->arena, topic))
        return false;
    t->rq = rq;
    t->topics = topic;
    t->count = 1;
    t->finished = topic_created;
    return topic_creation_start(t);
}

void handle_find_coordinator(struct request *rq)
{
    const struct find_coordinator_request *m = rq->message;
    size_t count = rq->version >= 4 ? m->coordinator_keys_count : 1;

    if (count == 0 || m->key_type != KEY_GROUP ||
        metadata_image_topic(rq->shard->image, TOPIC_CONSUMER_OFFSETS))
        unsure_answer(rq, find_all);
    else if (!create_offsets_topic(rq))
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
