/* CreateTopics, DeleteTopics, CreatePartitions: checked as far as this version of the request goes,
 * decided by the controller. */

#include "broker/control_calls.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/create_partitions.h"
#include "protocol/messages/create_topics.h"
#include "protocol/messages/delete_topics.h"

/* The answer of the whole request counts for each topic when there is one. */
static struct controller_result result_of(const struct control_call *call,
                                          const struct controller_result *own)
{
    return call->result.code == KERR_NONE ? *own : call->result;
}

/* ---- CreateTopics ---- */

static bool fill_created_configs(struct create_topics_response_creatable_topic_result *out,
                                 struct request *rq, const struct config_set *overrides)
{
    struct config_layers layers =
        metadata_image_layers(rq->shard->image, rq->shard->node->options->node_id,
                              rq->shard->node->options->config, overrides);
    size_t count;
    const struct config_def *defs = config_defs(CONFIG_OF_TOPIC, &count);

    out->configs =
        arena_array(&rq->arena, struct create_topics_response_creatable_topic_configs, count);
    if (!out->configs)
        return false;
    out->configs_count = count;
    for (size_t i = 0; i < count; i++) {
        struct config_described d;

        if (!config_describe(CONFIG_OF_TOPIC, &defs[i], &layers, &rq->arena, &d))
            return false;
        out->configs[i] = (struct create_topics_response_creatable_topic_configs){
            str_from(defs[i].name), d.value, d.read_only, (int8_t)d.source, d.sensitive};
        /* The set is released before the answer is encoded. */
        if (d.value.data)
            out->configs[i].value = str_from(arena_strdup(&rq->arena, d.value));
    }
    return true;
}

static bool fill_created(struct create_topics_response_creatable_topic_result *out,
                         struct control_call *call, size_t i)
{
    const struct create_topic_result *r = &call->request.create.results[i];
    struct controller_result result =
        result_of(call, call->result.code == KERR_NONE ? &r->result : &call->result);
    bool filled = true;

    create_topics_response_creatable_topic_result_init(out);
    out->name = call->request.create.topics[i].name;
    out->error_code = (int16_t)result.code;
    out->error_message = str_from(result.message);
    if (result.code != KERR_NONE)
        return true;
    out->topic_id = r->topic_id;
    out->num_partitions = r->partition_count;
    out->replication_factor = r->replication_factor;
    if (call->rq->version >= 5)
        filled = fill_created_configs(out, call->rq, r->configs);
    return filled;
}

static void topics_created(struct control_call *call)
{
    struct request *rq = call->rq;
    struct create_topics_response response;
    size_t count = call->request.create.count;
    bool filled;

    create_topics_response_init(&response);
    response.topics =
        arena_array(&rq->arena, struct create_topics_response_creatable_topic_result, count);
    filled = response.topics != NULL;
    for (size_t i = 0; filled && i < count; i++)
        filled = fill_created(&response.topics[i], call, i);
    for (size_t i = 0; call->result.code == KERR_NONE && i < count; i++)
        config_set_release(call->request.create.results[i].configs);
    response.topics_count = count;
    if (filled)
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

static bool fill_create(struct create_topic *out,
                        const struct create_topics_request_creatable_topic *t, struct arena *arena)
{
    struct controller_assignment *assignments =
        arena_array(arena, struct controller_assignment, t->assignments_count);
    struct config_entry *configs = arena_array(arena, struct config_entry, t->configs_count);

    if (!assignments || !configs)
        return false;
    for (size_t i = 0; i < t->assignments_count; i++)
        assignments[i] = (struct controller_assignment){
            t->assignments[i].partition_index,
            {t->assignments[i].broker_ids, t->assignments[i].broker_ids_count}};
    for (size_t i = 0; i < t->configs_count; i++)
        configs[i] = (struct config_entry){t->configs[i].name, t->configs[i].value};
    *out = (struct create_topic){t->name,         t->num_partitions,    t->replication_factor,
                                 assignments,     t->assignments_count, configs,
                                 t->configs_count};
    return true;
}

void handle_create_topics(struct request *rq)
{
    const struct create_topics_request *m = rq->message;
    struct control_call *call = control_call_create(rq, CONTROLLER_CREATE_TOPICS, topics_created);
    struct create_topic *topics = arena_array(&rq->arena, struct create_topic, m->topics_count);
    bool filled = call && topics;

    for (size_t i = 0; filled && i < m->topics_count; i++)
        filled = fill_create(&topics[i], &m->topics[i], &rq->arena);
    if (!filled) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->request.validate_only = m->validate_only;
    call->request.create.topics = topics;
    call->request.create.count = m->topics_count;
    control_call(call);
}

/* ---- DeleteTopics ---- */

static void topics_deleted(struct control_call *call)
{
    struct request *rq = call->rq;
    size_t count = call->request.remove.count;
    struct delete_topics_response response;

    delete_topics_response_init(&response);
    response.responses =
        arena_array(&rq->arena, struct delete_topics_response_deletable_topic_result, count);
    if (!response.responses) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    response.responses_count = count;
    for (size_t i = 0; i < count; i++) {
        struct delete_topics_response_deletable_topic_result *out = &response.responses[i];
        const struct delete_topic *asked = &call->request.remove.topics[i];
        struct controller_result result = call->result;

        delete_topics_response_deletable_topic_result_init(out);
        out->name = asked->name;
        out->topic_id = asked->id;
        if (result.code == KERR_NONE) {
            const struct delete_topic_result *r = &call->request.remove.results[i];

            result = r->result;
            out->name = r->name;
            out->topic_id = r->id;
        }
        out->error_code = (int16_t)result.code;
        out->error_message = str_from(result.message);
    }
    request_answer(rq, &response);
}

void handle_delete_topics(struct request *rq)
{
    const struct delete_topics_request *m = rq->message;
    struct control_call *call = control_call_create(rq, CONTROLLER_DELETE_TOPICS, topics_deleted);
    size_t count = rq->version >= 6 ? m->topics_count : m->topic_names_count;
    struct delete_topic *topics = arena_array(&rq->arena, struct delete_topic, count);

    if (!call || !topics) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    for (size_t i = 0; i < count; i++)
        topics[i] = rq->version >= 6
                        ? (struct delete_topic){m->topics[i].name, m->topics[i].topic_id}
                        : (struct delete_topic){.name = m->topic_names[i]};
    call->request.remove.topics = topics;
    call->request.remove.count = count;
    control_call(call);
}

/* ---- CreatePartitions ---- */

static void topics_grown(struct control_call *call)
{
    struct request *rq = call->rq;
    size_t count = call->request.grow.count;
    struct create_partitions_response response;

    create_partitions_response_init(&response);
    response.results =
        arena_array(&rq->arena, struct create_partitions_response_topic_result, count);
    if (!response.results) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    response.results_count = count;
    for (size_t i = 0; i < count; i++) {
        struct controller_result result =
            call->result.code == KERR_NONE ? call->request.grow.results[i] : call->result;

        response.results[i] = (struct create_partitions_response_topic_result){
            call->request.grow.topics[i].name, (int16_t)result.code, str_from(result.message)};
    }
    request_answer(rq, &response);
}

void handle_create_partitions(struct request *rq)
{
    const struct create_partitions_request *m = rq->message;
    struct control_call *call = control_call_create(rq, CONTROLLER_GROW_TOPICS, topics_grown);
    struct grow_topic *topics = arena_array(&rq->arena, struct grow_topic, m->topics_count);
    bool filled = call && topics;

    for (size_t i = 0; filled && i < m->topics_count; i++) {
        const struct create_partitions_request_topic *t = &m->topics[i];
        struct controller_assignment *assignments = NULL;

        if (t->assignments) {
            assignments =
                arena_array(&rq->arena, struct controller_assignment, t->assignments_count);
            filled = assignments != NULL;
        }
        for (size_t j = 0; filled && j < t->assignments_count; j++)
            assignments[j] = (struct controller_assignment){
                0, {t->assignments[j].broker_ids, t->assignments[j].broker_ids_count}};
        topics[i] = (struct grow_topic){t->name, t->count, assignments, t->assignments_count};
    }
    if (!filled) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->request.validate_only = m->validate_only;
    call->request.grow.topics = topics;
    call->request.grow.count = m->topics_count;
    control_call(call);
}
