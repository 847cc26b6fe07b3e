#include "broker/replica_throttle.h"

#include <stdio.h>
#include <string.h>

#include "replication/config_defs.h"

#define LOOK_AGAIN_US (1000 * 1000)

void replica_throttle_init(struct replica_throttle *t)
{
    atomic_init(&t->bytes_per_second, REPLICA_THROTTLE_NONE);
    atomic_init(&t->paid_us, 0);
}

void replica_throttle_set_rate(struct replica_throttle *t, int64_t bytes_per_second)
{
    if (atomic_exchange(&t->bytes_per_second, bytes_per_second) != bytes_per_second)
        atomic_store(&t->paid_us, 0); /* what was sent at another rate is forgotten */
}

bool replica_throttle_is_on(const struct replica_throttle *t)
{
    return atomic_load_explicit(&t->bytes_per_second, memory_order_relaxed) !=
           REPLICA_THROTTLE_NONE;
}

bool replica_throttle_exceeded(const struct replica_throttle *t, int64_t now_us)
{
    int64_t rate = atomic_load_explicit(&t->bytes_per_second, memory_order_relaxed);

    if (rate == REPLICA_THROTTLE_NONE)
        return false;
    return rate <= 0 || atomic_load_explicit(&t->paid_us, memory_order_relaxed) > now_us;
}

int64_t replica_throttle_until_us(const struct replica_throttle *t, int64_t now_us)
{
    int64_t rate = atomic_load_explicit(&t->bytes_per_second, memory_order_relaxed);
    int64_t paid_us = atomic_load_explicit(&t->paid_us, memory_order_relaxed);

    /* The rate may be another one by then. */
    return rate > 0 && paid_us < now_us + LOOK_AGAIN_US ? paid_us : now_us + LOOK_AGAIN_US;
}

void replica_throttle_record(struct replica_throttle *t, size_t bytes, int64_t now_us)
{
    int64_t rate = atomic_load_explicit(&t->bytes_per_second, memory_order_relaxed);
    int64_t before = atomic_load_explicit(&t->paid_us, memory_order_relaxed), after;

    if (rate == REPLICA_THROTTLE_NONE || rate <= 0)
        return;
    do
        after = (before > now_us ? before : now_us) + (int64_t)((double)bytes * 1e6 / (double)rate);
    while (!atomic_compare_exchange_weak(&t->paid_us, &before, after));
}

bool throttled_replicas_name(struct str list, int32_t partition, int32_t broker_id)
{
    char pair[32];
    struct str item;

    snprintf(pair, sizeof pair, "%d:%d", partition, broker_id);
    while (config_list_next(&list, &item))
        if (str_equal(item, str_from("*")) || str_equal(item, str_from(pair)))
            return true;
    return false;
}
