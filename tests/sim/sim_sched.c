#include "tests/sim/sim_sched.h"

#include <stddef.h>
#include <utlist.h>

#include "protocol/base/check.h"

#define START_US      1000000
#define WALL_START_MS 1700000000000
#define STEP_US_MAX   8
#define PAUSE_ONE_IN  4000
#define PAUSE_US_MAX  30000

static int64_t wall_ms(struct clock *c)
{
    const struct sim_clock *sc = CONTAINER_OF(c, struct sim_clock, base);

    return WALL_START_MS + sc->offset_ms + sc->sched->now_us / 1000;
}

static int64_t monotonic_us(struct clock *c)
{
    return CONTAINER_OF(c, struct sim_clock, base)->sched->now_us;
}

void sim_clock_init(struct sim_clock *c, const struct sim_sched *s)
{
    *c = (struct sim_clock){.base = {wall_ms, monotonic_us}, .sched = s};
}

void sim_sched_init(struct sim_sched *s, uint64_t seed, struct sim_trace *trace)
{
    *s = (struct sim_sched){
        .random = sim_random_split(seed, 1),
        .trace = trace,
        .now_us = START_US,
    };
}

void sim_sched_add(struct sim_sched *s, struct sim_runner *r)
{
    r->sched = s;
    r->changed = true;
    DL_APPEND(s->runners, r);
}

void sim_sched_remove(struct sim_sched *s, struct sim_runner *r)
{
    DL_DELETE(s->runners, r);
}

uint64_t sim_sched_new_source(struct sim_sched *s)
{
    return ++s->sources;
}

/* One of those that can run now, each as likely as the others; else NULL and when the first one
 * can. */
static struct sim_runner *choose(struct sim_sched *s, int64_t *at)
{
    struct sim_runner *r, *chosen = NULL;
    uint64_t candidates = 0;

    DL_FOREACH(s->runners, r)
    {
        int64_t ready_us = r->paused_until_us;

        if (ready_us <= s->now_us) {
            if (r->changed)
                r->known_us = r->ready_us(r);
            r->changed = false;
            ready_us = r->known_us;
        }
        if (ready_us > s->now_us)
            *at = ready_us < *at ? ready_us : *at;
        else if (sim_random_below(&s->random, ++candidates) == 0)
            chosen = r;
    }
    return chosen;
}

bool sim_sched_step(struct sim_sched *s, int64_t until_us)
{
    struct sim_runner *r;
    struct sim_heap *before;
    int64_t at = SIM_NEVER;

    while (!(r = choose(s, &at))) {
        if (at >= until_us) {
            s->now_us = s->now_us > until_us ? s->now_us : until_us;
            return false;
        }
        CHECK(at > s->now_us);
        s->now_us = at;
        at = SIM_NEVER;
    }
    s->steps++;
    before = sim_heap_switch(r->heap);
    s->ran = r;
    r->changed = true;
    r->step(r);
    sim_heap_switch(before);
    s->now_us += 1 + (int64_t)sim_random_below(&s->random, STEP_US_MAX);
    if (s->pauses && sim_random_below(&s->random, PAUSE_ONE_IN) == 0)
        r->paused_until_us = s->now_us + (int64_t)sim_random_below(&s->random, PAUSE_US_MAX);
    return true;
}
