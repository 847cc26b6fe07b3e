/* DescribeConfigs, from the table of settings and the shard's image. Changing them:
 * alter_configs.c. */

#include <stdio.h>
#include <string.h>

#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/describe_configs.h"
#include "replication/topic_name.h"

/* What a resource's settings are looked up in. */
struct described {
    enum config_kind kind;
    struct config_layers layers;
    bool defaults_only; /* of the default of all brokers only what was set is shown */
};

/* Which of the settings are asked for, one by one; in the arena. NULL: it is spent. */
static bool *wanted_of(const struct describe_configs_request_resource *r, enum config_kind kind,
                       struct arena *arena)
{
    size_t count;
    const struct config_def *defs = config_defs(kind, &count);
    bool *wanted = arena_array(arena, bool, count);

    if (!wanted)
        return NULL;
    if (r->configuration_keys_count == 0) /* null or empty: all of them */
        memset(wanted, true, count);
    for (size_t i = 0; i < r->configuration_keys_count; i++) {
        const struct config_def *def = config_def_find(kind, r->configuration_keys[i]);

        if (def)
            wanted[def - defs] = true;
    }
    return wanted;
}

static bool fill_synonyms(struct describe_configs_response_resource_result *out,
                          struct arena *arena, const struct config_described *d)
{
    out->synonyms = arena_array(arena, struct describe_configs_response_synonym, d->synonym_count);
    if (!out->synonyms)
        return false;
    out->synonyms_count = d->synonym_count;
    for (size_t i = 0; i < d->synonym_count; i++)
        out->synonyms[i] = (struct describe_configs_response_synonym){
            str_from(d->synonyms[i].name), d->synonyms[i].value, (int8_t)d->synonyms[i].source};
    return true;
}

static bool fill_configs(struct describe_configs_response_result *out, struct request *rq,
                         const struct describe_configs_request_resource *r,
                         const struct described *what)
{
    const struct describe_configs_request *m = rq->message;
    size_t count;
    const struct config_def *defs = config_defs(what->kind, &count);

    bool *wanted = wanted_of(r, what->kind, &rq->arena);

    out->configs = arena_array(&rq->arena, struct describe_configs_response_resource_result, count);
    if (!out->configs || !wanted)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct describe_configs_response_resource_result *c = &out->configs[out->configs_count];
        struct config_described d;

        if (!wanted[i])
            continue;
        if (!config_describe(what->kind, &defs[i], &what->layers, &rq->arena, &d))
            return false;
        if (what->defaults_only && d.source != CONFIG_SOURCE_DEFAULT_BROKER)
            continue;
        if (defs[i].only_running && d.source == CONFIG_SOURCE_DEFAULT)
            continue;
        describe_configs_response_resource_result_init(c);
        c->name = str_from(defs[i].name);
        c->value = d.value;
        c->read_only = d.read_only;
        c->config_source = (int8_t)d.source;
        c->is_sensitive = d.sensitive;
        c->config_type = (int8_t)defs[i].type;
        c->documentation = m->include_documentation ? str_from(defs[i].doc) : STR_NULL;
        if (m->include_synonyms && !fill_synonyms(c, &rq->arena, &d))
            return false;
        out->configs_count++;
    }
    return true;
}

static const char *describe_topic(struct request *rq, struct str name, struct described *what,
                                  enum kerr *code)
{
    const struct metadata_topic *topic = metadata_image_topic(rq->shard->image, name);
    const struct node_options *o = rq->shard->node->options;

    what->kind = CONFIG_OF_TOPIC;
    *code = KERR_INVALID_TOPIC_EXCEPTION;
    if (topic_name_error(name))
        return "Topic name is invalid.";
    *code = KERR_UNKNOWN_TOPIC_OR_PARTITION;
    if (!topic)
        return "This server does not host this topic-partition.";
    *code = KERR_NONE;
    what->layers =
        metadata_image_layers(rq->shard->image, o->node_id, o->config, topic->config->overrides);
    return NULL;
}

static const char *describe_broker(struct request *rq, struct str name, struct described *what,
                                   enum kerr *code)
{
    const struct node_options *o = rq->shard->node->options;
    char own[16];
    int size = snprintf(own, sizeof own, "%d", o->node_id);

    what->kind = CONFIG_OF_BROKER;
    *code = KERR_NONE;
    what->layers = metadata_image_layers(rq->shard->image, o->node_id, o->config, NULL);
    if (name.size == 0) { /* the default of all brokers: what was set for it, and nothing else */
        what->defaults_only = true;
        what->layers.broker = NULL;
        what->layers.given = NULL;
        return NULL;
    }
    if (str_equal(name, (struct str){own, (size_t)size}))
        return NULL;
    *code = KERR_INVALID_REQUEST;
    return "Unexpected broker id: a broker describes itself, or all with an empty name.";
}

static const char *describe_group(struct request *rq, struct str name, struct described *what,
                                  enum kerr *code)
{
    const struct node_options *o = rq->shard->node->options;

    what->kind = CONFIG_OF_GROUP;
    *code = name.size ? KERR_NONE : KERR_INVALID_REQUEST;
    what->layers = metadata_image_layers(
        rq->shard->image, o->node_id, o->config,
        metadata_image_configs(rq->shard->image, CONFIG_RESOURCE_GROUP, name));
    return name.size ? NULL : "Group name must not be empty.";
}

static bool describe(struct request *rq, const struct describe_configs_request_resource *r,
                     struct describe_configs_response_result *out)
{
    struct described what = {0};
    enum kerr code = KERR_INVALID_REQUEST;
    const char *message = "Unsupported resource type.";

    describe_configs_response_result_init(out);
    out->resource_type = r->resource_type;
    out->resource_name = r->resource_name;
    if (r->resource_type == CONFIG_RESOURCE_TOPIC)
        message = describe_topic(rq, r->resource_name, &what, &code);
    else if (r->resource_type == CONFIG_RESOURCE_BROKER)
        message = describe_broker(rq, r->resource_name, &what, &code);
    else if (r->resource_type == CONFIG_RESOURCE_GROUP)
        message = describe_group(rq, r->resource_name, &what, &code);
    out->error_code = (int16_t)code;
    out->error_message = str_from(message);
    return code != KERR_NONE || fill_configs(out, rq, r, &what);
}

void handle_describe_configs(struct request *rq)
{
    const struct describe_configs_request *m = rq->message;
    struct describe_configs_response response;
    bool filled;

    describe_configs_response_init(&response);
    response.results =
        arena_array(&rq->arena, struct describe_configs_response_result, m->resources_count);
    response.results_count = m->resources_count;
    filled = response.results != NULL;
    for (size_t i = 0; filled && i < m->resources_count; i++)
        filled = describe(rq, &m->resources[i], &response.results[i]);
    if (filled)
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
