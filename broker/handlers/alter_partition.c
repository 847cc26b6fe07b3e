/* AlterPartition: the leader of partitions changes their ISR. */

#include "protocol/messages/alter_partition.h"
#include "broker/control_calls.h"
#include "broker/request.h"

/* What was decided on the partitions of one topic. */
static bool fill_topic(struct alter_partition_response_topic_data *out,
                       const struct alter_partition_request_topic_data *asked,
                       const struct alter_partition_result *results, struct arena *arena)
{
    alter_partition_response_topic_data_init(out);
    out->topic_id = asked->topic_id;
    out->partitions =
        arena_array(arena, struct alter_partition_response_partition_data, asked->partitions_count);
    if (!out->partitions)
        return false;
    out->partitions_count = asked->partitions_count;
    for (size_t i = 0; i < asked->partitions_count; i++) {
        const struct alter_partition_result *r = &results[i];
        struct alter_partition_response_partition_data *p = &out->partitions[i];

        alter_partition_response_partition_data_init(p);
        p->partition_index = asked->partitions[i].partition_index;
        p->error_code = (int16_t)r->code;
        if (r->code != KERR_NONE)
            continue;
        p->leader_id = r->leader;
        p->leader_epoch = r->leader_epoch;
        p->isr = (int32_t *)(uintptr_t)r->isr.ids;
        p->isr_count = r->isr.count;
        p->leader_recovery_state = r->leader_recovery_state;
        p->partition_epoch = r->partition_epoch;
    }
    return true;
}

static void altered(struct control_call *call)
{
    struct request *rq = call->rq;
    const struct alter_partition_request *m = rq->message;
    const struct alter_partition_result *results = call->request.isr.results;
    struct alter_partition_response response;
    bool filled = true;

    alter_partition_response_init(&response);
    response.error_code = (int16_t)call->result.code;
    if (call->result.code == KERR_NONE) {
        response.topics =
            arena_array(&rq->arena, struct alter_partition_response_topic_data, m->topics_count);
        filled = response.topics != NULL;
        response.topics_count = m->topics_count;
        for (size_t i = 0; filled && i < m->topics_count;
             results += m->topics[i++].partitions_count)
            filled = fill_topic(&response.topics[i], &m->topics[i], results, &rq->arena);
    }
    if (filled)
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

static const struct isr_member *members_of(const struct alter_partition_request_partition_data *p,
                                           int16_t version, struct arena *arena, size_t *count)
{
    struct isr_member *members;

    *count = version >= 3 ? p->new_isr_with_epochs_count : p->new_isr_count;
    members = arena_array(arena, struct isr_member, *count);
    for (size_t i = 0; members && i < *count; i++)
        members[i] = version >= 3 ? (struct isr_member){p->new_isr_with_epochs[i].broker_id,
                                                        p->new_isr_with_epochs[i].broker_epoch}
                                  : (struct isr_member){p->new_isr[i], -1};
    return members;
}

/* All partitions of the request, one after the other. NULL: the arena is spent. */
static const struct alter_partition *partitions_of(const struct request *rq, struct arena *arena,
                                                   size_t *count)
{
    const struct alter_partition_request *m = rq->message;
    struct alter_partition *all, *next;

    *count = 0;
    for (size_t i = 0; i < m->topics_count; i++)
        *count += m->topics[i].partitions_count;
    all = next = arena_array(arena, struct alter_partition, *count);
    for (size_t i = 0; all && i < m->topics_count; i++)
        for (size_t j = 0; j < m->topics[i].partitions_count; j++, next++) {
            const struct alter_partition_request_partition_data *p = &m->topics[i].partitions[j];

            *next = (struct alter_partition){
                .topic_id = m->topics[i].topic_id,
                .partition = p->partition_index,
                .leader_epoch = p->leader_epoch,
                .partition_epoch = p->partition_epoch,
                .leader_recovery_state = p->leader_recovery_state,
            };
            next->isr = members_of(p, rq->version, arena, &next->isr_count);
            if (!next->isr)
                return NULL;
        }
    return all;
}

void handle_alter_partition(struct request *rq)
{
    const struct alter_partition_request *m = rq->message;
    struct control_call *call = control_call_create(rq, CONTROLLER_ALTER_PARTITIONS, altered);
    size_t count;
    const struct alter_partition *partitions = partitions_of(rq, &rq->arena, &count);

    if (!call || !partitions) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->request.isr.broker_id = m->broker_id;
    call->request.isr.broker_epoch = m->broker_epoch;
    call->request.isr.partitions = partitions;
    call->request.isr.count = count;
    control_call(call);
}
