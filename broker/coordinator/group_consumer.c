/* ConsumerGroupHeartbeat: members that join, go on and leave; their timeouts. */

#include "broker/coordinator/group_consumer.h"

#include <stdarg.h>
#include <stdio.h>

#include "broker/coordinator/group_classic.h"
#include "broker/coordinator/group_regex.h"

enum {
    REGEX_REFRESH_MIN_MS =
        10000,                /* new topics are looked at no more often than this, as in Kafka */
    REGEX_GIVE_UP_MS = 60000, /* an answer that late is not awaited any more */
    FENCED_PER_TICK = 2000,   /* their tombstones fit into a batch */
    WAITING_PACE = 5,         /* who waits for others' partitions heartbeats so much more often */
    WAITING_INTERVAL_MIN_MS = 50,
};

static int32_t next_epoch(int32_t epoch)
{
    return epoch < INT32_MAX ? epoch + 1 : epoch;
}

__attribute__((format(printf, 4, 5))) static void
refuse(struct group_core *c, struct group_caller *who, enum kerr code, const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    who->consumer_heartbeat.message = group_answer_str(who, str_from(text));
    group_answer(c, who, code);
}

/* ---- epochs and expressions ---- */

void consumer_group_update_epoch(struct group_core *c, struct group *g, bool bump)
{
    struct consumer_group *cg = g->consumer;
    uint64_t hash;

    if (!bump && cg->checked_offset == metadata_image_offset(c->image))
        return;
    hash = consumer_group_hash(c, cg);
    if (c->failed)
        return;
    if (bump || hash != cg->metadata_hash)
        consumer_emit_epoch(c, g, next_epoch(cg->epoch), hash);
    cg->checked_offset = metadata_image_offset(c->image);
    if (cg->has_partition_metadata) {
        struct group_record *r = group_emit_new(c, GROUP_RECORD_CONSUMER_GROUP_PARTITION_METADATA);

        r->tombstone = true;
        consumer_group_apply(c, g, r);
    }
}

static bool wants_resolving(const struct group_core *c, const struct consumer_group *cg,
                            const struct subscribed_regex *x)
{
    int64_t age_ms = group_wall_ms(c) - x->timestamp_ms;

    if (!x->members)
        return false;
    if (!x->resolved || age_ms > c->args.settings->regex_refresh_ms)
        return true;
    return x->version < c->topics_offset &&
           c->now_ms - cg->resolving_since_ms > REGEX_REFRESH_MIN_MS;
}

void consumer_group_refresh_regexes(struct group_core *c, struct group *g)
{
    struct consumer_group *cg = g->consumer;

    if (cg->resolving && c->now_ms - cg->resolving_since_ms < REGEX_GIVE_UP_MS)
        return;
    for (const struct subscribed_regex *x = cg->regexes; x; x = x->hh.next) {
        if (!wants_resolving(c, cg, x))
            continue;
        group_want_regex(c, g->id, x->pattern);
        cg->resolving = true;
        cg->resolving_since_ms = c->now_ms;
        return; /* one at a time: the answer asks for the next */
    }
}

static bool same_topics(const struct str *a, size_t a_count, const struct str *b, size_t b_count)
{
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++)
        if (!str_equal(a[i], b[i]))
            return false;
    return true;
}

void consumer_group_regex_resolved(struct group_core *c, struct group *g,
                                   const struct group_regex_result *r)
{
    struct consumer_group *cg = g->consumer;
    const struct subscribed_regex *x = consumer_regex_find(cg, r->regex);
    struct group_regex_result sorted = *r;

    cg->resolving = false;
    if (x && x->members) {
        bool changed;

        sorted.topics = consumer_sort_topics(c, r->topics, r->topic_count, &sorted.topic_count);
        if (!sorted.topics)
            return;
        consumer_regex_limit(c, cg, x, &sorted);
        /* With the first answer comes an epoch even if there are no topics: those that its members
         * had before may be among others' still, and so not missing in the hash. (Kafka leaves them
         * with nobody.) */
        changed = !x->resolved ||
                  !same_topics(x->topics, x->topic_count, sorted.topics, sorted.topic_count);
        consumer_emit_regex(c, g, &sorted, group_wall_ms(c));
        consumer_group_update_epoch(c, g, changed);
    }
    if (!c->failed)
        consumer_group_refresh_regexes(c, g);
}

/* ---- members ---- */

void consumer_member_heard(struct group_core *c, struct group *g, struct consumer_member *m,
                           int32_t session_ms)
{
    m->session_deadline_ms = c->now_ms + (session_ms > 0 ? session_ms : 0);
    group_due_at(c, g, m->session_deadline_ms);
}

static bool same_protocols(const struct member_fields *a, const struct member_fields *b)
{
    if (a->protocol_count != b->protocol_count)
        return false;
    for (size_t i = 0; i < a->protocol_count; i++) {
        const struct group_protocol *p = &a->protocols[i], *q = &b->protocols[i];

        if (!str_equal(p->name, q->name) || p->metadata.size != q->metadata.size ||
            (p->metadata.size && memcmp(p->metadata.data, q->metadata.data, p->metadata.size) != 0))
            return false;
    }
    return true;
}

static bool same_fields(const struct member_fields *a, const struct member_fields *b)
{
    return str_equal(a->instance_id, b->instance_id) && str_equal(a->rack_id, b->rack_id) &&
           str_equal(a->assignor, b->assignor) && str_equal(a->client_id, b->client_id) &&
           str_equal(a->client_host, b->client_host) && str_equal(a->regex, b->regex) &&
           a->rebalance_timeout_ms == b->rebalance_timeout_ms && a->classic == b->classic &&
           a->session_timeout_ms == b->session_timeout_ms && same_protocols(a, b) &&
           same_topics(a->topics, a->topic_count, b->topics, b->topic_count);
}

static void drop_unused_regexes(struct group_core *c, struct group *g)
{
    struct subscribed_regex *x, *next;

    HASH_ITER(hh, g->consumer->regexes, x, next)
    if (!x->members && x->resolved)
        consumer_emit_regex_tombstone(c, g, x->pattern);
}

struct subscription_change consumer_member_update(struct group_core *c, struct group *g,
                                                  struct str id, const struct member_fields *f)
{
    static const struct member_fields nothing = {.regex = STR("")};
    struct consumer_group *cg = g->consumer;
    const struct consumer_member *m = consumer_member_find(cg, id);
    const struct member_fields *old = m ? &m->fields : &nothing;
    struct subscription_change change = {0};
    const struct subscribed_regex *x;
    struct str old_assignor = STR_NULL;
    bool votes;

    if (m && same_fields(old, f))
        return change;
    change.topics = !same_topics(old->topics, old->topic_count, f->topics, f->topic_count);
    change.regex = !str_equal(old->regex, f->regex);
    x = f->regex.size ? consumer_regex_find(cg, f->regex) : NULL;
    change.regex_resolved =
        change.regex && (f->regex.size ? x && x->members && x->resolved : old->regex.size > 0);
    votes = !str_equal(old->assignor, f->assignor);
    if (votes)
        old_assignor = consumer_group_assignor(c, cg);
    consumer_emit_member(c, g, id, f);
    drop_unused_regexes(c, g);
    change.assignor = votes && !str_equal(old_assignor, consumer_group_assignor(c, cg));
    return change;
}

struct consumer_member *consumer_member_replace(struct group_core *c, struct group *g,
                                                struct consumer_member *old, struct str id)
{
    struct member_progress p = {.state = old->state};
    struct held_set target;
    struct member_fields f = old->fields;
    struct str new_id = group_fx_str(c, id), *topics;
    struct group_protocol *protocols = group_fx_protocols(c, f.protocols, f.protocol_count);

    /* All that the old one's memory holds, before it goes. */
    if (!protocols || !held_room(c, &p.assigned, old->assigned.count) ||
        !held_room(c, &p.revoking, old->revoking.count) ||
        !held_room(c, &target, old->target.count))
        return NULL;
    for (; p.assigned.count < old->assigned.count; p.assigned.count++)
        p.assigned.items[p.assigned.count] = old->assigned.items[p.assigned.count];
    for (; p.revoking.count < old->revoking.count; p.revoking.count++)
        p.revoking.items[p.revoking.count] = old->revoking.items[p.revoking.count];
    for (; target.count < old->target.count; target.count++)
        target.items[target.count] = old->target.items[target.count];
    topics = consumer_sort_topics(c, f.topics, f.topic_count, &f.topic_count);
    if (!topics)
        return NULL;
    for (size_t i = 0; i < f.topic_count; i++)
        topics[i] = group_fx_str(c, topics[i]);
    f.topics = topics;
    f.protocols = protocols;
    f.instance_id = group_fx_str(c, f.instance_id);
    f.rack_id = group_fx_str(c, f.rack_id);
    f.assignor = group_fx_str(c, f.assignor);
    f.client_id = group_fx_str(c, f.client_id);
    f.client_host = group_fx_str(c, f.client_host);
    f.regex = group_fx_str(c, f.regex);
    if (c->failed)
        return NULL;

    consumer_emit_member_gone(c, g, old->id);
    consumer_emit_member(c, g, new_id, &f);
    consumer_emit_target(c, g, new_id, &target);
    consumer_emit_progress(c, g, new_id, &p);
    drop_unused_regexes(
        c, g); /* the new one may have been there, dynamic and with another expression */
    return c->failed ? NULL : consumer_member_find(g->consumer, new_id);
}

/* ---- leaving ---- */

void consumer_members_leave(struct group_core *c, struct group *g, const struct str *ids,
                            size_t count)
{
    struct consumer_group *cg = g->consumer;

    if (convert_to_classic(c, g, ids, count, true) || c->failed)
        return;
    for (size_t i = 0; i < count; i++)
        if (consumer_member_find(cg, ids[i]))
            consumer_emit_member_gone(c, g, ids[i]);
    drop_unused_regexes(c, g);
    if (c->failed)
        return;
    consumer_group_update_epoch(c, g, true);
    if (!cg->members)
        consumer_emit_target_epoch(c, g, cg->epoch, 0);
}

static void leave(struct group_core *c, struct group *g, struct group_caller *who,
                  const struct group_consumer_heartbeat *r)
{
    struct group_consumer_heartbeat_answer *answer = &who->consumer_heartbeat;
    struct consumer_member *m;
    struct str id;

    if (g->type != GROUP_CONSUMER) {
        refuse(c, who, KERR_GROUP_ID_NOT_FOUND, "Group %.*s is not a consumer group.",
               STR_ARG(g->id));
        return;
    }
    m = r->instance_id.data ? consumer_static_member(g->consumer, r->instance_id)
                            : consumer_member_find(g->consumer, r->member_id);
    if (!m) {
        refuse(c, who, KERR_UNKNOWN_MEMBER_ID, "There is no such member in group %.*s.",
               STR_ARG(g->id));
        return;
    }
    if (!str_equal(m->id, r->member_id)) {
        refuse(c, who, KERR_FENCED_INSTANCE_ID, "Instance id %.*s is another member's now.",
               STR_ARG(r->instance_id));
        return;
    }
    answer->member_id = group_answer_str(who, m->id);
    answer->member_epoch = r->member_epoch;
    if (r->member_epoch == MEMBER_EPOCH_LEAVE_STATIC) {
        struct member_progress p = {
            MEMBER_EPOCH_LEAVE_STATIC, m->previous_epoch, m->state, {0}, {0}};

        /* It keeps what it has, for as long as its session lasts; whoever comes in its place may
         * commit with any epoch. */
        if (held_room(c, &p.assigned, m->assigned.count))
            for (size_t i = 0; i < m->assigned.count; i++)
                p.assigned.items[p.assigned.count++] =
                    (struct held){m->assigned.items[i].topic, m->assigned.items[i].partition, 0};
        consumer_emit_progress(c, g, m->id, &p);
        m->rebalance_deadline_ms = INT64_MAX;
    } else {
        id = group_fx_str(c, m->id);
        consumer_members_leave(c, g, &id, 1);
    }
    group_answer(c, who, KERR_NONE);
}

/* ---- checks of a request by itself ---- */

static bool is_blank(struct str s)
{
    for (size_t i = 0; i < s.size; i++)
        if ((unsigned char)s.data[i] > ' ')
            return false;
    return true;
}

static size_t request_bytes(const struct group_caller *who,
                            const struct group_consumer_heartbeat *r)
{
    size_t bytes = r->member_id.size + r->instance_id.size + r->rack_id.size +
                   r->server_assignor.size + r->subscribed_regex.size + who->client_id.size +
                   who->client_host.size;

    for (size_t i = 0; i < r->subscribed_topic_count; i++)
        bytes += r->subscribed_topics[i].size + sizeof(struct str);
    return bytes;
}

static const char *what_is_wrong(const struct group_caller *who,
                                 const struct group_consumer_heartbeat *r)
{
    bool joins = r->member_epoch == MEMBER_EPOCH_JOIN;

    if ((r->version >= 1 || r->member_epoch > 0 || r->member_epoch == MEMBER_EPOCH_LEAVE) &&
        is_blank(r->member_id))
        return "MemberId can't be empty.";
    if (is_blank(r->group))
        return "GroupId can't be empty.";
    if (r->instance_id.data && is_blank(r->instance_id))
        return "InstanceId can't be empty.";
    if (r->rack_id.data && is_blank(r->rack_id))
        return "RackId can't be empty.";
    if (joins && r->rebalance_timeout_ms == -1)
        return "RebalanceTimeoutMs must be provided in first request.";
    if (joins && (!r->owned || r->owned->topic_count))
        return "TopicPartitions must be empty when (re-)joining.";
    if (joins && !r->subscribed_topics && !r->subscribed_regex.data)
        return "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when "
               "(re-)joining.";
    if (r->member_epoch == MEMBER_EPOCH_LEAVE_STATIC && !r->instance_id.data)
        return "InstanceId can't be null.";
    if (r->member_epoch < MEMBER_EPOCH_LEAVE_STATIC)
        return "MemberEpoch is invalid.";
    if (request_bytes(who, r) > CONSUMER_MEMBER_BYTES_MAX)
        return "The subscription is too large.";
    return NULL;
}

static bool check_assignor(struct group_core *c, struct group_caller *who, struct str name)
{
    const struct group_settings *s = c->args.settings;
    char supported[256] = "";
    size_t at = 0;

    if (!name.data)
        return true;
    for (size_t i = 0; i < s->consumer_assignor_count; i++) {
        if (str_equal(str_from(s->consumer_assignors[i]), name))
            return true;
        if (at < sizeof supported)
            at += (size_t)snprintf(supported + at, sizeof supported - at, "%s%s", i ? ", " : "",
                                   s->consumer_assignors[i]);
    }
    refuse(c, who, KERR_UNSUPPORTED_ASSIGNOR,
           "ServerAssignor %.*s is not supported. Supported assignors: %s.", STR_ARG(name),
           supported);
    return false;
}

static bool check_request(struct group_core *c, struct group_caller *who,
                          const struct group_consumer_heartbeat *r)
{
    const char *wrong = what_is_wrong(who, r);

    if (!c->args.settings->consumer) {
        refuse(c, who, KERR_UNSUPPORTED_VERSION, "The consumer group protocol is not enabled.");
        return false;
    }
    if (wrong) {
        refuse(c, who, KERR_INVALID_REQUEST, "%s", wrong);
        return false;
    }
    return check_assignor(c, who, r->server_assignor);
}

/* Patterns that the group knows need no second look. */
static bool check_regex(struct group_core *c, const struct group *g, struct group_caller *who,
                        struct str regex)
{
    char message[GROUP_REGEX_MESSAGE_MAX];
    const struct subscribed_regex *known;

    if (!regex.size)
        return true;
    known = g->type == GROUP_CONSUMER ? consumer_regex_find(g->consumer, regex) : NULL;
    if ((known && known->members) || group_regex_check(regex, message) == KERR_NONE)
        return true;
    refuse(c, who, KERR_INVALID_REGULAR_EXPRESSION,
           "SubscribedTopicRegex `%.*s` is not a valid regular expression: %s.",
           (int)(regex.size < 128 ? regex.size : 128), regex.data, message);
    return false;
}

/* ---- joining, and going on ---- */

struct heartbeat {
    struct group_core *c;
    struct group *g;
    struct group_caller *who;
    const struct group_consumer_heartbeat *r;
    struct str id; /* of the member; made up for old clients that join */
    bool joins;
    struct held_set owned_set;
    const struct held_set *owned; /* NULL: it did not say */
};

static bool check_epoch(const struct heartbeat *h, const struct consumer_member *m)
{
    int32_t epoch = h->r->member_epoch;

    if (epoch > m->epoch) {
        refuse(h->c, h->who, KERR_FENCED_MEMBER_EPOCH,
               "The consumer group member has a greater member epoch (%d) than the "
               "one known by the group coordinator (%d). The member must abandon all its "
               "partitions and rejoin.",
               epoch, m->epoch);
        return false;
    }
    /* The answer that told it the newest epoch may be lost: then it has nothing that is not its own
     * in that one too. */
    if (epoch < m->epoch) {
        bool subset = epoch == m->previous_epoch && h->owned;

        for (size_t i = 0; subset && i < h->owned->count; i++)
            subset =
                held_find(&m->assigned, h->owned->items[i].topic, h->owned->items[i].partition);
        if (!subset) {
            refuse(h->c, h->who, KERR_FENCED_MEMBER_EPOCH,
                   "The consumer group member has a smaller member epoch (%d) than "
                   "the one known by the group coordinator (%d). The member must abandon all its "
                   "partitions and rejoin.",
                   epoch, m->epoch);
            return false;
        }
    }
    return true;
}

static bool check_state(const struct heartbeat *h, const struct consumer_member *m)
{
    if (m->state != MEMBER_UNKNOWN || (h->owned && h->owned->count == 0))
        return true;
    refuse(h->c, h->who, KERR_FENCED_MEMBER_EPOCH,
           "The consumer group member is in a unknown state. The member must abandon "
           "all its partitions and rejoin.");
    return false;
}

static bool check_static(const struct heartbeat *h, const struct consumer_member *m)
{
    if (!m) {
        refuse(h->c, h->who, KERR_UNKNOWN_MEMBER_ID, "Instance id %.*s is unknown.",
               STR_ARG(h->r->instance_id));
        return false;
    }
    if (!str_equal(m->id, h->id)) {
        refuse(h->c, h->who, KERR_FENCED_INSTANCE_ID,
               "Static member %.*s with instance id %.*s was fenced by member %.*s.",
               STR_ARG(h->id), STR_ARG(h->r->instance_id), STR_ARG(m->id));
        return false;
    }
    return true;
}

/* A member that goes on. NULL: refused. */
static struct consumer_member *find_member(const struct heartbeat *h)
{
    struct consumer_member *m;

    if (h->r->instance_id.data) {
        m = consumer_static_member(h->g->consumer, h->r->instance_id);
        if (!check_static(h, m))
            return NULL;
    } else {
        m = consumer_member_find(h->g->consumer, h->id);
        if (!m) {
            refuse(h->c, h->who, KERR_UNKNOWN_MEMBER_ID,
                   "Member %.*s is not a member of group %.*s.", STR_ARG(h->id), STR_ARG(h->g->id));
            return NULL;
        }
    }
    return check_epoch(h, m) && check_state(h, m) ? m : NULL;
}

static bool has_room(const struct heartbeat *h)
{
    const struct consumer_group *cg = h->g->consumer;
    int32_t max = h->c->args.settings->consumer_max_size;

    if (h->g->type != GROUP_CONSUMER)
        return true; /* nobody is there, or convert_to_consumer looks */
    if (h->r->instance_id.data && consumer_static_member(cg, h->r->instance_id))
        return true;
    if (consumer_member_find(cg, h->id))
        return true;
    if (consumer_group_size(cg) < (size_t)max &&
        cg->bytes + request_bytes(h->who, h->r) <= CONSUMER_GROUP_BYTES_MAX)
        return true;
    refuse(h->c, h->who, KERR_GROUP_MAX_SIZE_REACHED,
           "The consumer group has reached its maximum capacity of %d members.", max);
    return false;
}

static bool instance_is_free(const struct heartbeat *h)
{
    const struct consumer_member *m;

    if (h->g->type != GROUP_CONSUMER || !h->r->instance_id.data)
        return true;
    m = consumer_static_member(h->g->consumer, h->r->instance_id);
    if (!m || m->fields.classic || m->epoch == MEMBER_EPOCH_LEAVE_STATIC)
        return true;
    refuse(h->c, h->who, KERR_UNRELEASED_INSTANCE_ID,
           "Static member %.*s with instance id %.*s cannot join the group because "
           "the instance id is owned by %.*s member.",
           STR_ARG(h->id), STR_ARG(h->r->instance_id), STR_ARG(m->id));
    return false;
}

/* Whatever the group was, it is a consumer group from here on. */
static bool take_group(const struct heartbeat *h)
{
    struct group *g = h->g;
    const char *wrong = NULL;
    struct consumer_group *cg;

    if (g->type == GROUP_CONSUMER)
        return true;
    if (g->type == GROUP_CLASSIC && !classic_group_is_empty(g->classic)) {
        if (convert_to_consumer(h->c, g, &wrong))
            return true;
        refuse(h->c, h->who, KERR_GROUP_ID_NOT_FOUND,
               "Cannot upgrade classic group %.*s to consumer group: %s.", STR_ARG(g->id),
               wrong ? wrong : "out of memory");
        return false;
    }
    cg = consumer_group_create(h->c);
    if (!cg) {
        group_answer(h->c, h->who, KERR_COORDINATOR_NOT_AVAILABLE);
        return false;
    }
    if (g->type == GROUP_CLASSIC)
        classic_group_emit_tombstone(h->c);
    group_become(h->c, g, GROUP_CONSUMER, cg);
    return true;
}

/* Everything that can be refused is, before the first record. */
static bool admit(const struct heartbeat *h)
{
    if (!check_regex(h->c, h->g, h->who, h->r->subscribed_regex))
        return false;
    if (!h->joins) {
        if (h->g->type == GROUP_CONSUMER)
            return find_member(h);
        refuse(h->c, h->who, KERR_GROUP_ID_NOT_FOUND, "Group %.*s is not a consumer group.",
               STR_ARG(h->g->id));
        return false;
    }
    return has_room(h) && instance_is_free(h) && take_group(h);
}

/* What the member says of itself now. */
static struct member_fields merge_fields(const struct heartbeat *h, const struct consumer_member *m)
{
    const struct group_consumer_heartbeat *r = h->r;
    struct member_fields f =
        m ? m->fields : (struct member_fields){.regex = STR(""), .rebalance_timeout_ms = -1};

    if (r->instance_id.data)
        f.instance_id = r->instance_id;
    if (r->rack_id.data)
        f.rack_id = r->rack_id;
    if (r->rebalance_timeout_ms != -1)
        f.rebalance_timeout_ms = r->rebalance_timeout_ms;
    if (r->server_assignor.data)
        f.assignor = r->server_assignor;
    if (r->subscribed_regex.data)
        f.regex = r->subscribed_regex;
    if (r->subscribed_topics)
        f.topics = consumer_sort_topics(h->c, r->subscribed_topics, r->subscribed_topic_count,
                                        &f.topic_count);
    f.client_id = h->who->client_id.data ? h->who->client_id : STR("");
    f.client_host = h->who->client_host.data ? h->who->client_host : STR("");
    f.classic = false;
    f.session_timeout_ms = 0;
    f.protocols = NULL;
    f.protocol_count = 0;
    return f;
}

/* Who waits for partitions that others are to give back comes again sooner: as a rule they do so at
 * once, and the time to the next heartbeat is most of what a rebalance takes. */
static int32_t interval_for(const struct group_core *c, const struct consumer_member *m,
                            const struct group_config *config)
{
    int32_t interval = config->consumer_heartbeat_interval_ms;

    if (c->heartbeat_interval_ms > 0 && c->heartbeat_interval_ms < interval)
        interval = c->heartbeat_interval_ms;
    if (m->state == MEMBER_UNRELEASED && interval / WAITING_PACE >= WAITING_INTERVAL_MIN_MS)
        interval /= WAITING_PACE;
    return interval;
}

static void answer(const struct heartbeat *h, struct consumer_member *m, bool with_assignment)
{
    struct group_consumer_heartbeat_answer *a = &h->who->consumer_heartbeat;
    struct group_assignment *assignment;
    struct group_config config;

    h->c->args.config(h->c->args.arg, h->g->id, &config);
    consumer_member_heard(h->c, h->g, m, config.consumer_session_timeout_ms);
    a->member_id = group_answer_str(h->who, m->id);
    a->member_epoch = m->epoch;
    a->heartbeat_interval_ms = interval_for(h->c, m, &config);
    if (with_assignment) {
        assignment = group_answer_array(h->who, 1, sizeof *assignment);
        if (assignment && held_answer(h->c, h->who, &m->assigned, assignment))
            a->assignment = assignment;
    }
    group_answer(h->c, h->who, KERR_NONE);
}

static bool is_full_request(const struct group_consumer_heartbeat *r)
{
    return r->rebalance_timeout_ms != -1 && (r->subscribed_topics || r->subscribed_regex.data) &&
           r->owned;
}

/* A copy in fx->arena. */
static struct held_set snapshot(struct group_core *c, const struct held_set *s)
{
    struct held_set copy = {0};

    if (s->count && held_room(c, &copy, s->count)) {
        memcpy(copy.items, s->items, s->count * sizeof *s->items);
        copy.count = s->count;
    }
    return copy;
}

/* False: out of memory, and not answered. */
static bool admitted(struct heartbeat *h)
{
    struct group_core *c = h->c;
    struct group *g = h->g;
    struct consumer_member *m =
        h->r->instance_id.data ? consumer_static_member(g->consumer, h->r->instance_id) : NULL;
    struct subscription_change change;
    struct held_set before;
    struct member_fields f;
    bool merged =
        m && h->joins && !str_equal(m->id, h->id) && consumer_member_find(g->consumer, h->id);

    if (m && h->joins)
        m = consumer_member_replace(c, g, m, h->id);
    else if (!m)
        m = consumer_member_find(g->consumer, h->id);
    f = merge_fields(h, m);
    if (c->failed)
        return false;
    change = consumer_member_update(c, g, h->id, &f);
    m = consumer_member_find(g->consumer, h->id);
    if (c->failed || !m)
        return false;
    m->join_deadline_ms = INT64_MAX;
    m->sync_deadline_ms = INT64_MAX;
    consumer_group_refresh_regexes(c, g);
    consumer_group_update_epoch(
        c, g, change.topics || change.regex_resolved || change.assignor || merged);
    consumer_group_assign(c, g);
    before = snapshot(c, &m->assigned);
    consumer_member_reconcile(c, g, m, h->owned, change.topics || change.regex);
    if (c->failed)
        return false;
    /* Until it has revoked, and says so, the answer that told it to may be lost: its epoch stays
     * the same, and it would go on as if nothing had been asked of it. */
    answer(h, m,
           h->joins || is_full_request(h->r) || !held_equal(&before, &m->assigned) ||
               m->state == MEMBER_UNREVOKED);
    return true;
}

void consumer_group_heartbeat(struct group_core *c, struct group *g, struct group_caller *who,
                              const struct group_consumer_heartbeat *r)
{
    struct heartbeat h = {.c = c,
                          .g = g,
                          .who = who,
                          .r = r,
                          .id = r->member_id,
                          .joins = r->member_epoch == MEMBER_EPOCH_JOIN};
    char made_up[UUID_TEXT_CHARS + 1];

    if (!check_request(c, who, r))
        return;
    if (r->member_epoch < 0) {
        leave(c, g, who, r);
        return;
    }
    if (!h.id.size) {
        uuid_format(group_random_uuid(c), made_up);
        h.id = (struct str){made_up, UUID_TEXT_CHARS};
    }
    if (r->owned) {
        if (held_from_request(c, r->owned, &h.owned_set))
            h.owned = &h.owned_set;
    }
    if (c->failed || (admit(&h) && !admitted(&h)))
        group_answer(c, who,
                     KERR_COORDINATOR_NOT_AVAILABLE); /* out of memory: the core ends here */
}

/* ---- time ---- */

static int64_t member_deadline(const struct consumer_member *m)
{
    int64_t first = m->session_deadline_ms;

    first = m->rebalance_deadline_ms < first ? m->rebalance_deadline_ms : first;
    first = m->join_deadline_ms < first ? m->join_deadline_ms : first;
    return m->sync_deadline_ms < first ? m->sync_deadline_ms : first;
}

static void set_deadline(struct group_core *c, struct group *g)
{
    int64_t first = INT64_MAX;

    for (const struct consumer_member *m = g->consumer->members; m; m = m->hh.next) {
        int64_t due = member_deadline(m);

        first = due < first ? due : first;
    }
    /* More were due than one step removes. */
    group_set_deadline(c, g, first > c->now_ms ? first : c->now_ms + 1);
}

void consumer_group_tick(struct group_core *c, struct group *g)
{
    struct str *ids = group_fx_array(c, FENCED_PER_TICK, sizeof *ids);
    size_t count = 0;

    if (!ids)
        return;
    for (const struct consumer_member *m = g->consumer->members; m && count < FENCED_PER_TICK;
         m = m->hh.next)
        if (member_deadline(m) <= c->now_ms)
            ids[count++] = group_fx_str(c, m->id);
    if (count)
        consumer_members_leave(c, g, ids, consumer_names_sort(ids, count));
    if (g->type == GROUP_CONSUMER && !c->failed)
        set_deadline(c, g);
}

void consumer_group_loaded(struct group_core *c, struct group *g)
{
    struct group_config config;

    c->args.config(c->args.arg, g->id, &config);
    for (struct consumer_member *m = g->consumer->members; m; m = m->hh.next) {
        consumer_member_heard(c, g, m,
                              m->fields.classic ? m->fields.session_timeout_ms
                                                : config.consumer_session_timeout_ms);
        if (m->state == MEMBER_UNREVOKED && !m->fields.classic && m->epoch >= 0) {
            m->rebalance_deadline_ms =
                c->now_ms +
                (m->fields.rebalance_timeout_ms > 0 ? m->fields.rebalance_timeout_ms : 0);
            group_due_at(c, g, m->rebalance_deadline_ms);
        }
    }
}

void consumer_group_stop(struct group_core *c, struct group *g, enum kerr code)
{
    /* Nobody waits inside: every request is answered in its own step. */
    (void)c;
    (void)g;
    (void)code;
}
