/* AddRaftVoter, RemoveRaftVoter and UpdateRaftVoter (KIP-853): who votes in the metadata quorum. */

#include "broker/control_calls.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/add_raft_voter.h"
#include "protocol/messages/remove_raft_voter.h"
#include "protocol/messages/update_raft_voter.h"

static enum kerr error_of(const struct raft_request *r)
{
    return r->whole_error != KERR_NONE ? r->whole_error : r->error;
}

/* Why, in words, where the code alone leaves doubts. */
static struct str reason_of(enum kerr error)
{
    static const struct {
        enum kerr error;
        const char *text;
    } reasons[] = {
        {KERR_REQUEST_TIMED_OUT,
         "The voters cannot be changed right now: an earlier change or the leader's epoch is not "
         "committed, or the new voter has not caught up or does not answer."},
        {KERR_UNSUPPORTED_VERSION, "The voters are in the settings: kraft.version is 0."},
        {KERR_DUPLICATE_VOTER, "The voter id is in the set of voters already."},
        {KERR_VOTER_NOT_FOUND, "No voter has that id and directory id."},
        {KERR_INVALID_REQUEST,
         "The voter has no endpoint for the quorum's listener, does not support the quorum's "
         "kraft.version, or is the only one."},
    };

    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].error == error)
            return str_from(reasons[i].text);
    return STR_NULL;
}

static void add_finished(struct control_raft_call *call)
{
    struct add_raft_voter_response m;

    add_raft_voter_response_init(&m);
    m.error_code = (int16_t)error_of(&call->request);
    m.error_message = reason_of(error_of(&call->request));
    request_answer(call->rq, &m);
}

void handle_add_raft_voter(struct request *rq)
{
    const struct add_raft_voter_request *m = rq->message;
    struct control_raft_call *call =
        control_raft_call_create(rq, RAFT_ASKED_ADD_VOTER, add_finished);
    struct raft_endpoint *endpoints;

    if (!call)
        return;
    endpoints = arena_array(&rq->arena, struct raft_endpoint, m->listeners_count);
    if (!endpoints) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    for (size_t i = 0; i < m->listeners_count; i++)
        endpoints[i] = (struct raft_endpoint){m->listeners[i].name, m->listeners[i].host,
                                              m->listeners[i].port};
    call->request.cluster_id = m->cluster_id;
    call->request.voter = (struct raft_replica_key){m->voter_id, m->voter_directory_id};
    call->request.endpoints = endpoints;
    call->request.endpoint_count = m->listeners_count;
    call->request.ack_when_committed = m->ack_when_committed;
    call->request.timeout_us = (int64_t)m->timeout_ms * 1000;
    control_raft_call(call);
}

static void remove_finished(struct control_raft_call *call)
{
    struct remove_raft_voter_response m;

    remove_raft_voter_response_init(&m);
    m.error_code = (int16_t)error_of(&call->request);
    m.error_message = reason_of(error_of(&call->request));
    request_answer(call->rq, &m);
}

void handle_remove_raft_voter(struct request *rq)
{
    const struct remove_raft_voter_request *m = rq->message;
    struct control_raft_call *call =
        control_raft_call_create(rq, RAFT_ASKED_REMOVE_VOTER, remove_finished);

    if (!call)
        return;
    call->request.cluster_id = m->cluster_id;
    call->request.voter = (struct raft_replica_key){m->voter_id, m->voter_directory_id};
    control_raft_call(call);
}

static void update_finished(struct control_raft_call *call)
{
    const struct raft_request *r = &call->request;
    struct update_raft_voter_response m;

    update_raft_voter_response_init(&m);
    m.error_code = (int16_t)error_of(r);
    m.current_leader.leader_id = r->leader_id;
    m.current_leader.leader_epoch = r->leader_epoch;
    m.current_leader.host = r->leader_host.data ? r->leader_host : STR("");
    m.current_leader.port = r->leader_port;
    request_answer(call->rq, &m);
}

void handle_update_raft_voter(struct request *rq)
{
    const struct update_raft_voter_request *m = rq->message;
    struct control_raft_call *call =
        control_raft_call_create(rq, RAFT_ASKED_UPDATE_VOTER, update_finished);
    struct raft_endpoint *endpoints;

    if (!call)
        return;
    endpoints = arena_array(&rq->arena, struct raft_endpoint, m->listeners_count);
    if (!endpoints) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    for (size_t i = 0; i < m->listeners_count; i++)
        endpoints[i] = (struct raft_endpoint){m->listeners[i].name, m->listeners[i].host,
                                              m->listeners[i].port};
    call->request.cluster_id = m->cluster_id;
    call->request.voter = (struct raft_replica_key){m->voter_id, m->voter_directory_id};
    call->request.epoch = m->current_leader_epoch;
    call->request.endpoints = endpoints;
    call->request.endpoint_count = m->listeners_count;
    call->request.kraft_version_min = m->kraft_version_feature.min_supported_version;
    call->request.kraft_version_max = m->kraft_version_feature.max_supported_version;
    control_raft_call(call);
}
