/* JoinGroup, SyncGroup, Heartbeat, LeaveGroup: the members of classic groups. */

#include "broker/coordinator/group_scatter.h"
#include "broker/dispatch.h"
#include "broker/handlers/group_common.h"
#include "broker/request.h"
#include "protocol/messages/heartbeat.h"
#include "protocol/messages/join_group.h"
#include "protocol/messages/leave_group.h"
#include "protocol/messages/sync_group.h"

/* One request about one group. */
struct member_call {
    struct group_scatter scatter; /* first */
    struct group_entry entry;
    union {
        struct group_join join;
        struct group_sync sync;
        struct group_heartbeat heartbeat;
        struct group_leave leave;
    };
};

static struct member_call *call_of(struct group_entry *e)
{
    return (struct member_call *)e->scatter;
}

static struct member_call *member_call(struct request *rq, struct str group, enum group_call what)
{
    struct member_call *call = arena_array(&rq->arena, struct member_call, 1);

    if (!call)
        return NULL;
    call->entry.group = group;
    call->scatter.rq = rq;
    call->scatter.entries = &call->entry;
    call->scatter.count = 1;
    call->scatter.stride = sizeof call->entry;
    call->scatter.call = what;
    return call;
}

static void member_call_start(struct member_call *call, enum kerr refused)
{
    if (refused == KERR_NONE && call->entry.group.size == 0)
        refused = KERR_INVALID_GROUP_ID;
    call->entry.caller.code = refused;
    call->entry.skip = refused != KERR_NONE;
    if (!group_scatter_start(&call->scatter))
        request_refuse(call->scatter.rq, REQUEST_OVER_BUDGET);
}

/* ---- JoinGroup ---- */

static void join_run(struct group_entry *e, struct group_core *core, int64_t now_ms,
                     const struct offset_list *offsets, struct group_effects *fx)
{
    (void)offsets;
    group_core_join(core, &e->caller, &call_of(e)->join, now_ms, fx);
}

static bool join_fill(struct member_call *call, struct join_group_response *out)
{
    const struct request *rq = call->scatter.rq;
    const struct group_join_answer *a = &call->entry.caller.join;

    join_group_response_init(out);
    out->error_code = (int16_t)call->entry.caller.code;
    out->protocol_name = rq->version >= 7 ? STR_NULL : STR("");
    out->leader = STR("");
    out->member_id = call->entry.skip ? call->join.member_id : group_or_empty(a->member_id);
    if (call->entry.caller.code != KERR_NONE)
        return true;
    out->generation_id = a->generation;
    out->protocol_type = a->protocol_type;
    out->protocol_name = rq->version >= 7 ? a->protocol : group_or_empty(a->protocol);
    out->leader = group_or_empty(a->leader);
    out->skip_assignment = a->skip_assignment;
    out->members =
        arena_array(&call->scatter.rq->arena, struct join_group_response_member, a->member_count);
    if (!out->members)
        return false;
    out->members_count = a->member_count;
    for (size_t i = 0; i < a->member_count; i++)
        out->members[i] = (struct join_group_response_member){
            a->members[i].member_id, a->members[i].instance_id, a->members[i].metadata};
    return true;
}

static void join_finished(struct group_scatter *g)
{
    struct join_group_response response;

    if (join_fill((struct member_call *)g, &response))
        request_answer(g->rq, &response);
    else
        request_refuse(g->rq, REQUEST_OVER_BUDGET);
}

void handle_join_group(struct request *rq)
{
    const struct join_group_request *m = rq->message;
    struct member_call *call = member_call(rq, m->group_id, GROUP_JOIN);
    struct group_protocol *protocols =
        arena_array(&rq->arena, struct group_protocol, m->protocols_count);

    if (!call || !protocols) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    for (size_t i = 0; i < m->protocols_count; i++)
        protocols[i] = (struct group_protocol){m->protocols[i].name, m->protocols[i].metadata};
    call->join = (struct group_join){
        .group = m->group_id,
        .member_id = m->member_id,
        .instance_id = m->group_instance_id,
        .protocol_type = m->protocol_type,
        .reason = m->reason,
        .session_timeout_ms = m->session_timeout_ms,
        .rebalance_timeout_ms = rq->version == 0 ? m->session_timeout_ms : m->rebalance_timeout_ms,
        .protocols = protocols,
        .protocol_count = m->protocols_count,
        .require_known_member_id = rq->version >= 4,
        .supports_skip_assignment = rq->version >= 9,
    };
    call->scatter.run = join_run;
    call->scatter.finished = join_finished;
    member_call_start(call, KERR_NONE);
}

/* ---- SyncGroup ---- */

static void sync_run(struct group_entry *e, struct group_core *core, int64_t now_ms,
                     const struct offset_list *offsets, struct group_effects *fx)
{
    (void)offsets;
    group_core_sync(core, &e->caller, &call_of(e)->sync, now_ms, fx);
}

static void sync_finished(struct group_scatter *g)
{
    const struct group_caller *who = &((struct member_call *)g)->entry.caller;
    struct sync_group_response response;

    sync_group_response_init(&response);
    response.error_code = (int16_t)who->code;
    if (who->code == KERR_NONE) {
        response.protocol_type = who->sync.protocol_type;
        response.protocol_name = who->sync.protocol;
        response.assignment = group_bytes_or_empty(who->sync.assignment);
    }
    request_answer(g->rq, &response);
}

void handle_sync_group(struct request *rq)
{
    const struct sync_group_request *m = rq->message;
    struct member_call *call = member_call(rq, m->group_id, GROUP_SYNC);
    struct group_sync_assignment *assignments =
        arena_array(&rq->arena, struct group_sync_assignment, m->assignments_count);

    if (!call || !assignments) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    for (size_t i = 0; i < m->assignments_count; i++)
        assignments[i] = (struct group_sync_assignment){m->assignments[i].member_id,
                                                        m->assignments[i].assignment};
    call->sync = (struct group_sync){
        .group = m->group_id,
        .member_id = m->member_id,
        .instance_id = m->group_instance_id,
        .protocol_type = m->protocol_type,
        .protocol = m->protocol_name,
        .generation = m->generation_id,
        .assignments = assignments,
        .assignment_count = m->assignments_count,
    };
    call->scatter.run = sync_run;
    call->scatter.finished = sync_finished;
    member_call_start(call, rq->version >= 5 && (!m->protocol_type.data || !m->protocol_name.data)
                                ? KERR_INCONSISTENT_GROUP_PROTOCOL
                                : KERR_NONE);
}

/* ---- Heartbeat ---- */

static void heartbeat_run(struct group_entry *e, struct group_core *core, int64_t now_ms,
                          const struct offset_list *offsets, struct group_effects *fx)
{
    (void)offsets;
    group_core_heartbeat(core, &e->caller, &call_of(e)->heartbeat, now_ms, fx);
}

static void heartbeat_finished(struct group_scatter *g)
{
    struct heartbeat_response response;

    heartbeat_response_init(&response);
    response.error_code = (int16_t)((struct member_call *)g)->entry.caller.code;
    /* Sessions start anew when the group is loaded: the member is as good as heard. */
    if (response.error_code == KERR_COORDINATOR_LOAD_IN_PROGRESS)
        response.error_code = KERR_NONE;
    request_answer(g->rq, &response);
}

void handle_heartbeat(struct request *rq)
{
    const struct heartbeat_request *m = rq->message;
    struct member_call *call = member_call(rq, m->group_id, GROUP_HEARTBEAT);

    if (!call) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    call->heartbeat = (struct group_heartbeat){.group = m->group_id,
                                               .member_id = m->member_id,
                                               .instance_id = m->group_instance_id,
                                               .generation = m->generation_id};
    call->scatter.run = heartbeat_run;
    call->scatter.finished = heartbeat_finished;
    member_call_start(call, KERR_NONE);
}

/* ---- LeaveGroup ---- */

static void leave_run(struct group_entry *e, struct group_core *core, int64_t now_ms,
                      const struct offset_list *offsets, struct group_effects *fx)
{
    (void)offsets;
    group_core_leave(core, &e->caller, &call_of(e)->leave, now_ms, fx);
}

static void leave_finished(struct group_scatter *g)
{
    const struct group_caller *who = &((struct member_call *)g)->entry.caller;
    struct request *rq = g->rq;
    struct leave_group_response response;

    leave_group_response_init(&response);
    response.error_code = (int16_t)who->code;
    response.members = arena_array(&rq->arena, struct leave_group_response_member_response,
                                   who->code == KERR_NONE ? who->leave.member_count : 0);
    if (!response.members) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    for (size_t i = 0; who->code == KERR_NONE && i < who->leave.member_count; i++) {
        const struct group_leave_member *member = &who->leave.members[i];

        if (rq->version < 3) { /* one member: its error is the answer's */
            response.error_code = (int16_t)member->code;
            break;
        }
        response.members[response.members_count++] = (struct leave_group_response_member_response){
            group_or_empty(member->member_id), member->instance_id, (int16_t)member->code};
    }
    request_answer(rq, &response);
}

void handle_leave_group(struct request *rq)
{
    const struct leave_group_request *m = rq->message;
    size_t count = rq->version < 3 ? 1 : m->members_count;
    struct member_call *call = member_call(rq, m->group_id, GROUP_LEAVE);
    struct group_leave_member *members = arena_array(&rq->arena, struct group_leave_member, count);

    if (!call || !members) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    if (rq->version < 3)
        members[0] = (struct group_leave_member){.member_id = m->member_id};
    for (size_t i = 0; rq->version >= 3 && i < count; i++)
        members[i] = (struct group_leave_member){.member_id = m->members[i].member_id,
                                                 .instance_id = m->members[i].group_instance_id,
                                                 .reason = m->members[i].reason};
    call->leave = (struct group_leave){
        .group = m->group_id, .members = members, .member_count = count, .single = rq->version < 3};
    call->scatter.run = leave_run;
    call->scatter.finished = leave_finished;
    member_call_start(call, KERR_NONE);
}
