#include "tests/unit/test.h"

#include <string.h>

#include "broker/coordinator/group_consumer.h"
#include "tests/unit/broker/coordinator/group_members.h"

/* ConsumerGroupHeartbeat, path by path, and every error it has (KIP-848). */

struct scene {
    struct group_world *w;
    struct group_members members;
};

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);

    s->w = world_new(1);
    s->w->config.consumer_assignment_interval_ms = 0;
    group_members_init(&s->members, s->w);
    image_world_topic(&s->w->images, "t", 4);
    image_world_topic(&s->w->images, "u", 3);
    world_new_image(s->w);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;

    world_check_reload(s->w, "g");
    world_free(s->w);
    free(s);
    return 0;
}

static struct group_member *member(struct scene *s, const char *name)
{
    return group_member(&s->members, name);
}

static enum kerr heartbeat(struct scene *s, const char *name)
{
    struct group_member *m = member(s, name);

    member_heartbeat(&s->members, m);
    return m->code;
}

static const char *has(struct scene *s, const char *name)
{
    return member_has(&s->members, member(s, name));
}

static enum kerr leaves(struct scene *s, const char *name, int32_t epoch)
{
    member_leaves(&s->members, member(s, name), epoch);
    return member(s, name)->code;
}

/* Everybody heartbeats until nobody gets anything new. */
static void settle(struct scene *s)
{
    for (int round = 0; round < 6; round++)
        for (size_t i = 0; i < s->members.count; i++)
            if (s->members.all[i].epoch >= 0)
                member_heartbeat(&s->members, &s->members.all[i]);
}

static const struct consumer_group *group(struct scene *s)
{
    return group_find(s->w->core, STR("g"))->consumer;
}

static const struct consumer_member *inside(struct scene *s, const char *id)
{
    return consumer_member_find(group(s), str_from(id));
}

static enum kerr request(struct scene *s, const struct group_consumer_heartbeat *r)
{
    struct world_call *call;
    char name[64];

    snprintf(name, sizeof name, "%.*s", STR_ARG(r->group));
    call = world_call(s->w, name, GROUP_CONSUMER_HEARTBEAT, "consumer heartbeat");
    group_core_consumer_heartbeat(s->w->core, &call->caller, r, s->w->now_ms, &s->w->fx);
    world_done(s->w);
    return call->caller.code;
}

/* ---- joining and moving ---- */

static void the_first_member_has_everything_with_its_first_answer(void **state)
{
    struct scene *s = *state;

    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    assert_string_equal(has(s, "a"), "t-0 t-1 t-2 t-3");
    assert_int_equal(member(s, "a")->epoch, 2);
    assert_true(str_equal(consumer_group_state(group_find(s->w->core, STR("g"))), STR("Stable")));
    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    assert_false(member(s, "a")->got_assignment);
}

static void a_second_member_waits_until_the_first_gave_back(void **state)
{
    struct scene *s = *state;

    heartbeat(s, "a");
    assert_int_equal(heartbeat(s, "b"), KERR_NONE);
    assert_string_equal(has(s, "b"), "");
    assert_int_equal(inside(s, "b")->state, MEMBER_UNRELEASED);
    member(s, "a")->lazy = true;
    heartbeat(s, "a"); /* is told, and keeps on working */
    assert_int_equal(inside(s, "a")->state, MEMBER_UNREVOKED);
    heartbeat(s, "a");
    heartbeat(s, "b");
    assert_string_equal(has(s, "b"), "");
    member_gives_back(member(s, "a"));
    heartbeat(s, "a");
    assert_int_equal(member(s, "a")->epoch, 3);
    heartbeat(s, "b");
    assert_string_equal(has(s, "b"), "t-2 t-3");
    assert_string_equal(has(s, "a"), "t-0 t-1");
}

/* librdkafka lets a heartbeat go after half a second, and does not say all of itself in the next
 * one. */
static void who_missed_that_it_is_to_give_back_is_told_again(void **state)
{
    struct scene *s = *state;

    heartbeat(s, "a");
    heartbeat(s, "b");
    member(s, "a")->lazy = true;
    heartbeat(s, "a");
    assert_true(member(s, "a")->got_assignment);
    member(s, "a")->got_assignment = false; /* that answer was lost */
    heartbeat(s, "a");
    assert_true(member(s, "a")->got_assignment);
    member_gives_back(member(s, "a"));
    heartbeat(s, "a");
    heartbeat(s, "a");
    assert_false(member(s, "a")->got_assignment);
}

/* The goal: a second member owns its partitions within 700 ms, whoever's heartbeat falls when. */
static void a_second_member_has_its_share_within_700_ms(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a"), *b = member(s, "b");

    s->w->config.consumer_assignment_interval_ms = 1000;
    group_core_set_heartbeat_interval(s->w->core, 500);
    for (int64_t phase = 0; phase < 500; phase += 50) {
        int64_t joined, next_a, next_b;

        heartbeat(s, "a");
        assert_int_equal(a->interval_ms, 500);
        world_wait(s->w, 2000);
        heartbeat(s, "a");
        next_a = s->w->now_ms + 500;
        world_wait(s->w, phase);
        joined = s->w->now_ms;
        heartbeat(s, "b");
        next_b = s->w->now_ms + b->interval_ms;
        while (!b->owned.count) {
            int64_t next = next_a < next_b ? next_a : next_b;

            world_wait(s->w, next - s->w->now_ms);
            if (next_a <= s->w->now_ms) {
                heartbeat(s, "a");
                heartbeat(s, "a"); /* a client says at once that it has given back */
                next_a = s->w->now_ms + a->interval_ms;
            }
            if (next_b <= s->w->now_ms) {
                heartbeat(s, "b");
                next_b = s->w->now_ms + b->interval_ms;
            }
        }
        assert_true(s->w->now_ms - joined <= 700);
        leaves(s, "b", -1);
        world_wait(s->w, 2000);
    }
}

static void who_leaves_has_its_partitions_taken_over_at_the_next_heartbeat(void **state)
{
    struct scene *s = *state;

    heartbeat(s, "a");
    heartbeat(s, "b");
    settle(s);
    assert_int_equal(leaves(s, "b", -1), KERR_NONE);
    assert_int_equal(member(s, "b")->epoch, -1);
    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    assert_string_equal(has(s, "a"), "t-0 t-1 t-2 t-3");
}

static void the_last_one_leaves_an_empty_group(void **state)
{
    struct scene *s = *state;

    heartbeat(s, "a");
    assert_int_equal(leaves(s, "a", -1), KERR_NONE);
    assert_null(group(s)->members);
    assert_null(group(s)->topics);
    assert_int_equal(group(s)->assignment_wall_ms, 0);
    assert_int_equal(group(s)->assignment_epoch, group(s)->epoch);
    member(s, "a")->epoch = 0;
    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    assert_int_equal(member(s, "a")->epoch, 4);
    assert_int_equal(world_delete(s->w, "g")->caller.code, KERR_NON_EMPTY_GROUP);
    leaves(s, "a", -1);
    assert_int_equal(world_delete(s->w, "g")->caller.code, KERR_NONE);
    assert_int_equal(group_core_find(s->w->core, STR("g")), GROUP_NONE);
    world_crash(s->w);
    world_need(s->w, "g");
    assert_int_equal(group_core_find(s->w->core, STR("g")), GROUP_NONE);
}

/* KIP-1263: assignments are at least so far apart; the first after quiet comes at once. */
static void assignments_keep_their_distance(void **state)
{
    struct scene *s = *state;

    s->w->config.consumer_assignment_interval_ms = 1000;
    heartbeat(s, "a");
    assert_int_equal(member(s, "a")->epoch, 2);
    heartbeat(s, "b");
    assert_int_equal(group(s)->epoch, 3);
    assert_int_equal(group(s)->assignment_epoch, 2);
    assert_true(
        str_equal(consumer_group_state(group_find(s->w->core, STR("g"))), STR("Assigning")));
    world_wait(s->w, 999);
    heartbeat(s, "b");
    assert_int_equal(group(s)->assignment_epoch, 2);
    world_wait(s->w, 1);
    heartbeat(s, "a");
    assert_int_equal(group(s)->assignment_epoch, 3);
    world_wait(s->w, 1000);
    heartbeat(s, "c");
    assert_int_equal(group(s)->assignment_epoch, 4);
    /* A clock that was set back delays nothing. */
    group_core_set_wall_clock(s->w->core, 0);
    heartbeat(s, "d");
    assert_int_equal(group(s)->assignment_epoch, 5);
}

static void topics_that_grow_come_and_go_are_assigned_at_the_next_heartbeat(void **state)
{
    struct scene *s = *state;

    snprintf(member(s, "a")->topics, 128, "t+later");
    heartbeat(s, "a");
    image_world_grow(&s->w->images, "t", 6);
    world_new_image(s->w);
    heartbeat(s, "a");
    assert_string_equal(has(s, "a"), "t-0 t-1 t-2 t-3 t-4 t-5");
    image_world_topic(&s->w->images, "later", 1);
    world_new_image(s->w);
    heartbeat(s, "a");
    assert_string_equal(has(s, "a"), "later-0 t-0 t-1 t-2 t-3 t-4 t-5");
    image_world_remove_topic(&s->w->images, "t");
    world_new_image(s->w);
    settle(s);
    assert_string_equal(has(s, "a"), "later-0");
    /* The same name again is another topic. */
    image_world_topic(&s->w->images, "t", 2);
    world_new_image(s->w);
    settle(s);
    assert_string_equal(has(s, "a"), "later-0 t-0 t-1");
}

static void other_topics_do_not_concern_the_group(void **state)
{
    struct scene *s = *state;
    int32_t epoch;

    heartbeat(s, "a");
    epoch = group(s)->epoch;
    image_world_topic(&s->w->images, "other", 9);
    world_new_image(s->w);
    heartbeat(s, "a");
    assert_int_equal(group(s)->epoch, epoch);
}

static void a_changed_subscription_is_assigned_anew(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");

    heartbeat(s, "a");
    snprintf(a->topics, 128, "u");
    a->full = true;
    a->lazy = true;
    heartbeat(s, "a");
    assert_int_equal(inside(s, "a")->state, MEMBER_UNREVOKED);
    assert_int_equal(inside(s, "a")->assigned.count, 0);
    member_gives_back(a);
    heartbeat(s, "a");
    assert_string_equal(has(s, "a"), "u-0 u-1 u-2");
}

/* While the interval forbids a new assignment, what is no longer subscribed is given back all the
 * same. */
static void what_is_no_longer_subscribed_is_given_back_before_the_next_assignment(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");

    s->w->config.consumer_assignment_interval_ms = 1000;
    snprintf(a->topics, 128, "t+u");
    heartbeat(s, "a");
    snprintf(a->topics, 128, "u");
    a->full = true;
    a->lazy = true;
    heartbeat(s, "a");
    assert_int_equal(group(s)->assignment_epoch, 2);
    assert_int_equal(inside(s, "a")->state, MEMBER_UNREVOKED);
    assert_int_equal(inside(s, "a")->revoking.count, 4);
    assert_int_equal(inside(s, "a")->assigned.count, 3);
    member_gives_back(a);
    heartbeat(s, "a");
    assert_int_equal(inside(s, "a")->state, MEMBER_STABLE);
    assert_string_equal(has(s, "a"), "u-0 u-1 u-2");
    world_wait(s->w, 1000);
    settle(s);
    assert_int_equal(inside(s, "a")->epoch, 3);
}

static void the_assignor_that_most_ask_for_assigns(void **state)
{
    struct scene *s = *state;
    struct world_call *call;

    snprintf(member(s, "a")->topics, 128, "t+u");
    snprintf(member(s, "b")->topics, 128, "t+u");
    snprintf(member(s, "a")->assignor, 32, "range");
    heartbeat(s, "a");
    heartbeat(s, "b");
    settle(s);
    assert_string_equal(has(s, "a"), "t-0 t-1 u-0 u-1");
    assert_string_equal(has(s, "b"), "t-2 t-3 u-2");
    call = world_call(s->w, "g", GROUP_CONSUMER_DESCRIBE, "describe");
    group_core_consumer_describe(s->w->core, &call->caller, STR("g"), &s->w->fx);
    world_done(s->w);
    assert_true(str_equal(call->caller.consumer_describe.assignor, STR("range")));
    assert_int_equal(call->caller.consumer_describe.member_count, 2);
    assert_int_equal(call->caller.consumer_describe.group_epoch, 3);
    assert_int_equal(call->caller.consumer_describe.members[1].assigned.topic_count, 2);
    assert_true(
        str_equal(call->caller.consumer_describe.members[1].target.topics[0].topic, STR("t")));
    assert_true(str_equal(call->caller.consumer_describe.state, STR("Stable")));
}

static void a_group_that_is_not_there_is_not_described(void **state)
{
    struct scene *s = *state;
    struct world_call *call = world_call(s->w, "g", GROUP_CONSUMER_DESCRIBE, "describe");

    group_core_consumer_describe(s->w->core, &call->caller, STR("g"), &s->w->fx);
    world_done(s->w);
    assert_int_equal(call->caller.code, KERR_GROUP_ID_NOT_FOUND);
}

/* ---- epochs ---- */

static void a_lost_answer_is_asked_for_again_with_the_epoch_before(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");

    heartbeat(s, "a");
    heartbeat(s, "b");
    s->members.lose = true;
    heartbeat(s, "a"); /* UNREVOKED; the answer is lost */
    heartbeat(s, "a");
    s->members.lose = false;
    assert_int_equal(a->epoch, 2);
    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    assert_int_equal(a->epoch, 3);
    /* It has moved on, but nobody told it. */
    leaves(s, "b", -1);
    s->members.lose = true;
    heartbeat(s, "a");
    s->members.lose = false;
    assert_int_equal(inside(s, "a")->epoch, 4);
    assert_int_equal(a->epoch, 3);
    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    assert_int_equal(a->epoch, 4);
    assert_string_equal(has(s, "a"), "t-0 t-1 t-2 t-3");
}

static void epochs_of_the_past_and_the_future_are_fenced(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");

    heartbeat(s, "a");
    a->epoch = 3;
    assert_int_equal(heartbeat(s, "a"), KERR_FENCED_MEMBER_EPOCH);
    assert_string_equal(has(s, "a"), "");
    assert_int_equal(heartbeat(s, "a"), KERR_NONE); /* joins anew, and has what it had */
    assert_string_equal(has(s, "a"), "t-0 t-1 t-2 t-3");
    heartbeat(s, "b");
    settle(s);
    leaves(s, "b", -1);
    heartbeat(s, "a");
    a->epoch = 2;
    assert_int_equal(heartbeat(s, "a"), KERR_FENCED_MEMBER_EPOCH);
}

/* The epoch before is only for who has nothing that was taken from it since. */
static void the_epoch_before_with_partitions_of_others_is_fenced(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");
    struct member_parts all;

    heartbeat(s, "a");
    all = a->owned;
    heartbeat(s, "b");
    heartbeat(s, "a");
    heartbeat(s, "a");
    assert_int_equal(a->epoch, 3);
    a->epoch = 2;
    a->owned = all;
    assert_int_equal(heartbeat(s, "a"), KERR_FENCED_MEMBER_EPOCH);
    heartbeat(s, "a");
    settle(s);
    a->epoch = 2;
    a->silent_owned = true;
    assert_int_equal(heartbeat(s, "a"), KERR_FENCED_MEMBER_EPOCH);
}

static void strangers_are_unknown(void **state)
{
    struct scene *s = *state;
    struct group_member *b = member(s, "b");

    b->epoch = 1;
    b->full = false;
    assert_int_equal(heartbeat(s, "b"), KERR_GROUP_ID_NOT_FOUND);
    assert_int_equal(leaves(s, "b", -1), KERR_GROUP_ID_NOT_FOUND);
    heartbeat(s, "a");
    b->epoch = 1;
    assert_int_equal(heartbeat(s, "b"), KERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(leaves(s, "b", -1), KERR_UNKNOWN_MEMBER_ID);
    snprintf(b->instance, 32, "i");
    assert_int_equal(leaves(s, "b", -2), KERR_UNKNOWN_MEMBER_ID);
    b->epoch = 1;
    assert_int_equal(heartbeat(s, "b"), KERR_UNKNOWN_MEMBER_ID);
}

static void old_clients_get_an_id_from_the_coordinator(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");

    a->old = true;
    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    assert_int_equal(strlen(a->id), UUID_TEXT_CHARS);
    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    assert_string_equal(has(s, "a"), "t-0 t-1 t-2 t-3");
}

/* ---- time ---- */

static void a_silent_member_is_removed_after_its_session(void **state)
{
    struct scene *s = *state;

    heartbeat(s, "a");
    heartbeat(s, "b");
    settle(s);
    for (int i = 0; i < 44; i++) {
        world_wait(s->w, 1000);
        heartbeat(s, "a");
    }
    assert_non_null(inside(s, "b"));
    world_wait(s->w, 1000);
    assert_null(inside(s, "b"));
    heartbeat(s, "a");
    assert_string_equal(has(s, "a"), "t-0 t-1 t-2 t-3");
    assert_int_equal(heartbeat(s, "b"), KERR_UNKNOWN_MEMBER_ID);
}

static void who_does_not_give_back_in_time_is_removed(void **state)
{
    struct scene *s = *state;

    member(s, "a")->lazy = true;
    member(s, "a")->rebalance_ms = 5000;
    heartbeat(s, "a");
    heartbeat(s, "b");
    heartbeat(s, "a");
    for (int i = 0; i < 4; i++) {
        world_wait(s->w, 1000);
        assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    }
    world_wait(s->w, 1000);
    assert_int_equal(heartbeat(s, "a"), KERR_UNKNOWN_MEMBER_ID);
    heartbeat(s, "b");
    assert_string_equal(has(s, "b"), "t-0 t-1 t-2 t-3");
}

static void sessions_start_anew_when_the_coordinator_moves(void **state)
{
    struct scene *s = *state;

    heartbeat(s, "a");
    heartbeat(s, "b");
    heartbeat(s, "a"); /* gives back; told, not confirmed */
    world_wait(s->w, 25000);
    world_crash(s->w);
    world_need(s->w, "g");
    world_wait(s->w, 10000);
    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    settle(s);
    assert_string_equal(has(s, "b"), "t-2 t-3");
    world_wait(s->w, 60000);
    assert_null(group(s)->members);
}

/* ---- static members ---- */

static void a_static_member_that_comes_back_has_what_it_had(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");
    int32_t epoch;

    snprintf(a->instance, 32, "i");
    heartbeat(s, "a");
    heartbeat(s, "b");
    settle(s);
    epoch = group(s)->epoch;
    assert_int_equal(leaves(s, "a", -2), KERR_NONE);
    assert_int_equal(a->epoch, -2);
    assert_int_equal(group(s)->epoch, epoch);
    heartbeat(s, "b");
    assert_string_equal(has(s, "b"), "t-2 t-3");
    snprintf(a->id, 64, "a2");
    a->epoch = 0;
    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    assert_int_equal(group(s)->epoch, epoch); /* no rebalance */
    assert_string_equal(has(s, "a"), "t-0 t-1");
    assert_null(inside(s, "a"));
    assert_int_equal(inside(s, "a2")->assigned.items[0].epoch, 0); /* any epoch may commit */
}

static void a_static_member_that_does_not_come_back_is_removed_after_its_session(void **state)
{
    struct scene *s = *state;

    snprintf(member(s, "a")->instance, 32, "i");
    heartbeat(s, "a");
    leaves(s, "a", -2);
    world_wait(s->w, 44999);
    assert_non_null(inside(s, "a"));
    world_wait(s->w, 1);
    assert_null(group(s)->members);
}

static void an_instance_that_is_in_use_is_not_released(void **state)
{
    struct scene *s = *state;
    struct group_member *b = member(s, "b");

    snprintf(member(s, "a")->instance, 32, "i");
    snprintf(b->instance, 32, "i");
    heartbeat(s, "a");
    assert_int_equal(heartbeat(s, "b"), KERR_UNRELEASED_INSTANCE_ID);
    b->epoch = 2;
    assert_int_equal(heartbeat(s, "b"), KERR_FENCED_INSTANCE_ID);
    assert_int_equal(leaves(s, "b", -1), KERR_FENCED_INSTANCE_ID);
    assert_int_equal(leaves(s, "b", -2), KERR_FENCED_INSTANCE_ID);
    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    leaves(s, "a", -2);
    assert_int_equal(heartbeat(s, "b"), KERR_NONE);
    assert_string_equal(has(s, "b"), "t-0 t-1 t-2 t-3");
    assert_int_equal(leaves(s, "b", -1), KERR_NONE);
    assert_null(group(s)->members);
}

/* ---- requests that make no sense ---- */

static void requests_that_make_no_sense_are_refused(void **state)
{
    struct scene *s = *state;
    static struct str topics[] = {STR("t")};
    static struct group_topic_partitions part;
    static struct group_assignment nothing, something = {&part, 1};
    const struct group_consumer_heartbeat good = {.group = STR("g"),
                                                  .member_id = STR("m"),
                                                  .rebalance_timeout_ms = 1000,
                                                  .subscribed_topics = topics,
                                                  .subscribed_topic_count = 1,
                                                  .owned = &nothing,
                                                  .version = 1};
    struct group_consumer_heartbeat bad[16];
    size_t count = 0;

#define BAD(...) (bad[count] = good, __VA_ARGS__, count++)
    BAD(bad[count].member_id = STR(" "));
    BAD(bad[count].version = 0, bad[count].member_id = STR(""), bad[count].member_epoch = 1);
    BAD(bad[count].version = 0, bad[count].member_id = STR(""), bad[count].member_epoch = -1);
    BAD(bad[count].group = STR(""));
    BAD(bad[count].instance_id = STR(""));
    BAD(bad[count].rack_id = STR(" "));
    BAD(bad[count].rebalance_timeout_ms = -1);
    BAD(bad[count].owned = NULL);
    BAD(bad[count].owned = &something);
    BAD(bad[count].subscribed_topics = NULL);
    BAD(bad[count].member_epoch = -2);
    BAD(bad[count].member_epoch = -3);
    BAD(bad[count].member_epoch = INT32_MIN);
#undef BAD
    for (size_t i = 0; i < count; i++)
        assert_int_equal(request(s, &bad[i]), KERR_INVALID_REQUEST);
    assert_int_equal(group_core_find(s->w->core, STR("g")), GROUP_NONE);
    assert_int_equal(request(s, &good), KERR_NONE);
    bad[0] = good;
    bad[0].member_id = STR("x");
    bad[0].server_assignor = STR("sticky");
    assert_int_equal(request(s, &bad[0]), KERR_UNSUPPORTED_ASSIGNOR);
    bad[0].server_assignor = STR_NULL;
    bad[0].subscribed_regex = STR("(a");
    assert_int_equal(request(s, &bad[0]), KERR_INVALID_REGULAR_EXPRESSION);
    assert_null(inside(s, "x"));
    s->w->settings.consumer = false;
    assert_int_equal(request(s, &good), KERR_UNSUPPORTED_VERSION);
    s->w->settings.consumer = true;
}

static void a_subscription_that_is_too_large_is_refused(void **state)
{
    struct scene *s = *state;
    static char name[CONSUMER_MEMBER_BYTES_MAX];
    struct group_assignment nothing = {0};
    struct str topic = {name, sizeof name};

    memset(name, 'x', sizeof name);
    assert_int_equal(request(s, &(struct group_consumer_heartbeat){.group = STR("g"),
                                                                   .member_id = STR("m"),
                                                                   .rebalance_timeout_ms = 1000,
                                                                   .subscribed_topics = &topic,
                                                                   .subscribed_topic_count = 1,
                                                                   .owned = &nothing,
                                                                   .version = 1}),
                     KERR_INVALID_REQUEST);
}

static void a_full_group_takes_nobody_else(void **state)
{
    struct scene *s = *state;

    s->w->settings.consumer_max_size = 2;
    snprintf(member(s, "a")->instance, 32, "i");
    heartbeat(s, "a");
    heartbeat(s, "b");
    assert_int_equal(heartbeat(s, "c"), KERR_GROUP_MAX_SIZE_REACHED);
    assert_int_equal(heartbeat(s, "b"), KERR_NONE);
    leaves(s, "a", -2);
    snprintf(member(s, "d")->instance, 32, "i");
    assert_int_equal(heartbeat(s, "d"), KERR_NONE); /* in the place of the static one */
}

/* ---- regular expressions ---- */

static void a_regular_expression_is_resolved_off_the_shard_then_assigned(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");

    snprintf(a->topics, 128, "-");
    snprintf(a->regex, 64, "[tu]");
    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    assert_string_equal(has(s, "a"), "");
    assert_true(world_resolve_regex(&s->members));
    assert_false(world_resolve_regex(&s->members));
    heartbeat(s, "a");
    assert_string_equal(has(s, "a"), "t-0 t-1 t-2 t-3 u-0 u-1 u-2");
    assert_true(consumer_group_subscribes(group_find(s->w->core, STR("g")), STR("u")));
    /* Another with the same one is served at once. */
    snprintf(member(s, "b")->topics, 128, "-");
    snprintf(member(s, "b")->regex, 64, "[tu]");
    heartbeat(s, "b");
    assert_false(world_resolve_regex(&s->members));
    settle(s);
    assert_int_equal(member(s, "b")->owned.count, 3);
    /* Both gone, the expression is too. */
    leaves(s, "a", -1);
    assert_non_null(group(s)->regexes);
    leaves(s, "b", -1);
    assert_null(group(s)->regexes);
    assert_null(group(s)->topics);
}

static void new_topics_are_looked_at_again_after_a_while(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");

    snprintf(a->topics, 128, "-");
    snprintf(a->regex, 64, "t.*");
    heartbeat(s, "a");
    world_resolve_regex(&s->members);
    settle(s);
    image_world_topic(&s->w->images, "t2", 1);
    world_new_image(s->w);
    heartbeat(s, "a");
    assert_false(world_resolve_regex(&s->members)); /* not that soon */
    world_wait(s->w, 10001);
    heartbeat(s, "a");
    assert_true(world_resolve_regex(&s->members));
    settle(s);
    assert_string_equal(has(s, "a"), "t-0 t-1 t-2 t-3 t2-0");
    /* A topic that only grows is no reason. */
    image_world_grow(&s->w->images, "u", 9);
    world_new_image(s->w);
    world_wait(s->w, 20000);
    heartbeat(s, "a");
    assert_false(world_resolve_regex(&s->members));
    for (int i = 0; i < 20; i++) {
        world_wait(s->w, 30000);
        heartbeat(s, "a");
    }
    assert_true(world_resolve_regex(&s->members)); /* group.consumer.regex.refresh.interval.ms */
}

static void an_expression_may_be_changed_for_another_or_for_names(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");

    snprintf(a->topics, 128, "-");
    snprintf(a->regex, 64, "t");
    heartbeat(s, "a");
    world_resolve_regex(&s->members);
    settle(s);
    snprintf(a->regex, 64, "u");
    a->full = true;
    heartbeat(s, "a");
    world_resolve_regex(&s->members);
    settle(s);
    assert_string_equal(has(s, "a"), "u-0 u-1 u-2");
    snprintf(a->regex, 64, "%s", "");
    snprintf(a->topics, 128, "t");
    a->full = true;
    heartbeat(s, "a");
    settle(s);
    assert_string_equal(has(s, "a"), "t-0 t-1 t-2 t-3");
    assert_null(group(s)->regexes);
}

static void an_answer_for_who_has_changed_its_mind_changes_nothing(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");

    snprintf(a->topics, 128, "-");
    snprintf(a->regex, 64, "t");
    heartbeat(s, "a");
    snprintf(a->regex, 64, "u");
    a->full = true;
    heartbeat(s, "a");
    assert_true(world_resolve_regex(&s->members)); /* of "t" */
    assert_null(consumer_regex_find(group(s), STR("t")));
    assert_true(world_resolve_regex(&s->members)); /* asked for when the first answer came */
    settle(s);
    assert_string_equal(has(s, "a"), "u-0 u-1 u-2");
}

static void an_expression_that_cannot_be_matched_has_no_topics(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");

    snprintf(a->topics, 128, "-");
    snprintf(a->regex, 64, "((a?){30}){30}[tu]");
    assert_int_equal(heartbeat(s, "a"), KERR_NONE);
    assert_true(world_resolve_regex(&s->members));
    settle(s);
    assert_string_equal(has(s, "a"), "");
    assert_false(world_resolve_regex(&s->members));
}

/* Each of a group's members may have another expression that all topics match. */
static void what_expressions_find_is_bounded(void **state)
{
    enum { NAMES = 1000, NAME_BYTES = 6000 };
    struct scene *s = *state;
    struct group_world *w = s->members.w;
    struct str *names = calloc(NAMES, sizeof *names);
    char *text = malloc(NAMES * NAME_BYTES);
    static const char *const members[] = {"a", "b", "c"};
    (void)state;

    assert_true(names && text);
    for (size_t i = 0; i < NAMES; i++) {
        snprintf(text + i * NAME_BYTES, NAME_BYTES, "%0*zu", NAME_BYTES - 1, i);
        names[i] = (struct str){text + i * NAME_BYTES, NAME_BYTES - 1};
    }
    for (size_t i = 0; i < 3; i++) {
        struct group_regex_result r = {.group = STR("g"), .topics = names, .topic_count = NAMES};

        snprintf(member(s, members[i])->topics, 128, "-");
        snprintf(member(s, members[i])->regex, 64, "%s|.*", members[i]);
        r.regex = str_from(member(s, members[i])->regex);
        assert_int_equal(heartbeat(s, members[i]), KERR_NONE);
        group_core_regex_resolved(w->core, &r, w->now_ms, &w->fx);
        assert_int_equal(w->fx.regex_too_large, i == 2);
        assert_int_equal(consumer_regex_find(group(s), r.regex)->topic_count, i < 2 ? NAMES : 0);
        world_done(w);
    }
    assert_true(group(s)->regex_bytes <= CONSUMER_REGEX_BYTES_MAX);
    free(names);
    free(text);
}

/* ---- commits ---- */

static void commits_are_checked_by_member_and_epoch(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");

    heartbeat(s, "a");
    assert_int_equal(member_commits(&s->members, a, 2, "t", 0), KERR_NONE);
    assert_int_equal(member_commits(&s->members, a, 3, "t", 0), KERR_STALE_MEMBER_EPOCH);
    assert_int_equal(member_commits(&s->members, a, 1, "t", 0), KERR_STALE_MEMBER_EPOCH);
    assert_int_equal(member_commits(&s->members, member(s, "b"), 2, "t", 0),
                     KERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(member_commits(&s->members, member(s, "b"), -1, "t", 0),
                     KERR_UNKNOWN_MEMBER_ID);
    leaves(s, "a", -1);
    /* nobody is there to mind */
    assert_int_equal(member_commits(&s->members, a, -1, "t", 0), KERR_NONE);
}

/* KIP-1251: an epoch is old, and yet not for partitions that were the member's all the while. */
static void an_older_epoch_commits_what_it_still_has(void **state)
{
    struct scene *s = *state;
    struct group_member *a = member(s, "a");

    heartbeat(s, "a");
    heartbeat(s, "b");
    settle(s);
    assert_int_equal(a->epoch, 3);
    assert_int_equal(member_commits(&s->members, a, 2, "t", 0), KERR_NONE);
    assert_int_equal(member_commits(&s->members, a, 2, "t", 3), KERR_STALE_MEMBER_EPOCH);
    assert_int_equal(member_commits(&s->members, member(s, "b"), 2, "t", 3),
                     KERR_STALE_MEMBER_EPOCH);
    assert_int_equal(member_commits(&s->members, member(s, "b"), 3, "t", 3), KERR_NONE);
    world_crash(s->w);
    /* the log knows since when */
    assert_int_equal(member_commits(&s->members, a, 2, "t", 0), KERR_NONE);
}

static void offsets_are_read_by_who_is_current(void **state)
{
    struct scene *s = *state;

    heartbeat(s, "a");
    assert_int_equal(group_core_check_offset_fetch(s->w->core, STR("g"), STR("a"), 2), KERR_NONE);
    assert_int_equal(group_core_check_offset_fetch(s->w->core, STR("g"), STR("a"), 1),
                     KERR_STALE_MEMBER_EPOCH);
    assert_int_equal(group_core_check_offset_fetch(s->w->core, STR("g"), STR("b"), 2),
                     KERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(group_core_check_offset_fetch(s->w->core, STR("g"), STR_NULL, -1), KERR_NONE);
}

static void old_commit_requests_are_not_for_members_of_the_new_protocol(void **state)
{
    struct scene *s = *state;
    struct group *g;

    heartbeat(s, "a");
    g = group_find(s->w->core, STR("g"));
    assert_int_equal(consumer_group_check_commit(s->w->core, g,
                                                 &(struct group_commit){.group = STR("g"),
                                                                        .member_id = STR("a"),
                                                                        .generation_or_epoch = 2,
                                                                        .version = 8}),
                     KERR_UNSUPPORTED_VERSION);
}

/* ---- a large group ---- */

static void ten_thousand_members_are_assigned_in_batches_that_fit(void **state)
{
    struct scene *s = *state;
    struct group_assignment nothing = {0};
    struct str topics[] = {STR("t"), STR("big")};
    size_t steps = 0;

    s->w->settings.consumer_max_size = 20000;
    s->w->check_more = NULL; /* quadratic */
    s->w->config.consumer_assignment_interval_ms = 1000000;
    image_world_topic(&s->w->images, "big", 3000);
    world_new_image(s->w);
    for (int i = 0; i < 10000; i++) {
        char id[40];

        snprintf(id, sizeof id, "member-%05d-of-a-very-large-group", i);
        assert_int_equal(request(s, &(struct group_consumer_heartbeat){.group = STR("g"),
                                                                       .member_id = str_from(id),
                                                                       .rebalance_timeout_ms = 1000,
                                                                       .subscribed_topics = topics,
                                                                       .subscribed_topic_count = 2,
                                                                       .owned = &nothing,
                                                                       .version = 1}),
                         KERR_NONE);
    }
    s->w->config.consumer_assignment_interval_ms = 0;
    while (group(s)->assignment_epoch < group(s)->epoch) {
        size_t before = s->w->record_count;

        assert_int_equal(request(s,
                                 &(struct group_consumer_heartbeat){
                                     .group = STR("g"),
                                     .member_id = STR("member-00000-of-a-very-large-group"),
                                     .member_epoch = 2,
                                     .rebalance_timeout_ms = -1,
                                     .version = 1}),
                         KERR_NONE);
        assert_true(s->w->record_count - before < 8000);
        steps++;
    }
    assert_true(steps > 1 && steps < 10);
    world_wait(s->w, 100000); /* all at once are silent */
    assert_null(group(s)->members);
    s->w->check_reload_more = NULL;
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_first_member_has_everything_with_its_first_answer),
        CASE(a_second_member_waits_until_the_first_gave_back),
        CASE(who_missed_that_it_is_to_give_back_is_told_again),
        CASE(a_second_member_has_its_share_within_700_ms),
        CASE(who_leaves_has_its_partitions_taken_over_at_the_next_heartbeat),
        CASE(the_last_one_leaves_an_empty_group),
        CASE(assignments_keep_their_distance),
        CASE(topics_that_grow_come_and_go_are_assigned_at_the_next_heartbeat),
        CASE(other_topics_do_not_concern_the_group),
        CASE(a_changed_subscription_is_assigned_anew),
        CASE(what_is_no_longer_subscribed_is_given_back_before_the_next_assignment),
        CASE(the_assignor_that_most_ask_for_assigns),
        CASE(a_group_that_is_not_there_is_not_described),
        CASE(a_lost_answer_is_asked_for_again_with_the_epoch_before),
        CASE(epochs_of_the_past_and_the_future_are_fenced),
        CASE(the_epoch_before_with_partitions_of_others_is_fenced),
        CASE(strangers_are_unknown),
        CASE(old_clients_get_an_id_from_the_coordinator),
        CASE(a_silent_member_is_removed_after_its_session),
        CASE(who_does_not_give_back_in_time_is_removed),
        CASE(sessions_start_anew_when_the_coordinator_moves),
        CASE(a_static_member_that_comes_back_has_what_it_had),
        CASE(a_static_member_that_does_not_come_back_is_removed_after_its_session),
        CASE(an_instance_that_is_in_use_is_not_released),
        CASE(requests_that_make_no_sense_are_refused),
        CASE(a_subscription_that_is_too_large_is_refused),
        CASE(a_full_group_takes_nobody_else),
        CASE(a_regular_expression_is_resolved_off_the_shard_then_assigned),
        CASE(new_topics_are_looked_at_again_after_a_while),
        CASE(an_expression_may_be_changed_for_another_or_for_names),
        CASE(an_answer_for_who_has_changed_its_mind_changes_nothing),
        CASE(an_expression_that_cannot_be_matched_has_no_topics),
        CASE(what_expressions_find_is_bounded),
        CASE(commits_are_checked_by_member_and_epoch),
        CASE(an_older_epoch_commits_what_it_still_has),
        CASE(offsets_are_read_by_who_is_current),
        CASE(old_commit_requests_are_not_for_members_of_the_new_protocol),
        CASE(ten_thousand_members_are_assigned_in_batches_that_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
