#include "tests/sim/sim_writer.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/init_producer_id.h"
#include "protocol/messages/produce.h"
#include "protocol/record_batch_build.h"
#include "tests/sim/sim_world.h"

#define RETRY_US        20000
#define PATIENCE_US     (10 * 1000 * 1000) /* then it hangs up */
#define TIMEOUT_MS      4000
#define RECORDS_MAX     4
#define VALUE_BYTES_MAX 200
#define BATCHES_MAX     60
#define PRODUCE_VERSION 13

struct sent {
    struct sim_writer *writer;
    uint64_t generation;
    size_t batch;
};

static struct sim_checker *checker(struct sim_writer *p)
{
    return &p->world->checker;
}

static struct sim_topic *topic_of(struct sim_writer *p)
{
    return &checker(p)->topics[p->topic];
}

/* ---- streams ---- */

static void drop(struct sim_writer *p)
{
    for (size_t i = 0; i < p->queued; i++)
        free(p->queue[i].bytes);
    p->queued = p->sent = p->in_flight = 0;
    p->used = p->asking = p->rewind = false;
    p->producer_id = -1;
    p->generation++;
}

/* Some partition of some topic. */
static void choose(struct sim_writer *p)
{
    struct sim_checker *c = checker(p);
    size_t i = c->topic_count ? sim_random_below(&p->random, c->topic_count) : 0;

    if (c->topic_count == 0 || !sim_checker_topic_usable(&c->topics[i]))
        return;
    drop(p);
    p->used = true;
    p->topic = i;
    p->partition = (int32_t)sim_random_below(&p->random, (uint64_t)c->topics[i].partition_count);
    p->stream = c->stream_count++;
    p->next_number = 1;
    p->next_sequence = 0;
    p->left = 1 + sim_random_below(&p->random, BATCHES_MAX);
}

/* ---- producer ids ---- */

static void on_producer_id(struct sim_answer *a)
{
    const struct init_producer_id_response *m = a->message;
    struct sent *asked = a->context;
    struct sim_writer *p = asked->writer;

    if (m && m->error_code == KERR_NONE)
        sim_checker_producer_id(checker(p), m->producer_id);
    if (p->generation == asked->generation) {
        p->asking = false;
        if (m && m->error_code == KERR_NONE)
            p->producer_id = m->producer_id;
        else
            p->not_before_us = p->world->sched.now_us + RETRY_US;
    }
    free(asked);
}

static struct sent *remember(struct sim_writer *p, size_t batch)
{
    struct sent *s = malloc(sizeof *s);

    CHECK(s != NULL);
    *s = (struct sent){p, p->generation, batch};
    p->sent_us = p->world->sched.now_us;
    return s;
}

static void ask_producer_id(struct sim_writer *p)
{
    struct init_producer_id_request m;

    p->asking = true;
    init_producer_id_request_init(&m);
    m.transactional_id = STR_NULL;
    m.transaction_timeout_ms = 60000;
    sim_connection_send(p->connection, API_INIT_PRODUCER_ID, 4, &m, on_producer_id, remember(p, 0),
                        PATIENCE_US);
}

/* ---- answers ---- */

static bool is_expected(const struct sim_writer *p, enum kerr code)
{
    switch (code) {
    case KERR_NOT_LEADER_OR_FOLLOWER:
    case KERR_UNKNOWN_TOPIC_ID:
    case KERR_UNKNOWN_TOPIC_OR_PARTITION:
    case KERR_REQUEST_TIMED_OUT:
    case KERR_NOT_ENOUGH_REPLICAS:
    case KERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
    case KERR_FENCED_LEADER_EPOCH:
        return true;
    case KERR_OUT_OF_ORDER_SEQUENCE_NUMBER:
        return p->idempotent;
    case KERR_KAFKA_STORAGE_ERROR:
        return p->world->may_fail;
    default:
        return false;
    }
}

static struct sim_outgoing *find_outgoing(struct sim_writer *p, size_t batch)
{
    for (size_t i = 0; i < p->queued; i++)
        if (p->queue[i].batch == batch)
            return &p->queue[i];
    return NULL;
}

static void acknowledged(struct sim_writer *p, size_t batch)
{
    struct sim_outgoing *o = find_outgoing(p, batch);

    if (o)
        o->acknowledged = true;
    while (p->queued > 0 && p->queue[0].acknowledged) {
        free(p->queue[0].bytes);
        p->queued--;
        if (p->sent > 0)
            p->sent--;
        memmove(&p->queue[0], &p->queue[1], p->queued * sizeof p->queue[0]);
    }
}

static void refused(struct sim_writer *p, size_t batch, enum kerr code)
{
    sim_trace_say(&p->world->trace, "%s-%d: batch %zu is refused: %s", topic_of(p)->name,
                  p->partition, batch, kerr_name(code));
    if (!is_expected(p, code))
        sim_world_fail(p->world, "%s-%d: produce was answered with %s", topic_of(p)->name,
                       p->partition, kerr_name(code));
    p->not_before_us = p->world->sched.now_us + RETRY_US;
    p->rewind = p->idempotent;
    if (code != KERR_OUT_OF_ORDER_SEQUENCE_NUMBER || p->queued == 0 || p->queue[0].batch != batch)
        return;
    /* The oldest: a leader since a start, of whose earlier batches it knows the last one only
     * (sim_producer.c). */
    p->given_up++;
    drop(p);
}

static void on_produced(struct sim_answer *a)
{
    const struct produce_response *m = a->message;
    struct sent *sent = a->context;
    struct sim_writer *p = sent->writer;
    const struct produce_response_partition_produce_response *r =
        m ? &m->responses[0].partition_responses[0] : NULL;
    bool late = sent->generation != p->generation;

    if (r && r->error_code == KERR_NONE)
        sim_trace_say(&p->world->trace, "%s-%d: batch %zu is acknowledged at %lld, acks=%d",
                      checker(p)->topics[checker(p)->batches[sent->batch].topic].name,
                      checker(p)->batches[sent->batch].partition, sent->batch,
                      (long long)r->base_offset, p->acks);
    if (r && r->error_code == KERR_NONE)
        sim_checker_acknowledged(checker(p), sent->batch, r->base_offset, p->acks == -1);
    if (!late) {
        p->in_flight--;
        if (!r)
            p->rewind = p->idempotent;
        else if (r->error_code == KERR_NONE)
            acknowledged(p, sent->batch);
        else
            refused(p, sent->batch, (enum kerr)r->error_code);
    }
    free(sent);
}

/* ---- batches ---- */

/* Owned by the caller. */
static struct bytes_mut build(struct sim_writer *p, size_t *batch)
{
    struct sim_checker *c = checker(p);
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
    struct record_batch_builder b;
    uint8_t value[VALUE_BYTES_MAX];
    struct bytes_mut built, out;
    int32_t count = 1 + (int32_t)sim_random_below(&p->random, RECORDS_MAX);

    if (p->idempotent) {
        head.producer_id = p->producer_id;
        head.producer_epoch = 0;
        head.base_sequence = p->next_sequence;
    }
    *batch = sim_checker_new_batch(c, &(struct sim_batch){.topic = p->topic,
                                                          .partition = p->partition,
                                                          .stream = p->stream,
                                                          .number = p->next_number,
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
    CHECK(!status_failed(record_batch_builder_finish(&b, c->scratch, &built)));
    out = (struct bytes_mut){malloc(built.size), built.size};
    CHECK(out.data != NULL);
    memcpy(out.data, built.data, built.size);
    record_batch_builder_free(&b);
    c->batches[*batch].crc = record_batch_crc(out.data);
    p->next_number++;
    p->next_sequence = sequence_add(p->next_sequence, count);
    p->left--;
    return out;
}

static void send_batch(struct sim_writer *p, size_t batch, struct bytes bytes)
{
    struct produce_request_partition_produce_data partition;
    struct produce_request_topic_produce_data topic;
    struct produce_request m;

    produce_request_init(&m);
    produce_request_topic_produce_data_init(&topic);
    produce_request_partition_produce_data_init(&partition);
    partition.index = p->partition;
    partition.records = (struct records){.data = bytes.data, .size = bytes.size};
    topic.topic_id = topic_of(p)->id;
    topic.partition_data = &partition;
    topic.partition_data_count = 1;
    m.transactional_id = STR_NULL;
    m.acks = p->acks;
    m.timeout_ms = TIMEOUT_MS;
    m.topic_data = &topic;
    m.topic_data_count = 1;
    if (p->acks == 0) {
        sim_connection_send_silently(p->connection, API_PRODUCE, PRODUCE_VERSION, &m);
        return;
    }
    p->in_flight++;
    sim_connection_send(p->connection, API_PRODUCE, PRODUCE_VERSION, &m, on_produced,
                        remember(p, batch), PATIENCE_US);
}

static void send_idempotent(struct sim_writer *p)
{
    struct sim_outgoing *o;

    if (p->rewind) {
        if (p->in_flight > 0)
            return;
        p->rewind = false;
        p->sent = 0;
    }
    while (p->sent < p->queued && p->queue[p->sent].acknowledged)
        p->sent++;
    if (p->sent == p->queued) {
        struct bytes_mut built;

        if (p->queued == SIM_IN_FLIGHT_MAX || p->left == 0 || p->mode != SIM_WORK)
            return;
        o = &p->queue[p->queued];
        *o = (struct sim_outgoing){0};
        built = build(p, &o->batch);
        o->bytes = built.data;
        o->size = built.size;
        p->queued++;
    }
    o = &p->queue[p->sent++];
    send_batch(p, o->batch, (struct bytes){o->bytes, o->size});
}

static void send_plain(struct sim_writer *p)
{
    struct bytes_mut built;
    size_t batch;

    if (p->mode != SIM_WORK || p->left == 0 || p->in_flight >= SIM_IN_FLIGHT_MAX)
        return;
    built = build(p, &batch);
    send_batch(p, batch, (struct bytes){built.data, built.size});
    free(built.data);
}

/* ---- what next ---- */

/* Order is a promise within a connection: what a new one sends is another stream, unless sequences
 * say more. */
static void connect(struct sim_writer *p)
{
    p->connection = sim_directory_connect(&p->world->directory, p->topic, p->partition, &p->random);
    if (!p->connection || p->idempotent)
        return;
    p->stream = checker(p)->stream_count++;
    p->next_number = 1;
}

static void write(struct sim_writer *p)
{
    const int64_t now_us = p->world->sched.now_us;

    if (p->used && !sim_checker_topic_usable(topic_of(p)))
        drop(p);
    if (p->used && p->left == 0 && p->queued == 0 && p->in_flight == 0)
        drop(p);
    if (!p->used) {
        if (p->connection && p->connection->up)
            sim_connection_close(p->connection);
        if (p->mode == SIM_WORK)
            choose(p);
        return;
    }
    if (p->connection && p->connection->up && (p->in_flight > 0 || p->asking) &&
        now_us - p->sent_us > PATIENCE_US)
        sim_connection_close(p->connection);
    /* Refused: its leader may be another one by now. */
    if (p->connection && p->connection->up && p->rewind && p->in_flight == 0)
        sim_connection_close(p->connection);
    if (p->not_before_us > now_us)
        return;
    if (!p->connection || !p->connection->up)
        connect(p);
    if (!p->connection)
        return;
    if (p->idempotent && p->producer_id < 0) {
        if (!p->asking)
            ask_producer_id(p);
    } else if (p->idempotent) {
        send_idempotent(p);
    } else {
        send_plain(p);
    }
}

static void on_timer(struct timer *t)
{
    struct sim_writer *p = CONTAINER_OF(t, struct sim_writer, timer);

    if (p->mode != SIM_REST)
        write(p);
    timer_start(&p->world->loop->base, &p->timer,
                (int64_t)sim_random_below(&p->random, (uint64_t)p->pace_us));
}

void sim_writer_init(struct sim_writer *p, struct sim_world *w, uint64_t number)
{
    static const int16_t acks[] = {-1, -1, 1, 0};

    *p = (struct sim_writer){
        .world = w, .random = sim_random_split(w->seed, 410 + number), .producer_id = -1};
    p->idempotent = number < 2;
    p->acks = p->idempotent ? -1 : acks[sim_random_below(&p->random, sizeof acks / sizeof acks[0])];
    p->pace_us = sim_random_between(&p->random, 5000, 100000);
    timer_init(&w->loop->base, &p->timer, on_timer);
    timer_start(&w->loop->base, &p->timer, RETRY_US);
}

bool sim_writer_idle(const struct sim_writer *p)
{
    return p->in_flight == 0 && p->queued == 0;
}

void sim_writer_free(struct sim_writer *p)
{
    timer_free(&p->world->loop->base, &p->timer);
    drop(p);
}
