/* What is known of a consumer group: its tables, and how each record changes them. Records that are
 * loaded and records that are emitted go the same way. */

#include "broker/coordinator/group_consumer.h"

#include <stdlib.h>

#include "protocol/base/check.h"

struct consumer_group *consumer_group_create(struct group_core *c)
{
    struct consumer_group *cg = calloc(1, sizeof *cg);

    if (!cg) {
        group_fail(c);
        return NULL;
    }
    cg->epoch = 1; /* as in Kafka: the first epoch with members is 2 */
    cg->assignment_epoch = 1;
    cg->checked_offset = -1;
    return cg;
}

size_t consumer_group_size(const struct consumer_group *cg)
{
    return HASH_COUNT(cg->members);
}

bool consumer_group_is_empty(const struct group *g)
{
    return !g->consumer->members;
}

struct consumer_member *consumer_member_find(const struct consumer_group *cg, struct str id)
{
    struct consumer_member *m;

    HASH_FIND(hh, cg->members, id.data, (unsigned)id.size, m);
    return m;
}

struct consumer_member *consumer_static_member(const struct consumer_group *cg,
                                               struct str instance_id)
{
    struct consumer_member *m;

    HASH_FIND(by_instance, cg->statics, instance_id.data, (unsigned)instance_id.size, m);
    return m;
}

struct subscribed_regex *consumer_regex_find(const struct consumer_group *cg, struct str pattern)
{
    struct subscribed_regex *x;

    HASH_FIND(hh, cg->regexes, pattern.data, (unsigned)pattern.size, x);
    return x;
}

static struct subscribed_topic *topic_find(const struct consumer_group *cg, struct str name)
{
    struct subscribed_topic *t;

    HASH_FIND(hh, cg->topics, name.data, (unsigned)name.size, t);
    return t;
}

bool consumer_group_subscribes(const struct group *g, struct str topic)
{
    return topic_find(g->consumer, topic);
}

static bool in_order(const struct str *names, size_t count, struct str name)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (str_compare(names[middle], name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && str_equal(names[low], name);
}

bool consumer_member_subscribes(const struct consumer_group *cg, const struct consumer_member *m,
                                struct str topic)
{
    const struct subscribed_regex *x;

    if (in_order(m->fields.topics, m->fields.topic_count, topic))
        return true;
    if (!m->fields.regex.size)
        return false;
    x = consumer_regex_find(cg, m->fields.regex);
    return x && x->resolved && in_order(x->topics, x->topic_count, topic);
}

bool consumer_member_subscribes_id(const struct group_core *c, const struct consumer_group *cg,
                                   const struct consumer_member *m, struct uuid topic)
{
    const struct metadata_topic *t = metadata_image_topic_by_id(c->image, topic);

    return t && consumer_member_subscribes(cg, m, t->name);
}

/* ---- how often a topic is subscribed ---- */

static void topic_more(struct group_core *c, struct consumer_group *cg, struct str name,
                       bool by_regex)
{
    struct subscribed_topic *t = topic_find(cg, name);

    if (!t) {
        t = calloc(1, sizeof *t + name.size);
        if (!t) {
            group_fail(c);
            return;
        }
        if (name.size)
            memcpy(t + 1, name.data, name.size);
        t->name = (struct str){(const char *)(t + 1), name.size};
        t->hash_offset = -1;
        HASH_ADD_KEYPTR(hh, cg->topics, t->name.data, (unsigned)t->name.size, t);
        if (!t->hh.tbl) {
            free(t);
            group_fail(c);
            return;
        }
    }
    t->by_name += !by_regex;
    t->by_regex += by_regex;
}

static void topic_less(struct consumer_group *cg, struct str name, bool by_regex)
{
    struct subscribed_topic *t = topic_find(cg, name);

    if (!t) /* memory ran out when it was added */
        return;
    if (by_regex && t->by_regex)
        t->by_regex--;
    if (!by_regex && t->by_name)
        t->by_name--;
    if (t->by_name + t->by_regex)
        return;
    HASH_DEL(cg->topics, t);
    free(t);
}

/* ---- regular expressions ---- */

static struct subscribed_regex *regex_get(struct group_core *c, struct consumer_group *cg,
                                          struct str pattern)
{
    struct subscribed_regex *x = consumer_regex_find(cg, pattern);

    if (x)
        return x;
    x = calloc(1, sizeof *x + pattern.size);
    if (!x) {
        group_fail(c);
        return NULL;
    }
    if (pattern.size)
        memcpy(x + 1, pattern.data, pattern.size);
    x->pattern = (struct str){(const char *)(x + 1), pattern.size};
    HASH_ADD_KEYPTR(hh, cg->regexes, x->pattern.data, (unsigned)x->pattern.size, x);
    if (!x->hh.tbl) {
        free(x);
        group_fail(c);
        return NULL;
    }
    return x;
}

static void regex_forget_topics(struct consumer_group *cg, struct subscribed_regex *x)
{
    for (size_t i = 0; i < x->topic_count; i++)
        topic_less(cg, x->topics[i], true);
    cg->regex_bytes -= x->bytes;
    free(x->topics);
    x->topics = NULL;
    x->topic_count = x->bytes = 0;
    x->resolved = false;
}

static void regex_maybe_free(struct consumer_group *cg, struct subscribed_regex *x)
{
    if (x->members || x->resolved)
        return;
    HASH_DEL(cg->regexes, x);
    free(x);
}

static void regex_count(struct group_core *c, struct consumer_group *cg, struct str pattern,
                        bool more)
{
    struct subscribed_regex *x;

    if (!pattern.size)
        return;
    x = more ? regex_get(c, cg, pattern) : consumer_regex_find(cg, pattern);
    if (!x)
        return;
    if (more) {
        x->members++;
        return;
    }
    x->members -= x->members > 0;
    regex_maybe_free(cg, x);
}

static size_t names_bytes(const struct str *names, size_t count)
{
    size_t bytes = count * sizeof *names;

    for (size_t i = 0; i < count; i++)
        bytes += names[i].size;
    return bytes;
}

/* A heap block of pointers and what they point to. NULL: out of memory. */
static struct str *keep_names(const struct str *names, size_t count)
{
    struct str *kept = malloc(names_bytes(names, count) + 1);
    char *at;

    if (!kept)
        return NULL;
    at = (char *)(kept + count);
    for (size_t i = 0; i < count; i++) {
        memcpy(at, names[i].data, names[i].size);
        kept[i] = (struct str){at, names[i].size};
        at += names[i].size;
    }
    return kept;
}

static int by_name(const void *left, const void *right)
{
    return str_compare(*(const struct str *)left, *(const struct str *)right);
}

size_t consumer_names_sort(struct str *names, size_t count)
{
    size_t kept = 0;

    if (count)
        qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || !str_equal(names[kept - 1], names[i]))
            names[kept++] = names[i];
    return kept;
}

void consumer_regex_limit(struct group_core *c, const struct consumer_group *cg,
                          const struct subscribed_regex *x, struct group_regex_result *r)
{
    size_t others = cg->regex_bytes - x->bytes;

    c->fx->regex_too_large =
        others + names_bytes(r->topics, r->topic_count) > CONSUMER_REGEX_BYTES_MAX;
    if (c->fx->regex_too_large)
        r->topic_count = 0;
}

static void apply_regex(struct group_core *c, struct consumer_group *cg,
                        const struct group_record *r)
{
    const struct consumer_group_regular_expression_value *v =
        &r->value.consumer_group_regular_expression;
    struct str pattern = r->key.consumer_group_regular_expression.regular_expression;
    struct subscribed_regex *x = consumer_regex_find(cg, pattern);
    struct str *topics;

    if (r->tombstone) {
        if (x) {
            regex_forget_topics(cg, x);
            regex_maybe_free(cg, x);
        }
        return;
    }
    topics = keep_names(v->topics, v->topics_count);
    if (!topics) {
        group_fail(c);
        return;
    }
    x = regex_get(c, cg, pattern);
    if (!x) {
        free(topics);
        return;
    }
    regex_forget_topics(cg, x);
    x->bytes = names_bytes(topics, v->topics_count);
    cg->regex_bytes += x->bytes;
    x->topics = topics;
    x->topic_count = consumer_names_sort(topics, v->topics_count);
    x->resolved = true;
    x->version = v->version;
    x->timestamp_ms = v->timestamp;
    for (size_t i = 0; i < x->topic_count; i++)
        topic_more(c, cg, x->topics[i], true);
}

/* ---- who has which partition ---- */

static struct partition_owner *owner_find(const struct consumer_group *cg, struct uuid topic,
                                          int32_t partition)
{
    struct partition_key key = {topic, partition};
    struct partition_owner *o;

    HASH_FIND(hh, cg->owners, &key, sizeof key, o);
    return o;
}

struct consumer_member *consumer_owner(const struct consumer_group *cg, struct uuid topic,
                                       int32_t partition)
{
    const struct partition_owner *o = owner_find(cg, topic, partition);

    return o ? o->member : NULL;
}

static void own(struct group_core *c, struct consumer_group *cg, struct consumer_member *m,
                const struct held_set *s)
{
    for (size_t i = 0; i < s->count; i++) {
        struct partition_owner *o = owner_find(cg, s->items[i].topic, s->items[i].partition);

        if (o) {
            /* Only in a log that something went wrong with: who has the newer epoch has it. */
            if (o->member->epoch < m->epoch)
                o->member = m;
            continue;
        }
        o = calloc(1, sizeof *o);
        if (!o) {
            group_fail(c);
            return;
        }
        o->key = (struct partition_key){s->items[i].topic, s->items[i].partition};
        o->member = m;
        HASH_ADD(hh, cg->owners, key, sizeof o->key, o);
        if (!o->hh.tbl) {
            free(o);
            group_fail(c);
            return;
        }
    }
}

static void disown(struct consumer_group *cg, const struct consumer_member *m,
                   const struct held_set *s)
{
    for (size_t i = 0; i < s->count; i++) {
        struct partition_owner *o = owner_find(cg, s->items[i].topic, s->items[i].partition);

        if (!o || o->member != m)
            continue;
        HASH_DEL(cg->owners, o);
        free(o);
    }
}

/* ---- members ---- */

static struct consumer_member *member_get(struct group_core *c, struct consumer_group *cg,
                                          struct str id)
{
    struct consumer_member *m = consumer_member_find(cg, id);

    if (m)
        return m;
    m = calloc(1, sizeof *m + id.size);
    if (!m) {
        group_fail(c);
        return NULL;
    }
    if (id.size)
        memcpy(m + 1, id.data, id.size);
    m->id = (struct str){(const char *)(m + 1), id.size};
    m->previous_epoch = -1;
    m->fields = (struct member_fields){
        .client_id = STR(""), .client_host = STR(""), .regex = STR(""), .rebalance_timeout_ms = -1};
    m->session_deadline_ms = INT64_MAX;
    m->rebalance_deadline_ms = INT64_MAX;
    m->join_deadline_ms = INT64_MAX;
    m->sync_deadline_ms = INT64_MAX;
    HASH_ADD_KEYPTR(hh, cg->members, m->id.data, (unsigned)m->id.size, m);
    if (!m->hh.tbl) {
        free(m);
        group_fail(c);
        return NULL;
    }
    return m;
}

static void member_unlink_static(struct consumer_group *cg, struct consumer_member *m)
{
    if (!m->is_static)
        return;
    HASH_DELETE(by_instance, cg->statics, m);
    m->is_static = false;
}

static void member_link_static(struct group_core *c, struct consumer_group *cg,
                               struct consumer_member *m)
{
    struct str instance = m->fields.instance_id;
    struct consumer_member *other;

    if (!instance.data)
        return;
    other = consumer_static_member(cg, instance);
    if (other)
        member_unlink_static(cg, other);
    HASH_ADD_KEYPTR(by_instance, cg->statics, instance.data, (unsigned)instance.size, m);
    if (m->by_instance.tbl)
        m->is_static = true;
    else
        group_fail(c);
}

/* Takes what the member's fields say out of the group's counts, or puts it in. */
static void member_count(struct group_core *c, struct consumer_group *cg, struct consumer_member *m,
                         bool in)
{
    for (size_t i = 0; i < m->fields.topic_count; i++) {
        if (in)
            topic_more(c, cg, m->fields.topics[i], false);
        else
            topic_less(cg, m->fields.topics[i], false);
    }
    regex_count(c, cg, m->fields.regex, in);
    if (in) {
        member_link_static(c, cg, m);
        cg->classic_count += m->fields.classic;
        cg->bytes += m->bytes;
    } else {
        member_unlink_static(cg, m);
        cg->classic_count -= m->fields.classic;
        cg->bytes -= m->bytes;
    }
}

static void member_remove(struct group_core *c, struct consumer_group *cg,
                          struct consumer_member *m)
{
    member_count(c, cg, m, false);
    disown(cg, m, &m->assigned);
    disown(cg, m, &m->revoking);
    HASH_DEL(cg->members, m);
    free(m->assigned.items);
    free(m->revoking.items);
    free(m->target.items);
    free(m->block);
    free(m);
}

struct block {
    char *at; /* where the next copy goes */
};

static struct str block_str(struct block *b, struct str s)
{
    struct str copy = {s.data ? b->at : NULL, s.size};

    if (s.size)
        memcpy(b->at, s.data, s.size);
    b->at += s.size;
    return copy;
}

static size_t fields_bytes(const struct member_fields *f)
{
    size_t bytes = f->instance_id.size + f->rack_id.size + f->assignor.size + f->client_id.size +
                   f->client_host.size + f->regex.size + f->topic_count * sizeof *f->topics +
                   f->protocol_count * sizeof *f->protocols;

    for (size_t i = 0; i < f->topic_count; i++)
        bytes += f->topics[i].size;
    for (size_t i = 0; i < f->protocol_count; i++)
        bytes += f->protocols[i].name.size + f->protocols[i].metadata.size;
    return bytes;
}

/* Copies f into one heap block. NULL: out of memory. */
static void *keep_fields(struct member_fields *to, const struct member_fields *f)
{
    struct str *topics = malloc(fields_bytes(f) + 1);
    struct group_protocol *protocols = (struct group_protocol *)(topics + f->topic_count);
    struct block b = {(char *)(protocols + f->protocol_count)};

    if (!topics)
        return NULL;
    *to = *f;
    to->topics = topics;
    to->protocols = protocols;
    to->instance_id = block_str(&b, f->instance_id);
    to->rack_id = block_str(&b, f->rack_id);
    to->assignor = block_str(&b, f->assignor);
    to->client_id = block_str(&b, f->client_id);
    to->client_host = block_str(&b, f->client_host);
    to->regex = block_str(&b, f->regex);
    for (size_t i = 0; i < f->topic_count; i++)
        topics[i] = block_str(&b, f->topics[i]);
    for (size_t i = 0; i < f->protocol_count; i++) {
        struct bytes metadata = f->protocols[i].metadata;
        struct str copy = block_str(&b, (struct str){(const char *)metadata.data, metadata.size});

        protocols[i].name = block_str(&b, f->protocols[i].name);
        protocols[i].metadata = (struct bytes){(const uint8_t *)copy.data, copy.size};
    }
    to->topic_count = consumer_names_sort(topics, f->topic_count);
    return topics;
}

static struct str or_empty(struct str s)
{
    return s.data ? s : STR("");
}

static void apply_member(struct group_core *c, struct consumer_group *cg,
                         const struct group_record *r)
{
    const struct consumer_group_member_metadata_value *v = &r->value.consumer_group_member_metadata;
    struct str id = r->key.consumer_group_member_metadata.member_id;
    const struct consumer_group_member_metadata_value_classic_member_metadata *classic;
    struct group_protocol *protocols = NULL;
    struct member_fields fields, kept;
    struct consumer_member *m;
    void *block;

    if (r->tombstone) {
        m = consumer_member_find(cg, id);
        if (m)
            member_remove(c, cg, m);
        return;
    }
    classic = v->classic_member_metadata;
    fields = (struct member_fields){
        .instance_id = v->instance_id,
        .rack_id = v->rack_id,
        .assignor = v->server_assignor,
        .client_id = or_empty(v->client_id),
        .client_host = or_empty(v->client_host),
        .regex = or_empty(v->subscribed_topic_regex),
        .topics = v->subscribed_topic_names,
        .topic_count = v->subscribed_topic_names_count,
        .rebalance_timeout_ms = v->rebalance_timeout_ms,
        .classic = classic,
        .session_timeout_ms = classic ? classic->session_timeout_ms : 0,
        .protocol_count = classic ? classic->supported_protocols_count : 0,
    };
    if (classic) {
        protocols = calloc(fields.protocol_count + 1, sizeof *protocols);
        if (!protocols) {
            group_fail(c);
            return;
        }
        for (size_t i = 0; i < fields.protocol_count; i++)
            protocols[i] = (struct group_protocol){classic->supported_protocols[i].name,
                                                   classic->supported_protocols[i].metadata};
        fields.protocols = protocols;
    }
    block = keep_fields(&kept, &fields);
    free(protocols);
    m = block ? member_get(c, cg, id) : NULL;
    if (!m) {
        free(block);
        group_fail(c);
        return;
    }
    member_count(c, cg, m, false);
    free(m->block);
    m->block = block;
    m->fields = kept;
    m->bytes = fields_bytes(&kept) + id.size;
    member_count(c, cg, m, true);
}

/* Takes over items, which are sorted here; NULL items: out of memory. */
static bool set_replace(struct group_core *c, struct held_set *s, struct held_set with)
{
    if (!with.items) {
        group_fail(c);
        return false;
    }
    held_sort(&with);
    free(s->items);
    *s = with;
    return true;
}

static void apply_target(struct group_core *c, struct consumer_group *cg,
                         const struct group_record *r)
{
    const struct consumer_group_target_assignment_member_value *v =
        &r->value.consumer_group_target_assignment_member;
    struct str id = r->key.consumer_group_target_assignment_member.member_id;
    struct consumer_member *m = r->tombstone ? consumer_member_find(cg, id) : member_get(c, cg, id);
    struct held_set target = {0};
    size_t total = 0;

    if (!m)
        return;
    m->has_target = !r->tombstone;
    if (!r->tombstone)
        for (size_t t = 0; t < v->topic_partitions_count; t++)
            total += v->topic_partitions[t].partitions_count;
    target.items = malloc((total + 1) * sizeof *target.items);
    for (size_t t = 0; target.items && total && t < v->topic_partitions_count; t++)
        for (size_t p = 0; p < v->topic_partitions[t].partitions_count; p++)
            target.items[target.count++] = (struct held){v->topic_partitions[t].topic_id,
                                                         v->topic_partitions[t].partitions[p], 0};
    set_replace(c, &m->target, target);
}

typedef struct consumer_group_current_member_assignment_value_topic_partitions current_partitions;

/* Partitions without epochs of their own have the member's. */
static struct held_set read_current(const current_partitions *topics, size_t count, int32_t epoch)
{
    struct held_set s = {0};
    size_t total = 0;

    for (size_t t = 0; t < count; t++)
        total += topics[t].partitions_count;
    s.items = malloc((total + 1) * sizeof *s.items);
    for (size_t t = 0; s.items && t < count; t++) {
        bool known = topics[t].assignment_epochs &&
                     topics[t].assignment_epochs_count == topics[t].partitions_count;

        for (size_t p = 0; p < topics[t].partitions_count; p++)
            s.items[s.count++] = (struct held){topics[t].topic_id, topics[t].partitions[p],
                                               known       ? topics[t].assignment_epochs[p]
                                               : epoch > 0 ? epoch
                                                           : 0};
    }
    return s;
}

static enum consumer_member_state read_state(int8_t state)
{
    return state >= MEMBER_STABLE && state <= MEMBER_UNRELEASED ? (enum consumer_member_state)state
                                                                : MEMBER_UNKNOWN;
}

static void apply_progress(struct group_core *c, struct consumer_group *cg,
                           const struct group_record *r)
{
    static const struct consumer_group_current_member_assignment_value none = {
        .member_epoch = -1, .previous_member_epoch = -1};
    const struct consumer_group_current_member_assignment_value *v =
        r->tombstone ? &none : &r->value.consumer_group_current_member_assignment;
    struct str id = r->key.consumer_group_current_member_assignment.member_id;
    struct consumer_member *m = r->tombstone ? consumer_member_find(cg, id) : member_get(c, cg, id);
    struct held_set assigned, revoking;

    if (!m)
        return;
    assigned = read_current(v->assigned_partitions, v->assigned_partitions_count, v->member_epoch);
    revoking = read_current(v->partitions_pending_revocation,
                            v->partitions_pending_revocation_count, v->member_epoch);
    disown(cg, m, &m->assigned);
    disown(cg, m, &m->revoking);
    m->epoch = v->member_epoch;
    m->previous_epoch = v->previous_member_epoch;
    m->state = r->tombstone ? m->state : read_state(v->state);
    if (m->state != MEMBER_UNREVOKED)
        m->rebalance_deadline_ms = INT64_MAX;
    if (set_replace(c, &m->assigned, assigned))
        own(c, cg, m, &m->assigned);
    if (set_replace(c, &m->revoking, revoking))
        own(c, cg, m, &m->revoking);
}

/* ---- records ---- */

static void apply_epoch(struct consumer_group *cg, const struct group_record *r)
{
    cg->epoch = r->value.consumer_group_metadata.epoch;
    cg->metadata_hash = (uint64_t)r->value.consumer_group_metadata.metadata_hash;
}

static void apply_target_epoch(struct consumer_group *cg, const struct group_record *r)
{
    if (r->tombstone) {
        cg->assignment_epoch = -1;
        cg->assignment_wall_ms = 0;
        return;
    }
    cg->assignment_epoch = r->value.consumer_group_target_assignment_metadata.assignment_epoch;
    cg->assignment_wall_ms =
        r->value.consumer_group_target_assignment_metadata.assignment_timestamp;
}

bool consumer_group_apply(struct group_core *c, struct group *g, const struct group_record *r)
{
    struct consumer_group *cg = g->consumer;

    switch (r->type) {
    case GROUP_RECORD_CONSUMER_GROUP_METADATA:
        if (!r->tombstone)
            apply_epoch(cg, r);
        break;
    case GROUP_RECORD_CONSUMER_GROUP_PARTITION_METADATA:
        cg->has_partition_metadata = !r->tombstone;
        break;
    case GROUP_RECORD_CONSUMER_GROUP_MEMBER_METADATA:
        apply_member(c, cg, r);
        break;
    case GROUP_RECORD_CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA:
        apply_target_epoch(cg, r);
        break;
    case GROUP_RECORD_CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER:
        apply_target(c, cg, r);
        break;
    case GROUP_RECORD_CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT:
        apply_progress(c, cg, r);
        break;
    default:
        CHECK(r->type == GROUP_RECORD_CONSUMER_GROUP_REGULAR_EXPRESSION);
        apply_regex(c, cg, r);
        break;
    }
    return !c->failed;
}

enum kerr consumer_group_load_record(struct group_core *c, struct group *g,
                                     const struct group_record *r)
{
    bool ends = r->type == GROUP_RECORD_CONSUMER_GROUP_METADATA && r->tombstone;

    if (g->type == GROUP_CLASSIC) {
        if (r->tombstone)
            return KERR_NONE; /* the consumer group that was before it */
        if (!classic_group_is_empty(g->classic))
            return KERR_CORRUPT_MESSAGE;
    }
    if (g->type != GROUP_CONSUMER) {
        struct consumer_group *cg;

        if (r->tombstone)
            return KERR_NONE;
        cg = consumer_group_create(c);
        if (!cg)
            return KERR_UNKNOWN_SERVER_ERROR;
        group_become(c, g, GROUP_CONSUMER, cg);
    }
    if (ends && g->consumer->members)
        return KERR_CORRUPT_MESSAGE;
    if (ends) {
        group_become(c, g, GROUP_UNLOADED, NULL);
        return KERR_NONE;
    }
    return consumer_group_apply(c, g, r) ? KERR_NONE : KERR_UNKNOWN_SERVER_ERROR;
}

void consumer_group_free(struct consumer_group *cg)
{
    struct consumer_member *m, *next_member;
    struct subscribed_regex *x, *next_regex;
    struct subscribed_topic *t, *next_topic;
    struct partition_owner *o, *next_owner;

    HASH_CLEAR(by_instance, cg->statics);
    HASH_ITER(hh, cg->members, m, next_member)
    {
        HASH_DEL(cg->members, m);
        free(m->assigned.items);
        free(m->revoking.items);
        free(m->target.items);
        free(m->block);
        free(m);
    }
    HASH_ITER(hh, cg->regexes, x, next_regex)
    {
        HASH_DEL(cg->regexes, x);
        free(x->topics);
        free(x);
    }
    HASH_ITER(hh, cg->topics, t, next_topic)
    {
        HASH_DEL(cg->topics, t);
        free(t);
    }
    HASH_ITER(hh, cg->owners, o, next_owner)
    {
        HASH_DEL(cg->owners, o);
        free(o);
    }
    free(cg);
}
