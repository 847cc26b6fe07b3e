#include "tests/unit/test.h"

#include <stdio.h>

#include "tests/unit/protocol/record_samples.h"

#define DECOMPRESSED_MAX ((size_t)64 << 20)

struct world {
    struct record_batch_builder builder;
    struct compression_scratch *scratch;
};

static int setup(void **state)
{
    struct world *w = malloc(sizeof *w);

    record_batch_builder_init(&w->builder);
    w->scratch = compression_scratch_new();
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    record_batch_builder_free(&w->builder);
    compression_scratch_free(w->scratch);
    free(w);
    return 0;
}

static void append(struct world *w, int64_t timestamp_ms, const char *key, const char *value)
{
    record_batch_builder_append(&w->builder, &(struct record_content){.timestamp_ms = timestamp_ms,
                                                                      .key = text(key),
                                                                      .value = text(value)});
}

static struct bytes finish(struct world *w)
{
    struct bytes_mut batch;

    assert_int_equal(record_batch_builder_finish(&w->builder, w->scratch, &batch).code, KERR_NONE);
    assert_int_equal(record_batch_check(bytes_of(batch)).code, KERR_NONE);
    return bytes_of(batch);
}

static void assert_bytes(struct bytes got, struct bytes expected)
{
    assert_int_equal(got.size, expected.size);
    assert_int_equal(got.data == NULL, expected.data == NULL);
    if (expected.size)
        assert_memory_equal(got.data, expected.data, expected.size);
}

/* ---- the same bytes as Apache Kafka ---- */

static void a_producers_batch_has_the_bytes_of_apache_kafka(void **state)
{
    struct world *w = *state;
    struct sample expected = sample_from_hex(kafka_data_hex);
    struct record_batch_head head = {.producer_id = 1000};

    record_batch_builder_begin(&w->builder, &head);
    append(w, 0x1a207907c3c, "k0", "v0");
    assert_bytes(finish(w), sample_bytes(&expected));
}

static void a_commit_marker_has_the_bytes_of_apache_kafka(void **state)
{
    static const uint8_t value[6] = {0}; /* version 0, coordinator epoch 0 */
    struct world *w = *state;
    struct sample expected = sample_from_hex(kafka_marker_hex);
    struct record_batch_head head = {.base_offset = 6,
                                     .producer_id = 1001,
                                     .producer_epoch = 1,
                                     .base_sequence = NO_SEQUENCE,
                                     .attributes =
                                         RECORD_BATCH_CONTROL | RECORD_BATCH_TRANSACTIONAL};

    record_batch_builder_begin(&w->builder, &head);
    record_batch_builder_append_control(&w->builder, CONTROL_COMMIT, 0x1a2079080df,
                                        (struct bytes){value, sizeof value});
    assert_bytes(finish(w), sample_bytes(&expected));
}

/* Taken apart and put together again, a metadata snapshot is the same file. */
static void a_metadata_snapshot_has_the_bytes_of_apache_kafka(void **state)
{
    struct world *w = *state;
    struct sample expected = sample_from_hex(kafka_snapshot_hex);
    struct record_batches it = record_batches(sample_bytes(&expected));
    struct bytes batch;

    while (record_batches_next(&it, &batch)) {
        struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
        struct record_iter records;
        struct record r;

        head.base_offset = record_batch_base_offset(batch.data);
        head.leader_epoch = record_batch_leader_epoch(batch.data);
        head.attributes = record_batch_attributes(batch.data);
        record_batch_builder_begin(&w->builder, &head);
        record_iter_open(&records, batch, NULL, 0);
        while (record_iter_next(&records, &r)) {
            struct record_content content = {r.timestamp_ms, r.key, r.value, NULL, 0};

            if (record_batch_is_control(batch.data))
                record_batch_builder_append_control(&w->builder,
                                                    (enum control_type)control_record_type(&r),
                                                    r.timestamp_ms, r.value);
            else
                record_batch_builder_append(&w->builder, &content);
        }
        assert_bytes(finish(w), batch);
    }
}

/* ---- round trips ---- */

static void nulls_empties_headers_and_timestamps_come_back(void **state)
{
    static const struct record_header headers[] = {
        {{"h1", 2}, {(const uint8_t *)"x", 1}},
        {{"", 0}, {NULL, 0}},
        {{"h3", 2}, {(const uint8_t *)"", 0}},
    };
    struct world *w = *state;
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
    struct record_header h;
    struct record_iter it;
    struct bytes rest;
    struct record r;

    head.base_offset = 40;
    record_batch_builder_begin(&w->builder, &head);
    append(w, 1000, NULL, "first");
    append(w, 900, "key", NULL);
    record_batch_builder_append(&w->builder, &(struct record_content){.timestamp_ms = 2000,
                                                                      .key = text(""),
                                                                      .value = text(""),
                                                                      .headers = headers,
                                                                      .header_count = 3});
    record_iter_open(&it, finish(w), NULL, 0);
    assert_true(record_iter_next(&it, &r));
    assert_int_equal(r.offset, 40);
    assert_bytes(r.key, text(NULL));
    assert_bytes(r.value, text("first"));
    assert_true(record_iter_next(&it, &r));
    assert_int_equal(r.timestamp_ms, 900);
    assert_bytes(r.key, text("key"));
    assert_bytes(r.value, text(NULL));
    assert_true(record_iter_next(&it, &r));
    assert_int_equal(r.offset, 42);
    assert_int_equal(r.timestamp_ms, 2000);
    assert_bytes(r.key, text(""));
    assert_bytes(r.value, text(""));
    rest = r.headers;
    assert_true(record_headers_next(&rest, &h));
    assert_true(str_equal(h.key, STR("h1")));
    assert_bytes(h.value, text("x"));
    assert_true(record_headers_next(&rest, &h));
    assert_true(str_equal(h.key, STR("")));
    assert_bytes(h.value, text(NULL));
    assert_true(record_headers_next(&rest, &h));
    assert_bytes(h.value, text(""));
    assert_false(record_headers_next(&rest, &h));
    assert_false(record_iter_next(&it, &r));
    assert_int_equal(it.status.code, KERR_NONE);
}

static void the_max_timestamp_is_the_largest(void **state)
{
    struct world *w = *state;
    struct bytes batch;

    record_batch_builder_begin(&w->builder, &RECORD_BATCH_HEAD_PLAIN);
    append(w, 500, NULL, "a");
    append(w, 700, NULL, "b");
    append(w, 600, NULL, "c");
    batch = finish(w);
    assert_int_equal(record_batch_base_timestamp(batch.data), 500);
    assert_int_equal(record_batch_max_timestamp(batch.data), 700);
    assert_int_equal(record_batch_record_count(batch.data), 3);
    assert_int_equal(record_batch_last_offset_delta(batch.data), 2);
}

static void size_is_known_before_a_record_is_added(void **state)
{
    struct world *w = *state;
    struct record_content r = {.timestamp_ms = 1, .key = text("k"), .value = text("value")};
    size_t before;

    record_batch_builder_begin(&w->builder, &RECORD_BATCH_HEAD_PLAIN);
    before = record_batch_builder_size(&w->builder);
    assert_int_equal(before, RECORD_BATCH_HEADER_BYTES);
    record_batch_builder_append(&w->builder, &r);
    assert_true(record_batch_builder_size(&w->builder) > before);
    assert_true(record_batch_builder_size(&w->builder) <= before + record_size_bytes_max(&r));
}

static void a_builder_starts_afresh_with_each_batch(void **state)
{
    struct world *w = *state;
    struct bytes_mut out;

    record_batch_builder_begin(&w->builder, &RECORD_BATCH_HEAD_PLAIN);
    append(w, 1, "a", "b");
    finish(w);
    record_batch_builder_begin(&w->builder, &RECORD_BATCH_HEAD_PLAIN);
    assert_int_equal(record_batch_builder_finish(&w->builder, NULL, &out).code,
                     KERR_INVALID_RECORD);
    append(w, 1, "c", "d");
    assert_int_equal(record_batch_record_count(finish(w).data), 1);
}

/* A record that no batch could hold is refused before its bytes are looked at. */
static void a_record_larger_than_a_batch_is_refused(void **state)
{
    struct world *w = *state;
    struct record_content r = {.value = {(const uint8_t *)"", (size_t)INT32_MAX}};
    struct bytes_mut out;

    record_batch_builder_begin(&w->builder, &RECORD_BATCH_HEAD_PLAIN);
    append(w, 1, "a", "b");
    record_batch_builder_append(&w->builder, &r);
    append(w, 1, "c", "d");
    assert_int_equal(record_batch_builder_finish(&w->builder, NULL, &out).code,
                     KERR_MESSAGE_TOO_LARGE);
    r.value.size = SIZE_MAX;
    record_batch_builder_begin(&w->builder, &RECORD_BATCH_HEAD_PLAIN);
    record_batch_builder_append(&w->builder, &r);
    assert_int_equal(record_batch_builder_finish(&w->builder, NULL, &out).code,
                     KERR_MESSAGE_TOO_LARGE);
}

/* ---- codecs ---- */

static void fill(struct world *w, enum compression_type type, int count)
{
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
    char value[64];

    head.base_offset = 1000;
    head.producer_id = 7;
    head.producer_epoch = 3;
    head.base_sequence = INT32_MAX - 1;
    head.attributes = RECORD_BATCH_TRANSACTIONAL;
    head.compression = type;
    head.compression_level = compression_levels(type).initial;
    record_batch_builder_begin(&w->builder, &head);
    for (int i = 0; i < count; i++) {
        snprintf(value, sizeof value, "value %d of many that look alike", i);
        append(w, 10000 + i, i % 2 ? "odd" : "even", value);
    }
}

static void assert_same_records(struct world *w, struct bytes batch, int count)
{
    char value[64];
    struct record_iter it;
    struct record r;

    assert_int_equal(record_iter_open(&it, batch, w->scratch, DECOMPRESSED_MAX).code, KERR_NONE);
    for (int i = 0; i < count; i++) {
        assert_true(record_iter_next(&it, &r));
        snprintf(value, sizeof value, "value %d of many that look alike", i);
        assert_int_equal(r.offset, 1000 + i);
        assert_int_equal(r.sequence, sequence_add(INT32_MAX - 1, i));
        assert_int_equal(r.timestamp_ms, 10000 + i);
        assert_bytes(r.key, text(i % 2 ? "odd" : "even"));
        assert_bytes(r.value, text(value));
    }
    assert_false(record_iter_next(&it, &r));
    assert_int_equal(it.status.code, KERR_NONE);
}

static void every_codec_gives_the_records_back(void **state)
{
    struct world *w = *state;

    for (int type = COMPRESSION_NONE; type < COMPRESSION_COUNT; type++) {
        static const int counts[] = {1, 2, 100, 5000};

        for (size_t i = 0; i < 4; i++) {
            struct bytes_mut batch;

            fill(w, (enum compression_type)type, counts[i]);
            batch = heap_copy(finish(w));
            assert_int_equal(record_batch_compression(batch.data), type);
            assert_same_records(w, bytes_of(batch), counts[i]);
            free(batch.data);
        }
    }
}

/* From each codec to each other: header fields stay, the records stay. */
static void another_codec_keeps_records_and_producer(void **state)
{
    struct world *w = *state;

    for (int from = COMPRESSION_NONE; from < COMPRESSION_COUNT; from++) {
        struct bytes_mut batch;

        fill(w, (enum compression_type)from, 500);
        batch = heap_copy(finish(w));
        for (int to = COMPRESSION_NONE; to < COMPRESSION_COUNT; to++) {
            int level = compression_levels((enum compression_type)to).initial;
            struct bytes_mut made;
            struct bytes_mut copy;

            assert_int_equal(record_batch_recompress(bytes_of(batch), (enum compression_type)to,
                                                     level, DECOMPRESSED_MAX, w->scratch, &made)
                                 .code,
                             KERR_NONE);
            copy = heap_copy(bytes_of(made));
            assert_int_equal(record_batch_check(bytes_of(copy)).code, KERR_NONE);
            assert_int_equal(record_batch_compression(copy.data), to);
            assert_true(record_batch_is_transactional(copy.data));
            assert_int_equal(record_batch_producer_id(copy.data), 7);
            assert_int_equal(record_batch_producer_epoch(copy.data), 3);
            assert_same_records(w, bytes_of(copy), 500);
            free(copy.data);
        }
        free(batch.data);
    }
}

static void recompression_is_bounded(void **state)
{
    struct world *w = *state;
    struct bytes_mut batch;
    struct bytes_mut out;

    fill(w, COMPRESSION_ZSTD, 500);
    batch = heap_copy(finish(w));
    assert_int_equal(
        record_batch_recompress(bytes_of(batch), COMPRESSION_LZ4, 9, 1000, w->scratch, &out).code,
        KERR_MESSAGE_TOO_LARGE);
    batch.data[RECORD_BATCH_HEADER_BYTES] ^= 0xff;
    assert_int_equal(record_batch_recompress(bytes_of(batch), COMPRESSION_LZ4, 9, DECOMPRESSED_MAX,
                                             w->scratch, &out)
                         .code,
                     KERR_CORRUPT_MESSAGE);
    free(batch.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_producers_batch_has_the_bytes_of_apache_kafka, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_commit_marker_has_the_bytes_of_apache_kafka, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_metadata_snapshot_has_the_bytes_of_apache_kafka, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(nulls_empties_headers_and_timestamps_come_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_max_timestamp_is_the_largest, setup, teardown),
        cmocka_unit_test_setup_teardown(size_is_known_before_a_record_is_added, setup, teardown),
        cmocka_unit_test_setup_teardown(a_builder_starts_afresh_with_each_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_larger_than_a_batch_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(every_codec_gives_the_records_back, setup, teardown),
        cmocka_unit_test_setup_teardown(another_codec_keeps_records_and_producer, setup, teardown),
        cmocka_unit_test_setup_teardown(recompression_is_bounded, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
