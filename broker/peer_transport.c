#include "broker/peer_transport.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "broker/peer_names.h"
#include "protocol/api.h"
#include "protocol/base/check.h"
#include "protocol/frame.h"
#include "protocol/messages/api_versions.h"

#define HOST_BYTES_MAX   255
#define FIRST_BYTES      4096
#define KEPT_BYTES_MAX   ((size_t)2 << 20) /* of a link's buffer, between answers */
#define GREETING_VERSION 0                 /* every node has it, and it answers what it speaks */
#define ARENA_BYTES_MAX  ((size_t)64 << 10)
#define HEAD_BYTES       512

enum link_state { LINK_RESOLVING, LINK_CONNECTING, LINK_GREETING, LINK_IDLE, LINK_BUSY };

/* One request from send to answered; owned by the node's queue, then by its link. */
struct call {
    struct call *prev, *next;
    struct peer_transport *transport;
    struct peer *peer;
    struct link *link;                 /* NULL: waits for one */
    struct transport_request *request; /* NULL: cancelled, or answered */
    int16_t api_key, api_version;
    bool patient;
    struct bytes_mut body; /* owned */
    bool waiting;          /* in one of the peer's lists */
    uint64_t turn;         /* since when, among those of its peer */
    struct event deadline;
    struct task answered; /* failures are told from the loop, never from within send */
    struct status result;
};

struct link {
    struct link *prev, *next;
    struct peer *peer;
    enum link_state state;
    int fd; /* -1: not yet */
    struct event readable, writable, idle;
    bool events_set;
    struct peer_lookup lookup;
    size_t tried;      /* of its addresses */
    struct status why; /* what is told when none of them can be reached */
    struct call *call; /* of state BUSY; before: the one it was opened for */
    int32_t correlation_id;
    uint8_t *out; /* owned */
    size_t out_size, out_sent;
    uint8_t *in; /* owned */
    size_t in_size, in_capacity;
};

/* Another node at one address. */
struct peer {
    struct peer *prev, *next;
    struct peer_transport *transport;
    int32_t id;
    char host[HOST_BYTES_MAX + 1];
    uint16_t port;
    struct link *links;
    size_t link_count;
    struct call *waiting[2]; /* in order; [true]: the patient ones */
    uint64_t turns;
    bool held; /* peer_pump is at work, or an answer is looked at: nothing starts, the peer stays */
    bool known; /* the versions below */
    int16_t version_min[API_KEY_COUNT], version_max[API_KEY_COUNT];
};

struct peer_transport {
    struct transport base;
    struct peer_transport_args args;
    struct peer_names names;
    struct peer *peers;
    struct call *failing; /* told at the loop's next turn */
};

static void peer_pump(struct peer *p);
static void link_close(struct link *l, struct status why);
static void link_try_addresses(struct link *l);

/* ---- calls ---- */

static void call_free(struct call *c)
{
    event_del(&c->deadline);
    free(c->body.data);
    free(c);
}

static void call_tell(struct call *c, struct status result, struct bytes body)
{
    struct transport_request *r = c->request;

    c->request = NULL;
    if (!r)
        return;
    r->link = NULL;
    r->answered(r, result, body);
}

static void call_failed_run(struct task *t)
{
    struct call *c = CONTAINER_OF(t, struct call, answered);

    DL_DELETE(c->transport->failing, c);
    call_tell(c, c->result, (struct bytes){NULL, 0});
    call_free(c);
}

/* The call is on no list and no link any more. */
static void call_fail(struct call *c, struct status why)
{
    event_del(&c->deadline);
    c->link = NULL;
    c->result = why;
    c->answered.run = call_failed_run;
    DL_APPEND(c->transport->failing, c);
    loop_post(c->transport->args.loop, &c->answered);
}

/* Out of the queue of its peer. */
static void call_take(struct call *c)
{
    DL_DELETE(c->peer->waiting[c->patient], c);
    c->waiting = false;
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct call *c = arg;
    struct status why = status_error(KERR_REQUEST_TIMED_OUT, "no answer in time");

    (void)fd;
    (void)what;
    if (c->link) {
        link_close(c->link, why);
        return;
    }
    call_take(c);
    call_fail(c, why);
}

/* ---- bytes out ---- */

static bool link_frame(struct link *l, const struct api *api, int16_t version, struct bytes body)
{
    struct request_head head = {api->key, version, ++l->correlation_id,
                                l->peer->transport->args.client_id};
    struct frame_start start;
    struct writer w;

    writer_init(&w, body.size + HEAD_BYTES);
    start = frame_begin_request(&w, api, &head);
    write_raw(&w, body.data, body.size);
    if (!frame_end(&w, start)) {
        writer_free(&w);
        return false;
    }
    free(l->out);
    l->out = malloc(w.size);
    if (l->out)
        memcpy(l->out, w.data, w.size);
    l->out_size = l->out ? w.size : 0;
    l->out_sent = 0;
    writer_free(&w);
    return l->out != NULL;
}

static struct status status_network(const char *where)
{
    return (struct status){KERR_NETWORK_EXCEPTION, errno, where};
}

/* False: the link is closed. */
static bool link_write(struct link *l)
{
    while (l->out_sent < l->out_size) {
        ssize_t sent = send(l->fd, l->out + l->out_sent, l->out_size - l->out_sent, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            event_add(&l->writable, NULL);
            return true;
        }
        if (sent < 0) {
            link_close(l, status_network("send to a peer"));
            return false;
        }
        l->out_sent += (size_t)sent;
    }
    free(l->out);
    l->out = NULL;
    l->out_size = l->out_sent = 0;
    return true;
}

static bool link_send(struct link *l, const struct api *api, int16_t version, struct bytes body)
{
    if (link_frame(l, api, version, body))
        return link_write(l);
    link_close(l, status_error(KERR_UNKNOWN_SERVER_ERROR, "no memory for a request to a peer"));
    return false;
}

static void link_greet(struct link *l)
{
    const struct api *api = api_find(API_API_VERSIONS);

    l->state = LINK_GREETING;
    link_send(l, api, GREETING_VERSION, (struct bytes){(const uint8_t *)"", 0});
}

static bool peer_speaks(const struct peer *p, int16_t key, int16_t version)
{
    return version >= p->version_min[key] && version <= p->version_max[key];
}

static void link_idle(struct link *l)
{
    struct timeval idle = {.tv_sec = PEER_IDLE_US / 1000000};

    l->state = LINK_IDLE;
    event_add(&l->idle, &idle);
}

/* The link is free: its call goes out. */
static void link_start(struct link *l)
{
    struct call *c = l->call;

    if (c && !peer_speaks(l->peer, c->api_key, c->api_version)) {
        l->call = NULL;
        call_fail(c,
                  status_error(KERR_UNSUPPORTED_VERSION, "the peer does not speak this version"));
        c = NULL;
    }
    if (!c) {
        link_idle(l);
        return;
    }
    l->state = LINK_BUSY;
    link_send(l, api_find(c->api_key), c->api_version, (struct bytes){c->body.data, c->body.size});
}

/* ---- bytes in ---- */

static bool take_versions(struct peer *p, struct reader *r)
{
    struct api_versions_response response;
    struct arena arena;
    bool good;

    arena_init(&arena, ARENA_BYTES_MAX);
    good = api_versions_response_decode(&response, r, &arena, GREETING_VERSION) &&
           response.error_code == KERR_NONE;
    for (int16_t key = 0; good && key < API_KEY_COUNT; key++) {
        p->version_min[key] = 0;
        p->version_max[key] = -1;
    }
    for (size_t i = 0; good && i < response.api_keys_count; i++) {
        const struct api_versions_response_api_version *v = &response.api_keys[i];

        if (v->api_key < 0 || v->api_key >= API_KEY_COUNT)
            continue;
        p->version_min[v->api_key] = v->min_version;
        p->version_max[v->api_key] = v->max_version;
    }
    arena_free(&arena);
    p->known = p->known || good;
    return good;
}

static void link_answered(struct link *l, struct reader *r)
{
    struct call *c = l->call;
    struct peer *p = l->peer;
    struct bytes body = {r->pos, reader_left(r)};

    l->call = NULL;
    c->link = NULL;
    /* What is sent from within waits a moment: the body is in the link's buffer, and this link
     * takes the next one. */
    p->held = true;
    call_tell(c, STATUS_OK, body);
    p->held = false;
    call_free(c);
    if (l->in_capacity > KEPT_BYTES_MAX) {
        free(l->in);
        l->in = NULL;
        l->in_capacity = 0;
    }
    l->in_size = 0;
    link_idle(l);
    peer_pump(p);
}

/* A whole frame is there. */
static void link_handle(struct link *l)
{
    struct reader r = reader_of(l->in + FRAME_LENGTH_BYTES, l->in_size - FRAME_LENGTH_BYTES);
    const struct api *api =
        api_find(l->state == LINK_GREETING ? API_API_VERSIONS : l->call->api_key);
    int16_t version = l->state == LINK_GREETING ? GREETING_VERSION : l->call->api_version;
    int32_t correlation_id;

    if (!frame_read_response_head(&r, api, version, &correlation_id) ||
        correlation_id != l->correlation_id) {
        link_close(l, status_error(KERR_NETWORK_EXCEPTION, "a peer's answer makes no sense"));
        return;
    }
    if (l->state == LINK_BUSY) {
        link_answered(l, &r);
        return;
    }
    if (!take_versions(l->peer, &r)) {
        link_close(l, status_error(KERR_NETWORK_EXCEPTION, "a peer does not say what it speaks"));
        return;
    }
    l->in_size = 0;
    link_start(l);
}

/* Room for what is to come: the length, then the whole frame. */
static bool link_make_room(struct link *l)
{
    size_t want = FIRST_BYTES;

    if (l->in_size >= FRAME_LENGTH_BYTES) {
        int32_t length = frame_length(l->in);

        if (length < 0 || length > l->peer->transport->args.answer_bytes_max)
            return false;
        want = FRAME_LENGTH_BYTES + (size_t)length;
    }
    if (want > l->in_capacity) {
        uint8_t *in = realloc(l->in, want);

        if (!in)
            return false;
        l->in = in;
        l->in_capacity = want;
    }
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct link *l = arg;
    size_t want = FRAME_LENGTH_BYTES;
    ssize_t got;

    (void)what;
    if (!link_make_room(l)) {
        link_close(l, status_error(KERR_NETWORK_EXCEPTION, "a peer's answer is too long"));
        return;
    }
    if (l->in_size >= FRAME_LENGTH_BYTES)
        want += (size_t)frame_length(l->in);
    got = recv(fd, l->in + l->in_size, want - l->in_size, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        errno = got ? errno : ECONNRESET;
        link_close(l, status_network("the peer closed the connection"));
        return;
    }
    if (l->state == LINK_IDLE) {
        link_close(l, status_error(KERR_NETWORK_EXCEPTION, "a peer answered what nobody asked"));
        return;
    }
    l->in_size += (size_t)got;
    if (l->in_size < FRAME_LENGTH_BYTES)
        return;
    if (l->in_size == FRAME_LENGTH_BYTES + (size_t)(uint32_t)frame_length(l->in))
        link_handle(l);
    else if (want == FRAME_LENGTH_BYTES)
        on_readable(fd, what, l); /* the length is known now: its bytes are mostly there */
}

/* ---- connecting ---- */

/* That address cannot be reached. Of a node with several, one refusal tells nothing: a node is said
 * to refuse (its process is gone, for all who hear it) when all of its addresses do. */
static void link_missed(struct link *l, struct status why)
{
    event_del(&l->idle);
    if (l->events_set) {
        event_del(&l->readable);
        event_del(&l->writable);
        l->events_set = false;
    }
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    if (l->why.code == KERR_NONE || l->why.sys_errno == ECONNREFUSED)
        l->why = why;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct link *l = arg;
    int failed = 0;
    socklen_t size = sizeof failed;

    (void)what;
    if (l->state != LINK_CONNECTING) {
        link_write(l);
        return;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) || failed) {
        errno = failed ? failed : errno;
        link_missed(l, status_network("connect to a peer"));
        link_try_addresses(l);
        return;
    }
    event_del(&l->idle);
    event_add(&l->readable, NULL);
    if (l->peer->known)
        link_start(l);
    else
        link_greet(l);
}

/* Idle for long, or not connected for too long. */
static void on_idle(evutil_socket_t fd, short what, void *arg)
{
    struct link *l = arg;

    (void)fd;
    (void)what;
    if (l->state != LINK_CONNECTING) {
        link_close(l, status_error(KERR_NETWORK_EXCEPTION, "idle"));
        return;
    }
    link_missed(l, (struct status){KERR_NETWORK_EXCEPTION, ETIMEDOUT, "connect to a peer"});
    link_try_addresses(l);
}

/* A peer that is cut off is found out while its answer is awaited; one that is only slow is not,
 * for its kernel answers the probes. */
static void link_watch(const struct link *l)
{
    const int on = 1, first_s = 1, every_s = 1, probes = 3, unheard_ms = 4000;

    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(l->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(l->fd, IPPROTO_TCP, TCP_KEEPIDLE, &first_s, sizeof first_s);
    setsockopt(l->fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    setsockopt(l->fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(l->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unheard_ms, sizeof unheard_ms);
}

static struct status link_connect(struct link *l, const struct peer_address *address)
{
    struct event_base *events = l->peer->transport->args.events;
    const int64_t patience_us = l->tried < l->lookup.count ? PEER_NEXT_ADDRESS_US : PEER_CONNECT_US;
    const struct timeval patience = {.tv_sec = patience_us / 1000000,
                                     .tv_usec = patience_us % 1000000};

    l->state = LINK_CONNECTING;
    l->fd = socket(address->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return status_network("socket for a peer");
    link_watch(l);
    event_assign(&l->readable, events, l->fd, EV_READ | EV_PERSIST, on_readable, l);
    event_assign(&l->writable, events, l->fd, EV_WRITE, on_writable, l);
    l->events_set = true;
    if (connect(l->fd, (const struct sockaddr *)&address->at, address->size) &&
        errno != EINPROGRESS)
        return status_network("connect to a peer");
    event_add(&l->writable, NULL);
    event_add(&l->idle, &patience);
    return STATUS_OK;
}

/* The next of the node's addresses. When there is none left the link is closed; a later one looks
 * the name up anew. */
static void link_try_addresses(struct link *l)
{
    while (l->tried < l->lookup.count) {
        struct status st = link_connect(l, &l->lookup.addresses[l->tried++]);

        if (!status_failed(st))
            return;
        link_missed(l, st);
    }
    link_close(l, l->why);
}

static void on_found(struct peer_lookup *u)
{
    struct link *l = CONTAINER_OF(u, struct link, lookup);

    if (u->count == 0)
        l->why = (struct status){KERR_NETWORK_EXCEPTION, EHOSTUNREACH, "look up a peer's name"};
    link_try_addresses(l);
}

/* ---- links and peers ---- */

static void link_open(struct peer *p, struct call *c)
{
    struct link *l = calloc(1, sizeof *l);

    CHECK(l);
    l->peer = p;
    l->fd = -1;
    l->call = c;
    c->link = l;
    event_assign(&l->idle, p->transport->args.events, -1, 0, on_idle, l);
    DL_APPEND(p->links, l);
    p->link_count++;
    l->lookup.found = on_found;
    peer_lookup_start(&l->lookup, &p->transport->names, p->host, p->port);
}

static void link_free(struct link *l)
{
    struct peer *p = l->peer;

    peer_lookup_cancel(&l->lookup);
    event_del(&l->idle);
    if (l->events_set) {
        event_del(&l->readable);
        event_del(&l->writable);
    }
    if (l->fd >= 0)
        close(l->fd);
    DL_DELETE(p->links, l);
    p->link_count--;
    free(l->in);
    free(l->out);
    free(l);
}

static void peer_maybe_forget(struct peer *p)
{
    if (p->links || p->waiting[false] || p->waiting[true] || p->held)
        return;
    DL_DELETE(p->transport->peers, p);
    free(p);
}

static void link_close(struct link *l, struct status why)
{
    struct peer *p = l->peer;
    struct call *c = l->call;

    if (l->state != LINK_IDLE || c)
        logger_event(p->transport->args.logger, LOGGER_DEBUG, "peer_link_closed",
                     "peer=%d host=%s port=%u reason=\"%s\" errno=%d", p->id, p->host, p->port,
                     why.where, why.sys_errno);
    link_free(l);
    if (!p->links)
        p->known = false; /* another program may answer there next */
    if (c)
        call_fail(c, why);
    peer_pump(p);
    peer_maybe_forget(p);
}

/* Nobody wants the answer that they carry. */
static void peer_close_abandoned(struct peer *p)
{
    struct link *l, *next;

    DL_FOREACH_SAFE(p->links, l, next)
    if (l->call && !l->call->request)
        link_close(l, status_error(KERR_NETWORK_EXCEPTION, "its request was cancelled"));
}

static bool patient_may_start(const struct peer *p)
{
    size_t count = 0;
    const struct link *l;

    DL_FOREACH(p->links, l)
    count += l->call && l->call->patient;
    return count < PEER_PATIENT_LINKS_MAX;
}

/* Who gets the next link: the first that waits, or that may start. NULL: nobody. */
static struct call *peer_next(struct peer *p)
{
    struct call *other = p->waiting[false], *patient = p->waiting[true];
    const bool patient_first = patient && (!other || patient->turn < other->turn);

    if (patient_first && !patient_may_start(p))
        peer_close_abandoned(p);
    return patient_first && patient_may_start(p) ? patient : other;
}

/* Gives waiting calls their links. What fails at once comes back here: it is held off. */
static void peer_pump(struct peer *p)
{
    struct call *c;

    if (p->held)
        return;
    p->held = true;
    while ((c = peer_next(p))) {
        struct link *l;

        DL_SEARCH_SCALAR(p->links, l, state, LINK_IDLE);
        if (!l && p->link_count >= PEER_LINKS_MAX) {
            peer_close_abandoned(p);
            if (p->link_count >= PEER_LINKS_MAX)
                break;
        }
        call_take(c);
        if (!l) { /* the new one first, so that what the peer speaks stays known */
            link_open(p, c);
            peer_close_abandoned(p);
            continue;
        }
        event_del(&l->idle);
        l->call = c;
        c->link = l;
        link_start(l);
    }
    p->held = false;
}

static struct peer *peer_of(struct peer_transport *t, const struct transport_node *node)
{
    struct peer *p;

    DL_FOREACH(t->peers, p)
    if (p->id == node->id && p->port == node->port && str_equal(str_from(p->host), node->host))
        return p;
    p = calloc(1, sizeof *p);
    CHECK(p);
    p->transport = t;
    p->id = node->id;
    p->port = node->port;
    memcpy(p->host, node->host.data, node->host.size);
    DL_APPEND(t->peers, p);
    return p;
}

/* ---- the interface ---- */

static void peer_send(struct transport *base, const struct transport_node *node,
                      struct transport_request *r, struct bytes_mut body, int64_t timeout_us)
{
    struct peer_transport *t = (struct peer_transport *)base;
    struct timeval timeout = {.tv_sec = timeout_us / 1000000, .tv_usec = timeout_us % 1000000};
    struct call *c = calloc(1, sizeof *c);

    CHECK(c);
    *c = (struct call){.transport = t,
                       .request = r,
                       .api_key = r->api_key,
                       .api_version = r->api_version,
                       .patient = r->patient,
                       .body = body};
    r->link = c;
    event_assign(&c->deadline, t->args.events, -1, 0, on_deadline, c);
    if (!node->host.data || node->host.size == 0 || node->host.size > HOST_BYTES_MAX) {
        call_fail(c, status_error(KERR_NETWORK_EXCEPTION, "the peer has no address"));
        return;
    }
    event_add(&c->deadline, &timeout);
    c->peer = peer_of(t, node);
    c->turn = c->peer->turns++;
    DL_APPEND(c->peer->waiting[c->patient], c);
    c->waiting = true;
    peer_pump(c->peer);
}

static void peer_cancel(struct transport *base, struct transport_request *r)
{
    struct call *c = r->link;

    (void)base;
    if (!c)
        return;
    r->link = NULL;
    c->request = NULL; /* its answer, or its failure, frees it */
    if (!c->waiting)
        return;
    call_take(c);
    call_free(c);
}

static const struct transport_ops peer_ops = {.send = peer_send, .cancel = peer_cancel};

struct peer_transport *peer_transport_create(const struct peer_transport_args *args)
{
    struct peer_transport *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    t->base.ops = &peer_ops;
    t->args = *args;
    t->names.args = (struct peer_names_args){args->events, args->hosts_path};
    return t;
}

struct transport *peer_transport_base(struct peer_transport *t)
{
    return &t->base;
}

void peer_transport_free(struct peer_transport *t)
{
    struct peer *p, *next;

    if (!t)
        return;
    DL_FOREACH_SAFE(t->peers, p, next)
    {
        for (int patient = 0; patient < 2; patient++)
            while (p->waiting[patient]) {
                struct call *c = p->waiting[patient];

                call_take(c);
                call_free(c);
            }
        while (p->links) {
            if (p->links->call)
                call_free(p->links->call);
            link_free(p->links);
        }
        free(p);
    }
    while (t->failing) { /* their tasks never run: the loop has ended, or ends here */
        struct call *c = t->failing;

        DL_DELETE(t->failing, c);
        call_free(c);
    }
    peer_names_end(&t->names);
    free(t);
}
