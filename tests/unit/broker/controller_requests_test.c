/* What brokers and clients ask of the controller, from frame to frame: that each answer is the
 * decision for the question in its place. The decisions themselves are tested with replication/. */
#include "tests/unit/test.h"

#include "broker/control.h"
#include "broker/shard.h"
#include "broker/storage_dirs.h"
#include "protocol/messages/alter_partition.h"
#include "protocol/messages/alter_partition_reassignments.h"
#include "protocol/messages/assign_replicas_to_dirs.h"
#include "protocol/messages/controller_registration.h"
#include "protocol/messages/elect_leaders.h"
#include "protocol/messages/list_partition_reassignments.h"
#include "protocol/messages/unregister_broker.h"
#include "protocol/messages/unregister_controller.h"
#include "protocol/messages/update_features.h"
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

static const void *ask(struct node_world *w, struct node_ask *a, int16_t key, int16_t version,
                       const void *message)
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
    struct alter_partition_request_broker_state member = {me,
                                                          control_broker_epoch(w->node->control)};
    struct alter_partition_request_partition_data unknown = {.partition_index = 0},
                                                  known[2] = {{.partition_index = 1},
                                                              {.partition_index = 0}};
    struct alter_partition_request_topic_data topics[2] = {
        {.topic_id = {{9}}, .partitions = &unknown, 1},
        {.topic_id = topic, .partitions = known, 2}};
    struct alter_partition_request m = {
        .broker_id = me, .broker_epoch = member.broker_epoch, topics, 2};

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

/* ---- ElectLeaders ---- */

static void elections_are_answered_topic_by_topic(void **state)
{
    struct node_world *w = *state;
    int32_t two[2] = {0, 9}, one = 1;
    struct elect_leaders_request_topic_partitions topics[2] = {{STR("t"), two, 2},
                                                               {STR("u"), &one, 1}};
    struct elect_leaders_request m = {.topic_partitions = topics, .topic_partitions_count = 2};

    node_world_topic(w, "t", 2, NULL);
    node_world_topic(w, "u", 2, NULL);
    for (int16_t version = 0; version <= 2; version++) {
        struct node_ask a = {0};
        const struct elect_leaders_response *answer = ask(w, &a, API_ELECT_LEADERS, version, &m);

        assert_int_equal(answer->error_code, KERR_NONE);
        assert_int_equal(answer->replica_election_results_count, 2);
        assert_true(str_equal(answer->replica_election_results[1].topic, STR("u")));
        assert_int_equal(answer->replica_election_results[0].partition_result_count, 2);
        assert_int_equal(answer->replica_election_results[0].partition_result[0].error_code,
                         KERR_ELECTION_NOT_NEEDED);
        assert_int_equal(answer->replica_election_results[0].partition_result[1].partition_id, 9);
        assert_int_equal(answer->replica_election_results[0].partition_result[1].error_code,
                         KERR_UNKNOWN_TOPIC_OR_PARTITION);
        node_ask_free(&a);
    }
}

static void election_of_all_that_need_none_is_an_empty_answer(void **state)
{
    struct node_world *w = *state;
    struct elect_leaders_request m = {.election_type = 1};
    struct node_ask a = {0};
    const struct elect_leaders_response *answer;

    node_world_topic(w, "t", 2, NULL);
    answer = ask(w, &a, API_ELECT_LEADERS, 2, &m);
    assert_int_equal(answer->error_code, KERR_NONE);
    assert_int_equal(answer->replica_election_results_count, 0);
    node_ask_free(&a);
}

static void unknown_kind_of_election_is_refused_everywhere(void **state)
{
    struct node_world *w = *state;
    int32_t zero = 0;
    struct elect_leaders_request_topic_partitions topic = {STR("t"), &zero, 1};
    struct elect_leaders_request m = {7, &topic, 1, 0};
    struct node_ask a = {0};
    const struct elect_leaders_response *answer = ask(w, &a, API_ELECT_LEADERS, 2, &m);

    assert_int_equal(answer->error_code, KERR_INVALID_REQUEST);
    assert_int_equal(answer->replica_election_results[0].partition_result[0].error_code,
                     KERR_INVALID_REQUEST);
    node_ask_free(&a);
}

/* ---- reassignments ---- */

static void reassignments_are_answered_in_their_places(void **state)
{
    struct node_world *w = *state;
    int32_t me = w->options.node_id, nobody = 77;
    struct alter_partition_reassignments_request_reassignable_partition first[2] = {{0, &me, 1},
                                                                                    {1, &nobody,
                                                                                     1}},
                                                                        second = {0, NULL, 0};
    struct alter_partition_reassignments_request_reassignable_topic topics[2] = {
        {STR("t"), first, 2}, {STR("u"), &second, 1}};
    struct alter_partition_reassignments_request m = {
        .allow_replication_factor_change = true, .topics = topics, .topics_count = 2};

    node_world_topic(w, "t", 2, NULL);
    node_world_topic(w, "u", 1, NULL);
    for (int16_t version = 0; version <= 1; version++) {
        struct node_ask a = {0};
        const struct alter_partition_reassignments_response *answer =
            ask(w, &a, API_ALTER_PARTITION_REASSIGNMENTS, version, &m);

        assert_int_equal(answer->error_code, KERR_NONE);
        assert_int_equal(answer->responses_count, 2);
        assert_int_equal(answer->responses[0].partitions[0].error_code, KERR_NONE);
        assert_int_equal(answer->responses[0].partitions[1].partition_index, 1);
        assert_int_equal(answer->responses[0].partitions[1].error_code,
                         KERR_INVALID_REPLICA_ASSIGNMENT);
        assert_int_equal(answer->responses[1].partitions[0].error_code,
                         KERR_NO_REASSIGNMENT_IN_PROGRESS);
        node_ask_free(&a);
    }
}

static void reassignments_are_listed_for_all_or_some(void **state)
{
    struct node_world *w = *state;
    int32_t zero = 0;
    struct list_partition_reassignments_request_topics topic = {STR("t"), &zero, 1};
    struct list_partition_reassignments_request m = {0};

    node_world_topic(w, "t", 1, NULL);
    for (int all = 0; all < 2; all++) {
        struct node_ask a = {0};
        const struct list_partition_reassignments_response *answer;

        m.topics = all ? NULL : &topic;
        m.topics_count = all ? 0 : 1;
        answer = ask(w, &a, API_LIST_PARTITION_REASSIGNMENTS, 0, &m);
        assert_int_equal(answer->error_code, KERR_NONE);
        assert_int_equal(answer->topics_count, 0);
        node_ask_free(&a);
    }
}

/* ---- directories ---- */

static void directories_of_replicas_are_answered_in_their_places(void **state)
{
    struct node_world *w = *state;
    struct uuid topic = node_world_topic(w, "t", 1, NULL);
    const struct metadata_broker *b =
        metadata_image_broker(w->node->shards[0]->image, w->options.node_id);
    struct assign_replicas_to_dirs_request_partition_data both[2] = {{9}, {0}};
    struct assign_replicas_to_dirs_request_topic_data t = {topic, both, 2};
    struct assign_replicas_to_dirs_request_directory_data d = {b->log_dirs[0], &t, 1};
    struct assign_replicas_to_dirs_request m = {b->id, b->epoch, &d, 1};
    const struct assign_replicas_to_dirs_response *answer;
    struct node_ask a = {0};

    answer = ask(w, &a, API_ASSIGN_REPLICAS_TO_DIRS, 0, &m);
    assert_int_equal(answer->error_code, KERR_NONE);
    assert_true(uuid_equal(answer->directories[0].id, d.id));
    assert_int_equal(answer->directories[0].topics[0].partitions[0].error_code,
                     KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(answer->directories[0].topics[0].partitions[1].partition_index, 0);
    assert_int_equal(answer->directories[0].topics[0].partitions[1].error_code, KERR_NONE);
    node_ask_free(&a);
    m.broker_epoch++;
    answer = ask(w, &a, API_ASSIGN_REPLICAS_TO_DIRS, 0, &m);
    assert_int_equal(answer->error_code, KERR_STALE_BROKER_EPOCH);
    node_ask_free(&a);
}

/* KIP-858: the controller learns by itself where each replica landed. */
static void replicas_of_a_broker_with_two_directories_are_reported(void **state)
{
    struct node_world *w = *state;
    const struct metadata_broker *b;
    const struct metadata_topic *t;
    struct uuid topic;
    int in[2] = {0, 0};

    node_world_stop(w);
    node_world_free(w);
    node_world_init(w);
    node_world_set(w, "log.dirs=one,two");
    node_world_start(w);
    topic = node_world_topic(w, "t", 6, NULL);
    test_loop_run(&w->loop, 1000);
    t = metadata_image_topic_by_id(w->node->shards[0]->image, topic);
    b = metadata_image_broker(w->node->shards[0]->image, w->options.node_id);
    assert_int_equal(b->log_dir_count, 2);
    for (int i = 0; i < 6; i++)
        for (int d = 0; d < 2; d++)
            in[d] += uuid_equal(t->partitions[i]->directories[0], b->log_dirs[d]);
    assert_int_equal(in[0], 3);
    assert_int_equal(in[1], 3);
    for (int i = 0; i < 6; i++)
        assert_true(
            uuid_equal(t->partitions[i]->directories[0],
                       storage_dirs_id(w->node->dirs, node_world_partition(w, topic, i)->log_dir)));
}

/* ---- who belongs to the cluster ---- */

static void another_controller_registers_and_is_unregistered(void **state)
{
    struct node_world *w = *state;
    struct controller_registration_request_listener listener = {STR("CONTROLLER"), STR("host"),
                                                                9093, 0};
    struct controller_registration_request_feature feature = {STR("metadata.version"), 7, 33};
    struct controller_registration_request m = {7, {{7}}, false, &listener, 1, &feature, 1};
    struct unregister_controller_request gone = {7};
    const struct metadata_controller *known;
    struct node_ask a = {0};

    assert_int_equal(((const struct controller_registration_response *)ask(
                          w, &a, API_CONTROLLER_REGISTRATION, 0, &m))
                         ->error_code,
                     KERR_NONE);
    node_ask_free(&a);
    test_loop_run(&w->loop, 10);
    known = metadata_image_controller(w->node->shards[0]->image, 7);
    assert_non_null(known);
    assert_int_equal(known->listeners[0].port, 9093);
    assert_int_equal(((const struct unregister_controller_response *)ask(
                          w, &a, API_UNREGISTER_CONTROLLER, 0, &gone))
                         ->error_code,
                     KERR_NONE);
    node_ask_free(&a);
    assert_int_equal(((const struct unregister_controller_response *)ask(
                          w, &a, API_UNREGISTER_CONTROLLER, 0, &gone))
                         ->error_code,
                     KERR_CONTROLLER_ID_NOT_REGISTERED);
    node_ask_free(&a);
}

static void unknown_broker_cannot_be_unregistered(void **state)
{
    struct node_world *w = *state;
    struct unregister_broker_request m = {77};
    struct node_ask a = {0};
    const struct unregister_broker_response *answer = ask(w, &a, API_UNREGISTER_BROKER, 0, &m);

    assert_int_equal(answer->error_code, KERR_BROKER_ID_NOT_REGISTERED);
    assert_true(str_equal(answer->error_message, STR("Broker ID 77 is not currently registered")));
    node_ask_free(&a);
}

static void levels_of_features_change_in_every_version_of_the_request(void **state)
{
    struct node_world *w = *state;
    struct update_features_request_feature_update_key u = {STR("share.version"), 1, false,
                                                           FEATURE_UPGRADE};
    struct update_features_request m = {.feature_updates = &u, .feature_updates_count = 1};

    for (int16_t version = 0; version <= 2; version++) {
        const struct update_features_response *answer;
        struct node_ask a = {0};

        u.max_version_level = 9;
        u.allow_downgrade = false;
        u.upgrade_type = FEATURE_UPGRADE;
        answer = ask(w, &a, API_UPDATE_FEATURES, version, &m);
        assert_int_equal(answer->error_code, KERR_INVALID_UPDATE_VERSION);
        assert_true(answer->error_message.size > 80);
        node_ask_free(&a);
        u.max_version_level = (int16_t)(version % 2 ? 2 : 1);
        u.allow_downgrade = version == 0;
        u.upgrade_type = version == 2 ? FEATURE_SAFE_DOWNGRADE : FEATURE_UPGRADE;
        answer = ask(w, &a, API_UPDATE_FEATURES, version, &m);
        assert_int_equal(answer->error_code, KERR_NONE);
        assert_int_equal(answer->results_count, version <= 1);
        node_ask_free(&a);
        test_loop_run(&w->loop, 10);
        assert_int_equal(
            metadata_image_feature_level(w->node->shards[0]->image, STR("share.version")),
            version % 2 ? 2 : 1);
    }
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(isr_of_each_partition_is_answered_in_its_place),
        STORY(isr_of_a_broker_from_another_life_is_refused_as_a_whole),
        STORY(elections_are_answered_topic_by_topic),
        STORY(election_of_all_that_need_none_is_an_empty_answer),
        STORY(unknown_kind_of_election_is_refused_everywhere),
        STORY(reassignments_are_answered_in_their_places),
        STORY(reassignments_are_listed_for_all_or_some),
        STORY(directories_of_replicas_are_answered_in_their_places),
        STORY(replicas_of_a_broker_with_two_directories_are_reported),
        STORY(another_controller_registers_and_is_unregistered),
        STORY(unknown_broker_cannot_be_unregistered),
        STORY(levels_of_features_change_in_every_version_of_the_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
