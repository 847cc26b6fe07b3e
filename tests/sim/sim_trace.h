#ifndef TESTS_SIM_SIM_TRACE_H
#define TESTS_SIM_SIM_TRACE_H

/* What happened, as a hash that two runs of one seed must share, and, when asked for, as lines. */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_trace {
    uint64_t hash;
    bool verbose;
    const int64_t *now_us; /* of the world; for lines */
};

static inline void sim_trace_mix(struct sim_trace *t, uint64_t value)
{
    t->hash = (t->hash ^ value) * 0x9fb21c651e98df25u;
    t->hash ^= t->hash >> 29;
}

void sim_trace_mix_bytes(struct sim_trace *t, const void *data, size_t size);

/* A line, printed only when verbose. Its text is not part of the hash. */
void sim_trace_say(struct sim_trace *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
