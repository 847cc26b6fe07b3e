#include "tests/unit/test.h"

#include <string.h>

#include "protocol/base/arena.h"

/* Past its budget an arena says NULL instead of growing, and still serves what fits. */
static void allocation_past_the_budget_is_refused(void **state)
{
    struct arena a;
    (void)state;

    arena_init(&a, 64 * 1024);
    assert_null(arena_alloc(&a, 64 * 1024));
    assert_non_null(arena_alloc(&a, 32 * 1024));
    assert_null(arena_alloc(&a, 48 * 1024));
    assert_non_null(arena_alloc(&a, 100));
    assert_true(a.used <= a.budget);
    arena_free(&a);
}

static void product_that_overflows_is_refused(void **state)
{
    struct arena a;
    (void)state;

    arena_init(&a, 1 << 20);
    assert_null(arena_zalloc(&a, SIZE_MAX / 2, 4));
    assert_null(arena_alloc(&a, SIZE_MAX));
    arena_free(&a);
}

static void empty_array_is_not_null(void **state)
{
    struct arena a;
    (void)state;

    arena_init(&a, 1 << 20);
    assert_non_null(arena_array(&a, int64_t, 0));
    arena_free(&a);
}

static void reset_keeps_at_most_one_small_chunk(void **state)
{
    struct arena a;
    (void)state;

    arena_init(&a, 1 << 20);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100; i++)
            memset(arena_alloc(&a, 1000), 0xee, 1000);
        arena_reset(&a);
        assert_true(a.used <= 4096);
    }
    arena_free(&a);
    assert_int_equal(a.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocation_past_the_budget_is_refused),
        cmocka_unit_test(product_that_overflows_is_refused),
        cmocka_unit_test(empty_array_is_not_null),
        cmocka_unit_test(reset_keeps_at_most_one_small_chunk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
