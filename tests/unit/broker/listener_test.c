/* Accepted connections over real sockets on loopback: what they are set to, and their way to a
 * shard. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/connection_internal.h"
#include "broker/event_loop.h"
#include "broker/listener.h"
#include "broker/shard.h"

#define TURNS_MAX 5000 /* a second */

static int64_t still_now(struct clock *c)
{
    (void)c;
    return 0;
}

static struct clock still = {still_now, still_now};

/* A listener on one loop, one shard on another, neither with a thread of its own: the test turns
 * them. */
struct world {
    struct event_loop *accepting, *serving;
    struct logger logger;
    struct shard *shard;
    struct listener *listener;
    int client; /* the other end */
};

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);
    struct listener_args args;

    assert_non_null(w);
    assert_int_equal(event_loop_create("accepting", &still, &w->accepting).code, KERR_NONE);
    assert_int_equal(event_loop_create("serving", &still, &w->serving).code, KERR_NONE);
    w->logger.level = LOGGER_OFF;
    w->shard = calloc(1, sizeof *w->shard);
    assert_non_null(w->shard);
    w->shard->loop = event_loop_base(w->serving);
    w->shard->events = event_loop_events(w->serving);
    w->shard->logger = &w->logger;
    args = (struct listener_args){.events = event_loop_events(w->accepting),
                                  .loop = event_loop_base(w->accepting),
                                  .logger = &w->logger,
                                  .shards = &w->shard,
                                  .shard_count = 1,
                                  .name = "INSIDE",
                                  .host = "127.0.0.1"};
    assert_int_equal(listener_open(&args, &w->listener).code, KERR_NONE);
    listener_accept(w->listener);
    return w;
}

static void world_end(struct world *w)
{
    connections_close_all(w->shard, NULL);
    close(w->client);
    listener_close(w->listener);
    free(w->shard);
    event_loop_free(w->serving);
    event_loop_free(w->accepting);
    free(w);
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* It is on its way to the shard, which has not looked yet. */
static void client_connects(struct world *w)
{
    w->client = connect_to(listener_port(w->listener));
    for (int i = 0; i < TURNS_MAX && atomic_load(&w->shard->connection_count) == 0; i++) {
        event_base_loop(event_loop_events(w->accepting), EVLOOP_NONBLOCK);
        usleep(200);
    }
    assert_int_equal(atomic_load(&w->shard->connection_count), 1);
}

static const struct connection *shard_takes_it(struct world *w)
{
    event_loop_join(w->serving); /* never started: runs the tasks that are left */
    assert_non_null(w->shard->connections);
    return w->shard->connections;
}

/* Pacing sets a timer of the kernel's for each piece, where nothing lies between the two ends. */
static void a_connection_within_the_machine_is_not_paced(void **state)
{
    struct world *w = world_new();
    const struct connection *c;
    char control[16] = "";
    socklen_t size = sizeof control;
    int no_delay = 0;

    (void)state;
    client_connects(w);
    c = shard_takes_it(w);
    assert_int_equal(getsockopt(c->fd, IPPROTO_TCP, TCP_CONGESTION, control, &size), 0);
    assert_string_equal(control, "reno");
    size = sizeof no_delay;
    assert_int_equal(getsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size), 0);
    assert_int_equal(no_delay, 1);
    world_end(w);
}

/* SIGTERM gives the port up while a connection is in a shard's mailbox. */
static void a_connection_on_its_way_may_name_a_listener_that_has_stopped(void **state)
{
    struct world *w = world_new();
    const struct connection *c;
    uint16_t port = listener_port(w->listener);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int late = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    client_connects(w);
    listener_stop(w->listener);
    /* refused: the port is free */
    assert_true(connect(late, (struct sockaddr *)&at, sizeof at) < 0);
    close(late);
    c = shard_takes_it(w);
    assert_true(str_equal(c->client.listener, STR("INSIDE")));
    world_end(w);
}

static struct sockaddr_storage address(const char *text)
{
    struct sockaddr_storage a = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;

    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(9092);
        return a;
    }
    assert_int_equal(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
    v6->sin6_family = AF_INET6;
    return a;
}

static bool is_local(const char *own, const char *peer)
{
    struct sockaddr_storage a = address(own), b = address(peer);

    ((struct sockaddr_in *)&b)->sin_port = htons(40000);
    return listener_is_local(&a, &b);
}

static void only_two_ends_of_one_address_are_within_the_machine(void **state)
{
    const struct sockaddr_storage unknown = {0};

    (void)state;
    assert_true(is_local("127.0.0.1", "127.0.0.1"));
    assert_true(is_local("192.0.2.7", "192.0.2.7"));
    assert_true(is_local("::1", "::1"));
    assert_true(is_local("::ffff:127.0.0.1", "::ffff:127.0.0.1"));
    assert_false(is_local("192.0.2.7", "192.0.2.8"));
    assert_false(is_local("2001:db8::1", "2001:db8::2"));
    assert_false(is_local("127.0.0.1", "::ffff:127.0.0.1"));
    assert_false(listener_is_local(&unknown, &unknown));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_within_the_machine_is_not_paced),
        cmocka_unit_test(a_connection_on_its_way_may_name_a_listener_that_has_stopped),
        cmocka_unit_test(only_two_ends_of_one_address_are_within_the_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
