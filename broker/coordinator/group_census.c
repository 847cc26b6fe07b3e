#include "broker/coordinator/group_census.h"

#include "broker/coordinator/coordinator_internal.h"
#include "broker/request.h"
#include "broker/shard.h"

/* One shard's part: its coordinators are asked in the order of their partitions, so that those that
 * come or go meanwhile do no harm. */
struct group_census_work {
    struct task task;
    struct job job;
    struct group_census *census;
    struct group_census_part *part;
    struct shard *owner;
    struct arena *arena;
    enum kerr code;
    struct group_census_page *last;
    size_t count;
    /* the coordinator that is being asked */
    struct coordinator_key at;
    struct state_store *store;
    uint64_t generation; /* of the store, as the coordinator knew it */
    struct state_position position;
    struct group_listed stored[GROUP_CENSUS_PAGE];
    size_t stored_count;
    struct status result;
};

static void work_ask(struct group_census_work *w);

/* ---- what is found ---- */

static bool keep_str(struct arena *a, struct str *s)
{
    s->data = arena_strdup(a, *s);
    return s->data != NULL;
}

static bool add(struct group_census_work *w, const struct group_listed *g, bool copy)
{
    struct group_listed *out;

    if (!w->census->wants(w->census, g))
        return true;
    if (!w->last || w->last->count == GROUP_CENSUS_PAGE) {
        struct group_census_page *page = arena_array(w->arena, struct group_census_page, 1);

        if (!page)
            return false;
        if (w->last)
            w->last->next = page;
        else
            w->part->pages = page;
        w->last = page;
    }
    out = &w->last->groups[w->last->count];
    *out = *g;
    if (copy && (!keep_str(w->arena, &out->group) || !keep_str(w->arena, &out->protocol_type) ||
                 !keep_str(w->arena, &out->state) || !keep_str(w->arena, &out->type)))
        return false;
    w->last->count++;
    w->count++;
    return true;
}

static bool visit_loaded(void *arg, const struct group_listed *g)
{
    struct group_census_work *w = arg;

    if (add(w, g, true))
        return true;
    w->code = KERR_INVALID_REQUEST; /* more groups than an answer may name */
    return false;
}

/* ---- home again ---- */

static void work_returned(struct task *t)
{
    struct group_census_work *w = (struct group_census_work *)t;
    struct group_census *c = w->census;

    if (w->code != KERR_NONE)
        c->code = w->code;
    c->count += w->count;
    if (--c->away == 0)
        c->finished(c);
}

static void work_return(struct group_census_work *w)
{
    w->owner->coordinators->listings--;
    state_position_free(&w->position);
    w->task.run = work_returned;
    loop_post(w->census->rq->shard->loop, &w->task);
}

/* ---- asking one coordinator ---- */

static struct coordinator *work_coordinator(const struct group_census_work *w)
{
    struct coordinator *c;

    HASH_FIND(hh, w->owner->coordinators->all, &w->at, sizeof w->at, c);
    return c && c->state == COORDINATOR_ACTIVE ? c : NULL;
}

static void work_store_run(struct job *j)
{
    struct group_census_work *w = CONTAINER_OF(j, struct group_census_work, job);

    w->result = coordinator_store_list(w->store, w->at.index, &w->position, w->arena, w->stored,
                                       GROUP_CENSUS_PAGE, &w->stored_count);
}

/* The page of stored groups is here: those that are in memory are told by the core. */
static void work_take_page(struct group_census_work *w, const struct coordinator *c)
{
    for (size_t i = 0; i < w->stored_count && w->code == KERR_NONE; i++)
        if (group_core_find(c->core, w->stored[i].group) == GROUP_UNLOADED &&
            !add(w, &w->stored[i], false))
            w->code = KERR_INVALID_REQUEST;
}

static void work_read_store(struct group_census_work *w);

static void work_store_done(struct task *t)
{
    struct group_census_work *w = CONTAINER_OF(t, struct group_census_work, job.done);
    struct coordinators *all = w->owner->coordinators;
    const struct coordinator *c = work_coordinator(w);

    if (!c || state_store_generation(w->store) != w->generation) {
        w->code = KERR_COORDINATOR_LOAD_IN_PROGRESS; /* it was there a moment ago */
    } else if (status_failed(w->result)) {
        w->code = w->result.code == KERR_INVALID_REQUEST ? KERR_INVALID_REQUEST
                                                         : KERR_COORDINATOR_NOT_AVAILABLE;
        if (w->result.code == KERR_KAFKA_STORAGE_ERROR)
            coordinators_store_failed(all);
    } else {
        work_take_page(w, c);
    }
    if (w->code != KERR_NONE) {
        work_return(w);
    } else if (!w->position.done) {
        work_read_store(w);
    } else {
        group_core_list(c->core, visit_loaded, w);
        w->at.index++;
        work_ask(w);
    }
    coordinators_job_ended(all);
}

static void work_read_store(struct group_census_work *w)
{
    w->job = (struct job){
        .home = w->owner->loop, .run = work_store_run, .done = {.run = work_store_done}};
    coordinators_job_started(w->owner->coordinators);
    pool_submit(w->owner->node->env.pool, &w->job);
}

/* ---- one after the other ---- */

/* The coordinator of the least partition that is not below `index`; those that follow are no
 * business of ours. */
static const struct coordinator *next_coordinator(const struct coordinators *all, int32_t index)
{
    const struct coordinator *c, *found = NULL;

    for (c = all->all; c; c = c->hh.next)
        if (c->id.index >= index && c->state != COORDINATOR_FOLLOWING &&
            (!found || c->id.index < found->id.index))
            found = c;
    return found;
}

static void work_ask(struct group_census_work *w)
{
    struct coordinators *all = w->owner->coordinators;
    const struct coordinator *c = w->code == KERR_NONE ? next_coordinator(all, w->at.index) : NULL;

    if (c && c->state == COORDINATOR_LOADING)
        w->code = KERR_COORDINATOR_LOAD_IN_PROGRESS;
    if (!c || w->code != KERR_NONE) {
        work_return(w);
        return;
    }
    w->at = c->id;
    w->store = all->store;
    w->generation = all->generation;
    state_position_free(&w->position);
    w->position = (struct state_position){0};
    work_read_store(w);
}

static void work_run(struct task *t)
{
    struct group_census_work *w = (struct group_census_work *)t;

    w->owner->coordinators->listings++;
    work_ask(w);
}

bool group_census_start(struct group_census *c)
{
    struct node *node = c->rq->shard->node;
    struct group_census_work *work =
        arena_array(&c->rq->arena, struct group_census_work, node->shard_count);

    c->parts = arena_array(&c->rq->arena, struct group_census_part, node->shard_count);
    c->part_count = node->shard_count;
    if (!work || !c->parts || !request_split_arena(c->rq, node->shard_count))
        return false;
    c->away = node->shard_count;
    for (size_t i = 0; i < node->shard_count; i++) {
        struct group_census_work *w = &work[i];

        w->census = c;
        w->part = &c->parts[i];
        w->owner = node->shards[i];
        w->arena = &c->rq->part_arenas[i];
        w->task.run = work_run;
        loop_post(w->owner->loop, &w->task);
    }
    return true;
}
