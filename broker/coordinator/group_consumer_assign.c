/* From subscriptions to targets, and from targets to what members have. */

#include "broker/coordinator/assignor.h"
#include "broker/coordinator/group_consumer.h"
#include "broker/coordinator/metadata_hash.h"
#include "protocol/base/check.h"

#include <stdlib.h>

/* ---- topics ---- */

static int by_topic_name(const void *left, const void *right)
{
    return str_compare((*(struct subscribed_topic *const *)left)->name,
                       (*(struct subscribed_topic *const *)right)->name);
}

static int by_topic_id(const void *left, const void *right)
{
    return memcmp((*(const struct metadata_topic *const *)left)->id.bytes,
                  (*(const struct metadata_topic *const *)right)->id.bytes, sizeof(struct uuid));
}

/* The topics that exist and somebody subscribes, by id; from fx->arena. NULL: out of memory
 * (group_fail). */
static const struct metadata_topic **existing_topics(struct group_core *c,
                                                     const struct consumer_group *cg, size_t *count)
{
    const struct metadata_topic **topics =
        group_fx_array(c, HASH_COUNT(cg->topics), sizeof(struct metadata_topic *));

    *count = 0;
    if (!topics)
        return NULL;
    for (const struct subscribed_topic *t = cg->topics; t; t = t->hh.next) {
        const struct metadata_topic *topic = metadata_image_topic(c->image, t->name);

        if (topic)
            topics[(*count)++] = topic;
    }
    if (*count)
        qsort(topics, *count, sizeof(struct metadata_topic *), by_topic_id);
    return topics;
}

/* Kept until the metadata are others: members come in droves. */
static uint64_t topic_hash(const struct group_core *c, struct subscribed_topic *t,
                           const struct metadata_topic *topic)
{
    int64_t offset = metadata_image_offset(c->image);

    if (t->hash_offset != offset) {
        t->hash = metadata_hash_topic(c->image, topic);
        t->hash_offset = offset;
    }
    return t->hash;
}

uint64_t consumer_group_hash(struct group_core *c, const struct consumer_group *cg)
{
    struct subscribed_topic **topics =
        group_fx_array(c, HASH_COUNT(cg->topics), sizeof(struct subscribed_topic *));
    uint64_t *hashes = group_fx_array(c, HASH_COUNT(cg->topics), sizeof *hashes);
    size_t count = 0, known = 0;

    if (!topics || !hashes)
        return 0;
    for (struct subscribed_topic *t = cg->topics; t; t = t->hh.next)
        topics[count++] = t;
    if (count)
        qsort(topics, count, sizeof(struct subscribed_topic *), by_topic_name);
    for (size_t i = 0; i < count; i++) {
        const struct metadata_topic *topic = metadata_image_topic(c->image, topics[i]->name);

        if (topic)
            hashes[known++] = topic_hash(c, topics[i], topic);
    }
    return metadata_hash_group(hashes, known);
}

/* ---- the assignor ---- */

struct str consumer_group_assignor(const struct group_core *c, const struct consumer_group *cg)
{
    const struct group_settings *s = c->args.settings;
    struct str best = str_from(s->consumer_assignors[0]);
    size_t most = 0;

    for (size_t i = 0; i < s->consumer_assignor_count; i++) {
        struct str name = str_from(s->consumer_assignors[i]);
        size_t votes = 0;

        for (const struct consumer_member *m = cg->members; m; m = m->hh.next)
            votes += str_equal(m->fields.assignor, name);
        if (votes > most) {
            most = votes;
            best = name;
        }
    }
    return best;
}

/* ---- an assignment in the making ---- */

struct making {
    struct group_core *c;
    struct consumer_group *cg;
    struct arena scratch;
    const struct metadata_topic **topics; /* by id */
    struct consumer_member **members;     /* by id */
    struct assignor_problem problem;
    struct held_set *targets; /* by member */
};

/* Bounds nothing that is not bounded already; a number that says "lost". */
static const size_t SCRATCH_MAX = (size_t)1 << 30;

static int by_member_id(const void *left, const void *right)
{
    return str_compare((*(struct consumer_member *const *)left)->id,
                       (*(struct consumer_member *const *)right)->id);
}

static bool list_members(struct making *k)
{
    size_t count = consumer_group_size(k->cg), at = 0;

    k->members = arena_array(&k->scratch, struct consumer_member *, count);
    if (!k->members)
        return false;
    for (struct consumer_member *m = k->cg->members; m; m = m->hh.next)
        k->members[at++] = m;
    if (count)
        qsort(k->members, count, sizeof(struct consumer_member *), by_member_id);
    k->problem.member_count = count;
    return true;
}

static bool list_topics(struct making *k)
{
    size_t count;
    struct subscribed_topic *entry;

    k->topics = existing_topics(k->c, k->cg, &count);
    k->problem.topics = arena_array(&k->scratch, struct assignor_topic, count);
    if (!k->topics || !k->problem.topics)
        return false;
    for (struct subscribed_topic *t = k->cg->topics; t; t = t->hh.next)
        t->index = UINT32_MAX;
    for (size_t i = 0; i < count; i++) {
        struct assignor_topic *t = &k->problem.topics[i];

        HASH_FIND(hh, k->cg->topics, k->topics[i]->name.data, (unsigned)k->topics[i]->name.size,
                  entry);
        entry->index = (uint32_t)i;
        t->id = k->topics[i]->id;
        t->partition_count = (int32_t)k->topics[i]->partition_count;
        t->owners = arena_alloc(&k->scratch, k->topics[i]->partition_count * sizeof *t->owners);
        if (!t->owners)
            return false;
        for (int32_t p = 0; p < t->partition_count; p++)
            t->owners[p] = ASSIGNOR_NOBODY;
    }
    k->problem.topic_count = count;
    return true;
}

static int by_index(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

    return a < b ? -1 : a > b;
}

static size_t put_indexes(const struct making *k, const struct str *names, size_t count,
                          uint32_t *out)
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        const struct subscribed_topic *t;

        HASH_FIND(hh, k->cg->topics, names[i].data, (unsigned)names[i].size, t);
        if (t && t->index != UINT32_MAX)
            out[found++] = t->index;
    }
    return found;
}

static bool put_member(struct making *k, const struct consumer_member *m,
                       struct assignor_member *out)
{
    const struct subscribed_regex *x =
        m->fields.regex.size ? consumer_regex_find(k->cg, m->fields.regex) : NULL;
    size_t count = m->fields.topic_count + (x ? x->topic_count : 0), kept = 0;
    uint32_t *topics = arena_alloc(&k->scratch, count * sizeof *topics);

    if (!topics)
        return false;
    count = put_indexes(k, m->fields.topics, m->fields.topic_count, topics);
    if (x)
        count += put_indexes(k, x->topics, x->topic_count, topics + count);
    if (count)
        qsort(topics, count, sizeof *topics, by_index);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || topics[kept - 1] != topics[i])
            topics[kept++] = topics[i];
    *out = (struct assignor_member){m->id, m->fields.instance_id, topics, kept};
    return true;
}

static struct assignor_topic *find_topic(const struct making *k, struct uuid id)
{
    size_t low = 0, high = k->problem.topic_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (memcmp(k->problem.topics[middle].id.bytes, id.bytes, sizeof id.bytes) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < k->problem.topic_count && uuid_equal(k->problem.topics[low].id, id)
               ? &k->problem.topics[low]
               : NULL;
}

static void put_owners(const struct making *k, int32_t member, const struct held_set *target)
{
    for (size_t i = 0; i < target->count; i++) {
        struct assignor_topic *t = find_topic(k, target->items[i].topic);
        int32_t partition = target->items[i].partition;

        if (t && partition >= 0 && partition < t->partition_count)
            t->owners[partition] = member;
    }
}

static bool set_out(struct making *k)
{
    struct assignor_member *members;

    if (!list_members(k) || !list_topics(k))
        return false;
    members = arena_array(&k->scratch, struct assignor_member, k->problem.member_count);
    if (!members)
        return false;
    k->problem.members = members;
    for (size_t m = 0; m < k->problem.member_count; m++) {
        if (!put_member(k, k->members[m], &members[m]))
            return false;
        put_owners(k, (int32_t)m, &k->members[m]->target);
    }
    return true;
}

/* Owners by partition become targets by member, each in order because topics are. */
static bool collect(struct making *k)
{
    size_t *counts = arena_array(&k->scratch, size_t, k->problem.member_count);

    k->targets = arena_array(&k->scratch, struct held_set, k->problem.member_count);
    if (!counts || !k->targets)
        return false;
    for (size_t t = 0; t < k->problem.topic_count; t++)
        for (int32_t p = 0; p < k->problem.topics[t].partition_count; p++)
            if (k->problem.topics[t].owners[p] != ASSIGNOR_NOBODY)
                counts[k->problem.topics[t].owners[p]]++;
    for (size_t m = 0; m < k->problem.member_count; m++) {
        k->targets[m].items = arena_array(&k->scratch, struct held, counts[m]);
        if (!k->targets[m].items)
            return false;
    }
    for (size_t t = 0; t < k->problem.topic_count; t++)
        for (int32_t p = 0; p < k->problem.topics[t].partition_count; p++) {
            const struct assignor_topic *topic = &k->problem.topics[t];

            if (topic->owners[p] != ASSIGNOR_NOBODY) {
                struct held_set *s = &k->targets[topic->owners[p]];

                s->items[s->count++] = (struct held){topic->id, p, 0};
            }
        }
    return true;
}

/* Writes the targets that changed. False: not all of them found room in this step; the assignment's
 * epoch waits for the next, which goes on from here because assignors are sticky, or at least give
 * the same again. */
static bool write_targets(struct making *k, struct group *g)
{
    size_t bytes = 0;

    for (size_t m = 0; m < k->problem.member_count; m++) {
        const struct consumer_member *member = k->members[m];

        if (member->has_target && held_equal(&member->target, &k->targets[m]))
            continue;
        bytes += consumer_set_record_bytes(g, member->id, &k->targets[m]);
        if (bytes > CONSUMER_TARGET_BYTES_MAX &&
            bytes > consumer_set_record_bytes(g, member->id, &k->targets[m]))
            return false;
        consumer_emit_target(k->c, g, member->id, &k->targets[m]);
        if (k->c->failed)
            return false;
    }
    return true;
}

/* A timestamp of the future is a clock that was set back. */
static bool may_assign(struct group_core *c, const struct group *g)
{
    const struct consumer_group *cg = g->consumer;
    int64_t wall_ms = group_wall_ms(c);
    struct group_config config;

    if (cg->assignment_wall_ms == 0 || wall_ms < cg->assignment_wall_ms)
        return true;
    c->args.config(c->args.arg, g->id, &config);
    return wall_ms - cg->assignment_wall_ms >= config.consumer_assignment_interval_ms;
}

void consumer_group_assign(struct group_core *c, struct group *g)
{
    struct consumer_group *cg = g->consumer;
    struct making k = {.c = c, .cg = cg};
    const struct assignor *assignor;

    if (cg->assignment_epoch >= cg->epoch || !may_assign(c, g))
        return;
    assignor = assignor_find(consumer_group_assignor(c, cg));
    CHECK(assignor); /* settings name only those that there are */
    arena_init(&k.scratch, SCRATCH_MAX);
    if (!set_out(&k) || !assignor->assign(&k.problem, &k.scratch) || !collect(&k))
        group_fail(c);
    else if (write_targets(&k, g)) {
        int64_t wall_ms = group_wall_ms(c);

        consumer_emit_target_epoch(c, g, cg->epoch, wall_ms > 0 ? wall_ms : 0);
    }
    arena_free(&k.scratch);
}

/* ---- reconciliation ---- */

/* Is any of these among what the member says it has? It has all of them as long as it does not say.
 */
static bool has_any(const struct held_set *owned, const struct held_set *of)
{
    if (!owned)
        return true;
    for (size_t i = 0; i < owned->count; i++)
        if (held_find(of, owned->items[i].topic, owned->items[i].partition))
            return true;
    return false;
}

static bool progress_differs(const struct consumer_member *m, const struct member_progress *p)
{
    return m->epoch != p->epoch || m->previous_epoch != p->previous_epoch || m->state != p->state ||
           !held_equal(&m->assigned, &p->assigned) || !held_equal(&m->revoking, &p->revoking);
}

static void write_progress(struct group_core *c, struct group *g, struct consumer_member *m,
                           struct member_progress *p)
{
    /* Kafka forgets the previous epoch when nothing moves on; here a member whose answer was lost
     * may come back with it until it has a newer one. */
    p->previous_epoch = p->epoch == m->epoch ? m->previous_epoch : m->epoch;
    if (!progress_differs(m, p))
        return;
    consumer_emit_progress(c, g, m->id, p);
    if (m->fields.classic)
        return; /* it is given time by its join and sync */
    m->rebalance_deadline_ms = INT64_MAX;
    if (m->state == MEMBER_UNREVOKED) {
        int32_t timeout_ms = m->fields.rebalance_timeout_ms;

        m->rebalance_deadline_ms = c->now_ms + (timeout_ms > 0 ? timeout_ms : 0);
        group_due_at(c, g, m->rebalance_deadline_ms);
    }
}

/* What the member has, without what it no longer subscribes. */
static void drop_unsubscribed(struct group_core *c, struct group *g, struct consumer_member *m,
                              const struct held_set *owned)
{
    struct member_progress p = {.epoch = m->epoch, .state = m->state};

    if (!held_room(c, &p.assigned, m->assigned.count) ||
        !held_room(c, &p.revoking, m->assigned.count + m->revoking.count))
        return;
    for (size_t i = 0; i < m->revoking.count; i++)
        p.revoking.items[p.revoking.count++] = m->revoking.items[i];
    for (size_t i = 0; i < m->assigned.count; i++) {
        bool keeps = consumer_member_subscribes_id(c, g->consumer, m, m->assigned.items[i].topic);
        struct held_set *to = keeps ? &p.assigned : &p.revoking;

        to->items[to->count++] = m->assigned.items[i];
    }
    if (p.assigned.count == m->assigned.count)
        return;
    held_sort(&p.revoking);
    if (has_any(owned, &p.revoking))
        p.state = MEMBER_UNREVOKED;
    else
        p.revoking = m->revoking;
    write_progress(c, g, m, &p);
}

struct next_step {
    struct held_set kept, revoked, added;
    bool waits; /* some of its target are somebody else's */
};

static bool next_step(struct group_core *c, const struct group *g, const struct consumer_member *m,
                      struct next_step *n)
{
    const struct consumer_group *cg = g->consumer;

    *n = (struct next_step){0};
    if (!held_room(c, &n->kept, m->assigned.count + m->target.count) ||
        !held_room(c, &n->revoked, m->assigned.count) || !held_room(c, &n->added, m->target.count))
        return false;
    for (size_t i = 0; i < m->assigned.count; i++) {
        const struct held *h = &m->assigned.items[i];
        bool keeps = held_find(&m->target, h->topic, h->partition) &&
                     consumer_member_subscribes_id(c, cg, m, h->topic);
        struct held_set *to = keeps ? &n->kept : &n->revoked;

        to->items[to->count++] = *h;
    }
    for (size_t i = 0; i < m->target.count; i++) {
        const struct held *h = &m->target.items[i];
        const struct consumer_member *owner = consumer_owner(cg, h->topic, h->partition);

        if (held_find(&m->assigned, h->topic, h->partition) ||
            !consumer_member_subscribes_id(c, cg, m, h->topic))
            continue;
        if (owner && owner != m)
            n->waits = true;
        else
            n->added.items[n->added.count++] =
                (struct held){h->topic, h->partition, cg->assignment_epoch};
    }
    return true;
}

static void go_on(struct group_core *c, struct group *g, struct consumer_member *m, int32_t epoch,
                  const struct held_set *owned)
{
    struct member_progress p = {.epoch = g->consumer->assignment_epoch};
    struct next_step n;

    if (!next_step(c, g, m, &n))
        return;
    p.assigned = n.kept;
    if (n.revoked.count && has_any(owned, &n.revoked)) {
        p.epoch = epoch;
        p.state = MEMBER_UNREVOKED;
        p.revoking = n.revoked;
    } else {
        for (size_t i = 0; i < n.added.count; i++)
            p.assigned.items[p.assigned.count++] = n.added.items[i];
        held_sort(&p.assigned);
        p.state = n.waits ? MEMBER_UNRELEASED : MEMBER_STABLE;
    }
    write_progress(c, g, m, &p);
}

void consumer_member_reconcile(struct group_core *c, struct group *g, struct consumer_member *m,
                               const struct held_set *owned, bool subscription_changed)
{
    switch (m->state) {
    case MEMBER_STABLE:
        if (m->epoch != g->consumer->assignment_epoch)
            go_on(c, g, m, m->epoch, owned);
        else if (subscription_changed)
            drop_unsubscribed(c, g, m, owned);
        break;
    case MEMBER_UNREVOKED:
        if (!has_any(owned, &m->revoking))
            go_on(c, g, m, m->epoch, owned);
        else if (subscription_changed)
            drop_unsubscribed(c, g, m, owned);
        break;
    case MEMBER_UNRELEASED:
        go_on(c, g, m, m->epoch, owned);
        break;
    case MEMBER_UNKNOWN: /* it says that it has nothing: the caller made sure */
        go_on(c, g, m, g->consumer->assignment_epoch, owned);
        break;
    }
}
