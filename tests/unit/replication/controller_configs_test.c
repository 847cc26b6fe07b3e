/* Settings change one by one, and a resource changes as a whole or not at all. */
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
    world_create(&w, "a", 1, 1);
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    world_free(*state);
    return 0;
}

static enum kerr topic(struct controller_world *w, const char *name, int8_t operation,
                       const char *value)
{
    return world_set_config(w, CONFIG_RESOURCE_TOPIC, "a", name, operation, value).code;
}

static const struct log_config *log_of(struct controller_world *w)
{
    return &world_topic(w, "a")->config->settings.log;
}

static void topic_setting_is_set_and_deleted(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(topic(w, "max.message.bytes", CONFIG_SET, "1000"), KERR_NONE);
    assert_int_equal(log_of(w)->max_message_bytes, 1000);
    assert_int_equal(w->delta->changed_topic_count, 1);
    assert_int_equal(topic(w, "max.message.bytes", CONFIG_DELETE, NULL), KERR_NONE);
    assert_int_equal(log_of(w)->max_message_bytes, 1048588);
    assert_int_equal(world_topic(w, "a")->config->overrides->count, 0);
}

static void setting_it_to_what_it_is_writes_nothing(void **state)
{
    struct controller_world *w = *state;

    topic(w, "retention.ms", CONFIG_SET, "5");
    assert_int_equal(topic(w, "retention.ms", CONFIG_SET, "5"), KERR_NONE);
    assert_int_equal(w->last_count, 0);
    assert_int_equal(topic(w, "segment.ms", CONFIG_DELETE, NULL), KERR_NONE);
    assert_int_equal(w->last_count, 0);
}

static void lists_are_appended_to_and_subtracted_from(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(topic(w, "cleanup.policy", CONFIG_APPEND, "compact"), KERR_NONE);
    assert_true(log_of(w)->cleanup_compact && log_of(w)->cleanup_delete);
    assert_int_equal(topic(w, "cleanup.policy", CONFIG_APPEND, "compact"), KERR_NONE);
    assert_int_equal(w->last_count, 0);
    assert_int_equal(topic(w, "cleanup.policy", CONFIG_SUBTRACT, "delete"), KERR_NONE);
    assert_true(log_of(w)->cleanup_compact && !log_of(w)->cleanup_delete);
    assert_int_equal(topic(w, "retention.ms", CONFIG_APPEND, "5"), KERR_INVALID_CONFIG);
    assert_int_equal(topic(w, "cleanup.policy", CONFIG_APPEND, NULL), KERR_INVALID_CONFIG);
}

/* A string of the wire, and with it of a record, has 32767 bytes at most: two that fit make one
 * that does not. */
static void list_that_would_outgrow_a_record_is_refused(void **state)
{
    static char items[30001], more[30001];
    struct controller_world *w = *state;

    for (size_t i = 0; i + 10 <= 30000; i += 10) {
        snprintf(items + i, 11, "%04zu:1000,", i / 10);
        snprintf(more + i, 11, "%04zu:2000,", i / 10);
    }
    items[29999] = more[29999] = '\0';
    assert_int_equal(topic(w, "leader.replication.throttled.replicas", CONFIG_SET, items),
                     KERR_NONE);
    assert_int_equal(topic(w, "leader.replication.throttled.replicas", CONFIG_APPEND, more),
                     KERR_INVALID_CONFIG);
    assert_int_equal(w->last_count, 0);
    more[1999] = '\0';
    assert_int_equal(topic(w, "leader.replication.throttled.replicas", CONFIG_APPEND, more),
                     KERR_NONE);
}

static struct controller_result set_many(struct controller_world *w, const char *prefix,
                                         size_t count)
{
    struct config_change *changes = arena_array(&w->arena, struct config_change, count);
    struct alter_config resource = {CONFIG_RESOURCE_BROKER, STR("1"), changes, count, false};
    struct controller_request r = {.operation = CONTROLLER_ALTER_CONFIGS};
    struct controller_result result;

    for (size_t i = 0; i < count; i++) {
        char name[64];

        snprintf(name, sizeof name, "%s.%zu", prefix, i);
        changes[i] = (struct config_change){str_from(arena_strdup(&w->arena, str_from(name))),
                                            CONFIG_SET, STR("1")};
    }
    r.alter.resources = &resource;
    r.alter.count = 1;
    result = world_step(w, &r);
    return result.code ? result : r.alter.results[0];
}

/* Brokers take settings that nobody knows, for plugins: their number is bounded, or one request
 * would hold up the controller, and then every node that reads its records. */
static void settings_of_a_request_and_of_a_resource_are_bounded(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(set_many(w, "plugin.a", 10001).code, KERR_POLICY_VIOLATION);
    assert_int_equal(set_many(w, "plugin.a", 1001).code, KERR_INVALID_CONFIG);
    assert_int_equal(w->last_count, 0);
    assert_int_equal(set_many(w, "plugin.a", 1000).code, KERR_NONE);
    assert_int_equal(set_many(w, "plugin.b", 1).code, KERR_INVALID_CONFIG);
    assert_int_equal(set_many(w, "plugin.a", 1).code, KERR_NONE); /* one that is there */
}

static void bad_values_names_and_operations_are_refused(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(topic(w, "retention.ms", CONFIG_SET, "soon"), KERR_INVALID_CONFIG);
    assert_int_equal(topic(w, "retention.ms", CONFIG_SET, NULL), KERR_INVALID_CONFIG);
    assert_int_equal(topic(w, "retention.years", CONFIG_SET, "1"), KERR_INVALID_CONFIG);
    assert_int_equal(topic(w, "retention.ms", 9, "1"), KERR_INVALID_REQUEST);
    assert_int_equal(
        world_set_config(w, CONFIG_RESOURCE_TOPIC, "none", "retention.ms", CONFIG_SET, "1").code,
        KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(
        world_set_config(w, CONFIG_RESOURCE_TOPIC, "", "retention.ms", CONFIG_SET, "1").code,
        KERR_INVALID_REQUEST);
    assert_int_equal(
        world_set_config(w, CONFIG_RESOURCE_BROKER, "x", "log.retention.ms", CONFIG_SET, "1").code,
        KERR_INVALID_REQUEST);
    assert_int_equal(world_set_config(w, 77, "x", "y", CONFIG_SET, "1").code, KERR_INVALID_REQUEST);
}

static void one_bad_change_keeps_the_whole_resource_as_it_was(void **state)
{
    struct controller_world *w = *state;
    struct config_change changes[] = {{STR("retention.ms"), CONFIG_SET, STR("1")},
                                      {STR("segment.ms"), CONFIG_SET, STR("never")}};
    struct config_change twice[] = {{STR("retention.ms"), CONFIG_SET, STR("1")},
                                    {STR("retention.ms"), CONFIG_SET, STR("2")}};
    struct alter_config q[] = {{CONFIG_RESOURCE_TOPIC, STR("a"), changes, 2},
                               {CONFIG_RESOURCE_TOPIC, STR("b"), changes, 1},
                               {CONFIG_RESOURCE_TOPIC, STR("c"), twice, 2}};
    struct controller_request r = {.operation = CONTROLLER_ALTER_CONFIGS};

    world_create(w, "b", 1, 1);
    world_create(w, "c", 1, 1);
    r.alter.resources = q;
    r.alter.count = 3;
    world_step(w, &r);
    assert_int_equal(r.alter.results[0].code, KERR_INVALID_CONFIG);
    assert_int_equal(r.alter.results[1].code, KERR_NONE);
    assert_int_equal(r.alter.results[2].code, KERR_INVALID_REQUEST);
    assert_int_equal(log_of(w)->retention_ms, 604800000);
    assert_int_equal(world_topic(w, "b")->config->settings.log.retention_ms, 1);
}

/* AlterConfigs of old: what it does not name is as if it had never been set. */
static void old_alter_configs_replaces_all_settings(void **state)
{
    struct controller_world *w = *state;
    struct config_change change = {STR("retention.ms"), CONFIG_SET, STR("7")};
    struct alter_config q = {CONFIG_RESOURCE_TOPIC, STR("a"), &change, 1, .replace = true};
    struct controller_request r = {.operation = CONTROLLER_ALTER_CONFIGS};

    topic(w, "max.message.bytes", CONFIG_SET, "1000");
    topic(w, "retention.ms", CONFIG_SET, "5");
    r.alter.resources = &q;
    r.alter.count = 1;
    world_step(w, &r);
    assert_int_equal(r.alter.results[0].code, KERR_NONE);
    assert_int_equal(log_of(w)->retention_ms, 7);
    assert_int_equal(log_of(w)->max_message_bytes, 1048588);
    assert_int_equal(world_topic(w, "a")->config->overrides->count, 1);
    world_step(w, &r); /* it is so already */
    assert_int_equal(r.alter.results[0].code, KERR_NONE);
    assert_int_equal(w->last_count, 0);
    q.change_count = 0;
    world_step(w, &r);
    assert_int_equal(r.alter.results[0].code, KERR_NONE);
    assert_int_equal(world_topic(w, "a")->config->overrides->count, 0);
}

static void old_alter_configs_refuses_null_and_bad_values_as_a_whole(void **state)
{
    struct controller_world *w = *state;
    struct config_change changes[] = {{STR("retention.ms"), CONFIG_SET, STR("7")},
                                      {STR("segment.ms"), CONFIG_SET, STR_NULL},
                                      {STR("segment.bytes"), CONFIG_SET, STR_NULL}};
    struct alter_config q = {CONFIG_RESOURCE_TOPIC, STR("a"), changes, 3, .replace = true};
    struct controller_request r = {.operation = CONTROLLER_ALTER_CONFIGS};

    topic(w, "max.message.bytes", CONFIG_SET, "1000");
    r.alter.resources = &q;
    r.alter.count = 1;
    world_step(w, &r);
    assert_int_equal(r.alter.results[0].code, KERR_INVALID_REQUEST);
    assert_string_equal(r.alter.results[0].message,
                        "Null value not supported for : segment.ms, segment.bytes");
    changes[1].value = STR("soon");
    q.change_count = 2;
    world_step(w, &r);
    assert_int_equal(r.alter.results[0].code, KERR_INVALID_CONFIG);
    assert_int_equal(w->last_count, 0);
    assert_int_equal(log_of(w)->max_message_bytes, 1000);
    q.name = STR("nowhere");
    world_step(w, &r);
    assert_int_equal(r.alter.results[0].code, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    q.type = 8; /* BROKER_LOGGER */
    world_step(w, &r);
    assert_int_equal(r.alter.results[0].code, KERR_INVALID_REQUEST);
}

static void validating_a_change_writes_nothing(void **state)
{
    struct controller_world *w = *state;
    struct config_change change = {STR("retention.ms"), CONFIG_SET, STR("1")};
    struct alter_config q = {CONFIG_RESOURCE_TOPIC, STR("a"), &change, 1};
    struct controller_request r = {.operation = CONTROLLER_ALTER_CONFIGS, .validate_only = true};

    r.alter.resources = &q;
    r.alter.count = 1;
    world_step(w, &r);
    assert_int_equal(r.alter.results[0].code, KERR_NONE);
    assert_int_equal(w->last_count, 0);
}

static void brokers_settings_lie_behind_those_of_topics(void **state)
{
    struct controller_world *w = *state;

    world_create(w, "b", 1, 1);
    topic(w, "retention.ms", CONFIG_SET, "77");
    assert_int_equal(
        world_set_config(w, CONFIG_RESOURCE_BROKER, "", "log.retention.ms", CONFIG_SET, "1000")
            .code,
        KERR_NONE);
    assert_int_equal(log_of(w)->retention_ms, 77);
    assert_int_equal(world_topic(w, "b")->config->settings.log.retention_ms, 1000);
    assert_int_equal(
        world_set_config(w, CONFIG_RESOURCE_BROKER, "1", "log.retention.ms", CONFIG_SET, "2000")
            .code,
        KERR_NONE);
    assert_int_equal(world_topic(w, "b")->config->settings.log.retention_ms, 2000);
    assert_int_equal(
        world_set_config(w, CONFIG_RESOURCE_BROKER, "2", "log.retention.ms", CONFIG_SET, "3000")
            .code,
        KERR_NONE);
    assert_int_equal(world_topic(w, "b")->config->settings.log.retention_ms, 2000);
}

static void fixed_broker_settings_cannot_be_changed_while_running(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(
        world_set_config(w, CONFIG_RESOURCE_BROKER, "1", "node.id", CONFIG_SET, "2").code,
        KERR_INVALID_REQUEST);
}

/* KIP-966 */
static void changing_the_minimum_forgets_who_was_eligible(void **state)
{
    struct controller_world *w = *state;

    world_join(w, 2);
    world_create_on(w, "b", IDS(1, 2));
    assert_int_equal(
        world_set_config(w, CONFIG_RESOURCE_TOPIC, "b", "min.insync.replicas", CONFIG_SET, "2")
            .code,
        KERR_NONE);
    world_fence(w, 2);
    assert_ids(world_partition(w, "b", 0)->isr, 1);
    assert_ids(world_partition(w, "b", 0)->elr, 2);
    assert_int_equal(
        world_set_config(w, CONFIG_RESOURCE_TOPIC, "b", "min.insync.replicas", CONFIG_SET, "1")
            .code,
        KERR_NONE);
    assert_int_equal(w->log[w->next_offset - 1].data[1], 28);
    assert_int_equal(world_partition(w, "b", 0)->elr.count, 0);
    assert_int_equal(world_topic(w, "b")->config->settings.min_insync_replicas, 1);
}

/* Nothing was committed since the last one in sync went: what it has is still all there is. */
static void changing_the_minimum_leaves_a_partition_without_a_leader_its_claim(void **state)
{
    static const char *const resources[] = {"a", ""};
    struct controller_world *w = *state;
    const struct metadata_partition *p;

    for (int i = 0; i < 2; i++) {
        world_pass(w, 9000); /* the only broker falls silent */
        assert_int_equal(world_set_config(w,
                                          i == 0 ? CONFIG_RESOURCE_TOPIC : CONFIG_RESOURCE_BROKER,
                                          resources[i], "min.insync.replicas", CONFIG_SET, "2")
                             .code,
                         KERR_NONE);
        p = world_partition(w, "a", 0);
        assert_int_equal(p->isr.count, 0);
        assert_ids(p->elr, 1);
        assert_ids(p->last_known_elr, 1);
        world_beat(w, world_alive(w, 1));
        p = world_partition(w, "a", 0);
        assert_int_equal(p->leader, 1);
        assert_int_equal(p->elr.count, 0);
    }
}

static void minimum_is_one_for_all_brokers(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(
        world_set_config(w, CONFIG_RESOURCE_BROKER, "1", "min.insync.replicas", CONFIG_SET, "2")
            .code,
        KERR_INVALID_CONFIG);
    assert_int_equal(
        world_set_config(w, CONFIG_RESOURCE_BROKER, "", "min.insync.replicas", CONFIG_DELETE, NULL)
            .code,
        KERR_INVALID_CONFIG);
    assert_int_equal(
        world_set_config(w, CONFIG_RESOURCE_BROKER, "", "min.insync.replicas", CONFIG_SET, "2")
            .code,
        KERR_NONE);
    assert_int_equal(world_topic(w, "a")->config->settings.min_insync_replicas, 2);
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(topic_setting_is_set_and_deleted),
        STORY(setting_it_to_what_it_is_writes_nothing),
        STORY(lists_are_appended_to_and_subtracted_from),
        STORY(list_that_would_outgrow_a_record_is_refused),
        STORY(settings_of_a_request_and_of_a_resource_are_bounded),
        STORY(bad_values_names_and_operations_are_refused),
        STORY(one_bad_change_keeps_the_whole_resource_as_it_was),
        STORY(old_alter_configs_replaces_all_settings),
        STORY(old_alter_configs_refuses_null_and_bad_values_as_a_whole),
        STORY(validating_a_change_writes_nothing),
        STORY(brokers_settings_lie_behind_those_of_topics),
        STORY(fixed_broker_settings_cannot_be_changed_while_running),
        STORY(changing_the_minimum_forgets_who_was_eligible),
        STORY(changing_the_minimum_leaves_a_partition_without_a_leader_its_claim),
        STORY(minimum_is_one_for_all_brokers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
