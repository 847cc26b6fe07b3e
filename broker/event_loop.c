#include "broker/event_loop.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <urcu/wfcqueue.h>

#include "protocol/base/check.h"

/* The queue's inline assembly is invisible to ThreadSanitizer: say what it orders. */
#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif
#ifdef TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define TSAN_ACQUIRE(addr) __tsan_acquire(addr)
#define TSAN_RELEASE(addr) __tsan_release(addr)
#else
#define TSAN_ACQUIRE(addr) ((void)(addr))
#define TSAN_RELEASE(addr) ((void)(addr))
#endif

struct event_loop {
    struct loop base;
    struct event_base *events;
    /* From other threads. Producers touch the tail, the loop the head: apart, against false
     * sharing. */
    struct cds_wfcq_tail tail __attribute__((aligned(64)));
    struct __cds_wfcq_head head __attribute__((aligned(64)));
    int wake_fd;
    struct event *wake;
    /* From the loop's own thread: a plain list. */
    struct task *own_first;
    struct task *own_last;
    struct event *own_wake;
    pthread_t thread;
    bool started;
    _Atomic bool stopping;
    const char *name;
};

/* Which loop the calling thread is: lets post() skip the queue. The only thread-local there is. */
static _Thread_local struct event_loop *current_loop;

_Static_assert(sizeof(struct cds_wfcq_node) == sizeof(void *), "a queue node fits task.link");

static void own_push(struct event_loop *el, struct task *t)
{
    t->link = NULL;
    if (el->own_last)
        el->own_last->link = t;
    else
        el->own_first = t;
    el->own_last = t;
}

static void event_loop_post(struct loop *l, struct task *t)
{
    struct event_loop *el = (struct event_loop *)l;
    struct cds_wfcq_node *node = (struct cds_wfcq_node *)&t->link;
    const uint64_t one = 1;

    if (current_loop == el) {
        if (!el->own_first)
            event_active(el->own_wake, 0, 0);
        own_push(el, t);
        return;
    }
    cds_wfcq_node_init(node);
    TSAN_RELEASE(t);
    if (!cds_wfcq_enqueue((struct cds_wfcq_head *)&el->head, &el->tail, node)) {
        ssize_t written = write(el->wake_fd, &one, sizeof one);

        (void)written; /* fails only when the counter is full: not in 2^64 writes */
    }
}

static void own_run(struct event_loop *el)
{
    struct task *t = el->own_first;

    el->own_first = el->own_last = NULL;
    while (t) {
        struct task *next = t->link;

        t->run(t);
        t = next;
    }
}

static void on_own_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    own_run(arg);
}

/* Takes all that is queued now; what arrives meanwhile wakes the loop again. */
static void mailbox_run(struct event_loop *el)
{
    struct __cds_wfcq_head batch_head;
    struct cds_wfcq_tail batch_tail;
    struct cds_wfcq_node *node, *next;

    __cds_wfcq_init(&batch_head, &batch_tail);
    __cds_wfcq_splice_blocking((struct cds_wfcq_head *)&batch_head, &batch_tail,
                               (struct cds_wfcq_head *)&el->head, &el->tail);
    for (node = __cds_wfcq_first_blocking((struct cds_wfcq_head *)&batch_head, &batch_tail); node;
         node = next) {
        struct task *t = (struct task *)(void *)node;

        /* Before run: the task may free itself. */
        next = __cds_wfcq_next_blocking((struct cds_wfcq_head *)&batch_head, &batch_tail, node);
        TSAN_ACQUIRE(t);
        t->run(t);
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct event_loop *el = arg;

    (void)fd;
    (void)what;
    mailbox_run(el);
    if (atomic_load(&el->stopping))
        event_base_loopbreak(el->events);
}

/* ---- timers ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct timer *t = arg;

    (void)fd;
    (void)what;
    t->fire(t);
}

static void event_loop_timer_init(struct loop *l, struct timer *t, void (*fire)(struct timer *t))
{
    struct event_loop *el = (struct event_loop *)l;

    t->fire = fire;
    t->impl = event_new(el->events, -1, 0, on_timer, t);
    CHECK(t->impl);
}

static void event_loop_timer_start(struct loop *l, struct timer *t, int64_t delay_us)
{
    struct timeval delay;

    (void)l;
    if (delay_us < 0)
        delay_us = 0;
    delay = (struct timeval){.tv_sec = delay_us / 1000000, .tv_usec = delay_us % 1000000};
    event_add(t->impl, &delay);
}

static void event_loop_timer_stop(struct loop *l, struct timer *t)
{
    (void)l;
    if (t->impl)
        event_del(t->impl);
}

static void event_loop_timer_free(struct loop *l, struct timer *t)
{
    (void)l;
    if (t->impl)
        event_free(t->impl);
    t->impl = NULL;
}

static const struct loop_ops event_loop_ops = {
    .post = event_loop_post,
    .timer_init = event_loop_timer_init,
    .timer_start = event_loop_timer_start,
    .timer_stop = event_loop_timer_stop,
    .timer_free = event_loop_timer_free,
};

/* ---- life ---- */

/* Timers go by libevent's coarse clock: they may fire one of the kernel's ticks (4 ms) early, which
 * all of ours bear: who has a deadline looks at the clock and starts again. Precise ones would set
 * a timerfd before nearly each wait. */
static struct event_base *events_new(void)
{
    struct event_config *config = event_config_new();
    struct event_base *events;

    if (!config)
        return NULL;
    /* No EPOLL_USE_CHANGELIST: it would speak to epoll about a descriptor after it was closed, when
     * another thread may already have been given its number. */
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    events = event_base_new_with_config(config);
    event_config_free(config);
    return events;
}

struct status event_loop_create(const char *name, struct clock *clock, struct event_loop **out)
{
    struct event_loop *el = aligned_alloc(64, (sizeof *el + 63) / 64 * 64);

    if (!el)
        return (struct status){KERR_UNKNOWN_SERVER_ERROR, ENOMEM, "event loop"};
    *el = (struct event_loop){.base = {&event_loop_ops, clock}, .name = name, .wake_fd = -1};
    __cds_wfcq_init(&el->head, &el->tail);
    el->events = events_new();
    el->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (el->events && el->wake_fd >= 0) {
        /* Edge-triggered: each write tells, whatever the counter says, so nobody has to read it. */
        el->wake = event_new(el->events, el->wake_fd, EV_READ | EV_PERSIST | EV_ET, on_wake, el);
        el->own_wake = event_new(el->events, -1, 0, on_own_wake, el);
    }
    if (!el->wake || !el->own_wake || event_add(el->wake, NULL)) {
        int sys_errno = errno;

        event_loop_free(el);
        return (struct status){KERR_UNKNOWN_SERVER_ERROR, sys_errno, "event loop"};
    }
    *out = el;
    return STATUS_OK;
}

struct loop *event_loop_base(struct event_loop *el)
{
    return &el->base;
}

struct event_base *event_loop_events(struct event_loop *el)
{
    return el->events;
}

static void *event_loop_main(void *arg)
{
    struct event_loop *el = arg;

    current_loop = el;
    event_base_loop(el->events, EVLOOP_NO_EXIT_ON_EMPTY);
    current_loop = NULL;
    return NULL;
}

struct status event_loop_start(struct event_loop *el)
{
    int failed = pthread_create(&el->thread, NULL, event_loop_main, el);

    if (failed)
        return (struct status){KERR_UNKNOWN_SERVER_ERROR, failed, "event loop thread"};
    pthread_setname_np(el->thread, el->name);
    el->started = true;
    return STATUS_OK;
}

void event_loop_stop(struct event_loop *el)
{
    const uint64_t one = 1;
    ssize_t written;

    atomic_store(&el->stopping, true);
    written = write(el->wake_fd, &one, sizeof one);
    (void)written;
}

void event_loop_join(struct event_loop *el)
{
    if (el->started)
        pthread_join(el->thread, NULL);
    el->started = false;
    current_loop = el;
    do {
        own_run(el);
        mailbox_run(el);
    } while (el->own_first);
    current_loop = NULL;
}

void event_loop_free(struct event_loop *el)
{
    if (el->own_wake)
        event_free(el->own_wake);
    if (el->wake)
        event_free(el->wake);
    if (el->wake_fd >= 0)
        close(el->wake_fd);
    if (el->events)
        event_base_free(el->events);
    free(el);
}
