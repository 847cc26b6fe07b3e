#ifndef BROKER_CONTROL_H
#define BROKER_CONTROL_H

/* The control thread's part of a node: the metadata log, the controller, this broker's life in the
 * cluster, and the images that go out to the shards.
 *
 * Shards reach it with control_calls.h. */

#include "broker/node.h"
#include "broker/request.h"
#include "replication/controller.h"
#include "replication/raft_node.h"
#include "replication/transport.h"
#include "storage/executor.h"

struct assignments;
struct control;
struct isr_changes;
struct producer_ids;

/* Opens the metadata log (formats an empty one). Blocks. */
struct status control_create(struct node *n, struct control **out);
/* On the control loop, all of these. */
void control_start(struct control *c);
/* Leaves the cluster, stops the shards, closes everything; stopped() runs on the control loop. */
void control_stop(struct control *c, void (*stopped)(void *arg), void *arg);
void control_dir_failed(struct control *c, size_t dir, struct status why);
void control_damaged(struct control *c); /* node_damaged */
void control_free(struct control *c);

/* Where the active controller listens; id -1: unknown. Borrowed until the loop runs on. Control
 * loop. */
struct transport_node control_leader(const struct control *c);

/* A node id for clients to be told as the controller; -1: unknown. Any thread. */
int32_t control_leader_id(const struct control *c);

/* The names of deleted partitions are wanted again: checkpoints_hurry. Any thread. */
void control_hurry_checkpoints(struct control *c);

/* Those that requests are for (control_calls.h). Control loop. */
struct controller *control_controller(struct control *c);
struct raft_node *control_raft(struct control *c); /* NULL: closed, at the end */

/* Where this node's producer ids come from (producer_ids.h); for its control loop. */
struct producer_ids *control_producer_ids(struct control *c);

/* What asks the controller for other ISRs; for its control loop. */
struct isr_changes *control_isr_changes(struct control *c);

/* kraft.version of the metadata quorum. Any thread. */
int16_t control_quorum_version(const struct control *c);

/* A connection from that node broke off. Any thread. */
void control_node_lost(struct control *c, int32_t node_id);

/* What tells the controller where replicas lie (assignments.h); for its control loop. */
struct assignments *control_assignments(struct control *c);

/* This broker's epoch; -1 while it is not registered. Control loop. */
int64_t control_broker_epoch(const struct control *c);

#endif
