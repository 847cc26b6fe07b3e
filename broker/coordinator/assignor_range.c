/* The range assignor, and the table of assignors. */

#include "broker/coordinator/assignor.h"

#include <stdlib.h>

static const struct assignor assignors[] = {
    {STR("uniform"), assignor_uniform},
    {STR("range"), assignor_range},
};

const struct assignor *assignor_find(struct str name)
{
    for (size_t i = 0; i < sizeof assignors / sizeof assignors[0]; i++)
        if (str_equal(assignors[i].name, name))
            return &assignors[i];
    return NULL;
}

struct ranked {
    const struct assignor_member *member;
    int32_t index;
};

static int by_rank(const void *left, const void *right)
{
    const struct assignor_member *a = ((const struct ranked *)left)->member;
    const struct assignor_member *b = ((const struct ranked *)right)->member;

    if (a->instance_id.data && b->instance_id.data)
        return str_compare(a->instance_id, b->instance_id);
    if (a->instance_id.data || b->instance_id.data)
        return a->instance_id.data ? -1 : 1;
    return str_compare(a->member_id, b->member_id);
}

/* What is still to be given out of one topic. */
struct ration {
    int32_t subscribers; /* who have not had theirs */
    int32_t next;
};

bool assignor_range(const struct assignor_problem *p, struct arena *scratch)
{
    struct ranked *order = arena_array(scratch, struct ranked, p->member_count);
    struct ration *rations = arena_array(scratch, struct ration, p->topic_count);

    if (!order || !rations)
        return false;
    for (size_t m = 0; m < p->member_count; m++) {
        order[m] = (struct ranked){&p->members[m], (int32_t)m};
        for (size_t t = 0; t < p->members[m].topic_count; t++)
            rations[p->members[m].topics[t]].subscribers++;
    }
    qsort(order, p->member_count, sizeof *order, by_rank);

    for (size_t t = 0; t < p->topic_count; t++)
        for (int32_t i = 0; i < p->topics[t].partition_count; i++)
            p->topics[t].owners[i] = ASSIGNOR_NOBODY;
    for (size_t m = 0; m < p->member_count; m++) {
        for (size_t t = 0; t < order[m].member->topic_count; t++) {
            const struct assignor_topic *topic = &p->topics[order[m].member->topics[t]];
            struct ration *r = &rations[order[m].member->topics[t]];
            int32_t left = topic->partition_count - r->next;
            /* Rounding up gives the odd partitions to the first members, one each. */
            int32_t share = left / r->subscribers + (left % r->subscribers != 0);

            for (int32_t i = 0; i < share; i++)
                topic->owners[r->next++] = order[m].index;
            r->subscribers--;
        }
    }
    return true;
}
