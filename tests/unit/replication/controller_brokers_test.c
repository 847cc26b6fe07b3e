/* Brokers register, live, leave and die; partitions follow. */
#include "tests/unit/test.h"

#include <string.h>

#include "replication/feature_levels.h"
#include "replication/partition_change.h"
#include "tests/unit/replication/controller_world.h"

static int set_up(void **state)
{
    static struct controller_world w;

    world_init(&w);
    world_activate(&w);
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    world_free(*state);
    return 0;
}

/* A broker's session when its heartbeats were not watched for long: broker.session.timeout.ms. */
#define SESSION_MS 9000

static const struct metadata_broker *broker(struct controller_world *w, int32_t id)
{
    return metadata_image_broker(w->image, id);
}

static enum kerr refused(struct controller_world *w, struct register_broker b)
{
    enum kerr code;

    world_register(w, &b, &code);
    return code;
}

/* ---- bootstrap ---- */

/* Facts of a live cluster: a transaction of the feature levels and the cluster's
 * min.insync.replicas, then the controller's registration. */
static void first_leader_writes_the_bootstrap_records_once(void **state)
{
    struct controller_world *w = *state;
    static const uint8_t types[] = {23, 12, 12, 12, 12, 12, 12, 4, 24, 27};
    int64_t before;

    assert_int_equal(w->next_offset, sizeof types);
    for (size_t i = 0; i < sizeof types; i++)
        assert_int_equal(w->log[i].data[1], types[i]);
    assert_memory_equal(w->log[1].data + 3, "\x11metadata.version", 17);
    assert_int_equal(metadata_image_feature_level(w->image, STR("metadata.version")), 33);
    assert_string_equal(
        config_set_find(metadata_image_configs(w->image, CONFIG_RESOURCE_BROKER, STR("")),
                        STR("min.insync.replicas"))
            .data,
        "1");
    assert_non_null(metadata_image_controller(w->image, 1));
    before = w->next_offset;
    world_fail_over(w);
    assert_int_equal(w->next_offset, before);
}

static void transaction_of_a_fallen_leader_is_aborted(void **state)
{
    struct controller_world *w = *state;
    static const uint8_t begin[] = {1, 23, 0, 0};
    static const uint8_t topic[] =
        "\x01\x02\x00\x05half\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01";
    struct bytes values[2] = {{begin, sizeof begin}, {topic, sizeof topic}};
    struct metadata_batch batch = {w->next_offset, 1, w->now_ms, values, 2};
    const struct metadata_image *image;
    const struct metadata_delta *delta;

    assert_false(status_failed(metadata_loader_apply(w->loader, &batch)));
    assert_false(metadata_loader_publish(w->loader, &image, &delta));
    w->log[w->next_offset++] = (struct bytes){0};
    w->log[w->next_offset++] = (struct bytes){0};
    world_fail_over(w);
    assert_int_equal(w->log[w->next_offset - 1].data[1], 25);
    assert_null(world_topic(w, "half"));
    world_join(w, 1);
    assert_int_equal(world_create(w, "whole", 1, 1).result.code, KERR_NONE);
}

/* ---- registration ---- */

static void registration_counts_from_its_offset_and_starts_fenced(void **state)
{
    struct controller_world *w = *state;
    struct register_broker b = world_broker(1, 1);
    enum kerr code;
    int64_t offset = w->next_offset, epoch;

    b.rack = STR("az1");
    epoch = world_register(w, &b, &code);
    assert_int_equal(code, KERR_NONE);
    assert_int_equal(epoch, offset);
    assert_true(broker(w, 1)->fenced);
    assert_int_equal(broker(w, 1)->rack.size, 3);
    assert_int_equal(broker(w, 1)->feature_count, 7);
    assert_true(w->delta->brokers_changed);
}

static void registrations_that_make_no_sense_are_refused(void **state)
{
    struct controller_world *w = *state;
    struct uuid dirs[2] = {{{5}}, {{5}}}, reserved = uuid_from_number(7);
    struct register_broker b = world_broker(1, 1);
    const struct metadata_feature_range only_version[] = {{STR("metadata.version"), 33, 33}};
    struct metadata_feature_range old[7];
    size_t count;

    world_join(w, 2);
    b.cluster_id = STR("other");
    assert_int_equal(refused(w, b), KERR_INCONSISTENT_CLUSTER_ID);
    b = world_broker(1, 1);
    b.log_dir_count = 0;
    assert_int_equal(refused(w, b), KERR_INVALID_REGISTRATION);
    b.log_dirs = dirs;
    b.log_dir_count = 2;
    assert_int_equal(refused(w, b), KERR_INVALID_REGISTRATION);
    b.log_dirs = &reserved;
    b.log_dir_count = 1;
    assert_int_equal(refused(w, b), KERR_INVALID_REGISTRATION);
    b.log_dirs = broker(w, 2)->log_dirs;
    assert_int_equal(refused(w, b), KERR_INVALID_REGISTRATION);
    b = world_broker(1, 1);
    b.feature_count = 0;
    assert_int_equal(refused(w, b), KERR_INVALID_REGISTRATION);
    b.features = only_version; /* the others are finalised above 0 */
    b.feature_count = 1;
    assert_int_equal(refused(w, b), KERR_UNSUPPORTED_VERSION);
    b.features = supported_features(&count);
    memcpy(old, b.features, sizeof old);
    old[3].max = 32;
    b.features = old;
    b.feature_count = 7;
    assert_int_equal(refused(w, b), KERR_UNSUPPORTED_VERSION);
    b = world_broker(1, 1);
    b.zk_migrating = true;
    assert_int_equal(refused(w, b), KERR_BROKER_ID_NOT_REGISTERED);
    assert_null(broker(w, 1));
}

/* What a node says of itself becomes one record: more than a record can hold, or than we have room
 * for while we make it, is refused, and the controller goes on. */
static void registration_that_says_too_much_of_its_node_is_refused(void **state)
{
    enum { MANY = 2000000 };
    static struct metadata_listener listeners[MANY];
    static struct metadata_feature_range features[2000];
    static char host[32000];
    struct controller_world *w = *state;
    struct controller_request r = {.operation = CONTROLLER_REGISTER_CONTROLLER};
    struct register_broker b = world_broker(1, 1);

    memset(host, 'h', sizeof host);
    for (size_t i = 0; i < MANY; i++)
        listeners[i] = (struct metadata_listener){STR("L"), STR("h"), 1, 0};
    for (size_t i = 0; i < 2000; i++)
        features[i] = (struct metadata_feature_range){STR("metadata.version"), 1, 33};
    b.listeners = listeners;
    b.listener_count = MANY;
    assert_int_equal(refused(w, b), KERR_INVALID_REGISTRATION);
    for (size_t i = 0; i < 100; i++)
        listeners[i].host = (struct str){host, sizeof host};
    b.listener_count = 100;
    assert_int_equal(refused(w, b), KERR_INVALID_REGISTRATION);
    b = world_broker(1, 1);
    b.features = features;
    b.feature_count = 2000;
    assert_int_equal(refused(w, b), KERR_INVALID_REGISTRATION);
    r.controller =
        (struct register_controller){.id = 7, .listeners = listeners, .listener_count = MANY};
    assert_int_equal(world_step(w, &r).code, KERR_INVALID_REQUEST);
    assert_null(metadata_image_controller(w->image, 7));
    assert_true(world_join(w, 1) >= 0);
}

static void heartbeat_with_more_directories_than_a_broker_may_have_is_refused(void **state)
{
    static struct uuid dirs[1001];
    struct controller_world *w = *state;
    struct controller_request r = {.operation = CONTROLLER_HEARTBEAT};

    world_join(w, 1);
    r.heartbeat.broker = world_alive(w, 1);
    r.heartbeat.broker.cordoned_known = true;
    r.heartbeat.broker.cordoned_log_dirs = dirs;
    r.heartbeat.broker.cordoned_log_dir_count = 1001;
    assert_int_equal(world_step(w, &r).code, KERR_INVALID_REQUEST);
    assert_int_equal(w->last_count, 0);
}

static void same_process_again_amends_its_registration(void **state)
{
    struct controller_world *w = *state;
    struct register_broker b = world_broker(1, 1);
    int64_t epoch = world_join(w, 1);
    enum kerr code;

    b.rack = STR("az9");
    assert_int_equal(world_register(w, &b, &code), epoch);
    assert_false(broker(w, 1)->fenced);
    assert_int_equal(broker(w, 1)->rack.size, 3);
}

/* Kafka makes a restarted broker wait until its old session ends. */
static void restarted_process_with_the_same_directory_replaces_its_predecessor_at_once(void **state)
{
    struct controller_world *w = *state;
    struct register_broker b = world_broker(1, 2);
    int64_t epoch = world_join(w, 1);
    enum kerr code;

    world_create(w, "a", 1, 1);
    b.previous_epoch = epoch;
    assert_true(world_register(w, &b, &code) > epoch);
    assert_true(broker(w, 1)->fenced);
    assert_int_equal(world_partition(w, "a", 0)->leader, NO_LEADER);
    world_beat(w, world_alive(w, 1));
    assert_int_equal(world_partition(w, "a", 0)->leader, 1);
}

static void another_machine_with_the_same_id_is_refused_while_the_session_lasts(void **state)
{
    struct controller_world *w = *state;
    struct register_broker b = world_broker(1, 2);
    struct uuid other = {{0xee}};

    world_join(w, 1);
    b.log_dirs = &other;
    world_pass(w, SESSION_MS - 1);
    assert_int_equal(refused(w, b), KERR_DUPLICATE_BROKER_REGISTRATION);
    world_pass(w, 1);
    assert_int_equal(refused(w, b), KERR_NONE);
}

/* ---- heartbeats ---- */

static void broker_is_unfenced_when_it_has_seen_its_registration(void **state)
{
    struct controller_world *w = *state;
    struct register_broker b = world_broker(1, 1);
    struct broker_heartbeat_result result;
    struct broker_heartbeat beat;
    enum kerr code;
    int64_t epoch = world_register(w, &b, &code);

    beat = world_alive(w, 1);
    beat.metadata_offset = epoch - 1;
    result = world_beat(w, beat);
    assert_true(result.fenced);
    assert_false(result.caught_up);
    beat.metadata_offset = epoch;
    beat.want_fence = true;
    result = world_beat(w, beat);
    assert_true(result.fenced);
    assert_true(result.caught_up);
    beat.want_fence = false;
    result = world_beat(w, beat);
    assert_false(result.fenced);
    assert_false(broker(w, 1)->fenced);
}

static void heartbeat_of_another_life_is_refused(void **state)
{
    struct controller_world *w = *state;
    struct controller_request r = {.operation = CONTROLLER_HEARTBEAT};

    r.heartbeat.broker = (struct broker_heartbeat){.id = 1, .epoch = 0};
    assert_int_equal(world_step(w, &r).code, KERR_STALE_BROKER_EPOCH);
    world_join(w, 1);
    r.heartbeat.broker = world_alive(w, 1);
    r.heartbeat.broker.epoch++;
    assert_int_equal(world_step(w, &r).code, KERR_STALE_BROKER_EPOCH);
}

static void silent_broker_is_fenced_when_its_session_ends(void **state)
{
    struct controller_world *w = *state;

    world_join(w, 1);
    world_pass(w, SESSION_MS - 1);
    assert_false(broker(w, 1)->fenced);
    world_pass(w, 1);
    assert_true(broker(w, 1)->fenced);
}

/* Who is known to beat four times a second is missed after two seconds. */
/* Else it would lead on with an image that says so, beside its successor. */
static void fenced_broker_is_let_in_when_it_has_seen_that_it_was_fenced(void **state)
{
    struct controller_world *w = *state;
    struct broker_heartbeat beat;
    int64_t before;

    world_join(w, 1);
    before = world_alive(w, 1).metadata_offset;
    world_pass(w, SESSION_MS);
    assert_true(broker(w, 1)->fenced);
    beat = world_alive(w, 1);
    assert_true(beat.metadata_offset > before);
    beat.metadata_offset = before;
    assert_true(world_beat(w, beat).fenced);
    assert_true(broker(w, 1)->fenced);
    assert_false(world_beat(w, world_alive(w, 1)).fenced);
    assert_false(broker(w, 1)->fenced);
}

static void session_of_a_fast_beating_broker_is_short(void **state)
{
    struct controller_world *w = *state;

    world_join(w, 1);
    for (int i = 0; i < 40; i++) {
        world_pass(w, 250);
        world_beat(w, world_alive(w, 1));
    }
    world_pass(w, 1999);
    assert_false(broker(w, 1)->fenced);
    world_pass(w, 1);
    assert_true(broker(w, 1)->fenced);
}

static void beats(struct controller_world *w, int times, int64_t interval_ms)
{
    for (int i = 0; i < times; i++) {
        world_pass(w, interval_ms);
        world_beat(w, world_alive(w, 1));
    }
}

static void assert_session(struct controller_world *w, int64_t ms)
{
    world_pass(w, ms - 1);
    assert_false(broker(w, 1)->fenced);
    world_pass(w, 1);
    assert_true(broker(w, 1)->fenced);
}

/* Else a zone that is cut off soon after another fault would be missed after nine seconds. */
static void cut_that_healed_does_not_lengthen_the_next_session(void **state)
{
    struct controller_world *w = *state;

    for (int before = 0; before < 12; before++) { /* wherever in a window it comes */
        world_join(w, 1);
        beats(w, 40 + before, 250);
        assert_session(w, 2000);
        world_pass(w, 4000);
        world_beat(w, world_alive(w, 1));
        beats(w, 2, 250);
        assert_session(w, 2000);
    }
}

static void pause_shorter_than_the_session_does_not_lengthen_it(void **state)
{
    struct controller_world *w = *state;

    for (int before = 0; before < 12; before++) {
        world_join(w, 1);
        beats(w, 40 + before, 250);
        beats(w, 1, 1900);
        beats(w, 4, 250);
        assert_session(w, 2000);
    }
}

/* A loaded machine: one heartbeat in four is late. */
static void broker_that_is_slow_again_and_again_has_a_longer_session(void **state)
{
    struct controller_world *w = *state;

    world_join(w, 1);
    for (int i = 0; i < 10; i++) {
        beats(w, 3, 250);
        beats(w, 1, 700);
    }
    assert_session(w, 5 * 700);
}

static void broker_that_beats_slower_than_before_is_not_fenced_for_ever(void **state)
{
    struct controller_world *w = *state;

    world_join(w, 1);
    beats(w, 40, 250);
    beats(w, 3, 2000); /* it is fenced, and its pace is forgotten */
    for (int i = 0; i < 20; i++) {
        beats(w, 1, 2000);
        assert_false(broker(w, 1)->fenced);
    }
}

static void new_controller_knows_the_pace_of_a_fast_broker_after_a_second(void **state)
{
    struct controller_world *w = *state;

    world_join(w, 1);
    world_fail_over(w);
    beats(w, 6, 250);
    assert_session(w, 2000);
}

/* Apache Kafka's brokers beat every two seconds, after a quick burst at start. */
static void slow_beating_broker_is_never_fenced_falsely(void **state)
{
    struct controller_world *w = *state;

    world_join(w, 1);
    for (int i = 0; i < 30; i++)
        world_beat(w, world_alive(w, 1));
    for (int i = 0; i < 30; i++) {
        world_pass(w, 2000);
        assert_false(broker(w, 1)->fenced);
        world_beat(w, world_alive(w, 1));
    }
    world_pass(w, SESSION_MS - 1);
    assert_false(broker(w, 1)->fenced);
}

/* What a new controller gives brokers that it has not heard of: two heartbeats of Apache
 * Kafka's. */
#define UNHEARD_MS 4000

static void new_controller_gives_everyone_time_to_be_heard(void **state)
{
    struct controller_world *w = *state;

    world_join(w, 1);
    world_join(w, 2);
    world_pass(w, SESSION_MS - 1);
    world_fail_over(w);
    world_pass(w, UNHEARD_MS - 1);
    assert_false(broker(w, 1)->fenced);
    world_beat(w, world_alive(w, 2));
    world_pass(w, 1);
    assert_true(broker(w, 1)->fenced);
    world_pass(w, SESSION_MS - 2); /* heard once, and its pace is not known yet */
    assert_false(broker(w, 2)->fenced);
    world_pass(w, 1);
    assert_true(broker(w, 2)->fenced);
}

/* DESIGN 6: it was silent already when the others elected a new leader. */
static void session_of_the_deposed_leader_counts_from_the_last_contact_with_it(void **state)
{
    struct controller_world *w = *state;

    world_join(w, 1);
    world_join(w, 2);
    w->deposed = (struct controller_deposed){2, w->now_ms};
    world_pass(w, 1500);
    world_fail_over(w);
    world_pass(w, 999);
    assert_false(broker(w, 2)->fenced);
    world_pass(w, 1);
    assert_true(broker(w, 2)->fenced);
    assert_false(broker(w, 1)->fenced);
}

static void note_no_answer(struct controller_world *w, int32_t id, int64_t epoch, int64_t asked_ms)
{
    struct controller_request r = {.operation = CONTROLLER_BROKER_SILENT,
                                   .sighting = {id, epoch, asked_ms}};

    world_step(w, &r);
}

/* In a cut that has begun before the election: each one would put the end of its session back. */
static void new_controller_waits_less_for_whose_listener_does_not_answer_either(void **state)
{
    struct controller_world *w = *state;
    int64_t asked_ms;

    world_join(w, 1);
    world_join(w, 2);
    world_pass(w, SESSION_MS - 1);
    world_fail_over(w);
    asked_ms = w->now_ms;
    world_pass(w, 1000);
    note_no_answer(w, 1, broker(w, 1)->epoch, asked_ms);
    world_pass(w, 1499);
    assert_false(broker(w, 1)->fenced);
    world_pass(w, 1);
    assert_true(broker(w, 1)->fenced);
    assert_false(broker(w, 2)->fenced);
}

static void silent_listener_of_a_broker_that_beats_means_nothing(void **state)
{
    struct controller_world *w = *state;
    int64_t asked_ms;

    world_join(w, 1);
    world_fail_over(w);
    asked_ms = w->now_ms;
    world_pass(w, 10);
    note_no_answer(w, 1, broker(w, 1)->epoch - 1, asked_ms); /* of another life */
    world_beat(w, world_alive(w, 1));
    note_no_answer(w, 1, broker(w, 1)->epoch, asked_ms);
    note_no_answer(w, 1, broker(w, 1)->epoch, w->now_ms);
    note_no_answer(w, 7, 1, w->now_ms);
    world_pass(w, SESSION_MS - 1);
    assert_false(broker(w, 1)->fenced);
}

/* ---- failing fast ---- */

static struct controller_result refuse(struct controller_world *w, int32_t id, int64_t epoch,
                                       int64_t asked_ms)
{
    struct controller_request r = {.operation = CONTROLLER_BROKER_REFUSES,
                                   .sighting = {id, epoch, asked_ms}};

    return world_step(w, &r);
}

static void broker_that_refuses_connections_is_fenced_at_once(void **state)
{
    struct controller_world *w = *state;

    world_join(w, 2);
    world_join(w, 3);
    world_create(w, "a", 1, 2);
    refuse(w, 2, broker(w, 2)->epoch, w->now_ms);
    assert_true(broker(w, 2)->fenced);
    assert_false(broker(w, 3)->fenced);
    assert_int_equal(world_partition(w, "a", 0)->leader, 3);
}

static void broker_that_was_heard_since_it_refused_is_not_fenced(void **state)
{
    struct controller_world *w = *state;
    int64_t asked_ms = w->now_ms;

    world_join(w, 2);
    world_pass(w, 10);
    world_beat(w, world_alive(w, 2));
    refuse(w, 2, broker(w, 2)->epoch, asked_ms);
    assert_false(broker(w, 2)->fenced);
}

static void refusal_of_another_life_or_of_nobody_is_passed_over(void **state)
{
    struct controller_world *w = *state;

    world_join(w, 2);
    assert_int_equal(refuse(w, 2, broker(w, 2)->epoch - 1, w->now_ms).code, KERR_NONE);
    assert_int_equal(refuse(w, 7, 1, w->now_ms).code, KERR_NONE);
    assert_false(broker(w, 2)->fenced);
}

static void new_controller_looks_at_every_broker_but_its_own(void **state)
{
    struct controller_world *w = *state;

    world_join(w, 1);
    world_join(w, 2);
    world_join(w, 3);
    world_fail_over(w);
    w->suspect_count = 0;
    world_pass(w, 1);
    assert_int_equal(w->suspect_count, 2);
    assert_int_equal(w->suspects[0].id + w->suspects[1].id, 5);
    assert_int_equal(w->suspects[0].epoch, broker(w, w->suspects[0].id)->epoch);
}

static void silence_of_twice_its_pace_is_worth_a_look(void **state)
{
    struct controller_world *w = *state;

    world_join(w, 2);
    for (int i = 0; i < 40; i++) {
        world_pass(w, 300);
        world_beat(w, world_alive(w, 2));
    }
    w->suspect_count = 0;
    world_pass(w, 599);
    assert_int_equal(w->suspect_count, 0);
    world_pass(w, 1);
    assert_int_equal(w->suspect_count, 1);
    w->suspect_count = 0;
    world_pass(w, 999); /* not again and again */
    assert_int_equal(w->suspect_count, 0);
}

/* ---- leaving ---- */

static void broker_that_leads_leaves_in_two_steps(void **state)
{
    struct controller_world *w = *state;
    struct broker_heartbeat bye;
    struct broker_heartbeat_result result;

    world_join(w, 1);
    world_create(w, "a", 2, 1);
    bye = world_alive(w, 1);
    bye.want_shutdown = true;
    result = world_beat(w, bye);
    assert_false(result.should_shut_down);
    assert_true(broker(w, 1)->in_controlled_shutdown);
    assert_int_equal(world_partition(w, "a", 1)->leader, NO_LEADER);
    result = world_beat(w, bye);
    assert_true(result.should_shut_down);
    assert_true(broker(w, 1)->fenced);
}

static void leader_moves_to_the_next_in_sync_before_a_broker_leaves(void **state)
{
    struct controller_world *w = *state;
    struct broker_heartbeat bye, other;
    int32_t first, second;

    world_join(w, 1);
    world_join(w, 2);
    world_create(w, "a", 1, 2);
    first = world_partition(w, "a", 0)->leader;
    second = 3 - first;
    bye = world_alive(w, first);
    bye.want_shutdown = true;
    other = world_alive(w, second);
    world_beat(w, other);
    assert_false(world_beat(w, bye).should_shut_down);
    assert_int_equal(world_partition(w, "a", 0)->leader, second);
    assert_int_equal(world_partition(w, "a", 0)->isr.count, 1);
    /* Not before the other knows that it leads. */
    assert_false(world_beat(w, bye).should_shut_down);
    world_beat(w, world_alive(w, second));
    assert_true(world_beat(w, bye).should_shut_down);
}

static void broker_that_leads_nothing_may_go_at_once(void **state)
{
    struct controller_world *w = *state;
    struct broker_heartbeat bye;

    world_join(w, 1);
    bye = world_alive(w, 1);
    bye.want_shutdown = true;
    assert_true(world_beat(w, bye).should_shut_down);
    assert_true(broker(w, 1)->fenced);
    assert_true(world_beat(w, bye).should_shut_down);
}

/* ---- leaders, ISR and ELR (KIP-966) ---- */

static void last_replica_keeps_its_claim_in_the_elr(void **state)
{
    struct controller_world *w = *state;
    const struct metadata_partition *p;

    world_join(w, 1);
    world_create(w, "a", 1, 1);
    world_pass(w, SESSION_MS);
    p = world_partition(w, "a", 0);
    assert_int_equal(p->leader, NO_LEADER);
    assert_int_equal(p->leader_epoch, 1);
    assert_int_equal(p->isr.count, 0);
    assert_int_equal(p->elr.count, 1);
    assert_int_equal(p->last_known_elr.count, 1);
    world_beat(w, world_alive(w, 1));
    p = world_partition(w, "a", 0);
    assert_int_equal(p->leader, 1);
    assert_int_equal(p->leader_epoch, 2);
    assert_int_equal(p->isr.count, 1);
    assert_int_equal(p->elr.count, 0);
    assert_int_equal(p->last_known_elr.count, 0);
    assert_int_equal(p->leader_recovery_state, LEADER_RECOVERED);
}

/* Its log may lack records that were acknowledged: it leads only because nobody else can. */
static void replica_that_lost_records_leads_only_as_the_last_known_leader(void **state)
{
    struct controller_world *w = *state;
    struct register_broker b = world_broker(1, 2);
    const struct metadata_partition *p;
    enum kerr code;

    world_join(w, 1);
    world_create(w, "a", 1, 1);
    b.previous_epoch = -1;
    world_register(w, &b, &code);
    p = world_partition(w, "a", 0);
    assert_int_equal(p->isr.count + p->elr.count, 0);
    assert_int_equal(p->last_known_elr.ids[0], 1);
    world_beat(w, world_alive(w, 1));
    p = world_partition(w, "a", 0);
    assert_int_equal(p->leader, 1);
    assert_int_equal(p->leader_recovery_state, LEADER_RECOVERING);
}

static bool nobody_may_lead(void *arg, int32_t id)
{
    (void)arg;
    (void)id;
    return false;
}

/* It had no leader already when the last of the ISR lost its log: without a name to go by it would
 * never have one again. */
static void last_of_an_isr_without_a_leader_is_remembered(void **state)
{
    static const int32_t replica = 2;
    static const struct uuid directory = {{1}};
    const struct metadata_partition before = {.leader = NO_LEADER,
                                              .leader_epoch = 5,
                                              .replicas = {&replica, 1},
                                              .isr = {&replica, 1},
                                              .directories = &directory};
    struct partition_change c;
    struct metadata_record r;
    struct arena a;
    (void)state;

    arena_init(&a, 4096);
    partition_change_init(&c, &before);
    c.metadata_version = 25;
    c.elr_enabled = true;
    c.min_isr = 1;
    c.may_lead = nobody_may_lead;
    c.unclean_id = 2;
    c.isr = (struct id_list){0};
    assert_true(partition_change_record(&c, &a, &r));
    assert_int_equal(r.partition_change.isr_count, 0);
    assert_int_equal(r.partition_change.last_known_elr_count, 1);
    assert_int_equal(r.partition_change.last_known_elr[0], 2);
    arena_free(&a);
}

static bool anybody_may_lead(void *arg, int32_t id)
{
    (void)arg;
    (void)id;
    return true;
}

/* A reassignment that was taken back may have taken its replica along. */
static void last_known_leader_that_is_no_replica_any_more_does_not_lead(void **state)
{
    static const int32_t replica = 2, gone = 3;
    static const struct uuid directory = {{1}};
    const struct metadata_partition before = {.leader = NO_LEADER,
                                              .leader_epoch = 5,
                                              .replicas = {&replica, 1},
                                              .last_known_elr = {&gone, 1},
                                              .directories = &directory};
    struct partition_change c;
    struct metadata_record r;
    struct arena a;
    (void)state;

    arena_init(&a, 4096);
    partition_change_init(&c, &before);
    c.metadata_version = 25;
    c.elr_enabled = true;
    c.min_isr = 1;
    c.may_lead = anybody_may_lead;
    assert_false(partition_change_record(&c, &a, &r));
    c.election = ELECTION_UNCLEAN;
    assert_true(partition_change_record(&c, &a, &r));
    assert_int_equal(r.partition_change.leader, replica);
    arena_free(&a);
}

static void follower_outside_isr_and_elr_does_not_lead(void **state)
{
    struct controller_world *w = *state;
    struct isr_member alone;
    struct alter_partition shrink = {.isr = &alone, .isr_count = 1};
    struct controller_request r = {.operation = CONTROLLER_ALTER_PARTITIONS};
    const struct metadata_partition *p;
    int32_t leader;

    world_join(w, 1);
    world_join(w, 2);
    world_create(w, "a", 1, 2);
    p = world_partition(w, "a", 0);
    leader = p->leader;
    alone = (struct isr_member){leader, -1};
    shrink.topic_id = world_topic(w, "a")->id;
    r.isr.partitions = &shrink;
    r.isr.count = 1;
    r.isr.broker_id = leader;
    r.isr.broker_epoch = broker(w, leader)->epoch;
    world_step(w, &r);
    assert_int_equal(r.isr.results[0].code, KERR_NONE);
    assert_int_equal(r.isr.results[0].partition_epoch, 1);
    for (int i = 0; i < 36; i++) { /* the leader falls silent */
        world_pass(w, 250);
        world_beat(w, world_alive(w, 3 - leader));
    }
    p = world_partition(w, "a", 0);
    assert_true(broker(w, leader)->fenced);
    assert_int_equal(p->leader, NO_LEADER);
    assert_int_equal(p->elr.ids[0], leader);
}

/* ---- AlterPartition ---- */

struct isr_case {
    int32_t leader_epoch_by, partition_epoch_by;
    struct isr_member isr[3];
    size_t isr_count;
    enum kerr code;
};

static void isr_changes_are_checked(void **state)
{
    struct controller_world *w = *state;
    struct alter_partition q = {0};
    struct controller_request r = {.operation = CONTROLLER_ALTER_PARTITIONS};
    const struct metadata_partition *p;
    struct isr_member alone = {0, -1};
    int32_t me, other;

    world_join(w, 1);
    world_join(w, 2);
    world_join(w, 3);
    world_create(w, "a", 1, 2);
    p = world_partition(w, "a", 0);
    me = p->leader;
    other = alone.id = p->replicas.ids[1];
    {
        const struct isr_case cases[] = {
            {1, 0, {{me, -1}}, 1, KERR_NOT_CONTROLLER},
            {-1, 0, {{me, -1}}, 1, KERR_FENCED_LEADER_EPOCH},
            {0, 1, {{me, -1}}, 1, KERR_NOT_CONTROLLER},
            {0, -1, {{me, -1}}, 1, KERR_INVALID_UPDATE_VERSION},
            {0, 0, {{other, -1}}, 1, KERR_INVALID_REQUEST},
            {0, 0, {{me, -1}, {6 - me - other, -1}}, 2, KERR_INVALID_REQUEST},
            {0, 0, {{me, -1}, {me, -1}}, 2, KERR_INVALID_REQUEST},
            {0, 0, {{me, -1}, {other, 1}}, 2, KERR_INELIGIBLE_REPLICA},
            {0, 0, {{me, -1}, {other, broker(w, other)->epoch}}, 2, KERR_NONE},
        };

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            q.topic_id = world_topic(w, "a")->id;
            q.leader_epoch = p->leader_epoch + cases[i].leader_epoch_by;
            q.partition_epoch = p->partition_epoch + cases[i].partition_epoch_by;
            q.isr = cases[i].isr;
            q.isr_count = cases[i].isr_count;
            r.isr.partitions = &q;
            r.isr.count = 1;
            r.isr.broker_id = me;
            r.isr.broker_epoch = broker(w, me)->epoch;
            assert_int_equal(world_step(w, &r).code, KERR_NONE);
            assert_int_equal(r.isr.results[0].code, cases[i].code);
        }
    }
    q.isr = &alone;
    q.isr_count = 1;
    r.isr.broker_id = other; /* not its leader */
    r.isr.broker_epoch = broker(w, other)->epoch;
    world_step(w, &r);
    assert_int_equal(r.isr.results[0].code, KERR_INVALID_REQUEST);
    q.topic_id = (struct uuid){{1}};
    world_step(w, &r);
    assert_int_equal(r.isr.results[0].code, KERR_UNKNOWN_TOPIC_ID);
    r.isr.broker_epoch++;
    assert_int_equal(world_step(w, &r).code, KERR_STALE_BROKER_EPOCH);
}

/* ---- directories ---- */

static int64_t join_with_two_dirs(struct controller_world *w, const struct uuid dirs[2])
{
    struct register_broker b = world_broker(1, 1);
    enum kerr code;
    int64_t epoch;

    b.log_dirs = dirs;
    b.log_dir_count = 2;
    epoch = world_register(w, &b, &code);
    world_beat(w, world_alive(w, 1));
    return epoch;
}

static void broker_says_in_which_directory_a_replica_landed(void **state)
{
    struct controller_world *w = *state;
    struct uuid dirs[2] = {{{0xa1}}, {{0xa2}}};
    struct assign_replica assign[2];
    struct controller_request r = {.operation = CONTROLLER_ASSIGN_REPLICAS};

    r.directories.broker_id = 1;
    r.directories.broker_epoch = join_with_two_dirs(w, dirs);
    world_create(w, "a", 1, 1);
    assert_true(uuid_equal(world_partition(w, "a", 0)->directories[0], DIRECTORY_UNASSIGNED));
    assign[0] = (struct assign_replica){world_topic(w, "a")->id, 0, dirs[1]};
    assign[1] = (struct assign_replica){world_topic(w, "a")->id, 7, dirs[1]};
    r.directories.replicas = assign;
    r.directories.count = 2;
    assert_int_equal(world_step(w, &r).code, KERR_NONE);
    assert_int_equal(r.directories.results[0], KERR_NONE);
    assert_int_equal(r.directories.results[1], KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_true(uuid_equal(world_partition(w, "a", 0)->directories[0], dirs[1]));
    assert_int_equal(world_partition(w, "a", 0)->leader, 1);
    assert_int_equal(world_partition(w, "a", 0)->leader_epoch, 0);
}

static void offline_directory_takes_only_its_own_partitions_down(void **state)
{
    struct controller_world *w = *state;
    struct uuid dirs[2] = {{{0xa1}}, {{0xa2}}};
    struct assign_replica assign[2];
    struct controller_request r = {.operation = CONTROLLER_ASSIGN_REPLICAS};
    struct broker_heartbeat beat;

    r.directories.broker_id = 1;
    r.directories.broker_epoch = join_with_two_dirs(w, dirs);
    world_create(w, "a", 2, 1);
    for (int32_t i = 0; i < 2; i++)
        assign[i] = (struct assign_replica){world_topic(w, "a")->id, i, dirs[i]};
    r.directories.replicas = assign;
    r.directories.count = 2;
    world_step(w, &r);
    beat = world_alive(w, 1);
    beat.offline_log_dirs = &dirs[1];
    beat.offline_log_dir_count = 1;
    world_beat(w, beat);
    assert_int_equal(world_partition(w, "a", 0)->leader, 1);
    assert_int_equal(world_partition(w, "a", 1)->leader, NO_LEADER);
    assert_int_equal(broker(w, 1)->log_dir_count, 1);
    world_beat(w, beat);
    assert_int_equal(w->last_count, 0);
}

/* The leader may hear of it late, and still have a fetch of that replica. */
static void replica_in_an_offline_directory_may_not_come_back_into_the_isr(void **state)
{
    struct controller_world *w = *state;
    struct uuid dirs[2] = {{{0xa1}}, {{0xa2}}};
    struct assign_replica assign;
    struct controller_request r = {.operation = CONTROLLER_ASSIGN_REPLICAS};
    struct broker_heartbeat beat;

    world_join(w, 2);
    r.directories.broker_id = 1;
    r.directories.broker_epoch = join_with_two_dirs(w, dirs);
    world_create_on(w, "a", IDS(2, 1));
    assign = (struct assign_replica){world_topic(w, "a")->id, 0, dirs[1]};
    r.directories.replicas = &assign;
    r.directories.count = 1;
    world_step(w, &r);
    beat = world_alive(w, 1);
    beat.offline_log_dirs = &dirs[1];
    beat.offline_log_dir_count = 1;
    world_beat(w, beat);
    assert_ids(world_partition(w, "a", 0)->isr, 2);
    assert_int_equal(world_set_isr(w, "a", 0, IDS(2, 1)).code, KERR_INELIGIBLE_REPLICA);
    assert_ids(world_partition(w, "a", 0)->isr, 2);
    assign.directory = dirs[0]; /* it was put where the disk is well */
    world_step(w, &r);
    assert_int_equal(world_set_isr(w, "a", 0, IDS(2, 1)).code, KERR_NONE);
    assert_ids(world_partition(w, "a", 0)->isr, 2, 1);
}

/* ---- the rest ---- */

static void unregistered_broker_is_gone_from_everywhere(void **state)
{
    struct controller_world *w = *state;
    struct controller_request r = {.operation = CONTROLLER_UNREGISTER_BROKER};

    world_join(w, 1);
    world_create(w, "a", 1, 1);
    r.unregistration.broker_id = 1;
    assert_int_equal(world_step(w, &r).code, KERR_NONE);
    assert_null(broker(w, 1));
    assert_int_equal(world_partition(w, "a", 0)->isr.count, 0);
    assert_int_equal(world_partition(w, "a", 0)->elr.count, 0);
    assert_int_equal(world_step(w, &r).code, KERR_BROKER_ID_NOT_REGISTERED);
}

static void producer_ids_come_in_blocks_of_a_thousand(void **state)
{
    struct controller_world *w = *state;
    struct controller_request r = {.operation = CONTROLLER_ALLOCATE_PRODUCER_IDS};

    r.producer_ids.broker_id = 1;
    assert_int_equal(world_step(w, &r).code, KERR_STALE_BROKER_EPOCH);
    r.producer_ids.broker_epoch = world_join(w, 1);
    for (int64_t i = 0; i < 3; i++) {
        assert_int_equal(world_step(w, &r).code, KERR_NONE);
        assert_int_equal(r.producer_ids.first_id, i * 1000);
        assert_int_equal(r.producer_ids.id_count, 1000);
        world_fail_over(w);
    }
}

static void idle_log_gets_a_no_op_record_now_and_then(void **state)
{
    struct controller_world *w = *state;
    int64_t before = w->next_offset;

    world_pass(w, 499);
    assert_int_equal(w->next_offset, before);
    world_pass(w, 1);
    assert_int_equal(w->next_offset, before + 1);
    assert_memory_equal(w->log[before].data, "\x01\x14\x00\x00", 4);
    world_pass(w, 5000);
    assert_int_equal(w->next_offset, before + 11);
    config_values_set(w->given, STR("metadata.max.idle.interval.ms"), STR("0"), NULL);
    world_pass(w, 5000);
    assert_int_equal(w->next_offset, before + 11);
}

static void many_partitions_follow_their_broker_through_a_restart(void **state)
{
    struct controller_world *w = *state;
    struct register_broker b = world_broker(1, 2);
    enum kerr code;

    b.previous_epoch = world_join(w, 1);
    world_create(w, "many", 10000, 1);
    world_register(w, &b, &code);
    assert_int_equal(world_partition(w, "many", 9999)->leader, NO_LEADER);
    assert_false(world_beat(w, world_alive(w, 1)).fenced);
    assert_int_equal(world_partition(w, "many", 9999)->leader, 1);
    assert_true(images_equal(w->image, controller_core_image(w->core)));
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(first_leader_writes_the_bootstrap_records_once),
        STORY(transaction_of_a_fallen_leader_is_aborted),
        STORY(registration_counts_from_its_offset_and_starts_fenced),
        STORY(registrations_that_make_no_sense_are_refused),
        STORY(same_process_again_amends_its_registration),
        STORY(registration_that_says_too_much_of_its_node_is_refused),
        STORY(heartbeat_with_more_directories_than_a_broker_may_have_is_refused),
        STORY(restarted_process_with_the_same_directory_replaces_its_predecessor_at_once),
        STORY(another_machine_with_the_same_id_is_refused_while_the_session_lasts),
        STORY(broker_is_unfenced_when_it_has_seen_its_registration),
        STORY(heartbeat_of_another_life_is_refused),
        STORY(silent_broker_is_fenced_when_its_session_ends),
        STORY(fenced_broker_is_let_in_when_it_has_seen_that_it_was_fenced),
        STORY(session_of_a_fast_beating_broker_is_short),
        STORY(cut_that_healed_does_not_lengthen_the_next_session),
        STORY(pause_shorter_than_the_session_does_not_lengthen_it),
        STORY(broker_that_is_slow_again_and_again_has_a_longer_session),
        STORY(broker_that_beats_slower_than_before_is_not_fenced_for_ever),
        STORY(new_controller_knows_the_pace_of_a_fast_broker_after_a_second),
        STORY(slow_beating_broker_is_never_fenced_falsely),
        STORY(new_controller_gives_everyone_time_to_be_heard),
        STORY(session_of_the_deposed_leader_counts_from_the_last_contact_with_it),
        STORY(new_controller_waits_less_for_whose_listener_does_not_answer_either),
        STORY(silent_listener_of_a_broker_that_beats_means_nothing),
        STORY(broker_that_refuses_connections_is_fenced_at_once),
        STORY(broker_that_was_heard_since_it_refused_is_not_fenced),
        STORY(refusal_of_another_life_or_of_nobody_is_passed_over),
        STORY(new_controller_looks_at_every_broker_but_its_own),
        STORY(silence_of_twice_its_pace_is_worth_a_look),
        STORY(broker_that_leads_leaves_in_two_steps),
        STORY(leader_moves_to_the_next_in_sync_before_a_broker_leaves),
        STORY(broker_that_leads_nothing_may_go_at_once),
        STORY(last_replica_keeps_its_claim_in_the_elr),
        STORY(replica_that_lost_records_leads_only_as_the_last_known_leader),
        STORY(last_of_an_isr_without_a_leader_is_remembered),
        STORY(last_known_leader_that_is_no_replica_any_more_does_not_lead),
        STORY(follower_outside_isr_and_elr_does_not_lead),
        STORY(isr_changes_are_checked),
        STORY(broker_says_in_which_directory_a_replica_landed),
        STORY(offline_directory_takes_only_its_own_partitions_down),
        STORY(replica_in_an_offline_directory_may_not_come_back_into_the_isr),
        STORY(unregistered_broker_is_gone_from_everywhere),
        STORY(producer_ids_come_in_blocks_of_a_thousand),
        STORY(idle_log_gets_a_no_op_record_now_and_then),
        STORY(many_partitions_follow_their_broker_through_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
