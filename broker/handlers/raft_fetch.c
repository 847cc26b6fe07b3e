/* Fetch and FetchSnapshot on the controller listener: the metadata log for voters and observers. */

#include <stdlib.h>

#include "broker/control_calls.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/fetch.h"
#include "protocol/messages/fetch_snapshot.h"

#define METADATA_TOPIC "__cluster_metadata"
#define WAIT_MS_MAX    (60 * 1000)

/* ---- Fetch ---- */

static void fill_partition(const struct raft_request *r, struct fetch_response_partition_data *out)
{
    out->error_code = (int16_t)r->error;
    out->high_watermark = r->leader_high_watermark;
    out->last_stable_offset = r->leader_high_watermark;
    out->log_start_offset = r->log_start_offset;
    out->diverging_epoch.epoch = -1;
    out->diverging_epoch.end_offset = -1;
    out->snapshot_id.end_offset = -1;
    out->snapshot_id.epoch = -1;
    out->preferred_read_replica = -1;
    out->current_leader.leader_id = r->leader_id;
    out->current_leader.leader_epoch = r->leader_epoch;
    if (r->error == KERR_NONE && r->diverging) {
        out->diverging_epoch.epoch = r->at.epoch;
        out->diverging_epoch.end_offset = r->at.end_offset;
    }
    if (r->error == KERR_NONE && r->want_snapshot) {
        out->snapshot_id.end_offset = r->at.end_offset;
        out->snapshot_id.epoch = r->at.epoch;
    }
    out->records = (struct records){.data = r->records ? r->records : (const uint8_t *)"",
                                    .size = r->record_bytes};
}

static void fetch_finished(struct control_raft_call *call)
{
    const struct raft_request *r = &call->request;
    struct fetch_response_partition_data partition = {0};
    struct fetch_response_fetchable_topic_response topic = {.topic = STR(METADATA_TOPIC),
                                                            .topic_id = uuid_from_number(1),
                                                            .partitions = &partition,
                                                            .partitions_count = 1};
    struct fetch_response_node_endpoint endpoint = {
        .node_id = r->leader_id, .host = r->leader_host, .port = r->leader_port};
    uint8_t *records = r->records;
    struct fetch_response m;

    fetch_response_init(&m);
    m.error_code = (int16_t)r->whole_error;
    if (r->whole_error == KERR_NONE) {
        fill_partition(r, &partition);
        m.responses = &topic;
        m.responses_count = 1;
        m.node_endpoints = &endpoint;
        m.node_endpoints_count = r->leader_host.data ? 1 : 0;
    }
    request_answer(call->rq, &m);
    free(records);
}

static bool asks_for_metadata(const struct request *rq, const struct fetch_request *m)
{
    if (m->topics_count != 1 || m->topics[0].partitions_count != 1 ||
        m->topics[0].partitions[0].partition != 0)
        return false;
    return rq->version >= 13 ? uuid_equal(m->topics[0].topic_id, uuid_from_number(1))
                             : str_equal(m->topics[0].topic, STR(METADATA_TOPIC));
}

void handle_metadata_fetch(struct request *rq)
{
    const struct fetch_request *m = rq->message;
    struct control_raft_call *call = control_raft_call_create(rq, RAFT_ASKED_FETCH, fetch_finished);
    const struct fetch_request_partition *p;
    struct raft_request *r;

    if (!call)
        return;
    r = &call->request;
    if (!asks_for_metadata(rq, m) || m->max_wait_ms < 0 || m->max_bytes < 0) {
        r->whole_error = KERR_INVALID_REQUEST;
        fetch_finished(call);
        return;
    }
    p = &m->topics[0].partitions[0];
    r->cluster_id = m->cluster_id;
    r->sender = (struct raft_replica_key){
        rq->version >= 15 ? m->replica_state.replica_id : m->replica_id, p->replica_directory_id};
    client_is_node(rq->client, r->sender.id);
    r->epoch = p->current_leader_epoch;
    r->last_epoch = p->last_fetched_epoch;
    r->offset = p->fetch_offset;
    r->high_watermark = p->high_watermark;
    r->wait_us = (int64_t)(m->max_wait_ms < WAIT_MS_MAX ? m->max_wait_ms : WAIT_MS_MAX) * 1000;
    r->max_bytes = (size_t)m->max_bytes;
    control_raft_call(call);
}

/* ---- FetchSnapshot ---- */

static void snapshot_finished(struct control_raft_call *call)
{
    const struct raft_request *r = &call->request;
    struct fetch_snapshot_response_partition_snapshot partition = {
        .error_code = (int16_t)r->error,
        .snapshot_id = {r->snapshot.end_offset, r->snapshot.epoch},
        .current_leader = {r->leader_id, r->leader_epoch},
        .size = r->snapshot_size,
        .position = r->position,
        .unaligned_records = {.data = r->records ? r->records : (const uint8_t *)"",
                              .size = r->record_bytes},
    };
    struct fetch_snapshot_response_topic_snapshot topic = {STR(METADATA_TOPIC), &partition, 1};
    struct fetch_snapshot_response_node_endpoint endpoint = {r->leader_id, r->leader_host,
                                                             r->leader_port};
    uint8_t *records = r->records;
    struct fetch_snapshot_response m;

    fetch_snapshot_response_init(&m);
    m.error_code = (int16_t)r->whole_error;
    if (r->whole_error == KERR_NONE) {
        m.topics = &topic;
        m.topics_count = 1;
        m.node_endpoints = &endpoint;
        m.node_endpoints_count = r->leader_host.data ? 1 : 0;
    }
    request_answer(call->rq, &m);
    free(records);
}

void handle_fetch_snapshot(struct request *rq)
{
    const struct fetch_snapshot_request *m = rq->message;
    struct control_raft_call *call =
        control_raft_call_create(rq, RAFT_ASKED_SNAPSHOT, snapshot_finished);
    const struct fetch_snapshot_request_partition_snapshot *p;
    struct raft_request *r;

    if (!call)
        return;
    r = &call->request;
    if (m->topics_count != 1 || m->topics[0].partitions_count != 1 ||
        m->topics[0].partitions[0].partition != 0 ||
        !str_equal(m->topics[0].name, STR(METADATA_TOPIC)) || m->max_bytes <= 0) {
        r->whole_error = KERR_INVALID_REQUEST;
        snapshot_finished(call);
        return;
    }
    p = &m->topics[0].partitions[0];
    r->cluster_id = m->cluster_id;
    r->sender = (struct raft_replica_key){m->replica_id, p->replica_directory_id};
    r->epoch = p->current_leader_epoch;
    r->snapshot = (struct raft_snapshot_id){p->snapshot_id.end_offset, p->snapshot_id.epoch};
    r->position = p->position;
    r->max_bytes = (size_t)m->max_bytes;
    control_raft_call(call);
}
