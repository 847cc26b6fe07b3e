/* The decisions of compaction, without a log: ranges and groups, the map, transactions, batches. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/record_batch_build.h"
#include "storage/log_compaction_filter.h"
#include "storage/log_compaction_plan.h"

/* ---- ranges ---- */

/* Four segments of 100 offsets and bytes each; the last one is active. */
static struct compaction_range_args four_segments(struct compaction_segment s[4])
{
    for (int i = 0; i < 4; i++)
        s[i] = (struct compaction_segment){.base_offset = 100 * i,
                                           .size = 100,
                                           .largest_timestamp_ms = 1000 * (i + 1),
                                           .first_timestamp_ms = 1000 * i + 500};
    return (struct compaction_range_args){.segments = s,
                                          .count = 4,
                                          .log_end_offset = 350,
                                          .stable_end_offset = 350,
                                          .flushed_end_offset = 350,
                                          .now_ms = 5000,
                                          .max_lag_ms = INT64_MAX};
}

static struct compaction_range range_of(const struct compaction_range_args *a)
{
    struct compaction_range r;

    compaction_find_range(a, &r);
    return r;
}

static void all_but_the_active_segment_is_cleanable_at_first(void **state)
{
    struct compaction_segment s[4];
    struct compaction_range_args a = four_segments(s);
    const struct compaction_range r = range_of(&a);
    (void)state;

    assert_int_equal(r.first_dirty_offset, 0);
    assert_int_equal(r.first_uncleanable_offset, 300);
    assert_int_equal(r.clean_bytes, 0);
    assert_int_equal(r.cleanable_bytes, 300);
    assert_true(compaction_is_due(&r, 0.99));
    assert_false(r.overdue);
}

static void the_range_ends_where_something_is_not_ready(void **state)
{
    struct compaction_segment s[4];
    struct compaction_range_args a = four_segments(s);
    (void)state;

    a.stable_end_offset = 250;
    assert_int_equal(range_of(&a).first_uncleanable_offset, 200);
    a = four_segments(s);
    a.flushed_end_offset = 200; /* a segment that ends there may be part of a flush */
    assert_int_equal(range_of(&a).first_uncleanable_offset, 100);
    a.flushed_end_offset = 201;
    assert_int_equal(range_of(&a).first_uncleanable_offset, 200);
    a = four_segments(s);
    a.min_lag_ms = 3500; /* the second segment's newest record is 3000 old */
    assert_int_equal(range_of(&a).first_uncleanable_offset, 100);
    a = four_segments(s);
    a.stable_end_offset = 0;
    assert_int_equal(range_of(&a).first_uncleanable_offset, 0);
    assert_int_equal(range_of(&a).cleanable_bytes, 0);
    a.count = 0;
    assert_int_equal(range_of(&a).cleanable_bytes, 0);
}

/* A checkpoint that cannot be of this log says nothing. */
static void a_checkpoint_outside_of_the_log_is_not_believed(void **state)
{
    struct compaction_segment s[4];
    struct compaction_range_args a = four_segments(s);
    (void)state;

    a.checkpoint = 200;
    assert_int_equal(range_of(&a).first_dirty_offset, 200);
    assert_int_equal(range_of(&a).clean_bytes, 200);
    assert_int_equal(range_of(&a).cleanable_bytes, 100);
    a.checkpoint = 351;
    assert_int_equal(range_of(&a).first_dirty_offset, 0);
    a.checkpoint = 10;
    a.log_start_offset = 30;
    assert_int_equal(range_of(&a).first_dirty_offset, 30);
    a.checkpoint = 300;
    assert_int_equal(range_of(&a).cleanable_bytes, 0);
}

static void dirt_is_due_by_ratio_or_by_age(void **state)
{
    struct compaction_segment s[4];
    struct compaction_range_args a = four_segments(s);
    struct compaction_range r;
    (void)state;

    a.checkpoint = 200;
    r = range_of(&a);
    assert_true(compaction_dirty_ratio(&r) > 0.33);
    assert_false(compaction_is_due(&r, 0.5));
    assert_true(compaction_is_due(&r, 0.3));
    assert_false(compaction_needs_timestamps(&a));
    a.max_lag_ms = 2400; /* the third segment began 2500 ago */
    assert_true(compaction_needs_timestamps(&a));
    r = range_of(&a);
    assert_true(r.overdue);
    assert_true(compaction_is_due(&r, 0.5));
    a.stable_end_offset = 200;
    r = range_of(&a);
    assert_false(compaction_is_due(&r, 0)); /* nothing may be cleaned */
}

/* ---- groups ---- */

static void segments_are_merged_within_their_limits(void **state)
{
    struct compaction_segment s[COMPACTION_GROUP_MAX + 5];
    struct compaction_group_limits limits = {
        .segment_bytes = 1000, .index_bytes = 1000, .end_offset = 10000};
    const size_t count = sizeof s / sizeof s[0];
    (void)state;

    for (size_t i = 0; i < count; i++)
        s[i] = (struct compaction_segment){.base_offset = (int64_t)(100 * i),
                                           .size = 300,
                                           .index_bytes = 8,
                                           .time_index_bytes = 12};
    assert_int_equal(compaction_group(s, count, &limits), 3);
    limits.segment_bytes = 299;
    assert_int_equal(compaction_group(s, count, &limits), 1);
    limits.segment_bytes = 1 << 30;
    assert_int_equal(compaction_group(s, count, &limits), COMPACTION_GROUP_MAX);
    limits.index_bytes = 30;
    assert_int_equal(compaction_group(s, count, &limits), 2); /* the time index */
    limits.index_bytes = 1000;
    s[1].base_offset = INT32_MAX;
    s[2].base_offset = INT64_C(1) + INT32_MAX;
    s[3].base_offset = INT64_C(2) + INT32_MAX;
    assert_int_equal(compaction_group(s, 4, &limits), 2); /* relative offsets end there */
    s[2].size = 0;
    s[3].size = 0;
    assert_int_equal(compaction_group(s, 4, &limits), 4); /* nothing in them has an offset */
}

/* ---- the map ---- */

static struct bytes key_of(int i, char text[16])
{
    snprintf(text, 16, "key-%d", i);
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static void the_map_knows_the_newest_offset_of_each_key(void **state)
{
    struct compaction_map *m = compaction_map_create(1000);
    char text[16];
    int64_t offset;
    (void)state;

    assert_non_null(m);
    for (int64_t i = 0; i < 5000; i++)
        assert_false(status_failed(compaction_map_put(m, key_of((int)(i % 1000), text), i)));
    assert_int_equal(compaction_map_count(m), 1000); /* full to the last slot */
    for (int i = 0; i < 1000; i++) {
        assert_false(status_failed(compaction_map_get(m, key_of(i, text), &offset)));
        assert_int_equal(offset, 4000 + i);
    }
    assert_false(status_failed(compaction_map_get(m, key_of(1000, text), &offset)));
    assert_int_equal(offset, -1);
    assert_false(
        status_failed(compaction_map_get(m, (struct bytes){(const uint8_t *)"", 0}, &offset)));
    assert_int_equal(offset, -1);
    compaction_map_free(m);
    assert_null(compaction_map_create(SIZE_MAX / 8));
}

/* ---- batches ---- */

struct batches {
    struct record_batch_builder builder;
    struct compression_scratch *scratch;
    struct compaction_filter filter;
};

static void batches_begin(struct batches *b)
{
    *b = (struct batches){.scratch = compression_scratch_new()};
    record_batch_builder_init(&b->builder);
    b->filter.scratch = b->scratch;
    b->filter.rules = (struct compaction_rules){.map = compaction_map_create(100),
                                                .map_end_offset = 1000,
                                                .round_end_offset = 1000,
                                                .now_ms = 50000,
                                                .delete_retention_ms = 100,
                                                .decompressed_max = 1 << 20};
    compaction_txns_init(&b->filter.txns, NULL, 0);
}

static void batches_end(struct batches *b)
{
    compaction_txns_free(&b->filter.txns);
    compaction_map_free((struct compaction_map *)b->filter.rules.map);
    record_batch_rewrite_free(&b->filter.rewrite);
    record_batch_builder_free(&b->builder);
    compression_scratch_free(b->scratch);
}

/* One record: key NULL none, value NULL none. */
static struct bytes one_record(struct batches *b, int64_t offset, const char *key,
                               const char *value)
{
    struct bytes_mut batch;

    record_batch_builder_begin(&b->builder, &RECORD_BATCH_HEAD_PLAIN);
    record_batch_builder_append(
        &b->builder,
        &(struct record_content){.timestamp_ms = 7,
                                 .key = {(const uint8_t *)key, key ? strlen(key) : 0},
                                 .value = {(const uint8_t *)value, value ? strlen(value) : 0}});
    assert_false(status_failed(record_batch_builder_finish(&b->builder, NULL, &batch)));
    record_batch_set_base_offset(batch.data, offset);
    return (struct bytes){batch.data, batch.size};
}

static void knows(struct batches *b, const char *key, int64_t offset)
{
    assert_false(status_failed(compaction_map_put(
        b->filter.rules.map, (struct bytes){(const uint8_t *)key, strlen(key)}, offset)));
}

static size_t kept(struct batches *b, struct bytes batch, bool last)
{
    struct compaction_kept k;

    assert_false(status_failed(compaction_filter_batch(&b->filter, batch, last, &k)));
    if (k.batch.size)
        assert_false(status_failed(record_batch_check(k.batch)));
    return k.batch.size ? 1 + (size_t)record_batch_record_count(k.batch.data) : 0;
}

static void older_records_and_those_without_a_key_go(void **state)
{
    struct batches b;
    (void)state;

    batches_begin(&b);
    knows(&b, "a", 5);
    assert_int_equal(kept(&b, one_record(&b, 4, "a", "v"), false), 0);
    assert_int_equal(kept(&b, one_record(&b, 5, "a", "v"), false), 2);
    /* not in the map: its only one */
    assert_int_equal(kept(&b, one_record(&b, 6, "b", "v"), false), 2);
    assert_int_equal(kept(&b, one_record(&b, 7, NULL, "v"), false), 0);
    assert_int_equal(kept(&b, one_record(&b, 8, "a", "v"), false), 2);
    b.filter.rules.map_end_offset = 4;
    /* past what the map covers */
    assert_int_equal(kept(&b, one_record(&b, 4, NULL, "v"), false), 2);
    batches_end(&b);
}

static void last_batches_stay_without_records(void **state)
{
    struct batches b;
    (void)state;

    batches_begin(&b);
    knows(&b, "a", 2000);
    assert_int_equal(kept(&b, one_record(&b, 4, "a", "v"), false), 0);
    assert_int_equal(kept(&b, one_record(&b, 4, "a", "v"), true), 1);
    assert_int_equal(kept(&b, one_record(&b, 999, "a", "v"), false), 1); /* the end of the round */
    batches_end(&b);
}

static void a_tombstone_is_given_its_horizon_once(void **state)
{
    struct batches b;
    struct compaction_kept k;
    struct record_iter it;
    struct record r;
    uint8_t copy[200];
    struct bytes again;
    (void)state;

    batches_begin(&b);
    assert_false(
        status_failed(compaction_filter_batch(&b.filter, one_record(&b, 4, "a", NULL), false, &k)));
    assert_true(record_batch_attributes(k.batch.data) & RECORD_BATCH_DELETE_HORIZON);
    assert_int_equal(record_batch_base_timestamp(k.batch.data), 50100);
    assert_int_equal(record_batch_max_timestamp(k.batch.data), 7);
    assert_false(status_failed(record_iter_open(&it, k.batch, NULL, 0)));
    assert_true(record_iter_next(&it, &r));
    assert_int_equal(r.timestamp_ms, 7);
    memcpy(copy, k.batch.data, k.batch.size);
    again = (struct bytes){copy, k.batch.size};
    b.filter.rules.now_ms = 50099;
    assert_false(status_failed(compaction_filter_batch(&b.filter, again, false, &k)));
    assert_ptr_equal(k.batch.data, copy); /* the very bytes */
    b.filter.rules.now_ms = 50100;
    assert_int_equal(kept(&b, again, false), 0);
    batches_end(&b);
}

/* What cannot be read is refused, not guessed. */
static void batches_that_cannot_be_read_are_refused(void **state)
{
    struct batches b;
    struct compaction_kept k;
    struct bytes batch;
    bool full;
    int64_t end = 0;
    (void)state;

    batches_begin(&b);
    batch = one_record(&b, 4, "a", "value");
    store_be32((uint8_t *)(uintptr_t)batch.data + RECORD_BATCH_AT_RECORD_COUNT, 2);
    assert_int_equal(compaction_filter_batch(&b.filter, batch, false, &k).code,
                     KERR_CORRUPT_MESSAGE);
    assert_int_equal(compaction_map_batch(&b.filter, batch, 0, 10, &full, &end).code,
                     KERR_CORRUPT_MESSAGE);
    batch = one_record(&b, 4, "a", "value");
    store_be16((uint8_t *)(uintptr_t)batch.data + RECORD_BATCH_AT_ATTRIBUTES, COMPRESSION_ZSTD);
    assert_true(status_failed(compaction_filter_batch(&b.filter, batch, false, &k)));
    store_be16((uint8_t *)(uintptr_t)batch.data + RECORD_BATCH_AT_ATTRIBUTES, 7);
    assert_int_equal(compaction_filter_batch(&b.filter, batch, false, &k).code,
                     KERR_UNSUPPORTED_COMPRESSION_TYPE);
    batches_end(&b);
}

/* ---- transactions ---- */

static struct bytes txn_batch(struct batches *b, int64_t producer_id, int64_t offset, int marker)
{
    static const uint8_t value[6];
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
    struct bytes_mut batch;

    head.producer_id = producer_id;
    head.producer_epoch = 0;
    head.attributes = RECORD_BATCH_TRANSACTIONAL;
    if (marker >= 0)
        head.attributes |= RECORD_BATCH_CONTROL;
    record_batch_builder_begin(&b->builder, &head);
    if (marker >= 0)
        record_batch_builder_append_control(&b->builder, (enum control_type)marker, 7,
                                            (struct bytes){value, 6});
    else
        record_batch_builder_append(&b->builder,
                                    &(struct record_content){.key = {(const uint8_t *)"k", 1}});
    assert_false(status_failed(record_batch_builder_finish(&b->builder, NULL, &batch)));
    record_batch_set_base_offset(batch.data, offset);
    return (struct bytes){batch.data, batch.size};
}

static bool data_goes(struct batches *b, int64_t producer_id, int64_t offset)
{
    bool discard;

    assert_false(status_failed(compaction_txns_data(
        &b->filter.txns, txn_batch(b, producer_id, offset, -1).data, &discard)));
    return discard;
}

static bool marker_goes(struct batches *b, int64_t producer_id, int64_t offset, int marker,
                        bool *keep_entry)
{
    struct txn_index_entry e;
    bool discard;

    assert_false(status_failed(compaction_txns_control(
        &b->filter.txns, txn_batch(b, producer_id, offset, marker), &discard, keep_entry, &e)));
    return discard;
}

static void aborted_data_go_and_their_marker_stays_while_there_were_some(void **state)
{
    static const struct txn_index_entry aborted[] = {{1, 10, 20, 20}, {1, 30, 33, 33}};
    struct batches b;
    bool keep;
    (void)state;

    batches_begin(&b);
    compaction_txns_init(&b.filter.txns, aborted, 2);
    assert_false(data_goes(&b, 2, 9)); /* another producer's */
    assert_true(data_goes(&b, 1, 10));
    assert_false(data_goes(&b, 2, 15));
    assert_false(marker_goes(&b, 1, 20, CONTROL_ABORT, &keep));
    assert_true(keep);
    assert_false(data_goes(&b, 1, 25)); /* its next transaction is a good one */
    assert_false(marker_goes(&b, 1, 26, CONTROL_COMMIT, &keep));
    assert_false(keep);
    assert_true(marker_goes(&b, 1, 33, CONTROL_ABORT, &keep)); /* no data were left of it */
    assert_false(keep);
    assert_false(marker_goes(&b, 2, 40, CONTROL_COMMIT, &keep));
    assert_true(marker_goes(&b, 2, 41, CONTROL_COMMIT, &keep));
    assert_false(marker_goes(&b, 5, 50, CONTROL_LEADER_CHANGE, &keep)); /* not ours to judge */
    batches_end(&b);
}

/* The walk over the dirty part begins in the middle of the log: what ended before does not
 * count. */
static void transactions_that_ended_before_the_walk_do_not_count(void **state)
{
    static const struct txn_index_entry aborted[] = {{1, 10, 20, 20}, {2, 12, 50, 50}};
    struct batches b;
    (void)state;

    batches_begin(&b);
    compaction_txns_init(&b.filter.txns, aborted, 2);
    assert_false(data_goes(&b, 1, 30));
    assert_true(data_goes(&b, 2, 31));
    assert_false(data_goes(&b, 2, 60)); /* its marker must have been at 50 */
    batches_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_but_the_active_segment_is_cleanable_at_first),
        cmocka_unit_test(the_range_ends_where_something_is_not_ready),
        cmocka_unit_test(a_checkpoint_outside_of_the_log_is_not_believed),
        cmocka_unit_test(dirt_is_due_by_ratio_or_by_age),
        cmocka_unit_test(segments_are_merged_within_their_limits),
        cmocka_unit_test(the_map_knows_the_newest_offset_of_each_key),
        cmocka_unit_test(older_records_and_those_without_a_key_go),
        cmocka_unit_test(last_batches_stay_without_records),
        cmocka_unit_test(a_tombstone_is_given_its_horizon_once),
        cmocka_unit_test(batches_that_cannot_be_read_are_refused),
        cmocka_unit_test(aborted_data_go_and_their_marker_stays_while_there_were_some),
        cmocka_unit_test(transactions_that_ended_before_the_walk_do_not_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
