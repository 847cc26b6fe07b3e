#include "tests/unit/test.h"

#include "protocol/reader.h"

#define READER(...)                                                                                \
    reader_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static struct arena arena_of(size_t budget)
{
    struct arena a;

    arena_init(&a, budget);
    return a;
}

/* After the first failure a reader stands at its end, gives zeros and keeps the first reason. */
static void first_failure_is_remembered(void **state)
{
    struct reader r = READER(1, 2, 3);
    (void)state;

    assert_int_equal(read_int32(&r), 0);
    assert_int_equal(r.failure, KERR_INVALID_REQUEST);
    assert_int_equal(reader_left(&r), 0);
    assert_int_equal(read_int8(&r), 0);
    assert_false(reader_fail(&r, KERR_UNSUPPORTED_VERSION));
    assert_int_equal(r.failure, KERR_INVALID_REQUEST);
}

static void nothing_can_be_read_from_nothing(void **state)
{
    struct reader r = reader_of(NULL, 0);
    (void)state;

    assert_true(reader_ok(&r));
    assert_int_equal(reader_left(&r), 0);
    assert_int_equal(read_unsigned_varint(&r), 0);
    assert_false(reader_ok(&r));
}

static void integers_are_big_endian_and_signed(void **state)
{
    struct reader r = READER(0xff, 0xff, 0xfe, 0x80, 0, 0, 0, 2);
    (void)state;

    assert_int_equal(read_int8(&r), -1);
    assert_int_equal(read_int16(&r), -2);
    assert_int_equal(read_int32(&r), INT32_MIN);
    assert_true(read_bool(&r)); /* any byte but 0 */
    assert_true(reader_ok(&r));
}

static void plain_and_compact_strings_point_into_the_frame(void **state)
{
    const uint8_t frame[] = {0, 2, 'h', 'i', 3, 'y', 'o', 1};
    struct reader r = reader_of(frame, sizeof frame);
    struct str s = read_string(&r, WIRE_PLAIN);
    (void)state;

    assert_ptr_equal(s.data, frame + 2);
    assert_int_equal(s.size, 2);
    s = read_string(&r, WIRE_FLEXIBLE);
    assert_ptr_equal(s.data, frame + 5);
    s = read_string(&r, WIRE_FLEXIBLE);
    assert_int_equal(s.size, 0);
    assert_non_null(s.data); /* empty, not null */
    assert_true(reader_ok(&r));
}

static void null_is_refused_where_it_is_not_allowed(void **state)
{
    struct reader allowed = READER(0xff, 0xff, 0);
    struct reader plain = READER(0xff, 0xff);
    struct reader compact = READER(0);
    (void)state;

    assert_null(read_string(&allowed, WIRE_PLAIN | WIRE_NULLABLE).data);
    assert_null(read_bytes(&allowed, WIRE_FLEXIBLE | WIRE_NULLABLE).data);
    assert_true(reader_ok(&allowed));
    read_string(&plain, WIRE_PLAIN);
    assert_false(reader_ok(&plain));
    read_records(&compact, WIRE_FLEXIBLE);
    assert_false(reader_ok(&compact));
}

static void lengths_below_null_or_past_the_end_are_refused(void **state)
{
    struct reader negative = READER(0xff, 0xfe, 0, 0);
    struct reader past = READER(0, 3, 'h', 'i');
    struct reader huge = READER(0xff, 0xff, 0xff, 0xff, 0x0f);
    struct reader negative_bytes = READER(0x80, 0, 0, 0);
    (void)state;

    read_string(&negative, WIRE_NULLABLE);
    assert_false(reader_ok(&negative));
    read_string(&past, WIRE_PLAIN);
    assert_false(reader_ok(&past));
    read_bytes(&huge, WIRE_FLEXIBLE);
    assert_false(reader_ok(&huge));
    read_bytes(&negative_bytes, WIRE_NULLABLE);
    assert_false(reader_ok(&negative_bytes));
}

/* A compact string could say more than a plain one: Kafka's bound is the same for both. */
static void string_above_32767_bytes_is_refused(void **state)
{
    static uint8_t frame[3 + 32768] = {0x81, 0x80, 0x02}; /* 32768 + 1 */
    struct reader r = reader_of(frame, sizeof frame);
    (void)state;

    read_string(&r, WIRE_FLEXIBLE);
    assert_false(reader_ok(&r));
    frame[0] = 0x80; /* 32767 + 1 */
    r = reader_of(frame, sizeof frame);
    assert_int_equal(read_string(&r, WIRE_FLEXIBLE).size, 32767);
    assert_true(reader_ok(&r));
}

/* A count is measured against the bytes left before memory is taken for it. */
static void count_that_cannot_fit_allocates_nothing(void **state)
{
    struct arena a = arena_of(1 << 20);
    struct reader r = READER(0, 0, 0, 3, 1, 2, 3, 4, 5);
    size_t count = 99;
    (void)state;

    assert_null(read_array(&r, &a, WIRE_PLAIN, (struct wire_element){2, 1000}, &count));
    assert_int_equal(count, 0);
    assert_false(reader_ok(&r));
    assert_int_equal(a.used, 0);
    arena_free(&a);
}

static void array_past_the_budget_is_refused(void **state)
{
    struct arena a = arena_of(100);
    struct reader r = READER(0, 0, 0, 2, 1, 2);
    size_t count;
    (void)state;

    assert_null(read_array(&r, &a, WIRE_PLAIN, (struct wire_element){1, 1000}, &count));
    assert_int_equal(count, 0);
    assert_int_equal(r.failure, KERR_INVALID_REQUEST);
    arena_free(&a);
}

static void empty_array_is_not_null_and_null_is(void **state)
{
    struct arena a = arena_of(1 << 20);
    struct reader r = READER(0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0, 7, 0, 0, 0, 8);
    int32_t *items;
    size_t count;
    (void)state;

    assert_non_null(read_int32_array(&r, &a, WIRE_PLAIN, &count));
    assert_int_equal(count, 0);
    assert_null(read_int32_array(&r, &a, WIRE_NULLABLE, &count));
    items = read_int32_array(&r, &a, WIRE_FLEXIBLE, &count);
    assert_int_equal(count, 2);
    assert_int_equal(items[1], 8);
    assert_true(reader_ok(&r));
    arena_free(&a);
}

static void unknown_tagged_fields_are_skipped(void **state)
{
    struct reader r = READER(2, 0, 1, 9, 5, 2, 9, 9, 42);
    (void)state;

    read_skip_tagged_fields(&r);
    assert_true(reader_ok(&r));
    assert_int_equal(read_int8(&r), 42);
}

static void tagged_field_with_bytes_left_over_is_refused(void **state)
{
    struct reader r = READER(7, 3, 1, 2, 3);
    struct reader field;
    (void)state;

    assert_int_equal(read_tagged_field(&r, &field), 7);
    assert_int_equal(reader_left(&field), 3);
    read_int16(&field);
    read_tagged_field_close(&r, &field);
    assert_false(reader_ok(&r));
}

static void tagged_field_past_the_end_has_no_tag(void **state)
{
    struct reader r = READER(1, 3, 1, 2);
    struct reader field;
    (void)state;

    assert_int_equal(read_tagged_field(&r, &field), READ_TAG_NONE);
    assert_int_equal(reader_left(&field), 0);
    assert_false(reader_ok(&r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_failure_is_remembered),
        cmocka_unit_test(nothing_can_be_read_from_nothing),
        cmocka_unit_test(integers_are_big_endian_and_signed),
        cmocka_unit_test(plain_and_compact_strings_point_into_the_frame),
        cmocka_unit_test(null_is_refused_where_it_is_not_allowed),
        cmocka_unit_test(lengths_below_null_or_past_the_end_are_refused),
        cmocka_unit_test(string_above_32767_bytes_is_refused),
        cmocka_unit_test(count_that_cannot_fit_allocates_nothing),
        cmocka_unit_test(array_past_the_budget_is_refused),
        cmocka_unit_test(empty_array_is_not_null_and_null_is),
        cmocka_unit_test(unknown_tagged_fields_are_skipped),
        cmocka_unit_test(tagged_field_with_bytes_left_over_is_refused),
        cmocka_unit_test(tagged_field_past_the_end_has_no_tag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
