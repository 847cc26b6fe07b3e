#ifndef BROKER_CONTROL_CALLS_H
#define BROKER_CONTROL_CALLS_H

/* Requests that the control thread answers: the controller's, and those for the metadata log. A
 * request is lent to it and comes back to its shard answered. */

#include "broker/control.h"
#include "broker/request.h"

/* A request to the active controller on behalf of a client's request. In the request's arena. */
struct control_call {
    struct task task;
    struct request *rq;
    struct controller_request request; /* filled by the handler; done and arena are set here */
    struct controller_result result;
    void (*finished)(struct control_call *call); /* at home */
};

/* NULL: the arena is spent, and the request is not answered yet. */
struct control_call *control_call_create(struct request *rq, enum controller_operation operation,
                                         void (*finished)(struct control_call *call));
void control_call(struct control_call *call);

/* A request of another node to this one's metadata log. In the request's arena. */
struct control_raft_call {
    struct task task;
    struct request *rq;
    struct raft_request request;                      /* filled by the handler; done is set here */
    void (*finished)(struct control_raft_call *call); /* at home */
};

/* NULL: the arena is spent, and the request is refused. */
struct control_raft_call *
control_raft_call_create(struct request *rq, enum raft_request_type type,
                         void (*finished)(struct control_raft_call *call));
void control_raft_call(struct control_raft_call *call);

#endif
