#include "tests/unit/test.h"

#include "protocol/base/crc32c.h"

/* The check value every CRC-32C implementation is held against (RFC 3720, appendix B.4). */
static void known_values_come_out(void **state)
{
    uint8_t zeros[32] = {0};
    (void)state;

    assert_int_equal(crc32c("123456789", 9), 0xe3069283u);
    assert_int_equal(crc32c(zeros, sizeof zeros), 0x8a9136aau);
    assert_int_equal(crc32c("", 0), 0);
}

static void checksum_of_parts_is_checksum_of_whole(void **state)
{
    (void)state;

    assert_int_equal(crc32c_extend(crc32c("1234", 4), "56789", 5), crc32c("123456789", 9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values_come_out),
        cmocka_unit_test(checksum_of_parts_is_checksum_of_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
