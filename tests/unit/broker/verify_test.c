/* What a quick start left unchecked is checked in the background: step by step, one log at a time
 * in a directory. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/verify.h"
#include "replication/partition.h"
#include "storage/files_sim.h"
#include "tests/unit/replication/test_loop.h"
#include "tests/unit/storage/log_world.h"

#define LOGS      4
#define LOG_BYTES (14 << 20) /* three steps */
#define SHARDS    2

/* Shards on one loop, each with a verify of its own; logs 0 and 1 belong to the first. */
struct verify_world {
    struct log_world w; /* disk, clock and batches; its own log is not used */
    struct test_loop loop;
    _Atomic bool turns[1];
    struct verify *shards[SHARDS];
    struct partition_env env;
    struct partition *partitions[LOGS];
    struct verify_entry entries[LOGS];
    struct flusher *flusher;
    int storage_failures;
    int idled;
    enum kerr failure;
};

static void storage_failed(void *arg, struct partition *p, struct status why)
{
    struct verify_world *v = arg;

    (void)p;
    v->storage_failures++;
    v->failure = why.code;
}

static void idled(void *arg)
{
    ((struct verify_world *)arg)->idled++;
}

static void stopped(void *arg, struct partition *p)
{
    (void)arg;
    (void)p;
}

static const char *directory_of(int log, char out[32])
{
    snprintf(out, 32, "data/t-%d", log);
    return out;
}

static struct log *open_log(struct verify_world *v, int log, enum log_trust trust)
{
    char directory[32];
    struct log_recovery_report report;
    struct log *out = NULL;
    const struct log_args args = {.files = v->w.files,
                                  .clock = &v->w.clock,
                                  .directory = directory_of(log, directory),
                                  .topic_id = {{1}},
                                  .config = &v->w.config,
                                  .scratch = v->w.scratch,
                                  .trust = trust};

    assert_false(status_failed(log_open(&args, &out, &report)));
    return out;
}

static void write_log(struct verify_world *v, int log)
{
    struct log_appended out;

    v->w.log = open_log(v, log, LOG_TRUST_CLEAN);
    while (log_size_bytes(v->w.log) < LOG_BYTES)
        assert_false(
            status_failed(log_append_as_leader(v->w.log, world_batch(&v->w, 1, 60000, v->w.now_ms),
                                               0, LOG_ORIGIN_CLIENT, &out, NULL)));
    world_close(&v->w, false);
}

static void begin(struct verify_world *v)
{
    memset(v, 0, sizeof *v);
    world_begin(&v->w);
    v->w.config.segment_bytes = 4 << 20;
    v->w.config.max_message_bytes = 1 << 20;
    test_loop_init(&v->loop);
    v->flusher = flusher_create(&(struct flusher_args){
        .loop = &v->loop.loop, .pool = &v->loop.pool, .files = v->w.files, .directory = "data"});
    v->env = (struct partition_env){.loop = &v->loop.loop,
                                    .pool = &v->loop.pool,
                                    .files = v->w.files,
                                    .clock = &v->w.clock,
                                    .storage_failed = storage_failed,
                                    .stopped = stopped,
                                    .arg = v};
    for (int i = 0; i < SHARDS; i++)
        v->shards[i] = verify_create(&(struct verify_args){.loop = &v->loop.loop,
                                                           .pool = &v->loop.pool,
                                                           .turns = v->turns,
                                                           .dir_count = 1,
                                                           .idled = idled,
                                                           .arg = v});
    for (int i = 0; i < LOGS; i++)
        write_log(v, i);
}

static struct verify *shard_of(struct verify_world *v, int log)
{
    return v->shards[log / (LOGS / SHARDS)];
}

static void start_log(struct verify_world *v, int log, enum log_trust trust)
{
    struct partition *p = partition_create(&v->env, str_from("t"), (struct uuid){{1}}, log);

    v->partitions[log] = p;
    partition_opened(p, open_log(v, log, trust), STATUS_OK, 0, v->flusher);
    verify_add(shard_of(v, log), &v->entries[log], p);
}

static void end_log(struct verify_world *v, int log)
{
    struct partition *p = v->partitions[log];

    verify_remove(shard_of(v, log), &v->entries[log]);
    partition_stop(p, KERR_NOT_LEADER_OR_FOLLOWER);
    log_close(partition_free(p), false);
    v->partitions[log] = NULL;
}

static void end(struct verify_world *v)
{
    for (int i = 0; i < LOGS; i++)
        if (v->partitions[i])
            end_log(v, i);
    test_loop_run(&v->loop, 1);
    for (int i = 0; i < SHARDS; i++)
        verify_free(v->shards[i]);
    flusher_free(v->flusher);
    world_end(&v->w);
}

static int unverified(const struct verify_world *v)
{
    int count = 0;

    for (int i = 0; i < LOGS; i++)
        count += v->partitions[i] && log_unverified(v->partitions[i]->log);
    return count;
}

static void flip(struct verify_world *v, int log, int64_t at)
{
    char path[64], directory[32];

    snprintf(path, sizeof path, "%s/%020d.log", directory_of(log, directory), 0);
    assert_true(files_sim_flip_bit(v->w.files, path, at, 3));
}

/* Never two jobs at once although two shards have logs there, and each log takes several steps. */
static void logs_of_a_directory_are_checked_one_at_a_time(void **state)
{
    static struct verify_world v;
    int rounds = 0;
    (void)state;

    begin(&v);
    for (int i = 0; i < LOGS; i++)
        start_log(&v, i, LOG_TRUST_SAME_BOOT);
    assert_int_equal(unverified(&v), LOGS);
    while (unverified(&v) > 0 && rounds++ < 10000) {
        assert_true(v.loop.jobs.count <= 1);
        if (!test_loop_round(&v.loop))
            test_loop_run(&v.loop, 1);
    }
    assert_int_equal(unverified(&v), 0);
    assert_true(v.loop.jobs_run >= LOGS * 3);
    assert_int_equal(v.storage_failures, 0);
    for (int i = 0; i < LOGS; i++)
        assert_int_equal(v.partitions[i]->state, PARTITION_FOLLOWING);
    end(&v);
}

static void after_each_step_there_is_a_pause(void **state)
{
    static struct verify_world v;
    (void)state;

    begin(&v);
    start_log(&v, 0, LOG_TRUST_SAME_BOOT);
    while (test_loop_round(&v.loop))
        ;
    assert_int_equal(v.loop.jobs_run, 1);
    assert_true(verify_idle(v.shards[0]));
    assert_int_equal(unverified(&v), 1);
    test_loop_run(&v.loop, 1);
    assert_int_equal(v.loop.jobs_run, 2);
    end(&v);
}

/* The recovery point stays where the unchecked part begins, so that a kill meanwhile forgets
 * nothing. */
static void recovery_point_waits_for_the_check(void **state)
{
    static struct verify_world v;
    struct log_flush flush = {0};
    struct log *log;
    (void)state;

    begin(&v);
    start_log(&v, 0, LOG_TRUST_SAME_BOOT);
    log = v.partitions[0]->log;
    assert_true(log_flush_begin(log, &flush));
    log_flush_end(log, &flush, log_flush_run(&flush));
    assert_int_equal(log_flushed_end_offset(log), log_end_offset(log));
    assert_int_equal(log_recovery_point(log), 0);
    test_loop_run(&v.loop, 100);
    assert_int_equal(unverified(&v), 0);
    assert_int_equal(log_recovery_point(log), log_end_offset(log));
    end(&v);
}

static void damage_takes_one_partition_offline_and_no_other(void **state)
{
    static struct verify_world v;
    (void)state;

    begin(&v);
    flip(&v, 1, 3 << 20);
    for (int i = 0; i < LOGS; i++)
        start_log(&v, i, LOG_TRUST_SAME_BOOT);
    test_loop_run(&v.loop, 1000);
    assert_int_equal(unverified(&v), 0);
    for (int i = 0; i < LOGS; i++)
        assert_int_equal(v.partitions[i]->state, i == 1 ? PARTITION_OFFLINE : PARTITION_FOLLOWING);
    assert_int_equal(v.storage_failures, 1);
    assert_int_equal(v.failure, KERR_CORRUPT_MESSAGE);
    end(&v);
}

static void unreadable_file_is_a_storage_error(void **state)
{
    static struct verify_world v;
    (void)state;

    begin(&v);
    start_log(&v, 0, LOG_TRUST_SAME_BOOT);
    files_sim_fail(v.w.files, &(struct files_fault){.call = FILES_CALL_READ, .sys_errno = EIO});
    test_loop_run(&v.loop, 1000);
    assert_int_equal(v.partitions[0]->state, PARTITION_OFFLINE);
    assert_int_equal(v.failure, KERR_KAFKA_STORAGE_ERROR);
    end(&v);
}

static void nothing_is_checked_after_a_clean_stop(void **state)
{
    static struct verify_world v;
    (void)state;

    begin(&v);
    start_log(&v, 0, LOG_TRUST_CLEAN);
    test_loop_run(&v.loop, 100);
    assert_int_equal(v.loop.jobs_run, 0);
    end(&v);
}

/* A partition may go at any moment: while its step is in the pool, in its pause, or before its
 * turn. */
static void partition_may_go_while_its_log_is_checked(void **state)
{
    static struct verify_world v;
    (void)state;

    for (int rounds = 0; rounds < 6; rounds++) {
        begin(&v);
        for (int i = 0; i < LOGS; i++)
            start_log(&v, i, LOG_TRUST_SAME_BOOT);
        for (int i = 0; i < rounds; i++)
            if (!test_loop_round(&v.loop))
                test_loop_run(&v.loop, 1);
        end_log(&v, 0);
        end_log(&v, 3);
        test_loop_run(&v.loop, 1000);
        assert_int_equal(unverified(&v), 0);
        assert_true(verify_idle(v.shards[0]));
        assert_true(v.idled > 0);
        end(&v);
    }
}

/* A log that is being cut is the pool's: others go first, and its turn comes after that. */
static void log_that_is_being_cut_is_checked_later(void **state)
{
    static struct verify_world v;
    (void)state;

    begin(&v);
    for (int i = 0; i < 3; i++) /* the first one's check is under way when the others come */
        start_log(&v, i, LOG_TRUST_SAME_BOOT);
    v.partitions[1]->state = PARTITION_TRUNCATING;
    test_loop_run(&v.loop, 1000);
    assert_int_equal(unverified(&v), 1);
    assert_true(log_unverified(v.partitions[1]->log));
    assert_true(verify_idle(v.shards[0]));
    v.partitions[1]->state = PARTITION_FOLLOWING;
    test_loop_run(&v.loop, 1000);
    assert_int_equal(unverified(&v), 0);
    end(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logs_of_a_directory_are_checked_one_at_a_time),
        cmocka_unit_test(after_each_step_there_is_a_pause),
        cmocka_unit_test(recovery_point_waits_for_the_check),
        cmocka_unit_test(damage_takes_one_partition_offline_and_no_other),
        cmocka_unit_test(unreadable_file_is_a_storage_error),
        cmocka_unit_test(nothing_is_checked_after_a_clean_stop),
        cmocka_unit_test(log_that_is_being_cut_is_checked_later),
        cmocka_unit_test(partition_may_go_while_its_log_is_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
