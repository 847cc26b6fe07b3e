/* The load of the benchmark's rows about groups. Each command prints one line of JSON.
 *
 *   commits HOST:PORT TOPIC PARTITIONS GROUPS LINKS SECONDS  of one partition each, closed loop
 *   fill HOST:PORT TOPIC PARTITIONS GROUPS                   one offset a partition and group
 *   answer HOST:PORT TOPIC GROUPS                            until each has told one of its offsets
 *   join HOST:PORT TOPIC PARTITIONS MEMBERS PROTOCOL         until all own their share
 *   churn HOST:PORT TOPIC PARTITIONS PROTOCOL QUIET_SECONDS  one more member comes, goes, dies
 *   crowd HOST:PORT TOPIC GROUPS MEMBERS                     consumer groups, members join once
 *
 * PROTOCOL: classic or consumer. A member does what clients do: it heartbeats as often as it is
 * told (classic: each 3 s, their default), gives up partitions at once, and says so at once. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/api.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/client_records.h"
#include "protocol/messages/consumer_group_heartbeat.h"
#include "protocol/messages/find_coordinator.h"
#include "protocol/messages/heartbeat.h"
#include "protocol/messages/join_group.h"
#include "protocol/messages/leave_group.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_fetch.h"
#include "protocol/messages/sync_group.h"
#include "protocol/writer.h"
#include "tests/bench/links.h"

#define NS_A_S          INT64_C(1000000000)
#define NS_A_MS         INT64_C(1000000)
#define TIMEOUT_NS      (300 * NS_A_S)
#define RETRY_NS        (50 * NS_A_MS)
#define CLASSIC_BEAT_NS (3 * NS_A_S)
#define SESSION_MS      45000
#define REBALANCE_MS    300000
#define ID_BYTES        128
#define PARTITIONS_MAX  10000

static bool try_again(int16_t code)
{
    return code == KERR_COORDINATOR_LOAD_IN_PROGRESS || code == KERR_COORDINATOR_NOT_AVAILABLE ||
           code == KERR_NOT_COORDINATOR;
}

/* The coordinator's topic is made at the first question. */
static void found(struct link *l, const void *answer)
{
    const struct find_coordinator_response *r = answer;

    *(bool *)l->owner = r->coordinators[0].error_code == KERR_NONE;
}

static void wait_for_coordinator(const char *bootstrap)
{
    struct str key = STR("bench-0");
    struct find_coordinator_request request;
    int64_t end = now_ns() + TIMEOUT_NS;
    struct links ls;
    bool ready = false;

    links_open(&ls, bootstrap, 1);
    ls.all[0].owner = &ready;
    find_coordinator_request_init(&request);
    request.coordinator_keys = &key;
    request.coordinator_keys_count = 1;
    while (!ready && now_ns() < end) {
        uint64_t before = ls.answers;
        int64_t pause = now_ns() + RETRY_NS;

        link_send(&ls.all[0], API_FIND_COORDINATOR, 4, &request, found);
        while (ls.answers == before)
            links_turn(&ls, end);
        while (!ready && now_ns() < pause)
            links_turn(&ls, pause);
    }
    if (!ready)
        give_up("coordinator", "not available in time");
    links_close(&ls);
}

/* ---- commits ---- */

struct committer {
    struct str topic;
    int32_t partitions;
    size_t groups, links, at;
    int64_t offset;
    bool whole; /* every partition of the topic in one request, each group once */
    uint64_t done;
    struct committing {
        struct committer *all;
        size_t group;
        bool again; /* the coordinator was not ready: the same once more */
    } * each;       /* a link */
};

static void commit_next(struct link *l);

static void committed(struct link *l, const void *answer)
{
    const struct offset_commit_response *r = answer;
    struct committing *one = l->owner;
    int16_t code = r->topics[0].partitions[0].error_code;

    if (try_again(code) || code == KERR_UNKNOWN_TOPIC_OR_PARTITION) {
        one->again = true;
        l->due_ns = now_ns() + RETRY_NS;
        return;
    }
    if (code != KERR_NONE)
        give_up("OffsetCommit", kerr_name((enum kerr)code));
    one->all->done++;
    commit_next(l);
}

static void commit_next(struct link *l)
{
    struct committing *one = l->owner;
    struct committer *c = one->all;
    static struct offset_commit_request_partition partitions[PARTITIONS_MAX];
    struct offset_commit_request_topic topic;
    struct offset_commit_request request;
    char group[ID_BYTES];
    size_t count = c->whole ? (size_t)c->partitions : 1;

    if (!one->again && c->whole && c->at == c->groups)
        return;
    if (!one->again)
        one->group = c->at++ % c->groups;
    one->again = false;
    snprintf(group, sizeof group, "bench-%zu", one->group);
    c->offset++;
    for (size_t i = 0; i < count; i++) {
        offset_commit_request_partition_init(&partitions[i]);
        partitions[i].partition_index =
            c->whole ? (int32_t)i : (int32_t)(c->offset % c->partitions);
        partitions[i].committed_offset = c->offset;
        partitions[i].committed_metadata = STR("");
    }
    offset_commit_request_topic_init(&topic);
    topic.name = c->topic;
    topic.partitions = partitions;
    topic.partitions_count = count;
    offset_commit_request_init(&request);
    request.group_id = str_from(group);
    request.topics = &topic;
    request.topics_count = 1;
    link_send(l, API_OFFSET_COMMIT, 8, &request, committed);
}

static void commit_all(const char *bootstrap, struct committer *c, double seconds)
{
    struct links ls;
    int64_t started, end;
    uint64_t before;

    c->each = calloc(c->links, sizeof *c->each);
    if (!c->each)
        give_up("commits", "no memory");
    wait_for_coordinator(bootstrap);
    links_open(&ls, bootstrap, c->links);
    for (size_t i = 0; i < c->links; i++) {
        c->each[i].all = c;
        ls.all[i].owner = &c->each[i];
        ls.all[i].woken = commit_next;
        commit_next(&ls.all[i]);
    }
    if (c->whole) {
        end = now_ns() + TIMEOUT_NS;
        started = now_ns();
        before = 0;
        while (c->done < c->groups && now_ns() < end)
            links_turn(&ls, end);
    } else {
        for (end = now_ns() + NS_A_S; now_ns() < end;)
            links_turn(&ls, end); /* warm */
        started = now_ns();
        before = c->done;
        for (end = started + (int64_t)(seconds * (double)NS_A_S); now_ns() < end;)
            links_turn(&ls, end);
    }
    printf("{\"settings\": \"%zu connections, one commit under way on each\", \"commits\": %" PRIu64
           ", \"per_s\": %.1f}\n",
           c->links, c->done - before,
           (double)(c->done - before) * (double)NS_A_S / (double)(now_ns() - started));
    links_close(&ls);
    free(c->each);
}

/* ---- a first answer ---- */

struct asker {
    struct str topic;
    size_t groups, told;
};

static void ask_offset(struct link *l);

static void offset_told(struct link *l, const void *answer)
{
    const struct offset_fetch_response *r = answer;
    struct asker *a = l->owner;
    int16_t code = r->groups[0].error_code;

    if (code == KERR_NONE && r->groups[0].topics[0].partitions[0].committed_offset < 0)
        give_up("OffsetFetch", "the offset is gone");
    if (code != KERR_NONE && !try_again(code))
        give_up("OffsetFetch", kerr_name((enum kerr)code));
    a->told += code == KERR_NONE;
    if (a->told < a->groups)
        ask_offset(l);
}

static void ask_offset(struct link *l)
{
    struct asker *a = l->owner;
    int32_t partition = 0;
    char name[ID_BYTES];
    struct offset_fetch_request_topics topic;
    struct offset_fetch_request_group group;
    struct offset_fetch_request request;

    offset_fetch_request_topics_init(&topic);
    topic.name = a->topic;
    topic.partition_indexes = &partition;
    topic.partition_indexes_count = 1;
    offset_fetch_request_group_init(&group);
    snprintf(name, sizeof name, "bench-%zu", a->told);
    group.group_id = str_from(name);
    group.topics = &topic;
    group.topics_count = 1;
    offset_fetch_request_init(&request);
    request.groups = &group;
    request.groups_count = 1;
    link_send(l, API_OFFSET_FETCH, 8, &request, offset_told);
}

static void first_answers(const char *bootstrap, struct str topic, size_t groups)
{
    struct asker a = {topic, groups, 0};
    int64_t started = now_ns();
    struct links ls;

    links_open(&ls, bootstrap, 1);
    ls.all[0].owner = &a;
    ask_offset(&ls.all[0]);
    while (a.told < groups)
        links_turn(&ls, started + TIMEOUT_NS);
    printf("{\"settings\": \"OffsetFetch until it succeeds, group by group\", \"ms\": %.2f}\n",
           (double)(now_ns() - started) / (double)NS_A_MS);
    links_close(&ls);
}

/* ---- members ---- */

struct member {
    struct link *link;
    struct str topic, group;
    char id[ID_BYTES];
    bool consumer;      /* KIP-848 */
    int32_t partitions; /* of the topic */
    /* classic */
    int32_t generation;
    bool assigned;
    /* consumer */
    int32_t epoch;
    int64_t interval_ns;
    struct uuid topic_id;
    bool says_owned; /* with the next heartbeat */
    bool once;       /* joins, and is silent from then on */
    int32_t *owned;
    size_t owned_count;
    int64_t owned_at_ns; /* of the last change */
    int64_t beat_ns;     /* when it last said that it lives */
};

static void member_beat(struct link *l);
static void member_join(struct member *m);

static void own(struct member *m, const int32_t *partitions, size_t count)
{
    free(m->owned);
    m->owned = malloc((count + 1) * sizeof *m->owned);
    if (!m->owned)
        give_up("member", "no memory");
    if (count)
        memcpy(m->owned, partitions, count * sizeof *partitions);
    m->owned_count = count;
    m->owned_at_ns = now_ns();
}

static void beat_later(struct member *m, int64_t in_ns)
{
    m->link->woken = member_beat;
    m->link->due_ns = now_ns() + in_ns;
}

/* ---- classic members ---- */

static void classic_synced(struct link *l, const void *answer)
{
    const struct sync_group_response *r = answer;
    struct member *m = l->owner;
    struct consumer_protocol_assignment assignment;
    struct reader reader;
    struct arena arena;

    if (r->error_code == KERR_REBALANCE_IN_PROGRESS) {
        member_join(m);
        return;
    }
    if (r->error_code != KERR_NONE)
        give_up("SyncGroup", kerr_name((enum kerr)r->error_code));
    arena_init(&arena, (size_t)16 << 20);
    reader = reader_of(r->assignment.data, r->assignment.size);
    read_int16(&reader);
    if (!consumer_protocol_assignment_decode(&assignment, &reader, &arena, 0))
        give_up("assignment", "makes no sense");
    own(m,
        assignment.assigned_partitions_count ? assignment.assigned_partitions[0].partitions : NULL,
        assignment.assigned_partitions_count ? assignment.assigned_partitions[0].partitions_count
                                             : 0);
    m->assigned = true;
    arena_free(&arena);
    beat_later(m, CLASSIC_BEAT_NS);
}

/* As `range` does for one topic: the first ones get one more. */
static void classic_assign(struct member *m, const struct join_group_response *r,
                           struct sync_group_request_assignment *out, struct writer *writers)
{
    int32_t next = 0;

    for (size_t i = 0; i < r->members_count; i++) {
        size_t share = (size_t)m->partitions / r->members_count +
                       (i < (size_t)m->partitions % r->members_count);
        int32_t partitions[PARTITIONS_MAX];
        struct consumer_protocol_assignment_topic_partition topic = {m->topic, partitions, share};
        struct consumer_protocol_assignment assignment;

        for (size_t k = 0; k < share; k++)
            partitions[k] = next++;
        consumer_protocol_assignment_init(&assignment);
        assignment.assigned_partitions = &topic;
        assignment.assigned_partitions_count = 1;
        writer_init(&writers[i], (size_t)16 << 20);
        write_int16(&writers[i], 0);
        consumer_protocol_assignment_encode(&assignment, &writers[i], 0);
        out[i] = (struct sync_group_request_assignment){r->members[i].member_id,
                                                        {writers[i].data, writers[i].size}};
    }
}

static void classic_sync(struct member *m, const struct join_group_response *r)
{
    bool leads = str_equal(r->leader, r->member_id);
    size_t count = leads ? r->members_count : 0;
    struct sync_group_request_assignment *assignments = calloc(count + 1, sizeof *assignments);
    struct writer *writers = calloc(count + 1, sizeof *writers);
    struct sync_group_request request;

    if (!assignments || !writers)
        give_up("assignments", "no memory");
    if (leads)
        classic_assign(m, r, assignments, writers);
    sync_group_request_init(&request);
    request.group_id = m->group;
    request.generation_id = m->generation = r->generation_id;
    request.member_id = str_from(m->id);
    request.protocol_type = STR("consumer");
    request.protocol_name = r->protocol_name;
    request.assignments = assignments;
    request.assignments_count = count;
    link_send(m->link, API_SYNC_GROUP, 5, &request, classic_synced);
    for (size_t i = 0; i < count; i++)
        writer_free(&writers[i]);
    free(writers);
    free(assignments);
}

static void classic_joined(struct link *l, const void *answer)
{
    const struct join_group_response *r = answer;
    struct member *m = l->owner;

    if (try_again(r->error_code)) {
        beat_later(m, RETRY_NS);
        return;
    }
    if (r->error_code != KERR_NONE && r->error_code != KERR_MEMBER_ID_REQUIRED)
        give_up("JoinGroup", kerr_name((enum kerr)r->error_code));
    snprintf(m->id, sizeof m->id, "%.*s", STR_ARG(r->member_id));
    if (r->error_code == KERR_NONE)
        classic_sync(m, r);
    else
        member_join(m);
}

static void classic_join(struct member *m)
{
    struct consumer_protocol_subscription subscription;
    struct join_group_request_protocol protocol;
    struct join_group_request request;
    struct writer w;

    m->assigned = false;
    consumer_protocol_subscription_init(&subscription);
    subscription.topics = &m->topic;
    subscription.topics_count = 1;
    writer_init(&w, 65536);
    write_int16(&w, 0);
    consumer_protocol_subscription_encode(&subscription, &w, 0);
    protocol = (struct join_group_request_protocol){STR("range"), {w.data, w.size}};
    join_group_request_init(&request);
    request.group_id = m->group;
    request.session_timeout_ms = SESSION_MS;
    request.rebalance_timeout_ms = REBALANCE_MS;
    request.member_id = str_from(m->id);
    request.protocol_type = STR("consumer");
    request.protocols = &protocol;
    request.protocols_count = 1;
    link_send(m->link, API_JOIN_GROUP, 7, &request, classic_joined);
    writer_free(&w);
}

static void classic_heard(struct link *l, const void *answer)
{
    const struct heartbeat_response *r = answer;
    struct member *m = l->owner;

    if (r->error_code == KERR_REBALANCE_IN_PROGRESS)
        member_join(m);
    else if (r->error_code == KERR_NONE)
        beat_later(m, CLASSIC_BEAT_NS);
    else
        give_up("Heartbeat", kerr_name((enum kerr)r->error_code));
}

static void classic_beat(struct member *m)
{
    struct heartbeat_request request;

    if (!m->assigned) {
        classic_join(m);
        return;
    }
    m->beat_ns = now_ns();
    heartbeat_request_init(&request);
    request.group_id = m->group;
    request.generation_id = m->generation;
    request.member_id = str_from(m->id);
    link_send(m->link, API_HEARTBEAT, 4, &request, classic_heard);
}

/* ---- consumer members ---- */

static void consumer_heard(struct link *l, const void *answer)
{
    const struct consumer_group_heartbeat_response *r = answer;
    struct member *m = l->owner;

    if (try_again(r->error_code)) {
        beat_later(m, RETRY_NS);
        return;
    }
    if (r->error_code != KERR_NONE)
        give_up("ConsumerGroupHeartbeat", kerr_name((enum kerr)r->error_code));
    m->epoch = r->member_epoch;
    m->interval_ns = r->heartbeat_interval_ms * NS_A_MS;
    if (!r->assignment) {
        if (!m->once)
            beat_later(m, m->interval_ns);
        return;
    }
    if (r->assignment->topic_partitions_count) {
        m->topic_id = r->assignment->topic_partitions[0].topic_id;
        own(m, r->assignment->topic_partitions[0].partitions,
            r->assignment->topic_partitions[0].partitions_count);
    } else {
        own(m, NULL, 0);
    }
    m->says_owned = true;
    if (!m->once)
        beat_later(m, 0);
}

static void consumer_beat(struct member *m)
{
    struct consumer_group_heartbeat_request_topic_partitions owned = {m->topic_id, m->owned,
                                                                      m->owned_count};
    struct consumer_group_heartbeat_request request;

    consumer_group_heartbeat_request_init(&request);
    request.group_id = m->group;
    request.member_id = str_from(m->id);
    request.member_epoch = m->epoch;
    if (m->epoch == 0) {
        request.rebalance_timeout_ms = REBALANCE_MS;
        request.subscribed_topic_names = &m->topic;
        request.subscribed_topic_names_count = 1;
        request.topic_partitions = &owned;
        request.topic_partitions_count = 0;
    } else if (m->says_owned) {
        request.topic_partitions = &owned;
        request.topic_partitions_count = m->owned_count > 0;
    }
    m->says_owned = false;
    link_send(m->link, API_CONSUMER_GROUP_HEARTBEAT, 1, &request, consumer_heard);
}

static void member_beat(struct link *l)
{
    struct member *m = l->owner;

    if (m->consumer)
        consumer_beat(m);
    else
        classic_beat(m);
}

static void member_join(struct member *m)
{
    if (m->consumer)
        consumer_beat(m);
    else
        classic_join(m);
}

static struct member member_of(struct link *l, const char *group, const char *topic,
                               int32_t partitions, bool consumer)
{
    static unsigned number;
    struct member m = {.link = l,
                       .topic = str_from(topic),
                       .group = str_from(group),
                       .consumer = consumer,
                       .partitions = partitions,
                       .generation = -1};

    if (consumer)
        snprintf(m.id, sizeof m.id, "bench-member-%u", number++);
    return m;
}

/* ---- joining ---- */

static bool all_share(const struct member *members, size_t count, int32_t partitions)
{
    size_t owned = 0;

    for (size_t i = 0; i < count; i++) {
        if (members[i].owned_count == 0 || (!members[i].consumer && !members[i].assigned))
            return false;
        owned += members[i].owned_count;
    }
    return owned == (size_t)partitions;
}

static void join_all(const char *bootstrap, const char *topic, int32_t partitions, size_t count,
                     bool consumer)
{
    struct member *members = calloc(count, sizeof *members);
    int64_t started, end;
    struct links ls;

    if (!members || partitions > PARTITIONS_MAX)
        give_up("join", "too many");
    wait_for_coordinator(bootstrap);
    links_open(&ls, bootstrap, count);
    started = now_ns();
    end = started + TIMEOUT_NS;
    for (size_t i = 0; i < count; i++) {
        members[i] = member_of(&ls.all[i], "bench-join", topic, partitions, consumer);
        ls.all[i].owner = &members[i];
        member_join(&members[i]);
    }
    while (!all_share(members, count, partitions)) {
        links_turn(&ls, end);
        if (now_ns() > end)
            give_up("join", "not all have their share in time");
    }
    printf("{\"settings\": \"all at once, a connection each\", \"ms\": %.1f}\n",
           (double)(now_ns() - started) / (double)NS_A_MS);
    links_close(&ls);
    for (size_t i = 0; i < count; i++)
        free(members[i].owned);
    free(members);
}

/* ---- churn ---- */

static void left_classic(struct link *l, const void *answer)
{
    (void)answer;
    l->due_ns = 0;
}

static void member_leave(struct member *m)
{
    m->link->due_ns = 0;
    if (m->consumer) {
        m->epoch = -1;
        m->says_owned = false;
        struct consumer_group_heartbeat_request request;

        consumer_group_heartbeat_request_init(&request);
        request.group_id = m->group;
        request.member_id = str_from(m->id);
        request.member_epoch = -1;
        link_send(m->link, API_CONSUMER_GROUP_HEARTBEAT, 1, &request, left_classic);
    } else {
        struct leave_group_request_member_identity who;
        struct leave_group_request request;

        leave_group_request_member_identity_init(&who);
        who.member_id = str_from(m->id);
        leave_group_request_init(&request);
        request.group_id = m->group;
        request.members = &who;
        request.members_count = 1;
        link_send(m->link, API_LEAVE_GROUP, 4, &request, left_classic);
    }
}

struct moved {
    double ms;       /* from since_ns until m owned what it should */
    double heard_ms; /* of that, from the first heartbeat of `other`: a classic member hears of
                      * nothing before */
};

/* Until m owns between least and most partitions. */
static struct moved wait_owned(struct links *ls, const struct member *m, size_t least, size_t most,
                               int64_t since_ns, const struct member *other)
{
    int64_t heard_ns = 0;

    while (m->owned_count < least || m->owned_count > most || (!m->consumer && !m->assigned)) {
        links_turn(ls, since_ns + TIMEOUT_NS);
        if (heard_ns == 0 && other->beat_ns > since_ns)
            heard_ns = other->beat_ns;
        if (now_ns() > since_ns + TIMEOUT_NS)
            give_up("churn", "the partitions did not move in time");
    }
    return (struct moved){(double)(now_ns() - since_ns) / (double)NS_A_MS,
                          (double)(now_ns() - (heard_ns ? heard_ns : since_ns)) / (double)NS_A_MS};
}

static void wait_quiet(struct links *ls, const struct member *busy, int64_t quiet_ns)
{
    int64_t end = now_ns() + quiet_ns;

    while (now_ns() < end || (busy && busy->link->key >= 0))
        links_turn(ls, now_ns() < end ? end : now_ns() + NS_A_MS);
}

static void churn(const char *bootstrap, const char *topic, int32_t partitions, bool consumer,
                  int64_t quiet_ns)
{
    struct links ls;
    struct member first, second;
    struct moved joined, left, died;
    int64_t since;
    size_t all = (size_t)partitions;
    char group[ID_BYTES];

    wait_for_coordinator(bootstrap);
    links_open(&ls, bootstrap, 3);
    snprintf(group, sizeof group, "bench-churn-%s", consumer ? "consumer" : "classic");
    first = member_of(&ls.all[0], group, topic, partitions, consumer);
    ls.all[0].owner = &first;
    member_join(&first);
    wait_owned(&ls, &first, all, all, now_ns(), &first);
    wait_quiet(&ls, NULL, quiet_ns);
    second = member_of(&ls.all[1], group, topic, partitions, consumer);
    ls.all[1].owner = &second;
    since = now_ns();
    member_join(&second);
    joined = wait_owned(&ls, &second, all / 2, all / 2, since, &first);
    wait_quiet(&ls, &second, quiet_ns);
    since = now_ns();
    member_leave(&second);
    left = wait_owned(&ls, &first, all, all, since, &first);
    wait_quiet(&ls, NULL, quiet_ns / 4);
    free(second.owned);
    second = member_of(&ls.all[2], group, topic, partitions, consumer);
    ls.all[2].owner = &second;
    member_join(&second);
    wait_owned(&ls, &second, all / 2, all / 2, now_ns(), &first);
    wait_quiet(&ls, &second, NS_A_S);
    link_close(&ls.all[2]);
    since = now_ns();
    died = wait_owned(&ls, &first, all, all, since, &first);
    printf("{\"settings\": \"two members\", \"joined_ms\": %.1f, \"joined_heard_ms\": %.1f, "
           "\"left_ms\": %.1f, "
           "\"left_heard_ms\": %.1f, \"died_ms\": %.1f}\n",
           joined.ms, joined.heard_ms, left.ms, left.heard_ms, died.ms);
    links_close(&ls);
    free(first.owned);
    free(second.owned);
}

/* ---- a crowd ---- */

struct crowd {
    struct member *members;
    size_t count, next, done;
};

static void crowd_next(struct link *l, struct crowd *c)
{
    if (c->next == c->count)
        return;
    c->members[c->next].link = l;
    l->owner = &c->members[c->next++];
    member_join(l->owner);
}

static void crowd_join(const char *bootstrap, const char *topic, size_t groups, size_t members)
{
    enum { LINKS = 16 };
    struct crowd c = {.count = groups * members};
    char(*names)[ID_BYTES] = calloc(groups, ID_BYTES);
    struct links ls;

    c.members = calloc(c.count, sizeof *c.members);
    if (!c.members || !names)
        give_up("crowd", "no memory");
    wait_for_coordinator(bootstrap);
    links_open(&ls, bootstrap, LINKS);
    for (size_t i = 0; i < c.count; i++) {
        snprintf(names[i / members], ID_BYTES, "crowd-%zu", i / members);
        c.members[i] = member_of(NULL, names[i / members], topic, 0, true);
        c.members[i].once = true;
    }
    for (size_t i = 0; i < LINKS; i++)
        crowd_next(&ls.all[i], &c);
    for (size_t busy = 1; busy;) {
        links_turn(&ls, now_ns() + NS_A_S);
        busy = 0;
        for (size_t i = 0; i < LINKS; i++) {
            if (ls.all[i].key < 0 && !ls.all[i].due_ns)
                crowd_next(&ls.all[i], &c);
            busy += ls.all[i].key >= 0 || ls.all[i].due_ns;
        }
    }
    printf("{\"settings\": \"%zu consumer groups of %zu members\"}\n", groups, members);
    links_close(&ls);
    free(c.members);
    free(names);
}

/* ---- the command line ---- */

static long number(const char *text)
{
    return strtol(text, NULL, 10);
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    struct committer c = {.topic = argc > 3 ? str_from(argv[3]) : STR_NULL};

    if (strcmp(command, "commits") == 0 && argc == 8) {
        c.partitions = (int32_t)number(argv[4]);
        c.groups = (size_t)number(argv[5]);
        c.links = (size_t)number(argv[6]);
        commit_all(argv[2], &c, (double)number(argv[7]));
    } else if (strcmp(command, "fill") == 0 && argc == 6) {
        c.partitions = (int32_t)number(argv[4]);
        c.groups = (size_t)number(argv[5]);
        c.links = 8;
        c.whole = true;
        commit_all(argv[2], &c, 0);
    } else if (strcmp(command, "answer") == 0 && argc == 5) {
        first_answers(argv[2], str_from(argv[3]), (size_t)number(argv[4]));
    } else if (strcmp(command, "join") == 0 && argc == 7) {
        join_all(argv[2], argv[3], (int32_t)number(argv[4]), (size_t)number(argv[5]),
                 strcmp(argv[6], "consumer") == 0);
    } else if (strcmp(command, "churn") == 0 && argc == 7) {
        churn(argv[2], argv[3], (int32_t)number(argv[4]), strcmp(argv[5], "consumer") == 0,
              number(argv[6]) * NS_A_S);
    } else if (strcmp(command, "crowd") == 0 && argc == 6) {
        crowd_join(argv[2], argv[3], (size_t)number(argv[4]), (size_t)number(argv[5]));
    } else {
        give_up("usage", "see the head of group_client.c");
    }
    return 0;
}
