/* AssignReplicasToDirs (KIP-858): a broker tells in which of its log directories replicas lie. */

#include "broker/control_calls.h"
#include "broker/request.h"
#include "protocol/messages/assign_replicas_to_dirs.h"

static size_t count_partitions(const struct assign_replicas_to_dirs_request *m)
{
    size_t count = 0;

    for (size_t i = 0; i < m->directories_count; i++)
        for (size_t k = 0; k < m->directories[i].topics_count; k++)
            count += m->directories[i].topics[k].partitions_count;
    return count;
}

static bool fill_directory(struct assign_replicas_to_dirs_response_directory_data *out,
                           const struct assign_replicas_to_dirs_request_directory_data *asked,
                           const enum kerr **results, struct arena *a)
{
    out->id = asked->id;
    out->topics =
        arena_array(a, struct assign_replicas_to_dirs_response_topic_data, asked->topics_count);
    if (!out->topics)
        return false;
    out->topics_count = asked->topics_count;
    for (size_t i = 0; i < asked->topics_count; i++) {
        const struct assign_replicas_to_dirs_request_topic_data *from = &asked->topics[i];
        struct assign_replicas_to_dirs_response_topic_data *to = &out->topics[i];

        to->topic_id = from->topic_id;
        to->partitions = arena_array(a, struct assign_replicas_to_dirs_response_partition_data,
                                     from->partitions_count);
        if (!to->partitions)
            return false;
        to->partitions_count = from->partitions_count;
        for (size_t k = 0; k < from->partitions_count; k++)
            to->partitions[k] = (struct assign_replicas_to_dirs_response_partition_data){
                from->partitions[k].partition_index, (int16_t) * (*results)++};
    }
    return true;
}

static void assigned(struct control_call *call)
{
    struct request *rq = call->rq;
    const struct assign_replicas_to_dirs_request *m = rq->message;
    const enum kerr *results = call->request.directories.results;
    struct assign_replicas_to_dirs_response response;
    bool filled = true;

    assign_replicas_to_dirs_response_init(&response);
    response.error_code = (int16_t)call->result.code;
    if (call->result.code == KERR_NONE) {
        response.directories =
            arena_array(&rq->arena, struct assign_replicas_to_dirs_response_directory_data,
                        m->directories_count);
        filled = response.directories != NULL;
        response.directories_count = m->directories_count;
        for (size_t i = 0; filled && i < m->directories_count; i++)
            filled =
                fill_directory(&response.directories[i], &m->directories[i], &results, &rq->arena);
    }
    if (filled)
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

static const struct assign_replica *replicas_of(const struct assign_replicas_to_dirs_request *m,
                                                size_t count, struct arena *a)
{
    struct assign_replica *all = arena_array(a, struct assign_replica, count), *next = all;

    for (size_t i = 0; all && i < m->directories_count; i++)
        for (size_t k = 0; k < m->directories[i].topics_count; k++) {
            const struct assign_replicas_to_dirs_request_topic_data *t =
                &m->directories[i].topics[k];

            for (size_t j = 0; j < t->partitions_count; j++)
                *next++ = (struct assign_replica){t->topic_id, t->partitions[j].partition_index,
                                                  m->directories[i].id};
        }
    return all;
}

void handle_assign_replicas_to_dirs(struct request *rq)
{
    const struct assign_replicas_to_dirs_request *m = rq->message;
    struct control_call *call = control_call_create(rq, CONTROLLER_ASSIGN_REPLICAS, assigned);
    size_t count = count_partitions(m);
    const struct assign_replica *replicas = replicas_of(m, count, &rq->arena);

    if (!call || !replicas) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->request.directories.broker_id = m->broker_id;
    call->request.directories.broker_epoch = m->broker_epoch;
    call->request.directories.replicas = replicas;
    call->request.directories.count = count;
    control_call(call);
}
