#ifndef BROKER_LIVE_SETTINGS_H
#define BROKER_LIVE_SETTINGS_H

/* Settings of this broker that can change while it runs, as the newest image of a shard has them.
 * Values were checked when they were set. */

#include "broker/shard.h"
#include "replication/config_defs.h"

/* As text: borrowed from resolved and the image. name is one of the table's. */
struct str live_setting(const struct shard *s, const char *name, struct config_resolved *resolved);
int64_t live_integer(const struct shard *s, const char *name);
double live_double(const struct shard *s, const char *name);

#endif
