/* Edges of the group core that stories cannot tell: odd requests, odd records, limits. */
#include "tests/unit/test.h"

#include <stdlib.h>

#include "broker/coordinator/group_classic.h"
#include "tests/unit/broker/coordinator/group_world.h"

static struct group_world *world(void)
{
    struct group_world *w = world_new(1);

    w->settings.initial_rebalance_delay_ms = 0;
    return w;
}

static struct classic_group *classic(const struct group_world *w)
{
    const struct group *g = group_find(w->core, STR("g"));

    assert_non_null(g);
    assert_int_equal(g->type, GROUP_CLASSIC);
    return g->classic;
}

/* A stable group of one. */
static struct world_client *member(struct group_world *w, const char *name)
{
    struct world_client *c = world_client(w, name);

    c->old = true;
    world_join(w, c);
    return c;
}

static struct world_client *stable_member(struct group_world *w, const char *name)
{
    struct world_client *c = member(w, name);

    world_sync(w, c);
    assert_int_equal(classic(w)->state, CLASSIC_STABLE);
    return c;
}

/* A JoinGroup of nobody that the world knows; code of the answer, or NONE while it waits. */
static struct world_call *join(struct group_world *w, const struct group_join *r,
                               struct str client_id)
{
    struct world_call *call = world_call(w, "g", GROUP_JOIN, "join");

    call->caller.client_id = client_id;
    group_core_join(w->core, &call->caller, r, w->now_ms, &w->fx);
    world_done(w);
    return call;
}

static struct group_join join_of(const struct group_protocol *protocols, size_t count)
{
    return (struct group_join){.group = STR("g"),
                               .member_id = STR(""),
                               .protocol_type = STR("consumer"),
                               .session_timeout_ms = 10000,
                               .rebalance_timeout_ms = 10000,
                               .protocols = protocols,
                               .protocol_count = count};
}

/* ---- joining ---- */

static void a_client_without_a_name_gets_an_id(void **state)
{
    struct group_world *w = world();
    const struct group_protocol p = {STR("range"), {(const uint8_t *)"", 0}};
    struct group_join r = join_of(&p, 1);
    struct world_call *call = join(w, &r, STR_NULL);

    (void)state;
    assert_int_equal(call->caller.code, KERR_NONE);
    assert_int_equal(call->caller.join.member_id.size, 37);
    assert_int_equal(call->caller.join.member_id.data[0], '-');
    assert_int_equal(call->caller.join.member_id.data[15], '4'); /* a random uuid, as text */
    world_free(w);
}

static void the_id_for_the_longest_client_name_fits_a_string(void **state)
{
    struct group_world *w = world();
    const struct group_protocol p = {STR("range"), {(const uint8_t *)"", 0}};
    struct group_join r = join_of(&p, 1);
    char *name = malloc(INT16_MAX);
    struct world_call *call;

    (void)state;
    memset(name, 'n', INT16_MAX);
    call = join(w, &r, (struct str){name, INT16_MAX});
    assert_int_equal(call->caller.code, KERR_NONE);
    assert_int_equal(call->caller.join.member_id.size, INT16_MAX);
    free(name);
    world_free(w);
}

static void a_protocol_named_twice_counts_once(void **state)
{
    struct group_world *w = world();
    const struct group_protocol twice[] = {{STR("range"), {(const uint8_t *)"1", 1}},
                                           {STR("range"), {(const uint8_t *)"2", 1}}};
    struct group_join r = join_of(twice, 2);

    (void)state;
    join(w, &r, STR("x"));
    assert_int_equal(HASH_COUNT(classic(w)->support), 1);
    assert_int_equal(classic(w)->support->count, 1);
    world_wait(w, 10000); /* it never syncs; the world checks how votes are counted */
    assert_int_equal(HASH_COUNT(classic(w)->support), 0);
    world_free(w);
}

static void metadata_that_no_record_can_hold_is_refused_and_makes_no_group(void **state)
{
    struct group_world *w = world();
    uint8_t *much = calloc(1, GROUP_BATCH_BYTES_MAX);
    const struct group_protocol p = {STR("range"), {much, GROUP_BATCH_BYTES_MAX}};
    struct group_join r = join_of(&p, 1);

    (void)state;
    assert_int_equal(join(w, &r, STR("x"))->caller.code, KERR_UNKNOWN_SERVER_ERROR);
    assert_int_equal(group_core_find(w->core, STR("g")), GROUP_NONE);
    free(much);
    world_free(w);
}

static void members_metadata_is_bounded_for_the_whole_group(void **state)
{
    struct group_world *w = world();
    uint8_t *much = calloc(1, 1000000);
    const struct group_protocol p = {STR("range"), {much, 1000000}};
    struct group_join r = join_of(&p, 1);
    struct world_call *call = NULL;
    size_t joined = 0;

    (void)state;
    w->settings.initial_rebalance_delay_ms = 3000;
    for (; joined < 100; joined++) {
        call = join(w, &r, STR("x"));
        if (call->answered)
            break;
    }
    assert_int_equal(call->caller.code, KERR_GROUP_MAX_SIZE_REACHED);
    assert_int_equal(joined, CLASSIC_GROUP_BYTES_MAX / 1000000);
    free(much);
    world_free(w);
}

static void ids_that_are_handed_out_are_bounded(void **state)
{
    struct group_world *w = world();
    const struct group_protocol p = {STR("range"), {(const uint8_t *)"", 0}};
    struct group_join r = join_of(&p, 1);

    (void)state;
    r.require_known_member_id = true;
    for (size_t i = 0; i < CLASSIC_PENDING_MAX; i++) {
        struct world_call *call = world_call(w, "g", GROUP_JOIN, "join");

        group_core_join(w->core, &call->caller, &r, w->now_ms, &w->fx);
        call->answered = call->delivered = true;
        assert_int_equal(call->caller.code, KERR_MEMBER_ID_REQUIRED);
        if (!i) /* the group's first record */
            w->appended++;
    }
    assert_int_equal(join(w, &r, STR("x"))->caller.code, KERR_GROUP_MAX_SIZE_REACHED);
    world_wait(w, 10000);
    assert_int_equal(HASH_COUNT(classic(w)->pending), 0);
    assert_int_equal(classic(w)->bytes, 0);
    world_free(w);
}

static void a_member_that_asks_twice_is_answered_twice(void **state)
{
    struct group_world *w = world();
    struct world_client *a = stable_member(w, "a"), *b = member(w, "b");
    struct world_call *first;

    (void)state;
    world_join(w, a);
    assert_null(b->waiting);
    world_sync(w, b);
    first = b->waiting;
    assert_non_null(first);
    world_sync(w, b);
    assert_ptr_equal(b->last, first);
    assert_int_equal(first->caller.code, KERR_REBALANCE_IN_PROGRESS);
    assert_non_null(b->waiting); /* the second still waits */
    snprintf(b->protocols, sizeof b->protocols, "range:u");
    world_join(w, b);
    first = b->waiting;
    world_join(w, b);
    assert_ptr_equal(b->last, first);
    assert_int_equal(first->caller.code, KERR_REBALANCE_IN_PROGRESS);
    world_join(w, a);
    assert_null(b->waiting);
    assert_int_equal(b->last->caller.code, KERR_NONE);
    world_free(w);
}

static void a_rebalance_timeout_of_nothing_does_not_spin(void **state)
{
    static const int32_t timeouts[] = {0, -1, INT32_MIN};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct group_world *w = world();
        struct world_client *s = world_client(w, "s"), *a = world_client(w, "a");

        snprintf(s->instance, sizeof s->instance, "i1");
        a->old = true;
        s->rebalance_ms = a->rebalance_ms = timeouts[i];
        world_join(w, s);
        world_sync(w, s);
        world_join(w, a);
        world_wait(w, 5000);
        world_leave(w, a);
        world_wait(w, 60000); /* nobody joins until the static member's session ends */
        assert_int_equal(classic(w)->state, CLASSIC_EMPTY);
        world_free(w);
    }
}

/* ---- syncing ---- */

static void assignments_that_no_record_can_hold_fail_the_sync_and_start_over(void **state)
{
    struct group_world *w = world();
    struct world_client *a = stable_member(w, "a"), *b = member(w, "b");
    uint8_t *much = calloc(1, GROUP_BATCH_BYTES_MAX);
    struct world_call *call;
    struct group_sync r = {.group = STR("g"), .assignment_count = 1};
    struct group_sync_assignment one;

    (void)state;
    world_join(w, a);
    world_sync(w, b);
    call = world_call(w, "g", GROUP_SYNC, "sync");
    one = (struct group_sync_assignment){str_from(b->id), {much, GROUP_BATCH_BYTES_MAX}};
    r.member_id = str_from(a->id);
    r.generation = a->generation;
    r.assignments = &one;
    group_core_sync(w->core, &call->caller, &r, w->now_ms, &w->fx);
    world_done(w);
    assert_int_equal(call->caller.code, KERR_UNKNOWN_SERVER_ERROR);
    assert_int_equal(b->last->caller.code, KERR_UNKNOWN_SERVER_ERROR);
    assert_int_equal(classic(w)->state, CLASSIC_PREPARING_REBALANCE);
    free(much);
    world_free(w);
}

static void the_last_of_two_assignments_counts_and_strangers_do_not(void **state)
{
    struct group_world *w = world();
    struct world_client *a = member(w, "a");
    struct group_sync_assignment all[] = {{str_from(a->id), {(const uint8_t *)"1", 1}},
                                          {STR("x"), {(const uint8_t *)"2", 1}},
                                          {str_from(a->id), {(const uint8_t *)"3", 1}}};
    struct world_call *call = world_call(w, "g", GROUP_SYNC, "sync");

    (void)state;
    group_core_sync(w->core, &call->caller,
                    &(struct group_sync){.group = STR("g"),
                                         .member_id = str_from(a->id),
                                         .generation = 1,
                                         .assignments = all,
                                         .assignment_count = 3},
                    w->now_ms, &w->fx);
    world_done(w);
    assert_int_equal(call->caller.sync.assignment.size, 1);
    assert_int_equal(call->caller.sync.assignment.data[0], '3');
    world_free(w);
}

static void a_static_member_that_comes_back_with_too_much_metadata_is_refused(void **state)
{
    struct group_world *w = world();
    struct world_client *s = world_client(w, "s");
    uint8_t *much = calloc(1, GROUP_BATCH_BYTES_MAX);
    const struct group_protocol p = {STR("range"), {much, GROUP_BATCH_BYTES_MAX - 100}};
    struct group_join r = join_of(&p, 1);

    (void)state;
    snprintf(s->instance, sizeof s->instance, "i1");
    world_join(w, s);
    world_sync(w, s);
    r.instance_id = STR("i1");
    assert_int_equal(join(w, &r, STR("x"))->caller.code, KERR_UNKNOWN_SERVER_ERROR);
    world_heartbeat(w, s);
    assert_int_equal(s->last->caller.code, KERR_NONE);
    free(much);
    world_free(w);
}

/* ---- leaving ---- */

static void several_members_leave_in_one_request(void **state)
{
    struct group_world *w = world();
    struct world_client *s = world_client(w, "s"), *a;
    struct group_leave_member members[4] = {0};
    struct world_call *call;

    (void)state;
    snprintf(s->instance, sizeof s->instance, "i1");
    world_join(w, s);
    world_sync(w, s);
    a = member(w, "a");
    world_join(w, s);
    world_sync(w, s);
    members[0] = (struct group_leave_member){.member_id = str_from(a->id), .reason = STR("tired")};
    members[1] = (struct group_leave_member){.member_id = STR(""), .instance_id = STR("i1")};
    members[2] = (struct group_leave_member){.member_id = STR("x"), .instance_id = STR("i2")};
    members[3] = (struct group_leave_member){.member_id = STR("")};
    call = world_call(w, "g", GROUP_LEAVE, "leave");
    group_core_leave(
        w->core, &call->caller,
        &(struct group_leave){.group = STR("g"), .members = members, .member_count = 4}, w->now_ms,
        &w->fx);
    world_done(w);
    assert_int_equal(call->caller.code, KERR_NONE);
    assert_int_equal(call->caller.leave.member_count, 4);
    assert_int_equal(call->caller.leave.members[0].code, KERR_NONE);
    assert_int_equal(call->caller.leave.members[1].code, KERR_NONE);
    assert_int_equal(call->caller.leave.members[2].code, KERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(call->caller.leave.members[3].code, KERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(classic(w)->state, CLASSIC_EMPTY);
    world_free(w);
}

static void an_old_leave_request_gets_its_members_error(void **state)
{
    struct group_world *w = world();
    struct group_leave_member nobody = {.member_id = STR("x")};
    struct world_call *call = world_call(w, "g", GROUP_LEAVE, "leave");

    (void)state;
    group_core_leave(w->core, &call->caller,
                     &(struct group_leave){
                         .group = STR("g"), .members = &nobody, .member_count = 1, .single = true},
                     w->now_ms, &w->fx);
    world_done(w);
    assert_int_equal(call->caller.code, KERR_UNKNOWN_MEMBER_ID);
    world_free(w);
}

static void requests_without_a_group_are_refused(void **state)
{
    struct group_world *w = world();
    struct world_client *c = world_client(w, "c");

    (void)state;
    c->group[0] = '\0';
    world_join(w, c);
    assert_int_equal(c->last->caller.code, KERR_INVALID_GROUP_ID);
    world_sync(w, c);
    assert_int_equal(c->last->caller.code, KERR_INVALID_GROUP_ID);
    world_heartbeat(w, c);
    assert_int_equal(c->last->caller.code, KERR_INVALID_GROUP_ID);
    world_leave(w, c);
    assert_int_equal(c->last->caller.code, KERR_INVALID_GROUP_ID);
    world_commit_offset(w, c, "t", 0, 1, ""); /* old consumers commit so, and Kafka lets them */
    assert_int_equal(c->last->caller.code, KERR_NONE);
    world_free(w);
}

/* ---- offsets ---- */

static struct group_commit commit_of(struct group_commit_partition *partitions, size_t count)
{
    return (struct group_commit){.group = STR("g"),
                                 .member_id = STR(""),
                                 .generation_or_epoch = -1,
                                 .retention_ms = -1,
                                 .timestamp_ms = 5000,
                                 .partitions = partitions,
                                 .partition_count = count,
                                 .version = 9};
}

static struct offset_commit_value last_commit;

static void remember_commit(struct group_world *w, const struct group_record *r)
{
    (void)w;
    if (r->type == GROUP_RECORD_OFFSET_COMMIT && !r->tombstone)
        last_commit = r->value.offset_commit;
}

static enum kerr commit(struct group_world *w, const struct group_commit *r)
{
    struct world_call *call = world_call(w, "g", GROUP_COMMIT, "commit");

    w->on_record = remember_commit;
    group_core_commit(w->core, &call->caller, r, w->now_ms, &w->fx);
    world_done(w);
    return call->caller.code;
}

static void a_commit_may_bring_its_own_retention(void **state)
{
    struct group_world *w = world();
    struct group_commit_partition p = {.topic = STR("t"), .offset = 1, .leader_epoch = 3};
    struct group_commit r = commit_of(&p, 1);

    (void)state;
    assert_int_equal(commit(w, &r), KERR_NONE);
    assert_int_equal(last_commit.expire_timestamp, -1);
    assert_int_equal(last_commit.commit_timestamp, 5000);
    assert_int_equal(last_commit.leader_epoch, 3);
    r.retention_ms = 1000;
    assert_int_equal(commit(w, &r), KERR_NONE);
    assert_int_equal(last_commit.expire_timestamp, 6000);
    r.retention_ms = INT64_MAX;
    assert_int_equal(commit(w, &r), KERR_NONE);
    assert_int_equal(last_commit.expire_timestamp, INT64_MAX);
    world_free(w);
}

static void refused_partitions_do_not_stop_the_others(void **state)
{
    struct group_world *w = world();
    struct group_commit_partition p[] = {
        {.topic = STR("gone"), .code = KERR_UNKNOWN_TOPIC_OR_PARTITION},
        /* three UTF-16 units */
        {.topic = STR("t"), .offset = 1, .metadata = STR("\xF0\x9F\x98\x80\xC3\xA4")},
        {.topic = STR("t"), .partition = 1, .metadata = STR("four")},
        {.topic = STR("t"), .partition = 2, .offset = 2},
    };
    struct group_commit r = commit_of(p, 4);

    (void)state;
    w->settings.offset_metadata_bytes_max = 3;
    assert_int_equal(commit(w, &r), KERR_NONE);
    assert_int_equal(p[0].code, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(p[1].code, KERR_NONE);
    assert_int_equal(p[2].code, KERR_OFFSET_METADATA_TOO_LARGE);
    assert_int_equal(p[3].code, KERR_NONE);
    assert_int_equal(world_offset(w, "g", "t", 0), 1);
    assert_int_equal(world_offset(w, "g", "t", 1), -1);
    assert_int_equal(world_offset(w, "g", "t", 2), 2);
    assert_int_equal(world_offset(w, "g", "gone", 0), -1);
    world_free(w);
}

static void a_commit_that_no_batch_can_hold_is_refused_as_a_whole(void **state)
{
    struct group_world *w = world();
    size_t count = 20000;
    struct group_commit_partition *p = calloc(count, sizeof *p);
    struct group_commit r = commit_of(p, count);

    (void)state;
    for (size_t i = 0; i < count; i++)
        p[i] = (struct group_commit_partition){.topic = STR("t"), .partition = (int32_t)i};
    assert_int_equal(commit(w, &r), KERR_UNKNOWN_SERVER_ERROR);
    assert_int_equal(w->record_count, 0);
    r.partition_count = 5000;
    assert_int_equal(commit(w, &r), KERR_NONE);
    assert_int_equal(w->record_count, 5000);
    free(p);
    world_free(w);
}

static void an_old_commit_to_no_group_gets_an_old_error(void **state)
{
    struct group_world *w = world();
    struct group_commit_partition p = {.topic = STR("t")};
    struct group_commit r = commit_of(&p, 1);

    (void)state;
    r.member_id = STR("x");
    r.generation_or_epoch = 1;
    assert_int_equal(commit(w, &r), KERR_GROUP_ID_NOT_FOUND);
    r.version = 8;
    assert_int_equal(commit(w, &r), KERR_ILLEGAL_GENERATION);
    world_free(w);
}

static void offsets_are_read_of_groups_that_are(void **state)
{
    struct group_world *w = world();

    (void)state;
    world_need(w, "g");
    assert_int_equal(group_core_check_offset_fetch(w->core, STR("g"), STR_NULL, -1),
                     KERR_GROUP_ID_NOT_FOUND);
    stable_member(w, "a");
    assert_int_equal(group_core_check_offset_fetch(w->core, STR("g"), STR_NULL, -1), KERR_NONE);
    assert_int_equal(group_core_check_offset_fetch(w->core, STR("g"), STR("x"), 7), KERR_NONE);
    world_free(w);
}

static void a_commit_with_its_own_time_expires_by_that(void **state)
{
    struct group_world *w = world();
    struct group_stored_offset o[] = {
        {.name = {.topic = STR("t")}, .commit_timestamp_ms = 1000, .expire_timestamp_ms = 2000},
        {.name = {.topic = STR("t"), .partition = 1},
         .commit_timestamp_ms = 1000,
         .expire_timestamp_ms = -1},
    };

    (void)state;
    w->settings.offsets_retention_ms = 5000;
    world_need(w, "g");
    world_commit_offset(w, world_client(w, "c"), "t", 0, 1, "");
    group_core_expire(w->core, STR("g"), o, 2, 1999, &w->fx);
    assert_int_equal(w->fx.record_count, 0);
    group_core_expire(w->core, STR("g"), o, 2, 2000, &w->fx);
    assert_int_equal(w->fx.record_count, 1);
    world_done(w);
    assert_int_equal(group_core_find(w->core, STR("g")), GROUP_NONE);
    group_core_expire(w->core, STR("g"), o, 2, -100000, &w->fx); /* the clock was set back */
    assert_int_equal(w->fx.record_count, 0);
    world_free(w);
}

static void commit_to(struct group_world *w, const char *topic, int32_t partition, struct uuid id)
{
    struct group_commit_partition p = {
        .topic = str_from(topic), .topic_id = id, .partition = partition, .offset = 1};
    struct group_commit r = commit_of(&p, 1);

    r.image_offset = metadata_image_offset(w->images.image);
    assert_int_equal(commit(w, &r), KERR_NONE);
    assert_int_equal(p.code, KERR_NONE);
}

/* What was committed to the topic before it goes, what was committed to the one of now stays;
 * without an id the name decides. */
static void offsets_of_deleted_topics_are_dropped_and_no_others(void **state)
{
    struct group_world *w = world();
    struct uuid kept, old, gone;

    (void)state;
    kept = image_world_topic(&w->images, "kept", 1);
    old = image_world_topic(&w->images, "anew", 2);
    gone = image_world_topic(&w->images, "gone", 1);
    group_core_set_image(w->core, w->images.image);
    world_need(w, "g");
    commit_to(w, "kept", 0, kept);
    commit_to(w, "kept", 1, UUID_ZERO);
    commit_to(w, "anew", 0, old);
    commit_to(w, "gone", 0, gone);
    commit_to(w, "gone", 1, UUID_ZERO);
    assert_true(world_topics_deleted(w, "g"));
    assert_int_equal(world_offset(w, "g", "gone", 0), 1);
    image_world_remove_topic(&w->images, "gone");
    image_world_remove_topic(&w->images, "anew");
    commit_to(w, "anew", 1, image_world_topic(&w->images, "anew", 2));
    group_core_set_image(w->core, w->images.image);
    assert_true(world_topics_deleted(w, "g"));
    assert_int_equal(world_offset(w, "g", "kept", 0), 1);
    assert_int_equal(world_offset(w, "g", "kept", 1), 1);
    assert_int_equal(world_offset(w, "g", "anew", 0), -1);
    assert_int_equal(world_offset(w, "g", "anew", 1), 1);
    assert_int_equal(world_offset(w, "g", "gone", 0), -1);
    assert_int_equal(world_offset(w, "g", "gone", 1), -1);
    world_free(w);
}

/* Shards hear of metadata one after the other: a commit may be of a topic that the core does not
 * know yet. */
static void nothing_is_dropped_by_metadata_that_is_older_than_a_commit(void **state)
{
    struct group_world *w = world();

    (void)state;
    world_need(w, "g");
    commit_to(w, "new", 0, image_world_topic(&w->images, "new", 1));
    assert_false(world_topics_deleted(w, "g"));
    assert_int_equal(world_offset(w, "g", "new", 0), 1);
    group_core_set_image(w->core, w->images.image);
    assert_true(world_topics_deleted(w, "g"));
    assert_int_equal(world_offset(w, "g", "new", 0), 1);
    world_free(w);
}

static void commit_to_a_topic_that_was_deleted_on_its_way_is_refused(void **state)
{
    struct group_world *w = world();
    struct uuid kept = image_world_topic(&w->images, "kept", 1),
                gone = image_world_topic(&w->images, "gone", 1);
    struct group_commit_partition p[] = {{.topic = STR("kept"), .topic_id = kept, .offset = 1},
                                         {.topic = STR("gone"), .topic_id = gone, .offset = 1}};
    struct group_commit r = commit_of(p, 2);

    (void)state;
    r.image_offset = metadata_image_offset(w->images.image);
    image_world_remove_topic(&w->images, "gone");
    group_core_set_image(w->core, w->images.image);
    assert_int_equal(commit(w, &r), KERR_NONE);
    assert_int_equal(p[0].code, KERR_NONE);
    assert_int_equal(p[1].code, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(world_offset(w, "g", "gone", 0), -1);
    world_free(w);
}

/* ---- what is loaded ---- */

static struct group_record stored(struct group_metadata_value_member_metadata *members,
                                  size_t count)
{
    struct group_record r;

    group_record_init(&r, GROUP_RECORD_GROUP_METADATA);
    r.key.group_metadata.group = STR("g");
    r.value.group_metadata.protocol_type = STR("consumer");
    r.value.group_metadata.protocol = STR("range");
    r.value.group_metadata.leader = STR("a");
    r.value.group_metadata.generation = 7;
    r.value.group_metadata.members = members;
    r.value.group_metadata.members_count = count;
    return r;
}

static struct group_metadata_value_member_metadata stored_member(const char *id,
                                                                 const char *instance)
{
    struct group_metadata_value_member_metadata m;

    group_metadata_value_member_metadata_init(&m);
    m.member_id = str_from(id);
    m.group_instance_id = str_from(instance);
    m.client_id = STR("");
    m.client_host = STR("");
    m.session_timeout = 10000;
    m.subscription = m.assignment = (struct bytes){(const uint8_t *)"", 0};
    return m;
}

static void what_no_group_can_have_written_is_corrupt(void **state)
{
    struct group_world *w = world();
    struct group_metadata_value_member_metadata doubles[] = {stored_member("a", NULL),
                                                             stored_member("a", NULL)};
    struct group_metadata_value_member_metadata instances[] = {stored_member("a", "i"),
                                                               stored_member("b", "i")};
    struct group_record r = stored(doubles, 2);

    (void)state;
    assert_int_equal(group_core_load_record(w->core, &r), KERR_CORRUPT_MESSAGE);
    r = stored(instances, 2);
    assert_int_equal(group_core_load_record(w->core, &r), KERR_CORRUPT_MESSAGE);
    r = stored(instances, 1);
    r.value.group_metadata.generation = -1;
    assert_int_equal(group_core_load_record(w->core, &r), KERR_CORRUPT_MESSAGE);
    r = stored(instances, 1);
    r.value.group_metadata.protocol = STR_NULL;
    assert_int_equal(group_core_load_record(w->core, &r), KERR_CORRUPT_MESSAGE);
    r = stored(instances, 1);
    r.value.group_metadata.protocol_type = STR("");
    assert_int_equal(group_core_load_record(w->core, &r), KERR_CORRUPT_MESSAGE);
    /* Nothing of it stayed: a good one is still welcome. */
    r = stored(instances, 1);
    assert_int_equal(group_core_load_record(w->core, &r), KERR_NONE);
    assert_int_equal(group_core_load_record(w->core, &r), KERR_CORRUPT_MESSAGE); /* twice */
    assert_int_equal(group_core_find(w->core, STR("g")), GROUP_UNLOADED);
    group_core_loaded(w->core, STR("g"), false, w->now_ms, &w->fx);
    world_done(w);
    assert_int_equal(classic(w)->state, CLASSIC_STABLE);
    assert_int_equal(HASH_COUNT(classic(w)->members), 1);
    world_free(w);
}

static void other_types_of_group_are_not_served(void **state)
{
    static const enum group_record_type types[] = {
        GROUP_RECORD_SHARE_GROUP_METADATA, GROUP_RECORD_STREAMS_GROUP_METADATA,
        GROUP_RECORD_SHARE_GROUP_STATE_PARTITION_METADATA, GROUP_RECORD_STREAMS_GROUP_TOPOLOGY};
    struct group_world *w = world();

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct group_record r;

        group_record_init(&r, types[i]);
        r.key.group_metadata.group = STR("g");
        assert_int_equal(group_core_load_record(w->core, &r), KERR_UNSUPPORTED_VERSION);
    }
    world_free(w);
}

static void old_records_lack_a_rebalance_timeout_and_a_leader_may_be_gone(void **state)
{
    struct group_world *w = world();
    struct group_metadata_value_member_metadata members[] = {stored_member("b", NULL),
                                                             stored_member("c", NULL)};
    struct group_record r = stored(members, 2);

    (void)state;
    assert_int_equal(group_core_load_record(w->core, &r), KERR_NONE);
    group_core_loaded(w->core, STR("g"), false, w->now_ms, &w->fx);
    world_done(w);
    assert_int_equal(classic(w)->members->rebalance_timeout_ms, 10000);
    assert_ptr_equal(classic(w)->leader, classic(w)->members);
    assert_int_equal(classic(w)->state_wall_ms, -1);
    world_free(w);
}

static void generations_begin_again_before_they_overflow(void **state)
{
    struct group_world *w = world();
    struct group_metadata_value_member_metadata m = stored_member("a", NULL);
    struct group_record r = stored(&m, 1);

    (void)state;
    r.value.group_metadata.generation = INT32_MAX;
    assert_int_equal(group_core_load_record(w->core, &r), KERR_NONE);
    group_core_loaded(w->core, STR("g"), false, w->now_ms, &w->fx);
    world_done(w);
    world_state_of(w, STR("g"))->generation = 0; /* it may go back, this once */
    w->now_ms += 10000;
    group_core_tick(w->core, w->now_ms, &w->fx);
    assert_int_equal(classic(w)->generation, 0);
    world_free(w);
}

static void without_a_wall_clock_no_time_is_claimed(void **state)
{
    struct group_world *w = world();

    (void)state;
    w->core->wall_known = false;
    stable_member(w, "a");
    assert_int_equal(classic(w)->state_wall_ms, -1);
    world_free(w);
}

/* ---- subscriptions ---- */

static bool topics_of(const uint8_t *data, size_t size, const char *topic)
{
    struct group_world *w = world();
    const struct group_protocol p = {STR("range"), {data, size}};
    struct group_join r = join_of(&p, 1);
    bool known;

    join(w, &r, STR("x"));
    known = classic(w)->topics_known;
    if (topic)
        assert_true(classic_group_subscribes(classic(w), str_from(topic)));
    assert_int_equal(classic_group_subscribes(classic(w), STR("other")), !known);
    world_free(w);
    return known;
}

static void subscriptions_of_any_version_are_understood_and_junk_is_not(void **state)
{
    static const uint8_t v0[] = {0, 0, 0, 0, 0, 2, 0, 1, 't', 0, 1, 'a', 255, 255, 255, 255};
    static const uint8_t v3[] = {0,   3, 0, 0, 0, 1, 0, 1, 't', 255, 255, 255,
                                 255, 0, 0, 0, 0, 0, 0, 0, 7,   255, 255};
    static const uint8_t v99[] = {0, 99, 0, 0, 0, 1, 0, 1, 't', 255, 255, 255, 255, 1, 2, 3};
    static const uint8_t negative[] = {255, 255, 0, 0, 0, 1, 0, 1, 't', 255, 255, 255, 255};
    static const uint8_t many[] = {0, 0, 127, 255, 255, 255, 0, 1, 't'};
    static const uint8_t fewer[] = {0, 0, 255, 255, 255, 254, 0, 1, 't', 255, 255, 255, 255};
    static const uint8_t null[] = {0, 0, 0, 0, 0, 1, 255, 255, 255, 255, 255, 255};

    (void)state;
    assert_true(topics_of(v0, sizeof v0, "t"));
    assert_true(topics_of(v0, sizeof v0, "a"));
    assert_true(topics_of(v3, sizeof v3, "t"));
    assert_true(topics_of(v99, sizeof v99, "t"));
    assert_false(topics_of(negative, sizeof negative, NULL));
    assert_false(topics_of(many, sizeof many, NULL));
    assert_false(topics_of(fewer, sizeof fewer, NULL));
    assert_false(topics_of(null, sizeof null, NULL));
    for (size_t cut = 0; cut < sizeof v0; cut++)
        assert_false(topics_of(v0, cut, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_without_a_name_gets_an_id),
        cmocka_unit_test(the_id_for_the_longest_client_name_fits_a_string),
        cmocka_unit_test(a_protocol_named_twice_counts_once),
        cmocka_unit_test(metadata_that_no_record_can_hold_is_refused_and_makes_no_group),
        cmocka_unit_test(members_metadata_is_bounded_for_the_whole_group),
        cmocka_unit_test(ids_that_are_handed_out_are_bounded),
        cmocka_unit_test(a_member_that_asks_twice_is_answered_twice),
        cmocka_unit_test(a_rebalance_timeout_of_nothing_does_not_spin),
        cmocka_unit_test(assignments_that_no_record_can_hold_fail_the_sync_and_start_over),
        cmocka_unit_test(the_last_of_two_assignments_counts_and_strangers_do_not),
        cmocka_unit_test(a_static_member_that_comes_back_with_too_much_metadata_is_refused),
        cmocka_unit_test(several_members_leave_in_one_request),
        cmocka_unit_test(an_old_leave_request_gets_its_members_error),
        cmocka_unit_test(requests_without_a_group_are_refused),
        cmocka_unit_test(a_commit_may_bring_its_own_retention),
        cmocka_unit_test(refused_partitions_do_not_stop_the_others),
        cmocka_unit_test(a_commit_that_no_batch_can_hold_is_refused_as_a_whole),
        cmocka_unit_test(an_old_commit_to_no_group_gets_an_old_error),
        cmocka_unit_test(offsets_are_read_of_groups_that_are),
        cmocka_unit_test(a_commit_with_its_own_time_expires_by_that),
        cmocka_unit_test(offsets_of_deleted_topics_are_dropped_and_no_others),
        cmocka_unit_test(nothing_is_dropped_by_metadata_that_is_older_than_a_commit),
        cmocka_unit_test(commit_to_a_topic_that_was_deleted_on_its_way_is_refused),
        cmocka_unit_test(what_no_group_can_have_written_is_corrupt),
        cmocka_unit_test(other_types_of_group_are_not_served),
        cmocka_unit_test(old_records_lack_a_rebalance_timeout_and_a_leader_may_be_gone),
        cmocka_unit_test(generations_begin_again_before_they_overflow),
        cmocka_unit_test(without_a_wall_clock_no_time_is_claimed),
        cmocka_unit_test(subscriptions_of_any_version_are_understood_and_junk_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
