#ifndef TESTS_SIM_SIM_LOOP_H
#define TESTS_SIM_SIM_LOOP_H

/* A loop (storage/executor.h) on the scheduler. */

#include "tests/sim/sim_sched.h"

struct sim_post {
    struct task *task;
    uint64_t source;
};

/* A timer that is initialised: timer.impl. */
struct sim_timer {
    struct sim_timer *prev, *next;
    struct timer *timer;
    int64_t at_us;  /* SIM_NEVER: stopped */
    uint64_t order; /* of its start: equal times fire so */
};

struct sim_loop {
    struct loop base;
    struct sim_runner runner;
    uint64_t source; /* its thread */
    uint32_t number; /* for the trace */
    struct sim_post *posts;
    size_t post_count;
    size_t post_capacity;
    struct sim_timer *timers;
    struct sim_timer *first; /* of those started; good if first_known. NULL: none is */
    bool first_known;
    size_t timer_count;
    uint64_t timer_starts;
};

/* heap: what runs on it belongs to that process. */
struct sim_loop *sim_loop_create(struct sim_sched *s, struct clock *clock, struct sim_heap *heap,
                                 uint32_t number);

/* Tasks that wait are dropped, timers too. */
void sim_loop_free(struct sim_loop *l);

#endif
