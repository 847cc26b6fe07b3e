#include "broker/forward.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "broker/control.h"
#include "broker/dispatch.h"
#include "broker/principal.h"
#include "broker/shard.h"
#include "protocol/base/check.h"
#include "protocol/messages/add_raft_voter.h"
#include "protocol/messages/alter_partition_reassignments.h"
#include "protocol/messages/create_partitions.h"
#include "protocol/messages/create_topics.h"
#include "protocol/messages/delete_topics.h"
#include "protocol/messages/elect_leaders.h"
#include "protocol/messages/envelope.h"
#include "protocol/messages/list_partition_reassignments.h"
#include "protocol/messages/update_features.h"
#include "protocol/writer.h"

#define RETRY_US    (20 * 1000)
#define TIME_MS_MIN 1000 /* a request that gives no time is tried all the same */
#define TIME_MS_MAX 60000
/* a controller that is cut off is given up before the request is */
#define ATTEMPT_US         (5 * 1000 * 1000)
#define ANSWER_ARENA_BYTES (64 * 1024)
#define ENVELOPE_BYTES_MAX ((size_t)128 << 20)

#define PRINCIPAL_BYTES_MAX 1024

/* Where a request says how long it may take. */
static const struct {
    int16_t key;
    size_t at; /* of an int32_t in the decoded request */
} timeouts[] = {
    {API_CREATE_TOPICS, offsetof(struct create_topics_request, timeout_ms)},
    {API_DELETE_TOPICS, offsetof(struct delete_topics_request, timeout_ms)},
    {API_CREATE_PARTITIONS, offsetof(struct create_partitions_request, timeout_ms)},
    {API_ELECT_LEADERS, offsetof(struct elect_leaders_request, timeout_ms)},
    {API_ALTER_PARTITION_REASSIGNMENTS,
     offsetof(struct alter_partition_reassignments_request, timeout_ms)},
    {API_LIST_PARTITION_REASSIGNMENTS,
     offsetof(struct list_partition_reassignments_request, timeout_ms)},
    {API_UPDATE_FEATURES, offsetof(struct update_features_request, timeout_ms)},
    {API_ADD_RAFT_VOTER, offsetof(struct add_raft_voter_request, timeout_ms)},
};

bool forward_needed(const struct node *n)
{
    return control_leader_id(n->control) != n->options->node_id;
}

/* ---- control loop ---- */

static void home_run(struct task *t)
{
    struct forward *f = (struct forward *)t;

    f->finished(f);
}

static void go_home(struct forward *f)
{
    struct node *n = f->rq->shard->node;

    DL_DELETE(n->forwards, f);
    timer_free(n->env.control_loop, &f->retry);
    f->task.run = home_run;
    loop_post(f->rq->shard->loop, &f->task);
}

static void try_again(struct forward *f)
{
    struct node *n = f->rq->shard->node;

    if (n->forwards_stopped || clock_monotonic_us(n->env.clock) >= f->give_up_us)
        go_home(f);
    else
        timer_start(n->env.control_loop, &f->retry, RETRY_US);
}

/* NOT_CONTROLLER, or nothing readable: another try. */
static enum kerr take_answer(struct forward *f, struct bytes body)
{
    struct envelope_response m;
    struct reader r = reader_of(body.data, body.size);
    enum kerr code = KERR_NOT_CONTROLLER;
    struct arena a;

    arena_init(&a, ANSWER_ARENA_BYTES);
    if (envelope_response_decode(&m, &r, &a, 0)) {
        code = (enum kerr)m.error_code;
        if (code == KERR_NONE && m.response_data.data) {
            f->answer.data = malloc(m.response_data.size + 1);
            if (f->answer.data) {
                memcpy(f->answer.data, m.response_data.data, m.response_data.size);
                f->answer.size = m.response_data.size;
            }
        }
    }
    arena_free(&a);
    return code;
}

static void answered(struct transport_request *r, struct status result, struct bytes body)
{
    struct forward *f = CONTAINER_OF(r, struct forward, request);

    f->asking = false;
    if (status_failed(result) || take_answer(f, body) == KERR_NOT_CONTROLLER)
        try_again(f);
    else
        go_home(f);
}

/* Who asks, as Apache Kafka's brokers write it; nobody says who they are yet. */
static void encode_envelope(const struct forward *f, struct writer *w)
{
    struct principal asker = PRINCIPAL_ANONYMOUS;
    struct envelope_request m;
    struct writer principal;

    writer_init(&principal, PRINCIPAL_BYTES_MAX);
    principal_write(&principal, &asker);
    CHECK(writer_ok(&principal));
    envelope_request_init(&m);
    m.request_data = f->frame;
    m.request_principal = (struct bytes){principal.data, principal.size};
    m.client_host_address = (struct bytes){f->client_address, f->client_address_bytes};
    envelope_request_encode(&m, w, 0);
    writer_free(&principal);
}

static void attempt(struct forward *f)
{
    struct node *n = f->rq->shard->node;
    struct transport_node controller = control_leader(n->control);
    int64_t left_us = f->give_up_us - clock_monotonic_us(n->env.clock);
    struct writer w;

    if (controller.id == n->options->node_id) {
        go_home(f);
        return;
    }
    if (controller.id < 0 || !controller.host.data || !n->env.peers || n->forwards_stopped ||
        left_us <= 0) {
        try_again(f);
        return;
    }
    writer_init(&w, ENVELOPE_BYTES_MAX);
    encode_envelope(f, &w);
    if (!writer_ok(&w)) {
        writer_free(&w);
        go_home(f);
        return;
    }
    f->asking = true;
    /* The controller answers once it has committed, for which it may need our fetches. */
    f->request = (struct transport_request){
        .answered = answered, .api_key = ENVELOPE_REQUEST_KEY, .patient = true};
    transport_send(n->env.peers, &controller, &f->request, writer_take(&w),
                   left_us < ATTEMPT_US ? left_us : ATTEMPT_US);
}

static void retry_fired(struct timer *t)
{
    attempt(CONTAINER_OF(t, struct forward, retry));
}

static void start_run(struct task *t)
{
    struct forward *f = (struct forward *)t;
    struct node *n = f->rq->shard->node;

    timer_init(n->env.control_loop, &f->retry, retry_fired);
    f->give_up_us = clock_monotonic_us(n->env.clock) + f->time_us;
    DL_APPEND(n->forwards, f);
    attempt(f);
}

/* Kafka takes an address only as its 4 or 16 bytes. A client without one is this process itself. */
static void take_client_address(struct forward *f)
{
    static const uint8_t loopback[] = {127, 0, 0, 1};
    const char *host = f->rq->client ? f->rq->client->host : "";

    if (inet_pton(AF_INET6, host, f->client_address) == 1) {
        f->client_address_bytes = 16;
        return;
    }
    f->client_address_bytes = sizeof loopback;
    if (inet_pton(AF_INET, host, f->client_address) != 1)
        memcpy(f->client_address, loopback, sizeof loopback);
}

void forward_send(struct forward *f)
{
    take_client_address(f);
    f->task.run = start_run;
    loop_post(f->rq->shard->node->env.control_loop, &f->task);
}

void forward_controller_changed(struct node *n)
{
    struct forward *f, *next;

    DL_FOREACH_SAFE(n->forwards, f, next)
    {
        if (f->asking)
            transport_cancel(n->env.peers, &f->request);
        f->asking = false;
        timer_stop(n->env.control_loop, &f->retry);
        attempt(f);
    }
}

void forward_stop(struct node *n)
{
    struct forward *f, *next;

    n->forwards_stopped = true;
    DL_FOREACH_SAFE(n->forwards, f, next)
    {
        if (f->asking)
            transport_cancel(n->env.peers, &f->request);
        go_home(f);
    }
}

/* ---- whole requests ---- */

static void request_finished(struct forward *f)
{
    struct request *rq = f->rq;
    uint8_t *answer = f->answer.data;

    if (!answer) {
        rq->handler->handle(rq);
        return;
    }
    request_answer_bytes(rq, (struct bytes){answer, f->answer.size});
    free(answer);
}

static int64_t time_us_of(const struct request *rq)
{
    int64_t time_ms = config_values_integer(rq->shard->node->options->config, "request.timeout.ms");

    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++)
        if (timeouts[i].key == rq->api_key)
            time_ms =
                *(const int32_t *)(const void *)((const uint8_t *)rq->message + timeouts[i].at);
    if (time_ms < TIME_MS_MIN)
        time_ms = TIME_MS_MIN;
    return (time_ms < TIME_MS_MAX ? time_ms : TIME_MS_MAX) * 1000;
}

void forward_request(struct request *rq)
{
    struct forward *f = arena_array(&rq->arena, struct forward, 1);

    if (!f) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    f->rq = rq;
    f->frame = (struct bytes){rq->frame->data, rq->frame->size};
    f->time_us = time_us_of(rq);
    f->finished = request_finished;
    forward_send(f);
}
