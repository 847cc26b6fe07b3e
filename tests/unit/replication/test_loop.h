#ifndef TESTS_UNIT_REPLICATION_TEST_LOOP_H
#define TESTS_UNIT_REPLICATION_TEST_LOOP_H

/* A loop, a pool and a clock on the test's own thread, in virtual time. Tasks and jobs run only
 * within test_loop_run; jobs one round after they were submitted, newest first when `reorder`. */

#include <stdbool.h>
#include <stddef.h>

#include "storage/executor.h"

#define TEST_TIMERS_MAX 64

struct test_queue {
    struct task *first, *last;
    size_t count;
};

struct test_loop {
    struct loop loop;
    struct pool pool;
    struct clock clock;
    struct random random;
    int64_t now_us;
    uint64_t seed;
    struct test_queue tasks;
    struct test_queue jobs; /* by their `pooled` */
    bool reorder;
    bool pool_stuck; /* jobs wait */
    size_t jobs_run;
    struct test_timer {
        struct timer *timer;
        int64_t at_us; /* INT64_MAX: stopped */
    } timers[TEST_TIMERS_MAX];
};

void test_loop_init(struct test_loop *l);
/* Runs what is due, and what follows from it, for so long in virtual time. */
void test_loop_run(struct test_loop *l, int64_t ms);
/* One round: the tasks and jobs that wait now. False when there were none. */
bool test_loop_round(struct test_loop *l);

#endif
