/* DescribeTopicPartitions (KIP-966): topics in order of their names, some partitions at a time,
 * with their ELR. */

#include <stdlib.h>

#include "broker/handlers/operations.h"
#include "broker/internal_topics.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "protocol/messages/describe_topic_partitions.h"
#include "replication/topic_name.h"

/* Topics to be described; `topic` NULL: there is none of that name. */
struct asked_topic {
    struct str name;
    const struct metadata_topic *topic;
};

static int compare_names(const void *a, const void *b)
{
    const struct asked_topic *x = a, *y = b;

    return str_compare(x->name, y->name);
}

/* Sorted, each once, from the cursor on. False: the arena is spent. */
static bool collect(struct request *rq, struct asked_topic **out, size_t *count)
{
    const struct describe_topic_partitions_request *m = rq->message;
    const struct metadata_image *img = rq->shard->image;
    size_t room = m->topics_count ? m->topics_count : metadata_image_topic_count(img), n = 0;
    struct asked_topic *all = arena_array(&rq->arena, struct asked_topic, room);
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *t;

    if (!all)
        return false;
    for (size_t i = 0; i < m->topics_count; i++)
        all[n++] =
            (struct asked_topic){m->topics[i].name, metadata_image_topic(img, m->topics[i].name)};
    metadata_topics_begin(&cursor, img);
    while (m->topics_count == 0 && (t = metadata_topics_next(&cursor)))
        all[n++] = (struct asked_topic){t->name, t};
    if (n > 1)
        qsort(all, n, sizeof *all, compare_names);
    *count = 0;
    for (size_t i = 0; i < n; i++)
        if ((!m->cursor || str_compare(all[i].name, m->cursor->topic_name) >= 0) &&
            (*count == 0 || !str_equal(all[*count - 1].name, all[i].name)))
            all[(*count)++] = all[i];
    *out = all;
    return true;
}

static int32_t *list_of(struct id_list l)
{
    static const int32_t none[1]; /* NULL would be "unknown" */

    return (int32_t *)(uintptr_t)(l.count ? l.ids : none); /* the encoder only reads */
}

static bool fill_partition(struct request *rq, const struct metadata_partition *mp, int32_t index,
                           struct describe_topic_partitions_response_partition *p)
{
    describe_topic_partitions_response_partition_init(p);
    p->error_code = mp->leader == NO_LEADER ? KERR_LEADER_NOT_AVAILABLE : KERR_NONE;
    p->partition_index = index;
    p->leader_id = mp->leader;
    p->leader_epoch = mp->leader_epoch;
    p->replica_nodes = list_of(mp->replicas);
    p->replica_nodes_count = mp->replicas.count;
    p->isr_nodes = list_of(mp->isr);
    p->isr_nodes_count = mp->isr.count;
    p->eligible_leader_replicas = list_of(mp->elr);
    p->eligible_leader_replicas_count = mp->elr.count;
    p->last_known_elr = list_of(mp->last_known_elr);
    p->last_known_elr_count = mp->last_known_elr.count;
    p->offline_replicas = arena_array(&rq->arena, int32_t, mp->replicas.count);
    if (!p->offline_replicas)
        return false;
    for (size_t i = 0; i < mp->replicas.count; i++) {
        const struct metadata_broker *b =
            metadata_image_broker(rq->shard->image, mp->replicas.ids[i]);

        if (!b || b->fenced)
            p->offline_replicas[p->offline_replicas_count++] = mp->replicas.ids[i];
    }
    return true;
}

/* Partitions [from, until) of the topic. */
static bool fill_topic(struct request *rq, const struct asked_topic *asked, int32_t from,
                       int32_t until, struct describe_topic_partitions_response_topic *out)
{
    describe_topic_partitions_response_topic_init(out);
    out->name = asked->name;
    out->topic_authorized_operations = OPERATIONS_OF_TOPIC;
    if (!asked->topic) {
        out->error_code =
            (int16_t)(topic_name_error(asked->name) ? KERR_INVALID_TOPIC_EXCEPTION
                                                    : KERR_UNKNOWN_TOPIC_OR_PARTITION);
        return true;
    }
    out->topic_id = asked->topic->id;
    out->is_internal = internal_topic_is(asked->name);
    out->partitions = arena_array(&rq->arena, struct describe_topic_partitions_response_partition,
                                  (size_t)(until - from));
    if (!out->partitions)
        return false;
    for (int32_t i = from; i < until; i++)
        if (!fill_partition(rq, asked->topic->partitions[i], i,
                            &out->partitions[out->partitions_count++]))
            return false;
    return true;
}

static int32_t limit_of(const struct request *rq)
{
    const struct describe_topic_partitions_request *m = rq->message;
    int32_t limit = (int32_t)config_values_integer(rq->shard->node->options->config,
                                                   "max.request.partition.size.limit");

    if (m->response_partition_limit < limit)
        limit = m->response_partition_limit;
    return limit > 1 ? limit : 1; /* whatever is asked, there is a step forward */
}

/* The whole request is refused: each topic that it names. */
static bool fill_refused(struct request *rq, struct describe_topic_partitions_response *out)
{
    const struct describe_topic_partitions_request *m = rq->message;

    out->topics =
        arena_array(&rq->arena, struct describe_topic_partitions_response_topic, m->topics_count);
    if (!out->topics)
        return false;
    out->topics_count = m->topics_count;
    for (size_t i = 0; i < m->topics_count; i++) {
        describe_topic_partitions_response_topic_init(&out->topics[i]);
        out->topics[i].name = m->topics[i].name;
        out->topics[i].error_code = KERR_INVALID_REQUEST;
    }
    return true;
}

static bool fill(struct request *rq, struct describe_topic_partitions_response *out)
{
    const struct describe_topic_partitions_request *m = rq->message;
    int32_t left = limit_of(rq);
    struct asked_topic *topics;
    size_t count;

    if (!collect(rq, &topics, &count))
        return false;
    out->topics = arena_array(&rq->arena, struct describe_topic_partitions_response_topic, count);
    if (!out->topics)
        return false;
    for (size_t i = 0; i < count; i++) {
        int32_t has = topics[i].topic ? (int32_t)topics[i].topic->partition_count : 0;
        int32_t from = m->cursor && str_equal(m->cursor->topic_name, topics[i].name)
                           ? m->cursor->partition_index
                           : 0;
        int32_t until;

        if (from > has) /* it was made anew, smaller, meanwhile */
            from = has;
        until = has - from > left ? from + left : has;
        if (left > 0 && !fill_topic(rq, &topics[i], from, until, &out->topics[out->topics_count++]))
            return false;
        left -= until - from;
        if (until < has || (left == 0 && i + 1 < count)) {
            out->next_cursor =
                arena_array(&rq->arena, struct describe_topic_partitions_response_cursor, 1);
            if (!out->next_cursor)
                return false;
            *out->next_cursor =
                until < has
                    ? (struct describe_topic_partitions_response_cursor){topics[i].name, until}
                    : (struct describe_topic_partitions_response_cursor){topics[i + 1].name, 0};
            return true;
        }
    }
    return true;
}

void handle_describe_topic_partitions(struct request *rq)
{
    const struct describe_topic_partitions_request *m = rq->message;
    struct describe_topic_partitions_response response;
    bool refused = m->cursor && m->cursor->partition_index < 0;

    describe_topic_partitions_response_init(&response);
    if (refused ? fill_refused(rq, &response) : fill(rq, &response))
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
