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
    bool ends[OFFSETS_MAX + 1];    /* a batch ends before it */
    int64_t committed;             /* what is below is never written anew with another epoch */
    int64_t flushed;               /* when it last died */
    int32_t newest;                /* no leader has had a higher epoch */
};

static void story_begin(struct story *s, int32_t segment_bytes)
{
    *s = (struct story){0};
    memset(s->epoch_of, 0xff, sizeof s->epoch_of);
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
    for (int i = 0; i < count; i++) {
        s->epoch_of[offset + i] = epoch;
        s->ends[offset + i + 1] = i + 1 == count;
    }
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

static void note_flushed(struct story *s)
{
    if (s->w.log)
        s->flushed = log_flushed_end_offset(s->w.log);
}

static void die(struct story *s, enum log_trust trust)
{
    note_flushed(s);
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
    assert_false(status_failed(
        s->w.files->ops->remove(s->w.files, LOG_DIRECTORY "/00000000000000000120.log")));
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
                for (uint64_t n = 0; survives(&deeds[i], n, true, errors[e], (enum log_trust)trust);
                     n++)
                    ;
}

/* ---- what is not flushed ---- */

/* Before a flush only the batches tell where an epoch began; retention asks for one. */
static void segments_that_alone_tell_of_an_epoch_wait_for_a_flush(void **state)
{
    static struct story s;
    (void)state;

    story_begin(&s, 1000);
    s.newest = 7;
    follow_until(&s, 3, 20);
    world_flush(&s.w);
    s.committed = 20;
    checkpoint(&s);
    follow_until(&s, 4, 60);
    follow_until(&s, 6, 120);
    s.committed = 120;
    s.w.config.retention_bytes = 500;
    while (!log_names_wanted(s.w.log) && log_maintain(s.w.log, 120, s.w.now_ms))
        ;
    assert_true(log_names_wanted(s.w.log));
    assert_true(log_start_offset(s.w.log) <= 20);
    die(&s, LOG_TRUST_SAME_BOOT);
    world_open(&s.w, LOG_TRUST_SAME_BOOT);
    check_epochs(&s);
    world_flush(&s.w);
    assert_true(log_maintain(s.w.log, 120, s.w.now_ms));
    assert_true(log_start_offset(s.w.log) > 60);
    assert_false(log_names_wanted(s.w.log));
    checkpoint(&s);
    die(&s, LOG_TRUST_OTHER_BOOT);
    world_open(&s.w, LOG_TRUST_OTHER_BOOT);
    check_epochs(&s);
    world_end(&s.w);
}

/* ---- any history ---- */

static uint64_t pick(struct story *s, uint64_t below)
{
    return world_random(&s->w, below);
}

/* The epoch of a leader to come: sometimes a new one, which may be older than those that were
 * cut. */
static int32_t next_epoch(struct story *s)
{
    const int64_t end = log_end_offset(s->w.log);
    int32_t epoch = end > 0 ? s->epoch_of[end - 1] : 0;

    if (pick(s, 4) == 0)
        epoch += 1 + (int32_t)pick(s, 3);
    if (epoch > s->newest)
        s->newest = epoch;
    return epoch;
}

static void commit(struct story *s)
{
    const int64_t end = log_end_offset(s->w.log);
    int64_t to = s->committed;

    if (end > to)
        to += (int64_t)pick(s, (uint64_t)(end - to) + 1);
    while (to > s->committed && !s->ends[to])
        to--;
    s->committed = to;
}

/* One of the two ways of the flusher. */
static struct status flush(struct story *s)
{
    struct log_flush f = {0};
    bool placed = false;
    struct status st;

    if (pick(s, 2) || !log_flush_begin(s->w.log, &f))
        return world_try_flush(&s->w);
    st = log_flush_write(&f);
    if (!status_failed(st))
        st = s->w.files->ops->sync_filesystem(s->w.files, "data");
    if (!status_failed(st))
        st = log_flush_place(&f, true, &placed);
    if (placed && !status_failed(st))
        st = s->w.files->ops->sync_filesystem(s->w.files, "data");
    log_flush_end(s->w.log, &f, st);
    return st;
}

static struct status cut(struct story *s)
{
    const int64_t end = log_end_offset(s->w.log), start = log_start_offset(s->w.log);
    const int64_t least = s->committed > start ? s->committed : start;

    if (end <= least)
        return STATUS_OK;
    return log_truncate_to(s->w.log, least + (int64_t)pick(s, (uint64_t)(end - least)));
}

static struct status empty(struct story *s)
{
    const int64_t end = log_end_offset(s->w.log), anew = end + (int64_t)pick(s, 20);
    struct status st;

    for (int64_t i = end; i < anew; i++)
        s->epoch_of[i] = end > 0 ? s->epoch_of[end - 1] : 0;
    st = log_truncate_fully(s->w.log, anew);
    if (!status_failed(st))
        s->committed = anew;
    return st;
}

static struct status raise_start(struct story *s)
{
    const int64_t start = log_start_offset(s->w.log), end = log_end_offset(s->w.log);
    const int64_t committed = s->committed < end ? s->committed : end;

    if (committed <= start)
        return STATUS_OK;
    return log_raise_start_offset(s->w.log,
                                  start + 1 + (int64_t)pick(s, (uint64_t)(committed - start)));
}

static struct status retain(struct story *s)
{
    const int64_t end = log_end_offset(s->w.log);
    struct log_garbage *g;

    s->w.now_ms += (int64_t)pick(s, 2000);
    (void)log_maintain(s->w.log, s->committed < end ? s->committed : end, s->w.now_ms);
    g = log_take_garbage(s->w.log, s->w.now_ms + (int64_t)pick(s, 2) * 100000);
    return g ? log_garbage_run(g) : log_offline_reason(s->w.log);
}

static struct status act(struct story *s)
{
    switch (pick(s, 16)) {
    case 0:
    case 1:
        return flush(s);
    case 2:
        checkpoint(s);
        return STATUS_OK;
    case 3:
        return cut(s);
    case 4:
        return pick(s, 6) ? STATUS_OK : empty(s);
    case 5:
        return raise_start(s);
    case 6:
        return retain(s);
    case 7:
    case 8:
        commit(s);
        return STATUS_OK;
    default:
        return follow(s, next_epoch(s));
    }
}

/* After a failed sync, which stands for the end of the process here, memory is not to be trusted:
 * then it is the machine. */
static enum log_trust die_somehow(struct story *s, enum log_trust trust)
{
    if (files_sim_pretends(s->w.files, "data"))
        trust = LOG_TRUST_OTHER_BOOT;
    die(s, trust);
    return trust;
}

/* All file calls fail from a certain one on, as if the process had ended there: often in the middle
 * of something. */
static enum log_trust live(struct story *s)
{
    struct status st = STATUS_OK;

    if (pick(s, 2))
        files_sim_fail(s->w.files, &(struct files_fault){.call = FILES_CALL_ANY,
                                                         .after = pick(s, 600),
                                                         .sys_errno = EIO,
                                                         .partial = true});
    for (uint64_t n = pick(s, 60); n > 0 && !status_failed(st); n--)
        st = act(s);
    files_sim_heal(s->w.files);
    if (!status_failed(st))
        check_epochs(s);
    switch (pick(s, 4)) {
    case 0:
        if (status_failed(st))
            break;
        checkpoint(s);
        world_close(&s->w, true);
        return LOG_TRUST_CLEAN;
    case 1:
        note_flushed(s);
        files_sim_crash(s->w.files, pick(s, UINT64_MAX));
        world_close(&s->w, false);
        return LOG_TRUST_OTHER_BOOT;
    case 2:
        die(s, LOG_TRUST_OTHER_BOOT);
        return LOG_TRUST_OTHER_BOOT;
    }
    return die_somehow(s, LOG_TRUST_SAME_BOOT);
}

/* A cut that was not synced yet when the process died the machine may undo, with all that was
 * appended since: what was not flushed is what the batches say, and may be other than what is
 * committed. */
static void believe_the_tail(struct story *s)
{
    const int64_t end = log_end_offset(s->w.log);
    int64_t next = log_start_offset(s->w.log);

    if (next < s->flushed)
        next = s->flushed;
    while (next < end) {
        struct log_slice slice = world_read(&s->w, next, INT64_MAX, 1, true);
        uint8_t head[RECORD_BATCH_HEADER_BYTES];

        assert_false(status_failed(log_slice_read(&slice, 0, head, sizeof head, NULL)));
        log_slice_release(&slice);
        for (; next <= record_batch_last_offset(head); next++) {
            if (s->epoch_of[next] != record_batch_leader_epoch(head) && next < s->committed)
                s->committed = next;
            s->epoch_of[next] = record_batch_leader_epoch(head);
        }
        s->ends[next] = true;
    }
}

/* A start that may end in the middle in its turn, as often as not with the machine. */
static void start_again(struct story *s, enum log_trust trust)
{
    while (pick(s, 2)) {
        bool opened;

        files_sim_fail(s->w.files, &(struct files_fault){.call = FILES_CALL_ANY,
                                                         .after = pick(s, 80),
                                                         .sys_errno = EIO,
                                                         .partial = true});
        opened = !status_failed(world_try_open(&s->w, trust));
        files_sim_heal(s->w.files);
        if (opened && trust == LOG_TRUST_OTHER_BOOT)
            believe_the_tail(s);
        if (opened)
            check_epochs(s);
        if (pick(s, 2))
            trust = LOG_TRUST_OTHER_BOOT;
        else if (trust == LOG_TRUST_CLEAN)
            trust = LOG_TRUST_SAME_BOOT;
        trust = die_somehow(s, trust);
    }
    world_open(&s->w, trust);
    if (trust == LOG_TRUST_OTHER_BOOT)
        believe_the_tail(s);
    /* What the machine lost is not always to be had from others. */
    if (s->committed > log_end_offset(s->w.log) && pick(s, 2)) {
        s->committed = log_end_offset(s->w.log);
        checkpoint(s);
    }
    check_epochs(s);
}

static void epochs_are_right_after_any_history(void **state)
{
    (void)state;

    for (uint64_t seed = 1; seed <= 1500; seed++) {
        static struct story s;

        story_begin(&s, 500 + (int32_t)(seed % 7) * 300);
        s.w.random = seed * 0x9e3779b97f4a7c15u;
        s.w.config.index_interval_bytes = (int32_t)pick(&s, 500);
        s.w.config.retention_bytes = pick(&s, 2) ? -1 : (int64_t)pick(&s, 6000);
        s.w.page_cache_is_enough = pick(&s, 2);
        world_close(&s.w, true);
        world_open(&s.w, LOG_TRUST_CLEAN);
        for (int life = 0; life < 6; life++)
            start_again(&s, live(&s));
        world_end(&s.w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kill_leaves_epochs_that_are_right),
        cmocka_unit_test(each_failing_call_leaves_epochs_that_are_right),
        cmocka_unit_test(segments_that_alone_tell_of_an_epoch_wait_for_a_flush),
        cmocka_unit_test(epochs_are_right_after_any_history),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
