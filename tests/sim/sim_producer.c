/* A producer: batches to some partitions, several under way at once. An idempotent one sends what
 * is not acknowledged again, in order, until it is; the others send each batch once. */

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/init_producer_id.h"
#include "protocol/messages/produce.h"
#include "protocol/record_batch_build.h"
#include "tests/sim/sim_world.h"

#define TICK_US_MAX         6000
#define RETRY_US            20000
#define RECORDS_MAX         6
#define VALUE_BYTES_MAX     600
#define VERSION_BY_ID       13
#define VERSION_BY_NAME_MIN 7 /* zstd needs it */
#define ANSWER_US_MAX       (12 * 1000 * 1000)

/* Batches of one request. */
struct sent {
    struct sim_producer *producer;
    size_t count;
    struct {
        size_t stream;
        uint64_t generation;
        size_t batch;
    } parts[SIM_STREAMS];
};

static struct sim_checker *checker(struct sim_producer *p)
{
    return &p->world->checker;
}

static struct sim_topic *topic_of(struct sim_producer *p, const struct sim_stream *s)
{
    return &checker(p)->topics[s->topic];
}

/* ---- streams ---- */

static void drop_queue(struct sim_stream *s)
{
    for (size_t i = 0; i < s->queued; i++)
        free(s->queue[i].bytes);
    s->queued = s->sent = 0;
}

static void stream_drop(struct sim_stream *s)
{
    uint64_t generation = s->generation + 1;

    drop_queue(s);
    *s = (struct sim_stream){.generation = generation, .producer_id = -1};
}

/* Some partition of some topic. */
static bool stream_assign(struct sim_producer *p, struct sim_stream *s)
{
    struct sim_checker *c = checker(p);
    size_t i;

    if (c->topic_count == 0)
        return false;
    i = sim_random_below(&p->random, c->topic_count);
    if (!sim_checker_topic_usable(&c->topics[i]))
        return false;
    stream_drop(s);
    s->used = true;
    s->topic = i;
    s->partition = (int32_t)sim_random_below(&p->random, (uint64_t)c->topics[i].partition_count);
    s->id = c->stream_count++;
    s->next_number = 1;
    return true;
}

/* ---- producer ids ---- */

struct asked {
    struct sim_producer *producer;
    size_t stream;
    uint64_t generation;
};

static void on_producer_id(struct sim_answer *a)
{
    const struct init_producer_id_response *m = a->message;
    struct asked *asked = a->context;
    struct sim_producer *p = asked->producer;
    struct sim_stream *s = &p->streams[asked->stream];

    if (m && m->error_code == KERR_NONE)
        sim_checker_producer_id(checker(p), m->producer_id);
    if (s->generation == asked->generation) {
        s->asking = false;
        if (m && m->error_code == KERR_NONE)
            s->producer_id = m->producer_id;
    }
    free(asked);
}

static void ask_producer_id(struct sim_producer *p, size_t stream)
{
    struct init_producer_id_request m;
    struct asked *asked = malloc(sizeof *asked);

    CHECK(asked != NULL);
    *asked = (struct asked){p, stream, p->streams[stream].generation};
    p->streams[stream].asking = true;
    init_producer_id_request_init(&m);
    m.transactional_id = STR_NULL;
    m.transaction_timeout_ms = 60000;
    sim_connection_send(p->connection, API_INIT_PRODUCER_ID, 4, &m, on_producer_id, asked,
                        ANSWER_US_MAX);
}

/* ---- batches ---- */

/* A new batch of the stream: its bytes, owned by the caller. */
static struct bytes_mut build_batch(struct sim_producer *p, struct sim_stream *s, size_t *batch)
{
    struct sim_checker *c = checker(p);
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
    struct record_batch_builder b;
    uint8_t value[VALUE_BYTES_MAX];
    struct bytes_mut built, out;
    int32_t count = 1 + (int32_t)sim_random_below(&p->random, RECORDS_MAX);
    struct status st;

    head.compression = sim_random_chance(&p->random, 60)
                           ? COMPRESSION_NONE
                           : (enum compression_type)sim_random_below(&p->random, COMPRESSION_COUNT);
    head.compression_level = compression_levels(head.compression).initial;
    if (p->idempotent) {
        head.producer_id = s->producer_id;
        head.producer_epoch = 0;
        head.base_sequence = s->next_sequence;
    }
    *batch = sim_checker_new_batch(c, &(struct sim_batch){.topic = s->topic,
                                                          .partition = s->partition,
                                                          .stream = s->id,
                                                          .number = s->next_number,
                                                          .producer_id = head.producer_id,
                                                          .base_sequence = head.base_sequence,
                                                          .count = count});
    record_batch_builder_init(&b);
    record_batch_builder_begin(&b, &head);
    for (int32_t i = 0; i < count; i++) {
        size_t size =
            SIM_VALUE_BYTES_MIN + sim_random_below(&p->random, sizeof value - SIM_VALUE_BYTES_MIN);

        sim_checker_fill_value(value, size, *batch, i);
        record_batch_builder_append(
            &b, &(struct record_content){.timestamp_ms = clock_wall_ms(sim_world_clock(p->world)),
                                         .value = {value, size}});
    }
    st = record_batch_builder_finish(&b, c->scratch, &built);
    CHECK(!status_failed(st));
    out = (struct bytes_mut){malloc(built.size), built.size};
    CHECK(out.data != NULL);
    memcpy(out.data, built.data, built.size);
    record_batch_builder_free(&b);
    c->batches[*batch].crc = record_batch_crc(out.data);
    s->next_number++;
    s->next_sequence = sequence_add(s->next_sequence, count);
    return out;
}

/* ---- answers ---- */

/* What may come back although nothing was made to fail. */
static bool is_expected(const struct sim_producer *p, enum kerr code)
{
    switch (code) {
    case KERR_UNKNOWN_TOPIC_OR_PARTITION: /* shards hear of topics one after the other */
    case KERR_UNKNOWN_TOPIC_ID:
    case KERR_NOT_LEADER_OR_FOLLOWER:
    case KERR_REQUEST_TIMED_OUT:
        return true;
    case KERR_OUT_OF_ORDER_SEQUENCE_NUMBER:
        return p->idempotent;
    case KERR_KAFKA_STORAGE_ERROR:
        return !sim_world_is_calm(p->world);
    default:
        return false;
    }
}

static struct sim_outgoing *find_outgoing(struct sim_stream *s, size_t batch)
{
    for (size_t i = 0; i < s->queued; i++)
        if (s->queue[i].batch == batch)
            return &s->queue[i];
    return NULL;
}

static void pop_acknowledged(struct sim_stream *s)
{
    while (s->queued > 0 && s->queue[0].acknowledged) {
        free(s->queue[0].bytes);
        s->queued--;
        if (s->sent > 0)
            s->sent--;
        memmove(&s->queue[0], &s->queue[1], s->queued * sizeof s->queue[0]);
    }
}

static void acknowledged(struct sim_producer *p, struct sim_stream *s, size_t batch,
                         int64_t base_offset)
{
    struct sim_outgoing *o = find_outgoing(s, batch);

    sim_checker_acknowledged(checker(p), batch, base_offset, p->acks == -1);
    if (!o)
        return;
    o->acknowledged = true;
    s->known = true;
    pop_acknowledged(s);
}

/* The oldest one out of order: records before it are gone, as they may be where an acknowledgement
 * does not wait for the disk; or it is there, and the broker has forgotten: of what a producer sent
 * before a start only the last batch is sure to be known, as in Apache Kafka, whose snapshots hold
 * no more. Or its very first batch was refused while topics were making the round of the shards,
 * and the one after it was taken: of a producer that is not known any sequence is, in Apache Kafka
 * too. It goes on as another producer. */
static void out_of_order(struct sim_producer *p, struct sim_stream *s, size_t batch)
{
    if (s->rewind || s->queued == 0 || s->queue[0].batch != batch)
        return; /* one before it failed */
    if (checker(p)->flush_before_ack && !topic_of(p, s)->retention &&
        checker(p)->batches[batch].life == p->world->machines[0].attempts && !s->skipped)
        sim_world_fail(
            p->world,
            "%s-%d: batch %zu is refused as out of order, though all before it were acknowledged",
            topic_of(p, s)->name, s->partition, batch);
    stream_drop(s);
}

static void refused(struct sim_producer *p, struct sim_stream *s, size_t batch, enum kerr code)
{
    if (!is_expected(p, code))
        sim_world_fail(p->world, "%s-%d: produce was answered with %s", topic_of(p, s)->name,
                       s->partition, kerr_name(code));
    if (code == KERR_OUT_OF_ORDER_SEQUENCE_NUMBER) {
        out_of_order(p, s, batch);
        return;
    }
    s->not_before_us = p->world->sched.now_us + RETRY_US;
    s->rewind = p->idempotent;
    s->skipped = s->skipped || !s->known;
}

static void on_part(struct sim_producer *p, const struct sent *sent, size_t i,
                    const struct produce_response_partition_produce_response *r)
{
    struct sim_stream *s = &p->streams[sent->parts[i].stream];
    size_t batch = sent->parts[i].batch;

    if (s->generation != sent->parts[i].generation) { /* let go meanwhile */
        if (r && r->error_code == KERR_NONE)
            sim_checker_acknowledged(checker(p), batch, r->base_offset, p->acks == -1);
        return;
    }
    s->in_flight--;
    if (!r)
        s->rewind = p->idempotent;
    else if (r->error_code == KERR_NONE)
        acknowledged(p, s, batch, r->base_offset);
    else
        refused(p, s, batch, (enum kerr)r->error_code);
}

static void on_produced(struct sim_answer *a)
{
    const struct produce_response *m = a->message;
    struct sent *sent = a->context;
    struct sim_producer *p = sent->producer;

    if (m && m->responses_count != sent->count)
        sim_world_fail(p->world, "produce: an answer for %zu of %zu topics", m->responses_count,
                       sent->count);
    else
        for (size_t i = 0; i < sent->count; i++)
            on_part(p, sent, i, m ? &m->responses[i].partition_responses[0] : NULL);
    free(sent);
}

/* ---- sending ---- */

struct message {
    struct produce_request request;
    struct produce_request_topic_produce_data topics[SIM_STREAMS];
    struct produce_request_partition_produce_data partitions[SIM_STREAMS];
    uint8_t *owned[SIM_STREAMS];
    struct sent sent;
    bool by_name;
};

static void message_add(struct sim_producer *p, struct message *m, size_t stream, size_t batch,
                        struct bytes bytes)
{
    const struct sim_stream *s = &p->streams[stream];
    const struct sim_topic *t = topic_of(p, s);
    size_t i = m->sent.count++;

    produce_request_topic_produce_data_init(&m->topics[i]);
    produce_request_partition_produce_data_init(&m->partitions[i]);
    m->topics[i].name = str_from(t->name);
    m->topics[i].topic_id = t->id;
    m->topics[i].partition_data = &m->partitions[i];
    m->topics[i].partition_data_count = 1;
    m->partitions[i].index = s->partition;
    m->partitions[i].records = (struct records){.data = bytes.data, .size = bytes.size};
    m->sent.parts[i].stream = stream;
    m->sent.parts[i].generation = s->generation;
    m->sent.parts[i].batch = batch;
    m->by_name = m->by_name && t->lasting;
}

/* The next batch of an idempotent stream: one that is to be sent again, or a new one. */
static void add_idempotent(struct sim_producer *p, struct message *m, size_t stream)
{
    struct sim_stream *s = &p->streams[stream];
    struct sim_outgoing *o;

    if (s->rewind) {
        if (s->in_flight > 0)
            return;
        s->rewind = false;
        s->sent = 0;
    }
    while (s->sent < s->queued && s->queue[s->sent].acknowledged)
        s->sent++;
    if (s->sent == s->queued) {
        struct bytes_mut built;

        if (s->queued == SIM_IN_FLIGHT_MAX || p->mode != SIM_WORK)
            return;
        o = &s->queue[s->queued];
        *o = (struct sim_outgoing){0};
        built = build_batch(p, s, &o->batch);
        o->bytes = built.data;
        o->size = built.size;
        s->queued++;
    }
    o = &s->queue[s->sent++];
    s->in_flight++;
    message_add(p, m, stream, o->batch, (struct bytes){o->bytes, o->size});
}

static void add_plain(struct sim_producer *p, struct message *m, size_t stream)
{
    struct sim_stream *s = &p->streams[stream];
    struct bytes_mut built;
    size_t batch;

    if (p->mode != SIM_WORK || s->in_flight >= SIM_IN_FLIGHT_MAX)
        return;
    built = build_batch(p, s, &batch);
    if (p->acks != 0)
        s->in_flight++;
    m->owned[m->sent.count] = built.data;
    message_add(p, m, stream, batch, (struct bytes){built.data, built.size});
}

static void add_stream(struct sim_producer *p, struct message *m, size_t stream)
{
    struct sim_stream *s = &p->streams[stream];

    if (s->used && !sim_checker_topic_usable(topic_of(p, s)))
        stream_drop(s);
    if (!s->used && (p->mode != SIM_WORK || !stream_assign(p, s)))
        return;
    if (s->not_before_us > p->world->sched.now_us)
        return;
    if (p->idempotent && s->producer_id < 0) {
        if (!s->asking)
            ask_producer_id(p, stream);
        return;
    }
    if (p->idempotent)
        add_idempotent(p, m, stream);
    else
        add_plain(p, m, stream);
}

static void send_message(struct sim_producer *p, struct message *m)
{
    int16_t version = VERSION_BY_ID;
    struct sent *sent;

    if (m->by_name && sim_random_chance(&p->random, 70))
        version = (int16_t)sim_random_between(&p->random, VERSION_BY_NAME_MIN, VERSION_BY_ID - 1);
    m->request.transactional_id = STR_NULL;
    m->request.acks = p->acks;
    m->request.timeout_ms =
        sim_random_chance(&p->random, 90) ? 8000 : (int32_t)sim_random_below(&p->random, 50);
    m->request.topic_data = m->topics;
    m->request.topic_data_count = m->sent.count;
    if (p->acks == 0) {
        sim_connection_send_silently(p->connection, API_PRODUCE, version, &m->request);
        return;
    }
    sent = malloc(sizeof *sent);
    CHECK(sent != NULL);
    *sent = m->sent;
    sim_connection_send(p->connection, API_PRODUCE, version, &m->request, on_produced, sent,
                        ANSWER_US_MAX);
}

static void produce(struct sim_producer *p)
{
    struct message m = {.sent = {.producer = p}, .by_name = true};
    size_t first = sim_random_below(&p->random, SIM_STREAMS);
    size_t count = 1 + sim_random_below(&p->random, SIM_STREAMS);

    produce_request_init(&m.request);
    for (size_t i = 0; i < count; i++)
        add_stream(p, &m, (first + i) % SIM_STREAMS);
    if (m.sent.count > 0)
        send_message(p, &m);
    for (size_t i = 0; i < m.sent.count; i++)
        free(m.owned[i]);
}

/* Order is a promise within a connection: what a new one sends is another stream, unless sequences
 * say more. */
static void connected(struct sim_producer *p)
{
    for (size_t i = 0; i < SIM_STREAMS; i++) {
        if (p->idempotent)
            continue;
        p->streams[i].id = checker(p)->stream_count++;
        p->streams[i].next_number = 1;
    }
}

static void on_timer(struct timer *t)
{
    struct sim_producer *p = CONTAINER_OF(t, struct sim_producer, timer);

    if (p->connection && p->connection->up && sim_random_below(&p->random, 300) == 0)
        sim_connection_close(p->connection);
    if (!p->connection || !p->connection->up) {
        p->connection = sim_world_connect(p->world, &p->random);
        if (p->connection)
            connected(p);
    }
    if (p->connection && p->mode != SIM_REST)
        produce(p);
    timer_start(&p->world->loop->base, &p->timer,
                p->connection ? (int64_t)sim_random_below(&p->random, TICK_US_MAX) : RETRY_US);
}

void sim_producer_init(struct sim_producer *p, struct sim_world *w, uint64_t number)
{
    static const int16_t acks[] = {-1, -1, 1, 0};

    *p = (struct sim_producer){.world = w, .random = sim_random_split(w->seed, 100 + number)};
    p->idempotent = number < 2;
    p->acks = p->idempotent ? -1 : acks[sim_random_below(&p->random, sizeof acks / sizeof acks[0])];
    for (size_t i = 0; i < SIM_STREAMS; i++)
        p->streams[i].producer_id = -1;
    timer_init(&w->loop->base, &p->timer, on_timer);
    timer_start(&w->loop->base, &p->timer, (int64_t)sim_random_below(&p->random, RETRY_US));
}

bool sim_producer_idle(const struct sim_producer *p)
{
    for (size_t i = 0; i < SIM_STREAMS; i++)
        if (p->streams[i].in_flight > 0 || p->streams[i].queued > 0)
            return false;
    return true;
}

void sim_producer_free(struct sim_producer *p)
{
    timer_free(&p->world->loop->base, &p->timer);
    for (size_t i = 0; i < SIM_STREAMS; i++)
        drop_queue(&p->streams[i]);
}
