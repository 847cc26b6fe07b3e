/* Where the two protocols meet (group.consumer.migration.policy).
 *
 *   classic group   --a member of the new protocol joins-->   consumer group; the others stay
 *   consumer group  --its last member of the new one goes-->  classic group
 *
 * In between classic members get from a consumer group what they expect of a classic one: their
 * JoinGroup is a subscription, the generation is their member epoch, SyncGroup hands out what they
 * have been assigned, and REBALANCE_IN_PROGRESS at a heartbeat sends them round once more. Nobody
 * ever waits inside. */

#include "broker/coordinator/group_classic.h"
#include "broker/coordinator/group_consumer.h"
#include "protocol/messages/client_records.h"

#include <stdlib.h>

enum { PROTOCOL_VERSION_MAX = 3, RECORD_HEAD = 64 /* more than a record's own bytes */ };

#define CONSUMER_PROTOCOL STR("consumer")

/* ---- what classic consumers put into bytes ---- */

/* Begins reading; -1: no version that could be read. Newer ones are read as the newest known, as
 * Kafka does. */
static int16_t embedded_version(struct reader *r, struct bytes b)
{
    int16_t version;

    *r = reader_of(b.data, b.size);
    version = read_int16(r);
    if (!reader_ok(r) || version < 0)
        return -1;
    return version < PROTOCOL_VERSION_MAX ? version : PROTOCOL_VERSION_MAX;
}

static bool read_subscription(struct group_core *c, struct bytes metadata,
                              struct consumer_protocol_subscription *out)
{
    struct reader r;
    int16_t version = embedded_version(&r, metadata);

    return version >= 0 && consumer_protocol_subscription_decode(out, &r, &c->fx->arena, version);
}

static bool read_assignment(struct group_core *c, struct bytes assignment,
                            struct consumer_protocol_assignment *out)
{
    struct reader r;
    int16_t version;

    consumer_protocol_assignment_init(out);
    if (!assignment.size)
        return true;
    version = embedded_version(&r, assignment);
    return version >= 0 && consumer_protocol_assignment_decode(out, &r, &c->fx->arena, version);
}

/* The set as a SyncGroup answer has it, in the version that the member's metadata are in; from
 * fx->arena. Topics that are no more are left out. */
static struct bytes write_assignment(struct group_core *c, const struct held_set *s,
                                     struct bytes metadata)
{
    struct consumer_protocol_assignment a;
    struct reader r;
    int16_t version = embedded_version(&r, metadata);
    int32_t *partitions = group_fx_array(c, s->count, sizeof *partitions);
    struct bytes_mut bytes;
    struct bytes copy;
    struct writer w;

    consumer_protocol_assignment_init(&a);
    a.assigned_partitions = group_fx_array(c, s->count, sizeof *a.assigned_partitions);
    if (!partitions || !a.assigned_partitions)
        return (struct bytes){(const uint8_t *)"", 0};
    for (size_t i = 0; i < s->count;) {
        const struct metadata_topic *topic =
            metadata_image_topic_by_id(c->image, s->items[i].topic);
        size_t end = i;

        for (; end < s->count && uuid_equal(s->items[end].topic, s->items[i].topic); end++)
            partitions[end] = s->items[end].partition;
        if (topic)
            a.assigned_partitions[a.assigned_partitions_count++] =
                (struct consumer_protocol_assignment_topic_partition){.topic = topic->name,
                                                                      .partitions = partitions + i,
                                                                      .partitions_count = end - i};
        i = end;
    }
    writer_init(&w, SIZE_MAX);
    write_int16(&w, version < 0 ? 0 : version);
    consumer_protocol_assignment_encode(&a, &w, version < 0 ? 0 : version);
    if (!writer_ok(&w))
        group_fail(c);
    bytes = writer_take(&w);
    copy = group_fx_bytes(c, (struct bytes){bytes.data, bytes.size});
    free(bytes.data);
    return copy;
}

static struct bytes first_metadata(const struct member_fields *f)
{
    return f->protocol_count ? f->protocols[0].metadata : (struct bytes){NULL, 0};
}

/* ---- classic to consumer ---- */

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
    struct group_protocol *protocols = group_fx_array(c, m->protocol_count, sizeof *protocols);
    struct str *topics = group_fx_array(c, s->topics_count, sizeof *topics);

    if (!protocols || !topics)
        return false;
    for (size_t i = 0; i < m->protocol_count; i++)
        protocols[i] = (struct group_protocol){group_fx_str(c, m->protocols[i].name),
                                               group_fx_bytes(c, m->protocols[i].metadata)};
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

static bool copy_assignment(struct group_core *c, const struct consumer_protocol_assignment *a,
                            struct held_set *out, int32_t epoch)
{
    size_t total = 0;

    for (size_t t = 0; t < a->assigned_partitions_count; t++)
        total += a->assigned_partitions[t].partitions_count;
    if (!held_room(c, out, total))
        return false;
    for (size_t t = 0; t < a->assigned_partitions_count; t++) {
        const struct metadata_topic *topic =
            metadata_image_topic(c->image, a->assigned_partitions[t].topic);

        for (size_t p = 0; topic && p < a->assigned_partitions[t].partitions_count; p++)
            if (metadata_topic_partition(topic, a->assigned_partitions[t].partitions[p]))
                out->items[out->count++] =
                    (struct held){topic->id, a->assigned_partitions[t].partitions[p], epoch};
    }
    held_sort(out);
    return true;
}

static size_t fields_bytes(const struct member_fields *f)
{
    size_t bytes = RECORD_HEAD + f->instance_id.size + f->rack_id.size + f->client_id.size +
                   f->client_host.size;

    for (size_t i = 0; i < f->topic_count; i++)
        bytes += f->topics[i].size + 3;
    for (size_t i = 0; i < f->protocol_count; i++)
        bytes += f->protocols[i].name.size + f->protocols[i].metadata.size + 8;
    return bytes;
}

static bool take_member(struct upgrade *u, const struct classic_member *m, struct str protocol,
                        const char **wrong)
{
    struct consumer_protocol_subscription subscription;
    struct consumer_protocol_assignment assignment;
    size_t i = u->count++;

    if (!read_subscription(u->c, classic_member_metadata(m, protocol), &subscription) ||
        !read_assignment(u->c, m->assignment, &assignment)) {
        *wrong = "the embedded consumer protocol is malformed";
        return false;
    }
    if (assignment.user_data.size) {
        *wrong = "an unsupported custom assignor is in use";
        return false;
    }
    u->ids[i] = group_fx_str(u->c, m->id);
    if (!copy_fields(u->c, m, &subscription, &u->fields[i]) ||
        !copy_assignment(u->c, &assignment, &u->assigned[i], u->generation))
        return false;
    u->bytes += fields_bytes(&u->fields[i]) + m->id.size +
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

/* ---- consumer to classic ---- */

struct downgrade {
    struct group_core *c;
    struct group *g;
    struct classic_member_args *members;
    struct held_set *targets;
    size_t count;
    size_t bytes;
};

static bool is_leaving(struct str id, const struct str *leaving, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (str_equal(leaving[i], id))
            return true;
    return false;
}

/* All that stay speak the classic protocol, there are some, and the settings allow. */
static bool may_downgrade(const struct group_core *c, const struct consumer_group *cg,
                          const struct str *leaving, size_t count)
{
    size_t gone = 0, gone_classic = 0, stay;

    for (size_t i = 0; i < count; i++) {
        const struct consumer_member *m = consumer_member_find(cg, leaving[i]);

        if (m && !is_leaving(leaving[i], leaving, i)) {
            gone++;
            gone_classic += m->fields.classic;
        }
    }
    stay = consumer_group_size(cg) - gone;
    return stay > 0 && cg->classic_count - gone_classic == stay && c->args.settings->downgrade &&
           stay <= (size_t)c->args.settings->max_size;
}

static bool copy_member(struct downgrade *d, const struct consumer_member *m)
{
    struct group_core *c = d->c;
    struct group_protocol *protocols =
        group_fx_array(c, m->fields.protocol_count, sizeof *protocols);
    struct held_set *target = &d->targets[d->count];

    if (!protocols || !held_room(c, target, m->target.count))
        return false;
    for (size_t i = 0; i < m->fields.protocol_count; i++)
        protocols[i] = (struct group_protocol){group_fx_str(c, m->fields.protocols[i].name),
                                               group_fx_bytes(c, m->fields.protocols[i].metadata)};
    for (; target->count < m->target.count; target->count++)
        target->items[target->count] = m->target.items[target->count];
    d->members[d->count++] = (struct classic_member_args){
        .id = group_fx_str(c, m->id),
        .instance_id = group_fx_str(c, m->fields.instance_id),
        .client_id = group_fx_str(c, m->fields.client_id),
        .client_host = group_fx_str(c, m->fields.client_host),
        .protocols = protocols,
        .protocol_count = m->fields.protocol_count,
        .session_timeout_ms = m->fields.session_timeout_ms,
        .rebalance_timeout_ms = m->fields.rebalance_timeout_ms,
    };
    d->bytes += fields_bytes(&m->fields) + 4 * (RECORD_HEAD + m->id.size + d->g->id.size) +
                (m->target.count + 1) * (sizeof(struct held) + 256 /* a topic's name */);
    return !c->failed;
}

static bool gather_classic(struct downgrade *d, const struct str *leaving, size_t count)
{
    const struct consumer_group *cg = d->g->consumer;

    d->members = group_fx_array(d->c, consumer_group_size(cg), sizeof *d->members);
    d->targets = group_fx_array(d->c, consumer_group_size(cg), sizeof *d->targets);
    if (!d->members || !d->targets)
        return false;
    for (const struct consumer_member *m = cg->members; m; m = m->hh.next)
        if (!is_leaving(m->id, leaving, count) && !copy_member(d, m))
            return false;
    return d->bytes <= GROUP_BATCH_BYTES_MAX;
}

static bool fill_classic(struct downgrade *d, int32_t generation)
{
    struct group_core *c = d->c;
    struct classic_group *cg = d->g->classic;
    struct str protocol;

    cg->generation = generation;
    for (size_t i = 0; i < d->count; i++)
        if (!classic_group_add(c, d->g, CONSUMER_PROTOCOL, &d->members[i]))
            return false;
    protocol = group_fx_str(c, classic_group_vote(cg));
    classic_group_set_protocol(c, cg, protocol);
    for (size_t i = 0; i < d->count && !c->failed; i++) {
        struct classic_member *m = classic_group_member(cg, d->members[i].id);
        struct bytes assignment =
            write_assignment(c, &d->targets[i], classic_member_metadata(m, protocol));

        group_drop_bytes(&m->assignment);
        group_keep_bytes(c, &m->assignment, assignment);
        classic_member_heard(c, d->g, m);
    }
    return !c->failed;
}

static bool downgrade(struct group_core *c, struct group *g, const struct str *leaving,
                      size_t count, bool rebalance)
{
    struct downgrade d = {.c = c, .g = g};
    int32_t generation = g->consumer->epoch;
    struct classic_group *cg;

    if (!may_downgrade(c, g->consumer, leaving, count) || !gather_classic(&d, leaving, count))
        return false;
    cg = classic_group_create(c);
    if (!cg)
        return false;
    consumer_group_tombstones(c, g);
    group_become(c, g, GROUP_CLASSIC, cg);
    if (!fill_classic(&d, generation))
        return false;
    /* Not by the door that new groups come in by. */
    cg->state = CLASSIC_STABLE;
    cg->state_wall_ms = group_wall_ms(c);
    classic_group_emit(c, g);
    if (rebalance)
        classic_group_prepare_rebalance(c, g);
    return true;
}

bool convert_to_classic_without(struct group_core *c, struct group *g, const struct str *leaving,
                                size_t count)
{
    return downgrade(c, g, leaving, count, true);
}

/* ---- JoinGroup ---- */

static void refuse_join(struct group_core *c, struct group_caller *who, struct str id,
                        enum kerr code)
{
    who->join.member_id = group_answer_str(who, id);
    group_answer(c, who, code);
}

/* One of the protocols is offered by all classic members that are there. */
static bool supports(const struct consumer_group *cg, const struct group_join *r)
{
    if (!str_equal(r->protocol_type, CONSUMER_PROTOCOL))
        return false;
    for (size_t i = 0; i < r->protocol_count; i++) {
        size_t offered = 0;

        for (const struct consumer_member *m = cg->members; m; m = m->hh.next) {
            bool offers = false;

            for (size_t k = 0; k < m->fields.protocol_count && !offers; k++)
                offers = str_equal(m->fields.protocols[k].name, r->protocols[i].name);
            offered += offers;
        }
        if (offered == cg->classic_count)
            return true;
    }
    return false;
}

static size_t join_bytes(const struct group_caller *who, const struct group_join *r)
{
    size_t bytes =
        r->member_id.size + r->instance_id.size + who->client_id.size + who->client_host.size;

    for (size_t i = 0; i < r->protocol_count; i++)
        bytes += r->protocols[i].name.size +
                 2 * r->protocols[i].metadata.size; /* its topics once more */
    return bytes;
}

static enum kerr check_static_join(const struct consumer_group *cg, const struct group_join *r)
{
    const struct consumer_member *m;

    if (!r->instance_id.data || !r->member_id.size)
        return KERR_NONE;
    m = consumer_static_member(cg, r->instance_id);
    if (!m)
        return KERR_UNKNOWN_MEMBER_ID;
    return str_equal(m->id, r->member_id) ? KERR_NONE : KERR_FENCED_INSTANCE_ID;
}

static enum kerr check_join(struct group_core *c, const struct consumer_group *cg,
                            const struct group_caller *who, const struct group_join *r,
                            struct consumer_protocol_subscription *subscription)
{
    const struct group_settings *s = c->args.settings;
    bool is_new = !(r->instance_id.data && consumer_static_member(cg, r->instance_id)) &&
                  !(r->member_id.size && consumer_member_find(cg, r->member_id));

    if (!s->upgrade && !s->downgrade)
        return KERR_INCONSISTENT_GROUP_PROTOCOL;
    if (is_new && (consumer_group_size(cg) >= (size_t)s->consumer_max_size ||
                   cg->bytes + join_bytes(who, r) > CONSUMER_GROUP_BYTES_MAX))
        return KERR_GROUP_MAX_SIZE_REACHED;
    if (!supports(cg, r))
        return KERR_INCONSISTENT_GROUP_PROTOCOL;
    if (join_bytes(who, r) > CONSUMER_MEMBER_BYTES_MAX)
        return KERR_INVALID_REQUEST;
    if (!r->member_id.size && !r->instance_id.data && r->require_known_member_id)
        return KERR_MEMBER_ID_REQUIRED;
    if (!read_subscription(c, r->protocols[0].metadata, subscription))
        return KERR_INCONSISTENT_GROUP_PROTOCOL;
    return check_static_join(cg, r);
}

static struct member_fields join_fields(struct group_core *c, const struct group_caller *who,
                                        const struct group_join *r,
                                        const struct consumer_protocol_subscription *s,
                                        const struct consumer_member *m)
{
    struct member_fields f = m ? m->fields : (struct member_fields){.rebalance_timeout_ms = -1};

    if (r->instance_id.data)
        f.instance_id = r->instance_id;
    if (s->rack_id.size)
        f.rack_id = s->rack_id;
    if (r->rebalance_timeout_ms != -1)
        f.rebalance_timeout_ms = r->rebalance_timeout_ms;
    f.topics = consumer_sort_topics(c, s->topics, s->topics_count, &f.topic_count);
    f.regex = STR("");
    f.client_id = who->client_id.data ? who->client_id : STR("");
    f.client_host = who->client_host.data ? who->client_host : STR("");
    f.classic = true;
    f.session_timeout_ms = r->session_timeout_ms;
    f.protocols = r->protocols;
    f.protocol_count = r->protocol_count;
    return f;
}

/* What a joining member says it has. */
static bool owned_set(struct group_core *c, const struct consumer_protocol_subscription *s,
                      struct held_set *out)
{
    size_t total = 0;

    for (size_t t = 0; t < s->owned_partitions_count; t++)
        total += s->owned_partitions[t].partitions_count;
    if (!held_room(c, out, total))
        return false;
    for (size_t t = 0; t < s->owned_partitions_count; t++) {
        const struct metadata_topic *topic =
            metadata_image_topic(c->image, s->owned_partitions[t].topic);

        for (size_t p = 0; topic && p < s->owned_partitions[t].partitions_count; p++)
            out->items[out->count++] =
                (struct held){topic->id, s->owned_partitions[t].partitions[p], 0};
    }
    held_sort(out);
    return true;
}

static void answer_join(struct group_core *c, struct group *g, struct group_caller *who,
                        const struct group_join *r, struct consumer_member *m)
{
    m->join_deadline_ms = INT64_MAX;
    m->sync_deadline_ms = c->now_ms + (r->rebalance_timeout_ms > 0 ? r->rebalance_timeout_ms : 0);
    group_due_at(c, g, m->sync_deadline_ms);
    consumer_member_heard(c, g, m, r->session_timeout_ms);
    who->join.generation = m->epoch;
    who->join.protocol_type = CONSUMER_PROTOCOL;
    who->join.protocol = group_answer_str(who, m->fields.protocols[0].name);
    who->join.member_id = group_answer_str(who, m->id);
    group_answer(c, who, KERR_NONE);
}

/* False: out of memory, and not answered. */
static bool joined(struct group_core *c, struct group *g, struct group_caller *who,
                   const struct group_join *r,
                   const struct consumer_protocol_subscription *subscription)
{
    struct consumer_member *m =
        r->instance_id.data ? consumer_static_member(g->consumer, r->instance_id) : NULL;
    struct group_join again = *r;
    struct subscription_change change;
    struct held_set owned;
    struct member_fields f;
    bool replaces = m && !str_equal(m->id, r->member_id);
    bool merged = replaces && consumer_member_find(g->consumer, r->member_id);

    again.member_id = group_fx_str(c, r->member_id);
    if (replaces)
        m = consumer_member_replace(c, g, m, r->member_id);
    else if (!m)
        m = consumer_member_find(g->consumer, r->member_id);
    f = join_fields(c, who, r, subscription, m);
    if (c->failed || !owned_set(c, subscription, &owned))
        return false;
    change = consumer_member_update(c, g, r->member_id, &f);
    m = consumer_member_find(g->consumer, r->member_id);
    if (c->failed || !m)
        return false;
    consumer_group_refresh_regexes(c, g);
    consumer_group_update_epoch(c, g, change.topics || change.regex || change.assignor || merged);
    if (replaces && downgrade(c, g, NULL, 0, g->consumer->assignment_epoch < g->consumer->epoch)) {
        /* It took the place of the last member of the new protocol. */
        classic_group_join(c, g, who, &again);
        return true;
    }
    consumer_group_assign(c, g);
    consumer_member_reconcile(c, g, m, &owned, change.topics || change.regex);
    if (c->failed)
        return false;
    answer_join(c, g, who, r, m);
    return true;
}

void convert_classic_join(struct group_core *c, struct group *g, struct group_caller *who,
                          const struct group_join *r)
{
    struct consumer_protocol_subscription subscription;
    struct group_join with_id = *r;
    char made_up[UUID_TEXT_CHARS + 1];
    enum kerr code = check_join(c, g->consumer, who, r, &subscription);

    if (!r->member_id.size) {
        uuid_format(group_random_uuid(c), made_up);
        with_id.member_id = (struct str){made_up, UUID_TEXT_CHARS};
    }
    if (code) {
        refuse_join(c, who, code == KERR_MEMBER_ID_REQUIRED ? with_id.member_id : r->member_id,
                    code);
        return;
    }
    if (!joined(c, g, who, &with_id, &subscription))
        refuse_join(c, who, r->member_id, KERR_COORDINATOR_NOT_AVAILABLE);
}

/* ---- SyncGroup, Heartbeat ---- */

/* The classic member that a request is of, or why not. */
static enum kerr find_classic(const struct consumer_group *cg, struct str id,
                              struct str instance_id, int32_t generation,
                              struct consumer_member **out)
{
    struct consumer_member *m =
        instance_id.data ? consumer_static_member(cg, instance_id) : consumer_member_find(cg, id);

    *out = m;
    if (!m)
        return KERR_UNKNOWN_MEMBER_ID;
    if (!str_equal(m->id, id))
        return KERR_FENCED_INSTANCE_ID;
    if (!m->fields.classic || !m->fields.protocol_count)
        return KERR_UNKNOWN_MEMBER_ID;
    return m->epoch == generation ? KERR_NONE : KERR_ILLEGAL_GENERATION;
}

/* It was told to join again; it has so long for that. */
static void await_join(struct group_core *c, struct group *g, struct consumer_member *m)
{
    if (m->join_deadline_ms != INT64_MAX)
        return;
    m->join_deadline_ms =
        c->now_ms + (m->fields.rebalance_timeout_ms > 0 ? m->fields.rebalance_timeout_ms : 0);
    group_due_at(c, g, m->join_deadline_ms);
}

static enum kerr check_sync(struct group_core *c, struct group *g, const struct group_sync *r,
                            struct consumer_member **out)
{
    enum kerr code = find_classic(g->consumer, r->member_id, r->instance_id, r->generation, out);
    struct consumer_member *m = *out;

    if (code)
        return code;
    if ((r->protocol_type.data && !str_equal(r->protocol_type, CONSUMER_PROTOCOL)) ||
        (r->protocol.data && !str_equal(r->protocol, m->fields.protocols[0].name)))
        return KERR_INCONSISTENT_GROUP_PROTOCOL;
    if (g->consumer->assignment_epoch > m->epoch && m->state != MEMBER_UNREVOKED) {
        await_join(c, g, m);
        return KERR_REBALANCE_IN_PROGRESS;
    }
    return KERR_NONE;
}

void convert_classic_sync(struct group_core *c, struct group *g, struct group_caller *who,
                          const struct group_sync *r)
{
    struct consumer_member *m;
    enum kerr code = check_sync(c, g, r, &m);

    if (!code) {
        m->sync_deadline_ms = INT64_MAX;
        consumer_member_heard(c, g, m, m->fields.session_timeout_ms);
        who->sync = (struct group_sync_answer){
            .protocol_type = group_answer_str(who, r->protocol_type),
            .protocol = group_answer_str(who, r->protocol),
            .assignment = group_answer_bytes(
                who, write_assignment(c, &m->assigned, first_metadata(&m->fields))),
        };
    }
    group_answer(c, who, code);
}

/* Partitions of its target are somebody else's still. */
static bool waits_for_others(const struct consumer_group *cg, const struct consumer_member *m)
{
    for (size_t i = 0; i < m->target.count; i++) {
        const struct held *h = &m->target.items[i];

        if (!held_find(&m->assigned, h->topic, h->partition) &&
            consumer_owner(cg, h->topic, h->partition))
            return true;
    }
    return false;
}

void convert_classic_heartbeat(struct group_core *c, struct group *g, struct group_caller *who,
                               const struct group_heartbeat *r)
{
    struct consumer_member *m;
    enum kerr code = find_classic(g->consumer, r->member_id, r->instance_id, r->generation, &m);

    if (!code) {
        consumer_member_heard(c, g, m, m->fields.session_timeout_ms);
        /* Kafka leaves this to joins and to members of the new protocol; but there may be none for
         * a long while. */
        consumer_group_update_epoch(c, g, false);
        consumer_group_assign(c, g);
        if (m->epoch < g->consumer->assignment_epoch || m->state == MEMBER_UNREVOKED ||
            (m->state == MEMBER_UNRELEASED && !waits_for_others(g->consumer, m))) {
            await_join(c, g, m);
            code = KERR_REBALANCE_IN_PROGRESS;
        }
    }
    group_answer(c, who, code);
}

/* ---- LeaveGroup ---- */

static enum kerr check_leave(const struct consumer_group *cg, const struct group_leave_member *l,
                             struct str *id)
{
    const struct consumer_member *m = l->instance_id.data
                                          ? consumer_static_member(cg, l->instance_id)
                                          : consumer_member_find(cg, l->member_id);

    if (!m)
        return KERR_UNKNOWN_MEMBER_ID;
    if (l->instance_id.data && l->member_id.size && !str_equal(m->id, l->member_id))
        return KERR_FENCED_INSTANCE_ID;
    *id = m->id;
    return KERR_NONE;
}

void convert_classic_leave(struct group_core *c, struct group *g, struct group_caller *who,
                           const struct group_leave *r)
{
    struct group_leave_member *out = group_answer_array(who, r->member_count, sizeof *out);
    struct str *ids = group_fx_array(c, r->member_count, sizeof *ids);
    size_t count = 0;

    for (size_t i = 0; out && ids && i < r->member_count; i++) {
        struct str id;
        enum kerr code = check_leave(g->consumer, &r->members[i], &id);

        if (!code)
            ids[count++] = group_fx_str(c, id);
        out[i] = (struct group_leave_member){
            .member_id = group_answer_str(who, r->members[i].member_id),
            .instance_id = group_answer_str(who, r->members[i].instance_id),
            .code = code};
    }
    if (count)
        consumer_members_leave(c, g, ids, count);
    who->leave = (struct group_leave_answer){out, out ? r->member_count : 0};
    group_answer(c, who, r->single && out && r->member_count ? out[0].code : KERR_NONE);
}
