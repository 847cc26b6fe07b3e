/* Bytes in: frames, their order, and when not to read. Bytes out: connection_output.c. */

#include "broker/connection_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utlist.h>

#include "broker/event_loop.h"
#include "broker/listener.h"
#include "broker/shard.h"
#include "protocol/base/byteorder.h"

#define READ_BYTES_A_TURN ((size_t)1 << 20) /* then other connections of the shard get theirs */
/* a frame that has waited so long for its rest may go */
#define BUDGET_STALL_US (2 * 1000 * 1000)

static void connection_pump(struct connection *c, bool may_give_way);

/* ---- closing ---- */

static void connection_free(struct connection *c)
{
    close(c->fd);
    free(c);
}

static void connection_drop_frame(struct connection *c)
{
    if (!c->frame)
        return;
    shard_release_bytes(c->client.shard, c->frame_got);
    frames_give(&c->client.shard->frames, c->frame);
    c->frame = NULL;
}

/* Answered requests and those not started die now; those under way find no client when they come
 * back. */
static void connection_drop_requests(struct connection *c)
{
    struct request *rq, *next;
    bool started = true;

    for (rq = c->first; rq; rq = next) {
        next = rq->next;
        if (rq == c->first_waiting)
            started = false;
        if (started && !rq->answered)
            request_abandon(rq);
        else
            request_free(rq);
    }
    c->first = c->last = c->first_waiting = NULL;
}

void connection_close(struct connection *c, const char *reason)
{
    struct shard *s = c->client.shard;

    if (c->closed)
        return;
    c->closed = true;
    logger_event(s->logger, reason ? LOGGER_WARN : LOGGER_DEBUG, "connection_closed",
                 "peer=%s reason=\"%s\"", c->client.host, reason ? reason : "closed by peer");
    shard_connection_closed(s, c);
    client_lost(&c->client);
    event_del(&c->readable); /* it may be some turns of the loop until it is freed */
    event_del(&c->writable);
    event_del(&c->gone);
    connection_drop_frame(c);
    connection_drop_requests(c);
    if (!c->dispatching && !c->pump_posted)
        connection_free(c);
}

/* ---- reading ---- */

static bool connection_may_read(const struct connection *c)
{
    return c->request_count < CONNECTION_REQUESTS_MAX &&
           c->output_bytes < CONNECTION_OUTPUT_BYTES_MAX;
}

static void connection_arm_read(struct connection *c)
{
    bool want = connection_may_read(c) && !c->waiting_for_budget;

    if (want == c->reading)
        return;
    if (want) {
        event_del(&c->gone);
        event_add(&c->readable, NULL);
    } else {
        event_del(&c->readable);
        event_add(&c->gone, NULL);
    }
    c->reading = want;
}

/* The length prefix is complete. False: refused, the connection is closed. */
static bool connection_begin_frame(struct connection *c)
{
    int32_t size = (int32_t)load_be32(c->length_bytes);

    if (size < 8) { /* key, version, correlation id */
        connection_close(c, "frame shorter than a request header");
        return false;
    }
    if (size > c->client.shard->frame_bytes_max) {
        connection_close(c, "frame larger than socket.request.max.bytes");
        return false;
    }
    c->frame = frames_take(&c->client.shard->frames, (size_t)size);
    if (!c->frame) {
        connection_close(c, "no memory for a frame");
        return false;
    }
    c->frame_got = 0;
    return true;
}

/* Of the node's budget, for a request that is whole: its frame may be the least of it, and one read
 * brings a thousand that are small. */
static size_t charge_of(const struct frame *f)
{
    return f->size + sizeof(struct request);
}

static bool connection_end_frame(struct connection *c)
{
    size_t charge = charge_of(c->frame);
    struct request *rq = request_create(&c->client, c->frame);

    c->frame = NULL;
    c->length_got = 0;
    if (!rq) {
        shard_release_bytes(c->client.shard, charge);
        connection_close(c, "no memory for a request");
        return false;
    }
    rq->frames = &c->client.shard->frames;
    rq->charged_bytes = charge;
    if (c->last)
        c->last->next = rq;
    else
        c->first = rq;
    c->last = rq;
    if (!c->first_waiting)
        c->first_waiting = rq;
    c->request_count++;
    return true;
}

/* size bytes have arrived where the next ones were wanted. False: closed. */
static bool connection_arrived(struct connection *c, size_t size)
{
    if (!c->frame) {
        c->length_got = (uint8_t)(c->length_got + size);
        return c->length_got < sizeof c->length_bytes || connection_begin_frame(c);
    }
    c->frame_got += size;
    if (c->frame_got < c->frame->size) {
        shard_charge_bytes(c->client.shard, size);
        return true;
    }
    shard_charge_bytes(c->client.shard, size + charge_of(c->frame) - c->frame->size);
    return connection_end_frame(c);
}

static struct iovec connection_wanted(struct connection *c)
{
    if (!c->frame)
        return (struct iovec){c->length_bytes + c->length_got,
                              sizeof c->length_bytes - c->length_got};
    return (struct iovec){c->frame->data + c->frame_got, c->frame->size - c->frame_got};
}

/* Bytes that were read beyond what was wanted: heads of further frames. */
static bool connection_feed(struct connection *c, const uint8_t *data, size_t size)
{
    while (size > 0) {
        struct iovec wanted = connection_wanted(c);
        size_t part = size < wanted.iov_len ? size : wanted.iov_len;

        memcpy(wanted.iov_base, data, part);
        data += part;
        size -= part;
        if (!connection_arrived(c, part))
            return false;
    }
    return true;
}

/* One readv: first what the frame at hand wants, then into the shard's scratch. A large frame is
 * read alone, so that little of the one after it is copied twice. False: closed, or nothing more to
 * read now. */
static bool connection_read_once(struct connection *c, size_t *total)
{
    struct shard *s = c->client.shard;
    struct iovec parts[2] = {connection_wanted(c), {s->read_scratch, sizeof s->read_scratch}};
    size_t wanted = parts[0].iov_len;
    bool alone = wanted >= sizeof s->read_scratch;
    ssize_t got = readv(c->fd, parts, alone ? 1 : 2);
    size_t first;

    if (got < 0) {
        if (errno != EAGAIN && errno != EINTR)
            connection_close(c, NULL);
        return false;
    }
    if (got == 0) {
        connection_close(c, NULL);
        return false;
    }
    *total += (size_t)got;
    first = (size_t)got < wanted ? (size_t)got : wanted;
    if (!connection_arrived(c, first))
        return false;
    if (!connection_feed(c, s->read_scratch, (size_t)got - first))
        return false;
    /* Less than there was room for: the socket is empty. */
    return (size_t)got == wanted + (alone ? 0 : sizeof s->read_scratch);
}

/* While nothing is read, the end is not either: a request that waits would go on to hold its part
 * of the budget, for as long as a client that is gone has asked for. */
static void on_gone(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    connection_close(arg, NULL);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct connection *c = arg;
    struct shard *s = c->client.shard;
    size_t total = 0;

    (void)fd;
    (void)what;
    c->last_active_us = clock_monotonic_us(s->loop->clock);
    c->dispatching = true; /* closing only marks it until we are done with it */
    while (total < READ_BYTES_A_TURN && connection_may_read(c)) {
        if (shard_over_budget(s)) {
            c->waiting_for_budget = true;
            shard_count_stall(s);
            break;
        }
        if (!connection_read_once(c, &total))
            break;
    }
    c->dispatching = false;
    if (!c->closed)
        connection_pump(c, true);
    else if (!c->pump_posted)
        connection_free(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct connection *c = arg;

    (void)fd;
    (void)what;
    c->writing = false;
    connection_pump(c, false);
}

/* ---- the order of requests ---- */

/* Produce may follow Produce; anything else waits until all before it is answered. */
static bool connection_may_start(const struct connection *c)
{
    const struct request *rq = c->first_waiting;

    if (!rq || c->output_bytes >= CONNECTION_OUTPUT_BYTES_MAX)
        return false;
    return c->under_way == 0 || (c->producing && frame_api_key(rq->frame) == API_PRODUCE);
}

static void connection_post_pump(struct connection *c)
{
    if (!c->pump_posted)
        loop_post(c->client.shard->loop, &c->pump);
    c->pump_posted = true;
}

/* Records before acknowledgements: a reader that waited for what was just appended is answered by
 * tasks that are posted already, and to send wakes whoever it is for. Who gives way sends within
 * the same turn of the loop. */
static bool connection_gives_way(struct connection *c)
{
    if (!c->producing || !c->client.shard->fetch_ready_posted)
        return false;
    c->gives_way = true;
    connection_post_pump(c);
    return true;
}

/* Starts what may start, sends what is answered, until neither gives more. */
static void connection_pump(struct connection *c, bool may_give_way)
{
    c->dispatching = true;
    do {
        while (!c->closed && connection_may_start(c)) {
            struct request *rq = c->first_waiting;

            c->first_waiting = rq->next;
            c->under_way++;
            c->producing = frame_api_key(rq->frame) == API_PRODUCE;
            request_dispatch(rq);
        }
    } while (!c->closed && !(may_give_way && connection_gives_way(c)) && connection_send(c) &&
             connection_may_start(c));
    c->dispatching = false;
    if (!c->closed)
        connection_arm_read(c);
    else if (!c->pump_posted)
        connection_free(c);
}

static void on_pump(struct task *t)
{
    struct connection *c = CONTAINER_OF(t, struct connection, pump);

    c->pump_posted = false;
    if (c->closed) {
        connection_free(c);
    } else if (c->gives_way) { /* the fetches are answered by now: behind their own pumps */
        c->gives_way = false;
        connection_post_pump(c);
    } else {
        connection_pump(c, false);
    }
}

/* client.answered: answers that come in one turn of the loop leave together. */
static void connection_answered(struct client *client, struct request *rq)
{
    struct connection *c = (struct connection *)client;

    c->under_way--;
    if (rq->refusal) {
        connection_close(c, rq->refusal);
        return;
    }
    c->output_bytes += response_size(&rq->response);
    if (!c->dispatching)
        connection_post_pump(c);
}

/* ---- life ---- */

static void connection_name_peer(struct connection *c, const struct sockaddr_storage *peer)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)peer;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)peer;

    if (peer->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], c->client.host, sizeof c->client.host);
    else if (peer->ss_family == AF_INET6)
        inet_ntop(AF_INET6, &v6->sin6_addr, c->client.host, sizeof c->client.host);
    else
        inet_ntop(AF_INET, &v4->sin_addr, c->client.host, sizeof c->client.host);
}

void connection_open(struct shard *s, const struct listener *listener, int fd,
                     const struct sockaddr_storage *peer)
{
    /* One that was accepted before the listener closed may arrive after the shard has stopped. */
    struct connection *c = s->closing ? NULL : calloc(1, sizeof *c);

    if (!c) {
        logger_event(s->logger, s->closing ? LOGGER_DEBUG : LOGGER_WARN, "connection_refused",
                     "reason=\"%s\"", s->closing ? "the broker is stopping" : "no memory");
        shard_connection_closed(s, NULL);
        close(fd);
        return;
    }
    c->client.answered = connection_answered;
    c->client.shard = s;
    c->client.listener = listener_name(listener);
    c->client.api_listener = listener_apis(listener);
    c->fd = fd;
    c->pump.run = on_pump;
    c->last_active_us = clock_monotonic_us(s->loop->clock);
    connection_name_peer(c, peer);
    event_assign(&c->readable, s->events, fd, EV_READ | EV_PERSIST, on_readable, c);
    event_assign(&c->writable, s->events, fd, EV_WRITE, on_writable, c);
    event_assign(&c->gone, s->events, fd, EV_CLOSED, on_gone, c);
    shard_connection_opened(s, c);
    connection_arm_read(c);
}

void connection_link(struct shard *s, struct connection *c)
{
    DL_APPEND(s->connections, c);
}

void connection_unlink(struct shard *s, struct connection *c)
{
    DL_DELETE(s->connections, c);
}

void connections_resume(struct shard *s)
{
    struct connection *c, *next;

    DL_FOREACH_SAFE(s->connections, c, next)
    {
        if (!c->waiting_for_budget)
            continue;
        c->waiting_for_budget = false;
        connection_arm_read(c);
    }
}

void connections_close_all(struct shard *s, const char *reason)
{
    struct connection *c, *next;

    DL_FOREACH_SAFE(s->connections, c, next)
    connection_close(c, reason);
}

void connections_tick(struct shard *s, int64_t now_us)
{
    struct connection *c, *next, *slowest = NULL;

    DL_FOREACH_SAFE(s->connections, c, next)
    {
        bool idle = !c->first && !c->dispatching && !c->pump_posted;

        if (idle && s->idle_us_max > 0 && now_us - c->last_active_us > s->idle_us_max) {
            connection_close(c, NULL);
            continue;
        }
        if (c->frame && now_us - c->last_active_us > BUDGET_STALL_US && !c->dispatching &&
            (!slowest || c->last_active_us < slowest->last_active_us))
            slowest = c;
    }
    if (slowest && shard_over_budget(s))
        connection_close(slowest, "frame stalled while queued.max.request.bytes is used up");
}
