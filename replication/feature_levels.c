#include "replication/feature_levels.h"

#include "replication/metadata_encode.h"

#define RANGE(name, min, max)                                                                      \
    {                                                                                              \
        {name, sizeof(name) - 1}, min, max                                                         \
    }

static const struct metadata_feature_range supported[] = {
    RANGE("eligible.leader.replicas.version", 0, 1),
    RANGE("group.version", 0, 1),
    RANGE("kraft.version", 0, 1),
    RANGE("metadata.version", METADATA_VERSION_MIN, METADATA_VERSION_LATEST),
    RANGE("share.version", 0, 2),
    RANGE("streams.version", 0, 1),
    RANGE("transaction.version", 0, 2),
};

static const struct feature_default defaults[] = {
    {"metadata.version", METADATA_VERSION_LATEST},
    {"eligible.leader.replicas.version", 1},
    {"group.version", 1},
    {"share.version", 2},
    {"streams.version", 1},
    {"transaction.version", 2},
};

const struct metadata_feature_range *supported_features(size_t *count)
{
    *count = sizeof supported / sizeof supported[0];
    return supported;
}

const struct feature_default *feature_defaults(size_t *count)
{
    *count = sizeof defaults / sizeof defaults[0];
    return defaults;
}

/* From METADATA_VERSION_MIN on. */
static const struct {
    const char *name;
    bool changes_records;
} metadata_versions[] = {
    {"3.3-IV3", true},  {"3.4-IV0", true},  {"3.5-IV0", false}, {"3.5-IV1", false},
    {"3.5-IV2", true},  {"3.6-IV0", false}, {"3.6-IV1", true},  {"3.6-IV2", true},
    {"3.7-IV0", true},  {"3.7-IV1", false}, {"3.7-IV2", true},  {"3.7-IV3", false},
    {"3.7-IV4", false}, {"3.8-IV0", false}, {"3.9-IV0", false}, {"4.0-IV0", false},
    {"4.0-IV1", true},  {"4.0-IV2", false}, {"4.0-IV3", false}, {"4.1-IV0", false},
    {"4.1-IV1", false}, {"4.2-IV0", false}, {"4.2-IV1", false}, {"4.3-IV0", true},
    {"4.4-IV0", false}, {"4.4-IV1", true},  {"4.4-IV2", true},
};

_Static_assert(sizeof metadata_versions / sizeof metadata_versions[0] ==
                   METADATA_VERSION_LATEST - METADATA_VERSION_MIN + 1,
               "a row for each level");

const char *metadata_version_name(int16_t level)
{
    if (level < METADATA_VERSION_MIN || level > METADATA_VERSION_LATEST)
        return "?";
    return metadata_versions[level - METADATA_VERSION_MIN].name;
}

bool metadata_version_changes_records(int16_t level)
{
    return level >= METADATA_VERSION_MIN && level <= METADATA_VERSION_LATEST &&
           metadata_versions[level - METADATA_VERSION_MIN].changes_records;
}
