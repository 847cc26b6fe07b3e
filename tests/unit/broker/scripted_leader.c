#include "tests/unit/broker/scripted_leader.h"

#include <stdlib.h>
#include <string.h>

#include "broker/shard.h"
#include "protocol/api.h"
#include "protocol/base/check.h"
#include "protocol/messages/create_topics.h"
#include "protocol/writer.h"

#define ANSWER_BYTES_MAX ((size_t)16 << 20)
#define ARENA_BYTES      ((size_t)16 << 20)
#define PARTITIONS_MAX   64

int64_t scripted_leader_follower_epoch(const struct scripted_leader *l)
{
    const struct shard *s = l->w->node->shards[0];
    const struct metadata_broker *b =
        metadata_image_broker(s->image, s->node->options->node_id);

    return b ? b->epoch : -1;
}

/* ---- the transport ---- */

static void scripted_send(struct transport *t, const struct transport_node *node,
                          struct transport_request *r, struct bytes_mut body, int64_t timeout_us)
{
    struct scripted_leader *l = (struct scripted_leader *)t;
    size_t at = 0;

    (void)timeout_us;
    while (at < SCRIPTED_ASKED_MAX && l->asked[at].request)
        at++;
    CHECK(at < SCRIPTED_ASKED_MAX);
    if (r->api_key == API_FETCH && l->fetches++ == 0)
        l->first_fetch_epoch = scripted_leader_follower_epoch(l);
    l->asked[at] = (struct scripted_asked){r, body, node->id};
}

static void asked_forget(struct scripted_leader *l, size_t i)
{
    free(l->asked[i].body.data);
    memmove(&l->asked[i], &l->asked[i + 1], (SCRIPTED_ASKED_MAX - i - 1) * sizeof l->asked[0]);
    l->asked[SCRIPTED_ASKED_MAX - 1] = (struct scripted_asked){0};
}

static void scripted_cancel(struct transport *t, struct transport_request *r)
{
    struct scripted_leader *l = (struct scripted_leader *)t;

    for (size_t i = 0; i < SCRIPTED_ASKED_MAX; i++)
        if (l->asked[i].request == r) {
            asked_forget(l, i);
            l->cancelled++;
            return;
        }
}

static const struct transport_ops scripted_ops = {.send = scripted_send, .cancel = scripted_cancel};

/* ---- life ---- */

void scripted_leader_init(struct scripted_leader *l, struct node_world *w)
{
    *l = (struct scripted_leader){.base = {&scripted_ops}, .w = w};
    arena_init(&l->arena, ARENA_BYTES);
    for (size_t i = 0; i < NODE_WORLD_SHARDS; i++)
        w->shard_peers[i] = &l->base;
}

void scripted_leader_join(struct scripted_leader *l)
{
    second_broker_register(&l->broker, l->w);
    second_broker_live(&l->broker, 20);
}

void scripted_leader_free(struct scripted_leader *l)
{
    while (l->asked[0].request)
        asked_forget(l, 0);
    arena_free(&l->arena);
}

struct uuid scripted_leader_topic(struct scripted_leader *l, const char *name, int partitions,
                                  const char *const *settings)
{
    struct create_topics_request_creatable_topic_config configs[8];
    struct create_topics_request_creatable_replica_assignment assignments[PARTITIONS_MAX];
    struct create_topics_request_creatable_topic topic;
    struct create_topics_request m;
    const struct create_topics_response *answer;
    int32_t both[] = {SECOND_BROKER, 1};
    struct node_ask ask = {0};
    struct uuid id;

    CHECK(partitions <= PARTITIONS_MAX);
    create_topics_request_init(&m);
    create_topics_request_creatable_topic_init(&topic);
    for (int32_t i = 0; i < partitions; i++) {
        create_topics_request_creatable_replica_assignment_init(&assignments[i]);
        assignments[i].partition_index = i;
        assignments[i].broker_ids = both;
        assignments[i].broker_ids_count = 2;
    }
    topic.name = str_from(name);
    topic.num_partitions = -1;
    topic.replication_factor = -1;
    topic.assignments = assignments;
    topic.assignments_count = (size_t)partitions;
    topic.configs = configs;
    for (; settings && *settings; settings += 2)
        configs[topic.configs_count++] = (struct create_topics_request_creatable_topic_config){
            str_from(settings[0]), str_from(settings[1])};
    m.topics = &topic;
    m.topics_count = 1;
    node_world_send(l->w, &ask, API_CREATE_TOPICS, CREATE_TOPICS_REQUEST_VERSION_MAX, &m);
    answer = node_world_wait(l->w, &ask, 1000);
    CHECK(answer && answer->topics[0].error_code == KERR_NONE);
    id = answer->topics[0].topic_id;
    node_ask_free(&ask);
    second_broker_live(&l->broker, 20);
    return id;
}

/* ---- what is asked ---- */

static struct scripted_asked *asked_find(struct scripted_leader *l, int16_t key)
{
    for (size_t i = 0; i < SCRIPTED_ASKED_MAX; i++)
        if (l->asked[i].request && l->asked[i].request->api_key == key)
            return &l->asked[i];
    return NULL;
}

static struct scripted_asked *asked_wait(struct scripted_leader *l, int16_t key, int64_t ms)
{
    for (; ms > 0 && !asked_find(l, key); ms--)
        test_loop_run(&l->w->loop, 1);
    return asked_find(l, key);
}

const struct fetch_request *scripted_leader_fetch(struct scripted_leader *l, int64_t ms)
{
    struct scripted_asked *a = asked_wait(l, FETCH_REQUEST_KEY, ms);
    struct reader r;

    if (!a)
        return NULL;
    CHECK(a->node_id == SECOND_BROKER);
    arena_reset(&l->arena);
    r = reader_of(a->body.data, a->body.size);
    CHECK(fetch_request_decode(&l->fetch, &r, &l->arena, a->request->api_version));
    return &l->fetch;
}

const struct list_offsets_request *scripted_leader_list_offsets(struct scripted_leader *l,
                                                                int64_t ms)
{
    struct scripted_asked *a = asked_wait(l, LIST_OFFSETS_REQUEST_KEY, ms);
    struct reader r;

    if (!a)
        return NULL;
    arena_reset(&l->arena);
    r = reader_of(a->body.data, a->body.size);
    CHECK(list_offsets_request_decode(&l->list_offsets, &r, &l->arena, a->request->api_version));
    return &l->list_offsets;
}

size_t scripted_leader_waiting(const struct scripted_leader *l, int16_t key)
{
    size_t count = 0;

    for (size_t i = 0; i < SCRIPTED_ASKED_MAX; i++)
        count += l->asked[i].request && l->asked[i].request->api_key == key;
    return count;
}

/* ---- what is answered ---- */

static void asked_answer(struct scripted_leader *l, int16_t key, struct status result,
                         struct bytes body)
{
    struct scripted_asked *a = asked_find(l, key);
    struct transport_request *r;

    CHECK(a);
    r = a->request;
    asked_forget(l, (size_t)(a - l->asked));
    r->answered(r, result, body);
}

void scripted_leader_answer(struct scripted_leader *l, int16_t key, const void *message)
{
    const struct scripted_asked *a = asked_find(l, key);
    struct writer w;

    CHECK(a);
    writer_init(&w, ANSWER_BYTES_MAX);
    CHECK(key == FETCH_REQUEST_KEY
              ? fetch_response_encode(message, &w, a->request->api_version)
              : list_offsets_response_encode(message, &w, a->request->api_version));
    asked_answer(l, key, STATUS_OK, (struct bytes){w.data, w.size});
    writer_free(&w);
}

void scripted_leader_answer_bytes(struct scripted_leader *l, int16_t key, struct bytes body)
{
    asked_answer(l, key, STATUS_OK, body);
}

void scripted_leader_fail(struct scripted_leader *l, int16_t key, struct status why)
{
    asked_answer(l, key, why, (struct bytes){NULL, 0});
}
