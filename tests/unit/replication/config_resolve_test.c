#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/compression.h"
#include "replication/config_internal.h"

/* The settings a process was started with, sets of overrides, and which layer counts. */

/* ---- a node with layers ---- */

struct world {
    struct config_values *given;
    const struct config_set *sets[3];
    struct config_layers layers;
    struct arena arena;
};

enum layer { RESOURCE, BROKER, ALL_BROKERS };

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);

    w->given = config_values_create();
    w->layers.given = w->given;
    arena_init(&w->arena, 1 << 20);
    return w;
}

static void world_free(struct world *w)
{
    for (size_t i = 0; i < 3; i++)
        config_set_release(w->sets[i]);
    config_values_free(w->given);
    arena_free(&w->arena);
    free(w);
}

static void give(struct world *w, const char *name, const char *value)
{
    struct config_error error;
    struct status st = config_values_set(w->given, str_from(name), str_from(value), &error);

    if (status_failed(st))
        fail_msg("%s", error.text);
}

static void override(struct world *w, enum layer layer, const char *name, const char *value)
{
    const struct config_set *before = w->sets[layer];

    w->sets[layer] = config_set_with(before, str_from(name), str_from(value));
    config_set_release(before);
    w->layers.resource = w->sets[RESOURCE];
    w->layers.broker = w->sets[BROKER];
    w->layers.all_brokers = w->sets[ALL_BROKERS];
}

static void resolves_to(struct world *w, enum config_kind kind, const char *name, const char *value,
                        enum config_source source)
{
    struct config_resolved resolved;

    config_resolve(kind, config_def_find(kind, str_from(name)), &w->layers, &resolved);
    if (value == NULL) {
        assert_null(resolved.value.data);
    } else {
        assert_int_equal(resolved.value.size, strlen(value));
        assert_memory_equal(resolved.value.data, value, strlen(value));
    }
    assert_int_equal(resolved.source, source);
}

static struct config_described describe(struct world *w, enum config_kind kind, const char *name)
{
    struct config_described d;

    assert_true(
        config_describe(kind, config_def_find(kind, str_from(name)), &w->layers, &w->arena, &d));
    return d;
}

static void synonym_is(const struct config_described *d, size_t i, const char *name,
                       const char *value, enum config_source source)
{
    assert_true(i < d->synonym_count);
    assert_string_equal(d->synonyms[i].name, name);
    assert_true(str_equal(d->synonyms[i].value, str_from(value)));
    assert_int_equal(d->synonyms[i].source, source);
}

/* ---- values given at start ---- */

static void a_setting_has_its_default_until_it_is_given(void **state)
{
    struct world *w = world_new();

    (void)state;
    assert_int_equal(config_values_integer(w->given, "num.partitions"), 1);
    assert_false(config_values_given(w->given, "num.partitions"));
    give(w, "num.partitions", " 12 ");
    give(w, "auto.create.topics.enable", "FALSE");
    give(w, "log.cleaner.io.buffer.load.factor", "0.5");
    assert_int_equal(config_values_integer(w->given, "num.partitions"), 12);
    assert_true(config_values_given(w->given, "num.partitions"));
    assert_false(config_values_boolean(w->given, "auto.create.topics.enable"));
    assert_true(config_values_double(w->given, "log.cleaner.io.buffer.load.factor") == 0.5);
    assert_string_equal(config_values_text(w->given, "log.dir"), "/tmp/kafka-logs");
    assert_null(config_values_text(w->given, "broker.rack"));
    assert_int_equal(config_values_integer_or(w->given, "log.retention.ms", -5), -5);
    world_free(w);
}

static void the_later_of_two_values_wins_and_a_bad_one_changes_nothing(void **state)
{
    struct world *w = world_new();
    struct config_error error;

    (void)state;
    give(w, "num.partitions", "2");
    give(w, "num.partitions", "3");
    struct status st = config_values_set(w->given, STR("num.partitions"), STR("0"), &error);
    assert_int_equal(st.code, KERR_INVALID_CONFIG);
    assert_string_equal(
        error.text, "Invalid value 0 for configuration num.partitions: Value must be at least 1");
    assert_int_equal(config_values_integer(w->given, "num.partitions"), 3);
    world_free(w);
}

static void an_unknown_setting_is_told_with_the_nearest_one(void **state)
{
    struct world *w = world_new();
    struct config_error error;

    (void)state;
    struct status st = config_values_set(w->given, STR("num.partition"), STR("1"), &error);
    assert_int_equal(st.code, KERR_RESOURCE_NOT_FOUND);
    assert_string_equal(error.text,
                        "Unknown configuration num.partition: did you mean num.partitions?");
    st = config_values_set(w->given, STR("zookeeper.connect"), STR("x"), &error);
    assert_int_equal(st.code, KERR_RESOURCE_NOT_FOUND);
    assert_string_equal(error.text, "Unknown configuration zookeeper.connect");
    world_free(w);
}

static void a_secret_stays_out_of_the_refusal(void **state)
{
    struct world *w = world_new();
    struct config_error error = {""};

    (void)state;
    struct status st =
        config_values_set(w->given, STR("ssl.key.password"), (struct str){"hush\0", 5}, &error);
    assert_int_equal(st.code, KERR_INVALID_CONFIG);
    assert_null(strstr(error.text, "hush"));
    world_free(w);
}

static void another_default_still_counts_as_a_default(void **state)
{
    struct world *w = world_new();
    struct config_error error;

    (void)state;
    assert_false(status_failed(config_values_set_default(
        w->given, STR("offsets.topic.replication.factor"), STR("1"), &error)));
    assert_int_equal(config_values_integer(w->given, "offsets.topic.replication.factor"), 1);
    assert_false(config_values_given(w->given, "offsets.topic.replication.factor"));
    resolves_to(w, CONFIG_OF_BROKER, "offsets.topic.replication.factor", "1",
                CONFIG_SOURCE_DEFAULT);
    give(w, "offsets.topic.replication.factor", "2");
    assert_int_equal(config_values_integer(w->given, "offsets.topic.replication.factor"), 2);
    assert_true(status_failed(
        config_values_set_default(w->given, STR("num.partitions"), STR("x"), &error)));
    world_free(w);
}

/* ---- sets ---- */

static void a_set_is_in_name_order_and_keeps_the_last_of_equal_names(void **state)
{
    const struct config_entry entries[] = {
        {STR("b"), STR("1")}, {STR("a"), STR("2")}, {STR("b"), STR("3")}, {STR("c"), STR_NULL},
        {STR("d"), STR("4")}, {STR("d"), STR_NULL}, {STR("e"), STR("")},
    };
    struct config_set *set = config_set_create(entries, 7);

    (void)state;
    assert_int_equal(set->count, 3);
    assert_string_equal(set->entries[0].name.data, "a");
    assert_string_equal(set->entries[1].name.data, "b");
    assert_string_equal(set->entries[1].value.data, "3");
    assert_true(str_equal(config_set_find(set, STR("e")), STR("")));
    assert_null(config_set_find(set, STR("d")).data);
    assert_null(config_set_find(NULL, STR("a")).data);
    config_set_release(set);
}

static void a_changed_set_leaves_the_old_one_as_it_was(void **state)
{
    struct config_set *empty = config_set_with(NULL, STR("x"), STR_NULL);
    struct config_set *one = config_set_with(empty, STR("a"), STR("1"));
    struct config_set *other = config_set_with(one, STR("a"), STR("2"));
    struct config_set *none = config_set_with(other, STR("a"), STR_NULL);

    (void)state;
    assert_int_equal(empty->count, 0);
    assert_true(str_equal(config_set_find(one, STR("a")), STR("1")));
    assert_true(str_equal(config_set_find(other, STR("a")), STR("2")));
    assert_int_equal(none->count, 0);
    assert_ptr_equal(config_set_acquire(one), one);
    config_set_release(one);
    config_set_release(one);
    config_set_release(empty);
    config_set_release(other);
    config_set_release(none);
    config_set_release(NULL);
}

/* ---- layers ---- */

static void the_topics_own_setting_beats_every_brokers(void **state)
{
    struct world *w = world_new();

    (void)state;
    resolves_to(w, CONFIG_OF_TOPIC, "max.message.bytes", "1048588", CONFIG_SOURCE_DEFAULT);
    give(w, "message.max.bytes", "1000");
    resolves_to(w, CONFIG_OF_TOPIC, "max.message.bytes", "1000", CONFIG_SOURCE_STATIC);
    override(w, ALL_BROKERS, "message.max.bytes", "2000");
    resolves_to(w, CONFIG_OF_TOPIC, "max.message.bytes", "2000", CONFIG_SOURCE_DEFAULT_BROKER);
    override(w, BROKER, "message.max.bytes", "3000");
    resolves_to(w, CONFIG_OF_TOPIC, "max.message.bytes", "3000", CONFIG_SOURCE_BROKER);
    override(w, RESOURCE, "max.message.bytes", "4000");
    resolves_to(w, CONFIG_OF_TOPIC, "max.message.bytes", "4000", CONFIG_SOURCE_TOPIC);
    world_free(w);
}

static void hours_and_minutes_become_milliseconds(void **state)
{
    struct world *w = world_new();

    (void)state;
    resolves_to(w, CONFIG_OF_TOPIC, "retention.ms", "604800000", CONFIG_SOURCE_DEFAULT);
    give(w, "log.retention.hours", "2");
    resolves_to(w, CONFIG_OF_TOPIC, "retention.ms", "7200000", CONFIG_SOURCE_STATIC);
    give(w, "log.retention.minutes", "3");
    resolves_to(w, CONFIG_OF_TOPIC, "retention.ms", "180000", CONFIG_SOURCE_STATIC);
    give(w, "log.retention.ms", "4");
    resolves_to(w, CONFIG_OF_TOPIC, "retention.ms", "4", CONFIG_SOURCE_STATIC);
    give(w, "log.roll.hours", "1");
    resolves_to(w, CONFIG_OF_TOPIC, "segment.ms", "3600000", CONFIG_SOURCE_STATIC);
    world_free(w);
}

static void a_negative_number_of_hours_is_never(void **state)
{
    struct world *w = world_new();

    (void)state;
    give(w, "log.retention.hours", "-1");
    resolves_to(w, CONFIG_OF_TOPIC, "retention.ms", "-1", CONFIG_SOURCE_STATIC);
    give(w, "log.retention.hours", "2147483647");
    resolves_to(w, CONFIG_OF_TOPIC, "retention.ms", "7730941129200000", CONFIG_SOURCE_STATIC);
    world_free(w);
}

/* An older or newer version may have written what we would refuse. */
static void an_override_that_cannot_be_parsed_counts_as_unset(void **state)
{
    struct world *w = world_new();

    (void)state;
    override(w, RESOURCE, "retention.ms", "for ever");
    override(w, BROKER, "log.retention.ms", "x");
    resolves_to(w, CONFIG_OF_TOPIC, "retention.ms", "604800000", CONFIG_SOURCE_DEFAULT);
    world_free(w);
}

/* log.retention.ms has no range, retention.ms has one. */
static void a_brokers_value_that_no_topic_may_have_counts_as_unset(void **state)
{
    struct world *w = world_new();

    (void)state;
    override(w, BROKER, "log.retention.ms", "-7");
    resolves_to(w, CONFIG_OF_BROKER, "log.retention.ms", "-7", CONFIG_SOURCE_BROKER);
    resolves_to(w, CONFIG_OF_TOPIC, "retention.ms", "604800000", CONFIG_SOURCE_DEFAULT);
    override(w, BROKER, "log.retention.minutes", "-7");
    resolves_to(w, CONFIG_OF_TOPIC, "retention.ms", "-1", CONFIG_SOURCE_BROKER);
    world_free(w);
}

static void without_layers_there_are_the_defaults(void **state)
{
    struct config_layers none = {NULL, NULL, NULL, NULL};
    struct topic_settings settings;

    (void)state;
    config_topic_settings(&none, &settings);
    assert_int_equal(settings.log.retention_ms, 604800000);
    assert_int_equal(settings.log.retention_bytes, -1);
    assert_int_equal(settings.log.segment_bytes, 1073741824);
    assert_int_equal(settings.log.segment_ms, 604800000);
    assert_int_equal(settings.log.segment_index_bytes, 10485760);
    assert_int_equal(settings.log.index_interval_bytes, 4096);
    assert_int_equal(settings.log.max_message_bytes, 1048588);
    assert_int_equal(settings.log.file_delete_delay_ms, 60000);
    assert_true(settings.log.flush_ms == INT64_MAX);
    assert_int_equal(settings.log.message_timestamp_after_max_ms, 3600000);
    assert_true(settings.log.cleanup_delete);
    assert_false(settings.log.cleanup_compact);
    assert_false(settings.log.preallocate);
    assert_int_equal(settings.log.compression_type, LOG_COMPRESSION_PRODUCER);
    assert_int_equal(settings.log.compression_lz4_level, 9);
    assert_true(settings.log.min_cleanable_dirty_ratio == 0.5);
    assert_int_equal(settings.min_insync_replicas, 1);
    assert_false(settings.unclean_leader_election);
}

static void a_topics_overrides_reach_its_log(void **state)
{
    struct world *w = world_new();
    struct topic_settings settings;

    (void)state;
    override(w, RESOURCE, "cleanup.policy", "compact, delete");
    override(w, RESOURCE, "compression.type", "zstd");
    override(w, RESOURCE, "compression.zstd.level", "-7");
    override(w, RESOURCE, "message.timestamp.type", "LogAppendTime");
    override(w, RESOURCE, "min.insync.replicas", "2");
    override(w, RESOURCE, "min.cleanable.dirty.ratio", "0.1");
    override(w, RESOURCE, "preallocate", "true");
    override(w, RESOURCE, "unclean.leader.election.enable", "true");
    give(w, "log.segment.bytes", "1048576");
    config_topic_settings(&w->layers, &settings);
    assert_true(settings.log.cleanup_delete);
    assert_true(settings.log.cleanup_compact);
    assert_int_equal(settings.log.compression_type, COMPRESSION_ZSTD);
    assert_int_equal(settings.log.compression_zstd_level, -7);
    assert_true(settings.log.message_timestamp_log_append);
    assert_int_equal(settings.min_insync_replicas, 2);
    assert_true(settings.log.min_cleanable_dirty_ratio == 0.1);
    assert_true(settings.log.preallocate);
    assert_true(settings.unclean_leader_election);
    assert_int_equal(settings.log.segment_bytes, 1048576);
    override(w, RESOURCE, "compression.type", "uncompressed");
    override(w, RESOURCE, "cleanup.policy", "");
    config_topic_settings(&w->layers, &settings);
    assert_int_equal(settings.log.compression_type, COMPRESSION_NONE);
    assert_false(settings.log.cleanup_delete);
    assert_false(settings.log.cleanup_compact);
    world_free(w);
}

static void settings_that_contradict_each_other_are_refused(void **state)
{
    struct world *w = world_new();
    struct config_error error;

    (void)state;
    assert_true(config_check_topic(&w->layers, &error));
    give(w, "log.cleaner.max.compaction.lag.ms", "10");
    override(w, RESOURCE, "min.compaction.lag.ms", "11");
    assert_false(config_check_topic(&w->layers, &error));
    assert_string_equal(error.text, "conflict topic config setting min.compaction.lag.ms (11) > "
                                    "max.compaction.lag.ms (10)");
    override(w, RESOURCE, "min.compaction.lag.ms", "10");
    assert_true(config_check_topic(&w->layers, NULL));
    override(w, RESOURCE, "remote.storage.enable", "true");
    assert_false(config_check_topic(&w->layers, &error));
    assert_string_equal(error.text, "Tiered Storage functionality is disabled in the broker. Topic "
                                    "cannot be configured with remote log storage.");
    world_free(w);
}

/* ---- DescribeConfigs ---- */

/* As Apache Kafka shows a topic on a broker with nothing set. */
static void a_default_is_described_with_the_brokers_default_behind_it(void **state)
{
    struct world *w = world_new();
    struct config_described d = describe(w, CONFIG_OF_TOPIC, "max.message.bytes");

    (void)state;
    assert_true(str_equal(d.value, STR("1048588")));
    assert_int_equal(d.source, CONFIG_SOURCE_DEFAULT);
    assert_false(d.read_only);
    assert_false(d.sensitive);
    assert_int_equal(d.synonym_count, 1);
    synonym_is(&d, 0, "message.max.bytes", "1048588", CONFIG_SOURCE_DEFAULT);
    d = describe(w, CONFIG_OF_TOPIC, "retention.ms");
    assert_true(str_equal(d.value, STR("604800000")));
    assert_int_equal(d.source, CONFIG_SOURCE_DEFAULT);
    assert_int_equal(d.synonym_count, 0);
    d = describe(w, CONFIG_OF_TOPIC, "remote.storage.enable");
    assert_int_equal(d.source, CONFIG_SOURCE_DEFAULT);
    assert_int_equal(d.synonym_count, 0);
    world_free(w);
}

static void synonyms_are_told_in_the_order_in_which_they_count(void **state)
{
    struct world *w = world_new();

    (void)state;
    give(w, "log.retention.hours", "1");
    override(w, BROKER, "log.retention.ms", "5");
    override(w, RESOURCE, "retention.ms", "6");
    struct config_described d = describe(w, CONFIG_OF_TOPIC, "retention.ms");
    assert_true(str_equal(d.value, STR("6")));
    assert_int_equal(d.source, CONFIG_SOURCE_TOPIC);
    assert_int_equal(d.synonym_count, 4);
    synonym_is(&d, 0, "retention.ms", "6", CONFIG_SOURCE_TOPIC);
    synonym_is(&d, 1, "log.retention.ms", "5", CONFIG_SOURCE_BROKER);
    synonym_is(&d, 2, "log.retention.hours", "1", CONFIG_SOURCE_STATIC);
    synonym_is(&d, 3, "log.retention.hours", "168", CONFIG_SOURCE_DEFAULT);
    world_free(w);
}

static void hours_given_at_start_are_described_as_milliseconds(void **state)
{
    struct world *w = world_new();

    (void)state;
    give(w, "log.retention.hours", "1");
    struct config_described d = describe(w, CONFIG_OF_TOPIC, "retention.ms");
    assert_true(str_equal(d.value, STR("3600000")));
    assert_int_equal(d.source, CONFIG_SOURCE_STATIC);
    d = describe(w, CONFIG_OF_BROKER, "log.retention.hours");
    assert_true(str_equal(d.value, STR("1")));
    assert_int_equal(d.source, CONFIG_SOURCE_STATIC);
    d = describe(w, CONFIG_OF_BROKER, "log.retention.ms");
    assert_null(d.value.data);
    assert_int_equal(d.source, CONFIG_SOURCE_DEFAULT);
    assert_int_equal(d.synonym_count, 0);
    world_free(w);
}

static void a_brokers_setting_says_whether_it_can_change(void **state)
{
    struct world *w = world_new();

    (void)state;
    assert_true(describe(w, CONFIG_OF_BROKER, "node.id").read_only);
    assert_false(describe(w, CONFIG_OF_BROKER, "log.retention.ms").read_only);
    assert_false(describe(w, CONFIG_OF_BROKER, "num.io.threads").read_only);
    world_free(w);
}

static void secrets_are_not_described(void **state)
{
    struct world *w = world_new();

    (void)state;
    give(w, "ssl.key.password", "hush");
    struct config_described d = describe(w, CONFIG_OF_BROKER, "ssl.key.password");
    assert_true(d.sensitive);
    assert_null(d.value.data);
    assert_int_equal(d.source, CONFIG_SOURCE_STATIC);
    synonym_is(&d, 0, "ssl.key.password", NULL, CONFIG_SOURCE_STATIC);
    world_free(w);
}

static void a_groups_setting_falls_back_to_the_brokers(void **state)
{
    struct world *w = world_new();

    (void)state;
    give(w, "group.consumer.session.timeout.ms", "50000");
    resolves_to(w, CONFIG_OF_GROUP, "consumer.session.timeout.ms", "50000", CONFIG_SOURCE_STATIC);
    override(w, RESOURCE, "consumer.session.timeout.ms", "55000");
    struct config_described d = describe(w, CONFIG_OF_GROUP, "consumer.session.timeout.ms");
    assert_int_equal(d.source, CONFIG_SOURCE_GROUP);
    assert_true(str_equal(d.value, STR("55000")));
    resolves_to(w, CONFIG_OF_GROUP, "share.auto.offset.reset", "latest", CONFIG_SOURCE_DEFAULT);
    resolves_to(w, CONFIG_OF_GROUP, "streams.assignor.name", NULL, CONFIG_SOURCE_DEFAULT);
    world_free(w);
}

/* The resource "" of brokers: only what was set for all of them. */
static void settings_for_all_brokers_can_be_told_apart(void **state)
{
    struct world *w = world_new();
    size_t count, shown = 0;
    const struct config_def *defs = config_defs(CONFIG_OF_BROKER, &count);

    (void)state;
    override(w, ALL_BROKERS, "message.max.bytes", "7");
    w->layers.given = NULL;
    for (size_t i = 0; i < count; i++)
        shown += describe(w, CONFIG_OF_BROKER, defs[i].name).source == CONFIG_SOURCE_DEFAULT_BROKER;
    assert_int_equal(shown, 1);
    world_free(w);
}

static void describing_stops_where_the_arena_ends(void **state)
{
    struct world *w = world_new();
    struct config_described d;
    struct arena empty;

    (void)state;
    arena_init(&empty, 0);
    assert_false(config_describe(CONFIG_OF_TOPIC,
                                 config_def_find(CONFIG_OF_TOPIC, STR("retention.ms")), &w->layers,
                                 &empty, &d));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_setting_has_its_default_until_it_is_given),
        cmocka_unit_test(the_later_of_two_values_wins_and_a_bad_one_changes_nothing),
        cmocka_unit_test(an_unknown_setting_is_told_with_the_nearest_one),
        cmocka_unit_test(a_secret_stays_out_of_the_refusal),
        cmocka_unit_test(another_default_still_counts_as_a_default),
        cmocka_unit_test(a_set_is_in_name_order_and_keeps_the_last_of_equal_names),
        cmocka_unit_test(a_changed_set_leaves_the_old_one_as_it_was),
        cmocka_unit_test(the_topics_own_setting_beats_every_brokers),
        cmocka_unit_test(hours_and_minutes_become_milliseconds),
        cmocka_unit_test(a_negative_number_of_hours_is_never),
        cmocka_unit_test(an_override_that_cannot_be_parsed_counts_as_unset),
        cmocka_unit_test(a_brokers_value_that_no_topic_may_have_counts_as_unset),
        cmocka_unit_test(without_layers_there_are_the_defaults),
        cmocka_unit_test(a_topics_overrides_reach_its_log),
        cmocka_unit_test(settings_that_contradict_each_other_are_refused),
        cmocka_unit_test(a_default_is_described_with_the_brokers_default_behind_it),
        cmocka_unit_test(synonyms_are_told_in_the_order_in_which_they_count),
        cmocka_unit_test(hours_given_at_start_are_described_as_milliseconds),
        cmocka_unit_test(a_brokers_setting_says_whether_it_can_change),
        cmocka_unit_test(secrets_are_not_described),
        cmocka_unit_test(a_groups_setting_falls_back_to_the_brokers),
        cmocka_unit_test(settings_for_all_brokers_can_be_told_apart),
        cmocka_unit_test(describing_stops_where_the_arena_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
