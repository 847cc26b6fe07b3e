/* The records of a consumer group: each is emitted and applied at once, as it will be when it is
 * loaded. */

#include "broker/coordinator/group_consumer.h"

void consumer_emit_epoch(struct group_core *c, struct group *g, int32_t epoch,
                         uint64_t metadata_hash)
{
    struct group_record *r = group_emit_new(c, GROUP_RECORD_CONSUMER_GROUP_METADATA);

    r->value.consumer_group_metadata.epoch = epoch;
    r->value.consumer_group_metadata.metadata_hash = (int64_t)metadata_hash;
    consumer_group_apply(c, g, r);
}

void consumer_emit_target_epoch(struct group_core *c, struct group *g, int32_t epoch,
                                int64_t wall_ms)
{
    struct group_record *r =
        group_emit_new(c, GROUP_RECORD_CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA);

    r->value.consumer_group_target_assignment_metadata.assignment_epoch = epoch;
    r->value.consumer_group_target_assignment_metadata.assignment_timestamp = wall_ms;
    consumer_group_apply(c, g, r);
}

static struct str *fx_names(struct group_core *c, const struct str *names, size_t count)
{
    struct str *copies = group_fx_array(c, count, sizeof *copies);

    for (size_t i = 0; copies && i < count; i++)
        copies[i] = group_fx_str(c, names[i]);
    return copies;
}

struct str *consumer_sort_topics(struct group_core *c, const struct str *topics, size_t count,
                                 size_t *out_count)
{
    struct str *sorted = group_fx_array(c, count, sizeof *sorted);

    *out_count = 0;
    if (!sorted)
        return NULL;
    if (count)
        memcpy(sorted, topics, count * sizeof *sorted);
    *out_count = consumer_names_sort(sorted, count);
    return sorted;
}

static struct consumer_group_member_metadata_value_classic_member_metadata *
put_classic(struct group_core *c, const struct member_fields *f)
{
    struct consumer_group_member_metadata_value_classic_member_metadata *classic =
        group_fx_array(c, 1, sizeof *classic);

    if (!classic)
        return NULL;
    classic->session_timeout_ms = f->session_timeout_ms;
    classic->supported_protocols =
        group_fx_array(c, f->protocol_count, sizeof *classic->supported_protocols);
    for (size_t i = 0; classic->supported_protocols && i < f->protocol_count; i++) {
        classic->supported_protocols[i].name = group_fx_str(c, f->protocols[i].name);
        classic->supported_protocols[i].metadata = group_fx_bytes(c, f->protocols[i].metadata);
        classic->supported_protocols_count++;
    }
    return classic;
}

size_t consumer_fields_record_bytes(const struct member_fields *f)
{
    size_t bytes = 64 /* more than a record's own bytes */ + f->instance_id.size + f->rack_id.size +
                   f->client_id.size + f->client_host.size;

    for (size_t i = 0; i < f->topic_count; i++)
        bytes += f->topics[i].size + 3;
    for (size_t i = 0; i < f->protocol_count; i++)
        bytes += f->protocols[i].name.size + f->protocols[i].metadata.size + 8;
    return bytes;
}

void consumer_emit_member(struct group_core *c, struct group *g, struct str id,
                          const struct member_fields *f)
{
    struct group_record *r = group_emit_new(c, GROUP_RECORD_CONSUMER_GROUP_MEMBER_METADATA);
    struct consumer_group_member_metadata_value *v = &r->value.consumer_group_member_metadata;

    r->key.consumer_group_member_metadata.member_id = group_fx_str(c, id);
    v->instance_id = group_fx_str(c, f->instance_id);
    v->rack_id = group_fx_str(c, f->rack_id);
    v->client_id = group_fx_str(c, f->client_id);
    v->client_host = group_fx_str(c, f->client_host);
    v->subscribed_topic_names = fx_names(c, f->topics, f->topic_count);
    v->subscribed_topic_names_count = f->topic_count;
    v->subscribed_topic_regex = group_fx_str(c, f->regex);
    v->rebalance_timeout_ms = f->rebalance_timeout_ms;
    v->server_assignor = group_fx_str(c, f->assignor);
    v->classic_member_metadata = f->classic ? put_classic(c, f) : NULL;
    if (!c->failed)
        consumer_group_apply(c, g, r);
}

void consumer_emit_regex(struct group_core *c, struct group *g, const struct group_regex_result *x,
                         int64_t wall_ms)
{
    struct group_record *r = group_emit_new(c, GROUP_RECORD_CONSUMER_GROUP_REGULAR_EXPRESSION);
    struct consumer_group_regular_expression_value *v = &r->value.consumer_group_regular_expression;

    r->key.consumer_group_regular_expression.regular_expression = group_fx_str(c, x->regex);
    v->topics = fx_names(c, x->topics, x->topic_count);
    v->topics_count = x->topic_count;
    v->version = x->image_offset;
    v->timestamp = wall_ms;
    if (!c->failed)
        consumer_group_apply(c, g, r);
}

void consumer_emit_regex_tombstone(struct group_core *c, struct group *g, struct str pattern)
{
    struct group_record *r = group_emit_new(c, GROUP_RECORD_CONSUMER_GROUP_REGULAR_EXPRESSION);

    r->tombstone = true;
    r->key.consumer_group_regular_expression.regular_expression = group_fx_str(c, pattern);
    consumer_group_apply(c, g, r);
}

static struct group_record *member_tombstone(struct group_core *c, enum group_record_type type,
                                             struct str id)
{
    struct group_record *r = group_emit_new(c, type);

    r->tombstone = true;
    /* The keys of members' records are alike. */
    r->key.consumer_group_member_metadata.member_id = id;
    return r;
}

void consumer_emit_member_gone(struct group_core *c, struct group *g, struct str id)
{
    static const enum group_record_type types[] = {
        GROUP_RECORD_CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT,
        GROUP_RECORD_CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER,
        GROUP_RECORD_CONSUMER_GROUP_MEMBER_METADATA, /* the last: it takes the member out */
    };
    struct str copy = group_fx_str(c, id);

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        consumer_group_apply(c, g, member_tombstone(c, types[i], copy));
}

static void tombstone(struct group_core *c, enum group_record_type type)
{
    group_emit_new(c, type)->tombstone = true;
}

void consumer_group_tombstones(struct group_core *c, struct group *g)
{
    const struct consumer_group *cg = g->consumer;

    for (const struct consumer_member *m = cg->members; m; m = m->hh.next) {
        struct str id = group_fx_str(c, m->id);

        member_tombstone(c, GROUP_RECORD_CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT, id);
        member_tombstone(c, GROUP_RECORD_CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER, id);
        member_tombstone(c, GROUP_RECORD_CONSUMER_GROUP_MEMBER_METADATA, id);
    }
    tombstone(c, GROUP_RECORD_CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA);
    for (const struct subscribed_regex *x = cg->regexes; x; x = x->hh.next)
        if (x->resolved) {
            struct group_record *r =
                group_emit_new(c, GROUP_RECORD_CONSUMER_GROUP_REGULAR_EXPRESSION);

            r->tombstone = true;
            r->key.consumer_group_regular_expression.regular_expression =
                group_fx_str(c, x->pattern);
        }
    if (cg->has_partition_metadata)
        tombstone(c, GROUP_RECORD_CONSUMER_GROUP_PARTITION_METADATA);
    tombstone(c, GROUP_RECORD_CONSUMER_GROUP_METADATA);
}
