/* Compactions that a failing call or a crash ends, and seeded lives of compacted logs. */
#include "tests/unit/test.h"

#include <errno.h>
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

/* Segments that become one, tombstones that go, an aborted and a committed transaction, an idempotent producer. */
static void write_some_of_everything(struct compaction_world *c)
{
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;

    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 8; k++)
            keyed_put(c, k, c->next_value++);
        keyed_put(c, i, 0);
        head.producer_id = 5;
        head.producer_epoch = 0;
        head.base_sequence = i;
        head.attributes = 0;
        assert_false(status_failed(keyed_append(c, (struct keyed[]){{9, c->next_value++}}, 1, &head)));
        head.producer_id = 6;
        head.base_sequence = 2 * i;
        head.attributes = RECORD_BATCH_TRANSACTIONAL;
        assert_false(status_failed(
            keyed_append(c, (struct keyed[]){{10, c->next_value++}, {3, c->next_value++}}, 2, &head)));
        c->memory.records[c->memory.count - 1].aborted = c->memory.records[c->memory.count - 2].aborted = i % 2;
        assert_false(status_failed(marker_append(c, 6, 0, i % 2)));
        keyed_roll(c, 11);
    }
}

/* The call number `after` of a compaction fails; then comes the end. False when the compaction made fewer calls. */
static bool survives(uint64_t after, enum end how, int rounds, uint64_t seed)
{
    struct compaction_world c;
    struct status st;
    uint64_t calls;
    int64_t end;
    bool failed;

    compaction_begin(&c);
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
    files_sim_fail(c.w.files, &(struct files_fault){
                                  .call = FILES_CALL_ANY, .after = after, .sys_errno = EIO, .partial = true});
    (void)compact(&c, &st);
    failed = files_sim_calls(c.w.files, FILES_CALL_ANY) - calls > after;
    files_sim_heal(c.w.files);
    end_life(&c, how, seed);
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
            for (uint64_t after = 0; survives(after, (enum end)how, rounds, after); after++)
                ;
    /* The seed says how much of what was not synced is kept: for each call from nothing to everything. */
    for (uint64_t seed = 1; seed <= 40; seed++)
        for (uint64_t after = 0; survives(after, CRASH, 1 + (int)(seed % 2), seed + after * seed / 7); after++)
            ;
}

/* One call fails and the process goes on: either the log is as it was, or it is offline and the next start finds it. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_at_any_call_loses_no_last_value),
        cmocka_unit_test(each_failing_call_leaves_a_whole_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
