#include "broker/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/connection.h"
#include "broker/shard.h"

#define BACKLOG        1024
#define ACCEPTS_A_TURN 64
#define PAUSE_US       100000 /* when descriptors have run out */
#define LOCAL_CONTROL  "reno" /* in every kernel, and open to every user */

struct listener {
    struct listener_args args;
    int fd;
    uint16_t port;
    struct event *acceptable;
    struct timer pause;
};

/* An accepted connection on its way to its shard. */
struct arrival {
    struct task task;
    struct shard *shard;
    const struct listener *listener;
    int fd;
    struct sockaddr_storage peer;
};

static void arrival_run(struct task *t)
{
    struct arrival *a = (struct arrival *)t;

    connection_open(a->shard, a->listener, a->fd, &a->peer);
    free(a);
}

static struct shard *listener_pick_shard(const struct listener *l)
{
    struct shard *best = l->args.shards[0];

    for (size_t i = 1; i < l->args.shard_count; i++)
        if (atomic_load(&l->args.shards[i]->connection_count) <
            atomic_load(&best->connection_count))
            best = l->args.shards[i];
    return best;
}

bool listener_is_local(const struct sockaddr_storage *own, const struct sockaddr_storage *peer)
{
    if (own->ss_family != peer->ss_family)
        return false;
    if (own->ss_family == AF_INET6)
        return IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)own)->sin6_addr,
                                  &((const struct sockaddr_in6 *)peer)->sin6_addr);
    return own->ss_family == AF_INET && ((const struct sockaddr_in *)own)->sin_addr.s_addr ==
                                            ((const struct sockaddr_in *)peer)->sin_addr.s_addr;
}

/* Where the machine's congestion control paces (BBR), the kernel sets a timer for each 64 KiB it
 * sends, even from a process to its neighbour: a third of what a fetch costs. Within one machine
 * there is no path to be fair on. */
static void prepare_socket(int fd, const struct sockaddr_storage *peer)
{
    struct sockaddr_storage own;
    socklen_t size = sizeof own;
    const int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (getsockname(fd, (struct sockaddr *)&own, &size) == 0 && listener_is_local(&own, peer))
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, LOCAL_CONTROL, strlen(LOCAL_CONTROL));
}

static void listener_deal(struct listener *l, int fd, const struct sockaddr_storage *peer)
{
    struct arrival *a = malloc(sizeof *a);

    if (!a) {
        close(fd);
        return;
    }
    prepare_socket(fd, peer);
    *a = (struct arrival){.task = {.run = arrival_run},
                          .shard = listener_pick_shard(l),
                          .listener = l,
                          .fd = fd,
                          .peer = *peer};
    atomic_fetch_add(&a->shard->connection_count, 1);
    loop_post(a->shard->loop, &a->task);
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    struct listener *l = arg;

    (void)what;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t size = sizeof peer;
        int client = accept4(fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (client >= 0) {
            listener_deal(l, client, &peer);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            logger_event(l->args.logger, LOGGER_WARN, "accept_paused", "listener=%s errno=%d",
                         l->args.name, errno);
            event_del(l->acceptable);
            timer_start(l->args.loop, &l->pause, PAUSE_US);
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void on_pause_over(struct timer *t)
{
    struct listener *l = CONTAINER_OF(t, struct listener, pause);

    event_add(l->acceptable, NULL);
}

static struct status bind_one(const struct addrinfo *address, int *out)
{
    const int on = 1, off = 0;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int sys_errno;

    if (fd < 0)
        return (struct status){KERR_UNKNOWN_SERVER_ERROR, errno, "socket"};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        *out = fd;
        return STATUS_OK;
    }
    sys_errno = errno;
    close(fd);
    return (struct status){KERR_UNKNOWN_SERVER_ERROR, sys_errno, "bind"};
}

static struct status listener_bind(const struct listener_args *args, int *out)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL, *address;
    struct status st = {KERR_UNKNOWN_SERVER_ERROR, EADDRNOTAVAIL, "resolve the listener's host"};
    char port[8];

    snprintf(port, sizeof port, "%u", args->port);
    if (getaddrinfo(args->host[0] ? args->host : NULL, port, &hints, &found))
        return st;
    for (address = found; address && status_failed(st); address = address->ai_next)
        st = bind_one(address, out);
    freeaddrinfo(found);
    return st;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &size))
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

struct status listener_open(const struct listener_args *args, struct listener **out)
{
    struct listener *l = calloc(1, sizeof *l);
    struct status st;

    if (!l)
        return (struct status){KERR_UNKNOWN_SERVER_ERROR, ENOMEM, "listener"};
    l->args = *args;
    st = listener_bind(args, &l->fd);
    if (status_failed(st)) {
        free(l);
        return st;
    }
    l->port = bound_port(l->fd);
    l->acceptable = event_new(args->events, l->fd, EV_READ | EV_PERSIST, on_acceptable, l);
    if (!l->acceptable) {
        close(l->fd);
        free(l);
        return (struct status){KERR_UNKNOWN_SERVER_ERROR, ENOMEM, "listener"};
    }
    timer_init(args->loop, &l->pause, on_pause_over);
    *out = l;
    return STATUS_OK;
}

void listener_accept(struct listener *l)
{
    event_add(l->acceptable, NULL);
}

uint16_t listener_port(const struct listener *l)
{
    return l->port;
}

struct str listener_name(const struct listener *l)
{
    return str_from(l->args.name);
}

enum api_listener listener_apis(const struct listener *l)
{
    return l->args.apis;
}

void listener_stop(struct listener *l)
{
    event_del(l->acceptable);
    timer_stop(l->args.loop, &l->pause);
    close(l->fd);
    l->fd = -1;
}

void listener_close(struct listener *l)
{
    event_free(l->acceptable);
    timer_free(l->args.loop, &l->pause);
    if (l->fd >= 0)
        close(l->fd);
    free(l);
}
