/* What other nodes say to a Raft node: answers to its fetches, votes and snapshot pieces, and
 * requests, from nodes that know the protocol and mean no good. The node follows, fails or goes on,
 * but what it has told its listener stays in order, and it ends cleanly.
 *
 * Input: a list of moves, each a byte that says which, then its bytes; see the table at the end. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "protocol/base/check.h"
#include "protocol/messages/fetch.h"
#include "protocol/messages/fetch_snapshot.h"
#include "protocol/record_batch_build.h"
#include "replication/raft_node.h"
#include "storage/files_sim.h"
#include "tests/unit/replication/test_loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ASKED_MAX   16
#define REPLIES_MAX 64

struct input {
    const uint8_t *at, *end;
};

static uint8_t next_byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static struct bytes next_bytes(struct input *in)
{
    size_t size = next_byte(in);
    struct bytes b = {in->at,
                      size < (size_t)(in->end - in->at) ? size : (size_t)(in->end - in->at)};

    in->at += b.size;
    return b;
}

struct peer_world {
    struct test_loop loop;
    struct files *files;
    struct transport transport;
    struct transport_request *asked[ASKED_MAX]; /* under way, oldest first */
    size_t asked_count;
    struct raft_node *node;
    int64_t next_offset; /* that the listener expects, at least */
    bool failed, stopped;
    size_t requests_under_way;
};

/* ---- the network ---- */

static void take_question(struct transport *t, const struct transport_node *to,
                          struct transport_request *r, struct bytes_mut body, int64_t timeout_us)
{
    struct peer_world *w = CONTAINER_OF(t, struct peer_world, transport);

    (void)to;
    (void)timeout_us;
    free(body.data);
    CHECK(w->asked_count < ASKED_MAX);
    w->asked[w->asked_count++] = r;
}

static void forget(struct peer_world *w, size_t index)
{
    memmove(&w->asked[index], &w->asked[index + 1],
            (--w->asked_count - index) * sizeof w->asked[0]);
}

static void cancel_question(struct transport *t, struct transport_request *r)
{
    struct peer_world *w = CONTAINER_OF(t, struct peer_world, transport);
    size_t index = 0;

    while (w->asked[index] != r)
        CHECK(++index < w->asked_count);
    forget(w, index);
}

static const struct transport_ops ops = {take_question, cancel_question};

static void answer(struct peer_world *w, size_t index, struct status result, struct bytes body)
{
    struct transport_request *r = w->asked[index];
    uint8_t *own = malloc(body.size + 1); /* its own block, so that reading past it is seen */

    CHECK(own);
    if (body.size)
        memcpy(own, body.data, body.size);
    forget(w, index);
    r->answered(r, result,
                status_failed(result) ? (struct bytes){NULL, 0} : (struct bytes){own, body.size});
    free(own);
}

/* ---- the listener ---- */

static void on_snapshot_begin(void *arg, struct raft_snapshot_id id, int64_t timestamp_ms)
{
    (void)timestamp_ms;
    ((struct peer_world *)arg)->next_offset = id.end_offset;
}

static void on_snapshot_records(void *arg, const struct bytes *values, size_t count)
{
    (void)arg;
    (void)values;
    (void)count;
}

static void on_snapshot_end(void *arg)
{
    (void)arg;
}

static void on_commit(void *arg, const struct raft_commit *c)
{
    struct peer_world *w = arg;

    CHECK(c->base_offset >= w->next_offset);
    CHECK(c->last_offset >= c->base_offset);
    w->next_offset = c->last_offset + 1;
}

static void on_caught_up(void *arg, int64_t next_offset)
{
    (void)arg;
    (void)next_offset;
}

static void on_leader_change(void *arg, int32_t epoch, int32_t leader_id, bool we_lead)
{
    (void)arg;
    (void)epoch;
    (void)leader_id;
    (void)we_lead;
}

static void on_failed(void *arg, struct status why)
{
    struct peer_world *w = arg;

    (void)why;
    CHECK(!w->failed); /* told once */
    w->failed = true;
}

/* ---- answers that make sense, but for what is in them ---- */

/* Batches behind our log: plain or control records, of one value or several. */
static void build_records(struct peer_world *w, struct input *in, int32_t epoch, struct writer *out)
{
    struct record_batch_builder builder;
    int64_t offset = raft_node_end_offset(w->node);

    record_batch_builder_init(&builder);
    for (int left = next_byte(in) % 4; left > 0; left--) {
        struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
        uint8_t kind = next_byte(in);
        struct bytes value = next_bytes(in);
        struct bytes_mut batch;
        struct status st;

        head.base_offset = offset;
        head.leader_epoch = epoch;
        head.attributes = kind & 1 ? RECORD_BATCH_CONTROL : 0;
        record_batch_builder_begin(&builder, &head);
        for (int i = 0; i <= kind >> 6; i++) {
            if (kind & 1)
                record_batch_builder_append_control(&builder, (enum control_type)((kind >> 1) % 8),
                                                    0, value);
            else
                record_batch_builder_append(&builder, &(struct record_content){.value = value});
        }
        st = record_batch_builder_finish(&builder, NULL, &batch);
        if (status_failed(st))
            continue;
        write_raw(out, batch.data, batch.size);
        offset = record_batch_last_offset(batch.data) + 1;
    }
    record_batch_builder_free(&builder);
}

static void answer_fetch(struct peer_world *w, struct input *in, size_t index)
{
    uint8_t flags = next_byte(in);
    int32_t epoch = raft_node_epoch(w->node) + next_byte(in) % 3;
    struct fetch_response_partition_data partition;
    struct fetch_response_fetchable_topic_response topic = {
        .topic_id = uuid_from_number(1), .partitions = &partition, .partitions_count = 1};
    struct fetch_response_node_endpoint endpoint = {
        .node_id = 9, .host = STR("leader"), .port = 9093};
    struct fetch_response m;
    struct writer records, body;

    writer_init(&records, (size_t)1 << 20);
    writer_init(&body, (size_t)2 << 20);
    fetch_response_init(&m);
    fetch_response_partition_data_init(&partition);
    build_records(w, in, epoch, &records);
    partition.error_code = flags & 1 ? (int16_t)next_byte(in) : 0;
    partition.high_watermark = raft_node_end_offset(w->node) + next_byte(in) - 4;
    partition.current_leader.leader_id = flags & 2 ? (int8_t)next_byte(in) : 9;
    partition.current_leader.leader_epoch = epoch;
    partition.diverging_epoch.epoch = partition.snapshot_id.epoch = -1;
    partition.diverging_epoch.end_offset = partition.snapshot_id.end_offset = -1;
    if (flags & 4) {
        partition.diverging_epoch.epoch = (int8_t)next_byte(in);
        partition.diverging_epoch.end_offset = (int8_t)next_byte(in);
    }
    if (flags & 8) {
        partition.snapshot_id.epoch = (int8_t)next_byte(in);
        partition.snapshot_id.end_offset = (int8_t)next_byte(in);
    }
    partition.records = (struct records){.data = records.size ? records.data : (const uint8_t *)"",
                                         .size = records.size};
    m.responses = &topic;
    m.responses_count = 1;
    m.node_endpoints = &endpoint;
    m.node_endpoints_count = flags & 16 ? 0 : 1;
    fetch_response_encode(&m, &body, 18);
    if (writer_ok(&body))
        answer(w, index, STATUS_OK, (struct bytes){body.data, body.size});
    writer_free(&body);
    writer_free(&records);
}

static void answer_piece(struct peer_world *w, struct input *in, size_t index)
{
    struct bytes piece = next_bytes(in);
    struct fetch_snapshot_response_partition_snapshot partition = {
        .error_code = next_byte(in) % 8 == 7 ? (int16_t)next_byte(in) : 0,
        .snapshot_id = {(int8_t)next_byte(in), (int8_t)next_byte(in)},
        .current_leader = {9, raft_node_epoch(w->node)},
        .size = next_byte(in),
        .position = next_byte(in),
        .unaligned_records = {.data = piece.data, .size = piece.size},
    };
    struct fetch_snapshot_response_topic_snapshot topic = {STR("__cluster_metadata"), &partition,
                                                           1};
    struct fetch_snapshot_response m;
    struct writer body;

    fetch_snapshot_response_init(&m);
    m.topics = &topic;
    m.topics_count = 1;
    writer_init(&body, 4096);
    fetch_snapshot_response_encode(&m, &body, 1);
    if (writer_ok(&body))
        answer(w, index, STATUS_OK, (struct bytes){body.data, body.size});
    writer_free(&body);
}

/* ---- moves ---- */

static void pass_time(struct peer_world *w, struct input *in)
{
    test_loop_run(&w->loop, next_byte(in) * 8);
}

static void answer_well(struct peer_world *w, struct input *in)
{
    size_t index = w->asked_count ? next_byte(in) % w->asked_count : 0;

    if (w->asked_count == 0)
        return;
    if (w->asked[index]->api_key == FETCH_REQUEST_KEY)
        answer_fetch(w, in, index);
    else if (w->asked[index]->api_key == FETCH_SNAPSHOT_REQUEST_KEY)
        answer_piece(w, in, index);
    else
        answer(w, index, STATUS_OK, next_bytes(in));
}

static void answer_anything(struct peer_world *w, struct input *in)
{
    if (w->asked_count)
        answer(w, next_byte(in) % w->asked_count, STATUS_OK, next_bytes(in));
}

static void answer_nothing(struct peer_world *w, struct input *in)
{
    struct status why = {KERR_NETWORK_EXCEPTION, next_byte(in) & 1 ? ECONNREFUSED : ECONNRESET,
                         "test"};

    if (w->asked_count)
        answer(w, next_byte(in) % w->asked_count, why, (struct bytes){NULL, 0});
}

static void request_done(struct raft_request *r)
{
    struct peer_world *w = (struct peer_world *)(uintptr_t)r->position;

    w->requests_under_way--;
    free(r->records);
    free(r->replicas);
    free(r);
}

static void ask(struct peer_world *w, struct input *in)
{
    static const struct raft_endpoint place = {{"CONTROLLER", 10}, {"somewhere", 9}, 9093};
    struct raft_request *r = calloc(1, sizeof *r);
    uint8_t flags = next_byte(in);

    CHECK(r);
    if (w->requests_under_way == REPLIES_MAX) {
        free(r);
        return;
    }
    r->type = (enum raft_request_type)(next_byte(in) % RAFT_REQUEST_TYPES);
    r->sender = (struct raft_replica_key){(int8_t)next_byte(in), uuid_from_number(next_byte(in))};
    r->voter = (struct raft_replica_key){flags & 1 ? 2 : (int8_t)next_byte(in),
                                         uuid_from_number(next_byte(in))};
    r->epoch = raft_node_epoch(w->node) + next_byte(in) % 4 - 1;
    r->last_epoch = (int8_t)next_byte(in);
    r->offset = (int8_t)next_byte(in);
    r->pre_vote = flags & 2;
    r->high_watermark = flags & 4 ? INT64_MAX : 0;
    r->wait_us = flags & 8 ? 100000 : 0;
    r->max_bytes = 1000;
    r->endpoints = &place;
    r->endpoint_count = flags & 16 ? 1 : 0;
    r->kraft_version_max = 1;
    if (r->type == RAFT_ASKED_SNAPSHOT) /* position is where we keep ourselves: another piece
                                         * than the first is asked for in the target of snapshots */
        r->type = RAFT_ASKED_QUORUM;
    r->position = (int64_t)(uintptr_t)w;
    r->done = request_done;
    w->requests_under_way++;
    raft_node_request(w->node, r);
}

static void (*const moves[])(struct peer_world *, struct input *) = {
    pass_time, answer_well, answer_well, answer_anything, answer_nothing, ask};

static void on_stopped(void *arg)
{
    ((struct peer_world *)arg)->stopped = true;
}

static bool begin(struct peer_world *w)
{
    struct raft_endpoint here = {STR("CONTROLLER"), STR("here"), 9093};
    struct transport_node bootstrap = {-1, STR("there"), 9093};
    struct log_recovery_report report;
    struct raft_node_args args = {
        .loop = &w->loop.loop,
        .pool = &w->loop.pool,
        .files = w->files,
        .random = &w->loop.random,
        .transport = &w->transport,
        .directory = "/__cluster_metadata-0",
        .self = {2, uuid_from_number(22)},
        .cluster_id = STR("cluster"),
        .endpoints = &here,
        .endpoint_count = 1,
        .bootstrap = &bootstrap,
        .bootstrap_count = 1,
        .auto_join = true,
        .trust = LOG_TRUST_SAME_BOOT,
        .timeouts = {.election_ms = 500,
                     .fetch_ms = 1000,
                     .request_ms = 2000,
                     .retry_backoff_ms = 20},
        .segment_bytes = 1 << 16,
        .listener = {w, on_snapshot_begin, on_snapshot_records, on_snapshot_end, on_commit,
                     on_caught_up, on_leader_change, on_failed},
    };

    return !status_failed(raft_node_open(&args, &w->node, &report));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct peer_world *w = calloc(1, sizeof *w);
    struct input in = {data, data + size};

    CHECK(w);
    test_loop_init(&w->loop);
    w->files = files_sim_create(&w->loop.clock);
    w->transport.ops = &ops;
    CHECK(begin(w));
    raft_node_start(w->node);
    test_loop_run(&w->loop, 1);
    for (int left = 200; left > 0 && in.at < in.end; left--) {
        moves[next_byte(&in) % (sizeof moves / sizeof moves[0])](w, &in);
        test_loop_run(&w->loop, 1);
    }
    raft_node_stop(w->node, on_stopped, w);
    while (!w->stopped)
        test_loop_run(&w->loop, 10);
    CHECK(w->requests_under_way == 0);
    raft_node_close(w->node, true);
    files_sim_free(w->files);
    free(w);
    return 0;
}
