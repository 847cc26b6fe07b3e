#ifndef TESTS_SIM_SIM_POOL_H
#define TESTS_SIM_SIM_POOL_H

/* A pool (storage/executor.h) on the scheduler: some threads that take jobs in order. A job takes a
 * while, more when the disk is slow; what it does happens at one moment within, and its end is told
 * later. So jobs overtake each other, and loops go on between a sync and the news of it. */

#include "tests/sim/sim_drive.h"
#include "tests/sim/sim_sched.h"

#define SIM_POOL_THREADS_MAX 4

struct sim_pool {
    struct pool base;
    struct sim_runner runner;
    struct sim_drive *disk;
    struct sim_random random;
    size_t thread_count;
    uint32_t number;
    struct job **waiting;
    size_t waiting_count;
    size_t waiting_capacity;
    struct sim_worker {
        struct job *job; /* NULL: idle */
        bool done;       /* it was done; its end is to be told */
        int64_t at_us;   /* of that */
    } workers[SIM_POOL_THREADS_MAX];
};

struct sim_pool *sim_pool_create(struct sim_sched *s, struct sim_heap *heap, struct sim_drive *disk,
                                 size_t thread_count, uint64_t seed);
/* The disk is no longer slow: what waits for it comes to its end soon. */
void sim_pool_hasten(struct sim_pool *p);
bool sim_pool_idle(const struct sim_pool *p);
void sim_pool_free(struct sim_pool *p); /* jobs are dropped */

#endif
