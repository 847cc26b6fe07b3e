#ifndef BROKER_CONFIG_ENVIRONMENT_H
#define BROKER_CONFIG_ENVIRONMENT_H

/* Settings in environment variables, by the rules of Apache Kafka's container image:
 *
 *   KAFKA_LOG_DIRS        log.dirs          the prefix goes, capitals get small, _ is a dot
 *   KAFKA_A__B            a_b               two are an underscore
 *   KAFKA_A___B           a-b               three are a dash
 *
 * Variables that speak to a Java machine or to its logging (KAFKA_OPTS, KAFKA_HEAP_OPTS, …) are
 * none. A value is read as it would be behind `name=` in a properties file. Where KAFKA_LISTENERS
 * is not there, it follows from KAFKA_ADVERTISED_LISTENERS with every host replaced by 0.0.0.0.
 * Pure. */

#include <stdbool.h>

#include "protocol/base/span.h"

/* One setting; `variable` is the name that it came from. All borrowed for the call. False ends the
 * visit. */
typedef bool config_environment_visit(void *arg, struct str variable, struct str name,
                                      struct str value);

/* Visits the settings among `variables` ("NAME=value" each, NULL at the end; itself NULL: none) in
 * their order, the derived listeners last. False when a visit said so, or when a value is
 * malformed: then *bad names the variable and *why says what is wrong; both are untouched
 * otherwise. */
bool config_environment_each(const char *const *variables, config_environment_visit *visit,
                             void *arg, struct str *bad, const char **why);

/* Whether KAFKA_PROCESS_ROLES is there and not empty: the variables then describe a node by
 * themselves. */
bool config_environment_describes_a_node(const char *const *variables);

#endif
