/* Who leads, when brokers come and go, when a client asks, and by itself. */
#include "tests/unit/test.h"

#include "tests/unit/replication/controller_world.h"

#define BALANCE_MS (300 * 1000) /* leader.imbalance.check.interval.seconds */
#define UNCLEAN_MS (300 * 1000)

static int set_up(void **state)
{
    static struct controller_world w;

    world_init(&w);
    world_activate(&w);
    for (int32_t id = 1; id <= 4; id++)
        world_join(&w, id);
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    world_free(*state);
    return 0;
}

static enum kerr elect(struct controller_world *w, int8_t type, const char *topic, int32_t index)
{
    struct topic_partition q = {str_from(topic), index};
    struct controller_request r = {.operation = CONTROLLER_ELECT_LEADERS};

    r.election.type = type;
    r.election.partitions = &q;
    r.election.count = 1;
    assert_int_equal(world_step(w, &r).code, KERR_NONE);
    assert_int_equal(r.election.result_count, 1);
    return r.election.results[0].result.code;
}

static int32_t leader(struct controller_world *w, const char *topic)
{
    return world_partition(w, topic, 0)->leader;
}

/* Down to one replica in sync, then that one goes as well. */
static void lose_all_but_the_third(struct controller_world *w, const char *topic)
{
    world_set_isr(w, topic, 0, IDS(1));
    world_fence(w, 1);
    world_fence(w, 2);
}

/* ---- brokers come and go ---- */

static void next_replica_in_sync_leads_when_the_leader_is_fenced(void **state)
{
    struct controller_world *w = *state;
    int32_t epoch;

    world_create_on(w, "t", IDS(1, 2, 3));
    epoch = world_partition(w, "t", 0)->leader_epoch;
    world_set_isr(w, "t", 0, IDS(1, 3));
    world_fence(w, 1);
    assert_int_equal(leader(w, "t"), 3);
    assert_ids(world_partition(w, "t", 0)->isr, 3);
    assert_int_equal(world_partition(w, "t", 0)->leader_epoch, epoch + 1);
}

static void fenced_follower_leaves_the_isr_and_its_leader_stays(void **state)
{
    struct controller_world *w = *state;
    int32_t leader_epoch;

    world_create_on(w, "t", IDS(1, 2, 3));
    leader_epoch = world_partition(w, "t", 0)->leader_epoch;
    world_fence(w, 2);
    assert_int_equal(leader(w, "t"), 1);
    assert_ids(world_partition(w, "t", 0)->isr, 1, 3);
    assert_int_equal(world_partition(w, "t", 0)->leader_epoch, leader_epoch);
}

/* KIP-966: below the minimum the high watermark stands still, so whoever leaves has all of it. */
static void who_leaves_an_isr_below_the_minimum_may_lead_again(void **state)
{
    struct controller_world *w = *state;

    world_create_on(w, "t", IDS(1, 2, 3));
    world_set_config(w, CONFIG_RESOURCE_TOPIC, "t", "min.insync.replicas", CONFIG_SET, "2");
    world_fence(w, 3);
    assert_int_equal(world_partition(w, "t", 0)->elr.count, 0);
    world_fence(w, 2);
    assert_ids(world_partition(w, "t", 0)->isr, 1);
    assert_ids(world_partition(w, "t", 0)->elr, 2);
    world_fence(w, 1);
    assert_int_equal(leader(w, "t"), NO_LEADER);
    assert_int_equal(world_partition(w, "t", 0)->isr.count, 0);
    assert_ids(world_partition(w, "t", 0)->elr, 2, 1);
    assert_ids(world_partition(w, "t", 0)->last_known_elr, 1);
    world_beat(w, world_alive(w, 3));
    assert_int_equal(leader(w, "t"), NO_LEADER);
    world_beat(w, world_alive(w, 2));
    assert_int_equal(leader(w, "t"), 2);
    assert_ids(world_partition(w, "t", 0)->isr, 2);
    assert_ids(world_partition(w, "t", 0)->elr, 1);
    assert_int_equal(world_partition(w, "t", 0)->leader_recovery_state, LEADER_RECOVERED);
    world_beat(w, world_alive(w, 1));
    assert_int_equal(world_set_isr(w, "t", 0, IDS(2, 1)).code, KERR_NONE);
    assert_int_equal(world_partition(w, "t", 0)->elr.count, 0);
}

static void
broker_in_controlled_shutdown_hands_over_and_may_not_come_back_into_the_isr(void **state)
{
    struct controller_world *w = *state;
    struct broker_heartbeat bye;

    world_create_on(w, "t", IDS(1, 2, 3));
    bye = world_alive(w, 1);
    bye.want_shutdown = true;
    world_beat(w, bye);
    assert_int_equal(leader(w, "t"), 2);
    assert_ids(world_partition(w, "t", 0)->isr, 2, 3);
    assert_int_equal(world_set_isr(w, "t", 0, IDS(2, 3, 1)).code, KERR_INELIGIBLE_REPLICA);
}

static void fenced_broker_may_not_come_back_into_the_isr(void **state)
{
    struct controller_world *w = *state;

    world_create_on(w, "t", IDS(1, 2, 3));
    world_fence(w, 2);
    assert_int_equal(world_set_isr(w, "t", 0, IDS(1, 2, 3)).code, KERR_INELIGIBLE_REPLICA);
    world_beat(w, world_alive(w, 2));
    assert_int_equal(world_set_isr(w, "t", 0, IDS(1, 2, 3)).code, KERR_NONE);
}

/* ---- unclean elections ---- */

static void without_permission_a_partition_waits_for_who_has_its_records(void **state)
{
    struct controller_world *w = *state;

    world_create_on(w, "t", IDS(1, 2, 3));
    lose_all_but_the_third(w, "t");
    world_live(w, 2 * UNCLEAN_MS);
    assert_int_equal(leader(w, "t"), NO_LEADER);
}

static void with_permission_any_replica_alive_leads_and_must_recover(void **state)
{
    struct controller_world *w = *state;
    const struct metadata_partition *p;

    world_create_on(w, "t", IDS(1, 2, 3));
    world_set_config(w, CONFIG_RESOURCE_TOPIC, "t", "unclean.leader.election.enable", CONFIG_SET,
                     "true");
    lose_all_but_the_third(w, "t");
    p = world_partition(w, "t", 0);
    assert_int_equal(p->leader, 3);
    assert_ids(p->isr, 3);
    assert_int_equal(p->elr.count, 0);
    assert_int_equal(p->leader_recovery_state, LEADER_RECOVERING);
    assert_int_equal(world_set_isr(w, "t", 0, IDS(3)).code, KERR_NONE);
    assert_int_equal(world_partition(w, "t", 0)->leader_recovery_state, LEADER_RECOVERED);
}

/* Apache Kafka looks every five minutes only. */
static void permission_that_comes_late_is_used_at_once(void **state)
{
    struct controller_world *w = *state;

    world_create_on(w, "t", IDS(1, 2, 3));
    lose_all_but_the_third(w, "t");
    world_set_config(w, CONFIG_RESOURCE_TOPIC, "t", "unclean.leader.election.enable", CONFIG_SET,
                     "true");
    world_pass(w, 0);
    assert_int_equal(leader(w, "t"), 3);
}

static void permission_for_all_topics_counts_for_each(void **state)
{
    struct controller_world *w = *state;

    world_create_on(w, "t", IDS(1, 2, 3));
    lose_all_but_the_third(w, "t");
    world_set_config(w, CONFIG_RESOURCE_BROKER, "", "unclean.leader.election.enable", CONFIG_SET,
                     "true");
    world_pass(w, 0);
    assert_int_equal(leader(w, "t"), 3);
}

/* ---- ElectLeaders ---- */

static void preferred_leader_is_elected_when_it_is_in_sync_again(void **state)
{
    struct controller_world *w = *state;

    world_create_on(w, "t", IDS(1, 2, 3));
    assert_int_equal(elect(w, ELECT_PREFERRED, "t", 0), KERR_ELECTION_NOT_NEEDED);
    world_fence(w, 1);
    assert_int_equal(elect(w, ELECT_PREFERRED, "t", 0), KERR_PREFERRED_LEADER_NOT_AVAILABLE);
    world_beat(w, world_alive(w, 1));
    assert_int_equal(elect(w, ELECT_PREFERRED, "t", 0), KERR_PREFERRED_LEADER_NOT_AVAILABLE);
    world_set_isr(w, "t", 0, IDS(2, 3, 1));
    assert_int_equal(elect(w, ELECT_PREFERRED, "t", 0), KERR_NONE);
    assert_int_equal(leader(w, "t"), 1);
}

static void unclean_election_on_request_needs_no_permission_of_the_topic(void **state)
{
    struct controller_world *w = *state;

    world_create_on(w, "t", IDS(1, 2, 3));
    assert_int_equal(elect(w, ELECT_UNCLEAN, "t", 0), KERR_ELECTION_NOT_NEEDED);
    world_set_isr(w, "t", 0, IDS(1));
    world_fence(w, 2);
    world_fence(w, 3);
    world_fence(w, 1);
    assert_int_equal(elect(w, ELECT_UNCLEAN, "t", 0), KERR_ELIGIBLE_LEADERS_NOT_AVAILABLE);
    world_beat(w, world_alive(w, 3));
    assert_int_equal(leader(w, "t"), NO_LEADER);
    assert_int_equal(elect(w, ELECT_UNCLEAN, "t", 0), KERR_NONE);
    assert_int_equal(leader(w, "t"), 3);
    assert_int_equal(world_partition(w, "t", 0)->leader_recovery_state, LEADER_RECOVERING);
}

static void election_of_what_does_not_exist_is_refused(void **state)
{
    struct controller_world *w = *state;
    struct controller_request r = {.operation = CONTROLLER_ELECT_LEADERS};

    world_create_on(w, "t", IDS(1));
    assert_int_equal(elect(w, ELECT_PREFERRED, "nothing", 0), KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(elect(w, ELECT_PREFERRED, "t", 1), KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(elect(w, ELECT_PREFERRED, "t", -1), KERR_UNKNOWN_TOPIC_OR_PARTITION);
    r.election.type = 2;
    assert_int_equal(world_step(w, &r).code, KERR_INVALID_REQUEST);
}

static void election_of_all_tells_of_those_that_needed_one(void **state)
{
    struct controller_world *w = *state;
    struct controller_request r = {.operation = CONTROLLER_ELECT_LEADERS};

    world_create_on(w, "a", IDS(1, 2));
    world_create_on(w, "b", IDS(1, 3));
    world_create_on(w, "c", IDS(4, 3));
    world_fence(w, 1);
    world_beat(w, world_alive(w, 1));
    world_set_isr(w, "a", 0, IDS(2, 1));
    r.election.type = ELECT_PREFERRED;
    r.election.all = true;
    assert_int_equal(world_step(w, &r).code, KERR_NONE);
    assert_int_equal(r.election.result_count, 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(r.election.results[i].result.code,
                         str_equal(r.election.results[i].topic, STR("a"))
                             ? KERR_NONE
                             : KERR_PREFERRED_LEADER_NOT_AVAILABLE);
    assert_int_equal(leader(w, "a"), 1);
    assert_int_equal(leader(w, "b"), 3);
}

/* ---- balance ---- */

static void preferred_leaders_come_back_by_themselves(void **state)
{
    struct controller_world *w = *state;

    world_create_on(w, "t", IDS(1, 2, 3));
    world_fence(w, 1);
    world_beat(w, world_alive(w, 1));
    world_set_isr(w, "t", 0, IDS(2, 3, 1));
    world_live(w, BALANCE_MS);
    assert_int_equal(leader(w, "t"), 1);
}

static void balance_can_be_turned_off(void **state)
{
    struct controller_world *w = *state;

    config_values_set(w->given, STR("auto.leader.rebalance.enable"), STR("false"), NULL);
    world_fail_over(w);
    world_create_on(w, "t", IDS(1, 2, 3));
    world_fence(w, 1);
    world_beat(w, world_alive(w, 1));
    world_set_isr(w, "t", 0, IDS(2, 3, 1));
    world_live(w, 2 * BALANCE_MS);
    assert_int_equal(leader(w, "t"), 2);
}

static void many_leaders_come_back_a_thousand_at_a_time(void **state)
{
    struct controller_world *w = *state;
    struct controller_request r = {.operation = CONTROLLER_ALTER_PARTITIONS};
    static struct alter_partition q[2500];
    static struct isr_member both[2];
    size_t most = 0, elected = 0;
    int64_t end_ms;

    assert_int_equal(world_create(w, "t", 2500, 4).result.code, KERR_NONE);
    world_fence(w, 1);
    world_beat(w, world_alive(w, 1));
    for (int i = 0; i < 2500; i++) {
        const struct metadata_partition *p = world_partition(w, "t", i);

        if (p->replicas.ids[0] != 1)
            continue;
        both[0] = (struct isr_member){p->leader, -1};
        both[1] = (struct isr_member){1, -1};
        q[0] = (struct alter_partition){
            world_topic(w, "t")->id, i, p->leader_epoch, p->partition_epoch, 0, both, 2};
        r.isr.broker_id = p->leader;
        r.isr.broker_epoch = metadata_image_broker(w->image, p->leader)->epoch;
        r.isr.partitions = q;
        r.isr.count = 1;
        assert_int_equal(world_step(w, &r).code, KERR_NONE);
        elected++;
    }
    assert_true(elected > 500);
    end_ms = w->now_ms + BALANCE_MS;
    world_live(w, BALANCE_MS - 1);
    while (w->now_ms < end_ms + 100) {
        world_pass(w, 1);
        most = w->last_count > most ? w->last_count : most;
    }
    assert_true(most <= 1000);
    for (int i = 0; i < 2500; i++)
        assert_int_equal(world_partition(w, "t", i)->leader,
                         world_partition(w, "t", i)->replicas.ids[0]);
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(next_replica_in_sync_leads_when_the_leader_is_fenced),
        STORY(fenced_follower_leaves_the_isr_and_its_leader_stays),
        STORY(who_leaves_an_isr_below_the_minimum_may_lead_again),
        STORY(broker_in_controlled_shutdown_hands_over_and_may_not_come_back_into_the_isr),
        STORY(fenced_broker_may_not_come_back_into_the_isr),
        STORY(without_permission_a_partition_waits_for_who_has_its_records),
        STORY(with_permission_any_replica_alive_leads_and_must_recover),
        STORY(permission_that_comes_late_is_used_at_once),
        STORY(permission_for_all_topics_counts_for_each),
        STORY(preferred_leader_is_elected_when_it_is_in_sync_again),
        STORY(unclean_election_on_request_needs_no_permission_of_the_topic),
        STORY(election_of_what_does_not_exist_is_refused),
        STORY(election_of_all_tells_of_those_that_needed_one),
        STORY(preferred_leaders_come_back_by_themselves),
        STORY(balance_can_be_turned_off),
        STORY(many_leaders_come_back_a_thousand_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
