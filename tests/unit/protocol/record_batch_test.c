#include "tests/unit/test.h"

#include "tests/unit/protocol/record_samples.h"

#define DECOMPRESSED_MAX ((size_t)1 << 20)

static int count_records(struct bytes batch, struct compression_scratch *scratch, struct status *st)
{
    struct record_iter it;
    struct record r;
    int count = 0;

    *st = record_iter_open(&it, batch, scratch, DECOMPRESSED_MAX);
    while (record_iter_next(&it, &r))
        count++;
    *st = it.status;
    return count;
}

/* ---- what Apache Kafka wrote ---- */

static void a_batch_of_apache_kafka_is_read_field_by_field(void **state)
{
    struct sample s = sample_from_hex(kafka_data_hex);
    struct record_iter it;
    struct record r;

    (void)state;
    assert_int_equal(record_batch_check(sample_bytes(&s)).code, KERR_NONE);
    assert_int_equal(record_batch_base_offset(s.data), 0);
    assert_int_equal(record_batch_last_offset(s.data), 0);
    assert_int_equal(record_batch_size_bytes(s.data), 72);
    assert_int_equal(record_batch_leader_epoch(s.data), 0);
    assert_int_equal(record_batch_crc(s.data), 0x01a1b4e0);
    assert_int_equal(record_batch_compression(s.data), COMPRESSION_NONE);
    assert_int_equal(record_batch_producer_id(s.data), 1000);
    assert_int_equal(record_batch_producer_epoch(s.data), 0);
    assert_int_equal(record_batch_base_sequence(s.data), 0);
    assert_int_equal(record_batch_last_sequence(s.data), 0);
    assert_int_equal(record_batch_record_count(s.data), 1);
    assert_int_equal(record_batch_max_timestamp(s.data), 0x1a207907c3c);
    assert_false(record_batch_is_transactional(s.data));
    assert_int_equal(record_iter_open(&it, sample_bytes(&s), NULL, 0).code, KERR_NONE);
    assert_true(record_iter_next(&it, &r));
    assert_int_equal(r.offset, 0);
    assert_int_equal(r.timestamp_ms, 0x1a207907c3c);
    assert_int_equal(r.sequence, 0);
    assert_int_equal(r.size_bytes, 11);
    assert_memory_equal(r.key.data, "k0", 2);
    assert_memory_equal(r.value.data, "v0", 2);
    assert_int_equal(r.header_count, 0);
    assert_false(record_iter_next(&it, &r));
    assert_int_equal(it.status.code, KERR_NONE);
}

static void a_commit_marker_of_apache_kafka_is_a_control_record(void **state)
{
    struct sample s = sample_from_hex(kafka_marker_hex);
    struct record_iter it;
    struct record r;

    (void)state;
    assert_int_equal(record_batch_check(sample_bytes(&s)).code, KERR_NONE);
    assert_true(record_batch_is_control(s.data));
    assert_true(record_batch_is_transactional(s.data));
    assert_int_equal(record_batch_base_sequence(s.data), NO_SEQUENCE);
    assert_int_equal(record_batch_last_sequence(s.data), NO_SEQUENCE);
    record_iter_open(&it, sample_bytes(&s), NULL, 0);
    assert_true(record_iter_next(&it, &r));
    assert_int_equal(r.offset, 6);
    assert_int_equal(r.sequence, NO_SEQUENCE);
    assert_int_equal(control_record_type(&r), CONTROL_COMMIT);
}

static void a_metadata_snapshot_of_apache_kafka_is_three_batches(void **state)
{
    static const int expected_count[] = {3, 6, 1};
    struct sample s = sample_from_hex(kafka_snapshot_hex);
    struct record_batches it = record_batches(sample_bytes(&s));
    struct bytes batch;
    int found = 0;

    (void)state;
    while (record_batches_next(&it, &batch)) {
        struct status st;

        assert_true(found < 3);
        assert_int_equal(record_batch_check(batch).code, KERR_NONE);
        assert_int_equal(count_records(batch, NULL, &st), expected_count[found]);
        assert_int_equal(st.code, KERR_NONE);
        found++;
    }
    assert_int_equal(found, 3);
    assert_int_equal(it.rest.size, 0);
    assert_int_equal(it.status.code, KERR_NONE);
}

/* ---- changes in place ---- */

static void base_offset_and_leader_epoch_lie_outside_the_crc(void **state)
{
    struct sample s = sample_from_hex(kafka_data_hex);

    (void)state;
    record_batch_set_base_offset(s.data, 1234567890123);
    record_batch_set_leader_epoch(s.data, 77);
    assert_int_equal(record_batch_check(sample_bytes(&s)).code, KERR_NONE);
    assert_int_equal(record_batch_base_offset(s.data), 1234567890123);
    assert_int_equal(record_batch_leader_epoch(s.data), 77);
}

static void log_append_time_sets_timestamp_type_bit_and_crc(void **state)
{
    struct sample s = sample_from_hex(kafka_data_hex);
    struct record_iter it;
    struct record r;

    (void)state;
    record_batch_set_max_timestamp((struct bytes_mut){s.data, s.size}, true, 5000);
    assert_int_equal(record_batch_check(sample_bytes(&s)).code, KERR_NONE);
    assert_true(record_batch_is_log_append_time(s.data));
    assert_int_equal(record_batch_max_timestamp(s.data), 5000);
    record_iter_open(&it, sample_bytes(&s), NULL, 0);
    assert_true(record_iter_next(&it, &r));
    assert_int_equal(r.timestamp_ms, 5000);
    record_batch_set_max_timestamp((struct bytes_mut){s.data, s.size}, false, 5000);
    assert_int_equal(record_batch_check(sample_bytes(&s)).code, KERR_NONE);
    assert_false(record_batch_is_log_append_time(s.data));
}

/* Nothing to change, nothing to compute: a wrong CRC stays wrong. */
static void the_same_max_timestamp_leaves_the_crc_alone(void **state)
{
    struct sample s = sample_from_hex(kafka_data_hex);

    (void)state;
    s.data[RECORD_BATCH_AT_CRC] ^= 1;
    record_batch_set_max_timestamp((struct bytes_mut){s.data, s.size}, false,
                                   record_batch_max_timestamp(s.data));
    assert_int_equal(record_batch_check(sample_bytes(&s)).code, KERR_CORRUPT_MESSAGE);
}

static void sequence_numbers_wrap_to_zero(void **state)
{
    (void)state;
    assert_int_equal(sequence_add(INT32_MAX, 0), INT32_MAX);
    assert_int_equal(sequence_add(INT32_MAX, 1), 0);
    assert_int_equal(sequence_add(INT32_MAX - 1, 3), 1);
}

/* ---- bytes that may be anything ---- */

static void a_buffer_cut_at_every_byte_ends_in_a_partial_batch(void **state)
{
    struct sample s = sample_from_hex(kafka_snapshot_hex);

    (void)state;
    for (size_t cut = 0; cut <= s.size; cut++) {
        struct bytes_mut copy = heap_copy((struct bytes){s.data, cut});
        struct record_batches it = record_batches(bytes_of(copy));
        struct bytes batch;
        size_t whole = 0;

        while (record_batches_next(&it, &batch))
            whole += batch.size;
        assert_int_equal(it.status.code, KERR_NONE);
        assert_int_equal(whole + it.rest.size, cut);
        assert_true(whole == 0 || whole == 166 || whole == 166 + 253 || whole == s.size);
        free(copy.data);
    }
}

static void a_length_that_no_batch_can_have_is_corrupt(void **state)
{
    static const int32_t lengths[] = {0, -1, 48, INT32_MIN, -12};
    struct sample s = sample_from_hex(kafka_data_hex);
    struct bytes batch;

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct record_batches it = record_batches(sample_bytes(&s));

        store_be32(s.data + RECORD_BATCH_AT_LENGTH, (uint32_t)lengths[i]);
        assert_false(record_batches_next(&it, &batch));
        assert_int_equal(it.status.code, KERR_CORRUPT_MESSAGE);
        assert_int_equal(record_batch_check(sample_bytes(&s)).code, KERR_CORRUPT_MESSAGE);
    }
}

static void another_magic_is_corrupt(void **state)
{
    struct sample s = sample_from_hex(kafka_data_hex);
    struct record_batches it = record_batches(sample_bytes(&s));
    struct bytes batch;

    (void)state;
    s.data[RECORD_BATCH_AT_MAGIC] = 1;
    assert_false(record_batches_next(&it, &batch));
    assert_int_equal(it.status.code, KERR_CORRUPT_MESSAGE);
    assert_int_equal(record_batch_check(sample_bytes(&s)).code, KERR_CORRUPT_MESSAGE);
}

/* Every bit but those of base offset and leader epoch is under the CRC, or checked by itself. */
static void a_flipped_bit_is_noticed(void **state)
{
    struct sample s = sample_from_hex(kafka_data_hex);

    (void)state;
    for (size_t bit = RECORD_BATCH_AT_LENGTH * 8; bit < s.size * 8; bit++) {
        size_t at = bit / 8;

        if (at >= RECORD_BATCH_AT_LEADER_EPOCH && at < RECORD_BATCH_AT_MAGIC)
            continue;
        s.data[at] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(record_batch_check(sample_bytes(&s)).code, KERR_CORRUPT_MESSAGE);
        s.data[at] ^= (uint8_t)(1u << bit % 8);
    }
}

/* The records of a batch with `size` bytes of them, whatever the header's length field says. */
static void records_cut_at_every_byte_are_corrupt(void **state)
{
    struct sample s = sample_from_hex(kafka_snapshot_hex);
    size_t first = 166;

    (void)state;
    for (size_t cut = 0; cut < first; cut++) {
        struct bytes_mut copy = heap_copy((struct bytes){s.data, cut});
        struct status st;

        assert_true(count_records(bytes_of(copy), NULL, &st) < 3);
        assert_int_equal(st.code, KERR_CORRUPT_MESSAGE);
        free(copy.data);
    }
}

static void records_with_flipped_bits_stay_within_their_bounds(void **state)
{
    struct sample s = sample_from_hex(kafka_snapshot_hex);

    (void)state;
    for (size_t bit = RECORD_BATCH_AT_ATTRIBUTES * 8; bit < 166 * 8; bit++) {
        struct bytes_mut copy = heap_copy((struct bytes){s.data, 166});
        struct record_iter it;
        struct record r;
        volatile uint8_t sum = 0; /* ASan sees each byte that is read */

        copy.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        record_iter_open(&it, bytes_of(copy), NULL, 0);
        while (record_iter_next(&it, &r)) {
            for (size_t i = 0; i < r.key.size; i++)
                sum = (uint8_t)(sum ^ r.key.data[i]);
            for (size_t i = 0; i < r.value.size; i++)
                sum = (uint8_t)(sum ^ r.value.data[i]);
        }
        assert_int_equal(it.left, 0);
        free(copy.data);
    }
}

/* A batch of one record whose encoded bytes are given. */
static struct status open_record(const uint8_t *record, size_t size)
{
    struct sample s = sample_from_hex(kafka_data_hex);
    struct bytes_mut copy;
    struct status st;

    memcpy(s.data + RECORD_BATCH_HEADER_BYTES, record, size);
    copy = heap_copy((struct bytes){s.data, RECORD_BATCH_HEADER_BYTES + size});
    count_records(bytes_of(copy), NULL, &st);
    free(copy.data);
    return st;
}

#define RECORD_STATUS(...)                                                                         \
    open_record((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void a_record_that_does_not_fit_is_corrupt(void **state)
{
    (void)state;
    assert_int_equal(RECORD_STATUS(12, 0, 0, 0, 1, 1, 0).code, KERR_NONE);
    assert_int_equal(RECORD_STATUS(12, 0, 0, 0, 1, 1, 0, 9).code,
                     KERR_CORRUPT_MESSAGE); /* behind it */
    assert_int_equal(RECORD_STATUS(14, 0, 0, 0, 1, 1, 0, 9).code,
                     KERR_CORRUPT_MESSAGE); /* inside it */
    assert_int_equal(RECORD_STATUS(10, 0, 0, 0, 1, 1, 0).code,
                     KERR_CORRUPT_MESSAGE); /* size too small */
    assert_int_equal(RECORD_STATUS(0).code, KERR_CORRUPT_MESSAGE);
    assert_int_equal(RECORD_STATUS(1).code, KERR_CORRUPT_MESSAGE); /* size -1 */
    assert_int_equal(RECORD_STATUS(12, 0, 0, 0, 4, 1, 0).code,
                     KERR_CORRUPT_MESSAGE); /* key too long */
    assert_int_equal(RECORD_STATUS(12, 0, 0, 0, 1, 4, 0).code,
                     KERR_CORRUPT_MESSAGE); /* value too long */
    assert_int_equal(RECORD_STATUS(12, 0, 0, 0, 1, 1, 2).code,
                     KERR_CORRUPT_MESSAGE); /* a header missing */
    assert_int_equal(RECORD_STATUS(12, 0, 0, 0, 1, 1, 1).code,
                     KERR_CORRUPT_MESSAGE); /* -1 headers */
    assert_int_equal(RECORD_STATUS(16, 0, 0, 0, 1, 1, 2, 1, 1).code,
                     KERR_CORRUPT_MESSAGE); /* null name */
    assert_int_equal(RECORD_STATUS(16, 0, 0, 0, 1, 1, 2, 0, 1).code, KERR_NONE);
    assert_int_equal(RECORD_STATUS(0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0).code,
                     KERR_CORRUPT_MESSAGE);
}

static void an_unknown_codec_is_refused(void **state)
{
    struct sample s = sample_from_hex(kafka_data_hex);
    struct compression_scratch *scratch = compression_scratch_new();
    struct record_iter it;
    struct record r;

    (void)state;
    s.data[RECORD_BATCH_AT_ATTRIBUTES + 1] = 6;
    assert_int_equal(record_iter_open(&it, sample_bytes(&s), scratch, DECOMPRESSED_MAX).code,
                     KERR_UNSUPPORTED_COMPRESSION_TYPE);
    assert_false(record_iter_next(&it, &r));
    s.data[RECORD_BATCH_AT_ATTRIBUTES + 1] = COMPRESSION_GZIP;
    assert_int_equal(record_iter_open(&it, sample_bytes(&s), scratch, DECOMPRESSED_MAX).code,
                     KERR_CORRUPT_MESSAGE);
    assert_int_equal(record_iter_open(&it, sample_bytes(&s), NULL, 0).code,
                     KERR_UNKNOWN_SERVER_ERROR);
    compression_scratch_free(scratch);
}

/* Compaction leaves such batches behind to remember a producer's last sequence. */
static void a_batch_without_records_is_empty_whatever_its_codec(void **state)
{
    struct sample s = sample_from_hex(kafka_data_hex);
    struct status st;

    (void)state;
    s.size = RECORD_BATCH_HEADER_BYTES;
    store_be32(s.data + RECORD_BATCH_AT_RECORD_COUNT, 0);
    s.data[RECORD_BATCH_AT_ATTRIBUTES + 1] = COMPRESSION_ZSTD;
    assert_int_equal(count_records(sample_bytes(&s), NULL, &st), 0);
    assert_int_equal(st.code, KERR_NONE);
    store_be32(s.data + RECORD_BATCH_AT_RECORD_COUNT, UINT32_MAX);
    assert_int_equal(count_records(sample_bytes(&s), NULL, &st), 0);
    assert_int_equal(st.code, KERR_CORRUPT_MESSAGE);
}

static void a_key_that_is_no_control_key_has_no_type(void **state)
{
    struct record r = {.key = {(const uint8_t *)"\0\0\0", 3}};

    (void)state;
    assert_int_equal(control_record_type(&r), -1);
    r.key = (struct bytes){NULL, 0};
    assert_int_equal(control_record_type(&r), -1);
    r.key = (struct bytes){(const uint8_t *)"\xff\xff\0\1", 4};
    assert_int_equal(control_record_type(&r), -1);
    r.key = (struct bytes){(const uint8_t *)"\0\1\0\2more", 8};
    assert_int_equal(control_record_type(&r), CONTROL_LEADER_CHANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_of_apache_kafka_is_read_field_by_field),
        cmocka_unit_test(a_commit_marker_of_apache_kafka_is_a_control_record),
        cmocka_unit_test(a_metadata_snapshot_of_apache_kafka_is_three_batches),
        cmocka_unit_test(base_offset_and_leader_epoch_lie_outside_the_crc),
        cmocka_unit_test(log_append_time_sets_timestamp_type_bit_and_crc),
        cmocka_unit_test(the_same_max_timestamp_leaves_the_crc_alone),
        cmocka_unit_test(sequence_numbers_wrap_to_zero),
        cmocka_unit_test(a_buffer_cut_at_every_byte_ends_in_a_partial_batch),
        cmocka_unit_test(a_length_that_no_batch_can_have_is_corrupt),
        cmocka_unit_test(another_magic_is_corrupt),
        cmocka_unit_test(a_flipped_bit_is_noticed),
        cmocka_unit_test(records_cut_at_every_byte_are_corrupt),
        cmocka_unit_test(records_with_flipped_bits_stay_within_their_bounds),
        cmocka_unit_test(a_record_that_does_not_fit_is_corrupt),
        cmocka_unit_test(an_unknown_codec_is_refused),
        cmocka_unit_test(a_batch_without_records_is_empty_whatever_its_codec),
        cmocka_unit_test(a_key_that_is_no_control_key_has_no_type),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
