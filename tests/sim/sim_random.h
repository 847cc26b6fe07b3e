#ifndef TESTS_SIM_SIM_RANDOM_H
#define TESTS_SIM_SIM_RANDOM_H

/* Chance from a seed. Each part of the simulation has a stream of its own, so that one more throw
 * in one of them does not change what happens in the others. */

#include <stdbool.h>
#include <stdint.h>

struct sim_random {
    uint64_t state;
};

/* splitmix64: the state advances by steps of one size, and what is given out is mixed. */
static inline uint64_t sim_random_mixed(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t sim_random_next(struct sim_random *r)
{
    return sim_random_mixed(r->state += 0x9e3779b97f4a7c15u);
}

/* The stream of one part; parts are numbered by whoever splits. Where it begins is mixed too: else
 * the streams of parts in a row would be one stream, each a step behind the next. */
static inline struct sim_random sim_random_split(uint64_t seed, uint64_t part)
{
    return (struct sim_random){sim_random_mixed(sim_random_mixed(seed) + part)};
}

/* 0 … n - 1; n > 0. */
static inline uint64_t sim_random_below(struct sim_random *r, uint64_t n)
{
    return sim_random_next(r) % n;
}

/* low … high, both included. */
static inline int64_t sim_random_between(struct sim_random *r, int64_t low, int64_t high)
{
    return low + (int64_t)sim_random_below(r, (uint64_t)(high - low) + 1);
}

static inline bool sim_random_chance(struct sim_random *r, unsigned percent)
{
    return sim_random_below(r, 100) < percent;
}

#endif
