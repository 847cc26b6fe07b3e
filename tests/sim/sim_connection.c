#include "tests/sim/sim_connection.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "broker/payload.h"
#include "broker/shard.h"
#include "protocol/base/check.h"
#include "protocol/frame.h"
#include "protocol/message_type.h"
#include "tests/sim/sim_checker.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_world.h"

#define FRAME_BYTES_LIMIT  ((size_t)16 << 20)
#define ANSWER_ARENA_BYTES ((size_t)64 << 20)
#define SLOW_READER_US_MAX 20000

static struct sim_sched *sched_of(const struct sim_connection *c)
{
    return c->world->runner.sched;
}

static int64_t wire_delay_us(struct sim_connection *c)
{
    return 1 + (int64_t)sim_random_below(&c->random, (uint64_t)c->delay_us_max);
}

/* Puts a frame on its way; it arrives after those before it. */
static struct sim_wire_frame *put_on_wire(struct sim_connection *c, struct sim_wire_frame **wire,
                                          const void *data, size_t size)
{
    struct sim_heap *caller = sim_heap_switch(NULL);
    struct sim_wire_frame *f = calloc(1, sizeof *f + size);

    sim_heap_switch(caller);
    CHECK(f != NULL);
    f->arrives_us = sched_of(c)->now_us + wire_delay_us(c);
    if (*wire && (*wire)->prev->arrives_us > f->arrives_us)
        f->arrives_us = (*wire)->prev->arrives_us;
    f->size = size;
    if (size)
        memcpy(f->data, data, size);
    DL_APPEND(*wire, f);
    return f;
}

static void drop_wire(struct sim_wire_frame **wire)
{
    struct sim_wire_frame *f, *next;

    DL_FOREACH_SAFE(*wire, f, next)
    free(f);
    *wire = NULL;
}

static void start_timer_at(struct sim_loop *l, struct timer *t, int64_t at_us)
{
    timer_start(&l->base, t, at_us - l->runner.sched->now_us);
}

static struct sim_loop *shard_loop(const struct sim_connection *c)
{
    return c->node->shard_loops[c->client.shard->index];
}

/* ---- the client's end ---- */

static void give_up_waiting(struct sim_connection *c)
{
    struct sim_request *rq;

    while ((rq = c->waiting)) {
        struct sim_answer a = {.connection = c,
                               .version = rq->version,
                               .context = rq->context,
                               .sent_us = rq->sent_us};

        DL_DELETE(c->waiting, rq);
        if (rq->answered)
            rq->answered(&a);
        free(rq);
    }
}

static void client_closed(struct sim_connection *c)
{
    if (!c->up)
        return;
    c->up = false;
    drop_wire(&c->to_client);
    give_up_waiting(c);
}

/* One whole answer, length prefix included. */
static void client_takes(struct sim_connection *c, const struct sim_wire_frame *f)
{
    struct sim_world *w = c->node->world;
    struct sim_request *rq = c->waiting;
    const struct message_type *type = rq ? message_type_by_key(MESSAGE_RESPONSE, rq->key) : NULL;
    struct reader r = reader_of(f->data + FRAME_LENGTH_BYTES, f->size - FRAME_LENGTH_BYTES);
    struct sim_answer a;
    struct arena arena;
    int32_t correlation_id;
    void *message;

    if (!rq) {
        sim_world_fail(w, "connection %u: an answer to no request", c->number);
        return;
    }
    arena_init(&arena, ANSWER_ARENA_BYTES);
    message = arena_zalloc(&arena, 1, type->size);
    type->init(message);
    if (frame_length(f->data) != (int64_t)f->size - FRAME_LENGTH_BYTES ||
        !frame_read_response_head(&r, api_find(rq->key), rq->version, &correlation_id) ||
        correlation_id != rq->correlation_id || !type->decode(message, &r, &arena, rq->version) ||
        reader_left(&r)) {
        sim_world_fail(w, "connection %u: an answer of %zu bytes that cannot be read, to %s v%d",
                       c->number, f->size, type->name, rq->version);
        arena_free(&arena);
        return;
    }
    DL_DELETE(c->waiting, rq);
    a = (struct sim_answer){c, rq->version, message, rq->context, rq->sent_us};
    if (rq->answered)
        rq->answered(&a);
    free(rq);
    arena_free(&arena);
}

static void on_client_timer(struct timer *t)
{
    struct sim_connection *c = CONTAINER_OF(t, struct sim_connection, client_timer);
    struct sim_wire_frame *f;

    while ((f = c->to_client) && f->arrives_us <= sched_of(c)->now_us) {
        DL_DELETE(c->to_client, f);
        sim_trace_mix_bytes(sched_of(c)->trace, f->data, f->size);
        if (f->closes)
            client_closed(c);
        else
            client_takes(c, f);
        free(f);
    }
    if (c->to_client)
        start_timer_at(c->world, &c->client_timer, c->to_client->arrives_us);
}

/* From the broker's end. */
static void send_to_client(struct sim_connection *c, const void *data, size_t size, bool closes)
{
    struct sim_wire_frame *f;

    if (!c->up)
        return;
    f = put_on_wire(c, &c->to_client, data, size);
    f->closes = closes;
    start_timer_at(c->world, &c->client_timer, c->to_client->arrives_us);
}

/* ---- the broker's end: as broker/connection ---- */

static void broker_pump(struct sim_connection *c);

static void post_pump(struct sim_connection *c)
{
    if (c->pump_posted || c->dispatching)
        return;
    c->pump_posted = true;
    loop_post(c->client.shard->loop, &c->pump);
}

static void drop_requests(struct sim_connection *c)
{
    struct request *rq, *next;
    bool started = true;

    for (rq = c->first; rq; rq = next) {
        next = rq->next;
        if (rq == c->first_waiting)
            started = false;
        if (started && !rq->answered)
            request_abandon(rq);
        else
            request_free(rq);
    }
    c->first = c->last = c->first_waiting = NULL;
}

/* On the shard's loop. */
static void broker_closes(struct sim_connection *c)
{
    if (!c->accepted)
        return;
    c->accepted = false;
    timer_stop(c->client.shard->loop, &c->broker_timer);
    drop_wire(&c->to_broker);
    drop_requests(c);
    send_to_client(c, NULL, 0, true);
}

static void answered(struct client *client, struct request *rq)
{
    struct sim_connection *c = (struct sim_connection *)client;

    c->under_way--;
    if (rq->refusal) {
        sim_trace_say(sched_of(c)->trace, "connection %u closed by the broker: %s", c->number,
                      rq->refusal);
        broker_closes(c);
        return;
    }
    post_pump(c);
}

static bool copy_splice(uint8_t *out, const struct splice *s)
{
    const struct payload *p = s->cookie;

    if (!p->memory)
        return !status_failed(log_slice_read(&p->slice, 0, out, s->size, NULL));
    memcpy(out, p->memory, s->size);
    return true;
}

uint8_t *sim_response_bytes(const struct response *r, size_t *size)
{
    const struct writer *w = &r->writer;
    uint8_t *out = malloc(w->size + w->spliced_bytes);
    size_t taken = 0;

    CHECK(out != NULL);
    *size = 0;
    for (size_t i = 0; i < w->splice_count; i++) {
        const struct splice *s = &w->splices[i];

        memcpy(out + *size, w->data + taken, s->at - taken);
        *size += s->at - taken;
        taken = s->at;
        if (!copy_splice(out + *size, s)) {
            free(out);
            return NULL;
        }
        *size += s->size;
    }
    memcpy(out + *size, w->data + taken, w->size - taken);
    *size += w->size - taken;
    return out;
}

static bool write_answer(struct sim_connection *c, const struct response *r)
{
    size_t size;
    uint8_t *out = sim_response_bytes(r, &size);

    if (!out)
        return false;
    send_to_client(c, out, size, false);
    free(out);
    return true;
}

static bool may_start(const struct sim_connection *c)
{
    return c->first_waiting &&
           (c->under_way == 0 ||
            (c->producing && frame_api_key(c->first_waiting->frame) == API_PRODUCE));
}

/* Sends what is answered, in order. False: closed. */
static bool send_answers(struct sim_connection *c)
{
    struct request *rq;

    while ((rq = c->first) && rq != c->first_waiting && rq->answered) {
        if (sched_of(c)->now_us < c->read_from_us) {
            start_timer_at(shard_loop(c), &c->broker_timer, c->read_from_us);
            return true;
        }
        if (!rq->answered_nothing && !write_answer(c, &rq->response)) {
            if (!sim_world_is_calm(c->node->world)) {
                broker_closes(c);
                return false;
            }
            sim_world_fail(c->node->world,
                           "connection %u: a log segment ended before the bytes promised",
                           c->number);
        }
        c->first = rq->next;
        if (!c->first)
            c->last = NULL;
        request_free(rq);
        if (sim_random_below(&c->random, 50) == 0)
            c->read_from_us =
                sched_of(c)->now_us + (int64_t)sim_random_below(&c->random, SLOW_READER_US_MAX);
    }
    return true;
}

static void broker_pump(struct sim_connection *c)
{
    c->dispatching = true;
    do {
        while (c->accepted && may_start(c)) {
            struct request *rq = c->first_waiting;

            c->first_waiting = rq->next;
            c->under_way++;
            c->producing = frame_api_key(rq->frame) == API_PRODUCE;
            request_dispatch(rq);
        }
    } while (c->accepted && send_answers(c) && may_start(c));
    c->dispatching = false;
}

static void on_pump(struct task *t)
{
    struct sim_connection *c = CONTAINER_OF(t, struct sim_connection, pump);

    c->pump_posted = false;
    if (c->accepted)
        broker_pump(c);
}

static void broker_takes(struct sim_connection *c, const struct sim_wire_frame *f)
{
    struct frame *frame = malloc(sizeof *frame + f->size);
    struct request *rq;

    CHECK(frame != NULL);
    frame->size = f->size;
    memcpy(frame->data, f->data, f->size);
    rq = request_create(&c->client, frame);
    CHECK(rq != NULL);
    rq->charged_bytes = f->size;
    shard_charge_bytes(c->client.shard, f->size);
    if (c->last)
        c->last->next = rq;
    else
        c->first = rq;
    c->last = rq;
    if (!c->first_waiting)
        c->first_waiting = rq;
}

static void on_broker_timer(struct timer *t)
{
    struct sim_connection *c = CONTAINER_OF(t, struct sim_connection, broker_timer);
    struct sim_wire_frame *f;

    if (!c->accepted)
        return;
    while ((f = c->to_broker) && f->arrives_us <= sched_of(c)->now_us) {
        struct sim_heap *broker;
        bool closes = f->closes;

        DL_DELETE(c->to_broker, f);
        if (!closes)
            broker_takes(c, f);
        broker = sim_heap_switch(NULL);
        free(f);
        sim_heap_switch(broker);
        if (closes) {
            broker_closes(c);
            return;
        }
    }
    if (c->to_broker)
        start_timer_at(shard_loop(c), &c->broker_timer, c->to_broker->arrives_us);
    broker_pump(c);
}

/* ---- requests ---- */

static void encode(struct sim_connection *c, const struct sim_request *rq, const void *message)
{
    const struct api *api = api_find(rq->key);
    const struct message_type *type = message_type_by_key(MESSAGE_REQUEST, rq->key);
    struct request_head head = {rq->key, rq->version, rq->correlation_id, STR("sim")};
    struct frame_start start;
    struct writer w;

    writer_init(&w, FRAME_BYTES_LIMIT);
    start = frame_begin_request(&w, api, &head);
    type->encode(message, &w, rq->version);
    CHECK(frame_end(&w, start));
    sim_trace_mix_bytes(sched_of(c)->trace, w.data, w.size);
    put_on_wire(c, &c->to_broker, w.data + FRAME_LENGTH_BYTES, w.size - FRAME_LENGTH_BYTES);
    writer_free(&w);
}

static void send_request(struct sim_connection *c, struct sim_request rq, const void *message)
{
    if (!c->up) {
        struct sim_answer a = {
            .connection = c, .version = rq.version, .context = rq.context, .sent_us = rq.sent_us};

        if (rq.answered)
            rq.answered(&a);
        return;
    }
    rq.correlation_id = c->next_correlation_id++;
    rq.sent_us = sched_of(c)->now_us;
    if (!rq.answerless) {
        struct sim_request *kept = malloc(sizeof *kept);

        CHECK(kept != NULL);
        *kept = rq;
        DL_APPEND(c->waiting, kept);
    }
    if (!c->accepted)
        return; /* the news that it is closed is on its way */
    encode(c, &rq, message);
    start_timer_at(shard_loop(c), &c->broker_timer, c->to_broker->arrives_us);
}

void sim_connection_send(struct sim_connection *c, int16_t key, int16_t version,
                         const void *message, sim_answered *answered_by, void *context,
                         int64_t wait_us_max)
{
    send_request(c,
                 (struct sim_request){.key = key,
                                      .version = version,
                                      .answered = answered_by,
                                      .context = context,
                                      .due_us = sched_of(c)->now_us + wait_us_max},
                 message);
}

void sim_connection_send_silently(struct sim_connection *c, int16_t key, int16_t version,
                                  const void *message)
{
    send_request(c, (struct sim_request){.key = key, .version = version, .answerless = true},
                 message);
}

/* ---- life ---- */

struct sim_connection *sim_connection_open(struct sim_node *n, uint64_t seed)
{
    struct sim_random random = sim_random_split(seed, 4);
    struct shard *shard = n->node->shards[sim_random_below(&random, n->node->shard_count)];
    struct sim_connection *c;

    if (shard->closing)
        return NULL;
    c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    c->node = n;
    c->random = random;
    c->number = n->world->connections_made++;
    c->world = n->world->loop;
    c->up = c->accepted = true;
    c->delay_us_max = sim_random_chance(&c->random, 70) ? 100 : 3000;
    c->pump.run = on_pump;
    c->client = (struct client){
        .answered = answered,
        .shard = shard,
        .listener = STR("PLAINTEXT"),
        .host = "sim",
        .api_listener = API_ON_BROKER,
    };
    timer_init(&c->world->base, &c->client_timer, on_client_timer);
    timer_init(c->client.shard->loop, &c->broker_timer, on_broker_timer);
    DL_APPEND(n->connections, c);
    return c;
}

/* The broker hears of it later. */
void sim_connection_close(struct sim_connection *c)
{
    struct sim_wire_frame *f;

    client_closed(c);
    if (!c->accepted)
        return;
    f = put_on_wire(c, &c->to_broker, NULL, 0);
    f->closes = true;
    start_timer_at(shard_loop(c), &c->broker_timer, c->to_broker->arrives_us);
}

void sim_connection_shard_stopped(struct sim_connection *c)
{
    broker_closes(c);
}

void sim_connection_process_died(struct sim_connection *c)
{
    c->first = c->last = c->first_waiting = NULL;
    c->accepted = false;
    c->broker_timer.impl = NULL; /* its loop is gone */
    drop_wire(&c->to_broker);
    send_to_client(c, NULL, 0, true);
}

void sim_connection_retire(struct sim_connection *c)
{
    client_closed(c);
    drop_wire(&c->to_broker);
    drop_wire(&c->to_client);
    timer_free(&c->world->base, &c->client_timer);
    if (c->broker_timer.impl)
        timer_free(&shard_loop(c)->base, &c->broker_timer);
}
