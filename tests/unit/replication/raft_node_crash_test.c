#include "tests/unit/replication/single_node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replication/quorum_state.h"
#include "storage/files_sim.h"

/* What the state machine has heard of over all runs: value i was committed at some offset. */
struct history {
    int values[4096];
    int count;
};

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Values are numbers, in rising order. Reads those that a run has been told, the snapshot's
 * aside. */
static void read_told(const char *told, struct history *out)
{
    out->count = 0;
    for (const char *p = strstr(told, ":n"); p; p = strstr(p + 1, ":n"))
        out->values[out->count++] = atoi(p + 2);
}

/* What a run before was told must be told again, in that order, before anything new. */
static void check_kept(const struct history *before, const char *told, uint64_t seed)
{
    struct history now;

    read_told(told, &now);
    if (now.count < before->count)
        fail_msg("seed %llu: %d of %d committed records are left", (unsigned long long)seed,
                 now.count, before->count);
    for (int i = 0; i < before->count; i++)
        assert_int_equal(now.values[i], before->values[i]);
}

/* The machine stops here: no further call has an effect. */
static void crash(struct single *s, uint64_t seed)
{
    files_sim_fail(s->files, &(struct files_fault){.call = FILES_CALL_ANY, .sys_errno = EIO});
    s->loop.pool_stuck = false;
    test_loop_run(&s->loop, 0);
    if (s->node)
        single_stop(s, false);
    files_sim_heal(s->files);
    files_sim_crash(s->files, seed);
}

static void live_for_a_while(struct single *s, uint64_t *seed, int *next_value)
{
    char value[16];

    for (int turn = (int)(next_random(seed) % 60); turn > 0; turn--) {
        s->loop.reorder = next_random(seed) % 2;
        s->loop.pool_stuck = next_random(seed) % 3 == 0;
        if (s->leads && next_random(seed) % 2 && s->failure.code == KERR_NONE) {
            snprintf(value, sizeof value, "n%d", (*next_value)++);
            single_append(s, value);
        }
        if (next_random(seed) % 3)
            test_loop_round(&s->loop);
    }
}

static void committed_records_survive_crashes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct files *files = files_sim_create(NULL);
        struct single *s = single_new(files);
        struct history kept = {.count = 0};
        uint64_t random = seed;
        int next_value = 0;

        s->args.trust = LOG_TRUST_OTHER_BOOT;
        s->args.segment_bytes = 400;
        assert_int_equal(single_format(s, (const char *const[]){"feature"}, 1).code, KERR_NONE);
        for (int life = 0; life < 6; life++) {
            single_start(s);
            live_for_a_while(s, &random, &next_value);
            if (s->leads) {
                check_kept(&kept, s->told, seed);
                read_told(s->told, &kept);
            }
            crash(s, next_random(&random));
        }
        single_start_and_lead(s);
        check_kept(&kept, s->told, seed);
        single_free(s);
        assert_int_equal(files_sim_open_files(files), 0);
        files_sim_free(files);
    }
}

/* Formatting is all or nothing: after a crash the directory is either empty or whole. */
static void crash_while_formatting_leaves_all_or_nothing(void **state)
{
    (void)state;
    for (uint64_t at = 0;; at++) {
        struct files *files = files_sim_create(NULL);
        struct single *s = single_new(files);
        struct status st;

        files_sim_fail(
            files, &(struct files_fault){.call = FILES_CALL_ANY, .after = at, .sys_errno = EIO});
        st = single_format(s, (const char *const[]){"feature"}, 1);
        files_sim_heal(files);
        files_sim_crash(files, at);
        if (status_failed(single_open(s)))
            assert_int_equal(single_format(s, (const char *const[]){"feature"}, 1).code, KERR_NONE);
        else
            single_on_stopped(s), raft_node_close(s->node, true), s->node = NULL;
        single_start_and_lead(s);
        single_free(s);
        files_sim_free(files);
        if (!status_failed(st))
            return;
    }
}

static void live_with_a_snapshot(struct single *s, struct single_snapshot *call)
{
    char value[16];

    *call = (struct single_snapshot){.done = 1};
    if (status_failed(single_open(s)))
        return;
    raft_node_start(s->node);
    test_loop_run(&s->loop, 0);
    for (int i = 0; i < 12 && s->leads; i++) {
        struct bytes v = {(const uint8_t *)value, (size_t)snprintf(value, sizeof value, "n%d", i)};
        int64_t last;

        raft_node_append(s->node, s->epoch, &v, 1, true, &last);
        test_loop_run(&s->loop, 0);
        if (i == 6 && s->leads)
            call->done = status_failed(single_take_snapshot(s, call, s->caught_up));
    }
    test_loop_run(&s->loop, 0);
    assert_int_equal(call->done, 1);
    single_stop(s, true);
}

/* Each file call fails once in its turn: the node says so and stops, or goes on; what was committed
 * is there when the disk is well again. */
static void each_file_call_may_fail(void **state)
{
    (void)state;
    for (int times = 0; times <= 1; times++)
        for (uint64_t at = 0;; at++) {
            struct files *files = files_sim_create(NULL);
            struct single *s = single_new(files);
            struct single_snapshot call;
            struct history kept = {.count = 0};
            uint64_t calls;

            s->args.segment_bytes = 400;
            s->args.retention_bytes = 500;
            assert_int_equal(single_format(s, (const char *const[]){"feature"}, 1).code, KERR_NONE);
            calls = files_sim_calls(files, FILES_CALL_ANY);
            files_sim_fail(files, &(struct files_fault){.call = FILES_CALL_ANY,
                                                        .after = at,
                                                        .times = (uint64_t)times,
                                                        .sys_errno = EIO,
                                                        .partial = true});
            live_with_a_snapshot(s, &call);
            calls = files_sim_calls(files, FILES_CALL_ANY) - calls;
            read_told(s->told, &kept);
            files_sim_heal(files);
            files_sim_kill(files);
            single_start_and_lead(s);
            if (strstr(s->told, "{0-0"))
                check_kept(&kept, s->told, at);
            single_free(s);
            assert_int_equal(files_sim_open_files(files), 0);
            files_sim_free(files);
            if (at > calls)
                break;
        }
}

static struct raft_election election_in_file(struct single *s)
{
    struct raft_election e;
    char path[128];

    snprintf(path, sizeof path, "%s/" QUORUM_STATE_FILE, s->directory);
    assert_int_equal(quorum_state_read(s->files, path, &e).code, KERR_NONE);
    return e;
}

/* A kill at any call may leave a vote or a snapshot under its name in the page cache only. Once a
 * start has read it, it is there after a crash of the machine too. */
static void what_a_start_goes_by_outlives_the_machine(void **state)
{
    bool died = true;
    (void)state;

    for (uint64_t at = 0; died; at++) {
        struct files *files = files_sim_create(NULL);
        struct single *s = single_new(files);
        struct single_snapshot call;
        struct raft_snapshot_id snapshot;
        struct raft_election election;
        uint64_t calls;

        s->args.segment_bytes = 400;
        s->args.retention_bytes = 500;
        assert_int_equal(single_format(s, (const char *const[]){"feature"}, 1).code, KERR_NONE);
        calls = files_sim_calls(files, FILES_CALL_ANY);
        files_sim_fail(
            files, &(struct files_fault){.call = FILES_CALL_ANY, .after = at, .sys_errno = EIO});
        live_with_a_snapshot(s, &call);
        died = files_sim_calls(files, FILES_CALL_ANY) - calls > at;
        files_sim_heal(files);
        files_sim_kill(files);
        assert_int_equal(single_open(s).code, KERR_NONE);
        snapshot = raft_node_latest_snapshot(s->node);
        election = election_in_file(s);
        raft_node_close(s->node, false);
        files_sim_crash_losing_all(files);
        assert_int_equal(single_open(s).code, KERR_NONE);
        assert_int_equal(raft_node_latest_snapshot(s->node).end_offset, snapshot.end_offset);
        assert_int_equal(election_in_file(s).epoch, election.epoch);
        assert_int_equal(election_in_file(s).voted.id, election.voted.id);
        raft_node_close(s->node, false);
        s->node = NULL;
        single_free(s);
        files_sim_free(files);
    }
}

static void full_disk_stops_the_node_with_its_reason(void **state)
{
    struct files *files = files_sim_create(NULL);
    struct single *s = single_new(files);
    char value[4000];

    (void)state;
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    assert_int_equal(single_format(s, (const char *const[]){"feature"}, 1).code, KERR_NONE);
    single_start_and_lead(s);
    files_sim_set_capacity(files, 100 * 1000);
    for (int i = 0; i < 100 && s->leads; i++) {
        struct bytes v = {(const uint8_t *)value, sizeof value - 1};
        int64_t last;

        raft_node_append(s->node, s->epoch, &v, 1, true, &last);
        test_loop_run(&s->loop, 0);
    }
    assert_int_equal(s->failure.sys_errno, ENOSPC);
    single_free(s);
    files_sim_free(files);
}

struct asked {
    struct raft_request request;
    int answers;
};

static void on_answer(struct raft_request *r)
{
    CONTAINER_OF(r, struct asked, request)->answers++;
}

/* It does not lead with such a log; whoever asked may ask the next leader. */
static void voter_change_that_cannot_be_written_is_sent_to_another_leader(void **state)
{
    static const struct raft_endpoint moved = {STR("CONTROLLER"), STR("10.0.0.1"), 9999};
    struct files *files = files_sim_create(NULL);
    struct single *s = single_new(files);
    struct asked a = {.request = {.type = RAFT_ASKED_UPDATE_VOTER,
                                  .epoch = 1,
                                  .endpoints = &moved,
                                  .endpoint_count = 1,
                                  .kraft_version_max = 1,
                                  .done = on_answer}};

    (void)state;
    assert_int_equal(single_format(s, (const char *const[]){"feature"}, 1).code, KERR_NONE);
    single_start_and_lead(s);
    a.request.voter = s->args.self;
    files_sim_fail(files, &(struct files_fault){.call = FILES_CALL_WRITE, .sys_errno = EIO});
    raft_node_request(s->node, &a.request);
    test_loop_run(&s->loop, 0);
    assert_int_equal(a.answers, 1);
    assert_int_equal(a.request.error, KERR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(s->failure.sys_errno, EIO);
    single_free(s);
    files_sim_free(files);
}

/* A fetch of epoch 1 at a sole voter, which leads at once, while its vote for itself waits for the
 * disk. */
static struct single *fetch_before_the_vote_is_durable(struct files *files, struct asked *a)
{
    struct single *s = single_new(files);

    *a = (struct asked){.request = {.type = RAFT_ASKED_FETCH,
                                    .sender = {.id = 7},
                                    .epoch = 1,
                                    .high_watermark = INT64_MAX,
                                    .max_bytes = 1 << 20,
                                    .done = on_answer}};
    assert_int_equal(single_format(s, (const char *const[]){"feature"}, 1).code, KERR_NONE);
    single_start(s);
    s->loop.pool_stuck = true;
    for (int i = 0; i < 10; i++)
        test_loop_round(&s->loop);
    raft_node_request(s->node, &a->request);
    for (int i = 0; i < 10; i++)
        test_loop_round(&s->loop);
    assert_int_equal(a->answers, 0);
    s->loop.pool_stuck = false;
    return s;
}

/* What it gives away before, it could write otherwise in the same epoch after a crash of the
 * machine. */
static void nothing_of_an_epoch_leaves_before_the_epoch_is_durable(void **state)
{
    struct files *files = files_sim_create(NULL);
    struct asked a;
    struct single *s = fetch_before_the_vote_is_durable(files, &a);

    (void)state;
    test_loop_run(&s->loop, 0);
    assert_int_equal(a.answers, 1);
    assert_int_equal(a.request.error, KERR_NONE);
    assert_int_equal(a.request.leader_epoch, 1);
    assert_true(a.request.record_bytes > 0);
    free(a.request.records);
    single_free(s);
    files_sim_free(files);
}

static void nothing_of_an_epoch_leaves_that_never_becomes_durable(void **state)
{
    struct files *files = files_sim_create(NULL);
    struct asked a;
    struct single *s = fetch_before_the_vote_is_durable(files, &a);

    (void)state;
    files_sim_fail(files, &(struct files_fault){.call = FILES_CALL_ANY, .sys_errno = EIO});
    test_loop_run(&s->loop, 0);
    single_stop(s, false);
    assert_int_equal(a.answers, 1);
    assert_int_equal(a.request.error, KERR_NOT_LEADER_OR_FOLLOWER);
    assert_null(a.request.records);
    assert_int_equal(a.request.record_bytes, 0);
    files_sim_heal(files);
    single_free(s);
    files_sim_free(files);
}

static void cold_log_is_read_in_the_pool(void **state)
{
    struct files *files = files_sim_create(NULL);
    struct single *s = single_new(files);

    (void)state;
    assert_int_equal(single_format(s, (const char *const[]){"feature"}, 1).code, KERR_NONE);
    single_start_and_lead(s);
    for (int i = 0; i < 3; i++)
        single_append(s, "n1");
    test_loop_run(&s->loop, 0);
    single_stop(s, true);
    files_sim_set_cold(files, true);
    single_start_and_lead(s);
    assert_non_null(strstr(s->told, "3-3@1:n1 4-4@1:n1 5-5@1:n1 leader(2,100,us)"));
    single_free(s);
    files_sim_free(files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(committed_records_survive_crashes),
        cmocka_unit_test(crash_while_formatting_leaves_all_or_nothing),
        cmocka_unit_test(each_file_call_may_fail),
        cmocka_unit_test(what_a_start_goes_by_outlives_the_machine),
        cmocka_unit_test(full_disk_stops_the_node_with_its_reason),
        cmocka_unit_test(voter_change_that_cannot_be_written_is_sent_to_another_leader),
        cmocka_unit_test(nothing_of_an_epoch_leaves_before_the_epoch_is_durable),
        cmocka_unit_test(nothing_of_an_epoch_leaves_that_never_becomes_durable),
        cmocka_unit_test(cold_log_is_read_in_the_pool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
