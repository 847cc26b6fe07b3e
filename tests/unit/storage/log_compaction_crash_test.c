/* Compactions that a failing call or a crash ends, and seeded lives of compacted logs. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/files_sim.h"
#include "tests/unit/storage/compaction_world.h"

enum end { KILL, CRASH_LOSING_ALL, CRASH };

static void end_life(struct compaction_world *c, enum end how, uint64_t seed)
{
    if (how == KILL)
        files_sim_kill(c->w.files);
    else if (how == CRASH_LOSING_ALL)
        files_sim_crash_losing_all(c->w.files);
    else
        files_sim_crash(c->w.files, seed);
    if (c->w.log)
        world_close(&c->w, false);
}

static void open_after(struct compaction_world *c, enum end how)
{
    world_open(&c->w, how == KILL ? LOG_TRUST_SAME_BOOT : LOG_TRUST_OTHER_BOOT);
}

/* Segments that become one, tombstones that go, an aborted and a committed transaction, an
 * idempotent producer. */
static void write_some_of_everything(struct compaction_world *c)
{
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;

    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 8; k++)
            keyed_put(c, k, c->next_value++);
        keyed_put(c, i, 0);
        if (i == 1)
            keyed_put(c, 20, c->next_value++);
        if (i == 2)
            keyed_put(c, 20, 0); /* and never again */
        head.producer_id = 5;
        head.producer_epoch = 0;
        head.base_sequence = i;
        head.attributes = 0;
        assert_false(
            status_failed(keyed_append(c, (struct keyed[]){{9, c->next_value++}}, 1, &head)));
        head.producer_id = 6;
        head.base_sequence = 2 * i;
        head.attributes = RECORD_BATCH_TRANSACTIONAL;
        assert_false(status_failed(keyed_append(
            c, (struct keyed[]){{10, c->next_value++}, {3, c->next_value++}}, 2, &head)));
        assert_false(status_failed(marker_append(c, 6, 0, i % 2)));
        keyed_roll(c, 11);
    }
}

/* The call number `after` of a compaction fails; then comes the end. False when the compaction made
 * fewer calls. */
static bool survives(uint64_t after, enum end how, int rounds, int32_t segment_bytes, uint64_t seed,
                     uint64_t after_again)
{
    struct compaction_world c;
    struct status st;
    uint64_t calls;
    int64_t end;
    bool failed;

    compaction_begin(&c);
    c.w.config.segment_bytes = segment_bytes;
    world_open(&c.w, LOG_TRUST_CLEAN);
    write_some_of_everything(&c);
    for (int i = 1; i < rounds; i++) {
        compact_all(&c); /* so that tombstones and markers have their horizon */
        c.w.now_ms += c.w.config.delete_retention_ms + 1;
        keyed_roll(&c, 11);
    }
    end = log_end_offset(c.w.log);
    c.w.recovery_point = log_recovery_point(c.w.log);
    calls = files_sim_calls(c.w.files, FILES_CALL_ANY);
    /* From then on nothing works any more, as when the machine is gone. */
    files_sim_fail(c.w.files,
                   &(struct files_fault){
                       .call = FILES_CALL_ANY, .after = after, .sys_errno = EIO, .partial = true});
    (void)compact(&c, &st);
    failed = files_sim_calls(c.w.files, FILES_CALL_ANY) - calls > after;
    files_sim_heal(c.w.files);
    end_life(&c, how == CRASH && seed % 2 ? KILL : how, seed);
    if (how == CRASH) { /* and once more while the start carries it through, or undoes it */
        files_sim_fail(
            c.w.files,
            &(struct files_fault){.call = FILES_CALL_ANY, .after = after_again, .sys_errno = EIO});
        (void)world_try_open(&c.w, LOG_TRUST_OTHER_BOOT);
        files_sim_heal(c.w.files);
        end_life(&c, CRASH, seed / 3);
    }
    open_after(&c, how);
    assert_int_equal(log_end_offset(c.w.log), end);
    assert_false(c.w.report.damaged);
    check_log(&c);
    if (compact(&c, &st)) /* what is left of it bothers nobody */
        assert_false(status_failed(st));
    check_log(&c);
    /* And once more, when what the recovery did is lost in its turn. */
    end_life(&c, CRASH, seed + 1);
    open_after(&c, CRASH);
    check_log(&c);
    compaction_end(&c);
    return failed;
}

/* Every file call of a compaction is the last one of that life. */
static void a_crash_at_any_call_loses_no_last_value(void **state)
{
    (void)state;

    for (int how = KILL; how < CRASH; how++)
        for (int rounds = 1; rounds <= 2; rounds++)
            for (uint64_t after = 0; survives(after, (enum end)how, rounds, 4096, after, 0);
                 after++)
                ;
    /* The seed says how much of what was not synced is kept: for each call from nothing to
     * everything. */
    for (uint64_t seed = 1; seed <= 40; seed++)
        for (uint64_t after = 0; survives(after, CRASH, 1 + (int)(seed % 2), seed % 3 ? 4096 : 6000,
                                          seed + after * seed / 7, seed / 5 % 50);
             after++)
            ;
    /* A start goes by names that a kill left in the page cache only. */
    for (uint64_t again = 20; again < 40; again++)
        for (uint64_t after = 30; survives(after, CRASH, 2, 6000, 26 * after + 11, again); after++)
            ;
}

/* One call fails and the process goes on: either the log is as it was, or it is offline and the
 * next start finds it. */
static void each_failing_call_leaves_a_whole_log(void **state)
{
    bool failed = true;
    (void)state;

    for (uint64_t after = 0; failed; after++) {
        struct compaction_world c;
        struct status st;
        uint64_t calls;

        compaction_begin(&c);
        world_open(&c.w, LOG_TRUST_CLEAN);
        write_some_of_everything(&c);
        calls = files_sim_calls(c.w.files, FILES_CALL_ANY);
        files_sim_fail(c.w.files, &(struct files_fault){.call = FILES_CALL_ANY,
                                                        .after = after,
                                                        .times = 1,
                                                        .sys_errno = EIO,
                                                        .partial = true});
        (void)compact(&c, &st);
        failed = files_sim_calls(c.w.files, FILES_CALL_ANY) - calls > after;
        files_sim_heal(c.w.files);
        if (!log_offline(c.w.log)) {
            check_log(&c);
            keyed_put(&c, 12, c.next_value++);
            world_flush(&c.w);
            if (status_failed(st)) {
                keyed_roll(&c, 11);
                compact_all(&c);
                check_log(&c);
            }
            world_close(&c.w, true);
            world_open(&c.w, LOG_TRUST_CLEAN);
        } else {
            assert_true(status_failed(st));
            files_sim_kill(c.w.files);
            world_close(&c.w, false);
            world_open(&c.w, LOG_TRUST_SAME_BOOT);
        }
        check_log(&c);
        compaction_end(&c);
    }
}

/* ---- seeded lives ---- */

#define PRODUCERS 4 /* odd ones write transactions */

struct life {
    struct compaction_world c;
    int16_t epoch[PRODUCERS];
    int32_t sequence[PRODUCERS];
    enum log_trust trust;
    int64_t flushed;
    int64_t written;
    int compactions;
};

static uint64_t pick(struct life *l, uint64_t below)
{
    return world_random(&l->c.w, below);
}

static int64_t producer_id(int producer)
{
    return 100 + producer;
}

static void append_batch(struct life *l)
{
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
    struct keyed records[6];
    const int count = 1 + (int)pick(l, 6);
    const int producer = (int)pick(l, PRODUCERS + 2) - 2; /* negative: none */

    for (int i = 0; i < count; i++)
        records[i] = (struct keyed){(int)pick(l, WORLD_KEYS), pick(l, 6) ? l->c.next_value++ : 0};
    head.compression = (enum compression_type)pick(l, COMPRESSION_COUNT);
    head.compression_level = compression_levels(head.compression).initial;
    if (producer >= 0) {
        head.producer_id = producer_id(producer);
        head.producer_epoch = l->epoch[producer];
        head.base_sequence = l->sequence[producer];
        head.attributes = producer % 2 ? RECORD_BATCH_TRANSACTIONAL : 0;
        l->sequence[producer] += count;
    }
    l->c.w.now_ms += (int64_t)pick(l, 50);
    assert_false(status_failed(keyed_append(&l->c, records, count, &head)));
}

static void end_transaction(struct life *l, int producer, bool abort)
{
    if (transaction_open(&l->c, producer_id(producer)))
        assert_false(
            status_failed(marker_append(&l->c, producer_id(producer), l->epoch[producer], abort)));
}

/* What the coordinator does for producers that come back with a new epoch. */
static void start_over(struct life *l)
{
    for (int p = 0; p < PRODUCERS; p++) {
        l->epoch[p]++;
        l->sequence[p] = 0;
        if (p % 2)
            end_transaction(l, p, true);
    }
}

static void compact_some(struct life *l)
{
    struct status st;

    l->c.step_bytes = 100 + (int64_t)pick(l, 3000);
    l->c.args.map_bytes_max = pick(l, 3) ? 1 << 20 : 24 * (2 + pick(l, 20));
    if (!compact(&l->c, &st))
        return;
    assert_false(status_failed(st));
    l->compactions++;
    check_log(&l->c);
}

static void note(struct life *l)
{
    l->flushed = log_flushed_end_offset(l->c.w.log);
    l->written = log_end_offset(l->c.w.log);
}

static void live(struct life *l)
{
    struct log_world *w = &l->c.w;

    for (uint64_t n = 5 + pick(l, 60); n > 0; n--) {
        append_batch(l);
        if (pick(l, 4) == 0)
            end_transaction(l, pick(l, 2) ? 1 : 3, pick(l, 2));
        if (pick(l, 4) == 0)
            world_flush(w);
        if (pick(l, 6) == 0) {
            w->recovery_point = log_recovery_point(w->log);
            w->cleaned_offset = log_cleaned_offset(w->log);
        }
        if (pick(l, 6) == 0)
            compact_some(l);
        if (pick(l, 20) == 0)
            (void)log_maintain(w->log, log_flushed_end_offset(w->log), w->now_ms);
        if (pick(l, 10) == 0)
            w->now_ms += w->config.delete_retention_ms / 3;
    }
    note(l);
}

static void remove_snapshot(void *arg, const char *name, bool is_directory)
{
    struct log_world *w = arg;
    char path[200];

    (void)is_directory;
    if (!strstr(name, ".snapshot"))
        return;
    snprintf(path, sizeof path, LOG_DIRECTORY "/%s", name);
    assert_false(status_failed(w->files->ops->remove(w->files, path)));
}

/* A clean end, a kill or a crash; in the last two possibly in the middle of a compaction. */
static void end_of_life(struct life *l)
{
    struct log_world *w = &l->c.w;
    const uint64_t how = pick(l, 5);
    struct status st;

    if (how > 1 && pick(l, 2)) {
        files_sim_fail(w->files, &(struct files_fault){.call = FILES_CALL_ANY,
                                                       .after = pick(l, 60),
                                                       .sys_errno = EIO,
                                                       .partial = true});
        (void)compact(&l->c, &st);
        files_sim_heal(w->files);
    }
    l->trust = how < 2 ? LOG_TRUST_CLEAN : how == 2 ? LOG_TRUST_SAME_BOOT : LOG_TRUST_OTHER_BOOT;
    if (how < 2) {
        world_close(w, true);
        w->recovery_point = l->written;
        l->flushed = l->written;
        if (how == 0) /* what producers did is in the batches too */
            assert_false(
                status_failed(w->files->ops->list(w->files, LOG_DIRECTORY, remove_snapshot, w)));
    } else if (how == 2) {
        end_life(&l->c, KILL, 0);
    } else {
        end_life(&l->c, how == 3 ? CRASH : CRASH_LOSING_ALL, pick(l, UINT64_MAX));
    }
}

static void next_life(struct life *l)
{
    world_open(&l->c.w, l->trust);
    assert_false(l->c.w.report.damaged);
    assert_true(log_end_offset(l->c.w.log) >= l->flushed);
    if (l->trust != LOG_TRUST_OTHER_BOOT)
        assert_int_equal(log_end_offset(l->c.w.log), l->written);
    if (l->trust == LOG_TRUST_OTHER_BOOT)
        forget_lost(&l->c, l->flushed);
    check_log(&l->c);
    if (l->trust == LOG_TRUST_OTHER_BOOT)
        start_over(l);
    log_high_watermark_moved(l->c.w.log, log_flushed_end_offset(l->c.w.log));
}

/* Compacted and compact,delete topics through clean ends, kills and crashes: the last committed
 * value of each key is there, every record is as it was written, and producers go on where they
 * were. */
static void seeded_lives_keep_the_last_value_of_each_key(void **state)
{
    int compactions = 0;
    (void)state;

    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct life l = {.trust = LOG_TRUST_CLEAN};

        compaction_begin(&l.c);
        l.c.w.random = seed * 0x9e3779b97f4a7c15u;
        l.c.w.config.segment_bytes = 1200 + (int32_t)pick(&l, 5000);
        l.c.w.config.index_interval_bytes = (int32_t)pick(&l, 700);
        l.c.w.config.delete_retention_ms = (int64_t)pick(&l, 3000);
        if (seed % 2) {
            l.c.w.config.cleanup_delete = true;
            l.c.w.config.retention_bytes = 8000;
        }
        for (int life = 0; life < 4; life++) {
            next_life(&l);
            live(&l);
            end_of_life(&l);
        }
        next_life(&l);
        compactions += l.compactions;
        compaction_end(&l.c);
    }
    assert_true(compactions > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_at_any_call_loses_no_last_value),
        cmocka_unit_test(each_failing_call_leaves_a_whole_log),
        cmocka_unit_test(seeded_lives_keep_the_last_value_of_each_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
