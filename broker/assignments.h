#ifndef BROKER_ASSIGNMENTS_H
#define BROKER_ASSIGNMENTS_H

/* In which log directory each replica lies, told to the controller where the metadata says
 * otherwise (KIP-858), so that the loss of a directory takes its own partitions down and no others.
 *
 *   shard: a log is open, or its partition changed --> control loop: one AssignReplicasToDirs for
 *   all that wait, one under way at a time, tried again until it is answered --> the metadata
 *
 * Of a broker with one directory the controller knows it without being told. */

#include "broker/shard.h"
#include "replication/metadata_image.h"
#include "replication/transport.h"

struct assignments;

/* Compares, and reports. The partition's log may be closed: nothing is known then. On its shard. */
void assignments_check(struct shard *s, const struct partition *p,
                       const struct metadata_partition *metadata);

/* ---- on the control loop ---- */

/* NULL: out of memory. */
struct assignments *assignments_create(struct node *n, struct transport *transport);
/* Another controller, or none: what was under way goes to the new one. */
void assignments_controller(struct assignments *a);
void assignments_free(struct assignments *a);

#endif
