/* Topics as clients make, grow and remove them. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/replication/controller_world.h"

static int set_up(void **state)
{
    static struct controller_world w;

    world_init(&w);
    world_activate(&w);
    world_join(&w, 1);
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    world_free(*state);
    return 0;
}

static void new_topic_is_led_by_the_only_broker(void **state)
{
    struct controller_world *w = *state;
    struct create_topic_result made = world_create(w, "orders", 3, 1);
    const struct metadata_partition *p = world_partition(w, "orders", 2);

    assert_int_equal(made.result.code, KERR_NONE);
    assert_int_equal(made.partition_count, 3);
    assert_true(w->last_atomic);
    assert_int_equal(w->last_count, 4);
    assert_int_equal(world_topic(w, "orders")->partition_count, 3);
    assert_memory_equal(&world_topic(w, "orders")->id, &made.topic_id, sizeof made.topic_id);
    assert_int_equal(p->leader, 1);
    assert_int_equal(p->leader_epoch, 0);
    assert_int_equal(p->isr.count, 1);
    assert_memory_equal(&p->directories[0], &metadata_image_broker(w->image, 1)->log_dirs[0], 16);
    assert_int_equal(w->delta->changed_topic_count, 1);
    assert_memory_equal(&w->delta->changed_topics[0], &made.topic_id, sizeof made.topic_id);
    assert_false(w->delta->brokers_changed);
}

static void counts_of_minus_one_take_the_brokers_defaults(void **state)
{
    struct controller_world *w = *state;

    config_values_set(w->given, STR("num.partitions"), STR("5"), NULL);
    assert_int_equal(world_create(w, "orders", -1, -1).partition_count, 5);
    assert_int_equal(world_partition(w, "orders", 4)->replicas.count, 1);
}

static void impossible_counts_are_refused(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(world_create(w, "a", 0, 1).result.code, KERR_INVALID_PARTITIONS);
    assert_int_equal(world_create(w, "a", -2, 1).result.code, KERR_INVALID_PARTITIONS);
    assert_int_equal(world_create(w, "a", 1, 0).result.code, KERR_INVALID_REPLICATION_FACTOR);
    assert_int_equal(world_create(w, "a", 1, -5).result.code, KERR_INVALID_REPLICATION_FACTOR);
    assert_int_equal(world_create(w, "a", 1, 2).result.code, KERR_INVALID_REPLICATION_FACTOR);
    assert_int_equal(world_create(w, "a", INT32_MAX, 1).result.code, KERR_POLICY_VIOLATION);
    assert_int_equal(w->last_count, 0);
    assert_null(world_topic(w, "a"));
}

static void illegal_and_taken_names_are_refused(void **state)
{
    struct controller_world *w = *state;
    char longest[250];

    memset(longest, 'x', 249);
    longest[249] = '\0';
    assert_int_equal(world_create(w, longest, 1, 1).result.code, KERR_NONE);
    assert_int_equal(world_create(w, "", 1, 1).result.code, KERR_INVALID_TOPIC_EXCEPTION);
    assert_int_equal(world_create(w, ".", 1, 1).result.code, KERR_INVALID_TOPIC_EXCEPTION);
    assert_int_equal(world_create(w, "..", 1, 1).result.code, KERR_INVALID_TOPIC_EXCEPTION);
    assert_int_equal(world_create(w, "a/b", 1, 1).result.code, KERR_INVALID_TOPIC_EXCEPTION);
    assert_int_equal(world_create(w, "__cluster_metadata", 1, 1).result.code, KERR_INVALID_REQUEST);
    assert_int_equal(world_create(w, "orders", 1, 1).result.code, KERR_NONE);
    assert_int_equal(world_create(w, "orders", 1, 1).result.code, KERR_TOPIC_ALREADY_EXISTS);
}

/* '.' and '_' are one character in metric names. */
static void names_that_collide_are_refused_until_the_other_is_gone(void **state)
{
    struct controller_world *w = *state;
    struct delete_topic gone = {.name = STR("a.b_c")};
    struct controller_request r = {.operation = CONTROLLER_DELETE_TOPICS};

    assert_int_equal(world_create(w, "a.b_c", 1, 1).result.code, KERR_NONE);
    assert_int_equal(world_create(w, "a_b.c", 1, 1).result.code, KERR_INVALID_TOPIC_EXCEPTION);
    world_fail_over(w);
    assert_int_equal(world_create(w, "a_b_c", 1, 1).result.code, KERR_INVALID_TOPIC_EXCEPTION);
    r.remove.topics = &gone;
    r.remove.count = 1;
    world_step(w, &r);
    assert_int_equal(r.remove.results[0].result.code, KERR_NONE);
    assert_int_equal(world_create(w, "a_b.c", 1, 1).result.code, KERR_NONE);
}

static void name_that_comes_twice_in_a_request_fails_both_times(void **state)
{
    struct controller_world *w = *state;
    struct create_topic topics[3] = {
        {.name = STR("a"), .partition_count = 1, .replication_factor = 1},
        {.name = STR("b"), .partition_count = 1, .replication_factor = 1},
        {.name = STR("a"), .partition_count = 1, .replication_factor = 1},
    };
    struct controller_request r = {.operation = CONTROLLER_CREATE_TOPICS};

    r.create.topics = topics;
    r.create.count = 3;
    world_step(w, &r);
    assert_int_equal(r.create.results[0].result.code, KERR_INVALID_REQUEST);
    assert_int_equal(r.create.results[1].result.code, KERR_NONE);
    assert_int_equal(r.create.results[2].result.code, KERR_INVALID_REQUEST);
    config_set_release(r.create.results[1].configs);
    assert_null(world_topic(w, "a"));
    assert_non_null(world_topic(w, "b"));
}

static void validating_changes_nothing(void **state)
{
    struct controller_world *w = *state;
    struct create_topic t = {.name = STR("a"), .partition_count = 4, .replication_factor = 1};
    struct controller_request r = {.operation = CONTROLLER_CREATE_TOPICS, .validate_only = true};

    r.create.topics = &t;
    r.create.count = 1;
    world_step(w, &r);
    assert_int_equal(r.create.results[0].result.code, KERR_NONE);
    assert_int_equal(r.create.results[0].partition_count, 4);
    config_set_release(r.create.results[0].configs);
    assert_int_equal(w->last_count, 0);
    assert_null(metadata_image_topic(controller_core_image(w->core), t.name));
}

static void settings_are_checked_and_take_effect(void **state)
{
    struct controller_world *w = *state;
    struct config_entry good = {STR("retention.ms"), STR("1234")};
    struct config_entry unknown = {STR("retention.sm"), STR("1234")};
    struct config_entry bad = {STR("cleanup.policy"), STR("burn")};
    struct config_entry null = {STR("retention.ms"), STR_NULL};
    struct create_topic t = {
        .name = STR("a"), .partition_count = 1, .replication_factor = 1, .config_count = 1};

    t.configs = &unknown;
    assert_int_equal(world_create_topic(w, t).result.code, KERR_INVALID_CONFIG);
    t.configs = &bad;
    assert_int_equal(world_create_topic(w, t).result.code, KERR_INVALID_CONFIG);
    t.configs = &null;
    assert_int_equal(world_create_topic(w, t).result.code, KERR_INVALID_CONFIG);
    t.configs = &good;
    assert_int_equal(world_create_topic(w, t).result.code, KERR_NONE);
    assert_int_equal(world_topic(w, "a")->config->settings.log.retention_ms, 1234);
    assert_int_equal(world_topic(w, "a")->config->overrides->count, 1);
}

static struct id_list ids(const int32_t *list, size_t count)
{
    return (struct id_list){list, count};
}

static void manual_assignments_are_followed_to_the_letter(void **state)
{
    struct controller_world *w = *state;
    int32_t ab[] = {1, 2}, ba[] = {2, 1};
    struct controller_assignment as[] = {{1, ids(ba, 2)}, {0, ids(ab, 2)}};
    struct create_topic t = {.name = STR("a"),
                             .partition_count = -1,
                             .replication_factor = -1,
                             .assignments = as,
                             .assignment_count = 2};

    world_join(w, 2);
    assert_int_equal(world_create_topic(w, t).result.code, KERR_NONE);
    assert_int_equal(world_partition(w, "a", 0)->leader, 1);
    assert_int_equal(world_partition(w, "a", 1)->leader, 2);
    assert_int_equal(world_partition(w, "a", 1)->replicas.ids[1], 1);
}

static void manual_assignments_that_make_no_sense_are_refused(void **state)
{
    struct controller_world *w = *state;
    int32_t one[] = {1}, twice[] = {1, 1}, nobody[] = {7};
    struct controller_assignment as[2] = {{0, ids(one, 1)}, {0, ids(one, 1)}};
    struct create_topic t = {.name = STR("a"),
                             .partition_count = -1,
                             .replication_factor = -1,
                             .assignments = as,
                             .assignment_count = 2};

    /* 0 twice */
    assert_int_equal(world_create_topic(w, t).result.code, KERR_INVALID_REPLICA_ASSIGNMENT);
    as[1].partition = 2;
    /* a gap */
    assert_int_equal(world_create_topic(w, t).result.code, KERR_INVALID_REPLICA_ASSIGNMENT);
    as[1].partition = -1;
    assert_int_equal(world_create_topic(w, t).result.code, KERR_INVALID_REPLICA_ASSIGNMENT);
    as[1] = (struct controller_assignment){1, ids(twice, 2)};
    assert_int_equal(world_create_topic(w, t).result.code, KERR_INVALID_REPLICA_ASSIGNMENT);
    as[1] = (struct controller_assignment){1, ids(nobody, 1)};
    assert_int_equal(world_create_topic(w, t).result.code, KERR_INVALID_REPLICA_ASSIGNMENT);
    as[1] = (struct controller_assignment){1, ids(one, 0)};
    assert_int_equal(world_create_topic(w, t).result.code, KERR_INVALID_REPLICA_ASSIGNMENT);
    as[1] = (struct controller_assignment){1, ids(one, 1)};
    t.partition_count = 2;
    assert_int_equal(world_create_topic(w, t).result.code, KERR_INVALID_REQUEST);
    t.partition_count = -1;
    t.replication_factor = 1;
    assert_int_equal(world_create_topic(w, t).result.code, KERR_INVALID_REQUEST);
}

static struct controller_result grow(struct controller_world *w, struct grow_topic g,
                                     bool validate_only)
{
    struct controller_request r = {.operation = CONTROLLER_GROW_TOPICS,
                                   .validate_only = validate_only};

    r.grow.topics = &g;
    r.grow.count = 1;
    assert_int_equal(world_step(w, &r).code, KERR_NONE);
    return r.grow.results[0];
}

static void join_rack(struct controller_world *w, int32_t id, const char *rack)
{
    struct register_broker b = world_broker(id, 1);
    enum kerr code;

    b.rack = str_from(rack);
    world_register(w, &b, &code);
    assert_int_equal(code, KERR_NONE);
    world_beat(w, world_alive(w, id));
}

static void partitions_spread_over_zones_and_their_leaders_too(void **state)
{
    static const char *const racks[] = {"az-1", "az-2", "az-3"};
    struct controller_world *w = *state;
    struct controller_request gone = {.operation = CONTROLLER_UNREGISTER_BROKER};
    int led[6] = {0};

    gone.unregistration.broker_id = 1; /* which has no zone */
    assert_int_equal(world_step(w, &gone).code, KERR_NONE);
    for (int32_t id = 10; id < 16; id++)
        join_rack(w, id, racks[id % 3]);
    assert_int_equal(world_create(w, "t", 60, 3).result.code, KERR_NONE);
    for (int32_t i = 0; i < 60; i++) {
        const struct metadata_partition *p = world_partition(w, "t", i);

        assert_int_equal((1 << p->replicas.ids[0] % 3) | (1 << p->replicas.ids[1] % 3) |
                             (1 << p->replicas.ids[2] % 3),
                         7);
        assert_int_equal(p->leader, p->replicas.ids[0]);
        led[p->leader - 10]++;
    }
    for (int i = 0; i < 6; i++)
        assert_int_equal(led[i], 10);
}

/* KIP-1066. */
static void broker_whose_directories_are_cordoned_gets_no_new_replicas(void **state)
{
    struct controller_world *w = *state;
    struct broker_heartbeat beat;

    world_join(w, 2);
    world_join(w, 3);
    beat = world_alive(w, 2);
    beat.cordoned_known = true;
    beat.cordoned_log_dirs = metadata_image_broker(w->image, 2)->log_dirs;
    beat.cordoned_log_dir_count = 1;
    world_beat(w, beat);
    assert_int_equal(world_create(w, "all", 1, 3).result.code, KERR_INVALID_REPLICATION_FACTOR);
    assert_int_equal(world_create(w, "t", 30, 2).result.code, KERR_NONE);
    for (int32_t i = 0; i < 30; i++)
        assert_false(id_list_contains(world_partition(w, "t", i)->replicas, 2));
}

static void partitions_only_grow(void **state)
{
    struct controller_world *w = *state;
    struct uuid id = world_create(w, "a", 3, 1).topic_id;

    assert_int_equal(
        grow(w, (struct grow_topic){.name = STR("a"), .partition_count = 2}, false).code,
        KERR_INVALID_PARTITIONS);
    assert_int_equal(
        grow(w, (struct grow_topic){.name = STR("a"), .partition_count = 3}, false).code,
        KERR_INVALID_PARTITIONS);
    assert_int_equal(
        grow(w, (struct grow_topic){.name = STR("a"), .partition_count = -1}, false).code,
        KERR_INVALID_PARTITIONS);
    assert_int_equal(
        grow(w, (struct grow_topic){.name = STR("b"), .partition_count = 3}, false).code,
        KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(
        grow(w, (struct grow_topic){.name = STR("a"), .partition_count = 5}, true).code, KERR_NONE);
    assert_int_equal(world_topic(w, "a")->partition_count, 3);
    assert_int_equal(
        grow(w, (struct grow_topic){.name = STR("a"), .partition_count = 5}, false).code,
        KERR_NONE);
    assert_int_equal(world_topic(w, "a")->partition_count, 5);
    assert_memory_equal(&world_topic(w, "a")->id, &id, sizeof id);
    assert_int_equal(w->last_count, 2);
}

static void growing_takes_one_assignment_for_each_new_partition(void **state)
{
    struct controller_world *w = *state;
    int32_t one[] = {1};
    struct controller_assignment as[2] = {{0, ids(one, 1)}, {0, ids(one, 1)}};
    struct grow_topic g = {
        .name = STR("a"), .partition_count = 4, .assignments = as, .assignment_count = 2};

    world_create(w, "a", 1, 1);
    assert_int_equal(grow(w, g, false).code, KERR_INVALID_REPLICA_ASSIGNMENT);
    g.partition_count = 3;
    assert_int_equal(grow(w, g, false).code, KERR_NONE);
    assert_int_equal(world_topic(w, "a")->partition_count, 3);
}

static void topics_go_by_name_or_id(void **state)
{
    struct controller_world *w = *state;
    struct delete_topic gone[5] = {
        {.name = STR("a")}, [2] = {.name = STR("none")}, [3] = {.id = {{7}}}};
    struct controller_request r = {.operation = CONTROLLER_DELETE_TOPICS};
    struct uuid b;

    world_create(w, "a", 2, 1);
    b = world_create(w, "b", 2, 1).topic_id;
    gone[1].id = b;
    gone[4] = (struct delete_topic){.name = STR("c"), .id = {{3}}};
    r.remove.topics = gone;
    r.remove.count = 5;
    world_step(w, &r);
    assert_int_equal(r.remove.results[0].result.code, KERR_NONE);
    assert_int_equal(r.remove.results[1].result.code, KERR_NONE);
    assert_string_equal(r.remove.results[1].name.data, "b");
    assert_int_equal(r.remove.results[2].result.code, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(r.remove.results[3].result.code, KERR_UNKNOWN_TOPIC_ID);
    assert_int_equal(r.remove.results[4].result.code, KERR_INVALID_REQUEST);
    assert_int_equal(metadata_image_topic_count(w->image), 0);
    assert_int_equal(metadata_image_partition_count(w->image), 0);
    assert_int_equal(w->delta->removed_topic_count, 2);
}

static void topic_made_again_has_another_id_and_no_old_settings(void **state)
{
    struct controller_world *w = *state;
    struct config_entry e = {STR("retention.ms"), STR("1234")};
    struct create_topic t = {.name = STR("a"),
                             .partition_count = 1,
                             .replication_factor = 1,
                             .configs = &e,
                             .config_count = 1};
    struct delete_topic gone = {.name = STR("a")};
    struct controller_request r = {.operation = CONTROLLER_DELETE_TOPICS};
    struct uuid first = world_create_topic(w, t).topic_id, second;

    r.remove.topics = &gone;
    r.remove.count = 1;
    world_step(w, &r);
    second = world_create(w, "a", 1, 1).topic_id;
    assert_memory_not_equal(&first, &second, sizeof first);
    assert_int_equal(world_topic(w, "a")->config->overrides->count, 0);
    assert_int_equal(world_topic(w, "a")->config->settings.log.retention_ms, 604800000);
}

static void deletion_can_be_forbidden(void **state)
{
    struct controller_world *w = *state;
    struct delete_topic gone = {.name = STR("a")};
    struct controller_request r = {.operation = CONTROLLER_DELETE_TOPICS};

    world_create(w, "a", 1, 1);
    config_values_set(w->given, STR("delete.topic.enable"), STR("false"), NULL);
    r.remove.topics = &gone;
    r.remove.count = 1;
    assert_int_equal(world_step(w, &r).code, KERR_TOPIC_DELETION_DISABLED);
    assert_non_null(world_topic(w, "a"));
}

/* One request may bring more records than an atomic batch holds: a transaction keeps it whole. */
static void ten_thousand_partitions_come_in_one_transaction(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(world_create(w, "many", 10001, 1).result.code, KERR_NONE);
    assert_int_equal(w->last_count, 10001 + 1 + 2);
    assert_false(w->last_atomic);
    assert_int_equal(world_topic(w, "many")->partition_count, 10001);
    assert_int_equal(world_partition(w, "many", 10000)->leader, 1);
    assert_true(images_equal(w->image, controller_core_image(w->core)));
}

static void ten_thousand_topics_one_by_one_stay_quick(void **state)
{
    struct controller_world *w = *state;
    char name[32];

    for (int i = 0; i < 10000; i++) {
        snprintf(name, sizeof name, "topic-%d", i);
        assert_int_equal(world_create(w, name, 1, 1).result.code, KERR_NONE);
        assert_int_equal(w->delta->changed_topic_count, 1);
        arena_reset(&w->arena);
    }
    assert_int_equal(metadata_image_topic_count(w->image), 10000);
    assert_non_null(world_topic(w, "topic-9999"));
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(new_topic_is_led_by_the_only_broker),
        STORY(counts_of_minus_one_take_the_brokers_defaults),
        STORY(impossible_counts_are_refused),
        STORY(illegal_and_taken_names_are_refused),
        STORY(names_that_collide_are_refused_until_the_other_is_gone),
        STORY(name_that_comes_twice_in_a_request_fails_both_times),
        STORY(validating_changes_nothing),
        STORY(settings_are_checked_and_take_effect),
        STORY(manual_assignments_are_followed_to_the_letter),
        STORY(manual_assignments_that_make_no_sense_are_refused),
        STORY(partitions_spread_over_zones_and_their_leaders_too),
        STORY(broker_whose_directories_are_cordoned_gets_no_new_replicas),
        STORY(partitions_only_grow),
        STORY(growing_takes_one_assignment_for_each_new_partition),
        STORY(topics_go_by_name_or_id),
        STORY(topic_made_again_has_another_id_and_no_old_settings),
        STORY(deletion_can_be_forbidden),
        STORY(ten_thousand_partitions_come_in_one_transaction),
        STORY(ten_thousand_topics_one_by_one_stay_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
