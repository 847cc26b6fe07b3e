/* ElectLeaders: leaders are chosen anew, the preferred ones or any. */

#include "protocol/messages/elect_leaders.h"
#include "broker/control_calls.h"
#include "broker/request.h"

/* What a request of all partitions gets, refused as a whole: nothing but the code. Version 0 has no
 * place for that. */
static bool fill_refused(struct elect_leaders_response *out, const struct elect_leaders_request *m,
                         struct controller_result result, struct arena *a)
{
    out->error_code = (int16_t)result.code;
    out->replica_election_results = arena_array(
        a, struct elect_leaders_response_replica_election_result, m->topic_partitions_count);
    if (!out->replica_election_results)
        return false;
    out->replica_election_results_count = m->topic_partitions_count;
    for (size_t i = 0; i < m->topic_partitions_count; i++) {
        const struct elect_leaders_request_topic_partitions *asked = &m->topic_partitions[i];
        struct elect_leaders_response_replica_election_result *t =
            &out->replica_election_results[i];

        *t = (struct elect_leaders_response_replica_election_result){
            asked->topic,
            arena_array(a, struct elect_leaders_response_partition_result, asked->partitions_count),
            asked->partitions_count};
        if (!t->partition_result)
            return false;
        for (size_t k = 0; k < asked->partitions_count; k++)
            t->partition_result[k] = (struct elect_leaders_response_partition_result){
                asked->partitions[k], (int16_t)result.code, str_from(result.message)};
    }
    return true;
}

/* Results of one topic follow one another. */
static bool fill_results(struct elect_leaders_response *out,
                         const struct elect_leader_result *results, size_t count, struct arena *a)
{
    struct elect_leaders_response_partition_result *partitions =
        arena_array(a, struct elect_leaders_response_partition_result, count);
    struct elect_leaders_response_replica_election_result *t =
        arena_array(a, struct elect_leaders_response_replica_election_result, count);

    if (!partitions || !t)
        return false;
    out->replica_election_results = t;
    for (size_t i = 0; i < count; i++) {
        const struct elect_leader_result *r = &results[i];

        if (i == 0 || r->topic.data != results[i - 1].topic.data)
            t[out->replica_election_results_count++] =
                (struct elect_leaders_response_replica_election_result){r->topic, &partitions[i],
                                                                        0};
        t[out->replica_election_results_count - 1].partition_result_count++;
        partitions[i] = (struct elect_leaders_response_partition_result){
            r->partition, (int16_t)r->result.code, str_from(r->result.message)};
    }
    return true;
}

static void elected(struct control_call *call)
{
    struct request *rq = call->rq;
    struct elect_leaders_response response;
    bool filled;

    elect_leaders_response_init(&response);
    if (call->result.code == KERR_NONE)
        filled = fill_results(&response, call->request.election.results,
                              call->request.election.result_count, &rq->arena);
    else
        filled = fill_refused(&response, rq->message, call->result, &rq->arena);
    if (filled)
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

static const struct topic_partition *partitions_of(const struct elect_leaders_request *m,
                                                   struct arena *a, size_t *count)
{
    struct topic_partition *all, *next;

    *count = 0;
    for (size_t i = 0; i < m->topic_partitions_count; i++)
        *count += m->topic_partitions[i].partitions_count;
    all = next = arena_array(a, struct topic_partition, *count);
    for (size_t i = 0; all && i < m->topic_partitions_count; i++)
        for (size_t k = 0; k < m->topic_partitions[i].partitions_count; k++)
            *next++ = (struct topic_partition){m->topic_partitions[i].topic,
                                               m->topic_partitions[i].partitions[k]};
    return all;
}

void handle_elect_leaders(struct request *rq)
{
    const struct elect_leaders_request *m = rq->message;
    struct control_call *call = control_call_create(rq, CONTROLLER_ELECT_LEADERS, elected);
    size_t count;
    const struct topic_partition *partitions = partitions_of(m, &rq->arena, &count);

    if (!call || !partitions) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->request.election.type = m->election_type; /* version 0: the preferred one */
    call->request.election.all = m->topic_partitions == NULL;
    call->request.election.partitions = partitions;
    call->request.election.count = count;
    control_call(call);
}
