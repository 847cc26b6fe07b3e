#include "broker/node.h"

#include <stdlib.h>

#include "broker/closing.h"
#include "broker/control.h"
#include "broker/coordinator/heartbeat_pace.h"
#include "broker/coordinator/state_home.h"
#include "broker/hosting.h"
#include "broker/shard.h"
#include "broker/storage_dirs.h"
#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"

bool node_in_doubt(const struct node *n, int64_t now_us)
{
    return now_us >= atomic_load_explicit(&n->trusted_until_us, memory_order_relaxed);
}

size_t node_shard_of(const struct node *n, struct uuid topic_id, int32_t index)
{
    /* Neighbouring partitions go to different shards. */
    return (size_t)((load_be64(topic_id.bytes + 8) + (uint64_t)(uint32_t)index) % n->shard_count);
}

static struct status node_open_dirs(struct node *n)
{
    const struct node_options *o = n->options;
    struct storage_dirs_args args = {
        .files = n->env.files,
        .random = n->env.random,
        .logger = n->env.logger,
        .paths = o->log_dirs,
        .path_count = o->log_dir_count,
        .metadata_path = o->metadata_log_dir,
        .node_id = o->node_id,
        .cluster_id = o->cluster_id,
        .boot_id = str_from(n->env.boot_id),
    };
    struct meta_error error = {""};
    struct status st = storage_dirs_open(&args, &n->dirs, &error);

    if (status_failed(st))
        logger_event(n->env.logger, LOGGER_ERROR, "log_dirs_refused", "reason=\"%s\"", error.text);
    else
        n->dir_count = storage_dirs_count(n->dirs);
    return st;
}

struct status node_create(const struct node_env *env, const struct node_options *options,
                          struct node **out)
{
    struct node *n = calloc(1, sizeof *n);
    struct status st;

    CHECK(n);
    replica_throttle_init(&n->leader_throttle);
    replica_throttle_init(&n->follower_throttle);
    n->env = *env;
    n->options = options;
    n->shard_count = env->shard_count;
    n->request_bytes_max = (size_t)options->request_bytes_max;
    atomic_store(&n->strays_wanted, true);
    atomic_store(&n->sweep_wanted, true); /* a run before may have left some */
    atomic_store(&n->heartbeat_interval_ms,
                 heartbeat_pace(0, 1, HEARTBEAT_INTERVAL_MS_MIN,
                                options->coordinator.group.consumer_heartbeat_interval_ms));
    dispatch_init(n->handlers);
    st = node_open_dirs(n);
    if (status_failed(st)) {
        node_free(n);
        return st;
    }
    n->closing = closing_create(n);
    n->state_home = state_home_create(n);
    n->shards = calloc(n->shard_count, sizeof(struct shard *));
    CHECK(n->closing && n->state_home && n->shards);
    for (size_t i = 0; i < n->shard_count; i++) {
        n->shards[i] = shard_create(n, i, env->shard_loops[i],
                                    env->shard_events ? env->shard_events[i] : NULL);
        CHECK(n->shards[i]);
    }
    st = control_create(n, &n->control);
    if (status_failed(st)) {
        if (st.sys_errno != 0)
            storage_dirs_distrust_metadata(n->dirs);
        logger_event(env->logger, LOGGER_ERROR, "metadata_log_refused",
                     "where=\"%s\" errno=%d reason=%s", st.where ? st.where : "", st.sys_errno,
                     kerr_name(st.code));
        node_free(n);
        return st;
    }
    *out = n;
    return STATUS_OK;
}

/* ---- calls from any thread ---- */

struct node_post {
    struct task task;
    struct node *node;
    struct shard *shard;
    void (*stopped)(void *arg);
    void *arg;
    size_t dir;
    struct status why;
};

static void node_post_to(struct node *n, struct loop *loop, void (*run)(struct task *t),
                         const struct node_post *what)
{
    struct node_post *post = malloc(sizeof *post);

    CHECK(post);
    *post = *what;
    post->task.run = run;
    post->node = n;
    loop_post(loop, &post->task);
}

static void start_shard_run(struct task *t)
{
    struct node_post *post = (struct node_post *)t;

    shard_start(post->shard);
    free(post);
}

static void start_run(struct task *t)
{
    struct node_post *post = (struct node_post *)t;

    control_start(post->node->control);
    free(post);
}

void node_start(struct node *n)
{
    for (size_t i = 0; i < n->shard_count; i++)
        node_post_to(n, n->shards[i]->loop, start_shard_run,
                     &(struct node_post){.shard = n->shards[i]});
    node_post_to(n, n->env.control_loop, start_run, &(struct node_post){0});
}

static void stop_run(struct task *t)
{
    struct node_post *post = (struct node_post *)t;

    control_stop(post->node->control, post->stopped, post->arg);
    free(post);
}

void node_stop(struct node *n, void (*stopped)(void *arg), void *arg)
{
    node_post_to(n, n->env.control_loop, stop_run,
                 &(struct node_post){.stopped = stopped, .arg = arg});
}

static void dir_failed_shard_run(struct task *t)
{
    struct node_post *post = (struct node_post *)t;

    hosting_fail_dir(post->shard, post->dir, post->why);
    free(post);
}

static void dir_failed_run(struct task *t)
{
    struct node_post *post = (struct node_post *)t;

    control_dir_failed(post->node->control, post->dir, post->why);
    free(post);
}

/* The directory's own mark of it, in the pool: the disk has just failed, and may take long over
 * this too. */
struct distrust_job {
    struct job job;
    struct node *node;
    size_t dir;
};

static void distrust_run(struct job *j)
{
    struct distrust_job *d = CONTAINER_OF(j, struct distrust_job, job);

    storage_dirs_distrust(d->node->dirs, d->dir);
}

static void distrust_done(struct task *t)
{
    free(CONTAINER_OF(t, struct distrust_job, job.done));
}

static void node_distrust(struct node *n, size_t dir)
{
    struct distrust_job *d = calloc(1, sizeof *d);

    CHECK(d);
    d->job = (struct job){
        .home = n->env.control_loop, .run = distrust_run, .done = {.run = distrust_done}};
    d->node = n;
    d->dir = dir;
    pool_submit(n->env.pool, &d->job);
}

void node_dir_failed(struct node *n, size_t dir, struct status why)
{
    if (!storage_dirs_fail(n->dirs, dir))
        return;
    node_distrust(n, dir);
    logger_event(n->env.logger, LOGGER_ERROR, "log_dir_offline",
                 "path=\"%s\" where=\"%s\" errno=%d", storage_dirs_path(n->dirs, dir),
                 why.where ? why.where : "", why.sys_errno);
    for (size_t i = 0; i < n->shard_count; i++)
        node_post_to(n, n->shards[i]->loop, dir_failed_shard_run,
                     &(struct node_post){.shard = n->shards[i], .dir = dir, .why = why});
    node_post_to(n, n->env.control_loop, dir_failed_run,
                 &(struct node_post){.dir = dir, .why = why});
}

static void damaged_run(struct task *t)
{
    struct node_post *post = (struct node_post *)t;

    control_damaged(post->node->control);
    free(post);
}

void node_damaged(struct node *n)
{
    node_post_to(n, n->env.control_loop, damaged_run, &(struct node_post){0});
}

void node_free(struct node *n)
{
    if (n->control)
        control_free(n->control);
    for (size_t i = 0; n->shards && i < n->shard_count; i++)
        if (n->shards[i])
            shard_free(n->shards[i]);
    free(n->shards);
    closing_free(n->closing);
    state_home_free(n->state_home);
    storage_dirs_close(n->dirs);
    free(n);
}
