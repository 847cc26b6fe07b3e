/* Principals between brokers: KIP-590, DefaultPrincipalData of Apache Kafka. */

#include "broker/principal.h"

#include <string.h>

#include "tests/unit/test.h"

/* As org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder has it: the
 * version, then compact strings, a flag, no tagged fields. */
static const uint8_t anonymous[] = {0,   0,   5,   'U', 's', 'e', 'r', 10, 'A', 'N',
                                    'O', 'N', 'Y', 'M', 'O', 'U', 'S', 0,  0};

static void anonymous_is_written_as_apache_kafka_writes_it(void **state)
{
    struct principal p = PRINCIPAL_ANONYMOUS;
    struct writer w;
    (void)state;

    writer_init(&w, 100);
    principal_write(&w, &p);
    assert_int_equal(w.size, sizeof anonymous);
    assert_memory_equal(w.data, anonymous, sizeof anonymous);
    writer_free(&w);
}

static void what_is_written_is_read(void **state)
{
    struct principal p = {STR("User"), STR("alice"), true}, read;
    struct writer w;
    (void)state;

    writer_init(&w, 100);
    principal_write(&w, &p);
    assert_true(principal_read((struct bytes){w.data, w.size}, &read));
    assert_true(str_equal(read.type, p.type));
    assert_true(str_equal(read.name, p.name));
    assert_true(read.token_authenticated);
    writer_free(&w);
}

static void damaged_and_later_principals_are_refused(void **state)
{
    uint8_t bytes[sizeof anonymous + 1] = {0};
    struct principal read;
    (void)state;

    memcpy(bytes, anonymous, sizeof anonymous);
    assert_false(principal_read((struct bytes){NULL, 0}, &read));
    for (size_t size = 0; size < sizeof anonymous; size++)
        assert_false(principal_read((struct bytes){bytes, size}, &read));
    assert_false(principal_read((struct bytes){bytes, sizeof bytes}, &read)); /* a byte too many */
    bytes[1] = 1;
    assert_false(principal_read((struct bytes){bytes, sizeof anonymous}, &read));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anonymous_is_written_as_apache_kafka_writes_it),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(damaged_and_later_principals_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
