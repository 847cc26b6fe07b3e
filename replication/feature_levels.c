#include "replication/feature_levels.h"

#include "replication/metadata_encode.h"

#define RANGE(name, min, max) {{name, sizeof(name) - 1}, min, max}

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
