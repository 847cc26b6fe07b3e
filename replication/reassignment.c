#include "replication/reassignment.h"

#include "protocol/base/check.h"

/* False: the arena is spent. */
static bool subtract(struct id_list list, struct id_list gone, struct arena *a, struct id_list *out)
{
    int32_t *ids = arena_array(a, int32_t, list.count);
    size_t count = 0;

    for (size_t i = 0; ids && i < list.count; i++)
        if (!id_list_contains(gone, list.ids[i]))
            ids[count++] = list.ids[i];
    *out = (struct id_list){ids, count};
    return ids != NULL;
}

struct id_list id_list_without(struct id_list list, struct id_list gone, struct arena *a)
{
    struct id_list left;

    CHECK(subtract(list, gone, a, &left));
    return left;
}

/* Who is wanted and was being added already stays one that is added: Apache Kafka forgets that, so
 * that a second reassignment taken back leaves the replicas of the first. Likewise one that is
 * wanted is not removed any more. */
static bool added(const struct metadata_partition *p, struct id_list target, struct arena *a,
                  struct id_list *out)
{
    int32_t *ids = arena_array(a, int32_t, target.count);
    size_t count = 0;

    for (size_t i = 0; ids && i < target.count; i++)
        if (!id_list_contains(p->replicas, target.ids[i]) ||
            id_list_contains(p->adding, target.ids[i]))
            ids[count++] = target.ids[i];
    *out = (struct id_list){ids, count};
    return ids != NULL;
}

bool reassignment_begin(const struct metadata_partition *p, struct id_list target, struct arena *a,
                        struct reassignment *out)
{
    int32_t *all = arena_array(a, int32_t, target.count + p->replicas.count);

    if (!all || !subtract(p->replicas, target, a, &out->removing) ||
        !added(p, target, a, &out->adding))
        return false;
    for (size_t i = 0; i < target.count; i++)
        all[i] = target.ids[i];
    for (size_t i = 0; i < out->removing.count; i++)
        all[target.count + i] = out->removing.ids[i];
    out->replicas = (struct id_list){all, target.count + out->removing.count};
    return true;
}

bool reassignment_revert(const struct metadata_partition *p, struct arena *a,
                         struct reassignment *out, struct id_list *isr)
{
    *out = (struct reassignment){0};
    return subtract(p->replicas, p->adding, a, &out->replicas) &&
           subtract(p->isr, p->adding, a, isr);
}

bool reassignment_complete(struct reassignment *r, struct id_list *isr, struct arena *a)
{
    struct id_list replicas, in_sync;

    if (r->adding.count == 0 && r->removing.count == 0)
        return false;
    replicas = id_list_without(r->replicas, r->removing, a);
    in_sync = id_list_without(*isr, r->removing, a);
    if (replicas.count == 0 || in_sync.count == 0)
        return false;
    for (size_t i = 0; i < replicas.count; i++)
        if (!id_list_contains(in_sync, replicas.ids[i]))
            return false;
    *r = (struct reassignment){.replicas = replicas};
    *isr = in_sync;
    return true;
}

size_t reassignment_target_count(const struct metadata_partition *p)
{
    return p->replicas.count - p->removing.count;
}
