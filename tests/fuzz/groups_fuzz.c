/* Requests about groups against a whole node: every group API, in any version, from clients that
 * know what they do and from some that do not, while time passes, topics come and go, the state
 * store fails and the node starts anew.
 *
 * Input: what to do, one after the other: a byte that chooses from `deeds`, and the bytes that this
 * one takes. Past the end all are 0.
 *
 * Whatever came: every request is answered at the latest when the node stops; a commit that was
 * acknowledged is what is fetched next, also after a start; nothing is logged as an error as long
 * as nothing fails; the node goes on. */

#include <stdlib.h>
#include <string.h>

#include "broker/shard.h"
#include "protocol/base/check.h"
#include "protocol/frame.h"
#include "protocol/messages/consumer_group_describe.h"
#include "protocol/messages/consumer_group_heartbeat.h"
#include "protocol/messages/delete_groups.h"
#include "protocol/messages/delete_topics.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/find_coordinator.h"
#include "protocol/messages/heartbeat.h"
#include "protocol/messages/join_group.h"
#include "protocol/messages/leave_group.h"
#include "protocol/messages/list_groups.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_delete.h"
#include "protocol/messages/offset_fetch.h"
#include "protocol/messages/sync_group.h"
#include "storage/state_store_sim.h"
#include "tests/unit/broker/node_world.h"

enum {
    GROUPS = 3,
    TOPICS = 2,
    PARTITIONS = 2,
    MEMBERS = 5,
    ASKS = 16,
    DEEDS_MAX = 96,
    NAME_BYTES = 160
};

#define PATIENCE_MS 20000
#define NO_OFFSET   (-1)
#define UNKNOWN     (-2) /* what is committed cannot be told */

static const char *const group_names[GROUPS] = {"g", "h", "a-group-with-a-longer-name"};
static const char *const topic_names[TOPICS] = {"t", "u"};

/* What a client has learnt. */
struct member {
    char id[NAME_BYTES];
    int32_t generation; /* or epoch */
};

struct under_way {
    struct node_ask ask;
    struct member *member; /* it learns from the answer */
    int16_t key;           /* 0: the place is free */
};

struct play {
    struct node_world w;
    const uint8_t *input;
    size_t left;
    struct uuid topics[TOPICS]; /* zero: deleted */
    struct member members[MEMBERS];
    struct under_way asks[ASKS];
    int64_t offsets[GROUPS][TOPICS][PARTITIONS];
    int64_t next_offset;
    bool shaky;  /* the node was restarted, or its store failed: coordinators may be loading */
    bool failed; /* the store was made to fail: this may be logged */
};

static uint8_t take(struct play *p)
{
    if (p->left == 0)
        return 0;
    p->left--;
    return *p->input++;
}

static int16_t take_version(struct play *p, int16_t key)
{
    const struct api *api = api_find(key);

    return (int16_t)(api->version_min + take(p) % (api->version_max - api->version_min + 1));
}

static struct str take_group(struct play *p)
{
    return str_from(group_names[take(p) % GROUPS]);
}

static struct member *take_member(struct play *p)
{
    return &p->members[take(p) % MEMBERS];
}

/* Null, or one of two. */
static struct str take_instance(struct play *p)
{
    static const char *const instances[] = {NULL, "i0", "i1", NULL};

    return str_from(instances[take(p) % 4]);
}

static void expect_offsets(struct play *p, int64_t offset)
{
    for (size_t g = 0; g < GROUPS; g++)
        for (size_t t = 0; t < TOPICS; t++)
            for (size_t i = 0; i < PARTITIONS; i++)
                p->offsets[g][t][i] = offset;
}

/* ---- requests under way ---- */

static void learn(struct member *m, struct str id, int32_t generation)
{
    if (id.size == 0 || id.size >= sizeof m->id)
        return;
    memcpy(m->id, id.data, id.size);
    m->id[id.size] = '\0';
    m->generation = generation;
}

static void ask_over(struct play *p, struct under_way *u)
{
    /* What a node answers at its end is not read any more. */
    const void *answer = p->w.node ? node_world_wait(&p->w, &u->ask, 0) : NULL;

    if (answer && u->key == API_JOIN_GROUP) {
        const struct join_group_response *joined = answer;

        if (joined->error_code == KERR_NONE || joined->error_code == KERR_MEMBER_ID_REQUIRED)
            learn(u->member, joined->member_id, joined->generation_id);
    }
    if (answer && u->key == API_CONSUMER_GROUP_HEARTBEAT) {
        const struct consumer_group_heartbeat_response *heard = answer;

        if (heard->error_code == KERR_NONE)
            learn(u->member, heard->member_id, heard->member_epoch);
    }
    node_ask_free(&u->ask);
    u->key = 0;
}

static void look_at_answers(struct play *p)
{
    for (size_t i = 0; i < ASKS; i++)
        if (p->asks[i].key && p->asks[i].ask.answered)
            ask_over(p, &p->asks[i]);
}

/* NULL: there is no room for one more. */
static struct under_way *new_ask(struct play *p, int16_t key, struct member *m)
{
    struct under_way *u = NULL;

    for (size_t i = 0; i < ASKS && !u; i++)
        if (!p->asks[i].key)
            u = &p->asks[i];
    if (!u)
        return NULL;
    *u = (struct under_way){.key = key, .member = m};
    return u;
}

static void send(struct play *p, struct member *m, int16_t key, int16_t version,
                 const void *message)
{
    struct under_way *u = new_ask(p, key, m);

    if (u)
        node_world_send(&p->w, &u->ask, key, version, message);
}

/* ---- deeds of clients that know what they do ---- */

static void deed_join(struct play *p)
{
    static const char *const types[] = {"consumer", "consumer", "consumer", "connect"};
    static const char *const assignors[] = {"range", "roundrobin", "range", "sticky"};
    struct join_group_request_protocol protocol;
    struct join_group_request m;
    int16_t version = take_version(p, API_JOIN_GROUP);
    struct member *member = take_member(p);

    join_group_request_init(&m);
    join_group_request_protocol_init(&protocol);
    m.group_id = take_group(p);
    m.member_id = str_from(member->id);
    if (version >= 5)
        m.group_instance_id = take_instance(p);
    m.session_timeout_ms = 6000 + 100 * take(p);
    m.rebalance_timeout_ms = 100 * take(p);
    m.protocol_type = str_from(types[take(p) % 4]);
    protocol.name = str_from(assignors[take(p) % 4]);
    protocol.metadata = (struct bytes){p->input, p->left < 16 ? p->left : 16};
    m.protocols = &protocol;
    m.protocols_count = 1;
    send(p, member, API_JOIN_GROUP, version, &m);
}

static void deed_sync(struct play *p)
{
    struct sync_group_request_assignment assignments[MEMBERS];
    struct sync_group_request m;
    int16_t version = take_version(p, API_SYNC_GROUP);
    const struct member *member = take_member(p);

    sync_group_request_init(&m);
    m.group_id = take_group(p);
    m.member_id = str_from(member->id);
    m.generation_id = member->generation;
    if (version >= 3)
        m.group_instance_id = take_instance(p);
    for (size_t i = 0; i < MEMBERS; i++) {
        sync_group_request_assignment_init(&assignments[i]);
        assignments[i].member_id = str_from(p->members[i].id);
        assignments[i].assignment = (struct bytes){p->input, p->left < 8 ? p->left : 8};
    }
    m.assignments = assignments;
    m.assignments_count = take(p) % (MEMBERS + 1);
    send(p, NULL, API_SYNC_GROUP, version, &m);
}

static void deed_heartbeat(struct play *p)
{
    struct heartbeat_request m;
    int16_t version = take_version(p, API_HEARTBEAT);
    const struct member *member = take_member(p);

    heartbeat_request_init(&m);
    m.group_id = take_group(p);
    m.member_id = str_from(member->id);
    m.generation_id = member->generation;
    if (version >= 3)
        m.group_instance_id = take_instance(p);
    send(p, NULL, API_HEARTBEAT, version, &m);
}

static void deed_leave(struct play *p)
{
    struct leave_group_request_member_identity identities[2];
    struct leave_group_request m;
    int16_t version = take_version(p, API_LEAVE_GROUP);

    leave_group_request_init(&m);
    m.group_id = take_group(p);
    if (version < 3)
        m.member_id = str_from(take_member(p)->id);
    for (size_t i = 0; version >= 3 && i < 2; i++) {
        leave_group_request_member_identity_init(&identities[i]);
        identities[i].member_id = str_from(take_member(p)->id);
        identities[i].group_instance_id = take_instance(p);
        m.members = identities;
        m.members_count = i + 1;
    }
    send(p, NULL, API_LEAVE_GROUP, version, &m);
}

static void deed_consumer_heartbeat(struct play *p)
{
    static const char *const assignors[] = {NULL, "uniform", "range", "none"};
    static const char *const regexes[] = {NULL, NULL, ".*", "[tu", "(t|u)*x", "t"};
    struct consumer_group_heartbeat_request_topic_partitions owned;
    struct consumer_group_heartbeat_request m;
    struct str topics[TOPICS];
    int32_t partitions[] = {0, 1};
    int16_t version = take_version(p, API_CONSUMER_GROUP_HEARTBEAT);
    struct member *member = take_member(p);
    uint8_t how = take(p);

    consumer_group_heartbeat_request_init(&m);
    m.group_id = take_group(p);
    m.member_id = str_from(member->id);
    m.member_epoch = how % 8 < 3 ? 0 : how % 8 == 3 ? -1 : how % 8 == 4 ? -2 : member->generation;
    m.instance_id = take_instance(p);
    m.rebalance_timeout_ms = m.member_epoch == 0 ? 1000 * take(p) : -1;
    for (size_t i = 0; i < TOPICS; i++)
        topics[i] = str_from(topic_names[i]);
    if (how & 8 || m.member_epoch == 0) {
        m.subscribed_topic_names = topics;
        m.subscribed_topic_names_count = take(p) % (TOPICS + 1);
    }
    if (version >= 1)
        m.subscribed_topic_regex = str_from(regexes[take(p) % 6]);
    m.server_assignor = str_from(assignors[take(p) % 4]);
    consumer_group_heartbeat_request_topic_partitions_init(&owned);
    if (how & 16 || m.member_epoch == 0) {
        owned.topic_id = p->topics[take(p) % TOPICS];
        owned.partitions = partitions;
        owned.partitions_count = 1 + (size_t)take(p) % 2;
        m.topic_partitions = &owned;
        m.topic_partitions_count = (how & 32) != 0;
    }
    send(p, member, API_CONSUMER_GROUP_HEARTBEAT, version, &m);
}

static void deed_consumer_describe(struct play *p)
{
    struct consumer_group_describe_request m;
    struct str group;

    consumer_group_describe_request_init(&m);
    group = take_group(p);
    m.group_ids = &group;
    m.group_ids_count = 1;
    send(p, NULL, API_CONSUMER_GROUP_DESCRIBE, take_version(p, API_CONSUMER_GROUP_DESCRIBE), &m);
}

static void deed_describe(struct play *p)
{
    struct describe_groups_request m;
    struct str groups[GROUPS];

    describe_groups_request_init(&m);
    for (size_t i = 0; i < GROUPS; i++)
        groups[i] = str_from(group_names[i]);
    m.groups = groups;
    m.groups_count = GROUPS;
    send(p, NULL, API_DESCRIBE_GROUPS, take_version(p, API_DESCRIBE_GROUPS), &m);
}

static void deed_list(struct play *p)
{
    struct list_groups_request m;

    list_groups_request_init(&m);
    send(p, NULL, API_LIST_GROUPS, take_version(p, API_LIST_GROUPS), &m);
}

static void deed_find(struct play *p)
{
    struct find_coordinator_request m;
    struct str groups[GROUPS];
    int16_t version = take_version(p, API_FIND_COORDINATOR);

    find_coordinator_request_init(&m);
    for (size_t i = 0; i < GROUPS; i++)
        groups[i] = str_from(group_names[i]);
    if (version >= 4) {
        m.coordinator_keys = groups;
        m.coordinator_keys_count = GROUPS;
    } else {
        m.key = groups[0];
    }
    send(p, NULL, API_FIND_COORDINATOR, version, &m);
}

/* ---- offsets, one request after the other ---- */

static bool may_come_again(int code)
{
    return code == KERR_COORDINATOR_LOAD_IN_PROGRESS || code == KERR_NOT_COORDINATOR ||
           code == KERR_COORDINATOR_NOT_AVAILABLE;
}

struct place {
    size_t group, topic;
    int32_t partition;
};

static struct place take_place(struct play *p)
{
    struct place at = {take(p) % GROUPS, take(p) % TOPICS, take(p) % PARTITIONS};

    return at;
}

static int commit_once(struct play *p, struct place at, const struct member *as, int16_t version,
                       int64_t offset)
{
    const struct offset_commit_response *answer;
    struct offset_commit_request_partition partition;
    struct offset_commit_request_topic topic;
    struct offset_commit_request m;
    struct node_ask ask = {0};
    int code;

    offset_commit_request_init(&m);
    offset_commit_request_topic_init(&topic);
    offset_commit_request_partition_init(&partition);
    partition.partition_index = at.partition;
    partition.committed_offset = offset;
    partition.committed_metadata = STR("");
    if (version >= 10)
        topic.topic_id = p->topics[at.topic];
    else
        topic.name = str_from(topic_names[at.topic]);
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.group_id = str_from(group_names[at.group]);
    m.topics = &topic;
    m.topics_count = 1;
    if (as) {
        m.member_id = str_from(as->id);
        m.generation_id_or_member_epoch = as->generation;
    }
    node_world_send(&p->w, &ask, API_OFFSET_COMMIT, version, &m);
    answer = node_world_wait(&p->w, &ask, PATIENCE_MS);
    CHECK(answer);
    CHECK(answer->topics_count == 1);
    CHECK(answer->topics[0].partitions_count == 1);
    code = answer->topics[0].partitions[0].error_code;
    node_ask_free(&ask);
    return code;
}

/* Versions 1 to 7 ask for one group, later ones for several. */
static void fill_fetch(struct play *p, struct place at, int16_t version,
                       struct offset_fetch_request *m, struct offset_fetch_request_topic *topic,
                       struct offset_fetch_request_group *group,
                       struct offset_fetch_request_topics *topics, int32_t *partition)
{
    offset_fetch_request_init(m);
    *partition = at.partition;
    if (version < 8) {
        offset_fetch_request_topic_init(topic);
        topic->name = str_from(topic_names[at.topic]);
        topic->partition_indexes = partition;
        topic->partition_indexes_count = 1;
        m->group_id = str_from(group_names[at.group]);
        m->topics = topic;
        m->topics_count = 1;
        return;
    }
    offset_fetch_request_group_init(group);
    offset_fetch_request_topics_init(topics);
    if (version >= 10)
        topics->topic_id = p->topics[at.topic];
    else
        topics->name = str_from(topic_names[at.topic]);
    topics->partition_indexes = partition;
    topics->partition_indexes_count = 1;
    group->group_id = str_from(group_names[at.group]);
    group->topics = topics;
    group->topics_count = 1;
    m->groups = group;
    m->groups_count = 1;
}

static int fetch_once(struct play *p, struct place at, int16_t version, int64_t *offset)
{
    const struct offset_fetch_response *answer;
    struct offset_fetch_request_topics topics;
    struct offset_fetch_request_topic topic;
    struct offset_fetch_request_group group;
    struct offset_fetch_request m;
    struct node_ask ask = {0};
    int32_t partition;
    int code;

    fill_fetch(p, at, version, &m, &topic, &group, &topics, &partition);
    node_world_send(&p->w, &ask, API_OFFSET_FETCH, version, &m);
    answer = node_world_wait(&p->w, &ask, PATIENCE_MS);
    CHECK(answer);
    if (version < 8) {
        code = version < 2 ? answer->topics[0].partitions[0].error_code : answer->error_code;
        *offset = code ? NO_OFFSET : answer->topics[0].partitions[0].committed_offset;
        code = code ? code : answer->topics[0].partitions[0].error_code;
    } else {
        code = answer->groups[0].error_code;
        *offset = code ? NO_OFFSET : answer->groups[0].topics[0].partitions[0].committed_offset;
        code = code ? code : answer->groups[0].topics[0].partitions[0].error_code;
    }
    node_ask_free(&ask);
    return code;
}

/* What is committed is what was acknowledged last. */
static void check_place(struct play *p, struct place at, int16_t version)
{
    int64_t offset, expected = p->offsets[at.group][at.topic][at.partition];
    int code = fetch_once(p, at, version, &offset);

    for (int i = 0; p->shaky && i < 400 && may_come_again(code); i++) {
        test_loop_run(&p->w.loop, 50);
        code = fetch_once(p, at, version, &offset);
    }
    if (uuid_is_zero(p->topics[at.topic])) /* versions that name topics by id cannot */
        return;
    CHECK(code == KERR_NONE);
    if (expected != UNKNOWN)
        CHECK(offset == expected);
}

static void deed_commit(struct play *p)
{
    int16_t version = take_version(p, API_OFFSET_COMMIT);
    struct place at = take_place(p);
    uint8_t as = take(p);
    int64_t *expected = &p->offsets[at.group][at.topic][at.partition];
    int64_t offset = p->next_offset++;
    int code = commit_once(p, at, as % 2 ? &p->members[as / 2 % MEMBERS] : NULL, version, offset);

    if (code == KERR_NONE)
        *expected = offset;
    else if (may_come_again(code)) /* it may be in the log all the same */
        *expected = UNKNOWN;
    check_place(p, at, take_version(p, API_OFFSET_FETCH));
}

static void deed_fetch(struct play *p)
{
    int16_t version = take_version(p, API_OFFSET_FETCH);

    check_place(p, take_place(p), version);
}

static void deed_offset_delete(struct play *p)
{
    const struct offset_delete_response *answer;
    struct offset_delete_request_partition partition;
    struct offset_delete_request_topic topic;
    struct offset_delete_request m;
    struct node_ask ask = {0};
    struct place at = take_place(p);
    int64_t *expected = &p->offsets[at.group][at.topic][at.partition];
    int code;

    offset_delete_request_init(&m);
    offset_delete_request_topic_init(&topic);
    offset_delete_request_partition_init(&partition);
    partition.partition_index = at.partition;
    topic.name = str_from(topic_names[at.topic]);
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.group_id = str_from(group_names[at.group]);
    m.topics = &topic;
    m.topics_count = 1;
    node_world_send(&p->w, &ask, API_OFFSET_DELETE, 0, &m);
    answer = node_world_wait(&p->w, &ask, PATIENCE_MS);
    CHECK(answer);
    code = answer->error_code;
    if (code == KERR_NONE)
        code = answer->topics[0].partitions[0].error_code;
    if (code == KERR_NONE)
        *expected = NO_OFFSET;
    else if (may_come_again(code))
        *expected = UNKNOWN;
    node_ask_free(&ask);
}

static void deed_delete_group(struct play *p)
{
    const struct delete_groups_response *answer;
    struct delete_groups_request m;
    struct node_ask ask = {0};
    int16_t version = take_version(p, API_DELETE_GROUPS);
    size_t g = take(p) % GROUPS;
    struct str group = str_from(group_names[g]);
    int code;

    delete_groups_request_init(&m);
    m.groups_names = &group;
    m.groups_names_count = 1;
    node_world_send(&p->w, &ask, API_DELETE_GROUPS, version, &m);
    answer = node_world_wait(&p->w, &ask, PATIENCE_MS);
    CHECK(answer);
    code = answer->results[0].error_code;
    for (size_t t = 0; t < TOPICS; t++)
        for (size_t i = 0; i < PARTITIONS; i++)
            if (code == KERR_NONE || may_come_again(code))
                p->offsets[g][t][i] = code == KERR_NONE ? NO_OFFSET : UNKNOWN;
    node_ask_free(&ask);
}

/* ---- deeds of those that do not ---- */

/* A request of one of these, whose message is the input's next bytes. */
static void deed_raw(struct play *p)
{
    static const int16_t keys[] = {API_OFFSET_COMMIT,
                                   API_OFFSET_FETCH,
                                   API_FIND_COORDINATOR,
                                   API_JOIN_GROUP,
                                   API_HEARTBEAT,
                                   API_LEAVE_GROUP,
                                   API_SYNC_GROUP,
                                   API_DESCRIBE_GROUPS,
                                   API_LIST_GROUPS,
                                   API_DELETE_GROUPS,
                                   API_OFFSET_DELETE,
                                   API_CONSUMER_GROUP_HEARTBEAT,
                                   API_CONSUMER_GROUP_DESCRIBE};
    int16_t key = keys[take(p) % (sizeof keys / sizeof keys[0])];
    const struct request_head head = {key, take_version(p, key), 7, STR("raw")};
    struct under_way *u = new_ask(p, 0, NULL);
    struct writer writer;
    size_t size = take(p);

    size = size < p->left ? size : p->left;
    if (!u)
        return;
    writer_init(&writer, (size_t)1 << 16);
    frame_begin_request(&writer, api_find(key), &head);
    write_raw(&writer, p->input, size);
    p->input += size;
    p->left -= size;
    u->key = key;
    u->member = &p->members[0];
    node_world_send_frame(
        &p->w, &u->ask,
        (struct bytes){writer.data + FRAME_LENGTH_BYTES, writer.size - FRAME_LENGTH_BYTES});
    writer_free(&writer);
    if (key != API_OFFSET_COMMIT && key != API_DELETE_GROUPS && key != API_OFFSET_DELETE)
        return;
    node_world_wait(&p->w, &u->ask, PATIENCE_MS);
    CHECK(u->ask.answered);
    ask_over(p, u);
    expect_offsets(p, UNKNOWN);
}

/* A client that goes before it is answered. */
static void deed_abandon(struct play *p)
{
    struct under_way *u = &p->asks[take(p) % ASKS];

    if (!u->key || !u->ask.under_way)
        return;
    request_abandon(u->ask.under_way);
    u->key = 0;
}

/* ---- what happens around them ---- */

static void deed_time(struct play *p)
{
    test_loop_run(&p->w.loop, 20 * take(p));
}

static void deed_topic(struct play *p)
{
    const struct delete_topics_response *answer;
    struct delete_topics_request m;
    struct node_ask ask = {0};
    size_t t = take(p) % TOPICS;
    struct str name = str_from(topic_names[t]);

    if (uuid_is_zero(p->topics[t])) {
        p->topics[t] = node_world_topic(&p->w, topic_names[t], PARTITIONS, NULL);
        return;
    }
    delete_topics_request_init(&m);
    m.topic_names = &name;
    m.topic_names_count = 1;
    m.timeout_ms = PATIENCE_MS;
    node_world_send(&p->w, &ask, API_DELETE_TOPICS, 5, &m);
    answer = node_world_wait(&p->w, &ask, PATIENCE_MS);
    CHECK(answer);
    CHECK(answer->responses[0].error_code == KERR_NONE);
    node_ask_free(&ask);
    p->topics[t] = UUID_ZERO;
    for (size_t g = 0; g < GROUPS; g++)
        for (size_t i = 0; i < PARTITIONS; i++)
            p->offsets[g][t][i] = UNKNOWN; /* its tombstones are under way */
}

static void deed_fail_store(struct play *p)
{
    uint8_t how = take(p);

    if (!p->w.state)
        return;
    state_store_sim_fail_after(p->w.state, how / 2, how % 2);
    p->shaky = p->failed = true;
}

static void everybody_is_answered(struct play *p)
{
    for (size_t i = 0; i < ASKS; i++)
        CHECK(!p->asks[i].key || p->asks[i].ask.answered);
    look_at_answers(p);
}

static void start_anew(struct play *p)
{
    node_world_stop(&p->w);
    CHECK(!p->w.failed);
    everybody_is_answered(p);
    node_world_start(&p->w);
    p->shaky = true;
}

static void deed_restart(struct play *p)
{
    start_anew(p);
}

static void (*const deeds[])(struct play *p) = {
    deed_raw,
    deed_join,
    deed_sync,
    deed_heartbeat,
    deed_leave,
    deed_consumer_heartbeat,
    deed_consumer_describe,
    deed_describe,
    deed_list,
    deed_find,
    deed_commit,
    deed_fetch,
    deed_offset_delete,
    deed_delete_group,
    deed_time,
    deed_topic,
    deed_fail_store,
    deed_restart,
    deed_abandon,
};

/* ---- the play ---- */

static void begin(struct play *p)
{
    struct find_coordinator_request m;
    struct node_ask ask = {0};
    struct place at = {0};

    node_world_init(&p->w);
    node_world_set(&p->w, "offsets.topic.num.partitions=2");
    node_world_set(&p->w, "group.initial.rebalance.delay.ms=100");
    node_world_start(&p->w);
    for (size_t t = 0; t < TOPICS; t++)
        p->topics[t] = node_world_topic(&p->w, topic_names[t], PARTITIONS, NULL);
    find_coordinator_request_init(&m);
    m.key = STR("g");
    node_world_send(&p->w, &ask, API_FIND_COORDINATOR, 2, &m);
    CHECK(node_world_wait(&p->w, &ask, PATIENCE_MS));
    node_ask_free(&ask);
    expect_offsets(p, NO_OFFSET);
    p->shaky = true;
    for (; at.group < GROUPS; at.group++)
        check_place(p, at, 5);
    p->shaky = false;
}

static void end(struct play *p)
{
    struct place at = {0};

    CHECK(!p->w.failed);
    start_anew(p);
    for (at.group = 0; at.group < GROUPS; at.group++)
        for (at.topic = 0; at.topic < TOPICS; at.topic++)
            for (at.partition = 0; at.partition < PARTITIONS; at.partition++)
                check_place(p, at, 5);
    CHECK(p->failed || p->w.errors_logged == 0);
    node_world_free(&p->w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct play *p = calloc(1, sizeof *p);

    CHECK(p);
    p->input = data;
    p->left = size;
    begin(p);
    for (int i = 0; i < DEEDS_MAX && p->left > 0; i++) {
        deeds[take(p) % (sizeof deeds / sizeof deeds[0])](p);
        test_loop_run(&p->w.loop, 1);
        look_at_answers(p);
    }
    end(p);
    free(p);
    return 0;
}
