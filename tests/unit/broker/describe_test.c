/* What a broker tells of itself, of partitions and of log directories. */
#include "tests/unit/test.h"

#include <errno.h>

#include "broker/shard.h"
#include "broker/storage_dirs.h"
#include "protocol/messages/api_versions.h"
#include "protocol/messages/describe_log_dirs.h"
#include "protocol/messages/describe_topic_partitions.h"
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

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(features_that_begin_at_level_0_are_told_from_version_4_on),
        STORY(every_directory_is_told_with_what_lies_in_it),
        STORY(only_the_partitions_asked_for_are_told),
        STORY(directory_that_failed_is_told_as_an_error),
        STORY(topics_come_in_order_and_page_by_page),
        STORY(unknown_and_impossible_topics_are_told_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
