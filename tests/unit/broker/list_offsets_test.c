/* ListOffsets on a whole node: what a shard can answer at once, what goes to the pool, what is
 * refused. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>

#include "protocol/messages/list_offsets.h"
#include "protocol/messages/produce.h"
#include "tests/unit/broker/node_world.h"

#define NEWEST_VERSION 11
#define TOPIC          "times"
#define PARTITIONS     4
#define RECORDS        10

enum { LATEST = -1, EARLIEST = -2, LARGEST = -3, LATEST_TIERED = -5 };

static int64_t first_ms;

static void produce_at(struct node_world *w, int32_t index, int64_t timestamp_ms)
{
    struct bytes_mut batch = node_world_batch(w, 1, 10, timestamp_ms);
    struct produce_request_partition_produce_data partition = {index,
                                                               {batch.data, batch.size, NULL}};
    struct produce_request_topic_produce_data data = {
        .name = STR(TOPIC), .partition_data = &partition, .partition_data_count = 1};
    struct produce_request m = {.transactional_id = STR_NULL,
                                .acks = -1,
                                .timeout_ms = 1000,
                                .topic_data = &data,
                                .topic_data_count = 1};
    const struct produce_response *answer;
    struct node_ask ask = {0};

    node_world_send(w, &ask, API_PRODUCE, 12, &m);
    answer = node_world_wait(w, &ask, 1000);
    assert_non_null(answer);
    assert_int_equal(answer->responses[0].partition_responses[0].error_code, KERR_NONE);
    node_ask_free(&ask);
    free(batch.data);
}

static struct uuid begin(struct node_world *w)
{
    struct uuid topic;

    node_world_init(w);
    node_world_start(w);
    topic = node_world_topic(w, TOPIC, PARTITIONS, NULL);
    first_ms = clock_wall_ms(&w->loop.clock);
    for (int32_t p = 0; p < PARTITIONS; p++)
        for (int i = 0; i < RECORDS; i++)
            produce_at(w, p, first_ms + i);
    return topic;
}

struct found {
    enum kerr code;
    int64_t offset;
    int64_t timestamp_ms;
};

/* Asks all partitions for one time; with an index one of them again and again, or those from it on
 * that there are not. */
static struct found list(struct node_world *w, int64_t timestamp, int16_t version, int32_t epoch,
                         int32_t index)
{
    struct list_offsets_request_partition partitions[PARTITIONS];
    struct list_offsets_request_topic topic;
    struct list_offsets_request m;
    const struct list_offsets_response *answer;
    struct node_ask ask = {0};
    struct found found;

    list_offsets_request_init(&m);
    list_offsets_request_topic_init(&topic);
    for (int32_t p = 0; p < PARTITIONS; p++) {
        list_offsets_request_partition_init(&partitions[p]);
        partitions[p].partition_index = index < 0 ? p : index < PARTITIONS ? index : index + p;
        partitions[p].timestamp = timestamp;
        partitions[p].current_leader_epoch = epoch;
    }
    topic.name = STR(TOPIC);
    topic.partitions = partitions;
    topic.partitions_count = PARTITIONS;
    m.topics = &topic;
    m.topics_count = 1;
    node_world_send(w, &ask, API_LIST_OFFSETS, version, &m);
    answer = node_world_wait(w, &ask, 1000);
    assert_non_null(answer);
    assert_int_equal(answer->topics[0].partitions_count, PARTITIONS);
    found = (struct found){(enum kerr)answer->topics[0].partitions[0].error_code,
                           answer->topics[0].partitions[0].offset,
                           answer->topics[0].partitions[0].timestamp};
    for (int p = 1; p < PARTITIONS; p++) {
        assert_int_equal(answer->topics[0].partitions[p].error_code, found.code);
        assert_int_equal(answer->topics[0].partitions[p].offset, found.offset);
        assert_int_equal(answer->topics[0].partitions[p].timestamp, found.timestamp_ms);
    }
    node_ask_free(&ask);
    return found;
}

static void assert_found(struct found f, int64_t offset, int64_t timestamp_ms)
{
    assert_int_equal(f.code, KERR_NONE);
    assert_int_equal(f.offset, offset);
    assert_int_equal(f.timestamp_ms, timestamp_ms);
}

static void assert_all_times(struct node_world *w)
{
    for (int i = 0; i < RECORDS; i++)
        assert_found(list(w, first_ms + i, NEWEST_VERSION, -1, -1), i, first_ms + i);
    assert_found(list(w, first_ms - 1, NEWEST_VERSION, -1, -1), 0, first_ms);
    assert_found(list(w, first_ms + RECORDS, NEWEST_VERSION, -1, -1), -1, -1);
    assert_found(list(w, LARGEST, NEWEST_VERSION, -1, -1), RECORDS - 1, first_ms + RECORDS - 1);
}

static void what_is_in_memory_is_answered_without_the_pool(void **state)
{
    static struct node_world w;
    size_t jobs;
    (void)state;

    begin(&w);
    test_loop_run(&w.loop, 100);
    jobs = w.loop.jobs_run;
    assert_all_times(&w);
    assert_found(list(&w, LATEST, NEWEST_VERSION, -1, -1), RECORDS, -1);
    assert_found(list(&w, EARLIEST, NEWEST_VERSION, -1, -1), 0, -1);
    assert_found(list(&w, LATEST_TIERED, NEWEST_VERSION, -1, -1), -1, -1);
    assert_int_equal(w.loop.jobs_run, jobs);
    node_world_free(&w);
}

static void what_is_cold_is_looked_up_in_the_pool(void **state)
{
    static struct node_world w;
    size_t jobs;
    (void)state;

    begin(&w);
    for (int reopened = 0; reopened < 2; reopened++) {
        files_sim_set_cold(w.files, true);
        jobs = w.loop.jobs_run;
        assert_found(list(&w, LARGEST, NEWEST_VERSION, -1, -1), RECORDS - 1,
                     first_ms + RECORDS - 1);
        assert_true(w.loop.jobs_run >= jobs + PARTITIONS);
        files_sim_set_cold(w.files, true);
        assert_all_times(&w);
        files_sim_set_cold(w.files, false);
        node_world_stop(&w);
        node_world_start(&w);
        test_loop_run(&w.loop, 100);
    }
    node_world_free(&w);
}

static void shard_goes_on_while_a_lookup_waits_for_the_disk(void **state)
{
    static struct node_world w;
    struct list_offsets_request_partition partition;
    struct list_offsets_request_topic topic = {
        .name = STR(TOPIC), .partitions = &partition, .partitions_count = 1};
    struct list_offsets_request m;
    const struct list_offsets_response *answer;
    struct node_ask ask = {0};
    (void)state;

    begin(&w);
    list_offsets_request_init(&m);
    list_offsets_request_partition_init(&partition);
    partition.timestamp = first_ms + 3;
    m.topics = &topic;
    m.topics_count = 1;
    files_sim_set_cold(w.files, true);
    w.loop.pool_stuck = true;
    node_world_send(&w, &ask, API_LIST_OFFSETS, NEWEST_VERSION, &m);
    assert_null(node_world_wait(&w, &ask, 50));
    assert_found(list(&w, LATEST, NEWEST_VERSION, -1, -1), RECORDS, -1);
    assert_false(ask.answered);
    w.loop.pool_stuck = false;
    answer = node_world_wait(&w, &ask, 50);
    assert_non_null(answer);
    assert_int_equal(answer->topics[0].partitions[0].offset, 3);
    node_ask_free(&ask);
    node_world_free(&w);
}

static void unreadable_file_is_an_error_of_that_partition(void **state)
{
    static struct node_world w;
    (void)state;

    begin(&w);
    files_sim_set_cold(w.files, true);
    files_sim_fail(w.files, &(struct files_fault){
                                .call = FILES_CALL_READ, .times = 4, .after = 4, .sys_errno = EIO});
    assert_int_equal(list(&w, LARGEST, NEWEST_VERSION, -1, -1).code, KERR_KAFKA_STORAGE_ERROR);
    files_sim_heal(w.files);
    files_sim_set_cold(w.files, false);
    node_world_free(&w);
}

static void refusals_are_those_of_kafka(void **state)
{
    static struct node_world w;
    (void)state;

    begin(&w);
    assert_int_equal(list(&w, LATEST, NEWEST_VERSION, -1, 99).code,
                     KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(list(&w, LATEST, NEWEST_VERSION, 100, -1).code, KERR_UNKNOWN_LEADER_EPOCH);
    assert_int_equal(list(&w, LARGEST, 6, -1, -1).code, KERR_UNSUPPORTED_VERSION);
    assert_int_equal(list(&w, LATEST_TIERED, 8, -1, -1).code, KERR_UNSUPPORTED_VERSION);
    assert_int_equal(list(&w, -7, NEWEST_VERSION, -1, -1).code, KERR_UNSUPPORTED_VERSION);
    assert_int_equal(list(&w, -7, NEWEST_VERSION, -1, 99).code, KERR_UNSUPPORTED_VERSION);
    /* one partition several times over */
    assert_int_equal(list(&w, LATEST, NEWEST_VERSION, -1, 0).code, KERR_INVALID_REQUEST);
    node_world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_memory_is_answered_without_the_pool),
        cmocka_unit_test(what_is_cold_is_looked_up_in_the_pool),
        cmocka_unit_test(shard_goes_on_while_a_lookup_waits_for_the_disk),
        cmocka_unit_test(unreadable_file_is_an_error_of_that_partition),
        cmocka_unit_test(refusals_are_those_of_kafka),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
