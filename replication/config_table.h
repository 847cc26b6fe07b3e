#ifndef REPLICATION_CONFIG_TABLE_H
#define REPLICATION_CONFIG_TABLE_H

/* The rows behind config_defs.h, in name order. Only config_defs.c looks at them. */

#include <stddef.h>

#include "replication/config_defs.h"

extern const struct config_def config_table_topic[];
extern const size_t config_table_topic_count;
extern const struct config_def config_table_broker[];
extern const size_t config_table_broker_count;
extern const struct config_def config_table_group[];
extern const size_t config_table_group_count;

#endif
