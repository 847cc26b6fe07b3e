#include "replication/broker_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "protocol/api.h"
#include "replication/memory.h"

/* Any question does; this one every node answers, and it has no body. */
#define ASK_VERSION 0
#define ASK_US      (1000 * 1000)

/* A process that dies closes its sockets one after the other: for a moment its listener may still
 * take a connection, only to drop it. */
#define AGAIN_US (20 * 1000)
#define TRIES    10

struct look {
    struct look *prev, *next;
    struct broker_watch *watch;
    struct transport_request request;
    bool asking;
    struct timer again;
    int tries;
    struct str host; /* owned */
    uint16_t port;
    int32_t id;
    int64_t epoch;
    int64_t asked_ms;
};

struct broker_watch {
    struct broker_watch_args args;
    struct look *looks; /* under way */
};

struct broker_watch *broker_watch_create(const struct broker_watch_args *args)
{
    struct broker_watch *w = memory_zalloc(1, sizeof *w);

    w->args = *args;
    return w;
}

static void look_free(struct look *l)
{
    struct broker_watch *w = l->watch;

    if (l->asking)
        transport_cancel(w->args.transport, &l->request);
    timer_free(w->args.loop, &l->again);
    DL_DELETE(w->looks, l);
    free((void *)(uintptr_t)l->host.data);
    free(l);
}

static void answered(struct transport_request *r, struct status result, struct bytes body)
{
    struct look *l = CONTAINER_OF(r, struct look, request);
    struct broker_watch *w = l->watch;
    struct look seen = *l;

    (void)body;
    l->asking = false;
    if (status_failed(result) && result.code == KERR_NETWORK_EXCEPTION &&
        result.sys_errno != ECONNREFUSED && ++l->tries < TRIES) {
        timer_start(w->args.loop, &l->again, AGAIN_US);
        return;
    }
    look_free(l);
    if (result.code == KERR_REQUEST_TIMED_OUT) {
        w->args.on_silent(w->args.arg, seen.id, seen.epoch, seen.asked_ms);
        return;
    }
    if (result.sys_errno != ECONNREFUSED)
        return;
    logger_event(w->args.logger, LOGGER_INFO, "broker_refuses", "broker=%d epoch=%lld", seen.id,
                 (long long)seen.epoch);
    w->args.on_refused(w->args.arg, seen.id, seen.epoch, seen.asked_ms);
}

static void ask(struct look *l)
{
    struct broker_watch *w = l->watch;
    struct transport_node node = {l->id, l->host, l->port};

    l->asked_ms = clock_monotonic_us(w->args.loop->clock) / 1000;
    l->asking = true;
    l->request = (struct transport_request){
        .answered = answered, .api_key = API_API_VERSIONS, .api_version = ASK_VERSION};
    transport_send(w->args.transport, &node, &l->request, (struct bytes_mut){NULL, 0}, ASK_US);
}

static void ask_again(struct timer *t)
{
    ask(CONTAINER_OF(t, struct look, again));
}

void broker_watch_look(struct broker_watch *w, const struct metadata_broker *b)
{
    struct look *l;

    DL_SEARCH_SCALAR(w->looks, l, id, b->id);
    if (l || b->listener_count == 0)
        return;
    l = memory_zalloc(1, sizeof *l);
    l->watch = w;
    l->id = b->id;
    l->epoch = b->epoch;
    l->host = memory_str(b->listeners[0].host);
    l->port = b->listeners[0].port;
    timer_init(w->args.loop, &l->again, ask_again);
    DL_APPEND(w->looks, l);
    ask(l);
}

void broker_watch_stop(struct broker_watch *w)
{
    struct look *l, *next;

    DL_FOREACH_SAFE(w->looks, l, next)
    look_free(l);
}

void broker_watch_free(struct broker_watch *w)
{
    if (!w)
        return;
    broker_watch_stop(w);
    free(w);
}
