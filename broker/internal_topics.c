#include "broker/internal_topics.h"

#include <stdio.h>

bool internal_topic_is(struct str name)
{
    return str_equal(name, TOPIC_CONSUMER_OFFSETS) || str_equal(name, TOPIC_TRANSACTION_STATE) ||
           str_equal(name, TOPIC_SHARE_STATE);
}

/* The next code point of UTF-8, leniently: a malformed byte stands for itself. */
static uint32_t next_code_point(struct str *rest)
{
    const unsigned char *at = (const unsigned char *)rest->data;
    size_t more = at[0] >= 0xf0 ? 3 : at[0] >= 0xe0 ? 2 : at[0] >= 0xc0 ? 1 : 0;
    uint32_t point = more == 3   ? at[0] & 7u
                     : more == 2 ? at[0] & 15u
                     : more == 1 ? at[0] & 31u
                                 : at[0];

    if (more >= rest->size)
        more = rest->size - 1;
    for (size_t i = 1; i <= more; i++)
        point = point << 6 | (at[i] & 63u);
    rest->data += more + 1;
    rest->size -= more + 1;
    return point;
}

/* Works on UTF-16 units, as Java does. */
static int32_t java_hash(struct str key)
{
    uint32_t hash = 0;

    while (key.size > 0) {
        uint32_t point = next_code_point(&key);

        if (point >= 0x10000) {
            hash = hash * 31 + (0xd800 + ((point - 0x10000) >> 10));
            point = 0xdc00 + ((point - 0x10000) & 0x3ff);
        }
        hash = hash * 31 + point;
    }
    if (hash == 0x80000000u)
        return 0;
    return (int32_t)hash < 0 ? -(int32_t)hash : (int32_t)hash;
}

int32_t internal_topic_partition_of(struct str key, size_t partition_count)
{
    return (int32_t)((size_t)java_hash(key) % partition_count);
}

bool internal_topic_creation(const struct config_values *config, struct str name, struct arena *a,
                             struct create_topic *out)
{
    struct config_entry *entries;
    char *segment_bytes;

    *out = (struct create_topic){.name = name, .partition_count = -1, .replication_factor = -1};
    if (!str_equal(name, TOPIC_CONSUMER_OFFSETS))
        return true;
    entries = arena_array(a, struct config_entry, 3);
    segment_bytes = arena_alloc(a, 16);
    if (!entries || !segment_bytes)
        return false;
    snprintf(segment_bytes, 16, "%d",
             (int)config_values_integer(config, "offsets.topic.segment.bytes"));
    entries[0] = (struct config_entry){STR("cleanup.policy"), STR("compact")};
    entries[1] = (struct config_entry){STR("compression.type"), STR("producer")};
    entries[2] = (struct config_entry){STR("segment.bytes"), str_from(segment_bytes)};
    out->partition_count = (int32_t)config_values_integer(config, "offsets.topic.num.partitions");
    out->replication_factor =
        (int16_t)config_values_integer(config, "offsets.topic.replication.factor");
    out->configs = entries;
    out->config_count = 3;
    return true;
}
