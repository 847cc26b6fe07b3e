/* Connections with sockets on a whole node in virtual time: whose answer leaves when. */
#include "tests/unit/test.h"

#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/connection.h"
#include "broker/listener.h"
#include "broker/shard.h"
#include "protocol/api.h"
#include "protocol/frame.h"
#include "protocol/message_type.h"
#include "protocol/messages/fetch.h"
#include "protocol/messages/produce.h"
#include "tests/unit/broker/node_world.h"

#define TOPIC       "t"
#define PARTITIONS  8
#define FRAME_BYTES (1 << 20)
#define ROUNDS_MAX  50

struct wires {
    struct node_world w;
    struct event_base *events;
    struct listener *listener;
    struct uuid topic;
    int32_t index;      /* of a partition on the shard of the connections */
    int reader, writer; /* the clients' ends */
};

static int connect_client(struct wires *x)
{
    struct sockaddr_storage peer = {.ss_family = AF_INET};
    struct shard *s = x->w.node->shards[0];
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    atomic_fetch_add(&s->connection_count, 1);
    connection_open(s, x->listener, ends[1], &peer);
    return ends[0];
}

static void open_listener(struct wires *x)
{
    struct listener_args args = {.events = x->events,
                                 .loop = &x->w.loop.loop,
                                 .logger = &x->w.logger,
                                 .shards = x->w.node->shards,
                                 .shard_count = NODE_WORLD_SHARDS,
                                 .name = "PLAINTEXT",
                                 .host = "127.0.0.1",
                                 .apis = API_ON_BROKER};

    assert_int_equal(listener_open(&args, &x->listener).code, KERR_NONE);
}

static struct wires *begin(void)
{
    struct wires *x = calloc(1, sizeof *x);

    assert_non_null(x);
    x->events = event_base_new();
    node_world_init(&x->w);
    node_world_set(&x->w, "log.flush.before.ack=false");
    for (size_t i = 0; i < NODE_WORLD_SHARDS; i++)
        x->w.events[i] = x->events;
    node_world_start(&x->w);
    x->topic = node_world_topic(&x->w, TOPIC, PARTITIONS, NULL);
    while (node_shard_of(x->w.node, x->topic, x->index) != 0)
        x->index++;
    assert_true(x->index < PARTITIONS);
    open_listener(x);
    x->reader = connect_client(x);
    x->writer = connect_client(x);
    return x;
}

static void end(struct wires *x)
{
    close(x->reader);
    close(x->writer);
    event_base_loop(x->events, EVLOOP_NONBLOCK);
    test_loop_run(&x->w.loop, 5);
    node_world_kill(&x->w);
    listener_close(x->listener);
    node_world_free(&x->w);
    event_base_free(x->events);
    free(x);
}

static void send_frame(int fd, int16_t key, int16_t version, const void *message)
{
    const struct request_head head = {key, version, 7, STR("test")};
    struct frame_start start;
    struct writer writer;

    writer_init(&writer, FRAME_BYTES);
    start = frame_begin_request(&writer, api_find(key), &head);
    assert_true(message_type_by_key(MESSAGE_REQUEST, key)->encode(message, &writer, version));
    assert_true(frame_end(&writer, start));
    assert_int_equal(send(fd, writer.data, writer.size, 0), writer.size);
    writer_free(&writer);
}

static bool has_answer(int fd)
{
    uint8_t byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) > 0;
}

/* It also names `nameless` topics that have neither a name nor partitions. */
static void reader_waits_and_names(struct wires *x, size_t nameless)
{
    struct fetch_request_partition partition;
    struct fetch_request_topic *topics = calloc(1 + nameless, sizeof *topics);
    struct fetch_request m;

    assert_non_null(topics);
    for (size_t i = 0; i <= nameless; i++)
        fetch_request_topic_init(&topics[i]);
    topics[0].topic = STR(TOPIC);
    topics[0].partitions = &partition;
    topics[0].partitions_count = 1;
    fetch_request_init(&m);
    fetch_request_partition_init(&partition);
    partition.partition = x->index;
    partition.partition_max_bytes = m.max_bytes = 1 << 20;
    m.max_wait_ms = 100000;
    m.min_bytes = 1;
    m.topics = topics;
    m.topics_count = 1 + nameless;
    send_frame(x->reader, API_FETCH, 12, &m);
    free(topics);
    event_base_loop(x->events, EVLOOP_NONBLOCK);
    test_loop_run(&x->w.loop, 5);
}

static void reader_waits_at_the_end(struct wires *x)
{
    reader_waits_and_names(x, 0);
    assert_false(has_answer(x->reader));
}

/* Up to where the node has read the request and everything else is in the mailbox. */
static void writer_appends(struct wires *x, int16_t acks)
{
    struct bytes_mut batch = node_world_batch(&x->w, 1, 100, clock_wall_ms(&x->w.loop.clock));
    struct produce_request_partition_produce_data partition = {x->index,
                                                               {batch.data, batch.size, NULL}};
    struct produce_request_topic_produce_data topic;
    struct produce_request m;

    produce_request_init(&m);
    produce_request_topic_produce_data_init(&topic);
    topic.name = STR(TOPIC);
    topic.partition_data = &partition;
    topic.partition_data_count = 1;
    m.acks = acks;
    m.timeout_ms = 1000;
    m.topic_data = &topic;
    m.topic_data_count = 1;
    send_frame(x->writer, API_PRODUCE, 12, &m);
    free(batch.data);
    event_base_loop(x->events, EVLOOP_NONBLOCK);
}

/* What wakes the reader comes before what wakes the writer, and neither waits for the clock. */
static void who_waits_for_records_has_them_before_they_are_acknowledged(void **state)
{
    (void)state;
    for (int16_t acks = -1; acks <= 1; acks += 2) {
        struct wires *x = begin();
        int rounds = 0;

        reader_waits_at_the_end(x);
        writer_appends(x, acks);
        for (; !has_answer(x->reader) && rounds < ROUNDS_MAX; rounds++) {
            assert_false(has_answer(x->writer));
            assert_true(test_loop_round(&x->w.loop));
        }
        for (; !has_answer(x->writer) && rounds < ROUNDS_MAX; rounds++)
            assert_true(test_loop_round(&x->w.loop));
        assert_true(has_answer(x->reader));
        assert_true(has_answer(x->writer));
        end(x);
    }
}

static void an_acknowledgement_leaves_at_once_when_nobody_waits_for_the_records(void **state)
{
    struct wires *x = begin();

    (void)state;
    writer_appends(x, 1);
    assert_true(has_answer(x->writer));
    end(x);
}

/* The acknowledgement is still to be sent when its connection goes. */
static void a_writer_that_goes_while_it_gives_way_takes_nothing_with_it(void **state)
{
    struct wires *x = begin();

    (void)state;
    reader_waits_at_the_end(x);
    writer_appends(x, 1);
    close(x->writer);
    event_base_loop(x->events, EVLOOP_NONBLOCK);
    test_loop_run(&x->w.loop, 5);
    assert_true(has_answer(x->reader));
    assert_int_equal(atomic_load(&x->w.node->shards[0]->connection_count), 1);
    assert_int_equal(atomic_load(&x->w.node->request_bytes), 0);
    x->writer = -1;
    end(x);
}

/* A waiting request of 6 KiB that takes 96 decoded: nothing more is read until it is gone. */
static void what_a_request_decodes_to_counts_towards_the_budget(void **state)
{
    struct wires *x = begin();

    (void)state;
    x->w.node->request_bytes_max = 64 << 10;
    reader_waits_and_names(x, 2000);
    assert_false(has_answer(x->reader));
    assert_true(atomic_load(&x->w.node->request_bytes) > 96 << 10);
    writer_appends(x, 1);
    test_loop_run(&x->w.loop, 5);
    assert_false(has_answer(x->writer));
    close(x->reader);
    x->reader = -1;
    for (int i = 0; i < 3; i++) {
        event_base_loop(x->events, EVLOOP_NONBLOCK);
        test_loop_run(&x->w.loop, 5);
    }
    assert_true(has_answer(x->writer));
    assert_int_equal(atomic_load(&x->w.node->request_bytes), 0);
    end(x);
}

static void request_of_too_many_empty_elements_costs_its_sender_the_connection(void **state)
{
    struct wires *x = begin();
    uint8_t byte;

    (void)state;
    reader_waits_and_names(x, 8000); /* 24 KiB, and 375 decoded */
    assert_int_equal(recv(x->reader, &byte, 1, MSG_DONTWAIT), -1);
    close(x->reader);
    x->reader = connect_client(x);
    reader_waits_and_names(x, 60000); /* 180 KiB, would be 2.8 MiB */
    event_base_loop(x->events, EVLOOP_NONBLOCK);
    assert_int_equal(recv(x->reader, &byte, 1, MSG_DONTWAIT), 0);
    writer_appends(x, 1);
    assert_true(has_answer(x->writer));
    end(x);
}

/* Behind one that waits: what they take beside their ten bytes each. */
static void small_requests_count_for_what_they_take(void **state)
{
    static const uint8_t api_versions[14] = {0, 0, 0, 10, 0, API_API_VERSIONS};
    enum { COUNT = 500 };
    struct wires *x = begin();
    uint8_t all[COUNT * sizeof api_versions];

    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        memcpy(all + i * sizeof api_versions, api_versions, sizeof api_versions);
    reader_waits_at_the_end(x);
    assert_int_equal(send(x->reader, all, sizeof all, 0), sizeof all);
    event_base_loop(x->events, EVLOOP_NONBLOCK);
    test_loop_run(&x->w.loop, 5);
    assert_true(atomic_load(&x->w.node->request_bytes) > COUNT * sizeof(struct request));
    close(x->reader);
    x->reader = connect_client(x);
    for (int i = 0; i < 3; i++) {
        event_base_loop(x->events, EVLOOP_NONBLOCK);
        test_loop_run(&x->w.loop, 5);
    }
    assert_int_equal(atomic_load(&x->w.node->request_bytes), 0);
    end(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_for_records_has_them_before_they_are_acknowledged),
        cmocka_unit_test(an_acknowledgement_leaves_at_once_when_nobody_waits_for_the_records),
        cmocka_unit_test(a_writer_that_goes_while_it_gives_way_takes_nothing_with_it),
        cmocka_unit_test(what_a_request_decodes_to_counts_towards_the_budget),
        cmocka_unit_test(small_requests_count_for_what_they_take),
        cmocka_unit_test(request_of_too_many_empty_elements_costs_its_sender_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
