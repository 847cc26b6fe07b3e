/* AlterConfigs and IncrementalAlterConfigs: by the controller. The old one says what a resource's
 * settings are to be, and forgets the rest; the incremental one changes them one by one
 * (KIP-339). */

#include <stdio.h>

#include "broker/control_calls.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/alter_configs.h"
#include "protocol/messages/incremental_alter_configs.h"

static struct controller_result result_of(const struct control_call *call, size_t i)
{
    return call->result.code == KERR_NONE ? call->request.alter.results[i] : call->result;
}

static void altered(struct control_call *call)
{
    struct request *rq = call->rq;
    size_t count = call->request.alter.count;
    struct alter_configs_response response;

    alter_configs_response_init(&response);
    response.responses =
        arena_array(&rq->arena, struct alter_configs_response_resource_response, count);
    if (!response.responses) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    response.responses_count = count;
    for (size_t i = 0; i < count; i++) {
        const struct alter_config *r = &call->request.alter.resources[i];
        struct controller_result result = result_of(call, i);

        response.responses[i] = (struct alter_configs_response_resource_response){
            (int16_t)result.code, str_from(result.message), r->type, r->name};
    }
    request_answer(rq, &response);
}

static void altered_incrementally(struct control_call *call)
{
    struct request *rq = call->rq;
    size_t count = call->request.alter.count;
    struct incremental_alter_configs_response response;

    incremental_alter_configs_response_init(&response);
    response.responses = arena_array(
        &rq->arena, struct incremental_alter_configs_response_alter_configs_resource_response,
        count);
    if (!response.responses) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    response.responses_count = count;
    for (size_t i = 0; i < count; i++) {
        const struct alter_config *r = &call->request.alter.resources[i];
        struct controller_result result = result_of(call, i);

        response.responses[i] =
            (struct incremental_alter_configs_response_alter_configs_resource_response){
                (int16_t)result.code, str_from(result.message), r->type, r->name};
    }
    request_answer(rq, &response);
}

/* The call, with room for the resources; NULL: refused. */
static struct control_call *call_begin(struct request *rq, size_t count, bool validate_only,
                                       void (*finished)(struct control_call *call),
                                       struct alter_config **resources)
{
    struct control_call *call = control_call_create(rq, CONTROLLER_ALTER_CONFIGS, finished);

    *resources = arena_array(&rq->arena, struct alter_config, count);
    if (!call || !*resources) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return NULL;
    }
    call->request.validate_only = validate_only;
    call->request.alter.resources = *resources;
    call->request.alter.count = count;
    return call;
}

void handle_alter_configs(struct request *rq)
{
    const struct alter_configs_request *m = rq->message;
    struct alter_config *resources;
    struct control_call *call =
        call_begin(rq, m->resources_count, m->validate_only, altered, &resources);

    for (size_t i = 0; call && i < m->resources_count; i++) {
        const struct alter_configs_request_resource *r = &m->resources[i];
        struct config_change *changes =
            arena_array(&rq->arena, struct config_change, r->configs_count);

        if (!changes) {
            request_refuse(rq, REQUEST_OVER_BUDGET);
            return;
        }
        for (size_t k = 0; k < r->configs_count; k++)
            changes[k] =
                (struct config_change){r->configs[k].name, CONFIG_SET, r->configs[k].value};
        resources[i] = (struct alter_config){r->resource_type, r->resource_name, changes,
                                             r->configs_count, true};
    }
    if (call)
        control_call(call);
}

void handle_incremental_alter_configs(struct request *rq)
{
    const struct incremental_alter_configs_request *m = rq->message;
    struct alter_config *resources;
    struct control_call *call =
        call_begin(rq, m->resources_count, m->validate_only, altered_incrementally, &resources);

    for (size_t i = 0; call && i < m->resources_count; i++) {
        const struct incremental_alter_configs_request_alter_configs_resource *r = &m->resources[i];
        struct config_change *changes =
            arena_array(&rq->arena, struct config_change, r->configs_count);

        if (!changes) {
            request_refuse(rq, REQUEST_OVER_BUDGET);
            return;
        }
        for (size_t k = 0; k < r->configs_count; k++)
            changes[k] = (struct config_change){r->configs[k].name, r->configs[k].config_operation,
                                                r->configs[k].value};
        resources[i] = (struct alter_config){r->resource_type, r->resource_name, changes,
                                             r->configs_count, false};
    }
    if (call)
        control_call(call);
}
