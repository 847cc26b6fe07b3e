/* A partition's compaction between pool and loop: its pace, its end, and what its failure means. */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

#include "replication/partition_clean.h"
#include "storage/files_sim.h"
#include "tests/unit/replication/test_loop.h"
#include "tests/unit/storage/compaction_world.h"

struct clean_world {
    struct compaction_world c; /* its log is the partition's */
    struct test_loop loop;
    struct partition_env env;
    struct partition *partition;
    struct flusher *flusher;
    struct partition_clean_args args;
    int done;
    bool went_well;
    int stopped;
    int storage_failures;
};

static void on_done(void *arg, bool went_well)
{
    struct clean_world *w = arg;

    w->done++;
    w->went_well = went_well;
}

static void on_stopped(void *arg, struct partition *p)
{
    (void)p;
    ((struct clean_world *)arg)->stopped++;
}

static void on_storage_failed(void *arg, struct partition *p, struct status why)
{
    (void)p;
    (void)why;
    ((struct clean_world *)arg)->storage_failures++;
}

/* A partition that is led here, with 4 segments of which compaction leaves little. */
static void begin(struct clean_world *w)
{
    struct partition_assignment a = {.leader_id = 1,
                                     .leader_epoch = 0,
                                     .membership = {.self_id = 1,
                                                    .replicas = (const int32_t[]){1},
                                                    .replica_count = 1,
                                                    .isr = (const int32_t[]){1},
                                                    .isr_count = 1,
                                                    .min_insync_replicas = 1}};

    memset(w, 0, sizeof *w);
    compaction_begin(&w->c);
    world_open(&w->c.w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 20; k++)
            keyed_put(&w->c, k, w->c.next_value++);
        keyed_roll(&w->c, 21);
    }
    test_loop_init(&w->loop);
    w->env = (struct partition_env){.loop = &w->loop.loop,
                                    .pool = &w->loop.pool,
                                    .files = w->c.w.files,
                                    .clock = &w->loop.clock,
                                    .node_id = 1,
                                    .flush_before_ack = true,
                                    .storage_failed = on_storage_failed,
                                    .stopped = on_stopped,
                                    .arg = w};
    w->flusher = flusher_create(&(struct flusher_args){
        .loop = &w->loop.loop, .pool = &w->loop.pool, .files = w->c.w.files, .directory = "data"});
    w->partition = partition_create(&w->env, str_from("orders"), (struct uuid){{1, 2, 3}}, 0);
    a.config = &w->c.w.config;
    partition_opened(w->partition, w->c.w.log, STATUS_OK, log_end_offset(w->c.w.log), w->flusher);
    partition_assign(w->partition, &a);
    w->args = (struct partition_clean_args){.map_bytes_max = 1 << 20,
                                            .map_load = 0.9,
                                            .buffer_bytes = 4096,
                                            .bytes_per_second_max = 1e300,
                                            .done = on_done,
                                            .arg = w};
}

static void end(struct clean_world *w)
{
    if (!w->stopped)
        partition_stop(w->partition, KERR_NOT_LEADER_OR_FOLLOWER);
    test_loop_run(&w->loop, 1);
    assert_int_equal(w->stopped, 1);
    partition_free(w->partition);
    flusher_free(w->flusher);
    compaction_end(&w->c);
}

static void a_dirty_partition_is_cleaned(void **state)
{
    struct clean_world w;
    struct compaction_range range;
    (void)state;

    begin(&w);
    assert_true(partition_clean_due(w.partition, &range));
    assert_true(partition_clean_begin(w.partition, &w.args));
    assert_false(partition_clean_due(w.partition, &range)); /* one at a time */
    assert_int_equal(w.done, 0);
    test_loop_run(&w.loop, 1);
    assert_int_equal(w.done, 1);
    assert_true(w.went_well);
    check_log(&w.c);
    assert_int_equal(count_key(&w.c, 3), 1);
    assert_false(partition_clean_due(w.partition, &range));
    assert_false(partition_clean_begin(w.partition, &w.args));
    end(&w);
}

/* log.cleaner.io.max.bytes.per.second: what was read and written takes its time. */
static void the_pace_is_kept(void **state)
{
    struct clean_world w;
    (void)state;

    begin(&w);
    w.args.bytes_per_second_max = 20000;
    assert_true(partition_clean_begin(w.partition, &w.args));
    test_loop_run(&w.loop, 500);
    assert_int_equal(w.done, 0);
    test_loop_run(&w.loop, 4000);
    assert_int_equal(w.done, 1);
    assert_true(w.went_well);
    end(&w);
}

/* Neither in a pause nor in a step does a partition that stops wait for the rest of its
 * compaction. */
static void a_stopping_partition_ends_its_compaction(void **state)
{
    (void)state;

    for (int rounds = 0; rounds < 12; rounds++) {
        struct clean_world w;

        begin(&w);
        w.args.bytes_per_second_max = 1000;
        assert_true(partition_clean_begin(w.partition, &w.args));
        for (int i = 0; i < rounds; i++)
            test_loop_round(&w.loop);
        partition_stop(w.partition, KERR_NOT_LEADER_OR_FOLLOWER);
        test_loop_run(&w.loop, 1);
        assert_int_equal(w.stopped, 1);
        assert_int_equal(w.done, 1);
        assert_false(w.went_well);
        end(&w);
    }
}

/* A failure leaves the partition alone until it is reopened; a full disk may have room again. */
static void a_failed_partition_is_not_tried_again(void **state)
{
    const int errors[] = {EIO, ENOSPC};
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        struct clean_world w;

        begin(&w);
        files_sim_fail(
            w.c.w.files,
            &(struct files_fault){.call = FILES_CALL_WRITE, .times = 1, .sys_errno = errors[i]});
        assert_true(partition_clean_begin(w.partition, &w.args));
        test_loop_run(&w.loop, 1);
        assert_int_equal(w.done, 1);
        assert_false(w.went_well);
        assert_int_equal(w.partition->state, PARTITION_LEADING);
        assert_int_equal(w.storage_failures, 0);
        check_log(&w.c);
        assert_true(partition_clean_begin(w.partition, &w.args) == (errors[i] == ENOSPC));
        test_loop_run(&w.loop, 1);
        end(&w);
    }
}

/* When names are half changed only a restart knows what is there. */
static void half_changed_names_take_the_partition_offline(void **state)
{
    struct clean_world w;
    (void)state;

    begin(&w);
    files_sim_fail(
        w.c.w.files,
        &(struct files_fault){.call = FILES_CALL_RENAME, .after = 2, .times = 1, .sys_errno = EIO});
    assert_true(partition_clean_begin(w.partition, &w.args));
    test_loop_run(&w.loop, 1);
    assert_int_equal(w.done, 1);
    assert_false(w.went_well);
    assert_int_equal(w.partition->state, PARTITION_OFFLINE);
    assert_int_equal(w.storage_failures, 1);
    end(&w);
}

/* Timestamps that only the disk knows are asked for before anything is decided by them. */
static void lags_after_a_start_are_asked_for(void **state)
{
    struct clean_world w;
    struct compaction_range range;
    (void)state;

    begin(&w);
    partition_stop(w.partition, KERR_NOT_LEADER_OR_FOLLOWER);
    partition_free(w.partition);
    w.stopped = 0;
    world_close(&w.c.w, true);
    world_open(&w.c.w, LOG_TRUST_CLEAN);
    w.partition = partition_create(&w.env, str_from("orders"), (struct uuid){{1, 2, 3}}, 0);
    partition_opened(w.partition, w.c.w.log, STATUS_OK, log_end_offset(w.c.w.log), w.flusher);
    partition_assign(w.partition,
                     &(struct partition_assignment){.leader_id = 2, .config = &w.c.w.config});
    w.c.w.config.max_compaction_lag_ms = 100;
    w.c.w.config.min_cleanable_dirty_ratio = 1;
    w.loop.now_us += INT64_C(200000000000000); /* later than the records */
    assert_false(partition_clean_due(w.partition, &range));
    assert_non_null(w.partition->cleaning);
    test_loop_run(&w.loop, 1);
    assert_null(w.partition->cleaning);
    assert_true(partition_clean_due(w.partition, &range));
    assert_true(range.overdue);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dirty_partition_is_cleaned),
        cmocka_unit_test(the_pace_is_kept),
        cmocka_unit_test(a_stopping_partition_ends_its_compaction),
        cmocka_unit_test(a_failed_partition_is_not_tried_again),
        cmocka_unit_test(half_changed_names_take_the_partition_offline),
        cmocka_unit_test(lags_after_a_start_are_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
