#include "broker/verify.h"

#include <stdlib.h>

#include <utlist.h>

#include "protocol/base/check.h"
#include "replication/partition.h"

#define STEP_BYTES     (4 << 20)
#define PAUSE_FACTOR   3 /* a quarter of one pool thread at most */
#define PAUSE_US_LEAST 1000
#define TURN_US        20000 /* another shard is at work in that directory: look again */

/* What this shard checks in one log directory. */
struct verify_lane {
    struct verify *verify;
    _Atomic bool *turn;
    bool has_turn;
    struct verify_entry *waiting;
    struct verify_entry *current; /* listed no more; NULL when its partition went away */
    struct log_verify *check;     /* of current; the pool's while running */
    struct timer timer;
    bool pausing;
    struct job job;
    bool running;
    bool done;
    struct status result;
    int64_t took_us;
};

struct verify {
    struct loop *loop;
    struct pool *pool;
    void (*idled)(void *arg);
    void *arg;
    size_t lane_count;
    struct verify_lane lanes[];
};

static void lane_run(struct job *j)
{
    struct verify_lane *lane = CONTAINER_OF(j, struct verify_lane, job);
    struct clock *clock = lane->verify->loop->clock;
    const int64_t started_us = clock_monotonic_us(clock);

    lane->result = log_verify_run(lane->check, STEP_BYTES, &lane->done);
    lane->took_us = clock_monotonic_us(clock) - started_us;
}

static void lane_pause(struct verify_lane *lane, int64_t us)
{
    lane->pausing = true;
    timer_start(lane->verify->loop, &lane->timer, us);
}

static void lane_give_turn(struct verify_lane *lane)
{
    if (lane->has_turn)
        atomic_store(lane->turn, false);
    lane->has_turn = false;
}

/* A log that is being cut is the pool's: it waits until that is over. */
static struct verify_entry *lane_next(const struct verify_lane *lane)
{
    struct verify_entry *e;

    DL_FOREACH(lane->waiting, e)
    if (e->partition->state != PARTITION_TRUNCATING)
        return e;
    return NULL;
}

/* The next log that has something to check; false when there is none now, or it is another shard's
 * turn. */
static bool lane_choose(struct verify_lane *lane)
{
    struct verify_entry *e;

    while ((e = lane_next(lane))) {
        if (!lane->has_turn && atomic_exchange(lane->turn, true)) {
            lane_pause(lane, TURN_US);
            return false;
        }
        lane->has_turn = true;
        DL_DELETE(lane->waiting, e);
        e->listed = false;
        lane->check = log_verify_begin(e->partition->log);
        if (lane->check) {
            lane->current = e;
            return true;
        }
    }
    lane_give_turn(lane);
    if (lane->waiting)
        lane_pause(lane, TURN_US);
    return false;
}

static void lane_step(struct verify_lane *lane)
{
    if (lane->running || lane->pausing || (!lane->check && !lane_choose(lane)))
        return;
    lane->running = true;
    pool_submit(lane->verify->pool, &lane->job);
}

static void lane_end(struct verify_lane *lane)
{
    struct verify_entry *e = lane->current;
    struct partition *p = e ? e->partition : NULL;

    /* What is found of a log that is being cut takes it offline after that: partition_fail. */
    log_verify_end(
        p && (p->state != PARTITION_TRUNCATING || !status_failed(lane->result)) ? p->log : NULL,
        lane->check, lane->result);
    lane->check = NULL;
    lane->current = NULL;
    if (p && status_failed(lane->result))
        partition_fail(p, lane->result);
    lane_give_turn(lane);
}

static void lane_stepped(struct task *t)
{
    struct job *j = CONTAINER_OF(t, struct job, done);
    struct verify_lane *lane = CONTAINER_OF(j, struct verify_lane, job);
    struct verify *v = lane->verify;
    int64_t pause_us = PAUSE_FACTOR * lane->took_us;

    lane->running = false;
    if (!lane->current || lane->done || status_failed(lane->result))
        lane_end(lane);
    if (lane->check || lane->waiting)
        lane_pause(lane, pause_us > PAUSE_US_LEAST ? pause_us : PAUSE_US_LEAST);
    if (verify_idle(v))
        v->idled(v->arg);
}

static void lane_paused(struct timer *t)
{
    struct verify_lane *lane = CONTAINER_OF(t, struct verify_lane, timer);

    lane->pausing = false;
    lane_step(lane);
}

struct verify *verify_create(const struct verify_args *args)
{
    struct verify *v = calloc(1, sizeof *v + args->dir_count * sizeof v->lanes[0]);

    if (!v)
        return NULL;
    v->loop = args->loop;
    v->pool = args->pool;
    v->idled = args->idled;
    v->arg = args->arg;
    v->lane_count = args->dir_count;
    for (size_t i = 0; i < v->lane_count; i++) {
        struct verify_lane *lane = &v->lanes[i];

        lane->verify = v;
        lane->turn = &args->turns[i];
        lane->job = (struct job){.home = v->loop, .run = lane_run, .done = {.run = lane_stepped}};
        timer_init(v->loop, &lane->timer, lane_paused);
    }
    return v;
}

void verify_free(struct verify *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < v->lane_count; i++) {
        struct verify_lane *lane = &v->lanes[i];

        timer_free(v->loop, &lane->timer);
        if (lane->check)
            log_verify_end(NULL, lane->check, STATUS_OK);
    }
    free(v);
}

void verify_add(struct verify *v, struct verify_entry *e, struct partition *p)
{
    struct verify_lane *lane;

    CHECK(p->log_dir < v->lane_count);
    CHECK(!e->listed);
    e->partition = p;
    if (!p->log || (p->state != PARTITION_TRUNCATING && !log_unverified(p->log)))
        return;
    lane = &v->lanes[p->log_dir];
    e->listed = true;
    DL_APPEND(lane->waiting, e);
    lane_step(lane);
}

void verify_remove(struct verify *v, struct verify_entry *e)
{
    struct verify_lane *lane = e->partition ? &v->lanes[e->partition->log_dir] : NULL;

    if (!lane)
        return;
    if (e->listed)
        DL_DELETE(lane->waiting, e);
    e->listed = false;
    if (lane->current != e)
        return;
    lane->current = NULL;
    if (!lane->running) { /* in its pause, which goes on for the next one */
        lane->result = STATUS_OK;
        lane_end(lane);
    }
}

bool verify_idle(const struct verify *v)
{
    for (size_t i = 0; i < v->lane_count; i++)
        if (v->lanes[i].running)
            return false;
    return true;
}
