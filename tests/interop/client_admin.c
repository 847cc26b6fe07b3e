/* Admin requests of the interop cases, each about one thing, as a function that waits. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/interop/client.h"

rd_kafka_t *admin(struct world *w)
{
    for (size_t i = 0; i < w->client_count; i++)
        if (rd_kafka_type(w->clients[i]) == RD_KAFKA_PRODUCER)
            return w->clients[i];
    return open_producer(w, NO_SETTINGS);
}

/* One admin request under way: its queue, its options, and the event it ends with. */
struct request {
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    rd_kafka_AdminOptions_t *options;
    rd_kafka_event_t *event;
};

static struct request request_begin(struct world *w, rd_kafka_admin_op_t op)
{
    struct request q = {.client = admin(w)};
    char why[128];

    q.queue = rd_kafka_queue_new(q.client);
    q.options = rd_kafka_AdminOptions_new(q.client, op);
    rd_kafka_AdminOptions_set_request_timeout(q.options, WORLD_TIMEOUT_MS, why, sizeof why);
    return q;
}

/* Waits; the error of the request as a whole. */
static rd_kafka_resp_err_t request_wait(struct request *q)
{
    q->event = rd_kafka_queue_poll(q->queue, WORLD_TIMEOUT_MS + 5000);
    return q->event ? rd_kafka_event_error(q->event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
}

static rd_kafka_resp_err_t request_end(struct request *q, rd_kafka_resp_err_t result)
{
    if (q->event)
        rd_kafka_event_destroy(q->event);
    rd_kafka_AdminOptions_destroy(q->options);
    rd_kafka_queue_destroy(q->queue);
    return result;
}

rd_kafka_resp_err_t create_topic(struct world *w, const struct topic_wish *wish)
{
    struct request q = request_begin(w, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    char why[256];
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(
        wish->name, wish->partitions, wish->brokers ? -1 : wish->replication, why, sizeof why);
    rd_kafka_resp_err_t error;
    size_t count;

    if (!topic)
        return request_end(&q, RD_KAFKA_RESP_ERR__INVALID_ARG);
    if (wish->brokers)
        rd_kafka_NewTopic_set_replica_assignment(topic, 0, (int32_t *)(uintptr_t)wish->brokers,
                                                 wish->broker_count, why, sizeof why);
    for (const char *const *c = wish->configs; c && c[0]; c += 2)
        rd_kafka_NewTopic_set_config(topic, c[0], c[1]);
    if (wish->validate_only)
        rd_kafka_AdminOptions_set_validate_only(q.options, 1, why, sizeof why);

    rd_kafka_CreateTopics(q.client, &topic, 1, q.options, q.queue);
    error = request_wait(&q);
    if (!error) {
        const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(q.event);
        const rd_kafka_topic_result_t **topics =
            rd_kafka_CreateTopics_result_topics(result, &count);

        error = count == 1 ? rd_kafka_topic_result_error(topics[0]) : RD_KAFKA_RESP_ERR__BAD_MSG;
    }
    rd_kafka_NewTopic_destroy(topic);
    return request_end(&q, error);
}

rd_kafka_resp_err_t delete_topic(struct world *w, const char *name)
{
    struct request q = request_begin(w, RD_KAFKA_ADMIN_OP_DELETETOPICS);
    rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);
    rd_kafka_resp_err_t error;
    size_t count;

    rd_kafka_DeleteTopics(q.client, &topic, 1, q.options, q.queue);
    error = request_wait(&q);
    if (!error) {
        const rd_kafka_DeleteTopics_result_t *result = rd_kafka_event_DeleteTopics_result(q.event);
        const rd_kafka_topic_result_t **topics =
            rd_kafka_DeleteTopics_result_topics(result, &count);

        error = count == 1 ? rd_kafka_topic_result_error(topics[0]) : RD_KAFKA_RESP_ERR__BAD_MSG;
    }
    rd_kafka_DeleteTopic_destroy(topic);
    return request_end(&q, error);
}

rd_kafka_resp_err_t grow_topic(struct world *w, const char *name, size_t partitions)
{
    struct request q = request_begin(w, RD_KAFKA_ADMIN_OP_CREATEPARTITIONS);
    char why[256];
    rd_kafka_NewPartitions_t *wish = rd_kafka_NewPartitions_new(name, partitions, why, sizeof why);
    rd_kafka_resp_err_t error;
    size_t count;

    if (!wish)
        return request_end(&q, RD_KAFKA_RESP_ERR__INVALID_ARG);
    rd_kafka_CreatePartitions(q.client, &wish, 1, q.options, q.queue);
    error = request_wait(&q);
    if (!error) {
        const rd_kafka_CreatePartitions_result_t *result =
            rd_kafka_event_CreatePartitions_result(q.event);
        const rd_kafka_topic_result_t **topics =
            rd_kafka_CreatePartitions_result_topics(result, &count);

        error = count == 1 ? rd_kafka_topic_result_error(topics[0]) : RD_KAFKA_RESP_ERR__BAD_MSG;
    }
    rd_kafka_NewPartitions_destroy(wish);
    return request_end(&q, error);
}

rd_kafka_resp_err_t delete_records(struct world *w, const char *topic, int64_t before,
                                   int64_t *low_out)
{
    struct request q = request_begin(w, RD_KAFKA_ADMIN_OP_DELETERECORDS);
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(1);
    rd_kafka_DeleteRecords_t *wish;
    rd_kafka_resp_err_t error;

    rd_kafka_topic_partition_list_add(offsets, topic, 0)->offset = before;
    wish = rd_kafka_DeleteRecords_new(offsets);
    rd_kafka_topic_partition_list_destroy(offsets);
    rd_kafka_DeleteRecords(q.client, &wish, 1, q.options, q.queue);
    error = request_wait(&q);
    if (!error) {
        const rd_kafka_DeleteRecords_result_t *result =
            rd_kafka_event_DeleteRecords_result(q.event);
        const rd_kafka_topic_partition_list_t *lows = rd_kafka_DeleteRecords_result_offsets(result);

        error = lows->cnt == 1 ? lows->elems[0].err : RD_KAFKA_RESP_ERR__BAD_MSG;
        if (!error)
            *low_out = lows->elems[0].offset;
    }
    rd_kafka_DeleteRecords_destroy(wish);
    return request_end(&q, error);
}

rd_kafka_resp_err_t describe_config(struct world *w, rd_kafka_ResourceType_t type,
                                    const char *resource, const char *key, char out[256],
                                    rd_kafka_ConfigSource_t *source)
{
    struct request q = request_begin(w, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_ConfigResource_t *wish = rd_kafka_ConfigResource_new(type, resource);
    rd_kafka_resp_err_t error;
    size_t count;

    out[0] = 0;
    rd_kafka_DescribeConfigs(q.client, &wish, 1, q.options, q.queue);
    error = request_wait(&q);
    if (!error) {
        const rd_kafka_DescribeConfigs_result_t *result =
            rd_kafka_event_DescribeConfigs_result(q.event);
        const rd_kafka_ConfigResource_t **resources =
            rd_kafka_DescribeConfigs_result_resources(result, &count);
        const rd_kafka_ConfigEntry_t **entries = NULL;
        size_t entry_count = 0;

        error =
            count == 1 ? rd_kafka_ConfigResource_error(resources[0]) : RD_KAFKA_RESP_ERR__BAD_MSG;
        if (!error)
            entries = rd_kafka_ConfigResource_configs(resources[0], &entry_count);
        for (size_t i = 0; i < entry_count; i++) {
            const char *value = rd_kafka_ConfigEntry_value(entries[i]);

            if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), key))
                continue;
            snprintf(out, 256, "%s", value ? value : "");
            *source = rd_kafka_ConfigEntry_source(entries[i]);
        }
    }
    rd_kafka_ConfigResource_destroy(wish);
    return request_end(&q, error);
}

rd_kafka_resp_err_t alter_config(struct world *w, const char *topic, const char *key,
                                 const char *value)
{
    struct request q = request_begin(w, RD_KAFKA_ADMIN_OP_ALTERCONFIGS);
    rd_kafka_ConfigResource_t *wish = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_resp_err_t error;
    size_t count;

    rd_kafka_ConfigResource_set_config(wish, key, value);
    rd_kafka_AlterConfigs(q.client, &wish, 1, q.options, q.queue);
    error = request_wait(&q);
    if (!error) {
        const rd_kafka_AlterConfigs_result_t *result = rd_kafka_event_AlterConfigs_result(q.event);
        const rd_kafka_ConfigResource_t **resources =
            rd_kafka_AlterConfigs_result_resources(result, &count);

        error =
            count == 1 ? rd_kafka_ConfigResource_error(resources[0]) : RD_KAFKA_RESP_ERR__BAD_MSG;
    }
    rd_kafka_ConfigResource_destroy(wish);
    return request_end(&q, error);
}

int led_partitions(struct world *w, const char *topic)
{
    /* A consumer's metadata request asks the broker to create nothing; one of all topics
     * neither. */
    const struct rd_kafka_metadata *metadata;
    int count = 0;

    if (rd_kafka_metadata(admin(w), 1, NULL, &metadata, WORLD_TIMEOUT_MS))
        return 0;
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *t = &metadata->topics[i];

        if (strcmp(t->topic, topic))
            continue;
        for (int p = 0; p < t->partition_cnt; p++)
            count += t->partitions[p].leader >= 0;
    }
    rd_kafka_metadata_destroy(metadata);
    return count;
}

bool wait_led(struct world *w, const char *topic, int partitions)
{
    int64_t deadline = now_ms() + WORLD_TIMEOUT_MS;
    int led = 0;

    while (now_ms() < deadline) {
        led = led_partitions(w, topic);
        if (led == partitions)
            return true;
        usleep(20000);
    }
    return world_fail(w, __FILE__, __LINE__, "%s has %d led partitions, not %d", topic, led,
                      partitions);
}

const char *make_topic(struct world *w, int partitions, const char *const *configs)
{
    struct topic_wish wish = {
        .name = new_topic_name(w), .partitions = partitions, .replication = 1, .configs = configs};
    rd_kafka_resp_err_t error = create_topic(w, &wish);

    if (error) {
        world_fail(w, __FILE__, __LINE__, "creating a topic: %s", rd_kafka_err2name(error));
        return NULL;
    }
    return wait_led(w, wish.name, partitions) ? wish.name : NULL;
}
