#include "tests/sim/sim_pool.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"

#define START_US_MAX 60 /* until a thread has taken a job and done it */
#define END_US_MAX   60 /* until its loop hears of it */
#define LATE_ONE_IN  20 /* jobs that take far longer */
#define LATE_US_MAX  8000

static struct sim_pool *of_runner(struct sim_runner *r)
{
    return CONTAINER_OF(r, struct sim_pool, runner);
}

static void submit(struct pool *base, struct job *j)
{
    struct sim_pool *p = CONTAINER_OF(base, struct sim_pool, base);
    struct sim_heap *caller = sim_heap_switch(NULL);

    if (p->waiting_count == p->waiting_capacity) {
        p->waiting_capacity = p->waiting_capacity ? 2 * p->waiting_capacity : 64;
        p->waiting = realloc(p->waiting, p->waiting_capacity * sizeof p->waiting[0]);
        CHECK(p->waiting != NULL);
    }
    p->waiting[p->waiting_count++] = j;
    sim_runner_changed(&p->runner);
    sim_heap_switch(caller);
}

static int64_t some_time(struct sim_pool *p, int64_t us_max)
{
    return (int64_t)sim_random_below(
        &p->random, (uint64_t)(sim_random_below(&p->random, LATE_ONE_IN) ? us_max : LATE_US_MAX));
}

/* Idle threads take what waits. */
static void take_jobs(struct sim_pool *p)
{
    for (size_t i = 0; i < p->thread_count && p->waiting_count > 0; i++) {
        if (p->workers[i].job)
            continue;
        p->workers[i] = (struct sim_worker){
            .job = p->waiting[0], .at_us = p->runner.sched->now_us + some_time(p, START_US_MAX)};
        memmove(p->waiting, p->waiting + 1, --p->waiting_count * sizeof p->waiting[0]);
    }
}

static struct sim_worker *first_worker(struct sim_pool *p)
{
    struct sim_worker *first = NULL;

    for (size_t i = 0; i < p->thread_count; i++)
        if (p->workers[i].job && (!first || p->workers[i].at_us < first->at_us))
            first = &p->workers[i];
    return first;
}

static int64_t ready_us(struct sim_runner *r)
{
    struct sim_pool *p = of_runner(r);
    const struct sim_worker *first;

    take_jobs(p);
    first = first_worker(p);
    return first ? first->at_us : SIM_NEVER;
}

static void step(struct sim_runner *r)
{
    struct sim_pool *p = of_runner(r);
    struct sim_sched *s = r->sched;
    struct sim_worker *w = first_worker(p);
    struct job *j = w->job;
    uint64_t before = s->source;

    sim_trace_mix(s->trace, ((uint64_t)s->now_us << 8) | 0x80 | (uint64_t)(w - p->workers));
    s->source = sim_sched_new_source(s); /* threads of a pool keep no order among jobs */
    if (w->done) {
        w->job = NULL;
        loop_post(j->home, &j->done);
    } else {
        sim_drive_take_cost_us(p->disk);
        j->run(j);
        w->done = true;
        w->at_us = s->now_us + sim_drive_take_cost_us(p->disk) + some_time(p, END_US_MAX);
    }
    s->source = before;
}

struct sim_pool *sim_pool_create(struct sim_sched *s, struct sim_heap *heap, struct sim_drive *disk,
                                 size_t thread_count, uint64_t seed)
{
    struct sim_pool *p = calloc(1, sizeof *p);

    CHECK(p != NULL);
    p->base.submit = submit;
    p->runner = (struct sim_runner){.heap = heap, .ready_us = ready_us, .step = step};
    p->disk = disk;
    p->random = sim_random_split(seed, 2);
    p->thread_count = thread_count < SIM_POOL_THREADS_MAX ? thread_count : SIM_POOL_THREADS_MAX;
    sim_sched_add(s, &p->runner);
    return p;
}

void sim_pool_hasten(struct sim_pool *p)
{
    for (size_t i = 0; i < p->thread_count; i++) {
        const int64_t soon_us = p->runner.sched->now_us + LATE_US_MAX;

        if (p->workers[i].job && p->workers[i].at_us > soon_us)
            p->workers[i].at_us = soon_us;
    }
    sim_runner_changed(&p->runner);
}

bool sim_pool_idle(const struct sim_pool *p)
{
    for (size_t i = 0; i < p->thread_count; i++)
        if (p->workers[i].job)
            return false;
    return p->waiting_count == 0;
}

void sim_pool_free(struct sim_pool *p)
{
    if (!p)
        return;
    sim_sched_remove(p->runner.sched, &p->runner);
    free(p->waiting);
    free(p);
}
