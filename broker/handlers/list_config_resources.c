/* ListConfigResources (KIP-1142): what can have settings. Topics and brokers all of them, client
 * metrics and groups those that have some. */

#include <stdio.h>

#include "broker/dispatch.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/list_config_resources.h"

/* In the order in which Apache Kafka answers when it is not told which. */
static const int8_t all_types[] = {CONFIG_RESOURCE_GROUP, CONFIG_RESOURCE_CLIENT_METRICS,
                                   CONFIG_RESOURCE_BROKER_LOGGER, CONFIG_RESOURCE_BROKER,
                                   CONFIG_RESOURCE_TOPIC};
static const int8_t version_0_types[] = {CONFIG_RESOURCE_CLIENT_METRICS};

struct listing {
    struct arena *arena;
    const struct metadata_image *image;
    struct list_config_resources_response_config_resource *out;
    size_t count, capacity;
};

/* False: the arena is spent. */
static bool add(struct listing *l, struct str name, int8_t type)
{
    if (l->count == l->capacity) {
        size_t capacity = l->capacity ? l->capacity * 2 : 64;
        struct list_config_resources_response_config_resource *more =
            arena_array(l->arena, struct list_config_resources_response_config_resource, capacity);

        if (!more)
            return false;
        if (l->count)
            memcpy(more, l->out, l->count * sizeof *more);
        l->out = more;
        l->capacity = capacity;
    }
    l->out[l->count++] = (struct list_config_resources_response_config_resource){name, type};
    return true;
}

static bool add_topics(struct listing *l, int8_t type)
{
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *topic;

    metadata_topics_begin(&cursor, l->image);
    while ((topic = metadata_topics_next(&cursor)))
        if (!add(l, topic->name, type))
            return false;
    return true;
}

static bool add_brokers(struct listing *l, int8_t type)
{
    for (size_t i = 0; i < metadata_image_broker_count(l->image); i++) {
        char text[16];
        int size = snprintf(text, sizeof text, "%d", metadata_image_broker_at(l->image, i)->id);
        struct str name = {arena_strdup(l->arena, (struct str){text, (size_t)size}), (size_t)size};

        if (!name.data || !add(l, name, type))
            return false;
    }
    return true;
}

static bool add_configured(struct listing *l, int8_t type)
{
    struct metadata_config_cursor cursor;
    enum config_resource of;
    struct str name;

    metadata_configs_begin(&cursor, l->image);
    while (metadata_configs_next(&cursor, &of, &name))
        if (of == (enum config_resource)type && !add(l, name, type))
            return false;
    return true;
}

/* By its place in all_types. */
static bool (*const adders[])(struct listing *l, int8_t type) = {
    add_configured, add_configured, add_brokers, add_brokers, add_topics};

#define TYPE_COUNT (sizeof all_types / sizeof all_types[0])

static bool wanted(const int8_t *types, size_t count, int8_t type)
{
    for (size_t i = 0; i < count; i++)
        if (types[i] == type)
            return true;
    return false;
}

static bool known(const int8_t *types, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!wanted(all_types, TYPE_COUNT, types[i]))
            return false;
    return true;
}

void handle_list_config_resources(struct request *rq)
{
    const struct list_config_resources_request *m = rq->message;
    const int8_t *types = rq->version == 0          ? version_0_types
                          : m->resource_types_count ? m->resource_types
                                                    : all_types;
    size_t count = rq->version == 0          ? 1
                   : m->resource_types_count ? m->resource_types_count
                                             : TYPE_COUNT;
    struct listing l = {.arena = &rq->arena, .image = rq->shard->image};
    struct list_config_resources_response response;
    bool fits = true;

    list_config_resources_response_init(&response);
    if (!known(types, count))
        response.error_code = KERR_UNSUPPORTED_VERSION;
    for (size_t i = 0; response.error_code == KERR_NONE && fits && i < TYPE_COUNT; i++)
        fits = !wanted(types, count, all_types[i]) || adders[i](&l, all_types[i]);
    if (!fits) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    if (l.count) {
        response.config_resources = l.out;
        response.config_resources_count = l.count;
    }
    request_answer(rq, &response);
}
