#include "tests/unit/replication/single_node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replication/quorum_state.h"
#include "replication/snapshot_file.h"

static int set_up(void **state)
{
    struct single *s = single_new(NULL);

    assert_int_equal(single_format(s, (const char *const[]){"feature"}, 1).code, KERR_NONE);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    single_free(*state);
    return 0;
}

/* ---- the life of a quorum of one ---- */

static void only_voter_leads_without_a_timer(void **state)
{
    struct single *s = *state;

    single_start(s);
    test_loop_run(&s->loop, 0);
    assert_string_equal(s->told, "leader(1,-1) {0-0 feature } leader(1,100,us) ");
    /* LEADER_CHANGE, KRAFT_VERSION, KRAFT_VOTERS: the voters were never in the log before. */
    assert_int_equal(raft_node_high_watermark(s->node), 3);
    assert_int_equal(raft_node_leader_id(s->node), 100);
}

static void appended_records_come_back_when_flushed(void **state)
{
    struct single *s = *state;

    single_start_and_lead(s);
    s->told[0] = '\0';
    assert_int_equal(single_append(s, "a"), 3);
    s->loop.pool_stuck = true;
    test_loop_run(&s->loop, 5);
    assert_string_equal(s->told, "");
    s->loop.pool_stuck = false;
    test_loop_run(&s->loop, 0);
    assert_string_equal(s->told, "3-3@1:a ");
    assert_int_equal(s->caught_up, 4);
}

static void records_appended_during_a_flush_share_the_next_one(void **state)
{
    struct single *s = *state;
    size_t before;

    single_start_and_lead(s);
    s->told[0] = '\0';
    before = s->loop.jobs_run;
    single_append(s, "a");
    single_append(s, "b");
    single_append(s, "c");
    test_loop_run(&s->loop, 0);
    assert_string_equal(s->told, "3-3@1:a 4-4@1:b 5-5@1:c ");
    assert_true(s->loop.jobs_run - before <= 2);
}

static void restart_leads_the_next_epoch_and_tells_all_again(void **state)
{
    struct single *s = *state;

    for (int round = 0; round < 3; round++) {
        single_start_and_lead(s);
        if (round == 0) {
            single_append(s, "a");
            single_append(s, "b");
        }
        test_loop_run(&s->loop, 0);
        if (round < 2)
            single_stop(s, round == 0);
    }
    /* The leader changes of epochs 2 and 3 are records 5 and 6; the voters are not written
     * again. */
    assert_string_equal(s->told, "leader(3,-1) {0-0 feature } 3-3@1:a 4-4@1:b leader(3,100,us) ");
    assert_int_equal(raft_node_high_watermark(s->node), 7);
}

static void changed_endpoint_is_written_to_the_voters(void **state)
{
    struct single *s = *state;
    struct raft_endpoint moved = {STR("CONTROLLER"), STR("10.0.0.1"), 9999};

    single_start_and_lead(s);
    single_stop(s, true);
    s->args.endpoints = &moved;
    s->args.endpoint_count = 1;
    single_start_and_lead(s);
    assert_int_equal(voter_set_at(raft_node_voters(s->node), 0)->endpoints[0].port, 9999);
    assert_int_equal(raft_node_high_watermark(s->node), 6);
    single_stop(s, true);
    single_start_and_lead(s); /* read back from the log */
    assert_int_equal(voter_set_at(raft_node_voters(s->node), 0)->endpoints[0].port, 9999);
    assert_int_equal(raft_node_high_watermark(s->node), 7);
}

static void resigned_only_voter_leads_the_next_epoch(void **state)
{
    struct single *s = *state;

    single_start_and_lead(s);
    s->told[0] = '\0';
    raft_node_resign(s->node, 1);
    test_loop_run(&s->loop, 1000);
    assert_true(s->leads);
    assert_int_equal(s->epoch, 2);
}

static void election_that_is_not_durable_commits_nothing(void **state)
{
    struct single *s = *state;

    single_start(s);
    s->loop.pool_stuck = true;
    test_loop_run(&s->loop, 50);
    assert_false(s->leads);
    assert_int_equal(raft_node_high_watermark(s->node), 0);
    s->loop.reorder = true; /* the log's flush ends before quorum-state is written */
    s->loop.pool_stuck = false;
    test_loop_run(&s->loop, 0);
    assert_true(s->leads);
}

/* ---- appending ---- */

static void append_of_another_epoch_is_refused(void **state)
{
    struct single *s = *state;
    struct bytes v = {(const uint8_t *)"a", 1};
    int64_t last = -1;

    single_start(s);
    assert_int_equal(raft_node_append(s->node, 1, &v, 1, true, &last).code, KERR_NOT_CONTROLLER);
    test_loop_run(&s->loop, 0);
    assert_int_equal(raft_node_append(s->node, 0, &v, 1, true, &last).code, KERR_NOT_CONTROLLER);
    assert_int_equal(raft_node_append(s->node, 2, &v, 1, true, &last).code, KERR_NOT_CONTROLLER);
    assert_int_equal(last, -1);
    assert_int_equal(raft_node_end_offset(s->node), 3);
}

static void values_past_one_batch_are_refused_atomically_and_spread_otherwise(void **state)
{
    struct single *s = *state;
    size_t size = 3 * 1024 * 1024;
    uint8_t *big = calloc(1, RAFT_BATCH_BYTES_MAX);
    struct bytes values[3] = {{big, size}, {big, size}, {big, size}};
    struct bytes huge = {big, RAFT_BATCH_BYTES_MAX};
    int64_t last = -1;

    assert_non_null(big);
    memset(big, 'x', RAFT_BATCH_BYTES_MAX);
    s->args.segment_bytes = 1 << 30;
    single_start_and_lead(s);
    s->told[0] = '\0';
    assert_int_equal(raft_node_append(s->node, 1, values, 3, true, &last).code,
                     KERR_RECORD_LIST_TOO_LARGE);
    assert_int_equal(raft_node_append(s->node, 1, &huge, 1, false, &last).code,
                     KERR_RECORD_LIST_TOO_LARGE);
    assert_int_equal(raft_node_end_offset(s->node), 3);
    assert_int_equal(raft_node_append(s->node, 1, values, 3, false, &last).code, KERR_NONE);
    assert_int_equal(last, 5);
    test_loop_run(&s->loop, 0);
    assert_string_equal(
        s->told, "3-4@1:xxxxxxxxxxxxxxxxxxxx,xxxxxxxxxxxxxxxxxxxx 5-5@1:xxxxxxxxxxxxxxxxxxxx ");
    free(big);
}

/* ---- bad directories ---- */

static void unformatted_directory_is_refused(void **state)
{
    struct single *s = *state;

    assert_int_equal(files_remove_tree(s->files, s->directory).code, KERR_NONE);
    assert_int_equal(single_open(s).code, KERR_INCONSISTENT_VOTER_SET);
}

static void formatted_directory_is_not_formatted_again(void **state)
{
    struct single *s = *state;
    struct status st = single_format(s, NULL, 0);

    assert_int_equal(st.sys_errno, EEXIST);
}

static void write_file(struct single *s, const char *name, const char *text)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", s->directory, name);
    assert_int_equal(
        files_replace(s->files, path, (struct bytes){(const uint8_t *)text, strlen(text)}).code,
        KERR_NONE);
}

static void damaged_quorum_state_is_refused(void **state)
{
    struct single *s = *state;

    write_file(s, "quorum-state", "{\"leaderId\":1");
    assert_int_equal(single_open(s).code, KERR_CORRUPT_MESSAGE);
    write_file(s, "quorum-state",
               "{\"leaderId\":1,\"leaderEpoch\":1,\"votedId\":-1,\"data_version\":2}");
    assert_int_equal(single_open(s).code, KERR_UNSUPPORTED_VERSION);
    /* It was once what a peer said; the next election would count beyond it. */
    write_file(s, "quorum-state",
               "{\"leaderId\":-1,\"leaderEpoch\":2147483647,\"votedId\":-1,\"votedDirectoryId\":"
               "\"AAAAAAAAAAAAAAAAAAAAAA\",\"data_version\":1}");
    assert_int_equal(single_open(s).code, KERR_CORRUPT_MESSAGE);
}

static void damaged_snapshot_is_refused(void **state)
{
    struct single *s = *state;

    write_file(s, "00000000000000000000-0000000000.checkpoint", "not a batch");
    assert_int_equal(single_open(s).code, KERR_CORRUPT_MESSAGE);
}

static void newer_epoch_of_quorum_state_is_kept(void **state)
{
    struct single *s = *state;

    write_file(s, "quorum-state",
               "{\"leaderId\":-1,\"leaderEpoch\":7,\"votedId\":100,\"votedDirectoryId\":"
               "\"AAAAAAAAAAAAAAAAAAAAAA\",\"data_version\":1}");
    single_start_and_lead(s);
    assert_int_equal(s->epoch, 8);
}

/* ---- snapshots ---- */

static void restart_begins_with_the_newest_snapshot(void **state)
{
    struct single *s = *state;
    struct single_snapshot call;

    single_start_and_lead(s);
    single_append(s, "a");
    single_append(s, "b");
    test_loop_run(&s->loop, 0);
    assert_int_equal(single_take_snapshot(s, &call, 4).code, KERR_NONE);
    /* one is under way */
    assert_int_equal(single_take_snapshot(s, &(struct single_snapshot){0}, 4).code,
                     KERR_INVALID_REQUEST);
    test_loop_run(&s->loop, 0);
    assert_int_equal(call.done, 1);
    assert_int_equal(call.result.code, KERR_NONE);
    assert_int_equal(raft_node_latest_snapshot(s->node).end_offset, 4);
    /* there is one */
    assert_int_equal(single_take_snapshot(s, &(struct single_snapshot){0}, 4).code,
                     KERR_INVALID_REQUEST);
    assert_int_equal(single_take_snapshot(s, &(struct single_snapshot){0}, 99).code,
                     KERR_INVALID_REQUEST);
    single_stop(s, true);
    single_start_and_lead(s);
    assert_string_equal(s->told, "leader(2,-1) {4-1 state,state } 4-4@1:b leader(2,100,us) ");
}

static void old_snapshots_and_segments_go_when_retention_says_so(void **state)
{
    struct single *s = *state;
    struct single_snapshot call;

    s->args.retention_bytes = 1000;
    s->args.segment_bytes = 300;
    single_start_and_lead(s);
    for (int i = 0; i < 20; i++) {
        single_append(s, "a record of some length, so that segments roll");
        test_loop_run(&s->loop, 0);
    }
    assert_int_equal(raft_node_start_offset(s->node), 0);
    assert_int_equal(single_take_snapshot(s, &call, 20).code, KERR_NONE);
    test_loop_run(&s->loop, 0);
    assert_int_equal(call.result.code, KERR_NONE);
    assert_int_equal(raft_node_start_offset(s->node), 20);
    single_stop(s, true);
    single_start_and_lead(s);
    assert_int_equal(raft_node_start_offset(s->node), 20);
    assert_int_equal(raft_node_latest_snapshot(s->node).end_offset, 20);
}

static void failed_snapshot_source_leaves_the_old_one(void **state)
{
    struct single *s = *state;
    struct single_snapshot call;
    struct raft_snapshot_id ids[SNAPSHOTS_MAX];
    size_t count;

    single_start_and_lead(s);
    single_append(s, "a");
    test_loop_run(&s->loop, 0);
    assert_int_equal(single_take_snapshot(s, &call, 4).code, KERR_NONE);
    files_remove_tree(s->files, s->directory); /* nowhere to write */
    test_loop_run(&s->loop, 0);
    assert_int_equal(call.done, 1);
    assert_int_not_equal(call.result.code, KERR_NONE);
    assert_int_equal(raft_node_latest_snapshot(s->node).end_offset, 0);
    assert_int_equal(snapshot_list(s->files, s->directory, ids, &count).code, KERR_NONE);
    assert_int_equal(count, 0);
}

static void stop_in_the_midst_of_work_waits_for_it(void **state)
{
    struct single *s = *state;

    single_start(s);
    s->loop.pool_stuck = true;
    test_loop_run(&s->loop, 1);
    raft_node_stop(s->node, single_on_stopped, s);
    test_loop_run(&s->loop, 10);
    assert_false(s->stopped);
    s->loop.pool_stuck = false;
    test_loop_run(&s->loop, 1);
    assert_true(s->stopped);
    assert_int_equal(raft_node_close(s->node, true).code, KERR_NONE);
    s->node = NULL;
}

#define NODE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NODE_TEST(only_voter_leads_without_a_timer),
        NODE_TEST(appended_records_come_back_when_flushed),
        NODE_TEST(records_appended_during_a_flush_share_the_next_one),
        NODE_TEST(restart_leads_the_next_epoch_and_tells_all_again),
        NODE_TEST(changed_endpoint_is_written_to_the_voters),
        NODE_TEST(resigned_only_voter_leads_the_next_epoch),
        NODE_TEST(election_that_is_not_durable_commits_nothing),
        NODE_TEST(append_of_another_epoch_is_refused),
        NODE_TEST(values_past_one_batch_are_refused_atomically_and_spread_otherwise),
        NODE_TEST(unformatted_directory_is_refused),
        NODE_TEST(formatted_directory_is_not_formatted_again),
        NODE_TEST(damaged_quorum_state_is_refused),
        NODE_TEST(damaged_snapshot_is_refused),
        NODE_TEST(newer_epoch_of_quorum_state_is_kept),
        NODE_TEST(restart_begins_with_the_newest_snapshot),
        NODE_TEST(old_snapshots_and_segments_go_when_retention_says_so),
        NODE_TEST(failed_snapshot_source_leaves_the_old_one),
        NODE_TEST(stop_in_the_midst_of_work_waits_for_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
