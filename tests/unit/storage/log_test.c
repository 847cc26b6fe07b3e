#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/files_sim.h"
#include "tests/unit/storage/log_world.h"

/* An empty log has no directory; the first append makes it, with partition.metadata as Kafka writes
 * it. */
static void files_appear_at_the_first_append(void **state)
{
    static const char metadata[] = "version: 0\ntopic_id: AQIDAAAAAAAAAAAAAAAAAA";
    struct log_world w;
    struct file_stat info;
    uint8_t *content;
    int64_t size;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_int_equal(w.files->ops->stat(w.files, LOG_DIRECTORY, &info).sys_errno, ENOENT);
    assert_int_equal(log_end_offset(w.log), 0);
    assert_int_equal(world_append(&w, 3, 50), 0);
    content = world_file(&w, "partition.metadata", &size);
    assert_int_equal(size, 43);
    assert_memory_equal(content, metadata, 43);
    free(content);
    world_end(&w);
}

static void every_offset_can_be_read_over_many_segments(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 400; i++)
        world_append(&w, 1 + i % 4, 30 + (size_t)i % 200);
    for (int64_t offset = 0; offset < log_end_offset(w.log); offset++) {
        struct log_slice slice = world_read(&w, offset, INT64_MAX, 1, true);
        uint8_t head[RECORD_BATCH_HEADER_BYTES];

        assert_true(slice.size > RECORD_BATCH_HEADER_BYTES);
        assert_false(status_failed(log_slice_read(&slice, 0, head, sizeof head, NULL)));
        assert_int_equal(record_batch_size_bytes(head), slice.size);
        assert_int_equal(record_batch_base_offset(head), slice.base_offset);
        assert_true(slice.base_offset <= offset);
        assert_true(record_batch_last_offset(head) >= offset);
        log_slice_release(&slice);
    }
    assert_int_equal(world_read_all(&w, 0), log_end_offset(w.log));
    world_end(&w);
}

/* Readers get nothing at or above what they may see, and never part of a batch. */
static void reads_are_bound_by_end_offset_and_size(void **state)
{
    struct log_world w;
    struct log_slice slice;
    const struct log_read_args beyond = {31, INT64_MAX, 100, true};
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 10; i++)
        world_append(&w, 3, 100);
    for (int64_t end = 0; end <= 30; end++) {
        slice = world_read(&w, 0, end, 1 << 20, true);
        assert_int_equal(slice.size, (size_t)(end / 3) * (size_t)(log_size_bytes(w.log) / 10));
        log_slice_release(&slice);
    }
    slice = world_read(&w, 0, 30, 10, false);
    assert_int_equal(slice.size, 0);
    log_slice_release(&slice);
    slice = world_read(&w, 30, 30, 10, true);
    assert_int_equal(slice.size, 0);
    assert_int_equal(log_read(w.log, &beyond, &slice).code, KERR_OFFSET_OUT_OF_RANGE);
    world_end(&w);
}

/* A clean stop and a kill both bring back every record, and appending goes on behind them. */
static void reopened_log_goes_on_where_it_ended(void **state)
{
    const enum log_trust trusts[] = {LOG_TRUST_CLEAN, LOG_TRUST_SAME_BOOT, LOG_TRUST_OTHER_BOOT};
    struct log_world w;
    int64_t end = 0;
    (void)state;

    world_begin(&w);
    for (int round = 0; round < 9; round++) {
        world_open(&w, round ? trusts[round % 3] : LOG_TRUST_CLEAN);
        assert_int_equal(w.report.truncated_bytes, 0);
        assert_false(w.report.damaged);
        assert_int_equal(log_end_offset(w.log), end);
        assert_int_equal(world_read_all(&w, 0), end);
        for (int i = 0; i < 57; i++)
            world_append(&w, 2, 100 + (size_t)i);
        world_flush(&w);
        end = log_end_offset(w.log);
        w.recovery_point = end;
        world_close(&w, trusts[(round + 1) % 3] == LOG_TRUST_CLEAN);
    }
    world_end(&w);
}

/* Index entries as Apache Kafka 4.4 writes them: more than index.interval.bytes since the last
 * one. */
static void index_files_equal_those_of_kafka(void **state)
{
    static const uint8_t index[] = {0, 0, 0, 2, 0, 0, 0, 0x90, 0, 0, 0, 4, 0, 0, 1, 0x20};
    static const uint8_t times[] = {0, 0, 1, 0xa2, 0x07, 0x90, 0x7d, 0xea, 0, 0, 0, 2,
                                    0, 0, 1, 0xa2, 0x07, 0x90, 0x7e, 0x20, 0, 0, 0, 4};
    static const int64_t timestamps[] = {0x1a207907c3c, 0x1a207907dc0, 0x1a207907dea, 0x1a207907e00,
                                         0x1a207907e20};
    struct log_world w;
    uint8_t *content;
    int64_t size;
    (void)state;

    world_begin(&w);
    w.config.index_interval_bytes = 100;
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 5; i++) {
        struct bytes_mut batch = world_batch(&w, 1, 4, timestamps[i]);

        assert_int_equal(batch.size, 72);
        assert_false(status_failed(world_try_append(&w, batch, NULL)));
    }
    world_close(&w, true);
    content = world_file(&w, "00000000000000000000.index", &size);
    assert_int_equal(size, sizeof index);
    assert_memory_equal(content, index, sizeof index);
    free(content);
    content = world_file(&w, "00000000000000000000.timeindex", &size);
    assert_int_equal(size, sizeof times);
    assert_memory_equal(content, times, sizeof times);
    free(content);
    content = world_file(&w, "00000000000000000005.snapshot", &size);
    assert_int_equal(size, 10);
    assert_memory_equal(content, "\0\1\x48\x67\x4b\xc7\0\0\0\0", 10);
    free(content);
    world_end(&w);
}

static void produced_batch_that_is_damaged_leaves_no_trace(void **state)
{
    struct log_world w;
    struct bytes_mut batch;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    batch = world_batch(&w, 2, 100, w.now_ms);
    batch.data[100] ^= 1;
    assert_int_equal(world_try_append(&w, batch, NULL).code, KERR_CORRUPT_MESSAGE);
    batch = world_batch(&w, 2, 100, w.now_ms);
    batch.size--;
    assert_int_equal(world_try_append(&w, batch, NULL).code, KERR_CORRUPT_MESSAGE);
    batch = world_batch(&w, 2, 100, w.now_ms);
    record_batch_set_base_offset(batch.data, 5);
    assert_int_equal(world_try_append(&w, batch, NULL).code, KERR_INVALID_RECORD);
    batch = world_batch(&w, 1, 9000, w.now_ms);
    assert_int_equal(world_try_append(&w, batch, NULL).code, KERR_MESSAGE_TOO_LARGE);
    assert_int_equal(log_end_offset(w.log), 0);
    assert_int_equal(world_append(&w, 1, 10), 0);
    world_end(&w);
}

/* KIP-98: a batch sent again is answered with its old offsets, also after a restart. */
static void duplicates_get_their_old_offsets(void **state)
{
    struct log_world w;
    struct log_appended first, again;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    world_append(&w, 5, 10);
    assert_false(
        status_failed(world_try_append(&w, world_producer_batch(&w, 7, 0, 0, 3, 0), &first)));
    assert_false(
        status_failed(world_try_append(&w, world_producer_batch(&w, 7, 0, 0, 3, 0), &again)));
    assert_true(again.duplicate);
    assert_int_equal(again.base_offset, 5);
    assert_int_equal(again.last_offset, 7);
    assert_int_equal(log_end_offset(w.log), 8);
    assert_int_equal(world_try_append(&w, world_producer_batch(&w, 7, 0, 9, 3, 0), NULL).code,
                     KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    for (int clean = 0; clean < 2; clean++) {
        world_close(&w, clean);
        world_open(&w, clean ? LOG_TRUST_CLEAN : LOG_TRUST_SAME_BOOT);
        assert_false(
            status_failed(world_try_append(&w, world_producer_batch(&w, 7, 0, 0, 3, 0), &again)));
        assert_true(again.duplicate);
        assert_int_equal(again.base_offset, 5);
    }
    assert_false(
        status_failed(world_try_append(&w, world_producer_batch(&w, 7, 0, 3, 1, 0), &again)));
    assert_false(again.duplicate);
    world_end(&w);
}

static void batch_at(struct log_world *w, int64_t offset, uint8_t head[RECORD_BATCH_HEADER_BYTES])
{
    struct log_slice slice = world_read(w, offset, INT64_MAX, 1, true);

    assert_false(status_failed(log_slice_read(&slice, 0, head, RECORD_BATCH_HEADER_BYTES, NULL)));
    log_slice_release(&slice);
}

/* What a leader has, a follower gets byte for byte, cut where the leader's answer was cut. */
static void follower_takes_whole_batches_as_they_are(void **state)
{
    struct log_world leader, follower;
    struct log_slice slice;
    struct log_appended out;
    uint8_t bytes[4096];
    (void)state;

    world_begin(&leader);
    world_begin(&follower);
    world_open(&leader, LOG_TRUST_CLEAN);
    world_open(&follower, LOG_TRUST_CLEAN);
    for (int i = 0; i < 10; i++)
        world_append(&leader, 2, 100);
    slice = world_read(&leader, 0, INT64_MAX, sizeof bytes, true);
    assert_false(status_failed(log_slice_read(&slice, 0, bytes, slice.size, NULL)));
    assert_false(status_failed(log_append_as_follower(
        follower.log, (struct bytes_mut){bytes, slice.size - 1}, LOG_ORIGIN_CLIENT, &out)));
    assert_int_equal(out.base_offset, 0);
    assert_int_equal(out.last_offset, 17);
    assert_int_equal(world_read_all(&follower, 0), 18);
    assert_int_equal(log_append_as_follower(follower.log, (struct bytes_mut){bytes, slice.size},
                                            LOG_ORIGIN_CLIENT, &out)
                         .code,
                     KERR_OFFSET_OUT_OF_RANGE);
    bytes[slice.size - 1] ^= 1;
    assert_int_equal(
        log_append_as_follower(follower.log,
                               (struct bytes_mut){bytes + slice.size / 10 * 9, slice.size / 10},
                               LOG_ORIGIN_CLIENT, &out)
            .code,
        KERR_CORRUPT_MESSAGE);
    bytes[slice.size - 1] ^= 1;
    assert_false(status_failed(log_append_as_follower(
        follower.log, (struct bytes_mut){bytes + slice.size / 10 * 9, slice.size / 10},
        LOG_ORIGIN_CLIENT, &out)));
    assert_int_equal(world_read_all(&follower, 0), 20);
    log_slice_release(&slice);
    world_end(&leader);
    world_end(&follower);
}

/* A new replica of a leader whose records are all deleted begins at the leader's end, and counts as
 * having all that is committed from then on: no crash may take its folder away again. */
static void a_log_begun_at_an_offset_begins_there_after_a_crash_too(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_int_equal(log_truncate_fully(w.log, 2050).code, KERR_NONE);
    assert_int_equal(log_flushed_end_offset(w.log), 2050);
    world_close(&w, false);
    files_sim_crash_losing_all(w.files);
    world_open(&w, LOG_TRUST_OTHER_BOOT);
    assert_int_equal(log_start_offset(w.log), 2050);
    assert_int_equal(log_end_offset(w.log), 2050);
    world_end(&w);
}

/* DeleteRecords may leave a log start within a batch. Whoever follows from there on gets all of
 * that batch. */
static void follower_that_starts_within_a_batch_takes_it_whole(void **state)
{
    struct log_world w;
    struct log_appended out;
    struct log_slice slice;
    struct bytes_mut batch;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_int_equal(log_truncate_fully(w.log, 83).code, KERR_NONE);
    batch = world_batch(&w, 2, 20, w.now_ms);
    record_batch_set_base_offset(batch.data, 81);
    assert_int_equal(log_append_as_follower(w.log, batch, LOG_ORIGIN_COORDINATOR, &out).code,
                     KERR_OFFSET_OUT_OF_RANGE);
    batch = world_batch(&w, 3, 20, w.now_ms);
    record_batch_set_base_offset(batch.data, 81);
    batch.data[batch.size - 1] ^= 1;
    assert_int_equal(log_append_as_follower(w.log, batch, LOG_ORIGIN_COORDINATOR, &out).code,
                     KERR_CORRUPT_MESSAGE);
    assert_int_equal(log_end_offset(w.log), 83);
    batch.data[batch.size - 1] ^= 1;
    assert_int_equal(log_append_as_follower(w.log, batch, LOG_ORIGIN_COORDINATOR, &out).code,
                     KERR_NONE);
    assert_int_equal(log_start_offset(w.log), 83);
    assert_int_equal(log_end_offset(w.log), 84);
    slice = world_read(&w, 83, INT64_MAX, 4096, true);
    assert_int_equal(slice.size, batch.size);
    log_slice_release(&slice);
    record_batch_set_base_offset(batch.data, 83);
    assert_int_equal(log_append_as_follower(w.log, batch, LOG_ORIGIN_COORDINATOR, &out).code,
                     KERR_OFFSET_OUT_OF_RANGE);
    world_end(&w);
}

/* What a leader compacted may leave a gap that no segment's indexes can span: what is behind it
 * comes again, and gets a segment of its own. */
static void follower_takes_batches_behind_a_gap_of_any_length(void **state)
{
    const int64_t far = INT64_C(5000000000);
    struct log_world w;
    struct bytes_mut batch;
    uint8_t both[1024];
    size_t size = 0;
    struct log_appended out;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 2; i++) {
        batch = world_batch(&w, 2, 10, w.now_ms + i);
        record_batch_set_base_offset(batch.data, i * far);
        memcpy(both + size, batch.data, batch.size);
        size += batch.size;
    }
    assert_int_equal(log_append_as_follower(w.log, (struct bytes_mut){both, size},
                                            LOG_ORIGIN_COORDINATOR, &out)
                         .code,
                     KERR_NONE);
    assert_int_equal(log_end_offset(w.log), 2);
    assert_int_equal(log_append_as_follower(w.log,
                                            (struct bytes_mut){both + size / 2, size - size / 2},
                                            LOG_ORIGIN_COORDINATOR, &out)
                         .code,
                     KERR_NONE);
    assert_int_equal(log_end_offset(w.log), far + 2);
    world_close(&w, true); /* the time index names the last record */
    world_open(&w, LOG_TRUST_CLEAN);
    assert_int_equal(log_end_offset(w.log), far + 2);
    world_end(&w);
}

/* The offset behind a batch has to be one, too. */
static void follower_takes_no_batch_at_the_end_of_all_offsets(void **state)
{
    struct log_world w;
    struct log_appended out;
    struct bytes_mut batch;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    batch = world_batch(&w, 2, 20, w.now_ms);
    record_batch_set_base_offset(batch.data, INT64_MAX - 1);
    assert_int_equal(log_append_as_follower(w.log, batch, LOG_ORIGIN_COORDINATOR, &out).code,
                     KERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(log_end_offset(w.log), 0);
    record_batch_set_base_offset(batch.data, LOG_OFFSET_MAX);
    assert_int_equal(log_append_as_follower(w.log, batch, LOG_ORIGIN_COORDINATOR, &out).code,
                     KERR_NONE);
    assert_int_equal(log_end_offset(w.log), LOG_OFFSET_MAX + 2);
    world_end(&w);
}

static void offsets_and_epochs_are_the_leaders(void **state)
{
    struct log_world w;
    struct log_appended out;
    struct bytes_mut two;
    uint8_t buffer[1000], head[RECORD_BATCH_HEADER_BYTES];
    size_t size;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    two = world_batch(&w, 3, 20, w.now_ms);
    size = two.size;
    memcpy(buffer, two.data, size);
    memcpy(buffer + size, two.data, size);
    two = (struct bytes_mut){buffer, 2 * size};
    assert_int_equal(log_append_as_leader(w.log, two, 4, LOG_ORIGIN_CLIENT, &out, NULL).code,
                     KERR_INVALID_RECORD);
    assert_false(
        status_failed(log_append_as_leader(w.log, two, 4, LOG_ORIGIN_COORDINATOR, &out, NULL)));
    assert_int_equal(out.base_offset, 0);
    assert_int_equal(out.last_offset, 5);
    assert_false(status_failed(log_append_as_leader(w.log, two, 5, LOG_ORIGIN_RAFT, &out, NULL)));
    assert_int_equal(out.base_offset, 6);
    batch_at(&w, 3, head);
    assert_int_equal(record_batch_base_offset(head), 3);
    assert_int_equal(record_batch_leader_epoch(head), 4);
    batch_at(&w, 6, head);
    assert_int_equal(record_batch_leader_epoch(head), 5);
    assert_int_equal(log_latest_epoch(w.log), 5);
    assert_int_equal(log_epoch_of_offset(w.log, 5), 4);
    world_end(&w);
}

/* message.timestamp.type=LogAppendTime: the broker's clock, in the batch and in the answer. */
static void log_append_time_replaces_the_producers(void **state)
{
    struct log_world w;
    struct log_appended out;
    uint8_t head[RECORD_BATCH_HEADER_BYTES];
    (void)state;

    world_begin(&w);
    w.config.message_timestamp_log_append = true;
    world_open(&w, LOG_TRUST_CLEAN);
    assert_false(status_failed(world_try_append(&w, world_batch(&w, 3, 20, 5), &out)));
    assert_int_equal(out.log_append_time_ms, w.now_ms);
    batch_at(&w, 0, head);
    assert_int_equal(record_batch_max_timestamp(head), w.now_ms);
    assert_true(record_batch_is_log_append_time(head));
    assert_int_equal(world_read_all(&w, 0), 3);
    world_end(&w);
}

static void topic_codec_replaces_the_producers(void **state)
{
    struct log_world w;
    uint8_t head[RECORD_BATCH_HEADER_BYTES];
    (void)state;

    world_begin(&w);
    w.config.compression_type = COMPRESSION_ZSTD;
    w.config.compression_zstd_level = 3;
    world_open(&w, LOG_TRUST_CLEAN);
    world_append(&w, 20, 300);
    batch_at(&w, 0, head);
    assert_int_equal(record_batch_compression(head), COMPRESSION_ZSTD);
    assert_true(record_batch_size_bytes(head) < 3000);
    world_end(&w);
}

static void records_larger_than_a_segment_are_refused(void **state)
{
    struct log_world w;
    struct record_refusal refusal;
    struct log_appended out;
    (void)state;

    world_begin(&w);
    w.config.segment_bytes = 1000;
    world_open(&w, LOG_TRUST_CLEAN);
    assert_int_equal(log_append_as_leader(w.log, world_batch(&w, 1, 2000, w.now_ms), 0,
                                          LOG_ORIGIN_CLIENT, &out, &refusal)
                         .code,
                     KERR_RECORD_LIST_TOO_LARGE);
    assert_non_null(refusal.message);
    world_end(&w);
}

/* What is settled and synced with its file system opens as a cleanly closed log. */
static void settled_log_is_a_cleanly_closed_one(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 100; i++)
        world_append(&w, 2, 300);
    assert_false(status_failed(log_settle(w.log)));
    assert_false(status_failed(w.files->ops->sync_filesystem(w.files, "data")));
    files_sim_crash_losing_all(w.files);
    world_close(&w, false);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_false(w.report.indexes_rebuilt);
    assert_int_equal(w.report.truncated_bytes, 0);
    assert_int_equal(world_read_all(&w, 0), 200);
    world_end(&w);
}

static void cleanly_closed_log_survives_losing_the_page_cache(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 30; i++)
            world_append(&w, 2, 300);
        if (round % 2)
            world_flush(&w); /* all batches are flushed, but what a close writes is not */
        world_close(&w, true);
        files_sim_crash_losing_all(w.files);
        world_open(&w, LOG_TRUST_CLEAN);
        assert_false(w.report.indexes_rebuilt);
        assert_int_equal(w.report.truncated_bytes, 0);
        assert_int_equal(log_end_offset(w.log), 60 * (round + 1));
        assert_int_equal(world_read_all(&w, 0), 60 * (round + 1));
    }
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_appear_at_the_first_append),
        cmocka_unit_test(every_offset_can_be_read_over_many_segments),
        cmocka_unit_test(reads_are_bound_by_end_offset_and_size),
        cmocka_unit_test(reopened_log_goes_on_where_it_ended),
        cmocka_unit_test(index_files_equal_those_of_kafka),
        cmocka_unit_test(produced_batch_that_is_damaged_leaves_no_trace),
        cmocka_unit_test(duplicates_get_their_old_offsets),
        cmocka_unit_test(follower_takes_whole_batches_as_they_are),
        cmocka_unit_test(follower_takes_batches_behind_a_gap_of_any_length),
        cmocka_unit_test(follower_takes_no_batch_at_the_end_of_all_offsets),
        cmocka_unit_test(a_log_begun_at_an_offset_begins_there_after_a_crash_too),
        cmocka_unit_test(follower_that_starts_within_a_batch_takes_it_whole),
        cmocka_unit_test(offsets_and_epochs_are_the_leaders),
        cmocka_unit_test(log_append_time_replaces_the_producers),
        cmocka_unit_test(topic_codec_replaces_the_producers),
        cmocka_unit_test(records_larger_than_a_segment_are_refused),
        cmocka_unit_test(settled_log_is_a_cleanly_closed_one),
        cmocka_unit_test(cleanly_closed_log_survives_losing_the_page_cache),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
