/* Partitions move to other brokers (KIP-455). */
#include "tests/unit/test.h"

#include "tests/unit/replication/controller_world.h"

static int set_up(void **state)
{
    static struct controller_world w;

    world_init(&w);
    world_activate(&w);
    for (int32_t id = 1; id <= 6; id++)
        world_join(&w, id);
    world_create_on(&w, "t", IDS(1, 2, 3));
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    world_free(*state);
    return 0;
}

static enum kerr reassign_kept(struct controller_world *w, const char *topic, int32_t index,
                               struct id_list to, bool keep_replication_factor)
{
    struct reassign_partition q = {str_from(topic), index, to};
    struct controller_request r = {.operation = CONTROLLER_ALTER_REASSIGNMENTS};

    r.reassign.partitions = &q;
    r.reassign.count = 1;
    r.reassign.keep_replication_factor = keep_replication_factor;
    assert_int_equal(world_step(w, &r).code, KERR_NONE);
    return r.reassign.results[0].code;
}

static enum kerr reassign(struct controller_world *w, struct id_list to)
{
    return reassign_kept(w, "t", 0, to, false);
}

#define CANCEL ((struct id_list){0})

static const struct metadata_partition *t0(struct controller_world *w)
{
    return world_partition(w, "t", 0);
}

static void assert_settled(struct controller_world *w)
{
    assert_int_equal(t0(w)->adding.count, 0);
    assert_int_equal(t0(w)->removing.count, 0);
}

static void replicas_are_replaced_when_the_new_ones_are_in_sync(void **state)
{
    struct controller_world *w = *state;
    int32_t leader_epoch = t0(w)->leader_epoch;

    assert_int_equal(reassign(w, IDS(4, 2, 5)), KERR_NONE);
    assert_ids(t0(w)->replicas, 4, 2, 5, 1, 3);
    assert_ids(t0(w)->adding, 4, 5);
    assert_ids(t0(w)->removing, 1, 3);
    assert_ids(t0(w)->isr, 1, 2, 3);
    assert_int_equal(t0(w)->leader_epoch, leader_epoch);
    assert_int_equal(world_set_isr(w, "t", 0, IDS(1, 2, 3, 4)).code, KERR_NONE);
    assert_int_equal(t0(w)->replicas.count, 5);
    /* The ISR that completes it takes the leader away, who is told to look at the metadata. */
    assert_int_equal(world_set_isr(w, "t", 0, IDS(1, 2, 3, 4, 5)).code, KERR_NEW_LEADER_ELECTED);
    assert_ids(t0(w)->replicas, 4, 2, 5);
    assert_ids(t0(w)->isr, 2, 4, 5);
    assert_int_equal(t0(w)->leader, 4);
    assert_int_equal(t0(w)->leader_epoch, leader_epoch + 1);
    assert_settled(w);
}

static void leader_that_stays_learns_the_isr_without_those_removed(void **state)
{
    struct controller_world *w = *state;
    struct alter_partition_result result;
    int32_t leader_epoch = t0(w)->leader_epoch;

    assert_int_equal(reassign(w, IDS(1, 2, 4)), KERR_NONE);
    result = world_set_isr(w, "t", 0, IDS(1, 2, 3, 4));
    assert_int_equal(result.code, KERR_NONE);
    assert_ids(result.isr, 1, 2, 4);
    assert_int_equal(result.leader_epoch, leader_epoch + 1); /* the one removed learns by it */
    assert_ids(t0(w)->replicas, 1, 2, 4);
    assert_settled(w);
}

static void change_of_order_is_done_at_once_and_moves_no_leader(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(reassign(w, IDS(3, 1, 2)), KERR_NONE);
    assert_ids(t0(w)->replicas, 3, 1, 2);
    assert_int_equal(t0(w)->leader, 1);
    assert_settled(w);
}

static void fewer_replicas_are_left_at_once_when_one_of_them_is_in_sync(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(reassign(w, IDS(2)), KERR_NONE);
    assert_ids(t0(w)->replicas, 2);
    assert_ids(t0(w)->isr, 2);
    assert_int_equal(t0(w)->leader, 2);
    assert_settled(w);
}

static void directories_move_with_their_replicas(void **state)
{
    struct controller_world *w = *state;
    struct uuid of_2 = t0(w)->directories[1];

    assert_int_equal(reassign(w, IDS(4, 2)), KERR_NONE);
    assert_true(uuid_equal(t0(w)->directories[1], of_2));
    assert_true(uuid_equal(t0(w)->directories[0], metadata_image_broker(w->image, 4)->log_dirs[0]));
    world_set_isr(w, "t", 0, IDS(1, 2, 3, 4));
    assert_ids(t0(w)->replicas, 4, 2);
    assert_true(uuid_equal(t0(w)->directories[1], of_2));
}

static void cancelled_reassignment_leaves_all_as_it_was(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(reassign(w, CANCEL), KERR_NO_REASSIGNMENT_IN_PROGRESS);
    assert_int_equal(reassign(w, IDS(1, 4, 5)), KERR_NONE);
    world_set_isr(w, "t", 0, IDS(1, 2, 3, 4));
    assert_int_equal(reassign(w, CANCEL), KERR_NONE);
    assert_ids(t0(w)->isr, 1, 2, 3);
    assert_int_equal(t0(w)->replicas.count, 3);
    for (int32_t id = 1; id <= 3; id++)
        assert_true(id_list_contains(t0(w)->replicas, id));
    assert_int_equal(t0(w)->leader, 1);
    assert_settled(w);
}

/* Taken back, it would leave nobody in sync. */
static void cancel_that_would_lose_records_needs_the_topics_permission(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(reassign(w, IDS(4, 5, 6)), KERR_NONE);
    world_set_isr(w, "t", 0, IDS(1, 2, 3, 4));
    for (int32_t id = 1; id <= 3; id++)
        world_fence(w, id);
    assert_ids(t0(w)->isr, 4);
    assert_int_equal(reassign(w, CANCEL), KERR_INVALID_REPLICA_ASSIGNMENT);
    world_set_config(w, CONFIG_RESOURCE_TOPIC, "t", "unclean.leader.election.enable", CONFIG_SET,
                     "true");
    assert_int_equal(reassign(w, CANCEL), KERR_NONE);
    assert_int_equal(t0(w)->replicas.count, 3);
    assert_settled(w);
}

static void repeated_reassignment_changes_nothing(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(reassign(w, IDS(1, 2, 4)), KERR_NONE);
    assert_int_equal(reassign(w, IDS(1, 2, 4)), KERR_NONE);
    assert_int_equal(w->last_count, 0);
    assert_ids(t0(w)->adding, 4);
    assert_ids(t0(w)->removing, 3);
}

static void second_reassignment_replaces_the_first_and_cancel_goes_back_to_the_start(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(reassign(w, IDS(1, 2, 4)), KERR_NONE);
    assert_int_equal(reassign(w, IDS(1, 2, 3, 4, 5)), KERR_NONE);
    assert_ids(t0(w)->adding, 4, 5);
    assert_int_equal(t0(w)->removing.count, 0);
    assert_int_equal(reassign(w, CANCEL), KERR_NONE);
    assert_ids(t0(w)->replicas, 1, 2, 3);
    assert_settled(w);
}

static void assignments_that_make_no_sense_are_refused(void **state)
{
    struct controller_world *w = *state;
    static const int32_t none[1];

    assert_int_equal(reassign(w, (struct id_list){none, 0}), KERR_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign(w, IDS(1, 1)), KERR_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign(w, IDS(1, 77)), KERR_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(reassign_kept(w, "nothing", 0, IDS(1), false),
                     KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(reassign_kept(w, "t", 3, IDS(1), false), KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(w->last_count, 0);
}

/* KIP-860. */
static void request_for_more_partitions_than_one_may_name_is_refused(void **state)
{
    enum { MANY = CONTROLLER_REQUEST_PARTITIONS_MAX + 1 };
    static struct reassign_partition partitions[MANY];
    struct controller_world *w = *state;
    struct controller_request r = {.operation = CONTROLLER_ALTER_REASSIGNMENTS};

    for (size_t i = 0; i < MANY; i++)
        partitions[i] =
            (struct reassign_partition){STR("t"), 0, i % 2 ? IDS(1, 2, 3) : IDS(4, 5, 6)};
    r.reassign.partitions = partitions;
    r.reassign.count = MANY;
    assert_int_equal(world_step(w, &r).code, KERR_POLICY_VIOLATION);
    assert_int_equal(w->last_count, 0);
}

static void replication_factor_stays_when_the_client_says_so(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(reassign_kept(w, "t", 0, IDS(1, 2), true), KERR_INVALID_REPLICATION_FACTOR);
    assert_int_equal(reassign_kept(w, "t", 0, IDS(1, 2, 4), true), KERR_NONE);
    assert_int_equal(reassign_kept(w, "t", 0, IDS(1, 2, 4, 5), true),
                     KERR_INVALID_REPLICATION_FACTOR);
    assert_int_equal(reassign_kept(w, "t", 0, IDS(1, 2, 5), true), KERR_NONE);
}

static void reassignment_survives_a_new_controller_and_a_lost_broker(void **state)
{
    struct controller_world *w = *state;

    assert_int_equal(reassign(w, IDS(4, 5, 6)), KERR_NONE);
    world_fail_over(w);
    world_fence(w, 1);
    assert_int_equal(t0(w)->leader, 2);
    assert_int_equal(world_set_isr(w, "t", 0, IDS(2, 3, 4, 5, 6)).code, KERR_NEW_LEADER_ELECTED);
    assert_ids(t0(w)->replicas, 4, 5, 6);
    assert_int_equal(t0(w)->leader, 4);
}

/* A replica that was removed has no claim any more. */
static void removed_replica_is_not_eligible(void **state)
{
    struct controller_world *w = *state;

    world_set_config(w, CONFIG_RESOURCE_TOPIC, "t", "min.insync.replicas", CONFIG_SET, "3");
    world_fence(w, 3);
    assert_ids(t0(w)->elr, 3);
    assert_int_equal(reassign(w, IDS(1, 2)), KERR_NONE);
    assert_ids(t0(w)->replicas, 1, 2);
    assert_int_equal(t0(w)->elr.count, 0);
}

static void what_is_under_way_is_listed(void **state)
{
    struct controller_world *w = *state;
    struct topic_partition asked[3] = {{STR("t"), 0}, {STR("other"), 0}, {STR("nothing"), 0}};
    struct controller_request r = {.operation = CONTROLLER_LIST_REASSIGNMENTS};

    world_create_on(w, "other", IDS(1, 2));
    reassign(w, IDS(4, 2));
    for (int all = 0; all < 2; all++) {
        r.reassigning.all = all;
        r.reassigning.partitions = asked;
        r.reassigning.count = 3;
        assert_int_equal(world_step(w, &r).code, KERR_NONE);
        assert_int_equal(r.reassigning.result_count, 1);
        assert_true(str_equal(r.reassigning.results[0].topic, STR("t")));
        assert_ids(r.reassigning.results[0].replicas, 4, 2, 1, 3);
        assert_ids(r.reassigning.results[0].adding, 4);
        assert_ids(r.reassigning.results[0].removing, 1, 3);
        assert_int_equal(w->last_count, 0);
    }
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(replicas_are_replaced_when_the_new_ones_are_in_sync),
        STORY(leader_that_stays_learns_the_isr_without_those_removed),
        STORY(change_of_order_is_done_at_once_and_moves_no_leader),
        STORY(fewer_replicas_are_left_at_once_when_one_of_them_is_in_sync),
        STORY(directories_move_with_their_replicas),
        STORY(cancelled_reassignment_leaves_all_as_it_was),
        STORY(cancel_that_would_lose_records_needs_the_topics_permission),
        STORY(repeated_reassignment_changes_nothing),
        STORY(second_reassignment_replaces_the_first_and_cancel_goes_back_to_the_start),
        STORY(assignments_that_make_no_sense_are_refused),
        STORY(request_for_more_partitions_than_one_may_name_is_refused),
        STORY(replication_factor_stays_when_the_client_says_so),
        STORY(reassignment_survives_a_new_controller_and_a_lost_broker),
        STORY(removed_replica_is_not_eligible),
        STORY(what_is_under_way_is_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
