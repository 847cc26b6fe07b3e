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
    sim_runner_changed(&l->runner);
    sim_heap_switch(caller);
}

/* ---- timers ---- */

static bool is_before(const struct sim_due *one, const struct sim_due *other)
{
    return one->at_us != other->at_us ? one->at_us < other->at_us : one->order < other->order;
}

static void put(struct sim_loop *l, size_t place, struct sim_due d)
{
    l->due[place] = d;
    d.timer->place = place;
}

/* At `place` or above it: whatever stands in the way moves down. */
static void put_up(struct sim_loop *l, size_t place, struct sim_due d)
{
    while (place > 0 && is_before(&d, &l->due[(place - 1) / 2])) {
        put(l, place, l->due[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    put(l, place, d);
}

/* At `place` or below it. */
static void put_down(struct sim_loop *l, size_t place, struct sim_due d)
{
    for (;;) {
        size_t child = 2 * place + 1;

        if (child + 1 < l->due_count && is_before(&l->due[child + 1], &l->due[child]))
            child++;
        if (child >= l->due_count || !is_before(&l->due[child], &d))
            break;
        put(l, place, l->due[child]);
        place = child;
    }
    put(l, place, d);
}

static void init_timer(struct loop *base, struct timer *t, void (*fire)(struct timer *t))
{
    struct sim_loop *l = of_base(base);
    struct sim_heap *caller = sim_heap_switch(NULL);
    struct sim_timer *st = calloc(1, sizeof *st);

    CHECK(st != NULL);
    *st = (struct sim_timer){.timer = t, .place = SIM_NOT_DUE};
    t->fire = fire;
    t->impl = st;
    DL_APPEND(l->timers, st);
    if (l->timer_count++ == l->due_capacity) {
        l->due_capacity = l->due_capacity ? 2 * l->due_capacity : 64;
        l->due = realloc(l->due, l->due_capacity * sizeof l->due[0]);
        CHECK(l->due != NULL);
    }
    sim_heap_switch(caller);
}

/* It is not to fire. */
static void put_off(struct sim_loop *l, struct sim_timer *st)
{
    const size_t place = st->place;
    struct sim_due last;

    if (place == SIM_NOT_DUE)
        return;
    st->place = SIM_NOT_DUE;
    last = l->due[--l->due_count];
    sim_runner_changed(&l->runner);
    if (last.timer == st)
        return;
    if (place > 0 && is_before(&last, &l->due[(place - 1) / 2]))
        put_up(l, place, last);
    else
        put_down(l, place, last);
}

static void start_timer(struct loop *base, struct timer *t, int64_t delay_us)
{
    struct sim_loop *l = of_base(base);
    struct sim_timer *st = t->impl;

    put_off(l, st);
    put_up(l, l->due_count++,
           (struct sim_due){.at_us = l->runner.sched->now_us + (delay_us > 0 ? delay_us : 0),
                            .order = l->timer_starts++,
                            .timer = st});
    sim_runner_changed(&l->runner);
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

/* ---- steps ---- */

static int64_t ready_us(struct sim_runner *r)
{
    const struct sim_loop *l = CONTAINER_OF(r, struct sim_loop, runner);

    if (l->post_count > 0)
        return r->sched->now_us;
    return l->due_count > 0 ? l->due[0].at_us : SIM_NEVER;
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
    struct sim_timer *first = NULL;
    uint64_t before = s->source;

    if (l->due_count > 0 && l->due[0].at_us <= s->now_us)
        first = l->due[0].timer;
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
    l->runner = (struct sim_runner){.heap = heap, .ready_us = ready_us, .step = step};
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
    free(l->due);
    free(l->posts);
    free(l);
}
