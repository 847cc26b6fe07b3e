#include "broker/coordinator/coordinator_options.h"

#include <stdio.h>
#include <strings.h>

#include "protocol/base/check.h"

/* group.consumer.regex.refresh.interval.ms of Kafka, which it does not document */
#define REGEX_REFRESH_MS 600000

static int32_t number(const struct config_values *config, const char *name)
{
    return (int32_t)config_values_integer(config, name);
}

/* One setting has to be on the right side of another. */
static const struct {
    const char *low, *high;
    bool equal; /* is allowed */
} orders[] = {
    {"group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms", true},
    {"group.consumer.min.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms", true},
    {"group.consumer.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms", true},
    {"group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms", true},
    {"group.consumer.min.session.timeout.ms", "group.consumer.session.timeout.ms", true},
    {"group.consumer.session.timeout.ms", "group.consumer.max.session.timeout.ms", true},
    {"group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms", false},
    {"group.consumer.min.assignment.interval.ms", "group.consumer.max.assignment.interval.ms",
     true},
    {"group.consumer.min.assignment.interval.ms", "group.consumer.assignment.interval.ms", true},
    {"group.consumer.assignment.interval.ms", "group.consumer.max.assignment.interval.ms", true},
};

static struct status check_orders(const struct config_values *config, struct config_error *error)
{
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        int32_t low = number(config, orders[i].low), high = number(config, orders[i].high);

        if (low < high || (orders[i].equal && low == high))
            continue;
        snprintf(error->text, sizeof error->text, "%s must be %s %s", orders[i].low,
                 orders[i].equal ? "less than or equal to" : "less than", orders[i].high);
        return status_error(KERR_INVALID_CONFIG, "setting");
    }
    return STATUS_OK;
}

/* The assignors that Kafka has; others are classes, which we cannot load. */
static const char *const assignors_known[] = {"uniform", "range"};

/* By the short name, or by that of Kafka's own class. */
static const char *assignor_of(struct str name)
{
    static const char *const classes[] = {
        "org.apache.kafka.coordinator.group.assignor.UniformAssignor",
        "org.apache.kafka.coordinator.group.assignor.RangeAssignor"};

    for (size_t i = 0; i < sizeof assignors_known / sizeof assignors_known[0]; i++)
        if (str_equal(name, str_from(assignors_known[i])) || str_equal(name, str_from(classes[i])))
            return assignors_known[i];
    return NULL;
}

static struct status read_assignors(const struct config_values *config, struct arena *a,
                                    struct group_settings *out, struct config_error *error)
{
    struct str names = str_from(config_values_text(config, "group.consumer.assignors"));
    const size_t room = sizeof assignors_known / sizeof assignors_known[0];
    const char **list = arena_array(a, const char *, room);
    struct str name;
    size_t count = 0;

    CHECK(list);
    while (config_list_next(&names, &name)) {
        const char *known = assignor_of(name);

        if (!known || count == room) {
            snprintf(error->text, sizeof error->text, "group.consumer.assignors: %.*s is %s",
                     STR_ARG(name),
                     known ? "one too many"
                           : "no assignor of this broker, which has uniform and range");
            return status_error(KERR_INVALID_CONFIG, "setting");
        }
        list[count++] = known;
    }
    out->consumer_assignors = list;
    out->consumer_assignor_count = count;
    return STATUS_OK;
}

static void read_protocols(const struct config_values *config, struct group_settings *out)
{
    struct str names =
        str_from(config_values_text(config, "group.coordinator.rebalance.protocols"));
    struct str name;

    while (config_list_next(&names, &name)) {
        out->classic = out->classic || str_equal(name, STR("classic"));
        out->consumer = out->consumer || str_equal(name, STR("consumer"));
    }
}

static void read_migration(const struct config_values *config, struct group_settings *out)
{
    const char *policy = config_values_text(config, "group.consumer.migration.policy");
    bool both = strcasecmp(policy, "bidirectional") == 0;

    out->upgrade = both || strcasecmp(policy, "upgrade") == 0;
    out->downgrade = both || strcasecmp(policy, "downgrade") == 0;
}

struct status coordinator_options_read(const struct config_values *config, struct arena *a,
                                       struct coordinator_options *out, struct config_error *error)
{
    struct coordinator_options o = {
        .settings = {.min_session_timeout_ms = number(config, "group.min.session.timeout.ms"),
                     .max_session_timeout_ms = number(config, "group.max.session.timeout.ms"),
                     .initial_rebalance_delay_ms =
                         number(config, "group.initial.rebalance.delay.ms"),
                     .max_size = number(config, "group.max.size"),
                     .consumer_max_size = number(config, "group.consumer.max.size"),
                     .offset_metadata_bytes_max = number(config, "offset.metadata.max.bytes"),
                     .offsets_retention_ms =
                         config_values_integer(config, "offsets.retention.minutes") * 60000,
                     .regex_refresh_ms = REGEX_REFRESH_MS},
        .group = {.consumer_session_timeout_ms =
                      number(config, "group.consumer.session.timeout.ms"),
                  .consumer_heartbeat_interval_ms =
                      number(config, "group.consumer.heartbeat.interval.ms"),
                  .consumer_assignment_interval_ms =
                      number(config, "group.consumer.assignment.interval.ms")},
        .append_linger_ms = number(config, "group.coordinator.append.linger.ms"),
        .buffer_bytes_max =
            config_values_integer(config, "group.coordinator.cached.buffer.max.bytes"),
        .commit_timeout_ms = number(config, "offsets.commit.timeout.ms"),
        .retention_check_ms =
            config_values_period_ms(config, "offsets.retention.check.interval.ms"),
    };
    int32_t codec = number(config, "offsets.topic.compression.codec");
    struct status st = check_orders(config, error);

    if (!status_failed(st))
        st = read_assignors(config, a, &o.settings, error);
    if (status_failed(st))
        return st;
    if (codec < 0 || codec >= COMPRESSION_COUNT) {
        snprintf(error->text, sizeof error->text,
                 "offsets.topic.compression.codec: no codec has the number %d", codec);
        return status_error(KERR_INVALID_CONFIG, "setting");
    }
    o.compression = (enum compression_type)codec;
    read_protocols(config, &o.settings);
    read_migration(config, &o.settings);
    *out = o;
    return STATUS_OK;
}
