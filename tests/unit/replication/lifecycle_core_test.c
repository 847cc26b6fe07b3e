/* When a broker tells the controller what. */
#include "tests/unit/test.h"

#include "replication/lifecycle_core.h"

static struct lifecycle_core fresh(void)
{
    struct lifecycle_core c = {
        .heartbeat_us = 250000, .registration_us_max = 60000000, .shutdown_us_max = 5000000};

    lifecycle_init(&c, 0);
    return c;
}

static enum lifecycle_action next(struct lifecycle_core *c, int64_t now_us)
{
    int64_t wake_us;

    return lifecycle_next(c, now_us, &wake_us);
}

static int64_t wake(struct lifecycle_core *c, int64_t now_us)
{
    int64_t wake_us;

    assert_int_equal(lifecycle_next(c, now_us, &wake_us), LIFECYCLE_NOTHING);
    return wake_us;
}

/* Registered as epoch 7, seen in the image, logs open, unfenced: at time 0. */
static struct lifecycle_core running(void)
{
    struct lifecycle_core c = fresh();

    lifecycle_controller(&c, true, 0);
    assert_int_equal(next(&c, 0), LIFECYCLE_REGISTER);
    assert_true(lifecycle_registered(&c, KERR_NONE, 7, 0));
    c.image_has_us = c.logs_ready = true;
    assert_int_equal(next(&c, 0), LIFECYCLE_HEARTBEAT);
    lifecycle_beaten(&c, KERR_NONE, false, false, 0);
    assert_int_equal(c.state, LIFECYCLE_RUNNING);
    return c;
}

static void nothing_waits_for_a_timer_on_the_way_up(void **state)
{
    struct lifecycle_core c = fresh();

    (void)state;
    assert_int_equal(next(&c, 0), LIFECYCLE_NOTHING);
    lifecycle_controller(&c, true, 0);
    assert_int_equal(next(&c, 0), LIFECYCLE_REGISTER);
    assert_int_equal(next(&c, 0), LIFECYCLE_NOTHING);
    assert_true(lifecycle_registered(&c, KERR_NONE, 7, 0));
    assert_int_equal(next(&c, 0), LIFECYCLE_NOTHING);
    c.image_has_us = true;
    assert_int_equal(next(&c, 0), LIFECYCLE_NOTHING);
    c.logs_ready = true;
    assert_int_equal(next(&c, 0), LIFECYCLE_HEARTBEAT);
    assert_false(lifecycle_wants_fence(&c));
    lifecycle_beaten(&c, KERR_NONE, false, false, 0);
    assert_int_equal(c.state, LIFECYCLE_RUNNING);
}

static void broker_that_still_opens_its_logs_stays_fenced_but_is_heard(void **state)
{
    struct lifecycle_core c = fresh();

    (void)state;
    lifecycle_controller(&c, true, 0);
    next(&c, 0);
    lifecycle_registered(&c, KERR_NONE, 7, 0);
    assert_int_equal(wake(&c, 0), 250000);
    assert_int_equal(next(&c, 250000), LIFECYCLE_HEARTBEAT);
    assert_true(lifecycle_wants_fence(&c));
    lifecycle_beaten(&c, KERR_NONE, true, false, 250000);
    assert_int_equal(c.state, LIFECYCLE_CATCHING_UP);
}

static void running_broker_beats_at_its_interval(void **state)
{
    struct lifecycle_core c = running();

    (void)state;
    assert_int_equal(wake(&c, 1), 250000);
    assert_int_equal(next(&c, 250000), LIFECYCLE_HEARTBEAT);
    assert_int_equal(wake(&c, 600000), INT64_MAX); /* one at a time */
    lifecycle_beaten(&c, KERR_NETWORK_EXCEPTION, true, false, 600000);
    assert_int_equal(wake(&c, 600001), 700000);
    assert_int_equal(c.state, LIFECYCLE_RUNNING);
}

static void broker_that_sees_itself_fenced_beats_at_once(void **state)
{
    struct lifecycle_core c = running();

    (void)state;
    lifecycle_seen_fenced(&c);
    assert_int_equal(c.state, LIFECYCLE_UNFENCING);
    assert_int_equal(next(&c, 1), LIFECYCLE_HEARTBEAT);
    lifecycle_beaten(&c, KERR_NONE, true, false, 2);
    assert_int_equal(wake(&c, 2), 20002);
}

static void new_controller_hears_from_us_at_once(void **state)
{
    struct lifecycle_core c = running();

    (void)state;
    lifecycle_controller(&c, false, 300000);
    assert_int_equal(wake(&c, 300000), INT64_MAX);
    lifecycle_controller(&c, true, 0);
    assert_int_equal(next(&c, 300000), LIFECYCLE_HEARTBEAT);
}

static void lost_registration_is_made_again(void **state)
{
    struct lifecycle_core c = running();

    (void)state;
    next(&c, 250000);
    lifecycle_beaten(&c, KERR_STALE_BROKER_EPOCH, true, false, 250000);
    assert_int_equal(c.state, LIFECYCLE_STARTING);
    assert_int_equal(next(&c, 350000), LIFECYCLE_REGISTER);
    lifecycle_registered(&c, KERR_NONE, 99, 350000);
    assert_int_equal(c.epoch, 99);
    assert_false(c.image_has_us);
}

/* What it said of the run before turns out not to be true: said again before anybody relies on it,
 * but not by one who serves already. */
static void registration_is_made_again_until_the_broker_serves(void **state)
{
    struct lifecycle_core c = fresh();

    (void)state;
    lifecycle_start_over(&c, 0); /* nothing said yet */
    lifecycle_controller(&c, true, 0);
    assert_int_equal(next(&c, 0), LIFECYCLE_REGISTER);
    lifecycle_start_over(&c, 10); /* while it is being said */
    assert_int_equal(next(&c, 10), LIFECYCLE_REGISTER);
    assert_true(lifecycle_registered(&c, KERR_NONE, 7, 20));
    c.image_has_us = true;
    lifecycle_start_over(&c, 30); /* said */
    assert_int_equal(c.state, LIFECYCLE_STARTING);
    assert_int_equal(next(&c, 30), LIFECYCLE_REGISTER);
    assert_true(lifecycle_registered(&c, KERR_NONE, 9, 40));
    c.logs_ready = true;
    assert_int_equal(next(&c, 40), LIFECYCLE_NOTHING); /* the image has the registration before */
    c.image_has_us = true;
    assert_int_equal(next(&c, 40), LIFECYCLE_HEARTBEAT);
    lifecycle_start_over(&c, 50);
    assert_int_equal(c.state, LIFECYCLE_UNFENCING);
    c = running();
    lifecycle_start_over(&c, 60);
    assert_int_equal(c.state, LIFECYCLE_RUNNING);
}

static void refusals_for_good_end_it_others_are_retried(void **state)
{
    static const enum kerr for_good[] = {KERR_INCONSISTENT_CLUSTER_ID, KERR_INVALID_REGISTRATION,
                                         KERR_UNSUPPORTED_VERSION};
    struct lifecycle_core c;

    (void)state;
    for (size_t i = 0; i < sizeof for_good / sizeof for_good[0]; i++) {
        c = fresh();
        lifecycle_controller(&c, true, 0);
        next(&c, 0);
        assert_false(lifecycle_registered(&c, for_good[i], -1, 0));
        assert_int_equal(wake(&c, 70000000), INT64_MAX);
    }
    c = fresh();
    lifecycle_controller(&c, true, 0);
    next(&c, 0);
    assert_true(lifecycle_registered(&c, KERR_DUPLICATE_BROKER_REGISTRATION, -1, 0));
    assert_int_equal(wake(&c, 0), 100000);
    assert_int_equal(next(&c, 100000), LIFECYCLE_REGISTER);
}

static void broker_that_nobody_takes_in_gives_up_in_time(void **state)
{
    struct lifecycle_core c = fresh();

    (void)state;
    assert_int_equal(wake(&c, 0), 60000000);
    assert_int_equal(next(&c, 60000000), LIFECYCLE_GIVE_UP);
    assert_int_equal(next(&c, 60000001), LIFECYCLE_NOTHING);
}

static void leaving_asks_until_it_may_go(void **state)
{
    struct lifecycle_core c = running();

    (void)state;
    lifecycle_leave(&c, 1000);
    assert_int_equal(next(&c, 1000), LIFECYCLE_HEARTBEAT);
    assert_true(lifecycle_wants_shutdown(&c));
    lifecycle_beaten(&c, KERR_NONE, false, false, 2000);
    assert_int_equal(wake(&c, 2000), 22000);
    assert_int_equal(next(&c, 22000), LIFECYCLE_HEARTBEAT);
    lifecycle_beaten(&c, KERR_NONE, true, true, 23000);
    assert_int_equal(c.state, LIFECYCLE_GONE);
}

static void leaving_ends_without_consent_when_nobody_answers(void **state)
{
    struct lifecycle_core c = running();

    (void)state;
    lifecycle_leave(&c, 1000);
    assert_int_equal(next(&c, 1000), LIFECYCLE_HEARTBEAT);
    assert_int_equal(wake(&c, 1000), 5001000);
    next(&c, 5001000);
    assert_int_equal(c.state, LIFECYCLE_GONE);
}

/* The last ones of a quorum that is stopped all at once. */
static void leaving_does_not_wait_long_for_a_controller_to_be_found(void **state)
{
    struct lifecycle_core c = running();

    (void)state;
    lifecycle_controller(&c, false, 500);
    lifecycle_leave(&c, 1000);
    assert_int_equal(wake(&c, 1000), 1001000);
    lifecycle_controller(&c, true, 900000); /* found again */
    assert_int_equal(next(&c, 900000), LIFECYCLE_HEARTBEAT);
    lifecycle_controller(&c, false, 950000);
    assert_int_equal(wake(&c, 950000), 1950000);
    next(&c, 1950000);
    assert_int_equal(c.state, LIFECYCLE_GONE);
}

/* A broker that leaves may go once the others act on that: they say so without waiting for their
 * next heartbeat. */
static void news_that_others_wait_for_are_told_at_once(void **state)
{
    struct lifecycle_core c = running();

    (void)state;
    next(&c, 300000);
    lifecycle_beaten(&c, KERR_NONE, false, false, 300000);
    assert_int_equal(next(&c, 300001), LIFECYCLE_NOTHING);
    lifecycle_hurry(&c);
    assert_int_equal(next(&c, 300001), LIFECYCLE_HEARTBEAT);
}

/* A session from when it was sent: the controller cannot have heard it earlier. */
static void only_heartbeats_that_were_heard_keep_a_broker_from_doubting(void **state)
{
    struct lifecycle_core c = running();

    (void)state;
    c.session_us = 2000000;
    assert_int_equal(next(&c, 250000), LIFECYCLE_HEARTBEAT);
    lifecycle_beaten(&c, KERR_NONE, false, false, 900000);
    assert_int_equal(c.trusted_until_us, 2250000);
    assert_int_equal(next(&c, 1200000), LIFECYCLE_HEARTBEAT);
    lifecycle_beaten(&c, KERR_NETWORK_EXCEPTION, false, false, 1300000);
    assert_int_equal(c.trusted_until_us, 2250000);
    assert_int_equal(next(&c, 1500000), LIFECYCLE_HEARTBEAT);
    lifecycle_beaten(&c, KERR_NONE, true, false, 1600000); /* heard, but fenced already */
    assert_int_equal(c.trusted_until_us, 2250000);
}

static void broker_that_was_never_taken_in_just_goes(void **state)
{
    struct lifecycle_core c = fresh();

    (void)state;
    lifecycle_leave(&c, 0);
    assert_int_equal(c.state, LIFECYCLE_GONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_waits_for_a_timer_on_the_way_up),
        cmocka_unit_test(broker_that_still_opens_its_logs_stays_fenced_but_is_heard),
        cmocka_unit_test(running_broker_beats_at_its_interval),
        cmocka_unit_test(broker_that_sees_itself_fenced_beats_at_once),
        cmocka_unit_test(new_controller_hears_from_us_at_once),
        cmocka_unit_test(lost_registration_is_made_again),
        cmocka_unit_test(registration_is_made_again_until_the_broker_serves),
        cmocka_unit_test(refusals_for_good_end_it_others_are_retried),
        cmocka_unit_test(broker_that_nobody_takes_in_gives_up_in_time),
        cmocka_unit_test(leaving_asks_until_it_may_go),
        cmocka_unit_test(leaving_ends_without_consent_when_nobody_answers),
        cmocka_unit_test(leaving_does_not_wait_long_for_a_controller_to_be_found),
        cmocka_unit_test(news_that_others_wait_for_are_told_at_once),
        cmocka_unit_test(only_heartbeats_that_were_heard_keep_a_broker_from_doubting),
        cmocka_unit_test(broker_that_was_never_taken_in_just_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
