#include "tools/trivet/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/api.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/describe_cluster.h"
#include "protocol/messages/describe_log_dirs.h"
#include "protocol/messages/describe_topic_partitions.h"
#include "protocol/messages/list_offsets.h"
#include "protocol/messages/metadata.h"

#define METADATA_VERSION_MAX 12
#define PAGE_PARTITIONS      2000
#define TIMESTAMP_LATEST     (-1)
#define REPLICA_DEBUGGING    (-2) /* reads from any replica, up to its log end */

static bool too_large(void)
{
    fputs("trivet: the cluster is too large for this tool's memory\n", stderr);
    return false;
}

static struct str copy_str(struct arena *a, struct str s)
{
    char *copy = arena_strdup(a, s);

    return copy ? (struct str){copy, s.size} : STR_NULL;
}

static struct id_list copy_ids(struct arena *a, const int32_t *ids, size_t count)
{
    int32_t *copy = arena_array(a, int32_t, count);

    for (size_t i = 0; copy && i < count; i++)
        copy[i] = ids[i];
    return (struct id_list){copy, copy ? count : 0};
}

/* ---- brokers ---- */

static int by_id(const void *a, const void *b)
{
    const struct layout_broker *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static bool load_brokers(struct client *c, struct arena *a, struct layout *l)
{
    int16_t version = client_version(c, API_DESCRIBE_CLUSTER);
    struct describe_cluster_request request;
    struct describe_cluster_response response;

    describe_cluster_request_init(&request);
    request.include_fenced_brokers = version >= 2;
    if (!client_call(c, API_DESCRIBE_CLUSTER, version, &request, &response))
        return false;
    l->cluster_id = copy_str(a, response.cluster_id);
    l->brokers = arena_array(a, struct layout_broker, response.brokers_count);
    if (!l->brokers)
        return too_large();
    l->broker_count = response.brokers_count;
    for (size_t i = 0; i < response.brokers_count; i++) {
        const struct describe_cluster_response_broker *b = &response.brokers[i];

        l->brokers[i] =
            (struct layout_broker){.id = b->broker_id,
                                   .host = copy_str(a, b->host),
                                   .port = b->port,
                                   .zone = b->rack.data ? copy_str(a, b->rack) : STR(""),
                                   .fenced = b->is_fenced,
                                   .log_bytes = -1,
                                   .usable_bytes = -1};
    }
    qsort(l->brokers, l->broker_count, sizeof *l->brokers, by_id);
    return true;
}

const struct layout_broker *layout_broker(const struct layout *l, int32_t id)
{
    const struct layout_broker key = {.id = id};

    return l->broker_count ? bsearch(&key, l->brokers, l->broker_count, sizeof key, by_id) : NULL;
}

static struct layout_broker *find_broker(struct layout *l, int32_t id)
{
    return (struct layout_broker *)(uintptr_t)layout_broker(l, id);
}

/* ---- partitions ---- */

static int by_place(const void *a, const void *b)
{
    const struct layout_partition *x = a, *y = b;
    int order = str_compare(x->topic, y->topic);

    return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* The lists of what may be any partition struct of an answer, copied. */
static bool fill_lists(struct arena *a, struct layout_partition *p, struct id_list replicas,
                       struct id_list isr, struct id_list elr)
{
    p->replicas = copy_ids(a, replicas.ids, replicas.count);
    p->isr = copy_ids(a, isr.ids, isr.count);
    p->elr = copy_ids(a, elr.ids, elr.count);
    p->ends = arena_array(a, int64_t, replicas.count);
    p->size_bytes = -1;
    for (size_t i = 0; p->ends && i < replicas.count; i++)
        p->ends[i] = -1;
    return p->replicas.ids && p->isr.ids && p->elr.ids && p->ends;
}

static bool load_partitions(struct client *c, struct arena *a, struct layout *l)
{
    int16_t version = client_version(c, API_METADATA);
    struct metadata_request request;
    struct metadata_response response;
    struct layout_partition *p;
    size_t count = 0;

    metadata_request_init(&request);
    request.topics = NULL; /* all of them */
    request.allow_auto_topic_creation = false;
    if (!client_call(c, API_METADATA,
                     version < METADATA_VERSION_MAX ? version : METADATA_VERSION_MAX, &request,
                     &response))
        return false;
    for (size_t i = 0; i < response.topics_count; i++)
        count += response.topics[i].partitions_count;
    l->partitions = p = arena_array(a, struct layout_partition, count);
    if (!p)
        return too_large();
    l->partition_count = count;
    for (size_t i = 0; i < response.topics_count; i++) {
        struct str name = copy_str(a, response.topics[i].name);

        for (size_t k = 0; k < response.topics[i].partitions_count; k++, p++) {
            const struct metadata_response_partition *m = &response.topics[i].partitions[k];

            *p = (struct layout_partition){.topic = name,
                                           .index = m->partition_index,
                                           .leader = m->leader_id,
                                           .leader_epoch = m->leader_epoch};
            if (!name.data ||
                !fill_lists(a, p, (struct id_list){m->replica_nodes, m->replica_nodes_count},
                            (struct id_list){m->isr_nodes, m->isr_nodes_count},
                            (struct id_list){0}))
                return too_large();
        }
    }
    if (count > 1)
        qsort(l->partitions, count, sizeof *l->partitions, by_place);
    return true;
}

static struct layout_partition *find_partition(const struct layout *l, struct str topic,
                                               int32_t index)
{
    const struct layout_partition key = {.topic = topic, .index = index};

    return l->partition_count
               ? bsearch(&key, l->partitions, l->partition_count, sizeof key, by_place)
               : NULL;
}

/* KIP-966: who could lead beside the ISR. An older broker does not tell. */
static bool load_elr(struct client *c, struct arena *a, struct layout *l)
{
    struct describe_topic_partitions_request request;
    struct describe_topic_partitions_request_cursor cursor;
    struct describe_topic_partitions_response response;

    if (client_version(c, API_DESCRIBE_TOPIC_PARTITIONS) < 0)
        return true;
    describe_topic_partitions_request_init(&request);
    request.response_partition_limit = PAGE_PARTITIONS;
    do {
        if (!client_call(c, API_DESCRIBE_TOPIC_PARTITIONS, 0, &request, &response))
            return false;
        for (size_t i = 0; i < response.topics_count; i++)
            for (size_t k = 0; k < response.topics[i].partitions_count; k++) {
                const struct describe_topic_partitions_response_partition *m =
                    &response.topics[i].partitions[k];
                struct layout_partition *p =
                    find_partition(l, response.topics[i].name, m->partition_index);

                if (p)
                    p->elr =
                        copy_ids(a, m->eligible_leader_replicas, m->eligible_leader_replicas_count);
            }
        if (response.next_cursor) {
            cursor.topic_name = copy_str(a, response.next_cursor->topic_name);
            cursor.partition_index = response.next_cursor->partition_index;
            request.cursor = &cursor;
        }
    } while (response.next_cursor);
    return true;
}

static void count_places(struct layout *l)
{
    for (size_t i = 0; i < l->partition_count; i++) {
        const struct layout_partition *p = &l->partitions[i];
        struct layout_broker *leader = find_broker(l, p->leader);

        if (leader)
            leader->leads++;
        for (size_t k = 0; k < p->replicas.count; k++) {
            struct layout_broker *b = find_broker(l, p->replicas.ids[k]);

            if (!b)
                continue;
            b->replicas++;
            b->in_sync += id_list_contains(p->isr, b->id);
        }
    }
}

/* ---- logs ---- */

static void take_log(struct layout *l, struct layout_broker *b, struct str topic,
                     const struct describe_log_dirs_response_partition *log)
{
    struct layout_partition *p = find_partition(l, topic, log->partition_index);

    b->log_bytes += log->partition_size;
    if (p && p->leader == b->id)
        p->size_bytes = log->partition_size;
}

static void load_logs_of(struct client *c, struct layout *l, struct layout_broker *b)
{
    struct describe_log_dirs_request request;
    struct describe_log_dirs_response response;
    int16_t version = client_version(c, API_DESCRIBE_LOG_DIRS);

    if (version < 0)
        return;
    describe_log_dirs_request_init(&request);
    request.topics = NULL;
    if (!client_call(c, API_DESCRIBE_LOG_DIRS, version, &request, &response))
        return;
    b->log_bytes = 0;
    for (size_t i = 0; i < response.results_count; i++) {
        const struct describe_log_dirs_response_result *d = &response.results[i];

        if (d->usable_bytes >= 0)
            b->usable_bytes = (b->usable_bytes < 0 ? 0 : b->usable_bytes) + d->usable_bytes;
        for (size_t k = 0; k < d->topics_count; k++)
            for (size_t j = 0; j < d->topics[k].partitions_count; j++)
                if (!d->topics[k].partitions[j].is_future_key)
                    take_log(l, b, d->topics[k].name, &d->topics[k].partitions[j]);
    }
}

/* The partitions of which that broker has a replica, as one question. False: the arena is spent. */
static bool fill_question(const struct layout *l, int32_t id, struct arena *a,
                          struct list_offsets_request *m)
{
    struct list_offsets_request_partition *p =
        arena_array(a, struct list_offsets_request_partition, l->partition_count);
    struct list_offsets_request_topic *t =
        arena_array(a, struct list_offsets_request_topic, l->partition_count);

    if (!p || !t)
        return false;
    m->topics = t;
    for (size_t i = 0; i < l->partition_count; i++) {
        const struct layout_partition *from = &l->partitions[i];

        if (!id_list_contains(from->replicas, id))
            continue;
        if (m->topics_count == 0 || !str_equal(t[m->topics_count - 1].name, from->topic))
            t[m->topics_count++] = (struct list_offsets_request_topic){from->topic, p, 0};
        list_offsets_request_partition_init(p);
        p->partition_index = from->index;
        p++->timestamp = TIMESTAMP_LATEST;
        t[m->topics_count - 1].partitions_count++;
    }
    return true;
}

static void take_end(struct layout *l, int32_t id, struct str topic,
                     const struct list_offsets_response_partition_response *answer)
{
    struct layout_partition *p = find_partition(l, topic, answer->partition_index);

    for (size_t i = 0; p && answer->error_code == KERR_NONE && i < p->replicas.count; i++)
        if (p->replicas.ids[i] == id)
            p->ends[i] = answer->offset;
}

/* A broker tells where the logs end that it has, whether or not it leads them. */
static void load_ends_of(struct client *c, struct layout *l, int32_t id, struct arena *a)
{
    struct list_offsets_request request;
    struct list_offsets_response response;

    list_offsets_request_init(&request);
    request.replica_id = REPLICA_DEBUGGING;
    if (!fill_question(l, id, a, &request) || request.topics_count == 0 ||
        !client_call(c, API_LIST_OFFSETS, client_version(c, API_LIST_OFFSETS), &request, &response))
        return;
    for (size_t i = 0; i < response.topics_count; i++)
        for (size_t k = 0; k < response.topics[i].partitions_count; k++)
            take_end(l, id, response.topics[i].name, &response.topics[i].partitions[k]);
}

static void load_logs(struct cluster *c, struct layout *l, struct arena *a)
{
    for (size_t i = 0; i < cluster_broker_count(c); i++) {
        struct layout_broker *b = find_broker(l, cluster_broker_id(c, i));
        struct client *client = b && !b->fenced ? cluster_broker(c, i) : NULL;

        if (!client)
            continue;
        load_logs_of(client, l, b);
        load_ends_of(client, l, b->id, a);
    }
}

int64_t layout_lag(const struct layout_partition *p, size_t i)
{
    int64_t leader_end = -1;

    for (size_t k = 0; k < p->replicas.count; k++)
        if (p->replicas.ids[k] == p->leader)
            leader_end = p->ends[k];
    if (leader_end < 0 || p->ends[i] < 0)
        return -1;
    /* They were asked one after the other. */
    return leader_end > p->ends[i] ? leader_end - p->ends[i] : 0;
}

bool layout_load(struct cluster *c, enum layout_detail detail, struct arena *a, struct layout *out)
{
    struct client *client = cluster_client(c);

    *out = (struct layout){0};
    if (!load_brokers(client, a, out) || !load_partitions(client, a, out) ||
        !load_elr(client, a, out))
        return false;
    count_places(out);
    if (detail == LAYOUT_LOGS)
        load_logs(c, out, a);
    return true;
}

void layout_print_ids(const struct layout *l, struct id_list ids)
{
    for (size_t i = 0; i < ids.count; i++) {
        const struct layout_broker *b = layout_broker(l, ids.ids[i]);

        printf("%s%d", i ? "," : "", ids.ids[i]);
        if (b && b->zone.size)
            printf("/%.*s", STR_ARG(b->zone));
    }
    if (ids.count == 0)
        putchar('-');
}
