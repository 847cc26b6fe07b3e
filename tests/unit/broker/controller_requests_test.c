/* What brokers and clients ask of the controller, from frame to frame: that each answer is the decision for the
 * question in its place. The decisions themselves are tested with replication/. */
#include "tests/unit/test.h"

#include "broker/control.h"
#include "broker/shard.h"
#include "protocol/messages/alter_partition.h"
#include "tests/unit/broker/node_world.h"

static struct node_world world;

static int set_up(void **state)
{
    node_world_init(&world);
    node_world_start(&world);
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    node_world_free(*state);
    return 0;
}

static const void *ask(struct node_world *w, struct node_ask *a, int16_t key, int16_t version, const void *message)
{
    const void *answer;

    node_world_send(w, a, key, version, message);
    answer = node_world_wait(w, a, 1000);
    assert_non_null(answer);
    return answer;
}

/* ---- AlterPartition ---- */

static void isr_of_each_partition_is_answered_in_its_place(void **state)
{
    struct node_world *w = *state;
    struct uuid topic = node_world_topic(w, "t", 2, NULL);
    int32_t me = w->options.node_id;
    struct alter_partition_request_broker_state member = {me, control_broker_epoch(w->node->control)};
    struct alter_partition_request_partition_data unknown = {.partition_index = 0},
                                                  known[2] = {{.partition_index = 1}, {.partition_index = 0}};
    struct alter_partition_request_topic_data topics[2] = {{.topic_id = {{9}}, .partitions = &unknown, 1},
                                                           {.topic_id = topic, .partitions = known, 2}};
    struct alter_partition_request m = {.broker_id = me, .broker_epoch = member.broker_epoch, topics, 2};

    for (int i = 0; i < 2; i++) {
        known[i].new_isr = &me;
        known[i].new_isr_with_epochs = &member;
    }
    known[1].leader_epoch = 7;
    for (int16_t version = 2; version <= 3; version++) {
        const struct alter_partition_response *answer;
        struct node_ask a = {0};

        known[0].new_isr_count = known[1].new_isr_count = version == 2;
        known[0].new_isr_with_epochs_count = known[1].new_isr_with_epochs_count = version == 3;
        answer = ask(w, &a, API_ALTER_PARTITION, version, &m);
        assert_int_equal(answer->error_code, KERR_NONE);
        assert_int_equal(answer->topics_count, 2);
        assert_int_equal(answer->topics[0].partitions[0].error_code, KERR_UNKNOWN_TOPIC_ID);
        assert_true(uuid_equal(answer->topics[1].topic_id, topic));
        assert_int_equal(answer->topics[1].partitions[0].partition_index, 1);
        assert_int_equal(answer->topics[1].partitions[0].error_code, KERR_NONE);
        assert_int_equal(answer->topics[1].partitions[0].leader_id, me);
        assert_int_equal(answer->topics[1].partitions[0].isr_count, 1);
        assert_int_equal(answer->topics[1].partitions[0].isr[0], me);
        assert_int_equal(answer->topics[1].partitions[1].partition_index, 0);
        assert_int_equal(answer->topics[1].partitions[1].error_code, KERR_NOT_CONTROLLER);
        node_ask_free(&a);
    }
}

static void isr_of_a_broker_from_another_life_is_refused_as_a_whole(void **state)
{
    struct node_world *w = *state;
    struct node_ask a = {0};
    struct alter_partition_request m = {.broker_id = w->options.node_id, .broker_epoch = 12345};
    const struct alter_partition_response *answer = ask(w, &a, API_ALTER_PARTITION, 3, &m);

    assert_int_equal(answer->error_code, KERR_STALE_BROKER_EPOCH);
    assert_int_equal(answer->topics_count, 0);
    node_ask_free(&a);
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(isr_of_each_partition_is_answered_in_its_place),
        STORY(isr_of_a_broker_from_another_life_is_refused_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
