/* The controller and a broker's life on a real metadata log, on one thread in virtual time: the
 * road from an empty directory to a broker that serves, and away again. */
#include "tests/unit/replication/single_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/messages/broker_heartbeat.h"
#include "protocol/messages/broker_registration.h"
#include "replication/broker_lifecycle.h"
#include "replication/controller.h"

struct node_world {
    struct single *single;
    struct config_values *given;
    struct controller *controller;
    struct broker_lifecycle *lifecycle;
    struct transport transport;
    struct self_call *calls;            /* under way */
    const struct metadata_image *image; /* newest published; a reference */
    size_t published;
    int32_t leader_id;
    struct status failure;
    int64_t previous_epoch;
    int64_t registered_epoch;
    struct arena arena;
    bool cut; /* the transport answers nothing but failures */
};

/* ---- a transport that hands requests to the controller of the same node ---- */

struct self_call {
    struct self_call *next;
    struct controller_request request;
    struct transport_request *caller; /* NULL: cancelled */
    struct node_world *world;
    struct arena arena;
    struct task failure;
};

static struct node_world *world_of(struct transport *t)
{
    return CONTAINER_OF(t, struct node_world, transport);
}

static void call_free(struct self_call *call)
{
    struct self_call **at = &call->world->calls;

    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    arena_free(&call->arena);
    free(call);
}

static void encode_answer(struct self_call *call, enum kerr code, struct writer *w)
{
    struct controller_request *r = &call->request;

    if (r->operation == CONTROLLER_REGISTER_BROKER) {
        struct broker_registration_response m = {.error_code = (int16_t)code,
                                                 .broker_epoch = r->registration.epoch};

        CHECK(broker_registration_response_encode(&m, w, 4));
    } else {
        struct broker_heartbeat_response m = {.error_code = (int16_t)code,
                                              .is_caught_up = r->heartbeat.result.caught_up,
                                              .is_fenced = r->heartbeat.result.fenced,
                                              .should_shut_down =
                                                  r->heartbeat.result.should_shut_down};

        CHECK(broker_heartbeat_response_encode(&m, w, 2));
    }
}

static void call_done(struct controller_request *r, struct controller_result result)
{
    struct self_call *call = CONTAINER_OF(r, struct self_call, request);
    struct writer w;

    writer_init(&w, 4096);
    encode_answer(call, result.code, &w);
    if (call->caller)
        call->caller->answered(call->caller, STATUS_OK, (struct bytes){w.data, w.size});
    writer_free(&w);
    call_free(call);
}

static void call_failed(struct task *t)
{
    struct self_call *call = CONTAINER_OF(t, struct self_call, failure);

    if (call->caller)
        call->caller->answered(call->caller, status_error(KERR_NETWORK_EXCEPTION, "cut"),
                               (struct bytes){0});
    call_free(call);
}

static void decode_registration(struct self_call *call, struct reader *r)
{
    struct register_broker *b = &call->request.registration.broker;
    struct broker_registration_request m;
    struct metadata_listener *listeners;
    struct metadata_feature_range *features;

    CHECK(broker_registration_request_decode(&m, r, &call->arena, 4));
    listeners = arena_array(&call->arena, struct metadata_listener, m.listeners_count);
    features = arena_array(&call->arena, struct metadata_feature_range, m.features_count);
    for (size_t i = 0; i < m.listeners_count; i++)
        listeners[i] = (struct metadata_listener){m.listeners[i].name, m.listeners[i].host,
                                                  m.listeners[i].port, 0};
    for (size_t i = 0; i < m.features_count; i++)
        features[i] =
            (struct metadata_feature_range){m.features[i].name, m.features[i].min_supported_version,
                                            m.features[i].max_supported_version};
    *b = (struct register_broker){.id = m.broker_id,
                                  .cluster_id = m.cluster_id,
                                  .incarnation = m.incarnation_id,
                                  .listeners = listeners,
                                  .listener_count = m.listeners_count,
                                  .features = features,
                                  .feature_count = m.features_count,
                                  .rack = m.rack,
                                  .log_dirs = m.log_dirs,
                                  .log_dir_count = m.log_dirs_count,
                                  .previous_epoch = m.previous_broker_epoch};
    call->request.operation = CONTROLLER_REGISTER_BROKER;
}

static void decode_heartbeat(struct self_call *call, struct reader *r)
{
    struct broker_heartbeat_request m;

    CHECK(broker_heartbeat_request_decode(&m, r, &call->arena, 2));
    call->request.heartbeat.broker =
        (struct broker_heartbeat){.id = m.broker_id,
                                  .epoch = m.broker_epoch,
                                  .metadata_offset = m.current_metadata_offset,
                                  .want_fence = m.want_fence,
                                  .want_shutdown = m.want_shut_down,
                                  .offline_log_dirs = m.offline_log_dirs,
                                  .offline_log_dir_count = m.offline_log_dirs_count};
    call->request.operation = CONTROLLER_HEARTBEAT;
}

static void self_send(struct transport *t, const struct transport_node *node,
                      struct transport_request *r, struct bytes_mut body, int64_t timeout_us)
{
    struct node_world *w = world_of(t);
    struct self_call *call = calloc(1, sizeof *call);
    struct reader in;
    uint8_t *kept;

    (void)node;
    (void)timeout_us;
    CHECK(call);
    *call = (struct self_call){.next = w->calls, .caller = r, .world = w};
    w->calls = call;
    r->link = call;
    arena_init(&call->arena, 1 << 20);
    kept = arena_alloc(&call->arena, body.size);
    memcpy(kept, body.data, body.size);
    free(body.data);
    if (w->cut) {
        call->failure.run = call_failed;
        loop_post(&w->single->loop.loop, &call->failure);
        return;
    }
    in = reader_of(kept, body.size);
    call->request.arena = &call->arena;
    call->request.done = call_done;
    if (r->api_key == BROKER_REGISTRATION_REQUEST_KEY)
        decode_registration(call, &in);
    else
        decode_heartbeat(call, &in);
    controller_submit(w->controller, &call->request);
}

static void self_cancel(struct transport *t, struct transport_request *r)
{
    (void)t;
    ((struct self_call *)r->link)->caller = NULL;
}

static const struct transport_ops self_ops = {self_send, self_cancel};

/* ---- the node ---- */

static void on_publish(void *arg, const struct metadata_image *image,
                       const struct metadata_delta *delta)
{
    struct node_world *w = arg;

    (void)delta;
    metadata_image_release(w->image);
    w->image = metadata_image_acquire(image);
    w->published++;
    broker_lifecycle_image(w->lifecycle, image);
}

static void on_leader(void *arg, int32_t leader_id, int32_t epoch)
{
    struct node_world *w = arg;
    struct transport_node node = {leader_id, leader_id == 100 ? STR("127.0.0.1") : STR_NULL, 9093};

    (void)epoch;
    w->leader_id = leader_id;
    broker_lifecycle_controller(w->lifecycle, &node);
}

static void on_failed(void *arg, struct status why)
{
    ((struct node_world *)arg)->failure = why;
}

static void on_registered(void *arg, int64_t epoch)
{
    struct node_world *w = arg;

    w->registered_epoch = w->previous_epoch = epoch;
    broker_lifecycle_ready(w->lifecycle);
}

static void on_state(void *arg, enum lifecycle_state state)
{
    (void)arg;
    (void)state;
}

static const struct metadata_listener listener = {{"PLAINTEXT", 9}, {"127.0.0.1", 9}, 9092, 0};
static const struct uuid log_dir = {{0xd1}};

static void on_trusted(void *arg, int64_t until_us)
{
    (void)arg;
    (void)until_us;
}

static void make_lifecycle(struct node_world *w, uint8_t incarnation)
{
    struct broker_lifecycle_args args = {
        .loop = &w->single->loop.loop,
        .transport = &w->transport,
        .node_id = 100,
        .cluster_id = STR("cluster"),
        .incarnation = {{incarnation}},
        .listeners = &listener,
        .listener_count = 1,
        .log_dirs = &log_dir,
        .log_dir_count = 1,
        .previous_epoch = w->previous_epoch,
        .heartbeat_us = 250000,
        .registration_us_max = 60000000,
        .shutdown_us_max = 5000000,
        .arg = w,
        .on_registered = on_registered,
        .on_state = on_state,
        .on_trusted = on_trusted,
        .on_failed = on_failed,
    };

    w->lifecycle = broker_lifecycle_create(&args);
}

static void start(struct node_world *w, uint8_t incarnation)
{
    struct controller_args args = {
        .loop = &w->single->loop.loop,
        .clock = &w->single->loop.clock,
        .random = &w->single->loop.random,
        .node_id = 100,
        .cluster_id = STR("cluster"),
        .given = w->given,
        .may_lead = true,
        .self = {.id = 100,
                 .incarnation = {{incarnation}},
                 .listeners = &listener,
                 .listener_count = 1},
        .arg = w,
        .on_publish = on_publish,
        .on_leader = on_leader,
        .on_failed = on_failed,
    };

    args.self.features = supported_features(&args.self.feature_count);
    w->failure = STATUS_OK;
    w->controller = controller_create(&args);
    make_lifecycle(w, incarnation);
    w->single->args.listener = controller_raft_listener(w->controller);
    assert_int_equal(single_open(w->single).code, KERR_NONE);
    controller_set_raft(w->controller, w->single->node);
    raft_node_start(w->single->node);
}

static void stop(struct node_world *w, bool clean)
{
    if (w->lifecycle)
        broker_lifecycle_free(w->lifecycle);
    w->lifecycle = NULL;
    controller_stop(w->controller);
    single_stop(w->single, clean);
    controller_free(w->controller);
    w->controller = NULL;
}

static int set_up(void **state)
{
    struct node_world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    w->single = single_new(NULL);
    w->given = config_values_create();
    w->transport.ops = &self_ops;
    w->previous_epoch = -1;
    arena_init(&w->arena, 1 << 24);
    assert_int_equal(single_format(w->single, NULL, 0).code, KERR_NONE);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct node_world *w = *state;

    if (w->controller)
        stop(w, false);
    single_free(w->single);
    metadata_image_release(w->image);
    config_values_free(w->given);
    arena_free(&w->arena);
    assert_null(w->calls);
    free(w);
    return 0;
}

static void run(struct node_world *w, int64_t ms)
{
    test_loop_run(&w->single->loop, ms);
}

static enum lifecycle_state state_of(struct node_world *w)
{
    return broker_lifecycle_state(w->lifecycle);
}

/* ---- a client ---- */

struct asked {
    struct controller_request request;
    struct create_topic topic;
    struct controller_result result;
    bool done;
};

static void asked_done(struct controller_request *r, struct controller_result result)
{
    struct asked *a = CONTAINER_OF(r, struct asked, request);

    a->done = true;
    a->result = result;
}

static void create_topic(struct node_world *w, struct asked *a, const char *name)
{
    *a = (struct asked){
        .topic = {.name = str_from(name), .partition_count = 1, .replication_factor = 1}};
    a->request.arena = &w->arena;
    a->request.operation = CONTROLLER_CREATE_TOPICS;
    a->request.done = asked_done;
    a->request.create.topics = &a->topic;
    a->request.create.count = 1;
    controller_submit(w->controller, &a->request);
}

static void forget(struct asked *a)
{
    if (a->request.create.results)
        config_set_release(a->request.create.results[0].configs);
}

/* ---- stories ---- */

static void empty_directory_becomes_a_running_broker_without_a_timer(void **state)
{
    struct node_world *w = *state;

    start(w, 1);
    run(w, 0);
    assert_int_equal(state_of(w), LIFECYCLE_RUNNING);
    assert_int_equal(w->leader_id, 100);
    assert_true(controller_active(w->controller));
    assert_false(metadata_image_broker(w->image, 100)->fenced);
    assert_int_equal(metadata_image_broker(w->image, 100)->epoch, w->registered_epoch);
    assert_int_equal(metadata_image_feature_level(w->image, STR("metadata.version")), 33);
}

static void answer_comes_when_the_records_are_committed_not_before(void **state)
{
    struct node_world *w = *state;
    struct asked a;

    start(w, 1);
    run(w, 0);
    w->single->loop.pool_stuck = true; /* no fsync ends */
    create_topic(w, &a, "a");
    run(w, 100);
    assert_false(a.done);
    assert_null(metadata_image_topic(w->image, STR("a")));
    w->single->loop.pool_stuck = false;
    run(w, 0);
    assert_true(a.done);
    assert_int_equal(a.request.create.results[0].result.code, KERR_NONE);
    assert_non_null(metadata_image_topic(w->image, STR("a")));
    forget(&a);
}

/* It may be refused because of something that never comes to be. */
static void refusal_waits_for_what_it_was_decided_on(void **state)
{
    struct node_world *w = *state;
    struct asked a, again;

    start(w, 1);
    run(w, 0);
    w->single->loop.pool_stuck = true;
    create_topic(w, &a, "a");
    create_topic(w, &again, "a");
    run(w, 10);
    assert_false(again.done);
    w->single->loop.pool_stuck = false;
    run(w, 0);
    assert_true(a.done && again.done);
    assert_int_equal(again.request.create.results[0].result.code, KERR_TOPIC_ALREADY_EXISTS);
    forget(&a);
    forget(&again);
}

static void nothing_is_answered_from_within_the_question(void **state)
{
    struct node_world *w = *state;
    struct asked a;

    start(w, 1);
    create_topic(w, &a, "early"); /* nobody leads yet */
    assert_false(a.done);
    run(w, 0);
    assert_true(a.done);
    assert_int_equal(a.result.code, KERR_NOT_CONTROLLER);
    create_topic(w, &a, "..");
    assert_false(a.done);
    run(w, 0);
    assert_true(a.done);
    assert_int_equal(a.request.create.results[0].result.code, KERR_INVALID_TOPIC_EXCEPTION);
    forget(&a);
}

static void resignation_answers_those_who_wait(void **state)
{
    struct node_world *w = *state;
    struct asked a;

    start(w, 1);
    run(w, 0);
    w->single->loop.pool_stuck = true;
    create_topic(w, &a, "a");
    raft_node_resign(w->single->node, raft_node_epoch(w->single->node));
    run(w, 0);
    assert_true(a.done);
    assert_int_equal(a.result.code, KERR_NOT_CONTROLLER);
    forget(&a);
    w->single->loop.pool_stuck = false;
    run(w, 3000);
    assert_true(controller_active(w->controller));
    assert_int_equal(state_of(w), LIFECYCLE_RUNNING);
}

static void restart_keeps_everything_and_does_not_wait_for_the_old_session(void **state)
{
    struct node_world *w = *state;
    struct asked a;
    int64_t first_epoch;

    for (uint8_t life = 1; life <= 4; life++) {
        start(w, life);
        run(w, 0);
        assert_int_equal(state_of(w), LIFECYCLE_RUNNING);
        if (life == 1) {
            create_topic(w, &a, "kept");
            run(w, 0);
            forget(&a);
            first_epoch = w->registered_epoch;
        } else {
            const struct metadata_partition *p =
                metadata_topic_partition(metadata_image_topic(w->image, STR("kept")), 0);

            assert_true(w->registered_epoch > first_epoch);
            assert_int_equal(p->leader, 100);
            assert_int_equal(p->isr.count, 1);
            assert_int_equal(p->leader_recovery_state, LEADER_RECOVERED);
        }
        stop(w, life % 2 == 0); /* killed, or stopped cleanly */
    }
}

static void broker_leaves_politely(void **state)
{
    struct node_world *w = *state;
    struct asked a;

    start(w, 1);
    run(w, 0);
    create_topic(w, &a, "a");
    run(w, 0);
    forget(&a);
    broker_lifecycle_leave(w->lifecycle);
    run(w, 100);
    assert_int_equal(state_of(w), LIFECYCLE_GONE);
    assert_true(metadata_image_broker(w->image, 100)->fenced);
    assert_int_equal(metadata_topic_partition(metadata_image_topic(w->image, STR("a")), 0)->leader,
                     NO_LEADER);
}

static void broker_that_was_cut_off_is_fenced_and_comes_back_by_itself(void **state)
{
    struct node_world *w = *state;

    start(w, 1);
    run(w, 12000);
    w->cut = true;
    run(w, 2500); /* its heartbeats were known to come four times a second */
    assert_true(metadata_image_broker(w->image, 100)->fenced);
    assert_int_equal(state_of(w), LIFECYCLE_UNFENCING);
    w->cut = false;
    run(w, 200);
    assert_int_equal(state_of(w), LIFECYCLE_RUNNING);
    assert_false(metadata_image_broker(w->image, 100)->fenced);
}

static void snapshot_is_taken_when_enough_was_written_and_read_at_the_next_start(void **state)
{
    struct node_world *w = *state;
    struct asked a;
    char name[16];

    config_values_set(w->given, STR("metadata.log.max.record.bytes.between.snapshots"), STR("2000"),
                      NULL);
    start(w, 1);
    run(w, 0);
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "topic-%d", i);
        create_topic(w, &a, name);
        run(w, 1);
        assert_true(a.done);
        forget(&a);
    }
    assert_true(raft_node_latest_snapshot(w->single->node).end_offset > 0);
    stop(w, false);
    start(w, 2);
    run(w, 0);
    assert_int_equal(state_of(w), LIFECYCLE_RUNNING);
    assert_int_equal(metadata_image_topic_count(w->image), 40);
}

static void unknown_record_stops_the_node(void **state)
{
    struct node_world *w = *state;
    struct bytes unknown = {(const uint8_t *)"\x01\x7f\x00\x00", 4};
    int64_t offset;

    start(w, 1);
    run(w, 0);
    raft_node_append(w->single->node, raft_node_epoch(w->single->node), &unknown, 1, true, &offset);
    run(w, 0);
    assert_int_equal(w->failure.code, KERR_UNSUPPORTED_VERSION);
    assert_false(controller_active(w->controller));
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(empty_directory_becomes_a_running_broker_without_a_timer),
        STORY(answer_comes_when_the_records_are_committed_not_before),
        STORY(refusal_waits_for_what_it_was_decided_on),
        STORY(nothing_is_answered_from_within_the_question),
        STORY(resignation_answers_those_who_wait),
        STORY(restart_keeps_everything_and_does_not_wait_for_the_old_session),
        STORY(broker_leaves_politely),
        STORY(broker_that_was_cut_off_is_fenced_and_comes_back_by_itself),
        STORY(snapshot_is_taken_when_enough_was_written_and_read_at_the_next_start),
        STORY(unknown_record_stops_the_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
