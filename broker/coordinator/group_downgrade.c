/* A consumer group becomes a classic one when its last member of the new protocol goes; the others
 * stay, each with its target as its assignment. */

#include <stdlib.h>

#include "broker/coordinator/group_classic.h"
#include "broker/coordinator/group_embedded.h"

enum {
    TOMBSTONE_BYTES = 64, /* but for its ids, at most; a member has four */
    TOPIC_NAME_BYTES = 256,
};

struct downgrade {
    struct group_core *c;
    struct group *g;
    struct classic_member_args *members;
    struct held_set *targets;
    size_t count;
    size_t bytes;
};

static int by_name(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

static bool is_leaving(struct str id, const struct str *leaving, size_t count)
{
    return count > 0 && bsearch(&id, leaving, count, sizeof id, by_name);
}

/* All that stay speak the classic protocol, there are some, and the settings allow. */
static bool may_downgrade(const struct group_core *c, const struct consumer_group *cg,
                          const struct str *leaving, size_t count)
{
    size_t gone = 0, gone_classic = 0, stay;

    for (size_t i = 0; i < count; i++) {
        const struct consumer_member *m = consumer_member_find(cg, leaving[i]);

        gone += m != NULL;
        gone_classic += m && m->fields.classic;
    }
    stay = consumer_group_size(cg) - gone;
    return stay > 0 && cg->classic_count - gone_classic == stay && c->args.settings->downgrade &&
           stay <= (size_t)c->args.settings->max_size;
}

static bool copy_member(struct downgrade *d, const struct consumer_member *m)
{
    struct group_core *c = d->c;
    struct group_protocol *protocols =
        group_fx_protocols(c, m->fields.protocols, m->fields.protocol_count);
    struct held_set *target = &d->targets[d->count];

    if (!protocols || !held_room(c, target, m->target.count))
        return false;
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
    d->bytes += consumer_fields_record_bytes(&m->fields) +
                4 * (TOMBSTONE_BYTES + m->id.size + d->g->id.size) +
                (m->target.count + 1) * (sizeof(struct held) + TOPIC_NAME_BYTES);
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
            embedded_write_assignment(c, &d->targets[i], classic_member_metadata(m, protocol));

        group_drop_bytes(&m->assignment);
        group_keep_bytes(c, &m->assignment, assignment);
        classic_member_heard(c, d->g, m);
    }
    return !c->failed;
}

bool convert_to_classic(struct group_core *c, struct group *g, const struct str *leaving,
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
