#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/properties.h"

/* Java properties, read as java.util.Properties reads them. */

/* Entries as "line key=value;" one after the other. */
struct seen {
    char text[512];
    int stop_after; /* 0: never */
};

static bool note(void *arg, struct str key, struct str value, int32_t line)
{
    struct seen *seen = arg;
    size_t used = strlen(seen->text);

    snprintf(seen->text + used, sizeof seen->text - used, "%d %.*s=%.*s;", line, STR_ARG(key),
             STR_ARG(value));
    return seen->stop_after == 0 || --seen->stop_after > 0;
}

static bool parse(const char *text, struct seen *seen, struct properties_error *error)
{
    size_t size = strlen(text);
    uint8_t *exact = malloc(size ? size : 1); /* so that a sanitizer sees every byte too far */

    memcpy(exact, text, size);
    bool fine = properties_parse((struct bytes){exact, size}, note, seen, error);
    free(exact);
    return fine;
}

static void check_parse(const char *text, const char *expected)
{
    struct seen seen = {""};
    struct properties_error error;

    assert_true(parse(text, &seen, &error));
    assert_string_equal(seen.text, expected);
}

static void keys_end_at_an_equals_sign_a_colon_or_a_blank(void **state)
{
    (void)state;
    check_parse("a=1\nb:2\nc 3\nd = 4\ne\t:\t5\nf  6\n", "1 a=1;2 b=2;3 c=3;4 d=4;5 e=5;6 f=6;");
    check_parse("a==1\nb:=2\nc =:3", "1 a==1;2 b==2;3 c=:3;");
    check_parse("listeners=PLAINTEXT://:9092", "1 listeners=PLAINTEXT://:9092;");
}

static void a_key_may_stand_alone_and_a_value_may_keep_its_blanks(void **state)
{
    (void)state;
    check_parse("a\nb=\n=c\nd=x y \n", "1 a=;2 b=;3 =c;4 d=x y ;");
}

static void comments_and_empty_lines_are_skipped(void **state)
{
    (void)state;
    check_parse("", "");
    check_parse("\n  \n# a=1\n  ! b=2 \\\nc=3#4\n", "5 c=3#4;");
    check_parse("#", "");
}

static void a_backslash_at_the_end_of_a_line_joins_it_with_the_next(void **state)
{
    (void)state;
    check_parse("a=1,\\\n    2,\\\n\t# no comment\nb=3", "1 a=1,2,# no comment;4 b=3;");
    check_parse("a=1\\\\\nb=2", "1 a=1\\;2 b=2;");
    check_parse("a=1\\\\\\\n2", "1 a=1\\2;");
    check_parse("a=1\\", "1 a=1;");
    check_parse("a=1\\\n", "1 a=1;");
    check_parse("a=1\\\n\nb=2", "1 a=1;3 b=2;");
}

static void lines_end_in_any_of_the_three_ways(void **state)
{
    (void)state;
    check_parse("a=1\r\nb=2\rc=3\nd=\\\r\n4", "1 a=1;2 b=2;3 c=3;4 d=4;");
}

static void escapes_are_undone_in_keys_and_values(void **state)
{
    (void)state;
    check_parse("a\\ b\\=c\\:d=\\ e\\tf\\q\\\\", "1 a b=c:d= e\tfq\\;");
    check_parse("k=\\u0041\\u00e9\\u20ac\\uD83D\\uDE00",
                "1 k=A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80;");
    check_parse("k=\xc3\xa9", "1 k=\xc3\xa9;");
}

static void a_bad_unicode_escape_is_refused_with_its_line(void **state)
{
    static const char *const bad[] = {"\\u12",          "\\uxyza", "\\ud83d", "\\ud83dx",
                                      "\\ud83d\\u0041", "\\ude00", "\\u"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct seen seen = {""};
        struct properties_error error = {0, NULL};
        char text[64];

        snprintf(text, sizeof text, "a=1\n\nb=%s", bad[i]);
        assert_false(parse(text, &seen, &error));
        assert_int_equal(error.line, 3);
        assert_non_null(error.message);
        assert_string_equal(seen.text, "1 a=1;");
        assert_false(parse(text, &seen, NULL));
    }
}

static void the_visitor_may_stop_the_parse(void **state)
{
    struct seen seen = {"", 2};
    struct properties_error error = {0, "untouched"};

    (void)state;
    assert_false(parse("a=1\nb=2\nc=3", &seen, &error));
    assert_null(error.message);
    assert_int_equal(error.line, 2);
    assert_string_equal(seen.text, "1 a=1;2 b=2;");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_end_at_an_equals_sign_a_colon_or_a_blank),
        cmocka_unit_test(a_key_may_stand_alone_and_a_value_may_keep_its_blanks),
        cmocka_unit_test(comments_and_empty_lines_are_skipped),
        cmocka_unit_test(a_backslash_at_the_end_of_a_line_joins_it_with_the_next),
        cmocka_unit_test(lines_end_in_any_of_the_three_ways),
        cmocka_unit_test(escapes_are_undone_in_keys_and_values),
        cmocka_unit_test(a_bad_unicode_escape_is_refused_with_its_line),
        cmocka_unit_test(the_visitor_may_stop_the_parse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
