/* The ISR of a partition on a whole node, with a second broker that the test plays: from its
 * fetches to the controller and back. */
#include "tests/unit/test.h"

#include "protocol/messages/delete_records.h"
#include "replication/isr_core.h"
#include "tests/unit/broker/second_broker.h"

static void begin(struct node_world *w, struct second_broker *b)
{
    *b = (struct second_broker){0};
    node_world_init(w);
    node_world_set(w, "replica.lag.time.max.ms=4000");
    node_world_set(w, "broker.session.timeout.ms=2000");
    node_world_start(w);
    second_broker_register(b, w);
    second_broker_live(b, 300);
}

static size_t isr_size_of(struct node_world *w, struct uuid topic)
{
    return isr_size(&node_world_partition(w, topic, 0)->isr);
}

static bool wait_for_isr(struct second_broker *b, struct uuid topic, size_t size, int64_t ms)
{
    for (; ms > 0 && isr_size_of(b->w, topic) != size; ms -= 10)
        second_broker_live(b, 10);
    return isr_size_of(b->w, topic) == size;
}

/* acks=all waits for both; a follower that is fenced holds nobody up, and joins again once it has
 * all there is. */
static void fenced_follower_leaves_the_isr_and_comes_back_when_it_caught_up(void **state)
{
    static struct node_world w;
    struct second_broker b;
    struct partition *p;
    struct uuid topic;
    (void)state;

    begin(&w, &b);
    topic = second_broker_topic(&b, "orders", NULL);
    p = node_world_partition(&w, topic, 0);
    assert_int_equal(isr_size_of(&w, topic), 2);
    assert_int_equal(node_world_produce(&w, "orders", 0, 1, 1, 50), KERR_NONE);
    assert_int_equal(second_broker_fetch(&b, topic, 0), KERR_NONE);
    second_broker_live(&b, 20);
    assert_int_equal(partition_high_watermark(p), 0);
    assert_int_equal(second_broker_fetch(&b, topic, 1), KERR_NONE);
    assert_int_equal(partition_high_watermark(p), 1);
    assert_int_equal(node_world_produce(&w, "orders", 0, 1, 1, 50), KERR_NONE);
    test_loop_run(&w.loop, 3000); /* no heartbeat: the controller fences it */
    assert_int_equal(isr_size_of(&w, topic), 1);
    assert_int_equal(partition_high_watermark(p), 2);
    second_broker_register(&b, &w);
    assert_int_equal(second_broker_fetch(&b, topic, 2), KERR_NONE); /* fenced yet */
    test_loop_run(&w.loop, 200);
    assert_int_equal(isr_size_of(&w, topic), 1);
    assert_true(wait_for_isr(&b, topic, 2, 100)); /* at once, without another fetch */
    node_world_free(&w);
}

/* A broker that is alive and does not fetch, as when only we do not hear it: after the time of a
 * session. */
static void follower_that_does_not_fetch_is_taken_out(void **state)
{
    static struct node_world w;
    struct second_broker b;
    struct uuid topic;
    (void)state;

    begin(&w, &b);
    topic = second_broker_topic(&b, "orders", NULL);
    assert_int_equal(node_world_produce(&w, "orders", 0, 1, 1, 50), KERR_NONE);
    assert_false(wait_for_isr(&b, topic, 1, 1700));
    assert_true(wait_for_isr(&b, topic, 1, 600));
    assert_int_equal(partition_high_watermark(node_world_partition(&w, topic, 0)), 1);
    assert_int_equal(second_broker_fetch(&b, topic, 0), KERR_NONE);
    second_broker_live(&b, 250);
    assert_int_equal(isr_size_of(&w, topic), 1);
    assert_int_equal(second_broker_fetch(&b, topic, 1), KERR_NONE);
    assert_true(wait_for_isr(&b, topic, 2, 100));
    node_world_free(&w);
}

/* One that fetches and gets nowhere: after replica.lag.time.max.ms. */
static void follower_that_fetches_and_lags_is_taken_out_later(void **state)
{
    static struct node_world w;
    struct second_broker b;
    struct uuid topic;
    (void)state;

    begin(&w, &b);
    topic = second_broker_topic(&b, "orders", NULL);
    assert_int_equal(node_world_produce(&w, "orders", 0, 1, 1, 50), KERR_NONE);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(second_broker_fetch(&b, topic, 0), KERR_NONE);
        assert_false(wait_for_isr(&b, topic, 1, 1200));
    }
    assert_int_equal(second_broker_fetch(&b, topic, 0), KERR_NONE);
    assert_true(wait_for_isr(&b, topic, 1, 800));
    node_world_free(&w);
}

/* KIP-903: a fetch of the run before does not count, whatever it says. */
static void fetch_of_an_earlier_run_brings_nobody_in(void **state)
{
    static struct node_world w;
    struct second_broker b, before;
    struct uuid topic;
    (void)state;

    begin(&w, &b);
    topic = second_broker_topic(&b, "orders", NULL);
    test_loop_run(&w.loop, 3000);
    assert_int_equal(isr_size_of(&w, topic), 1);
    before = b;
    second_broker_register(&b, &w);
    second_broker_live(&b, 300);
    assert_int_equal(second_broker_fetch(&before, topic, 0), KERR_NOT_LEADER_OR_FOLLOWER);
    assert_false(wait_for_isr(&b, topic, 2, 300));
    assert_int_equal(second_broker_fetch(&b, topic, 0), KERR_NONE);
    assert_true(wait_for_isr(&b, topic, 2, 100));
    node_world_free(&w);
}

/* With min.insync.replicas above the ISR, acks=all is refused before anything is written. */
static void lone_leader_refuses_acks_all_below_the_minimum(void **state)
{
    static const char *const two[] = {"min.insync.replicas", "2", NULL};
    static struct node_world w;
    struct second_broker b;
    struct uuid topic;
    (void)state;

    begin(&w, &b);
    topic = second_broker_topic(&b, "orders", two);
    assert_int_equal(node_world_produce(&w, "orders", 0, -1, 1, 50), KERR_REQUEST_TIMED_OUT);
    test_loop_run(&w.loop, 3000);
    assert_int_equal(isr_size_of(&w, topic), 1);
    assert_int_equal(node_world_produce(&w, "orders", 0, -1, 1, 50), KERR_NOT_ENOUGH_REPLICAS);
    assert_int_equal(partition_high_watermark(node_world_partition(&w, topic, 0)), 0);
    node_world_free(&w);
}

/* ---- throttles ---- */

static size_t fetched_bytes(struct second_broker *b, struct uuid topic, int64_t offset)
{
    size_t size;

    second_broker_send_fetch(b, topic, offset, 0);
    size = second_broker_fetched(b, 100)->records.size;
    second_broker_end_fetch(b);
    return size;
}

/* KIP-73: a replica that catches up gets so many bytes a second, and one that is in sync all it
 * asks for. */
static void replica_that_catches_up_is_throttled(void **state)
{
    static const char *const all[] = {"leader.replication.throttled.replicas", "*", NULL};
    static struct node_world w;
    struct second_broker b = {0};
    struct uuid topic;
    (void)state;

    node_world_init(&w);
    node_world_set(&w, "leader.replication.throttled.rate=1000");
    node_world_set(&w, "broker.session.timeout.ms=2000");
    node_world_start(&w);
    second_broker_register(&b, &w);
    second_broker_live(&b, 300);
    topic = second_broker_topic(&b, "orders", all);
    assert_int_equal(node_world_produce(&w, "orders", 0, 1, 1, 400), KERR_NONE);
    assert_true(fetched_bytes(&b, topic, 0) > 0);
    assert_true(fetched_bytes(&b, topic, 0) > 0); /* in sync */
    test_loop_run(&w.loop, 4000);
    assert_int_equal(isr_size_of(&w, topic), 1);
    second_broker_register(&b, &w);
    assert_true(fetched_bytes(&b, topic, 0) > 0);
    assert_int_equal(fetched_bytes(&b, topic, 0), 0);
    test_loop_run(&w.loop, 300);
    assert_int_equal(fetched_bytes(&b, topic, 0), 0);
    test_loop_run(&w.loop, 300);
    assert_true(fetched_bytes(&b, topic, 0) > 0);
    node_world_free(&w);
}

/* ---- DeleteRecords ---- */

static void send_delete(struct node_world *w, struct node_ask *ask, int64_t offset,
                        int32_t timeout_ms)
{
    struct delete_records_request_partition partition = {.partition_index = 0, .offset = offset};
    struct delete_records_request_topic topic = {
        .name = STR("orders"), .partitions = &partition, .partitions_count = 1};
    struct delete_records_request m = {
        .topics = &topic, .topics_count = 1, .timeout_ms = timeout_ms};

    *ask = (struct node_ask){0};
    node_world_send(w, ask, API_DELETE_RECORDS, 2, &m);
}

static const struct delete_records_response_partition_result *
deleted(struct node_world *w, struct node_ask *ask, int64_t ms)
{
    const struct delete_records_response *answer = node_world_wait(w, ask, ms);

    return answer ? &answer->topics[0].partitions[0] : NULL;
}

/* The answer waits until the follower, which is told at once, has said that it deleted too. */
static void deleting_records_waits_for_the_replicas(void **state)
{
    static struct node_world w;
    struct second_broker b;
    struct node_ask ask;
    struct uuid topic;
    (void)state;

    begin(&w, &b);
    topic = second_broker_topic(&b, "orders", NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(node_world_produce(&w, "orders", 0, 1, 1, 50), KERR_NONE);
    test_loop_run(&w.loop, 20);
    assert_int_equal(second_broker_fetch(&b, topic, 4), KERR_NONE);
    send_delete(&w, &ask, 3, 1000);
    assert_null(deleted(&w, &ask, 100));
    b.log_start = 3;
    assert_int_equal(second_broker_fetch(&b, topic, 4), KERR_NONE);
    assert_int_equal(deleted(&w, &ask, 5)->error_code, KERR_NONE);
    assert_int_equal(deleted(&w, &ask, 5)->low_watermark, 3);
    node_ask_free(&ask);
    send_delete(&w, &ask, -1, 200);
    assert_null(deleted(&w, &ask, 190));
    assert_int_equal(deleted(&w, &ask, 20)->error_code, KERR_REQUEST_TIMED_OUT);
    assert_int_equal(deleted(&w, &ask, 20)->low_watermark, 3);
    node_ask_free(&ask);
    send_delete(&w, &ask, -1, 100000);
    assert_null(deleted(&w, &ask, 500));
    test_loop_run(&w.loop, 3000); /* fenced: nobody waits for it */
    assert_int_equal(deleted(&w, &ask, 5)->error_code, KERR_NONE);
    assert_int_equal(deleted(&w, &ask, 5)->low_watermark, 4);
    node_ask_free(&ask);
    node_world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fenced_follower_leaves_the_isr_and_comes_back_when_it_caught_up),
        cmocka_unit_test(follower_that_does_not_fetch_is_taken_out),
        cmocka_unit_test(follower_that_fetches_and_lags_is_taken_out_later),
        cmocka_unit_test(fetch_of_an_earlier_run_brings_nobody_in),
        cmocka_unit_test(lone_leader_refuses_acks_all_below_the_minimum),
        cmocka_unit_test(replica_that_catches_up_is_throttled),
        cmocka_unit_test(deleting_records_waits_for_the_replicas),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
