/* Sets of partitions of consumer groups: in memory, in requests, in answers and in records. */

#include "broker/coordinator/group_consumer.h"

#include <stdlib.h>

static int held_order(const struct held *a, struct uuid topic, int32_t partition)
{
    int order = memcmp(a->topic.bytes, topic.bytes, sizeof topic.bytes);

    if (order)
        return order;
    return a->partition < partition ? -1 : a->partition > partition;
}

struct held *held_find(const struct held_set *s, struct uuid topic, int32_t partition)
{
    size_t low = 0, high = s->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (held_order(&s->items[middle], topic, partition) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->count && held_order(&s->items[low], topic, partition) == 0 ? &s->items[low]
                                                                               : NULL;
}

bool held_equal(const struct held_set *a, const struct held_set *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (held_order(&a->items[i], b->items[i].topic, b->items[i].partition) != 0 ||
            a->items[i].epoch != b->items[i].epoch)
            return false;
    return true;
}

static int by_place(const void *left, const void *right)
{
    const struct held *b = right;

    return held_order(left, b->topic, b->partition);
}

void held_sort(struct held_set *s)
{
    size_t kept = 0;

    if (s->count)
        qsort(s->items, s->count, sizeof *s->items, by_place);
    for (size_t i = 0; i < s->count; i++)
        if (kept == 0 || by_place(&s->items[kept - 1], &s->items[i]) != 0)
            s->items[kept++] = s->items[i];
    s->count = kept;
}

bool held_room(struct group_core *c, struct held_set *s, size_t count)
{
    *s = (struct held_set){.items = group_fx_array(c, count, sizeof *s->items)};
    return s->items;
}

bool held_from_request(struct group_core *c, const struct group_assignment *owned,
                       struct held_set *out)
{
    size_t total = 0;

    for (size_t t = 0; t < owned->topic_count; t++)
        total += owned->topics[t].partition_count;
    if (!held_room(c, out, total))
        return false;
    for (size_t t = 0; t < owned->topic_count; t++)
        for (size_t p = 0; p < owned->topics[t].partition_count; p++)
            out->items[out->count++] =
                (struct held){owned->topics[t].topic_id, owned->topics[t].partitions[p], 0};
    held_sort(out);
    return true;
}

/* Where the run of s->items[at]'s topic ends. */
static size_t run_end(const struct held_set *s, size_t at)
{
    size_t end = at;

    while (end < s->count && uuid_equal(s->items[end].topic, s->items[at].topic))
        end++;
    return end;
}

static size_t count_runs(const struct held_set *s)
{
    size_t runs = 0;

    for (size_t i = 0; i < s->count; i = run_end(s, i))
        runs++;
    return runs;
}

bool held_answer(struct group_core *c, struct group_caller *who, const struct held_set *s,
                 struct group_assignment *out)
{
    *out =
        (struct group_assignment){group_answer_array(who, count_runs(s), sizeof *out->topics), 0};
    if (!out->topics)
        return false;
    for (size_t i = 0; i < s->count;) {
        size_t end = run_end(s, i);
        const struct metadata_topic *topic =
            metadata_image_topic_by_id(c->image, s->items[i].topic);
        struct group_topic_partitions *t = &out->topics[out->topic_count++];

        *t = (struct group_topic_partitions){
            .topic_id = s->items[i].topic,
            .topic = topic ? group_answer_str(who, topic->name) : STR_NULL,
            .partitions = group_answer_array(who, end - i, sizeof *t->partitions),
        };
        if (!t->partitions)
            return false;
        for (; i < end; i++)
            t->partitions[t->partition_count++] = s->items[i].partition;
    }
    return true;
}

/* ---- records ---- */

size_t consumer_set_record_bytes(const struct group *g, struct str id, const struct held_set *s)
{
    /* Head of a record, key, value; a topic's id and lengths; a partition. */
    return 32 + g->id.size + id.size + count_runs(s) * 24 + s->count * 4;
}

void consumer_emit_target(struct group_core *c, struct group *g, struct str id,
                          const struct held_set *target)
{
    struct group_record *r =
        group_emit_new(c, GROUP_RECORD_CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER);
    struct consumer_group_target_assignment_member_value *v =
        &r->value.consumer_group_target_assignment_member;
    int32_t *partitions = group_fx_array(c, target->count, sizeof *partitions);

    r->key.consumer_group_target_assignment_member.member_id = group_fx_str(c, id);
    v->topic_partitions = group_fx_array(c, count_runs(target), sizeof *v->topic_partitions);
    if (!partitions || !v->topic_partitions)
        return;
    for (size_t i = 0; i < target->count;) {
        size_t end = run_end(target, i);

        v->topic_partitions[v->topic_partitions_count++] =
            (struct consumer_group_target_assignment_member_value_topic_partition){
                .topic_id = target->items[i].topic,
                .partitions = partitions + i,
                .partitions_count = end - i};
        for (; i < end; i++)
            partitions[i] = target->items[i].partition;
    }
    consumer_group_apply(c, g, r);
}

typedef struct consumer_group_current_member_assignment_value_topic_partitions current_partitions;

static size_t put_current(struct group_core *c, const struct held_set *s, current_partitions **out)
{
    int32_t *partitions = group_fx_array(c, s->count, sizeof *partitions);
    int32_t *epochs = group_fx_array(c, s->count, sizeof *epochs);
    size_t count = 0;

    *out = group_fx_array(c, count_runs(s), sizeof **out);
    if (!partitions || !epochs || !*out)
        return 0;
    for (size_t i = 0; i < s->count;) {
        size_t end = run_end(s, i);

        (*out)[count++] = (current_partitions){.topic_id = s->items[i].topic,
                                               .partitions = partitions + i,
                                               .partitions_count = end - i,
                                               .assignment_epochs = epochs + i,
                                               .assignment_epochs_count = end - i};
        for (; i < end; i++) {
            partitions[i] = s->items[i].partition;
            epochs[i] = s->items[i].epoch;
        }
    }
    return count;
}

void consumer_emit_progress(struct group_core *c, struct group *g, struct str id,
                            const struct member_progress *p)
{
    struct group_record *r =
        group_emit_new(c, GROUP_RECORD_CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT);
    struct consumer_group_current_member_assignment_value *v =
        &r->value.consumer_group_current_member_assignment;

    r->key.consumer_group_current_member_assignment.member_id = group_fx_str(c, id);
    v->member_epoch = p->epoch;
    v->previous_member_epoch = p->previous_epoch;
    v->state = (int8_t)p->state;
    v->assigned_partitions_count = put_current(c, &p->assigned, &v->assigned_partitions);
    v->partitions_pending_revocation_count =
        put_current(c, &p->revoking, &v->partitions_pending_revocation);
    if (!c->failed)
        consumer_group_apply(c, g, r);
}
