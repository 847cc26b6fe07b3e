#include "tests/unit/test.h"

#include "broker/coordinator/heartbeat_pace.h"

#define CONFIGURED 5000

/* Seconds of members that follow what they are told, at once. */
static int32_t after_seconds(int64_t members, int seconds, int32_t interval_ms)
{
    for (int i = 0; i < seconds; i++)
        interval_ms = heartbeat_pace(members * 1000 / interval_ms, 1000, interval_ms, CONFIGURED);
    return interval_ms;
}

static void few_members_heartbeat_five_times_a_second(void **state)
{
    (void)state;
    assert_int_equal(heartbeat_pace(0, 1000, 200, CONFIGURED), 200);
    assert_int_equal(heartbeat_pace(4, 1000, 200, CONFIGURED), 200);
    assert_int_equal(after_seconds(800, 20, 200), 200);
    assert_int_equal(after_seconds(10, 20, CONFIGURED), 200);
}

static void more_members_are_spread_until_they_make_four_thousand_heartbeats_a_second(void **state)
{
    (void)state;
    assert_in_range(after_seconds(2000, 20, 200), 495, 505);
    assert_in_range(after_seconds(8000, 20, 200), 1990, 2010);
    assert_in_range(after_seconds(8000, 20, CONFIGURED), 1990, 2010);
}

static void the_interval_never_exceeds_what_is_configured(void **state)
{
    (void)state;
    assert_int_equal(after_seconds(1000000, 20, 500), CONFIGURED);
    assert_int_equal(heartbeat_pace(100000, 1000, 150, 150), 150);
    assert_int_equal(heartbeat_pace(0, 1000, 150, 150), 150); /* configured below our own least */
}

static void one_step_at_most_doubles_or_halves_it(void **state)
{
    (void)state;
    assert_int_equal(heartbeat_pace(1000000, 1000, 500, CONFIGURED), 1000);
    assert_int_equal(heartbeat_pace(0, 1000, 4000, CONFIGURED), 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_members_heartbeat_five_times_a_second),
        cmocka_unit_test(more_members_are_spread_until_they_make_four_thousand_heartbeats_a_second),
        cmocka_unit_test(the_interval_never_exceeds_what_is_configured),
        cmocka_unit_test(one_step_at_most_doubles_or_halves_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
