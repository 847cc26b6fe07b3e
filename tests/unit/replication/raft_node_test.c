#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replication/quorum_state.h"
#include "replication/raft_node.h"
#include "replication/snapshot_file.h"
#include "storage/files_real.h"
#include "tests/unit/replication/test_loop.h"

/* A quorum of one with a state machine that remembers all it is told. */
struct single {
    struct test_loop loop;
    struct files *files;
    char directory[64];
    struct raft_node *node;
    struct raft_node_args args;
    struct log_recovery_report report;
    char told[16384]; /* a line of events */
    int32_t epoch;
    bool leads;
    int64_t caught_up;
    bool stopped;
    struct status failure;
};

static void tell(struct single *s, const char *format, ...)
{
    size_t used = strlen(s->told);
    va_list args;

    va_start(args, format);
    vsnprintf(s->told + used, sizeof s->told - used, format, args);
    va_end(args);
}

static void tell_values(struct single *s, const struct bytes *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tell(s, "%s%.*s", i ? "," : "", (int)(values[i].size < 20 ? values[i].size : 20), (const char *)values[i].data);
    tell(s, " ");
}

static void on_snapshot_begin(void *arg, struct raft_snapshot_id id, int64_t timestamp_ms)
{
    (void)timestamp_ms;
    tell(arg, "{%d-%d ", (int)id.end_offset, (int)id.epoch);
}

static void on_snapshot_records(void *arg, const struct bytes *values, size_t count)
{
    tell_values(arg, values, count);
}

static void on_snapshot_end(void *arg)
{
    tell(arg, "} ");
}

static void on_commit(void *arg, const struct raft_commit *c)
{
    tell(arg, "%d-%d@%d:", (int)c->base_offset, (int)c->last_offset, (int)c->epoch);
    tell_values(arg, c->values, c->count);
}

static void on_caught_up(void *arg, int64_t next_offset)
{
    ((struct single *)arg)->caught_up = next_offset;
}

static void on_leader_change(void *arg, int32_t epoch, int32_t leader_id, bool we_lead)
{
    struct single *s = arg;

    s->epoch = epoch;
    s->leads = we_lead;
    tell(s, "leader(%d,%d%s) ", (int)epoch, (int)leader_id, we_lead ? ",us" : "");
}

static void on_failed(void *arg, struct status why)
{
    ((struct single *)arg)->failure = why;
}

static const struct raft_replica_key self = {.id = 100, .directory_id = {{7}}};

static struct status format(struct single *s, const char *const *values, size_t count)
{
    struct raft_endpoint endpoint = {STR("CONTROLLER"), STR("127.0.0.1"), 9093};
    struct raft_voter voter = {.key = self, .endpoints = &endpoint, .endpoint_count = 1, .kraft_version_max = 1};
    struct bytes spans[8];

    for (size_t i = 0; i < count; i++)
        spans[i] = (struct bytes){(const uint8_t *)values[i], strlen(values[i])};
    return raft_node_format(&(struct raft_format_args){.files = s->files, .clock = &s->loop.clock,
        .directory = s->directory, .voters = &voter, .voter_count = 1, .values = spans, .count = count});
}

static struct status open_node(struct single *s)
{
    s->told[0] = '\0';
    s->leads = false;
    s->failure = STATUS_OK;
    s->stopped = false;
    return raft_node_open(&s->args, &s->node, &s->report);
}

static int set_up(void **state)
{
    struct single *s = calloc(1, sizeof *s);

    assert_non_null(s);
    test_loop_init(&s->loop);
    assert_int_equal(files_real_create(0, &s->files).code, KERR_NONE);
    strcpy(s->directory, "/tmp/raft_node_test.XXXXXX");
    assert_non_null(mkdtemp(s->directory));
    strcat(s->directory, "/__cluster_metadata-0");
    s->args = (struct raft_node_args){
        .loop = &s->loop.loop,
        .pool = &s->loop.pool,
        .files = s->files,
        .random = &s->loop.random,
        .directory = s->directory,
        .self = self,
        .cluster_id = STR("cluster"),
        .trust = LOG_TRUST_SAME_BOOT,
        .timeouts = {.election_ms = 500, .fetch_ms = 1000, .request_ms = 2000, .retry_backoff_ms = 20},
        .segment_bytes = 1 << 20,
        .segment_ms = INT64_MAX,
        .retention_bytes = -1,
        .retention_ms = -1,
        .listener = {.arg = s,
                     .snapshot_begin = on_snapshot_begin,
                     .snapshot_records = on_snapshot_records,
                     .snapshot_end = on_snapshot_end,
                     .commit = on_commit,
                     .caught_up = on_caught_up,
                     .leader_change = on_leader_change,
                     .failed = on_failed},
    };
    assert_int_equal(format(s, (const char *const[]){"feature"}, 1).code, KERR_NONE);
    *state = s;
    return 0;
}

static void on_stopped(void *arg)
{
    ((struct single *)arg)->stopped = true;
}

static void stop(struct single *s, bool clean)
{
    raft_node_stop(s->node, on_stopped, s);
    test_loop_run(&s->loop, 1);
    assert_true(s->stopped);
    assert_int_equal(raft_node_close(s->node, clean).code, KERR_NONE);
    s->node = NULL;
}

static int tear_down(void **state)
{
    struct single *s = *state;

    if (s->node)
        stop(s, false);
    *strrchr(s->directory, '/') = '\0';
    files_remove_tree(s->files, s->directory);
    files_real_free(s->files);
    free(s);
    return 0;
}

static void start(struct single *s)
{
    struct status st = open_node(s);

    assert_int_equal(st.code, KERR_NONE);
    raft_node_start(s->node);
}

static void start_and_lead(struct single *s)
{
    start(s);
    test_loop_run(&s->loop, 0);
    assert_true(s->leads);
}

static struct status append(struct single *s, const char *value, int64_t *last)
{
    struct bytes v = {(const uint8_t *)value, strlen(value)};

    return raft_node_append(s->node, s->epoch, &v, 1, true, last);
}

static int64_t append_one(struct single *s, const char *value)
{
    int64_t last = -1;

    assert_int_equal(append(s, value, &last).code, KERR_NONE);
    return last;
}

/* ---- the life of a quorum of one ---- */

static void only_voter_leads_without_a_timer(void **state)
{
    struct single *s = *state;

    start(s);
    test_loop_run(&s->loop, 0);
    assert_string_equal(s->told, "leader(1,-1) {0-0 feature } leader(1,100,us) ");
    /* LEADER_CHANGE, KRAFT_VERSION, KRAFT_VOTERS: the voters were never in the log before. */
    assert_int_equal(raft_node_high_watermark(s->node), 3);
    assert_int_equal(raft_node_leader_id(s->node), 100);
}

static void appended_records_come_back_when_flushed(void **state)
{
    struct single *s = *state;

    start_and_lead(s);
    s->told[0] = '\0';
    assert_int_equal(append_one(s, "a"), 3);
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

    start_and_lead(s);
    s->told[0] = '\0';
    before = s->loop.jobs_run;
    append_one(s, "a");
    append_one(s, "b");
    append_one(s, "c");
    test_loop_run(&s->loop, 0);
    assert_string_equal(s->told, "3-3@1:a 4-4@1:b 5-5@1:c ");
    assert_true(s->loop.jobs_run - before <= 2);
}

static void restart_leads_the_next_epoch_and_tells_all_again(void **state)
{
    struct single *s = *state;

    for (int round = 0; round < 3; round++) {
        start_and_lead(s);
        if (round == 0) {
            append_one(s, "a");
            append_one(s, "b");
        }
        test_loop_run(&s->loop, 0);
        if (round < 2)
            stop(s, round == 0);
    }
    /* The leader changes of epochs 2 and 3 are records 5 and 6; the voters are not written again. */
    assert_string_equal(s->told,
                        "leader(3,-1) {0-0 feature } 3-3@1:a 4-4@1:b leader(3,100,us) ");
    assert_int_equal(raft_node_high_watermark(s->node), 7);
}

static void changed_endpoint_is_written_to_the_voters(void **state)
{
    struct single *s = *state;
    struct raft_endpoint moved = {STR("CONTROLLER"), STR("10.0.0.1"), 9999};

    start_and_lead(s);
    stop(s, true);
    s->args.endpoints = &moved;
    s->args.endpoint_count = 1;
    start_and_lead(s);
    assert_int_equal(voter_set_at(raft_node_voters(s->node), 0)->endpoints[0].port, 9999);
    assert_int_equal(raft_node_high_watermark(s->node), 6);
    stop(s, true);
    start_and_lead(s); /* read back from the log */
    assert_int_equal(voter_set_at(raft_node_voters(s->node), 0)->endpoints[0].port, 9999);
    assert_int_equal(raft_node_high_watermark(s->node), 7);
}

static void resigned_only_voter_leads_the_next_epoch(void **state)
{
    struct single *s = *state;

    start_and_lead(s);
    s->told[0] = '\0';
    raft_node_resign(s->node, 1);
    test_loop_run(&s->loop, 1000);
    assert_true(s->leads);
    assert_int_equal(s->epoch, 2);
}

static void election_that_is_not_durable_commits_nothing(void **state)
{
    struct single *s = *state;

    start(s);
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

    start(s);
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
    start_and_lead(s);
    s->told[0] = '\0';
    assert_int_equal(raft_node_append(s->node, 1, values, 3, true, &last).code, KERR_RECORD_LIST_TOO_LARGE);
    assert_int_equal(raft_node_append(s->node, 1, &huge, 1, false, &last).code, KERR_RECORD_LIST_TOO_LARGE);
    assert_int_equal(raft_node_end_offset(s->node), 3);
    assert_int_equal(raft_node_append(s->node, 1, values, 3, false, &last).code, KERR_NONE);
    assert_int_equal(last, 5);
    test_loop_run(&s->loop, 0);
    assert_string_equal(s->told, "3-4@1:xxxxxxxxxxxxxxxxxxxx,xxxxxxxxxxxxxxxxxxxx 5-5@1:xxxxxxxxxxxxxxxxxxxx ");
    free(big);
}

/* ---- bad directories ---- */

static void unformatted_directory_is_refused(void **state)
{
    struct single *s = *state;

    assert_int_equal(files_remove_tree(s->files, s->directory).code, KERR_NONE);
    assert_int_equal(open_node(s).code, KERR_INCONSISTENT_VOTER_SET);
}

static void formatted_directory_is_not_formatted_again(void **state)
{
    struct single *s = *state;
    struct status st = format(s, NULL, 0);

    assert_int_equal(st.sys_errno, EEXIST);
}

static void write_file(struct single *s, const char *name, const char *text)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", s->directory, name);
    assert_int_equal(
        files_replace(s->files, path, (struct bytes){(const uint8_t *)text, strlen(text)}).code, KERR_NONE);
}

static void damaged_quorum_state_is_refused(void **state)
{
    struct single *s = *state;

    write_file(s, "quorum-state", "{\"leaderId\":1");
    assert_int_equal(open_node(s).code, KERR_CORRUPT_MESSAGE);
    write_file(s, "quorum-state", "{\"leaderId\":1,\"leaderEpoch\":1,\"votedId\":-1,\"data_version\":2}");
    assert_int_equal(open_node(s).code, KERR_UNSUPPORTED_VERSION);
}

static void damaged_snapshot_is_refused(void **state)
{
    struct single *s = *state;

    write_file(s, "00000000000000000000-0000000000.checkpoint", "not a batch");
    assert_int_equal(open_node(s).code, KERR_CORRUPT_MESSAGE);
}

static void newer_epoch_of_quorum_state_is_kept(void **state)
{
    struct single *s = *state;

    write_file(s, "quorum-state",
               "{\"leaderId\":-1,\"leaderEpoch\":7,\"votedId\":100,\"votedDirectoryId\":"
               "\"AAAAAAAAAAAAAAAAAAAAAA\",\"data_version\":1}");
    start_and_lead(s);
    assert_int_equal(s->epoch, 8);
}

/* ---- snapshots ---- */

static struct status next_value(void *arg, const struct bytes **values, size_t *count)
{
    static const struct bytes value = {(const uint8_t *)"state", 5};
    int *left = arg;

    *values = &value;
    *count = *left > 0;
    (*left)--;
    return STATUS_OK;
}

struct snapshot_call {
    struct single *s;
    int left;
    int done;
    struct status result;
};

static struct status next_of_call(void *arg, const struct bytes **values, size_t *count)
{
    return next_value(&((struct snapshot_call *)arg)->left, values, count);
}

static void call_done(void *arg, struct status result)
{
    struct snapshot_call *call = arg;

    call->done++;
    call->result = result;
}

static struct status take(struct single *s, struct snapshot_call *call, int64_t end_offset)
{
    *call = (struct snapshot_call){.s = s, .left = 2};
    return raft_node_take_snapshot(s->node, end_offset, 12345,
                                   &(struct raft_snapshot_source){call, next_of_call, call_done});
}

static void restart_begins_with_the_newest_snapshot(void **state)
{
    struct single *s = *state;
    struct snapshot_call call;

    start_and_lead(s);
    append_one(s, "a");
    append_one(s, "b");
    test_loop_run(&s->loop, 0);
    assert_int_equal(take(s, &call, 4).code, KERR_NONE);
    assert_int_equal(take(s, &(struct snapshot_call){0}, 4).code, KERR_INVALID_REQUEST); /* one is under way */
    test_loop_run(&s->loop, 0);
    assert_int_equal(call.done, 1);
    assert_int_equal(call.result.code, KERR_NONE);
    assert_int_equal(raft_node_latest_snapshot(s->node).end_offset, 4);
    assert_int_equal(take(s, &(struct snapshot_call){0}, 4).code, KERR_INVALID_REQUEST); /* there is one */
    assert_int_equal(take(s, &(struct snapshot_call){0}, 99).code, KERR_INVALID_REQUEST);
    stop(s, true);
    start_and_lead(s);
    assert_string_equal(s->told, "leader(2,-1) {4-1 state,state } 4-4@1:b leader(2,100,us) ");
}

static void old_snapshots_and_segments_go_when_retention_says_so(void **state)
{
    struct single *s = *state;
    struct snapshot_call call;

    s->args.retention_bytes = 1000;
    s->args.segment_bytes = 300;
    start_and_lead(s);
    for (int i = 0; i < 20; i++) {
        append_one(s, "a record of some length, so that segments roll");
        test_loop_run(&s->loop, 0);
    }
    assert_int_equal(raft_node_start_offset(s->node), 0);
    assert_int_equal(take(s, &call, 20).code, KERR_NONE);
    test_loop_run(&s->loop, 0);
    assert_int_equal(call.result.code, KERR_NONE);
    assert_int_equal(raft_node_start_offset(s->node), 20);
    stop(s, true);
    start_and_lead(s);
    assert_int_equal(raft_node_start_offset(s->node), 20);
    assert_int_equal(raft_node_latest_snapshot(s->node).end_offset, 20);
}

static void failed_snapshot_source_leaves_the_old_one(void **state)
{
    struct single *s = *state;
    struct snapshot_call call;
    struct raft_snapshot_id ids[SNAPSHOTS_MAX];
    size_t count;

    start_and_lead(s);
    append_one(s, "a");
    test_loop_run(&s->loop, 0);
    assert_int_equal(take(s, &call, 4).code, KERR_NONE);
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

    start(s);
    s->loop.pool_stuck = true;
    test_loop_run(&s->loop, 1);
    raft_node_stop(s->node, on_stopped, s);
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
