/* ConsumerGroupHeartbeat, ConsumerGroupDescribe: groups of KIP-848. */

#include "broker/coordinator/group_scatter.h"
#include "broker/dispatch.h"
#include "broker/handlers/group_common.h"
#include "broker/handlers/operations.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/consumer_group_describe.h"
#include "protocol/messages/consumer_group_heartbeat.h"

/* ---- ConsumerGroupHeartbeat ---- */

struct heartbeat_call {
    struct group_scatter scatter; /* first */
    struct group_entry entry;
    struct group_consumer_heartbeat heartbeat;
    struct group_assignment owned;
};

static void heartbeat_run(struct group_entry *e, struct group_core *core, int64_t now_ms,
                          const struct offset_list *offsets, struct group_effects *fx)
{
    (void)offsets;
    group_core_consumer_heartbeat(core, &e->caller,
                                  &((struct heartbeat_call *)e->scatter)->heartbeat, now_ms, fx);
}

static struct consumer_group_heartbeat_response_assignment *
fill_assignment(const struct group_assignment *from, struct arena *a)
{
    struct consumer_group_heartbeat_response_assignment *out =
        arena_array(a, struct consumer_group_heartbeat_response_assignment, 1);

    if (!out)
        return NULL;
    out->topic_partitions = arena_array(
        a, struct consumer_group_heartbeat_response_topic_partitions, from->topic_count);
    if (!out->topic_partitions)
        return NULL;
    out->topic_partitions_count = from->topic_count;
    for (size_t i = 0; i < from->topic_count; i++)
        out->topic_partitions[i] = (struct consumer_group_heartbeat_response_topic_partitions){
            from->topics[i].topic_id, from->topics[i].partitions, from->topics[i].partition_count};
    return out;
}

static void heartbeat_finished(struct group_scatter *g)
{
    const struct group_caller *who = &((struct heartbeat_call *)g)->entry.caller;
    const struct group_consumer_heartbeat_answer *a = &who->consumer_heartbeat;
    struct consumer_group_heartbeat_response response;

    consumer_group_heartbeat_response_init(&response);
    response.error_code = (int16_t)who->code;
    response.error_message = a->message;
    if (who->code == KERR_NONE) {
        response.member_id = a->member_id;
        response.member_epoch = a->member_epoch;
        response.heartbeat_interval_ms = a->heartbeat_interval_ms;
        if (a->assignment &&
            !(response.assignment = fill_assignment(a->assignment, &g->rq->arena))) {
            request_refuse(g->rq, REQUEST_OVER_BUDGET);
            return;
        }
    }
    request_answer(g->rq, &response);
}

static bool fill_heartbeat(struct heartbeat_call *call)
{
    struct request *rq = call->scatter.rq;
    const struct consumer_group_heartbeat_request *m = rq->message;

    call->heartbeat = (struct group_consumer_heartbeat){
        .group = m->group_id,
        .member_id = m->member_id,
        .instance_id = m->instance_id,
        .rack_id = m->rack_id,
        .member_epoch = m->member_epoch,
        .rebalance_timeout_ms = m->rebalance_timeout_ms,
        .subscribed_topics = m->subscribed_topic_names,
        .subscribed_topic_count = m->subscribed_topic_names_count,
        .subscribed_regex = m->subscribed_topic_regex,
        .server_assignor = m->server_assignor,
        .version = rq->version,
    };
    if (!m->topic_partitions)
        return true;
    call->heartbeat.owned = &call->owned;
    call->owned.topics =
        arena_array(&rq->arena, struct group_topic_partitions, m->topic_partitions_count);
    if (!call->owned.topics)
        return false;
    call->owned.topic_count = m->topic_partitions_count;
    for (size_t i = 0; i < m->topic_partitions_count; i++)
        call->owned.topics[i] = (struct group_topic_partitions){
            .topic_id = m->topic_partitions[i].topic_id,
            .partitions = m->topic_partitions[i].partitions,
            .partition_count = m->topic_partitions[i].partitions_count};
    return true;
}

void handle_consumer_group_heartbeat(struct request *rq)
{
    const struct consumer_group_heartbeat_request *m = rq->message;
    struct heartbeat_call *call = arena_array(&rq->arena, struct heartbeat_call, 1);

    if (!call) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->scatter = (struct group_scatter){.rq = rq,
                                           .entries = &call->entry,
                                           .count = 1,
                                           .stride = sizeof call->entry,
                                           .call = GROUP_CONSUMER_HEARTBEAT,
                                           .run = heartbeat_run,
                                           .finished = heartbeat_finished};
    call->entry.group = m->group_id;
    if (!rq->shard->node->options->coordinator.settings.consumer)
        call->entry.caller.code = KERR_UNSUPPORTED_VERSION;
    else if (m->group_id.size == 0) {
        call->entry.caller.code = KERR_INVALID_REQUEST;
        call->entry.caller.consumer_heartbeat.message = STR("GroupId can't be empty.");
    }
    call->entry.skip = call->entry.caller.code != KERR_NONE;
    if (!fill_heartbeat(call) || !group_scatter_start(&call->scatter))
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

/* ---- ConsumerGroupDescribe ---- */

static void describe_run(struct group_entry *e, struct group_core *core, int64_t now_ms,
                         const struct offset_list *offsets, struct group_effects *fx)
{
    (void)now_ms;
    (void)offsets;
    group_core_consumer_describe(core, &e->caller, e->group, fx);
}

static bool fill_described_assignment(struct consumer_group_describe_response_assignment *out,
                                      const struct group_assignment *from, struct arena *a)
{
    out->topic_partitions =
        arena_array(a, struct consumer_group_describe_response_topic_partitions, from->topic_count);
    if (!out->topic_partitions)
        return false;
    out->topic_partitions_count = from->topic_count;
    for (size_t i = 0; i < from->topic_count; i++)
        out->topic_partitions[i] = (struct consumer_group_describe_response_topic_partitions){
            from->topics[i].topic_id, group_or_empty(from->topics[i].topic),
            from->topics[i].partitions, from->topics[i].partition_count};
    return true;
}

static bool fill_member(struct consumer_group_describe_response_member *out,
                        const struct group_consumer_described_member *m, struct arena *a)
{
    consumer_group_describe_response_member_init(out);
    out->member_id = m->member_id;
    out->instance_id = m->instance_id;
    out->rack_id = m->rack_id;
    out->member_epoch = m->member_epoch;
    out->client_id = group_or_empty(m->client_id);
    out->client_host = group_or_empty(m->client_host);
    if (m->subscribed_topic_count) {
        out->subscribed_topic_names = m->subscribed_topics;
        out->subscribed_topic_names_count = m->subscribed_topic_count;
    }
    out->subscribed_topic_regex = m->subscribed_regex;
    out->member_type = m->classic ? 0 : 1;
    return fill_described_assignment(&out->assignment, &m->assigned, a) &&
           fill_described_assignment(&out->target_assignment, &m->target, a);
}

static bool fill_described(struct consumer_group_describe_response_described_group *out,
                           const struct group_entry *e, struct request *rq)
{
    const struct consumer_group_describe_request *m = rq->message;
    const struct group_consumer_describe_answer *a = &e->caller.consumer_describe;

    consumer_group_describe_response_described_group_init(out);
    out->group_id = e->group;
    out->error_code = (int16_t)e->caller.code;
    out->error_message = a->message;
    if (e->caller.code != KERR_NONE)
        return true;
    out->group_state = a->state;
    out->group_epoch = a->group_epoch;
    out->assignment_epoch = a->assignment_epoch;
    out->assignor_name = group_or_empty(a->assignor);
    if (m->include_authorized_operations)
        out->authorized_operations = OPERATIONS_OF_GROUP;
    out->members =
        arena_array(&rq->arena, struct consumer_group_describe_response_member, a->member_count);
    if (!out->members)
        return false;
    out->members_count = a->member_count;
    for (size_t i = 0; i < a->member_count; i++)
        if (!fill_member(&out->members[i], &a->members[i], &rq->arena))
            return false;
    return true;
}

static void describe_finished(struct group_scatter *g)
{
    struct request *rq = g->rq;
    const struct group_entry *entries = g->entries;
    struct consumer_group_describe_response response;

    consumer_group_describe_response_init(&response);
    response.groups =
        arena_array(&rq->arena, struct consumer_group_describe_response_described_group, g->count);
    response.groups_count = g->count;
    for (size_t i = 0; response.groups && i < g->count; i++)
        if (!fill_described(&response.groups[i], &entries[i], rq))
            response.groups = NULL;
    if (response.groups)
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

void handle_consumer_group_describe(struct request *rq)
{
    const struct consumer_group_describe_request *m = rq->message;
    struct group_scatter *g = group_scatter_of_names(rq, m->group_ids, m->group_ids_count);

    if (!g) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    g->call = GROUP_CONSUMER_DESCRIBE;
    g->run = describe_run;
    g->finished = describe_finished;
    for (size_t i = 0; i < g->count; i++) {
        struct group_entry *e = &((struct group_entry *)g->entries)[i];

        if (!rq->shard->node->options->coordinator.settings.consumer)
            e->caller.code = KERR_UNSUPPORTED_VERSION;
        else if (e->group.size == 0)
            e->caller.code = KERR_INVALID_GROUP_ID;
        e->skip = e->caller.code != KERR_NONE;
    }
    if (!group_scatter_start(g))
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
