/* What others may ask about a consumer group: its state, its members, whether somebody may commit
 * or read offsets. */

#include "broker/coordinator/group_consumer.h"

struct str consumer_group_state(const struct group *g)
{
    const struct consumer_group *cg = g->consumer;

    if (!cg->members)
        return STR("Empty");
    if (cg->epoch > cg->assignment_epoch)
        return STR("Assigning");
    for (const struct consumer_member *m = cg->members; m; m = m->hh.next)
        if (m->state != MEMBER_STABLE || m->epoch != cg->assignment_epoch)
            return STR("Reconciling");
    return STR("Stable");
}

static bool describe_member(struct group_core *c, struct group_caller *who,
                            const struct consumer_member *m,
                            struct group_consumer_described_member *d)
{
    struct held_set has = {0};

    *d = (struct group_consumer_described_member){
        .member_id = group_answer_str(who, m->id),
        .instance_id = group_answer_str(who, m->fields.instance_id),
        .rack_id = group_answer_str(who, m->fields.rack_id),
        .client_id = group_answer_str(who, m->fields.client_id),
        .client_host = group_answer_str(who, m->fields.client_host),
        .subscribed_regex = group_answer_str(who, m->fields.regex),
        .subscribed_topics =
            group_answer_array(who, m->fields.topic_count, sizeof *d->subscribed_topics),
        .member_epoch = m->epoch,
        .classic = m->fields.classic,
    };
    if (!d->subscribed_topics || !held_room(c, &has, m->assigned.count + m->revoking.count))
        return false;
    for (size_t i = 0; i < m->fields.topic_count; i++)
        d->subscribed_topics[d->subscribed_topic_count++] =
            group_answer_str(who, m->fields.topics[i]);
    for (size_t i = 0; i < m->assigned.count; i++)
        has.items[has.count++] = m->assigned.items[i];
    for (size_t i = 0; i < m->revoking.count; i++)
        has.items[has.count++] = m->revoking.items[i];
    held_sort(&has);
    return held_answer(c, who, &has, &d->assigned) && held_answer(c, who, &m->target, &d->target);
}

void consumer_group_describe(struct group_core *c, struct group *g, struct group_caller *who)
{
    const struct consumer_group *cg = g->consumer;
    struct group_consumer_describe_answer *a = &who->consumer_describe;

    *a = (struct group_consumer_describe_answer){
        .state = consumer_group_state(g),
        .assignor = group_answer_str(who, consumer_group_assignor(c, cg)),
        .group_epoch = cg->epoch,
        .assignment_epoch = cg->assignment_epoch,
        .members = group_answer_array(who, consumer_group_size(cg), sizeof *a->members),
    };
    if (!a->members)
        return;
    for (const struct consumer_member *m = cg->members; m; m = m->hh.next)
        if (!describe_member(c, who, m, &a->members[a->member_count++]))
            return;
}

/* KIP-1251: a commit of an older epoch stands for partitions that were the member's all the while.
 */
static bool had_since(const struct group_core *c, const struct consumer_member *m,
                      const struct group_commit_partition *p, int32_t epoch)
{
    const struct metadata_topic *topic = metadata_image_topic(c->image, p->topic);
    struct uuid id = uuid_is_zero(p->topic_id) && topic ? topic->id : p->topic_id;
    const struct held *h = held_find(&m->assigned, id, p->partition);

    if (!h)
        h = held_find(&m->revoking, id, p->partition);
    return h && epoch >= h->epoch;
}

enum kerr consumer_group_check_commit(struct group_core *c, struct group *g,
                                      const struct group_commit *r)
{
    const struct consumer_group *cg = g->consumer;
    const struct consumer_member *m;
    enum kerr stale;

    if (r->generation_or_epoch < 0 && !cg->members)
        return KERR_NONE;
    m = consumer_member_find(cg, r->member_id);
    if (!m)
        return KERR_UNKNOWN_MEMBER_ID;
    if (!m->fields.classic && r->version < 9)
        return KERR_UNSUPPORTED_VERSION;
    if (r->generation_or_epoch == m->epoch)
        return KERR_NONE;
    stale = m->fields.classic ? KERR_ILLEGAL_GENERATION : KERR_STALE_MEMBER_EPOCH;
    if (r->generation_or_epoch > m->epoch)
        return stale;
    for (size_t i = 0; i < r->partition_count; i++)
        if (r->partitions[i].code == KERR_NONE &&
            !had_since(c, m, &r->partitions[i], r->generation_or_epoch))
            return stale;
    return KERR_NONE;
}

enum kerr consumer_group_check_offset_fetch(const struct group *g, struct str member_id,
                                            int32_t member_epoch)
{
    const struct consumer_member *m = consumer_member_find(g->consumer, member_id);

    if (!m)
        return KERR_UNKNOWN_MEMBER_ID;
    if (m->epoch == member_epoch)
        return KERR_NONE;
    return m->fields.classic ? KERR_ILLEGAL_GENERATION : KERR_STALE_MEMBER_EPOCH;
}
