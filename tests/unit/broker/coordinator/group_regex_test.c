#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "broker/coordinator/group_regex.h"
#include "tests/unit/broker/coordinator/image_world.h"

/* Patterns meant to hurt. What Kafka's own accepts and matches: group_vectors_test.c. */

static void add_topics(struct image_world *w, int count)
{
    char name[64];

    image_world_init(w);
    for (int i = 0; i < count; i++) {
        struct uuid id = {{0}};

        snprintf(name, sizeof name, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.%d", i);
        id.bytes[0] = (uint8_t)(i >> 8);
        id.bytes[1] = (uint8_t)i;
        id.bytes[2] = 1;
        image_world_add_topic(w, name, id);
    }
}

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static enum kerr match(const struct image_world *w, const char *pattern, size_t *count)
{
    struct group_regex_topics found;
    struct arena a;
    enum kerr code;

    arena_init(&a, 1 << 20);
    code = group_regex_match(w->image, str_from(pattern), &a, &found);
    *count = found.count;
    arena_free(&a);
    return code;
}

/* Each of these takes a backtracking matcher longer than the universe is old, or close to it. */
static void catastrophic_patterns_are_matched_in_no_time(void **state)
{
    static const char *const patterns[] = {
        "(a+)+\\.[xy]",
        "(a|a)*\\.[xy]",
        "(a|aa)+\\.[xy]",
        "(.*)*[xy]",
        "(a*)*(a*)*(a*)*[xy]",
        "((a+)+)+[xy]",
        "(a+a+)+[xy]",
        "([a-z]+)*[xy]",
        "(a?){20}a{20}[xy]",
        "(.*a){10}[xy]",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
        "(x+x+)+[yz]|(a+a+)+[yz]",
        "(?i)(A+)+\\.[XY]",
        "(a+)+$",
        "(a|a|a)+(a|a|a)+$",
    };
    struct image_world w;
    size_t count;
    (void)state;

    add_topics(&w, 500);
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        double before = cpu_seconds();

        assert_int_equal(match(&w, patterns[i], &count), KERR_NONE);
        assert_int_equal(count, 0);
        assert_true(cpu_seconds() - before < 5); /* 0.1 at most here; sanitizers are slower */
    }
    image_world_free(&w);
}

static void a_pattern_with_too_many_states_is_refused_within_its_bounds(void **state)
{
    static const char *const patterns[] = {
        "(a?){300}(a?){300}(a?){300}(a?){300}a{30}[xy]",
        "(.*.*.*.*.*.*.*.*.*.*){40}[xy]",
        "([a-z.]?[a-z.]?[a-z.]?){200}[xy]",
        "(((a?){10}){10}){10}[xy]",
        "(a{0,30}){30}[xy]",
        "(\\w|[a-z]|.|a|[^b]|\\S){1,200}[xy]",
    };
    struct image_world w;
    size_t count;
    (void)state;

    add_topics(&w, 5000);
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        double before = cpu_seconds();

        assert_int_equal(match(&w, patterns[i], &count), KERR_INVALID_REGULAR_EXPRESSION);
        assert_int_equal(count, 0);
        assert_true(cpu_seconds() - before < 20); /* 0.6 at most here */
    }
    image_world_free(&w);
}

static void ordinary_patterns_match_many_topics(void **state)
{
    struct image_world w;
    size_t count;
    (void)state;

    add_topics(&w, 20000);
    assert_int_equal(match(&w, ".*", &count), KERR_NONE);
    assert_int_equal(count, 20000);
    assert_int_equal(match(&w, "a+\\.[0-9]*7", &count), KERR_NONE);
    assert_int_equal(count, 2000);
    assert_int_equal(match(&w, "(orders|payments|a+)\\.(1|2|3)\\d*", &count), KERR_NONE);
    assert_true(count > 10000);
    image_world_free(&w);
}

static void patterns_are_bounded_in_size_and_depth(void **state)
{
    char pattern[GROUP_REGEX_BYTES_MAX + 2], message[GROUP_REGEX_MESSAGE_MAX];
    (void)state;

    memset(pattern, 'a', sizeof pattern);
    assert_int_equal(group_regex_check((struct str){pattern, GROUP_REGEX_BYTES_MAX}, message),
                     KERR_NONE);
    assert_int_equal(group_regex_check((struct str){pattern, GROUP_REGEX_BYTES_MAX + 1}, message),
                     KERR_INVALID_REGULAR_EXPRESSION);
    assert_string_equal(message, "expression is too long");
    memset(pattern, '(', 200);
    memset(pattern + 200, ')', 200);
    assert_int_equal(group_regex_check((struct str){pattern, 400}, message),
                     KERR_INVALID_REGULAR_EXPRESSION);
}

static void whatever_bytes_are_sent_the_answer_is_yes_or_no(void **state)
{
    static const char alphabet[] = "a*+?{}()[]\\|^$.,:-PQEdwx0129<>=!i#\xc3\xa9\xff";
    struct image_world w;
    uint64_t random = 1;
    (void)state;

    add_topics(&w, 3);
    for (int i = 0; i < 20000; i++) {
        char pattern[24], message[GROUP_REGEX_MESSAGE_MAX] = "";
        struct group_regex_topics found;
        struct arena a;
        struct str s = {pattern, 0};
        enum kerr code;

        random = random * 6364136223846793005u + 1442695040888963407u;
        s.size = random >> 60;
        for (size_t k = 0; k < s.size; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            pattern[k] = alphabet[(random >> 40) % (sizeof alphabet)];
        }
        arena_init(&a, 1 << 16);
        code = group_regex_check(s, message);
        assert_true(code == KERR_NONE || (code == KERR_INVALID_REGULAR_EXPRESSION && message[0]));
        if (code != KERR_NONE)
            assert_int_equal(group_regex_match(w.image, s, &a, &found),
                             KERR_INVALID_REGULAR_EXPRESSION);
        else
            group_regex_match(w.image, s, &a, &found);
        arena_free(&a);
    }
    image_world_free(&w);
}

static void a_spent_arena_is_an_error_not_a_crash(void **state)
{
    struct group_regex_topics found;
    struct image_world w;
    struct arena a;
    (void)state;

    add_topics(&w, 100);
    arena_init(&a, 16);
    assert_int_equal(group_regex_match(w.image, STR(".*"), &a, &found), KERR_INVALID_REQUEST);
    assert_int_equal(found.count, 0);
    arena_free(&a);
    image_world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(catastrophic_patterns_are_matched_in_no_time),
        cmocka_unit_test(a_pattern_with_too_many_states_is_refused_within_its_bounds),
        cmocka_unit_test(ordinary_patterns_match_many_topics),
        cmocka_unit_test(patterns_are_bounded_in_size_and_depth),
        cmocka_unit_test(whatever_bytes_are_sent_the_answer_is_yes_or_no),
        cmocka_unit_test(a_spent_arena_is_an_error_not_a_crash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
