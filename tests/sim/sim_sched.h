#ifndef TESTS_SIM_SIM_SCHED_H
#define TESTS_SIM_SIM_SCHED_H

/* Virtual time, and who runs next.
 *
 * Everything that a real node would run on threads runs here one step at a time: a task of a loop,
 * a timer that is due, a job of a pool, or the end of a job. Which one of those that could run does
 * run is chance. Each step takes some microseconds; when nothing can run, time jumps to whatever is
 * due next.
 *
 * The order that is kept is the one that threads keep: tasks posted by one of them to one loop run
 * in that order. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/executor.h"
#include "tests/sim/sim_heap.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_trace.h"

#define SIM_NEVER INT64_MAX

struct sim_sched;

/* Something that has steps. Embedded in a loop or a pool. */
struct sim_runner {
    struct sim_runner *prev, *next; /* the scheduler's list */
    struct sim_sched *sched;
    struct sim_heap *heap; /* current while it runs; NULL: the simulator's own code */
    /* From when on it can run, SIM_NEVER: not before it is told something. Asked once, until it has
     * taken a step or sim_runner_changed is called. */
    int64_t (*ready_us)(struct sim_runner *r);
    void (*step)(struct sim_runner *r);
    int64_t paused_until_us; /* its thread is not given a processor until then */
    int64_t known_us;        /* what ready_us said; not while changed */
    bool changed;
};

/* The clock of a machine: its wall time jumps, the other does not. */
struct sim_clock {
    struct clock base;
    const struct sim_sched *sched;
    int64_t offset_ms;
};

struct sim_sched {
    struct sim_random random;
    struct sim_trace *trace;
    int64_t now_us;
    uint64_t source; /* who is running, for the order of posts */
    uint64_t sources;
    uint64_t steps;
    struct sim_runner *runners;
    const struct sim_runner *ran; /* whose step was the last one; only to be compared */
    bool pauses;                  /* loops are now and then not given a processor for a while */
};

void sim_sched_init(struct sim_sched *s, uint64_t seed, struct sim_trace *trace);
void sim_clock_init(struct sim_clock *c, const struct sim_sched *s);
void sim_sched_add(struct sim_sched *s, struct sim_runner *r);
void sim_sched_remove(struct sim_sched *s, struct sim_runner *r);

/* Others than its own step have changed when it can run. */
static inline void sim_runner_changed(struct sim_runner *r)
{
    r->changed = true;
}

/* One step; false: nothing to do before until_us, which it is now. */
bool sim_sched_step(struct sim_sched *s, int64_t until_us);

/* A name for one more thread, as far as the order of posts goes. */
uint64_t sim_sched_new_source(struct sim_sched *s);

#endif
