#include "tests/sim/sim_loop.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "protocol/base/check.h"

static struct sim_loop *of_base(struct loop *l)
{
    return CONTAINER_OF(l, struct sim_loop, base);
}

static void post(struct loop *base, struct task *t)
{
    struct sim_loop *l = of_base(base);
    struct sim_heap *caller = sim_heap_switch(NULL);

    if (l->post_count == l->post_capacity) {
        l->post_capacity = l->post_capacity ? 2 * l->post_capacity : 64;
        l->posts = realloc(l->posts, l->post_capacity * sizeof l->posts[0]);
        CHECK(l->posts != NULL);
    }
    l->posts[l->post_count++] = (struct sim_post){t, l->runner.sched->source};
    sim_heap_switch(caller);
}

/* ---- timers ---- */

static void init_timer(struct loop *base, struct timer *t, void (*fire)(struct timer *t))
{
    struct sim_loop *l = of_base(base);
    struct sim_heap *caller = sim_heap_switch(NULL);
    struct sim_timer *st = calloc(1, sizeof *st);

    CHECK(st != NULL);
    *st = (struct sim_timer){.timer = t, .at_us = SIM_NEVER};
    t->fire = fire;
    t->impl = st;
    DL_APPEND(l->timers, st);
    l->timer_count++;
    sim_heap_switch(caller);
}

/* It fires later than it would have, or not at all. */
static void put_off(struct sim_loop *l, struct sim_timer *st)
{
    if (l->first == st)
        l->first_known = false;
    st->at_us = SIM_NEVER;
}

static void start_timer(struct loop *base, struct timer *t, int64_t delay_us)
{
    struct sim_loop *l = of_base(base);
    struct sim_timer *st = t->impl;

    put_off(l, st);
    st->at_us = l->runner.sched->now_us + (delay_us > 0 ? delay_us : 0);
    st->order = l->timer_starts++;
    if (l->first_known && (!l->first || st->at_us < l->first->at_us))
        l->first = st;
}

static void stop_timer(struct loop *base, struct timer *t)
{
    if (t->impl)
        put_off(of_base(base), t->impl);
}

static void free_timer(struct loop *base, struct timer *t)
{
    struct sim_loop *l = of_base(base);
    struct sim_timer *st = t->impl;
    struct sim_heap *caller = sim_heap_switch(NULL);

    if (st) {
        put_off(l, st);
        DL_DELETE(l->timers, st);
        l->timer_count--;
        free(st);
    }
    t->impl = NULL;
    sim_heap_switch(caller);
}

/* Asked for before every step of anybody, so it is kept as long as it is the one. */
static struct sim_timer *first_timer(struct sim_loop *l)
{
    struct sim_timer *st, *first = NULL;

    if (l->first_known)
        return l->first;
    DL_FOREACH(l->timers, st)
    if (st->at_us != SIM_NEVER && (!first || st->at_us < first->at_us ||
                                   (st->at_us == first->at_us && st->order < first->order)))
        first = st;
    l->first = first;
    l->first_known = true;
    return first;
}

/* ---- steps ---- */

static bool ready(struct sim_runner *r, int64_t *at)
{
    struct sim_loop *l = CONTAINER_OF(r, struct sim_loop, runner);
    const struct sim_timer *first;

    if (l->post_count > 0)
        return true;
    first = first_timer(l);
    if (!first)
        return false;
    if (first->at_us <= r->sched->now_us)
        return true;
    if (first->at_us < *at)
        *at = first->at_us;
    return false;
}

/* Any of those that wait, but the first of its thread. */
static struct task *take_post(struct sim_loop *l)
{
    uint64_t source = l->posts[sim_random_below(&l->runner.sched->random, l->post_count)].source;
    struct task *t;
    size_t i = 0;

    while (l->posts[i].source != source)
        i++;
    t = l->posts[i].task;
    l->post_count--;
    memmove(&l->posts[i], &l->posts[i + 1], (l->post_count - i) * sizeof l->posts[0]);
    return t;
}

static void step(struct sim_runner *r)
{
    struct sim_loop *l = CONTAINER_OF(r, struct sim_loop, runner);
    struct sim_sched *s = r->sched;
    struct sim_timer *first = first_timer(l);
    uint64_t before = s->source;

    if (first && first->at_us > s->now_us)
        first = NULL;
    if (first && l->post_count > 0 && sim_random_chance(&s->random, 50))
        first = NULL;
    sim_trace_mix(s->trace, ((uint64_t)s->now_us << 8) | (l->number << 1) | (first != NULL));
    s->source = l->source;
    if (first) {
        put_off(l, first);
        first->timer->fire(first->timer);
    } else {
        struct task *t = take_post(l);

        t->run(t);
    }
    s->source = before;
}

struct sim_loop *sim_loop_create(struct sim_sched *s, struct clock *clock, struct sim_heap *heap,
                                 uint32_t number)
{
    static const struct loop_ops ops = {
        .post = post,
        .timer_init = init_timer,
        .timer_start = start_timer,
        .timer_stop = stop_timer,
        .timer_free = free_timer,
    };
    struct sim_loop *l = calloc(1, sizeof *l);

    CHECK(l != NULL);
    l->base = (struct loop){&ops, clock};
    l->runner = (struct sim_runner){.heap = heap, .ready = ready, .step = step};
    l->source = sim_sched_new_source(s);
    l->number = number;
    sim_sched_add(s, &l->runner);
    return l;
}

void sim_loop_free(struct sim_loop *l)
{
    struct sim_timer *st, *next;

    if (!l)
        return;
    sim_sched_remove(l->runner.sched, &l->runner);
    DL_FOREACH_SAFE(l->timers, st, next)
    free(st);
    free(l->posts);
    free(l);
}
