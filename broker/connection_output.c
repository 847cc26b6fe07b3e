/* Answers out, in the order their requests came: memory by sendmsg, file ranges by sendfile. */

#include <errno.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "broker/connection_internal.h"
#include "broker/payload.h"
#include "broker/shard.h"

#define PIECES_MAX        32
#define SEND_BYTES_A_TURN ((size_t)1 << 20)  /* then other connections of the shard get theirs */
#define COPY_BYTES        ((size_t)64 << 10) /* where a slice has no descriptor to send from */

/* A run of bytes of an answer: in memory, or in a slice. */
struct piece {
    const uint8_t *memory;
    const struct log_slice *slice;
    size_t at; /* in the slice */
    size_t size;
};

static struct piece response_piece(const struct response *r, const struct response_cursor *at)
{
    const struct splice *splice =
        at->splice < r->writer.splice_count ? &r->writer.splices[at->splice] : NULL;
    size_t limit = splice ? splice->at : r->writer.size;
    const struct payload *payload;

    if (at->memory < limit)
        return (struct piece){.memory = r->writer.data + at->memory, .size = limit - at->memory};
    if (!splice)
        return (struct piece){0};
    payload = splice->cookie;
    if (payload->memory)
        return (struct piece){.memory = payload->memory + at->in_splice,
                              .size = splice->size - at->in_splice};
    return (struct piece){
        .slice = &payload->slice, .at = at->in_splice, .size = splice->size - at->in_splice};
}

static void response_advance(const struct response *r, struct response_cursor *at, size_t size)
{
    const struct splice *splice =
        at->splice < r->writer.splice_count ? &r->writer.splices[at->splice] : NULL;
    size_t limit = splice ? splice->at : r->writer.size;

    if (at->memory < limit) {
        at->memory += size;
        return;
    }
    at->in_splice += size;
    if (at->in_splice == splice->size) {
        at->in_splice = 0;
        at->splice++;
    }
}

/* Requests whose answer may leave now: a run at the head of the list. */
static struct request *first_sendable(struct connection *c)
{
    return c->first && c->first != c->first_waiting && c->first->answered ? c->first : NULL;
}

static struct request *next_sendable(const struct connection *c, const struct request *rq)
{
    return rq->next && rq->next != c->first_waiting && rq->next->answered ? rq->next : NULL;
}

static void pop_first(struct connection *c)
{
    struct request *rq = c->first;

    c->first = rq->next;
    if (!c->first)
        c->last = NULL;
    c->request_count--;
    c->output_bytes -= response_size(&rq->response);
    c->cursor = (struct response_cursor){0};
    request_free(rq);
}

/* Answers that are out, and those of acks=0 that have no bytes. */
static void pop_sent(struct connection *c)
{
    struct request *rq;

    while ((rq = first_sendable(c)) &&
           (rq->answered_nothing || response_piece(&rq->response, &c->cursor).size == 0))
        pop_first(c);
}

/* Memory pieces from the head on, up to a file range. *more: a file range follows. */
static int gather(const struct connection *c, struct request *rq, struct iovec *parts, bool *more)
{
    struct response_cursor at = c->cursor;
    int count = 0;

    *more = false;
    while (rq && count < PIECES_MAX) {
        struct piece p =
            rq->answered_nothing ? (struct piece){0} : response_piece(&rq->response, &at);

        if (p.size == 0) {
            rq = next_sendable(c, rq);
            at = (struct response_cursor){0};
            continue;
        }
        if (p.slice) {
            *more = true;
            break;
        }
        parts[count++] = (struct iovec){(void *)(uintptr_t)p.memory, p.size};
        response_advance(&rq->response, &at, p.size);
    }
    return count;
}

/* `size` bytes of gathered memory are out. */
static void took(struct connection *c, size_t size)
{
    while (size > 0) {
        struct request *rq = c->first;
        struct piece p =
            rq->answered_nothing ? (struct piece){0} : response_piece(&rq->response, &c->cursor);
        size_t part = p.size < size ? p.size : size;

        if (part == 0) {
            pop_first(c);
            continue;
        }
        response_advance(&rq->response, &c->cursor, part);
        size -= part;
    }
}

/* No descriptor (a simulated or encrypted path): through memory. */
static ssize_t send_copied(struct connection *c, const struct piece *p)
{
    uint8_t buffer[COPY_BYTES];
    size_t size = p->size < sizeof buffer ? p->size : sizeof buffer;

    if (status_failed(log_slice_read(p->slice, p->at, buffer, size, NULL)))
        return 0;
    return send(c->fd, buffer, size, MSG_NOSIGNAL);
}

/* 0: the file is shorter than promised. */
static ssize_t send_slice(struct connection *c, const struct piece *p)
{
    off_t at = (off_t)(p->slice->position + (int64_t)p->at);
    int fd = log_slice_pin(p->slice);
    ssize_t sent;

    if (fd < 0)
        return send_copied(c, p);
    sent = sendfile(c->fd, fd, &at, p->size);
    log_slice_unpin(p->slice);
    return sent;
}

static ssize_t send_once(struct connection *c, struct request *rq)
{
    struct iovec parts[PIECES_MAX];
    bool more;
    int count = gather(c, rq, parts, &more);
    struct piece p;
    ssize_t sent;

    if (count > 0) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};

        sent = sendmsg(c->fd, &message, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent > 0)
            took(c, (size_t)sent);
        return sent;
    }
    pop_sent(c);
    rq = first_sendable(c);
    p = response_piece(&rq->response, &c->cursor);
    sent = send_slice(c, &p);
    if (sent > 0)
        response_advance(&rq->response, &c->cursor, (size_t)sent);
    return sent;
}

static void wait_until_writable(struct connection *c)
{
    if (!c->writing)
        event_add(&c->writable, NULL);
    c->writing = true;
}

bool connection_send(struct connection *c)
{
    size_t total = 0;
    struct request *rq;

    while (pop_sent(c), (rq = first_sendable(c))) {
        ssize_t sent;

        if (total >= SEND_BYTES_A_TURN) {
            wait_until_writable(c);
            break;
        }
        sent = send_once(c, rq);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
            wait_until_writable(c);
            break;
        }
        if (sent <= 0) {
            connection_close(c, sent == 0 ? "a log segment ended before the bytes promised" : NULL);
            return false;
        }
        total += (size_t)sent;
    }
    if (total > 0)
        c->last_active_us = clock_monotonic_us(c->client.shard->loop->clock);
    return true;
}
