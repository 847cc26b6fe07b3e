/* What must hold of a consumer group after every step, and what a core that loads its records must
 * know. */
#include "broker/coordinator/group_consumer.h"
#include "tests/unit/broker/coordinator/group_members.h"

#include <stdarg.h>
#include <string.h>

/* ---- told ---- */

struct text {
    char *out;
    size_t size, used;
};

static void add(struct text *t, const char *format, ...)
{
    va_list args;

    if (t->used >= t->size)
        return;
    va_start(args, format);
    t->used += (size_t)vsnprintf(t->out + t->used, t->size - t->used, format, args);
    va_end(args);
}

static void add_part(struct text *t, const struct group_world *w, const struct held *h)
{
    const struct metadata_topic *topic = metadata_image_topic_by_id(w->core->image, h->topic);

    add(t, "%.*s-%d", STR_ARG(topic ? topic->name : STR("gone")), h->partition);
}

static void add_member(struct text *t, const struct group_world *w, const struct consumer_member *m)
{
    add(t, " %s%s%.*s@%d", world_name_of(m->id), m->fields.instance_id.data ? "/" : "",
        STR_ARG(m->fields.instance_id), m->epoch);
    if (m->fields.classic)
        add(t, " classic");
    for (size_t i = 0; i < m->assigned.count; i++) {
        add(t, " ");
        add_part(t, w, &m->assigned.items[i]);
    }
    for (size_t i = 0; i < m->revoking.count; i++) {
        add(t, " (");
        add_part(t, w, &m->revoking.items[i]);
        add(t, ")");
    }
    for (size_t i = 0; i < m->target.count; i++) {
        if (held_find(&m->assigned, m->target.items[i].topic, m->target.items[i].partition))
            continue;
        add(t, " [");
        add_part(t, w, &m->target.items[i]);
        add(t, "]");
    }
    add(t, m->hh.next ? ";" : "");
}

void text_of_consumer_group(const struct group_world *w, const struct group *g, char *out,
                            size_t size)
{
    const struct consumer_group *cg = g->consumer;
    struct text t = {out, size, 0};

    add(&t, "consumer %.*s epoch %d", STR_ARG(consumer_group_state(g)), cg->epoch);
    if (cg->assignment_epoch != cg->epoch)
        add(&t, " assigned %d", cg->assignment_epoch);
    add(&t, cg->members ? " members" : " members none");
    for (const struct consumer_member *m = cg->members; m; m = m->hh.next)
        add_member(&t, w, m);
}

/* ---- invariants ---- */

static void must(const struct group_world *w, bool holds, const char *what)
{
    if (!holds)
        world_fail(w, what);
}

static bool in_order(const struct held_set *s)
{
    for (size_t i = 1; i < s->count; i++) {
        const struct held *a = &s->items[i - 1], *b = &s->items[i];
        int order = memcmp(a->topic.bytes, b->topic.bytes, sizeof a->topic.bytes);

        if (order > 0 || (order == 0 && a->partition >= b->partition))
            return false;
    }
    return true;
}

/* A partition is in one member's hands at most. */
static size_t check_held(const struct group_world *w, const struct consumer_group *cg,
                         const struct consumer_member *m)
{
    must(w, in_order(&m->assigned) && in_order(&m->revoking) && in_order(&m->target),
         "a set out of order");
    for (size_t i = 0; i < m->assigned.count; i++) {
        must(w, consumer_owner(cg, m->assigned.items[i].topic, m->assigned.items[i].partition) == m,
             "a member has a partition that is another's");
        must(w,
             !held_find(&m->revoking, m->assigned.items[i].topic, m->assigned.items[i].partition),
             "a partition is kept and given back at once");
        must(w,
             m->assigned.items[i].epoch <= m->epoch || m->epoch < 0 ||
                 m->assigned.items[i].epoch == 0,
             "a partition since an epoch to come");
    }
    for (size_t i = 0; i < m->revoking.count; i++)
        must(w, consumer_owner(cg, m->revoking.items[i].topic, m->revoking.items[i].partition) == m,
             "a member gives back what is another's");
    return m->assigned.count + m->revoking.count;
}

static void check_member(const struct group_world *w, const struct group *g,
                         const struct consumer_member *m)
{
    const struct consumer_group *cg = g->consumer;

    must(w, consumer_member_find(cg, m->id) == m, "a member is not found by its id");
    must(w, m->is_static == (m->fields.instance_id.data != NULL),
         "a static member without its place");
    if (m->is_static)
        must(w, consumer_static_member(cg, m->fields.instance_id) == m,
             "a static member is not found by its instance");
    must(w, m->epoch <= cg->assignment_epoch, "a member ahead of the assignment");
    must(w,
         (m->state == MEMBER_UNREVOKED && m->epoch != MEMBER_EPOCH_LEAVE_STATIC) ==
                 (m->revoking.count > 0) ||
             m->epoch == MEMBER_EPOCH_LEAVE_STATIC || m->epoch == 0,
         "revocation and state differ");
    if (!g->loaded)
        return;
    must(w, m->session_deadline_ms != INT64_MAX, "a member without a session");
    must(w,
         m->session_deadline_ms >= g->deadline_ms && m->rebalance_deadline_ms >= g->deadline_ms &&
             m->join_deadline_ms >= g->deadline_ms && m->sync_deadline_ms >= g->deadline_ms,
         "time that is up unnoticed");
    if (m->state == MEMBER_UNREVOKED && !m->fields.classic && m->epoch >= 0 && m->revoking.count)
        must(w, m->rebalance_deadline_ms != INT64_MAX,
             "a member may keep what it should give back for ever");
}

static void check_topics(const struct group_world *w, const struct consumer_group *cg)
{
    for (const struct subscribed_topic *t = cg->topics; t; t = t->hh.next) {
        size_t by_name = 0, by_regex = 0;

        for (const struct consumer_member *m = cg->members; m; m = m->hh.next)
            for (size_t i = 0; i < m->fields.topic_count; i++)
                by_name += str_equal(m->fields.topics[i], t->name);
        for (const struct subscribed_regex *x = cg->regexes; x; x = x->hh.next)
            for (size_t i = 0; i < x->topic_count; i++)
                by_regex += str_equal(x->topics[i], t->name);
        must(w, by_name == t->by_name && by_regex == t->by_regex && by_name + by_regex,
             "subscriptions are counted wrongly");
    }
    for (const struct subscribed_regex *x = cg->regexes; x; x = x->hh.next) {
        size_t members = 0;

        for (const struct consumer_member *m = cg->members; m; m = m->hh.next)
            members += str_equal(m->fields.regex, x->pattern);
        must(w, members == x->members && members, "an expression that nobody subscribes");
    }
}

/* With the newest epoch assigned and nothing changed since, each partition is in exactly one
 * target. */
static void check_targets(const struct group_world *w, const struct group *g)
{
    const struct consumer_group *cg = g->consumer;
    const struct metadata_image *image = w->core->image;
    size_t targeted = 0, subscribed = 0;

    if (!g->loaded || cg->assignment_epoch != cg->epoch ||
        cg->checked_offset != metadata_image_offset(image) || !cg->members)
        return;
    for (const struct consumer_member *m = cg->members; m; m = m->hh.next) {
        if (m->fields.classic && cg->assignment_wall_ms == 0)
            return; /* just converted: what clients' assignors gave */
        if (m->fields.regex.size && !consumer_regex_find(cg, m->fields.regex)->resolved)
            return; /* the next epoch comes with its answer */
        for (size_t i = 0; i < m->target.count; i++) {
            must(w, consumer_member_subscribes_id(w->core, cg, m, m->target.items[i].topic),
                 "a target that is not subscribed");
            for (const struct consumer_member *o = m->hh.next; o; o = o->hh.next)
                must(w,
                     !held_find(&o->target, m->target.items[i].topic, m->target.items[i].partition),
                     "two targets overlap");
        }
        targeted += m->target.count;
    }
    for (const struct subscribed_topic *t = cg->topics; t; t = t->hh.next) {
        const struct metadata_topic *topic = metadata_image_topic(image, t->name);

        subscribed += topic ? topic->partition_count : 0;
    }
    must(w, targeted == subscribed, "a partition without a target");
}

void check_consumer_group(const struct group_world *w, const struct group *g)
{
    const struct consumer_group *cg = g->consumer;
    struct world_state *s = world_state_of((struct group_world *)(uintptr_t)w, g->id);
    size_t classic = 0, statics = 0, held = 0, bytes = 0;

    for (const struct consumer_member *m = cg->members; m; m = m->hh.next) {
        check_member(w, g, m);
        held += check_held(w, cg, m);
        classic += m->fields.classic;
        statics += m->is_static;
        bytes += m->bytes;
    }
    must(w, held == HASH_COUNT(cg->owners), "a partition is owned by nobody that has it");
    must(w, classic == cg->classic_count, "classic members");
    must(w, statics == HASH_CNT(by_instance, cg->statics), "static members");
    must(w, bytes == cg->bytes, "bytes of members");
    must(w, cg->assignment_epoch <= cg->epoch, "an assignment ahead of its group");
    check_topics(w, cg);
    check_targets(w, g);
    if (!g->loaded)
        return;
    must(w, cg->epoch >= s->generation, "an epoch went back");
    s->generation = cg->epoch;
}

/* ---- reload ---- */

static void same_member(const struct group_world *w, const struct consumer_member *a,
                        const struct consumer_member *b)
{
    must(w, a->epoch == b->epoch && a->previous_epoch == b->previous_epoch && a->state == b->state,
         "reload: a member is elsewhere");
    must(w, held_equal(&a->assigned, &b->assigned) && held_equal(&a->revoking, &b->revoking),
         "reload: a member has something else");
    must(w, a->has_target == b->has_target && held_equal(&a->target, &b->target),
         "reload: a member has another target");
    must(w,
         str_equal(a->fields.instance_id, b->fields.instance_id) &&
             str_equal(a->fields.rack_id, b->fields.rack_id) &&
             str_equal(a->fields.assignor, b->fields.assignor) &&
             str_equal(a->fields.client_id, b->fields.client_id) &&
             str_equal(a->fields.client_host, b->fields.client_host) &&
             str_equal(a->fields.regex, b->fields.regex),
         "reload: a member is somebody else");
    must(w,
         a->fields.rebalance_timeout_ms == b->fields.rebalance_timeout_ms &&
             a->fields.classic == b->fields.classic &&
             a->fields.session_timeout_ms == b->fields.session_timeout_ms,
         "reload: a member has other timeouts");
    must(w,
         a->fields.topic_count == b->fields.topic_count &&
             a->fields.protocol_count == b->fields.protocol_count && a->bytes == b->bytes,
         "reload: a member subscribes something else");
    for (size_t i = 0; i < a->fields.topic_count; i++)
        must(w, str_equal(a->fields.topics[i], b->fields.topics[i]),
             "reload: a member subscribes another topic");
    for (size_t i = 0; i < a->fields.protocol_count; i++)
        must(w,
             str_equal(a->fields.protocols[i].name, b->fields.protocols[i].name) &&
                 a->fields.protocols[i].metadata.size == b->fields.protocols[i].metadata.size,
             "reload: another protocol");
}

void same_consumer_group(const struct group_world *w, const struct group *live,
                         const struct group *loaded)
{
    const struct consumer_group *a = live->consumer, *b = loaded->consumer;

    must(w,
         a->epoch == b->epoch && a->assignment_epoch == b->assignment_epoch &&
             a->assignment_wall_ms == b->assignment_wall_ms,
         "reload: other epochs");
    must(w, a->metadata_hash == b->metadata_hash, "reload: another hash");
    must(w, consumer_group_size(a) == consumer_group_size(b), "reload: other members");
    for (const struct consumer_member *m = a->members; m; m = m->hh.next) {
        const struct consumer_member *l = consumer_member_find(b, m->id);

        must(w, l, "reload: a member is missing");
        same_member(w, m, l);
    }
    must(w,
         HASH_COUNT(a->topics) == HASH_COUNT(b->topics) &&
             HASH_COUNT(a->regexes) == HASH_COUNT(b->regexes) &&
             HASH_COUNT(a->owners) == HASH_COUNT(b->owners),
         "reload: other counts");
    for (const struct subscribed_regex *x = a->regexes; x; x = x->hh.next) {
        const struct subscribed_regex *y = consumer_regex_find(b, x->pattern);

        must(w,
             y && x->resolved == y->resolved && x->topic_count == y->topic_count &&
                 x->version == y->version && x->timestamp_ms == y->timestamp_ms,
             "reload: another expression");
    }
    check_consumer_group(w, loaded);
}
