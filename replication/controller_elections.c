/* Leaders are elected: because a client asks for it, and by themselves now and then. */

#include "replication/controller_core_internal.h"

/* So many elections at once when nobody waits for them; the rest a moment later. */
#define ELECTIONS_AT_ONCE_MAX 1000
#define ELECTIONS_PAUSE_MS    10

/* As in Apache Kafka, where this is unclean.leader.election.interval.ms, which nobody is told
 * of. */
#define UNCLEAN_INTERVAL_MS (5 * 60 * 1000)

static const struct controller_result too_large = {KERR_POLICY_VIOLATION,
                                                   "The request is too large."};

static bool has_preferred_leader(const struct metadata_partition *p)
{
    return p->replicas.count > 0 && p->leader == p->replicas.ids[0];
}

/* ---- ElectLeaders ---- */

static bool election_needed(const struct metadata_partition *p, int8_t type)
{
    return type == ELECT_PREFERRED ? !has_preferred_leader(p) : p->leader == NO_LEADER;
}

static bool elect(struct controller_core *c, const struct metadata_topic *t, int32_t index,
                  int8_t type)
{
    struct core_change change;

    core_change_begin(c, &change, t, index, NULL);
    change.change.election = type == ELECT_PREFERRED ? ELECTION_PREFERRED : ELECTION_UNCLEAN;
    return core_change_emit(c, &change);
}

static struct controller_result elect_one(struct controller_core *c, struct arena *a,
                                          const struct metadata_topic *t,
                                          const struct topic_partition *q, int8_t type)
{
    const struct metadata_partition *p = metadata_topic_partition(t, q->partition);

    if (!t)
        return core_refuse(a, KERR_UNKNOWN_TOPIC_OR_PARTITION, "No such topic as %.*s",
                           STR_ARG(q->topic));
    if (!p)
        return core_refuse(a, KERR_UNKNOWN_TOPIC_OR_PARTITION, "No such partition as %.*s-%d",
                           STR_ARG(q->topic), q->partition);
    if (!election_needed(p, type))
        return core_refuse(a, KERR_ELECTION_NOT_NEEDED,
                           "Leader election not needed for topic partition.");
    if (elect(c, t, q->partition, type))
        return CORE_OK;
    return type == ELECT_PREFERRED
               ? core_refuse(a, KERR_PREFERRED_LEADER_NOT_AVAILABLE,
                             "The preferred leader was not available.")
               : core_refuse(a, KERR_ELIGIBLE_LEADERS_NOT_AVAILABLE,
                             "Eligible topic partition leaders are not available.");
}

static struct controller_result elect_named(struct controller_core *c, struct controller_request *r)
{
    r->election.results = arena_array(r->arena, struct elect_leader_result, r->election.count);
    if (!r->election.results)
        return too_large;
    r->election.result_count = r->election.count;
    for (size_t i = 0; i < r->election.count; i++) {
        const struct topic_partition *q = &r->election.partitions[i];

        r->election.results[i] = (struct elect_leader_result){
            q->topic, q->partition,
            elect_one(c, r->arena, metadata_image_topic(c->image, q->topic), q, r->election.type)};
    }
    return CORE_OK;
}

static size_t count_needed(const struct metadata_image *img, int8_t type)
{
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *t;
    size_t count = 0;

    metadata_topics_begin(&cursor, img);
    while ((t = metadata_topics_next(&cursor)))
        for (size_t i = 0; i < t->partition_count; i++)
            count += election_needed(t->partitions[i], type);
    return count;
}

/* The topic as it was before: its records so far concern its other partitions. */
static void elect_needed_of(struct controller_core *c, struct controller_request *r,
                            const struct metadata_topic *t, struct str name)
{
    for (size_t i = 0; i < t->partition_count; i++) {
        const struct topic_partition q = {name, (int32_t)i};

        if (election_needed(t->partitions[i], r->election.type))
            r->election.results[r->election.result_count++] = (struct elect_leader_result){
                name, q.partition, elect_one(c, r->arena, t, &q, r->election.type)};
    }
}

static struct controller_result elect_all(struct controller_core *c, struct controller_request *r)
{
    const struct metadata_image *before = metadata_image_acquire(c->image);
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *t;
    struct controller_result result = CORE_OK;

    r->election.results =
        arena_array(r->arena, struct elect_leader_result, count_needed(before, r->election.type));
    r->election.result_count = 0;
    if (!r->election.results)
        result = too_large;
    metadata_topics_begin(&cursor, before);
    while (result.code == KERR_NONE && (t = metadata_topics_next(&cursor))) {
        const char *name = arena_strdup(r->arena, t->name);

        if (name)
            elect_needed_of(c, r, t, (struct str){name, t->name.size});
        else
            result = too_large;
    }
    metadata_image_release(before);
    return result;
}

struct controller_result core_elect_leaders(struct controller_core *c, struct controller_request *r)
{
    if (r->election.type != ELECT_PREFERRED && r->election.type != ELECT_UNCLEAN)
        return core_refuse(r->arena, KERR_INVALID_REQUEST, "Unknown election type %d",
                           r->election.type);
    c->atomic = false;
    return r->election.all ? elect_all(c, r) : elect_named(c, r);
}

/* ---- by themselves ---- */

/* Partitions without leader whose topic rather loses records than waits. */
static bool wants_unclean(const struct metadata_topic *t, const struct metadata_partition *p)
{
    return p->leader == NO_LEADER && t->config->settings.unclean_leader_election;
}

static bool wants_preferred(const struct metadata_topic *t, const struct metadata_partition *p)
{
    (void)t;
    return !has_preferred_leader(p);
}

/* Whether there may be more of them. */
static bool elect_wanted(struct controller_core *c, int8_t type,
                         bool (*wanted)(const struct metadata_topic *t,
                                        const struct metadata_partition *p))
{
    const struct metadata_image *before = metadata_image_acquire(c->image);
    struct metadata_topic_cursor cursor;
    const struct metadata_topic *t;
    size_t elected = 0;

    metadata_topics_begin(&cursor, before);
    while (elected < ELECTIONS_AT_ONCE_MAX && (t = metadata_topics_next(&cursor)))
        for (size_t i = 0; elected < ELECTIONS_AT_ONCE_MAX && i < t->partition_count; i++)
            if (wanted(t, t->partitions[i]))
                elected += elect(c, t, (int32_t)i, type);
    metadata_image_release(before);
    return elected == ELECTIONS_AT_ONCE_MAX;
}

static int64_t balance_interval_ms(const struct controller_core *c)
{
    return config_values_integer(c->given, "leader.imbalance.check.interval.seconds") * 1000;
}

void core_elections_init(struct controller_core *c)
{
    bool balances = config_values_boolean(c->given, "auto.leader.rebalance.enable");

    c->balance_ms = balances ? c->at.now_ms + balance_interval_ms(c) : INT64_MAX;
    c->unclean_ms = c->at.now_ms + UNCLEAN_INTERVAL_MS;
}

void core_elections_hurry(struct controller_core *c)
{
    c->unclean_ms = c->at.now_ms;
}

int64_t core_elections_next_ms(const struct controller_core *c)
{
    return c->balance_ms < c->unclean_ms ? c->balance_ms : c->unclean_ms;
}

void core_elections_tick(struct controller_core *c)
{
    int64_t now_ms = c->at.now_ms;

    if (now_ms >= c->unclean_ms)
        c->unclean_ms =
            now_ms + (elect_wanted(c, ELECT_UNCLEAN, wants_unclean) ? ELECTIONS_PAUSE_MS
                                                                    : UNCLEAN_INTERVAL_MS);
    if (now_ms >= c->balance_ms)
        c->balance_ms =
            now_ms + (elect_wanted(c, ELECT_PREFERRED, wants_preferred) ? ELECTIONS_PAUSE_MS
                                                                        : balance_interval_ms(c));
}
