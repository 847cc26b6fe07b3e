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
    size_t place; /* in the loop's `due`; SIM_NOT_DUE: stopped */
};

#define SIM_NOT_DUE SIZE_MAX

/* A timer that is started. */
struct sim_due {
    int64_t at_us;
    uint64_t order; /* of its start: equal times fire so */
    struct sim_timer *timer;
};

struct sim_loop {
    struct loop base;
    struct sim_runner runner;
    uint64_t source; /* its thread */
    uint32_t number; /* for the trace */
    struct sim_post *posts;
    size_t post_count;
    size_t post_capacity;
    struct sim_timer *timers; /* all; a list */
    size_t timer_count;
    struct sim_due *due; /* a binary heap: the first fires first. Room for all timers */
    size_t due_count, due_capacity;
    uint64_t timer_starts;
};

/* heap: what runs on it belongs to that process. */
struct sim_loop *sim_loop_create(struct sim_sched *s, struct clock *clock, struct sim_heap *heap,
                                 uint32_t number);

/* Tasks that wait are dropped, timers too. */
void sim_loop_free(struct sim_loop *l);

#endif
