/* DescribeGroups, DeleteGroups, ListGroups: groups as administrators see them. */

#include <stdlib.h>
#include <strings.h>

#include "broker/coordinator/group_census.h"
#include "broker/coordinator/group_scatter.h"
#include "broker/dispatch.h"
#include "broker/handlers/group_common.h"
#include "broker/handlers/operations.h"
#include "broker/request.h"
#include "protocol/messages/delete_groups.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/list_groups.h"

/* ---- DescribeGroups ---- */

static void describe_run(struct group_entry *e, struct group_core *core, int64_t now_ms,
                         const struct offset_list *offsets, struct group_effects *fx)
{
    (void)now_ms;
    (void)offsets;
    group_core_describe(core, &e->caller, e->group, fx);
}

static bool fill_members(struct describe_groups_response_described_group *out,
                         const struct group_describe_answer *a, struct arena *arena)
{
    out->members =
        arena_array(arena, struct describe_groups_response_described_group_member, a->member_count);
    if (!out->members)
        return false;
    out->members_count = a->member_count;
    for (size_t i = 0; i < a->member_count; i++)
        out->members[i] = (struct describe_groups_response_described_group_member){
            a->members[i].member_id,
            a->members[i].instance_id,
            group_or_empty(a->members[i].client_id),
            group_or_empty(a->members[i].client_host),
            group_bytes_or_empty(a->members[i].metadata),
            group_bytes_or_empty(a->members[i].assignment),
        };
    return true;
}

static bool fill_described(struct describe_groups_response_described_group *out,
                           const struct group_entry *e, struct request *rq)
{
    const struct describe_groups_request *m = rq->message;
    const struct group_describe_answer *a = &e->caller.describe;

    describe_groups_response_described_group_init(out);
    out->group_id = e->group;
    out->error_code = (int16_t)e->caller.code;
    if (e->caller.code == KERR_GROUP_ID_NOT_FOUND) {
        out->group_state = STR("Dead");
        if (rq->version < 6) /* which a client before KIP-1043 takes for an answer */
            out->error_code = KERR_NONE;
        else
            out->error_message = a->message;
    }
    if (rq->version >= 3 && m->include_authorized_operations && out->error_code == KERR_NONE)
        out->authorized_operations = OPERATIONS_OF_GROUP;
    if (e->caller.code != KERR_NONE)
        return true;
    out->group_state = a->state;
    out->protocol_type = group_or_empty(a->protocol_type);
    out->protocol_data = group_or_empty(a->protocol);
    return fill_members(out, a, &rq->arena);
}

static void describe_finished(struct group_scatter *g)
{
    struct request *rq = g->rq;
    const struct group_entry *entries = g->entries;
    struct describe_groups_response response;

    describe_groups_response_init(&response);
    response.groups =
        arena_array(&rq->arena, struct describe_groups_response_described_group, g->count);
    response.groups_count = g->count;
    for (size_t i = 0; response.groups && i < g->count; i++)
        if (!fill_described(&response.groups[i], &entries[i], rq))
            response.groups = NULL;
    if (response.groups)
        request_answer(rq, &response);
    else
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

void handle_describe_groups(struct request *rq)
{
    const struct describe_groups_request *m = rq->message;
    struct group_scatter *g = group_scatter_of_names(rq, m->groups, m->groups_count);

    if (g) {
        g->call = GROUP_DESCRIBE;
        g->run = describe_run;
        g->finished = describe_finished;
    }
    if (!g || !group_scatter_start(g))
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

/* ---- DeleteGroups ---- */

static void delete_run(struct group_entry *e, struct group_core *core, int64_t now_ms,
                       const struct offset_list *offsets, struct group_effects *fx)
{
    struct group_offset_name *names =
        arena_array(e->caller.arena, struct group_offset_name, offsets->count);

    (void)now_ms;
    if (!names) {
        e->caller.code = KERR_INVALID_REQUEST;
        group_entry_done(e);
        return;
    }
    for (size_t i = 0; i < offsets->count; i++)
        names[i] = offsets->offsets[i].name;
    group_core_delete(core, &e->caller, e->group, names, offsets->count, fx);
}

static void delete_finished(struct group_scatter *g)
{
    struct request *rq = g->rq;
    const struct group_entry *entries = g->entries;
    struct delete_groups_response response;

    delete_groups_response_init(&response);
    response.results =
        arena_array(&rq->arena, struct delete_groups_response_deletable_group_result, g->count);
    if (!response.results) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    response.results_count = g->count;
    for (size_t i = 0; i < g->count; i++)
        response.results[i] = (struct delete_groups_response_deletable_group_result){
            entries[i].group, (int16_t)entries[i].caller.code, STR_NULL};
    request_answer(rq, &response);
}

static int by_name(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

/* Each name once: a group is deleted once. */
static size_t distinct(struct str *names, size_t count)
{
    size_t kept = 0;

    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || !str_equal(names[i], names[kept - 1]))
            names[kept++] = names[i];
    return kept;
}

void handle_delete_groups(struct request *rq)
{
    struct delete_groups_request *m = rq->message;
    size_t count = distinct(m->groups_names, m->groups_names_count);
    struct group_scatter *g = group_scatter_of_names(rq, m->groups_names, count);

    if (g) {
        g->call = GROUP_DELETE;
        g->need = GROUP_NEED_OFFSETS;
        g->run = delete_run;
        g->finished = delete_finished;
    }
    if (!g || !group_scatter_start(g))
        request_refuse(rq, REQUEST_OVER_BUDGET);
}

/* ---- ListGroups ---- */

/* In any case, as in Kafka. */
static int by_name_in_any_case(const void *a, const void *b)
{
    const struct str *x = a, *y = b;

    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return strncasecmp(x->data, y->data, x->size);
}

static void sort_filter(struct str *filter, size_t count)
{
    if (count > 1)
        qsort(filter, count, sizeof *filter, by_name_in_any_case);
}

/* A sorted list; an empty one wants all. */
static bool wanted(const struct str *filter, size_t count, struct str name)
{
    return count == 0 || bsearch(&name, filter, count, sizeof *filter, by_name_in_any_case);
}

static bool list_wants(const struct group_census *c, const struct group_listed *g)
{
    const struct list_groups_request *m = c->rq->message;

    return wanted(m->states_filter, m->states_filter_count, g->state) &&
           wanted(m->types_filter, m->types_filter_count, g->type);
}

static void list_finished(struct group_census *c)
{
    struct request *rq = c->rq;
    struct list_groups_response response;
    struct list_groups_response_listed_group *out;

    list_groups_response_init(&response);
    response.error_code = (int16_t)c->code;
    response.groups = out = arena_array(&rq->arena, struct list_groups_response_listed_group,
                                        c->code == KERR_NONE ? c->count : 0);
    if (!out) {
        request_refuse(rq, REQUEST_OVER_BUDGET);
        return;
    }
    for (size_t i = 0; c->code == KERR_NONE && i < c->part_count; i++)
        for (const struct group_census_page *p = c->parts[i].pages; p; p = p->next)
            for (size_t j = 0; j < p->count; j++)
                *out++ = (struct list_groups_response_listed_group){
                    p->groups[j].group, p->groups[j].protocol_type, p->groups[j].state,
                    p->groups[j].type};
    response.groups_count = (size_t)(out - response.groups);
    request_answer(rq, &response);
}

void handle_list_groups(struct request *rq)
{
    struct group_census *c = arena_array(&rq->arena, struct group_census, 1);
    struct list_groups_request *m = rq->message;

    sort_filter(m->states_filter, m->states_filter_count);
    sort_filter(m->types_filter, m->types_filter_count);
    if (c) {
        c->rq = rq;
        c->wants = list_wants;
        c->finished = list_finished;
    }
    if (!c || !group_census_start(c))
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
