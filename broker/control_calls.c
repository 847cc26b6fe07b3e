#include "broker/control_calls.h"

#include "broker/forward.h"
#include "broker/shard.h"

/* ---- for the controller ---- */

static void call_home(struct task *t)
{
    struct control_call *call = (struct control_call *)t;
    struct request *rq = call->rq;

    if (call->result.code == KERR_NOT_CONTROLLER && !rq->not_controller) {
        rq->not_controller = true;
        /* Leadership moved while it was here: the new controller is asked, as if it had come
         * later. */
        if (rq->handler->forwarded && rq->api_listener == API_ON_BROKER) {
            forward_request(rq);
            return;
        }
    }
    call->finished(call);
}

static void call_done(struct controller_request *r, struct controller_result result)
{
    struct control_call *call = CONTAINER_OF(r, struct control_call, request);

    call->result = result;
    call->task.run = call_home;
    loop_post(call->rq->shard->loop, &call->task);
}

static void call_submit(struct task *t)
{
    struct control_call *call = (struct control_call *)t;

    controller_submit(control_controller(call->rq->shard->node->control), &call->request);
}

struct control_call *control_call_create(struct request *rq, enum controller_operation operation,
                                         void (*finished)(struct control_call *call))
{
    struct control_call *call = arena_array(&rq->arena, struct control_call, 1);

    if (!call)
        return NULL;
    call->rq = rq;
    call->finished = finished;
    call->request.operation = operation;
    return call;
}

void control_call(struct control_call *call)
{
    call->request.arena = &call->rq->arena;
    call->request.done = call_done;
    call->task.run = call_submit;
    loop_post(call->rq->shard->node->env.control_loop, &call->task);
}

/* ---- for the metadata log ---- */

static void raft_call_home(struct task *t)
{
    struct control_raft_call *call = (struct control_raft_call *)t;

    call->finished(call);
}

static void raft_call_done(struct raft_request *r)
{
    struct control_raft_call *call = CONTAINER_OF(r, struct control_raft_call, request);

    call->task.run = raft_call_home;
    loop_post(call->rq->shard->loop, &call->task);
}

static void raft_call_submit(struct task *t)
{
    struct control_raft_call *call = (struct control_raft_call *)t;
    struct raft_node *raft = control_raft(call->rq->shard->node->control);

    if (raft) {
        raft_node_request(raft, &call->request);
        return;
    }
    call->request.error = KERR_NOT_LEADER_OR_FOLLOWER; /* closed, at the end */
    call->request.leader_id = -1;
    raft_call_done(&call->request);
}

struct control_raft_call *control_raft_call_create(struct request *rq, enum raft_request_type type,
                                                   void (*finished)(struct control_raft_call *call))
{
    struct control_raft_call *call = arena_array(&rq->arena, struct control_raft_call, 1);

    if (!call) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return NULL;
    }
    call->rq = rq;
    call->finished = finished;
    call->request.type = type;
    return call;
}

void control_raft_call(struct control_raft_call *call)
{
    call->request.done = raft_call_done;
    call->task.run = raft_call_submit;
    loop_post(call->rq->shard->node->env.control_loop, &call->task);
}
