/* Offsets of groups of every type: who may commit, what is written; deletion and expiry of offsets
 * and of groups. The offsets themselves are in the state store. */
#include "broker/coordinator/group_classic.h"

enum { OFFSET_RECORD_BYTES = 96 /* at most, besides its strings */ };

/* ---- commits ---- */

static enum kerr check_classic_commit(const struct classic_group *cg, const struct group_commit *r)
{
    const struct classic_member *m = classic_group_member(cg, r->member_id);

    /* An operator, or a consumer that assigns itself. */
    if (r->generation_or_epoch < 0 && cg->state == CLASSIC_EMPTY)
        return KERR_NONE;
    if (r->generation_or_epoch < 0 && !r->member_id.size && !r->instance_id.data)
        return KERR_UNKNOWN_MEMBER_ID;
    if (r->instance_id.data) {
        const struct classic_member *is = classic_group_static_member(cg, r->instance_id);

        if (is && is != m)
            return KERR_FENCED_INSTANCE_ID;
        if (!is)
            return KERR_UNKNOWN_MEMBER_ID;
    }
    if (!m)
        return KERR_UNKNOWN_MEMBER_ID;
    if (r->generation_or_epoch != cg->generation)
        return KERR_ILLEGAL_GENERATION;
    return cg->state == CLASSIC_COMPLETING_REBALANCE ? KERR_REBALANCE_IN_PROGRESS : KERR_NONE;
}

static enum kerr check_commit(struct group_core *c, struct group *g, const struct group_commit *r)
{
    if (g->type == GROUP_CONSUMER)
        return consumer_group_check_commit(c, g, r);
    if (g->type == GROUP_CLASSIC)
        return check_classic_commit(g->classic, r);
    if (r->generation_or_epoch < 0)
        return KERR_NONE;
    if (g->has_offsets) /* a group without members */
        return KERR_UNKNOWN_MEMBER_ID;
    return r->version >= 9 ? KERR_GROUP_ID_NOT_FOUND : KERR_ILLEGAL_GENERATION;
}

/* As Java counts a string's characters, which is what offset.metadata.max.bytes limits in Kafka. */
static size_t utf16_units(struct str s)
{
    size_t units = 0;

    for (size_t i = 0; i < s.size; i++) {
        uint8_t byte = (uint8_t)s.data[i];

        units += (byte & 0xC0) != 0x80; /* not a continuation */
        units += byte >= 0xF0;          /* a pair of surrogates */
    }
    return units;
}

/* Refuses partitions one by one; the bytes that the others take in the log. */
static size_t check_partitions(const struct group_core *c, const struct group_commit *r)
{
    /* What looks for offsets of deleted topics has been here already, or is about to come. */
    bool outdated = r->image_offset < metadata_image_offset(c->image);
    size_t bytes = 0;

    for (size_t i = 0; i < r->partition_count; i++) {
        struct group_commit_partition *p = &r->partitions[i];

        if (p->code)
            continue;
        if (utf16_units(p->metadata) > (size_t)c->args.settings->offset_metadata_bytes_max)
            p->code = KERR_OFFSET_METADATA_TOO_LARGE;
        else if (outdated && group_topic_is_deleted(c->image, p->topic, p->topic_id))
            p->code = KERR_UNKNOWN_TOPIC_OR_PARTITION;
        else
            bytes += OFFSET_RECORD_BYTES + r->group.size + p->topic.size + p->metadata.size;
    }
    return bytes;
}

static int64_t expires_at(const struct group_commit *r)
{
    if (r->retention_ms == -1)
        return -1;
    return r->retention_ms > INT64_MAX - r->timestamp_ms ? INT64_MAX
                                                         : r->timestamp_ms + r->retention_ms;
}

static void emit_commit(struct group_core *c, const struct group_commit *r,
                        const struct group_commit_partition *p)
{
    struct group_record *record = group_emit_new(c, GROUP_RECORD_OFFSET_COMMIT);

    record->key.offset_commit.topic = group_fx_str(c, p->topic);
    record->key.offset_commit.partition = p->partition;
    record->value.offset_commit = (struct offset_commit_value){
        .offset = p->offset,
        .leader_epoch = p->leader_epoch,
        .metadata = p->metadata.data ? group_fx_str(c, p->metadata) : STR(""),
        .commit_timestamp = r->timestamp_ms,
        .expire_timestamp = expires_at(r),
        .topic_id = p->topic_id,
    };
}

static void stay_alive(struct group_core *c, struct group *g, struct str member_id)
{
    struct classic_member *m = classic_group_member(g->classic, member_id);

    if (m &&
        (g->classic->state == CLASSIC_STABLE || g->classic->state == CLASSIC_PREPARING_REBALANCE))
        classic_member_heard(c, g, m);
}

void group_core_commit(struct group_core *c, struct group_caller *who, const struct group_commit *r,
                       int64_t now_ms, struct group_effects *fx)
{
    struct group *g = group_find_loaded(c, r->group);
    enum kerr code;

    group_step_begin(c, fx, now_ms);
    group_step_on(c, g);
    who->code = KERR_NONE;
    code = check_commit(c, g, r);
    if (!code && g->type == GROUP_CLASSIC)
        stay_alive(c, g, r->member_id);
    if (!code && check_partitions(c, r) > GROUP_BATCH_BYTES_MAX - OFFSET_RECORD_BYTES)
        code = KERR_UNKNOWN_SERVER_ERROR;
    for (size_t i = 0; !code && i < r->partition_count; i++) {
        if (r->partitions[i].code)
            continue;
        emit_commit(c, r, &r->partitions[i]);
        g->has_offsets = true;
    }
    if (c->commits_offset < r->image_offset)
        c->commits_offset = r->image_offset;
    group_answer(c, who, code);
    group_step_end(c);
}

enum kerr group_core_check_offset_fetch(const struct group_core *c, struct str group,
                                        struct str member_id, int32_t member_epoch)
{
    const struct group *g = group_find_loaded(c, group);

    if (group_is_nothing(g))
        return KERR_GROUP_ID_NOT_FOUND;
    if (g->type != GROUP_CONSUMER || !member_id.data)
        return KERR_NONE;
    return consumer_group_check_offset_fetch(g, member_id, member_epoch);
}

/* ---- deletion ---- */

static bool is_empty(const struct group *g)
{
    if (g->type == GROUP_CONSUMER)
        return consumer_group_is_empty(g);
    return g->type != GROUP_CLASSIC || classic_group_is_empty(g->classic);
}

static bool subscribes(const struct group *g, struct str topic)
{
    if (g->type == GROUP_CONSUMER)
        return consumer_group_subscribes(g, topic);
    return g->type == GROUP_CLASSIC && classic_group_subscribes(g->classic, topic);
}

static void emit_offset_tombstone(struct group_core *c, const struct group_offset_name *name)
{
    struct group_record *record = group_emit_new(c, GROUP_RECORD_OFFSET_COMMIT);

    record->tombstone = true;
    record->key.offset_commit.topic = group_fx_str(c, name->topic);
    record->key.offset_commit.partition = name->partition;
}

/* The group itself goes; its offsets have. One of mere offsets is tombstoned too, as in Kafka:
 * there the records of offsets make a group, which only its own tombstone takes away. */
static void end_group(struct group_core *c, struct group *g)
{
    if (g->type == GROUP_CONSUMER)
        consumer_group_tombstones(c, g);
    else
        classic_group_emit_tombstone(c);
    group_become(c, g, GROUP_NONE, NULL);
    g->has_offsets = false;
}

void group_core_offset_delete(struct group_core *c, struct group_caller *who, struct str group,
                              struct group_offset_name *names, size_t count,
                              struct group_effects *fx)
{
    struct group *g = group_find_loaded(c, group);
    enum kerr code = KERR_NONE;

    group_step_begin(c, fx, c->now_ms);
    group_step_on(c, g);
    who->code = KERR_NONE;
    if (group_is_nothing(g))
        code = KERR_GROUP_ID_NOT_FOUND;
    else if (g->type == GROUP_CLASSIC && !is_empty(g) &&
             !classic_group_is_consumer_protocol(g->classic))
        code = KERR_NON_EMPTY_GROUP; /* what its members read cannot be known */
    for (size_t i = 0; !code && i < count; i++) {
        names[i].code = subscribes(g, names[i].topic) ? KERR_GROUP_SUBSCRIBED_TO_TOPIC : KERR_NONE;
        if (!names[i].code)
            emit_offset_tombstone(c, &names[i]);
    }
    group_answer(c, who, code);
    group_step_end(c);
}

void group_core_delete(struct group_core *c, struct group_caller *who, struct str group,
                       const struct group_offset_name *offsets, size_t count,
                       struct group_effects *fx)
{
    struct group *g = group_find_loaded(c, group);
    enum kerr code = KERR_NONE;

    group_step_begin(c, fx, c->now_ms);
    group_step_on(c, g);
    who->code = KERR_NONE;
    if (group_is_nothing(g))
        code = KERR_GROUP_ID_NOT_FOUND;
    else if (!is_empty(g))
        code = KERR_NON_EMPTY_GROUP;
    if (!code) {
        for (size_t i = 0; i < count; i++)
            emit_offset_tombstone(c, &offsets[i]);
        end_group(c, g);
    }
    group_answer(c, who, code);
    group_step_end(c);
}

/* ---- expiry ---- */

/* Whether offsets of the group may expire now at all. *since_ms: from when on they are kept; -1:
 * from the commit. */
static bool may_expire(const struct group *g, int64_t *since_ms)
{
    const struct classic_group *cg = g->type == GROUP_CLASSIC ? g->classic : NULL;

    *since_ms = -1;
    if (!cg || !cg->protocol_type.data)
        return true;
    if (cg->state == CLASSIC_EMPTY) {
        *since_ms = cg->state_wall_ms;
        return true;
    }
    return cg->state == CLASSIC_STABLE && cg->topics_known;
}

static bool has_expired(const struct group_core *c, const struct group_stored_offset *o,
                        int64_t since_ms, int64_t wall_ms)
{
    if (o->expire_timestamp_ms != -1) /* it was committed with a time of its own */
        return wall_ms >= o->expire_timestamp_ms;
    if (since_ms == -1)
        since_ms = o->commit_timestamp_ms;
    return since_ms <= wall_ms && wall_ms - since_ms >= c->args.settings->offsets_retention_ms;
}

void group_core_expire(struct group_core *c, struct str group,
                       const struct group_stored_offset *offsets, size_t count, int64_t wall_ms,
                       struct group_effects *fx)
{
    struct group *g = group_find_loaded(c, group);
    int64_t touched_ms = g->touched_ms, since_ms;
    size_t left = 0;

    group_step_begin(c, fx, c->now_ms);
    group_step_on(c, g);
    g->touched_ms = touched_ms; /* nobody asked for it */
    if (!group_is_nothing(g) && may_expire(g, &since_ms)) {
        for (size_t i = 0; i < count; i++) {
            if (!subscribes(g, offsets[i].name.topic) &&
                has_expired(c, &offsets[i], since_ms, wall_ms))
                emit_offset_tombstone(c, &offsets[i].name);
            else
                left++;
        }
        /* Somebody who was given a member id is about to join. */
        if (!left && is_empty(g) && !(g->type == GROUP_CLASSIC && g->classic->pending))
            end_group(c, g);
    }
    group_step_end(c);
}

/* ---- deleted topics ---- */

bool group_topic_is_deleted(const struct metadata_image *image, struct str topic, struct uuid id)
{
    const struct metadata_topic *now = metadata_image_topic(image, topic);

    return !now || (!uuid_is_zero(id) && !uuid_equal(now->id, id));
}

bool group_core_topics_deleted(struct group_core *c, struct str group,
                               const struct group_stored_offset *offsets, size_t count,
                               struct group_effects *fx)
{
    struct group *g = group_find_loaded(c, group);
    bool behind = metadata_image_offset(c->image) < c->commits_offset;
    int64_t touched_ms = g->touched_ms;

    group_step_begin(c, fx, c->now_ms);
    group_step_on(c, g);
    g->touched_ms = touched_ms; /* nobody asked for it */
    for (size_t i = 0; !behind && i < count; i++)
        if (group_topic_is_deleted(c->image, offsets[i].name.topic, offsets[i].topic_id))
            emit_offset_tombstone(c, &offsets[i].name);
    group_step_end(c);
    return !behind;
}
