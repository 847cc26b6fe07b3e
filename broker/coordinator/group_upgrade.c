/* A classic group becomes a consumer group when a member of the new protocol joins; its members
 * stay, and what they were assigned is theirs still. Anything that cannot be carried over refuses
 * the join and leaves the group as it was. */

#include "broker/coordinator/group_classic.h"
#include "broker/coordinator/group_embedded.h"

#include <stdlib.h>

struct upgrade {
    struct group_core *c;
    struct group *g;
    int32_t generation;
    struct str *ids;
    struct member_fields *fields;
    struct held_set *assigned;
    size_t count;
    size_t bytes; /* of records, about */
};

/* Kept in fx->arena, for the classic group goes before it is written. */
static bool copy_fields(struct group_core *c, const struct classic_member *m,
                        const struct consumer_protocol_subscription *s, struct member_fields *f)
{
    struct group_protocol *protocols = group_fx_protocols(c, m->protocols, m->protocol_count);
    struct str *topics = group_fx_array(c, s->topics_count, sizeof *topics);

    if (!protocols || !topics)
        return false;
    for (size_t i = 0; i < s->topics_count; i++)
        topics[i] = group_fx_str(c, s->topics[i]);
    *f = (struct member_fields){
        .instance_id = group_fx_str(c, m->instance_id),
        .rack_id = s->rack_id.size ? group_fx_str(c, s->rack_id) : STR_NULL,
        .client_id = group_fx_str(c, m->client_id),
        .client_host = group_fx_str(c, m->client_host),
        .regex = STR(""),
        .rebalance_timeout_ms = m->rebalance_timeout_ms,
        .classic = true,
        .session_timeout_ms = m->session_timeout_ms,
        .protocols = protocols,
        .protocol_count = m->protocol_count,
    };
    f->topics = consumer_sort_topics(c, topics, s->topics_count, &f->topic_count);
    return !c->failed;
}

static bool take_member(struct upgrade *u, const struct classic_member *m, struct str protocol,
                        const char **wrong)
{
    struct consumer_protocol_subscription subscription;
    struct consumer_protocol_assignment assignment;
    size_t i = u->count++;

    if (!embedded_subscription(u->c, classic_member_metadata(m, protocol), &subscription) ||
        !embedded_assignment(u->c, m->assignment, &assignment)) {
        *wrong = "the embedded consumer protocol is malformed";
        return false;
    }
    if (assignment.user_data.size) {
        *wrong = "an unsupported custom assignor is in use";
        return false;
    }
    u->ids[i] = group_fx_str(u->c, m->id);
    if (!copy_fields(u->c, m, &subscription, &u->fields[i]) ||
        !embedded_assigned_set(u->c, &assignment, u->generation, &u->assigned[i]))
        return false;
    u->bytes += consumer_fields_record_bytes(&u->fields[i]) + m->id.size +
                3 * consumer_set_record_bytes(u->g, m->id, &u->assigned[i]);
    return true;
}

struct claim {
    struct held held;
    size_t member;
};

static int by_claim(const void *left, const void *right)
{
    const struct claim *a = left, *b = right;
    int order = memcmp(a->held.topic.bytes, b->held.topic.bytes, sizeof a->held.topic.bytes);

    if (order)
        return order;
    if (a->held.partition != b->held.partition)
        return a->held.partition < b->held.partition ? -1 : 1;
    return a->member < b->member ? -1 : a->member > b->member;
}

/* A client's assignor may have given a partition twice; here it is the first one's. */
static bool settle_claims(struct upgrade *u)
{
    size_t total = 0, count = 0;
    struct claim *claims;

    for (size_t m = 0; m < u->count; m++)
        total += u->assigned[m].count;
    claims = group_fx_array(u->c, total, sizeof *claims);
    if (!claims)
        return false;
    for (size_t m = 0; m < u->count; m++) {
        for (size_t i = 0; i < u->assigned[m].count; i++)
            claims[count++] = (struct claim){u->assigned[m].items[i], m};
        u->assigned[m].count = 0;
    }
    if (count)
        qsort(claims, count, sizeof *claims, by_claim);
    for (size_t i = 0; i < count; i++) {
        struct held_set *s = &u->assigned[claims[i].member];

        if (i == 0 || !uuid_equal(claims[i].held.topic, claims[i - 1].held.topic) ||
            claims[i].held.partition != claims[i - 1].held.partition)
            s->items[s->count++] = claims[i].held;
    }
    return true;
}

static bool gather(struct upgrade *u, const char **wrong)
{
    const struct classic_group *cg = u->g->classic;
    size_t count = HASH_COUNT(cg->members);
    /* All may have left before the first join was over. */
    struct str protocol = cg->protocol.data || !cg->members ? cg->protocol : classic_group_vote(cg);

    u->ids = group_fx_array(u->c, count, sizeof *u->ids);
    u->fields = group_fx_array(u->c, count, sizeof *u->fields);
    u->assigned = group_fx_array(u->c, count, sizeof *u->assigned);
    if (!u->ids || !u->fields || !u->assigned)
        return false;
    for (const struct classic_member *m = cg->members; m; m = m->hh.next)
        if (!take_member(u, m, protocol, wrong))
            return false;
    if (u->bytes > GROUP_BATCH_BYTES_MAX / 2) {
        *wrong = "the group is too large";
        return false;
    }
    return settle_claims(u);
}

/* Clients assigned all that their members subscribe, and nothing else. Else (a rebalance was under
 * way, topics grew) the group must not take this for its assignment: with another hash its next
 * look at the metadata brings a new epoch. */
static bool is_complete(const struct upgrade *u)
{
    const struct consumer_group *cg = u->g->consumer;
    size_t assigned = 0, subscribed = 0;

    for (size_t m = 0; m < u->count; m++) {
        const struct consumer_member *member = consumer_member_find(cg, u->ids[m]);

        for (size_t i = 0; member && i < u->assigned[m].count; i++)
            if (!consumer_member_subscribes_id(u->c, cg, member, u->assigned[m].items[i].topic))
                return false;
        assigned += u->assigned[m].count;
    }
    for (const struct subscribed_topic *t = cg->topics; t; t = t->hh.next) {
        const struct metadata_topic *topic = metadata_image_topic(u->c->image, t->name);

        subscribed += topic ? topic->partition_count : 0;
    }
    return assigned == subscribed;
}

static void write_upgrade(struct upgrade *u)
{
    struct group_core *c = u->c;
    struct group *g = u->g;
    bool complete;
    uint64_t hash;

    for (size_t i = 0; i < u->count; i++)
        consumer_emit_member(c, g, u->ids[i], &u->fields[i]);
    complete = is_complete(u);
    hash = consumer_group_hash(c, g->consumer);
    consumer_emit_epoch(c, g, u->generation, complete ? hash : ~hash);
    for (size_t i = 0; i < u->count; i++)
        consumer_emit_target(c, g, u->ids[i], &u->assigned[i]);
    consumer_emit_target_epoch(c, g, u->generation, 0);
    for (size_t i = 0; i < u->count; i++) {
        struct member_progress p = {
            u->generation, u->generation, MEMBER_STABLE, u->assigned[i], {0}};
        struct consumer_member *m;

        consumer_emit_progress(c, g, u->ids[i], &p);
        m = consumer_member_find(g->consumer, u->ids[i]);
        if (m)
            consumer_member_heard(c, g, m, u->fields[i].session_timeout_ms);
    }
    g->consumer->checked_offset = complete ? metadata_image_offset(c->image) : -1;
}

struct consumer_group *convert_to_consumer(struct group_core *c, struct group *g,
                                           const char **wrong)
{
    const struct classic_group *old = g->classic;
    struct upgrade u = {.c = c, .g = g, .generation = old->generation};
    struct consumer_group *cg;

    if (!c->args.settings->upgrade)
        *wrong = "online upgrade is disabled";
    else if (!classic_group_is_consumer_protocol(old))
        *wrong = "the group does not use the consumer embedded protocol";
    else if (HASH_COUNT(old->members) >= (size_t)c->args.settings->consumer_max_size)
        *wrong = "the group size exceeds the consumer group maximum size";
    if (*wrong || !gather(&u, wrong))
        return NULL;
    cg = consumer_group_create(c);
    if (!cg)
        return NULL;
    classic_group_stop(c, g, KERR_REBALANCE_IN_PROGRESS);
    classic_group_emit_tombstone(c);
    group_become(c, g, GROUP_CONSUMER, cg);
    write_upgrade(&u);
    return c->failed ? NULL : cg;
}
