/* What a broker tells of itself, of partitions and of log directories. */
#include "tests/unit/test.h"

#include <errno.h>

#include "broker/shard.h"
#include "broker/storage_dirs.h"
#include "protocol/messages/api_versions.h"
#include "protocol/messages/describe_cluster.h"
#include "protocol/messages/describe_configs.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/describe_log_dirs.h"
#include "protocol/messages/describe_topic_partitions.h"
#include "protocol/messages/find_coordinator.h"
#include "protocol/messages/metadata.h"
#include "tests/unit/broker/node_world.h"

static struct node_world world;

static int set_up(void **state)
{
    node_world_init(&world);
    node_world_set(&world, "log.dirs=one,two");
    node_world_start(&world);
    node_world_topic(&world, "b", 3, NULL);
    node_world_topic(&world, "a", 2, NULL);
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    node_world_free(*state);
    return 0;
}

static const void *ask(struct node_world *w, struct node_ask *a, int16_t key, int16_t version,
                       const void *message)
{
    const void *answer;

    node_world_send(w, a, key, version, message);
    answer = node_world_wait(w, a, 1000);
    assert_non_null(answer);
    return answer;
}

/* ---- ApiVersions ---- */

static bool tells_feature(struct node_world *w, int16_t version, struct str name, int16_t *min)
{
    struct api_versions_request m;
    struct node_ask a = {0};
    const struct api_versions_response *answer;
    bool told = false;

    api_versions_request_init(&m);
    m.client_software_name = STR("test");
    m.client_software_version = STR("1");
    answer = ask(w, &a, API_API_VERSIONS, version, &m);
    for (size_t i = 0; i < answer->supported_features_count; i++)
        if (str_equal(answer->supported_features[i].name, name)) {
            told = true;
            *min = answer->supported_features[i].min_version;
        }
    node_ask_free(&a);
    return told;
}

static void features_that_begin_at_level_0_are_told_from_version_4_on(void **state)
{
    int16_t min = -1;

    assert_false(tells_feature(*state, 3, STR("group.version"), &min));
    assert_true(tells_feature(*state, 3, STR("metadata.version"), &min));
    assert_true(min > 0);
    assert_true(tells_feature(*state, 4, STR("group.version"), &min));
    assert_int_equal(min, 0);
}

static void refused_client_is_told_no_apis(void **state)
{
    struct api_versions_request m;
    struct node_ask a = {0};
    const struct api_versions_response *answer;

    api_versions_request_init(&m);
    m.client_software_name = STR("?");
    m.client_software_version = STR("1");
    answer = ask(*state, &a, API_API_VERSIONS, 4, &m);
    assert_int_equal(answer->error_code, KERR_INVALID_REQUEST);
    assert_int_equal(answer->api_keys_count, 0);
    node_ask_free(&a);
}

/* ---- DescribeConfigs ---- */

static size_t settings_told(struct node_world *w, struct str topic, struct str *keys, size_t count,
                            enum kerr code)
{
    struct describe_configs_request_resource r;
    struct describe_configs_request m;
    struct node_ask a = {0};
    const struct describe_configs_response *answer;
    size_t told;

    describe_configs_request_init(&m);
    describe_configs_request_resource_init(&r);
    r.resource_type = 2;
    r.resource_name = topic;
    r.configuration_keys = keys;
    r.configuration_keys_count = count;
    m.resources = &r;
    m.resources_count = 1;
    answer = ask(w, &a, API_DESCRIBE_CONFIGS, 4, &m);
    assert_int_equal(answer->results[0].error_code, code);
    told = answer->results[0].configs_count;
    node_ask_free(&a);
    return told;
}

static void no_keys_are_all_keys(void **state)
{
    struct str key = STR("retention.ms");
    size_t all = settings_told(*state, STR("b"), NULL, 0, KERR_NONE);

    assert_true(all > 20);
    assert_int_equal(settings_told(*state, STR("b"), &key, 0, KERR_NONE), all);
    assert_int_equal(settings_told(*state, STR("b"), &key, 1, KERR_NONE), 1);
    settings_told(*state, STR("c"), NULL, 0, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    settings_told(*state, STR("im possible"), NULL, 0, KERR_INVALID_TOPIC_EXCEPTION);
    settings_told(*state, STR(""), NULL, 0, KERR_INVALID_TOPIC_EXCEPTION);
}

/* ---- what one may do ---- */

#define NOT_ASKED        INT32_MIN
#define ALL_OF_TOPIC     0xdf8 /* as Apache Kafka 4.4 without an authorizer says it */
#define ALL_OF_CLUSTER   0x1fa0
#define ALL_OF_GROUP     0xd48
#define METADATA_VERSION 10 /* the last that tells of the cluster */

/* Groups have a coordinator from then on. */
static void coordinator_is_found(struct node_world *w)
{
    enum kerr code = KERR_COORDINATOR_NOT_AVAILABLE;

    for (int i = 0; i < 50 && code != KERR_NONE; i++) {
        struct find_coordinator_request m;
        struct node_ask a = {0};

        find_coordinator_request_init(&m);
        m.key = STR("nobody");
        code = ((const struct find_coordinator_response *)ask(w, &a, API_FIND_COORDINATOR, 3, &m))
                   ->error_code;
        node_ask_free(&a);
        test_loop_run(&w->loop, 100);
    }
    assert_int_equal(code, KERR_NONE);
}

static void operations_are_told_when_asked_for(void **state)
{
    struct node_world *w = *state;

    coordinator_is_found(w);
    for (int asked = 0; asked < 2; asked++) {
        struct metadata_request_topic topics[2] = {{.name = STR("b")}, {.name = STR("nothing")}};
        struct str groups[1] = {STR("nobody")};
        struct metadata_request m;
        struct describe_cluster_request cluster;
        struct describe_groups_request g;
        struct node_ask a = {0}, b = {0}, c = {0};
        const struct metadata_response *metadata;
        const struct describe_cluster_response *described;
        const struct describe_groups_response *dead;

        metadata_request_init(&m);
        m.topics = topics;
        m.topics_count = 2;
        m.allow_auto_topic_creation = false;
        m.include_topic_authorized_operations = m.include_cluster_authorized_operations = asked;
        metadata = ask(w, &a, API_METADATA, METADATA_VERSION, &m);
        for (int i = 0; i < 2; i++)
            assert_int_equal(metadata->topics[i].topic_authorized_operations,
                             asked ? ALL_OF_TOPIC : NOT_ASKED);
        assert_int_equal(metadata->cluster_authorized_operations,
                         asked ? ALL_OF_CLUSTER : NOT_ASKED);
        describe_cluster_request_init(&cluster);
        cluster.include_cluster_authorized_operations = asked;
        described = ask(w, &b, API_DESCRIBE_CLUSTER, 2, &cluster);
        assert_int_equal(described->cluster_authorized_operations,
                         asked ? ALL_OF_CLUSTER : NOT_ASKED);
        describe_groups_request_init(&g);
        g.groups = groups;
        g.groups_count = 1;
        g.include_authorized_operations = asked;
        dead = ask(w, &c, API_DESCRIBE_GROUPS, 5, &g);
        assert_int_equal(dead->groups[0].error_code, KERR_NONE);
        assert_int_equal(dead->groups[0].authorized_operations, asked ? ALL_OF_GROUP : NOT_ASKED);
        node_ask_free(&a);
        node_ask_free(&b);
        node_ask_free(&c);
    }
}

/* ---- Metadata ---- */

/* Versions 10 and 11 have the field, and refuse it. */
static void metadata_by_id_before_its_version_is_refused_topic_by_topic(void **state)
{
    struct metadata_request_topic topics[2] = {{.name = STR("b"), .topic_id = {{7}}},
                                               {.name = STR("b")}};
    struct metadata_request m;
    struct node_ask a = {0};
    const struct metadata_response *answer;

    metadata_request_init(&m);
    m.topics = topics;
    m.topics_count = 2;
    answer = ask(*state, &a, API_METADATA, METADATA_VERSION, &m);
    assert_int_equal(answer->topics_count, 2);
    assert_int_equal(answer->topics[0].error_code, KERR_INVALID_REQUEST);
    assert_int_equal(answer->topics[1].error_code, KERR_INVALID_REQUEST);
    assert_true(uuid_equal(answer->topics[0].topic_id, topics[0].topic_id));
    assert_int_equal(answer->brokers_count, 0);
    node_ask_free(&a);
}

/* ---- DescribeLogDirs ---- */

static size_t partitions_in(const struct describe_log_dirs_response *m)
{
    size_t count = 0;

    for (size_t i = 0; i < m->results_count; i++)
        for (size_t k = 0; k < m->results[i].topics_count; k++)
            count += m->results[i].topics[k].partitions_count;
    return count;
}

static void every_directory_is_told_with_what_lies_in_it(void **state)
{
    struct node_world *w = *state;
    struct describe_log_dirs_request m = {0};

    assert_int_equal(node_world_produce(w, "b", 0, -1, 2, 100), KERR_NONE);
    for (int16_t version = 1; version <= 5; version++) {
        struct node_ask a = {0};
        const struct describe_log_dirs_response *answer =
            ask(w, &a, API_DESCRIBE_LOG_DIRS, version, &m);
        int64_t bytes = 0;

        assert_int_equal(answer->results_count, 2);
        assert_int_equal(partitions_in(answer), 5);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(answer->results[i].error_code, KERR_NONE);
            assert_int_equal(answer->results[i].total_bytes > 0, version >= 4);
            for (size_t k = 0; k < answer->results[i].topics_count; k++)
                bytes += answer->results[i].topics[k].partitions[0].partition_size;
        }
        assert_true(bytes > 200);
        node_ask_free(&a);
    }
}

static void only_the_partitions_asked_for_are_told(void **state)
{
    struct node_world *w = *state;
    int32_t two[2] = {1, 9};
    struct describe_log_dirs_request_describable_log_dir_topic t = {STR("b"), two, 2};
    struct describe_log_dirs_request m = {&t, 1};
    struct node_ask a = {0};
    const struct describe_log_dirs_response *answer = ask(w, &a, API_DESCRIBE_LOG_DIRS, 5, &m);

    assert_int_equal(answer->results_count, 2);
    assert_int_equal(partitions_in(answer), 1);
    node_ask_free(&a);
}

/* However the request spreads them. */
static void partitions_of_a_topic_named_twice_are_told_together(void **state)
{
    struct node_world *w = *state;
    int32_t first[3] = {2, 0, 2}, second[1] = {1}, none[1] = {0};
    struct describe_log_dirs_request_describable_log_dir_topic topics[4] = {
        {STR("b"), first, 3},
        {STR("nothing"), second, 1},
        {STR("b"), second, 1},
        {STR("a"), none, 0}};
    struct describe_log_dirs_request m = {topics, 4};
    struct node_ask a = {0};

    assert_int_equal(partitions_in(ask(w, &a, API_DESCRIBE_LOG_DIRS, 5, &m)), 3);
    node_ask_free(&a);
}

static void directory_that_failed_is_told_as_an_error(void **state)
{
    struct node_world *w = *state;
    struct describe_log_dirs_request m = {0};
    struct node_ask a = {0};
    const struct describe_log_dirs_response *answer;

    files_sim_fail(
        w->files, &(struct files_fault){.call = FILES_CALL_ANY, .prefix = "two", .sys_errno = EIO});
    for (int i = 0; i < 3; i++)
        node_world_produce(w, "b", i, 1, 2, 100);
    test_loop_run(&w->loop, 1000);
    answer = ask(w, &a, API_DESCRIBE_LOG_DIRS, 5, &m);
    assert_int_equal(answer->results[0].error_code, KERR_NONE);
    assert_int_equal(answer->results[1].error_code, KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(answer->results[1].topics_count, 0);
    node_ask_free(&a);
}

/* ---- DescribeTopicPartitions ---- */

static void topics_come_in_order_and_page_by_page(void **state)
{
    struct node_world *w = *state;
    struct describe_topic_partitions_request_cursor cursor;
    struct describe_topic_partitions_request m = {.response_partition_limit = 2};
    static const struct {
        const char *topic;
        int32_t first;
        size_t count;
    } pages[] = {{"a", 0, 2}, {"b", 0, 2}, {"b", 2, 1}};

    for (size_t i = 0; i < 3; i++) {
        struct node_ask a = {0};
        const struct describe_topic_partitions_response *answer =
            ask(w, &a, API_DESCRIBE_TOPIC_PARTITIONS, 0, &m);

        assert_int_equal(answer->topics_count, 1);
        assert_true(str_equal(answer->topics[0].name, str_from(pages[i].topic)));
        assert_int_equal(answer->topics[0].partitions_count, pages[i].count);
        assert_int_equal(answer->topics[0].partitions[0].partition_index, pages[i].first);
        assert_int_equal(answer->topics[0].partitions[0].leader_id, w->options.node_id);
        assert_non_null(answer->topics[0].partitions[0].eligible_leader_replicas);
        assert_int_equal(answer->next_cursor != NULL, i < 2);
        if (i < 2) {
            cursor.topic_name = str_from(pages[i + 1].topic);
            cursor.partition_index = pages[i + 1].first;
            assert_true(str_equal(answer->next_cursor->topic_name, cursor.topic_name));
            assert_int_equal(answer->next_cursor->partition_index, cursor.partition_index);
            m.cursor = &cursor;
        }
        node_ask_free(&a);
    }
}

static void unknown_and_impossible_topics_are_told_each(void **state)
{
    struct node_world *w = *state;
    struct describe_topic_partitions_request_topic_request topics[4] = {
        {STR("nothing")}, {STR("b")}, {STR("b")}, {STR("im possible")}};
    struct describe_topic_partitions_request m = {topics, 4, 2000, NULL};
    struct node_ask a = {0};
    const struct describe_topic_partitions_response *answer =
        ask(w, &a, API_DESCRIBE_TOPIC_PARTITIONS, 0, &m);

    assert_int_equal(answer->topics_count, 3);
    assert_int_equal(answer->topics[0].error_code, KERR_NONE);
    assert_int_equal(answer->topics[0].partitions_count, 3);
    assert_int_equal(answer->topics[1].error_code, KERR_INVALID_TOPIC_EXCEPTION);
    assert_int_equal(answer->topics[2].error_code, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_null(answer->next_cursor);
    node_ask_free(&a);
}

static void limit_of_none_is_one_and_a_place_below_zero_is_refused(void **state)
{
    struct node_world *w = *state;
    struct describe_topic_partitions_request_topic_request topic = {STR("b")};
    struct describe_topic_partitions_request_cursor below = {STR("b"), -1};
    struct describe_topic_partitions_request m = {.response_partition_limit = 0};
    struct node_ask a = {0}, b = {0};
    const struct describe_topic_partitions_response *answer =
        ask(w, &a, API_DESCRIBE_TOPIC_PARTITIONS, 0, &m);

    assert_int_equal(answer->topics_count, 1);
    assert_int_equal(answer->topics[0].partitions_count, 1);
    assert_int_equal(answer->topics[0].topic_authorized_operations, ALL_OF_TOPIC);
    assert_int_equal(answer->next_cursor->partition_index, 1);
    m.cursor = &below;
    m.topics = &topic;
    m.topics_count = 1;
    answer = ask(w, &b, API_DESCRIBE_TOPIC_PARTITIONS, 0, &m);
    assert_int_equal(answer->topics_count, 1);
    assert_int_equal(answer->topics[0].error_code, KERR_INVALID_REQUEST);
    node_ask_free(&a);
    node_ask_free(&b);
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(features_that_begin_at_level_0_are_told_from_version_4_on),
        STORY(refused_client_is_told_no_apis),
        STORY(no_keys_are_all_keys),
        STORY(operations_are_told_when_asked_for),
        STORY(metadata_by_id_before_its_version_is_refused_topic_by_topic),
        STORY(every_directory_is_told_with_what_lies_in_it),
        STORY(only_the_partitions_asked_for_are_told),
        STORY(partitions_of_a_topic_named_twice_are_told_together),
        STORY(directory_that_failed_is_told_as_an_error),
        STORY(topics_come_in_order_and_page_by_page),
        STORY(unknown_and_impossible_topics_are_told_each),
        STORY(limit_of_none_is_one_and_a_place_below_zero_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
