#include "tests/sim/sim_trace.h"

#include <stdio.h>

#include "protocol/base/crc32c.h"

void sim_trace_mix_bytes(struct sim_trace *t, const void *data, size_t size)
{
    sim_trace_mix(t, ((uint64_t)size << 32) | crc32c(data, size));
}

void sim_trace_say(struct sim_trace *t, const char *format, ...)
{
    va_list args;

    if (!t->verbose)
        return;
    printf("%10.6f ", (double)*t->now_us / 1e6);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}
