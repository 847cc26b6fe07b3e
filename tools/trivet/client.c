#include "tools/trivet/client.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "protocol/frame.h"
#include "protocol/message_type.h"
#include "protocol/messages/api_versions.h"

#define TIMEOUT_S         30
#define ANSWER_BYTES_MAX  (256 << 20)
#define REQUEST_BYTES_MAX ((size_t)64 << 20)
#define ARENA_BYTES_MAX   ((size_t)1 << 30)

struct client {
    int fd;
    int32_t correlation_id;
    const char *where; /* for messages */
    char *address;     /* owned; NULL: `where` is the caller's */
    struct arena arena;
    uint8_t *answer;
    int16_t version_min[API_KEY_COUNT];
    int16_t version_max[API_KEY_COUNT]; /* -1: not offered */
};

/* ---- bytes ---- */

static bool complain(const struct client *c, const char *what)
{
    fprintf(stderr, "trivet: %s: %s\n", c->where, what);
    return false;
}

static bool send_all(struct client *c, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(c->fd, data, size, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return complain(c, strerror(errno));
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

static bool receive_all(struct client *c, uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t got = recv(c->fd, data, size, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            return complain(c, "the broker closed the connection");
        if (got < 0)
            return complain(c, errno == EAGAIN ? "no answer in time" : strerror(errno));
        data += got;
        size -= (size_t)got;
    }
    return true;
}

static bool receive_answer(struct client *c, struct reader *r)
{
    uint8_t length[FRAME_LENGTH_BYTES];
    int32_t size;

    if (!receive_all(c, length, sizeof length))
        return false;
    size = frame_length(length);
    if (size < 4 || size > ANSWER_BYTES_MAX)
        return complain(c, "what answers is no Kafka broker");
    free(c->answer);
    c->answer = malloc((size_t)size);
    if (!c->answer)
        return complain(c, "out of memory");
    *r = reader_of(c->answer, (size_t)size);
    return receive_all(c, c->answer, (size_t)size);
}

static bool send_request(struct client *c, const struct api *api, int16_t version,
                         const void *request)
{
    const struct message_type *type = message_type_by_key(MESSAGE_REQUEST, api->key);
    struct request_head head = {api->key, version, ++c->correlation_id, STR("trivet")};
    struct frame_start start;
    struct writer w;
    bool sent;

    writer_init(&w, REQUEST_BYTES_MAX);
    start = frame_begin_request(&w, api, &head);
    type->encode(request, &w, version);
    if (frame_end(&w, start))
        sent = send_all(c, w.data, w.size);
    else
        sent = complain(c, "the broker is too old for this request");
    writer_free(&w);
    return sent;
}

bool client_call(struct client *c, int16_t key, int16_t version, const void *request,
                 void *response)
{
    const struct api *api = api_find(key);
    const struct message_type *type = message_type_by_key(MESSAGE_RESPONSE, key);
    int32_t correlation_id;
    struct reader r;

    arena_reset(&c->arena);
    if (version < 0)
        return complain(c, "the broker does not offer what this command needs");
    if (!send_request(c, api, version, request) || !receive_answer(c, &r))
        return false;
    if (!frame_read_response_head(&r, api, version, &correlation_id) ||
        correlation_id != c->correlation_id || !type->decode(response, &r, &c->arena, version))
        return complain(c, "the answer makes no sense");
    return true;
}

/* ---- connecting ---- */

static int connect_one(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *a;
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    int fd = -1;

    if (getaddrinfo(host, port, &hints, &found))
        return -1;
    for (a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
        if (connect(fd, a->ai_addr, a->ai_addrlen)) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd;
}

/* "host:port", or "[v6]:port". */
static int connect_address(const char *address, size_t size)
{
    char host[256], *colon, *start = host;

    if (size >= sizeof host)
        return -1;
    memcpy(host, address, size);
    host[size] = '\0';
    colon = strrchr(host, ':');
    if (!colon)
        return -1;
    *colon = '\0';
    if (host[0] == '[' && colon > host && colon[-1] == ']') {
        colon[-1] = '\0';
        start = host + 1;
    }
    return connect_one(start, colon + 1);
}

static bool ask_versions(struct client *c)
{
    struct api_versions_request request;
    struct api_versions_response response;

    api_versions_request_init(&request);
    if (!client_call(c, API_API_VERSIONS, 0, &request, &response))
        return false;
    for (int16_t key = 0; key < API_KEY_COUNT; key++)
        c->version_max[key] = -1;
    for (size_t i = 0; i < response.api_keys_count; i++) {
        const struct api_versions_response_api_version *v = &response.api_keys[i];

        if (v->api_key < 0 || v->api_key >= API_KEY_COUNT)
            continue;
        c->version_min[v->api_key] = v->min_version;
        c->version_max[v->api_key] = v->max_version;
    }
    return true;
}

struct client *client_connect(const char *bootstrap)
{
    struct client *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->where = bootstrap;
    c->fd = -1;
    arena_init(&c->arena, ARENA_BYTES_MAX);
    for (const char *at = bootstrap; *at && c->fd < 0;) {
        size_t size = strcspn(at, ",");

        c->fd = connect_address(at, size);
        at += size + (at[size] == ',');
    }
    if (c->fd < 0)
        complain(c, "cannot connect");
    if (c->fd < 0 || !ask_versions(c)) {
        client_close(c);
        return NULL;
    }
    return c;
}

struct client *client_connect_to(struct str host, uint16_t port)
{
    char *address;
    struct client *c;

    if (asprintf(&address, memchr(host.data, ':', host.size) ? "[%.*s]:%u" : "%.*s:%u",
                 STR_ARG(host), port) < 0)
        return NULL;
    c = client_connect(address);
    if (c) {
        c->where = c->address = address;
        return c;
    }
    free(address);
    return NULL;
}

void client_close(struct client *c)
{
    if (!c)
        return;
    if (c->fd >= 0)
        close(c->fd);
    arena_free(&c->arena);
    free(c->answer);
    free(c->address);
    free(c);
}

int16_t client_version(const struct client *c, int16_t key)
{
    const struct api *api = api_find(key);
    int16_t newest =
        c->version_max[key] < api->version_max ? c->version_max[key] : api->version_max;

    if (c->version_max[key] < 0 || newest < api->version_min || newest < c->version_min[key])
        return -1;
    return newest;
}
