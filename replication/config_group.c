#include <inttypes.h>
#include <stdio.h>

#include "protocol/base/check.h"
#include "replication/config_internal.h"

/* Whether the settings of a group agree with each other and with what the broker allows groups to
 * have. */

/* A setting of groups lies between two of the broker's. */
static const struct {
    const char *name, *least, *most;
} bounds[] = {
    {"consumer.heartbeat.interval.ms", "group.consumer.min.heartbeat.interval.ms",
     "group.consumer.max.heartbeat.interval.ms"},
    {"consumer.session.timeout.ms", "group.consumer.min.session.timeout.ms",
     "group.consumer.max.session.timeout.ms"},
    {"consumer.assignment.interval.ms", "group.consumer.min.assignment.interval.ms",
     "group.consumer.max.assignment.interval.ms"},
    {"share.heartbeat.interval.ms", "group.share.min.heartbeat.interval.ms",
     "group.share.max.heartbeat.interval.ms"},
    {"share.session.timeout.ms", "group.share.min.session.timeout.ms",
     "group.share.max.session.timeout.ms"},
    {"share.assignment.interval.ms", "group.share.min.assignment.interval.ms",
     "group.share.max.assignment.interval.ms"},
    {"share.record.lock.duration.ms", "group.share.min.record.lock.duration.ms",
     "group.share.max.record.lock.duration.ms"},
    {"share.delivery.count.limit", "group.share.min.delivery.count.limit",
     "group.share.max.delivery.count.limit"},
    {"share.partition.max.record.locks", "group.share.min.partition.max.record.locks",
     "group.share.max.partition.max.record.locks"},
    {"streams.heartbeat.interval.ms", "group.streams.min.heartbeat.interval.ms",
     "group.streams.max.heartbeat.interval.ms"},
    {"streams.session.timeout.ms", "group.streams.min.session.timeout.ms",
     "group.streams.max.session.timeout.ms"},
    {"streams.assignment.interval.ms", "group.streams.min.assignment.interval.ms",
     "group.streams.max.assignment.interval.ms"},
};

/* Who is silent for a session misses a heartbeat first. */
static const struct {
    const char *session, *heartbeat;
} sessions[] = {
    {"consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"},
    {"share.session.timeout.ms", "share.heartbeat.interval.ms"},
    {"streams.session.timeout.ms", "streams.heartbeat.interval.ms"},
};

static int64_t resolve(const struct config_layers *layers, enum config_kind kind, const char *name)
{
    const struct config_def *def = config_def_find(kind, str_from(name));
    struct config_resolved resolved;
    int64_t value;

    CHECK(def != NULL);
    config_resolve(kind, def, layers, &resolved);
    CHECK(config_parse_integer(resolved.value, def->type, &value));
    return value;
}

bool config_check_group(const struct config_layers *layers, struct config_error *error)
{
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        int64_t value = resolve(layers, CONFIG_OF_GROUP, bounds[i].name);
        int64_t least = resolve(layers, CONFIG_OF_BROKER, bounds[i].least);
        int64_t most = resolve(layers, CONFIG_OF_BROKER, bounds[i].most);

        /* The broker's own default is the operator's business. */
        if (!config_set_find(layers->resource, str_from(bounds[i].name)).data ||
            (value >= least && value <= most))
            continue;
        snprintf(error->text, sizeof error->text,
                 "%s must be in the range %" PRId64 " to %" PRId64 " inclusive.", bounds[i].name,
                 least, most);
        return false;
    }
    for (size_t i = 0; i < sizeof sessions / sizeof sessions[0]; i++) {
        if (resolve(layers, CONFIG_OF_GROUP, sessions[i].session) <=
            resolve(layers, CONFIG_OF_GROUP, sessions[i].heartbeat)) {
            snprintf(error->text, sizeof error->text, "%s must be greater than %s",
                     sessions[i].session, sessions[i].heartbeat);
            return false;
        }
    }
    return true;
}
