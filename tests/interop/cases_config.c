/* Topic and broker configuration, told and changed; and the settings that change what is stored. */

#include <stdio.h>
#include <string.h>

#include "tests/interop/client.h"

enum { ATTRIBUTES_CODEC = 7, ATTRIBUTES_LOG_APPEND_TIME = 8, CODEC_GZIP = 1 };

static bool topic_is_created_with_its_configs(struct world *w)
{
    const char *topic =
        make_topic(w, 1, SETTINGS("retention.ms", "123456789", "cleanup.policy", "compact"));
    rd_kafka_ConfigSource_t source = RD_KAFKA_CONFIG_SOURCE_UNKNOWN_CONFIG;
    char value[256];

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w,
                 describe_config(w, RD_KAFKA_RESOURCE_TOPIC, topic, "retention.ms", value, &source),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, !strcmp(value, "123456789"), "retention.ms is '%s'", value);
    EXPECT(w, source == RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG, "its source is %d", source);
    EXPECT_ERROR(
        w, describe_config(w, RD_KAFKA_RESOURCE_TOPIC, topic, "cleanup.policy", value, &source),
        RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, !strcmp(value, "compact"), "cleanup.policy is '%s'", value);
    return true;
}

static bool topic_configs_have_kafkas_defaults(struct world *w)
{
    static const struct {
        const char *key, *value;
    } defaults[] = {
        {"max.message.bytes", "1048588"}, {"cleanup.policy", "delete"},
        {"segment.bytes", "1073741824"},  {"retention.bytes", "-1"},
        {"retention.ms", "604800000"},    {"compression.type", "producer"},
        {"min.insync.replicas", "1"},     {"message.timestamp.type", "CreateTime"},
    };
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_ConfigSource_t source = RD_KAFKA_CONFIG_SOURCE_UNKNOWN_CONFIG;
    char value[256];

    EXPECT(w, topic, "%s", w->reason);
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++) {
        EXPECT_ERROR(
            w, describe_config(w, RD_KAFKA_RESOURCE_TOPIC, topic, defaults[i].key, value, &source),
            RD_KAFKA_RESP_ERR_NO_ERROR);
        EXPECT(w, !strcmp(value, defaults[i].value), "%s is '%s'", defaults[i].key, value);
    }
    return true;
}

static bool unknown_and_malformed_configs_are_refused(struct world *w)
{
    static const char *const bad[][3] = {
        {"no.such.setting", "1", NULL},   {"retention.ms", "soon", NULL},
        {"cleanup.policy", "burn", NULL}, {"compression.type", "rar", NULL},
        {"segment.bytes", "-5", NULL},    {"min.insync.replicas", "0", NULL},
        {"retention.ms", "", NULL},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct topic_wish wish = {
            .name = new_topic_name(w), .partitions = 1, .replication = 1, .configs = bad[i]};
        rd_kafka_resp_err_t error = create_topic(w, &wish);

        EXPECT(w, error == RD_KAFKA_RESP_ERR_INVALID_CONFIG, "%s=%s: %s", bad[i][0], bad[i][1],
               rd_kafka_err2name(error));
    }
    return true;
}

static bool configs_of_an_unknown_topic_are_an_error(struct world *w)
{
    rd_kafka_ConfigSource_t source;
    char value[256];

    EXPECT_ERROR(w,
                 describe_config(w, RD_KAFKA_RESOURCE_TOPIC, new_topic_name(w), "retention.ms",
                                 value, &source),
                 RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    return true;
}

static bool broker_configs_are_described(struct world *w)
{
    rd_kafka_ConfigSource_t source = RD_KAFKA_CONFIG_SOURCE_UNKNOWN_CONFIG;
    char value[256];

    EXPECT_ERROR(w, describe_config(w, RD_KAFKA_RESOURCE_BROKER, "1", "node.id", value, &source),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, !strcmp(value, "1"), "node.id is '%s'", value);
    EXPECT(w, source == RD_KAFKA_CONFIG_SOURCE_STATIC_BROKER_CONFIG, "its source is %d", source);
    EXPECT_ERROR(w,
                 describe_config(w, RD_KAFKA_RESOURCE_BROKER, "1", "auto.create.topics.enable",
                                 value, &source),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, !strcmp(value, "true"), "auto.create.topics.enable is '%s'", value);
    return true;
}

/* librdkafka 2.0 alters by the old AlterConfigs; the incremental API has its case in
 * wire_cases.py. */
static bool altered_config_takes_effect(struct world *w)
{
    const char *topic = make_topic(w, 1, SETTINGS("segment.bytes", "2000000"));
    rd_kafka_ConfigSource_t source = RD_KAFKA_CONFIG_SOURCE_UNKNOWN_CONFIG;
    char value[256];

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, alter_config(w, topic, "retention.ms", "777000"), RD_KAFKA_RESP_ERR_NO_ERROR);
    for (int64_t deadline = now_ms() + WORLD_TIMEOUT_MS; now_ms() < deadline;) {
        EXPECT_ERROR(
            w, describe_config(w, RD_KAFKA_RESOURCE_TOPIC, topic, "retention.ms", value, &source),
            RD_KAFKA_RESP_ERR_NO_ERROR);
        if (!strcmp(value, "777000"))
            break;
    }
    EXPECT(w, !strcmp(value, "777000"), "retention.ms is '%s'", value);
    /* What it does not name is as if it had never been set. */
    EXPECT_ERROR(
        w, describe_config(w, RD_KAFKA_RESOURCE_TOPIC, topic, "segment.bytes", value, &source),
        RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, !strcmp(value, "1073741824"), "segment.bytes is '%s'", value);
    EXPECT_ERROR(w, alter_config(w, topic, "retention.ms", "never"),
                 RD_KAFKA_RESP_ERR_INVALID_CONFIG);
    return true;
}

static bool topic_with_log_append_time_stamps_records_itself(struct world *w)
{
    const char *topic = make_topic(w, 1, SETTINGS("message.timestamp.type", "LogAppendTime"));
    int64_t before = now_ms();
    rd_kafka_message_t **messages;
    rd_kafka_timestamp_type_t type;
    struct delivery d;
    int64_t stamp;

    EXPECT(w, topic, "%s", w->reason);
    d = produce_and_wait(admin(w), &(struct record){.topic = topic,
                                                    .value = "x",
                                                    .value_size = 1,
                                                    .timestamp_ms = before - 86400000});
    EXPECT_ERROR(w, d.error, RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, read_partition(w, topic, 0, 0, 1, &messages) == 1, "nothing came back");
    stamp = rd_kafka_message_timestamp(messages[0], &type);
    EXPECT(w, type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME, "timestamp type %d", type);
    EXPECT(w, stamp >= before - 1000 && stamp <= now_ms() + 1000, "stamp is %lld ms off",
           (long long)(stamp - before));
    if (w->data)
        EXPECT(w, stored_attributes(w, topic, 0) & ATTRIBUTES_LOG_APPEND_TIME, "attributes 0x%x",
               stored_attributes(w, topic, 0));
    return true;
}

static bool topics_own_codec_replaces_the_producers(struct world *w)
{
    const char *topic = make_topic(w, 1, SETTINGS("compression.type", "gzip"));
    rd_kafka_message_t **messages;

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(
        w,
        produce_numbers(open_producer(w, SETTINGS("linger.ms", "20", "compression.type", "lz4")),
                        topic, 0, 0, 100),
        RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w,
           read_partition(w, topic, 0, 0, 100, &messages) == 100 && are_numbers(messages, 100, 0),
           "the records changed");
    if (w->data)
        EXPECT(w, (stored_attributes(w, topic, 0) & ATTRIBUTES_CODEC) == CODEC_GZIP,
               "attributes 0x%x", stored_attributes(w, topic, 0));
    return true;
}

static bool batch_above_the_topics_limit_is_too_large(struct world *w)
{
    const char *topic = make_topic(w, 1, SETTINGS("max.message.bytes", "1000"));
    char value[2000];
    struct record r = {.topic = topic, .value = value, .value_size = 800};

    EXPECT(w, topic, "%s", w->reason);
    memset(value, 'v', sizeof value);
    EXPECT_ERROR(w, produce_and_wait(admin(w), &r).error, RD_KAFKA_RESP_ERR_NO_ERROR);
    r.value_size = 1200;
    EXPECT_ERROR(w, produce_and_wait(admin(w), &r).error, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    r.value_size = 800;
    EXPECT_ERROR(w, produce_and_wait(admin(w), &r).error, RD_KAFKA_RESP_ERR_NO_ERROR);
    return true;
}

/* message.timestamp.after.max.ms is an hour by default (KIP-937). */
static bool timestamp_far_in_the_future_is_refused(struct world *w)
{
    const char *topic = make_topic(w, 1, NULL);
    struct record r = {
        .topic = topic, .value = "x", .value_size = 1, .timestamp_ms = now_ms() + 7200000};

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, produce_and_wait(admin(w), &r).error, RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP);
    r.timestamp_ms = now_ms() + 1800000;
    EXPECT_ERROR(w, produce_and_wait(admin(w), &r).error, RD_KAFKA_RESP_ERR_NO_ERROR);
    return true;
}

static bool timestamp_too_far_in_the_past_is_refused(struct world *w)
{
    const char *topic = make_topic(w, 1, SETTINGS("message.timestamp.before.max.ms", "60000"));
    struct record r = {
        .topic = topic, .value = "x", .value_size = 1, .timestamp_ms = now_ms() - 120000};

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, produce_and_wait(admin(w), &r).error, RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP);
    r.timestamp_ms = now_ms() - 30000;
    EXPECT_ERROR(w, produce_and_wait(admin(w), &r).error, RD_KAFKA_RESP_ERR_NO_ERROR);
    return true;
}

/* While ELR is on, the minimum is capped by the replication factor. */
static bool minimum_isr_beyond_the_replicas_does_not_block_acks_all(struct world *w)
{
    const char *topic = make_topic(w, 1, SETTINGS("min.insync.replicas", "2"));

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, produce_numbers(open_producer(w, SETTINGS("acks", "all")), topic, 0, 0, 3),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    return true;
}

const struct client_case config_cases[] = {
    {"topic_is_created_with_its_configs", topic_is_created_with_its_configs},
    {"topic_configs_have_kafkas_defaults", topic_configs_have_kafkas_defaults},
    {"unknown_and_malformed_configs_are_refused", unknown_and_malformed_configs_are_refused},
    {"configs_of_an_unknown_topic_are_an_error", configs_of_an_unknown_topic_are_an_error},
    {"broker_configs_are_described", broker_configs_are_described},
    {"altered_config_takes_effect", altered_config_takes_effect},
    {"topic_with_log_append_time_stamps_records_itself",
     topic_with_log_append_time_stamps_records_itself},
    {"topics_own_codec_replaces_the_producers", topics_own_codec_replaces_the_producers},
    {"batch_above_the_topics_limit_is_too_large", batch_above_the_topics_limit_is_too_large},
    {"timestamp_far_in_the_future_is_refused", timestamp_far_in_the_future_is_refused},
    {"timestamp_too_far_in_the_past_is_refused", timestamp_too_far_in_the_past_is_refused},
    {"minimum_isr_beyond_the_replicas_does_not_block_acks_all",
     minimum_isr_beyond_the_replicas_does_not_block_acks_all},
    {NULL, NULL},
};
