#ifndef STORAGE_EXECUTOR_H
#define STORAGE_EXECUTOR_H

/* Threads as interfaces: who runs what, without saying how.
 *
 * A `loop` is one thread that owns state: a shard or the control thread. A `pool` is a few threads
 * for what may block. Everything below broker/ meets threads only through these, so the simulator
 * can run a whole node on one thread in virtual time, and finish blocking jobs late and out of
 * order. Real ones: broker/event_loop, broker/io_pool. Simulated: tests/sim. */

#include <stdint.h>

#include "protocol/base/clock.h"

/* Work handed to a loop. Embedded in the thing it works on; the loop owns it from post until
 * run. */
struct task {
    void *link; /* the queue's; first, so that a queue node can be laid over it */
    void (*run)(struct task *t);
};

struct loop;

/* A single shot. Embedded in its owner; zeroed before its first timer_init. */
struct timer {
    void (*fire)(struct timer *t);
    void *impl; /* the loop's */
};

struct loop_ops {
    /* Hands t to the loop; tasks posted by one thread run in that order. Any thread. */
    void (*post)(struct loop *l, struct task *t);
    /* The rest: on the loop's own thread only. */
    void (*timer_init)(struct loop *l, struct timer *t, void (*fire)(struct timer *t));
    /* restarts a running one */
    void (*timer_start)(struct loop *l, struct timer *t, int64_t delay_us);
    /* no-op when not running */
    void (*timer_stop)(struct loop *l, struct timer *t);
    /* stops it; no-op when not initialised */
    void (*timer_free)(struct loop *l, struct timer *t);
};

struct loop {
    const struct loop_ops *ops;
    struct clock *clock;
};

/* A blocking job: run() on some pool thread, then `done` is posted to `home`. What run() touches
 * must be immutable, thread-safe or left alone by home until done. On the same pool, jobs may run
 * in any order. */
struct job {
    struct task done;
    struct task pooled; /* the pool's */
    struct loop *home;
    void (*run)(struct job *j);
};

struct pool {
    /* Any thread. */
    void (*submit)(struct pool *p, struct job *j);
};

static inline void loop_post(struct loop *l, struct task *t)
{
    l->ops->post(l, t);
}

static inline void timer_init(struct loop *l, struct timer *t, void (*fire)(struct timer *t))
{
    l->ops->timer_init(l, t, fire);
}

static inline void timer_start(struct loop *l, struct timer *t, int64_t delay_us)
{
    l->ops->timer_start(l, t, delay_us);
}

static inline void timer_stop(struct loop *l, struct timer *t)
{
    l->ops->timer_stop(l, t);
}

static inline void timer_free(struct loop *l, struct timer *t)
{
    l->ops->timer_free(l, t);
}

static inline void pool_submit(struct pool *p, struct job *j)
{
    p->submit(p, j);
}

/* The struct that holds `member` at `pointer`. */
#define CONTAINER_OF(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
