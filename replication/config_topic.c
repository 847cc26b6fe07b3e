#include <inttypes.h>
#include <stdio.h>

#include "protocol/base/check.h"
#include "protocol/compression.h"
#include "replication/config_internal.h"

/* The settings of a topic as the structs that its log and its leader go by. */

#define LOG_FIELD(name, member)                                                                    \
    {                                                                                              \
        name, offsetof(struct topic_settings, log.member),                                         \
            sizeof(((struct topic_settings *)0)->log.member)                                       \
    }
#define TOPIC_FIELD(name, member)                                                                  \
    {                                                                                              \
        name, offsetof(struct topic_settings, member),                                             \
            sizeof(((struct topic_settings *)0)->member)                                           \
    }

/* Settings that are copied as they are; size tells int32_t, int64_t and bool apart. */
static const struct {
    const char *name;
    size_t offset;
    size_t size;
} fields[] = {
    LOG_FIELD("retention.ms", retention_ms),
    LOG_FIELD("retention.bytes", retention_bytes),
    LOG_FIELD("segment.ms", segment_ms),
    LOG_FIELD("segment.jitter.ms", segment_jitter_ms),
    LOG_FIELD("segment.bytes", segment_bytes),
    LOG_FIELD("segment.index.bytes", segment_index_bytes),
    LOG_FIELD("index.interval.bytes", index_interval_bytes),
    LOG_FIELD("max.message.bytes", max_message_bytes),
    LOG_FIELD("max.decompressed.message.bytes", max_decompressed_message_bytes),
    LOG_FIELD("file.delete.delay.ms", file_delete_delay_ms),
    LOG_FIELD("flush.messages", flush_messages),
    LOG_FIELD("flush.ms", flush_ms),
    LOG_FIELD("message.timestamp.before.max.ms", message_timestamp_before_max_ms),
    LOG_FIELD("message.timestamp.after.max.ms", message_timestamp_after_max_ms),
    LOG_FIELD("preallocate", preallocate),
    LOG_FIELD("compression.gzip.level", compression_gzip_level),
    LOG_FIELD("compression.lz4.level", compression_lz4_level),
    LOG_FIELD("compression.zstd.level", compression_zstd_level),
    LOG_FIELD("min.compaction.lag.ms", min_compaction_lag_ms),
    LOG_FIELD("max.compaction.lag.ms", max_compaction_lag_ms),
    LOG_FIELD("delete.retention.ms", delete_retention_ms),
    TOPIC_FIELD("min.insync.replicas", min_insync_replicas),
    TOPIC_FIELD("unclean.leader.election.enable", unclean_leader_election),
};

/* Every setting of topics has a default, so there always is a value, and layers hold checked ones
 * only. */
static struct str resolve(const struct config_layers *layers, const char *name,
                          struct config_resolved *room)
{
    const struct config_def *def = config_def_find(CONFIG_OF_TOPIC, str_from(name));

    CHECK(def != NULL);
    config_resolve(CONFIG_OF_TOPIC, def, layers, room);
    CHECK(room->value.data != NULL);
    return room->value;
}

static int64_t resolve_integer(const struct config_layers *layers, const char *name)
{
    struct config_resolved room;
    int64_t value = 0;

    CHECK(config_parse_integer(resolve(layers, name, &room), CONFIG_LONG, &value));
    return value;
}

static bool resolve_boolean(const struct config_layers *layers, const char *name)
{
    struct config_resolved room;
    bool value = false;

    CHECK(config_parse_boolean(resolve(layers, name, &room), &value));
    return value;
}

static void set_field(struct topic_settings *out, size_t row, const struct config_layers *layers)
{
    char *field = (char *)out + fields[row].offset;

    if (fields[row].size == sizeof(bool)) {
        bool value = resolve_boolean(layers, fields[row].name);
        memcpy(field, &value, sizeof value);
    } else if (fields[row].size == sizeof(int32_t)) {
        int32_t value = (int32_t)resolve_integer(layers, fields[row].name);
        memcpy(field, &value, sizeof value);
    } else {
        int64_t value = resolve_integer(layers, fields[row].name);
        CHECK(fields[row].size == sizeof value);
        memcpy(field, &value, sizeof value);
    }
}

static void set_choices(struct log_config *log, const struct config_layers *layers)
{
    struct config_resolved room;
    struct str item;
    struct str policies = resolve(layers, "cleanup.policy", &room);

    log->cleanup_delete = log->cleanup_compact = false;
    while (config_list_next(&policies, &item)) {
        log->cleanup_delete = log->cleanup_delete || str_equal(item, STR("delete"));
        log->cleanup_compact = log->cleanup_compact || str_equal(item, STR("compact"));
    }
    struct str codec = config_trim(resolve(layers, "compression.type", &room));
    log->compression_type = LOG_COMPRESSION_PRODUCER;
    enum compression_type type;
    if (str_equal(codec, STR("uncompressed")))
        log->compression_type = COMPRESSION_NONE;
    else if (compression_from_name(codec, &type))
        log->compression_type = (int8_t)type;
    log->message_timestamp_log_append = str_equal(
        config_trim(resolve(layers, "message.timestamp.type", &room)), STR("LogAppendTime"));
    CHECK(config_parse_double(resolve(layers, "min.cleanable.dirty.ratio", &room),
                              &log->min_cleanable_dirty_ratio));
}

void config_topic_settings(const struct config_layers *layers, struct topic_settings *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        set_field(out, i, layers);
    set_choices(&out->log, layers);
}

bool config_check_topic(const struct config_layers *layers, struct config_error *error)
{
    int64_t least_ms = resolve_integer(layers, "min.compaction.lag.ms");
    int64_t most_ms = resolve_integer(layers, "max.compaction.lag.ms");
    bool tiered = resolve_boolean(layers, "remote.storage.enable");
    char text[sizeof error->text];

    if (least_ms > most_ms)
        snprintf(text, sizeof text,
                 "conflict topic config setting min.compaction.lag.ms (%" PRId64
                 ") > max.compaction.lag.ms (%" PRId64 ")",
                 least_ms, most_ms);
    else if (tiered && (layers->given == NULL ||
                        !config_values_boolean(layers->given, "remote.log.storage.system.enable")))
        snprintf(
            text, sizeof text,
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured "
            "with remote log storage.");
    else
        return true;
    if (error != NULL)
        memcpy(error->text, text, sizeof text);
    return false;
}
