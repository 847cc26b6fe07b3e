/* Consumer groups as librdkafka forms them: who gets which partitions, what is committed, static
 * members. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/interop/client.h"

#define PARTITIONS 6
/* a rebalance takes a heartbeat of every member; generous for sanitizers */
#define GROUP_WAIT_MS 30000

/* A group name not used before; borrowed until the next call. */
static const char *new_group(struct world *w)
{
    static char name[96];

    snprintf(name, sizeof name, "group-of-%s", new_topic_name(w));
    return name;
}

static rd_kafka_t *open_member(struct world *w, const char *group, const char *strategy,
                               const char *instance)
{
    return open_consumer(w, SETTINGS("group.id", group, "partition.assignment.strategy", strategy,
                                     "session.timeout.ms", "6000", "heartbeat.interval.ms", "200",
                                     "auto.offset.reset", "earliest", "enable.auto.offset.store",
                                     "true", "group.instance.id", instance));
}

static bool subscribe(struct world *w, rd_kafka_t *member, const char *topic)
{
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t error;

    rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
    error = rd_kafka_subscribe(member, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    EXPECT_ERROR(w, error, RD_KAFKA_RESP_ERR_NO_ERROR);
    return true;
}

static int owned(rd_kafka_t *member)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    int count = -1;

    if (!rd_kafka_assignment(member, &list)) {
        count = list->cnt;
        rd_kafka_topic_partition_list_destroy(list);
    }
    return count;
}

/* One round of polling; what comes is counted by partition and offset in seen, when that is
 * wanted. */
static int poll_members(rd_kafka_t *const *members, size_t count, int (*seen)[64])
{
    int got = 0;

    for (size_t i = 0; i < count; i++) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(members[i], 20);

        if (m && !m->err && seen && m->partition < PARTITIONS && m->offset < 64) {
            seen[m->partition][m->offset]++;
            got++;
        }
        if (m)
            rd_kafka_message_destroy(m);
    }
    return got;
}

/* Polls until each member owns so many partitions. */
static bool wait_shares(struct world *w, rd_kafka_t *const *members, size_t count,
                        const int *shares)
{
    int64_t deadline = now_ms() + GROUP_WAIT_MS;

    for (;;) {
        bool all = true;

        poll_members(members, count, NULL);
        for (size_t i = 0; i < count; i++)
            all = all && owned(members[i]) == shares[i];
        if (all)
            return true;
        EXPECT(w, now_ms() < deadline, "%d members: they own %d, %d, %d", (int)count,
               owned(members[0]), count > 1 ? owned(members[1]) : -1,
               count > 2 ? owned(members[2]) : -1);
    }
}

static bool share_case(struct world *w, const char *strategy)
{
    const char *topic = make_topic(w, PARTITIONS, NULL);
    char name[64], group[96];
    rd_kafka_t *members[3];
    int seen[PARTITIONS][64] = {{0}};
    int got = 0;

    EXPECT(w, topic, "%s", w->reason);
    snprintf(name, sizeof name, "%s", topic);
    snprintf(group, sizeof group, "%s", new_group(w));
    for (int i = 0; i < 3; i++)
        members[i] = open_member(w, group, strategy, "");
    if (!subscribe(w, members[0], name) || !wait_shares(w, members, 1, (int[]){6}))
        return false;
    if (!subscribe(w, members[1], name) || !wait_shares(w, members, 2, (int[]){3, 3}))
        return false;
    if (!subscribe(w, members[2], name) || !wait_shares(w, members, 3, (int[]){2, 2, 2}))
        return false;
    for (int p = 0; p < PARTITIONS; p++)
        EXPECT_ERROR(w, produce_numbers(admin(w), name, p, 0, 10), RD_KAFKA_RESP_ERR_NO_ERROR);
    for (int64_t deadline = now_ms() + GROUP_WAIT_MS; got < PARTITIONS * 10 && now_ms() < deadline;)
        got += poll_members(members, 3, seen);
    for (int p = 0; p < PARTITIONS; p++)
        for (int o = 0; o < 10; o++)
            EXPECT(w, seen[p][o] == 1, "record %d of partition %d came %d times", o, p, seen[p][o]);
    EXPECT_ERROR(w, rd_kafka_consumer_close(members[2]), RD_KAFKA_RESP_ERR_NO_ERROR);
    return wait_shares(w, members, 2, (int[]){3, 3});
}

static bool members_share_partitions_by_range(struct world *w)
{
    return share_case(w, "range");
}

static bool members_share_partitions_by_roundrobin(struct world *w)
{
    return share_case(w, "roundrobin");
}

static bool members_share_partitions_by_cooperative_sticky(struct world *w)
{
    return share_case(w, "cooperative-sticky");
}

/* The committed offset of partition 0; -1000 and below as librdkafka says it has none. */
static int64_t committed(struct world *w, rd_kafka_t *member, const char *topic)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t error;
    int64_t offset;

    rd_kafka_topic_partition_list_add(list, topic, 0);
    error = rd_kafka_committed(member, list, GROUP_WAIT_MS);
    offset = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    if (error) {
        world_fail(w, __FILE__, __LINE__, "asking for the committed offset: %s",
                   rd_kafka_err2name(error));
        return INT64_MIN;
    }
    return offset;
}

static rd_kafka_resp_err_t commit(rd_kafka_t *member, const char *topic, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t error;

    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = offset;
    error = rd_kafka_commit(member, list, 0);
    rd_kafka_topic_partition_list_destroy(list);
    return error;
}

static bool next_member_resumes_where_the_last_one_committed(struct world *w)
{
    const char *topic = make_topic(w, 1, NULL);
    char name[64], group[96];
    rd_kafka_message_t **messages;
    rd_kafka_t *one, *two;

    EXPECT(w, topic, "%s", w->reason);
    snprintf(name, sizeof name, "%s", topic);
    snprintf(group, sizeof group, "%s", new_group(w));
    EXPECT_ERROR(w, produce_numbers(admin(w), name, 0, 0, 100), RD_KAFKA_RESP_ERR_NO_ERROR);
    one = open_member(w, group, "range", "");
    if (!subscribe(w, one, name))
        return false;
    EXPECT(w, consume(w, one, 60, GROUP_WAIT_MS, &messages) == 60,
           "the first member reads too little");
    EXPECT_ERROR(w, commit(one, name, 60), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(w, rd_kafka_consumer_close(one), RD_KAFKA_RESP_ERR_NO_ERROR);
    two = open_member(w, group, "range", "");
    if (!subscribe(w, two, name))
        return false;
    EXPECT(w, consume(w, two, 40, GROUP_WAIT_MS, &messages) == 40,
           "the second member reads too little");
    EXPECT(w, are_numbers(messages, 40, 60), "it began at %d", (int)messages[0]->offset);
    return true;
}

/* Without a group membership. */
static bool commits_survive_kill_9_and_a_clean_restart(struct world *w)
{
    const char *topic = make_topic(w, 1, NULL);
    char name[64], group[96];
    rd_kafka_t *member;

    EXPECT(w, topic, "%s", w->reason);
    snprintf(name, sizeof name, "%s", topic);
    snprintf(group, sizeof group, "%s", new_group(w));
    member = open_member(w, group, "range", "");
    for (int i = 1; i <= 50; i++)
        EXPECT_ERROR(w, commit(member, name, i), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, committed(w, member, name) == 50, "%s", w->reason);
    for (int hard = 1; hard >= 0; hard--) {
        int64_t offset;

        if (!world_restart(w, hard))
            return world_skip(w, "the broker is not ours to restart");
        offset = committed(w, member, name);
        EXPECT(w, offset == 50, "%d after the restart: %s", (int)offset, w->reason);
    }
    return true;
}

static bool offsets_of_a_deleted_topic_are_gone(struct world *w)
{
    const char *topic = make_topic(w, 1, NULL);
    struct topic_wish again = {.partitions = 1, .replication = 1};
    char name[64], kept[64], group[96];
    rd_kafka_t *member;
    int64_t offset = 0;

    EXPECT(w, topic, "%s", w->reason);
    snprintf(name, sizeof name, "%s", topic);
    topic = make_topic(w, 1, NULL);
    EXPECT(w, topic, "%s", w->reason);
    snprintf(kept, sizeof kept, "%s", topic);
    snprintf(group, sizeof group, "%s", new_group(w));
    member = open_member(w, group, "range", "");
    EXPECT_ERROR(w, commit(member, name, 50), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(w, commit(member, kept, 60), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(w, delete_topic(w, name), RD_KAFKA_RESP_ERR_NO_ERROR);
    for (int tries = 0; tries < 100 && offset >= 0; tries++) {
        offset = committed(w, member, name);
        usleep(50000);
    }
    EXPECT(w, offset == RD_KAFKA_OFFSET_INVALID, "still %d", (int)offset);
    again.name = name;
    EXPECT_ERROR(w, create_topic(w, &again), RD_KAFKA_RESP_ERR_NO_ERROR);
    if (!wait_led(w, name, 1))
        return false;
    offset = committed(w, member, name);
    EXPECT(w, offset == RD_KAFKA_OFFSET_INVALID, "the new topic meets %d", (int)offset);
    offset = committed(w, member, kept);
    EXPECT(w, offset == 60, "of the other topic %d", (int)offset);
    return true;
}

static bool member_of_a_killed_broker_goes_on(struct world *w)
{
    const char *topic = make_topic(w, 1, NULL);
    char name[64];
    rd_kafka_message_t **messages;
    rd_kafka_t *member;

    EXPECT(w, topic, "%s", w->reason);
    snprintf(name, sizeof name, "%s", topic);
    member = open_member(w, new_group(w), "range", "");
    EXPECT_ERROR(w, produce_numbers(admin(w), name, 0, 0, 10), RD_KAFKA_RESP_ERR_NO_ERROR);
    if (!subscribe(w, member, name))
        return false;
    EXPECT(w, consume(w, member, 10, GROUP_WAIT_MS, &messages) == 10, "it reads too little");
    if (!world_restart(w, true))
        return world_skip(w, "the broker is not ours to restart");
    EXPECT_ERROR(w, commit(member, name, 10), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(w, produce_numbers(open_producer(w, NO_SETTINGS), name, 0, 10, 10),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, consume(w, member, 10, GROUP_WAIT_MS, &messages) == 10, "it does not go on");
    EXPECT(w, are_numbers(messages, 10, 10), "it goes on at %d", (int)messages[0]->offset);
    return true;
}

static bool static_member_restarts_without_a_rebalance(struct world *w)
{
    const char *topic = make_topic(w, PARTITIONS, NULL);
    char name[64], group[96];
    rd_kafka_t *members[2];

    EXPECT(w, topic, "%s", w->reason);
    snprintf(name, sizeof name, "%s", topic);
    snprintf(group, sizeof group, "%s", new_group(w));
    members[0] = open_member(w, group, "range", "stays");
    members[1] = open_member(w, group, "range", "restarts");
    if (!subscribe(w, members[0], name) || !subscribe(w, members[1], name) ||
        !wait_shares(w, members, 2, (int[]){3, 3}))
        return false;
    EXPECT_ERROR(w, rd_kafka_consumer_close(members[1]), RD_KAFKA_RESP_ERR_NO_ERROR);
    members[1] = open_member(w, group, "range", "restarts");
    if (!subscribe(w, members[1], name))
        return false;
    for (int64_t deadline = now_ms() + GROUP_WAIT_MS; owned(members[1]) != 3;) {
        poll_members(members, 2, NULL);
        EXPECT(w, owned(members[0]) == 3, "the other member was rebalanced: it owns %d",
               owned(members[0]));
        EXPECT(w, now_ms() < deadline, "it does not get its partitions back");
    }
    return true;
}

static bool second_of_an_instance_fences_the_first(struct world *w)
{
    const char *topic = make_topic(w, 1, NULL);
    char name[64], group[96], why[256];
    rd_kafka_t *first, *second;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;

    EXPECT(w, topic, "%s", w->reason);
    snprintf(name, sizeof name, "%s", topic);
    snprintf(group, sizeof group, "%s", new_group(w));
    first = open_member(w, group, "range", "twin");
    second = open_member(w, group, "range", "twin");
    if (!subscribe(w, first, name) || !wait_shares(w, &first, 1, (int[]){1}) ||
        !subscribe(w, second, name))
        return false;
    for (int64_t deadline = now_ms() + GROUP_WAIT_MS; !error && now_ms() < deadline;) {
        poll_members((rd_kafka_t *[]){first, second}, 2, NULL);
        error = rd_kafka_fatal_error(first, why, sizeof why);
    }
    EXPECT_ERROR(w, error, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID);
    return wait_shares(w, &second, 1, (int[]){1});
}

const struct client_case group_cases[] = {
    {"members_share_partitions_by_range", members_share_partitions_by_range},
    {"members_share_partitions_by_roundrobin", members_share_partitions_by_roundrobin},
    {"members_share_partitions_by_cooperative_sticky",
     members_share_partitions_by_cooperative_sticky},
    {"next_member_resumes_where_the_last_one_committed",
     next_member_resumes_where_the_last_one_committed},
    {"commits_survive_kill_9_and_a_clean_restart", commits_survive_kill_9_and_a_clean_restart},
    {"offsets_of_a_deleted_topic_are_gone", offsets_of_a_deleted_topic_are_gone},
    {"member_of_a_killed_broker_goes_on", member_of_a_killed_broker_goes_on},
    {"static_member_restarts_without_a_rebalance", static_member_restarts_without_a_rebalance},
    {"second_of_an_instance_fences_the_first", second_of_an_instance_fences_the_first},
    {NULL, NULL},
};
