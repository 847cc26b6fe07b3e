/* What must hold of a core after every step, seen from inside. */
#include "broker/coordinator/group_classic.h"
#include "tests/unit/broker/coordinator/group_world.h"

#include <string.h>

static void must(const struct group_world *w, bool holds, const char *what)
{
    if (!holds)
        world_fail(w, what);
}

static void check_heap(const struct group_world *w)
{
    const struct group_core *c = w->core;
    size_t in_heap = 0;

    for (const struct group *g = c->groups; g; g = g->hh.next) {
        must(w, (g->heap_index == GROUP_NOT_IN_HEAP) == (g->deadline_ms == INT64_MAX),
             "a deadline without a place");
        if (g->heap_index == GROUP_NOT_IN_HEAP)
            continue;
        must(w, g->heap_index < c->heap_count && c->heap[g->heap_index] == g,
             "a group is not where it says");
        must(w,
             g->heap_index == 0 || c->heap[(g->heap_index - 1) / 2]->deadline_ms <= g->deadline_ms,
             "heap order");
        in_heap++;
    }
    must(w, in_heap == c->heap_count, "somebody else is in the heap");
}

static void check_support(const struct group_world *w, const struct classic_group *cg)
{
    for (const struct classic_support *s = cg->support; s; s = s->hh.next) {
        size_t count = 0;

        for (const struct classic_member *m = cg->members; m; m = m->hh.next) {
            bool offers = false;

            for (size_t i = 0; i < m->protocol_count; i++)
                offers |= str_compare(m->protocols[i].name, s->name) == 0;
            count += offers;
        }
        must(w, count > 0 && count == s->count, "votes are counted wrongly");
    }
}

static void check_member(const struct group_world *w, const struct group *g,
                         const struct classic_member *m)
{
    const struct classic_group *cg = g->classic;

    must(w, classic_group_member(cg, m->id) == m, "a member is not found by its id");
    if (m->instance_id.data)
        must(w, classic_group_static_member(cg, m->instance_id) == m,
             "a static member is not found by its instance");
    must(w, !classic_group_find_pending(cg, m->id), "a member's id is pending");
    must(w, !m->joining || cg->state == CLASSIC_PREPARING_REBALANCE,
         "a member joins and nobody prepares");
    must(w, !m->syncing || cg->state == CLASSIC_COMPLETING_REBALANCE,
         "a member waits for an assignment that nobody makes");
    must(w, !(m->syncing && m->pending_sync), "a member has synced and has not");
    must(w, m->deadline_ms != INT64_MAX || m->joining || m->syncing, "a member without a session");
    must(w, m->deadline_ms >= g->deadline_ms, "a session ends unnoticed");
    if (cg->state == CLASSIC_STABLE)
        must(w, m->assignment.data, "a member of a stable group has no assignment");
}

/* Everybody who waits inside, in both senses. */
static size_t check_classic(const struct group_world *w, const struct group *g)
{
    const struct classic_group *cg = g->classic;
    size_t joining = 0, syncing = 0, pending_sync = 0, statics = 0;
    bool leader = false;

    for (const struct classic_member *m = cg->members; m; m = m->hh.next) {
        check_member(w, g, m);
        joining += m->joining != NULL;
        syncing += m->syncing != NULL;
        pending_sync += m->pending_sync;
        statics += m->instance_id.data != NULL;
        leader |= m == cg->leader;
    }
    must(w, joining == cg->joining_count, "joining_count");
    must(w, pending_sync == cg->pending_sync_count, "pending_sync_count");
    must(w, statics == HASH_CNT(by_instance, cg->statics), "static members");
    must(w, leader == (cg->members != NULL), "no leader, or a stranger leads");
    must(w, !(cg->state == CLASSIC_EMPTY && cg->members), "an empty group has members");
    must(w, cg->members || cg->state == CLASSIC_EMPTY || cg->state == CLASSIC_PREPARING_REBALANCE,
         "nobody is in a group with members");
    must(w, (cg->state == CLASSIC_PREPARING_REBALANCE) == (cg->join_deadline_ms != INT64_MAX),
         "a rebalance without an end");
    must(w, (pending_sync != 0) == (cg->sync_deadline_ms != INT64_MAX),
         "somebody is awaited for ever, or nobody is awaited");
    must(w, cg->join_deadline_ms >= g->deadline_ms && cg->sync_deadline_ms >= g->deadline_ms,
         "time that is up unnoticed");
    must(w, joining + syncing == 0 || joining == 0 || syncing == 0, "two phases at once");
    if (cg->state == CLASSIC_COMPLETING_REBALANCE || cg->state == CLASSIC_STABLE)
        must(w, cg->protocol.data && cg->generation > 0, "a generation without a protocol");
    check_support(w, cg);
    return joining + syncing;
}

static void check_generation(struct group_world *w, const struct group *g)
{
    struct world_state *s = world_state_of(w, g->id);

    must(w, g->classic->generation >= s->generation, "a generation went back");
    s->generation = g->classic->generation;
}

void world_check(struct group_world *w)
{
    size_t waiting = 0, unanswered = 0;

    check_heap(w);
    for (const struct group *g = w->core->groups; g; g = g->hh.next) {
        if (g->type != GROUP_CLASSIC)
            continue;
        waiting += check_classic(w, g);
        if (g->loaded)
            check_generation(w, g);
    }
    if (w->check_more)
        waiting += w->check_more(w);
    for (const struct world_call *call = w->calls; call; call = call->next)
        unanswered += !call->answered;
    must(w, waiting == unanswered, "callers were forgotten, or wait twice");
}

/* ---- what a core that loads the records knows ---- */

static bool same_bytes(struct bytes a, struct bytes b)
{
    return a.size == b.size && (!a.size || memcmp(a.data, b.data, a.size) == 0);
}

static void same_members(const struct group_world *w, const struct classic_group *live,
                         const struct classic_group *loaded)
{
    must(w, HASH_COUNT(live->members) == HASH_COUNT(loaded->members), "reload: other members");
    for (const struct classic_member *m = live->members; m; m = m->hh.next) {
        const struct classic_member *l = classic_group_member(loaded, m->id);

        must(w, l, "reload: a member is missing");
        must(w,
             str_equal(m->instance_id, l->instance_id) && str_equal(m->client_id, l->client_id) &&
                 str_equal(m->client_host, l->client_host),
             "reload: a member is somebody else");
        must(w,
             m->session_timeout_ms == l->session_timeout_ms &&
                 m->rebalance_timeout_ms == l->rebalance_timeout_ms,
             "reload: a member has other timeouts");
        must(w, same_bytes(m->assignment, l->assignment),
             "reload: a member has another assignment");
        must(w,
             same_bytes(classic_member_metadata(m, live->protocol),
                        classic_member_metadata(l, live->protocol)),
             "reload: a member subscribes something else");
    }
    must(w, !live->members || str_equal(live->leader->id, loaded->leader->id),
         "reload: another leads");
}

static void same_group(const struct group_world *w, const struct classic_group *live,
                       const struct classic_group *loaded)
{
    /* While members join or sync the log has the generation before, if it has any. */
    must(w, loaded->generation <= live->generation, "reload: a later generation");
    if (live->state == CLASSIC_PREPARING_REBALANCE || live->state == CLASSIC_COMPLETING_REBALANCE)
        return;
    must(w, live->state == loaded->state, "reload: another state");
    must(w, live->generation == loaded->generation, "reload: another generation");
    must(w, str_equal(live->protocol_type, loaded->protocol_type), "reload: another type");
    must(w, str_equal(live->protocol, loaded->protocol), "reload: another protocol");
    must(w, live->state_wall_ms == loaded->state_wall_ms, "reload: another time");
    must(w, live->topic_count == loaded->topic_count, "reload: other topics");
    for (size_t i = 0; i < live->topic_count; i++)
        must(w, str_equal(live->topics[i], loaded->topics[i]), "reload: another topic");
    same_members(w, live, loaded);
}

void world_check_reload(struct group_world *w, const char *group)
{
    const struct group *live = group_find(w->core, str_from(group)), *loaded;
    struct group_core *core;

    if (!live || !live->loaded)
        return;
    core = world_reload(w, group);
    loaded = group_find(core, str_from(group));
    /* A group that had only offsets is not written before it has its first members. */
    must(w,
         loaded->type == live->type ||
             (live->type == GROUP_CLASSIC &&
              (live->classic->state != CLASSIC_STABLE || !live->classic->generation)),
         "reload: another type of group");
    must(w, !loaded->has_offsets || live->has_offsets, "reload: offsets that nobody knows of");
    if (loaded->type == GROUP_CLASSIC && live->type == GROUP_CLASSIC)
        same_group(w, live->classic, loaded->classic);
    if (loaded->type == GROUP_CONSUMER && live->type == GROUP_CONSUMER && w->check_reload_more)
        w->check_reload_more(w, live, loaded);
    group_core_free(core);
}
