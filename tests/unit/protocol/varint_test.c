#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/varint.h"

static const uint64_t edges[] = {
    0,        1,          127,        128,        16383,      16384,      1u << 21,  (1u << 28) - 1,
    1u << 28, UINT32_MAX, 1ull << 32, 1ull << 35, 1ull << 56, 1ull << 63, INT64_MAX, UINT64_MAX};
#define EDGE_COUNT (sizeof edges / sizeof edges[0])

/* Reads from a heap copy of exactly `size` bytes, for ASan. */
static size_t read_u64(const uint8_t *bytes, size_t size, uint64_t *out)
{
    uint8_t *copy = malloc(size ? size : 1);
    const uint8_t *end;
    size_t used;

    memcpy(copy, bytes, size);
    end = varint_read_u64(copy, copy + size, out);
    used = end ? (size_t)(end - copy) : 0;
    free(copy);
    return used;
}

static size_t read_u32(const uint8_t *bytes, size_t size, uint32_t *out)
{
    uint8_t *copy = malloc(size ? size : 1);
    const uint8_t *end;
    size_t used;

    memcpy(copy, bytes, size);
    end = varint_read_u32(copy, copy + size, out);
    used = end ? (size_t)(end - copy) : 0;
    free(copy);
    return used;
}

static void numbers_come_back_and_take_the_size_foretold(void **state)
{
    (void)state;
    for (size_t i = 0; i < EDGE_COUNT; i++) {
        for (int change = -1; change <= 1; change++) {
            uint64_t v = edges[i] + (uint64_t)(int64_t)change;
            uint8_t bytes[VARINT64_BYTES_MAX];
            size_t size = (size_t)(varint_write_u64(bytes, v) - bytes);
            uint64_t got64 = 0;
            uint32_t got32 = 0;

            assert_int_equal(size, varint_size_u64(v));
            assert_int_equal(read_u64(bytes, size, &got64), size);
            assert_int_equal(got64, v);
            assert_int_equal(read_u32(bytes, size, &got32), v <= UINT32_MAX ? size : 0);
            assert_int_equal(got32, v <= UINT32_MAX ? v : 0);
            for (size_t cut = 0; cut < size; cut++)
                assert_int_equal(read_u64(bytes, cut, &got64), 0);
        }
    }
}

static void signed_numbers_alternate(void **state)
{
    static const int64_t values[] = {0, -1, 1, -2, 2, INT32_MIN, INT32_MAX, INT64_MIN, INT64_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        uint8_t bytes[VARINT64_BYTES_MAX];
        uint8_t *end = varint_write_i64(bytes, values[i]);
        int64_t got64;
        int32_t got32 = 0;

        assert_int_equal(end - bytes, varint_size_i64(values[i]));
        assert_ptr_equal(varint_read_i64(bytes, end, &got64), end);
        assert_int_equal(got64, values[i]);
        if (values[i] != (int32_t)values[i])
            continue;
        assert_ptr_equal(varint_write_i32(bytes, (int32_t)values[i]), end);
        assert_int_equal(end - bytes, varint_size_i32((int32_t)values[i]));
        assert_ptr_equal(varint_read_i32(bytes, end, &got32), end);
        assert_int_equal(got32, values[i]);
    }
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(zigzag32((int32_t)values[i]), i);
}

static void numbers_that_do_not_fit_are_refused(void **state)
{
    static const uint8_t five[] = {0xff, 0xff, 0xff, 0xff, 0x1f};
    static const uint8_t six[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0};
    static const uint8_t ten[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    static const uint8_t eleven[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0};
    uint32_t got32 = 7;
    uint64_t got64 = 7;

    (void)state;
    assert_int_equal(read_u32(five, sizeof five, &got32), 0);
    assert_int_equal(read_u32(six, sizeof six, &got32), 0);
    assert_int_equal(read_u64(ten, sizeof ten, &got64), 0);
    assert_int_equal(read_u64(eleven, sizeof eleven, &got64), 0);
    assert_int_equal(got32, 7);
    assert_int_equal(got64, 7);
}

static void longer_forms_than_needed_are_read(void **state)
{
    static const uint8_t long_zero[] = {0x80, 0x80, 0x80, 0};
    uint32_t got = 7;

    (void)state;
    assert_int_equal(read_u32(long_zero, sizeof long_zero, &got), sizeof long_zero);
    assert_int_equal(got, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back_and_take_the_size_foretold),
        cmocka_unit_test(signed_numbers_alternate),
        cmocka_unit_test(numbers_that_do_not_fit_are_refused),
        cmocka_unit_test(longer_forms_than_needed_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
