/* What the core sends to other voters, and what they answer. A message waits in the node until the
 * election that it speaks of is durable; then it is a request on the transport. */

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "protocol/base/check.h"
#include "protocol/messages/begin_quorum_epoch.h"
#include "protocol/messages/end_quorum_epoch.h"
#include "protocol/messages/fetch.h"
#include "protocol/messages/vote.h"
#include "replication/memory.h"
#include "replication/raft_node_internal.h"

#define VOTE_VERSION       2
#define BEGIN_VERSION      1
#define END_VERSION        1
#define FETCH_VERSION      18
#define REQUEST_BYTES_MAX  (64 * 1024)
#define ANSWER_ARENA_BYTES (256 * 1024)

/* How long a leader without news keeps a fetch, at most half the time after which we stop believing
 * in it. */
#define FETCH_WAIT_MS   500
#define FETCH_BYTES_MAX (1024 * 1024) /* a single larger batch comes all the same */

/* One message under way. */
struct raft_call {
    struct raft_call *prev, *next;
    struct raft_node *node;
    struct raft_message message;
    struct transport_request request;
};

/* ---- answers ---- */

struct answer_view {
    struct raft_answer_head head;
    bool granted;
    const struct fetch_response_partition_data *fetched;
    struct bytes_mut records;
    struct str leader_host; /* of the leader named; NULL data: not said */
    uint16_t leader_port;
};

static void fail_head(struct answer_view *v)
{
    v->head.failed = true;
    v->fetched = NULL;
}

static void view(struct answer_view *v, int16_t error, int32_t epoch, int32_t leader_id)
{
    v->head.error = (enum kerr)error;
    v->head.epoch = epoch;
    v->head.leader_id = leader_id < 0 ? RAFT_NO_NODE : leader_id;
    if (epoch < 0)
        fail_head(v);
}

static void view_place(struct answer_view *v, struct str host, int64_t port)
{
    if (port <= 0 || port > UINT16_MAX)
        return;
    v->leader_host = host;
    v->leader_port = (uint16_t)port;
}

/* An answer of another shape than one topic with one partition is no answer. */
static bool read_vote(struct answer_view *v, struct reader *r, struct arena *a)
{
    struct vote_response m;

    if (!vote_response_decode(&m, r, a, VOTE_VERSION) || m.error_code || m.topics_count != 1 ||
        m.topics[0].partitions_count != 1)
        return false;
    v->granted = m.topics[0].partitions[0].vote_granted;
    view(v, m.topics[0].partitions[0].error_code, m.topics[0].partitions[0].leader_epoch,
         m.topics[0].partitions[0].leader_id);
    for (size_t i = 0; i < m.node_endpoints_count; i++)
        if (m.node_endpoints[i].node_id == v->head.leader_id)
            view_place(v, m.node_endpoints[i].host, m.node_endpoints[i].port);
    return true;
}

static bool read_begin(struct answer_view *v, struct reader *r, struct arena *a)
{
    struct begin_quorum_epoch_response m;

    if (!begin_quorum_epoch_response_decode(&m, r, a, BEGIN_VERSION) || m.error_code ||
        m.topics_count != 1 || m.topics[0].partitions_count != 1)
        return false;
    view(v, m.topics[0].partitions[0].error_code, m.topics[0].partitions[0].leader_epoch,
         m.topics[0].partitions[0].leader_id);
    for (size_t i = 0; i < m.node_endpoints_count; i++)
        if (m.node_endpoints[i].node_id == v->head.leader_id)
            view_place(v, m.node_endpoints[i].host, m.node_endpoints[i].port);
    return true;
}

static bool read_end(struct answer_view *v, struct reader *r, struct arena *a)
{
    (void)v;
    (void)r;
    (void)a;
    return false; /* a farewell: what is said to it does not matter */
}

static bool read_fetch(struct answer_view *v, struct reader *r, struct arena *a)
{
    struct fetch_response m;

    if (!fetch_response_decode(&m, r, a, FETCH_VERSION) || m.error_code || m.responses_count != 1 ||
        m.responses[0].partitions_count != 1)
        return false;
    v->fetched = &m.responses[0].partitions[0];
    view(v, v->fetched->error_code, v->fetched->current_leader.leader_epoch,
         v->fetched->current_leader.leader_id);
    for (size_t i = 0; i < m.node_endpoints_count; i++)
        if (m.node_endpoints[i].node_id == v->head.leader_id)
            view_place(v, m.node_endpoints[i].host, m.node_endpoints[i].port);
    return true;
}

/* The whole batches in front of what a leader sent, each of them checked: they follow our log end,
 * and their epochs do not go back or beyond the leader's. False: one of them is not good, and none
 * is taken. */
static bool check_fetched(struct raft_node *n, struct answer_view *v)
{
    const struct records *records = &v->fetched->records;
    struct record_batches it = record_batches((struct bytes){records->data, records->size});
    int64_t next_offset = log_end_offset(n->log);
    int32_t epoch = n->core.last_epoch;
    struct bytes batch;
    size_t size = 0;

    while (record_batches_next(&it, &batch)) {
        if (status_failed(record_batch_check(batch)) ||
            record_batch_base_offset(batch.data) != next_offset ||
            record_batch_last_offset(batch.data) < next_offset ||
            record_batch_leader_epoch(batch.data) < epoch ||
            record_batch_leader_epoch(batch.data) > v->head.epoch)
            return false;
        next_offset = record_batch_last_offset(batch.data) + 1;
        epoch = record_batch_leader_epoch(batch.data);
        size += batch.size;
    }
    v->records = (struct bytes_mut){(uint8_t *)(uintptr_t)records->data, size};
    return size > 0 || records->size == 0; /* half a batch alone would be asked for again and
                                            * again */
}

static void step_fetched(struct raft_node *n, struct raft_call *c, struct answer_view *v)
{
    struct raft_event ev = {.type = RAFT_FETCH_ANSWER,
                            .fetch_answer = {.fetch_id = c->message.fetch_id}};

    if (v->fetched && !v->head.failed && v->head.error == KERR_NONE) {
        if (v->fetched->snapshot_id.end_offset >= 0) {
            ev.fetch_answer.outcome = RAFT_FETCH_SNAPSHOT;
            ev.fetch_answer.at = (struct raft_snapshot_id){v->fetched->snapshot_id.end_offset,
                                                           v->fetched->snapshot_id.epoch};
        } else if (v->fetched->diverging_epoch.epoch >= 0 && n->flush_busy) {
            v->head.failed = true; /* the log is not cut under a flush: it is asked for again */
        } else if (v->fetched->diverging_epoch.epoch >= 0) {
            ev.fetch_answer.outcome = RAFT_FETCH_DIVERGING;
            ev.fetch_answer.at = (struct raft_snapshot_id){v->fetched->diverging_epoch.end_offset,
                                                           v->fetched->diverging_epoch.epoch};
            log_end_of_epoch(n->log, ev.fetch_answer.at.epoch, &ev.fetch_answer.epoch_end.epoch,
                             &ev.fetch_answer.epoch_end.end_offset);
        } else if (check_fetched(n, v)) {
            ev.fetch_answer.outcome = RAFT_FETCH_RECORDS;
            ev.fetch_answer.has_records = v->records.size > 0;
        } else {
            /* The answer to an earlier fetch may come late, when the log has moved on: the core
             * knows it by its id. */
            if (c->message.fetch_id == n->core.fetch_id)
                logger_event(n->logger, LOGGER_ERROR, "raft_fetch_not_usable",
                             "leader=%d offset=%lld", c->message.to.id,
                             (long long)c->message.offset);
            v->head.failed = true;
        }
        ev.fetch_answer.high_watermark = v->fetched->high_watermark;
    }
    ev.fetch_answer.head = v->head;
    n->fetched = v->records;
    raft_node_step(n, &ev);
    n->fetched = (struct bytes_mut){NULL, 0};
}

static void step_answer(struct raft_node *n, struct raft_call *c, struct answer_view *v)
{
    struct raft_event ev = {.type = RAFT_TICK};

    switch (c->message.type) {
    case RAFT_SEND_VOTE:
        ev.type = RAFT_VOTE_ANSWER;
        ev.vote_answer.head = v->head;
        ev.vote_answer.request_epoch = c->message.epoch;
        ev.vote_answer.pre_vote = c->message.pre_vote;
        ev.vote_answer.granted = v->granted;
        break;
    case RAFT_SEND_BEGIN:
        ev.type = RAFT_BEGIN_ANSWER;
        ev.begin_answer.head = v->head;
        ev.begin_answer.request_epoch = c->message.epoch;
        break;
    case RAFT_SEND_FETCH:
        step_fetched(n, c, v);
        return;
    case RAFT_SEND_END:
        return;
    }
    raft_node_step(n, &ev);
}

static void answered(struct transport_request *r, struct status result, struct bytes body)
{
    static bool (*const readers[])(struct answer_view *, struct reader *, struct arena *) = {
        [RAFT_SEND_VOTE] = read_vote,
        [RAFT_SEND_BEGIN] = read_begin,
        [RAFT_SEND_END] = read_end,
        [RAFT_SEND_FETCH] = read_fetch,
    };
    struct raft_call *c = CONTAINER_OF(r, struct raft_call, request);
    struct raft_node *n = c->node;
    struct answer_view v = {.head = {.from = c->message.to.id}};
    struct reader reader = reader_of(body.data, body.size);
    struct arena a;

    DL_DELETE(n->calls, c);
    arena_init(&a, ANSWER_ARENA_BYTES);
    if (status_failed(result) || !readers[c->message.type](&v, &reader, &a))
        fail_head(&v);
    if (!v.head.failed && v.leader_host.data)
        raft_node_note_leader(n, v.head.leader_id, v.head.epoch, v.leader_host, v.leader_port);
    if (n->state == NODE_RUNNING)
        step_answer(n, c, &v);
    /* Refused: nobody listens there, so the leader's process is gone (DESIGN 6). */
    if (n->state == NODE_RUNNING && result.sys_errno == ECONNREFUSED &&
        n->core.role == RAFT_FOLLOWER && c->message.to.id == n->core.election.leader_id)
        raft_node_step(n, &(struct raft_event){.type = RAFT_LEADER_LOST});
    arena_free(&a);
    free(c);
}

/* ---- requests ---- */

static void encode_vote(const struct raft_node *n, const struct raft_message *m, struct writer *w)
{
    struct vote_request_partition_data partition = {
        .replica_epoch = m->epoch,
        .replica_id = n->self.id,
        .replica_directory_id = n->self.directory_id,
        .voter_directory_id = m->to.directory_id,
        .last_offset_epoch = m->last_epoch,
        .last_offset = m->offset,
        .pre_vote = m->pre_vote,
    };
    struct vote_request_topic_data topic = {STR(RAFT_TOPIC), &partition, 1};
    struct vote_request request = {
        .cluster_id = n->cluster_id, .voter_id = m->to.id, .topics = &topic, .topics_count = 1};

    vote_request_encode(&request, w, VOTE_VERSION);
}

/* Where we listen: what the settings say is newer than what the voter set does. */
static const struct raft_voter *own_entry(const struct raft_node *n)
{
    if (n->own_endpoints)
        return voter_set_at(n->own_endpoints, 0);
    return voter_set_find(raft_node_newest_voters(n)->voters, n->self.id);
}

static void encode_begin(const struct raft_node *n, const struct raft_message *m, struct writer *w)
{
    const struct raft_voter *self = own_entry(n);
    size_t count = self ? self->endpoint_count : 0;
    struct begin_quorum_epoch_request_leader_endpoint *endpoints =
        memory_zalloc(count, sizeof *endpoints);
    struct begin_quorum_epoch_request_partition_data partition = {.voter_directory_id =
                                                                      m->to.directory_id,
                                                                  .leader_id = n->self.id,
                                                                  .leader_epoch = m->epoch};
    struct begin_quorum_epoch_request_topic_data topic = {STR(RAFT_TOPIC), &partition, 1};
    struct begin_quorum_epoch_request request = {.cluster_id = n->cluster_id,
                                                 .voter_id = m->to.id,
                                                 .topics = &topic,
                                                 .topics_count = 1,
                                                 .leader_endpoints = endpoints,
                                                 .leader_endpoints_count = count};

    for (size_t i = 0; i < count; i++)
        endpoints[i] = (struct begin_quorum_epoch_request_leader_endpoint){
            self->endpoints[i].listener, self->endpoints[i].host, self->endpoints[i].port};
    begin_quorum_epoch_request_encode(&request, w, BEGIN_VERSION);
    free(endpoints);
}

static void encode_end(const struct raft_node *n, const struct raft_message *m, struct writer *w)
{
    const struct raft_voter *self = own_entry(n);
    size_t count = self ? self->endpoint_count : 0;
    struct raft_replica_key successors[RAFT_VOTERS_MAX];
    struct end_quorum_epoch_request_replica_info candidates[RAFT_VOTERS_MAX];
    struct end_quorum_epoch_request_leader_endpoint *endpoints =
        memory_zalloc(count, sizeof *endpoints);
    struct end_quorum_epoch_request_partition_data partition = {
        .leader_id = n->self.id, .leader_epoch = m->epoch, .preferred_candidates = candidates};
    struct end_quorum_epoch_request_topic_data topic = {STR(RAFT_TOPIC), &partition, 1};
    struct end_quorum_epoch_request request = {.cluster_id = n->cluster_id,
                                               .topics = &topic,
                                               .topics_count = 1,
                                               .leader_endpoints = endpoints,
                                               .leader_endpoints_count = count};

    partition.preferred_candidates_count = raft_core_successors(&n->core, successors);
    for (size_t i = 0; i < partition.preferred_candidates_count; i++)
        candidates[i] = (struct end_quorum_epoch_request_replica_info){successors[i].id,
                                                                       successors[i].directory_id};
    for (size_t i = 0; i < count; i++)
        endpoints[i] = (struct end_quorum_epoch_request_leader_endpoint){
            self->endpoints[i].listener, self->endpoints[i].host, self->endpoints[i].port};
    end_quorum_epoch_request_encode(&request, w, END_VERSION);
    free(endpoints);
}

static void encode_fetch(const struct raft_node *n, const struct raft_message *m, struct writer *w)
{
    int64_t wait_ms = n->core.timeouts.fetch_ms / 2;
    struct fetch_request_partition partition = {
        .current_leader_epoch = m->epoch,
        .fetch_offset = m->offset,
        .last_fetched_epoch = m->last_epoch,
        .log_start_offset = -1,
        .replica_directory_id = n->self.directory_id,
        .high_watermark = m->high_watermark,
    };
    struct fetch_request_topic topic = {
        .topic_id = RAFT_TOPIC_ID, .partitions = &partition, .partitions_count = 1};
    struct fetch_request request;

    fetch_request_init(&request);
    request.cluster_id = n->cluster_id;
    request.replica_state.replica_id = n->self.id;
    request.max_wait_ms = (int32_t)(wait_ms < FETCH_WAIT_MS ? wait_ms : FETCH_WAIT_MS);
    request.max_bytes = FETCH_BYTES_MAX;
    request.topics = &topic;
    request.topics_count = 1;
    fetch_request_encode(&request, w, FETCH_VERSION);
}

static const struct {
    int16_t key;
    int16_t version;
    void (*encode)(const struct raft_node *, const struct raft_message *, struct writer *);
} kinds[] = {
    [RAFT_SEND_VOTE] = {VOTE_REQUEST_KEY, VOTE_VERSION, encode_vote},
    [RAFT_SEND_BEGIN] = {BEGIN_QUORUM_EPOCH_REQUEST_KEY, BEGIN_VERSION, encode_begin},
    [RAFT_SEND_END] = {END_QUORUM_EPOCH_REQUEST_KEY, END_VERSION, encode_end},
    [RAFT_SEND_FETCH] = {FETCH_REQUEST_KEY, FETCH_VERSION, encode_fetch},
};

void raft_node_note_leader(struct raft_node *n, int32_t id, int32_t epoch, struct str host,
                           uint16_t port)
{
    if (id < 0 || id == n->self.id || epoch < n->core.election.epoch || host.size == 0 || port == 0)
        return;
    free((void *)(uintptr_t)n->leader_place.host.data);
    n->leader_place = (struct raft_place){memory_str(host), port};
    n->leader_place_id = id;
    n->leader_place_epoch = epoch;
}

const struct raft_endpoint *raft_node_endpoint(const struct raft_node *n,
                                               const struct raft_endpoint *endpoints, size_t count)
{
    struct str listener =
        n->own_endpoints ? voter_set_at(n->own_endpoints, 0)->endpoints[0].listener : STR_NULL;

    return raft_endpoint_for(endpoints, count, listener);
}

bool raft_node_address(const struct raft_node *n, int32_t id, struct transport_node *out)
{
    const struct raft_voter *v =
        id == n->self.id ? own_entry(n) : voter_set_find(raft_node_newest_voters(n)->voters, id);
    const struct raft_endpoint *e =
        v ? raft_node_endpoint(n, v->endpoints, v->endpoint_count) : NULL;

    *out = (struct transport_node){.id = id};
    if (RAFT_IS_BOOTSTRAP(id) && RAFT_BOOTSTRAP_INDEX(id) < n->bootstrap_count) {
        out->host = n->bootstrap[RAFT_BOOTSTRAP_INDEX(id)].host;
        out->port = n->bootstrap[RAFT_BOOTSTRAP_INDEX(id)].port;
        return true;
    }
    /* What it says itself is newer than what the voter set does. */
    if (n->leader_place.host.data && id == n->leader_place_id &&
        n->leader_place_epoch == n->core.election.epoch) {
        out->host = n->leader_place.host;
        out->port = n->leader_place.port;
        return true;
    }
    if (!e)
        return false;
    out->host = e->host;
    out->port = e->port;
    return true;
}

static void send_message(struct raft_node *n, const struct raft_message *m)
{
    struct raft_call *c = memory_zalloc(1, sizeof *c);
    struct transport_node to;
    struct writer w;

    c->node = n;
    c->message = *m;
    c->request = (struct transport_request){
        .answered = answered, .api_key = kinds[m->type].key, .api_version = kinds[m->type].version};
    raft_node_address(n, m->to.id, &to); /* a voter without an address: the transport says so */
    writer_init(&w, REQUEST_BYTES_MAX);
    kinds[m->type].encode(n, m, &w);
    CHECK(writer_ok(&w));
    DL_APPEND(n->calls, c);
    transport_send(n->transport, &to, &c->request, writer_take(&w),
                   n->core.timeouts.request_ms * 1000);
}

/* ---- waiting for the election to be durable ---- */

/* One of a kind to a voter: a later one replaces it, for the core has forgotten it. */
void raft_node_hold(struct raft_node *n, const struct raft_message *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;

        while (at < n->held_count &&
               !(n->held[at].type == messages[i].type &&
                 (messages[i].type == RAFT_SEND_FETCH || n->held[at].to.id == messages[i].to.id)))
            at++;
        if (at == n->held_count) {
            CHECK(n->held_count < sizeof n->held / sizeof n->held[0]);
            n->held_count++;
        }
        n->held[at] = messages[i];
    }
}

void raft_node_release_held(struct raft_node *n)
{
    size_t count = n->held_count;

    if (count == 0 || n->persist_busy || n->state != NODE_RUNNING)
        return;
    n->held_count = 0;
    for (size_t i = 0; i < count; i++) /* nothing comes back before this returns */
        if (n->transport && n->held[i].epoch == n->core.election.epoch)
            send_message(n, &n->held[i]);
}

void raft_node_cancel_calls(struct raft_node *n)
{
    struct raft_call *c, *next;

    DL_FOREACH_SAFE(n->calls, c, next)
    {
        transport_cancel(n->transport, &c->request);
        DL_DELETE(n->calls, c);
        free(c);
    }
    n->held_count = 0;
}
