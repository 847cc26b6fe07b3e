#ifndef BROKER_COORDINATOR_HEARTBEAT_PACE_H
#define BROKER_COORDINATOR_HEARTBEAT_PACE_H

/* How often members of consumer groups (KIP-848) are asked to heartbeat. Pure.
 *
 * A member learns of a change of its assignment from the answer to its next heartbeat; so with
 * Kafka's 5 s a second member waits that long for its partitions. Heartbeats are cheap as long as
 * they are few: while this node's members make less than HEARTBEATS_A_SECOND_MAX at
 * HEARTBEAT_INTERVAL_MS_MIN, they are asked for that interval; with more members it grows, up to
 * what is configured. */

#include <stdint.h>

#define HEARTBEAT_INTERVAL_MS_MIN 200 /* a leaver's partitions move within 300 ms */
#define HEARTBEATS_A_SECOND_MAX   4000

/* The interval to hand out next, when members that were told `current_ms` made `heartbeats` in the
 * last `elapsed_ms` (above 0). Moves at most by half or to the double, since members still follow
 * what they were told before. */
int32_t heartbeat_pace(int64_t heartbeats, int64_t elapsed_ms, int32_t current_ms,
                       int32_t configured_ms);

#endif
