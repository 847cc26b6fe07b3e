/* A voter tells the active controller that it is there. */
#include "tests/unit/test.h"

#include <stdlib.h>

#include "protocol/messages/controller_registration.h"
#include "replication/controller_registration.h"
#include "replication/feature_levels.h"
#include "tests/unit/replication/controller_world.h"
#include "tests/unit/replication/test_loop.h"

static const struct metadata_listener listener = {{"CONTROLLER", 10}, {"host", 4}, 9093, 0};

struct world {
    struct test_loop loop;
    struct transport transport;
    struct transport_request *caller; /* NULL: nothing is under way */
    int32_t asked_of;
    int asked;
    struct controller_world cluster; /* the active controller is node 1; we are node 2 */
    struct register_controller self;
    struct controller_registration *registration;
};

static void on_send(struct transport *t, const struct transport_node *node,
                    struct transport_request *r, struct bytes_mut body, int64_t timeout_us)
{
    struct world *w = CONTAINER_OF(t, struct world, transport);
    struct controller_registration_request m;
    struct reader reader = reader_of(body.data, body.size);
    struct arena a;
    (void)timeout_us;

    arena_init(&a, 65536);
    assert_int_equal(r->api_key, CONTROLLER_REGISTRATION_REQUEST_KEY);
    assert_true(controller_registration_request_decode(&m, &reader, &a, r->api_version));
    assert_int_equal(m.controller_id, 2);
    assert_true(uuid_equal(m.incarnation_id, w->self.incarnation));
    assert_int_equal(m.listeners[0].port, 9093);
    assert_true(m.features_count > 3);
    arena_free(&a);
    free(body.data);
    assert_null(w->caller);
    w->caller = r;
    w->asked_of = node->id;
    w->asked++;
}

static void on_cancel(struct transport *t, struct transport_request *r)
{
    struct world *w = CONTAINER_OF(t, struct world, transport);

    assert_ptr_equal(w->caller, r);
    w->caller = NULL;
}

static const struct transport_ops ops = {on_send, on_cancel};

static int set_up(void **state)
{
    static struct world w;
    struct controller_registration_args args = {0};

    w = (struct world){.transport = {&ops}};
    test_loop_init(&w.loop);
    world_init(&w.cluster);
    world_activate(&w.cluster);
    w.self = (struct register_controller){
        .id = 2, .incarnation = {{42}}, .listeners = &listener, .listener_count = 1};
    w.self.features = supported_features(&w.self.feature_count);
    args.loop = &w.loop.loop;
    args.transport = &w.transport;
    args.self = w.self;
    w.registration = controller_registration_create(&args);
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    controller_registration_free(w->registration);
    world_free(&w->cluster);
    return 0;
}

static void leader_is(struct world *w, int32_t id)
{
    const struct transport_node node = {id, id < 0 ? STR_NULL : STR("host"), 9093};

    controller_registration_leader(w->registration, &node);
}

static void answer(struct world *w, enum kerr code)
{
    struct controller_registration_response m;
    struct transport_request *r = w->caller;
    struct writer writer;

    assert_non_null(r);
    w->caller = NULL;
    controller_registration_response_init(&m);
    m.error_code = (int16_t)code;
    writer_init(&writer, 65536);
    assert_true(controller_registration_response_encode(&m, &writer, 0));
    r->answered(r, STATUS_OK, (struct bytes){writer.data, writer.size});
    writer_free(&writer);
}

static void image_has_it(struct world *w)
{
    struct controller_request r = {.operation = CONTROLLER_REGISTER_CONTROLLER};

    r.controller = w->self;
    assert_int_equal(world_step(&w->cluster, &r).code, KERR_NONE);
    controller_registration_image(w->registration, w->cluster.image);
}

static void voter_registers_once_with_the_leader(void **state)
{
    struct world *w = *state;

    leader_is(w, 1);
    assert_int_equal(w->asked, 0); /* it may be in the metadata already */
    controller_registration_image(w->registration, w->cluster.image);
    assert_int_equal(w->asked, 1);
    assert_int_equal(w->asked_of, 1);
    answer(w, KERR_NONE);
    image_has_it(w);
    test_loop_run(&w->loop, 10000);
    assert_int_equal(w->asked, 1);
}

static void refusal_is_followed_by_another_try_a_second_later(void **state)
{
    struct world *w = *state;

    controller_registration_image(w->registration, w->cluster.image);
    leader_is(w, 1);
    answer(w, KERR_NOT_CONTROLLER);
    controller_registration_image(w->registration, w->cluster.image);
    test_loop_run(&w->loop, 900);
    assert_int_equal(w->asked, 1);
    test_loop_run(&w->loop, 200);
    assert_int_equal(w->asked, 2);
}

static void new_leader_is_told_at_once(void **state)
{
    struct world *w = *state;

    controller_registration_image(w->registration, w->cluster.image);
    leader_is(w, 1);
    leader_is(w, -1);
    assert_null(w->caller);
    leader_is(w, 3);
    assert_int_equal(w->asked, 2);
    assert_int_equal(w->asked_of, 3);
}

static void leader_itself_and_known_lives_say_nothing(void **state)
{
    struct world *w = *state;

    controller_registration_image(w->registration, w->cluster.image);
    leader_is(w, 2);
    assert_int_equal(w->asked, 0);
    image_has_it(w);
    leader_is(w, 1);
    assert_int_equal(w->asked, 0);
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(voter_registers_once_with_the_leader),
        STORY(refusal_is_followed_by_another_try_a_second_later),
        STORY(new_leader_is_told_at_once),
        STORY(leader_itself_and_known_lives_say_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
