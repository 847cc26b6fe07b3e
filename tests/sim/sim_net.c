#include "tests/sim/sim_net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "broker/shard.h"
#include "protocol/base/check.h"
#include "protocol/frame.h"
#include "tests/sim/sim_connection.h"
#include "tests/sim/sim_world.h"

#define USUAL_DELAY_US_MAX 300
#define RESET_US_MAX       500000  /* until a sender hears that its connection broke */
#define LATE_US_MAX        1000000 /* what a cut held comes so long after its end */
#define HEAD_BYTES         256

enum call_stage { CALL_GOING, CALL_ARRIVED, CALL_COMING, CALL_OVER };

/* A connection that has carried a request to a shard, and waits for the next. */
struct sim_link {
    struct sim_link *prev, *next;
    unsigned machine;
    uint16_t port;
    uint64_t life; /* of the process there */
    size_t shard;
    bool is_node; /* what the other end has learnt of the sender */
    int32_t node_id;
};

/* The news that a free link was closed, on its way to the other end. */
struct sim_farewell {
    struct sim_farewell *prev, *next;
    struct sim_net *net;
    unsigned from_machine, to_machine;
    uint64_t life; /* of the process there */
    size_t shard;
    int32_t node_id;
    int64_t at_us; /* SIM_NEVER: it arrived */
    struct task hear;
    struct shard *heard_by; /* once the task is posted */
};

/* All of it is the simulator's memory, but for `rq`. */
struct sim_call {
    struct client client; /* first: the broker's end */
    struct sim_call *prev, *next;
    struct sim_net *net;
    struct sim_peers *from;            /* NULL: its process is gone */
    struct transport_request *request; /* NULL: cancelled, or told */
    unsigned from_machine, to_machine;
    uint16_t port;
    int16_t key, version;
    struct bytes_mut question, bytes; /* owned; bodies: what was asked, what is answered */
    enum call_stage stage;
    int64_t at_us; /* it arrives, there or here; SIM_NEVER: held by a cut, or lost */
    bool held;
    int64_t deadline_us;
    int64_t hang_up_us;    /* the other end hears that the sender closed; SIM_NEVER: it does not */
    struct sim_link *link; /* owned; NULL: it is to be connected */
    struct sim_node *to;   /* of stage ARRIVED: the process */
    struct request *rq;    /* likewise, once dispatched; its shard's */
    struct task serve, hang_up, tell;
    bool serve_posted, hang_up_posted, tell_posted;
    struct status result;
};

static struct sim_net *of_runner(struct sim_runner *r)
{
    return CONTAINER_OF(r, struct sim_net, runner);
}

static int64_t now_us(const struct sim_net *net)
{
    return net->runner.sched->now_us;
}

/* To be called by whatever is called by others and touches calls or farewells: their times are what
 * the next step waits for. */
static void changed(struct sim_net *net)
{
    sim_runner_changed(&net->runner);
}

static int64_t delay_us(struct sim_net *net)
{
    return 1 + (int64_t)sim_random_below(&net->random, (uint64_t)net->delay_us_max);
}

static void call_free(struct sim_call *c)
{
    DL_DELETE(c->net->calls, c);
    free(c->link);
    free(c->question.data);
    free(c->bytes.data);
    free(c);
}

/* When nobody has anything to do with it any more. */
static void call_maybe_free(struct sim_call *c)
{
    const bool awaited = c->request && c->deadline_us != SIM_NEVER;

    if (c->stage == CALL_OVER && !awaited && !c->serve_posted && !c->tell_posted &&
        !c->hang_up_posted)
        call_free(c);
}

/* ---- links ---- */

static struct sim_link *take_link(struct sim_peers *p, unsigned machine, uint16_t port)
{
    struct sim_link *l;

    DL_FOREACH(p->links, l)
    if (l->machine == machine && l->port == port) {
        DL_DELETE(p->links, l);
        return l;
    }
    return NULL;
}

/* An answer came: the link is free. Any other end closes it. */
static void give_link_back(struct sim_call *c)
{
    if (!c->from || !c->link)
        return;
    c->link->is_node = c->client.is_node;
    c->link->node_id = c->client.node_id;
    DL_APPEND(c->from->links, c->link);
    c->link = NULL;
}

/* Who is cut off says nothing; what others make of that is their deadlines' business. */
static void say_farewell(struct sim_net *net, unsigned from, const struct sim_link *l)
{
    struct sim_farewell *f;

    if (!l->is_node || net->cut[from][l->machine])
        return;
    f = calloc(1, sizeof *f);
    CHECK(f != NULL);
    *f = (struct sim_farewell){.net = net,
                               .from_machine = from,
                               .to_machine = l->machine,
                               .life = l->life,
                               .shard = l->shard,
                               .node_id = l->node_id,
                               .at_us = now_us(net) + delay_us(net)};
    DL_APPEND(net->farewells, f);
}

static void drop_links(struct sim_peers *p)
{
    struct sim_link *l, *next;

    DL_FOREACH_SAFE(p->links, l, next)
    {
        say_farewell(p->net, p->node->machine->index, l);
        free(l);
    }
    p->links = NULL;
}

/* ---- back at the sender ---- */

static void tell_run(struct task *t)
{
    struct sim_call *c = CONTAINER_OF(t, struct sim_call, tell);
    struct transport_request *r = c->request;
    bool good = !status_failed(c->result);

    changed(c->net);
    c->request = NULL;
    c->tell_posted = false;
    if (good)
        give_link_back(c);
    if (r) {
        r->link = NULL;
        r->answered(r, c->result,
                    good ? (struct bytes){c->bytes.data, c->bytes.size} : (struct bytes){NULL, 0});
    }
    call_maybe_free(c);
}

static void tell(struct sim_call *c, struct status result)
{
    c->deadline_us = SIM_NEVER;
    if (!c->request || c->tell_posted)
        return;
    c->result = result;
    c->tell.run = tell_run;
    c->tell_posted = true;
    loop_post(&c->from->loop->base, &c->tell);
}

/* ---- on the wire ---- */

/* Sends the call on its way, in the direction that its stage says; false: it is lost. */
static bool travel(struct sim_call *c, unsigned from, unsigned to)
{
    struct sim_net *net = c->net;

    c->held = net->cut[from][to];
    c->at_us = c->held ? SIM_NEVER : now_us(net) + delay_us(net);
    return c->held || sim_random_below(&net->random, 1000) >= net->loss_permille;
}

/* The connection broke; its sender hears of that, or only of its own deadline. */
static void lose(struct sim_call *c)
{
    if (sim_random_chance(&c->net->random, 50)) {
        c->stage = CALL_OVER;
        /* let go, now or when it gives up */
        c->at_us = c->deadline_us == SIM_NEVER ? now_us(c->net) : SIM_NEVER;
        return;
    }
    free(c->bytes.data);
    c->bytes = (struct bytes_mut){0};
    c->stage = CALL_COMING;
    c->at_us = now_us(c->net) + (int64_t)sim_random_below(&c->net->random, RESET_US_MAX);
    c->result = (struct status){KERR_NETWORK_EXCEPTION, ECONNRESET, "the connection broke"};
}

/* The other machine's kernel says so; or its process, by closing. */
static void refuse(struct sim_call *c, int sys_errno)
{
    free(c->bytes.data);
    c->bytes = (struct bytes_mut){0};
    c->rq = NULL;
    c->stage = CALL_COMING;
    c->result = (struct status){KERR_NETWORK_EXCEPTION, sys_errno,
                                sys_errno == ECONNREFUSED ? "connect to a peer"
                                                          : "the peer closed the connection"};
    if (!travel(c, c->to_machine, c->from_machine))
        lose(c);
}

static void answer(struct sim_call *c)
{
    c->stage = CALL_COMING;
    c->result = STATUS_OK;
    sim_trace_say(c->net->runner.sched->trace, "   %u answers %u: %s v%d, %zu bytes", c->to_machine,
                  c->from_machine, api_find(c->key)->name, c->version, c->bytes.size);
    if (c->net->sees_answer)
        c->net->sees_answer(c->net->world,
                            &(struct sim_message){c->from_machine,
                                                  c->to_machine,
                                                  c->key,
                                                  c->version,
                                                  {c->question.data, c->question.size},
                                                  {c->bytes.data, c->bytes.size}});
    if (!travel(c, c->to_machine, c->from_machine))
        lose(c);
}

/* ---- at the other end, on its shard's loop ---- */

static bool take_answer(struct sim_call *c, const struct response *response)
{
    struct sim_heap *broker;
    struct reader r;
    int32_t correlation_id;
    size_t size, head;
    uint8_t *frame = sim_response_bytes(response, &size);

    if (!frame)
        return false;
    r = reader_of(frame + FRAME_LENGTH_BYTES, size - FRAME_LENGTH_BYTES);
    if (!frame_read_response_head(&r, api_find(c->key), c->version, &correlation_id)) {
        free(frame);
        return false;
    }
    head = size - reader_left(&r);
    broker = sim_heap_switch(NULL);
    c->bytes = (struct bytes_mut){malloc(size - head + 1), size - head};
    CHECK(c->bytes.data != NULL);
    sim_heap_switch(broker);
    memcpy(c->bytes.data, frame + head, size - head);
    free(frame);
    return true;
}

static void answered(struct client *client, struct request *rq)
{
    struct sim_call *c = (struct sim_call *)client;
    bool good = !rq->refusal && !rq->answered_nothing && take_answer(c, &rq->response);

    changed(c->net);
    if (rq->refusal)
        sim_trace_say(c->net->runner.sched->trace,
                      "machine %u closed a connection of machine %u: %s", c->to_machine,
                      c->from_machine, rq->refusal);
    request_free(rq);
    c->rq = NULL;
    if (good)
        answer(c);
    else
        refuse(c, ECONNRESET);
}

static struct frame *request_frame(struct sim_call *c)
{
    struct request_head head = {c->key, c->version, 1, STR("peer")};
    struct frame_start start;
    struct frame *frame;
    struct writer w;

    writer_init(&w, c->question.size + HEAD_BYTES);
    start = frame_begin_request(&w, api_find(c->key), &head);
    write_raw(&w, c->question.data, c->question.size);
    CHECK(frame_end(&w, start));
    frame = malloc(sizeof *frame + w.size - FRAME_LENGTH_BYTES);
    CHECK(frame != NULL);
    frame->size = w.size - FRAME_LENGTH_BYTES;
    memcpy(frame->data, w.data + FRAME_LENGTH_BYTES, frame->size);
    writer_free(&w);
    return frame;
}

static void serve_run(struct task *t)
{
    struct sim_call *c = CONTAINER_OF(t, struct sim_call, serve);
    struct frame *frame;

    changed(c->net);
    c->serve_posted = false;
    if (c->stage != CALL_ARRIVED) { /* the shard has stopped meanwhile */
        call_maybe_free(c);
        return;
    }
    frame = request_frame(c);
    c->rq = request_create(&c->client, frame);
    CHECK(c->rq != NULL);
    request_dispatch(c->rq);
}

static void hang_up_run(struct task *t)
{
    struct sim_call *c = CONTAINER_OF(t, struct sim_call, hang_up);
    struct request *rq = c->rq;

    changed(c->net);
    c->hang_up_posted = false;
    if (c->stage == CALL_ARRIVED && rq) {
        c->rq = NULL;
        c->stage = CALL_OVER;
        c->at_us = SIM_NEVER;
        client_lost(&c->client);
        request_abandon(rq);
    }
    call_maybe_free(c);
}

/* ---- arrivals ---- */

static struct sim_link *connect_to(struct sim_call *c, const struct sim_node *to)
{
    struct sim_link *l = malloc(sizeof *l);

    CHECK(l != NULL);
    *l = (struct sim_link){.machine = c->to_machine,
                           .port = c->port,
                           .life = to->machine->attempts,
                           .shard = sim_random_below(&c->net->random, to->node->shard_count)};
    return l;
}

static void arrive(struct sim_call *c)
{
    struct sim_net *net = c->net;
    struct sim_node *to = net->world->machines[c->to_machine].node;
    bool controller = c->port == SIM_CONTROLLER_PORT;
    struct shard *shard;

    c->at_us = SIM_NEVER;
    if (net->powerless[c->to_machine]) {
        c->stage = CALL_OVER;
        return;
    }
    /* brokers listen when they are ready, as in broker/server.c */
    if (!to || !to->node || (!controller && !to->ready)) {
        refuse(c, ECONNREFUSED);
        return;
    }
    if (c->link && c->link->life != to->machine->attempts) {
        refuse(c, ECONNRESET); /* the process that it led to is gone */
        return;
    }
    if (!c->link)
        c->link = connect_to(c, to);
    shard = to->node->shards[c->link->shard];
    if (shard->closing) {
        refuse(c, ECONNREFUSED);
        return;
    }
    c->stage = CALL_ARRIVED;
    c->to = to;
    c->client = (struct client){
        .answered = answered,
        .shard = shard,
        .is_node = c->link->is_node,
        .node_id = c->link->node_id,
        .listener = controller ? STR("CONTROLLER") : STR("PLAINTEXT"),
        .host = "sim",
        .api_listener = controller ? API_ON_CONTROLLER : API_ON_BROKER,
    };
    c->serve.run = serve_run;
    c->serve_posted = true;
    loop_post(shard->loop, &c->serve);
}

/* The sender's connection closes: the other end hears of it, some time. */
static void close_sender(struct sim_call *c)
{
    if (c->stage == CALL_GOING || c->stage == CALL_ARRIVED)
        c->hang_up_us = c->net->cut[c->from_machine][c->to_machine]
                            ? SIM_NEVER
                            : now_us(c->net) + delay_us(c->net);
}

static void hang_up(struct sim_call *c)
{
    c->hang_up_us = SIM_NEVER;
    if (c->stage == CALL_GOING) {
        /* not before what was sent */
        c->hang_up_us = c->at_us == SIM_NEVER ? SIM_NEVER : c->at_us + 1;
        return;
    }
    if (c->stage != CALL_ARRIVED || c->hang_up_posted)
        return;
    c->hang_up.run = hang_up_run;
    c->hang_up_posted = true;
    loop_post(c->client.shard->loop, &c->hang_up);
}

static void on_arrival(struct sim_call *c)
{
    if (c->stage == CALL_GOING) {
        arrive(c);
        return;
    }
    c->at_us = SIM_NEVER;
    if (c->stage == CALL_COMING)
        tell(c, c->result);
    c->stage = CALL_OVER;
}

static void farewell_free(struct sim_net *net, struct sim_farewell *f)
{
    DL_DELETE(net->farewells, f);
    free(f);
}

static void hear_run(struct task *t)
{
    struct sim_farewell *f = CONTAINER_OF(t, struct sim_farewell, hear);
    struct client gone = {.shard = f->heard_by, .is_node = true, .node_id = f->node_id};

    changed(f->net);
    if (!f->heard_by->closing)
        client_lost(&gone);
    f->heard_by = NULL; /* the net's next step frees it */
    f->at_us = 0;
}

static void hear_farewell(struct sim_net *net, struct sim_farewell *f)
{
    struct sim_node *to = net->world->machines[f->to_machine].node;

    if (!to || !to->node || to->machine->attempts != f->life || net->powerless[f->from_machine] ||
        f->at_us == 0) {
        farewell_free(net, f);
        return;
    }
    f->at_us = SIM_NEVER;
    f->heard_by = to->node->shards[f->shard];
    f->hear.run = hear_run;
    loop_post(f->heard_by->loop, &f->hear);
}

static int64_t next_us(const struct sim_call *c)
{
    int64_t at = c->at_us < c->deadline_us ? c->at_us : c->deadline_us;

    return at < c->hang_up_us ? at : c->hang_up_us;
}

static struct sim_call *first_call(const struct sim_net *net)
{
    struct sim_call *c, *first = NULL;

    DL_FOREACH(net->calls, c)
    if (!first || next_us(c) < next_us(first))
        first = c;
    return first;
}

static struct sim_farewell *first_farewell(const struct sim_net *net)
{
    struct sim_farewell *f, *first = NULL;

    DL_FOREACH(net->farewells, f)
    if (!first || f->at_us < first->at_us)
        first = f;
    return first;
}

static int64_t ready_us(struct sim_runner *r)
{
    const struct sim_call *first = first_call(of_runner(r));
    const struct sim_farewell *farewell = first_farewell(of_runner(r));
    int64_t next = first ? next_us(first) : SIM_NEVER;

    return farewell && farewell->at_us < next ? farewell->at_us : next;
}

static void step(struct sim_runner *r)
{
    struct sim_net *net = of_runner(r);
    struct sim_call *c = first_call(net);
    struct sim_farewell *f = first_farewell(net);
    const int64_t now = now_us(net);
    uint64_t before = r->sched->source;

    r->sched->source = sim_sched_new_source(r->sched); /* messages keep no order */
    if (f && f->at_us <= now) {
        hear_farewell(net, f);
        r->sched->source = before;
        return;
    }
    sim_trace_mix(r->sched->trace, ((uint64_t)now << 8) | 0x40 | c->stage);
    if (c->at_us <= now) {
        on_arrival(c);
    } else if (c->deadline_us <= now) {
        tell(c, status_error(KERR_REQUEST_TIMED_OUT, "no answer in time"));
        close_sender(c);
    } else {
        hang_up(c);
    }
    call_maybe_free(c);
    r->sched->source = before;
}

/* ---- the interface ---- */

/* "n3": machine 3. False: there is no such host. */
static bool find_machine(const struct sim_net *net, struct str host, unsigned *out)
{
    if (host.size != 2 || host.data[0] != 'n' || host.data[1] < '0')
        return false;
    *out = (unsigned)(host.data[1] - '0');
    return *out < net->world->machine_count;
}

static void peers_send(struct transport *base, const struct transport_node *node,
                       struct transport_request *r, struct bytes_mut body, int64_t timeout_us)
{
    struct sim_peers *p = (struct sim_peers *)base;
    struct sim_net *net = p->net;
    struct sim_heap *sender = sim_heap_switch(NULL);
    struct sim_call *c = calloc(1, sizeof *c);

    CHECK(c != NULL);
    changed(net);
    *c = (struct sim_call){
        .net = net,
        .from = p,
        .request = r,
        .from_machine = p->node->machine->index,
        .port = node->port,
        .key = r->api_key,
        .version = r->api_version,
        .stage = CALL_GOING,
        .deadline_us = now_us(net) + (timeout_us > 0 ? timeout_us : 0),
        .hang_up_us = SIM_NEVER,
    };
    c->question = (struct bytes_mut){malloc(body.size + 1), body.size};
    CHECK(c->question.data != NULL);
    if (body.size)
        memcpy(c->question.data, body.data, body.size);
    free(body.data);
    r->link = c;
    net->sent++;
    DL_APPEND(net->calls, c);
    if (!find_machine(net, node->host, &c->to_machine)) {
        c->stage = CALL_COMING;
        c->at_us = now_us(net) + delay_us(net);
        c->result = (struct status){KERR_NETWORK_EXCEPTION, EHOSTUNREACH, "look up a peer's name"};
    } else {
        sim_trace_say(net->runner.sched->trace, "   %u asks %u: %s v%d, %zu bytes", c->from_machine,
                      c->to_machine, api_find(c->key)->name, c->version, c->question.size);
        c->link = take_link(p, c->to_machine, c->port);
        if (net->sees_request)
            net->sees_request(
                net->world, &(struct sim_message){.asker = c->from_machine,
                                                  .answerer = c->to_machine,
                                                  .key = c->key,
                                                  .version = c->version,
                                                  .request = {c->question.data, c->question.size}});
        if (!travel(c, c->from_machine, c->to_machine))
            lose(c);
    }
    sim_heap_switch(sender);
}

/* The answer is not wanted; as with sockets, it still comes. */
static void peers_cancel(struct transport *base, struct transport_request *r)
{
    struct sim_call *c = r->link;

    (void)base;
    r->link = NULL;
    if (c)
        c->request = NULL;
}

void sim_peers_init(struct sim_peers *p, struct sim_net *net, struct sim_node *node,
                    struct sim_loop *loop)
{
    static const struct transport_ops ops = {.send = peers_send, .cancel = peers_cancel};

    *p = (struct sim_peers){.base = {&ops}, .net = net, .node = node, .loop = loop};
}

/* ---- ends ---- */

void sim_net_shard_stopped(struct sim_net *net, struct sim_node *node, size_t shard)
{
    struct sim_call *c, *next;

    changed(net);
    DL_FOREACH_SAFE(net->calls, c, next)
    {
        struct request *rq = c->rq;

        if (c->stage != CALL_ARRIVED || c->to != node || c->client.shard->index != shard)
            continue;
        refuse(c, ECONNRESET);
        if (rq)
            request_abandon(rq);
    }
}

/* The other ends of free links hear that the process is gone, or find out when they use them. */
static void close_links_to(struct sim_net *net, struct sim_peers *p, unsigned machine)
{
    struct sim_link *l, *next;

    DL_FOREACH_SAFE(p->links, l, next)
    {
        if (l->machine != machine || net->cut[machine][p->node->machine->index] ||
            sim_random_chance(&net->random, 30))
            continue;
        DL_DELETE(p->links, l);
        free(l);
    }
}

static void forget_links(struct sim_net *net, struct sim_node *node)
{
    drop_links(&node->peers);
    for (size_t i = 0; i < node->shard_count; i++)
        drop_links(&node->followers[i]);
    for (unsigned m = 0; m < net->world->machine_count; m++) {
        struct sim_node *other = net->world->machines[m].node;

        if (!other || other == node)
            continue;
        close_links_to(net, &other->peers, node->machine->index);
        for (size_t i = 0; i < other->shard_count; i++)
            close_links_to(net, &other->followers[i], node->machine->index);
    }
}

void sim_net_node_gone(struct sim_net *net, struct sim_node *node)
{
    struct sim_farewell *f, *following;
    struct sim_call *c, *next;

    changed(net);
    DL_FOREACH_SAFE(net->farewells, f, following)
    if (f->heard_by && f->heard_by->node == node->node)
        farewell_free(net, f);
    forget_links(net, node);
    DL_FOREACH_SAFE(net->calls, c, next)
    {
        if (c->stage == CALL_ARRIVED && c->to == node) {
            c->serve_posted = c->hang_up_posted = false;
            refuse(c, ECONNRESET);
        }
        if (c->from && c->from->node == node) {
            c->from = NULL;
            if (c->request)
                c->request->link = NULL; /* it may be cancelled yet, while the node is taken
                                          * apart */
            c->request = NULL;
            c->tell_posted = false;
            c->deadline_us = SIM_NEVER;
            close_sender(c);
        }
        call_maybe_free(c);
    }
}

void sim_net_heal(struct sim_net *net)
{
    struct sim_call *c;

    changed(net);
    memset(net->cut, 0, sizeof net->cut);
    net->loss_permille = 0;
    net->delay_us_max = USUAL_DELAY_US_MAX;
    DL_FOREACH(net->calls, c)
    {
        if (!c->held)
            continue;
        c->held = false;
        if (sim_random_chance(&net->random, 50))
            c->at_us = now_us(net) + (int64_t)sim_random_below(&net->random, LATE_US_MAX);
        else
            lose(c);
    }
}

void sim_net_init(struct sim_net *net, struct sim_world *w)
{
    *net = (struct sim_net){
        .runner = {.ready_us = ready_us, .step = step},
        .world = w,
        .random = sim_random_split(w->seed, 6),
        .delay_us_max = USUAL_DELAY_US_MAX,
    };
    sim_sched_add(&w->sched, &net->runner);
}

void sim_net_free(struct sim_net *net)
{
    while (net->calls)
        call_free(net->calls);
    while (net->farewells)
        farewell_free(net, net->farewells);
    sim_sched_remove(net->runner.sched, &net->runner);
}
