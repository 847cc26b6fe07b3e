/* JoinGroup, SyncGroup, Heartbeat and LeaveGroup at a classic group, or at none. States:
 * group_classic.c. */
#include "broker/coordinator/group_classic.h"

#include <string.h>

#include "protocol/wire.h"

enum {
    NEW_MEMBER_JOIN_TIMEOUT_MS = 5 * 60 * 1000, /* how long a new member's JoinGroup may wait */
    UUID_STRING_CHARS = 36,
};

/* ---- checks ---- */

/* Whether a member of this id, and instance if it says one, is in the group. */
static enum kerr check_member(const struct classic_group *cg, struct str id, struct str instance_id)
{
    if (instance_id.data) {
        const struct classic_member *m = classic_group_static_member(cg, instance_id);

        if (!m)
            return KERR_UNKNOWN_MEMBER_ID;
        if (str_compare(m->id, id) != 0)
            return KERR_FENCED_INSTANCE_ID;
    }
    return classic_group_member(cg, id) ? KERR_NONE : KERR_UNKNOWN_MEMBER_ID;
}

/* Is there room for it, or has it a place? */
static bool accepts(const struct group_core *c, const struct classic_group *cg,
                    const struct classic_member *m)
{
    size_t max = (size_t)c->args.settings->max_size;

    switch (cg->state) {
    case CLASSIC_EMPTY:
        return true;
    case CLASSIC_PREPARING_REBALANCE:
        /* Those who wait count, not those who may never come back; so the last to come are turned
         * away when the limit was lowered. */
        return (m && m->joining) || cg->joining_count < max;
    default:
        return m || HASH_COUNT(cg->members) < max;
    }
}

/* ---- JoinGroup ---- */

static void refuse_join(struct group_core *c, struct group_caller *who, struct str member_id,
                        enum kerr code)
{
    who->join.member_id = group_answer_str(who, member_id);
    group_answer(c, who, code);
}

static void park_join(struct group_core *c, struct classic_group *cg, struct classic_member *m,
                      struct group_caller *who)
{
    /* It asked before, on a connection that must be gone: whoever still listens there may ask
     * again. */
    classic_member_answer_join(c, cg, m, KERR_REBALANCE_IN_PROGRESS);
    m->joining = who;
    cg->joining_count++;
}

/* What it offers and its timeouts, as this request has them. False: out of memory; who is
 * answered. */
static bool update_member(struct group_core *c, struct classic_group *cg, struct classic_member *m,
                          struct group_caller *who, const struct group_join *r)
{
    if (!classic_member_set_protocols(c, cg, m, r->protocols, r->protocol_count)) {
        refuse_join(c, who, r->member_id, KERR_COORDINATOR_NOT_AVAILABLE);
        return false;
    }
    m->rebalance_timeout_ms = r->rebalance_timeout_ms;
    m->session_timeout_ms = r->session_timeout_ms;
    return true;
}

static void rejoin(struct group_core *c, struct group *g, struct classic_member *m,
                   struct group_caller *who, const struct group_join *r)
{
    if (!update_member(c, g->classic, m, who, r))
        return;
    park_join(c, g->classic, m, who);
    classic_group_rebalance_or_complete(c, g);
}

static void add_member(struct group_core *c, struct group *g, struct str id,
                       struct group_caller *who, const struct group_join *r)
{
    struct classic_group *cg = g->classic;
    bool initial = cg->state == CLASSIC_PREPARING_REBALANCE && cg->previous == CLASSIC_EMPTY;
    struct classic_member *m =
        classic_group_add(c, g, r->protocol_type,
                          &(struct classic_member_args){
                              .id = id,
                              .instance_id = r->instance_id,
                              .client_id = who->client_id,
                              .client_host = who->client_host,
                              .protocols = r->protocols,
                              .protocol_count = r->protocol_count,
                              .session_timeout_ms = r->session_timeout_ms,
                              .rebalance_timeout_ms = r->rebalance_timeout_ms,
                          });

    if (!m) {
        refuse_join(c, who, STR(""), KERR_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    m->is_new = true;
    cg->new_member_added |= initial;
    park_join(c, cg, m, who);
    classic_member_due_in(c, g, m, NEW_MEMBER_JOIN_TIMEOUT_MS);
    classic_group_rebalance_or_complete(c, g);
}

/* A static member came back, without its member id: it takes the place that it had, under a new
 * one. */
static void replace_static(struct group_core *c, struct group *g, struct classic_member *m,
                           struct str new_id, struct group_caller *who, const struct group_join *r)
{
    struct classic_group *cg = g->classic;
    struct str leader = cg->leader ? group_answer_str(who, cg->leader->id) : STR("");

    if (classic_group_record_bytes(g) + m->assignment.size + new_id.size +
            classic_protocols_bytes(r->protocols, r->protocol_count) >
        GROUP_BATCH_BYTES_MAX) {
        refuse_join(c, who, STR(""), KERR_UNKNOWN_SERVER_ERROR);
        return;
    }
    classic_member_answer_join(c, cg, m, KERR_FENCED_INSTANCE_ID);
    classic_member_answer_sync(c, g, m, KERR_FENCED_INSTANCE_ID);
    if (!classic_member_rename(c, cg, m, new_id)) {
        refuse_join(c, who, STR(""), KERR_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    if (!update_member(c, cg, m, who, r))
        return;
    classic_member_heard(c, g, m);
    if (cg->state != CLASSIC_STABLE || str_compare(classic_group_vote(cg), cg->protocol) != 0) {
        park_join(c, cg, m, who);
        /* Even while assignments are awaited: the leader may have been told of the old id. */
        classic_group_rebalance_or_complete(c, g);
        return;
    }
    /* Nothing changes for the others. */
    classic_group_set_protocol(c, cg, cg->protocol);
    classic_group_emit(c, g);
    classic_fill_join(who, cg, m);
    if (r->supports_skip_assignment) {
        who->join.skip_assignment = m == cg->leader;
    } else { /* it would assign if it took itself for the leader */
        who->join.leader = leader;
        who->join.members = NULL;
        who->join.member_count = 0;
    }
    group_answer(c, who, KERR_NONE);
}

/* Two hexadecimal digits a byte, with dashes after 4, 6, 8 and 10. */
static void format_uuid(struct uuid id, char *text)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < sizeof id.bytes; i++) {
        *text++ = digits[id.bytes[i] >> 4];
        *text++ = digits[id.bytes[i] & 15];
        if (i == 3 || i == 5 || i == 7 || i == 9)
            *text++ = '-';
    }
}

/* Instance or client id, a dash and something nobody can guess; in the caller's arena. */
static struct str new_member_id(struct group_core *c, struct group_caller *who,
                                const struct group_join *r)
{
    struct str prefix = r->instance_id.data ? r->instance_id : who->client_id;
    size_t size = prefix.size;
    char *text;

    if (size > WIRE_STRING_BYTES_MAX - 1 - UUID_STRING_CHARS)
        size = WIRE_STRING_BYTES_MAX - 1 - UUID_STRING_CHARS;
    text = group_answer_array(who, size + 1 + UUID_STRING_CHARS, 1);
    if (!text)
        return STR_NULL;
    if (size)
        memcpy(text, prefix.data, size);
    text[size] = '-';
    format_uuid(group_random_uuid(c), text + size + 1);
    return (struct str){text, size + 1 + UUID_STRING_CHARS};
}

static void join_unknown(struct group_core *c, struct group *g, struct group_caller *who,
                         const struct group_join *r)
{
    struct classic_group *cg = g->classic;
    struct str id = new_member_id(c, who, r);
    struct classic_member *existing =
        r->instance_id.data ? classic_group_static_member(cg, r->instance_id) : NULL;

    if (!id.data) {
        group_answer(c, who, KERR_INVALID_REQUEST);
    } else if (existing) {
        replace_static(c, g, existing, id, who, r);
    } else if (r->instance_id.data || !r->require_known_member_id) {
        add_member(c, g, id, who, r);
    } else if (HASH_COUNT(cg->pending) >= CLASSIC_PENDING_MAX) {
        refuse_join(c, who, STR(""), KERR_GROUP_MAX_SIZE_REACHED);
    } else if (!classic_group_add_pending(c, cg, id, c->now_ms + r->session_timeout_ms)) {
        refuse_join(c, who, STR(""), KERR_COORDINATOR_NOT_AVAILABLE);
    } else {
        group_due_at(c, g, c->now_ms + r->session_timeout_ms);
        who->join.member_id = id;
        group_answer_now(c, who, KERR_MEMBER_ID_REQUIRED);
    }
}

static void join_known(struct group_core *c, struct group *g, struct group_caller *who,
                       const struct group_join *r)
{
    struct classic_group *cg = g->classic;
    struct classic_member *m = classic_group_member(cg, r->member_id);
    bool unchanged;
    enum kerr code;

    if (classic_group_find_pending(cg, r->member_id)) {
        if (r->instance_id.data) /* such an id is never given to a static member */
            refuse_join(c, who, r->member_id, KERR_UNKNOWN_SERVER_ERROR);
        else
            add_member(c, g, r->member_id, who, r);
        return;
    }
    code = check_member(cg, r->member_id, r->instance_id);
    if (code) {
        refuse_join(c, who, r->member_id, code);
        return;
    }
    unchanged = classic_member_matches(m, r->protocols, r->protocol_count);
    /* It may not have received what it was told; or it is a follower that asks again. The leader,
     * once all is settled, asks because it wants to assign anew (a topic got more partitions). */
    if (unchanged && (cg->state == CLASSIC_COMPLETING_REBALANCE ||
                      (cg->state == CLASSIC_STABLE && m != cg->leader))) {
        classic_fill_join(who, cg, m);
        group_answer(c, who, KERR_NONE);
    } else {
        rejoin(c, g, m, who, r);
    }
}

/* The group exists from now on, if it did not. False: out of memory; who is answered. */
static bool make_classic(struct group_core *c, struct group *g, struct group_caller *who)
{
    bool new = g->type == GROUP_CONSUMER || group_is_nothing(g);
    struct classic_group *cg;

    if (g->type == GROUP_CLASSIC)
        return true;
    cg = classic_group_create(c);
    if (!cg) {
        refuse_join(c, who, STR(""), KERR_COORDINATOR_NOT_AVAILABLE);
        return false;
    }
    if (g->type == GROUP_CONSUMER)
        consumer_group_tombstones(c, g);
    group_become(c, g, GROUP_CLASSIC, cg);
    if (new)
        classic_group_emit_new(c, g);
    return true;
}

void classic_group_join(struct group_core *c, struct group *g, struct group_caller *who,
                        const struct group_join *r)
{
    bool unknown = !r->member_id.size;
    size_t bytes = classic_protocols_bytes(r->protocols, r->protocol_count);
    struct classic_group *cg = g->type == GROUP_CLASSIC ? g->classic : NULL;
    struct classic_member *m = cg ? classic_group_member(cg, r->member_id) : NULL;

    if (!cg && !unknown) {
        refuse_join(c, who, r->member_id, KERR_UNKNOWN_MEMBER_ID);
        return;
    }
    if (cg && !accepts(c, cg, m)) {
        refuse_join(c, who, STR(""), KERR_GROUP_MAX_SIZE_REACHED);
        if (m) {
            classic_group_dismiss(c, g, m);
            classic_group_maybe_complete(c, g); /* perhaps the others waited for it alone */
        }
        return;
    }
    if (cg ? !classic_group_supports(cg, r->protocol_type, r->protocols, r->protocol_count)
           : !r->protocol_type.size || !r->protocol_count) {
        /* A refusal makes no group. */
        refuse_join(c, who, r->member_id, KERR_INCONSISTENT_GROUP_PROTOCOL);
        return;
    }
    if (bytes > GROUP_BATCH_BYTES_MAX) {
        refuse_join(c, who, r->member_id, KERR_UNKNOWN_SERVER_ERROR);
        return;
    }
    if (cg && cg->bytes + bytes > CLASSIC_GROUP_BYTES_MAX) {
        refuse_join(c, who, r->member_id, KERR_GROUP_MAX_SIZE_REACHED);
        return;
    }
    if (!make_classic(c, g, who))
        return;
    if (unknown)
        join_unknown(c, g, who, r);
    else
        join_known(c, g, who, r);
}

/* ---- SyncGroup ---- */

static bool differs(struct str asked, struct str groups)
{
    return asked.data && groups.data && str_compare(asked, groups) != 0;
}

static enum kerr check_sync(const struct classic_group *cg, const struct group_sync *r)
{
    enum kerr code = check_member(cg, r->member_id, r->instance_id);

    if (code)
        return code;
    if (r->generation != cg->generation)
        return KERR_ILLEGAL_GENERATION;
    if (differs(r->protocol_type, cg->protocol_type) || differs(r->protocol, cg->protocol))
        return KERR_INCONSISTENT_GROUP_PROTOCOL;
    return cg->state == CLASSIC_PREPARING_REBALANCE ? KERR_REBALANCE_IN_PROGRESS : KERR_NONE;
}

static size_t assignments_bytes(const struct classic_group *cg, const struct group_sync *r)
{
    size_t bytes = 0;

    for (size_t i = 0; i < r->assignment_count; i++)
        if (classic_group_member(cg, r->assignments[i].member_id))
            bytes += r->assignments[i].assignment.size;
    return bytes;
}

static void answer_syncs(struct group_core *c, struct group *g, enum kerr code)
{
    for (struct classic_member *m = g->classic->members; m; m = m->hh.next)
        classic_member_answer_sync(c, g, m, code);
}

/* The leader has assigned: the generation is written, then all learn what is theirs. */
static void assign(struct group_core *c, struct group *g, const struct group_sync *r)
{
    struct classic_group *cg = g->classic;

    if (classic_group_record_bytes(g) + assignments_bytes(cg, r) > GROUP_BATCH_BYTES_MAX) {
        answer_syncs(c, g, KERR_UNKNOWN_SERVER_ERROR);
        classic_group_prepare_rebalance(c, g);
        return;
    }
    for (struct classic_member *m = cg->members; m; m = m->hh.next) {
        group_drop_bytes(&m->assignment);
        /* unless the leader says something else */
        group_keep_bytes(c, &m->assignment, WIRE_EMPTY_BYTES);
    }
    for (size_t i = 0; i < r->assignment_count; i++) {
        struct classic_member *m = classic_group_member(cg, r->assignments[i].member_id);

        if (m) {
            group_drop_bytes(&m->assignment); /* named twice: the last one counts */
            group_keep_bytes(c, &m->assignment, r->assignments[i].assignment);
        }
    }
    classic_group_enter(c, cg, CLASSIC_STABLE);
    classic_group_emit(c, g);
    answer_syncs(c, g, KERR_NONE);
}

void classic_group_sync(struct group_core *c, struct group *g, struct group_caller *who,
                        const struct group_sync *r)
{
    struct classic_group *cg = g->classic;
    enum kerr code = check_sync(cg, r);
    struct classic_member *m;

    if (code) {
        group_answer(c, who, code);
        return;
    }
    m = classic_group_member(cg, r->member_id);
    /* an older one; as park_join */
    classic_member_answer_sync(c, g, m, KERR_REBALANCE_IN_PROGRESS);
    m->syncing = who;
    classic_group_synced(cg, m);
    if (cg->state == CLASSIC_STABLE)
        classic_member_answer_sync(c, g, m, KERR_NONE);
    else if (m == cg->leader)
        assign(c, g, r);
}

/* ---- Heartbeat ---- */

void classic_group_heartbeat(struct group_core *c, struct group *g, struct group_caller *who,
                             const struct group_heartbeat *r)
{
    struct classic_group *cg = g->classic;
    enum kerr code = check_member(cg, r->member_id, r->instance_id);

    if (!code && r->generation != cg->generation)
        code = KERR_ILLEGAL_GENERATION;
    if (!code) {
        classic_member_heard(c, g, classic_group_member(cg, r->member_id));
        if (cg->state == CLASSIC_PREPARING_REBALANCE)
            code = KERR_REBALANCE_IN_PROGRESS;
    }
    group_answer(c, who, code);
}

/* ---- LeaveGroup ---- */

static enum kerr leave_one(struct group_core *c, struct group *g,
                           const struct group_leave_member *asked)
{
    struct classic_group *cg = g->type == GROUP_CLASSIC ? g->classic : NULL;
    struct classic_pending *pending;
    enum kerr code;

    if (!cg)
        return KERR_UNKNOWN_MEMBER_ID;
    if (!asked->member_id.size) { /* an operator removes whoever has the instance id */
        struct classic_member *m =
            asked->instance_id.data ? classic_group_static_member(cg, asked->instance_id) : NULL;

        if (!m)
            return KERR_UNKNOWN_MEMBER_ID;
        classic_group_dismiss(c, g, m);
        return KERR_NONE;
    }
    pending = classic_group_find_pending(cg, asked->member_id);
    if (pending) {
        classic_group_remove_pending(cg, pending);
        return KERR_NONE;
    }
    code = check_member(cg, asked->member_id, asked->instance_id);
    if (!code)
        classic_group_dismiss(c, g, classic_group_member(cg, asked->member_id));
    return code;
}

void classic_group_leave(struct group_core *c, struct group *g, struct group_caller *who,
                         const struct group_leave *r)
{
    struct group_leave_member *out = group_answer_array(who, r->member_count, sizeof *out);
    enum kerr code = KERR_NONE;
    bool left = false;

    if (!out) {
        group_answer(c, who, KERR_INVALID_REQUEST);
        return;
    }
    for (size_t i = 0; i < r->member_count; i++) {
        out[i] = (struct group_leave_member){
            .member_id = group_answer_str(who, r->members[i].member_id),
            .instance_id = group_answer_str(who, r->members[i].instance_id),
            .code = leave_one(c, g, &r->members[i]),
        };
        left |= out[i].code == KERR_NONE;
        if (r->single)
            code = out[i].code;
    }
    if (left && g->classic->state != CLASSIC_EMPTY)
        classic_group_rebalance_or_complete(c, g);
    who->leave = (struct group_leave_answer){out, r->member_count};
    group_answer(c, who, code);
}
