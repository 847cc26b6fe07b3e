#include "tools/trivet/reassign_plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"

/* How many replicas each broker of the layout has, as the plan goes on; by its place there. */
struct planner {
    const struct layout *layout;
    const struct reassign_wish *wish;
    struct arena *arena;
    size_t *loads;
    const char *why;
};

static bool refuse(struct planner *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool refuse(struct planner *p, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    p->why = arena_strdup(p->arena, str_from(text));
    if (!p->why)
        p->why = "out of memory";
    return false;
}

static bool same_ids(struct id_list a, struct id_list b)
{
    return a.count == b.count &&
           (a.count == 0 || memcmp(a.ids, b.ids, a.count * sizeof *a.ids) == 0);
}

/* How many of the replicas are in the broker's zone. No zone is a zone as well, as in placement. */
static size_t in_zone_of(const struct planner *p, const struct layout_broker *b, const int32_t *ids,
                         size_t count)
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        const struct layout_broker *other = layout_broker(p->layout, ids[i]);

        found += other && str_equal(other->zone, b->zone);
    }
    return found;
}

static bool may_get(const struct planner *p, const struct layout_broker *b, const int32_t *ids,
                    size_t count)
{
    return !b->fenced && !id_list_contains(p->wish->away_from, b->id) &&
           !id_list_contains((struct id_list){ids, count}, b->id);
}

/* The best broker for one more replica: the fewest in its zone, then the least loaded. NULL: none
 * is left. */
static const struct layout_broker *best_broker(const struct planner *p, const int32_t *ids,
                                               size_t count)
{
    const struct layout_broker *best = NULL;
    size_t best_zone = 0, best_load = 0;

    for (size_t i = 0; i < p->layout->broker_count; i++) {
        const struct layout_broker *b = &p->layout->brokers[i];
        size_t zone = in_zone_of(p, b, ids, count), load = p->loads[i];

        if (!may_get(p, b, ids, count) ||
            (best && (zone > best_zone || (zone == best_zone && load >= best_load))))
            continue;
        best = b;
        best_zone = zone;
        best_load = load;
    }
    return best;
}

/* Which of the replicas is missed the least: not the leader, in the most crowded zone, the last of
 * those. */
static size_t least_missed(const struct planner *p, const struct layout_partition *partition,
                           const int32_t *ids, size_t count)
{
    size_t worst = count, worst_crowd = 0;

    for (size_t i = count; i-- > 0;) {
        const struct layout_broker *b = layout_broker(p->layout, ids[i]);
        /* one that nobody knows goes first */
        size_t crowd = b ? in_zone_of(p, b, ids, count) : SIZE_MAX;

        if (ids[i] == partition->leader && count > 1)
            continue;
        if (worst == count || crowd > worst_crowd) {
            worst = i;
            worst_crowd = crowd;
        }
    }
    return worst;
}

static void add_load(struct planner *p, int32_t id, int by)
{
    for (size_t i = 0; i < p->layout->broker_count; i++)
        if (p->layout->brokers[i].id == id)
            p->loads[i] += (size_t)by;
}

static bool choose(struct planner *p, const struct layout_partition *partition, struct id_list *out)
{
    size_t wanted =
        p->wish->replication_factor ? p->wish->replication_factor : partition->replicas.count;
    int32_t *ids = arena_array(p->arena, int32_t, wanted + partition->replicas.count);
    size_t count = 0;

    if (!ids)
        return refuse(p, "out of memory");
    for (size_t i = 0; i < partition->replicas.count; i++)
        if (!id_list_contains(p->wish->away_from, partition->replicas.ids[i]))
            ids[count++] = partition->replicas.ids[i];
    while (count > wanted) {
        size_t gone = least_missed(p, partition, ids, count);

        CHECK(gone < count);
        add_load(p, ids[gone], -1);
        memmove(&ids[gone], &ids[gone + 1], (--count - gone) * sizeof *ids);
    }
    while (count < wanted) {
        const struct layout_broker *b = best_broker(p, ids, count);

        if (!b)
            return refuse(p, "%.*s-%d: there are not enough brokers alive for %zu replicas",
                          STR_ARG(partition->topic), partition->index, wanted);
        ids[count++] = b->id;
        add_load(p, b->id, 1);
    }
    *out = (struct id_list){ids, count};
    return true;
}

static bool check_exact(struct planner *p)
{
    struct id_list to = p->wish->to;

    for (size_t i = 0; i < to.count; i++) {
        if (!layout_broker(p->layout, to.ids[i]))
            return refuse(p, "there is no broker %d", to.ids[i]);
        if (id_list_contains((struct id_list){to.ids, i}, to.ids[i]))
            return refuse(p, "broker %d is named twice", to.ids[i]);
    }
    return true;
}

static bool plan_all(struct planner *p, const struct layout_partition *const *chosen, size_t count,
                     struct planned_move *moves, size_t *move_count)
{
    for (size_t i = 0; i < count; i++) {
        struct id_list to = p->wish->to;

        if (to.count == 0 && !choose(p, chosen[i], &to))
            return false;
        if (!same_ids(to, chosen[i]->replicas))
            moves[(*move_count)++] = (struct planned_move){chosen[i], to};
    }
    return true;
}

bool reassign_plan(const struct layout *l, const struct layout_partition *const *chosen,
                   size_t count, const struct reassign_wish *wish, struct arena *a,
                   struct planned_move **out, size_t *out_count, const char **why)
{
    struct planner p = {.layout = l, .wish = wish, .arena = a, .why = "out of memory"};
    bool planned;

    *out_count = 0;
    *out = arena_array(a, struct planned_move, count);
    p.loads = arena_array(a, size_t, l->broker_count);
    planned = *out && p.loads;
    for (size_t i = 0; planned && i < l->broker_count; i++)
        p.loads[i] = l->brokers[i].replicas;
    planned = planned && check_exact(&p) && plan_all(&p, chosen, count, *out, out_count);
    *why = planned ? NULL : p.why;
    return planned;
}
