/* AlterPartitionReassignments and ListPartitionReassignments: partitions move to other brokers
 * (KIP-455). */

#include "broker/control_calls.h"
#include "broker/request.h"
#include "protocol/messages/alter_partition_reassignments.h"
#include "protocol/messages/list_partition_reassignments.h"

/* ---- AlterPartitionReassignments ---- */

static bool
fill_altered(struct alter_partition_reassignments_response_reassignable_topic_response *out,
             const struct alter_partition_reassignments_request_reassignable_topic *asked,
             const struct controller_result *results, struct arena *a)
{
    out->name = asked->name;
    out->partitions = arena_array(
        a, struct alter_partition_reassignments_response_reassignable_partition_response,
        asked->partitions_count);
    if (!out->partitions)
        return false;
    out->partitions_count = asked->partitions_count;
    for (size_t i = 0; i < asked->partitions_count; i++)
        out->partitions[i] =
            (struct alter_partition_reassignments_response_reassignable_partition_response){
                asked->partitions[i].partition_index, (int16_t)results[i].code,
                str_from(results[i].message)};
    return true;
}

static void altered(struct control_call *call)
{
    struct request *rq = call->rq;
    const struct alter_partition_reassignments_request *m = rq->message;
    const struct controller_result *results = call->request.reassign.results;
    struct alter_partition_reassignments_response response;
    bool filled = true;

    alter_partition_reassignments_response_init(&response);
    response.allow_replication_factor_change = m->allow_replication_factor_change;
    response.error_code = (int16_t)call->result.code;
    response.error_message = str_from(call->result.message);
    if (call->result.code == KERR_NONE) {
        response.responses = arena_array(
            &rq->arena, struct alter_partition_reassignments_response_reassignable_topic_response,
            m->topics_count);
        filled = response.responses != NULL;
        response.responses_count = m->topics_count;
        for (size_t i = 0; filled && i < m->topics_count;
             results += m->topics[i++].partitions_count)
            filled = fill_altered(&response.responses[i], &m->topics[i], results, &rq->arena);
    }
    if (filled)
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

static const struct reassign_partition *
wanted(const struct alter_partition_reassignments_request *m, struct arena *a, size_t *count)
{
    struct reassign_partition *all, *next;

    *count = 0;
    for (size_t i = 0; i < m->topics_count; i++)
        *count += m->topics[i].partitions_count;
    all = next = arena_array(a, struct reassign_partition, *count);
    for (size_t i = 0; all && i < m->topics_count; i++)
        for (size_t k = 0; k < m->topics[i].partitions_count; k++) {
            const struct alter_partition_reassignments_request_reassignable_partition *p =
                &m->topics[i].partitions[k];

            *next++ = (struct reassign_partition){
                m->topics[i].name, p->partition_index, {p->replicas, p->replicas_count}};
        }
    return all;
}

void handle_alter_partition_reassignments(struct request *rq)
{
    const struct alter_partition_reassignments_request *m = rq->message;
    struct control_call *call = control_call_create(rq, CONTROLLER_ALTER_REASSIGNMENTS, altered);
    size_t count;
    const struct reassign_partition *partitions = wanted(m, &rq->arena, &count);

    if (!call || !partitions) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->request.reassign.keep_replication_factor = !m->allow_replication_factor_change;
    call->request.reassign.partitions = partitions;
    call->request.reassign.count = count;
    control_call(call);
}

/* ---- ListPartitionReassignments ---- */

static struct list_partition_reassignments_response_ongoing_partition_reassignment
ongoing(const struct reassigning_partition *r)
{
    return (struct list_partition_reassignments_response_ongoing_partition_reassignment){
        .partition_index = r->partition,
        .replicas = (int32_t *)(uintptr_t)r->replicas.ids,
        .replicas_count = r->replicas.count,
        .adding_replicas = (int32_t *)(uintptr_t)r->adding.ids,
        .adding_replicas_count = r->adding.count,
        .removing_replicas = (int32_t *)(uintptr_t)r->removing.ids,
        .removing_replicas_count = r->removing.count,
    };
}

/* Results of one topic follow one another. */
static bool fill_ongoing(struct list_partition_reassignments_response *out,
                         const struct reassigning_partition *results, size_t count, struct arena *a)
{
    struct list_partition_reassignments_response_ongoing_partition_reassignment *partitions =
        arena_array(a, struct list_partition_reassignments_response_ongoing_partition_reassignment,
                    count);
    struct list_partition_reassignments_response_ongoing_topic_reassignment *t = arena_array(
        a, struct list_partition_reassignments_response_ongoing_topic_reassignment, count);

    if (!partitions || !t)
        return false;
    out->topics = t;
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || results[i].topic.data != results[i - 1].topic.data)
            t[out->topics_count++] =
                (struct list_partition_reassignments_response_ongoing_topic_reassignment){
                    results[i].topic, &partitions[i], 0};
        t[out->topics_count - 1].partitions_count++;
        partitions[i] = ongoing(&results[i]);
    }
    return true;
}

static void listed(struct control_call *call)
{
    struct request *rq = call->rq;
    struct list_partition_reassignments_response response;

    list_partition_reassignments_response_init(&response);
    response.error_code = (int16_t)call->result.code;
    response.error_message = str_from(call->result.message);
    if (call->result.code == KERR_NONE &&
        !fill_ongoing(&response, call->request.reassigning.results,
                      call->request.reassigning.result_count, &rq->arena))
        request_refuse(rq, REQUEST_OVER_BUDGET);
    else
        request_answer(rq, &response);
}

static const struct topic_partition *asked_for(const struct list_partition_reassignments_request *m,
                                               struct arena *a, size_t *count)
{
    struct topic_partition *all, *next;

    *count = 0;
    for (size_t i = 0; i < m->topics_count; i++)
        *count += m->topics[i].partition_indexes_count;
    all = next = arena_array(a, struct topic_partition, *count);
    for (size_t i = 0; all && i < m->topics_count; i++)
        for (size_t k = 0; k < m->topics[i].partition_indexes_count; k++)
            *next++ =
                (struct topic_partition){m->topics[i].name, m->topics[i].partition_indexes[k]};
    return all;
}

void handle_list_partition_reassignments(struct request *rq)
{
    const struct list_partition_reassignments_request *m = rq->message;
    struct control_call *call = control_call_create(rq, CONTROLLER_LIST_REASSIGNMENTS, listed);
    size_t count;
    const struct topic_partition *partitions = asked_for(m, &rq->arena, &count);

    if (!call || !partitions) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->request.reassigning.all = m->topics == NULL;
    call->request.reassigning.partitions = partitions;
    call->request.reassigning.count = count;
    control_call(call);
}
