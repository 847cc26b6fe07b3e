#include "storage/flusher.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/sync_choice.h"

struct flusher {
    struct loop *loop;
    struct pool *pool;
    struct files *files;
    char *directory;
    int64_t delay_us;
    struct timer timer;
    bool timer_running;
    struct job job;
    bool running;
    bool held;
    struct flusher_entry *queued; /* the next round */
    struct flusher_entry **queued_end;
    struct sync_choice choice;
    bool filesystem; /* the running round syncs that */
    struct status filesystem_result;
    int file_count;              /* of the running round */
    int64_t sync_us;             /* it took the pool */
    struct flusher_round *round; /* the running one: the pool's while running */
    size_t round_count;
    size_t round_capacity;
    int64_t started_us;
    struct flusher_stats stats;
};

/* What the pool does for one log; entries themselves stay the loop's. */
struct flusher_round {
    struct flusher_entry *entry;
    struct log_flush flush;
    struct status result;
};

/* Writing begun early, for the round after the one that runs. */
struct write_out_job {
    struct job job;
    struct log_write_out range;
};

static void start_round(struct flusher *f);

static void timer_fired(struct timer *t)
{
    struct flusher *f = CONTAINER_OF(t, struct flusher, timer);

    f->timer_running = false;
    if (!f->running)
        start_round(f);
}

/* Twice when epochs are to take their place, which is rare: leaders have changed. */
static struct status sync_filesystem(struct flusher *f)
{
    struct status st = f->files->ops->sync_filesystem(f->files, f->directory);
    bool placed = false;

    for (size_t i = 0; i < f->round_count && !status_failed(st); i++) {
        struct flusher_round *r = &f->round[i];

        if (!status_failed(r->result))
            r->result = log_flush_place(&r->flush, true, &placed);
    }
    if (placed && !status_failed(st))
        st = f->files->ops->sync_filesystem(f->files, f->directory);
    return st;
}

static void run_round(struct job *j)
{
    struct flusher *f = CONTAINER_OF(j, struct flusher, job);
    int64_t started_us = clock_monotonic_us(f->loop->clock);

    for (size_t i = 0; i < f->round_count; i++) {
        struct flusher_round *r = &f->round[i];

        r->result = f->filesystem ? log_flush_write(&r->flush) : log_flush_run(&r->flush);
    }
    f->filesystem_result = f->filesystem ? sync_filesystem(f) : STATUS_OK;
    f->sync_us = clock_monotonic_us(f->loop->clock) - started_us;
}

static void round_done(struct task *t)
{
    struct job *j = CONTAINER_OF(t, struct job, done);
    struct flusher *f = CONTAINER_OF(j, struct flusher, job);
    const size_t count = f->round_count;
    const int64_t now_us = clock_monotonic_us(f->loop->clock);

    f->stats.last_round_us = now_us - f->started_us;
    if (f->stats.last_round_us > f->stats.longest_round_us)
        f->stats.longest_round_us = f->stats.last_round_us;
    sync_choice_learn(&f->choice, f->filesystem, f->file_count, f->sync_us, now_us);
    for (size_t i = 0; i < count; i++) {
        struct flusher_round *r = &f->round[i];

        if (!status_failed(r->result))
            r->result = f->filesystem_result;
        log_flush_end(r->entry->log, &r->flush, r->result);
    }
    /* All ends have moved before the first owner hears of it; an owner may request, remove and
     * free. */
    for (size_t i = 0; i < count; i++) {
        struct flusher_entry *e = f->round[i].entry;
        const struct status result = f->round[i].result;

        e->flushing = false;
        e->flushed(e, result);
    }
    f->round_count = 0;
    f->running = false;
    if (f->queued && !f->timer_running)
        start_round(f);
}

static bool reserve_round(struct flusher *f, size_t count)
{
    struct flusher_round *round;

    if (count <= f->round_capacity)
        return true;
    round = realloc(f->round, 2 * count * sizeof round[0]);
    if (!round)
        return false;
    f->round = round;
    f->round_capacity = 2 * count;
    return true;
}

/* Moves what is queued into the round. */
static void collect(struct flusher *f)
{
    f->file_count = 0;
    while (f->queued && reserve_round(f, f->round_count + 1)) {
        struct flusher_entry *e = f->queued;
        struct flusher_round *r = &f->round[f->round_count];

        f->queued = e->next;
        e->queued = false;
        *r = (struct flusher_round){.entry = e, .result = STATUS_OK};
        if (!log_flush_begin(e->log, &r->flush))
            continue; /* a round before covered it, or it went offline */
        e->flushing = true;
        f->round_count++;
        f->file_count += r->flush.file_count;
    }
    if (!f->queued)
        f->queued_end = &f->queued;
    f->filesystem =
        sync_choice_is_filesystem(&f->choice, f->file_count, clock_monotonic_us(f->loop->clock));
}

static void start_round(struct flusher *f)
{
    CHECK(!f->running);
    if (f->timer_running) {
        timer_stop(f->loop, &f->timer);
        f->timer_running = false;
    }
    collect(f);
    if (!f->round_count)
        return;
    f->running = true;
    f->started_us = clock_monotonic_us(f->loop->clock);
    f->stats.rounds++;
    f->stats.logs += f->round_count;
    f->stats.filesystem_syncs += f->filesystem;
    f->job.home = f->loop;
    f->job.run = run_round;
    f->job.done.run = round_done;
    pool_submit(f->pool, &f->job);
}

struct flusher *flusher_create(const struct flusher_args *args)
{
    struct flusher *f = calloc(1, sizeof *f);

    if (!f)
        return NULL;
    f->directory = strdup(args->directory);
    if (!f->directory) {
        free(f);
        return NULL;
    }
    f->loop = args->loop;
    f->pool = args->pool;
    f->files = args->files;
    f->delay_us = args->delay_us;
    f->queued_end = &f->queued;
    sync_choice_init(&f->choice);
    timer_init(f->loop, &f->timer, timer_fired);
    return f;
}

void flusher_free(struct flusher *f)
{
    if (!f)
        return;
    CHECK(flusher_idle(f));
    timer_free(f->loop, &f->timer);
    free(f->round);
    free(f->directory);
    free(f);
}

bool flusher_idle(const struct flusher *f)
{
    return !f->running && !f->queued;
}

static void enqueue(struct flusher *f, struct flusher_entry *e)
{
    if (e->queued)
        return;
    e->queued = true;
    e->next = NULL;
    *f->queued_end = e;
    f->queued_end = &e->next;
}

static void run_write_out(struct job *j)
{
    log_write_out_run(&CONTAINER_OF(j, struct write_out_job, job)->range);
}

static void write_out_done(struct task *t)
{
    struct write_out_job *w =
        CONTAINER_OF(CONTAINER_OF(t, struct job, done), struct write_out_job, job);

    log_write_out_end(&w->range);
    free(w);
}

/* A round is running: the disk goes on with what waits for the next one. Off the loop, as the
 * kernel allocates blocks and submits the writes within that call. */
static void start_write_out(struct flusher *f, struct log *l)
{
    struct log_write_out range;
    struct write_out_job *w;

    if (!log_write_out_begin(l, &range))
        return;
    w = calloc(1, sizeof *w);
    if (!w) {
        log_write_out_end(&range);
        return;
    }
    w->range = range;
    w->job.home = f->loop;
    w->job.run = run_write_out;
    w->job.done.run = write_out_done;
    pool_submit(f->pool, &w->job);
}

void flusher_request(struct flusher *f, struct flusher_entry *e)
{
    enqueue(f, e);
    if (f->delay_us == 0) {
        if (f->running)
            start_write_out(f, e->log);
        else if (!f->held)
            start_round(f);
    } else if (!f->timer_running) {
        f->timer_running = true;
        timer_start(f->loop, &f->timer, f->delay_us);
    }
}

void flusher_request_now(struct flusher *f, struct flusher_entry *e)
{
    enqueue(f, e);
    if (f->timer_running) {
        timer_stop(f->loop, &f->timer);
        f->timer_running = false;
    }
    if (!f->running && !f->held)
        start_round(f);
}

void flusher_hold(struct flusher *f)
{
    CHECK(!f->held);
    f->held = true;
}

void flusher_release(struct flusher *f)
{
    CHECK(f->held);
    f->held = false;
    if (f->delay_us == 0 && f->queued && !f->running)
        start_round(f);
}

bool flusher_remove(struct flusher *f, struct flusher_entry *e)
{
    struct flusher_entry **at = &f->queued;

    while (*at && *at != e)
        at = &(*at)->next;
    if (*at) {
        *at = e->next;
        if (f->queued_end == &e->next)
            f->queued_end = at;
        e->queued = false;
    }
    return !e->flushing;
}

void flusher_stats(const struct flusher *f, struct flusher_stats *out)
{
    *out = f->stats;
}
