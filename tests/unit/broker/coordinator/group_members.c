#include "tests/unit/broker/coordinator/group_members.h"

#include <stdlib.h>
#include <string.h>

#include "broker/coordinator/group_regex.h"
#include "protocol/messages/client_records.h"
#include "protocol/reader.h"
#include "protocol/writer.h"

static struct group_members *members_of(struct group_world *w)
{
    return w->more;
}

/* ---- what a client learns ---- */

static bool has(const struct member_parts *s, struct member_part p)
{
    for (size_t i = 0; i < s->count; i++)
        if (uuid_equal(s->items[i].topic, p.topic) && s->items[i].partition == p.partition)
            return true;
    return false;
}

static void put(const struct group_world *w, struct member_parts *s, struct member_part p)
{
    if (has(s, p))
        return;
    if (s->count == MEMBER_PARTITIONS_MAX)
        world_fail(w, "no room for a partition");
    s->items[s->count++] = p;
}

void member_gives_back(struct group_member *m)
{
    m->owned = m->assigned;
}

static void forget(struct group_member *m)
{
    m->owned.count = 0;
    m->assigned.count = 0;
    m->epoch = 0;
    m->full = true;
}

static void take(struct group_world *w, struct group_member *m, const struct group_assignment *a)
{
    m->assigned.count = 0;
    for (size_t t = 0; t < a->topic_count; t++)
        for (size_t p = 0; p < a->topics[t].partition_count; p++)
            put(w, &m->assigned,
                (struct member_part){a->topics[t].topic_id, a->topics[t].partitions[p]});
    if (!m->lazy)
        member_gives_back(m);
    for (size_t i = 0; i < m->assigned.count; i++)
        put(w, &m->owned, m->assigned.items[i]);
}

static void learn(struct group_members *all, struct group_member *m, struct world_call *call)
{
    const struct group_consumer_heartbeat_answer *a = &call->caller.consumer_heartbeat;

    m->waiting = false;
    m->call = NULL;
    if (all->lose) { /* as if the connection had gone: the client says everything again */
        m->full = true;
        m->code = KERR_NETWORK_EXCEPTION;
        return;
    }
    m->code = call->caller.code;
    m->got_assignment = false;
    snprintf(m->message, sizeof m->message, "%.*s", STR_ARG(a->message));
    switch (m->code) {
    case KERR_NONE:
        if (m->old)
            snprintf(m->id, sizeof m->id, "%.*s", STR_ARG(a->member_id));
        m->epoch = a->member_epoch;
        m->interval_ms = a->heartbeat_interval_ms;
        m->full = false;
        m->got_assignment = a->assignment;
        if (m->epoch < 0) {
            m->owned.count = 0;
            m->assigned.count = 0;
        } else if (a->assignment) {
            take(all->w, m, a->assignment);
        }
        break;
    case KERR_FENCED_MEMBER_EPOCH:
    case KERR_UNKNOWN_MEMBER_ID:
    case KERR_FENCED_INSTANCE_ID:
    case KERR_GROUP_ID_NOT_FOUND: /* it went back to the classic protocol without it */
        forget(m);
        break;
    default:
        m->full = true; /* NOT_COORDINATOR and the like: it goes on with what it has */
        break;
    }
}

static struct client_parts *parts_of(struct group_members *all, const struct world_client *c)
{
    for (size_t i = 0; i < all->client_count; i++)
        if (all->clients[i].client == c)
            return &all->clients[i];
    if (all->client_count == GROUP_MEMBERS_MAX)
        world_fail(all->w, "too many clients");
    all->clients[all->client_count].client = c;
    return &all->clients[all->client_count++];
}

/* Text when it is no assignment of the consumer protocol. */
static void learn_sync(struct group_members *all, const struct world_call *call)
{
    struct client_parts *parts = parts_of(all, call->client);
    struct consumer_protocol_assignment a;
    struct arena arena;
    struct reader r =
        reader_of(call->caller.sync.assignment.data, call->caller.sync.assignment.size);
    int16_t version = read_int16(&r);
    size_t at = 0;

    parts->has[0] = '\0';
    arena_init(&arena, 1 << 20);
    if (version >= 0 && version <= 3 &&
        consumer_protocol_assignment_decode(&a, &r, &arena, version))
        for (size_t t = 0; t < a.assigned_partitions_count; t++)
            for (size_t p = 0;
                 p < a.assigned_partitions[t].partitions_count && at < sizeof parts->has; p++)
                at += (size_t)snprintf(parts->has + at, sizeof parts->has - at, "%s%.*s-%d",
                                       at ? " " : "", STR_ARG(a.assigned_partitions[t].topic),
                                       a.assigned_partitions[t].partitions[p]);
    arena_free(&arena);
}

const char *client_has(struct group_members *all, const struct world_client *c)
{
    return parts_of(all, c)->has;
}

/* What a classic leader gives its i-th member. */
static struct bytes assign(struct group_world *w, const struct world_client *leader, size_t i,
                           struct arena *arena)
{
    const struct group_members *all = members_of(w);
    struct consumer_protocol_assignment a;
    char topics[256], *rest = NULL;
    const char *colon = strchr(leader->protocols, ':');
    struct bytes_mut out;
    struct writer writer;
    uint8_t *copy;

    consumer_protocol_assignment_init(&a);
    a.assigned_partitions =
        arena_array(arena, struct consumer_protocol_assignment_topic_partition, 16);
    snprintf(topics, sizeof topics, "%.*s", (int)strcspn(colon ? colon + 1 : "", ","),
             colon ? colon + 1 : "");
    for (char *t = strtok_r(topics, "+", &rest); t; t = strtok_r(NULL, "+", &rest)) {
        const struct metadata_topic *topic = metadata_image_topic(w->images.image, str_from(t));
        struct consumer_protocol_assignment_topic_partition *part =
            &a.assigned_partitions[a.assigned_partitions_count++];

        part->topic = (struct str){arena_strdup(arena, str_from(t)), strlen(t)};
        part->partitions = arena_array(arena, int32_t, topic ? topic->partition_count : 0);
        for (size_t p = 0; topic && p < topic->partition_count; p++)
            if (all->classic.twice || p % leader->member_count == i)
                part->partitions[part->partitions_count++] = (int32_t)p;
    }
    if (all->classic.user_data)
        a.user_data = (struct bytes){(const uint8_t *)"mine", 4};
    writer_init(&writer, 1 << 16);
    write_int16(&writer, 0);
    consumer_protocol_assignment_encode(&a, &writer, 0);
    out = writer_take(&writer);
    copy = arena_alloc(arena, out.size);
    memcpy(copy, out.data, out.size);
    free(out.data);
    return (struct bytes){copy, out.size};
}

void classic_assigns(struct group_members *all, struct classic_assignor how)
{
    all->classic = how;
    all->w->assign = assign;
}

static void on_answer(struct group_world *w, struct world_call *call)
{
    struct group_members *all = members_of(w);

    if (call->client && call->caller.call == GROUP_SYNC && !call->caller.code)
        learn_sync(all, call);
    for (size_t i = 0; i < all->count; i++)
        if (all->all[i].call == call)
            learn(all, &all->all[i], call);
}

static size_t check_all(struct group_world *w)
{
    for (const struct group *g = w->core->groups; g; g = g->hh.next)
        if (g->type == GROUP_CONSUMER)
            check_consumer_group(w, g);
    return 0;
}

void group_members_init(struct group_members *all, struct group_world *w)
{
    *all = (struct group_members){.w = w};
    w->more = all;
    w->on_answer = on_answer;
    w->check_more = check_all;
    w->check_reload_more = same_consumer_group;
    w->text_more = text_of_consumer_group;
}

struct group_member *group_member(struct group_members *all, const char *name)
{
    struct group_member *m;

    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->all[i].name, name) == 0)
            return &all->all[i];
    if (all->count == GROUP_MEMBERS_MAX)
        world_fail(all->w, "too many members");
    m = &all->all[all->count++];
    *m = (struct group_member){
        .group = "g", .topics = "t", .regex = "-", .rebalance_ms = 30000, .full = true};
    snprintf(m->name, sizeof m->name, "%s", name);
    snprintf(m->id, sizeof m->id, "%s", name);
    return m;
}

/* ---- what a client says ---- */

static void enter(struct group_world *w)
{
    if (w->in_core)
        w->in_core(true);
}

static struct str *topics_of(const struct group_member *m, struct arena *a, size_t *count)
{
    struct str *out = arena_array(a, struct str, 32);
    char *copy = arena_strdup(a, str_from(m->topics)), *rest = NULL;

    for (char *t = strtok_r(copy, "+", &rest); t; t = strtok_r(NULL, "+", &rest))
        out[(*count)++] = str_from(t);
    return out;
}

static struct group_assignment *owned_of(const struct group_member *m, struct arena *a)
{
    struct group_assignment *out = arena_array(a, struct group_assignment, 1);

    out->topics = arena_array(a, struct group_topic_partitions, m->owned.count);
    for (size_t i = 0; i < m->owned.count; i++) {
        int32_t *partition = arena_array(a, int32_t, 1);

        *partition = m->owned.items[i].partition;
        out->topics[out->topic_count++] = (struct group_topic_partitions){
            .topic_id = m->owned.items[i].topic, .partitions = partition, .partition_count = 1};
    }
    return out;
}

static struct str or_null(const char *s)
{
    return s[0] ? str_from(s) : STR_NULL;
}

void member_heartbeat(struct group_members *all, struct group_member *m)
{
    struct group_world *w = all->w;
    struct world_call *call =
        world_call(w, m->group, GROUP_CONSUMER_HEARTBEAT, "consumer heartbeat");
    bool full = m->full || m->epoch == 0;
    struct arena request;
    struct group_consumer_heartbeat r = {
        .group = str_from(m->group),
        .member_id = m->old && m->epoch == 0 ? STR("") : str_from(m->id),
        .instance_id = or_null(m->instance),
        .member_epoch = m->epoch,
        .rebalance_timeout_ms = full ? m->rebalance_ms : -1,
        .version = m->old ? 0 : 1,
    };

    arena_init(&request, 1 << 20);
    if (m->epoch <= 0) {
        forget(m);
        r.member_epoch = 0;
    }
    if (full) {
        if (strcmp(m->topics, "-") != 0)
            r.subscribed_topics = topics_of(m, &request, &r.subscribed_topic_count);
        r.subscribed_regex = strcmp(m->regex, "-") ? str_from(m->regex) : STR_NULL;
        r.server_assignor = or_null(m->assignor);
        r.rack_id = or_null(m->rack);
    }
    if (full || !m->silent_owned)
        r.owned = owned_of(m, &request);
    m->call = call;
    m->waiting = true;
    call->caller.client_id = str_from(m->name);
    enter(w);
    group_core_consumer_heartbeat(w->core, &call->caller, &r, w->now_ms, &w->fx);
    arena_free(&request);
    world_done(w);
}

void member_leaves(struct group_members *all, struct group_member *m, int32_t epoch)
{
    struct group_world *w = all->w;
    struct world_call *call = world_call(w, m->group, GROUP_CONSUMER_HEARTBEAT, "consumer leave");

    m->call = call;
    m->waiting = true;
    call->caller.client_id = str_from(m->name);
    enter(w);
    group_core_consumer_heartbeat(
        w->core, &call->caller,
        &(struct group_consumer_heartbeat){.group = str_from(m->group),
                                           .member_id = str_from(m->id),
                                           .instance_id = or_null(m->instance),
                                           .member_epoch = epoch,
                                           .rebalance_timeout_ms = -1,
                                           .version = 1},
        w->now_ms, &w->fx);
    world_done(w);
}

enum kerr member_commits(struct group_members *all, struct group_member *m, int32_t epoch,
                         const char *topic, int32_t partition)
{
    struct group_world *w = all->w;
    struct world_call *call = world_call(w, m->group, GROUP_COMMIT, "commit");

    call->partitions[0] = (struct group_commit_partition){.topic = str_from(topic),
                                                          .partition = partition,
                                                          .offset = 1,
                                                          .leader_epoch = -1,
                                                          .metadata = STR("")};
    call->partition_count = 1;
    enter(w);
    group_core_commit(
        w->core, &call->caller,
        &(struct group_commit){.group = str_from(m->group),
                               .member_id = str_from(m->id),
                               .generation_or_epoch = epoch,
                               .retention_ms = -1,
                               .timestamp_ms = w->now_ms + w->wall_offset_ms,
                               .partitions = call->partitions,
                               .partition_count = 1,
                               .version = 9,
                               .image_offset = metadata_image_offset(w->images.image)},
        w->now_ms, &w->fx);
    world_done(w);
    return call->caller.code ? call->caller.code : call->partitions[0].code;
}

static int by_text(const void *left, const void *right)
{
    return strcmp(left, right);
}

const char *member_has(const struct group_members *all, const struct group_member *m)
{
    static char out[4096];
    char names[MEMBER_PARTITIONS_MAX][64];
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < m->owned.count; i++) {
        const struct metadata_topic *t =
            metadata_image_topic_by_id(all->w->images.image, m->owned.items[i].topic);

        snprintf(names[i], sizeof names[i], "%.40s-%d", t ? t->name.data : "?",
                 m->owned.items[i].partition);
    }
    if (m->owned.count)
        qsort(names, m->owned.count, sizeof names[0], by_text);
    for (size_t i = 0; i < m->owned.count; i++)
        at += (size_t)snprintf(out + at, sizeof out - at, "%s%s", i ? " " : "", names[i]);
    return out;
}

/* ---- the cluster around ---- */

void world_new_image(struct group_world *w)
{
    group_core_set_image(w->core, w->images.image);
}

bool world_resolve_regex(struct group_members *all)
{
    struct group_world *w = all->w;
    struct group_regex_topics found;
    struct group_regex_result result;
    struct world_regex *x = w->regexes;
    struct arena a;

    if (!x)
        return false;
    w->regexes = x->next;
    arena_init(&a, 1 << 20);
    result = (struct group_regex_result){.group = str_from(x->group),
                                         .regex = str_from(x->regex),
                                         .image_offset = metadata_image_offset(w->images.image)};
    result.code = group_regex_match(w->images.image, result.regex, &a, &found);
    result.topics = found.names;
    result.topic_count = found.count;
    enter(w);
    group_core_regex_resolved(w->core, &result, w->now_ms, &w->fx);
    world_done(w);
    arena_free(&a);
    free(x);
    return true;
}
