#include "tests/unit/test.h"

#include <string.h>

#include "broker/coordinator/group_classic.h"
#include "broker/coordinator/group_consumer.h"
#include "protocol/messages/client_records.h"
#include "protocol/writer.h"
#include "tests/unit/broker/coordinator/group_members.h"

/* Groups that change their protocol while they run, both ways (KIP-848,
 * group.consumer.migration.policy). */

struct scene {
    struct group_world *w;
    struct group_members members;
};

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);

    s->w = world_new(1);
    s->w->config.consumer_assignment_interval_ms = 0;
    s->w->settings.initial_rebalance_delay_ms = 0;
    group_members_init(&s->members, s->w);
    classic_assigns(&s->members, (struct classic_assignor){0});
    image_world_topic(&s->w->images, "t", 4);
    image_world_topic(&s->w->images, "u", 2);
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

static struct world_client *client(struct scene *s, const char *name)
{
    return world_client(s->w, name);
}

static enum kerr heartbeat(struct scene *s, const char *name)
{
    member_heartbeat(&s->members, member(s, name));
    return member(s, name)->code;
}

static const char *has(struct scene *s, const char *name)
{
    return member_has(&s->members, member(s, name));
}

static enum kerr code_of(const struct world_client *c)
{
    return c->last ? c->last->caller.code : KERR_UNKNOWN_SERVER_ERROR;
}

static enum kerr joins(struct scene *s, const char *name)
{
    world_join(s->w, client(s, name));
    return code_of(client(s, name));
}

static enum kerr syncs(struct scene *s, const char *name)
{
    world_sync(s->w, client(s, name));
    return code_of(client(s, name));
}

static enum kerr beats(struct scene *s, const char *name)
{
    world_heartbeat(s->w, client(s, name));
    return code_of(client(s, name));
}

static struct group *group(struct scene *s)
{
    return group_find(s->w->core, STR("g"));
}

static const struct consumer_member *inside(struct scene *s, const char *id)
{
    return consumer_member_find(group(s)->consumer, str_from(id));
}

/* A classic group with these two, stable. */
static void classic_pair(struct scene *s)
{
    joins(s, "a");
    joins(s, "a");
    syncs(s, "a");
    joins(s, "b");
    joins(s, "b");
    beats(s, "a");
    joins(s, "a");
    syncs(s, "a");
    syncs(s, "b");
    assert_int_equal(group(s)->type, GROUP_CLASSIC);
    assert_string_equal(client_has(&s->members, client(s, "a")), "t-0 t-2");
    assert_string_equal(client_has(&s->members, client(s, "b")), "t-1 t-3");
}

static void follow(struct scene *s, const char *name)
{
    if (beats(s, name) == KERR_REBALANCE_IN_PROGRESS) {
        joins(s, name);
        syncs(s, name);
    }
}

static void a_member_of_the_new_protocol_turns_a_classic_group_while_it_runs(void **state)
{
    struct scene *s = *state;

    classic_pair(s);
    assert_int_equal(heartbeat(s, "c"), KERR_NONE);
    assert_int_equal(group(s)->type, GROUP_CONSUMER);
    assert_int_equal(group(s)->consumer->classic_count, 2);
    assert_true(inside(s, client(s, "a")->id)->fields.classic);
    assert_int_equal(inside(s, client(s, "a")->id)->assigned.count, 2);
    assert_string_equal(has(s, "c"), "");
    for (int i = 0; i < 3; i++) {
        follow(s, "a");
        follow(s, "b");
        heartbeat(s, "c");
    }
    assert_int_equal(beats(s, "a"), KERR_NONE);
    assert_int_equal(member(s, "c")->owned.count, 1);
    assert_int_equal(strlen(client_has(&s->members, client(s, "a"))) +
                         strlen(client_has(&s->members, client(s, "b"))),
                     3 + 7);
    assert_true(str_equal(consumer_group_state(group(s)), STR("Stable")));
    assert_int_equal(client(s, "a")->generation, group(s)->consumer->epoch);
}

static void the_last_member_of_the_new_protocol_that_goes_leaves_a_classic_group(void **state)
{
    struct scene *s = *state;

    classic_pair(s);
    heartbeat(s, "c");
    for (int i = 0; i < 3; i++) {
        follow(s, "a");
        follow(s, "b");
        heartbeat(s, "c");
    }
    member_leaves(&s->members, member(s, "c"), -1);
    assert_int_equal(member(s, "c")->code, KERR_NONE);
    assert_int_equal(group(s)->type, GROUP_CLASSIC);
    assert_int_equal(group(s)->classic->state, CLASSIC_PREPARING_REBALANCE);
    assert_int_equal(beats(s, "a"), KERR_REBALANCE_IN_PROGRESS);
    world_join(s->w, client(s, "a"));
    world_join(s->w, client(s, "b"));
    world_sync(s->w, client(s, "a"));
    world_sync(s->w, client(s, "b"));
    assert_int_equal(group(s)->classic->state, CLASSIC_STABLE);
    assert_string_equal(client_has(&s->members, client(s, "a")), "t-0 t-2");
    world_crash(s->w);
    world_need(s->w, "g");
    assert_int_equal(group(s)->type, GROUP_CLASSIC);
    assert_int_equal(beats(s, "a"), KERR_NONE);
}

static void a_silent_last_member_of_the_new_protocol_leaves_a_classic_group_too(void **state)
{
    struct scene *s = *state;

    s->w->config.consumer_session_timeout_ms = 5000;
    classic_pair(s);
    heartbeat(s, "c");
    world_wait(s->w, 5000);
    assert_int_equal(group(s)->type, GROUP_CLASSIC);
    assert_int_equal(HASH_COUNT(group(s)->classic->members), 2);
    assert_true(group(s)->classic->generation > client(s, "a")->generation);
}

static void without_the_downgrade_the_group_stays_what_it_is(void **state)
{
    struct scene *s = *state;

    s->w->settings.downgrade = false;
    classic_pair(s);
    heartbeat(s, "c");
    member_leaves(&s->members, member(s, "c"), -1);
    assert_int_equal(group(s)->type, GROUP_CONSUMER);
    assert_int_equal(group(s)->consumer->classic_count, 2);
    follow(s, "a");
    follow(s, "b");
    assert_string_equal(client_has(&s->members, client(s, "a")), "t-0 t-2");
    s->w->settings.downgrade = true;
    s->w->settings.max_size = 1;
    heartbeat(s, "c");
    member_leaves(&s->members, member(s, "c"), -1);
    assert_int_equal(group(s)->type, GROUP_CONSUMER); /* too many for a classic group */
}

static void groups_that_cannot_be_turned_are_left_alone(void **state)
{
    struct scene *s = *state;

    classic_pair(s);
    s->w->settings.upgrade = false;
    assert_int_equal(heartbeat(s, "c"), KERR_GROUP_ID_NOT_FOUND);
    s->w->settings.upgrade = true;
    s->w->settings.consumer_max_size = 2;
    assert_int_equal(heartbeat(s, "c"), KERR_GROUP_ID_NOT_FOUND);
    assert_int_equal(group(s)->type, GROUP_CLASSIC);
    assert_int_equal(beats(s, "a"), KERR_NONE);
}

static void groups_of_other_protocols_are_not_turned(void **state)
{
    struct scene *s = *state;

    snprintf(client(s, "a")->type, 32, "connect");
    joins(s, "a");
    joins(s, "a");
    assert_int_equal(heartbeat(s, "c"), KERR_GROUP_ID_NOT_FOUND);
    assert_int_equal(group(s)->type, GROUP_CLASSIC);
}

static void what_cannot_be_read_or_would_be_lost_is_not_turned(void **state)
{
    struct scene *s = *state;

    classic_assigns(&s->members, (struct classic_assignor){.user_data = true});
    joins(s, "a");
    joins(s, "a");
    syncs(s, "a");
    assert_int_equal(heartbeat(s, "c"), KERR_GROUP_ID_NOT_FOUND);
    assert_non_null(strstr(member(s, "c")->message, "custom assignor"));
    world_leave(s->w, client(s, "a"));
    client(s, "b")->raw = true;
    snprintf(client(s, "b")->protocols, 256, "range:xyz");
    joins(s, "b");
    joins(s, "b");
    assert_int_equal(heartbeat(s, "c"), KERR_GROUP_ID_NOT_FOUND);
    assert_non_null(strstr(member(s, "c")->message, "malformed"));
    assert_int_equal(group(s)->type, GROUP_CLASSIC);
}

static void partitions_that_a_client_gave_twice_are_the_first_ones(void **state)
{
    struct scene *s = *state;

    classic_assigns(&s->members, (struct classic_assignor){.twice = true});
    joins(s, "a");
    joins(s, "a");
    joins(s, "b");
    joins(s, "b");
    joins(s, "a");
    syncs(s, "a");
    syncs(s, "b");
    assert_string_equal(client_has(&s->members, client(s, "b")), "t-0 t-1 t-2 t-3");
    assert_int_equal(heartbeat(s, "c"), KERR_NONE); /* the invariants are checked */
    assert_int_equal(inside(s, client(s, "a")->id)->assigned.count, 4);
    assert_int_equal(inside(s, client(s, "b")->id)->assigned.count, 0);
}

static void who_waits_in_a_classic_group_is_sent_round_when_it_is_turned(void **state)
{
    struct scene *s = *state;

    classic_pair(s);
    world_join(s->w, client(s, "d"));
    world_join(s->w, client(s, "d"));
    assert_non_null(client(s, "d")->waiting);
    assert_int_equal(heartbeat(s, "c"), KERR_NONE);
    assert_null(client(s, "d")->waiting);
    assert_int_equal(code_of(client(s, "d")), KERR_REBALANCE_IN_PROGRESS);
    assert_int_equal(joins(s, "d"), KERR_NONE);
    assert_int_equal(syncs(s, "d"), KERR_NONE);
}

/* A static member takes the place of one that has not been assigned anything yet; its subscription
 * is the same. (In Kafka nobody is assigned anything then.) */
static void a_group_that_is_turned_in_the_middle_of_a_rebalance_is_assigned_anew(void **state)
{
    struct scene *s = *state;

    snprintf(client(s, "a")->instance, 32, "i");
    client(s, "a")->old = true;
    joins(s, "a");
    assert_int_equal(group(s)->classic->state, CLASSIC_COMPLETING_REBALANCE);
    snprintf(member(s, "c")->instance, 32, "i");
    assert_int_equal(heartbeat(s, "c"), KERR_NONE);
    assert_string_equal(has(s, "c"), "t-0 t-1 t-2 t-3");
    assert_int_equal(group(s)->consumer->epoch, 2);
}

static void empty_groups_change_their_type_in_passing(void **state)
{
    struct scene *s = *state;

    joins(s, "a");
    joins(s, "a");
    world_leave(s->w, client(s, "a"));
    assert_int_equal(group(s)->type, GROUP_CLASSIC);
    assert_int_equal(heartbeat(s, "c"), KERR_NONE);
    assert_int_equal(group(s)->type, GROUP_CONSUMER);
    member_leaves(&s->members, member(s, "c"), -1);
    assert_int_equal(group(s)->type, GROUP_CONSUMER);
    assert_int_equal(joins(s, "b"), KERR_MEMBER_ID_REQUIRED);
    joins(s, "b");
    syncs(s, "b");
    assert_int_equal(group(s)->type, GROUP_CLASSIC);
    assert_string_equal(client_has(&s->members, client(s, "b")), "t-0 t-1 t-2 t-3");
}

static void a_classic_member_joins_a_consumer_group(void **state)
{
    struct scene *s = *state;
    struct world_client *a = client(s, "a");

    heartbeat(s, "c");
    assert_int_equal(joins(s, "a"), KERR_MEMBER_ID_REQUIRED);
    assert_int_equal(strlen(a->id), UUID_TEXT_CHARS);
    assert_int_equal(joins(s, "a"), KERR_NONE);
    assert_true(str_equal(a->last->caller.join.protocol_type, STR("consumer")));
    assert_true(str_equal(a->last->caller.join.protocol, STR("range")));
    assert_int_equal(a->last->caller.join.member_count, 0);
    assert_int_equal(syncs(s, "a"), KERR_NONE);
    assert_string_equal(client_has(&s->members, a), "");
    assert_int_equal(beats(s, "a"), KERR_NONE); /* nothing to do but wait */
    heartbeat(s, "c");
    heartbeat(s, "c");
    assert_int_equal(beats(s, "a"), KERR_REBALANCE_IN_PROGRESS);
    joins(s, "a");
    syncs(s, "a");
    assert_string_equal(client_has(&s->members, a), "t-2 t-3");
    assert_int_equal(beats(s, "a"), KERR_NONE);
    world_leave(s->w, a);
    assert_int_equal(heartbeat(s, "c"), KERR_NONE);
    assert_string_equal(has(s, "c"), "t-0 t-1 t-2 t-3");
}

/* A JoinGroup of a cooperative member that has the first `owned` partitions of t. */
static void joins_owning(struct scene *s, size_t owned)
{
    struct consumer_protocol_subscription_topic_partition part = {STR("t"), (int32_t[]){0, 1, 2, 3},
                                                                  owned};
    struct consumer_protocol_subscription subscription;
    struct world_call *call = world_call(s->w, "g", GROUP_JOIN, "join");
    struct group_protocol protocol = {.name = STR("cooperative-sticky")};
    struct writer writer;

    consumer_protocol_subscription_init(&subscription);
    subscription.topics = (struct str[]){STR("t")};
    subscription.topics_count = 1;
    subscription.owned_partitions = &part;
    subscription.owned_partitions_count = 1;
    writer_init(&writer, 1024);
    write_int16(&writer, 1);
    consumer_protocol_subscription_encode(&subscription, &writer, 1);
    protocol.metadata = (struct bytes){writer.data, writer.size};
    group_core_join(s->w->core, &call->caller,
                    &(struct group_join){.group = STR("g"),
                                         .member_id = STR("coop"),
                                         .protocol_type = STR("consumer"),
                                         .session_timeout_ms = 10000,
                                         .rebalance_timeout_ms = 30000,
                                         .protocols = &protocol,
                                         .protocol_count = 1},
                    s->w->now_ms, &s->w->fx);
    world_done(s->w);
    writer_free(&writer);
    assert_int_equal(call->caller.code, KERR_NONE);
}

/* A cooperative member says what it has, and keeps it until it has given it back. */
static void a_cooperative_classic_member_gives_back_before_others_get(void **state)
{
    struct scene *s = *state;

    s->w->settings.downgrade = false;
    heartbeat(s, "c");
    joins_owning(s, 0);
    member_leaves(&s->members, member(s, "c"), -1);
    joins_owning(s, 0);
    assert_int_equal(inside(s, "coop")->assigned.count, 4);
    member(s, "c")->epoch = 0;
    heartbeat(s, "c");
    joins_owning(s, 4); /* is told to give two of them back */
    assert_int_equal(inside(s, "coop")->state, MEMBER_UNREVOKED);
    assert_int_equal(inside(s, "coop")->revoking.count, 2);
    heartbeat(s, "c");
    assert_string_equal(has(s, "c"), "");
    joins_owning(s, 2);
    assert_int_equal(inside(s, "coop")->state, MEMBER_STABLE);
    heartbeat(s, "c");
    assert_string_equal(has(s, "c"), "t-2 t-3");
}

static void classic_requests_at_a_consumer_group_are_checked(void **state)
{
    struct scene *s = *state;
    struct world_client *a = client(s, "a"), *x = client(s, "x");

    heartbeat(s, "c");
    joins(s, "a");
    joins(s, "a");
    syncs(s, "a");
    a->generation++;
    assert_int_equal(beats(s, "a"), KERR_ILLEGAL_GENERATION);
    assert_int_equal(syncs(s, "a"), KERR_ILLEGAL_GENERATION);
    a->generation--;
    snprintf(x->id, sizeof x->id, "nobody");
    assert_int_equal(beats(s, "x"), KERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(syncs(s, "x"), KERR_UNKNOWN_MEMBER_ID);
    snprintf(x->id, sizeof x->id, "c"); /* of the new protocol */
    x->generation = member(s, "c")->epoch;
    assert_int_equal(beats(s, "x"), KERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(syncs(s, "x"), KERR_UNKNOWN_MEMBER_ID);
    snprintf(a->sync_protocol, sizeof a->sync_protocol, "sticky");
    assert_int_equal(syncs(s, "a"), KERR_INCONSISTENT_GROUP_PROTOCOL);
    snprintf(a->sync_protocol, sizeof a->sync_protocol, "range");
    assert_int_equal(syncs(s, "a"), KERR_NONE);
    snprintf(a->type, sizeof a->type, "connect");
    assert_int_equal(syncs(s, "a"), KERR_INCONSISTENT_GROUP_PROTOCOL);
    snprintf(a->type, sizeof a->type, "consumer");
    snprintf(a->instance, sizeof a->instance, "i");
    assert_int_equal(beats(s, "a"), KERR_UNKNOWN_MEMBER_ID);
    a->instance[0] = '\0';
    heartbeat(s, "d"); /* a new epoch */
    assert_int_equal(syncs(s, "a"), KERR_REBALANCE_IN_PROGRESS);
    assert_int_equal(beats(s, "a"), KERR_REBALANCE_IN_PROGRESS);
}

static void classic_joins_at_a_consumer_group_are_checked(void **state)
{
    struct scene *s = *state;
    struct world_client *a = client(s, "a");

    heartbeat(s, "c");
    snprintf(a->type, sizeof a->type, "connect");
    assert_int_equal(joins(s, "a"), KERR_INCONSISTENT_GROUP_PROTOCOL);
    snprintf(a->type, sizeof a->type, "consumer");
    a->protocols[0] = '\0';
    assert_int_equal(joins(s, "a"), KERR_INCONSISTENT_GROUP_PROTOCOL);
    snprintf(a->protocols, sizeof a->protocols, "range:xyz");
    a->raw = a->old = true;
    assert_int_equal(joins(s, "a"), KERR_INCONSISTENT_GROUP_PROTOCOL); /* not readable */
    a->raw = false;
    snprintf(a->protocols, sizeof a->protocols, "range:t");
    s->w->settings.upgrade = s->w->settings.downgrade = false;
    assert_int_equal(joins(s, "a"), KERR_INCONSISTENT_GROUP_PROTOCOL);
    s->w->settings.upgrade = true;
    s->w->settings.consumer_max_size = 1;
    assert_int_equal(joins(s, "a"), KERR_GROUP_MAX_SIZE_REACHED);
    s->w->settings.consumer_max_size = 10;
    a->session_ms = 1;
    assert_int_equal(joins(s, "a"), KERR_INVALID_SESSION_TIMEOUT);
    a->session_ms = 10000;
    snprintf(a->instance, sizeof a->instance, "i");
    snprintf(a->id, sizeof a->id, "made-up");
    assert_int_equal(joins(s, "a"), KERR_UNKNOWN_MEMBER_ID);
    a->id[0] = '\0';
    assert_int_equal(joins(s, "a"), KERR_NONE);
    snprintf(client(s, "b")->instance, 32, "i");
    snprintf(client(s, "b")->id, 64, "other");
    assert_int_equal(joins(s, "b"), KERR_FENCED_INSTANCE_ID);
    assert_int_equal(beats(s, "b"), KERR_FENCED_INSTANCE_ID);
    assert_int_equal(syncs(s, "b"), KERR_FENCED_INSTANCE_ID);
    snprintf(client(s, "d")->protocols, 256, "sticky:t");
    client(s, "d")->old = true;
    assert_int_equal(joins(s, "d"), KERR_INCONSISTENT_GROUP_PROTOCOL); /* a knows only range */
    snprintf(client(s, "d")->protocols, 256, "sticky:t,range:t");
    assert_int_equal(joins(s, "d"), KERR_NONE);
}

static void a_classic_member_that_does_not_join_again_is_removed(void **state)
{
    struct scene *s = *state;

    heartbeat(s, "c");
    client(s, "a")->rebalance_ms = 3000;
    joins(s, "a");
    joins(s, "a");
    syncs(s, "a");
    heartbeat(s, "d");
    assert_int_equal(beats(s, "a"), KERR_REBALANCE_IN_PROGRESS);
    world_wait(s->w, 2000);
    assert_int_equal(beats(s, "a"), KERR_REBALANCE_IN_PROGRESS);
    world_wait(s->w, 1000);
    assert_int_equal(beats(s, "a"), KERR_UNKNOWN_MEMBER_ID);
}

static void a_classic_member_that_does_not_sync_or_is_silent_is_removed(void **state)
{
    struct scene *s = *state;

    heartbeat(s, "c");
    client(s, "a")->rebalance_ms = 3000;
    joins(s, "a");
    joins(s, "a");
    world_wait(s->w, 2999);
    assert_int_equal(group(s)->consumer->classic_count, 1);
    world_wait(s->w, 1);
    assert_int_equal(group(s)->consumer->classic_count, 0);
    joins(s, "b");
    joins(s, "b");
    syncs(s, "b");
    world_wait(s->w, 9999);
    assert_int_equal(group(s)->consumer->classic_count, 1);
    world_wait(s->w, 1);
    assert_int_equal(group(s)->consumer->classic_count, 0);
}

static void members_leave_a_consumer_group_by_the_classic_request(void **state)
{
    struct scene *s = *state;
    struct group_leave_member who[] = {{.member_id = STR("c")},
                                       {.member_id = STR("nobody")},
                                       {.member_id = STR(""), .instance_id = STR("i")},
                                       {.member_id = STR("wrong"), .instance_id = STR("i")},
                                       {.member_id = STR("d"), .instance_id = STR("j")}};
    struct world_call *call;

    snprintf(member(s, "d")->instance, 32, "i");
    heartbeat(s, "c");
    heartbeat(s, "d");
    heartbeat(s, "e");
    call = world_call(s->w, "g", GROUP_LEAVE, "leave");
    group_core_leave(s->w->core, &call->caller, &(struct group_leave){STR("g"), who, 5, false},
                     s->w->now_ms, &s->w->fx);
    world_done(s->w);
    assert_int_equal(call->caller.code, KERR_NONE);
    assert_int_equal(call->caller.leave.members[0].code, KERR_NONE);
    assert_int_equal(call->caller.leave.members[1].code, KERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(call->caller.leave.members[2].code, KERR_NONE);
    assert_int_equal(call->caller.leave.members[3].code, KERR_FENCED_INSTANCE_ID);
    assert_int_equal(call->caller.leave.members[4].code, KERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(consumer_group_size(group(s)->consumer), 1);
    call = world_call(s->w, "g", GROUP_LEAVE, "leave");
    group_core_leave(s->w->core, &call->caller, &(struct group_leave){STR("g"), &who[1], 1, true},
                     s->w->now_ms, &s->w->fx);
    world_done(s->w);
    assert_int_equal(call->caller.code, KERR_UNKNOWN_MEMBER_ID);
}

static void a_static_member_changes_its_protocol_without_a_rebalance(void **state)
{
    struct scene *s = *state;
    int32_t epoch;

    snprintf(client(s, "a")->instance, 32, "i");
    snprintf(client(s, "b")->instance, 32, "j");
    client(s, "a")->old = client(s, "b")->old = true;
    joins(s, "a");
    syncs(s, "a");
    joins(s, "b");
    joins(s, "a");
    syncs(s, "a");
    syncs(s, "b");
    snprintf(member(s, "c")->instance, 32, "i");
    assert_int_equal(heartbeat(s, "c"), KERR_NONE);
    epoch = group(s)->consumer->epoch;
    assert_string_equal(has(s, "c"), client_has(&s->members, client(s, "a")));
    assert_int_equal(beats(s, "a"), KERR_FENCED_INSTANCE_ID);
    assert_int_equal(epoch, client(s, "b")->generation);
    assert_int_equal(beats(s, "b"), KERR_NONE);
    /* And back: in the place of the last one of the new protocol comes one of the old. */
    snprintf(client(s, "e")->instance, 32, "i");
    client(s, "e")->old = true;
    world_join(s->w, client(s, "e"));
    assert_int_equal(group(s)->type, GROUP_CLASSIC);
    assert_int_equal(HASH_COUNT(group(s)->classic->members), 2);
    assert_int_equal(heartbeat(s, "c"), KERR_GROUP_ID_NOT_FOUND);
    for (int i = 0; i < 3; i++) {
        if (!client(s, "e")->waiting && code_of(client(s, "e")))
            world_join(s->w, client(s, "e"));
        if (!client(s, "e")->waiting)
            world_sync(s->w, client(s, "e"));
        follow(s, "b");
    }
    assert_int_equal(group(s)->classic->state, CLASSIC_STABLE);
}

static void commits_of_classic_members_are_checked_by_generation(void **state)
{
    struct scene *s = *state;
    struct group_member as_a;

    heartbeat(s, "c");
    joins(s, "a");
    joins(s, "a");
    syncs(s, "a");
    as_a = *member(s, "c");
    snprintf(as_a.id, sizeof as_a.id, "%.60s", client(s, "a")->id);
    assert_int_equal(member_commits(&s->members, &as_a, client(s, "a")->generation, "t", 0),
                     KERR_NONE);
    assert_int_equal(member_commits(&s->members, &as_a, client(s, "a")->generation + 1, "t", 0),
                     KERR_ILLEGAL_GENERATION);
    assert_int_equal(member_commits(&s->members, &as_a, client(s, "a")->generation - 1, "t", 0),
                     KERR_ILLEGAL_GENERATION);
    assert_int_equal(group_core_check_offset_fetch(s->w->core, STR("g"), str_from(as_a.id), 1),
                     KERR_ILLEGAL_GENERATION);
}

/* The last member left while the others were waited for: there is nobody to vote, and nothing to
 * take over. */
static void classic_group_without_members_that_still_waits_becomes_a_consumer_group(void **state)
{
    struct scene *s = *state;

    s->w->settings.initial_rebalance_delay_ms = 3000;
    joins(s, "a");
    joins(s, "a");
    world_leave(s->w, client(s, "a"));
    assert_int_equal(group(s)->type, GROUP_CLASSIC);
    assert_false(classic_group_is_empty(group(s)->classic));
    assert_int_equal(heartbeat(s, "b"), KERR_NONE);
    assert_int_equal(group(s)->type, GROUP_CONSUMER);
    assert_int_equal(heartbeat(s, "b"), KERR_NONE);
    assert_string_equal(has(s, "b"), "t-0 t-1 t-2 t-3");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_member_of_the_new_protocol_turns_a_classic_group_while_it_runs),
        CASE(the_last_member_of_the_new_protocol_that_goes_leaves_a_classic_group),
        CASE(a_silent_last_member_of_the_new_protocol_leaves_a_classic_group_too),
        CASE(without_the_downgrade_the_group_stays_what_it_is),
        CASE(groups_that_cannot_be_turned_are_left_alone),
        CASE(groups_of_other_protocols_are_not_turned),
        CASE(what_cannot_be_read_or_would_be_lost_is_not_turned),
        CASE(partitions_that_a_client_gave_twice_are_the_first_ones),
        CASE(who_waits_in_a_classic_group_is_sent_round_when_it_is_turned),
        CASE(a_group_that_is_turned_in_the_middle_of_a_rebalance_is_assigned_anew),
        CASE(classic_group_without_members_that_still_waits_becomes_a_consumer_group),
        CASE(empty_groups_change_their_type_in_passing),
        CASE(a_classic_member_joins_a_consumer_group),
        CASE(a_cooperative_classic_member_gives_back_before_others_get),
        CASE(classic_requests_at_a_consumer_group_are_checked),
        CASE(classic_joins_at_a_consumer_group_are_checked),
        CASE(a_classic_member_that_does_not_join_again_is_removed),
        CASE(a_classic_member_that_does_not_sync_or_is_silent_is_removed),
        CASE(members_leave_a_consumer_group_by_the_classic_request),
        CASE(a_static_member_changes_its_protocol_without_a_rebalance),
        CASE(commits_of_classic_members_are_checked_by_generation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
