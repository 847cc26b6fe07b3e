/* OffsetFetch: where groups have got to, out of the state store. Versions before 8 ask for one
 * group, with other structs that say the same. */

#include "protocol/messages/offset_fetch.h"
#include "broker/coordinator/group_scatter.h"
#include "broker/dispatch.h"
#include "broker/parting.h"
#include "broker/request.h"
#include "broker/shard.h"
#include "storage/group_state.h"

#define NO_OFFSET (-1)

/* What one topic of a group was asked for. */
struct fetch_topic {
    struct str name; /* null: no topic has the id that was asked for */
    struct uuid id;
    const int32_t *partitions;
    size_t partition_count;
    enum kerr code;
};

struct fetch_entry {
    struct group_entry entry; /* first */
    struct str member_id;     /* null: anyone may read */
    int32_t member_epoch;
    bool all; /* every offset of the group */
    const struct fetch_topic *asked;
    size_t asked_count;
    /* the answer, of the newer versions */
    struct offset_fetch_response_topics *topics;
    size_t topic_count;
};

/* ---- on the group's shard ---- */

static enum kerr fetch_check(struct group_entry *entry, const struct group_core *core)
{
    const struct fetch_entry *e = (const struct fetch_entry *)entry;

    return group_core_check_offset_fetch(core, entry->group, e->member_id, e->member_epoch);
}

static struct offset_fetch_response_partitions no_offset(int32_t partition, enum kerr code)
{
    return (struct offset_fetch_response_partitions){partition, NO_OFFSET, -1, STR(""),
                                                     (int16_t)code};
}

static struct offset_fetch_response_partitions offset_of(const struct group_state_offset *o,
                                                         struct str metadata)
{
    return (struct offset_fetch_response_partitions){o->partition, o->offset, o->leader_epoch,
                                                     metadata.data ? metadata : STR(""), KERR_NONE};
}

static struct status spent(void)
{
    return status_error(KERR_INVALID_REQUEST,
                        "offset fetch: the answer is larger than its memory budget");
}

static struct status read_asked(struct fetch_entry *e, struct state_store *store, bool *would_block)
{
    struct arena *a = e->entry.caller.arena;

    for (size_t i = 0; i < e->asked_count; i++) {
        const struct fetch_topic *t = &e->asked[i];
        struct offset_fetch_response_partitions *p =
            arena_array(a, struct offset_fetch_response_partitions, t->partition_count);

        if (!p)
            return spent();
        e->topics[i] = (struct offset_fetch_response_topics){t->name, t->id, p, t->partition_count};
        for (size_t j = 0; j < t->partition_count; j++) {
            struct group_state_offset o;
            bool found = false;
            struct status st = STATUS_OK;

            if (t->code == KERR_NONE)
                st = group_state_get_offset(store, e->entry.partition, e->entry.group, t->name,
                                            t->partitions[j], a, &o, &found, would_block);
            if (status_failed(st) || (would_block && *would_block))
                return st;
            p[j] = found ? offset_of(&o, o.metadata) : no_offset(t->partitions[j], t->code);
        }
    }
    e->topic_count = e->asked_count;
    return STATUS_OK;
}

/* All of a group: what is stored, topic by topic, each with its partitions. */
struct all_reader {
    struct fetch_entry *e;
    struct arena *arena;
    size_t topic_capacity, partition_capacity;
    bool spent;
};

/* A larger copy of an array in the arena; NULL: spent. */
static void *grown(struct arena *a, const void *old, size_t count, size_t *capacity, size_t size)
{
    void *more;

    *capacity = *capacity ? *capacity * 2 : 8;
    more = arena_zalloc(a, *capacity, size);
    if (more && count)
        memcpy(more, old, count * size);
    return more;
}

static struct str copy(struct arena *a, struct str s)
{
    return (struct str){arena_strdup(a, s), s.size};
}

static struct offset_fetch_response_topics *topic_of(struct all_reader *r, struct str name)
{
    struct fetch_entry *e = r->e;
    struct offset_fetch_response_topics *last =
        e->topic_count ? &e->topics[e->topic_count - 1] : NULL;

    if (last && str_equal(last->name, name))
        return last;
    if (e->topic_count == r->topic_capacity)
        e->topics =
            grown(r->arena, e->topics, e->topic_count, &r->topic_capacity, sizeof *e->topics);
    if (!e->topics)
        return NULL;
    r->partition_capacity = 0;
    last = &e->topics[e->topic_count++];
    *last = (struct offset_fetch_response_topics){.name = copy(r->arena, name)};
    return last->name.data ? last : NULL;
}

static bool add_offset(void *arg, const struct group_state_offset *o)
{
    struct all_reader *r = arg;
    struct offset_fetch_response_topics *t = topic_of(r, o->topic);
    struct str metadata = copy(r->arena, o->metadata);

    if (t && t->partitions_count == r->partition_capacity)
        t->partitions = grown(r->arena, t->partitions, t->partitions_count, &r->partition_capacity,
                              sizeof *t->partitions);
    r->spent = !t || !t->partitions || !metadata.data;
    if (r->spent)
        return false;
    t->partitions[t->partitions_count++] = offset_of(o, metadata);
    return true;
}

static struct status read_all(struct fetch_entry *e, struct state_store *store, bool *would_block)
{
    struct all_reader r = {.e = e, .arena = e->entry.caller.arena};
    struct status st;

    e->topics = NULL;
    e->topic_count = 0;
    st = group_state_list_offsets(store, e->entry.partition, e->entry.group, STR_NULL, NULL,
                                  add_offset, &r, would_block);
    return r.spent ? spent() : st;
}

static struct status fetch_read(struct group_entry *entry, struct state_store *store,
                                bool *would_block)
{
    struct fetch_entry *e = (struct fetch_entry *)entry;

    return e->all ? read_all(e, store, would_block) : read_asked(e, store, would_block);
}

/* ---- the answer ---- */

/* A group that does not exist has no offsets, which is no error. */
static bool fill_nothing(struct fetch_entry *e, struct arena *a)
{
    if (e->all)
        return true;
    for (size_t i = 0; i < e->asked_count; i++) {
        const struct fetch_topic *t = &e->asked[i];
        struct offset_fetch_response_partitions *p =
            arena_array(a, struct offset_fetch_response_partitions, t->partition_count);

        if (!p)
            return false;
        e->topics[i] = (struct offset_fetch_response_topics){t->name, t->id, p, t->partition_count};
        for (size_t j = 0; j < t->partition_count; j++)
            p[j] = no_offset(t->partitions[j], t->code);
    }
    e->topic_count = e->asked_count;
    return true;
}

/* Topics that are gone have no id to be told by. */
static void fill_ids(const struct request *rq, struct fetch_entry *e)
{
    size_t kept = 0;

    for (size_t i = 0; i < e->topic_count; i++) {
        const struct metadata_topic *topic =
            metadata_image_topic(rq->shard->image, e->topics[i].name);

        if (!topic)
            continue;
        e->topics[i].topic_id = topic->id;
        e->topics[kept++] = e->topics[i];
    }
    e->topic_count = kept;
}

static bool settle_entry(struct request *rq, struct fetch_entry *e)
{
    enum kerr code = e->entry.caller.code;

    if (code == KERR_GROUP_ID_NOT_FOUND) {
        e->entry.caller.code = KERR_NONE;
        return fill_nothing(e, &rq->arena);
    }
    if (code != KERR_NONE)
        e->topic_count = 0;
    else if (e->all && rq->version >= 10)
        fill_ids(rq, e);
    return true;
}

static bool answer_groups(struct request *rq, struct fetch_entry *entries, size_t count)
{
    struct offset_fetch_response response;

    offset_fetch_response_init(&response);
    response.groups = arena_array(&rq->arena, struct offset_fetch_response_group, count);
    if (!response.groups)
        return false;
    response.groups_count = count;
    for (size_t i = 0; i < count; i++) {
        struct fetch_entry *e = &entries[i];

        if (!settle_entry(rq, e))
            return false;
        offset_fetch_response_group_init(&response.groups[i]);
        response.groups[i].group_id = e->entry.group;
        response.groups[i].error_code = (int16_t)e->entry.caller.code;
        if (e->topic_count) {
            response.groups[i].topics = e->topics;
            response.groups[i].topics_count = e->topic_count;
        }
    }
    request_answer(rq, &response);
    return true;
}

static bool fill_old_topics(struct request *rq, const struct fetch_entry *e,
                            struct offset_fetch_response *out)
{
    out->topics = arena_array(&rq->arena, struct offset_fetch_response_topic, e->topic_count);
    if (!out->topics)
        return false;
    out->topics_count = e->topic_count;
    for (size_t i = 0; i < e->topic_count; i++) {
        const struct offset_fetch_response_topics *t = &e->topics[i];
        struct offset_fetch_response_partition *p =
            arena_array(&rq->arena, struct offset_fetch_response_partition, t->partitions_count);

        if (!p)
            return false;
        out->topics[i] = (struct offset_fetch_response_topic){t->name, p, t->partitions_count};
        for (size_t j = 0; j < t->partitions_count; j++)
            p[j] = (struct offset_fetch_response_partition){
                t->partitions[j].partition_index, t->partitions[j].committed_offset,
                t->partitions[j].committed_leader_epoch, t->partitions[j].metadata,
                t->partitions[j].error_code};
    }
    return true;
}

/* Version 1 has no place for the group's error: each partition says it. */
static void spread_error(struct fetch_entry *e)
{
    for (size_t i = 0; i < e->topic_count; i++)
        for (size_t j = 0; j < e->topics[i].partitions_count; j++)
            e->topics[i].partitions[j].error_code = (int16_t)e->entry.caller.code;
}

static bool answer_one(struct request *rq, struct fetch_entry *e)
{
    struct offset_fetch_response response;

    offset_fetch_response_init(&response);
    if (!settle_entry(rq, e))
        return false;
    if (rq->version < 2 && e->entry.caller.code != KERR_NONE) {
        if (!fill_nothing(e, &rq->arena))
            return false;
        spread_error(e);
    }
    if (!fill_old_topics(rq, e, &response))
        return false;
    response.error_code = (int16_t)e->entry.caller.code;
    request_answer(rq, &response);
    return true;
}

static void fetch_answer(void *arg)
{
    struct group_scatter *g = arg;

    if (!(g->rq->version >= 8 ? answer_groups(g->rq, g->entries, g->count)
                              : answer_one(g->rq, g->entries)))
        request_refuse(g->rq, REQUEST_OVER_BUDGET);
}

static bool moved_on(const struct group_scatter *g)
{
    const struct fetch_entry *entries = g->entries;

    for (size_t i = 0; i < g->count; i++)
        if (entries[i].entry.caller.code == KERR_NOT_COORDINATOR)
            return true;
    return false;
}

static void fetch_finished(struct group_scatter *g)
{
    if (!moved_on(g) || !parting_hold(g->rq, fetch_answer, g))
        fetch_answer(g);
}

/* ---- the request ---- */

static void find_topic(const struct request *rq, struct fetch_topic *t)
{
    const struct metadata_topic *topic;

    if (rq->version < 10)
        return;
    topic = metadata_image_topic_by_id(rq->shard->image, t->id);
    t->name = topic ? topic->name : STR("");
    t->code = topic ? KERR_NONE : KERR_UNKNOWN_TOPIC_ID;
}

static bool fill_entry(struct request *rq, struct fetch_entry *e,
                       const struct offset_fetch_request_group *g)
{
    struct fetch_topic *topics = arena_array(&rq->arena, struct fetch_topic, g->topics_count);

    e->entry.group = g->group_id;
    e->member_id = g->member_id;
    e->member_epoch = g->member_epoch;
    e->all = !g->topics;
    e->asked = topics;
    e->asked_count = g->topics_count;
    e->topics = arena_array(&rq->arena, struct offset_fetch_response_topics, g->topics_count);
    if (!topics || !e->topics)
        return false;
    for (size_t i = 0; i < g->topics_count; i++) {
        topics[i] = (struct fetch_topic){.name = g->topics[i].name,
                                         .id = g->topics[i].topic_id,
                                         .partitions = g->topics[i].partition_indexes,
                                         .partition_count = g->topics[i].partition_indexes_count};
        find_topic(rq, &topics[i]);
        /* the image may be gone when the name is read */
        if (topics[i].name.data && rq->version >= 10) {
            topics[i].name.data = arena_strdup(&rq->arena, topics[i].name);
            if (!topics[i].name.data)
                return false;
        }
    }
    return true;
}

/* The one group of an old request, as the newer versions say it. */
static bool old_group(struct request *rq, const struct offset_fetch_request *m,
                      struct offset_fetch_request_group *out)
{
    offset_fetch_request_group_init(out);
    out->group_id = m->group_id;
    out->topics = NULL;
    if (!m->topics)
        return true;
    out->topics = arena_array(&rq->arena, struct offset_fetch_request_topics, m->topics_count);
    if (!out->topics)
        return false;
    out->topics_count = m->topics_count;
    for (size_t i = 0; i < m->topics_count; i++)
        out->topics[i] = (struct offset_fetch_request_topics){
            .name = m->topics[i].name,
            .partition_indexes = m->topics[i].partition_indexes,
            .partition_indexes_count = m->topics[i].partition_indexes_count};
    return true;
}

static bool fill_entries(struct request *rq, struct group_scatter *g)
{
    const struct offset_fetch_request *m = rq->message;
    struct fetch_entry *entries;
    struct offset_fetch_request_group one;

    g->count = rq->version >= 8 ? m->groups_count : 1;
    g->entries = entries = arena_array(&rq->arena, struct fetch_entry, g->count);
    if (!entries)
        return false;
    if (rq->version < 8)
        return old_group(rq, m, &one) && fill_entry(rq, entries, &one);
    for (size_t i = 0; i < g->count; i++)
        if (!fill_entry(rq, &entries[i], &m->groups[i]))
            return false;
    return true;
}

void handle_offset_fetch(struct request *rq)
{
    const struct offset_fetch_request *m = rq->message;
    struct group_scatter *g = arena_array(&rq->arena, struct group_scatter, 1);

    if (g)
        *g = (struct group_scatter){
            .rq = rq,
            .stride = sizeof(struct fetch_entry),
            .need = m->require_stable ? GROUP_NEED_SETTLED_STORE : GROUP_NEED_STORE,
            .check = fetch_check,
            .read = fetch_read,
            .finished = fetch_finished,
        };
    if (!g || !fill_entries(rq, g) || !group_scatter_start(g))
        request_refuse(rq, REQUEST_OVER_BUDGET);
}
