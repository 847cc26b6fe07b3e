/* A classic group's states: rebalances, generations, timeouts, records, loading. Requests:
 * group_classic_requests.c. */
#include "broker/coordinator/group_classic.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/wire.h"

struct str classic_state_name(enum classic_state state)
{
    static const char *const names[] = {
        [CLASSIC_EMPTY] = "Empty",
        [CLASSIC_PREPARING_REBALANCE] = "PreparingRebalance",
        [CLASSIC_COMPLETING_REBALANCE] = "CompletingRebalance",
        [CLASSIC_STABLE] = "Stable",
    };

    return str_from(names[state]);
}

/* ---- states ---- */

#define FROM(state) (1u << (state))

/* Which states a state may follow. */
static const unsigned allowed_before[] = {
    [CLASSIC_EMPTY] = FROM(CLASSIC_PREPARING_REBALANCE),
    [CLASSIC_PREPARING_REBALANCE] =
        FROM(CLASSIC_EMPTY) | FROM(CLASSIC_COMPLETING_REBALANCE) | FROM(CLASSIC_STABLE),
    [CLASSIC_COMPLETING_REBALANCE] = FROM(CLASSIC_PREPARING_REBALANCE),
    [CLASSIC_STABLE] = FROM(CLASSIC_COMPLETING_REBALANCE),
};

void classic_group_enter(struct group_core *c, struct classic_group *cg, enum classic_state state)
{
    CHECK(allowed_before[state] & FROM(cg->state));
    cg->previous = cg->state;
    cg->state = state;
    cg->state_wall_ms = group_wall_ms(c);
}

bool classic_group_is_empty(const struct classic_group *cg)
{
    return cg->state == CLASSIC_EMPTY;
}

/* The longest that a member asks for. Never 0, or a group that nobody rejoins would spin. */
static int64_t rebalance_timeout_ms(const struct classic_group *cg)
{
    int64_t longest = 1;

    for (const struct classic_member *m = cg->members; m; m = m->hh.next)
        if (m->rebalance_timeout_ms > longest)
            longest = m->rebalance_timeout_ms;
    return longest;
}

static bool all_joined(const struct classic_group *cg)
{
    return cg->joining_count == HASH_COUNT(cg->members) && !cg->pending;
}

static void wait_for_joins(struct group_core *c, struct group *g, int64_t ms)
{
    g->classic->join_deadline_ms = c->now_ms + ms;
    group_due_at(c, g, g->classic->join_deadline_ms);
}

/* ---- sessions ---- */

void classic_member_due_in(struct group_core *c, struct group *g, struct classic_member *m,
                           int64_t ms)
{
    m->deadline_ms = c->now_ms + (ms > 0 ? ms : 1);
    group_due_at(c, g, m->deadline_ms);
}

void classic_member_heard(struct group_core *c, struct group *g, struct classic_member *m)
{
    classic_member_due_in(c, g, m, m->session_timeout_ms);
}

/* ---- answers to those who wait ---- */

static struct bytes or_empty(struct bytes b)
{
    return b.data ? b : WIRE_EMPTY_BYTES;
}

static struct group_join_member *answer_members(struct group_caller *who,
                                                const struct classic_group *cg)
{
    struct group_join_member *all = group_answer_array(who, HASH_COUNT(cg->members), sizeof *all),
                             *out = all;

    if (!all)
        return NULL;
    for (const struct classic_member *m = cg->members; m; m = m->hh.next)
        *out++ = (struct group_join_member){
            .member_id = group_answer_str(who, m->id),
            .instance_id = group_answer_str(who, m->instance_id),
            .metadata = group_answer_bytes(who, classic_member_metadata(m, cg->protocol)),
        };
    return all;
}

void classic_fill_join(struct group_caller *who, const struct classic_group *cg,
                       const struct classic_member *m)
{
    struct group_join_answer *a = &who->join;

    *a = (struct group_join_answer){
        .generation = cg->generation,
        .protocol_type = group_answer_str(who, cg->protocol_type),
        .protocol = group_answer_str(who, cg->protocol),
        .leader = cg->leader ? group_answer_str(who, cg->leader->id) : STR(""),
        .member_id = group_answer_str(who, m->id),
    };
    if (m == cg->leader) {
        a->members = answer_members(who, cg);
        a->member_count = a->members ? HASH_COUNT(cg->members) : 0;
    }
}

void classic_member_answer_join(struct group_core *c, struct classic_group *cg,
                                struct classic_member *m, enum kerr code)
{
    struct group_caller *who = m->joining;

    if (!who)
        return;
    m->joining = NULL;
    cg->joining_count--;
    if (!code)
        classic_fill_join(who, cg, m);
    else /* a removed member is to ask for another id */
        who->join.member_id =
            code == KERR_UNKNOWN_MEMBER_ID ? STR("") : group_answer_str(who, m->id);
    group_answer(c, who, code);
}

void classic_member_answer_sync(struct group_core *c, struct group *g, struct classic_member *m,
                                enum kerr code)
{
    struct group_caller *who = m->syncing;

    if (!who)
        return;
    m->syncing = NULL;
    if (!code)
        who->sync = (struct group_sync_answer){
            .protocol_type = group_answer_str(who, g->classic->protocol_type),
            .protocol = group_answer_str(who, g->classic->protocol),
            .assignment = group_answer_bytes(who, or_empty(m->assignment)),
        };
    group_answer(c, who, code);
    /* While it waited its session did not run. */
    classic_member_heard(c, g, m);
}

void classic_group_dismiss(struct group_core *c, struct group *g, struct classic_member *m)
{
    classic_member_answer_join(c, g->classic, m, KERR_UNKNOWN_MEMBER_ID);
    classic_member_answer_sync(c, g, m, KERR_UNKNOWN_MEMBER_ID);
    classic_group_remove(g, m);
}

void classic_group_stop(struct group_core *c, struct group *g, enum kerr code)
{
    for (struct classic_member *m = g->classic->members; m; m = m->hh.next) {
        classic_member_answer_join(c, g->classic, m, code);
        classic_member_answer_sync(c, g, m, code);
    }
}

/* ---- records ---- */

enum {
    BATCH_BYTES = 61 + 64,   /* a batch's header; the record's and its messages' fixed parts and
                            * lengths */
    MEMBER_RECORD_BYTES = 32 /* lengths and timeouts of a member in the record */
};

size_t classic_group_record_bytes(const struct group *g)
{
    const struct classic_group *cg = g->classic;
    size_t bytes = BATCH_BYTES + g->id.size + cg->protocol_type.size + cg->protocol.size;

    if (cg->leader)
        bytes += cg->leader->id.size;
    for (const struct classic_member *m = cg->members; m; m = m->hh.next)
        bytes += MEMBER_RECORD_BYTES + m->id.size + m->instance_id.size + m->client_id.size +
                 m->client_host.size + classic_member_metadata(m, cg->protocol).size;
    return bytes;
}

void classic_group_emit_new(struct group_core *c, const struct group *g)
{
    struct group_metadata_value *v =
        &group_emit_new(c, GROUP_RECORD_GROUP_METADATA)->value.group_metadata;

    v->protocol_type = STR("");
    v->protocol = STR_NULL;
    v->leader = STR_NULL;
    v->current_state_timestamp = g->classic->state_wall_ms;
}

void classic_group_emit(struct group_core *c, const struct group *g)
{
    const struct classic_group *cg = g->classic;
    struct group_metadata_value *v =
        &group_emit_new(c, GROUP_RECORD_GROUP_METADATA)->value.group_metadata;
    struct group_metadata_value_member_metadata *out;

    v->protocol_type = cg->protocol_type.data ? group_fx_str(c, cg->protocol_type) : STR("");
    v->generation = cg->generation;
    v->protocol = group_fx_str(c, cg->protocol);
    v->leader = cg->leader ? group_fx_str(c, cg->leader->id) : STR_NULL;
    v->current_state_timestamp = cg->state_wall_ms;
    out = group_fx_array(c, HASH_COUNT(cg->members), sizeof *out);
    v->members = out;
    v->members_count = out ? HASH_COUNT(cg->members) : 0;
    for (const struct classic_member *m = cg->members; m && out; m = m->hh.next, out++) {
        group_metadata_value_member_metadata_init(out);
        out->member_id = group_fx_str(c, m->id);
        out->group_instance_id = group_fx_str(c, m->instance_id);
        out->client_id = group_fx_str(c, m->client_id);
        out->client_host = group_fx_str(c, m->client_host);
        out->rebalance_timeout = m->rebalance_timeout_ms;
        out->session_timeout = m->session_timeout_ms;
        out->subscription = group_fx_bytes(c, classic_member_metadata(m, cg->protocol));
        out->assignment = group_fx_bytes(c, or_empty(m->assignment));
    }
}

void classic_group_emit_tombstone(struct group_core *c)
{
    group_emit_new(c, GROUP_RECORD_GROUP_METADATA)->tombstone = true;
}

/* ---- rebalances ---- */

static void nobody_must_sync(struct classic_group *cg)
{
    for (struct classic_member *m = cg->members; m; m = m->hh.next)
        m->pending_sync = false;
    cg->pending_sync_count = 0;
    cg->sync_deadline_ms = INT64_MAX;
}

void classic_group_synced(struct classic_group *cg, struct classic_member *m)
{
    if (m->pending_sync) {
        m->pending_sync = false;
        cg->pending_sync_count--;
    }
    if (!cg->pending_sync_count)
        cg->sync_deadline_ms = INT64_MAX;
}

/* The leader goes on if it has joined, else the first who has leads. False: nobody has, or there is
 * nobody. */
static bool elect_joined_leader(struct classic_group *cg)
{
    if (!cg->leader)
        return false;
    for (struct classic_member *m = cg->members; m && !cg->leader->joining; m = m->hh.next)
        if (m->joining)
            cg->leader = m;
    return cg->leader->joining != NULL;
}

static void begin_generation(struct group_core *c, struct group *g)
{
    struct classic_group *cg = g->classic;

    for (struct classic_member *m = cg->members; m; m = m->hh.next) {
        classic_member_answer_join(c, cg, m, KERR_NONE);
        classic_member_heard(c, g, m);
        m->is_new = false;
        m->pending_sync = true;
        cg->pending_sync_count++;
    }
    cg->sync_deadline_ms = c->now_ms + rebalance_timeout_ms(cg);
    group_due_at(c, g, cg->sync_deadline_ms);
}

/* Time is up, or all have joined. Who has not is out, static members excepted: their sessions
 * decide. */
static void complete_join(struct group_core *c, struct group *g)
{
    struct classic_group *cg = g->classic;
    struct classic_member *m, *next;

    CHECK(cg->state == CLASSIC_PREPARING_REBALANCE);
    cg->join_deadline_ms = INT64_MAX;
    cg->initial_delay_ms = 0;
    HASH_ITER(hh, cg->members, m, next)
    if (!m->joining && !m->instance_id.data)
        classic_group_remove(g, m);
    if (!elect_joined_leader(cg) && cg->members) {
        wait_for_joins(c, g, rebalance_timeout_ms(cg));
        return;
    }
    /* Nothing that Kafka writes comes near the end of the range, but a stored record may hold
     * anything. */
    cg->generation = cg->generation == INT32_MAX ? 0 : cg->generation + 1;
    nobody_must_sync(cg);
    classic_group_set_protocol(c, cg, cg->members ? classic_group_vote(cg) : STR_NULL);
    if (cg->members) {
        classic_group_enter(c, cg, CLASSIC_COMPLETING_REBALANCE);
        begin_generation(c, g);
    } else {
        classic_group_enter(c, cg, CLASSIC_EMPTY);
        classic_group_emit(c, g);
    }
}

void classic_group_prepare_rebalance(struct group_core *c, struct group *g)
{
    struct classic_group *cg = g->classic;
    bool initial = cg->state == CLASSIC_EMPTY;

    if (cg->state == CLASSIC_COMPLETING_REBALANCE) {
        for (struct classic_member *m = cg->members; m; m = m->hh.next) {
            group_drop_bytes(&m->assignment);
            classic_member_answer_sync(c, g, m, KERR_REBALANCE_IN_PROGRESS);
        }
    }
    nobody_must_sync(cg);
    classic_group_enter(c, cg, CLASSIC_PREPARING_REBALANCE);
    if (initial) {
        /* The others of a group that is just starting need not come one by one. */
        int64_t remaining = rebalance_timeout_ms(cg) - c->args.settings->initial_rebalance_delay_ms;

        cg->new_member_added = false;
        cg->initial_delay_ms = c->args.settings->initial_rebalance_delay_ms;
        cg->initial_remaining_ms = remaining > 0 ? remaining : 0;
        if (cg->initial_delay_ms > 0)
            wait_for_joins(c, g, cg->initial_delay_ms);
        else
            complete_join(c, g);
        return;
    }
    if (all_joined(cg))
        complete_join(c, g);
    else
        wait_for_joins(c, g, rebalance_timeout_ms(cg));
}

void classic_group_maybe_complete(struct group_core *c, struct group *g)
{
    struct classic_group *cg = g->classic;

    if (cg->state == CLASSIC_PREPARING_REBALANCE && cg->previous != CLASSIC_EMPTY && all_joined(cg))
        complete_join(c, g);
}

void classic_group_rebalance_or_complete(struct group_core *c, struct group *g)
{
    if (g->classic->state == CLASSIC_PREPARING_REBALANCE)
        classic_group_maybe_complete(c, g);
    else
        classic_group_prepare_rebalance(c, g);
}

/* ---- time ---- */

/* The initial delay is over: another one if members came during it and the rebalance timeout leaves
 * room. */
static void initial_delay_over(struct group_core *c, struct group *g)
{
    struct classic_group *cg = g->classic;
    int64_t delay = c->args.settings->initial_rebalance_delay_ms;

    if (!cg->new_member_added || cg->initial_remaining_ms <= 0) {
        complete_join(c, g);
        return;
    }
    cg->new_member_added = false;
    if (delay > cg->initial_remaining_ms)
        delay = cg->initial_remaining_ms;
    cg->initial_remaining_ms -= cg->initial_delay_ms;
    if (cg->initial_remaining_ms < 0)
        cg->initial_remaining_ms = 0;
    cg->initial_delay_ms = delay;
    wait_for_joins(c, g, delay);
}

static void join_time_up(struct group_core *c, struct group *g)
{
    struct classic_group *cg = g->classic;

    cg->join_deadline_ms = INT64_MAX;
    if (cg->initial_delay_ms > 0)
        initial_delay_over(c, g);
    else
        complete_join(c, g);
}

static void sync_time_up(struct group_core *c, struct group *g)
{
    struct classic_group *cg = g->classic;
    struct classic_member *m, *next;

    cg->sync_deadline_ms = INT64_MAX;
    HASH_ITER(hh, cg->members, m, next)
    if (m->pending_sync)
        classic_group_remove(g, m);
    classic_group_prepare_rebalance(c, g);
}

/* Members are out whose session ended. */
static bool drop_silent_members(struct group_core *c, struct group *g)
{
    struct classic_group *cg = g->classic;
    struct classic_member *m, *next;
    bool dropped = false;

    HASH_ITER(hh, cg->members, m, next)
    {
        if (m->deadline_ms > c->now_ms)
            continue;
        /* Who waits for us cannot send heartbeats; its session starts again with the answer. A new
         * member's request may come from a connection long gone, so it does not wait for ever. */
        if (!m->is_new && (m->joining || m->syncing)) {
            m->deadline_ms = INT64_MAX;
            continue;
        }
        classic_group_dismiss(c, g, m);
        dropped = true;
    }
    return dropped;
}

static bool drop_silent_pending(struct group_core *c, struct classic_group *cg)
{
    struct classic_pending *p, *next;
    bool dropped = false;

    HASH_ITER(hh, cg->pending, p, next)
    {
        if (p->deadline_ms > c->now_ms)
            continue;
        classic_group_remove_pending(cg, p);
        dropped = true;
    }
    return dropped;
}

static int64_t earliest(const struct classic_group *cg)
{
    int64_t at =
        cg->join_deadline_ms < cg->sync_deadline_ms ? cg->join_deadline_ms : cg->sync_deadline_ms;

    for (const struct classic_member *m = cg->members; m; m = m->hh.next)
        if (m->deadline_ms < at)
            at = m->deadline_ms;
    for (const struct classic_pending *p = cg->pending; p; p = p->hh.next)
        if (p->deadline_ms < at)
            at = p->deadline_ms;
    return at;
}

void classic_group_tick(struct group_core *c, struct group *g)
{
    struct classic_group *cg = g->classic;
    bool member_dropped = drop_silent_members(c, g);
    bool pending_dropped = drop_silent_pending(c, cg);

    if (member_dropped &&
        (cg->state == CLASSIC_STABLE || cg->state == CLASSIC_COMPLETING_REBALANCE))
        classic_group_prepare_rebalance(c, g);
    else if ((member_dropped || pending_dropped) && cg->state == CLASSIC_PREPARING_REBALANCE &&
             all_joined(cg))
        complete_join(c, g);
    if (cg->join_deadline_ms <= c->now_ms)
        join_time_up(c, g);
    if (cg->sync_deadline_ms <= c->now_ms)
        sync_time_up(c, g);
    group_set_deadline(c, g, earliest(cg));
}

/* ---- loading ---- */

static bool load_member(struct group_core *c, struct group *g, const struct group_metadata_value *v,
                        const struct group_metadata_value_member_metadata *m)
{
    struct group_protocol protocol = {v->protocol, m->subscription};

    return classic_group_add(c, g, v->protocol_type,
                             &(struct classic_member_args){
                                 .id = m->member_id,
                                 .instance_id = m->group_instance_id,
                                 .client_id = m->client_id,
                                 .client_host = m->client_host,
                                 .protocols = &protocol,
                                 .protocol_count = 1,
                                 .assignment = m->assignment,
                                 .session_timeout_ms = m->session_timeout,
                                 .rebalance_timeout_ms = m->rebalance_timeout == -1
                                                             ? m->session_timeout
                                                             : m->rebalance_timeout,
                             }) != NULL;
}

static enum kerr load_members(struct group_core *c, struct group *g,
                              const struct group_metadata_value *v)
{
    struct classic_group *cg = g->classic;

    for (size_t i = 0; i < v->members_count; i++) {
        const struct group_metadata_value_member_metadata *m = &v->members[i];

        if (classic_group_member(cg, m->member_id))
            return KERR_CORRUPT_MESSAGE;
        if (m->group_instance_id.data && classic_group_static_member(cg, m->group_instance_id))
            return KERR_CORRUPT_MESSAGE;
        if (!load_member(c, g, v, m))
            return KERR_UNKNOWN_SERVER_ERROR;
    }
    return KERR_NONE;
}

static enum kerr load_value(struct group_core *c, struct group *g,
                            const struct group_metadata_value *v)
{
    struct classic_group *cg = g->classic;
    enum kerr code = load_members(c, g, v);

    if (code)
        return code;
    if (!cg->members && v->protocol_type.size &&
        !group_keep_str(c, &cg->protocol_type, v->protocol_type))
        return KERR_UNKNOWN_SERVER_ERROR;
    cg->generation = v->generation;
    cg->state = cg->previous = cg->members ? CLASSIC_STABLE : CLASSIC_EMPTY;
    cg->state_wall_ms = v->current_state_timestamp;
    if (cg->members && v->leader.data && classic_group_member(cg, v->leader))
        cg->leader = classic_group_member(cg, v->leader);
    classic_group_set_protocol(c, cg, v->protocol);
    return KERR_NONE;
}

enum kerr classic_group_load_record(struct group_core *c, struct group *g,
                                    const struct group_record *r)
{
    const struct group_metadata_value *v = &r->value.group_metadata;
    struct classic_group *cg;
    enum kerr code;

    if (r->tombstone)
        return KERR_NONE;
    if (g->type != GROUP_UNLOADED || v->generation < 0 ||
        (v->members_count && (!v->protocol.data || !v->protocol_type.size)))
        return KERR_CORRUPT_MESSAGE;
    cg = classic_group_create(c);
    if (!cg)
        return KERR_UNKNOWN_SERVER_ERROR;
    group_become(c, g, GROUP_CLASSIC, cg);
    code = load_value(c, g, v);
    if (code)
        group_become(c, g, GROUP_UNLOADED, NULL);
    return code;
}

void classic_group_loaded(struct group_core *c, struct group *g)
{
    for (struct classic_member *m = g->classic->members; m; m = m->hh.next)
        classic_member_heard(c, g, m);
    if (HASH_COUNT(g->classic->members) > (size_t)c->args.settings->max_size)
        classic_group_prepare_rebalance(c, g); /* the limit was lowered: not all can rejoin */
}
