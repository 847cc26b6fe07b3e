#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/byteorder.h"
#include "protocol/base/crc32c.h"
#include "storage/producer_state.h"

#define PID 1000

/* A batch of `count` records. */
static struct producer_batch batch(int16_t epoch, int32_t first_sequence, int32_t count,
                                   int64_t first_offset)
{
    return (struct producer_batch){
        .producer_id = PID,
        .producer_epoch = epoch,
        .first_sequence = first_sequence,
        .last_offset_delta = count - 1,
        .first_offset = first_offset,
        .last_offset = first_offset + count - 1,
        .max_timestamp_ms = 5000 + first_offset,
    };
}

static struct producer_batch transactional(struct producer_batch b)
{
    b.transactional = true;
    return b;
}

static struct producer_batch of_producer(struct producer_batch b, int64_t producer_id)
{
    b.producer_id = producer_id;
    return b;
}

static struct producer_marker marker(int16_t epoch, int32_t coordinator_epoch, int64_t offset)
{
    return (struct producer_marker){
        .producer_id = PID,
        .producer_epoch = epoch,
        .coordinator_epoch = coordinator_epoch,
        .offset = offset,
        .timestamp_ms = 6000,
    };
}

static enum kerr client_tries(const struct producer_state *s, struct producer_batch b)
{
    struct producer_duplicate d;
    struct status st = producer_state_check_batch(s, &b, PRODUCER_ORIGIN_CLIENT, &d);

    assert_false(!status_failed(st) && d.found);
    return st.code;
}

static void client_writes(struct producer_state *s, struct producer_batch b)
{
    assert_int_equal(client_tries(s, b), KERR_NONE);
    producer_state_apply_batch(s, &b);
}

static struct producer_completed coordinator_ends(struct producer_state *s,
                                                  struct producer_marker m)
{
    struct producer_completed done;

    assert_int_equal(producer_state_check_marker(s, &m).code, KERR_NONE);
    producer_state_apply_marker(s, &m, &done);
    return done;
}

static void sequences_must_follow_each_other(void **state)
{
    struct producer_state s = {0};
    (void)state;

    client_writes(&s, batch(0, 0, 3, 100));
    client_writes(&s, batch(0, 3, 1, 103));
    assert_int_equal(client_tries(&s, batch(0, 5, 1, 104)), KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_int_equal(client_tries(&s, batch(0, 3, 2, 104)), KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_int_equal(client_tries(&s, batch(0, 0, 1, 104)), KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    client_writes(&s, batch(0, 4, 1, 104));
    producer_state_free(&s);
}

static void an_unknown_producer_may_start_anywhere(void **state)
{
    struct producer_state s = {0};
    (void)state;

    client_writes(&s, batch(7, 4711, 1, 0));
    client_writes(&s, batch(7, 4712, 1, 1));
    producer_state_free(&s);
}

static void the_five_last_batches_are_known_as_duplicates(void **state)
{
    struct producer_state s = {0};
    struct producer_duplicate d;
    (void)state;

    for (int32_t i = 0; i < 6; i++)
        client_writes(&s, batch(0, 2 * i, 2, 100 + 2 * i));
    for (int32_t i = 1; i < 6; i++) {
        struct producer_batch again = batch(0, 2 * i, 2, -1);

        assert_int_equal(producer_state_check_batch(&s, &again, PRODUCER_ORIGIN_CLIENT, &d).code,
                         KERR_NONE);
        assert_true(d.found);
        assert_int_equal(d.first_offset, 100 + 2 * i);
        assert_int_equal(d.last_offset, 101 + 2 * i);
        assert_int_equal(d.timestamp_ms, 5100 + 2 * i);
    }
    assert_int_equal(client_tries(&s, batch(0, 0, 2, -1)), KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    producer_state_free(&s);
}

static void sequences_wrap_to_zero_after_the_largest_number(void **state)
{
    struct producer_state s = {0};
    struct producer_duplicate d;
    struct producer_batch over = batch(0, INT32_MAX - 1, 4, 10); /* MAX-1, MAX, 0, 1 */
    (void)state;

    client_writes(&s, over);
    assert_int_equal(producer_state_check_batch(&s, &over, PRODUCER_ORIGIN_CLIENT, &d).code,
                     KERR_NONE);
    assert_true(d.found);
    client_writes(&s, batch(0, 2, 1, 14));
    producer_state_clear(&s);
    client_writes(&s, batch(0, INT32_MAX, 1, 0));
    assert_int_equal(client_tries(&s, batch(0, 1, 1, 1)), KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    client_writes(&s, batch(0, 0, 1, 1));
    producer_state_free(&s);
}

static void a_new_epoch_starts_at_sequence_zero(void **state)
{
    struct producer_state s = {0};
    (void)state;

    client_writes(&s, batch(1, 0, 5, 0));
    assert_int_equal(client_tries(&s, batch(2, 5, 1, 5)), KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    client_writes(&s, batch(2, 0, 1, 5));
    assert_int_equal(client_tries(&s, batch(1, 5, 1, 6)), KERR_INVALID_PRODUCER_EPOCH);
    assert_int_equal(client_tries(&s, batch(1, 0, 5, 6)), KERR_INVALID_PRODUCER_EPOCH);
    producer_state_free(&s);
}

static void after_a_marker_of_a_new_epoch_the_producer_starts_at_zero(void **state)
{
    struct producer_state s = {0};
    (void)state;

    client_writes(&s, transactional(batch(1, 0, 5, 0)));
    coordinator_ends(&s, marker(2, 0, 5));
    assert_int_equal(client_tries(&s, transactional(batch(2, 5, 1, 6))),
                     KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    client_writes(&s, transactional(batch(2, 0, 1, 6)));
    producer_state_free(&s);
}

static void a_coordinators_batches_have_no_sequences_but_epochs(void **state)
{
    struct producer_state s = {0};
    struct producer_duplicate d;
    struct producer_batch b = transactional(batch(3, PRODUCER_NO_SEQUENCE, 2, 0));
    (void)state;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(producer_state_check_batch(&s, &b, PRODUCER_ORIGIN_COORDINATOR, &d).code,
                         KERR_NONE);
        assert_false(d.found);
        producer_state_apply_batch(&s, &b);
        b.first_offset += 2;
        b.last_offset += 2;
    }
    b.producer_epoch = 2;
    assert_int_equal(producer_state_check_batch(&s, &b, PRODUCER_ORIGIN_COORDINATOR, &d).code,
                     KERR_INVALID_PRODUCER_EPOCH);
    producer_state_free(&s);
}

static void a_plain_batch_within_a_transaction_is_refused(void **state)
{
    struct producer_state s = {0};
    (void)state;

    client_writes(&s, transactional(batch(0, 0, 1, 0)));
    assert_int_equal(client_tries(&s, batch(0, 1, 1, 1)), KERR_INVALID_TXN_STATE);
    producer_state_free(&s);
}

static void a_zombie_coordinator_is_fenced(void **state)
{
    struct producer_state s = {0};
    struct producer_marker old = marker(0, 4, 9);
    (void)state;

    client_writes(&s, transactional(batch(0, 0, 1, 0)));
    coordinator_ends(&s, marker(0, 5, 1));
    assert_int_equal(producer_state_check_marker(&s, &old).code,
                     KERR_TRANSACTION_COORDINATOR_FENCED);
    old = marker(-1, 6, 9);
    assert_int_equal(producer_state_check_marker(&s, &old).code, KERR_INVALID_PRODUCER_EPOCH);
    producer_state_free(&s);
}

/* transaction.version 2 (KIP-890): every transaction ends in an epoch of its own. */
static void a_late_marker_cannot_end_the_next_transaction(void **state)
{
    struct producer_state s = {0};
    struct producer_marker late = marker(1, 0, 3);
    (void)state;

    late.transaction_version = 2;
    client_writes(&s, transactional(batch(0, 0, 1, 0)));
    coordinator_ends(&s, late);
    /* sent again: harmless */
    assert_int_equal(producer_state_check_marker(&s, &late).code, KERR_NONE);
    client_writes(&s, transactional(batch(1, 0, 1, 4)));
    assert_int_equal(producer_state_check_marker(&s, &late).code, KERR_INVALID_PRODUCER_EPOCH);
    late.transaction_version = 1;
    assert_int_equal(producer_state_check_marker(&s, &late).code, KERR_NONE);
    producer_state_free(&s);
}

static void an_ended_transaction_is_unstable_until_its_marker_is_replicated(void **state)
{
    struct producer_state s = {0};
    struct producer_completed done;
    (void)state;

    assert_int_equal(producer_state_first_unstable_offset(&s), PRODUCER_NO_OFFSET);
    client_writes(&s, transactional(batch(0, 0, 2, 10)));
    client_writes(&s, transactional(batch(0, 2, 2, 12)));
    client_writes(&s, transactional(of_producer(batch(0, 0, 1, 14), 2000)));
    assert_int_equal(producer_state_first_unstable_offset(&s), 10);
    assert_int_equal(producer_state_open_transaction(&s, PID, -1), 10);
    assert_int_equal(producer_state_open_transaction(&s, PID, 0), 10);
    assert_int_equal(producer_state_open_transaction(&s, PID, 1), PRODUCER_NO_OFFSET);
    assert_int_equal(producer_state_open_transaction(&s, 1, -1), PRODUCER_NO_OFFSET);

    done = coordinator_ends(&s, marker(0, 0, 15));
    assert_true(done.had_transaction);
    assert_false(done.aborted);
    assert_int_equal(done.producer_id, PID);
    assert_int_equal(done.first_offset, 10);
    assert_int_equal(done.last_offset, 15);
    assert_int_equal(done.last_stable_offset, 14);
    assert_int_equal(producer_state_first_undecided_offset(&s), 14);
    assert_int_equal(producer_state_first_unstable_offset(&s), 10);
    producer_state_high_watermark(&s, 15);
    assert_int_equal(producer_state_first_unstable_offset(&s), 10);
    producer_state_high_watermark(&s, 16);
    assert_int_equal(producer_state_first_unstable_offset(&s), 14);
    producer_state_free(&s);
}

static void a_marker_without_a_transaction_ends_nothing(void **state)
{
    struct producer_state s = {0};
    (void)state;

    assert_false(coordinator_ends(&s, marker(0, 0, 3)).had_transaction);
    assert_int_equal(producer_state_first_unstable_offset(&s), PRODUCER_NO_OFFSET);
    assert_int_equal(producer_state_count(&s), 1);
    producer_state_free(&s);
}

static void the_last_stable_offset_of_the_only_transaction_is_past_its_marker(void **state)
{
    struct producer_state s = {0};
    struct producer_marker m = marker(0, 0, 8);
    struct producer_completed done;
    (void)state;

    m.abort = true;
    client_writes(&s, transactional(batch(0, 0, 1, 7)));
    done = coordinator_ends(&s, m);
    assert_true(done.aborted);
    assert_int_equal(done.last_stable_offset, 9);
    producer_state_raise_start(&s, 9);
    assert_int_equal(producer_state_first_unstable_offset(&s), PRODUCER_NO_OFFSET);
    producer_state_free(&s);
}

static void idle_producers_expire_unless_they_have_a_transaction(void **state)
{
    struct producer_state s = {0};
    (void)state;

    client_writes(&s, batch(0, 0, 1, 0)); /* at 5000 ms */
    client_writes(&s, transactional(of_producer(batch(0, 0, 1, 0), 2000)));
    producer_state_expire(&s, 5999, 1000);
    assert_int_equal(producer_state_count(&s), 2);
    producer_state_expire(&s, 6000, 1000);
    assert_int_equal(producer_state_count(&s), 1);
    assert_int_equal(producer_state_open_transaction(&s, 2000, -1), 0);
    client_writes(&s, batch(0, 99, 1, 5)); /* unknown again: anywhere */
    producer_state_expire(&s, INT64_MIN, INT64_MAX);
    assert_int_equal(producer_state_count(&s), 2);
    producer_state_free(&s);
}

static void batches_without_a_producer_are_ignored(void **state)
{
    struct producer_state s = {0};
    struct producer_batch b = of_producer(batch(-1, -1, 1, 0), PRODUCER_NO_ID);
    (void)state;

    client_writes(&s, b);
    assert_int_equal(producer_state_count(&s), 0);
}

/* ---- snapshots: bytes that Apache Kafka 4.4.0 wrote ---- */

static const uint8_t golden[] = {
    0x00, 0x01, 0xb6, 0x7f, 0x5b, 0x9e, 0x00, 0x00, 0x00, 0x02,
    /* an idempotent producer */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xe8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0xa2, 0x07, 0x90,
    0x7e, 0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    /* a transactional one */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xe9, 0x00, 0x03, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0xa2, 0x07, 0x90,
    0x81, 0xc8, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static const uint8_t golden_empty[] = {0x00, 0x01, 0x48, 0x67, 0x4b, 0xc7, 0x00, 0x00, 0x00, 0x00};

static void expect_encoded(const struct producer_state *s, const uint8_t *bytes, size_t size)
{
    struct bytes_mut out;

    producer_snapshot_encode(s, &out);
    assert_int_equal(out.size, size);
    assert_memory_equal(out.data, bytes, size);
    free(out.data);
}

static void snapshots_of_apache_kafka_read_and_write_back_the_same(void **state)
{
    struct producer_state s = {0};
    (void)state;

    expect_encoded(&s, golden_empty, sizeof golden_empty);
    assert_false(status_failed(
        producer_snapshot_load(&s, (struct bytes){golden_empty, sizeof golden_empty}, 0, 1000)));
    assert_false(
        status_failed(producer_snapshot_load(&s, (struct bytes){golden, sizeof golden}, 0, 1000)));
    assert_int_equal(producer_state_count(&s), 2);
    expect_encoded(&s, golden, sizeof golden);
    /* and they mean the same */
    assert_int_equal(client_tries(&s, batch(0, 6, 1, 9)), KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    client_writes(&s, batch(0, 5, 1, 9));
    producer_state_free(&s);
}

static void expired_producers_are_left_out_of_a_snapshot_that_is_loaded(void **state)
{
    struct producer_state s = {0};
    const int64_t first = 0x1a207907e20, second = 0x1a2079081c8;
    (void)state;

    assert_false(status_failed(
        producer_snapshot_load(&s, (struct bytes){golden, sizeof golden}, first + 500, 500)));
    assert_int_equal(producer_state_count(&s), 1);
    producer_state_clear(&s);
    assert_false(status_failed(
        producer_snapshot_load(&s, (struct bytes){golden, sizeof golden}, second + 500, 500)));
    assert_int_equal(producer_state_count(&s), 0);
}

static void open_transactions_come_back_with_a_snapshot(void **state)
{
    struct producer_state s = {0}, loaded = {0};
    struct bytes_mut out;
    (void)state;

    client_writes(&s, transactional(batch(0, 0, 2, 30)));
    client_writes(&s, transactional(of_producer(batch(0, 0, 2, 32), 2000)));
    producer_snapshot_encode(&s, &out);
    assert_false(
        status_failed(producer_snapshot_load(&loaded, (struct bytes){out.data, out.size}, 0, 1)));
    assert_int_equal(producer_state_first_unstable_offset(&loaded), 30);
    coordinator_ends(&loaded, marker(0, 0, 40));
    assert_int_equal(producer_state_first_undecided_offset(&loaded), 32);
    free(out.data);
    producer_state_free(&s);
    producer_state_free(&loaded);
}

static void refuse(const uint8_t *bytes, size_t size)
{
    struct producer_state s = {0};
    uint8_t *copy = malloc(size ? size : 1); /* so that a sanitizer sees a read past the end */

    assert_non_null(copy);
    memcpy(copy, bytes, size);
    assert_int_equal(producer_snapshot_load(&s, (struct bytes){copy, size}, 0, 1000).code,
                     KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(producer_state_count(&s), 0);
    free(copy);
}

static void a_snapshot_cut_anywhere_or_with_a_flipped_bit_is_refused(void **state)
{
    uint8_t damaged[sizeof golden];
    (void)state;

    for (size_t size = 0; size < sizeof golden; size++)
        refuse(golden, size);
    for (size_t bit = 0; bit < sizeof golden * 8; bit++) {
        memcpy(damaged, golden, sizeof golden);
        damaged[bit / 8] ^= (uint8_t)(1u << bit % 8);
        refuse(damaged, sizeof damaged);
    }
}

static void a_snapshot_with_a_right_crc_but_impossible_numbers_is_refused(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
        const char *what;
    } cases[] = {
        {9, 3, "a larger count"},
        {9, 1, "a smaller count"},
        {6, 0x80, "a negative count"},
        {10, 0x80, "a negative id"},
        {20, 0x80, "a sequence below -1"},
        {32, 0x80, "a negative delta"},
        {35, 9, "a delta larger than the offset"},
    };
    uint8_t damaged[sizeof golden];
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memcpy(damaged, golden, sizeof golden);
        damaged[cases[i].at] = cases[i].value;
        store_be32(damaged + 2, crc32c(damaged + 6, sizeof damaged - 6));
        refuse(damaged, sizeof damaged);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_must_follow_each_other),
        cmocka_unit_test(an_unknown_producer_may_start_anywhere),
        cmocka_unit_test(the_five_last_batches_are_known_as_duplicates),
        cmocka_unit_test(sequences_wrap_to_zero_after_the_largest_number),
        cmocka_unit_test(a_new_epoch_starts_at_sequence_zero),
        cmocka_unit_test(after_a_marker_of_a_new_epoch_the_producer_starts_at_zero),
        cmocka_unit_test(a_coordinators_batches_have_no_sequences_but_epochs),
        cmocka_unit_test(a_plain_batch_within_a_transaction_is_refused),
        cmocka_unit_test(a_zombie_coordinator_is_fenced),
        cmocka_unit_test(a_late_marker_cannot_end_the_next_transaction),
        cmocka_unit_test(an_ended_transaction_is_unstable_until_its_marker_is_replicated),
        cmocka_unit_test(a_marker_without_a_transaction_ends_nothing),
        cmocka_unit_test(the_last_stable_offset_of_the_only_transaction_is_past_its_marker),
        cmocka_unit_test(idle_producers_expire_unless_they_have_a_transaction),
        cmocka_unit_test(batches_without_a_producer_are_ignored),
        cmocka_unit_test(snapshots_of_apache_kafka_read_and_write_back_the_same),
        cmocka_unit_test(expired_producers_are_left_out_of_a_snapshot_that_is_loaded),
        cmocka_unit_test(open_transactions_come_back_with_a_snapshot),
        cmocka_unit_test(a_snapshot_cut_anywhere_or_with_a_flipped_bit_is_refused),
        cmocka_unit_test(a_snapshot_with_a_right_crc_but_impossible_numbers_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
