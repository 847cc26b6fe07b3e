#ifndef PROTOCOL_BASE_CLOCK_H
#define PROTOCOL_BASE_CLOCK_H

/* Time and chance as interfaces, so that a simulation can own both. */

#include <stddef.h>
#include <stdint.h>

struct clock {
    /* Milliseconds since 1970, as record timestamps use; may jump either way. */
    int64_t (*wall_ms)(struct clock *c);
    /* Microseconds since some fixed point; never goes back. For timeouts and rates. */
    int64_t (*monotonic_us)(struct clock *c);
};

static inline int64_t clock_wall_ms(struct clock *c)
{
    return c->wall_ms(c);
}

static inline int64_t clock_monotonic_us(struct clock *c)
{
    return c->monotonic_us(c);
}

struct random {
    void (*fill)(struct random *r, void *out, size_t size);
};

static inline void random_fill(struct random *r, void *out, size_t size)
{
    r->fill(r, out, size);
}

#endif
