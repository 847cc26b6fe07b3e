#include "broker/coordinator/heartbeat_pace.h"

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

int32_t heartbeat_pace(int64_t heartbeats, int64_t elapsed_ms, int32_t current_ms,
                       int32_t configured_ms)
{
    int64_t least =
        configured_ms < HEARTBEAT_INTERVAL_MS_MIN ? configured_ms : HEARTBEAT_INTERVAL_MS_MIN;
    /* Members = rate x interval; the interval that makes their rate the greatest wanted: */
    int64_t wanted = heartbeats * current_ms / elapsed_ms * 1000 / HEARTBEATS_A_SECOND_MAX;

    wanted = clamp(wanted, current_ms / 2, (int64_t)current_ms * 2);
    return (int32_t)clamp(wanted, least, configured_ms);
}
