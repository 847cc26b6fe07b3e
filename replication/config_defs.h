#ifndef REPLICATION_CONFIG_DEFS_H
#define REPLICATION_CONFIG_DEFS_H

/* The one table of settings: what exists, its type, default and range, who may change it while
 * running. Names, defaults and ranges are those of Apache Kafka 4.4; our additions and the defaults
 * that differ are marked in config_table.c. The command line, server.properties, CreateTopics,
 * IncrementalAlterConfigs and DescribeConfigs all go by it.
 *
 * Which value counts, strongest first (config_resolve):
 *
 *   topic:  set for the topic > its synonyms among the broker settings, each of them
 *           set for this broker > set for all brokers > given at start > default
 *   group:  set for the group > its broker-wide synonym as above
 *   broker: set for this broker > set for all brokers > given at start > default
 *
 * Everything here is immutable after config_values was filled, hence readable from any thread. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "replication/config_set.h"
#include "storage/log_config.h"

enum config_kind { CONFIG_OF_TOPIC, CONFIG_OF_BROKER, CONFIG_OF_GROUP, CONFIG_KIND_COUNT };

/* As DescribeConfigs numbers them. */
enum config_type {
    CONFIG_BOOLEAN = 1,
    CONFIG_STRING = 2,
    CONFIG_INT = 3,
    CONFIG_SHORT = 4,
    CONFIG_LONG = 5,
    CONFIG_DOUBLE = 6,
    CONFIG_LIST = 7,
    CONFIG_CLASS = 8,
    CONFIG_PASSWORD = 9, /* never shown, never logged */
};

/* As DescribeConfigs numbers them. */
enum config_source {
    CONFIG_SOURCE_TOPIC = 1,
    CONFIG_SOURCE_BROKER = 2,         /* set for one broker while running */
    CONFIG_SOURCE_DEFAULT_BROKER = 3, /* set for all brokers while running */
    CONFIG_SOURCE_STATIC = 4,         /* given at start */
    CONFIG_SOURCE_DEFAULT = 5,
    CONFIG_SOURCE_GROUP = 8,
};

/* Where a broker setting may be changed while running. */
enum config_update { CONFIG_READ_ONLY, CONFIG_PER_BROKER, CONFIG_CLUSTER_WIDE };

/* What a text has to look like beyond its type. */
enum config_format {
    CONFIG_FORMAT_ANY,
    CONFIG_FORMAT_GZIP_LEVEL,         /* 1 … 9 or -1 */
    CONFIG_FORMAT_THROTTLED_REPLICAS, /* "*", or items partition:broker */
    CONFIG_FORMAT_OFFSET_RESET,       /* latest, earliest or by_duration:PnDTnHnMn.nS */
};

#define CONFIG_NO_MAX __builtin_inf()

struct config_def {
    const char *name;
    enum config_type type;
    enum config_update update; /* of broker settings; topic and group settings always change */
    const char *default_value; /* NULL: null */
    /* Numbers: both ends inclusive; no range when both are 0. */
    double min;
    double max;
    const char
        *choices;  /* "compact,delete": what a string may be, or a list may hold; NULL: anything */
    bool any_case; /* choices in capitals and small letters alike */
    bool not_empty;
    bool only_running; /* a quota of brokers: set while they run, and shown only where it is */
    enum config_format format;
    /* Topic, group: broker settings that stand behind it, strongest first, by comma. Broker: the
     * family it belongs to, when that has several members (log.retention.ms, .minutes, .hours).
     * NULL: none. */
    const char *synonyms;
    const char *doc; /* one line, or "" */
};

/* All settings of a kind, in name order. */
const struct config_def *config_defs(enum config_kind kind, size_t *count);

/* NULL when there is none of that name. */
const struct config_def *config_def_find(enum config_kind kind, struct str name);

/* The known name most like `name`, for a warning; NULL when none is like it. */
const struct config_def *config_def_nearest(enum config_kind kind, struct str name);

/* A sentence for whoever gave the value. */
struct config_error {
    char text[512];
};

/* Whether `value` fits: type, range, choices. False with error->text (error may be NULL). */
bool config_check(const struct config_def *def, struct str value, struct config_error *error);

/* Parse text of the given type as Kafka does (blanks around it, true/false in any case). False: not
 * one. */
bool config_parse_boolean(struct str text, bool *out);
bool config_parse_integer(struct str text, enum config_type type, int64_t *out);
bool config_parse_double(struct str text, double *out);
/* The next item of a comma-separated list, blanks trimmed; false at its end. *rest moves on. */
bool config_list_next(struct str *rest, struct str *item);

/* ---- what a broker was started with ---- */

struct config_values;

struct config_values *config_values_create(void);
void config_values_free(struct config_values *v); /* NULL is fine */

/* Sets a broker setting; the later call wins. Before any thread shares `v`.
 *
 * INVALID_CONFIG      The value does not fit; error->text says why.            Nothing set.
 * RESOURCE_NOT_FOUND  No such setting; error->text names it and the nearest.   Nothing set.
 * `error` may be NULL. Secret values do not appear in it. */
struct status config_values_set(struct config_values *v, struct str name, struct str value,
                                struct config_error *error);

/* Another default for this process, which still counts as a default (an embedded single node). Same
 * errors. */
struct status config_values_set_default(struct config_values *v, struct str name, struct str value,
                                        struct config_error *error);

/* The value given, else the default; NULL for null. The name must be a broker setting of that type.
 * Borrowed from `v`, NUL-terminated. */
const char *config_values_text(const struct config_values *v, const char *name);
/* INT, SHORT and LONG. A null gives `if_null`. */
int64_t config_values_integer(const struct config_values *v, const char *name);
/* The same of a period: -1 for all that is below 0, and no more than can be counted in
 * microseconds, now included. */
int64_t config_values_period_ms(const struct config_values *v, const char *name);
int64_t config_values_integer_or(const struct config_values *v, const char *name, int64_t if_null);
bool config_values_boolean(const struct config_values *v, const char *name);
double config_values_double(const struct config_values *v, const char *name);
/* Whether it was given at all. */
bool config_values_given(const struct config_values *v, const char *name);

/* ---- which value counts ---- */

/* What lies over what; each may be NULL. Borrowed. */
struct config_layers {
    const struct config_set *resource;    /* of the topic or group itself */
    const struct config_set *broker;      /* set for this broker while running */
    const struct config_set *all_brokers; /* set for all brokers while running */
    const struct config_values *given;    /* at start */
};

struct config_synonym {
    const char *name; /* of the setting in that layer: log.retention.hours, say */
    struct str value; /* NULL data: null. Borrowed from the layers */
    enum config_source source;
};

#define CONFIG_SYNONYMS_MAX 16

/* Every layer that has something to say about a setting, strongest first; returns how many. */
size_t config_synonyms(enum config_kind kind, const struct config_def *def,
                       const struct config_layers *layers,
                       struct config_synonym out[CONFIG_SYNONYMS_MAX]);

struct config_resolved {
    struct str value; /* in the unit of the setting itself; NULL data: null */
    enum config_source source;
    char text[32]; /* where value points when it had to be converted */
};

/* The value that counts, with hours and minutes turned into the setting's own unit. */
void config_resolve(enum config_kind kind, const struct config_def *def,
                    const struct config_layers *layers, struct config_resolved *out);

/* One setting as DescribeConfigs tells it. Of a broker resource "" (broker and given are NULL) only
 * what has the source CONFIG_SOURCE_DEFAULT_BROKER is shown: the caller leaves out the rest. */
struct config_described {
    struct str value; /* printed as Apache Kafka prints it; NULL data: null, or secret */
    enum config_source source;
    bool sensitive;
    bool read_only;
    const struct config_synonym *synonyms; /* values of secrets are null */
    size_t synonym_count;
};

/* Resolves one setting; text and synonyms come from the arena and the layers. False: the arena is
 * spent. */
bool config_describe(enum config_kind kind, const struct config_def *def,
                     const struct config_layers *layers, struct arena *arena,
                     struct config_described *out);

/* What a topic's settings come to. */
struct topic_settings {
    struct log_config log;
    int32_t min_insync_replicas;
    bool unclean_leader_election;
};

/* Fills *out from checked layers; an override that cannot be parsed all the same counts as
 * unset. */
void config_topic_settings(const struct config_layers *layers, struct topic_settings *out);

/* Whether the settings of a group lie where the broker's min and max let them, and agree with each
 * other, given all that is set for it. False with error->text. */
bool config_check_group(const struct config_layers *layers, struct config_error *error);

/* Whether the settings of a topic agree with each other, given all of its overrides. False with
 * error->text. */
bool config_check_topic(const struct config_layers *layers, struct config_error *error);

#endif
