#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/record_batch.h"
#include "storage/files_sim.h"
#include "storage/log_listing.h"
#include "tests/unit/storage/log_world.h"

/* What a test may hold the log to. */
struct promise {
    int64_t flushed; /* told to be durable */
    int64_t written; /* accepted */
};

static void note(struct log_world *w, struct promise *p)
{
    p->flushed = log_flushed_end_offset(w->log);
    p->written = log_end_offset(w->log);
}

static struct status append_some(struct log_world *w)
{
    struct bytes_mut batch;
    struct status st;

    w->now_ms += 7;
    if (w->steps++ % 3) {
        batch = world_batch(w, 1 + (int)world_random(w, 3), 20 + (size_t)world_random(w, 400),
                            w->now_ms);
        return world_try_append(w, batch, NULL);
    }
    batch = world_producer_batch(w, 5, w->epoch, w->sequence, 2, RECORD_BATCH_TRANSACTIONAL);
    st = world_try_append(w, batch, NULL);
    if (status_failed(st))
        return st;
    w->sequence += 2;
    return world_try_append(w, world_marker(w, 5, w->epoch, w->steps % 2), NULL);
}

/* The producer does not know what is left of its past: a new epoch starts at 0. */
static void start_over(struct log_world *w)
{
    w->epoch++;
    w->sequence = 0;
}

/* Everything a log does, as long as nothing fails. */
static struct status live(struct log_world *w, enum log_trust trust, struct promise *p)
{
    struct log_garbage *g;
    struct status st = world_try_open(w, trust);

    if (status_failed(st))
        return st;
    note(w, p);
    for (int i = 0; i < 30 && !status_failed(st); i++) {
        st = append_some(w);
        note(w, p);
        if (i % 8 == 7 && !status_failed(st)) {
            st = world_try_flush(w);
            note(w, p);
        }
        if (i == 12 && !status_failed(st)) {
            p->flushed =
                log_end_offset(w->log) - 5 < p->flushed ? log_end_offset(w->log) - 6 : p->flushed;
            st = log_truncate_to(w->log, log_end_offset(w->log) - 3);
            start_over(w);
            if (!status_failed(st))
                st = log_raise_start_offset(w->log, 2);
            p->written = log_end_offset(w->log);
        }
    }
    if (status_failed(st))
        return st;
    (void)log_maintain(w->log, p->flushed, w->now_ms);
    g = log_take_garbage(w->log, w->now_ms + w->config.file_delete_delay_ms);
    if (g)
        st = log_garbage_run(g);
    return status_failed(st) ? st : log_offline_reason(w->log);
}

static void close_dead(struct log_world *w)
{
    if (w->log)
        world_close(w, false);
}

static size_t aborted_in_slice(const struct log_slice *slice, int64_t *next)
{
    uint8_t *bytes = malloc(slice->size);
    struct record_batches it;
    struct bytes batch;
    size_t count = 0;

    assert_false(status_failed(log_slice_read(slice, 0, bytes, slice->size, NULL)));
    it = record_batches((struct bytes){bytes, slice->size});
    while (record_batches_next(&it, &batch)) {
        struct record_iter records;
        struct record r;

        *next = record_batch_last_offset(batch.data) + 1;
        if (!record_batch_is_control(batch.data))
            continue;
        assert_false(status_failed(record_iter_open(&records, batch, NULL, 0)));
        assert_true(record_iter_next(&records, &r));
        count += control_record_type(&r) == CONTROL_ABORT;
    }
    free(bytes);
    return count;
}

/* Every transaction of these tests has data, so each ABORT marker in the log has its index
 * entry. */
static void check_aborted_transactions(struct log_world *w)
{
    struct log_aborted *list;
    struct arena a;
    size_t listed, counted = 0;

    arena_init(&a, 1 << 20);
    for (int64_t next = log_start_offset(w->log); next < log_end_offset(w->log);) {
        struct log_slice slice = world_read(w, next, INT64_MAX, 5000, true);

        counted += aborted_in_slice(&slice, &next);
        log_slice_release(&slice);
    }
    assert_false(status_failed(
        log_aborted_transactions(w->log, log_start_offset(w->log), INT64_MAX, &a, &list, &listed)));
    assert_int_equal(listed, counted);
    arena_free(&a);
}

static void check_kept(struct log_world *w, const struct promise *p)
{
    assert_true(log_end_offset(w->log) >= p->flushed);
    assert_int_equal(world_read_all(w, log_start_offset(w->log)), log_end_offset(w->log));
    assert_false(log_offline(w->log));
    check_aborted_transactions(w);
    world_append(w, 1, 10);
    world_flush(w);
    assert_int_equal(world_read_all(w, log_start_offset(w->log)), log_end_offset(w->log));
}

/* One life in which the call number `after` fails; then the machine crashes or the process is
 * killed, and the log must come back with all that was flushed. False when that life made fewer
 * calls. */
static bool survives_failure(uint64_t after, enum files_call call, int how, int sys_errno)
{
    struct log_world w;
    struct promise p = {0};
    uint64_t calls;
    bool failed;

    world_begin(&w);
    w.config.segment_bytes = 4096;
    w.config.retention_bytes = 9000;
    files_sim_fail(
        w.files,
        &(struct files_fault){
            .call = call, .after = after, .times = 1, .sys_errno = sys_errno, .partial = true});
    calls = files_sim_calls(w.files, call);
    (void)live(&w, LOG_TRUST_CLEAN, &p);
    failed = files_sim_calls(w.files, call) - calls > after;
    files_sim_heal(w.files);
    if (how == 0)
        files_sim_kill(w.files);
    else if (how == 1)
        files_sim_crash_losing_all(w.files);
    else
        files_sim_crash(w.files, after);
    close_dead(&w);
    w.recovery_point = 0;
    world_open(&w, how == 0 ? LOG_TRUST_SAME_BOOT : LOG_TRUST_OTHER_BOOT);
    if (how == 0 && call != FILES_CALL_ANY && call != FILES_CALL_WRITE)
        assert_true(log_end_offset(w.log) >= p.flushed);
    check_kept(&w, &p);
    world_end(&w);
    return failed;
}

/* Every file call of a log's life fails once; a failed write does half of it. */
static void flushed_records_survive_each_failing_call(void **state)
{
    (void)state;

    for (int how = 0; how < 3; how++)
        for (uint64_t after = 0; survives_failure(after, FILES_CALL_ANY, how, EIO); after++)
            ;
}

/* The same for calls that fail while the log is being opened after a kill: the next try finds
 * all. */
static void failing_open_harms_nothing(void **state)
{
    (void)state;

    for (int trust = 0; trust < 3; trust++) {
        bool failed = true;

        for (uint64_t after = 0; failed; after++) {
            struct log_world w;
            struct promise p = {0};
            uint64_t calls;

            world_begin(&w);
            w.config.segment_bytes = 4096;
            assert_false(status_failed(live(&w, LOG_TRUST_CLEAN, &p)));
            if (trust == LOG_TRUST_CLEAN)
                world_close(&w, true);
            files_sim_kill(w.files);
            close_dead(&w);
            files_sim_fail(
                w.files, &(struct files_fault){
                             .call = FILES_CALL_ANY, .after = after, .times = 1, .sys_errno = EIO});
            calls = files_sim_calls(w.files, FILES_CALL_ANY);
            if (!status_failed(world_try_open(&w, (enum log_trust)trust)))
                assert_int_equal(log_end_offset(w.log), p.written);
            failed = files_sim_calls(w.files, FILES_CALL_ANY) - calls > after;
            files_sim_heal(w.files);
            files_sim_kill(w.files);
            close_dead(&w);
            world_open(&w, trust == LOG_TRUST_CLEAN ? LOG_TRUST_SAME_BOOT : (enum log_trust)trust);
            assert_int_equal(log_end_offset(w.log), p.written);
            check_kept(&w, &p);
            world_end(&w);
        }
    }
}

/* A failed fsync is never tried again: the log is offline, and says so to everyone. */
static void failed_sync_takes_the_log_offline(void **state)
{
    struct log_world w;
    struct log_flush f = {0};
    struct log_slice slice;
    const struct log_read_args all = {0, INT64_MAX, 1000, true};
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    world_append(&w, 1, 10);
    files_sim_fail(w.files,
                   &(struct files_fault){.call = FILES_CALL_SYNC, .times = 1, .sys_errno = EIO});
    assert_int_equal(world_try_flush(&w).code, KERR_KAFKA_STORAGE_ERROR);
    assert_true(log_offline(w.log));
    assert_int_equal(log_offline_reason(w.log).sys_errno, EIO);
    assert_int_equal(log_flushed_end_offset(w.log), 0);
    assert_false(log_flush_begin(w.log, &f));
    assert_int_equal(append_some(&w).code, KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(log_read(w.log, &all, &slice).code, KERR_KAFKA_STORAGE_ERROR);
    world_end(&w);
}

/* ENOSPC half way into a batch: refused, nothing of it is ever served, and all before it is
 * there. */
static void full_disk_serves_nothing_half_written(void **state)
{
    (void)state;

    for (int64_t spare = 0; spare < 2000; spare += 37) {
        struct log_world w;
        struct promise p = {0};
        struct status st = STATUS_OK;

        world_begin(&w);
        world_open(&w, LOG_TRUST_CLEAN);
        for (int i = 0; i < 20; i++)
            assert_false(status_failed(append_some(&w)));
        world_flush(&w);
        files_sim_set_capacity(w.files, files_sim_used_bytes(w.files) + spare);
        note(&w, &p);
        while (!status_failed(st)) {
            note(&w, &p);
            st = append_some(&w);
        }
        assert_int_equal(st.code, KERR_KAFKA_STORAGE_ERROR);
        assert_int_equal(log_offline_reason(w.log).sys_errno, ENOSPC);
        files_sim_set_capacity(w.files, 0);
        files_sim_kill(w.files);
        close_dead(&w);
        world_open(&w, LOG_TRUST_SAME_BOOT);
        assert_true(log_end_offset(w.log) >= p.written);
        check_kept(&w, &p);
        world_end(&w);
    }
}

/* A follower learns that its end is not the leader's. The checkpoint follows, as the log directory
 * sees to. */
static void cut_somewhere(struct log_world *w)
{
    const int64_t start = log_start_offset(w->log), end = log_end_offset(w->log);

    if (end == start)
        return;
    assert_false(status_failed(
        log_truncate_to(w->log, start + (int64_t)world_random(w, (uint64_t)(end - start)))));
    start_over(w);
    if (w->recovery_point > log_flushed_end_offset(w->log))
        w->recovery_point = log_flushed_end_offset(w->log);
}

/* Lives that end in kills and crashes with lost and torn writes, one seed each. */
static void seeded_crashes_keep_what_was_flushed(void **state)
{
    (void)state;

    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct log_world w;
        struct promise p = {0};
        enum log_trust trust = LOG_TRUST_CLEAN;

        world_begin(&w);
        w.random = seed * 0x9e3779b97f4a7c15u;
        w.config.segment_bytes = 2048 + (int32_t)world_random(&w, 6000);
        w.config.index_interval_bytes = (int32_t)world_random(&w, 700);
        w.config.retention_bytes = 20000;
        for (int life = 0; life < 4; life++) {
            int64_t before;

            world_open(&w, trust);
            assert_true(log_end_offset(w.log) >= p.flushed);
            assert_int_equal(world_read_all(&w, log_start_offset(w.log)), log_end_offset(w.log));
            assert_false(w.report.damaged);
            check_aborted_transactions(&w);
            before = log_end_offset(w.log);
            if (trust == LOG_TRUST_SAME_BOOT)
                assert_int_equal(before, p.written);
            for (uint64_t n = world_random(&w, 25); n > 0; n--) {
                assert_false(status_failed(append_some(&w)));
                if (world_random(&w, 5) == 0)
                    world_flush(&w);
                if (world_random(&w, 8) == 0)
                    w.recovery_point = log_flushed_end_offset(w.log);
                if (world_random(&w, 40) == 0)
                    (void)log_maintain(w.log, log_flushed_end_offset(w.log), w.now_ms);
                if (world_random(&w, 30) == 0)
                    cut_somewhere(&w);
            }
            note(&w, &p);
            switch (world_random(&w, 4)) {
            case 0:
                world_close(&w, true);
                trust = LOG_TRUST_CLEAN;
                p.flushed = p.written;
                break;
            case 1:
                files_sim_kill(w.files);
                trust = LOG_TRUST_SAME_BOOT;
                break;
            case 2:
                files_sim_crash_losing_all(w.files);
                trust = LOG_TRUST_OTHER_BOOT;
                break;
            default:
                files_sim_crash(w.files, world_random(&w, UINT64_MAX));
                trust = LOG_TRUST_OTHER_BOOT;
            }
            close_dead(&w);
            if (trust == LOG_TRUST_OTHER_BOOT)
                start_over(&w);
        }
        world_open(&w, trust);
        check_kept(&w, &p);
        world_end(&w);
    }
}

/* ---- any history ---- */

/* A log with whatever may happen to it; its checkpoints follow cuts at once, and else at times. */
struct history {
    struct log_world w;
    struct promise p;
    struct log_slice held;
    int64_t start; /* what is below was let go */
};

static void hold_nothing(struct history *h)
{
    log_slice_release(&h->held);
}

static void hold_something(struct history *h)
{
    const int64_t start = log_start_offset(h->w.log), end = log_end_offset(h->w.log);

    hold_nothing(h);
    if (end > start)
        h->held = world_read(&h->w, start + (int64_t)world_random(&h->w, (uint64_t)(end - start)),
                             INT64_MAX, 3000, true);
}

static void checkpoint(struct history *h)
{
    h->w.recovery_point = log_recovery_point(h->w.log);
    h->w.high_watermark = log_flushed_end_offset(h->w.log);
    h->w.log_start_offset = log_start_offset(h->w.log);
}

static void follow_some(struct history *h)
{
    struct bytes_mut batch = world_batch(&h->w, 1 + (int)world_random(&h->w, 12),
                                         20 + (size_t)world_random(&h->w, 900), h->w.now_ms);
    struct log_appended out;

    record_batch_set_base_offset(batch.data, log_end_offset(h->w.log));
    assert_int_equal(log_append_as_follower(h->w.log, batch, LOG_ORIGIN_COORDINATOR, &out).code,
                     KERR_NONE);
}

static void cut(struct history *h, int64_t to, bool fully)
{
    struct log_world *w = &h->w;

    if (fully)
        assert_false(status_failed(log_truncate_fully(w->log, to)));
    else
        assert_false(status_failed(log_truncate_to(w->log, to)));
    start_over(w);
    h->start = log_start_offset(w->log);
    checkpoint(h);
}

static void retain(struct history *h)
{
    struct log_world *w = &h->w;
    struct log_ages *a;
    struct log_garbage *g;

    w->now_ms += (int64_t)world_random(w, 2000);
    (void)log_maintain(w->log, log_flushed_end_offset(w->log), w->now_ms);
    if (log_names_wanted(w->log) && world_random(w, 2))
        world_flush(w);
    a = log_ages_begin(w->log, log_flushed_end_offset(w->log), w->now_ms);
    if (a) {
        const struct status st = log_ages_run(a);

        log_ages_end(w->log, a, st);
    }
    g = log_take_garbage(w->log, w->now_ms + (int64_t)world_random(w, 2) * 100000);
    if (g)
        assert_false(status_failed(log_garbage_run(g)));
    h->start = log_start_offset(w->log);
}

/* To anywhere below the flushed end, as records that are deleted are. */
static void raise_start(struct history *h)
{
    struct log_world *w = &h->w;
    const int64_t start = log_start_offset(w->log), flushed = log_flushed_end_offset(w->log);

    if (flushed <= start)
        return;
    assert_false(status_failed(log_raise_start_offset(
        w->log, start + 1 + (int64_t)world_random(w, (uint64_t)(flushed - start)))));
    h->start = log_start_offset(w->log);
}

static void act(struct history *h)
{
    struct log_world *w = &h->w;
    const int64_t start = log_start_offset(w->log), end = log_end_offset(w->log);

    switch (world_random(w, 20)) {
    default:
        assert_false(status_failed(append_some(w)));
        break;
    case 0:
    case 1:
    case 2:
        follow_some(h);
        break;
    case 3:
    case 4:
    case 5:
        world_flush(w);
        break;
    case 6:
        checkpoint(h);
        break;
    case 7:
    case 8:
        retain(h);
        break;
    case 9:
        raise_start(h);
        break;
    case 10:
        if (end > start && world_random(w, 3) == 0)
            cut(h, start + (int64_t)world_random(w, (uint64_t)(end - start)), false);
        break;
    case 11:
        if (world_random(w, 5) == 0)
            cut(h, end + (int64_t)world_random(w, 50), true);
        break;
    case 12:
        hold_something(h);
        break;
    case 13:
        hold_nothing(h);
        break;
    }
}

static void choose_history_settings(struct log_world *w)
{
    struct log_config *c = &w->config;

    c->segment_bytes = 2048 + (int32_t)world_random(w, 6000);
    c->index_interval_bytes = (int32_t)world_random(w, 700);
    c->segment_index_bytes = 4 + (int32_t)world_random(w, world_random(w, 2) ? 60 : 4000);
    c->retention_bytes = world_random(w, 2) ? -1 : (int64_t)world_random(w, 20000);
    c->retention_ms = world_random(w, 2) ? -1 : (int64_t)world_random(w, 4000);
    c->segment_ms = 1 + (int64_t)world_random(w, 3000);
    c->file_delete_delay_ms = (int64_t)world_random(w, 3000);
}

/* How a life ends; what the next one may trust. */
static enum log_trust end_of_life(struct history *h)
{
    struct log_world *w = &h->w;
    enum log_trust trust = LOG_TRUST_OTHER_BOOT;

    switch (world_random(w, 4)) {
    case 0:
        checkpoint(h);
        world_close(w, true);
        h->p.flushed = h->p.written;
        trust = LOG_TRUST_CLEAN;
        break;
    case 1:
        files_sim_kill(w->files);
        trust = LOG_TRUST_SAME_BOOT;
        break;
    case 2:
        files_sim_crash_losing_all(w->files);
        break;
    default:
        files_sim_crash(w->files, world_random(w, UINT64_MAX));
    }
    close_dead(w);
    start_over(w);
    return trust;
}

static void check_history(struct history *h, enum log_trust trust)
{
    struct log_world *w = &h->w;

    if (trust != LOG_TRUST_OTHER_BOOT)
        assert_int_equal(log_end_offset(w->log), h->p.written);
    assert_true(log_end_offset(w->log) >= h->p.flushed);
    assert_true(log_start_offset(w->log) <= h->start);
    assert_int_equal(world_read_all(w, log_start_offset(w->log)), log_end_offset(w->log));
    assert_false(w->report.damaged);
    h->start = log_start_offset(w->log);
}

/* Appends of a leader and a follower, flushes, checkpoints, retention, deleted records, cuts,
 * readers that hold on, under settings of all kinds; lives that end in all ways. */
static void any_history_keeps_what_was_flushed(void **state)
{
    (void)state;

    for (uint64_t seed = 1; seed <= 1500; seed++) {
        static struct history h;
        enum log_trust trust = LOG_TRUST_CLEAN;

        h = (struct history){0};
        world_begin(&h.w);
        h.w.random = seed * 0x9e3779b97f4a7c15u;
        choose_history_settings(&h.w);
        h.w.log_start_offset = h.w.recovery_point = h.w.high_watermark = 0;
        for (int life = 0; life < 6; life++) {
            world_open(&h.w, trust);
            check_history(&h, trust);
            for (uint64_t n = world_random(&h.w, world_random(&h.w, 3) ? 60 : 2); n > 0; n--)
                act(&h);
            hold_nothing(&h);
            assert_int_equal(world_read_all(&h.w, log_start_offset(h.w.log)),
                             log_end_offset(h.w.log));
            note(&h.w, &h.p);
            trust = end_of_life(&h);
        }
        world_end(&h.w);
    }
}

/* Cold reads: nothing is read from the disk on the loop, and the pool finds the same bytes. */
static void cold_reads_are_located_in_the_pool(void **state)
{
    struct log_world w;
    const struct log_read_args args = {3, INT64_MAX, 700, true};
    struct log_slice slice;
    uint8_t head[RECORD_BATCH_HEADER_BYTES];
    bool cold;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 200; i++)
        world_append(&w, 2, 150);
    world_close(&w, true);
    world_open(&w, LOG_TRUST_CLEAN);
    files_sim_set_cold(w.files, true);
    assert_false(status_failed(log_read(w.log, &args, &slice)));
    assert_true(slice.cold);
    assert_int_equal(slice.size, 0);
    assert_false(status_failed(log_slice_locate(&slice)));
    assert_false(slice.cold);
    assert_int_equal(slice.base_offset, 2);
    assert_true(slice.size > 0);
    assert_true(slice.size <= 700);
    files_sim_set_cold(w.files, true); /* all over again */
    assert_false(log_slice_is_warm(&slice));
    assert_false(status_failed(log_slice_read(&slice, 0, head, sizeof head, &cold)));
    assert_true(cold);
    assert_false(status_failed(log_slice_read(&slice, 0, head, sizeof head, NULL)));
    assert_int_equal(record_batch_base_offset(head), 2);
    files_sim_set_cold(w.files, false);
    assert_true(log_slice_is_warm(&slice));
    log_slice_release(&slice);
    world_end(&w);
}

/* ---- emptied ---- */

#define EMPTIED_RECORDS 40

/* Of the process, or of the machine: what is not synced is lost then, or some of it. */
enum death { DEATH_KILL, DEATH_LOSING_ALL, DEATH_LOSING_SOME };

/* Dies after `calls` calls of run. True: that was before the end. */
static bool dies_within(struct log_world *w, uint64_t calls, enum death death,
                        bool (*run)(struct log_world *w))
{
    bool died;

    files_sim_fail(w->files,
                   &(struct files_fault){.call = FILES_CALL_ANY, .after = calls, .sys_errno = EIO});
    died = !run(w);
    if (w->log)
        world_close(w, false);
    files_sim_heal(w->files);
    if (death == DEATH_KILL)
        files_sim_kill(w->files);
    else if (death == DEATH_LOSING_ALL)
        files_sim_crash_losing_all(w->files);
    else
        files_sim_crash(w->files, ++w->random);
    return died;
}

static bool empties(struct log_world *w)
{
    return !status_failed(log_truncate_fully(w->log, EMPTIED_RECORDS));
}

static bool opens(struct log_world *w)
{
    return !status_failed(world_try_open(w, LOG_TRUST_OTHER_BOOT));
}

/* All that was, or nothing: what is left of it half way would pass for a shorter log. */
static void is_whole_or_empty(struct log_world *w, bool died)
{
    assert_int_equal(log_end_offset(w->log), EMPTIED_RECORDS);
    if (!died)
        assert_int_equal(log_start_offset(w->log), EMPTIED_RECORDS);
    if (log_start_offset(w->log) != EMPTIED_RECORDS)
        assert_int_equal(log_start_offset(w->log), 0);
    assert_int_equal(world_read_all(w, log_start_offset(w->log)), EMPTIED_RECORDS);
    assert_int_equal(world_append(w, 1, 10), EMPTIED_RECORDS);
}

static void emptied_log_is_whole_or_empty_after_any_death(void **state)
{
    static const enum death deaths[][2] = {{DEATH_KILL, DEATH_KILL},
                                           {DEATH_LOSING_ALL, DEATH_LOSING_ALL},
                                           {DEATH_KILL, DEATH_LOSING_SOME},
                                           {DEATH_LOSING_SOME, DEATH_LOSING_SOME}};
    (void)state;

    for (size_t i = 0; i < sizeof deaths / sizeof deaths[0]; i++) {
        bool died = true;

        for (uint64_t calls = 0; died; calls++) {
            bool died_again = true;

            for (uint64_t more = 0; died_again; more += deaths[i][1] == DEATH_LOSING_SOME ? 1 : 3) {
                struct log_world w;

                world_begin(&w);
                w.config.segment_bytes = 1024;
                world_open(&w, LOG_TRUST_CLEAN);
                while (log_end_offset(w.log) < EMPTIED_RECORDS)
                    world_append(&w, 1, 100);
                world_flush(&w);
                w.recovery_point = w.high_watermark = EMPTIED_RECORDS;
                w.random = 1000 * calls + 2 * more;
                died = dies_within(&w, calls, deaths[i][0], empties);
                died_again = dies_within(&w, more, deaths[i][1], opens);
                world_open(&w, LOG_TRUST_OTHER_BOOT);
                is_whole_or_empty(&w, died);
                world_end(&w);
            }
        }
    }
}

static void marks_that_are_left_empty_the_log_once(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    world_append(&w, 10, 20);
    world_close(&w, true);
    assert_false(status_failed(log_listing_announce(w.files, LOG_DIRECTORY, 10)));
    assert_false(status_failed(log_listing_announce(w.files, LOG_DIRECTORY, 4)));
    world_open(&w, LOG_TRUST_CLEAN);
    assert_int_equal(log_start_offset(w.log), 10);
    world_append(&w, 3, 20);
    world_close(&w, true);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_int_equal(log_start_offset(w.log), 10);
    assert_int_equal(log_end_offset(w.log), 13);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flushed_records_survive_each_failing_call),
        cmocka_unit_test(failing_open_harms_nothing),
        cmocka_unit_test(failed_sync_takes_the_log_offline),
        cmocka_unit_test(full_disk_serves_nothing_half_written),
        cmocka_unit_test(seeded_crashes_keep_what_was_flushed),
        cmocka_unit_test(any_history_keeps_what_was_flushed),
        cmocka_unit_test(cold_reads_are_located_in_the_pool),
        cmocka_unit_test(emptied_log_is_whole_or_empty_after_any_death),
        cmocka_unit_test(marks_that_are_left_empty_the_log_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
