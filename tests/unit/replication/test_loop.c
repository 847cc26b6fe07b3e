#include "tests/unit/replication/test_loop.h"

#include "protocol/base/check.h"

static struct test_loop *of_loop(struct loop *l)
{
    return CONTAINER_OF(l, struct test_loop, loop);
}

static void queue_put(struct test_queue *q, struct task *t)
{
    t->link = NULL;
    if (q->last)
        q->last->link = t;
    else
        q->first = t;
    q->last = t;
    q->count++;
}

static struct task *queue_take(struct test_queue *q)
{
    struct task *t = q->first;

    q->first = t->link;
    if (!q->first)
        q->last = NULL;
    q->count--;
    return t;
}

static void queue_reverse(struct test_queue *q)
{
    struct test_queue turned = {0};

    while (q->count > 0) {
        struct task *t = queue_take(q);

        t->link = turned.first;
        turned.first = t;
        if (!turned.last)
            turned.last = t;
        turned.count++;
    }
    *q = turned;
}

static void post(struct loop *l, struct task *t)
{
    queue_put(&of_loop(l)->tasks, t);
}

static void submit(struct pool *p, struct job *j)
{
    queue_put(&CONTAINER_OF(p, struct test_loop, pool)->jobs, &j->pooled);
}

static struct test_timer *find_timer(struct test_loop *l, struct timer *t)
{
    for (size_t i = 0; i < TEST_TIMERS_MAX; i++)
        if (l->timers[i].timer == t)
            return &l->timers[i];
    return NULL;
}

static void init_timer(struct loop *l, struct timer *t, void (*fire)(struct timer *t))
{
    struct test_timer *slot = find_timer(of_loop(l), NULL);

    CHECK(slot != NULL);
    t->fire = fire;
    *slot = (struct test_timer){t, INT64_MAX};
}

static void start_timer(struct loop *l, struct timer *t, int64_t delay_us)
{
    find_timer(of_loop(l), t)->at_us = of_loop(l)->now_us + delay_us;
}

static void stop_timer(struct loop *l, struct timer *t)
{
    find_timer(of_loop(l), t)->at_us = INT64_MAX;
}

static void free_timer(struct loop *l, struct timer *t)
{
    struct test_timer *slot = find_timer(of_loop(l), t);

    if (slot)
        slot->timer = NULL;
}

static int64_t wall_ms(struct clock *c)
{
    return 1700000000000 + CONTAINER_OF(c, struct test_loop, clock)->now_us / 1000;
}

static int64_t monotonic_us(struct clock *c)
{
    return CONTAINER_OF(c, struct test_loop, clock)->now_us;
}

static void fill(struct random *r, void *out, size_t size)
{
    struct test_loop *l = CONTAINER_OF(r, struct test_loop, random);

    for (size_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] =
            (uint8_t)((l->seed = l->seed * 6364136223846793005u + 1442695040888963407u) >> 56);
}

void test_loop_init(struct test_loop *l)
{
    static const struct loop_ops ops = {
        .post = post,
        .timer_init = init_timer,
        .timer_start = start_timer,
        .timer_stop = stop_timer,
        .timer_free = free_timer,
    };

    *l = (struct test_loop){
        .loop = {.ops = &ops, .clock = &l->clock},
        .pool = {.submit = submit},
        .clock = {wall_ms, monotonic_us},
        .random = {fill},
        .seed = 1,
        .now_us = 1000000,
    };
}

bool test_loop_round(struct test_loop *l)
{
    struct test_queue tasks = l->tasks;
    struct test_queue jobs = {0};
    const bool any = tasks.count > 0 || (!l->pool_stuck && l->jobs.count > 0);

    l->tasks = (struct test_queue){0};
    if (!l->pool_stuck) { /* what tasks submit now is for the next round */
        jobs = l->jobs;
        l->jobs = (struct test_queue){0};
    }
    while (tasks.count > 0) {
        struct task *t = queue_take(&tasks);

        t->run(t);
    }
    if (l->reorder)
        queue_reverse(&jobs);
    while (jobs.count > 0) {
        struct job *j = CONTAINER_OF(queue_take(&jobs), struct job, pooled);

        j->run(j);
        l->jobs_run++;
        post(j->home, &j->done);
    }
    return any;
}

void test_loop_run(struct test_loop *l, int64_t ms)
{
    for (int64_t end = l->now_us + ms * 1000;; l->now_us += 1000) {
        while (test_loop_round(l))
            ;
        for (size_t i = 0; i < TEST_TIMERS_MAX; i++)
            if (l->timers[i].timer && l->timers[i].at_us <= l->now_us) {
                l->timers[i].at_us = INT64_MAX;
                l->timers[i].timer->fire(l->timers[i].timer);
            }
        while (test_loop_round(l))
            ;
        if (l->now_us >= end)
            return;
    }
}
