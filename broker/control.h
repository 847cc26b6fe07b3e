#ifndef BROKER_CONTROL_H
#define BROKER_CONTROL_H

/* The control thread's part of a node: the metadata log, the controller, this broker's life in the cluster,
 * and the images that go out to the shards.
 *
 * Shards reach the controller with control_call: the request is lent to the control thread and comes back
 * answered. */

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

/* A request to the active controller on behalf of a client's request. In the request's arena. */
struct control_call {
    struct task task;
    struct request *rq;
    struct controller_request request; /* filled by the handler; done and arena are set here */
    struct controller_result result;
    void (*finished)(struct control_call *call); /* at home */
};

/* NULL: the arena is spent. */
struct control_call *control_call_create(struct request *rq, enum controller_operation operation,
                                         void (*finished)(struct control_call *call));
void control_call(struct control_call *call);

/* A request of another node to this one's metadata log. In the request's arena. */
struct control_raft_call {
    struct task task;
    struct request *rq;
    struct raft_request request; /* filled by the handler; done is set here */
    void (*finished)(struct control_raft_call *call); /* at home */
};

void control_raft_call(struct control_raft_call *call);

/* Where the active controller listens; id -1: unknown. Borrowed until the loop runs on. Control loop. */
struct transport_node control_leader(const struct control *c);

/* A node id for clients to be told as the controller; -1: unknown. Any thread. */
int32_t control_leader_id(const struct control *c);

/* The names of deleted partitions are wanted again: checkpoints_hurry. Any thread. */
void control_hurry_checkpoints(struct control *c);

/* The metadata log's node, for who looks at it from outside (tests/sim); NULL: closed. Control loop. */
const struct raft_node *control_raft(const struct control *c);

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
