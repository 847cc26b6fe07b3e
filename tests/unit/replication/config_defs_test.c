#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replication/config_internal.h"

/* The table of settings, and what counts as a value. */

static const struct config_def *setting(enum config_kind kind, const char *name)
{
    const struct config_def *def = config_def_find(kind, str_from(name));

    assert_non_null(def);
    return def;
}

static void refused(enum config_kind kind, const char *name, const char *value, const char *text)
{
    struct config_error error;

    assert_false(config_check(setting(kind, name), str_from(value), &error));
    assert_string_equal(error.text, text);
}

static void accepted(enum config_kind kind, const char *name, const char *value)
{
    struct config_error error = {""};

    if (!config_check(setting(kind, name), str_from(value), &error))
        fail_msg("%s=%s: %s", name, value, error.text);
}

/* ---- the rows ---- */

static void every_table_is_in_name_order_so_that_it_can_be_searched(void **state)
{
    (void)state;
    for (enum config_kind kind = 0; kind < CONFIG_KIND_COUNT; kind++) {
        size_t count;
        const struct config_def *defs = config_defs(kind, &count);

        for (size_t i = 1; i < count; i++)
            assert_true(strcmp(defs[i - 1].name, defs[i].name) < 0);
    }
}

static void every_default_passes_its_own_check(void **state)
{
    (void)state;
    for (enum config_kind kind = 0; kind < CONFIG_KIND_COUNT; kind++) {
        size_t count;
        const struct config_def *defs = config_defs(kind, &count);

        for (size_t i = 0; i < count; i++)
            if (defs[i].default_value != NULL)
                accepted(kind, defs[i].name, defs[i].default_value);
    }
}

static void every_synonym_is_a_broker_setting(void **state)
{
    (void)state;
    for (enum config_kind kind = 0; kind < CONFIG_KIND_COUNT; kind++) {
        size_t count;
        const struct config_def *defs = config_defs(kind, &count);

        for (size_t i = 0; i < count; i++) {
            struct str names = str_from(defs[i].synonyms);
            struct str name;
            while (config_list_next(&names, &name))
                assert_non_null(config_def_find(CONFIG_OF_BROKER, name));
        }
    }
}

/* DescribeConfigs has documentation for what people set most. */
static void every_setting_of_topics_and_groups_is_explained(void **state)
{
    static const enum config_kind kinds[] = {CONFIG_OF_TOPIC, CONFIG_OF_GROUP};
    size_t count;

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        const struct config_def *defs = config_defs(kinds[k], &count);
        for (size_t i = 0; i < count; i++)
            assert_non_null(defs[i].doc);
    }
}

static const char *const types[] = {
    [CONFIG_BOOLEAN] = "BOOLEAN", [CONFIG_STRING] = "STRING", [CONFIG_INT] = "INT",
    [CONFIG_SHORT] = "SHORT",     [CONFIG_LONG] = "LONG",     [CONFIG_DOUBLE] = "DOUBLE",
    [CONFIG_LIST] = "LIST",       [CONFIG_CLASS] = "CLASS",   [CONFIG_PASSWORD] = "PASSWORD",
};

static bool differs_on_purpose(const char *name)
{
    static const char *const names[] = {
        "queued.max.request.bytes", "controller.quorum.fetch.timeout.ms",
        "controller.quorum.election.timeout.ms", "broker.heartbeat.interval.ms"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* "[a, b]" of Apache Kafka's list is "a,b" here, "class x" is "x". */
static void normalise(char *text, enum config_type type)
{
    char *from = text, *to = text;

    if (type == CONFIG_LIST && *from == '[') {
        from[strlen(from) - 1] = '\0';
        from++;
        for (; *from; from++)
            if (*from != ' ')
                *to++ = *from;
        *to = '\0';
    } else if (type == CONFIG_CLASS && strncmp(from, "class ", 6) == 0) {
        memmove(text, text + 6, strlen(text) - 5);
    }
}

static void compare_line(enum config_kind kind, char *line)
{
    char *name = strtok(line, " ");
    char *type = strtok(NULL, " ");
    char *fallback = strtok(NULL, "");
    const struct config_def *def = setting(kind, name);
    char empty[] = "";

    if (fallback == NULL)
        fallback = empty;
    assert_string_equal(types[def->type], type);
    char *valid = strstr(fallback, " valid");
    if (valid != NULL)
        *valid = '\0';
    if (differs_on_purpose(name))
        return;
    normalise(fallback, def->type);
    if (strcmp(fallback, "null") == 0 || strcmp(fallback, "(required)") == 0)
        assert_null(def->default_value);
    else
        assert_string_equal(def->default_value, fallback);
}

/* configs-4.4.txt lists all settings of Apache Kafka 4.4.0. */
static void every_setting_of_kafka_is_there_with_its_type_and_default(void **state)
{
    FILE *file = fopen(CONFIGS_FILE, "r");
    enum config_kind kind = CONFIG_KIND_COUNT;
    char line[1024];
    int compared = 0;

    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "# topic", 7) == 0)
            kind = CONFIG_OF_TOPIC;
        else if (strncmp(line, "# broker", 8) == 0)
            kind = CONFIG_OF_BROKER;
        else if (strncmp(line, "# group", 7) == 0)
            kind = CONFIG_OF_GROUP;
        if (line[0] == '#' || line[0] == '\0')
            continue;
        compare_line(kind, line);
        compared++;
    }
    fclose(file);
    assert_int_equal(compared, 408);
}

/* ---- names ---- */

static void a_slip_of_the_keyboard_finds_the_name_that_was_meant(void **state)
{
    static const struct {
        const char *typed, *meant;
    } slips[] = {
        {"retention.sm", "retention.ms"},
        {"cleanup_policy", "cleanup.policy"},
        {"min.insync.replica", "min.insync.replicas"},
        {"max.mesage.bytes", "max.message.bytes"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof slips / sizeof slips[0]; i++)
        assert_string_equal(config_def_nearest(CONFIG_OF_TOPIC, str_from(slips[i].typed))->name,
                            slips[i].meant);
}

static void a_name_like_none_suggests_nothing(void **state)
{
    char huge[300];

    (void)state;
    memset(huge, 'x', sizeof huge);
    assert_null(config_def_nearest(CONFIG_OF_TOPIC, STR("zookeeper.connect")));
    assert_null(config_def_nearest(CONFIG_OF_TOPIC, STR("")));
    assert_null(config_def_nearest(CONFIG_OF_TOPIC, (struct str){huge, sizeof huge}));
    assert_null(config_def_find(CONFIG_OF_TOPIC, STR("")));
    assert_null(config_def_find(CONFIG_OF_TOPIC, STR("retention.m")));
}

/* ---- values ---- */

static void numbers_keep_to_their_type_and_range(void **state)
{
    (void)state;
    accepted(CONFIG_OF_TOPIC, "retention.ms", "-1");
    accepted(CONFIG_OF_TOPIC, "retention.ms", " 9223372036854775807 ");
    accepted(CONFIG_OF_TOPIC, "segment.bytes", "+1048576");
    refused(CONFIG_OF_TOPIC, "retention.ms", "-2",
            "Invalid value -2 for configuration retention.ms: Value must be at least -1");
    refused(
        CONFIG_OF_TOPIC, "compression.lz4.level", "18",
        "Invalid value 18 for configuration compression.lz4.level: Value must be no more than 17");
    refused(CONFIG_OF_TOPIC, "segment.bytes", "2147483648",
            "Invalid value 2147483648 for configuration segment.bytes: Not a number of type INT");
    refused(CONFIG_OF_TOPIC, "retention.ms", "9223372036854775808",
            "Invalid value 9223372036854775808 for configuration retention.ms: Not a number of "
            "type LONG");
    refused(CONFIG_OF_BROKER, "offsets.topic.replication.factor", "32768",
            "Invalid value 32768 for configuration offsets.topic.replication.factor: "
            "Not a number of type SHORT");
}

static void what_is_no_number_is_refused(void **state)
{
    static const char *const texts[] = {"",    " ",   "x", "1x",  "1 2", "0x10",
                                        "1e3", "--1", "+", "- 1", "1.0"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_false(
            config_check(setting(CONFIG_OF_TOPIC, "retention.ms"), str_from(texts[i]), NULL));
    static const char *const doubles[] = {"", "inf", "nan", "0x1", "1..2", "1e999", "e"};
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++)
        assert_false(config_check(setting(CONFIG_OF_TOPIC, "min.cleanable.dirty.ratio"),
                                  str_from(doubles[i]), NULL));
    assert_false(
        config_check(setting(CONFIG_OF_TOPIC, "retention.ms"), (struct str){"1\0", 2}, NULL));
}

static void gzip_has_levels_1_to_9_and_minus_1(void **state)
{
    (void)state;
    accepted(CONFIG_OF_TOPIC, "compression.gzip.level", "-1");
    accepted(CONFIG_OF_TOPIC, "compression.gzip.level", "9");
    refused(CONFIG_OF_TOPIC, "compression.gzip.level", "0",
            "Invalid value 0 for configuration compression.gzip.level: "
            "Value must be between 1 and 9 or equal to -1");
    assert_false(config_check(setting(CONFIG_OF_TOPIC, "compression.gzip.level"), STR("10"), NULL));
}

static void booleans_are_true_or_false_in_any_case(void **state)
{
    (void)state;
    accepted(CONFIG_OF_TOPIC, "preallocate", " TRUE ");
    accepted(CONFIG_OF_TOPIC, "preallocate", "False");
    refused(CONFIG_OF_TOPIC, "preallocate", "yes",
            "Invalid value yes for configuration preallocate: "
            "Expected value to be either true or false");
}

static void strings_with_choices_take_no_others(void **state)
{
    (void)state;
    accepted(CONFIG_OF_TOPIC, "compression.type", "zstd");
    accepted(CONFIG_OF_BROKER, "group.consumer.migration.policy", "Upgrade");
    refused(CONFIG_OF_TOPIC, "compression.type", "brotli",
            "Invalid value brotli for configuration compression.type: "
            "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer");
    refused(CONFIG_OF_TOPIC, "message.timestamp.type", "createtime",
            "Invalid value createtime for configuration message.timestamp.type: "
            "String must be one of: CreateTime, LogAppendTime");
}

/* KIP-1161: lists have neither empty nor repeated items; cleanup.policy itself may be empty. */
static void lists_are_checked_item_by_item(void **state)
{
    (void)state;
    accepted(CONFIG_OF_TOPIC, "cleanup.policy", "compact , delete");
    accepted(CONFIG_OF_TOPIC, "cleanup.policy", "");
    refused(CONFIG_OF_TOPIC, "cleanup.policy", "compact,shred",
            "Invalid value shred for configuration cleanup.policy: "
            "String must be one of: compact, delete");
    refused(CONFIG_OF_TOPIC, "cleanup.policy", "delete,delete",
            "Configuration 'cleanup.policy' values must not be duplicated.");
    refused(CONFIG_OF_TOPIC, "cleanup.policy", "delete,",
            "Configuration 'cleanup.policy' values must not be empty.");
    assert_false(config_check(setting(CONFIG_OF_BROKER, "listeners"), STR(" "), NULL));
}

static void throttled_replicas_are_pairs_or_a_star(void **state)
{
    static const char *const bad[] = {"1", "1:", ":1", "a:1", "*,1:1", "1:2:3", "1:-2"};

    (void)state;
    accepted(CONFIG_OF_TOPIC, "leader.replication.throttled.replicas", "*");
    accepted(CONFIG_OF_TOPIC, "leader.replication.throttled.replicas", "0:1, 12:3");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(config_check(setting(CONFIG_OF_TOPIC, "leader.replication.throttled.replicas"),
                                  str_from(bad[i]), NULL));
}

static void share_groups_begin_by_name_or_duration(void **state)
{
    static const char *const good[] = {"latest", "earliest", "by_duration:PT1H", "by_duration:P2D",
                                       "by_duration:P1DT2H3M4.5S"};
    static const char *const bad[] = {"",
                                      "newest",
                                      "by_duration:",
                                      "by_duration:P",
                                      "by_duration:PT",
                                      "by_duration:P1DT",
                                      "by_duration:PT1D",
                                      "by_duration:P1H",
                                      "by_duration:PT1.5H",
                                      "by_duration:PT1M1H",
                                      "by_duration:PT1"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        accepted(CONFIG_OF_GROUP, "share.auto.offset.reset", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(config_check(setting(CONFIG_OF_GROUP, "share.auto.offset.reset"),
                                  str_from(bad[i]), NULL));
}

static void a_long_value_is_cut_in_the_refusal(void **state)
{
    char text[5000];
    struct config_error error;

    (void)state;
    memset(text, '7', sizeof text);
    assert_false(config_check(setting(CONFIG_OF_TOPIC, "retention.ms"),
                              (struct str){text, sizeof text}, &error));
    assert_non_null(strstr(error.text, "for configuration retention.ms: Not a number"));
}

/* ---- printing ---- */

static void check_print(enum config_kind kind, const char *name, const char *value,
                        const char *printed)
{
    struct arena arena;
    struct str out;

    arena_init(&arena, 4096);
    assert_true(config_print(setting(kind, name), str_from(value), &arena, &out));
    assert_int_equal(out.size, strlen(printed));
    assert_memory_equal(out.data, printed, out.size);
    arena_free(&arena);
}

static void values_are_printed_as_kafka_prints_them(void **state)
{
    (void)state;
    check_print(CONFIG_OF_TOPIC, "retention.ms", " +007 ", "7");
    check_print(CONFIG_OF_TOPIC, "preallocate", "TRUE", "true");
    check_print(CONFIG_OF_TOPIC, "cleanup.policy", "compact , delete", "compact,delete");
    check_print(CONFIG_OF_TOPIC, "cleanup.policy", "", "");
    check_print(CONFIG_OF_TOPIC, "min.cleanable.dirty.ratio", ".25", "0.25");
    check_print(CONFIG_OF_BROKER, "broker.rack", " a b ", "a b");
}

static void doubles_are_printed_as_java_prints_them(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0.0"},
        {0.5, "0.5"},
        {1, "1.0"},
        {-1.25, "-1.25"},
        {100, "100.0"},
        {1234567, "1234567.0"},
        {1e7, "1.0E7"},
        {12345678.5, "1.23456785E7"},
        {0.001, "0.001"},
        {0.00012, "1.2E-4"},
        {0.1 + 0.2, "0.30000000000000004"},
        {0.01, "0.01"},
        {1.7976931348623157e308, "1.7976931348623157E308"},
    };
    char text[32];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        config_format_double(cases[i].value, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
}

static void printing_stops_where_the_arena_ends(void **state)
{
    struct arena arena;
    struct str out;

    (void)state;
    arena_init(&arena, 0);
    assert_false(config_print(setting(CONFIG_OF_TOPIC, "retention.ms"), STR("7"), &arena, &out));
    assert_false(
        config_print(setting(CONFIG_OF_TOPIC, "cleanup.policy"), STR("delete"), &arena, &out));
    assert_false(config_print(setting(CONFIG_OF_TOPIC, "min.cleanable.dirty.ratio"), STR("1"),
                              &arena, &out));
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_table_is_in_name_order_so_that_it_can_be_searched),
        cmocka_unit_test(every_default_passes_its_own_check),
        cmocka_unit_test(every_synonym_is_a_broker_setting),
        cmocka_unit_test(every_setting_of_topics_and_groups_is_explained),
        cmocka_unit_test(every_setting_of_kafka_is_there_with_its_type_and_default),
        cmocka_unit_test(a_slip_of_the_keyboard_finds_the_name_that_was_meant),
        cmocka_unit_test(a_name_like_none_suggests_nothing),
        cmocka_unit_test(numbers_keep_to_their_type_and_range),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(gzip_has_levels_1_to_9_and_minus_1),
        cmocka_unit_test(booleans_are_true_or_false_in_any_case),
        cmocka_unit_test(strings_with_choices_take_no_others),
        cmocka_unit_test(lists_are_checked_item_by_item),
        cmocka_unit_test(throttled_replicas_are_pairs_or_a_star),
        cmocka_unit_test(share_groups_begin_by_name_or_duration),
        cmocka_unit_test(a_long_value_is_cut_in_the_refusal),
        cmocka_unit_test(values_are_printed_as_kafka_prints_them),
        cmocka_unit_test(doubles_are_printed_as_java_prints_them),
        cmocka_unit_test(printing_stops_where_the_arena_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
