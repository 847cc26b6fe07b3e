#include "broker/server.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "broker/event_loop.h"
#include "broker/io_pool.h"
#include "broker/listener.h"
#include "broker/node.h"
#include "broker/peer_transport.h"
#include "protocol/base/check.h"
#include "storage/files_real.h"

#define BOOT_ID_PATH  "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_BYTES 64

struct server {
    const struct node_options *options;
    struct logger *logger;
    struct clock clock;
    struct random random;
    struct files *files;
    struct io_pool *pool;
    struct event_loop *control;
    struct event_loop **shards;
    struct loop **shard_loops;
    struct event_base **shard_events;
    size_t shard_count;
    char (*names)[16];
    char boot_id[BOOT_ID_BYTES];
    struct peer_transport *peers;      /* of the control loop */
    struct peer_transport **followers; /* of the shards */
    struct transport **shard_peers;
    char client_id[32]; /* as other nodes hear it */
    char follower_id[32];
    struct node *node;
    struct listener *listeners[NODE_LISTENERS_MAX];
    struct task accept_task;
    /* what the stopping thread waits for */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stopped, failed;
    int ready_fd, failure_fd;
};

/* ---- time and chance ---- */

static int64_t real_wall_ms(struct clock *c)
{
    struct timespec t;

    (void)c;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t real_monotonic_us(struct clock *c)
{
    struct timespec t;

    (void)c;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void real_random_fill(struct random *r, void *out, size_t size)
{
    uint8_t *at = out;

    (void)r;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);

        if (got < 0) {
            CHECK(errno == EINTR);
            continue;
        }
        at += got;
        size -= (size_t)got;
    }
}

static void read_boot_id(char out[BOOT_ID_BYTES])
{
    FILE *f = fopen(BOOT_ID_PATH, "r");

    out[0] = '\0';
    if (!f)
        return;
    if (!fgets(out, BOOT_ID_BYTES, f))
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    fclose(f);
}

/* ---- what the node tells ---- */

static void server_tell(struct server *s, bool *what)
{
    pthread_mutex_lock(&s->mutex);
    *what = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

static void make_readable(int fd)
{
    const uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);

    (void)written;
}

static void on_ready(void *arg, struct status result)
{
    struct server *s = arg;

    (void)result;
    for (size_t i = 0; i < s->options->listener_count; i++)
        if (!s->options->listeners[i].controller)
            listener_accept(s->listeners[i]);
    make_readable(s->ready_fd);
}

/* Who connects from now on is to learn at once that nobody is here. */
static void on_left(void *arg)
{
    struct server *s = arg;

    for (size_t i = 0; i < NODE_LISTENERS_MAX; i++)
        if (s->listeners[i])
            listener_stop(s->listeners[i]);
}

static void on_failed(void *arg, struct status why)
{
    struct server *s = arg;

    (void)why;
    make_readable(s->failure_fd);
    server_tell(s, &s->failed);
}

static void on_stopped(void *arg)
{
    struct server *s = arg;

    server_tell(s, &s->stopped);
}

/* False: it failed instead. */
static bool server_wait_stopped(struct server *s)
{
    bool stopped;

    pthread_mutex_lock(&s->mutex);
    while (!s->stopped && !s->failed)
        pthread_cond_wait(&s->changed, &s->mutex);
    stopped = !s->failed;
    pthread_mutex_unlock(&s->mutex);
    return stopped;
}

/* ---- building ---- */

static struct status server_make_loops(struct server *s)
{
    struct status st = event_loop_create("control", &s->clock, &s->control);

    s->shards = calloc(s->shard_count, sizeof(struct event_loop *));
    s->shard_loops = calloc(s->shard_count, sizeof(struct loop *));
    s->shard_events = calloc(s->shard_count, sizeof(struct event_base *));
    s->names = calloc(s->shard_count, sizeof *s->names);
    CHECK(s->shards && s->shard_loops && s->shard_events && s->names);
    for (size_t i = 0; i < s->shard_count && !status_failed(st); i++) {
        snprintf(s->names[i], sizeof s->names[i], "shard-%u", (unsigned)(i & 0xffff));
        st = event_loop_create(s->names[i], &s->clock, &s->shards[i]);
        if (status_failed(st))
            break;
        s->shard_loops[i] = event_loop_base(s->shards[i]);
        s->shard_events[i] = event_loop_events(s->shards[i]);
    }
    return st;
}

#define PEER_ANSWER_BYTES_MAX (64 * 1024 * 1024)

static struct status server_make_peers(struct server *s)
{
    struct peer_transport_args args = {
        .events = event_loop_events(s->control),
        .loop = event_loop_base(s->control),
        .logger = s->logger,
        .client_id = str_from(s->client_id),
        .answer_bytes_max = PEER_ANSWER_BYTES_MAX,
    };

    s->peers = peer_transport_create(&args);
    s->followers = calloc(s->shard_count, sizeof(struct peer_transport *));
    s->shard_peers = calloc(s->shard_count, sizeof(struct transport *));
    CHECK(s->followers && s->shard_peers);
    args.client_id = str_from(s->follower_id);
    /* A batch as large as a leader takes comes whole, whatever is asked for. */
    args.answer_bytes_max = s->options->frame_bytes_max < INT32_MAX - PEER_ANSWER_BYTES_MAX
                                ? s->options->frame_bytes_max + PEER_ANSWER_BYTES_MAX
                                : INT32_MAX;
    for (size_t i = 0; i < s->shard_count; i++) {
        args.events = s->shard_events[i];
        args.loop = s->shard_loops[i];
        s->followers[i] = peer_transport_create(&args);
        if (!s->followers[i])
            break;
        s->shard_peers[i] = peer_transport_base(s->followers[i]);
    }
    return s->peers && s->followers[s->shard_count - 1] ? STATUS_OK
                                                        : status_errno(ENOMEM, "peer transport");
}

static struct status server_make_node(struct server *s)
{
    struct node_env env = {
        .files = s->files,
        .clock = &s->clock,
        .random = &s->random,
        .logger = s->logger,
        .pool = io_pool_base(s->pool),
        .control_loop = event_loop_base(s->control),
        .shard_loops = s->shard_loops,
        .shard_events = s->shard_events,
        .shard_count = s->shard_count,
        .peers = peer_transport_base(s->peers),
        .shard_peers = s->shard_peers,
        .boot_id = s->boot_id,
    };
    struct status st = node_create(&env, s->options, &s->node);

    if (status_failed(st))
        return st;
    s->node->ready = on_ready;
    s->node->left = on_left;
    s->node->failed = on_failed;
    s->node->arg = s;
    return STATUS_OK;
}

static struct status server_open_listeners(struct server *s)
{
    for (size_t i = 0; i < s->options->listener_count; i++) {
        const struct node_listener *o = &s->options->listeners[i];
        struct listener_args args = {
            .events = event_loop_events(s->control),
            .loop = event_loop_base(s->control),
            .logger = s->logger,
            .shards = s->node->shards,
            .shard_count = s->shard_count,
            .name = o->name,
            .host = o->host,
            .port = o->port,
            .apis = o->controller ? API_ON_CONTROLLER : API_ON_BROKER,
        };
        struct status st = listener_open(&args, &s->listeners[i]);

        if (status_failed(st)) {
            logger_event(s->logger, LOGGER_ERROR, "listener_refused",
                         "listener=%s host=\"%s\" port=%u reason=\"%s: %s\"", o->name, o->host,
                         o->port, st.where, strerror(st.sys_errno));
            return st;
        }
    }
    return STATUS_OK;
}

/* The quorum is made over the controller listeners: clients wait until there is one, other nodes do
 * not. */
static void accept_controllers(struct task *t)
{
    struct server *s = CONTAINER_OF(t, struct server, accept_task);

    for (size_t i = 0; i < s->options->listener_count; i++)
        if (s->options->listeners[i].controller)
            listener_accept(s->listeners[i]);
}

static struct status server_run(struct server *s)
{
    struct status st = event_loop_start(s->control);

    for (size_t i = 0; i < s->shard_count && !status_failed(st); i++)
        st = event_loop_start(s->shards[i]);
    if (status_failed(st))
        return st;
    node_start(s->node);
    s->accept_task.run = accept_controllers;
    loop_post(event_loop_base(s->control), &s->accept_task);
    return STATUS_OK;
}

/* Ends the threads in an order in which nothing posts to what is gone: pool, shards, control. */
static void server_free(struct server *s)
{
    for (size_t i = 0; s->shards && i < s->shard_count; i++)
        if (s->shards[i])
            event_loop_stop(s->shards[i]);
    if (s->control)
        event_loop_stop(s->control);
    for (size_t i = 0; s->shards && i < s->shard_count; i++)
        if (s->shards[i])
            event_loop_join(s->shards[i]);
    if (s->control)
        event_loop_join(s->control);
    if (s->pool)
        io_pool_free(s->pool);
    for (size_t i = 0; i < NODE_LISTENERS_MAX; i++)
        if (s->listeners[i])
            listener_close(s->listeners[i]);
    if (s->node)
        node_free(s->node);
    peer_transport_free(s->peers);
    for (size_t i = 0; s->followers && i < s->shard_count; i++)
        peer_transport_free(s->followers[i]);
    for (size_t i = 0; s->shards && i < s->shard_count; i++)
        if (s->shards[i])
            event_loop_free(s->shards[i]);
    if (s->control)
        event_loop_free(s->control);
    if (s->files)
        files_real_free(s->files);
    if (s->ready_fd >= 0)
        close(s->ready_fd);
    if (s->failure_fd >= 0)
        close(s->failure_fd);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mutex);
    free(s->shards);
    free(s->shard_loops);
    free(s->shard_events);
    free(s->followers);
    free(s->shard_peers);
    free(s->names);
    free(s);
}

static size_t shard_count_of(const struct node_options *options)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (options->shard_count > 0)
        return (size_t)options->shard_count;
    return cores > 0 ? (size_t)cores : 1;
}

static struct server *server_create(const struct node_options *options, struct logger *logger)
{
    struct server *s = calloc(1, sizeof *s);

    CHECK(s);
    s->options = options;
    s->logger = logger;
    s->clock = (struct clock){real_wall_ms, real_monotonic_us};
    s->random = (struct random){real_random_fill};
    s->shard_count = shard_count_of(options);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->failure_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    read_boot_id(s->boot_id);
    snprintf(s->client_id, sizeof s->client_id, "raft-client-%d", options->node_id);
    snprintf(s->follower_id, sizeof s->follower_id, "broker-%d-fetcher", options->node_id);
    return s;
}

struct status server_start(const struct node_options *options, struct logger *logger,
                           struct server **out)
{
    struct server *s = server_create(options, logger);
    struct status st = files_real_create(0, &s->files);

    if (!status_failed(st))
        st = io_pool_create((size_t)options->io_threads, &s->pool);
    if (!status_failed(st))
        st = server_make_loops(s);
    if (!status_failed(st))
        st = server_make_peers(s);
    if (!status_failed(st))
        st = server_make_node(s);
    if (!status_failed(st))
        st = server_open_listeners(s);
    if (!status_failed(st))
        st = server_run(s);
    if (status_failed(st)) {
        server_free(s);
        return st;
    }
    *out = s;
    return STATUS_OK;
}

uint16_t server_port(const struct server *s)
{
    for (size_t i = 0; i < s->options->listener_count; i++)
        if (!s->options->listeners[i].controller)
            return listener_port(s->listeners[i]);
    return 0;
}

int server_ready_fd(const struct server *s)
{
    return s->ready_fd;
}

int server_failure_fd(const struct server *s)
{
    return s->failure_fd;
}

bool server_stop(struct server *s)
{
    node_stop(s->node, on_stopped, s);
    if (!server_wait_stopped(s))
        return false;
    server_free(s);
    return true;
}
