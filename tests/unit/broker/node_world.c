#include "tests/unit/broker/node_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/config.h"
#include "broker/payload.h"
#include "broker/shard.h"
#include "protocol/base/check.h"
#include "protocol/frame.h"
#include "protocol/messages/create_topics.h"
#include "protocol/messages/produce.h"
#include "protocol/record_batch.h"
#include "storage/state_store_sim.h"

#define PATIENCE_MS      20000 /* virtual */
#define ANSWER_BYTES_MAX ((size_t)256 << 20)

static void write_line(struct logger *l, enum logger_level level, const char *line, size_t size)
{
    struct node_world *w = CONTAINER_OF(l, struct node_world, logger);

    w->errors_logged += level == LOGGER_ERROR;
    w->registrations += memmem(line, size, "event=broker_registered ", 24) != NULL;
    if (w->print)
        printf("%.*s\n", (int)size, line);
}

void node_world_init(struct node_world *w)
{
    *w = (struct node_world){.logger = {LOGGER_INFO, write_line}, .boot_id = "one"};
    test_loop_init(&w->loop);
    w->files = files_sim_create(&w->loop.clock);
    record_batch_builder_init(&w->builder);
    for (size_t i = 0; i < NODE_WORLD_SHARDS; i++)
        w->shards[i] = &w->loop.loop;
    /* Nobody listens: a port of its own is no matter. */
    node_world_set(w, "cluster.id=5L6g3nShT-eMCtK--X86sw");
}

void node_world_set(struct node_world *w, const char *key_and_value)
{
    CHECK(w->set_count < NODE_WORLD_SETS);
    w->sets[w->set_count++] = key_and_value;
}

static void on_ready(void *arg, struct status result)
{
    ((struct node_world *)arg)->ready = !status_failed(result);
}

static void on_failed(void *arg, struct status why)
{
    (void)why;
    ((struct node_world *)arg)->failed = true;
}

static void on_stopped(void *arg)
{
    ((struct node_world *)arg)->stopped = true;
}

static void run_until(struct node_world *w, const bool *what)
{
    for (int64_t ms = 0; ms < PATIENCE_MS && !*what && !w->failed; ms++)
        test_loop_run(&w->loop, 1);
}

/* In memory, and empty at each start: what it is to hold comes from the logs. */
static struct status open_state(struct node *n, const char *dir, struct state_store_report *report,
                                struct state_store **out)
{
    const struct state_store_sim_options options = {.seed = 1, .would_block_per_mille = 300};
    struct node_world *w = n->arg;

    (void)dir;
    w->state_opens++;
    if (w->state_opens_fail > 0) {
        w->state_opens_fail--;
        return status_error(KERR_KAFKA_STORAGE_ERROR, "the state store's format is newer");
    }
    report->created = true;
    *out = state_store_sim_create(&options);
    CHECK(*out);
    w->state = *out;
    return STATUS_OK;
}

static void forget_config(struct node_world *w)
{
    config_values_free(w->config);
    arena_free(&w->arena);
}

bool node_world_try_start(struct node_world *w)
{
    const struct config_sources sources = {.sets = w->sets, .set_count = w->set_count};
    struct config_problem problem = {""};
    struct node_env env = {
        .files = w->files,
        .clock = &w->loop.clock,
        .random = &w->loop.random,
        .logger = &w->logger,
        .pool = &w->loop.pool,
        .control_loop = &w->loop.loop,
        .shard_loops = w->shards,
        .shard_events = w->events[0] ? w->events : NULL,
        .shard_count = NODE_WORLD_SHARDS,
        .shard_peers = w->shard_peers[0] ? w->shard_peers : NULL,
        .boot_id = w->boot_id,
        .open_state = open_state,
    };

    CHECK(!w->node);
    CHECK(!status_failed(config_load(&sources, w->files, &w->logger, &w->config, &problem)));
    arena_init(&w->arena, CONFIG_ARENA_BYTES);
    CHECK(!status_failed(config_node_options(w->config, &w->arena, &w->options, &problem)));
    w->ready = w->stopped = w->failed = false;
    if (status_failed(node_create(&env, &w->options, &w->node))) {
        w->node = NULL;
        forget_config(w);
        return false;
    }
    w->node->ready = on_ready;
    w->node->failed = on_failed;
    w->node->arg = w;
    node_start(w->node);
    run_until(w, &w->ready);
    return w->ready;
}

void node_world_start(struct node_world *w)
{
    CHECK(node_world_try_start(w));
}

static void forget_node(struct node_world *w)
{
    node_free(w->node);
    w->node = NULL;
    forget_config(w);
}

void node_world_stop(struct node_world *w)
{
    node_stop(w->node, on_stopped, w);
    run_until(w, &w->stopped);
    CHECK(w->stopped);
    forget_node(w);
}

static void shard_emptied(struct shard *s)
{
    (void)s;
}

/* Shards let go of what they own without a word to the disk; what the pool still had is done
 * before. */
void node_world_kill(struct node_world *w)
{
    while (test_loop_round(&w->loop))
        ;
    for (size_t i = 0; i < NODE_WORLD_SHARDS; i++) {
        w->node->shards[i]->emptied = shard_emptied;
        shard_stop(w->node->shards[i], false);
    }
    while (test_loop_round(&w->loop))
        ;
    forget_node(w);
    files_sim_kill(w->files);
}

void node_world_free(struct node_world *w)
{
    if (w->node)
        node_world_stop(w);
    record_batch_builder_free(&w->builder);
    files_sim_free(w->files);
}

/* ---- asking ---- */

static void append_slice(struct bytes_mut *out, const struct payload *payload, size_t size)
{
    if (payload->memory)
        memcpy(out->data + out->size, payload->memory, size);
    else
        CHECK(
            !status_failed(log_slice_read(&payload->slice, 0, out->data + out->size, size, NULL)));
    out->size += size;
}

/* The answer's bytes as they would leave, payloads in place. */
static struct bytes_mut flatten(const struct response *r)
{
    struct bytes_mut out = {malloc(response_size(r) + 1), 0};
    size_t at = 0;

    CHECK(out.data);
    for (size_t i = 0; i <= r->writer.splice_count; i++) {
        const struct splice *splice = i < r->writer.splice_count ? &r->writer.splices[i] : NULL;
        size_t limit = splice ? splice->at : r->writer.size;

        if (limit > at)
            memcpy(out.data + out.size, r->writer.data + at, limit - at);
        out.size += limit - at;
        at = limit;
        if (splice)
            append_slice(&out, splice->cookie, splice->size);
    }
    return out;
}

static void on_answered(struct client *client, struct request *rq)
{
    struct node_ask *ask = (struct node_ask *)client;

    CHECK(!ask->answered);
    ask->answered = true;
    ask->under_way = NULL;
    ask->refusal = rq->refusal;
    ask->nothing = rq->answered_nothing;
    if (!rq->refusal && !rq->answered_nothing) {
        ask->bytes = flatten(&rq->response);
        ask->rq = rq;
        return;
    }
    request_free(rq);
}

static void dispatch(struct node_world *w, struct node_ask *ask, struct frame *frame,
                     enum api_listener listener)
{
    struct request *rq;

    ask->client = (struct client){.answered = on_answered,
                                  .shard = w->node->shards[0],
                                  .listener = str_from("PLAINTEXT"),
                                  .api_listener = listener};
    snprintf(ask->client.host, sizeof ask->client.host, "test");
    rq = request_create(&ask->client, frame);
    CHECK(rq);
    ask->under_way = rq;
    request_dispatch(rq);
}

static struct frame *make_frame(const uint8_t *data, size_t size)
{
    struct frame *frame = malloc(sizeof *frame + size);

    CHECK(frame);
    frame->size = size;
    memcpy(frame->data, data, size);
    return frame;
}

void node_world_send_frame(struct node_world *w, struct node_ask *ask, struct bytes bytes)
{
    dispatch(w, ask, make_frame(bytes.data, bytes.size), API_ON_BROKER);
}

void node_world_send(struct node_world *w, struct node_ask *ask, int16_t key, int16_t version,
                     const void *message)
{
    const struct request_head head = {key, version, 7, str_from("test")};
    struct frame_start start;
    struct writer writer;

    writer_init(&writer, ANSWER_BYTES_MAX);
    start = frame_begin_request(&writer, api_find(key), &head);
    CHECK(message_type_by_key(MESSAGE_REQUEST, key)->encode(message, &writer, version));
    CHECK(frame_end(&writer, start));
    dispatch(w, ask, make_frame(writer.data + FRAME_LENGTH_BYTES, writer.size - FRAME_LENGTH_BYTES),
             api_find(key)->listeners & API_ON_BROKER ? API_ON_BROKER : API_ON_CONTROLLER);
    writer_free(&writer);
}

static void decode(struct node_ask *ask)
{
    const struct request *rq = ask->rq;
    const struct message_type *type = rq->handler->response;
    const int16_t version = rq->answer_version_0 ? 0 : rq->version;
    struct reader r =
        reader_of(ask->bytes.data + FRAME_LENGTH_BYTES, ask->bytes.size - FRAME_LENGTH_BYTES);
    int32_t correlation_id;
    void *m;

    CHECK(frame_length(ask->bytes.data) == (int32_t)ask->bytes.size - FRAME_LENGTH_BYTES);
    arena_init(&ask->arena, ANSWER_BYTES_MAX);
    m = arena_alloc(&ask->arena, type->size);
    CHECK(m);
    CHECK(frame_read_response_head(&r, rq->handler->api, version, &correlation_id));
    CHECK(correlation_id == rq->correlation_id);
    CHECK(type->decode(m, &r, &ask->arena, version));
    CHECK(reader_left(&r) == 0);
    ask->answer = m;
}

const void *node_world_wait(struct node_world *w, struct node_ask *ask, int64_t ms)
{
    while (!ask->answered && ms-- > 0)
        test_loop_run(&w->loop, 1);
    if (ask->rq && !ask->answer)
        decode(ask);
    return ask->answer;
}

void node_ask_free(struct node_ask *ask)
{
    CHECK(ask->answered);
    if (ask->rq)
        request_free(ask->rq);
    free(ask->bytes.data);
    if (ask->answer)
        arena_free(&ask->arena);
    *ask = (struct node_ask){0};
}

/* ---- what most tests need ---- */

struct partition *node_world_partition(struct node_world *w, struct uuid topic, int32_t index)
{
    return shard_partition(w->node->shards[node_shard_of(w->node, topic, index)], topic, index);
}

static bool all_led(struct node_world *w, struct uuid topic, int partitions)
{
    for (int i = 0; i < partitions; i++) {
        struct partition *p = node_world_partition(w, topic, i);

        if (!p || p->state != PARTITION_LEADING)
            return false;
    }
    return true;
}

struct uuid node_world_topic(struct node_world *w, const char *name, int partitions,
                             const char *const *settings)
{
    struct create_topics_request_creatable_topic_config configs[8];
    struct create_topics_request_creatable_topic topic;
    struct create_topics_request m;
    const struct create_topics_response *answer;
    struct node_ask ask = {0};
    struct uuid id;

    create_topics_request_init(&m);
    create_topics_request_creatable_topic_init(&topic);
    topic.name = str_from(name);
    topic.num_partitions = partitions;
    topic.replication_factor = 1;
    topic.configs = configs;
    for (; settings && *settings; settings += 2) {
        CHECK(topic.configs_count < sizeof configs / sizeof configs[0]);
        configs[topic.configs_count++] = (struct create_topics_request_creatable_topic_config){
            str_from(settings[0]), str_from(settings[1])};
    }
    m.topics = &topic;
    m.topics_count = 1;
    node_world_send(w, &ask, API_CREATE_TOPICS, CREATE_TOPICS_REQUEST_VERSION_MAX, &m);
    answer = node_world_wait(w, &ask, PATIENCE_MS);
    CHECK(answer);
    CHECK(answer->topics[0].error_code == KERR_NONE);
    id = answer->topics[0].topic_id;
    node_ask_free(&ask);
    for (int64_t ms = 0; ms < PATIENCE_MS && !all_led(w, id, partitions); ms++)
        test_loop_run(&w->loop, 1);
    CHECK(all_led(w, id, partitions));
    return id;
}

struct bytes_mut node_world_batch(struct node_world *w, int count, size_t size,
                                  int64_t timestamp_ms)
{
    struct bytes_mut batch = {0};
    uint8_t *value = malloc(size + 1);

    CHECK(value);
    memset(value, 'v', size);
    record_batch_builder_begin(&w->builder, &RECORD_BATCH_HEAD_PLAIN);
    for (int i = 0; i < count; i++)
        record_batch_builder_append(
            &w->builder,
            &(struct record_content){.timestamp_ms = timestamp_ms, .value = {value, size}});
    CHECK(!status_failed(record_batch_builder_finish(&w->builder, NULL, &batch)));
    free(value);
    return (struct bytes_mut){memcpy(malloc(batch.size), batch.data, batch.size), batch.size};
}

enum kerr node_world_produce(struct node_world *w, const char *topic, int32_t index, int16_t acks,
                             int count, size_t size)
{
    struct bytes_mut batch = node_world_batch(w, count, size, clock_wall_ms(&w->loop.clock));
    struct produce_request_partition_produce_data partition = {index,
                                                               {batch.data, batch.size, NULL}};
    struct produce_request_topic_produce_data data;
    const struct produce_response *answer;
    struct produce_request m;
    struct node_ask ask = {0};
    enum kerr code = KERR_NONE;

    produce_request_init(&m);
    produce_request_topic_produce_data_init(&data);
    data.name = str_from(topic);
    data.partition_data = &partition;
    data.partition_data_count = 1;
    m.acks = acks;
    m.timeout_ms = 1000;
    m.topic_data = &data;
    m.topic_data_count = 1;
    node_world_send(w, &ask, API_PRODUCE, 12, &m);
    answer = node_world_wait(w, &ask, PATIENCE_MS);
    CHECK(answer || acks == 0);
    if (answer)
        code = (enum kerr)answer->responses[0].partition_responses[0].error_code;
    node_ask_free(&ask);
    free(batch.data);
    return code;
}
