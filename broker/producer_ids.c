#include "broker/producer_ids.h"

#include <stdlib.h>

#include "broker/control.h"
#include "broker/shard.h"
#include "protocol/messages/allocate_producer_ids.h"

#define ALLOCATE_TIMEOUT_US (5 * 1000 * 1000)
#define ANSWER_ARENA_BYTES  (64 * 1024)

struct producer_ids {
    struct node *node;
    struct transport *transport;
    int64_t next, end; /* the block */
    bool asking;
    bool stopped;
    struct transport_request request;
    struct producer_id_call *first, *last; /* waiting for a block */
};

struct producer_ids *producer_ids_create(struct node *n, struct transport *transport)
{
    struct producer_ids *p = calloc(1, sizeof *p);

    if (p) {
        p->node = n;
        p->transport = transport;
    }
    return p;
}

void producer_ids_free(struct producer_ids *p)
{
    if (p->asking)
        transport_cancel(p->transport, &p->request);
    free(p);
}

static void call_home(struct task *t)
{
    struct producer_id_call *call = (struct producer_id_call *)t;

    call->finished(call);
}

static void call_return(struct producer_id_call *call, enum kerr code, int64_t id)
{
    call->code = code;
    call->producer_id = id;
    call->task.run = call_home;
    loop_post(call->rq->shard->loop, &call->task);
}

static void ids_ask(struct producer_ids *p);

/* Serves those who wait from the block; with code, fails them all. */
static void ids_serve(struct producer_ids *p, enum kerr code)
{
    struct producer_id_call *call;

    while ((call = p->first) && (code || p->next < p->end)) {
        p->first = call->next;
        if (code)
            call_return(call, code, -1);
        else
            call_return(call, KERR_NONE, p->next++);
    }
    if (p->first)
        ids_ask(p);
}

void producer_ids_stop(struct producer_ids *p)
{
    p->stopped = true;
    if (p->asking)
        transport_cancel(p->transport, &p->request);
    p->asking = false;
    ids_serve(p, KERR_COORDINATOR_LOAD_IN_PROGRESS);
}

static enum kerr ids_take_block(struct producer_ids *p, struct bytes body)
{
    struct allocate_producer_ids_response m;
    enum kerr code = KERR_COORDINATOR_LOAD_IN_PROGRESS;
    struct arena arena;
    struct reader r;

    arena_init(&arena, ANSWER_ARENA_BYTES);
    r = reader_of(body.data, body.size);
    if (allocate_producer_ids_response_decode(&m, &r, &arena, 0) && m.error_code == KERR_NONE &&
        m.producer_id_len > 0) {
        p->next = m.producer_id_start;
        p->end = m.producer_id_start + m.producer_id_len;
        code = KERR_NONE;
    }
    arena_free(&arena);
    return code;
}

static void ids_answered(struct transport_request *request, struct status result, struct bytes body)
{
    struct producer_ids *p = CONTAINER_OF(request, struct producer_ids, request);
    enum kerr code = KERR_COORDINATOR_LOAD_IN_PROGRESS;

    p->asking = false;
    if (!status_failed(result))
        code = ids_take_block(p, body);
    ids_serve(p, code);
}

static void ids_ask(struct producer_ids *p)
{
    struct transport_node controller = control_leader(p->node->control);
    struct allocate_producer_ids_request m;
    struct writer w;

    if (p->asking)
        return;
    p->asking = true;
    allocate_producer_ids_request_init(&m);
    m.broker_id = p->node->options->node_id;
    m.broker_epoch = control_broker_epoch(p->node->control);
    writer_init(&w, 1024);
    allocate_producer_ids_request_encode(&m, &w, 0);
    p->request =
        (struct transport_request){.answered = ids_answered, .api_key = API_ALLOCATE_PRODUCER_IDS};
    transport_send(p->transport, &controller, &p->request, writer_take(&w), ALLOCATE_TIMEOUT_US);
}

static void call_submit(struct task *t)
{
    struct producer_id_call *call = (struct producer_id_call *)t;
    struct producer_ids *p = control_producer_ids(call->rq->shard->node->control);

    call->next = NULL;
    if (p->first)
        p->last->next = call;
    else
        p->first = call;
    p->last = call;
    if (!p->asking)
        ids_serve(p, p->stopped ? KERR_COORDINATOR_LOAD_IN_PROGRESS : KERR_NONE);
}

void producer_id_call(struct producer_id_call *call)
{
    call->task.run = call_submit;
    loop_post(call->rq->shard->node->env.control_loop, &call->task);
}
