/* Who is in sync, and how far: the leader's view of its replicas (KIP-966). */
#include "tests/unit/test.h"

#include "replication/isr_core.h"

#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

static struct isr_membership members(const int32_t *replicas, size_t replica_count, const int32_t *isr,
                                     size_t isr_count, int32_t min_insync_replicas)
{
    return (struct isr_membership){1, replicas, replica_count, isr, isr_count, min_insync_replicas};
}

static struct isr leader_of(struct isr_membership m, int64_t high_watermark)
{
    struct isr s;

    assert_true(isr_init(&s, &m, high_watermark));
    return s;
}

static void lone_leader_moves_the_watermark_by_itself(void **state)
{
    struct isr s = leader_of(members(IDS(1), IDS(1), 1), 5);
    (void)state;

    assert_int_equal(isr_size(&s), 1);
    assert_true(isr_enough(&s));
    assert_int_equal(s.high_watermark, 5);
    assert_true(isr_flushed(&s, 1, 8));
    assert_int_equal(s.high_watermark, 8);
    isr_free(&s);
}

static void watermark_is_the_least_flushed_end_of_the_isr(void **state)
{
    struct isr s = leader_of(members(IDS(1, 2, 3), IDS(1, 2), 1), 0);
    (void)state;

    assert_false(isr_flushed(&s, 1, 100)); /* nothing heard of 2 yet */
    assert_false(isr_flushed(&s, 3, 50));  /* not in sync: does not count */
    assert_int_equal(s.high_watermark, 0);
    assert_true(isr_flushed(&s, 2, 70));
    assert_int_equal(s.high_watermark, 70);
    assert_true(isr_flushed(&s, 2, 120));
    assert_int_equal(s.high_watermark, 100);
    isr_free(&s);
}

static void watermark_never_goes_back(void **state)
{
    struct isr s = leader_of(members(IDS(1, 2), IDS(1), 1), 0);
    struct isr_membership both = members(IDS(1, 2), IDS(1, 2), 1);
    (void)state;

    assert_true(isr_flushed(&s, 1, 100));
    assert_true(isr_set_membership(&s, &both)); /* a follower that joins behind the watermark, however it came about */
    assert_false(isr_flushed(&s, 2, 60));
    assert_int_equal(s.high_watermark, 100);
    assert_false(isr_flushed(&s, 2, 100));
    assert_true(isr_flushed(&s, 1, 130) || isr_flushed(&s, 2, 130));
    assert_int_equal(s.high_watermark, 130);
    isr_free(&s);
}

static void news_that_are_old_or_of_strangers_change_nothing(void **state)
{
    struct isr s = leader_of(members(IDS(1, 2), IDS(1, 2), 1), 0);
    (void)state;

    assert_false(isr_flushed(&s, 1, 10));
    assert_true(isr_flushed(&s, 2, 10));
    assert_false(isr_flushed(&s, 2, 4)); /* a late fetch */
    assert_false(isr_flushed(&s, 9, 100));
    assert_int_equal(s.high_watermark, 10);
    isr_free(&s);
}

/* KIP-966: below min.insync.replicas the watermark stands still, and acks=all is refused. */
static void watermark_waits_while_the_isr_is_too_small(void **state)
{
    struct isr s = leader_of(members(IDS(1, 2, 3), IDS(1), 2), 0);
    struct isr_membership two = members(IDS(1, 2, 3), IDS(1, 3), 2);
    (void)state;

    assert_false(isr_enough(&s));
    assert_false(isr_flushed(&s, 1, 10));
    assert_int_equal(s.high_watermark, 0);
    assert_true(isr_set_membership(&s, &two));
    assert_true(isr_enough(&s));
    assert_int_equal(isr_size(&s), 2);
    assert_true(isr_flushed(&s, 3, 10));
    assert_int_equal(s.high_watermark, 10);
    isr_free(&s);
}

/* A minimum above the replication factor asks for every replica, not for more than there are. */
static void minimum_is_capped_by_the_replication_factor(void **state)
{
    struct isr s = leader_of(members(IDS(1, 2), IDS(1, 2), 5), 0);
    (void)state;

    assert_int_equal(s.min_isr, 2);
    assert_true(isr_enough(&s));
    isr_free(&s);
}

static void members_that_stay_keep_what_they_told(void **state)
{
    struct isr s = leader_of(members(IDS(1, 2), IDS(1, 2), 1), 0);
    struct isr_membership moved = members(IDS(3, 2, 1), IDS(2, 1), 1);
    struct isr_membership without = members(IDS(1, 3), IDS(1), 1);
    struct isr_membership back = members(IDS(1, 2, 3), IDS(1, 2), 1);
    (void)state;

    isr_flushed(&s, 1, 30);
    isr_flushed(&s, 2, 20);
    assert_true(isr_set_membership(&s, &moved));
    assert_int_equal(s.replica_count, 3);
    assert_true(isr_flushed(&s, 2, 25));
    assert_int_equal(s.high_watermark, 25);
    assert_true(isr_set_membership(&s, &without));
    assert_true(isr_set_membership(&s, &back)); /* it may have lost its disk meanwhile */
    assert_false(isr_flushed(&s, 1, 40));
    assert_int_equal(s.high_watermark, 25);
    assert_true(isr_flushed(&s, 2, 40));
    assert_int_equal(s.high_watermark, 40);
    isr_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lone_leader_moves_the_watermark_by_itself),
        cmocka_unit_test(watermark_is_the_least_flushed_end_of_the_isr),
        cmocka_unit_test(watermark_never_goes_back),
        cmocka_unit_test(news_that_are_old_or_of_strangers_change_nothing),
        cmocka_unit_test(watermark_waits_while_the_isr_is_too_small),
        cmocka_unit_test(minimum_is_capped_by_the_replication_factor),
        cmocka_unit_test(members_that_stay_keep_what_they_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
