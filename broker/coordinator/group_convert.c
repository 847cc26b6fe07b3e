/* Where the two protocols meet (group.consumer.migration.policy).
 *
 *   classic group   --a member of the new protocol joins-->   consumer group; the others stay
 *   consumer group  --its last member of the new one goes-->  classic group
 *
 * In between classic members get from a consumer group what they expect of a classic one: their
 * JoinGroup is a subscription, the generation is their member epoch, SyncGroup hands out what they
 * have been assigned, and REBALANCE_IN_PROGRESS at a heartbeat sends them round once more. Nobody
 * ever waits inside. */

#include <stdlib.h>

#include "broker/coordinator/group_classic.h"
#include "broker/coordinator/group_embedded.h"

/* ---- JoinGroup ---- */

static void refuse_join(struct group_core *c, struct group_caller *who, struct str id,
                        enum kerr code)
{
    who->join.member_id = group_answer_str(who, id);
    group_answer(c, who, code);
}

/* A protocol of who joins, and how many of the members offer it. */
struct offered {
    struct str name;
    size_t count;
    const struct consumer_member *counted; /* the last one that was */
};

static int by_name(const void *a, const void *b)
{
    return str_compare(((const struct offered *)a)->name, ((const struct offered *)b)->name);
}

/* One of the protocols is offered by all classic members that are there. Members may offer very
 * many, so they are not compared one by one. */
static bool supports(struct group_core *c, const struct consumer_group *cg,
                     const struct group_join *r)
{
    struct offered *all;

    if (!str_equal(r->protocol_type, CONSUMER_PROTOCOL) || r->protocol_count == 0)
        return false;
    all = group_fx_array(c, r->protocol_count, sizeof *all);
    for (size_t i = 0; all && i < r->protocol_count; i++)
        all[i].name = r->protocols[i].name;
    if (all)
        qsort(all, r->protocol_count, sizeof *all, by_name);
    for (const struct consumer_member *m = cg->members; all && m; m = m->hh.next)
        for (size_t k = 0; k < m->fields.protocol_count; k++) {
            struct offered key = {.name = m->fields.protocols[k].name};
            struct offered *o = bsearch(&key, all, r->protocol_count, sizeof key, by_name);

            if (o && o->counted != m)
                o->count++;
            if (o)
                o->counted = m;
        }
    for (size_t i = 0; all && i < r->protocol_count; i++)
        if (all[i].count == cg->classic_count)
            return true;
    return false;
}

static size_t join_bytes(const struct group_caller *who, const struct group_join *r)
{
    size_t bytes =
        r->member_id.size + r->instance_id.size + who->client_id.size + who->client_host.size;

    for (size_t i = 0; i < r->protocol_count; i++)
        bytes += r->protocols[i].name.size +
                 2 * r->protocols[i].metadata.size; /* its topics once more */
    return bytes;
}

static enum kerr check_static_join(const struct consumer_group *cg, const struct group_join *r)
{
    const struct consumer_member *m;

    if (!r->instance_id.data || !r->member_id.size)
        return KERR_NONE;
    m = consumer_static_member(cg, r->instance_id);
    if (!m)
        return KERR_UNKNOWN_MEMBER_ID;
    return str_equal(m->id, r->member_id) ? KERR_NONE : KERR_FENCED_INSTANCE_ID;
}

static enum kerr check_join(struct group_core *c, const struct consumer_group *cg,
                            const struct group_caller *who, const struct group_join *r,
                            struct consumer_protocol_subscription *subscription)
{
    const struct group_settings *s = c->args.settings;
    bool is_new = !(r->instance_id.data && consumer_static_member(cg, r->instance_id)) &&
                  !(r->member_id.size && consumer_member_find(cg, r->member_id));

    if (!s->upgrade && !s->downgrade)
        return KERR_INCONSISTENT_GROUP_PROTOCOL;
    if (is_new && (consumer_group_size(cg) >= (size_t)s->consumer_max_size ||
                   cg->bytes + join_bytes(who, r) > CONSUMER_GROUP_BYTES_MAX))
        return KERR_GROUP_MAX_SIZE_REACHED;
    if (!supports(c, cg, r))
        return KERR_INCONSISTENT_GROUP_PROTOCOL;
    if (join_bytes(who, r) > CONSUMER_MEMBER_BYTES_MAX)
        return KERR_INVALID_REQUEST;
    if (!r->member_id.size && !r->instance_id.data && r->require_known_member_id)
        return KERR_MEMBER_ID_REQUIRED;
    if (!embedded_subscription(c, r->protocols[0].metadata, subscription))
        return KERR_INCONSISTENT_GROUP_PROTOCOL;
    return check_static_join(cg, r);
}

static struct member_fields join_fields(struct group_core *c, const struct group_caller *who,
                                        const struct group_join *r,
                                        const struct consumer_protocol_subscription *s,
                                        const struct consumer_member *m)
{
    struct member_fields f = m ? m->fields : (struct member_fields){.rebalance_timeout_ms = -1};

    if (r->instance_id.data)
        f.instance_id = r->instance_id;
    if (s->rack_id.size)
        f.rack_id = s->rack_id;
    if (r->rebalance_timeout_ms != -1)
        f.rebalance_timeout_ms = r->rebalance_timeout_ms;
    f.topics = consumer_sort_topics(c, s->topics, s->topics_count, &f.topic_count);
    f.regex = STR("");
    f.client_id = who->client_id.data ? who->client_id : STR("");
    f.client_host = who->client_host.data ? who->client_host : STR("");
    f.classic = true;
    f.session_timeout_ms = r->session_timeout_ms;
    f.protocols = r->protocols;
    f.protocol_count = r->protocol_count;
    return f;
}

static void answer_join(struct group_core *c, struct group *g, struct group_caller *who,
                        const struct group_join *r, struct consumer_member *m)
{
    m->join_deadline_ms = INT64_MAX;
    m->sync_deadline_ms = c->now_ms + (r->rebalance_timeout_ms > 0 ? r->rebalance_timeout_ms : 0);
    group_due_at(c, g, m->sync_deadline_ms);
    consumer_member_heard(c, g, m, r->session_timeout_ms);
    who->join.generation = m->epoch;
    who->join.protocol_type = CONSUMER_PROTOCOL;
    who->join.protocol = group_answer_str(who, m->fields.protocols[0].name);
    who->join.member_id = group_answer_str(who, m->id);
    group_answer(c, who, KERR_NONE);
}

/* False: out of memory, and not answered. */
static bool joined(struct group_core *c, struct group *g, struct group_caller *who,
                   const struct group_join *r,
                   const struct consumer_protocol_subscription *subscription)
{
    struct consumer_member *m =
        r->instance_id.data ? consumer_static_member(g->consumer, r->instance_id) : NULL;
    struct group_join again = *r;
    struct subscription_change change;
    struct held_set owned;
    struct member_fields f;
    bool replaces = m && !str_equal(m->id, r->member_id);
    bool merged = replaces && consumer_member_find(g->consumer, r->member_id);

    again.member_id = group_fx_str(c, r->member_id);
    if (replaces)
        m = consumer_member_replace(c, g, m, r->member_id);
    else if (!m)
        m = consumer_member_find(g->consumer, r->member_id);
    f = join_fields(c, who, r, subscription, m);
    if (c->failed || !embedded_owned_set(c, subscription, &owned))
        return false;
    change = consumer_member_update(c, g, r->member_id, &f);
    m = consumer_member_find(g->consumer, r->member_id);
    if (c->failed || !m)
        return false;
    consumer_group_refresh_regexes(c, g);
    consumer_group_update_epoch(c, g, change.topics || change.regex || change.assignor || merged);
    if (replaces &&
        convert_to_classic(c, g, NULL, 0, g->consumer->assignment_epoch < g->consumer->epoch)) {
        /* It took the place of the last member of the new protocol. */
        classic_group_join(c, g, who, &again);
        return true;
    }
    consumer_group_assign(c, g);
    consumer_member_reconcile(c, g, m, &owned, change.topics || change.regex);
    if (c->failed)
        return false;
    answer_join(c, g, who, r, m);
    return true;
}

void convert_classic_join(struct group_core *c, struct group *g, struct group_caller *who,
                          const struct group_join *r)
{
    struct consumer_protocol_subscription subscription;
    struct group_join with_id = *r;
    char made_up[UUID_TEXT_CHARS + 1];
    enum kerr code = check_join(c, g->consumer, who, r, &subscription);

    if (!r->member_id.size) {
        uuid_format(group_random_uuid(c), made_up);
        with_id.member_id = (struct str){made_up, UUID_TEXT_CHARS};
    }
    if (code) {
        refuse_join(c, who, code == KERR_MEMBER_ID_REQUIRED ? with_id.member_id : r->member_id,
                    code);
        return;
    }
    if (!joined(c, g, who, &with_id, &subscription))
        refuse_join(c, who, r->member_id, KERR_COORDINATOR_NOT_AVAILABLE);
}

/* ---- SyncGroup, Heartbeat ---- */

/* The classic member that a request is of, or why not. */
static enum kerr find_classic(const struct consumer_group *cg, struct str id,
                              struct str instance_id, int32_t generation,
                              struct consumer_member **out)
{
    struct consumer_member *m =
        instance_id.data ? consumer_static_member(cg, instance_id) : consumer_member_find(cg, id);

    *out = m;
    if (!m)
        return KERR_UNKNOWN_MEMBER_ID;
    if (!str_equal(m->id, id))
        return KERR_FENCED_INSTANCE_ID;
    if (!m->fields.classic || !m->fields.protocol_count)
        return KERR_UNKNOWN_MEMBER_ID;
    return m->epoch == generation ? KERR_NONE : KERR_ILLEGAL_GENERATION;
}

/* It was told to join again; it has so long for that. */
static void await_join(struct group_core *c, struct group *g, struct consumer_member *m)
{
    if (m->join_deadline_ms != INT64_MAX)
        return;
    m->join_deadline_ms =
        c->now_ms + (m->fields.rebalance_timeout_ms > 0 ? m->fields.rebalance_timeout_ms : 0);
    group_due_at(c, g, m->join_deadline_ms);
}

static enum kerr check_sync(struct group_core *c, struct group *g, const struct group_sync *r,
                            struct consumer_member **out)
{
    enum kerr code = find_classic(g->consumer, r->member_id, r->instance_id, r->generation, out);
    struct consumer_member *m = *out;

    if (code)
        return code;
    if ((r->protocol_type.data && !str_equal(r->protocol_type, CONSUMER_PROTOCOL)) ||
        (r->protocol.data && !str_equal(r->protocol, m->fields.protocols[0].name)))
        return KERR_INCONSISTENT_GROUP_PROTOCOL;
    if (g->consumer->assignment_epoch > m->epoch && m->state != MEMBER_UNREVOKED) {
        await_join(c, g, m);
        return KERR_REBALANCE_IN_PROGRESS;
    }
    return KERR_NONE;
}

void convert_classic_sync(struct group_core *c, struct group *g, struct group_caller *who,
                          const struct group_sync *r)
{
    struct consumer_member *m;
    enum kerr code = check_sync(c, g, r, &m);

    if (!code) {
        m->sync_deadline_ms = INT64_MAX;
        consumer_member_heard(c, g, m, m->fields.session_timeout_ms);
        who->sync = (struct group_sync_answer){
            .protocol_type = group_answer_str(who, r->protocol_type),
            .protocol = group_answer_str(who, r->protocol),
            .assignment = group_answer_bytes(
                who, embedded_write_assignment(c, &m->assigned, m->fields.protocols[0].metadata)),
        };
    }
    group_answer(c, who, code);
}

/* Partitions of its target are somebody else's still. */
static bool waits_for_others(const struct consumer_group *cg, const struct consumer_member *m)
{
    for (size_t i = 0; i < m->target.count; i++) {
        const struct held *h = &m->target.items[i];

        if (!held_find(&m->assigned, h->topic, h->partition) &&
            consumer_owner(cg, h->topic, h->partition))
            return true;
    }
    return false;
}

void convert_classic_heartbeat(struct group_core *c, struct group *g, struct group_caller *who,
                               const struct group_heartbeat *r)
{
    struct consumer_member *m;
    enum kerr code = find_classic(g->consumer, r->member_id, r->instance_id, r->generation, &m);

    if (!code) {
        consumer_member_heard(c, g, m, m->fields.session_timeout_ms);
        /* Kafka leaves this to joins and to members of the new protocol; but there may be none for
         * a long while. */
        consumer_group_update_epoch(c, g, false);
        consumer_group_assign(c, g);
        if (m->epoch < g->consumer->assignment_epoch || m->state == MEMBER_UNREVOKED ||
            (m->state == MEMBER_UNRELEASED && !waits_for_others(g->consumer, m))) {
            await_join(c, g, m);
            code = KERR_REBALANCE_IN_PROGRESS;
        }
    }
    group_answer(c, who, code);
}

/* ---- LeaveGroup ---- */

static enum kerr check_leave(const struct consumer_group *cg, const struct group_leave_member *l,
                             struct str *id)
{
    const struct consumer_member *m = l->instance_id.data
                                          ? consumer_static_member(cg, l->instance_id)
                                          : consumer_member_find(cg, l->member_id);

    if (!m)
        return KERR_UNKNOWN_MEMBER_ID;
    if (l->instance_id.data && l->member_id.size && !str_equal(m->id, l->member_id))
        return KERR_FENCED_INSTANCE_ID;
    *id = m->id;
    return KERR_NONE;
}

void convert_classic_leave(struct group_core *c, struct group *g, struct group_caller *who,
                           const struct group_leave *r)
{
    struct group_leave_member *out = group_answer_array(who, r->member_count, sizeof *out);
    struct str *ids = group_fx_array(c, r->member_count, sizeof *ids);
    size_t count = 0;

    for (size_t i = 0; out && ids && i < r->member_count; i++) {
        struct str id;
        enum kerr code = check_leave(g->consumer, &r->members[i], &id);

        if (!code)
            ids[count++] = group_fx_str(c, id);
        out[i] = (struct group_leave_member){
            .member_id = group_answer_str(who, r->members[i].member_id),
            .instance_id = group_answer_str(who, r->members[i].instance_id),
            .code = code};
    }
    if (count)
        consumer_members_leave(c, g, ids, consumer_names_sort(ids, count));
    who->leave = (struct group_leave_answer){out, out ? r->member_count : 0};
    group_answer(c, who, r->single && out && r->member_count ? out[0].code : KERR_NONE);
}
