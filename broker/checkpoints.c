#include "broker/checkpoints.h"

#include <stdlib.h>

#include "broker/hosting.h"
#include "broker/storage_dirs.h"
#include "protocol/base/check.h"

/* A round on its way from shard to shard, into the pool and back. */
struct checkpoints {
    struct node *node;
    struct loop *loop;
    struct timer timer;
    bool ticking;
    struct task visit; /* posted to one shard after the other */
    size_t shard;
    struct job write;
    bool running;
    struct offset_map (*maps)[LOG_DIR_CHECKPOINT_COUNT]; /* one set a directory */
    struct status *results;
    void (*done)(void *arg); /* of the round that runs, or of the one after it */
    void *arg;
    bool again; /* done is for another round, still to come */
    struct task hurry;
    _Atomic bool hurry_posted;
    bool hurried;      /* another round follows this one */
    struct job record; /* of the broker epoch and the boot */
    int64_t recorded, recording;
    bool record_running, record_again;
    struct status record_result;
    struct job end;
    int64_t epoch;
    void (*ended)(void *arg);
    void *ended_arg;
};

static void round_start(struct checkpoints *c);

static void round_over(struct task *t)
{
    struct checkpoints *c = CONTAINER_OF(t, struct checkpoints, write.done);
    void (*done)(void *arg) = c->done;

    c->running = false;
    for (size_t i = 0; i < c->node->dir_count; i++) {
        if (status_failed(c->results[i]))
            node_dir_failed(c->node, i, c->results[i]);
        else
            storage_dirs_end_round(c->node->dirs, i);
        for (size_t k = 0; k < LOG_DIR_CHECKPOINT_COUNT; k++)
            offset_map_free(&c->maps[i][k]);
    }
    if (c->again) {
        c->again = false;
        round_start(c);
        return;
    }
    if (c->ticking && c->hurried)
        round_start(c);
    else if (c->ticking)
        timer_start(c->loop, &c->timer, c->node->options->checkpoint_ms * 1000);
    c->done = NULL;
    if (done)
        done(c->arg);
}

/* Of the first round: by then each shard has opened what the metadata places here. */
static void set_strays_aside(const struct checkpoints *c, size_t dir)
{
    size_t count;
    const struct status st = storage_dirs_set_strays_aside(c->node->dirs, dir, &count);

    if (count > 0)
        logger_event(c->node->env.logger, LOGGER_WARN, "stray_partitions_set_aside",
                     "path=\"%s\" count=%zu", storage_dirs_path(c->node->dirs, dir), count);
    if (status_failed(st)) /* tried again at the next start */
        logger_event(c->node->env.logger, LOGGER_WARN, "stray_partitions_stay",
                     "path=\"%s\" where=\"%s\" errno=%d", storage_dirs_path(c->node->dirs, dir),
                     st.where ? st.where : "", st.sys_errno);
}

static void round_write(struct job *j)
{
    struct checkpoints *c = CONTAINER_OF(j, struct checkpoints, write);

    bool sweep = atomic_exchange(&c->node->sweep_wanted, false);
    bool first = atomic_exchange(&c->node->strays_wanted, false);

    for (size_t i = 0; i < c->node->dir_count; i++) {
        struct status swept = sweep ? storage_dirs_sweep(c->node->dirs, i) : STATUS_OK;

        if (status_failed(swept)) /* tried again with the next deletion, or at the next start */
            logger_event(c->node->env.logger, LOGGER_WARN, "deleted_folders_stay",
                         "path=\"%s\" where=\"%s\" errno=%d", storage_dirs_path(c->node->dirs, i),
                         swept.where ? swept.where : "", swept.sys_errno);
        if (first)
            set_strays_aside(c, i);
        c->results[i] = storage_dirs_write_checkpoints(c->node->dirs, i, c->maps[i]);
    }
}

static void round_visit(struct task *t)
{
    struct checkpoints *c = CONTAINER_OF(t, struct checkpoints, visit);

    hosting_checkpoint(c->node->shards[c->shard], c->maps);
    if (++c->shard < c->node->shard_count)
        loop_post(c->node->shards[c->shard]->loop, &c->visit);
    else
        pool_submit(c->node->env.pool, &c->write);
}

static void round_start(struct checkpoints *c)
{
    c->running = true;
    c->hurried = false;
    c->shard = 0;
    storage_dirs_begin_round(c->node->dirs);
    loop_post(c->node->shards[0]->loop, &c->visit);
}

/* Not before all logs are open: a round that misses some would drop what the files say of them. */
static bool may_run(const struct checkpoints *c)
{
    return c->ticking && atomic_load_explicit(&c->node->serving, memory_order_relaxed);
}

static void on_timer(struct timer *t)
{
    struct checkpoints *c = CONTAINER_OF(t, struct checkpoints, timer);

    if (c->running)
        return;
    if (may_run(c))
        round_start(c);
    else
        timer_start(c->loop, &c->timer, c->node->options->checkpoint_ms * 1000);
}

static void on_hurry(struct task *t)
{
    struct checkpoints *c = CONTAINER_OF(t, struct checkpoints, hurry);

    atomic_store(&c->hurry_posted, false);
    if (c->running) {
        c->hurried = true;
    } else if (may_run(c)) {
        timer_stop(c->loop, &c->timer);
        round_start(c);
    }
}

void checkpoints_hurry(struct checkpoints *c)
{
    if (!atomic_exchange(&c->hurry_posted, true))
        loop_post(c->loop, &c->hurry);
}

struct checkpoints *checkpoints_create(struct node *n)
{
    struct checkpoints *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->node = n;
    c->loop = n->env.control_loop;
    c->maps = calloc(n->dir_count, sizeof *c->maps);
    c->results = calloc(n->dir_count, sizeof *c->results);
    CHECK(c->maps && c->results);
    c->visit.run = round_visit;
    c->hurry.run = on_hurry;
    c->write = (struct job){.home = c->loop, .run = round_write, .done = {.run = round_over}};
    timer_init(c->loop, &c->timer, on_timer);
    return c;
}

void checkpoints_start(struct checkpoints *c)
{
    c->ticking = true;
    timer_start(c->loop, &c->timer, c->node->options->checkpoint_ms * 1000);
}

void checkpoints_stop(struct checkpoints *c)
{
    c->ticking = false;
    timer_stop(c->loop, &c->timer);
}

void checkpoints_write(struct checkpoints *c, void (*done)(void *arg), void *arg)
{
    CHECK(!c->done);
    if (!atomic_load_explicit(&c->node->serving, memory_order_relaxed)) {
        done(arg);
        return;
    }
    c->done = done;
    c->arg = arg;
    if (c->running)
        c->again = true;
    else
        round_start(c);
}

/* ---- epochs ---- */

static void epoch_run(struct job *j)
{
    struct checkpoints *c = CONTAINER_OF(j, struct checkpoints, record);

    c->record_result = storage_dirs_record_epoch(c->node->dirs, c->recording);
}

static void epoch_done(struct task *t);

static void epoch_submit(struct checkpoints *c)
{
    c->record = (struct job){.home = c->loop, .run = epoch_run, .done = {.run = epoch_done}};
    c->recording = c->recorded;
    c->record_running = true;
    c->record_again = false;
    pool_submit(c->node->env.pool, &c->record);
}

static void epoch_done(struct task *t)
{
    struct checkpoints *c = CONTAINER_OF(t, struct checkpoints, record.done);
    const struct status st = c->record_result;

    if (status_failed(st))
        logger_event(c->node->env.logger, LOGGER_WARN, "broker_epoch_not_recorded",
                     "where=\"%s\" errno=%d", st.where ? st.where : "", st.sys_errno);
    c->record_running = false;
    if (c->record_again)
        epoch_submit(c);
}

void checkpoints_record_epoch(struct checkpoints *c, int64_t epoch)
{
    c->recorded = epoch;
    if (c->record_running)
        c->record_again = true;
    else
        epoch_submit(c);
}

static void end_run(struct job *j)
{
    struct checkpoints *c = CONTAINER_OF(j, struct checkpoints, end);
    struct status st = storage_dirs_end_run(c->node->dirs, c->epoch);

    if (status_failed(st))
        logger_event(c->node->env.logger, LOGGER_ERROR, "clean_end_not_recorded",
                     "where=\"%s\" errno=%d", st.where ? st.where : "", st.sys_errno);
}

static void end_done(struct task *t)
{
    struct checkpoints *c = CONTAINER_OF(t, struct checkpoints, end.done);

    c->ended(c->ended_arg);
}

void checkpoints_end_run(struct checkpoints *c, int64_t epoch, void (*done)(void *arg), void *arg)
{
    c->epoch = epoch;
    c->ended = done;
    c->ended_arg = arg;
    c->end = (struct job){.home = c->loop, .run = end_run, .done = {.run = end_done}};
    pool_submit(c->node->env.pool, &c->end);
}

void checkpoints_free(struct checkpoints *c)
{
    timer_free(c->loop, &c->timer);
    free(c->maps);
    free(c->results);
    free(c);
}
