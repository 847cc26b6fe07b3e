/* Stories of compacted logs: what stays, until when, and what else goes on meanwhile. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/files_sim.h"
#include "tests/unit/storage/compaction_world.h"

static struct record_batch_head producer_head(int64_t id, int16_t epoch, int32_t sequence,
                                              uint16_t attributes)
{
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;

    head.producer_id = id;
    head.producer_epoch = epoch;
    head.base_sequence = sequence;
    head.attributes = attributes;
    return head;
}

static void open_world(struct compaction_world *c)
{
    compaction_begin(c);
    world_open(&c->w, LOG_TRUST_CLEAN);
}

static size_t aborted_count(struct compaction_world *c)
{
    struct log_aborted *list;
    struct arena a;
    size_t count;

    arena_init(&a, 1 << 16);
    assert_false(
        status_failed(log_aborted_transactions(c->w.log, 0, INT64_MAX, &a, &list, &count)));
    arena_free(&a);
    return count;
}

static void reopen(struct compaction_world *c, bool clean, enum log_trust trust)
{
    c->w.recovery_point = log_recovery_point(c->w.log);
    world_close(&c->w, clean);
    world_open(&c->w, trust);
}

/* The newest value of each key stays, at its offset; older ones are gone. */
static void the_newest_record_of_each_key_stays_at_its_offset(void **state)
{
    struct compaction_world c;
    (void)state;

    open_world(&c);
    for (int i = 0; i < 200; i++)
        keyed_put(&c, i % 7, c.next_value++);
    keyed_roll(&c, 8);
    compact_all(&c);
    check_log(&c);
    for (int key = 0; key < 7; key++)
        assert_int_equal(count_key(&c, key), 1);
    assert_int_equal(c.stats.records_written, 7);
    assert_int_equal(log_cleaned_offset(c.w.log), 200);
    assert_int_equal(log_end_offset(c.w.log), 201);
    world_close(&c.w, true);
    world_open(&c.w, LOG_TRUST_CLEAN);
    check_log(&c);
    assert_int_equal(count_key(&c, 3), 1);
    compaction_end(&c);
}

/* Every codec comes back as it was; what need not change keeps its very bytes. */
static void batches_keep_their_codec(void **state)
{
    (void)state;

    for (int codec = COMPRESSION_NONE; codec < COMPRESSION_COUNT; codec++) {
        struct compaction_world c;
        struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
        struct bytes_mut before, after;

        open_world(&c);
        head.compression = (enum compression_type)codec;
        head.compression_level = compression_levels((enum compression_type)codec).initial;
        for (int i = 0; i < 60; i++)
            keyed_append(&c,
                         (struct keyed[]){
                             {1, c.next_value++}, {2 + i % 5, c.next_value++}, {1, c.next_value++}},
                         3, &head);
        keyed_append(&c, (struct keyed[]){{1, c.next_value++}, {7, c.next_value++}}, 2, &head);
        before = batch_at(&c, 180);
        keyed_roll(&c, 8);
        compact_all(&c);
        check_log(&c);
        for (int key = 1; key < 8; key++)
            assert_int_equal(count_key(&c, key), 1);
        after = batch_at(&c, 180);
        assert_int_equal(before.size, after.size);
        assert_memory_equal(before.data, after.data, after.size);
        free(after.data);
        after = batch_at(&c, 177); /* one of three stayed */
        assert_int_equal(record_batch_compression(after.data), codec);
        assert_int_equal(record_batch_record_count(after.data), 1);
        assert_int_equal(record_batch_base_offset(after.data), 177);
        assert_int_equal(record_batch_last_offset(after.data), 179);
        free(after.data);
        free(before.data);
        compaction_end(&c);
    }
}

/* KIP-534: a tombstone's time begins when a compaction first meets it; its own timestamp does not
 * change. */
static void tombstones_stay_until_their_horizon(void **state)
{
    struct compaction_world c;
    struct bytes_mut batch;
    int64_t horizon;
    (void)state;

    open_world(&c);
    keyed_put(&c, 1, 5);
    keyed_put(&c, 2, 6);
    keyed_put(&c, 1, 0);
    keyed_roll(&c, 3);
    compact_all(&c);
    horizon = c.w.now_ms + c.w.config.delete_retention_ms;
    check_log(&c);
    assert_int_equal(value_at(&c, 2), 0);
    batch = batch_at(&c, 2);
    assert_true(record_batch_attributes(batch.data) & RECORD_BATCH_DELETE_HORIZON);
    assert_int_equal(record_batch_base_timestamp(batch.data), horizon);
    free(batch.data);
    c.w.now_ms = horizon - 200;
    keyed_roll(&c, 4); /* passes 100 ms */
    compact_all(&c);
    check_log(&c);
    assert_int_equal(value_at(&c, 2), 0);
    batch = batch_at(&c, 2);
    assert_int_equal(record_batch_base_timestamp(batch.data), horizon); /* not moved */
    free(batch.data);
    keyed_roll(&c, 5);
    compact_all(&c);
    check_log(&c);
    assert_int_equal(value_at(&c, 2), -1);
    assert_int_equal(count_key(&c, 1), 0);
    assert_int_equal(count_key(&c, 2), 1);
    compaction_end(&c);
}

/* Data of aborted transactions go at once; a marker when none of its batches is left and its
 * horizon has passed. */
static void aborted_data_go_first_and_markers_last(void **state)
{
    struct compaction_world c;
    struct record_batch_head head;
    struct bytes_mut batch;
    (void)state;

    open_world(&c);
    keyed_put(&c, 1, 5);
    head = producer_head(9, 0, 0, RECORD_BATCH_TRANSACTIONAL);
    assert_false(status_failed(keyed_append(&c, (struct keyed[]){{1, 6}, {2, 7}}, 2, &head)));
    assert_false(status_failed(marker_append(&c, 9, 0, true)));
    head = producer_head(9, 0, 2, RECORD_BATCH_TRANSACTIONAL);
    assert_false(status_failed(keyed_append(&c, (struct keyed[]){{3, 8}}, 1, &head)));
    assert_false(status_failed(marker_append(&c, 9, 0, false)));
    keyed_roll(&c, 4);
    compact_all(&c);
    check_log(&c);
    assert_int_equal(count_key(&c, 1), 1);
    assert_int_equal(count_key(&c, 2), 0);
    assert_int_equal(value_at(&c, 0), 5);
    assert_int_equal(aborted_count(&c), 1);
    batch = batch_at(&c, 1); /* the data is gone, its marker not yet */
    assert_int_equal(record_batch_base_offset(batch.data), 3);
    assert_true(record_batch_is_control(batch.data));
    assert_false(record_batch_attributes(batch.data) & RECORD_BATCH_DELETE_HORIZON);
    free(batch.data);
    keyed_roll(&c, 4);
    compact_all(&c);
    assert_int_equal(aborted_count(&c), 0);
    batch = batch_at(&c, 1); /* nobody needs it now: its horizon is set */
    assert_int_equal(record_batch_base_offset(batch.data), 3);
    assert_true(record_batch_attributes(batch.data) & RECORD_BATCH_DELETE_HORIZON);
    free(batch.data);
    batch = batch_at(&c, 5); /* the other transaction has its data */
    assert_false(record_batch_attributes(batch.data) & RECORD_BATCH_DELETE_HORIZON);
    free(batch.data);
    c.w.now_ms += c.w.config.delete_retention_ms + 1;
    keyed_roll(&c, 5);
    compact_all(&c);
    check_log(&c);
    batch = batch_at(&c, 1);
    assert_int_equal(record_batch_base_offset(batch.data), 4);
    free(batch.data);
    compaction_end(&c);
}

/* An idempotent producer goes on after a compaction took its records and a restart its state in
 * memory. */
static void a_producer_goes_on_after_its_records_are_gone(void **state)
{
    const enum log_trust trusts[] = {LOG_TRUST_CLEAN, LOG_TRUST_OTHER_BOOT};
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        struct compaction_world c;
        struct record_batch_head head = producer_head(7, 3, 0, 0);
        struct bytes_mut batch;
        struct log_appended out;

        open_world(&c);
        assert_false(status_failed(keyed_append(&c, (struct keyed[]){{1, 1}, {2, 2}}, 2, &head)));
        head.base_sequence = 2;
        assert_false(status_failed(keyed_append(&c, (struct keyed[]){{1, 3}, {2, 4}}, 2, &head)));
        keyed_put(&c, 1, 5);
        keyed_put(&c, 2, 6);
        keyed_roll(&c, 3);
        compact_all(&c);
        check_log(&c);
        batch = batch_at(&c, 0); /* the last of the producer, without records */
        assert_int_equal(record_batch_last_offset(batch.data), 3);
        assert_int_equal(record_batch_record_count(batch.data), 0);
        assert_int_equal(record_batch_last_sequence(batch.data), 3);
        free(batch.data);
        reopen(&c, i == 0, trusts[i]);
        head.base_sequence = 9;
        assert_int_equal(keyed_append(&c, (struct keyed[]){{1, 9}}, 1, &head).code,
                         KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
        head.base_sequence = 4;
        assert_false(status_failed(keyed_append(&c, (struct keyed[]){{1, 9}}, 1, &head)));
        world_flush(&c.w);
        (void)out;
        compaction_end(&c);
    }
}

/* Small cleaned segments become one; the old files wait for file.delete.delay.ms, and readers keep
 * theirs. */
static void cleaned_segments_are_merged_while_readers_keep_the_old(void **state)
{
    struct compaction_world c;
    struct log_slice slice;
    struct log_garbage *g;
    uint8_t before[400], after[400];
    int64_t size, bytes;
    (void)state;

    open_world(&c);
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < 10; k++)
            keyed_put(&c, k, c.next_value++);
        keyed_roll(&c, 11);
    }
    slice = world_read(&c.w, 21, INT64_MAX, 5000, true);
    assert_true(slice.size > sizeof before);
    assert_false(status_failed(log_slice_read(&slice, 0, before, sizeof before, NULL)));
    bytes = log_size_bytes(c.w.log);
    compact_all(&c);
    assert_true(log_size_bytes(c.w.log) < bytes / 3);
    check_log(&c);
    assert_false(status_failed(log_slice_read(&slice, 0, after, sizeof after, NULL)));
    assert_memory_equal(before, after, sizeof after);
    free(world_file(&c.w, "00000000000000000010.log", &size));
    assert_int_equal(size, -1);
    free(world_file(&c.w, "00000000000000000010.log.deleted", &size));
    assert_true(size > 0);
    g = log_take_garbage(c.w.log, c.w.now_ms + c.w.config.file_delete_delay_ms);
    assert_non_null(g);
    assert_false(status_failed(log_garbage_run(g)));
    assert_false(status_failed(log_slice_read(&slice, 0, after, sizeof after, NULL)));
    assert_memory_equal(before, after, sizeof after);
    log_slice_release(&slice);
    free(world_file(&c.w, "00000000000000000010.log.deleted", &size));
    assert_int_equal(size, -1);
    reopen(&c, true, LOG_TRUST_CLEAN);
    assert_false(c.w.report.indexes_rebuilt);
    check_log(&c);
    compaction_end(&c);
}

/* A start right after a compaction does not take the files that wait for removal for damage. */
static void a_start_after_a_compaction_rebuilds_nothing(void **state)
{
    struct compaction_world c;
    (void)state;

    open_world(&c);
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 10; k++)
            keyed_put(&c, k, c.next_value++);
        keyed_roll(&c, 11);
    }
    compact_all(&c);
    files_sim_kill(c.w.files);
    reopen(&c, false, LOG_TRUST_SAME_BOOT);
    assert_false(c.w.report.indexes_rebuilt);
    check_log(&c);
    compaction_end(&c);
}

/* A crash can lose the renaming of one index and keep that of the segment, or the other way round:
 * an index whose segment is not known is not used. */
static void an_index_that_may_be_of_another_segment_is_made_anew(void **state)
{
    static const uint8_t zeros[16];
    struct iovec part = {(void *)(uintptr_t)zeros, sizeof zeros};
    struct compaction_world c;
    struct file *f;
    int64_t size;
    (void)state;

    open_world(&c);
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 20; k++)
            keyed_put(&c, k, c.next_value++);
        keyed_roll(&c, 21);
    }
    world_close(&c.w, true);
    assert_false(status_failed(
        c.w.files->ops->open(c.w.files, LOG_DIRECTORY "/00000000000000000020.index.swap",
                             FILE_WRITE | FILE_CREATE, &f)));
    assert_false(status_failed(c.w.files->ops->write(c.w.files, f, &part, 1, 0)));
    c.w.files->ops->close(c.w.files, f);
    world_open(&c.w, LOG_TRUST_CLEAN);
    assert_true(c.w.report.indexes_rebuilt);
    check_log(&c);
    free(world_file(&c.w, "00000000000000000020.index.swap", &size));
    assert_int_equal(size, -1);
    compaction_end(&c);
}

/* More keys than the map holds: the round ends early and the next one goes on there. */
static void a_small_map_takes_several_rounds(void **state)
{
    struct compaction_world c;
    int rounds = 0;
    int64_t before = 0;
    (void)state;

    open_world(&c);
    c.args.map_bytes_max = 5 * 24;
    for (int i = 0; i < 100; i++)
        keyed_put(&c, i % 20, c.next_value++);
    keyed_roll(&c, 21);
    while (log_cleaned_offset(c.w.log) < 100) {
        compact_all(&c);
        check_log(&c);
        assert_true(log_cleaned_offset(c.w.log) > before);
        before = log_cleaned_offset(c.w.log);
        rounds++;
    }
    assert_true(rounds > 10);
    for (int key = 0; key < 20; key++)
        assert_int_equal(count_key(&c, key), 1);
    compaction_end(&c);
}

/* Nothing past the last stable offset, the active segment, what is not flushed or too young is
 * touched. */
static void what_is_not_stable_is_not_cleaned(void **state)
{
    struct compaction_world c;
    struct compaction_range range;
    struct record_batch_head head = producer_head(9, 0, 0, RECORD_BATCH_TRANSACTIONAL);
    struct log *l;
    (void)state;

    open_world(&c);
    l = c.w.log;
    keyed_put(&c, 1, 1);
    keyed_put(&c, 1, 2);
    log_compaction_look(l, 2, c.w.now_ms, &range);
    assert_int_equal(range.cleanable_bytes, 0); /* the active segment */
    keyed_roll(&c, 2);
    log_compaction_look(l, 1, c.w.now_ms, &range);
    assert_int_equal(range.cleanable_bytes, 0); /* past the last stable offset */
    log_compaction_look(l, 3, c.w.now_ms, &range);
    assert_true(range.cleanable_bytes > 0);
    assert_int_equal(range.first_uncleanable_offset, 2);
    c.w.config.min_compaction_lag_ms = 1000;
    log_compaction_look(l, 3, c.w.now_ms, &range);
    assert_int_equal(range.cleanable_bytes, 0);
    log_compaction_look(l, 3, c.w.now_ms + 1000, &range);
    assert_true(range.cleanable_bytes > 0);
    c.w.config.min_compaction_lag_ms = 0;
    c.w.config.max_compaction_lag_ms = 500;
    log_compaction_look(l, 3, c.w.now_ms, &range);
    assert_false(range.overdue);
    log_compaction_look(l, 3, c.w.now_ms + 500, &range);
    assert_true(range.overdue);
    assert_false(status_failed(keyed_append(&c, (struct keyed[]){{1, 6}}, 1, &head)));
    keyed_roll(&c, 2);
    compact_all(&c); /* asks the log itself */
    assert_int_equal(log_cleaned_offset(l), 2);
    check_log(&c);
    c.w.config.cleanup_compact = false;
    log_compaction_look(l, 3, c.w.now_ms, &range);
    assert_int_equal(range.cleanable_bytes, 0);
    compaction_end(&c);
}

/* After a start the timestamps of sealed segments are on the disk alone: nobody waits for it on the
 * loop. */
static void lags_wait_until_the_disk_was_asked(void **state)
{
    struct compaction_world c;
    struct compaction_range range;
    struct log_times *t;
    uint64_t reads;
    (void)state;

    open_world(&c);
    for (int i = 0; i < 3; i++) {
        keyed_put(&c, 1, c.next_value++);
        keyed_roll(&c, 2);
    }
    reopen(&c, true, LOG_TRUST_CLEAN);
    c.w.config.min_compaction_lag_ms = 1000;
    reads = files_sim_calls(c.w.files, FILES_CALL_ANY);
    log_compaction_look(c.w.log, 6, c.w.now_ms + 5000, &range);
    assert_true(range.times_unknown);
    assert_int_equal(range.cleanable_bytes, 0);
    assert_int_equal(files_sim_calls(c.w.files, FILES_CALL_ANY), reads);
    t = log_times_begin(c.w.log);
    assert_non_null(t);
    assert_false(status_failed(log_times_run(t)));
    log_times_end(c.w.log, t);
    assert_null(log_times_begin(c.w.log));
    log_compaction_look(c.w.log, 6, c.w.now_ms + 5000, &range);
    assert_false(range.times_unknown);
    assert_true(range.cleanable_bytes > 0);
    c.w.config.max_compaction_lag_ms = 3000;
    log_compaction_look(c.w.log, 6, c.w.now_ms + 5000, &range);
    assert_true(range.overdue);
    compaction_end(&c);
}

/* What must be compacted within some time must not stay in the active segment for longer. */
static void max_compaction_lag_rolls_segments(void **state)
{
    struct compaction_world c;
    struct compaction_range range;
    (void)state;

    open_world(&c);
    c.w.config.max_compaction_lag_ms = 5000;
    keyed_put(&c, 1, c.next_value++);
    c.w.now_ms += 5001;
    keyed_put(&c, 1, c.next_value++);
    world_flush(&c.w);
    log_compaction_look(c.w.log, 2, c.w.now_ms, &range);
    assert_int_equal(range.first_uncleanable_offset, 1);
    assert_true(range.overdue);
    compaction_end(&c);
}

/* With compact,delete a compacted log still loses what is too old; a segment without batches does
 * not stop that. */
static void compacted_segments_still_expire(void **state)
{
    struct compaction_world c;
    struct status st;
    (void)state;

    open_world(&c);
    c.w.config.cleanup_delete = true;
    c.w.config.retention_ms = 50000;
    for (int i = 0; i < 3; i++) {
        c.w.config.segment_bytes = 1000; /* so that they stay apart */
        for (int k = 0; k < 20; k++)
            keyed_put(&c, 1, c.next_value++);
        keyed_roll(&c, 1);
    }
    compact_all(&c);
    c.w.now_ms += 10000;
    keyed_roll(&c, 1);
    (void)compact(&c, &st);
    assert_false(status_failed(st));
    check_log(&c);
    assert_int_equal(log_start_offset(c.w.log), 0);
    c.w.now_ms += 45000;
    assert_true(log_maintain(c.w.log, log_flushed_end_offset(c.w.log), c.w.now_ms));
    assert_true(log_start_offset(c.w.log) > 60);
    assert_false(log_offline(c.w.log));
    compaction_end(&c);
}

/* Cutting the log between any two steps of a compaction: the log is as if only the cut had been. */
static void cutting_the_log_aborts_its_compaction(void **state)
{
    bool done = false;
    (void)state;

    for (int steps = 0; !done; steps++)
        for (int fully = 0; fully < 2; fully++) {
            struct compaction_world c;
            struct log_compaction *x;
            enum log_compaction_next next = LOG_COMPACTION_RUN;
            struct status st = STATUS_OK;

            open_world(&c);
            for (int i = 0; i < 4; i++) {
                for (int k = 0; k < 10; k++)
                    keyed_put(&c, k, c.next_value++);
                keyed_roll(&c, 11);
            }
            c.args.now_ms = c.w.now_ms;
            c.args.stable_end_offset = log_end_offset(c.w.log);
            x = log_compaction_begin(c.w.log, &c.args);
            assert_non_null(x);
            for (int i = 0; i < steps && next != LOG_COMPACTION_DONE; i++) {
                if (next == LOG_COMPACTION_ADOPT)
                    log_compaction_adopt(x);
                st = log_compaction_run(x, c.step_bytes, &next);
            }
            done = next == LOG_COMPACTION_DONE;
            assert_false(status_failed(st));
            st = fully ? log_truncate_fully(c.w.log, 20) : log_truncate_to(c.w.log, 15);
            assert_false(status_failed(st));
            for (int i = 0; next != LOG_COMPACTION_DONE; i++) {
                if (next == LOG_COMPACTION_ADOPT)
                    log_compaction_adopt(x);
                st = log_compaction_run(x, c.step_bytes, &next);
                assert_false(status_failed(st));
                assert_true(i < 3);
            }
            assert_true(done || log_compaction_aborted(x));
            log_compaction_end(c.w.log, x, st);
            assert_true(log_end_offset(c.w.log) <= 20);
            assert_true(log_cleaned_offset(c.w.log) <= log_end_offset(c.w.log));
            if (!fully)
                check_log(&c);
            keyed_put(&c, 3, c.next_value++);
            world_flush(&c.w);
            reopen(&c, true, LOG_TRUST_CLEAN);
            if (!fully)
                check_log(&c);
            assert_int_equal(files_sim_open_files(c.w.files) > 40, false);
            compaction_end(&c);
        }
}

/* A damaged batch is not copied as if it were right: the compaction fails, and the log is as it
 * was. */
static void damage_ends_a_compaction_and_changes_nothing(void **state)
{
    struct compaction_world c;
    struct status st;
    int64_t bytes, size;
    (void)state;

    open_world(&c);
    for (int k = 0; k < 30; k++)
        keyed_put(&c, k % 5, c.next_value++);
    keyed_roll(&c, 11);
    bytes = log_size_bytes(c.w.log);
    assert_true(files_sim_flip_bit(c.w.files, LOG_DIRECTORY "/00000000000000000000.log", 1000, 3));
    assert_true(compact(&c, &st));
    assert_int_equal(st.code, KERR_CORRUPT_MESSAGE);
    assert_false(log_offline(c.w.log));
    assert_int_equal(log_size_bytes(c.w.log), bytes);
    assert_int_equal(log_cleaned_offset(c.w.log), 0);
    free(world_file(&c.w, "00000000000000000000.log.cleaned", &size));
    assert_int_equal(size, -1);
    compaction_end(&c);
}

/* The times and the modification time that retention and lookups by time go by stay those of the
 * records. */
static void times_are_those_of_the_records_that_stayed(void **state)
{
    struct compaction_world c;
    struct log_time_offset found;
    struct log_lookup *lookup;
    struct file_stat info;
    int64_t written_ms;
    (void)state;

    open_world(&c);
    c.w.config.segment_bytes = 65536;
    for (int k = 0; k < 100; k++) {
        c.w.now_ms += 10;
        keyed_put(&c, k % 5, c.next_value++);
    }
    written_ms = c.w.now_ms;
    keyed_roll(&c, 11);
    c.w.now_ms += 5000;
    compact_all(&c);
    assert_false(status_failed(
        c.w.files->ops->stat(c.w.files, LOG_DIRECTORY "/00000000000000000000.log", &info)));
    assert_int_equal(info.mtime_ms, written_ms);
    lookup = log_lookup_time(c.w.log, written_ms - 15, INT64_MAX);
    assert_non_null(lookup);
    assert_false(status_failed(log_lookup_run(lookup, NULL, &found)));
    log_lookup_free(lookup);
    assert_int_equal(found.offset, 98);
    compaction_end(&c);
}

/* Compaction leaves holes between segments, and they stay when the topic is compacted no more. A
 * restart that looks at all of them, with the recovery point lost, does not take one for the lost
 * end of a segment: all behind it would go. */
static void holes_of_former_compaction_are_no_lost_ends(void **state)
{
    struct compaction_world c;
    int64_t size, end;
    (void)state;

    open_world(&c);
    for (int i = 0; i < 400; i++)
        keyed_put(&c, i % WORLD_KEYS, c.next_value++);
    keyed_roll(&c, 0);
    compact_all(&c);
    check_log(&c);
    end = log_end_offset(c.w.log);
    size = log_size_bytes(c.w.log);
    world_flush(&c.w);
    c.w.cleaned_offset = log_cleaned_offset(c.w.log);
    world_close(&c.w, false);
    c.w.config.cleanup_compact = false;
    c.w.config.cleanup_delete = true;
    c.w.recovery_point = 0;
    world_open(&c.w, LOG_TRUST_OTHER_BOOT);
    assert_int_equal(log_end_offset(c.w.log), end);
    assert_int_equal(log_size_bytes(c.w.log), size);
    check_log(&c);
    compaction_end(&c);
}

/* Epoch 5, whose first batches compaction takes. */
static void begin_an_epoch_and_compact_its_beginning(struct compaction_world *c)
{
    const int64_t start = log_end_offset(c->w.log);

    c->w.leader_epoch = 5;
    for (int i = 0; i < 100; i++)
        keyed_put(c, i % 3, c->next_value++);
    keyed_roll(c, 4);
    world_flush(&c->w);
    compact_all(c);
    assert_int_equal(value_at(c, start), -1);
}

/* Where an epoch began no batch may tell any more: a start after a kill keeps what the checkpoint
 * says of it, though it walks over all behind the recovery point for an epoch that is not saved. */
static void epochs_begin_where_they_did_after_their_first_batches_are_compacted(void **state)
{
    struct compaction_world c;
    int64_t second, third, end;
    int32_t epoch;
    (void)state;

    open_world(&c);
    c.w.leader_epoch = 3;
    for (int i = 0; i < 10; i++)
        keyed_put(&c, 1, c.next_value++);
    world_flush(&c.w);
    c.w.recovery_point = log_recovery_point(c.w.log);
    second = log_end_offset(c.w.log);
    begin_an_epoch_and_compact_its_beginning(&c);
    third = log_end_offset(c.w.log);
    c.w.leader_epoch = 6;
    c.w.now_ms += 100;
    c.w.config.segment_ms = 50; /* a new segment, which no flush has seen */
    keyed_put(&c, 4, c.next_value++);
    world_close(&c.w, false);
    world_open(&c.w, LOG_TRUST_SAME_BOOT);
    assert_true(log_end_of_past_epoch(c.w.log, 3, &epoch, &end));
    assert_int_equal(epoch, 3);
    assert_int_equal(end, second);
    assert_true(log_end_of_past_epoch(c.w.log, 5, &epoch, &end));
    assert_int_equal(epoch, 5);
    assert_int_equal(end, third);
    compaction_end(&c);
}

/* A crash of the machine while the checkpointed log start is above the recovery point: what the
 * checkpoint says of epochs above the log start stays, the batches cannot tell it. */
static void epochs_above_the_log_start_are_what_the_checkpoint_says(void **state)
{
    (void)state;

    for (int dropped = 0; dropped < 2; dropped++) {
        struct compaction_world c;
        int64_t start, second, third, end;
        int32_t epoch;

        open_world(&c);
        c.w.leader_epoch = 3;
        for (int i = 0; i < 10; i++)
            keyed_put(&c, 1, c.next_value++);
        world_flush(&c.w);
        c.w.recovery_point = log_recovery_point(c.w.log);
        keyed_put(&c, 2, c.next_value++);
        if (dropped) /* what is before goes with the next start */
            keyed_roll(&c, 4);
        start = log_end_offset(c.w.log);
        keyed_put(&c, 5, c.next_value++);
        second = log_end_offset(c.w.log);
        c.w.leader_epoch = 5;
        for (int i = 0; i < 100; i++)
            keyed_put(&c, i % 3, c.next_value++);
        third = log_end_offset(c.w.log);
        c.w.leader_epoch = 6;
        keyed_roll(&c, 4);
        world_flush(&c.w);
        assert_false(status_failed(log_raise_start_offset(c.w.log, start)));
        c.w.log_start_offset = start;
        compact_all(&c);
        assert_int_equal(value_at(&c, second), -1);
        files_sim_crash_losing_all(c.w.files);
        world_close(&c.w, false);
        for (int round = 0; round < 2; round++) {
            world_open(&c.w, round ? LOG_TRUST_SAME_BOOT : LOG_TRUST_OTHER_BOOT);
            assert_true(log_end_of_past_epoch(c.w.log, 3, &epoch, &end));
            assert_int_equal(epoch, 3);
            assert_int_equal(end, second);
            assert_true(log_end_of_past_epoch(c.w.log, 5, &epoch, &end));
            assert_int_equal(epoch, 5);
            assert_int_equal(end, third);
            world_close(&c.w, false);
        }
        compaction_end(&c);
    }
}

/* A flush that is to end in a sync of the whole file system, and the machine crashes before that:
 * the old checkpoint is there or the new one. */
static void epochs_of_compacted_batches_survive_a_flush_that_is_cut_short(void **state)
{
    (void)state;

    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct compaction_world c;
        struct log_flush f = {0};
        int64_t second, end;
        bool placed = false;
        int32_t epoch;

        open_world(&c);
        c.w.leader_epoch = 3;
        for (int i = 0; i < 10; i++)
            keyed_put(&c, 1, c.next_value++);
        second = log_end_offset(c.w.log);
        begin_an_epoch_and_compact_its_beginning(&c);
        c.w.recovery_point = log_recovery_point(c.w.log);
        c.w.leader_epoch = 6;
        keyed_put(&c, 4, c.next_value++);
        assert_true(log_flush_begin(c.w.log, &f));
        assert_false(status_failed(log_flush_write(&f)));
        if (seed % 3 == 1) /* as a clean stop */
            assert_false(status_failed(log_flush_place(&f, false, &placed)));
        if (seed % 3 == 2) { /* as the flusher */
            assert_false(status_failed(c.w.files->ops->sync_filesystem(c.w.files, LOG_DIRECTORY)));
            assert_false(status_failed(log_flush_place(&f, true, &placed)));
        }
        assert_int_equal(placed, seed % 3 > 0);
        files_sim_crash(c.w.files, seed);
        log_flush_end(c.w.log, &f, status_errno(EIO, "sync of the file system"));
        world_close(&c.w, false);
        world_open(&c.w, LOG_TRUST_OTHER_BOOT);
        assert_true(log_end_of_past_epoch(c.w.log, 3, &epoch, &end));
        assert_int_equal(epoch, 3);
        assert_int_equal(end, second);
        compaction_end(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_record_of_each_key_stays_at_its_offset),
        cmocka_unit_test(batches_keep_their_codec),
        cmocka_unit_test(tombstones_stay_until_their_horizon),
        cmocka_unit_test(aborted_data_go_first_and_markers_last),
        cmocka_unit_test(a_producer_goes_on_after_its_records_are_gone),
        cmocka_unit_test(cleaned_segments_are_merged_while_readers_keep_the_old),
        cmocka_unit_test(a_start_after_a_compaction_rebuilds_nothing),
        cmocka_unit_test(an_index_that_may_be_of_another_segment_is_made_anew),
        cmocka_unit_test(a_small_map_takes_several_rounds),
        cmocka_unit_test(what_is_not_stable_is_not_cleaned),
        cmocka_unit_test(lags_wait_until_the_disk_was_asked),
        cmocka_unit_test(max_compaction_lag_rolls_segments),
        cmocka_unit_test(compacted_segments_still_expire),
        cmocka_unit_test(cutting_the_log_aborts_its_compaction),
        cmocka_unit_test(damage_ends_a_compaction_and_changes_nothing),
        cmocka_unit_test(holes_of_former_compaction_are_no_lost_ends),
        cmocka_unit_test(epochs_begin_where_they_did_after_their_first_batches_are_compacted),
        cmocka_unit_test(epochs_above_the_log_start_are_what_the_checkpoint_says),
        cmocka_unit_test(epochs_of_compacted_batches_survive_a_flush_that_is_cut_short),
        cmocka_unit_test(times_are_those_of_the_records_that_stayed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
