#include "replication/partition_change.h"

#include "protocol/base/check.h"
#include "replication/metadata_encode.h"

#define LEADER_UNCHANGED         (-2)
#define RECOVERY_STATE_UNCHANGED (-1)

void partition_change_init(struct partition_change *c, const struct metadata_partition *before)
{
    *c = (struct partition_change){
        .before = before,
        .election = ELECTION_ONLINE,
        .unclean_id = NO_LEADER,
        .isr = before->isr,
        .leader_recovery_state = before->leader_recovery_state,
        .assignment = {before->replicas, before->adding, before->removing},
        .directories = before->directories,
    };
}

/* What is being worked out. */
struct outcome {
    struct id_list isr;
    struct id_list elr;
    struct reassignment assignment;
    const struct uuid *directories;
    int32_t leader;
    bool unclean;        /* the new leader may lack records */
    bool leader_changed; /* or is named again, for a new epoch */
};

static bool same_ids(struct id_list a, struct id_list b)
{
    if (a.count != b.count)
        return false;
    for (size_t i = 0; i < a.count; i++)
        if (a.ids[i] != b.ids[i])
            return false;
    return true;
}

static struct id_list one_id(struct arena *a, int32_t id)
{
    int32_t *ids = arena_array(a, int32_t, 1);

    CHECK(ids);
    ids[0] = id;
    return (struct id_list){ids, 1};
}

/* Those of ELR and old ISR who are still replicas, not in the new ISR, and lost nothing, while it
 * is below the minimum. */
static struct id_list next_elr(const struct partition_change *c, const struct outcome *o,
                               struct arena *a)
{
    const struct metadata_partition *p = c->before;
    int32_t *ids;
    size_t count = 0;

    if (!c->elr_enabled || o->isr.count >= (size_t)c->min_isr)
        return (struct id_list){0};
    ids = arena_array(a, int32_t, p->elr.count + p->isr.count);
    CHECK(ids);
    for (size_t i = 0; i < p->elr.count + p->isr.count; i++) {
        int32_t id = i < p->elr.count ? p->elr.ids[i] : p->isr.ids[i - p->elr.count];

        if (!id_list_contains(o->isr, id) && id != c->unclean_id &&
            id_list_contains(o->assignment.replicas, id) &&
            !id_list_contains((struct id_list){ids, count}, id))
            ids[count++] = id;
    }
    return (struct id_list){ids, count};
}

static bool may_lead_cleanly(const struct partition_change *c, const struct outcome *o, int32_t id)
{
    bool has_all =
        id_list_contains(o->isr, id) || (o->isr.count == 0 && id_list_contains(o->elr, id));

    return has_all && c->may_lead(c->arg, id);
}

/* The leader from before the ISR ran empty, remembered for the case that even the ELR is empty. */
static bool last_known_leader_may_lead(const struct partition_change *c, const struct outcome *o)
{
    return c->elr_enabled && o->isr.count == 0 && o->elr.count == 0 &&
           c->before->last_known_elr.count == 1 &&
           id_list_contains(o->assignment.replicas, c->before->last_known_elr.ids[0]) &&
           c->may_lead(c->arg, c->before->last_known_elr.ids[0]);
}

static int32_t elect(const struct partition_change *c, struct outcome *o)
{
    const struct metadata_partition *p = c->before;
    struct id_list replicas = o->assignment.replicas;

    if (c->election == ELECTION_PREFERRED && replicas.count > 0 &&
        may_lead_cleanly(c, o, replicas.ids[0]))
        return replicas.ids[0];
    if (p->leader != NO_LEADER && may_lead_cleanly(c, o, p->leader))
        return p->leader;
    for (size_t i = 0; i < replicas.count; i++)
        if (may_lead_cleanly(c, o, replicas.ids[i]))
            return replicas.ids[i];
    o->unclean = true;
    if (last_known_leader_may_lead(c, o))
        return p->last_known_elr.ids[0];
    for (size_t i = 0; c->election == ELECTION_UNCLEAN && i < replicas.count; i++)
        if (c->may_lead(c->arg, replicas.ids[i]))
            return replicas.ids[i];
    o->unclean = false;
    return NO_LEADER;
}

static void hold_election(const struct partition_change *c, struct outcome *o, struct arena *a)
{
    o->leader = elect(c, o);
    o->leader_changed = o->leader != c->before->leader;
    if (!o->leader_changed) {
        o->unclean = false;
        return;
    }
    /* it becomes the ISR; the others may still follow it there */
    if (id_list_contains(o->elr, o->leader)) {
        int32_t *rest = arena_array(a, int32_t, o->elr.count);
        size_t count = 0;

        CHECK(rest);
        for (size_t i = 0; i < o->elr.count; i++)
            if (o->elr.ids[i] != o->leader)
                rest[count++] = o->elr.ids[i];
        o->isr = one_id(a, o->leader);
        o->elr = (struct id_list){rest, count};
        if (o->isr.count >= (size_t)c->min_isr)
            o->elr.count = 0;
    } else if (o->unclean) {
        o->isr = one_id(a, o->leader);
        o->elr = (struct id_list){0};
    }
}

static void set_ids(int32_t **ids, size_t *count, struct id_list list)
{
    /* NULL would be "unchanged"; an empty list needs an address too */
    static const int32_t none[1];

    *ids = (int32_t *)(uintptr_t)(list.count ? list.ids : none);
    *count = list.count;
}

static bool contains_all(struct id_list list, struct id_list wanted)
{
    for (size_t i = 0; i < wanted.count; i++)
        if (!id_list_contains(list, wanted.ids[i]))
            return false;
    return true;
}

/* Followers that are taken away learn of it by a new epoch; before metadata.version 3.6-IV0 they
 * needed one to learn of a smaller ISR too. */
static bool needs_epoch(const struct partition_change *c, const struct outcome *o)
{
    return !contains_all(o->assignment.replicas, c->before->replicas) ||
           (c->metadata_version < 12 /* 3.6-IV0 */ && !contains_all(o->isr, c->before->isr));
}

static void record_last_known_leader(const struct partition_change *c, const struct outcome *o,
                                     struct arena *a, struct partition_change_record *rec)
{
    const struct metadata_partition *p = c->before;

    if (!c->elr_enabled)
        return;
    /* Without a leader since before, any of the ISR will do: all of them have what is committed. */
    if (o->isr.count == 0 && p->isr.count > 0)
        set_ids(&rec->last_known_elr, &rec->last_known_elr_count,
                one_id(a, p->leader != NO_LEADER ? p->leader : p->isr.ids[0]));
    else if (o->leader != NO_LEADER && p->last_known_elr.count > 0)
        set_ids(&rec->last_known_elr, &rec->last_known_elr_count, (struct id_list){0});
}

/* The directories that are left with the replicas. */
static const struct uuid *directories_of(const struct partition_change *c, struct id_list replicas,
                                         struct arena *a)
{
    struct uuid *out = arena_array(a, struct uuid, replicas.count);

    CHECK(out);
    for (size_t i = 0; i < replicas.count; i++)
        for (size_t j = 0; j < c->assignment.replicas.count; j++)
            if (c->assignment.replicas.ids[j] == replicas.ids[i])
                out[i] = c->directories[j];
    return out;
}

static void record_assignment(const struct partition_change *c, const struct outcome *o,
                              struct partition_change_record *rec, int16_t version)
{
    const struct metadata_partition *p = c->before;
    size_t count = o->assignment.replicas.count;

    if (!same_ids(o->assignment.replicas, p->replicas))
        set_ids(&rec->replicas, &rec->replicas_count, o->assignment.replicas);
    if (!same_ids(o->assignment.adding, p->adding))
        set_ids(&rec->adding_replicas, &rec->adding_replicas_count, o->assignment.adding);
    if (!same_ids(o->assignment.removing, p->removing))
        set_ids(&rec->removing_replicas, &rec->removing_replicas_count, o->assignment.removing);
    if (version >= 1 && count > 0 &&
        (count != p->replicas.count ||
         memcmp(o->directories, p->directories, count * sizeof *o->directories) != 0)) {
        rec->directories = (struct uuid *)(uintptr_t)o->directories;
        rec->directories_count = count;
    }
}

static bool changes_anything(const struct partition_change_record *rec)
{
    return rec->leader != LEADER_UNCHANGED ||
           rec->leader_recovery_state != RECOVERY_STATE_UNCHANGED || rec->isr ||
           rec->eligible_leader_replicas || rec->last_known_elr || rec->replicas ||
           rec->adding_replicas || rec->removing_replicas || rec->directories;
}

bool partition_change_record(const struct partition_change *c, struct arena *a,
                             struct metadata_record *out)
{
    const struct metadata_partition *p = c->before;
    struct partition_change_record *rec = &out->partition_change;
    struct outcome o = {.isr = c->isr,
                        .leader = p->leader,
                        .assignment = c->assignment,
                        .directories = c->directories};
    int8_t recovery_state = c->leader_recovery_state;

    metadata_record_init(out, PARTITION_CHANGE_RECORD_KEY,
                         partition_record_version(c->metadata_version));
    if (reassignment_complete(&o.assignment, &o.isr, a))
        o.directories = directories_of(c, o.assignment.replicas, a);
    o.elr = next_elr(c, &o, a);
    hold_election(c, &o, a);
    if (o.unclean)
        recovery_state = LEADER_RECOVERING;
    /* Without the ELR nobody would know who has the records: the last ISR stays on paper. */
    if (o.isr.count == 0 && !c->elr_enabled)
        o.isr = p->isr;
    if (o.leader_changed || needs_epoch(c, &o))
        rec->leader = o.leader;
    if (!same_ids(o.isr, p->isr))
        set_ids(&rec->isr, &rec->isr_count, o.isr);
    if (out->version >= 2) {
        if (!same_ids(o.elr, p->elr))
            set_ids(&rec->eligible_leader_replicas, &rec->eligible_leader_replicas_count, o.elr);
        record_last_known_leader(c, &o, a, rec);
    }
    if (recovery_state != p->leader_recovery_state)
        rec->leader_recovery_state = recovery_state;
    record_assignment(c, &o, rec, out->version);
    rec->topic_id = c->topic_id;
    rec->partition_id = c->index;
    return changes_anything(rec);
}
