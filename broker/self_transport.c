#include "broker/self_transport.h"

#include <stdlib.h>

#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/frame.h"

struct self_transport {
    struct transport base;
    struct node *node;
    int32_t correlation_id;
};

/* One request on its way: control loop, shard 0, control loop. Outlives the transport_request when
 * that is cancelled. */
struct self_call {
    struct task task;
    struct client client;
    struct self_transport *transport;
    struct transport_request *request; /* NULL: cancelled. Control loop only */
    int16_t api_key, api_version;
    struct bytes_mut body;
    struct status result;
    struct request *rq;            /* answered; holds the answer's bytes */
    struct transport_request peer; /* the same request, when it is for another node */
    bool remote;
};

static void call_free(struct self_call *call)
{
    free(call->body.data);
    free(call);
}

/* ---- on the control loop again ---- */

static void call_returned(struct task *t)
{
    struct self_call *call = (struct self_call *)t;
    struct transport_request *r = call->request;

    if (r) {
        r->link = NULL;
        r->answered(r, call->result, (struct bytes){call->body.data, call->body.size});
    }
    call_free(call);
}

/* ---- on the shard ---- */

/* The answer without length and header replaces the question's bytes. */
static void call_take_answer(struct self_call *call, struct request *rq)
{
    const struct api *api = api_find(call->api_key);
    struct writer *w = &rq->response.writer;
    struct reader r;
    int32_t correlation_id;

    call->result = status_error(KERR_NETWORK_EXCEPTION, rq->refusal ? rq->refusal : "no answer");
    if (rq->refusal || rq->answered_nothing || w->spliced_bytes)
        return;
    r = reader_of(w->data + FRAME_LENGTH_BYTES, w->size - FRAME_LENGTH_BYTES);
    if (!frame_read_response_head(&r, api, call->api_version, &correlation_id))
        return;
    call->body.size = reader_left(&r);
    call->body.data = malloc(call->body.size + 1);
    if (!call->body.data) {
        call->body.size = 0;
        return;
    }
    memcpy(call->body.data, w->data + w->size - call->body.size, call->body.size);
    call->result = STATUS_OK;
}

static void call_answered(struct client *client, struct request *rq)
{
    struct self_call *call = CONTAINER_OF(client, struct self_call, client);

    call_take_answer(call, rq);
    call->rq = rq;
    request_free(rq);
    call->task.run = call_returned;
    loop_post(call->transport->node->env.control_loop, &call->task);
}

static struct frame *call_frame(struct self_call *call)
{
    const struct api *api = api_find(call->api_key);
    struct request_head head = {call->api_key, call->api_version, call->transport->correlation_id++,
                                STR("self")};
    struct frame *frame = NULL;
    struct frame_start start;
    struct writer w;

    writer_init(&w, call->body.size + 256);
    start = frame_begin_request(&w, api, &head);
    write_raw(&w, call->body.data, call->body.size);
    if (frame_end(&w, start))
        frame = malloc(sizeof *frame + w.size - FRAME_LENGTH_BYTES);
    if (frame) {
        frame->size = w.size - FRAME_LENGTH_BYTES;
        memcpy(frame->data, w.data + FRAME_LENGTH_BYTES, frame->size);
    }
    writer_free(&w);
    free(call->body.data);
    call->body = (struct bytes_mut){0};
    return frame;
}

static void call_serve(struct task *t)
{
    struct self_call *call = (struct self_call *)t;
    struct frame *frame = call_frame(call);
    struct request *rq = frame ? request_create(&call->client, frame) : NULL;

    if (rq) {
        request_dispatch(rq);
        return;
    }
    call->result = status_error(KERR_NETWORK_EXCEPTION, "no memory for a request to ourselves");
    call->task.run = call_returned;
    loop_post(call->transport->node->env.control_loop, &call->task);
}

/* ---- to another node ---- */

static void peer_answered(struct transport_request *r, struct status result, struct bytes body)
{
    struct self_call *call = CONTAINER_OF(r, struct self_call, peer);
    struct transport_request *request = call->request;

    call_free(call);
    request->link = NULL;
    request->answered(request, result, body);
}

static void peer_send(struct self_call *call, const struct transport_node *node, int64_t timeout_us)
{
    struct transport *peers = call->transport->node->env.peers;
    struct bytes_mut body = call->body;

    call->body = (struct bytes_mut){0};
    call->remote = peers != NULL;
    if (peers) {
        call->peer = (struct transport_request){
            .answered = peer_answered, .api_key = call->api_key, .api_version = call->api_version};
        transport_send(peers, node, &call->peer, body, timeout_us);
        return;
    }
    free(body.data);
    call->result = status_error(KERR_NETWORK_EXCEPTION, "no connection to that node");
    call->task.run = call_returned;
    loop_post(call->transport->node->env.control_loop, &call->task);
}

/* ---- the interface ---- */

static void self_send(struct transport *base, const struct transport_node *node,
                      struct transport_request *r, struct bytes_mut body, int64_t timeout_us)
{
    struct self_transport *t = (struct self_transport *)base;
    struct self_call *call = calloc(1, sizeof *call);

    if (!call) {
        free(body.data);
        abort();
    }
    call->transport = t;
    call->request = r;
    call->api_key = r->api_key;
    call->api_version = r->api_version;
    call->body = body;
    call->client = (struct client){.answered = call_answered,
                                   .shard = t->node->shards[0],
                                   .listener = STR("CONTROLLER"),
                                   .host = "self",
                                   .api_listener = API_ON_CONTROLLER};
    r->link = call;
    if (node->id != t->node->options->node_id) {
        peer_send(call, node, timeout_us);
        return;
    }
    call->task.run = call_serve;
    loop_post(t->node->shards[0]->loop, &call->task);
}

static void self_cancel(struct transport *base, struct transport_request *r)
{
    struct self_call *call = r->link;

    r->link = NULL;
    if (!call)
        return;
    if (call->remote) {
        transport_cancel(((struct self_transport *)base)->node->env.peers, &call->peer);
        call_free(call);
    } else {
        call->request = NULL; /* on its way: it frees itself */
    }
}

static const struct transport_ops self_ops = {.send = self_send, .cancel = self_cancel};

struct self_transport *self_transport_create(struct node *n)
{
    struct self_transport *t = calloc(1, sizeof *t);

    if (t) {
        t->base.ops = &self_ops;
        t->node = n;
    }
    return t;
}

struct transport *self_transport_base(struct self_transport *t)
{
    return &t->base;
}

void self_transport_free(struct self_transport *t)
{
    free(t);
}
