/* What a log says of leader epochs, held against what was ever written to it: after cuts, deletion,
 * kills, crashes of the machine, and the failure of each file call on the way. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/record_batch.h"
#include "storage/files_sim.h"
#include "tests/unit/storage/log_world.h"

#define OFFSETS_MAX 4096
#define BATCH       4

struct story {
    struct log_world w;
    int32_t epoch_of[OFFSETS_MAX]; /* of what was written there last; -1: nothing */
    int64_t committed;             /* what is below is never written anew with another epoch */
    int32_t newest;                /* no leader has had a higher epoch */
};

static void story_begin(struct story *s, int32_t segment_bytes)
{
    memset(s->epoch_of, 0xff, sizeof s->epoch_of);
    s->committed = 0;
    s->newest = 0;
    world_begin(&s->w);
    s->w.config.segment_bytes = segment_bytes;
    s->w.recovery_point = s->w.high_watermark = s->w.log_start_offset = 0;
    world_open(&s->w, LOG_TRUST_CLEAN);
}

/* As a follower does: the epochs are those of its leaders. What is committed comes again as it
 * was. */
static struct status follow(struct story *s, int32_t epoch)
{
    const int64_t offset = log_end_offset(s->w.log);
    struct bytes_mut batch;
    struct log_appended out;
    int count = BATCH;

    assert_true(offset + BATCH <= OFFSETS_MAX);
    if (offset < s->committed) {
        epoch = s->epoch_of[offset];
        for (count = 1; count < BATCH && offset + count < s->committed; count++)
            if (s->epoch_of[offset + count] != epoch)
                break;
    }
    batch = world_batch(&s->w, count, 10, s->w.now_ms);
    for (int i = 0; i < count; i++)
        s->epoch_of[offset + i] = epoch;
    record_batch_set_base_offset(batch.data, offset);
    record_batch_set_leader_epoch(batch.data, epoch);
    return log_append_as_follower(s->w.log, batch, LOG_ORIGIN_CLIENT, &out);
}

static void follow_until(struct story *s, int32_t epoch, int64_t end)
{
    while (log_end_offset(s->w.log) < end)
        assert_false(status_failed(follow(s, epoch)));
}

static void checkpoint(struct story *s)
{
    s->w.recovery_point = log_recovery_point(s->w.log);
    s->w.high_watermark = s->committed;
    s->w.log_start_offset = log_start_offset(s->w.log);
}

/* Each offset has its epoch; and where the log says that it remembers, it remembers right. */
static void check_epochs(struct story *s)
{
    const int64_t start = log_start_offset(s->w.log), end = log_end_offset(s->w.log);

    assert_int_equal(world_read_all(&s->w, start), end);
    for (int64_t i = start; i < end; i++)
        assert_int_equal(log_epoch_of_offset(s->w.log, i), s->epoch_of[i]);
    for (int32_t asked = 0; asked <= s->newest; asked++) {
        int32_t epoch, known = -1;
        int64_t ended, last = 0;

        if (!log_end_of_past_epoch(s->w.log, asked, &epoch, &ended) || epoch < 0)
            continue;
        for (int64_t i = 0; i < end; i++)
            if (s->epoch_of[i] <= asked) {
                known = s->epoch_of[i];
                last = i + 1;
            }
        assert_int_equal(epoch, known);
        assert_int_equal(ended, last);
    }
}

static void die(struct story *s, enum log_trust trust)
{
    files_sim_heal(s->w.files);
    if (trust == LOG_TRUST_OTHER_BOOT)
        files_sim_crash_losing_all(s->w.files);
    else
        files_sim_kill(s->w.files);
    if (s->w.log)
        world_close(&s->w, false);
}

/* ---- kills between all file calls, and failures of all ---- */

/* A log with a past in which something is done to it that changes its epochs. */
struct deed {
    void (*prepare)(struct story *s);
    struct status (*act)(struct story *s, enum log_trust trust);
    bool is_open; /* when it begins */
};

/* Epochs 3 and 6, flushed, the latter not committed. */
static void leave_a_tail(struct story *s)
{
    s->newest = 7;
    follow_until(s, 3, 40);
    s->committed = 40;
    follow_until(s, 6, 120);
    world_flush(&s->w);
    checkpoint(s);
}

static struct status cut_the_tail(struct story *s, enum log_trust trust)
{
    (void)trust;
    return log_truncate_to(s->w.log, 40);
}

static struct status cut_to_the_middle_of_a_segment(struct story *s, enum log_trust trust)
{
    (void)trust;
    return log_truncate_to(s->w.log, 48);
}

static struct status begin_anew(struct story *s, enum log_trust trust)
{
    (void)trust;
    return log_truncate_fully(s->w.log, 200);
}

/* Epochs 3, 4 and 6: the first is flushed, the second and a part of the third are below a log
 * start that is checkpointed. */
static void delete_what_was_not_flushed(struct story *s)
{
    s->newest = 7;
    follow_until(s, 3, 20);
    world_flush(&s->w);
    checkpoint(s);
    follow_until(s, 4, 60);
    follow_until(s, 6, 120);
    s->committed = 120;
    assert_false(status_failed(log_raise_start_offset(s->w.log, 100)));
    checkpoint(s);
    assert_int_equal(s->w.recovery_point, 20);
}

/* A log whose end a machine may lose below its start. */
static void delete_all_that_was_written(struct story *s)
{
    delete_what_was_not_flushed(s);
    assert_false(status_failed(log_raise_start_offset(s->w.log, 120)));
    checkpoint(s);
}

/* Files that are gone, though the epochs of what was in them are not. */
static void lose_the_files(struct story *s)
{
    leave_a_tail(s);
    s->committed = 120;
    s->w.config.segment_bytes = 100000;
    assert_false(status_failed(log_truncate_fully(s->w.log, 120)));
    follow_until(s, 6, 160);
    world_flush(&s->w);
    s->committed = 160;
    checkpoint(s);
    assert_false(status_failed(s->w.files->ops->remove(
        s->w.files, LOG_DIRECTORY "/00000000000000000120.log")));
    assert_false(status_failed(s->w.files->ops->sync_directory(s->w.files, LOG_DIRECTORY)));
    s->w.log_start_offset = 160;
}

/* Lost by a failing disk, not by a cut that saves the epochs. */
static void lose_the_tail(struct story *s)
{
    struct file *f;

    s->w.config.segment_bytes = 100000;
    leave_a_tail(s);
    assert_false(status_failed(s->w.files->ops->open(
        s->w.files, LOG_DIRECTORY "/00000000000000000000.log", FILE_WRITE, &f)));
    assert_false(status_failed(s->w.files->ops->truncate(s->w.files, f, 400)));
    assert_false(status_failed(s->w.files->ops->sync(s->w.files, f)));
    s->w.files->ops->close(s->w.files, f);
}

static struct status start(struct story *s, enum log_trust trust)
{
    return world_try_open(&s->w, trust);
}

static const struct deed deeds[] = {
    {leave_a_tail, cut_the_tail, true},
    {leave_a_tail, cut_to_the_middle_of_a_segment, true},
    {leave_a_tail, begin_anew, true},
    {delete_what_was_not_flushed, start, false},
    {delete_all_that_was_written, start, false},
    {lose_the_files, start, false},
    {lose_the_tail, start, false},
};

/* The log goes on under an epoch older than those that are lost, and is not flushed: what the
 * checkpoint says of lost ones would pass for its history. */
static void goes_on_rightly(struct story *s, enum log_trust trust)
{
    check_epochs(s);
    for (int life = 0; life < 2; life++) {
        const int64_t end = log_end_offset(s->w.log);
        const int32_t last = end > 0 && s->epoch_of[end - 1] > 4 ? s->epoch_of[end - 1] : 4;

        if (s->committed > end)
            s->committed = end;
        follow_until(s, last, end + 100);
        check_epochs(s);
        die(s, trust);
        world_open(&s->w, trust);
        check_epochs(s);
    }
}

/* As log.h promises it: a log that is open goes offline, one that was to be opened leaves nothing
 * open. */
static void check_refusal(struct story *s, struct status st, bool is_open, int sys_errno)
{
    assert_int_equal(st.code, KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(st.sys_errno, sys_errno);
    if (is_open) {
        assert_true(log_offline(s->w.log));
        assert_int_equal(log_offline_reason(s->w.log).sys_errno, sys_errno);
        assert_int_equal(log_start_epoch(s->w.log, 9).code, KERR_KAFKA_STORAGE_ERROR);
        assert_int_equal(log_truncate_to(s->w.log, 0).code, KERR_KAFKA_STORAGE_ERROR);
    } else {
        assert_null(s->w.log);
        assert_int_equal(files_sim_open_files(s->w.files), 0);
    }
}

/* The deed, of whose file calls number `after` fails, with all later ones or alone; then the
 * process dies or the machine. True: it made more calls. */
static bool survives(const struct deed *d, uint64_t after, bool alone, int sys_errno,
                     enum log_trust trust)
{
    static struct story s;
    struct status st;
    uint64_t calls;
    bool failed;

    story_begin(&s, 1000);
    d->prepare(&s);
    if (!d->is_open)
        die(&s, LOG_TRUST_SAME_BOOT);
    calls = files_sim_calls(s.w.files, FILES_CALL_ANY);
    files_sim_fail(s.w.files, &(struct files_fault){.call = FILES_CALL_ANY,
                                                    .after = after,
                                                    .times = alone,
                                                    .sys_errno = sys_errno,
                                                    .partial = true});
    st = d->act(&s, trust);
    failed = files_sim_calls(s.w.files, FILES_CALL_ANY) - calls > after;
    files_sim_heal(s.w.files);
    if (status_failed(st))
        check_refusal(&s, st, d->is_open, sys_errno);
    assert_true(failed || !status_failed(st));
    if (!status_failed(st)) {
        assert_false(log_offline(s.w.log));
        check_epochs(&s);
    }
    die(&s, trust);
    world_open(&s.w, trust);
    goes_on_rightly(&s, trust);
    world_end(&s.w);
    return failed;
}

static void each_kill_leaves_epochs_that_are_right(void **state)
{
    (void)state;

    for (size_t i = 0; i < sizeof deeds / sizeof deeds[0]; i++)
        for (int trust = LOG_TRUST_SAME_BOOT; trust <= LOG_TRUST_OTHER_BOOT; trust++)
            for (uint64_t n = 0; survives(&deeds[i], n, false, EIO, (enum log_trust)trust); n++)
                ;
}

/* One call fails, those after it do not. */
static void each_failing_call_leaves_epochs_that_are_right(void **state)
{
    static const int errors[] = {EIO, ENOSPC};
    (void)state;

    for (size_t i = 0; i < sizeof deeds / sizeof deeds[0]; i++)
        for (int trust = LOG_TRUST_SAME_BOOT; trust <= LOG_TRUST_OTHER_BOOT; trust++)
            for (int e = 0; e < 2; e++)
                for (uint64_t n = 0;
                     survives(&deeds[i], n, true, errors[e], (enum log_trust)trust); n++)
                    ;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kill_leaves_epochs_that_are_right),
        cmocka_unit_test(each_failing_call_leaves_epochs_that_are_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
