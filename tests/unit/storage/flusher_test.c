#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "storage/files_sim.h"
#include "storage/flusher.h"
#include "tests/unit/replication/test_loop.h"
#include "tests/unit/storage/log_world.h"

#define LOGS 60

struct partition {
    struct flusher_entry entry;
    struct flusher *flusher;
    int rounds; /* callbacks */
    struct status result;
    int appends_left; /* from the callback */
    struct log_world *w;
};

struct flush_world {
    struct log_world w; /* disk, clock, batches; its own log is not used */
    struct test_loop loop;
    struct flusher *flusher;
    struct partition partitions[LOGS];
};

static void append_to(struct partition *p)
{
    struct log_appended out;

    p->w->log = p->entry.log; /* batches are made for the log that the world has */
    assert_false(status_failed(log_append_as_leader(
        p->entry.log, world_batch(p->w, 2, 50, p->w->now_ms), 0, LOG_ORIGIN_CLIENT, &out, NULL)));
    p->w->log = NULL;
}

static void flushed(struct flusher_entry *e, struct status result)
{
    struct partition *p = CONTAINER_OF(e, struct partition, entry);

    p->rounds++;
    p->result = result;
    if (p->appends_left > 0) {
        p->appends_left--;
        append_to(p);
        flusher_request(p->flusher, e);
    }
}

static void begin(struct flush_world *f, int64_t delay_us)
{
    memset(f, 0, sizeof *f);
    world_begin(&f->w);
    test_loop_init(&f->loop);
    f->flusher = flusher_create(&(struct flusher_args){.loop = &f->loop.loop,
                                                       .pool = &f->loop.pool,
                                                       .files = f->w.files,
                                                       .directory = "data",
                                                       .delay_us = delay_us});
    for (int i = 0; i < LOGS; i++) {
        char directory[32];
        struct log_recovery_report report;
        const struct log_args args = {.files = f->w.files,
                                      .clock = &f->w.clock,
                                      .directory = directory,
                                      .topic_id = {{1}},
                                      .config = &f->w.config,
                                      .scratch = f->w.scratch};

        snprintf(directory, sizeof directory, "data/t-%d", i);
        f->partitions[i] =
            (struct partition){.entry = {.flushed = flushed}, .flusher = f->flusher, .w = &f->w};
        assert_false(status_failed(log_open(&args, &f->partitions[i].entry.log, &report)));
    }
}

static void end(struct flush_world *f)
{
    flusher_free(f->flusher);
    for (int i = 0; i < LOGS; i++)
        if (f->partitions[i].entry.log)
            log_close(f->partitions[i].entry.log, false);
    world_end(&f->w);
}

static void append_and_request(struct flush_world *f, int i)
{
    append_to(&f->partitions[i]);
    flusher_request(f->flusher, &f->partitions[i].entry);
}

static int64_t flushed_end(struct flush_world *f, int i)
{
    return log_flushed_end_offset(f->partitions[i].entry.log);
}

/* A lone append is flushed at once; what comes meanwhile shares the next round. */
static void appends_during_a_round_share_the_next(void **state)
{
    struct flush_world f;
    struct flusher_stats stats;
    (void)state;

    begin(&f, 0);
    append_and_request(&f, 0);
    for (int n = 0; n < 5; n++)
        for (int i = 0; i < 4; i++)
            append_and_request(&f, i);
    assert_int_equal(flushed_end(&f, 0), 0);
    test_loop_run(&f.loop, 10);
    flusher_stats(f.flusher, &stats);
    assert_int_equal(stats.rounds, 2);
    assert_int_equal(stats.logs, 5);
    assert_int_equal(f.partitions[0].rounds, 2);
    assert_int_equal(f.partitions[1].rounds, 1);
    assert_int_equal(flushed_end(&f, 0), 12);
    assert_int_equal(flushed_end(&f, 3), 10);
    assert_true(flusher_idle(f.flusher));
    end(&f);
}

static void append_megabyte(struct flush_world *f, int i)
{
    struct partition *p = &f->partitions[i];
    struct log_appended out;

    f->w.log = p->entry.log;
    assert_false(status_failed(log_append_as_leader(p->entry.log,
                                                    world_batch(&f->w, 16, 64 << 10, f->w.now_ms),
                                                    0, LOG_ORIGIN_CLIENT, &out, NULL)));
    f->w.log = NULL;
    flusher_request(f->flusher, &p->entry);
}

/* While a round runs the disk goes on with what waits for the next, and the loop does not ask it
 * itself. */
/* What one message brings for many logs is one round. */
static void held_requests_are_one_round(void **state)
{
    struct flush_world f;
    struct flusher_stats stats;
    (void)state;

    begin(&f, 0);
    flusher_hold(f.flusher);
    for (int i = 0; i < 4; i++)
        append_and_request(&f, i);
    test_loop_run(&f.loop, 10);
    assert_int_equal(flushed_end(&f, 0), 0);
    flusher_release(f.flusher);
    test_loop_run(&f.loop, 10);
    flusher_stats(f.flusher, &stats);
    assert_int_equal(stats.rounds, 1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(flushed_end(&f, i), 2);
    end(&f);
}

static void writing_begins_before_the_round_that_waits(void **state)
{
    struct flush_world f;
    (void)state;

    begin(&f, 0);
    f.w.config.segment_bytes = 64 << 20;
    f.w.config.max_message_bytes = 4 << 20;
    append_megabyte(&f, 0);
    append_megabyte(&f, 0);
    assert_int_equal(f.loop.jobs.count, 1); /* the round; a megabyte is not worth a call */
    append_megabyte(&f, 0);
    append_megabyte(&f, 0);
    assert_int_equal(f.loop.jobs.count, 2);
    test_loop_run(&f.loop, 10);
    assert_int_equal(flushed_end(&f, 0), 64);
    append_megabyte(&f, 0); /* nobody waits: its own round writes it */
    assert_int_equal(f.loop.jobs.count, 1);
    test_loop_run(&f.loop, 10);
    assert_int_equal(flushed_end(&f, 0), 80);
    end(&f);
}

/* A log may be closed while the kernel is still asked. */
static void log_is_closed_while_its_writing_begins(void **state)
{
    struct flush_world f;
    (void)state;

    begin(&f, 0);
    f.w.config.segment_bytes = 64 << 20;
    f.w.config.max_message_bytes = 4 << 20;
    append_and_request(&f, 1);
    for (int i = 0; i < 3; i++)
        append_megabyte(&f, 0);
    assert_int_equal(f.loop.jobs.count, 2);
    assert_true(flusher_remove(f.flusher, &f.partitions[0].entry));
    log_close(f.partitions[0].entry.log, false);
    f.partitions[0].entry.log = NULL;
    test_loop_run(&f.loop, 10);
    assert_true(flusher_idle(f.flusher));
    end(&f);
}

static void requests_from_the_callback_start_the_next_round(void **state)
{
    struct flush_world f;
    (void)state;

    begin(&f, 0);
    f.partitions[7].appends_left = 5;
    append_and_request(&f, 7);
    test_loop_run(&f.loop, 20);
    assert_int_equal(f.partitions[7].rounds, 6);
    assert_int_equal(flushed_end(&f, 7), 12);
    end(&f);
}

/* Many files: one sync of the file system makes all of it durable; two, where epochs of compacted
 * logs take their place. */
static void dirty_logs_are_synced_with_their_file_system(bool compacted)
{
    struct flush_world f;
    struct flusher_stats stats;
    uint64_t syncs, filesystem_syncs;

    begin(&f, 1000);
    for (int i = 0; i < LOGS; i++)
        append_and_request(&f, i);
    f.w.config.cleanup_compact = compacted; /* from now on: these records have no keys */
    syncs = files_sim_calls(f.w.files, FILES_CALL_SYNC);
    filesystem_syncs = files_sim_calls(f.w.files, FILES_CALL_SYNC_FILESYSTEM);
    test_loop_run(&f.loop, 20);
    flusher_stats(f.flusher, &stats);
    assert_int_equal(stats.rounds, 1);
    assert_int_equal(stats.filesystem_syncs, 1);
    assert_int_equal(files_sim_calls(f.w.files, FILES_CALL_SYNC), syncs);
    assert_int_equal(files_sim_calls(f.w.files, FILES_CALL_SYNC_FILESYSTEM) - filesystem_syncs,
                     compacted ? 2 : 1);
    for (int i = 0; i < LOGS; i++) {
        char path[64];

        assert_int_equal(flushed_end(&f, i), 2);
        snprintf(path, sizeof path, "data/t-%d/00000000000000000000.log", i);
        assert_true(files_sim_is_durable(f.w.files, path));
        snprintf(path, sizeof path, "data/t-%d/leader-epoch-checkpoint", i);
        assert_true(files_sim_is_durable(f.w.files, path));
    }
    end(&f);
}

static void many_dirty_logs_take_one_sync_of_the_file_system(void **state)
{
    (void)state;
    dirty_logs_are_synced_with_their_file_system(false);
}

static void epochs_of_many_compacted_logs_take_one_more(void **state)
{
    (void)state;
    dirty_logs_are_synced_with_their_file_system(true);
}

/* log.flush.before.ack=false: nobody waits, so a round waits for company; unless somebody does
 * wait. */
static void lazy_requests_wait_for_company(void **state)
{
    struct flush_world f;
    struct flusher_stats stats;
    (void)state;

    begin(&f, 500 * 1000);
    append_and_request(&f, 0);
    append_and_request(&f, 1);
    test_loop_run(&f.loop, 400);
    assert_int_equal(flushed_end(&f, 0), 0);
    test_loop_run(&f.loop, 200);
    assert_int_equal(flushed_end(&f, 0), 2);
    assert_int_equal(flushed_end(&f, 1), 2);
    append_and_request(&f, 0);
    append_to(&f.partitions[1]);
    flusher_request_now(f.flusher, &f.partitions[1].entry);
    test_loop_run(&f.loop, 5);
    assert_int_equal(flushed_end(&f, 0), 4);
    assert_int_equal(flushed_end(&f, 1), 4);
    flusher_stats(f.flusher, &stats);
    assert_int_equal(stats.rounds, 2);
    end(&f);
}

/* A sync that fails takes its log offline, and only that; the others of the round are flushed. */
static void failed_sync_hits_only_its_log(void **state)
{
    struct flush_world f;
    (void)state;

    begin(&f, 1000);
    for (int round = 0; round < 2; round++) { /* of old files: each log has one to be synced */
        for (int i = 0; i < 2; i++)
            append_and_request(&f, i);
        if (round == 0)
            test_loop_run(&f.loop, 10);
    }
    files_sim_fail(f.w.files, &(struct files_fault){.call = FILES_CALL_SYNC,
                                                    .prefix = "data/t-1/",
                                                    .times = 1,
                                                    .sys_errno = EIO});
    test_loop_run(&f.loop, 10);
    assert_true(log_offline(f.partitions[1].entry.log));
    assert_int_equal(f.partitions[1].result.code, KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(flushed_end(&f, 1), 2);
    assert_int_equal(flushed_end(&f, 0), 4);
    flusher_request(f.flusher, &f.partitions[1].entry);
    test_loop_run(&f.loop, 10);
    assert_true(flusher_idle(f.flusher));
    end(&f);
}

/* `after` syncs of the file system that go well. */
static void failed_sync_of_the_file_system_hits_all(uint64_t after)
{
    struct flush_world f;

    begin(&f, 1000);
    files_sim_fail(f.w.files, &(struct files_fault){.call = FILES_CALL_SYNC_FILESYSTEM,
                                                    .after = after,
                                                    .times = 1,
                                                    .sys_errno = EIO});
    for (int i = 0; i < LOGS; i++)
        append_and_request(&f, i);
    f.w.config.cleanup_compact = after > 0; /* epochs take their place before the second one */
    test_loop_run(&f.loop, 10);
    for (int i = 0; i < LOGS; i++)
        assert_true(log_offline(f.partitions[i].entry.log));
    end(&f);
}

static void failed_sync_of_the_file_system_hits_all_of_the_round(void **state)
{
    (void)state;
    failed_sync_of_the_file_system_hits_all(0);
    failed_sync_of_the_file_system_hits_all(1);
}

static void epochs_that_cannot_take_their_place_cost_only_their_log(void **state)
{
    struct flush_world f;
    (void)state;

    begin(&f, 1000);
    files_sim_fail(f.w.files, &(struct files_fault){.call = FILES_CALL_RENAME,
                                                    .prefix = "data/t-1/leader-epoch-checkpoint",
                                                    .times = 1,
                                                    .sys_errno = EIO});
    for (int i = 0; i < LOGS; i++)
        append_and_request(&f, i);
    f.w.config.cleanup_compact = true;
    test_loop_run(&f.loop, 10);
    for (int i = 0; i < LOGS; i++) {
        assert_int_equal(log_offline(f.partitions[i].entry.log), i == 1);
        assert_int_equal(flushed_end(&f, i), i == 1 ? 0 : 2);
    }
    end(&f);
}

/* An owner that goes away leaves the queue at once, and a running round when that is over. */
static void removed_entries_are_left_alone(void **state)
{
    struct flush_world f;
    (void)state;

    begin(&f, 0);
    append_and_request(&f, 0);
    append_and_request(&f, 1);
    append_and_request(&f, 2);
    assert_false(flusher_remove(f.flusher, &f.partitions[0].entry)); /* its round runs */
    assert_true(flusher_remove(f.flusher, &f.partitions[2].entry));
    assert_true(flusher_remove(f.flusher, &f.partitions[5].entry)); /* never asked */
    test_loop_run(&f.loop, 10);
    assert_true(flusher_remove(f.flusher, &f.partitions[0].entry));
    assert_int_equal(f.partitions[0].rounds, 1);
    assert_int_equal(f.partitions[1].rounds, 1);
    assert_int_equal(f.partitions[2].rounds, 0);
    append_and_request(&f, 2);
    test_loop_run(&f.loop, 10);
    assert_int_equal(flushed_end(&f, 2), 4);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_during_a_round_share_the_next),
        cmocka_unit_test(requests_from_the_callback_start_the_next_round),
        cmocka_unit_test(held_requests_are_one_round),
        cmocka_unit_test(writing_begins_before_the_round_that_waits),
        cmocka_unit_test(log_is_closed_while_its_writing_begins),
        cmocka_unit_test(many_dirty_logs_take_one_sync_of_the_file_system),
        cmocka_unit_test(epochs_of_many_compacted_logs_take_one_more),
        cmocka_unit_test(lazy_requests_wait_for_company),
        cmocka_unit_test(failed_sync_hits_only_its_log),
        cmocka_unit_test(failed_sync_of_the_file_system_hits_all_of_the_round),
        cmocka_unit_test(epochs_that_cannot_take_their_place_cost_only_their_log),
        cmocka_unit_test(removed_entries_are_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
