#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/files_sim.h"
#include "tests/unit/storage/log_world.h"

struct names {
    size_t logs;
    size_t doomed;
    size_t snapshots;
    size_t all;
};

static bool ends_with(const char *name, const char *end)
{
    return strlen(name) >= strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0;
}

static void count_name(void *arg, const char *name, bool is_directory)
{
    struct names *n = arg;

    (void)is_directory;
    n->all++;
    n->logs += ends_with(name, ".log");
    n->doomed += ends_with(name, ".deleted");
    n->snapshots += ends_with(name, ".snapshot");
}

static struct names names_in(struct log_world *w)
{
    struct names n = {0};

    assert_false(status_failed(w->files->ops->list(w->files, LOG_DIRECTORY, count_name, &n)));
    return n;
}

static void fill(struct log_world *w, int batches)
{
    for (int i = 0; i < batches; i++) {
        world_append(w, 2, 200);
        w->now_ms += 1000;
    }
}

static void old_segments_go_by_size_and_their_files_after_the_delay(void **state)
{
    struct log_world w;
    struct names before, after;
    struct log_garbage *g;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    fill(&w, 200);
    world_flush(&w);
    before = names_in(&w);
    assert_true(before.logs > 4);
    assert_false(log_maintain(w.log, log_end_offset(w.log), w.now_ms));
    w.config.retention_bytes = 40 * 1024;
    assert_false(log_maintain(w.log, 0, w.now_ms)); /* nothing is below the high watermark */
    assert_true(log_maintain(w.log, log_end_offset(w.log), w.now_ms));
    assert_true(log_size_bytes(w.log) >= w.config.retention_bytes);
    assert_true(log_size_bytes(w.log) < w.config.retention_bytes + w.config.segment_bytes);
    assert_true(log_start_offset(w.log) > 0);
    after = names_in(&w);
    assert_true(after.logs < before.logs);
    assert_true(after.doomed > 0);
    assert_null(log_take_garbage(w.log, w.now_ms));
    g = log_take_garbage(w.log, w.now_ms + w.config.file_delete_delay_ms);
    assert_non_null(g);
    assert_false(status_failed(log_garbage_run(g)));
    assert_int_equal(names_in(&w).doomed, 0);
    assert_int_equal(world_read_all(&w, log_start_offset(w.log)), log_end_offset(w.log));
    world_end(&w);
}

/* The machine dies with some of the renames on its disk and not others, before or after files were
 * removed: by the process that renamed them, or by the start of the next one. What was flushed is
 * there, and without a gap: recovery must not take one for the end of the log. */
static void a_deletion_undone_by_halves_loses_nothing_behind_it(void **state)
{
    (void)state;

    for (uint64_t seed = 0; seed < 300; seed++) {
        struct log_garbage *g;
        struct log_world w;
        int64_t end, start;

        world_begin(&w);
        world_open(&w, LOG_TRUST_CLEAN);
        fill(&w, 150);
        world_flush(&w);
        end = log_end_offset(w.log);
        w.config.retention_bytes = 20 * 1024;
        assert_true(log_maintain(w.log, end, w.now_ms));
        start = log_start_offset(w.log);
        g = seed % 3 == 1 ? log_take_garbage(w.log, w.now_ms + w.config.file_delete_delay_ms)
                          : NULL;
        if (g)
            assert_false(status_failed(log_garbage_run(g)));
        if (seed % 3 == 2) {
            files_sim_kill(w.files);
            world_close(&w, false);
            world_open(&w, LOG_TRUST_SAME_BOOT);
        }
        files_sim_crash(w.files, seed);
        world_close(&w, false);
        world_open(&w, LOG_TRUST_OTHER_BOOT);
        assert_int_equal(log_end_offset(w.log), end);
        assert_true(log_start_offset(w.log) <= start);
        assert_int_equal(world_read_all(&w, log_start_offset(w.log)), end);
        world_end(&w);
    }
}

/* When all goes, the machine may forget the empty segment behind it and keep the renames. Offsets
 * are not given out again. */
static void log_that_has_expired_to_its_end_keeps_that_end(void **state)
{
    (void)state;

    for (uint64_t seed = 0; seed < 300; seed++) {
        struct log_world w;
        int64_t end;

        world_begin(&w);
        w.config.retention_ms = 50 * 1000;
        world_open(&w, LOG_TRUST_CLEAN);
        fill(&w, 100);
        world_flush(&w);
        end = log_end_offset(w.log);
        w.recovery_point = end;
        w.now_ms += 1000 * 1000;
        assert_true(log_maintain(w.log, end, w.now_ms));
        assert_true(log_names_wanted(w.log));
        if (seed % 3 > 0)
            world_flush(&w);
        if (seed % 3 > 1)
            (void)log_maintain(w.log, end, w.now_ms);
        files_sim_crash(w.files, seed);
        world_close(&w, false);
        world_open(&w, LOG_TRUST_OTHER_BOOT);
        assert_int_equal(log_end_offset(w.log), end);
        world_end(&w);
    }
}

/* The largest timestamp of a segment decides; when all of it is old, an empty segment takes
 * over. */
static void old_segments_go_by_time_even_the_newest(void **state)
{
    struct log_world w;
    const struct log_read_args gone = {0, INT64_MAX, 100, true};
    struct log_slice slice;
    int64_t end;
    (void)state;

    world_begin(&w);
    w.config.retention_ms = 50 * 1000;
    world_open(&w, LOG_TRUST_CLEAN);
    fill(&w, 100);
    end = log_end_offset(w.log);
    world_flush(&w);
    assert_true(log_maintain(w.log, end, w.now_ms));
    assert_true(log_start_offset(w.log) > 0);
    assert_true(log_start_offset(w.log) < end);
    w.now_ms += 1000 * 1000;
    assert_true(log_maintain(w.log, end, w.now_ms));
    assert_true(log_start_offset(w.log) < end);
    assert_true(log_names_wanted(w.log));
    world_flush(&w);
    assert_true(log_maintain(w.log, end, w.now_ms));
    assert_int_equal(log_start_offset(w.log), end);
    assert_int_equal(log_end_offset(w.log), end);
    assert_int_equal(log_size_bytes(w.log), 0);
    assert_false(log_maintain(w.log, end, w.now_ms));
    assert_int_equal(log_read(w.log, &gone, &slice).code, KERR_OFFSET_OUT_OF_RANGE);
    world_close(&w, true);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_int_equal(log_end_offset(w.log), end);
    assert_int_equal(world_append(&w, 1, 10), end);
    world_end(&w);
}

/* What the log does on its loop must not read. */
static bool maintain_without_reading(struct log_world *w)
{
    const uint64_t reads = files_sim_calls(w->files, FILES_CALL_READ),
                   stats = files_sim_calls(w->files, FILES_CALL_STAT);
    const bool changed = log_maintain(w->log, log_end_offset(w->log), w->now_ms);

    assert_int_equal(files_sim_calls(w->files, FILES_CALL_READ), reads);
    assert_int_equal(files_sim_calls(w->files, FILES_CALL_STAT), stats);
    return changed;
}

/* What the partition does: maintenance, and what it lacks is asked of the disk, until it lacks
 * nothing. Rounds that asked. */
static int maintain_with_the_pool(struct log_world *w)
{
    struct log_ages *a;
    int rounds = 0;

    if (maintain_without_reading(w) && log_names_wanted(w->log)) {
        world_flush(w);
        (void)maintain_without_reading(w);
    }
    while ((a = log_ages_begin(w->log, log_end_offset(w->log), w->now_ms))) {
        const struct status st = log_ages_run(a);

        log_ages_end(w->log, a, st);
        assert_false(status_failed(st));
        (void)maintain_without_reading(w);
        rounds++;
    }
    return rounds;
}

/* After a start the ages of sealed segments are in their files: retention asks in the pool, and a
 * segment whose age is not known stays. */
static void ages_of_segments_are_read_in_the_pool(void **state)
{
    struct log_world w;
    int64_t end;
    (void)state;

    world_begin(&w);
    w.config.segment_bytes = 1024;
    world_open(&w, LOG_TRUST_CLEAN);
    fill(&w, 400);
    end = log_end_offset(w.log);
    world_close(&w, true);
    w.config.retention_ms = 50 * 1000;
    world_open(&w, LOG_TRUST_CLEAN);
    assert_false(maintain_without_reading(&w));
    assert_int_equal(log_start_offset(w.log), 0);
    assert_int_equal(maintain_with_the_pool(&w), 3); /* 64 segments a round */
    assert_true(log_start_offset(w.log) > end - 110);
    assert_true(log_start_offset(w.log) <= end - 100);
    assert_int_equal(maintain_with_the_pool(&w), 0); /* what stays is known */
    assert_int_equal(world_read_all(&w, log_start_offset(w.log)), end);
    world_end(&w);
}

/* Records without a timestamp are as old as the last write to their file: also those of this
 * run. */
static void segments_without_timestamps_go_by_their_files(void **state)
{
    struct log_world w;
    int64_t written_ms;
    (void)state;

    world_begin(&w);
    w.config.retention_ms = 50 * 1000;
    w.config.segment_bytes = 1024;
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 20; i++)
        assert_false(status_failed(world_try_append(&w, world_batch(&w, 1, 300, -1), NULL)));
    written_ms = w.now_ms;
    for (int reopened = 0; reopened < 2; reopened++) {
        w.now_ms = written_ms + w.config.retention_ms;
        assert_true(maintain_with_the_pool(&w) > 0);
        assert_int_equal(log_start_offset(w.log), 0);
        world_close(&w, true);
        world_open(&w, LOG_TRUST_CLEAN);
    }
    assert_false(status_failed(world_try_append(&w, world_batch(&w, 1, 10, -1), NULL)));
    w.now_ms++;
    maintain_with_the_pool(&w);
    assert_in_range(log_start_offset(w.log), 17, 20); /* the newest one was written to just now */
    w.now_ms += w.config.retention_ms;
    maintain_with_the_pool(&w);
    assert_int_equal(log_start_offset(w.log), log_end_offset(w.log));
    world_end(&w);
}

/* The log may go while its ages are asked for; what was asked of a segment that went is dropped. */
static void log_may_change_while_ages_are_asked(void **state)
{
    struct log_world w;
    struct log_ages *a;
    struct status st;
    (void)state;

    for (int what = 0; what < 3; what++) {
        world_begin(&w);
        w.config.segment_bytes = 1024;
        world_open(&w, LOG_TRUST_CLEAN);
        fill(&w, 100);
        world_close(&w, true);
        w.config.retention_ms = 50 * 1000;
        world_open(&w, LOG_TRUST_CLEAN);
        a = log_ages_begin(w.log, log_end_offset(w.log), w.now_ms);
        assert_non_null(a);
        if (what == 0)
            assert_false(status_failed(log_truncate_fully(w.log, 5)));
        else if (what == 1)
            assert_false(status_failed(log_truncate_to(w.log, 3)));
        else
            world_close(&w, false);
        st = log_ages_run(a);
        log_ages_end(w.log, a, st);
        if (w.log) {
            assert_false(log_offline(w.log));
            w.now_ms += 2 * w.config.retention_ms;
            world_append(&w, 1, 10);
            assert_int_equal(world_read_all(&w, log_start_offset(w.log)), log_end_offset(w.log));
        }
        world_end(&w);
    }
}

static void unreadable_age_takes_the_log_offline(void **state)
{
    struct log_world w;
    struct log_ages *a;
    struct status st;
    (void)state;

    world_begin(&w);
    w.config.segment_bytes = 1024;
    world_open(&w, LOG_TRUST_CLEAN);
    fill(&w, 100);
    world_close(&w, true);
    w.config.retention_ms = 50 * 1000;
    world_open(&w, LOG_TRUST_CLEAN);
    a = log_ages_begin(w.log, log_end_offset(w.log), w.now_ms);
    files_sim_fail(w.files, &(struct files_fault){.call = FILES_CALL_READ, .sys_errno = EIO});
    st = log_ages_run(a);
    assert_int_equal(st.sys_errno, EIO);
    log_ages_end(w.log, a, st);
    assert_true(log_offline(w.log));
    assert_null(log_ages_begin(w.log, log_end_offset(w.log), w.now_ms));
    world_end(&w);
}

/* DeleteRecords: what lies below the log start cannot be read at once, and goes with the next
 * maintenance. */
static void records_below_a_raised_start_are_gone(void **state)
{
    struct log_world w;
    const struct log_read_args gone = {149, INT64_MAX, 100, true};
    struct log_slice slice;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    fill(&w, 200);
    assert_int_equal(log_raise_start_offset(w.log, 401).code, KERR_OFFSET_OUT_OF_RANGE);
    assert_false(status_failed(log_raise_start_offset(w.log, 150)));
    assert_int_equal(log_start_offset(w.log), 150);
    assert_int_equal(log_read(w.log, &gone, &slice).code, KERR_OFFSET_OUT_OF_RANGE);
    assert_true(log_maintain(w.log, 400, w.now_ms));
    assert_int_equal(log_start_offset(w.log), 150);
    assert_int_equal(world_read_all(&w, 150), 400);
    w.log_start_offset = 150;
    world_close(&w, true);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_int_equal(log_start_offset(w.log), 150);
    world_end(&w);
}

/* segment.ms counts from the first record's timestamp to that of the batch that comes. */
static void segments_roll_by_age(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    w.config.segment_ms = 10 * 1000;
    world_open(&w, LOG_TRUST_CLEAN);
    fill(&w, 11);
    assert_int_equal(names_in(&w).logs, 1);
    fill(&w, 1);
    assert_int_equal(names_in(&w).logs, 2);
    world_close(&w, false);
    world_open(&w, LOG_TRUST_SAME_BOOT);
    fill(&w, 10);
    assert_int_equal(names_in(&w).logs, 2);
    fill(&w, 1);
    assert_int_equal(names_in(&w).logs, 3);
    world_end(&w);
}

static void segments_roll_when_their_index_is_full(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    w.config.index_interval_bytes = 0;
    w.config.segment_index_bytes = 12 * 10;
    world_open(&w, LOG_TRUST_CLEAN);
    fill(&w, 30);
    assert_true(names_in(&w).logs >= 3);
    assert_int_equal(world_read_all(&w, 0), 60);
    world_end(&w);
}

/* What there is of the log after `end`, behind an empty segment that begins there, survives
 * retention and a restart. */
static void assert_kept_from(struct log_world *w, int64_t end, int64_t count)
{
    struct log_garbage *g;

    assert_int_equal(log_end_offset(w->log), end + count);
    for (int i = 0; i < 3; i++) {
        world_flush(w);
        (void)log_maintain(w->log, end + count, w->now_ms);
        g = log_take_garbage(w->log, w->now_ms + w->config.file_delete_delay_ms);
        if (g)
            assert_false(status_failed(log_garbage_run(g)));
    }
    assert_int_equal(log_start_offset(w->log), end);
    world_close(w, true);
    world_open(w, LOG_TRUST_CLEAN);
    assert_int_equal(log_end_offset(w->log), end + count);
    assert_int_equal(world_read_all(w, end), end + count);
}

/* An index too small for one entry is always full; a segment of the same base would take over the
 * files of the empty one, and retention would remove them as that one's. */
static void no_segment_begins_where_an_empty_one_does(void **state)
{
    struct log_world w;
    int64_t end;
    (void)state;

    world_begin(&w);
    w.config.retention_ms = 50 * 1000;
    w.config.segment_index_bytes = 10;
    world_open(&w, LOG_TRUST_CLEAN);
    fill(&w, 10);
    end = log_end_offset(w.log);
    w.now_ms += 1000 * 1000;
    for (int i = 0; i < 3; i++) {
        world_flush(&w);
        (void)log_maintain(w.log, end, w.now_ms);
    }
    assert_int_equal(log_start_offset(w.log), end);
    world_append(&w, 1, 10);
    assert_kept_from(&w, end, 1);
    world_end(&w);
}

/* The same where a leader's answer is larger than a segment is to be. */
static void follower_puts_what_is_too_large_into_its_empty_segment(void **state)
{
    struct log_world w;
    struct log_appended out;
    struct bytes_mut batch;
    (void)state;

    world_begin(&w);
    w.config.segment_bytes = 4096;
    world_open(&w, LOG_TRUST_CLEAN);
    fill(&w, 10);
    assert_false(status_failed(log_truncate_fully(w.log, 5000)));
    batch = world_batch(&w, 3, 2000, w.now_ms);
    record_batch_set_base_offset(batch.data, 5000);
    assert_false(status_failed(log_append_as_follower(w.log, batch, LOG_ORIGIN_CLIENT, &out)));
    assert_kept_from(&w, 5000, 3);
    world_end(&w);
}

/* Only names that no flush has made durable yet are waited for, and only where that is promised. */
static void a_roll_waits_for_the_name_of_the_segment_before(void **state)
{
    uint64_t syncs[3];
    (void)state;

    for (int how = 0; how < 3; how++) {
        struct log_world w;

        world_begin(&w);
        w.page_cache_is_enough = how == 1;
        w.config.segment_bytes = 4096;
        world_open(&w, LOG_TRUST_CLEAN);
        world_append(&w, 1, 3000);
        if (how == 2)
            world_flush(&w);
        syncs[how] = files_sim_calls(w.files, FILES_CALL_SYNC_DIRECTORY);
        world_append(&w, 1, 3000);
        syncs[how] = files_sim_calls(w.files, FILES_CALL_SYNC_DIRECTORY) - syncs[how];
        assert_int_equal(names_in(&w).logs, 2);
        world_end(&w);
    }
    assert_int_equal(syncs[0], 1);
    assert_int_equal(syncs[1], 0);
    assert_int_equal(syncs[2], 0);
}

/* A follower's log may have gaps that no relative offset can bridge. */
static void segments_roll_before_a_relative_offset_overflows(void **state)
{
    struct log_world w;
    struct log_appended out;
    struct bytes_mut batch;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    world_append(&w, 1, 10);
    batch = world_batch(&w, 1, 10, w.now_ms);
    record_batch_set_base_offset(batch.data, (int64_t)1 << 40);
    assert_false(status_failed(log_append_as_follower(w.log, batch, LOG_ORIGIN_CLIENT, &out)));
    assert_int_equal(names_in(&w).logs, 2);
    assert_int_equal(log_end_offset(w.log), ((int64_t)1 << 40) + 1);
    world_end(&w);
}

/* A reader that holds a slice sees the old bytes, although the log was cut and written again. */
static void truncation_leaves_a_reader_its_bytes(void **state)
{
    struct log_world w;
    struct log_slice slice;
    uint8_t *before, *after;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    fill(&w, 20);
    slice = world_read(&w, 0, INT64_MAX, 1 << 20, true);
    before = malloc(slice.size);
    after = malloc(slice.size);
    assert_false(status_failed(log_slice_read(&slice, 0, before, slice.size, NULL)));
    assert_false(status_failed(log_truncate_to(w.log, 7)));
    assert_int_equal(log_end_offset(w.log), 6); /* the batch of 6 and 7 went whole */
    world_append(&w, 3, 500);
    assert_int_equal(world_read_all(&w, 0), 9);
    assert_false(status_failed(log_slice_read(&slice, 0, after, slice.size, NULL)));
    assert_memory_equal(before, after, slice.size);
    log_slice_release(&slice);
    free(before);
    free(after);
    world_flush(&w);
    world_close(&w, false);
    world_open(&w, LOG_TRUST_SAME_BOOT);
    assert_int_equal(world_read_all(&w, 0), 9);
    world_end(&w);
}

static void deletion_leaves_a_reader_its_bytes(void **state)
{
    struct log_world w;
    struct log_slice slice;
    struct log_garbage *g;
    uint8_t head[RECORD_BATCH_HEADER_BYTES];
    (void)state;

    world_begin(&w);
    w.config.retention_bytes = 0;
    world_open(&w, LOG_TRUST_CLEAN);
    fill(&w, 100);
    world_flush(&w);
    slice = world_read(&w, 0, INT64_MAX, 1 << 20, true);
    assert_true(log_maintain(w.log, log_end_offset(w.log), w.now_ms));
    g = log_take_garbage(w.log, w.now_ms + w.config.file_delete_delay_ms);
    assert_false(status_failed(log_garbage_run(g)));
    assert_false(status_failed(log_slice_read(&slice, 0, head, sizeof head, NULL)));
    assert_int_equal(record_batch_base_offset(head), 0);
    world_close(&w, true);
    assert_false(status_failed(log_slice_read(&slice, 0, head, sizeof head, NULL)));
    log_slice_release(&slice);
    world_end(&w);
}

/* A flush takes the segment that ends at the flushed end too, and after a start it is the first to
 * open its files: when retention lets the segment go meanwhile, they have another name. (Found by
 * the simulator: the log went offline.) */
static void deletion_leaves_a_flush_the_files_that_it_has_yet_to_open(void **state)
{
    struct log_world w;
    struct log_flush flush;
    struct status st;
    int64_t end;
    (void)state;

    world_begin(&w);
    w.config.segment_bytes = 1024;
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 10; i++)
        world_append(&w, 1, 700); /* a segment each */
    /* the newest is empty: a start looks into no other */
    assert_false(status_failed(log_truncate_to(w.log, 9)));
    world_close(&w, true);
    world_open(&w, LOG_TRUST_CLEAN);
    world_append(&w, 1, 700);
    end = log_end_offset(w.log);
    assert_int_equal(end, 10);
    assert_true(log_flush_begin(w.log, &flush));
    w.config.retention_bytes = 0;
    assert_true(log_maintain(w.log, end - 1, w.now_ms));
    assert_int_equal(log_start_offset(w.log), end - 1);
    st = log_flush_run(&flush);
    log_flush_end(w.log, &flush, st);
    assert_false(status_failed(st));
    assert_false(log_offline(w.log));
    assert_int_equal(log_flushed_end_offset(w.log), end);
    world_end(&w);
}

/* Truncation to each offset, and what follows agrees with a log that never had more. */
static void truncated_log_is_as_if_it_had_ended_there(void **state)
{
    (void)state;

    for (int64_t to = 0; to <= 160; to += 3) {
        struct log_world w;
        int64_t end;

        world_begin(&w);
        world_open(&w, LOG_TRUST_CLEAN);
        for (int i = 0; i < 80; i++) {
            assert_false(status_failed(
                world_try_append(&w, world_producer_batch(&w, 7, 0, 2 * i, 2, 0), NULL)));
            if (i == 40)
                assert_false(status_failed(log_start_epoch(w.log, 0)));
        }
        world_flush(&w);
        assert_false(status_failed(log_truncate_to(w.log, to)));
        end = log_end_offset(w.log);
        assert_int_equal(end, to / 2 * 2);
        assert_true(log_flushed_end_offset(w.log) <= end);
        assert_int_equal(world_read_all(&w, 0), end);
        /* The producer goes on behind the cut, not behind what was lost. */
        assert_false(status_failed(
            world_try_append(&w, world_producer_batch(&w, 7, 0, (int32_t)end, 2, 0), NULL)));
        world_close(&w, to % 2);
        world_open(&w, to % 2 ? LOG_TRUST_CLEAN : LOG_TRUST_SAME_BOOT);
        assert_int_equal(world_read_all(&w, 0), end + 2);
        world_end(&w);
    }
}

static void log_starts_afresh_at_any_offset(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    fill(&w, 100);
    assert_false(status_failed(log_truncate_fully(w.log, 5000)));
    assert_int_equal(log_start_offset(w.log), 5000);
    assert_int_equal(log_end_offset(w.log), 5000);
    assert_int_equal(log_size_bytes(w.log), 0);
    assert_int_equal(log_latest_epoch(w.log), -1);
    world_close(&w, false);
    world_open(&w, LOG_TRUST_SAME_BOOT);
    assert_int_equal(log_start_offset(w.log), 5000);
    assert_int_equal(log_end_offset(w.log), 5000);
    assert_int_equal(world_append(&w, 1, 10), 5000);
    world_end(&w);
}

/* Four records each of the epochs 0, 3, 6, 9 and 12. */
static void begin_with_epochs(struct log_world *w)
{
    struct log_appended out;

    world_begin(w);
    world_open(w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 5; i++)
        assert_false(status_failed(log_append_as_leader(w->log, world_batch(w, 4, 10, w->now_ms),
                                                        3 * i, LOG_ORIGIN_CLIENT, &out, NULL)));
}

/* OffsetForLeaderEpoch: where epochs begin survives all kinds of restart. */
static void epochs_are_known_after_each_kind_of_start(void **state)
{
    struct log_world w;
    int32_t epoch;
    int64_t end;
    (void)state;

    begin_with_epochs(&w);
    for (int round = 0; round < 5; round++) {
        assert_int_equal(log_latest_epoch(w.log), 12);
        assert_int_equal(log_epoch_of_offset(w.log, 5), 3);
        log_end_of_epoch(w.log, 4, &epoch, &end);
        assert_int_equal(epoch, 3);
        assert_int_equal(end, 8);
        log_end_of_epoch(w.log, 12, &epoch, &end);
        assert_int_equal(end, 20);
        if (round == 1)
            world_flush(&w);
        world_close(&w, round == 2);
        world_open(&w, round == 2  ? LOG_TRUST_CLEAN
                       : round % 2 ? LOG_TRUST_OTHER_BOOT
                                   : LOG_TRUST_SAME_BOOT);
    }
    world_end(&w);
}

/* Apache Kafka tells clients that what it has deleted ended at the log start. */
static void epochs_that_are_deleted_are_remembered_for_replicas(void **state)
{
    struct log_world w;
    int32_t epoch;
    int64_t end;
    (void)state;

    begin_with_epochs(&w);
    world_flush(&w);
    assert_false(status_failed(log_raise_start_offset(w.log, 14)));
    for (int round = 0; round < 3; round++) {
        w.log_start_offset = 14;
        for (int32_t asked = 4; asked <= 6; asked++) {
            log_end_of_epoch(w.log, asked, &epoch, &end);
            assert_int_equal(epoch, asked);
            assert_int_equal(end, 14);
        }
        log_end_of_epoch(w.log, 9, &epoch, &end);
        assert_int_equal(epoch, 9);
        assert_int_equal(end, 16);
        assert_true(log_end_of_past_epoch(w.log, 4, &epoch, &end));
        assert_int_equal(epoch, 3);
        assert_int_equal(end, 8);
        world_close(&w, round == 0);
        world_open(&w, round == 0 ? LOG_TRUST_CLEAN : LOG_TRUST_OTHER_BOOT);
    }
    assert_false(status_failed(log_truncate_fully(w.log, 20)));
    assert_int_equal(log_start_epoch(w.log, 15).code, KERR_NONE);
    assert_false(log_end_of_past_epoch(w.log, 12, &epoch, &end));
    assert_int_equal(epoch, 12);
    assert_int_equal(end, 20);
    world_end(&w);
}

static int64_t follow(struct log_world *w, int32_t epoch, int64_t offset)
{
    struct bytes_mut batch = world_batch(w, 5, 10, w->now_ms);
    struct log_appended out;

    record_batch_set_base_offset(batch.data, offset);
    record_batch_set_leader_epoch(batch.data, epoch);
    assert_false(status_failed(log_append_as_follower(w->log, batch, LOG_ORIGIN_CLIENT, &out)));
    return out.last_offset + 1;
}

/* An epoch that this node began, and lost before it wrote, is newer than those that it is told of
 * next. */
static void epoch_that_wrote_nothing_is_forgotten_by_a_clean_stop(void **state)
{
    struct log_world w;
    int64_t end;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    end = follow(&w, 30, 0);
    assert_int_equal(log_start_epoch(w.log, 32).code, KERR_NONE);
    world_close(&w, true);
    world_open(&w, LOG_TRUST_CLEAN);
    end = follow(&w, 31, end);
    world_close(&w, false);
    world_open(&w, LOG_TRUST_SAME_BOOT);
    assert_int_equal(log_end_offset(w.log), end);
    assert_int_equal(log_epoch_of_offset(w.log, end - 1), 31);
    world_end(&w);
}

/* A disk that fails while a log is emptied leaves what it leaves. */
static void epochs_of_a_log_that_is_gone_are_not_those_of_the_next(void **state)
{
    struct log_world w;
    int32_t epoch;
    int64_t end;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    end = follow(&w, 3, follow(&w, 2, 0));
    world_flush(&w);
    world_close(&w, false);
    assert_false(
        status_failed(w.files->ops->remove(w.files, LOG_DIRECTORY "/00000000000000000000.log")));
    w.log_start_offset = end;
    world_open(&w, LOG_TRUST_SAME_BOOT);
    end = follow(&w, 7, end);
    world_close(&w, false);
    world_open(&w, LOG_TRUST_SAME_BOOT);
    assert_int_equal(log_end_offset(w.log), end);
    assert_false(log_end_of_past_epoch(w.log, 3, &epoch, &end));
    world_end(&w);
}

/* Two epochs, of which only the first is flushed; the second is below the log start, in segments
 * that go with the next start. Returns where the second began. */
static int64_t delete_what_was_not_flushed(struct log_world *w)
{
    int64_t second, end = 0;

    world_begin(w);
    w->config.segment_bytes = 1000;
    world_open(w, LOG_TRUST_CLEAN);
    end = follow(w, 3, end);
    world_flush(w);
    w->recovery_point = log_recovery_point(w->log);
    second = end;
    while (end < 200)
        end = follow(w, 5, end);
    assert_false(status_failed(log_raise_start_offset(w->log, end - 5)));
    assert_int_equal(log_recovery_point(w->log), w->recovery_point); /* though the start is above */
    w->log_start_offset = end - 5;
    world_close(w, false);
    return second;
}

static void epochs_of_what_a_start_drops_are_remembered(void **state)
{
    struct log_world w;
    int64_t second = delete_what_was_not_flushed(&w), end;
    int32_t epoch;
    (void)state;

    for (int round = 0; round < 2; round++) {
        world_open(&w, LOG_TRUST_SAME_BOOT);
        assert_true(log_end_of_past_epoch(w.log, 4, &epoch, &end));
        assert_int_equal(epoch, 3);
        assert_int_equal(end, second);
        world_close(&w, false);
    }
    world_open(&w, LOG_TRUST_SAME_BOOT);
    world_end(&w);
}

/* It is dropped as one that is whole, but what it had is not known. */
static void damaged_segment_below_the_log_start_costs_only_the_memory_of_epochs(void **state)
{
    static const uint8_t size[4] = {0xff, 0xff, 0xff, 0xff};
    struct iovec part = {(void *)(uintptr_t)size, sizeof size};
    struct log_world w;
    int32_t epoch;
    int64_t end;
    struct file *f;
    (void)state;

    delete_what_was_not_flushed(&w);
    assert_false(status_failed(
        w.files->ops->open(w.files, LOG_DIRECTORY "/00000000000000000000.log", FILE_WRITE, &f)));
    assert_false(status_failed(w.files->ops->write(w.files, f, &part, 1, 8)));
    w.files->ops->close(w.files, f);
    world_open(&w, LOG_TRUST_SAME_BOOT);
    assert_int_equal(log_start_offset(w.log), w.log_start_offset);
    assert_int_equal(log_end_offset(w.log), w.log_start_offset + 5);
    assert_int_equal(log_latest_epoch(w.log), 5);
    assert_false(log_end_of_past_epoch(w.log, 3, &epoch, &end));
    world_end(&w);
}

/* Nobody knows what they were. */
static void epochs_of_what_a_crash_of_the_machine_may_have_lost_are_forgotten(void **state)
{
    struct log_world w;
    int32_t epoch;
    int64_t end;
    (void)state;

    delete_what_was_not_flushed(&w);
    world_open(&w, LOG_TRUST_OTHER_BOOT);
    assert_false(log_end_of_past_epoch(w.log, 3, &epoch, &end));
    world_close(&w, false);
    w.recovery_point = w.log_start_offset; /* of a flush after the start */
    world_open(&w, LOG_TRUST_SAME_BOOT);
    assert_false(log_end_of_past_epoch(w.log, 3, &epoch, &end));
    world_end(&w);
}

/* The metadata log is cut while it is being flushed. */
static void flush_from_before_a_cut_leaves_no_epoch_that_was_cut(void **state)
{
    struct log_world w;
    struct log_flush f = {0};
    int64_t cut, end;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    cut = follow(&w, 3, 0);
    world_flush(&w);
    end = follow(&w, 5, cut);
    assert_true(log_flush_begin(w.log, &f));
    assert_false(status_failed(log_truncate_to(w.log, cut)));
    log_flush_end(w.log, &f, log_flush_run(&f));
    while (cut <= end)
        cut = follow(&w, 3, cut);
    world_flush(&w);
    w.recovery_point = log_recovery_point(w.log);
    world_close(&w, false);
    world_open(&w, LOG_TRUST_SAME_BOOT);
    assert_int_equal(log_latest_epoch(w.log), 3);
    world_end(&w);
}

static void foreign_directory_is_refused(void **state)
{
    static const char other[] = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAABQ";
    struct log_world w;
    struct iovec part = {(void *)(uintptr_t)other, sizeof other - 1};
    struct file *f;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    fill(&w, 1);
    world_close(&w, true);
    assert_false(status_failed(
        w.files->ops->open(w.files, LOG_DIRECTORY "/partition.metadata", FILE_WRITE, &f)));
    assert_false(status_failed(w.files->ops->write(w.files, f, &part, 1, 0)));
    w.files->ops->close(w.files, f);
    assert_int_equal(world_try_open(&w, LOG_TRUST_CLEAN).code, KERR_INCONSISTENT_TOPIC_ID);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_segments_go_by_size_and_their_files_after_the_delay),
        cmocka_unit_test(a_deletion_undone_by_halves_loses_nothing_behind_it),
        cmocka_unit_test(log_that_has_expired_to_its_end_keeps_that_end),
        cmocka_unit_test(old_segments_go_by_time_even_the_newest),
        cmocka_unit_test(ages_of_segments_are_read_in_the_pool),
        cmocka_unit_test(segments_without_timestamps_go_by_their_files),
        cmocka_unit_test(log_may_change_while_ages_are_asked),
        cmocka_unit_test(unreadable_age_takes_the_log_offline),
        cmocka_unit_test(records_below_a_raised_start_are_gone),
        cmocka_unit_test(segments_roll_by_age),
        cmocka_unit_test(segments_roll_when_their_index_is_full),
        cmocka_unit_test(no_segment_begins_where_an_empty_one_does),
        cmocka_unit_test(follower_puts_what_is_too_large_into_its_empty_segment),
        cmocka_unit_test(a_roll_waits_for_the_name_of_the_segment_before),
        cmocka_unit_test(segments_roll_before_a_relative_offset_overflows),
        cmocka_unit_test(truncation_leaves_a_reader_its_bytes),
        cmocka_unit_test(deletion_leaves_a_reader_its_bytes),
        cmocka_unit_test(deletion_leaves_a_flush_the_files_that_it_has_yet_to_open),
        cmocka_unit_test(truncated_log_is_as_if_it_had_ended_there),
        cmocka_unit_test(log_starts_afresh_at_any_offset),
        cmocka_unit_test(epochs_are_known_after_each_kind_of_start),
        cmocka_unit_test(epochs_that_are_deleted_are_remembered_for_replicas),
        cmocka_unit_test(epoch_that_wrote_nothing_is_forgotten_by_a_clean_stop),
        cmocka_unit_test(epochs_of_a_log_that_is_gone_are_not_those_of_the_next),
        cmocka_unit_test(epochs_of_what_a_start_drops_are_remembered),
        cmocka_unit_test(damaged_segment_below_the_log_start_costs_only_the_memory_of_epochs),
        cmocka_unit_test(epochs_of_what_a_crash_of_the_machine_may_have_lost_are_forgotten),
        cmocka_unit_test(flush_from_before_a_cut_leaves_no_epoch_that_was_cut),
        cmocka_unit_test(foreign_directory_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
