/* A partition that follows: the leader's batches, the leader's offsets, and cutting what the leader
 * does not have. */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

#include "protocol/record_batch.h"
#include "replication/partition_follow.h"
#include "storage/files_sim.h"
#include "tests/unit/replication/test_loop.h"
#include "tests/unit/storage/log_world.h"

#define SELF   1
#define LEADER 2
#define EPOCH  3

struct follow_world {
    struct log_world w; /* disk, clock, batches; the log is the partition's from the start */
    struct test_loop loop;
    struct flusher *flusher;
    struct partition_env env;
    struct partition *p;
    struct log *log;
    int storage_failures, stops, flushes, truncations;
};

static void storage_failed(void *arg, struct partition *p, struct status why)
{
    (void)p;
    (void)why;
    ((struct follow_world *)arg)->storage_failures++;
}

static void stopped(void *arg, struct partition *p)
{
    (void)p;
    ((struct follow_world *)arg)->stops++;
}

static void flushed(void *arg, struct partition *p)
{
    (void)p;
    ((struct follow_world *)arg)->flushes++;
}

static void truncated(void *arg, struct partition *p)
{
    (void)p;
    ((struct follow_world *)arg)->truncations++;
}

static void assign(struct follow_world *w, int32_t leader, int32_t epoch)
{
    static const int32_t ids[] = {SELF, LEADER};
    const struct partition_assignment a = {.leader_id = leader,
                                           .leader_epoch = epoch,
                                           .membership = {.self_id = SELF,
                                                          .replicas = ids,
                                                          .replica_count = 2,
                                                          .isr = ids,
                                                          .isr_count = 2,
                                                          .min_insync_replicas = 1},
                                           .config = &w->w.config};

    partition_assign(w->p, &a);
}

static void begin(struct follow_world *w)
{
    memset(w, 0, sizeof *w);
    world_begin(&w->w);
    test_loop_init(&w->loop);
    w->flusher = flusher_create(&(struct flusher_args){
        .loop = &w->loop.loop, .pool = &w->loop.pool, .files = w->w.files, .directory = "data"});
    w->env = (struct partition_env){.loop = &w->loop.loop,
                                    .pool = &w->loop.pool,
                                    .files = w->w.files,
                                    .clock = &w->w.clock,
                                    .node_id = SELF,
                                    .flush_before_ack = true,
                                    .storage_failed = storage_failed,
                                    .stopped = stopped,
                                    .flushed = flushed,
                                    .truncated = truncated,
                                    .arg = w};
    w->p = partition_create(&w->env, STR("orders"), (struct uuid){{1, 2, 3}}, 0);
    assert_non_null(w->p);
    world_open(&w->w, LOG_TRUST_SAME_BOOT);
    w->log = w->w.log;
    partition_opened(w->p, w->log, STATUS_OK, 0, w->flusher);
    assign(w, LEADER, EPOCH);
}

static void end(struct follow_world *w)
{
    if (w->stops == 0)
        partition_stop(w->p, KERR_NOT_LEADER_OR_FOLLOWER);
    test_loop_run(&w->loop, 10);
    assert_int_equal(w->stops, 1);
    w->w.log = partition_free(w->p);
    test_loop_run(&w->loop, 10);
    flusher_free(w->flusher);
    world_end(&w->w);
}

/* A batch as the leader of `epoch` has it at `offset`. */
static struct bytes_mut leaders_batch(struct follow_world *w, int64_t offset, int32_t epoch,
                                      int count)
{
    struct bytes_mut batch;

    w->w.log = w->log;
    batch = world_batch(&w->w, count, 20, w->w.now_ms);
    record_batch_set_base_offset(batch.data, offset);
    record_batch_set_leader_epoch(batch.data, epoch);
    return batch;
}

/* So many batches of one record. */
static void receives(struct follow_world *w, int32_t epoch, int count)
{
    for (int i = 0; i < count; i++)
        assert_int_equal(
            partition_follow_append(w->p, leaders_batch(w, log_end_offset(w->log), epoch, 1)).code,
            KERR_NONE);
}

static void leader_offsets(struct follow_world *w, int64_t high_watermark, int64_t start)
{
    partition_follow_offsets(w->p, high_watermark, start);
}

static bool cut_to(struct follow_world *w, int64_t offset)
{
    return partition_truncate(w->p, &(struct fetcher_cut){.offset = offset});
}

static void batches_are_kept_as_the_leader_has_them(void **state)
{
    struct follow_world w;
    struct fetcher_position at;
    (void)state;

    begin(&w);
    receives(&w, 2, 5);
    receives(&w, EPOCH, 5);
    at = partition_follow_position(w.p);
    assert_int_equal(at.end_offset, 10);
    assert_int_equal(at.last_epoch, EPOCH);
    assert_int_equal(log_epoch_of_offset(w.log, 4), 2);
    end(&w);
}

static void fetch_may_go_on_once_what_came_is_flushed(void **state)
{
    struct follow_world w;
    (void)state;

    begin(&w);
    assert_true(partition_follow_flushed(w.p)); /* empty */
    receives(&w, EPOCH, 5);
    assert_false(partition_follow_flushed(w.p));
    assert_int_equal(w.flushes, 0);
    test_loop_run(&w.loop, 10);
    assert_int_equal(w.flushes, 1);
    assert_true(partition_follow_flushed(w.p));
    end(&w);
}

static void with_flushing_off_nobody_waits(void **state)
{
    struct follow_world w;
    (void)state;

    begin(&w);
    w.env.flush_before_ack = false;
    receives(&w, EPOCH, 5);
    assert_true(partition_follow_flushed(w.p));
    end(&w);
}

/* What an ill or hostile leader sends leaves no trace. */
static void bad_batches_are_refused(void **state)
{
    struct follow_world w;
    struct bytes_mut batch;
    (void)state;

    begin(&w);
    receives(&w, EPOCH, 5);
    batch = leaders_batch(&w, 5, EPOCH, 1);
    batch.data[batch.size - 1] ^= 1;
    assert_int_equal(partition_follow_append(w.p, batch).code, KERR_CORRUPT_MESSAGE);
    assert_int_equal(partition_follow_append(w.p, leaders_batch(&w, 5, EPOCH + 1, 1)).code,
                     KERR_CORRUPT_MESSAGE);
    assert_int_equal(partition_follow_append(w.p, leaders_batch(&w, 4, EPOCH, 1)).code,
                     KERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(log_end_offset(w.log), 5);
    assert_int_equal(w.p->state, PARTITION_FOLLOWING);
    end(&w);
}

static void half_a_batch_is_left_out(void **state)
{
    struct follow_world w;
    struct bytes_mut batch;
    (void)state;

    begin(&w);
    batch = leaders_batch(&w, 0, EPOCH, 3);
    batch.size -= 1;
    assert_int_equal(partition_follow_append(w.p, batch).code, KERR_NONE);
    assert_int_equal(log_end_offset(w.log), 0);
    end(&w);
}

static void watermark_follows_the_leader_as_far_as_our_log_goes(void **state)
{
    struct follow_world w;
    (void)state;

    begin(&w);
    receives(&w, EPOCH, 10);
    leader_offsets(&w, 7, 0);
    assert_int_equal(partition_high_watermark(w.p), 7);
    leader_offsets(&w, 50, 0);
    assert_int_equal(partition_high_watermark(w.p), 10);
    leader_offsets(&w, 3, 0); /* a new leader that does not know better yet */
    assert_int_equal(partition_high_watermark(w.p), 10);
    end(&w);
}

static void log_start_follows_the_leader_up_to_what_is_committed(void **state)
{
    struct follow_world w;
    (void)state;

    begin(&w);
    receives(&w, EPOCH, 10);
    leader_offsets(&w, 6, 4);
    assert_int_equal(log_start_offset(w.log), 4);
    leader_offsets(&w, 6, 9);
    assert_int_equal(log_start_offset(w.log), 6);
    leader_offsets(&w, 6, 0);
    assert_int_equal(log_start_offset(w.log), 6);
    end(&w);
}

static void failed_write_takes_it_offline(void **state)
{
    struct follow_world w;
    (void)state;

    begin(&w);
    receives(&w, EPOCH, 5);
    files_sim_fail(w.w.files, &(struct files_fault){.call = FILES_CALL_ANY, .sys_errno = EIO});
    assert_int_equal(partition_follow_append(w.p, leaders_batch(&w, 5, EPOCH, 5)).code,
                     KERR_KAFKA_STORAGE_ERROR);
    files_sim_heal(w.w.files);
    assert_int_equal(w.p->state, PARTITION_OFFLINE);
    assert_int_equal(w.storage_failures, 1);
    end(&w);
}

static void truncation_is_done_in_the_pool(void **state)
{
    struct follow_world w;
    (void)state;

    begin(&w);
    receives(&w, 2, 5);
    receives(&w, EPOCH, 5);
    leader_offsets(&w, 5, 0);
    assert_false(partition_follow_flushed(w.p));
    test_loop_run(&w.loop, 10);
    assert_true(cut_to(&w, 5));
    assert_int_equal(w.p->state, PARTITION_TRUNCATING);
    assert_int_equal(w.truncations, 0);
    assert_int_equal(partition_offsets(w.p).recovery_point, 5); /* whatever becomes of it */
    test_loop_run(&w.loop, 10);
    assert_int_equal(w.truncations, 1);
    assert_int_equal(w.p->state, PARTITION_FOLLOWING);
    assert_int_equal(log_end_offset(w.log), 5);
    assert_int_equal(partition_follow_position(w.p).last_epoch, 2);
    assert_int_equal(partition_high_watermark(w.p), 5);
    receives(&w, EPOCH, 1);
    end(&w);
}

static void truncation_waits_for_a_flush_that_is_under_way(void **state)
{
    struct follow_world w;
    (void)state;

    begin(&w);
    receives(&w, EPOCH, 10);
    assert_false(partition_follow_flushed(w.p));
    w.loop.pool_stuck = true;
    assert_true(cut_to(&w, 4));
    test_loop_run(&w.loop, 10);
    assert_int_equal(w.truncations, 0);
    w.loop.pool_stuck = false;
    test_loop_run(&w.loop, 10);
    assert_int_equal(w.truncations, 1);
    assert_int_equal(log_end_offset(w.log), 4);
    end(&w);
}

/* Only a cluster that lost data comes to this: nobody may read what is gone. */
static void watermark_goes_back_with_the_log(void **state)
{
    struct follow_world w;
    (void)state;

    begin(&w);
    receives(&w, EPOCH, 10);
    leader_offsets(&w, 10, 0);
    assert_true(cut_to(&w, 6));
    test_loop_run(&w.loop, 10);
    assert_int_equal(log_end_offset(w.log), 6);
    assert_int_equal(partition_high_watermark(w.p), 6);
    end(&w);
}

static void log_that_starts_afresh_is_empty_at_the_leaders_start(void **state)
{
    struct follow_world w;
    (void)state;

    begin(&w);
    receives(&w, EPOCH, 10);
    leader_offsets(&w, 10, 0);
    assert_true(partition_truncate(w.p, &(struct fetcher_cut){.fully = true, .offset = 100}));
    test_loop_run(&w.loop, 10);
    assert_int_equal(log_start_offset(w.log), 100);
    assert_int_equal(log_end_offset(w.log), 100);
    assert_int_equal(partition_high_watermark(w.p), 100);
    receives(&w, EPOCH, 1);
    end(&w);
}

/* The metadata goes on meanwhile; the log is the pool's. */
static void leadership_waits_for_a_truncation(void **state)
{
    struct follow_world w;
    (void)state;

    begin(&w);
    receives(&w, EPOCH, 10);
    assert_true(cut_to(&w, 6));
    assign(&w, SELF, EPOCH + 1);
    assert_int_equal(w.p->state, PARTITION_TRUNCATING);
    assert_int_equal(partition_check_leader(w.p, -1), KERR_NOT_LEADER_OR_FOLLOWER);
    test_loop_run(&w.loop, 10);
    assert_int_equal(w.truncations, 1);
    assign(&w, SELF, EPOCH + 1);
    assert_int_equal(w.p->state, PARTITION_LEADING);
    assert_int_equal(w.p->lead_start_offset, 6);
    end(&w);
}

static void partition_stops_once_its_truncation_is_through(void **state)
{
    struct follow_world w;
    (void)state;

    begin(&w);
    receives(&w, EPOCH, 10);
    assert_true(cut_to(&w, 6));
    partition_stop(w.p, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(w.stops, 0);
    test_loop_run(&w.loop, 10);
    assert_int_equal(w.stops, 1);
    assert_int_equal(w.truncations, 0);
    end(&w);
}

static void failed_truncation_takes_it_offline(void **state)
{
    struct follow_world w;
    (void)state;

    begin(&w);
    receives(&w, EPOCH, 10);
    test_loop_run(&w.loop, 10);
    files_sim_fail(w.w.files, &(struct files_fault){.call = FILES_CALL_ANY, .sys_errno = EIO});
    assert_true(cut_to(&w, 6));
    test_loop_run(&w.loop, 10);
    files_sim_heal(w.w.files);
    assert_int_equal(w.p->state, PARTITION_OFFLINE);
    assert_int_equal(w.storage_failures, 1);
    assert_int_equal(w.truncations, 0);
    end(&w);
}

static void directory_that_fails_meanwhile_takes_it_offline_after_the_truncation(void **state)
{
    struct follow_world w;
    (void)state;

    begin(&w);
    receives(&w, EPOCH, 10);
    assert_true(cut_to(&w, 6));
    partition_fail(w.p, status_errno(EIO, "its directory"));
    assert_int_equal(w.p->state, PARTITION_TRUNCATING);
    test_loop_run(&w.loop, 10);
    assert_int_equal(w.p->state, PARTITION_OFFLINE);
    assert_int_equal(w.storage_failures, 1);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_kept_as_the_leader_has_them),
        cmocka_unit_test(fetch_may_go_on_once_what_came_is_flushed),
        cmocka_unit_test(with_flushing_off_nobody_waits),
        cmocka_unit_test(bad_batches_are_refused),
        cmocka_unit_test(half_a_batch_is_left_out),
        cmocka_unit_test(watermark_follows_the_leader_as_far_as_our_log_goes),
        cmocka_unit_test(log_start_follows_the_leader_up_to_what_is_committed),
        cmocka_unit_test(failed_write_takes_it_offline),
        cmocka_unit_test(truncation_is_done_in_the_pool),
        cmocka_unit_test(truncation_waits_for_a_flush_that_is_under_way),
        cmocka_unit_test(watermark_goes_back_with_the_log),
        cmocka_unit_test(log_that_starts_afresh_is_empty_at_the_leaders_start),
        cmocka_unit_test(leadership_waits_for_a_truncation),
        cmocka_unit_test(partition_stops_once_its_truncation_is_through),
        cmocka_unit_test(failed_truncation_takes_it_offline),
        cmocka_unit_test(directory_that_fails_meanwhile_takes_it_offline_after_the_truncation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
