/* Metadata: topics, partitions and brokers out of the shard's image; missing topics are made when
 * client and broker both allow it. */

#include <stdlib.h>

#include "broker/handlers/operations.h"
#include "broker/internal_topics.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "broker/storage_dirs.h"
#include "broker/topic_creation.h"
#include "broker/unsure.h"
#include "protocol/messages/metadata.h"
#include "replication/topic_name.h"

/* ---- filling the answer ---- */

static bool fill_brokers(struct request *rq, struct metadata_response *out)
{
    const struct metadata_image *img = rq->shard->image;
    size_t count = metadata_image_broker_count(img);
    struct metadata_response_broker *b =
        arena_array(&rq->arena, struct metadata_response_broker, count);

    if (!b)
        return false;
    out->brokers = b;
    for (size_t i = 0; i < count; i++) {
        const struct metadata_broker *broker = metadata_image_broker_at(img, i);
        const struct metadata_listener *l = metadata_broker_listener(broker, rq->listener);

        if (broker->fenced || !l)
            continue;
        *b++ = (struct metadata_response_broker){broker->id, l->host, l->port, broker->rack};
        out->brokers_count++;
    }
    return true;
}

static int32_t *list_of(struct id_list l)
{
    return (int32_t *)(uintptr_t)l.ids; /* the encoder only reads */
}

/* Replicas on brokers that are not there; in the arena. */
static bool fill_offline(struct request *rq, struct metadata_response_partition *out,
                         struct id_list replicas)
{
    for (size_t i = 0; i < replicas.count; i++) {
        const struct metadata_broker *b = metadata_image_broker(rq->shard->image, replicas.ids[i]);

        if (b && !b->fenced)
            continue;
        if (out->offline_replicas_count == 0)
            out->offline_replicas = arena_array(&rq->arena, int32_t, replicas.count);
        if (!out->offline_replicas)
            return false;
        out->offline_replicas[out->offline_replicas_count++] = replicas.ids[i];
    }
    return true;
}

static bool fill_partitions(struct request *rq, const struct metadata_topic *topic,
                            struct metadata_response_topic *out)
{
    out->partitions =
        arena_array(&rq->arena, struct metadata_response_partition, topic->partition_count);
    if (!out->partitions)
        return false;
    out->partitions_count = topic->partition_count;
    for (size_t i = 0; i < topic->partition_count; i++) {
        const struct metadata_partition *mp = topic->partitions[i];
        struct metadata_response_partition *p = &out->partitions[i];

        metadata_response_partition_init(p);
        p->error_code = mp->leader == NO_LEADER ? KERR_LEADER_NOT_AVAILABLE : KERR_NONE;
        p->partition_index = (int32_t)i;
        p->leader_id = mp->leader;
        p->leader_epoch = mp->leader_epoch;
        p->replica_nodes = list_of(mp->replicas);
        p->replica_nodes_count = mp->replicas.count;
        p->isr_nodes = list_of(mp->isr);
        p->isr_nodes_count = mp->isr.count;
        if (!fill_offline(rq, p, mp->replicas))
            return false;
    }
    return true;
}

static bool fill_topic(struct request *rq, const struct metadata_topic *topic,
                       struct metadata_response_topic *out)
{
    const struct metadata_request *m = rq->message;

    metadata_response_topic_init(out);
    if (m->include_topic_authorized_operations)
        out->topic_authorized_operations = OPERATIONS_OF_TOPIC;
    out->name = topic->name;
    out->topic_id = topic->id;
    out->is_internal = internal_topic_is(topic->name);
    return fill_partitions(rq, topic, out);
}

static bool fill_all_topics(struct request *rq, struct metadata_response *out)
{
    size_t count = metadata_image_topic_count(rq->shard->image);
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *topic;

    out->topics = arena_array(&rq->arena, struct metadata_response_topic, count);
    if (!out->topics)
        return false;
    metadata_topics_begin(&cursor, rq->shard->image);
    while ((topic = metadata_topics_next(&cursor)))
        if (!fill_topic(rq, topic, &out->topics[out->topics_count++]))
            return false;
    return true;
}

/* An id counts, whatever the name: Java's clients leave that empty, not null. */
static bool asked_by_id(const struct metadata_request_topic *t)
{
    return !t->name.data || !uuid_is_zero(t->topic_id);
}

static const struct metadata_topic *asked_topic(const struct request *rq,
                                                const struct metadata_request_topic *t)
{
    return asked_by_id(t) ? metadata_image_topic_by_id(rq->shard->image, t->topic_id)
                          : metadata_image_topic(rq->shard->image, t->name);
}

static enum kerr missing_code(const struct metadata_request_topic *t)
{
    if (asked_by_id(t))
        return KERR_UNKNOWN_TOPIC_ID;
    return topic_name_error(t->name) ? KERR_INVALID_TOPIC_EXCEPTION
                                     : KERR_UNKNOWN_TOPIC_OR_PARTITION;
}

static bool fill_asked_topics(struct request *rq, const struct metadata_request *m,
                              struct metadata_response *out)
{
    out->topics = arena_array(&rq->arena, struct metadata_response_topic, m->topics_count);
    if (!out->topics)
        return false;
    out->topics_count = m->topics_count;
    for (size_t i = 0; i < m->topics_count; i++) {
        const struct metadata_topic *topic = asked_topic(rq, &m->topics[i]);
        struct metadata_response_topic *t = &out->topics[i];

        if (topic) {
            if (!fill_topic(rq, topic, t))
                return false;
            continue;
        }
        metadata_response_topic_init(t);
        t->name = asked_by_id(&m->topics[i]) ? STR_NULL : m->topics[i].name;
        t->topic_id = m->topics[i].topic_id;
        t->error_code = (int16_t)missing_code(&m->topics[i]);
        t->is_internal = internal_topic_is(t->name);
        if (m->include_topic_authorized_operations && t->name.data)
            t->topic_authorized_operations = OPERATIONS_OF_TOPIC;
    }
    return true;
}

/* Null means all; version 0 has no null, there an empty list does. */
static bool wants_all(const struct request *rq, const struct metadata_request *m)
{
    return !m->topics || (rq->version == 0 && m->topics_count == 0);
}

static void metadata_answer(struct request *rq)
{
    const struct metadata_request *m = rq->message;
    struct metadata_response response;

    metadata_response_init(&response);
    response.cluster_id = str_from(storage_dirs_cluster_id(rq->shard->node->dirs));
    if (m->include_cluster_authorized_operations)
        response.cluster_authorized_operations = OPERATIONS_OF_CLUSTER;
    /* Any broker takes what is for the controller; KRaft names a live one at random. */
    response.controller_id = rq->shard->node->options->node_id;
    if (fill_brokers(rq, &response) &&
        (wants_all(rq, m) ? fill_all_topics(rq, &response) : fill_asked_topics(rq, m, &response)))
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

/* ---- automatic creation ---- */

/* What could not be made is missing still. */
static void topics_created(struct topic_creation *t)
{
    metadata_answer(t->rq);
}

static bool may_create(const struct request *rq, const struct metadata_request_topic *t)
{
    return !asked_by_id(t) && !metadata_image_topic(rq->shard->image, t->name) &&
           !topic_name_error(t->name);
}

/* Asks the controller for the topics that are missing. False: there are none, or no memory for
 * it. */
static bool create_missing(struct request *rq, const struct metadata_request *m)
{
    struct topic_creation *t = arena_array(&rq->arena, struct topic_creation, 1);
    struct create_topic *missing = arena_array(&rq->arena, struct create_topic, m->topics_count);
    size_t count = 0;

    if (!t || !missing)
        return false;
    for (size_t i = 0; i < m->topics_count; i++)
        if (may_create(rq, &m->topics[i]) &&
            !internal_topic_creation(rq->shard->node->options->config, m->topics[i].name,
                                     &rq->arena, &missing[count++]))
            return false;
    if (count == 0)
        return false;
    t->rq = rq;
    t->topics = missing;
    t->count = count;
    t->finished = topics_created;
    return topic_creation_start(t);
}

/* Whether it asks what its version cannot ask: by ids before 12 (their fields are there since 10),
 * or for a topic without name and id. */
static bool is_invalid(const struct request *rq, const struct metadata_request *m)
{
    for (size_t i = 0; i < m->topics_count; i++)
        if (rq->version < 12 ? asked_by_id(&m->topics[i])
                             : !m->topics[i].name.data && uuid_is_zero(m->topics[i].topic_id))
            return true;
    return false;
}

/* The whole request is refused: each topic that it names, and nothing else is told. */
static void metadata_refuse(struct request *rq)
{
    const struct metadata_request *m = rq->message;
    struct metadata_response response;

    metadata_response_init(&response);
    response.topics = arena_array(&rq->arena, struct metadata_response_topic, m->topics_count);
    if (!response.topics) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    response.topics_count = m->topics_count;
    for (size_t i = 0; i < m->topics_count; i++) {
        struct metadata_response_topic *t = &response.topics[i];

        metadata_response_topic_init(t);
        t->name = m->topics[i].name.data ? m->topics[i].name : STR("");
        t->topic_id = m->topics[i].topic_id;
        t->error_code = KERR_INVALID_REQUEST;
    }
    request_answer(rq, &response);
}

void handle_metadata(struct request *rq)
{
    const struct metadata_request *m = rq->message;

    if (is_invalid(rq, m)) {
        metadata_refuse(rq);
        return;
    }
    if (!wants_all(rq, m) && m->allow_auto_topic_creation &&
        rq->shard->node->options->auto_create_topics && create_missing(rq, m))
        return;
    unsure_answer(rq, metadata_answer);
}
