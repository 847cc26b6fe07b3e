#include "tests/unit/test.h"

#include "protocol/base/uuid.h"

/* The metadata log's topic id, as Apache Kafka writes it into partition.metadata. */
static void metadata_topic_id_has_its_known_text(void **state)
{
    char text[UUID_TEXT_CHARS + 1];
    (void)state;

    uuid_format(uuid_from_number(1), text);
    assert_string_equal(text, "AAAAAAAAAAAAAAAAAAAAAQ");
}

static void text_parses_back(void **state)
{
    uint8_t random[16];
    struct uuid id, back;
    char text[UUID_TEXT_CHARS + 1];
    (void)state;

    for (int i = 0; i < 256; i++) {
        for (int j = 0; j < 16; j++)
            random[j] = (uint8_t)(i * 7 + j * 31);
        id = uuid_from_random(random);
        uuid_format(id, text);
        assert_true(uuid_parse(str_from(text), &back));
        assert_true(uuid_equal(id, back));
    }
}

static void wrong_text_is_refused(void **state)
{
    struct uuid id;
    (void)state;

    assert_false(uuid_parse(STR("AAAAAAAAAAAAAAAAAAAAA"), &id));
    assert_false(uuid_parse(STR("AAAAAAAAAAAAAAAAAAAAAQQ"), &id));
    assert_false(uuid_parse(STR("AAAAAAAAAA/AAAAAAAAAAQ"), &id));
    assert_false(uuid_parse(STR_NULL, &id));
}

static void small_numbers_are_reserved(void **state)
{
    (void)state;

    assert_true(uuid_is_reserved(uuid_from_number(0)));
    assert_true(uuid_is_reserved(uuid_from_number(99)));
    assert_false(uuid_is_reserved(uuid_from_number(100)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_topic_id_has_its_known_text),
        cmocka_unit_test(text_parses_back),
        cmocka_unit_test(wrong_text_is_refused),
        cmocka_unit_test(small_numbers_are_reserved),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
