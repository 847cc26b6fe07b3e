#include "tests/unit/broker/second_broker.h"

#include <string.h>

#include "protocol/base/check.h"
#include "protocol/messages/broker_heartbeat.h"
#include "protocol/messages/broker_registration.h"
#include "protocol/messages/create_topics.h"
#include "replication/feature_levels.h"

#define FEATURES_MAX 16
#define BEAT_MS      250

void second_broker_register(struct second_broker *b, struct node_world *w)
{
    struct broker_registration_request_listener listener = {str_from("PLAINTEXT"),
                                                            str_from("localhost"), 9, 0};
    struct broker_registration_request_feature features[FEATURES_MAX];
    struct uuid log_dir = {{7, 7, 7}};
    size_t count;
    const struct metadata_feature_range *ranges = supported_features(&count);
    struct broker_registration_request m;
    const struct broker_registration_response *answer;
    int64_t before = b->w ? b->epoch : -1;
    struct node_ask ask = {0};

    CHECK(count <= FEATURES_MAX);
    for (size_t i = 0; i < count; i++)
        features[i] = (struct broker_registration_request_feature){ranges[i].name, ranges[i].min,
                                                                   ranges[i].max};
    broker_registration_request_init(&m);
    m.broker_id = SECOND_BROKER;
    m.cluster_id = str_from("5L6g3nShT-eMCtK--X86sw");
    m.incarnation_id = (struct uuid){{5, (uint8_t)(before + 1)}};
    m.listeners = &listener;
    m.listeners_count = 1;
    m.features = features;
    m.features_count = count;
    m.rack = str_from("az-2");
    m.log_dirs = &log_dir;
    m.log_dirs_count = 1;
    m.previous_broker_epoch = before;
    node_world_send(w, &ask, API_BROKER_REGISTRATION, 4, &m);
    answer = node_world_wait(w, &ask, 1000);
    CHECK(answer && answer->error_code == KERR_NONE);
    *b = (struct second_broker){.w = w, .epoch = answer->broker_epoch};
    node_ask_free(&ask);
}

void second_broker_live(struct second_broker *b, int64_t ms)
{
    for (; ms > 0; ms -= BEAT_MS) {
        struct broker_heartbeat_request m;
        struct node_ask ask = {0};

        broker_heartbeat_request_init(&m);
        m.broker_id = SECOND_BROKER;
        m.broker_epoch = b->epoch;
        m.current_metadata_offset = b->epoch + 1000;
        node_world_send(b->w, &ask, API_BROKER_HEARTBEAT, 1, &m);
        CHECK(node_world_wait(b->w, &ask, 1000));
        node_ask_free(&ask);
        test_loop_run(&b->w->loop, ms < BEAT_MS ? ms : BEAT_MS);
    }
}

void second_broker_send_fetch(struct second_broker *b, struct uuid topic, int64_t offset,
                              int32_t max_wait_ms)
{
    fetch_request_init(&b->m);
    fetch_request_partition_init(&b->partition);
    fetch_request_topic_init(&b->topic);
    b->partition.fetch_offset = offset;
    b->partition.log_start_offset = b->log_start;
    b->partition.partition_max_bytes = 1 << 20;
    b->topic.topic_id = topic;
    b->topic.partitions = &b->partition;
    b->topic.partitions_count = 1;
    b->m.topics = &b->topic;
    b->m.topics_count = 1;
    b->m.max_bytes = 1 << 20;
    b->m.min_bytes = 1;
    b->m.max_wait_ms = max_wait_ms;
    b->m.replica_state.replica_id = SECOND_BROKER;
    b->m.replica_state.replica_epoch = b->epoch;
    b->ask = (struct node_ask){0};
    node_world_send(b->w, &b->ask, API_FETCH, 17, &b->m);
}

const struct fetch_response_partition_data *second_broker_fetched(struct second_broker *b,
                                                                  int64_t ms)
{
    const struct fetch_response *answer = node_world_wait(b->w, &b->ask, ms);

    return answer && answer->responses_count == 1 ? &answer->responses[0].partitions[0] : NULL;
}

void second_broker_end_fetch(struct second_broker *b)
{
    node_ask_free(&b->ask);
}

enum kerr second_broker_fetch(struct second_broker *b, struct uuid topic, int64_t offset)
{
    const struct fetch_response_partition_data *found;
    enum kerr code;

    second_broker_send_fetch(b, topic, offset, 0);
    found = second_broker_fetched(b, 100);
    CHECK(found);
    code = (enum kerr)found->error_code;
    second_broker_end_fetch(b);
    return code;
}

static struct uuid create_topic(struct second_broker *b, const char *name,
                                const char *const *settings, int32_t *replicas,
                                size_t replica_count)
{
    struct create_topics_request_creatable_topic_config configs[8];
    struct create_topics_request_creatable_replica_assignment assignment;
    struct create_topics_request_creatable_topic topic;
    struct create_topics_request m;
    const struct create_topics_response *answer;
    struct node_ask ask = {0};
    struct uuid id;

    create_topics_request_init(&m);
    create_topics_request_creatable_topic_init(&topic);
    create_topics_request_creatable_replica_assignment_init(&assignment);
    assignment.broker_ids = replicas;
    assignment.broker_ids_count = replica_count;
    topic.name = str_from(name);
    topic.num_partitions = -1;
    topic.replication_factor = -1;
    topic.assignments = &assignment;
    topic.assignments_count = 1;
    topic.configs = configs;
    for (; settings && *settings; settings += 2)
        configs[topic.configs_count++] = (struct create_topics_request_creatable_topic_config){
            str_from(settings[0]), str_from(settings[1])};
    m.topics = &topic;
    m.topics_count = 1;
    node_world_send(b->w, &ask, API_CREATE_TOPICS, CREATE_TOPICS_REQUEST_VERSION_MAX, &m);
    answer = node_world_wait(b->w, &ask, 1000);
    CHECK(answer && answer->topics[0].error_code == KERR_NONE);
    id = answer->topics[0].topic_id;
    node_ask_free(&ask);
    second_broker_live(b, 20);
    return id;
}

struct uuid second_broker_topic(struct second_broker *b, const char *name,
                                const char *const *settings)
{
    int32_t both[] = {1, SECOND_BROKER};
    struct uuid id = create_topic(b, name, settings, both, 2);

    CHECK(node_world_partition(b->w, id, 0)->state == PARTITION_LEADING);
    return id;
}

struct uuid second_broker_own_topic(struct second_broker *b, const char *name)
{
    int32_t its_own[] = {SECOND_BROKER};
    struct uuid id = create_topic(b, name, NULL, its_own, 1);

    CHECK(!node_world_partition(b->w, id, 0));
    return id;
}
