#ifndef REPLICATION_CONFIG_DEFS_H
#define REPLICATION_CONFIG_DEFS_H

/* The settings of topics, brokers and groups: one table, which the properties file, DescribeConfigs,
 * AlterConfigs and the docs all go by. Names, types, defaults and ranges are those of Apache Kafka 4.4;
 * where a default of ours differs, the table's row says so.
 *
 * A setting's effective value comes from layers, the first that has it:
 *
 *   topic or group (metadata) > broker (metadata) > all brokers (metadata) > properties file > default
 *
 * A topic's setting is looked up in the broker's layers under its synonyms there (retention.ms:
 * log.retention.ms, log.retention.minutes, log.retention.hours), in units of their own.
 *
 * Everything here is pure. What is const may be read by any thread. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "storage/log_config.h"

/* ---- the table ---- */

enum config_scope { CONFIG_TOPIC, CONFIG_BROKER, CONFIG_GROUP, CONFIG_SCOPE_COUNT };

/* Numbers are DescribeConfigs' ConfigType. */
enum config_type {
    CONFIG_BOOLEAN = 1,
    CONFIG_STRING = 2,
    CONFIG_INT = 3,
    CONFIG_SHORT = 4,
    CONFIG_LONG = 5,
    CONFIG_DOUBLE = 6,
    CONFIG_LIST = 7,
    CONFIG_CLASS = 8,
    CONFIG_PASSWORD = 9, /* sensitive: never shown */
};

/* Whether a broker's setting can be changed while it runs, and for whom. */
enum config_update { CONFIG_READ_ONLY, CONFIG_PER_BROKER, CONFIG_CLUSTER_WIDE };

enum config_check {
    CONFIG_CHECK_NONE,
    CONFIG_CHECK_RANGE,              /* min … max, both inclusive */
    CONFIG_CHECK_RANGE_OR_MINUS_ONE,
    CONFIG_CHECK_ONE_OF,             /* also for each item of a list */
    CONFIG_CHECK_ONE_OF_ANY_CASE,
    CONFIG_CHECK_NOT_EMPTY,
    CONFIG_CHECK_THROTTLED_REPLICAS, /* "*" or partition:broker,… */
    CONFIG_CHECK_OFFSET_RESET,       /* latest, earliest or by_duration:PnDTnHnMn.nS */
};

struct config_def {
    const char *name;
    enum config_type type;
    enum config_update update;
    const char *default_value; /* as text; NULL: null, or the setting has to be given */
    enum config_check check;
    int64_t min;
    int64_t max;
    const char *choices; /* "a, b, c" for CONFIG_CHECK_ONE_OF* */
    const char *doc;     /* one line; NULL for a broker setting that needs none */
};

/* All settings of a scope, sorted by name. */
const struct config_def *config_defs(enum config_scope scope, size_t *count);

/* NULL when there is none of that name. */
const struct config_def *config_find(enum config_scope scope, struct str name);

/* The known setting whose name is nearest by edit distance, for "did you mean"; NULL when none is near. */
const struct config_def *config_nearest(enum config_scope scope, struct str name);

/* "[0,...]", "[compact, delete]" …; empty when anything goes. Always NUL-terminated. */
void config_describe_valid(const struct config_def *def, char *out, size_t size);

/* ---- one value ---- */

/* A sentence for whoever gave the value, as Apache Kafka words it. */
struct config_error {
    char text[512];
};

/* INVALID_CONFIG with error->text "Invalid value x for configuration y: …" when text is no such value; the value
 * of a PASSWORD is left out of it. Blanks around a value are ignored. */
struct status config_validate(const struct config_def *def, struct str text, struct config_error *error);

/* As config_validate for a name and value from a client. An unknown name is INVALID_CONFIG too: "Unknown topic config
 * name: x". */
struct status config_validate_named(enum config_scope scope, struct str name, struct str value,
                                    struct config_error *error);

/* Takes the next item off the front of a list's text ("a, b,c"), without blanks around it; false at the end. */
bool config_list_next(struct str *list, struct str *item);

/* ---- the settings a process was started with ---- */

struct config_values;

/* With every setting at its default. The caller frees it. */
struct config_values *config_values_new(void);
void config_values_free(struct config_values *v); /* NULL is fine */

/* Gives a broker setting its value; a later call wins. INVALID_CONFIG as config_validate, also for a name that is not
 * known (text "Unknown configuration x"); v is as it was then. Before anyone reads. */
struct status config_values_set(struct config_values *v, struct str name, struct str value,
                                struct config_error *error);

/* Another default for this process, which still counts as a default (the embedded single node). Same errors. */
struct status config_values_set_default(struct config_values *v, struct str name, struct str value,
                                        struct config_error *error);

/* Whether config_values_set was called for it. The name has to be known, here and below: a bug otherwise, as is
 * the wrong type. */
bool config_is_set(const struct config_values *v, const char *name);

/* What was given, or the default. Strings are NUL-terminated, without blanks around them, and live as long as v; NULL
 * is null. config_int reads SHORT too, config_string every type. A number that is null (log.retention.ms) or has to
 * be given (node.id) is config_has() == false; reading it is a bug. */
bool config_has(const struct config_values *v, const char *name);
bool config_bool(const struct config_values *v, const char *name);
int32_t config_int(const struct config_values *v, const char *name);
int64_t config_long(const struct config_values *v, const char *name); /* INT and SHORT too */
double config_double(const struct config_values *v, const char *name);
const char *config_string(const struct config_values *v, const char *name);
/* For config_list_next; null when null. */
struct str config_list(const struct config_values *v, const char *name);

/* ---- layers ---- */

/* From metadata records. Borrowed. */
struct config_pair {
    struct str name;
    struct str value;
};

struct config_pairs {
    const struct config_pair *pairs;
    size_t count;
};

struct config_layers {
    struct config_pairs resource;     /* of the topic or group; none for a broker */
    struct config_pairs broker;       /* ConfigRecords of this broker */
    struct config_pairs all_brokers;  /* ConfigRecords of the broker resource "" */
    const struct config_values *node; /* NULL: only defaults */
};

/* What a topic's replicas and leaders go by. */
struct topic_config {
    struct log_config log;
    int32_t min_insync_replicas;
    bool unclean_leader_election;
};

/* The effective settings of a topic. INVALID_CONFIG: an override has a bad value, an unknown name, or two contradict
 * each other (min.compaction.lag.ms > max.compaction.lag.ms …); *out is untouched. layers->broker and all_brokers
 * come from records that were validated: a bad value there counts as not set. */
struct status config_parse_topic(const struct config_layers *layers, struct topic_config *out,
                                 struct config_error *error);

/* DescribeConfigsResponse.ConfigSource */
enum config_source {
    CONFIG_SOURCE_TOPIC = 1,
    CONFIG_SOURCE_BROKER = 2,
    CONFIG_SOURCE_ALL_BROKERS = 3,
    CONFIG_SOURCE_STATIC = 4,
    CONFIG_SOURCE_DEFAULT = 5,
    CONFIG_SOURCE_GROUP = 8,
};

struct config_synonym {
    const char *name; /* static */
    struct str value; /* null: none, or sensitive */
    enum config_source source;
};

/* One setting as DescribeConfigs tells it. */
struct config_described {
    const struct config_def *def;
    struct str value; /* printed as Apache Kafka prints it; null: null, or sensitive */
    enum config_source source;
    bool sensitive;
    bool read_only;
    const struct config_synonym *synonyms; /* who says what, in order of precedence */
    size_t synonym_count;
    const char *doc; /* "" when there is none */
};

/* Resolves one setting of `scope`; strings and synonyms come from the arena or the layers. A broker resource "" has
 * node NULL and broker empty, and shows only settings whose source is CONFIG_SOURCE_ALL_BROKERS: the caller
 * filters. False: the arena's budget is spent. */
bool config_describe(enum config_scope scope, const struct config_def *def, const struct config_layers *layers,
                     struct arena *arena, struct config_described *out);

#endif
