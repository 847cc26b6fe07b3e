/* The classic protocol: JoinGroup until all have joined, the leader assigns, all learn by SyncGroup
 * what is theirs, heartbeats until somebody comes, goes or is silent. Who is to join again gives
 * all up first. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/messages/client_records.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/heartbeat.h"
#include "protocol/messages/join_group.h"
#include "protocol/messages/leave_group.h"
#include "protocol/messages/sync_group.h"
#include "tests/sim/sim_group.h"
#include "tests/sim/sim_world.h"

#define JOIN_VERSION       9
#define SYNC_VERSION       5
#define HEARTBEAT_VERSION  4
#define LEAVE_VERSION      5
#define DESCRIBE_VERSION   5
#define EMBEDDED_VERSION   1
#define EMBEDDED_BYTES_MAX ((size_t)1 << 16)
#define SESSION_MS         1500
#define REBALANCE_MS       2500
#define HEARTBEAT_US       (400 * 1000)
#define JOIN_PATIENCE_US   (8 * 1000 * 1000)
#define MEMBER_ARENA_BYTES ((size_t)1 << 20)

/* ---- joining ---- */

static void copy_id(char *to, struct str id)
{
    CHECK(id.size < SIM_MEMBER_ID_CHARS);
    if (id.size)
        memcpy(to, id.data, id.size);
    to[id.size] = '\0';
}

static void take_generation(struct sim_member *m, const struct join_group_response *r)
{
    copy_id(m->id, r->member_id);
    m->joined = true;
    m->generation = r->generation_id;
    m->peer_count = 0;
    if (str_compare(r->leader, r->member_id) == 0)
        for (size_t i = 0; i < r->members_count && i < SIM_MEMBER_PEERS; i++)
            copy_id(m->peers[m->peer_count++], r->members[i].member_id);
    sim_trace_say(&m->world->trace, "member %s of group %s is in generation %d, of %zu%s", m->id,
                  m->group->name, m->generation, r->members_count,
                  m->peer_count ? ", and leads" : "");
    if (sim_member_in_office(m))
        sim_group_saw_generation(m->group, m, "JoinGroup");
}

static void on_joined(struct sim_answer *a)
{
    const struct join_group_response *r = a->message;
    struct sim_member *m = a->context;

    if (!sim_member_answered(m, a))
        return;
    if (r->error_code == KERR_NONE)
        take_generation(m, r);
    else if (r->error_code == KERR_MEMBER_ID_REQUIRED)
        copy_id(m->id, r->member_id);
    else
        sim_member_refused(m, "JoinGroup", (enum kerr)r->error_code);
}

static struct bytes_mut subscription(const struct sim_member *m)
{
    struct consumer_protocol_subscription s;
    struct str topic = str_from(sim_group_topic(m->group)->name);
    struct writer w;

    consumer_protocol_subscription_init(&s);
    s.topics = &topic;
    s.topics_count = 1;
    writer_init(&w, EMBEDDED_BYTES_MAX);
    write_int16(&w, EMBEDDED_VERSION);
    CHECK(consumer_protocol_subscription_encode(&s, &w, EMBEDDED_VERSION));
    return writer_take(&w);
}

static void join(struct sim_member *m)
{
    struct bytes_mut metadata = subscription(m);
    struct join_group_request_protocol protocol;
    struct join_group_request r;

    sim_member_lose_all(m);
    m->topic_turn = m->group->turn;
    join_group_request_init(&r);
    join_group_request_protocol_init(&protocol);
    protocol.name = STR("range");
    protocol.metadata = (struct bytes){metadata.data, metadata.size};
    r.group_id = str_from(m->group->name);
    r.member_id = str_from(m->id);
    r.session_timeout_ms = SESSION_MS;
    r.rebalance_timeout_ms = REBALANCE_MS;
    r.protocol_type = STR("consumer");
    r.protocols = &protocol;
    r.protocols_count = 1;
    sim_member_ask(m, JOIN_GROUP_REQUEST_KEY, JOIN_VERSION, &r, on_joined);
    m->patience_us = JOIN_PATIENCE_US;
    free(metadata.data);
}

/* ---- what is whose ---- */

/* Member `at` of `count` gets each count-th partition. */
static struct bytes_mut assignment(const struct sim_member *m, size_t at, size_t count)
{
    struct consumer_protocol_assignment_topic_partition topic;
    struct consumer_protocol_assignment s;
    int32_t partitions[SIM_PARTITIONS_MAX];
    struct writer w;

    consumer_protocol_assignment_init(&s);
    consumer_protocol_assignment_topic_partition_init(&topic);
    topic.topic = str_from(sim_group_topic(m->group)->name);
    topic.partitions = partitions;
    for (int32_t i = (int32_t)at; i < m->assigned_count; i += (int32_t)count)
        partitions[topic.partitions_count++] = i;
    s.assigned_partitions = &topic;
    s.assigned_partitions_count = 1;
    writer_init(&w, EMBEDDED_BYTES_MAX);
    write_int16(&w, EMBEDDED_VERSION);
    CHECK(consumer_protocol_assignment_encode(&s, &w, EMBEDDED_VERSION));
    return writer_take(&w);
}

static void take_partitions(struct sim_member *m, const struct consumer_protocol_assignment *s)
{
    for (size_t i = 0; i < s->assigned_partitions_count; i++) {
        const struct consumer_protocol_assignment_topic_partition *t = &s->assigned_partitions[i];

        if (m->topic_turn != m->group->turn ||
            str_compare(t->topic, str_from(sim_group_topic(m->group)->name)) != 0)
            continue; /* the leader's topic is another one; it will join again */
        for (size_t k = 0; k < t->partitions_count; k++)
            if (t->partitions[k] >= 0 && t->partitions[k] < SIM_PARTITIONS_MAX)
                m->owns[t->partitions[k]] = true;
    }
}

static void take_assignment(struct sim_member *m, struct bytes bytes)
{
    struct consumer_protocol_assignment s;
    struct reader r = reader_of(bytes.data, bytes.size);
    struct arena arena;

    arena_init(&arena, MEMBER_ARENA_BYTES);
    consumer_protocol_assignment_init(&s);
    if (bytes.size && (read_int16(&r) != EMBEDDED_VERSION ||
                       !consumer_protocol_assignment_decode(&s, &r, &arena, EMBEDDED_VERSION)))
        sim_world_fail(m->world, "group %s: an assignment that nobody sent", m->group->name);
    else
        take_partitions(m, &s);
    arena_free(&arena);
}

static void on_synced(struct sim_answer *a)
{
    const struct sync_group_response *r = a->message;
    struct sim_member *m = a->context;

    if (!sim_member_answered(m, a))
        return;
    if (r->error_code != KERR_NONE) {
        sim_member_refused(m, "SyncGroup", (enum kerr)r->error_code);
        return;
    }
    m->assigned = true;
    take_assignment(m, r->assignment);
    sim_trace_say(&m->world->trace, "member %s of group %s is assigned in generation %d", m->id,
                  m->group->name, m->generation);
    if (sim_member_in_office(m))
        sim_group_saw_generation(m->group, m, "SyncGroup");
    sim_group_assigned(m->group, m);
}

static void sync(struct sim_member *m)
{
    struct sync_group_request_assignment assignments[SIM_MEMBER_PEERS];
    struct bytes_mut bytes[SIM_MEMBER_PEERS];
    struct sync_group_request r;

    sync_group_request_init(&r);
    m->assigned_count = sim_group_topic(m->group)->partition_count;
    for (size_t i = 0; i < m->peer_count; i++) {
        bytes[i] = assignment(m, i, m->peer_count);
        sync_group_request_assignment_init(&assignments[i]);
        assignments[i].member_id = str_from(m->peers[i]);
        assignments[i].assignment = (struct bytes){bytes[i].data, bytes[i].size};
    }
    r.group_id = str_from(m->group->name);
    r.generation_id = m->generation;
    r.member_id = str_from(m->id);
    r.protocol_type = STR("consumer");
    r.protocol_name = STR("range");
    r.assignments = assignments;
    r.assignments_count = m->peer_count;
    sim_member_ask(m, SYNC_GROUP_REQUEST_KEY, SYNC_VERSION, &r, on_synced);
    for (size_t i = 0; i < m->peer_count; i++)
        free(bytes[i].data);
}

/* ---- staying ---- */

static void on_heartbeat(struct sim_answer *a)
{
    const struct heartbeat_response *r = a->message;
    struct sim_member *m = a->context;

    if (!sim_member_answered(m, a))
        return;
    if (r->error_code != KERR_NONE)
        sim_member_refused(m, "Heartbeat", (enum kerr)r->error_code);
    /* Else nothing is learnt of the generation: a coordinator that still loads says NONE to any
     * heartbeat, as Apache Kafka's. */
}

static void heartbeat(struct sim_member *m)
{
    struct heartbeat_request r;

    heartbeat_request_init(&r);
    r.group_id = str_from(m->group->name);
    r.generation_id = m->generation;
    r.member_id = str_from(m->id);
    m->heartbeat_us = m->world->sched.now_us + HEARTBEAT_US;
    sim_member_ask(m, HEARTBEAT_REQUEST_KEY, HEARTBEAT_VERSION, &r, on_heartbeat);
}

static void act(struct sim_member *m)
{
    const bool grown = m->assigned && m->peer_count &&
                       m->assigned_count != sim_group_topic(m->group)->partition_count;

    if (!m->joined || grown || m->topic_turn != m->group->turn)
        join(m);
    else if (!m->assigned)
        sync(m);
    else if (!sim_member_fetches(m) && !sim_member_commits(m) &&
             m->world->sched.now_us >= m->heartbeat_us)
        heartbeat(m);
}

/* ---- leaving ---- */

static void on_left(struct sim_answer *a)
{
    const struct leave_group_response *r = a->message;
    struct sim_member *m = a->context;

    if (!sim_member_answered(m, a))
        return;
    if (r->error_code != KERR_NONE)
        sim_member_refused(m, "LeaveGroup", (enum kerr)r->error_code);
    else
        sim_member_gone(m);
}

static void leave(struct sim_member *m)
{
    struct leave_group_request_member_identity identity;
    struct leave_group_request r;

    leave_group_request_init(&r);
    leave_group_request_member_identity_init(&identity);
    identity.member_id = str_from(m->id);
    r.group_id = str_from(m->group->name);
    r.members = &identity;
    r.members_count = 1;
    sim_member_ask(m, LEAVE_GROUP_REQUEST_KEY, LEAVE_VERSION, &r, on_left);
}

/* ---- looking on ---- */

static void on_described(struct sim_answer *a)
{
    const struct describe_groups_response *r = a->message;
    struct sim_member *m = a->context;

    if (!sim_member_answered(m, a))
        return;
    if (r->groups_count != 1 || r->groups[0].error_code != KERR_NONE)
        sim_member_refused(m, "DescribeGroups",
                           (enum kerr)(r->groups_count == 1 ? r->groups[0].error_code : -1));
    else
        sim_member_saw_state(m, r->groups[0].group_state);
}

static void describe(struct sim_member *m)
{
    struct describe_groups_request r;
    struct str name = str_from(m->group->name);

    describe_groups_request_init(&r);
    r.groups = &name;
    r.groups_count = 1;
    sim_member_ask(m, DESCRIBE_GROUPS_REQUEST_KEY, DESCRIBE_VERSION, &r, on_described);
}

const struct sim_protocol sim_classic_protocol = {.act = act, .leave = leave, .describe = describe};
