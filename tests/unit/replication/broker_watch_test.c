/* Looking whether a broker is there: only a refused connection says that it is not. */

#include "replication/broker_watch.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/unit/replication/test_loop.h"
#include "tests/unit/test.h"

/* A network where the test decides what each question comes to. */
struct watch_world {
    struct test_loop loop;
    struct transport transport;
    struct transport_request *asked; /* under way */
    size_t asked_count;
    struct broker_watch *watch;
    int32_t refused_id;
    int64_t refused_epoch;
    size_t refused_count;
    size_t silent_count;
};

static void take_question(struct transport *t, const struct transport_node *node,
                          struct transport_request *r, struct bytes_mut body, int64_t timeout_us)
{
    struct watch_world *w = CONTAINER_OF(t, struct watch_world, transport);

    (void)node;
    (void)timeout_us;
    free(body.data);
    assert_null(w->asked);
    w->asked = r;
    w->asked_count++;
}

static void cancel_question(struct transport *t, struct transport_request *r)
{
    struct watch_world *w = CONTAINER_OF(t, struct watch_world, transport);

    assert_ptr_equal(w->asked, r);
    w->asked = NULL;
}

static const struct transport_ops ops = {take_question, cancel_question};

static void on_refused(void *arg, int32_t id, int64_t epoch, int64_t asked_ms)
{
    struct watch_world *w = arg;

    (void)asked_ms;
    w->refused_id = id;
    w->refused_epoch = epoch;
    w->refused_count++;
}

static void on_silent(void *arg, int32_t id, int64_t epoch, int64_t asked_ms)
{
    struct watch_world *w = arg;

    (void)asked_ms;
    assert_int_equal(id, 2);
    assert_int_equal(epoch, 17);
    w->silent_count++;
}

static void answer(struct watch_world *w, enum kerr code, int sys_errno)
{
    struct transport_request *r = w->asked;

    w->asked = NULL;
    r->answered(r, (struct status){code, sys_errno, "test"}, (struct bytes){NULL, 0});
}

static void look(struct watch_world *w)
{
    static const struct metadata_listener listener = {{"PLAINTEXT", 9}, {"localhost", 9}, 9092, 0};
    struct metadata_broker b = {.id = 2, .epoch = 17, .listeners = &listener, .listener_count = 1};

    broker_watch_look(w->watch, &b);
}

static int set_up(void **state)
{
    struct watch_world *w = calloc(1, sizeof *w);
    struct broker_watch_args args = {.loop = &w->loop.loop,
                                     .transport = &w->transport,
                                     .arg = w,
                                     .on_refused = on_refused,
                                     .on_silent = on_silent};

    test_loop_init(&w->loop);
    w->transport.ops = &ops;
    w->watch = broker_watch_create(&args);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct watch_world *w = *state;

    broker_watch_free(w->watch);
    assert_null(w->asked);
    free(w);
    return 0;
}

static void refused_connection_is_told(void **state)
{
    struct watch_world *w = *state;

    look(w);
    answer(w, KERR_NETWORK_EXCEPTION, ECONNREFUSED);
    assert_int_equal(w->refused_count, 1);
    assert_int_equal(w->refused_id, 2);
    assert_int_equal(w->refused_epoch, 17);
}

static void answer_says_nothing(void **state)
{
    struct watch_world *w = *state;

    look(w);
    answer(w, KERR_NONE, 0);
    test_loop_run(&w->loop, 1000);
    assert_int_equal(w->refused_count, 0);
    assert_int_equal(w->silent_count, 0);
    assert_int_equal(w->asked_count, 1);
}

static void silence_is_told_as_what_it_is(void **state)
{
    struct watch_world *w = *state;

    look(w);
    answer(w, KERR_REQUEST_TIMED_OUT, 0);
    test_loop_run(&w->loop, 1000);
    assert_int_equal(w->refused_count, 0);
    assert_int_equal(w->silent_count, 1);
    assert_int_equal(w->asked_count, 1);
}

/* A process that dies may drop a connection that its listener, not closed yet, has just taken. */
static void dropped_connection_is_asked_again(void **state)
{
    struct watch_world *w = *state;

    look(w);
    answer(w, KERR_NETWORK_EXCEPTION, ECONNRESET);
    assert_int_equal(w->refused_count, 0);
    test_loop_run(&w->loop, 100);
    assert_int_equal(w->asked_count, 2);
    answer(w, KERR_NETWORK_EXCEPTION, ECONNREFUSED);
    assert_int_equal(w->refused_count, 1);
}

static void unreachable_broker_is_not_asked_for_ever(void **state)
{
    struct watch_world *w = *state;

    look(w);
    while (w->asked) {
        answer(w, KERR_NETWORK_EXCEPTION, EHOSTUNREACH);
        test_loop_run(&w->loop, 100);
        assert_true(w->asked_count < 100);
    }
    assert_int_equal(w->refused_count, 0);
}

static void second_look_waits_for_the_first(void **state)
{
    struct watch_world *w = *state;

    look(w);
    look(w);
    assert_int_equal(w->asked_count, 1);
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(refused_connection_is_told),
        STORY(answer_says_nothing),
        STORY(silence_is_told_as_what_it_is),
        STORY(dropped_connection_is_asked_again),
        STORY(unreachable_broker_is_not_asked_for_ever),
        STORY(second_look_waits_for_the_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
