/* Requests to other nodes over real sockets on loopback: order, links, failures. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/event_loop.h"
#include "broker/peer_transport.h"
#include "protocol/api.h"
#include "protocol/frame.h"
#include "protocol/messages/api_versions.h"

#define TIMEOUT_US   (5 * 1000 * 1000)
#define BUFFER_BYTES (256 * 1024)
#define KEY          API_VOTE
#define VERSION      2

static int64_t real_monotonic_us(struct clock *c)
{
    (void)c;
    return 0;
}

static struct clock still = {real_monotonic_us, real_monotonic_us};

struct world {
    struct event_loop *loop;
    struct peer_transport *transport;
    int listener;
    uint16_t port;
    char *hosts_path; /* owned; of a world that names addresses */
};

static int listen_at(const char *address, uint16_t *port, int backlog)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    assert_int_equal(inet_pton(AF_INET, address, &at.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static int listen_somewhere(uint16_t *port)
{
    *port = 0;
    return listen_at("127.0.0.1", port, 16);
}

/* hosts_path: names that the machine need not know; NULL: none. */
static struct world world_with_names(const char *hosts_path)
{
    struct world w = {0};
    struct peer_transport_args args;

    assert_int_equal(event_loop_create("test", &still, &w.loop).code, KERR_NONE);
    args = (struct peer_transport_args){.events = event_loop_events(w.loop),
                                        .loop = event_loop_base(w.loop),
                                        .client_id = STR("node-1"),
                                        .answer_bytes_max = BUFFER_BYTES,
                                        .hosts_path = hosts_path};
    w.transport = peer_transport_create(&args);
    assert_non_null(w.transport);
    w.listener = listen_somewhere(&w.port);
    return w;
}

static struct world world_new(void)
{
    return world_with_names(NULL);
}

static void world_end(struct world *w)
{
    event_loop_join(w->loop); /* never started: runs the tasks that are left */
    peer_transport_free(w->transport);
    event_loop_free(w->loop);
    close(w->listener);
}

/* One turn: events that are ready, and the tasks they posted. */
static void turn(struct world *w)
{
    event_base_loop(event_loop_events(w->loop), EVLOOP_NONBLOCK);
    event_loop_join(w->loop);
    usleep(200);
}

/* ---- what is asked, and what came back ---- */

struct asked {
    struct transport_request request;
    struct world *world;
    int answers;
    struct status result;
    char body[64];
    size_t size;
    struct asked *then; /* sent from within the answer */
};

static void ask(struct world *w, struct asked *a, const char *body);

static void on_answered(struct transport_request *r, struct status result, struct bytes body)
{
    struct asked *a = (struct asked *)r;

    a->answers++;
    a->result = result;
    a->size = body.size < sizeof a->body ? body.size : sizeof a->body;
    if (a->size)
        memcpy(a->body, body.data, a->size);
    if (a->then)
        ask(a->world, a->then, "then");
}

static void ask_port(struct world *w, struct asked *a, const char *body, uint16_t port,
                     int64_t timeout_us)
{
    struct transport_node node = {2, STR("127.0.0.1"), port};
    struct bytes_mut owned = {(uint8_t *)strdup(body), strlen(body)};

    a->world = w;
    a->request.answered = on_answered;
    a->request.api_key = KEY;
    if (!a->request.api_version)
        a->request.api_version = VERSION;
    transport_send(peer_transport_base(w->transport), &node, &a->request, owned, timeout_us);
    assert_int_equal(a->answers, 0); /* never from within send */
}

static void ask(struct world *w, struct asked *a, const char *body)
{
    ask_port(w, a, body, w->port, TIMEOUT_US);
}

static void wait_answered(struct world *w, const struct asked *a)
{
    for (int i = 0; i < 20000 && a->answers == 0; i++)
        turn(w);
    assert_int_equal(a->answers, 1);
}

/* ---- the other node ---- */

static int accept_link(struct world *w)
{
    for (int i = 0; i < 20000; i++) {
        int fd = accept(w->listener, NULL, NULL);

        if (fd >= 0)
            return fd;
        turn(w);
    }
    fail_msg("nobody connected");
    return -1;
}

/* Reads one request; its body in `out`. */
static struct request_head read_request(struct world *w, int fd, char *out, size_t out_size)
{
    static uint8_t buffer[BUFFER_BYTES];
    struct request_head head;
    struct reader r;
    size_t got = 0;

    for (int i = 0; i < 20000; i++) {
        ssize_t part = recv(fd, buffer + got, sizeof buffer - got, MSG_DONTWAIT);

        got += part > 0 ? (size_t)part : 0;
        if (got >= 4 && got == 4 + (size_t)frame_length(buffer))
            break;
        turn(w);
    }
    assert_true(got > 4);
    r = reader_of(buffer + 4, got - 4);
    assert_true(frame_read_request_head(&r, &head));
    memset(out, 0, out_size);
    memcpy(out, r.pos, reader_left(&r) < out_size ? reader_left(&r) : out_size - 1);
    return head;
}

static void answer_raw(int fd, int16_t key, int16_t version, int32_t correlation_id,
                       const void *body, size_t size)
{
    struct writer w;
    struct frame_start start;

    writer_init(&w, BUFFER_BYTES * 4);
    start = frame_begin_response(&w, api_find(key), version, correlation_id);
    write_raw(&w, body, size);
    assert_true(frame_end(&w, start));
    for (size_t at = 0; at < w.size;) {
        ssize_t sent = send(fd, w.data + at, w.size - at, MSG_NOSIGNAL);

        assert_true(sent > 0);
        at += (size_t)sent;
    }
    writer_free(&w);
}

static void answer(int fd, struct request_head head, const char *body)
{
    answer_raw(fd, head.api_key, head.api_version, head.correlation_id, body, strlen(body));
}

static void greet(struct world *w, int fd)
{
    struct api_versions_response_api_version speaks = {KEY, 0, VERSION};
    struct api_versions_response response;
    struct writer body;
    char said[8];
    struct request_head head = read_request(w, fd, said, sizeof said);

    assert_int_equal(head.api_key, API_API_VERSIONS);
    assert_int_equal(head.api_version, 0);
    api_versions_response_init(&response);
    response.api_keys = &speaks;
    response.api_keys_count = 1;
    writer_init(&body, 1024);
    assert_true(api_versions_response_encode(&response, &body, 0));
    answer_raw(fd, API_API_VERSIONS, 0, head.correlation_id, body.data, body.size);
    writer_free(&body);
}

static void expect_request(struct world *w, int fd, const char *body, const char *reply)
{
    char said[64];
    struct request_head head = read_request(w, fd, said, sizeof said);

    assert_int_equal(head.api_key, KEY);
    assert_string_equal(said, body);
    if (reply)
        answer(fd, head, reply);
}

/* ---- tests ---- */

static void request_is_answered_with_the_bytes_after_the_header(void **state)
{
    struct world w = world_new();
    struct asked a = {0};
    int fd;
    (void)state;

    ask(&w, &a, "question");
    fd = accept_link(&w);
    greet(&w, fd);
    expect_request(&w, fd, "question", "answer");
    wait_answered(&w, &a);
    assert_int_equal(a.result.code, KERR_NONE);
    assert_memory_equal(a.body, "answer", 6);
    assert_int_equal(a.size, 6);
    close(fd);
    world_end(&w);
}

static void next_request_takes_the_same_link_without_another_greeting(void **state)
{
    struct world w = world_new();
    struct asked a = {0}, b = {0};
    int fd;
    (void)state;

    a.then = &b;
    ask(&w, &a, "one");
    fd = accept_link(&w);
    greet(&w, fd);
    expect_request(&w, fd, "one", "1");
    wait_answered(&w, &a);
    expect_request(&w, fd, "then", "2");
    wait_answered(&w, &b);
    assert_int_equal(accept(w.listener, NULL, NULL), -1);
    close(fd);
    world_end(&w);
}

static void request_that_waits_holds_up_no_other_one(void **state)
{
    struct world w = world_new();
    struct asked slow = {0}, quick = {0};
    int first, second;
    (void)state;

    ask(&w, &slow, "slow");
    first = accept_link(&w);
    greet(&w, first);
    expect_request(&w, first, "slow", NULL);
    ask(&w, &quick, "quick");
    second = accept_link(&w);
    expect_request(&w, second, "quick", "done"); /* what the node speaks is known */
    wait_answered(&w, &quick);
    assert_int_equal(slow.answers, 0);
    close(first);
    wait_answered(&w, &slow);
    assert_int_equal(slow.result.code, KERR_NETWORK_EXCEPTION);
    close(second);
    world_end(&w);
}

static void links_to_one_node_are_bounded_and_requests_wait_their_turn(void **state)
{
    struct world w = world_new();
    struct asked a[PEER_LINKS_MAX + 3] = {0};
    int fds[PEER_LINKS_MAX];
    char said[64];
    (void)state;

    for (size_t i = 0; i < PEER_LINKS_MAX + 3; i++)
        ask(&w, &a[i], "many");
    for (size_t i = 0; i < PEER_LINKS_MAX; i++) {
        fds[i] = accept_link(&w);
        greet(&w, fds[i]);
    }
    for (int i = 0; i < 50; i++)
        turn(&w);
    assert_int_equal(accept(w.listener, NULL, NULL), -1);
    for (size_t i = 0; i < PEER_LINKS_MAX; i++)
        answer(fds[i], read_request(&w, fds[i], said, sizeof said), "x");
    for (size_t i = 0; i < 3; i++) {
        bool found = false;

        for (size_t k = 0; k < PEER_LINKS_MAX && !found; k++) {
            uint8_t peek;

            for (int n = 0; n < 20; n++)
                turn(&w);
            found = recv(fds[k], &peek, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
            if (found)
                answer(fds[k], read_request(&w, fds[k], said, sizeof said), "x");
        }
        assert_true(found);
    }
    for (size_t i = 0; i < PEER_LINKS_MAX + 3; i++) {
        wait_answered(&w, &a[i]);
        assert_int_equal(a[i].result.code, KERR_NONE);
    }
    for (size_t i = 0; i < PEER_LINKS_MAX; i++)
        close(fds[i]);
    world_end(&w);
}

/* Clients' requests wait at the controller for what it commits, and it commits by our fetches. */
static void patient_requests_leave_links_to_the_others(void **state)
{
    struct world w = world_new();
    struct asked patient[PEER_PATIENT_LINKS_MAX + 2] = {0};
    struct asked other = {0}, next = {0};
    int fds[PEER_PATIENT_LINKS_MAX], fd, next_fd;
    char said[64];
    (void)state;

    for (size_t i = 0; i < PEER_PATIENT_LINKS_MAX + 2; i++) {
        patient[i].request.patient = true;
        ask(&w, &patient[i], "patient");
    }
    for (size_t i = 0; i < PEER_PATIENT_LINKS_MAX; i++) {
        fds[i] = accept_link(&w);
        greet(&w, fds[i]);
        read_request(&w, fds[i], said, sizeof said);
    }
    for (int i = 0; i < 50; i++)
        turn(&w);
    assert_int_equal(accept(w.listener, NULL, NULL), -1);
    ask(&w, &other, "now"); /* those who wait came before it */
    fd = accept_link(&w);
    expect_request(&w, fd, "now", "x");
    wait_answered(&w, &other);
    for (int i = 0; i < 50; i++)
        turn(&w);
    assert_int_equal(recv(fd, said, 1, MSG_DONTWAIT), -1); /* nor do they take its link */
    /* What was cancelled makes room. */
    transport_cancel(peer_transport_base(w.transport), &patient[0].request);
    ask(&w, &next, "next");
    expect_request(&w, fd, "patient", NULL);
    next_fd = accept_link(&w);
    expect_request(&w, next_fd, "next", "x");
    wait_answered(&w, &next);
    for (size_t i = 0; i < PEER_PATIENT_LINKS_MAX; i++)
        close(fds[i]);
    close(fd);
    close(next_fd);
    world_end(&w);
}

static void refused_connection_is_told_with_its_errno(void **state)
{
    struct world w = world_new();
    struct asked a = {0};
    uint16_t port;
    int closed = listen_somewhere(&port);
    (void)state;

    close(closed);
    ask_port(&w, &a, "x", port, TIMEOUT_US);
    wait_answered(&w, &a);
    assert_int_equal(a.result.code, KERR_NETWORK_EXCEPTION);
    assert_int_equal(a.result.sys_errno, ECONNREFUSED);
    world_end(&w);
}

static void silent_node_costs_the_time_out_and_its_link(void **state)
{
    struct world w = world_new();
    struct asked a = {0};
    int fd;
    char byte;
    (void)state;

    ask_port(&w, &a, "x", w.port, 50000);
    fd = accept_link(&w);
    wait_answered(&w, &a);
    assert_int_equal(a.result.code, KERR_REQUEST_TIMED_OUT);
    while (recv(fd, &byte, 1, 0) == 1)
        ; /* the greeting, then the end */
    close(fd);
    world_end(&w);
}

static void version_the_node_does_not_speak_is_not_sent(void **state)
{
    struct world w = world_new();
    struct asked a = {.request.api_version = VERSION + 1}, b = {0};
    int fd;
    (void)state;

    ask(&w, &a, "x");
    fd = accept_link(&w);
    greet(&w, fd);
    wait_answered(&w, &a);
    assert_int_equal(a.result.code, KERR_UNSUPPORTED_VERSION);
    ask(&w, &b, "fine");
    expect_request(&w, fd, "fine", "x");
    wait_answered(&w, &b);
    close(fd);
    world_end(&w);
}

static void answer_that_makes_no_sense_closes_the_link(void **state)
{
    static const uint8_t garbage[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    static const uint8_t other[] = {0, 0, 0, 5, 0, 0, 0, 99, 0};
    const struct {
        const uint8_t *data;
        size_t size;
    } answers[] = {{garbage, sizeof garbage},
                   {other, sizeof other},
                   {(const uint8_t[]){0, 0, 0, 0}, 4},
                   {(const uint8_t[]){0xff, 0xff, 0xff, 0xff}, 4}};
    (void)state;

    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct world w = world_new();
        struct asked a = {0};
        int fd;

        ask(&w, &a, "x");
        fd = accept_link(&w);
        greet(&w, fd);
        expect_request(&w, fd, "x", NULL);
        assert_int_equal(send(fd, answers[i].data, answers[i].size, MSG_NOSIGNAL),
                         (ssize_t)answers[i].size);
        wait_answered(&w, &a);
        assert_int_equal(a.result.code, KERR_NETWORK_EXCEPTION);
        close(fd);
        world_end(&w);
    }
}

static void answer_longer_than_allowed_is_not_read(void **state)
{
    const uint8_t length[] = {0x40, 0, 0, 0};
    struct world w = world_new();
    struct asked a = {0};
    int fd;
    (void)state;

    ask(&w, &a, "x");
    fd = accept_link(&w);
    greet(&w, fd);
    expect_request(&w, fd, "x", NULL);
    assert_int_equal(send(fd, length, sizeof length, MSG_NOSIGNAL), sizeof length);
    wait_answered(&w, &a);
    assert_int_equal(a.result.code, KERR_NETWORK_EXCEPTION);
    close(fd);
    world_end(&w);
}

static void trickled_answer_arrives_whole(void **state)
{
    struct world w = world_new();
    struct asked a = {0};
    char said[64];
    struct request_head head;
    /* header v1: a tag count after the id */
    uint8_t frame[] = {0, 0, 0, 8, 0, 0, 0, 0, 0, 'a', 'b', 'c'};
    int fd;
    (void)state;

    ask(&w, &a, "x");
    fd = accept_link(&w);
    greet(&w, fd);
    head = read_request(&w, fd, said, sizeof said);
    frame[7] = (uint8_t)head.correlation_id;
    for (size_t i = 0; i < sizeof frame; i++) {
        assert_int_equal(a.answers, 0);
        assert_int_equal(send(fd, frame + i, 1, MSG_NOSIGNAL), 1);
        for (int n = 0; n < 5; n++)
            turn(&w);
    }
    wait_answered(&w, &a);
    assert_int_equal(a.result.code, KERR_NONE);
    assert_memory_equal(a.body, "abc", 3);
    close(fd);
    world_end(&w);
}

static void cancelled_request_is_never_told_and_its_link_lives_on(void **state)
{
    struct world w = world_new();
    struct asked a = {0}, b = {0};
    int fd;
    (void)state;

    ask(&w, &a, "cancelled");
    fd = accept_link(&w);
    greet(&w, fd);
    transport_cancel(peer_transport_base(w.transport), &a.request);
    expect_request(&w, fd, "cancelled", "late");
    for (int i = 0; i < 50; i++)
        turn(&w);
    assert_int_equal(a.answers, 0);
    ask(&w, &b, "next");
    expect_request(&w, fd, "next", "x");
    wait_answered(&w, &b);
    close(fd);
    world_end(&w);
}

/* Else a fetcher that changes its mind would have a link more each time, and its session on none of
 * them. */
static void link_of_a_cancelled_request_is_closed_when_another_one_is_opened(void **state)
{
    struct world w = world_new();
    struct asked a = {0}, b = {0};
    int fd, other;
    char said[64];
    char byte;
    (void)state;

    ask(&w, &a, "cancelled");
    fd = accept_link(&w);
    greet(&w, fd);
    read_request(&w, fd, said, sizeof said);
    transport_cancel(peer_transport_base(w.transport), &a.request);
    ask(&w, &b, "next");
    other = accept_link(&w);
    expect_request(&w, other, "next", "x"); /* without a greeting: what the peer speaks is known */
    wait_answered(&w, &b);
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
    assert_int_equal(a.answers, 0);
    close(fd);
    close(other);
    world_end(&w);
}

static void end_forgets_what_is_under_way(void **state)
{
    struct world w = world_new();
    struct asked a[PEER_LINKS_MAX + 2] = {0};
    (void)state;

    for (size_t i = 0; i < PEER_LINKS_MAX + 2; i++)
        ask(&w, &a[i], "x");
    world_end(&w);
    for (size_t i = 0; i < PEER_LINKS_MAX + 2; i++)
        assert_int_equal(a[i].answers, 0);
}

static void node_without_an_address_is_a_failure(void **state)
{
    struct world w = world_new();
    struct asked a = {0};
    struct transport_node node = {2, STR_NULL, 9092};
    struct bytes_mut body = {(uint8_t *)strdup("x"), 1};
    (void)state;

    a.request =
        (struct transport_request){.answered = on_answered, .api_key = KEY, .api_version = VERSION};
    transport_send(peer_transport_base(w.transport), &node, &a.request, body, TIMEOUT_US);
    wait_answered(&w, &a);
    assert_int_equal(a.result.code, KERR_NETWORK_EXCEPTION);
    world_end(&w);
}

static void node_named_by_a_host_name_is_looked_up(void **state)
{
    struct world w = world_new();
    struct asked a = {0};
    struct transport_node node = {2, STR("localhost"), w.port};
    struct bytes_mut body = {(uint8_t *)strdup("x"), 1};
    int fd;
    (void)state;

    a.request =
        (struct transport_request){.answered = on_answered, .api_key = KEY, .api_version = VERSION};
    transport_send(peer_transport_base(w.transport), &node, &a.request, body, TIMEOUT_US);
    fd = accept_link(&w);
    greet(&w, fd);
    expect_request(&w, fd, "x", "y");
    wait_answered(&w, &a);
    assert_int_equal(a.result.code, KERR_NONE);
    close(fd);
    world_end(&w);
}

/* ---- a name with several addresses, as client.dns.lookup=use_all_dns_ips has it ---- */

#define NAME "many.test"

/* A world that knows NAME at these addresses, in order; its own listener is on 127.0.0.1. */
static struct world world_naming(const char *const *addresses, size_t count)
{
    char *path = strdup("/tmp/trivet-hosts-XXXXXX");
    int fd = mkstemp(path);
    struct world w;

    assert_true(fd >= 0);
    for (size_t i = 0; i < count; i++)
        assert_true(dprintf(fd, "%s " NAME "\n", addresses[i]) > 0);
    close(fd);
    w = world_with_names(path);
    w.hosts_path = path;
    return w;
}

static void naming_world_end(struct world *w)
{
    world_end(w);
    unlink(w->hosts_path);
    free(w->hosts_path);
}

static void ask_name(struct world *w, struct asked *a)
{
    struct transport_node node = {2, STR(NAME), w->port};
    struct bytes_mut body = {(uint8_t *)strdup("x"), 1};

    a->request =
        (struct transport_request){.answered = on_answered, .api_key = KEY, .api_version = VERSION};
    transport_send(peer_transport_base(w->transport), &node, &a->request, body, TIMEOUT_US);
}

static void serve_one(struct world *w, const struct asked *a)
{
    int fd = accept_link(w);

    greet(w, fd);
    expect_request(w, fd, "x", "y");
    wait_answered(w, a);
    assert_int_equal(a->result.code, KERR_NONE);
    close(fd);
}

static void name_whose_first_addresses_refuse_is_reached_at_the_next(void **state)
{
    static const char *const addresses[] = {"127.0.0.3", "127.0.0.2", "127.0.0.1"};
    struct world w = world_naming(addresses, 3);
    struct asked a = {0};
    (void)state;

    ask_name(&w, &a);
    serve_one(&w, &a);
    naming_world_end(&w);
}

/* A listener whose backlog is full drops what else comes, as a host that is cut off does. */
static int listen_silently(uint16_t port, int full[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = listen_at("127.0.0.2", &port, 0);

    assert_int_equal(inet_pton(AF_INET, "127.0.0.2", &at.sin_addr), 1);
    for (size_t i = 0; i < 2; i++) {
        full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(full[i], (struct sockaddr *)&at, sizeof at);
    }
    return fd;
}

static void name_whose_first_address_is_silent_is_reached_at_the_next(void **state)
{
    static const char *const addresses[] = {"127.0.0.2", "127.0.0.1"};
    struct world w = world_naming(addresses, 2);
    int full[2];
    int silent = listen_silently(w.port, full);
    struct asked a = {0};
    (void)state;

    ask_name(&w, &a);
    serve_one(&w, &a);
    close(full[0]);
    close(full[1]);
    close(silent);
    naming_world_end(&w);
}

static void name_refuses_when_all_of_its_addresses_do(void **state)
{
    static const char *const addresses[] = {"127.0.0.2", "127.0.0.1"};
    struct world w = world_naming(addresses, 2);
    struct asked a = {0};
    (void)state;

    close(w.listener);
    ask_name(&w, &a);
    wait_answered(&w, &a);
    assert_int_equal(a.result.code, KERR_NETWORK_EXCEPTION);
    assert_int_equal(a.result.sys_errno, ECONNREFUSED);
    w.listener = listen_at("127.0.0.1", &w.port, 16); /* and is looked up anew */
    a = (struct asked){0};
    ask_name(&w, &a);
    serve_one(&w, &a);
    naming_world_end(&w);
}

/* Its process may be alive behind the silent address: nobody is to be fenced for the other. */
static void name_with_a_silent_address_and_a_refusing_one_did_not_refuse(void **state)
{
    static const char *const orders[][2] = {{"127.0.0.2", "127.0.0.1"}, {"127.0.0.1", "127.0.0.2"}};
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        struct world w = world_naming(orders[i], 2);
        int full[2];
        int silent = listen_silently(w.port, full);
        struct asked a = {0};

        close(w.listener);
        ask_name(&w, &a);
        wait_answered(&w, &a);
        assert_int_equal(a.result.code, KERR_NETWORK_EXCEPTION);
        assert_int_equal(a.result.sys_errno, ETIMEDOUT);
        close(full[0]);
        close(full[1]);
        w.listener = silent;
        naming_world_end(&w);
    }
}

static void name_that_nobody_knows_is_a_failure(void **state)
{
    struct world w = world_naming(NULL, 0);
    struct transport_node node = {2, STR("nobody.invalid"), w.port};
    struct bytes_mut body = {(uint8_t *)strdup("x"), 1};
    struct asked a = {.request = {.answered = on_answered, .api_key = KEY, .api_version = VERSION}};
    (void)state;

    transport_send(peer_transport_base(w.transport), &node, &a.request, body, 100 * 1000);
    wait_answered(&w, &a);
    assert_int_not_equal(a.result.code, KERR_NONE);
    naming_world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_is_answered_with_the_bytes_after_the_header),
        cmocka_unit_test(next_request_takes_the_same_link_without_another_greeting),
        cmocka_unit_test(request_that_waits_holds_up_no_other_one),
        cmocka_unit_test(links_to_one_node_are_bounded_and_requests_wait_their_turn),
        cmocka_unit_test(patient_requests_leave_links_to_the_others),
        cmocka_unit_test(refused_connection_is_told_with_its_errno),
        cmocka_unit_test(silent_node_costs_the_time_out_and_its_link),
        cmocka_unit_test(version_the_node_does_not_speak_is_not_sent),
        cmocka_unit_test(answer_that_makes_no_sense_closes_the_link),
        cmocka_unit_test(answer_longer_than_allowed_is_not_read),
        cmocka_unit_test(trickled_answer_arrives_whole),
        cmocka_unit_test(cancelled_request_is_never_told_and_its_link_lives_on),
        cmocka_unit_test(link_of_a_cancelled_request_is_closed_when_another_one_is_opened),
        cmocka_unit_test(end_forgets_what_is_under_way),
        cmocka_unit_test(node_without_an_address_is_a_failure),
        cmocka_unit_test(node_named_by_a_host_name_is_looked_up),
        cmocka_unit_test(name_whose_first_addresses_refuse_is_reached_at_the_next),
        cmocka_unit_test(name_whose_first_address_is_silent_is_reached_at_the_next),
        cmocka_unit_test(name_refuses_when_all_of_its_addresses_do),
        cmocka_unit_test(name_with_a_silent_address_and_a_refusing_one_did_not_refuse),
        cmocka_unit_test(name_that_nobody_knows_is_a_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
