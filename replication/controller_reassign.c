/* Partitions move to other brokers. */

#include "replication/controller_core_internal.h"

static const struct controller_result too_large = {KERR_POLICY_VIOLATION,
                                                   "The request is too large."};

/* Where the replicas of the change lie: those that were there stay, new ones go where their broker
 * has room. */
static bool place_replicas(const struct controller_core *c, struct core_change *change,
                           struct arena *a)
{
    const struct metadata_partition *before = change->change.before;
    struct id_list replicas = change->change.assignment.replicas;
    struct uuid *directories = arena_array(a, struct uuid, replicas.count);

    for (size_t i = 0; directories && i < replicas.count; i++) {
        directories[i] = core_default_directory(c, replicas.ids[i]);
        for (size_t j = 0; j < before->replicas.count; j++)
            if (before->replicas.ids[j] == replicas.ids[i])
                directories[i] = before->directories[j];
    }
    change->change.directories = directories;
    return directories != NULL;
}

static struct controller_result cancel(struct controller_core *c, struct arena *a,
                                       const struct metadata_topic *t, int32_t index)
{
    const struct metadata_partition *p = t->partitions[index];
    struct core_change change;
    struct partition_change *to = &change.change;
    int32_t first;

    if (!reassignment_under_way(p))
        return core_refuse(a, KERR_NO_REASSIGNMENT_IN_PROGRESS,
                           "No partition reassignment is in progress.");
    core_change_begin(c, &change, t, index, NULL);
    if (!reassignment_revert(p, &c->scratch, &to->assignment, &to->isr) ||
        !place_replicas(c, &change, &c->scratch))
        return too_large;
    if (to->assignment.replicas.count == 0)
        return core_refuse(a, KERR_INVALID_REPLICA_ASSIGNMENT,
                           "Invalid replica assignment: addingReplicas contains all replicas.");
    if (to->isr.count == 0 && to->election != ELECTION_UNCLEAN)
        return core_refuse(
            a, KERR_INVALID_REPLICA_ASSIGNMENT,
            "Unable to revert partition assignment for %.*s:%d because it would require an "
            "unclean leader election.",
            STR_ARG(t->name), index);
    if (to->isr.count == 0) {
        first = to->assignment.replicas.ids[0];
        to->isr = (struct id_list){&first, 1};
    }
    core_change_emit(c, &change);
    return CORE_OK;
}

static struct controller_result move(struct controller_core *c, struct arena *a,
                                     const struct metadata_topic *t, int32_t index,
                                     const struct reassign_partition *q, bool keep_count)
{
    const struct metadata_partition *p = t->partitions[index];
    struct controller_result result = core_check_replicas(c, a, q->replicas);
    struct core_change change;

    if (result.code != KERR_NONE)
        return result;
    if (keep_count && q->replicas.count != reassignment_target_count(p))
        return core_refuse(a, KERR_INVALID_REPLICATION_FACTOR,
                           "The replication factor is changed from %zu to %zu",
                           reassignment_target_count(p), q->replicas.count);
    core_change_begin(c, &change, t, index, NULL);
    change.change.election = ELECTION_ONLINE; /* to move a partition is no reason to lose records */
    if (!reassignment_begin(p, q->replicas, &c->scratch, &change.change.assignment) ||
        !place_replicas(c, &change, &c->scratch))
        return too_large;
    core_change_emit(c, &change);
    return CORE_OK;
}

static struct controller_result reassign_one(struct controller_core *c, struct arena *a,
                                             const struct reassign_partition *q, bool keep_count)
{
    const struct metadata_topic *t = metadata_image_topic(c->image, q->topic);

    if (!t)
        return core_refuse(a, KERR_UNKNOWN_TOPIC_OR_PARTITION, "Unable to find a topic named %.*s.",
                           STR_ARG(q->topic));
    if (!metadata_topic_partition(t, q->partition))
        return core_refuse(a, KERR_UNKNOWN_TOPIC_OR_PARTITION, "Unable to find partition %.*s:%d.",
                           STR_ARG(q->topic), q->partition);
    return q->replicas.ids ? move(c, a, t, q->partition, q, keep_count)
                           : cancel(c, a, t, q->partition);
}

struct controller_result core_alter_reassignments(struct controller_core *c,
                                                  struct controller_request *r)
{
    if (r->reassign.count > CONTROLLER_REQUEST_PARTITIONS_MAX)
        return too_large;
    r->reassign.results = arena_array(r->arena, struct controller_result, r->reassign.count);
    if (!r->reassign.results)
        return too_large;
    for (size_t i = 0; i < r->reassign.count; i++)
        r->reassign.results[i] = reassign_one(c, r->arena, &r->reassign.partitions[i],
                                              r->reassign.keep_replication_factor);
    return CORE_OK;
}

/* ---- what is under way ---- */

static bool copy_ids(struct arena *a, struct id_list from, struct id_list *to)
{
    int32_t *ids = arena_array(a, int32_t, from.count);

    for (size_t i = 0; ids && i < from.count; i++)
        ids[i] = from.ids[i];
    *to = (struct id_list){ids, from.count};
    return ids != NULL;
}

/* Nothing, when nothing is under way there. False: the arena is spent. */
static bool list_one(struct controller_request *r, struct str topic, int32_t index,
                     const struct metadata_partition *p)
{
    struct reassigning_partition *out = &r->reassigning.results[r->reassigning.result_count];

    if (!p || !reassignment_under_way(p))
        return true;
    r->reassigning.result_count++;
    out->topic = topic;
    out->partition = index;
    return copy_ids(r->arena, p->replicas, &out->replicas) &&
           copy_ids(r->arena, p->adding, &out->adding) &&
           copy_ids(r->arena, p->removing, &out->removing);
}

static bool list_topic(struct controller_request *r, const struct metadata_topic *t)
{
    struct str name = {NULL, t->name.size};

    for (size_t i = 0; i < t->partition_count; i++) {
        if (!name.data && reassignment_under_way(t->partitions[i])) {
            name.data = arena_strdup(r->arena, t->name);
            if (!name.data)
                return false;
        }
        if (!list_one(r, name, (int32_t)i, t->partitions[i]))
            return false;
    }
    return true;
}

static size_t count_under_way(const struct metadata_image *img)
{
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *t;
    size_t count = 0;

    metadata_topics_begin(&cursor, img);
    while ((t = metadata_topics_next(&cursor)))
        for (size_t i = 0; i < t->partition_count; i++)
            count += reassignment_under_way(t->partitions[i]);
    return count;
}

struct controller_result core_list_reassignments(struct controller_core *c,
                                                 struct controller_request *r)
{
    size_t room = r->reassigning.all ? count_under_way(c->image) : r->reassigning.count;
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *t;
    bool listed;

    r->reassigning.result_count = 0;
    r->reassigning.results = arena_array(r->arena, struct reassigning_partition, room);
    listed = r->reassigning.results != NULL;
    for (size_t i = 0; listed && !r->reassigning.all && i < r->reassigning.count; i++) {
        const struct topic_partition *q = &r->reassigning.partitions[i];

        listed = list_one(
            r, q->topic, q->partition,
            metadata_topic_partition(metadata_image_topic(c->image, q->topic), q->partition));
    }
    metadata_topics_begin(&cursor, c->image);
    while (listed && r->reassigning.all && (t = metadata_topics_next(&cursor)))
        listed = list_topic(r, t);
    return listed ? CORE_OK : too_large;
}
