#include "tests/unit/test.h"

#include "protocol/record_batch_validate.h"
#include "tests/unit/protocol/record_samples.h"

#define NOW_MS           1700000000000
#define DECOMPRESSED_MAX ((size_t)64 << 20)

/* What a topic with Kafka's defaults asks of a producer. */
static const struct record_validation client_rules = {
    .from_client = true,
    .check_timestamps = true,
    .now_ms = NOW_MS,
    .timestamp_before_max_ms = INT64_MAX,
    .timestamp_after_max_ms = 3600000,
    .decompressed_max = DECOMPRESSED_MAX,
};

struct world {
    struct record_batch_builder builder;
    struct compression_scratch *scratch;
    struct record_validation rules;
    struct record_batch_head head;
    struct record_validated validated;
    struct record_refusal refusal;
    struct bytes_mut batch; /* of the last produce */
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    record_batch_builder_init(&w->builder);
    w->scratch = compression_scratch_new();
    w->rules = client_rules;
    w->head = RECORD_BATCH_HEAD_PLAIN;
    record_batch_builder_begin(&w->builder, &w->head);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    record_batch_builder_free(&w->builder);
    compression_scratch_free(w->scratch);
    free(w->batch.data);
    free(w);
    return 0;
}

static void record(struct world *w, int64_t timestamp_ms, const char *key, const char *value)
{
    record_batch_builder_append(&w->builder, &(struct record_content){.timestamp_ms = timestamp_ms,
                                                                      .key = text(key),
                                                                      .value = text(value)});
}

/* Takes what was recorded; the batch can be damaged before it is validated. */
static uint8_t *batch_of(struct world *w)
{
    struct bytes_mut made;

    assert_int_equal(record_batch_builder_finish(&w->builder, w->scratch, &made).code, KERR_NONE);
    free(w->batch.data);
    w->batch = heap_copy(bytes_of(made));
    record_batch_builder_begin(&w->builder, &w->head);
    return w->batch.data;
}

static enum kerr validate(struct world *w)
{
    memset(&w->refusal, 0, sizeof w->refusal);
    return record_batch_validate(bytes_of(w->batch), &w->rules, w->scratch, &w->validated,
                                 &w->refusal)
        .code;
}

static void three_records(struct world *w)
{
    record(w, NOW_MS - 10, "a", "1");
    record(w, NOW_MS, "b", "2");
    record(w, NOW_MS - 5, "c", "3");
}

/* ---- the shape of a produce request ---- */

static enum kerr check_produce(struct world *w, size_t size, int16_t version)
{
    struct bytes_mut copy = heap_copy((struct bytes){w->batch.data, size});
    enum kerr code = record_batch_check_produce(bytes_of(copy), version, &w->refusal).code;

    free(copy.data);
    return code;
}

static void a_produce_request_holds_one_whole_batch(void **state)
{
    struct world *w = *state;
    struct bytes_mut twice;
    size_t size;

    three_records(w);
    batch_of(w);
    size = w->batch.size;
    assert_int_equal(check_produce(w, size, 3), KERR_NONE);
    assert_int_equal(check_produce(w, 0, 3), KERR_INVALID_RECORD);
    for (size_t cut = 1; cut < size; cut++)
        assert_int_equal(check_produce(w, cut, 3), KERR_CORRUPT_MESSAGE);
    twice = (struct bytes_mut){malloc(2 * size), 2 * size};
    memcpy(twice.data, w->batch.data, size);
    memcpy(twice.data + size, w->batch.data, size);
    free(w->batch.data);
    w->batch = twice;
    assert_int_equal(check_produce(w, 2 * size, 3), KERR_INVALID_RECORD);
    assert_int_equal(check_produce(w, 2 * size - 1, 3), KERR_CORRUPT_MESSAGE);
    assert_int_equal(check_produce(w, size + 1, 3), KERR_CORRUPT_MESSAGE);
}

static void an_old_magic_is_an_invalid_record(void **state)
{
    struct world *w = *state;

    three_records(w);
    batch_of(w)[RECORD_BATCH_AT_MAGIC] = 1;
    assert_int_equal(check_produce(w, w->batch.size, 3), KERR_INVALID_RECORD);
    assert_non_null(w->refusal.message);
}

/* KIP-110. */
static void zstd_needs_version_7_of_the_request(void **state)
{
    struct world *w = *state;

    w->head.compression = COMPRESSION_ZSTD;
    record_batch_builder_begin(&w->builder, &w->head);
    three_records(w);
    batch_of(w);
    assert_int_equal(check_produce(w, w->batch.size, 6), KERR_UNSUPPORTED_COMPRESSION_TYPE);
    assert_int_equal(check_produce(w, w->batch.size, 7), KERR_NONE);
    w->batch.data[RECORD_BATCH_AT_ATTRIBUTES + 1] = 5;
    assert_int_equal(check_produce(w, w->batch.size, 7), KERR_UNSUPPORTED_COMPRESSION_TYPE);
}

/* ---- what is accepted ---- */

static void the_largest_timestamp_is_told(void **state)
{
    struct world *w = *state;

    three_records(w);
    batch_of(w);
    assert_int_equal(validate(w), KERR_NONE);
    assert_int_equal(w->validated.max_timestamp_ms, NOW_MS);
    assert_int_equal(w->validated.records_bytes, w->batch.size - RECORD_BATCH_HEADER_BYTES);
}

/* Kafka believes the records, not the header, and puts the header right. */
static void a_wrong_max_timestamp_in_the_header_is_no_error(void **state)
{
    struct world *w = *state;

    three_records(w);
    store_be64(batch_of(w) + RECORD_BATCH_AT_MAX_TIMESTAMP, 5);
    assert_int_equal(validate(w), KERR_NONE);
    assert_int_equal(w->validated.max_timestamp_ms, NOW_MS);
}

static void records_without_timestamp_pass_any_window(void **state)
{
    struct world *w = *state;

    w->rules.timestamp_before_max_ms = 0;
    w->rules.timestamp_after_max_ms = 0;
    record(w, NO_TIMESTAMP, "a", "1");
    batch_of(w);
    assert_int_equal(validate(w), KERR_NONE);
    assert_int_equal(w->validated.max_timestamp_ms, NO_TIMESTAMP);
}

static void a_nodes_own_control_batch_passes(void **state)
{
    struct world *w = *state;

    w->head.attributes = RECORD_BATCH_CONTROL;
    w->rules.from_client = false;
    w->rules.compacted = true;
    record_batch_builder_begin(&w->builder, &w->head);
    record_batch_builder_append_control(&w->builder, CONTROL_LEADER_CHANGE, NOW_MS, text("x"));
    batch_of(w);
    assert_int_equal(validate(w), KERR_NONE);
}

/* ---- what is refused ---- */

static void a_null_key_is_refused_where_the_topic_is_compacted(void **state)
{
    struct world *w = *state;

    for (int type = COMPRESSION_NONE; type < COMPRESSION_COUNT; type++) {
        w->head.compression = (enum compression_type)type;
        w->head.compression_level = compression_levels(w->head.compression).initial;
        record_batch_builder_begin(&w->builder, &w->head);
        record(w, NOW_MS, "a", "1");
        record(w, NOW_MS, NULL, "2");
        record(w, NOW_MS, "", "3");
        record(w, NOW_MS, NULL, "4");
        batch_of(w);
        w->rules.compacted = false;
        assert_int_equal(validate(w), KERR_NONE);
        w->rules.compacted = true;
        assert_int_equal(validate(w), KERR_INVALID_RECORD);
        assert_int_equal(w->refusal.error_count, 2);
        assert_int_equal(w->refusal.errors[0].index, 1);
        assert_int_equal(w->refusal.errors[1].index, 3);
        assert_non_null(w->refusal.errors[1].message);
    }
}

static void timestamps_outside_the_window_are_refused(void **state)
{
    struct world *w = *state;

    w->rules.timestamp_before_max_ms = 1000;
    w->rules.timestamp_after_max_ms = 2000;
    record(w, NOW_MS - 1000, "a", "1");
    record(w, NOW_MS + 2000, "b", "2");
    batch_of(w);
    assert_int_equal(validate(w), KERR_NONE);
    record(w, NOW_MS - 1001, "a", "1");
    record(w, NOW_MS, "b", "2");
    record(w, NOW_MS + 2001, "c", "3");
    batch_of(w);
    assert_int_equal(validate(w), KERR_INVALID_TIMESTAMP);
    assert_int_equal(w->refusal.error_count, 2);
    assert_int_equal(w->refusal.errors[0].index, 0);
    assert_int_equal(w->refusal.errors[1].index, 2);
    w->rules.check_timestamps = false; /* the topic has LogAppendTime */
    assert_int_equal(validate(w), KERR_NONE);
}

static void a_timestamp_error_outranks_a_key_error(void **state)
{
    struct world *w = *state;

    w->rules.compacted = true;
    record(w, NOW_MS, NULL, "1");
    record(w, NOW_MS * 2, "b", "2");
    batch_of(w);
    assert_int_equal(validate(w), KERR_INVALID_TIMESTAMP);
    assert_int_equal(w->refusal.error_count, 2);
}

static void only_so_many_errors_are_told(void **state)
{
    struct world *w = *state;

    w->rules.compacted = true;
    for (int i = 0; i < 100; i++)
        record(w, NOW_MS, NULL, "x");
    batch_of(w);
    assert_int_equal(validate(w), KERR_INVALID_RECORD);
    assert_int_equal(w->refusal.error_count, RECORD_ERRORS_MAX);
}

/* One header field of three records is set to a value. */
static enum kerr with_field(struct world *w, size_t at, size_t size, int64_t value)
{
    uint8_t big_endian[8];

    three_records(w);
    batch_of(w);
    store_be64(big_endian, (uint64_t)value);
    memcpy(w->batch.data + at, big_endian + 8 - size, size);
    return validate(w);
}

static void header_and_records_must_agree(void **state)
{
    struct world *w = *state;

    assert_int_equal(with_field(w, RECORD_BATCH_AT_RECORD_COUNT, 4, 3), KERR_NONE);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_RECORD_COUNT, 4, 0), KERR_INVALID_RECORD);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_RECORD_COUNT, 4, -1), KERR_INVALID_RECORD);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_RECORD_COUNT, 4, 2), KERR_INVALID_RECORD);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_LAST_OFFSET_DELTA, 4, 1), KERR_INVALID_RECORD);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_LAST_OFFSET_DELTA, 4, -1), KERR_INVALID_RECORD);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_LAST_OFFSET_DELTA, 4, INT32_MAX),
                     KERR_INVALID_RECORD);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_BASE_OFFSET, 8, 1), KERR_INVALID_RECORD);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_ATTRIBUTES, 2, 7),
                     KERR_UNSUPPORTED_COMPRESSION_TYPE);
}

static void fewer_or_more_records_than_the_header_says_are_refused(void **state)
{
    struct world *w = *state;

    for (int type = COMPRESSION_NONE; type < COMPRESSION_COUNT; type++) {
        for (uint32_t count = 1; count <= 6; count++) {
            w->head.compression = (enum compression_type)type;
            w->head.compression_level = compression_levels(w->head.compression).initial;
            record_batch_builder_begin(&w->builder, &w->head);
            three_records(w);
            batch_of(w);
            store_be32(w->batch.data + RECORD_BATCH_AT_RECORD_COUNT, count);
            store_be32(w->batch.data + RECORD_BATCH_AT_LAST_OFFSET_DELTA, count - 1);
            assert_int_equal(validate(w), count == 3 ? KERR_NONE : KERR_INVALID_RECORD);
        }
    }
}

static void clients_may_not_write_what_brokers_write(void **state)
{
    struct world *w = *state;

    assert_int_equal(with_field(w, RECORD_BATCH_AT_ATTRIBUTES, 2, RECORD_BATCH_CONTROL),
                     KERR_INVALID_RECORD);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_ATTRIBUTES, 2, RECORD_BATCH_LOG_APPEND_TIME),
                     KERR_INVALID_TIMESTAMP);
}

static void producer_fields_must_agree(void **state)
{
    struct world *w = *state;

    assert_int_equal(with_field(w, RECORD_BATCH_AT_ATTRIBUTES, 2, RECORD_BATCH_TRANSACTIONAL),
                     KERR_INVALID_RECORD);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_PRODUCER_ID, 8, 7), KERR_INVALID_RECORD);
    w->head.producer_id = 7;
    w->head.producer_epoch = 0;
    w->head.base_sequence = 0;
    record_batch_builder_begin(&w->builder, &w->head);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_PRODUCER_ID, 8, 7), KERR_NONE);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_ATTRIBUTES, 2, RECORD_BATCH_TRANSACTIONAL),
                     KERR_NONE);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_BASE_SEQUENCE, 4, -1), KERR_INVALID_RECORD);
    assert_int_equal(with_field(w, RECORD_BATCH_AT_PRODUCER_EPOCH, 2, -1), KERR_INVALID_RECORD);
}

static void gaps_in_offset_deltas_are_refused(void **state)
{
    struct world *w = *state;
    uint8_t *third;

    three_records(w);
    /* size, attributes, timestamp delta, offset delta: the third record of 9 bytes */
    third = batch_of(w) + w->batch.size - 9;
    assert_int_equal(third[3], 4);
    third[3] = 6;
    assert_int_equal(validate(w), KERR_INVALID_RECORD);
    third[3] = 2;
    assert_int_equal(validate(w), KERR_INVALID_RECORD);
}

static void records_cut_at_every_byte_are_refused(void **state)
{
    struct world *w = *state;

    for (int type = COMPRESSION_NONE; type < COMPRESSION_COUNT; type++) {
        struct bytes_mut whole;

        w->head.compression = (enum compression_type)type;
        w->head.compression_level = compression_levels(w->head.compression).initial;
        record_batch_builder_begin(&w->builder, &w->head);
        three_records(w);
        batch_of(w);
        whole = w->batch;
        for (size_t cut = RECORD_BATCH_HEADER_BYTES; cut < whole.size; cut++) {
            w->batch = heap_copy((struct bytes){whole.data, cut});
            assert_int_equal(validate(w), KERR_INVALID_RECORD);
            free(w->batch.data);
        }
        w->batch = whole;
    }
}

/* ---- the stream reads what the buffer reads ---- */

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Records of all sizes around the window of the stream, some with headers, in a plain batch. */
static void record_all_sizes(struct world *w, uint32_t seed)
{
    static uint8_t filler[200000];
    static const uint32_t sizes[] = {0, 10, 100, 5000, 65500, 65530, 65536, 70000, 150000};
    struct record_header headers[2] = {{{"name", 4}, {filler, 0}}, {{"", 0}, {NULL, 0}}};
    uint32_t count = 1 + next_random(&seed) % 12;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t shape = next_random(&seed);

        headers[0].value.size = sizes[next_random(&seed) % 9];
        record_batch_builder_append(
            &w->builder,
            &(struct record_content){
                .timestamp_ms = NOW_MS + (int64_t)(next_random(&seed) % 1000),
                .key = {shape & 1 ? filler : NULL, shape & 1 ? sizes[next_random(&seed) % 9] : 0},
                .value = {shape & 2 ? filler : NULL, shape & 2 ? sizes[next_random(&seed) % 9] : 0},
                .headers = headers,
                .header_count = shape >> 2 & 1 ? 2 : 0});
    }
}

static void compressed_records_are_judged_like_plain_ones(void **state)
{
    struct world *w = *state;

    w->rules.compacted = true;
    for (uint32_t seed = 1; seed <= 150; seed++) {
        uint32_t random = seed;
        struct bytes_mut plain;
        enum kerr expected;
        struct record_validated validated;
        struct record_refusal refusal;

        record_all_sizes(w, seed);
        batch_of(w);
        if (seed % 3) { /* one byte changed, more often near the front where lengths are */
            size_t range = w->batch.size - RECORD_BATCH_HEADER_BYTES;

            if (seed % 3 == 1 && range > 16)
                range = 16;
            w->batch.data[RECORD_BATCH_HEADER_BYTES + next_random(&random) % range] ^=
                (uint8_t)(1u << next_random(&random) % 8);
        }
        expected = validate(w);
        validated = w->validated;
        refusal = w->refusal;
        plain = w->batch;
        for (int type = COMPRESSION_SNAPPY; type < COMPRESSION_COUNT; type++) {
            int level = compression_levels((enum compression_type)type).initial;
            struct bytes_mut made;

            assert_int_equal(record_batch_recompress(bytes_of(plain), (enum compression_type)type,
                                                     level, DECOMPRESSED_MAX, w->scratch, &made)
                                 .code,
                             KERR_NONE);
            w->batch = heap_copy(bytes_of(made));
            assert_int_equal(validate(w), expected);
            if (expected == KERR_NONE)
                assert_memory_equal(&w->validated, &validated, sizeof validated);
            assert_int_equal(w->refusal.error_count, refusal.error_count);
            for (size_t i = 0; i < refusal.error_count; i++)
                assert_int_equal(w->refusal.errors[i].index, refusal.errors[i].index);
            free(w->batch.data);
        }
        w->batch = plain;
    }
}

/* ---- bombs and damage ---- */

static void more_than_the_limit_is_too_large(void **state)
{
    struct world *w = *state;

    for (int type = COMPRESSION_GZIP; type < COMPRESSION_COUNT; type++) {
        size_t bytes;

        w->head.compression = (enum compression_type)type;
        w->head.compression_level = compression_levels(w->head.compression).initial;
        record_batch_builder_begin(&w->builder, &w->head);
        record_all_sizes(w, 5);
        batch_of(w);
        w->rules.decompressed_max = DECOMPRESSED_MAX;
        assert_int_equal(validate(w), KERR_NONE);
        bytes = w->validated.records_bytes;
        w->rules.decompressed_max = bytes;
        assert_int_equal(validate(w), KERR_NONE);
        w->rules.decompressed_max = bytes - 1;
        assert_int_equal(validate(w), KERR_MESSAGE_TOO_LARGE);
    }
}

/* The CRC was right, so it is the producer's doing: an answer that makes it try again would not
 * help. */
static void records_that_cannot_be_decompressed_are_invalid(void **state)
{
    struct world *w = *state;

    for (int type = COMPRESSION_GZIP; type < COMPRESSION_COUNT; type++) {
        three_records(w);
        batch_of(w)[RECORD_BATCH_AT_ATTRIBUTES + 1] = (uint8_t)type;
        assert_int_equal(validate(w), KERR_INVALID_RECORD);
        assert_non_null(w->refusal.message);
    }
}

/* A broken stream leaves no trace in the scratch. */
static void a_scratch_serves_good_batches_after_bad_ones(void **state)
{
    struct world *w = *state;

    for (int type = COMPRESSION_GZIP; type < COMPRESSION_COUNT; type++) {
        w->head.compression = (enum compression_type)type;
        w->head.compression_level = compression_levels(w->head.compression).initial;
        record_batch_builder_begin(&w->builder, &w->head);
        record_all_sizes(w, 11);
        batch_of(w);
        for (size_t i = 0; i < 40; i++) {
            size_t at =
                RECORD_BATCH_HEADER_BYTES + i * (w->batch.size - RECORD_BATCH_HEADER_BYTES) / 40;

            w->batch.data[at] ^= 0x55;
            validate(w);
            w->batch.data[at] ^= 0x55;
            assert_int_equal(validate(w), KERR_NONE);
        }
        compression_scratch_trim(w->scratch);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_produce_request_holds_one_whole_batch),
        TEST(an_old_magic_is_an_invalid_record),
        TEST(zstd_needs_version_7_of_the_request),
        TEST(the_largest_timestamp_is_told),
        TEST(a_wrong_max_timestamp_in_the_header_is_no_error),
        TEST(records_without_timestamp_pass_any_window),
        TEST(a_nodes_own_control_batch_passes),
        TEST(a_null_key_is_refused_where_the_topic_is_compacted),
        TEST(timestamps_outside_the_window_are_refused),
        TEST(a_timestamp_error_outranks_a_key_error),
        TEST(only_so_many_errors_are_told),
        TEST(header_and_records_must_agree),
        TEST(fewer_or_more_records_than_the_header_says_are_refused),
        TEST(clients_may_not_write_what_brokers_write),
        TEST(producer_fields_must_agree),
        TEST(gaps_in_offset_deltas_are_refused),
        TEST(records_cut_at_every_byte_are_refused),
        TEST(compressed_records_are_judged_like_plain_ones),
        TEST(more_than_the_limit_is_too_large),
        TEST(records_that_cannot_be_decompressed_are_invalid),
        TEST(a_scratch_serves_good_batches_after_bad_ones),
    };
#undef TEST

    return cmocka_run_group_tests(tests, NULL, NULL);
}
