#include "broker/cleaning.h"

#include <stdlib.h>

#include "broker/hosting.h"
#include "broker/live_settings.h"
#include "protocol/base/check.h"
#include "replication/partition_clean.h"

#define RUNS_MAX           64 /* more log.cleaner.threads than that are not used */
#define FIRST_LOOK_US      (1000 * 1000)
#define BACKOFF_MS_MAX     (INT64_MAX / 2000) /* what can be counted in microseconds */
#define BUFFER_BYTES_LEAST 4096
#define MAP_BYTES_MAX      ((int64_t)INT32_MAX) /* of one compaction, as in Apache Kafka */

/* log.cleaner.* as they are now. */
struct cleaner_settings {
    int64_t threads;
    int64_t backoff_ms;
    int64_t map_bytes;
    double map_load;
    int64_t buffer_bytes;
    double bytes_per_second;
};

/* One compaction, from the choice to its end. */
struct cleaning_run {
    struct cleaning *cleaning;
    bool busy;
    bool cleaned;      /* a log is cleaner now */
    struct task start; /* on the shard */
    struct task over;  /* back here */
    struct shard *shard;
    struct uuid topic_id;
    int32_t index;
    struct cleaner_settings settings;
};

struct cleaning {
    struct node *node;
    struct loop *loop;
    struct timer timer;
    bool ticking;
    bool looking;      /* a round is under way */
    bool again;        /* something ended meanwhile: look once more */
    struct task visit; /* posted to one shard after the other */
    struct task decide;
    size_t shard;
    struct cleaner_settings settings;
    /* of the round */
    bool found;
    double ratio;
    struct shard *dirtiest;
    struct uuid topic_id;
    int32_t index;
    struct cleaning_run runs[RUNS_MAX];
};

/* ---- settings ---- */

static void read_settings(const struct shard *s, struct cleaner_settings *out)
{
    *out = (struct cleaner_settings){
        .threads = live_integer(s, "log.cleaner.threads"),
        .backoff_ms = live_integer(s, "log.cleaner.backoff.ms"),
        .map_bytes = live_integer(s, "log.cleaner.dedupe.buffer.size"),
        .map_load = live_double(s, "log.cleaner.io.buffer.load.factor"),
        .buffer_bytes = live_integer(s, "log.cleaner.io.buffer.size"),
        .bytes_per_second = live_double(s, "log.cleaner.io.max.bytes.per.second"),
    };
    if (out->backoff_ms > BACKOFF_MS_MAX)
        out->backoff_ms = BACKOFF_MS_MAX;
    if (out->threads > RUNS_MAX)
        out->threads = RUNS_MAX;
    if (out->map_load < 0.01 || out->map_load > 1)
        out->map_load = 0.9;
    if (out->bytes_per_second < 1)
        out->bytes_per_second = 1;
}

/* ---- rounds ---- */

static void look(struct cleaning *c)
{
    if (!c->ticking)
        return;
    if (c->looking) {
        c->again = true;
        return;
    }
    c->looking = true;
    c->again = false;
    c->found = false;
    c->shard = 0;
    loop_post(c->node->shards[0]->loop, &c->visit);
}

static void visit_run(struct task *t)
{
    struct cleaning *c = CONTAINER_OF(t, struct cleaning, visit);
    struct shard *s = c->node->shards[c->shard];
    double ratio = 0;
    const struct partition *p = s->image && !s->closing ? hosting_dirtiest(s, &ratio) : NULL;

    if (s->image && c->shard == 0)
        read_settings(s, &c->settings);
    if (p && (!c->found || ratio > c->ratio)) {
        c->found = true;
        c->ratio = ratio;
        c->dirtiest = s;
        c->topic_id = p->topic_id;
        c->index = p->index;
    }
    if (++c->shard < c->node->shard_count)
        loop_post(c->node->shards[c->shard]->loop, &c->visit);
    else
        loop_post(c->loop, &c->decide);
}

static struct cleaning_run *free_run(struct cleaning *c)
{
    for (int64_t i = 0; i < c->settings.threads; i++)
        if (!c->runs[i].busy)
            return &c->runs[i];
    return NULL;
}

static void start(struct cleaning *c, struct cleaning_run *run)
{
    run->busy = true;
    run->cleaned = false;
    run->shard = c->dirtiest;
    run->topic_id = c->topic_id;
    run->index = c->index;
    run->settings = c->settings;
    loop_post(run->shard->loop, &run->start);
}

static void decide_run(struct task *t)
{
    struct cleaning *c = CONTAINER_OF(t, struct cleaning, decide);
    struct cleaning_run *run = free_run(c);

    c->looking = false;
    if (!c->ticking)
        return;
    if (c->found && run)
        start(c, run);
    /* As long as there is work and somebody to do it. A shard starts what it was told before it is
     * asked again. */
    if (c->again || (c->found && run && free_run(c)))
        look(c);
    else
        timer_start(c->loop, &c->timer, c->settings.backoff_ms * 1000 + 1000);
}

static void on_timer(struct timer *t)
{
    look(CONTAINER_OF(t, struct cleaning, timer));
}

/* ---- one compaction ---- */

static void on_cleaned(void *arg, bool went_well)
{
    struct cleaning_run *run = arg;

    run->cleaned = went_well;
    loop_post(run->cleaning->loop, &run->over);
}

static void start_run(struct task *t)
{
    struct cleaning_run *run = CONTAINER_OF(t, struct cleaning_run, start);
    const struct cleaner_settings *s = &run->settings;
    struct partition *p =
        run->shard->closing ? NULL : shard_partition(run->shard, run->topic_id, run->index);
    const int64_t map_bytes = s->map_bytes / s->threads;
    const int64_t buffer_bytes = s->buffer_bytes / s->threads / 2;
    const struct partition_clean_args args = {
        .map_bytes_max = (size_t)(map_bytes < MAP_BYTES_MAX ? map_bytes : MAP_BYTES_MAX),
        .map_load = s->map_load,
        .buffer_bytes =
            (size_t)(buffer_bytes > BUFFER_BYTES_LEAST ? buffer_bytes : BUFFER_BYTES_LEAST),
        .bytes_per_second_max = s->bytes_per_second / (double)s->threads,
        .done = on_cleaned,
        .arg = run,
    };

    if (!p || !partition_clean_begin(p, &args))
        on_cleaned(run, false);
}

static void run_over(struct task *t)
{
    struct cleaning_run *run = CONTAINER_OF(t, struct cleaning_run, over);

    run->busy = false;
    if (run->cleaned)
        look(run->cleaning); /* as long as there is work there is no pause; after a failure there
                              * is */
}

/* ---- life ---- */

struct cleaning *cleaning_create(struct node *n)
{
    struct cleaning *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->node = n;
    c->loop = n->env.control_loop;
    c->visit.run = visit_run;
    c->decide.run = decide_run;
    for (size_t i = 0; i < RUNS_MAX; i++) {
        c->runs[i].cleaning = c;
        c->runs[i].start.run = start_run;
        c->runs[i].over.run = run_over;
    }
    timer_init(c->loop, &c->timer, on_timer);
    return c;
}

void cleaning_start(struct cleaning *c)
{
    if (!c->node->options->cleaner_enabled)
        return;
    c->ticking = true;
    timer_start(c->loop, &c->timer, FIRST_LOOK_US);
}

void cleaning_stop(struct cleaning *c)
{
    c->ticking = false;
    timer_stop(c->loop, &c->timer);
}

void cleaning_free(struct cleaning *c)
{
    timer_free(c->loop, &c->timer);
    free(c);
}
