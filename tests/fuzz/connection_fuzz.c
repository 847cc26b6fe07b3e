/* A whole connection's bytes, against a whole node: through the socket, the frames, the requests,
 * the shards and the controller, on files in memory and in virtual time.
 *
 * Input: one byte of how it is sent, then the bytes. Bit 0: they are frames, each behind two bytes
 * of length, and get their right length prefix; else they go as they are. The other bits: how many
 * bytes arrive at once.
 *
 * Whatever came, the node goes on: another client is served, nothing of the connection is left. */

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/connection.h"
#include "broker/listener.h"
#include "broker/shard.h"
#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"
#include "protocol/messages/api_versions.h"
#include "tests/unit/broker/node_world.h"

#define TOPIC      "t"
#define PARTITIONS 2
#define QUIET_MS   3000 /* virtual: until nothing of a connection may be left */
#define WIRE_BYTES (1 << 18)

struct wire {
    struct node_world *w;
    struct event_base *events;
    int fd; /* the client's end */
    /* What comes back is frames too. */
    uint8_t head[4];
    size_t head_got;
    size_t left; /* of the frame */
};

static void took(struct wire *wire, const uint8_t *data, size_t size)
{
    while (size > 0) {
        if (wire->left > 0) {
            size_t part = size < wire->left ? size : wire->left;

            wire->left -= part;
            data += part;
            size -= part;
            continue;
        }
        wire->head[wire->head_got++] = *data++;
        size--;
        if (wire->head_got < sizeof wire->head)
            continue;
        CHECK((int32_t)load_be32(wire->head) >= 4); /* a correlation id at least */
        wire->left = load_be32(wire->head);
        wire->head_got = 0;
    }
}

/* One turn of everything. */
static void turn(struct wire *wire)
{
    uint8_t answer[16384];
    ssize_t got;

    event_base_loop(wire->events, EVLOOP_NONBLOCK);
    test_loop_run(&wire->w->loop, 1);
    event_base_loop(wire->events, EVLOOP_NONBLOCK);
    while ((got = recv(wire->fd, answer, sizeof answer, MSG_DONTWAIT)) > 0)
        took(wire, answer, (size_t)got);
}

/* False: the node has closed. */
static bool send_some(struct wire *wire, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(wire->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0 && errno != EAGAIN)
            return false;
        turn(wire);
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        } else if (wire->w->node->shards[0]->connections == NULL) {
            return false;
        }
    }
    return true;
}

static bool send_pieces(struct wire *wire, const uint8_t *data, size_t size, size_t piece)
{
    for (size_t at = 0; at < size; at += piece)
        if (!send_some(wire, data + at, size - at < piece ? size - at : piece))
            return false;
    return true;
}

/* The frames with right lengths before them; *size is theirs all together. */
static uint8_t *put_right(const uint8_t *data, size_t *size)
{
    uint8_t *out = malloc(2 * *size + 4);
    size_t at = 0, used = 0;

    CHECK(out);
    while (*size - at > 2) {
        size_t frame = load_be16(data + at);

        at += 2;
        if (frame > *size - at)
            frame = *size - at;
        store_be32(out + used, (uint32_t)frame);
        memcpy(out + used + 4, data + at, frame);
        used += 4 + frame;
        at += frame;
    }
    *size = used;
    return out;
}

static struct listener *open_listener(struct node_world *w, struct event_base *events)
{
    struct listener_args args = {.events = events,
                                 .loop = &w->loop.loop,
                                 .logger = &w->logger,
                                 .shards = w->node->shards,
                                 .shard_count = NODE_WORLD_SHARDS,
                                 .name = "PLAINTEXT",
                                 .host = "127.0.0.1",
                                 .apis = API_ON_BROKER};
    struct listener *l;

    CHECK(!status_failed(listener_open(&args, &l)));
    return l;
}

static void connect_to(struct wire *wire, const struct listener *l)
{
    struct sockaddr_storage peer = {.ss_family = AF_INET};
    struct shard *s = wire->w->node->shards[0];
    int room = WIRE_BYTES;
    int ends[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    wire->fd = ends[0];
    atomic_fetch_add(&s->connection_count, 1);
    connection_open(s, l, ends[1], &peer);
}

static void another_client_is_served(struct node_world *w)
{
    struct node_ask ask = {0};
    struct api_versions_request m;
    const struct api_versions_response *answer;

    api_versions_request_init(&m);
    node_world_send(w, &ask, API_API_VERSIONS, 0, &m);
    answer = node_world_wait(w, &ask, 1000);
    CHECK(answer);
    CHECK(answer->error_code == KERR_NONE);
    node_ask_free(&ask);
}

static void nothing_is_left(struct wire *wire)
{
    struct node *n = wire->w->node;

    for (int ms = 0;
         ms < QUIET_MS && (atomic_load(&n->request_bytes) > 0 || n->shards[0]->connections); ms++)
        turn(wire);
    CHECK(!n->shards[0]->connections);
    CHECK(atomic_load(&n->shards[0]->connection_count) == 0);
    CHECK(atomic_load(&n->request_bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct node_world w;
    struct wire wire = {.w = &w, .events = event_base_new()};
    struct listener *l;
    uint8_t *bytes;
    size_t length;

    if (size < 1) {
        event_base_free(wire.events);
        return 0;
    }
    node_world_init(&w);
    for (size_t i = 0; i < NODE_WORLD_SHARDS; i++)
        w.events[i] = wire.events;
    node_world_start(&w);
    node_world_topic(&w, TOPIC, PARTITIONS, NULL);
    l = open_listener(&w, wire.events);
    connect_to(&wire, l);

    length = size - 1;
    bytes =
        data[0] & 1 ? put_right(data + 1, &length) : memcpy(malloc(length + 1), data + 1, length);
    if (send_pieces(&wire, bytes, length, data[0] < 2 ? length + 1 : (size_t)data[0] / 2))
        turn(&wire);
    free(bytes);
    another_client_is_served(&w);
    shutdown(wire.fd, SHUT_WR);
    nothing_is_left(&wire);
    CHECK(!w.failed);
    CHECK(w.errors_logged == 0);

    close(wire.fd);
    node_world_kill(&w);
    listener_close(l);
    node_world_free(&w);
    event_base_free(wire.events);
    return 0;
}
