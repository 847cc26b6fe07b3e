/* Requests between the nodes of the quorum, but for Fetch (raft_fetch.c): Vote, BeginQuorumEpoch,
 * EndQuorumEpoch, and DescribeQuorum for administrators. There is one topic with one partition; a
 * request for anything else is no request. */

#include <stdlib.h>

#include "broker/control_calls.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/begin_quorum_epoch.h"
#include "protocol/messages/describe_quorum.h"
#include "protocol/messages/end_quorum_epoch.h"
#include "protocol/messages/vote.h"

#define METADATA_TOPIC "__cluster_metadata"

static bool is_metadata(struct str topic, size_t partition_count, int32_t index)
{
    return str_equal(topic, STR(METADATA_TOPIC)) && partition_count == 1 && index == 0;
}

/* ---- Vote ---- */

static void vote_finished(struct control_raft_call *call)
{
    const struct raft_request *r = &call->request;
    struct vote_response_partition_data partition = {.error_code = (int16_t)r->error,
                                                     .leader_id = r->leader_id,
                                                     .leader_epoch = r->leader_epoch,
                                                     .vote_granted = r->granted};
    struct vote_response_topic_data topic = {STR(METADATA_TOPIC), &partition, 1};
    struct vote_response_node_endpoint endpoint = {r->leader_id, r->leader_host, r->leader_port};
    struct vote_response m;

    vote_response_init(&m);
    m.error_code = (int16_t)r->whole_error;
    if (r->whole_error == KERR_NONE) {
        m.topics = &topic;
        m.topics_count = 1;
        m.node_endpoints = &endpoint;
        m.node_endpoints_count = r->leader_host.data ? 1 : 0;
    }
    request_answer(call->rq, &m);
}

void handle_vote(struct request *rq)
{
    const struct vote_request *m = rq->message;
    struct control_raft_call *call = control_raft_call_create(rq, RAFT_ASKED_VOTE, vote_finished);
    const struct vote_request_partition_data *p;

    if (!call)
        return;
    if (m->topics_count != 1 || m->topics[0].partitions_count != 1 ||
        !is_metadata(m->topics[0].topic_name, 1, m->topics[0].partitions[0].partition_index)) {
        call->request.whole_error = KERR_INVALID_REQUEST;
        vote_finished(call);
        return;
    }
    p = &m->topics[0].partitions[0];
    call->request.cluster_id = m->cluster_id;
    call->request.sender = (struct raft_replica_key){p->replica_id, p->replica_directory_id};
    call->request.voter = (struct raft_replica_key){m->voter_id, p->voter_directory_id};
    call->request.epoch = p->replica_epoch;
    call->request.last_epoch = p->last_offset_epoch;
    call->request.offset = p->last_offset;
    call->request.pre_vote = p->pre_vote;
    control_raft_call(call);
}

/* ---- BeginQuorumEpoch ---- */

static void begin_finished(struct control_raft_call *call)
{
    const struct raft_request *r = &call->request;
    struct begin_quorum_epoch_response_partition_data partition = {.error_code = (int16_t)r->error,
                                                                   .leader_id = r->leader_id,
                                                                   .leader_epoch = r->leader_epoch};
    struct begin_quorum_epoch_response_topic_data topic = {STR(METADATA_TOPIC), &partition, 1};
    struct begin_quorum_epoch_response_node_endpoint endpoint = {r->leader_id, r->leader_host,
                                                                 r->leader_port};
    struct begin_quorum_epoch_response m;

    begin_quorum_epoch_response_init(&m);
    m.error_code = (int16_t)r->whole_error;
    if (r->whole_error == KERR_NONE) {
        m.topics = &topic;
        m.topics_count = 1;
        m.node_endpoints = &endpoint;
        m.node_endpoints_count = r->leader_host.data ? 1 : 0;
    }
    request_answer(call->rq, &m);
}

void handle_begin_quorum_epoch(struct request *rq)
{
    const struct begin_quorum_epoch_request *m = rq->message;
    struct control_raft_call *call = control_raft_call_create(rq, RAFT_ASKED_BEGIN, begin_finished);
    const struct begin_quorum_epoch_request_partition_data *p;
    struct raft_endpoint *endpoints;

    if (!call)
        return;
    if (m->topics_count != 1 || m->topics[0].partitions_count != 1 ||
        !is_metadata(m->topics[0].topic_name, 1, m->topics[0].partitions[0].partition_index)) {
        call->request.whole_error = KERR_INVALID_REQUEST;
        begin_finished(call);
        return;
    }
    p = &m->topics[0].partitions[0];
    call->request.cluster_id = m->cluster_id;
    call->request.sender = (struct raft_replica_key){.id = p->leader_id};
    call->request.voter = (struct raft_replica_key){m->voter_id, p->voter_directory_id};
    call->request.epoch = p->leader_epoch;
    endpoints = arena_array(&rq->arena, struct raft_endpoint, m->leader_endpoints_count);
    if (!endpoints) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    for (size_t i = 0; i < m->leader_endpoints_count; i++)
        endpoints[i] = (struct raft_endpoint){
            m->leader_endpoints[i].name, m->leader_endpoints[i].host, m->leader_endpoints[i].port};
    call->request.endpoints = endpoints;
    call->request.endpoint_count = m->leader_endpoints_count;
    control_raft_call(call);
}

/* ---- EndQuorumEpoch ---- */

static void end_finished(struct control_raft_call *call)
{
    const struct raft_request *r = &call->request;
    struct end_quorum_epoch_response_partition_data partition = {.error_code = (int16_t)r->error,
                                                                 .leader_id = r->leader_id,
                                                                 .leader_epoch = r->leader_epoch};
    struct end_quorum_epoch_response_topic_data topic = {STR(METADATA_TOPIC), &partition, 1};
    struct end_quorum_epoch_response_node_endpoint endpoint = {r->leader_id, r->leader_host,
                                                               r->leader_port};
    struct end_quorum_epoch_response m;

    end_quorum_epoch_response_init(&m);
    m.error_code = (int16_t)r->whole_error;
    if (r->whole_error == KERR_NONE) {
        m.topics = &topic;
        m.topics_count = 1;
        m.node_endpoints = &endpoint;
        m.node_endpoints_count = r->leader_host.data ? 1 : 0;
    }
    request_answer(call->rq, &m);
}

/* Version 0 names the successors by id only. */
static bool fill_candidates(struct control_raft_call *call,
                            const struct end_quorum_epoch_request_partition_data *p)
{
    size_t count = p->preferred_candidates_count ? p->preferred_candidates_count
                                                 : p->preferred_successors_count;
    struct raft_replica_key *candidates =
        arena_array(&call->rq->arena, struct raft_replica_key, count);

    if (!candidates)
        return false;
    for (size_t i = 0; i < count; i++)
        candidates[i] =
            p->preferred_candidates_count
                ? (struct raft_replica_key){p->preferred_candidates[i].candidate_id,
                                            p->preferred_candidates[i].candidate_directory_id}
                : (struct raft_replica_key){.id = p->preferred_successors[i]};
    call->request.candidates = candidates;
    call->request.candidate_count = count;
    return true;
}

void handle_end_quorum_epoch(struct request *rq)
{
    const struct end_quorum_epoch_request *m = rq->message;
    struct control_raft_call *call = control_raft_call_create(rq, RAFT_ASKED_END, end_finished);
    const struct end_quorum_epoch_request_partition_data *p;

    if (!call)
        return;
    if (m->topics_count != 1 || m->topics[0].partitions_count != 1 ||
        !is_metadata(m->topics[0].topic_name, 1, m->topics[0].partitions[0].partition_index)) {
        call->request.whole_error = KERR_INVALID_REQUEST;
        end_finished(call);
        return;
    }
    p = &m->topics[0].partitions[0];
    call->request.cluster_id = m->cluster_id;
    call->request.sender = (struct raft_replica_key){.id = p->leader_id};
    call->request.epoch = p->leader_epoch;
    if (!fill_candidates(call, p)) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    control_raft_call(call);
}

/* ---- DescribeQuorum ---- */

static bool fill_states(struct control_raft_call *call,
                        struct describe_quorum_response_partition_data *out)
{
    const struct raft_request *r = &call->request;
    struct describe_quorum_response_replica_state *states = arena_array(
        &call->rq->arena, struct describe_quorum_response_replica_state, r->replica_count);

    if (!states)
        return false;
    for (size_t i = 0; i < r->replica_count; i++) { /* voters come first */
        const struct raft_replica_view *v = &r->replicas[i];

        states[i] = (struct describe_quorum_response_replica_state){
            v->key.id, v->key.directory_id, v->end_offset, v->last_fetch_ms, v->last_caught_up_ms};
        out->current_voters_count += v->voter;
    }
    out->current_voters = states;
    out->observers = states + out->current_voters_count;
    out->observers_count = r->replica_count - out->current_voters_count;
    return true;
}

/* The voters' endpoints as the controllers have registered them. */
static bool fill_nodes(struct request *rq, struct describe_quorum_response *out)
{
    const struct metadata_image *image = rq->shard->image;
    size_t count = image ? metadata_image_controller_count(image) : 0;

    out->nodes = arena_array(&rq->arena, struct describe_quorum_response_node, count);
    if (!out->nodes)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct metadata_controller *c = metadata_image_controller_at(image, i);
        struct describe_quorum_response_listener *l =
            arena_array(&rq->arena, struct describe_quorum_response_listener, c->listener_count);

        if (!l)
            return false;
        for (size_t k = 0; k < c->listener_count; k++)
            l[k] = (struct describe_quorum_response_listener){
                c->listeners[k].name, c->listeners[k].host, c->listeners[k].port};
        out->nodes[i] = (struct describe_quorum_response_node){c->id, l, c->listener_count};
    }
    out->nodes_count = count;
    return true;
}

static void quorum_finished(struct control_raft_call *call)
{
    struct raft_request *r = &call->request;
    struct describe_quorum_response_partition_data partition = {.error_code = (int16_t)r->error,
                                                                .leader_id = r->leader_id,
                                                                .leader_epoch = r->leader_epoch,
                                                                .high_watermark =
                                                                    r->leader_high_watermark};
    struct describe_quorum_response_topic_data topic = {STR(METADATA_TOPIC), &partition, 1};
    struct describe_quorum_response m;
    bool filled = true;

    describe_quorum_response_init(&m);
    m.error_code = (int16_t)r->whole_error;
    if (r->whole_error == KERR_NONE) {
        m.topics = &topic;
        m.topics_count = 1;
        filled = fill_states(call, &partition) && fill_nodes(call->rq, &m);
    }
    free(r->replicas);
    if (filled)
        request_answer(call->rq, &m);
    else
        request_refuse(call->rq, REQUEST_OVER_BUDGET);
}

void handle_describe_quorum(struct request *rq)
{
    const struct describe_quorum_request *m = rq->message;
    struct control_raft_call *call =
        control_raft_call_create(rq, RAFT_ASKED_QUORUM, quorum_finished);

    if (!call)
        return;
    if (m->topics_count != 1 || m->topics[0].partitions_count != 1 ||
        !is_metadata(m->topics[0].topic_name, 1, m->topics[0].partitions[0].partition_index)) {
        call->request.whole_error = KERR_UNKNOWN_TOPIC_OR_PARTITION;
        quorum_finished(call);
        return;
    }
    control_raft_call(call);
}
