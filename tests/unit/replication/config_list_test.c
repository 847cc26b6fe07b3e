/* Lists as a whole: appended to, taken from, looked through for repeats. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "protocol/wire.h"
#include "replication/config_list.h"

#define ARENA_BYTES ((size_t)64 << 20)

static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, ARENA_BYTES);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static void assert_text(struct str got, const char *want)
{
    assert_non_null(got.data);
    assert_int_equal(got.size, strlen(want));
    assert_memory_equal(got.data, want, got.size);
}

static void appended(const char *list, const char *more, const char *want)
{
    assert_text(config_list_append(&arena, str_from(list), str_from(more)), want);
}

static void subtracted(const char *list, const char *more, const char *want)
{
    assert_text(config_list_subtract(&arena, str_from(list), str_from(more)), want);
}

static void items_are_appended_in_order_and_once(void **state)
{
    (void)state;
    appended("c,a", "b,d", "c,a,b,d");
    appended("c,a", "a,b,c,b", "c,a,b");
    appended("", "b,a", "b,a");
    appended(" c , a ", " b", "c,a,b");
    appended("ab", "a,b", "ab,a,b");
}

static void items_are_taken_out_wherever_they_are(void **state)
{
    (void)state;
    subtracted("a,b,c", "b", "a,c");
    subtracted("a,b,a", "a,x", "b");
    subtracted("a,b", "b , a", "");
    subtracted("", "a", "");
    subtracted("ab,a", "b", "ab,a");
}

static void repeats_are_found_however_far_apart(void **state)
{
    (void)state;
    assert_true(config_list_repeats(STR("a,b,c, a")));
    assert_false(config_list_repeats(STR("a,b,c,aa")));
    assert_false(config_list_repeats(STR("a")));
    assert_false(config_list_repeats(STR_NULL));
}

static void spent_arena_is_told(void **state)
{
    struct arena small;
    (void)state;

    arena_init(&small, 1);
    assert_null(config_list_append(&small, STR("a"), STR("b")).data);
    assert_null(config_list_subtract(&small, STR("a"), STR("b")).data);
    arena_free(&small);
}

/* As long as the wire lets them be, many times: one request may carry thousands. Comparing each
 * item with each other took half a second for each such list. */
static void long_lists_take_no_longer_than_sorting_them(void **state)
{
    static char items[WIRE_STRING_BYTES_MAX + 1], more[WIRE_STRING_BYTES_MAX + 1];
    clock_t began;
    (void)state;

    for (size_t i = 0; i + 6 <= WIRE_STRING_BYTES_MAX; i += 6) {
        snprintf(items + i, 7, "%05zu,", i / 6);
        snprintf(more + i, 7, "%05zu,", 50000 + i / 6);
    }
    items[strlen(items) - 1] = more[strlen(more) - 1] = '\0';
    began = clock();
    for (int i = 0; i < 100; i++) {
        arena_reset(&arena);
        assert_int_equal(config_list_append(&arena, str_from(items), str_from(more)).size,
                         strlen(items) + 1 + strlen(more));
        assert_int_equal(config_list_subtract(&arena, str_from(items), str_from(more)).size,
                         strlen(items));
        assert_false(config_list_repeats(str_from(items)));
    }
    assert_true(clock() - began < 10 * CLOCKS_PER_SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(items_are_appended_in_order_and_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(items_are_taken_out_wherever_they_are, set_up, tear_down),
        cmocka_unit_test_setup_teardown(repeats_are_found_however_far_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(spent_arena_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_lists_take_no_longer_than_sorting_them, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
