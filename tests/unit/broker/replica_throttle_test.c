/* How fast replicas may catch up (KIP-73). */
#include "tests/unit/test.h"

#include "broker/replica_throttle.h"

static void what_was_sent_is_paid_for_in_time(void **state)
{
    struct replica_throttle t;
    (void)state;

    replica_throttle_init(&t);
    assert_false(replica_throttle_is_on(&t));
    replica_throttle_record(&t, 1000000, 5);
    assert_false(replica_throttle_exceeded(&t, 5)); /* nothing is counted while there is no limit */
    replica_throttle_set_rate(&t, 1000);
    assert_true(replica_throttle_is_on(&t));
    assert_false(replica_throttle_exceeded(&t, 1000));
    replica_throttle_record(&t, 500, 1000);
    assert_true(replica_throttle_exceeded(&t, 1000));
    replica_throttle_record(&t, 250, 2000); /* of another shard, at the same time */
    assert_true(replica_throttle_exceeded(&t, 750999));
    assert_false(replica_throttle_exceeded(&t, 751000));
    replica_throttle_record(&t, 1, 9000000); /* idle time is not saved up */
    assert_true(replica_throttle_exceeded(&t, 9000500));
}

static void another_rate_counts_from_now_on(void **state)
{
    struct replica_throttle t;
    (void)state;

    replica_throttle_init(&t);
    replica_throttle_set_rate(&t, 1);
    replica_throttle_record(&t, 1000, 0);
    replica_throttle_set_rate(&t, 1);
    assert_true(replica_throttle_exceeded(&t, 1000000));
    replica_throttle_set_rate(&t, 2000);
    assert_false(replica_throttle_exceeded(&t, 1000000));
    replica_throttle_set_rate(&t, 0); /* none at all */
    replica_throttle_record(&t, 1, 0);
    assert_true(replica_throttle_exceeded(&t, INT64_MAX - 1));
    replica_throttle_set_rate(&t, REPLICA_THROTTLE_NONE);
    assert_false(replica_throttle_exceeded(&t, 0));
}

static void list_names_pairs_of_partition_and_broker(void **state)
{
    (void)state;

    assert_false(throttled_replicas_name(STR_NULL, 0, 1));
    assert_false(throttled_replicas_name(STR(""), 0, 1));
    assert_true(throttled_replicas_name(STR("*"), 7, 1));
    assert_true(throttled_replicas_name(STR("0:1, 12:3"), 12, 3));
    assert_false(throttled_replicas_name(STR("0:1, 12:3"), 1, 3));
    assert_false(throttled_replicas_name(STR("0:1, 12:3"), 0, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sent_is_paid_for_in_time),
        cmocka_unit_test(another_rate_counts_from_now_on),
        cmocka_unit_test(list_names_pairs_of_partition_and_broker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
