/* Groups on a whole node, in virtual time: taking over, waiting for the log, failing disks and
 * stores. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>

#include "broker/coordinator/coordinator_internal.h"
#include "broker/coordinator/state_home.h"
#include "broker/internal_topics.h"
#include "broker/shard.h"
#include "protocol/messages/create_partitions.h"
#include "protocol/messages/delete_groups.h"
#include "protocol/messages/delete_topics.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/find_coordinator.h"
#include "protocol/messages/heartbeat.h"
#include "protocol/messages/join_group.h"
#include "protocol/messages/list_groups.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_fetch.h"
#include "storage/state_store_sim.h"
#include "tests/unit/broker/second_broker.h"

#define PATIENCE_MS 20000
#define NO_ANSWER   (-1000)
#define NO_OFFSET   (-1)

static struct node_world w;

/* ---- what clients do ---- */

static enum kerr find_coordinator(const char *group)
{
    const struct find_coordinator_response *answer;
    struct find_coordinator_request m;
    struct node_ask ask = {0};
    enum kerr code;

    find_coordinator_request_init(&m);
    m.key = str_from(group);
    node_world_send(&w, &ask, API_FIND_COORDINATOR, 2, &m);
    answer = node_world_wait(&w, &ask, PATIENCE_MS);
    assert_non_null(answer);
    code = (enum kerr)answer->error_code;
    node_ask_free(&ask);
    return code;
}

static void send_commit(struct node_ask *ask, const char *group, int64_t offset)
{
    struct offset_commit_request_partition partition;
    struct offset_commit_request_topic topic;
    struct offset_commit_request m;

    offset_commit_request_init(&m);
    offset_commit_request_topic_init(&topic);
    offset_commit_request_partition_init(&partition);
    partition.committed_offset = offset;
    partition.committed_metadata = STR("");
    topic.name = STR("orders");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.group_id = str_from(group);
    m.topics = &topic;
    m.topics_count = 1;
    node_world_send(&w, ask, API_OFFSET_COMMIT, 8, &m);
}

static int committed(struct node_ask *ask, int64_t ms)
{
    const struct offset_commit_response *answer = node_world_wait(&w, ask, ms);
    int code = answer ? answer->topics[0].partitions[0].error_code : NO_ANSWER;

    if (answer)
        node_ask_free(ask);
    return code;
}

static int commit(const char *group, int64_t offset)
{
    struct node_ask ask = {0};

    send_commit(&ask, group, offset);
    return committed(&ask, PATIENCE_MS);
}

static void send_fetch(struct node_ask *ask, const char *group)
{
    struct offset_fetch_request_topic topic = {.name = STR("orders")};
    struct offset_fetch_request m;
    int32_t partition = 0;

    offset_fetch_request_init(&m);
    topic.partition_indexes = &partition;
    topic.partition_indexes_count = 1;
    m.group_id = str_from(group);
    m.topics = &topic;
    m.topics_count = 1;
    node_world_send(&w, ask, API_OFFSET_FETCH, 5, &m);
}

static int fetch(const char *group, int64_t *offset)
{
    const struct offset_fetch_response *answer;
    struct node_ask ask = {0};
    int code;

    send_fetch(&ask, group);
    answer = node_world_wait(&w, &ask, PATIENCE_MS);
    assert_non_null(answer);
    code = answer->error_code;
    *offset = code == KERR_NONE ? answer->topics[0].partitions[0].committed_offset : NO_OFFSET;
    node_ask_free(&ask);
    return code;
}

/* As clients do: again, while the coordinator is not ready. */
static int64_t fetch_patiently(const char *group)
{
    int64_t offset = NO_OFFSET;
    int code = fetch(group, &offset);

    for (int i = 0;
         i < 1000 && (code == KERR_COORDINATOR_LOAD_IN_PROGRESS || code == KERR_NOT_COORDINATOR);
         i++) {
        test_loop_run(&w.loop, 10);
        code = fetch(group, &offset);
    }
    assert_int_equal(code, KERR_NONE);
    return offset;
}

static int commit_patiently(const char *group, int64_t offset)
{
    int code = commit(group, offset);

    for (int i = 0;
         i < 1000 && (code == KERR_COORDINATOR_LOAD_IN_PROGRESS || code == KERR_NOT_COORDINATOR);
         i++) {
        test_loop_run(&w.loop, 10);
        code = commit(group, offset);
    }
    return code;
}

static int heartbeat(const char *group)
{
    const struct heartbeat_response *answer;
    struct heartbeat_request m;
    struct node_ask ask = {0};
    int code;

    heartbeat_request_init(&m);
    m.group_id = str_from(group);
    m.member_id = STR("somebody");
    node_world_send(&w, &ask, API_HEARTBEAT, 3, &m);
    answer = node_world_wait(&w, &ask, PATIENCE_MS);
    code = answer->error_code;
    node_ask_free(&ask);
    return code;
}

static void send_join(struct node_ask *ask, const char *group, const char *member)
{
    struct join_group_request_protocol protocol;
    struct join_group_request m;

    join_group_request_init(&m);
    join_group_request_protocol_init(&protocol);
    protocol.name = STR("range");
    m.group_id = str_from(group);
    m.member_id = str_from(member);
    m.session_timeout_ms = 10000;
    m.rebalance_timeout_ms = 10000;
    m.protocol_type = STR("consumer");
    m.protocols = &protocol;
    m.protocols_count = 1;
    node_world_send(&w, ask, API_JOIN_GROUP, 3, &m);
}

static size_t list_groups(void)
{
    const struct list_groups_response *answer;
    struct list_groups_request m;
    struct node_ask ask = {0};
    size_t count;

    list_groups_request_init(&m);
    node_world_send(&w, &ask, API_LIST_GROUPS, 5, &m);
    answer = node_world_wait(&w, &ask, PATIENCE_MS);
    assert_non_null(answer);
    assert_int_equal(answer->error_code, KERR_NONE);
    count = answer->groups_count;
    node_ask_free(&ask);
    return count;
}

/* ---- the world ---- */

static void start(void)
{
    node_world_init(&w);
    node_world_set(&w, "offsets.topic.num.partitions=4");
    node_world_set(&w, "offsets.retention.minutes=1");
    node_world_set(&w, "offsets.retention.check.interval.ms=10000");
    node_world_start(&w);
    node_world_topic(&w, "orders", 1, NULL);
}

/* The partition of __consumer_offsets that a group belongs to. */
static struct partition *partition_of(const char *group)
{
    const struct metadata_topic *topic =
        metadata_image_topic(w.node->shards[0]->image, TOPIC_CONSUMER_OFFSETS);

    assert_non_null(topic);
    return node_world_partition(
        &w, topic->id, internal_topic_partition_of(str_from(group), topic->partition_count));
}

/* ---- the tests ---- */

static void first_group_that_is_looked_for_makes_the_topic(void **state)
{
    int64_t offset;
    (void)state;

    start();
    assert_int_equal(fetch("g", &offset), KERR_NOT_COORDINATOR);
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("g", 5), KERR_NONE);
    assert_int_equal(fetch_patiently("g"), 5);
    assert_int_equal(fetch_patiently("h"), NO_OFFSET);
    node_world_free(&w);
}

static void restarted_coordinator_says_that_it_loads_until_its_log_is_applied(void **state)
{
    struct state_store_report report;
    struct node_ask ask = {0};
    int64_t offset;
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    for (int i = 1; i <= 20; i++)
        assert_int_equal(commit_patiently("g", i), KERR_NONE);
    w.loop.pool_stuck = true; /* no flush: the watermark stands still */
    send_commit(&ask, "g", 21);
    test_loop_run(&w.loop, 10);
    assert_int_equal(state_store_reset(w.state, &report).code, KERR_NONE);
    for (size_t i = 0; i < NODE_WORLD_SHARDS; i++)
        coordinators_store_ready(w.node->shards[i], w.state);
    assert_int_equal(committed(&ask, 10), KERR_NOT_COORDINATOR);
    assert_int_equal(fetch("g", &offset), KERR_COORDINATOR_LOAD_IN_PROGRESS);
    assert_int_equal(commit("g", 22), KERR_COORDINATOR_LOAD_IN_PROGRESS);
    assert_int_equal(heartbeat("g"), KERR_NONE); /* its session will begin when the group is
                                                  * loaded */
    w.loop.pool_stuck = false;
    assert_int_equal(fetch_patiently("g"), 21); /* it was in the log */
    node_world_free(&w);
}

/* As if the metadata had said that nodes 1 and 2 hold the partition, so many of them in sync, and
 * we lead it. */
static void assign(struct partition *p, int32_t leader_epoch, size_t isr_count)
{
    static const int32_t both[] = {1, 2};
    struct partition_assignment a = {
        .leader_id = 1,
        .leader_epoch = leader_epoch,
        .partition_epoch = p->partition_epoch + 1,
        .membership = {1, both, 2, both, isr_count, 1, p->partition_epoch + 1},
        .config = p->config};

    partition_assign(p, &a);
    test_loop_run(&w.loop, 10);
}

/* What another replica may not have yet must not be told: it may be cut off by the leader of
 * tomorrow. */
static void
elected_coordinator_loads_until_the_watermark_reaches_the_log_end_of_its_election(void **state)
{
    struct node_ask ask = {0};
    struct partition *p;
    int64_t offset;
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("g", 1), KERR_NONE);
    p = partition_of("g");
    assign(p, p->leader_epoch, 2);
    send_commit(&ask, "g", 2);
    assert_int_equal(committed(&ask, 100), NO_ANSWER); /* node 2 does not fetch */
    assign(p, p->leader_epoch + 1, 2);
    assert_int_equal(committed(&ask, 100), KERR_NOT_COORDINATOR);
    assert_int_equal(fetch("g", &offset), KERR_COORDINATOR_LOAD_IN_PROGRESS);
    assert_int_equal(commit("g", 3), KERR_COORDINATOR_LOAD_IN_PROGRESS);
    test_loop_run(&w.loop, 1000);
    assert_int_equal(fetch("g", &offset), KERR_COORDINATOR_LOAD_IN_PROGRESS);
    assign(p, p->leader_epoch, 1); /* node 2 leaves the ISR */
    assert_int_equal(fetch("g", &offset), KERR_NONE);
    assert_int_equal(offset, 2);
    assert_int_equal(commit("g", 3), KERR_NONE);
    node_world_free(&w);
}

/* The group, its members' sessions and its waiting requests are another node's from now on. */
static void
coordinator_that_is_deposed_answers_not_coordinator_and_comes_back_with_all(void **state)
{
    struct partition_assignment following = {.leader_id = 2};
    static const int32_t both[] = {1, 2};
    struct node_ask joining = {0};
    struct partition *p;
    int64_t offset;
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("g", 1), KERR_NONE);
    p = partition_of("g");
    send_join(&joining, "g", "");
    test_loop_run(&w.loop, 10);
    following.leader_epoch = p->leader_epoch + 1;
    following.partition_epoch = p->partition_epoch + 1;
    following.membership =
        (struct isr_membership){1, both, 2, both, 2, 1, following.partition_epoch};
    following.config = p->config;
    partition_assign(p, &following);
    assert_int_equal(
        ((const struct join_group_response *)node_world_wait(&w, &joining, 100))->error_code,
        KERR_NOT_COORDINATOR);
    node_ask_free(&joining);
    assert_int_equal(fetch("g", &offset), KERR_NOT_COORDINATOR);
    assert_int_equal(heartbeat("g"), KERR_NOT_COORDINATOR);
    assign(p, p->leader_epoch + 1, 1);
    assert_int_equal(fetch_patiently("g"), 1);
    node_world_free(&w);
}

/* Ten commits in one turn of the loop are one batch in the log. */
static void commits_of_one_turn_share_an_append(void **state)
{
    struct node_ask asks[10] = {{{0}}};
    int64_t size_before, size_of_one;
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("g", 1), KERR_NONE);
    size_before = log_size_bytes(partition_of("g")->log);
    assert_int_equal(commit("g", 2), KERR_NONE);
    size_of_one = log_size_bytes(partition_of("g")->log) - size_before;
    size_before = log_size_bytes(partition_of("g")->log);
    for (int i = 0; i < 10; i++)
        send_commit(&asks[i], "g", 10 + i);
    for (int i = 0; i < 10; i++)
        assert_int_equal(committed(&asks[i], PATIENCE_MS), KERR_NONE);
    assert_true(log_size_bytes(partition_of("g")->log) - size_before <
                10 * size_of_one - 9 * (RECORD_BATCH_HEADER_BYTES - 12));
    assert_int_equal(fetch_patiently("g"), 19);
    node_world_free(&w);
}

/* What the largest batch of a partition's log takes. */
static size_t largest_batch(const struct partition *p)
{
    const struct log_read_args args = {.end_offset = log_end_offset(p->log), .max_bytes = SIZE_MAX};
    struct record_batches it;
    struct log_slice slice;
    struct bytes batch;
    uint8_t *records;
    size_t largest = 0;

    assert_int_equal(log_read(p->log, &args, &slice).code, KERR_NONE);
    records = malloc(slice.size);
    assert_int_equal(log_slice_read(&slice, 0, records, slice.size, NULL).code, KERR_NONE);
    it = record_batches((struct bytes){records, slice.size});
    while (record_batches_next(&it, &batch))
        largest = batch.size > largest ? batch.size : largest;
    log_slice_release(&slice);
    free(records);
    return largest;
}

/* So many partitions of "wide" from `first` on, with as many bytes of metadata each. */
static void send_wide_commit(struct node_ask *ask, const char *group, int32_t first,
                             size_t partitions, size_t metadata_bytes)
{
    struct offset_commit_request_partition *all = calloc(partitions, sizeof *all);
    char *metadata = malloc(metadata_bytes);
    struct offset_commit_request_topic topic;
    struct offset_commit_request m;

    memset(metadata, 'm', metadata_bytes);
    offset_commit_request_init(&m);
    offset_commit_request_topic_init(&topic);
    for (size_t i = 0; i < partitions; i++) {
        offset_commit_request_partition_init(&all[i]);
        all[i].partition_index = first + (int32_t)i;
        all[i].committed_metadata = (struct str){metadata, metadata_bytes};
    }
    topic.name = STR("wide");
    topic.partitions = all;
    topic.partitions_count = partitions;
    m.group_id = str_from(group);
    m.topics = &topic;
    m.topics_count = 1;
    node_world_send(&w, ask, API_OFFSET_COMMIT, 8, &m);
    free(all);
    free(metadata);
}

static void steps_share_a_batch_only_as_long_as_it_is_small(void **state)
{
    struct node_ask asks[6] = {{{0}}};
    (void)state;

    start();
    node_world_topic(&w, "wide", 100, NULL);
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("g", 1), KERR_NONE);
    for (int i = 0; i < 6; i++) /* 100 kB, 400 kB, … */
        send_wide_commit(&asks[i], "g", 0, 100, i % 2 ? 4000 : 1000);
    for (int i = 0; i < 6; i++)
        assert_int_equal(committed(&asks[i], PATIENCE_MS), KERR_NONE);
    assert_in_range(largest_batch(partition_of("g")), 400 * 1000, 512 * 1024);
    node_world_free(&w);
}

/* The tombstones of a group may come to more than a message may have: they are split. */
static void group_of_very_many_offsets_is_deleted_in_batches_of_a_messages_size(void **state)
{
    const struct delete_groups_response *answer;
    struct delete_groups_request m;
    struct str group = {NULL, 0};
    struct node_ask ask = {0};
    char name[4096];
    (void)state;

    memset(name, 'g', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    group = str_from(name);
    start();
    node_world_topic(&w, "wide", 700, NULL);
    assert_int_equal(find_coordinator(name), KERR_NONE);
    assert_int_equal(commit_patiently(name, 1), KERR_NONE);
    for (int i = 0; i < 7; i++) {
        struct node_ask wide = {0};

        send_wide_commit(&wide, name, 100 * i, 100, 0);
        assert_int_equal(committed(&wide, PATIENCE_MS), KERR_NONE);
    }
    delete_groups_request_init(&m);
    m.groups_names = &group;
    m.groups_names_count = 1;
    node_world_send(&w, &ask, API_DELETE_GROUPS, 1, &m);
    answer = node_world_wait(&w, &ask, PATIENCE_MS);
    assert_int_equal(answer->results[0].error_code, KERR_NONE);
    node_ask_free(&ask);
    assert_int_equal(list_groups(), 0);
    assert_in_range(largest_batch(partition_of(name)), GROUP_BATCH_BYTES_MAX / 2,
                    GROUP_BATCH_BYTES_MAX);
    node_world_free(&w);
}

static void commit_that_is_not_written_in_time_is_told_so(void **state)
{
    struct node_ask ask = {0};
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("g", 1), KERR_NONE);
    w.loop.pool_stuck = true; /* no flush, no commit */
    send_commit(&ask, "g", 2);
    assert_int_equal(committed(&ask, 4000), NO_ANSWER);
    assert_int_equal(committed(&ask, 3000), KERR_COORDINATOR_NOT_AVAILABLE);
    w.loop.pool_stuck = false;
    test_loop_run(&w.loop, 100);
    assert_int_equal(fetch_patiently("g"), 2); /* it was written all the same */
    assert_int_equal(commit_patiently("g", 3), KERR_NONE);
    node_world_free(&w);
}

static void failing_store_is_made_anew_and_nobody_loses_an_offset(void **state)
{
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(commit_patiently("g", 2 * i), KERR_NONE);
        state_store_sim_fail_after(w.state, (uint64_t)i, i % 2);
        assert_int_equal(commit_patiently("h", 2 * i + 1), KERR_NONE);
        assert_int_equal(fetch_patiently("g"), 2 * i);
        assert_int_equal(fetch_patiently("h"), 2 * i + 1);
    }
    node_world_free(&w);
}

/* What was committed first is in the store's files, what came then is not: a reset forgets it. */
static void commit_a_flushed_and_a_newer_offset(const char *group)
{
    assert_int_equal(find_coordinator(group), KERR_NONE);
    assert_int_equal(commit_patiently(group, 1), KERR_NONE);
    test_loop_run(&w.loop, 12 * 1000);
    assert_int_equal(state_store_sim_unflushed(w.state), 0);
    assert_int_equal(commit(group, 2), KERR_NONE);
}

static void offset_is_not_read_in_the_pool_from_a_store_that_was_reset_meanwhile(void **state)
{
    const struct offset_fetch_response *answer;
    struct node_ask ask = {0};
    (void)state;

    start();
    commit_a_flushed_and_a_newer_offset("g");
    w.loop.pool_stuck = true;
    state_home_failed(w.node->state_home, state_store_generation(w.state));
    test_loop_run(&w.loop, 2000); /* the reset waits for the pool, and behind it: */
    state_store_sim_set_would_block(w.state, 1000);
    send_fetch(&ask, "g");
    test_loop_run(&w.loop, 10);
    w.loop.pool_stuck = false;
    answer = node_world_wait(&w, &ask, PATIENCE_MS);
    assert_non_null(answer);
    assert_int_equal(answer->error_code, KERR_NOT_COORDINATOR);
    node_ask_free(&ask);
    assert_int_equal(fetch_patiently("g"), 2);
    node_world_free(&w);
}

/* The pool has reset it, and the shard is still to hear of that. */
static void offset_is_not_read_from_a_store_that_was_just_reset(void **state)
{
    struct state_store_report report;
    int64_t offset;
    (void)state;

    start();
    commit_a_flushed_and_a_newer_offset("g");
    assert_int_equal(state_store_reset(w.state, &report).code, KERR_NONE);
    assert_int_equal(fetch("g", &offset), KERR_NOT_COORDINATOR);
    for (size_t i = 0; i < NODE_WORLD_SHARDS; i++)
        coordinators_store_ready(w.node->shards[i], w.state);
    assert_int_equal(fetch_patiently("g"), 2);
    node_world_free(&w);
}

/* A group of the past would take commits of its generation, and write them. */
static void group_is_not_loaded_from_a_store_that_was_just_reset(void **state)
{
    struct state_store_report report;
    int64_t offset;
    (void)state;

    start();
    commit_a_flushed_and_a_newer_offset("g");
    node_world_stop(&w);
    node_world_start(&w);
    assert_int_equal(fetch_patiently("h"), NO_OFFSET); /* loaded, but for g */
    test_loop_run(&w.loop, 1000);
    for (unsigned would_block = 0; would_block <= 1000; would_block += 1000) {
        state_store_sim_set_would_block(w.state, would_block);
        assert_int_equal(state_store_reset(w.state, &report).code, KERR_NONE);
        assert_int_equal(fetch("g", &offset), KERR_NOT_COORDINATOR);
        for (size_t i = 0; i < NODE_WORLD_SHARDS; i++)
            coordinators_store_ready(w.node->shards[i], w.state);
        test_loop_run(&w.loop, 1000);
    }
    assert_int_equal(fetch_patiently("g"), 2);
    node_world_free(&w);
}

/* What a restart has to replay is bounded, however fast commits come. */
static void store_is_flushed_as_soon_as_there_is_much_to_replay(void **state)
{
    int64_t began_us;
    (void)state;

    start();
    node_world_topic(&w, "wide", 100, NULL);
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("g", 1), KERR_NONE);
    began_us = w.loop.now_us;
    for (int i = 0; i < 60; i++) { /* 400 kB each */
        struct node_ask ask = {0};

        send_wide_commit(&ask, "g", 0, 100, 4000);
        assert_int_equal(committed(&ask, PATIENCE_MS), KERR_NONE);
    }
    assert_true(w.loop.now_us - began_us < 500 * 1000);
    /* 8 MiB, and a few while they are flushed */
    assert_in_range(state_store_sim_unflushed(w.state), 0, 25);
    node_world_free(&w);
}

/* It may be of a newer version: that does not mend itself, and each try is an error in the log. */
static void store_that_cannot_be_opened_is_tried_less_and_less_often(void **state)
{
    int64_t offset;
    (void)state;

    start();
    w.state_opens_fail = 8;
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    test_loop_run(&w.loop, 130 * 1000);
    assert_int_equal(w.state_opens, 8); /* after 0, 1, 3, 7, 15, 31, 63 and 127 s */
    assert_int_equal(fetch("g", &offset), KERR_COORDINATOR_LOAD_IN_PROGRESS);
    test_loop_run(&w.loop, 130 * 1000);
    assert_int_equal(w.state_opens, 9);
    assert_int_equal(commit_patiently("g", 1), KERR_NONE);
    node_world_free(&w);
}

static void failing_disk_answers_not_coordinator(void **state)
{
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("g", 1), KERR_NONE);
    files_sim_fail(w.files, &(struct files_fault){.call = FILES_CALL_WRITE,
                                                  .prefix = "./trivet-data/__consumer_offsets",
                                                  .sys_errno = EIO});
    assert_int_equal(commit("g", 2), KERR_NOT_COORDINATOR);
    files_sim_heal(w.files);
    node_world_kill(&w);
    node_world_start(&w);
    assert_int_equal(fetch_patiently("g"), 1);
    node_world_free(&w);
}

static void client_that_goes_while_it_joins_is_forgotten(void **state)
{
    struct node_ask ask = {0};
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("h", 1), KERR_NONE);
    send_join(&ask, "g", "");
    test_loop_run(&w.loop, 100);
    assert_false(ask.answered); /* the initial rebalance delay */
    node_world_stop(&w);        /* answers it, to a node that goes */
    assert_true(ask.answered);
    node_ask_free(&ask);
    node_world_start(&w);
    assert_int_equal(fetch_patiently("h"), 1);
    node_world_free(&w);
}

static void offsets_expire_and_their_group_with_them(void **state)
{
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("g", 1), KERR_NONE);
    assert_int_equal(list_groups(), 1);
    test_loop_run(&w.loop, 30 * 1000);
    assert_int_equal(commit_patiently("h", 1), KERR_NONE);
    assert_int_equal(list_groups(), 2);
    test_loop_run(&w.loop, 45 * 1000);
    assert_int_equal(fetch_patiently("g"), NO_OFFSET);
    assert_int_equal(fetch_patiently("h"), 1);
    assert_int_equal(list_groups(), 1);
    test_loop_run(&w.loop, 45 * 1000);
    assert_int_equal(fetch_patiently("h"), NO_OFFSET);
    assert_int_equal(list_groups(), 0);
    node_world_free(&w);
}

/* As in Apache Kafka: it need not have committed anything. */
static void empty_group_without_offsets_goes_when_offsets_are_looked_through(void **state)
{
    struct node_ask ask = {0};
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("h", 1), KERR_NONE);
    send_join(&ask, "g", "");
    assert_int_equal(
        ((const struct join_group_response *)node_world_wait(&w, &ask, PATIENCE_MS))->error_code,
        KERR_NONE);
    node_ask_free(&ask);
    assert_int_equal(list_groups(), 2);
    test_loop_run(&w.loop, 30 * 1000); /* its session ends, then it is looked for */
    assert_int_equal(list_groups(), 1);
    node_world_free(&w);
}

/* Groups that nobody asks for leave memory, and come back from the store. */
static void groups_are_let_go_and_loaded_again(void **state)
{
    char group[16];
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    for (int i = 0; i < 100; i++) {
        snprintf(group, sizeof group, "g%d", i);
        assert_int_equal(commit_patiently(group, i), KERR_NONE);
    }
    assert_int_equal(list_groups(), 100);
    node_world_kill(&w);
    node_world_start(&w); /* nothing is in memory now */
    for (int i = 0; i < 100; i++) {
        snprintf(group, sizeof group, "g%d", i);
        assert_int_equal(fetch_patiently(group), i);
    }
    assert_int_equal(list_groups(), 100);
    node_world_free(&w);
}

static void everybody_is_swept(int times)
{
    for (size_t i = 0; i < NODE_WORLD_SHARDS; i++)
        for (int n = 0; n < times; n++)
            w.node->shards[i]->coordinators->sweep_timer.fire(
                &w.node->shards[i]->coordinators->sweep_timer);
}

/* It reads the store page by page, and then what is in memory: who leaves memory in between is in
 * neither place. */
static void list_of_groups_misses_none_that_could_be_let_go_meanwhile(void **state)
{
    (void)state;
    for (int rounds = 2; rounds < 7; rounds++) {
        const struct list_groups_response *answer;
        struct list_groups_request m;
        struct node_ask ask = {0};
        char group[16];

        node_world_init(&w);
        node_world_set(&w, "offsets.topic.num.partitions=4");
        node_world_start(&w);
        node_world_topic(&w, "orders", 1, NULL);
        assert_int_equal(find_coordinator("g"), KERR_NONE);
        for (int i = 0; i < 320; i++) { /* more than a page of some coordinator's */
            snprintf(group, sizeof group, "g%d", i);
            assert_int_equal(commit_patiently(group, i), KERR_NONE);
        }
        list_groups_request_init(&m);
        node_world_send(&w, &ask, API_LIST_GROUPS, 5, &m);
        for (int i = 0; i < rounds; i++)
            (void)test_loop_round(&w.loop);
        w.loop.now_us += 61 * 1000000; /* all were idle long enough */
        everybody_is_swept(5);
        while (test_loop_round(&w.loop) && !ask.answered)
            ;
        answer = node_world_wait(&w, &ask, PATIENCE_MS);
        assert_int_equal(answer->groups_count, 320);
        node_ask_free(&ask);
        node_world_free(&w);
    }
}

static void send_delete_topic(struct node_ask *ask, const char *topic)
{
    struct str name = str_from(topic);
    struct delete_topics_request m;

    delete_topics_request_init(&m);
    m.topic_names = &name;
    m.topic_names_count = 1;
    m.timeout_ms = 10000;
    node_world_send(&w, ask, API_DELETE_TOPICS, 5, &m);
}

static void topic_is_deleted(struct node_ask *ask)
{
    const struct delete_topics_response *answer = node_world_wait(&w, ask, PATIENCE_MS);

    assert_int_equal(answer->responses[0].error_code, KERR_NONE);
    node_ask_free(ask);
}

static void delete_topic(const char *topic)
{
    struct node_ask ask = {0};

    send_delete_topic(&ask, topic);
    topic_is_deleted(&ask);
}

/* As Apache Kafka does it; whoever commits to a topic of the same name afterwards begins anew. */
static void offsets_of_a_deleted_topic_go_at_once(void **state)
{
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(commit_patiently("g", i), KERR_NONE);
        assert_int_equal(commit_patiently("h", i), KERR_NONE);
        delete_topic("orders");
        test_loop_run(&w.loop, 500);
        assert_int_equal(fetch_patiently("g"), NO_OFFSET);
        assert_int_equal(fetch_patiently("h"), NO_OFFSET);
        assert_int_equal(commit("g", 1), KERR_UNKNOWN_TOPIC_OR_PARTITION);
        node_world_topic(&w, "orders", 1, NULL);
        assert_int_equal(commit_patiently("h", 100 + i), KERR_NONE);
        test_loop_run(&w.loop, 500);
        assert_int_equal(fetch_patiently("g"), NO_OFFSET);
        assert_int_equal(fetch_patiently("h"), 100 + i);
    }
    node_world_free(&w);
}

/* More groups than are looked at in one go, some in memory and some not. */
static void offsets_of_a_deleted_topic_go_from_very_many_groups(void **state)
{
    char group[16];
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    for (int i = 0; i < 600; i++) {
        snprintf(group, sizeof group, "g%d", i);
        assert_int_equal(commit_patiently(group, i), KERR_NONE);
    }
    node_world_kill(&w);
    node_world_start(&w); /* nothing is in memory now */
    for (int i = 0; i < 600; i += 7) {
        snprintf(group, sizeof group, "g%d", i);
        assert_int_equal(fetch_patiently(group), i);
    }
    delete_topic("orders");
    test_loop_run(&w.loop, 3000);
    for (int i = 0; i < 600; i++) {
        snprintf(group, sizeof group, "g%d", i);
        assert_int_equal(fetch_patiently(group), NO_OFFSET);
    }
    node_world_free(&w);
}

/* A commit that is in the log only when the topic goes is found all the same. */
static void offset_that_is_being_written_when_its_topic_goes_is_dropped_too(void **state)
{
    int came_in_time = 0;
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("h", 1), KERR_NONE);
    for (int rounds = 0; rounds < 60; rounds++) {
        struct node_ask deleting = {0}, committing = {0};
        int code;

        send_delete_topic(&deleting, "orders");
        for (int i = 0; i < rounds && test_loop_round(&w.loop); i++)
            ;
        send_commit(&committing, "g", 5);
        topic_is_deleted(&deleting);
        code = committed(&committing, PATIENCE_MS);
        assert_true(code == KERR_NONE || code == KERR_UNKNOWN_TOPIC_OR_PARTITION);
        came_in_time += code == KERR_NONE;
        test_loop_run(&w.loop, 500);
        assert_int_equal(fetch_patiently("g"), NO_OFFSET);
        assert_int_equal(fetch_patiently("h"), NO_OFFSET);
        node_world_topic(&w, "orders", 1, NULL);
    }
    assert_in_range(came_in_time, 1, 59);
    node_world_free(&w);
}

static void
crash_between_a_topics_deletion_and_the_tombstones_of_its_offsets_keeps_none(void **state)
{
    (void)state;

    start();
    node_world_topic(&w, "kept", 1, NULL);
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("g", 7), KERR_NONE);
    files_sim_fail(w.files, &(struct files_fault){.call = FILES_CALL_WRITE,
                                                  .prefix = "./trivet-data/__consumer_offsets",
                                                  .sys_errno = EIO});
    delete_topic("orders");
    node_world_kill(&w);
    files_sim_heal(w.files);
    node_world_start(&w);
    (void)fetch_patiently("g");
    test_loop_run(&w.loop, 1000);
    assert_int_equal(fetch_patiently("g"), NO_OFFSET);
    node_world_topic(&w, "orders", 1, NULL);
    assert_int_equal(fetch_patiently("g"), NO_OFFSET);
    assert_int_equal(commit_patiently("g", 8), KERR_NONE);
    node_world_kill(&w);
    node_world_start(&w);
    (void)fetch_patiently("g");
    test_loop_run(&w.loop, 1000);
    assert_int_equal(fetch_patiently("g"), 8); /* its topic is there */
    node_world_free(&w);
}

static void send_grow_topic(struct node_ask *ask, const char *topic, int32_t partitions)
{
    struct create_partitions_request_topic grown;
    struct create_partitions_request m;

    create_partitions_request_init(&m);
    create_partitions_request_topic_init(&grown);
    grown.name = str_from(topic);
    grown.count = partitions;
    grown.assignments = NULL;
    m.topics = &grown;
    m.topics_count = 1;
    m.timeout_ms = 10000;
    node_world_send(&w, ask, API_CREATE_PARTITIONS, 3, &m);
}

static void topic_is_grown(struct node_ask *ask)
{
    const struct create_partitions_response *answer = node_world_wait(&w, ask, PATIENCE_MS);

    assert_int_equal(answer->results[0].error_code, KERR_NONE);
    node_ask_free(ask);
}

static void group_of_another_shard(char *group)
{
    const struct metadata_topic *topic =
        metadata_image_topic(w.node->shards[0]->image, TOPIC_CONSUMER_OFFSETS);

    do
        assert_true(++group[0] <= 'z'); /* requests come in on shard 0 */
    while (node_shard_of(w.node, topic->id,
                         internal_topic_partition_of(str_from(group), topic->partition_count)) ==
           0);
}

/* Each image frees what only the one before it had, names too, on all shards: also while a commit
 * is between two of them. */
static void commit_may_be_on_its_way_while_its_topic_changes(void **state)
{
    char group[] = "a";
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    test_loop_run(&w.loop, 1000);
    group_of_another_shard(group);
    for (int rounds = 0; rounds < 40; rounds++) {
        struct node_ask growing = {0}, committing = {0};

        assert_int_equal(commit_patiently(group, 1000), KERR_NONE);
        send_grow_topic(&growing, "orders", 2 + rounds);
        for (int i = 0; i < rounds && test_loop_round(&w.loop); i++)
            ;
        send_commit(&committing, group, rounds);
        assert_int_equal(committed(&committing, PATIENCE_MS), KERR_NONE);
        assert_int_equal(fetch_patiently(group), rounds);
        topic_is_grown(&growing);
    }
    node_world_free(&w);
}

static void deleted_offsets_topic_takes_its_groups_along(void **state)
{
    struct node_ask joining = {0};
    int64_t offset;
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("g", 1), KERR_NONE);
    send_join(&joining, "j", "");
    delete_topic("__consumer_offsets");
    assert_int_equal(
        ((const struct join_group_response *)node_world_wait(&w, &joining, PATIENCE_MS))
            ->error_code,
        KERR_NOT_COORDINATOR);
    node_ask_free(&joining);
    assert_int_equal(fetch("g", &offset), KERR_NOT_COORDINATOR);
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(fetch_patiently("g"), NO_OFFSET);
    assert_int_equal(commit_patiently("g", 7), KERR_NONE);
    assert_int_equal(fetch_patiently("g"), 7);
    node_world_free(&w);
}

static void groups_of_all_shards_are_described_in_the_order_asked(void **state)
{
    const struct describe_groups_response *answer;
    struct describe_groups_request m;
    struct str names[40];
    struct node_ask ask = {0};
    char text[40][8];
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    for (int i = 0; i < 40; i++) {
        snprintf(text[i], sizeof text[i], "g%d", i);
        names[i] = str_from(text[i]);
        if (i % 2)
            assert_int_equal(commit_patiently(text[i], i), KERR_NONE);
    }
    describe_groups_request_init(&m);
    m.groups = names;
    m.groups_count = 40;
    node_world_send(&w, &ask, API_DESCRIBE_GROUPS, 6, &m);
    answer = node_world_wait(&w, &ask, PATIENCE_MS);
    assert_non_null(answer);
    assert_int_equal(answer->groups_count, 40);
    for (int i = 0; i < 40; i++) {
        assert_true(str_equal(answer->groups[i].group_id, names[i]));
        assert_int_equal(answer->groups[i].error_code, i % 2 ? KERR_NONE : KERR_GROUP_ID_NOT_FOUND);
        assert_true(str_equal(answer->groups[i].group_state, i % 2 ? STR("Empty") : STR("Dead")));
    }
    node_ask_free(&ask);
    node_world_free(&w);
}

static void doubt(void)
{
    atomic_store(&w.node->trusted_until_us, clock_monotonic_us(&w.loop.clock));
}

/* Paused or cut off for a session it may have been replaced: its members are sent to ask somebody
 * else. */
static void coordinator_in_doubt_sends_its_members_away(void **state)
{
    struct second_broker other = {0};
    int64_t offset;
    (void)state;

    start();
    second_broker_register(&other, &w);
    second_broker_live(&other, 100);
    second_broker_topic(&other, "__consumer_offsets", NULL);
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(fetch("g", &offset), KERR_NONE);
    doubt();
    assert_int_equal(find_coordinator("g"), KERR_COORDINATOR_NOT_AVAILABLE);
    doubt();
    assert_int_equal(fetch("g", &offset), KERR_NOT_COORDINATOR);
    doubt();
    assert_int_equal(commit("g", 1), KERR_NOT_COORDINATOR);
    second_broker_live(&other, 600); /* this node's heartbeats are heard too */
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(fetch("g", &offset), KERR_NONE);
    node_world_free(&w);
}

/* Nobody else has the only replica. */
static void coordinator_without_other_replicas_has_no_doubts(void **state)
{
    (void)state;

    start();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    assert_int_equal(commit_patiently("g", 1), KERR_NONE);
    doubt();
    assert_int_equal(find_coordinator("g"), KERR_NONE);
    doubt();
    assert_int_equal(commit("g", 2), KERR_NONE);
    node_world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coordinator_in_doubt_sends_its_members_away),
        cmocka_unit_test(coordinator_without_other_replicas_has_no_doubts),
        cmocka_unit_test(first_group_that_is_looked_for_makes_the_topic),
        cmocka_unit_test(restarted_coordinator_says_that_it_loads_until_its_log_is_applied),
        cmocka_unit_test(
            elected_coordinator_loads_until_the_watermark_reaches_the_log_end_of_its_election),
        cmocka_unit_test(
            coordinator_that_is_deposed_answers_not_coordinator_and_comes_back_with_all),
        cmocka_unit_test(commits_of_one_turn_share_an_append),
        cmocka_unit_test(steps_share_a_batch_only_as_long_as_it_is_small),
        cmocka_unit_test(group_of_very_many_offsets_is_deleted_in_batches_of_a_messages_size),
        cmocka_unit_test(commit_that_is_not_written_in_time_is_told_so),
        cmocka_unit_test(failing_store_is_made_anew_and_nobody_loses_an_offset),
        cmocka_unit_test(offset_is_not_read_in_the_pool_from_a_store_that_was_reset_meanwhile),
        cmocka_unit_test(offset_is_not_read_from_a_store_that_was_just_reset),
        cmocka_unit_test(group_is_not_loaded_from_a_store_that_was_just_reset),
        cmocka_unit_test(store_is_flushed_as_soon_as_there_is_much_to_replay),
        cmocka_unit_test(store_that_cannot_be_opened_is_tried_less_and_less_often),
        cmocka_unit_test(failing_disk_answers_not_coordinator),
        cmocka_unit_test(client_that_goes_while_it_joins_is_forgotten),
        cmocka_unit_test(offsets_expire_and_their_group_with_them),
        cmocka_unit_test(empty_group_without_offsets_goes_when_offsets_are_looked_through),
        cmocka_unit_test(groups_are_let_go_and_loaded_again),
        cmocka_unit_test(list_of_groups_misses_none_that_could_be_let_go_meanwhile),
        cmocka_unit_test(offsets_of_a_deleted_topic_go_at_once),
        cmocka_unit_test(offsets_of_a_deleted_topic_go_from_very_many_groups),
        cmocka_unit_test(offset_that_is_being_written_when_its_topic_goes_is_dropped_too),
        cmocka_unit_test(
            crash_between_a_topics_deletion_and_the_tombstones_of_its_offsets_keeps_none),
        cmocka_unit_test(commit_may_be_on_its_way_while_its_topic_changes),
        cmocka_unit_test(deleted_offsets_topic_takes_its_groups_along),
        cmocka_unit_test(groups_of_all_shards_are_described_in_the_order_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
