#ifndef BROKER_COORDINATOR_COORDINATOR_OPTIONS_H
#define BROKER_COORDINATOR_COORDINATOR_OPTIONS_H

/* What the group coordinator goes by, out of the table of settings. */

#include <stdint.h>

#include "broker/coordinator/group_core.h"
#include "protocol/base/arena.h"
#include "protocol/base/status.h"
#include "protocol/compression.h"
#include "replication/config_defs.h"

struct coordinator_options {
    struct group_settings settings;
    struct group_config group;  /* of groups that have no settings of their own */
    int32_t append_linger_ms;   /* -1: as long as more work is queued; 0: not at all */
    int64_t buffer_bytes_max;   /* kept between batches, of each partition */
    int32_t commit_timeout_ms;  /* offsets.commit.timeout.ms: of every write of a coordinator */
    int64_t retention_check_ms; /* offsets.retention.check.interval.ms */
    enum compression_type compression; /* offsets.topic.compression.codec */
};

/* Lists come from the arena and last as long as it does. INVALID_CONFIG: error->text says why. */
struct status coordinator_options_read(const struct config_values *config, struct arena *a,
                                       struct coordinator_options *out, struct config_error *error);

#endif
