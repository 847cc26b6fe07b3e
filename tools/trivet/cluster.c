#include "tools/trivet/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "protocol/api.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/find_coordinator.h"
#include "protocol/messages/list_offsets.h"
#include "protocol/messages/metadata.h"

#define WAIT_STEP_US         100000
#define WAIT_STEPS_MAX       100 /* a coordinator may have to be made first */
#define METADATA_VERSION_MAX 12
#define ARENA_BYTES_MAX      ((size_t)1 << 30)

struct cluster {
    struct client *first; /* the bootstrap one */
    struct arena arena;   /* copies of what the metadata said */
    struct cluster_broker {
        int32_t id;
        struct str host;
        uint16_t port;
        struct client *client;
    } * brokers;
    size_t broker_count;
    struct cluster_topic {
        struct str name;
        int32_t *leaders; /* by partition; -1: none */
        size_t partition_count;
    } * topics;
    size_t topic_count;
};

static struct str copy_str(struct arena *a, struct str s)
{
    char *copy = arena_strdup(a, s);

    return copy ? (struct str){copy, s.size} : STR_NULL;
}

/* ---- what there is ---- */

static bool take_brokers(struct cluster *c, const struct metadata_response *m)
{
    c->brokers = arena_array(&c->arena, struct cluster_broker, m->brokers_count);
    if (!c->brokers)
        return false;
    c->broker_count = m->brokers_count;
    for (size_t i = 0; i < m->brokers_count; i++)
        c->brokers[i] = (struct cluster_broker){.id = m->brokers[i].node_id,
                                                .host = copy_str(&c->arena, m->brokers[i].host),
                                                .port = (uint16_t)m->brokers[i].port};
    return true;
}

static bool take_topic(struct cluster *c, struct cluster_topic *t,
                       const struct metadata_response_topic *m)
{
    t->name = copy_str(&c->arena, m->name);
    t->leaders = arena_array(&c->arena, int32_t, m->partitions_count);
    if (!t->leaders || !t->name.data)
        return false;
    t->partition_count = m->partitions_count;
    for (size_t i = 0; i < m->partitions_count; i++)
        t->leaders[i] = -1;
    for (size_t i = 0; i < m->partitions_count; i++) {
        int32_t index = m->partitions[i].partition_index;

        if (index >= 0 && (size_t)index < t->partition_count)
            t->leaders[index] = m->partitions[i].leader_id;
    }
    return true;
}

static bool take_topics(struct cluster *c, const struct metadata_response *m)
{
    c->topics = arena_array(&c->arena, struct cluster_topic, m->topics_count);
    if (!c->topics)
        return false;
    c->topic_count = m->topics_count;
    for (size_t i = 0; i < m->topics_count; i++)
        if (!take_topic(c, &c->topics[i], &m->topics[i]))
            return false;
    return true;
}

static bool ask_metadata(struct cluster *c)
{
    int16_t version = client_version(c->first, API_METADATA);
    struct metadata_request request;
    struct metadata_response response;

    if (version > METADATA_VERSION_MAX)
        version = METADATA_VERSION_MAX;
    metadata_request_init(&request);
    request.topics = NULL; /* all of them */
    request.allow_auto_topic_creation = false;
    if (!client_call(c->first, API_METADATA, version, &request, &response))
        return false;
    if (take_brokers(c, &response) && take_topics(c, &response))
        return true;
    fputs("trivet: the cluster is too large for this tool's memory\n", stderr);
    return false;
}

struct cluster *cluster_open(const char *bootstrap)
{
    struct cluster *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    arena_init(&c->arena, ARENA_BYTES_MAX);
    c->first = client_connect(bootstrap);
    if (c->first && ask_metadata(c))
        return c;
    cluster_close(c);
    return NULL;
}

void cluster_close(struct cluster *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->broker_count; i++)
        client_close(c->brokers[i].client);
    client_close(c->first);
    arena_free(&c->arena);
    free(c);
}

struct client *cluster_client(struct cluster *c)
{
    return c->first;
}

int32_t cluster_broker_id(const struct cluster *c, size_t index)
{
    return c->brokers[index].id;
}

size_t cluster_broker_count(const struct cluster *c)
{
    return c->broker_count;
}

struct client *cluster_broker(struct cluster *c, size_t index)
{
    struct cluster_broker *b = &c->brokers[index];

    if (!b->client)
        b->client = client_connect_to(b->host, b->port);
    return b->client;
}

static struct client *cluster_node(struct cluster *c, int32_t id)
{
    for (size_t i = 0; i < c->broker_count; i++)
        if (c->brokers[i].id == id)
            return cluster_broker(c, i);
    fprintf(stderr, "trivet: broker %d is not among those of the cluster\n", id);
    return NULL;
}

static const struct cluster_topic *cluster_topic(const struct cluster *c, struct str name)
{
    for (size_t i = 0; i < c->topic_count; i++)
        if (str_equal(c->topics[i].name, name))
            return &c->topics[i];
    return NULL;
}

size_t cluster_partition_count(const struct cluster *c, struct str topic)
{
    const struct cluster_topic *t = cluster_topic(c, topic);

    return t ? t->partition_count : 0;
}

/* ---- coordinators ---- */

/* Version 3: one key a request, and every broker has it. */
static bool find_coordinator(struct cluster *c, struct str group,
                             struct find_coordinator_response *response)
{
    struct find_coordinator_request request;

    find_coordinator_request_init(&request);
    request.key = group;
    return client_call(c->first, API_FIND_COORDINATOR, 3, &request, response);
}

struct client *cluster_coordinator(struct cluster *c, struct str group, int32_t *node_id)
{
    struct find_coordinator_response response;

    for (int step = 0; step < WAIT_STEPS_MAX; step++) {
        if (!find_coordinator(c, group, &response))
            return NULL;
        if (response.error_code == KERR_NONE) {
            *node_id = response.node_id;
            return cluster_node(c, response.node_id);
        }
        if (!kerr_retriable((enum kerr)response.error_code))
            break;
        usleep(WAIT_STEP_US);
    }
    fprintf(stderr, "trivet: %.*s: no coordinator: %s\n", STR_ARG(group),
            kerr_name((enum kerr)response.error_code));
    return NULL;
}

/* ---- offsets ---- */

static void take_offsets(const struct list_offsets_response *response,
                         struct offset_question *questions, size_t count)
{
    for (size_t t = 0; t < response->topics_count; t++)
        for (size_t p = 0; p < response->topics[t].partitions_count; p++) {
            const struct list_offsets_response_partition_response *got =
                &response->topics[t].partitions[p];

            for (size_t i = 0; i < count; i++)
                if (questions[i].partition == got->partition_index &&
                    str_equal(questions[i].topic, response->topics[t].name)) {
                    questions[i].code = got->error_code;
                    questions[i].offset = got->offset;
                }
        }
}

/* What is asked of one leader, a topic entry a question: simple, and as right. */
static bool ask_leader(struct cluster *c, struct arena *a, int32_t leader,
                       struct offset_question *questions, size_t count, const int32_t *leaders)
{
    struct client *client = cluster_node(c, leader);
    struct list_offsets_request_topic *topics =
        arena_array(a, struct list_offsets_request_topic, count);
    struct list_offsets_request_partition *partitions =
        arena_array(a, struct list_offsets_request_partition, count);
    struct list_offsets_request request;
    struct list_offsets_response response;
    size_t asked = 0;

    if (!client || !topics || !partitions)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (leaders[i] != leader)
            continue;
        list_offsets_request_partition_init(&partitions[asked]);
        partitions[asked].partition_index = questions[i].partition;
        partitions[asked].timestamp = questions[i].timestamp;
        list_offsets_request_topic_init(&topics[asked]);
        topics[asked].name = questions[i].topic;
        topics[asked].partitions = &partitions[asked];
        topics[asked].partitions_count = 1;
        asked++;
    }
    list_offsets_request_init(&request);
    request.replica_id = -1;
    request.topics = topics;
    request.topics_count = asked;
    if (!client_call(client, API_LIST_OFFSETS, client_version(client, API_LIST_OFFSETS), &request,
                     &response))
        return false;
    take_offsets(&response, questions, count);
    return true;
}

bool cluster_list_offsets(struct cluster *c, struct arena *a, struct offset_question *questions,
                          size_t count)
{
    int32_t *leaders = arena_array(a, int32_t, count);

    if (!leaders)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct cluster_topic *t = cluster_topic(c, questions[i].topic);

        questions[i].code = KERR_UNKNOWN_TOPIC_OR_PARTITION;
        questions[i].offset = -1;
        leaders[i] =
            t && questions[i].partition >= 0 && (size_t)questions[i].partition < t->partition_count
                ? t->leaders[questions[i].partition]
                : -1;
    }
    for (size_t b = 0; b < c->broker_count; b++) {
        bool any = false;

        for (size_t i = 0; i < count && !any; i++)
            any = leaders[i] == c->brokers[b].id;
        if (any && !ask_leader(c, a, c->brokers[b].id, questions, count, leaders))
            return false;
    }
    return true;
}
