/* Questions for leaders while a broker has just gone: they wait for the controller's word, but not
 * for long. */
#include "tests/unit/test.h"

#include "broker/shard.h"
#include "broker/unsure.h"
#include "protocol/messages/metadata.h"
#include "tests/unit/broker/second_broker.h"

#define UNSURE_MS        (UNSURE_US / 1000)
#define METADATA_VERSION 9

static void begin(struct node_world *w, struct second_broker *b)
{
    *b = (struct second_broker){0};
    node_world_init(w);
    node_world_start(w);
    second_broker_register(b, w);
    second_broker_live(b, 300);
}

/* A connection by which that broker fetched breaks off. */
static void loses(struct node_world *w, int32_t broker_id, size_t shard)
{
    struct client c = {.shard = w->node->shards[shard]};

    client_is_node(&c, broker_id);
    client_lost(&c);
}

static void asks(struct node_world *w, struct node_ask *ask)
{
    struct metadata_request m;

    metadata_request_init(&m);
    memset(ask, 0, sizeof *ask);
    node_world_send(w, ask, METADATA_REQUEST_KEY, METADATA_VERSION, &m);
}

/* How many brokers the answer names; 0: none came within so long. */
static size_t answered(struct node_world *w, struct node_ask *ask, int64_t ms)
{
    const struct metadata_response *m = node_world_wait(w, ask, ms);

    return m ? m->brokers_count : 0;
}

static void question_waits_until_the_dead_broker_is_out(void **state)
{
    static struct node_world w;
    struct second_broker b;
    struct node_ask ask;
    (void)state;

    begin(&w, &b);
    loses(&w, SECOND_BROKER, 1); /* another shard than the one that is asked */
    asks(&w, &ask);
    assert_int_equal(answered(&w, &ask, 100), 0);
    second_broker_register(&b, &w); /* another run of it, fenced yet */
    assert_int_equal(answered(&w, &ask, 100), 1);
    node_ask_free(&ask);
    asks(&w, &ask); /* and that was that */
    assert_int_equal(answered(&w, &ask, 1), 1);
    node_ask_free(&ask);
    node_world_free(&w);
}

/* Whoever says that he is a broker can raise one, and another. */
static void false_alarm_holds_questions_up_once_and_briefly(void **state)
{
    static struct node_world w;
    struct second_broker b;
    struct node_ask ask;
    (void)state;

    begin(&w, &b);
    loses(&w, SECOND_BROKER, 0);
    asks(&w, &ask);
    assert_int_equal(answered(&w, &ask, UNSURE_MS - 10), 0);
    assert_int_equal(answered(&w, &ask, 20), 2);
    node_ask_free(&ask);
    loses(&w, SECOND_BROKER, 0);
    asks(&w, &ask);
    assert_int_equal(answered(&w, &ask, 1), 2);
    node_ask_free(&ask);
    second_broker_live(&b, UNSURE_QUIET_US / 1000);
    loses(&w, SECOND_BROKER, 0);
    asks(&w, &ask);
    assert_int_equal(answered(&w, &ask, 100), 0);
    node_world_stop(&w); /* those who wait are not forgotten */
    assert_true(ask.answered);
    node_ask_free(&ask);
    node_world_free(&w);
}

static void broker_that_is_out_already_or_unknown_holds_nobody_up(void **state)
{
    static struct node_world w;
    struct second_broker b;
    struct node_ask ask;
    (void)state;

    begin(&w, &b);
    second_broker_register(&b, &w);
    test_loop_run(&w.loop, 10);
    loses(&w, SECOND_BROKER, 0);
    loses(&w, 77, 0);
    loses(&w, w.options.node_id, 0);
    asks(&w, &ask);
    assert_int_equal(answered(&w, &ask, 1), 1);
    node_ask_free(&ask);
    node_world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(question_waits_until_the_dead_broker_is_out),
        cmocka_unit_test(false_alarm_holds_questions_up_once_and_briefly),
        cmocka_unit_test(broker_that_is_out_already_or_unknown_holds_nobody_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
