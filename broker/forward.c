#include "broker/forward.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "broker/control.h"
#include "broker/dispatch.h"
#include "broker/shard.h"
#include "protocol/messages/envelope.h"
#include "protocol/writer.h"

#define RETRY_US           (20 * 1000)
#define TIME_US            (30 * 1000 * 1000) /* request.timeout.ms of Apache Kafka */
#define ATTEMPT_US         (5 * 1000 * 1000)  /* a controller that is cut off is given up before the request is */
#define ANSWER_ARENA_BYTES (64 * 1024)
#define ENVELOPE_BYTES_MAX ((size_t)128 << 20)

/* DefaultPrincipalData, version 0: type "User", name "ANONYMOUS", no token; no tagged fields. */
static const uint8_t anonymous[] = {0, 0, 5, 'U', 's', 'e', 'r', 10, 'A', 'N', 'O', 'N', 'Y', 'M', 'O', 'U', 'S', 0, 0};

static const uint8_t loopback[] = {127, 0, 0, 1};

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

static void attempt(struct forward *f)
{
    struct node *n = f->rq->shard->node;
    struct transport_node controller = control_leader(n->control);
    int64_t left_us = f->give_up_us - clock_monotonic_us(n->env.clock);
    struct envelope_request m;
    struct writer w;

    if (controller.id == n->options->node_id) {
        go_home(f);
        return;
    }
    if (controller.id < 0 || !controller.host.data || !n->env.peers || n->forwards_stopped || left_us <= 0) {
        try_again(f);
        return;
    }
    envelope_request_init(&m);
    m.request_data = f->frame;
    m.request_principal = (struct bytes){anonymous, sizeof anonymous};
    m.client_host_address = (struct bytes){loopback, sizeof loopback};
    writer_init(&w, ENVELOPE_BYTES_MAX);
    envelope_request_encode(&m, &w, 0);
    if (!writer_ok(&w)) {
        writer_free(&w);
        go_home(f);
        return;
    }
    f->asking = true;
    f->request = (struct transport_request){.answered = answered, .api_key = ENVELOPE_REQUEST_KEY};
    transport_send(n->env.peers, &controller, &f->request, writer_take(&w), left_us < ATTEMPT_US ? left_us : ATTEMPT_US);
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
    f->give_up_us = clock_monotonic_us(n->env.clock) + TIME_US;
    DL_APPEND(n->forwards, f);
    attempt(f);
}

void forward_send(struct forward *f)
{
    f->task.run = start_run;
    loop_post(f->rq->shard->node->env.control_loop, &f->task);
}

void forward_stop(struct node *n)
{
    struct forward *f, *next;

    n->forwards_stopped = true;
    DL_FOREACH_SAFE(n->forwards, f, next) {
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

void forward_request(struct request *rq)
{
    struct forward *f = arena_array(&rq->arena, struct forward, 1);

    if (!f) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    f->rq = rq;
    f->frame = (struct bytes){rq->frame->data, rq->frame->size};
    f->finished = request_finished;
    forward_send(f);
}
