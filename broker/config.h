#ifndef BROKER_CONFIG_H
#define BROKER_CONFIG_H

/* From what a node is started with (a properties file, --set, the environment) to the settings it
 * runs on. Later wins: defaults, CLUSTER_ID, the file, KAFKA_* variables, --set in the order given.
 * Runs before any thread. */

#include <stdbool.h>
#include <stddef.h>

#include "broker/node_options.h"
#include "protocol/base/logger.h"
#include "replication/config_defs.h"
#include "storage/files.h"

/* A sentence for the operator: where, what, why. Never holds a secret's value. */
struct config_problem {
    char text[1024];
};

struct config_sources {
    const char *path;        /* server.properties; NULL: none */
    const char *const *sets; /* "key=value" each */
    size_t set_count;
    const char *cluster_id; /* of the environment; NULL or empty: none */
    /* "NAME=value" each, NULL at the end, for what config_environment.h takes from them; NULL:
     * none */
    const char *const *environment;
};

/* Reads all sources into *out, which the caller frees. Names that are not known are warned of
 * through the logger (event unknown_config, with the nearest known name) and left out.
 *
 * With neither file nor sets the node is a whole cluster of its own: node 1, clients on
 * 127.0.0.1:9092, data in ./trivet-data, one replica of internal topics. Those are defaults; with
 * --set alone they stay, so that one setting can be changed without a file, and so they do under
 * variables that do not describe a node themselves.
 *
 * INVALID_CONFIG       A value that does not fit, a malformed line, variable or --set.
 *                      problem->text has file, line, reason.
 * KAFKA_STORAGE_ERROR  The file cannot be read. */
struct status config_load(const struct config_sources *sources, struct files *files,
                          struct logger *logger, struct config_values **out,
                          struct config_problem *problem);

#define CONFIG_ARENA_BYTES (256 * 1024) /* a budget that config_node_options cannot spend */

/* What the parts of a node go by. Strings are the settings', or live in the arena; both outlive
 * *out. The arena's budget is CONFIG_ARENA_BYTES at least.
 *
 * INVALID_CONFIG  Settings that do not fit together or are not supported (roles, protocols,
 *                 listeners): problem->text names them. */
struct status config_node_options(const struct config_values *config, struct arena *arena,
                                  struct node_options *out, struct config_problem *problem);

#endif
