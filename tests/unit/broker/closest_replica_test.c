/* Consumers that read in their own zone (KIP-392): sent there by the leader, served there by a
 * follower. */
#include "tests/unit/test.h"

#include <string.h>

#include "replication/partition_follow.h"
#include "tests/unit/broker/second_broker.h"

#define VERSION 17
#define LONG_MS 100000

static struct uuid begin(struct node_world *w, struct second_broker *b, const char *selector)
{
    *b = (struct second_broker){0};
    node_world_init(w);
    node_world_set(w, "broker.rack=az-1");
    node_world_set(w, "broker.session.timeout.ms=2000");
    if (selector)
        node_world_set(w, selector);
    node_world_start(w);
    second_broker_register(b, w); /* of az-2 */
    second_broker_live(b, 300);
    return second_broker_topic(b, "orders", NULL);
}

#define BY_RACK "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector"

struct consumer {
    struct fetch_request_partition partition;
    struct fetch_request_topic topic;
    struct fetch_request m;
    struct node_ask ask;
};

static void consumer_asks(struct consumer *c, struct node_world *w, struct uuid topic,
                          const char *rack, int64_t offset, int16_t version)
{
    memset(c, 0, sizeof *c);
    fetch_request_init(&c->m);
    fetch_request_partition_init(&c->partition);
    c->partition.fetch_offset = offset;
    c->partition.partition_max_bytes = 1 << 20;
    c->topic.topic_id = topic;
    if (version < 13)
        c->topic.topic = STR("orders");
    c->topic.partitions = &c->partition;
    c->topic.partitions_count = 1;
    c->m.topics = &c->topic;
    c->m.topics_count = 1;
    c->m.max_bytes = 1 << 20;
    c->m.min_bytes = 1;
    c->m.max_wait_ms = LONG_MS;
    c->m.rack_id = str_from(rack);
    node_world_send(w, &c->ask, API_FETCH, version, &c->m);
}

/* NULL: no answer yet. */
static const struct fetch_response_partition_data *consumer_found(struct consumer *c,
                                                                  struct node_world *w, int64_t ms)
{
    const struct fetch_response *answer = node_world_wait(w, &c->ask, ms);

    return answer ? &answer->responses[0].partitions[0] : NULL;
}

/* Where a consumer of that rack is sent; 1: it gets its records here. */
static int32_t reads_from(struct node_world *w, struct uuid topic, const char *rack, int64_t offset)
{
    const struct fetch_response_partition_data *found;
    struct consumer c;
    int32_t from;

    consumer_asks(&c, w, topic, rack, offset, VERSION);
    found = consumer_found(&c, w, 5);
    assert_non_null(found);
    assert_int_equal(found->error_code, KERR_NONE);
    assert_true((found->records.size > 0) == (found->preferred_read_replica < 0));
    from = found->preferred_read_replica < 0 ? 1 : found->preferred_read_replica;
    node_ask_free(&c.ask);
    return from;
}

static void consumer_is_sent_to_the_follower_in_its_zone(void **state)
{
    static struct node_world w;
    struct second_broker b;
    struct uuid topic;
    (void)state;

    topic = begin(&w, &b, BY_RACK);
    assert_int_equal(node_world_produce(&w, "orders", 0, 1, 1, 50), KERR_NONE);
    assert_int_equal(node_world_produce(&w, "orders", 0, 1, 1, 50), KERR_NONE);
    test_loop_run(&w.loop, 20);
    assert_int_equal(second_broker_fetch(&b, topic, 0), KERR_NONE);
    assert_int_equal(second_broker_fetch(&b, topic, 2), KERR_NONE); /* both are committed */
    assert_int_equal(second_broker_fetch(&b, topic, 1), KERR_NONE);
    assert_int_equal(reads_from(&w, topic, "az-2", 0), 2);
    assert_int_equal(reads_from(&w, topic, "az-2", 1), 2);
    assert_int_equal(reads_from(&w, topic, "az-1", 0), 1);
    assert_int_equal(reads_from(&w, topic, "az-3", 0), 1);
    assert_int_equal(reads_from(&w, topic, "", 0), 1);
    test_loop_run(&w.loop, 3000); /* fenced */
    assert_int_equal(reads_from(&w, topic, "az-2", 0), 1);
    node_world_free(&w);
}

/* What it has not is not asked of it. */
static void follower_that_has_not_the_offset_is_not_read_from(void **state)
{
    static struct node_world w;
    struct second_broker b;
    struct uuid topic;
    (void)state;

    topic = begin(&w, &b, BY_RACK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(node_world_produce(&w, "orders", 0, 1, 1, 50), KERR_NONE);
    test_loop_run(&w.loop, 20);
    assert_int_equal(second_broker_fetch(&b, topic, 3), KERR_NONE);
    b.log_start = 2;
    assert_int_equal(second_broker_fetch(&b, topic, 2), KERR_NONE);
    assert_int_equal(reads_from(&w, topic, "az-2", 2), 2);
    assert_int_equal(reads_from(&w, topic, "az-2", 1), 1);
    b.log_start = 0;
    assert_int_equal(second_broker_fetch(&b, topic, 1), KERR_NONE);
    assert_int_equal(reads_from(&w, topic, "az-2", 2), 1);
    node_world_free(&w);
}

static void without_a_selector_the_leader_serves_everybody(void **state)
{
    static struct node_world w;
    struct second_broker b;
    struct uuid topic;
    (void)state;

    topic = begin(&w, &b, NULL);
    assert_int_equal(node_world_produce(&w, "orders", 0, 1, 1, 50), KERR_NONE);
    test_loop_run(&w.loop, 20);
    assert_int_equal(second_broker_fetch(&b, topic, 1), KERR_NONE);
    assert_int_equal(reads_from(&w, topic, "az-2", 0), 1);
    node_world_free(&w);
}

/* As far as its leader told it the high watermark, to those that know of followers (version 11);
 * and on when that moves. It does not judge what lies past its end. */
static void follower_serves_consumers_up_to_its_high_watermark(void **state)
{
    static struct node_world w;
    const struct fetch_response_partition_data *found;
    struct second_broker b;
    struct partition *p;
    struct consumer c;
    struct uuid topic;
    (void)state;

    topic = begin(&w, &b, NULL);
    p = node_world_partition(&w, topic, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(node_world_produce(&w, "orders", 0, 1, 1, 50), KERR_NONE);
    test_loop_run(&w.loop, 20);
    assert_int_equal(second_broker_fetch(&b, topic, 2), KERR_NONE);
    partition_assign(p, &(struct partition_assignment){.leader_id = 2,
                                                       .leader_epoch = p->leader_epoch + 1,
                                                       .partition_epoch = p->partition_epoch + 1,
                                                       .config = p->config});
    assert_int_equal(partition_high_watermark(p), 2);
    consumer_asks(&c, &w, topic, "az-1", 1, VERSION);
    found = consumer_found(&c, &w, 5);
    assert_int_equal(found->error_code, KERR_NONE);
    assert_int_equal(found->high_watermark, 2);
    assert_true(found->records.size > 0);
    node_ask_free(&c.ask);
    consumer_asks(&c, &w, topic, "az-1", 1, 10);
    assert_int_equal(consumer_found(&c, &w, 5)->error_code, KERR_NOT_LEADER_OR_FOLLOWER);
    node_ask_free(&c.ask);
    consumer_asks(&c, &w, topic, "az-1", 4, VERSION);
    /* Not OFFSET_OUT_OF_RANGE, as Apache Kafka has it: its leader may have more, and not all
     * clients know a follower from it. */
    assert_int_equal(consumer_found(&c, &w, 5)->error_code, KERR_NOT_LEADER_OR_FOLLOWER);
    node_ask_free(&c.ask);
    consumer_asks(&c, &w, topic, "az-1", 2, VERSION);
    assert_null(consumer_found(&c, &w, 300));
    partition_follow_offsets(p, 3, 0);
    assert_true(consumer_found(&c, &w, 5)->records.size > 0);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

/* KIP-951: who leads, and where, beside the refusal. By a broker that follows. */
static void refusal_names_the_leader_and_where_it_listens(void **state)
{
    static struct node_world w;
    const struct fetch_response *answer;
    struct second_broker b;
    struct partition *p;
    struct consumer c;
    struct uuid topic;
    (void)state;

    topic = begin(&w, &b, NULL);
    p = node_world_partition(&w, topic, 0);
    partition_assign(p, &(struct partition_assignment){.leader_id = 2,
                                                       .leader_epoch = p->leader_epoch + 1,
                                                       .partition_epoch = p->partition_epoch + 1,
                                                       .config = p->config});
    consumer_asks(&c, &w, topic, "az-1", 4, VERSION);
    assert_int_equal(consumer_found(&c, &w, 5)->error_code, KERR_NOT_LEADER_OR_FOLLOWER);
    answer = c.ask.answer;
    assert_int_equal(answer->responses[0].partitions[0].current_leader.leader_id, 2);
    assert_int_equal(answer->node_endpoints_count, 1);
    assert_int_equal(answer->node_endpoints[0].node_id, 2);
    assert_true(str_equal(answer->node_endpoints[0].host, STR("localhost")));
    assert_int_equal(answer->node_endpoints[0].port, 9);
    assert_true(str_equal(answer->node_endpoints[0].rack, STR("az-2")));
    node_ask_free(&c.ask);
    node_world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(consumer_is_sent_to_the_follower_in_its_zone),
        cmocka_unit_test(follower_that_has_not_the_offset_is_not_read_from),
        cmocka_unit_test(without_a_selector_the_leader_serves_everybody),
        cmocka_unit_test(follower_serves_consumers_up_to_its_high_watermark),
        cmocka_unit_test(refusal_names_the_leader_and_where_it_listens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
