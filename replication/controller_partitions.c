/* Leaders, ISRs and directories: what happens to partitions when brokers come and go, and what
 * their leaders and hosts report. */

#include "replication/controller_core_internal.h"

/* ---- who may lead ---- */

static bool dir_online(const struct metadata_broker *b, struct uuid dir)
{
    if (uuid_equal(dir, DIRECTORY_UNASSIGNED) || uuid_equal(dir, DIRECTORY_MIGRATING))
        return true;
    if (uuid_equal(dir, DIRECTORY_LOST))
        return false;
    for (size_t i = 0; i < b->log_dir_count; i++)
        if (uuid_equal(b->log_dirs[i], dir))
            return true;
    return b->log_dir_count == 0; /* it told us of none */
}

static struct uuid directory_of(const struct metadata_partition *p, int32_t id)
{
    for (size_t i = 0; i < p->replicas.count; i++)
        if (p->replicas.ids[i] == id)
            return p->directories[i];
    return DIRECTORY_UNASSIGNED;
}

/* Where the change leaves a replica. */
static struct uuid directory_after(const struct partition_change *c, int32_t id)
{
    for (size_t i = 0; i < c->assignment.replicas.count; i++)
        if (c->assignment.replicas.ids[i] == id)
            return c->directories[i];
    return DIRECTORY_UNASSIGNED;
}

static bool may_lead(void *arg, int32_t id)
{
    const struct core_change *change = arg;
    const struct metadata_broker *b = metadata_image_broker(change->core->image, id);

    if (!b || id == change->why.removed_id || id == change->why.unclean_id)
        return false;
    if (id != change->why.added_id && !core_broker_active(change->core, id))
        return false;
    return dir_online(b, directory_after(&change->change, id));
}

static const struct core_reelection nobody = {NO_LEADER, NO_LEADER, NO_LEADER, NULL};

void core_change_begin(struct controller_core *c, struct core_change *out,
                       const struct metadata_topic *t, int32_t index,
                       const struct core_reelection *why)
{
    const struct metadata_partition *before = t->partitions[index];
    int32_t min_isr = t->config->settings.min_insync_replicas;
    struct partition_change *change = &out->change;

    out->core = c;
    out->why = why ? *why : nobody;
    arena_reset(&c->scratch);
    partition_change_init(change, before);
    change->topic_id = t->id;
    change->index = index;
    change->metadata_version = core_metadata_version(c);
    change->elr_enabled = core_elr_enabled(c);
    change->min_isr =
        (size_t)min_isr < before->replicas.count ? min_isr : (int32_t)before->replicas.count;
    change->election =
        t->config->settings.unclean_leader_election ? ELECTION_UNCLEAN : ELECTION_ONLINE;
    change->may_lead = may_lead;
    change->arg = out;
    change->unclean_id = out->why.unclean_id;
}

bool core_change_emit(struct controller_core *c, const struct core_change *change)
{
    struct metadata_record r;
    bool changes = partition_change_record(&change->change, &c->scratch, &r);

    if (changes)
        core_emit(c, &r);
    return changes;
}

/* ---- brokers come and go ---- */

static bool concerns(const struct core_reelection *why, const struct metadata_partition *p)
{
    if (why->added_id != NO_LEADER && p->leader == NO_LEADER &&
        id_list_contains(p->replicas, why->added_id))
        return true;
    if (why->unclean_id != NO_LEADER &&
        (id_list_contains(p->isr, why->unclean_id) || id_list_contains(p->elr, why->unclean_id)))
        return true;
    if (why->removed_id == NO_LEADER || !id_list_contains(p->isr, why->removed_id))
        return false;
    return !why->directory || uuid_equal(*why->directory, directory_of(p, why->removed_id));
}

static struct id_list without(struct arena *a, struct id_list list,
                              const struct core_reelection *why)
{
    int32_t *ids = arena_array(a, int32_t, list.count);
    size_t count = 0;

    CHECK(ids);
    for (size_t i = 0; i < list.count; i++)
        if (list.ids[i] != why->removed_id && list.ids[i] != why->unclean_id)
            ids[count++] = list.ids[i];
    return (struct id_list){ids, count};
}

void core_reelect(struct controller_core *c, const struct core_reelection *why)
{
    /* Walked as it was, while the records change its successor. No partition comes by twice. */
    const struct metadata_image *before = metadata_image_acquire(c->image);
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *t;

    metadata_topics_begin(&cursor, before);
    while ((t = metadata_topics_next(&cursor))) {
        for (size_t i = 0; i < t->partition_count; i++) {
            struct core_change change;

            if (!concerns(why, t->partitions[i]))
                continue;
            core_change_begin(c, &change, t, (int32_t)i, why);
            change.change.isr = without(&c->scratch, change.change.isr, why);
            core_change_emit(c, &change);
        }
    }
    metadata_image_release(before);
}

bool core_leads_anything(const struct controller_core *c, int32_t broker_id)
{
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *t;

    metadata_topics_begin(&cursor, c->image);
    while ((t = metadata_topics_next(&cursor)))
        for (size_t i = 0; i < t->partition_count; i++)
            if (t->partitions[i]->leader == broker_id)
                return true;
    return false;
}

/* ---- AlterPartition: a leader changes its ISR ---- */

static bool valid_isr(const struct metadata_partition *p, struct id_list isr)
{
    if (isr.count > p->replicas.count || !id_list_contains(isr, p->leader))
        return false; /* a leader is always in sync with itself */
    for (size_t i = 0; i < isr.count; i++) {
        if (!id_list_contains(p->replicas, isr.ids[i]))
            return false;
        for (size_t j = 0; j < i; j++)
            if (isr.ids[i] == isr.ids[j])
                return false;
    }
    return true;
}

/* Apache Kafka does not ask for the directory: there a leader that had a fetch under way when the
 * disk failed takes the replica back in, and writes wait until it has lagged behind for long. */
static bool eligible(const struct controller_core *c, const struct metadata_partition *p,
                     const struct isr_member *m)
{
    const struct metadata_broker *b = metadata_image_broker(c->image, m->id);

    return b && !b->fenced && !b->in_controlled_shutdown &&
           (m->epoch == -1 || m->epoch == b->epoch) &&
           (id_list_contains(p->isr, m->id) || dir_online(b, directory_of(p, m->id)));
}

static enum kerr check_alter(const struct controller_core *c, int32_t broker_id,
                             const struct alter_partition *q, const struct metadata_partition *p,
                             struct id_list isr)
{
    /* The leader knows more than we do: somebody else is the controller. */
    if (q->leader_epoch > p->leader_epoch || q->partition_epoch > p->partition_epoch)
        return KERR_NOT_CONTROLLER;
    if (q->leader_epoch < p->leader_epoch)
        return KERR_FENCED_LEADER_EPOCH;
    if (broker_id != p->leader)
        return KERR_INVALID_REQUEST;
    if (q->partition_epoch < p->partition_epoch)
        return KERR_INVALID_UPDATE_VERSION;
    if (!valid_isr(p, isr))
        return KERR_INVALID_REQUEST;
    if (q->leader_recovery_state != LEADER_RECOVERED &&
        q->leader_recovery_state != LEADER_RECOVERING)
        return KERR_INVALID_REQUEST;
    if (q->leader_recovery_state == LEADER_RECOVERING &&
        (isr.count > 1 || p->leader_recovery_state == LEADER_RECOVERED))
        return KERR_INVALID_REQUEST;
    for (size_t i = 0; i < q->isr_count; i++)
        if (!eligible(c, p, &q->isr[i]))
            return KERR_INELIGIBLE_REPLICA;
    return KERR_NONE;
}

static struct id_list ids_of(struct arena *a, const struct isr_member *members, size_t count)
{
    int32_t *ids = arena_array(a, int32_t, count);

    for (size_t i = 0; ids && i < count; i++)
        ids[i] = members[i].id;
    return (struct id_list){ids, ids ? count : 0};
}

static struct id_list copy_ids(struct arena *a, struct id_list list)
{
    int32_t *ids = arena_array(a, int32_t, list.count);

    for (size_t i = 0; ids && i < list.count; i++)
        ids[i] = list.ids[i];
    return (struct id_list){ids, ids ? list.count : 0};
}

static void alter_one(struct controller_core *c, const struct controller_request *r, size_t i)
{
    const struct alter_partition *q = &r->isr.partitions[i];
    struct alter_partition_result *result = &r->isr.results[i];
    const struct metadata_topic *t = metadata_image_topic_by_id(c->image, q->topic_id);
    const struct metadata_partition *p = metadata_topic_partition(t, q->partition);
    struct id_list isr = ids_of(r->arena, q->isr, q->isr_count);
    struct core_change change;

    if (!p) {
        result->code = t ? KERR_UNKNOWN_TOPIC_OR_PARTITION : KERR_UNKNOWN_TOPIC_ID;
        return;
    }
    result->code = check_alter(c, r->isr.broker_id, q, p, isr);
    if (result->code != KERR_NONE)
        return;
    core_change_begin(c, &change, t, q->partition, NULL);
    change.change.isr = isr;
    change.change.leader_recovery_state = q->leader_recovery_state;
    core_change_emit(c, &change);
    p = metadata_topic_partition(metadata_image_topic_by_id(c->image, q->topic_id), q->partition);
    /* the ISR completed a reassignment that took its leader out */
    if (p->leader != r->isr.broker_id) {
        result->code = KERR_NEW_LEADER_ELECTED;
        return;
    }
    result->leader = p->leader;
    result->leader_epoch = p->leader_epoch;
    result->partition_epoch = p->partition_epoch;
    result->leader_recovery_state = p->leader_recovery_state;
    result->isr = copy_ids(r->arena, p->isr);
    if (!result->isr.ids)
        result->code = KERR_UNKNOWN_SERVER_ERROR; /* it learns of it from the metadata */
}

struct controller_result core_alter_partitions(struct controller_core *c,
                                               struct controller_request *r)
{
    if (!core_broker_of_epoch(c, r->isr.broker_id, r->isr.broker_epoch))
        return core_refuse(r->arena, KERR_STALE_BROKER_EPOCH,
                           "Broker %d is not registered with epoch %lld.", r->isr.broker_id,
                           (long long)r->isr.broker_epoch);
    r->isr.results = arena_array(r->arena, struct alter_partition_result, r->isr.count);
    if (!r->isr.results)
        return (struct controller_result){KERR_POLICY_VIOLATION, "The request is too large."};
    c->atomic = false;
    for (size_t i = 0; i < r->isr.count; i++)
        alter_one(c, r, i);
    return CORE_OK;
}

/* ---- AssignReplicasToDirs: where a replica landed ---- */

struct uuid core_default_directory(const struct controller_core *c, int32_t broker_id)
{
    const struct metadata_broker *b = metadata_image_broker(c->image, broker_id);

    if (!b || b->log_dir_count == 0)
        return DIRECTORY_MIGRATING;
    return b->log_dir_count == 1 ? b->log_dirs[0] : DIRECTORY_UNASSIGNED;
}

static enum kerr assign_one(struct controller_core *c, const struct metadata_broker *b,
                            const struct assign_replica *q)
{
    const struct metadata_topic *t = metadata_image_topic_by_id(c->image, q->topic_id);
    const struct metadata_partition *p = metadata_topic_partition(t, q->partition);
    struct core_reelection why = nobody;
    struct core_change change;
    struct uuid *dirs;

    if (!p)
        return t ? KERR_UNKNOWN_TOPIC_OR_PARTITION : KERR_UNKNOWN_TOPIC_ID;
    if (!id_list_contains(p->replicas, b->id))
        return KERR_NOT_LEADER_OR_FOLLOWER;
    if (!dir_online(b, q->directory))
        why.removed_id = b->id;
    core_change_begin(c, &change, t, q->partition, &why);
    dirs = arena_array(&c->scratch, struct uuid, p->replicas.count);
    CHECK(dirs);
    for (size_t i = 0; i < p->replicas.count; i++)
        dirs[i] = p->replicas.ids[i] == b->id ? q->directory : p->directories[i];
    change.change.directories = dirs;
    if (why.removed_id != NO_LEADER)
        change.change.isr = without(&c->scratch, change.change.isr, &why);
    core_change_emit(c, &change);
    return KERR_NONE;
}

struct controller_result core_assign_replicas(struct controller_core *c,
                                              struct controller_request *r)
{
    const struct metadata_broker *b =
        core_broker_of_epoch(c, r->directories.broker_id, r->directories.broker_epoch);

    if (!b)
        return core_refuse(r->arena, KERR_STALE_BROKER_EPOCH,
                           "Broker %d is not registered with epoch %lld.", r->directories.broker_id,
                           (long long)r->directories.broker_epoch);
    if (core_metadata_version(c) < METADATA_VERSION_DIRECTORIES)
        return core_refuse(r->arena, KERR_UNSUPPORTED_VERSION,
                           "Directory assignment is not supported yet.");
    r->directories.results = arena_array(r->arena, enum kerr, r->directories.count);
    if (!r->directories.results)
        return (struct controller_result){KERR_POLICY_VIOLATION, "The request is too large."};
    c->atomic = false;
    for (size_t i = 0; i < r->directories.count; i++)
        r->directories.results[i] = assign_one(c, b, &r->directories.replicas[i]);
    return CORE_OK;
}
