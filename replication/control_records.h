#ifndef REPLICATION_CONTROL_RECORDS_H
#define REPLICATION_CONTROL_RECORDS_H

/* Values of the control records of the metadata log and its snapshots: leader change,
 * kraft.version, voters, snapshot header and footer. Their keys and batches:
 * protocol/record_batch_build.h. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "replication/voter_set.h"

#define KRAFT_VERSION_MAX 1 /* 1: voters in the log, with directory ids (KIP-853) */

/* Encoders: the value lives in the arena; data NULL when its budget is spent. */
struct bytes control_leader_change(struct arena *a, int32_t leader_id, const int32_t *voters,
                                   size_t voter_count, const int32_t *granting,
                                   size_t granting_count);
struct bytes control_kraft_version(struct arena *a, int16_t kraft_version);
struct bytes control_voters(struct arena *a, const struct voter_set *voters);
struct bytes control_snapshot_header(struct arena *a, int64_t last_contained_timestamp_ms);
struct bytes control_snapshot_footer(struct arena *a);

/* Decoders. CORRUPT_MESSAGE: the bytes are not such a value; UNSUPPORTED_VERSION: one of a later
 * Kafka. *out untouched then. Bytes behind the fields we know belong to tagged fields of later
 * versions. */
struct status control_read_kraft_version(struct bytes value, int16_t *out);
/* owned by the caller */
struct status control_read_voters(struct bytes value, struct voter_set **out);
struct status control_read_snapshot_header(struct bytes value,
                                           int64_t *last_contained_timestamp_ms);
struct status control_read_snapshot_footer(struct bytes value);

#endif
