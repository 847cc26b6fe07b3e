#include "tests/bench/links.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "protocol/frame.h"
#include "protocol/message_type.h"

#define REQUEST_BYTES_MAX ((size_t)64 << 20)
#define ARENA_BYTES_MAX   ((size_t)1 << 30)
#define FIRST_BYTES       4096
#define NS_A_MS           1000000

int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void give_up(const char *what, const char *why)
{
    fprintf(stderr, "group_client: %s: %s\n", what, why);
    exit(1);
}

static int connect_to(const char *bootstrap)
{
    const char *colon = strrchr(bootstrap, ':');
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    if (!colon || strncmp(bootstrap, "127.0.0.1:", 10) != 0)
        give_up(bootstrap, "the benchmark talks to 127.0.0.1:PORT");
    at.sin_port = htons((uint16_t)atoi(colon + 1));
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at))
        give_up("connect", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

void links_open(struct links *ls, const char *bootstrap, size_t count)
{
    *ls = (struct links){.all = calloc(count, sizeof(struct link)), .count = count};
    if (!ls->all)
        give_up("links", "no memory");
    arena_init(&ls->arena, ARENA_BYTES_MAX);
    for (size_t i = 0; i < count; i++) {
        ls->all[i].fd = connect_to(bootstrap);
        ls->all[i].key = -1;
    }
}

void link_close(struct link *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = l->key = -1;
    l->due_ns = 0;
}

void links_close(struct links *ls)
{
    for (size_t i = 0; i < ls->count; i++) {
        link_close(&ls->all[i]);
        free(ls->all[i].in);
    }
    arena_free(&ls->arena);
    free(ls->all);
}

void link_send(struct link *l, int16_t key, int16_t version, const void *request,
               link_answered *answered)
{
    const struct api *api = api_find(key);
    struct request_head head = {key, version, ++l->correlation_id, STR("group-client")};
    struct frame_start start;
    struct writer w;

    if (l->key >= 0)
        give_up("send", "a request is under way");
    writer_init(&w, REQUEST_BYTES_MAX);
    start = frame_begin_request(&w, api, &head);
    message_type_by_key(MESSAGE_REQUEST, key)->encode(request, &w, version);
    if (!frame_end(&w, start))
        give_up("encode", api->name);
    for (size_t sent = 0; sent < w.size;) {
        ssize_t part = send(l->fd, w.data + sent, w.size - sent, MSG_NOSIGNAL);

        if (part < 0 && errno != EINTR)
            give_up("send", strerror(errno));
        sent += part > 0 ? (size_t)part : 0;
    }
    writer_free(&w);
    l->key = key;
    l->version = version;
    l->answered = answered;
}

/* ---- answers ---- */

static void link_handle(struct links *ls, struct link *l, size_t size)
{
    const struct message_type *type = message_type_by_key(MESSAGE_RESPONSE, l->key);
    struct reader r = reader_of(l->in + FRAME_LENGTH_BYTES, size);
    int32_t correlation_id;
    void *answer;

    arena_reset(&ls->arena);
    answer = arena_alloc(&ls->arena, type->size);
    if (!answer || !frame_read_response_head(&r, api_find(l->key), l->version, &correlation_id) ||
        correlation_id != l->correlation_id || !type->decode(answer, &r, &ls->arena, l->version))
        give_up(type->name, "makes no sense");
    l->key = -1;
    l->got = 0;
    ls->answers++;
    l->answered(l, answer);
}

static void link_read(struct links *ls, struct link *l)
{
    size_t want = FRAME_LENGTH_BYTES;
    ssize_t got;

    if (l->got >= FRAME_LENGTH_BYTES)
        want += (size_t)frame_length(l->in);
    if (l->capacity < want || !l->in) {
        l->capacity = want < FIRST_BYTES ? FIRST_BYTES : want;
        l->in = realloc(l->in, l->capacity);
        if (!l->in)
            give_up("answer", "no memory");
    }
    got = recv(l->fd, l->in + l->got, l->capacity - l->got, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        give_up("receive", got ? strerror(errno) : "the broker closed the connection");
    l->got += (size_t)got;
    if (l->got >= FRAME_LENGTH_BYTES && l->got >= FRAME_LENGTH_BYTES + (size_t)frame_length(l->in))
        link_handle(ls, l, (size_t)frame_length(l->in));
}

void links_turn(struct links *ls, int64_t until_ns)
{
    struct pollfd *fds = calloc(ls->count, sizeof *fds);
    int64_t now, next = until_ns;

    if (!fds)
        give_up("poll", "no memory");
    for (size_t i = 0; i < ls->count; i++) {
        fds[i] = (struct pollfd){.fd = ls->all[i].fd, .events = POLLIN};
        if (ls->all[i].due_ns && ls->all[i].due_ns < next)
            next = ls->all[i].due_ns;
    }
    now = now_ns();
    if (poll(fds, ls->count, next > now ? (int)((next - now + NS_A_MS - 1) / NS_A_MS) : 0) < 0 &&
        errno != EINTR)
        give_up("poll", strerror(errno));
    now = now_ns();
    for (size_t i = 0; i < ls->count; i++) {
        struct link *l = &ls->all[i];

        if (l->fd >= 0 && (fds[i].revents & (POLLIN | POLLHUP | POLLERR)))
            link_read(ls, l);
        if (l->fd >= 0 && l->key < 0 && l->due_ns && l->due_ns <= now) {
            l->due_ns = 0;
            l->woken(l);
        }
    }
    free(fds);
}
