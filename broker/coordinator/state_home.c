#include "broker/coordinator/state_home.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/coordinator/coordinators.h"
#include "broker/node.h"
#include "broker/shard.h"
#include "broker/storage_dirs.h"
#include "protocol/base/check.h"
#include "storage/state_store_rocksdb.h"

#define LOOK_US          (1000 * 1000)
#define FLUSH_AFTER_US   (10 * 1000 * 1000) /* with anything unflushed */
#define FLUSH_BYTES      (8 << 20)          /* replayed in a few tens of milliseconds */
#define TRY_AGAIN_US     (1000 * 1000)
#define TRY_AGAIN_US_MAX (64 * 1000 * 1000) /* a store of a newer version does not mend itself */
#define STATE_FOLDER     "trivet-state"

enum home_state {
    HOME_CLOSED,
    HOME_OPENING,
    HOME_OPEN,
    HOME_RESETTING,
    HOME_WAITING /* to try again */,
    HOME_CLOSING
};

struct state_home {
    struct node *node;
    struct loop *loop;
    enum home_state state;
    struct state_store *store; /* opened once; it survives resets */
    _Atomic bool wanted;
    _Atomic size_t unflushed_bytes;
    bool flushing;
    int64_t flushed_us;   /* when the last flush began */
    int64_t try_again_us; /* how long to wait after the next failure to open it */
    struct timer timer;
    struct job job; /* opening, resetting, closing: one at a time */
    struct job flush_job;
    struct status result, flush_result;
    struct state_store_report report;
    char *dir; /* owned */
    void (*stopped)(void *arg);
    void *stopped_arg;
};

struct status state_home_open_rocksdb(struct node *n, const char *dir,
                                      struct state_store_report *report, struct state_store **out)
{
    const struct state_store_options options = STATE_STORE_OPTIONS_DEFAULT;

    return state_store_rocksdb_open(n->env.files, dir, &options, report, out);
}

static void home_log(struct state_home *h, enum logger_level level, const char *event)
{
    logger_event(h->node->env.logger, level, event, "dir=\"%s\" reason=\"%s\"", h->dir,
                 h->report.why);
}

/* ---- telling the shards ---- */

struct ready_post {
    struct task task;
    struct shard *shard;
    struct state_store *store;
};

static void ready_run(struct task *t)
{
    struct ready_post *post = (struct ready_post *)t;

    coordinators_store_ready(post->shard, post->store);
    free(post);
}

static void home_tell_shards(struct state_home *h)
{
    for (size_t i = 0; i < h->node->shard_count; i++) {
        struct ready_post *post = malloc(sizeof *post);

        CHECK(post);
        *post = (struct ready_post){{.run = ready_run}, h->node->shards[i], h->store};
        loop_post(post->shard->loop, &post->task);
    }
}

/* ---- opening and resetting ---- */

static void home_job_run(struct job *j)
{
    struct state_home *h = CONTAINER_OF(j, struct state_home, job);

    h->report = (struct state_store_report){0};
    if (h->store)
        h->result = state_store_reset(h->store, &h->report);
    else
        h->result = (h->node->env.open_state ? h->node->env.open_state : state_home_open_rocksdb)(
            h->node, h->dir, &h->report, &h->store);
}

static void home_close(struct state_home *h);

static void home_job_done(struct task *t)
{
    struct state_home *h = CONTAINER_OF(t, struct state_home, job.done);

    if (h->stopped) {
        home_close(h);
        return;
    }
    if (status_failed(h->result)) {
        home_log(h, LOGGER_ERROR, "state_store_not_open");
        h->state = HOME_WAITING;
        timer_start(h->loop, &h->timer, h->try_again_us);
        if (h->try_again_us < TRY_AGAIN_US_MAX)
            h->try_again_us *= 2;
        return;
    }
    h->try_again_us = TRY_AGAIN_US;
    if (h->report.rebuilt)
        home_log(h, LOGGER_WARN, "state_store_rebuilt");
    h->state = HOME_OPEN;
    h->flushed_us = clock_monotonic_us(h->loop->clock);
    timer_start(h->loop, &h->timer, LOOK_US);
    home_tell_shards(h);
}

static void home_submit(struct state_home *h)
{
    h->state = h->store ? HOME_RESETTING : HOME_OPENING;
    h->job = (struct job){.home = h->loop, .run = home_job_run, .done = {.run = home_job_done}};
    pool_submit(h->node->env.pool, &h->job);
}

struct home_post {
    struct task task;
    struct state_home *home;
    uint64_t generation;
};

static void home_post(struct state_home *h, void (*run)(struct task *t), uint64_t generation)
{
    struct home_post *post = malloc(sizeof *post);

    CHECK(post);
    *post = (struct home_post){{.run = run}, h, generation};
    loop_post(h->loop, &post->task);
}

static void want_run(struct task *t)
{
    struct state_home *h = ((struct home_post *)t)->home;

    free(t);
    if (h->state == HOME_CLOSED && !h->stopped)
        home_submit(h);
}

void state_home_want(struct state_home *h)
{
    if (!atomic_exchange(&h->wanted, true))
        home_post(h, want_run, 0);
}

static void failed_run(struct task *t)
{
    struct home_post *post = (struct home_post *)t;
    struct state_home *h = post->home;
    uint64_t generation = post->generation;

    free(post);
    if (h->state != HOME_OPEN || generation != state_store_generation(h->store))
        return; /* somebody else said so before */
    state_store_problem(h->store, h->report.why);
    home_log(h, LOGGER_WARN, "state_store_failed");
    h->state = HOME_WAITING;
    /* At once when it is damaged; a disk that is full or sick gets a moment. */
    timer_start(h->loop, &h->timer, state_store_damaged(h->store) ? 0 : TRY_AGAIN_US);
}

void state_home_failed(struct state_home *h, uint64_t generation)
{
    home_post(h, failed_run, generation);
}

/* ---- flushing ---- */

static void flush_run(struct job *j)
{
    struct state_home *h = CONTAINER_OF(j, struct state_home, flush_job);

    h->flush_result = state_store_flush(h->store);
}

static void home_maybe_flush(struct state_home *h);

static void flush_done(struct task *t)
{
    struct state_home *h = CONTAINER_OF(t, struct state_home, flush_job.done);

    h->flushing = false;
    if (h->stopped)
        home_close(h);
    else if (status_failed(h->flush_result))
        state_home_failed(h, state_store_generation(h->store));
    else if (h->state == HOME_OPEN)
        home_maybe_flush(h); /* there may be as much again */
}

static void home_maybe_flush(struct state_home *h)
{
    int64_t now = clock_monotonic_us(h->loop->clock);
    size_t bytes = atomic_load_explicit(&h->unflushed_bytes, memory_order_relaxed);

    if (h->flushing || bytes == 0 || (bytes < FLUSH_BYTES && now - h->flushed_us < FLUSH_AFTER_US))
        return;
    atomic_fetch_sub(&h->unflushed_bytes, bytes);
    h->flushing = true;
    h->flushed_us = now;
    h->flush_job = (struct job){.home = h->loop, .run = flush_run, .done = {.run = flush_done}};
    pool_submit(h->node->env.pool, &h->flush_job);
}

static void applied_run(struct task *t)
{
    struct state_home *h = ((struct home_post *)t)->home;

    free(t);
    if (h->state == HOME_OPEN && !h->stopped)
        home_maybe_flush(h);
}

void state_home_applied(struct state_home *h, size_t size)
{
    size_t before = atomic_fetch_add_explicit(&h->unflushed_bytes, size, memory_order_relaxed);

    /* A second of a full load is more than a restart may replay: it is not left to the next
     * look. */
    if (before < FLUSH_BYTES && before + size >= FLUSH_BYTES)
        home_post(h, applied_run, 0);
}

static void on_timer(struct timer *t)
{
    struct state_home *h = CONTAINER_OF(t, struct state_home, timer);

    if (h->state == HOME_WAITING) {
        if (h->flushing) /* its failure is what brought us here; it comes back in a moment */
            timer_start(h->loop, &h->timer, LOOK_US);
        else
            home_submit(h);
        return;
    }
    if (h->state != HOME_OPEN)
        return;
    home_maybe_flush(h);
    timer_start(h->loop, &h->timer, LOOK_US);
}

/* ---- life ---- */

static void close_run(struct job *j)
{
    struct state_home *h = CONTAINER_OF(j, struct state_home, job);

    state_store_close(h->store);
}

static void close_done(struct task *t)
{
    struct state_home *h = CONTAINER_OF(t, struct state_home, job.done);

    h->store = NULL;
    h->stopped(h->stopped_arg);
}

static void home_close(struct state_home *h)
{
    h->state = HOME_CLOSING;
    h->job = (struct job){.home = h->loop, .run = close_run, .done = {.run = close_done}};
    pool_submit(h->node->env.pool, &h->job);
}

void state_home_stop(struct state_home *h, void (*stopped)(void *arg), void *arg)
{
    h->stopped = stopped;
    h->stopped_arg = arg;
    timer_stop(h->loop, &h->timer);
    if (h->state == HOME_OPENING || h->state == HOME_RESETTING || h->flushing)
        return; /* the job's end closes it */
    home_close(h);
}

static char *home_dir(const struct node *n)
{
    char *dir;

    if (n->options->state_dir)
        return strdup(n->options->state_dir);
    if (asprintf(&dir, "%s/" STATE_FOLDER, storage_dirs_metadata_path(n->dirs)) < 0)
        return NULL;
    return dir;
}

struct state_home *state_home_create(struct node *n)
{
    struct state_home *h = calloc(1, sizeof *h);

    if (!h)
        return NULL;
    h->node = n;
    h->loop = n->env.control_loop;
    h->try_again_us = TRY_AGAIN_US;
    h->dir = home_dir(n);
    if (!h->dir) {
        free(h);
        return NULL;
    }
    timer_init(h->loop, &h->timer, on_timer);
    return h;
}

void state_home_free(struct state_home *h)
{
    if (!h)
        return;
    timer_free(h->loop, &h->timer);
    state_store_close(h->store);
    free(h->dir);
    free(h);
}
