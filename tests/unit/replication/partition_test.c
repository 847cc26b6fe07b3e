/* One partition on one shard: states, those who wait, and what takes it offline. */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

#include "replication/partition.h"
#include "storage/files_sim.h"
#include "tests/unit/replication/test_loop.h"
#include "tests/unit/storage/log_world.h"

#define SELF 1

struct waiting {
    struct watermark_waiter waiter;
    int told;
    enum kerr code;
};

struct watching {
    struct partition_watcher watcher;
    int woken;
};

struct partition_world {
    struct log_world w; /* disk, clock, batches; the log is the partition's from the start */
    struct test_loop loop;
    struct flusher *flusher;
    struct partition_env env;
    struct partition *p;
    struct log *log;
    int32_t replicas[3];
    size_t replica_count;
    int32_t isr[3];
    size_t isr_count;
    int32_t min_isr;
    int32_t partition_epoch; /* of the next assignment */
    int proposals;
    int32_t dead_broker; /* 0: none */
    int32_t leaving_broker;
    int storage_failures, stops;
    struct status failure;
};

static void storage_failed(void *arg, struct partition *p, struct status why)
{
    struct partition_world *w = arg;

    (void)p;
    w->storage_failures++;
    w->failure = why;
}

static void stopped(void *arg, struct partition *p)
{
    (void)p;
    ((struct partition_world *)arg)->stops++;
}

static bool eligible(void *arg, int32_t broker_id, int64_t broker_epoch)
{
    (void)broker_epoch;
    return broker_id != ((struct partition_world *)arg)->leaving_broker;
}

static bool alive(void *arg, int32_t broker_id)
{
    return broker_id != ((struct partition_world *)arg)->dead_broker;
}

static void proposed(void *arg, struct partition *p)
{
    (void)p;
    ((struct partition_world *)arg)->proposals++;
}

static void begin_opening(struct partition_world *w)
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
                                    .replica_lag_ms_max = 30000,
                                    .replica_eligible = eligible,
                                    .broker_alive = alive,
                                    .propose_isr = proposed,
                                    .storage_failed = storage_failed,
                                    .stopped = stopped,
                                    .arg = w};
    w->replicas[0] = w->isr[0] = SELF;
    w->replica_count = w->isr_count = 1;
    w->min_isr = 1;
    w->p = partition_create(&w->env, STR("orders"), (struct uuid){{1, 2, 3}}, 0);
    assert_non_null(w->p);
}

/* Following, with what the log holds; the checkpoint said `high_watermark`. */
static void open_it(struct partition_world *w, int64_t high_watermark)
{
    world_open(&w->w, LOG_TRUST_SAME_BOOT);
    w->log = w->w.log;
    partition_opened(w->p, w->log, STATUS_OK, high_watermark, w->flusher);
}

static void begin(struct partition_world *w)
{
    begin_opening(w);
    open_it(w, 0);
}

static void end(struct partition_world *w)
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

/* The metadata says that `leader` leads in `epoch`, with the members that the world has. */
static void assign(struct partition_world *w, int32_t leader, int32_t epoch)
{
    struct partition_assignment a = {.leader_id = leader,
                                     .leader_epoch = epoch,
                                     .membership = {.self_id = SELF,
                                                    .replicas = w->replicas,
                                                    .replica_count = w->replica_count,
                                                    .isr = w->isr,
                                                    .isr_count = w->isr_count,
                                                    .min_insync_replicas = w->min_isr,
                                                    .partition_epoch = w->partition_epoch++},
                                     .config = &w->w.config};

    partition_assign(w->p, &a);
}

static void set_members(struct partition_world *w, size_t replica_count, size_t isr_count,
                        int32_t min_isr)
{
    for (int32_t i = 0; i < 3; i++)
        w->replicas[i] = w->isr[i] = SELF + i;
    w->replica_count = replica_count;
    w->isr_count = isr_count;
    w->min_isr = min_isr;
}

static enum kerr append(struct partition_world *w, bool acks_all)
{
    struct log_appended out;

    w->w.log = w->log; /* batches are made for the log that the world has */
    return partition_append(w->p, world_batch(&w->w, 1, 20, w->w.now_ms), acks_all, &out, NULL)
        .code;
}

static void reached(struct watermark_waiter *w, enum kerr code)
{
    struct waiting *a = CONTAINER_OF(w, struct waiting, waiter);

    a->told++;
    a->code = code;
}

static bool wait_for(struct partition_world *w, struct waiting *a, int64_t offset)
{
    *a = (struct waiting){.waiter = {.offset = offset, .reached = reached}};
    return partition_wait(w->p, &a->waiter);
}

static void changed(struct partition_watcher *w)
{
    CONTAINER_OF(w, struct watching, watcher)->woken++;
}

static void run(struct partition_world *w)
{
    test_loop_run(&w->loop, 10);
}

/* ---- stories ---- */

static void acks_all_waits_for_the_disk(void **state)
{
    static struct partition_world w;
    struct waiting a;
    (void)state;

    begin(&w);
    assign(&w, SELF, 3);
    assert_int_equal(w.p->state, PARTITION_LEADING);
    assert_int_equal(append(&w, true), KERR_NONE);
    assert_false(wait_for(&w, &a, 1));
    assert_int_equal(partition_high_watermark(w.p), 0);
    w.loop.pool_stuck = true;
    run(&w);
    assert_int_equal(a.told, 0);
    w.loop.pool_stuck = false;
    run(&w);
    assert_int_equal(a.told, 1);
    assert_int_equal(a.code, KERR_NONE);
    assert_int_equal(partition_high_watermark(w.p), 1);
    assert_true(wait_for(&w, &a, 1)); /* it is there already */
    assert_int_equal(log_latest_epoch(w.log), 3);
    end(&w);
}

static void without_flushing_the_page_cache_is_enough(void **state)
{
    static struct partition_world w;
    struct waiting a;
    (void)state;

    begin(&w);
    w.env.flush_before_ack = false;
    assign(&w, SELF, 0);
    w.loop.pool_stuck = true;
    assert_int_equal(append(&w, true), KERR_NONE);
    assert_true(wait_for(&w, &a, 1));
    w.loop.pool_stuck = false;
    end(&w);
}

static void waiters_are_told_as_far_as_the_watermark_comes(void **state)
{
    static struct partition_world w;
    struct waiting a, b, c;
    (void)state;

    begin(&w);
    assign(&w, SELF, 0);
    append(&w, true);
    assert_false(wait_for(&w, &a, 1));
    assert_false(wait_for(&w, &b, 2));
    assert_false(wait_for(&w, &c, 2));
    run(&w);
    assert_int_equal(a.told, 1);
    assert_int_equal(b.told, 0);
    partition_unwait(w.p, &b.waiter);
    append(&w, true);
    run(&w);
    assert_int_equal(b.told, 0);
    assert_int_equal(c.told, 1);
    end(&w);
}

/* An idempotent producer that sends a batch again, while the first of it is on its way, is answered
 * when that is. */
static void who_waits_for_less_is_told_first_however_late_it_came(void **state)
{
    static struct partition_world w;
    struct waiting a, b, again, first;
    (void)state;

    begin(&w);
    set_members(&w, 2, 2, 1);
    assign(&w, SELF, 0);
    for (int i = 0; i < 3; i++)
        append(&w, true);
    assert_false(wait_for(&w, &a, 2));
    assert_false(wait_for(&w, &b, 3));
    assert_false(wait_for(&w, &again, 2));
    assert_false(wait_for(&w, &first, 1));
    run(&w);
    partition_replica_fetched(w.p, &(struct replica_fetch){.replica_id = 2, .offset = 2});
    assert_int_equal(a.told, 1);
    assert_int_equal(again.told, 1);
    assert_int_equal(first.told, 1);
    assert_int_equal(b.told, 0);
    partition_unwait(w.p, &b.waiter);
    end(&w);
}

static void only_the_leader_of_the_epoch_is_asked(void **state)
{
    static struct partition_world w;
    (void)state;

    begin(&w);
    assert_int_equal(partition_check_leader(w.p, -1), KERR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(append(&w, false), KERR_NOT_LEADER_OR_FOLLOWER);
    assign(&w, SELF, 5);
    assert_int_equal(partition_check_leader(w.p, -1), KERR_NONE);
    assert_int_equal(partition_check_leader(w.p, 5), KERR_NONE);
    assert_int_equal(partition_check_leader(w.p, 4), KERR_FENCED_LEADER_EPOCH);
    assert_int_equal(partition_check_leader(w.p, 6), KERR_UNKNOWN_LEADER_EPOCH);
    assign(&w, 2, 6);
    assert_int_equal(w.p->state, PARTITION_FOLLOWING);
    assert_int_equal(partition_check_leader(w.p, 6), KERR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(log_end_offset(w.log), 0);
    end(&w);
}

/* acks=1 goes on while the ISR is below the minimum; acks=all is refused before anything is
 * written. */
static void too_small_an_isr_refuses_acks_all(void **state)
{
    static struct partition_world w;
    (void)state;

    begin(&w);
    set_members(&w, 3, 1, 2);
    assign(&w, SELF, 0);
    assert_int_equal(append(&w, true), KERR_NOT_ENOUGH_REPLICAS);
    assert_int_equal(log_end_offset(w.log), 0);
    assert_int_equal(append(&w, false), KERR_NONE);
    run(&w);
    assert_int_equal(log_end_offset(w.log), 1);
    assert_int_equal(partition_high_watermark(w.p), 0); /* KIP-966 */
    end(&w);
}

/* It still fetches and has everything; the same metadata took it out of the ISR, because it is
 * about to stop. */
static void follower_that_leaves_is_not_asked_back(void **state)
{
    static struct partition_world w;
    (void)state;

    begin(&w);
    set_members(&w, 2, 2, 1);
    assign(&w, SELF, 0);
    append(&w, true);
    run(&w);
    partition_replica_fetched(w.p, &(struct replica_fetch){.replica_id = 2, .offset = 1});
    assert_int_equal(partition_high_watermark(w.p), 1);
    w.leaving_broker = 2;
    set_members(&w, 2, 1, 1);
    assign(&w, SELF, 0);
    assert_int_equal(w.proposals, 0);
    w.leaving_broker = 0; /* it is back */
    partition_replica_fetched(w.p, &(struct replica_fetch){.replica_id = 2, .offset = 1});
    assert_int_equal(w.proposals, 1);
    end(&w);
}

static void watermark_waits_for_the_others_and_no_longer_than_they_are_in(void **state)
{
    static struct partition_world w;
    struct waiting a, b;
    (void)state;

    begin(&w);
    set_members(&w, 3, 2, 1);
    assign(&w, SELF, 0);
    append(&w, true);
    append(&w, true);
    assert_false(wait_for(&w, &a, 1));
    assert_false(wait_for(&w, &b, 2));
    run(&w);
    assert_int_equal(a.told, 0);
    partition_replica_fetched(w.p, &(struct replica_fetch){.replica_id = 2, .offset = 1});
    assert_int_equal(a.told, 1);
    assert_int_equal(b.told, 0);
    set_members(&w, 3, 1, 1);
    assign(&w, SELF, 0); /* the controller took it out */
    assert_int_equal(a.told, 1);
    assert_int_equal(b.told, 1);
    assert_int_equal(b.code, KERR_NONE);
    assert_int_equal(partition_high_watermark(w.p), 2);
    end(&w);
}

static void those_who_wait_hear_that_it_leads_no_more(void **state)
{
    static struct partition_world w;
    struct watching watch = {.watcher = {.changed = changed}};
    struct waiting a;
    (void)state;

    begin(&w);
    assign(&w, SELF, 0);
    partition_watch(w.p, &watch.watcher);
    append(&w, true);
    assert_false(wait_for(&w, &a, 1));
    assign(&w, SELF, 1); /* led on in a new epoch: the promise stands */
    assert_int_equal(a.told, 0);
    watch.woken = 0;
    assign(&w, 2, 2);
    assert_int_equal(a.told, 1);
    assert_int_equal(a.code, KERR_NOT_LEADER_OR_FOLLOWER);
    assert_true(watch.woken > 0);
    partition_unwatch(&watch.watcher);
    partition_unwatch(&watch.watcher); /* fine twice */
    end(&w);
}

static void watchers_are_woken_by_the_watermark(void **state)
{
    static struct partition_world w;
    struct watching watch = {.watcher = {.changed = changed}};
    (void)state;

    begin(&w);
    assign(&w, SELF, 0);
    partition_watch(w.p, &watch.watcher);
    append(&w, false);
    assert_int_equal(watch.woken, 0);
    run(&w);
    assert_int_equal(watch.woken, 1);
    partition_unwatch(&watch.watcher);
    append(&w, false);
    run(&w);
    assert_int_equal(watch.woken, 1);
    end(&w);
}

static void failed_flush_takes_it_offline_for_all(void **state)
{
    static struct partition_world w;
    struct watching watch = {.watcher = {.changed = changed}};
    struct waiting a;
    (void)state;

    begin(&w);
    assign(&w, SELF, 0);
    partition_watch(w.p, &watch.watcher);
    append(&w, true);
    assert_false(wait_for(&w, &a, 1));
    files_sim_fail(w.w.files, &(struct files_fault){.call = FILES_CALL_SYNC, .sys_errno = EIO});
    files_sim_fail(w.w.files,
                   &(struct files_fault){.call = FILES_CALL_SYNC_FILESYSTEM, .sys_errno = EIO});
    run(&w);
    assert_int_equal(a.code, KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(a.told, 1);
    assert_int_equal(w.p->state, PARTITION_OFFLINE);
    assert_int_equal(w.storage_failures, 1);
    assert_int_equal(w.failure.sys_errno, EIO);
    assert_true(watch.woken > 0);
    assert_int_equal(partition_check_leader(w.p, -1), KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(append(&w, false), KERR_KAFKA_STORAGE_ERROR);
    assign(&w, SELF, 1); /* the metadata do not heal a disk */
    assert_int_equal(w.p->state, PARTITION_OFFLINE);
    partition_unwatch(&watch.watcher);
    end(&w);
}

static void failed_write_takes_it_offline_and_a_refused_batch_does_not(void **state)
{
    static struct partition_world w;
    struct bytes_mut batch;
    struct log_appended out;
    (void)state;

    begin(&w);
    assign(&w, SELF, 0);
    w.w.log = w.log;
    batch = world_batch(&w.w, 1, 20, w.w.now_ms);
    batch.data[batch.size - 1] ^= 1;
    assert_int_equal(partition_append(w.p, batch, true, &out, NULL).code, KERR_CORRUPT_MESSAGE);
    assert_int_equal(w.p->state, PARTITION_LEADING);
    files_sim_fail(w.w.files, &(struct files_fault){.call = FILES_CALL_WRITE, .sys_errno = ENOSPC});
    assert_int_equal(append(&w, true), KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(w.p->state, PARTITION_OFFLINE);
    assert_int_equal(w.storage_failures, 1);
    files_sim_heal(w.w.files);
    assert_int_equal(append(&w, true), KERR_KAFKA_STORAGE_ERROR);
    end(&w);
}

static void log_that_does_not_open_is_offline_from_the_start(void **state)
{
    static struct partition_world w;
    (void)state;

    begin_opening(&w);
    partition_opened(w.p, NULL, status_errno(EIO, "open"), 0, w.flusher);
    assert_int_equal(w.p->state, PARTITION_OFFLINE);
    assert_int_equal(w.storage_failures, 1);
    assign(&w, SELF, 0);
    assert_int_equal(partition_check_leader(w.p, -1), KERR_KAFKA_STORAGE_ERROR);
    partition_maintain(w.p, 0);
    end(&w);
}

static void failure_found_elsewhere_is_told_once(void **state)
{
    static struct partition_world w;
    struct waiting a;
    (void)state;

    begin_opening(&w);
    /* opening will find out itself */
    partition_fail(w.p, status_error(KERR_KAFKA_STORAGE_ERROR, "its directory"));
    assert_int_equal(w.p->state, PARTITION_OPENING);
    open_it(&w, 0);
    assign(&w, SELF, 0);
    append(&w, true);
    assert_false(wait_for(&w, &a, 1));
    partition_fail(w.p, status_error(KERR_KAFKA_STORAGE_ERROR, "its directory"));
    partition_fail(w.p, status_error(KERR_KAFKA_STORAGE_ERROR, "its directory"));
    assert_int_equal(w.storage_failures, 1);
    assert_int_equal(a.code, KERR_KAFKA_STORAGE_ERROR);
    assert_true(log_offline(w.log));
    end(&w);
}

static void stopping_waits_for_the_flush_that_is_under_way(void **state)
{
    static struct partition_world w;
    struct waiting a;
    (void)state;

    begin(&w);
    assign(&w, SELF, 0);
    append(&w, true);
    assert_false(wait_for(&w, &a, 1));
    w.loop.pool_stuck = true;
    run(&w);
    partition_stop(w.p, KERR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(a.code, KERR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(w.stops, 0);
    w.loop.pool_stuck = false;
    run(&w);
    assert_int_equal(w.stops, 1);
    end(&w);
}

/* KIP-207: what an earlier leader may have told is not taken back. */
static void new_leader_is_sure_of_its_end_only_when_the_watermark_is_there(void **state)
{
    static struct partition_world w;
    (void)state;

    begin_opening(&w);
    world_open(&w.w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 4; i++)
        world_append(&w.w, 1, 10);
    world_flush(&w.w);
    world_close(&w.w, true);
    w.w.recovery_point = 4;
    open_it(&w, 2);
    set_members(&w, 2, 2, 1);
    assign(&w, SELF, 7);
    assert_int_equal(partition_high_watermark(w.p), 2);
    assert_false(partition_caught_up(w.p));
    set_members(&w, 2, 1, 1);
    assign(&w, SELF, 7);
    run(&w);
    assert_true(partition_caught_up(w.p));
    assert_int_equal(partition_high_watermark(w.p), 4);
    end(&w);
}

/* A checkpoint may be newer than the log that a crash left, or older than its start. */
static void checkpointed_watermark_is_kept_within_the_log(void **state)
{
    static struct partition_world w;
    (void)state;

    for (int64_t told = 0; told <= 99; told += 33) {
        begin_opening(&w);
        world_open(&w.w, LOG_TRUST_CLEAN);
        for (int i = 0; i < 40; i++)
            world_append(&w.w, 1, 10);
        assert_false(status_failed(log_raise_start_offset(w.w.log, 10)));
        w.w.log_start_offset = 10;
        world_close(&w.w, true);
        open_it(&w, told);
        assert_int_equal(partition_high_watermark(w.p), told < 10 ? 10 : told > 40 ? 40 : told);
        end(&w);
    }
}

static enum kerr delete_up_to(struct partition_world *w, int64_t offset)
{
    return partition_delete_records(w->p, &offset).code;
}

static void records_are_deleted_up_to_the_watermark(void **state)
{
    static struct partition_world w;
    int64_t all = -1;
    (void)state;

    begin(&w);
    assert_int_equal(delete_up_to(&w, 0), KERR_NOT_LEADER_OR_FOLLOWER);
    assign(&w, SELF, 0);
    for (int i = 0; i < 5; i++)
        append(&w, false);
    run(&w);
    append(&w, false); /* above the watermark */
    assert_int_equal(delete_up_to(&w, 6), KERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(delete_up_to(&w, -2), KERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(partition_low_watermark(w.p), 0);
    assert_int_equal(delete_up_to(&w, 3), KERR_NONE);
    assert_int_equal(partition_low_watermark(w.p), 3);
    assert_int_equal(delete_up_to(&w, 1), KERR_NONE); /* gone already */
    assert_int_equal(partition_low_watermark(w.p), 3);
    assert_int_equal(partition_delete_records(w.p, &all).code, KERR_NONE);
    assert_int_equal(all, 5);
    assert_int_equal(partition_low_watermark(w.p), 5);
    w.w.config.cleanup_delete = false;
    assert_int_equal(delete_up_to(&w, -1), KERR_POLICY_VIOLATION);
    end(&w);
}

static bool wait_low(struct partition_world *w, struct waiting *a, int64_t offset)
{
    *a = (struct waiting){.waiter = {.offset = offset, .reached = reached}};
    return partition_wait_low(w->p, &a->waiter);
}

static void follower_says(struct partition_world *w, int32_t id, int64_t offset, int64_t log_start)
{
    partition_replica_fetched(
        w->p,
        &(struct replica_fetch){.replica_id = id, .offset = offset, .log_start_offset = log_start});
}

/* What is deleted is deleted everywhere, but for brokers that are not there. */
static void low_watermark_waits_for_the_replicas_that_are_alive(void **state)
{
    static struct partition_world w;
    struct waiting a, b;
    (void)state;

    begin(&w);
    set_members(&w, 3, 3, 1);
    assign(&w, SELF, 0);
    append(&w, false);
    append(&w, false);
    run(&w);
    follower_says(&w, 2, 2, 0);
    follower_says(&w, 3, 2, 0);
    assert_int_equal(delete_up_to(&w, 2), KERR_NONE);
    assert_false(wait_low(&w, &a, 2));
    assert_true(wait_low(&w, &b, 0));
    follower_says(&w, 2, 2, 2);
    assert_int_equal(a.told, 0);
    w.dead_broker = 3;
    partition_brokers_changed(w.p);
    assert_int_equal(a.told, 1);
    assert_int_equal(a.code, KERR_NONE);
    assert_int_equal(partition_low_watermark(w.p), 2);
    w.dead_broker = 0;
    assert_false(wait_low(&w, &a, 2));
    assign(&w, 2, 1);
    assert_int_equal(a.told, 1);
    assert_int_equal(a.code, KERR_NOT_LEADER_OR_FOLLOWER);
    end(&w);
}

static void fill_segments(struct partition_world *w)
{
    w->w.config.segment_bytes = 1024;
    world_open(&w->w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 100; i++)
        world_append(&w->w, 1, 200);
    world_close(&w->w, true);
}

/* After a start the ages of segments are in their files: retention asks in the pool, and goes on by
 * itself. */
static void retention_asks_the_disk_in_the_pool(void **state)
{
    static struct partition_world w;
    (void)state;

    begin_opening(&w);
    fill_segments(&w);
    open_it(&w, 100);
    assign(&w, SELF, 0);
    run(&w);
    w.w.config.retention_ms = 1000;
    w.w.config.file_delete_delay_ms = 0;
    w.w.now_ms += 5000;
    w.loop.pool_stuck = true;
    partition_maintain(w.p, w.w.now_ms);
    partition_maintain(w.p, w.w.now_ms); /* once is enough */
    assert_int_equal(w.loop.jobs.count, 1);
    assert_int_equal(log_start_offset(w.log), 0);
    w.loop.pool_stuck = false;
    run(&w);
    assert_int_equal(log_start_offset(w.log), 99); /* the newest waits until its successor's name
                                                    * is flushed */
    assert_null(w.p->ages);
    partition_maintain(w.p, w.w.now_ms);
    assert_int_equal(log_start_offset(w.log), 100);
    end(&w);
}

static void partition_may_go_while_retention_asks(void **state)
{
    static struct partition_world w;
    (void)state;

    begin_opening(&w);
    fill_segments(&w);
    open_it(&w, 100);
    assign(&w, SELF, 0);
    run(&w);
    w.w.config.retention_ms = 1000;
    w.w.now_ms += 5000;
    partition_maintain(w.p, w.w.now_ms);
    assert_non_null(w.p->ages);
    end(&w); /* stops, frees, and only then does the job come back */
}

static void retention_that_cannot_read_takes_it_offline(void **state)
{
    static struct partition_world w;
    (void)state;

    begin_opening(&w);
    fill_segments(&w);
    open_it(&w, 100);
    assign(&w, SELF, 0);
    run(&w);
    w.w.config.retention_ms = 1000;
    w.w.now_ms += 5000;
    files_sim_fail(w.w.files, &(struct files_fault){.call = FILES_CALL_READ, .sys_errno = EIO});
    partition_maintain(w.p, w.w.now_ms);
    run(&w);
    assert_int_equal(w.p->state, PARTITION_OFFLINE);
    assert_int_equal(w.storage_failures, 1);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acks_all_waits_for_the_disk),
        cmocka_unit_test(without_flushing_the_page_cache_is_enough),
        cmocka_unit_test(waiters_are_told_as_far_as_the_watermark_comes),
        cmocka_unit_test(who_waits_for_less_is_told_first_however_late_it_came),
        cmocka_unit_test(only_the_leader_of_the_epoch_is_asked),
        cmocka_unit_test(too_small_an_isr_refuses_acks_all),
        cmocka_unit_test(watermark_waits_for_the_others_and_no_longer_than_they_are_in),
        cmocka_unit_test(follower_that_leaves_is_not_asked_back),
        cmocka_unit_test(those_who_wait_hear_that_it_leads_no_more),
        cmocka_unit_test(watchers_are_woken_by_the_watermark),
        cmocka_unit_test(failed_flush_takes_it_offline_for_all),
        cmocka_unit_test(failed_write_takes_it_offline_and_a_refused_batch_does_not),
        cmocka_unit_test(log_that_does_not_open_is_offline_from_the_start),
        cmocka_unit_test(failure_found_elsewhere_is_told_once),
        cmocka_unit_test(stopping_waits_for_the_flush_that_is_under_way),
        cmocka_unit_test(new_leader_is_sure_of_its_end_only_when_the_watermark_is_there),
        cmocka_unit_test(checkpointed_watermark_is_kept_within_the_log),
        cmocka_unit_test(records_are_deleted_up_to_the_watermark),
        cmocka_unit_test(low_watermark_waits_for_the_replicas_that_are_alive),
        cmocka_unit_test(retention_asks_the_disk_in_the_pool),
        cmocka_unit_test(partition_may_go_while_retention_asks),
        cmocka_unit_test(retention_that_cannot_read_takes_it_offline),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
