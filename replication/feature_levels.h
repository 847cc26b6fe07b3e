#ifndef REPLICATION_FEATURE_LEVELS_H
#define REPLICATION_FEATURE_LEVELS_H

/* The features of Apache Kafka 4.4: what levels this software speaks, and at which a cluster is
 * formatted. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replication/metadata_image.h"

/* What brokers and controllers register with: kraft.version among them. In name order. */
const struct metadata_feature_range *supported_features(size_t *count);

struct feature_default {
    const char *name;
    int16_t level;
};

/* What a fresh cluster is formatted with, in the order in which Apache Kafka writes it:
 * metadata.version, then by name. kraft.version is not a record of its own there. */
const struct feature_default *feature_defaults(size_t *count);

/* As Apache Kafka calls a level of metadata.version: "4.4-IV2"; "?" for one that is not known. */
const char *metadata_version_name(int16_t level);
/* Whether records of the level cannot be told in those of the level below. */
bool metadata_version_changes_records(int16_t level);

#endif
