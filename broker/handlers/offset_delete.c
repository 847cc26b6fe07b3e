/* OffsetDelete: drops named offsets of a group. */

#include "protocol/messages/offset_delete.h"
#include "broker/coordinator/group_scatter.h"
#include "broker/dispatch.h"
#include "broker/request.h"
#include "broker/shard.h"

struct delete_call {
    struct group_scatter scatter; /* first */
    struct group_entry entry;
    struct group_offset_name *asked;  /* every partition of the request, in order */
    struct group_offset_name *exists; /* those of known topics, which the coordinator is asked
                                       * about */
    size_t asked_count, exists_count;
};

static void delete_run(struct group_entry *e, struct group_core *core, int64_t now_ms,
                       const struct offset_list *offsets, struct group_effects *fx)
{
    struct delete_call *call = (struct delete_call *)e->scatter;

    (void)now_ms;
    (void)offsets;
    group_core_offset_delete(core, &e->caller, e->group, call->exists, call->exists_count, fx);
}

static void delete_finished(struct group_scatter *g)
{
    struct delete_call *call = (struct delete_call *)g;
    struct request *rq = g->rq;
    const struct offset_delete_request *m = rq->message;
    const struct group_offset_name *name = call->asked, *exists = call->exists;
    struct offset_delete_response_partition *results =
        arena_array(&rq->arena, struct offset_delete_response_partition, call->asked_count);
    struct offset_delete_response response;

    offset_delete_response_init(&response);
    response.topics = arena_array(&rq->arena, struct offset_delete_response_topic, m->topics_count);
    if (!results || !response.topics) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    response.error_code = (int16_t)call->entry.caller.code;
    for (size_t i = 0; response.error_code == KERR_NONE && i < m->topics_count; i++) {
        response.topics[response.topics_count++] = (struct offset_delete_response_topic){
            m->topics[i].name, results, m->topics[i].partitions_count};
        for (size_t j = 0; j < m->topics[i].partitions_count; j++, name++)
            *results++ = (struct offset_delete_response_partition){
                name->partition, (int16_t)(name->code == KERR_NONE ? exists++->code : name->code)};
    }
    request_answer(rq, &response);
}

static void fill_names(struct delete_call *call)
{
    const struct request *rq = call->scatter.rq;
    const struct offset_delete_request *m = rq->message;
    struct group_offset_name *name = call->asked;

    for (size_t i = 0; i < m->topics_count; i++) {
        const struct metadata_topic *topic =
            metadata_image_topic(rq->shard->image, m->topics[i].name);

        for (size_t j = 0; j < m->topics[i].partitions_count; j++, name++) {
            *name = (struct group_offset_name){
                m->topics[i].name, m->topics[i].partitions[j].partition_index, KERR_NONE};
            if (metadata_topic_partition(topic, name->partition))
                call->exists[call->exists_count++] = *name;
            else
                name->code = KERR_UNKNOWN_TOPIC_OR_PARTITION;
        }
    }
}

void handle_offset_delete(struct request *rq)
{
    const struct offset_delete_request *m = rq->message;
    struct delete_call *call = arena_array(&rq->arena, struct delete_call, 1);

    if (!call) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    for (size_t i = 0; i < m->topics_count; i++)
        call->asked_count += m->topics[i].partitions_count;
    call->asked = arena_array(&rq->arena, struct group_offset_name, call->asked_count);
    call->exists = arena_array(&rq->arena, struct group_offset_name, call->asked_count);
    if (!call->asked || !call->exists) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->entry.group = m->group_id;
    call->entry.skip = m->group_id.size == 0;
    call->entry.caller.code = m->group_id.size == 0 ? KERR_INVALID_GROUP_ID : KERR_NONE;
    call->scatter = (struct group_scatter){.rq = rq,
                                           .entries = &call->entry,
                                           .count = 1,
                                           .stride = sizeof call->entry,
                                           .call = GROUP_OFFSET_DELETE,
                                           .run = delete_run,
                                           .finished = delete_finished};
    fill_names(call);
    if (!group_scatter_start(&call->scatter))
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
